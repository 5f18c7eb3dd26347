//! The end of a target: everything flushed, the tail read again, lists for other programs, and then the word "safe".

use super::ReadBackWhen;
use super::outcome::TargetDone;
use super::plan::{Plan, TargetPlan};
use super::reading::open_source;
use super::target::{Stop, Target};
use crate::stream::Progress;
use crate::trust::journal::{Event, JOURNAL};
use crate::trust::readback::Medium;
use crate::trust::{Digest, JournalState, Level, Name, bag, journal, now, one_line, sums};
use std::io::{BufWriter, Write};
use std::sync::atomic::Ordering::Relaxed;
use tomokit_formats::io::{forget_cached, read_at};
use tomokit_formats::{Error, Result, durable};

/// Bytes at the end of the last file that are read again.
const TAIL: u64 = 4 << 20;

/// Name of hashdeep's list at the top of a target.
pub(super) const HASHDEEP: &str = "hashdeep.txt";

/// Ends a target; never fails: what goes wrong means "not safe", and is said.
///
/// `missing`: files that it was to get and did not.
pub(super) fn finish(
    mut target: Target,
    own: &TargetPlan,
    plan: &Plan,
    missing: u64,
    progress: &dyn Progress,
) -> TargetDone {
    let gone = matches!(target.stopped(), Some(Stop::Gone(_)));
    let c = &target.counters;
    let mut done = TargetDone {
        path: own.path.clone(),
        copied_files: c.copied_files.load(Relaxed),
        copied_bytes: c.copied_bytes.load(Relaxed),
        resumed_bytes: c.resumed_bytes.load(Relaxed),
        hole_bytes: c.hole_bytes.load(Relaxed),
        adopted_files: c.adopted_files.load(Relaxed),
        verified_files: c.verified_files.load(Relaxed),
        verified_bytes: c.verified_bytes.load(Relaxed),
        level: *target.lowest.lock().unwrap_or_else(|e| e.into_inner()),
        wanted: target.back.wanted,
        skipped_files: own.done_files,
        recorded_files: 0,
        recorded_verified: 0,
        differing: std::mem::take(&mut *target.differing.lock().unwrap_or_else(|e| e.into_inner())),
        stopped: target.stopped().map(|s| match s {
            Stop::Full(w) | Stop::Gone(w) => w,
        }),
        full: matches!(target.stopped(), Some(Stop::Full(_))),
        gone,
        safe_to_unplug: false,
        is_server: own.medium == Medium::Network,
    };
    if gone {
        return done;
    }
    // Of a million files the record is large, and read anew.
    target.state = JournalState::default();
    match end(&target, own, plan, missing, &mut done) {
        Ok(()) => done.safe_to_unplug = true,
        Err(e) => progress.note(&format!("{}: NOT safe to unplug: {}", own.path.display(), one_line(&e))),
    }
    done
}

fn end(target: &Target, own: &TargetPlan, plan: &Plan, missing: u64, done: &mut TargetDone) -> Result<()> {
    target.journal().sync_all()?;
    let state = journal::read_record(target.root.path(), |_| {})?.unwrap_or_default();
    target.journal().tidy(&target.root, &state)?;
    done.recorded_files = state.files.len() as u64;
    done.recorded_verified = state.files.iter().filter(|(_, f)| f.verified.is_some()).count() as u64;
    if plan.request.bag {
        write_bag(target, &state)?;
    }
    if plan.request.hashdeep {
        write_hashdeep(target, &state)?;
    }
    // Everything: data, names, lists; then the device's own memory, by the flush a sync ends with.
    target.root.sync_volume()?;
    target.root.sync_folder(None)?;
    if let Err(e) = target.back.flush() {
        log::warn!("{}: flushing the device failed: {e}", own.path.display());
    }
    let level = tail(target, plan)?;
    target.root.still_there()?;
    let mut journal = target.journal();
    journal.push(&Event::SafeToUnplug {
        t: now(),
        files: done.recorded_files,
        bytes: state.bytes(),
        verified: done.recorded_verified,
        // What a full disk does not have goes to the next.
        missing: if state.sealed.is_some() { 0 } else { missing },
        level,
    })?;
    journal.sync_all()?;
    drop(journal);
    target.root.sync_folder(None)?;
    target.root.sync_volume().map(drop)
}

/// Reads the end of the last file again and compares it with the source's; and the record's, which was written last.
fn tail(target: &Target, plan: &Plan) -> Result<Level> {
    let record = Name::parse(JOURNAL.as_bytes()).map_err(Error::caller)?;
    let back = &target.back;
    let never = crate::stream::Cancel::default();
    let (_, len, level) = back.sum(&target.root, &record, &never, &|_| {})?;
    let wanted = target.root.stat(&record)?.map_or(0, |s| s.size);
    if len != wanted {
        return Err(Error::file(target.root.shown(&record), "the record reads back shorter than it is"));
    }
    let last = target.last.lock().unwrap_or_else(|e| e.into_inner()).clone();
    let Some((name, item)) = last.filter(|_| plan.request.read_back != ReadBackWhen::No) else { return Ok(level) };
    let Some(stat) = target.root.stat(&name)? else {
        return Err(Error::file(target.root.shown(&name), "the last file is not there any more"));
    };
    let from = stat.size.saturating_sub(TAIL);
    let there = target.root.open_read(&name, false)?;
    forget_cached(&there);
    // A source that changed or went away since is no witness; its file was read back as a whole.
    let Ok(here) = open_source(plan, item, None) else { return Ok(level) };
    let same_source = here.metadata().is_ok_and(|m| m.len() == stat.size);
    let read = |f: &std::fs::File| -> std::io::Result<Vec<u8>> {
        let mut b = vec![0; (stat.size - from) as usize];
        let mut n = 0;
        while n < b.len() {
            match read_at(f, &mut b[n..], from + n as u64)? {
                0 => break,
                k => n += k,
            }
        }
        b.truncate(n);
        Ok(b)
    };
    let a = read(&there).map_err(|e| Error::io(target.root.shown(&name), "reading back", e))?;
    if same_source && read(&here).is_ok_and(|b| Digest::of(&a) != Digest::of(&b)) {
        let source = plan.gathered.path(&plan.gathered.items[item as usize]);
        let same_time = std::fs::metadata(source)
            .is_ok_and(|m| super::suits::same_time(crate::trust::root::nanos(m.modified()), stat.modified_ns));
        if same_time {
            return Err(Error::file(target.root.shown(&name), "the end of the last file reads back differently"));
        }
    }
    Ok(level)
}

/// Name, size and sum of every file, in the order of names.
fn sorted(state: &JournalState) -> impl Iterator<Item = (Name, u64, Digest)> {
    let files = &state.files;
    files.sorted().into_iter().filter_map(|n| files.state(n).map(|f| (files.name(n), f.size, f.sha256)))
}

fn write_bag(target: &Target, state: &JournalState) -> Result<()> {
    target.root.still_there()?;
    // What is not below data/ (the checker) is no payload.
    let payload = |f: &(Name, u64, Digest)| f.0.parts().next() == Some(bag::PAYLOAD.as_bytes());
    bag::write(target.root.path(), sorted(state).filter(payload))
}

fn write_hashdeep(target: &Target, state: &JournalState) -> Result<()> {
    target.root.still_there()?;
    let mut out = BufWriter::new(Vec::new());
    let written = (|| {
        sums::write_hashdeep_head(&mut out, &target.root.path().to_string_lossy())?;
        for (name, size, digest) in sorted(state) {
            sums::write_hashdeep(&mut out, size, &digest, name.bytes())?;
        }
        out.flush()
    })();
    let path = target.root.path().join(HASHDEEP);
    written.map_err(|e| Error::io(&path, "writing", e))?;
    durable::write_small(&path, out.get_ref(), true).map(drop)
}
