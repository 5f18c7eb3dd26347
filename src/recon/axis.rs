//! Rotation axis from opposite projections.
//!
//! A projection and the one half a turn later are mirror images about the axis: `b(2c - u) = a(u)`. With `b` flipped,
//! the two differ by a shift `d = (cols - 1) - 2c`, found as the peak of the normalised cross-correlation over the
//! columns both see, by FFT, refined by a parabola. The correlation is normalised by the energy inside the overlap at
//! every shift, so that the same search finds an axis in the middle and one near the edge (extended field). Rows are
//! band-passed first. The correlations of all rows and pairs added up give the value; those of bands of rows, each for
//! itself, give its spread, the confidence and the tilt.
//!
//! A scan over 180° minus a step has no exact pair, and a pair that misses by a step moves the answer (by 0.4 columns
//! on the tooth of the tests, 1° per step). The movement is linear in the mismatch, so pairs one and two steps off are
//! extrapolated to none.
//!
//! Takes −log projections, gives a column (0-based pixel centre). Leaves reading and correcting to others.

use super::filter::fast_len;
use rayon::prelude::*;
use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};
use std::f64::consts::{PI, TAU};
use std::sync::Arc;
use tomokit_formats::{Error, Result};

/// Two corrected projections half a turn apart, `[row][column]`.
#[derive(Clone, Copy)]
pub struct Pair<'a> {
    /// At some angle.
    pub first: &'a [f32],
    /// Half a turn later.
    pub opposite: &'a [f32],
    /// By how much the turn between them exceeds half a turn, radians; 0 for an exact pair.
    pub mismatch_rad: f64,
}

/// Frame numbers of a pair.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PairIndex {
    /// The earlier frame.
    pub first: usize,
    /// The later frame.
    pub opposite: usize,
    /// As [`Pair::mismatch_rad`].
    pub mismatch_rad: f64,
}

/// How to search.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AxisOptions {
    /// Smallest axis position tried, columns.
    pub min_px: f64,
    /// Largest axis position tried, columns.
    pub max_px: f64,
    /// Bands of rows that give an answer each.
    pub bands: usize,
    /// Width of the moving average that is subtracted from every row, columns.
    pub smooth_px: usize,
}

impl AxisOptions {
    /// The middle half of the detector: for full-field scans.
    pub fn centred(cols: usize) -> Self {
        AxisOptions { min_px: 0.25 * cols as f64, max_px: 0.75 * cols as f64, bands: 8, smooth_px: (cols / 16).max(5) }
    }

    /// Anywhere on the detector that leaves an overlap of a twentieth: for extended-field scans.
    pub fn anywhere(cols: usize) -> Self {
        let edge = 0.025 * cols as f64;
        AxisOptions { min_px: edge, max_px: cols as f64 - 1.0 - edge, ..AxisOptions::centred(cols) }
    }
}

/// Bands further from the common answer than this do not agree with it.
pub const AGREE_PX: f64 = 2.0;

/// The answer.
#[derive(Clone, PartialEq, Debug)]
pub struct AxisEstimate {
    /// Column of the axis, from all rows of all pairs.
    pub rotation_axis_px: f64,
    /// Scatter of the bands around it (1.48 × median absolute deviation, the standard deviation of a normal
    /// distribution), of those that agree within [`AGREE_PX`].
    pub spread_px: f64,
    /// Normalised correlation at the peak, 0…1.
    pub correlation: f64,
    /// 0…1: the share of bands that by themselves find the same axis within [`AGREE_PX`], times how far the peak stands
    /// above the next best one. Above 0.5 the value is good; below 0.2 it should be looked at.
    pub confidence: f64,
    /// Tilt of the axis against the columns, degrees, positive if it runs to higher columns downwards; from a line
    /// through the bands that agree, `None` with fewer than three heights.
    pub tilt_deg: Option<f64>,
    /// Every band's own answer: middle row, axis, correlation.
    pub bands: Vec<(f64, f64, f64)>,
}

/// Pairs of projections half a turn apart, at most `wanted` (three at least if there is no exact one), spread over the
/// scan. A scan of 0…180° minus a step yields its pairs one and two steps off, for [`find`] to extrapolate.
pub fn opposite_pairs(angles_rad: &[f64], wanted: usize) -> Vec<PairIndex> {
    let n = angles_rad.len();
    if n < 2 || wanted == 0 || !angles_rad.iter().all(|a| a.is_finite()) {
        return Vec::new();
    }
    let mut gaps: Vec<f64> = angles_rad.windows(2).map(|w| (w[1] - w[0]).abs()).collect();
    gaps.sort_by(f64::total_cmp);
    let step = gaps[gaps.len() / 2].min(PI / 8.0);
    let mismatch = |i: usize, j: usize| (angles_rad[j] - angles_rad[i]).rem_euclid(TAU) - PI;
    let partner = |i: usize| {
        let j = (0..n).min_by(|a, b| mismatch(i, *a).abs().total_cmp(&mismatch(i, *b).abs()))?;
        let (first, opposite) = (i.min(j), i.max(j));
        let m = mismatch(first, opposite);
        (m.abs() <= 2.01 * step + 1e-9).then_some(PairIndex { first, opposite, mismatch_rad: m })
    };
    let stride = (n / (8 * wanted)).max(1);
    let ends = [0, 1, n - 1, n - 2];
    let mut found: Vec<PairIndex> = (0..n).step_by(stride).chain(ends).filter_map(partner).collect();
    found.sort_by_key(|p| (p.first, p.opposite));
    found.dedup_by_key(|p| (p.first, p.opposite));
    let best = found.iter().map(|p| p.mismatch_rad.abs()).fold(f64::INFINITY, f64::min);
    if best > 0.1 * step {
        found.sort_by(|a, b| a.mismatch_rad.abs().total_cmp(&b.mismatch_rad.abs()));
        found.truncate(wanted.max(3));
        return found;
    }
    found.retain(|p| p.mismatch_rad.abs() <= best + 0.1 * step);
    let keep = wanted.min(found.len());
    (0..keep).map(|k| found[k * found.len() / keep]).collect()
}

/// Finds the axis from one or more pairs of frames of `rows` × `cols`.
///
/// # Errors
/// No pairs, frames of another size, an empty search range, nothing to correlate, or a best value at the edge of the
/// search range (the true one may lie outside).
pub fn find(pairs: &[Pair<'_>], rows: usize, cols: usize, options: &AxisOptions) -> Result<AxisEstimate> {
    if pairs.is_empty() || rows == 0 || cols < 8 {
        return Err(Error::caller("finding the rotation axis needs a pair of projections at least 8 columns wide")
            .found(format!("{} pairs of {rows} × {cols}", pairs.len()))
            .hint("give the rotation axis explicitly"));
    }
    for p in pairs {
        for len in [p.first.len(), p.opposite.len()] {
            if rows.checked_mul(cols) != Some(len) {
                return Err(Error::caller("a projection of the pair has another size")
                    .expected(format!("{rows} × {cols}"))
                    .found(format!("{len} values")));
            }
        }
    }
    let search = Search::new(cols, options)?;
    let count = options.bands.clamp(1, rows);
    let jobs: Vec<(&Pair<'_>, usize, usize)> =
        pairs.iter().flat_map(|p| (0..count).map(move |b| (p, b * rows / count, (b + 1) * rows / count))).collect();
    let parts: Vec<Option<Correlation>> = jobs.par_iter().map(|(p, a, b)| search.correlate(p, *a, *b)).collect();
    let nothing = || {
        Error::caller("the projections hold nothing to find the rotation axis by")
            .hint("give the rotation axis explicitly")
    };
    // In the order of the bands, so that the sum has the same bytes on any number of threads.
    let sum = |wanted: &dyn Fn(&Pair<'_>) -> bool| {
        let of = jobs.iter().zip(&parts).filter(|((p, _, _), _)| wanted(p)).filter_map(|(_, c)| c.as_ref());
        of.fold(None, |sum: Option<Correlation>, c| match sum {
            None => Some(c.clone()),
            Some(s) => Some(s.add(c)),
        })
    };
    let all = sum(&|_| true).ok_or_else(nothing)?;
    let best = search.peak(&all).ok_or_else(nothing)?;
    if best.at_edge {
        return Err(Error::caller("the best rotation axis lies at the edge of the search range")
            .expected(format!("a maximum inside {:.1} to {:.1}", options.min_px, options.max_px))
            .found(format!("{:.1}", best.axis))
            .hint("widen the range (an extended-field scan has its axis near one edge) or give the axis explicitly"));
    }
    // Axis against mismatch, one point per distinct mismatch.
    let mut steps: Vec<f64> = pairs.iter().map(|p| p.mismatch_rad).collect();
    steps.sort_by(f64::total_cmp);
    steps.dedup_by(|a, b| (*a - *b).abs() < 1e-4);
    let mut points: Vec<(f64, f64)> = Vec::new();
    for m in steps {
        let peak = sum(&|p| (p.mismatch_rad - m).abs() < 1e-4).and_then(|c| search.peak(&c));
        points.extend(peak.filter(|p| !p.at_edge && (p.axis - best.axis).abs() < 10.0).map(|p| (m, p.axis)));
    }
    let per_rad = slope(&points);
    let axis = match points.len() {
        0 | 1 => best.axis,
        n => points.iter().map(|(m, a)| a - per_rad * m).sum::<f64>() / n as f64,
    };
    let bands: Vec<(f64, f64, f64)> = jobs
        .iter()
        .zip(&parts)
        .filter_map(|((pair, a, b), c)| {
            let p = search.peak(c.as_ref()?)?;
            Some(((*a + *b) as f64 / 2.0 - 0.5, p.axis - per_rad * pair.mismatch_rad, p.correlation))
        })
        .collect();
    let near: Vec<_> = bands.iter().filter(|b| (b.1 - axis).abs() <= AGREE_PX).copied().collect();
    let middle = median(near.iter().map(|b| b.1).collect());
    let spread = if near.is_empty() {
        f64::INFINITY
    } else {
        1.4826 * median(near.iter().map(|b| (b.1 - middle).abs()).collect())
    };
    let share = near.len() as f64 / jobs.len() as f64;
    Ok(AxisEstimate {
        rotation_axis_px: axis,
        spread_px: spread,
        correlation: best.correlation,
        confidence: (share * search.prominence(&all, &best)).clamp(0.0, 1.0),
        tilt_deg: tilt(&near),
        bands,
    })
}

/// Slope of a line through the bands, as an angle.
fn tilt(bands: &[(f64, f64, f64)]) -> Option<f64> {
    let mut heights: Vec<f64> = bands.iter().map(|b| b.0).collect();
    heights.sort_by(f64::total_cmp);
    heights.dedup();
    let points: Vec<(f64, f64)> = bands.iter().map(|b| (b.0, b.1)).collect();
    (heights.len() >= 3).then(|| slope(&points).atan().to_degrees())
}

/// Least-squares slope; 0 if all x are the same.
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (mx, my) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let (sxy, sxx) = points.iter().fold((0.0, 0.0), |(p, q), (x, y)| (p + (x - mx) * (y - my), q + (x - mx).powi(2)));
    if sxx > 0.0 { sxy / sxx } else { 0.0 }
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    let n = v.len();
    if n == 0 { f64::NAN } else { (v[(n - 1) / 2] + v[n / 2]) / 2.0 }
}

/// Cross-correlation of some rows by shift (on the FFT's circle), and running sums of their energies by column.
#[derive(Clone)]
struct Correlation {
    product: Vec<f64>,
    first: Vec<f64>,
    opposite: Vec<f64>,
}

impl Correlation {
    fn add(mut self, o: &Correlation) -> Self {
        let pairs = [(&mut self.product, &o.product), (&mut self.first, &o.first), (&mut self.opposite, &o.opposite)];
        for (a, b) in pairs {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        }
        self
    }
}

/// The best shift of a correlation.
struct Peak {
    shift: i64,
    axis: f64,
    correlation: f64,
    at_edge: bool,
}

/// Tables of a search.
struct Search {
    cols: usize,
    len: usize,
    smooth: usize,
    /// Shifts tried, inclusive.
    shifts: (i64, i64),
    forward: Arc<dyn RealToComplex<f64>>,
    inverse: Arc<dyn realfft::ComplexToReal<f64>>,
}

impl Search {
    fn new(cols: usize, o: &AxisOptions) -> Result<Self> {
        let n = cols as i64;
        let last = (cols - 1) as f64;
        // At least this many columns must overlap for a correlation to mean anything.
        let overlap = (n / 32).max(4);
        let reach = (n - overlap) as f64;
        let first = (last - 2.0 * o.max_px).clamp(-reach, reach).ceil() as i64;
        let end = (last - 2.0 * o.min_px).clamp(-reach, reach).floor() as i64;
        if o.min_px.is_nan() || o.max_px.is_nan() || end - first < 2 {
            return Err(Error::caller("the range to search the rotation axis in is empty")
                .expected(format!("columns within 0..{cols}"))
                .found(format!("{} to {}", o.min_px, o.max_px)));
        }
        let len = fast_len(2 * cols);
        let mut planner = RealFftPlanner::<f64>::new();
        Ok(Search {
            cols,
            len,
            smooth: o.smooth_px.clamp(2, cols),
            shifts: (first, end),
            forward: planner.plan_fft_forward(len),
            inverse: planner.plan_fft_inverse(len),
        })
    }

    /// Correlates rows `from..to` of a pair; `None` if they are empty of structure.
    fn correlate(&self, pair: &Pair<'_>, from: usize, to: usize) -> Option<Correlation> {
        let n = self.cols;
        let zero = Complex::new(0.0, 0.0);
        let bins = self.len / 2 + 1;
        let (mut a, mut b) = (vec![0.0; self.len], vec![0.0; self.len]);
        let (mut fa, mut fb, mut sum) = (vec![zero; bins], vec![zero; bins], vec![zero; bins]);
        let (mut ea, mut eb) = (vec![0.0; n], vec![0.0; n]);
        for row in from..to {
            let range = row * n..(row + 1) * n;
            band_pass(pair.first[range.clone()].iter().copied(), self.smooth, &mut a);
            band_pass(pair.opposite[range].iter().rev().copied(), self.smooth, &mut b);
            for u in 0..n {
                ea[u] += a[u] * a[u];
                eb[u] += b[u] * b[u];
            }
            a[n..].fill(0.0);
            b[n..].fill(0.0);
            self.forward.process(&mut a, &mut fa).ok()?;
            self.forward.process(&mut b, &mut fb).ok()?;
            for (s, (x, y)) in sum.iter_mut().zip(fa.iter().zip(&fb)) {
                *s += x.conj() * y;
            }
        }
        // The inverse wants purely real ends, as they are but for rounding.
        sum[0].im = 0.0;
        sum[bins - 1].im = 0.0;
        let mut corr = vec![0.0; self.len];
        self.inverse.process(&mut sum, &mut corr).ok()?;
        let (ea, eb) = (prefix(&ea), prefix(&eb));
        (ea[n] > 0.0 && eb[n] > 0.0).then_some(Correlation { product: corr, first: ea, opposite: eb })
    }

    /// Normalised correlation at shift `d`, and its significance.
    fn at(&self, c: &Correlation, d: i64) -> (f64, f64) {
        let n = self.cols as i64;
        // Columns u of the first whose partner u + d lies in the flipped opposite one.
        let (lo, hi) = ((-d).max(0), (n - d).min(n));
        let energy = |v: &[f64], a: i64, b: i64| v[b as usize] - v[a as usize];
        let (da, db) = (energy(&c.first, lo, hi), energy(&c.opposite, lo + d, hi + d));
        // An overlap without structure correlates with anything.
        if da < 1e-6 * c.first[self.cols] || db < 1e-6 * c.opposite[self.cols] {
            return (0.0, 0.0);
        }
        let r = c.product[d.rem_euclid(self.len as i64) as usize] / self.len as f64 / (da * db).sqrt();
        let r = r.clamp(-0.999_999, 0.999_999);
        // Fisher's z over its standard error: a long overlap counts for more than a short one.
        (r, r.atanh() * ((hi - lo) as f64).sqrt())
    }

    fn peak(&self, c: &Correlation) -> Option<Peak> {
        let (first, last) = self.shifts;
        let best = (first..=last).map(|d| (self.at(c, d).1, d)).max_by(|x, y| x.0.total_cmp(&y.0))?.1;
        let peak = self.at(c, best).0;
        if peak <= 0.0 {
            return None;
        }
        let at_edge = best == first || best == last;
        let mut shift = best as f64;
        if !at_edge {
            let (l, r) = (self.at(c, best - 1).0, self.at(c, best + 1).0);
            let bend = l - 2.0 * peak + r;
            if bend < 0.0 {
                shift += (0.5 * (l - r) / bend).clamp(-0.5, 0.5);
            }
        }
        Some(Peak { shift: best, axis: (self.cols as f64 - 1.0 - shift) / 2.0, correlation: peak, at_edge })
    }

    /// How far a peak's significance stands above the best one off its flanks, as a share of its own.
    fn prominence(&self, c: &Correlation, peak: &Peak) -> f64 {
        let (first, last) = self.shifts;
        let flank = self.smooth as i64 / 2;
        let other =
            (first..=last).filter(|d| (d - peak.shift).abs() > flank).map(|d| self.at(c, d).1).fold(0.0, f64::max);
        1.0 - other / self.at(c, peak.shift).1
    }
}

/// Row smoothed by a triangle of five columns (photon noise sits at the highest frequencies) minus its moving average
/// over `width` columns (fewer at the ends); values that are not finite count as 0.
fn band_pass(row: impl ExactSizeIterator<Item = f32>, width: usize, out: &mut [f64]) {
    let n = row.len();
    for (o, v) in out.iter_mut().zip(row) {
        *o = if v.is_finite() { f64::from(v) } else { 0.0 };
    }
    let sums = prefix(&out[..n]);
    // Mean over `half` columns on either side: running sums at u − half and u + half + 1.
    let mean = |sums: &[f64], u: usize, half: usize| {
        let (a, b) = (u.saturating_sub(half), (u + half + 1).min(n));
        (sums[b] - sums[a]) / (b - a) as f64
    };
    let thrice: Vec<f64> = (0..n).map(|u| mean(&sums, u, 1)).collect();
    let thrice = prefix(&thrice);
    for (u, o) in out[..n].iter_mut().enumerate() {
        *o = mean(&thrice, u, 1) - mean(&sums, u, width / 2);
    }
}

fn prefix(v: &[f64]) -> Vec<f64> {
    let mut sum = 0.0;
    std::iter::once(0.0)
        .chain(v.iter().map(|x| {
            sum += x;
            sum
        }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correct::{Corrector, Flat, LogOptions};
    use crate::phantom::{Camera, CameraOptions, Kind, Phantom, View};

    /// Noisy, corrected projections of a grainy object at the given angles.
    fn frames(view: &View, radius: f64, angles: &[f64], photons: Option<f64>) -> Vec<Vec<f32>> {
        let p = Phantom::new(Kind::Grains, radius, view.rows, 0.5 / (radius * view.pixel_size_um * 1e-4), 3);
        let options = CameraOptions { photons_per_count: photons, structure: 0.2, ..CameraOptions::default() };
        let camera = Camera::new(view.rows, view.cols, options).unwrap();
        let size = view.rows * view.cols;
        let flat = |i| {
            let mut counts = vec![0u16; size];
            camera.flat(i, 0.0, &mut counts).unwrap();
            Flat { position: 0.0, frame: counts.iter().map(|v| f32::from(*v)).collect(), current: None }
        };
        let c =
            Corrector::new(size, (0..10).map(flat).collect(), Some(vec![100.0; size]), LogOptions::default()).unwrap();
        let shot = |(k, angle): (usize, &f64)| {
            let mut exact = vec![0.0; size];
            p.project(view, *angle, 0, 2, &mut exact);
            let mut counts = vec![0u16; size];
            camera.projection(k, angles.len(), &exact, &mut counts).unwrap();
            let mut v: Vec<f32> = counts.iter().map(|v| f32::from(*v)).collect();
            c.apply(k as f64, None, &mut v).unwrap();
            v
        };
        angles.iter().enumerate().map(shot).collect()
    }

    #[test]
    fn finds_the_axis_of_a_half_turn() {
        for (axis, photons) in [(159.5, None), (150.3, Some(1.0)), (171.85, Some(0.2))] {
            let view = View { rows: 40, cols: 320, rotation_axis_px: axis, pixel_size_um: 10.0, tilt_rad: 0.0 };
            let f = frames(&view, 145.0, &[0.2, 0.2 + PI], photons);
            let pair = Pair { first: &f[0], opposite: &f[1], mismatch_rad: 0.0 };
            let e = find(&[pair], 40, 320, &AxisOptions::centred(320)).unwrap();
            assert!((e.rotation_axis_px - axis).abs() < 0.1, "{axis}: {e:?}");
            assert!(e.spread_px < 0.3 && e.confidence > 0.4, "{axis}: {e:?}");
            assert!(e.tilt_deg.unwrap().abs() < 0.5);
            assert_eq!(e.bands.len(), 8);
        }
    }

    #[test]
    fn finds_the_axis_of_an_extended_field_from_several_pairs() {
        for axis in [270.4, 31.7] {
            let view = View { rows: 32, cols: 300, rotation_axis_px: axis, pixel_size_um: 10.0, tilt_rad: 0.0 };
            let angles: Vec<f64> = (0..72).map(|k| f64::from(k) * TAU / 72.0).collect();
            let pairs = opposite_pairs(&angles, 4);
            assert_eq!(pairs.len(), 4);
            let used: Vec<f64> = pairs.iter().flat_map(|p| [angles[p.first], angles[p.opposite]]).collect();
            let f = frames(&view, 262.0, &used, Some(1.0));
            let pairs: Vec<Pair<'_>> =
                f.chunks(2).map(|p| Pair { first: &p[0], opposite: &p[1], mismatch_rad: 0.0 }).collect();
            let e = find(&pairs, 32, 300, &AxisOptions::anywhere(300)).unwrap();
            assert!((e.rotation_axis_px - axis).abs() < 0.1, "{axis}: {e:?}");
            // Searching in the middle only must say so rather than answer wrongly.
            if let Ok(e) = find(&pairs, 32, 300, &AxisOptions::centred(300)) {
                assert!(e.confidence < 0.5, "{e:?}");
            }
        }
    }

    #[test]
    fn a_scan_that_stops_a_step_short_is_extrapolated() {
        let view = View { rows: 40, cols: 320, rotation_axis_px: 166.2, pixel_size_um: 10.0, tilt_rad: 0.0 };
        let angles: Vec<f64> = (0..180).map(|k| f64::from(k) * PI / 180.0).collect();
        let pairs = opposite_pairs(&angles, 3);
        let used: Vec<f64> = pairs.iter().flat_map(|p| [angles[p.first], angles[p.opposite]]).collect();
        let f = frames(&view, 145.0, &used, Some(1.0));
        let shots: Vec<Pair<'_>> = pairs
            .iter()
            .zip(f.chunks(2))
            .map(|(p, f)| Pair { first: &f[0], opposite: &f[1], mismatch_rad: p.mismatch_rad })
            .collect();
        let e = find(&shots, 40, 320, &AxisOptions::centred(320)).unwrap();
        assert!((e.rotation_axis_px - 166.2).abs() < 0.1, "{e:?}");
    }

    #[test]
    fn a_range_that_misses_the_axis_and_empty_frames_are_errors() {
        let view = View { rows: 16, cols: 320, rotation_axis_px: 150.3, pixel_size_um: 10.0, tilt_rad: 0.0 };
        let f = frames(&view, 145.0, &[0.0, PI], None);
        let pair = Pair { first: &f[0], opposite: &f[1], mismatch_rad: 0.0 };
        let narrow = AxisOptions { min_px: 152.0, max_px: 158.0, ..AxisOptions::centred(320) };
        let e = find(&[pair], 16, 320, &narrow).unwrap_err();
        assert!(e.to_string().contains("edge of the search range"), "{e}");
        let empty = vec![0.0; 16 * 320];
        assert!(
            find(&[Pair { first: &empty, opposite: &empty, mismatch_rad: 0.0 }], 16, 320, &AxisOptions::centred(320))
                .is_err()
        );
        let nan = vec![f32::NAN; 16 * 320];
        assert!(
            find(&[Pair { first: &nan, opposite: &nan, mismatch_rad: 0.0 }], 16, 320, &AxisOptions::centred(320))
                .is_err()
        );
        assert!(find(&[pair], 17, 320, &narrow).is_err());
        assert!(find(&[], 16, 320, &narrow).is_err());
        let none = AxisOptions { min_px: 150.0, max_px: 150.0, ..narrow };
        assert!(find(&[pair], 16, 320, &none).is_err());
    }

    #[test]
    fn pairs_of_usual_scans() {
        let scan = |n: usize, range: f64| (0..n).map(|k| range * k as f64 / n as f64).collect::<Vec<_>>();
        let frames = |p: Vec<PairIndex>| p.iter().map(|p| (p.first, p.opposite)).collect::<Vec<_>>();
        let half = opposite_pairs(&scan(180, PI), 1);
        assert_eq!(frames(half.clone()), vec![(0, 179), (0, 178), (1, 179)]);
        let step = PI / 180.0;
        assert!((half[0].mismatch_rad + step).abs() < 1e-9 && (half[2].mismatch_rad + 2.0 * step).abs() < 1e-9);
        let full: Vec<f64> = (0..=180).map(|d| f64::from(d).to_radians()).collect();
        assert_eq!(frames(opposite_pairs(&full, 4)), vec![(0, 180)]);
        let turn = opposite_pairs(&scan(360, TAU), 4);
        assert_eq!(turn.len(), 4);
        assert!(turn.iter().all(|p| p.opposite - p.first == 180 && p.mismatch_rad.abs() < 1e-9));
        assert!(opposite_pairs(&scan(100, PI / 2.0), 4).is_empty());
        assert!(opposite_pairs(&[0.0], 4).is_empty());
        assert!(opposite_pairs(&[0.0, f64::NAN], 4).is_empty());
    }
}
