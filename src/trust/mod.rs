//! The chain of trust under copies: what was read, what was written, what was read back, and how far that reading went.
//!
//! Numbers, names and files; no terminal, no policy of when to copy what (that is `ops::copy`).
//!
//! | part | what |
//! |---|---|
//! | `hash` | SHA-256 that can stop and go on; digests |
//! | `blocks` | sums of the blocks of large files: which stretch differs |
//! | `name` | relative names as they stand in manifests; which a target can hold, and what they become if not |
//! | `list`, `files` | millions of names, and what is known of files, in little memory |
//! | `fresh` | size and time of a file, not from memory |
//! | `sums` | `SHA256SUMS` as coreutils write and read it, hashdeep's form |
//! | `journal` | the record on the disk, one JSON event per line, safe against crashes |
//! | `root` | a destination folder held by its handle |
//! | `readback` | reading what is on the disk and not what is in memory, and saying which it was |

pub mod bag;
pub mod blocks;
pub mod files;
pub mod fresh;
pub mod hash;
pub mod journal;
pub mod list;
pub mod name;
pub mod readback;
pub mod root;
pub mod sums;

pub use files::{FileState, Files};
pub use hash::{Digest, Midstate, Sha256};
pub use journal::{Event, FileEvent, Journal, JournalState};
pub use list::{Marks, NameList, NameSet};
pub use name::{Name, Rules};
pub use readback::Level;
pub use root::{Root, SourceDir};

/// Seconds since 1970, UTC.
pub fn now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

/// A time as people and other programs read it, `2026-11-21T14:00:00Z`.
pub fn rfc3339(unix: i64) -> String {
    let t = time::OffsetDateTime::from_unix_timestamp(unix).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    t.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

/// An error and its causes in one line, for lists.
pub fn one_line(e: &tomokit_formats::Error) -> String {
    use std::error::Error as _;
    let mut line = e.to_string();
    let mut cause = e.source();
    while let Some(c) = cause {
        line.push_str(&format!(": {c}"));
        cause = c.source();
    }
    line.replace(['\n', '\r'], " ")
}
