//! Folders of EDF files: a numbered series is a volume, a series with flats and darks beside it a scan ([`super::scan`]).
//!
//! Guarantees: any numbering (`name0000`, `name_1`, with or without padding) in number order; gaps, doubles and files
//! of another length are reported. Leaves to others: opening the files ([`crate::series`]).

use super::read::File;
use super::stack::Stack;
use super::{SPEC, facts_of, meta_of, no_images, scan};
use crate::registry::*;
use crate::series::Series;
use crate::source::Access;
use crate::{About, DType, FrameSource, Region, Result, Shape, Volume, Warnings};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbered {
    /// Its number.
    pub number: u64,
    /// Its name in the folder.
    pub path: PathBuf,
    /// Length in bytes.
    pub len: u64,
}

/// The name without `.edf`, `.edf.gz` or `.edf.bz2` (any case); `None` for other files.
pub fn edf_stem(name: &str) -> Option<&str> {
    let lower = name.to_ascii_lowercase();
    [".edf", ".edf.gz", ".edf.bz2"].iter().find_map(|e| lower.strip_suffix(e)).map(|s| &name[..s.len()])
}

/// Splits `tooth_0012` into `tooth_` and 12; `None` where there are no digits at the end or too many.
pub fn split_number(stem: &str) -> Option<(&str, u64)> {
    let digits = stem.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (prefix, number) = stem.split_at(stem.len() - digits);
    (1..=18).contains(&digits).then(|| Some((prefix, number.parse().ok()?))).flatten()
}

/// Numbered images by their common stem, in number order. References, reconstructed slices and histograms are left out.
pub fn groups<'a>(folder: &Path, names: impl Iterator<Item = &'a OsStr>) -> BTreeMap<String, Vec<Numbered>> {
    let mut all: BTreeMap<String, Vec<Numbered>> = BTreeMap::new();
    for name in names {
        let text = name.to_string_lossy();
        let Some(stem) = edf_stem(&text) else {
            continue;
        };
        if scan::role(stem) != scan::Role::Image {
            continue;
        }
        if let Some((prefix, number)) = split_number(stem) {
            let path = folder.join(name);
            let len = std::fs::metadata(&path).map_or(0, |m| m.len());
            all.entry(prefix.to_owned()).or_default().push(Numbered { number, path, len });
        }
    }
    for files in all.values_mut() {
        files.sort_by(|a, b| a.number.cmp(&b.number).then_with(|| a.path.cmp(&b.path)));
    }
    all
}

fn name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Removes doubles and reports them, gaps and odd lengths. Returns the step between numbers.
pub fn tidy(files: &mut Vec<Numbered>, warnings: &mut Warnings) -> u64 {
    let mut doubles = Vec::new();
    files.dedup_by(|b, a| {
        let same = a.number == b.number;
        if same {
            doubles.push(format!("{} and {}", name(&a.path), name(&b.path)));
        }
        same
    });
    if let Some(first) = doubles.first() {
        warnings
            .add(About::Numbering, format!("{} numbers occur twice, the first file is used: {first}", doubles.len()));
    }
    let step = files.windows(2).map(|w| w[1].number - w[0].number).fold(0, gcd).max(1);
    if step > 1 {
        warnings.push(format!("the numbers go up in steps of {step}"));
    }
    let mut missing = 0u64;
    let mut shown = Vec::new();
    for w in files.windows(2) {
        let n = (w[1].number - w[0].number) / step - 1;
        missing += n;
        for k in 0..n.min(10u64.saturating_sub(shown.len() as u64)) {
            shown.push((w[0].number + (k + 1) * step).to_string());
        }
    }
    if missing > 0 {
        let more = if missing > shown.len() as u64 { " …" } else { "" };
        warnings.add(About::Numbering, format!("gap in the numbering, {missing} missing: {}{more}", shown.join(", ")));
    }
    // Compressed files differ in length by nature.
    let plain = |f: &&Numbered| f.path.extension().is_some_and(|e| e.eq_ignore_ascii_case("edf"));
    let mut lens: BTreeMap<u64, usize> = BTreeMap::new();
    files.iter().filter(plain).for_each(|f| *lens.entry(f.len).or_default() += 1);
    let usual = lens.iter().max_by_key(|(_, n)| **n).map(|(l, _)| *l);
    let odd: Vec<&Numbered> = files.iter().filter(plain).filter(|f| Some(f.len) != usual).collect();
    if let (Some(f), Some(usual)) = (odd.first(), usual) {
        let (n, what) = (odd.len(), name(&f.path));
        warnings.add(
            About::Unlike,
            format!("{n} files have another length than the others ({usual} bytes): {what} has {}", f.len),
        );
    }
    step
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Claims a folder with at least two numbered EDF images of one stem, with an image and references, or with a single
/// image and little else: a series of one slice.
pub fn probe(c: &Candidate) -> Option<Hit> {
    let all = groups(&c.path, c.entries.iter().map(|n| n.as_os_str()));
    let (prefix, files) = all.iter().max_by_key(|(_, f)| f.len())?;
    let refs = c.entries.iter().filter(|n| scan::is_reference(&n.to_string_lossy())).count();
    if refs > 0 {
        return Hit::new(Confidence::Marker, format!("{} EDF images '{prefix}…' and {refs} references", files.len()));
    }
    if files.len() > 1 {
        return Hit::new(Confidence::Marker, format!("{} EDF files with the stem '{prefix}'", files.len()));
    }
    let sure = match c.entries.len() {
        _ if all.len() > 1 => return None,
        1 => Confidence::Marker,
        // A TIFF file beside it has the same right to the folder.
        2 => Confidence::Name,
        _ => return None,
    };
    Hit::new(sure, format!("one EDF file with the stem '{prefix}' among {} entries", c.entries.len()))
}

/// Opens a folder as a scan where it has references or a scan's `.info`, else as a volume.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Opened> {
    let c = Candidate::look(path)?;
    if scan::is_scan(&c) {
        return scan::open(&c, options);
    }
    let mut warnings = Warnings::default();
    let (_, mut files) = choose(&c, &mut warnings)?;
    tidy(&mut files, &mut warnings);
    let first = File::open(&files[0].path)?;
    let mut facts = facts_of(first.header(), &mut warnings);
    facts.add("files", files.len());
    facts.add("first_number", files[0].number);
    let meta = meta_of(first.header());
    let left_out = first.warnings().iter().filter(|w| w.leaves_out());
    warnings.extend(left_out.take(1).map(|w| w.clone().of(name(first.path()))));
    let source = series(files.into_iter().map(|f| f.path).collect())?;
    Ok(Opened {
        format: SPEC.name,
        content: Content::Volume(Volume { source: Arc::new(source), meta }),
        facts,
        warnings,
    })
}

/// The series a folder is about: the one with the folder's name, else the longest. Others are reported.
pub fn choose(c: &Candidate, warnings: &mut Warnings) -> Result<(String, Vec<Numbered>)> {
    let mut all = groups(&c.path, c.entries.iter().map(|n| n.as_os_str()));
    let folder = c.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let own = all.keys().find(|k| !folder.is_empty() && k.trim_end_matches(['_', '-']) == folder).cloned();
    let Some(longest) = all.values().map(Vec::len).max() else {
        return Err(no_images(&c.path));
    };
    let mut best = all.iter().filter(|(_, f)| f.len() == longest).map(|(k, _)| k.clone());
    let key = match (own, best.next(), best.next()) {
        (Some(own), ..) => own,
        (None, Some(one), None) => one,
        (None, Some(a), Some(b)) => {
            return Err(crate::Error::unsupported(&c.path, "two series of EDF files in one folder")
                .found(format!("'{a}' and '{b}', {longest} files each"))
                .hint("move one of them to a folder of its own"));
        }
        (None, None, _) => return Err(no_images(&c.path)),
    };
    let files = all.remove(&key).unwrap_or_default();
    for (other, f) in &all {
        warnings.push(format!("{} files with another stem are left out: '{other}'", f.len()));
    }
    let loose = c
        .entries
        .iter()
        .map(|n| n.to_string_lossy())
        .filter(|n| edf_stem(n).is_some_and(|s| scan::role(s) == scan::Role::Image && split_number(s).is_none()));
    let loose: Vec<_> = loose.collect();
    if let Some(first) = loose.first() {
        warnings.push(format!("{} EDF files without a number are left out: {first}", loose.len()));
    }
    Ok((key, files))
}

/// A stack out of single-frame files, in the order given.
pub fn series(paths: Vec<PathBuf>) -> Result<Series> {
    Series::open(paths, Box::new(open_one))
}

/// Opens one file of a series.
fn open_one(path: &Path) -> Result<Arc<dyn FrameSource>> {
    let file = Arc::new(File::open(path)?);
    let packed = file.is_packed();
    let stack = Stack::new(file, &mut Warnings::default())?;
    if !packed {
        return Ok(Arc::new(stack));
    }
    Ok(Arc::new(PackedFile { path: path.to_owned(), shape: stack.shape(), dtype: stack.dtype() }))
}

/// A compressed file of a series: unpacked anew by each read, so that an open series holds no pixels.
struct PackedFile {
    path: PathBuf,
    shape: Shape,
    dtype: DType,
}

impl FrameSource for PackedFile {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn access(&self) -> Access {
        Access { unit: self.shape, decoded: true, parallel: true }
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.path.clone()]
    }

    fn read(&self, region: &Region, out: &mut [u8]) -> Result<()> {
        region.check(self.shape, self.dtype.size(), out.len())?;
        let file = Arc::new(File::open(&self.path)?);
        // All pixels may be there: what is missing is the sum that says whether they are the right ones.
        if let Some(cut) = file.cut() {
            return Err(crate::Error::file(&self.path, cut)
                .hint("copy the file again; gzip -dc or bzip2 -dc unpack what is left of it"));
        }
        let stack = Stack::new(file, &mut Warnings::default())?;
        if stack.shape() != self.shape || stack.dtype() != self.dtype {
            return Err(crate::Error::file(&self.path, "the file changed while it was in use"));
        }
        stack.read(region, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(edf_stem("a.b_0001.EDF.gz"), Some("a.b_0001"));
        assert_eq!(edf_stem("a.tif"), None);
        assert_eq!(split_number("tooth_0012"), Some(("tooth_", 12)));
        assert_eq!(split_number("12"), Some(("", 12)));
        assert_eq!(split_number("dark"), None);
        assert_eq!(split_number("x99999999999999999999"), None);
    }

    #[test]
    fn oddities_are_told() {
        let f = |number, name: &str, len| Numbered { number, path: name.into(), len };
        let mut files = vec![
            f(0, "a_0.edf", 10),
            f(10, "a_10.edf", 10),
            f(10, "a_0010.edf", 10),
            f(40, "a_40.edf", 7),
            f(50, "a_50.edf", 10),
        ];
        let mut w = Warnings::default();
        assert_eq!(tidy(&mut files, &mut w), 10);
        assert_eq!(files.len(), 4);
        let all = w.clone().texts().join("\n");
        for part in ["twice", "steps of 10", "2 missing: 20, 30", "a_40.edf has 7"] {
            assert!(all.contains(part), "{part}: {all}");
        }
        let mut files = vec![f(0, "a", 1), f(1, "b", 1), f(u64::MAX / 2, "c", 1)];
        tidy(&mut files, &mut w);
        assert_eq!(w.last().unwrap().matches(',').count(), 10); // a huge gap stays one short line
    }
}
