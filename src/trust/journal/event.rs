//! The events of a record: one JSON object per line.

use crate::trust::blocks::BlockSums;
use crate::trust::readback::Level;
use crate::trust::{Digest, Midstate, Name};
use serde::{Deserialize, Serialize};

/// A file that lies whole on the disk.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct FileEvent {
    /// Where, relative to the folder the record is in.
    pub path: Name,
    /// Bytes.
    pub size: u64,
    /// Modification time of the source and of the copy, nanoseconds since 1970.
    pub modified_ns: i64,
    /// Sum of what was read from the source.
    pub sha256: Digest,
    /// When it was written, seconds since 1970.
    pub copied: i64,
    /// Which session wrote it.
    pub session: u64,
    /// Where it came from, whole ([`crate::trust::name::path_text`]).
    pub source: String,
    /// Its name at the source, where the disk cannot hold that; nor can the system, perhaps, that reads this: only text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<String>,
    /// Bytes of holes that were kept as holes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub holes: u64,
    /// The file was there already, and was found to hold the same bytes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// Made from the source on the way (`recad`, `tiff`) instead of copied byte by byte, or put there by this program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
    /// Sums of the blocks since the last [`Event::Part`], up to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<BlockSums>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// One line of the record. `t` is always seconds since 1970, UTC.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A run begins.
    Session {
        /// When.
        t: i64,
        /// Its number: 1, 2, …
        session: u64,
        /// Program and version.
        software: String,
        /// Machine it ran on.
        host: String,
        /// Source folders and files as given.
        sources: Vec<String>,
        /// The destination folder as given.
        target: String,
        /// File system, device, serial, label as far as known.
        volume: serde_json::Value,
        /// This mount, different after every mount (see [`crate::trust::readback::mount_mark`]).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mount: Option<String>,
    },
    /// So many bytes of an unfinished file are on the disk.
    Part {
        /// Final name.
        path: Name,
        /// Size and time of the source it is made from.
        size: u64,
        /// As in [`FileEvent`].
        modified_ns: i64,
        /// Bytes on the disk.
        offset: u64,
        /// State of the sum after them.
        state: Midstate,
        /// Sums of the blocks since the part before, up to `offset`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        blocks: Option<BlockSums>,
    },
    /// A file is whole; see [`FileEvent`].
    File(FileEvent),
    /// A file was read back and is what was read from the source.
    Verified {
        /// When.
        t: i64,
        /// Which.
        path: Name,
        /// Its sum.
        sha256: Digest,
        /// How far the reading went.
        level: Level,
    },
    /// A file was read back and is not.
    Mismatch {
        /// When.
        t: i64,
        /// Which.
        path: Name,
        /// Sum of what was read from the source.
        expected: Digest,
        /// Sum of what came back.
        found: Digest,
    },
    /// A file is no longer part of the record (replaced, or gone bad and removed).
    Dropped {
        /// When.
        t: i64,
        /// Which.
        path: Name,
        /// Why.
        why: String,
    },
    /// Files are about to be made here, the last of which is this one; until it is recorded, what lies under their names
    /// is of a run that did not come to its end.
    Making {
        /// When.
        t: i64,
        /// Which.
        path: Name,
    },
    /// This disk is full; the copy went on elsewhere.
    Sealed {
        /// When.
        t: i64,
        /// Why.
        why: String,
    },
    /// Everything was flushed and the last bytes read back.
    SafeToUnplug {
        /// When.
        t: i64,
        /// Files recorded.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// Files whose read-back is recorded.
        verified: u64,
        /// Files that this run was to bring and did not.
        #[serde(default)]
        missing: u64,
        /// How far the reading of the last file went.
        level: Level,
    },
    /// A kind of event that this version does not know.
    #[serde(other)]
    Unknown,
}
