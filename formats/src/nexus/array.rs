//! A numeric dataset as a stack of frames: picks the fastest honest way to its bytes.
//!
//! Contiguous data are read in place, in this file or in raw ones (`extent`), chunks by `chunks`, virtual datasets part by
//! part from their sources by `virtuals`; the library reads what is left (compact storage, filters only it knows, packed
//! bits, odd selections), under its lock. Before anything is read every source and filter is checked: what cannot be had is an
//! error that names it, never zeros.

use super::chunks::{Chunked, Table};
use super::extent::Extent;
use super::file::H5;
use super::filters::Pipeline;
use super::info::{self, DatasetInfo, Layout};
use super::links::{self, file_of};
use super::sys::{Failure, Id, check, cstr, locked, open_dataset};
use super::types::{self, native};
use super::virtuals::Virtual;
use crate::io::ReadAt;
use crate::source::{Access, FrameSource};
use crate::{About, ByteOrder, DType, Error, Region, Result, Shape, Warnings};
use hdf5_metno_sys::h5::{haddr_t, hsize_t};
use hdf5_metno_sys::h5d::*;
use hdf5_metno_sys::h5p::*;
use hdf5_metno_sys::h5s::*;
use std::collections::HashSet;
use std::path::PathBuf;

/// A numeric dataset of any rank, seen as frames × rows × columns.
pub(super) struct Array {
    h5: H5,
    pub info: DatasetInfo,
    dtype: DType,
    shape: Shape,
    store: Store,
    access: Access,
    /// The file the dataset lies in: not the one opened, where an external link led to it.
    holder: PathBuf,
    warnings: Warnings,
}

/// Where the values come from.
enum Store {
    Contiguous {
        bytes: Extent,
        order: ByteOrder,
    },
    Chunked(Box<Chunked>),
    Virtual(Virtual),
    Library(Id),
    /// Declared but never written: the fill value everywhere.
    Unwritten {
        fill: Vec<u8>,
    },
}

/// Dimensions padded on the left so that there are rows and columns.
pub(super) fn padded(dims: &[u64]) -> Vec<u64> {
    let mut d = vec![1; 2usize.saturating_sub(dims.len())];
    d.extend(dims);
    d
}

/// Dimensions folded into frames × rows × columns.
pub(super) fn folded(dims: &[u64]) -> Result<Shape> {
    let too_large = || Error::limit("the dimensions are beyond any real dataset");
    let d = padded(dims);
    let n = d.len();
    let frames = d[..n - 2].iter().try_fold(1u64, |n, &d| n.checked_mul(d)).ok_or_else(too_large)?;
    let dim = |d: u64| usize::try_from(d).map_err(|_| too_large());
    let shape = Shape::new(dim(frames)?, dim(d[n - 2])?, dim(d[n - 1])?);
    shape.len()?;
    Ok(shape)
}

impl Array {
    /// Opens a dataset for bulk reading.
    ///
    /// # Errors
    /// `Unsupported` for types that are no numbers and for filters nobody here can undo; `File` for missing sources.
    pub fn open(h5: &H5, path: &str) -> Result<Array> {
        let info = h5.dataset_info(path)?;
        let Some(dtype) = info.dtype else {
            return Err(Error::unsupported(h5.path(), format!("{path} holds no numbers"))
                .expected("integers or floats")
                .found(&info.type_text));
        };
        links::check_sources(h5, &info)?;
        info::check_filters(h5, &info)?;
        let shape = folded(&info.shape).map_err(|e| e.or_path(h5.path()))?;
        let mut array = Array {
            h5: h5.clone(),
            info,
            dtype,
            shape,
            store: Store::Unwritten { fill: Vec::new() },
            access: Access::PLAIN,
            holder: h5.path().to_owned(),
            warnings: Warnings::default(),
        };
        array.choose_store(path)?;
        Ok(array)
    }

    fn choose_store(&mut self, path: &str) -> Result<()> {
        let h5 = self.h5.clone();
        let cwd =
            |what: String| format!("{what} was found only in the working directory: it will be missing elsewhere");
        let (dataset, raw) = locked(|| {
            let d = open_dataset(h5.id(), path).map_err(|e| h5.missing(path, &e))?;
            let raw = Raw::of(&d, self.dtype).map_err(h5.fail(format!("cannot open {path}")))?;
            Ok::<_, Error>((d, raw))
        })?;
        self.holder = raw.file.clone();
        let plain = raw.order.filter(|_| !raw.packed);
        let bytes = self.shape.len()?.saturating_mul(self.dtype.size() as u64);
        let library = |a: &mut Self, d: Id| {
            a.store = Store::Library(d);
            a.access = Access { unit: Shape::new(1, 1, 1), decoded: true, parallel: false };
        };
        match (self.info.layout.clone(), plain) {
            (Layout::Contiguous, Some(order)) if self.info.filters.is_empty() => {
                if self.shape.is_empty() || self.info.is_null {
                    return Ok(());
                }
                match raw.offset {
                    Some(offset) => {
                        let bytes = Extent::of_file(ReadAt::open(&raw.file)?, offset, bytes, path)?;
                        self.store = Store::Contiguous { bytes, order };
                    }
                    None => {
                        let text = format!("{path} was declared but never written: all its values are the fill value");
                        self.warnings.add(About::NeverWritten, text);
                        self.store = Store::Unwritten { fill: raw.fill };
                    }
                }
            }
            (Layout::Chunked { chunk }, Some(order)) => {
                let (chunk, dims) = (padded(&chunk), padded(&self.info.shape));
                let bytes = chunk
                    .iter()
                    .try_fold(self.dtype.size() as u64, |n, &c| n.checked_mul(c))
                    .and_then(|n| usize::try_from(n).ok())
                    .filter(|n| *n > 0 && *n as u64 <= u64::from(u32::MAX));
                let Some(bytes) = bytes else {
                    return Err(
                        Error::file(h5.path(), format!("{path} has impossible chunks")).found(self.info.summary())
                    );
                };
                self.access = Access {
                    unit: unit_of(&dims, &chunk, self.shape),
                    decoded: !self.info.filters.is_empty(),
                    parallel: true,
                };
                let pipeline = Pipeline::new(&self.info.filters, bytes, self.dtype.size());
                let table =
                    locked(|| Table::of(&dataset, &self.info.shape, &chunk[chunk.len() - self.info.shape.len()..]));
                match (pipeline, table) {
                    (Some(pipeline), Ok(table)) => {
                        if table.unwritten() > 0 {
                            let text = format!(
                                "{path}: {} of {} chunks were never written; their values are the fill value",
                                table.unwritten(),
                                table.wanted
                            );
                            self.warnings.add(About::NeverWritten, text);
                        }
                        let file = ReadAt::open(&raw.file)?;
                        let element = self.dtype.size();
                        self.store = Store::Chunked(Box::new(Chunked {
                            file,
                            table,
                            pipeline,
                            dims,
                            chunk,
                            element,
                            order,
                            fill: raw.fill,
                        }));
                    }
                    (Some(_), Err(e)) if cfg!(feature = "static-hdf5") => {
                        return Err(e.on(h5.path(), format!("cannot list the chunks of {path}")));
                    }
                    _ => {
                        self.access.parallel = false;
                        self.store = Store::Library(dataset);
                    }
                }
            }
            (Layout::Virtual { sources }, plain) => {
                for s in sources.iter().filter(|s| s.only_in_cwd) {
                    self.warnings.push(cwd(s.label()));
                }
                let parts = plain.and_then(|_| Virtual::new(&sources, &self.info.shape, self.dtype, raw.fill));
                match parts {
                    Some(v) => {
                        self.access = v.access(self.shape)?;
                        if !v.covers() {
                            self.warnings
                                .push(format!("{path}: its sources do not fill it; the rest is the fill value"));
                        }
                        self.store = Store::Virtual(v);
                    }
                    None => library(self, dataset),
                }
            }
            (Layout::External { files }, plain) => {
                for f in files.iter().filter(|f| f.only_in_cwd) {
                    self.warnings.push(cwd(f.file.display().to_string()));
                }
                match plain {
                    Some(order) if !self.shape.is_empty() && !self.info.is_null => {
                        let bytes = Extent::of_files(&files, bytes, path)?;
                        self.store = Store::Contiguous { bytes, order };
                    }
                    Some(_) => {}
                    // By default the library looks in the working directory only; tell it to look beside the file
                    // first. It refuses that while the dataset is open the other way.
                    None if files.iter().all(|f| !f.only_in_cwd) => {
                        drop(dataset);
                        let d = reopen_beside(&h5, path)?;
                        library(self, d);
                    }
                    None => library(self, dataset),
                }
            }
            _ => library(self, dataset),
        }
        Ok(())
    }

    pub fn rank(&self) -> usize {
        self.info.shape.len()
    }

    /// Oddities met on the way to the values.
    pub fn warnings(&self) -> &Warnings {
        &self.warnings
    }

    /// All values, native byte order.
    ///
    /// # Errors
    /// `Limit` where they take more than `limit` bytes.
    pub fn read_all(&self, limit: u64) -> Result<(Vec<u64>, Vec<u8>)> {
        if self.info.is_null {
            return Ok((Vec::new(), Vec::new()));
        }
        let bytes = self.shape.len()?.checked_mul(self.dtype.size() as u64);
        let Some(bytes) = bytes.filter(|b| *b <= limit) else {
            return Err(Error::limit(format!("{} is too large to be read at once", self.info.path))
                .path(self.h5.path())
                .expected(format!("at most {limit} bytes"))
                .found(self.info.summary()));
        };
        let mut out = vec![0u8; bytes as usize];
        self.read(&self.shape.full(), &mut out)?;
        Ok((self.info.shape.clone(), out))
    }

    fn library_error(&self, e: &Failure) -> Error {
        let err = e.on(self.h5.path(), format!("cannot read {}", self.info.path));
        if e.says("plugin") || e.says("filter") {
            return err.hint("a source of it needs a filter the HDF5 library does not have: set HDF5_PLUGIN_PATH to a folder with the plugin (for example that of the Python package hdf5plugin)");
        }
        err
    }

    /// Reads a box of one frame, given by its leading indices, through the library.
    fn library_read(&self, d: &Id, lead: &[u64], region: &Region, out: &mut [u8]) -> Result<(), Failure> {
        let rank = self.rank();
        locked(|| {
            // SAFETY: handles are open and ours; start and count have the dataset's rank and lie inside its extent
            // (or the library says so); `out` has exactly as many bytes as the selection.
            unsafe {
                let t = Id::new(H5Dget_type(d.raw()))?;
                let mem = native(self.dtype, &t)?;
                let to = out.as_mut_ptr().cast();
                if rank == 0 {
                    check(H5Dread(d.raw(), mem.raw(), H5S_ALL, H5S_ALL, H5P_DEFAULT, to))?;
                    return Ok(());
                }
                let (mut start, mut count): (Vec<hsize_t>, Vec<hsize_t>) = (lead.to_vec(), vec![1; lead.len()]);
                if rank >= 2 {
                    start.push(region.rows.start as u64);
                    count.push(region.rows.len() as u64);
                }
                start.push(region.cols.start as u64);
                count.push(region.cols.len() as u64);
                let space = Id::new(H5Dget_space(d.raw()))?;
                let set = H5S_seloper_t::H5S_SELECT_SET;
                let none = std::ptr::null();
                check(H5Sselect_hyperslab(space.raw(), set, start.as_ptr(), none, count.as_ptr(), none))?;
                let memory = Id::new(H5Screate_simple(rank as i32, count.as_ptr(), none))?;
                check(H5Dread(d.raw(), mem.raw(), memory.raw(), space.raw(), H5P_DEFAULT, to))?;
                Ok(())
            }
        })
    }
}

/// Indices along the leading dimensions of a frame number.
pub(super) fn unfold(frame: usize, lead_dims: &[u64]) -> Vec<u64> {
    let mut lead = vec![0u64; lead_dims.len()];
    let mut rest = frame as u64;
    for (l, d) in lead.iter_mut().zip(lead_dims).rev() {
        *l = rest % d;
        rest /= d;
    }
    lead
}

/// The chunk in folded terms: exact for three dimensions; for more, its frames along the last leading dimension.
fn unit_of(dims: &[u64], chunk: &[u64], shape: Shape) -> Shape {
    let n = dims.len();
    let at = |k: usize, most: usize| usize::try_from(chunk[k]).unwrap_or(most).clamp(1, most.max(1));
    let frames = if n < 3 { 1 } else { at(n - 3, shape.frames) };
    Shape::new(frames, at(n - 2, shape.rows), at(n - 1, shape.cols))
}

fn reopen_beside(h5: &H5, path: &str) -> Result<Id> {
    let fail = |e: Failure| e.on(h5.path(), format!("cannot open {path}"));
    locked(|| {
        // SAFETY: the property list is ours; both texts are NUL-terminated.
        unsafe {
            let dapl = Id::new(H5Pcreate(*H5P_CLS_DATASET_ACCESS))?;
            check(H5Pset_efile_prefix(dapl.raw(), c"${ORIGIN}".as_ptr()))?;
            let name = cstr(path)?;
            Id::new(H5Dopen2(h5.id().raw(), name.as_ptr(), dapl.raw()))
        }
    })
    .map_err(fail)
}

/// What the library knows about the bytes.
struct Raw {
    file: std::path::PathBuf,
    /// Of contiguous data; `None` = not allocated.
    offset: Option<u64>,
    order: Option<ByteOrder>,
    packed: bool,
    /// Native byte order.
    fill: Vec<u8>,
}

impl Raw {
    /// Call under the lock.
    fn of(d: &Id, dtype: DType) -> Result<Raw, Failure> {
        // SAFETY: `d` is an open dataset; handles returned are ours; `fill` holds one element of the native type.
        unsafe {
            let t = Id::new(H5Dget_type(d.raw()))?;
            let info = types::describe(&t)?;
            let plist = Id::new(H5Dget_create_plist(d.raw()))?;
            let mem = native(dtype, &t)?;
            let mut fill = vec![0u8; dtype.size()];
            let mut defined = H5D_fill_value_t::H5D_FILL_VALUE_UNDEFINED;
            check(H5Pfill_value_defined(plist.raw(), &mut defined))?;
            if defined != H5D_fill_value_t::H5D_FILL_VALUE_UNDEFINED {
                check(H5Pget_fill_value(plist.raw(), mem.raw(), fill.as_mut_ptr().cast()))?;
            }
            let offset = H5Dget_offset(d.raw());
            Ok(Raw {
                file: file_of(d)?,
                offset: (offset != haddr_t::MAX).then_some(offset),
                order: info.order,
                packed: info.packed,
                fill,
            })
        }
    }
}

impl FrameSource for Array {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn access(&self) -> Access {
        self.access
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut all = vec![self.h5.path().to_owned(), self.holder.clone()];
        all.extend(links::files_on_the_way(&self.h5, &self.info.path));
        all.extend(links::files_behind(&self.holder, &self.info.layout));
        let mut seen = HashSet::new();
        all.retain(|f| seen.insert(f.canonicalize().unwrap_or_else(|_| f.clone())));
        all
    }

    fn read(&self, region: &Region, out: &mut [u8]) -> Result<()> {
        let size = self.dtype.size();
        region.check(self.shape, size, out.len())?;
        let per_frame = region.rows.len() * region.cols.len() * size;
        if out.is_empty() || self.info.is_null {
            return Ok(());
        }
        match &self.store {
            Store::Chunked(c) => c.read(region, out),
            Store::Virtual(v) => v.read(region, out),
            Store::Unwritten { fill } => {
                out.chunks_exact_mut(size).for_each(|e| e.copy_from_slice(fill));
                Ok(())
            }
            Store::Contiguous { bytes, order } => {
                let Shape { rows, cols, .. } = self.shape;
                // Longest run of bytes that is contiguous both here and in the file.
                let (full_rows, full_frames) = (region.cols.len() == cols, region.rows.len() == rows);
                let run = match (full_rows, full_frames) {
                    (true, true) => out.len(),
                    (true, false) => per_frame,
                    _ => region.cols.len() * size,
                };
                let mut pieces = out.chunks_exact_mut(run);
                let frames = if full_rows && full_frames {
                    region.frames.start..region.frames.start + 1
                } else {
                    region.frames.clone()
                };
                let row_list = if full_rows { region.rows.start..region.rows.start + 1 } else { region.rows.clone() };
                for f in frames {
                    for r in row_list.clone() {
                        let at = ((f * rows + r) * cols + region.cols.start) as u64 * size as u64;
                        if let Some(piece) = pieces.next() {
                            bytes.read_exact_at(piece, at)?;
                        }
                    }
                }
                order.to_native(out, size);
                Ok(())
            }
            Store::Library(d) => {
                let lead_dims = &self.info.shape[..self.rank().saturating_sub(2)];
                for (frame, out) in region.frames.clone().zip(out.chunks_exact_mut(per_frame)) {
                    self.library_read(d, &unfold(frame, lead_dims), region, out).map_err(|e| self.library_error(&e))?;
                }
                Ok(())
            }
        }
    }
}
