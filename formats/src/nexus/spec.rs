//! The format's row: probe, open as scan or volume, tree, create.

use super::choose::{Choice, beside, census, choose, signal_of, voxel_um};
use super::file::{H5, ObjectKind, SIGNATURE};
use super::info::{DatasetInfo, Layout};
use super::{layout, tree, write};
use crate::model::{Facts, GreyScale, Volume, VolumeMeta};
use crate::registry::{
    ALSO_THERE, COULD_BE_MEANT, Candidate, Confidence, Content, FormatSpec, Hit, OpenOptions, Opened,
};
use crate::{About, Error, Fault, Result, Warning};
use serde_json::{Value, json};
use std::path::Path;

/// The format's row.
pub static SPEC: FormatSpec = FormatSpec {
    name: "nexus",
    title: "NeXus / HDF5",
    extensions: &["h5", "nxs", "hdf5", "hdf", "nx", "nexus", "nx5"],
    reads: "every layout of HDF5 up to 2.x; contiguous, compact, chunked, virtual, external; \
            deflate, shuffle, fletcher32, lz4, bitshuffle, zstd, lzf, blosc, bzip2, nbit, scaleoffset",
    writes: "NXdata volume, plain or deflate",
    variants: &[],
    probe,
    open,
    create: Some(write::create),
    tree: Some(tree::tree),
};

fn probe(c: &Candidate) -> Option<Hit> {
    if c.is_dir {
        return layout::probe_dir(c);
    }
    let mut at = 0usize;
    while c.head.get(at..at + 8).is_some_and(|b| b != SIGNATURE) {
        at = if at == 0 { 512 } else { at * 2 };
    }
    if c.head.len() >= at + 8 {
        let block = if at == 0 { String::new() } else { format!(" after a user block of {at} bytes") };
        return Hit::new(Confidence::Marker, format!("HDF5 signature{block}"));
    }
    if c.has_extension(SPEC.extensions) {
        return Hit::new(Confidence::Name, "the name says HDF5, but the first bytes do not");
    }
    None
}

fn open(path: &Path, options: &OpenOptions) -> Result<Opened> {
    if path.is_dir() {
        return layout::open_dir(path, options);
    }
    let h5 = H5::open(path)?;
    if let Some(dataset) = &options.dataset {
        let name = if dataset.starts_with('/') { dataset.clone() } else { format!("/{dataset}") };
        let name = match h5.kind(&name) {
            Some(ObjectKind::Group) => signal_of(&h5, &name).ok_or_else(|| {
                Error::caller(format!("{name} is a group without a signal"))
                    .path(path)
                    .hint("name a dataset in it; list them with 'tomo info --tree'")
            })?,
            _ => name,
        };
        let info = h5.dataset_info(&name)?;
        let mut opened = volume(&h5, &info)?;
        opened.facts.add("chosen", "named by the user");
        return Ok(opened);
    }
    if let Some(scan) = layout::open_file(&h5, options) {
        return scan;
    }
    let all = census(&h5);
    let mut opened = match choose(&h5, &all) {
        Choice::One(info, why) => {
            let mut o = volume(&h5, &info)?;
            o.facts.add("chosen", why);
            let others = beside(&h5, &all, &info);
            if !others.is_empty() {
                o.facts.add(ALSO_THERE, others);
            }
            o
        }
        Choice::Several(list) => {
            let names: Vec<String> = list.iter().take(5).map(|i| format!("{} ({})", i.path, i.summary())).collect();
            let more = if list.len() > 5 { format!(", and {} more", list.len() - 5) } else { String::new() };
            let text = format!(
                "several datasets could be meant: {}{more}; name one as {}:{}",
                names.join(", "),
                path.display(),
                list.first().map_or("/path", |i| i.path.as_str())
            );
            let mut o = other(Warning::new(About::Several, text));
            o.facts.add(COULD_BE_MEANT, list.iter().map(|i| i.path.as_str()).collect::<Vec<_>>());
            o
        }
        Choice::None => other("no dataset in this file is a stack of images".into()),
    };
    opened.warnings.extend(h5.notes().iter().map(String::as_str));
    list_facts(&h5, &all.datasets, all.cut, &mut opened);
    Ok(opened)
}

fn other(warning: Warning) -> Opened {
    Opened {
        format: SPEC.name,
        content: Content::Other,
        facts: Facts::default(),
        warnings: [warning].into_iter().collect(),
    }
}

/// A dataset as a volume, with what the file says about it.
fn volume(h5: &H5, info: &DatasetInfo) -> Result<Opened> {
    let (source, warnings) = h5.stack_and_warnings(&info.path)?;
    let mut facts = Facts::default();
    facts.add("dataset", info.path.as_str());
    facts.add("storage", info.summary());
    if info.stored_bytes > 0 && !info.filters.is_empty() {
        let raw = info.len().saturating_mul(source.dtype().size() as u64);
        facts.add("compression_ratio", (raw as f64 / info.stored_bytes as f64 * 100.0).round() / 100.0);
    }
    let mut meta = VolumeMeta { value_unit: info.units.clone().filter(|u| !u.is_empty()), ..Default::default() };
    if let Some((voxel, origin)) = voxel_um(h5, &info.path) {
        meta.voxel_um = Some(voxel);
        facts.add("voxel_size_from", origin);
    }
    meta.grey = grey(h5, &info.path, meta.value_unit.as_deref());
    meta.description = h5.attr_text("/", "description").or_else(|| h5.read_text("/entry/title").ok());
    Ok(Opened { format: SPEC.name, content: Content::Volume(Volume { source, meta }), facts, warnings })
}

/// NXdata's `DATASET_scaling_factor` and `DATASET_offset`, else the attributes `scale_factor` and `add_offset`.
fn grey(h5: &H5, dataset: &str, unit: Option<&str>) -> Option<GreyScale> {
    let field = |suffix: &str| match h5.read_f64(&format!("{dataset}{suffix}")).ok()?.as_slice() {
        [v] => Some(*v),
        _ => None,
    };
    let slope = field("_scaling_factor").or_else(|| h5.attr_f64(dataset, "scale_factor"))?;
    let offset = field("_offset").or_else(|| h5.attr_f64(dataset, "add_offset")).unwrap_or(0.0);
    Some(GreyScale { slope, offset, unit: unit.unwrap_or_default().to_owned() })
}

/// Datasets listed one by one in the facts; the tree has them all.
const LISTED: usize = 100;

fn list_facts(h5: &H5, datasets: &[DatasetInfo], cut: bool, opened: &mut Opened) {
    let one = |i: &DatasetInfo| -> Value {
        let mut v = json!({ "path": i.path, "shape": i.shape, "type": i.type_text });
        if let Layout::Chunked { chunk } = &i.layout {
            v["chunks"] = json!(chunk);
        }
        if !i.filters.is_empty() {
            v["filters"] = json!(i.filters.iter().map(ToString::to_string).collect::<Vec<_>>());
        }
        if let Layout::Virtual { sources } = &i.layout {
            v["virtual_sources"] = json!(sources.len());
            v["virtual_sources_missing"] = json!(sources.iter().filter(|s| !s.ok()).count());
        }
        if let Some(u) = &i.units {
            v["units"] = json!(u);
        }
        v
    };
    opened.facts.add("dataset_count", datasets.len());
    opened.facts.add("datasets", datasets.iter().take(LISTED).map(one).collect::<Vec<_>>());
    if cut {
        opened.warnings.push("the file holds more objects than were looked at");
    }
    missing(h5, opened);
}

/// Links and sources that lead nowhere: all as facts, the first ones as warnings.
pub(super) fn missing(h5: &H5, opened: &mut Opened) {
    match h5.dangling() {
        Ok(list) => {
            if !list.is_empty() {
                opened.facts.add("dangling", list.iter().map(ToString::to_string).collect::<Vec<_>>());
            }
            let shown = list.iter().take(10).map(|d| Warning::new(About::Link, format!("missing: {d}")));
            opened.warnings.extend(shown);
            if list.len() > 10 {
                opened.warnings.add(About::Link, format!("missing: {} more", list.len() - 10));
            }
        }
        Err(e) => {
            let about = if e.fault() == Fault::File { About::Damaged } else { About::Remark };
            opened.warnings.add(about, format!("not everything could be checked: {e}"));
        }
    }
}
