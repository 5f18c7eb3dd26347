//! `tomo ledger`: what is on which disk, without plugging it in.

use crate::cli::common::Context;
use crate::cli::{Exit, Tool, human, output};
use crate::ops::ledger::ask::{File, Search};
use crate::ops::ledger::rebuild::rebuild;
use crate::ops::ledger::{Ledger as Open, default_path, export, source_path, when};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use tomokit_formats::{Error, Result, durable};

/// Arguments of `tomo ledger`.
#[derive(Args, Debug)]
pub struct Ledger {
    /// What to do
    #[arg(value_enum, default_value_t = Action::Disks)]
    action: Action,
    /// A pattern to find, a folder, a file to export to, or disks to rebuild from
    #[arg(value_name = "WHAT")]
    what: Vec<PathBuf>,
    /// The ledger [default: $TOMOKIT_LEDGER, else one per user]
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// missing: how many disks should hold a verified copy [default: 2]
    #[arg(long, value_name = "N")]
    copies: Option<u64>,
    /// export: replace a file that exists
    #[arg(long)]
    overwrite: bool,
}

/// What `tomo ledger` can do.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Action {
    /// Every disk with what is on it
    Disks,
    /// Every scan with its disks
    Scans,
    /// Files whose name or scan holds WHAT (or matches it: *.vol)
    Find,
    /// Files not yet verified on --copies disks; WHAT: only those copied from this folder, and what was never copied from it
    Missing,
    /// Write WHAT.csv (every file) or WHAT.html (disks and scans)
    Export,
    /// Read the records on the disks WHAT; a damaged ledger is set aside and made anew
    Rebuild,
}

impl Tool for Ledger {
    const NAME: &'static str = "ledger";
    const ABOUT: &'static str = "Which file and scan is on which disk, verified when; no disk needs to be plugged in";
    const EXAMPLES: &'static str = "  tomo ledger                                      every disk known
  tomo ledger scans                                every scan, its copies and where they are
  tomo ledger find 'scan_012*'                     which disk is it on?
  tomo ledger missing --copies 2                   what is not yet on two disks; exit code 1 if anything is
  tomo ledger missing /data/experiment             also what was never copied from there
  tomo ledger export experiment.csv
  tomo ledger rebuild /media/me/DISK1 /media/me/DISK2   from what is recorded on the disks
";

    fn run(self, context: &Context) -> Result<Exit> {
        self.only_what_is_read()?;
        let path = match &self.ledger {
            Some(p) => p.clone(),
            None => default_path()?,
        };
        let sound = || Open::open(&path).and_then(|l| l.check().map(|()| l));
        match self.action {
            Action::Disks => self.disks(&sound()?, context),
            Action::Scans => self.scans(&sound()?, context),
            // Quick: a search does not read the whole file first.
            Action::Find => self.find(&Open::open(&path)?, context),
            Action::Missing => self.missing(&sound()?, context),
            Action::Export => self.export(&path, &sound()?, context),
            Action::Rebuild => self.rebuild(&path, context),
        }
    }
}

impl Ledger {
    /// An option that the action does not read would be obeyed only in the mind of who wrote it.
    fn only_what_is_read(&self) -> Result<()> {
        let belongs = |option: &str, to: Action| {
            let name = |a: Action| a.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default();
            Err(Error::caller(format!("{option} belongs to 'tomo ledger {}'", name(to)))
                .found(format!("'{}'", name(self.action)))
                .hint(format!("leave {option} out")))
        };
        match self.copies {
            Some(_) if self.action != Action::Missing => return belongs("--copies", Action::Missing),
            Some(0) => return Err(Error::caller("no file has fewer than 0 copies").hint("give --copies 1 or more")),
            _ => {}
        }
        if self.overwrite && self.action != Action::Export {
            return belongs("--overwrite", Action::Export);
        }
        Ok(())
    }

    fn none(&self) -> Result<()> {
        match self.what.first() {
            None => Ok(()),
            Some(w) => {
                Err(Error::caller("nothing more is needed here").found(w.display()).hint("see tomo ledger --help"))
            }
        }
    }

    fn one(&self, what: &str) -> Result<&PathBuf> {
        match self.what.as_slice() {
            [one] => Ok(one),
            other => Err(Error::caller(format!("name {what}")).expected("one").found(other.len())),
        }
    }

    fn disks(&self, ledger: &Open, context: &Context) -> Result<Exit> {
        self.none()?;
        let disks = ledger.disks()?;
        if context.json {
            output::json(&disks)?;
            return Ok(Exit::Done);
        }
        let mut t = String::new();
        for d in &disks {
            let serial = d.serial.as_deref().unwrap_or("no serial");
            // Network drives may not tell their size.
            let size = if d.bytes > 0 { format!(", {}", human::bytes(d.bytes)) } else { String::new() };
            t += &format!("{}  ({serial}, {}{size})\n", d.name(), d.fs);
            let (files, scans) = (human::count(d.files, "file"), human::count(d.scans, "scan"));
            t += &format!("  {files} of {scans}, {}; ", human::both(d.file_bytes));
            t += &match (d.verified_since, d.unverified) {
                (Some(v), 0) => format!("all verified since {} UTC", when(v)),
                (_, n) => format!("{n} not verified"),
            };
            let seen = when(d.last_seen);
            let free = if d.bytes > 0 { format!(", {} free then", human::bytes(d.available)) } else { String::new() };
            t += &format!("; seen last {seen} UTC at {}{free}\n", d.place);
        }
        output::print(if t.is_empty() { "nothing was copied yet\n" } else { &t })?;
        Ok(Exit::Done)
    }

    fn scans(&self, ledger: &Open, context: &Context) -> Result<Exit> {
        self.none()?;
        let scans = ledger.scans()?;
        if context.json {
            output::json(&scans)?;
            return Ok(Exit::Done);
        }
        let wide = scans.iter().map(|s| s.scan.chars().count()).max().unwrap_or(0).clamp(4, 40);
        let mut t = format!("{:wide$}  {:>8}  {:>10}  {:>6}  on\n", "scan", "files", "data", "copies");
        for s in &scans {
            let size = human::bytes(s.bytes);
            t += &format!(
                "{:wide$}  {:>8}  {size:>10}  {:>6}  {}\n",
                human::on_one_line(&s.scan),
                s.files,
                s.copies,
                s.disks
            );
        }
        output::print(&t)?;
        Ok(Exit::Done)
    }

    fn find(&self, ledger: &Open, context: &Context) -> Result<Exit> {
        let pattern = self.one("what to find: part of a name, or a pattern")?.to_string_lossy().into_owned();
        let n = list(ledger, &Search { pattern: Some(pattern.clone()), ..Search::default() }, context)?;
        if n == 0 {
            context.warn(&format!("no file in the ledger matches '{pattern}'"));
        }
        Ok(if n > 0 { Exit::Done } else { Exit::No })
    }

    fn missing(&self, ledger: &Open, context: &Context) -> Result<Exit> {
        let below = match self.what.as_slice() {
            [] => None,
            _ => {
                let folder = self.one("one folder")?;
                Some(source_path(folder)?)
            }
        };
        let search = Search { fewer_than: Some(self.copies.unwrap_or(2)), below: below.clone(), ..Search::default() };
        let mut n = list(ledger, &search, context)?;
        if let Some(folder) = below {
            let never = crate::ops::ledger::ask::never_copied(ledger, &folder, &context.cancel)?;
            for f in &never.examples {
                context.warn(&format!("never copied as it is now: {}", f.display()));
            }
            if never.files > 0 {
                context.warn(&format!(
                    "never copied: {}, {}",
                    human::count(never.files, "file"),
                    human::both(never.bytes)
                ));
            }
            n += never.files;
        }
        Ok(if n > 0 { Exit::No } else { Exit::Done })
    }

    fn rebuild(&self, path: &Path, context: &Context) -> Result<Exit> {
        let done = rebuild(path, &self.what, &context.progress, &context.cancel)?;
        if let Some(aside) = &done.set_aside {
            context.warn(&format!("the damaged ledger is kept as {}", aside.display()));
        }
        for d in &done.disks {
            if d.missing > 0 {
                context.warn(&format!(
                    "{}: recorded but not there as recorded: {}",
                    d.disk,
                    human::count(d.missing, "file")
                ));
            }
            if d.refused > 0 {
                context.warn(&format!("{}: {} lines of the records cannot be read", d.disk, d.refused));
            }
        }
        if context.json {
            output::json(&done)?;
        } else if !context.quiet {
            for d in &done.disks {
                let (files, v) = (human::count(d.files, "file"), d.verified);
                let records = human::count(d.records.len() as u64, "record");
                output::print(&format!("{}: {files} from {records}, {v} of them verified\n", d.disk,))?;
            }
        }
        Ok(if done.disks.iter().any(|d| d.missing > 0) { Exit::No } else { Exit::Done })
    }

    fn export(&self, own: &Path, ledger: &Open, context: &Context) -> Result<Exit> {
        let target = self.one("the file to write")?;
        durable::refuse_beside(target, self.overwrite, &[own])?;
        let extension = target.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        let files = match extension.as_str() {
            "csv" => Some(export::csv(ledger, &Search::default(), target, self.overwrite)?),
            "html" | "htm" => {
                export::html(ledger, target, self.overwrite, human::bytes)?;
                None
            }
            _ => return Err(Error::caller("an export is a .csv or an .html file").path(target)),
        };
        let count = files.map_or(String::new(), |n| format!(": {}", human::count(n, "file")));
        match context.json {
            true => output::json(&serde_json::json!({ "written": target.to_string_lossy(), "files": files }))?,
            false if !context.quiet => output::print(&format!("{}{count}\n", target.display()))?,
            false => {}
        }
        Ok(Exit::Done)
    }
}

/// Prints files as they come, so that a million need no memory; gives their number.
fn list(ledger: &Open, search: &Search, context: &Context) -> Result<u64> {
    let mut n = 0u64;
    ledger.files(search, |f| {
        context.cancel.check()?;
        if context.json {
            // An array, one file per line.
            let line = serde_json::to_string(&f).map_err(|e| Error::caller("no JSON of a file").source(e))?;
            output::data(&format!("{}{line}", if n == 0 { "[\n" } else { ",\n" }))?;
        } else {
            output::print(&line(&f))?;
        }
        n += 1;
        Ok(())
    })?;
    if context.json {
        output::data(if n == 0 { "[]\n" } else { "\n]\n" })?;
    }
    Ok(n)
}

fn line(f: &File) -> String {
    let verified = f.verified.map_or("not verified".into(), |v| format!("verified {} UTC", when(v)));
    let level = f.level.as_ref().map_or(String::new(), |l| format!(" ({l})"));
    let name = human::on_one_line(&f.path);
    let copies = match f.copies {
        1 => "1 copy".into(),
        n => format!("{n} copies"),
    };
    format!("{}: {name}  {}, {verified}{level}, {copies}\n", f.disk, human::bytes(f.bytes))
}
