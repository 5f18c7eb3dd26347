//! PNG: integer slices as a folder of grey pictures, and pictures to look at (slices with bars, histograms, montages).
//!
//! | part | what |
//! |---|---|
//! | [`encode`] | pixels to files |
//! | [`canvas`], [`ticks`] | boxes, lines, text; round numbers |
//! | [`render`] | slices and montages with colour bar, scale bar, title |
//! | [`plot`] | histograms |
//! | [`series`] | the writer for volumes |
//!
//! PNG pictures are not read back: they are for people and for other programs.

pub mod canvas;
pub mod encode;
pub mod plot;
pub mod render;
pub mod series;
pub mod ticks;

pub use encode::{encode_gray8, encode_gray16, encode_rgb};
pub use plot::{Histogram, histogram};
pub use render::{Picture, Slice, Style, Window, montage, slice};

use crate::registry::*;
use crate::{Error, Result, durable};
use std::path::{Path, PathBuf};

/// The format's row.
pub static SPEC: FormatSpec = FormatSpec {
    name: "png",
    title: "PNG pictures",
    extensions: &["png"],
    reads: "",
    writes: "folder of grey slices, 8 and 16 bits",
    variants: &["series"],
    probe,
    open,
    create: Some(series::create),
    tree: None,
};

fn probe(c: &Candidate) -> Option<Hit> {
    c.head.starts_with(b"\x89PNG\r\n\x1a\n").then(|| Hit::new(Confidence::Marker, "PNG signature")).flatten()
}

fn open(path: &Path, _: &OpenOptions) -> Result<Opened> {
    Err(Error::unsupported(path, "PNG pictures are written, not read")
        .hint("convert them to TIFF, which every imaging program can do"))
}

/// Refuses a picture that cannot be written: as [`durable::refuse_beside`], and where its name does not say that it is a
/// PNG file. So it replaces no description of a volume either, whatever may be overwritten.
///
/// # Errors
/// `Caller`: which, and what to do.
pub fn refuse_output(path: &Path, overwrite: bool, others: &[&Path]) -> Result<()> {
    durable::refuse_beside(path, overwrite, others)?;
    if !path.extension().is_some_and(|e| e.eq_ignore_ascii_case("png")) {
        return Err(Error::caller("a picture is written as PNG").path(path).hint("end its name in .png"));
    }
    Ok(())
}

impl canvas::Canvas {
    /// Writes the picture as a file.
    pub fn save(&self, path: &Path, overwrite: bool) -> Result<PathBuf> {
        // Most pictures are grey throughout: a third of the bytes.
        if self.pixels.iter().all(|p| p[0] == p[1] && p[1] == p[2]) {
            let grey: Vec<u8> = self.pixels.iter().map(|p| p[0]).collect();
            return encode_gray8(path, self.height, self.width, &grey, overwrite);
        }
        encode_rgb(path, self.height, self.width, &self.pixels, overwrite)
    }
}
