//! Which voxels of a slice are worth a grey value: the reconstructed circle, and the zeros around the field.
//!
//! Two things are told apart. The *circle* inscribed in a square slice is where parallel-beam reconstruction is defined;
//! percentiles look only there. The *outside* of a row are the exact zeros at its two ends: what a reconstruction leaves
//! unfilled around its (convex) field, whatever that field's radius or the cut made of it later. A zero between other
//! values is a value.

use serde::{Deserialize, Serialize};
use std::ops::Range;
use tomokit_formats::Shape;
use tomokit_formats::model::Voxel;

/// Columns of every row that lie inside a circle; all columns where there is none.
#[derive(Clone, Debug)]
pub struct Field {
    spans: Option<Vec<Range<usize>>>,
    cols: usize,
}

/// How a view's pixels lie in the slices it was cut from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Rows and columns of the whole slice.
    pub whole: (usize, usize),
    /// First row and column of the cut.
    pub start: (usize, usize),
    /// Edge of the cubes averaged.
    pub bin: usize,
}

impl Field {
    /// Every voxel.
    pub fn all(shape: Shape) -> Field {
        Field { spans: None, cols: shape.cols }
    }

    /// The circle inscribed in the whole slice, as seen in a view of `shape`: voxels whose centre lies within.
    pub fn circle(shape: Shape, p: Placement) -> Field {
        let n = p.bin.max(1) as i64;
        let diameter = p.whole.0.min(p.whole.1) as i64;
        // Twice the distance of a pixel's centre from the middle of the whole slice: always a whole number.
        let twice = |i: usize, start: usize, whole: usize| 2 * start as i64 + n * (2 * i as i64 + 1) - whole as i64;
        let inside = |r: i64, c: i64| r * r + c * c <= diameter * diameter;
        let spans = (0..shape.rows)
            .map(|r| {
                let dr = twice(r, p.start.0, p.whole.0);
                let within = |c: &usize| inside(dr, twice(*c, p.start.1, p.whole.1));
                let first = (0..shape.cols).find(within).unwrap_or(shape.cols);
                let end = (first..shape.cols).rev().find(within).map_or(first, |c| c + 1);
                first..end
            })
            .collect();
        Field { spans: Some(spans), cols: shape.cols }
    }

    /// Columns of row `r` that lie inside.
    pub fn row(&self, r: usize) -> Range<usize> {
        self.spans.as_ref().map_or(0..self.cols, |s| s[r].clone())
    }

    /// Voxels of one slice that lie inside.
    pub fn inside(&self, shape: Shape) -> usize {
        self.spans.as_ref().map_or(shape.frame_len(), |s| s.iter().map(|r| r.len()).sum())
    }
}

/// The columns of a row between the exact zeros at its ends; empty where all are zero.
pub fn between_zeros<T: Voxel>(row: &[u8]) -> Range<usize> {
    // Rows of zeros are common: they are passed over many values at a time.
    const MANY: usize = 64;
    let size = size_of::<T>();
    let n = row.len() / size;
    let not_zero = |v: &[u8]| bytemuck::pod_read_unaligned::<T>(v).to_f64() != 0.0;
    let any = |from: usize, to: usize| {
        let bytes = &row[from * size..to * size];
        // Bytes first, which is fastest; only a negative zero is one of the values all the same.
        bytes.iter().fold(0, |a, b| a | b) != 0 && bytes.chunks_exact(size).any(not_zero)
    };
    let mut first = 0;
    while first + MANY <= n && !any(first, first + MANY) {
        first += MANY;
    }
    let first = (first..n).find(|&i| any(i, i + 1)).unwrap_or(n);
    let mut end = n;
    while end >= first + MANY && !any(end - MANY, end) {
        end -= MANY;
    }
    let end = (first..end).rev().find(|&i| any(i, i + 1)).map_or(first, |i| i + 1);
    first..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_circle_is_that_of_the_whole_slice() {
        let shape = Shape::new(1, 8, 8);
        let whole = Placement { whole: (8, 8), start: (0, 0), bin: 1 };
        let f = Field::circle(shape, whole);
        for r in 0..8 {
            for c in 0..8 {
                let (y, x) = (r as f64 - 3.5, c as f64 - 3.5);
                assert_eq!(f.row(r).contains(&c), y * y + x * x <= 16.0, "{r} {c}");
            }
        }
        assert_eq!(f.inside(shape), (0..8).map(|r| f.row(r).len()).sum::<usize>());
        // A cut sees its part of the same circle.
        let cut = Field::circle(Shape::new(1, 3, 4), Placement { whole: (8, 8), start: (1, 2), bin: 1 });
        for r in 0..3 {
            for c in 0..4 {
                assert_eq!(cut.row(r).contains(&c), f.row(r + 1).contains(&(c + 2)), "{r} {c}");
            }
        }
        // Binned by two: pixels of edge two with centres at odd places.
        let half = Field::circle(Shape::new(1, 4, 4), Placement { whole: (8, 8), start: (0, 0), bin: 2 });
        assert_eq!((half.row(0), half.row(1)), (1..3, 0..4));
    }

    #[test]
    fn zeros_at_both_ends_are_outside() {
        let row = |v: &[f32]| between_zeros::<f32>(bytemuck::cast_slice(v));
        assert_eq!(row(&[0.0, -0.0, 1.0, 0.0, f32::NAN, 0.0]), 2..5);
        assert_eq!(row(&[0.0; 4]), 4..4);
        assert_eq!(row(&[1.0]), 0..1);
        assert_eq!(between_zeros::<u8>(&[0, 0, 7]), 2..3);
        for n in [31, 32, 33, 100, 129] {
            for (a, b) in [(0, n), (0, 1), (n - 1, n), (n / 3, n / 2), (30, 31), (5, 5)] {
                let v: Vec<u16> = (0..n).map(|i| u16::from((a..b).contains(&i))).collect();
                let want = if a == b { n..n } else { a..b };
                assert_eq!(between_zeros::<u16>(bytemuck::cast_slice(&v)), want, "{a}..{b} of {n}");
            }
        }
    }
}
