//! Mends a volume in place: the slices a check finds broken are made again from the raw data, with the parameters
//! recorded beside the volume, and written over the old ones.
//!
//! ```text
//!  check ─► slices ─► make again ─► x.repair.part, synced ─► x.repair.json (journal) ─► patch x ─► statistics ─► done
//! ```
//!
//! Guarantees: until the journal stands the volume is untouched; from then on every new slice lies complete in the
//! `.part` file, so that a second run finishes what a crash interrupted, and the journal's hashes tell for each slice
//! whether it is old, new, or was being written. One slice that is not broken is made again as well and compared: other raw data or parameters
//! than those of the volume are refused before anything is written.

mod journal;
mod run;

pub use journal::{Journal, State, is_of, journal_path, states};
pub use run::{Done, Witness, execute};

use super::{Finding, Kind, Report, Weight};
use crate::ops::recon::{self, Recipe};
use crate::ops::view::SliceRange;
use crate::stream::{Budget, Cancel, Progress};
use serde::Serialize;
use std::path::{Path, PathBuf};
use tomokit_formats::{ByteOrder, DType, Error, OpenOptions, Result, Shape, VolumeMeta, registry};

/// What to mend, from what.
#[derive(Clone, Debug)]
pub struct Request {
    /// Raw data.
    pub scan: PathBuf,
    /// The volume.
    pub volume: PathBuf,
    /// How to read both.
    pub open: OpenOptions,
    /// These slices, whatever the check finds.
    pub slices: Option<SliceRange>,
}

/// What will be mended.
#[derive(Serialize)]
pub struct Plan {
    /// The volume.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub volume: PathBuf,
    /// Raw data.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub scan: PathBuf,
    /// Slices to make again, ascending.
    pub slices: Vec<usize>,
    /// A healthy slice that is made again to compare, where there is one.
    pub witness: Option<usize>,
    /// Size the volume must have.
    pub shape: Shape,
    /// Type of the voxels.
    pub dtype: DType,
    /// An interrupted repair is finished; nothing is made again.
    pub resumes: bool,
    /// What the check said.
    pub before: Option<Report>,
    /// Oddities.
    pub warnings: Vec<String>,
    #[serde(skip)]
    how: Option<recon::Request>,
    /// Made by PyHST2: agreement to its own precision only.
    #[serde(skip)]
    foreign: bool,
    #[serde(skip)]
    meta: VolumeMeta,
    #[serde(skip)]
    journal: Option<Journal>,
    #[serde(skip)]
    open: OpenOptions,
    #[serde(skip)]
    budget: Budget,
}

/// Findings whose slices are made again. A grey jump is not: neither side is known to be wrong.
fn mendable(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Unreadable
            | Kind::Size
            | Kind::Unfinished
            | Kind::ZeroVolume
            | Kind::ZeroSlices
            | Kind::ZeroBlock
            | Kind::NotFinite
            | Kind::Constant
            | Kind::Duplicate
            | Kind::Swapped
            | Kind::Stranger
    )
}

/// Slices that may be wrong by a finding: of two that are the same, nobody knows which.
fn concerned(f: &Finding) -> impl Iterator<Item = usize> + use<> {
    let slices = if f.weight > Weight::Remark { f.slices.clone() } else { None };
    slices.into_iter().flatten().chain(f.twin)
}

/// Looks at the volume and works out what to do.
///
/// # Errors
/// No record of how the volume was made; a format that cannot be patched; a volume that is longer than it should be.
pub fn plan(r: &Request, budget: Budget, progress: &dyn Progress, cancel: &Cancel) -> Result<Plan> {
    if let Some(journal) = Journal::read(&r.volume)? {
        if !journal::is_of(&r.volume, &journal)? {
            return Err(Error::caller("the journal of an interrupted repair beside this volume is of another volume")
                .path(journal::journal_path(&r.volume))
                .hint("remove it, and the .repair.part beside it"));
        }
        return Ok(Plan {
            volume: r.volume.clone(),
            scan: r.scan.clone(),
            slices: journal.slices.iter().map(|s| s.slice).collect(),
            witness: None,
            shape: journal.shape,
            dtype: journal.dtype,
            resumes: true,
            before: None,
            warnings: vec!["an interrupted repair is finished first; run the check again afterwards".into()],
            how: None,
            foreign: false,
            meta: journal.meta.clone(),
            journal: Some(journal),
            open: r.open.clone(),
            budget,
        });
    }
    if !r.volume.is_file() {
        return Err(Error::caller("the volume to mend is no file")
            .path(&r.volume)
            .hint("patching in place is for .vol and .raw"));
    }
    let by_par =
        r.scan.extension().is_some_and(|e| e.eq_ignore_ascii_case("par")) && !Recipe::record(&r.volume).is_file();
    let (mut how, recorded) = if by_par {
        (Recipe::of_par(&r.scan, &r.open)?, None)
    } else {
        let recipe = Recipe::read(&r.volume)?;
        let mut how = recipe.choices.clone();
        how.open.cache_bytes = r.open.cache_bytes;
        how.open.no_mmap = r.open.no_mmap;
        (how, Some(recipe))
    };
    if let Some(recipe) = recorded.as_ref().filter(|x| !matches!(x.format.as_str(), "vol" | "raw")) {
        return Err(Error::unsupported(&r.volume, format!("a {} volume cannot be patched in place", recipe.format))
            .expected("vol or raw")
            .hint("reconstruct it again with tomo recon"));
    }
    how.scan = r.scan.clone();
    how.output = r.volume.clone();
    how.create.overwrite = true;
    // What the reconstruction says about shape, type and metadata; nothing is read but headers.
    let full = recon::plan(&how, budget, progress, cancel)?;
    let (shape, dtype) = (full.shape, full.voxel_dtype());
    if let Some(recipe) = &recorded
        && (recipe.shape, recipe.dtype) != (shape, dtype)
    {
        return Err(Error::caller("this scan gives another volume than the one recorded")
            .path(&r.scan)
            .expected(format!("{} {}", recipe.shape, recipe.dtype.name()))
            .found(format!("{shape} {}", dtype.name())));
    }
    let slice = (shape.frame_len() * dtype.size()) as u64;
    let need = slice * shape.frames as u64;
    let len = std::fs::metadata(&r.volume).map_err(|e| Error::io(&r.volume, "reading the size", e))?.len();
    if len > need {
        return Err(Error::file(
            &r.volume,
            "longer than the volume that was reconstructed: where its data begin is not known",
        )
        .expected(format!("{need} bytes"))
        .found(format!("{len} bytes"))
        .hint("reconstruct it again with tomo recon"));
    }
    let whole = (len / slice) as usize;
    let report = look(r, Shape { frames: whole, ..shape }, dtype, budget, progress, cancel)?;
    let mut bad: Vec<usize> = match r.slices {
        Some(s) => s.pick(shape.frames)?,
        None => {
            let found =
                report.iter().flat_map(|x| &x.findings).filter(|f| f.weight > Weight::Remark && mendable(f.kind));
            found.flat_map(concerned).filter(|z| *z < shape.frames).collect()
        }
    };
    bad.extend(whole..shape.frames);
    bad.sort_unstable();
    bad.dedup();
    let suspects: Vec<usize> = report.iter().flat_map(|x| &x.findings).flat_map(concerned).collect();
    let witness = (0..whole)
        .filter(|z| bad.binary_search(z).is_err() && !suspects.contains(z))
        .min_by_key(|z| bad.first().map_or(0, |b| z.abs_diff(*b)))
        // Where all are to be made anew, one of them that looks whole must still come out the same.
        .or_else(|| (0..whole).find(|z| !suspects.contains(z)));
    let mut warnings = full.warnings.clone();
    if witness.is_none() && !bad.is_empty() && recorded.is_some() && !Recipe::is_of_inputs(&r.volume, &full)? {
        return Err(Error::caller("no slice of the volume is whole, and its record names other raw data")
            .path(&r.scan)
            .hint("name the scan it was made of, or reconstruct it again with tomo recon --overwrite"));
    }
    if witness.is_none() && !bad.is_empty() && recorded.is_none() {
        return Err(Error::caller("no slice of the volume is whole, and no record says what it was made of")
            .path(&r.scan)
            .expected("a slice to compare the new ones with, or the volume's .recon.json")
            .hint("reconstruct it again with tomo recon --overwrite"));
    }
    if witness.is_none() && !bad.is_empty() {
        warnings.push("no slice of the volume is whole: there is none to compare the new ones with".into());
    }
    let meta = known_meta(r).unwrap_or_else(|| full.meta().clone());
    Ok(Plan {
        volume: r.volume.clone(),
        scan: r.scan.clone(),
        slices: bad,
        witness,
        shape,
        dtype,
        resumes: false,
        before: report,
        warnings,
        how: Some(how),
        foreign: by_par,
        meta,
        journal: None,
        open: r.open.clone(),
        budget,
    })
}

/// Checks the whole slices that are there; `None` where there is none.
fn look(
    r: &Request,
    shape: Shape,
    dtype: DType,
    budget: Budget,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Option<Report>> {
    if shape.frames == 0 {
        return Ok(None);
    }
    // Dimensions are known better than any sidecar says them.
    let open = OpenOptions {
        shape: Some(shape),
        dtype: Some(dtype),
        byte_order: Some(ByteOrder::NATIVE),
        skip: Some(0),
        format: Some("raw".into()),
        no_mmap: r.open.no_mmap,
        ..OpenOptions::default()
    };
    let request = super::Request { paths: vec![r.volume.clone()], open, quick: false };
    let plan = super::plan(&request, budget, cancel)?;
    Ok(super::execute(&plan, progress, cancel)?.pop())
}

/// Metadata of the volume as it stands, where it can be opened.
fn known_meta(r: &Request) -> Option<VolumeMeta> {
    Some(registry::open_volume(&r.volume, &OpenOptions::default()).ok()?.0.meta)
}

/// `3-7, 12` out of ascending numbers; long lists are cut.
pub fn list(slices: &[usize]) -> String {
    let runs = super::values::runs(slices);
    let word = |r: &std::ops::Range<usize>| {
        if r.len() == 1 { r.start.to_string() } else { format!("{}-{}", r.start, r.end - 1) }
    };
    let shown: Vec<String> = runs.iter().take(10).map(word).collect();
    shown.join(", ") + if runs.len() > 10 { ", …" } else { "" }
}

/// Removes what a run left that never came to its journal.
fn left_over(volume: &Path) -> PathBuf {
    journal::data_path(volume)
}
