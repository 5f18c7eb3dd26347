//! Sums over pairs in 32-bit floats, as many pairs at a time as a vector holds: float32 beside the same, float32 or greys.
//!
//! Differences are summed in 64 bits, and rounded to 32 for all else. What the correlation needs besides is small when it
//! is squared: the first value minus that of the first pair, and the difference minus its own. At most [`TERMS`] of these are
//! added up in 32 bits, then the sum goes to 64: off by less than `TERMS × 2⁻²⁴` of what was added. The second values follow
//! from both, so that a correlation close to 1 is told from 1. Where that is not good enough (a chunk that hardly varies
//! beside its first value, one side that varies much less than the other, squares that leave the range of 32 bits) nothing
//! is returned, and the sums in 64 bits decide.

use super::lanes::{LEAST, Lanes, MOST, X8, X16};
use super::{Pairs, Second, fetch};
use crate::quantise::cpu::Vectors;
use crate::quantise::fine::{CoarseCounter, increment};

const SAME: u8 = 0;
const F32: u8 = 1;
const U8: u8 = 2;
const U16: u8 = 3;

/// Values of one lane that are added up in 32 bits.
const TERMS: usize = 32;
/// Values ahead that are fetched, into the first cache only: the processor's own guess ends with each page of memory.
const AHEAD: usize = 2048;
/// Values whose bins wait before they are counted: what was just stored as a vector cannot be read in parts before it has
/// reached the cache, and everything behind would wait with it.
const WAITING: usize = 32;
/// Least part of a sum of squares that must be left once the mean is taken out: what is left has lost that much.
const LEFT: f64 = 1.0 / 16.0;
/// Squares below or beyond leave the range of 32 bits.
const SMALLEST: f64 = 1e-16;
const LARGEST: f64 = 1e17;

/// A grey scale in pairs of 32-bit floats that add up to its numbers.
#[derive(Clone, Copy, Default)]
pub(super) struct Steps {
    slope: [f32; 2],
    offset: [f32; 2],
    /// Smallest float that is not below the lowest grey's value, and whether it is that value.
    low: (f32, bool),
    /// Largest float that is not above the highest grey's value, and whether it is that value.
    high: (f32, bool),
    /// Differences up to this may be none at all.
    close: f32,
    /// Bits of a grey.
    bits: u32,
    /// What lies between `low` and `high`.
    span: f64,
    /// Slope and offset.
    exact: (f64, f64),
}

impl Steps {
    /// `None` where 32 bits are not enough for the numbers.
    fn new([slope, offset, low, high]: [f64; 4], bits: u32) -> Option<Steps> {
        let two = |v: f64| [v as f32, (v - f64::from(v as f32)) as f32];
        let span = (high - low).abs();
        let fits = |v: f64| v == 0.0 || (SMALLEST..LARGEST).contains(&v.abs());
        if !(fits(slope) && fits(offset) && fits(low) && fits(high) && slope > 0.0) {
            return None;
        }
        let up = if f64::from(low as f32) < low { (low as f32).next_up() } else { low as f32 };
        let down = if f64::from(high as f32) > high { (high as f32).next_down() } else { high as f32 };
        Some(Steps {
            slope: two(slope),
            offset: two(offset),
            low: (up, f64::from(up) == low),
            high: (down, f64::from(down) == high),
            close: (slack(bits, span, offset) * 1.5) as f32,
            bits,
            span,
            exact: (slope, offset),
        })
    }
}

/// What a difference from a grey may be off by, besides its own rounding: that of x − offset where it is not made good (8
/// bits: a twentieth of the time, for a hundred-thousandth of a step), and what is left of it, of the scale's numbers and of
/// slope · grey after twice 24 bits.
fn slack(bits: u32, reach: f64, offset: f64) -> f64 {
    let unit = f64::from(f32::EPSILON) / 2.0;
    let once = if bits == 8 { 1.01 * reach } else { 0.0 };
    unit * (once + 8.0 * unit * (offset.abs() + reach))
}

/// What the kernel finds.
pub(super) struct Found {
    /// Without `beyond`, `first` and `worst`, which take a look at single pairs.
    pub pairs: Pairs,
    /// The largest difference; any difference is off by at most `slack` and a rounding.
    pub worst: f32,
    /// The smallest and the largest other than 0.
    extent: (f32, f32),
    /// See `worst`.
    pub slack: f64,
    /// Greys at an end of their scale that follow the first values, see [`super::follow`].
    pub beyond_scale: u64,
}

/// Sums over pairs, a multiple of [`MOST`]; differences go to `d`, and those other than 0 are counted: one table increment
/// per pair, which hides behind the arithmetic. `None`, and nothing counted, where 32 bits are not enough or a value is no
/// finite number.
///
/// # Panics
/// Where lengths differ or this machine has no such vectors: a bug of the caller.
pub(super) fn sums(
    with: Vectors,
    a: &[f32],
    b: Second<'_>,
    d: &mut [f32],
    counter: &mut CoarseCounter,
) -> Option<Found> {
    assert!(with.are_there());
    let steps = match b {
        Second::U8(_, scale) => Some(Steps::new(scale, 8)?),
        Second::U16(_, scale) => Some(Steps::new(scale, 16)?),
        Second::Same | Second::F32(_) => None,
    };
    // SAFETY: the instructions were just found on this machine.
    let found = unsafe {
        match with {
            Vectors::Avx512 => sums_avx512(a, b, steps, d, counter),
            Vectors::Avx2 => sums_avx2(a, b, steps, d, counter),
        }
    };
    match &found {
        Some(f) => counter.counted(a.len(), f.extent.0, f.extent.1),
        // Nothing was counted, and `d` is what an earlier run left.
        None if matches!(b, Second::Same) => {}
        None => {
            let bins = counter.bins_mut();
            for v in d.iter().filter(|v| **v != 0.0) {
                let count = &mut bins[CoarseCounter::bin(*v)];
                *count = count.wrapping_sub(1);
            }
        }
    }
    found
}

/// # Safety
/// The instructions are there, and steps for greys.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt,fma")]
unsafe fn sums_avx512(
    a: &[f32],
    b: Second<'_>,
    steps: Option<Steps>,
    d: &mut [f32],
    counter: &mut CoarseCounter,
) -> Option<Found> {
    // SAFETY: the caller's promise.
    unsafe { sums_of::<X16>(a, b, steps, d, counter) }
}

/// # Safety
/// The instructions are there, and steps for greys.
#[target_feature(enable = "avx2,popcnt,fma")]
unsafe fn sums_avx2(
    a: &[f32],
    b: Second<'_>,
    steps: Option<Steps>,
    d: &mut [f32],
    counter: &mut CoarseCounter,
) -> Option<Found> {
    // SAFETY: the caller's promise.
    unsafe { sums_of::<X8>(a, b, steps, d, counter) }
}

/// # Safety
/// The instructions of `L` are there, and steps for greys.
#[inline(always)]
unsafe fn sums_of<L: Lanes>(
    a: &[f32],
    b: Second<'_>,
    steps: Option<Steps>,
    d: &mut [f32],
    counter: &mut CoarseCounter,
) -> Option<Found> {
    let n = a.len();
    assert!(n.is_multiple_of(MOST) && b.len().is_none_or(|m| m == n) && d.len() == n);
    let (p, d) = ((a.as_ptr(), n), d.as_mut_ptr());
    // SAFETY: as was just seen.
    unsafe {
        match b {
            Second::Same => kernel::<L, SAME>(p, a.as_ptr().cast(), steps, d, counter),
            Second::F32(b) => kernel::<L, F32>(p, b.as_ptr().cast(), steps, d, counter),
            Second::U8(b, _) => kernel::<L, U8>(p, b.as_ptr(), steps, d, counter),
            Second::U16(b, _) => kernel::<L, U16>(p, b.as_ptr().cast(), steps, d, counter),
        }
    }
}

/// Sums of a lane each: first values, their squares, their products with differences.
type Sums<V> = [V; 3];

/// Moves sums to 64 bits.
///
/// # Safety
/// The instructions of `L` are there.
#[inline(always)]
unsafe fn widen<L: Lanes>(short: &mut Sums<L::F>, long: &mut Sums<L::D>) {
    for (s, l) in short.iter_mut().zip(long) {
        // SAFETY: the caller's promise.
        unsafe {
            let [first, second] = L::halves(*s);
            *l = L::add_d(*l, L::add_d(first, second));
            *s = L::splat(0.0);
        }
    }
}

/// slope · grey + offset − x, rounded once.
///
/// # Safety
/// The instructions of `L` are there.
#[inline(always)]
unsafe fn in_64_bits<L: Lanes>(s: &Steps, greys: L::G, x: L::F) -> L::F {
    // SAFETY: the caller's promise.
    unsafe {
        let (slope, offset) = (L::splat_d(s.exact.0), L::splat_d(s.exact.1));
        let (mut d, x) = (L::grey_halves(greys), L::halves(x));
        for (d, x) in d.iter_mut().zip(x) {
            *d = L::sub_d(L::add_d(L::mul_d(slope, *d), offset), x);
        }
        L::join(d)
    }
}

/// # Safety
/// The instructions of `L` are there; `n` is a multiple of its width; `a` points at as many values, `b` at as many of its
/// kind, `d` has room for as many; `steps` are there for greys.
#[inline(always)]
unsafe fn kernel<L: Lanes, const KIND: u8>(
    (a, n): (*const f32, usize),
    b: *const u8,
    steps: Option<Steps>,
    d: *mut f32,
    counter: &mut CoarseCounter,
) -> Option<Found> {
    let bins = counter.bins_mut();
    let scale = steps.unwrap_or_default();
    let greys = KIND == U8 || KIND == U16;
    let top = if KIND == U8 { 255 } else { 65535 };
    let (mut unequal, mut beyond_scale) = (0u64, 0u64);
    // What is not counted goes to one of the first bins, which are never looked at.
    let (mut waiting, mut turn) = ([[0u64; MOST / 2]; WAITING / LEAST], 0);
    let mut terms = 0;
    // SAFETY: the caller's promises hold for every step below `n`; bins are numbers of lanes or what is left of 32 bits once
    // DROPPED are gone; fetching cannot fail, whatever lies there.
    unsafe {
        let zero = L::splat(0.0);
        let (slope, slope_rest) = (L::splat(scale.slope[0]), L::splat(-scale.slope[1]));
        let (offset, offset_rest) = (L::splat(scale.offset[0]), L::splat(scale.offset[1]));
        let (low, high) = (L::splat(scale.low.0), L::splat(scale.high.0));
        let close = L::splat(scale.close);
        let (mut shift_a, mut shift_d) = (zero, zero);
        let mut short: Sums<L::F> = [zero; 3];
        let mut long: Sums<L::D> = [L::splat_d(0.0); 3];
        let [mut sum_d, mut sum_dd, mut sum_abs] = long;
        let (mut min, mut max) = (L::splat(f32::INFINITY), L::splat(f32::NEG_INFINITY));
        let mut extent = (min, max);
        for i in (0..n).step_by(L::WIDTH) {
            let x = L::load(a.add(i));
            fetch(a.wrapping_add(i + AHEAD).cast());
            let (mut difference, mut y) = (zero, zero);
            if KIND == F32 {
                fetch(b.wrapping_add(4 * (i + AHEAD)));
                y = L::load(b.cast::<f32>().add(i));
                difference = L::sub(y, x);
            }
            if greys {
                let g = if KIND == U8 { L::greys_of_8(b.add(i)) } else { L::greys_of_16(b.cast::<u16>().add(i)) };
                let size = if KIND == U8 { 1 } else { 2 };
                if (i * size).is_multiple_of(64) {
                    fetch(b.wrapping_add(size * (i + AHEAD)));
                }
                let grey = L::grey_values(g);
                // slope · grey + offset − x, what is largest first: little is lost.
                let above = L::sub(x, offset);
                let mut rest = L::mul_sub(slope_rest, grey, offset_rest);
                if KIND == U16 {
                    // A step is so small beside the values that what was just rounded off counts.
                    let back = L::sub(above, x);
                    let lost = L::sub(L::sub(x, L::sub(above, back)), L::add(offset, back));
                    rest = L::add(rest, lost);
                }
                difference = L::sub(L::mul_sub(slope, grey, above), rest);
                if L::is_special(g, top, L::abs(difference), close) {
                    let (at_low, at_high) = (L::grey_is(g, 0), L::grey_is(g, top));
                    let close = L::at_least(close, L::abs(difference));
                    // Not "inside and not zero".
                    let is_low = if scale.low.1 { L::equal(x, low) } else { 0 };
                    let is_high = if scale.high.1 { L::equal(x, high) } else { 0 };
                    let under = !L::at_least(x, low) | L::equal(x, zero);
                    let over = L::above(x, high);
                    let follows = (at_low & under & !is_low) | (at_high & over & !is_high);
                    beyond_scale += u64::from(follows.count_ones());
                    difference = L::pick(follows, difference, zero);
                    let doubtful = close & !follows;
                    if doubtful != 0 {
                        difference = L::pick(doubtful, difference, in_64_bits::<L>(&scale, g, x));
                    }
                }
            }
            if i == 0 {
                (shift_a, shift_d) = (L::spread(x), L::spread(difference));
            }
            (min, max) = (L::min(x, min), L::max(x, max));
            let u = L::sub(x, shift_a);
            short[0] = L::add(short[0], u);
            short[1] = L::mul_add(u, u, short[1]);
            if KIND != SAME {
                let w = L::sub(difference, shift_d);
                short[2] = L::mul_add(u, w, short[2]);
                let mut halves = L::halves(difference);
                if KIND == F32 {
                    // Rounded to 32 bits for everything but the sums.
                    let (ys, xs) = (L::halves(y), L::halves(x));
                    halves = [L::sub_d(ys[0], xs[0]), L::sub_d(ys[1], xs[1])];
                }
                for half in halves {
                    sum_d = L::add_d(sum_d, half);
                    sum_dd = L::mul_add_d(half, half, sum_dd);
                    sum_abs = L::add_d(sum_abs, L::abs_d(half));
                }
                L::store(difference, d.add(i));
                if L::equal(difference, zero) != L::ALL {
                    extent = L::extent(difference, extent);
                    let slot = &mut waiting[turn];
                    turn = (turn + 1) % (WAITING / L::WIDTH);
                    increment(bins, &slot[..L::WIDTH / 2]);
                    unequal += u64::from(L::bins(difference, slot).count_ones());
                }
            }
            terms += 1;
            if terms == TERMS {
                widen::<L>(&mut short, &mut long);
                terms = 0;
            }
        }
        waiting.iter().for_each(|slot| increment(bins, &slot[..L::WIDTH / 2]));
        widen::<L>(&mut short, &mut long);
        let [u, uu, uw] = [L::sum_d(long[0]), L::sum_d(long[1]), L::sum_d(long[2])];
        let [d, dd, abs] = [L::sum_d(sum_d), L::sum_d(sum_dd), L::sum_d(sum_abs)];
        let fold = |v: L::F, f: fn(f32, f32) -> f32| {
            let mut lanes = [0f32; MOST];
            L::store(v, lanes.as_mut_ptr());
            lanes[..L::WIDTH].iter().copied().reduce(f).unwrap_or(0.0)
        };
        let extremes = [fold(min, f32::min), fold(max, f32::max), fold(extent.0, f32::min), fold(extent.1, f32::max)];
        let first = |v| fold(v, |first, _| first);
        let (shift_a, shift_d) = (first(shift_a), first(shift_d));
        Totals { u, uu, uw, d, dd, abs, shift_a, shift_d, extremes, unequal, beyond_scale }
    }
    .found(n, steps)
}

/// What the lanes add up to.
struct Totals {
    /// First values relative to `shift_a`, their squares, their products with differences relative to `shift_d`.
    u: f64,
    uu: f64,
    uw: f64,
    /// Differences, their squares, their sizes.
    d: f64,
    dd: f64,
    abs: f64,
    shift_a: f32,
    shift_d: f32,
    /// Smallest and largest first value, smallest and largest difference other than 0.
    extremes: [f32; 4],
    unequal: u64,
    beyond_scale: u64,
}

impl Totals {
    /// `None` where 32 bits were not enough.
    fn found(self, n: usize, steps: Option<Steps>) -> Option<Found> {
        let Totals { u, uu, uw, d, dd, abs, unequal, beyond_scale, .. } = self;
        let (shift_a, shift_d) = (f64::from(self.shift_a), f64::from(self.shift_d));
        let [min, max, smallest, largest] = self.extremes;
        let (min, max) = (f64::from(min), f64::from(max));
        let worst = if unequal > 0 { smallest.abs().max(largest.abs()) } else { 0.0 };
        // NaN and infinities end up in the sums, and so do squares that overflow.
        if !(u.is_finite() && uu.is_finite() && abs.is_finite() && uw.is_finite()) {
            return None;
        }
        let count = n.max(1) as f64;
        let m2 = uu - u * u / count;
        // The differences themselves, relative to the first.
        let w = d - shift_d * n as f64;
        let ww = (dd - 2.0 * shift_d * d + shift_d * shift_d * n as f64).max(0.0);
        let m2_d = dd - d * d / count;
        let cross_d = uw - u * w / count;
        let m2_b = m2 + 2.0 * cross_d + m2_d;
        let in_range = |sum: f64| sum == 0.0 || (SMALLEST * SMALLEST..LARGEST * LARGEST).contains(&(sum / count));
        let kept = |left: f64, sum: f64| left >= sum * LEFT;
        let enough = in_range(uu) && in_range(ww) && kept(m2, uu) && kept(m2_d, ww) && kept(m2_b, m2) && kept(m2, m2_b);
        if !enough {
            return None;
        }
        let pairs = Pairs {
            finite: n as u64,
            unequal,
            range_a: (n > 0).then_some((min, max)),
            sum_d: d,
            sum_abs: abs,
            sum_sq: dd,
            mean: (shift_a + u / count, shift_a + shift_d + (u + w) / count),
            m2: (m2.max(0.0), m2_b.max(0.0)),
            cross: m2 + cross_d,
            ..Pairs::default()
        };
        let slack = steps.map_or(0.0, |s| {
            let offset = s.exact.1;
            slack(s.bits, (min - offset).abs().max((max - offset).abs()).max(s.span), offset)
        });
        Some(Found { pairs, worst, extent: (smallest, largest), slack, beyond_scale })
    }
}
