//! TIFF: single images, multi-page files, BigTIFF, ImageJ stacks of any size, folders of slices, and scans laid out as
//! folders of TIFF files. See this folder's README for the oddities.
//!
//! - [`ifd`] directories, [`codec`] decompression, [`page`] one page, [`file`](mod@file) all pages: any photometric.
//! - [`stack`] the grey pages of a file as a [`crate::FrameSource`], `describe` the texts and resolution tags.

pub mod codec;
mod describe;
mod file;
mod ifd;
mod page;
mod stack;

pub use file::File;
pub use page::{Directory, Page};

use crate::io::ReadAt;
use crate::model::{Facts, Volume};
use crate::registry::*;
use crate::{ByteOrder, Result};
use std::path::Path;
use std::sync::Arc;

/// The format's row.
pub static SPEC: FormatSpec = FormatSpec {
    name: "tiff",
    title: "TIFF file or folder of TIFF slices",
    extensions: &["tif", "tiff"],
    reads: "folders, multi-page, BigTIFF, ImageJ stacks of any size; strips, tiles; deflate, LZW, zstd, PackBits; 1 to 64 bits",
    writes: "",
    variants: &[],
    probe,
    open,
    create: None,
    tree: None,
};

fn probe(c: &Candidate) -> Option<Hit> {
    if c.is_dir {
        return None;
    }
    match ifd::Header::parse(&c.head) {
        Some(h) => Hit::new(Confidence::Marker, if h.big { "BigTIFF header" } else { "TIFF magic number" }),
        None if c.has_extension(SPEC.extensions) => Hit::new(Confidence::Name, "the extension, but no TIFF magic number"),
        None => None,
    }
}

fn open(path: &Path, options: &OpenOptions) -> Result<Opened> {
    open_file(path, options)
}

/// Opens one file as a stack.
fn open_file(path: &Path, options: &OpenOptions) -> Result<Opened> {
    let file = File::open(path)?;
    let mut warnings = Vec::new();
    let about = describe::description(&file);
    let meta = describe::meta(&file, &about, &mut warnings);
    let facts = facts(&file, &about);
    let source = Arc::new(stack::Stack::open(file, &about, !options.no_mmap, &mut warnings)?);
    Ok(Opened { format: SPEC.name, content: Content::Volume(Volume { source, meta }), facts, warnings })
}

fn facts(file: &File, about: &describe::Description) -> Facts {
    let mut f = Facts::default();
    f.add("tiff_kind", if file.is_big() { "BigTIFF" } else { "classic TIFF" });
    f.add("byte_order", if file.order() == ByteOrder::Little { "little" } else { "big" });
    f.add("pages", file.pages().len());
    let text = |e: Option<ifd::Entry>, at: &ReadAt| e.and_then(|e| e.text(at).ok()).filter(|t| !t.is_empty());
    if let Some(p) = file.pages().first() {
        f.add("stored_bits", p.bits);
        f.add("compression", codec::scheme_name(p.compression));
        if p.predictor != 1 {
            f.add("predictor", if p.predictor == 2 { "horizontal" } else { "floating point" });
        }
        f.add("photometric", p.photometric_name());
        if p.photometric == 0 {
            f.add("note_photometric", "small values are white; values are given as stored, not inverted");
        }
        f.add(if p.tiled { "tile" } else { "strip" }, format!("{} × {}", p.chunk_rows, p.chunk_cols));
        if p.sub_ifds > 0 {
            f.add("sub_images", p.sub_ifds);
        }
        if let Some([y, x]) = describe::resolution(file, p) {
            let unit = match p.resolution_unit {
                2 => "per inch",
                3 => "per cm",
                _ => "per unit",
            };
            f.add_unit("resolution", vec![y, x], unit);
        }
        if let Some(s) = text(p.software, &file.at) {
            f.add("software", s);
        }
    }
    if !about.dialect.is_empty() {
        f.add("description_dialect", about.dialect);
    }
    if !about.text.is_empty() {
        f.add("image_description", about.text.chars().take(2000).collect::<String>());
    }
    f
}
