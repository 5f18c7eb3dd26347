//! recad: 32-bit volumes to 8 or 16 bits (also 16 to 8), with a receipt; and back.
//!
//! [`plan`] opens everything and refuses what cannot be done; [`execute`] makes one pass for the histogram and one to
//! write (a single one with `one_pass`). Memory stays within the budget whatever the volume's size; the output is the
//! same on any number of threads and appears under its final name only when whole; the receipt comes last.
//!
//! | part | what |
//! |---|---|
//! | `limits` | which values become the lowest and highest grey, and where that was found |
//! | `run` | from plan to receipt |
//! | `passes` | the two passes |
//! | `verify` | reads the output back against the input, by the formula alone |
//! | `receipt` | the JSON beside the output |
//!
//! Other programs call it as a library: [`Request::new`] has the defaults of the command, every other choice is a field
//! by name, nothing is read from the surroundings.
//!
//! ```no_run
//! use tomokit::ops::recad::{self, LimitsChoice, Request};
//! use tomokit::quantise::Depth;
//! use tomokit::stream::{Budget, Cancel, Silent};
//!
//! # fn main() -> tomokit_formats::Result<()> {
//! let request = Request {
//!     depth: Depth::Sixteen,
//!     limits: LimitsChoice { low: Some(-0.2), high: Some(1.5), ..LimitsChoice::default() },
//!     verify: true,
//!     ..Request::new("scan.vol", "scan.raw")
//! };
//! let plan = recad::plan(&request, Budget::of_this_machine())?;
//! println!("{} bytes will be written", plan.bytes_written);
//! let done = recad::execute(&plan, &Silent, &Cancel::default())?;
//! println!("value = {} * grey + {} {}", done.scale.slope, done.scale.offset, done.scale.unit);
//! # Ok(())
//! # }
//! ```
//!
//! tomodata's letters in these words: `-a` is `limits.low`, `-z` `limits.high`, `-f` `depth`, `-s` part of `output`'s name,
//! `-r` `remove_input`; `-n` is the number of threads of rayon's pool.

mod limits;
mod passes;
mod receipt;
mod run;
mod verify;

pub use limits::{Limits, LimitsChoice, LimitsFrom, Tails, locked};
pub use receipt::{RECEIPT, rounding_of, scale_of};
pub use run::{Counts, Done, InputHash, Survey, execute};

use crate::ops::convert::{self, amplification, meta_of_view};
use crate::ops::finish::refuse_records;
use crate::ops::over::refuse_over;
use crate::ops::view::{View, ViewSpec, view};
use crate::quantise::{Depth, Field, NonFinite, Placement};
use crate::stream::{Algorithm, Budget, Lanes, unpacking};
use serde::Serialize;
use std::path::PathBuf;
use tomokit_formats::io::with_suffix;
use tomokit_formats::model::GreyScale;
use tomokit_formats::registry::{FormatSpec, open_volume, writer_for};
use tomokit_formats::{
    Content, CreateOptions, DType, Error, OpenOptions, Opened, Result, Shape, VolumeMeta, durable, png,
};

/// What exact zeros stand for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Zeros {
    /// No data: left out of the percentiles; those at both ends of a row lie outside the field and stay grey 0.
    #[default]
    Outside,
    /// Values like any other.
    Values,
}

/// Where percentiles look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Within {
    /// The inscribed circle where slices are square, else everywhere.
    #[default]
    Auto,
    /// The circle inscribed in the input's slices.
    Circle,
    /// Everywhere.
    All,
}

/// What to recad and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// Volume to read.
    pub input: PathBuf,
    /// What to write.
    pub output: PathBuf,
    /// How to read it.
    pub open: OpenOptions,
    /// Part of it: region, slices, binning (no other axis, no type).
    pub view: ViewSpec,
    /// Output format by name; by extension where absent.
    pub to: Option<String>,
    /// Writer options; shape, type and metadata are filled in by [`plan`].
    pub create: CreateOptions,
    /// Bits per grey value.
    pub depth: Depth,
    /// Grey limits.
    pub limits: LimitsChoice,
    /// What becomes of NaN and infinities.
    pub non_finite: NonFinite,
    /// What exact zeros stand for; by default no data, but values where whole numbers may be negative: 0 is one of them.
    pub zeros: Option<Zeros>,
    /// Where percentiles look.
    pub within: Within,
    /// Also set the voxels outside the inscribed circle to grey 0.
    pub crop_circle: bool,
    /// Dither with this seed.
    pub dither: Option<u64>,
    /// Hash the voxels read.
    pub hash: Option<Algorithm>,
    /// No histogram pass; the limits must be known.
    pub one_pass: bool,
    /// Histogram picture to write.
    pub plot: Option<PathBuf>,
    /// Read the output back and compare every voxel.
    pub verify: bool,
    /// Remove the input afterwards; implies `verify`.
    pub remove_input: bool,
}

impl Request {
    /// 8 bits from the 0.1 to the 99.9 percentile, hashed, in the format of the output's name; nothing is removed or
    /// replaced.
    pub fn new(input: impl Into<PathBuf>, output: impl Into<PathBuf>) -> Request {
        Request {
            input: input.into(),
            output: output.into(),
            open: OpenOptions::default(),
            view: ViewSpec::default(),
            to: None,
            // Shape and type are set by the plan.
            create: CreateOptions::new(Shape::new(0, 0, 0), DType::U8),
            depth: Depth::Eight,
            limits: LimitsChoice::default(),
            non_finite: NonFinite::Lowest,
            zeros: None,
            within: Within::Auto,
            crop_circle: false,
            dither: None,
            hash: Some(Algorithm::default()),
            one_pass: false,
            plot: None,
            verify: false,
            remove_input: false,
        }
    }
}

/// What a recad will do, known before the first voxel is read.
#[derive(Clone, Serialize)]
pub struct Plan {
    /// What is read.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub input: PathBuf,
    /// Format it was recognised as.
    pub input_format: &'static str,
    /// Type of its values.
    pub input_dtype: DType,
    /// Type in which they are looked at: the same, unless means of them are fractions.
    #[serde(skip)]
    dtype: DType,
    /// What is written.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub output: PathBuf,
    /// Format written.
    pub output_format: &'static str,
    /// The record beside it.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub receipt: PathBuf,
    /// Shape of the output.
    pub shape: Shape,
    /// Bits per grey value.
    pub depth: Depth,
    /// Limits, where known without looking at the voxels.
    pub limits: Option<Limits>,
    /// Part of the input that is converted.
    pub view: ViewSpec,
    /// What exact zeros stand for.
    pub zeros: Zeros,
    /// True where percentiles look inside the circle only.
    pub circle: bool,
    /// True where the output is zero outside the circle.
    pub crop_circle: bool,
    /// What becomes of NaN and infinities.
    pub non_finite: NonFinite,
    /// Seed of the dithering.
    pub dither: Option<u64>,
    /// Passes over the input, verification included.
    pub passes: usize,
    /// Bytes of values read, counting every re-read the access pattern forces.
    pub bytes_read: u64,
    /// Bytes of values written (before compression, without headers).
    pub bytes_written: u64,
    /// Slices per block.
    pub block_slices: usize,
    /// Peak memory of the buffers, bytes.
    pub memory_bytes: u64,
    /// The output is read back and compared.
    pub verify: bool,
    /// The input is removed after that.
    pub remove_input: bool,
    /// Oddities of the input worth knowing.
    pub warnings: Vec<String>,
    #[serde(skip)]
    lanes: Lanes,
    #[serde(skip)]
    source: View,
    #[serde(skip)]
    meta: VolumeMeta,
    /// Scale of an input that is grey itself.
    #[serde(skip)]
    input_scale: Option<GreyScale>,
    #[serde(skip)]
    choice: LimitsChoice,
    #[serde(skip)]
    field: Field,
    #[serde(skip)]
    circle_field: Field,
    #[serde(skip)]
    writer: &'static FormatSpec,
    #[serde(skip)]
    create: CreateOptions,
    #[serde(skip)]
    hash: Option<Algorithm>,
    #[serde(skip)]
    one_pass: bool,
    #[serde(skip)]
    plot: Option<PathBuf>,
}

impl Plan {
    /// Unit of the physical values, may be empty.
    fn unit(&self) -> &str {
        let scale = self.input_scale.as_ref().map(|s| s.unit.as_str()).filter(|u| !u.is_empty());
        scale.or(self.meta.value_unit.as_deref()).unwrap_or("")
    }

    /// A stored value of the input as a physical one.
    fn physical(&self, stored: f64) -> f64 {
        self.input_scale.as_ref().map_or(stored, |s| s.slope * stored + s.offset)
    }

    /// The stored value of the input that stands for a physical one.
    fn stored(&self, physical: f64) -> f64 {
        self.input_scale.as_ref().map_or(physical, |s| (physical - s.offset) / s.slope)
    }
}

/// Opens the input, works out the output, and refuses what cannot be done before anything is written.
pub fn plan(r: &Request, budget: Budget) -> Result<Plan> {
    if r.view.dtype.is_some() || r.view.physical.is_some() || r.view.axis != Default::default() {
        return Err(Error::caller("recad keeps slices and makes its own type: convert first to cut another way"));
    }
    let (volume, opened) = open_volume(&r.input, &r.open)?;
    if matches!(opened.content, Content::Scan(_)) {
        return Err(Error::caller("this is a scan, not a volume")
            .path(&r.input)
            .hint("reconstruct it first: tomo recon"));
    }
    let whole = volume.source.shape();
    // Rounded once, to greys.
    let source = view(volume.source.clone(), &ViewSpec { fractions: true, ..r.view.clone() })?;
    let (shape, dtype) = (source.source.shape(), source.source.dtype());
    let input_dtype = volume.source.dtype();
    let values = shape.len()?;
    if values == 0 {
        return Err(Error::file(&r.input, "there is nothing in this stack").found(shape));
    }
    if input_dtype.size() <= r.depth.dtype().size() {
        return Err(Error::caller(format!(
            "{} values do not become smaller as {}",
            input_dtype.name(),
            r.depth.dtype().name()
        ))
        .path(&r.input)
        .hint("another format without a change of values is 'tomo convert'"));
    }
    if r.create.resume {
        return Err(Error::caller("recad does not resume: its receipt counts every voxel")
            .hint("start it again without --resume"));
    }
    let writer = writer_for(&r.output, r.to.as_deref())?;
    let mut create = r.create.clone();
    writer.refuse_options(&r.output, &create)?;
    let output = writer.settle(&r.output, &mut create);
    refuse_over(&output, &r.input, &*volume.source)?;
    let verify = r.verify || r.remove_input;
    if verify && writer.reads.is_empty() {
        return Err(Error::caller(format!("the output cannot be verified: {} is never read back", writer.name)));
    }
    if r.remove_input {
        refuse_removal(r, &opened)?;
    }
    let receipt = with_suffix(&output, RECEIPT);
    create.overwrite |= durable::was_killed(&output, &receipt);
    writer.refuse_existing(&output, create.overwrite)?;
    refuse_records(&output, create.overwrite)?;
    let mut others = vec![&*r.input, &*output, &*receipt];
    if let LimitsFrom::File(file) = &r.limits.from {
        others.push(file);
    }
    if let Some(lock) = &r.limits.lock {
        // One that exists is read, never replaced.
        durable::refuse_beside(lock, true, &others)?;
        others.push(lock);
    }
    if let Some(p) = &r.plot {
        png::refuse_output(p, create.overwrite, &others)?;
    }

    let (input_format, mut warnings) = (opened.format, opened.warnings.texts());
    // A scale that turns values around or to nothing is not followed.
    let input_scale = match scale_of(&r.input, &volume.meta, &*volume.source)? {
        Some(s) if s.slope > 0.0 && s.slope.is_finite() && s.offset.is_finite() => Some(s),
        Some(s) => {
            warnings.push(format!("the input's grey scale (slope {}) makes no sense and is left out", s.slope));
            None
        }
        None => None,
    };
    let limits = limits::known(&r.limits, volume.meta.stats, input_scale.as_ref(), &r.input)?;
    if r.one_pass && limits.is_none() {
        return Err(Error::caller("one pass needs limits that are known beforehand")
            .hint("give --low and --high, --limits-from, --limits or a --lock that exists"));
    }
    if let Some(l) = &limits {
        crate::quantise::GreyMap::new(l.low, l.high, r.depth, r.non_finite).map_err(|e| e.or_path(&r.input))?;
    }

    budget.refuse_unit(&*volume.source).map_err(|e| e.path(&r.input))?;
    let row = |s: Shape| (s.cols * dtype.size()) as u64;
    if row(shape) > budget.bytes {
        return Err(Error::limit("one row does not fit the memory budget").path(&r.input).found(shape));
    }
    let square = whole.rows == whole.cols;
    let circle = match r.within {
        Within::Auto => square,
        Within::Circle => true,
        Within::All => false,
    };
    let start = |i: usize| r.view.roi.as_ref().and_then(|roi| roi.xyz[i].start).unwrap_or(0);
    let placement = Placement { whole: (whole.rows, whole.cols), start: (start(1), start(0)), bin: r.view.bin.max(1) };
    let circle_field = Field::circle(shape, placement);

    let slice_in = shape.frame_len() * dtype.size();
    let slice_out = shape.frame_len() * r.depth.dtype().size();
    // Every thread works on an input of its own, cut from a larger one or not; outputs wait for their turn, and so do
    // inputs where the hash wants them in order.
    let in_order = passes::Digest::in_order(r.hash);
    let per_slice = |l: Lanes| {
        let inputs = if in_order { l.under_way } else { l.threads } as f64 + l.threads as f64 * source.scratch_per_byte;
        slice_in as f64 * inputs + slice_out as f64 * l.under_way as f64
    };
    let packed = |l: Lanes| unpacking(&*volume.source, l.threads);
    let most = Budget { bytes: (budget.bytes as f64 * 0.8) as u64 };
    let lanes = Lanes::fitting(most.bytes, |l| per_slice(l) + packed(l) as f64);
    let (per_slice, left) = (per_slice(lanes), most.less(packed(lanes)));
    if per_slice > left.bytes as f64 {
        return Err(Error::limit("one slice with its working space does not fit the memory budget")
            .expected(format!("at most {} bytes", left.bytes))
            .found(format!("{} bytes", per_slice as u64))
            .hint("raise --memory, or cut the volume with --roi"));
    }
    // 32 MiB keep any disk busy; chunks of many frames need more.
    let unit = source.source.access().unit.frames;
    let largest = ((32 << 20) / slice_in.max(1)).max(unit).max(1);
    let block_slices = left.units(1.0, per_slice.ceil() as usize, shape.frames.min(largest));
    let amplification = amplification(&*source.source, block_slices) * r.view.bin.max(1).pow(3) as f64;
    let passes = 1 + usize::from(!r.one_pass) + usize::from(verify);
    let meta = meta_of_view(&volume.meta, &r.view, source.first_input_slice);
    Ok(Plan {
        input: r.input.clone(),
        input_format,
        input_dtype,
        dtype,
        output,
        output_format: writer.name,
        receipt,
        shape,
        depth: r.depth,
        limits,
        view: r.view.clone(),
        zeros: r.zeros.unwrap_or(match input_dtype {
            DType::I8 | DType::I16 | DType::I32 | DType::I64 => Zeros::Values,
            _ => Zeros::Outside,
        }),
        circle,
        crop_circle: r.crop_circle,
        non_finite: r.non_finite,
        dither: r.dither,
        passes,
        bytes_read: (values as f64 * input_dtype.size() as f64 * amplification * passes as f64) as u64,
        bytes_written: values * r.depth.dtype().size() as u64,
        block_slices,
        memory_bytes: (per_slice * block_slices as f64) as u64,
        verify,
        remove_input: r.remove_input,
        warnings,
        field: if circle { circle_field.clone() } else { Field::all(shape) },
        circle_field,
        lanes,
        source,
        meta,
        input_scale,
        choice: r.limits.clone(),
        writer,
        create,
        hash: r.hash,
        one_pass: r.one_pass,
        plot: r.plot.clone(),
    })
}

/// An input is removed only where all of it went into the output and the file holds nothing else.
fn refuse_removal(r: &Request, opened: &Opened) -> Result<()> {
    let refuse = |why: &str| Err(Error::caller(format!("the input is not removed: {why}")).path(&r.input));
    if r.view.roi.is_some() || r.view.slices.is_some() || r.view.bin > 1 || r.crop_circle {
        return refuse("only part of it goes into the output");
    }
    if !matches!(opened.format, "vol" | "raw" | "npy" | "tiff" | "edf") || !r.input.is_file() {
        return refuse("only single files of vol, raw, npy, TIFF or EDF hold nothing but the volume");
    }
    if r.input.is_symlink() {
        return refuse("this is a link to it: name the file itself");
    }
    if let Some(rest) = opened.warnings.iter().find(|w| w.leaves_out()) {
        return refuse(rest);
    }
    if r.dither.is_some() {
        return refuse("with --dither its voxels lie up to a whole grey step away from what is kept");
    }
    Ok(())
}

/// The conversion that turns greys back into physical values, as float32.
///
/// # Errors
/// `Caller` where neither a receipt nor the file itself tells the scale.
pub fn undo(
    input: PathBuf,
    output: PathBuf,
    open: OpenOptions,
    mut view: ViewSpec,
    to: Option<String>,
    create: CreateOptions,
    verify: bool,
) -> Result<convert::Request> {
    let (volume, _) = open_volume(&input, &open)?;
    let Some(scale) = scale_of(&input, &volume.meta, &*volume.source)? else {
        return Err(Error::caller("nothing tells what the grey values stand for")
            .path(&input)
            .expected(format!("a receipt {}{RECEIPT} or a scale in the file", input.display()))
            .hint("only volumes made by 'tomo recad' (or with a scale in their header) can be turned back"));
    };
    view.physical = Some(scale);
    Ok(convert::Request { input, output, open, view, to, create, window: None, verify })
}
