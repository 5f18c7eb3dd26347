//! Which dataset of a file is the image data, where no layout knows: the file's own `default` attributes, then NXdata
//! groups, then size. Never a silent guess: two candidates of like size are a question to the user.

use super::file::{H5, LinkKind, ObjectKind, join};
use super::info::DatasetInfo;
use crate::model::units::length_to_um;
use std::collections::HashSet;

/// Groups and datasets looked at before giving up on odd files.
const MOST: usize = 100_000;
/// Links out of the file followed in a row. Files that link to each other in a circle look new every time they are
/// opened, so that a circle is not met again but grows; no real scan is more than two files away.
const HOPS: usize = 4;

/// A file's datasets, each once, whatever number of links lead to it.
pub(super) struct Census {
    pub datasets: Vec<DatasetInfo>,
    pub groups: Vec<String>,
    /// True where the file holds more objects than are worth listing.
    pub cut: bool,
}

/// Walks all hard links, then the soft and external ones, so that an object is known by its own path first.
pub(super) fn census(h5: &H5) -> Census {
    let mut c = Census { datasets: Vec::new(), groups: Vec::new(), cut: false };
    let mut seen = HashSet::new();
    let (mut now, mut later) = (vec![("/".to_owned(), 0, 0)], Vec::new());
    while let Some((path, depth, hops)) = now.pop().or_else(|| later.pop()) {
        if h5.identity(&path).is_none_or(|id| !seen.insert(id)) {
            continue;
        }
        if seen.len() > MOST || depth > 64 || hops > HOPS {
            c.cut = true;
            continue;
        }
        match h5.kind(&path) {
            Some(ObjectKind::Dataset) => c.datasets.extend(h5.dataset_info(&path)),
            Some(ObjectKind::Group) => {
                c.groups.push(path.clone());
                let Ok(children) = h5.children(&path) else { continue };
                for link in children.into_iter().rev() {
                    match link.kind {
                        _ if !link.resolves => {}
                        LinkKind::Hard { .. } => now.push((link.path, depth + 1, hops)),
                        LinkKind::Soft { .. } => later.push((link.path, depth + 1, hops)),
                        LinkKind::External { .. } => later.push((link.path, depth + 1, hops + 1)),
                    }
                }
            }
            _ => {}
        }
    }
    c
}

/// The answer to "which dataset is it?".
pub(super) enum Choice {
    /// This one, for this reason.
    One(DatasetInfo, String),
    /// Several could be meant.
    Several(Vec<DatasetInfo>),
    /// No image data.
    None,
}

/// Chooses among a file's datasets.
pub(super) fn choose(h5: &H5, all: &Census) -> Choice {
    if let Some((path, why)) = by_default(h5)
        && let Ok(info) = h5.dataset_info(&path)
        && is_image(&info, 2)
    {
        return Choice::One(info, why);
    }
    let mut signals: Vec<DatasetInfo> = Vec::new();
    let mut seen = HashSet::new();
    for g in &all.groups {
        if let Some(s) = signal_of(h5, g)
            && h5.identity(&s).is_some_and(|id| seen.insert(id))
            && let Ok(info) = h5.dataset_info(&s)
            && is_image(&info, 2)
        {
            signals.push(info);
        }
    }
    if let [one] = signals.as_slice() {
        return Choice::One(one.clone(), "the signal of the only NXdata group with images".into());
    }
    for rank in [3, 2] {
        let pool = if signals.iter().any(|i| is_image(i, rank)) { &signals } else { &all.datasets };
        let mut images: Vec<&DatasetInfo> = pool.iter().filter(|i| is_image(i, rank)).collect();
        images.sort_by_key(|i| std::cmp::Reverse(i.len()));
        match images.as_slice() {
            [] => {}
            [one] => {
                return Choice::One((*one).clone(), format!("the only numeric dataset with {rank} or more dimensions"));
            }
            // Flats and darks are smaller stacks of equal frames; a second volume is not.
            [first, second, ..] if first.len() >= second.len().saturating_mul(2) => {
                return Choice::One((*first).clone(), format!("the largest of {} stacks", images.len()));
            }
            _ => return Choice::Several(images.into_iter().cloned().collect()),
        }
    }
    Choice::None
}

/// Other stacks as large as the one chosen, or half as large: further volumes, where flats and darks are smaller.
pub(super) fn beside(h5: &H5, all: &Census, chosen: &DatasetInfo) -> Vec<String> {
    let mut seen: HashSet<_> = h5.identity(&chosen.path).into_iter().collect();
    let large = |i: &&DatasetInfo| is_image(i, 3) && i.path != chosen.path && i.len().saturating_mul(2) >= chosen.len();
    let others = all.datasets.iter().filter(large);
    others.filter(|i| h5.identity(&i.path).is_some_and(|id| seen.insert(id))).map(|i| i.path.clone()).collect()
}

fn is_image(i: &DatasetInfo, rank: usize) -> bool {
    // A table of numbers has two dimensions too: below 8 pixels a side nothing is an image by itself.
    let n = i.shape.len();
    i.dtype.is_some() && n >= rank && (n >= 3 || i.shape.iter().all(|d| *d >= 8)) && !i.is_empty()
}

/// The dataset a group's NeXus attributes name: `signal`, or in old files the member with `signal = 1`.
pub(super) fn signal_of(h5: &H5, group: &str) -> Option<String> {
    if let Some(s) = h5.attr_text(group, "signal") {
        let path = join(group, &s);
        return h5.exists(&path).then_some(path);
    }
    if h5.nx_class(group).as_deref() != Some("NXdata") {
        return None;
    }
    let first = |v: &str| v.trim() == "1";
    h5.children(group)
        .ok()?
        .into_iter()
        .filter(|l| l.resolves)
        .map(|l| l.path)
        .find(|p| h5.attr_f64(p, "signal") == Some(1.0) || h5.attr_text(p, "signal").is_some_and(|t| first(&t)))
}

/// Follows `default` from the root.
fn by_default(h5: &H5) -> Option<(String, String)> {
    let mut at = "/".to_owned();
    for _ in 0..16 {
        if let Some(s) = signal_of(h5, &at).filter(|_| at != "/") {
            return Some((s, format!("the file's default data ({at})")));
        }
        at = join(&at, &h5.attr_text(&at, "default")?);
        if h5.kind(&at) == Some(ObjectKind::Dataset) {
            return Some((at, "the file's default data".into()));
        }
    }
    None
}

/// Voxel edge in µm along z, y, x, and where it is written; `None` where the file does not say plainly.
pub(super) fn voxel_um(h5: &H5, dataset: &str) -> Option<([f64; 3], String)> {
    // ilastik, Fiji and our own files.
    if let Some(v) = attr_list(h5, dataset, "element_size_um")
        && let [z, y, x] = v[..]
    {
        return positive([z, y, x]).map(|v| (v, "element_size_um".into()));
    }
    let group = dataset.rsplit_once('/').map_or("/", |g| if g.0.is_empty() { "/" } else { g.0 });
    // NXdata axes: evenly spaced coordinates with a unit of length.
    if let Some(axes) = h5.attr_texts(group, "axes")
        && let [z, y, x] = axes.as_slice()
    {
        let steps: Option<Vec<f64>> = [z, y, x].iter().map(|a| axis_step_um(h5, &join(group, a))).collect();
        if let Some(&[z, y, x]) = steps.as_deref().and_then(|s| s.first_chunk::<3>()) {
            return positive([z, y, x]).map(|v| (v, format!("the axes of {group}")));
        }
    }
    let um = |name: &str| {
        let p = join(group, name);
        let unit = length_to_um(&h5.attr_text(&p, "units")?)?;
        match h5.read_f64(&p).ok()?.as_slice() {
            [v] => Some(v * unit),
            _ => None,
        }
    };
    if let (Some(x), Some(y)) = (um("x_pixel_size"), um("y_pixel_size")) {
        return positive([um("z_pixel_size").unwrap_or(y), y, x]).map(|v| (v, "x_pixel_size, y_pixel_size".into()));
    }
    for name in ["voxel_size", "pixel_size"] {
        let p = join(group, name);
        let Some(unit) = h5.attr_text(&p, "units").and_then(|u| length_to_um(&u)) else { continue };
        match h5.read_f64(&p).ok()?.as_slice() {
            [v] => return positive([v * unit; 3]).map(|v| (v, name.into())),
            [z, y, x] => return positive([z * unit, y * unit, x * unit]).map(|v| (v, name.into())),
            _ => {}
        }
    }
    None
}

fn attr_list(h5: &H5, path: &str, name: &str) -> Option<Vec<f64>> {
    let (_, v) = h5.attrs(path).ok()?.into_iter().find(|(n, _)| n == name)?;
    v.as_array()?.iter().map(serde_json::Value::as_f64).collect()
}

fn positive(v: [f64; 3]) -> Option<[f64; 3]> {
    v.iter().all(|x| x.is_finite() && *x > 0.0).then_some(v)
}

fn axis_step_um(h5: &H5, path: &str) -> Option<f64> {
    let unit = length_to_um(&h5.attr_text(path, "units")?)?;
    let v = h5.read_f64(path).ok()?;
    let (first, last) = (v.first()?, v.last()?);
    if v.len() < 2 {
        return None;
    }
    let step = (last - first) / (v.len() - 1) as f64;
    let even = v.windows(2).all(|w| ((w[1] - w[0]) - step).abs() <= step.abs() * 1e-3);
    even.then_some(step.abs() * unit)
}
