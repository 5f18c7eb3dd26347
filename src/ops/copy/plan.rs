//! Before the first byte: what each target needs, has already, and cannot hold. Writes nothing unless a probe was asked for.

use super::Request;
use super::gather::{Gathered, gather};
use super::outcome::{Failed, Kind};
use super::room::together;
use super::suits::target;
use crate::disk::Volume;
use crate::ops::rates::DiskRate;
use crate::stream::Cancel;
use crate::trust::readback::Medium;
use crate::trust::{Level, Name, Root, Rules, bag};
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
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
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
    /// Recorded files that somebody changed since, by their time: theirs, unless they hold what was copied.
    #[serde(skip)]
    pub(super) touched: HashSet<u32>,
    /// Names that differ from the source's, by item.
    #[serde(skip)]
    pub(super) renames: HashMap<u32, Name>,
    /// Folders with other names.
    #[serde(skip)]
    pub(super) bag: bool,
}

impl TargetPlan {
    /// Where a file that is not what was copied is refused instead of replaced.
    pub(super) fn is_theirs(&self, item: u32, overwrite: bool) -> bool {
        !overwrite && self.touched.contains(&item)
    }

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
    /// Bytes read from the sources, however many targets: each file once, volumes that are made smaller once more for
    /// their limits and once more against what was written.
    pub bytes_read: u64,
    /// Memory for blocks.
    pub memory_bytes: u64,
    /// Targets.
    pub targets: Vec<TargetPlan>,
    /// Remarks, the worst first.
    pub findings: Vec<Finding>,
    /// Of them what is copied as it is.
    #[serde(skip)]
    pub(super) bytes_copied: u64,
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

    /// Files that are refused on a target, as they are reported where the rest is copied all the same.
    pub(super) fn refused(&self) -> Vec<Failed> {
        let of = |t: &TargetPlan| -> Vec<Failed> {
            let items = (0..self.gathered.items.len()).filter(|i| t.todo[*i] == Todo::Refused);
            let why = "refused for its name, its size or what is there: tomo copy --dry-run says which".to_owned();
            let failed = |i: usize| Failed {
                path: self.gathered.path(&self.gathered.items[i]).display().to_string(),
                target: t.path.clone(),
                kind: Kind::Refused,
                why: why.clone(),
            };
            items.map(failed).collect()
        };
        self.targets.iter().flat_map(of).collect()
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
pub(super) struct Cases {
    pub(super) count: u64,
    pub(super) examples: Vec<String>,
}

impl Cases {
    pub(super) fn add(&mut self, example: impl Into<String>) {
        self.count += 1;
        if self.examples.len() < 5 {
            self.examples.push(example.into());
        }
    }
}

impl Cases {
    /// Says it, if there is any.
    pub(super) fn tell(self, verdict: Verdict, text: impl Into<String>, say: &mut impl FnMut(Verdict, String, Cases)) {
        if self.count > 0 {
            say(verdict, text.into(), self);
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
    let mut plan = plan_of(r, gathered, cancel)?;
    if plan.files == 0 {
        let text = "no file is selected: nothing is copied (in patterns a folder's files are 'folder/**')".into();
        plan.findings.push(Finding { verdict: Verdict::Warn, target: None, text, count: 0, examples: Vec::new() });
        plan.verdict = plan.verdict.max(Verdict::Warn);
    }
    Ok(plan)
}

/// Refuses a destination in another one: each would list the other's files as its own, or as strangers.
fn refuse_within<'a>(path: &Path, others: impl Iterator<Item = &'a PathBuf>) -> Result<()> {
    let whole = |p: &Path| p.canonicalize().or_else(|_| std::path::absolute(p)).unwrap_or_else(|_| p.to_owned());
    let own = whole(path);
    for other in others {
        let there = whole(other);
        if own.starts_with(&there) || there.starts_with(&own) {
            return Err(Error::caller("one destination lies in the other").path(path).found(other.display()));
        }
    }
    Ok(())
}

/// The plan of files that were gathered already.
pub(super) fn plan_of(r: &Request, mut gathered: Gathered, cancel: &Cancel) -> Result<Plan> {
    let mut findings = Vec::new();
    if let Some(how) = &r.on_the_way {
        gathered.volumes = how.volumes(&gathered, &mut findings);
    }
    remarks_on_sources(&gathered, &mut findings);
    let mut targets: Vec<TargetPlan> = Vec::new();
    let mut ids: Vec<((u64, u64), PathBuf)> = Vec::new();
    let mut spares: Vec<Root> = Vec::new();
    for path in &r.targets {
        cancel.check()?;
        let (root, above) = held(r, path)?;
        if let Some((_, other)) = ids.iter().find(|(id, p)| *id == root.identity() && (!above || p == path)) {
            return Err(Error::caller("two targets are the same folder").path(path).found(other.display()));
        }
        refuse_within(path, ids.iter().map(|i| &i.1))?;
        ids.push((root.identity(), path.clone()));
        targets.push(target(r, &gathered, path, &root, &mut findings, cancel)?);
    }
    for path in &r.spares {
        refuse_within(path, ids.iter().map(|i| &i.1).filter(|p| *p != path))?;
        let (root, above) = held(r, path)?;
        // A further disk that is a destination already would wait for itself. One that is not there yet has no identity.
        if let Some((_, other)) =
            ids.iter().find(|(id, p)| *id == root.identity() && (p.is_dir() && !above || p == path))
        {
            return Err(Error::caller("named twice as a destination").path(path).found(other.display()));
        }
        ids.push((root.identity(), path.clone()));
        spares.push(root);
    }
    let on_volumes: Vec<(&TargetPlan, u64)> = targets.iter().zip(ids.iter().map(|(id, _)| id.0)).collect();
    together(r, &gathered, &on_volumes, &spares, &mut findings)?;
    findings.sort_by_key(|f| std::cmp::Reverse(f.verdict));
    let items = &gathered.items;
    let wanted = |i: usize| targets.iter().any(|t| matches!(t.todo[i], Todo::Copy | Todo::Adopt));
    // For the limits, for the greys, and against what was written.
    let passes = if r.read_back == super::ReadBackWhen::No { 2 } else { 3 };
    let converted = |i: usize| targets.iter().any(|t| t.todo[i] == Todo::Convert);
    let sum = |of: &dyn Fn(usize) -> bool| -> u64 {
        items.iter().enumerate().filter(|(i, _)| of(*i)).map(|(_, item)| item.size).sum()
    };
    let bytes_copied = sum(&wanted);
    Ok(Plan {
        verdict: findings.iter().map(|f| f.verdict).max().unwrap_or(Verdict::Go),
        files: items.len() as u64,
        bytes: items.iter().map(|i| i.size).sum(),
        holes: items.iter().map(|i| i.size - i.allocated).filter(|h| *h >= BLOCK as u64).sum(),
        bytes_read: bytes_copied + passes * sum(&converted),
        bytes_copied,
        memory_bytes: (blocks(r) * BLOCK + r.targets.len() * (20 << 20)) as u64,
        targets,
        findings,
        gathered,
        request: r.clone(),
    })
}

/// Holds a destination; where it is only looked at, what is above one that is not there yet: its last part is made by the
/// copy itself. True in that case.
fn held(r: &Request, path: &Path) -> Result<(Root, bool)> {
    let above = path.parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
    let above = above.filter(|p| r.look_only && !path.exists() && p.is_dir());
    let root = Root::open(above.unwrap_or(path))
        .map_err(|e| e.hint("the destination is a folder that exists: create it first"))?;
    Ok((root, above.is_some()))
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
    warn(
        "left behind by this program on the disk they are copied from (records, unfinished files): left out",
        g.own.0,
        shown(&g.own.1),
    );
    warn("pipes, sockets and devices are left out", g.special.0, shown(&g.special.1));
    let errors = g.unreadable.iter().take(5).map(crate::trust::one_line).collect();
    warn("cannot be looked at, and will be missing", g.unreadable.len() as u64, errors);
    if !g.unused.is_empty() {
        let text = format!("nothing matches {}", g.unused.join(", "));
        findings.push(Finding { verdict: Verdict::Warn, target: None, text, count: 0, examples: Vec::new() });
    }
}
