//! NumPy's `.npy`: one array in C order, versions 1 to 3. A 2-D array is one frame, a 3-D array a stack.
//!
//! The header is a Python dictionary; it is parsed, never evaluated. Object and structured arrays are refused (the
//! first would need pickle, which runs code).

use crate::durable::PartFile;
use crate::io::{NOT_READ, ReadAt};
use crate::model::{Facts, Volume, VolumeMeta, VolumeStats};
use crate::raw::flat::Flat;
use crate::registry::*;
use crate::sink::{CreateOptions, SliceSink};
use crate::{About, ByteOrder, DType, Error, Result, Shape};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: &[u8] = b"\x93NUMPY";
/// Longest header read; NumPy itself stops at 10 000 characters.
const MAX_HEADER: u64 = 1 << 20;

/// The format's row.
pub static SPEC: FormatSpec = FormatSpec {
    name: "npy",
    title: "NumPy array (.npy)",
    extensions: &["npy"],
    reads: "2-D and 3-D numbers in C order, both byte orders",
    writes: "any type, version 1",
    variants: &[],
    probe: |c| if c.head.starts_with(MAGIC) { Hit::new(Confidence::Marker, "NumPy magic \\x93NUMPY") } else { None },
    open,
    create: Some(create),
    tree: None,
};

/// What the header says.
#[derive(Debug, PartialEq)]
struct Header {
    dtype: DType,
    order: ByteOrder,
    fortran: bool,
    shape: Vec<usize>,
    /// Offset of the first value.
    start: u64,
}

fn descr(text: &str) -> Option<(DType, ByteOrder)> {
    let order = match text.as_bytes().first()? {
        b'<' => ByteOrder::Little,
        b'>' => ByteOrder::Big,
        b'=' | b'|' => ByteOrder::NATIVE,
        _ => return None,
    };
    let dtype = match text.get(1..)? {
        "u1" | "b1" => DType::U8,
        "i1" => DType::I8,
        "u2" => DType::U16,
        "i2" => DType::I16,
        "u4" => DType::U32,
        "i4" => DType::I32,
        "u8" => DType::U64,
        "i8" => DType::I64,
        "f2" => DType::F16,
        "f4" => DType::F32,
        "f8" => DType::F64,
        _ => return None,
    };
    Some((dtype, order))
}

/// The value of `'key':` in the header's dictionary, up to the comma that ends it.
fn entry<'a>(dict: &'a str, key: &str) -> Option<&'a str> {
    let at = [format!("'{key}'"), format!("\"{key}\"")].iter().find_map(|k| Some(dict.find(k)? + k.len()))?;
    let rest = dict.get(at..)?.trim_start().strip_prefix(':')?.trim_start();
    let mut depth = 0usize;
    let end = rest.find(|c| {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && matches!(c, ',' | '}')
    })?;
    Some(rest.get(..end)?.trim())
}

fn header(file: &ReadAt) -> Result<Header> {
    let path = file.path();
    let bad = |what: &str| Error::file(path, format!("the NumPy header is damaged: {what}")).at(0);
    let head = file.head(12)?;
    if !head.starts_with(MAGIC) || head.len() < 10 {
        return Err(Error::file(path, "this is no NumPy file").at(0).expected("\\x93NUMPY and a version"));
    }
    let (at, len) = match head[6] {
        1 => (10u64, u64::from(u16::from_le_bytes([head[8], head[9]]))),
        2 | 3 if head.len() == 12 => (12, u64::from(u32::from_le_bytes([head[8], head[9], head[10], head[11]]))),
        2 | 3 => return Err(bad("it ends after the version")),
        v => return Err(Error::unsupported(path, format!("NumPy format version {v}")).at(6).expected("1, 2 or 3")),
    };
    if len > MAX_HEADER {
        return Err(Error::limit("the NumPy header is unreasonably long").path(path).found(format!("{len} bytes")));
    }
    if at + len > file.len() {
        return Err(bad("the file ends inside it"));
    }
    let mut text = vec![0u8; len as usize];
    file.read_exact_at(&mut text, at)?;
    let dict = crate::model::units::text_lossy(&text);
    let kind = entry(&dict, "descr").ok_or_else(|| bad("'descr' is missing"))?;
    let (dtype, order) = descr(kind.trim_matches(['\'', '"'])).ok_or_else(|| {
        Error::unsupported(path, "the array does not hold plain numbers")
            .found(format!("descr {kind}"))
            .hint("complex, structured and object arrays are not read")
    })?;
    let fortran = match entry(&dict, "fortran_order") {
        Some("True") => true,
        Some("False") => false,
        _ => return Err(bad("'fortran_order' is neither True nor False")),
    };
    let shape = entry(&dict, "shape").ok_or_else(|| bad("'shape' is missing"))?;
    let inner = shape.strip_prefix('(').and_then(|s| s.strip_suffix(')')).ok_or_else(|| bad("'shape' is no tuple"))?;
    let shape: Option<Vec<usize>> = inner
        .split(',')
        .map(str::trim)
        .filter(|w| !w.is_empty())
        .map(|w| w.trim_end_matches('L').parse().ok())
        .collect();
    let shape = shape.ok_or_else(|| bad("'shape' holds something that is no size"))?;
    Ok(Header { dtype, order, fortran, shape, start: at + len })
}

fn open(path: &Path, options: &OpenOptions) -> Result<Opened> {
    let file = Arc::new(ReadAt::open(path)?);
    let h = header(&file)?;
    let shape = match h.shape.as_slice() {
        [rows, cols] => Shape::new(1, *rows, *cols),
        [frames, rows, cols] => Shape::new(*frames, *rows, *cols),
        other => {
            return Err(Error::unsupported(path, "only 2-D and 3-D arrays are images or volumes")
                .found(format!("{} dimensions {other:?}", other.len()))
                .hint("reshape it in NumPy and save it again"));
        }
    };
    if shape.is_empty() {
        return Err(Error::file(path, "the array is empty").found(format!("{:?}", h.shape)));
    }
    if h.fortran {
        return Err(Error::unsupported(path, "the array is in Fortran order (first index fastest)")
            .hint("save it with numpy.save(name, numpy.ascontiguousarray(a))"));
    }
    let flat = Flat::over(file.clone(), shape, h.dtype, h.order, h.start, options.no_mmap)?;
    let mut opened = Opened::volume(SPEC.name, Volume { source: Arc::new(flat), meta: VolumeMeta::default() });
    let mut facts = Facts::default();
    facts.add("numpy_shape", h.shape.clone());
    facts.add("byte_order", if h.order == ByteOrder::Little { "little" } else { "big" });
    opened.facts = facts;
    let end = h.start.saturating_add(shape.len()?.saturating_mul(h.dtype.size() as u64));
    if end < file.len() {
        opened.warnings.add(About::Trailing, format!("{} {NOT_READ}", file.len() - end));
    }
    Ok(opened)
}

/// The header NumPy writes for version 1: padded so that the data start at a multiple of 64.
fn header_bytes(shape: Shape, dtype: DType) -> Vec<u8> {
    let order = match (dtype.size(), ByteOrder::NATIVE) {
        (1, _) => '|',
        (_, ByteOrder::Little) => '<',
        (_, ByteOrder::Big) => '>',
    };
    let kind = if dtype.is_float() {
        'f'
    } else if dtype.is_signed() {
        'i'
    } else {
        'u'
    };
    let dict = format!(
        "{{'descr': '{order}{kind}{}', 'fortran_order': False, 'shape': ({}, {}, {}), }}",
        dtype.size(),
        shape.frames,
        shape.rows,
        shape.cols
    );
    let total = (10 + dict.len() + 1).next_multiple_of(64);
    let mut out = MAGIC.to_vec();
    out.extend([1, 0]);
    // Three 20-digit sizes stay far below 64 KiB.
    out.extend(((total - 10) as u16).to_le_bytes());
    out.extend(dict.as_bytes());
    out.resize(total - 1, b' ');
    out.push(b'\n');
    out
}

fn create(path: &Path, options: &CreateOptions) -> Result<Box<dyn SliceSink>> {
    let shape = options.shape;
    if shape.is_empty() {
        return Err(Error::caller(format!("cannot write a volume of {shape}")).path(path));
    }
    shape.len().map_err(|e| e.or_path(path))?;
    let part = PartFile::create(path, options.overwrite)?;
    let head = header_bytes(shape, options.dtype);
    part.write_at(&head, 0)?;
    Ok(Box::new(NpySink {
        part,
        shape,
        start: head.len() as u64,
        slice_bytes: shape.frame_len() as u64 * options.dtype.size() as u64,
        next: 0,
    }))
}

/// A `.npy` being written.
struct NpySink {
    part: PartFile,
    shape: Shape,
    start: u64,
    slice_bytes: u64,
    next: usize,
}

impl SliceSink for NpySink {
    fn put(&mut self, first: usize, slices: &[u8]) -> Result<()> {
        let count = (slices.len() as u64 / self.slice_bytes) as usize;
        if first != self.next
            || !(slices.len() as u64).is_multiple_of(self.slice_bytes)
            || count > self.shape.frames - self.next
        {
            return Err(Error::caller("slices must come whole and in order")
                .path(self.part.target())
                .expected(format!("slice {} of {}, {} bytes each", self.next, self.shape, self.slice_bytes))
                .found(format!("slice {first}, {} bytes", slices.len())));
        }
        self.part.write_at(slices, self.start + first as u64 * self.slice_bytes)?;
        self.next += count;
        Ok(())
    }

    fn finish(self: Box<Self>, _: Option<&VolumeStats>) -> Result<Vec<PathBuf>> {
        if self.next != self.shape.frames {
            return Err(Error::caller("the volume is not complete")
                .path(self.part.target())
                .expected(format!("{} slices", self.shape.frames))
                .found(format!("{}", self.next)));
        }
        Ok(vec![self.part.commit()?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vol::tests::{shared, values};
    use std::fs;

    fn npy(version: u8, dict: &str, data: &[u8]) -> Vec<u8> {
        let mut b = MAGIC.to_vec();
        b.extend([version, 0]);
        match version {
            1 => b.extend((dict.len() as u16).to_le_bytes()),
            _ => b.extend((dict.len() as u32).to_le_bytes()),
        }
        b.extend(dict.as_bytes());
        b.extend(data);
        b
    }

    #[test]
    fn written_files_read_back_in_every_type() {
        let dir = tempfile::tempdir().unwrap();
        for d in DType::ALL {
            let path = dir.path().join(format!("{}.npy", d.name()));
            let shape = Shape::new(3, 2, 5);
            let data: Vec<u8> = (0..30 * d.size()).map(|i| (i % 60) as u8).collect();
            let mut s = create(&path, &CreateOptions::new(shape, d)).unwrap();
            s.put(0, &data[..10 * d.size()]).unwrap();
            s.put(1, &data[10 * d.size()..]).unwrap();
            assert!(s.put(3, &data[..10 * d.size()]).is_err());
            assert_eq!(s.finish(None).unwrap(), std::slice::from_ref(&path));
            assert_eq!((fs::metadata(&path).unwrap().len() as usize - data.len()) % 64, 0);
            let o = crate::registry::open(&path, &OpenOptions::default()).unwrap();
            let Content::Volume(v) = &o.content else { panic!() };
            assert_eq!((v.source.shape(), v.source.dtype()), (shape, d));
            let mut out = vec![0; data.len()];
            v.source.read(&shape.full(), &mut out).unwrap();
            assert_eq!(out, data);
        }
        let path = dir.path().join("short.npy");
        let s = create(&path, &CreateOptions::new(Shape::new(3, 2, 5), DType::U8)).unwrap();
        assert!(s.finish(None).is_err());
        assert!(!path.exists());
    }

    #[test]
    fn headers_of_all_versions_and_refusals() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let try_open = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            crate::registry::open(&path, &OpenOptions { format: Some("npy".into()), ..Default::default() })
        };
        let data = [0, 1, 0, 2, 0, 3, 0, 4];
        let good = "{'descr': '>u2', 'fortran_order': False, 'shape': (2, 2), }\n";
        for v in 1..=3 {
            assert_eq!(values(&try_open(&npy(v, good, &data)).unwrap()), [1.0, 2.0, 3.0, 4.0]);
        }
        let odd = "{\"shape\":(1L,2,2),\"descr\":\"<i2\",\"fortran_order\":False}";
        assert_eq!(values(&try_open(&npy(1, odd, &data)).unwrap())[0], 256.0);
        for (dict, word) in [
            ("{'descr': '<u2', 'fortran_order': True, 'shape': (2, 2), }", "Fortran"),
            ("{'descr': '<u2', 'fortran_order': False, 'shape': (4,), }", "1 dimensions"),
            ("{'descr': '<u2', 'fortran_order': False, 'shape': (), }", "0 dimensions"),
            ("{'descr': '<u2', 'fortran_order': False, 'shape': (1, 1, 2, 2), }", "4 dimensions"),
            ("{'descr': '|O', 'fortran_order': False, 'shape': (2, 2), }", "plain numbers"),
            ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 2), }", "plain numbers"),
            ("{'descr': '<c8', 'fortran_order': False, 'shape': (2, 2), }", "plain numbers"),
            ("{'descr': '<u2', 'fortran_order': False, 'shape': (0, 2), }", "empty"),
            ("{'descr': '<u2', 'fortran_order': False, 'shape': (-1, 2), }", "size"),
            ("{'descr': '<u2', 'fortran_order': False, 'shape': (99999999999999, 99999999999999), }", "real volume"),
            ("{'descr': '<u2', 'shape': (2, 2), }", "fortran_order"),
            ("", "descr"),
        ] {
            let e = try_open(&npy(1, dict, &data)).err().unwrap().to_string();
            assert!(e.contains(word), "{dict}: {e}");
        }
        let whole = npy(1, good, &data);
        for cut in 0..whole.len() {
            assert!(try_open(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..whole.len() - data.len() {
            for x in [0u8, 0xFF, whole[at] ^ 1] {
                let mut b = whole.clone();
                b[at] = x;
                let _ = try_open(&b); // no panic
            }
        }
    }

    #[test]
    fn real_files() {
        let Some(path) = shared("02-tomopy-regression/tomo.npy") else { return };
        let o = crate::registry::open(&path, &OpenOptions::default()).unwrap();
        assert!(!values(&o).is_empty());
    }
}
