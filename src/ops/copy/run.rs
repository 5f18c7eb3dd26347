//! The whole run: passes until nothing is left to try, full disks replaced, and the word "safe" only when it is.

use super::engine::{Ctx, Failure, Throttle, pass};
use super::finish;
use super::jobs::{first_jobs, make_folders, rename_whole, statuses};
use super::outcome::{Done, Failed, Kind, TargetDone};
use super::plan::{Plan, TargetPlan, Todo};
use super::target::{Stop, Target};
use super::{ReadBackWhen, checker, onway, plan};
use crate::stream::{Cancel, Progress};
use crate::trust::journal::Event;
use crate::trust::{now, one_line};
use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tomokit_formats::Result;

/// Copies.
///
/// # Errors
/// A target that cannot be held or locked, `Interrupted`. Single files that fail are in the result.
pub fn execute(mut plan: Plan, progress: &dyn Progress, cancel: &Cancel) -> Result<Done> {
    let start = Instant::now();
    let read_back = plan.request.read_back != ReadBackWhen::No;
    let mut targets = Vec::new();
    for t in &plan.targets {
        targets.push(Target::open(t, &plan.request.sources, read_back)?);
    }
    let mut spares = plan.request.spares.clone().into_iter();
    for (t, own) in targets.iter().zip(&plan.targets) {
        stays_sealed(t, own, spares.len());
    }
    let mut failed: Vec<Failed> = Vec::new();
    put_checkers(&plan, &targets, cancel, &mut failed)?;
    let throttle = Throttle::new(plan.request.rate);
    let mut finished = Vec::new();
    let mut tries: HashMap<(u32, usize), u32> = HashMap::new();
    let mut recopied: HashSet<(u32, usize)> = HashSet::new();
    let mut wait = Duration::from_millis(500);

    progress.begin("copying", plan.bytes_copied);
    let mut status = statuses(&plan);
    rename_whole(&plan, &targets, &status)?;
    make_folders(&plan, &targets);
    let (mut jobs, mut verify) = first_jobs(&plan, &status);
    loop {
        let failures = Mutex::new(Vec::new());
        let ctx = Ctx {
            plan: &plan,
            targets: &targets,
            status: &status,
            failures: &failures,
            progress,
            cancel,
            throttle: &throttle,
        };
        let ran = pass(&ctx, &jobs, &verify);
        let failures = failures.into_inner().unwrap_or_else(|e| e.into_inner());
        if let Err(e) = ran {
            // What is on the disks is recorded; the same command goes on from here.
            progress.end();
            return Err(e);
        }
        let mut again: HashMap<u32, u32> = HashMap::new();
        let mut lost: Vec<Failure> = Vec::new();
        for f in failures {
            let n = tries.entry((f.item, f.target)).or_default();
            let retry = match f.kind {
                // Once: a disk that lies twice is not tried a third time.
                Kind::Mismatch => recopied.insert((f.item, f.target)),
                Kind::Differs => plan.request.overwrite && recopied.insert((f.item, f.target)),
                k => k.passes() && *n < plan.request.retries,
            };
            *n += 1;
            if retry && targets[f.target].stopped().is_none() {
                let todo = if f.kind == Kind::Unread { Todo::Verify } else { Todo::Copy };
                status[f.target][f.item as usize].store(todo as u8, Relaxed);
                *again.entry(f.item).or_default() |= 1 << f.target;
            } else {
                lost.push(f);
            }
        }
        // A full disk is sealed; what did not fit goes to the next one.
        let full: Vec<usize> =
            (0..targets.len()).filter(|t| matches!(targets[*t].stopped(), Some(Stop::Full(_)))).collect();
        let mut moved = false;
        for t in full {
            let Some(path) = spares.next() else { break };
            let next = next_target(&plan, t, &path, &status, cancel)?;
            let opened = Target::open(&next, &plan.request.sources, read_back)?;
            stays_sealed(&opened, &next, spares.len());
            put_checkers(&plan, std::slice::from_ref(&opened), cancel, &mut failed)?;
            progress.note(&format!(
                "{} is full and sealed; going on with {}",
                plan.targets[t].path.display(),
                path.display()
            ));
            let old_plan = std::mem::replace(&mut plan.targets[t], next);
            let old = std::mem::replace(&mut targets[t], opened);
            finished.push(seal(old, &old_plan, &plan, progress));
            status[t] = plan.targets[t].todo.iter().map(|d| AtomicU8::new(*d as u8)).collect();
            lost.retain(|f| f.target != t);
            tries.retain(|k, _| k.1 != t);
            moved = true;
        }
        failed.extend(lost.into_iter().map(|f| failure(&plan, f)));
        if moved {
            (jobs, verify) = first_jobs(&plan, &status);
            continue;
        }
        if again.is_empty() {
            break;
        }
        progress.note(&format!("files not right yet, and tried again: {}", again.len()));
        pause(wait, cancel)?;
        wait = (wait * 2).min(Duration::from_secs(30));
        (jobs, verify) = (Vec::new(), Vec::new());
        let mut again: Vec<(u32, u32)> = again.into_iter().collect();
        again.sort_unstable();
        for (item, mask) in again {
            let unread = |t: &usize| status[*t][item as usize].load(Relaxed) == Todo::Verify as u8;
            let bits = |want: bool| {
                (0..targets.len()).filter(|t| mask & (1 << t) != 0 && unread(t) == want).fold(0, |m, t| m | 1 << t)
            };
            for (list, bits) in [(&mut jobs, bits(false)), (&mut verify, bits(true))] {
                if bits != 0 {
                    list.push((item, bits));
                }
            }
        }
        // A file that was read back and not recorded in this run's opening state is copied again instead.
        verify.retain(|(item, mask)| {
            let known = (0..targets.len()).all(|t| {
                mask & (1 << t) == 0 || targets[t].state.files.has(&plan.targets[t].dest(&plan.gathered, *item))
            });
            if !known {
                jobs.push((*item, *mask));
            }
            known
        });
    }
    progress.end();
    onway::run(&plan, &targets, &status, progress, cancel, &mut failed)?;
    left_out(&plan, &targets, &status, &mut failed);
    let current = plan.targets.iter().map(|t| t.path.clone()).collect();
    for (t, target) in targets.into_iter().enumerate() {
        let missing = missing(&plan, &plan.targets[t], &failed);
        finished.push(finish::finish(target, &plan.targets[t], &plan, missing, progress));
    }
    for e in plan.unreadable() {
        failed.push(Failed {
            path: e.file_path().map(|p| p.display().to_string()).unwrap_or_default(),
            target: plan.targets.first().map(|t| t.path.clone()).unwrap_or_default(),
            kind: Kind::Source,
            why: one_line(e),
        });
    }
    Ok(Done {
        targets: finished,
        failed,
        seconds: start.elapsed().as_secs_f64(),
        bytes_read: plan.bytes_read,
        current,
        spares: spares.collect(),
    })
}

/// What a target was to get and does not have. A file that was found damaged is there, and recorded as such.
fn missing(plan: &Plan, own: &TargetPlan, failed: &[Failed]) -> u64 {
    let lost = |f: &&Failed| f.target == own.path && !matches!(f.kind, Kind::Mismatch | Kind::Unread);
    let refused = own.todo.iter().filter(|t| **t == Todo::Refused).count();
    (failed.iter().filter(lost).count() + refused + plan.unreadable().len()) as u64
}

/// Files whose target had stopped before they came up.
fn left_out(plan: &Plan, targets: &[Target], status: &[Vec<AtomicU8>], failed: &mut Vec<Failed>) {
    for (t, target) in targets.iter().enumerate() {
        let (kind, why) = match target.stopped() {
            Some(Stop::Full(why)) => (Kind::Full, why),
            Some(Stop::Gone(why)) => (Kind::Gone, why),
            None => continue,
        };
        let place = &plan.targets[t].path;
        let listed: HashSet<String> = failed.iter().filter(|f| f.target == *place).map(|f| f.path.clone()).collect();
        for (item, s) in plan.gathered.items.iter().zip(&status[t]) {
            if ![Todo::Copy, Todo::Adopt, Todo::Convert].iter().any(|d| s.load(Relaxed) == *d as u8) {
                continue;
            }
            let path = plan.gathered.path(item).display().to_string();
            if !listed.contains(&path) {
                failed.push(Failed { path, target: place.clone(), kind, why: why.clone() });
            }
        }
    }
}

fn failure(plan: &Plan, f: Failure) -> Failed {
    let path = plan.gathered.path(&plan.gathered.items[f.item as usize]).display().to_string();
    Failed { path, target: plan.targets[f.target].path.clone(), kind: f.kind, why: one_line(&f.error) }
}

/// The plan of a disk that takes over: only what the full one does not have.
fn next_target(
    plan: &Plan,
    t: usize,
    path: &std::path::Path,
    status: &[Vec<AtomicU8>],
    cancel: &Cancel,
) -> Result<TargetPlan> {
    let mut next = plan::target_of(&plan.request, &plan.gathered, path, cancel)?;
    for (i, todo) in next.todo.iter_mut().enumerate() {
        let s = status[t][i].load(Relaxed);
        if s == Todo::Done as u8 || s == Todo::Verify as u8 || s == Todo::Rename as u8 {
            *todo = Todo::Done;
        }
    }
    Ok(next)
}

fn seal(target: Target, own: &TargetPlan, plan: &Plan, progress: &dyn Progress) -> TargetDone {
    let why = match target.stopped() {
        Some(Stop::Full(w) | Stop::Gone(w)) => w,
        None => String::new(),
    };
    let mut journal = target.journal();
    if let Err(e) = journal.push(&Event::Sealed { t: now(), why }).and_then(|()| journal.sync()) {
        log::warn!("{}", one_line(&e));
    }
    drop(journal);
    finish::finish(target, own, plan, 0, progress)
}

/// A disk that an earlier run filled and sealed stays as it is while there is a further one: what does not fit is there
/// already, or goes there.
fn stays_sealed(target: &Target, own: &TargetPlan, spares: usize) {
    let wanted = own.todo.iter().any(|t| matches!(t, Todo::Copy | Todo::Adopt | Todo::Convert));
    if let Some(why) = target.state.sealed.as_ref().filter(|_| wanted && spares > 0) {
        target.stop(Stop::Full(why.clone()));
    }
}

fn put_checkers(plan: &Plan, targets: &[Target], cancel: &Cancel, failed: &mut Vec<Failed>) -> Result<()> {
    let r = &plan.request;
    for (t, e) in checker::put_on_all(targets, &r.checkers, r.read_back != ReadBackWhen::No, cancel)? {
        let (kind, e) = targets[t].judge(e);
        let target = targets[t].root.path().to_owned();
        failed.push(Failed { path: checker::FOLDER.into(), target, kind, why: one_line(&e) });
    }
    Ok(())
}

fn pause(wait: Duration, cancel: &Cancel) -> Result<()> {
    let until = Instant::now() + wait;
    while Instant::now() < until {
        cancel.check()?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::copy::{Request, plan as make_plan};
    use crate::stream::Budget;
    use crate::trust::{Name, journal};
    use std::path::Path;
    use std::sync::atomic::AtomicU32;

    /// A disk that loses a bit between writing and reading back, so many times.
    struct Saboteur<'a> {
        file: &'a Path,
        times: AtomicU32,
    }

    impl Progress for Saboteur<'_> {
        fn begin(&self, _: &str, _: u64) {}
        fn advance(&self, _: u64) {}
        fn note(&self, text: &str) {
            if text.contains("reading it back")
                && self.times.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).is_ok()
            {
                let time = std::fs::metadata(self.file).unwrap().modified().unwrap();
                let mut data = std::fs::read(self.file).unwrap();
                data[70_000] ^= 4;
                std::fs::write(self.file, data).unwrap();
                std::fs::File::options().write(true).open(self.file).unwrap().set_modified(time).unwrap();
            }
        }
        fn end(&self) {}
    }

    fn run(times: u32) -> (tempfile::TempDir, Done) {
        let dir = tempfile::tempdir().unwrap();
        let (src, disk) = (dir.path().join("src"), dir.path().join("disk"));
        std::fs::create_dir(&src).unwrap();
        std::fs::create_dir(&disk).unwrap();
        std::fs::write(src.join("a.vol"), vec![7; 100_000]).unwrap();
        std::fs::write(src.join("b.vol"), vec![8; 1000]).unwrap();
        let mut r = Request::new(vec![src], vec![disk.clone()], Budget { bytes: 64 << 20 });
        r.read_back = ReadBackWhen::End;
        let cancel = Cancel::default();
        let plan = make_plan(&r, &cancel).unwrap();
        let saboteur = Saboteur { file: &disk.join("src/a.vol"), times: AtomicU32::new(times) };
        let done = execute(plan, &saboteur, &cancel).unwrap();
        (dir, done)
    }

    #[test]
    fn what_reads_back_wrong_is_copied_once_more_and_then_reported() {
        let (dir, done) = run(1);
        assert!(done.failed.is_empty(), "{:?}", done.failed);
        assert_eq!(done.targets[0].recorded_verified, 2);
        let mut mismatches = 0;
        let count = |e: &Event| mismatches += u32::from(matches!(e, Event::Mismatch { .. }));
        journal::read_record(&dir.path().join("disk"), count).unwrap();
        assert_eq!(mismatches, 1);

        let (dir, done) = run(2);
        assert_eq!(done.failed.len(), 1);
        assert_eq!(done.failed[0].kind, Kind::Mismatch);
        assert!(done.failed[0].is_an_answer());
        let state = journal::read_record(&dir.path().join("disk"), |_| {}).unwrap().unwrap();
        let bad = state.files.get(&Name::parse(b"src/a.vol").unwrap()).unwrap();
        assert!(bad.bad && bad.verified.is_none());
        assert!(state.files.get(&Name::parse(b"src/b.vol").unwrap()).unwrap().verified.is_some());
    }
}
