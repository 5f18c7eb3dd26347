//! Gathers what can be known about a path: what it is and why, its shape and type, a scan's flats, darks, angles and
//! axis, what is on disk, and on demand statistics of every value. Formatting is left to the caller.

use crate::quantise::Statistics;
use crate::stream::{Budget, Cancel, Pool, Progress, run};
use serde::Serialize;
use std::path::{Path, PathBuf};
use tomokit_formats::model::{Facts, FieldOfView};
use tomokit_formats::registry::{self, Candidate, Confidence, TreeLine};
use tomokit_formats::{Content, Error, FrameSource, OpenOptions, Region, Result, Scan, Shape, VolumeMeta};

/// Why a format was chosen, or came second.
#[derive(Clone, Debug, Serialize)]
pub struct Claim {
    /// Format.
    pub format: &'static str,
    /// How sure its probe is.
    pub confidence: Confidence,
    /// Its reason.
    pub reason: String,
}

/// Space on disk.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Disk {
    /// Number of files.
    pub files: u64,
    /// Sum of their lengths, bytes.
    pub bytes: u64,
    /// Sum of the space they occupy, bytes; less than `bytes` where files have holes. Absent where unknown.
    pub allocated: Option<u64>,
}

impl Disk {
    /// Bytes of holes: never written, read as zeros.
    pub fn holes(&self) -> u64 {
        self.allocated.map_or(0, |a| self.bytes.saturating_sub(a))
    }
}

/// One series of flats or darks.
#[derive(Clone, Debug, Serialize)]
pub struct RefSummary {
    /// Where it came from.
    pub origin: String,
    /// Frames in it.
    pub frames: usize,
    /// When, in units of projections.
    pub position: f64,
    /// True for an average made earlier.
    pub averaged: bool,
}

/// A scan in numbers.
#[derive(Clone, Debug, Serialize)]
pub struct ScanSummary {
    /// Short name.
    pub name: String,
    /// Layout it was read with.
    pub layout: &'static str,
    /// Number of projections.
    pub projections: usize,
    /// Where they came from.
    pub projections_origin: String,
    /// Flats.
    pub flats: Vec<RefSummary>,
    /// Darks.
    pub darks: Vec<RefSummary>,
    /// First angle, degrees.
    pub first_angle_deg: Option<f64>,
    /// Last angle, degrees.
    pub last_angle_deg: Option<f64>,
    /// Mean step, degrees.
    pub angle_step_deg: Option<f64>,
    /// Range covered, degrees.
    pub covered_deg: f64,
    /// How the angles are known.
    pub angles_origin: String,
    /// Rotation axis, 0 = centre of the first column.
    pub rotation_axis_px: Option<f64>,
    /// Pixel, µm: vertical, horizontal.
    pub pixel_um: Option<[f64; 2]>,
    /// Full or half field.
    pub field_of_view: Option<FieldOfView>,
    /// True where values are −log already.
    pub is_attenuation: bool,
    /// Size of one reconstructed volume at full width, bytes of float32.
    pub volume_bytes: u64,
}

/// Everything known about one path.
#[derive(Clone, Serialize)]
pub struct Report {
    /// As given.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub path: PathBuf,
    /// Format or layout; absent for a plain folder.
    pub format: Option<&'static str>,
    /// `volume`, `scan`, `folder`, `other`.
    pub kind: &'static str,
    /// Why this format.
    pub why: Vec<Claim>,
    /// Frames, rows, columns.
    pub shape: Option<Shape>,
    /// Type of the values, NumPy's name.
    pub dtype: Option<&'static str>,
    /// Bytes of all values.
    pub value_bytes: Option<u64>,
    /// Smallest unit fetched at once, frames × rows × cols; 1 × 1 × 1 = any byte.
    pub access_unit: Option<Shape>,
    /// On disk.
    pub disk: Disk,
    /// Volume metadata.
    pub meta: Option<VolumeMeta>,
    /// Scan summary.
    pub scan: Option<ScanSummary>,
    /// What the file says about itself.
    pub facts: Facts,
    /// Oddities.
    pub warnings: Vec<String>,
    /// Statistics, on demand.
    pub statistics: Option<Statistics>,
    /// Tree of a container, on demand.
    pub tree: Option<Vec<TreeLine>>,
    /// Why the content cannot be opened, where only the container could be looked at.
    pub error: Option<String>,
    /// The same with its chain and hint.
    #[serde(skip)]
    pub failure: Option<std::sync::Arc<Error>>,
    /// Links and virtual sources of a container that do not resolve, where it cannot be opened.
    pub unresolved: Vec<TreeLine>,
    /// Things found in a plain folder.
    pub items: Vec<Report>,
    /// The values, for pictures.
    #[serde(skip)]
    pub source: Option<std::sync::Arc<dyn FrameSource>>,
}

/// What to gather.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Read every value.
    pub statistics: bool,
    /// List the tree of containers.
    pub tree: bool,
}

/// Gathers a report about `arg`, which may be `file.h5:/dataset`.
pub fn gather(
    arg: &Path,
    options: &OpenOptions,
    wanted: Wanted,
    budget: Budget,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Report> {
    let (path, _) = registry::split_dataset(arg);
    let candidate = Candidate::look(&path)?;
    let claims = registry::claims(&candidate);
    let why = claims
        .iter()
        .map(|(f, h)| Claim { format: f.name, confidence: h.confidence, reason: h.reason.clone() })
        .collect::<Vec<_>>();
    if candidate.is_dir && claims.is_empty() && options.format.is_none() {
        return folder(arg, &candidate, options, wanted, budget, progress, cancel);
    }
    let mut report = Report {
        path: arg.to_owned(),
        format: None,
        kind: "other",
        why,
        shape: None,
        dtype: None,
        value_bytes: None,
        access_unit: None,
        disk: disk_use(&path)?,
        meta: None,
        scan: None,
        facts: Facts::default(),
        warnings: Vec::new(),
        statistics: None,
        tree: None,
        error: None,
        failure: None,
        unresolved: Vec::new(),
        items: Vec::new(),
        source: None,
    };
    if wanted.tree {
        let spec = spec_of(&path, options)?;
        let list = spec.tree.ok_or_else(|| {
            Error::caller(format!("--tree is for containers such as HDF5, not for {}", spec.name)).path(arg)
        })?;
        report.tree = Some(list(&path)?);
    }
    let opened = match registry::open(arg, options) {
        Ok(o) => o,
        // What is in a container is worth showing even where its content cannot be opened.
        Err(e) => {
            let list = spec_of(&path, options).ok().and_then(|s| s.tree);
            let Some(tree) = list.and_then(|list| list(&path).ok()) else { return Err(e) };
            report.unresolved = tree.into_iter().filter(|t| !t.ok).collect();
            if report.unresolved.is_empty() && report.tree.is_none() {
                return Err(e);
            }
            report.format = report.why.first().map(|c| c.format);
            report.error = Some(e.to_string());
            report.failure = Some(std::sync::Arc::new(e));
            return Ok(report);
        }
    };
    report.format = Some(opened.format);
    report.facts = opened.facts;
    report.warnings.extend(opened.warnings.texts());
    match &opened.content {
        Content::Volume(v) => {
            report.kind = "volume";
            report.meta = Some(v.meta.clone());
            report.source = Some(v.source.clone());
        }
        Content::Scan(s) => {
            report.kind = "scan";
            report.scan = Some(summary(s)?);
            report.source = Some(s.projections.clone());
            if !s.files.is_empty() {
                report.disk = Disk::default();
                for f in &s.files {
                    add_file(f, &mut report.disk);
                }
            }
        }
        Content::Other => {}
    }
    if let Some(source) = report.source.clone() {
        let shape = source.shape();
        report.shape = Some(shape);
        report.dtype = Some(source.dtype().name());
        report.value_bytes = Some(shape.len()? * source.dtype().size() as u64);
        report.access_unit = Some(source.access().unit);
        if wanted.statistics {
            report.statistics = Some(statistics(&*source, budget, progress, cancel)?);
        }
    }
    Ok(report)
}

fn spec_of(path: &Path, options: &OpenOptions) -> Result<&'static registry::FormatSpec> {
    match &options.format {
        Some(name) => registry::by_name(name),
        None => Ok(registry::probe(path)?.0),
    }
}

/// A folder that is nothing by itself: the things in it, one level deep.
fn folder(
    arg: &Path,
    candidate: &Candidate,
    options: &OpenOptions,
    wanted: Wanted,
    budget: Budget,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Report> {
    let mut items = Vec::new();
    let mut warnings = Vec::new();
    for name in &candidate.entries {
        cancel.check()?;
        let path = candidate.path.join(name);
        let Ok(inner) = Candidate::look(&path) else { continue };
        if registry::claims(&inner).is_empty() {
            continue;
        }
        match gather(&path, options, wanted, budget, progress, cancel) {
            Ok(r) => items.push(r),
            Err(e) if e.fault() == tomokit_formats::Fault::Interrupted => return Err(e),
            Err(e) => warnings.push(e.to_string()),
        }
    }
    if items.is_empty() && warnings.is_empty() {
        return Err(Error::unsupported(arg, "no scan, series or volume recognised in this folder")
            .hint("name a file or a scan folder, or insist on a format with --format"));
    }
    Ok(Report {
        path: arg.to_owned(),
        format: None,
        kind: "folder",
        why: Vec::new(),
        shape: None,
        dtype: None,
        value_bytes: None,
        access_unit: None,
        disk: disk_use(&candidate.path)?,
        meta: None,
        scan: None,
        facts: Facts::default(),
        warnings,
        statistics: None,
        tree: None,
        error: None,
        failure: None,
        unresolved: Vec::new(),
        items,
        source: None,
    })
}

fn summary(s: &Scan) -> Result<ScanSummary> {
    let refs = |sets: &[tomokit_formats::model::RefSet]| {
        sets.iter()
            .map(|r| RefSummary {
                origin: r.origin.clone(),
                frames: r.source.shape().frames,
                position: r.position.0,
                averaged: r.averaged,
            })
            .collect()
    };
    let a = &s.angles.rad;
    let shape = s.projections.shape();
    let deg = |r: &f64| r.to_degrees();
    Ok(ScanSummary {
        name: s.name.clone(),
        layout: s.layout,
        projections: shape.frames,
        projections_origin: s.projections_origin.clone(),
        flats: refs(&s.flats),
        darks: refs(&s.darks),
        first_angle_deg: a.first().map(deg),
        last_angle_deg: a.last().map(deg),
        angle_step_deg: (a.len() > 1).then(|| (a[a.len() - 1] - a[0]).to_degrees() / (a.len() - 1) as f64),
        covered_deg: s.angles.covered_rad().to_degrees(),
        angles_origin: s.angles.origin.clone(),
        rotation_axis_px: s.rotation_axis_px,
        pixel_um: s.pixel_um,
        field_of_view: s.field_of_view,
        is_attenuation: s.is_attenuation,
        volume_bytes: Shape::new(shape.rows, shape.cols, shape.cols).len()? * 4,
    })
}

fn add_file(path: &Path, disk: &mut Disk) {
    if let Ok(m) = std::fs::metadata(path) {
        disk.files += 1;
        disk.bytes += m.len();
        let before = if disk.files == 1 { Some(0) } else { disk.allocated };
        disk.allocated = before.zip(tomokit_formats::io::allocated_bytes(path)).map(|(a, b)| a + b);
    }
}

/// Space of a file, or of everything below a folder. Links are not followed.
fn disk_use(path: &Path) -> Result<Disk> {
    let mut disk = Disk::default();
    for entry in walkdir::WalkDir::new(path).follow_root_links(true) {
        let entry = entry.map_err(|e| {
            let at = e.path().unwrap_or(path).to_owned();
            Error::new(tomokit_formats::Fault::System, "cannot look at this").path(at).source(e)
        })?;
        if entry.file_type().is_file() || (entry.depth() == 0 && !entry.file_type().is_dir()) {
            add_file(entry.path(), &mut disk);
        }
    }
    Ok(disk)
}

/// Reads every value once, in blocks, and sums up.
pub fn statistics(
    source: &dyn FrameSource,
    budget: Budget,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Statistics> {
    let (shape, dtype) = (source.shape(), source.dtype());
    budget.refuse_unit(source)?;
    // Frames together, or, where one alone is too large, its rows together.
    let row = shape.cols * dtype.size();
    let rows = budget.units(0.25, row, shape.rows);
    let frame = shape.frame_len() * dtype.size();
    let block = if rows < shape.rows { 1 } else { budget.units(0.25, frame, ((64 << 20) / frame.max(1)).max(1)) };
    if row as u64 > budget.bytes {
        return Err(Error::limit("one row does not fit the memory budget").found(shape));
    }
    let regions = (0..shape.frames).step_by(block).flat_map(|first| {
        let frames = first..(first + block).min(shape.frames);
        let bands = (0..shape.rows).step_by(rows.max(1)).map(move |y| y..(y + rows).min(shape.rows));
        bands.map(move |rows| Region::of_rows(shape, frames.clone(), rows))
    });
    let whole = |r: &Region| r.rows.len() == shape.rows;
    let mut collector = Statistics::collect(dtype);
    let pool = Pool::<Vec<u8>>::new();
    progress.begin("statistics", (shape.frames * frame) as u64);
    run(
        regions,
        0,
        cancel,
        |region| {
            if whole(&region) && source.mapped(region.frames.clone()).is_some() {
                return Ok((region, None));
            }
            let mut buffer = pool.take(Vec::new);
            buffer.resize(region.frames.len() * region.rows.len() * row, 0);
            source.read(&region, &mut buffer)?;
            Ok((region, Some(buffer)))
        },
        |(region, buffer)| {
            match buffer {
                Some(b) => {
                    collector.add(&b);
                    pool.give(b);
                }
                None => {
                    collector.add(source.mapped(region.frames.clone()).unwrap_or_default());
                    source.release(region.frames.clone());
                }
            }
            Ok(region.frames.len() * region.rows.len() * row)
        },
        |n| {
            progress.advance(n as u64);
            Ok(())
        },
    )?;
    progress.end();
    Ok(collector.finish())
}
