//! Large files past the system's cache on their way to the disk: copying into the cache costs as much of a processor as the
//! sum does, and leaves nothing there that anybody reads. Only on ext4 and XFS, where that is known to be good; everywhere
//! else, and where the system refuses, blocks go the usual way.

use super::flow::Block;
use super::plan::TargetPlan;
use crate::disk::FileSystem;
use crate::trust::{Name, Root};
use std::fs::File;
use std::io;
use std::sync::Arc;

/// Smaller files stay in the cache.
const LARGE: u64 = 64 << 20;
/// Blocks written at once at the most.
const TOGETHER: usize = 8;

/// Whole blocks that wait to be written together, and the handle they go through.
pub(super) struct PastCache {
    file: File,
    waiting: Vec<Arc<Block>>,
    /// Offset of the first of them.
    at: u64,
    most: usize,
}

impl PastCache {
    /// For a file of `size` bytes that is being written; `spare` blocks may wait here without starving the reader.
    pub(super) fn new(root: &Root, own: &TargetPlan, part: &Name, size: u64, spare: usize) -> Option<PastCache> {
        let fs = own.volume.as_ref().map(|v| &v.fs);
        if size < LARGE || spare == 0 || !matches!(fs, Some(FileSystem::Ext4 | FileSystem::Xfs)) {
            return None;
        }
        let file = root.direct_part(part)?;
        Some(PastCache { file, waiting: Vec::new(), at: 0, most: spare.min(TOGETHER) })
    }

    /// Takes a block; answers false where it is not one of those that go this way: then [`flush`](Self::flush) comes first.
    pub(super) fn takes(&self, block: &Block, offset: u64) -> bool {
        let next = self.at + self.waiting.iter().map(|b| b.bytes().len() as u64).sum::<u64>();
        block.is_full() && offset.is_multiple_of(4096) && (self.waiting.is_empty() || next == offset)
    }

    /// Puts a block that is [taken](Self::takes) behind the others, and writes all of them once they are enough.
    pub(super) fn put(&mut self, block: Arc<Block>, offset: u64) -> io::Result<()> {
        if self.waiting.is_empty() {
            self.at = offset;
        }
        self.waiting.push(block);
        if self.waiting.len() >= self.most { self.flush() } else { Ok(()) }
    }

    /// Writes what waits. After an error it still waits: it can go the usual way.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.write()?;
        self.waiting.clear();
        Ok(())
    }

    /// What was not written, with its offset.
    pub(super) fn rest(self) -> (Vec<Arc<Block>>, u64) {
        (self.waiting, self.at)
    }

    #[cfg(target_os = "linux")]
    fn write(&self) -> io::Result<()> {
        let slices: Vec<io::IoSlice<'_>> = self.waiting.iter().map(|b| io::IoSlice::new(b.bytes())).collect();
        let whole: usize = slices.iter().map(|s| s.len()).sum();
        loop {
            match rustix::io::pwritev(&self.file, &slices, self.at) {
                Ok(n) if n == whole => return Ok(()),
                // A full disk takes a part of it; the usual way then says so.
                Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn write(&self) -> io::Result<()> {
        let _ = &self.file;
        Err(io::ErrorKind::Unsupported.into())
    }
}
