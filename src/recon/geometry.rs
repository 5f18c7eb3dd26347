//! Where detector, axis and voxels are. Guarantees that a [`Geometry`] that passed [`Geometry::check`] has finite
//! numbers of workable size; leaves filters, units and numerical choices to [`super::Options`].

use super::Mask;
use rayon::prelude::*;
use std::f64::consts::{PI, TAU};
use tomokit_formats::{Error, Result};

/// Largest detector width, image edge and |axis position| accepted: keeps every index inside 32 bits with room to spare.
const MAX_EDGE: usize = 1 << 20;
/// Largest voxel, detector pixels.
const MAX_BIN: usize = 64;

/// Which rays the detector sees.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Field {
    /// Every projection shows the whole region of interest (or truncates it on both sides alike): 180° or 360°.
    Full,
    /// Extended field (a.k.a. half acquisition): a full turn with the axis near one edge of the detector. Opposite
    /// projections are blended over `slope_px` columns around the axis (PyHST2's PENTEZONE), at most the columns seen
    /// twice: weights `w(s) + w(-s) = 1`, so nothing is counted double and no pairing of projections is needed. The
    /// hand-over is a smooth step: the kinks of a linear one come out as rings of several per cent around the axis.
    Extended {
        /// Width of the hand-over in columns; `f64::INFINITY` means the whole overlap.
        slope_px: f64,
    },
}

/// Where the rotation axis lies in the output slice.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Centre {
    /// In the middle, voxel `((nx-1)/2, (ny-1)/2)` (PyHST2's `axis_to_the_center`).
    Axis,
    /// The slice has the detector's frame: the axis at voxel `(rotation_axis_px, rotation_axis_px)`, so that column j
    /// of the slice lies under detector column j at angle 0.
    Detector,
    /// At this voxel (column, row), fractional allowed, counted in voxels.
    At {
        /// Column of the axis.
        x: f64,
        /// Row of the axis.
        y: f64,
    },
}

/// A rectangle of voxels, half-open: columns `x0..x1`, rows `y0..y1` of the full slice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Roi {
    /// First column.
    pub x0: usize,
    /// One past the last column.
    pub x1: usize,
    /// First row.
    pub y0: usize,
    /// One past the last row.
    pub y1: usize,
}

/// The slice to make.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Output {
    /// Columns of the full slice.
    pub nx: usize,
    /// Rows of the full slice.
    pub ny: usize,
    /// Where the axis is.
    pub centre: Centre,
    /// Part to make; `None` = all. Its values equal the cut-out of the full slice.
    pub roi: Option<Roi>,
    /// Edge of a voxel in detector pixels, at least 1. Larger voxels hold the slice without the frequencies that they
    /// cannot show: nothing is folded back, and nothing else is lost. Voxels are counted in this size.
    pub bin: usize,
}

/// Detector, angles, axis and output of a parallel-beam scan.
#[derive(Clone, PartialEq, Debug)]
pub struct Geometry {
    /// Detector columns.
    pub cols: usize,
    /// One angle per projection, radians, any order and spacing.
    pub angles_rad: Vec<f64>,
    /// Column of the rotation axis, 0-based pixel centre; may lie between columns and outside the detector.
    pub rotation_axis_px: f64,
    /// Per-projection movement of the axis along the columns, pixels: the axis of projection k is at
    /// `rotation_axis_px + shifts_px[k]` (PyHST2's AXIS_CORRECTION_FILE, first column).
    pub shifts_px: Option<Vec<f64>>,
    /// Added to every angle, radians: turns the slice.
    pub angle_offset_rad: f64,
    /// Full or extended field.
    pub field: Field,
    /// The slice to make.
    pub output: Output,
}

impl Geometry {
    /// A full-field scan whose slice is `cols` × `cols` with the axis in the middle.
    pub fn new(cols: usize, angles_rad: Vec<f64>, rotation_axis_px: f64) -> Self {
        let output = Output { nx: cols, ny: cols, centre: Centre::Axis, roi: None, bin: 1 };
        Geometry {
            cols,
            angles_rad,
            rotation_axis_px,
            shifts_px: None,
            angle_offset_rad: 0.0,
            field: Field::Full,
            output,
        }
    }

    /// The same scan as extended field, with a slice as wide as the circle that was seen.
    pub fn extended(mut self, slope_px: f64) -> Self {
        self.field = Field::Extended { slope_px };
        let edge = (2.0 * (self.far_px() + 0.5)).floor().clamp(1.0, MAX_EDGE as f64) as usize;
        self.output.nx = edge;
        self.output.ny = edge;
        self
    }

    /// The same slice in voxels of `bin` detector pixels, as many as fit whole; of a region, those it touches.
    pub fn binned(mut self, bin: usize) -> Self {
        let o = &mut self.output;
        let old = o.bin;
        let to = |n: usize| (n * old / bin.max(1)).max(1);
        if let Centre::At { x, y } = &mut o.centre {
            // Voxel 0 begins where voxel 0 began.
            let moved = |c: f64| ((c + 0.5) * old as f64) / bin as f64 - 0.5;
            (*x, *y) = (moved(*x), moved(*y));
        }
        (o.nx, o.ny, o.bin) = (to(o.nx), to(o.ny), bin);
        if let Some(r) = &mut o.roi {
            let part = |a: &mut usize, b: &mut usize, n: usize| {
                *b = (*b * old).div_ceil(bin.max(1)).clamp(1, n);
                *a = (*a * old / bin.max(1)).min(*b - 1);
            };
            part(&mut r.x0, &mut r.x1, o.nx);
            part(&mut r.y0, &mut r.y1, o.ny);
        }
        self
    }

    /// Equal steps: `k * range / n`.
    pub fn uniform_angles(n: usize, range_rad: f64) -> Vec<f64> {
        (0..n).map(|k| range_rad * k as f64 / n as f64).collect()
    }

    /// Checks sizes and numbers; every error is the caller's.
    pub fn check(&self) -> Result<()> {
        let n = self.angles_rad.len();
        if self.cols == 0 || n == 0 {
            return Err(Error::caller("a reconstruction needs at least one projection with at least one column")
                .found(format!("{n} projections of {} columns", self.cols)));
        }
        if let Some(k) = self.angles_rad.iter().position(|a| !a.is_finite() || a.abs() > 1e6) {
            return Err(Error::caller(format!("the angle of projection {k} is not a usable number"))
                .expected("radians, finite")
                .found(self.angles_rad[k])
                .hint("give the angles explicitly or leave that projection out"));
        }
        if !self.angle_offset_rad.is_finite() || self.angle_offset_rad.abs() > 1e6 {
            return Err(Error::caller("the angle offset is not a usable number").found(self.angle_offset_rad));
        }
        let reach = MAX_EDGE as f64;
        if !self.rotation_axis_px.is_finite() || self.rotation_axis_px.abs() > reach {
            return Err(Error::caller("the rotation axis position is not a usable number")
                .expected(format!("a column near 0..{}", self.cols))
                .found(self.rotation_axis_px));
        }
        if let Some(s) = &self.shifts_px {
            if s.len() != n {
                return Err(Error::caller("there must be one axis shift per projection").expected(n).found(s.len()));
            }
            if let Some(k) = s.iter().position(|v| !v.is_finite() || v.abs() > reach) {
                return Err(Error::caller(format!("the axis shift of projection {k} is not a usable number"))
                    .expected("pixels, finite")
                    .found(s[k]));
            }
        }
        if let Field::Extended { slope_px } = self.field
            && (slope_px.is_nan() || slope_px < 0.0)
        {
            return Err(Error::caller("the overlap slope of an extended field must not be negative").found(slope_px));
        }
        let o = &self.output;
        for (what, v) in [("detector columns", self.cols), ("slice columns", o.nx), ("slice rows", o.ny)] {
            if v == 0 || v > MAX_EDGE {
                return Err(Error::caller(format!("the number of {what} is out of range"))
                    .expected(format!("1..={MAX_EDGE}"))
                    .found(v));
            }
        }
        if !(1..=MAX_BIN).contains(&o.bin) {
            return Err(Error::caller("the voxels' size is out of range")
                .expected(format!("1 to {MAX_BIN} detector pixels"))
                .found(o.bin));
        }
        if let Centre::At { x, y } = o.centre
            && !(x.abs() <= reach && y.abs() <= reach)
        {
            return Err(Error::caller("the position of the axis in the slice is not a usable number")
                .found(format!("({x}, {y})")));
        }
        let r = self.roi();
        if r.x0 >= r.x1 || r.y0 >= r.y1 || r.x1 > o.nx || r.y1 > o.ny {
            return Err(Error::caller("the region of interest does not lie in the slice")
                .expected(format!("columns within 0..{}, rows within 0..{}", o.nx, o.ny))
                .found(format!("columns {}..{}, rows {}..{}", r.x0, r.x1, r.y0, r.y1)));
        }
        Ok(())
    }

    /// The region that is made: the ROI, or the full slice.
    pub fn roi(&self) -> Roi {
        self.output.roi.unwrap_or(Roi { x0: 0, x1: self.output.nx, y0: 0, y1: self.output.ny })
    }

    /// Columns and rows of the slices that are made.
    pub fn slice_size(&self) -> (usize, usize) {
        let r = self.roi();
        (r.x1.saturating_sub(r.x0), r.y1.saturating_sub(r.y0))
    }

    /// Voxel (column, row) of the axis in the full slice.
    pub fn axis_voxel(&self) -> (f64, f64) {
        match self.output.centre {
            Centre::Axis => ((self.output.nx as f64 - 1.0) / 2.0, (self.output.ny as f64 - 1.0) / 2.0),
            Centre::Detector => {
                let b = self.output.bin as f64;
                let c = (self.rotation_axis_px - (b - 1.0) / 2.0) / b;
                (c, c)
            }
            Centre::At { x, y } => (x, y),
        }
    }

    /// Column of the axis in projection `k`.
    pub fn axis_of(&self, k: usize) -> f64 {
        self.rotation_axis_px + self.shifts_px.as_ref().map_or(0.0, |s| s[k])
    }

    /// Angle of projection `k` with the offset, radians.
    pub fn angle_of(&self, k: usize) -> f64 {
        self.angles_rad[k] + self.angle_offset_rad
    }

    /// Distance from the axis to the farther end column, pixels.
    pub fn far_px(&self) -> f64 {
        self.rotation_axis_px.max(self.cols as f64 - 1.0 - self.rotation_axis_px)
    }

    /// True if the axis is nearer to the last column than to the first.
    pub fn axis_on_right(&self) -> bool {
        self.rotation_axis_px > (self.cols as f64 - 1.0) / 2.0
    }

    /// Width of a projection as the filter must see it: the detector, or the completed width of an extended field.
    pub fn filter_width(&self) -> usize {
        match self.field {
            Field::Full => self.cols,
            Field::Extended { .. } => {
                let moved =
                    self.shifts_px.as_ref().map_or(0.0, |s| s.iter().fold(0.0_f64, |m, v| m.max(v.abs()))).ceil();
                ((2.0 * (self.far_px() + moved)).ceil() as usize + 1).max(self.cols)
            }
        }
    }

    /// Quadrature weight of every projection, radians; see [`angle_weights`]. The period is π, or 2π for an extended
    /// field, where a ray and its opposite share the weight column by column.
    pub fn weights(&self) -> Vec<f64> {
        angle_weights(&self.angles_rad, self.period())
    }

    pub(super) fn period(&self) -> f64 {
        match self.field {
            Field::Full => PI,
            Field::Extended { .. } => TAU,
        }
    }

    /// Blending weight of column `u` of projection `k`: 1 for a full field.
    pub fn overlap_weight(&self, k: usize, u: f64) -> f64 {
        let Field::Extended { slope_px } = self.field else { return 1.0 };
        let c = self.axis_of(k);
        let near = if self.axis_on_right() { self.cols as f64 - 1.0 - c } else { c };
        let slope = slope_px.min(2.0 * near).max(1e-9);
        let s = if self.axis_on_right() { c - u } else { u - c };
        let t = (0.5 + s / slope).clamp(0.0, 1.0);
        t * t * (3.0 - 2.0 * t)
    }

    /// Half-open columns of the full slice, for every row, whose centres every projection sees (within half a pixel of
    /// its end columns). For an extended field: the circle swept by the far end of the detector.
    ///
    /// The intersection of strips is convex, so one interval per row describes it exactly.
    pub fn seen(&self) -> Vec<(usize, usize)> {
        let strips: Vec<Strip> = match self.field {
            Field::Full => (0..self.angles_rad.len()).map(|k| Strip::of(self, k)).collect(),
            Field::Extended { .. } => Vec::new(),
        };
        (0..self.output.ny).into_par_iter().with_min_len(16).map(|i| self.seen_in(i, &strips)).collect()
    }

    /// What a mask leaves of every row; `None` if all.
    pub(super) fn masked(&self, mask: Mask) -> Option<Vec<(usize, usize)>> {
        if mask == Mask::Off {
            return None;
        }
        let mut rows = self.seen();
        if mask == Mask::SeenInSquare && self.field == Field::Full {
            let near = self.rotation_axis_px.min(self.cols as f64 - 1.0 - self.rotation_axis_px);
            let half = near / self.output.bin as f64;
            let (cx, cy) = self.axis_voxel();
            let part = |c: f64, n: usize| {
                let at = |v: f64| (v - 1e-9).ceil().clamp(0.0, n as f64) as usize;
                (at(c - half - 0.5), at(c + half - 0.5))
            };
            let (x, y) = (part(cx, self.output.nx), part(cy, self.output.ny));
            for (i, (a, b)) in rows.iter_mut().enumerate() {
                (*a, *b) = ((*a).max(x.0), (*b).min(x.1));
                if *a >= *b || i < y.0 || i >= y.1 {
                    (*a, *b) = (0, 0);
                }
            }
        }
        Some(rows)
    }

    fn seen_in(&self, i: usize, strips: &[Strip]) -> (usize, usize) {
        let (cx, cy) = self.axis_voxel();
        let bin = self.output.bin as f64;
        let y = (cy - i as f64) * bin;
        let (mut lo, mut hi) = (f64::NEG_INFINITY, f64::INFINITY);
        match self.field {
            Field::Full => {
                // Plain comparisons, so that the loop goes into vector registers.
                let (mut blocked, mut l, mut h) = (false, lo, hi);
                for s in strips {
                    let (a, b) = (s.first + y * s.slope, s.last + y * s.slope);
                    l = if a > l { a } else { l };
                    h = if b < h { b } else { h };
                    blocked |= (y * s.along + s.from > 1e-9) | (y * s.along + s.to < -1e-9);
                }
                if blocked {
                    return (0, 0);
                }
                (lo, hi) = (l, h);
            }
            Field::Extended { .. } => {
                let r = self.far_px() + 0.5;
                if y.abs() > r {
                    return (0, 0);
                }
                hi = (r * r - y * y).sqrt();
                lo = -hi;
            }
        }
        let nx = self.output.nx as f64;
        let first = (lo / bin + cx - 1e-9).ceil().clamp(0.0, nx);
        let end = ((hi / bin + cx + 1e-9).floor() + 1.0).clamp(0.0, nx);
        if first >= end { (0, 0) } else { (first as usize, end as usize) }
    }
}

/// What one projection sees: `first + y slope <= x <= last + y slope`, pixels from the axis. A strip along the rows
/// holds all of a row or nothing: then `from + y along <= 0 <= to + y along` decides, which is true of all others.
struct Strip {
    first: f64,
    last: f64,
    slope: f64,
    from: f64,
    to: f64,
    along: f64,
}

impl Strip {
    fn of(g: &Geometry, k: usize) -> Strip {
        let (sin, cos) = g.angle_of(k).sin_cos();
        let (a, b) = (-0.5 - g.axis_of(k), g.cols as f64 - 0.5 - g.axis_of(k));
        if cos.abs() < 1e-9 {
            return Strip { first: f64::NEG_INFINITY, last: f64::INFINITY, slope: 0.0, from: a, to: b, along: -sin };
        }
        let (first, last) = ((a / cos).min(b / cos), (a / cos).max(b / cos));
        Strip { first, last, slope: -sin / cos, from: 0.0, to: 0.0, along: 0.0 }
    }
}

/// Quadrature weights of a list of angles: half the gap to the neighbours, modulo `period`; they sum to `period`.
/// Equal steps over π give π/K each, over 2π also π/K (each ray is seen twice), a repeated end point shares its weight.
/// A single projection gets the whole period.
pub fn angle_weights(angles_rad: &[f64], period: f64) -> Vec<f64> {
    let n = angles_rad.len();
    if n <= 1 {
        return vec![period; n];
    }
    let folded: Vec<f64> = angles_rad.iter().map(|a| a.rem_euclid(period)).collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| folded[a].total_cmp(&folded[b]));
    let mut w = vec![0.0; n];
    for p in 0..n {
        let (a, b) = (order[p], order[(p + 1) % n]);
        let gap = if p + 1 == n { folded[b] + period - folded[a] } else { folded[b] - folded[a] };
        w[a] += gap / 2.0;
        w[b] += gap / 2.0;
    }
    w
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_usual_scans() {
        for (n, range) in [(181, PI), (360, TAU), (361, TAU)] {
            for w in angle_weights(&Geometry::uniform_angles(n, range), PI) {
                assert!((w - PI / n as f64).abs() < 1e-9, "{n} over {range}: {w}");
            }
        }
        // 0..=180 inclusive: the two ends are the same ray.
        let w = angle_weights(&(0..=180).map(|d| f64::from(d) * PI / 180.0).collect::<Vec<_>>(), PI);
        assert!((w[0] + w[180] - w[90]).abs() < 1e-9);
        assert!((w.iter().sum::<f64>() - PI).abs() < 1e-9);
        assert_eq!(angle_weights(&[0.3], PI), vec![PI]);
        // Order does not matter.
        let a = [0.1, 2.0, 0.7, 1.5];
        let b = [2.0, 1.5, 0.1, 0.7];
        let (wa, wb) = (angle_weights(&a, PI), angle_weights(&b, PI));
        assert!((wa[0] - wb[2]).abs() < 1e-12 && (wa[1] - wb[0]).abs() < 1e-12);
        assert!((wa[2] - 0.7).abs() < 1e-12, "half of (0.1..1.5)");
    }

    #[test]
    fn overlap_weights_of_opposite_columns_sum_to_one() {
        for axis in [180.3, 12.75] {
            for slope in [0.0, 5.0, 1e9] {
                let g = Geometry::new(200, Geometry::uniform_angles(100, TAU), axis).extended(slope);
                for u in 0..200 {
                    let mirror = 2.0 * axis - f64::from(u);
                    let w = g.overlap_weight(0, f64::from(u));
                    if (0.0..=199.0).contains(&mirror) {
                        assert!((w + g.overlap_weight(0, mirror) - 1.0).abs() < 1e-9);
                    } else {
                        assert_eq!(w, 1.0, "axis {axis} column {u} is seen once");
                    }
                }
            }
        }
    }

    #[test]
    fn seen_region_equals_the_test_of_every_voxel() {
        let mut g = Geometry::new(33, Geometry::uniform_angles(20, PI), 13.2);
        g.output = Output { nx: 37, ny: 41, centre: Centre::At { x: 17.0, y: 22.5 }, roi: None, bin: 1 };
        // Projections along the rows.
        (g.angles_rad[3], g.angles_rad[7]) = (PI / 2.0, -PI / 2.0);
        let mut inside = 0;
        for (i, (a, b)) in g.seen().into_iter().enumerate() {
            for j in 0..37 {
                let seen = (0..20).all(|k| {
                    let t = g.angle_of(k);
                    let u = (j as f64 - 17.0) * t.cos() + (22.5 - i as f64) * t.sin() + 13.2;
                    (-0.5..=32.5).contains(&u)
                });
                assert_eq!(seen, (a..b).contains(&j), "voxel {i},{j}");
                inside += usize::from(seen);
            }
        }
        assert!(inside > 300 && inside < 37 * 41);
    }

    #[test]
    fn bad_geometry_is_refused() {
        let good = Geometry::new(10, vec![0.0, 1.0], 4.5);
        good.check().unwrap();
        let bad: [fn(&mut Geometry); 8] = [
            |g| g.cols = 0,
            |g| g.angles_rad.clear(),
            |g| g.angles_rad[1] = f64::NAN,
            |g| g.rotation_axis_px = f64::INFINITY,
            |g| g.shifts_px = Some(vec![0.0]),
            |g| g.output.nx = usize::MAX,
            |g| g.output.roi = Some(Roi { x0: 3, x1: 3, y0: 0, y1: 1 }),
            |g| g.output.roi = Some(Roi { x0: 0, x1: 11, y0: 0, y1: 1 }),
        ];
        for f in bad {
            let mut g = good.clone();
            f(&mut g);
            assert!(g.check().is_err());
        }
    }
}
