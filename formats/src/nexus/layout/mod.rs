//! Layouts: where the files of different beamlines keep projections, flats, darks and angles.
//!
//! One file per layout, from the most to the least specific: NXtomo (Diamond, ESRF), DXchange (APS, SLS, ALS), SOLEIL
//! Flyscan, then what can be told from names and lengths alone (image keys outside NXtomo, an NXdata with an angle axis,
//! neighbouring scans of MAX IV). A layout says whether a file is its own by what is in it, never by the file's name.
//! Everything that was assumed, left out or odd becomes a warning. Leaves bytes, links and filters to [`super::file`].

mod angles;
mod common;
mod dxchange;
mod flyscan;
mod generic;
mod keyed;
mod nxtomo;
#[cfg(test)]
mod real;
#[cfg(test)]
mod tests;
mod view;

pub use flyscan::is_without_scan;

use super::H5;
use crate::Result;
use crate::registry::{Candidate, Confidence, Hit, OpenOptions, Opened};
use std::path::Path;

/// A folder of HDF5 files that together make one scan.
pub(super) fn probe_dir(c: &Candidate) -> Option<Hit> {
    let parts = flyscan::parts_of(&c.path, &c.entries)?;
    Hit::new(Confidence::Marker, parts.reason())
}

/// Opens such a folder.
pub(super) fn open_dir(path: &Path, options: &OpenOptions) -> Result<Opened> {
    flyscan::open_dir(path, options)
}

/// How a layout opens a file: `None` where it is not its own.
type Open = fn(&H5, &OpenOptions) -> Option<Result<Opened>>;

/// Opens a file as a scan; `None` where no layout knows it, so that it is a volume or plain HDF5.
pub(super) fn open_file(h5: &H5, options: &OpenOptions) -> Option<Result<Opened>> {
    let open: [Open; 4] = [nxtomo::open, dxchange::open, flyscan::open, generic::open];
    let mut opened = open.iter().find_map(|f| f(h5, options))?.map_err(|e| e.or_path(h5.path()));
    if let Ok(o) = &mut opened {
        super::spec::missing(h5, o);
    }
    Some(opened)
}
