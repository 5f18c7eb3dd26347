//! The record on the disk: `tomo-copy.jsonl`, one JSON event per line, appended and synced while a copy runs.
//!
//! Guarantees: after a crash at any byte the events before it are there (a torn last line is cut off); a file is recorded
//! after its data are on the disk and before it gets its final name; a file counts as verified only for the very sum it
//! was recorded with. Reading is hostile to what it reads: names that lead elsewhere are refused, lines have a limit,
//! events of later versions are passed over. `SHA256SUMS` beside it says the same to other programs.

use crate::trust::blocks::BlockSums;
use crate::trust::readback::Level;
use crate::trust::{Digest, Midstate, Name, Root, sums};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use tomokit_formats::error::OnPath;
use tomokit_formats::{Error, Result};

/// Name of the record at the top of a destination folder.
pub const JOURNAL: &str = "tomo-copy.jsonl";

/// Longest line read.
const LONGEST: u64 = 1 << 20;

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
    /// Where it came from, as given.
    pub source: String,
    /// Its name at the source, where the disk cannot hold that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Name>,
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
        /// How far the reading of the last file went.
        level: Level,
    },
    /// A kind of event that this version does not know.
    #[serde(other)]
    Unknown,
}

/// What the record says of one file, after all its events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FileState {
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub modified_ns: i64,
    /// Sum of what was read from the source.
    pub sha256: Digest,
    /// Last good read-back: when and how far.
    pub verified: Option<(i64, Level)>,
    /// Session that wrote it.
    pub session: u64,
    /// The last read-back failed.
    pub bad: bool,
}

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
    pub files: HashMap<Name, FileState>,
    /// Unfinished files.
    pub parts: HashMap<Name, PartState>,
    /// Number of the last session.
    pub sessions: u64,
    /// Marks of the mounts the sessions wrote through, by session number.
    pub mounts: HashMap<u64, String>,
    /// Why this disk takes no more, if it was sealed.
    pub sealed: Option<String>,
    /// True when nothing happened after the last "safe to unplug".
    pub safe: bool,
    /// Lines that were refused, and the first of them in words.
    pub refused: u64,
    /// Line number and reason.
    pub first_refused: Option<(u64, String)>,
    /// Bytes up to the end of the last whole line.
    pub valid_bytes: u64,
}

impl JournalState {
    fn take(&mut self, event: Event) {
        self.safe = matches!(event, Event::SafeToUnplug { .. });
        match event {
            Event::Session { session, mount, .. } => {
                self.sessions = self.sessions.max(session);
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
                let state = FileState {
                    size: f.size,
                    modified_ns: f.modified_ns,
                    sha256: f.sha256,
                    verified: None,
                    session: f.session,
                    bad: false,
                };
                self.files.insert(f.path, state);
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
            Event::Sealed { why, .. } => self.sealed = Some(why),
            Event::SafeToUnplug { .. } | Event::Unknown => {}
        }
    }

    /// Bytes of all whole files.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|f| f.size).sum()
    }
}

/// Reads events line by line and hands each to `take`; answers what all of them say together. Memory grows with the
/// number of files, not of events.
pub fn read_events(input: impl Read, mut take: impl FnMut(&Event)) -> std::io::Result<JournalState> {
    let mut input = BufReader::with_capacity(1 << 18, input);
    let mut state = JournalState::default();
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
                    return Ok(state);
                }
                skipped += n;
            }
            state.valid_bytes += skipped;
            state.refuse(number, "a line longer than any event".into());
            continue;
        }
        state.valid_bytes += n;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match serde_json::from_slice::<Event>(&line) {
            Ok(event) => {
                take(&event);
                state.take(event);
            }
            Err(e) => state.refuse(number, e.to_string()),
        }
    }
    Ok(state)
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
    match File::open(&path) {
        Ok(f) => read_events(f, take).on(&path, "reading the record").map(Some),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(&path, "opening the record", e)),
    }
}

/// The record being written, and `SHA256SUMS` beside it.
#[derive(Debug)]
pub struct Journal {
    events: File,
    sums: File,
    buffer: Vec<u8>,
    shown: std::path::PathBuf,
}

impl Journal {
    /// Opens the record of a held folder, reads what it says, cuts off a torn end, and brings `SHA256SUMS` in step.
    ///
    /// # Errors
    /// `Caller` where a `SHA256SUMS` is there that is not ours.
    pub fn open(root: &Root) -> Result<(Journal, JournalState)> {
        let name = Name::parse(JOURNAL.as_bytes()).map_err(Error::caller)?;
        let sums_name = Name::parse(sums::SHA256SUMS.as_bytes()).map_err(Error::caller)?;
        let shown = root.path().join(JOURNAL);
        let events = root.open_small(&name)?;
        let state = read_events(&events, |_| {}).on(&shown, "reading the record")?;
        events.set_len(state.valid_bytes).on(&shown, "cutting off a torn line")?;
        (&events).seek(SeekFrom::End(0)).on(&shown, "going to the end")?;
        // An empty one is what a run leaves that was killed before its first event.
        if state.sessions == 0 && root.stat(&sums_name)?.is_some_and(|s| s.size > 0) {
            return Err(Error::caller("there is a list of sums here that this program did not make")
                .path(root.path().join(sums::SHA256SUMS))
                .hint("copy into a new folder, or move the list away"));
        }
        let sums = Self::rewrite_sums(root, &sums_name, &state)?;
        let mut journal = Journal { events, sums, buffer: Vec::new(), shown };
        journal.sums.seek(SeekFrom::End(0)).on(&journal.shown, "going to the end")?;
        Ok((journal, state))
    }

    /// `SHA256SUMS` made anew from the record, in the order of names, unless it is in step already.
    fn rewrite_sums(root: &Root, name: &Name, state: &JournalState) -> Result<File> {
        let shown = root.path().join(sums::SHA256SUMS);
        let mut in_step = 0;
        let present = root.open_small(name)?;
        let mut first_time = std::collections::HashSet::new();
        let mut odd = false;
        sums::read(BufReader::new(&present), |_, line| match line {
            Ok((digest, n)) => {
                let known = state.files.get(&n).is_some_and(|f| f.sha256 == digest);
                odd |= !known || !first_time.insert(Digest::of(n.bytes()).0);
                in_step += 1;
                !odd
            }
            Err(_) => {
                odd = true;
                false
            }
        })
        .on(&shown, "reading")?;
        drop(first_time);
        if !odd && in_step == state.files.len() {
            return Ok(present);
        }
        drop(present);
        let part = name.suffixed(super::root::PART);
        let file = root.create_part(&part)?;
        let mut out = BufWriter::with_capacity(1 << 18, &file);
        let mut names: Vec<&Name> = state.files.keys().collect();
        names.sort_unstable();
        for n in names {
            sums::write_line(&mut out, &state.files[n].sha256, n.bytes()).on(&shown, "writing")?;
        }
        out.flush().on(&shown, "writing")?;
        drop(out);
        file.sync_all().on(&shown, "syncing to disk")?;
        drop(file);
        root.rename(&part, name)?;
        root.sync_folder(None)?;
        root.open_small(name)
    }

    /// Puts an event into the buffer; [`sync`](Self::sync) makes it durable.
    pub fn push(&mut self, event: &Event) -> Result<()> {
        serde_json::to_writer(&mut self.buffer, event)
            .map_err(|e| Error::caller("an event cannot be written as JSON").source(e))?;
        self.buffer.push(b'\n');
        if self.buffer.len() > 1 << 20 { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let start = self.events.metadata().on(&self.shown, "reading the size")?.len();
        if let Err(e) = self.events.write_all(&buffer) {
            // A full disk leaves half a line: it is taken back, so that what follows stays readable.
            let _ = self.events.set_len(start);
            let _ = self.events.seek(SeekFrom::Start(start));
            return Err(Error::io(&self.shown, "writing the record", e));
        }
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is buffered and syncs it.
    pub fn sync(&mut self) -> Result<()> {
        if !self.buffer.is_empty() {
            self.write()?;
        }
        self.events.sync_data().on(&self.shown, "syncing the record")
    }

    /// Adds files to `SHA256SUMS`: after they have their final names.
    pub fn add_sums<'a>(&mut self, files: impl Iterator<Item = (&'a Digest, &'a Name)>) -> Result<()> {
        let mut lines = Vec::new();
        for (digest, name) in files {
            sums::write_line(&mut lines, digest, name.bytes()).on(&self.shown, "writing")?;
        }
        self.sums.write_all(&lines).on(self.shown.with_file_name(sums::SHA256SUMS), "writing")
    }

    /// Brings `SHA256SUMS` in step with the record where files were copied a second time.
    pub fn tidy(&mut self, root: &Root, state: &JournalState) -> Result<()> {
        let name = Name::parse(sums::SHA256SUMS.as_bytes()).map_err(Error::caller)?;
        self.sums = Self::rewrite_sums(root, &name, state)?;
        self.sums.seek(SeekFrom::End(0)).on(&self.shown, "going to the end").map(drop)
    }

    /// Syncs both files.
    pub fn sync_all(&mut self) -> Result<()> {
        self.sync()?;
        self.sums.sync_data().on(self.shown.with_file_name(sums::SHA256SUMS), "syncing to disk")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::Sha256;

    fn name(t: &str) -> Name {
        Name::parse(t.as_bytes()).unwrap()
    }

    fn file(path: &str, content: &[u8]) -> FileEvent {
        FileEvent {
            path: name(path),
            size: content.len() as u64,
            modified_ns: 5,
            sha256: Digest::of(content),
            copied: 7,
            session: 1,
            source: "/data/x".into(),
            original: None,
            holes: 0,
            adopted: false,
            made_by: None,
            blocks: None,
        }
    }

    fn lines(events: &[Event]) -> Vec<u8> {
        events.iter().flat_map(|e| (serde_json::to_string(e).unwrap() + "\n").into_bytes()).collect()
    }

    #[test]
    fn every_cut_reads_as_the_whole_lines_before_it() {
        let state = |n| Sha256::new().midstate().clone().into_event(n);
        let events = [
            Event::File(file("a", b"1")),
            state(64),
            state(128),
            Event::Verified { t: 1, path: name("a"), sha256: Digest::of(b"1"), level: Level::FileFlushed },
        ];
        let bytes = lines(&events);
        for cut in 0..=bytes.len() {
            let s = read_events(&bytes[..cut], |_| {}).unwrap();
            let whole = bytes[..cut].iter().filter(|b| **b == b'\n').count();
            assert_eq!(s.valid_bytes as usize, bytes[..cut].iter().rposition(|b| *b == b'\n').map_or(0, |p| p + 1));
            assert_eq!(s.files.len(), whole.min(1));
            assert_eq!(s.parts.get(&name("b")).map_or(0, |p| p.states.len()), whole.saturating_sub(1).min(2));
            assert_eq!(s.files.get(&name("a")).is_some_and(|f| f.verified.is_some()), whole == 4);
        }
    }

    impl Midstate {
        fn into_event(self, offset: u64) -> Event {
            Event::Part { path: name("b"), size: 1000, modified_ns: 3, offset, state: self, blocks: None }
        }
    }

    #[test]
    fn verified_holds_for_one_sum_only() {
        let verified = |c: &[u8]| Event::Verified { t: 1, path: name("a"), sha256: Digest::of(c), level: Level::Cache };
        let of = |e: &[Event]| read_events(&lines(e)[..], |_| {}).unwrap().files[&name("a")];
        let one = Event::File(file("a", b"1"));
        assert!(of(&[one.clone(), verified(b"1")]).verified.is_some());
        assert!(of(&[one.clone(), verified(b"2")]).verified.is_none());
        assert!(of(&[one.clone(), verified(b"1"), Event::File(file("a", b"2"))]).verified.is_none());
        let bad = Event::Mismatch { t: 2, path: name("a"), expected: Digest::of(b"1"), found: Digest::of(b"x") };
        let s = of(&[one, verified(b"1"), bad]);
        assert!(s.verified.is_none() && s.bad);
    }

    #[test]
    fn hostile_records_are_refused_line_by_line() {
        let good = lines(&[Event::File(file("good", b"1"))]);
        let text = String::from_utf8(good.clone()).unwrap();
        let mut all = Vec::new();
        for bad in [
            text.replace("\"good\"", "\"../good\""),
            text.replace("\"good\"", "\"/etc/passwd\""),
            text.replace("\"good\"", "\"hex:2e2e\""),
            text.replace("\"size\":1", "\"size\":-1"),
            "[[[[".repeat(100_000) + "\n",
            "{}\n".into(),
            "\u{0}\n".into(),
            "x".repeat(3 << 20) + "\n",
        ] {
            all.extend(bad.into_bytes());
        }
        all.extend(b"{\"event\":\"of_a_later_version\",\"n\":1}\n\n");
        all.extend(good);
        let s = read_events(&all[..], |_| {}).unwrap();
        assert_eq!((s.refused, s.files.len(), s.valid_bytes), (8, 1, all.len() as u64));
    }
}
