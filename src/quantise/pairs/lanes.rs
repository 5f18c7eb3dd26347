//! Vectors the kernel of [`super::short`] is written for: sixteen lanes of AVX-512, eight of AVX2.
//!
//! All methods are `unsafe` for one reason: the caller must run inside a function compiled for the instructions of the
//! kind; where they take a pointer, as many values as there are lanes lie there, of any alignment. Comparisons give a bit
//! per lane, the first lane's lowest.

use crate::quantise::fine::CoarseCounter;
use std::arch::x86_64::*;

/// Most and fewest lanes of all kinds.
pub(super) const MOST: usize = 16;
pub(super) const LEAST: usize = 8;

/// Bits dropped from an ordered pattern to get its bin.
const DROPPED: i32 = CoarseCounter::DROPPED as i32;

/// A kind of vectors.
pub(super) trait Lanes {
    const WIDTH: usize;
    /// The bits of all lanes.
    const ALL: u32 = u32::MAX >> (32 - Self::WIDTH);
    /// 32-bit floats.
    type F: Copy;
    /// 64-bit floats, half as many.
    type D: Copy;
    /// Greys, widened to 32 bits.
    type G: Copy;

    unsafe fn load(p: *const f32) -> Self::F;
    unsafe fn store(v: Self::F, p: *mut f32);
    unsafe fn splat(v: f32) -> Self::F;
    /// The first lane in all.
    unsafe fn spread(v: Self::F) -> Self::F;
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    /// a · b + c, rounded once.
    unsafe fn mul_add(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// a · b − c, rounded once.
    unsafe fn mul_sub(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    unsafe fn abs(v: Self::F) -> Self::F;
    /// `a == b`; a NaN is not.
    unsafe fn equal(a: Self::F, b: Self::F) -> u32;
    /// `a >= b`; a NaN is not.
    unsafe fn at_least(a: Self::F, b: Self::F) -> u32;
    /// `a > b`; a NaN is not.
    unsafe fn above(a: Self::F, b: Self::F) -> u32;
    /// `yes` where a lane's bit is set.
    unsafe fn pick(bits: u32, no: Self::F, yes: Self::F) -> Self::F;
    /// Smallest and largest of what was so far and of the lanes that are not 0.
    unsafe fn extent(v: Self::F, so_far: (Self::F, Self::F)) -> (Self::F, Self::F);
    /// Bins of the histogram, two per number; a 0 gets one of the first, of its own lane. Which are not 0 is returned.
    unsafe fn bins(v: Self::F, out: &mut [u64; MOST / 2]) -> u32;

    unsafe fn greys_of_8(p: *const u8) -> Self::G;
    unsafe fn greys_of_16(p: *const u16) -> Self::G;
    unsafe fn grey_is(g: Self::G, what: i32) -> u32;
    /// True where a grey is 0 or `top`, or a size is at most `close`.
    unsafe fn is_special(g: Self::G, top: i32, size: Self::F, close: Self::F) -> bool;
    unsafe fn grey_values(g: Self::G) -> Self::F;
    unsafe fn grey_halves(g: Self::G) -> [Self::D; 2];

    unsafe fn halves(v: Self::F) -> [Self::D; 2];
    /// Rounds to 32 bits.
    unsafe fn join(v: [Self::D; 2]) -> Self::F;
    unsafe fn splat_d(v: f64) -> Self::D;
    unsafe fn add_d(a: Self::D, b: Self::D) -> Self::D;
    unsafe fn sub_d(a: Self::D, b: Self::D) -> Self::D;
    unsafe fn mul_d(a: Self::D, b: Self::D) -> Self::D;
    /// a · b + c, rounded once.
    unsafe fn mul_add_d(a: Self::D, b: Self::D, c: Self::D) -> Self::D;
    unsafe fn abs_d(v: Self::D) -> Self::D;
    unsafe fn sum_d(v: Self::D) -> f64;
}

/// AVX-512.
pub(super) struct X16;
/// AVX2 with fused multiply-add.
pub(super) struct X8;

/// What the two kinds spell alike.
macro_rules! alike {
    ($($name:ident($($arg:ident: $t:ty),*) -> $r:ty = $what:ident;)*) => {$(
        #[inline(always)]
        unsafe fn $name($($arg: $t),*) -> $r {
            unsafe { $what($($arg),*) }
        }
    )*};
}

// SAFETY (both): the caller runs inside a function compiled for these instructions, and gives pointers to as many values as
// there are lanes.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Lanes for X16 {
    const WIDTH: usize = 16;
    type F = __m512;
    type D = __m512d;
    type G = __m512i;

    alike! {
        load(p: *const f32) -> __m512 = _mm512_loadu_ps;
        splat(v: f32) -> __m512 = _mm512_set1_ps;
        add(a: __m512, b: __m512) -> __m512 = _mm512_add_ps;
        sub(a: __m512, b: __m512) -> __m512 = _mm512_sub_ps;
        min(a: __m512, b: __m512) -> __m512 = _mm512_min_ps;
        max(a: __m512, b: __m512) -> __m512 = _mm512_max_ps;
        mul_add(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps;
        mul_sub(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmsub_ps;
        abs(v: __m512) -> __m512 = _mm512_abs_ps;
        grey_values(g: __m512i) -> __m512 = _mm512_cvtepi32_ps;
        splat_d(v: f64) -> __m512d = _mm512_set1_pd;
        add_d(a: __m512d, b: __m512d) -> __m512d = _mm512_add_pd;
        sub_d(a: __m512d, b: __m512d) -> __m512d = _mm512_sub_pd;
        mul_d(a: __m512d, b: __m512d) -> __m512d = _mm512_mul_pd;
        mul_add_d(a: __m512d, b: __m512d, c: __m512d) -> __m512d = _mm512_fmadd_pd;
        abs_d(v: __m512d) -> __m512d = _mm512_abs_pd;
        sum_d(v: __m512d) -> f64 = _mm512_reduce_add_pd;
    }
    #[inline(always)]
    unsafe fn store(v: __m512, p: *mut f32) {
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn spread(v: __m512) -> __m512 {
        unsafe { _mm512_broadcastss_ps(_mm512_castps512_ps128(v)) }
    }
    #[inline(always)]
    unsafe fn equal(a: __m512, b: __m512) -> u32 {
        unsafe { u32::from(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b)) }
    }
    #[inline(always)]
    unsafe fn at_least(a: __m512, b: __m512) -> u32 {
        unsafe { u32::from(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(a, b)) }
    }
    #[inline(always)]
    unsafe fn above(a: __m512, b: __m512) -> u32 {
        unsafe { u32::from(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b)) }
    }
    #[inline(always)]
    unsafe fn pick(bits: u32, no: __m512, yes: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(bits as u16, no, yes) }
    }
    #[inline(always)]
    unsafe fn extent(v: __m512, (least, most): (__m512, __m512)) -> (__m512, __m512) {
        unsafe {
            let there = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(v, _mm512_setzero_ps());
            (_mm512_mask_min_ps(least, there, v, least), _mm512_mask_max_ps(most, there, v, most))
        }
    }
    #[inline(always)]
    unsafe fn bins(v: __m512, out: &mut [u64; MOST / 2]) -> u32 {
        unsafe {
            let there = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(v, _mm512_setzero_ps());
            let bits = _mm512_castps_si512(v);
            let sign = _mm512_or_si512(_mm512_srai_epi32::<31>(bits), _mm512_set1_epi32(i32::MIN));
            let lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
            let bins = _mm512_mask_srli_epi32::<{ DROPPED as u32 }>(lane, there, _mm512_xor_si512(bits, sign));
            _mm512_storeu_si512(out.as_mut_ptr().cast(), bins);
            u32::from(there)
        }
    }
    #[inline(always)]
    unsafe fn greys_of_8(p: *const u8) -> __m512i {
        unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast())) }
    }
    #[inline(always)]
    unsafe fn greys_of_16(p: *const u16) -> __m512i {
        unsafe { _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    unsafe fn grey_is(g: __m512i, what: i32) -> u32 {
        unsafe { u32::from(_mm512_cmpeq_epi32_mask(g, _mm512_set1_epi32(what))) }
    }
    #[inline(always)]
    unsafe fn is_special(g: __m512i, top: i32, size: __m512, close: __m512) -> bool {
        unsafe { Self::grey_is(g, 0) | Self::grey_is(g, top) | Self::at_least(close, size) != 0 }
    }
    #[inline(always)]
    unsafe fn grey_halves(g: __m512i) -> [__m512d; 2] {
        unsafe {
            let (first, second) = (_mm512_castsi512_si256(g), _mm512_extracti64x4_epi64::<1>(g));
            [_mm512_cvtepi32_pd(first), _mm512_cvtepi32_pd(second)]
        }
    }
    #[inline(always)]
    unsafe fn halves(v: __m512) -> [__m512d; 2] {
        unsafe { [_mm512_cvtps_pd(_mm512_castps512_ps256(v)), _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(v))] }
    }
    #[inline(always)]
    unsafe fn join([first, second]: [__m512d; 2]) -> __m512 {
        unsafe { _mm512_insertf32x8::<1>(_mm512_castps256_ps512(_mm512_cvtpd_ps(first)), _mm512_cvtpd_ps(second)) }
    }
}

#[allow(clippy::undocumented_unsafe_blocks)]
impl Lanes for X8 {
    const WIDTH: usize = 8;
    type F = __m256;
    type D = __m256d;
    type G = __m256i;

    alike! {
        load(p: *const f32) -> __m256 = _mm256_loadu_ps;
        splat(v: f32) -> __m256 = _mm256_set1_ps;
        add(a: __m256, b: __m256) -> __m256 = _mm256_add_ps;
        sub(a: __m256, b: __m256) -> __m256 = _mm256_sub_ps;
        min(a: __m256, b: __m256) -> __m256 = _mm256_min_ps;
        max(a: __m256, b: __m256) -> __m256 = _mm256_max_ps;
        mul_add(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps;
        mul_sub(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmsub_ps;
        grey_values(g: __m256i) -> __m256 = _mm256_cvtepi32_ps;
        splat_d(v: f64) -> __m256d = _mm256_set1_pd;
        add_d(a: __m256d, b: __m256d) -> __m256d = _mm256_add_pd;
        sub_d(a: __m256d, b: __m256d) -> __m256d = _mm256_sub_pd;
        mul_d(a: __m256d, b: __m256d) -> __m256d = _mm256_mul_pd;
        mul_add_d(a: __m256d, b: __m256d, c: __m256d) -> __m256d = _mm256_fmadd_pd;
    }
    #[inline(always)]
    unsafe fn store(v: __m256, p: *mut f32) {
        unsafe { _mm256_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn spread(v: __m256) -> __m256 {
        unsafe { _mm256_broadcastss_ps(_mm256_castps256_ps128(v)) }
    }
    #[inline(always)]
    unsafe fn abs(v: __m256) -> __m256 {
        unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), v) }
    }
    #[inline(always)]
    unsafe fn equal(a: __m256, b: __m256) -> u32 {
        unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(a, b)) as u32 }
    }
    #[inline(always)]
    unsafe fn at_least(a: __m256, b: __m256) -> u32 {
        unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(a, b)) as u32 }
    }
    #[inline(always)]
    unsafe fn above(a: __m256, b: __m256) -> u32 {
        unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a, b)) as u32 }
    }
    #[inline(always)]
    unsafe fn pick(bits: u32, no: __m256, yes: __m256) -> __m256 {
        unsafe {
            let one = _mm256_set_epi32(128, 64, 32, 16, 8, 4, 2, 1);
            let set = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(bits as i32), one), one);
            _mm256_blendv_ps(no, yes, _mm256_castsi256_ps(set))
        }
    }
    #[inline(always)]
    unsafe fn extent(v: __m256, (least, most): (__m256, __m256)) -> (__m256, __m256) {
        unsafe {
            let there = _mm256_cmp_ps::<_CMP_NEQ_UQ>(v, _mm256_setzero_ps());
            // Where it is 0, what was so far stays; a NaN as the first operand does not change it either.
            let of = |so_far| _mm256_blendv_ps(so_far, v, there);
            (_mm256_min_ps(of(least), least), _mm256_max_ps(of(most), most))
        }
    }
    #[inline(always)]
    unsafe fn bins(v: __m256, out: &mut [u64; MOST / 2]) -> u32 {
        unsafe {
            let there = _mm256_cmp_ps::<_CMP_NEQ_UQ>(v, _mm256_setzero_ps());
            let bits = _mm256_castps_si256(v);
            let sign = _mm256_or_si256(_mm256_srai_epi32::<31>(bits), _mm256_set1_epi32(i32::MIN));
            let lane = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
            let bins = _mm256_srli_epi32::<DROPPED>(_mm256_xor_si256(bits, sign));
            let bins = _mm256_blendv_epi8(lane, bins, _mm256_castps_si256(there));
            _mm256_storeu_si256(out.as_mut_ptr().cast(), bins);
            _mm256_movemask_ps(there) as u32
        }
    }
    #[inline(always)]
    unsafe fn greys_of_8(p: *const u8) -> __m256i {
        unsafe { _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast())) }
    }
    #[inline(always)]
    unsafe fn greys_of_16(p: *const u16) -> __m256i {
        unsafe { _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast())) }
    }
    #[inline(always)]
    unsafe fn grey_is(g: __m256i, what: i32) -> u32 {
        unsafe {
            let same = _mm256_cmpeq_epi32(g, _mm256_set1_epi32(what));
            _mm256_movemask_ps(_mm256_castsi256_ps(same)) as u32
        }
    }
    #[inline(always)]
    unsafe fn is_special(g: __m256i, top: i32, size: __m256, close: __m256) -> bool {
        unsafe {
            let (low, high) = (_mm256_setzero_si256(), _mm256_set1_epi32(top));
            let ends = _mm256_or_si256(_mm256_cmpeq_epi32(g, low), _mm256_cmpeq_epi32(g, high));
            let close = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_GE_OQ>(close, size));
            let any = _mm256_or_si256(ends, close);
            _mm256_testz_si256(any, any) == 0
        }
    }
    #[inline(always)]
    unsafe fn grey_halves(g: __m256i) -> [__m256d; 2] {
        unsafe {
            let (first, second) = (_mm256_castsi256_si128(g), _mm256_extracti128_si256::<1>(g));
            [_mm256_cvtepi32_pd(first), _mm256_cvtepi32_pd(second)]
        }
    }
    #[inline(always)]
    unsafe fn halves(v: __m256) -> [__m256d; 2] {
        unsafe { [_mm256_cvtps_pd(_mm256_castps256_ps128(v)), _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(v))] }
    }
    #[inline(always)]
    unsafe fn join([first, second]: [__m256d; 2]) -> __m256 {
        unsafe { _mm256_set_m128(_mm256_cvtpd_ps(second), _mm256_cvtpd_ps(first)) }
    }
    #[inline(always)]
    unsafe fn abs_d(v: __m256d) -> __m256d {
        unsafe { _mm256_andnot_pd(_mm256_set1_pd(-0.0), v) }
    }
    #[inline(always)]
    unsafe fn sum_d(v: __m256d) -> f64 {
        let mut out = [0f64; 4];
        unsafe { _mm256_storeu_pd(out.as_mut_ptr(), v) };
        out.iter().sum()
    }
}
