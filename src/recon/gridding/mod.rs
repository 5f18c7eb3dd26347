//! Fourier gridding: filtered backprojection in about `N² log N` operations instead of `N³`.
//!
//! ```text
//!  rows of a projection ─► lanes ─► real FFT ─► filter, weight, shift ─► polar samples      project
//!                                                                             │
//!              half plane of a grid finer than the image ◄── kernel, W × W ───┘             spread
//!                                 │
//!   slices ◄── lanes ◄── ÷ kernel's transform ◄── real FFT ◄── FFT along rows, cropped      image
//! ```
//!
//! Several slices travel side by side as the lanes of vector registers ([`vector`]), so positions, weights and twiddles
//! are computed once for all of them. A slice is real: half of every projection's spectrum and half of the grid are
//! enough, and no two slices ever share a complex number. So the bytes of a slice depend on the plan and on its own
//! sinogram, not on its neighbours in the batch, on the width of the batch or on the number of threads, and a NaN stays
//! in its slice.
//!
//! The result is the sum over the angles of the filtered projections read between columns by trigonometric
//! interpolation (which is exact for what is band-limited), up to the kernel's error ([`kernel`]). The zero frequency is
//! a sample like the others.
//!
//! Directions are taken in the order of their angle, a few at a time: transformed, then spread at once onto the wedge of
//! the grid where they lie, which is the part that has to be in cache.

mod fft;
mod image;
mod kernel;
mod project;
mod share;
mod spread;
mod vector;

use super::simd::Simd;
use super::{Field, Geometry, Mask, Options, Padding, Weights};
use image::{Image, TOGETHER};
use kernel::Kernel;
use project::{Beyond, Blend, Project};
use rayon::prelude::*;
use share::{Buffer, Shared};
use spread::{Cut, Grid, Line};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use tomokit_formats::Result;

/// What is to be computed, in plain numbers.
struct Problem {
    /// Detector columns.
    cols: usize,
    /// Length of the circle of columns a projection lives on: even, no prime factor above 5, at least `cols`. The padding
    /// is `(len - cols) / 2` columns before column 0, the rest after the last one.
    len: usize,
    /// Radians; `u = x cos t + y sin t + axis`.
    angles: Vec<f64>,
    /// Column of the axis per projection.
    axes: Vec<f64>,
    /// Quadrature weight per projection.
    weights: Vec<f64>,
    /// Filter response for the frequencies `0..=len/2`, unit scale included.
    response: Vec<f64>,
    /// Beyond the first column, beyond the last.
    beyond: (Beyond, Beyond),
    /// Blending weights of an extended field.
    blend: Option<Blend>,
    /// Columns and rows of the full slice.
    size: (usize, usize),
    /// Voxel (column, row) of the axis: voxel (j, i) lies at `x = j - axis.0`, `y = axis.1 - i`.
    axis: (f64, f64),
    /// Columns and rows of the slice to make.
    region: (Range<usize>, Range<usize>),
    /// Wanted relative rms error.
    tolerance: f64,
}

/// Per-projection numbers of the filter stage.
struct Ray {
    /// Phase of frequency m: `2π m shift / len`.
    shift: f64,
    weight: f64,
    /// The samples lie on the other half plane: take the conjugates.
    flip: bool,
}

struct Setup {
    cols: usize,
    left: Beyond,
    right: Beyond,
    blend: Option<Blend>,
    rays: Vec<Ray>,
}

/// The grid.
struct Layout {
    kernel: Kernel,
    /// Period along u (image rows) and v (image columns).
    gu: usize,
    gv: usize,
    /// Columns on each side and rows below and above that catch the kernel's overhang.
    margin: usize,
    /// Elements per grid row.
    row: usize,
    size: (usize, usize),
    region: (Range<usize>, Range<usize>),
}

impl Layout {
    /// Region's image rows, counted from the middle.
    fn region_rows(&self) -> Range<i64> {
        let c = (self.size.1 / 2) as i64;
        self.region.1.start as i64 - c..self.region.1.end as i64 - c
    }

    fn region_cols(&self) -> Range<i64> {
        let c = (self.size.0 / 2) as i64;
        self.region.0.start as i64 - c..self.region.0.end as i64 - c
    }

    fn rows(&self) -> usize {
        self.gv / 2 + 1 + 2 * self.margin
    }
}

/// The tables of a plan.
pub(super) struct Gridding {
    setup: Setup,
    layout: Layout,
    project: Project,
    image: Image,
    taps: Vec<[f32; kernel::MAX_WIDTH]>,
    /// Projections in the order of their direction on the grid.
    order: Vec<u32>,
    /// In that order.
    lines: Vec<Line>,
    samples: usize,
}

/// Buffers of one thread.
struct Worker {
    buffer: Buffer,
    coef: Vec<f32>,
}

/// Working memory, owned by the caller.
pub(super) struct Scratch {
    lanes: usize,
    chunk: usize,
    grid: Buffer,
    samples: Buffer,
    workers: Vec<Worker>,
}

impl Scratch {
    /// Slices made together.
    pub(super) fn lanes(&self) -> usize {
        self.lanes
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let workers: usize = self.workers.iter().map(|w| w.buffer.len() + w.coef.len()).sum();
        4 * (self.grid.len() + self.samples.len() + workers)
    }
}

/// Where the rows of a projection come from: `(lane, projection)` to the columns.
pub(super) type Rows<'a> = dyn Fn(usize, usize) -> &'a [f32] + Sync + 'a;

impl Problem {
    fn of(g: &Geometry, o: &Options) -> Result<Problem> {
        let n = g.angles_rad.len();
        let len = circle(g, o);
        let scale = o.scale()?;
        let outside = match o.padding {
            Padding::Edge => Beyond::Edge,
            Padding::Zero => Beyond::Zero,
        };
        let (mut beyond, mut blend) = ((outside, outside), None);
        if let Field::Extended { slope_px } = g.field {
            // The side near the axis is completed by the opposite projections.
            let right = g.axis_on_right();
            let near = if right { g.cols as f64 - 1.0 - g.rotation_axis_px } else { g.rotation_axis_px };
            let slope = if right { -1.0 } else { 1.0 } / slope_px.min(2.0 * near).max(1e-9);
            let start = (0..n).map(|k| (0.5 - slope * g.axis_of(k)) as f32).collect();
            blend = Some(Blend { start, slope: slope as f32 });
            *(if right { &mut beyond.1 } else { &mut beyond.0 }) = Beyond::Zero;
        }
        let roi = g.roi();
        Ok(Problem {
            cols: g.cols,
            len,
            angles: (0..n).map(|k| g.angle_of(k)).collect(),
            axes: (0..n).map(|k| g.axis_of(k)).collect(),
            weights: match o.weights {
                Weights::Gaps => g.weights(),
                Weights::Equal => vec![g.period() / n as f64; n],
            },
            response: o.filter.response(len, o.cutoff).iter().map(|v| v * scale).collect(),
            beyond,
            blend,
            size: (g.output.nx, g.output.ny),
            axis: g.axis_voxel(),
            region: (roi.x0..roi.x1, roi.y0..roi.y1),
            tolerance: o.tolerance,
        })
    }
}

/// Length of the circle of columns: what the filter asks for, or more where the slice reaches further beyond the detector
/// (an axis far outside, a slice wider than the detector), so that no voxel meets a projection's next turn.
pub(super) fn circle(g: &Geometry, o: &Options) -> usize {
    let len = o.filter.fft_len(g.filter_width(), o.pad_factor);
    if o.mask == Mask::Seen && g.field == Field::Full {
        return len;
    }
    let (cx, cy) = g.axis_voxel();
    let (xs, ys) = ([-cx, g.output.nx as f64 - 1.0 - cx], [cy, cy + 1.0 - g.output.ny as f64]);
    let middle = (g.cols as f64 - 1.0) / 2.0;
    let mut reach: f64 = 0.0;
    for k in 0..g.angles_rad.len() {
        let (sin, cos) = g.angle_of(k).sin_cos();
        for (x, y) in xs.iter().flat_map(|x| ys.iter().map(move |y| (x, y))) {
            reach = reach.max((x * cos + y * sin + g.axis_of(k) - middle).abs());
        }
    }
    len.max(super::filter::fast_len((2.0 * reach).ceil() as usize + 2))
}

impl Gridding {
    /// Tables for a scan.
    pub(super) fn of(g: &Geometry, o: &Options) -> Result<Gridding> {
        Ok(Gridding::new(&Problem::of(g, o)?))
    }

    /// Length of the FFT of a projection.
    pub(super) fn fft_len(&self) -> usize {
        2 * (self.samples - 1)
    }

    fn new(p: &Problem) -> Gridding {
        let layout = Layout::choose(p);
        let (cx, cy) = ((p.size.0 / 2) as f64 - p.axis.0, (p.size.1 / 2) as f64 - p.axis.1);
        let mut rays = Vec::with_capacity(p.angles.len());
        let mut lines = Vec::with_capacity(p.angles.len());
        for ((angle, axis), weight) in p.angles.iter().zip(&p.axes).zip(&p.weights) {
            let (sin, cos) = angle.sin_cos();
            // Frequency m lies at u = -m gu sin / len (image rows run against y) and v = m gv cos / len.
            let flip = cos < 0.0;
            let sign = if flip { -1.0 } else { 1.0 };
            lines.push(Line {
                du: -sign * sin * layout.gu as f64 / p.len as f64,
                dv: sign * cos * layout.gv as f64 / p.len as f64,
            });
            rays.push(Ray { shift: axis + cx * cos - cy * sin, weight: *weight, flip });
        }
        let mut order: Vec<u32> = (0..p.angles.len() as u32).collect();
        let direction = |k: u32| lines[k as usize].dv.atan2(lines[k as usize].du);
        order.sort_by(|a, b| direction(*a).total_cmp(&direction(*b)).then(a.cmp(b)));
        let lines = order.iter().map(|k| lines[*k as usize]).collect();
        Gridding {
            setup: Setup { cols: p.cols, left: p.beyond.0, right: p.beyond.1, blend: p.blend.clone(), rays },
            project: Project::new(p.len, &p.response),
            image: Image::new(&layout),
            taps: layout.kernel.taps(),
            layout,
            order,
            lines,
            samples: p.len / 2 + 1,
        }
    }

    /// Kernel width, grid columns and rows: for reports.
    pub(super) fn describe(&self) -> (usize, (usize, usize)) {
        (self.layout.kernel.width, (self.layout.gv, self.layout.gu))
    }

    /// Slices made together when there are `slices` of them: a power of two, at most `simd.lanes()`.
    fn lanes_for(simd: Simd, slices: usize) -> usize {
        let mut lanes = 4;
        while lanes < simd.lanes() && lanes < slices {
            lanes *= 2;
        }
        lanes
    }

    fn chunk(workers: usize) -> usize {
        spread::ABREAST * (workers / 2).max(1)
    }

    /// Floats of grid, samples, and one worker's buffer.
    fn sizes(&self, lanes: usize, workers: usize) -> [u64; 3] {
        let el = 2 * lanes as u64;
        let grid = self.layout.rows() as u64 * self.layout.row as u64 * el;
        let chunk = Self::chunk(workers).min(self.order.len());
        let samples = chunk as u64 * self.samples as u64 * el;
        let buffer = self.image.buffer(lanes).max(2 * self.project.buffer(lanes)) as u64;
        // Whole cache lines, as the buffers come.
        [grid, samples, buffer].map(|n| n.next_multiple_of(16))
    }

    /// Bytes of a [`Scratch`].
    pub(super) fn scratch_bytes(&self, lanes: usize, workers: usize) -> u64 {
        let workers = workers.max(1);
        let [grid, samples, buffer] = self.sizes(lanes, workers);
        4 * (grid + samples + workers as u64 * (buffer + self.project.coefficients() as u64))
    }

    /// Working memory; `None` if there is not that much.
    pub(super) fn scratch(&self, lanes: usize, workers: usize) -> Option<Scratch> {
        let workers = workers.max(1);
        let [grid, samples, buffer] = self.sizes(lanes, workers);
        let worker = || Some(Worker { buffer: Buffer::new(buffer)?, coef: vec![0.0; self.project.coefficients()] });
        Some(Scratch {
            lanes,
            chunk: Self::chunk(workers).min(self.order.len()),
            grid: Buffer::new(grid)?,
            samples: Buffer::new(samples)?,
            workers: (0..workers).map(|_| worker()).collect::<Option<_>>()?,
        })
    }

    /// True if `scratch` is large enough for this plan.
    pub(super) fn fits(&self, s: &Scratch) -> bool {
        let [grid, samples, buffer] = self.sizes(s.lanes, s.workers.len());
        s.grid.len() as u64 >= grid
            && s.samples.len() as u64 >= samples
            && s.chunk <= self.order.len()
            && s.workers.iter().all(|w| w.buffer.len() as u64 >= buffer && w.coef.len() == self.project.coefficients())
    }

    /// Reconstructs `count` slices (at most the scratch's lanes) into `out`, `[slice][row][column]` of the region. `seen`:
    /// half-open columns of every row of the full slice outside which the values are to be zero.
    pub(super) fn run(
        &self,
        simd: Simd,
        count: usize,
        rows: &Rows<'_>,
        seen: Option<&[(usize, usize)]>,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let l = &self.layout;
        let lanes = Self::lanes_for(simd, count).min(scratch.lanes);
        let kernels = Kernels::choose(simd, lanes);
        let el = 2 * lanes;
        let (nx, ny) = (l.region.0.len(), l.region.1.len());
        assert!(count <= lanes && out.len() == count * nx * ny && self.fits(scratch));
        let workers = &mut scratch.workers[..];
        let grid = Shared::new(scratch.grid.as_mut());
        let grid_row = l.row * el;
        let all = l.rows() * grid_row;
        // SAFETY (here and below): each job has rows of the grid of its own.
        each(workers, l.rows(), |_, r| unsafe { grid.at(r * grid_row, grid_row).write_bytes(0, grid_row) });
        let samples = Shared::new(scratch.samples.as_mut());
        let one = self.samples * el;
        let g = Grid {
            row: l.row,
            u0: (l.gu / 2 + l.margin) as f64 - l.kernel.width as f64 / 2.0,
            v0: l.margin as f64 - l.kernel.width as f64 / 2.0,
            last: self.samples - 1,
            taps: &self.taps,
        };
        let mut first = 0;
        while first < self.order.len() {
            // Neighbouring directions with the same long axis.
            let along_u = |i: usize| self.lines[i].du.abs() >= self.lines[i].dv.abs();
            let limit = (first + scratch.chunk).min(self.order.len());
            let long = along_u(first);
            let end = (first + 1..limit).find(|i| along_u(*i) != long).unwrap_or(limit);
            each(workers, end - first, |w, i| {
                let k = self.order[first + i] as usize;
                let mut row = [&[][..]; 16];
                for (lane, r) in row.iter_mut().enumerate().take(count) {
                    *r = rows(lane, k);
                }
                let (a, b) = w.buffer.as_mut().split_at_mut(self.project.buffer(lanes));
                // SAFETY: job i writes sample row i; `choose` gives only what the processor has.
                unsafe {
                    let to = samples.at(i * one, one);
                    (kernels.project)(self, k, &row[..count], a.as_mut_ptr(), b.as_mut_ptr(), &mut w.coef, to);
                }
            });
            // Cut along the long axis, where the samples lie evenly.
            let (mut lo, mut hi) = (f64::INFINITY, f64::NEG_INFINITY);
            for line in &self.lines[first..end] {
                let (p0, d) = if long { (g.u0, line.du) } else { (g.v0, line.dv) };
                let far = p0 + d * g.last as f64;
                lo = lo.min(p0).min(far);
                hi = hi.max(p0).max(far);
            }
            let pieces = if workers.len() == 1 { 1 } else { 4 * workers.len() };
            let (lo, hi) = (lo.floor() as usize, hi.floor() as usize + 2 + l.kernel.width);
            let cut = |i: usize| lo + (hi - lo) * i / pieces;
            each(workers, pieces, |_, i| {
                let part = (cut(i), cut(i + 1));
                let cut = if long { Cut { u: part, v: (0, l.rows()) } } else { Cut { u: (0, l.row), v: part } };
                // SAFETY: the cuts are disjoint, and nothing writes the samples now.
                unsafe {
                    let q = samples.at(0, (end - first) * one);
                    (kernels.spread)(l.kernel.width, &g, &self.lines[first..end], cut, q, grid.at(0, all));
                }
            });
            first = end;
        }
        each(workers, l.gv / 2 + 1, |w, v| {
            // SAFETY: a job touches row v and its mirror images outside 0..=gv/2, which no other does.
            unsafe { (kernels.row)(self, v, grid.at(0, all), w.buffer.as_mut().as_mut_ptr()) }
        });
        let out = Shared::new(out);
        each(workers, ny.div_ceil(TOGETHER), |w, job| {
            let first = job * TOGETHER;
            // SAFETY: a job writes image rows of its own, of all slices; nothing writes the grid now.
            let to = |slice: usize, row: usize| unsafe { out.at((slice * ny + row) * nx, nx) };
            let n = TOGETHER.min(ny - first);
            unsafe { (kernels.columns)(self, first, n, count, grid.at(0, all), w.buffer.as_mut().as_mut_ptr(), &to) }
            let Some(seen) = seen else { return };
            for row in first..first + n {
                let x = &l.region.0;
                let (a, b) = seen[l.region.1.start + row];
                let (a, b) = (a.clamp(x.start, x.end) - x.start, b.clamp(x.start, x.end) - x.start);
                for slice in 0..count {
                    // SAFETY: as above: the row was written by this job.
                    let line = unsafe { std::slice::from_raw_parts_mut(to(slice, row), nx) };
                    line[..a].fill(0.0);
                    line[b.max(a)..].fill(0.0);
                }
            }
        });
    }
}

/// Runs `job(0..jobs)`, each worker taking the next one that is left.
fn each(workers: &mut [Worker], jobs: usize, job: impl Fn(&mut Worker, usize) + Sync) {
    if let [only] = workers {
        (0..jobs).for_each(|j| job(only, j));
        return;
    }
    let next = AtomicUsize::new(0);
    workers.par_iter_mut().with_max_len(1).for_each(|w| {
        loop {
            let j = next.fetch_add(1, Ordering::Relaxed);
            if j >= jobs {
                break;
            }
            job(w, j);
        }
    });
}

impl Layout {
    /// The cheapest kernel and grid that keep the tolerance.
    fn choose(p: &Problem) -> Layout {
        let mut best: Option<(f64, Layout)> = None;
        for width in kernel::MIN_WIDTH..=kernel::MAX_WIDTH {
            // Finer grids err less: the coarsest that will do.
            let fine =
                (0..=24).map(|i| 1.15 + 0.05 * f64::from(i)).find(|s| Kernel::new(width, *s).error(*s) <= p.tolerance);
            let Some(oversampling) = fine.or((width == kernel::MAX_WIDTH).then_some(2.0)) else { continue };
            let margin = width / 2 + 1;
            let len = |n: usize, of: usize| {
                fft::good_len(((n as f64 * oversampling).ceil() as usize).max(4 * margin + 4), of)
            };
            let (gu, gv) = (len(p.size.1, 2), len(p.size.0, 4));
            // In floating point operations per slice, roughly as they cost.
            let (u, v) = (gu as f64, gv as f64);
            let spread = p.angles.len() as f64 * p.len as f64 / 2.0 * (4.0 * (width * width) as f64 + 60.0);
            let ffts = u * v / 2.0 * (5.0 * u.log2() + 25.0) + p.size.1 as f64 * v / 2.0 * (5.0 * v.log2() + 25.0);
            let cost = spread + ffts;
            if best.as_ref().is_none_or(|(c, _)| cost < *c) {
                let sigma = (u / p.size.1 as f64).min(v / p.size.0 as f64).min(2.5);
                let kernel = Kernel::new(width, sigma);
                let row = gu + 2 * margin + 1;
                best = Some((cost, Layout { kernel, gu, gv, margin, row, size: p.size, region: p.region.clone() }));
            }
        }
        match best {
            Some((_, layout)) => layout,
            None => unreachable!("the widest kernel is always a candidate"),
        }
    }
}

type ProjectFn = unsafe fn(&Gridding, usize, &[&[f32]], *mut f32, *mut f32, &mut [f32], *mut f32);
type SpreadFn = unsafe fn(usize, &Grid<'_>, &[Line], Cut, *const f32, *mut f32);
type RowFn = unsafe fn(&Gridding, usize, *mut f32, *mut f32);
type ColumnsFn = unsafe fn(&Gridding, usize, usize, usize, *const f32, *mut f32, &dyn Fn(usize, usize) -> *mut f32);

/// The stages compiled for one kind of vector.
struct Kernels {
    project: ProjectFn,
    spread: SpreadFn,
    row: RowFn,
    columns: ColumnsFn,
}

#[inline(always)]
unsafe fn spread_lines<V: vector::Vector>(
    width: usize,
    g: &Grid<'_>,
    lines: &[Line],
    cut: Cut,
    q: *const f32,
    grid: *mut f32,
) {
    let one = (g.last + 1) * 2 * V::LANES;
    for (i, l) in lines.chunks(spread::ABREAST).enumerate() {
        // SAFETY: the caller's; line i has its samples at row i.
        unsafe {
            let q = q.add(i * spread::ABREAST * one);
            match width {
                4 => spread::lines::<V, 4, 8>(g, l, cut, q, grid),
                5 => spread::lines::<V, 5, 9>(g, l, cut, q, grid),
                6 => spread::lines::<V, 6, 10>(g, l, cut, q, grid),
                7 => spread::lines::<V, 7, 11>(g, l, cut, q, grid),
                _ => spread::lines::<V, 8, 12>(g, l, cut, q, grid),
            }
        }
    }
}

macro_rules! compile_for {
    ($name:ident, $vector:ty $(, $features:literal)?) => {
        mod $name {
            //! The stages, compiled for one kind of vector. SAFETY: the contracts are those of the functions called.
            use super::*;
            $(#[target_feature(enable = $features)])?
            unsafe fn project(
                g: &Gridding, k: usize, rows: &[&[f32]], a: *mut f32, b: *mut f32, coef: &mut [f32], out: *mut f32,
            ) {
                unsafe { g.project.run::<$vector>(&g.setup, k, rows, a, b, coef, out) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn spread(w: usize, g: &Grid<'_>, lines: &[Line], cut: Cut, q: *const f32, grid: *mut f32) {
                unsafe { spread_lines::<$vector>(w, g, lines, cut, q, grid) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn row(g: &Gridding, v: usize, grid: *mut f32, buffer: *mut f32) {
                unsafe { g.image.row::<$vector>(&g.layout, v, grid, buffer) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn columns(
                g: &Gridding, first: usize, count: usize, lanes: usize, grid: *const f32, buffer: *mut f32,
                out: &dyn Fn(usize, usize) -> *mut f32,
            ) {
                unsafe { g.image.columns::<$vector>(&g.layout, first, count, lanes, grid, buffer, out) }
            }
            pub(super) const KERNELS: Kernels = Kernels { project, spread, row, columns };
        }
    };
}

#[cfg(target_arch = "x86_64")]
compile_for!(avx512_16, vector::x86::X16, "avx512f,avx512vl,avx2,fma");
#[cfg(target_arch = "x86_64")]
compile_for!(avx512_8, vector::x86::X8, "avx512f,avx512vl,avx2,fma");
#[cfg(target_arch = "x86_64")]
compile_for!(avx512_4, vector::x86::X4, "avx512f,avx512vl,avx2,fma");
#[cfg(target_arch = "x86_64")]
compile_for!(avx2_8, vector::x86::X8, "avx2,fma");
#[cfg(target_arch = "x86_64")]
compile_for!(avx2_4, vector::x86::X4, "avx2,fma");
#[cfg(target_arch = "aarch64")]
compile_for!(neon_8, vector::Plain<8, true>);
#[cfg(target_arch = "aarch64")]
compile_for!(neon_4, vector::Plain<4, true>);
compile_for!(plain_8, vector::Plain<8, false>);
compile_for!(plain_4, vector::Plain<4, false>);

impl Kernels {
    fn choose(simd: Simd, lanes: usize) -> &'static Kernels {
        match (simd, lanes) {
            #[cfg(target_arch = "x86_64")]
            (Simd::Avx512, 16) => &avx512_16::KERNELS,
            #[cfg(target_arch = "x86_64")]
            (Simd::Avx512, 8) => &avx512_8::KERNELS,
            #[cfg(target_arch = "x86_64")]
            (Simd::Avx512, _) => &avx512_4::KERNELS,
            #[cfg(target_arch = "x86_64")]
            (Simd::Avx2, 8) => &avx2_8::KERNELS,
            #[cfg(target_arch = "x86_64")]
            (Simd::Avx2, _) => &avx2_4::KERNELS,
            #[cfg(target_arch = "aarch64")]
            (Simd::Neon, 8) => &neon_8::KERNELS,
            #[cfg(target_arch = "aarch64")]
            (Simd::Neon, _) => &neon_4::KERNELS,
            (_, 8) => &plain_8::KERNELS,
            _ => &plain_4::KERNELS,
        }
    }
}

#[cfg(test)]
mod tests;
