//! Counting with AVX-512: sixteen bins at a time, then one increment per value, which is what takes the time.

use super::{BINS, FineCounter};
use std::arch::x86_64::*;

/// Vectors whose bins are worked out before they are counted.
const VECTORS: usize = 4;
const GROUP: usize = 16 * VECTORS;

/// One more in each of these bins, two of them per number.
///
/// # Safety
/// All are below [`BINS`].
#[inline(always)]
pub(in crate::quantise) unsafe fn increment(counts: &mut [u32; BINS], bins: &[u64]) {
    for two in bins {
        for bin in [*two as u32, (*two >> 32) as u32] {
            // SAFETY: the caller's promise.
            let n = unsafe { counts.get_unchecked_mut(bin as usize) };
            *n = n.wrapping_add(1);
        }
    }
}

/// Counts `values`, all but how many they are.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt")]
pub(super) fn count<const DROP: u32>(c: &mut FineCounter<DROP>, values: &[f32]) {
    let sign = _mm512_set1_epi32(i32::MIN);
    let lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    let (mut low, mut high) = (_mm512_set1_epi32(c.extent.0 as i32), _mm512_set1_epi32(c.extent.1 as i32));
    // Each group is counted after the next one's bins are known: what was just stored as vectors cannot be read in parts
    // before it has reached the cache, and everything behind would wait with it.
    let (mut bins, mut turn) = ([[0u64; GROUP / 2]; 2], 0);
    let (groups, tail) = values.as_chunks::<GROUP>();
    // What is left over is filled up with zeros, which change nothing but their own count.
    let mut last = [[0f32; GROUP]];
    last[0][..tail.len()].copy_from_slice(tail);
    let more = if tail.is_empty() { &last[1..] } else { &last[..] };
    for group in groups.iter().chain(more) {
        let mut special = 0u64;
        for k in 0..VECTORS {
            // SAFETY: the array holds all vectors of a group.
            let bits = unsafe { _mm512_loadu_epi32(group.as_ptr().add(16 * k).cast()) };
            let size = _mm512_andnot_si512(sign, bits);
            // One test for all that is special: 0 wraps around, infinities and NaN are at or above 0x7F800000 - 1.
            let less_one = _mm512_sub_epi32(size, _mm512_set1_epi32(1));
            let odd = _mm512_cmpge_epu32_mask(less_one, _mm512_set1_epi32(0x7F7F_FFFF));
            let ordered = _mm512_xor_si512(bits, _mm512_or_si512(_mm512_srai_epi32::<31>(bits), sign));
            low = _mm512_mask_min_epu32(low, !odd, low, ordered);
            high = _mm512_mask_max_epu32(high, !odd, high, ordered);
            // What is special goes to bins that are never looked at, one per lane.
            let bin = _mm512_mask_blend_epi32(odd, _mm512_srli_epi32::<DROP>(ordered), lane);
            // SAFETY: the array has room for all vectors of a group.
            unsafe { _mm512_storeu_si512(bins[turn].as_mut_ptr().add(8 * k).cast(), bin) };
            special |= u64::from(odd) << (16 * k);
        }
        if special != 0 {
            let zeros = group.iter().fold(0, |n, v| n + u64::from(*v == 0.0));
            c.zeros += zeros;
            if zeros == GROUP as u64 {
                continue;
            }
            c.nan += group.iter().fold(0, |n, v| n + u64::from(v.is_nan()));
            c.infinite += group.iter().fold(0, |n, v| n + u64::from(v.is_infinite()));
        }
        turn = 1 - turn;
        // SAFETY: a bin has 32 - DROP bits, or is the number of a lane.
        unsafe { increment(c.bins_mut(), &bins[turn]) };
    }
    // SAFETY: as above.
    unsafe { increment(c.bins_mut(), &bins[1 - turn]) };
    if !tail.is_empty() {
        c.zeros -= (GROUP - tail.len()) as u64;
    }
    c.extent = (_mm512_reduce_min_epu32(low), _mm512_reduce_max_epu32(high));
}
