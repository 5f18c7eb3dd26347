//! NXtomo: a stack of all frames with an image key (Diamond, ESRF and others), and image keys outside NXtomo (DIAD).
//!
//! An entry is any group whose `definition` is NXtomo. ESRF's additions are understood: `image_key_control` (−1 = taken
//! again after the scan), `field_of_view`, `estimated_cor_from_motor`, several entries per file. Lengths are metres
//! unless an attribute says otherwise, angles degrees unless it says radians.

use super::angles::{self, is_angle_name};
use super::common::*;
use super::keyed::{Set, split};
use crate::model::{Angles, FieldOfView, RefPosition, RefSet};
use crate::nexus::H5;
use crate::registry::{OpenOptions, Opened};
use crate::source::FrameSource;
use crate::{About, Error, Result};
use std::sync::Arc;

/// Groups whose `definition` is NXtomo, in file order.
fn entries(h5: &H5) -> Vec<String> {
    let is_nxtomo = |g: &String| text(h5, &format!("{g}/definition")).is_some_and(|d| d.eq_ignore_ascii_case("NXtomo"));
    groups(h5, "/", 3).into_iter().filter(|g| g != "/").filter(is_nxtomo).collect()
}

/// Opens the file where it holds an NXtomo entry or an image key.
pub fn open(h5: &H5, options: &OpenOptions) -> Option<Result<Opened>> {
    let entries = entries(h5);
    let Some(first) = entries.first() else {
        return keyed_entry(h5, options);
    };
    // A path given by the user may name another entry than the first.
    let inside = |e: &&String| options.image_path.as_ref().is_some_and(|p| p.starts_with(&format!("{e}/")));
    let entry = entries.iter().find(inside).unwrap_or(first);
    let mut notes = Notes::of(h5);
    if entries.len() > 1 {
        let others: Vec<_> = entries.iter().filter(|e| *e != entry).map(String::as_str).collect();
        notes.warn(format!("{} further scan(s) in this file: {}; read here: {entry}", others.len(), others.join(", ")));
        notes.facts.add("entries", entries.clone());
    }
    Some(read_entry(h5, entry, options, notes))
}

fn read_entry(h5: &H5, entry: &str, options: &OpenOptions, mut notes: Notes) -> Result<Opened> {
    let detector = detector(h5, entry);
    let data = options.image_path.clone().or_else(|| {
        first_named(h5, [format!("{detector}/data"), format!("{entry}/data/data"), format!("{entry}/instrument/data")])
    });
    let data = data.ok_or_else(|| {
        Error::file(h5.path(), format!("the NXtomo entry {entry} has no detector data"))
            .expected(format!("{entry}/instrument/detector/data"))
            .hint("name the images with --image-path")
    })?;
    let key = first_named(
        h5,
        [
            format!("{detector}/image_key"),
            format!("{entry}/data/image_key"),
            format!("{entry}/instrument/image_key/image_key"),
            format!("{}/instrument/image_key/image_key", parent(entry)),
        ],
    );
    let control = first_named(h5, [format!("{detector}/image_key_control"), format!("{entry}/data/image_key_control")]);
    let angle = options.angle_path.clone().or_else(|| {
        first_named(h5, [format!("{entry}/sample/rotation_angle"), format!("{entry}/data/rotation_angle")])
            .or_else(|| angle_beside(h5, &format!("{entry}/data"), None))
    });
    let found = Found { data, key, control, angle, by_range: false };
    let mut keyed = keyed_scan(h5, "nxtomo", &found, &mut notes)?;
    let current = first_named(h5, [format!("{entry}/control/data"), format!("{entry}/control/current")])
        .and_then(|path| keyed.per_projection(h5, &path, "machine currents", &mut notes));
    let scan = &mut keyed.scan;
    scan.current = current;
    if entry_is_numbered(entry) {
        scan.name = format!("{}{}", scan.name, entry.replace('/', "_"));
    }
    let at = |p: &str| format!("{detector}/{p}");
    scan.pixel_um = pixel_um(h5, &at("x_pixel_size"), &at("y_pixel_size"), "m", &mut notes);
    if let Some(word) = text(h5, &at("field_of_view")) {
        scan.field_of_view = field_of_view(&word);
        if scan.field_of_view.is_none() {
            notes.warn(format!("{} is '{word}', neither Full nor Half", at("field_of_view")));
        }
    }
    if let Some(half) = number(h5, &at("half_acquisition"), &mut notes) {
        // The word for it since version 2.1 of ESRF's files.
        scan.field_of_view = Some(if half == 0.0 { FieldOfView::Full } else { FieldOfView::Half });
    }
    let cols = scan.projections.shape().cols;
    scan.rotation_axis_px = axis(h5, &detector, cols, scan.field_of_view, &mut notes);
    facts(h5, entry, &detector, &mut notes);
    finish(keyed.scan, notes, options)
}

/// The detector's group: `instrument/detector`, or the one child of `instrument` that holds data.
fn detector(h5: &H5, entry: &str) -> String {
    let usual = format!("{entry}/instrument/detector");
    if named(h5, &format!("{usual}/data")) || named(h5, &format!("{usual}/image_key")) {
        return usual;
    }
    let other = groups(h5, &format!("{entry}/instrument"), 1)
        .into_iter()
        .skip(1)
        .find(|g| named(h5, &format!("{g}/data")) && h5.nx_class(g).is_none_or(|c| c == "NXdetector"));
    other.unwrap_or(usual)
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |p| p.0)
}

/// ESRF numbers the scans in a file `entry0000`, `entry0001` …: beyond the first, the name should tell them apart.
fn entry_is_numbered(entry: &str) -> bool {
    let digits: String = entry.chars().rev().take_while(char::is_ascii_digit).collect();
    digits.len() >= 4 && digits.chars().any(|c| c != '0')
}

/// The rotation axis as a column, 0 = centre of the first.
///
/// `x_rotation_axis_pixel_position` is a position on the detector, but files hold distances from its middle too, and so
/// did `estimated_cor_from_motor` before it. A negative value can only be a distance. From the middle, (cols − 1) / 2 is
/// added; a file that meant cols / 2 is half a pixel off, which is why a note says that a conversion took place.
fn axis(h5: &H5, detector: &str, cols: usize, field: Option<FieldOfView>, notes: &mut Notes) -> Option<f64> {
    let middle = (cols.max(1) - 1) as f64 / 2.0;
    let at = |p: &str| format!("{detector}/{p}");
    if let Some(v) = number(h5, &at("x_rotation_axis_pixel_position"), notes).filter(|v| v.is_finite()) {
        if v < 0.0 {
            notes.warn(format!(
                "x_rotation_axis_pixel_position = {v} is negative, hence a distance from the detector's middle: column {} (± 0.5)",
                v + middle
            ));
            return Some(v + middle);
        }
        if field != Some(FieldOfView::Half) && v < cols as f64 / 8.0 {
            notes.warn(format!(
                "x_rotation_axis_pixel_position = {v} is far from the middle of a full field: if it is a distance from the middle, the axis is at column {}",
                v + middle
            ));
        }
        return Some(v);
    }
    let v = number(h5, &at("estimated_cor_from_motor"), notes).filter(|v| v.is_finite())?;
    let relative = v + middle;
    let absolute_fits = (0.0..cols as f64).contains(&v);
    if !(0.0..cols as f64).contains(&relative) && absolute_fits {
        notes.warn(format!(
            "estimated_cor_from_motor = {v} would lie outside as a distance from the middle: taken as a column"
        ));
        return Some(v);
    }
    notes.warn(format!(
        "estimated_cor_from_motor = {v} is taken as a distance from the detector's middle: column {relative} (± 0.5)"
    ));
    Some(relative)
}

fn facts(h5: &H5, entry: &str, detector: &str, notes: &mut Notes) {
    let at = |p: &str| format!("{entry}/{p}");
    for (key, path) in
        [("title", "title"), ("sample", "sample/name"), ("start_time", "start_time"), ("end_time", "end_time")]
    {
        if let Some(t) = text(h5, &at(path)) {
            notes.facts.add(key, t);
        }
    }
    let distance = first_named(h5, [format!("{detector}/distance"), at("sample/propagation_distance")]);
    // Detectors stand within a kilometre.
    if let Some(um) = distance.and_then(|p| length_um(h5, &p, "m", 1e9, notes)) {
        notes.facts.add_unit("distance", um / 1e3, "mm");
    }
    let energy = first_named(h5, [at("instrument/beam/incident_energy"), at("beam/incident_energy")]);
    if let Some(path) = energy
        && let Some(e) = number(h5, &path, notes)
    {
        match h5.attr_text(&path, "units").as_deref().map(str::trim) {
            Some("keV") | Some("kev") | None => notes.facts.add_unit("energy", e, "keV"),
            Some("eV") | Some("ev") => notes.facts.add_unit("energy", e / 1e3, "keV"),
            Some(unit) => notes.facts.add_unit("energy", e, unit),
        }
    }
    for key in ["x_flipped", "y_flipped"] {
        if number(h5, &format!("{detector}/{key}"), notes).is_some_and(|v| v != 0.0) {
            notes.facts.add(key, true);
            notes.warn(format!("the file says {key}: rows and columns are read as stored"));
        }
    }
}

/// Where the parts of a keyed stack are.
struct Found {
    data: String,
    key: Option<String>,
    control: Option<String>,
    angle: Option<String>,
    by_range: bool,
}

/// A scan made from a keyed stack, and how its frames were sorted.
struct Keyed {
    scan: crate::Scan,
    /// Frame numbers of the projections in the stack.
    projections: Vec<usize>,
    frames: usize,
}

impl Keyed {
    /// A list with one value per frame, or per projection, reduced to the projections.
    fn per_projection(&self, h5: &H5, path: &str, what: &str, notes: &mut Notes) -> Option<Vec<f64>> {
        let values = h5.read_f64(path).ok()?;
        if values.len() == self.frames {
            return Some(self.projections.iter().map(|&i| values[i]).collect());
        }
        if values.len() == self.projections.len() {
            return Some(values);
        }
        if values.len() > 1 {
            notes.warn(format!(
                "{path} holds {} {what} for {} frames, {} of them projections: not used",
                values.len(),
                self.frames,
                self.projections.len()
            ));
        }
        None
    }
}

fn keyed_scan(h5: &H5, layout: &'static str, found: &Found, notes: &mut Notes) -> Result<Keyed> {
    let stack = stack(h5, &found.data, notes)?;
    let frames = stack.shape().frames;
    let mut keys = match &found.key {
        Some(path) => h5.read_f64(path)?,
        None => {
            notes.warn("there is no image key: all frames are taken as projections");
            vec![0.0; frames]
        }
    };
    if keys.len() != frames {
        let text = format!(
            "the image key has {} entries for {frames} frames: {}; was the scan aborted?",
            keys.len(),
            if keys.len() > frames { "the surplus is ignored" } else { "frames without a key are left out" }
        );
        notes.warn_of(About::Counts, text);
        keys.truncate(frames);
    }
    let control = match &found.control {
        Some(path) => Some(h5.read_f64(path)?).filter(|c| c.len() >= keys.len()),
        None => None,
    };
    let sorted = split(&keys, control.as_deref());
    for (n, what) in [
        (sorted.alignment, "frame(s) taken again after the scan (image_key_control −1)"),
        (sorted.invalid, "frame(s) marked invalid (image key 3)"),
        (sorted.unknown, "frame(s) with an image key nobody defined"),
    ] {
        if n > 0 {
            notes.warn(format!("{n} {what} left out"));
        }
    }
    if sorted.projections.is_empty() {
        return Err(
            Error::file(h5.path(), "the image key marks no frame as a projection").found(format!("{frames} frames"))
        );
    }
    notes.facts.add("frames", frames);
    let refs = |sets: Vec<Set>, path: &str, stack: &Arc<dyn FrameSource>| -> Vec<RefSet> {
        let label = |s: &Set| match (s.frames.first(), s.frames.last()) {
            (Some(a), Some(b)) => format!("{} frames {a}..={b}", origin(h5, path)),
            _ => origin(h5, path),
        };
        sets.into_iter()
            .map(|s| RefSet {
                origin: label(&s),
                position: RefPosition(s.position as f64),
                averaged: false,
                source: pick(stack, s.frames),
            })
            .collect()
    };
    let angles = Angles { rad: Vec::new(), origin: String::new() };
    let projections = pick(&stack, sorted.projections.clone());
    let mut scan = bare(stem(h5), layout, h5, projections, &found.data, angles);
    scan.flats = refs(sorted.flats, &found.data, &stack);
    scan.darks = refs(sorted.darks, &found.data, &stack);
    let mut keyed = Keyed { scan, projections: sorted.projections, frames };
    let path = found.angle.as_ref().ok_or_else(|| {
        Error::file(h5.path(), "no rotation angles were found").hint("name their dataset with --angle-path")
    })?;
    let all = h5.read_f64(path)?;
    // A scan cut short has more angles than frames; the first ones belong to the frames there are.
    let values = if all.len() > frames {
        let about = if all.len() > frames + 1 { About::Counts } else { About::Remark };
        notes.warn_of(
            about,
            format!("{path} holds {} angles for {frames} frames: the first {frames} are used", all.len()),
        );
        keyed.projections.iter().map(|&i| all[i]).collect()
    } else {
        keyed.per_projection(h5, path, "angles", notes).unwrap_or_default()
    };
    let unit = h5.attr_text(path, "units");
    let rad = angles::to_rad(&values, unit.as_deref(), found.by_range, &mut notes.warnings);
    keyed.scan.angles = Angles { rad, origin: origin(h5, path) };
    Ok(keyed)
}

/// A list of angles in a group, of the wanted length where one is given.
pub fn angle_beside(h5: &H5, group: &str, len: Option<usize>) -> Option<String> {
    let name = |p: &str| p.rsplit('/').next().unwrap_or_default().to_owned();
    let fits =
        |p: &String| is_angle_name(&name(p)) && list_len(h5, p).is_some_and(|n| len.is_none_or(|l| l == n) && n > 1);
    // A measured position is better than one that was asked for.
    let mut all: Vec<String> = datasets(h5, group).into_iter().filter(fits).collect();
    all.sort_by_key(|p| {
        let n = name(p).to_ascii_lowercase();
        (n.contains("set") || n.contains("demand"), n != "rotation_angle")
    });
    all.into_iter().next()
}

/// An `image_key` outside NXtomo, with a stack of as many frames in the same entry (Diamond's DIAD).
fn keyed_entry(h5: &H5, options: &OpenOptions) -> Option<Result<Opened>> {
    for entry in groups(h5, "/", 1).into_iter().skip(1) {
        let inside = groups(h5, &entry, 3);
        let Some(key) = inside.iter().map(|g| format!("{g}/image_key")).find(|p| named(h5, p)) else { continue };
        let n = list_len(h5, &key)?;
        let data = options.image_path.clone().or_else(|| keyed_data(h5, &inside, &key, n))?;
        let angle = options.angle_path.clone().or_else(|| inside.iter().find_map(|g| angle_beside(h5, g, Some(n))));
        let mut notes = Notes::of(h5);
        let found = Found { data, key: Some(key), control: None, angle, by_range: true };
        let scan = keyed_scan(h5, "nxtomo", &found, &mut notes);
        return Some(scan.and_then(|k| finish(k.scan, notes, options)));
    }
    None
}

/// The stack an image key belongs to: `data` in the group of the detector's name, else any of the right length. A link
/// that leads nowhere counts, so that opening says which file is missing.
fn keyed_data(h5: &H5, inside: &[String], key: &str, n: usize) -> Option<String> {
    let detector = parent(key).rsplit('/').next().unwrap_or_default();
    let close = |g: &&String| g.rsplit('/').next() == Some(detector);
    let all = || inside.iter().filter(close).chain(inside.iter().filter(|g| !close(g)));
    let fits = |p: &String| shape_of(h5, p).is_some_and(|s| s.len() == 3 && s[0] == n as u64);
    all()
        .flat_map(|g| datasets(h5, g))
        .find(fits)
        .or_else(|| all().map(|g| format!("{g}/data")).find(|p| named(h5, p) && !h5.exists(p)))
}
