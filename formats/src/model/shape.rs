//! Shapes and regions of stacks: `frames × rows × cols`, C order, columns fastest.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;

/// Size of a stack. For a volume: frames = z (slices), rows = y, cols = x. For projections: frames = angles.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Shape {
    /// Number of frames (slices, projections).
    pub frames: usize,
    /// Rows of one frame (vertical).
    pub rows: usize,
    /// Columns of one frame (horizontal, fastest).
    pub cols: usize,
}

impl Shape {
    /// `frames × rows × cols`.
    pub const fn new(frames: usize, rows: usize, cols: usize) -> Self {
        Shape { frames, rows, cols }
    }

    /// Number of values, or a `Limit` error where the product does not fit 63 bits (a hostile or damaged header).
    pub fn len(&self) -> Result<u64> {
        (self.frames as u64)
            .checked_mul(self.rows as u64)
            .and_then(|n| n.checked_mul(self.cols as u64))
            .filter(|n| *n <= i64::MAX as u64 / 16)
            .ok_or_else(|| Error::limit(format!("{self} is beyond any real volume")))
    }

    /// True where a dimension is zero.
    pub fn is_empty(&self) -> bool {
        self.frames == 0 || self.rows == 0 || self.cols == 0
    }

    /// Values in one frame; call [`Shape::len`] first on untrusted shapes.
    pub fn frame_len(&self) -> usize {
        self.rows * self.cols
    }

    /// The whole stack.
    pub fn full(&self) -> Region {
        Region { frames: 0..self.frames, rows: 0..self.rows, cols: 0..self.cols }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {} × {}", self.frames, self.rows, self.cols)
    }
}

/// A box inside a stack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Region {
    /// Frames, half open.
    pub frames: Range<usize>,
    /// Rows, half open.
    pub rows: Range<usize>,
    /// Columns, half open.
    pub cols: Range<usize>,
}

impl Region {
    /// Whole frames of `shape`.
    pub fn of_frames(shape: Shape, frames: Range<usize>) -> Self {
        Region { frames, rows: 0..shape.rows, cols: 0..shape.cols }
    }

    /// A band of rows of some frames: the core need of reconstruction.
    pub fn of_rows(shape: Shape, frames: Range<usize>, rows: Range<usize>) -> Self {
        Region { frames, rows, cols: 0..shape.cols }
    }

    /// Its own size.
    pub fn shape(&self) -> Shape {
        Shape::new(self.frames.len(), self.rows.len(), self.cols.len())
    }

    /// Number of values.
    pub fn values(&self) -> usize {
        self.frames.len() * self.rows.len() * self.cols.len()
    }

    /// Fails with a `Caller` error unless the region lies inside `shape` and `out_len` is its size in bytes.
    pub fn check(&self, shape: Shape, value_size: usize, out_len: usize) -> Result<()> {
        let inside = |r: &Range<usize>, n: usize| r.start <= r.end && r.end <= n;
        if !(inside(&self.frames, shape.frames) && inside(&self.rows, shape.rows) && inside(&self.cols, shape.cols)) {
            return Err(Error::caller("the region lies outside the stack")
                .expected(format!("within {shape}"))
                .found(self));
        }
        if self.values() * value_size != out_len {
            return Err(Error::caller("the buffer does not fit the region")
                .expected(format!("{} bytes", self.values() * value_size))
                .found(format!("{out_len} bytes")));
        }
        Ok(())
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "frames {}..{}, rows {}..{}, cols {}..{}",
            self.frames.start, self.frames.end, self.rows.start, self.rows.end, self.cols.start, self.cols.end
        )
    }
}
