//! Sums over pairs with AVX-512 in 32-bit floats, sixteen pairs at a time: float32 beside the same, float32 or 8-bit greys.
//!
//! Differences are summed in 64 bits, and rounded to 32 for all else. What the correlation needs besides is small when it
//! is squared: the first value minus that of the first pair, and the difference minus its own. At most [`TERMS`] of these are
//! added up in 32 bits, then the sum goes to 64: off by less than `TERMS × 2⁻²⁴` of what was added. The second values follow
//! from both, so that a correlation close to 1 is told from 1. Where that is not good enough (a chunk that hardly varies
//! beside its first value, one side that varies much less than the other, squares that leave the range of 32 bits) nothing
//! is returned, and the sums in 64 bits decide.

use super::Pairs;
use crate::quantise::fine::{CoarseCounter, increment};
use std::arch::x86_64::*;

const SAME: u8 = 0;
const F32: u8 = 1;
const U8: u8 = 2;

/// Values per vector.
const WIDTH: usize = 16;
/// Values of one lane that are added up in 32 bits.
const TERMS: usize = 32;
/// Values ahead that are fetched, into the first cache only: the processor's own guess ends with each page of memory.
const AHEAD: usize = 2048;
/// Vectors whose bins wait before they are counted: what was just stored as a vector cannot be read in parts before it has
/// reached the cache, and everything behind would wait with it.
const WAITING: usize = 2;
/// Least part of a sum of squares that must be left once the mean is taken out: what is left has lost that much.
const LEFT: f64 = 1.0 / 16.0;
/// Squares below or beyond leave the range of 32 bits.
const SMALLEST: f64 = 1e-16;
const LARGEST: f64 = 1e17;

/// Second values, see [`super::Second`].
#[derive(Clone, Copy)]
pub(super) enum Narrow<'a> {
    Same,
    F32(&'a [f32]),
    U8(&'a [u8], Steps),
}

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
    /// What lies between `low` and `high`.
    span: f64,
    /// Slope and offset.
    exact: (f64, f64),
}

impl Steps {
    /// `None` where 32 bits are not enough for the numbers.
    pub fn new([slope, offset, low, high]: [f64; 4]) -> Option<Steps> {
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
            close: (slack(span, offset) * 1.5) as f32,
            span,
            exact: (slope, offset),
        })
    }
}

/// What a difference from a grey may be off by, besides its own rounding: that of x − offset, at most `reach`, and what is
/// left of the scale's numbers after twice 24 bits.
fn slack(reach: f64, offset: f64) -> f64 {
    let unit = f64::from(f32::EPSILON) / 2.0;
    1.01 * unit * (reach + 4.0 * unit * (offset.abs() + reach))
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

/// Sums over pairs; differences go to `d`, which has room for whole vectors, and those other than 0 are counted: one table
/// increment per pair, which hides behind the arithmetic. `None`, and nothing counted, where 32 bits are not enough or a
/// value is no finite number.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt,fma")]
pub(super) fn sums(a: &[f32], b: Narrow<'_>, d: &mut [f32], counter: &mut CoarseCounter) -> Option<Found> {
    let n = a.len();
    assert!(d.len() >= n.next_multiple_of(WIDTH));
    // SAFETY: as many second values as first ones are there.
    let found = unsafe {
        match b {
            Narrow::Same => whole_or_not::<SAME>(a, a.as_ptr().cast(), None, d, counter),
            Narrow::F32(b) => {
                assert_eq!(b.len(), n);
                whole_or_not::<F32>(a, b.as_ptr().cast(), None, d, counter)
            }
            Narrow::U8(b, steps) => {
                assert_eq!(b.len(), n);
                whole_or_not::<U8>(a, b.as_ptr(), Some(steps), d, counter)
            }
        }
    };
    match &found {
        Some(f) => counter.counted(n, f.extent.0, f.extent.1),
        // Nothing was counted, and `d` is what an earlier run left.
        None if matches!(b, Narrow::Same) => {}
        None => {
            let bins = counter.bins_mut();
            for v in d[..n].iter().filter(|v| **v != 0.0) {
                let count = &mut bins[CoarseCounter::bin(*v)];
                *count = count.wrapping_sub(1);
            }
        }
    }
    found
}

/// Sums of a lane each: first values, their squares, their products with differences.
type Sums<V> = [V; 3];

/// Moves sums to 64 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt,fma")]
fn widen(short: &mut Sums<__m512>, long: &mut Sums<__m512d>) {
    for (s, l) in short.iter_mut().zip(long) {
        let halves = (_mm512_castps512_ps256(*s), _mm512_extractf32x8_ps::<1>(*s));
        *l = _mm512_add_pd(*l, _mm512_add_pd(_mm512_cvtps_pd(halves.0), _mm512_cvtps_pd(halves.1)));
        *s = _mm512_setzero_ps();
    }
}

/// slope · grey + offset − x, rounded once.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt,fma")]
fn in_64_bits(s: &Steps, greys: __m128i, x: __m512) -> __m512 {
    let half = |greys: __m128i, x: __m256| {
        let grey = _mm512_cvtepi32_pd(_mm256_cvtepu8_epi32(greys));
        let value = _mm512_add_pd(_mm512_mul_pd(_mm512_set1_pd(s.exact.0), grey), _mm512_set1_pd(s.exact.1));
        _mm512_cvtpd_ps(_mm512_sub_pd(value, _mm512_cvtps_pd(x)))
    };
    let first = half(greys, _mm512_castps512_ps256(x));
    let second = half(_mm_unpackhi_epi64(greys, greys), _mm512_extractf32x8_ps::<1>(x));
    _mm512_insertf32x8::<1>(_mm512_castps256_ps512(first), second)
}

/// The kernel of whole vectors, which needs no masks, wherever it will do.
///
/// # Safety
/// That of the kernel.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt,fma")]
unsafe fn whole_or_not<const KIND: u8>(
    a: &[f32],
    b: *const u8,
    steps: Option<Steps>,
    d: &mut [f32],
    counter: &mut CoarseCounter,
) -> Option<Found> {
    // SAFETY: the caller's promise.
    unsafe {
        match a.len().is_multiple_of(WIDTH) {
            true => kernel::<KIND, true>(a, b, steps, d, counter),
            false => kernel::<KIND, false>(a, b, steps, d, counter),
        }
    }
}

/// # Safety
/// `b` points at as many values of its kind as `a` has; `d` has room for these in whole vectors; `steps` are there for greys;
/// `WHOLE` where all vectors are.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt,fma")]
unsafe fn kernel<const KIND: u8, const WHOLE: bool>(
    a: &[f32],
    b: *const u8,
    steps: Option<Steps>,
    d: &mut [f32],
    counter: &mut CoarseCounter,
) -> Option<Found> {
    let n = a.len();
    let bins = counter.bins_mut();
    let sign = _mm512_set1_epi32(i32::MIN);
    let lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    let scale = steps.unwrap_or_default();
    let zero = _mm512_setzero_ps();
    let (slope, slope_rest) = (_mm512_set1_ps(scale.slope[0]), _mm512_set1_ps(scale.slope[1]));
    let (offset, offset_rest) = (_mm512_set1_ps(scale.offset[0]), _mm512_set1_ps(scale.offset[1]));
    let (low, high) = (_mm512_set1_ps(scale.low.0), _mm512_set1_ps(scale.high.0));
    let close = _mm512_set1_ps(scale.close);
    let (mut shift_a, mut shift_d) = (zero, zero);
    let mut short: Sums<__m512> = [zero; 3];
    let mut long: Sums<__m512d> = [_mm512_setzero_pd(); 3];
    let (mut sum_d, mut sum_dd, mut sum_abs) = (_mm512_setzero_pd(), _mm512_setzero_pd(), _mm512_setzero_pd());
    let (mut min, mut max) = (_mm512_set1_ps(f32::INFINITY), _mm512_set1_ps(f32::NEG_INFINITY));
    let (mut smallest, mut largest) = (min, max);
    let (mut unequal, mut beyond_scale) = (0u64, 0u64);
    // What is not counted goes to one of the first bins, which are never looked at.
    let (mut waiting, mut turn) = ([[0u64; WIDTH / 2]; WAITING], 0);
    let mut terms = 0;
    for i in (0..n).step_by(WIDTH) {
        let there: __mmask16 = if WHOLE || n - i >= WIDTH { 0xFFFF } else { (1 << (n - i)) - 1 };
        // SAFETY: lanes that are not there are not read, and the others lie within `a`.
        let x = unsafe {
            match there {
                0xFFFF => _mm512_loadu_ps(a.as_ptr().add(i)),
                _ => _mm512_maskz_loadu_ps(there, a.as_ptr().add(i)),
            }
        };
        // Whatever lies there: fetching cannot fail.
        _mm_prefetch::<_MM_HINT_NTA>(a.as_ptr().wrapping_add(i + AHEAD).cast());
        let (mut difference, mut y) = (zero, zero);
        if KIND == F32 {
            _mm_prefetch::<_MM_HINT_NTA>(b.wrapping_add(4 * (i + AHEAD)).cast());
            // SAFETY: as above, for `b`.
            y = unsafe {
                match there {
                    0xFFFF => _mm512_loadu_ps(b.cast::<f32>().add(i)),
                    _ => _mm512_maskz_loadu_ps(there, b.cast::<f32>().add(i)),
                }
            };
            difference = _mm512_sub_ps(y, x);
        }
        if KIND == U8 {
            if i % 64 == 0 {
                _mm_prefetch::<_MM_HINT_NTA>(b.wrapping_add(i + AHEAD).cast());
            }
            // SAFETY: as above, for `b`.
            let g = unsafe {
                match there {
                    0xFFFF => _mm_loadu_si128(b.add(i).cast()),
                    _ => _mm_maskz_loadu_epi8(there, b.add(i).cast()),
                }
            };
            let grey = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(g));
            // slope · grey + offset − x, what is largest first: little is lost.
            let above = _mm512_sub_ps(x, offset);
            let rest = _mm512_fnmsub_ps(slope_rest, grey, offset_rest);
            difference = _mm512_sub_ps(_mm512_fmsub_ps(slope, grey, above), rest);
            let (at_low, at_high) =
                (_mm_cmpeq_epi8_mask(g, _mm_setzero_si128()), _mm_cmpeq_epi8_mask(g, _mm_set1_epi8(-1)));
            let close = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(_mm512_abs_ps(difference), close);
            if (at_low | at_high | close) & there != 0 {
                // Not "inside and not zero".
                let is_low = if scale.low.1 { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(x, low) } else { 0 };
                let is_high = if scale.high.1 { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(x, high) } else { 0 };
                let under = !_mm512_cmp_ps_mask::<_CMP_GE_OQ>(x, low) | _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(x, zero);
                let over = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, high);
                let follows = ((at_low & under & !is_low) | (at_high & over & !is_high)) & there;
                beyond_scale += u64::from(follows.count_ones());
                difference = _mm512_mask_blend_ps(follows, difference, zero);
                let doubtful = close & there & !follows;
                if doubtful != 0 {
                    difference = _mm512_mask_blend_ps(doubtful, difference, in_64_bits(&scale, g, x));
                }
            }
        }
        if i == 0 {
            shift_a = _mm512_broadcastss_ps(_mm512_castps512_ps128(x));
            shift_d = _mm512_broadcastss_ps(_mm512_castps512_ps128(difference));
        }
        min = _mm512_mask_min_ps(min, there, x, min);
        max = _mm512_mask_max_ps(max, there, x, max);
        let u = _mm512_maskz_sub_ps(there, x, shift_a);
        short[0] = _mm512_add_ps(short[0], u);
        short[1] = _mm512_fmadd_ps(u, u, short[1]);
        if KIND != SAME {
            let difference = _mm512_maskz_mov_ps(there, difference);
            let w = _mm512_maskz_sub_ps(there, difference, shift_d);
            short[2] = _mm512_fmadd_ps(u, w, short[2]);
            let halves = |v| [_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v)].map(|h| _mm512_cvtps_pd(h));
            let [mut first, mut second] = halves(difference);
            if KIND == F32 {
                // Rounded to 32 bits for everything but the sums.
                let ([y0, y1], [x0, x1]) = (halves(y), halves(x));
                (first, second) = (_mm512_sub_pd(y0, x0), _mm512_sub_pd(y1, x1));
            }
            for half in [first, second] {
                sum_d = _mm512_add_pd(sum_d, half);
                sum_dd = _mm512_fmadd_pd(half, half, sum_dd);
                sum_abs = _mm512_add_pd(sum_abs, _mm512_abs_pd(half));
            }
            // SAFETY: `d` has room for whole vectors.
            unsafe { _mm512_storeu_ps(d.as_mut_ptr().add(i), difference) };
            let differs = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(difference, zero);
            if differs != 0 {
                unequal += u64::from(differs.count_ones());
                smallest = _mm512_mask_min_ps(smallest, differs, difference, smallest);
                largest = _mm512_mask_max_ps(largest, differs, difference, largest);
                let bits = _mm512_castps_si512(difference);
                let ordered = _mm512_xor_si512(bits, _mm512_or_si512(_mm512_srai_epi32::<31>(bits), sign));
                let of_lane = _mm512_mask_srli_epi32::<{ CoarseCounter::DROPPED }>(lane, differs, ordered);
                let slot = &mut waiting[turn];
                turn = (turn + 1) % WAITING;
                // SAFETY: numbers of lanes and what is left of 32 bits once DROPPED are gone.
                unsafe { increment(bins, slot) };
                // SAFETY: the array holds a vector.
                unsafe { _mm512_storeu_si512(slot.as_mut_ptr().cast(), of_lane) };
            }
        }
        terms += 1;
        if terms == TERMS {
            widen(&mut short, &mut long);
            terms = 0;
        }
    }
    // SAFETY: as above.
    waiting.iter().for_each(|slot| unsafe { increment(bins, slot) });
    widen(&mut short, &mut long);
    let [u, uu, uw] = long.map(|v| _mm512_reduce_add_pd(v));
    let [d, dd, abs] = [sum_d, sum_dd, sum_abs].map(|v| _mm512_reduce_add_pd(v));
    let (min, max) = (f64::from(_mm512_reduce_min_ps(min)), f64::from(_mm512_reduce_max_ps(max)));
    let first = |v| f64::from(_mm512_cvtss_f32(v));
    let (shift_a, shift_d) = (first(shift_a), first(shift_d));
    let extent = (_mm512_reduce_min_ps(smallest), _mm512_reduce_max_ps(largest));
    let worst = if unequal > 0 { extent.0.abs().max(extent.1.abs()) } else { 0.0 };
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
    let slack = match KIND {
        U8 => {
            let offset = scale.exact.1;
            slack((min - offset).abs().max((max - offset).abs()).max(scale.span), offset)
        }
        _ => 0.0,
    };
    Some(Found { pairs, worst, extent, slack, beyond_scale })
}
