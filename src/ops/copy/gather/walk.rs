//! A source folder looked through.

use super::patterns::Patterns;
use super::{Gathered, Links, Select, some, take};
use crate::trust::{Name, journal, root};
use std::path::{Path, PathBuf};
use tomokit_formats::Error;
use walkdir::WalkDir;

pub(super) fn walk(g: &mut Gathered, index: u32, select: &Select, patterns: &Patterns) {
    let dir = g.sources[index as usize].dir.clone();
    let prefix = g.sources[index as usize].prefix.clone();
    let follow = select.links == Links::Follow;
    // Folders in which nothing was found yet, by depth.
    let mut open: Vec<(PathBuf, bool)> = Vec::new();
    let close = |g: &mut Gathered, open: &mut Vec<(PathBuf, bool)>, depth: usize| {
        while open.len() > depth {
            let Some((path, used)) = open.pop() else { break };
            if used || select.files_from.is_some() || !select.include.is_empty() {
                continue;
            }
            let Ok(below) = path.strip_prefix(&dir) else { continue };
            let name = match (Name::of(below), &prefix) {
                (Ok(n), Some(p)) => p.join(&n),
                (_, Some(p)) => p.clone(),
                _ => continue,
            };
            g.folders.push(name);
            if let Some(above) = open.last_mut() {
                above.1 = true;
            }
        }
    };
    let mut entries = WalkDir::new(&dir).follow_links(follow).sort_by_file_name().into_iter();
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Ok(e) => e,
            Err(e) => {
                let path = e.path().unwrap_or(&dir).to_owned();
                let why = match e.into_io_error() {
                    Some(io) => Error::io(&path, "reading the folder", io),
                    None => Error::file(&path, "a link leads back to a folder above it"),
                };
                g.unreadable.push(why);
                continue;
            }
        };
        close(g, &mut open, entry.depth());
        let below = entry.path().strip_prefix(&dir).unwrap_or(entry.path());
        let kind = entry.file_type();
        // The source itself may be a link to a folder: it was named.
        if kind.is_dir() || entry.depth() == 0 {
            if entry.depth() > 0 && patterns.excludes(below) {
                entries.skip_current_dir();
                continue;
            }
            open.push((entry.path().to_owned(), false));
            continue;
        }
        if !patterns.takes(below) || (select.skip_unfinished && is_unfinished(below)) {
            continue;
        }
        if is_ours(below) {
            some(&mut g.own, entry.path());
            continue;
        }
        if let Some(o) = open.last_mut() {
            o.1 = true;
        }
        if kind.is_symlink() {
            some(&mut g.links, entry.path());
            continue;
        }
        match (entry.metadata(), Name::of(below)) {
            (Ok(meta), Ok(name)) => take(g, index, &name, &meta, entry.path()),
            // Gone since the folder was read: nothing to copy.
            (Err(e), _) if e.io_error().is_some_and(|e| e.kind() == std::io::ErrorKind::NotFound) => {}
            (Err(e), _) => g.unreadable.push(Error::io(entry.path(), "looking at", e.into())),
            (_, Err(why)) => g.unreadable.push(Error::file(entry.path(), why)),
        }
    }
    close(g, &mut open, 0);
}

/// What this program leaves on a disk is not copied on from there: it belongs to that disk.
fn is_ours(below: &Path) -> bool {
    let last = below.file_name().unwrap_or_default();
    last.as_encoded_bytes().ends_with(root::PART.as_bytes())
        || last == root::LOCK
        || (below.components().count() == 1 && last == journal::JOURNAL)
}

fn is_unfinished(below: &Path) -> bool {
    let last = below.file_name().unwrap_or_default().as_encoded_bytes();
    [&b".part"[..], b".part.json", b".tmp", b".partial"].iter().any(|s| last.ends_with(s))
}
