//! Fourier transform of many slices at once: an element is a vector of lanes, so there is not one shuffle in it and the
//! twiddle factors are loaded once for all slices. Stockham's ordering (no bit reversal), radices 8, 4, 2, 3 and 5,
//! exponent `+2πi jk/n`, no scaling. Lanes never meet: what one slice holds cannot change a bit of another.

use super::vector::{Cx, Vector};
use std::f64::consts::TAU;

/// Plan of one length.
#[derive(Debug)]
pub(super) struct Fft {
    len: usize,
    stages: Vec<Stage>,
}

#[derive(Debug)]
struct Stage {
    radix: usize,
    /// Twiddles `exp(2πi jk / (radix * m))`, `j = 1..radix` for every `k < m`, re and im by turns.
    twiddles: Vec<f32>,
    m: usize,
    /// Elements between neighbours of a butterfly group.
    stride: usize,
}

/// Smallest length `>= n` that is a multiple of `of` and has no prime factor above 5.
pub(super) fn good_len(n: usize, of: usize) -> usize {
    let mut m = n.max(of).next_multiple_of(of);
    loop {
        let mut r = m;
        for p in [2, 3, 5] {
            while r.is_multiple_of(p) {
                r /= p;
            }
        }
        if r == 1 {
            return m;
        }
        m += of;
    }
}

impl Fft {
    /// Plan for `len`, which must have no prime factor above 5 (as [`good_len`] gives).
    pub(super) fn new(len: usize) -> Fft {
        let mut stages = Vec::new();
        let (mut n, mut stride) = (len.max(1), 1);
        while n > 1 {
            let radix = [8, 4, 2, 3, 5].into_iter().find(|r| n.is_multiple_of(*r));
            let Some(radix) = radix else { panic!("FFT length {len} has a prime factor above 5") };
            let m = n / radix;
            let mut twiddles = Vec::with_capacity(2 * (radix - 1) * m);
            for k in 0..m {
                for j in 1..radix {
                    let (sin, cos) = (TAU * (j * k) as f64 / n as f64).sin_cos();
                    twiddles.extend([cos as f32, sin as f32]);
                }
            }
            stages.push(Stage { radix, twiddles, m, stride });
            stride *= radix;
            n = m;
        }
        Fft { len: len.max(1), stages }
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Transforms `src` (left as it is) and returns which of `a` and `b` holds the result; the other is clobbered.
    ///
    /// # Safety
    /// `src`, `a` and `b` hold `len * 2 * LANES` floats each, do not overlap (`src` may be `b`), and the caller runs
    /// inside a function compiled for `V`.
    #[inline(always)]
    pub(super) unsafe fn run<V: Vector>(&self, src: *const f32, a: *mut f32, b: *mut f32) -> *mut f32 {
        let (mut from, mut to, mut other) = (src, a, b);
        // SAFETY: each stage reads and writes exactly `len` elements.
        unsafe {
            if self.stages.is_empty() {
                Cx::<V>::load(src).store(a);
                return a;
            }
            for s in &self.stages {
                match s.radix {
                    8 => radix8::<V>(s, from, to),
                    4 => radix4::<V>(s, from, to),
                    2 => radix2::<V>(s, from, to),
                    3 => radix3::<V>(s, from, to),
                    _ => radix5::<V>(s, from, to),
                }
                from = to;
                std::mem::swap(&mut to, &mut other);
            }
        }
        other
    }
}

/// Walks a stage: `$in` and `$out` are the pointers of the first element of a butterfly, `$w` its twiddles, `$d` and
/// `$e` the float distances between its inputs and between its outputs.
macro_rules! butterflies {
    ($V:ident, $s:ident, $x:ident, $y:ident, |$in:ident, $out:ident, $w:ident, $d:ident, $e:ident| $body:block) => {
        let el = 2 * $V::LANES;
        let ($d, $e) = ($s.stride * $s.m * el, $s.stride * el);
        for k in 0..$s.m {
            // SAFETY: k < m, so twiddles and elements lie inside; lengths are the plan's.
            unsafe {
                let $w = $s.twiddles.as_ptr().add(2 * k * ($s.radix - 1));
                for q in 0..$s.stride {
                    let $in = $x.add(($s.stride * k + q) * el);
                    let $out = $y.add(($s.stride * $s.radix * k + q) * el);
                    $body
                }
            }
        }
    };
}

#[inline(always)]
unsafe fn radix2<V: Vector>(s: &Stage, x: *const f32, y: *mut f32) {
    butterflies!(V, s, x, y, |i, o, w, d, e| {
        let (a, b) = (Cx::<V>::load(i), Cx::<V>::load(i.add(d)));
        a.add(b).store(o);
        a.sub(b).twiddle(w).store(o.add(e));
    });
}

#[inline(always)]
unsafe fn radix4<V: Vector>(s: &Stage, x: *const f32, y: *mut f32) {
    butterflies!(V, s, x, y, |i, o, w, d, e| {
        let (a, b) = (Cx::<V>::load(i), Cx::<V>::load(i.add(d)));
        let (c, f) = (Cx::<V>::load(i.add(2 * d)), Cx::<V>::load(i.add(3 * d)));
        let (t0, t1, t2, t3) = (a.add(c), a.sub(c), b.add(f), b.sub(f));
        t0.add(t2).store(o);
        t1.add_i(t3).twiddle(w).store(o.add(e));
        t0.sub(t2).twiddle(w.add(2)).store(o.add(2 * e));
        t1.sub_i(t3).twiddle(w.add(4)).store(o.add(3 * e));
    });
}

#[inline(always)]
unsafe fn radix8<V: Vector>(s: &Stage, x: *const f32, y: *mut f32) {
    // SAFETY: the caller's.
    let h = unsafe { V::splat(std::f32::consts::FRAC_1_SQRT_2) };
    butterflies!(V, s, x, y, |i, o, w, d, e| {
        let (a0, a4) = (Cx::<V>::load(i), Cx::<V>::load(i.add(4 * d)));
        let (a2, a6) = (Cx::<V>::load(i.add(2 * d)), Cx::<V>::load(i.add(6 * d)));
        let (b0, b1, b2, b3) = (a0.add(a4), a0.sub(a4), a2.add(a6), a2.sub(a6));
        let (e0, e2, e1, e3) = (b0.add(b2), b0.sub(b2), b1.add_i(b3), b1.sub_i(b3));
        let (a1, a5) = (Cx::<V>::load(i.add(d)), Cx::<V>::load(i.add(5 * d)));
        let (a3, a7) = (Cx::<V>::load(i.add(3 * d)), Cx::<V>::load(i.add(7 * d)));
        let (c0, c1, c2, c3) = (a1.add(a5), a1.sub(a5), a3.add(a7), a3.sub(a7));
        let (f0, f2, g1, g3) = (c0.add(c2), c0.sub(c2), c1.add_i(c3), c1.sub_i(c3));
        // g1 * (1 + i) and g3 * (-1 + i), still without the factor 1/√2.
        let f1 = g1.add_i(g1);
        let f3 = g3.sub_i(g3);
        e0.add(f0).store(o);
        e0.sub(f0).twiddle(w.add(6)).store(o.add(4 * e));
        f1.scale_add(h, e1).twiddle(w).store(o.add(e));
        let f1 = f1.scale(h);
        e1.sub(f1).twiddle(w.add(8)).store(o.add(5 * e));
        e2.add_i(f2).twiddle(w.add(2)).store(o.add(2 * e));
        e2.sub_i(f2).twiddle(w.add(10)).store(o.add(6 * e));
        let f3 = f3.scale(h);
        // f3 = -(−1 + i) g3 / √2 up to sign: (1 - i) g3 / √2.
        e3.sub(f3).twiddle(w.add(4)).store(o.add(3 * e));
        e3.add(f3).twiddle(w.add(12)).store(o.add(7 * e));
    });
}

#[inline(always)]
unsafe fn radix3<V: Vector>(s: &Stage, x: *const f32, y: *mut f32) {
    // SAFETY: the caller's.
    let (half, sin) = unsafe { (V::splat(-0.5), V::splat(0.866_025_4)) };
    butterflies!(V, s, x, y, |i, o, w, d, e| {
        let (a, b, c) = (Cx::<V>::load(i), Cx::<V>::load(i.add(d)), Cx::<V>::load(i.add(2 * d)));
        let (t, u) = (b.add(c), b.sub(c).scale(sin));
        let m = t.scale_add(half, a);
        a.add(t).store(o);
        m.add_i(u).twiddle(w).store(o.add(e));
        m.sub_i(u).twiddle(w.add(2)).store(o.add(2 * e));
    });
}

#[inline(always)]
unsafe fn radix5<V: Vector>(s: &Stage, x: *const f32, y: *mut f32) {
    // SAFETY: the caller's.
    let (c1, c2, s1, s2) =
        unsafe { (V::splat(0.309_017), V::splat(-0.809_017), V::splat(0.951_056_54), V::splat(0.587_785_25)) };
    butterflies!(V, s, x, y, |i, o, w, d, e| {
        let a0 = Cx::<V>::load(i);
        let (a1, a4) = (Cx::<V>::load(i.add(d)), Cx::<V>::load(i.add(4 * d)));
        let (a2, a3) = (Cx::<V>::load(i.add(2 * d)), Cx::<V>::load(i.add(3 * d)));
        let (t1, u1, t2, u2) = (a1.add(a4), a1.sub(a4), a2.add(a3), a2.sub(a3));
        let m1 = t2.scale_add(c2, t1.scale_add(c1, a0));
        let m2 = t2.scale_add(c1, t1.scale_add(c2, a0));
        let n1 = u2.scale_add(s2, u1.scale(s1));
        let n2 = u1.scale(s2).sub(u2.scale(s1));
        a0.add(t1).add(t2).store(o);
        m1.add_i(n1).twiddle(w).store(o.add(e));
        m2.add_i(n2).twiddle(w.add(2)).store(o.add(2 * e));
        m2.sub_i(n2).twiddle(w.add(4)).store(o.add(3 * e));
        m1.sub_i(n1).twiddle(w.add(6)).store(o.add(4 * e));
    });
}
