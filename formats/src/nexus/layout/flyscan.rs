//! SOLEIL Flyscan (ANATOMIX, PSICHE): a scan folder, or its projections' file with the neighbours picked up.
//!
//! `<scan>/<scan>.nxs` holds the projections and angles under `/<NXentry>/scan_data`, `pre_ref.nxs`, `post_ref.nxs` and
//! `post_dark.nxs` the references at their root, `<scan>.par` what PyHST2 needs. Without the renaming of SPvC a scan is
//! `flyscan_17033-0001.nxs` (projections), `flyscan_17034-0001.nxs` (flats), `flyscan_17035-0001.nxs` (darks). A missing
//! reference is a warning: the flats after the scan are often lost when a scan is aborted. A damaged one is a warning to
//! look at the scan, and in the way of computing with it (`Scan::damaged`).

use super::angles::{self, is_angle_name};
use super::common::*;
use crate::model::{Angles, FieldOfView, RefSet};
use crate::nexus::H5;
use crate::par::Par;
use crate::registry::{OpenOptions, Opened};
use crate::{About, Error, Result, Scan};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The files of one scan.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    projections: PathBuf,
    /// Flats before and after, darks: file and position (false = before the scan, true = after).
    flats: Vec<(PathBuf, bool)>,
    darks: Vec<(PathBuf, bool)>,
    par: Option<PathBuf>,
    /// Projections of further scans in the folder.
    others: Vec<PathBuf>,
}

impl Parts {
    /// Why this is a scan.
    pub fn reason(&self) -> String {
        let name = |p: &PathBuf| p.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let refs: Vec<_> = self.flats.iter().chain(&self.darks).map(|r| name(&r.0)).collect();
        format!(
            "Flyscan folder: {} with {}",
            name(&self.projections),
            if refs.is_empty() { "no references".into() } else { refs.join(", ") }
        )
    }
}

/// `pre_ref`, `x_post_dark` → is it a dark, was it taken after.
fn reference(stem: &str) -> Option<(bool, bool)> {
    let s = stem.to_ascii_lowercase();
    [("pre_ref", (false, false)), ("post_ref", (false, true)), ("pre_dark", (true, false)), ("post_dark", (true, true))]
        .into_iter()
        .find(|(name, _)| s == *name || s.ends_with(&format!("_{name}")))
        .map(|r| r.1)
}

/// True for a file of flats or darks beside which there is no file that could hold the projections.
pub fn is_without_scan(path: &Path) -> bool {
    let stem = |p: &Path| Some(p.file_stem()?.to_string_lossy().into_owned());
    let is_file = |p: &Path| p.extension().is_some_and(|e| e.eq_ignore_ascii_case("nxs"));
    let is_reference = |p: &Path| stem(p).is_some_and(|s| reference(&s).is_some());
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(mut beside) = std::fs::read_dir(folder) else { return false };
    is_file(path)
        && is_reference(path)
        && beside.all(|e| e.is_ok_and(|e| !is_file(&e.path()) || is_reference(&e.path())))
}

/// `flyscan_17033-0001` → (`flyscan_`, 17033, `-0001`).
fn numbered(stem: &str) -> Option<(&str, u64, &str)> {
    let (head, tail) = stem.rsplit_once('-')?;
    let start = head.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |i| i + 1);
    let number = head.get(start..)?.parse().ok()?;
    let is_run = !tail.is_empty() && tail.bytes().all(|b| b.is_ascii_digit());
    (is_run && head[..start].to_ascii_lowercase().starts_with("flyscan"))
        .then(|| (&head[..start], number, &stem[head.len()..]))
}

/// A folder's own name, also for `.` and links.
fn folder_name(dir: &Path) -> Option<String> {
    let full = dir.canonicalize();
    full.as_deref().unwrap_or(dir).file_name().map(|n| n.to_string_lossy().into_owned())
}

/// Finds the scan in a folder by the names of its entries.
pub fn parts_of(dir: &Path, entries: &[OsString]) -> Option<Parts> {
    let own = folder_name(dir);
    let (mut rest, mut flats, mut darks, mut pars): (Vec<PathBuf>, Vec<_>, Vec<_>, Vec<PathBuf>) = Default::default();
    for e in entries {
        let path = dir.join(e);
        let (Some(stem), Some(ext)) = (path.file_stem().and_then(|s| s.to_str()), path.extension()) else { continue };
        if ext.eq_ignore_ascii_case("par") {
            pars.push(path);
        } else if ext.eq_ignore_ascii_case("nxs") {
            match reference(stem) {
                Some((false, after)) => flats.push((path, after)),
                Some((true, after)) => darks.push((path, after)),
                None => rest.push(path),
            }
        }
    }
    let stem_is = |p: &PathBuf, name: &str| p.file_stem().is_some_and(|s| s == name);
    let named = own.as_ref().and_then(|n| rest.iter().position(|p| stem_is(p, n)));
    let runs: Vec<PathBuf> =
        rest.iter().filter(|p| p.file_stem().and_then(|s| s.to_str()).and_then(numbered).is_some()).cloned().collect();
    let known = named.is_some() || !flats.is_empty() || !darks.is_empty();
    let projections = match named {
        Some(i) => rest.remove(i),
        None if known && rest.len() == 1 => rest.remove(0),
        None if !known && !runs.is_empty() => {
            // Sorted by name, numbers of equal length: the projections come before their flats and darks.
            let first = runs[0].clone();
            rest = runs.into_iter().skip(1).collect();
            first
        }
        None => return None,
    };
    let mut parts = Parts { projections, flats, darks, par: None, others: rest };
    if parts.flats.is_empty() && parts.darks.is_empty() {
        take_numbered(&mut parts);
    }
    let stem = parts.projections.file_stem().and_then(|s| s.to_str()).unwrap_or_default().to_owned();
    pars.retain(|p| !p.file_stem().is_some_and(|s| s.to_string_lossy().ends_with("_slice")));
    let par = pars
        .iter()
        .position(|p| stem_is(p, &stem))
        .or_else(|| own.as_ref().and_then(|n| pars.iter().position(|p| stem_is(p, n))));
    parts.par = match par {
        Some(i) => Some(pars.swap_remove(i)),
        None if pars.len() == 1 => pars.pop(),
        None => None,
    };
    Some(parts)
}

/// Flats and darks under the next two numbers.
fn take_numbered(parts: &mut Parts) {
    let Some((head, n, tail)) = parts.projections.file_stem().and_then(|s| s.to_str()).and_then(numbered) else {
        return;
    };
    for (step, darks) in [(1, false), (2, true)] {
        let Some(next) = n.checked_add(step) else { return };
        let path = parts.projections.with_file_name(format!("{head}{next}{tail}.nxs"));
        if let Some(i) = parts.others.iter().position(|p| *p == path) {
            let path = parts.others.remove(i);
            if darks { parts.darks.push((path, true)) } else { parts.flats.push((path, true)) }
        }
    }
}

/// Opens a scan folder.
pub fn open_dir(path: &Path, options: &OpenOptions) -> Result<Opened> {
    let look = crate::registry::Candidate::look(path)?;
    let parts = parts_of(path, &look.entries).ok_or_else(|| {
        Error::unsupported(path, "no Flyscan scan in this folder")
            .expected("<folder>.nxs, or one .nxs beside pre_ref.nxs, post_ref.nxs, post_dark.nxs")
            .hint("name the file of the projections instead")
    })?;
    let h5 = H5::open(&parts.projections)?;
    let entry = entry(&h5).ok_or_else(|| no_images(&h5))?;
    read(&h5, &entry, &parts, folder_name(path).unwrap_or_else(|| stem(&h5)), options)
}

/// Opens a projections' file.
pub fn open(h5: &H5, options: &OpenOptions) -> Option<Result<Opened>> {
    let entry = entry(h5)?;
    let data = format!("{entry}/scan_data");
    let image = options.image_path.clone().or_else(|| image(h5, &data));
    let path = std::path::absolute(h5.path()).ok()?;
    let entries =
        path.parent().and_then(|d| crate::registry::Candidate::look(d).ok()).map(|c| c.entries).unwrap_or_default();
    let dir = path.parent()?;
    let mut parts = Parts { projections: path.clone(), flats: vec![], darks: vec![], par: None, others: vec![] };
    match parts_of(dir, &entries) {
        Some(p) if p.projections == path => parts = p,
        _ if path.file_stem().and_then(|s| s.to_str()).and_then(numbered).is_some() => {
            parts.others = entries.iter().map(|e| dir.join(e)).collect();
            take_numbered(&mut parts);
            parts.others.clear();
        }
        _ => {}
    }
    if parts.par.is_none() {
        parts.par = Some(path.with_extension("par")).filter(|p| p.is_file());
    }
    let is_scan = options.angle_path.is_some()
        || parts.par.is_some()
        || !(parts.flats.is_empty() && parts.darks.is_empty())
        || image.as_ref().is_some_and(|i| angle(h5, &data, i).is_some());
    // Scans without images or without rotation: other SOLEIL beamlines use the same layout.
    if image.is_none() || !is_scan {
        return None;
    }
    Some(read(h5, &entry, &parts, stem(h5), options))
}

/// The entry: of class NXentry, else named `flyscan_…`, else the only group; it must have a `scan_data`.
fn entry(h5: &H5) -> Option<String> {
    let all = groups(h5, "/", 1);
    let all = &all[1..];
    let has = |g: &&String| h5.exists(&format!("{g}/scan_data"));
    all.iter()
        .find(|g| h5.nx_class(g).as_deref() == Some("NXentry") && has(g))
        .or_else(|| all.iter().find(|g| g.to_ascii_lowercase().starts_with("/flyscan_") && has(g)))
        .or_else(|| all.first().filter(|g| all.len() == 1 && has(g)))
        .cloned()
}

fn no_images(h5: &H5) -> Error {
    Error::file(h5.path(), "no images in the Flyscan layout")
        .expected("/<entry>/scan_data with a stack of images")
        .hint("list what is there with 'tomo info --tree', then name the images with --image-path")
}

/// The images in `scan_data`: `orca_image` before `*_image` before the largest stack; integers before floats.
fn image(h5: &H5, data: &str) -> Option<String> {
    let name = |p: &str| p.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let rank = |p: &str| match name(p).as_str() {
        "orca_image" => 0,
        n if n.ends_with("_image") => 1,
        _ => 2,
    };
    let mut best: Option<(bool, i32, std::cmp::Reverse<u64>, String)> = None;
    for path in datasets(h5, data) {
        let Ok(info) = h5.dataset_info(&path) else { continue };
        let Some(dtype) = info.dtype.filter(|_| info.shape.len() == 3) else { continue };
        let here = (dtype.is_float(), rank(&path), std::cmp::Reverse(info.len()), path);
        if best.as_ref().is_none_or(|b| here < *b) {
            best = Some(here);
        }
    }
    // A link that leads nowhere is the image too: opening it says which file is missing.
    best.map(|b| b.3).or_else(|| {
        let children = h5.children(data).ok()?;
        children.into_iter().find(|c| !c.resolves && rank(&c.path) < 2).map(|c| c.path)
    })
}

/// The angles beside the images: as many as frames, or one more; axes called Rz first. Where there are none, a list that
/// is a tenth too short at most: its scan or its copy was cut. A shorter one is of something else.
fn angle(h5: &H5, data: &str, image: &str) -> Option<String> {
    let n = shape_of(h5, image).and_then(|s| s.first().copied()).and_then(|n| usize::try_from(n).ok())?;
    let mut all: Vec<(usize, bool, String)> = datasets(h5, data)
        .into_iter()
        .filter_map(|p| {
            let name = p.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
            let float = h5.dataset_info(&p).ok()?.dtype?.is_float();
            let (have, n) = (list_len(h5, &p)?, n.max(1));
            let off = if have >= n { have - n } else { n - have + 1 };
            let near = have <= n.saturating_add(1) && have >= n - n / 10;
            (is_angle_name(&name) && float && near).then(|| (off, !name.contains("rz"), p.clone()))
        })
        .collect();
    all.sort();
    all.into_iter().next().map(|a| a.2)
}

fn read(h5: &H5, entry: &str, parts: &Parts, name: String, options: &OpenOptions) -> Result<Opened> {
    let mut notes = Notes::of(h5);
    let data = format!("{entry}/scan_data");
    let image = options.image_path.clone().or_else(|| image(h5, &data)).ok_or_else(|| no_images(h5))?;
    let projections = stack(h5, &image, &mut notes)?;
    let n = projections.shape().frames;
    let par = parts.par.as_ref().and_then(|p| match Par::read(p) {
        Ok(par) => Some(par),
        Err(e) => {
            notes.warn_of(About::Damaged, format!("the .par cannot be read: {e}"));
            None
        }
    });
    let angles = angles_of(h5, &data, &image, par.as_ref(), n, options, &mut notes)?;
    let mut scan = bare(name, "flyscan", h5, projections, &image, angles);
    for (files, what) in [(&parts.flats, Kind::Flats), (&parts.darks, Kind::Darks)] {
        for (file, after) in files {
            match references(file, what, if *after { n as f64 } else { 0.0 }, n, &mut notes) {
                Ok(set) => {
                    scan.files.push(file.clone());
                    if what == Kind::Flats { &mut scan.flats } else { &mut scan.darks }.push(set);
                }
                Err(e) => {
                    notes.warn(format!("{} not used: {e}", what.name()));
                    scan.damaged.push(e.to_string());
                }
            }
        }
    }
    missing(parts, &mut notes);
    if let Some(par) = &par {
        scan.files.extend(parts.par.clone());
        apply(par, &mut scan, &mut notes);
    }
    if let Some(t) = text(h5, &format!("{entry}/title")) {
        notes.facts.add("title", t);
    }
    for key in ["start_time", "end_time", "experiment_identifier"] {
        if let Some(t) = text(h5, &format!("{entry}/{key}")) {
            notes.facts.add(key, t);
        }
    }
    finish(scan, notes, options)
}

/// Says which of the usual references is not there.
fn missing(parts: &Parts, notes: &mut Notes) {
    let has = |sets: &[(PathBuf, bool)], after| sets.iter().any(|s| s.1 == after);
    // Numbered files have their flats after the scan only.
    if has(&parts.flats, true) && !has(&parts.flats, false) && reference_names(parts) {
        notes.warn("pre_ref.nxs is missing: flats from after the scan only");
    }
    if has(&parts.flats, false) && !has(&parts.flats, true) {
        let text = "post_ref.nxs is missing: flats from before the scan only; was the scan aborted?";
        notes.warn_of(About::Counts, text);
    }
    if !parts.others.is_empty() {
        let names: Vec<_> = parts.others.iter().filter_map(|p| p.file_name()).map(|n| n.to_string_lossy()).collect();
        notes.warn(format!("{} further .nxs file(s) beside the scan: {}", names.len(), names.join(", ")));
    }
}

fn reference_names(parts: &Parts) -> bool {
    parts.flats.iter().all(|f| f.0.file_stem().and_then(|s| s.to_str()).and_then(reference).is_some())
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Flats,
    Darks,
}

impl Kind {
    fn name(self) -> &'static str {
        if self == Kind::Flats { "flats" } else { "darks" }
    }

    /// Start of the datasets' names at the root of the reference files.
    fn prefix(self) -> &'static str {
        if self == Kind::Flats { "ref_" } else { "dark_" }
    }
}

/// The frames in a reference file: a stack `ref_0` before the average `ref_2d` before whatever `scan_data` holds.
fn references(file: &Path, kind: Kind, position: f64, projections: usize, notes: &mut Notes) -> Result<RefSet> {
    let h5 = H5::open(file)?;
    let rank = |p: &str| shape_of(&h5, p).map(|s| s.len());
    let mut found: Vec<String> = datasets(&h5, "/").into_iter().filter(|p| p[1..].starts_with(kind.prefix())).collect();
    let stacks: Vec<String> = found.iter().filter(|p| rank(p) == Some(3)).cloned().collect();
    found.retain(|p| rank(p) == Some(2));
    if stacks.len() > 1 {
        notes.warn(format!(
            "{} holds {} stacks ({}): the first is used",
            file.display(),
            stacks.len(),
            stacks.join(", ")
        ));
    }
    let raw = || entry(&h5).and_then(|e| image(&h5, &format!("{e}/scan_data")));
    let path = stacks.into_iter().next().or_else(|| found.into_iter().next()).or_else(raw).ok_or_else(|| {
        Error::file(file, format!("no {} in this file", kind.name())).expected(format!(
            "/{}0 or /{}2d",
            kind.prefix(),
            kind.prefix()
        ))
    })?;
    let set = ref_set(&h5, &path, position, notes)?;
    // A numbered neighbour as long as the scan itself is the next scan, not its references.
    let frames = set.source.shape().frames;
    if frames >= projections.max(2) && numbered(&stem(&h5)).is_some() {
        return Err(Error::file(file, "as many frames as the scan itself: another scan").found(frames));
    }
    Ok(set)
}

fn angles_of(
    h5: &H5,
    data: &str,
    image: &str,
    par: Option<&Par>,
    n: usize,
    options: &OpenOptions,
    notes: &mut Notes,
) -> Result<Angles> {
    if let Some(path) = options.angle_path.clone().or_else(|| angle(h5, data, image)) {
        let values = h5.read_f64(&path)?;
        let unit = h5.attr_text(&path, "units");
        let rad = angles::to_rad(&values, unit.as_deref(), false, &mut notes.warnings);
        return Ok(Angles { rad, origin: origin(h5, &path) });
    }
    let step =
        par.and_then(|p| number(p, "ANGLE_BETWEEN_PROJECTIONS", notes)).filter(|s| *s != 0.0).ok_or_else(|| {
            Error::file(h5.path(), "no rotation angles beside the images, and no .par with ANGLE_BETWEEN_PROJECTIONS")
                .hint("name their dataset with --angle-path")
        })?;
    notes.warn(format!("the file holds no angles: {step} deg per projection from the .par"));
    let rad = (0..n).map(|i| (step * i as f64).to_radians()).collect();
    Ok(Angles { rad, origin: "ANGLE_BETWEEN_PROJECTIONS".into() })
}

/// A number of the `.par`; one that cannot be read is noted.
fn number(par: &Par, key: &str, notes: &mut Notes) -> Option<f64> {
    par.f64(key).unwrap_or_else(|e| {
        notes.warn(e.to_string());
        None
    })
}

/// What the `.par` adds to the scan, and where it disagrees with it.
fn apply(par: &Par, scan: &mut Scan, notes: &mut Notes) {
    let shape = scan.projections.shape();
    // Without them units and axis are others, silently. A file that is whole has the first two, and ends in a line end.
    const USUAL: [&str; 3] = ["NUM_IMAGE_1", "ANGLE_BETWEEN_PROJECTIONS", "ROTATION_AXIS_POSITION"];
    let usual = if par.bytes().ends_with(b"\n") { &USUAL[..2] } else { &USUAL[..] };
    let absent: Vec<&str> = usual.iter().copied().filter(|key| par.value(key).is_none()).collect();
    if !absent.is_empty() {
        let text = format!("the .par says nothing of {}: is it empty or incomplete?", absent.join(", "));
        notes.warn_of(About::Counts, text);
    }
    let mut get = |key| number(par, key, notes);
    let positive = |v: &f64| *v > 0.0;
    let (h, v) = (get("IMAGE_PIXEL_SIZE_1").filter(positive), get("IMAGE_PIXEL_SIZE_2").filter(positive));
    scan.pixel_um = h.map(|h| [v.unwrap_or(h), h]);
    // 0 is what PyHST2 assumes where the key says nothing.
    scan.rotation_axis_px = get("ROTATION_AXIS_POSITION").filter(|a| *a != 0.0);
    scan.zero_clip = get("ZEROCLIPVALUE");
    scan.is_attenuation = get("TAKE_LOGARITHM") == Some(0.0);
    let images = get("NUM_FIRST_IMAGE").zip(get("NUM_LAST_IMAGE")).map(|(a, b)| b - a + 1.0);
    let (cols, rows, step) = (get("NUM_IMAGE_1"), get("NUM_IMAGE_2"), get("ANGLE_BETWEEN_PROJECTIONS"));
    let half = par.dict("OPTIONS").ok().flatten().unwrap_or_default().into_iter().find(|o| o.0 == "avoidhalftomo");
    scan.field_of_view = half.and_then(|(_, word)| match word.as_str() {
        "F" => Some(FieldOfView::Half),
        "Y" => Some(FieldOfView::Full),
        _ => None,
    });
    if let Some(told) = images.filter(|told| *told != shape.frames as f64) {
        let text = format!("the .par says {told} projections, the file holds {}; was the scan aborted?", shape.frames);
        notes.warn_of(About::Counts, text);
    }
    for (key, told, have) in [("NUM_IMAGE_1", cols, shape.cols), ("NUM_IMAGE_2", rows, shape.rows)] {
        if let Some(told) = told.filter(|t| *t != have as f64) {
            notes.warn(format!("the .par says {key} = {told}, the images have {have}"));
        }
    }
    if let Some(step) = step
        && scan.angles.rad.len() > 1
        && let (Some(a), Some(b)) = (scan.angles.rad.first(), scan.angles.rad.last())
    {
        let measured = ((b - a) / (scan.angles.rad.len() - 1) as f64).to_degrees();
        if step != 0.0 && (measured.abs() - step.abs()).abs() > 0.01 * step.abs() {
            notes.warn(format!(
                "the .par says {step} deg per projection, the angles say {measured:.6}: the angles are used"
            ));
        }
    }
    let mut motors = serde_json::Map::new();
    for m in par.motors() {
        match (m.name.as_str(), m.rest.as_str()) {
            ("energy", "keV") | ("distance", "mm") => notes.facts.add_unit(&m.name, m.value, &m.rest),
            _ => {
                motors.insert(m.name.clone(), m.value.into());
            }
        }
    }
    if !motors.is_empty() {
        notes.facts.add("motors", motors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        assert_eq!(reference("pre_ref"), Some((false, false)));
        assert_eq!(reference("scan_post_dark"), Some((true, true)));
        assert_eq!(reference("prefix_reference"), None);
        assert_eq!(numbered("flyscan_17033-0001"), Some(("flyscan_", 17033, "-0001")));
        assert_eq!(numbered("scan-0001"), None);
        assert_eq!(numbered("flyscan_x-1"), None);
    }

    #[test]
    fn folders_are_sorted_out() {
        let names = |n: &[&str]| n.iter().map(OsString::from).collect::<Vec<_>>();
        let dir = Path::new("/somewhere/that/is/not/1_00_");
        let p = parts_of(dir, &names(&["1_00_.nxs", "1_00_.par", "1_00__slice.par", "post_dark.nxs", "pre_ref.nxs"]))
            .unwrap();
        assert_eq!(p.projections, dir.join("1_00_.nxs"));
        assert_eq!(p.flats, [(dir.join("pre_ref.nxs"), false)]);
        assert_eq!(p.darks, [(dir.join("post_dark.nxs"), true)]);
        assert_eq!(p.par, Some(dir.join("1_00_.par")));
        // A scan folder that was renamed.
        let p = parts_of(dir, &names(&["old.nxs", "post_ref.nxs"])).unwrap();
        assert_eq!(p.projections, dir.join("old.nxs"));
        // Raw numbering.
        let p = parts_of(dir, &names(&["flyscan_17033-0001.nxs", "flyscan_17034-0001.nxs", "flyscan_17035-0001.nxs"]))
            .unwrap();
        assert_eq!((p.flats.len(), p.darks.len(), p.others.len()), (1, 1, 0));
        assert_eq!(p.darks[0].0, dir.join("flyscan_17035-0001.nxs"));
        // Nothing to go by.
        assert_eq!(parts_of(dir, &names(&["a.nxs", "b.nxs"])), None);
        assert_eq!(parts_of(dir, &names(&["slice_0000.tif"])), None);
    }
}
