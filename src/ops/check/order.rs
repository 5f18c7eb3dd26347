//! Slices in the wrong place: the same one twice, two exchanged, one that belongs elsewhere. Equal slices are found by their
//! fingerprints and compared byte by byte; the order by reduced pictures, in which noise is averaged
//! out (`exchanged.rs`).

use super::normal::Normal;
use super::values::MOST;
use super::volume::{PICTURE, SliceFacts};
use super::{Finding, Kind, Weight, breaks, exchanged};
use std::collections::HashMap;
use tomokit_formats::{FrameSource, Region, Result};

/// The findings. `slices` are all slices of the volume, in order.
pub fn findings(slices: &[SliceFacts], normal: &Normal, source: &dyn FrameSource) -> Result<Vec<Finding>> {
    if normal.sparse || slices.first().is_none_or(|s| s.voxels < PICTURE as u64) {
        return Ok(Vec::new());
    }
    let (mut out, twins) = duplicates(slices, normal, source)?;
    let moved = exchanged::findings(slices, &twins);
    if moved.is_empty() && !normal.flat {
        out.extend(breaks::findings(slices, &twins));
    }
    out.extend(moved);
    Ok(out)
}

/// Frames of a scan that are there twice. They are not smooth along the angle as slices are along z: nothing is said of
/// their order. Frames of less than `least` pixels are not compared.
pub fn repeats(frames: &[SliceFacts], normal: &Normal, source: &dyn FrameSource, least: usize) -> Result<Vec<Finding>> {
    match frames.first() {
        Some(f) if f.voxels >= least as u64 => Ok(duplicates(frames, normal, source)?.0),
        _ => Ok(Vec::new()),
    }
}

/// Equal slices, first of each group and the others.
fn duplicates(slices: &[SliceFacts], normal: &Normal, source: &dyn FrameSource) -> Result<(Vec<Finding>, Vec<usize>)> {
    // Drawings repeat themselves.
    if normal.flat {
        return Ok((Vec::new(), Vec::new()));
    }
    let mut by_print: HashMap<(u64, u64), usize> = HashMap::new();
    let mut out = Vec::new();
    let mut twins = Vec::new();
    for s in slices.iter().filter(|s| !s.constant() && s.zeros < s.voxels) {
        let Some(first) = by_print.get(&(s.print, s.sum.to_bits())).copied() else {
            by_print.insert((s.print, s.sum.to_bits()), s.z);
            continue;
        };
        if twins.len() < MOST && !same(source, first, s.z)? {
            continue;
        }
        twins.push(s.z);
        if out.len() < MOST {
            let text = format!("slice {} is slice {first} again, byte for byte", s.z);
            let file = super::zeros::file_of(source, &(s.z..s.z + 1));
            let f = Finding::new(Kind::Duplicate, Weight::Broken, text).at(s.z..s.z + 1).file(file);
            out.push(Finding { twin: Some(first), ..f });
        }
    }
    if twins.len() > out.len() {
        let text = format!("{} slices are repetitions of others", twins.len());
        out.push(Finding::new(Kind::Duplicate, Weight::Broken, text));
    }
    Ok((out, twins))
}

fn same(source: &dyn FrameSource, a: usize, b: usize) -> Result<bool> {
    let shape = source.shape();
    let n = shape.frame_len() * source.dtype().size();
    let (mut x, mut y) = (vec![0u8; n], vec![0u8; n]);
    source.read(&Region::of_frames(shape, a..a + 1), &mut x)?;
    source.read(&Region::of_frames(shape, b..b + 1), &mut y)?;
    Ok(x == y)
}
