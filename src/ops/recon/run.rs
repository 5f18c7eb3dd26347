//! Carries a plan out: bands through read | correct and reconstruct | write.

use super::check::BadSlices;
use super::clock::Clock;
use super::feed::{Feed, Tally};
use super::journal::{Journal, Slab, earlier, forget};
use super::plan::{Plan, read_back};
use super::provenance;
use crate::ops::finish::{ANEW, OldRecords};
use crate::quantise;
use crate::recon::Sinograms;
use crate::stream::{Cancel, Pool, Progress, Timings, run};
use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::Instant;
use tomokit_formats::direct::Buffer;
use tomokit_formats::durable::PART;
use tomokit_formats::{DType, Error, Fault, Region, Result, SliceSink, io};

/// What a reconstruction did.
#[derive(Clone, Debug, Serialize)]
pub struct Done {
    /// Final files or folders, the main one first.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub outputs: Vec<PathBuf>,
    /// Slices made by this run.
    pub slices: usize,
    /// Slices found from an earlier, interrupted run.
    pub resumed: usize,
    /// Counts, of the earlier run as well.
    pub counts: Tally,
    /// Slices of an earlier run whose counts are lost.
    pub uncounted: usize,
    /// Slices that are all zero or hold voxels that are not finite, whichever run made them.
    pub bad_slices: BadSlices,
    /// Slices of an earlier run that could not be looked at.
    pub unchecked: Vec<usize>,
    /// What was clipped on the way to grey values, where they were made.
    pub grey: Option<quantise::Tally>,
    /// SHA-256 of the voxels in file order, where verified.
    pub sha256: Option<String>,
    /// True where the volume was read back and its hash agrees.
    pub verified: bool,
    /// Wall time until the volume has its name, seconds.
    pub seconds: f64,
    /// Of it, the end: statistics, sidecars, and what was not on the disk yet.
    pub finish_seconds: f64,
    /// Busy time of the three stages, seconds.
    pub read_seconds: f64,
    /// See `read_seconds`.
    pub compute_seconds: f64,
    /// See `read_seconds`.
    pub write_seconds: f64,
    /// Stage that limited.
    pub limited_by: &'static str,
    /// Oddities met on the way.
    pub warnings: Vec<String>,
}

/// Bytes of slices that are worth keeping for `--resume` when a run fails for no fault of its own: a disk that is full or
/// gone. Less is made again in no time.
const WORTH: u64 = 64 << 20;

/// A band on its way out: floats, in memory from which the disk can take them as they lie.
struct Made {
    first: usize,
    slices: Buffer,
    tally: Tally,
}

/// Reconstructs and writes.
pub fn execute(plan: &Plan, progress: &dyn Progress, cancel: &Cancel) -> Result<Done> {
    let create = plan.writer.create.ok_or_else(|| Error::caller("this format cannot be written"))?;
    let before = if plan.create.resume { earlier(plan)? } else { None };
    let part = io::with_suffix(&plan.output, PART);
    let is_left = part.exists();
    let mut sink = create(&plan.output, &plan.create)?;
    let resumed = sink.stored().min(plan.shape.frames);
    if plan.create.resume && is_left && resumed == 0 {
        progress.note(ANEW);
    }
    if resumed > 0 {
        // What an earlier run left outlives this one, however it ends.
        sink.keep_partial();
        if plan.request.verify {
            return Err(Error::caller("--verify needs every slice to be written by this run")
                .hint("run without --resume, or compare afterwards"));
        }
    }
    let (slabs, unknown) = match before {
        Some(e) => e.of_first(resumed),
        None => (Vec::new(), (0..resumed).collect()),
    };
    let journal = Journal::start(plan, &slabs)?;
    attempt(plan, sink, journal, slabs, (resumed, unknown), progress, cancel).map_err(|e| {
        if !part.exists() {
            // A format that keeps nothing to go on with.
            forget(plan);
        }
        let kept = format!("the slices written so far are kept in {}", part.display());
        match e.fault() {
            Fault::System if part.exists() => e.hint(format!("make room, then go on with --resume: {kept}")),
            Fault::Interrupted if part.exists() => e.hint(format!("go on with --resume: {kept}")),
            _ => e,
        }
    })
}

/// Everything after the preparations. What is to stay on the disk is settled here; the rest goes with `sink` and `journal`.
fn attempt(
    plan: &Plan,
    mut sink: Box<dyn SliceSink>,
    mut journal: Journal,
    mut slabs: Vec<Slab>,
    (resumed, unknown): (usize, Vec<usize>),
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Done> {
    let mut hash = plan.request.verify.then(Sha256::new);
    let streamed = stream(plan, &mut *sink, Some(&mut journal), &mut slabs, resumed, hash.as_mut(), progress, cancel);
    progress.end();
    let slices: usize = slabs.iter().map(|s| s.slices).sum();
    let worth = (slices * plan.shape.frame_len() * plan.create.dtype.size()) as u64 >= WORTH || plan.create.resume;
    let keep = match &streamed {
        Err(e) if e.fault() == Fault::Interrupted => slices > 0 || resumed > 0,
        Err(e) if e.fault() != Fault::System => plan.create.resume,
        _ => worth,
    };
    if keep {
        sink.keep_partial();
        journal.keep();
    }
    let timings = streamed?;

    let mut done = summary(plan, resumed, slabs, &unknown, timings);
    done.sha256 = hash.map(|h| h.finalize().iter().map(|b| format!("{b:02x}")).collect());
    let end = Instant::now();
    let record = provenance::stage(plan, &done)?;
    let old = OldRecords::of(&plan.output)?;
    done.outputs = sink.finish(None)?;
    drop(old);
    done.finish_seconds = end.elapsed().as_secs_f64();
    done.seconds += done.finish_seconds;
    journal.done();
    let main = done.outputs.first().unwrap_or(&plan.output).clone();
    look_at(plan, &main, unknown, &mut done, progress, cancel)?;
    done.warnings.extend(done.bad_slices.describe());
    if let Some(expected) = &done.sha256 {
        verify(plan, &main, expected, progress, cancel)?;
        done.verified = true;
    }
    let named = record.commit(plan, &done)?;
    done.outputs.push(named);
    Ok(done)
}

/// What is known once every slice is with the writer.
fn summary(plan: &Plan, resumed: usize, slabs: Vec<Slab>, unknown: &[usize], timings: Timings) -> Done {
    let (mut counts, mut bad_slices, mut grey) = (Tally::default(), BadSlices::default(), quantise::Tally::default());
    let mut uncounted = unknown.len();
    for slab in slabs {
        if slab.tally.total == 0 {
            uncounted += slab.slices;
        }
        counts += slab.tally;
        bad_slices.add(slab.bad);
        grey = grey.merge(slab.grey);
    }
    counts.bad_voxels = bad_slices.bad_voxels();
    let mut warnings = warnings(&counts);
    if uncounted > 0 {
        warnings.push(format!("{uncounted} slices of the interrupted run are not in the counts: its journal was cut"));
    }
    Done {
        outputs: Vec::new(),
        slices: plan.shape.frames - resumed,
        resumed,
        counts,
        uncounted,
        bad_slices,
        unchecked: Vec::new(),
        grey: plan.request.grey.map(|_| grey),
        sha256: None,
        verified: false,
        seconds: timings.wall.as_secs_f64(),
        finish_seconds: 0.0,
        read_seconds: timings.read.as_secs_f64(),
        compute_seconds: timings.compute.as_secs_f64(),
        write_seconds: timings.write.as_secs_f64(),
        limited_by: timings.limiting(),
        warnings,
    }
}

/// Looks at slices of an earlier run that its journal says nothing of, in the finished volume. Grey values do not show
/// whether a slice was zero or not finite.
fn look_at(
    plan: &Plan,
    output: &Path,
    slices: Vec<usize>,
    done: &mut Done,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<()> {
    if slices.is_empty() || plan.create.dtype != DType::F32 || plan.writer.reads.is_empty() {
        done.unchecked = slices;
        return Ok(());
    }
    let source = read_back(plan, output)?.source;
    let (mut raw, mut values) = (Vec::new(), vec![0f32; plan.shape.frame_len()]);
    progress.begin("looking at earlier slices", (slices.len() * values.len() * 4) as u64);
    for f in slices {
        cancel.check()?;
        source.read_f32(&Region::of_frames(plan.shape, f..f + 1), &mut raw, &mut values)?;
        let mut one = BadSlices::default();
        one.look(f, &values, values.len());
        done.bad_slices.add(one);
        progress.advance(values.len() as u64 * 4);
    }
    progress.end();
    done.counts.bad_voxels = done.bad_slices.bad_voxels();
    Ok(())
}

/// Makes the slices of `plan` and hands them to `sink`, which is neither created nor finished here: for mending a volume
/// that exists. Numbers of slices count from the first of the plan.
///
/// # Errors
/// What reading the scan and the sink say; `Interrupted`.
pub fn execute_into(
    plan: &Plan,
    sink: &mut dyn SliceSink,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<BadSlices> {
    let mut slabs = Vec::new();
    let made = stream(plan, sink, None, &mut slabs, 0, None, progress, cancel);
    progress.end();
    made?;
    let mut bad = BadSlices::default();
    slabs.into_iter().for_each(|s| bad.add(s.bad));
    Ok(bad)
}

fn warnings(t: &Tally) -> Vec<String> {
    let mut w = Vec::new();
    if t.nan > 0 {
        w.push(format!("{} raw values were not finite and were taken as transparent", t.nan));
    }
    if t.dead > 0 {
        w.push(format!(
            "{} values had no usable flat (not brighter than the dark) and were taken as transparent",
            t.dead
        ));
    }
    w
}

#[allow(clippy::too_many_arguments)] // one call, each of another kind
fn stream(
    plan: &Plan,
    sink: &mut dyn SliceSink,
    mut journal: Option<&mut Journal>,
    slabs: &mut Vec<Slab>,
    resumed: usize,
    mut hash: Option<&mut Sha256>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Timings> {
    let scan = &plan.source;
    let shape = scan.projections.shape();
    let feed = Feed::new(scan, &plan.request, plan.zero_clip, plan.gather.as_ref());
    let todo = &plan.rows[resumed..];
    let bands = todo.chunks(plan.band_rows.max(1)).enumerate().map(|(i, rows)| (resumed + i * plan.band_rows, rows));

    let raw_pool = Pool::<Vec<u8>>::new();
    let slice_pool = Pool::<Buffer>::new();
    let mut scattered = Vec::new();
    let (mut wide, mut corrected) = (Vec::new(), Vec::new());
    let mut scratch = plan.fbp.scratch_for(plan.band_rows, rayon::current_num_threads())?;
    let slice_len = plan.fbp.slice_len();
    let clock = Clock::default();
    let mut greys: Vec<u8> = Vec::new();

    progress.begin("reconstructing", (todo.len() * slice_len * plan.create.dtype.size()) as u64);
    run(
        bands,
        0,
        cancel,
        |(first, rows)| {
            let _busy = clock.start(0);
            Ok((first, feed.read(rows, raw_pool.take(Vec::new), &mut scattered)?))
        },
        |(first, mut raw)| {
            let _busy = clock.start(1);
            let tally = feed.correct(&mut raw, &mut wide, &mut corrected)?;
            let rows = raw.rows.len();
            raw_pool.give(raw.data);
            let mut slices = slice_pool.take(Buffer::default);
            let room = bytemuck::cast_slice_mut(slices.room(rows * slice_len * size_of::<f32>()));
            plan.fbp.execute(Sinograms::by_frame(&corrected, rows, shape.cols), room, &mut scratch)?;
            Ok(Made { first, slices, tally })
        },
        |made: Made| {
            let _busy = clock.start(2);
            let values = made.slices.bytes();
            let floats: &[f32] = bytemuck::cast_slice(values);
            let count = floats.len() / slice_len.max(1);
            let mut slab = Slab { first: made.first, slices: count, tally: made.tally, ..Slab::default() };
            slab.bad.look(made.first, floats, slice_len);
            let bytes = match &plan.request.grey {
                None => values,
                Some(map) => {
                    let size = slice_len * plan.create.dtype.size();
                    greys.resize(values.len() / (slice_len * 4) * size, 0);
                    let slices = greys.par_chunks_mut(size).zip(values.par_chunks(slice_len * 4));
                    let met = slices.map(|(out, v)| map.convert(DType::F32, v, out, None));
                    slab.grey = met.reduce(quantise::Tally::default, quantise::Tally::merge);
                    &greys
                }
            };
            if let Some(h) = &mut hash {
                h.update(bytes);
            }
            sink.put(made.first, bytes)?;
            if let Some(journal) = journal.as_mut() {
                journal.add(&slab)?;
            }
            slabs.push(slab);
            progress.advance(bytes.len() as u64);
            progress.count(count as u64, "slices");
            progress.limited_by(clock.limiting());
            slice_pool.give(made.slices);
            Ok(())
        },
    )
}

/// Reads the volume back and compares its hash with that of what was written.
fn verify(plan: &Plan, output: &Path, expected: &str, progress: &dyn Progress, cancel: &Cancel) -> Result<()> {
    let volume = read_back(plan, output)?;
    let source = &*volume.source;
    if (source.shape(), source.dtype()) != (plan.shape, plan.create.dtype) {
        return Err(Error::file(output, "the volume reads back with another shape or type")
            .expected(format!("{} {}", plan.shape, plan.create.dtype.name()))
            .found(format!("{} {}", source.shape(), source.dtype().name())));
    }
    let frame = plan.shape.frame_len() * plan.create.dtype.size();
    progress.begin("verifying", (plan.shape.frames * frame) as u64);
    let mut hash = Sha256::new();
    let mut buffer = Vec::new();
    let step = plan.band_rows.max(1);
    for first in (0..plan.shape.frames).step_by(step) {
        cancel.check()?;
        let frames = first..(first + step).min(plan.shape.frames);
        buffer.resize(frames.len() * frame, 0);
        source.read(&Region::of_frames(plan.shape, frames), &mut buffer)?;
        hash.update(&buffer);
        progress.advance(buffer.len() as u64);
    }
    progress.end();
    let found: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    if found != expected {
        return Err(Error::file(output, "the volume reads back differently from what was written")
            .expected(expected)
            .found(found)
            .hint("do not trust this disk: write the volume to another one"));
    }
    Ok(())
}
