//! Volumes made smaller on the way: the float stays at the source, 8 or 16 bits go to the disk, with the receipt that leads
//! back. What arrives is recorded and read back like any copy; the receipt holds the sum of the voxels that were read.

use super::gather::Gathered;
use super::outcome::{Failed, Kind};
use super::plan::{Cases, Finding, Plan, TargetPlan, Todo, Verdict};
use super::standing::{Recorded, Source, Standing, is_ours, read_back, receipt_of, standing};
use super::target::Target;
use super::{ReadBackWhen, Request, made};
use crate::ops::recad::{self, LimitsChoice};
use crate::ops::view::ViewSpec;
use crate::quantise::{Depth, NonFinite};
use crate::stream::{Cancel, Progress};
use crate::trust::journal::Event;
use crate::trust::root::nanos;
use crate::trust::{Name, now, one_line};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use tomokit_formats::registry::open_volume;
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
    /// The files that are converted instead of copied: volumes whose values become smaller. Those of which nothing tells
    /// that they are, are copied as they are; `findings` says so.
    pub(super) fn volumes(&self, g: &Gathered, findings: &mut Vec<Finding>) -> HashSet<u32> {
        let mut unknown = Cases::default();
        let mut volumes = HashSet::new();
        for (i, item) in g.items.iter().enumerate() {
            let path = g.path(item);
            if !path.extension().is_some_and(|e| e.eq_ignore_ascii_case("vol")) {
                continue;
            }
            match open_volume(&path, &OpenOptions::default()) {
                Ok((volume, _)) => {
                    // The grey scale of whole numbers is somebody's choice already.
                    if volume.source.dtype().is_float() {
                        volumes.insert(i as u32);
                    }
                }
                Err(e) => unknown.add(one_line(&e)),
            }
        }
        let text = "cannot be read as volumes: copied as they are, not made smaller";
        let mut say = |verdict, text, c: Cases| {
            findings.push(Finding { verdict, target: None, text, count: c.count, examples: c.examples });
        };
        unknown.tell(Verdict::Warn, text, &mut say);
        volumes
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

    fn made_by(&self) -> String {
        format!("recad to {}", self.depth.dtype().name())
    }
}

/// Converts what the plan says: each volume is read for one target, the others get what became of it there.
pub(super) fn run(
    plan: &Plan,
    targets: &[Target],
    status: &[Vec<AtomicU8>],
    progress: &dyn Progress,
    cancel: &Cancel,
    failed: &mut Vec<Failed>,
) -> Result<()> {
    let Some(how) = &plan.request.on_the_way else { return Ok(()) };
    if !status.iter().flatten().any(|s| s.load(Relaxed) == Todo::Convert as u8) {
        return Ok(());
    }
    let recorded: Vec<Recorded<'_>> = targets.iter().map(|t| Recorded::new(&t.state)).collect();
    for (i, item) in plan.gathered.items.iter().enumerate() {
        let input = plan.gathered.path(item);
        let mut made: Option<(usize, Vec<Name>)> = None;
        for (t, target) in targets.iter().enumerate() {
            let s = &status[t][i];
            if s.load(Relaxed) != Todo::Convert as u8 || target.stopped().is_some() {
                continue;
            }
            cancel.check()?;
            let own = &plan.targets[t];
            let dest = own.dest(&plan.gathered, i as u32);
            let source = Source { size: item.size, modified_ns: item.modified_ns };
            // The same names there: else a receipt would speak of files that are called otherwise.
            let there = made.as_ref().filter(|(from, _)| plan.targets[*from].dest(&plan.gathered, i as u32) == dest);
            let done = match is_there(how, plan, (target, &recorded[t]), &dest, source, cancel) {
                Ok(Standing::Done) => Ok(()),
                Ok(Standing::Changed) if !plan.request.overwrite => {
                    let path = input.display().to_string();
                    let why = "what was made of it was changed there since (--overwrite makes it again)".into();
                    failed.push(Failed { path, target: own.path.clone(), kind: Kind::Differs, why });
                    continue;
                }
                Err(e) => Err(e),
                Ok(_) => match there {
                    Some((from, names)) => again(how, plan, (&targets[*from], target), names, &dest, &input, cancel),
                    None => one(how, &plan.request, own, target, &dest, &input, progress, cancel)
                        .map(|names| drop(made.replace((t, names)))),
                },
            };
            match done {
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

/// How what an earlier run made of the volume stands there; never `Unread`, because that is then read.
fn is_there(
    how: &OnTheWay,
    plan: &Plan,
    (target, recorded): (&Target, &Recorded<'_>),
    dest: &Name,
    source: Source,
    cancel: &Cancel,
) -> Result<Standing> {
    let read = plan.request.read_back != ReadBackWhen::No;
    match standing(how, &target.root, &how.output(dest)?, recorded, source, read)? {
        Standing::Unread(names) => read_back(target, &names, cancel),
        known => Ok(known),
    }
}

/// Notes that what the receipt completes is about to be made: should this run be killed, the next knows it as its own.
fn begin(target: &Target, receipt: &Name) -> Result<()> {
    let mut journal = target.journal();
    journal.push(&Event::Making { t: now(), path: receipt.clone() })?;
    journal.sync()
}

/// What became of a volume on one target, copied to another; the receipt tells of the place it lies at now.
fn again(
    how: &OnTheWay,
    plan: &Plan,
    (from, to): (&Target, &Target),
    names: &[Name],
    dest: &Name,
    input: &Path,
    cancel: &Cancel,
) -> Result<()> {
    to.root.still_there()?;
    let output = how.output(dest)?;
    let receipt = receipt_of(&output);
    let ours = is_ours(to, &output, input);
    begin(to, &receipt)?;
    for name in names {
        if !ours && !to.state.files.has(name) && to.root.stat(name)?.is_some() && !plan.request.overwrite {
            return Err(Error::caller("already there, and not this program's")
                .path(to.root.shown(name))
                .hint("--overwrite replaces it"));
        }
        let file = from.root.open_read(name, false)?;
        if *name == receipt {
            let text = std::io::read_to_string(&file).map_err(|e| Error::io(from.root.shown(name), "reading", e))?;
            made::write(
                to,
                name,
                &mut placed(&text, from.root.path(), to.root.path())?.as_slice(),
                made::Kind::default(),
                cancel,
            )?;
        } else {
            let modified_ns = Some(nanos(file.metadata().and_then(|m| m.modified())));
            made::write(to, name, &mut &file, made::Kind { modified_ns, executable: false }, cancel)?;
        }
    }
    made::record(to, names, input, &how.made_by(), plan.request.read_back != ReadBackWhen::No, cancel)
}

/// A receipt that tells of files below `to` instead of `from`.
fn placed(text: &str, from: &Path, to: &Path) -> Result<Vec<u8>> {
    use serde_json::Value;
    fn walk(v: &mut Value, from: &Path, to: &Path) {
        match v {
            Value::String(s) => {
                if let Ok(below) = Path::new(s.as_str()).strip_prefix(from) {
                    *s = to.join(below).to_string_lossy().into_owned();
                }
            }
            Value::Array(all) => all.iter_mut().for_each(|v| walk(v, from, to)),
            Value::Object(all) => all.values_mut().for_each(|v| walk(v, from, to)),
            _ => {}
        }
    }
    let failed = |e| Error::caller("the receipt cannot be read again").source(e);
    let mut record: Value = serde_json::from_str(text).map_err(failed)?;
    walk(&mut record["output"], from, to);
    Ok((serde_json::to_string(&record).map_err(failed)? + "\n").into_bytes())
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
) -> Result<Vec<Name>> {
    let root = &target.root;
    root.still_there()?;
    let output = how.output(dest)?;
    root.make_parents(&output)?;
    // Ours from an earlier run may be replaced; anything else only when asked.
    let ours = is_ours(target, &output, input);
    let empty = CreateOptions::new(Shape::new(0, 0, 0), DType::F32);
    let plan = recad::plan(
        &recad::Request {
            input: input.to_owned(),
            output: own.path.join(output.path()),
            open: OpenOptions::default(),
            view: ViewSpec { bin: 1, ..ViewSpec::default() },
            to: Some(if how.tiff { "tiff" } else { "raw" }.into()),
            create: CreateOptions { overwrite: ours || request.overwrite, ..empty },
            depth: how.depth,
            limits: LimitsChoice { lock: how.lock.clone(), ..LimitsChoice::default() },
            non_finite: NonFinite::Lowest,
            zeros: None,
            within: recad::Within::default(),
            crop_circle: false,
            dither: None,
            hash: Some(crate::stream::Algorithm::Sha256),
            one_pass: false,
            plot: None,
            verify: request.read_back != ReadBackWhen::No,
            remove_input: false,
        },
        request.budget,
    )?;
    plan.warnings.iter().for_each(|w| progress.note(&format!("{}: {w}", input.display())));
    begin(target, &receipt_of(&output))?;
    let done = recad::execute(&plan, progress, cancel)?;
    if let Some(why) = &done.badly_clipped {
        progress.note(&format!("warning: {}: on the scale of the experiment {why}", input.display()));
    }
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
    let mut names = Vec::new();
    for path in files {
        // A lock of limits may lie elsewhere: what is not on this target is not of it.
        let Ok(below) = path.strip_prefix(&own.path) else { continue };
        names.push(Name::of(below).map_err(|why| Error::file(&path, why))?);
    }
    made::record(target, &names, input, &how.made_by(), request.read_back != ReadBackWhen::No, cancel)?;
    Ok(names)
}
