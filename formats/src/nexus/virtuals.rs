//! Virtual datasets read part by part from their sources, by our own reader: parallel, with our filters, and with an
//! error where the library would hand out fill values.
//!
//! Covers what acquisition writes: every part one box of the virtual dataset (frames perhaps with gaps) coming from one
//! such box of equal size of a source of the same type, rows and columns on rows and columns. Other selections are left
//! to the library.

use super::array::{Array, padded, unfold};
use super::links::{Hyperbox, VirtualSource, open_source};
use crate::source::{Access, FrameSource};
use crate::{DType, Error, Region, Result, Shape};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// Sources kept open at once; a series of thousands of files must not run into the limit of open files.
const OPEN: usize = 32;

/// A virtual dataset whose parts are all boxes.
pub(super) struct Virtual {
    parts: Vec<Part>,
    dims: Vec<u64>,
    dtype: DType,
    fill: Vec<u8>,
    open: Mutex<VecDeque<(usize, Arc<Array>)>>,
}

struct Part {
    source: VirtualSource,
    /// In the virtual dataset, padded rank.
    target: Hyperbox,
    /// In the source, padded rank.
    origin: Hyperbox,
}

/// Runs `f` unless virtual datasets refer to one another deeper than any real set does.
fn nested<T>(f: impl FnOnce() -> T) -> Option<T> {
    thread_local!(static DEPTH: std::cell::Cell<u32> = const { std::cell::Cell::new(0) });
    let depth = DEPTH.get();
    (depth < 16).then(|| {
        DEPTH.set(depth + 1);
        let r = f();
        DEPTH.set(depth);
        r
    })
}

fn pad(b: &Hyperbox) -> Hyperbox {
    let n = 2usize.saturating_sub(b.size.len());
    let mut start = vec![0; n];
    start.extend(&b.start);
    Hyperbox { start, size: padded(&b.size), step: padded(&b.step) }
}

impl Virtual {
    /// `None` where a part is not a simple box.
    pub fn new(sources: &[VirtualSource], dims: &[u64], dtype: DType, fill: Vec<u8>) -> Option<Virtual> {
        let mut parts = Vec::with_capacity(sources.len());
        for s in sources {
            let (target, origin) = (pad(s.target.as_ref()?), pad(s.origin.as_ref()?));
            let (t, o) = (&target.size, &origin.size);
            let lead = |d: &[u64]| d[..d.len() - 2].iter().copied().filter(|n| *n != 1).collect::<Vec<_>>();
            let dense = |b: &Hyperbox| b.step[b.step.len() - 2..] == [1, 1];
            let same = t[t.len() - 2..] == o[o.len() - 2..] && lead(t) == lead(o);
            if !same || !dense(&target) || !dense(&origin) || target.size.len() != padded(dims).len() {
                return None;
            }
            parts.push(Part { source: s.clone(), target, origin });
        }
        Some(Virtual { parts, dims: padded(dims), dtype, fill, open: Mutex::default() })
    }

    /// True where the parts fill the whole extent (counted by size: overlapping parts can hide a hole).
    pub fn covers(&self) -> bool {
        let size = |d: &[u64]| d.iter().fold(1u64, |n, &d| n.saturating_mul(d));
        self.parts.iter().fold(0u64, |n, p| n.saturating_add(size(&p.target.size))) >= size(&self.dims)
    }

    /// The access of the first source stands for all.
    pub fn access(&self, shape: Shape) -> Result<Access> {
        let mut a = match self.parts.first() {
            Some(p) => self.array(0, p)?.access(),
            None => Access::PLAIN,
        };
        a.unit.frames = a.unit.frames.min(shape.frames.max(1));
        Ok(a)
    }

    fn array(&self, i: usize, p: &Part) -> Result<Arc<Array>> {
        let lock = || self.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, a)) = lock().iter().find(|(k, _)| *k == i) {
            return Ok(a.clone());
        }
        let h5 = open_source(&p.source)?;
        let array = nested(|| Array::open(&h5, &p.source.dataset)).unwrap_or_else(|| {
            Err(Error::file(h5.path(), format!("virtual source {} leads back to itself", p.source.label())))
        })?;
        if array.dtype() != self.dtype {
            return Err(Error::unsupported(h5.path(), format!("virtual source {}", p.source.label()))
                .expected(self.dtype.name())
                .found(array.dtype().name()));
        }
        let have = padded(&array.info.shape);
        let fits = have.len() == p.origin.size.len() && have.iter().enumerate().all(|(k, n)| p.origin.end(k) <= *n);
        if !fits {
            return Err(Error::file(
                h5.path(),
                format!("virtual source {} is smaller than what is taken from it", p.source.label()),
            )
            .expected(format!("at least {:?} from {:?}", p.origin.size, p.origin.start))
            .found(array.info.summary())
            .hint("the scan may have been interrupted, or the source was copied incompletely"));
        }
        let array = Arc::new(array);
        let mut open = lock();
        open.push_back((i, array.clone()));
        if open.len() > OPEN {
            open.pop_front();
        }
        Ok(array)
    }

    /// Reads a region of the folded stack; `out` has exactly its size.
    pub fn read(&self, region: &Region, out: &mut [u8]) -> Result<()> {
        let size = self.dtype.size();
        if !self.covers() {
            out.chunks_exact_mut(size).for_each(|e| e.copy_from_slice(&self.fill));
        }
        let n = self.dims.len();
        let lead_dims = &self.dims[..n - 2];
        for (i, p) in self.parts.iter().enumerate() {
            let (t, o) = (&p.target, &p.origin);
            let axis = |k: usize, want: &Range<usize>| {
                let from = (t.start[k] as usize).max(want.start);
                let to = (t.start[k].saturating_add(t.size[k])).min(want.end as u64) as usize;
                from..to.max(from)
            };
            let (rows, cols) = (axis(n - 2, &region.rows), axis(n - 1, &region.cols));
            if rows.is_empty() || cols.is_empty() {
                continue;
            }
            let shift = |r: &Range<usize>, k: usize, ko: usize| {
                let (a, b) = (t.start[k] as usize, o.start[ko] as usize);
                r.start - a + b..r.end - a + b
            };
            let on = o.size.len();
            let (srows, scols) = (shift(&rows, n - 2, on - 2), shift(&cols, n - 1, on - 1));
            let mut run: Option<(Range<usize>, Range<usize>)> = None; // frames here, frames in the source
            for frame in frames_of(region.frames.clone(), t, lead_dims) {
                let source = self.source_frame(p, &unfold(frame, lead_dims), i)?;
                match &mut run {
                    Some((here, there)) if here.end == frame && there.end == source => {
                        here.end += 1;
                        there.end += 1;
                    }
                    _ => {
                        if let Some(done) = run.take() {
                            self.copy(i, p, done, (&rows, &cols), (&srows, &scols), region, out)?;
                        }
                        run = Some((frame..frame + 1, source..source + 1));
                    }
                }
            }
            if let Some(done) = run {
                self.copy(i, p, done, (&rows, &cols), (&srows, &scols), region, out)?;
            }
        }
        Ok(())
    }

    /// Frame number in the source of a frame here, given by its leading indices.
    fn source_frame(&self, p: &Part, lead: &[u64], i: usize) -> Result<usize> {
        let array = self.array(i, p)?;
        let (t, o) = (&p.target, &p.origin);
        let on = o.size.len() - 2;
        let mut moving = (0..lead.len()).filter(|&k| t.size[k] != 1).map(|k| (lead[k] - t.start[k]) / t.step[k]);
        let have = padded(&array.info.shape);
        let mut index = 0u64;
        for (k, n) in have.iter().enumerate().take(on) {
            let inside = if o.size[k] == 1 { 0 } else { moving.next().unwrap_or(0) };
            index = index * n + o.start[k] + inside * o.step[k];
        }
        Ok(index as usize)
    }

    #[allow(clippy::too_many_arguments)] // two boxes and where they go
    fn copy(
        &self,
        i: usize,
        p: &Part,
        (here, there): (Range<usize>, Range<usize>),
        (rows, cols): (&Range<usize>, &Range<usize>),
        (srows, scols): (&Range<usize>, &Range<usize>),
        region: &Region,
        out: &mut [u8],
    ) -> Result<()> {
        let size = self.dtype.size();
        let from = Region { frames: there, rows: srows.clone(), cols: scols.clone() };
        let to = Region { frames: here, rows: rows.clone(), cols: cols.clone() };
        let array = self.array(i, p)?;
        let per_frame = region.rows.len() * region.cols.len() * size;
        let first = (to.frames.start - region.frames.start) * per_frame;
        if to.rows == region.rows && to.cols == region.cols {
            return array.read(&from, &mut out[first..first + to.frames.len() * per_frame]);
        }
        // A part narrower than what is wanted (tiled detectors): frame by frame through a buffer.
        let mut buf = vec![0u8; rows.len() * cols.len() * size];
        for k in 0..to.frames.len() {
            let f = from.frames.start + k;
            array.read(&Region { frames: f..f + 1, ..from.clone() }, &mut buf)?;
            let frame = &mut out[first + k * per_frame..first + (k + 1) * per_frame];
            let row_bytes = cols.len() * size;
            for (r, line) in rows.clone().zip(buf.chunks_exact(row_bytes)) {
                let at = ((r - region.rows.start) * region.cols.len() + (cols.start - region.cols.start)) * size;
                frame[at..at + row_bytes].copy_from_slice(line);
            }
        }
        Ok(())
    }
}

/// The frames of `want` whose leading indices lie in the box.
fn frames_of<'a>(want: Range<usize>, b: &'a Hyperbox, lead_dims: &'a [u64]) -> impl Iterator<Item = usize> + 'a {
    // With one leading dimension the range is cut directly: a scan of 10 000 parts must not be walked 10 000 times.
    let range = match lead_dims.len() {
        0 => want,
        1 => {
            let end = b.end(0).min(want.end as u64) as usize;
            (b.start[0] as usize).max(want.start)..end
        }
        _ => want,
    };
    range.filter(move |&f| {
        let inside =
            |(k, i): (usize, u64)| i >= b.start[k] && i < b.end(k) && (i - b.start[k]).is_multiple_of(b.step[k]);
        unfold(f, lead_dims).into_iter().enumerate().all(inside)
    })
}
