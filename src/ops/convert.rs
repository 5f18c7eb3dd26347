//! Copies any readable stack to any writable format, through a view (region, axis, slices, binning, wider type).
//!
//! Guarantees: memory stays within the budget whatever the volume's size; the output appears under its final name
//! only when whole; with `verify` it has been read back and compared value by value. Lossy scaling is left to recad.

use crate::ops::finish::{ANEW, OldRecords, refuse_records, withdraw};
use crate::ops::over::{refuse_over, refuse_over_scan};
use crate::ops::picture::{Pictures, Window, common_window};
use crate::ops::recad::scale_of;
use crate::ops::view::{Axis, View, ViewSpec, view};
use crate::stream::{Block, Blocks, Budget, Cancel, Progress, Timings, both, run, split, unpacking};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;
use tomokit_formats::io::with_suffix;
use tomokit_formats::registry::{FormatSpec, open_volume, split_dataset, writer_for};
use tomokit_formats::{
    Content, CreateOptions, DType, Error, FrameSource, OpenOptions, Region, Result, Shape, SliceSink, VolumeMeta,
    durable,
};

/// What to convert and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// What to read.
    pub input: PathBuf,
    /// What to write.
    pub output: PathBuf,
    /// How to read it.
    pub open: OpenOptions,
    /// What part of it, and how cut.
    pub view: ViewSpec,
    /// Output format by name; by extension where absent.
    pub to: Option<String>,
    /// Writer options; shape, type and metadata are filled in by [`plan`].
    pub create: CreateOptions,
    /// Draw pictures (PNG with colour bar and scale bar) with this window instead of storing values.
    pub window: Option<Window>,
    /// Read the output back and compare.
    pub verify: bool,
}

/// What a conversion will do, known before the first byte is moved.
#[derive(Clone, Serialize)]
pub struct Plan {
    /// What is read.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub input: PathBuf,
    /// Format it was recognised as.
    pub input_format: &'static str,
    /// What is written.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub output: PathBuf,
    /// Format written.
    pub output_format: &'static str,
    /// Shape of the output: slices, rows, columns.
    pub shape: Shape,
    /// Type of the output.
    pub dtype: DType,
    /// Bytes of values read, counting every re-read the access pattern forces.
    pub bytes_read: u64,
    /// Values fetched per value wanted (1 = each stored value is fetched once).
    pub read_amplification: f64,
    /// Bytes of values written (before compression, without headers).
    pub bytes_written: u64,
    /// Slices per block.
    pub block_slices: usize,
    /// Peak memory of the buffers, bytes.
    pub memory_bytes: u64,
    /// Oddities of the input worth knowing.
    pub warnings: Vec<String>,
    #[serde(skip)]
    view: View,
    /// Values drawn black and white, where pictures are drawn.
    pub window: Option<(f64, f64)>,
    #[serde(skip)]
    writer: &'static FormatSpec,
    #[serde(skip)]
    create: CreateOptions,
    #[serde(skip)]
    verify: bool,
    /// What of which input, for those who go on with what an interrupted run left.
    #[serde(skip)]
    mark: String,
}

/// What a conversion did.
#[derive(Clone, Debug, Serialize)]
pub struct Done {
    /// Final files or folders, the main one first.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub outputs: Vec<PathBuf>,
    /// Slices written by this run.
    pub slices: usize,
    /// Slices found from an earlier, interrupted run.
    pub resumed: usize,
    /// Bytes of values written by this run.
    pub bytes_written: u64,
    /// True where the output was read back and found equal.
    pub verified: bool,
    /// Wall time, seconds.
    pub seconds: f64,
    /// Stage that limited: read, compute or write.
    pub limited_by: &'static str,
}

/// Opens the input and works out the output, refusing what cannot be done before anything is written.
pub fn plan(request: &Request, budget: Budget) -> Result<Plan> {
    let (volume, mut opened) = open_volume(&request.input, &request.open)?;
    if matches!(opened.content, Content::Scan(_)) {
        opened.warnings.push(
            "this is a scan: only its projections are converted; --to nxtomo, dxchange or flyscan keeps flats, darks and \
             angles",
        );
    }
    let writer = writer_for(&request.output, request.to.as_deref())?;
    let mut create = request.create.clone();
    writer.refuse_options(&request.output, &create)?;
    let output = match request.window {
        Some(_) => request.output.components().collect(),
        None => writer.settle(&request.output, &mut create),
    };
    let v = view(volume.source.clone(), &request.view)?;
    let (shape, dtype) = (v.source.shape(), v.source.dtype());
    let values = shape.len()?;
    if values == 0 {
        return Err(Error::file(&request.input, "there is nothing in this stack").found(shape));
    }
    match &opened.content {
        Content::Scan(s) => refuse_over_scan(&output, &request.input, s)?,
        _ => refuse_over(&output, &request.input, &*volume.source)?,
    }
    if request.verify && writer.reads.is_empty() {
        return Err(Error::caller(format!("--verify is not possible: {} is never read back", writer.name)));
    }
    if request.window.is_some() && writer.name != "png" {
        return Err(Error::caller("--window is for pictures: name a .png file or add --to png"));
    }
    if request.window.is_none() && writer.name == "png" && !matches!(dtype, DType::U8 | DType::U16) {
        return Err(Error::caller(format!("{} values need a window to become a picture", dtype.name()))
            .path(&output)
            .hint("add --window auto, or --window LOW,HIGH"));
    }
    writer.refuse_existing(&output, create.overwrite)?;
    refuse_records(&output, create.overwrite)?;

    budget.refuse_unit(&*volume.source).map_err(|e| e.path(&request.input))?;
    let slice_bytes = shape.frame_len() * dtype.size();
    // Two blocks live in the pipeline, one more while it is being cut, plus the view's scratch.
    let per_slice = slice_bytes as f64 * (3.0 + v.scratch_per_byte);
    // What is unpacked while a block is read takes its part.
    let left = budget.less(unpacking(&*volume.source, rayon::current_num_threads()).min(budget.bytes * 3 / 4));
    let block_slices = left.units(0.8, per_slice.ceil() as usize, shape.frames.min(max_block(&v, slice_bytes)));
    if per_slice > left.bytes as f64 {
        return Err(Error::limit("one slice with its working space does not fit the memory budget")
            .expected(format!("at most {} bytes", left.bytes))
            .found(format!("{} bytes", per_slice as u64))
            .hint("raise --memory, or cut the volume with --roi"));
    }
    let amplification = amplification(&*v.source, block_slices);
    let window = request.window.map(|w| common_window(&*v.source, w)).transpose()?;
    create.shape = shape;
    create.dtype = dtype;
    let grey = scale_of(&request.input, &volume.meta, &*volume.source)?;
    create.meta = meta_of_view(&VolumeMeta { grey, ..volume.meta }, &request.view, v.first_input_slice);
    Ok(Plan {
        input: request.input.clone(),
        input_format: opened.format,
        output,
        output_format: writer.name,
        shape,
        dtype,
        bytes_read: (values as f64
            * volume.source.dtype().size() as f64
            * amplification
            * (request.view.bin.max(1).pow(3)) as f64) as u64,
        read_amplification: amplification,
        bytes_written: values * dtype.size() as u64,
        block_slices,
        memory_bytes: (per_slice * block_slices as f64) as u64,
        warnings: opened.warnings.texts(),
        view: v,
        window,
        mark: mark(request, &create)?,
        writer,
        create,
        verify: request.verify,
    })
}

/// Beside the unfinished output: what it is made of.
const MARK: &str = ".convert.part.json";

/// All that decides what the values of an output are.
fn mark(request: &Request, create: &CreateOptions) -> Result<String> {
    let (file, dataset) = split_dataset(&request.input);
    let meta = std::fs::metadata(&file).ok();
    let modified = meta.as_ref().and_then(|m| m.modified().ok()).and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    let mark = serde_json::json!({
        "input": file.file_name().unwrap_or_default().to_string_lossy(),
        "dataset": dataset,
        "bytes": meta.map(|m| m.len()),
        "modified_ns": modified.map(|t| t.as_nanos().to_string()),
        "read_as": request.open,
        "view": request.view,
        "type": create.dtype.name(),
        "variant": create.variant,
        "compression": create.compression,
        "start_number": create.start_number,
    });
    serde_json::to_string(&mark).map_err(|e| Error::caller("a mark cannot be written as JSON").source(e))
}

/// The largest useful block, in slices. 64 MiB keep any disk busy; more only costs memory, unless one fetch serves
/// several slices (reslicing, chunks of many frames): then the budget alone decides.
fn max_block(v: &View, slice_bytes: usize) -> usize {
    let one_by_one = v.scratch_per_byte == 0.0 && v.source.access().unit.frames <= 1;
    if one_by_one { ((64 << 20) / slice_bytes.max(1)).max(1) } else { usize::MAX }
}

/// Mean amplification over the blocks of a pass.
pub(crate) fn amplification(source: &dyn FrameSource, block: usize) -> f64 {
    let shape = source.shape();
    let access = source.access();
    let blocks = shape.frames.div_ceil(block);
    // All inner blocks are alike in the long run; look at the first few.
    let looked = blocks.min(64);
    let sum: f64 = (0..looked)
        .map(|b| {
            let frames = b * block..((b + 1) * block).min(shape.frames);
            access.amplification(shape, &Region::of_frames(shape, frames))
        })
        .sum();
    sum / looked.max(1) as f64
}

/// Voxel size and origin after cropping, reslicing and binning.
pub(crate) fn meta_of_view(meta: &VolumeMeta, spec: &ViewSpec, first_slice: usize) -> VolumeMeta {
    let mut m = meta.clone();
    let n = spec.bin.max(1) as f64;
    let step = spec.slices.and_then(|s| s.step).unwrap_or(1) as f64;
    m.voxel_um = m.voxel_um.map(|[z, y, x]| {
        let [a, b, c] = match spec.axis {
            Axis::Z => [z, y, x],
            Axis::Y => [y, z, x],
            Axis::X => [x, z, y],
        };
        [a * n * step, b * n, c * n]
    });
    // The origin is meaningful only while slices are those of the input.
    m.origin_1based = match (spec.axis, spec.bin.max(1), m.origin_1based) {
        (Axis::Z, 1, Some([x, y, z])) => {
            let start = |i: usize| spec.roi.as_ref().and_then(|r| r.xyz[i].start).unwrap_or(0);
            Some([x + start(0), y + start(1), z + first_slice])
        }
        _ => None,
    };
    // Physical values need no scale any more.
    if spec.physical.is_some() {
        m.grey = None;
    }
    // Recorded statistics belong to the whole input.
    if spec.roi.is_some() || spec.slices.is_some() || spec.bin > 1 || spec.physical.is_some() {
        m.stats = None;
    }
    m
}

/// Carries a plan out.
pub fn execute(plan: &Plan, progress: &dyn Progress, cancel: &Cancel) -> Result<Done> {
    let create = plan.writer.create.ok_or_else(|| Error::caller("this format cannot be written"))?;
    let mark = with_suffix(&plan.output, MARK);
    let part = with_suffix(&plan.output, durable::PART);
    if plan.create.resume && part.exists() && std::fs::read_to_string(&mark).ok().as_ref() != Some(&plan.mark) {
        return Err(Error::caller("what is there unfinished was not made of this input in this way")
            .path(&part)
            .hint("leave out --resume to start anew, or remove it"));
    }
    let is_left = part.exists();
    // Looks once the sink is gone, and what it does not keep with it.
    let _mark = OnDrop(&part, &mark);
    let mut sink: Box<dyn SliceSink> = match plan.window {
        Some(w) => Box::new(Pictures::create(&plan.output, &plan.create, w)?),
        None => create(&plan.output, &plan.create)?,
    };
    let resumed = sink.stored();
    if plan.create.resume && is_left && resumed == 0 {
        progress.note(ANEW);
    }
    durable::write_small(&mark, plan.mark.as_bytes(), true)?;
    let copied = copy(plan, &mut *sink, resumed, progress, cancel);
    progress.end();
    let timings = match copied {
        Ok(t) => t,
        Err(e) => {
            // After Ctrl-C the finished part is worth keeping; after an error only if the user works with --resume.
            let interrupted = e.fault() == tomokit_formats::Fault::Interrupted;
            if interrupted || plan.create.resume {
                sink.keep_partial();
                drop(sink);
                // Not every format can be gone on with.
                if interrupted && part.exists() {
                    progress.note("the slices written so far are kept as .part: go on with --resume, or delete them");
                }
            }
            return Err(e);
        }
    };
    let old = OldRecords::of(&plan.output)?;
    let outputs = sink.finish(None)?;
    drop(old);
    let verified = plan.verify;
    if verified {
        let main = outputs.first().unwrap_or(&plan.output);
        verify(plan, main, progress, cancel).inspect_err(|e| {
            progress.end();
            if e.fault() == tomokit_formats::Fault::File {
                withdraw(main, progress);
            }
        })?;
    }
    let slices = plan.shape.frames - resumed;
    Ok(Done {
        outputs,
        slices,
        resumed,
        bytes_written: (slices * plan.shape.frame_len() * plan.dtype.size()) as u64,
        verified,
        seconds: timings.wall.as_secs_f64(),
        limited_by: timings.limiting(),
    })
}

/// Removes the mark of an unfinished output where there is none (any more).
struct OnDrop<'a>(&'a Path, &'a Path);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        if !self.0.exists() {
            let _ = std::fs::remove_file(self.1);
        }
    }
}

fn copy(
    plan: &Plan,
    sink: &mut dyn SliceSink,
    first: usize,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Timings> {
    let source = &*plan.view.source;
    let slice_bytes = plan.shape.frame_len() * plan.dtype.size();
    progress.begin("converting", ((plan.shape.frames - first) * slice_bytes) as u64);
    let blocks = Blocks::new(source);
    // A block that is a plain copy need not be larger than what keeps disks busy.
    let mapped = source.mapped(0..1).is_some();
    let step = if mapped { ((32 << 20) / slice_bytes.max(1)).clamp(1, plan.block_slices) } else { plan.block_slices };
    run(
        split(first, plan.shape.frames, step),
        0,
        cancel,
        |frames| blocks.read(frames),
        Ok,
        |block: Block| {
            let bytes = blocks.bytes(&block)?;
            sink.put(block.frames.start, bytes)?;
            progress.advance(bytes.len() as u64);
            blocks.done(block);
            Ok(())
        },
    )
}

/// Reads the output back and compares every value with the view it was made from.
fn verify(plan: &Plan, output: &Path, progress: &dyn Progress, cancel: &Cancel) -> Result<()> {
    let options = OpenOptions { format: Some(plan.writer.name.to_owned()), ..Default::default() };
    let (back, _) = open_volume(output, &options)?;
    let back = back.source;
    if back.shape() != plan.shape || back.dtype() != plan.dtype {
        return Err(Error::file(output, "the output reads back with another shape or type")
            .expected(format!("{} {}", plan.shape, plan.dtype.name()))
            .found(format!("{} {}", back.shape(), back.dtype().name())));
    }
    let slice_bytes = plan.shape.frame_len() * plan.dtype.size();
    progress.begin("verifying", (plan.shape.frames * slice_bytes) as u64);
    let (given, written) = (Blocks::new(&*plan.view.source), Blocks::new(&*back));
    // Two buffers a block: half the slices.
    let step = (plan.block_slices / 2).max(1);
    for frames in split(0, plan.shape.frames, step) {
        cancel.check()?;
        let (a, b) = both(|| given.read(frames.clone()), || written.read(frames.clone()))?;
        let (x, y) = (given.bytes(&a)?, written.bytes(&b)?);
        if x != y {
            let at = x.iter().zip(y).position(|(a, b)| a != b).unwrap_or(0);
            let slice = frames.start + at / slice_bytes;
            return Err(Error::file(output, format!("slice {slice} reads back differently from what was written"))
                .hint("do not trust this disk: write the output to another one and compare again"));
        }
        progress.advance(x.len() as u64);
        given.done(a);
        written.done(b);
    }
    progress.end();
    Ok(())
}
