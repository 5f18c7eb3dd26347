//! From plan to receipt: limits, both passes, verification, and in which order things get their final names.

use super::limits::{self, Limits, LimitsFrom};
use super::passes::{self, Digest};
use super::{Plan, receipt, verify};
use crate::ops::finish::{OldRecords, withdraw};
use crate::quantise::{FineHistogram, GreyMap, NonFinite, Tally};
use crate::stream::{Algorithm, Cancel, Progress};
use serde::Serialize;
use std::path::PathBuf;
use tomokit_formats::model::GreyScale;
use tomokit_formats::{Error, Result, VolumeMeta, durable};

/// What the histogram pass found.
#[derive(Clone)]
pub struct Survey {
    /// Values by size.
    pub histogram: FineHistogram,
    /// Voxels outside the circle, not looked at.
    pub outside_circle: u64,
}

/// What the writing pass counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Voxels written.
    pub voxels: u64,
    /// Voxels outside the field (or the circle), set to grey 0.
    pub outside: u64,
    /// What the others were.
    #[serde(flatten)]
    pub tally: Tally,
    /// Voxels by grey value.
    #[serde(skip)]
    pub greys: Vec<u64>,
    /// Different grey values in use.
    pub greys_in_use: usize,
}

/// Hash of the voxels read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InputHash {
    /// Which hash.
    pub algorithm: Algorithm,
    /// In hexadecimal digits.
    pub digits: String,
}

/// What a recad did.
#[derive(Clone, Serialize)]
pub struct Done {
    /// Final files or folders, the main one first, the receipt last.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub outputs: Vec<PathBuf>,
    /// Physical values of the lowest and highest grey.
    pub limits: Limits,
    /// The way back.
    pub scale: GreyScale,
    /// What was counted.
    pub counts: Counts,
    /// What the histogram pass found.
    #[serde(skip)]
    pub survey: Option<Survey>,
    /// Hash of the voxels read: little-endian, slice by slice (for a whole `.vol` that of the file).
    pub input_hash: Option<InputHash>,
    /// Read back: the largest difference inside the limits, in grey steps.
    pub verified: Option<f64>,
    /// The input is gone.
    pub input_removed: bool,
    /// More than the limits' own percentiles leave, and a twentieth, lies beyond them: in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub badly_clipped: Option<String>,
    /// Why the input is not gone, although it was to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_kept: Option<String>,
    /// Wall time of both passes, seconds.
    pub seconds: f64,
    /// Stage that limited the writing pass: read, compute or write.
    pub limited_by: &'static str,
}

fn refuse_not_finite(plan: &Plan, n: u64) -> Result<()> {
    if n == 0 {
        return Ok(());
    }
    Err(Error::file(&plan.input, format!("{n} voxels are no finite number"))
        .hint("see where with 'tomo info --stats', or choose what becomes of them with --nan"))
}

/// Share of the voxels that may lie beyond the limits without a word, and so that the input is removed, more than percentiles
/// leave there.
const MOST_CLIPPED: f64 = 0.05;

/// Limits so wrong that the output cannot stand for the input.
fn badly_clipped(plan: &Plan, limits: &Limits, tally: &Tally) -> Option<String> {
    let asked = match plan.choice.from {
        LimitsFrom::Percentile(p, q) => (p + 100.0 - q) / 100.0,
        _ => 0.0,
    };
    let share = (tally.below + tally.above) as f64 / tally.values.max(1) as f64;
    (share > asked + MOST_CLIPPED).then(|| {
        format!(
            "{:.1} % of its voxels lie beyond {} and {}, and the output does not tell them apart",
            share * 100.0,
            limits.low,
            limits.high
        )
    })
}

/// Carries a plan out.
pub fn execute(plan: &Plan, progress: &dyn Progress, cancel: &Cancel) -> Result<Done> {
    let create = plan.writer.create.ok_or_else(|| Error::caller("this format cannot be written"))?;
    let start = std::time::Instant::now();
    let digest = Digest::new(plan);
    // Threads that write wait for the disk and have time to hash; a hash that takes one block after the other would hold up
    // the writing, and has the first pass to itself.
    let (first, second) = match Digest::in_order(plan.hash) && !plan.one_pass {
        true => (&digest, &Digest::Off),
        false => (&Digest::Off, &digest),
    };
    let survey = match plan.one_pass {
        true => None,
        false => Some(passes::survey(plan, first, progress, cancel).inspect_err(|_| progress.end())?),
    };
    let mut limits = match (&plan.limits, &survey) {
        (Some(l), _) => l.clone(),
        (None, Some(s)) => limits::of_voxels(plan, &s.histogram)?,
        (None, None) => return Err(Error::caller("one pass needs limits that are known beforehand")),
    };
    let make = |l: &Limits| {
        GreyMap::new(plan.stored(l.low), plan.stored(l.high), plan.depth, plan.non_finite)
            .map_err(|e| e.or_path(&plan.input))
    };
    let mut map = make(&limits)?;
    if let Some(path) = &plan.choice.lock {
        // What is refused must not decide the scale of others.
        if let (NonFinite::Refuse, Some(s)) = (plan.non_finite, &survey) {
            refuse_not_finite(plan, s.histogram.nan() + s.histogram.infinite())?;
        }
        limits = limits::lock(path, limits, &plan.input)?;
        map = make(&limits)?;
    }
    let (low, high) = (plan.physical(map.limits().0), plan.physical(map.limits().1));
    let scale =
        GreyScale { slope: (high - low) / f64::from(plan.depth.top()), offset: low, unit: plan.unit().to_owned() };
    let mut options = plan.create.clone();
    options.shape = plan.shape;
    options.dtype = plan.depth.dtype();
    options.meta = VolumeMeta {
        grey: Some(scale.clone()),
        stats: None,
        description: Some(receipt::note(plan, &limits)),
        ..plan.meta.clone()
    };
    let mut sink = create(&plan.output, &options)?;
    let (counts, timings) =
        passes::write(plan, &map, &mut *sink, second, progress, cancel).inspect_err(|_| progress.end())?;
    if plan.non_finite == NonFinite::Refuse {
        refuse_not_finite(plan, counts.tally.not_finite())?;
    }
    let mut done = Done {
        outputs: Vec::new(),
        limits,
        scale,
        counts,
        survey,
        input_hash: digest.finish().map(|(algorithm, digits)| InputHash { algorithm, digits }),
        verified: None,
        input_removed: false,
        badly_clipped: None,
        input_kept: None,
        seconds: 0.0,
        limited_by: timings.limiting(),
    };
    // An old receipt must never stand beside new data. The new one waits under its unfinished name until all is well: a
    // run that is killed from here on leaves a mark by which the next one knows the output as its own.
    let staged = durable::stage_small(&plan.receipt, &receipt::text(plan, &done, &[])?, true)?;
    let old = OldRecords::of(&plan.output)?;
    let mut outputs = sink.finish(None)?;
    drop(old);
    done.seconds = start.elapsed().as_secs_f64();
    if plan.verify {
        let main = outputs.first().cloned().unwrap_or_else(|| plan.output.clone());
        let verified = verify::verify(plan, &map, &main, progress, cancel).inspect_err(|e| {
            progress.end();
            if e.fault() == tomokit_formats::Fault::File {
                withdraw(&main, progress);
            }
        });
        done.verified = Some(verified?);
    }
    done.badly_clipped = badly_clipped(plan, &done.limits, &done.counts.tally);
    done.input_kept = done.badly_clipped.clone().filter(|_| plan.remove_input);
    done.input_removed = plan.remove_input && done.verified.is_some() && done.input_kept.is_none();
    // A picture that cannot be drawn leaves the volume its receipt.
    let plotted = plan.plot.as_ref().map(|path| receipt::plot(plan, &done, path)).transpose();
    if let Ok(Some(path)) = &plotted {
        outputs.push(path.clone());
    }
    let text = receipt::text(plan, &done, &outputs)?;
    staged.set_len(0)?;
    staged.write_at(&text, 0)?;
    outputs.push(staged.commit()?);
    done.outputs = outputs;
    plotted?;
    if done.input_removed {
        std::fs::remove_file(&plan.input).map_err(|e| Error::io(&plan.input, "removing the input", e))?;
    }
    Ok(done)
}
