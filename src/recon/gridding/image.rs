//! From the grid to slices: fold the halves together, transform along both axes, divide by the kernel's transform, back
//! from lanes to slices.
//!
//! The image is real, so only rows `v >= 0` of the grid exist; what was spread below row 0 and above the last one is the
//! conjugate of points inside. Columns (`u`) belong to image rows, rows (`v`) to image columns.

use super::fft::Fft;
use super::layout::Layout;
use super::vector::{Cx, RUN, Vector};
use std::f64::consts::TAU;

/// Image rows that are transformed together: their grid columns are neighbours in memory.
pub(super) const TOGETHER: usize = 4;

/// Grid rows that are asked for ahead.
const AHEAD: usize = 6;

/// Tables of the stage.
pub(super) struct Image {
    along_u: Fft,
    along_v: Fft,
    /// `i exp(2πi v / gv)` for `v = 0..=gv/2`.
    join: Vec<f32>,
    /// Factor per image row of the region, sign of the centred grid included.
    rows: Vec<f32>,
    /// Factor per image column of the region.
    cols: Vec<f32>,
}

impl Image {
    pub(super) fn new(l: &Layout) -> Image {
        let kernel = l.kernel;
        let factor = |n: usize, at: i64| 1.0 / kernel.transform(at as f64 / n as f64);
        Image {
            along_u: Fft::new(l.gu),
            along_v: Fft::new(l.gv / 2),
            join: (0..=l.gv / 2)
                .flat_map(|v| {
                    let (sin, cos) = (TAU * v as f64 / l.gv as f64).sin_cos();
                    [-sin as f32, cos as f32]
                })
                .collect(),
            rows: l
                .region_rows()
                .map(|i| (factor(l.gu, i) * if i.rem_euclid(2) == 0 { 1.0 } else { -1.0 }) as f32)
                .collect(),
            cols: l.region_cols().map(|j| factor(l.gv, j) as f32).collect(),
        }
    }

    /// Floats of the buffer of both passes for vectors of `lanes`.
    pub(super) fn buffer(&self, lanes: usize) -> usize {
        let u = 2 * self.along_u.len();
        let v = (TOGETHER + 1) * self.along_v.len();
        u.max(v) * 2 * lanes
    }

    /// Folds grid row `v` (0..=gv/2), transforms it, and leaves the wanted image rows at the row's start.
    ///
    /// # Safety
    /// `grid` points to the whole grid; no other thread uses row `v` or its mirror image below 0 or above gv/2; `buffer`
    /// holds [`Image::buffer`] floats; the caller runs inside a function compiled for `V`.
    #[inline(always)]
    pub(super) unsafe fn row<V: Vector>(&self, l: &Layout, v: usize, grid: *mut f32, buffer: *mut f32) {
        let el = 2 * V::LANES;
        let margin = l.margin;
        // SAFETY: rows -margin..=gv/2 + margin exist, with columns -gu/2 - margin..=gu/2 + margin.
        unsafe {
            let row = grid.add((v + margin) * l.row * el);
            for (mirror, here) in [(0, v <= margin), (l.gv / 2, l.gv / 2 - v <= margin)] {
                if here {
                    let other = grid.add((2 * mirror + margin - v) * l.row * el);
                    fold::<V>(row, other, l.row);
                }
            }
            for c in 0..margin {
                let (from, to) = (row.add(c * el), row.add((c + l.gu) * el));
                Cx::<V>::load(to).add(Cx::load(from)).store(to);
            }
            for c in margin..=2 * margin {
                let (to, from) = (row.add(c * el), row.add((c + l.gu) * el));
                Cx::<V>::load(to).add(Cx::load(from)).store(to);
            }
            let second = buffer.add(l.gu * el);
            let done = self.along_u.run::<V>(row.add(margin * el), buffer, second);
            for (r, i) in l.region_rows().enumerate() {
                let from = done.add(i.rem_euclid(l.gu as i64) as usize * el);
                Cx::<V>::load(from).store(row.add(r * el));
            }
        }
    }

    /// Transforms image rows `first..first + count` (of the region, `count <= TOGETHER`) and gives row `r` of lane `s`
    /// to `out(s, r)`, which returns where its columns go, or null for a lane that is not wanted.
    ///
    /// # Safety
    /// As for [`Image::row`], with the grid only read; what `out` gives has room for the region's columns.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    pub(super) unsafe fn columns<V: Vector>(
        &self,
        l: &Layout,
        first: usize,
        count: usize,
        lanes: usize,
        grid: *const f32,
        buffer: *mut f32,
        out: &dyn Fn(usize, usize) -> *mut f32,
    ) {
        let el = 2 * V::LANES;
        let half = self.along_v.len();
        // SAFETY: v and half - v are rows 0..=half of the grid; the buffer has room for TOGETHER + 1 columns.
        unsafe {
            let spare = buffer.add(TOGETHER * half * el);
            for v in 0..half {
                let p = grid.add(((v + l.margin) * l.row + first) * el);
                let q = grid.add(((half - v + l.margin) * l.row + first) * el);
                let w = self.join.as_ptr().add(2 * v);
                // Each row is far from the next: ask in time.
                for line in (0..count * el).step_by(16) {
                    V::prefetch(p.wrapping_add(AHEAD * l.row * el + line));
                    V::prefetch(q.wrapping_sub(AHEAD * l.row * el).wrapping_add(line));
                }
                for c in 0..count {
                    let (a, b) = (Cx::<V>::load(p.add(c * el)), Cx::<V>::load(q.add(c * el)));
                    a.sub_conj(b).twiddle_add(w, a.add_conj(b)).store(buffer.add((c * half + v) * el));
                }
            }
            for c in 0..count {
                let x = buffer.add(c * half * el);
                let z = self.along_v.run::<V>(x, spare, x);
                self.lanes_out::<V>(l, first + c, lanes, z, out);
            }
        }
    }

    /// One image row from `[column][lane]` to its slices.
    #[inline(always)]
    unsafe fn lanes_out<V: Vector>(
        &self,
        l: &Layout,
        row: usize,
        lanes: usize,
        z: *mut f32,
        out: &dyn Fn(usize, usize) -> *mut f32,
    ) {
        let n = V::LANES;
        let mut to = [std::ptr::null_mut::<f32>(); 16];
        for (s, p) in to.iter_mut().enumerate().take(lanes) {
            *p = out(s, row);
        }
        let f = self.rows[row];
        let total = self.cols.len();
        let start = l.region_cols().start;
        // The region's columns are one or two runs of the transform's circle.
        let split = if start < 0 { (-start as usize).min(total) } else { 0 };
        // SAFETY: column j of the region lies at start + j, modulo gv, on the circle.
        unsafe {
            for (a, b, base) in [(0, split, (start + l.gv as i64) as usize), (split, total, start.max(0) as usize)] {
                for start in (a..b).step_by(RUN) {
                    let end = b.min(start + RUN);
                    let p = z.add((base + start - a) * n);
                    for j in start..end {
                        let e = p.add((j - start) * n);
                        V::load(e).mul(V::splat(f * self.cols[j])).store(e);
                    }
                    for lane in (0..lanes).step_by(4) {
                        let whole = if lane + 4 <= lanes { end - (end - start) % 4 } else { start };
                        for j in (start..whole).step_by(4) {
                            let e = |i: usize| p.add((j + i - start) * n + lane).cast_const();
                            let t = |i: usize| to[lane + i].add(j);
                            V::transpose([e(0), e(1), e(2), e(3)], [t(0), t(1), t(2), t(3)]);
                        }
                        for j in whole..end {
                            for (s, t) in to.iter().enumerate().take(lanes.min(lane + 4)).skip(lane) {
                                *t.add(j) = *p.add((j - start) * n + s);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Adds the mirrored conjugate of `other` to `row`, both `n` elements; the same row twice is folded onto itself.
#[inline(always)]
unsafe fn fold<V: Vector>(row: *mut f32, other: *mut f32, n: usize) {
    let el = 2 * V::LANES;
    // SAFETY: both rows have n elements.
    unsafe {
        if row == other {
            for c in 0..n.div_ceil(2) {
                let (p, q) = (row.add(c * el), row.add((n - 1 - c) * el));
                let (a, b) = (Cx::<V>::load(p), Cx::<V>::load(q));
                a.add_conj(b).store(p);
                b.add_conj(a).store(q);
            }
        } else {
            for c in 0..n {
                let (p, q) = (row.add(c * el), other.add((n - 1 - c) * el));
                Cx::<V>::load(p).add_conj(Cx::load(q)).store(p);
            }
        }
    }
}
