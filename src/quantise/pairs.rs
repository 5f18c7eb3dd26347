//! Differences between two runs of values: counts, extremes and sums, mergeable in order, so that the result does not
//! depend on the number of threads.

use super::CoarseCounter;
#[cfg(target_arch = "x86_64")]
use super::cpu;

#[cfg(target_arch = "x86_64")]
mod short;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod wide;

/// Values looked at before anything is decided; also the vector width's multiple.
const LANES: usize = 8;

/// Second values as they lie in a file. Greys come with the slope and offset of their scale and its lowest and highest
/// value; at these they follow the first values, see [`follow`].
#[derive(Clone, Copy)]
pub enum Second<'a> {
    /// The first ones once more.
    Same,
    /// Values.
    F32(&'a [f32]),
    /// Greys of 8 bits.
    U8(&'a [u8], [f64; 4]),
    /// Greys of 16 bits.
    U16(&'a [u16], [f64; 4]),
}

/// Rounding to 32 bits changes a value by less than this part of it, or by less than this.
const NEAR: f64 = 1e-6;
const TINY: f64 = 1e-44;

/// Differences rounded to 32 bits: each off by at most `slack` and a rounding. Empty where none are kept.
#[derive(Clone, Copy)]
struct Rounded<'a> {
    d: &'a [f32],
    slack: f64,
}

/// Differences looked through at once for a large one.
const LOOK: usize = 512;

impl Rounded<'_> {
    /// What a difference of size `v` may have become, at least.
    fn at_least(&self, v: f64) -> f64 {
        v * (1.0 - NEAR) - TINY - self.slack
    }

    /// … and at most.
    #[cfg(target_arch = "x86_64")]
    fn at_most(&self, v: f64) -> f64 {
        v * (1.0 + NEAR) + TINY + self.slack
    }

    /// Which of `n` differences may have size `v` or more.
    fn candidates(&self, n: usize, v: f64) -> impl Iterator<Item = usize> {
        // One below: in 32 bits, where the compiler makes vectors of it.
        let least = (self.at_least(v) as f32).next_down();
        let reaches = move |d: &f32| d.abs() >= least;
        let all = if self.d.is_empty() { 0..n } else { 0..0 };
        let some = self.d.chunks(LOOK).enumerate();
        let some = some.filter(move |(_, c)| any_reaches(c, least));
        all.chain(some.flat_map(move |(i, c)| (0..c.len()).filter(move |k| reaches(&c[*k])).map(move |k| i * LOOK + k)))
    }

    /// How many are larger than `tolerance`, told from the differences themselves (`far`) where the rounded come too close.
    #[cfg(target_arch = "x86_64")]
    fn beyond(&self, largest: f32, tolerance: f64, unequal: u64, far: impl Fn(usize) -> f64) -> u64 {
        if tolerance == 0.0 {
            return unequal;
        }
        let (down, up) = (self.at_least(tolerance), self.at_most(tolerance));
        if f64::from(largest) < down {
            return 0;
        }
        let (surely, perhaps) = self.d.iter().fold((0, 0), |(s, p), d| {
            let m = f64::from(d.abs());
            (s + u64::from(m > up), p + u64::from(m >= down))
        });
        if perhaps == surely {
            return surely;
        }
        let close = |i: &usize| (down..=up).contains(&f64::from(self.d[*i].abs()));
        surely + (0..self.d.len()).filter(close).filter(|i| far(*i) > tolerance).count() as u64
    }
}

/// By the patterns of the sizes, which are in the order of the sizes: the compiler makes vectors of it.
#[inline(always)]
fn reaches_any(d: &[f32], least: f32) -> bool {
    d.iter().fold(0, |most, d| most.max(d.abs().to_bits())) >= least.max(0.0).to_bits()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn reaches_avx2(d: &[f32], least: f32) -> bool {
    reaches_any(d, least)
}

/// True where one of these has size `least` or more.
fn any_reaches(d: &[f32], least: f32) -> bool {
    #[cfg(target_arch = "x86_64")]
    if cpu::avx2() {
        // SAFETY: the instructions were just found on this machine.
        return unsafe { reaches_avx2(d, least) };
    }
    reaches_any(d, least)
}

/// The value of one grey, once it has followed the other side's.
#[cfg(target_arch = "x86_64")]
fn at_end([slope, offset, low, high]: [f64; 4], grey: f64, other: f64) -> f64 {
    let mut value = [slope * grey + offset];
    follow_any(&mut value, (low, high), &[other]);
    value[0]
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

    /// As [`and`](Self::and) from float32 and what else a file holds, without widening it first, and counts the
    /// differences other than 0. How many values lie beyond an end of the scale is returned; `d` is scratch.
    ///
    /// `None` where this machine has no instructions for it or a value is no finite number: go the other way.
    ///
    /// # Panics
    /// Where the lengths differ: a bug of the caller.
    pub fn and_narrow(
        self,
        a: &[f32],
        b: Second<'_>,
        index: u64,
        tolerance: f64,
        d: &mut Vec<f32>,
        counter: &mut CoarseCounter,
    ) -> Option<(Pairs, u64)> {
        #[cfg(target_arch = "x86_64")]
        if cpu::avx512() {
            d.resize(a.len().next_multiple_of(16), 0.0);
            let narrow = match b {
                Second::Same => Some(short::Narrow::Same),
                Second::F32(b) => Some(short::Narrow::F32(b)),
                Second::U8(b, scale) => short::Steps::new(scale).map(|s| short::Narrow::U8(b, s)),
                // A step of 16 bits is too small beside the values.
                Second::U16(..) => None,
            };
            // SAFETY: the instructions were just found on this machine.
            let (mut p, largest, slack, beyond_scale) =
                match narrow.and_then(|b| unsafe { short::sums(a, b, d, counter) }) {
                    Some(f) => (f.pairs, f.worst, f.slack, f.beyond_scale),
                    None => {
                        // SAFETY: as above.
                        let f = unsafe { wide::sums(a, b, d) }?;
                        if f.sums.unequal > 0 {
                            counter.add(&d[..a.len()]);
                        }
                        (f.sums.pairs(a.len() as u64, f.shifts.0, f.shifts.1), f.worst, 0.0, f.beyond_scale)
                    }
                };
            d.truncate(a.len());
            let at = |i: usize| {
                let x = f64::from(a[i]);
                let other = match b {
                    Second::Same => x,
                    Second::F32(b) => f64::from(b[i]),
                    Second::U8(b, scale) => at_end(scale, f64::from(b[i]), x),
                    Second::U16(b, scale) => at_end(scale, f64::from(b[i]), x),
                };
                (x, other)
            };
            let far = |i: usize| (at(i).1 - at(i).0).abs();
            let rounded = Rounded { d: if p.unequal > 0 { d } else { &[] }, slack };
            let mut worst = 0.0;
            if p.unequal > 0 {
                p.beyond = rounded.beyond(largest, tolerance, p.unequal, far);
                let now = self.worst.map_or(-1.0, |w| (w.b - w.a).abs());
                if rounded.at_most(f64::from(largest)) >= now {
                    // The largest lies above the largest rounded one less what both may be off by.
                    let least = now.max(f64::from(largest) - 2.0 * slack);
                    worst = rounded.candidates(a.len(), least).map(far).fold(0.0, f64::max);
                }
            }
            return Some((self.with(p, worst, index, tolerance, rounded, at), beyond_scale));
        }
        let _ = (a, b, index, tolerance, d, counter);
        None
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
}

impl Sums {
    fn pairs(&self, count: u64, shift_a: f64, shift_b: f64) -> Pairs {
        let n = count.max(1) as f64;
        // Differences and products follow from the other sums: b − a = (v − u) + c with u, v relative to the shifts, and
        // 2uv = u² + v² − (v − u)².
        let c = shift_b - shift_a;
        let apart = self.sq - 2.0 * c * (self.b - self.a) - n * c * c;
        let ab = (self.aa + self.bb - apart) / 2.0;
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

#[inline(always)]
fn sums_any(a: &[f64], b: &[f64], tolerance: f64) -> Sums {
    let (sa, sb) = (a.first().copied().unwrap_or(0.0), b.first().copied().unwrap_or(0.0));
    let z = [0f64; LANES];
    let (mut abs, mut sq, mut a1, mut b1, mut aa, mut bb) = (z, z, z, z, z, z);
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
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sums_avx2(a: &[f64], b: &[f64], tolerance: f64) -> Sums {
    sums_any(a, b, tolerance)
}

/// Registers enough for all sums at once.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn sums_avx512(a: &[f64], b: &[f64], tolerance: f64) -> Sums {
    sums_any(a, b, tolerance)
}

/// The same lanes are added in the same order with any instructions: all agree to the last bit.
fn sums(a: &[f64], b: &[f64], tolerance: f64) -> Sums {
    #[cfg(target_arch = "x86_64")]
    if cpu::avx512() {
        // SAFETY: the instructions were just found on this machine (avx512f comes with each of the others).
        return unsafe { sums_avx512(a, b, tolerance) };
    }
    #[cfg(target_arch = "x86_64")]
    if cpu::avx2() {
        // SAFETY: the instructions were just found on this machine.
        return unsafe { sums_avx2(a, b, tolerance) };
    }
    sums_any(a, b, tolerance)
}

/// Branch-free, so that the compiler makes vectors of it.
#[inline(always)]
fn follow_any(own: &mut [f64], (low, high): (f64, f64), other: &[f64]) -> u64 {
    let mut n = 0;
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

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn follow_avx2(own: &mut [f64], ends: (f64, f64), other: &[f64]) -> u64 {
    follow_any(own, ends, other)
}

/// Sets values at the ends of a grey scale to those of the other side where these lie beyond: below the lowest (or are
/// zeros or no numbers, which became the lowest), above the highest. Returns how many.
pub fn follow(own: &mut [f64], ends: (f64, f64), other: &[f64]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if cpu::avx2() {
        // SAFETY: the instructions were just found on this machine.
        return unsafe { follow_avx2(own, ends, other) };
    }
    follow_any(own, ends, other)
}
