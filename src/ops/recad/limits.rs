//! Which values become the lowest and the highest grey, and where that was found.

use super::Plan;
use crate::quantise::FineHistogram;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use tomokit_formats::model::{GreyScale, VolumeStats};
use tomokit_formats::registry::open_volume;
use tomokit_formats::{DType, Error, OpenOptions, Region, Result, durable, io};

/// PyHST2's pairs of recorded limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum Tails {
    /// `s1`, `s2`: 0.001 % of the voxels left out on each side.
    Narrow,
    /// `S1`, `S2`: 0.2 %.
    Wide,
}

/// Where limits come from that are not given as numbers.
#[derive(Clone, PartialEq, Debug)]
pub enum LimitsFrom {
    /// Percentiles of the voxels.
    Percentile(f64, f64),
    /// PyHST2's `.info` beside the input.
    Info(Tails),
    /// A receipt, a lock file, or PyHST2's histogram (then its percentiles).
    File(PathBuf),
}

/// The user's wish. A number given wins over everything else for its side.
#[derive(Clone, PartialEq, Debug)]
pub struct LimitsChoice {
    /// Lower limit.
    pub low: Option<f64>,
    /// Upper limit.
    pub high: Option<f64>,
    /// What the sides without a number take.
    pub from: LimitsFrom,
    /// Experiment-wide limits: the first volume decides, all others reuse.
    pub lock: Option<PathBuf>,
}

impl Default for LimitsChoice {
    fn default() -> Self {
        LimitsChoice { low: None, high: None, from: LimitsFrom::Percentile(0.1, 99.9), lock: None }
    }
}

/// Physical values of the lowest and highest grey.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Becomes grey 0.
    pub low: f64,
    /// Becomes the highest grey.
    pub high: f64,
    /// Where they come from, in words.
    #[serde(default)]
    pub found: String,
}

/// A lock file. A receipt has the same `limits`.
#[derive(Serialize, Deserialize)]
struct Recorded {
    limits: Limits,
    #[serde(default)]
    decided_by: Option<PathBuf>,
}

fn side(given: Option<f64>, other: f64) -> f64 {
    given.unwrap_or(other)
}

fn words(choice: &LimitsChoice, other: String) -> String {
    match (choice.low, choice.high) {
        (Some(_), Some(_)) => "given".into(),
        (Some(_), None) => format!("low given, high from {other}"),
        (None, Some(_)) => format!("low from {other}, high given"),
        (None, None) => other,
    }
}

fn read_recorded(path: &Path) -> Result<Limits> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, "reading the limits", e))?;
    let r: Recorded = serde_json::from_slice(&bytes).map_err(|e| {
        Error::file(path, "no grey limits in this file")
            .expected("JSON with \"limits\": {\"low\", \"high\"}")
            .source(e)
            .hint(
                "a receipt, or a lock file that an earlier run made; of a damaged lock, make a new one from a receipt",
            )
    })?;
    if !(r.limits.low.is_finite() && r.limits.high.is_finite()) {
        return Err(Error::file(path, "the grey limits in this file are no numbers"));
    }
    Ok(r.limits)
}

/// The limits that a lock file holds.
///
/// # Errors
/// `System` where there is none, `File` where it holds none.
pub fn locked(path: &Path) -> Result<(f64, f64)> {
    read_recorded(path).map(|l| (l.low, l.high))
}

/// Limits that need no look at the voxels.
pub(super) fn known(
    choice: &LimitsChoice,
    stats: Option<VolumeStats>,
    scale: Option<&GreyScale>,
    input: &Path,
) -> Result<Option<Limits>> {
    if let Some(lock) = choice.lock.as_ref().filter(|l| l.exists()) {
        let l = read_recorded(lock)?;
        let differs = |given: Option<f64>, locked: f64| given.is_some_and(|g| g != locked);
        if differs(choice.low, l.low) || differs(choice.high, l.high) {
            return Err(Error::caller("the limits given differ from those locked for this experiment")
                .path(lock)
                .found(format!("{} to {}", l.low, l.high))
                .hint("leave out --low and --high, or leave out --lock"));
        }
        if !matches!(choice.from, LimitsFrom::Percentile(..)) {
            return Err(Error::caller("the limits of this experiment are locked: no others are looked for")
                .path(lock)
                .found(format!("{} to {}", l.low, l.high))
                .hint("leave out --limits and --limits-from, or leave out --lock"));
        }
        return Ok(Some(Limits { found: format!("locked by {}", lock.display()), ..l }));
    }
    if let (Some(low), Some(high)) = (choice.low, choice.high) {
        return Ok(Some(Limits { low, high, found: "given".into() }));
    }
    let (low, high, found) = match &choice.from {
        LimitsFrom::Percentile(..) => return Ok(None),
        LimitsFrom::File(path) if is_histogram(path) => {
            let (p, q) = (0.1, 99.9);
            let (low, high) = of_histogram(path, p, q)?;
            (low, high, format!("percentiles {p} and {q} of {}", path.display()))
        }
        LimitsFrom::File(path) => {
            let l = read_recorded(path)?;
            (l.low, l.high, format!("{}", path.display()))
        }
        LimitsFrom::Info(tails) => {
            let s = stats.ok_or_else(|| {
                Error::caller("the volume has no recorded limits")
                    .path(input)
                    .expected("s1, s2, S1 and S2 in PyHST2's .info")
                    .hint("use --percentile, which looks at the voxels")
            })?;
            let p = |v: f64| scale.map_or(v, |g| g.slope * v + g.offset);
            match tails {
                Tails::Narrow => (p(s.s1), p(s.s2), "s1 and s2 of the .info".to_owned()),
                Tails::Wide => (p(s.big_s1), p(s.big_s2), "S1 and S2 of the .info".to_owned()),
            }
        }
    };
    Ok(Some(Limits { low: side(choice.low, low), high: side(choice.high, high), found: words(choice, found) }))
}

/// Limits from the histogram pass.
pub(super) fn of_voxels(plan: &Plan, h: &FineHistogram) -> Result<Limits> {
    let LimitsFrom::Percentile(p, q) = plan.choice.from else {
        return Err(Error::caller("the limits are known already"));
    };
    let (Some(low), Some(high)) = (h.percentile(p), h.percentile(q)) else {
        return Err(Error::caller("no voxel to find limits from: all are zero, outside the circle or no number")
            .path(&plan.input)
            .hint("give --low and --high, or --zeros values, or --within all"));
    };
    let wide = matches!(plan.input_dtype, DType::F64 | DType::I32 | DType::U32 | DType::I64 | DType::U64);
    if low == high && wide && plan.choice.low.is_none() && plan.choice.high.is_none() {
        return Err(Error::caller(
            "both percentiles are the same number, as far as the 32-bit floats they are taken of tell",
        )
        .path(&plan.input)
        .found(format!("{low} to {high}"))
        .hint("give --low and --high: 'tomo info --stats' tells the smallest and the largest value"));
    }
    let mut found = format!("percentiles {p} and {q} of {} voxels", h.values());
    if plan.circle {
        found.push_str(" inside the circle");
    }
    Ok(Limits {
        low: side(plan.choice.low, plan.physical(low)),
        high: side(plan.choice.high, plan.physical(high)),
        found: words(&plan.choice, found),
    })
}

/// Writes the lock, or takes the limits of another run that was faster.
pub(super) fn lock(path: &Path, limits: Limits, input: &Path) -> Result<Limits> {
    if path.exists() {
        let l = read_recorded(path)?;
        return Ok(Limits { found: format!("locked by {}", path.display()), ..l });
    }
    let failed = |e| Error::caller("the limits cannot be written as JSON").source(e);
    let record = Recorded { limits: limits.clone(), decided_by: Some(input.to_owned()) };
    let text = serde_json::to_string_pretty(&record).map_err(failed)? + "\n";
    // A link to a finished file either appears whole or finds another one there, also with two runs at once.
    let own = io::with_suffix(path, &format!(".{}{}", std::process::id(), durable::PART));
    durable::write_small(&own, text.as_bytes(), true)?;
    let linked = std::fs::hard_link(&own, path);
    let _ = std::fs::remove_file(&own);
    match linked {
        Ok(()) => Ok(limits),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            let l = read_recorded(path)?;
            Ok(Limits { found: format!("locked by {}", path.display()), ..l })
        }
        // File systems without links (exFAT): the plain way.
        Err(_) => durable::write_small(path, text.as_bytes(), false).map(|_| limits),
    }
}

fn is_histogram(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("edf"))
}

/// Percentiles of PyHST2's `histogram_x.edf`: bin `i` of n stands for `MinVal + i · (MaxVal − MinVal)/(n − 1)`. The bin
/// of zero, where the voxels outside the field are, is left out.
fn of_histogram(path: &Path, p: f64, q: f64) -> Result<(f64, f64)> {
    let bad = |what: &str| Error::file(path, format!("this is no histogram of PyHST2: {what}"));
    let (volume, opened) = open_volume(path, &OpenOptions::default())?;
    let number = |key: &str| {
        let text = opened.facts.get("header")?.get(key)?.as_str()?.trim();
        text.parse::<f64>().ok().filter(|v| v.is_finite())
    };
    let (Some(min), Some(max)) = (number("MinVal"), number("MaxVal")) else {
        return Err(bad("no MinVal and MaxVal in its header"));
    };
    let shape = volume.source.shape();
    let n = shape.len()? as usize;
    if !(2..=1 << 24).contains(&n) || max <= min {
        return Err(bad("its bins make no sense").found(format!("{n} bins from {min} to {max}")));
    }
    let mut counts = vec![0f32; n];
    volume.source.read_f32(&Region::of_frames(shape, 0..shape.frames), &mut Vec::new(), &mut counts)?;
    let step = (max - min) / (n - 1) as f64;
    let zero = (-min / step).floor();
    let counts: Vec<f64> =
        counts.iter().enumerate().map(|(i, &c)| if i as f64 == zero { 0.0 } else { f64::from(c).max(0.0) }).collect();
    let total: f64 = counts.iter().sum();
    if !(total.is_finite() && total > 0.0) {
        return Err(bad("it counts nothing"));
    }
    let at = |p: f64| {
        let want = p / 100.0 * total;
        let mut below = 0.0;
        let bin = counts.iter().position(|c| {
            below += c;
            below > want
        });
        min + bin.unwrap_or(n - 1) as f64 * step
    };
    Ok((at(p), at(q)))
}
