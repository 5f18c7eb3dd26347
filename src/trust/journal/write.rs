//! Writing a record, and `SHA256SUMS` beside it.

use super::state::read_lines;
use super::{Event, JOURNAL, JournalState, read_events};
use crate::trust::list::Marks;
use crate::trust::root::PART;
use crate::trust::{Digest, Name, Root, sums};
use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use tomokit_formats::error::OnPath;
use tomokit_formats::{Error, Fault, Result};

/// The record being written, and `SHA256SUMS` beside it.
#[derive(Debug)]
pub struct Journal {
    events: File,
    /// `None` after it could not be made anew.
    sums: Option<File>,
    buffer: Vec<u8>,
    shown: std::path::PathBuf,
}

/// Refuses a file under the record's name in which nothing is of this program.
///
/// # Errors
/// `Caller`.
pub fn refuse_foreign(shown: &Path, state: &JournalState) -> Result<()> {
    match state.sessions == 0 && state.refused > 0 && state.files.is_empty() {
        true => Err(Error::caller("this is no record of this program: nothing is added to it")
            .path(shown)
            .hint("copy into a new folder, or move it away")),
        false => Ok(()),
    }
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
        refuse_foreign(&shown, &state)?;
        // Not every driver cuts files.
        if (&events).seek(SeekFrom::End(0)).on(&shown, "going to the end")? > state.valid_bytes {
            events.set_len(state.valid_bytes).on(&shown, "cutting off a torn line")?;
            (&events).seek(SeekFrom::End(0)).on(&shown, "going to the end")?;
        }
        // An empty one is what a run leaves that was killed before its first event.
        if state.sessions == 0 && root.stat(&sums_name)?.is_some_and(|s| s.size > 0) {
            return Err(Error::caller("there is a list of sums here that this program did not make")
                .path(root.path().join(sums::SHA256SUMS))
                .hint("copy into a new folder, or move the list away"));
        }
        let mut journal = Journal { events, sums: None, buffer: Vec::new(), shown };
        journal.tidy(root, &state)?;
        Ok((journal, state))
    }

    /// Makes the record anew from its sound lines. For those who know that the others told of nothing the disk lacks.
    pub fn without_damaged_lines(root: &Root) -> Result<()> {
        let name = Name::parse(JOURNAL.as_bytes()).map_err(Error::caller)?;
        let (shown, part) = (root.path().join(JOURNAL), name.suffixed(PART));
        let file = root.create_part(&part)?;
        let mut out = BufWriter::with_capacity(1 << 18, &file);
        let copy = |_, line: &[u8], event: std::result::Result<_, _>| match event {
            Ok(_) => out.write_all(line),
            Err(_) => Ok(()),
        };
        read_lines(root.open_small(&name)?, copy).on(&shown, "making the record anew")?;
        out.flush().on(&shown, "making the record anew")?;
        drop(out);
        file.sync_all().on(&shown, "syncing to disk")?;
        drop(file);
        root.rename(&part, &name)?;
        root.sync_folder(None)
    }

    /// `SHA256SUMS` made anew from the record, in the order of names, unless it is in step already. A file there that
    /// the record knows nothing of stays in it where lines of the record are damaged: its sum may be nowhere else.
    fn rewrite_sums(root: &Root, name: &Name, state: &JournalState) -> Result<File> {
        let shown = root.path().join(sums::SHA256SUMS);
        let mut in_step = 0;
        let present = root.open_small(name)?;
        let mut seen = Marks::default();
        let mut odd = false;
        let mut unknown: Vec<(Digest, Name)> = Vec::new();
        let keep_unknown = state.refused > 0;
        sums::read(BufReader::new(&present), |_, line| match line {
            Ok((digest, n)) if keep_unknown && !state.files.has(&n) => {
                unknown.push((digest, n));
                true
            }
            Ok((digest, n)) => {
                let known =
                    state.files.number(&n).filter(|n| state.files.state(*n).is_some_and(|f| f.sha256 == digest));
                odd |= known.is_none_or(|n| !seen.set(n));
                in_step += 1;
                !odd || keep_unknown
            }
            Err(_) => {
                odd = true;
                keep_unknown
            }
        })
        .on(&shown, "reading")?;
        let mut kept = Vec::with_capacity(unknown.len());
        for (digest, name) in unknown {
            match root.stat(&name)? {
                Some(_) => kept.push((digest, name)),
                None => odd = true,
            }
        }
        if !odd && in_step == state.files.len() {
            return Ok(present);
        }
        drop(present);
        let part = name.suffixed(PART);
        let file = root.create_part(&part)?;
        let mut out = BufWriter::with_capacity(1 << 18, &file);
        for n in state.files.sorted() {
            let Some(f) = state.files.state(n) else { continue };
            sums::write_line(&mut out, &f.sha256, state.files.name(n).bytes()).on(&shown, "writing")?;
        }
        for (digest, name) in &kept {
            sums::write_line(&mut out, digest, name.bytes()).on(&shown, "writing")?;
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
        let shown = self.shown.with_file_name(sums::SHA256SUMS);
        match &mut self.sums {
            Some(file) => file.write_all(&lines).on(shown, "writing"),
            None => Err(Error::new(Fault::System, "the list of sums is not open any more").path(shown)),
        }
    }

    /// Brings `SHA256SUMS` in step with the record where files were copied a second time.
    pub fn tidy(&mut self, root: &Root, state: &JournalState) -> Result<()> {
        let name = Name::parse(sums::SHA256SUMS.as_bytes()).map_err(Error::caller)?;
        // Windows replaces no file that is open.
        self.sums = None;
        let mut file = Self::rewrite_sums(root, &name, state)?;
        file.seek(SeekFrom::End(0)).on(&self.shown, "going to the end")?;
        self.sums = Some(file);
        Ok(())
    }

    /// Syncs both files.
    pub fn sync_all(&mut self) -> Result<()> {
        self.sync()?;
        let file = self.sums.as_ref().map_or(Ok(()), File::sync_data);
        file.on(self.shown.with_file_name(sums::SHA256SUMS), "syncing to disk")
    }
}
