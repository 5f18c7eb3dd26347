//! Chunked datasets without the library in the way: a table of where each chunk lies, positioned reads, and decoding
//! in as many threads as there are.
//!
//! The table is made once per dataset by H5Dchunk_iter (asking chunk by chunk is quadratic). Guarantees: each chunk a
//! region touches is read and decoded once per call; chunks never written give the fill value and are counted, not
//! hidden; any damage is an error with the chunk's place in the file.

use super::filters::{Pipeline, Scratch};
use super::sys::Id;
use crate::io::ReadAt;
use crate::{ByteOrder, Error, Region, Result};
use rayon::prelude::*;
use std::collections::HashMap;

/// Where one chunk lies.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Number of the chunk in C order over the grid of chunks.
    index: u64,
    /// Offset in the file.
    addr: u64,
    /// Bytes stored.
    size: u64,
    /// Filters left out when it was written, bit i = i-th filter.
    mask: u32,
}

/// All written chunks of a dataset, in grid order.
#[derive(Debug)]
pub(super) struct Table {
    entries: Vec<Entry>,
    /// Chunks the extent needs.
    pub wanted: u64,
}

impl Table {
    /// Asks the library for every chunk. Call under the lock.
    #[cfg(feature = "static-hdf5")]
    pub fn of(d: &Id, dims: &[u64], chunk: &[u64]) -> Result<Table, super::sys::Failure> {
        use super::sys::{Failure, check};
        use hdf5_metno_sys::h5::{haddr_t, hsize_t};
        use hdf5_metno_sys::h5d::H5Dchunk_iter;
        use hdf5_metno_sys::h5p::H5P_DEFAULT;
        use std::ffi::{c_int, c_uint, c_void};

        struct Walk<'a> {
            grid: &'a Grid,
            entries: Vec<Entry>,
            rank: usize,
        }
        unsafe extern "C" fn each(
            offset: *const hsize_t,
            mask: c_uint,
            addr: haddr_t,
            size: hsize_t,
            walk: *mut c_void,
        ) -> c_int {
            // SAFETY: the library passes an offset of the dataset's rank and the live `Walk` given below.
            let (walk, offset) = unsafe {
                let walk = &mut *walk.cast::<Walk<'_>>();
                let rank = walk.rank;
                (walk, std::slice::from_raw_parts(offset, rank))
            };
            if let Some(index) = walk.grid.index_of(offset) {
                walk.entries.push(Entry { index, addr, size, mask });
            }
            0
        }
        let grid = Grid::new(dims, chunk)
            .ok_or_else(|| Failure { lines: vec!["the chunks do not fit the dimensions".into()] })?;
        let wanted = grid.total;
        let mut walk = Walk { grid: &grid, entries: Vec::new(), rank: dims.len() };
        // SAFETY: `d` is an open chunked dataset; the callback does not unwind; `walk` outlives the call.
        check(unsafe { H5Dchunk_iter(d.raw(), H5P_DEFAULT, Some(each), (&raw mut walk).cast()) })?;
        let mut entries = walk.entries;
        entries.sort_unstable_by_key(|e| e.index);
        entries.dedup_by_key(|e| e.index);
        Ok(Table { entries, wanted })
    }

    /// Without H5Dchunk_iter there is no table, and the library reads.
    #[cfg(not(feature = "static-hdf5"))]
    pub fn of(_: &Id, _: &[u64], _: &[u64]) -> Result<Table, super::sys::Failure> {
        Err(super::sys::Failure { lines: vec!["this build has no chunk table".into()] })
    }

    fn get(&self, index: u64) -> Option<&Entry> {
        self.entries.binary_search_by_key(&index, |e| e.index).ok().map(|i| &self.entries[i])
    }

    /// Chunks never written.
    pub fn unwritten(&self) -> u64 {
        self.wanted.saturating_sub(self.entries.len() as u64)
    }
}

/// The grid of chunks over the extent.
#[derive(Debug)]
struct Grid {
    chunk: Vec<u64>,
    counts: Vec<u64>,
    total: u64,
}

impl Grid {
    fn new(dims: &[u64], chunk: &[u64]) -> Option<Grid> {
        if dims.len() != chunk.len() || chunk.contains(&0) {
            return None;
        }
        let counts: Vec<u64> = dims.iter().zip(chunk).map(|(d, c)| d.div_ceil(*c)).collect();
        let total = counts.iter().try_fold(1u64, |n, &c| n.checked_mul(c))?;
        Some(Grid { chunk: chunk.to_vec(), counts, total })
    }

    fn index_of(&self, offset: &[u64]) -> Option<u64> {
        let mut index = 0u64;
        for ((o, c), n) in offset.iter().zip(&self.chunk).zip(&self.counts) {
            let at = o / c;
            if at >= *n {
                return None;
            }
            index = index * n + at; // below `total`, which fits
        }
        Some(index)
    }
}

/// Everything needed to read a chunked dataset, dimensions padded on the left to two at least.
pub(super) struct Chunked {
    pub file: ReadAt,
    pub table: Table,
    pub pipeline: Pipeline,
    pub dims: Vec<u64>,
    pub chunk: Vec<u64>,
    /// Bytes per element, byte order in the file, fill value in native order.
    pub element: usize,
    pub order: ByteOrder,
    pub fill: Vec<u8>,
}

/// One chunk's share of a region: which rows of the chunk go where.
struct Job<'a> {
    index: u64,
    /// Row pieces of the output with their first element inside the chunk.
    pieces: Vec<(usize, &'a mut [u8])>,
}

impl Chunked {
    /// Reads a region of the folded stack into `out`, which has exactly its size and is not empty.
    pub fn read(&self, region: &Region, out: &mut [u8]) -> Result<()> {
        let jobs = self.jobs(region, out);
        if jobs.len() < 2 {
            let mut s = Scratch::default();
            return jobs.into_iter().try_for_each(|j| self.run(j, &mut s));
        }
        let results: Vec<Result<()>> = if super::sys::is_locked() {
            let mut scratch = Scratch::default();
            jobs.into_iter().map(|j| self.run(j, &mut scratch)).collect()
        } else {
            jobs.into_par_iter().map_init(Scratch::default, |s, j| self.run(j, s)).collect()
        };
        results.into_iter().collect() // the first chunk's error, whatever the threads did
    }

    /// Cuts the output into the pieces each chunk fills.
    fn jobs<'a>(&self, region: &Region, out: &'a mut [u8]) -> Vec<Job<'a>> {
        let rank = self.dims.len();
        let (lead_dims, lead_chunk) = (&self.dims[..rank - 2], &self.chunk[..rank - 2]);
        let grid: Vec<u64> = self.dims.iter().zip(&self.chunk).map(|(d, c)| d.div_ceil(*c)).collect();
        let (cr, cc) = (self.chunk[rank - 2] as usize, self.chunk[rank - 1] as usize);
        let (gr, gc) = (grid[rank - 2], grid[rank - 1]);
        let mut slots: HashMap<u64, usize> = HashMap::new();
        let mut jobs: Vec<Job<'a>> = Vec::new();
        let mut rest = out;
        for frame in region.frames.clone() {
            // The frame's chunk along the leading dimensions, and its place inside that chunk.
            let (mut f, mut index, mut inside) = (frame as u64, 0u64, 0u64);
            let mut position = vec![0u64; lead_dims.len()];
            for k in (0..lead_dims.len()).rev() {
                position[k] = f % lead_dims[k];
                f /= lead_dims[k];
            }
            for k in 0..lead_dims.len() {
                index = index * grid[k] + position[k] / lead_chunk[k];
                inside = inside * lead_chunk[k] + position[k] % lead_chunk[k];
            }
            let frame_base = inside as usize * cr * cc;
            let mut row = region.rows.start;
            while row < region.rows.end {
                // Where one chunk spans all wanted columns and its rows are no wider, rows are one run.
                let whole = region.cols.start == 0 && region.cols.end == cc;
                let rows = if whole { (cr - row % cr).min(region.rows.end - row) } else { 1 };
                let row_index = index * gr + (row / cr) as u64;
                let mut col = region.cols.start;
                while col < region.cols.end {
                    let cols = (cc - col % cc).min(region.cols.end - col);
                    let (piece, tail) = rest.split_at_mut(rows * cols * self.element);
                    rest = tail;
                    let chunk_index = row_index * gc + (col / cc) as u64;
                    let at = frame_base + (row % cr) * cc + col % cc;
                    let slot = *slots.entry(chunk_index).or_insert_with(|| {
                        jobs.push(Job { index: chunk_index, pieces: Vec::new() });
                        jobs.len() - 1
                    });
                    jobs[slot].pieces.push((at, piece));
                    col += cols;
                }
                row += rows;
            }
        }
        jobs
    }

    fn run(&self, job: Job<'_>, s: &mut Scratch) -> Result<()> {
        let Some(entry) = self.table.get(job.index) else {
            for (_, piece) in job.pieces {
                for e in piece.chunks_exact_mut(self.element) {
                    e.copy_from_slice(&self.fill);
                }
            }
            return Ok(());
        };
        let end = entry.addr.checked_add(entry.size).filter(|e| *e <= self.file.len());
        if end.is_none() {
            return Err(Error::file(self.file.path(), format!("chunk {} lies beyond the end of the file", job.index))
                .at(entry.addr)
                .expected(format!("{} bytes", entry.size))
                .found(format!("a file of {} bytes", self.file.len()))
                .hint("the file is truncated: copy it again or ask for the original"));
        }
        if !self.pipeline.applies(entry.mask) {
            return self.copy_plain(entry, job);
        }
        s.data.resize(entry.size as usize, 0); // no more than the file holds, checked above
        self.file.read_exact_at(&mut s.data, entry.addr)?;
        self.pipeline.decode(s, entry.mask).map_err(|e| {
            Error::file(self.file.path(), format!("chunk {} cannot be decoded: {e}", job.index))
                .at(entry.addr)
                .hint("the data are damaged: copy the file again or ask for the original")
        })?;
        for (at, piece) in job.pieces {
            let from = at * self.element;
            piece.copy_from_slice(&s.data[from..from + piece.len()]);
            self.order.to_native(piece, self.element);
        }
        Ok(())
    }

    /// Unfiltered chunks: only the wanted bytes are read.
    fn copy_plain(&self, entry: &Entry, job: Job<'_>) -> Result<()> {
        if entry.size != self.pipeline.chunk_bytes as u64 {
            return Err(Error::file(self.file.path(), format!("chunk {} has the wrong size", job.index))
                .at(entry.addr)
                .expected(format!("{} bytes", self.pipeline.chunk_bytes))
                .found(format!("{} bytes", entry.size)));
        }
        // Short pieces close together are read in one go and copied out; long ones go straight to their place.
        let wanted: usize = job.pieces.iter().map(|p| p.1.len()).sum();
        let many = job.pieces.len() > 1 && wanted / job.pieces.len() < 16 << 10;
        let span = job.pieces.first().zip(job.pieces.last()).map(|(a, b)| {
            let from = a.0 * self.element;
            from..b.0 * self.element + b.1.len()
        });
        if let Some(span) = span.filter(|s| many && s.len() <= wanted.saturating_mul(8)) {
            let mut buf = vec![0u8; span.len()];
            self.file.read_exact_at(&mut buf, entry.addr + span.start as u64)?;
            for (at, piece) in job.pieces {
                let from = at * self.element - span.start;
                piece.copy_from_slice(&buf[from..from + piece.len()]);
                self.order.to_native(piece, self.element);
            }
            return Ok(());
        }
        for (at, piece) in job.pieces {
            self.file.read_exact_at(piece, entry.addr + (at * self.element) as u64)?;
            self.order.to_native(piece, self.element);
        }
        Ok(())
    }
}
