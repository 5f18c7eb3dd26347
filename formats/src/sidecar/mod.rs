//! Small headers beside headerless data: MetaImage (`.mhd`, read by ITK, ParaView, Slicer), NRRD (`.nhdr`, Slicer,
//! ParaView, ITK) and an ImageJ macro. Written so that each program opens the volume with nothing typed; `.mhd`/`.mha`
//! and `.nhdr`/`.nrrd` are read too, as long as the values are uncompressed.

mod mhd;
mod nrrd;
mod write;

pub use write::{imagej_macro, mhd_text, names, nhdr_text, stage_all};

use crate::io::{NOT_READ, ReadAt};
use crate::model::{Facts, Volume, VolumeMeta};
use crate::raw::flat::Flat;
use crate::registry::*;
use crate::{About, ByteOrder, DType, Error, Result, Shape, Warnings};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// MetaImage row.
pub static MHD: FormatSpec = FormatSpec {
    name: "mhd",
    title: "MetaImage header (.mhd, .mha)",
    extensions: &["mhd", "mha"],
    reads: "uncompressed 2-D and 3-D, data in one other file or attached",
    writes: "",
    variants: &[],
    probe: mhd::probe,
    open: mhd::open,
    create: None,
    tree: None,
};

/// NRRD row.
pub static NRRD: FormatSpec = FormatSpec {
    name: "nrrd",
    title: "NRRD header (.nhdr, .nrrd)",
    extensions: &["nhdr", "nrrd"],
    reads: "raw encoding, 2-D and 3-D, data in one other file or attached",
    writes: "",
    variants: &[],
    probe: nrrd::probe,
    open: nrrd::open,
    create: None,
    tree: None,
};

/// Longest header read, bytes.
const MAX_HEADER: usize = 1 << 20;

/// What both header formats come down to.
struct Described {
    shape: Shape,
    dtype: DType,
    order: ByteOrder,
    /// Bytes before the data; `None`: the data are the last bytes of the file.
    skip: Option<u64>,
    /// The file with the values.
    data: PathBuf,
    voxel_um: Option<[f64; 3]>,
    facts: Facts,
    warnings: Warnings,
}

impl Described {
    /// Opens the values.
    fn into_opened(self, header: &Path, options: &OpenOptions, format: &'static str) -> Result<Opened> {
        let Described { shape, dtype, order, skip, data, voxel_um, mut facts, mut warnings } = self;
        let file =
            Arc::new(ReadAt::open(&data).map_err(|e| {
                e.hint(format!("{} names this file; it must lie where the header says", header.display()))
            })?);
        let need = shape
            .len()
            .ok()
            .and_then(|n| n.checked_mul(dtype.size() as u64))
            .ok_or_else(|| Error::limit(format!("{shape} is beyond any real volume")).path(header))?;
        let start = match skip {
            Some(s) => s,
            None => file.len().checked_sub(need).ok_or_else(|| {
                Error::file(&data, "the file is too short for its header")
                    .expected(format!("{need} bytes"))
                    .found(format!("{} bytes", file.len()))
            })?,
        };
        let flat = Flat::over(file.clone(), shape, dtype, order, start, options.no_mmap)?;
        let end = start.saturating_add(need);
        if end < file.len() {
            warnings.add(About::Trailing, format!("{} {NOT_READ}", file.len() - end));
        }
        facts.add("data_file", data.display().to_string());
        facts.add("data_offset", start);
        facts.add("byte_order", if order == ByteOrder::Little { "little" } else { "big" });
        if let Some([z, y, x]) = voxel_um {
            facts.add_unit("voxel_zyx", vec![z, y, x], "µm");
        }
        let meta = VolumeMeta { voxel_um, ..Default::default() };
        let content = Content::Volume(Volume { source: Arc::new(flat), meta });
        Ok(Opened { format, content, facts, warnings })
    }
}

/// The path of the data file a header names. A header may come from anywhere, so it may point into its own folder or
/// below only: absolute paths and `..` are refused, unless they lead to the header's own folder.
fn data_path(header: &Path, name: &str) -> Result<PathBuf> {
    let refuse = |why: &str| {
        Error::unsupported(header, format!("the data file '{name}' {why}"))
            .hint("put the data beside the header and name it without a folder")
    };
    if name.contains('\0') || name.is_empty() {
        return Err(refuse("is no file name"));
    }
    let dir = header.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Windows writers use backslashes; on Unix they would be part of one name.
    let plain = dir.join(name);
    if plain.is_file() && Path::new(name).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Ok(plain);
    }
    let slashed = name.replace('\\', "/");
    let path = Path::new(&slashed);
    let drive = slashed.as_bytes().get(1) == Some(&b':');
    if !drive && path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Ok(dir.join(path));
    }
    let same_folder = || -> Option<PathBuf> {
        let target = dir.join(path).canonicalize().ok()?;
        (target.parent()? == dir.canonicalize().ok()?).then_some(target)
    };
    match same_folder() {
        Some(p) if !drive || cfg!(windows) => Ok(p),
        _ => Err(refuse("lies outside the header's folder")),
    }
}

/// A list of whole numbers separated by blanks.
fn sizes(value: &str) -> Option<Vec<usize>> {
    value.split_whitespace().map(|w| w.parse::<usize>().ok().filter(|n| *n > 0)).collect()
}

/// Two or three sizes, fastest first, as a shape; further sizes must be 1.
fn shape_of(sizes: &[usize]) -> Option<Shape> {
    match sizes {
        [x, y] => Some(Shape::new(1, *y, *x)),
        [x, y, z, rest @ ..] if rest.iter().all(|n| *n == 1) => Some(Shape::new(*z, *y, *x)),
        _ => None,
    }
}

/// Spacings, fastest first, in units of `um` micrometres; `None` where they are missing or make no sense.
fn spacing(values: &[f64], um: f64) -> Option<[f64; 3]> {
    let good = |v: f64| v.is_finite() && v > 0.0;
    match values {
        [x, y, rest @ ..] if good(*x) && good(*y) => {
            let z = rest.first().copied().filter(|z| good(*z)).unwrap_or(*x);
            // Twelve digits: 0.00065 mm × 1000 is 0.65 µm, not 0.6500000000000001.
            Some([z, *y, *x].map(|v| format!("{:.11e}", v * um).parse().unwrap_or(v * um)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
