//! What a dataset says about itself: shape, type, layout, filters, units.

use super::file::H5;
use super::filters;
use super::links::{self, ExternalFile, VirtualSource};
use super::sys::{Failure, Id, check};
use super::types::describe;
use super::values::extent;
use crate::{ByteOrder, DType, Error, Result};
use hdf5_metno_sys::h5::hsize_t;
use hdf5_metno_sys::h5d::*;
use hdf5_metno_sys::h5p::*;
use hdf5_metno_sys::h5z::H5Zfilter_avail;
use std::fmt::Write as _;

/// How the values lie in the file.
#[derive(Clone, Debug, PartialEq)]
pub enum Layout {
    /// One run of bytes.
    Contiguous,
    /// Inside the object header (small data).
    Compact,
    /// Cut into chunks, perhaps compressed.
    Chunked {
        /// Size of a chunk, same rank as the shape.
        chunk: Vec<u64>,
    },
    /// Put together from datasets of other files (or this one).
    Virtual {
        /// The parts, in order of definition.
        sources: Vec<VirtualSource>,
    },
    /// Raw values in other files without any structure.
    External {
        /// The files, in order.
        files: Vec<ExternalFile>,
    },
}

/// One filter of a dataset's pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterInfo {
    /// Registered number.
    pub id: u32,
    /// Known name, else the one stored in the file, else empty.
    pub name: String,
    /// Parameters ("client data").
    pub params: Vec<u32>,
    /// True where we or the library can undo it.
    pub supported: bool,
}

/// Description of a dataset.
#[derive(Clone, Debug)]
pub struct DatasetInfo {
    /// Path it was asked by.
    pub path: String,
    /// Dimensions, slowest first; empty = scalar.
    pub shape: Vec<u64>,
    /// True for a dataset declared without any value ("null" space).
    pub is_null: bool,
    /// Number type; `None` for strings, compounds and other types.
    pub dtype: Option<DType>,
    /// Type in words.
    pub type_text: String,
    /// Byte order of numbers.
    pub byte_order: Option<ByteOrder>,
    /// Where the values lie.
    pub layout: Layout,
    /// Filters in the order they were applied when writing.
    pub filters: Vec<FilterInfo>,
    /// The `units` attribute.
    pub units: Option<String>,
    /// Bytes the values take in the file, after compression.
    pub stored_bytes: u64,
}

impl DatasetInfo {
    /// Number of values.
    pub fn len(&self) -> u64 {
        if self.is_null { 0 } else { self.shape.iter().fold(1u64, |n, &d| n.saturating_mul(d)) }
    }

    /// True where there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One line: `181 × 2 × 640 float32, chunks 1 × 2 × 640, shuffle, deflate(4)`.
    pub fn summary(&self) -> String {
        let dims = |d: &[u64]| d.iter().map(u64::to_string).collect::<Vec<_>>().join(" × ");
        let mut s = match (self.is_null, self.shape.is_empty()) {
            (true, _) => "empty ".to_owned(),
            (_, true) => String::new(),
            _ => format!("{} ", dims(&self.shape)),
        };
        s += &self.type_text;
        match &self.layout {
            Layout::Contiguous => s += ", contiguous",
            Layout::Compact => s += ", compact",
            Layout::Chunked { chunk } => {
                let _ = write!(s, ", chunks {}", dims(chunk));
            }
            Layout::Virtual { sources } => {
                let missing = sources.iter().filter(|v| !v.ok()).count();
                let _ = write!(s, ", virtual from {} source(s)", sources.len());
                if missing > 0 {
                    let _ = write!(s, ", {missing} MISSING");
                }
            }
            Layout::External { files } => {
                let missing = files.iter().filter(|f| f.resolved.is_none()).count();
                let _ = write!(s, ", raw values in {} external file(s)", files.len());
                if missing > 0 {
                    let _ = write!(s, ", {missing} MISSING");
                }
            }
        }
        for f in &self.filters {
            let _ = write!(s, ", {f}");
        }
        s
    }
}

impl std::fmt::Display for FilterInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = if self.name.is_empty() { "unknown filter" } else { &self.name };
        f.write_str(name)?;
        match (self.id, self.params.as_slice()) {
            (1, [level, ..]) => write!(f, "({level})")?,
            (1..=6, _) => {}
            (32008, [_, _, _, _, code, ..]) => {
                write!(
                    f,
                    "{}",
                    [("2", "+lz4"), ("3", "+zstd")].iter().find(|c| c.0 == code.to_string()).map_or("", |c| c.1)
                )?;
            }
            (id, _) => write!(f, " [{id}]")?,
        }
        if self.supported { Ok(()) } else { f.write_str(" (not supported here)") }
    }
}

/// Describes an open dataset. Call under the lock.
pub(super) fn describe_dataset(h5: &H5, d: &Id, path: &str) -> Result<DatasetInfo, Failure> {
    // SAFETY (this function): `d` is an open dataset; handles returned are ours and closed on drop.
    // SAFETY: see the top of this function.
    let (space, t, plist) = unsafe {
        (Id::new(H5Dget_space(d.raw()))?, Id::new(H5Dget_type(d.raw()))?, Id::new(H5Dget_create_plist(d.raw()))?)
    };
    let shape = extent(&space)?;
    let info = describe(&t)?;
    // SAFETY: `plist` is an open dataset-creation list.
    let layout = match unsafe { H5Pget_layout(plist.raw()) } {
        H5D_layout_t::H5D_COMPACT => Layout::Compact,
        H5D_layout_t::H5D_CHUNKED => {
            let mut chunk = [0 as hsize_t; 32];
            // SAFETY: room for the 32 dimensions the library allows.
            let n = check(unsafe { H5Pget_chunk(plist.raw(), 32, chunk.as_mut_ptr()) })?;
            Layout::Chunked { chunk: chunk[..(n as usize).min(32)].to_vec() }
        }
        H5D_layout_t::H5D_VIRTUAL => Layout::Virtual { sources: links::virtual_sources(h5, d, &plist)? },
        H5D_layout_t::H5D_CONTIGUOUS => {
            let files = links::external_files(d, &plist)?;
            if files.is_empty() { Layout::Contiguous } else { Layout::External { files } }
        }
        _ => return Err(Failure { lines: vec!["unknown layout".into()] }),
    };
    Ok(DatasetInfo {
        path: path.to_owned(),
        is_null: shape.is_none(),
        shape: shape.unwrap_or_default(),
        dtype: info.dtype,
        type_text: info.text,
        byte_order: info.order,
        layout,
        filters: filter_list(&plist)?,
        units: h5.attr_text(path, "units"),
        // SAFETY: `d` is open.
        stored_bytes: unsafe { H5Dget_storage_size(d.raw()) },
    })
}

fn filter_list(plist: &Id) -> Result<Vec<FilterInfo>, Failure> {
    // SAFETY (this function): `plist` is an open dataset-creation list; buffers are passed with their true sizes.
    // SAFETY: see the top of this function.
    let n = check(unsafe { H5Pget_nfilters(plist.raw()) })?;
    let mut out = Vec::new();
    for i in 0..n as u32 {
        let mut params = vec![0u32; 64];
        let (mut flags, mut used, mut config) = (0u32, params.len(), 0u32);
        let mut name = [0u8; 128];
        let mut get = |params: &mut Vec<u32>, used: &mut usize| {
            // SAFETY: see above.
            unsafe {
                H5Pget_filter2(
                    plist.raw(),
                    i,
                    &mut flags,
                    used,
                    params.as_mut_ptr(),
                    name.len() - 1,
                    name.as_mut_ptr().cast(),
                    &mut config,
                )
            }
        };
        let mut id = check(get(&mut params, &mut used))?;
        if used > params.len() && used <= 1 << 16 {
            params.resize(used, 0);
            id = check(get(&mut params, &mut used))?;
        }
        params.truncate(used);
        let end = name.iter().position(|&b| b == 0).unwrap_or(0);
        let stored = crate::model::units::text_lossy(&name[..end]);
        let id = id as u32;
        // SAFETY: any number may be asked.
        let supported = filters::ours(id) || unsafe { H5Zfilter_avail(id as i32) } > 0;
        let name = filters::name(id).map_or(stored, str::to_owned);
        out.push(FilterInfo { id, name, params, supported });
    }
    Ok(out)
}

/// Refuses datasets with a filter that neither we nor the library can undo.
pub(super) fn check_filters(h5: &H5, info: &DatasetInfo) -> Result<()> {
    let Some(f) = info.filters.iter().find(|f| !f.supported) else { return Ok(()) };
    let name = if f.name.is_empty() { "an unregistered filter" } else { &f.name };
    Err(Error::unsupported(h5.path(), format!("{} is compressed with {name} (HDF5 filter {})", info.path, f.id)).hint(
        "set HDF5_PLUGIN_PATH to a folder with the plugin (for example that of the Python package hdf5plugin), or have the data rewritten with deflate",
    ))
}
