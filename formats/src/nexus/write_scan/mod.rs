//! Writing scans: projections, flats, darks and angles as a SOLEIL Flyscan folder, an NXtomo file or a DXchange file.
//!
//! A scan is announced by a [`ScanSpec`], then its frames are pushed part by part in blocks of any size
//! ([`ScanWriter::put`]), so that memory never grows with the scan; [`write_scan`] does the same from a [`Scan`] that can
//! be read. Guarantees: nothing under the final name before [`ScanWriter::finish`], which refuses a scan with frames
//! missing. Leaves to others: where frames come from, and what is in them.

mod dxchange;
mod flyscan;
pub(crate) mod h5out;
mod nxtomo;
mod place;
#[cfg(test)]
pub(crate) mod tests;

use crate::model::{FieldOfView, RefSet};
use crate::{DType, Error, FrameSource, Region, Result, Scan, Shape};
pub use h5out::Storage;
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
}

impl ScanLayout {
    /// All of them.
    pub const ALL: [ScanLayout; 3] = [ScanLayout::Flyscan, ScanLayout::NxTomo, ScanLayout::DxChange];

    /// The name used in options and by the readers.
    pub const fn name(self) -> &'static str {
        match self {
            ScanLayout::Flyscan => "flyscan",
            ScanLayout::NxTomo => "nxtomo",
            ScanLayout::DxChange => "dxchange",
        }
    }

    /// Finds a layout by its name.
    pub fn parse(name: &str) -> Option<ScanLayout> {
        Self::ALL.into_iter().find(|l| l.name().eq_ignore_ascii_case(name.trim()))
    }
}

/// One series of flats or darks to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct RefSpec {
    /// Number of frames; rows and columns are those of the projections.
    pub frames: usize,
    /// When it was taken, in units of projections: 0 = before the first, N = after the last.
    pub position: f64,
    /// Type of the values.
    pub dtype: DType,
    /// True where the one frame is an average already.
    pub averaged: bool,
}

/// What a scan will hold, known before its first frame.
#[derive(Clone, Debug)]
pub struct ScanSpec {
    /// Short name: entry title, sample name, stem of the Flyscan files.
    pub name: String,
    /// Projections: number, rows, columns.
    pub shape: Shape,
    /// Type of the projections' values.
    pub dtype: DType,
    /// Flats.
    pub flats: Vec<RefSpec>,
    /// Darks.
    pub darks: Vec<RefSpec>,
    /// One angle per projection, radians; written in degrees.
    pub angles_rad: Vec<f64>,
    /// Column of the rotation axis, 0 = centre of the first column.
    pub rotation_axis_px: Option<f64>,
    /// Detector pixel in µm, vertical then horizontal.
    pub pixel_um: Option<[f64; 2]>,
    /// Full or half (extended) field.
    pub field_of_view: Option<FieldOfView>,
    /// Sample to detector, mm.
    pub distance_mm: Option<f64>,
    /// Photon energy, keV.
    pub energy_kev: Option<f64>,
    /// Machine current per projection, mA.
    pub current: Option<Vec<f64>>,
    /// Lower clip of transmission (PyHST2 ZEROCLIPVALUE); Flyscan's `.par` only.
    pub zero_clip: Option<f64>,
    /// True where the values are −log already.
    pub is_attenuation: bool,
    /// Motor positions in mm by name (`tomo1tx`): comment lines of Flyscan's `.par`.
    pub motors: Vec<(String, f64)>,
}

impl ScanSpec {
    /// A scan without flats, darks or metadata.
    pub fn new(name: &str, shape: Shape, dtype: DType, angles_rad: Vec<f64>) -> ScanSpec {
        ScanSpec {
            name: name.to_owned(),
            shape,
            dtype,
            flats: Vec::new(),
            darks: Vec::new(),
            angles_rad,
            rotation_axis_px: None,
            pixel_um: None,
            field_of_view: None,
            distance_mm: None,
            energy_kev: None,
            current: None,
            zero_clip: None,
            is_attenuation: false,
            motors: Vec::new(),
        }
    }

    /// What a readable scan holds.
    pub fn of(scan: &Scan) -> ScanSpec {
        let refs = |sets: &[RefSet]| {
            let spec = |r: &RefSet| RefSpec {
                frames: r.source.shape().frames,
                position: r.position.0,
                dtype: r.source.dtype(),
                averaged: r.averaged,
            };
            sets.iter().map(spec).collect()
        };
        ScanSpec {
            flats: refs(&scan.flats),
            darks: refs(&scan.darks),
            rotation_axis_px: scan.rotation_axis_px,
            pixel_um: scan.pixel_um,
            field_of_view: scan.field_of_view,
            current: scan.current.clone(),
            zero_clip: scan.zero_clip,
            is_attenuation: scan.is_attenuation,
            ..ScanSpec::new(&scan.name, scan.projections.shape(), scan.projections.dtype(), scan.angles.rad.clone())
        }
    }

    /// Bytes of pixel values the scan will hold, uncompressed.
    pub fn bytes(&self) -> Result<u64> {
        let mut total = part_bytes(self.shape, self.dtype)?;
        for r in self.flats.iter().chain(&self.darks) {
            total = part_bytes(Shape { frames: r.frames, ..self.shape }, r.dtype)?
                .checked_add(total)
                .ok_or_else(|| Error::limit("the scan is beyond any real size"))?;
        }
        Ok(total)
    }

    fn check(&self) -> Result<()> {
        let wrong = |what: &str, want: usize, have: usize| {
            Err(Error::caller(format!("{what} of the scan to write do not match")).expected(want).found(have))
        };
        if self.shape.is_empty() {
            return Err(Error::caller(format!("a scan of {} has no pixels", self.shape)));
        }
        self.bytes()?;
        if self.angles_rad.len() != self.shape.frames {
            return wrong("angles and projections", self.shape.frames, self.angles_rad.len());
        }
        if let Some(c) = &self.current
            && c.len() != self.shape.frames
        {
            return wrong("machine currents and projections", self.shape.frames, c.len());
        }
        if self.name.is_empty() || self.name.contains(['/', '\\', '\0']) {
            return Err(Error::caller("a scan's name cannot be empty or hold a path separator").found(&self.name));
        }
        if self.flats.iter().chain(&self.darks).any(|r| !r.position.is_finite() || r.frames == 0) {
            return Err(Error::caller("a set of flats or darks needs frames and a finite position"));
        }
        Ok(())
    }

    /// Mean angular step in degrees, signed; 0 for a single projection.
    fn step_deg(&self) -> f64 {
        match (self.angles_rad.first(), self.angles_rad.last()) {
            (Some(a), Some(b)) if self.angles_rad.len() > 1 => {
                ((b - a) / (self.angles_rad.len() - 1) as f64).to_degrees()
            }
            _ => 0.0,
        }
    }

    fn angles_deg(&self) -> Vec<f64> {
        self.angles_rad.iter().map(|a| a.to_degrees()).collect()
    }
}

fn part_bytes(shape: Shape, dtype: DType) -> Result<u64> {
    shape.len()?.checked_mul(dtype.size() as u64).ok_or_else(|| Error::limit("the scan is beyond any real size"))
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
trait Layout: Send {
    fn put(&mut self, part: Part, first: usize, frames: &[u8]) -> Result<()>;
    fn finish(self: Box<Self>) -> Result<Vec<PathBuf>>;
}

/// A scan being written. Parts may come in any order, the frames of one part in theirs.
pub struct ScanWriter {
    spec: ScanSpec,
    layout: Box<dyn Layout>,
    done: [Vec<usize>; 3],
}

impl ScanWriter {
    /// Starts a scan at `path`: a folder for Flyscan, else a file.
    ///
    /// # Errors
    /// `Caller` where the spec contradicts itself, the layout cannot hold it, or the output exists.
    pub fn create(path: &Path, spec: &ScanSpec, options: &ScanWriteOptions) -> Result<ScanWriter> {
        spec.check().map_err(|e| e.or_path(path))?;
        let layout: Box<dyn Layout> = match options.layout {
            ScanLayout::Flyscan => Box::new(flyscan::Folder::create(path, spec, options)?),
            ScanLayout::NxTomo => Box::new(nxtomo::File::create(path, spec, options)?),
            ScanLayout::DxChange => Box::new(dxchange::File::create(path, spec, options)?),
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

/// Bytes read and written at a time by [`write_scan`].
const BLOCK: usize = 32 << 20;

/// Copies a readable scan. `spec` is usually [`ScanSpec::of`] with some fields filled in; `progress` is told the bytes
/// done after every block and stops the copy by an error.
pub fn write_scan(
    path: &Path,
    scan: &Scan,
    spec: &ScanSpec,
    options: &ScanWriteOptions,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Vec<PathBuf>> {
    let mut out = ScanWriter::create(path, spec, options)?;
    let mut done = 0;
    let mut block = Vec::new();
    for part in parts(spec) {
        let source: &dyn FrameSource = match part {
            Part::Projections => &*scan.projections,
            Part::Flats(i) => {
                &*scan
                    .flats
                    .get(i)
                    .ok_or_else(|| Error::caller("the scan has fewer sets of flats than announced"))?
                    .source
            }
            Part::Darks(i) => {
                &*scan
                    .darks
                    .get(i)
                    .ok_or_else(|| Error::caller("the scan has fewer sets of darks than announced"))?
                    .source
            }
        };
        let shape = source.shape();
        let size = source.dtype().size();
        let unit = source.access().unit.frames.max(1);
        let per_frame = (shape.frame_len() * size).max(1);
        // Whole chunks where they fit, so that none is decoded twice.
        let step = (BLOCK / per_frame).max(1);
        let step = if step > unit { step / unit * unit } else { step };
        for first in (0..shape.frames).step_by(step) {
            let region = Region::of_frames(shape, first..(first + step).min(shape.frames));
            block.resize(region.values() * size, 0);
            source.read(&region, &mut block)?;
            out.put(part, first, &block)?;
            done += block.len() as u64;
            progress(done)?;
        }
    }
    out.finish()
}

#[cfg(test)]
mod order {
    use super::*;

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
