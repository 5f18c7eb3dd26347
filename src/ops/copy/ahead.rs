//! What will be read next is asked for before the reader comes to it: further on in its file, and the files behind it. The
//! system's own reading ahead keeps too little on its way for a fast disk, and ends with each file. Only hints: nothing here
//! changes what is copied, and nothing here can fail.

use super::engine::Ctx;
use super::reading::open_source;
use crate::trust::SourceDir;
use crossbeam_channel::{Receiver, Sender};
use std::fs::File;

/// Bytes asked for ahead of the reader …
const DEPTH: u64 = 16 << 20;
/// … at a time within a file, or at the beginning of one to come …
const STRETCH: u64 = 4 << 20;
/// … and files.
pub(super) const FILES: usize = 16;

/// Asks within the file that is being read.
#[derive(Default)]
pub(super) struct Ahead {
    /// Asked for up to here.
    asked: u64,
}

impl Ahead {
    /// The reader is about to go to `next` in a file of `size` bytes.
    pub(super) fn reach(&mut self, file: &File, next: u64, size: u64) {
        let (from, end) = (self.asked.max(next), (next + DEPTH).min(size));
        if end <= from || (end - from < STRETCH && end < size) {
            return;
        }
        self.asked = end;
        will_need(file, from, end - from);
    }
}

/// Asks for the files behind the one being read, by way of a thread that opens them and closes them again.
pub(super) struct Next<'a> {
    jobs: &'a [(u32, u32)],
    /// The one being read, and the first that was not asked for.
    at: usize,
    end: usize,
    /// Bytes asked for behind the one being read.
    bytes: u64,
    queue: Sender<u32>,
}

impl<'a> Next<'a> {
    /// `queue` leads to [`ask`].
    pub(super) fn new(jobs: &'a [(u32, u32)], queue: Sender<u32>) -> Next<'a> {
        Next { jobs, at: 0, end: 0, bytes: 0, queue }
    }

    /// The reader comes to job `k`.
    pub(super) fn reach(&mut self, ctx: &Ctx<'_>, k: usize) {
        let bytes = |k: usize| ctx.plan.gathered.items[self.jobs[k].0 as usize].size.min(STRETCH);
        self.bytes -= (self.at..self.end.min(k + 1)).map(bytes).sum::<u64>();
        self.at = k + 1;
        self.end = self.end.max(self.at);
        while self.end < self.jobs.len().min(self.at + FILES) && self.bytes < DEPTH {
            // Where the thread does not keep up, the reader gets there first.
            if self.queue.try_send(self.jobs[self.end].0).is_err() {
                break;
            }
            self.bytes += bytes(self.end);
            self.end += 1;
        }
    }
}

/// Asks for the beginnings of these files.
pub(super) fn ask(ctx: &Ctx<'_>, sources: &[Option<SourceDir>], queue: Receiver<u32>) {
    for item in queue {
        let it = &ctx.plan.gathered.items[item as usize];
        if let Ok(file) = open_source(ctx.plan, item, sources[it.source as usize].as_ref()) {
            will_need(&file, 0, it.size.min(STRETCH));
        }
    }
}

/// Does nothing on Windows, which has no such hint.
fn will_need(file: &File, from: u64, len: u64) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        if let (Ok(from), Ok(len)) = (libc::off64_t::try_from(from), libc::off64_t::try_from(len)) {
            // SAFETY: the descriptor is open while `file` is borrowed; only a hint.
            unsafe { libc::posix_fadvise64(file.as_raw_fd(), from, len, libc::POSIX_FADV_WILLNEED) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, from, len);
}
