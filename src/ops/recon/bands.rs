//! How many detector rows travel together. Taller bands read better (whole chunks, long rows of bytes) and fill the
//! SIMD lanes; the memory budget limits them.

use crate::recon::FbpPlan;
use crate::stream::Budget;
use std::ops::Range;
use tomokit_formats::registry::FormatSpec;
use tomokit_formats::{CreateOptions, DType, Error, FrameSource, Region, Result, Scan};

/// Bytes that one row of a band costs, and what every band costs regardless of its height.
#[derive(Clone, Copy, Debug)]
pub struct BandSize {
    /// Two raw blocks: one being read, one in use.
    raw: u64,
    /// −log projections.
    corrected: u64,
    /// Flats and darks while they are averaged.
    references: u64,
    /// Two blocks of slices: one being made, one being written.
    slices: u64,
    /// Working memory of the reconstruction.
    scratch: u64,
    /// What the writer needs beside the slices.
    writer: u64,
    /// Rows that vertical shifts need beyond a band.
    margin: u64,
    /// Rows that vertical shifts need for every row of a list with gaps.
    stretch: u64,
}

impl BandSize {
    /// For a scan, a plan, the volume to write, and the shifts' [`super::gather::Gather::margin`].
    pub fn of(
        scan: &Scan,
        fbp: &FbpPlan,
        writer: &FormatSpec,
        create: &CreateOptions,
        (margin, stretch): (usize, usize),
    ) -> BandSize {
        let (volume, voxel) = (create.shape, create.dtype.size() as u64);
        // Grey values are made beside the block of slices being written, and so are packed ones.
        let greys = if create.dtype == DType::F32 { 0 } else { voxel };
        let packed = if create.compression.as_deref().is_some_and(|c| c != "none") { voxel } else { 0 };
        let threads = rayon::current_num_threads();
        let p = scan.projections.shape();
        let row = p.cols as u64;
        let refs = |sets: &[tomokit_formats::model::RefSet]| -> u64 {
            // Raw values and their f32 copy, of the largest set at a time, and the average of every set.
            let largest =
                sets.iter().map(|s| s.source.shape().frames as u64 * (s.source.dtype().size() as u64 + 4)).max();
            row * (largest.unwrap_or(0) + 4 * sets.len() as u64)
        };
        BandSize {
            raw: 2 * p.frames as u64 * row * scan.projections.dtype().size() as u64,
            corrected: p.frames as u64 * row * 4,
            references: refs(&scan.flats) + refs(&scan.darks),
            slices: volume.frame_len() as u64 * (2 * 4 + greys + packed),
            scratch: fbp.scratch_bytes(fbp.lanes(), threads),
            writer: writer.writing_bytes(create, threads),
            margin: margin as u64,
            stretch: stretch as u64,
        }
    }

    /// Bytes of a band of `rows`.
    pub fn bytes(&self, rows: usize) -> u64 {
        let fetched = self.raw + self.corrected + self.references;
        // Moved rows are held beside the ones they are made of.
        let moved = if self.margin > 0 || self.stretch > 1 { self.corrected } else { 0 };
        let per_row = fetched.saturating_mul(self.stretch) + moved + self.slices;
        let beyond = fetched.saturating_mul(self.margin);
        per_row.saturating_mul(rows as u64).saturating_add(beyond).saturating_add(self.scratch + self.writer)
    }
}

/// The chosen bands.
#[derive(Clone, Copy, Debug)]
pub struct Bands {
    /// Slices per band; the last may have fewer.
    pub rows: usize,
    /// Peak memory, bytes.
    pub memory_bytes: u64,
}

/// Bytes of raw data per band beyond which larger bands gain nothing on plain files: the first band is waited for, and the
/// last one's writing.
const ENOUGH: u64 = 128 << 20;

impl Bands {
    /// The tallest useful band within the budget.
    ///
    /// # Errors
    /// `Limit` where a single row does not fit.
    pub fn choose(size: &BandSize, slices: usize, source: &dyn FrameSource, budget: Budget) -> Result<Bands> {
        if size.bytes(1) > budget.bytes {
            return Err(Error::limit("one slice with its working space does not fit the memory budget")
                .expected(format!("at most {} bytes", budget.bytes))
                .found(format!("{} bytes", size.bytes(1)))
                .hint("raise --memory, or make a smaller region with --roi"));
        }
        let per_row = size.bytes(1) - size.bytes(0);
        let fits = ((budget.bytes - size.bytes(0)) / per_row.max(1)).max(1) as usize;
        let unit = source.access().unit.rows.max(1);
        let useful = if unit >= source.shape().rows {
            // Whole frames are decoded for every band: as few bands as memory allows.
            slices
        } else {
            // Enough to keep the disk busy, in whole chunks, with several bands so that the stages overlap.
            let enough = (ENOUGH * 2 / size.raw.max(1)).max(16) as usize;
            enough.max(unit).min(slices.div_ceil(4).max(16))
        };
        let mut rows = useful.min(fits).min(slices).max(1);
        // Whole chunks and whole SIMD batches where the height allows.
        for step in [unit, 16, 8] {
            if rows > step {
                rows = rows / step * step;
                break;
            }
        }
        Ok(Bands { rows, memory_bytes: size.bytes(rows) })
    }
}

/// Makes `buffer` so long; where it has to be new, its pages come zeroed from the system, untouched until they are used.
pub fn sized<T: bytemuck::Zeroable + Copy>(buffer: &mut Vec<T>, len: usize) {
    if buffer.capacity() < len {
        *buffer = bytemuck::zeroed_vec(len);
    } else {
        buffer.resize(len, T::zeroed());
    }
}

/// Neighbouring rows of a list as ranges.
pub fn runs(rows: &[usize]) -> impl Iterator<Item = Range<usize>> + '_ {
    rows.chunk_by(|a, b| a + 1 == *b).map(|r| r[0]..r[r.len() - 1] + 1)
}

/// Reads the rows of all frames into `out`, `[frame][row][column]`, native values. `scratch` serves lists with gaps.
pub fn read_rows(source: &dyn FrameSource, rows: &[usize], out: &mut Vec<u8>, scratch: &mut Vec<u8>) -> Result<()> {
    let shape = source.shape();
    let line = shape.cols * source.dtype().size();
    sized(out, shape.frames * rows.len() * line);
    let pieces: Vec<Range<usize>> = runs(rows).collect();
    if let [all] = pieces.as_slice() {
        return source.read(&Region::of_rows(shape, 0..shape.frames, all.clone()), out);
    }
    let mut at = 0;
    for piece in pieces {
        let n = piece.len() * line;
        scratch.resize(shape.frames * n, 0);
        source.read(&Region::of_rows(shape, 0..shape.frames, piece), scratch)?;
        for (frame, from) in out.chunks_exact_mut(rows.len() * line).zip(scratch.chunks_exact(n)) {
            frame[at..at + n].copy_from_slice(from);
        }
        at += n;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_rows_become_runs() {
        assert_eq!(runs(&[3, 4, 5, 9, 11, 12]).collect::<Vec<_>>(), [3..6, 9..10, 11..13]);
        assert_eq!(runs(&[]).count(), 0);
    }
}
