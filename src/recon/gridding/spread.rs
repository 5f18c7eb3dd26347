//! Gridding: every polar sample is added to the grid points around it, weighted by the kernel.
//!
//! The inner loop adds whole vectors of slices: position and weights of a sample are computed once for all of them. Storing
//! limits; so two neighbours of a line, whose taps overlap by two thirds, are added in one go where the registers allow.
//!
//! A piece of work is a run of neighbouring directions on a range of columns or rows of the grid; every point belongs to
//! one piece and gets its samples in the same order, so how the grid is cut changes no bit.

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
    let pairs = V::PAIRS && W <= WIDEST_PAIR;
    // Two neighbouring samples of a line at a time, of every line in turn: that is the order of the sums, with every kind
    // of vector and however the grid is cut.
    for m in (first / 2 * 2..end).step_by(2) {
        for (i, (line, part)) in lines.iter().zip(&parts).enumerate() {
            let inside = |m: usize| m >= part.from && m < part.to;
            // SAFETY: positions are those of the plan, inside the grid and far below 2^31; row and column of every tap
            // written lie inside the cut.
            unsafe {
                let q = q.add(i * line_step + m * el);
                if pairs && inside(m) && inside(m + 1) {
                    let one = sample::<V, W, D>(g, *line, m, &taps, q);
                    let two = sample::<V, W, D>(g, *line, m + 1, &taps, q.add(el));
                    one.ask_ahead(*line, grid, row_step);
                    two.ask_ahead(*line, grid, row_step);
                    let done = match two.a - one.a {
                        0 => pair::<V, W, 0>(&one, &two, grid, row_step),
                        1 => pair::<V, W, 1>(&one, &two, grid, row_step),
                        -1 => pair::<V, W, -1>(&one, &two, grid, row_step),
                        _ => false,
                    };
                    if !done {
                        one.add_to(grid, row_step);
                        two.add_to(grid, row_step);
                    }
                    continue;
                }
                for (m, q) in [(m, q), (m + 1, q.wrapping_add(el))] {
                    if inside(m) {
                        let s = sample::<V, W, D>(g, *line, m, &taps, q);
                        s.ask_ahead(*line, grid, row_step);
                        s.add_to(grid, row_step);
                    } else if m >= part.first && m < part.end {
                        sample::<V, W, D>(g, *line, m, &taps, q).add_within(cut, grid, row_step);
                    }
                }
            }
        }
    }
}

/// Widest kernel of which the taps of two samples fit the registers.
const WIDEST_PAIR: usize = 6;

/// A sample, ready to be added: column and row of its first tap, its weights along both, its value.
struct Sample<V, const W: usize> {
    a: isize,
    b: isize,
    wu: [f32; MAX_WIDTH],
    wv: [f32; MAX_WIDTH],
    value: Cx<V>,
}

// SAFETY (all methods): as for [`lines`].
#[allow(clippy::needless_range_loop, clippy::undocumented_unsafe_blocks)]
impl<V: Vector, const W: usize> Sample<V, W> {
    /// The value times the weight of every column.
    #[inline(always)]
    unsafe fn along(&self) -> [Cx<V>; W] {
        let mut along = [self.value; W];
        for j in 0..W {
            along[j] = unsafe { self.value.scale(V::splat(self.wu[j])) };
        }
        along
    }

    #[inline(always)]
    unsafe fn first_tap(&self, grid: *mut f32, row_step: usize) -> *mut f32 {
        unsafe { grid.offset(self.b * row_step as isize + self.a * (2 * V::LANES) as isize) }
    }

    /// Adds it to the points around it.
    #[inline(always)]
    unsafe fn add_to(&self, grid: *mut f32, row_step: usize) {
        unsafe {
            let along = self.along();
            let mut row = self.first_tap(grid, row_step);
            for i in 0..W {
                add_row(&along, self.wv[i], row);
                row = row.add(row_step);
            }
        }
    }

    /// Adds it to those of the points around it that lie in `cut`.
    #[inline(always)]
    unsafe fn add_within(&self, cut: Cut, grid: *mut f32, row_step: usize) {
        let (a, b) = (self.a as usize, self.b as usize);
        for (i, y) in (b..b + W).enumerate().filter(|(_, y)| (cut.v.0..cut.v.1).contains(y)) {
            for (j, x) in (a..a + W).enumerate().filter(|(_, x)| (cut.u.0..cut.u.1).contains(x)) {
                unsafe {
                    let p = grid.add(y * row_step + x * 2 * V::LANES);
                    let along = self.value.scale(V::splat(self.wu[j]));
                    along.scale_add(V::splat(self.wv[i]), Cx::load(p)).store(p);
                }
            }
        }
    }

    /// Asks for the taps, on the side the line is heading for, of a sample that comes soon.
    #[inline(always)]
    unsafe fn ask_ahead(&self, line: Line, grid: *mut f32, row_step: usize) {
        let el = 2 * V::LANES;
        // SAFETY: a few grid cells, far below 2^31; addresses are only asked for, whatever is there.
        let (du, dv) =
            unsafe { ((AHEAD * line.du).to_int_unchecked::<i32>(), (AHEAD * line.dv).to_int_unchecked::<i32>()) };
        let ahead =
            grid.wrapping_offset((self.b + dv as isize) * row_step as isize + (self.a + du as isize) * el as isize);
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
    }
}

#[inline(always)]
unsafe fn add_row<V: Vector, const W: usize>(along: &[Cx<V>; W], weight: f32, row: *mut f32) {
    // SAFETY: the caller's.
    unsafe {
        let f = V::splat(weight);
        for (j, along) in along.iter().enumerate() {
            let p = row.add(j * 2 * V::LANES);
            along.scale_add(f, Cx::load(p)).store(p);
        }
    }
}

/// Adds two samples whose first taps lie `DU` columns apart: points that both reach are loaded and stored once, which is
/// what limits. False, and nothing done, where their rows lie too far apart.
#[inline(always)]
unsafe fn pair<V: Vector, const W: usize, const DU: i32>(
    one: &Sample<V, W>,
    two: &Sample<V, W>,
    grid: *mut f32,
    row_step: usize,
) -> bool {
    let down = two.b - one.b;
    if !(0..=1).contains(&down) {
        return false;
    }
    let down = down as usize;
    let el = 2 * V::LANES;
    // SAFETY: as for `lines`: all taps of both lie in the cut.
    unsafe {
        let (first, second) = (one.along(), two.along());
        let mut row = one.first_tap(grid, row_step);
        // From the first tap of the leftmost one.
        let shift = |row: *mut f32| if DU < 0 { row.sub(el) } else { row };
        if down == 1 {
            add_row(&first, one.wv[0], row);
            row = row.add(row_step);
        }
        for i in down..W {
            let (f, s) = (V::splat(one.wv[i]), V::splat(two.wv[i - down]));
            let left = shift(row);
            for j in 0..W + DU.unsigned_abs() as usize {
                let (k, l) = if DU < 0 { (j.wrapping_sub(1), j) } else { (j, j.wrapping_sub(DU as usize)) };
                let p = left.add(j * el);
                let mut sum = Cx::load(p);
                if k < W {
                    sum = first[k].scale_add(f, sum);
                }
                if l < W {
                    sum = second[l].scale_add(s, sum);
                }
                sum.store(p);
            }
            row = row.add(row_step);
        }
        if down == 1 {
            add_row(&second, two.wv[W - 1], row.offset(DU as isize * el as isize));
        }
    }
    true
}

/// Sample `m` of a line, whose value is at `q`.
#[inline(always)]
unsafe fn sample<V: Vector, const W: usize, const D: usize>(
    g: &Grid<'_>,
    line: Line,
    m: usize,
    taps: &[[f32; MAX_WIDTH]; D],
    q: *const f32,
) -> Sample<V, W> {
    let at = m as f64;
    let (u, v) = (g.u0 + at * line.du, g.v0 + at * line.dv);
    // SAFETY: positions are those of the plan: not negative and far below 2^31.
    unsafe {
        let (iu, iv) = (u.to_int_unchecked::<i32>(), v.to_int_unchecked::<i32>());
        let (fu, fv) = (0.5 - (u - f64::from(iu)) as f32, 0.5 - (v - f64::from(iv)) as f32);
        let (wu, wv) = (V::eight(taps, fu), V::eight(taps, fv));
        Sample { a: iu as isize + 1, b: iv as isize + 1, wu, wv, value: Cx::load(q) }
    }
}
