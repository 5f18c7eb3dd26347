//! The disks of this machine, one record each: what the system says, what the ledger remembers, and, where asked for, how fast
//! it is.

use super::ledger::{Ledger, ask};
use super::rates::{self, DiskRate};
use crate::disk::{self, Driver, Volume};
use crate::stream::{Cancel, Progress};
use serde::Serialize;
use std::path::PathBuf;
use tomokit_formats::{Error, Result};

/// What to find out.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Folders whose volumes are wanted; none: every volume.
    pub folders: Vec<PathBuf>,
    /// Bytes of the speed test in each of the folders.
    pub probe_bytes: Option<u64>,
    /// The ledger; not there: nothing is known.
    pub ledger: Option<PathBuf>,
}

/// One disk.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// What the system says.
    #[serde(flatten)]
    pub volume: Volume,
    /// What to know before copying there.
    pub warnings: Vec<String>,
    /// Measured speed. Behind FUSE reading back may come from memory.
    pub speed: Option<DiskRate>,
    /// What the ledger remembers.
    pub ledger: Option<ask::Disk>,
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The disks.
    pub disks: Vec<Found>,
    /// Mounted, but silent for some seconds.
    pub silent: Vec<String>,
    /// Why the ledger could not be read, where there is one.
    pub ledger_error: Option<String>,
}

/// Looks, and measures where asked to.
///
/// # Errors
/// A folder that is not there, not to be written or without room for the speed test; interrupted. A ledger that cannot be read is
/// reported, not fatal.
pub fn execute(request: &Request, progress: &dyn Progress, cancel: &Cancel) -> Result<Report> {
    if request.probe_bytes.is_some() && request.folders.is_empty() {
        return Err(Error::caller("the speed test writes a temporary file: name the folder to write it in")
            .hint("for example: tomo disks /media/me/DISK --probe"));
    }
    let mut ledger_error = None;
    let ledger = match request.ledger.as_ref().filter(|l| l.exists()).map(|l| Ledger::open(l)) {
        Some(Ok(l)) => Some(l),
        Some(Err(e)) => {
            ledger_error = Some(e.to_string());
            None
        }
        None => None,
    };
    let mut report = Report { disks: Vec::new(), silent: Vec::new(), ledger_error };
    let volumes: Vec<(Volume, Option<&PathBuf>)> = if request.folders.is_empty() {
        let survey = disk::survey()?;
        report.silent = survey.silent.iter().map(|p| p.display().to_string()).collect();
        survey.volumes.into_iter().map(|v| (v, None)).collect()
    } else {
        request.folders.iter().map(|f| Ok((disk::volume_of(f)?, Some(f)))).collect::<Result<_>>()?
    };
    // All of them before anything is written to the first.
    if let Some(bytes) = request.probe_bytes {
        volumes.iter().try_for_each(|(v, _)| room_for_probe(v, bytes))?;
    }
    for (volume, folder) in volumes {
        let mut speed = None;
        if let (Some(bytes), Some(folder)) = (request.probe_bytes, folder) {
            progress.begin(&folder.display().to_string(), 0);
            let mut rate = rates::disk(folder, bytes, cancel)?;
            // Dropping the file's pages leaves those of the device below.
            rate.read_from_cache |= volume.driver == Driver::Fuse;
            progress.end();
            speed = Some(rate);
        }
        let mut known = None;
        if let Some(l) = &ledger {
            match l.known(&volume) {
                Ok(k) => known = k,
                Err(e) => report.ledger_error = Some(e.to_string()),
            }
        }
        let mut warnings = volume.warnings();
        if volume.room() == Some(0) && !volume.read_only {
            warnings.push("full: no room left for you".into());
        }
        report.disks.push(Found { warnings, speed, ledger: known, volume });
    }
    Ok(report)
}

/// Refuses a speed test that would leave a disk short of room.
///
/// # Errors
/// `Caller`: its file is larger than half of the free room.
pub fn room_for_probe(volume: &Volume, bytes: u64) -> Result<()> {
    let Some(most) = volume.room().map(|room| room / 2) else { return Ok(()) };
    if bytes <= most {
        return Ok(());
    }
    Err(Error::caller("the speed test would fill the disk")
        .path(&volume.mount_point)
        .expected(format!("at most half of the free room, {}", binary(most)))
        .found(binary(bytes))
        .hint("choose a smaller size for it"))
}

/// In the units sizes are given in.
fn binary(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.iter().find(|u| bytes >> u.1 > 0) {
        Some((unit, shift)) => format!("{:.1} {unit}", bytes as f64 / (1u64 << shift) as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::ledger;
    use crate::stream::Silent;

    #[test]
    fn a_folder_its_speed_and_its_past() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.sqlite");
        let v = disk::volume_of(dir.path()).unwrap();
        let copy = ledger::Copy {
            path: b"s/x".to_vec(),
            bytes: 7,
            sha256: "0".repeat(64),
            scan: "s".into(),
            source: None,
            mtime_ns: None,
            copied: 1,
            verified: Some(2),
            level: None,
            session: None,
        };
        ledger::record(&path, &v, &[copy]).unwrap();
        let mut r = Request { folders: vec![dir.path().to_owned()], probe_bytes: Some(1), ledger: Some(path.clone()) };
        let run = |r: &Request| execute(r, &Silent, &Cancel::default());
        let report = run(&r).unwrap();
        let d = &report.disks[0];
        assert_eq!((d.ledger.as_ref().unwrap().files, d.ledger.as_ref().unwrap().file_bytes), (1, 7));
        assert!(d.speed.unwrap().write_per_s > 1e4);
        // A damaged ledger is told and does not stop anything.
        std::fs::write(&path, b"not a ledger at all, is it?").unwrap();
        let report = run(&r).unwrap();
        assert!(report.ledger_error.unwrap().contains("damaged") && report.disks[0].ledger.is_none());
        // No more than half of what is free.
        r.probe_bytes = Some(900 << 40);
        let e = run(&r).unwrap_err().to_string();
        assert!(e.contains("half of the free room") && e.contains("900.0 TiB"), "{e}");
        let volume = Volume { available: 10 << 30, ..report.disks[0].volume.clone() };
        assert!(room_for_probe(&volume, 5 << 30).is_ok() && room_for_probe(&volume, (5 << 30) + 1).is_err());
        r.folders.clear();
        assert!(run(&r).unwrap_err().advice().unwrap().contains("--probe"));
    }
}
