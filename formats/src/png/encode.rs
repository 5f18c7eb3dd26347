//! Pixels to PNG bytes and files. Files go through [`crate::durable`]: whole or not there.

use crate::durable::PartFile;
use crate::{Error, Fault, Result};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Layout of the pixels handed in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pixels<'a> {
    /// One byte per pixel.
    Gray8(&'a [u8]),
    /// Native `u16` values.
    Gray16(&'a [u16]),
    /// Red, green, blue.
    Rgb8(&'a [[u8; 3]]),
}

impl Pixels<'_> {
    fn len(&self) -> usize {
        match self {
            Pixels::Gray8(p) => p.len(),
            Pixels::Gray16(p) => p.len(),
            Pixels::Rgb8(p) => p.len(),
        }
    }
}

/// Encodes a picture of `rows` × `cols`. `pixel_um` (vertical, horizontal) goes to the pHYs chunk where it fits.
///
/// # Errors
/// `Caller` where the buffer does not fit the size or the size does not fit the format; `System` from writing.
pub fn encode(
    to: &mut dyn Write,
    rows: usize,
    cols: usize,
    pixels: Pixels<'_>,
    pixel_um: Option<[f64; 2]>,
) -> Result<()> {
    let fits = |n: usize| u32::try_from(n).ok().filter(|n| *n > 0 && *n <= i32::MAX as u32);
    let (Some(h), Some(w)) = (fits(rows), fits(cols)) else {
        return Err(Error::caller("a PNG picture must have between 1 and 2147483647 rows and columns")
            .found(format!("{rows} × {cols}")));
    };
    if rows.checked_mul(cols) != Some(pixels.len()) {
        return Err(Error::caller("the buffer does not fit the picture")
            .expected(format!("{rows} × {cols} pixels"))
            .found(format!("{} pixels", pixels.len())));
    }
    let mut e = png::Encoder::new(to, w, h);
    let (color, depth) = match pixels {
        Pixels::Gray8(_) => (png::ColorType::Grayscale, png::BitDepth::Eight),
        Pixels::Gray16(_) => (png::ColorType::Grayscale, png::BitDepth::Sixteen),
        Pixels::Rgb8(_) => (png::ColorType::Rgb, png::BitDepth::Eight),
    };
    e.set_color(color);
    e.set_depth(depth);
    e.set_compression(png::Compression::Fast);
    if let Some([v, h]) = pixel_um {
        let per_metre = |um: f64| (1e6 / um).round();
        let (x, y) = (per_metre(h), per_metre(v));
        if (1.0..=2e9).contains(&x) && (1.0..=2e9).contains(&y) {
            let dims = png::PixelDimensions { xppu: x as u32, yppu: y as u32, unit: png::Unit::Meter };
            e.set_pixel_dims(Some(dims));
        }
    }
    let failed = |e: png::EncodingError| match e {
        png::EncodingError::IoError(e) => Error::new(Fault::System, "writing failed").source(e),
        other => Error::new(Fault::Caller, format!("cannot encode this picture: {other}")),
    };
    let mut writer = e.write_header().map_err(failed)?;
    match pixels {
        Pixels::Gray8(p) => writer.write_image_data(p),
        // PNG stores the most significant byte first.
        Pixels::Gray16(p) => writer.write_image_data(&p.iter().flat_map(|v| v.to_be_bytes()).collect::<Vec<u8>>()),
        Pixels::Rgb8(p) => writer.write_image_data(p.as_flattened()),
    }
    .map_err(failed)?;
    writer.finish().map_err(failed)
}

/// Writes a picture as a file of its own.
pub fn write_file(
    path: &Path,
    rows: usize,
    cols: usize,
    pixels: Pixels<'_>,
    pixel_um: Option<[f64; 2]>,
    overwrite: bool,
) -> Result<PathBuf> {
    let part = PartFile::create(path, overwrite)?;
    let mut to = BufWriter::with_capacity(1 << 20, part.file()?);
    encode(&mut to, rows, cols, pixels, pixel_um).map_err(|e| e.or_path(path))?;
    to.flush().map_err(|e| Error::io(part.part_path(), "writing", e))?;
    drop(to);
    part.commit()
}

/// Writes 8-bit grey pixels, row by row.
pub fn encode_gray8(path: &Path, rows: usize, cols: usize, pixels: &[u8], overwrite: bool) -> Result<PathBuf> {
    write_file(path, rows, cols, Pixels::Gray8(pixels), None, overwrite)
}

/// Writes 16-bit grey pixels.
pub fn encode_gray16(path: &Path, rows: usize, cols: usize, pixels: &[u16], overwrite: bool) -> Result<PathBuf> {
    write_file(path, rows, cols, Pixels::Gray16(pixels), None, overwrite)
}

/// Writes 8-bit colour pixels.
pub fn encode_rgb(path: &Path, rows: usize, cols: usize, pixels: &[[u8; 3]], overwrite: bool) -> Result<PathBuf> {
    write_file(path, rows, cols, Pixels::Rgb8(pixels), None, overwrite)
}
