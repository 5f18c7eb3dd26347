//! Other orders of the same frames: rows top to bottom reversed, sinograms read as projections.

use crate::source::{Access, FrameSource};
use crate::{DType, Region, Result, Shape};
use std::path::PathBuf;
use std::sync::Arc;

/// Frames with their rows in reverse order. ANATOMIX and PSICHE users end up with this relative to the file's order.
pub struct FlipRows(pub Arc<dyn FrameSource>);

impl FrameSource for FlipRows {
    fn shape(&self) -> Shape {
        self.0.shape()
    }

    fn dtype(&self) -> DType {
        self.0.dtype()
    }

    fn access(&self) -> Access {
        self.0.access()
    }

    fn files(&self) -> Vec<PathBuf> {
        self.0.files()
    }

    fn read(&self, region: &Region, out: &mut [u8]) -> Result<()> {
        let shape = self.shape();
        region.check(shape, self.dtype().size(), out.len())?;
        let rows = shape.rows - region.rows.end..shape.rows - region.rows.start;
        self.0.read(&Region { rows, ..region.clone() }, out)?;
        let line = region.cols.len() * self.dtype().size();
        let (n, frame) = (region.rows.len(), region.rows.len() * line);
        if frame == 0 {
            return Ok(());
        }
        for f in out.chunks_exact_mut(frame) {
            for i in 0..n / 2 {
                let (top, bottom) = f.split_at_mut((n - 1 - i) * line);
                top[i * line..][..line].swap_with_slice(&mut bottom[..line]);
            }
        }
        Ok(())
    }
}

/// A stack stored as sinograms (rows × angles × columns) read as projections (angles × rows × columns).
pub struct Sinograms(pub Arc<dyn FrameSource>);

impl FrameSource for Sinograms {
    fn shape(&self) -> Shape {
        let s = self.0.shape();
        Shape::new(s.rows, s.frames, s.cols)
    }

    fn dtype(&self) -> DType {
        self.0.dtype()
    }

    fn access(&self) -> Access {
        let a = self.0.access();
        Access { unit: Shape::new(a.unit.rows, a.unit.frames, a.unit.cols), ..a }
    }

    fn files(&self) -> Vec<PathBuf> {
        self.0.files()
    }

    fn read(&self, region: &Region, out: &mut [u8]) -> Result<()> {
        region.check(self.shape(), self.dtype().size(), out.len())?;
        let (frames, rows) = (region.frames.len(), region.rows.len());
        let stored = Region { frames: region.rows.clone(), rows: region.frames.clone(), cols: region.cols.clone() };
        if frames <= 1 || rows <= 1 {
            return self.0.read(&stored, out); // the two orders are the same bytes
        }
        let line = region.cols.len() * self.dtype().size();
        let mut block = vec![0u8; out.len()];
        self.0.read(&stored, &mut block)?;
        if line > 0 {
            for (i, dst) in out.chunks_exact_mut(line).enumerate() {
                let (f, r) = (i / rows, i % rows);
                dst.copy_from_slice(&block[(r * frames + f) * line..][..line]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tests::Ramp;

    /// Every box of a small stack equals the naive index formula.
    fn check(source: &dyn FrameSource, value: impl Fn(usize, usize, usize) -> usize) {
        let s = source.shape();
        let ranges = |n: usize| (0..n).flat_map(move |a| (a..=n).map(move |b| a..b)).collect::<Vec<_>>();
        let mut seen = 0;
        for frames in ranges(s.frames) {
            for rows in ranges(s.rows) {
                for cols in ranges(s.cols) {
                    let region = Region { frames: frames.clone(), rows: rows.clone(), cols };
                    let mut out = vec![0u8; region.values() * 2];
                    source.read(&region, &mut out).unwrap();
                    let mut got = out.chunks_exact(2).map(|b| u16::from_ne_bytes([b[0], b[1]]) as usize);
                    for f in region.frames.clone() {
                        for r in region.rows.clone() {
                            for c in region.cols.clone() {
                                assert_eq!(got.next(), Some(value(f, r, c)), "{region}");
                                seen += 1;
                            }
                        }
                    }
                }
            }
        }
        assert!(seen > 1000);
    }

    #[test]
    fn flipped_and_transposed_boxes() {
        let ramp = Arc::new(Ramp(Shape::new(3, 5, 4)));
        check(&FlipRows(ramp.clone()), |f, r, c| (f * 5 + (4 - r)) * 4 + c);
        check(&Sinograms(ramp), |f, r, c| (r * 5 + f) * 4 + c);
    }
}
