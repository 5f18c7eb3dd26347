//! A reconstruction in plain numbers: what geometry and options mean to the gridding stages.

use super::super::filter::{fast_len, low_pass};
use super::super::{Field, Geometry, Mask, Options, Padding, Weights};
use super::project::{Beyond, Blend};
use std::ops::Range;
use tomokit_formats::Result;

/// Slope of the blending of an extended field as a function of the axis.
#[derive(Clone, Debug)]
pub(super) struct Slope {
    width_px: f64,
    last_col: f64,
    /// True if the axis is near the last column.
    right: bool,
}

impl Slope {
    fn new(g: &Geometry) -> Option<Slope> {
        let Field::Extended { slope_px } = g.field else { return None };
        Some(Slope { width_px: slope_px, last_col: g.cols as f64 - 1.0, right: g.axis_on_right() })
    }

    /// For an axis at this column: over the hand-over, at most the columns seen twice.
    pub(super) fn of(&self, axis: f64) -> f64 {
        let near = if self.right { self.last_col - axis } else { axis };
        let sign = if self.right { -1.0 } else { 1.0 };
        sign / self.width_px.min(2.0 * near).max(1e-9)
    }
}

/// What is to be computed, in plain numbers.
pub(super) struct Problem {
    /// Detector columns.
    pub(super) cols: usize,
    /// Length of the circle of columns a projection lives on: even, no prime factor above 5, at least `cols`. The padding
    /// is `(len - cols) / 2` columns before column 0, the rest after the last one.
    pub(super) len: usize,
    /// Radians; `u = x cos t + y sin t + axis`.
    pub(super) angles: Vec<f64>,
    /// Column of the axis.
    pub(super) axis_px: f64,
    /// Column of the axis per projection.
    pub(super) axes: Vec<f64>,
    /// Quadrature weight per projection.
    pub(super) weights: Vec<f64>,
    /// Filter response for the frequencies `0..=len/2`, unit scale included.
    pub(super) response: Vec<f64>,
    /// Beyond the first column, beyond the last.
    pub(super) beyond: (Beyond, Beyond),
    /// Blending weights of an extended field.
    pub(super) blend: Option<Blend>,
    /// How their slope follows the axis.
    pub(super) slope: Option<Slope>,
    /// Edge of a voxel in columns; voxels are counted in it.
    pub(super) bin: usize,
    /// Columns and rows of the full slice.
    pub(super) size: (usize, usize),
    /// Voxel (column, row) of the axis: voxel (j, i) lies at `x = bin (j - axis.0)`, `y = bin (axis.1 - i)`.
    pub(super) axis: (f64, f64),
    /// Columns and rows of the slice to make.
    pub(super) region: (Range<usize>, Range<usize>),
    /// Wanted relative rms error.
    pub(super) tolerance: f64,
}

impl Problem {
    /// The last frequency of a projection that the voxels can show.
    pub(super) fn last(&self) -> usize {
        self.len / (2 * self.bin)
    }

    pub(super) fn of(g: &Geometry, o: &Options, axes: &[f64]) -> Result<Problem> {
        let n = g.angles_rad.len();
        let with = |axis: &f64| circle(&Geometry { rotation_axis_px: *axis, ..g.clone() }, o);
        let len = axes.iter().map(with).fold(circle(g, o), usize::max);
        let scale = o.scale()?;
        let outside = match o.padding {
            Padding::Edge => Beyond::Edge,
            Padding::Zero => Beyond::Zero,
        };
        let (mut beyond, mut blend) = ((outside, outside), None);
        let slope = Slope::new(g);
        if let Some(s) = &slope {
            // The side near the axis is completed by the opposite projections.
            let slope = s.of(g.rotation_axis_px);
            let start = (0..n).map(|k| (0.5 - slope * g.axis_of(k)) as f32).collect();
            blend = Some(Blend { start, slope: slope as f32 });
            *(if s.right { &mut beyond.1 } else { &mut beyond.0 }) = Beyond::Zero;
        }
        let mut response = o.filter.response(len, o.cutoff);
        low_pass(&mut response, len, g.output.bin);
        let roi = g.roi();
        Ok(Problem {
            cols: g.cols,
            len,
            angles: (0..n).map(|k| g.angle_of(k)).collect(),
            axis_px: g.rotation_axis_px,
            axes: (0..n).map(|k| g.axis_of(k)).collect(),
            weights: match o.weights {
                Weights::Gaps => g.weights(),
                Weights::Equal => vec![g.period() / n as f64; n],
            },
            response: response.iter().map(|v| v * scale).collect(),
            beyond,
            blend,
            slope,
            bin: g.output.bin,
            size: (g.output.nx, g.output.ny),
            axis: g.axis_voxel(),
            region: (roi.x0..roi.x1, roi.y0..roi.y1),
            tolerance: o.tolerance,
        })
    }
}

/// Length of the circle of columns: what the filter asks for, or more where the slice reaches further beyond the detector
/// (an axis far outside, a slice wider than the detector), so that no voxel meets a projection's next turn.
pub(in super::super) fn circle(g: &Geometry, o: &Options) -> usize {
    let len = o.filter.fft_len(g.filter_width(), o.pad_factor);
    if o.mask != Mask::Off && g.field == Field::Full {
        return len;
    }
    let (cx, cy) = g.axis_voxel();
    let (xs, ys) = ([-cx, g.output.nx as f64 - 1.0 - cx], [cy, cy + 1.0 - g.output.ny as f64]);
    let middle = (g.cols as f64 - 1.0) / 2.0;
    let bin = g.output.bin as f64;
    let mut reach: f64 = 0.0;
    for k in 0..g.angles_rad.len() {
        let (sin, cos) = g.angle_of(k).sin_cos();
        for (x, y) in xs.iter().flat_map(|x| ys.iter().map(move |y| (x, y))) {
            reach = reach.max((bin * (x * cos + y * sin) + g.axis_of(k) - middle).abs());
        }
    }
    len.max(fast_len((2.0 * reach).ceil() as usize + 2))
}
