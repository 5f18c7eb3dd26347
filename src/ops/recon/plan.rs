//! Everything about a reconstruction that is decided before the first row is read: angles, axis, geometry, output,
//! bands, memory, and what would be refused.

use super::bands::{BandSize, Bands};
use super::{AxisChoice, FieldChoice, Request, axis};
use crate::recon::{Centre, FbpPlan, Field, Geometry, Mask, Options, Output, Unit};
use crate::stream::{Budget, Cancel, Progress};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use tomokit_formats::model::FieldOfView;
use tomokit_formats::registry::{self, FormatSpec, open, writer_for};
use tomokit_formats::{Content, CreateOptions, DType, Error, FrameSource, Region, Result, Scan, Shape, VolumeMeta};

/// A reconstruction ready to run.
#[derive(Serialize)]
pub struct Plan {
    /// Scan as given.
    pub scan: PathBuf,
    /// Layout it was read with.
    pub layout: &'static str,
    /// Volume to write.
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
    /// Slices, rows, columns of the volume.
    pub shape: Shape,
    /// Detector row of the first slice.
    pub first_row: usize,
    /// Detector rows from slice to slice.
    pub row_step: usize,
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
}

/// Opens the scan, finds the axis if it must be found, and works everything out.
pub fn plan(request: &Request, budget: Budget, progress: &dyn Progress, cancel: &Cancel) -> Result<Plan> {
    let opened = open(&request.scan, &request.open)?;
    let mut warnings = opened.warnings;
    let mut scan = match opened.content {
        Content::Scan(s) => *s,
        Content::Volume(_) => {
            return Err(Error::caller("this is a stack of images, not a scan: flats, darks and angles are not known")
                .path(&request.scan)
                .hint("name the scan folder, the .par or the NXtomo/DXchange file it belongs to"));
        }
        Content::Other => {
            return Err(Error::unsupported(&request.scan, "no projections in here")
                .hint("see what is there with 'tomo info --tree'; name the projections with --image-path"));
        }
    };
    scan.refuse_damaged(&request.scan)?;
    let writer = writer_for(&request.output, request.to.as_deref())?;
    tomokit_formats::durable::refuse_existing(&request.output, request.create.overwrite)?;
    if request.verify && writer.reads.is_empty() {
        return Err(Error::caller(format!("--verify is not possible: {} is never read back", writer.name)));
    }

    let detector = scan.projections.shape();
    if detector.is_empty() {
        return Err(Error::file(&request.scan, "the scan holds no projections").found(detector));
    }
    choose_angles(&mut scan, request)?;
    if scan.flats.is_empty() && !scan.is_attenuation {
        warnings.push("no flats: the projections are taken as transmission as they are".into());
    }
    if scan.darks.is_empty() && !scan.is_attenuation {
        warnings.push("no darks: taken as zero".into());
    }
    let zero_clip = request.zero_clip.or(scan.zero_clip).unwrap_or(1e-6);
    if !(zero_clip > 0.0 && zero_clip < 1.0) {
        return Err(Error::caller("the transmission to clip at is out of range")
            .expected("between 0 and 1")
            .found(zero_clip));
    }

    let rows = match request.slices {
        Some(s) => s.pick(detector.rows)?,
        None => (0..detector.rows).collect(),
    };
    let (axis_px, axis_origin) = match (request.axis, scan.rotation_axis_px) {
        (AxisChoice::At(a), _) => (a, "given".to_owned()),
        (AxisChoice::RecordedOrFound, Some(a)) => (a, "recorded in the scan".to_owned()),
        _ => {
            let found = axis::find_axis(&scan, &rows, request, zero_clip, progress, cancel)?;
            warnings.extend(found.warnings.iter().cloned());
            (found.axis_px, found.describe())
        }
    };
    if !(-(detector.cols as f64)..2.0 * detector.cols as f64).contains(&axis_px) {
        return Err(Error::caller("the rotation axis lies absurdly far outside the detector")
            .expected(format!("a column near 0..{}", detector.cols))
            .found(axis_px)
            .hint("columns count from 0 at the left edge, in pixels"));
    }

    let extended = is_extended(request.field, &scan, axis_px);
    let pixel_um = request.pixel_um.or(scan.pixel_um.map(|[_, h]| h));
    let geometry = geometry(request, &scan, detector.cols, axis_px, extended)?;
    let options = options(request, pixel_um);
    let value_unit = unit_name(options.unit);
    let fbp = Arc::new(FbpPlan::new(&geometry, &options)?);
    let (nx, ny) = geometry.slice_size();
    let shape = Shape::new(rows.len(), ny, nx);
    let bytes_written = shape.len()?.checked_mul(4).ok_or_else(|| Error::limit("the volume is beyond any disk"))?;

    let bands = Bands::choose(&BandSize::of(&scan, &fbp, shape), rows.len(), &*scan.projections, budget)?;
    let step = rows.windows(2).map(|w| w[1] - w[0]).next().unwrap_or(1);
    let read_amplification = amplification(&*scan.projections, &rows, bands.rows);
    let per_row = detector.frames as u64 * detector.cols as u64 * scan.projections.dtype().size() as u64;
    let bytes_read = (per_row as f64 * rows.len() as f64 * read_amplification) as u64;

    let mut create = request.create.clone();
    create.shape = shape;
    create.dtype = DType::F32;
    create.meta = meta(request, &scan, pixel_um, step, rows[0], value_unit);
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
        shape,
        first_row: rows[0],
        row_step: step,
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
    })
}

/// Puts the user's angles in place of the scan's, and checks that there is one per projection.
fn choose_angles(scan: &mut Scan, request: &Request) -> Result<()> {
    let n = scan.projections.shape().frames;
    if let Some(deg) = &request.angles_deg {
        scan.angles.rad = deg.iter().map(|d| d.to_radians()).collect();
        scan.angles.origin = "given".into();
    } else if let Some(range) = request.range_deg {
        if !(range.is_finite() && range != 0.0 && range.abs() <= 3.6e6) {
            return Err(Error::caller("the angular range is not a usable number").expected("degrees").found(range));
        }
        scan.angles.rad = (0..n).map(|k| (range * k as f64 / n as f64).to_radians()).collect();
        scan.angles.origin = format!("assumed 0..{range}°");
    }
    if scan.angles.rad.len() != n {
        return Err(Error::file(&request.scan, "angles and projections do not match")
            .expected(format!("{n} angles, one per projection"))
            .found(scan.angles.rad.len())
            .hint("give the range with --range or a list with --angles"));
    }
    Ok(())
}

/// Extended field: recorded, or a full turn with the axis in the outer third of the detector's width.
fn is_extended(choice: FieldChoice, scan: &Scan, axis_px: f64) -> bool {
    match choice {
        FieldChoice::Full => false,
        FieldChoice::Extended => true,
        FieldChoice::Auto => {
            let cols = scan.projections.shape().cols as f64;
            let off_centre = (axis_px - (cols - 1.0) / 2.0).abs() > cols / 6.0;
            let full_turn = (scan.angles.covered_rad().to_degrees() - 360.0).abs() < 3.6;
            full_turn && (off_centre || scan.field_of_view == Some(FieldOfView::Half))
        }
    }
}

fn geometry(request: &Request, scan: &Scan, cols: usize, axis_px: f64, extended: bool) -> Result<Geometry> {
    let mut g = Geometry::new(cols, scan.angles.rad.clone(), axis_px);
    g.angle_offset_rad = request.angle_offset_deg.to_radians();
    if extended {
        g = g.extended(request.overlap_px.unwrap_or(f64::INFINITY));
        debug_assert!(matches!(g.field, Field::Extended { .. }));
    }
    if let Some(n) = request.size {
        g.output = Output { nx: n, ny: n, ..g.output };
    }
    if request.detector_frame {
        g.output.centre = Centre::Detector;
    }
    if let Some(roi) = &request.roi {
        if roi.xyz[2] != Default::default() {
            return Err(Error::caller("--roi is for x and y here").hint("choose slices with --slices"));
        }
        let r = roi.region(Shape::new(1, g.output.ny, g.output.nx))?;
        g.output.roi = Some(crate::recon::Roi { x0: r.cols.start, x1: r.cols.end, y0: r.rows.start, y1: r.rows.end });
    }
    g.check()?;
    Ok(g)
}

fn options(request: &Request, pixel_um: Option<f64>) -> Options {
    let base = match (request.pyhst, pixel_um) {
        (true, Some(um)) => Options::pyhst(um),
        (true, None) => Options { unit: Unit::PerPixel, ..Options::pyhst(1.0) },
        _ => Options { filter: request.filter, cutoff: request.cutoff, padding: request.padding, ..Options::default() },
    };
    let default_unit = if pixel_um.is_some() { Unit::PerCm } else { Unit::PerPixel };
    Options {
        unit: request.unit.unwrap_or(default_unit),
        pixel_size_um: pixel_um,
        mask: if request.no_mask { Mask::Off } else { Mask::Seen },
        ..base
    }
}

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::PerPixel => "1/pixel",
        Unit::PerCm => "1/cm",
        Unit::PerM => "1/m",
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
    let start = |i: usize| request.roi.as_ref().and_then(|r| r.xyz[i].start).unwrap_or(0) + 1;
    VolumeMeta {
        voxel_um: vertical.zip(pixel_um).map(|(v, h)| [v * step as f64, h, h]),
        origin_1based: Some([start(0), start(1), first_row + 1]),
        value_unit: Some(value_unit.to_owned()),
        description: Some(format!("{} reconstructed by tomokit {}", scan.name, env!("CARGO_PKG_VERSION"))),
        ..Default::default()
    }
}

/// Mean amplification of reading the chosen rows band by band.
fn amplification(source: &dyn FrameSource, rows: &[usize], band: usize) -> f64 {
    let (access, shape) = (source.access(), source.shape());
    let pieces = rows.chunks(band).flat_map(|b| super::bands::runs(b).collect::<Vec<_>>());
    let (mut fetched, mut wanted) = (0.0, 0usize);
    for run in pieces {
        let n = run.len();
        fetched += n as f64 * access.amplification(shape, &Region::of_rows(shape, 0..shape.frames, run));
        wanted += n;
    }
    fetched / wanted.max(1) as f64
}

/// The format an output path will be read back with.
pub(super) fn read_back(plan: &Plan, path: &std::path::Path) -> Result<tomokit_formats::Volume> {
    let options = tomokit_formats::OpenOptions { format: Some(plan.writer.name.to_owned()), ..Default::default() };
    Ok(registry::open_volume(path, &options)?.0)
}
