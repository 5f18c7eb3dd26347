//! Volume statistics by PyHST2's rule, from a streaming histogram that can be merged.
//!
//! The rule, recovered from PyHST2 2020c's own output (volume, `.info`, `.xml` and histogram of the same run):
//! 1. Per slice: 10⁶ bins over the slice's own range, `i = ⌊(v − min)/(max − min) · (10⁶ − 1)⌋`; the slice's smallest
//!    voxel is left out.
//! 2. The middle of each bin of a slice goes into 10⁶ bins over the volume's range by the same formula.
//! 3. `s1` is the first bin whose cumulated count exceeds 0.001 % of the counted voxels, `s2` the last bin for which
//!    the same holds from above; `S1`, `S2` with 0.2 %. A bin `i` stands for `min + i · (max − min)/(10⁶ − 1)`.
//!
//! Exact zeros outside the reconstructed circle count like any voxel. NaN and infinities are counted apart and left
//! out of everything else. On PyHST2's own volume this gives its `.info` and `.xml` byte for byte and its total count;
//! 2.4 % of the voxels lie one bin aside of PyHST2's histogram file, because it bins in single precision, where the
//! rounding of a value is about 2 % of a bin.

use super::counts::SliceHistogram;
use crate::model::VolumeStats;
use crate::shelf::Shelf;
use crate::source::FrameSource;
use crate::{Region, Result};
use rayon::prelude::*;

/// Bins of the histogram.
pub const BINS: usize = 1_000_000;
/// Values read at once.
const BLOCK: usize = 1 << 20;

/// Range and kinds of values seen. Mergeable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    /// Smallest finite value; +∞ where there is none.
    pub min: f32,
    /// Largest finite value; −∞ where there is none.
    pub max: f32,
    /// Finite values.
    pub finite: u64,
    /// NaN.
    pub nan: u64,
    /// Infinities of both signs.
    pub infinite: u64,
}

impl Default for Extent {
    fn default() -> Self {
        Extent { min: f32::INFINITY, max: f32::NEG_INFINITY, finite: 0, nan: 0, infinite: 0 }
    }
}

impl Extent {
    /// Looks at values.
    pub fn of(values: &[f32]) -> Extent {
        values.chunks(4096).map(Extent::of_few).fold(Extent::default(), Extent::merge)
    }

    /// Of few values: most have nothing but finite ones, and then smallest and largest are all there is to find, which goes
    /// through vector registers.
    fn of_few(values: &[f32]) -> Extent {
        const LANES: usize = 16;
        let (mut low, mut high, mut sum) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES], [0f32; LANES]);
        let whole = values.as_chunks::<LANES>();
        for c in whole.0 {
            for l in 0..LANES {
                low[l] = if c[l] < low[l] { c[l] } else { low[l] };
                high[l] = if c[l] > high[l] { c[l] } else { high[l] };
                // Anything times zero is zero, but for what is not finite.
                sum[l] += c[l] * 0.0;
            }
        }
        if sum.iter().any(|s| s.is_nan()) {
            return Extent::of_each(values);
        }
        let lanes = Extent {
            min: low.into_iter().fold(f32::INFINITY, f32::min),
            max: high.into_iter().fold(f32::NEG_INFINITY, f32::max),
            finite: (whole.0.len() * LANES) as u64,
            ..Extent::default()
        };
        lanes.merge(Extent::of_each(whole.1))
    }

    fn of_each(values: &[f32]) -> Extent {
        let mut e = Extent::default();
        for &v in values {
            if v.is_finite() {
                e.min = e.min.min(v);
                e.max = e.max.max(v);
                e.finite += 1;
            } else if v.is_nan() {
                e.nan += 1;
            } else {
                e.infinite += 1;
            }
        }
        e
    }

    /// Both together.
    pub fn merge(self, other: Extent) -> Extent {
        Extent {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            finite: self.finite + other.finite,
            nan: self.nan + other.nan,
            infinite: self.infinite + other.infinite,
        }
    }

    /// Factor from `value − min` to bins; 0 where there is no range.
    pub(super) fn scale(&self) -> f64 {
        let range = f64::from(self.max) - f64::from(self.min);
        if range > 0.0 { (BINS - 1) as f64 / range } else { 0.0 }
    }
}

/// Counts over the range of a whole volume.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Range covered.
    pub extent: Extent,
    /// [`BINS`] counts.
    pub counts: Vec<u64>,
}

impl Histogram {
    /// Empty bins over a range.
    pub fn new(extent: Extent) -> Histogram {
        Histogram { extent, counts: vec![0; BINS] }
    }

    /// Adds the counts of another part of the same volume.
    ///
    /// # Panics
    /// Where the ranges differ: a bug of the caller.
    pub fn merge(&mut self, other: &Histogram) {
        assert_eq!((self.extent.min, self.extent.max), (other.extent.min, other.extent.max));
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
    }

    /// Voxels counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Value a bin stands for.
    pub fn value(&self, bin: usize) -> f64 {
        let (min, max) = (f64::from(self.extent.min), f64::from(self.extent.max));
        min + bin as f64 * (max - min) / (BINS - 1) as f64
    }

    /// The six numbers. Without a finite voxel all are NaN.
    pub fn stats(&self) -> VolumeStats {
        if self.extent.finite == 0 {
            let n = f64::NAN;
            return VolumeStats { min: n, max: n, s1: n, s2: n, big_s1: n, big_s2: n };
        }
        let (min, max) = (f64::from(self.extent.min), f64::from(self.extent.max));
        let total = self.total() as f64;
        let first = |fraction: f64, mut bins: Box<dyn Iterator<Item = usize>>| {
            let mut sum = 0u64;
            bins.find(|&i| {
                sum += self.counts[i];
                sum as f64 > fraction * total
            })
        };
        let low = |f| first(f, Box::new(0..BINS)).map_or(min, |i| self.value(i));
        let high = |f| first(f, Box::new((0..BINS).rev())).map_or(max, |i| self.value(i));
        VolumeStats { min, max, s1: low(1e-5), s2: high(1e-5), big_s1: low(2e-3), big_s2: high(2e-3) }
    }
}

/// Range and histogram of a stack, streamed in blocks of rows by the threads of the current pool. Memory: some MiB
/// per thread. `known` holds ranges of slices found before (while writing); the others cost a pass of their own.
pub fn measure(source: &dyn FrameSource, known: &[Option<Extent>]) -> Result<Histogram> {
    measure_with(source, known, &|_, _| Ok(false))
}

/// As [`measure`], with counts of slices kept from before: `kept` adds those of slice f, or says that it cannot, and only
/// then the slice is read.
pub(super) fn measure_with(
    source: &dyn FrameSource,
    known: &[Option<Extent>],
    kept: &(dyn Fn(usize, &mut Histogram) -> Result<bool> + Sync),
) -> Result<Histogram> {
    let shape = source.shape();
    type Scratch = (Vec<u8>, Vec<f32>);
    let blocks = |f: usize, scratch: &mut Scratch, each: &mut dyn FnMut(&[f32])| -> Result<()> {
        let rows = (BLOCK / shape.cols.max(1)).max(1);
        let mut row = 0;
        while row < shape.rows {
            let end = (row + rows).min(shape.rows);
            let region = Region::of_rows(shape, f..f + 1, row..end);
            scratch.1.resize(region.values(), 0.0);
            source.read_f32(&region, &mut scratch.0, &mut scratch.1)?;
            each(&scratch.1);
            row = end;
        }
        Ok(())
    };
    let extents: Vec<Extent> = (0..shape.frames)
        .into_par_iter()
        .map_init(Scratch::default, |scratch, f| match known.get(f) {
            Some(Some(e)) => Ok(*e),
            _ => {
                let mut e = Extent::default();
                blocks(f, scratch, &mut |v| e = e.merge(Extent::of(v)))?;
                Ok(e)
            }
        })
        .collect::<Result<_>>()?;
    let whole = extents.iter().fold(Extent::default(), |a, b| a.merge(*b));
    // Every thread counts into bins of its own: a lock around eight megabytes would be held all the time.
    let parts = Shelf::new(|| (Histogram::new(whole), SliceHistogram::default(), Scratch::default()));
    (0..shape.frames).into_par_iter().try_for_each(|f| {
        let mut part = parts.borrow();
        let (volume, slice, scratch) = &mut *part;
        if extents[f].finite == 0 || kept(f, volume)? {
            return Ok(());
        }
        slice.begin(extents[f]);
        blocks(f, scratch, &mut |v| {
            if !slice.has_room(v.len()) {
                slice.drain(volume);
            }
            slice.add(v);
        })?;
        slice.drain(volume);
        Ok::<(), crate::Error>(())
    })?;
    let mut parts = parts.into_inner().into_iter().map(|(volume, ..)| volume);
    let first = parts.next().unwrap_or_else(|| Histogram::new(whole));
    Ok(parts.fold(first, |mut a, b| {
        a.merge(&b);
        a
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::with_suffix;
    use crate::raw::flat::Flat;
    use crate::{ByteOrder, DType, Shape, VolumeMeta};

    fn of(values: &[f32], shape: Shape) -> Histogram {
        let dir = tempfile::tempdir().unwrap();
        let p = dir.path().join("x");
        std::fs::write(&p, bytemuck::cast_slice(values)).unwrap();
        measure(&Flat::open(&p, shape, DType::F32, ByteOrder::NATIVE, 0, false).unwrap(), &[]).unwrap()
    }

    #[test]
    fn nan_and_infinity_are_left_out() {
        let mut values: Vec<f32> = (0..2000).map(|i| i as f32).collect();
        let clean = of(&values, Shape::new(2, 10, 100));
        assert_eq!(clean.total(), 1998);
        let s = clean.stats();
        assert_eq!((s.min, s.max), (0.0, 1999.0));
        assert!((s.big_s1 - 4.0).abs() < 1.5 && (s.big_s2 - 1996.0).abs() < 1.5, "{s:?}");
        values[3] = f32::NAN;
        values[1500] = f32::INFINITY;
        let h = of(&values, Shape::new(2, 10, 100));
        assert_eq!((h.extent.nan, h.extent.infinite, h.extent.finite, h.total()), (1, 1, 1998, 1996));
        assert_eq!(h.stats().max, 1999.0);
        let none = of(&[f32::NAN; 4], Shape::new(1, 2, 2));
        assert!(none.stats().min.is_nan() && none.total() == 0);
    }

    #[test]
    fn constant_volumes_and_slices() {
        let h = of(&[0.0; 8], Shape::new(2, 2, 2));
        assert_eq!((h.total(), h.counts[0]), (8, 8));
        let s = h.stats();
        assert_eq!((s.min, s.max, s.s1, s.big_s2), (0.0, 0.0, 0.0, 0.0));
        let mut v = vec![5.0f32; 4];
        v.extend([0.0, 10.0, 10.0, 10.0]);
        let h = of(&v, Shape::new(2, 2, 2));
        assert_eq!(h.total(), 7);
        assert_eq!(h.counts[(BINS - 1) / 2], 4);
    }

    #[test]
    fn merging_equals_counting_at_once() {
        let values: Vec<f32> = (0..3000).map(|i| ((i * 7919) % 1000) as f32 * 0.37 - 80.0).collect();
        let whole = of(&values, Shape::new(3, 10, 100));
        let mut sum = Histogram::new(whole.extent);
        for slice in values.chunks(1000) {
            let mut part = Histogram::new(whole.extent);
            let mut s = SliceHistogram::default();
            s.begin(Extent::of(slice));
            slice.chunks(123).for_each(|c| s.add(c));
            s.drain(&mut part);
            sum.merge(&part);
        }
        assert_eq!(sum, whole);
    }

    /// PyHST2's own volume gives PyHST2's own sidecars, byte for byte.
    #[test]
    fn pyhst_volume_gives_pyhst_sidecars() {
        let Some(vol) = crate::vol::tests::shared("25-pyhst2-output/tooth.vol") else {
            return;
        };
        let shape = Shape::new(2, 640, 640);
        let flat = Flat::open(&vol, shape, DType::F32, ByteOrder::Little, 0, false).unwrap();
        let h = measure(&flat, &[]).unwrap();
        let meta = VolumeMeta { voxel_um: Some([1.0; 3]), ..Default::default() };
        let read = |s: &str| std::fs::read_to_string(with_suffix(&vol, s)).unwrap();
        assert_eq!(crate::vol::xml::info_text(shape, &meta, &h.stats()), read(".info"));
        assert_eq!(crate::vol::xml::text("tooth.vol", shape, &meta, &h.stats()), read(".xml"));

        let theirs = std::fs::read(vol.with_file_name("histogram_tooth.edf")).unwrap();
        let (head, counts) = theirs.split_at(1024);
        assert_eq!(crate::vol::histogram_header(&h), head);
        let theirs: Vec<u64> = counts.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().unwrap())).collect();
        assert_eq!(theirs.iter().sum::<u64>(), h.total());
        // Single against double precision: voxels move by one bin at most, and few of them.
        let (mut a, mut b, mut shift, mut moved) = (0i64, 0i64, 0, 0);
        for (x, y) in h.counts.iter().zip(&theirs) {
            moved += x.abs_diff(*y);
            a += *x as i64;
            b += *y as i64;
            shift = shift.max((a - b).abs());
        }
        assert!(moved / 2 < h.total() / 40, "{moved}");
        assert!(shift <= 16, "cumulated counts differ by {shift} voxels");
        let peak = |c: &[u64]| c.iter().enumerate().max_by_key(|(_, n)| **n).map(|(i, _)| i);
        assert_eq!(peak(&h.counts), peak(&theirs));
    }
}
