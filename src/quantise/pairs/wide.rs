//! The sums over pairs with AVX-512, straight from the files' types: float32 on one side, float32 or greys on the other.
//! Eight lanes like the portable sums, added in the same order: both agree to the last bit.

use super::{Second, Sums};
use std::arch::x86_64::*;

const SAME: u8 = 0;
const F32: u8 = 1;
const U8: u8 = 2;
const U16: u8 = 3;

/// What the kernel finds.
pub(super) struct Wide {
    /// Without `beyond` and `worst`, which take a look at single pairs.
    pub sums: Sums,
    /// The first pair.
    pub shifts: (f64, f64),
    /// The largest difference, rounded to 32 bits.
    pub worst: f32,
    /// Greys at an end of their scale that follow the first values, see [`super::follow`].
    pub beyond_scale: u64,
}

/// Sums over pairs; differences go to `d`, which has room for whole vectors. `None` where a value is no finite number.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt")]
pub(super) fn sums(a: &[f32], b: Second<'_>, d: &mut [f32]) -> Option<Wide> {
    let n = a.len();
    // Lanes count up to 2^24 exactly.
    assert!(d.len() >= n.next_multiple_of(8) && n <= 1 << 24);
    let none = [0.0; 4];
    // SAFETY: as many second values as first ones are there.
    unsafe {
        match b {
            Second::Same => kernel::<SAME>(a, a.as_ptr().cast(), none, d),
            Second::F32(b) => {
                assert_eq!(b.len(), n);
                kernel::<F32>(a, b.as_ptr().cast(), none, d)
            }
            Second::U8(b, scale) => {
                assert_eq!(b.len(), n);
                kernel::<U8>(a, b.as_ptr(), scale, d)
            }
            Second::U16(b, scale) => {
                assert_eq!(b.len(), n);
                kernel::<U16>(a, b.as_ptr().cast(), scale, d)
            }
        }
    }
}

/// Second values and which of them are the lowest and the highest grey.
type Loaded = (__m512d, __mmask8, __mmask8);

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt")]
fn of_u8(g: __m128i) -> Loaded {
    let (low, high) = (_mm_cmpeq_epi8_mask(g, _mm_setzero_si128()), _mm_cmpeq_epi8_mask(g, _mm_set1_epi8(-1)));
    (_mm512_cvtepi32_pd(_mm256_cvtepu8_epi32(g)), low as u8, high as u8)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt")]
fn of_u16(g: __m128i) -> Loaded {
    let (low, high) = (_mm_cmpeq_epi16_mask(g, _mm_setzero_si128()), _mm_cmpeq_epi16_mask(g, _mm_set1_epi16(-1)));
    (_mm512_cvtepi32_pd(_mm256_cvtepu16_epi32(g)), low, high)
}

/// Eight second values.
///
/// # Safety
/// They are there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt")]
unsafe fn whole<const KIND: u8>(b: *const u8, i: usize) -> Loaded {
    // SAFETY: the caller's.
    unsafe {
        match KIND {
            SAME => (_mm512_setzero_pd(), 0, 0),
            F32 => (_mm512_cvtps_pd(_mm256_loadu_ps(b.cast::<f32>().add(i))), 0, 0),
            U8 => of_u8(_mm_loadl_epi64(b.add(i).cast())),
            _ => of_u16(_mm_loadu_si128(b.cast::<u16>().add(i).cast())),
        }
    }
}

/// Fewer than eight second values.
///
/// # Safety
/// Those that `there` names are there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt")]
unsafe fn part<const KIND: u8>(b: *const u8, i: usize, there: __mmask8) -> Loaded {
    // SAFETY: the caller's.
    unsafe {
        match KIND {
            SAME => (_mm512_setzero_pd(), 0, 0),
            F32 => (_mm512_cvtps_pd(_mm256_maskz_loadu_ps(there, b.cast::<f32>().add(i))), 0, 0),
            U8 => of_u8(_mm_maskz_loadu_epi8(u16::from(there), b.add(i).cast())),
            _ => of_u16(_mm_maskz_loadu_epi16(there, b.cast::<i16>().add(i))),
        }
    }
}

/// # Safety
/// `b` points at as many values of its kind as `a` has; `d` has room for these in whole vectors.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt")]
unsafe fn kernel<const KIND: u8>(
    a: &[f32],
    b: *const u8,
    [slope, offset, low, high]: [f64; 4],
    d: &mut [f32],
) -> Option<Wide> {
    let zero = _mm512_setzero_pd();
    let (slope, offset) = (_mm512_set1_pd(slope), _mm512_set1_pd(offset));
    let (low, high) = (_mm512_set1_pd(low), _mm512_set1_pd(high));
    let (mut shift_a, mut shift_b) = (zero, zero);
    let (mut sum_abs, mut sum_sq, mut sum_a, mut sum_b, mut sum_aa, mut sum_bb) = (zero, zero, zero, zero, zero, zero);
    let (mut min, mut max) = (_mm256_set1_ps(f32::INFINITY), _mm256_set1_ps(f32::NEG_INFINITY));
    let mut worst = _mm256_setzero_ps();
    let (mut unequal, mut beyond_scale) = (_mm256_setzero_si256(), 0u64);
    let n = a.len();
    for i in (0..n).step_by(8) {
        let there: __mmask8 = if n - i >= 8 { 0xFF } else { (1 << (n - i)) - 1 };
        // SAFETY: lanes that are not there are not read, and the others lie within `a` and `b`.
        let (first, (mut y, at_low, at_high)) = unsafe {
            match there {
                0xFF => (_mm256_loadu_ps(a.as_ptr().add(i)), whole::<KIND>(b, i)),
                _ => (_mm256_maskz_loadu_ps(there, a.as_ptr().add(i)), part::<KIND>(b, i, there)),
            }
        };
        let x = _mm512_cvtps_pd(first);
        if KIND == SAME {
            y = x;
        }
        if KIND == U8 || KIND == U16 {
            y = _mm512_add_pd(_mm512_mul_pd(slope, y), offset);
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
        min = _mm256_mask_min_ps(min, there, first, min);
        max = _mm256_mask_max_ps(max, there, first, max);
        let u = _mm512_maskz_sub_pd(there, x, shift_a);
        sum_a = _mm512_add_pd(sum_a, u);
        sum_aa = _mm512_add_pd(sum_aa, _mm512_mul_pd(u, u));
        if KIND != SAME {
            let difference = _mm512_maskz_sub_pd(there, y, x);
            let far = _mm512_abs_pd(difference);
            sum_abs = _mm512_add_pd(sum_abs, far);
            sum_sq = _mm512_add_pd(sum_sq, _mm512_mul_pd(difference, difference));
            let v = _mm512_maskz_sub_pd(there, y, shift_b);
            sum_b = _mm512_add_pd(sum_b, v);
            sum_bb = _mm512_add_pd(sum_bb, _mm512_mul_pd(v, v));
            let short = _mm512_cvtpd_ps(difference);
            worst = _mm256_max_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0), short), worst);
            let differs = _mm256_cmp_ps_mask::<_CMP_NEQ_UQ>(short, _mm256_setzero_ps());
            unequal = _mm256_mask_sub_epi32(unequal, differs, unequal, _mm256_set1_epi32(-1));
            // SAFETY: `d` has room for whole vectors.
            unsafe { _mm256_storeu_ps(d.as_mut_ptr().add(i), short) };
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
    let narrow = |v: __m256| {
        let mut out = [0f32; 8];
        // SAFETY: eight values have room.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), v) };
        out
    };
    let sums = Sums {
        odd: false,
        unequal: narrow(_mm256_cvtepi32_ps(unequal)).into_iter().map(|n| n as u64).sum(),
        beyond: 0,
        worst: 0.0,
        min: f64::from(narrow(min).into_iter().fold(f32::INFINITY, f32::min)),
        max: f64::from(narrow(max).into_iter().fold(f32::NEG_INFINITY, f32::max)),
        abs,
        sq: add(sum_sq),
        a,
        b,
        aa,
        bb,
    };
    let worst = narrow(worst).into_iter().fold(0.0, f32::max);
    Some(Wide { sums, shifts: (lanes(shift_a)[0], lanes(shift_b)[0]), worst, beyond_scale })
}
