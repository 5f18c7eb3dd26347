//! Writes a scan of an analytic phantom as a beamline would: exact projections, a camera with its faults, flats and
//! darks before and after, in any of the layouts that are read. For users to try the tools on, and for tests.
//!
//! Every frame depends on the request and its own number only, so the files are the same on any number of threads.

use crate::ops::finish::OldRecords;
use crate::phantom::{Camera, CameraOptions, Kind, Phantom, View};
use crate::recon::Geometry;
use crate::stream::{Budget, Cancel, Pool, Progress, run};
use rayon::prelude::*;
use serde::Serialize;
use std::path::PathBuf;
use tomokit_formats::model::FieldOfView;
use tomokit_formats::registry::{FormatSpec, writer_for};
use tomokit_formats::scan_out::{Part, RefSpec, ScanLayout, ScanSpec, ScanWriteOptions, ScanWriter, Storage, parts};
use tomokit_formats::{CreateOptions, DType, Error, Result, Shape, VolumeMeta};

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Request {
    /// Folder or file to write.
    pub output: PathBuf,
    /// Layout of the scan.
    pub layout: ScanLayout,
    /// Chunks and compression of HDF5 layouts.
    pub storage: Storage,
    /// Replace an existing scan.
    pub overwrite: bool,
    /// Detector columns.
    pub cols: usize,
    /// Detector rows.
    pub rows: usize,
    /// Number of projections.
    pub projections: usize,
    /// Angular range, degrees; projection k is at k × range / projections.
    pub range_deg: f64,
    /// Axis relative to the middle of the detector, columns.
    pub axis_offset_px: f64,
    /// How far the axis leans towards higher columns on its way to higher rows, degrees.
    pub tilt_deg: f64,
    /// The sample fills the extended field rather than the detector.
    pub extended: bool,
    /// Pixel size, µm.
    pub pixel_um: f64,
    /// What is in the beam.
    pub kind: Kind,
    /// Attenuation of the bulk, cm⁻¹; chosen for about half the beam where absent.
    pub mu_per_cm: Option<f64>,
    /// Rays per pixel edge.
    pub samples: usize,
    /// Flats before and after.
    pub flats: [usize; 2],
    /// Darks, after the scan.
    pub darks: usize,
    /// What is wrong with beam and camera.
    pub camera: CameraOptions,
    /// Where to write the true volume.
    pub truth: Option<PathBuf>,
}

/// What will be written.
#[derive(Serialize)]
pub struct Plan {
    /// Folder or file.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub output: PathBuf,
    /// Layout.
    pub layout: &'static str,
    /// Projections, rows, columns.
    pub shape: Shape,
    /// Axis, 0 = centre of the first column.
    pub rotation_axis_px: f64,
    /// Range, degrees.
    pub range_deg: f64,
    /// Pixel values of the scan, bytes before compression.
    pub bytes_written: u64,
    /// The true volume.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub truth: Option<PathBuf>,
    /// Its shape.
    pub truth_shape: Shape,
    /// Bulk attenuation, cm⁻¹.
    pub mu_per_cm: f64,
    /// Frames made at a time.
    pub block_frames: usize,
    #[serde(skip)]
    request: Request,
    #[serde(skip)]
    spec: ScanSpec,
    #[serde(skip)]
    geometry: Geometry,
    #[serde(skip)]
    phantom: Phantom,
    #[serde(skip)]
    view: View,
    #[serde(skip)]
    truth_writer: Option<&'static FormatSpec>,
}

/// Works the scan out.
pub fn plan(request: &Request, budget: Budget) -> Result<Plan> {
    let r = request;
    for (what, n) in [("columns", r.cols), ("rows", r.rows), ("projections", r.projections)] {
        if n == 0 || n > 1 << 20 {
            return Err(Error::caller(format!("the number of {what} is out of range"))
                .expected("1 to 1048576")
                .found(n));
        }
    }
    for (what, v) in [("pixel size", r.pixel_um), ("attenuation", r.mu_per_cm.unwrap_or(1.0))] {
        if !(v.is_finite() && v > 0.0) {
            return Err(Error::caller(format!("the {what} must be a positive number")).found(v));
        }
    }
    let axis = (r.cols as f64 - 1.0) / 2.0 + r.axis_offset_px;
    let range = r.range_deg.to_radians();
    let mut geometry = Geometry::new(r.cols, Geometry::uniform_angles(r.projections, range), axis);
    if r.extended {
        geometry = geometry.extended(f64::INFINITY);
    }
    geometry.check()?;
    // The sample stays clear of the edge of what is seen.
    let near = axis.min(r.cols as f64 - 1.0 - axis) + 0.5;
    let radius = if r.extended { geometry.far_px() + 0.5 } else { near };
    if radius < 2.0 || (r.extended && near < 0.0) {
        return Err(Error::caller(
            "the axis is too near the edge of the detector (or beyond it) for a sample to be seen",
        )
        .expected(format!("within ±{} columns of the middle", r.cols / 2))
        .found(r.axis_offset_px)
        .hint("use --extended for an axis near the edge"));
    }
    let radius_cm = radius * r.pixel_um * 1e-4;
    let mu = r.mu_per_cm.unwrap_or(0.4 / radius_cm);
    let phantom = Phantom::new(r.kind, 0.96 * radius, r.rows, mu, r.camera.seed);
    if r.tilt_deg.is_nan() || r.tilt_deg.abs() > 20.0 {
        return Err(Error::caller("the tilt is out of range").expected("-20 to 20 degrees").found(r.tilt_deg));
    }
    let view = View {
        rows: r.rows,
        cols: r.cols,
        rotation_axis_px: axis,
        pixel_size_um: r.pixel_um,
        tilt_rad: r.tilt_deg.to_radians(),
    };
    if let Some(bad) = r.camera.lost.iter().find(|k| **k >= r.projections) {
        return Err(Error::caller("a lost frame lies outside the scan")
            .expected(format!("below {}", r.projections))
            .found(bad));
    }

    let shape = Shape::new(r.projections, r.rows, r.cols);
    let name = r.output.file_stem().map_or("scan".into(), |s| s.to_string_lossy().into_owned());
    let mut spec = ScanSpec::new(&name, shape, DType::U16, geometry.angles_rad.clone());
    let refs = |frames: usize, position: f64| RefSpec { frames, position, dtype: DType::U16, averaged: false };
    let end = r.projections as f64;
    spec.flats = [refs(r.flats[0], 0.0), refs(r.flats[1], end)].into_iter().filter(|s| s.frames > 0).collect();
    spec.darks = if r.darks > 0 { vec![refs(r.darks, end)] } else { Vec::new() };
    spec.rotation_axis_px = Some(axis);
    spec.pixel_um = Some([r.pixel_um; 2]);
    spec.field_of_view = Some(if r.extended { FieldOfView::Half } else { FieldOfView::Full });
    let bytes_written = spec.bytes()?;

    let (nx, ny) = geometry.slice_size();
    let truth_writer = match &r.truth {
        Some(path) => {
            tomokit_formats::durable::refuse_beside(path, r.overwrite, &[&r.output])?;
            Some(writer_for(path, None)?)
        }
        None => None,
    };
    let per_frame = shape.frame_len() * 2;
    Ok(Plan {
        output: r.output.clone(),
        layout: r.layout.name(),
        shape,
        rotation_axis_px: axis,
        range_deg: r.range_deg,
        bytes_written,
        truth: r.truth.clone(),
        truth_shape: Shape::new(r.rows, ny, nx),
        mu_per_cm: mu,
        // A frame costs its counts and its float32 projection.
        block_frames: budget.units(0.25, per_frame * 3, ((64 << 20) / per_frame).max(1)),
        request: r.clone(),
        spec,
        geometry,
        phantom,
        view,
        truth_writer,
    })
}

/// Writes the scan, then the truth. Returns the files, the scan's main one first.
pub fn execute(plan: &Plan, progress: &dyn Progress, cancel: &Cancel) -> Result<Vec<PathBuf>> {
    let r = &plan.request;
    let camera = Camera::new(r.rows, r.cols, r.camera.clone())?;
    let options = ScanWriteOptions { storage: r.storage, overwrite: r.overwrite, ..ScanWriteOptions::new(r.layout) };
    let mut out = ScanWriter::create(&r.output, &plan.spec, &options)?;
    progress.begin("simulating", plan.bytes_written);
    let mut blocks = Vec::new();
    for part in parts(&plan.spec) {
        let n = out.part(part).map_or(0, |p| p.0);
        blocks.extend((0..n).step_by(plan.block_frames).map(|s| (part, s..(s + plan.block_frames).min(n))));
    }
    let pool = Pool::<Vec<u16>>::new();
    let frame = plan.shape.frame_len();
    run(
        blocks.into_iter(),
        0,
        cancel,
        Ok,
        |(part, frames)| {
            let mut counts = pool.take(Vec::new);
            counts.resize(frames.len() * frame, 0);
            counts.par_chunks_mut(frame).zip(frames.clone()).try_for_each_init(
                || vec![0f32; frame],
                |exact, (out, k)| expose(plan, &camera, part, k, exact, out),
            )?;
            Ok((part, frames.start, counts))
        },
        |(part, first, counts)| {
            out.put(part, first, bytemuck::cast_slice(&counts))?;
            progress.advance(counts.len() as u64 * 2);
            pool.give(counts);
            Ok(())
        },
    )?;
    progress.end();
    let mut files = out.finish()?;
    files.extend(write_truth(plan, progress, cancel)?);
    Ok(files)
}

/// One frame of a part.
fn expose(plan: &Plan, camera: &Camera, part: Part, k: usize, exact: &mut [f32], out: &mut [u16]) -> Result<()> {
    let before = plan.spec.flats.first().is_some_and(|f| f.position == 0.0);
    match part {
        Part::Projections => {
            plan.phantom.project(&plan.view, plan.geometry.angles_rad[k], 0, plan.request.samples, exact);
            camera.projection(k, plan.shape.frames, exact, out)
        }
        // Flats before and after draw from different streams.
        Part::Flats(0) if before => camera.flat(k, 0.0, out),
        Part::Flats(_) => camera.flat((1 << 32) + k, 1.0, out),
        Part::Darks(_) => camera.dark(k, out),
    }
}

fn write_truth(plan: &Plan, progress: &dyn Progress, cancel: &Cancel) -> Result<Vec<PathBuf>> {
    let (Some(path), Some(create)) = (&plan.truth, plan.truth_writer.and_then(|w| w.create)) else {
        return Ok(Vec::new());
    };
    let mut options = CreateOptions::new(plan.truth_shape, DType::F32);
    options.overwrite = plan.request.overwrite;
    options.meta = VolumeMeta {
        voxel_um: Some([plan.request.pixel_um; 3]),
        value_unit: Some("1/cm".into()),
        description: Some("the phantom itself".into()),
        ..Default::default()
    };
    let mut sink = create(path, &options)?;
    let mut slice = vec![0f32; plan.truth_shape.frame_len()];
    progress.begin("true volume", (plan.truth_shape.frames * slice.len() * 4) as u64);
    for row in 0..plan.truth_shape.frames {
        cancel.check()?;
        let axis = plan.geometry.axis_voxel();
        plan.phantom.rasterise(plan.shape.rows, row, plan.truth_shape.cols, axis, 3, &mut slice);
        sink.put(row, bytemuck::cast_slice(&slice))?;
        progress.advance(slice.len() as u64 * 4);
    }
    progress.end();
    let _old = OldRecords::of(path)?;
    sink.finish(None)
}
