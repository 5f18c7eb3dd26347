//! Lazy views of a stack: crop, reslice along another axis, pick slices, bin, change the type without loss. Each is a
//! [`FrameSource`] over another, so a conversion is one copy from a view to a sink, whatever was asked.
//!
//! Order: region of interest (in the coordinates of the input), then the axis, then slices along that axis, then
//! physical values, then binning, then type.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;
use tomokit_formats::model::{GreyScale, Voxel, each};
use tomokit_formats::source::Frames;
use tomokit_formats::{Access, DType, Error, FrameSource, Region, Result, Shape, with_dtype};

/// Direction in which slices are cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Axis {
    /// As stored: slices of rows × cols.
    #[default]
    Z,
    /// One slice per row: rows of the output are z, columns x.
    Y,
    /// One slice per column: rows of the output are z, columns y.
    X,
}

/// `start:end:step` over slices; open ends mean all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SliceRange {
    /// First slice.
    pub start: Option<usize>,
    /// End, exclusive.
    pub end: Option<usize>,
    /// Every n-th, at least 1.
    pub step: Option<usize>,
}

impl SliceRange {
    /// Reads `5`, `10:20`, `:100`, `0:2000:10`.
    pub fn parse(text: &str) -> std::result::Result<SliceRange, String> {
        let number = |s: &str| -> std::result::Result<Option<usize>, String> {
            match s.trim() {
                "" => Ok(None),
                t => t.parse().map(Some).map_err(|_| format!("'{t}' is no slice number")),
            }
        };
        let parts: Vec<&str> = text.split(':').collect();
        let r = match parts.as_slice() {
            [one] => {
                let n = number(one)?.ok_or("name a slice or a range start:end:step")?;
                SliceRange { start: Some(n), end: n.checked_add(1), step: None }
            }
            [a, b] => SliceRange { start: number(a)?, end: number(b)?, step: None },
            [a, b, s] => SliceRange { start: number(a)?, end: number(b)?, step: number(s)? },
            _ => return Err("write start:end or start:end:step".into()),
        };
        if r.step == Some(0) {
            return Err("the step must be at least 1".into());
        }
        Ok(r)
    }

    /// The slice numbers out of `n`.
    pub fn pick(&self, n: usize) -> Result<Vec<usize>> {
        let (start, end) = (self.start.unwrap_or(0), self.end.unwrap_or(n));
        if start >= end || end > n {
            return Err(Error::caller("the slice range lies outside the stack")
                .expected(format!("within 0:{n}"))
                .found(format!("{start}:{end}")));
        }
        Ok((start..end).step_by(self.step.unwrap_or(1)).collect())
    }
}

/// A box in the input's coordinates, `x0:x1,y0:y1[,z0:z1]`, open ends allowed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Roi {
    /// Columns, rows, slices.
    pub xyz: [SliceRange; 3],
}

impl Roi {
    /// Reads `100:200,50:150` or with a third range for z.
    pub fn parse(text: &str) -> std::result::Result<Roi, String> {
        let mut roi = Roi::default();
        let parts: Vec<&str> = text.split(',').collect();
        if parts.len() < 2 || parts.len() > 3 {
            return Err("write x0:x1,y0:y1 or x0:x1,y0:y1,z0:z1".into());
        }
        for (slot, part) in roi.xyz.iter_mut().zip(parts) {
            *slot = SliceRange::parse(part)?;
            if slot.step.is_some() {
                return Err("a region of interest has no step; use --slices or --bin".into());
            }
        }
        Ok(roi)
    }

    /// As a region of a stack of `shape`.
    pub fn region(&self, shape: Shape) -> Result<Region> {
        let one = |r: &SliceRange, n: usize, name: &str| -> Result<Range<usize>> {
            let range = r.start.unwrap_or(0)..r.end.unwrap_or(n);
            if range.is_empty() || range.end > n {
                return Err(Error::caller("the region of interest lies outside the volume")
                    .expected(format!("{name} within 0:{n}"))
                    .found(format!("{}:{}", range.start, range.end)));
            }
            Ok(range)
        };
        Ok(Region {
            cols: one(&self.xyz[0], shape.cols, "x")?,
            rows: one(&self.xyz[1], shape.rows, "y")?,
            frames: one(&self.xyz[2], shape.frames, "z")?,
        })
    }
}

/// Everything a view can do to a stack.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ViewSpec {
    /// Crop first.
    pub roi: Option<Roi>,
    /// Then cut along this axis.
    pub axis: Axis,
    /// Then keep these slices.
    pub slices: Option<SliceRange>,
    /// Then turn grey values back into physical ones, as float32.
    pub physical: Option<GreyScale>,
    /// Then average cubes of this edge (1 = no).
    pub bin: usize,
    /// Means of whole numbers and of 16-bit floats stay fractions, in a float type that holds their values, instead of being
    /// rounded to the type they came in.
    #[serde(skip)]
    pub fractions: bool,
    /// Then widen to this type.
    pub dtype: Option<DType>,
}

/// A view with what it costs to read.
#[derive(Clone)]
pub struct View {
    /// The view itself.
    pub source: Arc<dyn FrameSource>,
    /// Bytes of scratch needed per byte of output while a block is read.
    pub scratch_per_byte: f64,
    /// For output slice k: the slices of the input's own frames it comes from, where the axis is z.
    pub first_input_slice: usize,
}

/// Builds the view of `source` that `spec` asks for.
pub fn view(source: Arc<dyn FrameSource>, spec: &ViewSpec) -> Result<View> {
    let in_size = source.dtype().size() as f64;
    let mut s = source;
    let mut scratch = 0.0;
    let mut first = 0;
    if let Some(roi) = &spec.roi {
        let region = roi.region(s.shape())?;
        first = region.frames.start;
        if region != s.shape().full() {
            s = Arc::new(Crop { inner: s, region });
        }
    }
    if spec.axis != Axis::Z {
        s = Arc::new(Reslice { inner: s, axis: spec.axis });
        scratch += 1.0;
    }
    if let Some(range) = &spec.slices {
        let pick = range.pick(s.shape().frames)?;
        first += pick[0];
        if pick.len() != s.shape().frames {
            s = Arc::new(Frames { inner: s, pick });
        }
    }
    // Before binning: the mean of greys would be rounded to a grey.
    if let Some(scale) = &spec.physical {
        s = Arc::new(Physical { inner: s, scale: scale.clone() });
        scratch += in_size / DType::F32.size() as f64;
    }
    let n = spec.bin.max(1);
    if n > 1 {
        let shape = s.shape();
        if shape.frames < n || shape.rows < n || shape.cols < n {
            return Err(Error::caller(format!("binning by {n} leaves nothing of {shape}")));
        }
        let to = match s.dtype() {
            kept if !spec.fractions => kept,
            DType::U32 | DType::I32 | DType::U64 | DType::I64 | DType::F64 => DType::F64,
            _ => DType::F32,
        };
        scratch = (scratch + 1.0) * (n * n * n) as f64 * s.dtype().size() as f64 / to.size() as f64;
        s = Arc::new(Bin { inner: s, n, to });
    }
    if let Some(to) = spec.dtype.filter(|d| *d != s.dtype()) {
        if !s.dtype().is_lossless_into(to) {
            return Err(Error::caller(format!("{} does not fit {} without loss", s.dtype().name(), to.name()))
                .hint("scaling to grey values is 'tomo recad': it finds limits, rounds and writes a receipt"));
        }
        s = Arc::new(Cast { inner: s, to });
        scratch += in_size / to.size() as f64;
    }
    Ok(View { source: s, scratch_per_byte: scratch, first_input_slice: first })
}

/// A box of another stack.
struct Crop {
    inner: Arc<dyn FrameSource>,
    region: Region,
}

impl FrameSource for Crop {
    fn shape(&self) -> Shape {
        self.region.shape()
    }
    fn dtype(&self) -> DType {
        self.inner.dtype()
    }
    fn access(&self) -> Access {
        self.inner.access()
    }
    fn read(&self, r: &Region, out: &mut [u8]) -> Result<()> {
        r.check(self.shape(), self.dtype().size(), out.len())?;
        let shift = |a: &Range<usize>, by: usize| a.start + by..a.end + by;
        let inner = Region {
            frames: shift(&r.frames, self.region.frames.start),
            rows: shift(&r.rows, self.region.rows.start),
            cols: shift(&r.cols, self.region.cols.start),
        };
        self.inner.read(&inner, out)
    }
    fn mapped(&self, frames: Range<usize>) -> Option<&[u8]> {
        let s = self.inner.shape();
        let whole_frames = self.region.rows == (0..s.rows) && self.region.cols == (0..s.cols);
        let by = self.region.frames.start;
        whole_frames.then(|| self.inner.mapped(frames.start + by..frames.end + by)).flatten()
    }
    fn release(&self, frames: Range<usize>) {
        let by = self.region.frames.start;
        self.inner.release(frames.start + by..frames.end + by);
    }
}

/// The stack cut along another axis.
struct Reslice {
    inner: Arc<dyn FrameSource>,
    axis: Axis,
}

impl FrameSource for Reslice {
    fn shape(&self) -> Shape {
        let s = self.inner.shape();
        match self.axis {
            Axis::Z => s,
            Axis::Y => Shape::new(s.rows, s.frames, s.cols),
            Axis::X => Shape::new(s.cols, s.frames, s.rows),
        }
    }
    fn dtype(&self) -> DType {
        self.inner.dtype()
    }
    fn access(&self) -> Access {
        let a = self.inner.access();
        let u = a.unit;
        let unit = match self.axis {
            Axis::Z => u,
            Axis::Y => Shape::new(u.rows, u.frames, u.cols),
            Axis::X => Shape::new(u.cols, u.frames, u.rows),
        };
        Access { unit, ..a }
    }
    fn read(&self, r: &Region, out: &mut [u8]) -> Result<()> {
        let size = self.dtype().size();
        r.check(self.shape(), size, out.len())?;
        let (f, rows, cols) = (r.frames.clone(), r.rows.clone(), r.cols.clone());
        let inner = match self.axis {
            Axis::Z => return self.inner.read(r, out),
            Axis::Y => Region { frames: rows, rows: f, cols },
            Axis::X => Region { frames: rows, rows: cols, cols: f },
        };
        let have = inner.shape();
        if r.values() == 0 {
            return Ok(());
        }
        let mut block = vec![0u8; out.len()];
        self.inner.read(&inner, &mut block)?;
        match self.axis {
            // [z][j][x] -> [j][z][x]: whole rows move.
            Axis::Y | Axis::Z => {
                let row = have.cols * size;
                out.par_chunks_exact_mut(row * have.frames).enumerate().for_each(|(j, slice)| {
                    for (z, dst) in slice.chunks_exact_mut(row).enumerate() {
                        dst.copy_from_slice(&block[(z * have.rows + j) * row..][..row]);
                    }
                });
            }
            // [z][y][i] -> [i][z][y]: values move.
            Axis::X => {
                let line = have.rows * size;
                out.par_chunks_exact_mut(line * have.frames).enumerate().for_each(|(i, slice)| {
                    for (zy, dst) in slice.chunks_exact_mut(size).enumerate() {
                        dst.copy_from_slice(&block[(zy * have.cols + i) * size..][..size]);
                    }
                });
            }
        }
        Ok(())
    }
}

/// Means of n × n × n cubes. What does not fill a cube at the far edges is left out. Integers, where they are to remain some,
/// are rounded half to even.
struct Bin {
    inner: Arc<dyn FrameSource>,
    n: usize,
    to: DType,
}

impl FrameSource for Bin {
    fn shape(&self) -> Shape {
        let s = self.inner.shape();
        Shape::new(s.frames / self.n, s.rows / self.n, s.cols / self.n)
    }
    fn dtype(&self) -> DType {
        self.to
    }
    fn access(&self) -> Access {
        let a = self.inner.access();
        let div = |u: usize| u.div_ceil(self.n);
        Access { unit: Shape::new(div(a.unit.frames), div(a.unit.rows), div(a.unit.cols)), ..a }
    }
    fn read(&self, r: &Region, out: &mut [u8]) -> Result<()> {
        let dtype = self.inner.dtype();
        r.check(self.shape(), self.to.size(), out.len())?;
        if r.values() == 0 {
            return Ok(());
        }
        let n = self.n;
        let times = |a: &Range<usize>| a.start * n..a.end * n;
        let inner = Region { frames: times(&r.frames), rows: times(&r.rows), cols: times(&r.cols) };
        let mut block = vec![0u8; inner.values() * dtype.size()];
        self.inner.read(&inner, &mut block)?;
        with_dtype!(dtype, T => bin_block::<T>(&block, inner.shape(), n, self.to, out));
        Ok(())
    }
}

fn bin_block<T: Voxel>(block: &[u8], have: Shape, n: usize, to: DType, out: &mut [u8]) {
    let size = size_of::<T>();
    let cols = have.cols / n;
    let rows = have.rows / n;
    out.par_chunks_exact_mut(cols * to.size()).enumerate().for_each(|(line, dst)| {
        let (f, r) = (line / rows * n, line % rows * n);
        let mut sums = vec![0f64; cols];
        for df in 0..n {
            for dr in 0..n {
                let at = ((f + df) * have.rows + r + dr) * have.cols * size;
                each::<T>(&block[at..][..cols * n * size], |i, v| sums[i / n] += v.to_f64());
            }
        }
        let scale = 1.0 / (n * n * n) as f64;
        for (c, sum) in dst.chunks_exact_mut(to.size()).zip(sums) {
            put(to, sum * scale, c);
        }
    });
}

/// Stores `v` as `dtype`: integers rounded half to even (a mean never leaves the type's range).
fn put(dtype: DType, v: f64, out: &mut [u8]) {
    let r = v.round_ties_even();
    match dtype {
        DType::U8 => out.copy_from_slice(&(r as u8).to_ne_bytes()),
        DType::I8 => out.copy_from_slice(&(r as i8).to_ne_bytes()),
        DType::U16 => out.copy_from_slice(&(r as u16).to_ne_bytes()),
        DType::I16 => out.copy_from_slice(&(r as i16).to_ne_bytes()),
        DType::U32 => out.copy_from_slice(&(r as u32).to_ne_bytes()),
        DType::I32 => out.copy_from_slice(&(r as i32).to_ne_bytes()),
        DType::U64 => out.copy_from_slice(&(r as u64).to_ne_bytes()),
        DType::I64 => out.copy_from_slice(&(r as i64).to_ne_bytes()),
        DType::F16 => out.copy_from_slice(&tomokit_formats::model::F16::from_f64(v).to_ne_bytes()),
        DType::F32 => out.copy_from_slice(&(v as f32).to_ne_bytes()),
        DType::F64 => out.copy_from_slice(&v.to_ne_bytes()),
    }
}

/// Grey values as the physical ones they stand for: `slope × grey + offset` in 64 bits, rounded to float32.
struct Physical {
    inner: Arc<dyn FrameSource>,
    scale: GreyScale,
}

impl FrameSource for Physical {
    fn shape(&self) -> Shape {
        self.inner.shape()
    }
    fn dtype(&self) -> DType {
        DType::F32
    }
    fn access(&self) -> Access {
        self.inner.access()
    }
    fn read(&self, r: &Region, out: &mut [u8]) -> Result<()> {
        r.check(self.shape(), 4, out.len())?;
        let from = self.inner.dtype();
        let mut block = vec![0u8; r.values() * from.size()];
        self.inner.read(r, &mut block)?;
        let GreyScale { slope, offset, .. } = self.scale;
        const PIECE: usize = 1 << 16;
        out.par_chunks_mut(PIECE * 4).zip(block.par_chunks(PIECE * from.size())).for_each(|(o, b)| {
            with_dtype!(from, T => each::<T>(b, |i, v| {
                let p = (slope * v.to_f64() + offset) as f32;
                o[i * 4..][..4].copy_from_slice(&p.to_ne_bytes());
            }));
        });
        Ok(())
    }
}

/// A lossless change of type.
struct Cast {
    inner: Arc<dyn FrameSource>,
    to: DType,
}

impl FrameSource for Cast {
    fn shape(&self) -> Shape {
        self.inner.shape()
    }
    fn dtype(&self) -> DType {
        self.to
    }
    fn access(&self) -> Access {
        self.inner.access()
    }
    fn read(&self, r: &Region, out: &mut [u8]) -> Result<()> {
        r.check(self.shape(), self.to.size(), out.len())?;
        let from = self.inner.dtype();
        let mut block = vec![0u8; r.values() * from.size()];
        self.inner.read(r, &mut block)?;
        const PIECE: usize = 1 << 16;
        out.par_chunks_mut(PIECE * self.to.size()).zip(block.par_chunks(PIECE * from.size())).try_for_each(|(o, b)| {
            let converted = from
                .convert_lossless(b, self.to)
                .ok_or_else(|| Error::caller(format!("{} does not fit {}", from.name(), self.to.name())))?;
            o.copy_from_slice(&converted);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tomokit_formats::source::copy_box;

    /// Value = its own index.
    pub struct Ramp(pub Shape);
    impl FrameSource for Ramp {
        fn shape(&self) -> Shape {
            self.0
        }
        fn dtype(&self) -> DType {
            DType::U16
        }
        fn read(&self, r: &Region, out: &mut [u8]) -> Result<()> {
            r.check(self.0, 2, out.len())?;
            let all: Vec<u8> = (0..self.0.len()? as u16).flat_map(u16::to_ne_bytes).collect();
            copy_box(&all, &self.0.full(), r, 2, out);
            Ok(())
        }
    }

    fn all(v: &View) -> Vec<f32> {
        let s = v.source.shape();
        let mut out = vec![0f32; s.len().unwrap() as usize];
        v.source.read_f32(&s.full(), &mut Vec::new(), &mut out).unwrap();
        out
    }

    /// A naive oracle: index arithmetic on the ramp.
    fn naive(s: Shape, spec: &ViewSpec) -> Vec<f32> {
        let at = |z: usize, y: usize, x: usize| ((z * s.rows + y) * s.cols + x) as f32;
        let r = spec.roi.as_ref().map_or(s.full(), |r| r.region(s).unwrap());
        let (zs, ys, xs) = (r.frames, r.rows, r.cols);
        let mut slices: Vec<Vec<Vec<f32>>> = match spec.axis {
            Axis::Z => zs.map(|z| ys.clone().map(|y| xs.clone().map(|x| at(z, y, x)).collect()).collect()).collect(),
            Axis::Y => ys.map(|y| zs.clone().map(|z| xs.clone().map(|x| at(z, y, x)).collect()).collect()).collect(),
            Axis::X => xs.map(|x| zs.clone().map(|z| ys.clone().map(|y| at(z, y, x)).collect()).collect()).collect(),
        };
        if let Some(k) = spec.slices {
            slices = k.pick(slices.len()).unwrap().into_iter().map(|i| slices[i].clone()).collect();
        }
        let n = spec.bin.max(1);
        let (f, rr, c) = (slices.len() / n, slices[0].len() / n, slices[0][0].len() / n);
        let mut out = Vec::new();
        for i in 0..f * rr * c {
            let (z, y, x) = (i / (rr * c) * n, i / c % rr * n, i % c * n);
            let mut sum = 0.0f64;
            for d in 0..n * n * n {
                sum += f64::from(slices[z + d / (n * n)][y + d / n % n][x + d % n]);
            }
            out.push((sum / (n * n * n) as f64).round_ties_even() as f32);
        }
        out
    }

    #[test]
    fn every_combination_equals_the_naive_loop() {
        let shape = Shape::new(7, 6, 9);
        let mut tried = 0;
        for axis in [Axis::Z, Axis::Y, Axis::X] {
            for roi in [None, Some("1:8,2:6"), Some(":,1:,3:7")] {
                for slices in [None, Some("1:4"), Some("0:4:2")] {
                    for bin in [1, 2] {
                        for dtype in [None, Some(DType::F64)] {
                            let spec = ViewSpec {
                                roi: roi.map(|r| Roi::parse(r).unwrap()),
                                axis,
                                slices: slices.map(|s| SliceRange::parse(s).unwrap()),
                                bin,
                                fractions: false,
                                physical: None,
                                dtype,
                            };
                            let v = view(Arc::new(Ramp(shape)), &spec).unwrap();
                            assert_eq!(all(&v), naive(shape, &spec), "{spec:?}");
                            tried += 1;
                        }
                    }
                }
            }
        }
        assert_eq!(tried, 108);
    }

    #[test]
    fn nonsense_is_refused() {
        let ramp = || Arc::new(Ramp(Shape::new(3, 4, 5)));
        for bad in ["", "5:2:x", "1:2:0", "a"] {
            assert!(SliceRange::parse(bad).is_err(), "{bad:?}");
        }
        let spec = |s: &str| ViewSpec { slices: Some(SliceRange::parse(s).unwrap()), ..Default::default() };
        assert!(view(ramp(), &spec("2:9")).is_err());
        assert!(view(ramp(), &ViewSpec { bin: 4, ..Default::default() }).is_err());
        assert!(view(ramp(), &ViewSpec { dtype: Some(DType::U8), ..Default::default() }).is_err());
        assert!(Roi::parse("1:2").is_err());
    }
}
