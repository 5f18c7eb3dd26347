//! Plain values of a dataset as one run of bytes, whatever files they lie in: the HDF5 file itself, or the raw files
//! ("external storage") its header names, one after the other.
//!
//! The library gives zeros for what a raw file is too short for; here that is an error, told on opening.

use super::links::ExternalFile;
use crate::io::ReadAt;
use crate::{Error, Result};

/// A run of bytes in one or several files.
pub(super) struct Extent(Vec<Part>);

struct Part {
    file: ReadAt,
    /// Of its first byte in the file.
    offset: u64,
    len: u64,
}

impl Part {
    /// Takes `len` bytes of a file from `offset`, which must be there; `what` is read from them.
    fn new(file: ReadAt, offset: u64, len: u64, what: &str) -> Result<Part> {
        if offset.checked_add(len).is_none_or(|end| end > file.len()) {
            return Err(Error::file(file.path(), format!("{what} goes beyond the end of the file"))
                .at(offset)
                .expected(format!("{len} bytes"))
                .found(format!("a file of {} bytes", file.len()))
                .hint("the file is truncated: copy it again or ask for the original"));
        }
        Ok(Part { file, offset, len })
    }
}

impl Extent {
    /// `len` bytes of one file.
    ///
    /// # Errors
    /// `File` where they are not all there.
    pub fn of_file(file: ReadAt, offset: u64, len: u64, what: &str) -> Result<Extent> {
        Ok(Extent(vec![Part::new(file, offset, len, what)?]))
    }

    /// `len` bytes out of raw files, each giving what the header says until there are enough.
    ///
    /// # Errors
    /// `File` naming the file that is missing or too short, or where all together are.
    pub fn of_files(files: &[ExternalFile], len: u64, what: &str) -> Result<Extent> {
        let (mut parts, mut left) = (Vec::new(), len);
        for f in files {
            let take = f.size.min(left);
            if take == 0 {
                continue;
            }
            let path = f.resolved.as_deref().unwrap_or(&f.file);
            parts.push(Part::new(ReadAt::open(path)?, f.offset, take, what)?);
            left -= take;
        }
        if left > 0 {
            let name = files.first().map(|f| f.file.clone()).unwrap_or_default();
            return Err(Error::file(name, format!("the raw files of {what} are too short by their own header"))
                .expected(format!("{len} bytes"))
                .found(format!("{} bytes", len - left)));
        }
        Ok(Extent(parts))
    }

    /// Fills `out` from byte `at` of the run.
    pub fn read_exact_at(&self, mut out: &mut [u8], at: u64) -> Result<()> {
        let mut start = 0u64;
        for p in &self.0 {
            let skip = (at.saturating_sub(start)).min(p.len);
            let n = usize::try_from(p.len - skip).unwrap_or(usize::MAX).min(out.len());
            start += p.len;
            if n == 0 {
                continue;
            }
            let (now, later) = out.split_at_mut(n);
            p.file.read_exact_at(now, p.offset + skip)?;
            out = later;
        }
        match (out.is_empty(), self.0.first()) {
            (false, Some(p)) => Err(Error::file(p.file.path(), "the values end too early").at(at)),
            _ => Ok(()),
        }
    }
}
