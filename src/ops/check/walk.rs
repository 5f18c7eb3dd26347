//! Which things under a path are worth a look: volumes, stacks, series and scans, each once. A folder that is a scan or
//! a series is one item, its files are not looked at again; sidecars, receipts and parameter files are looked at with
//! what they belong to.

use crate::stream::Cancel;
use serde::Serialize;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use tomokit_formats::registry::{self, Candidate, Confidence, Opened};
use tomokit_formats::{Content, Error, Fault, OpenOptions, Result};

/// What an item looks like from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ItemKind {
    /// One file.
    File,
    /// A folder that is one thing.
    Folder,
    /// A left-over of an unfinished run.
    Unfinished,
}

/// One thing to look at.
#[derive(Clone, Debug, Serialize)]
pub struct Item {
    /// Where.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub path: PathBuf,
    /// File, folder, left-over.
    pub kind: ItemKind,
    /// Format that claims it.
    pub format: Option<&'static str>,
    /// Bytes on disk: the file, or the files of the folder.
    pub bytes: u64,
    /// The user named it, it was not met on a walk.
    pub named: bool,
}

impl Item {
    /// What the user named and no look found anything at.
    pub(super) fn named(path: &Path) -> Item {
        Item { path: path.to_owned(), kind: ItemKind::File, format: None, bytes: 0, named: true }
    }
}

/// Extensions of files that hold stacks. Others are looked at only when named by the user.
const STACKS: [&str; 12] = ["vol", "raw", "edf", "edf.gz", "edf.bz2", "tif", "tiff", "h5", "hdf5", "nxs", "npy", "hdf"];
/// Headers whose data lie in another file: looked at only where they are named, or stand for themselves.
const ATTACHED: [&str; 2] = ["mha", "nrrd"];

/// A folder that a walk does not enter.
#[derive(Clone, Debug, Serialize)]
pub struct LeftOut {
    /// Where.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub path: PathBuf,
    /// Why not.
    pub why: &'static str,
}

/// What a walk met.
#[derive(Default)]
pub struct Walk {
    pub items: Vec<Item>,
    pub left_out: Vec<LeftOut>,
}

/// The items under `path`. A folder that cannot be listed is an item that cannot be looked at.
///
/// # Errors
/// Where the path itself cannot be looked at.
pub fn walk(path: &Path, options: &OpenOptions, cancel: &Cancel) -> Result<Walk> {
    let mut found = Walk::default();
    let (file, dataset) = registry::split_dataset(path);
    let candidate = Candidate::look(&file)?;
    if !candidate.is_dir || dataset.is_some() || options.format.is_some() {
        let bytes = if candidate.is_dir { folder_bytes(&candidate) } else { candidate.len };
        let kind = if candidate.is_dir { ItemKind::Folder } else { ItemKind::File };
        let format = registry::claims(&candidate).first().map(|c| c.0.name);
        found.items.push(Item { path: path.to_owned(), kind, format, bytes, named: true });
        return Ok(found);
    }
    folder(candidate, cancel, &mut found, 0)?;
    Ok(found)
}

/// Folders deeper than this are not entered: a circle of mounts would never end.
const DEEP: usize = 64;

/// What a folder that is one item takes with it.
struct Claim {
    format: &'static str,
    /// Files of it, where they are known one by one: others beside them are items of their own.
    files: Option<HashSet<PathBuf>>,
    /// Folders in it that are parts of a TIFF scan.
    folders: HashSet<PathBuf>,
}

/// A folder whose files belong together, also where some of them are damaged: reading these fails then.
///
/// # Errors
/// As for a folder in which all is well.
pub(super) fn open_folder(path: &Path, options: &OpenOptions) -> Result<Opened> {
    registry::open(path, options).or_else(|e| match e.fault() {
        // They do not belong together.
        Fault::Unsupported => Err(e),
        _ => registry::open(path, &OpenOptions { lenient: true, ..options.clone() }).map_err(|_| e),
    })
}

impl Claim {
    fn of(c: &Candidate) -> Option<Claim> {
        let format = registry::claims(c).into_iter().find(|h| h.1.confidence > Confidence::Name)?.0.name;
        let mut claim = Claim { format, files: None, folders: HashSet::new() };
        match open_folder(&c.path, &OpenOptions::default()) {
            // A folder of many pictures that do not belong together is no series: each is looked at for itself.
            Err(e) if e.fault() == Fault::Unsupported => return None,
            Err(_) => {}
            Ok(Opened { content: Content::Volume(v), .. }) => {
                claim.files = Some(v.source.files().into_iter().collect())
            }
            // Elsewhere a folder that is linked to may hold more than that.
            Ok(Opened { content: Content::Scan(s), .. }) if format == "tiff" => {
                let refs = s.flats.iter().chain(&s.darks).map(|r| &r.source);
                let files = refs.chain([&s.projections]).flat_map(|source| source.files());
                claim.folders = files.filter_map(|f| Some(f.parent()?.to_owned())).collect();
            }
            Ok(_) => {}
        }
        Some(claim)
    }

    /// True for a file that is looked at with the folder.
    fn has(&self, path: &Path, lower: &str) -> bool {
        match (self.format, &self.files) {
            ("tiff", Some(files)) if !files.is_empty() => files.contains(path),
            ("edf", _) => lower.contains(".edf"),
            ("tiff", _) => ends(lower, &["tif", "tiff"]),
            ("nexus", _) => ends(lower, &["nxs", "h5", "hdf5", "hdf"]),
            _ => false,
        }
    }
}

fn ends(lower: &str, list: &[&str]) -> bool {
    list.iter().any(|e| lower.strip_suffix(e).is_some_and(|s| s.ends_with('.')))
}

fn folder(c: Candidate, cancel: &Cancel, found: &mut Walk, depth: usize) -> Result<()> {
    cancel.check()?;
    let claim = Claim::of(&c);
    if let Some(Claim { format, .. }) = claim {
        let (bytes, named) = (folder_bytes(&c), depth == 0);
        found.items.push(Item { path: c.path.clone(), kind: ItemKind::Folder, format: Some(format), bytes, named });
    }
    let item = |path, kind| Item { path, kind, format: None, bytes: 0, named: false };
    for name in &c.entries {
        let path = c.path.join(name);
        let lower = name.to_string_lossy().to_lowercase();
        let Ok(kind) = std::fs::symlink_metadata(&path) else { continue };
        if lower.ends_with(".part") {
            found.items.push(item(path, ItemKind::Unfinished));
            continue;
        }
        if kind.is_dir() {
            if claim.as_ref().is_some_and(|c| c.folders.contains(&path)) {
                continue;
            }
            if depth == DEEP {
                found.left_out.push(LeftOut { path, why: "folders lie within each other without end" });
                continue;
            }
            match Candidate::look(&path) {
                Ok(inner) => folder(inner, cancel, found, depth + 1)?,
                Err(e) if e.fault() == Fault::Interrupted => return Err(e),
                Err(_) => found.items.push(item(path, ItemKind::Folder)),
            }
            continue;
        }
        if kind.is_symlink() && path.is_dir() {
            found.left_out.push(LeftOut { path, why: "a link to a folder: name it to have that looked at" });
            continue;
        }
        let own = claim.as_ref().is_some_and(|c| c.has(&path, &lower));
        // What systems leave, and PyHST2's histograms beside volumes.
        let hidden = lower.starts_with('.') || lower.starts_with("histogram_") && lower.contains(".edf");
        if own || hidden || !(ends(&lower, &STACKS) || ends(&lower, &ATTACHED)) {
            continue;
        }
        match Candidate::look(&path) {
            Ok(file) => {
                let format = registry::claims(&file).first().map(|h| h.0.name);
                found.items.push(Item { path, kind: ItemKind::File, format, bytes: file.len, named: false });
            }
            // A broken link, a file without permission: an item that cannot be read.
            Err(_) => found.items.push(item(path, ItemKind::File)),
        }
    }
    Ok(())
}

fn folder_bytes(c: &Candidate) -> u64 {
    c.entries
        .iter()
        .filter_map(|n| std::fs::metadata(c.path.join(n)).ok())
        .filter(|m| m.is_file())
        .map(|m| m.len())
        .sum()
}

/// Says that a left-over is one.
pub fn left_over(path: &Path) -> Error {
    Error::file(path, "a left-over of an unfinished run").hint("go on with --resume, or remove it")
}
