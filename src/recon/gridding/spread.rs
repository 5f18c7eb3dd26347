//! Gridding: every polar sample is added to the grid points around it, weighted by the kernel.
//!
//! The inner loop adds whole vectors of slices: position and weights of a sample are computed once for all of them. A
//! piece of work is a run of neighbouring directions on a range of columns or rows of the grid; every point belongs to
//! one piece and gets its samples in the order of the directions, so how the grid is cut changes no bit.

use super::kernel::{Kernel, MAX_WIDTH};
use super::vector::{Cx, Vector};

/// Where the samples `m = 0..=last` of a projection lie: grid position `u = u0 + m du`, `v = v0 + m dv` of the first
/// tap, minus one (so that truncation gives the tap before the first).
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) du: f64,
    pub(super) dv: f64,
}

/// What all pieces share.
#[derive(Clone, Copy)]
pub(super) struct Grid<'a> {
    /// Elements per row.
    pub(super) row: usize,
    /// Position of the first sample's first tap, before rounding up.
    pub(super) u0: f64,
    pub(super) v0: f64,
    /// Last sample of a line.
    pub(super) last: usize,
    /// [`Kernel::taps`].
    pub(super) taps: &'a [[f32; MAX_WIDTH]],
}

/// Half-open ranges of grid columns and rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) u: (usize, usize),
    pub(super) v: (usize, usize),
}

/// Neighbouring directions that are walked side by side. Part of what fixes the order of the sums.
pub(super) const ABREAST: usize = 16;

/// How many samples ahead memory is asked for.
const AHEAD: f64 = 3.0;

/// The samples of a line that a cut is concerned with: those in `first..end` may meet it, those in `from..to` lie in it
/// with all their taps.
#[derive(Clone, Copy, Default)]
struct Part {
    first: usize,
    end: usize,
    from: usize,
    to: usize,
}

impl Part {
    fn new<const W: usize>(g: &Grid<'_>, line: Line, cut: Cut) -> Part {
        let (mut first, mut end) = (0usize, g.last + 1);
        for (p0, d, (lo, hi)) in [(g.u0, line.du, cut.u), (g.v0, line.dv, cut.v)] {
            // Taps are the W points after p = p0 + m d: keep the samples that may meet lo..hi, one to spare.
            let (lo, hi) = (lo as f64 - W as f64 - 1.0, hi as f64 + 1.0);
            if d.abs() > 1e-6 {
                let (a, b) = ((lo - p0) / d, (hi - p0) / d);
                first = first.max(a.min(b).max(0.0) as usize);
                end = end.min((a.max(b) + 1.0).max(0.0).ceil() as usize);
            } else if p0 < lo || p0 > hi {
                end = 0;
            }
        }
        let inside = |m: usize| {
            let (a, b) = g.corner(line, m as f64);
            a >= cut.u.0 && a + W <= cut.u.1 && b >= cut.v.0 && b + W <= cut.v.1
        };
        // Positions run one way, so the samples that lie wholly inside are one run.
        let mut part = Part { first, end, from: first, to: end.max(first) };
        while part.from < part.to && !inside(part.from) {
            part.from += 1;
        }
        while part.to > part.from && !inside(part.to - 1) {
            part.to -= 1;
        }
        part
    }
}

impl Grid<'_> {
    /// Column and row of the first tap of sample `at`.
    #[inline(always)]
    fn corner(&self, line: Line, at: f64) -> (usize, usize) {
        ((self.u0 + at * line.du) as usize + 1, (self.v0 + at * line.dv) as usize + 1)
    }
}

/// Adds the samples of at most [`ABREAST`] lines to the points of `cut`. Width `W`; `D` coefficients per polynomial.
///
/// # Safety
/// `q` holds `(last + 1) * 2 * LANES` floats per line; `grid` points to the whole grid, in which all taps of all samples
/// lie; no other thread uses the points of `cut`; the caller runs inside a function compiled for `V`.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
pub(super) unsafe fn lines<V: Vector, const W: usize, const D: usize>(
    g: &Grid<'_>,
    lines: &[Line],
    cut: Cut,
    q: *const f32,
    grid: *mut f32,
) {
    debug_assert!(D == Kernel::degree(W) + 1 && lines.len() <= ABREAST);
    let el = 2 * V::LANES;
    let mut parts = [Part::default(); ABREAST];
    let (mut first, mut end) = (usize::MAX, 0);
    for (p, l) in parts.iter_mut().zip(lines) {
        *p = Part::new::<W>(g, *l, cut);
        first = first.min(p.first);
        end = end.max(p.end);
    }
    let mut taps = [[0f32; MAX_WIDTH]; D];
    taps.copy_from_slice(&g.taps[..D]);
    let line_step = (g.last + 1) * el;
    let row_step = g.row * el;
    for m in first..end {
        let at = m as f64;
        for (i, (line, part)) in lines.iter().zip(&parts).enumerate() {
            // SAFETY: positions are those of the plan, inside the grid and far below 2^31; row and column of every tap
            // written lie inside the cut.
            unsafe {
                let q = q.add(i * line_step + m * el);
                if m >= part.from && m < part.to {
                    let a = (g.u0 + at * line.du).to_int_unchecked::<i32>() as isize + 1;
                    let b = (g.v0 + at * line.dv).to_int_unchecked::<i32>() as isize + 1;
                    let (wu, wv, value) = sample::<V, D>(g, *line, at, &taps, q);
                    let mut row = grid.offset(b * row_step as isize + a * el as isize);
                    // The taps on the side the line is heading for, of a sample that comes soon.
                    let ahead = grid.wrapping_offset(
                        (b + (AHEAD * line.dv).to_int_unchecked::<i32>() as isize) * row_step as isize
                            + (a + (AHEAD * line.du).to_int_unchecked::<i32>() as isize) * el as isize,
                    );
                    let (start, step) = if line.dv > line.du.abs() {
                        ((W - 1) * row_step, el)
                    } else {
                        (if line.du > 0.0 { (W - 1) * el } else { 0 }, row_step)
                    };
                    for i in 0..W {
                        let p = ahead.wrapping_add(start + i * step);
                        V::prefetch(p);
                        if el > 16 {
                            V::prefetch(p.wrapping_add(16));
                        }
                    }
                    let mut along = [value; W];
                    for j in 0..W {
                        along[j] = value.scale(V::splat(wu[j]));
                    }
                    for i in 0..W {
                        let f = V::splat(wv[i]);
                        for j in 0..W {
                            let p = row.add(j * el);
                            along[j].scale_add(f, Cx::load(p)).store(p);
                        }
                        row = row.add(row_step);
                    }
                } else if m >= part.first && m < part.end {
                    let (a, b) = g.corner(*line, at);
                    let (wu, wv, value) = sample::<V, D>(g, *line, at, &taps, q);
                    for (i, y) in (b..b + W).enumerate().filter(|(_, y)| (cut.v.0..cut.v.1).contains(y)) {
                        for (j, x) in (a..a + W).enumerate().filter(|(_, x)| (cut.u.0..cut.u.1).contains(x)) {
                            let p = grid.add((y * g.row + x) * el);
                            value.scale(V::splat(wu[j])).scale_add(V::splat(wv[i]), Cx::load(p)).store(p);
                        }
                    }
                }
            }
        }
    }
}

/// Weights along u and along v, and the value, of the sample at `q`, number `at` of its line.
#[inline(always)]
unsafe fn sample<V: Vector, const D: usize>(
    g: &Grid<'_>,
    line: Line,
    at: f64,
    taps: &[[f32; MAX_WIDTH]; D],
    q: *const f32,
) -> ([f32; MAX_WIDTH], [f32; MAX_WIDTH], Cx<V>) {
    let (u, v) = (g.u0 + at * line.du, g.v0 + at * line.dv);
    // SAFETY: positions are those of the plan: not negative and far below 2^31.
    unsafe {
        let (iu, iv) = (u.to_int_unchecked::<i32>(), v.to_int_unchecked::<i32>());
        let (fu, fv) = (0.5 - (u - f64::from(iu)) as f32, 0.5 - (v - f64::from(iv)) as f32);
        (V::eight(taps, fu), V::eight(taps, fv), Cx::load(q))
    }
}
