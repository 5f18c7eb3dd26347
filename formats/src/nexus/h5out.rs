//! A new HDF5 file as this project writes them: through the library, under a `.part` name, committed when whole.
//!
//! Guarantees: groups are made on the way, text is UTF-8, every call's failure names the file and what was being
//! written, and [`H5Out::commit`] flushes and closes before the file gets its final name. Leaves to others: what goes
//! where.

use super::stack_out;
pub use super::stack_out::Stack;
use crate::durable::PartFile;
use crate::model::{Voxel, each};
use crate::scan_out::Storage;
use crate::{DType, Error, Fault, Result, Shape, with_dtype};
use hdf5_metno as hdf5;
use hdf5_metno::types::VarLenUnicode;
use ndarray::ArrayView1;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A file being written. Dropped uncommitted, nothing is left. Drop it before its [`Stack`]s.
pub struct H5Out {
    file: ManuallyDrop<hdf5::File>,
    /// Shared with the stacks: whoever is dropped last removes it, when nothing has the file open any more.
    part: Option<Arc<PartFile>>,
    target: PathBuf,
    /// True where the library can no longer write: nothing of this file may be closed any more.
    dead: Arc<AtomicBool>,
}

impl Drop for H5Out {
    fn drop(&mut self) {
        let Some(part) = self.part.take() else { return };
        // What is thrown away needs no space: given back, the library can write its last bytes and close.
        let _ = part.set_len(0);
        if !self.dead.load(Ordering::Relaxed) && self.file.flush().is_err() {
            self.dead.store(true, Ordering::Relaxed);
        }
        if !self.dead.load(Ordering::Relaxed) {
            // SAFETY: dropped here and nowhere else: `commit` empties `part`, and then this line is not reached.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}

impl H5Out {
    /// Starts `target` as `target.part`.
    pub fn create(target: &Path, overwrite: bool) -> Result<H5Out> {
        let part = Arc::new(PartFile::create(target, overwrite)?);
        let file = hdf5::File::create(part.part_path()).map_err(|e| refused(part.part_path(), "creating", e))?;
        Ok(H5Out { file: ManuallyDrop::new(file), part: Some(part), target: target.to_owned(), dead: Arc::default() })
    }

    /// Brings everything written so far to the system. The library keeps small writes back and swallows their failure
    /// when a dataset is closed: this must be called, and heard, while the datasets are still open.
    ///
    /// Where it fails the file is lost. Closing a dataset whose last bytes do not fit on the disk leaves the library
    /// (HDF5 2.0) with a dead entry that crashes the next flush: so the space is given back and the flush repeated, and if
    /// that fails too, every handle of this file is leaked instead of closed.
    pub fn flush(&self) -> Result<()> {
        let Err(e) = self.file.flush() else { return Ok(()) };
        let e = refused(&self.target, "flushing", e);
        if let Some(part) = &self.part {
            let _ = part.set_len(0);
        }
        if self.file.flush().is_err() {
            self.dead.store(true, Ordering::Relaxed);
        }
        Err(e)
    }

    /// Ends a small dataset: flushed while it is open.
    fn end(&self, d: hdf5::Dataset, written: hdf5::Result<()>, path: &str) -> Result<()> {
        let result = written.map_err(self.err(path)).and(self.flush());
        if self.dead.load(Ordering::Relaxed) {
            std::mem::forget(d);
        }
        result
    }

    /// Flushes, closes, syncs and renames. Stacks must have been flushed ([`H5Out::flush`]) and dropped.
    pub fn commit(mut self) -> Result<PathBuf> {
        self.flush()?;
        let part =
            self.part.take().ok_or_else(|| Error::caller("the output is committed already").path(&self.target))?;
        let part = Arc::into_inner(part)
            .ok_or_else(|| Error::caller("a stack of the output is open still").path(&self.target))?;
        // SAFETY: taken once: with `part` gone, `drop` leaves the file alone.
        let file = unsafe { ManuallyDrop::take(&mut self.file) };
        file.close().map_err(|e| refused(&self.target, "closing", e))?;
        part.commit()
    }

    /// Commits a file whose stacks are still open: flushed while they are, then dropped.
    pub fn commit_with<S>(self, stacks: S) -> Result<PathBuf> {
        if let Err(e) = self.flush() {
            drop(self);
            return Err(e);
        }
        drop(stacks);
        self.commit()
    }

    fn err(&self, what: &str) -> impl Fn(hdf5::Error) -> Error {
        let path = self.target.clone();
        let what = format!("writing {what}");
        move |e| refused(&path, &what, e)
    }

    /// The group at `path` (`/entry/instrument`), made with those above it.
    pub fn group(&self, path: &str) -> Result<hdf5::Group> {
        let mut g = self.file.group("/").map_err(self.err(path))?;
        for name in path.split('/').filter(|n| !n.is_empty()) {
            g = if g.link_exists(name) { g.group(name) } else { g.create_group(name) }.map_err(self.err(path))?;
        }
        Ok(g)
    }

    /// The group at `path` with its NeXus class.
    pub fn class(&self, path: &str, nx_class: &str) -> Result<()> {
        self.group(path)?;
        self.attr_text(path, "NX_class", nx_class)
    }

    fn split<'a>(&self, path: &'a str) -> Result<(hdf5::Group, &'a str)> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.group(dir)?, name))
    }

    fn location(&self, path: &str) -> Result<hdf5::Location> {
        let (dir, name) = self.split(path)?;
        if name.is_empty() {
            return Ok((*dir).clone());
        }
        if let Ok(d) = dir.dataset(name) {
            return Ok((**d).clone());
        }
        Ok((*dir.group(name).map_err(self.err(path))?).clone())
    }

    /// A text dataset.
    pub fn text(&self, path: &str, value: &str) -> Result<()> {
        let (dir, name) = self.split(path)?;
        let value = unicode(value);
        let d = dir.new_dataset::<VarLenUnicode>().create(name).map_err(self.err(path))?;
        let written = d.write_scalar(&value);
        self.end(d, written, path)
    }

    /// A scalar number, with its unit where it has one.
    pub fn number(&self, path: &str, value: f64, units: Option<&str>) -> Result<()> {
        let (dir, name) = self.split(path)?;
        let d = dir.new_dataset::<f64>().create(name).map_err(self.err(path))?;
        let written = d.write_scalar(&value);
        self.end(d, written, path)?;
        units.map_or(Ok(()), |u| self.attr_text(path, "units", u))
    }

    /// A 1-D dataset, with its unit where it has one.
    pub fn numbers<T: hdf5::H5Type>(&self, path: &str, values: &[T], units: Option<&str>) -> Result<()> {
        let (dir, name) = self.split(path)?;
        let d = dir.new_dataset::<T>().shape([values.len()]).create(name).map_err(self.err(path))?;
        let written = d.write(ArrayView1::from(values));
        self.end(d, written, path)?;
        units.map_or(Ok(()), |u| self.attr_text(path, "units", u))
    }

    /// A text attribute of a group or dataset that exists.
    pub fn attr_text(&self, path: &str, name: &str, value: &str) -> Result<()> {
        let value = unicode(value);
        let at = self.location(path)?;
        let a = at.new_attr::<VarLenUnicode>().create(name).map_err(self.err(path))?;
        a.write_scalar(&value).map_err(self.err(path))
    }

    /// An attribute holding a list of texts (`axes`).
    pub fn attr_texts(&self, path: &str, name: &str, values: &[&str]) -> Result<()> {
        let values: Vec<VarLenUnicode> = values.iter().map(|v| unicode(v)).collect();
        let at = self.location(path)?;
        let a = at.new_attr::<VarLenUnicode>().shape([values.len()]).create(name).map_err(self.err(path))?;
        a.write(ArrayView1::from(&values)).map_err(self.err(path))
    }

    /// An attribute holding a list of numbers.
    pub fn attr_numbers<T: hdf5::H5Type>(&self, path: &str, name: &str, values: &[T]) -> Result<()> {
        let at = self.location(path)?;
        let a = at.new_attr::<T>().shape([values.len()]).create(name).map_err(self.err(path))?;
        a.write(ArrayView1::from(values)).map_err(self.err(path))
    }

    /// A numeric attribute.
    pub fn attr_number<T: hdf5::H5Type>(&self, path: &str, name: &str, value: T) -> Result<()> {
        let at = self.location(path)?;
        let a = at.new_attr::<T>().create(name).map_err(self.err(path))?;
        a.write_scalar(&value).map_err(self.err(path))
    }

    /// A second name for an object that exists; NeXus wants `target` on it, so that readers can tell the two apart.
    pub fn hard_link(&self, target: &str, link: &str) -> Result<()> {
        let (dir, _) = self.split(link)?;
        self.file.link_hard(target, link).map_err(self.err(link))?;
        drop(dir);
        let at = self.location(target)?;
        if at.attr("target").is_err() {
            self.attr_text(target, "target", target)?;
        }
        Ok(())
    }

    /// An empty stack to be filled with [`Stack::put`].
    pub fn stack(&self, path: &str, shape: Shape, dtype: DType, storage: Storage) -> Result<Stack> {
        let (dir, name) = self.split(path)?;
        let part =
            self.part.as_ref().ok_or_else(|| Error::caller("the output is committed already").path(&self.target))?;
        let at = stack_out::Place { part, target: &self.target, path, dead: &self.dead };
        Stack::create(&dir, name, at, shape, dtype, storage)
    }

    /// A single frame as a 2-D dataset: native byte order, C order.
    pub fn frame(&self, path: &str, rows: usize, cols: usize, dtype: DType, bytes: &[u8]) -> Result<()> {
        let (dir, name) = self.split(path)?;
        with_dtype!(dtype, T => {
            let values = aligned::<T>(bytes);
            let view = ndarray::ArrayView2::from_shape((rows, cols), &values)
                .map_err(|e| Error::caller(format!("frame of the wrong size: {e}")))?;
            let new = dir.new_dataset::<T>().no_chunk().shape((rows, cols)).create(name);
            let d = new.map_err(self.err(path))?;
            let written = d.write(view);
            self.end(d, written, path)
        })
    }
}

/// A copy of the bytes as values, whatever their alignment.
pub(super) fn aligned<T: Voxel>(bytes: &[u8]) -> Vec<T> {
    let mut values = Vec::with_capacity(bytes.len() / size_of::<T>());
    each::<T>(bytes, |_, v| values.push(v));
    values
}

/// Text for the library, which ends strings at a NUL: control characters of that kind are dropped.
fn unicode(text: &str) -> VarLenUnicode {
    let clean: String = text.chars().filter(|c| *c != '\0').collect();
    VarLenUnicode::from_str(&clean).unwrap_or_default()
}

/// The library's refusal as ours. It hides `errno` in the text of the innermost record: a full disk must be told from
/// a broken file, since only one of the two can be cured by another folder.
pub(super) fn refused(path: &Path, what: &str, e: hdf5::Error) -> Error {
    let text = match &e {
        hdf5::Error::HDF5(stack) => match stack.clone().expand() {
            Ok(s) => {
                (0..s.len()).filter_map(|i| s.get(i)).map(|f| f.description().to_owned()).collect::<Vec<_>>().join("; ")
            }
            Err(_) => e.to_string(),
        },
        _ => e.to_string(),
    };
    refused_for(path, what, &text)
}

/// As [`refused`] with the library's words at hand.
pub(super) fn refused_for(path: &Path, what: &str, text: &str) -> Error {
    let errno = text.split("errno = ").nth(1).and_then(|t| {
        let digits: String = t.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<i32>().ok()
    });
    match errno.filter(|n| *n != 0) {
        Some(n) => Error::io(path, what, std::io::Error::from_raw_os_error(n)),
        None => Error::new(Fault::System, format!("{what} failed: {text}")).path(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_survives_the_library() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none.h5");
        let e = refused(&path, "opening", hdf5_metno::File::open(&path).unwrap_err());
        assert_eq!(e.fault(), crate::Fault::System);
        // "No such file": the errno was found in the library's text, so a full disk would be as well.
        assert!(e.advice().is_some_and(|a| a.contains("spelling")), "{e}");
        let e = H5Out::create(&dir.path().join("missing/x.h5"), false).err().unwrap();
        assert_eq!(e.fault(), crate::Fault::Caller);
    }
}
