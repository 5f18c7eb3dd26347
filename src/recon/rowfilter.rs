//! From projections to filtered projections: weight, pad, FFT, filter, inverse FFT, spread over SIMD lanes.
//!
//! A projection lives on a circle of `len >= 2 * width` columns, its own columns at `0..cols`, padding around. The
//! filtered projection is kept as far around as the output asks, because what a ramp spreads beyond the detector is
//! needed there (the corners of a slice, the unseen side of an extended field). Leaves angles and voxels to the back
//! end.

use super::{Field, Geometry, Options, Padding, Weights};
use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use std::sync::Arc;
use tomokit_formats::Result;

/// Tables shared by all rows.
pub(super) struct RowFilter {
    cols: usize,
    len: usize,
    /// Columns of padding to the left of column 0; the rest is to the right of the last.
    left: usize,
    padding: Padding,
    /// Response × unit scale / FFT length.
    response: Vec<f32>,
    /// Quadrature weight per projection.
    weights: Vec<f32>,
    overlap: Option<Overlap>,
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
}

/// Blending weights of an extended field: the smooth step of `clamp(start[k] + slope * u, 0, 1)` for column u of
/// projection k ([`Geometry::overlap_weight`]).
struct Overlap {
    start: Vec<f32>,
    slope: f32,
    /// True if the axis is near the last column.
    near_right: bool,
}

/// Buffers of one worker.
pub(super) struct RowScratch {
    row: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    fft: Vec<Complex<f32>>,
}

impl RowFilter {
    pub(super) fn new(g: &Geometry, o: &Options) -> Result<Self> {
        let len = o.filter.fft_len(g.filter_width(), o.pad_factor);
        let mut planner = RealFftPlanner::<f32>::new();
        let scale = o.scale()? / len as f64;
        let n = g.angles_rad.len();
        let weights = match o.weights {
            Weights::Gaps => g.weights(),
            Weights::Equal => vec![g.period() / n as f64; n],
        };
        let mut response = o.filter.response(len, o.cutoff);
        super::filter::low_pass(&mut response, len, g.output.bin);
        let overlap = matches!(g.field, Field::Extended { .. }).then(|| Overlap::new(g));
        Ok(RowFilter {
            cols: g.cols,
            len,
            left: (len - g.cols) / 2,
            padding: o.padding,
            response: response.iter().map(|v| (v * scale) as f32).collect(),
            weights: weights.iter().map(|w| *w as f32).collect(),
            overlap,
            forward: planner.plan_fft_forward(len),
            inverse: planner.plan_fft_inverse(len),
        })
    }

    /// FFT length.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// First and last column (inclusive) of the circle, as seen from the detector.
    pub(super) fn span(&self) -> (i64, i64) {
        (-(self.left as i64), (self.len - self.left) as i64 - 1)
    }

    /// Bytes of one [`RowScratch`].
    pub(super) fn scratch_bytes(&self) -> u64 {
        let fft = self.forward.get_scratch_len().max(self.inverse.get_scratch_len());
        (self.len * 4 + (self.len / 2 + 1) * 8 + fft * 8) as u64
    }

    pub(super) fn scratch(&self) -> RowScratch {
        let fft = self.forward.get_scratch_len().max(self.inverse.get_scratch_len());
        let zero = Complex::new(0.0, 0.0);
        RowScratch { row: vec![0.0; self.len], spectrum: vec![zero; self.len / 2 + 1], fft: vec![zero; fft] }
    }

    /// Filters one projection of one slice and writes columns `lo, lo + 1, …` to `out[0], out[stride], …`.
    pub(super) fn apply(&self, k: usize, row: &[f32], s: &mut RowScratch, lo: i64, out: &mut [f32], stride: usize) {
        self.pad(k, row, &mut s.row);
        // The lengths are the plans' own, so these cannot fail; a wrong length would leave the row unfiltered.
        let ok = self.forward.process_with_scratch(&mut s.row, &mut s.spectrum, &mut s.fft).is_ok();
        for (v, r) in s.spectrum.iter_mut().zip(&self.response) {
            *v *= *r;
        }
        // Purely real by symmetry; realfft reports rounding residue there as an error otherwise.
        s.spectrum[0].im = 0.0;
        s.spectrum[self.len / 2].im = 0.0;
        let ok = ok && self.inverse.process_with_scratch(&mut s.spectrum, &mut s.row, &mut s.fft).is_ok();
        debug_assert!(ok);
        let start = lo.rem_euclid(self.len as i64) as usize;
        let (before, after) = s.row.split_at(start);
        for (o, v) in out.iter_mut().step_by(stride).zip(after.iter().chain(before)) {
            *o = *v;
        }
    }

    /// The weighted row on its circle.
    fn pad(&self, k: usize, row: &[f32], out: &mut [f32]) {
        let n = self.cols;
        let w = self.weights[k];
        match &self.overlap {
            None => out.iter_mut().zip(row).for_each(|(o, v)| *o = v * w),
            Some(b) => {
                for (u, (o, v)) in out.iter_mut().zip(row).enumerate() {
                    let t = (b.start[k] + b.slope * u as f32).clamp(0.0, 1.0);
                    *o = v * (w * (t * t * (3.0 - 2.0 * t)));
                }
            }
        }
        let (mut left, mut right) = match self.padding {
            Padding::Edge => (out[0], out[n - 1]),
            Padding::Zero => (0.0, 0.0),
        };
        // The side near the axis is completed by the opposite projections.
        match &self.overlap {
            Some(b) if b.near_right => right = 0.0,
            Some(_) => left = 0.0,
            None => (),
        }
        let turn = self.len - self.left;
        out[n..turn].fill(right);
        out[turn..].fill(left);
    }
}

impl Overlap {
    fn new(g: &Geometry) -> Self {
        // The argument of the smooth step is linear in the column.
        let near_right = g.axis_on_right();
        let near = if near_right { g.cols as f64 - 1.0 - g.rotation_axis_px } else { g.rotation_axis_px };
        let width = match g.field {
            Field::Extended { slope_px } => slope_px.min(2.0 * near).max(1e-9),
            Field::Full => f64::INFINITY,
        };
        let sign = if near_right { -1.0 } else { 1.0 };
        let start = (0..g.angles_rad.len()).map(|k| (0.5 - sign * g.axis_of(k) / width) as f32).collect();
        Overlap { start, slope: (sign / width) as f32, near_right }
    }
}
