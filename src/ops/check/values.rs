//! Values that cannot be: not finite, constant slices, blocks of one value that is not zero; and whether the numbers in
//! the sidecar are those of the file.

use super::normal::Normal;
use super::volume::SliceFacts;
use super::zeros::{slices_are, slices_word};
use super::{Finding, Kind, Weight};
use std::ops::Range;
use tomokit_formats::DType;
use tomokit_formats::model::VolumeStats;

/// The findings about single slices; slices of less than `least` voxels are not compared.
pub fn findings(slices: &[SliceFacts], normal: &Normal, dtype: DType, least: usize) -> Vec<Finding> {
    let mut out = not_finite(slices);
    if slices.first().is_none_or(|s| s.voxels < least as u64) {
        return out;
    }
    let constant: Vec<usize> = slices.iter().filter(|s| s.constant()).map(|s| s.z).collect();
    // Where every slice is constant, that is what the file is: a mask, the darks of a camera that has none, a test
    // picture. What was lost reads as zero, and is found as such.
    if !constant.is_empty() && constant.len() == slices.len() {
        let text = "every slice holds one value only";
        out.push(Finding::new(Kind::Constant, Weight::Remark, text).at(0..slices.len()));
    } else {
        let weight = if normal.flat { Weight::Suspicious } else { Weight::Broken };
        for r in runs(&constant) {
            let mut levels = slices.iter().filter(|s| r.contains(&s.z)).map(|s| s.min);
            let value = levels.next().unwrap_or(0.0);
            let text = match levels.all(|v| v == value) {
                true => format!("{} constant: every voxel is {value}", slices_are(&r)),
                false => format!("{} constant: each holds one value only, the first {value}", slices_are(&r)),
            };
            out.push(Finding::new(Kind::Constant, weight, text).at(r));
        }
    }
    out.extend(equal_blocks(slices, normal, dtype));
    out.extend(noise(slices));
    out
}

/// Slices with rows without any pattern, where the rest has one.
pub fn without_pattern(slices: &[SliceFacts]) -> Vec<usize> {
    let odd: Vec<usize> = slices.iter().filter(|s| s.noise > 0).map(|s| s.z).collect();
    // Where that is common it is what the volume is: a test, or noise that was spread over all greys.
    if odd.len() * 4 > slices.len() { Vec::new() } else { odd }
}

fn noise(slices: &[SliceFacts]) -> Vec<Finding> {
    let odd = without_pattern(slices);
    (runs(&odd).into_iter().take(MOST))
        .map(|r| {
            let from = slices.iter().find(|s| s.z == r.start).and_then(|s| s.noise_from).unwrap_or(0);
            let text = format!(
                "numbers without any pattern in {}, over the whole range of the type, from about row {from} of slice {}: \
                 bytes of another file, or blocks that the disk lost",
                slices_word(&r),
                r.start
            );
            Finding::new(Kind::Stranger, Weight::Suspicious, text).at(r)
        })
        .collect()
}

/// The NaN of a mask around the field: as many as in most slices, and at the same places as far as these are kept.
fn mask(slices: &[SliceFacts]) -> Option<&SliceFacts> {
    let alike = |s: &SliceFacts| slices.iter().filter(|o| (o.nan, &o.odd) == (s.nan, &s.odd)).count();
    let middle = slices.get(slices.len() / 2)?;
    // Of a few slices spread over the volume one is like most, if there is a mask.
    let spread = [0, slices.len() / 4, slices.len() / 2, slices.len() * 3 / 4, slices.len() - 1];
    let most = spread.into_iter().map(|i| &slices[i]).max_by_key(|s| alike(s)).unwrap_or(middle);
    let is_mask = most.nan * 100 > most.voxels && most.nan < most.voxels && most.infinite == 0;
    (slices.len() > 2 && is_mask && alike(most) * 5 >= slices.len() * 4).then_some(most)
}

/// NaN and infinities. Where most slices have the same NaN, and many, they are a mask: what is more, or elsewhere, is not.
fn not_finite(slices: &[SliceFacts]) -> Vec<Finding> {
    let mask = mask(slices);
    let of_mask = |s: &SliceFacts| mask.is_some_and(|m| (s.nan, s.infinite, &s.odd) == (m.nan, 0, &m.odd));
    let bad: Vec<&SliceFacts> = slices.iter().filter(|s| s.nan + s.infinite > 0 && !of_mask(s)).collect();
    let nan: u64 = bad.iter().map(|s| s.nan).sum();
    let infinite: u64 = bad.iter().map(|s| s.infinite).sum();
    let mut out = Vec::new();
    if let Some(m) = mask {
        let share = 100.0 * m.nan as f64 / m.voxels as f64;
        let text = match bad.is_empty() {
            true => format!("{share:.1} % of every slice is NaN, the same in each: taken as a mask around the field"),
            false => {
                format!("{} voxels ({share:.1} %) of most slices are NaN: taken as a mask around the field", m.nan)
            }
        };
        out.push(Finding::new(Kind::NotFinite, Weight::Remark, text));
    }
    let numbers: Vec<usize> = bad.iter().map(|s| s.z).collect();
    for r in runs(&numbers).into_iter().take(MOST) {
        let here = || bad.iter().filter(|s| r.contains(&s.z));
        let places: Vec<String> =
            here().flat_map(|s| s.odd.iter().map(|(y, x)| format!("x {x}, y {y}, z {}", s.z))).take(3).collect();
        let (n, i): (u64, u64) = (here().map(|s| s.nan).sum(), here().map(|s| s.infinite).sum());
        let what = match (n, i) {
            (n, 0) => format!("{n} NaN"),
            (0, i) => format!("{i} infinite"),
            (n, i) => format!("{n} NaN and {i} infinite"),
        };
        let more = if n + i > places.len() as u64 { ", …" } else { "" };
        let text = format!("{what} in {}: {}{more}", slices_word(&r), places.join("; "));
        out.push(Finding::new(Kind::NotFinite, Weight::Broken, text).at(r));
    }
    let more = runs(&numbers).len().saturating_sub(MOST);
    if more > 0 {
        let text = format!("{nan} NaN and {infinite} infinite in all, in {} slices", numbers.len());
        out.push(Finding::new(Kind::NotFinite, Weight::Broken, text));
    }
    out
}

/// Findings of one kind listed one by one.
pub const MOST: usize = 20;

/// Many equal neighbours in a volume of noise: a block of one value that is not zero (what recad makes of a zero block,
/// a fill value). Floats with noise have next to none; integers are compared with the other slices.
fn equal_blocks(slices: &[SliceFacts], normal: &Normal, dtype: DType) -> Vec<Finding> {
    if normal.flat || slices.len() < 3 {
        return Vec::new();
    }
    let usable: Vec<&SliceFacts> = slices.iter().filter(|s| !s.constant() && s.zeros < s.voxels).collect();
    let mut counts: Vec<f64> = usable.iter().map(|s| s.equal as f64).collect();
    counts.sort_by(f64::total_cmp);
    let Some(&median) = counts.get(counts.len().saturating_sub(1) / 2) else { return Vec::new() };
    let mut spread: Vec<f64> = counts.iter().map(|c| (c - median).abs()).collect();
    spread.sort_by(f64::total_cmp);
    let mad = spread[spread.len() / 2];
    let size = slices[0].voxels as f64;
    // 4 KiB of floats at least, whose last one in each row has no neighbour; for integers, whose greys repeat, a hundredth
    // of the slice and far beyond the others.
    let limit = if dtype.is_float() {
        median + 960f64.max(20.0 * mad)
    } else {
        median + (0.02 * size).max(20.0 * mad).max(1024.0)
    };
    let odd: Vec<usize> = usable.iter().filter(|s| s.equal as f64 > limit).map(|s| s.z).collect();
    // Where many are so, the slices differ in kind.
    if odd.len() * 4 > slices.len() {
        return Vec::new();
    }
    (runs(&odd).into_iter().take(MOST))
        .map(|r| {
            let n = usable.iter().filter(|s| r.contains(&s.z)).map(|s| s.equal).sum::<u64>();
            let text = format!(
                "a block of one value in {}: {n} voxels equal their neighbour, usual are {median:.0} per slice",
                slices_word(&r)
            );
            Finding::new(Kind::Constant, Weight::Suspicious, text).at(r)
        })
        .collect()
}

/// Compares the range a sidecar states with the one found.
pub fn statistics(told: &VolumeStats, slices: &[SliceFacts]) -> Option<Finding> {
    let low = slices.iter().map(|s| s.min).fold(f32::INFINITY, f32::min);
    let high = slices.iter().map(|s| s.max).fold(f32::NEG_INFINITY, f32::max);
    // Placeholders of writers that do not count: all percentiles alike.
    let placeholder = told.s1 == told.s2 && told.big_s1 == told.big_s2;
    if placeholder || low > high {
        return None;
    }
    let range = f64::from(high) - f64::from(low);
    let same = |a: f64, b: f32| (a - f64::from(b)).abs() <= 1e-6 * range.max(a.abs());
    if same(told.min, low) && same(told.max, high) {
        return None;
    }
    let text = format!(
        "the .info says values from {} to {}, the file holds {low} to {high}: it belongs to another version of this volume, or its statistics are stale",
        told.min, told.max
    );
    Some(Finding::new(Kind::Statistics, Weight::Suspicious, text))
}

/// Ascending numbers as ranges.
pub fn runs(numbers: &[usize]) -> Vec<Range<usize>> {
    numbers.chunk_by(|a, b| a + 1 == *b).map(|r| r[0]..r[r.len() - 1] + 1).collect()
}
