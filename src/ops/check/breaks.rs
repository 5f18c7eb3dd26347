//! Slabs in the wrong place: where two neighbours differ far more than any around them, and yet have the same greys, one of
//! them belongs elsewhere, or is turned or shifted, and so do the slices behind it. A sample that ends, or lies on another
//! one, has other greys there.

use super::exchanged::{distance, weighing};
use super::volume::SliceFacts;
use super::{Finding, Kind, Weight};

/// A break is this many times as far as any pair around it, and as the middle pair of the volume; squared.
const TIMES: f64 = 5.0;
/// Pairs around it, on either side: a slab of two slices has its borders two apart.
const AROUND: usize = 1;
/// Neighbours elsewhere correlate by this at least.
const LIKE: f64 = 0.7;
/// Part of the points that must make up the difference: a flat face of a grain that comes or goes is less.
const WIDE: f64 = 0.25;
/// Mean, of the spread, and spread agree within this on both sides.
const SAME: f64 = 0.15;
/// Two slabs that are exchanged have four borders; what has more is a sample of layers.
const MOST: usize = 4;
/// Fewer slices do not tell what is usual.
const FEWEST: usize = 16;
/// Reduced pictures with fewer points scatter too much.
const POINTS: usize = 64;

/// Mean and spread of a reduced picture.
fn greys(s: &SliceFacts) -> (f64, f64) {
    let n = s.thumb.len().max(1) as f64;
    let mean = s.thumb.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    (mean, (s.thumb.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n).sqrt())
}

fn median(of: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = of.collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// The findings. `slices` are all slices, in order; `twins` are repetitions of others.
pub fn findings(slices: &[SliceFacts], twins: &[usize]) -> Vec<Finding> {
    let good: Vec<&SliceFacts> = slices.iter().filter(|s| !s.bad && !twins.contains(&s.z)).collect();
    if good.len() < FEWEST || good[0].thumb.len() < POINTS {
        return Vec::new();
    }
    let all: Vec<(f64, f64)> = good.iter().map(|s| greys(s)).collect();
    let steps: Vec<f64> = good.windows(2).map(|w| distance(w[0], w[1])).collect();
    // From the distance of two pictures of the same mean and spread.
    let likeness = |k: usize| {
        let ((m, s), (n, t)) = (all[k], all[k + 1]);
        let apart = steps[k] - (m - n).powi(2);
        if s * t > 0.0 { (s * s + t * t - apart) / (2.0 * s * t) } else { 0.0 }
    };
    let like = median((0..steps.len()).map(likeness));
    let usual = median(steps.iter().copied());
    if like < LIKE || usual <= 0.0 {
        return Vec::new();
    }
    let is_break = |k: &usize| {
        let k = *k;
        let around = k.saturating_sub(AROUND)..(k + AROUND + 1).min(steps.len());
        let most = around.filter(|i| *i != k).map(|i| steps[i]).fold(usual, f64::max);
        let ((m, s), (n, t)) = (all[k], all[k + 1]);
        let same = (m - n).abs() < SAME * s.min(t) && (s - t).abs() < SAME * s.min(t);
        let beside = good[k].z + 1 == good[k + 1].z;
        let wide = || weighing(good[k], good[k + 1]) > WIDE * good[k].thumb.len() as f64;
        beside && steps[k] > TIMES * most && same && wide()
    };
    // The first and the last slice alone are looked at elsewhere.
    let breaks: Vec<usize> = (1..steps.len() - 1).filter(is_break).collect();
    if breaks.len() > MOST {
        return Vec::new();
    }
    (breaks.into_iter())
        .map(|k| {
            let (a, b) = (good[k].z, good[k + 1].z);
            let text = format!(
                "the picture breaks off between slices {a} and {b}: they differ {:.0} times more than is usual, at the same \
                 greys: was a part of the volume shifted, turned or put elsewhere?",
                (steps[k] / usual).sqrt()
            );
            Finding::new(Kind::Stranger, Weight::Suspicious, text).at(a..b + 1)
        })
        .collect()
}
