//! What a target holds already under a name that differs from a new one in upper and lower case alone. exFAT would replace
//! the one by the other without a word; on NTFS a driver of Linux keeps both, of which Windows opens only one.

use crate::trust::Name;
use crate::trust::name::folded;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// Marks of the names in one folder, as they are spelled and as Windows takes them.
#[derive(Default)]
struct Listing {
    spelled: HashSet<u64>,
    folded: HashSet<u64>,
}

fn mark(bytes: &[u8]) -> u64 {
    let mut h = DefaultHasher::new();
    bytes.hash(&mut h);
    h.finish()
}

impl Listing {
    /// A folder that cannot be read holds nothing that is known.
    fn of(folder: &Path) -> Listing {
        let mut listing = Listing::default();
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if let Ok(name) = Name::of(Path::new(&entry.file_name())) {
                listing.spelled.insert(mark(name.bytes()));
                listing.folded.insert(mark(&folded(&name)));
            }
        }
        listing
    }
}

/// Folders of a target, each read once.
pub(super) struct Spelling {
    root: PathBuf,
    folders: HashMap<Option<Name>, Listing>,
}

impl Spelling {
    pub(super) fn new(root: &Path) -> Spelling {
        Spelling { root: root.to_owned(), folders: HashMap::new() }
    }

    /// True where a part of this name is there in another spelling, and not in this one.
    pub(super) fn differs(&mut self, name: &Name) -> bool {
        let mut above: Option<Name> = None;
        for part in name.parts() {
            let Ok(part) = Name::parse(part) else { return false };
            let root = &self.root;
            let path = above.as_ref().map_or_else(|| root.clone(), |a| root.join(a.path()));
            let listing = self.folders.entry(above.clone()).or_insert_with(|| Listing::of(&path));
            if !listing.spelled.contains(&mark(part.bytes())) {
                return listing.folded.contains(&mark(&folded(&part)));
            }
            above = Some(above.map_or(part.clone(), |a| a.join(&part)));
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_spellings_of_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("Scan/raw")).unwrap();
        std::fs::write(dir.path().join("Scan/raw/Größe.nxs"), "").unwrap();
        let mut s = Spelling::new(dir.path());
        let mut differs = |n: &str| s.differs(&Name::parse(n.as_bytes()).unwrap());
        for same in ["Scan/raw/Größe.nxs", "Scan/raw/new", "Scan/other/x", "x", "Scan"] {
            assert!(!differs(same), "{same}");
        }
        for other in ["scan", "scan/x", "Scan/RAW/y", "Scan/raw/größe.nxs", "Scan/raw/GRÖßE.NXS"] {
            assert!(differs(other), "{other}");
        }
    }
}
