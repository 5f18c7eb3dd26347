//! Making TIFF bytes: header, directories, and compressed strips. Native byte order throughout; no files.
//!
//! One strip per page where bytes are plain, so that a page can be mapped; strips of about half a megabyte where they
//! are compressed, so that they can be made and read in parallel.

use super::codec::{self, scheme};
use super::describe;
use super::ifd::tag;
use crate::{ByteOrder, DType, Error, Result, Shape};
use std::io::Write;

/// Bytes per compressed strip to aim for.
const STRIP: usize = 512 << 10;

/// How strips are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Packing {
    /// Plain bytes.
    None,
    /// zlib stream with this level.
    Deflate(i32),
    /// zstd frame with this level.
    Zstd(i32),
}

impl Packing {
    /// Reads `none`, `deflate`, `zstd`, with an optional level: `zstd:9`.
    pub(super) fn parse(name: Option<&str>) -> Result<Packing> {
        let name = name.unwrap_or("none");
        let (word, level) = match name.split_once(':') {
            Some((w, l)) => (w, l.parse::<i32>().ok()),
            None => (name, None),
        };
        let known = match word {
            "none" if !name.contains(':') => Some(Packing::None),
            "deflate" | "zlib" => {
                Some(Packing::Deflate(level.unwrap_or(6))).filter(|_| (1..=12).contains(&level.unwrap_or(6)))
            }
            "zstd" => Some(Packing::Zstd(level.unwrap_or(3))).filter(|_| (1..=19).contains(&level.unwrap_or(3))),
            _ => None,
        };
        known.filter(|_| level.is_some() || !name.contains(':')).ok_or_else(|| {
            Error::caller(format!("compression '{name}' is not written to TIFF"))
                .hint("choose none, deflate (deflate:1 to :12) or zstd (zstd:1 to :19)")
        })
    }

    fn scheme(self) -> u16 {
        match self {
            Packing::None => scheme::NONE,
            Packing::Deflate(_) => scheme::ADOBE_DEFLATE,
            Packing::Zstd(_) => scheme::ZSTD,
        }
    }
}

/// What all pages of an output have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pages {
    /// Rows and columns.
    pub shape: Shape,
    /// Type.
    pub dtype: DType,
    /// Compression.
    pub packing: Packing,
    /// BigTIFF.
    pub big: bool,
}

impl Pages {
    /// Bytes of a header.
    pub(super) fn header_len(&self) -> u64 {
        if self.big { 16 } else { 8 }
    }

    /// The header, pointing to the first directory.
    pub(super) fn header(&self, first: u64) -> Vec<u8> {
        let mut h = if ByteOrder::NATIVE == ByteOrder::Little { b"II".to_vec() } else { b"MM".to_vec() };
        if self.big {
            [43u16, 8, 0].iter().for_each(|v| h.extend(v.to_ne_bytes()));
            h.extend(first.to_ne_bytes());
        } else {
            h.extend(42u16.to_ne_bytes());
            h.extend((first as u32).to_ne_bytes());
        }
        h
    }

    /// Rows per strip.
    pub(super) fn strip_rows(&self) -> usize {
        match self.packing {
            Packing::None => self.shape.rows,
            _ => (STRIP / (self.shape.cols * self.dtype.size()).max(1)).clamp(1, self.shape.rows),
        }
    }

    /// Bytes of one uncompressed page.
    pub(super) fn page_bytes(&self) -> usize {
        self.shape.frame_len() * self.dtype.size()
    }

    /// Predictor: differences of neighbours for integers (libtiff knows them up to 32 bits), of sorted bytes for floats.
    fn predictor(&self) -> u16 {
        match self.packing {
            Packing::None => 1,
            _ if self.dtype.is_float() => 3,
            _ if self.dtype.size() == 8 => 1,
            _ => 2,
        }
    }

    /// Compresses rows (whole strips are the caller's business).
    pub(super) fn pack(&self, rows: &[u8]) -> Result<Vec<u8>> {
        let mut bytes = rows.to_vec();
        let (n, size) = (self.shape.cols, self.dtype.size());
        match self.predictor() {
            2 => codec::apply_horizontal(&mut bytes, n, size),
            3 => codec::apply_float(&mut bytes, n, size),
            _ => {}
        }
        let failed = |e: String| Error::new(crate::Fault::System, format!("compressing a strip failed: {e}"));
        match self.packing {
            Packing::None => Ok(bytes),
            Packing::Deflate(level) => {
                let level = libdeflater::CompressionLvl::new(level).map_err(|e| failed(format!("{e:?}")))?;
                let mut c = libdeflater::Compressor::new(level);
                let mut out = vec![0u8; c.zlib_compress_bound(bytes.len())];
                let n = c.zlib_compress(&bytes, &mut out).map_err(|e| failed(e.to_string()))?;
                out.truncate(n);
                Ok(out)
            }
            Packing::Zstd(level) => {
                let mut e = zstd::stream::write::Encoder::new(Vec::new(), level).map_err(|e| failed(e.to_string()))?;
                e.write_all(&bytes).and_then(|()| e.finish()).map_err(|e| failed(e.to_string()))
            }
        }
    }

    /// The directory of one page at offset `at`, strips as offset and length, text and voxel size where given.
    /// `next` says whether another directory follows directly behind (aligned to 8 bytes).
    pub(super) fn directory(
        &self,
        at: u64,
        strips: &[(u64, u64)],
        text: &str,
        voxel_um: Option<[f64; 3]>,
        next: bool,
    ) -> Result<Vec<u8>> {
        let mut d = Dir { big: self.big, tags: Vec::new() };
        let format = match () {
            () if self.dtype.is_float() => 3,
            () if self.dtype.is_signed() => 2,
            () => 1,
        };
        d.long(tag::SUBFILE, 0);
        d.long(tag::WIDTH, self.shape.cols as u32);
        d.long(tag::LENGTH, self.shape.rows as u32);
        d.short(tag::BITS, self.dtype.size() as u16 * 8);
        d.short(tag::COMPRESSION, self.packing.scheme());
        d.short(tag::PHOTOMETRIC, 1);
        if !text.is_empty() {
            d.text(tag::DESCRIPTION, text);
        }
        d.offsets(tag::STRIP_OFFSETS, strips.iter().map(|s| s.0));
        d.short(tag::SAMPLES, 1);
        d.long(tag::ROWS_PER_STRIP, self.strip_rows() as u32);
        d.offsets(tag::STRIP_COUNTS, strips.iter().map(|s| s.1));
        if let Some([_, y, x]) = voxel_um {
            // Beside an ImageJ text the unit is the text's (micron); BigTIFF carries centimetres for everyone else.
            let per = if self.big { 1e4 } else { 1.0 };
            d.rational(tag::X_RESOLUTION, describe::rational(per / x)?);
            d.rational(tag::Y_RESOLUTION, describe::rational(per / y)?);
            d.short(tag::RESOLUTION_UNIT, if self.big { 3 } else { 1 });
        }
        if !text.is_empty() {
            d.text(tag::SOFTWARE, concat!("tomokit ", env!("CARGO_PKG_VERSION")));
        }
        if self.predictor() != 1 {
            d.short(tag::PREDICTOR, self.predictor());
        }
        d.short(tag::SAMPLE_FORMAT, format);
        d.encode(at, next)
    }
}

/// A directory under construction; tags are added in ascending order.
struct Dir {
    big: bool,
    tags: Vec<(u16, u16, u64, Vec<u8>)>,
}

impl Dir {
    fn short(&mut self, tag: u16, v: u16) {
        self.tags.push((tag, 3, 1, v.to_ne_bytes().to_vec()));
    }

    fn long(&mut self, tag: u16, v: u32) {
        self.tags.push((tag, 4, 1, v.to_ne_bytes().to_vec()));
    }

    fn text(&mut self, tag: u16, s: &str) {
        let bytes = [s.as_bytes(), &[0]].concat();
        self.tags.push((tag, 2, bytes.len() as u64, bytes));
    }

    fn rational(&mut self, tag: u16, [n, d]: [u32; 2]) {
        self.tags.push((tag, 5, 1, [n.to_ne_bytes(), d.to_ne_bytes()].concat()));
    }

    fn offsets(&mut self, tag: u16, values: impl ExactSizeIterator<Item = u64>) {
        let (n, mut bytes) = (values.len() as u64, Vec::new());
        for v in values {
            if self.big { bytes.extend(v.to_ne_bytes()) } else { bytes.extend((v as u32).to_ne_bytes()) }
        }
        self.tags.push((tag, if self.big { 16 } else { 4 }, n, bytes));
    }

    /// The directory's bytes, values that do not fit behind it, padded to 8 bytes where another follows: at the end of a file
    /// padding would hide that its last byte was cut off.
    fn encode(&self, at: u64, next: bool) -> Result<Vec<u8>> {
        debug_assert!(self.tags.windows(2).all(|w| w[0].0 < w[1].0));
        let (count, entry, off) = if self.big { (8, 20, 8) } else { (2, 12, 4) };
        let end = count + self.tags.len() * entry + off;
        let (mut out, mut tail) = (Vec::with_capacity(end + 256), Vec::new());
        let put = |out: &mut Vec<u8>, v: u64, n: usize| match n {
            2 => out.extend((v as u16).to_ne_bytes()),
            4 => out.extend((v as u32).to_ne_bytes()),
            _ => out.extend(v.to_ne_bytes()),
        };
        put(&mut out, self.tags.len() as u64, count);
        for (tag, kind, n, bytes) in &self.tags {
            put(&mut out, u64::from(*tag), 2);
            put(&mut out, u64::from(*kind), 2);
            put(&mut out, *n, off);
            if bytes.len() <= off {
                out.extend(bytes);
                out.resize(out.len() + off - bytes.len(), 0);
            } else {
                while !(end + tail.len()).is_multiple_of(8) {
                    tail.push(0);
                }
                put(&mut out, at + (end + tail.len()) as u64, off);
                tail.extend(bytes);
            }
        }
        let total = end + tail.len();
        let total = if next { total.next_multiple_of(8) } else { total };
        put(&mut out, if next { at + total as u64 } else { 0 }, off);
        out.extend(tail);
        out.resize(total, 0);
        if !self.big && at + total as u64 > u64::from(u32::MAX) {
            return Err(Error::limit("a classic TIFF file cannot grow beyond 4 GB").hint("write BigTIFF"));
        }
        Ok(out)
    }
}
