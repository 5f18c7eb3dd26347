//! Finds shape, type and byte order of a headerless file from what the user said, its sidecars, its name and its
//! length, in this order. Guarantees: the result times the type is the length of the file, or the error states both
//! numbers and what would fit; whatever was inferred rather than written somewhere becomes a warning.

use super::flat::Flat;
use super::info::{Info, MAX_TEXT};
use super::name::{self, NameHints};
use crate::io::{NOT_READ, ReadAt, allocated_bytes};
use crate::model::{Facts, Volume, VolumeMeta};
use crate::registry::{Candidate, Confidence, Content, Hit, OpenOptions, Opened};
use crate::{About, ByteOrder, DType, Error, Result, Shape, Warning, Warnings};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What lies beside a headerless file.
#[derive(Debug, Default)]
pub struct Beside {
    /// `x.vol.info`, if there.
    pub info: Option<(PathBuf, Info)>,
    /// `x.vol.xml`, if there.
    pub xml: Option<(PathBuf, Info)>,
}

impl Beside {
    /// Reads the sidecars of `path`.
    pub fn look(path: &Path) -> Result<Beside> {
        let at = |suffix: &str| Some(crate::io::with_suffix(path, suffix)).filter(|p| p.is_file());
        let mut beside = Beside::default();
        if let Some(p) = at(".info") {
            let info = Info::read(&p)?;
            beside.info = Some((p, info));
        }
        if let Some(p) = at(".xml") {
            let info = crate::vol::xml::parse(&crate::io::read_small_text(&p, MAX_TEXT)?, &p)?;
            beside.xml = Some((p, info));
        }
        Ok(beside)
    }
}

/// Everything needed to read the values, and where each part was found.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Size.
    pub shape: Shape,
    /// Type.
    pub dtype: DType,
    /// Byte order.
    pub order: ByteOrder,
    /// Bytes before the first value.
    pub skip: u64,
    /// `options`, `x.vol.info`, `x.vol.xml` or `file name`.
    pub shape_from: String,
    /// As `shape_from`, or `length of the file`.
    pub dtype_from: String,
    /// As `shape_from`, or `assumed`.
    pub order_from: String,
    /// Inferences and contradictions, for the user.
    pub warnings: Warnings,
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn bytes_of(shape: Shape, size: usize) -> Option<u64> {
    shape.len().ok()?.checked_mul(size as u64)
}

/// Works out the layout of a file of `len` bytes. `natural` is the type a file of this kind has unless something says
/// otherwise (`.vol` is float32).
pub fn resolve(
    path: &Path,
    len: u64,
    options: &OpenOptions,
    beside: &Beside,
    natural: Option<DType>,
) -> Result<Layout> {
    let hints = name::hints(path);
    let mut warnings = Warnings::default();
    let info = beside.info.as_ref();
    let xml = beside.xml.as_ref();
    let pick = |from_options: bool, f: &dyn Fn(&Info) -> bool, hint: bool| -> Option<String> {
        if from_options {
            return Some("options".into());
        }
        for (p, i) in info.iter().chain(xml.iter()) {
            if f(i) {
                return Some(file_name(p));
            }
        }
        hint.then(|| "file name".to_owned())
    };
    let first = |f: &dyn Fn(&Info) -> Option<Shape>| info.iter().chain(xml.iter()).find_map(|(_, i)| f(i));

    let shape = options.shape.or_else(|| first(&|i| i.shape())).or(hints.shape).ok_or_else(|| unknown(path, len))?;
    let shape_from = pick(options.shape.is_some(), &|i| i.shape().is_some(), hints.shape.is_some()).unwrap_or_default();
    if let (None, Some((pi, i)), Some((px, x))) = (options.shape, info, xml)
        && let (Some(a), Some(b)) = (i.shape(), x.shape())
        && a != b
    {
        warnings.push(format!("{} says {a}, {} says {b}: the first is used", file_name(pi), file_name(px)));
    }

    let written = info.iter().chain(xml.iter()).find_map(|(_, i)| i.dtype);
    let order = options
        .byte_order
        .or_else(|| info.iter().chain(xml.iter()).find_map(|(_, i)| i.order))
        .or(hints.order)
        .unwrap_or(ByteOrder::Little);
    let order_from = pick(options.byte_order.is_some(), &|i| i.order.is_some(), hints.order.is_some())
        .unwrap_or_else(|| "assumed".into());
    let skip = options.skip.unwrap_or(0);
    let body = len.saturating_sub(skip);
    let fits = |d: DType| bytes_of(shape, d.size()) == Some(body);

    let (dtype, dtype_from) = if let Some(d) = options.dtype {
        (d, "options".to_owned())
    } else if let Some(d) = written {
        (d, pick(false, &|i| i.dtype.is_some(), false).unwrap_or_default())
    } else if let Some(d) = hints.dtype.filter(|d| fits(*d) || natural.is_none()) {
        (d, "file name".to_owned())
    } else if let Some(d) = natural.filter(|d| fits(*d)) {
        (d, format!("usual for .{}", path.extension().map(|e| e.to_string_lossy()).unwrap_or_default()))
    } else {
        // Statistics beside a .vol are PyHST2's, which writes nothing but floats: a shorter file was cut off.
        let cut = natural.is_some() && info.as_ref().is_some_and(|(_, i)| i.stats.iter().any(Option::is_some));
        let guess = [DType::F32, DType::U16, DType::U8].into_iter().find(|d| fits(*d)).filter(|_| !cut);
        match (guess, natural) {
            (Some(d), _) => {
                warnings.push(format!(
                    "the type is not written anywhere; {} bytes per value by the length of the file: {} assumed (--dtype overrides)",
                    d.size(),
                    d.name()
                ));
                (d, "length of the file".to_owned())
            }
            (None, Some(d)) => (d, "assumed".to_owned()),
            (None, None) => return Err(misfit(path, len, skip, shape, None, &shape_from, &hints)),
        }
    };
    if order_from == "assumed" && dtype.size() > 1 && natural.is_none() {
        warnings.push("the byte order is not written anywhere: little-endian assumed");
    }
    match bytes_of(shape, dtype.size()).and_then(|b| b.checked_add(skip)) {
        Some(need) if need == len => {}
        // The user named the start of the data, so bytes after it may belong to something else.
        Some(need) if need < len && options.skip.is_some() => {
            warnings.add(About::NotRead, format!("{} {NOT_READ}", len - need));
        }
        _ => return Err(misfit(path, len, skip, shape, Some(dtype), &shape_from, &hints)),
    }
    warnings.extend(slices_skipped(skip, bytes_of(Shape { frames: 1, ..shape }, dtype.size())));
    Ok(Layout { shape, dtype, order, skip, shape_from, dtype_from, order_from, warnings })
}

/// What is skipped may be slices instead of a header: where it is as long as one, it is told as bytes left out.
fn slices_skipped(skip: u64, slice: Option<u64>) -> Option<Warning> {
    let n = skip.checked_div(slice?).filter(|n| *n > 0)?;
    let what = if n == 1 { "1 slice".to_owned() } else { format!("{n} slices") };
    let text = format!("--skip passes over {skip} bytes, as long as {what}: these as well as {NOT_READ}");
    Some(Warning::new(About::NotRead, text))
}

fn unknown(path: &Path, len: u64) -> Error {
    let name = file_name(path);
    Error::caller("the dimensions of this headerless file are not known")
        .path(path)
        .expected(format!("{name}.info, {name}.xml or a name like x_640x480x100_uint16"))
        .found(format!("{len} bytes"))
        .hint(
            "give --dims 640x480x100 and --dtype; a missing .vol.info can mean that the reconstruction did not finish",
        )
}

/// Size and dimensions disagree: both numbers, and what would fit.
fn misfit(
    path: &Path,
    len: u64,
    skip: u64,
    shape: Shape,
    dtype: Option<DType>,
    shape_from: &str,
    hints: &NameHints,
) -> Error {
    let body = len.saturating_sub(skip);
    let type_name = dtype.map_or("1, 2 or 4 bytes".to_owned(), |d| d.name().to_owned());
    let head = if skip > 0 { format!("{skip} + ") } else { String::new() };
    let expected = match (dtype, dtype.and_then(|d| bytes_of(shape, d.size()))) {
        (Some(d), Some(b)) => format!(
            "{head}{b} bytes = {} × {} × {} × {} bytes ({type_name}; dimensions from {shape_from})",
            shape.cols,
            shape.rows,
            shape.frames,
            d.size()
        ),
        _ => format!(
            "{head}{} × {} × {} values of {type_name} (dimensions from {shape_from})",
            shape.cols, shape.rows, shape.frames
        ),
    };
    let mut fits = Vec::new();
    let sizes = dtype.map_or(vec![4u64, 2, 1], |d| vec![d.size() as u64]);
    for size in &sizes {
        let frame = (shape.rows as u64).checked_mul(shape.cols as u64).and_then(|n| n.checked_mul(*size));
        if let Some(frame) = frame.filter(|f| *f > 0)
            && body > 0
            && body.is_multiple_of(frame)
        {
            fits.push(format!(
                "{} slices of {} × {} with {size} bytes per value would fit",
                body / frame,
                shape.cols,
                shape.rows
            ));
        }
    }
    for size in [1u64, 2, 4, 8] {
        if !sizes.contains(&size) && bytes_of(shape, size as usize) == Some(body) {
            fits.push(format!("these dimensions fit with {size} bytes per value: check --dtype"));
        }
    }
    if let (Some(s), true) = (hints.shape, hints.shape != Some(shape)) {
        let size = hints.dtype.or(dtype).map_or(1, |d| d.size());
        if bytes_of(s, size) == Some(body) {
            fits.push(format!("the name says {} × {} × {}, which fits", s.cols, s.rows, s.frames));
        }
    }
    if let Some(need) = dtype.and_then(|d| bytes_of(shape, d.size()))
        && body > need
        && body - need <= 1 << 16
    {
        fits.push(format!("{} bytes too many: if they are a header, give --skip {}", body - need, body - need));
    }
    if fits.is_empty() {
        fits.push("the file is truncated or padded, or the dimensions or the type are wrong".to_owned());
    }
    Error::file(path, "length and dimensions disagree")
        .expected(expected)
        .found(format!("{len} bytes"))
        .hint(fits.join("; "))
}

/// The answer of a probe for a headerless file with one of `extensions`.
pub fn probe(c: &Candidate, extensions: &[&str], natural: Option<DType>) -> Option<Hit> {
    if c.is_dir || !c.has_extension(extensions) {
        return None;
    }
    let name = file_name(&c.path);
    let by_name = |why: String| Hit::new(Confidence::Name, why);
    let Ok(beside) = Beside::look(&c.path) else {
        return by_name(format!("name ends in .{}, its sidecar is not readable", extensions[0]));
    };
    match resolve(&c.path, c.len, &OpenOptions::default(), &beside, natural) {
        Ok(l) => {
            let why = format!(
                "{} says {} × {} × {}, times {} bytes = {} = the file's length",
                l.shape_from,
                l.shape.cols,
                l.shape.rows,
                l.shape.frames,
                l.dtype.size(),
                c.len
            );
            let sure = beside.info.is_some() || l.shape_from == "file name";
            Hit::new(if sure { Confidence::Consistent } else { Confidence::Name }, why)
        }
        Err(e) if beside.info.is_some() => by_name(format!("{name}.info is there but: {e}")),
        Err(_) => by_name(format!("name ends in .{}, no {name}.info", extensions[0])),
    }
}

/// Unit that the record of the reconstruction beside a volume tells (`x.vol.recon.json`): its sidecars have no place for it.
fn recorded_unit(path: &Path) -> Option<String> {
    let text = crate::io::read_small_text(&crate::io::with_suffix(path, ".recon.json"), MAX_TEXT).ok()?;
    let record: serde_json::Value = serde_json::from_str(&text).ok()?;
    // At the top in records of earlier versions.
    let unit = record.pointer("/parameters/value_unit").or(record.get("value_unit"))?;
    unit.as_str().map(str::to_owned)
}

/// Opens a headerless file; `format` is the row's name.
pub fn open(path: &Path, options: &OpenOptions, format: &'static str, natural: Option<DType>) -> Result<Opened> {
    let file = Arc::new(ReadAt::open(path)?);
    let enough = options.shape.is_some() && options.dtype.or(natural).is_some();
    let (beside, unread) = match Beside::look(path) {
        // What the user says counts anyway.
        Err(e) if enough => (Beside::default(), Some(format!("what is written beside it is not used: {e}"))),
        r => (r?, None),
    };
    let layout = resolve(path, file.len(), options, &beside, natural)?;
    let Layout { shape, dtype, order, skip, .. } = layout;
    let flat = Flat::over(file.clone(), shape, dtype, order, skip, options.no_mmap)?;

    let infos = || beside.info.iter().chain(beside.xml.iter()).map(|(_, i)| i);
    let origin = infos().find_map(|i| Some([i.origin[0]?, i.origin[1]?, i.origin[2]?]));
    let grey = infos().find_map(Info::grey_scale);
    let meta = VolumeMeta {
        voxel_um: infos().find_map(Info::voxel),
        origin_1based: origin,
        value_unit: grey.as_ref().map(|g| g.unit.clone()).or_else(|| recorded_unit(path)).filter(|u| !u.is_empty()),
        grey,
        stats: infos().find_map(Info::volume_stats),
        description: None,
    };

    let mut facts = Facts::default();
    facts.add("dimensions_from", layout.shape_from.clone());
    facts.add("type_from", layout.dtype_from.clone());
    facts.add("byte_order", if order == ByteOrder::Little { "little" } else { "big" });
    facts.add("byte_order_from", layout.order_from.clone());
    if skip > 0 {
        facts.add("skipped_bytes", skip);
    }
    if let Some([x, y, z]) = meta.origin_1based {
        facts.add("origin_1based_xyz", vec![x, y, z]);
    }
    if let Some(g) = &meta.grey {
        facts.add("grey_scale", serde_json::to_value(g).unwrap_or_default());
    }
    for (key, value) in infos().flat_map(|i| &i.other) {
        facts.add(key, value.clone());
    }
    let allocated = allocated_bytes(path);

    let mut warnings = layout.warnings;
    let told = unread.is_some();
    warnings.extend(unread);
    // Copying tools turn blocks of exact zeros (around the reconstructed circle) into holes: with its sidecar in place
    // a volume is suspicious only where most of it is missing. Below 64 KiB it is the file system's own rounding.
    let holes = allocated.map_or(0, |a| file.len().saturating_sub(a));
    let suspicious = if beside.info.is_some() || told { file.len() / 2 } else { 1 << 16 };
    if holes > suspicious {
        let text = format!(
            "sparse file: {holes} of {} bytes are not on disk and read as zeros (an unfinished run, or a compressing file system)",
            file.len()
        );
        warnings.add(About::Unfinished, text);
    }
    if natural.is_some() && beside.info.is_none() && !told {
        let mut last = [0u8; 4];
        let tail = file.len() >= 4 && file.read_exact_at(&mut last, file.len() - 4).is_ok() && last == [0, 0, 0, 0x20];
        let text = if tail {
            format!(
                "{}.info is missing and the last value is PyHST2's placeholder (bytes 00 00 00 20): the reconstruction did not finish",
                file_name(path)
            )
        } else {
            format!("{}.info is missing: PyHST2 writes it last, so the run may not have finished", file_name(path))
        };
        warnings.add(About::Unfinished, text);
    }
    Ok(Opened { format, content: Content::Volume(Volume { source: Arc::new(flat), meta }), facts, warnings })
}
