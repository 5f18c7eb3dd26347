//! Going on with a file that an earlier run left unfinished.

use super::engine::Ctx;
use super::flow::Mode;
use super::plan::BLOCK;
use super::suits::same_source_time;
use crate::trust::root::PART;
use crate::trust::{Midstate, Name, Sha256};
use tomokit_formats::io::read_at;

/// From which byte on a file is read: the last mark that every target has on its disk, its last stretch read again there.
pub(super) fn resume_point(ctx: &Ctx<'_>, item: u32, modes: &[Mode], size: u64, modified_ns: i64) -> (u64, Sha256) {
    let fresh = (0, Sha256::new());
    let mut common: Option<Vec<(u64, Midstate)>> = None;
    for (t, mode) in modes.iter().enumerate() {
        match mode {
            Mode::Skip => continue,
            Mode::Adopt => return fresh,
            Mode::Write => {}
        }
        let dest = ctx.dest(item, t);
        let target = &ctx.targets[t];
        let part =
            target.state.parts.get(&dest).filter(|p| p.size == size && same_source_time(p.modified_ns, modified_ns));
        // Nothing was begun, as with nearly all files: the target need not be asked.
        let Some(part) = part else { return fresh };
        let len = target.root.stat(&dest.suffixed(PART)).ok().flatten().filter(|s| s.is_file).map_or(0, |s| s.size);
        let usable: Vec<_> = part.states.iter().filter(|(o, _)| *o <= len && *o <= size).cloned().collect();
        common = Some(match common {
            None => usable,
            Some(c) => c.into_iter().filter(|s| usable.contains(s)).collect(),
        });
    }
    let Some((offset, state)) = common.as_ref().and_then(|c| c.last()).cloned() else { return fresh };
    let before = common.iter().flatten().rev().nth(1);
    for (t, _) in modes.iter().enumerate().filter(|(_, m)| **m == Mode::Write) {
        if !stretch_is_there(ctx, t, &ctx.dest(item, t), before, (offset, &state)) {
            return fresh;
        }
    }
    match Sha256::from_midstate(&state, offset) {
        Some(sum) => (offset, sum),
        None => fresh,
    }
}

/// Reads the last recorded stretch of an unfinished file: it must lead from the state before it to the one after it.
fn stretch_is_there(
    ctx: &Ctx<'_>,
    t: usize,
    dest: &Name,
    before: Option<&(u64, Midstate)>,
    after: (u64, &Midstate),
) -> bool {
    let mut sum = match before {
        Some((o, m)) => match Sha256::from_midstate(m, *o) {
            Some(s) => s,
            None => return false,
        },
        None => Sha256::new(),
    };
    let Ok(file) = ctx.targets[t].root.open_read(&dest.suffixed(PART), false) else { return false };
    tomokit_formats::io::forget_cached(&file);
    let mut buffer = vec![0; BLOCK];
    while sum.len() < after.0 && !ctx.cancel.is_cancelled() {
        let want = (after.0 - sum.len()).min(BLOCK as u64) as usize;
        match read_at(&file, &mut buffer[..want], sum.len()) {
            Ok(n) if n > 0 => sum.update(&buffer[..n]),
            _ => return false,
        }
    }
    sum.len() == after.0 && sum.midstate() == *after.1
}
