//! TIFF: single images, multi-page files, BigTIFF, ImageJ stacks of any size, folders of slices, and scans laid out as
//! folders of TIFF files. See this folder's README for the oddities.
//!
//! - `ifd` directories, [`codec`] decompression, `page` one page, [`File`] all pages: any photometric.
//! - `stack` the grey pages of a file as a [`crate::FrameSource`], `describe` the texts and resolution tags.
//! - `write` the sinks, `encode` the bytes they write.

pub mod codec;
mod describe;
mod encode;
mod file;
mod folder;
mod ifd;
mod layout;
mod page;
mod stack;
pub(crate) mod write;
pub(crate) mod write_scan;

pub use file::File;
pub use page::{Directory, Page};

use crate::io::ReadAt;
use crate::model::{Facts, Volume};
use crate::registry::*;
use crate::{ByteOrder, Result, Warnings};
use std::path::Path;
use std::sync::Arc;

/// The format's row.
pub static SPEC: FormatSpec = FormatSpec {
    name: "tiff",
    title: "TIFF file or folder of TIFF slices",
    extensions: &["tif", "tiff"],
    reads: "folders, multi-page, BigTIFF, ImageJ stacks of any size; strips, tiles; deflate, LZW, zstd, PackBits; 1 to 64 bits",
    writes: "folder of slices, multi-page, BigTIFF, ImageJ one-directory stack; none, deflate, zstd",
    variants: write::VARIANTS,
    probe,
    open,
    create: Some(write::create),
    tree: None,
};

fn probe(c: &Candidate) -> Option<Hit> {
    if c.is_dir {
        return probe_folder(c);
    }
    match ifd::Header::parse(&c.head) {
        Some(h) => Hit::new(Confidence::Marker, if h.big { "BigTIFF header" } else { "TIFF magic number" }),
        None if c.has_extension(SPEC.extensions) => {
            Hit::new(Confidence::Name, "the extension, but no TIFF magic number")
        }
        None => None,
    }
}

/// A folder is ours where TIFF files are at least half of its files, or where it has the sub-folders of a scan.
fn probe_folder(c: &Candidate) -> Option<Hit> {
    let names: Vec<String> = c.entries.iter().map(|e| e.to_string_lossy().into_owned()).collect();
    let tiffs = names.iter().filter(|n| folder::is_tiff_name(n)).count();
    if tiffs > 0 {
        let sure = if tiffs * 2 >= names.len() { Confidence::Marker } else { Confidence::Name };
        return Hit::new(sure, format!("{tiffs} TIFF file(s) among {} entries", names.len()));
    }
    layout::Folders::find(&c.path).and_then(|f| Hit::new(Confidence::Marker, f.reason()))
}

fn open(path: &Path, options: &OpenOptions) -> Result<Opened> {
    if !path.is_dir() {
        return open_file(path, options);
    }
    if let Some(found) = layout::Folders::find(path) {
        return layout::open_folders(path, &found, options.lenient);
    }
    if let Some(group) = folder::groups(path)?.first()
        && let Some((log, tomcat)) = layout::Tomcat::find(path, group)?
    {
        return layout::open_tomcat(path, group, log, &tomcat, options.lenient);
    }
    folder::open(path, options)
}

/// Opens the grey stack of a file, with its warnings.
fn open_stack(path: &Path, map: bool) -> Result<(stack::Stack, Warnings)> {
    let file = File::open(path)?;
    let (about, mut warnings) = (describe::description(&file), Warnings::default());
    let stack = stack::Stack::open(file, &about, map, &mut warnings)?;
    Ok((stack, warnings))
}

/// Opens one file as a stack.
fn open_file(path: &Path, options: &OpenOptions) -> Result<Opened> {
    let file = File::open(path)?;
    let mut warnings = Warnings::default();
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

#[cfg(test)]
mod tests;
