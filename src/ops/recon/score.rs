//! How good an axis is, judged by the slice it gives. A wrong axis splits every edge into two halves and smears them
//! into arcs: grey values spread, and there is more that varies.
//!
//! - `entropy`: of a histogram of 256 bins over a range common to all axes; the right axis has the smallest (Donath,
//!   Beckmann and Schreyer, J. Opt. Soc. Am. A 23, 2006). It decides.
//! - `variation`: mean length of the gradient; the right axis has the smallest. A second opinion: noise and truncation
//!   move it more than the entropy. The energy of the gradient, often used, is no measure here: a wrong axis makes
//!   cusps, which raise it (its maximum was a column off on a phantom without noise).
//!
//! Both look at a disc around the axis only, so that what lies outside the field of view does not count.

use serde::Serialize;

/// Bins of the entropy's histogram.
const BINS: usize = 256;

/// Numbers about one slice; comparable between slices made of the same sinogram with the same disc and range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Score {
    /// Bits per voxel; smaller is better.
    pub entropy: f64,
    /// Mean length of the gradient, in units of the range per voxel; smaller is better.
    pub variation: f64,
}

/// The disc looked at, in voxels of the slice as made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Disc {
    pub x: f64,
    pub y: f64,
    pub radius: f64,
}

impl Disc {
    /// Columns of row `i` inside.
    fn columns(&self, i: usize, cols: usize) -> std::ops::Range<usize> {
        let dy = i as f64 - self.y;
        let half = self.radius * self.radius - dy * dy;
        if half <= 0.0 {
            return 0..0;
        }
        let half = half.sqrt();
        let from = (self.x - half).ceil().clamp(0.0, cols as f64) as usize;
        let to = ((self.x + half).floor() + 1.0).clamp(0.0, cols as f64) as usize;
        from..to.max(from)
    }

    /// Finite values inside.
    pub fn values(&self, slice: &[f32], cols: usize) -> Vec<f32> {
        let rows = slice.chunks_exact(cols).enumerate();
        rows.flat_map(|(i, row)| row[self.columns(i, cols)].iter().copied()).filter(|v| v.is_finite()).collect()
    }
}

/// A range that holds all but a few of the values, widened by half on both sides for slices that spread further.
pub(super) fn range_of(mut values: Vec<f32>) -> (f64, f64) {
    if values.is_empty() {
        return (0.0, 1.0);
    }
    let last = values.len() - 1;
    let cut = (last as f64 * 5e-4) as usize;
    let low = f64::from(*values.select_nth_unstable_by(cut, f32::total_cmp).1);
    let high = f64::from(*values.select_nth_unstable_by(last - cut, f32::total_cmp).1);
    let half = ((high - low) / 2.0).max(f64::from(f32::MIN_POSITIVE));
    (low - half, high + half)
}

/// Judges a slice.
pub(super) fn score(slice: &[f32], cols: usize, disc: Disc, (low, high): (f64, f64)) -> Score {
    let rows = slice.len() / cols;
    let scale = BINS as f64 / (high - low);
    let mut counts = [0u64; BINS];
    let (mut variation, mut gradients) = (0.0, 0u64);
    for i in 0..rows {
        for j in disc.columns(i, cols) {
            let v = slice[i * cols + j];
            if !v.is_finite() {
                continue;
            }
            let bin = ((f64::from(v) - low) * scale).clamp(0.0, BINS as f64 - 1.0) as usize;
            counts[bin] += 1;
            if i > 0 && j > 0 && i + 1 < rows && j + 1 < cols {
                let dx = slice[i * cols + j + 1] - slice[i * cols + j - 1];
                let dy = slice[(i + 1) * cols + j] - slice[(i - 1) * cols + j];
                let g = f64::from(dx) * f64::from(dx) + f64::from(dy) * f64::from(dy);
                if g.is_finite() {
                    variation += g.sqrt() / 2.0;
                    gradients += 1;
                }
            }
        }
    }
    let total: u64 = counts.iter().sum();
    let entropy = -counts
        .iter()
        .filter(|c| **c > 0)
        .map(|c| {
            let p = *c as f64 / total as f64;
            p * p.log2()
        })
        .sum::<f64>();
    Score { entropy: entropy.max(0.0), variation: variation / gradients.max(1) as f64 / (high - low) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_edge_and_an_arc_score_worse_and_the_outside_does_not_count() {
        let n = 64;
        let disc = Disc { x: 31.5, y: 31.5, radius: 28.0 };
        let make = |f: &dyn Fn(f64, f64) -> f64| -> Vec<f32> {
            (0..n * n).map(|p| f((p % n) as f64 - 31.5, (p / n) as f64 - 31.5) as f32).collect()
        };
        let step = |d: f64| f64::from(d < 12.0);
        let sharp = make(&|x, y| step(x.hypot(y)));
        let arc = |x: f64, y: f64| f64::from((x.hypot(y) - 18.0).abs() < 1.0) * 0.1;
        let split = make(&|x, y| (step((x - 2.0).hypot(y)) + step((x + 2.0).hypot(y))) / 2.0 + arc(x, y));
        let range = range_of(disc.values(&sharp, n));
        assert_eq!(range, (-0.5, 1.5));
        let (a, b) = (score(&sharp, n, disc, range), score(&split, n, disc, range));
        assert!(a.variation < b.variation && a.entropy < b.entropy, "{a:?} {b:?}");
        let mut dirty = sharp.clone();
        dirty[0] = 1e6;
        dirty[n * n - 1] = f32::NAN;
        assert_eq!(score(&dirty, n, disc, range), a);
        assert_eq!(range_of(Vec::new()), (0.0, 1.0));
    }
}
