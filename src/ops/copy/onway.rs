//! Volumes made smaller on the way: the float stays at the source, 8 or 16 bits go to the disk, with the receipt that leads
//! back. What arrives is recorded and read back like any copy; the receipt holds the sum of the voxels that were read.

use super::plan::{Plan, TargetPlan, Todo};
use super::run::{Failed, Kind};
use super::target::Target;
use super::{ReadBackWhen, Request};
use crate::ops::recad::{self, LimitsChoice, RECEIPT};
use crate::ops::view::ViewSpec;
use crate::quantise::{Depth, NonFinite};
use crate::stream::{Cancel, Progress};
use crate::trust::root::nanos;
use crate::trust::{FileEvent, JournalState, Name, Root, now, one_line};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use tomokit_formats::{CreateOptions, DType, Error, OpenOptions, Result, Shape};
use walkdir::WalkDir;

/// How volumes are made smaller.
#[derive(Clone, Debug)]
pub struct OnTheWay {
    /// Bits per voxel.
    pub depth: Depth,
    /// A folder of TIFF slices instead of a `.raw`.
    pub tiff: bool,
    /// One grey scale for all volumes: the first decides (see `tomo recad --lock`).
    pub lock: Option<PathBuf>,
}

impl OnTheWay {
    /// True for files that are converted instead of copied.
    pub(super) fn takes(&self, name: &Name) -> bool {
        let bytes = name.bytes();
        bytes.len() > 4 && bytes[bytes.len() - 4..].eq_ignore_ascii_case(b".vol")
    }

    /// Name of what is made of `x.vol`: `x.raw`, or the folder `x_8bit`.
    pub(super) fn output(&self, dest: &Name) -> Result<Name> {
        let stem = &dest.bytes()[..dest.bytes().len() - 4];
        let suffix = match (self.tiff, self.depth) {
            (false, Depth::Eight) => ".raw",
            (false, Depth::Sixteen) => "_16bit.raw",
            (true, Depth::Eight) => "_8bit",
            (true, Depth::Sixteen) => "_16bit",
        };
        Name::parse(&[stem, suffix.as_bytes()].concat()).map_err(Error::caller)
    }

    /// Bytes of the result of `size` bytes of float.
    pub(super) fn bytes(&self, size: u64) -> u64 {
        size / 4 * self.depth.dtype().size() as u64
    }

    /// The result is on the target, recorded, and made of this very version of the source.
    pub(super) fn is_done(&self, root: &Root, dest: &Name, state: &JournalState, size: u64, modified_ns: i64) -> bool {
        let Ok(output) = self.output(dest) else { return false };
        let receipt = output.suffixed(RECEIPT);
        let recorded = state.files.get(&receipt).is_some_and(|f| f.verified.is_some() && !f.bad);
        let text = || std::fs::read(root.path().join(receipt.path())).ok();
        let made_of = |text: Vec<u8>| -> Option<bool> {
            let v: serde_json::Value = serde_json::from_slice(&text).ok()?;
            let modified = crate::trust::rfc3339(modified_ns.div_euclid(1_000_000_000));
            Some(v["input"]["bytes"].as_u64()? == size && v["input"]["modified"].as_str()? == modified)
        };
        recorded && text().and_then(made_of).unwrap_or(false)
    }
}

/// Converts what the plan says, target by target.
pub(super) fn run(
    plan: &Plan,
    targets: &[Target],
    status: &[Vec<AtomicU8>],
    progress: &dyn Progress,
    cancel: &Cancel,
    failed: &mut Vec<Failed>,
) -> Result<()> {
    let Some(how) = &plan.request.on_the_way else { return Ok(()) };
    for (t, target) in targets.iter().enumerate() {
        for (i, s) in status[t].iter().enumerate().filter(|(_, s)| s.load(Relaxed) == Todo::Convert as u8) {
            cancel.check()?;
            let own = &plan.targets[t];
            let input = plan.gathered.path(&plan.gathered.items[i]);
            if target.stopped().is_some() {
                continue;
            }
            match one(how, &plan.request, own, target, &own.dest(&plan.gathered, i as u32), &input, progress, cancel) {
                Ok(()) => s.store(Todo::Done as u8, Relaxed),
                Err(e) if e.fault() == tomokit_formats::Fault::Interrupted => return Err(e),
                Err(e) => {
                    let (kind, e) = match e.file_path().is_some_and(|p| p.starts_with(&own.path)) {
                        true => target.judge(e),
                        false => (Kind::Source, e),
                    };
                    failed.push(Failed {
                        path: input.display().to_string(),
                        target: own.path.clone(),
                        kind,
                        why: one_line(&e),
                    });
                }
            }
        }
    }
    Ok(())
}

#[allow(clippy::too_many_arguments)] // one volume, one target, and what every operation is given
fn one(
    how: &OnTheWay,
    request: &Request,
    own: &TargetPlan,
    target: &Target,
    dest: &Name,
    input: &Path,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<()> {
    let root = &target.root;
    root.still_there()?;
    let output = how.output(dest)?;
    root.make_parents(&output)?;
    // Ours from an earlier run may be replaced; anything else only when asked.
    let ours = target.state.files.contains_key(&output.suffixed(RECEIPT));
    let empty = CreateOptions::new(Shape::new(0, 0, 0), DType::F32);
    let plan = recad::plan(
        &recad::Request {
            input: input.to_owned(),
            output: own.path.join(output.path()),
            open: OpenOptions::default(),
            view: ViewSpec::default(),
            to: Some(if how.tiff { "tiff" } else { "raw" }.into()),
            create: CreateOptions { overwrite: ours || request.overwrite, ..empty },
            depth: how.depth,
            limits: LimitsChoice { lock: how.lock.clone(), ..LimitsChoice::default() },
            non_finite: NonFinite::Lowest,
            zeros: recad::Zeros::default(),
            within: recad::Within::default(),
            crop_circle: false,
            dither: None,
            hash: true,
            one_pass: false,
            plot: None,
            verify: request.read_back != ReadBackWhen::No,
            remove_input: false,
        },
        request.budget,
    )?;
    plan.warnings.iter().for_each(|w| progress.note(&format!("{}: {w}", input.display())));
    let done = recad::execute(&plan, progress, cancel)?;
    root.still_there()?;
    let mut files = Vec::new();
    for path in &done.outputs {
        for entry in WalkDir::new(path).sort_by_file_name() {
            let entry = entry.map_err(|e| Error::io(path, "looking at the result", e.into()))?;
            if entry.file_type().is_file() {
                files.push(entry.into_path());
            }
        }
    }
    root.sync_volume()?;
    if let Err(e) = target.back.flush() {
        log::warn!("{}: flushing the device failed: {e}", own.path.display());
    }
    let mut listed = Vec::new();
    for path in files {
        // A lock of limits may lie elsewhere: what is not on this target is not of it.
        let Ok(below) = path.strip_prefix(&own.path) else { continue };
        let name = Name::of(below).map_err(|why| Error::file(&path, why))?;
        let (sha256, size, level) = target.back.sum(root, &name, cancel, &|_| {})?;
        let modified_ns = nanos(std::fs::metadata(&path).and_then(|m| m.modified()));
        target.record(FileEvent {
            path: name.clone(),
            size,
            modified_ns,
            sha256,
            copied: now(),
            session: target.session,
            source: input.to_string_lossy().into_owned(),
            original: None,
            holes: 0,
            adopted: false,
            made_by: Some(format!("recad to {}", how.depth.dtype().name())),
        })?;
        if request.read_back != ReadBackWhen::No {
            target.verified(&name, sha256, level, size)?;
        }
        target.counters.copied_files.fetch_add(1, Relaxed);
        target.counters.copied_bytes.fetch_add(size, Relaxed);
        listed.push((sha256, name));
    }
    let mut journal = target.journal();
    journal.sync()?;
    journal.add_sums(listed.iter().map(|(d, n)| (d, n)))
}
