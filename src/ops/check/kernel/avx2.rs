//! The same with vectors: what makes the look as fast as memory. Whole numbers stay what they are, so that as many fit.

use super::{CELL, Kinds, Lanes, Masks, add_up};
use std::arch::x86_64::*;

/// AVX2.
pub struct Avx2;

impl Kinds for Avx2 {
    type Floats = Floats;
    type Bytes = Bytes;
    type Words = Words;
}

/// Eight floats per instruction.
pub struct Floats {
    sum: __m256,
    min: __m256,
    max: __m256,
    equal: __m256i,
    saturated: __m256i,
    top: __m256,
}

impl Lanes<f32> for Floats {
    #[inline(always)]
    fn new(top: f32) -> Self {
        // SAFETY: made only by `look_avx2`, which is called where the processor has AVX2.
        unsafe {
            Floats {
                sum: _mm256_setzero_ps(),
                min: _mm256_set1_ps(f32::INFINITY),
                max: _mm256_set1_ps(f32::NEG_INFINITY),
                equal: _mm256_setzero_si256(),
                saturated: _mm256_setzero_si256(),
                top: _mm256_set1_ps(top),
            }
        }
    }

    #[inline(always)]
    fn add(&mut self, v: &[f32; CELL], near: &[f32; CELL]) -> Masks {
        // SAFETY: the processor has AVX2 (see `new`); the unaligned loads stay within the arrays of 16 floats.
        unsafe {
            let (a, b) = (_mm256_loadu_ps(v.as_ptr()), _mm256_loadu_ps(v.as_ptr().add(8)));
            let (na, nb) = (_mm256_loadu_ps(near.as_ptr()), _mm256_loadu_ps(near.as_ptr().add(8)));
            let abs = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fff_ffff));
            let most = _mm256_set1_epi32(0x7f7f_ffff);
            // Written out: a closure would be a function without AVX2.
            let odd_a = _mm256_cmpgt_epi32(_mm256_castps_si256(_mm256_and_ps(a, abs)), most);
            let odd_b = _mm256_cmpgt_epi32(_mm256_castps_si256(_mm256_and_ps(b, abs)), most);
            let zero = _mm256_setzero_ps();
            let (za, zb) = (_mm256_cmp_ps::<_CMP_EQ_OQ>(a, zero), _mm256_cmp_ps::<_CMP_EQ_OQ>(b, zero));
            let bits = (_mm256_movemask_ps(za) | _mm256_movemask_ps(zb) << 8) as u32;
            let bad = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_or_si256(odd_a, odd_b))) as u32;
            if bad != 0 {
                return Masks { zero: bits, odd: bad };
            }
            // Comparisons give −1.
            let same_a = _mm256_andnot_ps(za, _mm256_cmp_ps::<_CMP_EQ_OQ>(a, na));
            let same_b = _mm256_andnot_ps(zb, _mm256_cmp_ps::<_CMP_EQ_OQ>(b, nb));
            let same = _mm256_add_epi32(_mm256_castps_si256(same_a), _mm256_castps_si256(same_b));
            self.equal = _mm256_sub_epi32(self.equal, same);
            let full_a = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_EQ_OQ>(a, self.top));
            let full_b = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_EQ_OQ>(b, self.top));
            self.saturated = _mm256_sub_epi32(self.saturated, _mm256_add_epi32(full_a, full_b));
            self.min = _mm256_min_ps(self.min, _mm256_min_ps(a, b));
            self.max = _mm256_max_ps(self.max, _mm256_max_ps(a, b));
            self.sum = _mm256_add_ps(self.sum, _mm256_add_ps(a, b));
            Masks { zero: bits, odd: 0 }
        }
    }

    #[inline(always)]
    fn take_sum(&mut self) -> f32 {
        let mut v = [0f32; 8];
        // SAFETY: as in `add`; the array takes 8 floats.
        unsafe {
            _mm256_storeu_ps(v.as_mut_ptr(), self.sum);
            self.sum = _mm256_setzero_ps();
        }
        add_up(&v)
    }

    #[inline(always)]
    fn end(&self) -> (f32, f32, u64, u64) {
        let (mut low, mut high, mut equal, mut full) = ([0f32; 8], [0f32; 8], [0u32; 8], [0u32; 8]);
        // SAFETY: as in `add`; each array takes 32 bytes.
        unsafe {
            _mm256_storeu_ps(low.as_mut_ptr(), self.min);
            _mm256_storeu_ps(high.as_mut_ptr(), self.max);
            _mm256_storeu_si256(equal.as_mut_ptr().cast(), self.equal);
            _mm256_storeu_si256(full.as_mut_ptr().cast(), self.saturated);
        }
        let count = |v: &[u32]| v.iter().map(|n| u64::from(*n)).sum();
        let low = low.iter().fold(f32::INFINITY, |a, b| a.min(*b));
        (low, high.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b)), count(&equal), count(&full))
    }
}

/// Sixteen bytes per instruction.
pub struct Bytes {
    sum: __m128i,
    min: __m128i,
    max: __m128i,
    equal: u64,
    saturated: u64,
    seen: bool,
}

impl Lanes<u8> for Bytes {
    #[inline(always)]
    fn new(_: f32) -> Self {
        // SAFETY: as for floats.
        let (zero, full) = unsafe { (_mm_setzero_si128(), _mm_set1_epi8(-1)) };
        Bytes { sum: zero, min: full, max: zero, equal: 0, saturated: 0, seen: false }
    }

    #[inline(always)]
    fn add(&mut self, v: &[u8; CELL], near: &[u8; CELL]) -> Masks {
        // SAFETY: the processor has AVX2 (see floats); the unaligned loads take the arrays of 16 bytes.
        unsafe {
            let (v, near) = (_mm_loadu_si128(v.as_ptr().cast()), _mm_loadu_si128(near.as_ptr().cast()));
            let zero = _mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_setzero_si128())) as u32;
            let same = _mm_movemask_epi8(_mm_cmpeq_epi8(v, near)) as u32 & !zero;
            let full = _mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8(-1))) as u32;
            self.equal += u64::from(same.count_ones());
            self.saturated += u64::from(full.count_ones());
            self.min = _mm_min_epu8(self.min, v);
            self.max = _mm_max_epu8(self.max, v);
            self.sum = _mm_add_epi64(self.sum, _mm_sad_epu8(v, _mm_setzero_si128()));
            self.seen = true;
            Masks { zero, odd: 0 }
        }
    }

    #[inline(always)]
    fn take_sum(&mut self) -> f32 {
        let mut sum = [0u64; 2];
        // SAFETY: as in `add`; the array takes 16 bytes.
        unsafe {
            _mm_storeu_si128(sum.as_mut_ptr().cast(), self.sum);
            self.sum = _mm_setzero_si128();
        }
        (sum[0] + sum[1]) as f32
    }

    #[inline(always)]
    fn end(&self) -> (f32, f32, u64, u64) {
        let (mut low, mut high) = ([0u8; 16], [0u8; 16]);
        // SAFETY: as in `add`; each array takes 16 bytes.
        unsafe {
            _mm_storeu_si128(low.as_mut_ptr().cast(), self.min);
            _mm_storeu_si128(high.as_mut_ptr().cast(), self.max);
        }
        let (low, high) = range(&low, &high, self.seen);
        (low, high, self.equal, self.saturated)
    }
}

/// Sixteen numbers of 16 bits per instruction.
pub struct Words {
    sum: __m256i,
    min: __m256i,
    max: __m256i,
    top: __m256i,
    equal: u64,
    saturated: u64,
    seen: bool,
}

/// One bit per number whose bits are all set; none of them are in the others.
#[inline]
#[target_feature(enable = "avx2")]
fn bits(words: __m256i) -> u32 {
    let halves = (_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
    _mm_movemask_epi8(_mm_packs_epi16(halves.0, halves.1)) as u32
}

impl Lanes<u16> for Words {
    #[inline(always)]
    fn new(top: f32) -> Self {
        // SAFETY: as for floats.
        let (zero, full, top) =
            unsafe { (_mm256_setzero_si256(), _mm256_set1_epi16(-1), _mm256_set1_epi16(top as u16 as i16)) };
        Words { sum: zero, min: full, max: zero, top, equal: 0, saturated: 0, seen: false }
    }

    #[inline(always)]
    fn add(&mut self, v: &[u16; CELL], near: &[u16; CELL]) -> Masks {
        // SAFETY: the processor has AVX2 (see floats); the unaligned loads take the arrays of 32 bytes.
        unsafe {
            let (v, near) = (_mm256_loadu_si256(v.as_ptr().cast()), _mm256_loadu_si256(near.as_ptr().cast()));
            let nothing = _mm256_setzero_si256();
            let zero = bits(_mm256_cmpeq_epi16(v, nothing));
            let same = bits(_mm256_cmpeq_epi16(v, near)) & !zero;
            let full = bits(_mm256_cmpeq_epi16(v, self.top));
            self.equal += u64::from(same.count_ones());
            self.saturated += u64::from(full.count_ones());
            self.min = _mm256_min_epu16(self.min, v);
            self.max = _mm256_max_epu16(self.max, v);
            // Two numbers of 16 bits at a time into 32.
            let wide = _mm256_add_epi32(_mm256_unpacklo_epi16(v, nothing), _mm256_unpackhi_epi16(v, nothing));
            self.sum = _mm256_add_epi32(self.sum, wide);
            self.seen = true;
            Masks { zero, odd: 0 }
        }
    }

    #[inline(always)]
    fn take_sum(&mut self) -> f32 {
        let mut sum = [0u32; 8];
        // SAFETY: as in `add`; the array takes 32 bytes.
        unsafe {
            _mm256_storeu_si256(sum.as_mut_ptr().cast(), self.sum);
            self.sum = _mm256_setzero_si256();
        }
        sum.iter().map(|n| u64::from(*n)).sum::<u64>() as f32
    }

    #[inline(always)]
    fn end(&self) -> (f32, f32, u64, u64) {
        let (mut low, mut high) = ([0u16; 16], [0u16; 16]);
        // SAFETY: as in `add`; each array takes 32 bytes.
        unsafe {
            _mm256_storeu_si256(low.as_mut_ptr().cast(), self.min);
            _mm256_storeu_si256(high.as_mut_ptr().cast(), self.max);
        }
        let (low, high) = range(&low, &high, self.seen);
        (low, high, self.equal, self.saturated)
    }
}

/// Smallest and largest, where any cell was seen.
fn range<T: Copy + Ord + Into<f32>>(low: &[T], high: &[T], seen: bool) -> (f32, f32) {
    match (low.iter().min(), high.iter().max()) {
        (Some(low), Some(high)) if seen => ((*low).into(), (*high).into()),
        _ => (f32::INFINITY, f32::NEG_INFINITY),
    }
}
