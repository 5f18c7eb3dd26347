//! Reads MetaImage headers. Keys as in Kitware's MetaIO; lengths are millimetres unless DistanceUnits says otherwise.

use super::{Described, MAX_HEADER, data_path, shape_of, sizes, spacing};
use crate::io::ReadAt;
use crate::model::{Facts, units};
use crate::registry::*;
use crate::{ByteOrder, DType, Error, Result, Warnings};
use std::path::Path;

pub(super) fn probe(c: &Candidate) -> Option<Hit> {
    if c.is_dir {
        return None;
    }
    let head = units::text_lossy(&c.head[..c.head.len().min(512)]);
    let marked = head
        .lines()
        .take(8)
        .filter_map(|l| l.split_once('='))
        .any(|(k, _)| matches!(k.trim(), "ObjectType" | "NDims" | "DimSize" | "ElementType"));
    match (marked, c.has_extension(super::MHD.extensions)) {
        (true, true) => Hit::new(Confidence::Marker, "MetaImage keys at the start"),
        (true, false) => Hit::new(Confidence::Name, "MetaImage keys at the start, unusual name"),
        (false, true) => Hit::new(Confidence::Name, "name ends in .mhd or .mha"),
        _ => None,
    }
}

fn dtype(name: &str) -> Option<DType> {
    Some(match name {
        "MET_UCHAR" => DType::U8,
        "MET_CHAR" => DType::I8,
        "MET_USHORT" => DType::U16,
        "MET_SHORT" => DType::I16,
        "MET_UINT" => DType::U32,
        "MET_INT" => DType::I32,
        "MET_ULONG_LONG" => DType::U64,
        "MET_LONG_LONG" => DType::I64,
        "MET_FLOAT" => DType::F32,
        "MET_DOUBLE" => DType::F64,
        // MetaIO stores "long" in 4 bytes on every system.
        "MET_ULONG" => DType::U32,
        "MET_LONG" => DType::I32,
        _ => return None,
    })
}

fn yes(value: &str) -> bool {
    matches!(value.as_bytes().first(), Some(b'T' | b't' | b'Y' | b'y' | b'1'))
}

pub(super) fn open(path: &Path, options: &OpenOptions) -> Result<Opened> {
    let head = ReadAt::open(path)?.head(MAX_HEADER)?;
    describe(path, &head)?.into_opened(path, options, "mhd")
}

fn describe(path: &Path, head: &[u8]) -> Result<Described> {
    let bad = |key: &str, value: &str, expected: &str| {
        Error::file(path, format!("{key} is not readable")).expected(expected).found(format!("'{value}'"))
    };
    let missing = |key: &str| Error::file(path, format!("{key} is missing from the header"));
    let (mut size, mut kind, mut data) = (None, None, None);
    let (mut spacings, mut unit) = (Vec::new(), 1e3);
    let mut order = ByteOrder::NATIVE;
    let mut skip = Some(0);
    let mut facts = Facts::default();
    let mut warnings = Warnings::default();
    let mut stated_order = false;
    let mut at = 0;
    while at < head.len() && data.is_none() {
        let end = head[at..].iter().position(|b| *b == b'\n').map_or(head.len(), |n| at + n);
        let line = units::text_lossy(&head[at..end]);
        at = (end + 1).min(head.len());
        let Some((key, value)) = line.split_once('=') else {
            if line.trim().is_empty() {
                continue;
            }
            return Err(Error::file(path, "this is no line of a MetaImage header")
                .at(at as u64)
                .expected("key = value"));
        };
        let (key, value) = (key.trim(), value.trim());
        let floats = || value.split_whitespace().map(|w| w.parse::<f64>().ok()).collect::<Option<Vec<f64>>>();
        match key {
            "ObjectType" if !value.eq_ignore_ascii_case("Image") => {
                return Err(Error::unsupported(path, format!("a MetaIO object of type {value}, not an image")));
            }
            "DimSize" => size = Some(sizes(value).ok_or_else(|| bad(key, value, "whole numbers"))?),
            "ElementType" => {
                kind = Some(dtype(value).ok_or_else(|| bad(key, value, "MET_UCHAR, MET_USHORT, MET_FLOAT or alike"))?);
            }
            "ElementNumberOfChannels" if value != "1" => {
                return Err(Error::unsupported(path, format!("{value} channels per voxel")).hint("one channel is read"));
            }
            "BinaryData" if !yes(value) => {
                return Err(Error::unsupported(path, "the values are text (BinaryData = False)"));
            }
            "CompressedData" if yes(value) => {
                return Err(Error::unsupported(path, "the values are compressed (CompressedData = True)")
                    .hint("save it uncompressed from the program that wrote it"));
            }
            "BinaryDataByteOrderMSB" | "ElementByteOrderMSB" => {
                order = if yes(value) { ByteOrder::Big } else { ByteOrder::Little };
                stated_order = true;
            }
            "HeaderSize" => {
                skip = match value.parse::<i64>() {
                    Ok(-1) => None,
                    Ok(n) if n >= 0 => Some(n as u64),
                    _ => return Err(bad(key, value, "a number of bytes, or -1")),
                };
            }
            "ElementSpacing" => spacings = floats().ok_or_else(|| bad(key, value, "numbers"))?,
            "ElementSize" if spacings.is_empty() => spacings = floats().ok_or_else(|| bad(key, value, "numbers"))?,
            "DistanceUnits" => match units::length_to_um(value) {
                Some(f) => unit = f,
                None => warnings.push(format!("DistanceUnits '{value}' is not known: millimetres assumed")),
            },
            "ElementDataFile" => data = Some(value.to_owned()),
            _ => facts.add(key, value),
        }
    }
    let size = size.ok_or_else(|| missing("DimSize"))?;
    let shape = shape_of(&size).ok_or_else(|| {
        Error::unsupported(path, "only images and volumes are read").found(format!("DimSize {size:?}"))
    })?;
    let dtype = kind.ok_or_else(|| missing("ElementType"))?;
    let data = data.ok_or_else(|| missing("ElementDataFile"))?;
    if !stated_order && dtype.size() > 1 {
        warnings.push("the header does not state the byte order: that of this machine assumed");
    }
    let data = match data.as_str() {
        "LOCAL" => {
            skip = skip.map(|s| s.saturating_add(at as u64));
            path.to_owned()
        }
        d if d == "LIST" || d.starts_with("LIST ") || d.contains('%') => {
            return Err(Error::unsupported(path, "the values are spread over several files (ElementDataFile = LIST)")
                .hint("open the folder of slices instead"));
        }
        name => data_path(path, name)?,
    };
    let voxel_um = spacing(&spacings, unit);
    Ok(Described { shape, dtype, order, skip, data, voxel_um, facts, warnings })
}
