//! The time below which a planned reconstruction cannot go on this machine: by bandwidth and by arithmetic, each from a
//! short measurement on the scan, the disk and the plan at hand. Says what was measured, so that it can be doubted.

use super::plan::Plan;
use crate::ops::rates::{corrected_per_s, disk, slice_seconds};
use crate::stream::{Cancel, Progress};
use serde::Serialize;
use std::path::Path;
use std::time::Instant;
use tomokit_formats::{Region, Result};

/// Bytes looked at to measure reading and writing.
const SAMPLE: u64 = 64 << 20;

/// Times that each stage alone would take, and what follows.
#[derive(Clone, Debug, Serialize)]
pub struct Floor {
    /// Reading and decoding, bytes as they lie in memory per second.
    pub read_per_s: f64,
    /// Writing, bytes per second.
    pub write_per_s: f64,
    /// Seconds per slice: filtering and backprojection on all threads.
    pub slice_seconds: f64,
    /// Values corrected per second on all threads.
    pub corrected_per_s: f64,
    /// Reading everything.
    pub read_seconds: f64,
    /// Correcting and reconstructing everything.
    pub compute_seconds: f64,
    /// Writing everything.
    pub write_seconds: f64,
    /// True where scan and volume are taken to share a disk: then reading and writing add up.
    pub one_disk: bool,
    /// The floor.
    pub seconds: f64,
    /// What makes it: `reading`, `writing`, `reading and writing` or `arithmetic`.
    pub bound_by: &'static str,
    /// How the numbers came about.
    pub measured: [&'static str; 3],
}

/// Measures for some seconds at most and works the floor out. Leaves nothing behind.
pub fn floor(plan: &Plan, progress: &dyn Progress, cancel: &Cancel) -> Result<Floor> {
    progress.begin("measuring", 0);
    let source = &*plan.source.projections;
    let shape = source.shape();
    // The first rows of as many projections as make up the sample, the way the run will read them.
    let rows = super::bands::runs(&plan.rows[..plan.band_rows.min(plan.rows.len())]).next().unwrap_or(0..1);
    let one = Region::of_rows(shape, 0..1, rows.clone());
    let amplification = source.access().amplification(shape, &one).max(1.0);
    let frame = (one.values() * source.dtype().size()) as f64;
    let frames = ((SAMPLE as f64 / (frame * amplification)) as usize).clamp(1, shape.frames);
    let region = Region::of_rows(shape, 0..frames, rows);
    let mut buffer = vec![0u8; region.values() * source.dtype().size()];
    let t = Instant::now();
    source.read(&region, &mut buffer)?;
    let fetched = buffer.len() as f64 * source.access().amplification(shape, &region).max(1.0);
    let read_per_s = fetched / t.elapsed().as_secs_f64().max(1e-9);
    cancel.check()?;

    let folder = match plan.output.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let write_per_s = disk(folder, SAMPLE, cancel)?.write_per_s;
    let slice_seconds = slice_seconds(&plan.fbp, cancel)?;
    let corrected_per_s = corrected_per_s()?;
    progress.end();

    let slices = plan.shape.frames as f64;
    let read_seconds = plan.bytes_read as f64 / read_per_s;
    let write_seconds = plan.bytes_written as f64 / write_per_s;
    let corrected = slices * (shape.frames * shape.cols) as f64 / corrected_per_s;
    let compute_seconds = slices * slice_seconds + corrected;
    let one_disk = same_disk(plan.source.files.first().unwrap_or(&plan.scan), folder);
    let (disk_seconds, disk_name) = match one_disk {
        true => (read_seconds + write_seconds, "reading and writing"),
        false if read_seconds > write_seconds => (read_seconds, "reading"),
        false => (write_seconds, "writing"),
    };
    let by_disk = disk_seconds > compute_seconds;
    Ok(Floor {
        read_per_s,
        write_per_s,
        slice_seconds,
        corrected_per_s,
        read_seconds,
        compute_seconds,
        write_seconds,
        one_disk,
        seconds: disk_seconds.max(compute_seconds),
        bound_by: if by_disk { disk_name } else { "arithmetic" },
        measured: [
            "reading: some of the scan itself, decoding included; faster than the disk where the system has it cached",
            "writing: 64 MiB to a temporary file beside the output, synced",
            "arithmetic: one batch of slices with this plan, all threads",
        ],
    })
}

/// True unless the two are known to lie on different file systems.
fn same_disk(a: &Path, b: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let device = |p: &Path| std::fs::metadata(p).map(|m| m.dev()).ok();
        device(a).zip(device(b)).is_none_or(|(a, b)| a == b)
    }
    #[cfg(not(unix))]
    {
        let root = |p: &Path| {
            let whole = std::fs::canonicalize(p).ok()?;
            whole.components().next().map(|c| c.as_os_str().to_owned())
        };
        root(a).zip(root(b)).is_none_or(|(a, b)| a == b)
    }
}
