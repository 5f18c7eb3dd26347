//! What a folder is checked against besides the record, and what is there besides.

use super::CheckReport;
use crate::ops::copy::finish::HASHDEEP;
use crate::trust::journal::JOURNAL;
use crate::trust::root::{LOCK, PART};
use crate::trust::{FileState, Files, Marks, Name, sums};
use std::collections::{BTreeSet, HashSet};
use std::io::BufReader;
use std::path::Path;
use tomokit_formats::io::open_plain;
use tomokit_formats::{Error, Result};
use walkdir::WalkDir;

/// What any list of sums says; sizes are not known then.
pub(super) fn from_sums(folder: &Path, report: &mut CheckReport) -> Result<Files> {
    let (path, bag) = match (folder.join(sums::SHA256SUMS), folder.join("manifest-sha256.txt")) {
        (s, _) if s.is_file() => (s, false),
        (_, m) if m.is_file() => (m, true),
        (s, _) => {
            return Err(Error::caller("there is no record of a copy here")
                .path(folder)
                .expected(format!("{JOURNAL}, {} or a bag", s.file_name().unwrap_or_default().display()))
                .hint("name the folder that was copied into"));
        }
    };
    crate::trust::journal::refuse_link(&path)?;
    report.list = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let file = open_plain(&path).map_err(|e| Error::io(&path, "opening the list", e))?;
    let mut files = Files::default();
    sums::read(BufReader::new(file), |line, parsed| {
        match parsed {
            Ok((sha256, name)) => {
                let name = if bag { decoded(&name) } else { name };
                if files.get(&name).is_some_and(|f| f.sha256 != sha256) {
                    report.refused_lines.push(format!("line {line}: {name} has two different sums"));
                }
                let state = FileState { size: 0, modified_ns: 0, sha256, verified: None, session: 0, bad: false };
                files.put(&name, state);
            }
            Err(why) => report.refused_lines.push(format!("line {line}: {why}")),
        }
        report.refused_lines.len() < 1000
    })
    .map_err(|e| Error::io(&path, "reading the list", e))?;
    if files.is_empty() {
        return Err(Error::file(&path, "no file is in this list")
            .found(report.refused_lines.join("; "))
            .hint("where a copy was interrupted before its first file, give its command again"));
    }
    Ok(files)
}

/// A name as a bag's manifest writes it: line ends as `%0A`, `%0D`.
fn decoded(name: &Name) -> Name {
    let text = name.bytes();
    if !text.contains(&b'%') {
        return name.clone();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(b) = rest.first() {
        let sign = rest.get(..3).map(<[u8]>::to_ascii_uppercase);
        let (plain, n) = match sign.as_deref() {
            Some(b"%0A") => (b'\n', 3),
            Some(b"%0D") => (b'\r', 3),
            _ => (*b, 1),
        };
        out.push(plain);
        rest = &rest[n..];
    }
    Name::parse(&out).unwrap_or_else(|_| name.clone())
}

/// The list others read must say the same as the record: a line more or less, or another sum, is a finding.
pub(super) fn compare_lists(folder: &Path, files: &Files, report: &mut CheckReport) -> Result<()> {
    let path = folder.join(sums::SHA256SUMS);
    let file = match open_plain(&path) {
        Ok(f) => f,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            report.refused_lines.push(format!("{} is missing", sums::SHA256SUMS));
            return Ok(());
        }
        Err(e) => {
            report.refused_lines.push(format!("{} cannot be read: {e}", sums::SHA256SUMS));
            return Ok(());
        }
    };
    // A file that was copied again stands in the list twice until the next run puts it in order: the last line counts.
    let mut listed = Marks::default();
    let mut disagrees: BTreeSet<Name> = BTreeSet::new();
    let mut unknown: BTreeSet<Name> = BTreeSet::new();
    sums::read(BufReader::new(file), |line, parsed| {
        match parsed {
            Ok((sum, name)) => match files.number(&name) {
                Some(n) => {
                    listed.set(n);
                    match files.state(n).is_some_and(|f| f.sha256 == sum) {
                        true => disagrees.remove(&name),
                        false => disagrees.insert(name),
                    };
                }
                None => drop(unknown.insert(name)),
            },
            Err(why) => report.refused_lines.push(format!("{} line {line}: {why}", sums::SHA256SUMS)),
        }
        report.refused_lines.len() < 1000
    })
    .map_err(|e| Error::io(&path, "reading the list", e))?;
    let disagree = |name: &Name| format!("{name}: {} and {JOURNAL} disagree", sums::SHA256SUMS);
    report.refused_lines.extend(disagrees.iter().map(disagree));
    report.refused_lines.extend(unknown.iter().map(|name| format!("{name}: in {} only", sums::SHA256SUMS)));
    let only = || files.iter().filter(|(n, _)| !listed.has(*n));
    if let Some(first) = only().map(|(n, _)| files.name(n)).min() {
        let count = only().count();
        report.refused_lines.push(format!("{count} files are in {JOURNAL} only, the first is {first}"));
    }
    Ok(())
}

/// What is on the disk and not in the list.
pub(super) fn extras(folder: &Path, files: &Files, report: &mut CheckReport) {
    let own: HashSet<&str> = [
        sums::SHA256SUMS,
        JOURNAL,
        LOCK,
        HASHDEEP,
        "bagit.txt",
        "bag-info.txt",
        "manifest-sha256.txt",
        "tagmanifest-sha256.txt",
    ]
    .into();
    // Windows and its relatives leave these on every disk.
    let system = ["System Volume Information", "$RECYCLE.BIN", "lost+found", ".Trashes", ".Spotlight-V100"];
    let mut walk = WalkDir::new(folder).sort_by_file_name().into_iter();
    while let Some(entry) = walk.next() {
        let Ok(entry) = entry else { continue };
        let top = entry.depth() == 1;
        let last = entry.file_name().to_string_lossy();
        if entry.file_type().is_dir() {
            if top && system.contains(&&*last) {
                walk.skip_current_dir();
            }
            continue;
        }
        let Ok(below) = entry.path().strip_prefix(folder) else { continue };
        let Ok(name) = Name::of(below) else { continue };
        if (top && own.contains(&&*last)) || files.has(&name) {
            continue;
        }
        let list = if last.ends_with(PART) { &mut report.unfinished } else { &mut report.extra };
        list.push(name.to_string());
    }
}
