//! What a scan to be written holds, known before its first frame: sizes, types, positions, geometry, storage.

use crate::model::{FieldOfView, RefSet};
use crate::{DType, Error, Result, Scan, Shape};
use std::path::Path;

/// How the values of a stack are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Storage {
    /// Chunk shape (frames, rows, cols), cut to the dataset's shape; `None` = contiguous, or one frame per chunk where
    /// the values are compressed.
    pub chunk: Option<[usize; 3]>,
    /// Shuffle and deflate of this level (1 fast … 9 small); `None` = plain.
    pub deflate: Option<u8>,
}

impl Storage {
    /// Refuses what only HDF5 can do.
    pub(crate) fn refuse(&self, format: &str) -> Result<()> {
        if *self == Storage::default() {
            return Ok(());
        }
        Err(Error::caller(format!("{format} scans are written plain, without chunks or compression"))
            .hint("leave --chunk, --deflate and --compression out, or write an HDF5 layout"))
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
    /// Short name: entry title, sample name, title in HDF5.
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
    /// Lower clip of transmission (PyHST2 ZEROCLIPVALUE); in the `.par` of Flyscan and EDF.
    pub zero_clip: Option<f64>,
    /// True where the values are −log already.
    pub is_attenuation: bool,
    /// Motor positions in mm by name (`tomo1tx`): comment lines of the `.par`.
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

    pub(super) fn check(&self) -> Result<()> {
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
    pub(crate) fn step_deg(&self) -> f64 {
        match (self.angles_rad.first(), self.angles_rad.last()) {
            (Some(a), Some(b)) if self.angles_rad.len() > 1 => {
                ((b - a) / (self.angles_rad.len() - 1) as f64).to_degrees()
            }
            _ => 0.0,
        }
    }

    pub(crate) fn angles_deg(&self) -> Vec<f64> {
        self.angles_rad.iter().map(|a| a.to_degrees()).collect()
    }
}

fn part_bytes(shape: Shape, dtype: DType) -> Result<u64> {
    shape.len()?.checked_mul(dtype.size() as u64).ok_or_else(|| Error::limit("the scan is beyond any real size"))
}

/// The smallest type that holds every value of `types` exactly; `None` where there is none (64-bit integers with others).
pub(crate) fn common(types: impl IntoIterator<Item = DType>) -> Option<DType> {
    let types: Vec<DType> = types.into_iter().collect();
    let mut all = DType::ALL;
    all.sort_by_key(|d| (d.size(), d.is_float()));
    all.into_iter().find(|to| types.iter().all(|t| t.is_lossless_into(*to)))
}

/// One type for sets that share a dataset.
pub(crate) fn joint_type(path: &Path, sets: &[RefSpec], pick: &[usize]) -> Result<DType> {
    common(pick.iter().map(|&i| sets[i].dtype)).ok_or_else(|| {
        Error::caller("no type holds the values of all these flats or darks exactly")
            .path(path)
            .found(pick.iter().map(|&i| sets[i].dtype.name()).collect::<Vec<_>>().join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_types_lose_nothing() {
        use DType::*;
        assert_eq!(common([U16, U16]), Some(U16));
        assert_eq!(common([U16, F32]), Some(F32));
        assert_eq!(common([U16, I16]), Some(I32));
        assert_eq!(common([U32, F32]), Some(F64));
        assert_eq!(common([U64, F32]), None);
    }
}
