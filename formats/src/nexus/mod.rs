//! (nexus: being written)

use crate::registry::*;
use crate::{Error, Result};
use std::path::Path;

pub mod write_scan;

/// The format's row.
pub static SPEC: FormatSpec = FormatSpec {
    name: "nexus",
    title: "nexus",
    extensions: &["nxs"],
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
