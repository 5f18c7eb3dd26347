//! EDF writing: one strict form, readable by fabio, PyMca, PyHST2 and ImageJ.
//!
//! Headers are a multiple of 512 bytes ending in `}` + LF, keys in fabio's order, values low byte first, type names
//! those PyHST2's reader knows. A volume becomes a folder of files, one per slice (`series`), or one file with a header
//! per slice, all of equal length (`multi`). Leaves to others: commits and renames ([`crate::durable`]).

use crate::durable::{PartDir, PartFile, series_names};
use crate::error::OnPath;
use crate::model::{VolumeMeta, VolumeStats};
use crate::{ByteOrder, CreateOptions, DType, Error, Result, SliceSink};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Keys this writer sets itself.
const OWN: [&str; 9] = [
    "EDF_DataBlockID",
    "EDF_BinarySize",
    "EDF_HeaderSize",
    "ByteOrder",
    "DataType",
    "Image",
    "HeaderID",
    "Size",
    "Compression",
];

/// The name of a type, as fabio writes it and PyHST2 reads it; `None` for float16, which EDF does not have.
pub fn type_name(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::U8 => "UnsignedByte",
        DType::I8 => "SignedByte",
        DType::U16 => "UnsignedShort",
        DType::I16 => "SignedShort",
        DType::U32 => "UnsignedInteger",
        DType::I32 => "SignedInteger",
        DType::U64 => "Unsigned64",
        DType::I64 => "Signed64",
        DType::F32 => "FloatValue",
        DType::F64 => "DoubleValue",
        DType::F16 => return None,
    })
}

/// Builds a header. `dims` slowest first; `number` counts the images of a file from 0; `least` is a length to pad to at
/// least (for files whose headers must all be of one length).
///
/// # Errors
/// `Caller` for float16, for keys this writer sets itself, and for keys or values that would break the header.
pub fn header(number: usize, dtype: DType, dims: &[usize], keys: &[(String, String)], least: usize) -> Result<Vec<u8>> {
    let Some(type_name) = type_name(dtype) else {
        return Err(Error::caller("EDF has no 16-bit floating point").hint("convert to float32, which is lossless"));
    };
    let bytes = dims.iter().try_fold(dtype.size(), |n, d| n.checked_mul(*d)).filter(|n| *n > 0);
    let Some(bytes) = bytes.filter(|_| dims.len() >= 2) else {
        return Err(Error::caller("an EDF image needs rows and columns").found(format!("{dims:?}")));
    };
    for (k, v) in keys {
        let reserved = OWN.iter().any(|o| o.eq_ignore_ascii_case(k)) || k.to_ascii_lowercase().starts_with("dim_");
        let bad_key = k.trim() != k || k.is_empty() || k.contains(['=', ';', '{', '}', '\n', '\r', '\0']);
        let bad_value = v.contains([';', '{', '}', '\n', '\r', '\0']);
        if reserved || bad_key || bad_value || !k.is_ascii() || !v.is_ascii() {
            return Err(Error::caller("this key cannot be stored in an EDF header")
                .found(format!("{k} = {v}"))
                .hint("use plain ASCII without ; { } = and no key that describes the data itself"));
        }
    }
    let text = |size: usize| {
        let mut t = String::from("{\n");
        let mut line = |k: &str, v: &str| {
            t.push_str(k);
            t.push_str(" = ");
            t.push_str(v);
            t.push_str(" ;\n");
        };
        line("EDF_DataBlockID", &format!("{number}.Image.Psd"));
        line("EDF_BinarySize", &bytes.to_string());
        line("EDF_HeaderSize", &format!("{size:>5}"));
        line("ByteOrder", "LowByteFirst");
        line("DataType", type_name);
        for (i, d) in dims.iter().rev().enumerate() {
            line(&format!("Dim_{}", i + 1), &d.to_string());
        }
        line("Image", &number.to_string());
        line("HeaderID", &format!("EH:{number:06}:000000:000000"));
        line("Size", &bytes.to_string());
        keys.iter().for_each(|(k, v)| line(k, v));
        t
    };
    let mut size = least.max(512).next_multiple_of(512);
    let body = loop {
        let body = text(size);
        if body.len() + 2 <= size {
            break body;
        }
        size = (body.len() + 2).next_multiple_of(512);
    };
    let mut out = body.into_bytes();
    out.resize(size - 2, b' ');
    out.extend_from_slice(b"}\n");
    Ok(out)
}

/// Values given in native byte order, in the order of the file; copies only where they differ.
fn low_byte_first(bytes: &[u8], size: usize) -> std::borrow::Cow<'_, [u8]> {
    if ByteOrder::NATIVE == ByteOrder::Little || size == 1 {
        return bytes.into();
    }
    let mut copy = bytes.to_vec();
    ByteOrder::Little.to_native(&mut copy, size);
    copy.into()
}

/// Appends one image (or block) with its header to `to`: native byte order in, low byte first out.
///
/// `keys` are further header keys in order, `dims` the dimensions slowest first (`[rows, cols]`), `number` the image's
/// number in its file, from 0.
///
/// # Errors
/// As [`header`]; `Caller` where `bytes` does not fit `dims`; `System` from writing (without a path: the caller adds it).
pub fn write_frame(
    to: &mut dyn Write,
    number: usize,
    keys: &[(String, String)],
    dtype: DType,
    dims: &[usize],
    bytes: &[u8],
) -> Result<()> {
    let head = header(number, dtype, dims, keys, 0)?;
    let need = dims.iter().product::<usize>() * dtype.size();
    if need != bytes.len() {
        return Err(Error::caller("the buffer does not fit the image")
            .expected(format!("{need} bytes"))
            .found(format!("{} bytes", bytes.len())));
    }
    let failed = |e: std::io::Error| Error::new(crate::Fault::System, "writing failed").source(e);
    to.write_all(&head).map_err(failed)?;
    to.write_all(&low_byte_first(bytes, dtype.size())).map_err(failed)
}

/// Writes one image as a file of its own, synced: the header, then values of `size` bytes in native byte order.
pub(super) fn write_file(path: &Path, head: &[u8], values: &[u8], size: usize) -> Result<()> {
    let mut f = std::fs::File::create(path).on(path, "creating")?;
    f.write_all(head).on(path, "writing")?;
    f.write_all(&low_byte_first(values, size)).on(path, "writing")?;
    f.sync_all().on(path, "syncing to disk")
}

/// Header keys for what is known about a volume. Characters a header cannot hold become blanks or `?`.
pub fn meta_keys(meta: &VolumeMeta) -> Vec<(String, String)> {
    let clean = |t: &str| -> String {
        let t = t.replace(['µ', 'μ'], "u").replace([';', '{', '}', '\n', '\r', '\0', '\t'], " ");
        t.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect::<String>().trim().to_owned()
    };
    let mut keys: Vec<(String, String)> = Vec::new();
    let mut add = |k: &str, v: String| keys.push((k.into(), v));
    if let Some([z, y, x]) = meta.voxel_um {
        add("VoxelSize_1", x.to_string());
        add("VoxelSize_2", y.to_string());
        add("VoxelSize_3", z.to_string());
        add("VoxelUnit", "um".into());
        // The SAXS keywords, in metres, for programs that know those.
        add("PSize_1", format!("{:e}", x * 1e-6));
        add("PSize_2", format!("{:e}", y * 1e-6));
    }
    if let Some(u) = meta.value_unit.as_deref().map(clean).filter(|u| !u.is_empty()) {
        add("ValueUnit", u);
    }
    if let Some(g) = &meta.grey {
        add("GreySlope", format!("{:e}", g.slope));
        add("GreyOffset", format!("{:e}", g.offset));
        add("GreyUnit", clean(&g.unit));
    }
    if let Some(d) = meta.description.as_deref().map(clean).filter(|d| !d.is_empty()) {
        add("Title", d);
    }
    keys
}

/// Starts writing a volume: a folder of slices, or with variant `multi` (the default for a name ending in `.edf`) one
/// file.
pub fn create(path: &Path, options: &CreateOptions) -> Result<Box<dyn SliceSink>> {
    if let Some(c) = options.compression.as_deref().filter(|c| *c != "none") {
        return Err(Error::caller(format!("EDF is written without compression, not with '{c}'")).path(path));
    }
    let shape = options.shape;
    shape.len()?;
    if shape.is_empty() {
        return Err(Error::caller("there is nothing to write").path(path).found(shape));
    }
    if type_name(options.dtype).is_none() {
        header(0, options.dtype, &[1, 1], &[], 0).map_err(|e| e.path(path))?;
    }
    let ext = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    if ext == "gz" || ext == "bz2" {
        return Err(Error::caller("compressed EDF is read, not written").path(path).hint("write .edf, then gzip it"));
    }
    let common = Common {
        options: options.clone(),
        keys: meta_keys(&options.meta),
        frame_bytes: shape.frame_len() * options.dtype.size(),
        next: 0,
    };
    match options.variant.as_deref() {
        Some("multi") => Ok(Box::new(Multi::start(path, common)?)),
        None if ext == "edf" => Ok(Box::new(Multi::start(path, common)?)),
        None | Some("series") => Ok(Box::new(Slices::start(path, common)?)),
        Some(v) => Err(Error::caller(format!("EDF has no variant '{v}'")).hint("known variants: series, multi")),
    }
}

/// What both writers keep.
struct Common {
    options: CreateOptions,
    keys: Vec<(String, String)>,
    frame_bytes: usize,
    next: usize,
}

impl Common {
    fn header(&self, number: usize, least: usize) -> Result<Vec<u8>> {
        let s = self.options.shape;
        header(number, self.options.dtype, &[s.rows, s.cols], &self.keys, least)
    }

    /// Checks that `slices` are whole and the next ones; answers how many.
    fn accept(&self, first: usize, slices: &[u8]) -> Result<usize> {
        let n = slices.len() / self.frame_bytes;
        if first != self.next || !slices.len().is_multiple_of(self.frame_bytes) || first + n > self.options.shape.frames
        {
            return Err(Error::caller("slices out of turn")
                .expected(format!("whole slices from {} of {}", self.next, self.options.shape.frames))
                .found(format!("{} bytes from slice {first}", slices.len())));
        }
        Ok(n)
    }

    fn complete(&self, path: &Path) -> Result<()> {
        if self.next == self.options.shape.frames {
            return Ok(());
        }
        Err(Error::caller("the volume is not complete")
            .path(path)
            .expected(format!("{} slices", self.options.shape.frames))
            .found(self.next))
    }
}

/// A folder of files, one per slice.
struct Slices {
    common: Common,
    dir: PartDir,
    stem: String,
    width: usize,
}

impl Slices {
    fn start(path: &Path, mut common: Common) -> Result<Slices> {
        let o = &common.options;
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let stem = super::folder::edf_stem(&name).unwrap_or(&name).to_owned();
        let dir =
            PartDir::create(path, o.overwrite, o.resume, [series_names(path), vec![format!("{stem}_#.edf")]].concat())?;
        // All numbers of a series are equally wide, so that they sort by name and fit PyHST2's fixed length.
        let width = (o.start_number + o.shape.frames - 1).to_string().len().max(4);
        if o.resume {
            let mut sink = Slices { common, dir, stem, width };
            while sink.common.next < sink.common.options.shape.frames && sink.is_stored(sink.common.next) {
                sink.common.next += 1;
            }
            return Ok(sink);
        }
        common.next = 0;
        Ok(Slices { common, dir, stem, width })
    }

    fn name(&self, slice: usize) -> PathBuf {
        let number = self.common.options.start_number + slice;
        self.dir.path().join(format!("{}_{number:0width$}.edf", self.stem, width = self.width))
    }

    /// True where an earlier run wrote this slice completely, with the same header.
    fn is_stored(&self, slice: usize) -> bool {
        let Ok(want) = self.common.header(0, 0) else {
            return false;
        };
        let path = self.name(slice);
        let whole = std::fs::metadata(&path).is_ok_and(|m| m.len() == (want.len() + self.common.frame_bytes) as u64);
        whole && crate::io::ReadAt::open(&path).and_then(|f| f.head(want.len())).is_ok_and(|h| h == want)
    }
}

impl SliceSink for Slices {
    fn stored(&self) -> usize {
        self.common.next
    }

    fn put(&mut self, first: usize, slices: &[u8]) -> Result<()> {
        self.common.accept(first, slices)?;
        let head = self.common.header(0, 0)?;
        for slice in slices.chunks_exact(self.common.frame_bytes) {
            let path = self.name(self.common.next);
            write_file(&path, &head, slice, self.common.options.dtype.size())?;
            self.common.next += 1;
        }
        Ok(())
    }

    fn keep_partial(&mut self) {
        self.dir.keep();
    }

    fn finish(self: Box<Self>, _: Option<&VolumeStats>) -> Result<Vec<PathBuf>> {
        self.common.complete(self.dir.target())?;
        Ok(vec![self.dir.commit()?])
    }
}

/// One file, a header per slice, all headers of one length.
struct Multi {
    common: Common,
    part: PartFile,
    head_len: usize,
}

impl Multi {
    fn start(path: &Path, mut common: Common) -> Result<Multi> {
        let o = &common.options;
        // The last image has the longest numbers: its header sets the length of all.
        let head_len = common.header(o.shape.frames - 1, 0)?.len();
        let part = if o.resume { PartFile::resume(path, o.overwrite)? } else { PartFile::create(path, o.overwrite)? };
        if o.resume {
            let stride = (head_len + common.frame_bytes) as u64;
            let whole = (part.len()? / stride).min(o.shape.frames as u64) as usize;
            let mut found = vec![0u8; head_len];
            while common.next < whole {
                let want = common.header(common.next, head_len)?;
                let at = common.next as u64 * stride;
                let n = crate::io::read_at(part.file()?, &mut found, at).on(part.part_path(), "reading")?;
                if n != head_len || found != want {
                    break;
                }
                common.next += 1;
            }
            part.set_len(common.next as u64 * stride)?;
        }
        Ok(Multi { common, part, head_len })
    }
}

impl SliceSink for Multi {
    fn stored(&self) -> usize {
        self.common.next
    }

    fn put(&mut self, first: usize, slices: &[u8]) -> Result<()> {
        self.common.accept(first, slices)?;
        let stride = (self.head_len + self.common.frame_bytes) as u64;
        for slice in slices.chunks_exact(self.common.frame_bytes) {
            let at = self.common.next as u64 * stride;
            self.part.write_at(&self.common.header(self.common.next, self.head_len)?, at)?;
            let values = low_byte_first(slice, self.common.options.dtype.size());
            self.part.write_at(&values, at + self.head_len as u64)?;
            self.common.next += 1;
        }
        Ok(())
    }

    fn keep_partial(&mut self) {
        self.part.keep();
    }

    fn finish(self: Box<Self>, _: Option<&VolumeStats>) -> Result<Vec<PathBuf>> {
        self.common.complete(self.part.target())?;
        Ok(vec![self.part.commit()?])
    }
}
