//! Every stage compiled for every kind of vector, and the choice among them at run time.

use super::super::simd::Simd;
use super::axes::LaneAxes;
use super::spread::{self, Cut, Grid, Line};
use super::{Gridding, vector};

pub(super) type ProjectFn =
    unsafe fn(&Gridding, usize, &[&[f32]], Option<&LaneAxes>, *mut f32, *mut f32, &mut [f32], *mut f32);
pub(super) type SpectraFn = unsafe fn(&Gridding, &[&[f32]], *mut f32, *mut f32, *mut f32);
pub(super) type TurnFn = unsafe fn(&Gridding, usize, *const f32, &LaneAxes, *mut f32);
pub(super) type SpreadFn = unsafe fn(usize, &Grid<'_>, &[Line], Cut, *const f32, *mut f32);
pub(super) type RowFn = unsafe fn(&Gridding, usize, *mut f32, *mut f32);
pub(super) type ColumnsFn =
    unsafe fn(&Gridding, usize, usize, usize, *const f32, *mut f32, &dyn Fn(usize, usize) -> *mut f32);

/// The stages compiled for one kind of vector.
pub(super) struct Kernels {
    pub(super) project: ProjectFn,
    pub(super) spectra: SpectraFn,
    pub(super) turn: TurnFn,
    pub(super) spread: SpreadFn,
    pub(super) row: RowFn,
    pub(super) columns: ColumnsFn,
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
            //! The stages, compiled for one kind of vector.
            use super::*;
            $(#[target_feature(enable = $features)])?
            #[allow(clippy::too_many_arguments)]
            unsafe fn project(
                g: &Gridding, k: usize, rows: &[&[f32]], axes: Option<&LaneAxes>, a: *mut f32, b: *mut f32,
                coef: &mut [f32], out: *mut f32,
            ) {
                // SAFETY: the caller keeps the contract of the function called, and has these instructions.
                unsafe { g.project.run::<$vector>(&g.setup, k, rows, axes, a, b, coef, out) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn spectra(g: &Gridding, rows: &[&[f32]], a: *mut f32, b: *mut f32, out: *mut f32) {
                // SAFETY: the caller keeps the contract of the function called, and has these instructions.
                unsafe { g.project.spectra::<$vector>(&g.setup, rows, a, b, out) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn turn(g: &Gridding, k: usize, spectrum: *const f32, axes: &LaneAxes, out: *mut f32) {
                // SAFETY: the caller keeps the contract of the function called, and has these instructions.
                unsafe { g.project.turn::<$vector>(&g.setup, k, spectrum, axes, out) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn spread(w: usize, g: &Grid<'_>, lines: &[Line], cut: Cut, q: *const f32, grid: *mut f32) {
                // SAFETY: the caller keeps the contract of the function called, and has these instructions.
                unsafe { spread_lines::<$vector>(w, g, lines, cut, q, grid) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn row(g: &Gridding, v: usize, grid: *mut f32, buffer: *mut f32) {
                // SAFETY: the caller keeps the contract of the function called, and has these instructions.
                unsafe { g.image.row::<$vector>(&g.layout, v, grid, buffer) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn columns(
                g: &Gridding, first: usize, count: usize, lanes: usize, grid: *const f32, buffer: *mut f32,
                out: &dyn Fn(usize, usize) -> *mut f32,
            ) {
                // SAFETY: the caller keeps the contract of the function called, and has these instructions.
                unsafe { g.image.columns::<$vector>(&g.layout, first, count, lanes, grid, buffer, out) }
            }
            pub(super) const KERNELS: Kernels = Kernels { project, spectra, turn, spread, row, columns };
        }
    };
}

#[cfg(target_arch = "x86_64")]
compile_for!(avx512_16, vector::x86::X16, "avx512f,avx512vl,avx2,fma");
#[cfg(target_arch = "x86_64")]
compile_for!(avx2_8, vector::x86::X8, "avx2,fma");
#[cfg(target_arch = "x86_64")]
compile_for!(avx2_4, vector::x86::X4, "avx2,fma");
#[cfg(target_arch = "x86_64")]
compile_for!(avx2_1, vector::Plain<1, true>, "avx2,fma");
#[cfg(target_arch = "aarch64")]
compile_for!(neon_8, vector::Plain<8, true>);
#[cfg(target_arch = "aarch64")]
compile_for!(neon_4, vector::Plain<4, true>);
#[cfg(target_arch = "aarch64")]
compile_for!(neon_1, vector::Plain<1, true>);
compile_for!(plain_8, vector::Plain<8, false>);
compile_for!(plain_4, vector::Plain<4, false>);
compile_for!(plain_1, vector::Plain<1, false>);

impl Kernels {
    /// The stages for `lanes` slices. A kind the processor lacks must not be asked for ([`Simd::available`]).
    pub(super) fn choose(simd: Simd, lanes: usize) -> &'static Kernels {
        match (simd, lanes) {
            #[cfg(target_arch = "x86_64")]
            (Simd::Avx512, 16) => &avx512_16::KERNELS,
            // Whoever has AVX-512 has AVX2, and the bytes are the same.
            #[cfg(target_arch = "x86_64")]
            (Simd::Avx512 | Simd::Avx2, 8) => &avx2_8::KERNELS,
            #[cfg(target_arch = "x86_64")]
            (Simd::Avx512 | Simd::Avx2, 4) => &avx2_4::KERNELS,
            #[cfg(target_arch = "x86_64")]
            (Simd::Avx512 | Simd::Avx2, _) => &avx2_1::KERNELS,
            #[cfg(target_arch = "aarch64")]
            (Simd::Neon, 8) => &neon_8::KERNELS,
            #[cfg(target_arch = "aarch64")]
            (Simd::Neon, 4) => &neon_4::KERNELS,
            #[cfg(target_arch = "aarch64")]
            (Simd::Neon, _) => &neon_1::KERNELS,
            (_, 8) => &plain_8::KERNELS,
            (_, 4) => &plain_4::KERNELS,
            _ => &plain_1::KERNELS,
        }
    }
}
