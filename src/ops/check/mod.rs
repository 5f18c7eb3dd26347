//! The volume doctor: is this file, series or scan whole, and do its values make sense?
//!
//! ```text
//!  paths ─► walk: items ─► open: files, sizes, links ─► samples: what is normal ─► one pass: every slice ─► findings
//! ```
//!
//! A finding has a kind, a weight, a sentence and a place. The verdict of an item is that of its heaviest finding.
//! Guarantees: every voxel is read once; nothing is written, except by [`repair`] to the volume it is asked to mend;
//! a healthy volume of any of the formats gives no finding (the corpora in the tests are the calibration).

mod breaks;
mod container;
mod exchanged;
mod files;
mod kernel;
mod levels;

mod normal;
mod order;
mod pass;
mod references;
pub mod repair;
mod scan;
mod sheet;
mod sideways;
mod values;
mod volume;
mod walk;
mod zero_shape;
mod zeros;

pub use sheet::draw;
pub use walk::{Item, ItemKind, LeftOut};

use crate::stream::{Budget, Cancel, Progress};
use serde::Serialize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tomokit_formats::registry::{self, Candidate};
use tomokit_formats::{DType, Error, Fault, OpenOptions, Result, Shape};

/// How bad.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing found.
    Good,
    /// Met on the way, and of a kind that is not read: nothing is known of it.
    #[serde(rename = "not_read")]
    NotRead,
    /// Look at it before you trust it.
    Suspicious,
    /// Something is missing or wrong.
    Broken,
}

/// How much a finding weighs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// Worth a line, says nothing against the data.
    Remark,
    /// May have a good reason.
    Suspicious,
    /// Has none.
    Broken,
}

/// What was found. The names are those of `--json`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // each is said in words in its finding
pub enum Kind {
    Unreadable,
    NotLookedAt,
    Size,
    Unfinished,
    Sidecar,
    Holes,
    Repairing,
    Reader,
    Numbering,
    File,
    Link,
    NeverWritten,
    ZeroVolume,
    ZeroSlices,
    ZeroBlock,
    NotFinite,
    Constant,
    Duplicate,
    Swapped,
    Stranger,
    GreyJump,
    Width,
    Statistics,
    DeadFrames,
    Saturated,
    Dim,
    Flats,
    Darks,
    Counts,
    Angles,
}

/// One finding.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// How bad.
    pub weight: Weight,
    /// One sentence: what, where, and what it may mean.
    pub text: String,
    /// Slices (or frames) concerned, first and end (exclusive).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slices: Option<Range<usize>>,
    /// The slice that is the same, where one is repeated: either may be the wrong one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub twin: Option<usize>,
    /// Bytes concerned in the file, first and end (exclusive).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Range<u64>>,
    /// The file concerned, where it is not the item itself.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "tomokit_formats::shown::lossy")]
    pub file: Option<PathBuf>,
}

impl Finding {
    /// A finding without a place.
    pub fn new(kind: Kind, weight: Weight, text: impl Into<String>) -> Finding {
        Finding { kind, weight, text: text.into(), slices: None, twin: None, bytes: None, file: None }
    }

    /// Concerns these slices.
    pub fn at(mut self, slices: Range<usize>) -> Finding {
        self.slices = Some(slices);
        self
    }

    /// Concerns these bytes.
    pub fn bytes(mut self, bytes: Option<Range<u64>>) -> Finding {
        self.bytes = bytes;
        self
    }

    /// Concerns this file.
    pub fn file(mut self, file: Option<PathBuf>) -> Finding {
        self.file = file;
        self
    }
}

/// How to look.
#[derive(Clone, Debug)]
pub struct Request {
    /// Files, folders, disks.
    pub paths: Vec<PathBuf>,
    /// How to read.
    pub open: OpenOptions,
    /// Headers, sizes, links and a few slices only.
    pub quick: bool,
}

/// The items found, before any of them is read.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// What will be looked at.
    pub items: Vec<Item>,
    /// Folders that are not entered.
    pub left_out: Vec<LeftOut>,
    /// Look at samples only.
    pub quick: bool,
    /// Bytes of values that will be read, as far as known.
    pub bytes: u64,
    #[serde(skip)]
    open: OpenOptions,
    #[serde(skip)]
    budget: Budget,
}

/// Numbers of a slice, for pictures and programs.
#[derive(Clone, Debug, Serialize)]
pub struct Levels {
    /// Smallest finite value of all.
    pub min: Option<f32>,
    /// Largest.
    pub max: Option<f32>,
    /// Share of voxels that are exactly zero.
    pub zero_share: f64,
}

/// What is said of one item.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Path as found.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub path: PathBuf,
    /// Format or layout.
    pub format: Option<&'static str>,
    /// Volume, scan, file.
    pub kind: ItemKind,
    /// The verdict.
    pub verdict: Verdict,
    /// Size, where it could be opened.
    pub shape: Option<Shape>,
    /// Type of the values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtype: Option<DType>,
    /// Slices looked at.
    pub looked_at: usize,
    /// Range of values and zeros, where values were looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub levels: Option<Levels>,
    /// The findings, heaviest first.
    pub findings: Vec<Finding>,
    /// Bytes of values read.
    pub bytes_read: u64,
    /// Wall time, seconds.
    pub seconds: f64,
}

impl Report {
    fn new(item: &Item) -> Report {
        Report {
            path: item.path.clone(),
            format: item.format,
            kind: item.kind,
            verdict: Verdict::Good,
            shape: None,
            dtype: None,
            looked_at: 0,
            levels: None,
            findings: Vec::new(),
            bytes_read: 0,
            seconds: 0.0,
        }
    }

    /// Slices named by findings that are no remarks, ascending.
    pub fn bad_slices(&self) -> Vec<usize> {
        let n = self.shape.map_or(0, |s| s.frames);
        let mut bad: Vec<usize> = (self.findings.iter())
            .filter(|f| f.weight > Weight::Remark)
            .filter_map(|f| f.slices.clone())
            .flat_map(|r| r.start..r.end.min(n))
            .collect();
        bad.sort_unstable();
        bad.dedup();
        bad
    }

    fn conclude(mut self, start: std::time::Instant) -> Report {
        self.findings.sort_by_key(|f| (std::cmp::Reverse(f.weight), f.slices.as_ref().map_or(0, |s| s.start)));
        self.verdict = match self.findings.iter().map(|f| f.weight).max() {
            Some(Weight::Broken) => Verdict::Broken,
            Some(Weight::Suspicious) => Verdict::Suspicious,
            _ if self.looked_at == 0 && self.findings.iter().any(|f| f.kind == Kind::Unreadable) => Verdict::NotRead,
            _ => Verdict::Good,
        };
        self.seconds = start.elapsed().as_secs_f64();
        self
    }
}

/// Finds the items.
///
/// # Errors
/// A path that is not there and a folder with nothing to look at, where it is the only one named.
pub fn plan(request: &Request, budget: Budget, cancel: &Cancel) -> Result<Plan> {
    let (mut items, mut left_out) = (Vec::new(), Vec::new());
    for path in &request.paths {
        let found = walk::walk(path, &request.open, cancel).and_then(|found| match found.items.is_empty() {
            true => Err(Error::unsupported(path, "no volume, series or scan in this folder")
                .hint("name a file, or insist on a format with --format")),
            false => Ok(found),
        });
        match found {
            Ok(found) => {
                left_out.extend(found.left_out);
                items.extend(found.items);
            }
            // Among several, one that is not there keeps nobody from the others: opening it tells why.
            Err(e) if request.paths.len() > 1 && e.fault() != Fault::Interrupted => items.push(Item::named(path)),
            Err(e) => return Err(e),
        }
    }
    let bytes = items.iter().map(|i| i.bytes).sum();
    Ok(Plan { items, left_out, quick: request.quick, bytes, open: request.open.clone(), budget })
}

/// Items up to this size are looked at several at a time; larger ones one after the other, each by all threads, so that
/// a disk reads one file from front to back.
const SMALL: u64 = 64 << 20;

/// Looks at every item. Reports come in the order of the plan.
///
/// # Errors
/// Only where the user interrupts: what cannot be read is a finding.
pub fn execute(plan: &Plan, progress: &dyn Progress, cancel: &Cancel) -> Result<Vec<Report>> {
    match plan.quick {
        // How much of each will be read is known only when it is open.
        true => progress.begin("sampling", 0),
        false => progress.begin("checking", plan.bytes),
    }
    let threads = rayon::current_num_threads();
    let mut reports: Vec<Option<Report>> = plan.items.iter().map(|_| None).collect();
    let (small, large): (Vec<_>, Vec<_>) = reports
        .iter_mut()
        .zip(&plan.items)
        .partition(|(_, item)| item.bytes <= SMALL && item.format != Some(tomokit_formats::nexus::SPEC.name));
    let share = Budget { bytes: (plan.budget.bytes / threads as u64).max(16 << 20) };
    // Threads of their own, not the pool's: a reader that waits for the pool with a lock in its hand must not be given
    // another item to work on meanwhile. HDF5's library does one thing at a time anyway: such files come one by one.
    let queue = Mutex::new(small.into_iter());
    let take = || queue.lock().unwrap_or_else(|e| e.into_inner()).next();
    let work = || -> Result<()> {
        while let Some((slot, item)) = take() {
            *slot = Some(one(item, plan, 1, share, progress, cancel)?);
        }
        Ok(())
    };
    let outcome = std::thread::scope(|scope| {
        let workers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mine = work();
        let theirs = workers
            .into_iter()
            .map(|w| w.join().unwrap_or_else(|_| Err(Error::new(Fault::System, "a worker thread died"))));
        theirs.fold(mine, Result::and)
    })
    .and_then(|()| {
        large.into_iter().try_for_each(|(slot, item)| {
            *slot = Some(one(item, plan, threads, plan.budget, progress, cancel)?);
            Ok(())
        })
    });
    progress.end();
    outcome?;
    Ok(reports.into_iter().flatten().collect())
}

/// Looks at one item.
fn one(
    item: &Item,
    plan: &Plan,
    threads: usize,
    budget: Budget,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Report> {
    cancel.check()?;
    let start = std::time::Instant::now();
    let mut report = Report::new(item);
    let job = Job { plan, threads, budget, progress, cancel };
    match volume::examine(item, &job, &mut report) {
        Ok(()) => {}
        Err(e) if e.fault() == Fault::Interrupted => return Err(e),
        Err(e) => report.findings.push(unread(&e, item)),
    }
    Ok(report.conclude(start))
}

/// What a look at one item needs.
struct Job<'a> {
    plan: &'a Plan,
    threads: usize,
    budget: Budget,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
}

/// An item that cannot be opened. What a walk met by chance and is no stack that we read says nothing against it.
fn unread(e: &Error, item: &Item) -> Finding {
    let f = unreadable(e, &item.path);
    // Named by the user, and no file and no folder of a format we know.
    if item.named && item.format.is_none() && !item.path.is_file() {
        return Finding { kind: Kind::NotLookedAt, ..f };
    }
    // Nothing at all is in no format, but under such a name something was meant to be. The same where the name is that of a
    // format that says by itself what it is: what it says is gone.
    if e.fault() == Fault::Unsupported && !item.named && item.bytes > 0 && !lost_its_head(&item.path) {
        return Finding { weight: Weight::Remark, text: format!("not looked at: {}", f.text), ..f };
    }
    f
}

/// True for a file that begins like no format we know, under the name of one that always begins alike.
fn lost_its_head(path: &Path) -> bool {
    const ALIKE: [&str; 6] = ["npy", "edf", "tif", "tiff", "nrrd", "png"];
    let is_ours = path.extension().is_some_and(|e| ALIKE.iter().any(|a| e.eq_ignore_ascii_case(a)));
    is_ours && path.is_file() && Candidate::look(path).is_ok_and(|c| registry::claims(&c).is_empty())
}

/// An error met while opening or reading, as a finding.
fn unreadable(e: &Error, item: &Path) -> Finding {
    let (kind, weight) = match e.fault() {
        // Says nothing about the file.
        Fault::Limit => (Kind::NotLookedAt, Weight::Suspicious),
        _ if e.is_denied() => (Kind::NotLookedAt, Weight::Suspicious),
        Fault::Unsupported => (Kind::Unreadable, Weight::Suspicious),
        _ => (Kind::Unreadable, Weight::Broken),
    };
    let mut text = e.to_string();
    // The item's own path is said already.
    if let Some(rest) = text.strip_prefix(&format!("{}: ", item.display())) {
        text = rest.to_owned();
    }
    let mut cause = std::error::Error::source(e);
    while let Some(c) = cause {
        text += &format!(": {c}");
        cause = c.source();
    }
    if let Some(hint) = e.advice() {
        text += &format!("; {hint}");
    }
    let file = e.file_path().filter(|p| *p != item).map(Path::to_owned);
    if kind == Kind::NotLookedAt {
        text = format!("not looked at: {text}");
    }
    Finding::new(kind, weight, text).file(file)
}
