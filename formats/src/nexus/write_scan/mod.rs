//! Scans in HDF5: the layouts of [`crate::scan_out`] that this folder's library writes.

pub(crate) mod dxchange;
pub(crate) mod flyscan;
pub(crate) mod nxtomo;
mod place;
