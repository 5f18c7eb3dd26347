//! The bones of a TIFF file: byte order, classic or BigTIFF, directories (IFDs) and their tag values.
//!
//! Guarantees: every offset and count is checked against the file's length before anything is read or allocated, and
//! the chain of directories is walked with loop detection. Leaves to [`super::page`]: what the tags mean.

use crate::io::ReadAt;
use crate::model::units::text_lossy;
use crate::{ByteOrder, Error, Result};
use std::collections::HashSet;

/// Longest text tag kept (OME-XML of a large stack can be megabytes).
const MAX_TEXT: u64 = 16 << 20;
/// More tags than any writer produces; a larger count is a damaged directory.
const MAX_ENTRIES: u64 = 4096;
/// Tags from here on are those of single programs (TIFF 6.0, section 8).
const PRIVATE: u16 = 32768;

/// Tag numbers used here (TIFF 6.0 part 1, Adobe supplements).
#[allow(missing_docs)]
pub mod tag {
    pub const SUBFILE: u16 = 254;
    pub const WIDTH: u16 = 256;
    pub const LENGTH: u16 = 257;
    pub const BITS: u16 = 258;
    pub const COMPRESSION: u16 = 259;
    pub const PHOTOMETRIC: u16 = 262;
    pub const FILL_ORDER: u16 = 266;
    pub const DESCRIPTION: u16 = 270;
    pub const STRIP_OFFSETS: u16 = 273;
    pub const ORIENTATION: u16 = 274;
    pub const SAMPLES: u16 = 277;
    pub const ROWS_PER_STRIP: u16 = 278;
    pub const STRIP_COUNTS: u16 = 279;
    pub const X_RESOLUTION: u16 = 282;
    pub const Y_RESOLUTION: u16 = 283;
    pub const PLANAR: u16 = 284;
    pub const RESOLUTION_UNIT: u16 = 296;
    pub const SOFTWARE: u16 = 305;
    pub const PREDICTOR: u16 = 317;
    pub const TILE_WIDTH: u16 = 322;
    pub const TILE_LENGTH: u16 = 323;
    pub const TILE_OFFSETS: u16 = 324;
    pub const TILE_COUNTS: u16 = 325;
    pub const SUB_IFDS: u16 = 330;
    pub const SAMPLE_FORMAT: u16 = 339;
    pub const YCBCR_SUBSAMPLING: u16 = 530;
    pub const IMAGE_DEPTH: u16 = 32997;
    /// MetaMorph STK: one directory stands for many planes.
    pub const UIC2: u16 = 33629;
}

/// The first 8 (classic) or 16 (BigTIFF) bytes.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Byte order of everything in the file.
    pub order: ByteOrder,
    /// BigTIFF: 64-bit offsets.
    pub big: bool,
    /// Offset of the first directory.
    pub first: u64,
}

impl Header {
    /// Reads the header from the first bytes; `None` where they are not TIFF.
    pub fn parse(head: &[u8]) -> Option<Header> {
        let order = match head.get(..2)? {
            b"II" => ByteOrder::Little,
            b"MM" => ByteOrder::Big,
            _ => return None,
        };
        let u = |at: usize, n: usize| head.get(at..at + n).map(|b| uint(order, b));
        match u(2, 2)? {
            42 => Some(Header { order, big: false, first: u(4, 4)? }),
            43 if u(4, 2)? == 8 && u(6, 2)? == 0 => Some(Header { order, big: true, first: u(8, 8)? }),
            _ => None,
        }
    }

    /// Reads the header of a file.
    pub fn read(file: &ReadAt) -> Result<Header> {
        let head = file.head(16)?;
        Header::parse(&head).ok_or_else(|| {
            Error::file(file.path(), "this is not a TIFF file")
                .at(0)
                .expected("II*, MM* or a BigTIFF header")
                .found(format!("bytes {:02x?}", &head[..head.len().min(8)]))
                .hint("see what it is with 'tomo info --why'")
        })
    }
}

/// An unsigned number of 1 to 8 bytes in the given order.
pub fn uint(order: ByteOrder, b: &[u8]) -> u64 {
    let fold = |acc: u64, &v: &u8| (acc << 8) | u64::from(v);
    match order {
        ByteOrder::Big => b.iter().fold(0, fold),
        ByteOrder::Little => b.iter().rev().fold(0, fold),
    }
}

/// Bytes of one value of a TIFF field type; `None` for an unknown type.
fn type_size(kind: u16) -> Option<u64> {
    Some(match kind {
        1 | 2 | 6 | 7 => 1,
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16 | 17 | 18 => 8,
        _ => return None,
    })
}

/// One tag: where its values lie, and the values themselves where they fit into the directory.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Tag number.
    pub tag: u16,
    /// Field type.
    pub kind: u16,
    /// Number of values.
    pub count: u64,
    /// Offset of the values in the file.
    pub at: u64,
    /// The directory's own 8 bytes, of which the values occupy the first where they fit.
    inline: Option<[u8; 8]>,
}

impl Entry {
    /// Reads values `range` as unsigned numbers (BYTE, SHORT, LONG, LONG8, IFD; signed ones where not negative).
    pub fn uints(&self, file: &ReadAt, order: ByteOrder, range: std::ops::Range<u64>) -> Result<Vec<u64>> {
        let bad = |m: &str| Error::file(file.path(), format!("tag {}: {m}", self.tag)).at(self.at);
        let size = match self.kind {
            1 | 3 | 4 | 6 | 7 | 8 | 9 | 13 | 16 | 17 | 18 => type_size(self.kind).unwrap_or(1),
            k => {
                return Err(bad("not a whole number")
                    .expected("BYTE, SHORT, LONG or LONG8")
                    .found(format!("type {k}")));
            }
        };
        if range.start > range.end || range.end > self.count {
            return Err(bad("too few values").expected(range.end).found(self.count));
        }
        let bytes = self.bytes(file, range.start * size, (range.end - range.start) * size)?;
        let values: Vec<u64> = bytes.chunks_exact(size as usize).map(|b| uint(order, b)).collect();
        let sign = match self.kind {
            6 => 1 << 7,
            8 => 1 << 15,
            9 => 1 << 31,
            17 => 1 << 63,
            _ => 0,
        };
        if values.iter().any(|v| v & sign != 0) {
            return Err(bad("a negative value"));
        }
        Ok(values)
    }

    /// Reads `len` bytes of the values from byte `from` of them.
    fn bytes(&self, file: &ReadAt, from: u64, len: u64) -> Result<Vec<u8>> {
        if let Some(inline) = self.inline {
            return Ok(inline[from as usize..(from + len) as usize].to_vec());
        }
        let at = self.at.checked_add(from).filter(|at| at.checked_add(len).is_some_and(|end| end <= file.len()));
        let Some(at) = at else {
            return Err(Error::file(
                file.path(),
                format!("the values of tag {} lie beyond the end of the file", self.tag),
            )
            .at(self.at)
            .expected(format!("{len} bytes"))
            .found(format!("file of {} bytes", file.len()))
            .hint("the file is truncated or damaged"));
        };
        let mut out = vec![0u8; len as usize];
        file.read_exact_at(&mut out, at)?;
        Ok(out)
    }

    /// Text up to the first NUL, UTF-8 or Latin-1.
    pub fn text(&self, file: &ReadAt) -> Result<String> {
        if !matches!(self.kind, 1 | 2 | 7) {
            return Err(Error::file(file.path(), format!("tag {} should be text", self.tag)).at(self.at));
        }
        let bytes = self.bytes(file, 0, self.count.min(MAX_TEXT))?;
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        Ok(text_lossy(&bytes[..end]))
    }

    /// First value as a rational or a plain number.
    pub fn number(&self, file: &ReadAt, order: ByteOrder) -> Result<f64> {
        let b = match self.kind {
            5 | 10 | 11 | 12 if self.count > 0 => self.bytes(file, 0, type_size(self.kind).unwrap_or(8))?,
            _ => {
                let v = self.uints(file, order, 0..1)?;
                return Ok(v.first().map_or(f64::NAN, |v| *v as f64));
            }
        };
        let half = |i: usize| uint(order, &b[i * 4..i * 4 + 4]) as u32;
        Ok(match self.kind {
            5 => f64::from(half(0)) / f64::from(half(1)),
            10 => f64::from(half(0) as i32) / f64::from(half(1) as i32),
            11 => f64::from(f32::from_bits(half(0))),
            _ => f64::from_bits(uint(order, &b)),
        })
    }
}

/// One directory: tags and the offset of the next.
#[derive(Debug)]
pub struct Ifd {
    /// Offset of the directory.
    pub at: u64,
    /// Tags as found (first of equals wins).
    pub entries: Vec<Entry>,
    /// Offset of the next directory, 0 = last.
    pub next: u64,
    /// The first tag whose values the end of the file cuts off. Those of private tags that lie beyond it altogether were
    /// never written by what wrote the file, or left behind by what rewrote it.
    pub cut: Option<u16>,
}

impl Ifd {
    /// Reads the directory at `at`.
    pub fn read(file: &ReadAt, header: &Header, at: u64) -> Result<Ifd> {
        let o = header.order;
        let beyond = || {
            Error::file(file.path(), "a page directory lies beyond the end of the file")
                .at(at)
                .found(format!("file of {} bytes", file.len()))
                .hint("the file is truncated: copy it again or ask for the original")
        };
        let (count_size, entry_size, off_size) = if header.big { (8u64, 20u64, 8u64) } else { (2, 12, 4) };
        if at.checked_add(count_size).is_none_or(|e| e > file.len()) {
            return Err(beyond());
        }
        // One read fetches nearly every directory whole.
        let mut buf = vec![0u8; (file.len() - at).min(1024) as usize];
        file.read_exact_at(&mut buf, at)?;
        let n = uint(o, &buf[..count_size as usize]);
        if n == 0 || n > MAX_ENTRIES {
            return Err(Error::file(file.path(), "a page directory with an impossible number of tags")
                .at(at)
                .expected(format!("1 to {MAX_ENTRIES}"))
                .found(n));
        }
        let entries_end = count_size + n * entry_size;
        if at + entries_end > file.len() {
            return Err(beyond());
        }
        let want = (entries_end + off_size).min(file.len() - at) as usize;
        if want > buf.len() {
            buf.resize(want, 0);
            file.read_exact_at(&mut buf, at)?;
        }
        let mut entries = Vec::with_capacity(n as usize);
        let mut cut = None;
        for i in 0..n {
            let pos = count_size + i * entry_size;
            let e = &buf[pos as usize..(pos + entry_size) as usize];
            let (tag, kind) = (uint(o, &e[..2]) as u16, uint(o, &e[2..4]) as u16);
            let off = off_size as usize;
            let (count, value) = (uint(o, &e[4..4 + off]), &e[4 + off..4 + 2 * off]);
            // Unknown field types are to be skipped (TIFF 6.0 section 2).
            let Some(bytes) = type_size(kind).and_then(|s| s.checked_mul(count)) else {
                continue;
            };
            let mut entry = Entry { tag, kind, count, at: uint(o, value), inline: None };
            if bytes <= off_size {
                let mut raw = [0u8; 8];
                raw[..off].copy_from_slice(value);
                (entry.at, entry.inline) = (at + pos + 4 + off_size, Some(raw));
            } else if entry.at.saturating_add(bytes) > file.len() && (entry.at < file.len() || tag < PRIVATE) {
                cut = cut.or(Some(tag));
            }
            entries.push(entry);
        }
        // A file cut right behind the last tag lacks the link to the next directory.
        let next = buf.get(entries_end as usize..(entries_end + off_size) as usize).ok_or_else(beyond)?;
        Ok(Ifd { at, entries, next: uint(o, next), cut })
    }

    /// Finds a tag.
    pub fn get(&self, tag: u16) -> Option<&Entry> {
        self.entries.iter().find(|e| e.tag == tag)
    }
}

/// Walks the chain of directories, calling `page` for each. Ends with an error at the first damaged directory, a link
/// into nowhere or a loop; what was seen before is the caller's.
pub fn walk(file: &ReadAt, header: &Header, mut page: impl FnMut(Ifd) -> Result<()>) -> Result<()> {
    let mut seen = HashSet::new();
    let mut at = header.first;
    while at != 0 {
        if !seen.insert(at) {
            return Err(Error::file(file.path(), "the page directories form a loop").at(at));
        }
        let ifd = Ifd::read(file, header, at)?;
        at = ifd.next;
        page(ifd)?;
    }
    Ok(())
}
