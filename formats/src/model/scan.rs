//! A tomography scan: projections, flats, darks, angles and geometry, whatever file layout they came from.
//! Conversion from a layout's own origin and unit happens in that layout's module.

use crate::source::FrameSource;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// When a set of flats (or darks) was taken, in units of projections: 0 = before the first, N = after the last.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct RefPosition(pub f64);

/// One series of flats or darks taken together.
#[derive(Clone)]
pub struct RefSet {
    /// The frames, same rows and columns as the projections.
    pub source: Arc<dyn FrameSource>,
    /// When they were taken.
    pub position: RefPosition,
    /// True where the file holds an average already (`ref_2d`, PyHST2's refHST, dark.edf).
    pub averaged: bool,
    /// Where they came from, for reports: `pre_ref.nxs:/ref_0`.
    pub origin: String,
}

/// Rotation angles and how they are known.
#[derive(Clone, PartialEq, Debug)]
pub struct Angles {
    /// One angle per projection, radians, in frame order.
    pub rad: Vec<f64>,
    /// How they are known, for reports: `tomo1Rz1`, `ANGLE_BETWEEN_PROJECTIONS`, `assumed 0..180`.
    pub origin: String,
}

impl Angles {
    /// Angular range covered, radians: last minus first plus one mean step.
    pub fn covered_rad(&self) -> f64 {
        let n = self.rad.len();
        if n < 2 {
            return 0.0;
        }
        let span = (self.rad[n - 1] - self.rad[0]).abs();
        span + span / (n - 1) as f64
    }

    /// True for scans in several passes, each of which takes angles between those of the others: together they are evenly
    /// spread, and the steps of each pass are two of these or more. `rad`: one angle per projection, in frame order.
    pub fn are_interlaced(rad: &[f64]) -> bool {
        let steps_of = |v: &[f64]| v.windows(2).map(|w| w[1] - w[0]).collect::<Vec<f64>>();
        let mut sorted = rad.to_vec();
        sorted.sort_by(f64::total_cmp);
        let fine = steps_of(&sorted);
        if fine.len() < 3 {
            return false;
        }
        let mean = (sorted[sorted.len() - 1] - sorted[0]) / fine.len() as f64;
        let even = fine.iter().filter(|s| (*s - mean).abs() < 0.25 * mean).count() * 100 >= fine.len() * 98;
        let mut own: Vec<f64> = steps_of(rad).iter().map(|s| s.abs()).collect();
        own.sort_by(f64::total_cmp);
        mean > 0.0 && even && own[own.len() / 2] > 1.9 * mean
    }
}

/// Width seen by the detector.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FieldOfView {
    /// The axis is near the middle of the detector.
    Full,
    /// Extended field (a.k.a. half acquisition): 360° with the axis near one edge.
    Half,
}

/// A scan ready to be corrected and reconstructed.
#[derive(Clone)]
pub struct Scan {
    /// Short name, usually the scan folder's or file's stem.
    pub name: String,
    /// Layout it was read with: `flyscan`, `nxtomo`, `dxchange`, `par`, `edf`, `tiff`.
    pub layout: &'static str,
    /// Projections only: flats, darks and invalid frames are already left out.
    pub projections: Arc<dyn FrameSource>,
    /// Where the projections came from: `scan.nxs:/flyscan_0003/scan_data/orca_image`.
    pub projections_origin: String,
    /// Flats in order of position; empty where missing (a warning says so).
    pub flats: Vec<RefSet>,
    /// Darks; empty where missing.
    pub darks: Vec<RefSet>,
    /// One angle per projection.
    pub angles: Angles,
    /// Column of the rotation axis, 0 = centre of the first column; `None` where the file does not say.
    pub rotation_axis_px: Option<f64>,
    /// Detector pixel in µm, vertical then horizontal.
    pub pixel_um: Option<[f64; 2]>,
    /// Full or half (extended) field, where the file says.
    pub field_of_view: Option<FieldOfView>,
    /// True where the values are already −log (sinograms, "corrected" projections).
    pub is_attenuation: bool,
    /// Lower clip of transmission before the logarithm, where the file names one (PyHST2 ZEROCLIPVALUE).
    pub zero_clip: Option<f64>,
    /// Text file with the movement of every projection (pixels: horizontal, optionally vertical), where the scan names one
    /// that is to be applied (PyHST2 AXIS_CORRECTION_FILE).
    pub movement: Option<PathBuf>,
    /// Columns of the hand-over between opposite projections of an extended field, where the file says (PENTEZONE).
    pub overlap_px: Option<f64>,
    /// Per-projection machine current, where present; same length as the projections.
    pub current: Option<Vec<f64>>,
    /// Flats or darks that are there but cannot be read, in words. Whoever computes with the scan must refuse then:
    /// a missing reference may be replaced by its neighbours with a warning, a damaged one is a broken copy.
    pub damaged: Vec<String>,
    /// Every file the scan is made of, for provenance and completeness.
    pub files: Vec<PathBuf>,
}

impl Scan {
    /// Fails where flats or darks are there but cannot be read; `path` is the scan as the user named it.
    ///
    /// # Errors
    /// `File`, with what is wrong with the first of them.
    pub fn refuse_damaged(&self, path: &Path) -> Result<()> {
        match self.damaged.first() {
            None => Ok(()),
            Some(what) => Err(Error::file(path, format!("flats or darks cannot be read: {what}"))
                .hint("copy the file again; to go on without it, move it out of the folder")),
        }
    }
}
