//! Compares any two readable stacks voxel by voxel, through their grey scales: how far apart, where first, where worst.
//!
//! Guarantees: memory stays within the budget; every voxel is looked at; the result is the same on any number of threads;
//! counts, places and the largest difference are exact.
//! A grey value at an end of its scale stands for everything beyond it (and grey 0 for zeros and NaN that recad was
//! given): such pairs agree as far as the scale can tell, and are counted.

mod pass;

use crate::ops::recad::{rounding_of, scale_of};
use crate::ops::view::{View, ViewSpec, view};
use crate::quantise::{Pair, follow};
use crate::stream::{Budget, Cancel, Lanes, Progress, unpacking};
use serde::Serialize;
use std::path::{Path, PathBuf};
use tomokit_formats::model::GreyScale;
use tomokit_formats::png;
use tomokit_formats::registry::open_volume;
use tomokit_formats::{DType, Error, OpenOptions, Region, Result, Shape};

/// Bins of the histogram of differences.
const BINS: usize = 101;

/// What to compare.
#[derive(Clone, Debug)]
pub struct Request {
    /// The reference.
    pub a: PathBuf,
    /// What is held against it.
    pub b: PathBuf,
    /// How to read both.
    pub open: OpenOptions,
    /// Part of both (region, slices).
    pub view: ViewSpec,
    /// Compare the numbers in the files, without grey scales.
    pub as_stored: bool,
    /// Largest difference that is still good; by default half a grey step where a scale is in play (a whole one where it was
    /// dithered), else 0.
    pub tolerance: Option<f64>,
    /// Picture of the slice with the largest difference.
    pub plot: Option<PathBuf>,
    /// Replace a picture that exists.
    pub overwrite: bool,
}

/// One of the two.
struct Side {
    path: PathBuf,
    view: View,
    dtype: DType,
    scale: Option<GreyScale>,
    unit: String,
}

/// What will be compared, known before the first voxel is read.
pub struct Plan {
    a: Side,
    b: Side,
    /// Shape of the first.
    pub shape_a: Shape,
    /// Shape of the second; where it differs there is nothing to compare.
    pub shape_b: Shape,
    /// Largest difference that is still good.
    pub tolerance: f64,
    /// Slices per block.
    pub block_slices: usize,
    lanes: Lanes,
    /// The first voxel's place in the files (x, y, z), and from which slice to the next.
    origin: [usize; 3],
    step: usize,
    /// Oddities worth knowing.
    pub warnings: Vec<String>,
    plot: Option<PathBuf>,
    overwrite: bool,
}

/// A voxel of both, counted in the files, whatever part of them is compared.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Place {
    /// Column.
    pub x: usize,
    /// Row.
    pub y: usize,
    /// Slice.
    pub z: usize,
    /// Value of the first, `None` where it is no finite number.
    pub a: Option<f64>,
    /// Value of the second.
    pub b: Option<f64>,
}

/// Differences `b − a` other than 0 by size.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Differences {
    /// Lower edge of the first bin.
    pub low: f64,
    /// Upper edge of the last.
    pub high: f64,
    /// Voxels per bin.
    pub counts: Vec<u64>,
    /// One percent of the differences lie below this,
    pub p01: f64,
    /// half of them,
    pub median: f64,
    /// all but one percent.
    pub p99: f64,
}

/// How the two compare.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// True where no voxel is further apart than the tolerance.
    pub within_tolerance: bool,
    /// The tolerance.
    pub tolerance: f64,
    /// Unit of the values compared, may be empty.
    pub unit: String,
    /// Voxels compared.
    pub voxels: u64,
    /// Voxels that differ at all.
    pub differing: u64,
    /// Voxels beyond the tolerance.
    pub beyond: u64,
    /// Voxels that are no finite number in both, and the same.
    pub not_finite_same: u64,
    /// Voxels that are no finite number in at least one, and differ.
    pub not_finite_differing: u64,
    /// Voxels beyond an end of a grey scale, agreeing as far as it can tell: in all that follows they differ by 0.
    pub beyond_scale: u64,
    /// Largest absolute difference.
    pub max: Option<f64>,
    /// Mean difference, second minus first.
    pub mean: Option<f64>,
    /// Mean absolute difference.
    pub mean_absolute: Option<f64>,
    /// Root mean square difference.
    pub rms: Option<f64>,
    /// Peak signal to noise ratio, dB; the peak is the range of the first. Absent where both are equal.
    pub psnr_db: Option<f64>,
    /// Pearson's correlation. Absent where one of the two is flat.
    pub correlation: Option<f64>,
    /// First voxel beyond the tolerance, in order of slice, row, column.
    pub first: Option<Place>,
    /// Voxel with the largest difference.
    pub worst: Option<Place>,
    /// Differences by size.
    pub histogram: Option<Differences>,
    /// The picture drawn.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub picture: Option<PathBuf>,
    /// Wall time, seconds.
    pub seconds: f64,
}

fn side(path: &Path, r: &Request, warnings: &mut Vec<String>) -> Result<Side> {
    let (volume, opened) = open_volume(path, &r.open)?;
    warnings.extend(opened.warnings.into_iter().map(|w| format!("{}: {w}", path.display())));
    let dtype = volume.source.dtype();
    let scale = match r.as_stored {
        true => None,
        false => scale_of(path, &volume.meta, &*volume.source)?,
    };
    let unit = scale.as_ref().map(|s| s.unit.clone()).or(volume.meta.value_unit).unwrap_or_default();
    Ok(Side { path: path.to_owned(), view: view(volume.source, &r.view)?, dtype, scale, unit })
}

/// Opens both.
pub fn plan(r: &Request, budget: Budget) -> Result<Plan> {
    let mut warnings = Vec::new();
    let (a, b) = (side(&r.a, r, &mut warnings)?, side(&r.b, r, &mut warnings)?);
    if [&a, &b].into_iter().any(|s| matches!(s.dtype, DType::U64 | DType::I64)) {
        warnings.push("whole numbers of 64 bits are compared as 64-bit floats: beyond 2^53 their differences are rounded, never to none".into());
    }
    if let Some(p) = &r.plot {
        png::refuse_output(p, r.overwrite, &[&r.a, &r.b])?;
    }
    let (shape_a, shape_b) = (a.view.source.shape(), b.view.source.shape());
    shape_a.len()?;
    if r.plot.is_some() {
        budget.refuse_picture(shape_a).map_err(|e| e.path(&r.a))?;
    }
    let rounded = |s: &Side| s.scale.as_ref().map_or(0.0, |g| g.slope.abs() * rounding_of(&s.path));
    for s in [&a, &b] {
        budget.refuse_unit(&*s.view.source).map_err(|e| e.path(&s.path))?;
    }
    // Half a step (dithered: a whole one), and what rounding to float32 adds to it.
    let tolerance = r.tolerance.unwrap_or((rounded(&a) + rounded(&b)) * (1.0 + 1e-4));
    // Every thread holds a block of both, cut from a larger one or not.
    let per_slice = |l: Lanes| {
        let of = |s: &Side| (shape_a.frame_len() * s.dtype.size()) as f64 * (1.0 + s.view.scratch_per_byte);
        (of(&a) + of(&b)) * l.threads as f64
    };
    let packed = |l: Lanes| [&a, &b].map(|s| unpacking(&*s.view.source, l.threads)).iter().sum::<u64>();
    let most = Budget { bytes: (budget.bytes as f64 * 0.8) as u64 };
    let lanes = Lanes::fitting(most.bytes, |l| per_slice(l) + packed(l) as f64);
    let (per_slice, left) = (per_slice(lanes), most.less(packed(lanes)));
    if per_slice > left.bytes as f64 {
        return Err(Error::limit("one slice of both does not fit the memory budget")
            .expected(format!("at most {} bytes", left.bytes))
            .found(format!("{} bytes", per_slice as u64))
            .hint("raise --memory, or compare a part with --roi"));
    }
    let unit = a.view.source.access().unit.frames.max(b.view.source.access().unit.frames);
    let largest = ((16 << 20) / (shape_a.frame_len() * a.dtype.size()).max(1)).max(unit).max(1);
    let block_slices = left.units(1.0, per_slice.ceil() as usize, shape_a.frames.min(largest));
    let start = |i: usize| r.view.roi.as_ref().and_then(|roi| roi.xyz[i].start).unwrap_or(0);
    Ok(Plan {
        origin: [start(0), start(1), a.view.first_input_slice],
        step: r.view.slices.and_then(|s| s.step).unwrap_or(1),
        a,
        b,
        shape_a,
        shape_b,
        tolerance,
        block_slices,
        lanes,
        warnings,
        plot: r.plot.clone(),
        overwrite: r.overwrite,
    })
}

/// Compares.
///
/// # Errors
/// `Caller` where the shapes differ; what reading says.
pub fn execute(plan: &Plan, progress: &dyn Progress, cancel: &Cancel) -> Result<Report> {
    let shape = plan.shape_a;
    if shape != plan.shape_b {
        let size = |s: Shape| format!("{} × {} × {} (x × y × z)", s.cols, s.rows, s.frames);
        let e = Error::caller("the two differ in size").expected(size(shape)).found(size(plan.shape_b));
        return Err(e.or_path(&plan.b.path));
    }
    let start = std::time::Instant::now();
    let pass::Found { pairs: total, histogram, beyond_scale } = pass::look(plan, progress, cancel)?;
    let place = |p: Pair| {
        let i = p.index as usize;
        let finite = |v: f64| v.is_finite().then_some(v);
        let [x, y, z] = plan.origin;
        Place {
            x: x + i % shape.cols,
            y: y + i / shape.cols % shape.rows,
            z: z + i / shape.frame_len() * plan.step,
            a: finite(p.a),
            b: finite(p.b),
        }
    };
    let differences = histogram.extent().map(|(low, high)| {
        let (low, high) = if low < high { (low, high) } else { (low - low.abs() * 0.01, high + high.abs() * 0.01) };
        let at = |p| histogram.percentile(p).unwrap_or(low);
        Differences {
            low,
            high,
            counts: histogram.rebin(low, high, BINS),
            p01: at(1.0),
            median: at(50.0),
            p99: at(99.0),
        }
    });
    let unit = if plan.a.unit.is_empty() { plan.b.unit.clone() } else { plan.a.unit.clone() };
    let mut report = Report {
        within_tolerance: total.beyond == 0,
        tolerance: plan.tolerance,
        unit,
        voxels: total.finite + total.odd_same + total.odd_differ,
        differing: total.unequal + total.odd_differ,
        beyond: total.beyond,
        not_finite_same: total.odd_same,
        not_finite_differing: total.odd_differ,
        beyond_scale,
        max: (total.finite > 0).then(|| total.worst.map_or(0.0, |p| (p.b - p.a).abs())),
        mean: total.mean_difference(),
        mean_absolute: total.mean_absolute(),
        rms: total.rms(),
        psnr_db: total.psnr(),
        correlation: total.correlation(),
        first: total.first.map(place),
        worst: total.worst.map(place),
        histogram: differences,
        picture: None,
        seconds: start.elapsed().as_secs_f64(),
    };
    if let Some(path) = &plan.plot {
        let z = total.worst.or(total.first).map_or(shape.frames / 2, |p| p.index as usize / shape.frame_len());
        report.picture = Some(draw(plan, z, &report, path)?);
    }
    Ok(report)
}

/// Draws the difference of slice `z`, mid-grey for none.
fn draw(plan: &Plan, z: usize, report: &Report, path: &Path) -> Result<PathBuf> {
    let shape = plan.shape_a;
    let one = |s: &Side| -> Result<Vec<f64>> {
        let mut bytes = vec![0u8; shape.frame_len() * s.dtype.size()];
        s.view.source.read(&Region::of_frames(shape, z..z + 1), &mut bytes)?;
        let mut values = Vec::new();
        s.values(&bytes, &mut values);
        Ok(values)
    };
    let (mut a, mut b) = (one(&plan.a)?, one(&plan.b)?);
    if let Some(ends) = plan.a.ends() {
        follow(&mut a, ends, &b);
    }
    if let Some(ends) = plan.b.ends() {
        follow(&mut b, ends, &a);
    }
    let values: Vec<f32> = a.iter().zip(&b).map(|(a, b)| (b - a) as f32).collect();
    let most = report.max.filter(|m| *m > 0.0).unwrap_or(1.0);
    let name = |p: &Path| p.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let slice = plan.origin[2] + z * plan.step;
    let title = format!("{} - {}, slice {slice}", name(&plan.b.path), name(&plan.a.path));
    let style =
        png::Style { window: png::Window::Fixed { low: -most, high: most }, unit: &report.unit, ..Default::default() };
    let picture =
        png::slice(&png::Slice { values: &values, rows: shape.rows, cols: shape.cols, title: &title }, &style);
    picture.canvas.save(path, plan.overwrite)
}
