//! Scan folders of ESRF and PyHST2: numbered projections, `refHSTNNNN` (median flats at projection NNNN), `dark.edf`,
//! raw `refNNNN_NNNN` and `darkendNNNN`, and `<scan>.info` with the number of projections, the angular range and the
//! pixel size. Angles in unequal steps come from an `angles.txt` beside them.
//!
//! Guarantees: file numbers decide positions; what is missing or assumed becomes a warning. Leaves to others: the
//! PyHST2 `.par` that may describe the same files with exact angles and axis.

use super::folder::{Numbered, choose, edf_stem, series, tidy};
use super::{SPEC, facts_of, read::File};
use crate::angle_list;
use crate::model::{Angles, Facts, RefPosition, RefSet, Scan};
use crate::registry::*;
use crate::{About, Error, FrameSource, Region, Result, Warning, Warnings};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a file is, by its name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Role {
    /// A projection or slice.
    Image,
    /// `refHSTNNNN`: the median of the flats at projection NNNN.
    MedianFlat(u64),
    /// `refIIII_NNNN`: flat number IIII at projection NNNN.
    RawFlat(u64),
    /// `dark`, `darkHST`: the average dark.
    MeanDark,
    /// `darkNNNN`: one dark frame.
    RawDark,
    /// `darkendNNNN`: the dark taken after the scan.
    EndDark,
    /// `*_slice_*` (reconstructed), `histogram_*`, double flat-fields: no part of a scan's input.
    Other,
}

/// Tells the role from a name without its extension.
pub fn role(stem: &str) -> Role {
    let s = stem.to_ascii_lowercase();
    let number = |rest: &str| {
        let rest = rest.strip_prefix('_').unwrap_or(rest);
        (!rest.is_empty() && rest.len() <= 18 && rest.bytes().all(|b| b.is_ascii_digit()))
            .then(|| rest.parse().unwrap_or(0))
    };
    if s.contains("_slice_") || s.starts_with("histogram_") || s.ends_with("_ff") {
        return Role::Other;
    }
    if let Some(n) = s.strip_prefix("refhst").and_then(number) {
        return Role::MedianFlat(n);
    }
    if let Some((a, b)) = s.strip_prefix("ref").and_then(|r| r.trim_start_matches('_').split_once('_'))
        && let (Some(_), Some(n)) = (number(a), number(b))
    {
        return Role::RawFlat(n);
    }
    match s.strip_prefix("dark") {
        Some("" | "hst" | "_mean" | "_median") => Role::MeanDark,
        Some(rest) if rest.strip_prefix("hst").and_then(number).is_some() => Role::MeanDark,
        Some(rest) if rest == "end" || rest.strip_prefix("end").and_then(number).is_some() => Role::EndDark,
        Some(rest) if number(rest).is_some() => Role::RawDark,
        _ => Role::Image,
    }
}

/// True for flats and darks by name.
pub fn is_reference(name: &str) -> bool {
    edf_stem(name).is_some_and(|s| !matches!(role(s), Role::Image | Role::Other))
}

/// True where a folder with EDF images has references or a `<scan>.info`.
pub fn is_scan(c: &Candidate) -> bool {
    c.entries.iter().any(|n| is_reference(&n.to_string_lossy())) || scan_info(c).is_some()
}

/// The values of a `<scan>.info`, by upper-case key.
type Info = BTreeMap<String, String>;

/// Finds and reads `<scan>.info` (`KEY=   value` lines): the one named like the folder, else any with `TOMO_N`.
fn scan_info(c: &Candidate) -> Option<(PathBuf, Info)> {
    let folder = c.path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
    let mut found: Vec<(bool, PathBuf, Info)> = Vec::new();
    for name in &c.entries {
        let lower = name.to_string_lossy().to_lowercase();
        let Some(stem) = lower.strip_suffix(".info").filter(|s| !s.ends_with(".vol") && !s.ends_with(".raw")) else {
            continue;
        };
        let path = c.path.join(name);
        let Ok(text) = crate::io::read_small_text(&path, 1 << 20) else {
            continue;
        };
        let info: Info = text
            .lines()
            .filter_map(|l| l.split_once('='))
            .map(|(k, v)| (k.trim().to_ascii_uppercase(), v.trim().to_owned()))
            .collect();
        if info.contains_key("TOMO_N") || info.contains_key("SCANRANGE") {
            found.push((stem == folder, path, info));
        }
    }
    found.sort_by_key(|f| !f.0);
    found.into_iter().next().map(|(_, p, i)| (p, i))
}

/// Reads references that belong together and checks their size against the projections.
fn refs(
    paths: Vec<PathBuf>,
    position: f64,
    averaged: bool,
    like: &dyn FrameSource,
    warnings: &mut Warnings,
) -> Result<RefSet> {
    let first = paths[0].clone();
    let name = |p: &Path| p.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let origin = match paths.len() {
        1 => name(&first),
        n => format!("{} … ({n} files)", name(&first)),
    };
    // A single reference file may hold several frames; a set of files holds one each.
    let source: Arc<dyn FrameSource> = if paths.len() == 1 {
        let mut own = Warnings::default();
        let file = Arc::new(File::open(&first)?);
        own.extend(file.warnings().iter().take(3).cloned());
        let stack = super::stack::Stack::new(file, &mut own)?;
        warnings.extend(own.into_iter().map(|w| w.of(&origin)));
        Arc::new(stack)
    } else {
        Arc::new(series(paths)?)
    };
    let (have, want) = (source.shape(), like.shape());
    if (have.rows, have.cols) != (want.rows, want.cols) {
        return Err(Error::file(&first, "this reference differs in size from the projections")
            .expected(format!("{} × {} pixels", want.rows, want.cols))
            .found(format!("{} × {}", have.rows, have.cols)));
    }
    Ok(RefSet { source, position: RefPosition(position), averaged, origin })
}

/// Mean of the middle row of the first frame: enough to compare levels without reading a whole frame.
fn level(source: &dyn FrameSource) -> Result<f64> {
    let s = source.shape();
    let mut out = vec![0f32; s.cols];
    source.read_f32(&Region::of_rows(s, 0..1, s.rows / 2..s.rows / 2 + 1), &mut Vec::new(), &mut out)?;
    Ok(out.iter().map(|v| f64::from(*v)).sum::<f64>() / s.cols as f64)
}

/// Opens a folder as a scan.
pub fn open(c: &Candidate, _: &OpenOptions) -> Result<Opened> {
    let mut warnings = Warnings::default();
    let (prefix, mut files) = choose(c, &mut warnings)?;
    let step = tidy(&mut files, &mut warnings);
    let info = scan_info(c);
    let value = |key: &str| info.as_ref().and_then(|(_, i)| i.get(key)).and_then(|t| t.parse::<f64>().ok());
    let whole = |key: &str| value(key).filter(|v| *v >= 1.0 && v.fract() == 0.0 && *v < 1e8).map(|v| v as usize);

    let first_number = files[0].number;
    let tomo_n = whole("TOMO_N");
    if let Some(n) = tomo_n {
        if files.len() > n {
            let extra = files.len() - n;
            warnings
                .push(format!("{extra} images after the TOMO_N = {n} projections are left out (checks of movement)"));
            files.truncate(n);
        } else if files.len() < n {
            warnings.add(
                About::Counts,
                format!("the scan is incomplete: TOMO_N = {n}, but {} projections are there", files.len()),
            );
        }
    }
    let position_of = |n: u64| n.saturating_sub(first_number) as f64 / step as f64;
    let (mut angles, covered) = angles(&files, tomo_n, value("SCANRANGE"), step, &mut warnings);
    let list = c.path.join(angle_list::NAME);
    let listed = list.is_file();
    if listed {
        angles = angle_list::read_for(&list, files.len())?;
    }
    let numbers = (first_number, files[files.len() - 1].number);
    let mut used: Vec<PathBuf> = files.iter().map(|f| f.path.clone()).collect();
    let head = File::open(&used[0])?;
    let projections = Arc::new(series(used.clone())?);

    let mut medians: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut raws: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
    let (mut mean_darks, mut raw_darks, mut end_darks) = (Vec::new(), Vec::new(), Vec::new());
    for name in &c.entries {
        let text = name.to_string_lossy();
        let path = c.path.join(name);
        match edf_stem(&text).map(role) {
            Some(Role::MedianFlat(n)) => drop(medians.insert(n, path)),
            Some(Role::RawFlat(n)) => raws.entry(n).or_default().push(path),
            Some(Role::MeanDark) => mean_darks.push(path),
            Some(Role::RawDark) => raw_darks.push(path),
            Some(Role::EndDark) => end_darks.push(path),
            Some(Role::Image | Role::Other) => {}
            None if text.to_lowercase().ends_with(".abo") => {
                warnings.add(About::Counts, format!("{text}: the scan was aborted"));
            }
            None => {}
        }
    }
    let sets: BTreeSet<u64> = medians.keys().chain(raws.keys()).copied().collect();
    // Numbers that begin elsewhere may be counted from there or not.
    let counted = tomo_n.filter(|_| first_number == 0 && step == 1).zip(whole("REF_ON"));
    warnings.extend(counted.and_then(|(n, every)| gaps_of_flats(&sets, n, every)));
    let mut flats = Vec::new();
    let like = projections.as_ref();
    for (n, path) in &medians {
        flats.push(refs(vec![path.clone()], position_of(*n), true, like, &mut warnings)?);
        used.push(path.clone());
        // The raw flats the median was made of add nothing.
        raws.remove(n);
    }
    for (n, paths) in raws {
        used.extend(paths.iter().cloned());
        flats.push(refs(paths, position_of(n), false, like, &mut warnings)?);
    }
    flats.sort_by(|a, b| a.position.0.total_cmp(&b.position.0));
    let end = projections.shape().frames as f64;
    let mut darks = Vec::new();
    // Single darks are used only where no average was made of them.
    let raw_darks = if mean_darks.is_empty() { raw_darks } else { Vec::new() };
    let sets = mean_darks.into_iter().map(|p| (vec![p], 0.0, true)).chain([(raw_darks, 0.0, false)]);
    for (paths, position, averaged) in sets.chain([(end_darks, end, false)]) {
        if !paths.is_empty() {
            used.extend(paths.iter().cloned());
            darks.push(refs(paths, position, averaged, like, &mut warnings)?);
        }
    }
    if flats.is_empty() {
        warnings.push("no flats (refHSTNNNN.edf or refNNNN_NNNN.edf)");
    }
    if darks.is_empty() {
        warnings.push("no darks (dark.edf)");
    }
    if let (Some(d), Some(f)) = (darks.first(), flats.first()) {
        let (dark, flat) = (level(d.source.as_ref())?, level(f.source.as_ref())?);
        if dark > flat {
            let text = format!(
                "the dark ({}: {dark:.1}) is brighter than the flat ({}: {flat:.1}): is it a sum instead of a mean?",
                d.origin, f.origin
            );
            warnings.add(About::Damaged, text);
        }
    }
    let pixel = value("PIXELSIZE").filter(|p| *p > 0.0);
    let pixel_um = pixel.map(|p| [p, p]).or(super::meta_of(head.header()).voxel_um.map(|v| [v[1], v[2]]));

    let mut facts = facts_of(head.header(), &mut warnings);
    add_facts(&mut facts, &info, &prefix, numbers, covered);
    used.extend(info.map(|(p, _)| p));
    used.extend(listed.then_some(list));
    let name = prefix.trim_end_matches(['_', '-']);
    let name =
        if name.is_empty() { c.path.file_name().map(|n| n.to_string_lossy()).unwrap_or_default() } else { name.into() };
    let scan = Scan {
        name: name.into_owned(),
        layout: "edf",
        projections,
        projections_origin: format!(
            "{}NNNN.edf, NNNN = {} to {}",
            c.path.join(&prefix).display(),
            numbers.0,
            numbers.1
        ),
        flats,
        darks,
        angles,
        rotation_axis_px: None,
        pixel_um,
        field_of_view: None,
        damaged: Vec::new(),
        is_attenuation: false,
        zero_clip: None,
        movement: None,
        overlap_px: None,
        current: None,
        files: used,
    };
    Ok(Opened { format: SPEC.name, content: Content::Scan(Box::new(scan)), facts, warnings })
}

/// What is missing of the sets of flats taken every so many of `n` projections. After the last one that is there, perhaps none
/// were taken; before it, they got lost.
fn gaps_of_flats(there: &BTreeSet<u64>, n: usize, every: usize) -> Option<Warning> {
    let Some(last) = there.last().copied() else {
        let text = format!("flats were taken every {every} projections (REF_ON), but there are none");
        return Some(Warning::new(About::Counts, text));
    };
    let missing: Vec<u64> = (0..=n as u64).step_by(every).filter(|at| !there.contains(at)).collect();
    let first = missing.first()?;
    let about = if *first < last { About::Counts } else { About::Remark };
    let few: Vec<String> = missing.iter().take(5).map(u64::to_string).collect();
    let more = if missing.len() > few.len() { ", …" } else { "" };
    let text =
        format!("flats were taken every {every} projections (REF_ON), but there are none of {}{more}", few.join(", "));
    Some(Warning::new(about, text))
}

/// One angle per projection from its file number, and the range in degrees.
fn angles(
    files: &[Numbered],
    tomo_n: Option<usize>,
    range: Option<f64>,
    step: u64,
    warnings: &mut Warnings,
) -> (Angles, f64) {
    let first = files[0].number;
    let steps = (files[files.len() - 1].number - first) / step + 1;
    let known = range.filter(|r| r.is_finite() && *r != 0.0);
    let degrees = known.unwrap_or(180.0);
    let n = tomo_n.unwrap_or(steps as usize);
    let origin = match (known, tomo_n) {
        (Some(r), Some(n)) => format!(".info: ScanRange {r}° over TOMO_N = {n}"),
        (Some(r), None) => format!(".info: ScanRange {r}°, {n} projections by their numbers"),
        _ => "assumed 0..180".to_owned(),
    };
    if known.is_none() {
        warnings.push(format!(
            "no angles: assumed 0..180, {n} equal steps without the end point; a PyHST2 .par, or an angles.txt beside the images, says better"
        ));
    }
    let at = |f: &Numbered| ((f.number - first) / step) as f64 * degrees.to_radians() / n as f64;
    (Angles { rad: files.iter().map(at).collect(), origin }, degrees)
}

fn add_facts(facts: &mut Facts, info: &Option<(PathBuf, Info)>, prefix: &str, numbers: (u64, u64), range: f64) {
    facts.add("prefix", prefix);
    facts.add("first_number", numbers.0);
    facts.add("last_number", numbers.1);
    facts.add_unit("scan_range", range, "deg");
    if let Some((_, i)) = info {
        let map: serde_json::Map<_, _> = i.iter().map(|(k, v)| (k.clone(), serde_json::json!(v))).collect();
        facts.add("scan_info", map);
    }
}
