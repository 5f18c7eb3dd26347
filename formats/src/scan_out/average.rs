//! Series of flats or darks on their way to one averaged frame: kept on disk as they come, combined by bands of rows, so
//! that memory holds one frame and one band, however long the series.

use super::{Part, RefSpec};
use crate::error::OnPath;
use crate::io::{read_at, write_all_at};
use crate::model::{Combine, combine};
use crate::{DType, Error, Result, Shape};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Bytes of a band: float32 values of all frames.
const BAND: usize = 64 << 20;

/// The frames of one set, in a file without a name that vanishes with this value.
pub(crate) struct Kept {
    part: Part,
    spec: RefSpec,
    shape: Shape,
    file: File,
    dir: PathBuf,
}

impl Kept {
    /// Room for the frames of `part` (rows and columns of `shape`) on the disk of `dir`.
    pub fn create(dir: &Path, part: Part, spec: &RefSpec, shape: Shape) -> Result<Kept> {
        let file = tempfile::tempfile_in(dir).on(dir, "creating a temporary file")?;
        Ok(Kept { part, spec: spec.clone(), shape, file, dir: dir.to_owned() })
    }

    fn frame_bytes(&self) -> u64 {
        (self.shape.frame_len() * self.spec.dtype.size()) as u64
    }

    /// Whose frames these are.
    pub fn part(&self) -> Part {
        self.part
    }

    /// Keeps frames from number `first` on.
    pub fn put(&self, first: usize, frames: &[u8]) -> Result<()> {
        write_all_at(&self.file, frames, first as u64 * self.frame_bytes()).on(&self.dir, "writing a temporary file")
    }

    fn read(&self, out: &mut [u8], offset: u64) -> Result<()> {
        let n = read_at(&self.file, out, offset).on(&self.dir, "reading a temporary file")?;
        if n == out.len() { Ok(()) } else { Err(Error::caller("a frame of this series was never put")) }
    }

    /// Rows from `row` on of one frame, as float32.
    fn band(&self, frame: usize, row: usize, bytes: &mut Vec<u8>, out: &mut [f32]) -> Result<()> {
        let size = self.spec.dtype.size();
        bytes.resize(out.len() * size, 0);
        self.read(bytes, frame as u64 * self.frame_bytes() + (row * self.shape.cols * size) as u64)?;
        self.spec.dtype.to_f32(bytes, out);
        Ok(())
    }
}

/// All frames of these sets as one: its type and bytes. A set that is one averaged frame already stays as it is.
pub(crate) fn average(sets: &[&Kept], how: Combine) -> Result<(DType, Vec<u8>)> {
    if let [one] = sets
        && one.spec.averaged
        && one.spec.frames == 1
        && one.spec.dtype != DType::F16
    {
        let mut bytes = vec![0; one.frame_bytes() as usize];
        one.read(&mut bytes, 0)?;
        return Ok((one.spec.dtype, bytes));
    }
    let shape = sets.first().ok_or_else(|| Error::caller("there are no frames to combine"))?.shape;
    let all: Vec<(&Kept, usize)> = sets.iter().flat_map(|k| (0..k.spec.frames).map(move |f| (*k, f))).collect();
    let rows = (BAND / 4 / all.len() / shape.cols.max(1)).clamp(1, shape.rows);
    let mut out = vec![0f32; shape.frame_len()];
    let (mut bytes, mut values) = (Vec::new(), Vec::new());
    for (i, out) in out.chunks_mut(rows * shape.cols).enumerate() {
        values.resize(all.len() * out.len(), 0f32);
        for ((kept, frame), band) in all.iter().zip(values.chunks_exact_mut(out.len())) {
            kept.band(*frame, i * rows, &mut bytes, band)?;
        }
        let bands: Vec<&[f32]> = values.chunks_exact(out.len()).collect();
        combine(&bands, how, out)?;
        values.clear();
    }
    Ok((DType::F32, bytemuck::cast_slice(&out).to_vec()))
}
