//! One static row per format, and the probe that picks a row for a path.
//!
//! A probe looks at the name, the length, the first 4 KiB and the names beside the file, and answers with a
//! confidence. The highest wins; a tie between formats is an error that names them, never a silent guess.

use crate::model::{Facts, Scan, Volume};
use crate::sink::{CreateOptions, SliceSink};
use crate::{ByteOrder, DType, Error, Result, Shape, Warnings};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Bytes of a file shown to probes.
pub const HEAD: usize = 4096;

/// How sure a probe is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub enum Confidence {
    /// Only the name suggests it.
    Name,
    /// A magic number or marker is there.
    Marker,
    /// Everything that can be checked cheaply agrees (sidecar × type = length).
    Consistent,
}

/// A probe's answer with its reason, printed by `tomo info --why`.
#[derive(Clone, Debug, Serialize)]
pub struct Hit {
    /// How sure.
    pub confidence: Confidence,
    /// Why, in words: `TIFF magic II*`, `x.vol.info says 640 × 640 × 2 × 4 bytes = 3276800 = the file's length`.
    pub reason: String,
}

impl Hit {
    /// A hit with its reason.
    pub fn new(confidence: Confidence, reason: impl Into<String>) -> Option<Hit> {
        Some(Hit { confidence, reason: reason.into() })
    }
}

/// What a probe may look at.
#[derive(Debug)]
pub struct Candidate {
    /// The path as given.
    pub path: PathBuf,
    /// True for a folder.
    pub is_dir: bool,
    /// Length of the file in bytes (0 for a folder).
    pub len: u64,
    /// First [`HEAD`] bytes of the file.
    pub head: Vec<u8>,
    /// Folder: its entries. File: empty (use [`Candidate::beside`]). Sorted by name.
    pub entries: Vec<OsString>,
}

impl Candidate {
    /// Gathers the facts about `path`.
    pub fn look(path: &Path) -> Result<Candidate> {
        let meta = std::fs::metadata(path).map_err(|e| Error::io(path, "opening", e))?;
        if meta.is_dir() {
            let mut entries = Vec::new();
            for e in std::fs::read_dir(path).map_err(|e| Error::io(path, "listing", e))? {
                entries.push(e.map_err(|e| Error::io(path, "listing", e))?.file_name());
            }
            entries.sort();
            return Ok(Candidate { path: path.into(), is_dir: true, len: 0, head: Vec::new(), entries });
        }
        if !meta.is_file() {
            return Err(Error::caller("neither a file nor a folder").path(path));
        }
        let head = crate::io::ReadAt::open(path)?.head(HEAD)?;
        Ok(Candidate { path: path.into(), is_dir: false, len: meta.len(), head, entries: Vec::new() })
    }

    /// File name as text (lossy), lower case, for matching extensions.
    pub fn name_lower(&self) -> String {
        self.path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default()
    }

    /// True where the name ends with one of `.ext` (several dots allowed: `edf.gz`), ignoring case.
    pub fn has_extension(&self, extensions: &[&str]) -> bool {
        let name = self.name_lower();
        extensions.iter().any(|e| name.strip_suffix(e).is_some_and(|stem| stem.ends_with('.')))
    }

    /// The path of `name + suffix` if that file exists: `x.vol` → `x.vol.info`.
    pub fn beside(&self, suffix: &str) -> Option<PathBuf> {
        let p = crate::io::with_suffix(&self.path, suffix);
        p.is_file().then_some(p)
    }
}

/// How to read: what the user said that files do not.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct OpenOptions {
    /// Dimensions of headerless files (`--dims`), x y z turned into a shape.
    pub shape: Option<Shape>,
    /// Type of headerless files (`--type`).
    pub dtype: Option<DType>,
    /// Byte order of headerless files.
    pub byte_order: Option<ByteOrder>,
    /// Bytes to skip at the start of a headerless file.
    pub skip: Option<u64>,
    /// Dataset inside a container (`file.h5:/path` or `--dataset`).
    pub dataset: Option<String>,
    /// Projections of a scan, where the layout's own rule fails (`--image-path`).
    pub image_path: Option<String>,
    /// Angles of a scan (`--angle-path`).
    pub angle_path: Option<String>,
    /// Flip rows top/bottom while reading projections (`--flip-rows`).
    pub flip_rows: bool,
    /// Insist on this format by name (`--format`), skipping the probe.
    pub format: Option<String>,
    /// Never map files into memory.
    pub no_mmap: bool,
    /// Open a series of which some files are damaged or unlike the others: reading these fails, and tells of each.
    #[serde(skip)]
    pub lenient: bool,
    /// Bytes a reader may keep for caches (decoded chunks); 0 = a small default.
    #[serde(skip)]
    pub cache_bytes: usize,
}

/// What was found inside.
#[derive(Clone)]
#[allow(clippy::large_enum_variant)] // one per opened path, never in bulk
pub enum Content {
    /// A stack of frames: volume, series, image.
    Volume(Volume),
    /// A tomography scan.
    Scan(Box<Scan>),
    /// Nothing with voxels (a parameter file, an HDF5 file without images); the facts tell.
    Other,
}

/// An opened path: content, facts for people, and warnings.
pub struct Opened {
    /// Name of the format that read it (the row's name, or `flyscan`, `nxtomo` … for layouts).
    pub format: &'static str,
    /// What is inside.
    pub content: Content,
    /// What the file says about itself, for `tomo info`.
    pub facts: Facts,
    /// Oddities worth a line each: gaps in numbering, size mismatches, missing post-flats, dangling links.
    pub warnings: Warnings,
}

impl Opened {
    /// A volume with nothing more to say.
    pub fn volume(format: &'static str, volume: Volume) -> Self {
        Opened { format, content: Content::Volume(volume), facts: Facts::default(), warnings: Warnings::default() }
    }
}

/// One line of a container's tree (`tomo info --tree`).
#[derive(Clone, Debug, Serialize)]
pub struct TreeLine {
    /// Depth, 0 = root.
    pub depth: usize,
    /// Link name.
    pub name: String,
    /// `group`, `dataset`, `soft link`, `external link`, `virtual source`, `attribute`.
    pub kind: String,
    /// Shape, type, filters, target, value; for dangling targets it says so.
    pub detail: String,
    /// False where a link or source cannot be resolved.
    pub ok: bool,
}

/// Starts writing a volume under a path.
pub type CreateFn = fn(&Path, &CreateOptions) -> Result<Box<dyn SliceSink>>;

/// Lists the tree of a container.
pub type TreeFn = fn(&Path) -> Result<Vec<TreeLine>>;

/// A format: everything the tools need to know about it.
pub struct FormatSpec {
    /// Short name, used by `--format`.
    pub name: &'static str,
    /// One line for tables.
    pub title: &'static str,
    /// Extensions without the dot.
    pub extensions: &'static [&'static str],
    /// What it can read, for the README's table; empty = cannot.
    pub reads: &'static str,
    /// What it can write, for the README's table; empty = cannot.
    pub writes: &'static str,
    /// Writer variants by name, the default first; empty where there is one way only.
    pub variants: &'static [&'static str],
    /// Is this one of yours?
    pub probe: fn(&Candidate) -> Option<Hit>,
    /// Opens a path the probe accepted (or the user insisted on).
    pub open: fn(&Path, &OpenOptions) -> Result<Opened>,
    /// Starts writing a volume; `None` where the format is read-only.
    pub create: Option<CreateFn>,
    /// Lists a container's tree; `None` where there is none.
    pub tree: Option<TreeFn>,
}

impl FormatSpec {
    /// Where the output of this name will lie (`x.tif` written as a series is the folder `x`), and settles in the options which
    /// variant that is.
    pub fn settle(&self, path: &Path, options: &mut CreateOptions) -> PathBuf {
        match self.name {
            "tiff" => crate::tiff::write::settle(path, options),
            _ => path.components().collect(),
        }
    }

    /// Refuses an output that exists, or, where it may be replaced, a folder that holds more than an earlier output; and one
    /// there is no folder for. The same for the description beside it. To be called before hours of reading.
    ///
    /// # Errors
    /// `Caller`: what is there, and what to do.
    pub fn refuse_existing(&self, path: &Path, overwrite: bool) -> Result<()> {
        use crate::durable;
        durable::refuse_existing(path, overwrite)?;
        durable::parent_of(path)?;
        if matches!(self.name, "vol" | "raw") {
            durable::refuse_existing(&crate::io::with_suffix(path, ".info"), overwrite)?;
        }
        if !path.is_dir() {
            return Ok(());
        }
        let mut own = durable::series_names(path);
        if self.name == "edf" {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            own.extend(crate::edf::folder::edf_stem(&name).map(|stem| format!("{stem}_#.edf")));
        }
        durable::refuse_foreign(path, &own)
    }

    /// Refuses writer's options that the format, or an output of this name, knows nothing of.
    ///
    /// # Errors
    /// `Caller`: which.
    pub fn refuse_options(&self, path: &Path, options: &CreateOptions) -> Result<()> {
        let refuse = |what: &str, found: &str| {
            Err(Error::caller(format!("format '{}' has no {what}", self.name))
                .found(found)
                .hint("leave the option out"))
        };
        match (options.variant.as_deref(), options.compression.as_deref()) {
            (Some(v), _) if self.variants.is_empty() => return refuse("variants", v),
            (_, Some(c)) if c != "none" && matches!(self.name, "vol" | "raw" | "mhd" | "nrrd" | "npy") => {
                return refuse("compression", c);
            }
            _ => {}
        }
        if options.start_number != 0 && !self.is_numbered(path, options.variant.as_deref()) {
            return Err(Error::caller("--start-number is for one file per slice: this output is a single file")
                .path(path)
                .hint("leave it out, or name a folder and a format with --to tiff, edf or png"));
        }
        Ok(())
    }

    /// True where the output is a folder of numbered files, one per slice.
    fn is_numbered(&self, path: &Path, variant: Option<&str>) -> bool {
        let named = |ext: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ext));
        match (self.name, variant) {
            ("tiff", _) => crate::tiff::write::is_series(path, variant),
            ("edf", None) => !named("edf"),
            ("edf", Some(v)) => v == "series",
            ("png", _) => !named("png"),
            _ => false,
        }
    }

    /// Most bytes of memory that writing takes beside the slices handed over, on `threads` threads.
    pub fn writing_bytes(&self, options: &CreateOptions, threads: usize) -> u64 {
        match self.name {
            // It counts PyHST2's histogram on the way.
            "vol" => crate::vol::writing_bytes(options, threads),
            "raw" => crate::raw::writer::working_bytes(options),
            "tiff" => crate::direct::WholeFiles::working_bytes(options),
            _ => 0,
        }
    }
}

/// All formats. The order is that of tables; it does not decide ties.
pub static FORMATS: &[&FormatSpec] = &[
    &crate::vol::SPEC,
    &crate::raw::SPEC,
    &crate::sidecar::MHD,
    &crate::sidecar::NRRD,
    &crate::edf::SPEC,
    &crate::tiff::SPEC,
    &crate::nexus::SPEC,
    &crate::par::SPEC,
    &crate::npy::SPEC,
    &crate::png::SPEC,
];

/// Finds a format by its name.
pub fn by_name(name: &str) -> Result<&'static FormatSpec> {
    FORMATS.iter().copied().find(|f| f.name == name).ok_or_else(|| {
        let known: Vec<_> = FORMATS.iter().map(|f| f.name).collect();
        Error::caller(format!("unknown format '{name}'")).hint(format!("known formats: {}", known.join(", ")))
    })
}

/// Every format that claims the candidate, surest first.
pub fn claims(c: &Candidate) -> Vec<(&'static FormatSpec, Hit)> {
    let mut hits: Vec<_> = FORMATS.iter().filter_map(|f| (f.probe)(c).map(|h| (*f, h))).collect();
    hits.sort_by_key(|h| std::cmp::Reverse(h.1.confidence));
    hits
}

/// Picks the format of a path.
///
/// # Errors
/// Where no format claims it, or two claim it equally.
pub fn probe(path: &Path) -> Result<(&'static FormatSpec, Hit)> {
    let c = Candidate::look(path)?;
    let mut hits = claims(&c);
    if hits.is_empty() {
        let what =
            if c.is_dir { "no scan, series or volume recognised in this folder" } else { "not a format we know" };
        return Err(Error::unsupported(path, what)
            .hint("name the format with --format, or give --dims and --dtype for a headerless file"));
    }
    if hits.len() > 1 && hits[0].1.confidence == hits[1].1.confidence {
        return Err(Error::unsupported(path, "two formats claim this equally")
            .found(format!("{} ({}) and {} ({})", hits[0].0.name, hits[0].1.reason, hits[1].0.name, hits[1].1.reason))
            .hint("choose one with --format"));
    }
    Ok(hits.swap_remove(0))
}

/// Splits `file.h5:/path/in/file` into the file and the dataset; a Windows drive (`C:\…`) is left alone.
pub fn split_dataset(arg: &Path) -> (PathBuf, Option<String>) {
    if let Some(text) = arg.to_str()
        && !arg.exists()
        && let Some(at) = text.find(":/")
        && at > 1
    {
        return (PathBuf::from(&text[..at]), Some(text[at + 1..].to_owned()));
    }
    (arg.to_owned(), None)
}

/// Opens a path: splits off `:/dataset`, probes (or obeys `options.format`), reads what is there.
pub fn open(arg: &Path, options: &OpenOptions) -> Result<Opened> {
    let (path, dataset) = split_dataset(arg);
    let mut options = options.clone();
    if dataset.is_some() {
        options.dataset = dataset;
    }
    let spec = match &options.format {
        Some(name) => by_name(name)?,
        None if options.shape.is_some() && options.dtype.is_some() && path.is_file() => &crate::raw::SPEC,
        None => probe(&path)?.0,
    };
    let container = spec.name == crate::nexus::SPEC.name;
    let named = [&options.dataset, &options.image_path, &options.angle_path];
    if let Some(dataset) = named.into_iter().flatten().find(|_| !container) {
        return Err(Error::caller(format!("a file of format '{}' holds no datasets to choose from", spec.name))
            .path(&path)
            .found(dataset));
    }
    let opened = (spec.open)(&path, &options)?;
    if options.flip_rows && !(container && matches!(opened.content, Content::Scan(_))) {
        return Err(Error::caller("only the projections of an HDF5 scan are turned upside down")
            .path(&path)
            .found(opened.format)
            .hint("leave out --flip-rows"));
    }
    Ok(opened)
}

/// Opens a path that must hold a stack of frames.
pub fn open_volume(arg: &Path, options: &OpenOptions) -> Result<(Volume, Opened)> {
    let opened = open(arg, options)?;
    match &opened.content {
        Content::Volume(v) => Ok((v.clone(), opened)),
        Content::Scan(s) => {
            let volume = Volume {
                source: s.projections.clone(),
                meta: crate::VolumeMeta { voxel_um: s.pixel_um.map(|[v, h]| [v, v, h]), ..Default::default() },
            };
            Ok((volume, opened))
        }
        Content::Other => Err(not_one_stack(arg, &opened.facts)),
    }
}

/// The fact that lists the datasets of a container of which none stands out.
pub const COULD_BE_MEANT: &str = "could_be_meant";

/// The fact that lists further volumes beside the one that was chosen.
pub const ALSO_THERE: &str = "also_there";

/// Why a path without a volume has none: it holds no images, or several stacks among which only the user can choose.
fn not_one_stack(arg: &Path, facts: &Facts) -> Error {
    let list = facts.get(COULD_BE_MEANT).and_then(|v| v.as_array()).map(Vec::as_slice).unwrap_or_default();
    let names: Vec<&str> = list.iter().filter_map(|v| v.as_str()).collect();
    let Some(first) = names.first() else {
        return Error::unsupported(arg, "there is no stack of images in this file")
            .hint("look inside with 'tomo info --tree', then name the dataset as file.h5:/path");
    };
    let more = if names.len() > 5 { format!(" and {} more", names.len() - 5) } else { String::new() };
    Error::unsupported(arg, "several datasets of this file could be meant")
        .expected("one of them")
        .found(format!("{}{more}", names[..names.len().min(5)].join(", ")))
        .hint(format!("choose one: --dataset {first}, or {}:{first}", arg.display()))
}

/// The writer for an output path: by `--format`, else by extension; a name without extension means a series folder.
pub fn writer_for(path: &Path, format: Option<&str>) -> Result<&'static FormatSpec> {
    let spec = match format {
        Some(name) => by_name(name)?,
        None => {
            let name = path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
            FORMATS
                .iter()
                .copied()
                .filter(|f| f.create.is_some())
                .find(|f| f.extensions.iter().any(|e| name.ends_with(&format!(".{e}"))))
                .ok_or_else(|| {
                    Error::caller("cannot tell the format to write from this name")
                        .path(path)
                        .hint("use an extension (.vol, .raw, .tif, .h5, .edf, .npy, .png) or name the format with --to")
                })?
        }
    };
    if spec.create.is_none() {
        return Err(Error::caller(format!("format '{}' can be read but not written", spec.name)).path(path));
    }
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sound() {
        for (i, f) in FORMATS.iter().enumerate() {
            assert!(!f.name.is_empty() && !f.title.is_empty());
            assert!(FORMATS[..i].iter().all(|g| g.name != f.name), "{} twice", f.name);
            assert_eq!(f.create.is_some(), !f.writes.is_empty(), "{}", f.name);
        }
    }

    #[test]
    fn dataset_paths_split_and_drives_do_not() {
        let s = |p: &str| split_dataset(Path::new(p));
        assert_eq!(s("a.h5:/entry/data"), (PathBuf::from("a.h5"), Some("/entry/data".into())));
        assert_eq!(s("C:/data/a.vol"), (PathBuf::from("C:/data/a.vol"), None));
        assert_eq!(s("plain.vol"), (PathBuf::from("plain.vol"), None));
    }
}
