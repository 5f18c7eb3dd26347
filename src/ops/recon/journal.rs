//! The journal of a reconstruction at work: what it is made of and how, and what was met in every slab of slices so far.
//! It stands beside the unfinished volume as `x.vol.recon.part.json`, so that a later `--resume` goes on only with the
//! same scan and the same choices, and the record and `--check` speak of the whole volume, not of the last run.
//!
//! Lines of JSON: the first says what is made, each other one is a slab. Whether a slab's voxels are on the disk is not
//! asked here: the writer of the volume knows ([`tomokit_formats::SliceSink::stored`]).

use super::check::BadSlices;
use super::feed::Tally;
use super::plan::Plan;
use super::provenance::{inputs, sha256};
use crate::quantise;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use tomokit_formats::durable::{PART, write_small};
use tomokit_formats::{Error, OpenOptions, Result, io};

const SUFFIX: &str = ".recon.part.json";

/// What was met in some slices.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Slab {
    /// First slice.
    pub first: usize,
    /// Number of slices.
    pub slices: usize,
    /// Counts.
    pub tally: Tally,
    /// Bad ones among them.
    pub bad: BadSlices,
    /// What was clipped on the way to grey values.
    pub grey: quantise::Tally,
}

/// An open journal.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    keep: bool,
}

/// What an earlier run left.
#[derive(Debug)]
pub(super) struct Earlier {
    slabs: Vec<Slab>,
}

/// Looks at what an interrupted run left of this volume, before anything of it is touched. `None` where there is nothing.
///
/// # Errors
/// It was made of another scan or with other choices, or nobody knows how.
pub(super) fn earlier(plan: &Plan) -> Result<Option<Earlier>> {
    let part = io::with_suffix(&plan.output, PART);
    if !part.exists() {
        return Ok(None);
    }
    let path = io::with_suffix(&plan.output, SUFFIX);
    let again = "choose the same options and inputs to go on, or leave --resume out to start from the beginning";
    let text = std::fs::read(&path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines();
    let head = lines.next().and_then(|l| serde_json::from_str::<Map<String, Value>>(l).ok());
    let Some(head) = head else {
        return Err(Error::file(&part, "nothing says how these slices were made").hint(again));
    };
    for (what, wanted) in &identity(plan)? {
        let found = head.get(what).unwrap_or(&Value::Null);
        if found != wanted {
            let e = Error::file(&part, format!("the interrupted run had another {}", what.replace('_', " ")));
            let short = |v: &Value| Some(v.to_string()).filter(|t| t.len() <= 120);
            return Err(match (short(wanted), short(found)) {
                (Some(w), Some(f)) => e.expected(w).found(f).hint(again),
                _ => e.hint(again),
            });
        }
    }
    // The last line may have been cut by what ended the run.
    let slabs = lines.map_while(|l| serde_json::from_str::<Slab>(l).ok()).collect();
    Ok(Some(Earlier { slabs }))
}

impl Earlier {
    /// What was met in the first `stored` slices, and which of them nothing is known of.
    pub fn of_first(self, stored: usize) -> (Vec<Slab>, Vec<usize>) {
        let mut unknown = vec![true; stored];
        let mut slabs = Vec::new();
        for mut slab in self.slabs {
            let end = slab.first.saturating_add(slab.slices);
            if end <= stored {
                unknown[slab.first..end].fill(false);
                slabs.push(slab);
            } else if slab.first < stored {
                // Its last slices are made again. Counts belong to all of it, and are left to the new ones' share; what
                // is known of single slices stays.
                slab.slices = stored - slab.first;
                slab.bad = slab.bad.below(stored, slab.slices);
                (slab.tally, slab.grey) = (Tally::default(), quantise::Tally::default());
                unknown[slab.first..].fill(false);
                slabs.push(slab);
            }
        }
        let unknown = (0..stored).filter(|&i| unknown[i]).collect();
        (slabs, unknown)
    }
}

impl Journal {
    /// Starts the journal over with what is known of the slices that are kept.
    pub fn start(plan: &Plan, known: &[Slab]) -> Result<Journal> {
        let path = io::with_suffix(&plan.output, SUFFIX);
        let mut text = Value::Object(identity(plan)?).to_string() + "\n";
        for slab in known {
            text += &line(slab)?;
        }
        write_small(&path, text.as_bytes(), true)?;
        let file = File::options().append(true).open(&path).map_err(|e| Error::io(&path, "opening", e))?;
        Ok(Journal { path, file, keep: false })
    }

    /// Adds a slab that was handed to the writer.
    pub fn add(&mut self, slab: &Slab) -> Result<()> {
        let text = line(slab)?;
        // One call, so that a kill leaves a whole line or a cut one, never a mixture.
        self.file.write_all(text.as_bytes()).map_err(|e| Error::io(&self.path, "writing", e))
    }

    /// Stays for a later run when dropped.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// The volume has its final name: nothing is left to go on with.
    pub fn done(mut self) {
        self.keep = false;
    }
}

/// Removes the journal of a volume of which nothing is left to go on with.
pub(super) fn forget(plan: &Plan) {
    let _ = std::fs::remove_file(io::with_suffix(&plan.output, SUFFIX));
}

impl Drop for Journal {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn line(slab: &Slab) -> Result<String> {
    let text = serde_json::to_string(slab);
    Ok(text.map_err(|e| Error::caller("the journal cannot be written as JSON").source(e))? + "\n")
}

/// All that the voxels depend on, by name. Not among it: memory, threads and bands, which change no byte.
fn identity(plan: &Plan) -> Result<Map<String, Value>> {
    let r = &plan.request;
    let shifts = r.shifts.as_ref().map(|s| format!("{s:?}"));
    let items = json!({
        "software": format!("tomokit {}", env!("CARGO_PKG_VERSION")),
        "scan": inputs(plan).into_iter().map(without_folder).collect::<Vec<_>>(),
        "images": format!("{} {:?}", plan.layout, OpenOptions { no_mmap: false, cache_bytes: 0, ..r.open.clone() }),
        "volume": format!("{} {:?}", plan.shape, plan.create.dtype),
        "format": format!("{} {:?} {:?} {}", plan.writer.name, plan.create.variant, plan.create.compression, plan.create.start_number),
        "axis": plan.rotation_axis_px,
        "rows": [plan.first_row, plan.row_step, plan.shape.frames],
        "numerical_choices": plan.numerics,
        "geometry_(angles,_field,_region)": sha256(format!("{:?}", plan.fbp.geometry()).as_bytes()),
        "shifts": shifts.map(|s| sha256(s.as_bytes())),
        "tilt_or_binning_of_rows": plan.gather.as_ref().map(|g| sha256(format!("{g:?}").as_bytes())),
        "flats_and_darks": format!("flats {:?}, darks {:?}", r.flats, r.darks),
        "clip": plan.zero_clip,
        "grey_limits": plan.grey_limits,
    });
    match items {
        Value::Object(m) => Ok(m),
        _ => Err(Error::caller("the journal has no head")),
    }
}

/// An input by name, size and time: the disk may have come back under another name.
fn without_folder(mut input: Value) -> Value {
    let name = input["path"].as_str().and_then(|p| p.rsplit(['/', '\\']).next()).map(str::to_owned);
    input["path"] = name.into();
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slab(first: usize, slices: usize, zero: &[usize]) -> Slab {
        let bad = BadSlices { checked: slices, zero: zero.to_vec(), not_finite: vec![] };
        Slab { first, slices, tally: Tally { total: 10, ..Tally::default() }, bad, ..Slab::default() }
    }

    #[test]
    fn slabs_cover_what_is_stored_and_gaps_are_known() {
        let all = || Earlier { slabs: vec![slab(0, 4, &[1]), slab(4, 4, &[5, 7]), slab(12, 4, &[])] };
        let (known, unknown) = all().of_first(4);
        assert_eq!((known.len(), known[0].bad.zero.as_slice(), unknown.len()), (1, &[1][..], 0));
        // A slab of which only the first slices are on the disk: single slices are known, its counts are not.
        let (known, unknown) = all().of_first(6);
        assert_eq!((known.len(), known[1].slices, known[1].bad.checked), (2, 2, 2));
        assert_eq!((known[1].bad.zero.as_slice(), known[1].tally.total, unknown.len()), (&[5][..], 0, 0));
        let (known, unknown) = all().of_first(14);
        assert_eq!((known.len(), unknown), (3, vec![8, 9, 10, 11]));
        let (known, unknown) = all().of_first(0);
        assert!(known.is_empty() && unknown.is_empty());
    }
}
