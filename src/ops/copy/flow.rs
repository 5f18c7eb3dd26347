//! What goes through the stages of a pass: blocks of files, messages about them, and the thread that sums.

use crate::trust::blocks::{BlockSums, Meter};
use crate::trust::readback::Aligned;
use crate::trust::{Digest, Midstate, Sha256};
use crossbeam_channel::{Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex};

/// A block of a file on its way; goes back to the set when the last stage drops it.
pub(super) struct Block {
    buffer: Option<Aligned>,
    len: usize,
    home: Sender<Aligned>,
}

impl Block {
    /// A block of `len` bytes in a buffer of the set that `home` leads to.
    pub(super) fn new(buffer: Aligned, len: usize, home: Sender<Aligned>) -> Block {
        Block { buffer: Some(buffer), len, home }
    }

    /// True where its buffer is filled to the end: begin and length are then what direct writing asks for.
    pub(super) fn is_full(&self) -> bool {
        self.buffer.as_ref().is_some_and(|b| b.all().len() == self.len)
    }

    pub(super) fn bytes(&self) -> &[u8] {
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

/// A file as it was when it was read.
#[derive(Clone, Copy)]
pub(super) struct Version {
    pub(super) item: u32,
    pub(super) size: u64,
    pub(super) modified_ns: i64,
}

impl FileJob {
    pub(super) fn version(&self) -> Version {
        Version { item: self.item, size: self.size, modified_ns: self.modified_ns }
    }
}

/// Where the sum appears once it is known, and its states on the way.
#[derive(Default)]
pub(super) struct Slot(Mutex<SlotState>, Condvar);

#[derive(Default)]
struct SlotState {
    /// By bytes: the state after them, and the sums of the blocks since the state before.
    states: Vec<(u64, Midstate, Option<BlockSums>)>,
    /// `Some(None)`: there will be none.
    sum: Option<Option<(Digest, Option<BlockSums>)>>,
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
        self.wait(|s| s.sum.as_ref().map(|sum| sum.as_ref().map(|s| s.0)))
    }

    /// The sum and those of the last blocks, or `None` where reading failed.
    pub(super) fn whole(&self) -> Option<(Digest, Option<BlockSums>)> {
        self.wait(|s| s.sum.clone())
    }

    /// The state after `offset` bytes, and the sums of the blocks since the state before.
    pub(super) fn state(&self, offset: u64) -> Option<(Midstate, Option<BlockSums>)> {
        self.wait(|s| match s.states.iter().find(|s| s.0 == offset) {
            Some((_, m, b)) => Some(Some((m.clone(), b.clone()))),
            None => s.sum.as_ref().map(|_| None),
        })
    }
}

pub(super) enum HashMsg {
    Begin(Arc<FileJob>, Box<Sha256>),
    Data(Arc<Block>),
    Hole(u64),
    Mark,
    End,
    Abort,
}

pub(super) enum WriteMsg {
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

/// Sums what comes by: the whole of each file, its states at the marks, its blocks.
pub(super) fn sums(queue: Receiver<HashMsg>) {
    let mut current: Option<(Arc<FileJob>, Box<Sha256>, Option<Meter>)> = None;
    for msg in queue {
        match (msg, &mut current) {
            (HashMsg::Begin(job, sum), _) => {
                let meter = Meter::new(job.size, job.start);
                current = Some((job, sum, meter));
            }
            (_, None) => {}
            (HashMsg::Data(block), Some((_, sum, meter))) => {
                sum.update(block.bytes());
                meter.iter_mut().for_each(|m| m.update(block.bytes()));
            }
            (HashMsg::Hole(n), Some((_, sum, meter))) => {
                sum.update_zeros(n);
                meter.iter_mut().for_each(|m| m.update_zeros(n));
            }
            (HashMsg::Mark, Some((job, sum, meter))) => {
                let blocks = meter.as_mut().and_then(Meter::take);
                job.sum.change(|s| s.states.push((sum.len(), sum.midstate(), blocks)));
            }
            (HashMsg::End, _) => {
                if let Some((job, sum, meter)) = current.take() {
                    let digest = sum.finish();
                    job.sum.change(|s| s.sum = Some(Some((digest, meter.and_then(Meter::finish)))));
                }
            }
            (HashMsg::Abort, _) => {
                if let Some((job, _, _)) = current.take() {
                    job.sum.change(|s| s.sum = Some(None));
                }
            }
        }
    }
    if let Some((job, _, _)) = current {
        job.sum.change(|s| s.sum = Some(None));
    }
}
