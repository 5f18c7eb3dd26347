//! Writing: slices go in one after the other, a `finish` commits them. Dropped unfinished, nothing carries a final name.

use crate::model::VolumeStats;
use crate::{DType, Result, Shape, VolumeMeta};
use std::path::PathBuf;

/// What a writer is asked to make.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// Size of the whole volume, known before the first slice.
    pub shape: Shape,
    /// Type of the values handed to [`SliceSink::put`].
    pub dtype: DType,
    /// Metadata to store as far as the format can.
    pub meta: VolumeMeta,
    /// Replace an existing output. Without it, an output that exists is refused.
    pub overwrite: bool,
    /// Go on with the `.part` of an interrupted run where its shape and type agree.
    pub resume: bool,
    /// First number of per-slice files.
    pub start_number: usize,
    /// Compression by name (`none`, `deflate`, `zstd`, …); each writer says which it knows.
    pub compression: Option<String>,
    /// Writer variant by name where a format has several (`series`, `bigtiff`, `imagej`, …), else the default.
    pub variant: Option<String>,
    /// Bytes a writer may hold back while it counts statistics; what is more goes to a temporary file.
    pub held_bytes: u64,
    /// Also write the sidecars (.mhd, .nhdr, ImageJ macro) beside headerless files.
    pub sidecars: bool,
}

impl CreateOptions {
    /// Plain defaults for a volume of `shape` and `dtype`.
    pub fn new(shape: Shape, dtype: DType) -> Self {
        CreateOptions {
            shape,
            dtype,
            meta: VolumeMeta::default(),
            overwrite: false,
            resume: false,
            start_number: 0,
            compression: None,
            variant: None,
            held_bytes: 64 << 20,
            sidecars: true,
        }
    }
}

/// A volume being written. Slices arrive in order; `finish` is called only after every `put` succeeded.
pub trait SliceSink: Send {
    /// Slices already stored by an earlier, interrupted run (0 unless resuming): the next `put` starts there.
    fn stored(&self) -> usize {
        0
    }

    /// Appends whole slices, native byte order, starting at slice number `first`, which must be the next one.
    fn put(&mut self, first: usize, slices: &[u8]) -> Result<()>;

    /// Keeps what was written so far for a later `resume` instead of removing it on drop.
    fn keep_partial(&mut self) {}

    /// Syncs, renames and writes sidecars last. Returns the final files, the main one first.
    /// `stats` saves the writer a second pass where it records statistics.
    fn finish(self: Box<Self>, stats: Option<&VolumeStats>) -> Result<Vec<PathBuf>>;
}
