//! The reader: each file once, block by block, handed to the sums and to every target; holes are passed on as holes.

use super::Sparse;
use super::ahead::Ahead;
use super::engine::Ctx;
use super::flow::{Block, FileJob, HashMsg, Mode, Slot, WriteMsg};
use super::outcome::Kind;
use super::partial::resume_point;
use super::plan::{BLOCK, Plan, Todo};
use crate::trust::readback::Aligned;
use crate::trust::root::nanos;
use crate::trust::{Digest, Sha256, SourceDir, blocks, fresh};
use crossbeam_channel::{Receiver, Sender};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tomokit_formats::io::read_at;
use tomokit_formats::{Error, Result};

/// The reader's ends of all queues.
pub(super) struct Fan<'a> {
    pub(super) hash: Sender<HashMsg>,
    pub(super) writers: Vec<Sender<WriteMsg>>,
    pub(super) free: Receiver<Aligned>,
    pub(super) home: Sender<Aligned>,
    /// Source folders, held for this pass; `None` where that failed, which each of its files then says.
    pub(super) sources: &'a [Option<SourceDir>],
}

impl Fan<'_> {
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
        Some(dir) => dir.file(&g.below(it)),
        None => SourceDir::open(&source.dir)?.file(&g.below(it)),
    }
}

pub(super) type Failed = (Kind, Error);

/// Reads one file and hands it on.
pub(super) fn read_file(ctx: &Ctx<'_>, item: u32, live: &[usize], out: &mut Fan<'_>) -> Result<(), Failed> {
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
    let (size, modified_ns) = fresh::of_file(&file).map_err(failed("looking at the source"))?;
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
        if fresh::of_file(&file).map_err(failed("looking at the source"))? != (size, modified_ns) {
            return Err((Kind::Changed, Error::file(&path, "the source changed while it was being read")));
        }
        // Programs that write a new file and give it the name of the old one leave the file that is open as it was. One
        // that was moved away was read as a whole.
        if fresh::of_path(&path).is_ok_and(|now| now != (size, modified_ns)) {
            return Err((Kind::Changed, Error::file(&path, "the source was replaced while it was being read")));
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

fn read_blocks(ctx: &Ctx<'_>, file: &File, job: &Arc<FileJob>, out: &mut Fan<'_>) -> Result<(), Failed> {
    let path = ctx.source_path(job.item);
    // Marks lie between blocks, so that a file that is gone on with has the sums of all of them.
    let block = blocks::block_of(job.size).unwrap_or(BLOCK as u64);
    let step = ctx.plan.request.checkpoint.clamp(block, 1 << 60).next_multiple_of(block);
    let sparse = ctx.plan.request.sparse == Sparse::Keep;
    let allocated = ctx.plan.gathered.items[job.item as usize].allocated;
    let mut map = Holes::new(file, job.size, sparse && allocated + (BLOCK as u64) < job.size);
    let mut ahead = Ahead::default();
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
            ahead.reach(file, offset + len, job.size);
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
            let block = Arc::new(Block::new(buffer, done, out.home.clone()));
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
#[cfg_attr(not(target_os = "linux"), allow(dead_code))] // other systems are not asked
struct Holes<'a> {
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
