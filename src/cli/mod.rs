//! The terminal: the only home of clap, indicatif and stdout. One file per tool, one row each in `TOOLS`.
//!
//! `tomo NAME …` and `tomo-NAME …` are the same thing: both build the same command from the same row.

mod arguments;
mod bench;
mod check;
mod common;
mod compare;
mod convert;
mod copy;
mod disks;
mod estimate;
mod exit;
mod human;
mod info;
mod ledger;
mod output;
mod progress;
mod recad;
mod recon;
mod report;
mod simulate;
mod verify;

pub use exit::Exit;

use clap::{ArgMatches, Args, Command, FromArgMatches};
use common::{Context, RunArgs};
use tomokit_formats::Result;

/// A tool: its arguments are a clap struct, its work is `run`.
trait Tool: Args {
    /// Name after `tomo` or `tomo-`.
    const NAME: &'static str;
    /// One line for the list of tools.
    const ABOUT: &'static str;
    /// Examples shown at the end of `--help`.
    const EXAMPLES: &'static str;

    /// Does the work. Errors are reported by the caller with exit code 2.
    fn run(self, context: &Context) -> Result<Exit>;
}

/// A row of the tools table.
struct Row {
    name: &'static str,
    command: fn() -> Command,
    run: fn(&ArgMatches) -> Exit,
}

const fn row<T: Tool>() -> Row {
    Row { name: T::NAME, command: command_of::<T>, run: run_tool::<T> }
}

/// Every tool. Adding one is its own file plus a line here.
static TOOLS: &[Row] = &[
    row::<info::Info>(),
    row::<convert::Convert>(),
    row::<recad::Recad>(),
    row::<compare::Compare>(),
    row::<copy::Copy>(),
    row::<check::Check>(),
    row::<recon::Recon>(),
    row::<simulate::Simulate>(),
    row::<bench::Bench>(),
    row::<estimate::Estimate>(),
    row::<disks::Disks>(),
    row::<ledger::Ledger>(),
];

fn command_of<T: Tool>() -> Command {
    // The tool's own arguments first, the shared ones last and under their own heading.
    let command = T::augment_args(Command::new(T::NAME));
    RunArgs::augment_args(command)
        .about(T::ABOUT)
        .long_about(None)
        .after_help(format!("Examples:\n{}", T::EXAMPLES.trim_end()))
        .version(env!("CARGO_PKG_VERSION"))
        // What is below zero is refused as the value it is, not as an option nobody knows.
        .allow_negative_numbers(true)
}

fn run_tool<T: Tool>(matches: &ArgMatches) -> Exit {
    let parsed = RunArgs::from_arg_matches(matches).and_then(|r| T::from_arg_matches(matches).map(|t| (r, t)));
    let (run, tool) = match parsed {
        Ok(p) => p,
        Err(e) => e.exit(),
    };
    let context = match Context::new(&run, T::NAME) {
        Ok(c) => c,
        Err(e) => return report::report(&e),
    };
    let exit = tool.run(&context).unwrap_or_else(|e| report::report(&e));
    context.close(exit)
}

/// Main of the umbrella `tomo`.
pub fn umbrella() -> std::process::ExitCode {
    if is_called(crate::ops::copy::CHECKER) {
        return verifier();
    }
    let mut command = Command::new("tomo")
        .about("Synchrotron tomography data: read, reconstruct, convert, check, copy")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true);
    for row in TOOLS {
        command = command.subcommand((row.command)());
    }
    let matches = match arguments::given() {
        Ok(given) => command.get_matches_from(given),
        Err(e) => return report::report(&e).into(),
    };
    let Some((name, sub)) = matches.subcommand() else { return Exit::CouldNot.into() };
    match TOOLS.iter().find(|r| r.name == name) {
        Some(row) => (row.run)(sub).into(),
        None => Exit::CouldNot.into(),
    }
}

/// Main of the single tool `tomo-NAME`.
pub fn single(name: &'static str) -> std::process::ExitCode {
    if is_called(crate::ops::copy::CHECKER) {
        return verifier();
    }
    let Some(row) = TOOLS.iter().find(|r| r.name == name) else { return Exit::CouldNot.into() };
    alone(row)
}

/// Main of `tomo-verify`, which is put on disks. It stands outside `TOOLS`, so that it links nothing of the other tools and
/// stays small.
pub fn verifier() -> std::process::ExitCode {
    alone(&const { row::<verify::Verify>() })
}

/// Copied onto a disk under another tool's name, a program is that tool.
fn is_called(name: &str) -> bool {
    let own = std::env::args_os().next();
    own.is_some_and(|p| std::path::Path::new(&p).file_stem().is_some_and(|s| s.eq_ignore_ascii_case(name)))
}

fn alone(row: &Row) -> std::process::ExitCode {
    let full: &'static str = Box::leak(format!("tomo-{}", row.name).into_boxed_str());
    let command = (row.command)().name(full).bin_name(full);
    match arguments::given() {
        Ok(given) => (row.run)(&command.get_matches_from(given)).into(),
        Err(e) => report::report(&e).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_has_sound_arguments_examples_and_a_unique_name() {
        for (i, row) in TOOLS.iter().enumerate() {
            let mut command = (row.command)();
            command.clone().debug_assert();
            assert!(TOOLS[..i].iter().all(|r| r.name != row.name));
            let help = command.render_long_help().to_string();
            assert!(help.contains(&format!("tomo {}", row.name)), "{}: no example in the help", row.name);
        }
    }
}
