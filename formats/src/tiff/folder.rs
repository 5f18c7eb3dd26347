//! Folders of TIFF slices: which files belong together, in which order, and what is odd about their numbers.
//!
//! Files belong together where their names agree in everything but digits (`0002.tif`, `name_0000.tif`,
//! `nameNNN_extra.tif`). Order is natural: numbers by value, then text. Gaps, other series in the same folder and
//! files of another size are reported by name.

use super::SPEC;
use super::file::File;
use crate::registry::{Content, OpenOptions, Opened};
use crate::series::{FrameOpener, Series};
use crate::{About, Error, Fault, FrameSource, Result, Volume, Warning, Warnings};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files whose names agree in everything but digits.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// The common name, digits as `#`.
    pub pattern: String,
    /// Runs of digits in the name as numbers, and the file, in natural order.
    pub files: Vec<(Vec<u128>, PathBuf)>,
}

/// True for the name of a TIFF file that is no hidden left-over (`._x.tif` of macOS).
pub(super) fn is_tiff_name(name: &str) -> bool {
    let n = name.to_lowercase();
    !n.starts_with('.') && SPEC.extensions.iter().any(|e| n.strip_suffix(e).is_some_and(|s| s.ends_with('.')))
}

/// Splits a name into its pattern and numbers; the extension's digits do not count.
fn split(name: &str) -> (String, Vec<u128>) {
    let (stem, ext) = name.rsplit_once('.').unwrap_or((name, ""));
    let (mut pattern, mut numbers, mut digits) = (String::new(), Vec::new(), String::new());
    for c in stem.chars().chain(['.']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        if !digits.is_empty() {
            numbers.push(digits.parse().unwrap_or(u128::MAX));
            pattern.push('#');
            digits.clear();
        }
        pattern.push(c);
    }
    (pattern + &ext.to_lowercase(), numbers)
}

/// The TIFF files of a folder in groups, the largest first.
pub(super) fn groups(dir: &Path) -> Result<Vec<Group>> {
    let mut found: BTreeMap<String, Vec<(Vec<u128>, PathBuf)>> = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(|e| Error::io(dir, "listing", e))? {
        let entry = entry.map_err(|e| Error::io(dir, "listing", e))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if is_tiff_name(&name) {
            let (pattern, numbers) = split(&name);
            found.entry(pattern).or_default().push((numbers, entry.path()));
        }
    }
    let mut groups: Vec<Group> = found
        .into_iter()
        .map(|(pattern, mut files)| {
            files.sort();
            Group { pattern, files }
        })
        .collect();
    groups.sort_by_key(|g| std::cmp::Reverse(g.files.len()));
    Ok(groups)
}

/// Chooses the series of a folder.
///
/// # Errors
/// Where there is none, or two of comparable length.
pub(super) fn main_group(dir: &Path, warnings: &mut Warnings) -> Result<Group> {
    let mut groups = groups(dir)?;
    if groups.is_empty() {
        return Err(Error::file(dir, "there are no TIFF files in this folder").hint("name the folder of the slices"));
    }
    let rest = groups.split_off(1);
    let main = groups.swap_remove(0);
    if let Some(other) = rest.first() {
        if other.files.len() > 1 && other.files.len() * 2 > main.files.len() || main.files.len() == 1 {
            return Err(Error::unsupported(dir, "more than one series of TIFF files in this folder")
                .found(format!("{} × {} and {} × {}", main.files.len(), main.pattern, other.files.len(), other.pattern))
                .hint("move each series into a folder of its own"));
        }
        for g in &rest {
            warnings.push(format!("{} file(s) of another name are left out: {}", g.files.len(), name(&g.files[0].1)));
        }
    }
    Ok(main)
}

fn name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

impl Group {
    /// Checks the numbers: the same number twice is an error, gaps are warnings.
    pub(super) fn check_numbers(&self, lenient: bool, warnings: &mut Warnings) -> Result<()> {
        for w in self.files.windows(2).filter(|w| w[0].0 == w[1].0) {
            let both = format!("{} and {}", name(&w[0].1), name(&w[1].1));
            if !lenient {
                return Err(Error::file(&w[1].1, "the same slice number twice")
                    .found(both)
                    .hint("remove one of the two"));
            }
            warnings.add(About::Numbering, format!("the same slice number twice: {both}"));
        }
        let runs = self.files.first().map_or(0, |f| f.0.len());
        let varying: Vec<usize> =
            (0..runs).filter(|&k| self.files.iter().any(|f| f.0[k] != self.files[0].0[k])).collect();
        let &[k] = varying.as_slice() else {
            return Ok(()); // none, or several counters: no rule to check against
        };
        let numbers: Vec<u128> = self.files.iter().map(|f| f.0[k]).collect();
        let step = numbers.windows(2).map(|w| w[1] - w[0]).min().unwrap_or(1).max(1);
        let (mut missing, mut first) = (0, Vec::new());
        for w in numbers.windows(2).filter(|w| w[1] - w[0] > step) {
            missing += (w[1] - w[0]) / step - 1;
            if first.len() < 5 {
                let to = w[1] - step;
                let from = w[0] + step;
                first.push(if from == to { from.to_string() } else { format!("{from} to {to}") });
            }
        }
        if missing > 0 {
            let text = format!(
                "{missing} number(s) missing between {} and {}: {}{}",
                name(&self.files[0].1),
                name(&self.files[self.files.len() - 1].1),
                first.join(", "),
                if first.len() == 5 { ", …" } else { "" }
            );
            warnings.add(About::Numbering, text);
        }
        Ok(())
    }

    /// The files in order.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.files.iter().map(|f| f.1.clone()).collect()
    }
}

/// What the frames of a source are like.
fn kind(source: &dyn FrameSource) -> String {
    format!("{} {}", crate::Shape { frames: 1, ..source.shape() }, source.dtype().name())
}

/// A file of a series that is not like `others`, which are of this kind.
fn unlike(path: &Path, others: &str, kind: String) -> Error {
    Error::file(path, format!("this file differs from {others} of the series"))
        .expected(kind)
        .hint("move it elsewhere if it does not belong to the series")
}

/// Opens files as a stack, one frame each. Files of a length of their own are looked into now; the others are
/// compared with the first when they are read. With `lenient` none is: see [`OpenOptions::lenient`].
pub(super) fn open_series(paths: Vec<PathBuf>, lenient: bool) -> Result<Series> {
    if lenient {
        let (model, kind) = usual(&paths);
        let opener: FrameOpener = Box::new(move |p| match super::open_stack(p, false) {
            Ok((stack, _)) => Ok(Arc::new(stack)),
            Err(e) if e.fault() == Fault::Unsupported => Err(unlike(p, "others", kind.clone()).source(e)),
            Err(e) => Err(e),
        });
        return Series::open_like(model, paths, opener);
    }
    // A picture in colour among grey ones is not of them, and no reason to take the others for single pictures.
    if let [first, second, .., last] = paths.as_slice()
        && let Err(e) = super::open_stack(first, false)
        && e.fault() == Fault::Unsupported
        && let (Ok((a, _)), Ok((b, _))) = (super::open_stack(second, false), super::open_stack(last, false))
        && (a.shape(), a.dtype()) == (b.shape(), b.dtype())
    {
        return Err(unlike(first, "the others", kind(&a)).source(e));
    }
    let series = Series::open(paths, Box::new(|p| Ok(Arc::new(super::open_stack(p, false)?.0))))?;
    let one = crate::Shape { frames: 1, ..series.shape() };
    let len = |p: &Path| std::fs::metadata(p).map(|m| m.len()).map_err(|e| Error::io(p, "reading the size", e));
    let first = series.paths().first().map_or(Ok(0), |p| len(p))?;
    for path in series.paths().iter().skip(1) {
        if len(path)? == first {
            continue;
        }
        let source = super::open_stack(path, false).map_err(|e| match e.fault() {
            Fault::Unsupported => unlike(path, "the first", kind(&series)).source(e),
            _ => e,
        })?;
        let source = source.0;
        if source.shape() != one || source.dtype() != series.dtype() {
            let found = format!("{} {}", source.shape(), source.dtype().name());
            return Err(unlike(path, "the first", kind(&series)).found(found));
        }
    }
    Ok(series)
}

/// The first of the files that are like most others, and what these are like. The first of all where none can be opened.
fn usual(paths: &[PathBuf]) -> (usize, String) {
    let mut kinds: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (i, path) in paths.iter().enumerate() {
        if let Ok((source, _)) = super::open_stack(path, false)
            && source.shape().frames == 1
        {
            kinds.entry(kind(&source)).or_insert((i, 0)).1 += 1;
        }
    }
    let most = kinds.into_iter().max_by_key(|(_, (first, n))| (*n, std::cmp::Reverse(*first)));
    most.map_or_else(Default::default, |(kind, (first, _))| (first, kind))
}

/// Opens a folder of slices as a volume. A single multi-page file in the folder is opened itself.
pub(super) fn open(dir: &Path, options: &OpenOptions) -> Result<Opened> {
    let mut warnings = Warnings::default();
    let group = main_group(dir, &mut warnings)?;
    let first = group.files[0].1.clone();
    if group.files.len() == 1 {
        let mut opened = super::open_file(&first, options)?;
        opened.warnings.extend(warnings);
        return Ok(opened);
    }
    group.check_numbers(options.lenient, &mut warnings)?;
    let source = Arc::new(open_series(group.paths(), options.lenient)?);
    let first = source.model().to_owned();
    let file = File::open(&first)?;
    let about = super::describe::description(&file);
    let meta = super::describe::meta(&file, &about, &mut warnings);
    let mut facts = super::facts(&file, &about);
    facts.add("files", group.files.len());
    facts.add("first_file", name(&group.files[0].1));
    facts.add("last_file", name(&group.files[group.files.len() - 1].1));
    let left_out = |w: &Warning| w.leaves_out();
    let of_first = super::open_stack(&first, false)?.1.into_iter().filter(left_out);
    warnings.extend(of_first.map(|w| w.of(name(&first))));
    Ok(Opened { format: SPEC.name, content: Content::Volume(Volume { source, meta }), facts, warnings })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_split_into_pattern_and_numbers() {
        assert_eq!(split("name_0012_extra.TIF"), ("name_#_extra.tif".into(), vec![12]));
        assert_eq!(split("0002.tif"), ("#.tif".into(), vec![2]));
        assert_eq!(split("s2_z10.tiff"), ("s#_z#.tiff".into(), vec![2, 10]));
        assert_eq!(split("plain.tif"), ("plain.tif".into(), vec![]));
        assert!(
            is_tiff_name("A.TIFF") && !is_tiff_name("._a.tif") && !is_tiff_name("tif") && !is_tiff_name("a.tif.part")
        );
    }

    #[test]
    fn order_gaps_duplicates_and_strangers() {
        let dir = tempfile::tempdir().unwrap();
        let touch = |n: &str| std::fs::write(dir.path().join(n), b"").unwrap();
        ["x9.tif", "x10.tif", "x12.tif", "x2.tif", "dark.tif", "notes.txt"].iter().for_each(|n| touch(n));
        let mut w = Warnings::default();
        let g = main_group(dir.path(), &mut w).unwrap();
        let names: Vec<String> = g.files.iter().map(|f| name(&f.1)).collect();
        assert_eq!(names, ["x2.tif", "x9.tif", "x10.tif", "x12.tif"]);
        assert!(w.len() == 1 && w[0].contains("dark.tif"), "{w:?}");
        g.check_numbers(false, &mut w).unwrap();
        assert!(w[1].contains("7 number(s)") && w[1].contains("3 to 8, 11"), "{w:?}");
        touch("x0010.tif");
        let e = main_group(dir.path(), &mut w).unwrap().check_numbers(false, &mut w).unwrap_err().to_string();
        assert!(e.contains("x10.tif") && e.contains("x0010.tif"), "{e}");
        ["y1.tif", "y2.tif", "y3.tif"].iter().for_each(|n| touch(n));
        let e = main_group(dir.path(), &mut w).unwrap_err().to_string();
        assert!(e.contains("x#.tif") && e.contains("y#.tif"), "{e}");
    }
}
