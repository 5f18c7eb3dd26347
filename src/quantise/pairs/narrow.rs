//! Pairs straight from the files' types: float32 on one side, float32 or greys on the other. The vectors of [`super::short`]
//! add them up; what single pairs decide is found here, in 64 bits.

use super::{Pairs, follow};
#[cfg(target_arch = "x86_64")]
use super::{lanes, short};
use crate::quantise::CoarseCounter;
#[cfg(target_arch = "x86_64")]
use crate::quantise::cpu;
use multiversion::multiversion;

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

#[cfg(target_arch = "x86_64")]
impl<'a> Second<'a> {
    /// How many; `None` where that is as many as there are first ones.
    pub(super) fn len(self) -> Option<usize> {
        match self {
            Second::Same => None,
            Second::F32(b) => Some(b.len()),
            Second::U8(b, _) => Some(b.len()),
            Second::U16(b, _) => Some(b.len()),
        }
    }

    fn split_at(self, n: usize) -> (Second<'a>, Second<'a>) {
        match self {
            Second::Same => (self, self),
            Second::F32(b) => (Second::F32(&b[..n]), Second::F32(&b[n..])),
            Second::U8(b, s) => (Second::U8(&b[..n], s), Second::U8(&b[n..], s)),
            Second::U16(b, s) => (Second::U16(&b[..n], s), Second::U16(&b[n..], s)),
        }
    }

    /// Values of the lowest and the highest grey.
    fn ends(self) -> Option<(f64, f64)> {
        match self {
            Second::U8(_, [.., low, high]) | Second::U16(_, [.., low, high]) => Some((low, high)),
            Second::Same | Second::F32(_) => None,
        }
    }

    /// The second value beside the first, as it lies there.
    fn stored(self, i: usize, first: f64) -> f64 {
        let value = |grey: f64, [slope, offset, ..]: [f64; 4]| slope * grey + offset;
        match self {
            Second::Same => first,
            Second::F32(b) => f64::from(b[i]),
            Second::U8(b, scale) => value(f64::from(b[i]), scale),
            Second::U16(b, scale) => value(f64::from(b[i]), scale),
        }
    }

    /// … once it has followed the first.
    fn at(self, i: usize, first: f64) -> f64 {
        let mut value = [self.stored(i, first)];
        if let Some(ends) = self.ends() {
            follow(&mut value, ends, &[first]);
        }
        value[0]
    }

    /// Both in 64 bits, as they lie there.
    fn beside(self, a: &[f32]) -> (Vec<f64>, Vec<f64>) {
        let a: Vec<f64> = a.iter().map(|v| f64::from(*v)).collect();
        let b = a.iter().enumerate().map(|(i, v)| self.stored(i, *v)).collect();
        (a, b)
    }
}

/// Rounding to 32 bits changes a value by less than this part of it, or by less than this.
const NEAR: f64 = 1e-6;
const TINY: f64 = 1e-44;

/// Differences rounded to 32 bits: each off by at most `slack` and a rounding. Empty where none are kept.
#[derive(Clone, Copy)]
pub(super) struct Rounded<'a> {
    pub d: &'a [f32],
    pub slack: f64,
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
    pub fn candidates(&self, n: usize, v: f64) -> impl Iterator<Item = usize> {
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

/// True where one of these has size `least` or more. By the patterns of the sizes, which are in the order of the sizes: the
/// compiler makes vectors of it.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn any_reaches(d: &[f32], least: f32) -> bool {
    d.iter().fold(0, |most, d| most.max(d.abs().to_bits())) >= least.max(0.0).to_bits()
}

impl Pairs {
    /// As [`and`](Self::and) from float32 and what else a file holds, without widening it first, and counts the
    /// differences other than 0. How many values lie beyond an end of the scale is returned; `d` is scratch.
    ///
    /// `None`, and nothing counted, where this machine has no instructions for it, 32 bits are not enough or a value is no
    /// finite number: go the other way.
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
        {
            let with = cpu::Vectors::ALL.into_iter().find(|v| v.are_there())?;
            self.and_vectors(with, a, b, index, tolerance, d, counter)
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = (a, b, index, tolerance, d, counter);
            None
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[allow(clippy::too_many_arguments)]
    pub(super) fn and_vectors(
        self,
        with: cpu::Vectors,
        a: &[f32],
        b: Second<'_>,
        index: u64,
        tolerance: f64,
        d: &mut Vec<f32>,
        counter: &mut CoarseCounter,
    ) -> Option<(Pairs, u64)> {
        assert_eq!(a.len(), b.len().unwrap_or(a.len()));
        // What fills no vector goes the other way.
        let whole = a.len() / lanes::MOST * lanes::MOST;
        let (a, last_a) = a.split_at(whole);
        let (b, last_b) = b.split_at(whole);
        let (last_a, mut last_b) = last_b.beside(last_a);
        if !last_a.iter().chain(&last_b).all(|v| v.is_finite()) {
            return None;
        }
        d.resize(whole, 0.0);
        let short::Found { pairs: mut p, worst: largest, slack, mut beyond_scale, .. } =
            short::sums(with, a, b, d, counter)?;
        let at = |i: usize| (f64::from(a[i]), b.at(i, f64::from(a[i])));
        let far = |i: usize| (at(i).1 - at(i).0).abs();
        let rounded = Rounded { d: if p.unequal > 0 { d } else { &[] }, slack };
        let mut worst = 0.0;
        if p.unequal > 0 {
            p.beyond = rounded.beyond(largest, tolerance, p.unequal, far);
            let now = self.worst.map_or(-1.0, |w| (w.b - w.a).abs());
            if rounded.at_most(f64::from(largest)) >= now {
                // The largest lies above the largest rounded one less what both may be off by.
                let least = now.max(f64::from(largest) - 2.0 * slack);
                worst = rounded.candidates(whole, least).map(far).fold(0.0, f64::max);
            }
        }
        let mut all = self.with(p, worst, index, tolerance, rounded, at);
        if !last_a.is_empty() {
            beyond_scale += b.ends().map_or(0, |ends| follow(&mut last_b, ends, &last_a));
            all = all.and(&last_a, &last_b, index + whole as u64, tolerance);
            let last = last_a.iter().zip(&last_b).map(|(a, b)| (b - a) as f32);
            let before = d.len();
            d.extend(last);
            counter.add(&d[before..]);
        }
        Some((all, beyond_scale))
    }
}
