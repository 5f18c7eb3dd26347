//! DXchange: `/exchange/{data, data_white, data_dark, theta}` (APS, TomoBank, Sirius, SLS, ALS).
//!
//! Accepted: `theta_white` and `theta_dark` (when each flat and dark was taken), `data_white_pre` and `data_white_post`
//! (SLS), 2-D whites and darks, missing angles (start and step from `/process/acquisition`, else 0 to 180° as dxchange
//! itself assumes), further groups `exchange_1` or `exchange1` (listed, not read). A file whose `/exchange` holds data alone is a volume.

use super::angles;
use super::common::*;
use crate::model::{Angles, RefPosition, RefSet};
use crate::nexus::H5;
use crate::registry::{OpenOptions, Opened};
use crate::{Result, Warnings};

/// Opens the file where it is DXchange with more than plain data.
pub fn open(h5: &H5, options: &OpenOptions) -> Option<Result<Opened>> {
    const SIGNS: [&str; 6] = ["theta", "data_white", "data_dark", "data_white_pre", "data_white_post", "data_dark_pre"];
    let is_scan = SIGNS.iter().any(|s| named(h5, &format!("/exchange/{s}")));
    (named(h5, "/exchange/data") && is_scan).then(|| read(h5, options))
}

fn read(h5: &H5, options: &OpenOptions) -> Result<Opened> {
    let mut notes = Notes::of(h5);
    let data = options.image_path.clone().unwrap_or_else(|| "/exchange/data".into());
    let projections = stack(h5, &data, &mut notes)?;
    let n = projections.shape().frames;
    let angles = angles_of(h5, options, n, &mut notes)?;
    let mut scan = bare(stem(h5), "dxchange", h5, projections, &data, angles);
    if let Some(axes) = h5.attr_text(&data, "axes")
        && !axes.trim().to_ascii_lowercase().starts_with("theta")
    {
        notes.warn(format!("{data} names its axes '{axes}': read as theta:y:x"));
    }
    let last = n as f64;
    for (name, position) in [
        ("data_white", 0.0),
        ("data_white_pre", 0.0),
        ("data_white_post", last),
        ("data_dark", 0.0),
        ("data_dark_pre", 0.0),
        ("data_dark_post", last),
    ] {
        let path = format!("/exchange/{name}");
        if !named(h5, &path) {
            continue;
        }
        let empty = shape_of(h5, &path).is_some_and(|s| s.contains(&0));
        if empty || shape_of(h5, &path).is_some_and(|s| s.len() < 2) {
            notes.warn(format!("{path} holds no frames"));
            continue;
        }
        let set = ref_set(h5, &path, position, &mut notes)?;
        let sets = if name.starts_with("data_white") { &mut scan.flats } else { &mut scan.darks };
        match taken_at(h5, &path, &set, &scan.angles, &mut notes) {
            Some(split) => sets.extend(split),
            None => sets.push(set),
        }
    }
    metadata(h5, &mut scan, &mut notes);
    finish(scan, notes, options)
}

fn angles_of(h5: &H5, options: &OpenOptions, n: usize, notes: &mut Notes) -> Result<Angles> {
    let path = options.angle_path.clone().unwrap_or_else(|| "/exchange/theta".into());
    if options.angle_path.is_some() || named(h5, &path) {
        let values = h5.read_f64(&path)?;
        if !values.is_empty() {
            let unit = h5.attr_text(&path, "units");
            let rad = angles::to_rad(&values, unit.as_deref(), true, &mut notes.warnings);
            return Ok(Angles { rad, origin: origin(h5, &path) });
        }
        notes.warn(format!("{path} is empty"));
    }
    let from = "/process/acquisition/rotation";
    let (start, step) =
        (number(h5, &format!("{from}/rotation_start"), notes), number(h5, &format!("{from}/rotation_step"), notes));
    if let Some(step) = step.filter(|s| *s != 0.0) {
        let start = start.unwrap_or(0.0);
        notes.warn(format!("there are no angles: taken as {start} + i × {step} deg from {from}"));
        if let Some(told) = number(h5, &format!("{from}/num_angles"), notes).filter(|a| *a != n as f64) {
            notes.warn(format!("{from}/num_angles says {told}, the file holds {n} projections"));
        }
        let rad = (0..n).map(|i| (start + step * i as f64).to_radians()).collect();
        return Ok(Angles { rad, origin: origin(h5, from) });
    }
    notes.warn("there are no angles: taken as 0 to 180 deg in equal steps, both ends included");
    let rad = (0..n).map(|i| std::f64::consts::PI * i as f64 / (n.max(2) - 1) as f64).collect();
    Ok(Angles { rad, origin: "assumed 0..180".into() })
}

/// Sorts the frames of `data_white` by `theta_white`, the angle at which each was taken (`data_dark` alike): frames at
/// the angle of projection i come before it, those beyond the last angle after all. `None` where there is no such list,
/// or it has angles the scan does not.
fn taken_at(h5: &H5, path: &str, set: &RefSet, scan: &Angles, notes: &mut Notes) -> Option<Vec<RefSet>> {
    let theta = path.replace("/data_", "/theta_");
    if list_len(h5, &theta)? != set.source.shape().frames || scan.rad.len() < 2 {
        return None;
    }
    let unit = h5.attr_text(&theta, "units").or_else(|| h5.attr_text("/exchange/theta", "units"));
    let rad = angles::to_rad(&h5.read_f64(&theta).ok()?, unit.as_deref(), false, &mut Warnings::default());
    let n = scan.rad.len();
    let step = (scan.rad[n - 1] - scan.rad[0]) / (n - 1) as f64;
    let position = |a: f64| {
        if step != 0.0 && (a - scan.rad[n - 1]) / step > 0.5 {
            return ((a - scan.rad[n - 1]) / step < 1.5).then_some(n);
        }
        let near = (0..n).min_by(|&i, &j| (scan.rad[i] - a).abs().total_cmp(&(scan.rad[j] - a).abs()))?;
        ((scan.rad[near] - a).abs() <= step.abs() / 2.0).then_some(near)
    };
    let Some(positions) = rad.iter().map(|&a| position(a)).collect::<Option<Vec<usize>>>() else {
        notes.warn(format!("{theta} has angles outside the scan: not used to tell when {path} was taken"));
        return None;
    };
    let mut split: Vec<(usize, Vec<usize>)> = Vec::new();
    for (frame, at) in positions.into_iter().enumerate() {
        match split.iter_mut().find(|s| s.0 == at) {
            Some(s) => s.1.push(frame),
            None => split.push((at, vec![frame])),
        }
    }
    let part = |(at, frames): (usize, Vec<usize>)| RefSet {
        source: pick(&set.source, frames),
        position: RefPosition(at as f64),
        averaged: set.averaged,
        origin: set.origin.clone(),
    };
    Some(split.into_iter().map(part).collect())
}

fn metadata(h5: &H5, scan: &mut crate::Scan, notes: &mut Notes) {
    for (key, path) in [
        ("title", "/exchange/title"),
        ("sample", "/measurement/sample/name"),
        ("facility", "/measurement/instrument/source/name"),
        ("beamline", "/measurement/instrument/source/beamline"),
        ("start_time", "/process/acquisition/start_date"),
        ("end_time", "/process/acquisition/end_date"),
    ] {
        if let Some(t) = text(h5, path) {
            notes.facts.add(key, t);
        }
    }
    let detector = "/measurement/instrument/detector";
    let (x, y) = (format!("{detector}/pixel_size_x"), format!("{detector}/pixel_size_y"));
    // What is wanted is the pixel at the sample: `resolution` of the optics before the chip's own pixel.
    let optics = "/measurement/instrument/detection_system/objective/resolution";
    scan.pixel_um = if h5.exists(optics) {
        length_um(h5, optics, "um", 1e4, notes).map(|s| [s, s])
    } else {
        pixel_um(h5, &x, &y, "um", notes)
    };
    if let Some(um) = length_um(h5, &format!("{detector}/distance"), "mm", 1e9, notes) {
        notes.facts.add_unit("distance", um / 1e3, "mm");
    }
    let energy = "/measurement/instrument/monochromator/energy";
    if let Some(e) = number(h5, energy, notes) {
        match h5.attr_text(energy, "units").as_deref().map(str::trim) {
            Some("J") => notes.facts.add_unit("energy", e / 1.602_176_634e-16, "keV"),
            Some("eV") => notes.facts.add_unit("energy", e / 1e3, "keV"),
            _ => notes.facts.add_unit("energy", e, "keV"),
        }
    }
    let current = "/measurement/instrument/source/current";
    if list_len(h5, current) == Some(scan.projections.shape().frames) && scan.projections.shape().frames > 1 {
        scan.current = h5.read_f64(current).ok();
    }
    scan.rotation_axis_px = number(h5, "/process/tomokit/rotation_axis_px", notes).filter(|v| v.is_finite());
    // Stand-ins some beamlines store instead of frames; told, not turned into frames.
    for (key, path) in [
        ("flat_field_value", "/process/acquisition/flat_fields/flat_field_value"),
        ("dark_field_value", "/process/acquisition/dark_fields/dark_field_value"),
    ] {
        if let Some(v) = number(h5, path, notes) {
            notes.facts.add(key, v);
        }
    }
    let further: Vec<String> = groups(h5, "/", 1)
        .into_iter()
        .filter(|g| g.strip_prefix("/exchange").is_some_and(|r| r.trim_start_matches('_').parse::<u32>().is_ok()))
        .collect();
    if !further.is_empty() {
        notes.facts.add("further_exchange_groups", further);
    }
}
