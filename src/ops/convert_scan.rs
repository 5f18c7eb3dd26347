//! Copies a whole scan (projections, flats, darks, angles, geometry) from one layout to another, values unchanged.

use crate::ops::over::refuse_over_scan;
use crate::stream::{Cancel, Progress};
use serde::Serialize;
use std::path::{Path, PathBuf};
use tomokit_formats::registry::open;
use tomokit_formats::scan_out::{ScanLayout, ScanSpec, ScanWriteOptions, write_scan};
use tomokit_formats::{Content, Error, OpenOptions, Result, Scan};

/// A scan to copy.
#[derive(Serialize)]
pub struct Plan {
    /// Scan as given.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub input: PathBuf,
    /// Layout it was read with.
    pub input_layout: &'static str,
    /// What is written.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub output: PathBuf,
    /// Layout written.
    pub output_layout: &'static str,
    /// Projections.
    pub projections: usize,
    /// Frames of flats.
    pub flats: usize,
    /// Frames of darks.
    pub darks: usize,
    /// Bytes of pixel values.
    pub bytes_written: u64,
    /// Oddities of the input.
    pub warnings: Vec<String>,
    #[serde(skip)]
    scan: Scan,
    #[serde(skip)]
    spec: ScanSpec,
    #[serde(skip)]
    options: ScanWriteOptions,
}

/// Opens the scan and checks that the layout can hold it.
pub fn plan(input: &Path, open_options: &OpenOptions, output: &Path, options: &ScanWriteOptions) -> Result<Plan> {
    let opened = open(input, open_options)?;
    let Content::Scan(scan) = opened.content else {
        return Err(Error::caller(format!("only a scan can be written as {}", options.layout.name()))
            .path(input)
            .found("a volume or a stack without flats and angles")
            .hint("to store a volume in HDF5 use --to nexus"));
    };
    scan.refuse_damaged(input)?;
    refuse_over_scan(output, input, &scan)?;
    tomokit_formats::durable::refuse_existing(output, options.overwrite)?;
    let spec = ScanSpec::of(&scan);
    let count = |sets: &[tomokit_formats::model::RefSet]| sets.iter().map(|s| s.source.shape().frames).sum();
    Ok(Plan {
        input: input.to_owned(),
        input_layout: scan.layout,
        output: output.to_owned(),
        output_layout: options.layout.name(),
        projections: scan.projections.shape().frames,
        flats: count(&scan.flats),
        darks: count(&scan.darks),
        bytes_written: spec.bytes()?,
        warnings: opened.warnings.texts(),
        scan: *scan,
        spec,
        options: options.clone(),
    })
}

/// Copies it. Returns the files, the main one first.
pub fn execute(plan: &Plan, progress: &dyn Progress, cancel: &Cancel) -> Result<Vec<PathBuf>> {
    progress.begin("copying scan", plan.bytes_written);
    let mut before = 0;
    let mut tell = |done: u64| {
        progress.advance(done - before);
        before = done;
        cancel.check()
    };
    let files = write_scan(&plan.output, &plan.scan, &plan.spec, &plan.options, &mut tell);
    progress.end();
    files
}

/// The layout a `--to` name means, if it is one of a scan rather than of a volume: `nxtomo`, and `edf-scan` where the
/// name alone means a volume.
pub fn layout_of(to: &str) -> Option<ScanLayout> {
    if let Some(name) = to.trim().to_ascii_lowercase().strip_suffix("-scan") {
        return ScanLayout::parse(name);
    }
    ScanLayout::parse(to).filter(|l| tomokit_formats::registry::by_name(l.name()).is_err())
}
