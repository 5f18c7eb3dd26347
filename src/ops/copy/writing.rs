//! The writer of one target: room, blocks and holes, size and time; then over to the commit.

use super::commit::CommitMsg;
use super::engine::Ctx;
use super::flow::{Block, FileJob, Mode, WriteMsg};
use super::mapped::{Mapped, Refused};
use super::outcome::Kind;
use super::past::PastCache;
use super::plan::{BLOCK, blocks};
use super::target::Syncing;
use crate::trust::Name;
use crate::trust::root::{PART, system_time};
use crossbeam_channel::{Receiver, Sender};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tomokit_formats::io::write_all_at;
use tomokit_formats::{Error, Result};

/// A file being written on one target.
struct Writing {
    job: Arc<FileJob>,
    dest: Name,
    part: Name,
    file: File,
    past: Option<PastCache>,
    mapped: Option<Mapped>,
    end: u64,
    holes: u64,
    started: u64,
}

pub(super) fn writer(ctx: &Ctx<'_>, t: usize, queue: Receiver<WriteMsg>, commit: Sender<CommitMsg>) {
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
                let _ = commit.send(CommitMsg::Adopt { job });
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
                match w.take(ctx, t, block, offset) {
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
                if let Err(e) = w.flush(ctx, t) {
                    if let Some(Writing { job, part, .. }) = current.take() {
                        give_up(job.item, part, e);
                    }
                    continue;
                }
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
    // All targets together leave the reader half of the blocks.
    let spare = blocks(&ctx.plan.request) / 2 / ctx.targets.len().max(1);
    let past = match ctx.targets[t].syncing {
        Syncing::Volume => PastCache::new(root, &ctx.plan.targets[t], &part, job.size, spare),
        _ => None,
    };
    let mapped = Mapped::new(&ctx.plan.targets[t]);
    Ok(Writing { job: job.clone(), dest, part, file, past, mapped, end: job.start, holes: 0, started: job.start })
}

impl Writing {
    /// Takes the next block.
    fn take(&mut self, ctx: &Ctx<'_>, t: usize, block: Arc<Block>, offset: u64) -> Result<()> {
        let end = offset + block.bytes().len() as u64;
        match &mut self.past {
            Some(past) if past.takes(&block, offset) => {
                if let Err(e) = past.put(block, offset) {
                    self.the_usual_way(ctx, t, &e)?;
                }
            }
            past => {
                if let Some(Err(e)) = past.as_mut().map(PastCache::flush) {
                    self.the_usual_way(ctx, t, &e)?;
                }
                self.write(ctx, t, block.bytes(), offset)?;
            }
        }
        self.end = end;
        ctx.targets[t].counters.written_bytes.fetch_add(end - offset, Relaxed);
        Ok(())
    }

    /// Brings what waits into the file.
    fn flush(&mut self, ctx: &Ctx<'_>, t: usize) -> Result<()> {
        if let Some(Err(e)) = self.past.as_mut().map(PastCache::flush) {
            self.the_usual_way(ctx, t, &e)?;
        }
        match self.mapped.as_mut().map(|m| m.settle(&self.file)) {
            Some(Err(e)) => Err(self.failed(ctx, t, e, self.end)),
            _ => Ok(()),
        }
    }

    fn failed(&self, ctx: &Ctx<'_>, t: usize, e: std::io::Error, offset: u64) -> Error {
        Error::io(ctx.targets[t].root.shown(&self.dest), "writing", e).at(offset)
    }

    /// Past the cache it did not go: what waits is written like anything else, and all that follows.
    fn the_usual_way(&mut self, ctx: &Ctx<'_>, t: usize, why: &std::io::Error) -> Result<()> {
        log::info!("{}: not past the cache: {why}", ctx.targets[t].root.shown(&self.dest).display());
        let Some((waiting, mut at)) = self.past.take().map(PastCache::rest) else { return Ok(()) };
        for block in waiting {
            self.write(ctx, t, block.bytes(), at)?;
            at += block.bytes().len() as u64;
        }
        Ok(())
    }

    fn write(&mut self, ctx: &Ctx<'_>, t: usize, bytes: &[u8], offset: u64) -> Result<()> {
        let target = &ctx.targets[t];
        if let Some(m) = self.mapped.as_mut().filter(|_| Mapped::takes(bytes)) {
            match m.put(&self.file, bytes, offset) {
                Ok(()) => return Ok(()),
                Err(Refused::Disk(e)) => return Err(self.failed(ctx, t, e, offset)),
                Err(Refused::Here(e)) => {
                    log::info!("{}: not through a map: {e}", target.root.shown(&self.dest).display());
                    self.flush(ctx, t)?;
                    self.mapped = None;
                }
            }
        }
        write_all_at(&self.file, bytes, offset).map_err(|e| self.failed(ctx, t, e, offset))?;
        // Writing to the disk starts now and not at the sync: less is dirty, and the sync is short.
        const STRETCH: u64 = 8 << 20;
        let end = offset + bytes.len() as u64;
        if target.syncing == Syncing::Volume && end.saturating_sub(self.started) >= STRETCH {
            start_writing(&self.file, self.started, end - self.started);
            self.started = end;
        }
        Ok(())
    }

    /// Sets size and time, and checks both; hands the file over for syncing.
    fn finish(mut self, ctx: &Ctx<'_>, t: usize) -> Result<CommitMsg> {
        self.flush(ctx, t)?;
        let target = &ctx.targets[t];
        let shown = target.root.shown(&self.dest);
        let set = || -> std::io::Result<u64> {
            let times = std::fs::FileTimes::new().set_modified(system_time(self.job.modified_ns));
            if self.holes > 0 {
                self.file.set_len(self.job.size)?;
            }
            self.file.set_times(times)?;
            // Small files are looked at once, under their final names: behind FUSE each look is a question to the driver.
            if self.job.size <= BLOCK as u64 { Ok(self.end) } else { Ok(self.file.metadata()?.len()) }
        };
        let len = set().map_err(|e| Error::io(&shown, "setting size and time", e))?;
        if len != self.job.size {
            let e = Error::file(&shown, "the file is not as long as what was written to it");
            return Err(e.expected(self.job.size).found(len));
        }
        let Writing { job, dest, part, file, holes, .. } = self;
        // Where one call syncs all, most files need no handle any more.
        let closes = match target.syncing {
            Syncing::Each => false,
            Syncing::Volume => job.size <= BLOCK as u64,
            Syncing::Device => true,
        };
        let file = if closes {
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
