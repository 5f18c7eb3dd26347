//! Which files are copied, and in which order. Nothing is opened here but folders.

mod patterns;
mod walk;

use crate::disk::plain_path;
use crate::trust::root::nanos;
use crate::trust::{Name, NameList, journal, root, sums};
use patterns::Patterns;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use tomokit_formats::{Error, Result};
use walk::walk;

/// Order of copying.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// By name.
    #[default]
    Name,
    /// Least recently changed first.
    Oldest,
    /// Smallest first.
    Smallest,
    /// Largest first.
    Largest,
}

/// What becomes of links in the source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Links {
    /// Left out, and said so.
    #[default]
    Skip,
    /// What they point to is copied in their place.
    Follow,
}

/// Which files.
#[derive(Clone, Debug, Default)]
pub struct Select {
    /// Only files that match one of these patterns; all where empty. A pattern without `/` looks at the last part.
    pub include: Vec<String>,
    /// Not what matches one of these.
    pub exclude: Vec<String>,
    /// Only the names in this list, relative to the one source; one a line, or separated by NUL.
    pub files_from: Option<PathBuf>,
    /// Order of copying.
    pub order: Order,
    /// Links in the source.
    pub links: Links,
    /// Leave out files whose name says that they are unfinished (`.part`).
    pub skip_unfinished: bool,
}

/// A file or folder to copy from.
#[derive(Clone, Debug)]
pub struct Source {
    /// As given.
    pub given: PathBuf,
    /// The folder its files are below.
    pub dir: PathBuf,
    /// Name that goes in front of them on the target; `None` for a single file.
    pub prefix: Option<Name>,
}

/// A file to copy.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    /// Which source.
    pub source: u32,
    /// Number of its name below the source's folder.
    name: u32,
    /// Bytes when it was looked at.
    pub size: u64,
    /// Its time then.
    pub modified_ns: i64,
    /// Bytes on its disk.
    pub allocated: u64,
}

/// Everything found.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Where from.
    pub sources: Vec<Source>,
    /// Files, in the order of copying.
    pub items: Vec<Item>,
    names: NameList,
    /// Folders with nothing in them, as on the target.
    pub folders: Vec<Name>,
    /// Links left out: how many, and some of them.
    pub links: (u64, Vec<PathBuf>),
    /// This program's own files of another disk, left out.
    pub own: (u64, Vec<PathBuf>),
    /// Pipes, sockets and devices left out.
    pub special: (u64, Vec<PathBuf>),
    /// What could not be looked at.
    pub unreadable: Vec<Error>,
    /// Patterns that matched nothing, as they were given.
    pub unused: Vec<String>,
    /// Files that are made smaller on the way, by number; the plan finds them.
    pub(super) volumes: HashSet<u32>,
}

impl Gathered {
    /// Name of a file below its source's folder.
    pub fn below(&self, item: &Item) -> Name {
        self.names.get(item.name)
    }

    /// Name of a file on the target, before any mapping.
    pub fn dest(&self, item: &Item) -> Name {
        let below = self.below(item);
        match &self.sources[item.source as usize].prefix {
            Some(p) => p.join(&below),
            None => below,
        }
    }

    /// The order of two files' names on the target.
    pub fn order(&self, a: &Item, b: &Item) -> Ordering {
        if a.source == b.source {
            return self.names.order(a.name, b.name);
        }
        self.dest(a).cmp(&self.dest(b))
    }

    /// Path of a file at the source.
    pub fn path(&self, item: &Item) -> PathBuf {
        self.sources[item.source as usize].dir.join(self.below(item).path())
    }
}

fn allocated(meta: &std::fs::Metadata) -> u64 {
    #[cfg(unix)]
    {
        std::os::unix::fs::MetadataExt::blocks(meta).saturating_mul(512).min(meta.len())
    }
    #[cfg(not(unix))]
    {
        meta.len()
    }
}

fn some(list: &mut (u64, Vec<PathBuf>), path: &Path) {
    list.0 += 1;
    if list.1.len() < 5 {
        list.1.push(path.to_owned());
    }
}

/// A source as a folder and a name for the target.
fn source_of(given: &Path) -> Result<(Source, std::fs::Metadata)> {
    let meta = std::fs::metadata(given).map_err(|e| Error::io(given, "looking at the source", e))?;
    // `.` and `..` and `x/..` have no name of their own.
    let named = match given.components().next_back() {
        Some(std::path::Component::Normal(_)) => given.to_owned(),
        _ => std::fs::canonicalize(given).map_err(|e| Error::io(given, "looking at the source", e))?,
    };
    let last = named.file_name().ok_or_else(|| {
        Error::caller("a whole disk has no name to copy it under").path(given).hint("name the folders on it")
    })?;
    let name = Name::of(Path::new(last)).map_err(|why| Error::caller(why).path(given))?;
    let source = if meta.is_dir() {
        Source { given: given.to_owned(), dir: named, prefix: Some(name) }
    } else {
        let parent = named.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Source { given: given.to_owned(), dir: parent.to_owned(), prefix: None }
    };
    Ok((source, meta))
}

/// Looks at everything that is to be copied. `inside` are the target folders, which are never copied into themselves.
pub fn gather(given: &[PathBuf], select: &Select, targets: &[PathBuf]) -> Result<Gathered> {
    let patterns = Patterns::new(select)?;
    let mut g = Gathered::default();
    let targets: Vec<PathBuf> = targets.iter().filter_map(|t| std::fs::canonicalize(t).ok()).collect();
    if select.files_from.is_some() && given.len() != 1 {
        return Err(Error::caller("a list of names is relative to one source folder: name one"));
    }
    for path in given {
        let (source, meta) = source_of(path)?;
        if let Ok(real) = std::fs::canonicalize(path)
            && meta.is_dir()
            && let Some(t) = targets.iter().find(|t| t.starts_with(&real))
        {
            let what =
                if *t == real { "source and target are the same folder" } else { "the target lies inside the source" };
            return Err(Error::caller(what).path(plain_path(t)).hint("choose a folder elsewhere"));
        }
        if let Ok(real) = std::fs::canonicalize(path)
            && let Some(t) = targets.iter().find(|t| real.file_name().is_some_and(|n| t.join(n) == real))
        {
            return Err(Error::caller("the source lies where it would be copied to: it would be its own copy")
                .path(path)
                .found(plain_path(t).display())
                .hint("choose another destination"));
        }
        let index = g.sources.len() as u32;
        g.sources.push(source);
        match (&select.files_from, meta.is_dir()) {
            (Some(list), true) => listed(&mut g, index, list, &patterns)?,
            (Some(_), false) => {
                return Err(Error::caller("a list of names is relative to a folder").path(path));
            }
            (None, true) => walk(&mut g, index, select, &patterns),
            (None, false) if !meta.is_file() => {
                return Err(Error::caller("this is neither a file nor a folder: it cannot be copied").path(path));
            }
            (None, false) => {
                let below = Name::of(Path::new(path.file_name().unwrap_or_default()))
                    .map_err(|why| Error::caller(why).path(path))?;
                take(&mut g, index, &below, &meta, path);
            }
        }
    }
    // Files that are named are taken whatever the patterns.
    if g.sources.iter().any(|s| s.given.is_dir()) {
        g.unused = patterns.unused(select);
    }
    match select.order {
        Order::Name => {}
        Order::Oldest => g.items.sort_by_key(|i| i.modified_ns),
        Order::Smallest => g.items.sort_by_key(|i| i.size),
        Order::Largest => g.items.sort_by_key(|i| std::cmp::Reverse(i.size)),
    }
    Ok(g)
}

fn take(g: &mut Gathered, source: u32, below: &Name, meta: &std::fs::Metadata, path: &Path) {
    if !meta.is_file() {
        return some(&mut g.special, path);
    }
    let (size, modified_ns) = (meta.len(), nanos(meta.modified()));
    let name = g.names.push(below);
    g.items.push(Item { source, name, size, modified_ns, allocated: allocated(meta) });
}

fn listed(g: &mut Gathered, index: u32, list: &Path, patterns: &Patterns) -> Result<()> {
    let mut text = Vec::new();
    let fail = |e| Error::io(list, "reading the list of names", e);
    if list == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut text).map_err(fail)?;
    } else {
        text = std::fs::read(list).map_err(fail)?;
    }
    let text = from_windows(text).map_err(|why| Error::file(list, why))?;
    let mut seen = std::collections::HashSet::new();
    let separator = if text.contains(&0) { 0 } else { b'\n' };
    let dir = g.sources[index as usize].dir.clone();
    for (i, line) in text.split(|b| *b == separator).enumerate() {
        let line = if separator == b'\n' { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
        if line.is_empty() {
            continue;
        }
        // No name there holds one.
        let apart = |b: &u8| if cfg!(windows) && *b == b'\\' { b'/' } else { *b };
        let line: Vec<u8> = line.iter().map(apart).collect();
        let name = Name::parse(&line).map_err(|why| {
            let text = String::from_utf8_lossy(&line).into_owned();
            Error::file(list, format!("line {}: {why}", i + 1)).found(text).hint("names are relative to the source")
        })?;
        // `a` and `./a` are the same file.
        if !seen.insert(name.path()) {
            continue;
        }
        let path = dir.join(name.path());
        match std::fs::symlink_metadata(&path) {
            Ok(m) if m.is_symlink() => some(&mut g.links, &path),
            Ok(m) if m.is_dir() => {
                return Err(Error::caller("a list of names holds files, this is a folder").path(path));
            }
            Ok(m) if patterns.takes(&name.path()) => take(g, index, &name, &m, &path),
            Ok(_) => {}
            Err(e) => g.unreadable.push(Error::io(&path, "looking at", e)),
        }
    }
    Ok(())
}

/// A list as editors and shells of Windows write it: with a mark in front, or in UTF-16 with one.
fn from_windows(text: Vec<u8>) -> std::result::Result<Vec<u8>, &'static str> {
    let units: fn([u8; 2]) -> u16 = match &text[..] {
        [0xef, 0xbb, 0xbf, rest @ ..] => return Ok(rest.to_vec()),
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return Ok(text),
    };
    let (pairs, rest) = text[2..].as_chunks::<2>();
    let all: Vec<u16> = pairs.iter().map(|p| units(*p)).collect();
    match String::from_utf16(&all) {
        Ok(t) if rest.is_empty() => Ok(t.into_bytes()),
        _ => Err("this list begins as UTF-16 and is none: save it as UTF-8"),
    }
}

/// Names at the top of a destination folder that are this program's own.
pub fn is_reserved(name: &Name) -> bool {
    let own = [sums::SHA256SUMS, journal::JOURNAL, root::LOCK];
    own.iter().any(|o| name.bytes().eq_ignore_ascii_case(o.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_as_windows_writes_them() {
        let plain = "a.vol\r\ngröße/漢.tif\r\n";
        let with = |mark: &[u8], bytes: Vec<u8>| from_windows([mark, &bytes].concat());
        let units = |bytes: fn(u16) -> [u8; 2]| plain.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        assert_eq!(with(b"", plain.into()).unwrap(), plain.as_bytes());
        assert_eq!(with(b"\xef\xbb\xbf", plain.into()).unwrap(), plain.as_bytes());
        assert_eq!(with(b"\xff\xfe", units(u16::to_le_bytes)).unwrap(), plain.as_bytes());
        assert_eq!(with(b"\xfe\xff", units(u16::to_be_bytes)).unwrap(), plain.as_bytes());
        assert!(with(b"\xff\xfe", b"abc".to_vec()).is_err() && with(b"\xff\xfe", vec![0, 0xd8]).is_err());
    }
    use std::fs;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, size) in [("s/b/2.tif", 20), ("s/b/1.tif", 30), ("s/a.vol", 10), ("s/tmp/x.log", 5), ("s/u.part", 1)]
        {
            let p = dir.path().join(name);
            fs::create_dir_all(p.parent().unwrap()).unwrap();
            fs::write(p, vec![1; size]).unwrap();
        }
        fs::create_dir_all(dir.path().join("s/empty/inner")).unwrap();
        dir
    }

    fn names(dir: &Path, select: &Select) -> Vec<String> {
        let g = gather(&[dir.join("s")], select, &[]).unwrap();
        g.items.iter().map(|i| g.dest(i).to_string()).collect()
    }

    #[test]
    fn patterns_orders_and_empty_folders() {
        let dir = tree();
        let of = |s: Select| names(dir.path(), &s);
        let plain = ["s/a.vol", "s/b/1.tif", "s/b/2.tif", "s/tmp/x.log", "s/u.part"];
        assert_eq!(of(Select::default()), plain);
        let include = |p: &[&str]| Select { include: p.iter().map(|s| s.to_string()).collect(), ..Select::default() };
        assert_eq!(of(include(&["*.tif"])), ["s/b/1.tif", "s/b/2.tif"]);
        assert_eq!(of(include(&["b/1*", "*.vol"])), ["s/a.vol", "s/b/1.tif"]);
        let exclude = Select { exclude: vec!["b/".into(), "x.*".into()], skip_unfinished: true, ..Select::default() };
        assert_eq!(of(exclude), ["s/a.vol"]);
        assert_eq!(of(Select { order: Order::Largest, ..Select::default() })[..2], ["s/b/1.tif", "s/b/2.tif"]);
        assert_eq!(of(Select { order: Order::Smallest, ..Select::default() })[0], "s/u.part");
        assert!(gather(&[dir.path().into()], &include(&["[a"]), &[]).is_err());
        let g = gather(&[dir.path().join("s")], &Select::default(), &[]).unwrap();
        assert_eq!(g.folders.iter().map(|f| f.to_string()).collect::<Vec<_>>(), ["s/empty/inner"]);
    }

    #[test]
    fn lists_lead_nowhere_else() {
        let dir = tree();
        let list = dir.path().join("list");
        let from = |text: &str| {
            fs::write(&list, text).unwrap();
            let select = Select { files_from: Some(list.clone()), ..Select::default() };
            gather(&[dir.path().join("s")], &select, &[])
        };
        assert_eq!(from("a.vol\r\nb/1.tif\n\n").unwrap().items.len(), 2);
        assert_eq!(from("a.vol\0b/1.tif\0").unwrap().items.len(), 2);
        assert_eq!(from("none\n").unwrap().unreadable.len(), 1);
        for bad in ["../s/a.vol", "/etc/passwd", "b"] {
            assert!(from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_target_inside_the_source_is_refused() {
        let dir = tree();
        let target = dir.path().join("s/empty");
        let e = gather(&[dir.path().join("s")], &Select::default(), &[target]).unwrap_err();
        assert!(e.to_string().contains("inside the source"), "{e}");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_left_out_unless_followed() {
        let dir = tree();
        std::os::unix::fs::symlink(dir.path().join("s/a.vol"), dir.path().join("s/link")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("s"), dir.path().join("s/b/loop")).unwrap();
        let g = gather(&[dir.path().join("s")], &Select::default(), &[]).unwrap();
        assert_eq!((g.links.0, g.items.len()), (2, 5));
        let follow = Select { links: Links::Follow, ..Select::default() };
        let g = gather(&[dir.path().join("s")], &follow, &[]).unwrap();
        assert_eq!((g.items.len(), g.unreadable.len()), (6, 1), "{:?}", g.unreadable);
    }
}
