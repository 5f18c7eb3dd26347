//! Writing a volume as NeXus: `/entry/data` (NXdata) with the voxels in `/entry/data/data`, z × y × x, little-endian.
//!
//! Uncompressed volumes are contiguous: the library lays out the file, then the voxels go to their place by positioned
//! writes, and any program can map them. With `deflate` the data are cut into chunks of whole rows of one slice, at
//! most about 4 MiB, byte-shuffled and compressed by all threads; the library only stores them. Voxel size, unit, grey
//! scale and statistics are stored with their units; the layout is the oldest that can hold it all.

use super::filters::shuffle;
use super::make;
use super::sys::{Failure, Id, check, cstr, locked};
use crate::durable::PartFile;
use crate::model::VolumeStats;
use crate::sink::{CreateOptions, SliceSink};
use crate::{ByteOrder, DType, Error, Result, VolumeMeta};
use hdf5_metno_sys::h5::haddr_t;
use hdf5_metno_sys::h5d::*;
use hdf5_metno_sys::h5p::*;
use rayon::prelude::*;
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Level of zlib compression: beyond it time grows and files hardly shrink.
const LEVEL: i32 = 4;
/// Wanted size of a chunk, bytes.
const CHUNK: usize = 4 << 20;
/// Where the voxels are.
const DATA: &str = "/entry/data/data";

struct Sink {
    /// Before `part`: on Windows a file can be removed only once the library has closed it.
    store: Store,
    part: PartFile,
    dtype: DType,
    frames: usize,
    rows: usize,
    row_bytes: usize,
    next: usize,
}

enum Store {
    /// Offset of the first voxel.
    Plain(u64),
    /// The open dataset and the rows of a chunk.
    Deflate { dataset: Id, chunk_rows: usize },
    /// After `finish`.
    Closed,
}

/// Starts a volume.
///
/// # Errors
/// `Caller` for an empty volume, an unknown compression, an output that exists.
pub(super) fn create(path: &Path, o: &CreateOptions) -> Result<Box<dyn SliceSink>> {
    if o.shape.is_empty() {
        return Err(Error::caller(format!("an empty volume ({}) cannot be written", o.shape)).path(path));
    }
    o.shape.len().map_err(|e| e.or_path(path))?;
    let deflate = match o.compression.as_deref() {
        None | Some("none") => false,
        Some("deflate" | "gzip") => true,
        Some(c) => {
            return Err(Error::caller(format!("compression '{c}' is not written to HDF5"))
                .path(path)
                .hint("choose none or deflate"));
        }
    };
    let row_bytes = o.shape.cols * o.dtype.size();
    let chunk_rows = (CHUNK / row_bytes).clamp(1, o.shape.rows);
    if deflate && chunk_rows.saturating_mul(row_bytes) > u32::MAX as usize {
        return Err(Error::limit("one row is larger than an HDF5 chunk can be").path(path));
    }
    let part = PartFile::create(path, o.overwrite)?;
    let fail = |e: Failure| e.on(part.part_path(), "cannot create the file");
    let store = locked(|| -> Result<Store, Failure> {
        let file = make::file(part.part_path())?;
        let group = describe(&file, o)?;
        let dataset = make_dataset(&group, o, deflate.then_some(chunk_rows))?;
        describe_data(&dataset, &o.meta)?;
        if deflate {
            return Ok(Store::Deflate { dataset, chunk_rows });
        }
        // SAFETY: `dataset` is open.
        match unsafe { H5Dget_offset(dataset.raw()) } {
            haddr_t::MAX => Err(Failure { lines: vec!["the library reserved no space for the voxels".into()] }),
            at => Ok(Store::Plain(at)),
        }
    })
    .map_err(fail)?;
    let shape = o.shape;
    Ok(Box::new(Sink { store, part, dtype: o.dtype, frames: shape.frames, rows: shape.rows, row_bytes, next: 0 }))
}

/// Groups and everything small; returns the NXdata group. Call under the lock.
fn describe(file: &Id, o: &CreateOptions) -> Result<Id, Failure> {
    make::text_attr(file, "NX_class", "NXroot")?;
    make::text_attr(file, "default", "entry")?;
    make::text_attr(file, "creator", "tomokit")?;
    make::text_attr(file, "creator_version", env!("CARGO_PKG_VERSION"))?;
    let entry = make::group(file, "entry", "NXentry")?;
    make::text_attr(&entry, "default", "data")?;
    if let Some(d) = &o.meta.description {
        make::text(&entry, "title", d)?;
    }
    let group = make::group(&entry, "data", "NXdata")?;
    make::text_attr(&group, "signal", "data")?;
    if let Some(voxel) = o.meta.voxel_um {
        make::texts_attr(&group, "axes", &["z", "y", "x"])?;
        let counts = [o.shape.frames, o.shape.rows, o.shape.cols];
        for (i, name) in ["z", "y", "x"].into_iter().enumerate() {
            make::index_attr(&group, &format!("{name}_indices"), i as i64)?;
            let centres: Vec<f64> = (0..counts[i]).map(|k| k as f64 * voxel[i]).collect();
            make::list(&group, name, &centres, "um")?;
        }
    }
    if let Some(g) = &o.meta.grey {
        make::number(&group, "data_scaling_factor", g.slope)?;
        make::number(&group, "data_offset", g.offset)?;
    }
    Ok(group)
}

/// Attributes of the voxels' dataset. Call under the lock.
fn describe_data(dataset: &Id, meta: &VolumeMeta) -> Result<(), Failure> {
    let grey_unit = meta.grey.as_ref().map(|g| &g.unit).filter(|u| !u.is_empty());
    if let Some(u) = meta.value_unit.as_ref().or(grey_unit) {
        make::text_attr(dataset, "units", u)?;
    }
    if let Some(v) = meta.voxel_um {
        // What Fiji's and ilastik's HDF5 readers look for.
        make::f64_attr(dataset, "element_size_um", &v)?;
    }
    if let Some(o) = meta.origin_1based {
        make::f64_attr(dataset, "origin_1based_xyz", &o.map(|n| n as f64))?;
    }
    Ok(())
}

fn make_dataset(group: &Id, o: &CreateOptions, chunk_rows: Option<usize>) -> Result<Id, Failure> {
    let name = cstr("data")?;
    let (t, s) =
        (make::file_type(o.dtype)?, make::space(&[o.shape.frames as u64, o.shape.rows as u64, o.shape.cols as u64])?);
    // SAFETY: handles are open and ours; `chunk` has the dataset's rank.
    unsafe {
        let plist = Id::new(H5Pcreate(*H5P_CLS_DATASET_CREATE))?;
        match chunk_rows {
            Some(rows) => {
                let chunk = [1, rows as u64, o.shape.cols as u64];
                check(H5Pset_chunk(plist.raw(), 3, chunk.as_ptr()))?;
                if o.dtype.size() > 1 {
                    check(H5Pset_shuffle(plist.raw()))?;
                }
                check(H5Pset_deflate(plist.raw(), LEVEL as u32))?;
            }
            None => {
                // Space now, no fill values: every voxel will be written, and `finish` says if one was not.
                check(H5Pset_layout(plist.raw(), H5D_layout_t::H5D_CONTIGUOUS))?;
                check(H5Pset_alloc_time(plist.raw(), H5D_alloc_time_t::H5D_ALLOC_TIME_EARLY))?;
                check(H5Pset_fill_time(plist.raw(), H5D_fill_time_t::H5D_FILL_TIME_NEVER))?;
            }
        }
        Id::new(H5Dcreate2(group.raw(), name.as_ptr(), t.raw(), s.raw(), H5P_DEFAULT, plist.raw(), H5P_DEFAULT))
    }
}

/// Shuffles and compresses one chunk of little-endian values.
fn deflate(raw: &[u8], size: usize) -> Result<Vec<u8>, String> {
    let mut shuffled = Vec::new();
    let source = if size > 1 {
        shuffled.resize(raw.len(), 0);
        shuffle(raw, &mut shuffled, size);
        &shuffled
    } else {
        raw
    };
    let level = libdeflater::CompressionLvl::new(LEVEL).map_err(|e| format!("{e:?}"))?;
    let mut c = libdeflater::Compressor::new(level);
    let mut out = vec![0u8; c.zlib_compress_bound(source.len())];
    let n = c.zlib_compress(source, &mut out).map_err(|e| e.to_string())?;
    out.truncate(n);
    Ok(out)
}

impl SliceSink for Sink {
    fn put(&mut self, first: usize, slices: &[u8]) -> Result<()> {
        let frame = self.rows * self.row_bytes;
        let n = slices.len() / frame;
        if first != self.next || n * frame != slices.len() || first + n > self.frames {
            return Err(Error::caller("slices out of order or beyond the volume")
                .path(self.part.target())
                .expected(format!("whole slices from {}", self.next))
                .found(format!("{} bytes from {first}", slices.len())));
        }
        let mut data = Cow::Borrowed(slices);
        if ByteOrder::NATIVE != ByteOrder::Little {
            ByteOrder::Little.to_native(data.to_mut(), self.dtype.size());
        }
        match &self.store {
            Store::Plain(at) => self.part.write_at(&data, at + (first * frame) as u64)?,
            Store::Deflate { dataset, chunk_rows } => {
                let (size, chunk) = (self.dtype.size(), chunk_rows * self.row_bytes);
                // Chunks reach over the last row where the rows do not divide evenly: the rest is zero.
                let per_frame = self.rows.div_ceil(*chunk_rows);
                let packed: Result<Vec<Vec<u8>>, String> = (0..n * per_frame)
                    .into_par_iter()
                    .map(|i| {
                        let slice = &data[i / per_frame * frame..][..frame];
                        let from = i % per_frame * chunk;
                        let raw = &slice[from..(from + chunk).min(frame)];
                        if raw.len() == chunk {
                            return deflate(raw, size);
                        }
                        let mut full = raw.to_vec();
                        full.resize(chunk, 0);
                        deflate(&full, size)
                    })
                    .collect();
                let packed = packed.map_err(|e| Error::file(self.part.part_path(), format!("cannot compress: {e}")))?;
                locked(|| {
                    for (i, bytes) in packed.iter().enumerate() {
                        let offset = [(first + i / per_frame) as u64, (i % per_frame * chunk_rows) as u64, 0];
                        // SAFETY: the dataset is open, the offset of its rank, the bytes live for the call.
                        check(unsafe {
                            H5Dwrite_chunk(
                                dataset.raw(),
                                H5P_DEFAULT,
                                0,
                                offset.as_ptr(),
                                bytes.len(),
                                bytes.as_ptr().cast(),
                            )
                        })?;
                    }
                    Ok(())
                })
                .map_err(|e| write_error(self.part.part_path(), &e))?;
            }
            Store::Closed => return Err(Error::caller("the volume is finished already").path(self.part.target())),
        }
        self.next += n;
        Ok(())
    }

    fn keep_partial(&mut self) {
        // An HDF5 file in the making cannot be told from a damaged one: nothing to resume, the part is removed.
    }

    fn finish(self: Box<Self>, stats: Option<&VolumeStats>) -> Result<Vec<PathBuf>> {
        let mut sink = *self;
        if sink.next != sink.frames {
            return Err(Error::caller("the volume is not complete")
                .path(sink.part.target())
                .expected(format!("{} slices", sink.frames))
                .found(sink.next));
        }
        // Closing the last handle closes the file, which writes what the library still holds.
        locked(|| {
            if let Store::Deflate { dataset, .. } = &sink.store {
                // SAFETY: the dataset is open.
                check(unsafe { H5Dflush(dataset.raw()) })?;
            }
            sink.store = Store::Closed;
            stats.map_or(Ok(()), |s| add_stats(sink.part.part_path(), s))
        })
        .map_err(|e| write_error(sink.part.part_path(), &e))?;
        Ok(vec![sink.part.commit()?])
    }
}

fn add_stats(part: &Path, s: &VolumeStats) -> Result<(), Failure> {
    let file = make::reopen(part)?;
    let d = super::sys::open_dataset(&file, DATA)?;
    for (name, v) in [("minimum", s.min), ("maximum", s.max)] {
        make::f64_attr(&d, name, &[v])?;
    }
    make::f64_attr(&d, "saturation_0.001_percent", &[s.s1, s.s2])?;
    make::f64_attr(&d, "saturation_0.2_percent", &[s.big_s1, s.big_s2])
}

/// The library reports a full disk in words only.
fn write_error(path: &Path, e: &Failure) -> Error {
    if e.lines.iter().any(|l| l.contains("No space left") || l.contains("errno = 28")) {
        return Error::io(path, "writing", std::io::Error::from(std::io::ErrorKind::StorageFull));
    }
    e.on(path, "writing failed")
}
