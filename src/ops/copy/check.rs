//! Any disk against its own record, on any machine: missing, changed, extra. Needs nothing but the disk: the record of
//! `tomo copy`, or any `SHA256SUMS`.

use super::suits::nature;
use crate::disk;
use crate::stream::{Cancel, Progress};
use crate::trust::blocks::Known;
use crate::trust::journal::{self, Event, JOURNAL};
use crate::trust::readback::{ReadBack, mount_mark};
use crate::trust::root::{LOCK, PART};
use crate::trust::{Digest, Level, Name, Root, now, one_line, sums};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use tomokit_formats::{Error, Fault, Result};
use walkdir::WalkDir;

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
    /// Lines of the list that are refused.
    pub refused_lines: Vec<String>,
    /// The least sure of the readings; none with a quick check.
    pub level: Option<Level>,
    /// The level needed here before a reading says something about the disk.
    pub wanted: Option<Level>,
    /// True for a quick check.
    pub sizes_only: bool,
    /// There is a record by this program, not only a list of sums.
    pub recorded: bool,
    /// By file of the list.
    #[serde(skip)]
    pub outcome: Vec<(Name, Outcome)>,
}

/// What became of one file of the list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// Read, and good.
    Good(Digest, Level),
    /// As long as it was, with other contents.
    Damaged {
        /// The sum recorded.
        expected: Digest,
        /// The sum now.
        found: Digest,
    },
    /// Neither: missing, of another length, unreadable, or not read.
    Other,
}

/// Where a file differs from its record.
#[derive(Clone, Debug, Serialize)]
pub struct Damage {
    /// The file.
    pub path: String,
    /// Stretches: first byte, and the one behind the last.
    pub bytes: Vec<(u64, u64)>,
    /// Bytes of one block: stretches are whole blocks.
    pub block_bytes: u64,
    /// Blocks that differ.
    pub blocks: u64,
    /// Blocks of the file.
    pub of: u64,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 6;
        for (i, (from, to)) in self.bytes.iter().take(SHOWN).enumerate() {
            write!(f, "{}{from} to {}", if i == 0 { "bytes " } else { ", " }, to - 1)?;
        }
        if self.bytes.len() > SHOWN {
            write!(f, " and {} more stretches", self.bytes.len() - SHOWN)?;
        }
        write!(f, " differ ({} of {} blocks of {} MiB)", self.blocks, self.of, self.block_bytes >> 20)
    }
}

/// In how many damaged files the place is looked for: each costs a second reading of the file, and one of the record.
const LOCATED: usize = 100;

impl CheckReport {
    /// Everything in the list is there and right, and the list itself is sound.
    pub fn is_good(&self) -> bool {
        self.good == self.files
            && self.missing.is_empty()
            && self.changed.is_empty()
            && self.unreadable.is_empty()
            && self.refused_lines.is_empty()
    }
}

struct Entry {
    sha256: Digest,
    size: Option<u64>,
    session: u64,
}

/// Checks a folder.
///
/// # Errors
/// No list there, nothing readable, `Interrupted`.
pub fn check(r: &CheckRequest, progress: &dyn Progress, cancel: &Cancel) -> Result<CheckReport> {
    let root = Root::open(&r.folder)?;
    let mut report = CheckReport { folder: r.folder.clone(), sizes_only: r.quick, ..CheckReport::default() };
    let mut mounts = HashMap::new();
    let entries = match journal::read_record(&r.folder, |_| {})? {
        Some(state) if !state.files.is_empty() => {
            report.list = JOURNAL.into();
            if let Some((line, why)) = &state.first_refused {
                report.refused_lines.push(format!("{} lines, the first is line {line}: {why}", state.refused));
            }
            mounts = state.mounts;
            report.recorded = true;
            let entry = |(n, f): (Name, journal::FileState)| {
                (n, Entry { sha256: f.sha256, size: Some(f.size), session: f.session })
            };
            let mut entries: BTreeMap<Name, Entry> = state.files.into_iter().map(entry).collect();
            // The list others read must say the same: a line more or less, or another sum, is a finding.
            compare_lists(&r.folder, &entries, &mut report)?;
            for name in [sums::SHA256SUMS, JOURNAL] {
                entries.remove(&Name::parse(name.as_bytes()).map_err(Error::caller)?);
            }
            entries
        }
        _ => from_sums(&r.folder, &mut report)?,
    };
    report.files = entries.len() as u64;
    let volume = disk::volume_of(&r.folder).ok();
    let (_, medium) = nature(volume.as_ref());
    let device = volume.as_ref().map(|v| v.device.clone());
    let back = ReadBack::find(&root, medium, device.as_deref(), false)?;
    report.wanted = Some(back.wanted);
    let mark = mount_mark(&root);

    progress.begin("checking", entries.values().filter_map(|e| e.size).sum());
    if let Err(e) = back.flush() {
        log::warn!("{}: flushing the device failed: {e}", r.folder.display());
    }
    for (name, entry) in &entries {
        cancel.check()?;
        let mut outcome = Outcome::Other;
        let looked = look(&root, &back, name, entry, r.quick, cancel, progress);
        match looked {
            Ok(Seen::Good(level)) => {
                report.good += 1;
                if let Some(level) = level {
                    report.bytes_read += entry.size.unwrap_or(0);
                    // Mounted anew since the session that wrote it: nothing can be left in memory.
                    let anew = mark.is_some() && mounts.get(&entry.session).is_some_and(|m| Some(m) != mark.as_ref());
                    let level = if anew { Level::Remounted } else { level };
                    report.level = Some(report.level.map_or(level, |l| l.min(level)));
                    outcome = Outcome::Good(entry.sha256, level);
                }
            }
            Ok(Seen::Missing) => report.missing.push(name.to_string()),
            Ok(Seen::Changed(how)) => report.changed.push(format!("{name}: {how}")),
            Ok(Seen::Damaged(found)) => {
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
        report.outcome.push((name.clone(), outcome));
    }
    progress.end();
    extras(r, &entries, &mut report)?;
    if r.note && report.recorded {
        note(&root, &report.outcome)?;
    }
    Ok(report)
}

enum Seen {
    Good(Option<Level>),
    Missing,
    /// Something else, in words.
    Changed(String),
    /// As long as it was, with this sum.
    Damaged(Digest),
}

/// Where a file differs from what the record knows of its blocks; `None` where it knows nothing, or the blocks agree.
pub(super) fn locate(
    root: &Root,
    back: &ReadBack,
    name: &Name,
    sha256: &Digest,
    cancel: &Cancel,
) -> Result<Option<Damage>> {
    let Some(known) = Known::of(root.path(), name, sha256)? else { return Ok(None) };
    let stretches = match back.differing(root, name, &known, cancel) {
        Err(e) if e.fault() != Fault::Interrupted => {
            log::warn!("{}", one_line(&e));
            return Ok(None);
        }
        r => r?,
    };
    Ok((!stretches.is_empty()).then(|| Damage {
        path: name.to_string(),
        blocks: stretches.iter().map(|s| (s.end - s.start).div_ceil(known.bytes)).sum(),
        bytes: stretches.iter().map(|s| (s.start, s.end)).collect(),
        block_bytes: known.bytes,
        of: known.crc32.len() as u64,
    }))
}

fn look(
    root: &Root,
    back: &ReadBack,
    name: &Name,
    entry: &Entry,
    quick: bool,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<Seen> {
    let Some(stat) = root.stat(name)? else { return Ok(Seen::Missing) };
    if !stat.is_file {
        return Ok(Seen::Changed("a folder, link or device is in its place".into()));
    }
    if let Some(size) = entry.size.filter(|s| *s != stat.size) {
        return Ok(Seen::Changed(format!("{} bytes instead of {size}", stat.size)));
    }
    if quick {
        return Ok(Seen::Good(None));
    }
    let (found, _, level) = back.sum(root, name, cancel, &|n| progress.advance(n))?;
    if found == entry.sha256 {
        Ok(Seen::Good(Some(level)))
    } else {
        Ok(match entry.size {
            Some(_) => Seen::Damaged(found),
            None => Seen::Changed(format!("SHA-256 is {found}, was {}", entry.sha256)),
        })
    }
}

fn from_sums(folder: &std::path::Path, report: &mut CheckReport) -> Result<BTreeMap<Name, Entry>> {
    let (path, bag) = match (folder.join(sums::SHA256SUMS), folder.join("manifest-sha256.txt")) {
        (s, _) if s.is_file() => (s, false),
        (_, m) if m.is_file() => (m, true),
        (s, _) => {
            return Err(Error::caller("there is no record of a copy here")
                .path(folder)
                .expected(format!("{JOURNAL}, {} or a bag", s.file_name().unwrap_or_default().display()))
                .hint("name the folder that was copied into"));
        }
    };
    report.list = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let file = File::open(&path).map_err(|e| Error::io(&path, "opening the list", e))?;
    let mut entries = BTreeMap::new();
    sums::read(BufReader::new(file), |line, parsed| {
        match parsed {
            Ok((sha256, name)) => {
                let name = if bag { decoded(&name) } else { name };
                let twice = entries.insert(name.clone(), Entry { sha256, size: None, session: 0 });
                if twice.is_some_and(|e| e.sha256 != sha256) {
                    report.refused_lines.push(format!("line {line}: {name} has two different sums"));
                }
            }
            Err(why) => report.refused_lines.push(format!("line {line}: {why}")),
        }
        report.refused_lines.len() < 1000
    })
    .map_err(|e| Error::io(&path, "reading the list", e))?;
    if entries.is_empty() {
        return Err(Error::file(&path, "no file is in this list").found(report.refused_lines.join("; ")));
    }
    Ok(entries)
}

/// A name as a bag's manifest writes it: line ends as `%0A`, `%0D`.
fn decoded(name: &Name) -> Name {
    let text = name.bytes();
    if !text.contains(&b'%') {
        return name.clone();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(b) = rest.first() {
        let sign = rest.get(..3).map(<[u8]>::to_ascii_uppercase);
        let (plain, n) = match sign.as_deref() {
            Some(b"%0A") => (b'\n', 3),
            Some(b"%0D") => (b'\r', 3),
            _ => (*b, 1),
        };
        out.push(plain);
        rest = &rest[n..];
    }
    Name::parse(&out).unwrap_or_else(|_| name.clone())
}

fn compare_lists(folder: &std::path::Path, entries: &BTreeMap<Name, Entry>, report: &mut CheckReport) -> Result<()> {
    let path = folder.join(sums::SHA256SUMS);
    let file = match File::open(&path) {
        Ok(f) => f,
        Err(_) => {
            report.refused_lines.push(format!("{} is missing", sums::SHA256SUMS));
            return Ok(());
        }
    };
    // A file that was copied again stands in the list twice until the next run puts it in order: the last line counts.
    let mut agrees: HashMap<&Name, bool> = HashMap::new();
    let mut unknown: BTreeSet<Name> = BTreeSet::new();
    sums::read(BufReader::new(file), |line, parsed| {
        match parsed {
            Ok((d, n)) => match entries.get_key_value(&n) {
                Some((known, e)) => drop(agrees.insert(known, e.sha256 == d)),
                None => drop(unknown.insert(n)),
            },
            Err(why) => report.refused_lines.push(format!("{} line {line}: {why}", sums::SHA256SUMS)),
        }
        report.refused_lines.len() < 1000
    })
    .map_err(|e| Error::io(&path, "reading the list", e))?;
    for name in entries.keys().filter(|n| agrees.get(n) == Some(&false)) {
        report.refused_lines.push(format!("{name}: {} and {JOURNAL} disagree", sums::SHA256SUMS));
    }
    report.refused_lines.extend(unknown.iter().map(|name| format!("{name}: in {} only", sums::SHA256SUMS)));
    let only: Vec<_> = entries.keys().filter(|n| !agrees.contains_key(n)).collect();
    if !only.is_empty() {
        let text = format!("{} files are in {JOURNAL} only, the first is {}", only.len(), only[0]);
        report.refused_lines.push(text);
    }
    Ok(())
}

/// What is on the disk and not in the list.
fn extras(r: &CheckRequest, entries: &BTreeMap<Name, Entry>, report: &mut CheckReport) -> Result<()> {
    let own: HashSet<&str> = [
        sums::SHA256SUMS,
        JOURNAL,
        LOCK,
        super::finish::HASHDEEP,
        "bagit.txt",
        "bag-info.txt",
        "manifest-sha256.txt",
        "tagmanifest-sha256.txt",
    ]
    .into();
    // Windows and its relatives leave these on every disk.
    let system = ["System Volume Information", "$RECYCLE.BIN", "lost+found", ".Trashes", ".Spotlight-V100"];
    let mut walk = WalkDir::new(&r.folder).sort_by_file_name().into_iter();
    while let Some(entry) = walk.next() {
        let Ok(entry) = entry else { continue };
        let top = entry.depth() == 1;
        let last = entry.file_name().to_string_lossy();
        if entry.file_type().is_dir() {
            if top && system.contains(&&*last) {
                walk.skip_current_dir();
            }
            continue;
        }
        let Ok(below) = entry.path().strip_prefix(&r.folder) else { continue };
        let Ok(name) = Name::of(below) else { continue };
        if (top && own.contains(&&*last)) || entries.contains_key(&name) {
            continue;
        }
        let list = if last.ends_with(PART) { &mut report.unfinished } else { &mut report.extra };
        list.push(name.to_string());
    }
    Ok(())
}

/// Notes on the disk itself what was found good, and what is damaged: the copy then replaces it.
fn note(root: &Root, outcome: &[(Name, Outcome)]) -> Result<()> {
    if outcome.iter().all(|o| o.1 == Outcome::Other) {
        return Ok(());
    }
    let _lock = root.lock()?;
    let (mut journal, _) = crate::trust::Journal::open(root)?;
    for (path, outcome) in outcome {
        let (t, path) = (now(), path.clone());
        match *outcome {
            Outcome::Good(sha256, level) => journal.push(&Event::Verified { t, path, sha256, level })?,
            Outcome::Damaged { expected, found } => journal.push(&Event::Mismatch { t, path, expected, found })?,
            Outcome::Other => {}
        }
    }
    journal.sync_all()
}
