//! From written to whole: sync, record, final name, in batches of whatever has piled up.
//!
//! The order is what makes a crash harmless: data on the disk, then the record that says so, then the final name, then the
//! folder, then the list of sums. A batch costs one sync of the data and one of the record, however many files it has.

use super::engine::Ctx;
use super::flow::{FileJob, Version};
use super::outcome::Kind;
use super::plan::Todo;
use super::readback::Check;
use super::suits::same_time;
use super::target::Syncing;
use crate::trust::blocks::BlockSums;
use crate::trust::journal::Event;
use crate::trust::name::path_text;
use crate::trust::{Digest, FileEvent, Name, now};
use crossbeam_channel::{Receiver, Sender};
use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tomokit_formats::{Error, Result};

/// What writers hand over.
pub(super) enum CommitMsg {
    /// So much of a large file is written.
    Mark { job: Arc<FileJob>, dest: Name, file: File, offset: u64 },
    /// All of a file is written.
    Whole { job: Arc<FileJob>, dest: Name, part: Name, file: Option<File>, holes: u64 },
    /// A file that was there already, to be compared with the source's sum.
    Adopt { job: Arc<FileJob> },
}

struct Whole {
    job: Arc<FileJob>,
    dest: Name,
    part: Name,
    file: Option<File>,
    holes: u64,
}

/// One batch at most: what a crash costs is its being read again.
const BATCH_FILES: usize = 2000;
const BATCH_BYTES: u64 = 256 << 20;
/// Of them with an open handle.
const BATCH_HANDLES: usize = 128;
/// How long a batch waits for more: the fewer syncs, the less a disk is torn to and fro.
const PATIENCE: Duration = Duration::from_millis(500);

pub(super) fn run(ctx: &Ctx<'_>, t: usize, queue: Receiver<CommitMsg>, back: Sender<Check>) {
    for first in &queue {
        let mut batch: Vec<Whole> = Vec::new();
        let (mut bytes, mut handles) = (0, 0);
        let until = Instant::now() + PATIENCE;
        let mut next = Some(first);
        while let Some(msg) = next.take() {
            match msg {
                CommitMsg::Mark { job, dest, file, offset } => mark(ctx, t, &job, dest, file, offset),
                CommitMsg::Adopt { job } => {
                    if let Some((sha256, blocks)) = job.sum.whole() {
                        let adopt = Some(Box::new((job.modified_ns, blocks)));
                        let _ = back.send(Check { item: job.item, size: job.size, sha256, adopt });
                    }
                }
                CommitMsg::Whole { job, dest, part, file, holes } => {
                    bytes += job.size;
                    handles += usize::from(file.is_some());
                    batch.push(Whole { job, dest, part, file, holes });
                }
            }
            if batch.is_empty() {
                next = queue.try_recv().ok();
            } else if batch.len() < BATCH_FILES && bytes < BATCH_BYTES && handles < BATCH_HANDLES {
                next = queue.recv_deadline(until).ok();
            }
        }
        if !batch.is_empty() {
            commit(ctx, t, batch, &back);
        }
    }
    // Nothing of the record stays in memory when a pass is over.
    let synced = ctx.targets[t].journal().sync_all();
    if let Err(e) = synced {
        let (_, e) = ctx.targets[t].judge(e);
        log::error!("{}", crate::trust::one_line(&e));
    }
}

pub(super) type Sums = (Digest, Option<BlockSums>);

/// What the record says of a file that is whole.
pub(super) fn event(
    ctx: &Ctx<'_>,
    t: usize,
    read: Version,
    dest: &Name,
    sums: Sums,
    holes: u64,
    adopted: bool,
) -> FileEvent {
    let plain = || ctx.plan.gathered.dest(&ctx.plan.gathered.items[read.item as usize]).text();
    let source = ctx.source_path(read.item);
    // A record outlives the folder it was written from: the ledger asks for sources by their full names.
    let source = std::path::absolute(&source).unwrap_or(source);
    FileEvent {
        path: dest.clone(),
        size: read.size,
        modified_ns: read.modified_ns,
        sha256: sums.0,
        copied: now(),
        session: ctx.targets[t].session,
        source: path_text(&source),
        original: ctx.plan.targets[t].renames.contains_key(&read.item).then(plain),
        holes,
        adopted,
        made_by: None,
        blocks: sums.1,
    }
}

/// Data on the disk, and the record says up to where.
fn mark(ctx: &Ctx<'_>, t: usize, job: &FileJob, path: Name, file: File, offset: u64) {
    let target = &ctx.targets[t];
    if target.stopped().is_some() {
        return;
    }
    // Without a mark an interrupted copy begins this file a little earlier: no reason to stop it.
    if let Err(e) = file.sync_data() {
        log::warn!("{}: at byte {offset}: {e}", target.root.shown(&path).display());
        return;
    }
    let Some((state, blocks)) = job.sum.state(offset) else { return };
    let event = Event::Part { path, size: job.size, modified_ns: job.modified_ns, offset, state, blocks };
    let mut journal = target.journal();
    if let Err(e) = journal.push(&event).and_then(|()| journal.sync()) {
        log::warn!("{}", crate::trust::one_line(&e));
    }
}

fn commit(ctx: &Ctx<'_>, t: usize, mut batch: Vec<Whole>, back: &Sender<Check>) {
    let target = &ctx.targets[t];
    let fail = |w: &Whole, kind: Kind, e: Error| {
        if kind != Kind::Gone {
            let _ = target.root.remove(&w.part);
        }
        ctx.fail(w.job.item, t, kind, e);
    };
    // One failure of a call for all of them is a failure of each.
    let fail_all = |batch: Vec<Whole>, e: Error| {
        let (kind, e) = target.judge(e);
        let text = crate::trust::one_line(&e);
        let mut first = Some(e);
        for w in batch {
            let w = Whole { file: None, ..w };
            let e = first.take().unwrap_or_else(|| Error::file(target.root.shown(&w.dest), text.clone()));
            fail(&w, kind, e);
        }
    };

    // 1. The data.
    if target.syncing != Syncing::Each && (batch.len() > 1 || batch.iter().any(|w| w.file.is_none())) {
        if let Err(e) = target.sync_all() {
            return fail_all(batch, e);
        }
        batch.iter_mut().for_each(|w| w.file = None);
    } else {
        let mut good = Vec::with_capacity(batch.len());
        for mut w in batch {
            let synced = w.file.take().map_or(Ok(()), |f| f.sync_all());
            match synced {
                Ok(()) => good.push(w),
                Err(e) => {
                    let (kind, e) = target.judge(Error::io(target.root.shown(&w.dest), "syncing to disk", e));
                    fail(&w, kind, e);
                }
            }
        }
        batch = good;
    }
    if let Err(e) = target.root.still_there() {
        return fail_all(batch, e);
    }

    // 2. The record.
    let mut good: Vec<(Whole, Sums)> = Vec::with_capacity(batch.len());
    for w in batch {
        match w.job.sum.whole() {
            Some(d) => good.push((w, d)),
            // Reading it failed after the last byte was handed on: the reader has said so.
            None => drop(target.root.remove(&w.part)),
        }
    }
    let record = || -> Result<()> {
        for (w, d) in &good {
            target.record(event(ctx, t, w.job.version(), &w.dest, d.clone(), w.holes, false))?;
        }
        target.journal().sync()
    };
    if let Err(e) = record() {
        return fail_all(good.into_iter().map(|(w, _)| w).collect(), e);
    }

    // 3. The names, and that they are what they should be.
    let mut named = Vec::with_capacity(good.len());
    for (w, (d, _)) in good {
        let renamed = target.root.rename(&w.part, &w.dest).and_then(|()| match target.root.stat(&w.dest)? {
            Some(s) if s.is_file && s.size == w.job.size && s.dev == target.root.dev() => Ok(()),
            s => Err(Error::file(target.root.shown(&w.dest), "the file is not there as it was written")
                .expected(format!("{} bytes", w.job.size))
                .found(s.map_or("nothing".into(), |s| format!("{} bytes", s.size)))),
        });
        match renamed {
            Ok(()) => named.push((w, d)),
            Err(e) => {
                let (kind, e) = target.judge(e);
                let path = w.dest.clone();
                let _ = target.journal().push(&Event::Dropped { t: now(), path, why: crate::trust::one_line(&e) });
                if kind != Kind::Gone {
                    let _ = remember(ctx, t, &w);
                }
                fail(&w, kind, e);
            }
        }
    }

    // 4. The folders, and the list others read.
    if let Err(e) = sync_folders(ctx, t, named.iter().map(|(w, _)| &w.dest)) {
        return fail_all(named.into_iter().map(|(w, _)| w).collect(), e);
    }
    if let Err(e) = target.journal().add_sums(named.iter().map(|(w, d)| (d, &w.dest))) {
        // The list is made anew from the record when the next run begins.
        log::warn!("{}", crate::trust::one_line(&e));
        let _ = target.judge(e);
    }
    for (w, sha256) in named {
        let c = &target.counters;
        c.copied_files.fetch_add(1, Relaxed);
        c.copied_bytes.fetch_add(w.job.size, Relaxed);
        c.hole_bytes.fetch_add(w.holes, Relaxed);
        target.went_well();
        ctx.set(w.job.item, t, Todo::Verify);
        *target.last.lock().unwrap_or_else(|e| e.into_inner()) = Some((w.dest.clone(), w.job.item));
        let _ = back.send(Check { item: w.job.item, size: w.job.size, sha256, adopt: None });
    }
    ctx.lanes(t);
}

/// What could not be replaced (Windows: another program has it open, it is read-only) is there as it was recorded, and ours:
/// the record says so again.
fn remember(ctx: &Ctx<'_>, t: usize, w: &Whole) -> Result<()> {
    let target = &ctx.targets[t];
    let Some(old) = target.state.files.get(&w.dest) else { return Ok(()) };
    let is_there = target
        .root
        .stat(&w.dest)?
        .is_some_and(|s| s.is_file && s.size == old.size && same_time(s.modified_ns, old.modified_ns));
    if !is_there {
        return Ok(());
    }
    let version = Version { size: old.size, modified_ns: old.modified_ns, ..w.job.version() };
    let mut event = event(ctx, t, version, &w.dest, (old.sha256, None), 0, false);
    event.session = u64::from(old.session);
    let mut journal = target.journal();
    journal.push(&Event::File(event))?;
    match old.verified {
        Some((t, level)) => journal.push(&Event::Verified { t, path: w.dest.clone(), sha256: old.sha256, level }),
        None => Ok(()),
    }
}

/// Makes the renames durable.
pub(super) fn sync_folders<'a>(ctx: &Ctx<'_>, t: usize, files: impl Iterator<Item = &'a Name>) -> Result<()> {
    let target = &ctx.targets[t];
    let folders: BTreeSet<Option<Name>> = files.map(Name::parent).collect();
    // Names are part of what one call syncs; a few folders by themselves are cheaper only where each is its own file.
    if (folders.len() > 4 || target.syncing == Syncing::Device) && target.sync_all()? {
        return Ok(());
    }
    for f in &folders {
        target.root.sync_folder(f.as_ref())?;
    }
    Ok(())
}
