//! PyHST2 parameter files (`.par`): [`text`] reads and edits them, [`scan`] turns one into a scan where the images it
//! names can be found.

pub(crate) mod make;
pub mod scan;
pub mod text;

use crate::model::Facts;
use crate::registry::*;
use crate::{About, Fault, Result, Warnings};
use serde_json::{Map, Value as Json};
use std::path::Path;

pub use scan::open_scan;
pub use text::Par;

/// The format's row.
pub static SPEC: FormatSpec = FormatSpec {
    name: "par",
    title: "PyHST2 parameter file (.par)",
    extensions: &["par"],
    reads: "parameters and motor comments (never executed); the scan it names (EDF series, HDF5)",
    writes: "",
    variants: &[],
    probe,
    open,
    create: None,
    tree: None,
};

fn probe(c: &Candidate) -> Option<Hit> {
    if c.is_dir || !c.has_extension(SPEC.extensions) {
        return None;
    }
    let par = Par::parse(c.head.clone(), &c.path);
    let known = ["FILE_PREFIX", "NUM_IMAGE_1", "ROTATION_AXIS_POSITION", "OUTPUT_FILE", "IMAGE_PIXEL_SIZE_1"];
    match known.iter().find(|k| par.value(k).is_some()) {
        Some(k) => Hit::new(Confidence::Marker, format!("PyHST2 key {k}")),
        None => Hit::new(Confidence::Name, "name ends in .par"),
    }
}

/// Facts first; the scan where its images can be opened, otherwise a warning that says why not.
fn open(path: &Path, options: &OpenOptions) -> Result<Opened> {
    let par = Par::read(path)?;
    let mut warnings = Warnings::default();
    if !par.opaque_lines().is_empty() {
        warnings.push(format!(
            "{} lines are Python code, kept but not interpreted (first: line {})",
            par.opaque_lines().len(),
            par.opaque_lines()[0]
        ));
    }
    let content = match scan::from_par(&par, options) {
        Ok((scan, more)) => {
            warnings.extend(more);
            Content::Scan(Box::new(scan))
        }
        Err(e) => {
            let hint = e.advice().map(|h| format!("; {h}")).unwrap_or_default();
            // What is there and broken is worse than what is not there.
            let about = if e.fault() == Fault::File { About::Damaged } else { About::Counts };
            warnings.add(about, format!("the images this file names cannot be opened: {e}{hint}"));
            Content::Other
        }
    };
    let facts = facts(&par, matches!(content, Content::Other));
    Ok(Opened { format: SPEC.name, content, facts, warnings })
}

/// What the file says; the geometry only where no scan tells it already.
fn facts(par: &Par, geometry: bool) -> Facts {
    let mut f = Facts::default();
    let mut number = |name: &str, key: &str, unit: &str| {
        // A value that is no number is told by the scan's error; the table of all keys shows it anyway.
        if geometry && let Ok(Some(v)) = par.f64(key) {
            if unit.is_empty() { f.add(name, v) } else { f.add_unit(name, v, unit) }
        }
    };
    number("pixel_horizontal", "IMAGE_PIXEL_SIZE_1", "µm");
    number("pixel_vertical", "IMAGE_PIXEL_SIZE_2", "µm");
    number("image_cols", "NUM_IMAGE_1", "");
    number("image_rows", "NUM_IMAGE_2", "");
    number("first_number", "NUM_FIRST_IMAGE", "");
    number("last_number", "NUM_LAST_IMAGE", "");
    number("angle_step", "ANGLE_BETWEEN_PROJECTIONS", "deg");
    number("rotation_axis_px", "ROTATION_AXIS_POSITION", "");
    number("paganin_length", "PAGANIN_Lmicron", "µm");
    for (name, key) in [("file_prefix", "FILE_PREFIX"), ("output_file", "OUTPUT_FILE")] {
        if let Some(v) = par.text(key) {
            f.add(name, v);
        }
    }
    let motors: Map<String, Json> = par.motors().iter().map(|m| (m.name.clone(), Json::from(m.value))).collect();
    if !motors.is_empty() {
        f.add("motors", motors);
    }
    let all: Map<String, Json> = par.keys().iter().map(|(k, v)| ((*k).to_owned(), Json::from(v.raw))).collect();
    f.add("parameters", all);
    f
}

#[cfg(test)]
mod tests;
