//! From projections to polar samples: spread over lanes, weight, pad, real FFT, filter, shift to the output's origin.
//!
//! A projection is real, so the samples `m = 0..=len/2` are enough; the others are their conjugates. The transform of a
//! real row of length `len` is made from a complex one of half the length in the usual way: even columns as real, odd
//! ones as imaginary parts. In memory `[column][lane]` is already that.

use super::Setup;
use super::axes::LaneAxes;
use super::fft::Fft;
use super::vector::{Cx, RUN, Vector};
use std::f64::consts::TAU;

/// Coarse and fine steps of the phase table: `m = COARSE * a + b`.
const COARSE: usize = 64;

/// Tables of the stage.
pub(super) struct Project {
    fft: Fft,
    /// Response / len, half of it at both ends (their mirror images are the samples themselves), for the samples that are
    /// kept, `m = 0..=last`, and half of that again, for the splitting of the complex transform.
    response: Vec<f32>,
    /// `exp(-2πi m / len)`, re and im by turns.
    split: Vec<f32>,
}

/// What is to be done with a column beyond the detector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Beyond {
    /// The end value goes on.
    Edge,
    /// Zero.
    Zero,
}

/// Blending weights of an extended field: the smooth step of `clamp(start[k] + slope * column, 0, 1)`.
#[derive(Clone, Debug)]
pub(super) struct Blend {
    pub(super) start: Vec<f32>,
    pub(super) slope: f32,
}

impl Blend {
    /// Weight of a column of projection `k`.
    #[inline(always)]
    pub(super) fn weight(&self, k: usize, column: usize) -> f32 {
        let t = (self.start[k] + self.slope * column as f32).clamp(0.0, 1.0);
        t * t * (3.0 - 2.0 * t)
    }

    /// Weighs `cols` columns of lanes.
    #[inline(always)]
    unsafe fn apply<V: Vector>(&self, k: usize, cols: usize, x: *mut f32) {
        for c in 0..cols {
            // SAFETY: the caller gives room for `cols` vectors.
            unsafe {
                let p = x.add(c * V::LANES);
                V::load(p).mul(V::splat(self.weight(k, c))).store(p);
            }
        }
    }
}

impl Project {
    pub(super) fn new(len: usize, response: &[f64], last: usize) -> Project {
        let half = len / 2;
        let ends = |m: usize| if m == 0 || m == half { 0.5 } else { 1.0 };
        Project {
            fft: Fft::new(half),
            response: (0..=last).map(|m| (0.5 * ends(m) * response[m] / len as f64) as f32).collect(),
            split: (0..=last)
                .flat_map(|m| {
                    let (sin, cos) = (TAU * m as f64 / len as f64).sin_cos();
                    [cos as f32, -sin as f32]
                })
                .collect(),
        }
    }

    /// Floats of one buffer of [`Project::run`] for vectors of `lanes`.
    pub(super) fn buffer(&self, lanes: usize) -> usize {
        self.fft.len() * 2 * lanes
    }

    /// Floats of the coefficients.
    pub(super) fn coefficients(&self) -> usize {
        4 * self.response.len()
    }

    /// Length of the circle of columns.
    pub(super) fn len(&self) -> usize {
        2 * self.fft.len()
    }

    /// Samples `m = 0..=last` of projection `k` of up to `LANES` slices, to `out`. Lanes without a row are zero. With
    /// `axes`, every lane has an axis and a blending of its own.
    ///
    /// # Safety
    /// `a` and `b` hold [`Project::buffer`] floats, `coef` [`Project::coefficients`], `out` `(last + 1) * 2 * LANES`;
    /// every row is `setup.cols` long, there are at most `LANES`; the caller runs inside a function compiled for `V`.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    pub(super) unsafe fn run<V: Vector>(
        &self,
        setup: &Setup,
        k: usize,
        rows: &[&[f32]],
        axes: Option<&LaneAxes>,
        a: *mut f32,
        b: *mut f32,
        coef: &mut [f32],
        out: *mut f32,
    ) {
        let half = self.fft.len();
        let el = 2 * V::LANES;
        let last = self.response.len() - 1;
        self.coefficients_of::<V>(setup, k, coef);
        // SAFETY: the caller's; indices are m and half - m with m <= half, taken modulo half where they are inputs.
        unsafe {
            let sign = V::splat(if setup.rays[k].flip { -1.0 } else { 1.0 });
            lanes_in::<V>(rows, setup.cols, a);
            match (axes, &setup.blend) {
                (Some(axes), _) => axes.blend::<V>(setup.rays[k].moved, setup.cols, a),
                (None, Some(blend)) => blend.apply::<V>(k, setup.cols, a),
                (None, None) => {}
            }
            pad::<V>(setup, a, 2 * half);
            let z = self.fft.run::<V>(a, b, a);
            for m in 0..=last {
                let p = Cx::<V>::load(z.add(if m == 0 { 0 } else { half - m } * el));
                let q = Cx::<V>::load(z.add(if m == half { 0 } else { m } * el));
                let even = p.add_conj(q);
                let d = p.sub_conj(q);
                // c * even + e * (d / i), with e carrying the 1/i.
                let c = coef.as_ptr().add(4 * m);
                let q = d.twiddle_add(c.add(2), even.twiddle(c));
                Cx { r: q.r, i: q.i.mul(sign) }.store(out.add(m * el));
            }
            if let Some(axes) = axes {
                for m in 0..=last {
                    let (q, w) = (Cx::<V>::load(out.add(m * el)), axes.phase::<V>(m));
                    q.times(Cx { r: w.r, i: w.i.mul(sign) }).store(out.add(m * el));
                }
            }
        }
    }

    /// Filtered spectra `m = 0..=last` of up to `LANES` projections, one per lane, each to a row of `out`, re and im by
    /// turns; without weight and phase. For fields without blending.
    ///
    /// # Safety
    /// As for [`Project::run`]; `out` has room for `2 * (last + 1)` floats per projection.
    #[inline(always)]
    pub(super) unsafe fn spectra<V: Vector>(
        &self,
        setup: &Setup,
        rows: &[&[f32]],
        a: *mut f32,
        b: *mut f32,
        out: *mut f32,
    ) {
        let half = self.fft.len();
        let (el, one) = (2 * V::LANES, 2 * self.response.len());
        let mut lanes = [0f32; 32];
        // SAFETY: the caller's; indices as in `run`, at most 16 lanes.
        unsafe {
            lanes_in::<V>(rows, setup.cols, a);
            pad::<V>(setup, a, 2 * half);
            let z = self.fft.run::<V>(a, b, a);
            for (m, f) in self.response.iter().enumerate() {
                let p = Cx::<V>::load(z.add(if m == 0 { 0 } else { half - m } * el));
                let q = Cx::<V>::load(z.add(if m == half { 0 } else { m } * el));
                let (tr, ti) = (self.split[2 * m], self.split[2 * m + 1]);
                let odd = [f * ti, -f * tr];
                let x = p.sub_conj(q).twiddle_add(odd.as_ptr(), p.add_conj(q).scale(V::splat(*f)));
                x.store(lanes.as_mut_ptr());
                for l in 0..rows.len() {
                    *out.add(l * one + 2 * m) = lanes[l];
                    *out.add(l * one + 2 * m + 1) = lanes[V::LANES + l];
                }
            }
        }
    }

    /// Samples of projection `k` for every lane's axis, out of its spectrum as [`Project::spectra`] gives it.
    ///
    /// # Safety
    /// As for [`Project::run`]; `spectrum` holds `2 * (last + 1)` floats.
    #[inline(always)]
    pub(super) unsafe fn turn<V: Vector>(
        &self,
        setup: &Setup,
        k: usize,
        spectrum: *const f32,
        axes: &LaneAxes,
        out: *mut f32,
    ) {
        let el = 2 * V::LANES;
        let ray = &setup.rays[k];
        let step = TAU * ray.shift / self.len() as f64;
        let mut fine = [(0.0, 0.0); COARSE];
        for (b, f) in fine.iter_mut().enumerate() {
            *f = (step * b as f64).sin_cos();
        }
        // SAFETY: m is below the number of samples.
        unsafe {
            let sign = V::splat(if ray.flip { -1.0 } else { 1.0 });
            for start in (0..self.response.len()).step_by(COARSE) {
                let (sin, cos) = (step * start as f64).sin_cos();
                let (sin, cos) = (sin * ray.weight, cos * ray.weight);
                for m in start..self.response.len().min(start + COARSE) {
                    let (s, c) = fine[m - start];
                    let (re, im) = ((cos * c - sin * s) as f32, (sin * c + cos * s) as f32);
                    let (x, y) = (*spectrum.add(2 * m), *spectrum.add(2 * m + 1));
                    let value = [x * re - y * im, x * im + y * re];
                    let q = axes.phase::<V>(m).twiddle(value.as_ptr());
                    Cx { r: q.r, i: q.i.mul(sign) }.store(out.add(m * el));
                }
            }
        }
    }

    /// Two complex factors per sample: of the even and of the odd columns' transform.
    #[inline(always)]
    fn coefficients_of<V: Vector>(&self, setup: &Setup, k: usize, coef: &mut [f32]) {
        let half = self.fft.len();
        let step = TAU * setup.rays[k].shift / (2 * half) as f64;
        let weight = setup.rays[k].weight;
        let mut fine = [(0.0, 0.0); COARSE];
        for (b, f) in fine.iter_mut().enumerate() {
            *f = (step * b as f64).sin_cos();
        }
        let blocks = coef.chunks_mut(4 * COARSE).zip(self.response.chunks(COARSE)).zip(self.split.chunks(2 * COARSE));
        for (a, ((coef, response), split)) in blocks.enumerate() {
            let (sin, cos) = (step * (a * COARSE) as f64).sin_cos();
            let (sin, cos) = (sin * weight, cos * weight);
            for i in 0..response.len() {
                let (s, c) = fine[i];
                let re = ((cos * c - sin * s) as f32) * response[i];
                let im = ((sin * c + cos * s) as f32) * response[i];
                let (tr, ti) = (split[2 * i], split[2 * i + 1]);
                // (re + i im) (tr + i ti) / i
                coef[4 * i] = re;
                coef[4 * i + 1] = im;
                coef[4 * i + 2] = re * ti + im * tr;
                coef[4 * i + 3] = im * ti - re * tr;
            }
        }
    }
}

/// Rows to `[column][lane]`.
#[inline(always)]
unsafe fn lanes_in<V: Vector>(rows: &[&[f32]], cols: usize, out: *mut f32) {
    let l = V::LANES;
    // SAFETY: every row has `cols` floats, `out` room for `cols * LANES`.
    unsafe {
        for start in (0..cols).step_by(RUN) {
            let end = cols.min(start + RUN);
            for lane in (0..l).step_by(4) {
                let whole = if lane + 4 <= rows.len() { end - (end - start) % 4 } else { start };
                for c in (start..whole).step_by(4) {
                    let p = |i: usize| rows[lane + i].as_ptr().add(c);
                    let q = |i: usize| out.add((c + i) * l + lane);
                    V::transpose([p(0), p(1), p(2), p(3)], [q(0), q(1), q(2), q(3)]);
                }
                for c in whole..end {
                    for r in lane..l.min(lane + 4) {
                        *out.add(c * l + r) = if r < rows.len() { rows[r][c] } else { 0.0 };
                    }
                }
            }
        }
    }
}

/// Fills the columns beyond the detector.
#[inline(always)]
unsafe fn pad<V: Vector>(setup: &Setup, x: *mut f32, len: usize) {
    let (n, l) = (setup.cols, V::LANES);
    // SAFETY: columns are below `len`, the room of `x`.
    unsafe {
        let zero = V::splat(0.0);
        let end = |b: Beyond, c: usize| if b == Beyond::Edge { V::load(x.add(c * l)) } else { zero };
        let (left, right) = (end(setup.left, 0), end(setup.right, n - 1));
        let turn = len - (len - n) / 2;
        for c in n..turn {
            right.store(x.add(c * l));
        }
        for c in turn..len {
            left.store(x.add(c * l));
        }
    }
}
