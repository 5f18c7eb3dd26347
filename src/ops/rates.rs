//! What this machine does per second, measured on the spot: disk, correction, reconstruction. Used by `tomo bench` and by
//! the floor times of `tomo recon --explain`. Short measurements: good to perhaps 10 %, less while other programs run.

use crate::correct::{Corrector, Flat, LogOptions};
use crate::recon::{FbpPlan, Sinograms};
use crate::stream::Cancel;
use rayon::prelude::*;
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant};
use tomokit_formats::{Error, Result, io};

/// Time worth spending on one number.
const ENOUGH: Duration = Duration::from_millis(250);
/// Block of the disk test.
const BLOCK: usize = 8 << 20;

/// How fast a folder's disk is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct DiskRate {
    /// Bytes of the test file.
    pub bytes: u64,
    /// Writing, the final sync included, bytes per second.
    pub write_per_s: f64,
    /// Reading it back, bytes per second.
    pub read_per_s: f64,
    /// True where the system could not be asked to forget the file first: the rate may be that of memory.
    pub read_from_cache: bool,
}

/// Writes, syncs and reads back a nameless temporary file.
///
/// # Errors
/// What the system says: no such folder, no room.
pub fn disk(folder: &Path, bytes: u64, cancel: &Cancel) -> Result<DiskRate> {
    let failed = |what: &'static str| move |e: std::io::Error| Error::io(folder, what, e);
    let file = tempfile::tempfile_in(folder).map_err(failed("making a test file"))?;
    // Values that no disk compresses away.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut block: Vec<u8> = Vec::with_capacity(BLOCK);
    while block.len() < BLOCK {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        block.extend(state.to_le_bytes());
    }
    let blocks = (bytes / BLOCK as u64).max(1);
    let start = Instant::now();
    for i in 0..blocks {
        cancel.check()?;
        io::write_all_at(&file, &block, i * BLOCK as u64).map_err(failed("writing a test file"))?;
    }
    file.sync_all().map_err(failed("syncing a test file"))?;
    let write = start.elapsed();
    let forgotten = io::forget_cached(&file);
    let start = Instant::now();
    for i in 0..blocks {
        cancel.check()?;
        let mut done = 0;
        while done < BLOCK {
            let at = i * BLOCK as u64 + done as u64;
            match io::read_at(&file, &mut block[done..], at).map_err(failed("reading a test file"))? {
                0 => return Err(Error::file(folder, "a test file is shorter than what was written to it")),
                n => done += n,
            }
        }
    }
    let per_s = |t: Duration| (blocks * BLOCK as u64) as f64 / t.as_secs_f64().max(1e-9);
    Ok(DiskRate {
        bytes: blocks * BLOCK as u64,
        write_per_s: per_s(write),
        read_per_s: per_s(start.elapsed()),
        read_from_cache: !forgotten,
    })
}

/// Seconds per slice of a plan on the current threads, in the batches that suit it.
///
/// # Errors
/// Not enough memory for a batch.
pub fn slice_seconds(fbp: &FbpPlan, cancel: &Cancel) -> Result<f64> {
    let g = fbp.geometry();
    let (angles, cols) = (g.angles_rad.len(), g.cols);
    let batch = fbp.lanes();
    // A disc: neither constant nor full of numbers that are slow to compute with.
    let row: Vec<f32> = (0..cols)
        .map(|u| {
            let x = (u as f64 - g.rotation_axis_px) / (0.45 * cols as f64);
            (1.0 - x * x).max(0.0).sqrt() as f32
        })
        .collect();
    let sinograms: Vec<f32> = row.iter().copied().cycle().take(batch * angles * cols).collect();
    let mut slices = vec![0f32; batch * fbp.slice_len()];
    let mut scratch = fbp.scratch_for(batch, rayon::current_num_threads())?;
    let mut once = || -> Result<Duration> {
        cancel.check()?;
        let t = Instant::now();
        fbp.execute(Sinograms::by_slice(&sinograms, batch, angles, cols), &mut slices, &mut scratch)?;
        Ok(t.elapsed())
    };
    // The first run touches the memory; a long one is good enough as it is.
    let mut best = once()?;
    let mut spent = Duration::ZERO;
    let mut runs = 0;
    while best < 4 * ENOUGH && (runs < 2 || spent < ENOUGH) {
        let t = once()?;
        best = best.min(t);
        spent += t;
        runs += 1;
    }
    Ok(best.as_secs_f64() / batch as f64)
}

/// Values corrected per second on the current threads: conversion from 16 bits, flats, dark, logarithm.
pub fn corrected_per_s() -> Result<f64> {
    const LEN: usize = 64 << 10;
    const FRAMES: usize = 64;
    let flat = |position| Flat { position, frame: vec![30_000.0; LEN], current: None };
    let corrector =
        Corrector::new(LEN, vec![flat(0.0), flat(FRAMES as f64)], Some(vec![100.0; LEN]), LogOptions::default())?;
    let raw: Vec<u16> = (0..LEN * FRAMES).map(|i| 10_000 + (i % 9973) as u16).collect();
    let mut out = vec![0f32; raw.len()];
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let t = Instant::now();
        out.par_chunks_mut(LEN).zip(raw.par_chunks(LEN)).enumerate().try_for_each(|(k, (out, raw))| {
            tomokit_formats::DType::U16.to_f32(bytemuck::cast_slice(raw), out);
            corrector.apply(k as f64, None, out).map(|_| ())
        })?;
        best = best.min(t.elapsed().as_secs_f64());
    }
    Ok(raw.len() as f64 / best.max(1e-9))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recon::{Geometry, Options};

    #[test]
    fn rates_are_positive_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let d = disk(dir.path(), 1, &Cancel::default()).unwrap();
        assert_eq!(d.bytes, BLOCK as u64);
        assert!(d.write_per_s > 1e5 && d.read_per_s > 1e5, "{d:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(disk(&dir.path().join("none"), 1, &Cancel::default()).is_err());
        let g = Geometry::new(32, Geometry::uniform_angles(20, 3.0), 15.5);
        let fbp = FbpPlan::new(&g, &Options::default()).unwrap();
        let s = slice_seconds(&fbp, &Cancel::default()).unwrap();
        assert!(s > 0.0 && s < 1.0, "{s}");
        assert!(corrected_per_s().unwrap() > 1e5);
        let stopped = Cancel::default();
        stopped.cancel();
        assert!(slice_seconds(&fbp, &stopped).is_err());
    }
}
