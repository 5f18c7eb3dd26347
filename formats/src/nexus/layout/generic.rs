//! What names and lengths tell where no known layout does: a stack beside a list of angles, sinograms whose axes are
//! named, neighbouring scans of MAX IV, or the paths the user gives.

use super::angles::{self, is_angle_name};
use super::common::*;
use super::nxtomo::angle_beside;
use super::view::Sinograms;
use crate::model::Angles;
use crate::nexus::H5;
use crate::registry::{OpenOptions, Opened};
use crate::source::FrameSource;
use crate::{Error, Result, Volume, VolumeMeta};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Opens the file where a stack and angles can be told without doubt.
pub fn open(h5: &H5, options: &OpenOptions) -> Option<Result<Opened>> {
    if let Some(image) = &options.image_path {
        return Some(by_paths(h5, image, options));
    }
    // Image data of NXdata groups lie a few groups deep; savu and httomo name theirs at the root.
    for group in groups(h5, "/", 4) {
        let Some((data, angle, order)) = stack_and_angle(h5, &group) else { continue };
        return Some(match order {
            Order::Projections => scan(h5, "nxdata", &data, &angle, options, false),
            Order::Sinograms => scan(h5, "nxdata", &data, &angle, options, true),
            Order::Unsure => unsure(h5, &data, &angle),
        });
    }
    neighbours(h5, options)
}

fn by_paths(h5: &H5, image: &str, options: &OpenOptions) -> Result<Opened> {
    let stack = h5.stack(image)?;
    let n = stack.shape().frames;
    let group = image.rsplit_once('/').map_or("/", |p| if p.0.is_empty() { "/" } else { p.0 });
    let angle = options.angle_path.clone().or_else(|| angle_beside(h5, group, Some(n))).ok_or_else(|| {
        Error::caller(format!("no angles for {image}")).path(h5.path()).hint("name their dataset with --angle-path")
    })?;
    scan(h5, "nxdata", image, &angle, options, false)
}

/// How a stack's dimensions go with its angles.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Order {
    /// Angles first.
    Projections,
    /// Angles second, and the file says so.
    Sinograms,
    /// Angles second by length only.
    Unsure,
}

/// A 3-D dataset and a list of angles side by side.
fn stack_and_angle(h5: &H5, group: &str) -> Option<(String, String, Order)> {
    let all = datasets(h5, group);
    let name = |p: &str| p.rsplit('/').next().unwrap_or_default().to_owned();
    let angles: Vec<(&String, u64)> = all
        .iter()
        .filter(|p| is_angle_name(&name(p)))
        .filter_map(|p| Some((p, list_len(h5, p).filter(|n| *n > 1)? as u64)))
        .collect();
    if angles.is_empty() {
        return None;
    }
    let mut sure: Option<(String, String, Order)> = None;
    for path in &all {
        let Some(shape) = shape_of(h5, path).filter(|s| s.len() == 3 && s.iter().all(|d| *d > 0)) else { continue };
        for (angle, n) in &angles {
            let order = if told_axis(h5, group, path, &name(angle)) == Some(1) && shape[1] == *n {
                Order::Sinograms
            } else if shape[0] == *n {
                Order::Projections
            } else if shape[1] == *n {
                Order::Unsure
            } else {
                continue;
            };
            let better = sure.as_ref().is_none_or(|s| s.2 == Order::Unsure && order != Order::Unsure);
            if better {
                sure = Some((path.clone(), (*angle).clone(), order));
            }
        }
    }
    sure
}

/// Which dimension the file says is the angle: `axes` of the NXdata or of the dataset, `<name>_indices`, CIL's `dimN`.
fn told_axis(h5: &H5, group: &str, data: &str, angle: &str) -> Option<usize> {
    let is_angle = |word: &str| word.trim() == angle || is_angle_name(word);
    for at in [group, data] {
        let axes = match h5.attr_texts(at, "axes") {
            Some(a) if a.len() == 1 => a[0].split([':', ',']).map(str::to_owned).collect(),
            Some(a) => a,
            None => Vec::new(),
        };
        if axes.len() > 1 {
            return axes.iter().position(|a| is_angle(a));
        }
    }
    if let Some(i) = h5.attr_f64(group, &format!("{angle}_indices")) {
        return (0.0..8.0).contains(&i).then_some(i as usize);
    }
    (0..3).find(|i| h5.attr_text(data, &format!("dim{i}")).is_some_and(|d| is_angle(&d)))
}

fn scan(
    h5: &H5,
    layout: &'static str,
    data: &str,
    angle: &str,
    options: &OpenOptions,
    sinograms: bool,
) -> Result<Opened> {
    let mut notes = Notes::of(h5);
    let mut images = stack(h5, data, &mut notes)?;
    if sinograms {
        notes.warn(format!("{data} is stored as sinograms (rows × angles × columns): read as projections"));
        images = Arc::new(Sinograms(images)) as Arc<dyn FrameSource>;
    }
    let path = options.angle_path.as_deref().unwrap_or(angle);
    let values = h5.read_f64(path)?;
    let unit = h5.attr_text(path, "units");
    let rad = angles::to_rad(&values, unit.as_deref(), true, &mut notes.warnings);
    let scan = bare(stem(h5), layout, h5, images, data, Angles { rad, origin: origin(h5, path) });
    if let Some(geometry) = h5.attr_text(data, "geom_type").filter(|g| !g.eq_ignore_ascii_case("parallel")) {
        notes.warn(format!("the file says the beam is a {geometry}: a parallel reconstruction will be wrong"));
        notes.facts.add("geometry", geometry);
    }
    finish(scan, notes, options)
}

fn unsure(h5: &H5, data: &str, angle: &str) -> Result<Opened> {
    let mut opened = Opened::volume("nexus", Volume { source: h5.stack(data)?, meta: VolumeMeta::default() });
    opened.warnings.extend(h5.notes().iter().map(String::as_str));
    opened.warnings.push(format!(
        "{angle} is as long as the second dimension of {data}: sinograms, perhaps, but nothing says so; read as a volume"
    ));
    opened.facts.add("dataset", data);
    opened.facts.add("angles_from", angle);
    Ok(opened)
}

/// `scan-0012_orca` → (`scan-`, 12, 4 digits, `_orca`).
fn scan_number(stem: &str) -> Option<(&str, u64, usize, &str)> {
    let rest = stem.strip_prefix("scan-").or_else(|| stem.strip_prefix("scan_"))?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let number = rest.get(..digits)?.parse().ok()?;
    let tail = rest.get(digits..).filter(|t| t.starts_with('_') && t.len() > 1)?;
    Some((&stem[..stem.len() - rest.len()], number, digits, tail))
}

/// MAX IV: `scan-NNNN_<camera>.h5` with `/entry/instrument/<camera>/data`, darks and flats in the two scans before, the
/// angles in this file or in the master `scan-NNNN.h5`. Only where all of that is there.
fn neighbours(h5: &H5, options: &OpenOptions) -> Option<Result<Opened>> {
    let stem = h5.path().file_stem()?.to_str()?;
    let (head, n, digits, tail) = scan_number(stem)?;
    let is_stack = |h5: &H5, p: &String| shape_of(h5, p).filter(|s| s.len() == 3);
    let data = groups(h5, "/entry/instrument", 1)
        .into_iter()
        .map(|g| format!("{g}/data"))
        .find(|p| h5.exists(p) && is_stack(h5, p).is_some())?;
    let shape = is_stack(h5, &data)?;
    let file = |n: u64, tail: &str| -> Option<PathBuf> {
        let p = h5.path().with_file_name(format!("{head}{n:0digits$}{tail}.h5"));
        p.is_file().then_some(p)
    };
    let open_like = |path: PathBuf| -> Option<(PathBuf, H5)> {
        let other = H5::open(&path).ok()?;
        let s = is_stack(&other, &data)?;
        (s[1..] == shape[1..] && s[0] < shape[0]).then_some((path, other))
    };
    let (darks, flats) = (open_like(file(n.checked_sub(2)?, tail)?)?, open_like(file(n.checked_sub(1)?, tail)?)?);
    let frames = usize::try_from(shape[0]).ok()?;
    let angles = |h: &H5| {
        groups(h, "/entry", 3).iter().find_map(|g| angle_beside(h, g, Some(frames)).or_else(|| motor(h, g, frames)))
    };
    let master = file(n, "").and_then(|p| H5::open(&p).ok());
    let (holder, angle) = match (angles(h5), &master) {
        (Some(a), _) => (h5.clone(), a),
        (None, Some(m)) => (m.clone(), angles(m)?),
        _ => return None,
    };
    let read = || -> Result<Opened> {
        let mut notes = Notes::of(h5);
        let values = holder.read_f64(&angle)?;
        let rad = angles::to_rad(&values, holder.attr_text(&angle, "units").as_deref(), true, &mut notes.warnings);
        let at = Angles { rad, origin: origin(&holder, &angle) };
        let images = stack(h5, &data, &mut notes)?;
        let mut scan = bare(stem.to_owned(), "maxiv", h5, images, &data, at);
        notes.warn("flats and darks are taken from the two scans before this one, as is usual at MAX IV");
        for (set, (path, other)) in [(&mut scan.flats, flats), (&mut scan.darks, darks)] {
            set.push(ref_set(&other, &data, 0.0, &mut notes)?);
            scan.files.push(path);
        }
        finish(scan, notes, options)
    };
    Some(read())
}

/// A motor's positions kept as `<motor>/value`.
fn motor(h5: &H5, group: &str, frames: usize) -> Option<String> {
    let name = Path::new(group).file_name()?.to_str()?;
    let path = format!("{group}/value");
    (is_angle_name(name) && list_len(h5, &path) == Some(frames)).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scan_names() {
        assert_eq!(scan_number("scan-0012_orca"), Some(("scan-", 12, 4, "_orca")));
        assert_eq!(scan_number("scan-0012"), None);
        assert_eq!(scan_number("scan-"), None);
    }
}
