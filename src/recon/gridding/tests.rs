//! Gridding against the exact sum, in float64, of trigonometrically interpolated filtered projections.

use super::*;
use std::f64::consts::{PI, TAU};
use std::ops::Range;

/// Reproducible numbers in −1..1.
pub(super) struct Noise(pub(super) u64);

impl Noise {
    pub(super) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// The discretised ramp's response.
fn ramp(len: usize) -> Vec<f64> {
    (0..=len / 2)
        .map(|k| {
            let odd = (1..=len / 2).step_by(2);
            let tail: f64 = odd
                .map(|n| {
                    let both = if 2 * n == len { 1.0 } else { 2.0 };
                    both * (TAU * (k * n % len) as f64 / len as f64).cos() / (PI * n as f64).powi(2)
                })
                .sum();
            (0.25 - tail).max(0.0)
        })
        .collect()
}

fn problem(cols: usize, angles: Vec<f64>, axis: f64) -> Problem {
    let len = fft::good_len(2 * cols, 2);
    let n = angles.len();
    Problem {
        cols,
        len,
        axis_px: axis,
        axes: vec![axis; n],
        weights: vec![PI / n as f64; n],
        angles,
        response: ramp(len),
        beyond: (Beyond::Zero, Beyond::Zero),
        blend: None,
        slope: None,
        bin: 1,
        size: (cols, cols),
        axis: ((cols as f64 - 1.0) / 2.0, (cols as f64 - 1.0) / 2.0),
        region: (0..cols, 0..cols),
        tolerance: 2e-4,
    }
}

fn half_turn(n: usize) -> Vec<f64> {
    (0..n).map(|k| PI * k as f64 / n as f64).collect()
}

/// Sinogram of a few discs, exact chords, off centre.
fn discs(p: &Problem, seed: u64) -> Vec<f32> {
    let mut noise = Noise(seed);
    let r = p.cols as f64 / 2.0;
    let discs: Vec<[f64; 4]> = (0..12)
        .map(|i| {
            let (a, d) = (PI * noise.next(), 0.6 * r * noise.next());
            let radius = if i == 0 { 0.3 * r } else { r * (0.02 + 0.1 * noise.next().abs()) };
            [d * a.cos(), d * a.sin(), radius, 0.5 + noise.next().abs()]
        })
        .collect();
    let mut out = Vec::with_capacity(p.cols * p.angles.len());
    for (t, axis) in p.angles.iter().zip(&p.axes) {
        for u in 0..p.cols {
            let s = u as f64 - axis;
            let v: f64 = discs
                .iter()
                .map(|[x, y, r, d]| {
                    let h = s - x * t.cos() - y * t.sin();
                    2.0 * d * (r * r - h * h).max(0.0).sqrt()
                })
                .sum();
            out.push(v as f32);
        }
    }
    out
}

fn noise(p: &Problem, seed: u64) -> Vec<f32> {
    let mut noise = Noise(seed);
    (0..p.cols * p.angles.len()).map(|_| noise.next() as f32).collect()
}

/// The exact value at voxels (column, row): plain sums.
fn exact(p: &Problem, sinogram: &[f32], voxels: &[(usize, usize)]) -> Vec<f64> {
    let half = p.len / 2;
    let left = (p.len - p.cols) / 2;
    let turn: Vec<(f64, f64)> = (0..p.len).map(|i| (TAU * i as f64 / p.len as f64).sin_cos()).collect();
    let mut out = vec![0.0; voxels.len()];
    for (k, row) in sinogram.chunks_exact(p.cols).enumerate() {
        let weight = |c: usize| p.blend.as_ref().map_or(1.0, |b| b.weight(k, c));
        let row: Vec<f64> = row.iter().enumerate().map(|(c, v)| f64::from(v * weight(c))).collect();
        let circle: Vec<f64> = (0..p.len)
            .map(|c| match c {
                c if c < p.cols => row[c],
                c if c < p.len - left => {
                    if p.beyond.1 == Beyond::Edge {
                        row[p.cols - 1]
                    } else {
                        0.0
                    }
                }
                _ => {
                    if p.beyond.0 == Beyond::Edge {
                        row[0]
                    } else {
                        0.0
                    }
                }
            })
            .collect();
        let spectrum: Vec<(f64, f64)> = (0..=half)
            .map(|m| {
                let (mut re, mut im) = (0.0, 0.0);
                for (c, v) in circle.iter().enumerate() {
                    let (sin, cos) = turn[m * c % p.len];
                    re += v * cos;
                    im -= v * sin;
                }
                let f = p.response[m] * p.weights[k] / p.len as f64 * if m == 0 || m == half { 1.0 } else { 2.0 };
                (re * f, im * f)
            })
            .collect();
        let (sin, cos) = p.angles[k].sin_cos();
        for ((j, i), v) in voxels.iter().zip(&mut out) {
            let (x, y) = ((*j as f64 - p.axis.0) * p.bin as f64, (p.axis.1 - *i as f64) * p.bin as f64);
            let u = x * cos + y * sin + p.axes[k];
            let (s, c) = (TAU * u / p.len as f64).sin_cos();
            let (mut er, mut ei) = (1.0, 0.0);
            for (re, im) in &spectrum {
                *v += re * er - im * ei;
                (er, ei) = (er * c - ei * s, er * s + ei * c);
            }
        }
    }
    out
}

fn voxels(p: &Problem, count: usize) -> Vec<(usize, usize)> {
    let (x, y) = (p.region.0.clone(), p.region.1.clone());
    if x.len() * y.len() <= count {
        return y.flat_map(|i| x.clone().map(move |j| (j, i))).collect();
    }
    let mut noise = Noise(5);
    let mut pick = |r: &Range<usize>| r.start + ((noise.next() * 0.5 + 0.5) * r.len() as f64) as usize % r.len();
    (0..count).map(|_| (pick(&x), pick(&y))).collect()
}

fn reconstruct(p: &Problem, simd: Simd, workers: usize, sinograms: &[&[f32]]) -> Vec<Vec<f32>> {
    let g = Gridding::new(p);
    let n = p.region.0.len() * p.region.1.len();
    let lanes = Gridding::lanes_for(simd, sinograms.len());
    let mut scratch = g.scratch(lanes, workers, false).unwrap();
    let mut out = vec![f32::NAN; n * sinograms.len()];
    for (out, sinos) in out.chunks_mut(n * lanes).zip(sinograms.chunks(lanes)) {
        let rows = |lane: usize, k: usize| &sinos[lane][k * p.cols..(k + 1) * p.cols];
        g.run(simd, &Input::Slices(sinos.len(), &rows), None, out, &mut scratch);
    }
    out.chunks(n).map(<[f32]>::to_vec).collect()
}

/// Relative rms error at up to `count` voxels.
fn error_of(p: &Problem, sinogram: &[f32], image: &[f32], count: usize) -> f64 {
    let at = voxels(p, count);
    let want = exact(p, sinogram, &at);
    let (mut diff, mut norm) = (0.0, 0.0);
    for ((j, i), w) in at.iter().zip(&want) {
        let v = image[(i - p.region.1.start) * p.region.0.len() + j - p.region.0.start];
        diff += (f64::from(v) - w).powi(2);
        norm += w * w;
    }
    if diff == 0.0 { 0.0 } else { (diff / norm).sqrt() }
}

fn check(name: &str, p: &Problem) {
    let (a, b) = (discs(p, 1), noise(p, 2));
    let images = reconstruct(p, Simd::detect(), 1, &[&a, &b]);
    let count = (20_000_000 / (p.angles.len() * p.len)).clamp(40, 2000);
    let errors = [error_of(p, &a, &images[0], count), error_of(p, &b, &images[1], count)];
    let (w, grid) = Gridding::new(p).describe();
    println!("{name}: discs {:.1e}, noise {:.1e} (width {w}, grid {grid:?})", errors[0], errors[1]);
    // Float32 itself costs about 1e-6.
    assert!(errors.iter().all(|e| *e <= p.tolerance + 2e-6), "{name}: {errors:?}");
}

#[test]
fn default_tolerance_holds_for_objects_and_noise() {
    check("64, 100 angles", &problem(64, half_turn(100), 31.5));
    check("off-centre axis", &problem(96, half_turn(150), 40.3));
    let outside = Problem { len: 512, response: ramp(512), ..problem(96, half_turn(100), -5.0) };
    check("axis outside", &outside);
    check("odd", &problem(101, half_turn(99), 47.7));
    check("545", &problem(545, half_turn(50), 270.1));
    check("prime", &problem(1021, half_turn(20), 511.4));
    let mut noise = Noise(9);
    let jitter = half_turn(120).iter().map(|a| a + 0.02 * noise.next() + 2.0).collect();
    check("jittered, shuffled", &problem(80, jitter, 39.0));
    for n in [1, 2, 3, 7] {
        check(&format!("{n} angles"), &problem(90, half_turn(n).iter().map(|a| a + 0.3).collect(), 44.0));
    }
    check("along the axes", &problem(64, vec![0.0, PI / 2.0, PI, 1.5 * PI, -PI / 4.0], 31.5));
    check("4000 angles", &problem(40, half_turn(4000), 20.0));
    check("full turn", &problem(64, half_turn(90).iter().map(|a| 2.0 * a).collect(), 30.0));
    let base = problem(70, half_turn(80), 33.0);
    let edges = Problem { beyond: (Beyond::Edge, Beyond::Edge), ..problem(70, half_turn(80), 33.0) };
    check("edges go on", &edges);
    check("wide slice", &Problem { size: (111, 30), axis: (40.5, 11.25), region: (0..111, 0..30), ..base });
}

#[test]
fn every_tolerance_is_kept() {
    for tolerance in [1e-2, 1e-3, 1e-4, 1e-5, 3e-6] {
        check(&format!("tolerance {tolerance:.0e}"), &Problem { tolerance, ..problem(64, half_turn(60), 30.0) });
    }
}

#[test]
fn small_sizes_work() {
    for cols in 1..6 {
        for (nx, ny) in [(1, 1), (1, 4), (5, 2), (3, 3)] {
            let p = Problem {
                size: (nx, ny),
                axis: (0.5 * nx as f64, 0.3),
                region: (0..nx, 0..ny),
                ..problem(cols, half_turn(3), 0.4)
            };
            // A handful of voxels, whose values may nearly cancel: no rms to speak of, so a wider limit.
            let sinogram = noise(&p, 7);
            let e = error_of(&p, &sinogram, &reconstruct(&p, Simd::detect(), 1, &[&sinogram])[0], 100);
            assert!(e < 1e-3, "{cols} columns, slice {nx} x {ny}: {e:.1e}");
        }
    }
}

/// The kinds with fused multiply-add agree to the bit, whatever their width; the plain one to rounding.
#[test]
fn instruction_sets_agree() {
    let p = problem(75, half_turn(61), 36.2);
    let sinograms: Vec<Vec<f32>> = (0..19).map(|s| noise(&p, s)).collect();
    let sinograms: Vec<&[f32]> = sinograms.iter().map(Vec::as_slice).collect();
    let best = reconstruct(&p, Simd::detect(), 2, &sinograms);
    for simd in Simd::available() {
        let other = reconstruct(&p, simd, 3, &sinograms);
        for (a, b) in best.iter().zip(&other) {
            if simd == Simd::Portable {
                let norm: f32 = a.iter().map(|v| v * v).sum();
                let diff: f32 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
                assert!(norm > 0.0 && (diff / norm).sqrt() < 2e-6, "{simd:?}: {:.1e}", (diff / norm).sqrt());
            } else {
                assert_eq!(a, b, "{simd:?}");
            }
        }
    }
}

#[test]
fn slices_do_not_see_each_other() {
    let p = problem(40, half_turn(31), 19.0);
    let mut sinograms: Vec<Vec<f32>> = (0..17).map(|s| noise(&p, s)).collect();
    let run = |s: &[Vec<f32>], workers| {
        let s: Vec<&[f32]> = s.iter().map(Vec::as_slice).collect();
        reconstruct(&p, Simd::detect(), workers, &s)
    };
    let all = run(&sinograms, 1);
    for workers in [2, 5] {
        assert_eq!(all, run(&sinograms, workers), "{workers} workers");
    }
    for (alone, together) in sinograms.iter().zip(&all) {
        assert_eq!(&run(std::slice::from_ref(alone), 1)[0], together);
    }
    sinograms[3][500] = f32::NAN;
    sinograms[4][500] = 3e38;
    let dirty = run(&sinograms, 1);
    for (s, (clean, dirty)) in all.iter().zip(&dirty).enumerate() {
        assert_eq!(clean == dirty, s != 3 && s != 4, "slice {s}");
    }
}

#[test]
fn lane_transform_equals_the_plain_sum() {
    type V = vector::Plain<4, false>;
    let mut noise = Noise(3);
    for len in (1..=66).chain([96, 100, 125, 128, 250, 360, 512]).filter(|n| fft::good_len(*n, 1) == *n) {
        let data: Vec<f32> = (0..len * 8).map(|_| noise.next() as f32).collect();
        let (mut a, mut b) = (vec![0f32; len * 8], vec![0f32; len * 8]);
        // SAFETY: three buffers of the right length; plain vectors need no special instructions.
        let out = unsafe {
            let p = fft::Fft::new(len).run::<V>(data.as_ptr(), a.as_mut_ptr(), b.as_mut_ptr());
            std::slice::from_raw_parts(p, len * 8)
        };
        let (mut diff, mut norm) = (0.0, 0.0);
        for k in 0..len {
            for lane in 0..4 {
                let (mut re, mut im) = (0.0, 0.0);
                for j in 0..len {
                    let (s, c) = (TAU * (j * k % len) as f64 / len as f64).sin_cos();
                    let (x, y) = (f64::from(data[j * 8 + lane]), f64::from(data[j * 8 + 4 + lane]));
                    re += x * c - y * s;
                    im += x * s + y * c;
                }
                let (x, y) = (f64::from(out[k * 8 + lane]), f64::from(out[k * 8 + 4 + lane]));
                diff += (x - re).powi(2) + (y - im).powi(2);
                norm += re * re + im * im;
            }
        }
        assert!((diff / norm).sqrt() < 4e-7, "length {len}: {:.1e}", (diff / norm).sqrt());
    }
}
