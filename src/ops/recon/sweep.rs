//! One slice with many axes: one read, one correction, one filtering, then the axes side by side in the lanes of the
//! back end, a score each, and a labelled montage. The best axis is marked; one at the end of the range is a warning,
//! for the true one may lie beyond.
//!
//! Large slices are compared in larger voxels, as large as the pictures of the montage allow: exactly the frequencies
//! that those can show. The few axes that come out best are then made again in full, and that decides.

use super::feed::Tally;
use super::look::{LookPlan, plan_axes, short};
use super::score::{Disc, Score, range_of, score};
use super::setup::unit_name;
use super::{AxisChoice, Request, SliceChoice};
use crate::ops::picture::Window;
use crate::recon::{FbpPlan, Field, Geometry, Sinograms};
use crate::stream::{Budget, Cancel, Progress};
use rayon::prelude::*;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;
use tomokit_formats::png::{self, Slice};
use tomokit_formats::{Error, Result};

/// More axes than this are a mistake.
const MOST: usize = 1000;
/// Longest side of a montage's images together, pixels.
const MONTAGE: usize = 3000;

/// Axes `from`, `from + step`, … up to `to` inclusive.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct AxisRange {
    /// First.
    pub from: f64,
    /// Last, if a whole number of steps leads there.
    pub to: f64,
    /// Distance.
    pub step: f64,
}

impl AxisRange {
    /// Reads `1020:1028:0.5`; the step is 1 where absent.
    pub fn parse(text: &str) -> std::result::Result<AxisRange, String> {
        let numbers: Option<Vec<f64>> = text.split(':').map(|p| p.trim().parse().ok()).collect();
        let (from, to, step) = match numbers.as_deref() {
            Some([a, b]) => (*a, *b, 1.0),
            Some([a, b, s]) => (*a, *b, *s),
            _ => return Err("write FROM:TO:STEP, for example 1020:1028:0.5".into()),
        };
        if !(from.is_finite() && to.is_finite() && from <= to && step > 0.0 && step.is_finite()) {
            return Err("the range must go upwards with a positive step".into());
        }
        if (to - from) / step >= MOST as f64 {
            return Err(format!("more than {MOST} axes"));
        }
        Ok(AxisRange { from, to, step })
    }

    /// The axes.
    pub fn axes(&self) -> Vec<f64> {
        let n = ((self.to - self.from) / self.step + 1e-9).floor() as usize;
        (0..=n).map(|i| self.from + i as f64 * self.step).collect()
    }
}

/// A sweep ready to run.
#[derive(Serialize)]
pub struct SweepPlan {
    /// Reading and drawing, for the middle axis.
    #[serde(flatten)]
    pub look: LookPlan,
    /// The axes.
    pub axes_px: Vec<f64>,
    /// Edge of the voxels they are compared in, in voxels of the full slice.
    pub coarser: usize,
    /// Best axes that are made again in full; 0 where all are.
    pub finalists: usize,
    #[serde(skip)]
    coarse: Option<FbpPlan>,
}

/// One axis and its scores.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Tried {
    /// Column.
    pub axis_px: f64,
    /// How good it is, in the voxels of the comparison.
    #[serde(flatten)]
    pub score: Score,
    /// And in full, for the best few of a coarser comparison.
    pub full: Option<Score>,
}

/// What a sweep found.
#[derive(Clone, Debug, Serialize)]
pub struct Sweep {
    /// The montage.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub output: PathBuf,
    /// Detector row.
    pub row: usize,
    /// Every axis with its scores.
    pub axes: Vec<Tried>,
    /// The one of least entropy, in full.
    pub best_axis_px: f64,
    /// The one of least variation.
    pub least_variation_axis_px: f64,
    /// Unit of the values.
    pub value_unit: &'static str,
    /// Values drawn black and white.
    pub window: [f64; 2],
    /// Counts of the one sinogram.
    pub counts: Tally,
    /// Reading and decoding, seconds.
    pub read_seconds: f64,
    /// Correcting, reconstructing and scoring, seconds.
    pub compute_seconds: f64,
    /// Drawing and writing the picture, seconds.
    pub draw_seconds: f64,
    /// What a person should look at.
    pub warnings: Vec<String>,
}

/// Axes that are made again in full.
const FINALISTS: usize = 4;
/// Slices of fewer voxels on a side are compared as they are.
const FINE_ENOUGH: usize = 384;

/// Columns of the montage and the largest side of a picture in it.
fn cells(axes: usize) -> (usize, usize) {
    let columns = (axes as f64).sqrt().ceil() as usize;
    (columns, (MONTAGE / columns.max(1)).max(64))
}

/// Works a sweep out; `request.output` is the montage, `request.axis` does not matter. With a voxel size in the request,
/// all axes are compared in that.
pub fn plan_sweep(
    request: &Request,
    range: AxisRange,
    row: SliceChoice,
    window: Window,
    budget: Budget,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<SweepPlan> {
    let axes = range.axes();
    let request = Request { axis: AxisChoice::At(axes[axes.len() / 2]), ..request.clone() };
    let mut look = plan_axes(&request, row, window, budget, &axes, progress, cancel)?;
    "axis sweep".clone_into(&mut look.axis_origin);
    let g = &look.setup.geometry;
    let (nx, ny) = g.slice_size();
    let (_, side) = cells(axes.len());
    let enough = |bin: &usize| nx.max(ny) / bin >= side.max(FINE_ENOUGH);
    let coarser = if request.bin.is_some() { 1 } else { [4, 2].into_iter().find(enough).unwrap_or(1) };
    let finalists = if coarser > 1 { FINALISTS.min(axes.len()) } else { 0 };
    let coarse = match coarser {
        1 => None,
        n => Some(FbpPlan::for_axes(&g.clone().binned(g.output.bin * n), &look.setup.options, &axes)?),
    };
    let workers = rayon::current_num_threads();
    let need = |fbp: &FbpPlan, n: usize| fbp.axes_scratch_bytes(n, workers) + 4 * (fbp.slice_len() * n) as u64;
    look.memory_bytes += match &coarse {
        None => need(&look.fbp, axes.len()),
        Some(c) => need(c, axes.len()) + need(&look.fbp, finalists),
    };
    if look.memory_bytes > budget.bytes {
        return Err(Error::limit("the slices of all axes do not fit the memory budget")
            .expected(format!("at most {} bytes", budget.bytes))
            .found(format!("{} bytes for {} axes", look.memory_bytes, axes.len()))
            .hint("raise --memory, try fewer axes, or use --bin"));
    }
    Ok(SweepPlan { look, axes_px: axes, coarser, finalists, coarse })
}

/// All axes with one plan.
fn make(fbp: &FbpPlan, sinogram: &[f32], axes: &[f64], cancel: &Cancel) -> Result<Vec<f32>> {
    cancel.check()?;
    let mut slices = vec![0f32; fbp.slice_len() * axes.len()];
    let mut scratch = fbp.axes_scratch(axes.len(), rayon::current_num_threads())?;
    fbp.execute_axes(Sinograms::by_frame(sinogram, 1, fbp.geometry().cols), axes, &mut slices, &mut scratch)?;
    Ok(slices)
}

/// Scores of slices in the order of their axes; the middle one of them sets the range for all.
fn judge(fbp: &FbpPlan, slices: &[f32], axes: &[f64]) -> Vec<Score> {
    let (cols, len) = (fbp.geometry().slice_size().0, fbp.slice_len());
    let disc = common_disc(fbp.geometry(), axes);
    let middle = slices.len() / len / 2;
    let range = range_of(disc.values(&slices[middle * len..][..len], cols));
    slices.par_chunks(len).map(|slice| score(slice, cols, disc, range)).collect()
}

/// Reads once, reconstructs with every axis, scores and draws.
pub fn sweep(plan: &SweepPlan, progress: &dyn Progress, cancel: &Cancel) -> Result<Sweep> {
    let s = &plan.look.setup;
    let start = Instant::now();
    let (sinogram, counts, read_seconds) = plan.look.sinogram(progress)?;
    progress.begin("trying axes", 0);
    let fbp = plan.coarse.as_ref().unwrap_or(&plan.look.fbp);
    let slices = make(fbp, &sinogram, &plan.axes_px, cancel)?;
    let scores = judge(fbp, &slices, &plan.axes_px);
    let tried = plan.axes_px.iter().zip(scores);
    let mut axes: Vec<Tried> = tried.map(|(a, score)| Tried { axis_px: *a, score, full: None }).collect();
    if plan.finalists > 0 {
        let mut order: Vec<usize> = (0..axes.len()).collect();
        order.sort_by(|a, b| axes[*a].score.entropy.total_cmp(&axes[*b].score.entropy));
        order.truncate(plan.finalists);
        let again: Vec<f64> = order.iter().map(|i| axes[*i].axis_px).collect();
        let slices = make(&plan.look.fbp, &sinogram, &again, cancel)?;
        for (i, score) in order.iter().zip(judge(&plan.look.fbp, &slices, &plan.axes_px)) {
            axes[*i].full = Some(score);
        }
    }
    progress.end();
    let compute_seconds = start.elapsed().as_secs_f64() - read_seconds;

    let best = best(&axes);
    let calm = least(&axes, |t| t.score.variation);
    let drawing = Instant::now();
    let (cols, _) = fbp.geometry().slice_size();
    let (columns, side) = cells(axes.len());
    let down = cols.max(fbp.slice_len() / cols).div_ceil(side).max(1);
    let images: Vec<Vec<f32>> = slices.par_chunks(fbp.slice_len()).map(|v| shrink(v, cols, down)).collect();
    let small = cols.div_ceil(down);
    let labels: Vec<String> = axes
        .iter()
        .enumerate()
        .map(|(i, t)| format!("{}{}", short(t.axis_px), if i == best { "  < best" } else { "" }))
        .collect();
    let slices: Vec<Slice<'_>> = images
        .iter()
        .zip(&labels)
        .map(|(v, title)| Slice { values: v, rows: v.len() / small, cols: small, title })
        .collect();
    let title = format!("{}, row {}: axis of rotation, columns", s.scan.name, plan.look.row);
    let style = png::Style { max_size: MONTAGE, ..plan.look.style((down * plan.coarser) as f64) };
    let picture = png::montage(&slices, columns, &title, &style);
    let output = picture.canvas.save(&plan.look.output, plan.look.request.create.overwrite)?;
    Ok(Sweep {
        output,
        row: plan.look.row,
        best_axis_px: axes[best].axis_px,
        least_variation_axis_px: axes[calm].axis_px,
        warnings: warnings(&axes, best, calm),
        axes,
        value_unit: unit_name(s.options.unit),
        window: [picture.low, picture.high],
        counts,
        read_seconds,
        compute_seconds,
        draw_seconds: drawing.elapsed().as_secs_f64(),
    })
}

/// The axis with the smallest value; the first of equals.
fn least(axes: &[Tried], value: impl Fn(&Tried) -> f64) -> usize {
    (1..axes.len()).fold(0, |m, i| if value(&axes[i]) < value(&axes[m]) { i } else { m })
}

/// The axis of least entropy: among those made in full where there are any.
fn best(axes: &[Tried]) -> usize {
    match axes.iter().any(|t| t.full.is_some()) {
        true => least(axes, |t| t.full.map_or(f64::INFINITY, |f| f.entropy)),
        false => least(axes, |t| t.score.entropy),
    }
}

fn warnings(axes: &[Tried], best: usize, calm: usize) -> Vec<String> {
    let mut w = Vec::new();
    if axes.len() > 2 && (best == 0 || best + 1 == axes.len()) {
        w.push(format!(
            "the best axis {} is at the end of the range: the true one may lie beyond",
            short(axes[best].axis_px)
        ));
    }
    if best.abs_diff(calm) > 2 {
        w.push(format!(
            "the scores disagree: least entropy at {}, least variation at {}: look at the picture",
            short(axes[best].axis_px),
            short(axes[calm].axis_px)
        ));
    }
    w
}

/// A disc that every axis of the sweep sees, in the region that is made; all of the region where that misses it.
fn common_disc(g: &Geometry, axes: &[f64]) -> Disc {
    let (cx, cy) = g.axis_voxel();
    let roi = g.roi();
    let (w, h) = g.slice_size();
    let (x, y) = (cx - roi.x0 as f64, cy - roi.y0 as f64);
    let last = g.cols as f64 - 1.0;
    let seen = |a: &f64| if g.field == Field::Full { a.min(last - a) } else { a.max(last - a) };
    let radius = 0.9 * axes.iter().map(seen).fold(f64::INFINITY, f64::min) / g.output.bin as f64;
    // Distance from the axis to the nearest voxel of the region.
    let (dx, dy) = (x - x.clamp(0.0, w as f64 - 1.0), y - y.clamp(0.0, h as f64 - 1.0));
    if radius > dx.hypot(dy) + 4.0 {
        Disc { x, y, radius }
    } else {
        Disc { x: w as f64 / 2.0, y: h as f64 / 2.0, radius: (w as f64).hypot(h as f64) }
    }
}

/// Averages blocks of `down` × `down` values; NaN counts as nothing unless a block holds nothing else.
fn shrink(slice: &[f32], cols: usize, down: usize) -> Vec<f32> {
    if down <= 1 {
        return slice.to_vec();
    }
    let small = cols.div_ceil(down);
    let mut out = Vec::with_capacity(small * (slice.len() / cols).div_ceil(down));
    let (mut sums, mut counts) = (vec![0f64; small], vec![0u32; small]);
    for band in slice.chunks(cols * down) {
        sums.fill(0.0);
        counts.fill(0);
        for row in band.chunks(cols) {
            for (j, v) in row.iter().enumerate().filter(|(_, v)| !v.is_nan()) {
                sums[j / down] += f64::from(*v);
                counts[j / down] += 1;
            }
        }
        out.extend(sums.iter().zip(&counts).map(|(s, n)| (s / f64::from(*n)) as f32));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(AxisRange::parse("10:12:0.5").unwrap().axes(), [10.0, 10.5, 11.0, 11.5, 12.0]);
        assert_eq!(AxisRange::parse("0.1:0.7:0.2").unwrap().axes().len(), 4);
        assert_eq!(AxisRange::parse("-3:-1").unwrap().axes(), [-3.0, -2.0, -1.0]);
        assert_eq!(AxisRange::parse("5:5:1").unwrap().axes(), [5.0]);
        for bad in ["", "5", "3:2:1", "1:2:0", "1:2:-1", "1:nan:1", "0:1e9:1", "a:b:c"] {
            assert!(AxisRange::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shrinking_averages() {
        let n = f32::NAN;
        let v = [1.0, 3.0, 5.0, 1.0, 3.0, n, n, n, 2.0, n, n, 8.0];
        let s = shrink(&v, 3, 2);
        // Blocks of 2 × 2 (the last column alone): without NaN, with some, with nothing else, and with some again.
        assert_eq!((s.len(), s[0], s[1], s[3]), (4, 2.0, 5.0, 5.0));
        assert!(s[2].is_nan());
        assert_eq!(shrink(&[7.0], 1, 1), [7.0]);
    }

    #[test]
    fn ends_and_disagreement_are_said() {
        let t = |axis_px: f64, entropy: f64, variation: f64| Tried {
            axis_px,
            score: Score { entropy, variation },
            full: None,
        };
        let mut axes = [t(1.0, 5.0, 3.0), t(2.0, 4.0, 1.0), t(3.0, 4.5, 2.0), t(4.0, 6.0, 6.0)];
        let (b, l) = (best(&axes), least(&axes, |t| t.score.variation));
        assert_eq!((b, l), (1, 1));
        assert!(warnings(&axes, b, l).is_empty());
        assert_eq!(warnings(&axes, 0, 0).len(), 1);
        assert_eq!(warnings(&axes, 0, 3).len(), 2);
        // What was made in full decides.
        (axes[1].full, axes[2].full) = (Some(axes[3].score), Some(axes[0].score));
        assert_eq!(best(&axes), 2);
    }
}
