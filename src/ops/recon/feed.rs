//! A band of detector rows on its way from the file to −log projections: raw rows with averaged flats and darks first
//! (the reading stage), then correction and what makes slices' rows of them
//! (the computing stage). The same values whatever the band.

use super::Request;
use super::bands::{read_rows, runs, sized};
use super::gather::{Gather, Lines};
use crate::correct::{Bad, Combine, Corrector, Counts, Flat, LogOptions, combine};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tomokit_formats::model::RefSet;
use tomokit_formats::{FrameSource, Region, Result, Scan};

/// Values that could not be taken as they were.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Values corrected (rows that several bands need count in each).
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

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, o: Self) {
        self.total += o.total;
        self.clipped += o.clipped;
        self.nan += o.nan;
        self.dead += o.dead;
        self.bad_voxels += o.bad_voxels;
    }
}

/// A band as read.
pub(super) struct Raw {
    /// Rows wanted.
    pub rows: Vec<usize>,
    /// Rows read, where the wanted ones are made of others.
    fetched: Option<Vec<usize>>,
    /// Raw projections, `[frame][row][column]`.
    pub data: Vec<u8>,
    flats: Vec<Flat>,
    dark: Option<Vec<f32>>,
}

/// How bands of one scan are read and corrected.
pub(super) struct Feed<'a> {
    scan: &'a Scan,
    flats: Combine,
    darks: Combine,
    log: LogOptions,
    gather: Option<&'a Gather>,
}

impl<'a> Feed<'a> {
    pub fn new(scan: &'a Scan, request: &'a Request, zero_clip: f64, gather: Option<&'a Gather>) -> Feed<'a> {
        let log = LogOptions { zero_clip: zero_clip as f32, bad: Bad::Transparent, ..LogOptions::default() };
        Feed { scan, flats: request.flats, darks: request.darks, log, gather }
    }

    /// Reads the rows of all projections into `data`, and what corrects them. `scattered` serves lists with gaps.
    pub fn read(&self, rows: &[usize], mut data: Vec<u8>, scattered: &mut Vec<u8>) -> Result<Raw> {
        let source = &*self.scan.projections;
        let fetched = self.gather.map(|g| g.rows_for(rows));
        let wanted = fetched.as_deref().unwrap_or(rows);
        read_rows(source, wanted, &mut data, scattered)?;
        let mut flats = Vec::new();
        for set in &self.scan.flats {
            let frame = averaged(set, wanted, self.flats)?;
            flats.push(Flat { position: set.position.0, frame, current: None });
        }
        let dark = dark(self.scan, wanted, self.darks)?;
        Ok(Raw { rows: rows.to_vec(), fetched, data, flats, dark })
    }

    /// Makes −log projections, once, of the wanted rows in `out`, `[frame][row][column]`. `wide` serves rows that are
    /// made of others.
    pub fn correct(&self, raw: &mut Raw, wide: &mut Vec<f32>, out: &mut Vec<f32>) -> Result<Tally> {
        let shape = self.scan.projections.shape();
        let (Some(gather), Some(fetched)) = (self.gather, raw.fetched.take()) else {
            return self.plain(raw, raw.rows.len(), out);
        };
        let fetched = fetched.as_slice();
        let tally = self.plain(raw, fetched.len(), wide)?;
        sized(out, shape.frames * raw.rows.len() * shape.cols);
        let frames = out.par_chunks_mut(raw.rows.len() * shape.cols).zip(wide.par_chunks(fetched.len() * shape.cols));
        let rows = &raw.rows;
        let make = |l: &mut Lines, (k, (out, from)): (usize, (&mut [f32], &[f32]))| {
            gather.rows_of(k, rows, fetched, from, out, l);
        };
        frames.enumerate().for_each_init(Lines::default, make);
        Ok(tally)
    }

    fn plain(&self, raw: &mut Raw, rows: usize, out: &mut Vec<f32>) -> Result<Tally> {
        let source = &*self.scan.projections;
        let (shape, size) = (source.shape(), source.dtype().size());
        let len = rows * shape.cols;
        sized(out, shape.frames * len);
        let mut tally = Tally::default();
        if self.scan.is_attenuation {
            source.dtype().to_f32(&raw.data, out);
            tally.total = out.len() as u64;
            return Ok(tally);
        }
        let corrector = Corrector::new(len, std::mem::take(&mut raw.flats), raw.dark.take(), self.log)?;
        let frames = out.par_chunks_mut(len).zip(raw.data.par_chunks(len * size)).enumerate();
        let counts = frames.map(|(k, (out, bytes))| -> Result<Counts> {
            source.dtype().to_f32(bytes, out);
            corrector.apply(k as f64, None, out)
        });
        // Collected in order: integer sums, so any order would do, but errors should be the first frame's.
        for c in counts.collect::<Vec<_>>() {
            let c = c?;
            tally += Tally { total: c.values, clipped: c.low, nan: c.not_finite, dead: c.dead_flat, bad_voxels: 0 };
        }
        Ok(tally)
    }
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
