//! One stack out of the frames of one EDF file. The first frame sets shape and type; frames that differ stay in the
//! count, are reported on opening and refused when read.

use super::read::File;
use crate::source::Access;
use crate::{About, DType, Error, FrameSource, Region, Result, Shape, Warnings};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The images of a file, 2-D frames and slices of 3-D blocks alike, one after the other.
pub struct Stack {
    file: Arc<File>,
    shape: Shape,
    dtype: DType,
    /// Number of the first image of each frame.
    starts: Vec<usize>,
}

impl Stack {
    /// Builds the stack; oddities go to `warnings`.
    ///
    /// # Errors
    /// Where not a single image is whole.
    pub fn new(file: Arc<File>, warnings: &mut Warnings) -> Result<Stack> {
        let frames = file.frames();
        let Some(first) = frames.first() else {
            return Err(Error::file(file.path(), "there is no image in this file"));
        };
        let (rows, cols) = first.image();
        let dtype = first.dtype;
        if !frames.iter().any(|f| f.is_whole() || f.available >= f.slice_bytes().max(1)) {
            // Nothing can be read: say why now, with the error reading would give.
            file.read_frame(0)?;
        }
        let mut starts = Vec::with_capacity(frames.len());
        let mut total = 0usize;
        let mut odd = Vec::new();
        for (i, f) in frames.iter().enumerate() {
            starts.push(total);
            let fits = f.image() == (rows, cols) && f.dtype == dtype;
            if !fits {
                odd.push(i);
            }
            // A frame that does not fit counts once, whatever dimensions it claims.
            total = total.saturating_add(if fits { f.slices() } else { 1 });
        }
        if total > 100_000_000 {
            return Err(Error::limit(format!("{total} images in one stack")).path(file.path()));
        }
        if let Some(&i) = odd.first() {
            let f = &frames[i];
            warnings.add(About::Damaged, format!(
                "{} of {} frames differ from the first ({rows} × {cols} {}) and cannot be read with it; frame {i} is {} × {} {}",
                odd.len(), frames.len(), dtype.name(), f.image().0, f.image().1, f.dtype.name()
            ));
        }
        let shape = Shape::new(total, rows, cols);
        shape.len()?;
        Ok(Stack { file, shape, dtype, starts })
    }

    /// The file behind it.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }
}

impl FrameSource for Stack {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn access(&self) -> Access {
        Access::PLAIN // compressed files are unpacked once, on opening
    }

    fn files(&self) -> Vec<PathBuf> {
        self.file.files().map(Path::to_owned).collect()
    }

    fn read(&self, region: &Region, out: &mut [u8]) -> Result<()> {
        region.check(self.shape, self.dtype.size(), out.len())?;
        let per = region.rows.len() * region.cols.len() * self.dtype.size();
        for (k, image) in region.frames.clone().enumerate() {
            let i = self.starts.partition_point(|s| *s <= image) - 1;
            let f = &self.file.frames()[i];
            if f.is_whole() && (f.image() != (self.shape.rows, self.shape.cols) || f.dtype != self.dtype) {
                return Err(Error::file(self.file.path(), format!("frame {i} differs from the first"))
                    .at(f.header_at)
                    .expected(format!("{} × {} {}", self.shape.rows, self.shape.cols, self.dtype.name()))
                    .found(format!("{} × {} {}", f.image().0, f.image().1, f.dtype.name())));
            }
            let part = &mut out[k * per..(k + 1) * per];
            self.file.read_box(i, image - self.starts[i], region.rows.clone(), region.cols.clone(), part)?;
        }
        Ok(())
    }
}
