//! (raw: being written)

pub mod flat;

use crate::registry::*;
use crate::{Error, Result};
use std::path::Path;

/// The format's row.
pub static SPEC: FormatSpec = FormatSpec {
    name: "raw",
    title: "raw",
    extensions: &["raw"],
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
