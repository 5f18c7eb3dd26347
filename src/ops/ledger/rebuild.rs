//! The ledger from the disks' own records: after it was lost or damaged, on another computer, or for disks others copied.
//!
//! Looks for `tomo copy`'s record and for `SHA256SUMS` at the top of a disk and up to three folders down. A file is entered
//! only where it is on the disk with the size recorded. What the ledger says of other disks stays.

use super::records::{Recorded, from_journal, from_sums, records};
use super::{Copy, DAMAGED, DiskId, Found, Ledger, Seen, now, path_bytes, source_path};
use crate::disk;
use crate::ops::copy::{CHECKER_FOLDER, CheckReport, Outcome};
use crate::stream::{Cancel, Progress};
use crate::trust::{Digest, Name};
use serde::Serialize;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use tomokit_formats::{Error, Fault, Result};

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
    /// Of them verified, as the ledger says in the end: a later check may have found what the record calls verified not
    /// good. Counted by [`rebuild`] only.
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
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub ledger: PathBuf,
    /// Where the damaged one is now, if it was.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub set_aside: Option<PathBuf>,
    /// Disk by disk.
    pub disks: Vec<FromDisk>,
}

/// Opens the ledger; a damaged one is moved aside (nothing is removed) and a new one begun. What never was a ledger stays
/// where it is.
fn sound(path: &Path) -> Result<(Ledger, Option<PathBuf>)> {
    if !path.exists() {
        return Ok((Ledger::open_or_create(path)?, None));
    }
    match Ledger::open(path).and_then(|l| l.check().map(|()| l)) {
        Ok(l) => Ok((l, None)),
        Err(e) if is_damage(path, &e) => {
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

/// True where the error tells of damage; a folder may be called damaged as well.
fn is_damage(path: &Path, e: &Error) -> bool {
    let said = e.to_string();
    let said = said.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&said);
    e.fault() == Fault::File && said.starts_with(DAMAGED)
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

/// Notes recorded files of a folder, by name and the session that wrote them, that are no longer what they were.
///
/// # Errors
/// As [`enter`].
pub fn doubt(path: &Path, folder: &Path, files: &[(Name, u32)]) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let mut ledger = Ledger::open_or_create(path)?;
    let volume = disk::volume_of(folder)?;
    let id = ledger.disk(&volume)?;
    let below = below(folder, &volume.mount_point)?;
    let bad = |session| Found::NotGood { session: Some(session), when: now() };
    let seen: Vec<_> = files.iter().map(|(n, s)| ([below.as_slice(), n.bytes()].concat(), bad(*s))).collect();
    ledger.seen(id, &seen)
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
    for (name, state, outcome) in report.looked.outcome() {
        let path = on_disk(&name);
        match outcome {
            Outcome::Good(digest, level) => {
                let good = Seen { sha256: digest.to_string(), when: now, level: level.to_string() };
                seen.push((path, Found::Good(good)));
            }
            _ if std::fs::symlink_metadata(folder.join(name.path())).is_err() => missing.push(path),
            _ => {
                let session = report.recorded.then_some(state.session);
                seen.push((path, Found::NotGood { session, when: now }));
            }
        }
        if seen.len() + missing.len() >= BATCH {
            ledger.seen(id, &seen)?;
            ledger.forget(id, &missing)?;
            (seen, missing) = (Vec::new(), Vec::new());
        }
    }
    ledger.seen(id, &seen)?;
    ledger.forget(id, &missing)
}

/// Enters what the records in `folders` of a disk say; with `all`, what they do not confirm below `place` is forgotten.
fn one(ledger: &mut Ledger, place: &Path, folders: &[(PathBuf, bool)], all: bool, cancel: &Cancel) -> Result<FromDisk> {
    let volume = disk::volume_of(place)?;
    let id = ledger.disk(&volume)?;
    let name = volume.label.clone().or(volume.serial.clone()).unwrap_or(volume.mount_point.display().to_string());
    let mut report = FromDisk { disk: name, ..FromDisk::default() };
    // By a mark of sixteen bytes each.
    let mut confirmed: HashSet<[u8; 16]> = HashSet::new();
    for (folder, own) in folders {
        report.records.push(folder.display().to_string());
        let below = below(folder, &volume.mount_point)?;
        let mut entry =
            Entry { ledger, id, below, folder, copies: Vec::new(), bad: Vec::new(), counts: FromDisk::default() };
        let each = |r: Recorded| {
            cancel.check()?;
            match entry.take(r)? {
                Some(path) if all => drop(confirmed.insert(mark(&path))),
                _ => {}
            }
            Ok(())
        };
        if *own {
            from_journal(folder, &mut report, each)?
        } else {
            from_sums(folder, &mut report, each)?
        };
        entry.write()?;
        report.files += entry.counts.files;
        report.missing += entry.counts.missing;
    }
    if all {
        // What the ledger had below this place, and no record or no file confirms.
        let inside = below(place, &volume.mount_point)?;
        ledger.keep(id, |n| !n.starts_with(&inside) || confirmed.contains(&mark(n)))?;
        report.verified = ledger.verified_below(id, &inside)?;
    }
    Ok(report)
}

fn mark(name: &[u8]) -> [u8; 16] {
    let mut m = [0; 16];
    m.copy_from_slice(&Digest::of(name).0[..16]);
    m
}

/// One record on its way into the ledger.
struct Entry<'a> {
    ledger: &'a mut Ledger,
    id: DiskId,
    /// What comes before its names on the disk.
    below: Vec<u8>,
    folder: &'a Path,
    copies: Vec<Copy>,
    bad: Vec<(Vec<u8>, Found)>,
    counts: FromDisk,
}

impl Entry<'_> {
    /// Takes a file that is on the disk as recorded; answers its name there.
    fn take(&mut self, r: Recorded) -> Result<Option<Vec<u8>>> {
        // The checker is no data of anybody's.
        if r.name.path().starts_with(CHECKER_FOLDER) {
            return Ok(None);
        }
        let path = [self.below.as_slice(), r.name.bytes()].concat();
        if r.bad {
            // A reading after the last good one: the ledger may still call it verified.
            self.bad.push((path, Found::NotGood { session: r.copy.session, when: now() }));
            return Ok(None);
        }
        let file = self.folder.join(r.name.path());
        let there = std::fs::symlink_metadata(&file).ok().filter(|m| m.is_file());
        let Some(meta) = there.filter(|m| r.copy.bytes == u64::MAX || m.len() == r.copy.bytes) else {
            self.counts.missing += u64::from(!r.again);
            return Ok(None);
        };
        self.counts.files += u64::from(!r.again);
        self.copies.push(Copy { path: path.clone(), bytes: meta.len(), ..r.copy });
        if self.copies.len() >= BATCH {
            self.write()?;
        }
        Ok(Some(path))
    }

    fn write(&mut self) -> Result<()> {
        self.ledger.record(self.id, &self.copies)?;
        self.copies.clear();
        if !self.bad.is_empty() {
            self.ledger.seen(self.id, &self.bad)?;
            self.bad.clear();
        }
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::ledger::ask::Search;
    use crate::stream::Silent;
    use crate::trust::Level;
    use crate::trust::journal::{Event, FileEvent, JOURNAL};

    fn line(event: &Event) -> String {
        serde_json::to_string(event).unwrap() + "\n"
    }

    /// A folder as `tomo copy` leaves it: one file verified, one not, one dropped, one gone, one hostile line.
    fn disk_of(dir: &Path) {
        disk_from(dir, "/data/");
    }

    /// The same, copied from a folder told as on the system it was copied on.
    fn disk_from(dir: &Path, data: &str) {
        let told = |name: &str| match data.starts_with('/') {
            true => format!("{data}{name}"),
            false => format!("{data}{}", name.replace('/', "\\")),
        };
        let mut text = line(&Event::Session {
            t: 1,
            session: 1,
            software: "x".into(),
            host: "h".into(),
            sources: vec![told("exp")],
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
                source: told(name),
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
    fn a_disk_copied_on_another_system_has_the_same_scans() {
        for (data, here) in
            [("/data/", "/data/"), (r"C:\data\", "C:/data/"), (r"\\?\E:\", "E:/"), (r"\\nas\x\", "//nas/x/")]
        {
            let dir = tempfile::tempdir().unwrap();
            let (disk, path) = (dir.path().join("disk"), dir.path().join("l.sqlite"));
            std::fs::create_dir(&disk).unwrap();
            disk_from(&disk, data);
            rebuild(&path, std::slice::from_ref(&disk), &Silent, &Cancel::default()).unwrap();
            let mut found = Vec::new();
            let each = |f: crate::ops::ledger::ask::File| {
                found.push((f.scan, f.source.unwrap().replace('\\', "/")));
                Ok(())
            };
            Ledger::open(&path).unwrap().files(&Search::default(), each).unwrap();
            let told = |name: &str, scan: &str| (scan.to_owned(), format!("{here}{name}"));
            if data != r"\\?\E:\" || cfg!(unix) {
                assert_eq!(found, [told("exp/s1/a.nxs", "s1"), told("exp/s2/b.vol", "s2")], "{data}");
            }
        }
    }

    #[test]
    fn what_is_no_ledger_stays_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        std::fs::create_dir(&disk).unwrap();
        disk_of(&disk);
        let run = |path: &Path| rebuild(path, std::slice::from_ref(&disk), &Silent, &Cancel::default());
        // As the error is told; Windows has no such name.
        let folder = dir.path().join(if cfg!(windows) { "the ledger is damaged" } else { "x: the ledger is damaged" });
        std::fs::create_dir(&folder).unwrap();
        for (name, content) in
            [("thesis.txt", "my thesis".repeat(1000)), ("short", "x".into()), ("none.dbx", "x".into())]
        {
            let path = folder.join(name);
            std::fs::write(&path, &content).unwrap();
            let e = run(&path).unwrap_err();
            assert!(e.fault() == Fault::Caller && e.to_string().contains("this is no ledger"), "{e}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
            assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
            std::fs::remove_file(&path).unwrap();
        }
        // Another program's database stays as well, whatever its folder is called.
        let foreign = folder.join("photos.sqlite");
        rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
        assert!(run(&foreign).unwrap_err().to_string().contains("another program"));
        // Empty, damaged with its head, damaged head but the name of one: made anew.
        let head = [&b"SQLite format 3\0"[..], &[0xa5; 5000]].concat();
        for (name, content, aside) in [
            ("empty.txt", &b""[..], false),
            ("head.txt", &head, true),
            ("Ledger.SQLITE", b"lost", true),
            ("l.db", b"lost", true),
        ] {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            let done = run(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!((done.set_aside.is_some(), done.disks[0].files), (aside, 2), "{name}");
        }
    }

    #[test]
    fn verified_is_what_the_ledger_says_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, path) = (dir.path().join("disk"), dir.path().join("l.sqlite"));
        std::fs::create_dir(&disk).unwrap();
        disk_of(&disk);
        let run =
            || rebuild(&path, std::slice::from_ref(&disk), &Silent, &Cancel::default()).unwrap().disks[0].verified;
        assert_eq!(run(), 1);
        // A check that found it damaged does not write on the disk.
        let mut l = Ledger::open(&path).unwrap();
        let volume = disk::volume_of(&disk).unwrap();
        let id = l.disk(&volume).unwrap();
        let name = [below(&disk, &volume.mount_point).unwrap().as_slice(), b"exp/s1/a.nxs"].concat();
        l.seen(id, &[(name, Found::NotGood { session: Some(1), when: 20 })]).unwrap();
        drop(l);
        assert_eq!(run(), 0);
        assert_eq!(Ledger::open(&path).unwrap().disks().unwrap()[0].unverified, 2);
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
