//! During the experiment: what has been produced in a folder, what of it is on no disk yet, how fast it grows, and when the
//! disks will be full.

use crate::disk::{self, Volume};
use crate::ops::ledger::{self, Ledger};
use crate::stream::{Cancel, Progress};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tomokit_formats::{Error, Fault, Result};

/// Hours that count as today.
const TODAY_HOURS: f64 = 24.0;

/// What to look at.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where the experiment's data are.
    pub folder: PathBuf,
    /// Folders on the disks copied to; none: every removable disk that may be written.
    pub disks: Vec<PathBuf>,
    /// The ledger of copies.
    pub ledger: Option<PathBuf>,
    /// Rates of copying to one disk, bytes per second.
    pub rates: Vec<f64>,
}

/// A scan of the experiment (a folder right below the one looked at).
#[derive(Clone, Debug, Default, Serialize)]
pub struct ScanNow {
    /// Name.
    pub scan: String,
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
    /// Bytes on no disk as they are now.
    pub waiting: u64,
}

/// A disk and its future.
#[derive(Clone, Debug, Serialize)]
pub struct DiskNow {
    /// Mount point.
    pub place: String,
    /// Label.
    pub label: Option<String>,
    /// Room left, bytes; `None` where the system does not tell.
    pub available: Option<u64>,
    /// Hours until it is full if the disks are filled one after the other at today's rate, with what waits already; `None` where
    /// nothing comes or the room is not known.
    pub full_in_hours: Option<f64>,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct Now {
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
    /// Files on no disk as they are now.
    pub waiting_files: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Bytes with at least two verified copies.
    pub twice_bytes: u64,
    /// True where a ledger or a manifest was found: otherwise everything counts as waiting.
    pub records_found: bool,
    /// Bytes written in the last 24 hours.
    pub today_bytes: u64,
    /// Hours they took: since the first of them.
    pub today_hours: f64,
    /// Bytes per day at that rate.
    pub per_day: f64,
    /// Hours to copy what waits, at each rate and one disk.
    pub copy_hours: Vec<f64>,
    /// Scans by name.
    pub scans: Vec<ScanNow>,
    /// Disks in order of their names.
    pub disks: Vec<DiskNow>,
    /// What to mind.
    pub notes: Vec<String>,
}

/// Walks the folder and asks the ledger for every file.
///
/// # Errors
/// No such folder, a ledger that cannot be read, interrupted.
pub fn now(r: &Request, progress: &dyn Progress, cancel: &Cancel) -> Result<Now> {
    if !r.folder.is_dir() {
        return Err(Error::caller("no such folder").path(&r.folder));
    }
    let folder = ledger::source_path(&r.folder)?;
    let mut notes = Vec::new();
    let mut book = r.ledger.as_ref().filter(|l| l.exists()).map(|l| Ledger::open(l)).transpose()?;
    let made = tempfile::tempdir().map_err(|e| Error::io(std::env::temp_dir(), "making a temporary folder", e))?;
    if book.is_none() {
        book = from_records(&made.path().join("ledger.sqlite"), &r.disks, progress, cancel)?;
    }
    if book.is_none() {
        let none = "no ledger, and no record on the disks named: everything counts as not copied";
        notes.push(format!("{none} (tomo ledger rebuild DISK… makes one)"));
    }
    let here = ledger::now() as f64;
    let mut n = Now {
        files: 0,
        bytes: 0,
        waiting_files: 0,
        waiting_bytes: 0,
        twice_bytes: 0,
        records_found: book.is_some(),
        today_bytes: 0,
        today_hours: 0.0,
        per_day: 0.0,
        copy_hours: Vec::new(),
        scans: Vec::new(),
        disks: Vec::new(),
        notes,
    };
    let mut scans: BTreeMap<String, ScanNow> = BTreeMap::new();
    let mut first_today = here;
    progress.begin("looking", 0);
    ledger::walk(&folder, cancel, |path, bytes, mtime_ns| {
        let copies = match &book {
            // A copy that was found damaged is none.
            Some(b) => b.sound_copies_of_source(path, bytes, mtime_ns)?,
            None => None,
        };
        let inside = path.strip_prefix(&folder).unwrap_or(path);
        let scan = ledger::scan_of(&folder, &ledger::path_bytes(inside));
        let s = scans.entry(scan).or_insert_with_key(|k| ScanNow { scan: k.clone(), ..ScanNow::default() });
        (s.files, s.bytes) = (s.files + 1, s.bytes + bytes);
        (n.files, n.bytes) = (n.files + 1, n.bytes + bytes);
        match copies {
            None => {
                s.waiting += bytes;
                (n.waiting_files, n.waiting_bytes) = (n.waiting_files + 1, n.waiting_bytes + bytes);
            }
            Some(c) if c >= 2 => n.twice_bytes += bytes,
            Some(_) => {}
        }
        let written = mtime_ns as f64 / 1e9;
        if here - written < TODAY_HOURS * 3600.0 {
            n.today_bytes += bytes;
            first_today = first_today.min(written);
        }
        Ok(())
    })?;
    progress.end();
    n.scans = scans.into_values().collect();
    if n.today_bytes > 0 {
        // The first files of a day say little: a quarter of an hour at least.
        n.today_hours = ((here - first_today) / 3600.0).clamp(0.25, TODAY_HOURS);
        n.per_day = n.today_bytes as f64 / n.today_hours * 24.0;
    }
    n.copy_hours = r.rates.iter().map(|rate| n.waiting_bytes as f64 / rate / 3600.0).collect();
    n.disks = disks(r, &folder, n.waiting_bytes, n.per_day)?;
    if n.disks.is_empty() {
        n.notes.push("no disk to copy to is plugged in; name one with --onto FOLDER".into());
    }
    Ok(n)
}

/// A ledger for the moment, from the records on the disks; `None` where there is none on any of them.
fn from_records(path: &Path, disks: &[PathBuf], progress: &dyn Progress, cancel: &Cancel) -> Result<Option<Ledger>> {
    for d in disks {
        match ledger::rebuild::rebuild(path, std::slice::from_ref(d), progress, cancel) {
            Err(e) if e.fault() != Fault::Caller => return Err(e),
            _ => {}
        }
    }
    if path.exists() { Ledger::open(path).map(Some) } else { Ok(None) }
}

fn disks(r: &Request, folder: &Path, waiting: u64, per_day: f64) -> Result<Vec<DiskNow>> {
    let own = disk::volume_of(folder)?;
    let volumes: Vec<Volume> = if r.disks.is_empty() {
        disk::volumes()?
            .into_iter()
            .filter(|v| v.removable && !v.read_only && v.mount_point != own.mount_point)
            .collect()
    } else {
        let mut named: Vec<Volume> = Vec::new();
        for d in &r.disks {
            let v = disk::volume_of(d)?;
            // The room of a disk counts once, however many of its folders are named.
            if named.iter().all(|n| n.mount_point != v.mount_point) {
                named.push(v);
            }
        }
        named
    };
    let mut before = 0.0;
    Ok(volumes
        .into_iter()
        .map(|v| {
            let room = v.room();
            before += room.unwrap_or_default() as f64;
            let after_waiting = (before - waiting as f64).max(0.0);
            let full_in_hours = match (before <= waiting as f64, per_day > 0.0) {
                _ if room.is_none() => None,
                (true, _) => Some(0.0),
                (false, true) => Some(after_waiting / per_day * 24.0),
                (false, false) => None,
            };
            DiskNow { place: v.mount_point.display().to_string(), label: v.label, available: room, full_in_hours }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Silent;
    use std::time::{Duration, SystemTime};

    #[test]
    fn what_is_there_what_waits_and_when_disks_fill() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("exp");
        std::fs::create_dir_all(data.join("s1")).unwrap();
        std::fs::create_dir_all(data.join("s2")).unwrap();
        let put = |name: &str, bytes: usize, hours_ago: u64| {
            let path = data.join(name);
            std::fs::write(&path, vec![1; bytes]).unwrap();
            let t = SystemTime::now() - Duration::from_secs(hours_ago * 3600);
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(t).unwrap();
            path
        };
        let old = put("s1/old.nxs", 1000, 100);
        put("s2/new.nxs", 4000, 12);
        put("s2/newer.nxs", 2000, 1);
        let book = dir.path().join("l.sqlite");
        let mut r = Request {
            folder: data.clone(),
            disks: vec![dir.path().into()],
            ledger: Some(book.clone()),
            rates: vec![10.0],
        };
        let look = |r: &Request| now(r, &Silent, &Cancel::default()).unwrap();
        let n = look(&r);
        assert_eq!((n.files, n.bytes, n.waiting_bytes, n.records_found), (3, 7000, 7000, false));
        let mtime = old.metadata().unwrap().modified().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let copy = ledger::Copy {
            path: b"exp/s1/old.nxs".to_vec(),
            bytes: 1000,
            sha256: "a".repeat(64),
            scan: "s1".into(),
            source: Some(ledger::source_path(&old).unwrap()),
            mtime_ns: Some(mtime.as_nanos() as i64),
            copied: 1,
            verified: Some(1),
            level: None,
            session: None,
        };
        ledger::record(&book, &disk::volume_of(dir.path()).unwrap(), std::slice::from_ref(&copy)).unwrap();
        let n = look(&r);
        assert_eq!((n.waiting_files, n.waiting_bytes, n.twice_bytes, n.today_bytes), (2, 6000, 0, 6000));
        assert!((n.today_hours - 12.0).abs() < 0.01 && (n.per_day / 12000.0 - 1.0).abs() < 1e-3, "{n:?}");
        assert!((n.copy_hours[0] - 6000.0 / 10.0 / 3600.0).abs() < 1e-9);
        let s: Vec<_> = n.scans.iter().map(|s| (s.scan.as_str(), s.files, s.waiting)).collect();
        assert_eq!(s, [("s1", 1, 0), ("s2", 2, 6000)]);
        let d = &n.disks[0];
        let want = (d.available.unwrap() as f64 - 6000.0) / n.per_day * 24.0;
        assert!((d.full_in_hours.unwrap() / want - 1.0).abs() < 1e-6);
        // Two folders of one disk are one disk.
        let both = Request { disks: vec![dir.path().into(), data.clone()], ..r.clone() };
        assert_eq!(look(&both).disks.len(), 1);
        // Found damaged: it waits, until another disk has it.
        let volume = disk::volume_of(dir.path()).unwrap();
        let mut l = Ledger::open(&book).unwrap();
        let id = l.disk(&volume).unwrap();
        let bad = ledger::Found::NotGood { session: None, when: 2 };
        l.seen(id, &[(b"exp/s1/old.nxs".to_vec(), bad)]).unwrap();
        assert_eq!(look(&r).waiting_files, 3);
        let other = Volume { mount_point: "/media/other".into(), serial: None, ..volume };
        ledger::record(&book, &other, &[copy]).unwrap();
        assert_eq!(look(&r).waiting_files, 2);
        // Changed since it was copied: it waits again.
        std::fs::write(&old, vec![2; 1001]).unwrap();
        assert_eq!(look(&r).waiting_files, 3);
        r.folder = data.join("none");
        assert!(now(&r, &Silent, &Cancel::default()).is_err());
    }
}
