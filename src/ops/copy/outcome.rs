//! What became of a copy: by target, and file by file for those that did not arrive.

use crate::trust::{Level, Name};
use serde::Serialize;
use std::path::PathBuf;

/// What went wrong with a file on a target.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The source cannot be read.
    Source,
    /// The source changed while it was read.
    Changed,
    /// The target refused.
    Target,
    /// The target is full.
    Full,
    /// The target went away.
    Gone,
    /// Read back, it is something else.
    Mismatch,
    /// It could not be read back.
    Unread,
    /// It was there already, with other contents.
    Differs,
    /// The plan refuses it: its name, its size, or what is there.
    Refused,
    /// The user stopped.
    Interrupted,
}

impl Kind {
    /// Trying again may help.
    pub(super) fn passes(self) -> bool {
        matches!(self, Kind::Source | Kind::Changed | Kind::Target | Kind::Mismatch | Kind::Unread)
    }
}

/// A file that is not on a target in the end.
#[derive(Clone, Debug, Serialize)]
pub struct Failed {
    /// The file.
    pub path: String,
    /// The target.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub target: PathBuf,
    /// What kind of failure.
    pub kind: Kind,
    /// In words.
    pub why: String,
}

/// What became of one target.
#[derive(Clone, Debug, Serialize)]
pub struct TargetDone {
    /// The folder.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub path: PathBuf,
    /// Files copied in this run, and their bytes.
    pub copied_files: u64,
    /// Bytes.
    pub copied_bytes: u64,
    /// Of them not written again, because an earlier run had.
    pub resumed_bytes: u64,
    /// Of them holes.
    pub hole_bytes: u64,
    /// Files that were there before and hold the same.
    pub adopted_files: u64,
    /// Files read back in this run and good.
    pub verified_files: u64,
    /// Their bytes.
    pub verified_bytes: u64,
    /// The least sure of these readings.
    pub level: Option<Level>,
    /// The level this target needs before a read-back says something about the disk.
    pub wanted: Level,
    /// Files that were verified before this run began and were left alone.
    pub skipped_files: u64,
    /// Files recorded on the target in all.
    pub recorded_files: u64,
    /// Of them read back and good, in this run or before.
    pub recorded_verified: u64,
    /// Recorded files that somebody changed since, and the session that wrote them: left alone.
    #[serde(skip)]
    pub differing: Vec<(Name, u32)>,
    /// Full or gone, in words.
    pub stopped: Option<String>,
    /// The disk is full.
    pub full: bool,
    /// The disk went away.
    pub gone: bool,
    /// Everything flushed, the last bytes read again: the disk may be unplugged after ejecting.
    pub safe_to_unplug: bool,
    /// It is behind a network: nothing is unplugged there.
    #[serde(skip)]
    pub is_server: bool,
}

/// The result.
#[derive(Clone, Debug, Serialize)]
pub struct Done {
    /// By target; full disks first, then those that took over.
    pub targets: Vec<TargetDone>,
    /// What did not arrive.
    pub failed: Vec<Failed>,
    /// Seconds.
    pub seconds: f64,
    /// Bytes read from the sources, as planned.
    pub bytes_read: u64,
    /// Destinations at the end: full ones replaced by those that took over.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub current: Vec<PathBuf>,
    /// Further disks that were not needed.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub spares: Vec<PathBuf>,
}

impl Failed {
    /// The file could be looked at and is not what it should be, in contrast to one that could not be copied or read.
    pub fn is_an_answer(&self) -> bool {
        matches!(self.kind, Kind::Mismatch | Kind::Differs | Kind::Refused)
    }
}
