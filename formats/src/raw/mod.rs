//! Headerless values of any type: `.raw` with dimensions from `.raw.info`, from the name (`_WxHxN_type`) or from the
//! user. Also home of what all headerless layouts share: [`flat`] (the source), [`info`] (the sidecar's text),
//! [`layout`] (which dimensions hold) and [`writer`].

pub mod flat;
pub mod info;
pub mod layout;
pub mod name;
pub mod writer;

use crate::Result;
use crate::registry::*;
use crate::sink::{CreateOptions, SliceSink};
use std::path::Path;

/// The format's row.
pub static SPEC: FormatSpec = FormatSpec {
    name: "raw",
    title: "headerless values (.raw with .raw.info)",
    extensions: &["raw"],
    reads: "any type, both byte orders; dimensions from .raw.info, the name (_WxHxN_type) or --dims/--dtype",
    writes: "any type, with .raw.info, .mhd, .nhdr and an ImageJ macro",
    variants: &[],
    probe: |c| layout::probe(c, &["raw"], None),
    open: |path, options| layout::open(path, options, "raw", None),
    create: Some(create),
    tree: None,
};

fn create(path: &Path, options: &CreateOptions) -> Result<Box<dyn SliceSink>> {
    Ok(Box::new(writer::RawSink::create(path, options)?))
}

#[cfg(test)]
mod tests;
