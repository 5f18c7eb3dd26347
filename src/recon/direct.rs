//! Direct backprojection: for every voxel and every angle, read the filtered projection by linear interpolation.
//!
//! Several slices travel side by side: element `[angle][column][lane]`, so that index and weight are computed once for
//! all lanes and the inner loop is a few whole vector registers without gathers. The slice is cut into tiles of
//! [`TILE`] × [`TILE`] voxels, fixed in the full slice, and the angles into blocks of [`BLOCK`]; a voxel's sum is
//! always taken in the same order, so its bytes do not depend on threads, batch or ROI.

use super::simd::Simd;
use super::{Geometry, Interpolation, Options};

/// Edge of a tile of voxels.
pub(super) const TILE: usize = 32;
/// Angles per block.
const BLOCK: usize = 16;

/// Tables of the back end.
pub(super) struct Direct {
    angles: Vec<Ray>,
    /// First column kept of every filtered projection.
    pub(super) lo: i64,
    /// Columns kept, without the zero guard on each side.
    pub(super) kept: usize,
    quarter: bool,
    axis: (f64, f64),
}

/// Stored column of a voxel: `x * cos + y * sin + offset`, x and y in voxels.
struct Ray {
    cos: f64,
    sin: f64,
    offset: f64,
}

/// A tile, or the part of it that is wanted: columns `x` and rows `y` of the full slice.
pub(super) struct Tile {
    pub(super) x0: usize,
    pub(super) y0: usize,
    /// Wanted part, relative to the tile's corner.
    pub(super) x: std::ops::Range<usize>,
    pub(super) y: std::ops::Range<usize>,
}

impl Direct {
    /// `span`: first and last column the row filter can deliver; `masked`: only seen voxels will be used.
    pub(super) fn new(g: &Geometry, o: &Options, span: (i64, i64), masked: bool) -> Self {
        let roi = g.roi();
        let (cx, cy) = g.axis_voxel();
        let bin = g.output.bin as f64;
        let (xs, ys) = ([roi.x0 as f64 - cx, roi.x1 as f64 - 1.0 - cx], [cy - roi.y0 as f64, cy - roi.y1 as f64 + 1.0]);
        let direction = |k: usize| {
            let (sin, cos) = g.angle_of(k).sin_cos();
            (sin * bin, cos * bin)
        };
        let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
        for k in 0..g.angles_rad.len() {
            let (sin, cos) = direction(k);
            for (x, y) in xs.iter().flat_map(|x| ys.iter().map(move |y| (x, y))) {
                let u = x * cos + y * sin + g.axis_of(k);
                min = min.min(u);
                max = max.max(u);
            }
        }
        if masked && g.field == super::Field::Full {
            // A seen voxel is within half a pixel of the end columns.
            min = min.max(-1.0);
            max = max.min(g.cols as f64 - 0.5);
        }
        let lo = (min.floor() as i64).clamp(span.0, span.1);
        let hi = (max.floor() as i64 + 1).clamp(lo, span.1);
        let angles = (0..g.angles_rad.len())
            .map(|k| {
                let (sin, cos) = direction(k);
                Ray { cos, sin, offset: g.axis_of(k) - lo as f64 + 1.0 }
            })
            .collect();
        Direct {
            angles,
            lo,
            kept: (hi - lo) as usize + 1,
            quarter: o.interpolation == Interpolation::Quarter,
            axis: (cx, cy),
        }
    }

    /// Stored columns per projection, guards included.
    pub(super) fn row(&self) -> usize {
        self.kept + 2
    }

    /// Fills the wanted part of `acc` (`[row][column][lane]` of the tile) from the filtered projections `q`.
    pub(super) fn tile(&self, simd: Simd, lanes: usize, q: &[f32], tile: &Tile, acc: &mut [f32]) {
        match simd {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Simd::available` offers these sets only where the processor has their instructions.
            Simd::Avx512 => unsafe { tile_avx512(self, lanes, q, tile, acc) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Simd::Avx2 => unsafe { tile_avx2(self, lanes, q, tile, acc) },
            #[cfg(target_arch = "aarch64")]
            Simd::Neon => lanes_of::<true>(self, lanes, q, tile, acc),
            _ => lanes_of::<false>(self, lanes, q, tile, acc),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn tile_avx2(d: &Direct, lanes: usize, q: &[f32], tile: &Tile, acc: &mut [f32]) {
    lanes_of::<true>(d, lanes, q, tile, acc);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
fn tile_avx512(d: &Direct, lanes: usize, q: &[f32], tile: &Tile, acc: &mut [f32]) {
    lanes_of::<true>(d, lanes, q, tile, acc);
}

#[inline(always)]
fn lanes_of<const FMA: bool>(d: &Direct, lanes: usize, q: &[f32], tile: &Tile, acc: &mut [f32]) {
    match lanes {
        16 => kernel::<16, FMA>(d, q, tile, acc),
        8 => kernel::<8, FMA>(d, q, tile, acc),
        _ => kernel::<4, FMA>(d, q, tile, acc),
    }
}

/// `a * b + c`, fused where the instruction exists: without it `mul_add` would be a library call per element.
#[inline(always)]
fn madd<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

#[inline(always)]
fn kernel<const L: usize, const FMA: bool>(d: &Direct, q: &[f32], tile: &Tile, acc: &mut [f32]) {
    let row = d.row();
    let mut at = [[0u32; TILE]; BLOCK];
    let mut weight = [[0f32; TILE]; BLOCK];
    acc.fill(0.0);
    let (q, _) = q.as_chunks::<L>();
    let (acc, _) = acc.as_chunks_mut::<L>();
    for (block, q) in d.angles.chunks(BLOCK).zip(q.chunks(BLOCK * row)) {
        for r in tile.y.clone() {
            let y = d.axis.1 - (tile.y0 + r) as f64;
            let x = tile.x0 as f64 - d.axis.0;
            for (a, (ray, (at, weight))) in block.iter().zip(at.iter_mut().zip(&mut weight)).enumerate() {
                let n = tile.x.end.min(TILE);
                positions(ray, x, y, (a * row) as u32, row as i32 - 2, d.quarter, &mut at[..n], &mut weight[..n]);
            }
            let line = &mut acc[r * TILE..(r + 1) * TILE];
            for c in tile.x.start..tile.x.end.min(TILE) {
                let o = &mut line[c];
                let mut s0 = [0f32; L];
                let mut s1 = [0f32; L];
                for (at, weight) in at.iter().zip(&weight).take(block.len()) {
                    let i = at[c] as usize;
                    let w = weight[c];
                    let (left, right) = (&q[i], &q[i + 1]);
                    for l in 0..L {
                        s0[l] += left[l];
                        s1[l] = madd::<FMA>(w, right[l] - left[l], s1[l]);
                    }
                }
                for l in 0..L {
                    o[l] += s0[l] + s1[l];
                }
            }
        }
    }
}

/// 0, 1, 2 …: a counter would be converted, and checked, for every element.
const RAMP: [f32; TILE] = {
    let mut r = [0.0; TILE];
    let mut c = 0;
    while c < TILE {
        r[c] = c as f32;
        c += 1;
    }
    r
};

/// Index of the left neighbour (plus `first`) and weight of the right one for a line of voxels starting at (x, y).
/// Arithmetic wraps by name: an overflow check per element would keep the loop out of vector registers. The clamp
/// keeps every index inside its row.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn positions(ray: &Ray, x: f64, y: f64, first: u32, last: i32, quarter: bool, at: &mut [u32], weight: &mut [f32]) {
    // Added to a small number it leaves the nearest whole number in the low bits. A conversion would saturate, and is
    // not put into vector registers.
    const MAGIC: f32 = 12_582_912.0;
    // Whole and fraction apart: a f32 position in a wide row would be off by 1e-4 columns.
    let p = x * ray.cos + y * ray.sin + ray.offset;
    let whole = p.min(p + (TILE - 1) as f64 * ray.cos).floor();
    let (start, step, base) = ((p - whole) as f32, ray.cos as f32, whole as i32);
    for ((at, weight), c) in at.iter_mut().zip(weight).zip(&RAMP) {
        let mut pos = start + c * step;
        if quarter {
            pos = ((pos * 4.0 + MAGIC) - MAGIC) * 0.25;
        }
        let t = pos + MAGIC;
        let d = pos - (t - MAGIC);
        let below = d < 0.0;
        let i = (t.to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32).wrapping_sub(i32::from(below));
        let f = if below { d + 1.0 } else { d };
        let i = base.wrapping_add(i);
        // Outside the stored columns: exactly on a zero guard.
        let f = if i < 0 { 0.0 } else { f };
        *weight = if i > last { 1.0 } else { f };
        *at = first.wrapping_add(i.max(0).min(last) as u32);
    }
}
