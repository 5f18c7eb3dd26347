//! Carries a plan out: bands through read | correct and reconstruct | write.

use super::check::BadSlices;
use super::clock::Clock;
use super::feed::{Feed, Tally};
use super::plan::{Plan, read_back};
use super::provenance;
use crate::quantise;
use crate::recon::Sinograms;
use crate::stream::{Cancel, Pool, Progress, run};
use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use tomokit_formats::{DType, Error, Fault, Region, Result, SliceSink};

/// What a reconstruction did.
#[derive(Clone, Debug, Serialize)]
pub struct Done {
    /// Final files or folders, the main one first.
    pub outputs: Vec<PathBuf>,
    /// Slices made by this run.
    pub slices: usize,
    /// Slices found from an earlier, interrupted run.
    pub resumed: usize,
    /// Counts.
    pub counts: Tally,
    /// Slices of this run that are all zero or hold voxels that are not finite.
    pub bad_slices: BadSlices,
    /// What was clipped on the way to grey values, where they were made.
    pub grey: Option<quantise::Tally>,
    /// SHA-256 of the voxels in file order, where verified.
    pub sha256: Option<String>,
    /// True where the volume was read back and its hash agrees.
    pub verified: bool,
    /// Wall time, seconds.
    pub seconds: f64,
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

/// What was met on the way.
#[derive(Default)]
struct Counted {
    tally: Tally,
    bad_slices: BadSlices,
    grey: quantise::Tally,
}

/// A band on its way out.
struct Made {
    first: usize,
    slices: Vec<f32>,
}

/// Reconstructs and writes.
pub fn execute(plan: &Plan, progress: &dyn Progress, cancel: &Cancel) -> Result<Done> {
    let create = plan.writer.create.ok_or_else(|| Error::caller("this format cannot be written"))?;
    let mut sink = create(&plan.output, &plan.create)?;
    let resumed = sink.stored().min(plan.shape.frames);
    if plan.request.verify && resumed > 0 {
        return Err(Error::caller("--verify needs every slice to be written by this run")
            .hint("run without --resume, or compare afterwards"));
    }
    let mut counted = Counted::default();
    let mut hash = plan.request.verify.then(Sha256::new);
    let streamed = stream(plan, &mut *sink, resumed, &mut counted, &mut hash, progress, cancel);
    progress.end();
    let timings = match streamed {
        Ok(t) => t,
        Err(e) => {
            if e.fault() == Fault::Interrupted || plan.create.resume {
                sink.keep_partial();
            }
            return Err(e);
        }
    };
    let mut outputs = sink.finish(None)?;
    let mut done = Done {
        outputs: Vec::new(),
        slices: plan.shape.frames - resumed,
        resumed,
        counts: counted.tally,
        sha256: hash.map(|h| h.finalize().iter().map(|b| format!("{b:02x}")).collect()),
        verified: false,
        seconds: timings.wall.as_secs_f64(),
        read_seconds: timings.read.as_secs_f64(),
        compute_seconds: timings.compute.as_secs_f64(),
        write_seconds: timings.write.as_secs_f64(),
        limited_by: timings.limiting(),
        grey: plan.request.grey.map(|_| counted.grey),
        warnings: warnings(&counted.tally).into_iter().chain(counted.bad_slices.describe()).collect(),
        bad_slices: counted.bad_slices,
    };
    if let Some(expected) = &done.sha256 {
        verify(plan, outputs.first().unwrap_or(&plan.output), expected, progress, cancel)?;
        done.verified = true;
    }
    outputs.push(provenance::write(plan, &done)?);
    done.outputs = outputs;
    Ok(done)
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
    let mut counted = Counted::default();
    let made = stream(plan, sink, 0, &mut counted, &mut None, progress, cancel);
    progress.end();
    made?;
    Ok(counted.bad_slices)
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

fn stream(
    plan: &Plan,
    sink: &mut dyn SliceSink,
    resumed: usize,
    counted: &mut Counted,
    hash: &mut Option<Sha256>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<crate::stream::Timings> {
    let scan = &plan.source;
    let shape = scan.projections.shape();
    let feed = Feed::new(scan, &plan.request, plan.zero_clip, plan.gather.as_ref());
    let todo = &plan.rows[resumed..];
    let bands = todo.chunks(plan.band_rows.max(1)).enumerate().map(|(i, rows)| (resumed + i * plan.band_rows, rows));

    let raw_pool = Pool::<Vec<u8>>::new();
    let slice_pool = Pool::<Vec<f32>>::new();
    let mut scattered = Vec::new();
    let (mut wide, mut corrected) = (Vec::new(), Vec::new());
    let mut scratch = plan.fbp.scratch_for(plan.band_rows, rayon::current_num_threads())?;
    let slice_len = plan.fbp.slice_len();
    let mut made_of = Tally::default();
    let clock = Clock::default();
    let mut greys: Vec<u8> = Vec::new();
    let Counted { tally, bad_slices, grey } = counted;

    progress.begin("reconstructing", (todo.len() * slice_len * plan.create.dtype.size()) as u64);
    let timings = run(
        bands,
        0,
        cancel,
        |(first, rows)| {
            let _busy = clock.start(0);
            Ok((first, feed.read(rows, raw_pool.take(Vec::new), &mut scattered)?))
        },
        |(first, mut raw)| {
            let _busy = clock.start(1);
            made_of += feed.correct(&mut raw, &mut wide, &mut corrected)?;
            let rows = raw.rows.len();
            raw_pool.give(raw.data);
            let mut slices = slice_pool.take(Vec::new);
            slices.resize(rows * slice_len, 0.0);
            plan.fbp.execute(Sinograms::by_frame(&corrected, rows, shape.cols), &mut slices, &mut scratch)?;
            Ok(Made { first, slices })
        },
        |made: Made| {
            let _busy = clock.start(2);
            let values: &[u8] = bytemuck::cast_slice(&made.slices);
            bad_slices.look(made.first, &made.slices, slice_len);
            let bytes = match &plan.request.grey {
                None => values,
                Some(map) => {
                    let size = slice_len * plan.create.dtype.size();
                    greys.resize(values.len() / (slice_len * 4) * size, 0);
                    let slices = greys.par_chunks_mut(size).zip(values.par_chunks(slice_len * 4));
                    let met = slices.map(|(out, v)| map.convert(DType::F32, v, out, None));
                    *grey = grey.merge(met.reduce(quantise::Tally::default, quantise::Tally::merge));
                    &greys
                }
            };
            if let Some(h) = hash {
                h.update(bytes);
            }
            sink.put(made.first, bytes)?;
            progress.advance(bytes.len() as u64);
            progress.limited_by(clock.limiting());
            slice_pool.give(made.slices);
            Ok(())
        },
    )?;
    *tally = Tally { bad_voxels: bad_slices.bad_voxels(), ..made_of };
    Ok(timings)
}

/// Reads the volume back and compares its hash with that of what was written.
fn verify(
    plan: &Plan,
    output: &std::path::Path,
    expected: &str,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<()> {
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
