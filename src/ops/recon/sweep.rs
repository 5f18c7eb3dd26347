//! One slice with many axes: one read, one correction, a plan per axis over the same sinogram, a score each, and a
//! labelled montage. The best axis is marked; one at the end of the range is a warning, for the true one may lie beyond.

use super::feed::Tally;
use super::look::{LookPlan, plan_look, short};
use super::score::{Disc, Score, range_of, score};
use super::setup::{geometry, unit_name};
use super::{AxisChoice, Request, SliceChoice};
use crate::ops::picture::Window;
use crate::recon::{FbpPlan, Geometry, Sinograms};
use crate::stream::{Budget, Cancel, Progress};
use rayon::prelude::*;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;
use tomokit_formats::Result;
use tomokit_formats::png::{self, Slice};

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
    /// Axes worked on at a time.
    pub at_a_time: usize,
    #[serde(skip)]
    geometries: Vec<Geometry>,
}

/// One axis and its scores.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Tried {
    /// Column.
    pub axis_px: f64,
    /// How good it is.
    #[serde(flatten)]
    pub score: Score,
}

/// What a sweep found.
#[derive(Clone, Debug, Serialize)]
pub struct Sweep {
    /// The montage.
    pub output: PathBuf,
    /// Detector row.
    pub row: usize,
    /// Every axis with its scores.
    pub axes: Vec<Tried>,
    /// The one of least entropy.
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

/// Works a sweep out; `request.output` is the montage, `request.axis` does not matter.
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
    let middle = axes[axes.len() / 2];
    let request = Request { axis: AxisChoice::At(middle), ..request.clone() };
    let mut look = plan_look(&request, row, window, budget, progress, cancel)?;
    "axis sweep".clone_into(&mut look.axis_origin);
    let s = &look.setup;
    // All slices have the frame of the middle one: the width of an extended field depends on its axis.
    let sized = Request { size: Some(s.geometry.output.nx), ..request };
    let cols = s.geometry.cols;
    let all: Result<Vec<Geometry>> = axes.iter().map(|a| geometry(&sized, &s.scan, cols, *a, s.extended)).collect();
    let geometries = all?;
    // Every axis at work needs tables, scratch and a slice.
    let each = look.fbp.scratch_bytes(1, 1) + 4 * look.fbp.slice_len() as u64;
    let free = budget.bytes.saturating_sub(look.memory_bytes);
    let at_a_time = ((free / each.max(1)) as usize).clamp(1, rayon::current_num_threads()).min(axes.len());
    look.memory_bytes += each * at_a_time as u64;
    Ok(SweepPlan { look, axes_px: axes, at_a_time, geometries })
}

/// Reads once, reconstructs with every axis, scores and draws.
pub fn sweep(plan: &SweepPlan, progress: &dyn Progress, cancel: &Cancel) -> Result<Sweep> {
    let s = &plan.look.setup;
    let start = Instant::now();
    let (sinogram, counts, read_seconds) = plan.look.sinogram(progress)?;
    let [cols, rows] = plan.look.slice;
    let disc = common_disc(&plan.geometries);
    let columns = (plan.axes_px.len() as f64).sqrt().ceil() as usize;
    let down = cols.max(rows).div_ceil((MONTAGE / columns).max(64)).max(1);

    // The middle axis sets the range for all.
    let make = |fbp: &FbpPlan| -> Result<Vec<f32>> {
        cancel.check()?;
        let mut slice = vec![0f32; fbp.slice_len()];
        let mut scratch = fbp.scratch_for(1, 1)?;
        fbp.execute(Sinograms::by_frame(&sinogram, 1, s.geometry.cols), &mut slice, &mut scratch)?;
        Ok(slice)
    };
    let middle = plan.geometries.len() / 2;
    let bytes = (cols * rows * 4) as u64;
    progress.begin("trying axes", bytes * plan.geometries.len() as u64);
    let judge = |slice: Vec<f32>, range: (f64, f64)| {
        progress.advance(bytes);
        (score(&slice, cols, disc, range), shrink(&slice, cols, down))
    };
    let first = make(&plan.look.fbp)?;
    let range = range_of(disc.values(&first, cols));
    let mut made: Vec<Option<(Score, Vec<f32>)>> = vec![None; plan.geometries.len()];
    made[middle] = Some(judge(first, range));
    for (made, g) in made.chunks_mut(plan.at_a_time).zip(plan.geometries.chunks(plan.at_a_time)) {
        let work = made.par_iter_mut().zip(g).filter(|(m, _)| m.is_none());
        work.try_for_each(|(m, g)| -> Result<()> {
            *m = Some(judge(make(&FbpPlan::new(g, &s.options)?)?, range));
            Ok(())
        })?;
    }
    progress.end();
    let (scores, images): (Vec<Score>, Vec<Vec<f32>>) = made.into_iter().flatten().unzip();
    let compute_seconds = start.elapsed().as_secs_f64() - read_seconds;

    let axes: Vec<Tried> = plan.axes_px.iter().zip(scores).map(|(a, score)| Tried { axis_px: *a, score }).collect();
    let best = least(&axes, |s| s.entropy);
    let calm = least(&axes, |s| s.variation);
    let drawing = Instant::now();
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
    let style = png::Style { max_size: MONTAGE, ..plan.look.style(down as f64) };
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
fn least(axes: &[Tried], value: impl Fn(&Score) -> f64) -> usize {
    (1..axes.len()).fold(0, |m, i| if value(&axes[i].score) < value(&axes[m].score) { i } else { m })
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
fn common_disc(geometries: &[Geometry]) -> Disc {
    let g = &geometries[geometries.len() / 2];
    let (cx, cy) = g.axis_voxel();
    let roi = g.roi();
    let (w, h) = g.slice_size();
    let (x, y) = (cx - roi.x0 as f64, cy - roi.y0 as f64);
    let seen = |g: &Geometry| {
        let far = g.far_px();
        let near = g.rotation_axis_px.min(g.cols as f64 - 1.0 - g.rotation_axis_px);
        if matches!(g.field, crate::recon::Field::Full) { near } else { far }
    };
    let radius = 0.9 * geometries.iter().map(seen).fold(f64::INFINITY, f64::min);
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
        let t = |axis_px: f64, entropy: f64, variation: f64| Tried { axis_px, score: Score { entropy, variation } };
        let axes = [t(1.0, 5.0, 3.0), t(2.0, 4.0, 1.0), t(3.0, 4.5, 2.0), t(4.0, 6.0, 6.0)];
        let (b, l) = (least(&axes, |s| s.entropy), least(&axes, |s| s.variation));
        assert_eq!((b, l), (1, 1));
        assert!(warnings(&axes, b, l).is_empty());
        assert_eq!(warnings(&axes, 0, 0).len(), 1);
        assert_eq!(warnings(&axes, 0, 3).len(), 2);
    }
}
