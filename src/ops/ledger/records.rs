//! Records on a disk, as copies for the ledger: where they are, and what each says file by file.

use super::rebuild::FromDisk;
use super::{Copy, path_bytes, scan_of, source_path};
use crate::disk::plain_path;
use crate::stream::Cancel;
use crate::trust::journal::{Event, FileEvent, JOURNAL};
use crate::trust::name::path_of_text;
use crate::trust::{JournalState, Marks, Name, journal, sums};
use std::ffi::OsStr;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use tomokit_formats::io::open_plain;
use tomokit_formats::{Error, Result};

/// How far below the top of a disk records are looked for.
const DEPTH: usize = 3;

/// A file of a record.
pub(super) struct Recorded {
    pub(super) name: Name,
    /// Its path is not filled in; its size is `u64::MAX` where the record does not tell.
    pub(super) copy: Copy,
    /// Its last reading found it damaged.
    pub(super) bad: bool,
    /// Told of before: the later word counts.
    pub(super) again: bool,
}

/// Folders with a record, each with whether it is `tomo copy`'s own.
pub(super) fn records(disk: &Path, cancel: &Cancel) -> Result<Vec<(PathBuf, bool)>> {
    if !disk.is_dir() {
        return Err(Error::caller("no such disk or folder")
            .path(disk)
            .hint("plug it in and give the folder it is mounted at"));
    }
    let mut found: Vec<(PathBuf, bool)> = Vec::new();
    for entry in walkdir::WalkDir::new(disk).max_depth(DEPTH + 1).same_file_system(true).sort_by_file_name() {
        cancel.check()?;
        // Folders that may not be listed (System Volume Information) hold no record of ours.
        let Ok(entry) = entry else { continue };
        let (name, is_file) = (entry.file_name(), entry.file_type().is_file());
        let own = name == OsStr::new(JOURNAL);
        if !is_file || !(own || name == OsStr::new(sums::SHA256SUMS)) {
            continue;
        }
        let folder = entry.path().parent().unwrap_or(disk).to_owned();
        match found.iter_mut().find(|f| f.0 == folder) {
            Some(f) => f.1 |= own,
            None => found.push((folder, own)),
        }
    }
    if found.is_empty() {
        return Err(Error::caller(format!("no record of copies here: neither {JOURNAL} nor {}", sums::SHA256SUMS))
            .path(disk)
            .hint("give the folder that was copied into, or copy again with 'tomo copy'"));
    }
    Ok(found)
}

/// What `tomo copy`'s record says: sizes, times, sources, verifications. The record is read twice and never held as a whole:
/// first what all of it comes to, then file by file.
pub(super) fn from_journal(
    folder: &Path,
    report: &mut FromDisk,
    mut each: impl FnMut(Recorded) -> Result<()>,
) -> Result<()> {
    let Some(JournalState { files, refused, .. }) = journal::read_record(folder, |_| {})? else { return Ok(()) };
    report.refused += refused;
    if files.is_empty() && folder.join(sums::SHA256SUMS).is_file() {
        return from_sums(folder, report, each);
    }
    let (mut sources, mut spelling): (Vec<PathBuf>, _) = (Vec::new(), Spelling::default());
    let mut told = Marks::default();
    let mut outcome = Ok(());
    journal::read_events_only(folder, |event| match event {
        Event::Session { sources: s, .. } => sources = s.iter().map(|s| told_path(s).0).collect(),
        Event::File(f) if outcome.is_ok() => {
            let number = files.number(&f.path);
            let known = number.and_then(|n| files.state(n)).filter(|s| s.sha256 == f.sha256);
            let (Some(n), Some(known)) = (number, known) else { return };
            let (source, is_whole) = told_path(&f.source);
            let copy = Copy {
                path: Vec::new(),
                bytes: f.size,
                sha256: f.sha256.to_string(),
                scan: scan_in(&sources, folder, &source, f),
                source: is_whole.then(|| spelling.of(&source).unwrap_or(source)),
                mtime_ns: Some(f.modified_ns),
                copied: f.copied,
                verified: known.verified.map(|v| v.0),
                level: known.verified.map(|v| v.1.to_string()),
                session: Some(known.session),
            };
            outcome = each(Recorded { name: f.path.clone(), copy, bad: known.bad, again: !told.set(n) });
        }
        _ => {}
    })?;
    outcome
}

/// A path as a record tells it, and whether it is absolute: one of another system, too, which reads with `/` here. A disk is
/// written on a data PC and asked at home.
fn told_path(text: &str) -> (PathBuf, bool) {
    let drive = |t: &str| t.as_bytes().get(1..3) == Some(b":\\") && t.as_bytes()[0].is_ascii_alphabetic();
    if cfg!(unix) && (drive(text) || text.starts_with(r"\\")) {
        let plain = plain_path(Path::new(text));
        return (PathBuf::from(plain.to_string_lossy().replace('\\', "/")), true);
    }
    let path = path_of_text(text);
    let is_whole = path.is_absolute() || (cfg!(windows) && text.starts_with('/'));
    (path, is_whole)
}

/// [`source_path`] for files that mostly follow others of their folder: that is looked up once.
#[derive(Default)]
struct Spelling {
    /// A folder as given and as it is spelled.
    last: Option<(PathBuf, PathBuf)>,
}

impl Spelling {
    /// `None` where there is no such file.
    fn of(&mut self, file: &Path) -> Option<PathBuf> {
        let (folder, name) = (file.parent()?, file.file_name()?);
        // Windows has one file under many names.
        if cfg!(windows) || std::fs::symlink_metadata(file).ok()?.is_symlink() {
            return source_path(file).ok();
        }
        match &self.last {
            Some((given, spelled)) if given == folder => Some(spelled.join(name)),
            _ => {
                let spelled = source_path(folder).ok()?;
                let file = spelled.join(name);
                self.last = Some((folder.to_owned(), spelled));
                Some(file)
            }
        }
    }
}

/// The scan of a file is named after the folder in the source, not after where it went on the disk: by its place below
/// a source, else by the name of the source on the disk.
fn scan_in(sources: &[PathBuf], folder: &Path, source: &Path, f: &FileEvent) -> String {
    let below = |root: &Path| Some(path_bytes(source.strip_prefix(root).ok()?)).filter(|b| !b.is_empty());
    if let Some((root, inside)) = sources.iter().find_map(|s| Some((s, below(s)?))) {
        return scan_of(root, &inside);
    }
    let name = f.path.bytes();
    match name.iter().position(|b| *b == b'/') {
        Some(at) => match sources.iter().find(|s| s.file_name().is_some_and(|n| n.as_encoded_bytes() == &name[..at])) {
            Some(root) => scan_of(root, &name[at + 1..]),
            None => scan_of(folder, name),
        },
        // A file that was named alone.
        None => scan_of(source.parent().unwrap_or(folder), name),
    }
}

/// What a list of sums says: sizes and times are those of the files, nothing is verified.
pub(super) fn from_sums(
    folder: &Path,
    report: &mut FromDisk,
    mut each: impl FnMut(Recorded) -> Result<()>,
) -> Result<()> {
    let list = folder.join(sums::SHA256SUMS);
    let file = open_plain(&list).map_err(|e| Error::io(&list, "opening", e))?;
    let mut outcome = Ok(());
    sums::read(BufReader::new(file), |_, line| {
        match line {
            Ok((digest, name)) => {
                let time = folder.join(name.path()).metadata().and_then(|m| m.modified()).ok();
                let since = time.and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
                let copy = Copy {
                    path: Vec::new(),
                    bytes: u64::MAX,
                    sha256: digest.to_string(),
                    scan: scan_of(folder, name.bytes()),
                    source: None,
                    mtime_ns: None,
                    copied: since.as_secs() as i64,
                    verified: None,
                    level: None,
                    session: None,
                };
                outcome = each(Recorded { name, copy, bad: false, again: false });
            }
            Err(_) => report.refused += 1,
        }
        outcome.is_ok()
    })
    .map_err(|e| Error::io(&list, "reading", e))?;
    outcome
}
