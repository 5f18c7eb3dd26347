//! (sidecar: being written)

use crate::registry::*;
use crate::{Error, Result};
use std::path::Path;

/// The format's row.
pub static MHD: FormatSpec = FormatSpec {
    name: "mhd",
    title: "mhd",
    extensions: &["mhd"],
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

/// NRRD row.
pub static NRRD: FormatSpec = FormatSpec { name: "nrrd", extensions: &["nhdr"], ..MHD };
