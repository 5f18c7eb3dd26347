//! Slices in the wrong place: the same one twice, two exchanged, one that belongs elsewhere. Equal slices are found by
//! their fingerprints and compared byte by byte; the order by reduced pictures, in which noise is averaged out.
//!
//! Distances are mean squared differences of reduced pictures. In a volume that is smooth along z the neighbour is
//! nearer than the one after it (ratio 1/4), in one that is not they are equally far (ratio 1): never much farther.

use super::normal::Normal;
use super::values::MOST;
use super::volume::{PICTURE, SliceFacts};
use super::{Finding, Kind, Weight};
use std::collections::HashMap;
use tomokit_formats::{FrameSource, Region, Result};

/// Both neighbours are this many times farther than they are from each other: a stranger between them. 1 is where a
/// volume of pure noise lies; its pictures of 1024 points scatter by a tenth around it.
const STRANGER: f64 = 4.0;
/// Two neighbours, exchanged, would cost this many times less.
const EXCHANGED: f64 = 2.0;
/// Reduced pictures with fewer points scatter too much.
const POINTS: usize = 64;

/// The findings. `slices` are all slices of the volume, in order.
pub fn findings(slices: &[SliceFacts], normal: &Normal, source: &dyn FrameSource) -> Result<Vec<Finding>> {
    if slices.first().is_none_or(|s| s.voxels < PICTURE as u64) {
        return Ok(Vec::new());
    }
    let (mut out, twins) = duplicates(slices, normal, source)?;
    out.extend(exchanged(slices, &twins));
    Ok(out)
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
            out.push(Finding::new(Kind::Duplicate, Weight::Broken, text).at(s.z..s.z + 1).file(file));
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

fn distance(a: &SliceFacts, b: &SliceFacts) -> f64 {
    let sum: f64 = a.thumb.iter().zip(&b.thumb).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    sum / a.thumb.len().max(1) as f64
}

/// Slices that do not fit between their neighbours, and what would make them fit.
fn exchanged(slices: &[SliceFacts], twins: &[usize]) -> Vec<Finding> {
    // What is wrong for another reason says nothing about the order.
    let good: Vec<&SliceFacts> = slices.iter().filter(|s| !s.bad && !twins.contains(&s.z)).collect();
    let n = good.len();
    if n < 6 || good[0].thumb.len() < POINTS {
        return Vec::new();
    }
    let d = |i: usize, j: usize| distance(good[i], good[j]);
    let near: Vec<f64> = (0..n - 1).map(|i| d(i, i + 1)).collect();
    let next: Vec<f64> = (0..n - 2).map(|i| d(i, i + 2)).collect();
    let power = good.iter().map(|s| s.thumb.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>()).fold(0.0, f64::max)
        / good[0].thumb.len() as f64;
    // Differences below the rounding of sums in single precision are none.
    let floor = power * 1e-10;
    let mut strangers: Vec<usize> = Vec::new();
    for i in 1..n - 1 {
        if near[i - 1].min(near[i]) > STRANGER * next[i - 1].max(floor) {
            strangers.push(i);
        }
    }
    let mut pairs: Vec<usize> = Vec::new();
    for i in 1..n.saturating_sub(2) {
        let now = near[i - 1] + near[i + 1];
        let then = next[i - 1] + next[i];
        if now > EXCHANGED * then.max(floor) && near[i].min(near[i - 1]).min(near[i + 1]) > floor {
            pairs.push(i);
        }
    }
    // Where this is common, slices alternate (channels, times): that is their order.
    if strangers.len() * 20 > n.max(40) || pairs.len() * 20 > n.max(40) {
        return Vec::new();
    }
    let mut out = Vec::new();
    let mut settled: Vec<usize> = Vec::new();
    for (k, &i) in strangers.iter().enumerate() {
        if settled.contains(&i) {
            continue;
        }
        // Would another stranger fit here, and this one there?
        let around = |at: usize, who: usize| d(at - 1, who) + d(who, at + 1);
        let partner = strangers[k + 1..].iter().copied().find(|&j| {
            j > i + 1 && !settled.contains(&j) && 2.0 * (around(i, j) + around(j, i)) < around(i, i) + around(j, j)
        });
        let z = good[i].z;
        match partner {
            Some(j) => {
                settled.extend([i, j]);
                let text = format!("slices {z} and {} are exchanged: each fits where the other is", good[j].z);
                out.push(Finding::new(Kind::Swapped, Weight::Broken, text.clone()).at(z..z + 1));
                out.push(Finding::new(Kind::Swapped, Weight::Broken, text).at(good[j].z..good[j].z + 1));
            }
            None if !pairs.iter().any(|p| (p - 1..p + 3).contains(&i)) => {
                let far = near[i - 1].min(near[i]) / next[i - 1].max(floor);
                let text = format!(
                    "slice {z} does not fit between its neighbours: it differs from both {:.0} times more than they from each other",
                    far.sqrt()
                );
                out.push(Finding::new(Kind::Stranger, Weight::Suspicious, text).at(z..z + 1));
                settled.push(i);
            }
            None => {}
        }
    }
    for &i in &pairs {
        if settled.iter().any(|s| s.abs_diff(i) <= 2) {
            continue;
        }
        settled.extend([i, i + 1]);
        let (a, b) = (good[i].z, good[i + 1].z);
        let text = format!("slices {a} and {b} are exchanged: the other order is smoother");
        out.push(Finding::new(Kind::Swapped, Weight::Broken, text).at(a..b + 1));
    }
    out
}
