//! Copying a scan that can be read into any layout, block by block.

use super::{Part, ScanSpec, ScanWriteOptions, ScanWriter, parts};
use crate::{Error, FrameSource, Region, Result, Scan};
use std::path::{Path, PathBuf};

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
        // Whole chunks of both sides where they fit: none is decoded twice, and all are packed by all threads.
        let most = (BLOCK / per_frame).max(1);
        let target = options.storage.chunk.map_or(1, |c| c[0].max(1));
        let whole = |n: usize| (n <= most).then(|| most / n * n);
        let step = unit.checked_mul(target).and_then(whole).or(whole(unit)).or(whole(target)).unwrap_or(most);
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
