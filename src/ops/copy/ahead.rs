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
    /// The first behind the one being read, and the first that was not asked for.
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

    /// The reader comes to job `k`; `size` gives the bytes of an item.
    pub(super) fn reach(&mut self, k: usize, size: impl Fn(u32) -> u64) {
        let bytes = |k: usize| size(self.jobs[k].0).min(STRETCH);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked for when the reader comes to each job, and nothing is still on its way by then.
    fn asked(sizes: &[u64], room: usize) -> Vec<Vec<u32>> {
        let jobs: Vec<(u32, u32)> = (0..sizes.len() as u32).map(|i| (i, 1)).collect();
        let (queue, asked) = crossbeam_channel::bounded(room);
        let mut next = Next::new(&jobs, queue);
        let at = |k| {
            next.reach(k, |i| sizes[i as usize]);
            asked.try_iter().collect()
        };
        (0..jobs.len()).map(at).collect()
    }

    #[test]
    fn each_file_is_asked_for_once_and_not_too_early() {
        let small = asked(&[40_000; 40], FILES);
        assert_eq!(small[0], (1..=FILES as u32).collect::<Vec<u32>>());
        assert!(
            (1..40).all(
                |k| small[k] == (k + FILES..=k + FILES).filter(|i| *i < 40).map(|i| i as u32).collect::<Vec<u32>>()
            )
        );
        // Of large ones only as many as fill the depth.
        let deep = (DEPTH / STRETCH) as u32;
        let large = asked(&[1 << 34; 9], FILES);
        assert_eq!(large[0], (1..=deep).collect::<Vec<u32>>());
        assert_eq!(large.concat(), (1..9).collect::<Vec<u32>>());
    }

    #[test]
    fn a_slow_thread_is_left_behind() {
        // Room for two: the third waits for the next file, and the one the reader is at is asked for by nobody.
        let slow = asked(&[1000; 8], 2);
        assert_eq!(slow[..3], [vec![1, 2], vec![3, 4], vec![5, 6]]);
        let (jobs, (queue, later)) = ([(0, 1), (1, 1), (2, 1), (3, 1)], crossbeam_channel::bounded(1));
        let mut next = Next::new(&jobs, queue);
        (0..3).for_each(|k| next.reach(k, |_| 1000));
        assert_eq!(later.try_iter().collect::<Vec<u32>>(), [1]);
        next.reach(3, |_| 1000);
        assert!(later.try_iter().next().is_none() && next.bytes == 0);
    }
}
