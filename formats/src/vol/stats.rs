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

use crate::model::VolumeStats;
use crate::source::FrameSource;
use crate::{Region, Result};
use rayon::prelude::*;
use std::sync::Mutex;

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
    fn scale(&self) -> f64 {
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

/// First stage: counts over one slice's own range. Reused from slice to slice.
pub struct SliceHistogram {
    extent: Extent,
    scale: f64,
    counts: Vec<u32>,
    pending: u64,
    leave_out: bool,
}

impl Default for SliceHistogram {
    fn default() -> Self {
        SliceHistogram { extent: Extent::default(), scale: 0.0, counts: vec![0; BINS], pending: 0, leave_out: false }
    }
}

impl SliceHistogram {
    /// Starts a slice whose range is known.
    pub fn begin(&mut self, extent: Extent) {
        self.counts.fill(0);
        self.scale = extent.scale();
        self.extent = extent;
        self.pending = 0;
        // A slice of one value has no range to count over: it goes whole into its bin of the volume.
        self.leave_out = self.scale > 0.0;
    }

    /// Counts values of the slice; `into` receives them when the slice's own counters might run full.
    pub fn add(&mut self, values: &[f32], into: &Mutex<Histogram>) {
        for block in values.chunks(BLOCK) {
            if self.pending + block.len() as u64 > u64::from(u32::MAX) {
                self.drain(into);
            }
            let (min, scale) = (f64::from(self.extent.min), self.scale);
            for &v in block {
                if v.is_finite() {
                    let i = ((f64::from(v) - min) * scale) as usize;
                    self.counts[i.min(BINS - 1)] += 1;
                }
            }
            self.pending += block.len() as u64;
        }
    }

    /// The counts of a whole slice, as bytes; `None` where some have been moved to a volume already.
    pub(super) fn pack(&self) -> Option<Vec<u8>> {
        if self.leave_out != (self.scale > 0.0) {
            return None;
        }
        // Counts as LEB128; zeros as a zero and the length of their run.
        let mut bytes = Vec::with_capacity(1 << 16);
        let mut put = |mut n: u32| {
            while n >= 0x80 {
                bytes.push(n as u8 | 0x80);
                n >>= 7;
            }
            bytes.push(n as u8);
        };
        for run in self.counts.chunk_by(|a, b| *a == 0 && *b == 0) {
            put(run[0]);
            if run[0] == 0 {
                put(run.len() as u32);
            }
        }
        Some(bytes)
    }

    /// Begins a slice with counts packed before; `None` where they are damaged.
    pub(super) fn unpack(&mut self, extent: Extent, bytes: &[u8]) -> Option<()> {
        self.begin(extent);
        let (mut bytes, mut at) = (bytes.iter(), 0usize);
        let number = |bytes: &mut std::slice::Iter<'_, u8>| -> Option<u32> {
            let (mut n, mut shift) = (0u32, 0u32);
            loop {
                let b = bytes.next()?;
                n |= u32::from(b & 0x7f).checked_shl(shift)?;
                if b & 0x80 == 0 {
                    return Some(n);
                }
                shift += 7;
            }
        };
        while at < BINS {
            match number(&mut bytes)? {
                0 => at = at.checked_add(number(&mut bytes)? as usize)?,
                n => {
                    *self.counts.get_mut(at)? = n;
                    at += 1;
                }
            }
        }
        (at == BINS && bytes.next().is_none()).then_some(())
    }

    /// Second stage: moves the counts into the volume's histogram.
    pub fn drain(&mut self, into: &Mutex<Histogram>) {
        if std::mem::take(&mut self.leave_out) {
            self.counts[0] = self.counts[0].saturating_sub(1);
        }
        let step = if self.scale > 0.0 { 1.0 / self.scale } else { 0.0 };
        let min = f64::from(self.extent.min);
        // A poisoned lock means another thread panicked; its panic is what surfaces.
        let mut volume = into.lock().unwrap_or_else(|e| e.into_inner());
        // All that does not change is taken out of the loop: a division per bin is what the end of a volume would wait for.
        let Histogram { extent, counts } = &mut *volume;
        let (low, scale) = (f64::from(extent.min), extent.scale());
        for (i, n) in self.counts.iter_mut().enumerate().filter(|(_, n)| **n > 0) {
            let value = min + (i as f64 + 0.5) * step;
            let bin = ((value - low) * scale) as usize;
            counts[bin.min(BINS - 1)] += u64::from(std::mem::take(n));
        }
        self.pending = 0;
    }
}

/// Range and histogram of a stack, streamed in blocks of rows by the threads of the current pool. Memory: some MiB
/// per thread. `known` holds ranges of slices found before (while writing); the others cost a pass of their own.
pub fn measure(source: &dyn FrameSource, known: &[Option<Extent>]) -> Result<Histogram> {
    measure_with(source, known, &|_, _| Ok(false))
}

/// As [`measure`], with counts of slices kept from before: `kept` begins slice f with them, or says that it cannot, and
/// only then the slice is read.
pub(super) fn measure_with(
    source: &dyn FrameSource,
    known: &[Option<Extent>],
    kept: &(dyn Fn(usize, &mut SliceHistogram) -> Result<bool> + Sync),
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
    let volume = Mutex::new(Histogram::new(whole));
    (0..shape.frames).into_par_iter().try_for_each_init(
        || (SliceHistogram::default(), Scratch::default()),
        |(slice, scratch), f| {
            if extents[f].finite == 0 {
                return Ok(());
            }
            if !kept(f, slice)? {
                slice.begin(extents[f]);
                blocks(f, scratch, &mut |v| slice.add(v, &volume))?;
            }
            slice.drain(&volume);
            Ok(())
        },
    )?;
    Ok(volume.into_inner().unwrap_or_else(|e| e.into_inner()))
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
            let part = Mutex::new(Histogram::new(whole.extent));
            let mut s = SliceHistogram::default();
            s.begin(Extent::of(slice));
            slice.chunks(123).for_each(|c| s.add(c, &part));
            s.drain(&part);
            sum.merge(&part.into_inner().unwrap());
        }
        assert_eq!(sum, whole);
    }

    #[test]
    fn packed_counts_come_back_and_damage_is_noticed() {
        let mut values: Vec<f32> = (0..200_000u32).map(|i| ((i * 7919) % 65_521) as f32 * 0.37 - 80.0).collect();
        values.extend([f32::NAN; 5]);
        values.extend([3.0; 100_000]);
        let (extent, nowhere) = (Extent::of(&values), Mutex::new(Histogram::new(Extent::default())));
        let mut a = SliceHistogram::default();
        a.begin(extent);
        a.add(&values, &nowhere);
        let bytes = a.pack().unwrap();
        let mut b = SliceHistogram::default();
        b.unpack(extent, &bytes).unwrap();
        assert_eq!(a.counts, b.counts);
        for end in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            assert!(b.unpack(extent, &bytes[..end]).is_none(), "{end}");
        }
        let longer: Vec<u8> = bytes.iter().copied().chain([1]).collect();
        assert!(b.unpack(extent, &longer).is_none());
        assert!(b.unpack(extent, &[0xff; 9]).is_none());
        let into = Mutex::new(Histogram::new(extent));
        a.drain(&into);
        assert!(a.pack().is_none(), "the counts are gone");
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
