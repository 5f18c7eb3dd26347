//! Carries a repair out.

use super::journal::{Journal, Patch, data_path, journal_path, sha256};
use super::{Plan, left_over};
use crate::ops::check::{self, Report};
use crate::ops::recon::{self, Recipe};
use crate::stream::{Cancel, Progress};
use serde::Serialize;
use serde_json::json;
use std::fs::{self, File, OpenOptions as Open};
use std::path::{Path, PathBuf};
use tomokit_formats::durable::{stage_small, sync_dir, write_small};
use tomokit_formats::error::OnPath;
use tomokit_formats::io::{ReadAt, with_suffix, write_all_at};
use tomokit_formats::model::VolumeStats;
use tomokit_formats::raw::flat::Flat;
use tomokit_formats::vol::{self, stats, xml};
use tomokit_formats::{ByteOrder, DType, Error, OpenOptions, Result, SliceSink};

/// A new slice of our own making may differ from the old one by this share of the standard deviation (RMS): another
/// processor rounds differently, within the tolerance of the gridding.
const OURS: f64 = 1e-3;
/// One of PyHST2's making by this: its arithmetic is in single precision, and not ours.
const PYHST: f64 = 0.05;

/// The slice made again to compare.
#[derive(Clone, Debug, Serialize)]
pub struct Witness {
    /// Its number.
    pub slice: usize,
    /// Largest difference.
    pub largest: f64,
    /// Root mean square difference over the standard deviation of the slice.
    pub relative_rms: f64,
}

/// What was mended.
#[derive(Clone, Debug, Serialize)]
pub struct Done {
    /// The volume.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub volume: PathBuf,
    /// Slices written.
    pub slices: Vec<usize>,
    /// Comparison.
    pub witness: Option<Witness>,
    /// Sidecars made anew.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub renewed: Vec<PathBuf>,
    /// What no longer belongs to the volume, in words.
    pub stale: Vec<String>,
    /// What a check says now.
    pub after: Report,
}

/// Mends.
///
/// # Errors
/// Where the healthy slice comes out differently; what reading and writing say. The volume is then as it was, or the
/// journal stands and a second run goes on.
pub fn execute(plan: &Plan, progress: &dyn Progress, cancel: &Cancel) -> Result<Done> {
    let (journal, witness) = match &plan.journal {
        Some(j) => (j.clone(), None),
        None => make(plan, progress, cancel)?,
    };
    patch(&plan.volume, &journal, progress)?;
    let mut stale = Vec::new();
    let renewed = renew(plan, &journal, &mut stale)
        .map_err(|e| e.hint("the slices are mended; the same command renews what stands beside the volume"))?;
    finish(&plan.volume)?;
    let request = check::Request {
        paths: vec![plan.volume.clone()],
        open: OpenOptions { no_mmap: plan.open.no_mmap, ..OpenOptions::default() },
        quick: false,
    };
    let again = check::plan(&request, plan.budget, cancel)?;
    let after = check::execute(&again, progress, cancel)?
        .pop()
        .ok_or_else(|| Error::caller("the volume is gone").path(&plan.volume))?;
    Ok(Done { volume: plan.volume.clone(), slices: plan.slices.clone(), witness, renewed, stale, after })
}

/// Takes slices into a file, one after the other.
struct Aside<'a> {
    file: &'a File,
    path: &'a Path,
    at: u64,
    slice_bytes: usize,
    hashes: &'a mut Vec<String>,
}

impl SliceSink for Aside<'_> {
    fn put(&mut self, _: usize, slices: &[u8]) -> Result<()> {
        write_all_at(self.file, slices, self.at).map_err(|e| Error::io(self.path, "writing", e).at(self.at))?;
        self.at += slices.len() as u64;
        self.hashes.extend(slices.chunks_exact(self.slice_bytes).map(sha256));
        Ok(())
    }

    fn finish(self: Box<Self>, _: Option<&VolumeStats>) -> Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
}

/// Takes slices into memory.
struct Kept(Vec<u8>);

impl SliceSink for Kept {
    fn put(&mut self, _: usize, slices: &[u8]) -> Result<()> {
        self.0.extend_from_slice(slices);
        Ok(())
    }

    fn finish(self: Box<Self>, _: Option<&VolumeStats>) -> Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
}

fn open_to_write(volume: &Path) -> Result<File> {
    Open::new().read(true).write(true).open(volume).on(volume, "opening for writing")
}

/// Makes the slices again and writes the journal. Until it returns the volume is untouched.
fn make(plan: &Plan, progress: &dyn Progress, cancel: &Cancel) -> Result<(Journal, Option<Witness>)> {
    let how = plan.how.as_ref().ok_or_else(|| Error::caller("nothing says how to make the slices"))?;
    // What cannot be mended in the end is not begun.
    open_to_write(&plan.volume)?;
    let slice_bytes = plan.shape.frame_len() * plan.dtype.size();
    let volume = ReadAt::open(&plan.volume)?;
    let remade = |first: usize, end: usize, sink: &mut dyn SliceSink| -> Result<()> {
        let part = recon::plan(&how.for_slices(first, end), plan.budget, progress, cancel)?;
        let bad = recon::execute_into(&part, sink, progress, cancel)?;
        match bad.good() {
            true => Ok(()),
            false => Err(Error::file(&plan.scan, "the raw data give broken slices again")
                .found(bad.describe().join("; "))
                .hint("look at the scan with tomo check")),
        }
    };
    let mut witness = None;
    if let Some(z) = plan.witness {
        let mut kept = Kept(Vec::new());
        remade(z, z + 1, &mut kept)?;
        let mut old = vec![0u8; slice_bytes];
        volume.read_exact_at(&mut old, (z * slice_bytes) as u64)?;
        witness = Some(compare(plan, z, &old, &kept.0)?);
    }
    let path = data_path(&plan.volume);
    let file = Open::new().read(true).write(true).create(true).truncate(true).open(&path).on(&path, "creating")?;
    let mut hashes = Vec::new();
    let mut at = 0;
    for run in check::values::runs(&plan.slices) {
        let mut sink = Aside { file: &file, path: &path, at, slice_bytes, hashes: &mut hashes };
        let made = remade(run.start, run.end, &mut sink);
        at = sink.at;
        if let Err(e) = made {
            drop(file);
            let _ = fs::remove_file(&path);
            return Err(e);
        }
    }
    file.sync_all().on(&path, "syncing to disk")?;
    let mut old = vec![0u8; slice_bytes];
    let mut slices = Vec::new();
    for (z, new) in plan.slices.iter().zip(hashes) {
        let from = (z * slice_bytes) as u64;
        let there = from + slice_bytes as u64 <= volume.len();
        if there {
            volume.read_exact_at(&mut old, from)?;
        }
        slices.push(Patch { slice: *z, new, old: there.then(|| sha256(&old)) });
    }
    let journal = Journal {
        software: format!("tomokit {}", env!("CARGO_PKG_VERSION")),
        scan: plan.scan.clone(),
        shape: plan.shape,
        dtype: plan.dtype,
        meta: plan.meta.clone(),
        slices,
    };
    let text =
        serde_json::to_string_pretty(&journal).map_err(|e| Error::caller("no JSON of the journal").source(e))? + "\n";
    write_small(&journal_path(&plan.volume), text.as_bytes(), false)?;
    Ok((journal, witness))
}

/// Refuses where a healthy slice comes out differently.
fn compare(plan: &Plan, z: usize, old: &[u8], new: &[u8]) -> Result<Witness> {
    let n = plan.shape.frame_len();
    if new.len() != old.len() {
        return Err(Error::caller("the new slice has another size than the old one")
            .expected(old.len())
            .found(new.len()));
    }
    let (mut a, mut b) = (vec![0f64; n], vec![0f64; n]);
    plan.dtype.to_f64(old, &mut a);
    plan.dtype.to_f64(new, &mut b);
    let mean = a.iter().sum::<f64>() / n as f64;
    let deviation = (a.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
    let rms = (a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / n as f64).sqrt();
    let largest = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let relative = rms / deviation.max(f64::MIN_POSITIVE);
    // Greys may fall on either side of a half.
    let limit = match (plan.foreign, plan.dtype.is_float()) {
        (true, _) => PYHST,
        (false, true) => OURS,
        (false, false) => OURS.max(1.0 / deviation.max(1.0)),
    };
    // Also false where a difference is no number.
    if relative <= limit {
        return Ok(Witness { slice: z, largest, relative_rms: relative });
    }
    Err(Error::caller(format!("slice {z}, which is not broken, comes out differently from this scan"))
        .path(&plan.scan)
        .expected(format!("an RMS difference of at most {limit} standard deviations"))
        .found(format!("{relative:.4}, largest difference {largest}"))
        .hint("is this the scan the volume was made from, with these parameters? Nothing was changed"))
}

/// Writes the new slices over the old ones, each synced before the next.
fn patch(volume: &Path, journal: &Journal, progress: &dyn Progress) -> Result<()> {
    let data = journal.check_data(volume)?;
    let n = journal.slice_bytes();
    let file = open_to_write(volume)?;
    progress.begin("patching", (n * journal.slices.len()) as u64);
    let mut buffer = vec![0u8; n];
    for (i, p) in journal.slices.iter().enumerate() {
        data.read_exact_at(&mut buffer, (i * n) as u64)?;
        let at = (p.slice * n) as u64;
        write_all_at(&file, &buffer, at).map_err(|e| Error::io(volume, "writing", e).at(at))?;
        file.sync_data().on(volume, "syncing to disk")?;
        progress.advance(n as u64);
    }
    let need = (n * journal.shape.frames) as u64;
    if file.metadata().on(volume, "reading the size")?.len() < need {
        file.set_len(need).on(volume, "setting the size")?;
    }
    file.sync_all().on(volume, "syncing to disk")?;
    progress.end();
    Ok(())
}

/// Sidecars with statistics, and the record.
fn renew(plan: &Plan, journal: &Journal, stale: &mut Vec<String>) -> Result<Vec<PathBuf>> {
    let path = &plan.volume;
    let mut renewed = Vec::new();
    let is_vol = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("vol"));
    if is_vol && journal.dtype == DType::F32 {
        let flat = Flat::open(path, journal.shape, journal.dtype, ByteOrder::NATIVE, 0, true)?;
        let histogram = stats::measure(&flat, &[])?;
        let s = histogram.stats();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let mut bytes = vol::histogram_header(&histogram);
        bytes.extend(histogram.counts.iter().flat_map(|n| n.to_le_bytes()));
        let staged = [
            stage_small(&vol::histogram_path(path), &bytes, true)?,
            stage_small(
                &with_suffix(path, ".xml"),
                xml::text(&name, journal.shape, &journal.meta, &s).as_bytes(),
                true,
            )?,
            stage_small(
                &with_suffix(path, ".info"),
                xml::info_text(journal.shape, &journal.meta, &s).as_bytes(),
                true,
            )?,
        ];
        for part in staged {
            renewed.push(part.commit()?);
        }
    }
    renewed.extend(note_in_record(path, journal, stale)?);
    let receipt = with_suffix(path, ".recad.json");
    if receipt.exists() {
        stale.push(format!("{}: it describes the volume before", receipt.display()));
    }
    if is_vol {
        stale.push("whatever was made of the volume before (8-bit copies, slices, pictures)".into());
    }
    Ok(renewed)
}

/// The record of the volume gains a line; its own hash of the voxels is that of the volume as first made.
fn note_in_record(path: &Path, journal: &Journal, stale: &mut Vec<String>) -> Result<Option<PathBuf>> {
    let record = Recipe::record(path);
    if !record.is_file() {
        return Ok(None);
    }
    let text = tomokit_formats::io::read_small_text(&record, 256 << 20)?;
    let mut all: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| Error::file(&record, "the record is no JSON").source(e))?;
    let note =
        json!({ "software": journal.software, "scan": journal.scan.to_string_lossy(), "slices": journal.slices });
    if let Some(o) = all.as_object_mut() {
        let list = o.entry("repairs").or_insert_with(|| json!([]));
        if let Some(l) = list.as_array_mut()
            && l.last() != Some(&note)
        {
            l.push(note);
        }
        if o.get("result").and_then(|r| r.get("sha256")).is_some_and(|v| !v.is_null()) {
            stale.push("the record's SHA-256 of the voxels: that of the volume as first made".into());
        }
    }
    let text = serde_json::to_string_pretty(&all).map_err(|e| Error::caller("no JSON of the record").source(e))? + "\n";
    write_small(&record, text.as_bytes(), true).map(Some)
}

/// The journal goes first: without it the other file means nothing.
fn finish(volume: &Path) -> Result<()> {
    let journal = journal_path(volume);
    fs::remove_file(&journal).on(&journal, "removing the journal")?;
    sync_dir(volume.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    let data = left_over(volume);
    fs::remove_file(&data).on(&data, "removing the new slices that are in the volume now")
}
