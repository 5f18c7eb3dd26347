//! Any disk against its own record, on any machine: missing, changed, extra. Needs nothing but the disk: the record of
//! `tomo copy`, or any `SHA256SUMS`.

mod damage;
mod lists;

use super::suits::nature;
use crate::disk;
use crate::stream::{Cancel, Progress};
use crate::trust::journal::{self, Event, JOURNAL};
use crate::trust::readback::{ReadBack, mount_mark};
use crate::trust::{Digest, FileState, Files, Journal, Level, Name, Root, bag, now, one_line, sums};
pub use damage::Damage;
pub(super) use damage::locate;
use serde::Serialize;
use std::collections::HashMap;
use std::path::PathBuf;
use tomokit_formats::{Error, Fault, Result};

/// What to check.
#[derive(Clone, Debug)]
pub struct CheckRequest {
    /// The disk or folder with the record.
    pub folder: PathBuf,
    /// Compare sizes only: seconds instead of hours, and says nothing about contents.
    pub quick: bool,
    /// Note in the record on the disk what was found (needs to write there).
    pub note: bool,
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CheckReport {
    /// The folder.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub folder: PathBuf,
    /// Which list was checked against.
    pub list: String,
    /// Files in the list, and their bytes as far as known.
    pub files: u64,
    /// Files that are what the list says.
    pub good: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// In the list, not on the disk.
    pub missing: Vec<String>,
    /// On the disk, with other contents.
    pub changed: Vec<String>,
    /// Where in them, as far as the record tells.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damage: Vec<Damage>,
    /// On the disk and cannot be read.
    pub unreadable: Vec<String>,
    /// On the disk, not in the list.
    pub extra: Vec<String>,
    /// Left by a copy that was interrupted.
    pub unfinished: Vec<String>,
    /// The copy did not bring everything, as the record tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
    /// Lines of the list that are refused.
    pub refused_lines: Vec<String>,
    /// Lines of this program's own record that are damaged.
    pub damaged_record_lines: u64,
    /// The least sure of the readings; none with a quick check.
    pub level: Option<Level>,
    /// The level needed here before a reading says something about the disk.
    pub wanted: Option<Level>,
    /// True for a quick check.
    pub sizes_only: bool,
    /// There is a record by this program, not only a list of sums.
    pub recorded: bool,
    /// File by file.
    #[serde(skip)]
    pub looked: Looked,
}

/// What became of every file of the list, for those who note it.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// The files.
    pub files: Files,
    /// By number: read and good, and how far the reading went.
    good: Vec<Option<Level>>,
    /// With other contents: their sum now.
    damaged: HashMap<u32, Digest>,
}

impl Looked {
    fn of(files: Files) -> Looked {
        Looked { files, ..Looked::default() }
    }

    fn note(&mut self, n: u32, outcome: Outcome) {
        match outcome {
            Outcome::Good(_, level) => {
                if self.good.len() <= n as usize {
                    self.good.resize(n as usize + 1, None);
                }
                self.good[n as usize] = Some(level);
            }
            Outcome::Damaged { found, .. } => drop(self.damaged.insert(n, found)),
            Outcome::Other => {}
        }
    }

    /// Every file with its state in the list, and what was found.
    pub fn outcome(&self) -> impl Iterator<Item = (Name, FileState, Outcome)> {
        self.files.iter().map(|(n, state)| {
            let good = self.good.get(n as usize).copied().flatten();
            let outcome = match (good, self.damaged.get(&n)) {
                (Some(level), _) => Outcome::Good(state.sha256, level),
                (None, Some(found)) => Outcome::Damaged { expected: state.sha256, found: *found },
                (None, None) => Outcome::Other,
            };
            (self.files.name(n), state, outcome)
        })
    }
}

/// What became of one file of the list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// Read, and good.
    Good(Digest, Level),
    /// Read, with other contents.
    Damaged {
        /// The sum recorded.
        expected: Digest,
        /// The sum now.
        found: Digest,
    },
    /// Neither: missing, unreadable, or not read (of another length, where nobody wants that noted).
    Other,
}

/// In how many damaged files the place is looked for: each costs a second reading of the file, and one of the record.
const LOCATED: usize = 100;

impl CheckReport {
    /// Everything in the list is there and right, and the list itself is sound.
    pub fn is_good(&self) -> bool {
        self.files_are_good() && self.refused_lines.is_empty() && self.incomplete.is_none()
    }

    fn files_are_good(&self) -> bool {
        self.good == self.files && self.missing.is_empty() && self.changed.is_empty() && self.unreadable.is_empty()
    }

    /// Lines of the record are damaged, and nothing is left that they could have told of: every file on the disk is in the
    /// record and good, and so is the list beside it.
    pub fn only_the_record_is_damaged(&self) -> bool {
        // One remark on the lists stands for all damaged lines.
        let lists_are_good = self.damaged_record_lines > 0 && self.refused_lines.len() == 1;
        lists_are_good && !self.sizes_only && self.extra.is_empty() && self.files_are_good()
    }
}

/// Checks a folder.
///
/// # Errors
/// No list there, nothing readable, `Interrupted`.
pub fn check(r: &CheckRequest, progress: &dyn Progress, cancel: &Cancel) -> Result<CheckReport> {
    let root = Root::open(&r.folder)?;
    let mut report = CheckReport { folder: r.folder.clone(), sizes_only: r.quick, ..CheckReport::default() };
    let mut mounts = HashMap::new();
    let files = match journal::read_record(&r.folder, |_| {})? {
        Some(state) if !state.files.is_empty() => {
            report.list = JOURNAL.into();
            if let Some((line, why)) = &state.first_refused {
                report.damaged_record_lines = state.refused;
                report.refused_lines.push(format!("{} lines, the first is line {line}: {why}", state.refused));
            }
            report.incomplete = match (state.is_open, state.missing) {
                (true, _) => Some("the last copy to here did not come to its end: files of it may be missing".into()),
                (false, 0) => None,
                (false, n) => Some(format!("{n} files of the last copy to here did not arrive")),
            };
            mounts = state.mounts;
            report.recorded = true;
            let mut files = state.files;
            lists::compare_lists(&r.folder, &files, &mut report)?;
            if bag::is_ours(&r.folder, &files) {
                report.refused_lines.extend(bag::faults(&r.folder));
            }
            for name in [sums::SHA256SUMS, JOURNAL] {
                files.remove(&Name::parse(name.as_bytes()).map_err(Error::caller)?);
            }
            files
        }
        record => {
            if let Some(state) = record {
                let lines = format!("{JOURNAL} tells of no file, {} of its lines cannot be read", state.refused);
                report.refused_lines.push(lines);
            }
            lists::from_sums(&r.folder, &mut report)?
        }
    };
    let mut looked = Looked::of(files);
    let files = &looked.files;
    report.files = files.len() as u64;
    let volume = disk::volume_of(&r.folder).ok();
    let (_, medium) = nature(volume.as_ref());
    let device = volume.as_ref().map(|v| v.device.clone());
    let back = ReadBack::find(&root, medium, device.as_deref(), false)?;
    report.wanted = Some(back.wanted);
    let mark = mount_mark(&root);

    progress.begin("checking", files.iter().map(|(_, f)| f.size).sum());
    if let Err(e) = back.flush() {
        log::warn!("{}: flushing the device failed: {e}", r.folder.display());
    }
    for n in files.sorted() {
        cancel.check()?;
        let Some(state) = looked.files.state(n) else { continue };
        let entry =
            Entry { name: looked.files.name(n), sha256: state.sha256, size: report.recorded.then_some(state.size) };
        let name = &entry.name;
        let mut outcome = Outcome::Other;
        match look(&root, &back, &entry, r, cancel, progress) {
            Ok(Seen::Good(None)) if state.bad => {
                report.changed.push(format!("{name}: found damaged by an earlier check, as the record tells"));
            }
            Ok(Seen::Good(read)) => {
                report.good += 1;
                if let Some((len, level)) = read {
                    report.bytes_read += len;
                    // Mounted anew since the session that wrote it: nothing can be left in memory.
                    let anew = mark.is_some()
                        && mounts.get(&u64::from(state.session)).is_some_and(|m| Some(m) != mark.as_ref());
                    let level = if anew { Level::Remounted } else { level };
                    report.level = Some(report.level.map_or(level, |l| l.min(level)));
                    outcome = Outcome::Good(entry.sha256, level);
                }
            }
            Ok(Seen::Missing) => report.missing.push(name.to_string()),
            Ok(Seen::Changed(how)) => report.changed.push(format!("{name}: {how}")),
            Ok(Seen::Resized { len, was, found }) => {
                report.changed.push(format!("{name}: {len} bytes instead of {was}"));
                if let Some(found) = found {
                    report.bytes_read += len;
                    outcome = Outcome::Damaged { expected: entry.sha256, found };
                }
            }
            Ok(Seen::Damaged(len, found)) => {
                report.bytes_read += len;
                outcome = Outcome::Damaged { expected: entry.sha256, found };
                let mut text = format!("{name}: SHA-256 is {found}, was {}", entry.sha256);
                if report.recorded && report.damage.len() < LOCATED {
                    progress.note(&format!("{name} differs: looking where"));
                    if let Some(damage) = locate(&root, &back, name, &entry.sha256, cancel)? {
                        text = format!("{name}: {damage}");
                        report.damage.push(damage);
                    }
                }
                report.changed.push(text);
            }
            Err(e) if e.fault() == Fault::Interrupted => return Err(e),
            Err(e) => {
                root.still_there()?;
                report.unreadable.push(one_line(&e));
            }
        }
        looked.note(n, outcome);
    }
    progress.end();
    lists::extras(&r.folder, &looked.files, &mut report);
    if r.note && report.recorded {
        note(&root, &looked)?;
        if report.only_the_record_is_damaged() {
            let _lock = root.lock()?;
            Journal::without_damaged_lines(&root)?;
            report.refused_lines.clear();
            let lines = std::mem::take(&mut report.damaged_record_lines);
            progress.note(&format!(
                "{JOURNAL}: {lines} damaged lines taken out: every file there is recorded, was read and is good"
            ));
        }
    }
    report.looked = looked;
    Ok(report)
}

struct Entry {
    name: Name,
    sha256: Digest,
    size: Option<u64>,
}

enum Seen {
    /// What was read, and how far the reading went.
    Good(Option<(u64, Level)>),
    Missing,
    /// Something else, in words.
    Changed(String),
    /// Of another length. To be noted as damaged, what it is now has to be known.
    Resized {
        len: u64,
        was: u64,
        found: Option<Digest>,
    },
    /// As long as it was, with this sum.
    Damaged(u64, Digest),
}

fn look(
    root: &Root,
    back: &ReadBack,
    entry: &Entry,
    r: &CheckRequest,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<Seen> {
    let name = &entry.name;
    let Some(stat) = root.stat(name)? else { return Ok(Seen::Missing) };
    if !stat.is_file {
        return Ok(Seen::Changed("a folder, link or device is in its place".into()));
    }
    if let Some(size) = entry.size.filter(|s| *s != stat.size) {
        let sum = || back.sum(root, name, cancel, &|_| {}).map(|(found, ..)| found);
        let found = (r.note && !r.quick).then(sum).transpose()?;
        return Ok(Seen::Resized { len: stat.size, was: size, found });
    }
    if r.quick {
        return Ok(Seen::Good(None));
    }
    let (found, len, level) = back.sum(root, name, cancel, &|n| progress.advance(n))?;
    if found == entry.sha256 {
        Ok(Seen::Good(Some((len, level))))
    } else {
        Ok(match entry.size {
            Some(_) => Seen::Damaged(len, found),
            None => Seen::Changed(format!("SHA-256 is {found}, was {}", entry.sha256)),
        })
    }
}

/// Notes on the disk itself what was found good, and what is damaged: the copy then replaces it.
fn note(root: &Root, looked: &Looked) -> Result<()> {
    if looked.outcome().all(|o| o.2 == Outcome::Other) {
        return Ok(());
    }
    let _lock = root.lock()?;
    let (mut journal, _) = Journal::open(root)?;
    for (path, _, outcome) in looked.outcome() {
        let t = now();
        match outcome {
            Outcome::Good(sha256, level) => journal.push(&Event::Verified { t, path, sha256, level })?,
            Outcome::Damaged { expected, found } => journal.push(&Event::Mismatch { t, path, expected, found })?,
            Outcome::Other => {}
        }
    }
    journal.sync_all()
}
