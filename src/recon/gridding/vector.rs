//! Lanes: a few `f32` side by side, one per slice. Guarantees that every kind with fused multiply-add gives each lane
//! the same bytes, however wide it is; leaves the choice of the kind to [`super::Gridding`].
//!
//! All methods are `unsafe` for one reason: the caller must run inside a function compiled for the instructions of the
//! kind (`load` and `store` also need `LANES` readable or writable floats at the pointer, of any alignment).

/// A vector of `LANES` floats.
pub(super) trait Vector: Copy {
    const LANES: usize;
    /// True where there are registers for the taps of two samples.
    const PAIRS: bool = false;
    unsafe fn load(p: *const f32) -> Self;
    unsafe fn store(self, p: *mut f32);
    unsafe fn splat(v: f32) -> Self;
    unsafe fn add(self, o: Self) -> Self;
    unsafe fn sub(self, o: Self) -> Self;
    unsafe fn mul(self, o: Self) -> Self;
    /// `self * b + c`.
    unsafe fn mul_add(self, b: Self, c: Self) -> Self;
    /// `self * b - c`.
    unsafe fn mul_sub(self, b: Self, c: Self) -> Self;
    /// Asks for a cache line; any address will do.
    fn prefetch(p: *const f32);
    /// Eight polynomials at `t`, coefficients of the highest power first.
    unsafe fn eight<const D: usize>(c: &[[f32; 8]; D], t: f32) -> [f32; 8];
    /// Transposes 4 × 4 floats: row `r` is read at `src[r]`, column `c` is written at `dst[c]`.
    unsafe fn transpose(src: [*const f32; 4], dst: [*mut f32; 4]);
}

/// Plain arrays, left to the compiler. `FUSED` only where fused multiply-add is in the compiler's baseline: elsewhere
/// it would be a library call per float.
#[derive(Clone, Copy)]
pub(super) struct Plain<const N: usize, const FUSED: bool>([f32; N]);

#[inline(always)]
fn madd<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

impl<const N: usize, const FUSED: bool> Vector for Plain<N, FUSED> {
    const LANES: usize = N;
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller gives N readable floats.
        Plain(unsafe { p.cast::<[f32; N]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller gives N writable floats.
        unsafe { p.cast::<[f32; N]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn splat(v: f32) -> Self {
        Plain([v; N])
    }
    #[inline(always)]
    unsafe fn add(mut self, o: Self) -> Self {
        for l in 0..N {
            self.0[l] += o.0[l];
        }
        self
    }
    #[inline(always)]
    unsafe fn sub(mut self, o: Self) -> Self {
        for l in 0..N {
            self.0[l] -= o.0[l];
        }
        self
    }
    #[inline(always)]
    unsafe fn mul(mut self, o: Self) -> Self {
        for l in 0..N {
            self.0[l] *= o.0[l];
        }
        self
    }
    #[inline(always)]
    unsafe fn mul_add(mut self, b: Self, c: Self) -> Self {
        for l in 0..N {
            self.0[l] = madd::<FUSED>(self.0[l], b.0[l], c.0[l]);
        }
        self
    }
    #[inline(always)]
    unsafe fn mul_sub(mut self, b: Self, c: Self) -> Self {
        for l in 0..N {
            self.0[l] = madd::<FUSED>(self.0[l], b.0[l], -c.0[l]);
        }
        self
    }
    #[inline(always)]
    fn prefetch(_: *const f32) {}
    #[inline(always)]
    unsafe fn eight<const D: usize>(c: &[[f32; 8]; D], t: f32) -> [f32; 8] {
        let mut p = c[0];
        for c in &c[1..] {
            for j in 0..8 {
                p[j] = madd::<FUSED>(p[j], t, c[j]);
            }
        }
        p
    }
    #[inline(always)]
    unsafe fn transpose(src: [*const f32; 4], dst: [*mut f32; 4]) {
        for (r, p) in src.iter().enumerate() {
            for (c, q) in dst.iter().enumerate() {
                // SAFETY: the caller gives 4 × 4 floats on both sides.
                unsafe { *q.add(r) = *p.add(c) };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    //! AVX registers with fused multiply-add.
    use super::Vector;
    use std::arch::x86_64::*;

    macro_rules! vector {
        ($name:ident, $reg:ty, $lanes:literal, $pairs:literal, $doc:literal, $load:ident $store:ident $splat:ident $add:ident $sub:ident
         $mul:ident $fma:ident $fms:ident) => {
            #[doc = $doc]
            #[derive(Clone, Copy)]
            pub(in super::super) struct $name($reg);

            // SAFETY (all methods): the caller runs inside a function compiled for these instructions, and gives
            // pointers to as many floats as the register holds.
            #[allow(clippy::undocumented_unsafe_blocks)]
            impl Vector for $name {
                const LANES: usize = $lanes;
                const PAIRS: bool = $pairs;
                #[inline(always)]
                unsafe fn load(p: *const f32) -> Self {
                    $name(unsafe { $load(p) })
                }
                #[inline(always)]
                unsafe fn store(self, p: *mut f32) {
                    unsafe { $store(p, self.0) }
                }
                #[inline(always)]
                unsafe fn splat(v: f32) -> Self {
                    $name(unsafe { $splat(v) })
                }
                #[inline(always)]
                unsafe fn add(self, o: Self) -> Self {
                    $name(unsafe { $add(self.0, o.0) })
                }
                #[inline(always)]
                unsafe fn sub(self, o: Self) -> Self {
                    $name(unsafe { $sub(self.0, o.0) })
                }
                #[inline(always)]
                unsafe fn mul(self, o: Self) -> Self {
                    $name(unsafe { $mul(self.0, o.0) })
                }
                #[inline(always)]
                unsafe fn mul_add(self, b: Self, c: Self) -> Self {
                    $name(unsafe { $fma(self.0, b.0, c.0) })
                }
                #[inline(always)]
                unsafe fn mul_sub(self, b: Self, c: Self) -> Self {
                    $name(unsafe { $fms(self.0, b.0, c.0) })
                }
                #[inline(always)]
                fn prefetch(p: *const f32) {
                    // SAFETY: a prefetch reads nothing and faults nowhere.
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
                }
                #[inline(always)]
                unsafe fn eight<const D: usize>(c: &[[f32; 8]; D], t: f32) -> [f32; 8] {
                    unsafe {
                        let t = _mm256_set1_ps(t);
                        let mut p = _mm256_loadu_ps(c[0].as_ptr());
                        for c in &c[1..] {
                            p = _mm256_fmadd_ps(p, t, _mm256_loadu_ps(c.as_ptr()));
                        }
                        let mut out = [0f32; 8];
                        _mm256_storeu_ps(out.as_mut_ptr(), p);
                        out
                    }
                }
                #[inline(always)]
                unsafe fn transpose(src: [*const f32; 4], dst: [*mut f32; 4]) {
                    unsafe {
                        let [mut a, mut b, mut c, mut d] =
                            [_mm_loadu_ps(src[0]), _mm_loadu_ps(src[1]), _mm_loadu_ps(src[2]), _mm_loadu_ps(src[3])];
                        _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
                        _mm_storeu_ps(dst[0], a);
                        _mm_storeu_ps(dst[1], b);
                        _mm_storeu_ps(dst[2], c);
                        _mm_storeu_ps(dst[3], d);
                    }
                }
            }
        };
    }
    vector!(X4, __m128, 4, false, "Four lanes, FMA.", _mm_loadu_ps _mm_storeu_ps _mm_set1_ps _mm_add_ps _mm_sub_ps _mm_mul_ps
        _mm_fmadd_ps _mm_fmsub_ps);
    vector!(X8, __m256, 8, false, "Eight lanes, AVX2 and FMA.", _mm256_loadu_ps _mm256_storeu_ps _mm256_set1_ps _mm256_add_ps
        _mm256_sub_ps _mm256_mul_ps _mm256_fmadd_ps _mm256_fmsub_ps);
    vector!(X16, __m512, 16, true, "Sixteen lanes, AVX-512.", _mm512_loadu_ps _mm512_storeu_ps _mm512_set1_ps _mm512_add_ps
        _mm512_sub_ps _mm512_mul_ps _mm512_fmadd_ps _mm512_fmsub_ps);
}

/// Columns that are brought from rows to lanes or back before turning to the next slices. Long enough for each slice to
/// be touched in runs of several cache lines (slices are often a power of two apart and fight for the same places in the
/// cache), short enough for the lanes to stay in the nearest one.
pub(super) const RUN: usize = 64;

/// A complex number per lane: in memory the real parts, then the imaginary parts.
#[derive(Clone, Copy)]
pub(super) struct Cx<V> {
    pub(super) r: V,
    pub(super) i: V,
}

// SAFETY (all methods): as for `Vector`; pointers are to `2 * LANES` floats.
#[allow(clippy::should_implement_trait, clippy::undocumented_unsafe_blocks)]
impl<V: Vector> Cx<V> {
    #[inline(always)]
    pub(super) unsafe fn load(p: *const f32) -> Self {
        unsafe { Cx { r: V::load(p), i: V::load(p.add(V::LANES)) } }
    }
    #[inline(always)]
    pub(super) unsafe fn store(self, p: *mut f32) {
        unsafe {
            self.r.store(p);
            self.i.store(p.add(V::LANES));
        }
    }
    #[inline(always)]
    pub(super) unsafe fn add(self, o: Self) -> Self {
        unsafe { Cx { r: self.r.add(o.r), i: self.i.add(o.i) } }
    }
    #[inline(always)]
    pub(super) unsafe fn sub(self, o: Self) -> Self {
        unsafe { Cx { r: self.r.sub(o.r), i: self.i.sub(o.i) } }
    }
    /// `self + i * o`.
    #[inline(always)]
    pub(super) unsafe fn add_i(self, o: Self) -> Self {
        unsafe { Cx { r: self.r.sub(o.i), i: self.i.add(o.r) } }
    }
    /// `self - i * o`.
    #[inline(always)]
    pub(super) unsafe fn sub_i(self, o: Self) -> Self {
        unsafe { Cx { r: self.r.add(o.i), i: self.i.sub(o.r) } }
    }
    /// `self + conj(o)`.
    #[inline(always)]
    pub(super) unsafe fn add_conj(self, o: Self) -> Self {
        unsafe { Cx { r: self.r.add(o.r), i: self.i.sub(o.i) } }
    }
    /// `self - conj(o)`.
    #[inline(always)]
    pub(super) unsafe fn sub_conj(self, o: Self) -> Self {
        unsafe { Cx { r: self.r.sub(o.r), i: self.i.add(o.i) } }
    }
    /// Times a real number.
    #[inline(always)]
    pub(super) unsafe fn scale(self, s: V) -> Self {
        unsafe { Cx { r: self.r.mul(s), i: self.i.mul(s) } }
    }
    /// `self * s + o`, `s` real.
    #[inline(always)]
    pub(super) unsafe fn scale_add(self, s: V, o: Self) -> Self {
        unsafe { Cx { r: self.r.mul_add(s, o.r), i: self.i.mul_add(s, o.i) } }
    }
    /// Lane by lane.
    #[inline(always)]
    pub(super) unsafe fn times(self, o: Self) -> Self {
        unsafe { Cx { r: self.r.mul_sub(o.r, self.i.mul(o.i)), i: self.r.mul_add(o.i, self.i.mul(o.r)) } }
    }
    /// Times the complex number at `w`, the same for all lanes.
    #[inline(always)]
    pub(super) unsafe fn twiddle(self, w: *const f32) -> Self {
        unsafe {
            let (c, s) = (V::splat(*w), V::splat(*w.add(1)));
            Cx { r: self.r.mul_sub(c, self.i.mul(s)), i: self.r.mul_add(s, self.i.mul(c)) }
        }
    }
    /// `self * w + o` for the complex number at `w`.
    #[inline(always)]
    pub(super) unsafe fn twiddle_add(self, w: *const f32, o: Self) -> Self {
        unsafe {
            let (c, s) = (V::splat(*w), V::splat(*w.add(1)));
            // o.r + r c - i s: the subtraction as (r c + o.r) - i s, negated twice to stay with two fused steps.
            let r = self.r.mul_add(c, o.r);
            let i = self.r.mul_add(s, o.i);
            let minus_s = V::splat(-*w.add(1));
            Cx { r: self.i.mul_add(minus_s, r), i: self.i.mul_add(c, i) }
        }
    }
}
