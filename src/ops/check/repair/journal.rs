//! The journal of a repair, `x.repair.json`, and the new slices in `x.repair.part`. It is written when the new slices are
//! safely on disk, and removed when they are safely in the volume.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use tomokit_formats::io::{ReadAt, with_suffix};
use tomokit_formats::{DType, Error, Result, Shape, VolumeMeta, io};

/// One slice on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Patch {
    /// Number in the volume.
    pub slice: usize,
    /// SHA-256 of the new bytes.
    pub new: String,
    /// SHA-256 of what was there; absent where nothing was.
    pub old: Option<String>,
}

/// What is being done to a volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    /// Version and program.
    pub software: String,
    /// Raw data the new slices were made from.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub scan: PathBuf,
    /// Slices, rows, columns.
    pub shape: Shape,
    /// Type of the voxels.
    pub dtype: DType,
    /// For the sidecars.
    pub meta: VolumeMeta,
    /// The new slices, in the order they lie in the `.part` file.
    pub slices: Vec<Patch>,
}

/// Where the journal of a volume lies.
pub fn journal_path(volume: &Path) -> PathBuf {
    with_suffix(volume, ".repair.json")
}

/// Where the new slices lie.
pub fn data_path(volume: &Path) -> PathBuf {
    with_suffix(volume, ".repair.part")
}

/// Lower-case hexadecimal SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// How far a slice is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As before the repair.
    Old,
    /// As after.
    New,
    /// Was being written when the run ended.
    Partly,
}

impl Journal {
    /// The journal of a volume, where a repair was interrupted.
    ///
    /// # Errors
    /// Where it cannot be understood.
    pub fn read(volume: &Path) -> Result<Option<Journal>> {
        let path = journal_path(volume);
        if !path.is_file() {
            return Ok(None);
        }
        let text = io::read_small_text(&path, 256 << 20)?;
        let j: Journal = serde_json::from_str(&text).map_err(|e| {
            Error::file(&path, "the journal of a repair cannot be understood")
                .source(e)
                .hint("remove it to begin again: the slices it was about may be half written")
        })?;
        j.shape.len()?;
        Ok(Some(j))
    }

    /// Bytes of a slice.
    pub fn slice_bytes(&self) -> usize {
        self.shape.frame_len() * self.dtype.size()
    }

    /// Checks that every new slice is there, as it was.
    ///
    /// # Errors
    /// `File` where it is not: then the journal cannot be followed.
    pub fn check_data(&self, volume: &Path) -> Result<ReadAt> {
        let path = data_path(volume);
        let file = ReadAt::open(&path)?;
        let n = self.slice_bytes();
        let mut buffer = vec![0u8; n];
        for (i, p) in self.slices.iter().enumerate() {
            file.read_exact_at(&mut buffer, (i * n) as u64)?;
            if sha256(&buffer) != p.new {
                return Err(Error::file(&path, format!("the new slice {} is not as it was written", p.slice))
                    .hint("remove the journal and this file, and repair again"));
            }
        }
        Ok(file)
    }
}

/// True where the volume is the one that was being repaired: slices are written one after the other, so that one at most is
/// neither as before nor as after, and nothing lies behind the last.
///
/// # Errors
/// What reading says.
pub fn is_of(volume: &Path, j: &Journal) -> Result<bool> {
    let len = ReadAt::open(volume)?.len();
    let states = states(volume, j)?;
    // A slice that was not whole before says nothing.
    let known = j.slices.iter().zip(&states).filter(|(p, _)| p.old.is_some());
    let partly = known.filter(|(_, (_, s))| *s == State::Partly).count();
    Ok(partly <= 1 && len <= (j.slice_bytes() * j.shape.frames) as u64)
}

/// Which slices of an interrupted repair are old, new, or partly written.
///
/// # Errors
/// What reading says.
pub fn states(volume: &Path, j: &Journal) -> Result<Vec<(usize, State)>> {
    let file = ReadAt::open(volume)?;
    let n = j.slice_bytes();
    let mut buffer = vec![0u8; n];
    let mut out = Vec::new();
    for p in &j.slices {
        let at = (p.slice * n) as u64;
        let there = at + n as u64 <= file.len();
        let state = if there {
            file.read_exact_at(&mut buffer, at)?;
            let now = sha256(&buffer);
            if now == p.new {
                State::New
            } else if p.old.as_deref() == Some(&now) {
                State::Old
            } else {
                State::Partly
            }
        } else if p.old.is_none() && file.len() <= at {
            State::Old
        } else {
            State::Partly
        };
        out.push((p.slice, state));
    }
    Ok(out)
}
