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

mod axes;
mod crew;
mod dispatch;
mod fft;
mod image;
mod kernel;
mod layout;
mod problem;
mod project;
mod share;
mod spread;
mod vector;

use super::simd::Simd;
use super::{Geometry, Options};
use axes::LaneAxes;
use crew::Lead;
use dispatch::Kernels;
use image::{Image, TOGETHER};
use layout::Layout;
pub(super) use problem::circle;
use problem::{Problem, Slope};
use project::{Beyond, Blend, Project};
use share::{Buffer, Shared};
use spread::{Cut, Grid, Line};
use std::ops::Range;
use tomokit_formats::Result;

/// Per-projection numbers of the filter stage.
struct Ray {
    /// Phase of frequency m: `2π m shift / len`.
    shift: f64,
    weight: f64,
    /// Columns that the axis of this projection lies beyond the scan's.
    moved: f32,
    /// The samples lie on the other half plane: take the conjugates.
    flip: bool,
}

struct Setup {
    cols: usize,
    axis_px: f64,
    left: Beyond,
    right: Beyond,
    blend: Option<Blend>,
    rays: Vec<Ray>,
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
    /// Slope of the blending for an axis, in an extended field.
    slope: Option<Slope>,
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
    /// Of every projection, and of every axis: for one slice with several axes.
    spectra: Buffer,
    phases: Buffer,
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
        4 * (self.grid.len() + self.samples.len() + self.spectra.len() + self.phases.len() + workers)
    }
}

/// Where the rows of a projection come from: `(lane, projection)` to the columns.
pub(super) type Rows<'a> = dyn Fn(usize, usize) -> &'a [f32] + Sync + 'a;

/// What the lanes of a batch are.
pub(super) enum Input<'a> {
    /// So many slices, each with rows of its own.
    Slices(usize, &'a Rows<'a>),
    /// One slice, with its rows, and an axis per lane.
    Axes(&'a [f64], &'a Rows<'a>),
}

impl Gridding {
    /// Tables for a scan; `axes` are those it may be asked for beside the geometry's own.
    pub(super) fn of(g: &Geometry, o: &Options, axes: &[f64]) -> Result<Gridding> {
        Ok(Gridding::new(&Problem::of(g, o, axes)?))
    }

    /// Length of the FFT of a projection.
    pub(super) fn fft_len(&self) -> usize {
        self.project.len()
    }

    fn new(p: &Problem) -> Gridding {
        let layout = Layout::choose(p);
        let bin = p.bin as f64;
        let (cx, cy) = (((p.size.0 / 2) as f64 - p.axis.0) * bin, ((p.size.1 / 2) as f64 - p.axis.1) * bin);
        let mut rays = Vec::with_capacity(p.angles.len());
        let mut lines = Vec::with_capacity(p.angles.len());
        for ((angle, axis), weight) in p.angles.iter().zip(&p.axes).zip(&p.weights) {
            let (sin, cos) = angle.sin_cos();
            // Frequency m lies at u = -m bin gu sin / len (image rows run against y) and v = m bin gv cos / len.
            let flip = cos < 0.0;
            let sign = if flip { -1.0 } else { 1.0 };
            lines.push(Line {
                du: -sign * sin * bin * layout.gu as f64 / p.len as f64,
                dv: sign * cos * bin * layout.gv as f64 / p.len as f64,
            });
            let moved = (axis - p.axis_px) as f32;
            rays.push(Ray { shift: axis + cx * cos - cy * sin, weight: *weight, moved, flip });
        }
        let mut order: Vec<u32> = (0..p.angles.len() as u32).collect();
        let direction = |k: u32| lines[k as usize].dv.atan2(lines[k as usize].du);
        order.sort_by(|a, b| direction(*a).total_cmp(&direction(*b)).then(a.cmp(b)));
        let lines = order.iter().map(|k| lines[*k as usize]).collect();
        Gridding {
            setup: Setup {
                cols: p.cols,
                axis_px: p.axis_px,
                left: p.beyond.0,
                right: p.beyond.1,
                blend: p.blend.clone(),
                rays,
            },
            project: Project::new(p.len, &p.response, p.last()),
            image: Image::new(&layout),
            taps: layout.kernel.taps(),
            layout,
            order,
            lines,
            samples: p.last() + 1,
            slope: p.slope.clone(),
        }
    }

    /// Kernel width, grid columns and rows: for reports.
    pub(super) fn describe(&self) -> (usize, (usize, usize)) {
        (self.layout.kernel.width, (self.layout.gv, self.layout.gu))
    }

    /// Slices made together when there are `slices` of them: 1, or a power of two from 4 to `simd.lanes()`. One alone
    /// takes as many instructions as four, but a quarter of their memory.
    pub(super) fn lanes_for(simd: Simd, slices: usize) -> usize {
        let mut lanes = if slices <= 1 { 1 } else { 4 };
        while lanes < simd.lanes() && lanes < slices {
            lanes *= 2;
        }
        lanes
    }

    /// Directions that are transformed before they are spread: enough of them to keep the workers evenly busy, few
    /// enough to stay in the cache. Never part of the result.
    fn chunk(&self, lanes: usize, workers: usize) -> usize {
        let bytes = spread::ABREAST * self.samples * 8 * lanes;
        let many = (CHUNK_BYTES / bytes.max(1)).clamp(1, 8).max((workers / 2).max(1));
        (spread::ABREAST * many).min(self.order.len())
    }

    /// Floats of grid, samples, and one worker's buffer.
    fn sizes(&self, lanes: usize, workers: usize) -> [u64; 3] {
        let el = 2 * lanes as u64;
        let grid = self.layout.rows() as u64 * self.layout.row as u64 * el;
        // While one chunk is spread the next one is transformed.
        let chunks = if workers > 1 { 2 } else { 1 };
        let samples = chunks * self.chunk(lanes, workers) as u64 * self.samples as u64 * el;
        let buffer = self.image.buffer(lanes).max(2 * self.project.buffer(lanes)) as u64;
        // Whole cache lines, as the buffers come.
        [grid, samples, buffer].map(|n| n.next_multiple_of(16))
    }

    /// Floats of spectra and phases for one slice with several axes.
    fn axes_sizes(&self, lanes: usize) -> [u64; 2] {
        let spectra = if self.slope.is_some() { 0 } else { self.order.len() as u64 * 2 * self.samples as u64 };
        [spectra, 2 * (self.samples * lanes) as u64].map(|n| n.next_multiple_of(16))
    }

    /// Bytes of a [`Scratch`], for slices or for the axes of one.
    pub(super) fn scratch_bytes(&self, lanes: usize, workers: usize, axes: bool) -> u64 {
        let workers = workers.max(1);
        let [grid, samples, buffer] = self.sizes(lanes, workers);
        let more = if axes { self.axes_sizes(lanes) } else { [0; 2] };
        let own = workers as u64 * (buffer + self.project.coefficients() as u64);
        4 * (grid + samples + own + more[0] + more[1])
    }

    /// Working memory; `None` if there is not that much.
    pub(super) fn scratch(&self, lanes: usize, workers: usize, axes: bool) -> Option<Scratch> {
        let workers = workers.max(1);
        let [grid, samples, buffer] = self.sizes(lanes, workers);
        let [spectra, phases] = if axes { self.axes_sizes(lanes) } else { [0; 2] };
        let worker = || Some(Worker { buffer: Buffer::new(buffer)?, coef: vec![0.0; self.project.coefficients()] });
        Some(Scratch {
            lanes,
            chunk: self.chunk(lanes, workers),
            grid: Buffer::new(grid)?,
            samples: Buffer::new(samples)?,
            spectra: Buffer::new(spectra)?,
            phases: Buffer::new(phases)?,
            workers: (0..workers).map(|_| worker()).collect::<Option<_>>()?,
        })
    }

    /// True if `scratch` is large enough for this plan.
    pub(super) fn fits(&self, s: &Scratch) -> bool {
        let [grid, samples, buffer] = self.sizes(s.lanes, s.workers.len());
        s.grid.len() as u64 >= grid
            && s.samples.len() as u64 >= samples
            && s.chunk == self.chunk(s.lanes, s.workers.len())
            && s.workers.iter().all(|w| w.buffer.len() as u64 >= buffer && w.coef.len() == self.project.coefficients())
    }

    /// True if `scratch` is large enough for one slice with several axes.
    pub(super) fn fits_axes(&self, s: &Scratch) -> bool {
        let [spectra, phases] = self.axes_sizes(s.lanes);
        self.fits(s) && s.spectra.len() as u64 >= spectra && s.phases.len() as u64 >= phases
    }

    /// Transforms all projections of the slice that [`Input::Axes`] is about; once before its batches.
    pub(super) fn prepare(&self, simd: Simd, rows: &Rows<'_>, scratch: &mut Scratch) {
        assert!(self.fits_axes(scratch));
        if self.slope.is_some() {
            return;
        }
        let lanes = scratch.lanes;
        let kernels = Kernels::choose(simd, lanes);
        let one = 2 * self.samples;
        let spectra = Shared::new(scratch.spectra.as_mut());
        crew::work(&mut scratch.workers, |lead| {
            lead.each(self.order.len().div_ceil(lanes), |w, group| {
                let first = group * lanes;
                let count = lanes.min(self.order.len() - first);
                let mut row = [&[][..]; 16];
                row.iter_mut().take(count).enumerate().for_each(|(i, r)| *r = rows(0, first + i));
                let (a, b) = w.buffer.as_mut().split_at_mut(self.project.buffer(lanes));
                // SAFETY: a job writes the spectra of projections of its own; `choose` gives only what the processor has.
                unsafe {
                    let to = spectra.at(first * one, count * one);
                    (kernels.spectra)(self, &row[..count], a.as_mut_ptr(), b.as_mut_ptr(), to);
                }
            });
        });
    }

    /// Reconstructs as many slices as `input` says (at most the scratch's lanes) into `out`, `[slice][row][column]` of
    /// the region. `seen`: half-open columns of every row of the full slice outside which the values are to be zero.
    pub(super) fn run(
        &self,
        simd: Simd,
        input: &Input<'_>,
        seen: Option<&[(usize, usize)]>,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let (count, rows) = match input {
            Input::Slices(count, rows) => (*count, *rows),
            Input::Axes(axes, rows) => (axes.len(), *rows),
        };
        let lanes = Self::lanes_for(simd, count).min(scratch.lanes);
        let (nx, ny) = (self.layout.region.0.len(), self.layout.region.1.len());
        assert!(count <= lanes && out.len() == count * nx * ny && self.fits(scratch));
        let axes = match input {
            Input::Slices(..) => None,
            Input::Axes(axes, _) => {
                assert!(self.fits_axes(scratch));
                Some(self.lane_axes(axes, lanes, scratch.phases.as_mut()))
            }
        };
        let batch = Batch {
            plan: self,
            kernels: Kernels::choose(simd, lanes),
            lanes,
            count,
            rows,
            axes,
            spectra: Shared::new(scratch.spectra.as_mut()),
            chunk: scratch.chunk,
        };
        let (grid, samples) = (Shared::new(scratch.grid.as_mut()), Shared::new(scratch.samples.as_mut()));
        let out = Shared::new(out);
        crew::work(&mut scratch.workers, |lead| {
            batch.fill(lead, grid, samples);
            batch.image(lead, grid, seen, out);
        });
    }

    fn lane_axes(&self, axes: &[f64], lanes: usize, phases: &mut [f32]) -> LaneAxes {
        let (mut deltas, mut slopes) = ([0.0; 16], [0.0; 16]);
        for (l, a) in axes.iter().enumerate() {
            deltas[l] = a - self.setup.axis_px;
            slopes[l] = self.slope.as_ref().map_or(0.0, |s| s.of(*a));
        }
        let blend = self.slope.is_some().then_some((axes, &slopes[..axes.len()]));
        LaneAxes::new(self.project.len(), self.samples, lanes, &deltas[..axes.len()], blend, phases)
    }
}

/// Bytes of samples that a chunk of directions may come to, unless the fewest directions come to more.
const CHUNK_BYTES: usize = 2 << 20;

/// One batch at work.
struct Batch<'a, 'r> {
    plan: &'a Gridding,
    kernels: &'static Kernels,
    lanes: usize,
    count: usize,
    rows: &'a Rows<'r>,
    axes: Option<LaneAxes>,
    spectra: Shared<'a>,
    chunk: usize,
}

impl Batch<'_, '_> {
    /// Directions from `first` on that go together: neighbours with the same long axis.
    fn chunk(&self, first: usize) -> Range<usize> {
        let lines = &self.plan.lines;
        let limit = (first + self.chunk).min(lines.len());
        let long = |i: usize| lines[i].du.abs() >= lines[i].dv.abs();
        first..(first + 1..limit).find(|i| long(*i) != long(first)).unwrap_or(limit)
    }

    /// From rows to the grid.
    fn fill(&self, lead: &mut Lead<'_, Worker>, grid: Shared<'_>, samples: Shared<'_>) {
        let l = &self.plan.layout;
        let el = 2 * self.lanes;
        let grid_row = l.row * el;
        let one = self.plan.samples * el;
        let (half, pieces) = if lead.workers() == 1 { (0, 1) } else { (self.chunk * one, lead.workers()) };
        let mut now = self.chunk(0);
        let mut place = 0;
        lead.each(l.rows() + now.len(), |w, j| {
            if j < l.rows() {
                // SAFETY: each job has a row of the grid of its own.
                unsafe { grid.at(j * grid_row, grid_row).write_bytes(0, grid_row) }
            } else {
                self.project(w, now.start + j - l.rows(), samples, (j - l.rows()) * one);
            }
        });
        while !now.is_empty() {
            let next = self.chunk(now.end.min(self.plan.lines.len()));
            let other = half - place;
            if half == 0 {
                lead.each(1, |_, _| self.spread(grid, samples, &now, 0, (0, 1)));
                lead.each(next.len(), |w, j| self.project(w, next.start + j, samples, j * one));
            } else {
                // One chunk is spread while the next one is transformed, so that there is always something to do.
                lead.each(pieces + next.len(), |w, j| match j.checked_sub(pieces) {
                    None => self.spread(grid, samples, &now, place, (j, pieces)),
                    Some(j) => self.project(w, next.start + j, samples, other + j * one),
                });
            }
            (now, place) = (next, other);
        }
    }

    /// Samples of direction `i` to `to`.
    fn project(&self, w: &mut Worker, i: usize, samples: Shared<'_>, to: usize) {
        let plan = self.plan;
        let (k, one) = (plan.order[i] as usize, plan.samples * 2 * self.lanes);
        // SAFETY: every job has a place of its own; `choose` gives only what the processor has.
        let to = unsafe { samples.at(to, one) };
        if let (Some(axes), None) = (&self.axes, &plan.slope) {
            let size = 2 * plan.samples;
            // SAFETY: the spectra are there since `prepare` and only read now.
            return unsafe { (self.kernels.turn)(plan, k, self.spectra.at(k * size, size), axes, to) };
        }
        let mut row = [&[][..]; 16];
        for (lane, r) in row.iter_mut().enumerate().take(self.count) {
            *r = (self.rows)(if self.axes.is_some() { 0 } else { lane }, k);
        }
        let (a, b) = w.buffer.as_mut().split_at_mut(plan.project.buffer(self.lanes));
        // SAFETY: as above; the buffers are this worker's.
        unsafe {
            let (a, b) = (a.as_mut_ptr(), b.as_mut_ptr());
            (self.kernels.project)(plan, k, &row[..self.count], self.axes.as_ref(), a, b, &mut w.coef, to);
        }
    }

    /// Piece `i` of `pieces` of the grid gets the samples of a chunk that lie at `place`.
    fn spread(&self, grid: Shared<'_>, samples: Shared<'_>, chunk: &Range<usize>, place: usize, part: (usize, usize)) {
        let (plan, l) = (self.plan, &self.plan.layout);
        let el = 2 * self.lanes;
        let g = Grid {
            row: l.row,
            u0: (l.gu / 2 + l.margin) as f64 - l.kernel.width as f64 / 2.0,
            v0: l.margin as f64 - l.kernel.width as f64 / 2.0,
            last: plan.samples - 1,
            taps: &plan.taps,
        };
        let lines = &plan.lines[chunk.clone()];
        // Cut along the long axis, where the samples lie evenly.
        let long = lines[0].du.abs() >= lines[0].dv.abs();
        let (mut lo, mut hi) = (f64::INFINITY, f64::NEG_INFINITY);
        for line in lines {
            let (p0, d) = if long { (g.u0, line.du) } else { (g.v0, line.dv) };
            let far = p0 + d * g.last as f64;
            lo = lo.min(p0).min(far);
            hi = hi.max(p0).max(far);
        }
        let (lo, hi) = (lo.floor() as usize, hi.floor() as usize + 2 + l.kernel.width);
        let (i, pieces) = part;
        let cut = |i: usize| lo + (hi - lo) * i / pieces;
        let part = (cut(i), cut(i + 1));
        let cut = if long { Cut { u: part, v: (0, l.rows()) } } else { Cut { u: (0, l.row), v: part } };
        // SAFETY: the cuts are disjoint, and nothing writes these samples now.
        unsafe {
            let q = samples.at(place, lines.len() * plan.samples * el);
            (self.kernels.spread)(l.kernel.width, &g, lines, cut, q, grid.at(0, l.rows() * l.row * el));
        }
    }

    /// From the grid to slices.
    fn image(&self, lead: &mut Lead<'_, Worker>, grid: Shared<'_>, seen: Option<&[(usize, usize)]>, out: Shared<'_>) {
        let (plan, l) = (self.plan, &self.plan.layout);
        let all = l.rows() * l.row * 2 * self.lanes;
        lead.each(l.gv / 2 + 1, |w, v| {
            // SAFETY: a job touches row v and its mirror images outside 0..=gv/2, which no other does.
            unsafe { (self.kernels.row)(plan, v, grid.at(0, all), w.buffer.as_mut().as_mut_ptr()) }
        });
        let (nx, ny) = (l.region.0.len(), l.region.1.len());
        lead.each(ny.div_ceil(TOGETHER), |w, job| {
            let first = job * TOGETHER;
            // SAFETY: a job writes image rows of its own, of all slices; nothing writes the grid now.
            let to = |slice: usize, row: usize| unsafe { out.at((slice * ny + row) * nx, nx) };
            let n = TOGETHER.min(ny - first);
            let buffer = w.buffer.as_mut().as_mut_ptr();
            // SAFETY: as above; the buffer is this worker's.
            unsafe { (self.kernels.columns)(plan, first, n, self.count, grid.at(0, all), buffer, &to) }
            let Some(seen) = seen else { return };
            for row in first..first + n {
                let x = &l.region.0;
                let (a, b) = seen[l.region.1.start + row];
                let (a, b) = (a.clamp(x.start, x.end) - x.start, b.clamp(x.start, x.end) - x.start);
                for slice in 0..self.count {
                    // SAFETY: as above: the row was written by this job.
                    let line = unsafe { std::slice::from_raw_parts_mut(to(slice, row), nx) };
                    line[..a].fill(0.0);
                    line[b.max(a)..].fill(0.0);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests;
