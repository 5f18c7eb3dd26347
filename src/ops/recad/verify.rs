//! Reads the output back and compares every voxel with the input by the formula alone, without the converting code:
//! inside the limits the value read back lies within half a grey step (one step with dithering), everything else is the
//! grey the rules name. This is what stands between `--remove-input` and a loss.

use super::Plan;
use super::passes::{converted, parts};
use crate::quantise::{GreyMap, NonFinite};
use crate::stream::{Blocks, Cancel, Progress, both};
use rayon::prelude::*;
use std::path::Path;
use tomokit_formats::registry::open_volume;
use tomokit_formats::{Error, OpenOptions, Result};

/// The largest difference inside the limits, in grey steps.
pub(super) fn verify(
    plan: &Plan,
    map: &GreyMap,
    output: &Path,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<f64> {
    let options = OpenOptions { format: Some(plan.writer.name.to_owned()), ..Default::default() };
    let (back, _) = open_volume(output, &options)?;
    let back = back.source;
    let (shape, grey_type) = (plan.shape, plan.depth.dtype());
    if back.shape() != shape || back.dtype() != grey_type {
        return Err(Error::file(output, "the output reads back with another shape or type")
            .expected(format!("{shape} {}", grey_type.name()))
            .found(format!("{} {}", back.shape(), back.dtype().name())));
    }
    let (in_row, out_row) = (shape.cols * plan.dtype.size(), shape.cols * grey_type.size());
    progress.begin("verifying", (shape.frames * shape.rows * in_row) as u64);
    let (written, given) = (Blocks::new(&*back), Blocks::new(&*plan.source.source));
    let mut worst = 0f64;
    for frames in parts(plan) {
        cancel.check()?;
        let (g, v) = both(|| written.read(frames.clone()), || given.read(frames.clone()))?;
        let (greys, values) = (written.bytes(&g)?, given.bytes(&v)?);
        let found: Vec<Result<f64, usize>> = values
            .par_chunks_exact(in_row)
            .zip(greys.par_chunks_exact(out_row))
            .enumerate()
            .map(|(line, (v, g))| row(plan, map, line % shape.rows, v, g))
            .collect();
        for (line, r) in found.into_iter().enumerate() {
            match r {
                Ok(d) => worst = worst.max(d),
                Err(col) => {
                    let (z, y) = (frames.start + line / shape.rows, line % shape.rows);
                    return Err(Error::file(output, format!("the voxel x {col}, y {y}, z {z} reads back wrong"))
                        .hint("do not trust this disk: the input was kept, write the output to another one"));
                }
            }
        }
        progress.advance(values.len() as u64);
        written.done(g);
        given.done(v);
    }
    progress.end();
    Ok(worst)
}

/// The largest difference of a row in grey steps, or the first column that is wrong.
fn row(plan: &Plan, map: &GreyMap, row: usize, values: &[u8], greys: &[u8]) -> Result<f64, usize> {
    let cols = plan.shape.cols;
    let (mut v, mut g) = (vec![0f64; cols], vec![0f64; cols]);
    plan.dtype.to_f64(values, &mut v);
    plan.depth.dtype().to_f64(greys, &mut g);
    let keep = converted(plan, row, values);
    let ((low, high), top) = (map.limits(), f64::from(plan.depth.top()));
    let step = (high - low) / top;
    // Rounding of the arithmetic itself, of the size of the limits.
    let noise = 8.0 * f64::EPSILON * low.abs().max(high.abs()) / step + 1e-9;
    let allowed = if plan.dither.is_some() { 1.0 } else { 0.5 } + noise;
    let mut worst = 0f64;
    for (i, (&v, &g)) in v.iter().zip(&g).enumerate() {
        let expected = if !keep.contains(&i) || v.is_nan() {
            0.0
        } else if v == f64::INFINITY {
            if plan.non_finite == NonFinite::Clip { top } else { 0.0 }
        } else if v < low {
            0.0
        } else if v > high {
            top
        } else {
            let off = (v - (low + g * step)).abs() / step;
            if off > allowed {
                return Err(i);
            }
            worst = worst.max(off);
            continue;
        };
        if g != expected {
            return Err(i);
        }
    }
    Ok(worst)
}
