//! Ellipsoids, their sums, exact line integrals and rasterised truth.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::f64::consts::PI;
use std::str::FromStr;
use tomokit_formats::{Error, Result};

/// One ellipsoid of constant attenuation. Axis 3 is vertical (along the rotation axis); overlapping ellipsoids add up.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ellipsoid {
    /// Centre relative to the rotation axis, and to the middle row of the detector; pixels; x, y, z (z downwards, as
    /// rows go).
    pub centre: [f64; 3],
    /// Half axes, pixels, positive.
    pub half: [f64; 3],
    /// Rotation of the first two half axes about the vertical, radians.
    pub turn_rad: f64,
    /// Attenuation added inside, cm⁻¹.
    pub mu_per_cm: f64,
}

/// What a phantom shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The modified Shepp-Logan head, blown up to three dimensions.
    Shepp,
    /// A cylinder-like matrix with many small sharp grains and pores of random size, place and attenuation.
    Grains,
    /// One uniform disc (a long vertical ellipsoid).
    Disc,
}

impl Kind {
    /// Every kind with its name.
    pub const ALL: [(&'static str, Kind); 3] = [("shepp", Kind::Shepp), ("grains", Kind::Grains), ("disc", Kind::Disc)];
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        Kind::ALL.iter().find(|(n, _)| *n == s).map(|(_, k)| *k).ok_or_else(|| {
            Error::caller("there is no such phantom").expected(Kind::ALL.map(|(n, _)| n).join(", ")).found(s)
        })
    }
}

/// A sum of ellipsoids.
#[derive(Clone, PartialEq, Debug)]
pub struct Phantom {
    /// The parts.
    pub parts: Vec<Ellipsoid>,
}

/// x, y, z, a, b, c, degrees, relative attenuation; on the unit ball (Toft's contrast, heights after Kak and Slaney).
const SHEPP: [[f64; 8]; 10] = [
    [0.0, 0.0, 0.0, 0.69, 0.92, 0.81, 0.0, 1.0],
    [0.0, -0.0184, 0.0, 0.6624, 0.874, 0.78, 0.0, -0.8],
    [0.22, 0.0, 0.0, 0.11, 0.31, 0.22, -18.0, -0.2],
    [-0.22, 0.0, 0.0, 0.16, 0.41, 0.28, 18.0, -0.2],
    [0.0, 0.35, 0.15, 0.21, 0.25, 0.41, 0.0, 0.1],
    [0.0, 0.1, -0.25, 0.046, 0.046, 0.05, 0.0, 0.1],
    [0.0, -0.1, -0.25, 0.046, 0.046, 0.05, 0.0, 0.1],
    [-0.08, -0.605, 0.0, 0.046, 0.023, 0.05, 0.0, 0.1],
    [0.0, -0.606, 0.0, 0.023, 0.023, 0.02, 0.0, 0.1],
    [0.06, -0.605, 0.0, 0.023, 0.046, 0.02, 0.0, 0.1],
];

impl Phantom {
    /// A named phantom that fits a cylinder of radius `radius_px` around the axis and `rows` detector rows.
    ///
    /// `mu_per_cm` is the attenuation of the bulk. With 0.4 / (radius in cm) the object absorbs about half the beam.
    /// The same arguments give the same phantom.
    pub fn new(kind: Kind, radius_px: f64, rows: usize, mu_per_cm: f64, seed: u64) -> Self {
        let (r, height) = (radius_px, rows as f64);
        let parts = match kind {
            Kind::Disc => vec![Ellipsoid {
                centre: [0.12 * r, -0.07 * r, 0.0],
                half: [0.75 * r, 0.75 * r, 1e3 * (r + height)],
                turn_rad: 0.0,
                mu_per_cm,
            }],
            Kind::Shepp => SHEPP
                .iter()
                .map(|e| Ellipsoid {
                    centre: [e[0] * r, e[1] * r, e[2] * height / 2.0],
                    half: [e[3] * r, e[4] * r, e[5] * height * 0.62],
                    turn_rad: e[6] * PI / 180.0,
                    mu_per_cm: e[7] * mu_per_cm,
                })
                .collect(),
            Kind::Grains => grains(r, height, mu_per_cm, seed),
        };
        Phantom { parts }
    }

    /// Exact −log projection at `angle_rad`: `out[row][col]` = attenuation along the ray through the centre of that
    /// pixel. `first_row` is the detector row of `out`'s first one, `rows` the rows of the whole detector.
    ///
    /// `samples` > 1 averages that many rays squared over each pixel's area (in −log, an idealisation).
    pub fn project(&self, view: &View, angle_rad: f64, first_row: usize, samples: usize, out: &mut [f32]) {
        if view.tilt_rad != 0.0 {
            return self.project_tilted(view, angle_rad, first_row, samples, out);
        }
        let n = samples.max(1);
        let share = 1.0 / (n * n) as f64;
        let (sin, cos) = angle_rad.sin_cos();
        let cm = view.pixel_size_um * 1e-4;
        let mut line = vec![0f64; view.cols];
        for (r, out) in out.chunks_exact_mut(view.cols.max(1)).enumerate() {
            line.fill(0.0);
            for sub in 0..n {
                let z = (first_row + r) as f64 - (view.rows as f64 - 1.0) / 2.0 + offset(sub, n);
                for e in &self.parts {
                    let Some((a, b)) = e.section(z) else { continue };
                    let (ts, tc) = (angle_rad - e.turn_rad).sin_cos();
                    let width = (a * tc).hypot(b * ts);
                    let middle = e.centre[0] * cos + e.centre[1] * sin + view.rotation_axis_px;
                    // Chord of an ellipse at distance s: 2 a b sqrt(w^2 - s^2) / w^2.
                    let height = 2.0 * a * b / (width * width) * e.mu_per_cm * cm * share;
                    let first = (middle - width - 0.5).ceil().clamp(0.0, view.cols as f64) as usize;
                    let end = ((middle + width + 0.5).floor() + 1.0).clamp(0.0, view.cols as f64) as usize;
                    for (u, v) in line.iter_mut().enumerate().take(end).skip(first) {
                        for sub in 0..n {
                            let s = u as f64 + offset(sub, n) - middle;
                            *v += height * (width * width - s * s).max(0.0).sqrt();
                        }
                    }
                }
            }
            for (o, v) in out.iter_mut().zip(&line) {
                *o = *v as f32;
            }
        }
    }

    /// The same for a camera that stands askew: ray by ray.
    fn project_tilted(&self, view: &View, angle_rad: f64, first_row: usize, samples: usize, out: &mut [f32]) {
        let n = samples.max(1);
        let share = view.pixel_size_um * 1e-4 / (n * n) as f64;
        let (sin, cos) = angle_rad.sin_cos();
        let (lean, upright) = view.tilt_rad.sin_cos();
        for (p, o) in out.iter_mut().enumerate() {
            let (r, u) = (first_row + p / view.cols, p % view.cols);
            let mut sum = 0.0;
            for (i, j) in (0..n * n).map(|s| (s / n, s % n)) {
                let x = u as f64 + offset(j, n) - view.rotation_axis_px;
                let y = r as f64 + offset(i, n) - (view.rows as f64 - 1.0) / 2.0;
                let (along, z) = (x * upright - y * lean, x * lean + y * upright);
                for e in &self.parts {
                    let Some((a, b)) = e.section(z) else { continue };
                    let (ts, tc) = (angle_rad - e.turn_rad).sin_cos();
                    let width = (a * tc).hypot(b * ts);
                    let s = along - (e.centre[0] * cos + e.centre[1] * sin);
                    sum += 2.0 * a * b / (width * width) * e.mu_per_cm * (width * width - s * s).max(0.0).sqrt();
                }
            }
            *o = (sum * share) as f32;
        }
    }

    /// The true slice under detector row `row`: `out[i][j]` in cm⁻¹, `nx` columns, the axis at voxel (`axis.0`,
    /// `axis.1`), averaged over `samples`³ points per voxel.
    pub fn rasterise(&self, rows: usize, row: usize, nx: usize, axis: (f64, f64), samples: usize, out: &mut [f32]) {
        let n = samples.max(1);
        let share = 1.0 / (n * n * n) as f64;
        out.par_chunks_exact_mut(nx.max(1)).enumerate().for_each(|(i, line)| {
            let mut sum = vec![0f64; nx];
            for sub in 0..n {
                let z = row as f64 - (rows as f64 - 1.0) / 2.0 + offset(sub, n);
                for e in &self.parts {
                    let Some((a, b)) = e.section(z) else { continue };
                    let (ts, tc) = e.turn_rad.sin_cos();
                    let reach = (a * tc).hypot(b * ts);
                    let first = (e.centre[0] - reach + axis.0 - 0.5).ceil().clamp(0.0, nx as f64) as usize;
                    let end = ((e.centre[0] + reach + axis.0 + 0.5).floor() + 1.0).clamp(0.0, nx as f64) as usize;
                    for sub in 0..n {
                        let y = axis.1 - i as f64 + offset(sub, n) - e.centre[1];
                        for (j, v) in sum.iter_mut().enumerate().take(end).skip(first) {
                            for sub in 0..n {
                                let x = j as f64 - axis.0 + offset(sub, n) - e.centre[0];
                                let (p, q) = ((x * tc + y * ts) / a, (y * tc - x * ts) / b);
                                *v += if p * p + q * q < 1.0 { e.mu_per_cm * share } else { 0.0 };
                            }
                        }
                    }
                }
            }
            for (o, v) in line.iter_mut().zip(&sum) {
                *o = *v as f32;
            }
        });
    }
}

/// Detector of a simulated scan.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct View {
    /// Detector rows; row (rows − 1) / 2 is at z = 0.
    pub rows: usize,
    /// Detector columns.
    pub cols: usize,
    /// Column of the rotation axis.
    pub rotation_axis_px: f64,
    /// Pixel size, µm.
    pub pixel_size_um: f64,
    /// How far the axis leans towards higher columns on its way to higher rows, radians; it crosses the middle row at
    /// its column.
    pub tilt_rad: f64,
}

impl Ellipsoid {
    /// Half axes of the ellipse at height `z`, if the ellipsoid is met there.
    fn section(&self, z: f64) -> Option<(f64, f64)> {
        let t = 1.0 - ((z - self.centre[2]) / self.half[2]).powi(2);
        (t > 0.0).then(|| (self.half[0] * t.sqrt(), self.half[1] * t.sqrt()))
    }
}

/// Place of sub-sample `i` of `n` in a pixel, −1/2 … 1/2.
fn offset(i: usize, n: usize) -> f64 {
    (i as f64 + 0.5) / n as f64 - 0.5
}

/// A matrix with grains and pores from 1 px to a tenth of the radius, more small than large ones.
fn grains(r: f64, height: f64, mu: f64, seed: u64) -> Vec<Ellipsoid> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let matrix = Ellipsoid {
        centre: [0.02 * r, -0.03 * r, 0.0],
        half: [0.85 * r, 0.8 * r, 4.0 * (r + height)],
        turn_rad: 0.4,
        mu_per_cm: mu,
    };
    let mut parts = vec![matrix];
    let mut between = |a: f64, b: f64| a + (b - a) * rng.random::<f64>();
    for i in 0..200 {
        let large = (0.1 * r).max(1.5);
        let size = large * (1.0 / large).powf(between(0.0, 1.0).sqrt());
        // Uniform in the cylinder, clear of the matrix's edge.
        let (distance, direction) = (0.68 * r * between(0.0, 1.0).sqrt(), between(0.0, 2.0 * PI));
        parts.push(Ellipsoid {
            centre: [distance * direction.cos(), distance * direction.sin(), between(-0.5, 0.5) * (height + size)],
            half: [size * between(0.5, 1.0), size * between(0.5, 1.0), size * between(0.5, 1.0)],
            turn_rad: between(0.0, PI),
            mu_per_cm: if i % 4 == 0 { -mu * between(0.5, 0.95) } else { mu * between(0.3, 2.0) },
        });
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recon::{FbpPlan, Geometry, Options, Sinograms, Unit};

    const VIEW: View = View { rows: 9, cols: 200, rotation_axis_px: 96.3, pixel_size_um: 5.0, tilt_rad: 0.0 };

    #[test]
    fn a_line_integral_equals_a_sum_along_the_ray() {
        let p = Phantom::new(Kind::Grains, 90.0, VIEW.rows, 30.0, 7);
        let mut out = vec![0.0; VIEW.cols * VIEW.rows];
        for angle in [0.0, 0.7, 2.5, 4.0] {
            p.project(&VIEW, angle, 0, 1, &mut out);
            for (row, u) in [(0, 60), (4, 96), (4, 131), (8, 20)] {
                let (z, s) = (row as f64 - 4.0, u as f64 - VIEW.rotation_axis_px);
                let step = 0.01;
                let sum: f64 = (-20_000..20_000)
                    .map(|t| {
                        let t = f64::from(t) * step;
                        let (x, y) = (s * angle.cos() - t * angle.sin(), s * angle.sin() + t * angle.cos());
                        let inside = |e: &&Ellipsoid| {
                            let (dx, dy, dz) = (x - e.centre[0], y - e.centre[1], z - e.centre[2]);
                            let (c, s) = (e.turn_rad.cos(), e.turn_rad.sin());
                            ((dx * c + dy * s) / e.half[0]).powi(2)
                                + ((dy * c - dx * s) / e.half[1]).powi(2)
                                + (dz / e.half[2]).powi(2)
                                < 1.0
                        };
                        p.parts.iter().filter(inside).map(|e| e.mu_per_cm).sum::<f64>()
                    })
                    .sum::<f64>()
                    * step
                    * 5e-4;
                let got = f64::from(out[row * VIEW.cols + u]);
                assert!((got - sum).abs() < 2e-3 * sum.max(0.05), "{angle} {row} {u}: {got} against {sum}");
            }
        }
    }

    #[test]
    fn truth_and_projection_hold_the_same_mass() {
        for (name, kind) in Kind::ALL {
            let p = Phantom::new(kind, 90.0, VIEW.rows, 30.0, 1);
            let (mut proj, mut slice) = (vec![0.0; VIEW.cols], vec![0.0; 200 * 200]);
            p.project(&VIEW, 1.1, 3, 4, &mut proj);
            p.rasterise(VIEW.rows, 3, 200, (99.5, 99.5), 4, &mut slice);
            let a = proj.iter().map(|v| f64::from(*v)).sum::<f64>();
            let b = slice.iter().map(|v| f64::from(*v)).sum::<f64>() * 5e-4;
            assert!(a > 0.1 && (a / b - 1.0).abs() < 2e-3, "{name}: {a} against {b}");
        }
    }

    #[test]
    fn reconstructs_to_the_truth() {
        let p = Phantom::new(Kind::Shepp, 95.0, 9, 20.0, 0);
        let g = Geometry::new(200, Geometry::uniform_angles(300, PI), VIEW.rotation_axis_px);
        let mut sino = vec![0.0; 300 * 200];
        for (k, row) in sino.chunks_mut(200).enumerate() {
            p.project(&VIEW, g.angles_rad[k], 3, 3, row);
        }
        let o = Options { unit: Unit::PerCm, pixel_size_um: Some(VIEW.pixel_size_um), ..Options::default() };
        let plan = FbpPlan::new(&g, &o).unwrap();
        let (mut slice, mut truth) = (vec![0.0; 40_000], vec![0.0; 40_000]);
        let mut scratch = plan.scratch().unwrap();
        plan.execute(Sinograms::by_slice(&sino, 1, 300, 200), &mut slice, &mut scratch).unwrap();
        p.rasterise(9, 3, 200, g.axis_voxel(), 3, &mut truth);
        // Correlation with the truth, and with the truth turned upside down, over the seen voxels.
        let correlation = |flip: bool| {
            let (mut st, mut ss, mut tt) = (0.0, 0.0, 0.0);
            for (i, v) in slice.iter().enumerate().filter(|(_, v)| **v != 0.0) {
                let t = f64::from(truth[if flip { (199 - i / 200) * 200 + i % 200 } else { i }]) - 2.0;
                let v = f64::from(*v) - 2.0;
                st += v * t;
                ss += v * v;
                tt += t * t;
            }
            st / (ss * tt).sqrt()
        };
        // What is missing to 1 sits on the sharp edges of the skull.
        assert!(correlation(false) > 0.96 && correlation(true) < 0.95, "{} {}", correlation(false), correlation(true));
        let (m, mt) = slice
            .iter()
            .zip(&truth)
            .filter(|(v, _)| **v != 0.0)
            .fold((0.0, 0.0), |(m, mt), (v, t)| (m + f64::from(*v), mt + f64::from(*t)));
        assert!((m / mt - 1.0).abs() < 5e-3, "scale {}", m / mt);
        // In the grey interior away from edges the values are right to a per cent of the bulk.
        let j = g.axis_voxel();
        let at = |x: f64, y: f64| slice[((j.1 - y) as usize) * 200 + (j.0 + x) as usize];
        assert!((f64::from(at(0.0, -30.0)) / 4.0 - 1.0).abs() < 0.05, "{}", at(0.0, -30.0));
    }

    #[test]
    fn frames_and_bands_are_independent_and_deterministic() {
        let p = Phantom::new(Kind::Grains, 90.0, VIEW.rows, 30.0, 42);
        assert_eq!(p, Phantom::new(Kind::Grains, 90.0, VIEW.rows, 30.0, 42));
        assert_ne!(p, Phantom::new(Kind::Grains, 90.0, VIEW.rows, 30.0, 43));
        let (mut all, mut part) = (vec![0.0; 9 * 200], vec![0.0; 3 * 200]);
        p.project(&VIEW, 0.3, 0, 2, &mut all);
        p.project(&VIEW, 0.3, 4, 2, &mut part);
        assert_eq!(part, all[4 * 200..7 * 200]);
        assert!("grain".parse::<Kind>().is_err());
    }
}
