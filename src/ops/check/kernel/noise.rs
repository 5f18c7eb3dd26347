//! Rows of whole numbers without any pattern: bytes of another file, packed or encrypted data, a block that a disk returned
//! in place of ours. In floats such bytes show as NaN and infinities.

use super::{Frame, Look};
use tomokit_formats::DType;

/// One row in so many is looked at: 64 KiB of lost bytes hold several.
const EVERY: usize = 8;
/// Voxels looked at together, along a row.
const STRETCH: usize = 1024;
/// Shorter rows say too little.
const SHORTEST: usize = 256;
/// Share by which a stretch of so few numbers may differ from what is expected of chance: five deviations at 1024.
const CLOSE: f64 = 0.12;
/// Voxels of a first glance at a stretch, and the same for them.
const GLANCE: usize = 64;
const WIDE: f64 = 0.5;

/// Looks at whole rows, the first of which is row `first`.
pub(super) fn look(frame: &Frame, first: usize, bytes: &[u8], out: &mut Look) {
    let without: fn(&[u8]) -> usize = match frame.dtype {
        DType::U8 => |row| stretches(row, 1, |b| u16::from(b[0]) << 8),
        DType::I8 => |row| stretches(row, 1, |b| u16::from(b[0] ^ 0x80) << 8),
        DType::U16 => |row| stretches(row, 2, |b| u16::from_ne_bytes([b[0], b[1]])),
        DType::I16 => |row| stretches(row, 2, |b| u16::from_ne_bytes([b[0], b[1]]) ^ 0x8000),
        _ => return,
    };
    if frame.cols < SHORTEST {
        return;
    }
    let skipped = first.next_multiple_of(EVERY) - first;
    for (k, row) in bytes.chunks_exact(frame.row_bytes()).enumerate().skip(skipped).step_by(EVERY) {
        let n = without(row);
        if n > 0 {
            out.noise += n as u64;
            out.noise_from.get_or_insert(first + k);
        }
    }
}

/// How many stretches of a row hold numbers drawn by chance from the whole range of the type, independent of each other.
#[inline(always)]
fn stretches(row: &[u8], size: usize, value: impl Fn(&[u8]) -> u16 + Copy) -> usize {
    let len = STRETCH.min(row.len() / size);
    let mut of = [0u16; STRETCH];
    let mut drawn = |part: &[u8], n: usize, close: f64| {
        let v = &mut of[..n];
        v.iter_mut().zip(part.chunks_exact(size)).for_each(|(v, b)| *v = value(b));
        is_chance(v, close)
    };
    // Pictures are told at a glance.
    row.chunks_exact(len * size).filter(|part| drawn(part, GLANCE, WIDE) && drawn(part, len, CLOSE)).count()
}

/// The mean is the middle of the range, and neighbours and the next but one are as far apart as two numbers drawn from it.
fn is_chance(v: &[u16], close: f64) -> bool {
    let range = f64::from(u16::MAX);
    let near = |found: f64, expected: f64| (found / expected - 1.0).abs() < close;
    let apart = |lag: usize| {
        let sum: u32 = v.iter().zip(&v[lag..]).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        f64::from(sum) / (v.len() - lag) as f64
    };
    let mean = f64::from(v.iter().map(|v| u32::from(*v)).sum::<u32>()) / v.len() as f64;
    near(apart(1), range / 3.0) && near(mean, range / 2.0) && near(apart(2), range / 3.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::kernel::THUMB;

    /// Xorshift.
    fn bytes(n: usize) -> Vec<u8> {
        let mut s = 0x9e37_79b9_7f4a_7c15u64;
        (0..n)
            .map(|_| {
                s ^= s << 13;
                s ^= s >> 7;
                s ^= s << 17;
                (s >> 32) as u8
            })
            .collect()
    }

    fn seen(dtype: DType, (rows, cols): (usize, usize), bytes: &[u8], step: usize) -> (u64, Option<usize>) {
        let frame = Frame::new(rows, cols, dtype, THUMB);
        let mut l = Look::new(&frame);
        for (i, piece) in bytes.chunks(step * frame.row_bytes()).enumerate() {
            look(&frame, i * step, piece, &mut l);
        }
        (l.noise, l.noise_from)
    }

    #[test]
    fn chance_is_found_wherever_rows_are_cut() {
        for dtype in [DType::U8, DType::I8, DType::U16, DType::I16] {
            for cols in [256, 1024, 3000] {
                let row = cols * dtype.size();
                let mut all = vec![7u8; 64 * row];
                all[20 * row..45 * row].copy_from_slice(&bytes(25 * row));
                let one = seen(dtype, (64, cols), &all, 64);
                assert_eq!(one, (3 * (cols / STRETCH.min(cols)) as u64, Some(24)), "{dtype:?} {cols}");
                for step in [1, 3, 7, 8, 30] {
                    assert_eq!(seen(dtype, (64, cols), &all, step), one, "{dtype:?} {cols} by {step}");
                }
            }
        }
        assert_eq!(seen(DType::F32, (64, 1024), &bytes(64 * 4096), 64).0, 0);
        assert_eq!(seen(DType::U8, (64, 255), &bytes(64 * 255), 64).0, 0);
    }

    #[test]
    fn pictures_are_not_chance() {
        let n = 64 * 1024;
        let noise = bytes(12 * n);
        // Camera noise over a third of the range, a ramp, a grating, black and white.
        let gauss = |i: usize| (0..12).map(|k| f64::from(noise[12 * i + k])).sum::<f64>() / 256.0 - 6.0;
        let pictures: [Box<dyn Fn(usize) -> u8>; 5] = [
            Box::new(|i| (128.0 + 40.0 * gauss(i)).clamp(0.0, 255.0) as u8),
            Box::new(|i| (i % 256) as u8),
            Box::new(|i| if i % 2 == 0 { 213 } else { 43 }),
            Box::new(|i| if noise[i] < 128 { 0 } else { 255 }),
            Box::new(|i| (f64::from(noise[i]) * 0.7) as u8 + 38),
        ];
        for (k, p) in pictures.iter().enumerate() {
            let all: Vec<u8> = (0..n).map(p).collect();
            assert_eq!(seen(DType::U8, (64, 1024), &all, 64).0, 0, "picture {k}");
        }
    }
}
