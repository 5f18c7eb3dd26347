//! Reading a record: line by line, and what all its events say together.

use super::{Event, JOURNAL};
use crate::trust::files::{FileState, Files};
use crate::trust::{Midstate, Name};
use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use tomokit_formats::error::OnPath;
use tomokit_formats::io::open_plain;
use tomokit_formats::{Error, Result};

/// Longest line read.
const LONGEST: u64 = 1 << 20;

/// Progress of an unfinished file.
#[derive(Clone, Debug, PartialEq)]
pub struct PartState {
    /// Size of the source.
    pub size: u64,
    /// Its time.
    pub modified_ns: i64,
    /// States of the sum, by the bytes on the disk after which they hold; ascending.
    pub states: Vec<(u64, Midstate)>,
}

/// What a record says, all events together.
#[derive(Clone, Debug, Default)]
pub struct JournalState {
    /// Whole files.
    pub files: Files,
    /// Unfinished files.
    pub parts: HashMap<Name, PartState>,
    /// Files that a run was about to make, and that are not recorded.
    pub making: HashSet<Name>,
    /// Number of the last session.
    pub sessions: u64,
    /// Marks of the mounts the sessions wrote through, by session number.
    pub mounts: HashMap<u64, String>,
    /// Why this disk takes no more, if it was sealed.
    pub sealed: Option<String>,
    /// A session began and never came to its end.
    pub is_open: bool,
    /// Files that the last session was to bring and did not.
    pub missing: u64,
    /// Lines that were refused, and the first of them in words.
    pub refused: u64,
    /// Line number and reason.
    pub first_refused: Option<(u64, String)>,
    /// Bytes up to the end of the last whole line.
    pub valid_bytes: u64,
}

impl JournalState {
    fn take(&mut self, event: Event) {
        match event {
            Event::Session { session, mount, .. } => {
                self.sessions = self.sessions.max(session);
                self.is_open = true;
                if let Some(m) = mount {
                    self.mounts.insert(session, m);
                }
            }
            Event::Part { path, size, modified_ns, offset, state, .. } => {
                let fresh = || PartState { size, modified_ns, states: Vec::new() };
                let p = self.parts.entry(path).or_insert_with(fresh);
                // A source that changed, or a file begun again: what was there before says nothing any more.
                if (p.size, p.modified_ns) != (size, modified_ns) || p.states.last().is_some_and(|s| s.0 >= offset) {
                    *p = fresh();
                }
                if offset <= size {
                    p.states.push((offset, state));
                }
            }
            Event::File(f) => {
                // Room was made, and the disk takes files again.
                self.sealed = None;
                self.parts.remove(&f.path);
                self.making.remove(&f.path);
                let state = FileState {
                    size: f.size,
                    modified_ns: f.modified_ns,
                    sha256: f.sha256,
                    verified: None,
                    session: u32::try_from(f.session).unwrap_or(u32::MAX),
                    bad: false,
                };
                self.files.put(&f.path, state);
            }
            Event::Verified { t, path, sha256, level } => {
                if let Some(f) = self.files.get_mut(&path).filter(|f| f.sha256 == sha256) {
                    (f.verified, f.bad) = (Some((t, level)), false);
                }
            }
            Event::Mismatch { path, expected, .. } => {
                if let Some(f) = self.files.get_mut(&path).filter(|f| f.sha256 == expected) {
                    (f.verified, f.bad) = (None, true);
                }
            }
            Event::Dropped { path, .. } => {
                self.files.remove(&path);
                self.parts.remove(&path);
            }
            Event::Making { path, .. } => drop(self.making.insert(path)),
            Event::Sealed { why, .. } => self.sealed = Some(why),
            Event::SafeToUnplug { missing, .. } => (self.is_open, self.missing) = (false, missing),
            Event::Unknown => {}
        }
    }

    /// Bytes of all whole files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, f)| f.size).sum()
    }
}

/// Reads events line by line and hands each to `take`; answers what all of them say together. Memory grows with the
/// number of files, not of events.
pub fn read_events(input: impl Read, mut take: impl FnMut(&Event)) -> std::io::Result<JournalState> {
    let mut state = JournalState::default();
    state.valid_bytes = read_lines(input, |number, _, event| {
        match event {
            Ok(event) => {
                take(&event);
                state.take(event);
            }
            Err(why) => state.refuse(number, why),
        }
        Ok(())
    })?;
    Ok(state)
}

/// Hands over every line with its number and its event, or why it is refused (then without the line, where that is longer
/// than any event); answers the bytes up to the end of the last whole line.
pub(super) fn read_lines(
    input: impl Read,
    mut take: impl FnMut(u64, &[u8], std::result::Result<Event, String>) -> std::io::Result<()>,
) -> std::io::Result<u64> {
    let mut input = BufReader::with_capacity(1 << 18, input);
    let mut valid_bytes = 0;
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        let n = (&mut input).take(LONGEST).read_until(b'\n', &mut line)? as u64;
        if n == 0 {
            break;
        }
        number += 1;
        if !line.ends_with(b"\n") {
            if n < LONGEST {
                break; // torn off by a crash: it never happened
            }
            let mut skipped = n;
            while !line.ends_with(b"\n") {
                line.clear();
                let n = (&mut input).take(LONGEST).read_until(b'\n', &mut line)? as u64;
                if n == 0 {
                    return Ok(valid_bytes);
                }
                skipped += n;
            }
            valid_bytes += skipped;
            take(number, &[], Err("a line longer than any event".into()))?;
            continue;
        }
        valid_bytes += n;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        take(number, &line, serde_json::from_slice::<Event>(&line).map_err(|e| e.to_string()))?;
    }
    Ok(valid_bytes)
}

impl JournalState {
    fn refuse(&mut self, line: u64, why: String) {
        self.refused += 1;
        self.first_refused.get_or_insert((line, why));
    }
}

/// Reads the record in `folder` (a disk's top or the folder that was copied into), if there is one; every event is shown
/// to `take` on the way.
///
/// # Errors
/// `System` where it cannot be read. Damaged lines are counted, not an error.
pub fn read_record(folder: &Path, take: impl FnMut(&Event)) -> Result<Option<JournalState>> {
    let path = folder.join(JOURNAL);
    refuse_link(&path)?;
    match open_plain(&path) {
        Ok(f) => read_events(f, take).on(&path, "reading the record").map(Some),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(&path, "opening the record", e)),
    }
}

/// A list on a disk speaks of the files beside it; what a link leads to lies elsewhere.
///
/// # Errors
/// `File` for a link.
pub fn refuse_link(list: &Path) -> Result<()> {
    match list.is_symlink() {
        true => Err(Error::file(list, "a link lies in place of this list").hint("move it away")),
        false => Ok(()),
    }
}

/// Shows every event of the record in `folder` to `take`; nothing of it is held.
///
/// # Errors
/// As [`read_record`].
pub fn read_events_only(folder: &Path, mut take: impl FnMut(&Event)) -> Result<()> {
    let path = folder.join(JOURNAL);
    let file = open_plain(&path).map_err(|e| Error::io(&path, "opening the record", e))?;
    let each = |_, _: &[u8], event: std::result::Result<Event, String>| {
        event.iter().for_each(&mut take);
        Ok(())
    };
    read_lines(file, each).on(&path, "reading the record").map(drop)
}
