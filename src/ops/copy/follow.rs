//! Copying while the experiment runs: files go to the disks once they are finished, again when they change, and every
//! round ends with disks that may be unplugged.
//!
//! The tree is looked through every few seconds, which works on any network drive; where the system reports changes, the
//! next look comes at once. A source or target that goes away is waited for. Each round is a whole [`execute`]: recorded,
//! verified, flushed.

use super::Request;
use super::gather::{Gathered, Item, gather};
use super::plan::{Plan, Verdict, plan_of};
use super::ready::not_yet;
use super::run::{Done, Kind, execute};
use crate::stream::{Cancel, Progress};
use crate::trust::{Name, one_line};
use notify::{RecursiveMode, Watcher};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use tomokit_formats::{Error, Fault, Result};

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
    /// Files that never looked finished.
    pub unfinished: Vec<String>,
    /// The last pass over everything was made.
    pub finalised: bool,
    /// Disks that became full on the way.
    pub sealed: Vec<PathBuf>,
    /// Targets at the end.
    pub targets: Vec<PathBuf>,
    /// All of them flushed.
    pub safe_to_unplug: bool,
    /// Seconds.
    pub seconds: f64,
}

/// What was last seen of a file.
struct Seen {
    size: u64,
    modified_ns: i64,
    since: Instant,
}

type Version = (u64, i64);

struct Follower<'a> {
    request: FollowRequest,
    seen: HashMap<(u32, Name), Seen>,
    /// Versions that are on the disks, or failed for good.
    done: HashMap<(u32, Name), Version>,
    /// Versions that cannot be copied until they change.
    given_up: HashMap<(u32, Name), Version>,
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
        request,
        seen: HashMap::new(),
        done: HashMap::new(),
        given_up: HashMap::new(),
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
    f.out.targets = f.request.copy.targets.clone();
    f.out.seconds = start.elapsed().as_secs_f64();
    Ok(f.out)
}

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
        for s in &sources {
            let away = std::fs::metadata(s).is_err();
            self.waiting(&s.display().to_string(), away);
            if away {
                return Ok(None);
            }
        }
        match gather(&sources, &self.request.copy.select, &self.all_targets()) {
            Ok(g) => Ok(Some(g)),
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
        let mut ready = Vec::new();
        for item in std::mem::take(&mut g.items) {
            changed |= self.notice(&item);
            if self.is_ready(&g, &item) {
                ready.push(item);
            }
        }
        if !ready.is_empty() {
            g.items = ready;
            return self.copy(g);
        }
        Ok(if changed { Round::Changed } else { Round::Quiet })
    }

    /// Takes note of a file's size and time; true where they are new.
    fn notice(&mut self, item: &Item) -> bool {
        let key = (item.source, item.below.clone());
        match self.seen.get_mut(&key) {
            Some(s) if (s.size, s.modified_ns) == (item.size, item.modified_ns) => false,
            Some(s) => {
                *s = Seen { size: item.size, modified_ns: item.modified_ns, since: Instant::now() };
                true
            }
            None => {
                // What was last changed long ago need not be watched first.
                let age = crate::trust::now().saturating_sub(item.modified_ns / 1_000_000_000);
                let old = age > 10 * self.request.settle.as_secs() as i64 + 60;
                let since = if old { Instant::now().checked_sub(self.request.settle) } else { None };
                let since = since.unwrap_or_else(Instant::now);
                self.seen.insert(key, Seen { size: item.size, modified_ns: item.modified_ns, since });
                true
            }
        }
    }

    fn is_ready(&self, g: &Gathered, item: &Item) -> bool {
        let key = (item.source, item.below.clone());
        let version = (item.size, item.modified_ns);
        if self.done.get(&key) == Some(&version) || self.given_up.get(&key) == Some(&version) {
            return false;
        }
        let still = self.seen.get(&key).is_some_and(|s| s.since.elapsed() >= self.request.settle);
        still && not_yet(&g.path(item), item.size).is_none()
    }

    fn copy(&mut self, g: Gathered) -> Result<Round> {
        let keys: Vec<((u32, Name), Version)> =
            g.items.iter().map(|i| ((i.source, i.below.clone()), (i.size, i.modified_ns))).collect();
        let paths: HashMap<String, usize> =
            g.items.iter().enumerate().map(|(i, it)| (g.path(it).display().to_string(), i)).collect();
        let mut request = self.request.copy.clone();
        request.fill = true;
        let plan = match plan_of(&request, g, self.cancel) {
            Ok(p) => p,
            Err(e) => return self.target_trouble(e),
        };
        let plan = match self.without_refused(plan, &keys)? {
            Some(p) => p,
            None => return Ok(Round::Quiet),
        };
        self.out.safe_to_unplug = false;
        let done = match execute(plan, self.progress, self.cancel) {
            Ok(d) => d,
            Err(e) => return self.target_trouble(e),
        };
        for t in self.request.copy.targets.clone() {
            self.waiting(&t.display().to_string(), false);
        }
        self.out.rounds += 1;
        self.out.safe_to_unplug = done.targets.iter().all(|t| t.safe_to_unplug);
        self.count(&done);
        let mut lost: HashMap<usize, Kind> = HashMap::new();
        for f in &done.failed {
            if let Some(i) = paths.get(&f.path) {
                lost.insert(*i, f.kind);
            }
        }
        for (i, (key, version)) in keys.into_iter().enumerate() {
            match lost.get(&i) {
                None => {
                    self.out.again += u64::from(self.done.insert(key, version).is_some());
                }
                // Tried again in the next round: the file changed, the disk is full or away.
                Some(Kind::Changed | Kind::Full | Kind::Gone | Kind::Interrupted) => {}
                Some(_) => drop(self.given_up.insert(key, version)),
            }
        }
        for f in done.failed.iter().filter(|f| !matches!(f.kind, Kind::Changed | Kind::Full | Kind::Gone)) {
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
                let name = e.file_path().map_or_else(|| one_line(&e), |p| p.display().to_string());
                self.waiting(&name, true);
                Ok(Round::Quiet)
            }
            _ => Err(e),
        }
    }

    /// Leaves out files that are refused, says why, once; `None` where nothing is left.
    fn without_refused(&mut self, plan: Plan, keys: &[((u32, Name), Version)]) -> Result<Option<Plan>> {
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
            self.given_up.insert(key.clone(), *version);
        }
        // The rest comes again in the next round, without them.
        Ok(None)
    }

    /// One pass over everything, finished-looking or not.
    fn finalise(&mut self) -> Result<()> {
        let Some(mut g) = self.look()? else { return Ok(()) };
        self.progress.note("last pass over everything");
        if !self.out.sealed.is_empty() {
            // What lies on a full disk is not wanted a second time on the next one.
            g.items.retain(|i| self.done.get(&(i.source, i.below.clone())) != Some(&(i.size, i.modified_ns)));
        }
        let mut unfinished: Vec<String> = g
            .items
            .iter()
            .filter(|i| not_yet(&g.path(i), i.size).is_some())
            .map(|i| g.path(i).display().to_string())
            .collect();
        unfinished.sort();
        self.out.unfinished = unfinished;
        let mut request = self.request.copy.clone();
        request.fill = true;
        let plan = plan_of(&request, g, self.cancel)?;
        let done = execute(plan, self.progress, self.cancel)?;
        self.count(&done);
        self.out.failed = done.failed.clone();
        self.out.safe_to_unplug = done.targets.iter().all(|t| t.safe_to_unplug);
        self.out.finalised = true;
        Ok(())
    }
}

/// Asks the system to report changes. Where it cannot (network drives, too many folders) looking regularly is all there is.
fn watch(sources: &[PathBuf]) -> (Receiver<()>, Option<notify::RecommendedWatcher>) {
    let (tx, rx) = channel();
    let heard = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|e| {
            !matches!(
                e.kind,
                notify::EventKind::Access(notify::event::AccessKind::Open(_) | notify::event::AccessKind::Read)
            )
        }) {
            let _ = tx.send(());
        }
    };
    let watcher = notify::recommended_watcher(heard).and_then(|mut w| {
        for s in sources {
            w.watch(s, RecursiveMode::Recursive)?;
        }
        Ok(w)
    });
    match watcher {
        Ok(w) => (rx, Some(w)),
        Err(e) => {
            log::warn!("changes are not reported here, the source is looked through regularly: {e}");
            (rx, None)
        }
    }
}

/// Waits for the time of the next look, or a little after a report of a change.
fn wait(events: &Receiver<()>, pause: Duration, cancel: &Cancel) {
    let until = Instant::now() + pause;
    // Not at each of a thousand reports.
    let earliest = Instant::now() + (pause / 4).min(Duration::from_secs(1));
    let mut heard = false;
    while !cancel.is_cancelled() {
        let now = Instant::now();
        if now >= until || (heard && now >= earliest) {
            break;
        }
        match events.recv_timeout(Duration::from_millis(100)) {
            Ok(()) => heard = true,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
    while events.try_recv().is_ok() {}
}
