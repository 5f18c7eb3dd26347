//! Everything about a reconstruction that is decided before the first row is read: what [`super::setup`] finds, the
//! output, bands, memory, and what would be refused.

use super::Request;
use super::bands::{BandSize, Bands};
use super::gather::Gather;
use super::provenance;
use super::setup::{Setup, setup, unit_name};
use crate::ops::finish::refuse_records;
use crate::ops::over::refuse_over_scan;
use crate::recon::{Backend, FbpPlan};
use crate::stream::{Budget, Cancel, Progress};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use tomokit_formats::io::with_suffix;
use tomokit_formats::registry::{self, FormatSpec, writer_for};
use tomokit_formats::{CreateOptions, DType, Error, FrameSource, Region, Result, Scan, Shape, VolumeMeta, durable};

/// What the gridding back end works on.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Grid {
    /// Width of the kernel, grid points.
    pub kernel: usize,
    /// Columns.
    pub cols: usize,
    /// Rows.
    pub rows: usize,
    /// Relative error allowed.
    pub tolerance: f64,
}

/// A reconstruction ready to run.
#[derive(Serialize)]
pub struct Plan {
    /// Scan as given.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub scan: PathBuf,
    /// Layout it was read with.
    pub layout: &'static str,
    /// Volume to write.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub output: PathBuf,
    /// Format written.
    pub output_format: &'static str,
    /// Projections used.
    pub projections: usize,
    /// Detector.
    pub detector_rows: usize,
    /// Detector.
    pub detector_cols: usize,
    /// First angle, degrees.
    pub first_angle_deg: f64,
    /// Range covered, degrees.
    pub covered_deg: f64,
    /// How the angles are known.
    pub angles_origin: String,
    /// Rotation axis, 0 = centre of the first column.
    pub rotation_axis_px: f64,
    /// How the axis is known.
    pub axis_origin: String,
    /// True for an extended field.
    pub extended_field: bool,
    /// Detector pixel, µm, horizontal.
    pub pixel_um: Option<f64>,
    /// Unit of the values.
    pub value_unit: &'static str,
    /// Type of the voxels: `float32`, `uint8`, `uint16`.
    pub voxel_type: &'static str,
    /// Values that become the lowest and highest grey, for `uint8` and `uint16`.
    pub grey_limits: Option<[f64; 2]>,
    /// Slices, rows, columns of the volume.
    pub shape: Shape,
    /// Detector row of the first slice.
    pub first_row: usize,
    /// Detector rows from slice to slice.
    pub row_step: usize,
    /// Back end: `gridding` or `direct`.
    pub backend: &'static str,
    /// Points of the FFT of a projection.
    pub fft_len: usize,
    /// Grid of the gridding back end.
    pub grid: Option<Grid>,
    /// Numerical choices, for the record.
    pub numerics: String,
    /// Bytes read, counting every re-read the file's chunks force.
    pub bytes_read: u64,
    /// Values fetched per value wanted.
    pub read_amplification: f64,
    /// Bytes of the volume.
    pub bytes_written: u64,
    /// Number of bands.
    pub bands: usize,
    /// Slices per band.
    pub band_rows: usize,
    /// Peak memory of all buffers, bytes.
    pub memory_bytes: u64,
    /// Oddities of the scan.
    pub warnings: Vec<String>,
    #[serde(skip)]
    pub(super) source: Scan,
    #[serde(skip)]
    pub(super) fbp: Arc<FbpPlan>,
    #[serde(skip)]
    pub(super) rows: Vec<usize>,
    #[serde(skip)]
    pub(super) writer: &'static FormatSpec,
    #[serde(skip)]
    pub(super) create: CreateOptions,
    #[serde(skip)]
    pub(super) request: Request,
    #[serde(skip)]
    pub(super) zero_clip: f64,
    #[serde(skip)]
    pub(super) gather: Option<Gather>,
}

/// Opens the scan, finds the axis if it must be found, and works everything out.
pub fn plan(request: &Request, budget: Budget, progress: &dyn Progress, cancel: &Cancel) -> Result<Plan> {
    let writer = writer_for(&request.output, request.to.as_deref())?;
    writer.refuse_options(&request.output, &request.create)?;
    let mut settled = request.clone();
    settled.output = writer.settle(&request.output, &mut settled.create);
    let request = &settled;
    // Killed between the volume's last name and its record's, a run left what is its own.
    let killed = durable::was_killed(&request.output, &with_suffix(&request.output, provenance::SUFFIX));
    durable::refuse_existing(&request.output, request.create.overwrite || killed)?;
    if request.verify && writer.reads.is_empty() {
        return Err(Error::caller(format!("--verify is not possible: {} is never read back", writer.name)));
    }

    let Setup { scan, rows, zero_clip, axis_px, axis_origin, extended, pixel_um, geometry, options, gather, warnings } =
        setup(request, progress, cancel)?;
    refuse_over_scan(&request.output, &request.scan, &scan)?;
    writer.refuse_existing(&request.output, request.create.overwrite || killed)?;
    refuse_records(&request.output, request.create.overwrite || killed || request.create.resume)?;
    let detector = scan.projections.shape();
    let value_unit = unit_name(options.unit);
    let fbp = Arc::new(FbpPlan::new(&geometry, &options)?);
    let (nx, ny) = geometry.slice_size();
    let shape = Shape::new(rows.len(), ny, nx);
    let dtype = request.grey.map_or(DType::F32, |g| g.depth().dtype());
    let too_large = || Error::limit("the volume is beyond any disk");
    let bytes_written = shape.len()?.checked_mul(dtype.size() as u64).ok_or_else(too_large)?;

    let margin = gather.as_ref().map_or((0, 1), |g| g.margin(&rows));
    let mut create = request.create.clone();
    create.overwrite |= killed;
    create.shape = shape;
    create.dtype = dtype;
    create.held_bytes = create.held_bytes.min(budget.bytes / 8);
    let size = BandSize::of(&scan, &fbp, writer, &create, margin);
    let bands = Bands::choose(&size, rows.len(), &*scan.projections, budget)?;
    let bin = request.bin.unwrap_or(1);
    let step = rows.windows(2).map(|w| w[1] - w[0]).next().unwrap_or(bin);
    let read_amplification = amplification(&*scan.projections, &rows, bands.rows, gather.as_ref());
    let per_row = detector.frames as u64 * detector.cols as u64 * scan.projections.dtype().size() as u64;
    let bytes_read = (per_row as f64 * rows.len() as f64 * read_amplification) as u64;

    create.meta = meta(request, &scan, pixel_um, step, rows[0], value_unit);
    create.meta.grey = request.grey.map(|g| g.scale(value_unit));
    Ok(Plan {
        scan: request.scan.clone(),
        layout: scan.layout,
        output: request.output.clone(),
        output_format: writer.name,
        projections: detector.frames,
        detector_rows: detector.rows,
        detector_cols: detector.cols,
        first_angle_deg: scan.angles.rad.first().map_or(0.0, |a| a.to_degrees()),
        covered_deg: scan.angles.covered_rad().to_degrees(),
        angles_origin: scan.angles.origin.clone(),
        rotation_axis_px: axis_px,
        axis_origin,
        extended_field: extended,
        pixel_um,
        value_unit,
        voxel_type: dtype.name(),
        grey_limits: request.grey.map(|g| [g.limits().0, g.limits().1]),
        shape,
        first_row: rows[0],
        row_step: step,
        backend: match options.backend {
            Backend::Gridding => "gridding",
            Backend::Direct => "direct",
        },
        fft_len: fbp.fft_len(),
        grid: fbp.grid().map(|(kernel, (cols, rows))| Grid { kernel, cols, rows, tolerance: options.tolerance }),
        numerics: format!("{options:?}"),
        bytes_read,
        read_amplification,
        bytes_written,
        bands: rows.len().div_ceil(bands.rows),
        band_rows: bands.rows,
        memory_bytes: bands.memory_bytes,
        warnings,
        source: scan,
        fbp,
        rows,
        writer,
        create,
        request: request.clone(),
        zero_clip,
        gather,
    })
}

impl Plan {
    /// Type of the voxels.
    pub fn voxel_dtype(&self) -> DType {
        self.create.dtype
    }

    /// What is written beside the voxels.
    pub fn meta(&self) -> &VolumeMeta {
        &self.create.meta
    }
}

fn meta(
    request: &Request,
    scan: &Scan,
    pixel_um: Option<f64>,
    step: usize,
    first_row: usize,
    value_unit: &str,
) -> VolumeMeta {
    let vertical = request.pixel_um.or(scan.pixel_um.map(|[v, _]| v));
    let bin = request.bin.unwrap_or(1) as f64;
    let start = |i: usize| request.roi.as_ref().and_then(|r| r.xyz[i].start).unwrap_or(0) + 1;
    VolumeMeta {
        voxel_um: vertical.zip(pixel_um).map(|(v, h)| [v * step as f64, h * bin, h * bin]),
        origin_1based: Some([start(0), start(1), first_row + 1]),
        value_unit: Some(value_unit.to_owned()),
        description: Some(format!("{} reconstructed by tomokit {}", scan.name, env!("CARGO_PKG_VERSION"))),
        ..Default::default()
    }
}

/// Mean amplification of reading the chosen rows band by band.
pub(super) fn amplification(source: &dyn FrameSource, rows: &[usize], band: usize, gather: Option<&Gather>) -> f64 {
    let (access, shape) = (source.access(), source.shape());
    let mut fetched = 0.0;
    for band in rows.chunks(band.max(1)) {
        let needed = gather.map_or_else(|| band.to_vec(), |g| g.rows_for(band));
        for run in super::bands::runs(&needed) {
            let n = run.len();
            fetched += n as f64 * access.amplification(shape, &Region::of_rows(shape, 0..shape.frames, run));
        }
    }
    fetched / rows.len().max(1) as f64
}

/// The format an output path will be read back with.
pub(super) fn read_back(plan: &Plan, path: &std::path::Path) -> Result<tomokit_formats::Volume> {
    let options = tomokit_formats::OpenOptions { format: Some(plan.writer.name.to_owned()), ..Default::default() };
    Ok(registry::open_volume(path, &options)?.0)
}
