//! Rows of 8 or 16 bits with AVX2: numbers stay what they are, so that 32 of them are looked at together, and what is known
//! of each cell (its zeros, its sum) is put down first and gathered for the whole row after.

use super::{CELL, Frame, Look, Row, Unlike};
use std::arch::x86_64::*;
use std::ops::Not;

/// Voxels looked at together: two cells.
const STEP: usize = 2 * CELL;
/// Cells gathered together.
const WORD: usize = 64;
/// Steps after which a count of 8 bits might be full.
const MOST: usize = 255;
/// Zeros of a cell that is neither full of them nor without any.
const SOME: u16 = 1;

/// The way of AVX2 for whole numbers.
pub struct Whole;

/// What 32 numbers are, a byte for each: −1 where it holds. Only the zeros are in order.
struct Found {
    zero: __m256i,
    /// Equal to the one before, and not zero.
    equal: __m256i,
    full: __m256i,
    /// Sums: two halves of the first cell, two of the second.
    sums: __m256i,
}

/// Smallest, largest, and the value that counts as saturated in all lanes.
struct Range {
    min: __m256i,
    max: __m256i,
    top: __m256i,
}

/// Types with vectors of their own.
trait Wide: Unlike + Not<Output = Self> + Ord + Into<f32> + Into<u64> {
    const ZERO: Self;
    const MOST: Self;

    fn top(top: f32) -> Self;
    /// # Safety
    /// The processor has AVX2.
    unsafe fn all(self) -> __m256i;
    /// The smallest.
    ///
    /// # Safety
    /// The processor has AVX2.
    unsafe fn least(v: __m256i) -> Self;
    /// # Safety
    /// The processor has AVX2; `STEP` values lie at either pointer.
    unsafe fn step(v: *const Self, near: *const Self, range: &mut Range) -> Found;
}

// SAFETY (both): as the trait asks.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Wide for u8 {
    const ZERO: u8 = 0;
    const MOST: u8 = u8::MAX;

    fn top(top: f32) -> u8 {
        top as u8
    }

    #[inline(always)]
    unsafe fn all(self) -> __m256i {
        unsafe { _mm256_set1_epi8(self as i8) }
    }

    #[inline(always)]
    unsafe fn least(v: __m256i) -> u8 {
        unsafe {
            let v = _mm_min_epu8(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
            // Of two neighbours the smaller, with zeros above it.
            _mm_cvtsi128_si32(_mm_minpos_epu16(_mm_min_epu8(v, _mm_srli_epi16::<8>(v)))) as u8
        }
    }

    #[inline(always)]
    unsafe fn step(v: *const u8, near: *const u8, range: &mut Range) -> Found {
        unsafe {
            let (v, near) = (_mm256_loadu_si256(v.cast()), _mm256_loadu_si256(near.cast()));
            let nothing = _mm256_setzero_si256();
            let zero = _mm256_cmpeq_epi8(v, nothing);
            range.min = _mm256_min_epu8(range.min, v);
            range.max = _mm256_max_epu8(range.max, v);
            Found {
                zero,
                equal: _mm256_andnot_si256(zero, _mm256_cmpeq_epi8(v, near)),
                full: _mm256_cmpeq_epi8(v, range.top),
                sums: _mm256_sad_epu8(v, nothing),
            }
        }
    }
}

#[allow(clippy::undocumented_unsafe_blocks)]
impl Wide for u16 {
    const ZERO: u16 = 0;
    const MOST: u16 = u16::MAX;

    fn top(top: f32) -> u16 {
        top as u16
    }

    #[inline(always)]
    unsafe fn all(self) -> __m256i {
        unsafe { _mm256_set1_epi16(self as i16) }
    }

    #[inline(always)]
    unsafe fn least(v: __m256i) -> u16 {
        unsafe {
            let v = _mm_min_epu16(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
            _mm_cvtsi128_si32(_mm_minpos_epu16(v)) as u16
        }
    }

    #[inline(always)]
    unsafe fn step(v: *const u16, near: *const u16, range: &mut Range) -> Found {
        unsafe {
            let (a, b) = (_mm256_loadu_si256(v.cast()), _mm256_loadu_si256(v.add(CELL).cast()));
            let (na, nb) = (_mm256_loadu_si256(near.cast()), _mm256_loadu_si256(near.add(CELL).cast()));
            let nothing = _mm256_setzero_si256();
            // Bytes, of which the middle two quarters are exchanged.
            let zero = _mm256_packs_epi16(_mm256_cmpeq_epi16(a, nothing), _mm256_cmpeq_epi16(b, nothing));
            let same = _mm256_packs_epi16(_mm256_cmpeq_epi16(a, na), _mm256_cmpeq_epi16(b, nb));
            let full = _mm256_packs_epi16(_mm256_cmpeq_epi16(a, range.top), _mm256_cmpeq_epi16(b, range.top));
            range.min = _mm256_min_epu16(range.min, _mm256_min_epu16(a, b));
            range.max = _mm256_max_epu16(range.max, _mm256_max_epu16(a, b));
            let (a, b) = (quarter_sums(a), quarter_sums(b));
            let sums = _mm256_add_epi64(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
            Found {
                zero: _mm256_permute4x64_epi64::<0b11_01_10_00>(zero),
                equal: _mm256_andnot_si256(zero, same),
                full,
                sums: _mm256_permute4x64_epi64::<0b11_01_10_00>(sums),
            }
        }
    }
}

/// Sums of four numbers each.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn quarter_sums(v: __m256i) -> __m256i {
    // SAFETY: as for this function.
    unsafe {
        let nothing = _mm256_setzero_si256();
        let low = _mm256_sad_epu8(_mm256_and_si256(v, _mm256_set1_epi16(0xff)), nothing);
        let high = _mm256_sad_epu8(_mm256_srli_epi16::<8>(v), nothing);
        _mm256_add_epi64(low, _mm256_slli_epi64::<8>(high))
    }
}

impl<T: Wide> Row<T> for Whole {
    #[inline(always)]
    fn look(frame: &Frame, y: usize, values: &[T], out: &mut Look) {
        let per_row = frame.cells_per_row();
        let (mut masks, mut sums) = std::mem::take(&mut out.cells);
        masks.resize(per_row.next_multiple_of(WORD), SOME);
        sums.resize(2 * per_row, 0);
        // SAFETY: the kinds of `Avx2` are used only by `look_avx2`, which is called where the processor has AVX2.
        unsafe {
            steps(T::top(frame.top), values, &mut masks, &mut sums, out);
            set_cells(&masks, y * per_row, out);
        }
        let line = y * frame.thumb_rows / frame.rows * frame.thumb_cols;
        // Up to each cell's end: the points of the reduced picture are differences, however many cells they have.
        let mut total = 0;
        for s in sums.as_chunks_mut::<2>().0 {
            total += s[0] + s[1];
            s[0] = total;
        }
        let mut before = 0;
        for (thumb, end) in out.thumb[line..].iter_mut().zip(&out.edges[1..]) {
            let so_far = sums[2 * end - 2];
            // There is an instruction for signed numbers.
            *thumb += (so_far - before) as i64 as f32;
            before = so_far;
        }
        out.sum += total as f64;
        out.voxels += values.len() as u64;
        out.cells = (masks, sums);
    }
}

/// Looks at a row, puts down what is known of its cells.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn steps<T: Wide>(top: T, values: &[T], masks: &mut [u16], sums: &mut [u64], out: &mut Look) {
    let (whole, rest) = values.as_chunks::<STEP>();
    // Nothing lies before the first voxel.
    let mut start = [values.first().map_or(T::ZERO, |v| v.unlike()); STEP];
    if let Some(first) = whole.first() {
        start[1..].copy_from_slice(&first[..STEP - 1]);
    }
    // SAFETY: as for this function; loads and stores are of 32 values (32 bytes) within the arrays they are taken from, and
    // `near` of all but the first begins one value earlier in the same row.
    unsafe {
        let nothing = _mm256_setzero_si256();
        let mut range = Range { min: T::MOST.all(), max: T::ZERO.all(), top: top.all() };
        let (mut equal, mut full) = (nothing, nothing);
        let mut zeros = 0u64;
        let masks = &mut masks.as_chunks_mut::<2>().0[..whole.len()];
        let sums = &mut sums.as_chunks_mut::<4>().0[..whole.len()];
        let (mut v, mut near) = (values.as_ptr(), start.as_ptr());
        for (masks, sums) in masks.chunks_mut(MOST).zip(sums.chunks_mut(MOST)) {
            let (mut equal_8, mut full_8) = (nothing, nothing);
            for (mask, sum) in masks.iter_mut().zip(sums) {
                let found = T::step(v, near, &mut range);
                (v, near) = (v.add(STEP), v.add(STEP - 1));
                let zero = _mm256_movemask_epi8(found.zero) as u32;
                zeros += u64::from(zero.count_ones());
                *mask = [zero as u16, (zero >> CELL) as u16];
                _mm256_storeu_si256(sum.as_mut_ptr().cast(), found.sums);
                equal_8 = _mm256_sub_epi8(equal_8, found.equal);
                full_8 = _mm256_sub_epi8(full_8, found.full);
            }
            equal = _mm256_add_epi64(equal, _mm256_sad_epu8(equal_8, nothing));
            full = _mm256_add_epi64(full, _mm256_sad_epu8(full_8, nothing));
        }
        out.zeros += zeros;
        out.equal += added(equal);
        out.saturated += added(full);
        if !whole.is_empty() {
            out.min = out.min.min(T::least(range.min).into());
            out.max = out.max.max((!T::least(_mm256_xor_si256(range.max, T::MOST.all()))).into());
        }
    }
    let done = whole.len() * STEP;
    let cell = done / CELL;
    let mut before = values[..done].last().copied().unwrap_or(start[0]);
    for ((here, mask), sums) in
        rest.chunks(CELL).zip(&mut masks[cell..]).zip(sums.as_chunks_mut::<2>().0[cell..].iter_mut())
    {
        let (mut zeros, mut sum) = (0, 0u64);
        for &v in here {
            let zero = v == T::ZERO;
            zeros += usize::from(zero);
            out.equal += u64::from(v == before && !zero);
            out.saturated += u64::from(v == top);
            out.min = out.min.min(v.into());
            out.max = out.max.max(v.into());
            sum += Into::<u64>::into(v);
            before = v;
        }
        out.zeros += zeros as u64;
        *mask = if zeros == here.len() { u16::MAX } else { u16::from(zeros > 0) * SOME };
        *sums = [sum, 0];
    }
}

/// The sum of four numbers.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn added(v: __m256i) -> u64 {
    let mut sums = [0u64; 4];
    // SAFETY: as for this function; the array takes 32 bytes.
    unsafe { _mm256_storeu_si256(sums.as_mut_ptr().cast(), v) };
    sums.iter().sum()
}

/// Cells of zeros only, cells without a zero: a bit each, from that of cell `first` on.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn set_cells(masks: &[u16], first: usize, out: &mut Look) {
    for (i, word) in masks.as_chunks::<WORD>().0.iter().enumerate() {
        // SAFETY: as for this function.
        let (all, none) = unsafe { (cells(word, u16::MAX.all()), cells(word, u16::ZERO.all())) };
        out.zero_cells.set_word(first + i * WORD, all);
        out.solid_cells.set_word(first + i * WORD, none);
    }
}

/// Those that are `what`, a bit each.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn cells(word: &[u16; WORD], what: __m256i) -> u64 {
    let mut bits = 0;
    for (i, half) in word.as_chunks::<STEP>().0.iter().enumerate() {
        // SAFETY: as for this function; either load takes 16 of the 32 numbers.
        unsafe {
            let a = _mm256_cmpeq_epi16(_mm256_loadu_si256(half.as_ptr().cast()), what);
            let b = _mm256_cmpeq_epi16(_mm256_loadu_si256(half.as_ptr().add(CELL).cast()), what);
            let bytes = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi16(a, b));
            bits |= u64::from(_mm256_movemask_epi8(bytes) as u32) << (32 * i);
        }
    }
    bits
}
