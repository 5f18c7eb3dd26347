//! Plain values in a file: the source behind every headerless or uncompressed layout (.vol, .raw, MetaImage, NRRD,
//! NPY, uncompressed EDF and TIFF, contiguous HDF5).
//!
//! Guarantees: all values lie inside the file (checked when opening), a box read touches only the bytes it needs plus
//! small gaps. Leaves to others: how shape, type and offset are known.
//!
//! Boxes are read by position even where the file is mapped: the kernel answers each page fault of a map with its whole
//! read-ahead (8 MiB on some machines), which made one row of each of 2500 slices take 30 s instead of 10 ms. The map
//! serves [`FrameSource::mapped`], where whole frames are wanted and read-ahead is right.

use crate::io::ReadAt;
use crate::mmap::Map;
use crate::source::{Access, FrameSource, Place as OnDisk};
use crate::{ByteOrder, DType, Error, Region, Result, Shape};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Where the frames start in the file.
#[derive(Debug, Clone)]
enum Place {
    /// One after the other from this offset.
    Contiguous(u64),
    /// Each at its own offset.
    PerFrame(Vec<u64>),
}

/// Gaps up to this many bytes are read over rather than skipped: a read call costs about as much as 16 KiB.
const SMALL_GAP: usize = 16 << 10;
/// Largest block fetched at once where gaps are read over.
const BLOCK: usize = 1 << 20;

/// A stack of plain values in one file.
#[derive(Debug, Clone)]
pub struct Flat {
    file: Arc<ReadAt>,
    map: Option<Arc<Map>>,
    shape: Shape,
    dtype: DType,
    order: ByteOrder,
    place: Place,
}

impl Flat {
    /// Frames one after the other, the first at byte `offset`. `no_mmap` forbids mapping.
    ///
    /// # Errors
    /// `File` with both numbers where the file is too short for `shape`; `Limit` for impossible shapes.
    pub fn open(path: &Path, shape: Shape, dtype: DType, order: ByteOrder, offset: u64, no_mmap: bool) -> Result<Flat> {
        Self::over(Arc::new(ReadAt::open(path)?), shape, dtype, order, offset, no_mmap)
    }

    /// As [`Flat::open`] on a file that is open already.
    pub fn over(
        file: Arc<ReadAt>,
        shape: Shape,
        dtype: DType,
        order: ByteOrder,
        offset: u64,
        no_mmap: bool,
    ) -> Result<Flat> {
        let bytes = shape
            .len()
            .and_then(|n| n.checked_mul(dtype.size() as u64).ok_or_else(|| Error::limit("beyond any real volume")));
        let bytes = bytes.map_err(|e| e.or_path(file.path()))?;
        match offset.checked_add(bytes) {
            Some(end) if end <= file.len() => {}
            _ => {
                let head = if offset > 0 { format!("{offset} + ") } else { String::new() };
                return Err(Error::file(file.path(), "the file is too short for its dimensions")
                    .expected(format!("{head}{bytes} bytes ({shape} × {})", dtype.name()))
                    .found(format!("{} bytes", file.len()))
                    .hint("the file is truncated or the dimensions or the type are wrong"));
            }
        }
        Ok(Self::build(file, shape, dtype, order, Place::Contiguous(offset), no_mmap))
    }

    /// One offset per frame; `rows × cols` of `dtype` lie at each.
    ///
    /// # Errors
    /// `File` naming the frame and offset where a frame would reach beyond the end of the file.
    pub fn per_frame(
        file: Arc<ReadAt>,
        [rows, cols]: [usize; 2],
        dtype: DType,
        order: ByteOrder,
        offsets: Vec<u64>,
        no_mmap: bool,
    ) -> Result<Flat> {
        let shape = Shape::new(offsets.len(), rows, cols);
        shape.len().map_err(|e| e.or_path(file.path()))?;
        let frame = (shape.frame_len() as u64)
            .checked_mul(dtype.size() as u64)
            .ok_or_else(|| Error::limit("beyond any real image").path(file.path()))?;
        for (i, &at) in offsets.iter().enumerate() {
            if at.checked_add(frame).is_none_or(|end| end > file.len()) {
                return Err(Error::file(file.path(), format!("frame {i} reaches beyond the end of the file"))
                    .at(at)
                    .expected(format!("{frame} bytes"))
                    .found(format!("{}", file.len().saturating_sub(at)))
                    .hint("the file is truncated: copy it again or ask for the original"));
            }
        }
        Ok(Self::build(file, shape, dtype, order, Place::PerFrame(offsets), no_mmap))
    }

    fn build(file: Arc<ReadAt>, shape: Shape, dtype: DType, order: ByteOrder, place: Place, no_mmap: bool) -> Flat {
        let map = if no_mmap { None } else { Map::open_local(&file).map(Arc::new) };
        Flat { file, map, shape, dtype, order, place }
    }

    /// Byte order in the file.
    pub fn byte_order(&self) -> ByteOrder {
        self.order
    }

    /// The file read.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// True where the file is mapped into memory.
    pub fn is_mapped(&self) -> bool {
        self.map.is_some()
    }

    fn frame_bytes(&self) -> u64 {
        self.shape.frame_len() as u64 * self.dtype.size() as u64
    }

    /// Byte offset of frame `f`, which must be inside the shape.
    fn frame_at(&self, f: usize) -> u64 {
        match &self.place {
            Place::Contiguous(start) => start + f as u64 * self.frame_bytes(),
            Place::PerFrame(offsets) => offsets[f],
        }
    }

    /// How many of the frames from `f` on lie one after the other, at most up to `end`.
    fn run(&self, f: usize, end: usize) -> usize {
        match &self.place {
            Place::Contiguous(_) => end - f,
            Place::PerFrame(o) => {
                1 + o[f..end].windows(2).take_while(|w| w[1] == w[0].wrapping_add(self.frame_bytes())).count()
            }
        }
    }

    /// Fills `out` with pieces of `piece` bytes that start `pitch` bytes apart.
    fn fetch_strided(&self, out: &mut [u8], at: u64, piece: usize, pitch: usize) -> Result<()> {
        if pitch - piece > SMALL_GAP {
            for (i, o) in out.chunks_exact_mut(piece).enumerate() {
                self.file.read_exact_at(o, at + i as u64 * pitch as u64)?;
            }
            return Ok(());
        }
        let per_block = (BLOCK / pitch).max(1);
        let mut block = Vec::new();
        for (b, out) in out.chunks_mut(per_block * piece).enumerate() {
            let n = out.len() / piece;
            block.resize((n - 1) * pitch + piece, 0);
            self.file.read_exact_at(&mut block, at + (b * per_block) as u64 * pitch as u64)?;
            for (i, o) in out.chunks_exact_mut(piece).enumerate() {
                o.copy_from_slice(&block[i * pitch..][..piece]);
            }
        }
        Ok(())
    }
}

impl FrameSource for Flat {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    /// Rows are fetched whole where the gaps of a column band would be read over; any row can be had alone.
    fn access(&self) -> Access {
        let row_bytes = self.shape.cols * self.dtype.size();
        let cols = if row_bytes <= SMALL_GAP { self.shape.cols.max(1) } else { 1 };
        Access { unit: Shape::new(1, 1, cols), ..Access::PLAIN }
    }

    fn read(&self, region: &Region, out: &mut [u8]) -> Result<()> {
        let size = self.dtype.size();
        region.check(self.shape, size, out.len())?;
        if out.is_empty() {
            return Ok(());
        }
        let row_bytes = self.shape.cols * size;
        let piece = region.cols.len() * size;
        let whole_rows = piece == row_bytes;
        let whole_frames = whole_rows && region.rows.len() == self.shape.rows;
        let skip = region.rows.start as u64 * row_bytes as u64 + (region.cols.start * size) as u64;
        let per_frame = piece * region.rows.len();
        let mut f = region.frames.start;
        let mut rest = &mut *out;
        while f < region.frames.end {
            let n = if whole_frames { self.run(f, region.frames.end) } else { 1 };
            let (now, later) = rest.split_at_mut(n * per_frame);
            let at = self.frame_at(f) + skip;
            if whole_rows || region.rows.len() == 1 {
                self.file.read_exact_at(now, at)?;
            } else {
                self.fetch_strided(now, at, piece, row_bytes)?;
            }
            rest = later;
            f += n;
        }
        self.order.to_native(out, size);
        Ok(())
    }

    fn place(&self, frame: usize) -> Option<OnDisk> {
        (frame < self.shape.frames)
            .then(|| OnDisk { file: self.file.path().to_owned(), offset: Some(self.frame_at(frame)) })
    }

    fn mapped(&self, frames: Range<usize>) -> Option<&[u8]> {
        if (self.order != ByteOrder::NATIVE && self.dtype.size() > 1)
            || frames.start >= frames.end
            || frames.end > self.shape.frames
            || self.run(frames.start, frames.end) < frames.len()
        {
            return None;
        }
        let at = usize::try_from(self.frame_at(frames.start)).ok()?;
        let len = frames.len().checked_mul(usize::try_from(self.frame_bytes()).ok()?)?;
        self.map.as_ref()?.bytes().get(at..)?.get(..len)
    }

    fn release(&self, frames: Range<usize>) {
        if let (Some(map), false) = (&self.map, frames.is_empty() || frames.end > self.shape.frames) {
            let end = self.frame_at(frames.end - 1) + self.frame_bytes();
            // A map in memory has addresses for all of it.
            map.release(self.frame_at(frames.start) as usize..end as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::copy_box;
    use proptest::prelude::*;

    fn other() -> ByteOrder {
        if ByteOrder::NATIVE == ByteOrder::Little { ByteOrder::Big } else { ByteOrder::Little }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        /// Any box, type size, offset, placement and byte order equals the box cut out of the whole in memory.
        #[test]
        fn boxes_equal_the_cut(
            dims in (1usize..5, 1usize..7, 1usize..9), d in 0usize..11, skip in 0u64..20, swap: bool, no_mmap: bool,
            scatter: bool, cut in proptest::array::uniform6(0.0f64..1.0),
        ) {
            let shape = Shape::new(dims.0, dims.1, dims.2);
            let dtype = DType::ALL[d];
            let order = if swap { other() } else { ByteOrder::NATIVE };
            let n = shape.len().unwrap() as usize * dtype.size();
            let values: Vec<u8> = (0..n).map(|i| (i * 7 + i / 251) as u8).collect();
            let mut stored = values.clone();
            order.to_native(&mut stored, dtype.size());
            let frame = n / shape.frames;
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x");
            let mut bytes = vec![9u8; skip as usize];
            let mut offsets = vec![0; shape.frames];
            // Scattered: frames stored last to first with a gap.
            let sequence: Vec<usize> = if scatter { (0..shape.frames).rev().collect() } else { (0..shape.frames).collect() };
            for f in sequence {
                offsets[f] = bytes.len() as u64;
                bytes.extend_from_slice(&stored[f * frame..][..frame]);
                bytes.extend(std::iter::repeat_n(3, if scatter { 5 } else { 0 }));
            }
            std::fs::write(&path, &bytes).unwrap();
            let file = Arc::new(ReadAt::open(&path).unwrap());
            let flat = if scatter {
                Flat::per_frame(file, [shape.rows, shape.cols], dtype, order, offsets, no_mmap).unwrap()
            } else {
                Flat::over(file, shape, dtype, order, skip, no_mmap).unwrap()
            };
            prop_assert_eq!(flat.is_mapped(), !no_mmap);
            let range = |a: f64, b: f64, n: usize| {
                let (a, b) = ((a * (n + 1) as f64) as usize, (b * (n + 1) as f64) as usize);
                a.min(b)..a.max(b)
            };
            let region = Region {
                frames: range(cut[0], cut[1], shape.frames), rows: range(cut[2], cut[3], shape.rows),
                cols: range(cut[4], cut[5], shape.cols),
            };
            let mut out = vec![0; region.values() * dtype.size()];
            flat.read(&region, &mut out).unwrap();
            let mut want = vec![0; out.len()];
            copy_box(&values, &shape.full(), &region, dtype.size(), &mut want);
            prop_assert_eq!(&out, &want);
            if let Some(m) = flat.mapped(region.frames.clone()) {
                prop_assert!(!no_mmap && (!swap || dtype.size() == 1));
                prop_assert_eq!(m, &values[region.frames.start * frame..region.frames.end * frame]);
            }
        }
    }

    #[test]
    fn bands_of_wide_rows_cross_blocks_without_a_map() {
        // 3000 rows of 1000 bytes: a column band needs several 1 MiB blocks.
        let shape = Shape::new(1, 3000, 1000);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let values: Vec<u8> = (0..3_000_000usize).map(|i| (i / 1000 + i % 1000) as u8).collect();
        std::fs::write(&path, &values).unwrap();
        let flat = Flat::open(&path, shape, DType::U8, ByteOrder::Little, 0, true).unwrap();
        let region = Region { frames: 0..1, rows: 3..2999, cols: 100..107 };
        let (mut out, mut want) = (vec![0; region.values()], vec![0; region.values()]);
        flat.read(&region, &mut out).unwrap();
        copy_box(&values, &shape.full(), &region, 1, &mut want);
        assert_eq!(out, want);
    }

    #[test]
    fn the_cost_of_a_column_is_the_whole_row_where_gaps_are_read_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, vec![0u8; 2 * 3 * 40_000]).unwrap();
        for (cols, factor) in [(1000, 1000.0), (40_000, 1.0)] {
            let shape = Shape::new(2, 3, cols);
            let flat = Flat::open(&path, shape, DType::U8, ByteOrder::Little, 0, true).unwrap();
            let cost = |r: &Region| flat.access().amplification(shape, r);
            assert_eq!(cost(&Region { cols: 5..6, ..shape.full() }), factor);
            assert_eq!(cost(&Region { rows: 1..2, ..shape.full() }), 1.0);
            assert_eq!(cost(&shape.full()), 1.0);
        }
    }

    #[test]
    fn a_short_file_says_both_numbers_and_hostile_sizes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, [0u8; 95]).unwrap();
        let open = |s, skip| Flat::open(&path, s, DType::F32, ByteOrder::Little, skip, false);
        let e = open(Shape::new(2, 3, 4), 0).unwrap_err().to_string();
        assert!(e.contains("96 bytes") && e.contains("95 bytes"), "{e}");
        assert!(open(Shape::new(1, 3, 4), 48).is_err());
        assert!(open(Shape::new(1, 3, 4), 47).is_ok());
        assert!(open(Shape::new(1, 1, 1), u64::MAX).is_err());
        assert!(open(Shape::new(usize::MAX, usize::MAX, 7), 0).is_err());
        assert!(open(Shape::new(usize::MAX, 1, 1), 0).is_err());
        let file = || Arc::new(ReadAt::open(&path).unwrap());
        let at = |o| Flat::per_frame(file(), [2, 2], DType::F32, ByteOrder::Big, o, false);
        assert!(at(vec![0, 79]).is_ok());
        let e = at(vec![0, 80]).unwrap_err().to_string();
        assert!(e.contains("frame 1") && e.contains("at byte 80"), "{e}");
        assert!(at(vec![u64::MAX]).is_err());
    }

    #[test]
    fn a_box_of_a_sparse_40_gb_file_takes_milliseconds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let shape = Shape::new(2500, 2000, 2000);
        let f = std::fs::File::create(&path).unwrap();
        if f.set_len(40_000_000_000).is_err() {
            eprintln!("skipped: no sparse files here");
            return;
        }
        let at = 4 * (1999 + 2000 * (1000 + 2000 * 2400u64));
        crate::io::write_all_at(&f, &1.5f32.to_le_bytes(), at).unwrap();
        for no_mmap in [false, true] {
            let t = std::time::Instant::now();
            let flat = Flat::open(&path, shape, DType::F32, ByteOrder::Little, 0, no_mmap).unwrap();
            let region = Region { frames: 2399..2401, rows: 999..1002, cols: 1990..2000 };
            let mut out = vec![0.0f32; region.values()];
            flat.read(&region, bytemuck::cast_slice_mut(&mut out)).unwrap();
            assert_eq!(out.iter().filter(|v| **v == 1.5).count(), 1);
            assert_eq!(out[30 + 10 + 9], 1.5);
            // Reslice: one row of every frame.
            let mut out = vec![0.0f32; 2500 * 2000];
            flat.read_rows(0..2500, 1000..1001, bytemuck::cast_slice_mut(&mut out)).unwrap();
            assert_eq!(out[2400 * 2000 + 1999], 1.5);
            assert!(t.elapsed().as_secs_f64() < 5.0, "took {:?}", t.elapsed());
        }
    }
}
