//! The second stage: what is on the disk is read and compared with what was read from the source. Runs beside the copying,
//! in stretches long enough that a spinning disk is not torn to and fro; each stretch begins with a flush.

use super::ReadBackWhen;
use super::check::locate;
use super::commit::event;
use super::engine::Ctx;
use super::flow::Version;
use super::outcome::Kind;
use super::plan::Todo;
use crate::trust::blocks::BlockSums;
use crate::trust::journal::Event;
use crate::trust::{Digest, now};
use crossbeam_channel::Receiver;
use std::sync::atomic::Ordering::Relaxed;
use tomokit_formats::{Error, Result};

/// A file to be read back. Small: there may be as many of them waiting as files.
pub(super) struct Check {
    pub(super) item: u32,
    pub(super) size: u64,
    pub(super) sha256: Digest,
    /// The file was there before, and is recorded if it is the same: time of the source, sums of its blocks.
    pub(super) adopt: Option<Box<(i64, Option<BlockSums>)>>,
}

/// Bytes and files of one stretch.
const STRETCH_BYTES: u64 = 512 << 20;
const STRETCH_FILES: usize = 20_000;

pub(super) fn run(ctx: &Ctx<'_>, t: usize, queue: Receiver<Check>) {
    let when = ctx.plan.request.read_back;
    let mut waiting: Vec<Check> = Vec::new();
    let mut bytes = 0;
    for check in queue {
        // What was there before is compared in any case: nothing else tells.
        let touched = ctx.plan.targets[t].touched.contains(&check.item);
        if when == ReadBackWhen::No && check.adopt.is_none() && !touched {
            continue;
        }
        bytes += check.size;
        waiting.push(check);
        if when == ReadBackWhen::Overlapped && (bytes >= STRETCH_BYTES || waiting.len() >= STRETCH_FILES) {
            stretch(ctx, t, std::mem::take(&mut waiting));
            bytes = 0;
        }
    }
    if when == ReadBackWhen::End {
        ctx.progress.note("everything is written; reading it back");
    }
    stretch(ctx, t, waiting);
}

fn stretch(ctx: &Ctx<'_>, t: usize, checks: Vec<Check>) {
    let target = &ctx.targets[t];
    if checks.is_empty() || ctx.cancel.is_cancelled() || matches!(target.stopped(), Some(super::target::Stop::Gone(_)))
    {
        return;
    }
    if let Err(e) = target.back.flush() {
        log::warn!("{}: flushing the device failed: {e}", target.root.path().display());
    }
    let mut adopted = Vec::new();
    for check in checks {
        if ctx.cancel.is_cancelled() {
            break;
        }
        let item = check.item;
        match one(ctx, t, &check) {
            Ok(true) => {
                ctx.set(item, t, Todo::Done);
                if check.adopt.is_some() {
                    adopted.push((check.sha256, ctx.dest(item, t)));
                }
            }
            Ok(false) => {}
            Err(e) if e.fault() == tomokit_formats::Fault::Interrupted => break,
            Err(e) => {
                let (kind, e) = target.judge(e);
                let kind = if kind == Kind::Target { Kind::Unread } else { kind };
                ctx.fail(item, t, kind, e);
            }
        }
    }
    let mut journal = target.journal();
    if let Err(e) = journal.sync().and_then(|()| journal.add_sums(adopted.iter().map(|(d, n)| (d, n)))) {
        drop(journal);
        let (_, e) = target.judge(e);
        log::error!("{}", crate::trust::one_line(&e));
    }
}

/// Reads one file back; false where it is not what it should be, which is then in the list of failures.
fn one(ctx: &Ctx<'_>, t: usize, check: &Check) -> Result<bool> {
    let target = &ctx.targets[t];
    let dest = ctx.dest(check.item, t);
    target.root.still_there()?;
    let (found, size, level) = target.back.sum(&target.root, &dest, ctx.cancel, &|_| {})?;
    let shown = target.root.shown(&dest);
    if found == check.sha256 && size == check.size {
        if let Some(adopt) = &check.adopt {
            let (modified_ns, blocks) = &**adopt;
            let read = Version { item: check.item, size, modified_ns: *modified_ns };
            target.record(event(ctx, t, read, &dest, (found, blocks.clone()), 0, true))?;
            target.counters.adopted_files.fetch_add(1, Relaxed);
        }
        target.verified(&dest, found, level, size)?;
        ctx.lanes(t);
        return Ok(true);
    }
    let (kind, text) = if check.adopt.is_some() {
        (Kind::Differs, "already there with other contents")
    } else if ctx.plan.targets[t].is_theirs(check.item, ctx.plan.request.overwrite) {
        if let Some(f) = target.state.files.get(&dest) {
            target.differing.lock().unwrap_or_else(|e| e.into_inner()).push((dest.clone(), f.session));
        }
        (Kind::Differs, "changed on the target since it was copied (--overwrite replaces it)")
    } else {
        let path = dest.clone();
        let mut journal = target.journal();
        journal.push(&Event::Mismatch { t: now(), path, expected: check.sha256, found })?;
        journal.sync()?;
        drop(journal);
        (Kind::Mismatch, "read back, the file is not what was read from the source")
    };
    let mut text = text.to_owned();
    if kind == Kind::Mismatch
        && let Ok(Some(damage)) = locate(&target.root, &target.back, &dest, &check.sha256, ctx.cancel)
    {
        text += &format!(": {damage}");
    }
    let e = Error::file(shown, text).expected(check.sha256).found(found);
    ctx.fail(check.item, t, kind, e);
    Ok(false)
}
