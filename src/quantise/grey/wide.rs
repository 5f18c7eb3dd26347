//! float32 to 8 bits with AVX-512, sixteen values at a time in 32-bit arithmetic wherever that cannot change the result.
//!
//! The rule is one of 64-bit floats. A vector whose values all lie inside the limits and far enough from the middle
//! between two greys rounds to the same greys in 32 bits; any other goes the 64-bit way. Far enough: with the limit used
//! here `l ≥ low`, `|l − low| ≤ 2⁻²³·|low|`, and one rounding of 2⁻²⁴ each for the difference, the factor and the
//! product, the error of a grey is below `2⁻²³·|low|·factor + 255·3·2⁻²⁴`.

use super::{Counts, GreyMap, rule};
use std::arch::x86_64::*;

/// A map in 32 bits.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Narrow {
    low: f32,
    high: f32,
    factor: f32,
    /// A grey is safe where the value before rounding lies closer than this.
    near: f32,
}

impl Narrow {
    /// `None` where 32 bits are too few for most values.
    pub fn of(low: f64, high: f64, factor: f64) -> Option<Narrow> {
        // Inside in 32 bits is inside in 64: the nearest floats that are not outside.
        let l = low as f32;
        let l = if f64::from(l) < low { l.next_up() } else { l };
        let h = high as f32;
        let h = if f64::from(h) > high { h.next_down() } else { h };
        let error = (low.abs() * factor * 2.0 + 255.0 * 4.0) * f64::from(f32::EPSILON) / 2.0 * 1.01 + 1e-6;
        let ordinary = l.is_finite() && h.is_finite() && l < h && (1e-30..1e30).contains(&factor);
        // Then nine of ten vectors need no second look.
        (ordinary && error < 0.003).then_some(Narrow {
            low: l,
            high: h,
            factor: factor as f32,
            near: (0.5 - error) as f32,
        })
    }
}

/// The rule for float32 to 8 bits.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt")]
pub(super) fn convert(m: &GreyMap, n: &Narrow, values: &[f32], greys: &mut [u8]) -> Counts {
    assert_eq!(values.len(), greys.len());
    let (low, high) = (_mm512_set1_ps(n.low), _mm512_set1_ps(n.high));
    let (factor, near) = (_mm512_set1_ps(n.factor), _mm512_set1_ps(n.near));
    let mut c = Counts::default();
    let mut exactly = |v: &[f32], g: &mut [u8]| {
        let more = rule(m, v, g);
        c.below += more.below;
        c.above += more.above;
        c.odd += more.odd;
    };
    let (v, v_rest) = values.as_chunks::<16>();
    let (g, g_rest) = greys.as_chunks_mut::<16>();
    for (v, g) in v.iter().zip(g) {
        // SAFETY: sixteen values are there.
        let x = unsafe { _mm512_loadu_ps(v.as_ptr()) };
        let safe = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(x, low);
        let safe = _mm512_mask_cmp_ps_mask::<_CMP_LE_OQ>(safe, x, high);
        let scaled = _mm512_mul_ps(_mm512_sub_ps(x, low), factor);
        let whole = _mm512_cvtps_epi32(scaled);
        let off = _mm512_abs_ps(_mm512_sub_ps(scaled, _mm512_cvtepi32_ps(whole)));
        let safe = _mm512_mask_cmp_ps_mask::<_CMP_LT_OQ>(safe, off, near);
        if safe == __mmask16::MAX {
            // SAFETY: sixteen greys have room.
            unsafe { _mm_storeu_si128(g.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(whole)) };
        } else {
            exactly(v, g);
        }
    }
    exactly(v_rest, g_rest);
    c
}
