//! A quick look: one slice reconstructed and drawn, no volume written. Reads the rows of that one slice and nothing else.

use super::feed::{Feed, Tally};
use super::plan::amplification;
use super::setup::{Setup, setup, unit_name};
use super::{Request, SliceChoice};
use crate::ops::over::refuse_over_scan;
use crate::ops::picture::Window;
use crate::ops::view::SliceRange;
use crate::recon::{Backend, Centre, FbpPlan, Sinograms};
use crate::stream::{Budget, Cancel, Progress};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;
use tomokit_formats::png::{self, Slice, Style};
use tomokit_formats::registry::open;
use tomokit_formats::{Content, Error, FrameSource, Region, Result};

/// A quick look ready to be taken.
#[derive(Serialize)]
pub struct LookPlan {
    /// Scan as given.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub scan: PathBuf,
    /// Picture to write.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub output: PathBuf,
    /// Detector row.
    pub row: usize,
    /// Rotation axis, 0 = centre of the first column.
    pub rotation_axis_px: f64,
    /// How the axis is known.
    pub axis_origin: String,
    /// Columns and rows of the slice.
    pub slice: [usize; 2],
    /// Bytes of projections read, counting what the file's chunks force.
    pub bytes_read: u64,
    /// Values fetched per value wanted.
    pub read_amplification: f64,
    /// Time that reading will take, seconds, where the file's chunks make it long; measured on a few of them.
    pub slow_seconds: Option<f64>,
    /// Peak memory of all buffers, bytes.
    pub memory_bytes: u64,
    /// Oddities of the scan.
    pub warnings: Vec<String>,
    #[serde(skip)]
    pub(super) setup: Setup,
    #[serde(skip)]
    pub(super) fbp: FbpPlan,
    #[serde(skip)]
    pub(super) request: Request,
    #[serde(skip)]
    window: Window,
}

/// What a look gave.
#[derive(Clone, Debug, Serialize)]
pub struct Look {
    /// The picture.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub output: PathBuf,
    /// Detector row.
    pub row: usize,
    /// Rotation axis.
    pub rotation_axis_px: f64,
    /// Unit of the values.
    pub value_unit: &'static str,
    /// Values drawn black and white.
    pub window: [f64; 2],
    /// Counts.
    pub counts: Tally,
    /// Reading and decoding, seconds.
    pub read_seconds: f64,
    /// Correcting and reconstructing, seconds.
    pub compute_seconds: f64,
    /// Drawing and writing the picture, seconds.
    pub draw_seconds: f64,
}

/// The row of a choice; opens nothing that is not needed.
fn choose_row(request: &Request, row: SliceChoice) -> Result<usize> {
    match row {
        SliceChoice::Row(n) => Ok(n),
        SliceChoice::Middle => match open(&request.scan, &request.open)?.content {
            Content::Scan(s) => Ok(s.projections.shape().rows / 2),
            // What is wrong with it is said where the scan is opened in earnest.
            _ => Ok(0),
        },
    }
}

/// Opens the scan and works out a slice; `request.output` is the picture.
///
/// # Errors
/// As [`setup()`]; a row that is not there; a picture that exists; more memory than there is.
pub fn plan_look(
    request: &Request,
    row: SliceChoice,
    window: Window,
    budget: Budget,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<LookPlan> {
    plan_axes(request, row, window, budget, &[], progress, cancel)
}

/// The same; with axes for all of them, in the frame of the axis requested.
pub(super) fn plan_axes(
    request: &Request,
    row: SliceChoice,
    window: Window,
    budget: Budget,
    axes: &[f64],
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<LookPlan> {
    png::refuse_output(&request.output, request.create.overwrite, &[&request.scan])?;
    let row = choose_row(request, row)?;
    let bin = request.bin.unwrap_or(1);
    let one = SliceRange { start: Some(row), end: row.checked_add(bin.max(1)), step: None };
    let request = Request { slices: Some(one), ..request.clone() };
    let mut setup = setup(&request, progress, cancel)?;
    refuse_over_scan(&request.output, &request.scan, &setup.scan)?;
    if !axes.is_empty() {
        let (x, y) = setup.geometry.axis_voxel();
        setup.geometry.output.centre = Centre::At { x, y };
        // The back end that takes several axes at a time; finer than any picture.
        setup.options.backend = Backend::Gridding;
        setup.options.tolerance = 1e-3;
    }
    let source = &*setup.scan.projections;
    let detector = source.shape();
    let read_amplification = amplification(source, &setup.rows, 1, setup.gather.as_ref());
    let row_bytes = (detector.frames * detector.cols * source.dtype().size()) as u64;
    let (nx, ny) = setup.geometry.slice_size();
    let fetched = setup.gather.as_ref().map_or(1, |g| g.rows_for(&setup.rows).len() as u64);
    let corrected = (detector.frames * detector.cols * 4) as u64;
    let fbp = FbpPlan::for_axes(&setup.geometry, &setup.options, axes)?;
    let scratch = fbp.scratch_bytes(1, rayon::current_num_threads());
    let memory_bytes = fetched * (row_bytes + corrected) + corrected + (nx * ny * 4) as u64 + scratch;
    if memory_bytes > budget.bytes {
        return Err(Error::limit("one slice does not fit the memory budget")
            .expected(format!("at most {} bytes", budget.bytes))
            .found(format!("{memory_bytes} bytes"))
            .hint("raise --memory"));
    }
    let fetched_bytes = (row_bytes as f64 * read_amplification) as u64;
    let mut warnings = setup.warnings.clone();
    let slow_seconds = if fetched_bytes > SLOW_BYTES && source.access().decoded {
        let seconds = fetched_bytes as f64 / decoded_per_s(source, setup.rows[0])?;
        let u = source.access().unit;
        warnings.push(format!(
            "the projections are stored in chunks of {} × {} × {}: {} MB must be decoded for {} MB of this slice, about \
             {seconds:.1} s",
            u.frames,
            u.rows,
            u.cols,
            fetched_bytes >> 20,
            row_bytes >> 20
        ));
        Some(seconds)
    } else {
        None
    };
    Ok(LookPlan {
        scan: request.scan.clone(),
        output: request.output.clone(),
        row,
        rotation_axis_px: setup.axis_px,
        axis_origin: setup.axis_origin.clone(),
        slice: [nx, ny],
        bytes_read: fetched_bytes,
        slow_seconds,
        read_amplification,
        memory_bytes,
        warnings,
        setup,
        fbp,
        request,
        window,
    })
}

/// More than this decoded for one slice is worth a word.
const SLOW_BYTES: u64 = 256 << 20;

/// Bytes decoded per second for one row, by a tenth of a second or so of it.
fn decoded_per_s(source: &dyn FrameSource, row: usize) -> Result<f64> {
    let shape = source.shape();
    let step = source.access().unit.frames.max(1) * rayon::current_num_threads();
    let (mut at, mut bytes) = (0, 0.0);
    let start = Instant::now();
    let mut out = Vec::new();
    while at < shape.frames && start.elapsed().as_secs_f64() < 0.1 {
        let region = Region::of_rows(shape, at..(at + step).min(shape.frames), row..row + 1);
        out.resize(region.values() * source.dtype().size(), 0);
        source.read(&region, &mut out)?;
        bytes += out.len() as f64 * source.access().amplification(shape, &region);
        at += step;
    }
    Ok(bytes / start.elapsed().as_secs_f64().max(1e-9))
}

impl LookPlan {
    /// −log sinogram of the row, `[projection][column]`, with what was counted and the seconds of reading.
    pub(super) fn sinogram(&self, progress: &dyn Progress) -> Result<(Vec<f32>, Tally, f64)> {
        let s = &self.setup;
        let feed = Feed::new(&s.scan, &self.request, s.zero_clip, s.gather.as_ref());
        progress.begin("reading", 0);
        let t = Instant::now();
        let mut raw = feed.read(&s.rows, Vec::new(), &mut Vec::new())?;
        let read = t.elapsed().as_secs_f64();
        let mut sinogram = Vec::new();
        let tally = feed.correct(&mut raw, &mut Vec::new(), &mut sinogram)?;
        progress.end();
        Ok((sinogram, tally, read))
    }

    /// How pictures of this scan's slices are drawn; `zoom` voxels per drawn value.
    pub(super) fn style(&self, zoom: f64) -> Style<'static> {
        let s = &self.setup;
        Style {
            window: self.window.style(),
            pixel_um: s.pixel_um.map(|p| [p * zoom * s.geometry.output.bin as f64; 2]),
            unit: unit_name(s.options.unit),
            ..Style::default()
        }
    }
}

/// Reads, reconstructs and draws the slice.
pub fn look(plan: &LookPlan, progress: &dyn Progress, cancel: &Cancel) -> Result<Look> {
    let s = &plan.setup;
    let start = Instant::now();
    let (sinogram, mut counts, read_seconds) = plan.sinogram(progress)?;
    cancel.check()?;
    progress.begin("reconstructing", 0);
    let fbp = &plan.fbp;
    let mut slice = vec![0f32; fbp.slice_len()];
    let mut scratch = fbp.scratch_for(1, rayon::current_num_threads())?;
    fbp.execute(Sinograms::by_frame(&sinogram, 1, s.geometry.cols), &mut slice, &mut scratch)?;
    counts.bad_voxels = slice.iter().filter(|v| !v.is_finite()).count() as u64;
    let compute_seconds = start.elapsed().as_secs_f64() - read_seconds;
    progress.end();
    cancel.check()?;
    let drawing = Instant::now();
    let [cols, rows] = plan.slice;
    let title = format!("{}, row {}, axis {}", s.scan.name, plan.row, short(s.axis_px));
    let picture = png::slice(&Slice { values: &slice, rows, cols, title: &title }, &plan.style(1.0));
    let output = picture.canvas.save(&plan.output, plan.request.create.overwrite)?;
    Ok(Look {
        output,
        row: plan.row,
        rotation_axis_px: s.axis_px,
        value_unit: unit_name(s.options.unit),
        window: [picture.low, picture.high],
        counts,
        read_seconds,
        compute_seconds,
        draw_seconds: drawing.elapsed().as_secs_f64(),
    })
}

/// A column with at most three decimals.
pub(super) fn short(v: f64) -> String {
    let text = format!("{v:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
