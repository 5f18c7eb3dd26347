//! A numeric dataset as a stack of frames.

use super::file::H5;
use super::info::{self, DatasetInfo};
use super::links;
use super::sys::{Failure, Id, check, locked, open_dataset};
use super::types::native;
use crate::source::{Access, FrameSource};
use crate::{DType, Error, Region, Result, Shape};
use hdf5_metno_sys::h5::hsize_t;
use hdf5_metno_sys::h5d::*;
use hdf5_metno_sys::h5p::H5P_DEFAULT;
use hdf5_metno_sys::h5s::*;

/// A numeric dataset of any rank, seen as frames × rows × columns.
pub(super) struct Array {
    h5: H5,
    info: DatasetInfo,
    dtype: DType,
    shape: Shape,
    dataset: Id,
}

impl Array {
    pub fn open(h5: &H5, path: &str) -> Result<Array> {
        let info = h5.dataset_info(path)?;
        let Some(dtype) = info.dtype else {
            return Err(Error::unsupported(h5.path(), format!("{path} holds no numbers"))
                .expected("integers or floats")
                .found(&info.type_text));
        };
        links::check_sources(h5, &info)?;
        info::check_filters(h5, &info)?;
        let dataset = locked(|| open_dataset(h5.id(), path)).map_err(h5.fail(format!("cannot open {path}")))?;
        let dims = &info.shape;
        let too_large = || Error::limit("the dimensions are beyond any real dataset").path(h5.path());
        let dim = |d: u64| usize::try_from(d).map_err(|_| too_large());
        let (cols, rows) = (dims.last().copied().unwrap_or(1), dims.iter().rev().nth(1).copied().unwrap_or(1));
        let lead = dims.len().saturating_sub(2);
        let frames = dims[..lead].iter().try_fold(1u64, |n, &d| n.checked_mul(d)).ok_or_else(too_large)?;
        let shape = Shape::new(dim(frames)?, dim(rows)?, dim(cols)?);
        shape.len().map_err(|e| e.or_path(h5.path()))?;
        Ok(Array { h5: h5.clone(), dtype, shape, dataset, info })
    }

    pub fn rank(&self) -> usize {
        self.info.shape.len()
    }

    /// All values, native byte order.
    pub fn read_all(&self, limit: u64) -> Result<(Vec<u64>, Vec<u8>)> {
        let bytes = self.shape.len()?.checked_mul(self.dtype.size() as u64).filter(|b| *b <= limit);
        let Some(bytes) = bytes.filter(|_| !self.info.is_null) else {
            if self.info.is_null {
                return Ok((Vec::new(), Vec::new()));
            }
            return Err(Error::limit(format!("{} is too large to be read as a list", self.info.path))
                .path(self.h5.path())
                .expected(format!("at most {limit} bytes"))
                .found(self.info.summary()));
        };
        let mut out = vec![0u8; bytes as usize];
        self.read(&self.shape.full(), &mut out)?;
        Ok((self.info.shape.clone(), out))
    }

    /// Reads a box of one leading index through the library.
    fn library_read(&self, lead: &[u64], region: &Region, out: &mut [u8]) -> Result<(), Failure> {
        let rank = self.rank();
        locked(|| {
            // SAFETY: handles are open and ours; start and count have the dataset's rank and lie inside its extent;
            // `out` has exactly as many bytes as the selection.
            unsafe {
                let t = Id::new(H5Dget_type(self.dataset.raw()))?;
                let mem = native(self.dtype, &t)?;
                if rank == 0 {
                    check(H5Dread(
                        self.dataset.raw(),
                        mem.raw(),
                        H5S_ALL,
                        H5S_ALL,
                        H5P_DEFAULT,
                        out.as_mut_ptr().cast(),
                    ))?;
                    return Ok(());
                }
                let mut start: Vec<hsize_t> = lead.to_vec();
                let mut count: Vec<hsize_t> = vec![1; lead.len()];
                if rank >= 2 {
                    start.push(region.rows.start as u64);
                    count.push(region.rows.len() as u64);
                }
                start.push(region.cols.start as u64);
                count.push(region.cols.len() as u64);
                let space = Id::new(H5Dget_space(self.dataset.raw()))?;
                check(H5Sselect_hyperslab(
                    space.raw(),
                    H5S_seloper_t::H5S_SELECT_SET,
                    start.as_ptr(),
                    std::ptr::null(),
                    count.as_ptr(),
                    std::ptr::null(),
                ))?;
                let memory = Id::new(H5Screate_simple(rank as i32, count.as_ptr(), std::ptr::null()))?;
                check(H5Dread(
                    self.dataset.raw(),
                    mem.raw(),
                    memory.raw(),
                    space.raw(),
                    H5P_DEFAULT,
                    out.as_mut_ptr().cast(),
                ))?;
                Ok(())
            }
        })
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
        Access::PLAIN
    }

    fn read(&self, region: &Region, out: &mut [u8]) -> Result<()> {
        region.check(self.shape, self.dtype.size(), out.len())?;
        let per_frame = region.rows.len() * region.cols.len() * self.dtype.size();
        if per_frame == 0 {
            return Ok(());
        }
        let lead_dims = &self.info.shape[..self.rank().saturating_sub(2)];
        for (frame, out) in region.frames.clone().zip(out.chunks_exact_mut(per_frame)) {
            let mut lead = vec![0u64; lead_dims.len()];
            let mut rest = frame as u64;
            for k in (0..lead_dims.len()).rev() {
                lead[k] = rest % lead_dims[k];
                rest /= lead_dims[k];
            }
            self.library_read(&lead, region, out).map_err(self.h5.fail(format!("cannot read {}", self.info.path)))?;
        }
        Ok(())
    }
}
