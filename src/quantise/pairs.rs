//! Differences between two runs of values: counts, extremes and sums, mergeable in order, so that the result does not
//! depend on the number of threads.

use multiversion::multiversion;

mod joint;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod narrow;
#[cfg(target_arch = "x86_64")]
mod short;
#[cfg(test)]
mod tests;

pub use joint::{Greys, Joint};
use narrow::Rounded;
pub use narrow::Second;

/// Values looked at before anything is decided; also the vector width's multiple.
const LANES: usize = 8;

/// Asks for what lies there; any address will do.
#[inline(always)]
fn fetch(p: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing and faults nowhere.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_NTA, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_NTA>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// A pair of values and where it lies.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pair {
    /// Index of the voxel.
    pub index: u64,
    /// Value of the first.
    pub a: f64,
    /// Value of the second.
    pub b: f64,
}

/// What pairs of values have in common. Differences are `b − a`; pairs with a NaN or an infinity are counted apart.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pairs {
    /// Pairs of finite values.
    pub finite: u64,
    /// Of these, unequal ones.
    pub unequal: u64,
    /// Pairs of which one or both are no finite number, and which are the same (both NaN, or the same infinity).
    pub odd_same: u64,
    /// … and which are not the same.
    pub odd_differ: u64,
    /// Pairs further apart than the tolerance, odd ones that differ included.
    pub beyond: u64,
    /// The first of them.
    pub first: Option<Pair>,
    /// The finite pair with the largest difference; the first where several are equal.
    pub worst: Option<Pair>,
    /// Smallest and largest finite `a`.
    pub range_a: Option<(f64, f64)>,
    sum_d: f64,
    sum_abs: f64,
    sum_sq: f64,
    mean: (f64, f64),
    m2: (f64, f64),
    cross: f64,
}

impl Pairs {
    /// Looks at pairs that begin at voxel `index`.
    ///
    /// # Panics
    /// Where the lengths differ: a bug of the caller.
    pub fn of(a: &[f64], b: &[f64], index: u64, tolerance: f64) -> Pairs {
        Pairs::default().and(a, b, index, tolerance)
    }

    /// These, then pairs that begin at voxel `index`: where the worst and the first lie is only looked for where it
    /// changes.
    ///
    /// # Panics
    /// Where the lengths differ: a bug of the caller.
    pub fn and(self, a: &[f64], b: &[f64], index: u64, tolerance: f64) -> Pairs {
        assert_eq!(a.len(), b.len());
        let s = sums(a, b, tolerance);
        if s.odd {
            return self.and_runs(a, b, index, tolerance);
        }
        let shifts = (a.first().copied().unwrap_or(0.0), b.first().copied().unwrap_or(0.0));
        let p = s.pairs(a.len() as u64, shifts.0, shifts.1);
        self.with(p, s.worst, index, tolerance, Rounded { d: &[], slack: 0.0 }, |i| (a[i], b[i]))
    }

    /// These, then `p`, of which the worst and the first pair are still to be found: `worst` is its largest difference,
    /// `at` gives a pair, the rounded differences are quicker to look through.
    fn with(
        self,
        mut p: Pairs,
        worst: f64,
        index: u64,
        tolerance: f64,
        rounded: Rounded<'_>,
        at: impl Fn(usize) -> (f64, f64),
    ) -> Pairs {
        let n = p.finite as usize;
        let far = |i: usize| (at(i).1 - at(i).0).abs();
        let pair = |i: usize| Pair { index: index + i as u64, a: at(i).0, b: at(i).1 };
        if p.unequal > 0 && self.worst.is_none_or(|w| worst > (w.b - w.a).abs()) {
            p.worst = rounded.candidates(n, worst).find(|&i| far(i) == worst).map(pair);
        }
        if p.beyond > 0 && self.first.is_none() {
            p.first = rounded.candidates(n, tolerance).find(|&i| far(i) > tolerance).map(pair);
        }
        self.then(p)
    }

    /// As [`and`](Self::and) where some values are no finite numbers: runs of those that are go the fast way.
    fn and_runs(mut self, a: &[f64], b: &[f64], index: u64, tolerance: f64) -> Pairs {
        let finite = |i: usize| (a[i].abs() + b[i].abs()) <= f64::MAX;
        let mut i = 0;
        while i < a.len() {
            let end = (i..a.len()).find(|&j| !finite(j)).unwrap_or(a.len());
            if end > i {
                self = self.and(&a[i..end], &b[i..end], index + i as u64, tolerance);
                i = end;
                continue;
            }
            if a[i] == b[i] || (a[i].is_nan() && b[i].is_nan()) {
                self.odd_same += 1;
            } else {
                self.odd_differ += 1;
                self.beyond += 1;
                self.first = self.first.or(Some(Pair { index: index + i as u64, a: a[i], b: b[i] }));
            }
            i += 1;
        }
        self
    }

    /// Only where the first and the worst lie, to begin with what comes later: what is no worse is not looked for.
    pub fn places(self) -> Pairs {
        Pairs { first: self.first, worst: self.worst, ..Pairs::default() }
    }

    /// These, then those that come later.
    pub fn then(self, o: Pairs) -> Pairs {
        let n = self.finite + o.finite;
        let share = if n == 0 { 0.0 } else { o.finite as f64 / n as f64 };
        let d = (o.mean.0 - self.mean.0, o.mean.1 - self.mean.1);
        let weight = self.finite as f64 * share;
        let far = |p: &Option<Pair>| p.map_or(-1.0, |p| (p.b - p.a).abs());
        Pairs {
            finite: n,
            unequal: self.unequal + o.unequal,
            odd_same: self.odd_same + o.odd_same,
            odd_differ: self.odd_differ + o.odd_differ,
            beyond: self.beyond + o.beyond,
            first: self.first.or(o.first),
            worst: if far(&o.worst) > far(&self.worst) { o.worst } else { self.worst },
            range_a: match (self.range_a, o.range_a) {
                (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
                (x, y) => x.or(y),
            },
            sum_d: self.sum_d + o.sum_d,
            sum_abs: self.sum_abs + o.sum_abs,
            sum_sq: self.sum_sq + o.sum_sq,
            mean: (self.mean.0 + d.0 * share, self.mean.1 + d.1 * share),
            m2: (self.m2.0 + o.m2.0 + d.0 * d.0 * weight, self.m2.1 + o.m2.1 + d.1 * d.1 * weight),
            cross: self.cross + o.cross + d.0 * d.1 * weight,
        }
    }

    /// Equal greys, seen as what they stand for on a scale that turns nothing around.
    pub fn of_equal(self, slope: f64, offset: f64) -> Pairs {
        debug_assert!(self.unequal == 0 && self.odd_differ == 0 && slope > 0.0);
        let value = |grey: f64| slope * grey + offset;
        let squared = slope * slope;
        Pairs {
            range_a: self.range_a.map(|(low, high)| (value(low), value(high))),
            mean: (value(self.mean.0), value(self.mean.1)),
            m2: (self.m2.0 * squared, self.m2.1 * squared),
            cross: self.cross * squared,
            ..self
        }
    }

    fn per_pair(&self, sum: f64) -> Option<f64> {
        (self.finite > 0).then(|| sum / self.finite as f64)
    }

    /// Mean of `b − a`.
    pub fn mean_difference(&self) -> Option<f64> {
        self.per_pair(self.sum_d)
    }

    /// Mean of `|b − a|`.
    pub fn mean_absolute(&self) -> Option<f64> {
        self.per_pair(self.sum_abs)
    }

    /// Root of the mean of `(b − a)²`.
    pub fn rms(&self) -> Option<f64> {
        self.per_pair(self.sum_sq).map(f64::sqrt)
    }

    /// Peak signal to noise ratio in dB, the peak being the range of `a`; `None` where the two are equal or `a` is flat.
    pub fn psnr(&self) -> Option<f64> {
        let (low, high) = self.range_a?;
        let db = 20.0 * ((high - low) / self.rms()?).log10();
        db.is_finite().then_some(db)
    }

    /// Pearson's correlation; `None` where one of the two is flat.
    pub fn correlation(&self) -> Option<f64> {
        if self.unequal == 0 {
            // Exactly, whatever was rounded on the way.
            return (self.m2.0 > 0.0).then_some(1.0);
        }
        let r = self.cross / (self.m2.0.sqrt() * self.m2.1.sqrt());
        r.is_finite().then(|| r.clamp(-1.0, 1.0))
    }
}

/// Sums over a run without odd values; `a`, `b` relative to their first values, which keeps the variance exact enough.
struct Sums {
    odd: bool,
    unequal: u64,
    beyond: u64,
    worst: f64,
    min: f64,
    max: f64,
    abs: f64,
    sq: f64,
    a: f64,
    b: f64,
    aa: f64,
    bb: f64,
    ab: f64,
}

impl Sums {
    fn pairs(&self, count: u64, shift_a: f64, shift_b: f64) -> Pairs {
        let n = count.max(1) as f64;
        // Differences and products follow from the other sums: b − a = (v − u) + c with u, v relative to the shifts, and
        // 2uv = u² + v² − (v − u)², which tells a correlation close to 1 from 1. Where one side is so much larger that the
        // other is lost in it, products are summed themselves.
        let c = shift_b - shift_a;
        let apart = self.sq - 2.0 * c * (self.b - self.a) - n * c * c;
        let alike = self.aa.max(self.bb) <= 1e6 * self.aa.min(self.bb);
        let ab = if alike { (self.aa + self.bb - apart) / 2.0 } else { self.ab };
        Pairs {
            finite: count,
            unequal: self.unequal,
            beyond: self.beyond,
            range_a: (count > 0).then_some((self.min, self.max)),
            sum_d: if count > 0 { self.b - self.a + n * c } else { 0.0 },
            sum_abs: self.abs,
            sum_sq: self.sq,
            mean: (shift_a + self.a / n, shift_b + self.b / n),
            m2: ((self.aa - self.a * self.a / n).max(0.0), (self.bb - self.b * self.b / n).max(0.0)),
            cross: ab - self.a * self.b / n,
            ..Pairs::default()
        }
    }
}

/// The same lanes are added in the same order with any instructions: all agree to the last bit.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn sums(a: &[f64], b: &[f64], tolerance: f64) -> Sums {
    let (sa, sb) = (a.first().copied().unwrap_or(0.0), b.first().copied().unwrap_or(0.0));
    let z = [0f64; LANES];
    let (mut abs, mut sq, mut a1, mut b1, mut aa, mut bb, mut ab) = (z, z, z, z, z, z, z);
    let (mut worst, mut min, mut max) = (z, [f64::INFINITY; LANES], [f64::NEG_INFINITY; LANES]);
    let (mut unequal, mut beyond, mut odd) = ([0u64; LANES], [0u64; LANES], [0u64; LANES]);
    let mut step = |k: usize, x: f64, y: f64| {
        let d = y - x;
        let m = d.abs();
        // NaN and infinities make the difference odd, or the sum of the two.
        let finite = (x.abs() + y.abs()) <= f64::MAX;
        odd[k] += u64::from(!finite);
        unequal[k] += u64::from(m > 0.0);
        beyond[k] += u64::from(m > tolerance);
        worst[k] = if m > worst[k] { m } else { worst[k] };
        min[k] = if x < min[k] { x } else { min[k] };
        max[k] = if x > max[k] { x } else { max[k] };
        let (u, v) = (x - sa, y - sb);
        abs[k] += m;
        sq[k] += d * d;
        a1[k] += u;
        b1[k] += v;
        aa[k] += u * u;
        bb[k] += v * v;
        ab[k] += u * v;
    };
    let (head_a, tail_a) = a.as_chunks::<LANES>();
    let (head_b, tail_b) = b.as_chunks::<LANES>();
    for (x, y) in head_a.iter().zip(head_b) {
        for k in 0..LANES {
            step(k, x[k], y[k]);
        }
    }
    for (k, (x, y)) in tail_a.iter().zip(tail_b).enumerate() {
        step(k, *x, *y);
    }
    let add = |v: [f64; LANES]| v.iter().sum::<f64>();
    Sums {
        odd: odd.iter().any(|n| *n > 0),
        unequal: unequal.iter().sum(),
        beyond: beyond.iter().sum(),
        worst: worst.iter().copied().fold(0.0, f64::max),
        min: min.iter().copied().fold(f64::INFINITY, f64::min),
        max: max.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        abs: add(abs),
        sq: add(sq),
        a: add(a1),
        b: add(b1),
        aa: add(aa),
        bb: add(bb),
        ab: add(ab),
    }
}

/// Greys become the values they stand for.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub fn to_values(greys: &mut [f64], slope: f64, offset: f64) {
    greys.iter_mut().for_each(|v| *v = slope * *v + offset);
}

/// Sets values at the ends of a grey scale to those of the other side where these lie beyond: below the lowest (or are
/// zeros or no numbers, which became the lowest), above the highest. Returns how many.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub fn follow(own: &mut [f64], ends: (f64, f64), other: &[f64]) -> u64 {
    // Branch-free, so that the compiler makes vectors of it.
    let ((low, high), mut n) = (ends, 0);
    for (v, &o) in own.iter_mut().zip(other) {
        // False for NaN and infinities.
        let finite = o.abs() <= f64::MAX;
        let below = (*v == low) & ((o < low) | (o == 0.0) | !finite);
        let beyond = (below | ((*v == high) & (o > high))) & (*v != o);
        n += u64::from(beyond);
        *v = if beyond { o } else { *v };
    }
    n
}
