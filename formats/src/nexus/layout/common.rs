//! What all layouts share: notes, small readings with units, the checks every scan gets before it leaves.

use super::angles;
use super::view::FlipRows;
use crate::model::units::length_to_um;
use crate::model::{Angles, Facts, FieldOfView, RefPosition, RefSet};
use crate::nexus::{H5, LinkKind, ObjectKind};
use crate::registry::{Content, OpenOptions, Opened};
use crate::source::{FrameSource, Frames};
use crate::{About, Error, Result, Scan, Warnings};
use std::sync::Arc;

/// What a layout learns beside the scan itself.
#[derive(Default)]
pub struct Notes {
    /// Facts for people.
    pub facts: Facts,
    /// Oddities.
    pub warnings: Warnings,
}

impl Notes {
    /// Notes that start with what was odd when the file was opened.
    pub fn of(h5: &H5) -> Notes {
        Notes { facts: Facts::default(), warnings: h5.notes().iter().map(String::as_str).collect() }
    }

    /// Adds an oddity.
    pub fn warn(&mut self, text: impl Into<String>) {
        self.warn_of(About::Remark, text);
    }

    /// Adds an oddity of this kind.
    pub fn warn_of(&mut self, about: About, text: impl Into<String>) {
        self.warnings.add(about, text);
    }
}

/// `file.nxs:/path`, for origins and warnings.
pub fn origin(h5: &H5, path: &str) -> String {
    let name = h5.path().file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{name}:{path}")
}

/// The file's name without its extension, as a scan's name.
pub fn stem(h5: &H5) -> String {
    h5.path().file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// True where the name is there at all, even as a link that leads nowhere.
pub fn named(h5: &H5, path: &str) -> bool {
    let (group, name) = path.rsplit_once('/').unwrap_or(("", path));
    let group = if group.is_empty() { "/" } else { group };
    h5.exists(path) || h5.children(group).is_ok_and(|c| c.iter().any(|l| l.name == name))
}

/// Dimensions of a numeric dataset; `None` for anything else.
pub fn shape_of(h5: &H5, path: &str) -> Option<Vec<u64>> {
    if h5.kind(path)? != ObjectKind::Dataset {
        return None;
    }
    let info = h5.dataset_info(path).ok()?;
    (info.dtype.is_some() && !info.is_null).then_some(info.shape)
}

/// Number of values of a dataset with at most one dimension longer than 1 (`(N)`, `(N, 1)`); `None` for anything else.
pub fn list_len(h5: &H5, path: &str) -> Option<usize> {
    let shape = shape_of(h5, path)?;
    if shape.is_empty() || shape.iter().filter(|d| **d > 1).count() > 1 {
        return None;
    }
    usize::try_from(shape.iter().product::<u64>()).ok()
}

/// The first path that is named in the file.
pub fn first_named(h5: &H5, paths: impl IntoIterator<Item = String>) -> Option<String> {
    paths.into_iter().find(|p| named(h5, p))
}

/// One number; a dataset of another type or of several different values is noted and ignored.
pub fn number(h5: &H5, path: &str, notes: &mut Notes) -> Option<f64> {
    if !h5.exists(path) {
        return None;
    }
    match h5.read_f64(path) {
        Ok(v) if v.is_empty() => None,
        Ok(v) if v.iter().all(|x| *x == v[0]) => Some(v[0]),
        Ok(v) => {
            notes.warn(format!("{path} holds {} different values where one was expected: not used", v.len()));
            None
        }
        Err(_) => {
            let text = h5.read_text(path).map_or_else(|_| "no number".to_owned(), |t| format!("the text '{t}'"));
            notes.warn(format!("{path} holds {text} where a number was expected: not used"));
            None
        }
    }
}

/// A text, trimmed.
pub fn text(h5: &H5, path: &str) -> Option<String> {
    if !h5.exists(path) {
        return None;
    }
    h5.read_text(path).ok().map(|t| t.trim_matches(['\0', ' ', '\n', '\t']).to_owned()).filter(|t| !t.is_empty())
}

/// A length in µm. Without a unit the value is in `default_um` micrometres, where that makes sense for `what`.
pub fn length_um(h5: &H5, path: &str, default: &str, plausible_um: f64, notes: &mut Notes) -> Option<f64> {
    let value = number(h5, path, notes)?;
    let unit = h5.attr_text(path, "units");
    let factor = match unit.as_deref().map(str::trim).filter(|u| !u.is_empty()) {
        Some(u) => match length_to_um(u) {
            Some(f) => f,
            None => {
                notes.warn(format!("{path} is in an unknown unit '{u}': not used"));
                return None;
            }
        },
        None => {
            let f = length_to_um(default)?;
            if (value * f).abs() > plausible_um {
                notes.warn(format!("{path} = {value} has no unit and cannot be in {default}: not used"));
                return None;
            }
            f
        }
    };
    // Millionths of metres come with the last digits of binary rounding: 0.65 µm is stored as 6.5e-7 m.
    let um = value * factor;
    let rounded = (um * 1e9).round() / 1e9;
    let um = if (um - rounded).abs() <= um.abs() * 1e-12 { rounded } else { um };
    (value > 0.0 && value.is_finite()).then_some(um)
}

/// Pixel size, vertical then horizontal, µm.
pub fn pixel_um(h5: &H5, x: &str, y: &str, default: &str, notes: &mut Notes) -> Option<[f64; 2]> {
    // A pixel of more than a centimetre means that the unit is not what it seems.
    let h = length_um(h5, x, default, 1e4, notes);
    let v = length_um(h5, y, default, 1e4, notes);
    match (v, h) {
        (Some(v), Some(h)) => Some([v, h]),
        (Some(s), None) | (None, Some(s)) => Some([s, s]),
        _ => None,
    }
}

/// All groups reached by hard links, from `from` downwards, breadth first, bounded in depth and number.
pub fn groups(h5: &H5, from: &str, depth: usize) -> Vec<String> {
    const MOST: usize = 4000;
    let mut all = vec![from.to_owned()];
    let (mut level, mut start) = (0, 0);
    while level < depth && start < all.len() {
        let end = all.len();
        for i in start..end {
            let Ok(children) = h5.children(&all[i]) else { continue };
            for c in children {
                if matches!(c.kind, LinkKind::Hard { object: ObjectKind::Group }) && all.len() < MOST {
                    all.push(c.path);
                }
            }
        }
        (start, level) = (end, level + 1);
    }
    all
}

/// The datasets directly in a group, links followed; dangling ones left out.
pub fn datasets(h5: &H5, group: &str) -> Vec<String> {
    let Ok(children) = h5.children(group) else { return Vec::new() };
    children
        .into_iter()
        .filter(|c| match c.kind {
            LinkKind::Hard { object } => object == ObjectKind::Dataset,
            _ => c.resolves && h5.kind(&c.path) == Some(ObjectKind::Dataset),
        })
        .map(|c| c.path)
        .collect()
}

/// A stack of images; what is odd about it is noted. How the first one, the projections, is stored is a fact.
pub fn stack(h5: &H5, path: &str, notes: &mut Notes) -> Result<Arc<dyn FrameSource>> {
    let (source, warnings) = h5.stack_and_warnings(path)?;
    notes.warnings.extend(warnings);
    if notes.facts.get("storage").is_none() {
        notes.facts.add("storage", h5.dataset_info(path)?.summary());
    }
    Ok(source)
}

/// A set of flats or darks from a whole dataset.
pub fn ref_set(h5: &H5, path: &str, position: f64, notes: &mut Notes) -> Result<RefSet> {
    let source = stack(h5, path, notes)?;
    let averaged = path.ends_with("_2d") || shape_of(h5, path).is_some_and(|s| s.len() == 2);
    Ok(RefSet { source, position: RefPosition(position), averaged, origin: origin(h5, path) })
}

/// A selection of frames; the source itself where all are taken in order.
pub fn pick(source: &Arc<dyn FrameSource>, frames: Vec<usize>) -> Arc<dyn FrameSource> {
    if frames.len() == source.shape().frames && frames.iter().enumerate().all(|(i, f)| i == *f) {
        return source.clone();
    }
    Arc::new(Frames { inner: source.clone(), pick: frames })
}

/// `Full` or `Half`, in the spellings met.
pub fn field_of_view(word: &str) -> Option<FieldOfView> {
    match word.trim().to_ascii_lowercase().as_str() {
        "full" => Some(FieldOfView::Full),
        "half" => Some(FieldOfView::Half),
        _ => None,
    }
}

/// Angles for all projections: cut where there are too many, projections cut where there are too few.
pub fn fit_angles(scan: &mut Scan, notes: &mut Notes) -> Result<()> {
    let n = scan.projections.shape().frames;
    let have = scan.angles.rad.len();
    let from = scan.angles.origin.clone();
    if have > n {
        if have == n + 1 {
            notes.warn(format!(
                "{from} holds one angle more than there are projections ({have} and {n}): the last is left out"
            ));
        } else {
            let text = format!("{from} holds {have} angles for {n} projections: the first {n} are used");
            notes.warn_of(About::Counts, text + "; was the scan aborted?");
        }
        scan.angles.rad.truncate(n);
    }
    if have < n {
        if have == 0 {
            return Err(Error::file(scan.files.first().cloned().unwrap_or_default(), "there are no angles")
                .hint("name the dataset of the angles with --angle-path"));
        }
        notes.warn_of(
            About::Counts,
            format!("{from} holds {have} angles for {n} projections: the projections without an angle are left out"),
        );
        scan.projections = pick(&scan.projections, (0..have).collect());
        if let Some(c) = &mut scan.current {
            c.truncate(have);
        }
    }
    Ok(())
}

/// Checks a scan, applies what the user asked for, and reports it.
pub fn finish(mut scan: Scan, mut notes: Notes, options: &OpenOptions) -> Result<Opened> {
    let file = scan.files.first().cloned().unwrap_or_default();
    if scan.projections.shape().is_empty() {
        return Err(Error::file(&file, "the scan has no projections").found(scan.projections.shape()));
    }
    fit_angles(&mut scan, &mut notes)?;
    if let Some(i) = scan.angles.rad.iter().position(|a| !a.is_finite()) {
        return Err(Error::file(&file, format!("the angle of projection {i} is not a number"))
            .hint("name another dataset of angles with --angle-path"));
    }
    notes.warnings.extend(angles::oddities(&scan.angles.rad));

    let shape = scan.projections.shape();
    for (what, sets) in [("flats", &mut scan.flats), ("darks", &mut scan.darks)] {
        sets.sort_by(|a, b| a.position.0.total_cmp(&b.position.0));
        sets.retain(|s| {
            let have = s.source.shape();
            let fits = have.rows == shape.rows && have.cols == shape.cols && have.frames > 0;
            if !fits {
                let text = format!(
                    "{} are {have}, which does not go with projections of {} × {}: left out",
                    s.origin, shape.rows, shape.cols
                );
                notes.warn_of(About::Unlike, text);
            }
            fits
        });
        if sets.is_empty() {
            notes.warn(format!("there are no {what}"));
        }
    }
    if scan.current.as_ref().is_some_and(|c| c.len() != shape.frames) {
        scan.current = None;
    }
    if options.flip_rows {
        scan.projections = Arc::new(FlipRows(scan.projections));
        for s in scan.flats.iter_mut().chain(&mut scan.darks) {
            s.source = Arc::new(FlipRows(s.source.clone()));
        }
    }
    let facts = std::mem::take(&mut notes.facts);
    notes.facts = describe(&scan);
    notes.facts.0.extend(facts.0);
    Ok(Opened {
        format: scan.layout,
        content: Content::Scan(Box::new(scan)),
        facts: notes.facts,
        warnings: notes.warnings,
    })
}

/// What every scan can say about itself.
fn describe(scan: &Scan) -> Facts {
    let mut f = Facts::default();
    let shape = scan.projections.shape();
    f.add("scan", scan.name.as_str());
    f.add("layout", scan.layout);
    f.add("projections", shape.frames);
    f.add("rows", shape.rows);
    f.add("cols", shape.cols);
    f.add("type", scan.projections.dtype().name());
    f.add("projections_from", scan.projections_origin.as_str());
    for (key, sets) in [("flats", &scan.flats), ("darks", &scan.darks)] {
        let list: Vec<serde_json::Value> = sets
            .iter()
            .map(|s| {
                serde_json::json!({
                    "frames": s.source.shape().frames, "position": s.position.0, "averaged": s.averaged, "from": s.origin
                })
            })
            .collect();
        f.add(key, list);
    }
    let Angles { rad, origin } = &scan.angles;
    f.add("angles_from", origin.as_str());
    if let (Some(a), Some(b)) = (rad.first(), rad.last()) {
        f.add_unit("angle_first", a.to_degrees(), "deg");
        f.add_unit("angle_last", b.to_degrees(), "deg");
        if rad.len() > 1 {
            f.add_unit("angle_step", ((b - a) / (rad.len() - 1) as f64).to_degrees(), "deg");
        }
    }
    if let Some([v, h]) = scan.pixel_um {
        f.add_unit("pixel_vertical", v, "µm");
        f.add_unit("pixel_horizontal", h, "µm");
    }
    if let Some(x) = scan.rotation_axis_px {
        f.add_unit("rotation_axis_px", x, "px");
    }
    if let Some(v) = scan.field_of_view {
        f.add("field_of_view", if v == FieldOfView::Half { "half" } else { "full" });
    }
    f
}

/// A scan with nothing but projections and angles.
pub fn bare(
    name: String,
    layout: &'static str,
    h5: &H5,
    projections: Arc<dyn FrameSource>,
    path: &str,
    angles: Angles,
) -> Scan {
    Scan {
        name,
        layout,
        projections,
        projections_origin: origin(h5, path),
        flats: Vec::new(),
        darks: Vec::new(),
        angles,
        rotation_axis_px: None,
        pixel_um: None,
        field_of_view: None,
        damaged: Vec::new(),
        is_attenuation: false,
        zero_clip: None,
        movement: None,
        overlap_px: None,
        current: None,
        files: vec![h5.path().to_owned()],
    }
}
