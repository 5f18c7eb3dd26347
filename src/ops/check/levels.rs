//! Grey jumps: from one slice to the next all values change by an offset or a factor, and stay so, while the picture goes
//! on. That is what the border between two slabs looks like that were normalised differently, or made by two runs.
//!
//! For every pair of neighbours the reduced pictures are fitted with a line, `next − this = α + β·this`. A sample that
//! changes leaves a residual; a change of levels does not.

use super::normal::Normal;
use super::volume::{PICTURE, SliceFacts};
use super::{Finding, Kind, Weight};

/// A jump is this many times what is usual between neighbours of the same volume …
const TIMES: f64 = 8.0;
/// … and at least this share of the contrast (standard deviation) of the reduced picture.
const CONTRAST: f64 = 0.02;
/// … and this many times the residual of the fit.
const CLEAR: f64 = 3.0;
/// Or this share of the points goes the same way: not a part of the sample that changes, be its change as large.
const ALIKE: f64 = 0.8;
/// Mean and spread grow by one factor where they differ by less than this part of it.
const ONE_FACTOR: f64 = 0.3;
/// What is left of the contrast where the sample ends.
const GONE: f64 = 0.2;
/// Where the pictures of neighbours correlate by more than this …
const LIKE: f64 = 0.5;
/// … those on both sides of a jump do by as much, or nearly: what was there goes on at other levels. Where the sample ends
/// they do not …
const GOES_ON: f64 = 0.9;
/// … if there is something to go on: this part of the usual contrast, on one side.
const SOMETHING: f64 = 0.3;
/// Fewer slices do not tell what is usual.
const FEWEST: usize = 8;

/// One voxel in so many more or less than in the neighbour is not the same field.
const GROWS: u64 = 1000;
/// Points that are enough for a fit.
const ENOUGH: usize = 32;

struct Fit {
    /// Change of level: of the mean, or of the contrast where that is larger.
    shift: f64,
    /// What a change of level does not explain.
    residual: f64,
    contrast: f64,
    factor: f64,
    offset: f64,
    /// Of the mean. The offset of the line leans on how steep a changing sample makes it.
    mean: f64,
    /// Share of the points that change the way the mean does.
    alike: f64,
    /// … of their values, where all grow by one factor: air stays what it is. 0 where they do not.
    alike_by_value: f64,
    /// Correlation of the two pictures.
    likeness: f64,
    /// There is little in the pictures, and not as much in both: at its edge, what grows gets brighter.
    grows: bool,
}

/// Points of the field in both pictures, rows of `cols` points. Those at its edge hold zeros from outside as well, which no
/// change of levels reaches: they are left out where enough others are there.
/// False where they are not.
fn field(a: &[f32], b: &[f32], cols: usize) -> (Vec<usize>, bool) {
    let rows = a.len() / cols.max(1);
    let any = |i: &usize| a[*i] != 0.0 || b[*i] != 0.0;
    let inner = |i: &usize| {
        let around = |at: usize, most: usize| at.saturating_sub(1)..(at + 2).min(most);
        let mut near = around(i / cols, rows).flat_map(|y| around(i % cols, cols).map(move |x| y * cols + x));
        near.all(|n| a[n] != 0.0 && b[n] != 0.0)
    };
    let inside: Vec<usize> = (0..rows * cols).filter(inner).collect();
    if inside.len() < ENOUGH { ((0..a.len()).filter(any).collect(), false) } else { (inside, true) }
}

fn fit(a: &SliceFacts, b: &SliceFacts, cols: usize) -> Fit {
    let (field, is_inner) = field(&a.thumb, &b.thumb, cols);
    let (here, there) = (a.voxels - a.zeros, b.voxels - b.zeros);
    let points: Vec<(f64, f64)> =
        (field.into_iter()).map(|i| (f64::from(a.thumb[i]), f64::from(b.thumb[i]) - f64::from(a.thumb[i]))).collect();
    let n = points.len().max(1) as f64;
    let (mx, md) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let xx = points.iter().map(|p| (p.0 - mx).powi(2)).sum::<f64>() / n;
    let xd = points.iter().map(|p| (p.0 - mx) * (p.1 - md)).sum::<f64>() / n;
    let dd = points.iter().map(|p| (p.1 - md).powi(2)).sum::<f64>() / n;
    let beta = if xx > 0.0 { xd / xx } else { 0.0 };
    let residual = (dd - beta * xd).max(0.0).sqrt();
    let contrast = xx.sqrt();
    let alike = points.iter().filter(|p| p.1 * md > 0.0).count() as f64 / n;
    let mut alike_by_value = 0.0;
    // Noise and structure hide the factor in the slope of the line, but not in mean and spread, which both grow by it.
    let spread = (xx + 2.0 * xd + dd).max(0.0).sqrt();
    let (by_mean, by_spread) = (md / mx, (spread - contrast) / contrast);
    let moderate = (0.5..2.0).contains(&(1.0 + by_mean));
    if moderate && (by_mean - by_spread).abs() < ONE_FACTOR * by_mean.abs() {
        let all: f64 = points.iter().map(|p| p.0.abs()).sum();
        alike_by_value = points.iter().filter(|p| p.1 * md > 0.0).map(|p| p.0.abs()).sum::<f64>() / all;
    }
    let kept = (1.0 + beta) * contrast;
    Fit {
        grows: !is_inner && here.abs_diff(there) * GROWS > here.max(there),
        alike,
        alike_by_value,
        likeness: if kept == 0.0 { 0.0 } else { kept / kept.hypot(residual) },
        shift: md.abs().max(beta.abs() * contrast),
        residual,
        contrast,
        factor: 1.0 + beta,
        offset: md - beta * mx,
        mean: md,
    }
}

/// The findings. `slices` are all slices, in order, their reduced pictures `cols` points wide; what is wrong for another
/// reason is left out.
pub fn findings(slices: &[SliceFacts], cols: usize, normal: &Normal) -> Vec<Finding> {
    // Drawings change as they like.
    if normal.flat || slices.first().is_none_or(|s| s.voxels < PICTURE as u64) {
        return Vec::new();
    }
    let good: Vec<&SliceFacts> = slices.iter().filter(|s| !s.bad).collect();
    if good.len() < FEWEST || good[0].thumb.len() < 16 {
        return Vec::new();
    }
    let fits: Vec<Fit> = good.windows(2).map(|w| fit(w[0], w[1], cols)).collect();
    let median = |mut v: Vec<f64>| {
        v.sort_by(f64::total_cmp);
        v[v.len() / 2]
    };
    let contrast = median(fits.iter().map(|f| f.contrast).collect());
    let usual = median(fits.iter().map(|f| f.shift).collect()).max(1e-6 * contrast).max(f64::MIN_POSITIVE);
    let usual_mean = median(fits.iter().map(|f| f.mean.abs()).collect()).max(1e-6 * contrast).max(f64::MIN_POSITIVE);
    let likeness = median(fits.iter().map(|f| f.likeness).collect());
    let by_line = |f: &Fit| f.shift > TIMES * usual && f.shift > CONTRAST * f.contrast && f.shift > CLEAR * f.residual;
    let by_mean = |f: &Fit| f.mean.abs() > TIMES * usual_mean && f.mean.abs() > CONTRAST * f.contrast;
    // What changes little by little is no jump.
    let alone = |i: usize| {
        let beside = [i.wrapping_sub(1), i + 1].into_iter().filter_map(|k| fits.get(k));
        fits[i].mean.abs() > CLEAR * beside.map(|f| f.mean.abs()).fold(0.0, f64::max)
    };
    let jumps: Vec<usize> = (0..fits.len())
        .filter(|&i| {
            let f = &fits[i];
            // It must stay: the slices on both sides, one further apart, show the same step.
            let wide = (i > 0 && i + 2 < good.len()).then(|| fit(good[i - 1], good[i + 2], cols));
            let stays = |same: &dyn Fn(&Fit) -> bool| wide.as_ref().is_none_or(same);
            let line = by_line(f) && stays(&|w| w.shift > 0.5 * f.shift && w.shift > CLEAR / 2.0 * w.residual);
            let by_value = f.alike <= ALIKE;
            let alike = |f: &Fit| if by_value { f.alike_by_value } else { f.alike };
            let sure = || alike(f) > ALIKE && (!by_value || alone(i));
            let mean = || {
                by_mean(f) && sure() && stays(&|w| w.mean * f.mean > 0.5 * f.mean * f.mean && alike(w) > 0.8 * ALIKE)
            };
            // Where the sample ends its picture goes, and comes where it begins: that is no change of levels.
            let gone = |f: &Fit| f.factor.abs() < GONE && f.contrast > CLEAR * f.residual;
            let other = (f.factor * f.contrast).hypot(f.residual);
            let nothing = f.contrast.max(other) < SOMETHING * contrast;
            let goes_on = nothing || likeness < LIKE || f.likeness.abs() > GOES_ON * likeness;
            (line || mean()) && goes_on && !f.grows && !gone(f) && !gone(&fit(good[i + 1], good[i], cols))
        })
        .collect();
    // Many jumps are how the levels of this stack are (projections of a beam that flickers).
    if jumps.len() * 10 > good.len().max(40) {
        return Vec::new();
    }
    (jumps.into_iter())
        .map(|i| {
            let f = &fits[i];
            let (a, b) = (good[i].z, good[i + 1].z);
            let how = match (f.factor - 1.0).abs() * f.contrast > f.offset.abs() {
                true => format!("by a factor of {:.3}", f.factor),
                false => format!("by {:+.4}", f.mean),
            };
            let text = format!(
                "grey jump: from slice {a} to {b} all values change {how}, {:.0} times what is usual between neighbours",
                (f.shift / usual).max(f.mean.abs() / usual_mean)
            );
            Finding::new(Kind::GreyJump, Weight::Suspicious, text).at(a..b + 1)
        })
        .collect()
}
