//! Where the layouts hook in: a file or folder that is a scan is theirs, the rest is a volume or plain HDF5.

use super::file::H5;
use crate::registry::{Candidate, Hit, OpenOptions, Opened};
use crate::{Error, Result};
use std::path::Path;

/// A folder of HDF5 files that together make one scan.
pub(super) fn probe_dir(_: &Candidate) -> Option<Hit> {
    None
}

/// Opens such a folder.
pub(super) fn open_dir(path: &Path, _: &OpenOptions) -> Result<Opened> {
    Err(Error::unsupported(path, "no scan layout recognised in this folder"))
}

/// Opens a file as a scan; `None` where no layout knows it.
pub(super) fn open_file(_: &H5, _: &OpenOptions) -> Option<Result<Opened>> {
    None
}
