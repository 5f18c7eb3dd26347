//! A stack made of single-frame files: EDF, TIFF or raw slices in a folder, projections named by a `.par`.
//!
//! Guarantees: every file exists when the series is opened; every file has the size and type of the first, checked
//! when it is first read; a missing or odd file is an error with its name, never a frame of zeros. Leaves to others:
//! which files belong together and in which order (the formats), and how one file is read (the opener).

use crate::source::{Access, FrameSource, Place};
use crate::{DType, Error, Region, Result, Shape};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Opens one file of a series.
pub type FrameOpener = Box<dyn Fn(&Path) -> Result<Arc<dyn FrameSource>> + Send + Sync>;

/// Files kept open per series: enough to spare most reopening, few enough for the usual limit of 1024 handles.
const KEEP_OPEN: usize = 200;

/// A stack of single-frame files, opened as they are needed.
pub struct Series {
    paths: Vec<PathBuf>,
    opener: FrameOpener,
    /// The file that says how all of them are.
    model: usize,
    shape: Shape,
    dtype: DType,
    access: Access,
    /// The first files stay open, the others are opened for each read.
    kept: Vec<OnceLock<Arc<dyn FrameSource>>>,
}

impl std::fmt::Debug for Series {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Series({} of {}, first {:?})", self.shape, self.dtype.name(), self.paths.first())
    }
}

impl Series {
    /// Opens the first file and checks that all others are there.
    ///
    /// # Errors
    /// `Caller` for an empty list; `File` naming the first missing file and how many are missing; whatever the opener
    /// says about the first file, and `Unsupported` where it holds more than one frame.
    pub fn open(paths: Vec<PathBuf>, opener: FrameOpener) -> Result<Series> {
        Series::open_like(0, paths, opener)
    }

    /// The same, with a file in the first one's place: others may be damaged or unlike it, which reading them tells.
    pub fn open_like(model: usize, paths: Vec<PathBuf>, opener: FrameOpener) -> Result<Series> {
        let Some(first) = paths.get(model) else {
            return Err(Error::caller("a series of no files"));
        };
        let missing: Vec<&PathBuf> = paths.iter().filter(|p| !p.is_file()).collect();
        if let Some(name) = missing.first() {
            return Err(Error::file(name, "a file of the series is missing")
                .expected(format!("{} files", paths.len()))
                .found(format!("{}", paths.len() - missing.len()))
                .hint("copy the missing files, or give a range without them"));
        }
        let source = opener(first).map_err(|e| e.or_path(first))?;
        let one = source.shape();
        if one.frames != 1 {
            return Err(Error::unsupported(first, "a file of a series must hold one frame")
                .expected("1 frame")
                .found(format!("{} frames", one.frames))
                .hint("open the file itself"));
        }
        let shape = Shape { frames: paths.len(), ..one };
        shape.len().map_err(|e| e.or_path(first))?;
        let kept: Vec<OnceLock<_>> = (0..paths.len().min(KEEP_OPEN)).map(|_| OnceLock::new()).collect();
        let (dtype, access) = (source.dtype(), source.access());
        if let Some(k) = kept.get(model) {
            let _ = k.set(source);
        }
        Ok(Series { paths, opener, model, shape, dtype, access, kept })
    }

    /// The files, in order.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The file that the others must be like: the first one, where nothing else was said.
    pub fn model(&self) -> &Path {
        &self.paths[self.model]
    }

    /// Opens every file once and compares it with the first: slow on long series, for checks before long runs.
    pub fn check_all(&self) -> Result<()> {
        (0..self.paths.len()).try_for_each(|i| self.frame(i).map(drop))
    }

    fn frame(&self, i: usize) -> Result<Arc<dyn FrameSource>> {
        if let Some(s) = self.kept.get(i).and_then(|k| k.get()) {
            return Ok(s.clone());
        }
        let path = &self.paths[i];
        let source = (self.opener)(path).map_err(|e| e.or_path(path))?;
        let want = Shape { frames: 1, ..self.shape };
        if source.shape() != want || source.dtype() != self.dtype {
            let which = if self.model == 0 { "the first" } else { "others" };
            return Err(Error::file(path, format!("this file differs from {which} of the series"))
                .expected(format!("{want} {}", self.dtype.name()))
                .found(format!("{} {}", source.shape(), source.dtype().name()))
                .hint(format!("compared with {}", self.paths[self.model].display())));
        }
        if let Some(k) = self.kept.get(i) {
            let _ = k.set(source.clone());
        }
        Ok(source)
    }
}

impl FrameSource for Series {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn access(&self) -> Access {
        Access { parallel: true, ..self.access }
    }

    /// The file; the offset of its values where the file has been opened and knows it.
    fn place(&self, frame: usize) -> Option<Place> {
        let file = self.paths.get(frame)?.clone();
        let offset = self.kept.get(frame).and_then(|k| k.get()).and_then(|s| s.place(0)?.offset);
        Some(Place { file, offset })
    }

    /// The files themselves, and what they name where the first one names others (values of EDF beside its header).
    fn files(&self) -> Vec<PathBuf> {
        if !self.frame(0).is_ok_and(|s| s.files().len() > 1) {
            return self.paths.clone();
        }
        let of = |(i, path): (usize, &PathBuf)| self.frame(i).map_or_else(|_| vec![path.clone()], |s| s.files());
        self.paths.iter().enumerate().flat_map(of).collect()
    }

    fn read(&self, region: &Region, out: &mut [u8]) -> Result<()> {
        region.check(self.shape, self.dtype.size(), out.len())?;
        let per_frame = region.rows.len() * region.cols.len() * self.dtype.size();
        if per_frame == 0 {
            return Ok(());
        }
        for (i, out) in region.frames.clone().zip(out.chunks_exact_mut(per_frame)) {
            let one = Region { frames: 0..1, rows: region.rows.clone(), cols: region.cols.clone() };
            self.frame(i)?.read(&one, out).map_err(|e| e.or_path(&self.paths[i]))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ByteOrder;
    use crate::raw::flat::Flat;

    fn opener(shape: Shape) -> FrameOpener {
        // Height follows from the length, as a header would tell.
        Box::new(move |p| {
            let rows = std::fs::metadata(p).unwrap().len() as usize / shape.cols;
            Ok(Arc::new(Flat::open(p, Shape::new(1, rows, shape.cols), DType::U8, ByteOrder::Little, 0, true)?))
        })
    }

    #[test]
    fn reads_boxes_across_files_and_names_the_odd_one() {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..300).map(|i| dir.path().join(format!("s{i:04}"))).collect();
        for (i, p) in paths.iter().enumerate() {
            std::fs::write(p, [i as u8; 12]).unwrap();
        }
        std::fs::write(&paths[299], [1u8; 16]).unwrap();
        let s = Series::open(paths.clone(), opener(Shape::new(1, 3, 4))).unwrap();
        assert_eq!(s.shape(), Shape::new(300, 3, 4));
        for _ in 0..2 {
            let mut out = vec![0u8; 298 * 2];
            s.read(&Region { frames: 1..299, rows: 1..2, cols: 2..4 }, &mut out).unwrap();
            assert!(out.chunks(2).enumerate().all(|(i, c)| c == [(i + 1) as u8; 2]));
        }
        let mut out = [0u8; 12];
        let e = s.read(&Region::of_frames(s.shape(), 299..300), &mut out).unwrap_err().to_string();
        assert!(e.contains("s0299") && e.contains("1 × 4 × 4"), "{e}");
        assert!(s.check_all().is_err());

        drop(s); // Windows removes open files later
        std::fs::remove_file(&paths[7]).unwrap();
        let e = Series::open(paths, opener(Shape::new(1, 3, 4))).unwrap_err().to_string();
        assert!(e.contains("s0007") && e.contains("299"), "{e}");
        assert!(Series::open(Vec::new(), opener(Shape::new(1, 3, 4))).is_err());
    }
}
