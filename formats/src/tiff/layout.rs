//! Scans laid out as TIFF files: sub-folders for projections, flats and darks (neutron and laboratory habits), or the
//! numbered series with a `.log` of SLS TOMCAT.
//!
//! | layout | what it looks like | source of the rule |
//! |---|---|---|
//! | folders | `sample`/`tomo`/`proj…` beside `flat…`/`ob`/`ref` and `dark…`/`df`/`dc` | NeuNorm's and MuhRec's data |
//! | TOMCAT | `<name>0001.tif` … in the order darks, flats, projections; counts in `<name>.log` | dxchange `read_sls_tomcat` |
//!
//! Guarantees: counts must add up to the files that are there; inter-flats (which break the order) are refused.
//! Angles come from `angles.txt` (degrees, one per projection), an IMAT log, or the TOMCAT log; otherwise they are
//! assumed and a warning says so. Flats and darks of folders carry no time: they count as taken before the first
//! projection, those in `flats_after` and `darks_after` as taken after the last.

use super::folder::{self, Group};
use super::{SPEC, describe};
use crate::angle_list;
use crate::io::read_small_text;
use crate::model::{Angles, Facts, RefPosition, RefSet};
use crate::registry::{Content, Opened};
use crate::{About, Error, FrameSource, Result, Scan, Warnings};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const PROJECTIONS: [&str; 9] =
    ["sample", "samples", "projections", "projection", "proj", "tomo", "tomography", "radiographs", "projs"];
const FLATS: [&str; 11] =
    ["flats", "flat", "ob", "openbeam", "open_beam", "ref", "refs", "flat_before", "white", "whites", "flatfield"];
const FLATS_AFTER: [&str; 2] = ["flat_after", "flats_after"];
const DARKS_AFTER: [&str; 2] = ["dark_after", "darks_after"];
const DARKS: [&str; 8] = ["darks", "dark", "dc", "df", "di", "dark_before", "darkfield", "darkcurrent"];

/// Largest text file read for angles and counts.
const MAX_TEXT: u64 = 64 << 20;

/// The sub-folder of `dir` with one of these names (any case) that holds TIFF files.
fn sub(dir: &Path, names: &[&str]) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir)
        .ok()?
        .filter_map(|e| e.ok())
        .filter(|e| names.contains(&e.file_name().to_string_lossy().to_lowercase().as_str()))
        .map(|e| e.path())
        .filter(|p| has_tiffs(p))
        .collect();
    found.sort();
    found.into_iter().next()
}

fn has_tiffs(dir: &Path) -> bool {
    std::fs::read_dir(dir)
        .is_ok_and(|mut d| d.any(|e| e.is_ok_and(|e| folder::is_tiff_name(&e.file_name().to_string_lossy()))))
}

/// Where projections, flats and darks lie, if `dir` is laid out in folders.
pub(super) struct Folders {
    projections: PathBuf,
    flats: Vec<(PathBuf, bool)>,
    darks: Vec<(PathBuf, bool)>,
}

impl Folders {
    /// Looks for the sub-folders; projections and at least one kind of reference must be there.
    pub(super) fn find(dir: &Path) -> Option<Folders> {
        let projections = sub(dir, &PROJECTIONS)?;
        let both = |before: &[&str], after: &[&str]| -> Vec<(PathBuf, bool)> {
            [(sub(dir, before), false), (sub(dir, after), true)]
                .into_iter()
                .filter_map(|(p, a)| Some((p?, a)))
                .collect()
        };
        let (flats, darks) = (both(&FLATS, &FLATS_AFTER), both(&DARKS, &DARKS_AFTER));
        (!flats.is_empty() || !darks.is_empty()).then_some(Folders { projections, flats, darks })
    }

    /// For the probe: the folders by name.
    pub(super) fn reason(&self) -> String {
        let n = |p: &Path| p.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let refs: Vec<String> = self.flats.iter().chain(&self.darks).map(|f| n(&f.0)).collect();
        format!("folders of TIFF files: {} beside {}", n(&self.projections), refs.join(", "))
    }
}

/// The group of one folder, numbers checked.
fn series_of(dir: &Path, lenient: bool, warnings: &mut Warnings) -> Result<Vec<PathBuf>> {
    let group = folder::main_group(dir, warnings)?;
    group.check_numbers(lenient, warnings)?;
    Ok(group.paths())
}

/// Opens a few frames: single-frame files, or one multi-page file.
fn frames(paths: &[PathBuf], lenient: bool, warnings: &mut Warnings) -> Result<Arc<dyn FrameSource>> {
    if let [one] = paths {
        let (stack, w) = super::open_stack(one, false)?;
        warnings.extend(w);
        return Ok(Arc::new(stack));
    }
    Ok(Arc::new(folder::open_series(paths.to_vec(), lenient)?))
}

/// Opens a scan laid out in folders.
pub(super) fn open_folders(dir: &Path, found: &Folders, lenient: bool) -> Result<Opened> {
    let mut warnings = Warnings::default();
    let paths = series_of(&found.projections, lenient, &mut warnings)?;
    let mut files = paths.clone();
    let projections = frames(&paths, lenient, &mut warnings)?;
    let n = projections.shape().frames;
    let mut reference = |path: &Path, position: f64, files: &mut Vec<PathBuf>| -> Result<RefSet> {
        let paths = series_of(path, lenient, &mut warnings)?;
        let source = frames(&paths, lenient, &mut warnings)?;
        files.extend(paths);
        Ok(RefSet { source, position: RefPosition(position), averaged: false, origin: path.display().to_string() })
    };
    let mut all = |sets: &[(PathBuf, bool)], files: &mut Vec<PathBuf>| -> Result<Vec<RefSet>> {
        sets.iter().map(|(path, after)| reference(path, if *after { n as f64 } else { 0.0 }, files)).collect()
    };
    let (flats, darks) = (all(&found.flats, &mut files)?, all(&found.darks, &mut files)?);
    let angles = match find_angles(&[dir, &found.projections], n, &mut files, &mut warnings) {
        Err(e) if lenient => {
            warnings.add(About::Counts, e.to_string());
            assumed(n, 0.0, 180.0)
        }
        // The list may be right, and a projection missing.
        angles => angles.map_err(|e| match warnings.iter().find(|w| w.about == About::Numbering) {
            Some(gap) => e.hint(format!("{gap}: copy what is missing")),
            None => e,
        })?,
    };
    finish(dir, "tiff", Parts { projections, origin: found.projections.clone(), flats, darks, angles, files }, warnings)
}

/// What a layout has gathered.
struct Parts {
    projections: Arc<dyn FrameSource>,
    origin: PathBuf,
    flats: Vec<RefSet>,
    darks: Vec<RefSet>,
    angles: Angles,
    files: Vec<PathBuf>,
}

/// Checks sizes, reads the pixel size of the first projection, and makes the scan.
fn finish(dir: &Path, layout: &'static str, p: Parts, mut warnings: Warnings) -> Result<Opened> {
    let size = |s: &dyn FrameSource| (s.shape().rows, s.shape().cols);
    let (rows, cols) = size(&*p.projections);
    for set in p.flats.iter().chain(&p.darks) {
        if size(&*set.source) != (rows, cols) {
            let (r, c) = size(&*set.source);
            return Err(Error::file(&set.origin, "flats or darks of another size than the projections")
                .expected(format!("{rows} × {cols}"))
                .found(format!("{r} × {c}")));
        }
    }
    for (set, what) in [(&p.flats, "flats"), (&p.darks, "darks")] {
        if set.is_empty() {
            warnings.push(format!("no {what} found"));
        }
    }
    let mut facts = Facts::default();
    let mut pixel_um = None;
    if let Some(first) = p.files.first() {
        let file = super::File::open(first)?;
        let about = describe::description(&file);
        pixel_um = describe::meta(&file, &about, &mut Warnings::default()).voxel_um.map(|[_, y, x]| [y, x]);
        facts = super::facts(&file, &about);
    }
    let scan = Scan {
        name: dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_else(|| "scan".into()),
        layout,
        projections: p.projections,
        projections_origin: p.origin.display().to_string(),
        flats: p.flats,
        darks: p.darks,
        angles: p.angles,
        rotation_axis_px: None,
        pixel_um,
        field_of_view: None,
        damaged: Vec::new(),
        is_attenuation: false,
        zero_clip: None,
        movement: None,
        overlap_px: None,
        current: None,
        files: p.files,
    };
    Ok(Opened { format: SPEC.name, content: Content::Scan(Box::new(scan)), facts, warnings })
}

/// Angles from `angles.txt` or an IMAT log in one of the folders; otherwise assumed 0 to 180° (last one left out).
fn find_angles(dirs: &[&Path], n: usize, files: &mut Vec<PathBuf>, warnings: &mut Warnings) -> Result<Angles> {
    for dir in dirs {
        let mut texts: Vec<PathBuf> = std::fs::read_dir(dir)
            .map_err(|e| Error::io(dir, "listing", e))?
            .filter_map(|e| e.ok().map(|e| e.path()))
            .filter(|p| p.extension().is_some_and(|e| e.eq_ignore_ascii_case("txt") || e.eq_ignore_ascii_case("log")))
            .collect();
        texts.sort();
        for path in texts {
            let is_list = path.file_stem().is_some_and(|s| s.eq_ignore_ascii_case("angles"));
            let Ok(text) = read_small_text(&path, MAX_TEXT) else {
                continue;
            };
            let deg = if is_list { angle_list::parse(&path, &text)? } else { imat_angles(&text) };
            if deg.is_empty() {
                continue;
            }
            let angles = angle_list::of_degrees(&path, &deg, n)?;
            files.push(path);
            return Ok(angles);
        }
    }
    warnings.push("no angles found: 0 to 180° assumed (last angle left out); put them into angles.txt, one per line");
    Ok(assumed(n, 0.0, 180.0))
}

fn assumed(n: usize, from: f64, to: f64) -> Angles {
    let step = (to - from).to_radians() / n.max(1) as f64;
    Angles {
        rad: (0..n).map(|i| from.to_radians() + step * i as f64).collect(),
        origin: format!("assumed {from}..{to}"),
    }
}

/// `… Projection:  12  angle: 3.5 …`: the log of IMAT at ISIS.
fn imat_angles(text: &str) -> Vec<f64> {
    text.lines()
        .filter(|l| l.contains("Projection:"))
        .filter_map(|l| l.split("angle:").nth(1)?.split_whitespace().next()?.parse().ok())
        .collect()
}

/// The log of a TOMCAT scan beside a numbered series.
#[derive(Debug, PartialEq)]
pub(super) struct Tomcat {
    darks: usize,
    flats: usize,
    projections: usize,
    range_deg: Option<[f64; 2]>,
}

impl Tomcat {
    /// Reads the counts; `None` where this is another kind of log.
    fn parse(path: &Path, text: &str) -> Result<Option<Tomcat>> {
        let value = |key: &str| {
            text.lines().filter_map(|l| l.split_once(':')).find(|(k, _)| k.trim() == key).map(|(_, v)| v.trim())
        };
        let count = |key: &str| value(key).and_then(|v| v.parse::<usize>().ok());
        let (Some(projections), Some(darks), Some(flats)) =
            (count("Number of projections"), count("Number of darks"), count("Number of flats"))
        else {
            return Ok(None);
        };
        if let Some(n) = count("Number of inter-flats").filter(|n| *n > 0) {
            return Err(Error::unsupported(path, "a TOMCAT scan with flats between the projections")
                .expected("Number of inter-flats : 0")
                .found(n)
                .hint("sort the files into folders tomo, flat and dark"));
        }
        let edge = |k: &str| value(k).and_then(|v| v.parse::<f64>().ok()).filter(|v| v.is_finite());
        let range = edge("Rot Y min position  [deg]").zip(edge("Rot Y max position  [deg]"));
        Ok(Some(Tomcat { darks, flats, projections, range_deg: range.map(|(a, b)| [a, b]) }))
    }

    /// Looks for `<name>.log` beside the series (or beside the folder).
    pub(super) fn find(dir: &Path, group: &Group) -> Result<Option<(PathBuf, Tomcat)>> {
        let stem = group.pattern.split('#').next().unwrap_or("").trim_end_matches(['_', '-']);
        if stem.is_empty() {
            return Ok(None);
        }
        let name = format!("{stem}.log");
        for path in [Some(dir.join(&name)), dir.parent().map(|p| p.join(&name))].into_iter().flatten() {
            if path.is_file()
                && let Some(t) = Tomcat::parse(&path, &read_small_text(&path, MAX_TEXT)?)?
            {
                return Ok(Some((path, t)));
            }
        }
        Ok(None)
    }
}

/// Opens a TOMCAT scan: darks, flats, projections in the order of their numbers; a second set of flats after them
/// where exactly so many files are left.
pub(super) fn open_tomcat(dir: &Path, group: &Group, log: PathBuf, t: &Tomcat, lenient: bool) -> Result<Opened> {
    let mut warnings = Warnings::default();
    group.check_numbers(lenient, &mut warnings)?;
    if let Some(gap) = warnings.first() {
        return Err(Error::file(&log, "the order of darks, flats and projections needs every number")
            .found(gap)
            .hint("copy the missing files"));
    }
    let mut paths = group.paths();
    let sum = t.darks.saturating_add(t.flats).saturating_add(t.projections);
    let after = match paths.len().checked_sub(sum) {
        Some(0) => 0,
        Some(n) if n == t.flats => {
            warnings.push(format!("{n} files behind the projections are taken for flats"));
            n
        }
        _ => {
            return Err(Error::file(&log, "the counts of the log are not the number of files")
                .expected(format!(
                    "{} darks + {} flats + {} projections = {sum} files",
                    t.darks, t.flats, t.projections
                ))
                .found(format!("{} files", paths.len())));
        }
    };
    let all = paths.clone();
    let last = paths.split_off(sum);
    let shots = paths.split_off(t.darks + t.flats);
    let flats_before = paths.split_off(t.darks);
    if shots.is_empty() {
        return Err(Error::file(&log, "a scan without projections"));
    }
    let mut sets = |paths: &[PathBuf], position: f64, what: &str| -> Result<Vec<RefSet>> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let source = frames(paths, lenient, &mut warnings)?;
        Ok(vec![RefSet {
            source,
            position: RefPosition(position),
            averaged: false,
            origin: format!("{what} of {}", dir.display()),
        }])
    };
    let darks = sets(&paths, 0.0, "darks")?;
    let mut flats = sets(&flats_before, 0.0, "flats")?;
    flats.extend(sets(&last[..after], t.projections as f64, "flats after")?);
    let projections = frames(&shots, lenient, &mut warnings)?;
    let n = t.projections;
    let angles = match t.range_deg {
        // TOMCAT includes both ends: 0.000 to 180.000 with 1501 projections.
        Some([a, b]) => Angles {
            rad: (0..n).map(|i| (a + (b - a) * i as f64 / (n.max(2) - 1) as f64).to_radians()).collect(),
            origin: "Rot Y min and max position of the log".into(),
        },
        None => {
            warnings.push("no angles in the log: 0 to 180° assumed");
            assumed(n, 0.0, 180.0)
        }
    };
    let files = all.into_iter().chain([log]).collect();
    finish(dir, "tomcat", Parts { projections, origin: dir.to_owned(), flats, darks, angles, files }, warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tomcat_log() {
        let text = "Number of projections        : 1501\nNumber of darks              : 20\nNumber of flats              : 50\n\
            Number of inter-flats        : 0\nRot Y min position  [deg]    : 0.000\nRot Y max position  [deg]    : 180.000\n";
        let p = Path::new("x.log");
        let t = Tomcat::parse(p, text).unwrap().unwrap();
        assert_eq!(t, Tomcat { darks: 20, flats: 50, projections: 1501, range_deg: Some([0.0, 180.0]) });
        let e = Tomcat::parse(p, &text.replace(": 0\n", ": 3\n")).unwrap_err().to_string();
        assert!(e.contains("between the projections"), "{e}");
        assert_eq!(Tomcat::parse(p, "something else").unwrap(), None);
    }

    #[test]
    fn imat_logs() {
        let imat = "Sun Feb 10 00:22:04 2019   Projection:  0  angle: 0.0   Monitor 3 before:  4577907\nx   Projection:  1  angle: 0.3147   M";
        assert_eq!(imat_angles(imat), [0.0, 0.3147]);
    }
}
