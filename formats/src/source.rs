//! Reading: random access to a stack, by box. The one trait behind projections, slices, flats and darks.

use crate::{DType, Region, Result, Shape};

/// What one access costs, so that a plan can choose blocks and state its amplification before reading anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// The smallest box that is fetched (and, where `decoded`, decoded) as a whole: a chunk, a strip, a frame, or
    /// 1 × 1 × 1 where any byte can be had alone.
    pub unit: Shape,
    /// True where fetching a unit costs computing (compression), false for plain bytes.
    pub decoded: bool,
    /// True where several threads reading different units at once are faster than one.
    pub parallel: bool,
}

impl Access {
    /// Plain bytes, any range at the cost of its length.
    pub const PLAIN: Access = Access { unit: Shape::new(1, 1, 1), decoded: false, parallel: true };

    /// How many values are fetched per value wanted when `region` of a stack of `shape` is read once: 1.0 = no waste.
    pub fn amplification(&self, shape: Shape, region: &Region) -> f64 {
        let cover = |r: &std::ops::Range<usize>, unit: usize, n: usize| {
            if r.is_empty() {
                return 1.0;
            }
            let unit = unit.max(1);
            let touched = (r.end.div_ceil(unit) * unit).min(n) - r.start / unit * unit;
            touched as f64 / r.len() as f64
        };
        cover(&region.frames, self.unit.frames, shape.frames)
            * cover(&region.rows, self.unit.rows, shape.rows)
            * cover(&region.cols, self.unit.cols, shape.cols)
    }
}

/// Where a frame lies on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The file that holds it.
    pub file: std::path::PathBuf,
    /// Offset of its first value, where the values of the frame lie there as plain bytes, one row after the other.
    pub offset: Option<u64>,
}

/// Random access to a stack of equally sized frames.
///
/// Implementations are shared by threads: `read` takes `&self` and must be callable concurrently. They never return
/// zeros for data they could not get: missing chunks, links and sources are errors that name what is missing.
pub trait FrameSource: Send + Sync {
    /// Size of the stack.
    fn shape(&self) -> Shape;

    /// Type of the values.
    fn dtype(&self) -> DType;

    /// What an access costs.
    fn access(&self) -> Access {
        Access::PLAIN
    }

    /// Reads a box into `out`: native byte order, C order, exactly `region.values() × dtype.size()` bytes.
    ///
    /// # Errors
    /// `Caller` where the region lies outside or the buffer does not fit; otherwise what the file or system says.
    fn read(&self, region: &Region, out: &mut [u8]) -> Result<()>;

    /// The bytes of whole frames where they lie in memory already (a map in native order); saves a copy.
    fn mapped(&self, _frames: std::ops::Range<usize>) -> Option<&[u8]> {
        None
    }

    /// Says that the bytes of these frames handed out by [`mapped`](Self::mapped) are no longer needed, so that a pass
    /// over a map does not hold the whole file in the process.
    fn release(&self, _frames: std::ops::Range<usize>) {}

    /// Where a frame lies on disk, where that can be said.
    fn place(&self, _frame: usize) -> Option<Place> {
        None
    }

    /// Every file the values come from (runs of equals once): what an output must not replace. Empty where that cannot
    /// be said.
    fn files(&self) -> Vec<std::path::PathBuf> {
        let mut all: Vec<_> = (0..self.shape().frames).map_while(|f| self.place(f)).map(|p| p.file).collect();
        all.dedup();
        all
    }

    /// Reads a band of `rows` of some `frames`, all columns.
    fn read_rows(&self, frames: std::ops::Range<usize>, rows: std::ops::Range<usize>, out: &mut [u8]) -> Result<()> {
        self.read(&Region::of_rows(self.shape(), frames, rows), out)
    }

    /// Reads a box as `f32` (64-bit values are rounded to nearest). `scratch` is reused between calls.
    fn read_f32(&self, region: &Region, scratch: &mut Vec<u8>, out: &mut [f32]) -> Result<()> {
        let dtype = self.dtype();
        if dtype == DType::F32 {
            return self.read(region, bytemuck::cast_slice_mut(out));
        }
        scratch.resize(region.values() * dtype.size(), 0);
        self.read(region, scratch)?;
        dtype.to_f32(scratch, out);
        Ok(())
    }
}

/// Copies a box out of a larger block held in memory: `src` holds `have` (C order), `out` receives `want`, both in the
/// coordinates of the stack; `want` must lie inside `have`.
pub fn copy_box(src: &[u8], have: &Region, want: &Region, size: usize, out: &mut [u8]) {
    let (hr, hc) = (have.rows.len(), have.cols.len());
    let row_bytes = want.cols.len() * size;
    if row_bytes == 0 {
        return;
    }
    let mut rows_out = out.chunks_exact_mut(row_bytes);
    for f in want.frames.clone() {
        for r in want.rows.clone() {
            let at = ((f - have.frames.start) * hr + (r - have.rows.start)) * hc + (want.cols.start - have.cols.start);
            if let Some(dst) = rows_out.next() {
                dst.copy_from_slice(&src[at * size..][..row_bytes]);
            }
        }
    }
}

/// A selection of frames of another source, in any order (image keys, every n-th projection).
pub struct Frames {
    /// The stack chosen from.
    pub inner: std::sync::Arc<dyn FrameSource>,
    /// Frame numbers in `inner`, in the order they appear here.
    pub pick: Vec<usize>,
}

impl FrameSource for Frames {
    fn shape(&self) -> Shape {
        Shape { frames: self.pick.len(), ..self.inner.shape() }
    }

    fn dtype(&self) -> DType {
        self.inner.dtype()
    }

    fn access(&self) -> Access {
        self.inner.access()
    }

    fn place(&self, frame: usize) -> Option<Place> {
        self.inner.place(*self.pick.get(frame)?)
    }

    fn files(&self) -> Vec<std::path::PathBuf> {
        self.inner.files()
    }

    fn read(&self, region: &Region, out: &mut [u8]) -> Result<()> {
        region.check(self.shape(), self.dtype().size(), out.len())?;
        let per_frame = region.rows.len() * region.cols.len() * self.dtype().size();
        // Runs of neighbours are read in one call: chunks that hold several frames are then decoded once.
        let picked = &self.pick[region.frames.clone()];
        let mut done = 0;
        while done < picked.len() {
            let run = picked[done..].windows(2).take_while(|w| w[1] == w[0] + 1).count() + 1;
            let frames = picked[done]..picked[done] + run;
            let part = Region { frames, rows: region.rows.clone(), cols: region.cols.clone() };
            self.inner.read(&part, &mut out[done * per_frame..(done + run) * per_frame])?;
            done += run;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::Arc;

    /// A stack whose values are their own index.
    pub(crate) struct Ramp(pub Shape);
    impl FrameSource for Ramp {
        fn shape(&self) -> Shape {
            self.0
        }
        fn dtype(&self) -> DType {
            DType::U16
        }
        fn read(&self, region: &Region, out: &mut [u8]) -> Result<()> {
            region.check(self.0, 2, out.len())?;
            let all: Vec<u8> = (0..self.0.len()? as u16).flat_map(|v| v.to_ne_bytes()).collect();
            copy_box(&all, &self.0.full(), region, 2, out);
            Ok(())
        }
    }

    #[test]
    fn picked_frames_keep_their_order() {
        let inner = Arc::new(Ramp(Shape::new(6, 2, 3)));
        let s = Frames { inner, pick: vec![4, 1, 2, 0] };
        let mut out = vec![0f32; 4];
        let region = Region { frames: 0..4, rows: 1..2, cols: 2..3 };
        s.read_f32(&region, &mut Vec::new(), &mut out).unwrap();
        assert_eq!(out, [4.0 * 6.0 + 5.0, 11.0, 17.0, 5.0]);
    }

    #[test]
    fn amplification_counts_whole_units() {
        let frame_chunks = Access { unit: Shape::new(1, 100, 50), decoded: true, parallel: true };
        let shape = Shape::new(10, 100, 50);
        assert_eq!(frame_chunks.amplification(shape, &Region::of_rows(shape, 0..10, 0..10)), 10.0);
        assert_eq!(frame_chunks.amplification(shape, &shape.full()), 1.0);
        assert_eq!(Access::PLAIN.amplification(shape, &Region::of_rows(shape, 0..10, 3..4)), 1.0);
    }
}
