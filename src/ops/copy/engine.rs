//! One pass over files: each is read once, summed on one thread and written to every target on others, all overlapping.
//!
//! ```text
//! reader ──► sums
//!    ├─────► writer 0 ──► commit 0 ──► read back 0
//!    └─────► writer 1 ──► commit 1 ──► read back 1
//! ```
//!
//! Blocks come from a fixed set; a reader without a free block waits for the slowest target. A target that fails drops out
//! and the others go on.

use super::commit::{self, CommitMsg};
use super::plan::{BLOCK, Plan, Todo, blocks};
use super::readback;
use super::run::Kind;
use super::target::Target;
use super::{ReadBackWhen, Sparse};
use crate::stream::{Cancel, Progress};
use crate::trust::readback::Aligned;
use crate::trust::root::{PART, nanos, system_time};
use crate::trust::{Digest, Midstate, Name, Sha256, SourceDir};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tomokit_formats::io::{read_at, write_all_at};
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

    fn took(&self, bytes: u64, cancel: &Cancel) {
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

/// A block of a file on its way; goes back to the set when the last stage drops it.
pub(super) struct Block {
    buffer: Option<Aligned>,
    len: usize,
    home: Sender<Aligned>,
}

impl Block {
    fn bytes(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |b| &b.all()[..self.len])
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(b) = self.buffer.take() {
            let _ = self.home.try_send(b);
        }
    }
}

/// What is to be done with a file on one target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    Skip,
    Write,
    Adopt,
}

/// A file on its way through the stages.
pub(super) struct FileJob {
    pub(super) item: u32,
    pub(super) size: u64,
    pub(super) modified_ns: i64,
    /// First byte that is read in this run.
    pub(super) start: u64,
    pub(super) modes: Vec<Mode>,
    pub(super) sum: Slot,
}

/// Where the sum appears once it is known, and its states on the way.
#[derive(Default)]
pub(super) struct Slot(Mutex<SlotState>, Condvar);

#[derive(Default)]
struct SlotState {
    states: Vec<(u64, Midstate)>,
    /// `Some(None)`: there will be none.
    sum: Option<Option<Digest>>,
}

impl Slot {
    fn change(&self, f: impl FnOnce(&mut SlotState)) {
        f(&mut self.0.lock().unwrap_or_else(|e| e.into_inner()));
        self.1.notify_all();
    }

    fn wait<T>(&self, look: impl Fn(&SlotState) -> Option<Option<T>>) -> Option<T> {
        let mut s = self.0.lock().unwrap_or_else(|e| e.into_inner());
        loop {
            if let Some(answer) = look(&s) {
                return answer;
            }
            s = self.1.wait(s).unwrap_or_else(|e| e.into_inner());
        }
    }

    /// The sum, or `None` where reading failed.
    pub(super) fn digest(&self) -> Option<Digest> {
        self.wait(|s| s.sum)
    }

    /// The state after `offset` bytes.
    pub(super) fn state(&self, offset: u64) -> Option<Midstate> {
        self.wait(|s| match s.states.iter().find(|(o, _)| *o == offset) {
            Some((_, m)) => Some(Some(m.clone())),
            None => s.sum.map(|_| None),
        })
    }
}

enum HashMsg {
    Begin(Arc<FileJob>, Box<Sha256>),
    Data(Arc<Block>),
    Hole(u64),
    Mark,
    End,
    Abort,
}

enum WriteMsg {
    Begin(Arc<FileJob>),
    Data(Arc<Block>, u64),
    Hole(u64),
    Mark(u64),
    End,
    /// Reading failed or the user stopped; `keep`: the unfinished file may be gone on with.
    Abort {
        keep: bool,
    },
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
    std::thread::scope(|scope| {
        let (hash_tx, hash_rx) = bounded::<HashMsg>(64);
        let sums = scope.spawn(move || sums(hash_rx));
        let mut writers = Vec::new();
        let mut threads = Vec::new();
        for t in 0..ctx.targets.len() {
            let (write_tx, write_rx) = bounded::<WriteMsg>(64);
            let (commit_tx, commit_rx) = bounded::<CommitMsg>(512);
            let (back_tx, back_rx) = unbounded();
            for (item, mask) in verify.iter().filter(|(_, m)| m & (1 << t) != 0) {
                let _ = mask;
                let dest = ctx.dest(*item, t);
                if let Some(f) = ctx.targets[t].state.files.get(&dest) {
                    let _ = back_tx.send(readback::Check {
                        item: *item,
                        dest,
                        size: f.size,
                        sha256: f.sha256,
                        adopt: None,
                    });
                }
            }
            threads.push(scope.spawn(move || writer(ctx, t, write_rx, commit_tx)));
            threads.push(scope.spawn(move || commit::run(ctx, t, commit_rx, back_tx)));
            threads.push(scope.spawn(move || readback::run(ctx, t, back_rx)));
            writers.push(write_tx);
        }
        let sources = ctx.plan.gathered.sources.iter().map(|s| SourceDir::open(&s.dir).ok()).collect();
        let mut out = Fan { hash: hash_tx, writers, free: free_rx, home: free_tx, sources };
        for (item, mask) in jobs {
            if ctx.cancel.is_cancelled() {
                break;
            }
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
        drop(out);
        for t in threads.into_iter().chain([sums]) {
            if t.join().is_err() {
                return Err(Error::new(tomokit_formats::Fault::System, "a worker thread died"));
            }
        }
        Ok(())
    })?;
    ctx.cancel.check()
}

/// The reader's ends of all queues.
struct Fan {
    hash: Sender<HashMsg>,
    writers: Vec<Sender<WriteMsg>>,
    free: Receiver<Aligned>,
    home: Sender<Aligned>,
    /// Source folders, held for this pass; `None` where that failed, which each of its files then says.
    sources: Vec<Option<SourceDir>>,
}

impl Fan {
    fn to(&self, job: &FileJob, make: impl Fn() -> WriteMsg) {
        for (w, mode) in self.writers.iter().zip(&job.modes) {
            if *mode != Mode::Skip {
                let _ = w.send(make());
            }
        }
    }
}

/// Opens a source file: below the held source folder, so that no exchanged link leads elsewhere.
pub(super) fn open_source(plan: &Plan, item: u32, held: Option<&SourceDir>) -> std::io::Result<File> {
    let g = &plan.gathered;
    let it = &g.items[item as usize];
    let source = &g.sources[it.source as usize];
    if plan.request.select.links == super::Links::Follow || source.prefix.is_none() {
        return File::open(g.path(it));
    }
    match held {
        Some(dir) => dir.file(&it.below),
        None => SourceDir::open(&source.dir)?.file(&it.below),
    }
}

type Failed = (Kind, Error);

fn read_file(ctx: &Ctx<'_>, item: u32, live: &[usize], out: &mut Fan) -> Result<(), Failed> {
    let path = ctx.source_path(item);
    let failed = |what: &'static str| {
        let path = path.clone();
        move |e: std::io::Error| (Kind::Source, Error::io(path, what, e))
    };
    let held = out.sources[ctx.plan.gathered.items[item as usize].source as usize].as_ref();
    let file = open_source(ctx.plan, item, held).map_err(failed("opening the source"))?;
    let before = file.metadata().map_err(failed("looking at the source"))?;
    if !before.is_file() {
        return Err((Kind::Source, Error::file(&path, "this is no plain file any more")));
    }
    let (size, modified_ns) = (before.len(), nanos(before.modified()));
    if size > BLOCK as u64 {
        read_ahead(&file);
    }
    let mut modes = vec![Mode::Skip; ctx.targets.len()];
    for t in live {
        let adopt = ctx.status[*t][item as usize].load(Relaxed) == Todo::Adopt as u8;
        modes[*t] = if adopt { Mode::Adopt } else { Mode::Write };
    }
    let (start, sum) = resume_point(ctx, item, &modes, size, modified_ns);
    for t in live.iter().filter(|_| start > 0) {
        ctx.targets[*t].counters.resumed_bytes.fetch_add(start, Relaxed);
        ctx.targets[*t].counters.written_bytes.fetch_add(start, Relaxed);
    }
    ctx.progress.advance(start);
    let job = Arc::new(FileJob { item, size, modified_ns, start, modes, sum: Slot::default() });
    let _ = out.hash.send(HashMsg::Begin(job.clone(), Box::new(sum)));
    out.to(&job, || WriteMsg::Begin(job.clone()));

    let result = read_blocks(ctx, &file, &job, out).and_then(|()| {
        let after = file.metadata().map_err(failed("looking at the source"))?;
        if (after.len(), nanos(after.modified())) != (size, modified_ns) {
            return Err((Kind::Changed, Error::file(&path, "the source changed while it was being read")));
        }
        let _ = out.hash.send(HashMsg::End);
        // A change within the clock's last tick leaves size and time as they were: such files are read twice.
        let fresh = now_ns().saturating_sub(modified_ns) < 2_000_000_000;
        if (fresh || ctx.plan.request.second_hash)
            && job.sum.digest() != Some(second_sum(ctx, &file, size).map_err(failed("reading the source again"))?)
        {
            return Err((Kind::Changed, Error::file(&path, "the source changed while it was being read")));
        }
        Ok(())
    });
    match &result {
        Ok(()) => out.to(&job, || WriteMsg::End),
        Err((kind, _)) => {
            let _ = out.hash.send(HashMsg::Abort);
            let keep = *kind == Kind::Interrupted;
            out.to(&job, || WriteMsg::Abort { keep });
        }
    }
    result
}

fn now_ns() -> i64 {
    nanos(Ok(std::time::SystemTime::now()))
}

fn second_sum(ctx: &Ctx<'_>, file: &File, size: u64) -> std::io::Result<Digest> {
    let mut sum = Sha256::new();
    let mut buffer = vec![0; BLOCK.min(size as usize + 1)];
    while !ctx.cancel.is_cancelled() {
        match read_at(file, &mut buffer, sum.len()) {
            Ok(0) => break,
            Ok(n) => sum.update(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(sum.finish())
}

fn read_blocks(ctx: &Ctx<'_>, file: &File, job: &Arc<FileJob>, out: &mut Fan) -> Result<(), Failed> {
    let path = ctx.source_path(job.item);
    let step = ctx.plan.request.checkpoint.max(BLOCK as u64).next_multiple_of(BLOCK as u64);
    let sparse = ctx.plan.request.sparse == Sparse::Keep;
    let allocated = ctx.plan.gathered.items[job.item as usize].allocated;
    let mut map = Holes::new(file, job.size, sparse && allocated + (BLOCK as u64) < job.size);
    let mut offset = job.start;
    while offset < job.size {
        if ctx.cancel.is_cancelled() {
            return Err((Kind::Interrupted, Error::interrupted()));
        }
        let to_mark = step - offset % step;
        let len = (job.size - offset).min(BLOCK as u64 - offset % BLOCK as u64);
        let hole = map.hole_at(offset).min(to_mark);
        let hole = if offset + hole == job.size { hole } else { hole / BLOCK as u64 * BLOCK as u64 };
        let passed = if hole > 0 {
            let _ = out.hash.send(HashMsg::Hole(hole));
            out.to(job, || WriteMsg::Hole(hole));
            hole
        } else {
            let Ok(mut buffer) = out.free.recv() else { break };
            let mut done = 0;
            while done < len as usize {
                match read_at(file, &mut buffer.all_mut()[done..len as usize], offset + done as u64) {
                    Ok(0) => break,
                    Ok(n) => done += n,
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(e) => {
                        let _ = out.home.try_send(buffer);
                        return Err((Kind::Source, Error::io(&path, "reading the source", e).at(offset + done as u64)));
                    }
                }
            }
            let block = Arc::new(Block { buffer: Some(buffer), len: done, home: out.home.clone() });
            if done < len as usize {
                return Err((Kind::Changed, Error::file(&path, "the source became shorter while it was being read")));
            }
            let _ = out.hash.send(HashMsg::Data(block.clone()));
            out.to(job, || WriteMsg::Data(block.clone(), offset));
            len
        };
        offset += passed;
        ctx.progress.advance(passed);
        ctx.throttle.took(passed, ctx.cancel);
        if offset.is_multiple_of(step) && offset < job.size {
            let _ = out.hash.send(HashMsg::Mark);
            out.to(job, || WriteMsg::Mark(offset));
        }
    }
    Ok(())
}

/// Where a sparse file has data, asked of its file system.
struct Holes<'a> {
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    file: &'a File,
    size: u64,
    on: bool,
    /// Start of the next data, asked for from this offset on.
    next: (u64, u64),
}

impl<'a> Holes<'a> {
    fn new(file: &'a File, size: u64, on: bool) -> Self {
        Holes { file, size, on: on && cfg!(target_os = "linux"), next: (u64::MAX, 0) }
    }

    /// Length of the hole that begins at `offset`; 0: data.
    fn hole_at(&mut self, offset: u64) -> u64 {
        if !self.on {
            return 0;
        }
        let (asked, data) = self.next;
        if asked == u64::MAX || offset >= data {
            self.next = (offset, self.data_from(offset));
        }
        self.next.1.saturating_sub(offset)
    }

    #[cfg(target_os = "linux")]
    fn data_from(&self, offset: u64) -> u64 {
        use std::os::fd::AsRawFd;
        let Ok(from) = libc::off64_t::try_from(offset) else { return offset };
        // SAFETY: the descriptor is open while `file` is borrowed. The position it moves is used by nobody: all reads are
        // positioned.
        let at = unsafe { libc::lseek64(self.file.as_raw_fd(), from, libc::SEEK_DATA) };
        match u64::try_from(at) {
            Ok(d) => d.min(self.size),
            // ENXIO: no data up to the end.
            Err(_) if std::io::Error::last_os_error().raw_os_error() == Some(libc::ENXIO) => self.size,
            Err(_) => offset,
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn data_from(&self, offset: u64) -> u64 {
        offset
    }
}

/// From which byte on a file is read: the last mark that every target has on its disk, its last stretch read again there.
fn resume_point(ctx: &Ctx<'_>, item: u32, modes: &[Mode], size: u64, modified_ns: i64) -> (u64, Sha256) {
    let fresh = (0, Sha256::new());
    let mut common: Option<Vec<(u64, Midstate)>> = None;
    for (t, mode) in modes.iter().enumerate() {
        match mode {
            Mode::Skip => continue,
            Mode::Adopt => return fresh,
            Mode::Write => {}
        }
        let dest = ctx.dest(item, t);
        let target = &ctx.targets[t];
        let part = target.state.parts.get(&dest).filter(|p| p.size == size && p.modified_ns == modified_ns);
        let len = target.root.stat(&dest.suffixed(PART)).ok().flatten().filter(|s| s.is_file).map_or(0, |s| s.size);
        let states = part.map_or(&[][..], |p| &p.states[..]);
        let usable: Vec<_> = states.iter().filter(|(o, _)| *o <= len && *o <= size).cloned().collect();
        common = Some(match common {
            None => usable,
            Some(c) => c.into_iter().filter(|s| usable.contains(s)).collect(),
        });
    }
    let Some((offset, state)) = common.as_ref().and_then(|c| c.last()).cloned() else { return fresh };
    let before = common.iter().flatten().rev().nth(1);
    for (t, _) in modes.iter().enumerate().filter(|(_, m)| **m == Mode::Write) {
        if !stretch_is_there(ctx, t, &ctx.dest(item, t), before, (offset, &state)) {
            return fresh;
        }
    }
    match Sha256::from_midstate(&state, offset) {
        Some(sum) => (offset, sum),
        None => fresh,
    }
}

/// Reads the last recorded stretch of an unfinished file: it must lead from the state before it to the one after it.
fn stretch_is_there(
    ctx: &Ctx<'_>,
    t: usize,
    dest: &Name,
    before: Option<&(u64, Midstate)>,
    after: (u64, &Midstate),
) -> bool {
    let mut sum = match before {
        Some((o, m)) => match Sha256::from_midstate(m, *o) {
            Some(s) => s,
            None => return false,
        },
        None => Sha256::new(),
    };
    let Ok(file) = ctx.targets[t].root.open_read(&dest.suffixed(PART), false) else { return false };
    tomokit_formats::io::forget_cached(&file);
    let mut buffer = vec![0; BLOCK];
    while sum.len() < after.0 && !ctx.cancel.is_cancelled() {
        let want = (after.0 - sum.len()).min(BLOCK as u64) as usize;
        match read_at(&file, &mut buffer[..want], sum.len()) {
            Ok(n) if n > 0 => sum.update(&buffer[..n]),
            _ => return false,
        }
    }
    sum.len() == after.0 && sum.midstate() == *after.1
}

fn sums(queue: Receiver<HashMsg>) {
    let mut current: Option<(Arc<FileJob>, Box<Sha256>)> = None;
    for msg in queue {
        match msg {
            HashMsg::Begin(job, sum) => current = Some((job, sum)),
            HashMsg::Data(block) => {
                if let Some((_, sum)) = &mut current {
                    sum.update(block.bytes());
                }
            }
            HashMsg::Hole(n) => {
                if let Some((_, sum)) = &mut current {
                    sum.update_zeros(n);
                }
            }
            HashMsg::Mark => {
                if let Some((job, sum)) = &current {
                    job.sum.change(|s| s.states.push((sum.len(), sum.midstate())));
                }
            }
            HashMsg::End => {
                if let Some((job, sum)) = current.take() {
                    let digest = sum.finish();
                    job.sum.change(|s| s.sum = Some(Some(digest)));
                }
            }
            HashMsg::Abort => {
                if let Some((job, _)) = current.take() {
                    job.sum.change(|s| s.sum = Some(None));
                }
            }
        }
    }
    if let Some((job, _)) = current {
        job.sum.change(|s| s.sum = Some(None));
    }
}

/// A file being written on one target.
struct Writing {
    job: Arc<FileJob>,
    dest: Name,
    part: Name,
    file: File,
    end: u64,
    holes: u64,
    started: u64,
}

fn writer(ctx: &Ctx<'_>, t: usize, queue: Receiver<WriteMsg>, commit: Sender<CommitMsg>) {
    let target = &ctx.targets[t];
    let mut current: Option<Writing> = None;
    // The handle is closed by then: Windows removes no open file.
    let give_up = |item: u32, part: Name, e: Error| {
        let (kind, e) = target.judge(e);
        if kind == Kind::Full || kind == Kind::Target {
            let _ = target.root.remove(&part);
        }
        ctx.fail(item, t, kind, e);
    };
    for msg in queue {
        match msg {
            WriteMsg::Begin(job) if job.modes[t] == Mode::Adopt => {
                let dest = ctx.dest(job.item, t);
                let _ = commit.send(CommitMsg::Adopt { job, dest });
            }
            WriteMsg::Begin(job) => match begin(ctx, t, &job) {
                Ok(w) => current = Some(w),
                Err(e) => {
                    let (kind, e) = target.judge(e);
                    ctx.fail(job.item, t, kind, e);
                }
            },
            WriteMsg::Data(block, offset) => {
                let Some(w) = &mut current else { continue };
                match w.write(ctx, t, block.bytes(), offset) {
                    Ok(()) => ctx.lanes(t),
                    Err(e) => {
                        if let Some(Writing { job, part, .. }) = current.take() {
                            give_up(job.item, part, e);
                        }
                    }
                }
            }
            WriteMsg::Hole(n) => {
                let Some(w) = &mut current else { continue };
                w.end += n;
                w.holes += n;
                target.counters.written_bytes.fetch_add(n, Relaxed);
            }
            WriteMsg::Mark(offset) => {
                let Some(w) = &mut current else { continue };
                // A hole at the end of what is there has no length yet.
                let sized = w.file.set_len(w.end.max(offset));
                if let (Ok(()), Ok(file)) = (sized, w.file.try_clone()) {
                    let _ = commit.send(CommitMsg::Mark { job: w.job.clone(), dest: w.dest.clone(), file, offset });
                }
            }
            WriteMsg::End => {
                let Some(w) = current.take() else { continue };
                let (item, part) = (w.job.item, w.part.clone());
                match w.finish(ctx, t) {
                    Ok(msg) => drop(commit.send(msg)),
                    Err(e) => give_up(item, part, e),
                }
            }
            WriteMsg::Abort { keep } => {
                let Some(w) = current.take() else { continue };
                let part = w.part.clone();
                drop(w);
                if !keep {
                    let _ = target.root.remove(&part);
                }
            }
        }
    }
}

fn begin(ctx: &Ctx<'_>, t: usize, job: &Arc<FileJob>) -> Result<Writing> {
    let root = &ctx.targets[t].root;
    root.still_there()?;
    let dest = ctx.dest(job.item, t);
    let part = dest.suffixed(PART);
    root.make_parents(&dest)?;
    let file = if job.start > 0 { root.reopen_part(&part)? } else { root.create_part(&part)? };
    let sparse = ctx.plan.gathered.items[job.item as usize].allocated < job.size;
    if job.size > BLOCK as u64 && !sparse {
        preallocate(&file, job.size);
    }
    if job.start > 0 {
        file.set_len(job.start).map_err(|e| Error::io(root.shown(&part), "cutting the unfinished file", e))?;
    }
    Ok(Writing { job: job.clone(), dest, part, file, end: job.start, holes: 0, started: job.start })
}

impl Writing {
    fn write(&mut self, ctx: &Ctx<'_>, t: usize, bytes: &[u8], offset: u64) -> Result<()> {
        let target = &ctx.targets[t];
        write_all_at(&self.file, bytes, offset)
            .map_err(|e| Error::io(target.root.shown(&self.dest), "writing", e).at(offset))?;
        self.end = offset + bytes.len() as u64;
        target.counters.written_bytes.fetch_add(bytes.len() as u64, Relaxed);
        // Writing to the disk starts now and not at the sync: less is dirty, and the sync is short.
        const STRETCH: u64 = 8 << 20;
        if target.sync_all_at_once && self.end - self.started >= STRETCH {
            start_writing(&self.file, self.started, self.end - self.started);
            self.started = self.end;
        }
        Ok(())
    }

    /// Sets size and time, and checks both; hands the file over for syncing.
    fn finish(self, ctx: &Ctx<'_>, t: usize) -> Result<CommitMsg> {
        let target = &ctx.targets[t];
        let shown = target.root.shown(&self.dest);
        let set = || -> std::io::Result<u64> {
            let times = std::fs::FileTimes::new().set_modified(system_time(self.job.modified_ns));
            if self.holes > 0 {
                self.file.set_len(self.job.size)?;
            }
            self.file.set_times(times)?;
            Ok(self.file.metadata()?.len())
        };
        let len = set().map_err(|e| Error::io(&shown, "setting size and time", e))?;
        if len != self.job.size {
            let e = Error::file(&shown, "the file is not as long as what was written to it");
            return Err(e.expected(self.job.size).found(len));
        }
        let Writing { job, dest, part, file, holes, .. } = self;
        // Where one call syncs all, small files need no handle any more.
        let file = if target.sync_all_at_once && job.size <= BLOCK as u64 {
            close(file).map_err(|e| Error::io(&shown, "closing", e))?;
            None
        } else {
            Some(file)
        };
        Ok(CommitMsg::Whole { job, dest, part, file, holes })
    }
}

/// Closes a file and says what the system says: dropping it would not.
fn close(file: File) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::fd::IntoRawFd;
        // SAFETY: the descriptor was taken out of `file`, so nobody else closes or uses it.
        if unsafe { libc::close(file.into_raw_fd()) } != 0 {
            let e = std::io::Error::last_os_error();
            // The descriptor is gone in this case too.
            return if e.kind() == std::io::ErrorKind::Interrupted { Ok(()) } else { Err(e) };
        }
        Ok(())
    }
    #[cfg(not(unix))]
    {
        drop(file);
        Ok(())
    }
}

/// Reserves room in one piece where the file system can; the length stays what is written.
fn preallocate(file: &File, size: u64) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        if let Ok(len) = libc::off64_t::try_from(size) {
            // SAFETY: the descriptor is open while `file` is borrowed. A refusal changes nothing: writing then finds room.
            unsafe { libc::fallocate64(file.as_raw_fd(), libc::FALLOC_FL_KEEP_SIZE, 0, len) };
        }
    }
    #[cfg(windows)]
    {
        use std::os::windows::io::AsRawHandle;
        use windows_sys::Win32::Storage::FileSystem::{
            FILE_ALLOCATION_INFO, FileAllocationInfo, SetFileInformationByHandle,
        };
        let info = FILE_ALLOCATION_INFO { AllocationSize: i64::try_from(size).unwrap_or(0) };
        // SAFETY: the handle is open while `file` is borrowed, `info` is of the type and size this class asks for. A refusal
        // changes nothing.
        unsafe {
            SetFileInformationByHandle(
                file.as_raw_handle() as _,
                FileAllocationInfo,
                std::ptr::from_ref(&info).cast(),
                size_of::<FILE_ALLOCATION_INFO>() as u32,
            );
        }
    }
    #[cfg(not(any(target_os = "linux", windows)))]
    let _ = (file, size);
}

/// Says that a file will be read from front to back.
fn read_ahead(file: &File) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        // SAFETY: the descriptor is open while `file` is borrowed; only a hint.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_SEQUENTIAL) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

/// Asks for a stretch to be written to the disk from now on, without waiting.
fn start_writing(file: &File, from: u64, len: u64) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        if let (Ok(from), Ok(len)) = (libc::off64_t::try_from(from), libc::off64_t::try_from(len)) {
            // SAFETY: the descriptor is open while `file` is borrowed; only a hint.
            unsafe { libc::sync_file_range(file.as_raw_fd(), from, len, libc::SYNC_FILE_RANGE_WRITE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, from, len);
}
