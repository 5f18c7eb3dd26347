//! One target of the plan: what it needs, has already and cannot hold, and whether it can be read back.

use super::checker;
use super::finish::HASHDEEP;
use super::gather::{Gathered, Item};
use super::names::names;
use super::plan::{Cases, Finding, Probe, TargetPlan, Todo, Verdict};
use super::room::room;
use super::spelling::Spelling;
use super::standing::{Recorded, Source, Standing, standing};
use super::{Request, Sparse};
use crate::disk::{self, Driver, FileSystem, Volume};
use crate::ops::rates;
use crate::stream::Cancel;
use crate::trust::readback::{Medium, ReadBack};
use crate::trust::root::{PART, Stat};
use crate::trust::{JournalState, Level, Name, Root, Rules, bag, journal};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use tomokit_formats::Result;

/// Which rules for names hold on a volume, and what lies between a file there and its disk.
pub(super) fn nature(volume: Option<&Volume>) -> (Rules, Medium) {
    let Some(v) = volume else {
        return (if cfg!(windows) { Rules::windows() } else { Rules::unix() }, Medium::Disk);
    };
    let rules = match &v.fs {
        FileSystem::Ext4 | FileSystem::Xfs | FileSystem::Btrfs | FileSystem::Tmpfs | FileSystem::Nfs => Rules::unix(),
        FileSystem::Other(_) if v.driver == Driver::Kernel && cfg!(unix) => Rules::unix(),
        _ => Rules::windows(),
    };
    let medium = if v.fs.is_network() {
        Medium::Network
    } else if v.fs == FileSystem::Tmpfs {
        Medium::Memory
    } else if v.driver == Driver::Fuse {
        Medium::Fuse
    } else {
        Medium::Disk
    };
    (if cfg!(windows) { Rules::windows() } else { rules }, medium)
}

/// Times agree within what file systems keep: exFAT and FAT two seconds, and they may be off by whole time zones.
pub(super) fn same_time(a_ns: i64, b_ns: i64) -> bool {
    a_ns.abs_diff(b_ns) <= 2_000_000_000
}

/// The time of a source as two systems tell it: Windows counts in 100 ns, what it does not see is no change.
pub(super) fn same_source_time(a_ns: i64, b_ns: i64) -> bool {
    let whole = |n: i64| n.rem_euclid(100) == 0;
    a_ns == b_ns || (whole(a_ns) || whole(b_ns)) && a_ns.div_euclid(100) == b_ns.div_euclid(100)
}

/// Looks at one target.
pub(super) fn target(
    r: &Request,
    g: &Gathered,
    path: &Path,
    root: &Root,
    findings: &mut Vec<Finding>,
    cancel: &Cancel,
) -> Result<TargetPlan> {
    let fresh = root.path() != path;
    let volume = disk::volume_of(root.path()).map_err(|e| log::warn!("{e}")).ok();
    let (rules, medium) = nature(volume.as_ref());
    // The suffix of unfinished files must fit too.
    let rules = Rules { reserve: PART.len(), ..rules };
    let shown = path.display().to_string();
    let mut say = |verdict, text: String, cases: Cases| {
        findings.push(Finding {
            verdict,
            target: Some(shown.clone()),
            text,
            count: cases.count,
            examples: cases.examples,
        });
    };
    if r.bag && !fresh {
        bag::refuse_other(path)?;
    }
    let recorded = journal::read_record(path, |_| {})?;
    if let Some(state) = &recorded {
        journal::refuse_foreign(&path.join(journal::JOURNAL), state)?;
    }
    if let Some(s) = recorded.as_ref().filter(|s| s.refused > 0) {
        let (line, why) = s.first_refused.clone().unwrap_or_default();
        say(
            Verdict::Warn,
            format!("{} lines of the record are damaged and left out (line {line}: {why})", s.refused),
            Cases::default(),
        );
    }
    let state = recorded.unwrap_or_default();
    let foreign_list = || path.join(crate::trust::sums::SHA256SUMS).metadata().is_ok_and(|m| m.len() > 0);
    if state.sessions == 0 && foreign_list() {
        let text = "there is a list of sums (SHA256SUMS) that this program did not make: copy into a new folder";
        say(Verdict::Refuse, text.into(), Cases::default());
    }
    let own = |n: &Name| matches!(n.parts().next(), Some(p) if p == bag::PAYLOAD.as_bytes() || p == checker::FOLDER.as_bytes());
    let is_bag = bag::is_ours(path, &state.files);
    if is_bag && !r.bag {
        say(
            Verdict::Refuse,
            "this folder is a bag: give --bag again, or copy into another folder".into(),
            Cases::default(),
        );
    } else if r.bag && !is_bag && state.files.iter().any(|(n, _)| !own(&state.files.name(n))) {
        let text = "copies lie here that are in no bag: leave out --bag, or copy into a folder of its own";
        say(Verdict::Refuse, text.into(), Cases::default());
    }
    if r.hashdeep && !r.overwrite && foreign_hashdeep(&path.join(HASHDEEP)) {
        let text = format!("there is a {HASHDEEP} that this program did not make (--overwrite replaces it)");
        say(Verdict::Refuse, text, Cases::default());
    }
    if !may_write(root.path()) {
        say(Verdict::Refuse, "this user may not write there".into(), Cases::default());
    }
    let mut t = TargetPlan {
        path: path.to_owned(),
        copy_files: 0,
        copy_bytes: 0,
        done_files: 0,
        done_bytes: 0,
        verify_files: 0,
        verify_bytes: 0,
        convert_files: 0,
        convert_bytes: 0,
        needed_bytes: 0,
        mapped: 0,
        read_back: Level::Cache,
        probe: None,
        rules,
        medium,
        todo: vec![Todo::Copy; g.items.len()],
        touched: HashSet::new(),
        renames: HashMap::new(),
        bag: r.bag,
        volume,
    };
    names(r, g, &mut t, &mut say);
    t.needed_bytes += checker::bytes(&r.checkers);
    let cluster = t.volume.as_ref().map_or(4096, |v| v.cluster.max(512));
    let largest = t.volume.as_ref().and_then(|v| v.fs.max_file_bytes());
    let (mut large, mut differing, mut changed, mut newer, mut touched) =
        (Cases::default(), Cases::default(), Cases::default(), Cases::default(), Cases::default());
    let mut there = Folders::default();
    let (mut spelling, mut spelled) = (Spelling::new(root.path()), Cases::default());
    let may_differ = rules.windows && !fresh;
    let mut recorded = None;
    // What an earlier run left of a file is gone on with, or replaced: its room is the file's. Small ones are not asked for.
    let part_way = state.is_open || state.missing > 0 || !state.parts.is_empty();
    let has_already = |part: Name, size: u64| if part_way && size >= 1 << 20 { root.room_taken(&part) } else { 0 };
    for (i, item) in g.items.iter().enumerate() {
        if i % 4096 == 0 {
            cancel.check()?;
        }
        if t.todo[i] == Todo::Refused {
            continue;
        }
        let dest = t.dest(g, i as u32);
        if largest.is_some_and(|l| item.size > l) {
            large.add(dest.to_string());
            t.todo[i] = Todo::Refused;
            continue;
        }
        if let Some(how) = r.on_the_way.as_ref().filter(|_| g.volumes.contains(&(i as u32))) {
            let output = how.output(&dest)?;
            let recorded = recorded.get_or_insert_with(|| Recorded::new(&state));
            let source = Source { size: item.size, modified_ns: item.modified_ns };
            let read_back = r.read_back != super::ReadBackWhen::No;
            t.todo[i] = match standing(how, root, &output, recorded, source, read_back)? {
                Standing::Done => Todo::Done,
                Standing::Changed if !r.overwrite => {
                    changed.add(output.to_string());
                    Todo::Refused
                }
                Standing::Make if may_differ && spelling.differs(&output) => {
                    spelled.add(dest.to_string());
                    Todo::Refused
                }
                Standing::Unread(_) => {
                    t.verify_files += 1;
                    t.verify_bytes += how.bytes(item.size);
                    Todo::Convert
                }
                Standing::Make | Standing::Changed => {
                    t.convert_files += 1;
                    t.convert_bytes += how.bytes(item.size);
                    let bytes = how.bytes(item.size).next_multiple_of(cluster) + (1 << 20);
                    let begun = output.suffixed(tomokit_formats::durable::PART);
                    t.needed_bytes += bytes.saturating_sub(has_already(begun, item.size));
                    Todo::Convert
                }
            };
            if t.todo[i] == Todo::Done {
                t.done_files += 1;
                t.done_bytes += item.size;
            }
            continue;
        }
        if may_differ && !state.files.has(&dest) && spelling.differs(&dest) {
            spelled.add(dest.to_string());
            t.todo[i] = Todo::Refused;
            continue;
        }
        let (todo, why) = match state.files.has(&dest) || (!fresh && there.may_be(root, &dest)?) {
            true => decide(item, &dest, root, &state, r.overwrite)?,
            false => (Todo::Copy, None),
        };
        match why {
            Some(Why::NotOurs) => differing.add(dest.to_string()),
            Some(Why::ChangedThere) => changed.add(dest.to_string()),
            Some(Why::Newer) => newer.add(dest.to_string()),
            Some(Why::OtherTime) => {
                touched.add(dest.to_string());
                t.touched.insert(i as u32);
            }
            None => {}
        }
        t.todo[i] = todo;
        match todo {
            Todo::Copy => {
                t.copy_files += 1;
                t.copy_bytes += item.size;
                let sparse = r.sparse == Sparse::Keep && cfg!(target_os = "linux");
                let data = if sparse { item.allocated } else { item.size };
                // An entry in the disk's table of files, and a line in each of our lists.
                let bytes = data.next_multiple_of(cluster);
                t.needed_bytes += bytes.saturating_sub(has_already(dest.suffixed(PART), item.size)) + 2048;
            }
            Todo::Done => {
                t.done_files += 1;
                t.done_bytes += item.size;
            }
            Todo::Verify | Todo::Rename | Todo::Adopt => {
                t.verify_files += 1;
                t.verify_bytes += item.size;
            }
            Todo::Refused | Todo::Convert => {}
        }
    }
    spelled.tell(
        Verdict::Refuse,
        "differ only in upper and lower case from what is there: one would replace or hide the other; copy into another folder",
        &mut say,
    );
    large.tell(
        Verdict::Refuse,
        "larger than this file system can hold (FAT32: 4 GiB less one byte); format the disk as NTFS",
        &mut say,
    );
    differing.tell(
        Verdict::Refuse,
        "already there with other contents, not made by this program (--overwrite replaces them)",
        &mut say,
    );
    changed.tell(Verdict::Refuse, "changed on the target since they were copied (--overwrite replaces them)", &mut say);
    let text = match r.overwrite {
        true => "of another time than they were copied with: read, and replaced where they hold something else",
        false => {
            "of another time than they were copied with: read, and left as they are where they hold something else (--overwrite replaces them)"
        }
    };
    touched.tell(Verdict::Warn, text, &mut say);
    newer.tell(Verdict::Warn, "changed at the source since they were copied: will be copied again", &mut say);
    room(r, &mut t, &state, &mut say);
    verification(r, &mut t, root, &mut say)?;
    if let Some(bytes) = r.probe {
        if let Some(v) = &t.volume {
            crate::ops::disks::room_for_probe(v, bytes)?;
        }
        let rate = rates::disk(root.path(), bytes, cancel)?;
        t.probe = Some(Probe { rate, seconds: t.copy_bytes as f64 / rate.write_per_s.max(1.0) });
    }
    Ok(t)
}

fn foreign_hashdeep(list: &Path) -> bool {
    use std::io::Read;
    let mut head = Vec::new();
    if list.is_symlink() {
        return true;
    }
    let file = match tomokit_formats::io::open_plain(list) {
        Ok(file) => file,
        Err(e) => return e.kind() != std::io::ErrorKind::NotFound,
    };
    let read = file.take(16 << 10).read_to_end(&mut head).is_ok();
    !(read && String::from_utf8_lossy(&head).contains(crate::trust::sums::HASHDEEP_MARK))
}

/// As far as the system tells without writing.
fn may_write(folder: &Path) -> bool {
    #[cfg(unix)]
    {
        use rustix::fs::Access;
        // What a file system is unable to say is found out by the copy.
        !matches!(rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK), Err(rustix::io::Errno::ACCESS))
    }
    #[cfg(not(unix))]
    {
        !std::fs::metadata(folder).is_ok_and(|m| m.permissions().readonly())
    }
}

/// Which folders the target has: where there is no folder, nothing in it is asked for.
#[derive(Default)]
struct Folders(HashMap<Name, bool>);

impl Folders {
    fn may_be(&mut self, root: &Root, file: &Name) -> Result<bool> {
        let Some(folder) = file.parent() else { return Ok(true) };
        if let Some(known) = self.0.get(&folder) {
            return Ok(*known);
        }
        let there = root.stat(&folder)?.is_some();
        self.0.insert(folder, there);
        Ok(there)
    }
}

enum Why {
    NotOurs,
    ChangedThere,
    Newer,
    OtherTime,
}

fn decide(item: &Item, dest: &Name, root: &Root, state: &JournalState, overwrite: bool) -> Result<(Todo, Option<Why>)> {
    let known = state.files.get(dest);
    let there = root.stat(dest)?;
    let is = |s: &Stat, size: u64| s.is_file && s.size == size;
    Ok(match (known, there) {
        (Some(f), None) => {
            let part = root.stat(&dest.suffixed(PART))?;
            let whole = part.is_some_and(|p| is(&p, f.size) && same_time(p.modified_ns, f.modified_ns));
            let same = f.size == item.size && same_source_time(f.modified_ns, item.modified_ns);
            (if whole && same { Todo::Rename } else { Todo::Copy }, None)
        }
        (Some(f), Some(s)) => {
            let untouched = is(&s, f.size) && same_time(s.modified_ns, f.modified_ns);
            let source_same = f.size == item.size && same_source_time(f.modified_ns, item.modified_ns);
            match (source_same, untouched) {
                (true, true) if f.bad => (Todo::Copy, None),
                (true, true) if f.verified.is_some() => (Todo::Done, None),
                (true, true) => (Todo::Verify, None),
                // Found damaged and noted so, by somebody who was told that the copy replaces it.
                (true, false) if f.bad && s.is_file => (Todo::Copy, None),
                // Another time and the same size: only reading tells.
                (true, false) if is(&s, f.size) => (Todo::Verify, Some(Why::OtherTime)),
                (false, true) => (Todo::Copy, Some(Why::Newer)),
                _ if overwrite && s.is_file => (Todo::Copy, None),
                _ => (Todo::Refused, Some(Why::ChangedThere)),
            }
        }
        (None, None) => (Todo::Copy, None),
        (None, Some(s)) if overwrite && s.is_file => (Todo::Copy, None),
        (None, Some(s)) if is(&s, item.size) => (Todo::Adopt, None),
        (None, Some(_)) => (Todo::Refused, Some(Why::NotOurs)),
    })
}

/// Can what is written be read back from the disk itself? Found out before, without writing here.
fn verification(
    r: &Request,
    t: &mut TargetPlan,
    root: &Root,
    say: &mut impl FnMut(Verdict, String, Cases),
) -> Result<()> {
    if r.read_back == super::ReadBackWhen::No {
        return Ok(());
    }
    let device = t.volume.as_ref().map(|v| v.device.clone());
    let back = ReadBack::find(root, t.medium, device.as_deref(), false)?;
    t.read_back = back.level;
    if let Some(why) = back.why_not.filter(|_| back.level < back.wanted || t.medium == Medium::Memory) {
        let advice =
            if t.medium == Medium::Fuse { "; unmount and mount it afterwards, then: tomo copy --verify" } else { "" };
        say(
            Verdict::Warn,
            format!("reading back will only reach level '{}': {why}{advice}", back.level),
            Cases::default(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_windows_does_not_see_of_a_time_is_no_change() {
        let t = 1_700_000_887_436_746_123;
        assert!(same_source_time(t, t) && same_source_time(t, t - 23) && same_source_time(t - 23, t));
        assert!(same_source_time(-77, -100) && same_source_time(0, 99));
        // Two times that both have more than Windows keeps; the next tick.
        assert!(!same_source_time(t, t + 1) && !same_source_time(t, t - 123) && !same_source_time(t, t + 77));
        assert!(!same_source_time(-1, 0) && !same_source_time(i64::MIN, i64::MAX));
    }
}
