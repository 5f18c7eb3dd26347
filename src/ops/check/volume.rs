//! One item from opening to findings: files and links first, then samples, then every slice.

use super::kernel::{Frame, Look, THUMB};
use super::normal::{Normal, sample_numbers};
use super::zeros::Tracker;
use super::{Finding, Item, ItemKind, Job, Kind, Levels, Report, Weight};
use super::{container, files, levels, order, pass, scan, sideways, unread, unreadable, values, walk, zeros};
use std::collections::BTreeMap;
use tomokit_formats::model::{Facts, VolumeMeta};
use tomokit_formats::registry::{ALSO_THERE, COULD_BE_MEANT, open};
use tomokit_formats::{About, Content, Fault, FrameSource, OpenOptions, Result, Warning};

/// Numbers of one slice that are kept to the end.
#[derive(Clone, Debug)]
pub struct SliceFacts {
    pub z: usize,
    pub voxels: u64,
    pub zeros: u64,
    pub nan: u64,
    pub infinite: u64,
    pub odd: Vec<(usize, usize)>,
    pub sum: f64,
    pub min: f32,
    pub max: f32,
    pub equal: u64,
    pub saturated: u64,
    pub noise: u64,
    pub noise_from: Option<usize>,
    pub print: u64,
    /// Reduced picture: means.
    pub thumb: Vec<f32>,
    /// Something is wrong with its values already.
    pub bad: bool,
}

impl SliceFacts {
    fn of(z: usize, l: &Look, frame: &Frame, lost: bool) -> SliceFacts {
        let per_point = l.voxels as f32 / frame.thumb_len() as f32;
        let mut s = SliceFacts {
            z,
            voxels: l.voxels,
            zeros: l.zeros,
            nan: l.nan,
            infinite: l.infinite,
            odd: l.odd.clone(),
            sum: l.sum,
            min: l.min,
            max: l.max,
            equal: l.equal,
            saturated: l.saturated,
            noise: l.noise,
            noise_from: l.noise_from,
            print: l.print,
            thumb: l.thumb.iter().map(|v| v / per_point).collect(),
            bad: lost,
        };
        s.bad |= s.constant() || s.nan + s.infinite > 0;
        s
    }

    /// One value only, and not zero.
    pub fn constant(&self) -> bool {
        self.min == self.max && self.min != 0.0 && self.nan + self.infinite == 0
    }

    /// Mean of all voxels.
    pub fn mean(&self) -> f64 {
        self.sum / (self.voxels - self.nan - self.infinite).max(1) as f64
    }
}

/// Slices with fewer voxels are no pictures: what repeats in them, or is constant, comes from a test or a cut.
pub const PICTURE: usize = 4096;
/// Frames with fewer pixels are none: a camera's noise tells them apart sooner than what was computed.
pub const FRAME: usize = 1024;
/// Slices that cannot be read and are listed one by one.
const UNREAD: usize = 20;

/// Looks at one item and puts what it finds into the report.
pub fn examine(item: &Item, job: &Job<'_>, report: &mut Report) -> Result<()> {
    if item.kind == ItemKind::Unfinished {
        let e = walk::left_over(&item.path);
        report.findings.push(Finding {
            weight: Weight::Suspicious,
            kind: Kind::Unfinished,
            ..unreadable(&e, &item.path)
        });
        return Ok(());
    }
    if item.path.is_file() {
        report.findings.extend(files::repairing(&item.path));
    }
    let mut options = job.plan.open.clone();
    if !item.named && item.format != Some(tomokit_formats::nexus::SPEC.name) {
        // What the user says of the containers on a disk is nothing to the other files there.
        (options.dataset, options.image_path, options.angle_path, options.flip_rows) = (None, None, None, false);
    }
    let (links, opens) = container::findings(item, &options);
    // In a folder, which files are damaged and how the others are is told by looking at each. Samples would not tell.
    let opened = match item.path.is_dir() && !job.plan.quick {
        true => walk::open_folder(&item.path, &options),
        false => open(&item.path, &options),
    };
    let opened = match opened {
        Ok(o) => o,
        Err(e) => {
            if files::headerless(item) && options.shape.is_none() {
                report.findings.extend(files::unopened(&item.path));
            }
            report.findings.extend(links);
            // Length and dimensions are said already, better.
            if !report.findings.iter().any(|f| matches!(f.kind, Kind::Size | Kind::Unfinished)) {
                report.findings.push(unread(&e, item));
            }
            return Ok(());
        }
    };
    report.format = Some(opened.format);
    let other = matches!(opened.content, Content::Other);
    report.findings.extend(links.into_iter().map(|mut f| {
        // Links that lead nowhere in a file whose images are all there.
        if !other && opens {
            f.weight = f.weight.min(Weight::Suspicious);
        }
        f
    }));
    let said = !report.findings.is_empty();
    let several = opened.facts.get(COULD_BE_MEANT).is_some();
    let told = opened.warnings.iter().filter(|w| !(several && w.about == About::Several));
    report.findings.extend(told.filter_map(|w| reader(w, said, files::headerless(item))));
    if tomokit_formats::nexus::layout::is_without_scan(&item.path) {
        let text = "flats or darks of a scan whose projections are not beside them";
        report.findings.push(Finding::new(Kind::Counts, Weight::Suspicious, text));
    }
    match opened.content {
        Content::Volume(v) => {
            if files::headerless(item) {
                report.findings.extend(files::opened(&item.path, v.source.shape(), v.source.dtype()));
            }
            stack(&*v.source, Some(&v.meta), item, job, report)?;
            stacks(&opened.facts, ALSO_THERE, item, job, report)
        }
        Content::Scan(s) => scan::examine(&s, item, job, report),
        Content::Other => stacks(&opened.facts, COULD_BE_MEANT, item, job, report),
    }
}

/// Stacks of a container beside the one, or of which none is: each is looked at, and named before what is found.
fn stacks(facts: &Facts, which: &str, item: &Item, job: &Job<'_>, report: &mut Report) -> Result<()> {
    let names = facts.get(which).and_then(|v| v.as_array()).map(Vec::as_slice).unwrap_or_default();
    for name in names.iter().filter_map(|v| v.as_str()) {
        let options = OpenOptions { dataset: Some(name.to_owned()), ..job.plan.open.clone() };
        let mut part = Report::new(item);
        let looked = open(&item.path, &options).and_then(|o| match o.content {
            Content::Volume(v) => stack(&*v.source, Some(&v.meta), item, job, &mut part),
            _ => Ok(()),
        });
        match looked {
            Err(e) if e.fault() == Fault::Interrupted => return Err(e),
            Err(e) => part.findings.push(unread(&e, item)),
            Ok(()) => {}
        }
        report.looked_at += part.looked_at;
        report.bytes_read += part.bytes_read;
        report.findings.extend(part.findings.into_iter().map(|f| {
            // One of many may well be empty; of a volume alone that cannot be.
            let weight = if f.kind == Kind::ZeroVolume { f.weight.min(Weight::Suspicious) } else { f.weight };
            Finding { text: format!("{name}: {}", f.text), weight, ..f }
        }));
    }
    Ok(())
}

/// A remark of the reader, weighed by what it is about.
fn reader(warning: &Warning, links_said: bool, headerless: bool) -> Option<Finding> {
    let (kind, weight) = match warning.about {
        // Said by our own findings, with more detail.
        About::Unfinished if headerless => return None,
        About::Link if links_said => return None,
        About::NeverWritten => (Kind::NeverWritten, Weight::Broken),
        About::Damaged => (Kind::File, Weight::Broken),
        About::Numbering => (Kind::Numbering, Weight::Broken),
        About::Unlike | About::Trailing => (Kind::File, Weight::Suspicious),
        About::Counts => (Kind::Counts, Weight::Suspicious),
        About::Remark | About::NotRead | About::Unfinished | About::Link | About::Several => {
            (Kind::Reader, Weight::Remark)
        }
    };
    Some(Finding::new(kind, weight, warning.text.as_str()))
}

/// What is left after a pass over slices.
pub struct Passed<'a> {
    pub slices: Vec<SliceFacts>,
    pub tracker: Tracker<'a>,
    pub looked_at: Vec<usize>,
    pub unread: Vec<Finding>,
}

/// Samples of a stack: what is normal in it. Slices that cannot be read are no samples.
pub fn survey(source: &dyn FrameSource, frame: &Frame, job: &Job<'_>) -> Result<(Normal, BTreeMap<usize, Look>)> {
    let mut known = BTreeMap::new();
    let wanted = sample_numbers(source.shape().frames);
    pass::pass(source, frame, &wanted, &BTreeMap::new(), job.threads, job.budget, job.progress, job.cancel, |z, l| {
        if let Ok(l) = l {
            known.insert(z, l.clone());
        }
        Ok(())
    })?;
    let samples: Vec<Look> = known.values().cloned().collect();
    Ok((Normal::of(frame, &samples, source.dtype().is_float()), known))
}

/// Reduced pictures that stay within a fifth of the memory.
pub fn frame_of(source: &dyn FrameSource, job: &Job<'_>) -> Frame {
    let shape = source.shape();
    let mut thumb = THUMB;
    while thumb > 4 && shape.frames * thumb * thumb * 4 > job.budget.share(0.2) {
        thumb /= 2;
    }
    Frame::new(shape.rows, shape.cols, source.dtype(), thumb)
}

impl Passed<'_> {
    /// Enters how much was looked at, the values' range and what could not be read.
    pub fn sum_up(&mut self, source: &dyn FrameSource, report: &mut Report) {
        let (shape, dtype) = (source.shape(), source.dtype());
        report.looked_at = self.looked_at.len();
        report.bytes_read = self.looked_at.len() as u64 * (shape.frame_len() * dtype.size()) as u64;
        report.levels = Some(Levels {
            min: self.slices.iter().map(|s| s.min).filter(|v| v.is_finite()).reduce(f32::min),
            max: self.slices.iter().map(|s| s.max).filter(|v| v.is_finite()).reduce(f32::max),
            zero_share: self.slices.iter().map(|s| s.zeros as f64).sum::<f64>()
                / self.slices.iter().map(|s| s.voxels as f64).sum::<f64>().max(1.0),
        });
        report.findings.append(&mut self.unread);
    }
}

/// Every slice (or with `--quick` the samples), in order.
pub fn look_at_all<'a>(
    source: &dyn FrameSource,
    frame: &'a Frame,
    normal: &'a Normal,
    known: &BTreeMap<usize, Look>,
    job: &Job<'_>,
) -> Result<Passed<'a>> {
    let wanted: Vec<usize> = match job.plan.quick {
        true => sample_numbers(source.shape().frames),
        false => (0..source.shape().frames).collect(),
    };
    let mut p =
        Passed { slices: Vec::new(), tracker: Tracker::new(frame, normal), looked_at: Vec::new(), unread: Vec::new() };
    pass::pass(source, frame, &wanted, known, job.threads, job.budget, job.progress, job.cancel, |z, l| {
        match l {
            Ok(l) => {
                let lost = p.tracker.add(z, l);
                p.slices.push(SliceFacts::of(z, l, frame, lost));
                p.looked_at.push(z);
            }
            Err(e) => {
                let f = unreadable(&e, std::path::Path::new("")).at(z..z + 1);
                let file = f.file.clone().or_else(|| zeros::file_of(source, &(z..z + 1)));
                let text = format!("slice {z} cannot be read: {}", f.text);
                p.unread.push(Finding { weight: Weight::Broken, text, file, ..f });
            }
        }
        Ok(())
    })?;
    let more = p.unread.len().saturating_sub(UNREAD);
    if more > 0 {
        p.unread.truncate(UNREAD);
        p.unread.push(Finding::new(Kind::Unreadable, Weight::Broken, format!("{more} more slices cannot be read")));
    }
    Ok(p)
}

/// Says so where slices are too small to be compared with each other.
pub fn too_small(source: &dyn FrameSource, least: usize) -> Option<Finding> {
    let s = source.shape();
    let text = format!(
        "slices of {} voxels are looked at for zeros and numbers that are none: repeats and levels are compared from {least} on",
        s.frame_len()
    );
    (s.frame_len() < least && s.frames > 1).then(|| Finding::new(Kind::Reader, Weight::Remark, text))
}

/// A volume, a series, an image.
fn stack(
    source: &dyn FrameSource,
    meta: Option<&VolumeMeta>,
    item: &Item,
    job: &Job<'_>,
    report: &mut Report,
) -> Result<()> {
    let (shape, dtype) = (source.shape(), source.dtype());
    shape.len()?;
    report.shape = Some(shape);
    report.dtype = Some(dtype);
    if shape.is_empty() {
        report.findings.push(Finding::new(
            Kind::Size,
            Weight::Broken,
            format!("there is not a single value in it ({shape})"),
        ));
        return Ok(());
    }
    let frame = frame_of(source, job);
    let (normal, known) = survey(source, &frame, job)?;
    let mut p = look_at_all(source, &frame, &normal, &known, job)?;
    p.sum_up(source, report);
    report.findings.extend(too_small(source, PICTURE));
    let round = sideways::of(&p.slices, shape.rows, &normal, dtype.is_float());
    match &round {
        Some(round) => report.findings.extend(round.findings()),
        None => report.findings.extend(p.tracker.findings(source, &p.looked_at)?),
    }
    report.findings.extend(values::findings(&p.slices, &normal, dtype, PICTURE));
    // Said already: what such slices look like beside others says nothing more.
    let odd = values::without_pattern(&p.slices);
    p.slices.iter_mut().for_each(|s| s.bad |= odd.contains(&s.z));
    let whole = !job.plan.quick;
    if whole && round.is_none() {
        report.findings.extend(order::findings(&p.slices, &normal, source)?);
        report.findings.extend(levels::findings(&p.slices, frame.thumb_cols, &normal));
        if files::headerless(item)
            && dtype.is_float()
            && let Some(told) = meta.and_then(files::told_statistics)
        {
            report.findings.extend(values::statistics(&told, &p.slices));
        }
    }
    // Only a sidecar or a name can exchange rows and columns; a file with a header cannot.
    if files::headerless(item) {
        report.findings.extend(files::width(source)?);
    }
    Ok(())
}
