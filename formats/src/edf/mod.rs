//! EDF, the ESRF data format: text headers in braces, each followed by raw values.
//!
//! | part | what |
//! |---|---|
//! | [`header`] | a header block as text, and what it says about the pixels |
//! | [`store`] | the bytes behind a file, `.gz` and `.bz2` unpacked |
//! | [`read`] | the frames of one file ([`File`]) |
//! | [`stack`] | one stack out of them |
//! | [`folder`] | folders of numbered files, and the scan folders of ESRF and PyHST2 |
//! | [`mod@write`] | the strict form we write |
//!
//! Oddities accepted and the form written are in the README beside this file.

pub mod folder;
pub mod header;
pub mod read;
pub mod scan;
pub mod stack;
pub mod store;
pub mod write;
pub(crate) mod write_scan;

pub use read::{File, Frame};
pub use write::write_frame;

use crate::model::{Facts, Volume, VolumeMeta};
use crate::registry::*;
use crate::{Error, Result, Warning, Warnings};
use std::path::Path;
use std::sync::Arc;

/// The format's row.
pub static SPEC: FormatSpec = FormatSpec {
    name: "edf",
    title: "EDF (ESRF data format)",
    extensions: &["edf", "edf.gz", "edf.bz2"],
    reads: "single, multi-frame, 3-D blocks, all types, .gz/.bz2, folders of slices, ESRF/PyHST2 scan folders",
    writes: "folder of slices, multi-frame file",
    variants: &["series", "multi"],
    probe,
    open,
    create: Some(write::create),
    tree: None,
};

fn probe(c: &Candidate) -> Option<Hit> {
    if c.is_dir {
        return folder::probe(c);
    }
    let named = c.has_extension(SPEC.extensions);
    let packed = c.head.starts_with(&[0x1f, 0x8b]) || c.head.starts_with(b"BZh");
    if packed {
        return named.then(|| Hit::new(Confidence::Marker, "compressed, and named .edf.gz or .edf.bz2")).flatten();
    }
    let start = c.head.iter().position(|b| !(b.is_ascii_whitespace() || *b == 0))?;
    if c.head[start] != b'{' {
        return named.then(|| Hit::new(Confidence::Name, "named .edf, but it does not begin with '{'")).flatten();
    }
    let end = header::find_end(&c.head, start);
    let h = header::Header::parse(&c.head[start + 1..end.map_or(c.head.len(), |e| e.0)]);
    let keys = ["Dim_1", "ByteOrder", "HeaderID", "DataType", "EDF_DataBlockID", "EDF_DataFormatVersion"];
    let Some(key) = keys.into_iter().find(|k| h.get(k).is_some()) else {
        return named.then(|| Hit::new(Confidence::Name, "named .edf and begins with '{'")).flatten();
    };
    if let (Some((_, data)), Ok(l)) = (end, header::layout(&h, &mut Warnings::default()))
        && l.external.is_none()
        && data as u64 + l.bytes == c.len
    {
        let why = format!("EDF header of {data} bytes + {} bytes of data = the file's length", l.bytes);
        return Hit::new(Confidence::Consistent, why);
    }
    Hit::new(Confidence::Marker, format!("begins with '{{' and has the EDF key {key}"))
}

fn open(path: &Path, options: &OpenOptions) -> Result<Opened> {
    if path.is_dir() {
        return folder::open(path, options);
    }
    let file = Arc::new(File::open(path)?);
    let mut warnings = few(file.warnings());
    let stack = stack::Stack::new(file.clone(), &mut warnings)?;
    let mut facts = facts_of(file.header(), &mut warnings);
    facts.add("edf_blocks", file.frames().len());
    if file.is_packed() {
        facts.add("compressed", true);
    }
    let volume = Volume { source: Arc::new(stack), meta: meta_of(file.header()) };
    Ok(Opened { format: SPEC.name, content: Content::Volume(volume), facts, warnings })
}

/// At most a screenful of warnings: a broken file of ten thousand frames says the same thing ten thousand times. That
/// something is left out is among them.
fn few(all: &[Warning]) -> Warnings {
    const SHOWN: usize = 20;
    let mut out: Warnings = all.iter().take(SHOWN).cloned().collect();
    if all.len() > SHOWN {
        let left_out = |w: &&Warning| w.leaves_out();
        if !out.iter().any(|w| left_out(&w)) {
            out.extend(all.iter().skip(SHOWN).find(left_out).cloned());
        }
        out.push(format!("… and {} more of these", all.len() - out.len()));
    }
    out
}

/// Header keys, motors and counters as facts. Numbers become numbers.
pub(crate) fn facts_of(h: &header::Header, warnings: &mut Warnings) -> Facts {
    let mut facts = Facts::default();
    let value = |text: &str| match text.parse::<f64>() {
        Ok(v) if v.is_finite() => serde_json::json!(v),
        _ => serde_json::json!(text),
    };
    for (stem, key) in [("motor", "motors"), ("counter", "counters")] {
        let (pairs, even) = h.lists(stem);
        if !even {
            warnings.push(format!("{stem}_mne and {stem}_pos differ in length: the surplus is left out"));
        }
        if !pairs.is_empty() {
            let map: serde_json::Map<_, _> = pairs.iter().map(|(k, v)| (k.clone(), value(v))).collect();
            facts.add(key, map);
        }
    }
    let long = |k: &str| ["motor_mne", "motor_pos", "counter_mne", "counter_pos"].contains(&k);
    let map: serde_json::Map<_, _> =
        h.pairs.iter().filter(|(k, _)| !long(k)).map(|(k, v)| (k.clone(), serde_json::json!(v))).collect();
    facts.add("header", map);
    facts
}

/// Voxel size, grey scale and title, where the header has them: our own keys (`VoxelSize_1..3`, µm), else the SAXS
/// keywords `PSize_1`, `PSize_2` (metres).
pub(crate) fn meta_of(h: &header::Header) -> VolumeMeta {
    let number = |key: &str| h.get(key).and_then(|t| t.split_whitespace().next()?.parse::<f64>().ok());
    let size = |key: &str, factor: f64| number(key).map(|v| v * factor).filter(|v| v.is_finite() && *v > 0.0);
    let own = (size("VoxelSize_3", 1.0), size("VoxelSize_2", 1.0), size("VoxelSize_1", 1.0));
    let voxel_um = match own {
        (Some(z), Some(y), Some(x)) => Some([z, y, x]),
        _ => match (size("PSize_2", 1e6), size("PSize_1", 1e6)) {
            (Some(y), Some(x)) => Some([y, y, x]),
            _ => None,
        },
    };
    let text = |key: &str| h.get(key).filter(|t| !t.is_empty()).map(str::to_owned);
    let grey = match (number("GreySlope"), number("GreyOffset")) {
        (Some(slope), Some(offset)) => {
            Some(crate::model::GreyScale { slope, offset, unit: text("GreyUnit").unwrap_or_default() })
        }
        _ => None,
    };
    VolumeMeta { voxel_um, value_unit: text("ValueUnit"), grey, description: text("Title"), ..VolumeMeta::default() }
}

/// What a file of another kind under this name deserves as an explanation.
pub(crate) fn no_images(path: &Path) -> Error {
    Error::unsupported(path, "no numbered EDF files in this folder")
        .expected("files like name_0000.edf")
        .hint("open one file by its name instead")
}

#[cfg(test)]
mod tests;
