//! The same with vectors: what makes the look as fast as memory.

use super::whole::Whole;
use super::{CELL, Cells, Kinds, Lanes, Masks, add_up};
use std::arch::x86_64::*;

/// AVX2.
pub struct Avx2;

impl Kinds for Avx2 {
    type Floats = Cells<Floats>;
    type Whole = Whole;
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
