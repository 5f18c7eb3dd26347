//! Blocks of whole frames on their way through a pipeline: in a buffer of their own, or where a mapped file has them
//! already, without a copy.
//!
//! Guarantees: buffers are recycled; pages of a map that were used leave the process, so that its memory does not grow
//! with the file.

use crate::stream::{Pool, both};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tomokit_formats::mmap::{announce, fetch};
use tomokit_formats::{Error, FrameSource, Region, Result};

/// A pass over the frames of a source, block by block.
pub struct Blocks<'a> {
    source: &'a dyn FrameSource,
    frame_bytes: usize,
    pool: Pool<Vec<u8>>,
    /// Held while reading what only one thread may read.
    alone: Mutex<()>,
    /// The disk is what limits.
    slow: AtomicBool,
    /// Nanoseconds that threads spent reading, one after the other.
    waited: AtomicU64,
}

/// A map whose bytes come slower than this waits for a disk, and is told what will be wanted next.
const FROM_MEMORY: f64 = 2e9;

/// Some frames that were read.
pub struct Block {
    /// Which.
    pub frames: Range<usize>,
    /// `None` where they are mapped.
    buffer: Option<Vec<u8>>,
}

impl<'a> Blocks<'a> {
    /// A pass over `source`.
    pub fn new(source: &'a dyn FrameSource) -> Blocks<'a> {
        Blocks {
            source,
            frame_bytes: source.shape().frame_len() * source.dtype().size(),
            pool: Pool::new(),
            alone: Mutex::new(()),
            slow: AtomicBool::new(false),
            waited: AtomicU64::new(0),
        }
    }

    /// Reads frames; plain files that cannot be mapped in two halves at once.
    pub fn read(&self, frames: Range<usize>) -> Result<Block> {
        if let Some(bytes) = self.source.mapped(frames.clone()) {
            // Fetched here, so that the disk is read while others compute.
            fetch(bytes);
            return Ok(Block { frames, buffer: None });
        }
        let mut buffer = self.pool.take(Vec::new);
        // Every byte is overwritten: only growth is cleared.
        buffer.resize(frames.len() * self.frame_bytes, 0);
        let (access, shape) = (self.source.access(), self.source.shape());
        if access.decoded || !access.parallel || frames.len() < 2 {
            self.source.read(&Region::of_frames(shape, frames.clone()), &mut buffer)?;
        } else {
            let half = frames.start + frames.len() / 2;
            let (a, b) = buffer.split_at_mut((half - frames.start) * self.frame_bytes);
            both(
                || self.source.read(&Region::of_frames(shape, frames.start..half), a),
                || self.source.read(&Region::of_frames(shape, half..frames.end), b),
            )?;
        }
        Ok(Block { frames, buffer: Some(buffer) })
    }

    /// Reads frames on one of several threads that all do; those in `next` will be wanted soon after.
    pub fn read_beside(&self, frames: Range<usize>, next: Range<usize>) -> Result<Block> {
        let start = Instant::now();
        let block = self.read_one(frames, next, start);
        self.waited.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        block
    }

    /// What threads spent in [`read_beside`](Self::read_beside), taken together.
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited.load(Ordering::Relaxed))
    }

    fn read_one(&self, frames: Range<usize>, next: Range<usize>, start: Instant) -> Result<Block> {
        if let Some(bytes) = self.source.mapped(frames.clone()) {
            if self.slow.load(Ordering::Relaxed)
                && let Some(later) = self.source.mapped(next)
            {
                announce(later);
            }
            fetch(bytes);
            let expected = Duration::from_secs_f64(bytes.len() as f64 / FROM_MEMORY);
            self.slow.store(start.elapsed() > expected, Ordering::Relaxed);
            return Ok(Block { frames, buffer: None });
        }
        let mut buffer = self.pool.take(Vec::new);
        buffer.resize(frames.len() * self.frame_bytes, 0);
        let _alone = match self.source.access().parallel {
            true => None,
            false => Some(self.alone.lock().unwrap_or_else(|e| e.into_inner())),
        };
        self.source.read(&Region::of_frames(self.source.shape(), frames.clone()), &mut buffer)?;
        Ok(Block { frames, buffer: Some(buffer) })
    }

    /// The values, native byte order.
    pub fn bytes<'b>(&'b self, block: &'b Block) -> Result<&'b [u8]> {
        match &block.buffer {
            Some(b) => Ok(b),
            None => self.source.mapped(block.frames.clone()).ok_or_else(|| Error::caller("the map went away")),
        }
    }

    /// Takes a block back.
    pub fn done(&self, block: Block) {
        match block.buffer {
            Some(b) => self.pool.give(b),
            None => self.source.release(block.frames),
        }
    }
}

/// The frames of a stack in blocks of at most `step`, from `first` on.
pub fn split(first: usize, frames: usize, step: usize) -> impl Iterator<Item = Range<usize>> + Send {
    (first..frames).step_by(step.max(1)).map(move |s| s..(s + step.max(1)).min(frames))
}
