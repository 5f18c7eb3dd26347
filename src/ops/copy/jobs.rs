//! What a run has to do, file by file and target by target, and what comes before the first byte.

use super::plan::{Plan, Todo};
use super::target::Target;
use crate::trust::one_line;
use crate::trust::root::PART;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use tomokit_formats::Result;

/// What is still to be done, by target and file.
pub(super) fn statuses(plan: &Plan) -> Vec<Vec<AtomicU8>> {
    plan.targets.iter().map(|t| t.todo.iter().map(|d| AtomicU8::new(*d as u8)).collect()).collect()
}

pub(super) type Jobs = Vec<(u32, u32)>;

/// Files to copy (or compare), and files to read back only, each with a bit per target.
pub(super) fn first_jobs(plan: &Plan, status: &[Vec<AtomicU8>]) -> (Jobs, Jobs) {
    let (mut jobs, mut verify) = (Vec::new(), Vec::new());
    for i in 0..plan.gathered.items.len() {
        let bits = |todo: &[Todo]| {
            let is = |s: &Vec<AtomicU8>| todo.iter().any(|d| s[i].load(Relaxed) == *d as u8);
            status.iter().enumerate().filter(|(_, s)| is(s)).fold(0, |m, (t, _)| m | 1 << t)
        };
        for (list, bits) in
            [(&mut jobs, bits(&[Todo::Copy, Todo::Adopt])), (&mut verify, bits(&[Todo::Verify, Todo::Rename]))]
        {
            if bits != 0 {
                list.push((i as u32, bits));
            }
        }
    }
    (jobs, verify)
}

/// Files whose data and record were on the disk when an earlier run ended, but not their names.
pub(super) fn rename_whole(plan: &Plan, targets: &[Target], status: &[Vec<AtomicU8>]) -> Result<()> {
    for (t, target) in targets.iter().enumerate() {
        let mut any = false;
        for (i, s) in status[t].iter().enumerate().filter(|(_, s)| s.load(Relaxed) == Todo::Rename as u8) {
            let dest = plan.targets[t].dest(&plan.gathered, i as u32);
            target.root.rename(&dest.suffixed(PART), &dest)?;
            s.store(Todo::Verify as u8, Relaxed);
            any = true;
        }
        if any && !target.root.sync_volume()? {
            target.root.sync_folder(None)?;
        }
    }
    Ok(())
}

pub(super) fn make_folders(plan: &Plan, targets: &[Target]) {
    for (t, target) in targets.iter().enumerate() {
        for f in &plan.gathered.folders {
            let Some(name) = plan.targets[t].folder(f, plan.request.map_names) else {
                log::warn!("{f}: this empty folder's name cannot be kept on {}", target.root.path().display());
                continue;
            };
            if let Err(e) = target.root.make_folder(&name) {
                log::warn!("{}", one_line(&e));
            }
        }
    }
}
