//! A stack of frames in a file being written: plain ones by positioned writes, chunks compressed by all threads.
//!
//! The library serves one thread at a time, so it is asked only for a place: a contiguous dataset's space is reserved at
//! once and the frames go there as bytes; whole chunks are cut out, shuffled and deflated here and handed over as they
//! are to be stored. Only where a block ends inside a chunk does the library do the work. Guarantees: frames beyond the
//! stack are refused. Leaves to others: that every frame is put ([`crate::scan_out`], `write`).

use super::filters::shuffle;
use super::h5out::{aligned, refused, refused_for};
use super::sys::{check, locked};
use crate::durable::PartFile;
use crate::error::OnPath;
use crate::io::write_all_at;
use crate::scan_out::Storage;
use crate::{DType, Error, Result, Shape, with_dtype};
use hdf5_metno as hdf5;
use hdf5_metno::dataset::{AllocTime, FillTime};
use hdf5_metno_sys::h5d::H5Dwrite_chunk;
use hdf5_metno_sys::h5p::H5P_DEFAULT;
use ndarray::ArrayView3;
use rayon::prelude::*;
use std::fs::File;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The file and place of a new stack.
pub(super) struct Place<'a> {
    pub part: &'a Arc<PartFile>,
    pub target: &'a Path,
    pub path: &'a str,
    pub dead: &'a Arc<AtomicBool>,
}

/// A 3-D dataset being filled.
pub struct Stack {
    data: ManuallyDrop<hdf5::Dataset>,
    store: Store,
    shape: Shape,
    dtype: DType,
    path: String,
    file: PathBuf,
    dead: Arc<AtomicBool>,
    /// Dropped last: Windows removes no file that is open.
    _part: Arc<PartFile>,
}

enum Store {
    /// Contiguous: the file and the offset of the first value.
    Plain(File, u64),
    /// Chunk shape and level of compression.
    Chunks([usize; 3], Option<u8>),
}

impl Drop for Stack {
    fn drop(&mut self) {
        if !self.dead.load(Ordering::Relaxed) {
            // SAFETY: dropped here and nowhere else.
            unsafe { ManuallyDrop::drop(&mut self.data) };
        }
    }
}

impl Stack {
    /// Makes the dataset `name` in `dir`.
    pub(super) fn create(
        dir: &hdf5::Group,
        name: &str,
        at: Place<'_>,
        shape: Shape,
        dtype: DType,
        storage: Storage,
    ) -> Result<Stack> {
        shape.len()?;
        let failed = |e| refused(at.target, &format!("writing {}", at.path), e);
        let chunk = storage.chunk.or(storage.deflate.map(|_| [1, shape.rows, shape.cols]));
        // A chunk larger than a fixed-size dataset is refused by the library.
        let chunk = chunk
            .filter(|_| !shape.is_empty())
            .map(|[f, r, c]| [f.clamp(1, shape.frames), r.clamp(1, shape.rows), c.clamp(1, shape.cols)]);
        if let Some(c) = chunk
            && c.iter().try_fold(dtype.size(), |n, k| n.checked_mul(*k)).is_none_or(|n| n > u32::MAX as usize)
        {
            return Err(Error::limit("an HDF5 chunk holds less than 4 GiB").path(at.target).found(format!("{c:?}")));
        }
        let level = storage.deflate.map(|l| l.clamp(1, 9));
        let data = with_dtype!(dtype, T => {
            let b = dir.new_dataset::<T>();
            let b = match chunk {
                Some([f, r, c]) => match level {
                    Some(l) if dtype.size() > 1 => b.chunk((f, r, c)).shuffle().deflate(l),
                    Some(l) => b.chunk((f, r, c)).deflate(l),
                    None => b.chunk((f, r, c)),
                },
                // Space now, no fill values: every frame will be written.
                None => b.no_chunk().alloc_time(Some(AllocTime::Early)).fill_time(FillTime::Never),
            };
            b.shape((shape.frames, shape.rows, shape.cols)).create(name)
        })
        .map_err(failed)?;
        let store = match chunk {
            Some(chunk) => Store::Chunks(chunk, level),
            None => {
                let file = at.part.file()?.try_clone().on(at.target, "opening")?;
                let offset = data.offset();
                if offset.is_none() && !shape.is_empty() {
                    return Err(refused_for(at.target, "writing", "the library reserved no space for the values"));
                }
                Store::Plain(file, offset.unwrap_or(0))
            }
        };
        let data = ManuallyDrop::new(data);
        let (path, file) = (at.path.to_owned(), at.target.to_owned());
        Ok(Stack { data, store, shape, dtype, path, file, dead: at.dead.clone(), _part: at.part.clone() })
    }

    /// Type of the values.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Writes whole frames starting at number `first`: native byte order, C order.
    pub fn put(&self, first: usize, bytes: &[u8]) -> Result<()> {
        let per_frame = self.shape.frame_len() * self.dtype.size();
        if per_frame == 0 || !bytes.len().is_multiple_of(per_frame) {
            return Err(Error::caller("not a whole number of frames")
                .path(&self.file)
                .expected(format!("a multiple of {per_frame} bytes"))
                .found(bytes.len()));
        }
        let n = bytes.len() / per_frame;
        let Some(end) = first.checked_add(n).filter(|end| *end <= self.shape.frames) else {
            return Err(Error::caller("more frames than announced")
                .path(&self.file)
                .expected(self.shape.frames)
                .found(first.saturating_add(n)));
        };
        let (chunk, level) = match &self.store {
            Store::Plain(file, at) => {
                let at = at + (first * per_frame) as u64;
                return write_all_at(file, bytes, at).map_err(|e| Error::io(&self.file, "writing", e).at(at));
            }
            Store::Chunks(chunk, level) => (*chunk, *level),
        };
        // Frames from..to lie in chunks that this block fills; those around them go by way of the library.
        let from = first.next_multiple_of(chunk[0]).min(end);
        let to = if end == self.shape.frames { end } else { (end / chunk[0] * chunk[0]).max(from) };
        let slice = |a: usize, b: usize| &bytes[(a - first) * per_frame..(b - first) * per_frame];
        self.by_library(first, slice(first, from))?;
        self.chunks(from, slice(from, to), chunk, level)?;
        self.by_library(to, slice(to, end))
    }

    /// Cuts, packs and stores the chunks of whole layers of them.
    fn chunks(&self, first: usize, bytes: &[u8], chunk: [usize; 3], level: Option<u8>) -> Result<()> {
        let Shape { rows, cols, .. } = self.shape;
        let (across, down) = (cols.div_ceil(chunk[2]), rows.div_ceil(chunk[1]));
        let frames = bytes.len() / (rows * cols * self.dtype.size());
        let all = frames.div_ceil(chunk[0]) * down * across;
        let origin = |i: usize| [i / (down * across) * chunk[0], i / across % down * chunk[1], i % across * chunk[2]];
        let pack = |i: usize| -> Result<Vec<u8>> {
            let raw = self.cut(bytes, frames, origin(i), chunk);
            match level {
                Some(level) => deflate(raw, self.dtype.size(), level).map_err(|e| Error::file(&self.file, e)),
                None => Ok(raw),
            }
        };
        // As many at a time as keep the threads busy: packed chunks do not pile up.
        let most = 4 * rayon::current_num_threads();
        for start in (0..all).step_by(most) {
            let packed: Vec<Vec<u8>> =
                (start..(start + most).min(all)).into_par_iter().map(pack).collect::<Result<_>>()?;
            locked(|| {
                packed.iter().enumerate().try_for_each(|(i, bytes)| {
                    let [f, r, c] = origin(start + i);
                    let offset = [(first + f) as u64, r as u64, c as u64];
                    let (id, n) = (self.data.id(), bytes.len());
                    // SAFETY: the dataset is open, the offset of its rank, the bytes live for the call.
                    check(unsafe { H5Dwrite_chunk(id, H5P_DEFAULT, 0, offset.as_ptr(), n, bytes.as_ptr().cast()) })
                        .map(drop)
                })
            })
            .map_err(|e| refused_for(&self.file, &format!("writing {}", self.path), &e.lines.join("; ")))?;
        }
        Ok(())
    }

    /// One chunk out of a block of `frames` frames; what reaches over the edge of the stack is zero.
    fn cut(&self, bytes: &[u8], frames: usize, [f, r, c]: [usize; 3], chunk: [usize; 3]) -> Vec<u8> {
        let (size, Shape { rows, cols, .. }) = (self.dtype.size(), self.shape);
        let mut raw = vec![0; chunk.iter().product::<usize>() * size];
        let width = chunk[2].min(cols - c) * size;
        for k in 0..chunk[0].min(frames - f) {
            for j in 0..chunk[1].min(rows - r) {
                let from = (((f + k) * rows + r + j) * cols + c) * size;
                let to = (k * chunk[1] + j) * chunk[2] * size;
                raw[to..to + width].copy_from_slice(&bytes[from..from + width]);
            }
        }
        raw
    }

    /// Writes frames through the library, which keeps chunks that are not full.
    fn by_library(&self, first: usize, bytes: &[u8]) -> Result<()> {
        let n = bytes.len() / (self.shape.frame_len() * self.dtype.size());
        if n == 0 {
            return Ok(());
        }
        with_dtype!(self.dtype, T => {
            // Blocks come from buffers of any alignment; an unaligned one is copied once.
            let owned;
            let values: &[T] = match bytemuck::try_cast_slice(bytes) {
                Ok(v) => v,
                Err(_) => {
                    owned = aligned::<T>(bytes);
                    &owned
                }
            };
            let view = ArrayView3::from_shape((n, self.shape.rows, self.shape.cols), values)
                .map_err(|e| Error::caller(format!("block of the wrong size: {e}")))?;
            self.data.write_slice(view, (first..first + n, .., ..))
        })
        .map_err(|e| refused(&self.file, &format!("writing {}", self.path), e))
    }
}

/// Shuffles and compresses one chunk.
fn deflate(raw: Vec<u8>, size: usize, level: u8) -> Result<Vec<u8>, String> {
    let source = if size > 1 {
        let mut shuffled = vec![0; raw.len()];
        shuffle(&raw, &mut shuffled, size);
        shuffled
    } else {
        raw
    };
    let level = libdeflater::CompressionLvl::new(level.into()).map_err(|e| format!("cannot compress: {e:?}"))?;
    let mut c = libdeflater::Compressor::new(level);
    let mut out = vec![0u8; c.zlib_compress_bound(source.len())];
    let n = c.zlib_compress(&source, &mut out).map_err(|e| format!("cannot compress: {e}"))?;
    out.truncate(n);
    Ok(out)
}
