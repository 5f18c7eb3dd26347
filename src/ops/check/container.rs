//! Links and virtual sources of HDF5 files that lead nowhere. A missing source reads as zeros in most programs, without
//! a word.

use super::{Finding, Item, Kind, Weight};
use std::path::{Path, PathBuf};
use tomokit_formats::{OpenOptions, nexus, registry};

/// Listed one by one.
const MOST: usize = 20;

/// The findings, and whether the data the item stands for do not hang on them (no virtual source is missing).
pub fn findings(item: &Item, options: &OpenOptions) -> (Vec<Finding>, bool) {
    let mut out = Vec::new();
    let mut sound = true;
    for file in containers(item, options) {
        let Some(Ok(tree)) = nexus::SPEC.tree.map(|list| list(&file)) else { continue };
        let own = (file != item.path).then(|| file.clone());
        let mut names: Vec<String> = Vec::new();
        let mut broken = 0;
        for line in tree {
            names.truncate(line.depth);
            names.push(line.name.clone());
            // The lines below a dataset say which of its sources is missing.
            if line.ok || line.kind == "dataset" && line.detail.contains("virtual") {
                continue;
            }
            broken += 1;
            let virtual_source = matches!(line.kind.as_str(), "virtual source" | "external raw file");
            sound &= !virtual_source;
            if broken <= MOST {
                let path = names[1..].join("/");
                // A dataset that cannot be read here (a filter we lack) is not broken.
                let weight = if line.kind == "dataset" { Weight::Remark } else { Weight::Broken };
                let text = format!("{} /{path}: {}", line.kind, line.detail);
                out.push(Finding::new(Kind::Link, weight, text).file(own.clone()));
            }
        }
        if broken > MOST {
            let text = format!("{} more links or sources lead nowhere", broken - MOST);
            out.push(Finding::new(Kind::Link, Weight::Broken, text).file(own));
        }
    }
    (out, sound)
}

/// The HDF5 files of an item.
fn containers(item: &Item, options: &OpenOptions) -> Vec<PathBuf> {
    let (path, _) = registry::split_dataset(&item.path);
    let named = options.format.as_deref().is_none_or(|f| f == nexus::SPEC.name);
    if item.format != Some(nexus::SPEC.name) || !named {
        return Vec::new();
    }
    if path.is_file() {
        return vec![path];
    }
    let is_hdf5 = |p: &Path| {
        let e = p.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        p.is_file() && nexus::SPEC.extensions.contains(&e.as_str())
    };
    let mut list: Vec<PathBuf> =
        std::fs::read_dir(&path).into_iter().flatten().flatten().map(|e| e.path()).filter(|p| is_hdf5(p)).collect();
    list.sort();
    list
}
