//! Reads NRRD headers (Teem's format, versions 1 to 5), detached or attached, raw encoding.

use super::{Described, MAX_HEADER, data_path, shape_of, sizes, spacing};
use crate::io::ReadAt;
use crate::model::{Facts, units};
use crate::registry::*;
use crate::{ByteOrder, DType, Error, Result, Warnings};
use std::path::Path;

pub(super) fn probe(c: &Candidate) -> Option<Hit> {
    if !c.is_dir && c.head.starts_with(b"NRRD000") {
        return Hit::new(Confidence::Marker, "NRRD magic");
    }
    (!c.is_dir && c.has_extension(super::NRRD.extensions)).then(|| Hit::new(Confidence::Name, "name ends in .nhdr"))?
}

fn dtype(name: &str) -> Option<DType> {
    Some(match name {
        "signed char" | "int8" | "int8_t" => DType::I8,
        "uchar" | "unsigned char" | "uint8" | "uint8_t" => DType::U8,
        "short" | "short int" | "signed short" | "signed short int" | "int16" | "int16_t" => DType::I16,
        "ushort" | "unsigned short" | "unsigned short int" | "uint16" | "uint16_t" => DType::U16,
        "int" | "signed int" | "int32" | "int32_t" => DType::I32,
        "uint" | "unsigned int" | "uint32" | "uint32_t" => DType::U32,
        "longlong"
        | "long long"
        | "long long int"
        | "signed long long"
        | "signed long long int"
        | "int64"
        | "int64_t" => DType::I64,
        "ulonglong" | "unsigned long long" | "unsigned long long int" | "uint64" | "uint64_t" => DType::U64,
        "float" => DType::F32,
        "double" => DType::F64,
        _ => return None,
    })
}

pub(super) fn open(path: &Path, options: &OpenOptions) -> Result<Opened> {
    let file = ReadAt::open(path)?;
    let head = file.head(MAX_HEADER)?;
    describe(path, &head, file.len())?.into_opened(path, options, "nrrd")
}

/// Spacing of one axis from its space direction `(a,b,c)`: the length of the vector.
fn directions(value: &str) -> Option<Vec<f64>> {
    let mut lengths = Vec::new();
    for part in value.split(')').map(str::trim).filter(|p| !p.is_empty()) {
        let numbers = part.strip_prefix('(')?.split(',').map(|n| n.trim().parse::<f64>().ok());
        lengths.push(numbers.collect::<Option<Vec<f64>>>()?.iter().map(|v| v * v).sum::<f64>().sqrt());
    }
    Some(lengths)
}

/// The first of a list of quoted units: `"um" "um" "um"`.
fn first_unit(value: &str) -> &str {
    value.split('"').map(str::trim).find(|w| !w.is_empty()).unwrap_or("")
}

fn describe(path: &Path, head: &[u8], len: u64) -> Result<Described> {
    if !head.starts_with(b"NRRD000") {
        return Err(Error::file(path, "this is no NRRD header").at(0).expected("NRRD000x"));
    }
    let bad = |key: &str, value: &str, expected: &str| {
        Error::file(path, format!("'{key}' is not readable")).expected(expected).found(format!("'{value}'"))
    };
    let missing = |key: &str| Error::file(path, format!("'{key}' is missing from the header"));
    let (mut size, mut kind, mut data, mut dimension) = (None, None, None, None);
    let (mut spacings, mut unit) = (Vec::new(), None);
    let (mut encoding, mut order, mut byte_skip, mut line_skip) = (None, None, 0i64, 0u64);
    let mut facts = Facts::default();
    let mut at = head.iter().position(|b| *b == b'\n').map_or(head.len(), |n| n + 1);
    while at < head.len() {
        let end = head[at..].iter().position(|b| *b == b'\n').map_or(head.len(), |n| at + n);
        let line = units::text_lossy(&head[at..end]);
        let start = at;
        at = (end + 1).min(head.len());
        let line = line.trim();
        if line.is_empty() {
            break;
        }
        if line.starts_with('#') {
            continue;
        }
        // `key:=value` is free metadata, `key: value` a field.
        if let Some((key, value)) = line.split_once(":=") {
            facts.add(key.trim(), value.trim());
            continue;
        }
        let Some((key, value)) = line.split_once(':') else {
            return Err(Error::file(path, "this is no line of a NRRD header")
                .at(start as u64)
                .expected("field: value"));
        };
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        match key.as_str() {
            "type" => kind = Some(dtype(value).ok_or_else(|| bad("type", value, "float, uint8, uint16 or alike"))?),
            "dimension" => {
                dimension = Some(value.parse::<usize>().map_err(|_| bad("dimension", value, "a number"))?);
            }
            "sizes" => size = Some(sizes(value).ok_or_else(|| bad("sizes", value, "whole numbers"))?),
            "spacings" => {
                let list: Option<Vec<f64>> = value.split_whitespace().map(|w| w.parse().ok()).collect();
                spacings = list.ok_or_else(|| bad("spacings", value, "numbers"))?;
            }
            "space directions" => spacings = directions(value).unwrap_or_default(),
            "units" | "space units" => unit = units::length_to_um(first_unit(value)),
            "endian" => {
                order = Some(match value {
                    "little" => ByteOrder::Little,
                    "big" => ByteOrder::Big,
                    _ => return Err(bad("endian", value, "little or big")),
                });
            }
            "encoding" => encoding = Some(value.to_ascii_lowercase()),
            "byte skip" | "byteskip" => {
                byte_skip = value.parse().map_err(|_| bad("byte skip", value, "a number of bytes, or -1"))?;
            }
            "line skip" | "lineskip" => {
                line_skip = value.parse().map_err(|_| bad("line skip", value, "a number of lines"))?;
            }
            "data file" | "datafile" => {
                data = Some(value.to_owned());
                // The names follow, one per line, instead of fields.
                if value.starts_with("LIST") {
                    break;
                }
            }
            _ => facts.add(&key, value),
        }
    }
    match encoding.as_deref() {
        Some("raw") => {}
        Some(e) => {
            return Err(Error::unsupported(path, format!("the values are stored with encoding '{e}'"))
                .hint("save it with encoding raw"));
        }
        None => return Err(missing("encoding")),
    }
    let size = size.ok_or_else(|| missing("sizes"))?;
    if dimension.is_some_and(|d| d != size.len()) {
        return Err(Error::file(path, "'dimension' and 'sizes' disagree").found(format!("{dimension:?} and {size:?}")));
    }
    let shape = shape_of(&size)
        .ok_or_else(|| Error::unsupported(path, "only images and volumes are read").found(format!("sizes {size:?}")))?;
    let dtype = kind.ok_or_else(|| missing("type"))?;
    let order = match order {
        Some(o) => o,
        None if dtype.size() == 1 => ByteOrder::NATIVE,
        None => return Err(missing("endian")),
    };
    let mut warnings = Warnings::default();
    if unit.is_none() && !spacings.is_empty() {
        warnings.push("the unit of the spacings is not stated: millimetres assumed, as ITK and Slicer do".to_owned());
    }
    let voxel_um = spacing(&spacings, unit.unwrap_or(1e3));
    let (data, start) = match data.as_deref() {
        None => (path.to_owned(), at as u64),
        Some(d) if d.starts_with("LIST") || d.contains('%') => {
            return Err(Error::unsupported(path, "the values are spread over several files")
                .found(format!("data file: {d}"))
                .hint("open the folder of slices instead"));
        }
        Some(name) => (data_path(path, name)?, 0),
    };
    if data == path && start >= len && byte_skip >= 0 {
        return Err(missing("data file").found("no data after the header either"));
    }
    let skip = match byte_skip {
        -1 => None,
        n if n < 0 => return Err(bad("byte skip", &n.to_string(), "a number of bytes, or -1")),
        n => Some(skip_lines(&data, start, line_skip)?.saturating_add(n as u64)),
    };
    Ok(Described { shape, dtype, order, skip, data, voxel_um, facts, warnings })
}

/// Offset after `lines` line ends from `start`.
fn skip_lines(data: &Path, start: u64, lines: u64) -> Result<u64> {
    if lines == 0 {
        return Ok(start);
    }
    let file = ReadAt::open(data)?;
    let mut left = lines;
    let mut at = start;
    let mut block = vec![0u8; 1 << 16];
    while at < file.len() {
        let n = (file.len() - at).min(block.len() as u64) as usize;
        file.read_exact_at(&mut block[..n], at)?;
        for (i, _) in block[..n].iter().enumerate().filter(|(_, b)| **b == b'\n') {
            left -= 1;
            if left == 0 {
                return Ok(at + i as u64 + 1);
            }
        }
        at += n as u64;
    }
    Err(Error::file(data, "the file ends before the lines to skip").expected(format!("{lines} lines")))
}
