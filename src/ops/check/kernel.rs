//! The one look at every voxel: a slice goes in as rows of bytes, out come a few numbers and two bits per cell of
//! [`CELL`] voxels (all exact zeros; no zero at all).
//!
//! Everything the doctor says about values follows from these, so that a volume is read once. Guarantees: the same
//! numbers for any split of a slice into pieces of whole rows; no allocation per row. Leaves to others: what is normal.

use look::PLACES;
use std::marker::PhantomData;
use tomokit_formats::DType;
use tomokit_formats::model::{F16, Voxel};

#[cfg(target_arch = "x86_64")]
mod avx2;
mod look;
mod noise;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod whole;

pub use look::{Bits, CELL, Frame, Look, THUMB};

/// Looks at whole rows of a slice, the first of which is row `first`. `bytes` is in native byte order.
pub fn look(frame: &Frame, first: usize, bytes: &[u8], out: &mut Look) {
    noise::look(frame, first, bytes, out);
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") {
        // SAFETY: the processor has AVX2 and POPCNT, asked in the line above.
        return unsafe { look_avx2(frame, first, bytes, out) };
    }
    by_type::<Plain>(frame, first, bytes, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt")]
fn look_avx2(frame: &Frame, first: usize, bytes: &[u8], out: &mut Look) {
    by_type::<avx2::Avx2>(frame, first, bytes, out);
}

#[inline(always)]
fn by_type<K: Kinds>(frame: &Frame, first: usize, bytes: &[u8], out: &mut Look) {
    match frame.dtype {
        DType::F32 => rows::<f32, K::Floats, K>(frame, first, bytes, out),
        DType::U8 => rows::<u8, K::Whole, K>(frame, first, bytes, out),
        DType::U16 => rows::<u16, K::Whole, K>(frame, first, bytes, out),
        DType::I16 => widened::<i16, K>(frame, first, bytes, out),
        DType::I8 => widened::<i8, K>(frame, first, bytes, out),
        DType::U32 => widened::<u32, K>(frame, first, bytes, out),
        DType::I32 => widened::<i32, K>(frame, first, bytes, out),
        DType::U64 => widened::<u64, K>(frame, first, bytes, out),
        DType::I64 => widened::<i64, K>(frame, first, bytes, out),
        DType::F16 => widened::<F16, K>(frame, first, bytes, out),
        DType::F64 => widened::<f64, K>(frame, first, bytes, out),
    }
}

/// What a cell looks like: one bit per voxel.
#[derive(Clone, Copy)]
struct Masks {
    zero: u32,
    /// Not finite; then nothing else was counted.
    odd: u32,
}

/// How a row of one type is looked at.
trait Row<T> {
    fn look(frame: &Frame, y: usize, values: &[T], out: &mut Look);
}

/// Sums and extremes of finite values, side by side. `near` holds the voxel before each.
trait Lanes<T> {
    fn new(top: f32) -> Self;
    fn add(&mut self, v: &[T; CELL], near: &[T; CELL]) -> Masks;
    /// Sum since the last call.
    fn take_sum(&mut self) -> f32;
    /// Smallest, largest, equal to the one before and not zero, at the top of the type.
    fn end(&self) -> (f32, f32, u64, u64);
}

/// Types that are looked at as they are.
trait Unlike: Voxel {
    /// A value that this one is not equal to.
    fn unlike(self) -> Self;
}

impl Unlike for f32 {
    fn unlike(self) -> f32 {
        f32::NAN
    }
}

impl Unlike for u8 {
    fn unlike(self) -> u8 {
        !self
    }
}

impl Unlike for u16 {
    fn unlike(self) -> u16 {
        !self
    }
}

/// The ways of one kind of processor; all other types are widened to floats.
trait Kinds {
    type Floats: Row<f32>;
    type Whole: Row<u8> + Row<u16>;
}

#[inline(always)]
fn rows<T: Unlike, R: Row<T>, K: Kinds>(frame: &Frame, first: usize, bytes: &[u8], out: &mut Look) {
    // Rows that do not lie as values should: all or none.
    if bytemuck::try_cast_slice::<u8, T>(bytes).is_err() {
        return widened::<T, K>(frame, first, bytes, out);
    }
    for (r, row) in bytes.chunks_exact(frame.row_bytes().max(1)).enumerate() {
        hash(row, &mut out.hash);
        R::look(frame, first + r, bytemuck::cast_slice(row), out);
    }
}

#[inline(always)]
fn widened<T: Voxel, K: Kinds>(frame: &Frame, first: usize, bytes: &[u8], out: &mut Look) {
    let mut scratch = std::mem::take(&mut out.scratch);
    for (r, row) in bytes.chunks_exact(frame.row_bytes().max(1)).enumerate() {
        hash(row, &mut out.hash);
        scratch.resize(frame.cols, 0.0);
        for (v, b) in scratch.iter_mut().zip(row.chunks_exact(size_of::<T>())) {
            *v = narrowed(bytemuck::pod_read_unaligned::<T>(b));
        }
        K::Floats::look(frame, first + r, &scratch, out);
    }
    out.scratch = scratch;
}

/// In 32 bits. What 64 bits hold and 32 do not becomes neither infinite nor zero: both say that something is wrong.
#[inline(always)]
fn narrowed<T: Voxel>(value: T) -> f32 {
    let v = value.to_f32();
    if size_of::<T>() < 8 || v.is_finite() && v != 0.0 {
        return v;
    }
    match value.to_f64() {
        0.0 => 0.0,
        wide if wide.is_finite() && v == 0.0 => f32::MIN_POSITIVE.copysign(v),
        wide if wide.is_finite() => f32::MAX.copysign(v),
        _ => v,
    }
}

/// Cell by cell.
struct Cells<L>(PhantomData<L>);

impl<T: Unlike, L: Lanes<T>> Row<T> for Cells<L> {
    #[inline(always)]
    fn look(frame: &Frame, y: usize, values: &[T], out: &mut Look) {
        let per_row = frame.cells_per_row();
        let top = frame.top;
        let line = y * frame.thumb_rows / frame.rows * frame.thumb_cols;
        let mut lanes = L::new(top);
        let mut zeros = 0u64;
        let mut bits = BitWriter::at(y * per_row);
        let Some(first) = values.first() else { return };
        // Nothing lies before the first voxel.
        let mut start = [first.unlike(); CELL];
        let known = values.len().min(CELL - 1);
        start[1..known + 1].copy_from_slice(&values[..known]);
        let mut sum = 0f64;
        for t in 0..frame.thumb_cols {
            let mut rest = 0f32;
            for c in out.edges[t]..out.edges[t + 1] {
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
                    let mut cell = [0f32; CELL];
                    cell.iter_mut().zip(here).for_each(|(c, v)| *c = v.to_f32());
                    let near = if c == 0 { f32::NAN } else { values[at - 1].to_f32() };
                    let (z, s) = slowly(&cell[..here.len().min(CELL)], near, top, (y, at), rest, out);
                    (zero, rest) = (Some(z), s);
                }
                let zero = zero.unwrap_or(0);
                zeros += u64::from(zero.count_ones());
                bits.push([zero == full, zero == 0], [&mut out.zero_cells, &mut out.solid_cells]);
            }
            let part = lanes.take_sum() + rest;
            sum += f64::from(part);
            out.thumb[line + t] += part;
        }
        bits.end([&mut out.zero_cells, &mut out.solid_cells]);
        let (min, max, equal, saturated) = lanes.end();
        out.min = out.min.min(min);
        out.max = out.max.max(max);
        out.equal += equal;
        out.saturated += saturated;
        out.zeros += zeros;
        out.sum += sum;
        out.voxels += frame.cols as u64;
    }
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

/// Sets bits of two sets one after the other, a word at a time.
struct BitWriter {
    at: usize,
    words: [u64; 2],
}

impl BitWriter {
    fn at(at: usize) -> BitWriter {
        BitWriter { at, words: [0; 2] }
    }

    #[inline(always)]
    fn push(&mut self, bits: [bool; 2], to: [&mut Bits; 2]) {
        for (word, bit) in self.words.iter_mut().zip(bits) {
            *word |= u64::from(bit) << (self.at % 64);
        }
        self.at += 1;
        if self.at.is_multiple_of(64) {
            for (word, to) in self.words.iter_mut().zip(to) {
                to.0[self.at / 64 - 1] |= *word;
                *word = 0;
            }
        }
    }

    fn end(self, to: [&mut Bits; 2]) {
        for (word, to) in self.words.into_iter().zip(to).filter(|(word, _)| *word != 0) {
            to.0[self.at / 64] |= word;
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

/// Without vectors.
struct Plain;

impl Kinds for Plain {
    type Floats = Cells<Portable>;
    type Whole = Cells<Portable>;
}

impl<T: Voxel> Lanes<T> for Portable {
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
    fn add(&mut self, v: &[T; CELL], near: &[T; CELL]) -> Masks {
        let (v, near) = (v.map(T::to_f32), near.map(T::to_f32));
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
