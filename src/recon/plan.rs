//! Plan once, execute many. Guarantees: no allocation of its own in [`FbpPlan::execute`], the same bytes for a slice on
//! any number of threads and in any batch; leaves reading, correcting and writing to the caller.

use super::direct::{Direct, TILE, Tile};
use super::gridding::{self, Gridding, Input};
use super::rowfilter::{RowFilter, RowScratch};
use super::simd::Simd;
use super::{Backend, Centre, Field, Geometry, Options};
use rayon::prelude::*;
use tomokit_formats::{Error, Result};

/// Borrowed −log projections of several slices, in whatever order they were read.
#[derive(Clone, Copy)]
pub struct Sinograms<'a> {
    data: &'a [f32],
    slices: usize,
    slice_stride: usize,
    angle_stride: usize,
}

impl<'a> Sinograms<'a> {
    /// `[slice][angle][column]`.
    pub fn by_slice(data: &'a [f32], slices: usize, angles: usize, cols: usize) -> Self {
        Sinograms { data, slices, slice_stride: angles.saturating_mul(cols), angle_stride: cols }
    }

    /// `[angle][row][column]`: a band of detector rows as it comes from the frames, no transposition needed.
    pub fn by_frame(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Sinograms { data, slices: rows, slice_stride: cols, angle_stride: rows.saturating_mul(cols) }
    }

    /// Number of slices.
    pub fn slices(&self) -> usize {
        self.slices
    }

    fn row(&self, slice: usize, angle: usize, cols: usize) -> &'a [f32] {
        let o = slice * self.slice_stride + angle * self.angle_stride;
        &self.data[o..o + cols]
    }
}

/// Working memory of [`FbpPlan::execute`], owned by the caller and reused from call to call.
pub struct Scratch(Buffers);

enum Buffers {
    Direct(DirectScratch),
    Gridding(gridding::Scratch),
}

/// Working memory of the direct back end.
struct DirectScratch {
    lanes: usize,
    /// `[angle][stored column][lane]`.
    filtered: Vec<f32>,
    /// `[tile][row][column][lane]` of a few rows of tiles.
    tiles: Vec<f32>,
    tile_rows: usize,
    rows: Vec<RowScratch>,
}

impl Scratch {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Buffers::Direct(s) => (s.filtered.len() + s.tiles.len()) * 4,
            Buffers::Gridding(s) => s.bytes(),
        }
    }
}

/// The engine behind a plan, with its tables. Both share geometry, weights, padding and filter response.
enum Engine {
    Direct(RowFilter, Direct),
    Gridding(Box<Gridding>),
}

/// Filtered backprojection of one scan: tables made once, shared by all threads.
pub struct FbpPlan {
    geometry: Geometry,
    options: Options,
    engine: Engine,
    /// Half-open seen columns of every row of the full slice, if voxels outside are to be zero.
    seen: Option<Vec<(usize, usize)>>,
    /// Least and largest of the axes that may be asked for.
    axes_px: (f64, f64),
    simd: Simd,
}

impl FbpPlan {
    /// Checks geometry and options and makes the tables. Costs about `angles * rows` operations and a few megabytes.
    ///
    /// # Errors
    /// Impossible geometry or options ([`Geometry::check`], [`Options::check`]).
    pub fn new(geometry: &Geometry, options: &Options) -> Result<Self> {
        Self::for_axes(geometry, options, &[])
    }

    /// As [`FbpPlan::new`], for [`FbpPlan::execute_axes`] with these axes.
    ///
    /// # Errors
    /// As [`FbpPlan::new`] with each of the axes; more than one of them with the direct back end, with slices in the
    /// detector's frame, or on both sides of the middle of an extended field.
    pub fn for_axes(geometry: &Geometry, options: &Options, axes_px: &[f64]) -> Result<Self> {
        for a in axes_px {
            let g = Geometry { rotation_axis_px: *a, ..geometry.clone() };
            g.check()?;
            if matches!(g.field, Field::Extended { .. }) && g.axis_on_right() != geometry.axis_on_right() {
                return Err(Error::caller("the axes lie on both sides of the middle of an extended field")
                    .expected(format!("on the side of column {}", geometry.rotation_axis_px))
                    .found(a));
            }
        }
        if !axes_px.is_empty() && options.backend == Backend::Direct {
            return Err(Error::caller("several axes at a time are for the gridding back end"));
        }
        if !axes_px.is_empty() && geometry.output.centre == Centre::Detector {
            return Err(Error::caller("several axes at a time need slices with the axis at a fixed voxel"));
        }
        geometry.check()?;
        options.check()?;
        let seen = geometry.masked(options.mask);
        let engine = match options.backend {
            Backend::Gridding => Engine::Gridding(Box::new(Gridding::of(geometry, options, axes_px)?)),
            Backend::Direct => {
                let filter = RowFilter::new(geometry, options)?;
                let direct = Direct::new(geometry, options, filter.span(), seen.is_some());
                Engine::Direct(filter, direct)
            }
        };
        let axes_px = axes_px.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |r, a| (a.min(r.0), a.max(r.1)));
        Ok(FbpPlan { geometry: geometry.clone(), options: *options, engine, seen, axes_px, simd: Simd::detect() })
    }

    /// The same plan on other vector instructions: for comparison and benchmarks.
    ///
    /// # Errors
    /// If this machine does not have them.
    pub fn with_simd(mut self, simd: Simd) -> Result<Self> {
        if !Simd::available().contains(&simd) {
            return Err(Error::caller("this processor does not have these vector instructions")
                .expected(format!("{:?}", Simd::available()))
                .found(format!("{simd:?}")));
        }
        self.simd = simd;
        Ok(self)
    }

    /// The geometry planned for.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The options planned for.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Length of the FFT of a projection.
    pub fn fft_len(&self) -> usize {
        match &self.engine {
            Engine::Direct(filter, _) => filter.len(),
            Engine::Gridding(g) => g.fft_len(),
        }
    }

    /// Kernel width and grid (columns, rows) of the gridding back end; `None` for the direct one.
    pub fn grid(&self) -> Option<(usize, (usize, usize))> {
        match &self.engine {
            Engine::Direct(..) => None,
            Engine::Gridding(g) => Some(g.describe()),
        }
    }

    /// Slices that are worked on together: batches are best a multiple of it.
    pub fn lanes(&self) -> usize {
        self.simd.lanes()
    }

    /// Voxels of one slice of the output (columns × rows).
    pub fn slice_len(&self) -> usize {
        let (nx, ny) = self.geometry.slice_size();
        nx * ny
    }

    /// Bytes needed for `batch` slices: sinograms, slices and one [`Scratch`] for `workers` threads.
    pub fn memory_bytes(&self, batch: usize, workers: usize) -> u64 {
        let sino = self.geometry.angles_rad.len() as u64 * self.geometry.cols as u64;
        4 * (sino + self.slice_len() as u64) * batch as u64 + self.scratch_bytes(batch, workers)
    }

    /// Bytes of a [`Scratch`] for batches of at most `batch` slices on `workers` threads.
    pub fn scratch_bytes(&self, batch: usize, workers: usize) -> u64 {
        let lanes = self.lanes_for(batch);
        match &self.engine {
            Engine::Gridding(g) => g.scratch_bytes(lanes, workers, false),
            Engine::Direct(filter, direct) => {
                let (filtered, tiles, _) = self.scratch_sizes(direct, lanes, workers);
                4 * (filtered + tiles) + workers.max(1) as u64 * filter.scratch_bytes()
            }
        }
    }

    /// Working memory for any batch on the current thread pool.
    ///
    /// # Errors
    /// If there is not that much memory.
    pub fn scratch(&self) -> Result<Scratch> {
        self.scratch_for(usize::MAX, rayon::current_num_threads())
    }

    /// Working memory for batches of at most `batch` slices on `workers` threads. Larger batches work with it too.
    ///
    /// # Errors
    /// If there is not that much memory.
    pub fn scratch_for(&self, batch: usize, workers: usize) -> Result<Scratch> {
        let lanes = self.lanes_for(batch);
        let refused = || {
            Error::limit(format!("{} MB of working memory are not to be had", self.scratch_bytes(batch, workers) >> 20))
                .hint("make fewer slices at a time, or use a machine with more memory")
        };
        let (filter, direct) = match &self.engine {
            Engine::Gridding(g) => {
                return g.scratch(lanes, workers, false).map(|s| Scratch(Buffers::Gridding(s))).ok_or_else(refused);
            }
            Engine::Direct(filter, direct) => (filter, direct),
        };
        let (filtered, tiles, tile_rows) = self.scratch_sizes(direct, lanes, workers);
        let get = |n: u64| {
            let mut v = Vec::new();
            let n = usize::try_from(n).unwrap_or(usize::MAX);
            v.try_reserve_exact(n).map_err(|e| refused().source(e))?;
            v.resize(n, 0f32);
            Ok(v)
        };
        Ok(Scratch(Buffers::Direct(DirectScratch {
            lanes,
            filtered: get(filtered)?,
            tiles: get(tiles)?,
            tile_rows,
            rows: (0..workers.max(1)).map(|_| filter.scratch()).collect(),
        })))
    }

    /// Slices that a scratch for `slices` of them works on together.
    fn lanes_for(&self, slices: usize) -> usize {
        if let Engine::Gridding(_) = &self.engine {
            return Gridding::lanes_for(self.simd, slices);
        }
        let mut lanes = 4;
        while lanes < self.simd.lanes() && lanes < slices {
            lanes *= 2;
        }
        lanes
    }

    /// Floats of filtered projections, floats of tiles, rows of tiles.
    fn scratch_sizes(&self, d: &Direct, lanes: usize, workers: usize) -> (u64, u64, usize) {
        let (tx, ty) = self.tile_grid();
        // Enough tiles at a time to keep the workers evenly busy.
        let tile_rows = (8 * workers.max(1)).div_ceil(tx.len()).min(ty.len());
        let filtered = self.geometry.angles_rad.len() as u64 * d.row() as u64 * lanes as u64;
        let tiles = (tile_rows * tx.len() * TILE * TILE * lanes) as u64;
        (filtered, tiles, tile_rows)
    }

    /// Tiles of the full slice that meet the region, columns and rows.
    fn tile_grid(&self) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        let r = self.geometry.roi();
        (r.x0 / TILE..r.x1.div_ceil(TILE), r.y0 / TILE..r.y1.div_ceil(TILE))
    }

    /// Reconstructs slices `[slice][row][column]` (columns × rows as [`Geometry::slice_size`]) on the current rayon
    /// pool. Values outside the seen region are exactly zero if the mask is on. A NaN in a sinogram stays in its slice.
    ///
    /// # Errors
    /// Lengths that do not fit the plan, or scratch made by another plan.
    pub fn execute(&self, sinograms: Sinograms<'_>, slices: &mut [f32], scratch: &mut Scratch) -> Result<()> {
        let (n, cols) = (self.geometry.angles_rad.len(), self.geometry.cols);
        let needed = n.checked_mul(cols).and_then(|v| v.checked_mul(sinograms.slices));
        if needed != Some(sinograms.data.len()) {
            return Err(Error::caller("the sinograms do not fit the plan")
                .expected(format!("{} slices of {n} projections of {cols} columns", sinograms.slices))
                .found(format!("{} values", sinograms.data.len())));
        }
        if sinograms.slices.checked_mul(self.slice_len()) != Some(slices.len()) {
            return Err(Error::caller("the output does not fit the plan")
                .expected(format!("{} slices of {} values", sinograms.slices, self.slice_len()))
                .found(slices.len()));
        }
        let seen = self.seen.as_deref();
        let mut done = 0;
        match (&self.engine, &mut scratch.0) {
            (Engine::Gridding(g), Buffers::Gridding(scratch)) if g.fits(scratch) => {
                for group in slices.chunks_mut(scratch.lanes() * self.slice_len()) {
                    let first = done;
                    done += group.len() / self.slice_len();
                    let rows = |lane: usize, k: usize| sinograms.row(first + lane, k, cols);
                    g.run(self.simd, &Input::Slices(done - first, &rows), seen, group, scratch);
                }
            }
            (Engine::Direct(filter, direct), Buffers::Direct(scratch))
                if {
                    let (filtered, tiles, _) = self.scratch_sizes(direct, scratch.lanes, 1);
                    scratch.filtered.len() as u64 >= filtered && scratch.tiles.len() as u64 >= tiles
                } =>
            {
                for group in slices.chunks_mut(scratch.lanes * self.slice_len()) {
                    let count = group.len() / self.slice_len();
                    let lanes = self.lanes_for(count).min(scratch.lanes);
                    self.filter_group(filter, direct, sinograms, done, count, lanes, scratch);
                    self.backproject_group(direct, group, lanes, scratch);
                    done += count;
                }
            }
            _ => return Err(Error::caller("the working memory was made for another plan")),
        }
        Ok(())
    }

    /// Reconstructs one slice with several axes, those of [`FbpPlan::for_axes`] or others between them, to
    /// `[axis][row][column]`. Every slice has its axis at the same voxel, and equals to rounding what a plan with that axis
    /// gives, except that the mask is that of the plan's own axis. The projections are read and transformed once.
    ///
    /// # Errors
    /// As [`FbpPlan::execute`]; an axis that the plan was not made for.
    pub fn execute_axes(
        &self,
        sinogram: Sinograms<'_>,
        axes_px: &[f64],
        slices: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<()> {
        let (n, cols) = (self.geometry.angles_rad.len(), self.geometry.cols);
        if sinogram.slices != 1 || sinogram.data.len() != n * cols {
            return Err(Error::caller("the sinogram does not fit the plan")
                .expected(format!("one slice of {n} projections of {cols} columns"))
                .found(format!("{} slices, {} values", sinogram.slices, sinogram.data.len())));
        }
        if axes_px.len().checked_mul(self.slice_len()) != Some(slices.len()) {
            return Err(Error::caller("the output does not fit the plan")
                .expected(format!("{} slices of {} values", axes_px.len(), self.slice_len()))
                .found(slices.len()));
        }
        if let Some(a) = axes_px.iter().find(|a| !(self.axes_px.0..=self.axes_px.1).contains(*a)) {
            return Err(Error::caller("the plan was not made for this axis")
                .expected(format!("{} to {}", self.axes_px.0, self.axes_px.1))
                .found(a));
        }
        let (Engine::Gridding(g), Buffers::Gridding(scratch)) = (&self.engine, &mut scratch.0) else {
            return Err(Error::caller("the working memory was made for another plan"));
        };
        if !g.fits_axes(scratch) {
            return Err(Error::caller("the working memory was made for another plan"));
        }
        let rows = |_: usize, k: usize| sinogram.row(0, k, cols);
        g.prepare(self.simd, &rows, scratch);
        let lanes = scratch.lanes();
        for (axes, group) in axes_px.chunks(lanes).zip(slices.chunks_mut(lanes * self.slice_len())) {
            g.run(self.simd, &Input::Axes(axes, &rows), self.seen.as_deref(), group, scratch);
        }
        Ok(())
    }

    /// Bytes of the working memory of [`FbpPlan::execute_axes`].
    pub fn axes_scratch_bytes(&self, axes: usize, workers: usize) -> u64 {
        match &self.engine {
            Engine::Gridding(g) => g.scratch_bytes(self.lanes_for(axes), workers, true),
            Engine::Direct(..) => 0,
        }
    }

    /// Working memory of [`FbpPlan::execute_axes`] for so many axes (more work with it too) on `workers` threads.
    ///
    /// # Errors
    /// If there is not that much memory, or for the direct back end.
    pub fn axes_scratch(&self, axes: usize, workers: usize) -> Result<Scratch> {
        let Engine::Gridding(g) = &self.engine else {
            return Err(Error::caller("several axes at a time are for the gridding back end"));
        };
        let scratch = g.scratch(self.lanes_for(axes), workers, true);
        scratch.map(|s| Scratch(Buffers::Gridding(s))).ok_or_else(|| {
            let bytes = self.axes_scratch_bytes(axes, workers);
            Error::limit(format!("{} MB of working memory are not to be had", bytes >> 20)).hint("try fewer axes")
        })
    }

    /// Filters slices `first..first + count` into `scratch.filtered`; unused lanes are zero.
    #[allow(clippy::too_many_arguments)]
    fn filter_group(
        &self,
        filter: &RowFilter,
        d: &Direct,
        s: Sinograms<'_>,
        first: usize,
        count: usize,
        lanes: usize,
        scratch: &mut DirectScratch,
    ) {
        let n = self.geometry.angles_rad.len();
        let one = d.row() * lanes;
        let share = n.div_ceil(scratch.rows.len());
        let work = scratch.filtered[..n * one].par_chunks_mut(share * one).zip(scratch.rows.par_iter_mut());
        work.enumerate().for_each(|(chunk, (out, rows))| {
            for (i, q) in out.chunks_exact_mut(one).enumerate() {
                let k = chunk * share + i;
                q[..lanes].fill(0.0);
                q[one - lanes..].fill(0.0);
                let inner = &mut q[lanes..one - lanes];
                if count < lanes {
                    inner.fill(0.0);
                }
                for lane in 0..count {
                    let row = s.row(first + lane, k, self.geometry.cols);
                    filter.apply(k, row, rows, d.lo, &mut inner[lane..], lanes);
                }
            }
        });
    }

    fn backproject_group(&self, d: &Direct, group: &mut [f32], lanes: usize, scratch: &mut DirectScratch) {
        let (tx, ty) = self.tile_grid();
        let roi = self.geometry.roi();
        let (nx, _) = self.geometry.slice_size();
        let size = TILE * TILE * lanes;
        let tile = |ix: usize, iy: usize| {
            let (x0, y0) = ((tx.start + ix) * TILE, iy * TILE);
            let part = |start: usize, a: usize, b: usize| a.saturating_sub(start)..(b - start).min(TILE);
            Tile { x0, y0, x: part(x0, roi.x0, roi.x1), y: part(y0, roi.y0, roi.y1) }
        };
        let filtered = &scratch.filtered[..];
        for band in ty.clone().step_by(scratch.tile_rows) {
            let rows = scratch.tile_rows.min(ty.end - band);
            let tiles = &mut scratch.tiles[..rows * tx.len() * size];
            tiles.par_chunks_mut(size).enumerate().for_each(|(t, acc)| {
                let tile = tile(t % tx.len(), band + t / tx.len());
                let wanted = tile.y.clone().any(|r| {
                    let (a, b) = self.wanted(tile.y0 + r);
                    a < tile.x0 + tile.x.end && b > tile.x0 + tile.x.start
                });
                if wanted {
                    d.tile(self.simd, lanes, filtered, &tile, acc);
                }
            });
            let tiles = &*tiles;
            group.par_chunks_mut(self.slice_len()).enumerate().for_each(|(lane, slice)| {
                for t in 0..rows * tx.len() {
                    let tile = tile(t % tx.len(), band + t / tx.len());
                    for r in tile.y.clone() {
                        let row = tile.y0 + r;
                        let (a, b) = self.wanted(row);
                        let line = &tiles[t * size + r * TILE * lanes..][..TILE * lanes];
                        let start = (row - roi.y0) * nx + tile.x0 + tile.x.start - roi.x0;
                        let out = &mut slice[start..start + tile.x.len()];
                        for (c, o) in tile.x.clone().zip(out) {
                            let col = tile.x0 + c;
                            *o = if col >= a && col < b { line[c * lanes + lane] } else { 0.0 };
                        }
                    }
                }
            });
        }
    }

    /// Columns of a row of the full slice that hold values.
    fn wanted(&self, row: usize) -> (usize, usize) {
        self.seen.as_ref().map_or((0, self.geometry.output.nx), |s| s[row])
    }
}
