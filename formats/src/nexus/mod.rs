//! NeXus and plain HDF5: reading through our own chunk decoder, links and virtual sources checked by name, writing NXdata.

pub mod file;
pub mod info;
pub mod links;

mod array;
mod chunks;
mod filters;
mod sys;
mod types;
mod values;
mod virtuals;

pub use file::{H5, Link, LinkKind, ObjectKind};
pub use info::{DatasetInfo, FilterInfo, Layout};
pub use links::{Dangling, ExternalFile, VirtualSource};

use crate::registry::*;
use crate::{Error, Result};
use std::path::Path;

pub mod layout;
pub mod write_scan;

/// The format's row.
pub static SPEC: FormatSpec = FormatSpec {
    name: "nexus",
    title: "NeXus / HDF5",
    extensions: &["h5", "nxs", "hdf5", "hdf", "nx", "nexus", "he5", "nx5"],
    reads: "",
    writes: "",
    variants: &[],
    probe: |_| None,
    open,
    create: None,
    tree: None,
};

fn open(path: &Path, _: &OpenOptions) -> Result<Opened> {
    Err(Error::unsupported(path, "no reader yet"))
}
