//! Writes the three headers beside a headerless file in native byte order. Where a program has no word for a type
//! (float16 in MetaImage, 64-bit integers in ImageJ), its header is left out rather than written wrongly.

use crate::durable::{PartFile, stage_small};
use crate::io::with_suffix;
use crate::{ByteOrder, DType, Result, Shape, VolumeMeta};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const BIG: bool = matches!(ByteOrder::NATIVE, ByteOrder::Big);

fn file_name(path: &Path) -> Option<&str> {
    // Headers are text: a name that is no text, or holds a line end, cannot be told in them.
    path.file_name()?.to_str().filter(|n| !n.contains(['\n', '\r']) && n.trim() == *n)
}

/// Name, text for each header that can be written.
fn texts(path: &Path, shape: Shape, dtype: DType, meta: &VolumeMeta) -> Vec<(PathBuf, String)> {
    let Some(name) = file_name(path) else {
        return Vec::new();
    };
    [
        (".mhd", mhd_text(name, shape, dtype, meta)),
        (".nhdr", nhdr_text(name, shape, dtype, meta)),
        (".ijm", imagej_macro(name, shape, dtype, meta)),
    ]
    .into_iter()
    .filter_map(|(suffix, text)| Some((with_suffix(path, suffix), text?)))
    .collect()
}

/// The files [`stage_all`] will write: `x.vol.mhd`, `x.vol.nhdr`, `x.vol.ijm`.
pub fn names(path: &Path, dtype: DType) -> Vec<PathBuf> {
    texts(path, Shape::new(1, 1, 1), dtype, &VolumeMeta::default()).into_iter().map(|(p, _)| p).collect()
}

/// Writes the headers of the data file `path` under their unfinished names.
pub fn stage_all(path: &Path, shape: Shape, dtype: DType, meta: &VolumeMeta, overwrite: bool) -> Result<Vec<PartFile>> {
    texts(path, shape, dtype, meta).iter().map(|(p, text)| stage_small(p, text.as_bytes(), overwrite)).collect()
}

/// A number as short as it can be while reading back to the same 12 digits.
fn short(v: f64) -> String {
    format!("{v:.11e}").parse::<f64>().unwrap_or(v).to_string()
}

/// MetaImage. Lengths are in mm, which ITK takes for granted.
pub fn mhd_text(name: &str, shape: Shape, dtype: DType, meta: &VolumeMeta) -> Option<String> {
    let kind = match dtype {
        DType::U8 => "MET_UCHAR",
        DType::I8 => "MET_CHAR",
        DType::U16 => "MET_USHORT",
        DType::I16 => "MET_SHORT",
        DType::U32 => "MET_UINT",
        DType::I32 => "MET_INT",
        DType::U64 => "MET_ULONG_LONG",
        DType::I64 => "MET_LONG_LONG",
        DType::F32 => "MET_FLOAT",
        DType::F64 => "MET_DOUBLE",
        DType::F16 => return None,
    };
    let msb = if BIG { "True" } else { "False" };
    let mut t = format!(
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = {msb}\nCompressedData = False\n\
         DimSize = {} {} {}\n",
        shape.cols, shape.rows, shape.frames
    );
    if let Some([z, y, x]) = meta.voxel_um {
        let mm = |v: f64| short(v / 1000.0);
        let _ = writeln!(t, "ElementSpacing = {} {} {}\nDistanceUnits = mm", mm(x), mm(y), mm(z));
    }
    let _ = writeln!(t, "ElementType = {kind}\nElementDataFile = {name}");
    Some(t)
}

/// Detached NRRD, spacings in µm with their unit.
pub fn nhdr_text(name: &str, shape: Shape, dtype: DType, meta: &VolumeMeta) -> Option<String> {
    let kind = match dtype {
        DType::F32 => "float",
        DType::F64 => "double",
        DType::F16 => return None,
        d => d.name(),
    };
    let mut t =
        format!("NRRD0004\ntype: {kind}\ndimension: 3\nsizes: {} {} {}\n", shape.cols, shape.rows, shape.frames);
    if let Some([z, y, x]) = meta.voxel_um {
        let _ = writeln!(t, "spacings: {} {} {}\nunits: \"um\" \"um\" \"um\"", short(x), short(y), short(z));
    }
    let endian = if BIG { "big" } else { "little" };
    let _ = write!(t, "endian: {endian}\nencoding: raw\ndata file: {name}\n\n");
    Some(t)
}

/// ImageJ macro that opens the data as a virtual stack; `None` for types ImageJ cannot import.
pub fn imagej_macro(name: &str, shape: Shape, dtype: DType, meta: &VolumeMeta) -> Option<String> {
    let kind = match dtype {
        DType::U8 => "8-bit",
        DType::U16 => "16-bit Unsigned",
        DType::I16 => "16-bit Signed",
        DType::U32 => "32-bit Unsigned",
        DType::I32 => "32-bit Signed",
        DType::F32 => "32-bit Real",
        DType::F64 => "64-bit Real",
        _ => return None,
    };
    // The options of a command are one text with [brackets] around values, which ImageJ cannot escape.
    if name.contains([']', '[']) {
        return None;
    }
    let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
    let little = if BIG { "" } else { " little-endian" };
    let mut t = format!(
        "// Opens {name} in ImageJ or Fiji without loading it (virtual stack): drop this file on the ImageJ window and run it.\n\
         folder = File.getParent(getInfo(\"macro.filepath\"));\n\
         run(\"Raw...\", \"open=[\" + folder + File.separator + \"{quoted}] image=[{kind}] width={} height={} offset=0 \
         number={} gap=0{little} use\");\n",
        shape.cols, shape.rows, shape.frames
    );
    if let Some([z, y, x]) = meta.voxel_um {
        let _ = writeln!(t, "setVoxelSize({}, {}, {}, \"micron\");", short(x), short(y), short(z));
    }
    Some(t)
}
