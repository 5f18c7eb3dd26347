//! The bytes behind an EDF file: the file itself, or what `.gz` / `.bz2` unpack to.
//!
//! A compressed file is decoded once, from the front, only as far as its headers ask: the first 32 MiB stay in memory,
//! anything longer goes to an unnamed temporary file in the system's folder for those (`TMPDIR`, `TEMP`), so that later
//! reads are positioned reads. Decoding stops with an error at the larger of 1 GiB and 1100 times the packed length:
//! deflate cannot expand further, and no real image packs that well with bzip2.

use crate::error::OnPath;
use crate::io::{ReadAt, write_all_at};
use crate::{Error, Result};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Unpacked bytes kept in memory before a temporary file takes over.
const IN_MEMORY: u64 = 32 << 20;

/// Step of decoding.
const STEP: usize = 256 << 10;

/// Where bytes come from.
pub enum Store {
    /// An ordinary file.
    Plain(ReadAt),
    /// A compressed file, unpacked on opening.
    Packed(Box<Packed>),
}

/// The unpacked part of a compressed file.
pub struct Packed {
    path: PathBuf,
    /// `None` once the end was met; behind a lock only because decoders cannot be shared, never contended.
    decoder: Mutex<Option<Box<dyn Read + Send>>>,
    memory: Vec<u8>,
    spill: Option<File>,
    len: u64,
    limit: u64,
    cut: Option<String>,
}

/// How a file is compressed, by its first bytes.
fn packing(head: &[u8]) -> Option<&'static str> {
    match head {
        [0x1f, 0x8b, ..] => Some("gzip"),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some("bzip2"),
        _ => None,
    }
}

impl Store {
    /// Opens `path`; compression is told from the content, not the name.
    pub fn open(path: &Path) -> Result<Store> {
        let file = ReadAt::open(path)?;
        let Some(kind) = packing(&file.head(4)?) else {
            return Ok(Store::Plain(file));
        };
        let limit = (file.len().saturating_mul(1100)).max(1 << 30);
        let raw = std::io::BufReader::with_capacity(STEP, File::open(path).on(path, "opening")?);
        let decoder: Box<dyn Read + Send> = match kind {
            "gzip" => Box::new(flate2::bufread::MultiGzDecoder::new(raw)),
            _ => Box::new(bzip2::bufread::MultiBzDecoder::new(raw)),
        };
        Ok(Store::Packed(Box::new(Packed {
            path: path.to_owned(),
            decoder: Mutex::new(Some(decoder)),
            memory: Vec::new(),
            spill: None,
            len: 0,
            limit,
            cut: None,
        })))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Store::Plain(f) => f.path(),
            Store::Packed(p) => &p.path,
        }
    }

    /// True for a compressed file.
    pub fn is_packed(&self) -> bool {
        matches!(self, Store::Packed(_))
    }

    /// How many bytes there are, looking no further than `upto`; the answer is below `upto` only where data end.
    pub fn available(&mut self, upto: u64) -> Result<u64> {
        match self {
            Store::Plain(f) => Ok(f.len()),
            Store::Packed(p) => {
                p.decode(upto)?;
                Ok(p.len)
            }
        }
    }

    /// Why an unpacked file ended before its time, if it did.
    pub fn cut(&self) -> Option<&str> {
        match self {
            Store::Plain(_) => None,
            Store::Packed(p) => p.cut.as_deref(),
        }
    }

    /// Fills `out` from `offset`.
    pub fn read_exact_at(&self, out: &mut [u8], offset: u64) -> Result<()> {
        match self {
            Store::Plain(f) => f.read_exact_at(out, offset),
            Store::Packed(p) => p.read_exact_at(out, offset),
        }
    }
}

impl Packed {
    fn decode(&mut self, upto: u64) -> Result<()> {
        let slot = self.decoder.get_mut().unwrap_or_else(|e| e.into_inner());
        let mut buf = vec![0u8; STEP];
        while self.len < upto {
            let Some(decoder) = slot.as_mut() else {
                return Ok(());
            };
            if self.len >= self.limit {
                return Err(Error::limit("the compressed file unpacks to more than any real image")
                    .path(&self.path)
                    .expected(format!("at most {} bytes", self.limit))
                    .hint("unpack it with gunzip or bunzip2 if you trust it, then open the result"));
            }
            match decoder.read(&mut buf) {
                Ok(0) => *slot = None,
                Ok(n) => {
                    if self.spill.is_none() && self.len + n as u64 > IN_MEMORY {
                        let f = tempfile::tempfile().on(std::env::temp_dir(), "creating a temporary file")?;
                        write_all_at(&f, &self.memory, 0).on(std::env::temp_dir(), "unpacking")?;
                        self.memory = Vec::new();
                        self.spill = Some(f);
                    }
                    match &self.spill {
                        Some(f) => write_all_at(f, &buf[..n], self.len).on(std::env::temp_dir(), "unpacking")?,
                        None => self.memory.extend_from_slice(&buf[..n]),
                    }
                    self.len += n as u64;
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                    self.cut = Some("the compressed file is truncated".into());
                    *slot = None;
                }
                Err(e) if e.raw_os_error().is_some() => return Err(Error::io(&self.path, "reading", e)),
                Err(e) => {
                    return Err(Error::file(&self.path, format!("the compressed data are corrupt: {e}"))
                        .hint("copy the file again or ask for the original"));
                }
            }
        }
        Ok(())
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> Result<()> {
        let end = offset.checked_add(out.len() as u64).filter(|e| *e <= self.len);
        let Some(end) = end else {
            return Err(Error::file(&self.path, "the unpacked file ends too early")
                .at(self.len)
                .hint("the file is truncated: copy it again or ask for the original"));
        };
        let Some(f) = &self.spill else {
            out.copy_from_slice(&self.memory[offset as usize..end as usize]);
            return Ok(());
        };
        let mut done = 0;
        while done < out.len() {
            match crate::io::read_at(f, &mut out[done..], offset + done as u64) {
                Ok(0) => return Err(Error::file(&self.path, "the temporary copy ends too early").at(offset)),
                Ok(n) => done += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io(std::env::temp_dir(), "reading the unpacked copy", e)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gz(data: &[u8]) -> Vec<u8> {
        let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        e.write_all(data).unwrap();
        e.finish().unwrap()
    }

    #[test]
    fn spills_beyond_memory_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let data: Vec<u8> = (0..IN_MEMORY as u32 / 4 + 300_000).flat_map(|i| i.to_le_bytes()).collect();
        let p = dir.path().join("a.gz");
        std::fs::write(&p, gz(&data)).unwrap();
        let mut s = Store::open(&p).unwrap();
        assert!(s.available(10).unwrap() < data.len() as u64, "decodes only as far as asked");
        assert_eq!(s.available(u64::MAX).unwrap(), data.len() as u64);
        for at in [0usize, 5, IN_MEMORY as usize - 3, data.len() - 7] {
            let mut out = [0u8; 7];
            s.read_exact_at(&mut out, at as u64).unwrap();
            assert_eq!(out, data[at..at + 7]);
        }
        assert!(s.read_exact_at(&mut [0; 8], data.len() as u64 - 7).is_err());
    }

    #[test]
    fn truncation_is_kept_apart_from_corruption() {
        let dir = tempfile::tempdir().unwrap();
        let data: Vec<u8> = (0..40_000u32).flat_map(|i| (i * 7919).to_le_bytes()).collect();
        let packed = gz(&data);
        let p = dir.path().join("a");
        std::fs::write(&p, &packed[..packed.len() / 2]).unwrap();
        let mut s = Store::open(&p).unwrap();
        let n = s.available(u64::MAX).unwrap();
        assert!(n < data.len() as u64 && s.cut().is_some());
        let mut wrong = packed.clone();
        let at = wrong.len() - 6;
        wrong[at] ^= 1; // the checksum
        std::fs::write(&p, &wrong).unwrap();
        assert!(Store::open(&p).unwrap().available(u64::MAX).is_err());
    }
}
