//! The ledger as files others read: CSV (one line per file and disk) and an HTML page (disks and scans).

use super::ask::{File, Search};
use super::{Ledger, when};
use crate::ops::{html, tables};
use std::path::Path;
use tomokit_formats::{Error, Result};

/// Columns of the CSV.
pub const COLUMNS: [&str; 11] =
    ["disk", "serial", "path", "bytes", "sha256", "scan", "source", "copied_utc", "verified_utc", "level", "copies"];

/// A file as a row of [`COLUMNS`].
pub fn cells(f: File) -> [String; 11] {
    [
        f.disk,
        f.serial.unwrap_or_default(),
        f.path,
        f.bytes.to_string(),
        f.sha256,
        f.scan,
        f.source.unwrap_or_default(),
        when(f.copied),
        f.verified.map(when).unwrap_or_default(),
        f.level.unwrap_or_default(),
        f.copies.to_string(),
    ]
}

/// Writes the files that are looked for as CSV; gives their number.
pub fn csv(ledger: &Ledger, search: &Search, path: &Path, overwrite: bool) -> Result<u64> {
    let mut n = 0;
    tables::csv_file(path, overwrite, &COLUMNS, |put| {
        ledger.files(search, |f| {
            n += 1;
            put(&cells(f))
        })
    })?;
    Ok(n)
}

/// Writes disks and scans as a page; `bytes` prints sizes.
pub fn html(ledger: &Ledger, path: &Path, overwrite: bool, bytes: impl Fn(u64) -> String) -> Result<()> {
    let (disks, scans) = (ledger.disks()?, ledger.scans()?);
    tables::text_file(path, overwrite, |out| {
        let mut put = |text: String| out.write_all(text.as_bytes()).map_err(|e| Error::io(path, "writing", e));
        put(html::head("What is on which disk"))?;
        put("<h2>Disks</h2>\n<table>".into())?;
        put(html::headings(
            &[
                "disk",
                "serial",
                "file system",
                "size",
                "room left",
                "scans",
                "files",
                "data",
                "verified since",
                "seen last",
            ],
            &[3, 4, 5, 6, 7],
        ))?;
        for d in &disks {
            // Network drives may not tell their size.
            let told = |n| if d.bytes > 0 { bytes(n) } else { "not told".into() };
            let row = [
                d.name().to_owned(),
                d.serial.clone().unwrap_or_default(),
                d.fs.clone(),
                told(d.bytes),
                told(d.available),
                d.scans.to_string(),
                d.files.to_string(),
                bytes(d.file_bytes),
                d.verified_since.map_or("never".into(), when)
                    + &if d.unverified > 0 { format!(" ({} files never)", d.unverified) } else { String::new() },
                when(d.last_seen),
            ];
            put(html::cells(&row, &[3, 4, 5, 6, 7]))?;
        }
        put("</table>\n<h2>Scans</h2>\n<table>".into())?;
        put(html::headings(&["scan", "files", "data", "verified copies", "on", "copied"], &[1, 2, 3]))?;
        for s in &scans {
            let row = [
                s.scan.clone(),
                s.files.to_string(),
                bytes(s.bytes),
                s.copies.to_string(),
                s.disks.clone(),
                when(s.copied),
            ];
            put(html::cells(&row, &[1, 2, 3]))?;
        }
        put("</table>\n".into())?;
        put(html::foot(&format!("{} UTC; times are UTC; {}", when(super::now()), ledger.path().display())))
    })
}
