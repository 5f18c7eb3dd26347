//! Carries a plan out: bands through read | correct and reconstruct | write.

use super::bands::{read_rows, runs};
use super::plan::{Plan, read_back};
use super::provenance;
use crate::correct::{Bad, Combine, Corrector, Counts, Flat, LogOptions, combine};
use crate::recon::Sinograms;
use crate::stream::{Cancel, Pool, Progress, run};
use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use tomokit_formats::model::RefSet;
use tomokit_formats::{Error, Fault, FrameSource, Region, Result, Scan, SliceSink};

/// Values that could not be taken as they were.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Tally {
    /// Values corrected.
    pub total: u64,
    /// Transmissions at or below the clip value.
    pub clipped: u64,
    /// Raw values that are not finite.
    pub nan: u64,
    /// Values under a flat that is not brighter than the dark; taken as transparent.
    pub dead: u64,
    /// Reconstructed voxels that are not finite.
    pub bad_voxels: u64,
}

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

/// A band on its way in: raw projections, and references already averaged.
struct Raw {
    first: usize,
    rows: usize,
    data: Vec<u8>,
    flats: Vec<Flat>,
    dark: Option<Vec<f32>>,
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
    let mut tally = Tally::default();
    let mut hash = plan.request.verify.then(Sha256::new);
    let streamed = stream(plan, &mut *sink, resumed, &mut tally, &mut hash, progress, cancel);
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
        counts: tally,
        sha256: hash.map(|h| h.finalize().iter().map(|b| format!("{b:02x}")).collect()),
        verified: false,
        seconds: timings.wall.as_secs_f64(),
        read_seconds: timings.read.as_secs_f64(),
        compute_seconds: timings.compute.as_secs_f64(),
        write_seconds: timings.write.as_secs_f64(),
        limited_by: timings.limiting(),
        warnings: warnings(&tally),
    };
    if let Some(expected) = &done.sha256 {
        verify(plan, outputs.first().unwrap_or(&plan.output), expected, progress, cancel)?;
        done.verified = true;
    }
    outputs.push(provenance::write(plan, &done)?);
    done.outputs = outputs;
    Ok(done)
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
    if t.bad_voxels > 0 {
        w.push(format!("{} voxels are not finite", t.bad_voxels));
    }
    w
}

fn stream(
    plan: &Plan,
    sink: &mut dyn SliceSink,
    resumed: usize,
    tally: &mut Tally,
    hash: &mut Option<Sha256>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<crate::stream::Timings> {
    let scan = &plan.source;
    let source = &*scan.projections;
    let shape = source.shape();
    let log = LogOptions { zero_clip: plan.zero_clip as f32, bad: Bad::Transparent, ..LogOptions::default() };
    let todo = &plan.rows[resumed..];
    let bands = todo.chunks(plan.band_rows.max(1)).enumerate().map(|(i, rows)| (resumed + i * plan.band_rows, rows));

    let raw_pool = Pool::<Vec<u8>>::new();
    let slice_pool = Pool::<Vec<f32>>::new();
    let mut scattered = Vec::new();
    let mut corrected: Vec<f32> = Vec::new();
    let mut scratch = plan.fbp.scratch_for(plan.band_rows, rayon::current_num_threads())?;
    let slice_len = plan.fbp.slice_len();
    let mut made_of = Tally::default();
    let mut bad_voxels = 0;

    progress.begin("reconstructing", (todo.len() * slice_len * 4) as u64);
    let timings = run(
        bands,
        0,
        cancel,
        |(first, rows)| {
            let mut data = raw_pool.take(Vec::new);
            read_rows(source, rows, &mut data, &mut scattered)?;
            let flats = scan
                .flats
                .iter()
                .map(|set| {
                    Ok(Flat {
                        position: set.position.0,
                        frame: averaged(set, rows, plan.request.flats)?,
                        current: None,
                    })
                })
                .collect::<Result<Vec<_>>>()?;
            Ok(Raw { first, rows: rows.len(), data, flats, dark: dark(scan, rows, plan.request.darks)? })
        },
        |raw: Raw| {
            let len = raw.rows * shape.cols;
            corrected.resize(shape.frames * len, 0.0);
            let size = source.dtype().size();
            if scan.is_attenuation {
                source.dtype().to_f32(&raw.data, &mut corrected);
                made_of.total += corrected.len() as u64;
            } else {
                let corrector = Corrector::new(len, raw.flats, raw.dark, log)?;
                let frames = corrected.par_chunks_mut(len).zip(raw.data.par_chunks(len * size)).enumerate();
                let counts = frames.map(|(k, (out, bytes))| -> Result<Counts> {
                    source.dtype().to_f32(bytes, out);
                    corrector.apply(k as f64, None, out)
                });
                // Collected in order: integer sums, so any order would do, but errors should be the first frame's.
                for c in counts.collect::<Vec<_>>() {
                    let c = c?;
                    made_of.total += c.values;
                    made_of.clipped += c.low;
                    made_of.nan += c.not_finite;
                    made_of.dead += c.dead_flat;
                }
            }
            raw_pool.give(raw.data);
            let mut slices = slice_pool.take(Vec::new);
            slices.resize(raw.rows * slice_len, 0.0);
            plan.fbp.execute(Sinograms::by_frame(&corrected, raw.rows, shape.cols), &mut slices, &mut scratch)?;
            Ok(Made { first: raw.first, slices })
        },
        |made: Made| {
            let bytes: &[u8] = bytemuck::cast_slice(&made.slices);
            if let Some(h) = hash {
                h.update(bytes);
            }
            bad_voxels += made.slices.par_iter().filter(|v| !v.is_finite()).count() as u64;
            sink.put(made.first, bytes)?;
            progress.advance(bytes.len() as u64);
            slice_pool.give(made.slices);
            Ok(())
        },
    )?;
    *tally = Tally { bad_voxels, ..made_of };
    Ok(timings)
}

/// One frame's rows out of a set: its average if it is one already, else combined pixel by pixel.
fn averaged(set: &RefSet, rows: &[usize], how: Combine) -> Result<Vec<f32>> {
    let frames = band_of(&*set.source, rows).map_err(|e| e.or_path(&set.origin))?;
    let n = set.source.shape().frames.max(1);
    let len = frames.len() / n;
    if n == 1 {
        return Ok(frames);
    }
    let views: Vec<&[f32]> = frames.chunks_exact(len).collect();
    let mut out = vec![0f32; len];
    combine(&views, how, &mut out)?;
    Ok(out)
}

/// The dark of the whole scan: all darks together, each set weighing as many frames as it has.
fn dark(scan: &Scan, rows: &[usize], how: Combine) -> Result<Option<Vec<f32>>> {
    if scan.darks.is_empty() {
        return Ok(None);
    }
    let mut sets = Vec::new();
    for set in &scan.darks {
        sets.push(band_of(&*set.source, rows).map_err(|e| e.or_path(&set.origin))?);
    }
    let len = rows.len() * scan.projections.shape().cols;
    let views: Vec<&[f32]> = sets.iter().flat_map(|s| s.chunks_exact(len)).collect();
    let mut out = vec![0f32; len];
    combine(&views, how, &mut out)?;
    Ok(Some(out))
}

/// The chosen rows of every frame of a set as `f32`, `[frame][row][column]`.
fn band_of(source: &dyn FrameSource, rows: &[usize]) -> Result<Vec<f32>> {
    let mut raw = Vec::new();
    read_rows(source, rows, &mut raw, &mut Vec::new())?;
    let mut out = vec![0f32; raw.len() / source.dtype().size()];
    source.dtype().to_f32(&raw, &mut out);
    Ok(out)
}

/// Corrected whole projections, for the axis search: −log of the `wanted` frames, cut to `rows`.
pub(super) fn corrected_frames(
    scan: &Scan,
    wanted: &[usize],
    rows: std::ops::Range<usize>,
    flats: Combine,
    darks: Combine,
    zero_clip: f64,
) -> Result<Vec<Vec<f32>>> {
    let source = &*scan.projections;
    let list: Vec<usize> = rows.clone().collect();
    debug_assert_eq!(runs(&list).count(), 1);
    let len = list.len() * source.shape().cols;
    let corrector = if scan.is_attenuation {
        None
    } else {
        let mut sets = Vec::new();
        for s in &scan.flats {
            sets.push(Flat { position: s.position.0, frame: averaged(s, &list, flats)?, current: None });
        }
        let log = LogOptions { zero_clip: zero_clip as f32, bad: Bad::Transparent, ..LogOptions::default() };
        Some(Corrector::new(len, sets, dark(scan, &list, darks)?, log)?)
    };
    let mut scratch = Vec::new();
    wanted
        .iter()
        .map(|&k| {
            let mut frame = vec![0f32; len];
            source.read_f32(&Region::of_rows(source.shape(), k..k + 1, rows.clone()), &mut scratch, &mut frame)?;
            if let Some(c) = &corrector {
                c.apply(k as f64, None, &mut frame)?;
            }
            Ok(frame)
        })
        .collect()
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
    if source.shape() != plan.shape {
        return Err(Error::file(output, "the volume reads back with another shape")
            .expected(plan.shape)
            .found(source.shape()));
    }
    let frame = plan.shape.frame_len() * 4;
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
