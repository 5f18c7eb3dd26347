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
use dispatch::Kernels;
use image::{Image, TOGETHER};
use layout::Layout;
use problem::Problem;
pub(super) use problem::circle;
use project::{Beyond, Blend, Project};
use rayon::prelude::*;
use share::{Buffer, Shared};
use spread::{Cut, Grid, Line};
use std::sync::atomic::{AtomicUsize, Ordering};
use tomokit_formats::Result;

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
        each(workers, l.rows(), |_, r| {
            // SAFETY: each job has a row of the grid of its own.
            unsafe { grid.at(r * grid_row, grid_row).write_bytes(0, grid_row) }
        });
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
            // SAFETY: as above; the buffer is this worker's.
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

#[cfg(test)]
mod tests;
