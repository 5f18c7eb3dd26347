//! The two passes: one for the histogram, one to write. All threads work on rows of one block while the next block is
//! read and the previous one written. Everything counted is a whole number, so no thread count changes a result.

use super::limits::{self, Limits};
use super::{Plan, Zeros, receipt, verify};
use crate::quantise::{Depth, FineCounter, FineHistogram, GreyMap, NonFinite, Tally, between_zeros};
use crate::stream::{Algorithm, Block, Blocks, Cancel, Hasher, Pool, Progress, Timings, run, split};
use rayon::prelude::*;
use serde::Serialize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use tomokit_formats::io::with_suffix;
use tomokit_formats::model::GreyScale;
use tomokit_formats::{ByteOrder, DType, Error, Result, VolumeMeta, durable, with_dtype};

/// Voxels per task: enough to outweigh handing it out.
const TASK: usize = 1 << 16;

/// What the histogram pass found.
#[derive(Clone)]
pub struct Survey {
    /// Values by size.
    pub histogram: FineHistogram,
    /// Voxels outside the circle, not looked at.
    pub outside_circle: u64,
}

/// What the writing pass counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Voxels written.
    pub voxels: u64,
    /// Voxels outside the field (or the circle), set to grey 0.
    pub outside: u64,
    /// What the others were.
    #[serde(flatten)]
    pub tally: Tally,
    /// Voxels by grey value.
    #[serde(skip)]
    pub greys: Vec<u64>,
    /// Different grey values in use.
    pub greys_in_use: usize,
}

/// Hash of the voxels read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InputHash {
    /// Which hash.
    pub algorithm: Algorithm,
    /// In hexadecimal digits.
    pub digits: String,
}

/// What a recad did.
#[derive(Clone, Serialize)]
pub struct Done {
    /// Final files or folders, the main one first, the receipt last.
    pub outputs: Vec<PathBuf>,
    /// Physical values of the lowest and highest grey.
    pub limits: Limits,
    /// The way back.
    pub scale: GreyScale,
    /// What was counted.
    pub counts: Counts,
    /// What the histogram pass found.
    #[serde(skip)]
    pub survey: Option<Survey>,
    /// Hash of the voxels read: little-endian, slice by slice (for a whole `.vol` that of the file).
    pub input_hash: Option<InputHash>,
    /// Read back: the largest difference inside the limits, in grey steps.
    pub verified: Option<f64>,
    /// The input is gone.
    pub input_removed: bool,
    /// Wall time of both passes, seconds.
    pub seconds: f64,
    /// Stage that limited the writing pass: read, compute or write.
    pub limited_by: &'static str,
}

/// Carries a plan out.
pub fn execute(plan: &Plan, progress: &dyn Progress, cancel: &Cancel) -> Result<Done> {
    let create = plan.writer.create.ok_or_else(|| Error::caller("this format cannot be written"))?;
    let start = std::time::Instant::now();
    let mut hash = plan.hash.map(Hasher::new);
    let survey = match plan.one_pass {
        true => None,
        false => Some(survey(plan, hash.as_mut(), progress, cancel).inspect_err(|_| progress.end())?),
    };
    let mut limits = match (&plan.limits, &survey) {
        (Some(l), _) => l.clone(),
        (None, Some(s)) => limits::of_voxels(plan, &s.histogram)?,
        (None, None) => return Err(Error::caller("one pass needs limits that are known beforehand")),
    };
    let make = |l: &Limits| {
        GreyMap::new(plan.stored(l.low), plan.stored(l.high), plan.depth, plan.non_finite)
            .map_err(|e| e.or_path(&plan.input))
    };
    let mut map = make(&limits)?;
    if let Some(path) = &plan.choice.lock {
        limits = limits::lock(path, limits, &plan.input)?;
        map = make(&limits)?;
    }
    let (low, high) = (plan.physical(map.limits().0), plan.physical(map.limits().1));
    let scale =
        GreyScale { slope: (high - low) / f64::from(plan.depth.top()), offset: low, unit: plan.unit().to_owned() };
    let mut options = plan.create.clone();
    options.shape = plan.shape;
    options.dtype = plan.depth.dtype();
    options.meta = VolumeMeta {
        grey: Some(scale.clone()),
        stats: None,
        description: Some(receipt::note(plan, &limits)),
        ..plan.meta.clone()
    };
    let mut sink = create(&plan.output, &options)?;
    let unhashed = survey.is_none().then_some(()).and(hash.as_mut());
    let (counts, timings) =
        write(plan, &map, &mut *sink, unhashed, progress, cancel).inspect_err(|_| progress.end())?;
    if plan.non_finite == NonFinite::Refuse && counts.tally.not_finite() > 0 {
        return Err(Error::file(&plan.input, format!("{} voxels are no finite number", counts.tally.not_finite()))
            .hint("see where with 'tomo info --stats', or choose what becomes of them with --nan"));
    }
    let mut done = Done {
        outputs: Vec::new(),
        limits,
        scale,
        counts,
        survey,
        input_hash: hash.map(|h| h.finish()).map(|(algorithm, digits)| InputHash { algorithm, digits }),
        verified: None,
        input_removed: false,
        seconds: 0.0,
        limited_by: timings.limiting(),
    };
    // An old receipt must never stand beside new data. The new one waits under its unfinished name until all is well: a
    // run that is killed from here on leaves a mark by which the next one knows the output as its own.
    remove_if_there(&plan.receipt)?;
    let staged = durable::stage_small(&plan.receipt, &receipt::text(plan, &done, &[])?, true)?;
    let mut outputs = sink.finish(None)?;
    done.seconds = start.elapsed().as_secs_f64();
    if plan.verify {
        let main = outputs.first().cloned().unwrap_or_else(|| plan.output.clone());
        let verified = verify::verify(plan, &map, &main, progress, cancel).inspect_err(|e| {
            progress.end();
            if e.fault() == tomokit_formats::Fault::File {
                withdraw(&main, progress);
            }
        });
        done.verified = Some(verified?);
    }
    done.input_removed = plan.remove_input && done.verified.is_some();
    if let Some(path) = &plan.plot {
        outputs.push(receipt::plot(plan, &done, path)?);
    }
    let text = receipt::text(plan, &done, &outputs)?;
    staged.set_len(0)?;
    staged.write_at(&text, 0)?;
    outputs.push(staged.commit()?);
    done.outputs = outputs;
    if done.input_removed {
        std::fs::remove_file(&plan.input).map_err(|e| Error::io(&plan.input, "removing the input", e))?;
    }
    Ok(done)
}

/// Takes its final name from an output that reads back wrong.
fn withdraw(output: &Path, progress: &dyn Progress) {
    let part = with_suffix(output, durable::PART);
    if std::fs::rename(output, &part).is_ok() {
        progress.note(&format!("what was written is kept as {}", part.display()));
    }
}

fn remove_if_there(path: &std::path::Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path, "removing the old receipt", e)),
        _ => Ok(()),
    }
}

/// The blocks of a pass.
pub(super) fn parts(plan: &Plan) -> impl Iterator<Item = Range<usize>> + Send + use<> {
    split(0, plan.shape.frames, plan.block_slices)
}

/// Adds a block to the hash as little-endian bytes.
fn digest(hash: Option<&mut Hasher>, dtype: DType, bytes: &[u8]) {
    let Some(hash) = hash else { return };
    if ByteOrder::NATIVE == ByteOrder::Little || dtype.size() == 1 {
        hash.update(bytes);
    } else {
        let mut turned = bytes.to_vec();
        ByteOrder::Little.to_native(&mut turned, dtype.size());
        hash.update(&turned);
    }
}

/// Rows per task.
fn task_rows(cols: usize) -> usize {
    (TASK / cols.max(1)).max(1)
}

fn survey(plan: &Plan, mut hash: Option<&mut Hasher>, progress: &dyn Progress, cancel: &Cancel) -> Result<Survey> {
    let (shape, dtype) = (plan.shape, plan.input_dtype);
    let row_bytes = shape.cols * dtype.size();
    progress.begin("looking for limits", (shape.frames * shape.rows * row_bytes) as u64);
    let blocks = Blocks::new(&*plan.source.source);
    let counters = Pool::<(FineCounter, Vec<f32>)>::new();
    let mut histogram = FineHistogram::new(plan.zeros == Zeros::Values);
    let rows = task_rows(shape.cols);
    run(
        parts(plan),
        0,
        cancel,
        |frames| blocks.read(frames),
        |block: Block| {
            let buffer = blocks.bytes(&block)?;
            let count = || {
                buffer.par_chunks(rows * row_bytes).enumerate().for_each(|(i, task)| {
                    let (mut counter, mut values) = counters.take(Default::default);
                    for (j, row) in task.chunks_exact(row_bytes).enumerate() {
                        let inside = plan.field.row((i * rows + j) % shape.rows);
                        let part = &row[inside.start * dtype.size()..inside.end * dtype.size()];
                        match bytemuck::try_cast_slice::<u8, f32>(part) {
                            Ok(v) if dtype == DType::F32 => counter.add(v),
                            _ => {
                                values.resize(inside.len(), 0.0);
                                dtype.to_f32(part, &mut values);
                                counter.add(&values);
                            }
                        }
                    }
                    counters.give((counter, values));
                });
            };
            rayon::join(count, || digest(hash.as_deref_mut(), dtype, buffer));
            progress.advance(buffer.len() as u64);
            // Counters are emptied long before 2^32 values of one block after the other could fill them.
            let mut kept = Vec::new();
            while let Some(mut c) = counters.take_used() {
                if c.0.is_full(buffer.len()) {
                    histogram.absorb(&mut c.0);
                }
                kept.push(c);
            }
            kept.into_iter().for_each(|c| counters.give(c));
            blocks.done(block);
            Ok(())
        },
        |()| Ok(()),
    )?;
    while let Some(mut c) = counters.take_used() {
        histogram.absorb(&mut c.0);
    }
    progress.end();
    let outside_circle = (shape.frame_len() - plan.field.inside(shape)) as u64 * shape.frames as u64;
    Ok(Survey { histogram, outside_circle })
}

/// Counters of one thread while writing. Greys go to four tables in turn: counting the same grey again and again would
/// wait for its own last increment.
struct Acc {
    tally: Tally,
    outside: u64,
    greys: [Vec<u64>; 4],
}

impl Acc {
    fn new(depth: Depth) -> Acc {
        let table = || vec![0; depth.top() as usize + 1];
        Acc { tally: Tally::default(), outside: 0, greys: [table(), table(), table(), table()] }
    }

    fn count(&mut self, depth: Depth, greys: &[u8]) {
        let [a, b, c, d] = &mut self.greys;
        match depth {
            Depth::Eight => {
                let (four, rest) = greys.as_chunks::<4>();
                for g in four {
                    a[usize::from(g[0])] += 1;
                    b[usize::from(g[1])] += 1;
                    c[usize::from(g[2])] += 1;
                    d[usize::from(g[3])] += 1;
                }
                rest.iter().for_each(|g| a[usize::from(*g)] += 1);
            }
            // Neighbours seldom share one of 65536 greys: one table, which fits the cache.
            Depth::Sixteen => {
                greys.as_chunks::<2>().0.iter().for_each(|g| a[usize::from(u16::from_ne_bytes(*g))] += 1);
            }
        }
    }
}

/// The columns of a row that are converted; the others stay grey 0.
pub(super) fn converted(plan: &Plan, row: usize, bytes: &[u8]) -> Range<usize> {
    let mut keep = match plan.zeros {
        Zeros::Outside => with_dtype!(plan.input_dtype, T => between_zeros::<T>(bytes)),
        Zeros::Values => 0..plan.shape.cols,
    };
    if plan.crop_circle {
        let inside = plan.circle_field.row(row);
        keep = keep.start.max(inside.start)..keep.end.min(inside.end);
        if keep.is_empty() {
            keep = 0..0;
        }
    }
    keep
}

fn convert_block(plan: &Plan, map: &GreyMap, frames: &Range<usize>, src: &[u8], dst: &mut [u8], accs: &Pool<Acc>) {
    let shape = plan.shape;
    let (in_size, out_size) = (plan.input_dtype.size(), plan.depth.dtype().size());
    let (in_row, out_row) = (shape.cols * in_size, shape.cols * out_size);
    let rows = task_rows(shape.cols);
    dst.par_chunks_mut(rows * out_row).zip(src.par_chunks(rows * in_row)).enumerate().for_each(|(i, (dst, src))| {
        let mut acc = accs.take(|| Acc::new(plan.depth));
        for (j, (dst, src)) in dst.chunks_exact_mut(out_row).zip(src.chunks_exact(in_row)).enumerate() {
            let line = i * rows + j;
            let keep = converted(plan, line % shape.rows, src);
            acc.outside += (shape.cols - keep.len()) as u64;
            let index = (frames.start * shape.rows + line) as u64 * shape.cols as u64 + keep.start as u64;
            dst[..keep.start * out_size].fill(0);
            dst[keep.end * out_size..].fill(0);
            let greys = &mut dst[keep.start * out_size..keep.end * out_size];
            let values = &src[keep.start * in_size..keep.end * in_size];
            acc.tally = acc.tally.merge(map.convert(plan.input_dtype, values, greys, plan.dither.map(|s| (s, index))));
            acc.count(plan.depth, greys);
        }
        accs.give(acc);
    });
}

fn write(
    plan: &Plan,
    map: &GreyMap,
    sink: &mut dyn tomokit_formats::SliceSink,
    mut hash: Option<&mut Hasher>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<(Counts, Timings)> {
    let shape = plan.shape;
    let slice_in = shape.frame_len() * plan.input_dtype.size();
    let slice_out = shape.frame_len() * plan.depth.dtype().size();
    progress.begin("writing", (shape.frames * slice_in) as u64);
    let blocks = Blocks::new(&*plan.source.source);
    let (outputs, accs) = (Pool::<Vec<u8>>::new(), Pool::<Acc>::new());
    let timings = run(
        parts(plan),
        0,
        cancel,
        |frames| blocks.read(frames),
        |block: Block| {
            let buffer = blocks.bytes(&block)?;
            let mut greys: Vec<u8> = outputs.take(Vec::new);
            greys.resize(block.frames.len() * slice_out, 0);
            rayon::join(
                || convert_block(plan, map, &block.frames, buffer, &mut greys, &accs),
                || digest(hash.as_deref_mut(), plan.input_dtype, buffer),
            );
            progress.advance(buffer.len() as u64);
            let first = block.frames.start;
            blocks.done(block);
            Ok((first, greys))
        },
        |(first, greys)| {
            sink.put(first, &greys)?;
            outputs.give(greys);
            Ok(())
        },
    )?;
    progress.end();
    let mut c = Counts { greys: vec![0; plan.depth.top() as usize + 1], ..Counts::default() };
    while let Some(a) = accs.take_used() {
        c.tally = c.tally.merge(a.tally);
        c.outside += a.outside;
        for table in &a.greys {
            c.greys.iter_mut().zip(table).for_each(|(t, n)| *t += n);
        }
    }
    // Outside the field there is no grey value, only the filling.
    c.voxels = c.tally.values + c.outside;
    c.greys_in_use = c.greys.iter().filter(|n| **n > 0).count();
    Ok((c, timings))
}
