//! One-pass, mergeable statistics of voxel values: exact min, max, mean, standard deviation and counts of NaN, ±Inf
//! and zeros; a histogram that needs no range in advance.
//!
//! The histogram counts values by the upper bits of their float pattern ("ordered bits"): 2^16 bins whose width is
//! 1/128 of the value at any magnitude. One hot voxel therefore costs no resolution elsewhere. Percentiles are exact
//! to one such bin (0.8 % of the value); integer types of up to 16 bits get one bin per value and are exact.
//!
//! Sums are taken per block and merged in block order, so that the result does not depend on the number of threads.

use rayon::prelude::*;
use serde::Serialize;
use tomokit_formats::DType;
use tomokit_formats::model::{Voxel, each};
use tomokit_formats::with_dtype;

/// Values per block of the deterministic reduction.
const BLOCK: usize = 1 << 20;
const BINS: usize = 1 << 16;

/// Counts by value, see the module text for the bins.
#[derive(Clone)]
pub struct Histogram {
    /// True where bin `i` is the integer `i + low` itself.
    integer_low: Option<i64>,
    counts: Vec<u64>,
}

impl Histogram {
    /// An empty histogram for values of `dtype`.
    pub fn new(dtype: DType) -> Self {
        let integer_low = match dtype {
            DType::U8 | DType::U16 => Some(0),
            DType::I8 | DType::I16 => Some(i64::from(i16::MIN)),
            _ => None,
        };
        Histogram { integer_low, counts: vec![0; BINS] }
    }

    #[inline(always)]
    fn bin(&self, v: f32) -> usize {
        match self.integer_low {
            Some(low) => (v as i64 - low) as usize,
            None => (ordered(v) >> 16) as usize,
        }
    }

    /// Smallest and largest value of bin `i`.
    pub fn bin_range(&self, i: usize) -> (f64, f64) {
        match self.integer_low {
            Some(low) => ((i as i64 + low) as f64, (i as i64 + low) as f64),
            None => {
                let (a, b) = (unordered((i as u32) << 16), unordered(((i as u32) << 16) | 0xFFFF));
                (f64::from(a), f64::from(b))
            }
        }
    }

    /// Counts by bin.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Value below which the fraction `q` (0..1) of the counted values lies, to one bin.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let total: u64 = self.counts.iter().sum();
        if total == 0 {
            return None;
        }
        let want = (q.clamp(0.0, 1.0) * (total - 1) as f64).floor() as u64;
        let mut below = 0;
        for (i, &c) in self.counts.iter().enumerate() {
            if c > 0 && below + c > want {
                let (a, b) = self.bin_range(i);
                // Exact zeros are common and must read as such.
                if a <= 0.0 && b >= 0.0 {
                    return Some(0.0);
                }
                // Linear within the bin.
                let f = (want - below) as f64 / c as f64;
                return Some(if a.is_finite() && b.is_finite() { a + f * (b - a) } else { a });
            }
            below += c;
        }
        None
    }

    /// Rebins into `n` equal bins over `low..high` for a plot; values outside are left out.
    pub fn rebin(&self, low: f64, high: f64, n: usize) -> Vec<u64> {
        let mut out = vec![0u64; n];
        if n == 0 || high.partial_cmp(&low) != Some(std::cmp::Ordering::Greater) {
            return out;
        }
        let scale = n as f64 / (high - low);
        for (i, &c) in self.counts.iter().enumerate().filter(|(_, c)| **c > 0) {
            let (a, b) = self.bin_range(i);
            let (a, b) = ((a - low) * scale, (b - low) * scale);
            let (first, last) = (a.floor().max(0.0), b.floor().min(n as f64 - 1.0));
            if b < 0.0 || a > n as f64 || first > last {
                // The topmost value lies on the upper edge itself.
                if a == n as f64 {
                    out[n - 1] += c;
                }
                continue;
            }
            // A bin that spans several columns is spread evenly, the remainder going to the first.
            let (first, last) = (first as usize, last as usize);
            let (k, each) = ((last - first + 1) as u64, c / (last - first + 1) as u64);
            out[first..=last].iter_mut().for_each(|o| *o += each);
            out[first] += c - each * k;
        }
        out
    }
}

/// Maps f32 to u32 so that the order of values is the order of integers.
#[inline(always)]
fn ordered(v: f32) -> u32 {
    let b = (v + 0.0).to_bits(); // -0.0 becomes +0.0
    if b >> 31 == 1 { !b } else { b | 0x8000_0000 }
}

fn unordered(u: u32) -> f32 {
    f32::from_bits(if u >> 31 == 1 { u & 0x7FFF_FFFF } else { !u })
}

/// Everything one pass tells about a stack.
#[derive(Clone, Debug, Serialize)]
pub struct Statistics {
    /// Values seen.
    pub count: u64,
    /// Smallest finite value.
    pub min: f64,
    /// Largest finite value.
    pub max: f64,
    /// Mean of the finite values.
    pub mean: f64,
    /// Standard deviation of the finite values (population).
    pub std: f64,
    /// NaN values.
    pub nan: u64,
    /// Infinite values, of both signs.
    pub infinite: u64,
    /// Exact zeros.
    pub zeros: u64,
    /// Percentiles 0.1, 1, 50, 99, 99.9 of the finite values, exact to one histogram bin.
    pub percentiles: [(f64, f64); 5],
    /// The histogram behind them.
    #[serde(skip)]
    pub histogram: Histogram,
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Histogram({} values)", self.counts.iter().sum::<u64>())
    }
}

/// Running sums of one block.
#[derive(Clone, Copy)]
struct Part {
    finite: u64,
    nan: u64,
    infinite: u64,
    zeros: u64,
    min: f64,
    max: f64,
    mean: f64,
    m2: f64,
}

impl Part {
    const EMPTY: Part = Part {
        finite: 0,
        nan: 0,
        infinite: 0,
        zeros: 0,
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
        mean: 0.0,
        m2: 0.0,
    };

    /// Chan's merge of mean and variance.
    fn merge(self, o: Part) -> Part {
        let n = self.finite + o.finite;
        let d = o.mean - self.mean;
        let share = if n == 0 { 0.0 } else { o.finite as f64 / n as f64 };
        Part {
            finite: n,
            nan: self.nan + o.nan,
            infinite: self.infinite + o.infinite,
            zeros: self.zeros + o.zeros,
            min: self.min.min(o.min),
            max: self.max.max(o.max),
            mean: self.mean + d * share,
            m2: self.m2 + o.m2 + d * d * self.finite as f64 * share,
        }
    }
}

/// Collects [`Statistics`] block by block.
pub struct Collector {
    dtype: DType,
    total: Part,
    histogram: Histogram,
}

impl Statistics {
    /// Starts collecting values of `dtype`.
    pub fn collect(dtype: DType) -> Collector {
        Collector { dtype, total: Part::EMPTY, histogram: Histogram::new(dtype) }
    }
}

impl Collector {
    /// Adds values in native byte order.
    pub fn add(&mut self, bytes: &[u8]) {
        let size = self.dtype.size();
        let blank = Histogram { integer_low: self.histogram.integer_low, counts: Vec::new() };
        let parts: Vec<(Part, Vec<u32>)> =
            bytes.par_chunks(BLOCK * size).map(|b| with_dtype!(self.dtype, T => part::<T>(b, &blank))).collect();
        for (p, counts) in parts {
            self.total = self.total.merge(p);
            for (t, c) in self.histogram.counts.iter_mut().zip(counts) {
                *t += u64::from(c);
            }
        }
    }

    /// The result.
    pub fn finish(self) -> Statistics {
        let t = self.total;
        let h = self.histogram;
        let q = |p: f64| {
            let v = h.quantile(p / 100.0).unwrap_or(f64::NAN);
            (p, if t.finite > 0 { v.clamp(t.min, t.max) } else { v })
        };
        Statistics {
            count: t.finite + t.nan + t.infinite,
            min: if t.finite > 0 { t.min } else { f64::NAN },
            max: if t.finite > 0 { t.max } else { f64::NAN },
            mean: if t.finite > 0 { t.mean } else { f64::NAN },
            std: if t.finite > 0 { (t.m2 / t.finite as f64).sqrt() } else { f64::NAN },
            nan: t.nan,
            infinite: t.infinite,
            zeros: t.zeros,
            percentiles: [q(0.1), q(1.0), q(50.0), q(99.0), q(99.9)],
            histogram: h,
        }
    }
}

fn part<T: Voxel>(bytes: &[u8], bins: &Histogram) -> (Part, Vec<u32>) {
    let mut counts = vec![0u32; BINS];
    let mut p = Part::EMPTY;
    let (mut sum, mut sum_sq, mut shift) = (0f64, 0f64, None);
    each::<T>(bytes, |_, v| {
        let x = v.to_f64();
        if x.is_finite() {
            // Sums relative to the first value keep the variance of a block exact enough.
            let s = *shift.get_or_insert(x);
            let d = x - s;
            sum += d;
            sum_sq += d * d;
            p.min = p.min.min(x);
            p.max = p.max.max(x);
            p.zeros += u64::from(x == 0.0);
            p.finite += 1;
            counts[bins.bin(v.to_f32())] += 1;
        } else if x.is_nan() {
            p.nan += 1;
        } else {
            p.infinite += 1;
        }
    });
    if p.finite > 0 {
        let n = p.finite as f64;
        p.mean = shift.unwrap_or(0.0) + sum / n;
        p.m2 = (sum_sq - sum * sum / n).max(0.0);
    }
    (p, counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_naive_loop_and_ignores_a_hot_voxel() {
        let mut v: Vec<f32> = (0..700_001i64).map(|i| ((i * 7919) % 10_007) as f32 / 10_007.0 - 0.3).collect();
        v[5] = 1e4;
        v[6] = f32::NAN;
        v[7] = f32::INFINITY;
        v[8] = 0.0;
        let mut c = Statistics::collect(DType::F32);
        let bytes: &[u8] = bytemuck::cast_slice(&v);
        for piece in bytes.chunks(4 * 123_457) {
            c.add(piece);
        }
        let s = c.finish();
        let finite: Vec<f64> = v.iter().filter(|x| x.is_finite()).map(|&x| f64::from(x)).collect();
        let mean = finite.iter().sum::<f64>() / finite.len() as f64;
        let std = (finite.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / finite.len() as f64).sqrt();
        assert_eq!((s.count, s.nan, s.infinite), (700_001, 1, 1));
        assert!((s.mean - mean).abs() < 1e-9 && (s.std / std - 1.0).abs() < 1e-9, "{s:?}");
        assert_eq!(s.max, 1e4);
        let mut sorted = finite.clone();
        sorted.sort_by(f64::total_cmp);
        for (p, q) in s.percentiles {
            let exact = sorted[(p / 100.0 * (sorted.len() - 1) as f64) as usize];
            assert!((q - exact).abs() <= exact.abs() / 128.0 + 1e-4, "p{p}: {q} against {exact}");
        }
    }

    #[test]
    fn sixteen_bit_percentiles_are_exact() {
        let v: Vec<u16> = (0..=u16::MAX).collect();
        let mut c = Statistics::collect(DType::U16);
        c.add(bytemuck::cast_slice(&v));
        let s = c.finish();
        assert_eq!(s.percentiles[2], (50.0, 32767.0));
        assert_eq!((s.min, s.max, s.zeros), (0.0, 65535.0, 1));
    }

    #[test]
    fn rebinning_keeps_every_count_inside() {
        let mut c = Statistics::collect(DType::F32);
        let v: Vec<f32> = (0..10_000).map(|i| i as f32 / 1000.0).collect();
        c.add(bytemuck::cast_slice(&v));
        let s = c.finish();
        assert_eq!(s.histogram.rebin(s.min - 0.1, s.max + 0.1, 50).iter().sum::<u64>(), 10_000);
    }
}
