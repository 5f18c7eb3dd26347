//! Whether the disks have the room: each by itself, those that share a volume, and all with the further ones.

use super::Request;
use super::gather::Gathered;
use super::plan::{Cases, Finding, TargetPlan, Todo, Verdict};
use crate::disk::{self, Volume};
use crate::trust::{JournalState, Root, journal};
use tomokit_formats::Result;

fn sized(n: u64) -> String {
    let (unit, name) = match n {
        0..1_000_000 => (1e3, "kB"),
        1_000_000..1_000_000_000 => (1e6, "MB"),
        _ => (1e9, "GB"),
    };
    format!("{:.2} {name}", n as f64 / unit)
}

/// Without room a copy is refused, unless what does not fit goes elsewhere or comes later.
fn lacking(r: &Request) -> Verdict {
    if r.spares.is_empty() && !r.fill { Verdict::Refuse } else { Verdict::Warn }
}

impl TargetPlan {
    /// Bytes that do not fit; 0 where the system does not tell the room.
    fn lacks(&self) -> u64 {
        self.volume.as_ref().and_then(Volume::room).map_or(0, |room| self.needed_bytes.saturating_sub(room))
    }
}

/// One target's.
pub(super) fn room(
    r: &Request,
    t: &mut TargetPlan,
    state: &JournalState,
    say: &mut impl FnMut(Verdict, String, Cases),
) {
    if let Some(why) = &state.sealed {
        say(Verdict::Warn, format!("this target was sealed: {why}"), Cases::default());
    }
    let Some(v) = &t.volume else {
        return say(
            Verdict::Warn,
            "the system does not tell what this target is: its room is not checked".into(),
            Cases::default(),
        );
    };
    for text in v.warnings() {
        let verdict = if v.read_only && text.starts_with("read-only") { Verdict::Refuse } else { Verdict::Warn };
        say(verdict, text, Cases::default());
    }
    let available = v.room().unwrap_or(u64::MAX);
    if t.needed_bytes > available {
        let spares = if r.spares.is_empty() {
            "free space, or name a further disk with --then"
        } else {
            "the rest goes to the next disk"
        };
        say(
            lacking(r),
            format!(
                "not enough room: {} needed in whole clusters, {} free; {spares}",
                sized(t.needed_bytes),
                sized(available)
            ),
            Cases::default(),
        );
    } else if t.needed_bytes > available / 100 * 97 {
        say(
            Verdict::Warn,
            format!("will be nearly full: {} needed, {} free", sized(t.needed_bytes), sized(available)),
            Cases::default(),
        );
    }
    let waste = t.needed_bytes.saturating_sub(t.copy_bytes);
    if waste > t.copy_bytes / 5 && waste > 100 << 20 {
        let text = format!("{} are lost to clusters of {} KiB: many small files", sized(waste), v.cluster >> 10);
        say(Verdict::Warn, text, Cases::default());
    }
}

/// Targets on one volume share its room. What no target has room for must fit on the further disks, less what these hold
/// of it already.
///
/// # Errors
/// A further disk whose record cannot be read.
pub(super) fn together(
    r: &Request,
    g: &Gathered,
    targets: &[(&TargetPlan, u64)],
    spares: &[Root],
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let mut say = |verdict, text: String| {
        findings.push(Finding { verdict, target: None, text, count: 0, examples: Vec::new() });
    };
    let mut volumes: Vec<u64> = targets.iter().map(|t| t.1).collect();
    volumes.sort_unstable();
    volumes.dedup();
    for volume in &volumes {
        let on_it: Vec<&TargetPlan> = targets.iter().filter(|t| t.1 == *volume).map(|t| t.0).collect();
        let Some(room) = on_it.iter().filter_map(|t| t.volume.as_ref()?.room()).min() else { continue };
        let needed: u64 = on_it.iter().map(|t| t.needed_bytes).sum();
        if on_it.len() > 1 && needed > room && on_it.iter().all(|t| t.lacks() == 0) {
            let names: Vec<String> = on_it.iter().map(|t| t.path.display().to_string()).collect();
            let names = names.join(" and ");
            say(lacking(r), format!("{names} are on one volume: {} needed, {} free", sized(needed), sized(room)));
        }
    }
    let mut lacks: u64 = targets.iter().map(|t| t.0.lacks()).sum();
    if spares.is_empty() || lacks == 0 {
        return Ok(());
    }
    let mut room = 0;
    for spare in spares {
        if !volumes.contains(&spare.dev()) {
            volumes.push(spare.dev());
            // What is not told is room.
            room += disk::volume_of(spare.path()).ok().and_then(|v| v.room()).unwrap_or(u64::MAX / 64);
        }
        let Some(state) = journal::read_record(spare.path(), |_| {})? else { continue };
        for t in targets.iter().map(|t| t.0).filter(|t| t.lacks() > 0) {
            let there = g.items.iter().enumerate().filter(|(i, item)| {
                t.todo[*i] == Todo::Copy
                    && state.files.get(&t.dest(g, *i as u32)).is_some_and(|f| f.size == item.size && !f.bad)
            });
            lacks = lacks.saturating_sub(there.map(|(_, item)| item.size).sum());
        }
    }
    if lacks > room {
        let text = format!(
            "not enough room on all disks together: {} are left for further ones, which have {} free; \
             name more of them with --then, or copy the rest with the same command and another disk",
            sized(lacks),
            sized(room)
        );
        say(Verdict::Warn, text);
    }
    Ok(())
}
