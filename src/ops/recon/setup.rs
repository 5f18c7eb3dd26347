//! What every kind of reconstruction starts from: the opened scan, its angles, axis, geometry and numerical choices,
//! whether a volume is made of it, a picture of one slice, or a comparison of axes. Reads no projections except to find
//! the axis.

use super::gather::Gather;
use super::shifts::Shifts;
use super::{AxisChoice, FieldChoice, Request, axis};
use crate::recon::{Centre, Field, Geometry, Mask, Options, Output, Unit};
use crate::stream::{Cancel, Progress};
use tomokit_formats::model::FieldOfView;
use tomokit_formats::registry::open;
use tomokit_formats::{Content, Error, Result, Scan, Shape};

/// A scan and how it is to be reconstructed.
pub struct Setup {
    /// The scan, with the angles that were chosen.
    pub scan: Scan,
    /// Detector rows wanted.
    pub rows: Vec<usize>,
    /// Transmission to clip at.
    pub zero_clip: f64,
    /// Rotation axis, 0 = centre of the first column.
    pub axis_px: f64,
    /// How the axis is known.
    pub axis_origin: String,
    /// True for an extended field.
    pub extended: bool,
    /// Detector pixel, µm, horizontal.
    pub pixel_um: Option<f64>,
    /// Geometry.
    pub geometry: Geometry,
    /// Numerical choices.
    pub options: Options,
    /// What the slices' rows are made of, where not of detector rows as they are.
    pub gather: Option<Gather>,
    /// Oddities of the scan.
    pub warnings: Vec<String>,
}

/// Opens the scan, finds the axis if it must be found, and works the geometry out.
///
/// # Errors
/// What is no scan; rows, angles, axis, shifts or regions that do not fit it.
pub fn setup(request: &Request, progress: &dyn Progress, cancel: &Cancel) -> Result<Setup> {
    let opened = open(&request.scan, &request.open)?;
    let mut warnings = opened.warnings.texts();
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

    let rows = first_rows(request, detector.rows)?;
    let shifts = match (&request.shifts, &scan.movement) {
        (Some(s), _) => Some(s.clone()),
        (None, Some(path)) => Some(Shifts::read(path)?),
        (None, None) => None,
    };
    if let Some(s) = &shifts {
        s.check(detector.frames).map_err(|e| e.or_path(scan.movement.as_deref().unwrap_or(&request.scan)))?;
    }
    let (axis_px, axis_origin) = match (request.axis, scan.rotation_axis_px) {
        (AxisChoice::At(a), _) => (a, "given".to_owned()),
        (AxisChoice::RecordedOrFound, Some(a)) => (a, "recorded in the scan".to_owned()),
        _ => {
            let found = axis::find_axis(&scan, &rows, request, shifts.as_ref(), zero_clip, progress, cancel)?;
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

    let size = (detector.rows, detector.cols);
    let gather = Gather::new(request.bin.unwrap_or(1), request.tilt_deg, axis_px, shifts.as_ref(), size)?;
    let beyond = gather.as_ref().map_or(0, |g| g.beyond(&rows));
    if beyond > 0 {
        warnings.push(format!(
            "{beyond} rows of projections lie beyond the detector by their vertical shift: its edge row is repeated"
        ));
    }
    let extended = is_extended(request.field, &scan, axis_px);
    let pixel_um = request.pixel_um.or(scan.pixel_um.map(|[_, h]| h));
    let geometry = geometry(request, &scan, shifts.as_ref(), axis_px, extended)?;
    let options = options(request, pixel_um);
    Ok(Setup { scan, rows, zero_clip, axis_px, axis_origin, extended, pixel_um, geometry, options, gather, warnings })
}

/// First detector row of every slice: those asked for, as many whole voxels as they hold.
fn first_rows(request: &Request, all: usize) -> Result<Vec<usize>> {
    let bin = request.bin.unwrap_or(1).max(1);
    let Some(s) = request.slices else { return Ok((0..all / bin * bin).step_by(bin).collect()) };
    let rows = s.pick(all)?;
    if bin == 1 {
        return Ok(rows);
    }
    let (first, end) = (rows[0], s.end.unwrap_or(all));
    let whole: Vec<usize> = (first..end).step_by(bin * s.step.unwrap_or(1)).take_while(|r| r + bin <= end).collect();
    if whole.is_empty() {
        return Err(Error::caller("fewer detector rows than make one slice")
            .expected(format!("at least {bin} (--bin)"))
            .found(end - first));
    }
    Ok(whole)
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

/// Width of the slices of an extended field: `None` for a plain scan, `Some(None)` for an extended one whose axis nobody
/// recorded.
pub fn extended_width(scan: &Scan) -> Option<Option<usize>> {
    match scan.rotation_axis_px {
        Some(axis) => is_extended(FieldChoice::Auto, scan, axis).then(|| {
            let g = Geometry::new(scan.projections.shape().cols, scan.angles.rad.clone(), axis).extended(f64::INFINITY);
            Some(g.output.nx)
        }),
        None => (scan.field_of_view == Some(FieldOfView::Half)).then_some(None),
    }
}

/// Geometry with the axis at `axis_px`.
fn geometry(request: &Request, scan: &Scan, shifts: Option<&Shifts>, axis_px: f64, extended: bool) -> Result<Geometry> {
    let mut g = Geometry::new(scan.projections.shape().cols, scan.angles.rad.clone(), axis_px);
    g.angle_offset_rad = request.angle_offset_deg.to_radians();
    g.shifts_px = shifts.map(|s| s.horizontal_px.clone());
    if extended {
        g = g.extended(request.overlap_px.or(scan.overlap_px).unwrap_or(f64::INFINITY));
        debug_assert!(matches!(g.field, Field::Extended { .. }));
    }
    if let Some(bin) = request.bin {
        g = g.binned(bin);
    }
    if let Some([nx, ny]) = request.size {
        g.output = Output { nx, ny, ..g.output };
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
        mask: if request.no_mask { Mask::Off } else { base.mask },
        ..base
    }
}

/// A unit as it is written.
pub(super) fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::PerPixel => "1/pixel",
        Unit::PerCm => "1/cm",
        Unit::PerM => "1/m",
    }
}
