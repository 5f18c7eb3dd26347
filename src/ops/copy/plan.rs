//! Before the first byte: what each target needs, has already, and cannot hold. Writes nothing unless a probe was asked for.

use super::gather::{Gathered, Item, gather, is_reserved};
use super::{Request, Sparse};
use crate::disk::{self, Driver, FileSystem, Volume};
use crate::ops::rates::{self, DiskRate};
use crate::stream::Cancel;
use crate::trust::name::folded;
use crate::trust::readback::{Medium, ReadBack};
use crate::trust::root::{PART, Stat};
use crate::trust::{Digest, JournalState, Level, Name, Root, Rules, bag, hash, journal};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use tomokit_formats::{Error, Result};

/// What is to be done with one file on one target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Todo {
    /// Copy it.
    Copy,
    /// Recorded and verified: nothing.
    Done,
    /// Recorded, to be read back.
    Verify,
    /// Its data are complete under the unfinished name: give it the final one, then read it back.
    Rename,
    /// A file we did not write is there, of the same size: compare.
    Adopt,
    /// A volume that is made smaller on the way.
    Convert,
    /// Refused, as a finding says.
    Refused,
}

/// Go, warn or refuse.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing against it.
    Go,
    /// It will work, with a drawback.
    Warn,
    /// It will not work.
    Refuse,
}

/// One remark of the plan.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// How bad.
    pub verdict: Verdict,
    /// Which target, if one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What.
    pub text: String,
    /// How many files.
    pub count: u64,
    /// Some of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
}

/// A short write test.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Probe {
    /// What was measured.
    #[serde(flatten)]
    pub rate: DiskRate,
    /// Seconds the copy will take at that rate, without read-back.
    pub seconds: f64,
}

/// One target of the plan.
#[derive(Debug, Serialize)]
pub struct TargetPlan {
    /// The folder.
    pub path: PathBuf,
    /// What it lies on, as far as the system tells.
    pub volume: Option<Volume>,
    /// Files to copy.
    pub copy_files: u64,
    /// Their bytes.
    pub copy_bytes: u64,
    /// Files recorded there and verified.
    pub done_files: u64,
    /// Their bytes.
    pub done_bytes: u64,
    /// Files recorded there or found there, to be read back only.
    pub verify_files: u64,
    /// Their bytes.
    pub verify_bytes: u64,
    /// Volumes that are made smaller on the way.
    pub convert_files: u64,
    /// Bytes of what becomes of them.
    pub convert_bytes: u64,
    /// Bytes on the disk that the copy takes, whole clusters.
    pub needed_bytes: u64,
    /// Files whose name is mapped.
    pub mapped: u64,
    /// Level a read-back will reach.
    pub read_back: Level,
    /// Write test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    #[serde(skip)]
    pub(super) rules: Rules,
    #[serde(skip)]
    pub(super) medium: Medium,
    #[serde(skip)]
    pub(super) todo: Vec<Todo>,
    /// Names that differ from the source's, by item.
    #[serde(skip)]
    pub(super) renames: HashMap<u32, Name>,
    /// Folders with other names.
    #[serde(skip)]
    pub(super) bag: bool,
}

impl TargetPlan {
    /// Name of a file on this target.
    pub(super) fn dest(&self, g: &Gathered, item: u32) -> Name {
        let name = self.renames.get(&item).cloned().unwrap_or_else(|| g.dest(&g.items[item as usize]));
        self.placed(name)
    }

    /// Name of an empty folder on this target; `None` where it cannot be held and is not mapped.
    pub(super) fn folder(&self, name: &Name, map: bool) -> Option<Name> {
        match self.rules.problem_in(name) {
            Some(_) if !map => None,
            Some(_) => Some(self.placed(self.rules.mapped(name))),
            None => Some(self.placed(name.clone())),
        }
    }

    fn placed(&self, name: Name) -> Name {
        match (self.bag, Name::parse(bag::PAYLOAD.as_bytes())) {
            (true, Ok(data)) => data.join(&name),
            _ => name,
        }
    }
}

/// What a copy will do.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// The whole of it.
    pub verdict: Verdict,
    /// Files found.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of them holes that are kept.
    pub holes: u64,
    /// Bytes read from the sources: each file once, however many targets.
    pub bytes_read: u64,
    /// Memory for blocks.
    pub memory_bytes: u64,
    /// Targets.
    pub targets: Vec<TargetPlan>,
    /// Remarks, the worst first.
    pub findings: Vec<Finding>,
    #[serde(skip)]
    pub(super) gathered: Gathered,
    #[serde(skip)]
    pub(super) request: Request,
}

impl Plan {
    /// Indices of files that are refused on some target.
    pub(super) fn refused_items(&self) -> Vec<usize> {
        (0..self.gathered.items.len()).filter(|i| self.targets.iter().any(|t| t.todo[*i] == Todo::Refused)).collect()
    }

    /// Files that could not be looked at.
    pub fn unreadable(&self) -> &[Error] {
        &self.gathered.unreadable
    }
}

/// Bytes of one block of the engine.
pub(super) const BLOCK: usize = 1 << 20;

/// Blocks within the budget.
pub(super) fn blocks(r: &Request) -> usize {
    r.budget.units(0.5, BLOCK, 32).max(4)
}

/// Collects files under one remark.
#[derive(Default)]
struct Cases {
    count: u64,
    examples: Vec<String>,
}

impl Cases {
    fn add(&mut self, example: impl Into<String>) {
        self.count += 1;
        if self.examples.len() < 5 {
            self.examples.push(example.into());
        }
    }
}

/// Looks at sources and targets.
///
/// # Errors
/// A source or target that is not there, a bad pattern. What speaks against the copy itself is in the findings.
pub fn plan(r: &Request, cancel: &Cancel) -> Result<Plan> {
    if r.targets.is_empty() {
        return Err(Error::caller("no target was named"));
    }
    if r.targets.len() + r.spares.len() > 32 {
        return Err(Error::limit("at most 32 targets at once"));
    }
    let all: Vec<PathBuf> = r.targets.iter().chain(&r.spares).cloned().collect();
    let gathered = gather(&r.sources, &r.select, &all)?;
    plan_of(r, gathered, cancel)
}

/// The plan of files that were gathered already.
pub(super) fn plan_of(r: &Request, gathered: Gathered, cancel: &Cancel) -> Result<Plan> {
    let mut findings = Vec::new();
    remarks_on_sources(&gathered, &mut findings);
    let mut targets: Vec<TargetPlan> = Vec::new();
    let mut ids: Vec<((u64, u64), PathBuf)> = Vec::new();
    for path in &r.targets {
        cancel.check()?;
        let root = Root::open(path).map_err(|e| e.hint("the destination is a folder that exists: create it first"))?;
        if let Some((_, other)) = ids.iter().find(|(id, _)| *id == root.identity()) {
            return Err(Error::caller("two targets are the same folder").path(path).found(other.display()));
        }
        ids.push((root.identity(), path.clone()));
        targets.push(target(r, &gathered, path, &root, &mut findings, cancel)?);
    }
    for path in &r.spares {
        Root::open(path).map_err(|e| e.hint("the destination is a folder that exists: create it first"))?;
    }
    findings.sort_by_key(|f| std::cmp::Reverse(f.verdict));
    let items = &gathered.items;
    let wanted = |i: usize| targets.iter().any(|t| matches!(t.todo[i], Todo::Copy | Todo::Adopt));
    Ok(Plan {
        verdict: findings.iter().map(|f| f.verdict).max().unwrap_or(Verdict::Go),
        files: items.len() as u64,
        bytes: items.iter().map(|i| i.size).sum(),
        holes: items.iter().map(|i| i.size - i.allocated).filter(|h| *h >= BLOCK as u64).sum(),
        bytes_read: items.iter().enumerate().filter(|(i, _)| wanted(*i)).map(|(_, i)| i.size).sum(),
        memory_bytes: (blocks(r) * BLOCK + r.targets.len() * (20 << 20)) as u64,
        targets,
        findings,
        gathered,
        request: r.clone(),
    })
}

/// The plan of one more target.
pub(super) fn target_of(r: &Request, g: &Gathered, path: &Path, cancel: &Cancel) -> Result<TargetPlan> {
    let root = Root::open(path)?;
    target(r, g, path, &root, &mut Vec::new(), cancel)
}

fn remarks_on_sources(g: &Gathered, findings: &mut Vec<Finding>) {
    let mut warn = |text: &str, count: u64, examples: Vec<String>| {
        if count > 0 {
            findings.push(Finding { verdict: Verdict::Warn, target: None, text: text.into(), count, examples });
        }
    };
    let shown = |p: &[PathBuf]| p.iter().map(|p| p.display().to_string()).collect();
    warn("links are left out (--links follow copies what they point to)", g.links.0, shown(&g.links.1));
    warn("pipes, sockets and devices are left out", g.special.0, shown(&g.special.1));
    let errors = g.unreadable.iter().take(5).map(crate::trust::one_line).collect();
    warn("cannot be looked at, and will be missing", g.unreadable.len() as u64, errors);
}

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

fn target(
    r: &Request,
    g: &Gathered,
    path: &Path,
    root: &Root,
    findings: &mut Vec<Finding>,
    cancel: &Cancel,
) -> Result<TargetPlan> {
    let volume = disk::volume_of(path).map_err(|e| log::warn!("{e}")).ok();
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
    if r.bag {
        bag::refuse_other(path)?;
    }
    let recorded = journal::read_record(path, |_| {})?;
    if let Some(s) = recorded.as_ref().filter(|s| s.refused > 0) {
        let (line, why) = s.first_refused.clone().unwrap_or_default();
        say(
            Verdict::Warn,
            format!("{} lines of the record are damaged and left out (line {line}: {why})", s.refused),
            Cases::default(),
        );
    }
    let state = recorded.unwrap_or_default();
    if state.sessions == 0 && path.join(crate::trust::sums::SHA256SUMS).exists() {
        let text = "there is a list of sums (SHA256SUMS) that this program did not make: copy into a new folder";
        say(Verdict::Refuse, text.into(), Cases::default());
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
        renames: HashMap::new(),
        bag: r.bag,
        volume,
    };
    names(r, g, &mut t, &mut say);
    let cluster = t.volume.as_ref().map_or(4096, |v| v.cluster.max(512));
    let largest = t.volume.as_ref().and_then(|v| v.fs.max_file_bytes());
    let (mut large, mut differing, mut changed, mut newer) =
        (Cases::default(), Cases::default(), Cases::default(), Cases::default());
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
        if let Some(how) = r.on_the_way.as_ref().filter(|h| h.takes(&dest)) {
            if how.is_done(root, &dest, &state, item.size, item.modified_ns) {
                t.todo[i] = Todo::Done;
                t.done_files += 1;
                t.done_bytes += item.size;
            } else {
                t.todo[i] = Todo::Convert;
                t.convert_files += 1;
                t.convert_bytes += how.bytes(item.size);
                t.needed_bytes += how.bytes(item.size).next_multiple_of(cluster) + (1 << 20);
            }
            continue;
        }
        let (todo, why) = decide(item, &dest, root, &state, r.overwrite)?;
        match why {
            Some(Why::NotOurs) => differing.add(dest.to_string()),
            Some(Why::ChangedThere) => changed.add(dest.to_string()),
            Some(Why::Newer) => newer.add(dest.to_string()),
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
                t.needed_bytes += data.next_multiple_of(cluster) + 2048;
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
    if large.count > 0 {
        say(
            Verdict::Refuse,
            "larger than this file system can hold (FAT32: 4 GiB less one byte); format the disk as NTFS".into(),
            large,
        );
    }
    if differing.count > 0 {
        say(
            Verdict::Refuse,
            "already there with other contents, not made by this program (--overwrite replaces them)".into(),
            differing,
        );
    }
    if changed.count > 0 {
        say(
            Verdict::Refuse,
            "changed on the target since they were copied (--overwrite replaces them)".into(),
            changed,
        );
    }
    if newer.count > 0 {
        say(Verdict::Warn, "changed at the source since they were copied: will be copied again".into(), newer);
    }
    room(r, &mut t, &state, &mut say);
    verification(r, &mut t, root, &mut say)?;
    if let Some(bytes) = r.probe {
        let rate = rates::disk(path, bytes, cancel)?;
        t.probe = Some(Probe { rate, seconds: t.copy_bytes as f64 / rate.write_per_s.max(1.0) });
    }
    Ok(t)
}

enum Why {
    NotOurs,
    ChangedThere,
    Newer,
}

fn decide(item: &Item, dest: &Name, root: &Root, state: &JournalState, overwrite: bool) -> Result<(Todo, Option<Why>)> {
    let known = state.files.get(dest);
    let there = root.stat(dest)?;
    let is = |s: &Stat, size: u64| s.is_file && s.size == size;
    Ok(match (known, there) {
        (Some(f), None) => {
            let part = root.stat(&dest.suffixed(PART))?;
            let whole = part.is_some_and(|p| is(&p, f.size) && same_time(p.modified_ns, f.modified_ns));
            let same = f.size == item.size && f.modified_ns == item.modified_ns;
            (if whole && same { Todo::Rename } else { Todo::Copy }, None)
        }
        (Some(f), Some(s)) => {
            let untouched = is(&s, f.size) && same_time(s.modified_ns, f.modified_ns);
            let source_same = f.size == item.size && f.modified_ns == item.modified_ns;
            match (source_same, untouched) {
                (true, true) if f.bad => (Todo::Copy, None),
                (true, true) if f.verified.is_some() => (Todo::Done, None),
                (true, true) => (Todo::Verify, None),
                // Another time and the same size: only reading tells.
                (true, false) if is(&s, f.size) => (Todo::Verify, None),
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

/// Names the target cannot hold, and names that become one there.
fn names(r: &Request, g: &Gathered, t: &mut TargetPlan, say: &mut impl FnMut(Verdict, String, Cases)) {
    let mut bad: HashMap<&'static str, Cases> = HashMap::new();
    let (mut collisions, mut reserved, mut long, mut mapped) =
        (Cases::default(), Cases::default(), Cases::default(), Cases::default());
    // `Scan/x` and `scan/y` meet in one folder.
    let mut taken = Taken::default();
    let key = |n: &Name| if t.rules.windows { folded(n) } else { n.bytes().to_vec() };
    // Windows' own limit for programs that do not ask for more: drive, folders, name.
    let above = t
        .volume
        .as_ref()
        .and_then(|v| t.path.canonicalize().ok()?.strip_prefix(&v.mount_point).ok().map(Path::to_owned));
    let above = above.map_or(0, |p| p.to_string_lossy().encode_utf16().count() + 1) + 3;
    // In the order of names, so that the same file keeps the same name from run to run.
    let mut order: Vec<u32> = (0..g.items.len() as u32).collect();
    order.sort_by_cached_key(|i| g.dest(&g.items[*i as usize]));
    for i in order {
        let plain = g.dest(&g.items[i as usize]);
        let mut name = plain.clone();
        if !t.bag && is_reserved(&name) {
            reserved.add(name.to_string());
            t.todo[i as usize] = Todo::Refused;
            continue;
        }
        if let Some(why) = t.rules.problem_in(&name) {
            if !r.map_names {
                bad.entry(why).or_default().add(name.to_string());
                t.todo[i as usize] = Todo::Refused;
                continue;
            }
            name = t.rules.mapped(&name);
        }
        match taken.unique(&name, &plain, key) {
            None => {}
            Some(other) if r.map_names => name = other,
            Some(_) => {
                collisions.add(plain.to_string());
                t.todo[i as usize] = Todo::Refused;
                continue;
            }
        }
        if t.rules.windows && above + String::from_utf8_lossy(name.bytes()).encode_utf16().count() > 259 {
            long.add(name.to_string());
        }
        if name != plain {
            mapped.add(format!("{plain} → {name}"));
            t.renames.insert(i, name);
        }
    }
    t.mapped = mapped.count;
    let mut bad: Vec<_> = bad.into_iter().collect();
    bad.sort_by_key(|b| b.0);
    for (why, cases) in bad {
        say(Verdict::Refuse, format!("{why} (--map-names gives them other names)"), cases);
    }
    if collisions.count > 0 {
        let why = if t.rules.windows {
            "differ from another name only in upper and lower case"
        } else {
            "have the same name as another"
        };
        say(Verdict::Refuse, format!("{why}: one would replace the other (--map-names keeps both)"), collisions);
    }
    if reserved.count > 0 {
        say(Verdict::Refuse, "would replace this program's own record: copy the folder they are in".into(), reserved);
    }
    if long.count > 0 {
        say(
            Verdict::Warn,
            "paths longer than 259 signs on Windows: Explorer and many programs will not open them".into(),
            long,
        );
    }
    if mapped.count > 0 {
        say(Verdict::Warn, "get another name here, recorded with the old one".into(), mapped);
    }
}

/// The names a target has so far, by what it takes them for: folders with their spelling, files by a mark of sixteen
/// bytes each, so that a million of them stay small.
#[derive(Default)]
struct Taken {
    folders: HashMap<Vec<u8>, Name>,
    files: HashSet<[u8; 16]>,
}

impl Taken {
    /// `None`: the name is new. Otherwise the name to take instead: each part that is spelled differently from an earlier
    /// one gets a mark, which depends on the source's spelling alone.
    fn unique(&mut self, name: &Name, plain: &Name, key: impl Fn(&Name) -> Vec<u8>) -> Option<Name> {
        let mut built: Option<Name> = None;
        let mut changed = false;
        let parts: Vec<&[u8]> = name.parts().collect();
        for (depth, part) in parts.iter().enumerate() {
            let leaf = depth + 1 == parts.len();
            let below = |p: &[u8]| -> Option<Name> {
                let part = Name::parse(p).ok()?;
                Some(built.as_ref().map_or(part.clone(), |b| b.join(&part)))
            };
            let mut candidate = below(part)?;
            let folded = key(&candidate);
            let clash = match self.folders.get(&folded) {
                Some(seen) => leaf || *seen != candidate,
                None => self.files.contains(&mark(&folded)),
            };
            if clash {
                changed = true;
                let spelled: Vec<&[u8]> = plain.parts().take(depth + 1).collect();
                let sign = format!("~{}", hash::hex(&mark(&spelled.join(&b'/'))[..4]));
                let text = String::from_utf8_lossy(part).into_owned();
                let marked = match text.rfind('.').filter(|i| leaf && *i > 0) {
                    Some(i) => format!("{}{sign}{}", &text[..i], &text[i..]),
                    None => format!("{text}{sign}"),
                };
                candidate = below(marked.as_bytes())?;
            }
            let folded = if clash { key(&candidate) } else { folded };
            if leaf {
                self.files.insert(mark(&folded));
            } else if !self.folders.contains_key(&folded) {
                self.folders.insert(folded, candidate.clone());
            }
            built = Some(candidate);
        }
        built.filter(|_| changed)
    }
}

fn mark(bytes: &[u8]) -> [u8; 16] {
    let mut m = [0; 16];
    m.copy_from_slice(&Digest::of(bytes).0[..16]);
    m
}

fn room(r: &Request, t: &mut TargetPlan, state: &JournalState, say: &mut impl FnMut(Verdict, String, Cases)) {
    let gb = |n: u64| format!("{:.2} GB", n as f64 / 1e9);
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
    let available = v.available;
    if t.needed_bytes > available {
        let spares = if r.spares.is_empty() {
            "free space, or name a further disk with --then"
        } else {
            "the rest goes to the next disk"
        };
        let verdict = if r.spares.is_empty() && !r.fill { Verdict::Refuse } else { Verdict::Warn };
        say(
            verdict,
            format!(
                "not enough room: {} needed in whole clusters, {} free; {spares}",
                gb(t.needed_bytes),
                gb(available)
            ),
            Cases::default(),
        );
    } else if t.needed_bytes > available / 100 * 97 {
        say(
            Verdict::Warn,
            format!("will be nearly full: {} needed, {} free", gb(t.needed_bytes), gb(available)),
            Cases::default(),
        );
    }
    let waste = t.needed_bytes.saturating_sub(t.copy_bytes);
    if waste > t.copy_bytes / 5 && waste > 100 << 20 {
        let text = format!("{} are lost to clusters of {} KiB: many small files", gb(waste), v.cluster >> 10);
        say(Verdict::Warn, text, Cases::default());
    }
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

    fn name(t: &str) -> Name {
        Name::parse(t.as_bytes()).unwrap()
    }

    #[test]
    fn files_and_folders_that_differ_in_case_only_are_kept_apart() {
        let mut taken = Taken::default();
        let mut take = |n: &str| taken.unique(&name(n), &name(n), folded).map(|n| n.to_string());
        assert_eq!(take("A/x.tif"), None);
        assert_eq!(take("A/y.tif"), None);
        let clash = take("A/X.tif").unwrap();
        assert!(clash.starts_with("A/X~") && clash.ends_with(".tif"), "{clash}");
        let folder = take("a/x.tif").unwrap();
        assert!(folder.starts_with("a~") && folder.ends_with("/x.tif"), "{folder}");
        assert_eq!(take("a/z.tif").unwrap().split('/').next(), folder.split('/').next());
    }
}
