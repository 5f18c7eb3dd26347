//! The look beside a naive loop, and every kind of vectors beside the portable way.

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
        by_type::<Plain>(&frame, 0, &bytes, &mut plain);
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

/// Whole numbers as they are: saturated, repeated and zero ones, rows shorter than a cell and rows with a rest, bytes that do
/// not lie as numbers should.
#[test]
fn whole_numbers_are_those_of_a_naive_loop() {
    let columns = [1, 5, 16, 31, 32, 47, 83, 1040, 9000];
    for (cols, top) in columns.into_iter().flat_map(|n| [(n, 255), (n, 65535)]) {
        let rows = 9;
        let dtype = if top == 255 { DType::U8 } else { DType::U16 };
        let frame = Frame::new(rows, cols, dtype, THUMB);
        let v: Vec<u32> = (0..rows * cols)
            .map(|i| match i * 7919 % 101 {
                _ if i / 50 % 4 == 1 => 0,
                n if i / 50 % 4 == 2 => n as u32 / 50 + 1,
                0..10 => top,
                10..40 => 0,
                40..60 => 77,
                n => (n as u32 * 653 + 40) % top,
            })
            .collect();
        let bytes: Vec<u8> = match top {
            255 => v.iter().map(|v| *v as u8).collect(),
            _ => v.iter().flat_map(|v| (*v as u16).to_ne_bytes()).collect(),
        };
        let shifted: Vec<u8> = [0].iter().chain(&bytes).copied().collect();
        let mut plain = Look::new(&frame);
        by_type::<Plain>(&frame, 0, &bytes, &mut plain);
        let mut looks = [Look::new(&frame), Look::new(&frame)];
        look(&frame, 0, &bytes, &mut looks[0]);
        look(&frame, 0, &shifted[1..], &mut looks[1]);
        for l in looks.iter().chain([&plain]) {
            let count = |f: &dyn Fn(u32) -> bool| v.iter().filter(|v| f(**v)).count() as u64;
            assert_eq!((l.zeros, l.saturated, l.nan), (count(&|v| v == 0), count(&|v| v == top), 0), "{cols} {top}");
            assert_eq!(l.sum, f64::from(v.iter().sum::<u32>()), "{cols} {top}");
            assert_eq!((l.min, l.max), (0.0, top as f32));
            let pairs = v.chunks(cols).flat_map(|row| row.windows(2));
            assert_eq!(l.equal, pairs.filter(|w| w[0] == w[1] && w[0] != 0).count() as u64, "{cols} {top}");
            assert_eq!((&l.zero_cells, &l.solid_cells), (&plain.zero_cells, &plain.solid_cells));
            assert!(cols < 83 || l.zero_cells.count() > 0 && l.solid_cells.count() > 0, "{cols}");
            assert_eq!((&l.thumb, l.hash), (&plain.thumb, plain.hash));
        }
    }
}
