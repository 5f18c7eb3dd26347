//! The volume writer: a folder of grey PNG slices, 8 or 16 bits, values unchanged. Slices of one call are compressed
//! in parallel.

use super::encode::{Pixels, encode};
use crate::durable::{PartDir, series_names};
use crate::error::OnPath;
use crate::model::VolumeStats;
use crate::{CreateOptions, DType, Error, Result, SliceSink};
use rayon::prelude::*;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Last bytes of every whole PNG file: the empty IEND chunk.
const IEND: [u8; 12] = [0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82];

/// Starts a folder of slices, or one file where there is one slice and the name ends in `.png`.
///
/// # Errors
/// `Caller` for types other than uint8 and uint16: values are never scaled without a window being named.
pub fn create(path: &Path, o: &CreateOptions) -> Result<Box<dyn SliceSink>> {
    if !matches!(o.dtype, DType::U8 | DType::U16) {
        return Err(Error::caller(format!("PNG holds 8 and 16 bits of grey, not {}", o.dtype.name()))
            .path(path)
            .expected("uint8 or uint16")
            .hint(
                "scale the volume to 8 or 16 bits with a window first (recad), or write .tif, which keeps the values",
            ));
    }
    if let Some(v) = o.variant.as_deref().filter(|v| *v != "series") {
        return Err(Error::caller(format!("PNG has no variant '{v}'")).hint("known variant: series"));
    }
    if let Some(c) = o.compression.as_deref().filter(|c| !matches!(*c, "deflate" | "none")) {
        return Err(Error::caller(format!("PNG is always written with deflate, not with '{c}'")).path(path));
    }
    o.shape.len()?;
    if o.shape.is_empty() {
        return Err(Error::caller("there is nothing to write").path(path).found(o.shape));
    }
    let named_png = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("png"));
    if named_png && o.shape.frames == 1 {
        crate::durable::refuse_existing(path, o.overwrite)?;
        return Ok(Box::new(One { target: path.to_owned(), options: o.clone(), slice: None }));
    }
    if named_png {
        return Err(Error::caller(format!("{} slices do not fit into one PNG file", o.shape.frames))
            .path(path)
            .hint("name a folder (without .png) and the format (png), or choose one slice"));
    }
    let dir = PartDir::create(path, o.overwrite, o.resume, series_names(path))?;
    let stem = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let width = (o.start_number + o.shape.frames - 1).to_string().len().max(4);
    let mut sink = Series { options: o.clone(), dir, stem, width, next: 0 };
    while o.resume && sink.next < o.shape.frames && sink.is_stored(sink.next) {
        sink.next += 1;
    }
    Ok(Box::new(sink))
}

/// One slice as a picture in memory.
fn encoded(o: &CreateOptions, slice: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(slice.len() / 2 + 1024);
    let pixel = o.meta.voxel_um.map(|v| [v[1], v[2]]);
    let (rows, cols) = (o.shape.rows, o.shape.cols);
    if o.dtype == DType::U8 {
        encode(&mut out, rows, cols, Pixels::Gray8(slice), pixel)?;
    } else {
        let values: Vec<u16> = slice.as_chunks::<2>().0.iter().map(|b| u16::from_ne_bytes(*b)).collect();
        encode(&mut out, rows, cols, Pixels::Gray16(&values), pixel)?;
    }
    Ok(out)
}

struct Series {
    options: CreateOptions,
    dir: PartDir,
    stem: String,
    width: usize,
    next: usize,
}

impl Series {
    fn name(&self, slice: usize) -> PathBuf {
        let number = self.options.start_number + slice;
        self.dir.path().join(format!("{}_{number:0width$}.png", self.stem, width = self.width))
    }

    /// True where an earlier run wrote this slice: right size and depth in the head, IEND as the last bytes.
    fn is_stored(&self, slice: usize) -> bool {
        let s = self.options.shape;
        let mut want = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        want.extend_from_slice(&(s.cols as u32).to_be_bytes());
        want.extend_from_slice(&(s.rows as u32).to_be_bytes());
        want.extend_from_slice(&[8 * self.options.dtype.size() as u8, 0]);
        let check = || -> Result<bool> {
            let f = crate::io::ReadAt::open(self.name(slice))?;
            let mut tail = [0u8; 12];
            f.read_exact_at(&mut tail, f.len().saturating_sub(12))?;
            Ok(tail == IEND && f.head(want.len())? == want)
        };
        check().unwrap_or(false)
    }
}

impl SliceSink for Series {
    fn stored(&self) -> usize {
        self.next
    }

    fn put(&mut self, first: usize, slices: &[u8]) -> Result<()> {
        let o = &self.options;
        let per = o.shape.frame_len() * o.dtype.size();
        let n = slices.len() / per;
        if first != self.next || !slices.len().is_multiple_of(per) || first + n > o.shape.frames {
            return Err(Error::caller("slices out of turn")
                .expected(format!("whole slices from {} of {}", self.next, o.shape.frames))
                .found(format!("{} bytes from slice {first}", slices.len())));
        }
        slices.par_chunks_exact(per).enumerate().try_for_each(|(i, slice)| -> Result<()> {
            let path = self.name(first + i);
            let bytes = encoded(o, slice).map_err(|e| e.or_path(&path))?;
            let mut f = std::fs::File::create(&path).on(&path, "creating")?;
            f.write_all(&bytes).on(&path, "writing")?;
            f.sync_all().on(&path, "syncing to disk")
        })?;
        self.next += n;
        Ok(())
    }

    fn keep_partial(&mut self) {
        self.dir.keep();
    }

    fn finish(self: Box<Self>, _: Option<&VolumeStats>) -> Result<Vec<PathBuf>> {
        if self.next != self.options.shape.frames {
            return Err(Error::caller("the volume is not complete")
                .path(self.dir.target())
                .expected(format!("{} slices", self.options.shape.frames))
                .found(self.next));
        }
        Ok(vec![self.dir.commit()?])
    }
}

/// A single slice as a file.
struct One {
    target: PathBuf,
    options: CreateOptions,
    slice: Option<Vec<u8>>,
}

impl SliceSink for One {
    fn put(&mut self, first: usize, slices: &[u8]) -> Result<()> {
        if first != 0
            || self.slice.is_some()
            || slices.len() != self.options.shape.frame_len() * self.options.dtype.size()
        {
            return Err(Error::caller("slices out of turn").path(&self.target));
        }
        self.slice = Some(encoded(&self.options, slices).map_err(|e| e.or_path(&self.target))?);
        Ok(())
    }

    fn finish(self: Box<Self>, _: Option<&VolumeStats>) -> Result<Vec<PathBuf>> {
        let Some(bytes) = &self.slice else {
            return Err(Error::caller("the volume is not complete").path(&self.target));
        };
        Ok(vec![crate::durable::write_small(&self.target, bytes, self.options.overwrite)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shape;

    fn decode(path: &Path) -> (u32, u32, png::BitDepth, Vec<u8>, Option<png::PixelDimensions>) {
        let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
        let mut r = png::Decoder::new(file).read_info().unwrap();
        let mut out = vec![0; r.output_buffer_size().unwrap()];
        let info = r.next_frame(&mut out).unwrap();
        (info.width, info.height, info.bit_depth, out, r.info().pixel_dims)
    }

    #[test]
    fn slices_decode_to_their_values() {
        let dir = tempfile::tempdir().unwrap();
        for dtype in [DType::U8, DType::U16] {
            let path = dir.path().join(dtype.name());
            let mut o = CreateOptions::new(Shape::new(5, 3, 7), dtype);
            o.meta.voxel_um = Some([0.65; 3]);
            o.start_number = 7;
            let per = 21 * dtype.size();
            let data: Vec<u8> = (0..5 * per).map(|i| (i * 37 + 5) as u8).collect();
            let mut s = create(&path, &o).unwrap();
            s.put(0, &data[..2 * per]).unwrap();
            s.keep_partial();
            drop(s);
            let part = crate::io::with_suffix(&path, ".part");
            let torn = part.join(format!("{}_0008.png", dtype.name()));
            let f = std::fs::OpenOptions::new().write(true).open(&torn).unwrap();
            f.set_len(f.metadata().unwrap().len() - 1).unwrap();
            o.resume = true;
            let mut s = create(&path, &o).unwrap();
            assert_eq!(s.stored(), 1);
            assert!(s.put(2, &data[..per]).is_err());
            s.put(1, &data[per..]).unwrap();
            s.finish(None).unwrap();
            for i in 0..5 {
                let (w, h, depth, got, dims) = decode(&path.join(format!("{}_{:04}.png", dtype.name(), i + 7)));
                let mut want = data[i * per..(i + 1) * per].to_vec();
                crate::ByteOrder::Big.to_native(&mut want, dtype.size());
                assert_eq!((w, h, depth as usize, got), (7, 3, 8 * dtype.size(), want));
                assert_eq!(dims.unwrap().xppu, 1_538_462);
            }
            assert!(create(&path, &o).is_err(), "an existing output is refused");
        }
    }

    #[test]
    fn refusals_name_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        for dtype in DType::ALL.into_iter().filter(|d| !matches!(d, DType::U8 | DType::U16)) {
            let e = create(&dir.path().join("x"), &CreateOptions::new(Shape::new(1, 2, 2), dtype)).err().unwrap();
            assert!(e.advice().is_some() && e.to_string().contains(dtype.name()), "{e}");
        }
        let o = CreateOptions::new(Shape::new(3, 2, 2), DType::U8);
        assert!(create(&dir.path().join("x.png"), &o).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let one = CreateOptions::new(Shape::new(1, 2, 2), DType::U8);
        let mut s = create(&dir.path().join("x.png"), &one).unwrap();
        s.put(0, &[1, 2, 3, 4]).unwrap();
        let files = s.finish(None).unwrap();
        assert_eq!(decode(&files[0]).3, [1, 2, 3, 4]);
    }
}
