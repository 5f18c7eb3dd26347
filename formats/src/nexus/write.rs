//! Writing a volume as NeXus: `/entry/data` (NXdata) with the voxels in `/entry/data/data`, z × y × x, native byte order.
//!
//! Uncompressed volumes are contiguous, and any program can map them. With `deflate` the data are cut into chunks of whole
//! rows of one slice, at most about 4 MiB. Voxel size, unit, grey scale and statistics are stored with their units; the
//! layout is the oldest that can hold it all. Leaves to `h5out` and `stack_out`: the file and the voxels' way into it.

use super::h5out::{H5Out, Stack};
use crate::model::VolumeStats;
use crate::scan_out::Storage;
use crate::sink::{CreateOptions, SliceSink};
use crate::{Error, Result, VolumeMeta};
use std::path::{Path, PathBuf};

/// Level of zlib compression: beyond it time grows and files hardly shrink.
const LEVEL: u8 = 4;
/// Wanted size of a chunk, bytes.
const CHUNK: usize = 4 << 20;
/// The group of the voxels.
const GROUP: &str = "/entry/data";
/// Where the voxels are.
const DATA: &str = "/entry/data/data";

struct Sink {
    out: H5Out, // before its stack, see there
    stack: Stack,
    target: PathBuf,
    frames: usize,
    frame_bytes: usize,
    next: usize,
}

/// Starts a volume.
///
/// # Errors
/// `Caller` for an empty volume, an unknown compression, an output that exists.
pub(super) fn create(path: &Path, o: &CreateOptions) -> Result<Box<dyn SliceSink>> {
    let shape = o.shape;
    if shape.is_empty() {
        return Err(Error::caller(format!("an empty volume ({shape}) cannot be written")).path(path));
    }
    shape.len().map_err(|e| e.or_path(path))?;
    let row_bytes = shape.cols * o.dtype.size();
    let storage = match o.compression.as_deref() {
        None | Some("none") => Storage::default(),
        Some("deflate" | "gzip") => {
            let rows = (CHUNK / row_bytes).clamp(1, shape.rows);
            Storage { chunk: Some([1, rows, shape.cols]), deflate: Some(LEVEL) }
        }
        Some(c) => {
            return Err(Error::caller(format!("compression '{c}' is not written to HDF5"))
                .path(path)
                .hint("choose none or deflate"));
        }
    };
    let out = H5Out::create(path, o.overwrite)?;
    describe(&out, o)?;
    let stack = out.stack(DATA, shape, o.dtype, storage)?;
    let frame_bytes = shape.rows * row_bytes;
    let sink = Sink { out, stack, target: path.to_owned(), frames: shape.frames, frame_bytes, next: 0 };
    describe_data(&sink.out, &o.meta)?;
    Ok(Box::new(sink))
}

/// Groups and everything small.
fn describe(out: &H5Out, o: &CreateOptions) -> Result<()> {
    out.attr_text("/", "NX_class", "NXroot")?;
    out.attr_text("/", "default", "entry")?;
    out.attr_text("/", "creator", "tomokit")?;
    out.attr_text("/", "creator_version", env!("CARGO_PKG_VERSION"))?;
    out.class("/entry", "NXentry")?;
    out.attr_text("/entry", "default", "data")?;
    if let Some(d) = &o.meta.description {
        out.text("/entry/title", d)?;
    }
    out.class(GROUP, "NXdata")?;
    out.attr_text(GROUP, "signal", "data")?;
    if let Some(voxel) = o.meta.voxel_um {
        out.attr_texts(GROUP, "axes", &["z", "y", "x"])?;
        let counts = [o.shape.frames, o.shape.rows, o.shape.cols];
        for (i, name) in ["z", "y", "x"].into_iter().enumerate() {
            out.attr_number(GROUP, &format!("{name}_indices"), i as i64)?;
            let centres: Vec<f64> = (0..counts[i]).map(|k| k as f64 * voxel[i]).collect();
            out.numbers(&format!("{GROUP}/{name}"), &centres, Some("um"))?;
        }
    }
    if let Some(g) = &o.meta.grey {
        out.number(&format!("{GROUP}/data_scaling_factor"), g.slope, None)?;
        out.number(&format!("{GROUP}/data_offset"), g.offset, None)?;
    }
    Ok(())
}

/// Attributes of the voxels' dataset.
fn describe_data(out: &H5Out, meta: &VolumeMeta) -> Result<()> {
    let grey_unit = meta.grey.as_ref().map(|g| &g.unit).filter(|u| !u.is_empty());
    if let Some(u) = meta.value_unit.as_ref().or(grey_unit) {
        out.attr_text(DATA, "units", u)?;
    }
    if let Some(v) = meta.voxel_um {
        // What Fiji's and ilastik's HDF5 readers look for.
        out.attr_numbers(DATA, "element_size_um", &v)?;
    }
    if let Some(o) = meta.origin_1based {
        out.attr_numbers(DATA, "origin_1based_xyz", &o.map(|n| n as f64))?;
    }
    Ok(())
}

impl SliceSink for Sink {
    fn put(&mut self, first: usize, slices: &[u8]) -> Result<()> {
        let n = slices.len() / self.frame_bytes;
        if first != self.next || n * self.frame_bytes != slices.len() || first + n > self.frames {
            return Err(Error::caller("slices out of order or beyond the volume")
                .path(&self.target)
                .expected(format!("whole slices from {}", self.next))
                .found(format!("{} bytes from {first}", slices.len())));
        }
        self.stack.put(first, slices)?;
        self.next += n;
        Ok(())
    }

    fn keep_partial(&mut self) {
        // An HDF5 file in the making cannot be told from a damaged one: nothing to resume, the part is removed.
    }

    fn finish(self: Box<Self>, stats: Option<&VolumeStats>) -> Result<Vec<PathBuf>> {
        let sink = *self;
        if sink.next != sink.frames {
            return Err(Error::caller("the volume is not complete")
                .path(&sink.target)
                .expected(format!("{} slices", sink.frames))
                .found(sink.next));
        }
        if let Some(s) = stats {
            for (name, v) in [("minimum", s.min), ("maximum", s.max)] {
                sink.out.attr_number(DATA, name, v)?;
            }
            sink.out.attr_numbers(DATA, "saturation_0.001_percent", &[s.s1, s.s2])?;
            sink.out.attr_numbers(DATA, "saturation_0.2_percent", &[s.big_s1, s.big_s2])?;
        }
        Ok(vec![sink.out.commit_with(sink.stack)?])
    }
}
