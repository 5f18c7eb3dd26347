//! The choices behind a volume, complete enough to make any of its slices again: recorded beside it, read by whoever
//! mends it. What was found while the volume was made (axis, field, clip value) stands there as a choice.

use super::plan::Plan;
use super::provenance::SUFFIX;
use super::{AxisChoice, FieldChoice, Request};
use crate::ops::view::{Roi, SliceRange};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use tomokit_formats::par::text::Par;
use tomokit_formats::{CreateOptions, DType, Error, OpenOptions, Result, Shape, io};

/// How a volume was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recipe {
    /// Format the volume was written in.
    pub format: String,
    /// Slices, rows, columns.
    pub shape: Shape,
    /// Type of the voxels.
    pub dtype: DType,
    /// Every choice.
    pub choices: Request,
}

/// Writer options of a request that has none yet.
pub(super) fn no_output() -> CreateOptions {
    CreateOptions::new(Shape::new(0, 0, 0), DType::F32)
}

impl Recipe {
    /// Of a plan.
    pub fn of(plan: &Plan) -> Recipe {
        let choices = Request {
            axis: AxisChoice::At(plan.rotation_axis_px),
            field: if plan.extended_field { FieldChoice::Extended } else { FieldChoice::Full },
            zero_clip: Some(plan.zero_clip),
            ..plan.request.clone()
        };
        Recipe { format: plan.output_format.to_owned(), shape: plan.shape, dtype: plan.create.dtype, choices }
    }

    /// Where the record of a volume lies.
    pub fn record(volume: &Path) -> PathBuf {
        io::with_suffix(volume, SUFFIX)
    }

    /// Reads the record beside a volume.
    ///
    /// # Errors
    /// Where there is none, it is broken, or an older version wrote it.
    pub fn read(volume: &Path) -> Result<Recipe> {
        let path = Recipe::record(volume);
        if !path.is_file() {
            return Err(Error::caller("there is no record of how this volume was made")
                .path(volume)
                .expected(path.display())
                .hint("of a PyHST2 volume give its .par as the scan; else reconstruct it again with tomo recon"));
        }
        let text = io::read_small_text(&path, 256 << 20)?;
        let mut all: serde_json::Value =
            serde_json::from_str(&text).map_err(|e| Error::file(&path, "the record is no JSON").source(e))?;
        let recipe = all.get_mut("recipe").map(serde_json::Value::take).ok_or_else(|| {
            Error::file(&path, "the record does not hold every choice: an older version wrote it")
                .hint("reconstruct the volume again")
        })?;
        serde_json::from_value(recipe).map_err(|e| Error::file(&path, "the record cannot be understood").source(e))
    }

    /// True where the record beside a volume names the files that this plan reads: names and lengths, wherever they lie.
    ///
    /// # Errors
    /// Where the record cannot be read.
    pub fn is_of_inputs(volume: &Path, plan: &Plan) -> Result<bool> {
        let path = Recipe::record(volume);
        let all: serde_json::Value = serde_json::from_str(&io::read_small_text(&path, 256 << 20)?)
            .map_err(|e| Error::file(&path, "the record is no JSON").source(e))?;
        let of = |files: &[serde_json::Value]| -> Vec<(String, Option<u64>)> {
            let name = |v: &serde_json::Value| v["path"].as_str()?.rsplit(['/', '\\']).next().map(str::to_owned);
            let mut files: Vec<_> = files.iter().map(|v| (name(v).unwrap_or_default(), v["bytes"].as_u64())).collect();
            files.sort();
            files
        };
        let recorded = all["inputs"].as_array().map(|a| of(a)).unwrap_or_default();
        Ok(!recorded.is_empty() && recorded == of(&super::provenance::inputs(plan)))
    }

    /// From a PyHST2 parameter file: its region, its frame, and PyHST2's own numerical choices.
    ///
    /// # Errors
    /// What reading the file says.
    pub fn of_par(path: &Path, open: &OpenOptions) -> Result<Request> {
        let par = Par::read(path)?;
        let range = |i: usize| -> Result<SliceRange> {
            let at = |key: &str| par.i64(&format!("{key}_VOXEL_{i}"));
            let number = |v: Option<i64>| v.and_then(|v| usize::try_from(v).ok()).filter(|v| *v > 0);
            Ok(SliceRange { start: number(at("START")?).map(|v| v - 1), end: number(at("END")?), ..Default::default() })
        };
        let centred =
            par.dict("OPTIONS")?.is_none_or(|d| d.iter().any(|(k, v)| k == "axis_to_the_center" && v.starts_with('Y')));
        let (x, y, z) = (range(1)?, range(2)?, range(3)?);
        let whole = |r: &SliceRange, key: &str| -> Result<bool> {
            Ok(r.start.is_none_or(|s| s == 0) && r.end.is_none_or(|e| par.i64(key).is_ok_and(|n| n == Some(e as i64))))
        };
        let roi = match whole(&x, "NUM_IMAGE_1")? && whole(&y, "NUM_IMAGE_1")? {
            true => None,
            false => Some(Roi { xyz: [x, y, SliceRange::default()] }),
        };
        Ok(Request {
            scan: path.to_owned(),
            output: PathBuf::new(),
            open: open.clone(),
            to: None,
            create: no_output(),
            axis: AxisChoice::RecordedOrFound,
            slices: Some(z),
            roi,
            shifts: None,
            range_deg: None,
            angles_deg: None,
            // ANGLE_OFFSET is part of the scan's angles already.
            angle_offset_deg: 0.0,
            pixel_um: None,
            size: None,
            bin: None,
            tilt_deg: 0.0,
            detector_frame: !centred,
            field: FieldChoice::Auto,
            overlap_px: None,
            filter: crate::recon::Filter::Ramp,
            cutoff: 1.0,
            padding: crate::recon::Padding::Edge,
            unit: None,
            no_mask: false,
            pyhst: true,
            flats: crate::correct::Combine::Median,
            darks: crate::correct::Combine::Mean,
            zero_clip: None,
            grey: None,
            verify: false,
        })
    }
}

impl Request {
    /// The same for some slices of the volume only: `first..end`, counted in the volume.
    pub fn for_slices(&self, first: usize, end: usize) -> Request {
        let all = self.slices.unwrap_or_default();
        let bin = self.bin.unwrap_or(1).max(1);
        // Detector rows from slice to slice, and the last slice is made of `bin` of them.
        let stride = all.step.unwrap_or(1).max(1) * bin;
        let start = all.start.unwrap_or(0) + first * stride;
        let slices =
            SliceRange { start: Some(start), end: Some(start + (end - first - 1) * stride + bin), step: all.step };
        Request { slices: Some(slices), ..self.clone() }
    }
}
