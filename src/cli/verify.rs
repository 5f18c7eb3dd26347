//! `tomo copy --verify` and the program that does nothing else, `tomo-verify`: disks against the records on them.

use crate::cli::common::Context;
use crate::cli::{Exit, Tool, human, output};
use crate::ops::copy::{self, CheckReport, CheckRequest};
use crate::trust::journal::JOURNAL;
use crate::trust::sums::SHA256SUMS;
use clap::Args;
use std::path::{Path, PathBuf};
use tomokit_formats::{Error, Result};

/// Arguments of `tomo-verify`.
#[derive(Args, Debug)]
pub struct Verify {
    /// Disks or folders that were copied into [default: the one this program lies on, else the current folder]
    #[arg(value_name = "FOLDER")]
    folders: Vec<PathBuf>,
    /// Compare sizes only
    #[arg(long)]
    sizes_only: bool,
    /// Note on the disk which files were found good and which are damaged
    #[arg(long)]
    record: bool,
}

impl Tool for Verify {
    const NAME: &'static str = "verify";
    const ABOUT: &'static str = "Check a disk against the record 'tomo copy' left on it: missing, changed, extra files";
    const EXAMPLES: &'static str = "  tomo-verify                     the disk this program lies on
  tomo-verify /media/usb/beamtime
  tomo-verify E:\\beamtime --sizes-only
";

    fn run(self, context: &Context) -> Result<Exit> {
        let folders = if self.folders.is_empty() { vec![nearest()?] } else { self.folders };
        check_all(&folders, How { sizes_only: self.sizes_only, record: self.record }, context, |_| {})
    }
}

/// The folder with a record that the program lies in, else the current one.
fn nearest() -> Result<PathBuf> {
    let has_list = |p: &Path| p.join(JOURNAL).is_file() || p.join(SHA256SUMS).is_file();
    let own = std::env::current_exe().ok();
    let mut around: Vec<&Path> = own.iter().flat_map(|p| p.ancestors().skip(1).take(3)).collect();
    around.push(Path::new("."));
    around.iter().find(|p| has_list(p)).map(|p| p.to_path_buf()).ok_or_else(|| {
        Error::caller("there is no record of a copy around this program or in the current folder")
            .hint("name the folder that was copied into, for example: tomo-verify E:\\beamtime")
    })
}

/// How to check.
#[derive(Clone, Copy)]
pub struct How {
    pub sizes_only: bool,
    pub record: bool,
}

/// Checks folders one after the other, prints what was found and shows each report to `after`.
pub fn check_all(
    folders: &[PathBuf],
    how: How,
    context: &Context,
    mut after: impl FnMut(&CheckReport),
) -> Result<Exit> {
    let mut exit = Exit::Done;
    let mut reports = Vec::new();
    for folder in folders {
        let request = CheckRequest { folder: folder.clone(), quick: how.sizes_only, note: how.record };
        match copy::check(&request, &context.progress, &context.cancel) {
            Ok(r) => {
                exit = exit.merge(if !r.unreadable.is_empty() {
                    Exit::CouldNot
                } else if r.is_good() {
                    Exit::Done
                } else {
                    Exit::No
                });
                if !context.json {
                    output::print(&text(&r, how))?;
                }
                after(&r);
                reports.push(r);
            }
            Err(e) if folders.len() == 1 || e.fault() == tomokit_formats::Fault::Interrupted => return Err(e),
            Err(e) => exit = exit.merge(crate::cli::report::report(&e)),
        }
    }
    if context.json {
        match reports.as_slice() {
            [one] if folders.len() == 1 => output::json(one)?,
            all => output::json(&all)?,
        }
    }
    Ok(exit)
}

fn text(r: &CheckReport, how: How) -> String {
    let word = match (r.is_good(), r.sizes_only) {
        (true, false) => "good",
        (true, true) => "all there, sizes agree (contents not looked at)",
        (false, _) => "NOT GOOD",
    };
    let mut t = format!("{}: {word}\n", r.folder.display());
    t += &format!("  {} of {} of {} are as recorded", r.good, human::count(r.files, "file"), r.list);
    if !r.sizes_only {
        t += &format!(", {} read", human::bytes(r.bytes_read));
    }
    t.push('\n');
    match (r.level, r.wanted) {
        (Some(l), Some(w)) if l >= w => t += &format!("  level      {l}\n"),
        (Some(l), _) => {
            t += &format!("  level      {l}: parts may have come from memory; unmount and mount the disk for more\n");
        }
        _ => {}
    }
    if let Some(what) = &r.incomplete {
        t += &format!("  {:<11}{what}\n", "incomplete");
    }
    let lists = [
        ("missing", &r.missing),
        ("changed", &r.changed),
        ("unreadable", &r.unreadable),
        ("list", &r.refused_lines),
        ("extra", &r.extra),
        ("unfinished", &r.unfinished),
    ];
    for (what, list) in lists {
        for line in list.iter().take(20) {
            t += &format!("  {what:<11}{}\n", human::on_one_line(line));
        }
        if list.len() > 20 {
            t += &format!("  {what:<11}and {} more\n", list.len() - 20);
        }
    }
    if !how.record && r.only_the_record_is_damaged() {
        t += "  repair     only the record is damaged, all files are good: --verify --record takes the lines out of it\n";
    } else if r.damaged_record_lines > 0 {
        t += "  repair     give the copy command again: it reads what the record lost and records it; then --verify --record\n";
    } else if r.incomplete.is_some() && r.changed.is_empty() && r.missing.is_empty() {
        t += "  repair     give the copy command again: it brings what is missing\n";
    } else if !how.record && r.recorded && !(r.changed.is_empty() && r.missing.is_empty()) {
        t += &format!(
            "  repair     give the copy command again: it brings what is missing{}\n",
            if r.changed.is_empty() { "" } else { "; after --verify --record, also what is changed" },
        );
    }
    t
}
