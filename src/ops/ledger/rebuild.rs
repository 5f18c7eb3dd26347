//! The ledger from the disks' own records: after it was lost or damaged, on another computer, or for disks others copied.
//!
//! Looks for `tomo copy`'s record and for `SHA256SUMS` at the top of a disk and up to three folders down. A file is entered
//! only where it is on the disk with the size recorded. What the ledger says of other disks stays.

use super::{Copy, Ledger, Seen, now, path_bytes, scan_of, source_path};
use crate::disk;
use crate::ops::copy::{CheckReport, Outcome};
use crate::stream::{Cancel, Progress};
use crate::trust::journal::{Event, FileEvent, JOURNAL};
use crate::trust::{Name, journal, sums};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use tomokit_formats::{Error, Fault, Result};

/// How far below the top of a disk records are looked for.
const DEPTH: usize = 3;
/// Files per transaction.
const BATCH: usize = 2000;

/// What was found on a disk.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FromDisk {
    /// Label, serial or place.
    pub disk: String,
    /// Records found, each with its folder.
    pub records: Vec<String>,
    /// Files entered.
    pub files: u64,
    /// Of them verified by `tomo copy`.
    pub verified: u64,
    /// In a record, but not on the disk or of another size.
    pub missing: u64,
    /// Lines of records that could not be read.
    pub refused: u64,
}

/// What was done.
#[derive(Clone, Debug, Serialize)]
pub struct Rebuilt {
    /// The ledger.
    pub ledger: PathBuf,
    /// Where the damaged one is now, if it was.
    pub set_aside: Option<PathBuf>,
    /// Disk by disk.
    pub disks: Vec<FromDisk>,
}

/// Opens the ledger; a damaged one is moved aside (nothing is removed) and a new one begun.
fn sound(path: &Path) -> Result<(Ledger, Option<PathBuf>)> {
    if !path.exists() {
        return Ok((Ledger::open_or_create(path)?, None));
    }
    match Ledger::open(path).and_then(|l| l.check().map(|()| l)) {
        Ok(l) => Ok((l, None)),
        Err(e) if e.fault() == Fault::File && e.to_string().contains("damaged") => {
            let aside = (0..)
                .map(|i| tomokit_formats::io::with_suffix(path, &format!(".damaged-{}-{i}", now())))
                .find(|p| !p.exists())
                .unwrap_or_default();
            std::fs::rename(path, &aside).map_err(|e| Error::io(path, "moving the damaged ledger aside", e))?;
            // Its unfinished transaction must not be played into the new one.
            let hot = tomokit_formats::io::with_suffix(path, "-journal");
            if hot.exists() {
                let to = tomokit_formats::io::with_suffix(&aside, "-journal");
                std::fs::rename(&hot, &to).map_err(|e| Error::io(&hot, "moving the damaged ledger aside", e))?;
            }
            Ok((Ledger::open_or_create(path)?, Some(aside)))
        }
        Err(e) => Err(e),
    }
}

/// Reads the records on `disks` (mount points, or folders that were copied into) into the ledger at `path`.
///
/// # Errors
/// A disk that is not there, or without any record; a ledger that cannot be written; interrupted.
pub fn rebuild(path: &Path, disks: &[PathBuf], progress: &dyn Progress, cancel: &Cancel) -> Result<Rebuilt> {
    if disks.is_empty() {
        return Err(Error::caller("name the disks to rebuild the ledger from")
            .hint("for example: tomo ledger rebuild /media/me/DISK1"));
    }
    // All records are found before the old ledger is touched.
    let found = disks.iter().map(|d| Ok((d, records(d, cancel)?))).collect::<Result<Vec<_>>>()?;
    let (mut ledger, set_aside) = sound(path)?;
    let mut done = Rebuilt { ledger: path.to_owned(), set_aside, disks: Vec::new() };
    for (disk, folders) in found {
        progress.begin(&disk.display().to_string(), 0);
        done.disks.push(one(&mut ledger, disk, &folders, true, cancel)?);
        progress.end();
    }
    Ok(done)
}

/// Brings the ledger up to date from `tomo copy`'s record in one folder, after a copy into it. Nothing is forgotten: that
/// is left to [`rebuild`], which looks for every record.
///
/// # Errors
/// As [`rebuild`]; a damaged ledger stays as it is.
pub fn enter(path: &Path, folder: &Path, cancel: &Cancel) -> Result<FromDisk> {
    let mut ledger = Ledger::open_or_create(path)?;
    one(&mut ledger, folder, &[(folder.to_owned(), true)], false, cancel)
}

/// Brings a ledger that exists up to date with a check of a disk: good files are verified now, others are not any more, and
/// missing ones are forgotten.
///
/// # Errors
/// As [`enter`].
pub fn checked(path: &Path, report: &CheckReport) -> Result<()> {
    let cancel = Cancel::default();
    let folder = &report.folder;
    let mut ledger = Ledger::open(path)?;
    one(&mut ledger, folder, &[(folder.clone(), report.recorded)], false, &cancel)?;
    let volume = disk::volume_of(folder)?;
    let id = ledger.disk(&volume)?;
    let below = below(folder, &volume.mount_point)?;
    let now = now();
    let on_disk = |name: &Name| [below.as_slice(), name.bytes()].concat();
    let (mut seen, mut missing) = (Vec::new(), Vec::new());
    for (name, outcome) in &report.outcome {
        match outcome {
            Outcome::Good(digest, level) => {
                let good = Seen { sha256: digest.to_string(), when: now, level: level.to_string() };
                seen.push((on_disk(name), Some(good)));
            }
            _ if std::fs::symlink_metadata(folder.join(name.path())).is_err() => missing.push(on_disk(name)),
            _ => seen.push((on_disk(name), None)),
        }
    }
    ledger.seen(id, &seen)?;
    ledger.forget(id, &missing)
}

/// Folders with a record, each with whether it is `tomo copy`'s own.
fn records(disk: &Path, cancel: &Cancel) -> Result<Vec<(PathBuf, bool)>> {
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

/// Enters what the records in `folders` of a disk say; with `all`, what they do not confirm below `place` is forgotten.
fn one(ledger: &mut Ledger, place: &Path, folders: &[(PathBuf, bool)], all: bool, cancel: &Cancel) -> Result<FromDisk> {
    let volume = disk::volume_of(place)?;
    let id = ledger.disk(&volume)?;
    let name = volume.label.clone().or(volume.serial.clone()).unwrap_or(volume.mount_point.display().to_string());
    let mut report = FromDisk { disk: name, ..FromDisk::default() };
    let mut now_known: HashSet<Vec<u8>> = HashSet::new();
    let mut batch = Vec::new();
    for (folder, own) in folders {
        report.records.push(folder.display().to_string());
        let copies = if *own { from_journal(folder, &mut report)? } else { from_sums(folder, &mut report)? };
        let below = below(folder, &volume.mount_point)?;
        for (name, mut copy) in copies {
            cancel.check()?;
            let file = folder.join(name.path());
            let there = std::fs::symlink_metadata(&file).ok().filter(|m| m.is_file());
            let Some(meta) = there.filter(|m| copy.bytes == u64::MAX || m.len() == copy.bytes) else {
                report.missing += 1;
                continue;
            };
            copy.bytes = meta.len();
            copy.path = [below.as_slice(), name.bytes()].concat();
            report.files += 1;
            report.verified += u64::from(copy.verified.is_some());
            now_known.insert(copy.path.clone());
            batch.push(copy);
            if batch.len() >= BATCH {
                ledger.record(id, &batch)?;
                batch.clear();
            }
        }
    }
    ledger.record(id, &batch)?;
    if !all {
        return Ok(report);
    }
    // What the ledger had below this place, and no record or no file confirms.
    let inside = below(place, &volume.mount_point)?;
    let gone: Vec<_> =
        ledger.names_on(id)?.into_iter().filter(|n| n.starts_with(&inside) && !now_known.contains(n)).collect();
    ledger.forget(id, &gone)?;
    Ok(report)
}

/// `exp/` for a folder `exp` of the disk, nothing for its top.
fn below(folder: &Path, mount_point: &Path) -> Result<Vec<u8>> {
    let full = source_path(folder)?;
    let top = source_path(mount_point).unwrap_or(mount_point.to_owned());
    let inside = full.strip_prefix(&top).unwrap_or(Path::new(""));
    let mut bytes = path_bytes(inside);
    if !bytes.is_empty() {
        bytes.push(b'/');
    }
    Ok(bytes)
}

/// `tomo copy`'s record: sizes, times, sources, verifications.
fn from_journal(folder: &Path, report: &mut FromDisk) -> Result<Vec<(Name, Copy)>> {
    let mut files: HashMap<Name, (FileEvent, String)> = HashMap::new();
    let mut sources: Vec<PathBuf> = Vec::new();
    let state = journal::read_record(folder, |event| match event {
        Event::Session { sources: s, .. } => sources = s.iter().map(PathBuf::from).collect(),
        Event::File(f) => {
            let scan = scan_in(&sources, folder, f);
            files.insert(f.path.clone(), (f.clone(), scan));
        }
        Event::Dropped { path, .. } => {
            files.remove(path);
        }
        _ => {}
    })?;
    let Some(state) = state else { return Ok(Vec::new()) };
    report.refused += state.refused;
    let copies = files.into_iter().filter_map(|(name, (f, scan))| {
        let known = state.files.get(&name).filter(|s| s.sha256 == f.sha256 && !s.bad)?;
        let source = PathBuf::from(&f.source);
        let copy = Copy {
            path: Vec::new(),
            bytes: f.size,
            sha256: f.sha256.to_string(),
            scan,
            source: source.is_absolute().then(|| source_path(&source).unwrap_or(source)),
            mtime_ns: Some(f.modified_ns),
            copied: f.copied,
            verified: known.verified.map(|v| v.0),
            level: known.verified.map(|v| v.1.to_string()),
        };
        Some((name, copy))
    });
    Ok(copies.collect())
}

/// The scan of a file is named after the folder in the source, not after where it went on the disk: by its place below
/// a source, else by the name of the source on the disk.
fn scan_in(sources: &[PathBuf], folder: &Path, f: &FileEvent) -> String {
    let source = Path::new(&f.source);
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

/// A list of sums alone: sizes and times are those of the files, nothing is verified.
fn from_sums(folder: &Path, report: &mut FromDisk) -> Result<Vec<(Name, Copy)>> {
    let list = folder.join(sums::SHA256SUMS);
    let file = File::open(&list).map_err(|e| Error::io(&list, "opening", e))?;
    let mut copies = Vec::new();
    sums::read(BufReader::new(file), |_, line| {
        match line {
            Ok((digest, name)) => {
                let time = folder.join(name.path()).metadata().and_then(|m| m.modified()).ok();
                let since = time.and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
                let copy = Copy {
                    path: Vec::new(),
                    // Taken from the file.
                    bytes: u64::MAX,
                    sha256: digest.to_string(),
                    scan: scan_of(folder, name.bytes()),
                    source: None,
                    mtime_ns: None,
                    copied: since.as_secs() as i64,
                    verified: None,
                    level: None,
                };
                copies.push((name, copy));
            }
            Err(_) => report.refused += 1,
        }
        true
    })
    .map_err(|e| Error::io(&list, "reading", e))?;
    Ok(copies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::ledger::ask::Search;
    use crate::stream::Silent;
    use crate::trust::{Digest, Level};

    fn line(event: &Event) -> String {
        serde_json::to_string(event).unwrap() + "\n"
    }

    /// A folder as `tomo copy` leaves it: one file verified, one not, one dropped, one gone, one hostile line.
    fn disk_of(dir: &Path) {
        let mut text = line(&Event::Session {
            t: 1,
            session: 1,
            software: "x".into(),
            host: "h".into(),
            sources: vec!["/data/exp".into()],
            target: "t".into(),
            volume: serde_json::Value::Null,
            mount: None,
        });
        for (name, content) in
            [("exp/s1/a.nxs", "aa"), ("exp/s2/b.vol", "bbb"), ("exp/s2/c.vol", "c"), ("exp/s2/gone", "d")]
        {
            let path = Name::parse(name.as_bytes()).unwrap();
            let file = dir.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, content).unwrap();
            text += &line(&Event::File(FileEvent {
                path: path.clone(),
                size: content.len() as u64,
                modified_ns: 7,
                sha256: Digest::of(content.as_bytes()),
                copied: 5,
                session: 1,
                source: format!("/data/{name}"),
                original: None,
                holes: 0,
                adopted: false,
                made_by: None,
                blocks: None,
            }));
            if name.ends_with("a.nxs") {
                let sha256 = Digest::of(content.as_bytes());
                text += &line(&Event::Verified { t: 9, path: path.clone(), sha256, level: Level::Remounted });
            }
            if name.ends_with("c.vol") {
                text += &line(&Event::Dropped { t: 9, path, why: "w".into() });
            }
        }
        std::fs::remove_file(dir.join("exp/s2/gone")).unwrap();
        text += "{\"event\":\"file\",\"path\":\"../../etc/passwd\"}\nnonsense\n";
        std::fs::write(dir.join(JOURNAL), text).unwrap();
    }

    #[test]
    fn a_damaged_ledger_comes_back_from_the_disks() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, path) = (dir.path().join("disk"), dir.path().join("l.sqlite"));
        std::fs::create_dir(&disk).unwrap();
        let run = || rebuild(&path, std::slice::from_ref(&disk), &Silent, &Cancel::default());
        std::fs::write(&path, vec![b'x'; 9000]).unwrap();
        // Without a record nothing is touched.
        assert!(run().unwrap_err().to_string().contains("no record"));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 9000);
        disk_of(&disk);
        let r = run().unwrap();
        assert_eq!(std::fs::metadata(r.set_aside.unwrap()).unwrap().len(), 9000, "the damaged file is kept");
        let d = &r.disks[0];
        assert_eq!((d.files, d.verified, d.missing, d.refused), (2, 1, 1, 2));
        let l = Ledger::open(&path).unwrap();
        l.check().unwrap();
        let mut found = Vec::new();
        l.files(&Search::default(), |f| {
            found.push((f.path, f.scan, f.verified, f.level, f.source));
            Ok(())
        })
        .unwrap();
        let top =
            path_bytes(source_path(&disk).unwrap().strip_prefix(&disk::volume_of(&disk).unwrap().mount_point).unwrap());
        let top = String::from_utf8(top).unwrap();
        assert_eq!(found[0].0, format!("{top}/exp/s1/a.nxs"));
        assert_eq!((found[0].1.as_str(), found[0].2, found[0].3.as_deref()), ("s1", Some(9), Some("remounted")));
        assert_eq!((found[1].1.as_str(), found[1].2, found[1].4.as_deref()), ("s2", None, Some("/data/exp/s2/b.vol")));
        drop(l);
        // Again: nothing doubles; a file that has gone from the disk goes from the ledger.
        std::fs::remove_file(disk.join("exp/s2/b.vol")).unwrap();
        let r = run().unwrap();
        assert_eq!((r.set_aside, r.disks[0].files, r.disks[0].missing), (None, 1, 2));
        assert_eq!(Ledger::open(&path).unwrap().disks().unwrap()[0].files, 1);
    }

    #[test]
    fn a_list_of_sums_alone_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, path) = (dir.path().join("disk/deep"), dir.path().join("l.sqlite"));
        std::fs::create_dir_all(disk.join("s1")).unwrap();
        std::fs::write(disk.join("s1/a"), "abc").unwrap();
        let digest = Digest::of(b"abc");
        std::fs::write(disk.join("SHA256SUMS"), format!("{digest}  s1/a\n{digest}  ../evil\n{digest}  none\n"))
            .unwrap();
        let r = rebuild(&path, &[dir.path().join("disk")], &Silent, &Cancel::default()).unwrap();
        let d = &r.disks[0];
        assert_eq!((d.files, d.verified, d.missing, d.refused), (1, 0, 1, 1));
        assert_eq!(Ledger::open(&path).unwrap().disks().unwrap()[0].file_bytes, 3);
        assert!(rebuild(&path, &[], &Silent, &Cancel::default()).is_err());
        assert!(rebuild(&path, &[dir.path().join("x")], &Silent, &Cancel::default()).is_err());
    }
}
