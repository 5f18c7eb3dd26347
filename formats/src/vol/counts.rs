//! The first stage of PyHST2's statistics: a slice counted over its own range, packed for later, moved into the volume's
//! bins. Nothing is lost on the way: packed counts give the volume's histogram the same numbers as fresh ones.

use super::stats::{BINS, Extent, Histogram};
use multiversion::multiversion;

/// Counts over one slice's own range. Reused from slice to slice; all zero between them.
pub struct SliceHistogram {
    extent: Extent,
    scale: f64,
    /// One counter more than bins, for what is not finite.
    counts: Vec<u32>,
    pending: u64,
    leave_out: bool,
}

impl Default for SliceHistogram {
    fn default() -> Self {
        let counts = vec![0; BINS + 1];
        SliceHistogram { extent: Extent::default(), scale: 0.0, counts, pending: 0, leave_out: false }
    }
}

const LAST: f64 = (BINS - 1) as f64;

/// Bins of values over a slice's range; one beyond the last for what is not finite.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn bins_of(values: &[f32], min: f64, scale: f64, bins: &mut [u32]) {
    for (bin, v) in bins.iter_mut().zip(values) {
        let x = (f64::from(*v) - min) * scale;
        // A NaN is not larger than anything, so it becomes zero here.
        let x = if x > 0.0 { x } else { 0.0 };
        let x = if x < LAST { x } else { LAST };
        // SAFETY: between 0 and the last bin. (A checked conversion is not done in vectors.)
        let i = unsafe { x.to_int_unchecked::<i32>() };
        *bin = if v.is_finite() { i as u32 } else { BINS as u32 };
    }
}

impl SliceHistogram {
    /// Starts a slice whose range is known.
    pub fn begin(&mut self, extent: Extent) {
        if self.pending > 0 {
            // What an error left behind.
            self.counts.fill(0);
        }
        self.scale = extent.scale();
        self.extent = extent;
        self.pending = 0;
        // A slice of one value has no range to count over: it goes whole into its bin of the volume.
        self.leave_out = self.scale > 0.0;
    }

    /// True while so many more values cannot overrun a counter; otherwise [`SliceHistogram::drain`] first.
    pub fn has_room(&self, more: usize) -> bool {
        self.pending + more as u64 <= u64::from(u32::MAX)
    }

    /// Counts values of the slice.
    pub fn add(&mut self, values: &[f32]) {
        debug_assert!(self.has_room(values.len()));
        let mut bins = [0u32; 512];
        for block in values.chunks(bins.len()) {
            let bins = &mut bins[..block.len()];
            bins_of(block, f64::from(self.extent.min), self.scale, bins);
            // Runs of one value (everything outside the field) go in one step: each counter waits for itself otherwise.
            let (mut last, mut run) = (bins[0], 0u32);
            for &i in bins.iter() {
                if i == last {
                    run += 1;
                } else {
                    self.counts[last as usize] = self.counts[last as usize].wrapping_add(run);
                    (last, run) = (i, 1);
                }
            }
            self.counts[last as usize] = self.counts[last as usize].wrapping_add(run);
        }
        self.pending += values.len() as u64;
    }

    /// Takes the counters that are not zero, with their bins.
    fn take(&mut self, mut each: impl FnMut(usize, u32)) {
        self.pending = 0;
        self.counts[BINS] = 0;
        for (c, counts) in self.counts.chunks_mut(32).enumerate() {
            // Most of a slice's range is empty: whole vectors of zeros are passed over.
            if counts.iter().fold(0, |a, b| a | *b) == 0 {
                continue;
            }
            for (i, n) in counts.iter_mut().enumerate().filter(|(_, n)| **n > 0) {
                each(32 * c + i, std::mem::take(n));
            }
        }
    }

    /// Takes the counts of a whole slice to `bytes`; false where some have been moved to a volume already.
    #[must_use]
    pub(super) fn pack(&mut self, bytes: &mut Vec<u8>) -> bool {
        if self.leave_out != (self.scale > 0.0) {
            return false;
        }
        bytes.clear();
        let mut put = |mut n: u32| {
            while n >= 0x80 {
                bytes.push(n as u8 | 0x80);
                n >>= 7;
            }
            bytes.push(n as u8);
        };
        // LEB128: a counter as it is; the zeros before it as a zero and the length of their run.
        let mut next = 0;
        self.take(|i, n| {
            if i > next {
                put(0);
                put((i - next) as u32);
            }
            put(n);
            next = i + 1;
        });
        if next < BINS {
            put(0);
            put((BINS - next) as u32);
        }
        true
    }

    /// Second stage: moves the counts into the volume's histogram.
    pub fn drain(&mut self, into: &mut Histogram) {
        let mut leave_out = std::mem::take(&mut self.leave_out);
        let to = Places::of(&self.extent, &into.extent);
        self.take(|i, n| {
            let n = u64::from(n) - u64::from(i == 0 && std::mem::take(&mut leave_out));
            into.counts[to.bin(i)] += n;
        });
    }
}

/// Bins of the volume for the bins of a slice.
struct Places {
    min: f64,
    step: f64,
    low: f64,
    scale: f64,
}

impl Places {
    fn of(slice: &Extent, volume: &Extent) -> Places {
        let scale = slice.scale();
        let step = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        Places { min: f64::from(slice.min), step, low: f64::from(volume.min), scale: volume.scale() }
    }

    #[inline(always)]
    fn bin(&self, i: usize) -> usize {
        let value = self.min + (i as f64 + 0.5) * self.step;
        (((value - self.low) * self.scale) as usize).min(BINS - 1)
    }
}

impl Histogram {
    /// Adds a slice of this range, whose counts were packed before; `None` where they are damaged.
    #[must_use]
    pub(super) fn add_packed(&mut self, slice: &Extent, bytes: &[u8]) -> Option<()> {
        let to = Places::of(slice, &self.extent);
        let mut leave_out = slice.scale() > 0.0;
        let (mut bytes, mut at) = (bytes.iter(), 0usize);
        while at < BINS {
            match number(&mut bytes)? {
                0 => at = at.checked_add(number(&mut bytes)? as usize)?,
                n => {
                    let n = u64::from(n) - u64::from(at == 0 && std::mem::take(&mut leave_out));
                    self.counts[to.bin(at)] += n;
                    at += 1;
                }
            }
        }
        (at == BINS && bytes.next().is_none()).then_some(())
    }
}

/// A number in LEB128.
#[inline(always)]
fn number(bytes: &mut std::slice::Iter<'_, u8>) -> Option<u32> {
    let (mut n, mut shift) = (0u32, 0u32);
    loop {
        let b = bytes.next()?;
        n |= u32::from(b & 0x7f).checked_shl(shift)?;
        if b & 0x80 == 0 {
            return Some(n);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wide range, non-finite values, and a value that outnumbers all others.
    fn values() -> Vec<f32> {
        let mut values: Vec<f32> = (0..200_000u32).map(|i| ((i * 7919) % 65_521) as f32 * 0.37 - 80.0).collect();
        values.extend([f32::NAN; 5]);
        values.extend([3.0; 100_000]);
        values.push(f32::NEG_INFINITY);
        values
    }

    #[test]
    fn bins_are_those_of_the_formula_value_by_value() {
        let values = values();
        let e = Extent::of(&values);
        let mut counted = SliceHistogram::default();
        counted.begin(e);
        values.chunks(777).for_each(|v| counted.add(v));
        let mut expected = vec![0u32; BINS + 1];
        for v in &values {
            let i = ((f64::from(*v) - f64::from(e.min)) / (f64::from(e.max) - f64::from(e.min)) * (BINS - 1) as f64)
                as usize;
            expected[if v.is_finite() { i.min(BINS - 1) } else { BINS }] += 1;
        }
        // A factor instead of a quotient may move what lies on an edge.
        let differ = counted.counts.iter().zip(&expected).filter(|(a, b)| a != b).count();
        assert!(differ < 200, "{differ}");
        assert_eq!((counted.counts[BINS], expected[BINS]), (6, 6));
        let scale = e.scale();
        let mut exact = vec![0u32; BINS + 1];
        for v in &values {
            let i = ((f64::from(*v) - f64::from(e.min)) * scale) as usize;
            exact[if v.is_finite() { i.min(BINS - 1) } else { BINS }] += 1;
        }
        assert_eq!(counted.counts, exact);
    }

    #[test]
    fn packed_counts_come_back_and_damage_is_noticed() {
        let values = values();
        let extent = Extent::of(&values);
        let (mut fresh, mut back) = (Histogram::new(extent), Histogram::new(extent));
        let mut a = SliceHistogram::default();
        let mut bytes = Vec::new();
        a.begin(extent);
        a.add(&values);
        assert!(a.pack(&mut bytes));
        assert!(a.counts.iter().all(|n| *n == 0));
        a.begin(extent);
        a.add(&values);
        a.drain(&mut fresh);
        assert!(a.counts.iter().all(|n| *n == 0));
        assert!(!a.pack(&mut Vec::new()), "the counts are gone");
        back.add_packed(&extent, &bytes).unwrap();
        assert_eq!(fresh, back);
        assert_eq!(fresh.total(), extent.finite - 1);
        let mut b = Histogram::new(extent);
        for end in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            assert!(b.add_packed(&extent, &bytes[..end]).is_none(), "{end}");
        }
        let longer: Vec<u8> = bytes.iter().copied().chain([1]).collect();
        assert!(b.add_packed(&extent, &longer).is_none());
        assert!(b.add_packed(&extent, &[0xff; 9]).is_none());
    }
}
