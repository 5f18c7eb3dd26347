//! The full listing of a file: groups, datasets, attributes, links and virtual sources, each line saying whether it
//! leads anywhere. Safe against circles: a group met before is named, not entered again.

use super::file::{H5, LinkKind, ObjectKind};
use super::info::Layout;
use crate::Result;
use crate::registry::TreeLine;
use std::collections::HashMap;
use std::path::Path;

/// Lines of a tree are for people: longer values are cut.
const VALUE_CHARS: usize = 100;
/// Virtual sources listed per dataset that are fine; those that are not are all listed.
const SOURCES: usize = 8;
/// Deeper groups are named, not entered.
const DEPTH: usize = 64;

/// Lists the whole file.
pub(super) fn tree(path: &Path) -> Result<Vec<TreeLine>> {
    let h5 = H5::open(path)?;
    let mut out = Vec::new();
    let mut seen = HashMap::new();
    out.push(line(0, "/", "group", class_of(&h5, "/"), true));
    if let Some(id) = h5.identity("/") {
        seen.insert(id, "/".to_owned());
    }
    attributes(&h5, "/", 1, &mut out);
    walk(&h5, "/", 1, &mut seen, &mut out)?;
    Ok(out)
}

fn line(depth: usize, name: &str, kind: &str, detail: String, ok: bool) -> TreeLine {
    TreeLine { depth, name: name.to_owned(), kind: kind.to_owned(), detail, ok }
}

fn class_of(h5: &H5, path: &str) -> String {
    h5.nx_class(path).unwrap_or_default()
}

fn walk(
    h5: &H5,
    group: &str,
    depth: usize,
    seen: &mut HashMap<(u64, [u64; 2]), String>,
    out: &mut Vec<TreeLine>,
) -> Result<()> {
    for link in h5.children(group)? {
        match &link.kind {
            LinkKind::Soft { target } => {
                let missing = if link.resolves { "" } else { " (MISSING)" };
                out.push(line(depth, &link.name, "soft link", format!("-> {target}{missing}"), link.resolves));
            }
            LinkKind::External { file, path } => {
                let missing = match (link.resolves, super::links::resolve_file(h5.path(), file)) {
                    (true, f) if f.only_in_cwd => " (found only in the working directory)",
                    (true, _) => "",
                    (false, f) if f.path.is_some() => " (that file has NO SUCH OBJECT)",
                    (false, _) => " (that file is MISSING)",
                };
                let detail = format!("-> {}:{path}{missing}", file.display());
                out.push(line(depth, &link.name, "external link", detail, link.resolves));
            }
            LinkKind::Hard { object: ObjectKind::Group } => {
                let id = h5.identity(&link.path);
                if let Some(first) = id.and_then(|id| seen.get(&id)) {
                    out.push(line(depth, &link.name, "group", format!("same as {first}"), true));
                    continue;
                }
                if let Some(id) = id {
                    seen.insert(id, link.path.clone());
                }
                if depth >= DEPTH {
                    out.push(line(depth, &link.name, "group", "too deep to list".into(), true));
                    continue;
                }
                out.push(line(depth, &link.name, "group", class_of(h5, &link.path), true));
                attributes(h5, &link.path, depth + 1, out);
                if let Err(e) = walk(h5, &link.path, depth + 1, seen, out) {
                    out.push(line(depth + 1, "?", "group", e.to_string(), false));
                }
            }
            LinkKind::Hard { object: ObjectKind::Dataset } => dataset(h5, &link.name, &link.path, depth, out),
            LinkKind::Hard { object: ObjectKind::Datatype } => {
                out.push(line(depth, &link.name, "datatype", String::new(), true));
            }
        }
    }
    Ok(())
}

fn dataset(h5: &H5, name: &str, path: &str, depth: usize, out: &mut Vec<TreeLine>) {
    let info = match h5.dataset_info(path) {
        Ok(i) => i,
        Err(e) => {
            out.push(line(depth, name, "dataset", e.to_string(), false));
            return;
        }
    };
    let mut detail = info.summary();
    if info.len() == 1 && info.filters.is_empty() && super::links::check_sources(h5, &info).is_ok() {
        let value = h5.read_text(path).ok().map(|t| format!("{t:?}"));
        let value = value.or_else(|| info.dtype.and_then(|_| h5.read_f64(path).ok()?.first().map(f64::to_string)));
        if let Some(v) = value {
            detail = format!("{detail} = {}", short(&v));
        }
    }
    let readable = info.filters.iter().all(|f| f.supported);
    out.push(line(depth, name, "dataset", detail, readable && super::links::check_sources(h5, &info).is_ok()));
    attributes(h5, path, depth + 1, out);
    match &info.layout {
        Layout::Virtual { sources } => {
            let mut fine = 0;
            for s in sources {
                fine += usize::from(s.ok());
                if s.ok() && fine > SOURCES {
                    continue;
                }
                let cwd = if s.only_in_cwd { "found only in the working directory" } else { "" };
                let detail = s.problem.clone().unwrap_or_else(|| cwd.to_owned());
                out.push(line(depth + 1, &s.label(), "virtual source", detail, s.ok()));
            }
            if fine > SOURCES {
                out.push(line(depth + 1, "…", "virtual source", format!("{} more, all there", fine - SOURCES), true));
            }
        }
        Layout::External { files } => {
            for f in files {
                let ok = f.resolved.is_some();
                let detail = if ok { String::new() } else { "MISSING".into() };
                out.push(line(depth + 1, &f.file.display().to_string(), "external raw file", detail, ok));
            }
        }
        _ => {}
    }
}

fn attributes(h5: &H5, path: &str, depth: usize, out: &mut Vec<TreeLine>) {
    match h5.attrs(path) {
        Ok(list) => {
            for (name, value) in list {
                out.push(line(depth, &name, "attribute", short(&value.to_string()), true));
            }
        }
        Err(e) => out.push(line(depth, "?", "attribute", e.to_string(), false)),
    }
}

fn short(text: &str) -> String {
    if text.chars().count() <= VALUE_CHARS {
        return text.to_owned();
    }
    text.chars().take(VALUE_CHARS).chain(['…']).collect()
}
