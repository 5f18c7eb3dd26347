//! One pass over files: each is read once, summed on one thread and written to every target on others, all overlapping.
//!
//! ```text
//! ahead ··► reader ──► sums
//!              ├─────► writer 0 ──► commit 0 ──► read back 0
//!              └─────► writer 1 ──► commit 1 ──► read back 1
//! ```
//!
//! Blocks come from a fixed set; a reader without a free block waits for the slowest target. A target that fails drops out
//! and the others go on.

use super::ahead;
use super::commit::{self, CommitMsg};
use super::flow::{HashMsg, WriteMsg, sums};
use super::outcome::Kind;
use super::plan::{BLOCK, Plan, Todo, blocks};
use super::reading::{Fan, read_file};
use super::target::Target;
use super::writing::writer;
use super::{ReadBackWhen, readback};
use crate::stream::{Cancel, Progress};
use crate::trust::readback::Aligned;
use crate::trust::{Name, SourceDir};
use crossbeam_channel::{bounded, unbounded};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tomokit_formats::{Error, Result};

/// What a pass works on and where it leaves its results.
pub(super) struct Ctx<'a> {
    pub(super) plan: &'a Plan,
    pub(super) targets: &'a [Target],
    /// By target, by item.
    pub(super) status: &'a [Vec<AtomicU8>],
    pub(super) failures: &'a Mutex<Vec<Failure>>,
    pub(super) progress: &'a dyn Progress,
    pub(super) cancel: &'a Cancel,
    pub(super) throttle: &'a Throttle,
}

/// A file that did not make it to a target in this pass.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) item: u32,
    pub(super) target: usize,
    pub(super) kind: Kind,
    pub(super) error: Error,
}

impl Ctx<'_> {
    pub(super) fn fail(&self, item: u32, target: usize, kind: Kind, error: Error) {
        log::warn!(
            "{}: {}",
            self.plan.gathered.path(&self.plan.gathered.items[item as usize]).display(),
            crate::trust::one_line(&error)
        );
        let failure = Failure { item, target, kind, error };
        self.failures.lock().unwrap_or_else(|e| e.into_inner()).push(failure);
    }

    pub(super) fn dest(&self, item: u32, target: usize) -> Name {
        self.plan.targets[target].dest(&self.plan.gathered, item)
    }

    pub(super) fn source_path(&self, item: u32) -> PathBuf {
        self.plan.gathered.path(&self.plan.gathered.items[item as usize])
    }

    pub(super) fn set(&self, item: u32, target: usize, todo: Todo) {
        self.status[target][item as usize].store(todo as u8, Relaxed);
    }

    /// Shows the counters of a target.
    pub(super) fn lanes(&self, target: usize) {
        let (t, p) = (&self.targets[target], &self.plan.targets[target]);
        let name = p.path.display();
        self.progress.lane(&format!("{name} written"), t.counters.written_bytes.load(Relaxed), p.copy_bytes);
        if self.plan.request.read_back != ReadBackWhen::No {
            let verified = t.counters.verified_bytes.load(Relaxed);
            self.progress.lane(&format!("{name} verified"), verified, p.copy_bytes + p.verify_bytes);
        }
    }
}

/// Holds the reading to a rate, over all passes.
pub(super) struct Throttle {
    rate: Option<u64>,
    start: Instant,
    taken: AtomicU64,
}

impl Throttle {
    pub(super) fn new(rate: Option<u64>) -> Throttle {
        Throttle { rate, start: Instant::now(), taken: AtomicU64::new(0) }
    }

    pub(super) fn took(&self, bytes: u64, cancel: &Cancel) {
        let Some(rate) = self.rate else { return };
        let total = self.taken.fetch_add(bytes, Relaxed) + bytes;
        let due = Duration::from_secs_f64(total as f64 / rate.max(1) as f64);
        while let Some(wait) = due.checked_sub(self.start.elapsed()).filter(|w| !w.is_zero()) {
            if cancel.is_cancelled() {
                break;
            }
            std::thread::sleep(wait.min(Duration::from_millis(100)));
        }
    }
}

/// Runs files through the stages. `jobs`: item and a bit for each target it goes to.
///
/// # Errors
/// `Interrupted`. What fails for single files is in the context's list.
pub(super) fn pass(ctx: &Ctx<'_>, jobs: &[(u32, u32)], verify: &[(u32, u32)]) -> Result<()> {
    let n = blocks(&ctx.plan.request);
    let (free_tx, free_rx) = bounded::<Aligned>(n);
    for _ in 0..n {
        let _ = free_tx.send(Aligned::new(BLOCK));
    }
    let sources: Vec<_> = ctx.plan.gathered.sources.iter().map(|s| SourceDir::open(&s.dir).ok()).collect();
    let sources = &sources[..];
    std::thread::scope(|scope| {
        let (hash_tx, hash_rx) = bounded::<HashMsg>(64);
        let sums = scope.spawn(move || sums(hash_rx));
        let mut writers = Vec::new();
        let mut threads = Vec::new();
        for t in 0..ctx.targets.len() {
            let (write_tx, write_rx) = bounded::<WriteMsg>(64);
            let (commit_tx, commit_rx) = bounded::<CommitMsg>(512);
            let (back_tx, back_rx) = unbounded();
            for (item, _) in verify.iter().filter(|(_, m)| m & (1 << t) != 0) {
                if let Some(f) = ctx.targets[t].state.files.get(&ctx.dest(*item, t)) {
                    let check = readback::Check { item: *item, size: f.size, sha256: f.sha256, adopt: None };
                    let _ = back_tx.send(check);
                }
            }
            threads.push(scope.spawn(move || writer(ctx, t, write_rx, commit_tx)));
            threads.push(scope.spawn(move || commit::run(ctx, t, commit_rx, back_tx)));
            threads.push(scope.spawn(move || readback::run(ctx, t, back_rx)));
            writers.push(write_tx);
        }
        let (next_tx, next_rx) = bounded(ahead::FILES);
        if cfg!(target_os = "linux") {
            threads.push(scope.spawn(|| ahead::ask(ctx, sources, next_rx)));
        }
        let mut next = ahead::Next::new(jobs, next_tx);
        let mut out = Fan { hash: hash_tx, writers, free: free_rx, home: free_tx, sources };
        for (k, (item, mask)) in jobs.iter().enumerate() {
            if ctx.cancel.is_cancelled() {
                break;
            }
            next.reach(k, |item| ctx.plan.gathered.items[item as usize].size);
            let live = (0..ctx.targets.len()).filter(|t| mask & (1 << t) != 0 && ctx.targets[*t].stopped().is_none());
            let live: Vec<usize> = live.collect();
            if live.is_empty() {
                if ctx.targets.iter().all(|t| t.stopped().is_some()) {
                    break;
                }
                continue;
            }
            if let Err((kind, error)) = read_file(ctx, *item, &live, &mut out) {
                let mut error = Some(error);
                for t in &live {
                    let e = error.take().unwrap_or_else(|| Error::file(ctx.source_path(*item), "cannot be read"));
                    ctx.fail(*item, *t, kind, e);
                }
            }
        }
        drop((out, next));
        for t in threads.into_iter().chain([sums]) {
            if t.join().is_err() {
                return Err(Error::new(tomokit_formats::Fault::System, "a worker thread died"));
            }
        }
        Ok(())
    })?;
    ctx.cancel.check()
}
