//! Raw scans: frames that are dead, zero, saturated or dim; flats below darks; counts and angles that do not go with the
//! projections. Every frame is read once, by the same look as the slices of a volume.

use super::references::median;
use super::values::{MOST, runs};
use super::volume::{FRAME, SliceFacts, frame_of, look_at_all, survey, too_small};
use super::zeros::{file_of, slices_word};
use super::{Finding, Item, Job, Kind, Report, Weight, order, references, values};
use std::ops::Range;
use tomokit_formats::model::Angles;
use tomokit_formats::{FrameSource, Result, Scan};

/// A frame with less than this share of the median level has lost its beam.
const DIM: f64 = 0.5;
/// A frame that has this share of the level of the one before lost it at once: no sample does that from frame to frame …
const DROP: f64 = 0.75;
/// … where levels change by less than this, usually.
const STEADY: f64 = 0.08;
/// A frame with this share of its pixels at the end of the camera's range, and beyond the others', is saturated.
const SATURATED: f64 = 0.01;

/// Looks at a scan.
pub fn examine(s: &Scan, _: &Item, job: &Job<'_>, report: &mut Report) -> Result<()> {
    let source = &*s.projections;
    let (shape, dtype) = (source.shape(), source.dtype());
    shape.len()?;
    report.format = Some(s.layout);
    report.shape = Some(shape);
    report.dtype = Some(dtype);
    for what in &s.damaged {
        report.findings.push(Finding::new(
            Kind::Flats,
            Weight::Broken,
            format!("flats or darks cannot be read: {what}"),
        ));
    }
    if shape.is_empty() {
        report.findings.push(Finding::new(Kind::Counts, Weight::Broken, "the scan holds no projections"));
        return Ok(());
    }
    report.findings.extend(angles(&s.angles.rad, shape.frames));
    if !s.is_attenuation {
        report.findings.extend(references::findings(s, job)?);
    }
    let mut frame = frame_of(source, job);
    let (normal, mut known) = survey(source, &frame, job)?;
    let end = known.values().map(|l| l.max).reduce(f32::max);
    if let Some(end) = end.filter(|end| references::ENDS.contains(end) && *end != frame.top) {
        // Looked at again, with what saturated means here.
        frame.top = end;
        known.clear();
    }
    let mut p = look_at_all(source, &frame, &normal, &known, job)?;
    p.sum_up(source, report);
    report.findings.extend(p.tracker.findings(source, &p.looked_at)?.into_iter().map(|mut f| {
        f.text = f.text.replace("slices", "frames").replace("slice", "frame");
        if f.kind == Kind::ZeroSlices {
            f.kind = Kind::DeadFrames;
            // No camera gives a frame of exact zeros.
            f.weight = Weight::Broken;
        }
        f
    }));
    let mut found = values::findings(&p.slices, &normal, dtype, FRAME);
    if !s.is_attenuation {
        found.extend(levels(&p.slices, source));
    }
    if !job.plan.quick {
        found.extend(order::repeats(&p.slices, &normal, source, FRAME)?);
    }
    report.findings.extend(found.into_iter().map(|mut f| {
        f.text = f.text.replace("slices", "frames").replace("slice", "frame");
        f
    }));
    if let Some(mut f) = too_small(source, FRAME) {
        f.text = f.text.replace("slices", "frames").replace("voxels", "pixels");
        report.findings.push(f);
    }
    Ok(())
}

/// Dim and saturated frames.
fn levels(frames: &[SliceFacts], source: &dyn FrameSource) -> Vec<Finding> {
    let live: Vec<&SliceFacts> = frames.iter().filter(|f| f.zeros < f.voxels && !f.constant()).collect();
    if live.len() < 3 {
        return Vec::new();
    }
    let level = median(live.iter().map(|f| f.mean()));
    let share = |f: &SliceFacts| f.saturated as f64 / f.voxels.max(1) as f64;
    let usual = median(live.iter().map(|f| share(f)));
    let mut out = Vec::new();
    let mut dim: Vec<usize> = live.iter().filter(|f| level > 0.0 && f.mean() < DIM * level).map(|f| f.z).collect();
    let drops = drops(&live);
    let many = |n: usize| n * 5 > live.len();
    for r in drops.iter().filter(|r| !many(r.len())) {
        dim.extend(live[r.clone()].iter().map(|f| f.z));
    }
    dim.sort_unstable();
    dim.dedup();
    for r in drops.into_iter().filter(|r| many(r.len())) {
        let (first, last) = (live[r.start].z, live[r.end - 1].z);
        dim.retain(|z| !(first..=last).contains(z));
        let beside = if r.start > 0 { live[r.start - 1] } else { live[r.end.min(live.len() - 1)] };
        let lost = median(live[r].iter().map(|f| f.mean()));
        let r = first..last + 1;
        let text = format!(
            "{} dim all at once: mean {lost:.0}, beside them {:.0}; was the beam lost?",
            are(&r),
            beside.mean()
        );
        out.push(Finding::new(Kind::Dim, Weight::Suspicious, text).at(r.clone()).file(file_of(source, &r)));
    }
    // Samples that are thick in one direction are dim for many frames, a lost beam for few.
    if !many(dim.len()) {
        for r in runs(&dim).into_iter().take(MOST) {
            let mean = live.iter().find(|f| f.z == r.start).map_or(0.0, |f| f.mean());
            let text = format!("{} dim: mean {mean:.0}, usual is {level:.0}; was the beam lost?", are(&r));
            out.push(Finding::new(Kind::Dim, Weight::Suspicious, text).at(r.clone()).file(file_of(source, &r)));
        }
    }
    let full: Vec<usize> = live.iter().filter(|f| share(f) > SATURATED + usual).map(|f| f.z).collect();
    for r in runs(&full).into_iter().take(MOST) {
        let worst = live.iter().filter(|f| r.contains(&f.z)).map(|f| share(f)).fold(0.0, f64::max);
        let text =
            format!("{} saturated: up to {:.1} % of the pixels are at the end of the range", are(&r), 100.0 * worst);
        out.push(Finding::new(Kind::Saturated, Weight::Suspicious, text).at(r.clone()).file(file_of(source, &r)));
    }
    if usual > SATURATED {
        let text =
            format!("{:.1} % of the pixels of a usual frame are at the end of the camera's range", 100.0 * usual);
        out.push(Finding::new(Kind::Saturated, Weight::Suspicious, text));
    }
    out
}

/// Runs of frames whose level falls at once and rises at once.
fn drops(frames: &[&SliceFacts]) -> Vec<Range<usize>> {
    let steps: Vec<f64> = frames.windows(2).map(|w| w[1].mean() / w[0].mean().max(f64::MIN_POSITIVE)).collect();
    let mut sizes: Vec<f64> = steps.iter().map(|s| s.ln().abs()).collect();
    sizes.sort_by(f64::total_cmp);
    // Interlaced scans change from frame to frame as much as samples do around.
    if sizes.get(sizes.len() * 9 / 10).is_none_or(|usual| *usual > STEADY) {
        return Vec::new();
    }
    let mut out = Vec::new();
    // Back from a flash is no drop; one that never ends was none: what came before it was dim.
    let (mut from, mut flash) = (None, None);
    for (i, step) in steps.iter().enumerate() {
        match from {
            None if *step > 1.0 / DROP => flash = flash.or(Some(i + 1)),
            None if *step < DROP && flash.is_some() => flash = None,
            None if *step < DROP => from = Some(i + 1),
            Some(first) if *step > 1.0 / DROP => {
                out.push(first..i + 1);
                from = None;
            }
            _ => {}
        }
    }
    out.extend(from.map(|first| first..frames.len()));
    out.extend(flash.map(|end| out.last().map_or(0, |before: &Range<usize>| before.end)..end));
    out
}

fn are(r: &Range<usize>) -> String {
    format!("{} {}", slices_word(r), if r.len() == 1 { "is" } else { "are" })
}

/// Counts, gaps and repeats of the angles.
fn angles(rad: &[f64], frames: usize) -> Vec<Finding> {
    let mut out = Vec::new();
    if rad.len() != frames {
        let text = format!("{} angles for {frames} projections", rad.len());
        out.push(Finding::new(Kind::Counts, Weight::Broken, text));
    }
    if let Some(i) = rad.iter().position(|a| !a.is_finite()) {
        let text = format!("the angle of projection {i} is no number");
        out.push(Finding::new(Kind::Angles, Weight::Broken, text).at(i..i + 1));
        return out;
    }
    if rad.len() < 4 {
        return out;
    }
    let steps: Vec<f64> = rad.windows(2).map(|w| (w[1] - w[0]).to_degrees()).collect();
    let mut sorted = steps.clone();
    sorted.sort_by(f64::total_cmp);
    let usual = sorted[sorted.len() / 2];
    if usual == 0.0 {
        let text = "most projections have the angle of the one before";
        out.push(Finding::new(Kind::Angles, Weight::Broken, text));
        return out;
    }
    let against = steps.iter().filter(|s| **s * usual < 0.0).count();
    // Interlaced and golden-angle scans jump by design.
    if against * 20 > steps.len() || Angles::are_interlaced(rad) {
        return out;
    }
    let list = |odd: Vec<usize>, word: &str, weight: Weight, out: &mut Vec<Finding>| {
        for r in runs(&odd).into_iter().take(MOST) {
            let (a, b) = (rad[r.start].to_degrees(), rad[r.end].to_degrees());
            let text = format!(
                "{word} between projections {} and {}: {a:.4} and {b:.4} deg, usual step {usual:.4}",
                r.start, r.end
            );
            out.push(Finding::new(Kind::Angles, weight, text).at(r.start..r.end + 1));
        }
    };
    let pick = |f: &dyn Fn(f64) -> bool| (0..steps.len()).filter(|&i| f(steps[i] / usual)).collect::<Vec<_>>();
    list(pick(&|s| s > 1.6), "a gap in the angles", Weight::Suspicious, &mut out);
    list(pick(&|s| s.abs() < 0.05), "the same angle twice", Weight::Suspicious, &mut out);
    list(pick(&|s| s <= -0.05), "the angle goes back", Weight::Suspicious, &mut out);
    out
}
