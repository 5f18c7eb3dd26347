//! A destination folder at work: held by its handle, locked, its record open.

use super::plan::TargetPlan;
use crate::disk::FileSystem;
use crate::trust::journal::Event;
use crate::trust::name::path_text;
use crate::trust::readback::{Medium, ReadBack, mount_mark};
use crate::trust::root::Lock;
use crate::trust::{Digest, FileEvent, Journal, JournalState, Level, Name, Root, now, one_line};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};
use tomokit_formats::{Error, Fault, Result};

/// Why a target takes no more.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stop {
    /// Disk full.
    Full(String),
    /// Pulled out, unmounted, or failing again and again.
    Gone(String),
}

/// How files that were written get to the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Syncing {
    /// Each by itself.
    Each,
    /// One call for the whole file system.
    Volume,
    /// The sync of any file is one of the whole device: what ntfs-3g and exfat-fuse do, which keep nothing of closed files
    /// to themselves.
    Device,
}

impl Syncing {
    fn of(plan: &TargetPlan) -> Syncing {
        let fs = plan.volume.as_ref().map(|v| &v.fs);
        match plan.medium {
            Medium::Disk if cfg!(target_os = "linux") => Syncing::Volume,
            Medium::Fuse if matches!(fs, Some(FileSystem::Ntfs | FileSystem::ExFat)) => Syncing::Device,
            _ => Syncing::Each,
        }
    }
}

/// Files in a row that fail before a target is given up.
const IN_A_ROW: u32 = 8;

/// Live counts of one target.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) written_bytes: AtomicU64,
    pub(super) copied_files: AtomicU64,
    pub(super) copied_bytes: AtomicU64,
    pub(super) adopted_files: AtomicU64,
    pub(super) verified_files: AtomicU64,
    pub(super) verified_bytes: AtomicU64,
    pub(super) resumed_bytes: AtomicU64,
    pub(super) hole_bytes: AtomicU64,
    failed_in_a_row: AtomicU32,
}

pub(super) struct Target {
    pub(super) root: Root,
    /// What the record said when it was opened.
    pub(super) state: JournalState,
    pub(super) back: ReadBack,
    pub(super) syncing: Syncing,
    pub(super) session: u64,
    pub(super) counters: Counters,
    pub(super) lowest: Mutex<Option<Level>>,
    /// Recorded files that somebody changed since, and the session that wrote them.
    pub(super) differing: Mutex<Vec<(Name, u32)>>,
    /// The last file that got its final name: its tail is read again at the end.
    pub(super) last: Mutex<Option<(Name, u32)>>,
    journal: Mutex<Journal>,
    stop: Mutex<Option<Stop>>,
    _lock: Lock,
}

impl Target {
    /// Takes the lock, opens the record, tries how the target can be read back, and notes that a session begins.
    pub(super) fn open(plan: &TargetPlan, sources: &[PathBuf], read_back: bool) -> Result<Target> {
        let root = Root::open(&plan.path)?;
        let lock = root.lock()?;
        let (mut journal, state) = Journal::open(&root)?;
        let device = plan.volume.as_ref().map(|v| v.device.clone());
        let back = match read_back {
            true => ReadBack::find(&root, plan.medium, device.as_deref(), true)?,
            false => ReadBack::plain(),
        };
        let session = state.sessions + 1;
        let shown = |p: &PathBuf| path_text(&std::fs::canonicalize(p).unwrap_or_else(|_| p.clone()));
        journal.push(&Event::Session {
            t: now(),
            session,
            software: format!("tomokit {}", env!("CARGO_PKG_VERSION")),
            host: sysinfo::System::host_name().unwrap_or_default(),
            sources: sources.iter().map(shown).collect(),
            target: plan.path.to_string_lossy().into_owned(),
            volume: serde_json::to_value(&plan.volume).unwrap_or_default(),
            mount: mount_mark(&root),
        })?;
        journal.sync()?;
        root.sync_folder(None)?;
        Ok(Target {
            root,
            state,
            back,
            syncing: Syncing::of(plan),
            session,
            counters: Counters::default(),
            lowest: Mutex::new(None),
            differing: Mutex::default(),
            last: Mutex::new(None),
            journal: Mutex::new(journal),
            stop: Mutex::new(None),
            _lock: lock,
        })
    }

    /// The record, for adding to it.
    pub(super) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Syncs everything that was written, whichever files; false where there is no such call and each is to be synced.
    pub(super) fn sync_all(&self) -> Result<bool> {
        match self.syncing {
            Syncing::Each => Ok(false),
            Syncing::Volume => self.root.sync_volume(),
            Syncing::Device => self.journal().sync().map(|()| true),
        }
    }

    /// Why nothing more goes here, if so.
    pub(super) fn stopped(&self) -> Option<Stop> {
        self.stop.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    pub(super) fn stop(&self, why: Stop) {
        self.stop.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(why);
    }

    /// What an error on this target means for it; a full or vanished disk stops it.
    pub(super) fn judge(&self, e: Error) -> (super::outcome::Kind, Error) {
        use super::outcome::Kind;
        if e.fault() == Fault::Interrupted {
            return (Kind::Interrupted, e);
        }
        if full(&e) {
            self.stop(Stop::Full(one_line(&e)));
            return (Kind::Full, e);
        }
        if let Err(gone) = self.root.still_there() {
            self.stop(Stop::Gone(one_line(&gone)));
            return (Kind::Gone, gone);
        }
        if self.counters.failed_in_a_row.fetch_add(1, Relaxed) + 1 >= IN_A_ROW {
            self.stop(Stop::Gone(format!("{IN_A_ROW} files in a row failed, the last with: {}", one_line(&e))));
            return (Kind::Gone, e);
        }
        (Kind::Target, e)
    }

    /// A file went well.
    pub(super) fn went_well(&self) {
        self.counters.failed_in_a_row.store(0, Relaxed);
    }

    /// Notes a good read-back.
    pub(super) fn verified(&self, path: &Name, sha256: Digest, level: Level, bytes: u64) -> Result<()> {
        self.journal().push(&Event::Verified { t: now(), path: path.clone(), sha256, level })?;
        self.counters.verified_files.fetch_add(1, Relaxed);
        self.counters.verified_bytes.fetch_add(bytes, Relaxed);
        let mut lowest = self.lowest.lock().unwrap_or_else(|e| e.into_inner());
        *lowest = Some(lowest.map_or(level, |l| l.min(level)));
        Ok(())
    }

    /// Notes a whole file.
    pub(super) fn record(&self, file: FileEvent) -> Result<()> {
        self.journal().push(&Event::File(file))
    }
}

/// True where an error, or what is behind it, says that the disk is full.
fn full(e: &Error) -> bool {
    use std::error::Error as _;
    if e.is_storage_full() {
        return true;
    }
    let mut cause = e.source();
    while let Some(c) = cause {
        if c.downcast_ref::<Error>().is_some_and(Error::is_storage_full) {
            return true;
        }
        cause = c.source();
    }
    false
}
