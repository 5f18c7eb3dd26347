//! `tomo disks`: where one could copy to, and what to know about it.

use crate::cli::common::Context;
use crate::cli::{Exit, Tool, human, output};
use crate::disk::Driver;
use crate::ops::disks::{Found, Report, Request, execute};
use crate::ops::ledger;
use crate::stream::parse_bytes;
use clap::Args;
use std::path::PathBuf;
use tomokit_formats::Result;

/// Arguments of `tomo disks`.
#[derive(Args, Debug)]
pub struct Disks {
    /// Folders whose disks are wanted [default: every mounted disk]
    #[arg(value_name = "FOLDER")]
    folders: Vec<PathBuf>,
    /// Measure: write, sync and read back a temporary file in each FOLDER
    #[arg(long, requires = "folders")]
    probe: bool,
    /// Size of that file, at most half of the free room
    #[arg(long, requires = "probe", value_name = "SIZE", default_value = "256M", value_parser = |s: &str| parse_bytes(s).map_err(|e| e.to_string()))]
    probe_size: u64,
    /// The ledger of copies [default: $TOMOKIT_LEDGER, else one per user]
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
}

impl Tool for Disks {
    const NAME: &'static str = "disks";
    const ABOUT: &'static str = "List disks: file system, room, serial, speed, and what was copied to them";
    const EXAMPLES: &'static str = "  tomo disks                                       every mounted disk
  tomo disks /media/me/DISK1 --probe               also how fast it writes and reads
  tomo disks --json
";

    fn run(self, context: &Context) -> Result<Exit> {
        let request = Request {
            folders: self.folders,
            probe_bytes: self.probe.then_some(self.probe_size),
            ledger: self.ledger.or_else(|| ledger::default_path().ok()),
        };
        let report = execute(&request, &context.progress, &context.cancel)?;
        if let Some(e) = &report.ledger_error {
            context.warn(&format!("the ledger is left out: {e}"));
        }
        for place in &report.silent {
            context.warn(&format!("{place}: mounted, but it does not answer"));
        }
        match context.json {
            true => output::json(&report)?,
            false => output::print(&text(&report))?,
        }
        Ok(Exit::Done)
    }
}

fn text(report: &Report) -> String {
    if report.disks.is_empty() {
        return "no disks found\n".into();
    }
    report.disks.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn one(d: &Found) -> String {
    let v = &d.volume;
    let label = v.label.as_ref().map_or(String::new(), |l| format!("  \"{l}\""));
    let mut kind = v.fs.to_string();
    if v.driver == Driver::Fuse {
        kind += " (driven by FUSE)";
    }
    match v.usb_speed_mbit {
        Some(mbit) => kind += &format!(", USB {mbit} Mbit/s"),
        None if v.removable => kind += ", removable",
        None => {}
    }
    match v.rotational {
        Some(true) => kind += ", spinning disk",
        Some(false) => kind += ", solid state",
        None => {}
    }
    let mut t = format!("{}{label}\n  {kind}\n", v.mount_point.display());
    match v.room() {
        Some(room) => {
            t += &format!("  size    {}, clusters of {} KiB\n", human::both(v.total), v.cluster >> 10);
            t += &format!("  free    {}\n", human::both(room));
        }
        None => t += "  size    not told by the system\n",
    }
    t += &format!("  serial  {}  ({})\n", v.serial.as_deref().unwrap_or("not told by the system"), v.device.display());
    if let Some(s) = &d.speed {
        let rate = |r: f64| format!("{}/s", human::bytes(r as u64));
        let cached = if s.read_from_cache { " (may come from memory)" } else { "" };
        t += &format!("  speed   writes {}, reads {}{cached}\n", rate(s.write_per_s), rate(s.read_per_s));
    }
    if let Some(l) = &d.ledger {
        let (files, scans) = (human::count(l.files, "file"), human::count(l.scans, "scan"));
        t += &format!("  ledger  {files} of {scans}, {}", human::bytes(l.file_bytes));
        t += &match (l.verified_since, l.unverified) {
            (Some(v), 0) => format!(", all verified since {} UTC\n", ledger::when(v)),
            (_, n) => format!(", {n} not verified\n"),
        };
    }
    for w in &d.warnings {
        t += &format!("  note    {w}\n");
    }
    t
}
