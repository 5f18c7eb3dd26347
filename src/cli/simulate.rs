//! `tomo simulate`: a scan to try things on.

use crate::cli::common::Context;
use crate::cli::{Exit, Tool, human, output};
use crate::ops::simulate::{Request, execute, plan};
use crate::phantom::{CameraOptions, Kind};
use clap::Args;
use std::path::PathBuf;
use tomokit_formats::Result;
use tomokit_formats::scan_out::{ScanLayout, Storage};

/// Arguments of `tomo simulate`.
#[derive(Args, Debug)]
pub struct Simulate {
    /// Folder (flyscan, edf, tiff) or file (nxtomo, dxchange) to write
    #[arg(value_name = "DST")]
    output: PathBuf,
    /// Layout: flyscan (SOLEIL), nxtomo, dxchange, edf (PyHST2: averaged flats and dark, .par), tiff (sub-folders)
    #[arg(long, value_name = "NAME", default_value = "flyscan", value_parser = parse_layout)]
    layout: ScanLayout,
    /// Detector columns
    #[arg(long, value_name = "N", default_value_t = 256)]
    size: usize,
    /// Detector rows [default: half the columns]
    #[arg(long, value_name = "N")]
    rows: Option<usize>,
    /// Number of projections [default: 1.5 × the columns]
    #[arg(long, value_name = "N")]
    projections: Option<usize>,
    /// Angular range, degrees [default: 180, or 360 for an extended field]
    #[arg(long, value_name = "DEG", allow_hyphen_values = true)]
    range: Option<f64>,
    /// Rotation axis relative to the middle of the detector, columns [default: 0, or 0.35 × size for an extended field]
    #[arg(long, value_name = "PX", allow_hyphen_values = true)]
    axis_offset: Option<f64>,
    /// How far the axis leans against the detector's columns, degrees: positive towards higher columns at higher rows
    #[arg(long, value_name = "DEG", default_value_t = 0.0, allow_hyphen_values = true)]
    tilt: f64,
    /// Extended field: the sample is wider than the detector
    #[arg(long)]
    extended: bool,
    /// Pixel size, µm
    #[arg(long, value_name = "UM", default_value_t = 0.65)]
    pixel_size: f64,
    /// Phantom: grains, shepp, disc
    #[arg(long, value_name = "NAME", default_value = "grains", value_parser = |s: &str| s.parse::<Kind>().map_err(|e| e.to_string()))]
    phantom: Kind,
    /// Attenuation of the bulk, 1/cm [default: about half the beam is absorbed]
    #[arg(long, value_name = "MU")]
    mu: Option<f64>,
    /// Rays per pixel edge, averaged
    #[arg(long, value_name = "N", default_value_t = 1)]
    samples: usize,
    /// Also write the true volume
    #[arg(long, value_name = "VOLUME")]
    truth: Option<PathBuf>,
    /// Replace an existing scan
    #[arg(long)]
    overwrite: bool,
    /// Print what would be written and stop
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    camera: CameraArgs,
    #[command(flatten)]
    storage: StorageArgs,
}

/// Beam and camera.
#[derive(Args, Debug)]
#[command(next_help_heading = "Beam and camera")]
struct CameraArgs {
    /// Flats before and after the scan
    #[arg(long, value_name = "N,M", default_value = "20,20", value_parser = parse_pair)]
    flats: [usize; 2],
    /// Darks
    #[arg(long, value_name = "N", default_value_t = 20)]
    darks: usize,
    /// Mean counts of a flat above the dark level
    #[arg(long, value_name = "N", default_value_t = 30000.0)]
    counts: f64,
    /// Photon noise: photons per count (small = noisy)
    #[arg(long, value_name = "N")]
    photons: Option<f64>,
    /// Structure of the beam, relative
    #[arg(long, value_name = "F", default_value_t = 0.15)]
    structure: f64,
    /// Vertical drift of the beam's structure over the scan, pixels
    #[arg(long, value_name = "PX", default_value_t = 0.0, allow_hyphen_values = true)]
    drift: f64,
    /// Relative loss of intensity over the scan
    #[arg(long, value_name = "F", default_value_t = 0.0)]
    decay: f64,
    /// Fraction of pixels with a bad response: rings
    #[arg(long, value_name = "F", default_value_t = 0.0)]
    rings: f64,
    /// Probability of a hot pixel, per pixel and projection
    #[arg(long, value_name = "F", default_value_t = 0.0)]
    spikes: f64,
    /// Projections that are lost (all zero): numbers separated by commas
    #[arg(long, value_name = "K,…", value_delimiter = ',')]
    lost: Vec<usize>,
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// How HDF5 layouts store frames.
#[derive(Args, Debug)]
#[command(next_help_heading = "Storage (HDF5 layouts)")]
struct StorageArgs {
    /// Chunk shape: frames x rows x columns [default: contiguous]
    #[arg(long, value_name = "FxRxC", value_parser = parse_chunk)]
    chunk: Option<[usize; 3]>,
    /// Compress with shuffle and deflate of this level, 1 to 9
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(1..=9))]
    deflate: Option<u8>,
}

fn parse_layout(text: &str) -> std::result::Result<ScanLayout, String> {
    ScanLayout::parse(text).ok_or_else(|| {
        let known: Vec<_> = ScanLayout::ALL.iter().map(|l| l.name()).collect();
        format!("unknown layout; known: {}", known.join(", "))
    })
}

fn numbers<const N: usize>(text: &str, separators: &[char]) -> Option<[usize; N]> {
    let all: Option<Vec<usize>> = text.split(separators).map(|p| p.trim().parse().ok()).collect();
    all?.try_into().ok()
}

fn parse_pair(text: &str) -> std::result::Result<[usize; 2], String> {
    numbers(text, &[',']).ok_or_else(|| "write before,after, for example 20,20".into())
}

fn parse_chunk(text: &str) -> std::result::Result<[usize; 3], String> {
    numbers(text, &['x', ','])
        .filter(|c| c.iter().all(|n| *n > 0))
        .ok_or_else(|| "write frames x rows x columns, for example 1x2048x2048".into())
}

impl Tool for Simulate {
    const NAME: &'static str = "simulate";
    const ABOUT: &'static str = "Simulate a scan of a known sample, to try the tools on and to test them";
    const EXAMPLES: &'static str =
        "  tomo simulate scan1                                 a small scan in SOLEIL's layout
  tomo simulate scan1 --size 512 --photons 0.1 --rings 0.001 --drift 2 --truth true.vol
  tomo simulate half1 --extended --size 512           360°, axis near the edge
  tomo simulate s.nxs --layout nxtomo --chunk 1x128x256 --deflate 4
";

    fn run(self, context: &Context) -> Result<Exit> {
        let c = &self.camera;
        let request = Request {
            layout: self.layout,
            storage: Storage { chunk: self.storage.chunk, deflate: self.storage.deflate },
            overwrite: self.overwrite,
            cols: self.size,
            rows: self.rows.unwrap_or((self.size / 2).max(1)),
            projections: self.projections.unwrap_or((self.size * 3).div_ceil(2)),
            range_deg: self.range.unwrap_or(if self.extended { 360.0 } else { 180.0 }),
            tilt_deg: self.tilt,
            axis_offset_px: self.axis_offset.unwrap_or(if self.extended { 0.35 * self.size as f64 } else { 0.0 }),
            extended: self.extended,
            pixel_um: self.pixel_size,
            kind: self.phantom,
            mu_per_cm: self.mu,
            samples: self.samples,
            flats: c.flats,
            darks: c.darks,
            camera: CameraOptions {
                seed: c.seed,
                flat_counts: c.counts,
                photons_per_count: c.photons,
                structure: c.structure,
                drift_px: c.drift,
                decay: c.decay,
                ring_fraction: c.rings,
                spike_rate: c.spikes,
                lost: c.lost.clone(),
                ..CameraOptions::default()
            },
            truth: self.truth.clone(),
            output: self.output.clone(),
        };
        let plan = plan(&request, context.budget)?;
        if self.dry_run {
            match context.json {
                true => output::json(&plan)?,
                false => output::print(&format!(
                    "would write {} ({}): {} projections of {} × {} pixels over {}°, axis at column {}, {}\n",
                    plan.output.display(),
                    plan.layout,
                    plan.shape.frames,
                    plan.shape.cols,
                    plan.shape.rows,
                    plan.range_deg,
                    plan.rotation_axis_px,
                    human::bytes(plan.bytes_written)
                ))?,
            }
            return Ok(Exit::Done);
        }
        let files = execute(&plan, &context.progress, &context.cancel)?;
        if context.json {
            output::json(&serde_json::json!({ "outputs": files, "plan": plan }))?;
        } else if !context.quiet {
            let mut text = format!(
                "{}: {} projections of {} × {} pixels over {}°, axis at column {}, bulk {} 1/cm\n",
                plan.output.display(),
                plan.shape.frames,
                plan.shape.cols,
                plan.shape.rows,
                plan.range_deg,
                human::number(plan.rotation_axis_px),
                human::number(plan.mu_per_cm)
            );
            if let Some(t) = &plan.truth {
                text += &format!("{}: the true volume\n", t.display());
            }
            output::print(&text)?;
        }
        Ok(Exit::Done)
    }
}
