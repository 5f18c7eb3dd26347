//! The `.par` of a scan just written: PyHST2's keys for reading its files, in the order of the beamlines' own, then what
//! is known of the stages as comments. Leaves to others: the files themselves.

use crate::model::FieldOfView;
use crate::scan_out::ScanSpec;
use std::fmt::Write;

/// Where the images of a scan lie. Paths are relative to the folder PyHST2 is started in.
pub(crate) struct Images<'a> {
    /// FILE_PREFIX: stem of the numbered files, or the HDF5 file.
    pub projections: String,
    /// Dataset of the projections where they lie in HDF5.
    pub projections_dataset: Option<&'a str>,
    /// Ending of the numbered files.
    pub postfix: &'a str,
    /// Digits of the numbers.
    pub digits: usize,
    /// FF_PREFIX: stem of the numbered flats, or the HDF5 files, one per number.
    pub flats: Vec<String>,
    /// Dataset of the flats.
    pub flats_dataset: Option<&'a str>,
    /// Numbers of the projections the flats belong to, rising; empty = no flats.
    pub flat_numbers: Vec<usize>,
    /// The dark.
    pub dark: Option<String>,
    /// Dataset of the dark.
    pub dark_dataset: Option<&'a str>,
    /// List of angles in degrees, where they are not equal steps from 0.
    pub angles: Option<String>,
    /// The volume to be reconstructed.
    pub output: String,
}

/// Writes the text.
pub(crate) fn scan_text(spec: &ScanSpec, images: &Images<'_>) -> String {
    let (n, rows, cols) = (spec.shape.frames, spec.shape.rows, spec.shape.cols);
    let quoted = |file: &str| format!("\"{file}\"");
    let yes = |b: bool| if b { "YES" } else { "NO" };
    let step = spec.step_deg();
    let turn = (step.abs() * n as f64 - 360.0).abs() <= 0.001f64.to_degrees();
    let mut t = String::from("# HST_SLAVE PARAMETER FILE\n");
    let mut key = |name: &str, value: String| {
        let _ = writeln!(t, "{name} = {value}");
    };
    key("MULTIFRAME", "0".into());
    key("FILE_PREFIX", quoted(&images.projections));
    if let Some(d) = images.projections_dataset {
        key("PROJ_DS_NAME", quoted(d));
    }
    key("NUM_FIRST_IMAGE", "0 # number of the first projection".into());
    key("NUM_LAST_IMAGE", format!("{} # number of the last projection", n - 1));
    key("NUMBER_LENGTH_VARIES", "NO".into());
    key("LENGTH_OF_NUMERICAL_PART", images.digits.to_string());
    key("FILE_POSTFIX", images.postfix.into());
    key("FILE_INTERVAL", "1".into());
    key("NUM_IMAGE_1", format!("{cols} # horizontal pixels"));
    key("NUM_IMAGE_2", format!("{rows} # vertical pixels"));
    if let Some([v, h]) = spec.pixel_um {
        key("IMAGE_PIXEL_SIZE_1", format!("{h} # micron, horizontal"));
        key("IMAGE_PIXEL_SIZE_2", format!("{v} # micron, vertical"));
    }
    key("SUBTRACT_BACKGROUND", yes(images.dark.is_some()).into());
    if let Some(dark) = &images.dark {
        key("BACKGROUND_FILE", quoted(dark));
        if let Some(d) = images.dark_dataset {
            key("BACKGROUND_DS_NAME", quoted(d));
        }
    }
    let at = &images.flat_numbers;
    key("CORRECT_FLATFIELD", yes(!at.is_empty()).into());
    if let (Some(first), Some(last)) = (at.first(), at.last()) {
        key("FLATFIELD_CHANGING", "YES".into());
        match images.flats_dataset {
            Some(d) => {
                let files: Vec<_> = images.flats.iter().map(|f| quoted(f)).collect();
                key("FF_PREFIX", format!("[{}]", files.join(", ")));
                key("FF_DS_NAME", quoted(d));
            }
            None => key("FF_PREFIX", quoted(images.flats.first().map_or("", |f| f))),
        }
        key("FF_NUM_FIRST_IMAGE", first.to_string());
        key("FF_NUM_LAST_IMAGE", last.to_string());
        key("FF_NUMBER_LENGTH_VARIES", "NO".into());
        key("FF_LENGTH_OF_NUMERICAL_PART", images.digits.to_string());
        key("FF_POSTFIX", images.postfix.into());
        let interval = at.get(1).map_or(n, |second| second - first);
        if at.windows(2).all(|w| w[1] - w[0] == interval) {
            key("FF_FILE_INTERVAL", interval.to_string());
        } else {
            // Unequal steps: PyHST2 takes the numbers themselves.
            key("FF_FILE_INTERVAL", format!("{at:?}"));
        }
    }
    key("TAKE_LOGARITHM", yes(!spec.is_attenuation).into());
    key("ANGLE_BETWEEN_PROJECTIONS", format!("{step:.9} # degrees"));
    if let Some(file) = &images.angles {
        key("ANGLES_FILE", quoted(file));
    }
    key("ROTATION_VERTICAL", "YES".into());
    let mut width = cols;
    if let Some(axis) = spec.rotation_axis_px {
        key("ROTATION_AXIS_POSITION", format!("{axis:.6} # pixels, 0 = centre of the first column"));
        if spec.field_of_view == Some(FieldOfView::Half) && axis >= 0.0 && axis < cols as f64 {
            width = (2.0 * axis.max((cols - 1) as f64 - axis)) as usize + 1;
        }
    }
    for (i, end) in [width, width, rows].into_iter().enumerate() {
        key(&format!("START_VOXEL_{}", i + 1), "1".into());
        key(&format!("END_VOXEL_{}", i + 1), end.to_string());
    }
    let half = match spec.field_of_view {
        Some(FieldOfView::Half) => "F",
        Some(FieldOfView::Full) if turn => "Y",
        _ => "N",
    };
    key("OPTIONS", format!("{{ 'padding':'E' , 'axis_to_the_center':'Y' , 'avoidhalftomo':'{half}' }}"));
    key("ZEROCLIPVALUE", spec.zero_clip.unwrap_or(0.001).to_string());
    key("DOUBLEFFCORRECTION", "0".into());
    key("DO_CCD_FILTER", "NO".into());
    key("DO_RING_FILTER", "NO".into());
    key("DO_PAGANIN", "0".into());
    key("PAGANIN_Lmicron", "0".into());
    key("PAGANIN_MARGE", "200".into());
    key("PUS", "0".into());
    key("PUC", "0".into());
    key("OUTPUT_FILE", quoted(&images.output));
    for (name, value) in &spec.motors {
        let _ = writeln!(t, "#{name} = {value} mm");
    }
    for (name, value, unit) in [("energy", spec.energy_kev, "keV"), ("distance", spec.distance_mm, "mm")] {
        if let Some(v) = value {
            let _ = writeln!(t, "#{name} = {v} {unit}");
        }
    }
    t
}
