//! How fast this machine is: milliseconds per slice for every back end and size, disk rates, and what that means for a
//! scan. Measures; writes nothing but a temporary file in the folder it is given.

use super::rates::{DiskRate, corrected_per_s, disk, slice_seconds};
use crate::recon::{Backend, FbpPlan, Geometry, Options};
use crate::stream::{Budget, Cancel, Progress};
use serde::Serialize;
use std::path::PathBuf;
use tomokit_formats::registry::open;
use tomokit_formats::{Content, Error, OpenOptions, Result, Shape};

/// Back ends measured, the default first.
const BACKENDS: [(Backend, &str); 2] = [(Backend::Gridding, "gridding"), (Backend::Direct, "direct")];

/// What to measure.
#[derive(Clone, Debug)]
pub struct Request {
    /// Widths of slices; as many projections as columns.
    pub sizes: Vec<usize>,
    /// Folder whose disk is measured.
    pub folder: Option<PathBuf>,
    /// Bytes written and read back there.
    pub folder_bytes: u64,
    /// A scan to foretell the time of.
    pub scan: Option<PathBuf>,
    /// How to read it.
    pub open: OpenOptions,
    /// Or the size of one: projections, rows, columns, 16 bits.
    pub shape: Option<Shape>,
}

/// One measured size and back end.
#[derive(Clone, Debug, Serialize)]
pub struct Slices {
    /// Columns, rows and projections.
    pub size: usize,
    /// `gridding` or `direct`.
    pub backend: &'static str,
    /// Milliseconds per slice, all threads.
    pub ms_per_slice: f64,
}

/// What a scan would take. Reading and writing are known only where a disk was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Expected {
    /// Projections, rows, columns.
    pub shape: Shape,
    /// Bytes of projections.
    pub bytes_read: u64,
    /// Bytes of the volume of all rows, float32.
    pub bytes_written: u64,
    /// Correcting and reconstructing with the default back end.
    pub compute_seconds: f64,
    /// Reading, at the rate of the measured folder.
    pub read_seconds: Option<f64>,
    /// Writing, at the rate of the measured folder.
    pub write_seconds: Option<f64>,
    /// The longest of computing and of reading and writing one after the other on that disk; they overlap.
    pub seconds: f64,
}

/// Everything measured.
#[derive(Clone, Debug, Serialize)]
pub struct Bench {
    /// Threads used.
    pub threads: usize,
    /// Processor, as the system names it.
    pub processor: String,
    /// Slices.
    pub slices: Vec<Slices>,
    /// Values corrected per second (16 bits to −log).
    pub corrected_per_s: f64,
    /// Disk.
    pub disk: Option<DiskRate>,
    /// A scan.
    pub expected: Option<Expected>,
}

/// Measures.
///
/// # Errors
/// Sizes that do not fit the memory budget; no such folder or scan; interrupted.
pub fn execute(request: &Request, budget: Budget, progress: &dyn Progress, cancel: &Cancel) -> Result<Bench> {
    // What can be refused is refused before minutes are spent.
    let shape = match &request.scan {
        Some(path) => match open(path, &request.open)?.content {
            Content::Scan(s) => Some((s.projections.shape(), s.projections.dtype().size())),
            _ => return Err(Error::caller("this is no scan").path(path)),
        },
        None => request.shape.map(|s| (s, 2)),
    };
    let mut slices = Vec::new();
    for &size in &request.sizes {
        let angles = Geometry::uniform_angles(size, std::f64::consts::PI);
        // Off the middle, as axes are.
        let geometry = Geometry::new(size, angles, (size as f64 - 1.0) / 2.0 + 3.3);
        for (backend, name) in BACKENDS {
            progress.begin(&format!("{size} {name}"), 0);
            let seconds = measure(&geometry, backend, budget, cancel)?;
            progress.end();
            slices.push(Slices { size, backend: name, ms_per_slice: seconds * 1e3 });
        }
    }
    let corrected_per_s = corrected_per_s()?;
    let disk = match &request.folder {
        Some(folder) => {
            progress.begin("disk", 0);
            let rate = disk(folder, request.folder_bytes, cancel)?;
            progress.end();
            Some(rate)
        }
        None => None,
    };
    let expected = match shape {
        Some((shape, size)) => Some(expect(shape, size, corrected_per_s, disk.as_ref(), budget, progress, cancel)?),
        None => None,
    };
    Ok(Bench { threads: rayon::current_num_threads(), processor: processor(), slices, corrected_per_s, disk, expected })
}

fn measure(geometry: &Geometry, backend: Backend, budget: Budget, cancel: &Cancel) -> Result<f64> {
    let fbp = FbpPlan::new(geometry, &Options { backend, ..Options::default() })?;
    let needed = fbp.memory_bytes(fbp.lanes(), rayon::current_num_threads());
    if needed > budget.bytes {
        return Err(Error::limit(format!(
            "measuring slices of {} columns does not fit the memory budget",
            geometry.cols
        ))
        .expected(format!("at most {} bytes", budget.bytes))
        .found(format!("{needed} bytes"))
        .hint("raise --memory or leave this size out"));
    }
    slice_seconds(&fbp, cancel)
}

fn expect(
    shape: Shape,
    value_size: usize,
    corrected_per_s: f64,
    disk: Option<&DiskRate>,
    budget: Budget,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Expected> {
    let too_large = || Error::limit("a scan of this size is beyond any disk").found(shape);
    let bytes_read = shape.len()?.checked_mul(value_size as u64).ok_or_else(too_large)?;
    let volume = Shape::new(shape.rows, shape.cols, shape.cols);
    let bytes_written = volume.len()?.checked_mul(4).ok_or_else(too_large)?;
    let angles = Geometry::uniform_angles(shape.frames, std::f64::consts::PI);
    let geometry = Geometry::new(shape.cols, angles, (shape.cols as f64 - 1.0) / 2.0 + 3.3);
    progress.begin("the scan's slices", 0);
    let slice = measure(&geometry, BACKENDS[0].0, budget, cancel)?;
    progress.end();
    let compute_seconds = slice * shape.rows as f64 + shape.len()? as f64 / corrected_per_s;
    let read_seconds = disk.map(|d| bytes_read as f64 / d.read_per_s);
    let write_seconds = disk.map(|d| bytes_written as f64 / d.write_per_s);
    let by_disk = read_seconds.unwrap_or(0.0) + write_seconds.unwrap_or(0.0);
    Ok(Expected {
        shape,
        bytes_read,
        bytes_written,
        compute_seconds,
        read_seconds,
        write_seconds,
        seconds: compute_seconds.max(by_disk),
    })
}

fn processor() -> String {
    let what = sysinfo::RefreshKind::nothing().with_cpu(sysinfo::CpuRefreshKind::nothing());
    let system = sysinfo::System::new_with_specifics(what).ok();
    let brand = system.as_ref().and_then(|s| s.cpus().first()).map(|c| c.brand().trim().to_owned());
    brand.filter(|b| !b.is_empty()).unwrap_or("unknown".into())
}
