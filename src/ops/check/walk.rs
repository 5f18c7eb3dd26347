//! Which things under a path are worth a look: volumes, stacks, series and scans, each once. A folder that is a scan or
//! a series is one item, its files are not looked at again; sidecars, receipts and parameter files are looked at with
//! what they belong to.

use crate::stream::Cancel;
use serde::Serialize;
use std::path::{Path, PathBuf};
use tomokit_formats::registry::{self, Candidate, Confidence};
use tomokit_formats::{Error, Fault, OpenOptions, Result};

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

/// Extensions of files that hold stacks. Others are looked at only when named by the user.
const STACKS: [&str; 12] = ["vol", "raw", "edf", "edf.gz", "edf.bz2", "tif", "tiff", "h5", "hdf5", "nxs", "npy", "hdf"];
/// Headers whose data lie in another file: looked at only where they are named, or stand for themselves.
const ATTACHED: [&str; 2] = ["mha", "nrrd"];

/// The items under `path`.
///
/// # Errors
/// Where the path itself cannot be looked at; what lies below it and cannot be listed is left out of the walk and met
/// again when somebody names it.
pub fn items(path: &Path, options: &OpenOptions, cancel: &Cancel) -> Result<Vec<Item>> {
    let (file, dataset) = registry::split_dataset(path);
    let candidate = Candidate::look(&file)?;
    if !candidate.is_dir || dataset.is_some() || options.format.is_some() {
        let bytes = if candidate.is_dir { folder_bytes(&candidate) } else { candidate.len };
        let kind = if candidate.is_dir { ItemKind::Folder } else { ItemKind::File };
        let format = registry::claims(&candidate).first().map(|c| c.0.name);
        return Ok(vec![Item { path: path.to_owned(), kind, format, bytes, named: true }]);
    }
    let mut found = Vec::new();
    folder(candidate, cancel, &mut found, 0)?;
    Ok(found)
}

/// Folders deeper than this are not entered: a circle of mounts would never end.
const DEEP: usize = 64;

fn folder(c: Candidate, cancel: &Cancel, out: &mut Vec<Item>, depth: usize) -> Result<()> {
    cancel.check()?;
    let claim = registry::claims(&c).into_iter().find(|h| h.1.confidence > Confidence::Name).map(|h| h.0.name);
    // A folder of many pictures that do not belong together is no series: each is looked at for itself.
    let claim = claim.filter(
        |_| !matches!(registry::open(&c.path, &OpenOptions::default()), Err(e) if e.fault() == Fault::Unsupported),
    );
    if let Some(format) = claim {
        let bytes = folder_bytes(&c);
        out.push(Item { path: c.path.clone(), kind: ItemKind::Folder, format: Some(format), bytes, named: depth == 0 });
    }
    for name in &c.entries {
        let path = c.path.join(name);
        let lower = name.to_string_lossy().to_lowercase();
        let Ok(kind) = std::fs::symlink_metadata(&path) else { continue };
        if kind.is_dir() {
            if depth < DEEP && !lower.ends_with(".part") {
                match Candidate::look(&path) {
                    Ok(inner) => folder(inner, cancel, out, depth + 1)?,
                    Err(e) if e.fault() == Fault::Interrupted => return Err(e),
                    Err(_) => {}
                }
            }
            if lower.ends_with(".part") {
                out.push(Item { path, kind: ItemKind::Unfinished, format: None, bytes: 0, named: false });
            }
            continue;
        }
        if lower.ends_with(".part") {
            out.push(Item { path, kind: ItemKind::Unfinished, format: None, bytes: 0, named: false });
            continue;
        }
        let ends = |list: &[&str]| list.iter().any(|e| lower.strip_suffix(e).is_some_and(|s| s.ends_with('.')));
        let own = match claim {
            Some("edf") => lower.contains(".edf"),
            Some("tiff") => ends(&["tif", "tiff"]),
            Some("nexus") => ends(&["nxs", "h5", "hdf5", "hdf"]),
            _ => false,
        };
        let hidden = lower.starts_with('.') || lower.starts_with("histogram_");
        if own || hidden || !(ends(&STACKS) || ends(&ATTACHED)) {
            continue;
        }
        match Candidate::look(&path) {
            Ok(file) => {
                let format = registry::claims(&file).first().map(|h| h.0.name);
                out.push(Item { path, kind: ItemKind::File, format, bytes: file.len, named: false });
            }
            // A broken link, a file without permission: an item that cannot be read.
            Err(_) => out.push(Item { path, kind: ItemKind::File, format: None, bytes: 0, named: false }),
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
