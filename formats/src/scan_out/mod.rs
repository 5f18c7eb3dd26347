//! Writing scans: projections, flats, darks and angles as a SOLEIL Flyscan folder, an NXtomo or DXchange file, or a
//! folder of EDF or TIFF images.
//!
//! A scan is announced by a [`ScanSpec`], then its frames are pushed part by part in blocks of any size
//! ([`ScanWriter::put`]), so that memory never grows with the scan; [`write_scan`] does the same from a readable
//! [`Scan`](crate::Scan). Guarantees: nothing under the final name before [`ScanWriter::finish`], which refuses a scan
//! with frames missing. Leaves to others: where frames come from, and what is in them.

pub(crate) mod average;
mod copy;
pub(crate) mod spec;
#[cfg(test)]
pub(crate) mod tests;

use crate::nexus::write_scan::{dxchange, flyscan, nxtomo};
use crate::{DType, Error, Result};
use crate::{edf, tiff};
pub use copy::write_scan;
pub use spec::{RefSpec, ScanSpec, Storage};
use std::path::{Path, PathBuf};

/// Layouts a scan can be written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScanLayout {
    /// SOLEIL: a folder of four HDF5 files and a `.par`.
    Flyscan,
    /// NXtomo application definition: one file, image key.
    NxTomo,
    /// Data Exchange (APS, TomoBank, SLS): one file.
    DxChange,
    /// PyHST2 and ESRF: a folder of EDF images, averaged flats and dark, `.info` and `.par`.
    Edf,
    /// Sub-folders of TIFF images and `angles.txt`.
    Tiff,
}

impl ScanLayout {
    /// All of them.
    pub const ALL: [ScanLayout; 5] =
        [ScanLayout::Flyscan, ScanLayout::NxTomo, ScanLayout::DxChange, ScanLayout::Edf, ScanLayout::Tiff];

    /// The name used in options and by the readers.
    pub const fn name(self) -> &'static str {
        match self {
            ScanLayout::Flyscan => "flyscan",
            ScanLayout::NxTomo => "nxtomo",
            ScanLayout::DxChange => "dxchange",
            ScanLayout::Edf => "edf",
            ScanLayout::Tiff => "tiff",
        }
    }

    /// True where the layout is a folder, not a file.
    pub const fn is_folder(self) -> bool {
        matches!(self, ScanLayout::Flyscan | ScanLayout::Edf | ScanLayout::Tiff)
    }

    /// Finds a layout by its name.
    pub fn parse(name: &str) -> Option<ScanLayout> {
        Self::ALL.into_iter().find(|l| l.name().eq_ignore_ascii_case(name.trim()))
    }
}

/// How to write.
#[derive(Clone, Debug)]
pub struct ScanWriteOptions {
    /// The layout.
    pub layout: ScanLayout,
    /// Chunks and compression of the frames.
    pub storage: Storage,
    /// Replace an existing output.
    pub overwrite: bool,
}

impl ScanWriteOptions {
    /// Plain, uncompressed, never overwriting.
    pub fn new(layout: ScanLayout) -> Self {
        ScanWriteOptions { layout, storage: Storage::default(), overwrite: false }
    }
}

/// Which frames a block belongs to. Numbers index [`ScanSpec::flats`] and [`ScanSpec::darks`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The projections.
    Projections,
    /// A set of flats.
    Flats(usize),
    /// A set of darks.
    Darks(usize),
}

/// What a layout must be able to do.
pub(crate) trait Layout: Send {
    fn put(&mut self, part: Part, first: usize, frames: &[u8]) -> Result<()>;
    fn finish(self: Box<Self>) -> Result<Vec<PathBuf>>;
}

/// The name of a scan folder, from which its files take theirs.
pub(crate) fn folder_name(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|n| n.to_str());
    Ok(name.ok_or_else(|| Error::caller("a scan folder needs a name of plain text").path(path))?.to_owned())
}

/// A scan being written. Parts may come in any order, the frames of one part in theirs.
pub struct ScanWriter {
    spec: ScanSpec,
    layout: Box<dyn Layout>,
    done: [Vec<usize>; 3],
}

impl ScanWriter {
    /// Starts a scan at `path`: a folder or a file, see [`ScanLayout::is_folder`].
    ///
    /// # Errors
    /// `Caller` where the spec contradicts itself, the layout cannot hold it, or the output exists.
    pub fn create(path: &Path, spec: &ScanSpec, options: &ScanWriteOptions) -> Result<ScanWriter> {
        spec.check().map_err(|e| e.or_path(path))?;
        let layout: Box<dyn Layout> = match options.layout {
            ScanLayout::Flyscan => Box::new(flyscan::Folder::create(path, spec, options)?),
            ScanLayout::NxTomo => Box::new(nxtomo::File::create(path, spec, options)?),
            ScanLayout::DxChange => Box::new(dxchange::File::create(path, spec, options)?),
            ScanLayout::Edf => Box::new(edf::write_scan::Folder::create(path, spec, options)?),
            ScanLayout::Tiff => Box::new(tiff::write_scan::Folder::create(path, spec, options)?),
        };
        let done = [vec![0], vec![0; spec.flats.len()], vec![0; spec.darks.len()]];
        Ok(ScanWriter { spec: spec.clone(), layout, done })
    }

    /// What was announced.
    pub fn spec(&self) -> &ScanSpec {
        &self.spec
    }

    /// Number of frames and their type for a part; `None` for a set that was not announced.
    pub fn part(&self, part: Part) -> Option<(usize, DType)> {
        match part {
            Part::Projections => Some((self.spec.shape.frames, self.spec.dtype)),
            Part::Flats(i) => self.spec.flats.get(i).map(|r| (r.frames, r.dtype)),
            Part::Darks(i) => self.spec.darks.get(i).map(|r| (r.frames, r.dtype)),
        }
    }

    fn done_of(&mut self, part: Part) -> Option<&mut usize> {
        match part {
            Part::Projections => self.done[0].get_mut(0),
            Part::Flats(i) => self.done[1].get_mut(i),
            Part::Darks(i) => self.done[2].get_mut(i),
        }
    }

    /// Appends whole frames to a part: native byte order, C order, the part's announced type. `first` is the number of
    /// the first one within its part and must be the next.
    pub fn put(&mut self, part: Part, first: usize, frames: &[u8]) -> Result<()> {
        let (total, dtype) =
            self.part(part).ok_or_else(|| Error::caller(format!("{part:?} was not announced for this scan")))?;
        let per_frame = self.spec.shape.frame_len() * dtype.size();
        let n = frames.len() / per_frame;
        let next = self.done_of(part).map_or(0, |d| *d);
        if first != next || !frames.len().is_multiple_of(per_frame) || n > total - next {
            return Err(Error::caller(format!("a block of {part:?} does not fit"))
                .expected(format!("whole frames of {per_frame} bytes from number {next} of {total}"))
                .found(format!("{} bytes from number {first}", frames.len())));
        }
        self.layout.put(part, first, frames)?;
        if let Some(d) = self.done_of(part) {
            *d += n;
        }
        Ok(())
    }

    /// Completes the files, gives them their final names and returns them, the main one first.
    ///
    /// # Errors
    /// `Caller` where announced frames are missing.
    pub fn finish(mut self) -> Result<Vec<PathBuf>> {
        for part in parts(&self.spec) {
            let total = self.part(part).map_or(0, |p| p.0);
            let done = self.done_of(part).map_or(0, |d| *d);
            if done != total {
                return Err(Error::caller(format!("the scan is incomplete: {part:?}")).expected(total).found(done));
            }
        }
        self.layout.finish()
    }
}

/// All parts of a scan in the order in which they are usually taken.
pub fn parts(spec: &ScanSpec) -> Vec<Part> {
    let mut all: Vec<(f64, u8, Part)> = vec![(0.0, 2, Part::Projections)];
    let place = |p: f64| if p > 0.0 { f64::MAX } else { 0.0 };
    all.extend(spec.darks.iter().enumerate().map(|(i, r)| (place(r.position), 0, Part::Darks(i))));
    all.extend(spec.flats.iter().enumerate().map(|(i, r)| (place(r.position), 1, Part::Flats(i))));
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    all.into_iter().map(|(_, _, p)| p).collect()
}

#[cfg(all(test, target_os = "linux"))]
mod full_disk;

#[cfg(test)]
mod order {
    use super::*;
    use crate::Shape;

    #[test]
    fn parts_come_as_they_are_taken() {
        let mut s = ScanSpec::new("s", Shape::new(4, 2, 2), DType::U16, vec![0.0; 4]);
        let r = |position| RefSpec { frames: 1, position, dtype: DType::U16, averaged: false };
        s.flats = vec![r(4.0), r(0.0)];
        s.darks = vec![r(4.0), r(0.0)];
        use Part::*;
        assert_eq!(parts(&s), [Darks(1), Flats(1), Projections, Darks(0), Flats(0)]);
        assert_eq!(s.bytes().unwrap(), 8 * 4 * 2);
    }
}
