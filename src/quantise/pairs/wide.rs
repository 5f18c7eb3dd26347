//! The sums over pairs with AVX-512, straight from the files' types: float32 on one side, float32 or greys on the other.
//! Eight lanes like the portable sums, added in the same order: both agree to the last bit.

use super::{Second, Sums};
use std::arch::x86_64::*;

const SAME: u8 = 0;
const F32: u8 = 1;
const U8: u8 = 2;
const U16: u8 = 3;

/// Sums over pairs; differences go to `d`. `None` where a value is no finite number. Also how many lie beyond an end of
/// the scale, see [`super::follow`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt")]
pub(super) fn sums(a: &[f32], b: Second<'_>, tolerance: f64, d: &mut [f32]) -> Option<(Sums, (f64, f64), u64)> {
    let n = a.len();
    assert!(d.len() >= n);
    let none = [0.0; 4];
    // SAFETY: as many second values as first ones are there.
    unsafe {
        match b {
            Second::Same => kernel::<SAME>(a, a.as_ptr().cast(), none, tolerance, d),
            Second::F32(b) => {
                assert_eq!(b.len(), n);
                kernel::<F32>(a, b.as_ptr().cast(), none, tolerance, d)
            }
            Second::U8(b, scale) => {
                assert_eq!(b.len(), n);
                kernel::<U8>(a, b.as_ptr(), scale, tolerance, d)
            }
            Second::U16(b, scale) => {
                assert_eq!(b.len(), n);
                kernel::<U16>(a, b.as_ptr().cast(), scale, tolerance, d)
            }
        }
    }
}

/// # Safety
/// `b` points at as many values of its kind as `a` has; `d` is no shorter.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt")]
unsafe fn kernel<const KIND: u8>(
    a: &[f32],
    b: *const u8,
    [slope, offset, low, high]: [f64; 4],
    tolerance: f64,
    d: &mut [f32],
) -> Option<(Sums, (f64, f64), u64)> {
    let zero = _mm512_setzero_pd();
    let (slope, offset) = (_mm512_set1_pd(slope), _mm512_set1_pd(offset));
    let (low, high) = (_mm512_set1_pd(low), _mm512_set1_pd(high));
    let limit = _mm512_set1_pd(tolerance);
    let (mut shift_a, mut shift_b) = (zero, zero);
    let (mut sum_abs, mut sum_sq, mut sum_a, mut sum_b, mut sum_aa, mut sum_bb) = (zero, zero, zero, zero, zero, zero);
    let mut worst = zero;
    let (mut min, mut max) = (_mm512_set1_pd(f64::INFINITY), _mm512_set1_pd(f64::NEG_INFINITY));
    let (mut unequal, mut beyond, mut beyond_scale) = (0u64, 0u64, 0u64);
    let n = a.len();
    for i in (0..n).step_by(8) {
        let there: __mmask8 = if n - i >= 8 { 0xFF } else { (1 << (n - i)) - 1 };
        // SAFETY: lanes that are not there are not read, and the others lie within `a` and `b`.
        let x = unsafe { _mm512_cvtps_pd(_mm256_maskz_loadu_ps(there, a.as_ptr().add(i))) };
        // SAFETY: as above.
        let mut y = unsafe {
            match KIND {
                SAME => x,
                F32 => _mm512_cvtps_pd(_mm256_maskz_loadu_ps(there, b.cast::<f32>().add(i))),
                U8 => {
                    let g = _mm_maskz_loadu_epi8(u16::from(there), b.add(i).cast());
                    _mm512_cvtepi32_pd(_mm256_cvtepu8_epi32(g))
                }
                _ => {
                    let g = _mm_maskz_loadu_epi16(there, b.cast::<i16>().add(i));
                    _mm512_cvtepi32_pd(_mm256_cvtepu16_epi32(g))
                }
            }
        };
        if KIND == U8 || KIND == U16 {
            y = _mm512_add_pd(_mm512_mul_pd(slope, y), offset);
            let at_low = _mm512_cmp_pd_mask::<_CMP_EQ_OQ>(y, low);
            let at_high = _mm512_cmp_pd_mask::<_CMP_EQ_OQ>(y, high);
            if (at_low | at_high) & there != 0 {
                // Not "inside and not zero": also true for NaN.
                let under = !_mm512_cmp_pd_mask::<_CMP_GE_OQ>(x, low)
                    | _mm512_cmp_pd_mask::<_CMP_EQ_OQ>(x, zero)
                    | _mm512_cmp_pd_mask::<_CMP_EQ_OQ>(x, _mm512_set1_pd(f64::INFINITY));
                let over = _mm512_cmp_pd_mask::<_CMP_GT_OQ>(x, high);
                let differs = _mm512_cmp_pd_mask::<_CMP_NEQ_UQ>(x, y);
                let follows = ((at_low & under) | (at_high & over)) & differs & there;
                beyond_scale += u64::from(follows.count_ones());
                y = _mm512_mask_blend_pd(follows, y, x);
            }
        }
        if i == 0 {
            shift_a = _mm512_broadcastsd_pd(_mm512_castpd512_pd128(x));
            shift_b = _mm512_broadcastsd_pd(_mm512_castpd512_pd128(y));
        }
        min = _mm512_mask_min_pd(min, there, x, min);
        max = _mm512_mask_max_pd(max, there, x, max);
        let u = _mm512_maskz_sub_pd(there, x, shift_a);
        sum_a = _mm512_add_pd(sum_a, u);
        sum_aa = _mm512_add_pd(sum_aa, _mm512_mul_pd(u, u));
        if KIND != SAME {
            let difference = _mm512_maskz_sub_pd(there, y, x);
            let far = _mm512_abs_pd(difference);
            unequal += u64::from(_mm512_cmp_pd_mask::<_CMP_GT_OQ>(far, zero).count_ones());
            beyond += u64::from(_mm512_mask_cmp_pd_mask::<_CMP_GT_OQ>(there, far, limit).count_ones());
            worst = _mm512_max_pd(far, worst);
            sum_abs = _mm512_add_pd(sum_abs, far);
            sum_sq = _mm512_add_pd(sum_sq, _mm512_mul_pd(difference, difference));
            let v = _mm512_maskz_sub_pd(there, y, shift_b);
            sum_b = _mm512_add_pd(sum_b, v);
            sum_bb = _mm512_add_pd(sum_bb, _mm512_mul_pd(v, v));
            // SAFETY: `d` has room for as many values as `a` has.
            unsafe { _mm256_mask_storeu_ps(d.as_mut_ptr().add(i), there, _mm512_cvtpd_ps(difference)) };
        }
    }
    let lanes = |v: __m512d| {
        let mut out = [0f64; 8];
        // SAFETY: eight values have room.
        unsafe { _mm512_storeu_pd(out.as_mut_ptr(), v) };
        out
    };
    let add = |v: __m512d| lanes(v).iter().sum::<f64>();
    let (abs, a, aa) = (add(sum_abs), add(sum_a), add(sum_aa));
    // Differences of 32-bit floats do not overflow in 64 bits: only NaN and infinities make such a sum.
    if !(abs.is_finite() && a.is_finite()) {
        return None;
    }
    let (b, bb) = if KIND == SAME { (a, aa) } else { (add(sum_b), add(sum_bb)) };
    let s = Sums {
        odd: false,
        unequal,
        beyond,
        worst: lanes(worst).into_iter().fold(0.0, f64::max),
        min: lanes(min).into_iter().fold(f64::INFINITY, f64::min),
        max: lanes(max).into_iter().fold(f64::NEG_INFINITY, f64::max),
        abs,
        sq: add(sum_sq),
        a,
        b,
        aa,
        bb,
    };
    Some((s, (lanes(shift_a)[0], lanes(shift_b)[0]), beyond_scale))
}
