//! Copying while the experiment runs: files go to the disks once they are finished, again when they change, and every
//! round ends with disks that may be unplugged.
//!
//! The tree is looked through every few seconds, which works on any network drive; where the system reports changes, the
//! next look comes at once. A source or target that goes away is waited for. Each round is a whole [`execute`]: recorded,
//! verified, flushed.

mod known;
mod source;
mod watch;

use super::Request;
use super::gather::{Gathered, gather};
use super::outcome::{Done, Kind};
use super::plan::{Plan, Verdict, plan_of};
use super::ready::not_yet;
use super::run::execute;
use crate::stream::{Cancel, Progress};
use crate::trust::{fresh, one_line};
use known::{Key, Known, Version, version};
use serde::Serialize;
use source::{Held, Place};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tomokit_formats::{Error, Fault, Result};
use watch::{wait, watch};

/// Names a further disk for the one that is full.
pub type NextDisk = Box<dyn FnMut(&Path) -> Option<PathBuf>>;

/// How to follow.
pub struct FollowRequest {
    /// What to copy and how.
    pub copy: Request,
    /// Time a file must stand still before it counts as finished.
    pub settle: Duration,
    /// Time between two looks.
    pub every: Duration,
    /// End, after a last pass over everything, once nothing happened for so long. `None`: until stopped.
    pub until_idle: Option<Duration>,
    /// Asked for a further disk when one is full and no spare is left.
    pub next: NextDisk,
}

/// What a follow did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Followed {
    /// Rounds in which something was copied.
    pub rounds: u64,
    /// Files copied, counting each target and each time.
    pub copied_files: u64,
    /// Bytes.
    pub copied_bytes: u64,
    /// Read-backs that were good.
    pub verified_files: u64,
    /// Files that changed after they were copied, and were copied again.
    pub again: u64,
    /// What did not arrive in the end.
    pub failed: Vec<super::Failed>,
    /// Files that never looked finished; without the last pass, those that are not on the disks yet (the first thousand).
    pub unfinished: Vec<String>,
    /// How many they are.
    pub unfinished_files: u64,
    /// Sources and disks that were away at the end.
    pub waiting_for: Vec<String>,
    /// It was stopped in the middle of a round: files are part way.
    pub interrupted: bool,
    /// The last pass over everything was made.
    pub finalised: bool,
    /// Disks that became full on the way.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub sealed: Vec<PathBuf>,
    /// Targets at the end.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub targets: Vec<PathBuf>,
    /// All of them flushed.
    pub safe_to_unplug: bool,
    /// Seconds.
    pub seconds: f64,
}

struct Follower<'a> {
    request: FollowRequest,
    places: Vec<Place>,
    held: HashMap<PathBuf, Held>,
    /// By source, the folder its files are below.
    folders: Vec<PathBuf>,
    known: Known,
    waiting_for: HashSet<String>,
    out: Followed,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
}

/// Follows until stopped (`cancel`), idle, or out of disks. Ctrl-C is the usual end and no error: what is on the disks is
/// whole, recorded and flushed.
///
/// # Errors
/// Bad patterns, no such source or target at the start.
pub fn follow(mut request: FollowRequest, progress: &dyn Progress, cancel: &Cancel) -> Result<Followed> {
    let start = Instant::now();
    request.copy.select.skip_unfinished = true;
    // What is wrong from the beginning is not waited for.
    for path in request.copy.sources.iter().chain(&request.copy.targets) {
        std::fs::metadata(path).map_err(|e| Error::io(path, "looking at", e))?;
    }
    let (events, _watcher) = watch(&request.copy.sources);
    let mut f = Follower {
        places: request.copy.sources.iter().map(|s| Place::new(s)).collect(),
        held: request.copy.targets.iter().map(|t| (t.clone(), Held::new(t))).collect(),
        folders: Vec::new(),
        request,
        known: Known::default(),
        waiting_for: HashSet::new(),
        out: Followed::default(),
        progress,
        cancel,
    };
    let mut last_change = Instant::now();
    while !cancel.is_cancelled() {
        let began = Instant::now();
        match f.round()? {
            Round::Changed => last_change = Instant::now(),
            Round::Quiet => {}
            Round::NoMoreDisks => break,
        }
        if f.request.until_idle.is_some_and(|idle| last_change.elapsed() >= idle) {
            f.finalise()?;
            break;
        }
        // A look that takes long is not made more often than it is worth.
        let pause = f.request.every.max(began.elapsed().min(Duration::from_secs(60)) * 2);
        wait(&events, pause, cancel);
    }
    if !f.out.finalised {
        (f.out.unfinished_files, f.out.unfinished) = f.known.pending(&f.folders, LISTED);
    }
    f.out.waiting_for = f.waiting_for.into_iter().collect();
    f.out.waiting_for.sort();
    f.out.targets = f.request.copy.targets.clone();
    f.out.seconds = start.elapsed().as_secs_f64();
    Ok(f.out)
}

/// Names of unfinished files in the result, at most.
const LISTED: usize = 1000;

enum Round {
    Changed,
    Quiet,
    NoMoreDisks,
}

impl Follower<'_> {
    /// Says once that something is waited for, and once that it came back.
    fn waiting(&mut self, what: &str, is_away: bool) {
        if is_away && self.waiting_for.insert(what.to_owned()) {
            self.progress.note(&format!("{what} went away: waiting for it to come back"));
        } else if !is_away && self.waiting_for.remove(what) {
            self.progress.note(&format!("{what} is back"));
        }
    }

    /// All files there are, or `None` while a source is away.
    fn look(&mut self) -> Result<Option<Gathered>> {
        let sources = self.request.copy.sources.clone();
        for (i, s) in sources.iter().enumerate() {
            let away = self.places[i].is_away();
            self.waiting(&s.display().to_string(), away);
            if away {
                return Ok(None);
            }
        }
        match gather(&sources, &self.request.copy.select, &self.all_targets()) {
            Ok(g) => {
                self.folders = g.sources.iter().map(|s| s.dir.clone()).collect();
                Ok(Some(g))
            }
            Err(e) if e.fault() == Fault::System => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn all_targets(&self) -> Vec<PathBuf> {
        self.request.copy.targets.iter().chain(&self.request.copy.spares).cloned().collect()
    }

    fn round(&mut self) -> Result<Round> {
        let Some(mut g) = self.look()? else { return Ok(Round::Quiet) };
        let mut changed = false;
        let (mut ready, mut keys) = (Vec::new(), Vec::new());
        let settle = self.request.settle;
        for item in std::mem::take(&mut g.items) {
            let (key, new) = self.known.notice(&g, &item, settle);
            changed |= new;
            if !self.known.is_wanted(key, settle) {
                continue;
            }
            let path = g.path(&item);
            match fresh::of_path(&path) {
                Ok(now) if now != version(&item) => {
                    self.known.changed(key, now);
                    changed = true;
                }
                _ if not_yet(&path, item.size).is_none() => {
                    ready.push(item);
                    keys.push((key, version(&item)));
                }
                _ => {}
            }
        }
        if !ready.is_empty() {
            g.items = ready;
            return self.copy(g, &keys);
        }
        Ok(if changed { Round::Changed } else { Round::Quiet })
    }

    /// True while a disk is not the one it was; says so once.
    fn is_a_target_away(&mut self) -> bool {
        let mut any = false;
        for t in self.request.copy.targets.clone() {
            // One that took over from a full disk is what it is by then.
            if self.held.entry(t.clone()).or_insert_with_key(|t| Held::new(t)).is_away() {
                self.waiting(&t.display().to_string(), true);
                any = true;
            }
        }
        any
    }

    fn copy(&mut self, g: Gathered, keys: &[(Key, Version)]) -> Result<Round> {
        if self.is_a_target_away() {
            return Ok(Round::Quiet);
        }
        let mut request = self.request.copy.clone();
        request.fill = true;
        let plan = match plan_of(&request, g, self.cancel) {
            Ok(p) => p,
            Err(e) => return self.target_trouble(e),
        };
        let plan = match self.without_refused(plan, keys)? {
            Some(p) => p,
            None => return Ok(Round::Quiet),
        };
        self.out.safe_to_unplug = false;
        let done = match execute(plan, self.progress, self.cancel) {
            Ok(d) => d,
            Err(e) => {
                self.out.interrupted = e.fault() == Fault::Interrupted;
                return self.target_trouble(e);
            }
        };
        for name in self.waiting_for.clone() {
            self.waiting(&name, false);
        }
        for t in self.request.copy.targets.clone() {
            self.held.entry(t).and_modify(Held::written);
        }
        self.out.rounds += 1;
        self.out.safe_to_unplug = done.targets.iter().all(|t| t.safe_to_unplug);
        self.out.interrupted = self.cancel.is_cancelled() && !self.out.safe_to_unplug;
        self.count(&done);
        // What cannot be read because its source went away is read when that is back.
        let away = self.places.iter().any(Place::is_away);
        let comes_again = |kind: Kind| match kind {
            Kind::Changed | Kind::Full | Kind::Gone | Kind::Interrupted => true,
            Kind::Source => away,
            _ => false,
        };
        let lost: HashMap<&str, Kind> = done.failed.iter().map(|f| (f.path.as_str(), f.kind)).collect();
        for (key, version) in keys {
            let kind = if lost.is_empty() { None } else { lost.get(self.known.shown(*key, &self.folders).as_str()) };
            match kind {
                None => self.out.again += u64::from(self.known.done(*key, *version)),
                // Tried again in the next round: the file changed, the disk is full or away.
                Some(kind) if comes_again(*kind) => {}
                Some(_) => self.known.give_up(*key, *version),
            }
        }
        for f in done.failed.iter().filter(|f| f.kind == Kind::Interrupted || !comes_again(f.kind)) {
            self.progress.note(&format!("{}: {}", f.path, f.why));
            self.out.failed.push(f.clone());
        }
        self.out.sealed.extend(done.targets.iter().filter(|t| t.full).map(|t| t.path.clone()));
        for t in done.targets.iter().filter(|t| t.gone) {
            self.waiting(&t.path.display().to_string(), true);
        }
        // Full disks were replaced while copying; the next rounds go to those that took over.
        self.request.copy.targets = done.current.clone();
        self.request.copy.spares = done.spares.clone();
        for t in done.targets.iter().filter(|t| t.full && done.current.contains(&t.path)) {
            match (self.request.next)(&t.path) {
                Some(next) => {
                    let list = &mut self.request.copy.targets;
                    list.iter_mut().filter(|p| **p == t.path).for_each(|p| *p = next.clone());
                }
                None => {
                    self.progress.note(&format!(
                        "{} is full and sealed. Connect another disk and start again with it as the destination",
                        t.path.display()
                    ));
                    self.out.failed.extend(done.failed.iter().filter(|f| f.kind == Kind::Full).cloned());
                    return Ok(Round::NoMoreDisks);
                }
            }
        }
        Ok(Round::Changed)
    }

    fn count(&mut self, done: &Done) {
        for t in &done.targets {
            self.out.copied_files += t.copied_files;
            self.out.copied_bytes += t.copied_bytes;
            self.out.verified_files += t.verified_files;
        }
    }

    /// A target that cannot be held now: waited for, unless something else is wrong.
    fn target_trouble(&mut self, e: Error) -> Result<Round> {
        match e.fault() {
            Fault::Interrupted => Ok(Round::Quiet),
            Fault::System => {
                let path = e.file_path();
                let on = self.request.copy.targets.iter().find(|t| path.is_some_and(|p| p.starts_with(t)));
                let name = on.map(PathBuf::as_path).or(path).map_or_else(|| one_line(&e), |p| p.display().to_string());
                self.waiting(&name, true);
                Ok(Round::Quiet)
            }
            _ => Err(e),
        }
    }

    /// Leaves out files that are refused, says why, once; `None` where nothing is left.
    fn without_refused(&mut self, plan: Plan, keys: &[(Key, Version)]) -> Result<Option<Plan>> {
        if plan.verdict != Verdict::Refuse {
            return Ok(Some(plan));
        }
        let refused = plan.refused_items();
        for f in plan.findings.iter().filter(|f| f.verdict == Verdict::Refuse) {
            let at = f.target.as_deref().unwrap_or_default();
            self.progress.note(&format!("refused: {at}: {} {} {}", f.count, f.text, f.examples.join(", ")));
        }
        if refused.is_empty() {
            return Err(Error::caller("the destination cannot be copied to; see above"));
        }
        for i in &refused {
            let (key, version) = &keys[*i];
            self.known.give_up(*key, *version);
        }
        self.out.failed.extend(plan.refused());
        // The rest comes again in the next round, without them.
        Ok(None)
    }

    /// One pass over everything, finished-looking or not.
    fn finalise(&mut self) -> Result<()> {
        // Whatever its name says, nobody goes on writing it.
        self.request.copy.select.skip_unfinished = false;
        let Some(mut g) = self.look()? else { return Ok(()) };
        self.progress.note("last pass over everything");
        if !self.out.sealed.is_empty() {
            // What lies on a full disk is not wanted a second time on the next one.
            let mut items = std::mem::take(&mut g.items);
            items.retain(|i| !self.known.is_done(&g, i));
            g.items = items;
        }
        let mut unfinished: Vec<String> = g
            .items
            .iter()
            .filter(|i| not_yet(&g.path(i), i.size).is_some())
            .map(|i| g.path(i).display().to_string())
            .collect();
        unfinished.sort();
        (self.out.unfinished_files, self.out.unfinished) = (unfinished.len() as u64, unfinished);
        if self.is_a_target_away() {
            return Ok(());
        }
        let mut request = self.request.copy.clone();
        request.fill = true;
        let plan = plan_of(&request, g, self.cancel)?;
        let refused = plan.refused();
        let done = execute(plan, self.progress, self.cancel)?;
        self.count(&done);
        self.out.failed = done.failed.iter().cloned().chain(refused).collect();
        self.out.safe_to_unplug = done.targets.iter().all(|t| t.safe_to_unplug);
        self.out.finalised = true;
        Ok(())
    }
}
