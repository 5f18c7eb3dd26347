//! The receipt beside a recad volume: where its greys come from, what was lost, and the way back.

use super::run::Done;
use super::{Limits, Plan, Zeros};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tomokit_formats::io::with_suffix;
use tomokit_formats::model::{GreyScale, VolumeMeta};
use tomokit_formats::{Error, FrameSource, Result, Shape, png};

/// Suffix of the receipt: `x.raw` gets `x.raw.recad.json`.
pub const RECEIPT: &str = ".recad.json";

/// Bins of the histograms in the receipt.
const BINS: usize = 512;

/// The receipt that speaks of `path`: beside it, or beside the data where `path` is a header attached to them
/// (`x.raw.mhd` and `x.raw.nhdr` to `x.raw`).
fn receipt_of(path: &Path) -> PathBuf {
    let beside = with_suffix(path, RECEIPT);
    let attached = path.extension().is_some_and(|e| ["mhd", "nhdr"].iter().any(|a| e.eq_ignore_ascii_case(a)));
    if attached && !beside.exists() { with_suffix(&path.with_extension(""), RECEIPT) } else { beside }
}

/// Every grey of 16 bits has a value, and a value of its own.
fn tells_greys_apart(s: &GreyScale) -> bool {
    s.slope.is_normal() && s.offset.is_finite() && (s.slope * 65535.0 + s.offset).is_finite()
}

/// What the file itself says.
fn own_scale(path: &Path, meta: &VolumeMeta) -> Result<Option<GreyScale>> {
    match &meta.grey {
        Some(s) if !tells_greys_apart(s) => {
            Err(Error::file(path, "the grey scale in this file, or in the .info beside it, is damaged")
                .expected("a slope other than 0 and an offset, both numbers")
                .found(format!("{} × grey + {}", s.slope, s.offset))
                .hint("'tomo info' shows where it is from: mend or remove it there"))
        }
        scale => Ok(scale.clone()),
    }
}

/// How far a grey value may lie from the value it was made of, in grey steps: half of one, or a whole one where the receipt
/// tells of dithering.
pub fn rounding_of(path: &Path) -> f64 {
    let receipt = std::fs::read(receipt_of(path)).ok();
    let value: Option<Value> = receipt.and_then(|b| serde_json::from_slice(&b).ok());
    if value.is_some_and(|v| v["dither_seed"].is_number()) { 1.0 } else { 0.5 }
}

/// The grey scale of a volume: its receipt's, else the file's own.
///
/// # Errors
/// `File` where a receipt is damaged or contradicts the file it stands beside.
pub fn scale_of(path: &Path, meta: &VolumeMeta, source: &dyn FrameSource) -> Result<Option<GreyScale>> {
    let receipt = receipt_of(path);
    let bytes = match std::fs::read(&receipt) {
        Ok(b) => b,
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return own_scale(path, meta);
        }
        Err(e) => return Err(Error::io(&receipt, "reading the receipt", e)),
    };
    let bad = |what: &str| Error::file(&receipt, format!("this receipt is damaged: {what}"));
    let value: Value = serde_json::from_slice(&bytes).map_err(|e| bad("it is no JSON").source(e))?;
    let scale: GreyScale =
        serde_json::from_value(value["scale"].clone()).map_err(|e| bad("it has no scale").source(e))?;
    if !(scale.slope.is_finite() && scale.offset.is_finite()) {
        return Err(bad("its scale is no number"));
    }
    if !(tells_greys_apart(&scale) && scale.slope > 0.0) {
        return Err(bad(&format!("its scale has the slope {}", scale.slope)));
    }
    // What another program put in the place of the volume has greys of its own.
    let told = &value["output"];
    let told_shape: Option<Shape> = serde_json::from_value(told["shape"].clone()).ok();
    if let (Some(dtype), Some(shape)) = (told["dtype"].as_str(), told_shape)
        && (dtype, shape) != (source.dtype().name(), source.shape())
    {
        return Err(Error::file(path, "the receipt beside it is of another volume")
            .expected(format!("{dtype} {shape}"))
            .found(format!("{} {}", source.dtype().name(), source.shape()))
            .hint("find the right one, or move it away"));
    }
    if let Some(own) = &own_scale(path, meta)? {
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-6 * (a.abs().max(scale.slope.abs()));
        if !close(own.slope, scale.slope) || !close(own.offset, scale.offset) {
            return Err(Error::file(path, "the receipt beside it tells another grey scale than the file itself")
                .expected(format!("{} × grey + {}", own.slope, own.offset))
                .found(format!("{} × grey + {}", scale.slope, scale.offset))
                .hint("the receipt belongs to another file: find the right one, or move it away"));
        }
    }
    Ok(Some(scale))
}

/// The essentials in one line, for the description in image files.
pub(super) fn note(plan: &Plan, limits: &Limits) -> String {
    let name = plan.input.file_name().unwrap_or_default().to_string_lossy();
    let rounding = match plan.dither {
        Some(seed) => format!("dithered with seed {seed}"),
        None => "rounded half to even".into(),
    };
    let unit = if plan.unit().is_empty() { String::new() } else { format!(" {}", plan.unit()) };
    format!(
        "recad of {name}: {} to {}{unit} become 0 to {} ({}), {rounding}; tomokit {}",
        limits.low,
        limits.high,
        plan.depth.top(),
        limits.found,
        env!("CARGO_PKG_VERSION")
    )
}

/// The receipt, of what stands in `files`.
pub(super) fn text(plan: &Plan, d: &Done, files: &[PathBuf]) -> Result<Vec<u8>> {
    let failed = |e| Error::caller("the receipt cannot be written as JSON").source(e);
    let value = |v: Result<Value, serde_json::Error>| v.map_err(failed);
    let c = &d.counts;
    let inside = c.tally.values.max(1) as f64;
    let percent = |n: u64| (n as f64 / inside * 1e8).round() / 1e6;
    let input = std::fs::metadata(&plan.input).ok();
    let stamp = |t: time::OffsetDateTime| {
        t.replace_nanosecond(0).unwrap_or(t).format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
    };
    let before = d.survey.as_ref().and_then(|s| {
        let h = &s.histogram;
        let (low, high) = (h.percentile(0.01)?, h.percentile(99.99)?);
        let (low, high) = if low < high { (low, high) } else { (low - 0.5, high + 0.5) };
        let (min, max) = h.extent()?;
        let (counts, below) = (h.rebin(low, high, BINS), h.below(low));
        Some(json!({
            "voxels": h.values(), "min": plan.physical(min), "max": plan.physical(max), "zeros": h.zeros(), "nan": h.nan(),
            "infinite": h.infinite(), "outside_circle": s.outside_circle,
            "left_out": s.outside_circle + h.nan() + h.infinite() + if plan.zeros == Zeros::Outside { h.zeros() } else { 0 },
            "low": plan.physical(low), "high": plan.physical(high), "counts": counts, "below": below,
            "above": h.values() - below - counts.iter().sum::<u64>(),
        }))
    });
    let after: Vec<u64> = c.greys.chunks(c.greys.len() / 256).map(|b| b.iter().sum()).collect();
    let mut record = json!({
        "software": format!("tomokit {}", env!("CARGO_PKG_VERSION")),
        "finished": stamp(time::OffsetDateTime::now_utc()),
        "input": {
            "path": plan.input.to_string_lossy(),
            "format": plan.input_format,
            "dtype": plan.input_dtype.name(),
            "bytes": input.as_ref().filter(|m| m.is_file()).map(|m| m.len()),
            "modified": input.as_ref().and_then(|m| m.modified().ok()).map(|t| stamp(t.into())),
            "view": value(serde_json::to_value(&plan.view))?,
        },
        "output": {
            "path": plan.output.to_string_lossy(),
            "format": plan.output_format,
            "dtype": plan.depth.dtype().name(),
            "shape": value(serde_json::to_value(plan.shape))?,
            "files": files.iter().map(|f| f.to_string_lossy()).collect::<Vec<_>>(),
        },
        "limits": value(serde_json::to_value(&d.limits))?,
        "scale": value(serde_json::to_value(&d.scale))?,
        "formula": "value = slope * grey + offset",
        "rounding": if plan.dither.is_some() { "dithered" } else { "half to even" },
        "dither_seed": plan.dither,
        "not_finite_become": value(serde_json::to_value(plan.non_finite))?,
        "zeros_are": value(serde_json::to_value(plan.zeros))?,
        "cropped_to_circle": plan.crop_circle,
        "counts": value(serde_json::to_value(c))?,
        "clipped_low_percent": percent(c.tally.below),
        "clipped_high_percent": percent(c.tally.above),
        "histogram": { "before": before, "after": { "greys_per_bin": c.greys.len() / 256, "counts": after } },
        "verified": d.verified.map(|w| json!({ "largest_difference_in_grey_steps": w })),
        "seconds": d.seconds,
    });
    // The key says which hash it is: receipts of earlier versions have `voxels_sha256`.
    if let (Some(h), Some(input)) = (&d.input_hash, record["input"].as_object_mut()) {
        input.insert(format!("voxels_{}", h.algorithm.name()), h.digits.as_str().into());
    }
    let text = serde_json::to_string(&record).map_err(failed)? + "\n";
    Ok(text.into_bytes())
}

/// Draws the histogram with the limits.
pub(super) fn plot(plan: &Plan, d: &Done, path: &Path) -> Result<PathBuf> {
    let title = plan.input.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let markers = [(d.limits.low, "low"), (d.limits.high, "high")];
    let span = d.limits.high - d.limits.low;
    let mut low = d.limits.low - 0.05 * span;
    let mut high = d.limits.high + 0.05 * span;
    let counts = match &d.survey {
        Some(s) => {
            let h = &s.histogram;
            if let (Some(a), Some(b)) = (h.percentile(0.01), h.percentile(99.99)) {
                (low, high) = (low.min(plan.physical(a)), high.max(plan.physical(b)));
            }
            h.rebin(plan.stored(low), plan.stored(high), 800)
        }
        // Without a histogram pass, that of the greys.
        None => {
            (low, high) = (d.limits.low, d.limits.high);
            d.counts.greys.chunks(d.counts.greys.len() / 256).map(|b| b.iter().sum()).collect()
        }
    };
    let p = png::Histogram {
        counts: &counts,
        low,
        high,
        title: &title,
        unit: plan.unit(),
        markers: &markers,
        size: (1000, 600),
    };
    png::histogram(&p).save(path, plan.create.overwrite)
}
