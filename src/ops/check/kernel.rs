//! The one look at every voxel: a slice goes in as rows of bytes, out come a few numbers and two bits per cell of
//! [`CELL`] voxels (all exact zeros; no zero at all).
//!
//! Everything the doctor says about values follows from these, so that a volume is read once. Guarantees: the same
//! numbers for any split of a slice into pieces of whole rows; no allocation per row. Leaves to others: what is normal.

use tomokit_formats::DType;
use tomokit_formats::model::{F16, Voxel};

/// Voxels per cell, along a row. One cache line of floats: the smallest piece that tells a lost block from chance.
pub const CELL: usize = 16;
/// Largest edge of the reduced picture of a slice.
pub const THUMB: usize = 32;
/// Voxels that are no finite number and are remembered by place, per slice.
const PLACES: usize = 4;

/// Geometry of the slices of one volume.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Type.
    pub dtype: DType,
    /// Rows of the reduced picture.
    pub thumb_rows: usize,
    /// Columns of the reduced picture.
    pub thumb_cols: usize,
}

impl Frame {
    /// Slices of `rows × cols`, with reduced pictures of at most `thumb` pixels along an edge.
    pub fn new(rows: usize, cols: usize, dtype: DType, thumb: usize) -> Frame {
        let per_row = cols.div_ceil(CELL);
        Frame { rows, cols, dtype, thumb_rows: rows.min(thumb).max(1), thumb_cols: per_row.min(thumb).max(1) }
    }

    /// Cells per row.
    pub fn cells_per_row(&self) -> usize {
        self.cols.div_ceil(CELL)
    }

    /// Cells per slice.
    pub fn cells(&self) -> usize {
        self.rows * self.cells_per_row()
    }

    /// Pixels of a reduced picture.
    pub fn thumb_len(&self) -> usize {
        self.thumb_rows * self.thumb_cols
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.cols * self.dtype.size()
    }
}

/// A set of cells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bits(Vec<u64>);

impl Bits {
    /// `n` cells, none in the set.
    pub fn new(n: usize) -> Bits {
        Bits(vec![0; n.div_ceil(64)])
    }

    /// Puts a cell in.
    #[inline(always)]
    pub fn set(&mut self, i: usize) {
        self.0[i / 64] |= 1 << (i % 64);
    }

    /// Is it in?
    #[inline(always)]
    pub fn has(&self, i: usize) -> bool {
        self.0[i / 64] >> (i % 64) & 1 == 1
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// Words, for operations on whole sets.
    pub fn words(&self) -> &[u64] {
        &self.0
    }

    /// Words, to change.
    pub fn words_mut(&mut self) -> &mut [u64] {
        &mut self.0
    }

    fn clear(&mut self) {
        self.0.fill(0);
    }
}

/// What is known of one slice after it was looked at.
#[derive(Clone, Debug)]
pub struct Look {
    /// Voxels.
    pub voxels: u64,
    /// Voxels that are exactly zero.
    pub zeros: u64,
    /// Voxels that are not a number.
    pub nan: u64,
    /// Voxels that are infinite.
    pub infinite: u64,
    /// Sum of finite values.
    pub sum: f64,
    /// Smallest finite value; +∞ where there is none.
    pub min: f32,
    /// Largest finite value; −∞ where there is none.
    pub max: f32,
    /// Neighbours along a row that are equal and not zero: what no camera and no reconstruction makes in numbers.
    pub equal: u64,
    /// Voxels at the largest value of an integer type.
    pub saturated: u64,
    /// Depends on every byte and its place.
    pub print: u64,
    /// First places that hold no finite number: row, column.
    pub odd: Vec<(usize, usize)>,
    /// Reduced picture: sums of finite values.
    pub thumb: Vec<f32>,
    /// Cells of zeros only.
    pub zero_cells: Bits,
    /// Cells without a zero.
    pub solid_cells: Bits,
    hash: [u32; 32],
    /// One row as floats.
    scratch: Vec<f32>,
}

impl Look {
    /// Nothing seen yet.
    pub fn new(frame: &Frame) -> Look {
        let mut l = Look {
            voxels: 0,
            zeros: 0,
            nan: 0,
            infinite: 0,
            sum: 0.0,
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
            equal: 0,
            saturated: 0,
            print: 0,
            odd: Vec::new(),
            thumb: vec![0.0; frame.thumb_len()],
            zero_cells: Bits::new(frame.cells()),
            solid_cells: Bits::new(frame.cells()),
            hash: [0; 32],
            scratch: Vec::new(),
        };
        l.reset();
        l
    }

    /// Starts over with the same buffers.
    pub fn reset(&mut self) {
        (self.voxels, self.zeros, self.nan, self.infinite, self.equal, self.saturated) = (0, 0, 0, 0, 0, 0);
        (self.sum, self.print) = (0.0, 0);
        (self.min, self.max) = (f32::INFINITY, f32::NEG_INFINITY);
        self.odd.clear();
        self.thumb.fill(0.0);
        self.zero_cells.clear();
        self.solid_cells.clear();
        self.hash = std::array::from_fn(|i| i as u32);
    }

    /// Every voxel is exactly zero.
    pub fn all_zero(&self) -> bool {
        self.zeros == self.voxels
    }

    /// Ends a slice.
    pub fn close(&mut self) {
        let mut h = 0xcbf2_9ce4_8422_2325u64;
        for w in self.hash {
            h = (h ^ u64::from(w)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
        self.print = h;
    }
}

/// Looks at whole rows of a slice, the first of which is row `first`. `bytes` is in native byte order.
pub fn look(frame: &Frame, first: usize, bytes: &[u8], out: &mut Look) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") {
        // SAFETY: the processor has AVX2 and POPCNT, asked in the line above.
        return unsafe { look_avx2(frame, first, bytes, out) };
    }
    by_type::<Portable>(frame, first, bytes, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt")]
fn look_avx2(frame: &Frame, first: usize, bytes: &[u8], out: &mut Look) {
    by_type::<avx2::Avx2>(frame, first, bytes, out);
}

#[inline(always)]
fn by_type<L: Lanes>(frame: &Frame, first: usize, bytes: &[u8], out: &mut Look) {
    match frame.dtype {
        DType::F32 => rows::<f32, L>(frame, first, bytes, out),
        DType::U8 => rows::<u8, L>(frame, first, bytes, out),
        DType::U16 => rows::<u16, L>(frame, first, bytes, out),
        DType::I16 => rows::<i16, L>(frame, first, bytes, out),
        DType::I8 => rows::<i8, L>(frame, first, bytes, out),
        DType::U32 => rows::<u32, L>(frame, first, bytes, out),
        DType::I32 => rows::<i32, L>(frame, first, bytes, out),
        DType::U64 => rows::<u64, L>(frame, first, bytes, out),
        DType::I64 => rows::<i64, L>(frame, first, bytes, out),
        DType::F16 => rows::<F16, L>(frame, first, bytes, out),
        DType::F64 => rows::<f64, L>(frame, first, bytes, out),
    }
}

/// Largest value of an integer type, as `f32`; none for other types.
fn top(dtype: DType) -> f32 {
    match dtype {
        DType::U8 => 255.0,
        DType::U16 => 65535.0,
        DType::I16 => 32767.0,
        _ => f32::NAN,
    }
}

/// What a cell looks like: one bit per voxel.
#[derive(Clone, Copy)]
struct Masks {
    zero: u32,
    /// Not finite; then nothing else was counted.
    odd: u32,
}

/// Sums and extremes of finite values, side by side. `near` holds the voxel before each.
trait Lanes {
    fn new(top: f32) -> Self;
    fn add(&mut self, v: &[f32; CELL], near: &[f32; CELL]) -> Masks;
    /// Sum since the last call.
    fn take_sum(&mut self) -> f32;
    /// Smallest, largest, equal to the one before and not zero, at the top of the type.
    fn end(&self) -> (f32, f32, u64, u64);
}

#[inline(always)]
fn rows<T: Voxel, L: Lanes>(frame: &Frame, first: usize, bytes: &[u8], out: &mut Look) {
    let mut scratch = std::mem::take(&mut out.scratch);
    for (r, row) in bytes.chunks_exact(frame.row_bytes().max(1)).enumerate() {
        hash(row, &mut out.hash);
        let values: &[f32] = match as_floats::<T>(row) {
            Some(v) => v,
            None => {
                scratch.resize(frame.cols, 0.0);
                for (v, b) in scratch.iter_mut().zip(row.chunks_exact(size_of::<T>())) {
                    *v = bytemuck::pod_read_unaligned::<T>(b).to_f32();
                }
                &scratch
            }
        };
        one_row::<L>(frame, first + r, values, out);
    }
    out.scratch = scratch;
}

/// Floats that lie as they should are used where they are.
#[inline(always)]
fn as_floats<T: Voxel>(row: &[u8]) -> Option<&[f32]> {
    (std::any::TypeId::of::<T>() == std::any::TypeId::of::<f32>()).then(|| bytemuck::try_cast_slice(row).ok()).flatten()
}

#[inline(always)]
fn one_row<L: Lanes>(frame: &Frame, y: usize, values: &[f32], out: &mut Look) {
    let per_row = frame.cells_per_row();
    let top = top(frame.dtype);
    let line = y * frame.thumb_rows / frame.rows * frame.thumb_cols;
    let mut lanes = L::new(top);
    let mut zeros = 0u64;
    let mut zero_bits = BitWriter::at(y * per_row);
    let mut solid_bits = BitWriter::at(y * per_row);
    // Nothing lies before the first voxel.
    let mut start = [f32::NAN; CELL];
    let known = values.len().min(CELL - 1);
    start[1..known + 1].copy_from_slice(&values[..known]);
    let mut sum = 0f64;
    for t in 0..frame.thumb_cols {
        let (from, to) = (t * per_row / frame.thumb_cols, (t + 1) * per_row / frame.thumb_cols);
        let mut rest = 0f32;
        for c in from..to {
            let at = c * CELL;
            let here = &values[at..];
            let before = if c == 0 { &start } else { values[at - 1..].first_chunk().unwrap_or(&start) };
            let (mut zero, full) = match here.first_chunk::<CELL>() {
                Some(cell) => {
                    let masks = lanes.add(cell, before);
                    (if masks.odd == 0 { Some(masks.zero) } else { None }, (1u32 << CELL) - 1)
                }
                None => (None, (1u32 << here.len()) - 1),
            };
            if zero.is_none() {
                let cell = &here[..here.len().min(CELL)];
                let near = if c == 0 { f32::NAN } else { values[at - 1] };
                let (z, s) = slowly(cell, near, top, (y, at), rest, out);
                (zero, rest) = (Some(z), s);
            }
            let zero = zero.unwrap_or(0);
            zeros += u64::from(zero.count_ones());
            zero_bits.push(zero == full, &mut out.zero_cells);
            solid_bits.push(zero == 0, &mut out.solid_cells);
        }
        let part = lanes.take_sum() + rest;
        sum += f64::from(part);
        out.thumb[line + t] += part;
    }
    zero_bits.end(&mut out.zero_cells);
    solid_bits.end(&mut out.solid_cells);
    let (min, max, equal, saturated) = lanes.end();
    out.min = out.min.min(min);
    out.max = out.max.max(max);
    out.equal += equal;
    out.saturated += saturated;
    out.zeros += zeros;
    out.sum += sum;
    out.voxels += frame.cols as u64;
}

/// A short last cell, or one with values that are not finite. Returns the zeros and the sum so far.
#[cold]
fn slowly(v: &[f32], before: f32, top: f32, (y, x): (usize, usize), mut sum: f32, out: &mut Look) -> (u32, f32) {
    let mut zero = 0;
    let mut near = before;
    for (i, &v) in v.iter().enumerate() {
        zero |= u32::from(v == 0.0) << i;
        out.equal += u64::from(v == near && v != 0.0);
        out.saturated += u64::from(v == top);
        near = v;
        if v.is_finite() {
            sum += v;
            out.min = out.min.min(v);
            out.max = out.max.max(v);
            continue;
        }
        if v.is_nan() {
            out.nan += 1;
        } else {
            out.infinite += 1;
        }
        if out.odd.len() < PLACES {
            out.odd.push((y, x + i));
        }
    }
    (zero, sum)
}

/// Sets bits one after the other, a word at a time.
struct BitWriter {
    at: usize,
    word: u64,
}

impl BitWriter {
    fn at(at: usize) -> BitWriter {
        BitWriter { at, word: 0 }
    }

    #[inline(always)]
    fn push(&mut self, bit: bool, to: &mut Bits) {
        self.word |= u64::from(bit) << (self.at % 64);
        self.at += 1;
        if self.at.is_multiple_of(64) {
            to.0[self.at / 64 - 1] |= self.word;
            self.word = 0;
        }
    }

    fn end(self, to: &mut Bits) {
        if self.word != 0 {
            to.0[self.at / 64] |= self.word;
        }
    }
}

/// For any processor.
struct Portable {
    sum: [f32; 8],
    min: [f32; CELL],
    max: [f32; CELL],
    equal: [u32; CELL],
    saturated: [u32; CELL],
    top: f32,
}

impl Lanes for Portable {
    fn new(top: f32) -> Self {
        Portable {
            sum: [0.0; 8],
            min: [f32::INFINITY; CELL],
            max: [f32::NEG_INFINITY; CELL],
            equal: [0; CELL],
            saturated: [0; CELL],
            top,
        }
    }

    #[inline(always)]
    fn add(&mut self, v: &[f32; CELL], near: &[f32; CELL]) -> Masks {
        let mut m = Masks { zero: 0, odd: 0 };
        for (i, v) in v.iter().enumerate() {
            m.zero |= u32::from(*v == 0.0) << i;
            m.odd |= u32::from(!v.is_finite()) << i;
        }
        if m.odd != 0 {
            return m;
        }
        for i in 0..CELL {
            self.equal[i] += u32::from(near[i] == v[i]) & u32::from(v[i] != 0.0);
            self.saturated[i] += u32::from(v[i] == self.top);
            self.min[i] = if v[i] < self.min[i] { v[i] } else { self.min[i] };
            self.max[i] = if v[i] > self.max[i] { v[i] } else { self.max[i] };
        }
        for i in 0..8 {
            self.sum[i] += v[i] + v[i + 8];
        }
        m
    }

    fn take_sum(&mut self) -> f32 {
        add_up(&std::mem::take(&mut self.sum))
    }

    fn end(&self) -> (f32, f32, u64, u64) {
        let count = |v: &[u32]| v.iter().map(|n| u64::from(*n)).sum();
        let (low, high) = (self.min.iter().fold(f32::INFINITY, |a, b| a.min(*b)), self.max.iter());
        (low, high.fold(f32::NEG_INFINITY, |a, b| a.max(*b)), count(&self.equal), count(&self.saturated))
    }
}

/// Always in the same order.
fn add_up(v: &[f32; 8]) -> f32 {
    ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
}

/// The same with 8 voxels per instruction: what makes the look as fast as memory.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{CELL, Lanes, Masks, add_up};
    use std::arch::x86_64::*;

    /// Accumulators in registers.
    pub struct Avx2 {
        sum: __m256,
        min: __m256,
        max: __m256,
        equal: __m256i,
        saturated: __m256i,
        top: __m256,
    }

    impl Lanes for Avx2 {
        #[inline(always)]
        fn new(top: f32) -> Self {
            // SAFETY: made only by `look_avx2`, which is called where the processor has AVX2.
            unsafe {
                Avx2 {
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
}

/// Fletcher's sum of a row in 16 lanes of 32 bits: two additions per word, and the order counts. Not against malice; a
/// match is followed by a comparison of all bytes.
#[inline(always)]
fn hash(bytes: &[u8], h: &mut [u32; 32]) {
    let (mut a, mut b) = ([0u32; 16], [0u32; 16]);
    a.copy_from_slice(&h[..16]);
    b.copy_from_slice(&h[16..]);
    let (blocks, rest) = bytes.as_chunks::<64>();
    for block in blocks {
        for i in 0..16 {
            let w = u32::from_le_bytes([block[4 * i], block[4 * i + 1], block[4 * i + 2], block[4 * i + 3]]);
            a[i] = a[i].wrapping_add(w);
            b[i] = b[i].wrapping_add(a[i]);
        }
    }
    for (i, byte) in rest.iter().enumerate() {
        a[i % 16] = a[i % 16].wrapping_add(u32::from(*byte) << (8 * (i / 16)));
        b[i % 16] = b[i % 16].wrapping_add(a[i % 16]);
    }
    h[..16].copy_from_slice(&a);
    h[16..].copy_from_slice(&b);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize) -> Vec<f32> {
        let mut v: Vec<f32> = (0..n).map(|i| ((i * 7919 % 1013) as f32) * 0.37 - 100.0).collect();
        v[40..80].fill(0.0);
        v[101] = f32::NAN;
        v[102] = f32::NEG_INFINITY;
        v[150..160].fill(3.5);
        v[161] = -0.0;
        v
    }

    #[test]
    fn numbers_are_those_of_a_naive_loop() {
        let (rows, cols) = (11, 37);
        let frame = Frame::new(rows, cols, DType::F32, THUMB);
        let v = values(rows * cols);
        let mut l = Look::new(&frame);
        look(&frame, 0, bytemuck::cast_slice(&v), &mut l);
        l.close();
        let finite: Vec<f64> = v.iter().filter(|v| v.is_finite()).map(|v| f64::from(*v)).collect();
        assert_eq!(l.voxels, 407);
        assert_eq!(l.zeros, v.iter().filter(|v| **v == 0.0).count() as u64);
        assert_eq!((l.nan, l.infinite), (1, 1));
        assert_eq!(l.odd, [(101 / 37, 101 % 37), (102 / 37, 102 % 37)]);
        assert!((l.sum - finite.iter().sum::<f64>()).abs() < 1e-2);
        let fold = |f: fn(f64, f64) -> f64| finite.iter().copied().reduce(f).unwrap() as f32;
        assert_eq!((l.min, l.max), (fold(f64::min), fold(f64::max)));
        let equal = (0..rows).flat_map(|r| v[r * cols..(r + 1) * cols].windows(2));
        assert_eq!(l.equal, equal.filter(|w| w[0] == w[1] && w[0] != 0.0).count() as u64);
        for y in 0..rows {
            for c in 0..frame.cells_per_row() {
                let cell = &v[y * cols + c * CELL..(y * cols + (c + 1) * CELL).min((y + 1) * cols)];
                let at = y * frame.cells_per_row() + c;
                assert_eq!(l.zero_cells.has(at), cell.iter().all(|v| *v == 0.0), "{y} {c}");
                assert_eq!(l.solid_cells.has(at), cell.iter().all(|v| *v != 0.0), "{y} {c}");
            }
        }
        let total: f64 = l.thumb.iter().map(|v| f64::from(*v)).sum();
        assert!((total - l.sum).abs() < 0.1);
    }

    #[test]
    fn pieces_do_not_matter_and_every_byte_does() {
        let (rows, cols) = (12, 50);
        for dtype in DType::ALL {
            let frame = Frame::new(rows, cols, dtype, THUMB);
            let bytes: Vec<u8> = (0..rows * cols * dtype.size()).map(|i| (i * 31 % 251) as u8 & 0x3f).collect();
            let whole = |bytes: &[u8], step: usize| {
                let mut l = Look::new(&frame);
                for (i, piece) in bytes.chunks(step * frame.row_bytes()).enumerate() {
                    look(&frame, i * step, piece, &mut l);
                }
                l.close();
                l
            };
            let (a, b) = (whole(&bytes, 12), whole(&bytes, 12));
            assert_eq!(a.print, b.print);
            let c = whole(&bytes, 4);
            assert_eq!((a.zeros, a.sum, a.print), (c.zeros, c.sum, c.print), "{}", dtype.name());
            assert_eq!((&a.zero_cells, &a.solid_cells, &a.thumb), (&c.zero_cells, &c.solid_cells, &c.thumb));
            let mut plain = Look::new(&frame);
            by_type::<Portable>(&frame, 0, &bytes, &mut plain);
            plain.close();
            assert_eq!(
                (a.zeros, a.sum, a.min, a.max, a.equal),
                (plain.zeros, plain.sum, plain.min, plain.max, plain.equal)
            );
            assert_eq!((&a.zero_cells, a.saturated, a.print), (&plain.zero_cells, plain.saturated, plain.print));
            for i in [0, bytes.len() / 2, bytes.len() - 1] {
                let mut other = bytes.clone();
                other[i] ^= 1;
                assert_ne!(whole(&other, 12).print, a.print);
            }
            let mut swapped = bytes.clone();
            swapped.swap(0, dtype.size() * 16 + 1);
            assert!(swapped == bytes || whole(&swapped, 12).print != a.print);
        }
    }
}
