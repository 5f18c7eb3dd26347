//! `tomo recon`: from a scan to a volume.

use crate::cli::common::{Context, InputArgs, OutputArgs};
use crate::cli::{Exit, Tool, human, output};
use crate::correct::Combine;
use crate::ops::picture::Window;
use crate::ops::recon::{
    AxisChoice, AxisRange, Done, FieldChoice, Floor, Look, LookPlan, Plan, Request, Shifts, SliceChoice, Sweep,
    SweepPlan, execute, floor, look, plan, plan_look, plan_sweep, sweep,
};
use crate::ops::view::{Roi, SliceRange};
use crate::quantise::{Depth, GreyMap, NonFinite};
use crate::recon::{Filter, Padding, Unit};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::{Path, PathBuf};
use tomokit_formats::{CreateOptions, DType, Error, Result, Shape};

/// Arguments of `tomo recon`.
#[derive(Args, Debug)]
pub struct Recon {
    /// Scan: a SOLEIL scan folder or .nxs, an NXtomo or DXchange file, a PyHST2 .par, an EDF or TIFF scan folder
    #[arg(value_name = "SCAN")]
    scan: PathBuf,
    /// Volume to write; the extension names the format
    #[arg(long, short, value_name = "VOLUME", required_unless_present = "png")]
    output: Option<PathBuf>,
    /// Rotation axis: a column (0 = centre of the first), 'find', or 'auto' (recorded, else found)
    #[arg(long, value_name = "PX", default_value = "auto", value_parser = parse_axis, allow_hyphen_values = true)]
    axis: AxisChoice,
    /// Detector rows to reconstruct: start:end or start:end:step, end exclusive
    #[arg(long, value_name = "A:B:STEP", value_parser = SliceRange::parse)]
    slices: Option<SliceRange>,
    /// Part of every slice, in voxels: x0:x1,y0:y1
    #[arg(long, value_name = "X0:X1,Y0:Y1", value_parser = Roi::parse)]
    roi: Option<Roi>,
    #[command(flatten)]
    quick: QuickArgs,
    #[command(flatten)]
    geometry: GeometryArgs,
    #[command(flatten)]
    numbers: NumberArgs,
    /// Exit with code 1 if a slice is all zero or holds voxels that are not finite
    #[arg(long)]
    check: bool,
    /// Print the plan, measure the shortest time it can take on this machine, and compare at the end
    #[arg(long, conflicts_with = "png")]
    explain: bool,
    #[command(flatten)]
    writing: OutputArgs,
    #[command(flatten)]
    reading: InputArgs,
}

/// One slice, to look at.
#[derive(Args, Debug)]
#[command(next_help_heading = "One slice, to look at")]
struct QuickArgs {
    /// Reconstruct this detector row only
    #[arg(long, value_name = "N", conflicts_with = "slices")]
    slice: Option<usize>,
    /// Draw the slice (of the middle row without --slice) and write no volume
    #[arg(long, value_name = "FILE.png", conflicts_with_all = ["output", "slices", "verify", "resume", "to", "check"])]
    png: Option<PathBuf>,
    /// Draw the slice with each of these axes, score them, mark the best: columns from, to (inclusive), step
    #[arg(long, value_name = "A:B:STEP", value_parser = AxisRange::parse, requires = "png", conflicts_with = "axis", allow_hyphen_values = true)]
    axis_sweep: Option<AxisRange>,
    /// Grey window of the picture: auto or LOW,HIGH
    #[arg(long, value_name = "LOW,HIGH", default_value = "auto", value_parser = Window::parse, requires = "png", allow_hyphen_values = true)]
    window: Window,
}

/// What the scan may not say.
#[derive(Args, Debug)]
#[command(next_help_heading = "Geometry")]
struct GeometryArgs {
    /// Angular range to assume, degrees: projection k of N is at k × RANGE / N
    #[arg(long, value_name = "DEG", allow_hyphen_values = true)]
    range: Option<f64>,
    /// Text file with one angle per projection, degrees
    #[arg(long, value_name = "FILE", conflicts_with = "range")]
    angles: Option<PathBuf>,
    /// Turn the slices by this angle, degrees
    #[arg(long, value_name = "DEG", default_value_t = 0.0, allow_hyphen_values = true)]
    angle_offset: f64,
    /// Text file with one line per projection: horizontal shift of the axis, optionally vertical shift, pixels
    #[arg(long, value_name = "FILE")]
    shifts: Option<PathBuf>,
    /// Detector pixel size, µm
    #[arg(long, value_name = "UM")]
    pixel_size: Option<f64>,
    /// How far the rotation axis leans against the detector's columns, degrees: positive towards higher columns at higher
    /// rows; --axis is its column in the middle row
    #[arg(long, value_name = "DEG", default_value_t = 0.0, allow_hyphen_values = true)]
    tilt: f64,
    /// Voxels of N detector pixels: rows are averaged, within the slice what the voxels cannot show is left out
    #[arg(long, value_name = "N", value_parser = parse_bin)]
    bin: Option<usize>,
    /// Size of the slices in voxels: the edge of a square, or columns x rows
    #[arg(long, value_name = "N|WxH", value_parser = parse_size)]
    size: Option<[usize; 2]>,
    /// Keep the detector's frame instead of putting the axis in the middle
    #[arg(long)]
    detector_frame: bool,
    /// Field of view: extended = 360° with the axis near one edge
    #[arg(long, value_enum, default_value_t = FieldArg::Auto)]
    field: FieldArg,
    /// Width of the hand-over between opposite projections of an extended field, columns (PENTEZONE)
    #[arg(long, value_name = "PX", value_parser = columns)]
    overlap: Option<f64>,
}

/// Numerical choices.
#[derive(Args, Debug)]
#[command(next_help_heading = "Numbers")]
struct NumberArgs {
    /// Filter: ramp, shepp-logan, cosine, hann, hamming, parzen, butterworth, none
    #[arg(long, value_name = "NAME", default_value = "ramp", value_parser = parse_filter)]
    filter: Filter,
    /// Cut-off of the filter, fraction of the Nyquist frequency
    #[arg(long, value_name = "F", default_value_t = 1.0)]
    cutoff: f64,
    /// Beyond the ends of the projections: their end values, or zeros
    #[arg(long, value_enum, default_value_t = PadArg::Edge)]
    padding: PadArg,
    /// Unit of the values [default: 1/cm where the pixel size is known]
    #[arg(long, value_enum)]
    unit: Option<UnitArg>,
    /// Keep what lies outside the region that every projection sees
    #[arg(long)]
    no_mask: bool,
    /// Make the numerical choices of PyHST2 (its FBFILTER = 0)
    #[arg(long)]
    pyhst: bool,
    /// Type of the voxels: float32, or with --limits uint8 or uint16
    #[arg(long = "type", value_name = "TYPE", default_value = "float32", value_parser = parse_type)]
    voxel_type: DType,
    /// Values that become the lowest and the highest grey of --type uint8 or uint16
    #[arg(long, value_name = "LOW,HIGH", value_parser = parse_limits, allow_hyphen_values = true)]
    limits: Option<(f64, f64)>,
    /// How a series of flats becomes one
    #[arg(long, value_enum, default_value_t = AverageArg::Median)]
    flats: AverageArg,
    /// How the darks become one
    #[arg(long, value_enum, default_value_t = AverageArg::Mean)]
    darks: AverageArg,
    /// Raise smaller transmissions to this before the logarithm [default: the scan's own, else 1e-6]
    #[arg(long, value_name = "T")]
    clip: Option<f64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FieldArg {
    Auto,
    Full,
    Extended,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PadArg {
    Edge,
    Zero,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum UnitArg {
    Pixel,
    Cm,
    M,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AverageArg {
    Median,
    Mean,
}

impl From<AverageArg> for Combine {
    fn from(a: AverageArg) -> Combine {
        match a {
            AverageArg::Median => Combine::Median,
            AverageArg::Mean => Combine::Mean,
        }
    }
}

fn parse_axis(text: &str) -> std::result::Result<AxisChoice, String> {
    match text {
        "auto" => Ok(AxisChoice::RecordedOrFound),
        "find" => Ok(AxisChoice::Find),
        t => match t.parse::<f64>() {
            Ok(v) if v.is_finite() => Ok(AxisChoice::At(v)),
            _ => Err("write a column number, 'find' or 'auto'".into()),
        },
    }
}

fn parse_bin(text: &str) -> std::result::Result<usize, String> {
    text.parse().ok().filter(|n| (1..=64).contains(n)).ok_or_else(|| "write a whole number, 1 to 64".into())
}

fn columns(text: &str) -> std::result::Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(v) if v.is_finite() && v >= 0.0 => Ok(v),
        _ => Err("write a number of columns, 0 or above".into()),
    }
}

fn parse_size(text: &str) -> std::result::Result<[usize; 2], String> {
    let (w, h) = text.split_once('x').unwrap_or((text, text));
    match (w.trim().parse(), h.trim().parse()) {
        (Ok(w), Ok(h)) => Ok([w, h]),
        _ => Err("write N or WxH, for example 2048 or 2048x1024".into()),
    }
}

fn parse_filter(text: &str) -> std::result::Result<Filter, String> {
    Filter::ALL.iter().find(|(n, _)| *n == text).map(|(_, f)| *f).ok_or_else(|| {
        let known: Vec<&str> = Filter::ALL.iter().map(|(n, _)| *n).collect();
        format!("unknown filter; known: {}", known.join(", "))
    })
}

fn parse_type(text: &str) -> std::result::Result<DType, String> {
    let known = [DType::F32, DType::U8, DType::U16];
    known.into_iter().find(|d| d.name() == text).ok_or_else(|| "write float32, uint8 or uint16".into())
}

fn parse_limits(text: &str) -> std::result::Result<(f64, f64), String> {
    match Window::parse(text) {
        Ok(Window::Fixed(low, high)) => Ok((low, high)),
        Ok(Window::Auto) => Err("write LOW,HIGH: the volume's own limits are not known before it is made".into()),
        Err(e) => Err(e),
    }
}

/// The conversion to grey values that was asked for.
fn grey_map(n: &NumberArgs) -> Result<Option<GreyMap>> {
    match (Depth::of(n.voxel_type), n.limits) {
        (None, None) => Ok(None),
        (Some(depth), Some((low, high))) => GreyMap::new(low, high, depth, NonFinite::Lowest).map(Some),
        (Some(_), None) => Err(Error::caller(format!("--type {} needs the limits it stands for", n.voxel_type.name()))
            .hint("add --limits LOW,HIGH, or write float32 and convert afterwards")),
        (None, Some(_)) => Err(Error::caller("--limits is for --type uint8 and uint16")),
    }
}

/// One angle per line, degrees; `#` starts a comment; several numbers on a line are read in order.
fn read_angles(path: &Path) -> Result<Vec<f64>> {
    let text = tomokit_formats::io::read_small_text(path, 64 << 20)?;
    let mut angles = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        for word in line.split([' ', '\t', ',', ';']).filter(|w| !w.trim().is_empty()) {
            let v = word.trim().parse::<f64>().ok().filter(|v| v.is_finite());
            angles.push(v.ok_or_else(|| {
                Error::file(path, format!("line {} holds no angle", i + 1)).expected("a number in degrees").found(word)
            })?);
        }
    }
    Ok(angles)
}

impl Tool for Recon {
    const NAME: &'static str = "recon";
    const ABOUT: &'static str = "Reconstruct a scan into a volume: flats, darks, logarithm, filtered backprojection";
    const EXAMPLES: &'static str =
        "  tomo recon scan1/ -o scan1.vol                     all slices, axis recorded or found
  tomo recon scan1/ --slice 1000 --png look.png      one slice drawn, no volume written
  tomo recon scan1/ --slice 1000 --png axes.png --axis-sweep 1018:1030:0.5
  tomo recon scan1/ -o scan1.vol --axis 1023.5       with this axis
  tomo recon scan1.nxs -o rec.h5 --slices 500:600 --roi 200:1800,200:1800
  tomo recon scan1/ -o scan1-8bit --to tiff --type uint8 --limits -0.5,4
  tomo recon scan1/ -o scan1.vol --shifts moves.txt  with the movement of every projection
  tomo recon scan1/ -o scan1.vol --dry-run           what it would read, write and need
  tomo recon scan1/ -o scan1.vol --explain           and how long it must take, and what it took
";

    fn run(self, context: &Context) -> Result<Exit> {
        let request = self.request(context)?;
        let row = self.quick.slice.map_or(SliceChoice::Middle, SliceChoice::Row);
        match (&self.quick.png, self.quick.axis_sweep) {
            (Some(_), Some(range)) => return self.sweep(&request, range, row, context),
            (Some(_), None) => return self.look(&request, row, context),
            (None, _) => {}
        }
        let plan = plan(&request, context.budget, &context.progress, &context.cancel)?;
        plan.warnings.iter().for_each(|w| context.warn(w));
        let floor = match self.explain {
            true => Some(floor(&plan, &context.progress, &context.cancel)?),
            false => None,
        };
        if self.writing.dry_run {
            match (context.json, &floor) {
                (true, Some(f)) => output::json(&json!({ "plan": plan, "floor": f }))?,
                (true, None) => output::json(&plan)?,
                (false, f) => {
                    let explained = f.as_ref().map(|f| explain_text(&plan, f)).unwrap_or_default();
                    output::print(&(plan_text(&plan) + &explained))?;
                }
            }
            return Ok(Exit::Done);
        }
        if let Some(f) = floor.as_ref().filter(|_| !context.json && !context.quiet) {
            output::print(
                &(plan_text(&plan).replacen("would reconstruct", "reconstructing", 1) + &explain_text(&plan, f)),
            )?;
        }
        let done = execute(&plan, &context.progress, &context.cancel)?;
        done.warnings.iter().for_each(|w| context.warn(w));
        match (context.json, &floor) {
            (true, Some(f)) => output::json(&json!({ "plan": plan, "floor": f, "done": done }))?,
            (true, None) => output::json(&done)?,
            (false, f) if !context.quiet => {
                let compared = f.as_ref().map(|f| compare_text(f, &done)).unwrap_or_default();
                output::print(&(done_text(&plan, &done) + &compared))?;
            }
            (false, _) => {}
        }
        if self.check && !done.unchecked.is_empty() {
            context.warn(&format!("{} slices of the interrupted run could not be checked", done.unchecked.len()));
        }
        Ok(if self.check && !done.bad_slices.good() { Exit::No } else { Exit::Done })
    }
}

impl Recon {
    fn look(&self, request: &Request, row: SliceChoice, context: &Context) -> Result<Exit> {
        let plan = plan_look(request, row, self.quick.window, context.budget, &context.progress, &context.cancel)?;
        plan.warnings.iter().for_each(|w| context.warn(w));
        if self.writing.dry_run {
            match context.json {
                true => output::json(&plan)?,
                false => output::print(&look_plan_text(&plan))?,
            }
            return Ok(Exit::Done);
        }
        let done = look(&plan, &context.progress, &context.cancel)?;
        match context.json {
            true => output::json(&done)?,
            false if !context.quiet => output::print(&look_text(&plan, &done))?,
            false => {}
        }
        Ok(Exit::Done)
    }

    fn sweep(&self, request: &Request, range: AxisRange, row: SliceChoice, context: &Context) -> Result<Exit> {
        let plan =
            plan_sweep(request, range, row, self.quick.window, context.budget, &context.progress, &context.cancel)?;
        plan.look.warnings.iter().for_each(|w| context.warn(w));
        if self.writing.dry_run {
            match context.json {
                true => output::json(&plan)?,
                false => output::print(&format!(
                    "{}with {}\n",
                    look_plan_text(&plan.look),
                    axes_text(plan.axes_px.len(), plan.coarser, plan.finalists)
                ))?,
            }
            return Ok(Exit::Done);
        }
        let done = sweep(&plan, &context.progress, &context.cancel)?;
        done.warnings.iter().for_each(|w| context.warn(w));
        match context.json {
            true => output::json(&done)?,
            false if !context.quiet => output::print(&sweep_text(&plan, &done))?,
            false => {}
        }
        Ok(Exit::Done)
    }

    fn request(&self, context: &Context) -> Result<Request> {
        let (g, n) = (&self.geometry, &self.numbers);
        let shape = Shape::new(0, 0, 0); // set by the plan, like the type
        Ok(Request {
            scan: self.scan.clone(),
            // clap makes sure that there is one or the other.
            output: self.quick.png.clone().or_else(|| self.output.clone()).unwrap_or_default(),
            open: self.reading.options(context.budget),
            to: self.writing.to.clone(),
            create: self.writing.create(CreateOptions::new(shape, DType::F32)),
            axis: self.axis,
            slices: self.quick.slice.map(|n| rows(n, g.bin.unwrap_or(1))).or(self.slices),
            roi: self.roi.clone(),
            shifts: g.shifts.as_deref().map(Shifts::read).transpose()?,
            range_deg: g.range,
            angles_deg: g.angles.as_deref().map(read_angles).transpose()?,
            angle_offset_deg: g.angle_offset,
            pixel_um: g.pixel_size,
            size: g.size,
            bin: g.bin,
            tilt_deg: g.tilt,
            detector_frame: g.detector_frame,
            field: match g.field {
                FieldArg::Auto => FieldChoice::Auto,
                FieldArg::Full => FieldChoice::Full,
                FieldArg::Extended => FieldChoice::Extended,
            },
            overlap_px: g.overlap,
            filter: n.filter,
            cutoff: n.cutoff,
            padding: match n.padding {
                PadArg::Edge => Padding::Edge,
                PadArg::Zero => Padding::Zero,
            },
            unit: n.unit.map(|u| match u {
                UnitArg::Pixel => Unit::PerPixel,
                UnitArg::Cm => Unit::PerCm,
                UnitArg::M => Unit::PerM,
            }),
            no_mask: n.no_mask,
            pyhst: n.pyhst,
            flats: n.flats.into(),
            darks: n.darks.into(),
            zero_clip: n.clip,
            grey: grey_map(n)?,
            verify: self.writing.verify,
        })
    }
}

fn seconds(s: f64) -> String {
    human::duration(std::time::Duration::from_secs_f64(s))
}

fn explain_text(p: &Plan, f: &Floor) -> String {
    let rate = |per_s: f64| format!("{}/s", human::bytes(per_s as u64));
    let mut t = format!("back end {}, FFT of {} points per projection\n", p.backend, p.fft_len);
    if let Some(g) = &p.grid {
        t += &format!(
            "grid of {} × {} points, kernel {} wide, tolerance {}\n",
            g.cols,
            g.rows,
            g.kernel,
            human::number(g.tolerance)
        );
    }
    t += &format!("reading: at least {} at {}\n", seconds(f.read_seconds), rate(f.read_per_s));
    t += &format!(
        "arithmetic: at least {}: {:.2} ms per slice, {} million values corrected per second\n",
        seconds(f.compute_seconds),
        f.slice_seconds * 1e3,
        human::number((f.corrected_per_s / 1e6).round())
    );
    t += &format!("writing: at least {} at {}\n", seconds(f.write_seconds), rate(f.write_per_s));
    let disk = if f.one_disk { "scan and volume on one disk" } else { "scan and volume on different disks" };
    t += &format!("floor {}, bound by {} ({disk})\n", seconds(f.seconds), f.bound_by);
    t += "measured just now, in short:\n";
    for m in f.measured {
        t += &format!("  {m}\n");
    }
    t
}

fn compare_text(f: &Floor, d: &Done) -> String {
    format!(
        "{:.2} × the floor of {} (bound by {}); busy: reading {}, computing {}, writing {}\n",
        d.seconds / f.seconds.max(1e-9),
        seconds(f.seconds),
        f.bound_by,
        seconds(d.read_seconds),
        seconds(d.compute_seconds),
        seconds(d.write_seconds)
    )
}

/// The detector rows of one slice as a range.
fn rows(first: usize, bin: usize) -> SliceRange {
    SliceRange { start: Some(first), end: first.checked_add(bin), step: None }
}

fn look_plan_text(p: &LookPlan) -> String {
    format!(
        "would draw row {} of {} as {}: {} × {} voxels, axis {} ({})\nreads {}; each stored value is fetched {:.2} times\n\
         memory {}\n",
        p.row,
        p.scan.display(),
        p.output.display(),
        p.slice[0],
        p.slice[1],
        human::number(p.rotation_axis_px),
        p.axis_origin,
        human::bytes(p.bytes_read),
        p.read_amplification,
        human::bytes(p.memory_bytes)
    )
}

fn look_text(p: &LookPlan, d: &Look) -> String {
    format!(
        "{}: row {}, {} × {} voxels, axis {} ({}), grey from {} to {} {}\nread {:.2} s, reconstructed {:.2} s, drawn {:.2} s\n",
        d.output.display(),
        d.row,
        p.slice[0],
        p.slice[1],
        human::number(d.rotation_axis_px),
        p.axis_origin,
        human::number(d.window[0]),
        human::number(d.window[1]),
        d.value_unit,
        d.read_seconds,
        d.compute_seconds,
        d.draw_seconds
    )
}

/// How many axes are compared, and how.
fn axes_text(axes: usize, coarser: usize, finalists: usize) -> String {
    match coarser {
        1 => format!("{axes} axes"),
        n => format!("{axes} axes, compared in voxels {n} times larger, the best {finalists} again in full"),
    }
}

fn sweep_text(p: &SweepPlan, d: &Sweep) -> String {
    let how = axes_text(d.axes.len(), p.coarser, p.finalists);
    let mut t = format!("{}: row {} with {how}\n", d.output.display(), d.row);
    t += "      axis     entropy   variation";
    t += if p.finalists > 0 { "     in full\n" } else { "\n" };
    for a in &d.axes {
        let full = a.full.map(|f| format!("  {:>10.4}", f.entropy)).unwrap_or_default();
        let marks = [(d.best_axis_px, "  <- best"), (d.least_variation_axis_px, "  <- least variation")];
        let mark: String = marks.iter().filter(|m| m.0 == a.axis_px).map(|m| m.1).collect();
        t += &format!("{:>10.3}  {:>10.4}  {:>10.6}{full}{mark}\n", a.axis_px, a.score.entropy, a.score.variation);
    }
    t += &format!("best axis {}\n", human::number(d.best_axis_px));
    t += &format!(
        "read {:.2} s, reconstructed {:.2} s, drawn {:.2} s\n",
        d.read_seconds, d.compute_seconds, d.draw_seconds
    );
    t
}

fn plan_text(p: &Plan) -> String {
    let s = p.shape;
    let mut t = format!(
        "would reconstruct {} ({}): {} projections of {} × {} pixels, {}° covered\n",
        p.scan.display(),
        p.layout,
        p.projections,
        p.detector_cols,
        p.detector_rows,
        human::number(p.covered_deg)
    );
    t += &format!("axis at column {} ({})\n", human::number(p.rotation_axis_px), p.axis_origin);
    t += &format!(
        "into {} ({}): {} of {} × {} voxels, {} in {}, {}\n",
        p.output.display(),
        p.output_format,
        human::count(s.frames as u64, "slice"),
        s.cols,
        s.rows,
        p.voxel_type,
        p.value_unit,
        human::bytes(p.bytes_written)
    );
    t += &format!(
        "reads {} in {} bands of {} rows; each stored value is fetched {:.2} times\n",
        human::bytes(p.bytes_read),
        p.bands,
        p.band_rows,
        p.read_amplification
    );
    t += &format!("memory {}\n", human::bytes(p.memory_bytes));
    t
}

fn done_text(p: &Plan, d: &Done) -> String {
    let s = p.shape;
    let mut t = format!(
        "{}: {} of {} × {} voxels in {}, axis {} ({})\n",
        d.outputs.first().unwrap_or(&p.output).display(),
        human::count(s.frames as u64, "slice"),
        s.cols,
        s.rows,
        p.value_unit,
        human::number(p.rotation_axis_px),
        p.axis_origin
    );
    let per_second = d.slices as f64 / d.seconds.max(1e-3);
    t += &format!(
        "{} in {}: {} slices/s, limited by {}\n",
        human::bytes(p.bytes_written),
        human::duration(std::time::Duration::from_secs_f64(d.seconds)),
        human::number((per_second * 10.0).round() / 10.0),
        d.limited_by
    );
    let c = &d.counts;
    t += &format!(
        "transmission: {} of {} values clipped ({:.4} %), {} without a usable flat, {} NaN\n",
        c.clipped,
        c.total,
        c.clipped as f64 * 100.0 / c.total.max(1) as f64,
        c.dead,
        c.nan
    );
    if let Some(g) = &d.grey {
        let share = |n: u64| n as f64 * 100.0 / g.values.max(1) as f64;
        t += &format!(
            "grey values: {} voxels below the limits ({:.4} %), {} above ({:.4} %), {} not finite\n",
            g.below,
            share(g.below),
            g.above,
            share(g.above),
            g.not_finite()
        );
    }
    t
}
