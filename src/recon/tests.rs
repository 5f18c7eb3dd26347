//! The plan against the float64 oracle and against analytic truth. Oracle tolerance: float32 keeps 6e-8 per operation;
//! an FFT pair of length 512 loses about log2(512) * 6e-8 rms and cancellation in the ramp amplifies that by less than
//! ten, so 1e-5 of the slice's rms is generous and any wrong index or weight is far outside.

use super::*;
use std::f64::consts::{PI, TAU};

/// A few discs and boxes as a sinogram: rough data from a small generator, the filter sees every frequency.
fn rough(n: usize, cols: usize, seed: u32) -> Vec<f64> {
    let mut s = seed;
    (0..n * cols)
        .map(|i| {
            s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let u = (i % cols) as f64 / cols as f64;
            f64::from(s >> 8) / f64::from(1 << 24) + 2.0 * (PI * u).sin()
        })
        .collect()
}

/// Projections of a uniform disc of radius `r` and attenuation `mu` per pixel, centred at (x, y), averaged over each
/// detector column.
fn disc(g: &Geometry, mu: f64, r: f64, x: f64, y: f64) -> Vec<f32> {
    let mut out = Vec::new();
    for k in 0..g.angles_rad.len() {
        let (sin, cos) = g.angle_of(k).sin_cos();
        for u in 0..g.cols {
            let s = u as f64 - g.axis_of(k) - (x * cos + y * sin);
            // Integral of the chord 2 sqrt(r² - s²).
            let area = |s: f64| {
                let t = (s / r).clamp(-1.0, 1.0);
                r * r * (t * (1.0 - t * t).sqrt() + t.asin())
            };
            out.push((mu * (area(s + 0.5) - area(s - 0.5))) as f32);
        }
    }
    out
}

fn run(plan: &FbpPlan, sino: &[f32], slices: usize) -> Vec<f32> {
    let g = plan.geometry();
    let mut out = vec![f32::NAN; slices * plan.slice_len()];
    let mut scratch = plan.scratch().unwrap();
    let view = Sinograms::by_slice(sino, slices, g.angles_rad.len(), g.cols);
    plan.execute(view, &mut out, &mut scratch).unwrap();
    out
}

/// Largest relative difference to the oracle, in units of the slice's rms, over all instruction sets.
fn oracle_error(g: &Geometry, o: &Options, slices: usize) -> f64 {
    let (n, cols) = (g.angles_rad.len(), g.cols);
    let sinos: Vec<Vec<f64>> = (0..slices).map(|s| rough(n, cols, s as u32 * 77 + 5)).collect();
    let flat: Vec<f32> = sinos.iter().flatten().map(|v| *v as f32).collect();
    let mut worst: f64 = 0.0;
    for simd in Simd::available() {
        let got = run(&FbpPlan::new(g, o).unwrap().with_simd(simd).unwrap(), &flat, slices);
        // The oracle for the first and last slice only: it is slow.
        for s in [0, slices - 1] {
            let exact: Vec<f64> = sinos[s].iter().map(|v| f64::from(*v as f32)).collect();
            let want = reference::fbp(g, o, &exact).unwrap();
            let got = &got[s * want.len()..(s + 1) * want.len()];
            let power: f64 = want.iter().map(|v| v * v).sum::<f64>();
            let diff: f64 = want.iter().zip(got).map(|(a, b)| (a - f64::from(*b)).powi(2)).sum::<f64>();
            assert!(power > 0.0);
            worst = worst.max((diff / power).sqrt());
        }
    }
    worst
}

/// Geometries and options that differ in everything.
fn cases() -> Vec<(&'static str, Geometry, Options)> {
    let full = |cols, n, range, axis| Geometry::new(cols, Geometry::uniform_angles(n, range), axis);
    let mut cases: Vec<(&str, Geometry, Options)> = Vec::new();
    let off = Options { mask: Mask::Off, ..Options::default() };
    cases.push(("centred", full(48, 30, PI, 23.5), Options::default()));
    cases.push(("off-centre, odd", full(45, 33, PI, 17.3), off));
    cases.push(("prime", full(61, 29, PI, 31.0), off));
    cases.push(("one projection", full(40, 1, PI, 19.5), off));
    cases.push(("one column", full(1, 3, PI, 0.0), off));
    cases.push(("360", full(40, 50, TAU, 18.25), off));
    cases.push(("axis outside", full(32, 20, TAU, -9.5), off));
    cases.push(("extended right", full(40, 48, TAU, 34.2).extended(6.0), Options::default()));
    cases.push(("extended left", full(40, 48, TAU, 5.6).extended(f64::INFINITY), off));
    let mut g = full(44, 25, PI, 20.0);
    g.angles_rad = (0..25).map(|k| PI * (f64::from(k) / 25.0).powf(1.3)).rev().collect();
    g.shifts_px = Some((0..25).map(|k| (f64::from(k) * 0.7).sin() * 2.5).collect());
    g.angle_offset_rad = 0.3;
    cases.push(("uneven, moved, turned", g.clone(), off));
    g.output =
        Output { nx: 71, ny: 38, centre: Centre::Detector, roi: Some(Roi { x0: 3, x1: 70, y0: 5, y1: 37 }), bin: 1 };
    cases.push(("detector frame, ROI", g, off));
    // Lengths that are a multiple of twice the voxel and others; regions; both fields.
    let roi = Some(Roi { x0: 2, x1: 13, y0: 4, y1: 9 });
    for (name, cols, bin, axis, roi) in
        [("bin 2", 40, 2, 19.5, None), ("bin 3, odd", 41, 3, 17.2, None), ("bin 2, region", 40, 2, 21.0, roi)]
    {
        let mut g = full(cols, 31, PI, axis).binned(bin);
        g.output.roi = roi;
        cases.push((name, g, Options { filter: Filter::Hann, ..Options::default() }));
    }
    cases.push(("bin 4, extended", full(40, 48, TAU, 34.2).extended(6.0).binned(4), off));
    let mut g = full(45, 20, PI, 20.4);
    g.output.centre = Centre::Detector;
    cases.push(("bin 2, detector frame", g.binned(2), off));
    for (name, filter) in Filter::ALL {
        let o = Options {
            filter,
            cutoff: 0.8,
            padding: Padding::Zero,
            unit: Unit::PerCm,
            pixel_size_um: Some(3.5),
            weights: Weights::Equal,
            ..off
        };
        cases.push((name, full(36, 20, PI, 16.9), o));
    }
    cases
}

#[test]
fn direct_plan_equals_the_float64_oracle() {
    let direct = |o: &Options| Options { backend: Backend::Direct, ..*o };
    for (name, g, o) in &cases() {
        let e = oracle_error(g, &direct(o), 1);
        assert!(e < 1e-5, "{name}: relative error {e:.2e}");
    }
    let g = Geometry::new(48, Geometry::uniform_angles(30, PI), 23.2);
    let e = oracle_error(&g, &direct(&Options::default()), 19);
    assert!(e < 1e-5, "19 slices: {e:.2e}");
}

#[test]
fn gridding_plan_equals_the_exact_sum_within_its_tolerance() {
    for (name, g, o) in &cases() {
        let e = oracle_error(g, o, 1);
        assert!(e < 2e-4, "{name}: relative error {e:.2e}");
    }
    let g = Geometry::new(48, Geometry::uniform_angles(30, PI), 23.2);
    for (tolerance, slices) in [(1e-2, 1), (1e-3, 19), (1e-5, 3), (1e-6, 1)] {
        let e = oracle_error(&g, &Options { tolerance, ..Options::default() }, slices);
        assert!(e < tolerance + 1e-6, "tolerance {tolerance:.0e}: relative error {e:.2e}");
    }
}

/// Relative deviation from `mu` of the mean over the ring `radii` around (x, y).
fn ring(g: &Geometry, slice: &[f32], mu: f64, radii: std::ops::Range<f64>, x: f64, y: f64) -> f64 {
    let (cx, cy) = g.axis_voxel();
    let (nx, _) = g.slice_size();
    let (mut sum, mut count) = (0.0, 0.0);
    for (p, v) in slice.iter().enumerate() {
        let (vx, vy) = ((p % nx) as f64 - cx, cy - (p / nx) as f64);
        if radii.contains(&(vx - x).hypot(vy - y)) {
            sum += f64::from(*v);
            count += 1.0;
        }
    }
    assert!(count > 50.0);
    sum / count / mu - 1.0
}

#[test]
fn a_uniform_disc_comes_back_with_its_attenuation() {
    let mu = 0.0123;
    let uneven = || {
        let mut a = Geometry::uniform_angles(400, PI);
        // A denser half: equal weights would be 25 % off.
        a.extend((0..200).map(|k| (f64::from(k) + 0.5) * PI / 400.0));
        a
    };
    let cases = [
        ("centred", Geometry::new(256, Geometry::uniform_angles(400, PI), 127.5), 0.0, 0.0),
        ("off-centre axis", Geometry::new(257, Geometry::uniform_angles(401, PI), 140.3), -6.0, 11.0),
        ("360", Geometry::new(251, Geometry::uniform_angles(720, TAU), 120.0), 5.0, -8.0),
        ("uneven", Geometry::new(256, uneven(), 127.5), 9.0, 3.0),
        ("extended", Geometry::new(180, Geometry::uniform_angles(900, TAU), 150.4).extended(30.0), 20.0, -31.0),
    ];
    for (name, g, x, y) in cases {
        let r = if name == "extended" { 100.0 } else { 90.0 };
        for backend in [Backend::Gridding, Backend::Direct] {
            let plan = FbpPlan::new(&g, &Options { backend, ..Options::default() }).unwrap();
            let slice = run(&plan, &disc(&g, mu, r, x, y), 1);
            let mean = ring(&g, &slice, mu, 0.0..0.9 * r, x, y);
            assert!(mean.abs() < 1e-3, "{name}, {backend:?}: mean {mean:.1e}");
            // No cupping: every ring is right. Rings ten pixels wide, so that what the sharp edge leaves (Gibbs) cancels.
            for i in 0..(0.09 * r) as usize {
                let radii = 10.0 * i as f64..10.0 * (i + 1) as f64;
                let e = ring(&g, &slice, mu, radii.clone(), x, y);
                assert!(e.abs() < 1e-3, "{name}, {backend:?}: {e:.1e} at {radii:?}");
            }
        }
    }
}

#[test]
fn truncated_projections_go_on_with_their_ends() {
    // A disc nearly twice as wide as the detector: local tomography. Its level is lost, its flatness is not.
    let g = Geometry::new(96, Geometry::uniform_angles(200, PI), 47.5);
    let sino = disc(&g, 0.01, 90.0, 0.0, 0.0);
    for backend in [Backend::Gridding, Backend::Direct] {
        let bend = |padding| {
            let plan = FbpPlan::new(&g, &Options { padding, backend, ..Options::default() }).unwrap();
            let slice = run(&plan, &sino, 1);
            ring(&g, &slice, 0.01, 38.0..44.0, 0.0, 0.0) - ring(&g, &slice, 0.01, 0.0..8.0, 0.0, 0.0)
        };
        let (edge, zero) = (bend(Padding::Edge), bend(Padding::Zero));
        assert!(edge.abs() < 0.2 && zero > 4.0 * edge.abs(), "{backend:?}: {edge:.3} with edges, {zero:.3} without");
    }
}

#[test]
fn units_follow_the_pixel_size() {
    let g = Geometry::new(64, Geometry::uniform_angles(90, PI), 31.5);
    let sino = disc(&g, 0.01, 20.0, 0.0, 0.0);
    let value = |unit| {
        let o = Options { unit, pixel_size_um: Some(6.5), ..Options::default() };
        0.01 * (1.0 + ring(&g, &run(&FbpPlan::new(&g, &o).unwrap(), &sino, 1), 0.01, 0.0..15.0, 0.0, 0.0))
    };
    let px = value(Unit::PerPixel);
    assert!((px / 0.01 - 1.0).abs() < 0.01);
    assert!((value(Unit::PerCm) / px / (1e4 / 6.5) - 1.0).abs() < 1e-6);
    assert!((value(Unit::PerM) / px / (1e6 / 6.5) - 1.0).abs() < 1e-6);
    for p in [None, Some(0.0), Some(f64::NAN)] {
        let o = Options { unit: Unit::PerCm, pixel_size_um: p, ..Options::default() };
        assert!(FbpPlan::new(&g, &o).is_err());
    }
}

#[test]
fn same_bytes_for_any_threads_batch_layout_and_roi() {
    let mut g = Geometry::new(75, Geometry::uniform_angles(41, PI), 35.2);
    let o = Options { mask: Mask::Off, ..Options::default() };
    let slices = 21;
    let sino: Vec<f32> = (0..slices).flat_map(|s| rough(41, 75, s as u32)).map(|v| v as f32).collect();
    let plan = FbpPlan::new(&g, &o).unwrap();
    let all = run(&plan, &sino, slices);
    let direct = FbpPlan::new(&g, &Options { backend: Backend::Direct, ..o }).unwrap();
    let all_direct = run(&direct, &sino, slices);
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(all, pool.install(|| run(&plan, &sino, slices)), "{threads} threads");
        assert_eq!(all_direct, pool.install(|| run(&direct, &sino, slices)), "direct, {threads} threads");
    }
    for batch in [1, 3, 8] {
        let parts: Vec<f32> = sino.chunks(batch * 41 * 75).flat_map(|s| run(&plan, s, s.len() / (41 * 75))).collect();
        assert_eq!(all, parts, "batches of {batch}");
    }
    let mut frames = vec![0.0; sino.len()];
    for s in 0..slices {
        for k in 0..41 {
            frames[(k * slices + s) * 75..][..75].copy_from_slice(&sino[(s * 41 + k) * 75..][..75]);
        }
    }
    let mut out = vec![0.0; all.len()];
    let mut scratch = plan.scratch_for(3, 2).unwrap();
    plan.execute(Sinograms::by_frame(&frames, slices, 75), &mut out, &mut scratch).unwrap();
    assert_eq!(all, out, "frame order");
    g.output.roi = Some(Roi { x0: 13, x1: 68, y0: 31, y1: 64 });
    let part = run(&FbpPlan::new(&g, &o).unwrap(), &sino[..41 * 75], 1);
    for (i, line) in part.chunks(55).enumerate() {
        assert_eq!(line, &all[(31 + i) * 75 + 13..][..55], "row {i}");
    }
}

#[test]
fn a_region_equals_the_cut_out_and_the_direct_back_end_too() {
    let mut g = Geometry::new(75, Geometry::uniform_angles(41, PI), 35.2);
    let sino: Vec<f32> = rough(41, 75, 9).into_iter().map(|v| v as f32).collect();
    for backend in [Backend::Gridding, Backend::Direct] {
        for mask in [Mask::Seen, Mask::SeenInSquare, Mask::Off] {
            let o = Options { backend, mask, ..Options::default() };
            g.output.roi = None;
            let all = run(&FbpPlan::new(&g, &o).unwrap(), &sino, 1);
            let scale = all.iter().fold(0f32, |m, v| m.max(v.abs()));
            g.output.roi = Some(Roi { x0: 2, x1: 51, y0: 40, y1: 75 });
            let part = run(&FbpPlan::new(&g, &o).unwrap(), &sino, 1);
            for (i, line) in part.chunks(49).enumerate() {
                let worst = line.iter().zip(&all[(40 + i) * 75 + 2..]).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
                assert!(worst <= 1e-6 * scale, "{backend:?}, {mask:?}, row {i}: {worst}");
            }
        }
    }
}

#[test]
fn several_axes_at_a_time_equal_one_by_one() {
    let shifts = |n: usize| Some((0..n).map(|k| (k as f64 * 0.7).sin() * 1.5).collect());
    let full = Geometry::new(61, Geometry::uniform_angles(47, TAU), 29.0);
    let moved = Geometry { shifts_px: shifts(47), ..full.clone() };
    let extended = Geometry::new(50, Geometry::uniform_angles(60, TAU), 41.5).extended(9.0);
    let left = Geometry::new(50, Geometry::uniform_angles(60, TAU), 8.0).extended(f64::INFINITY);
    let left = Geometry { shifts_px: shifts(60), ..left };
    for (name, g) in [
        ("full", full.clone()),
        ("moved", moved),
        ("extended", extended),
        ("extended left", left),
        ("binned", full.clone().binned(2)),
    ] {
        let axes: Vec<f64> = (0..21).map(|i| g.rotation_axis_px + f64::from(i) * 0.4 - 3.7).collect();
        let o = Options { mask: Mask::Off, tolerance: 1e-6, ..Options::default() };
        let sino: Vec<f32> = rough(g.angles_rad.len(), g.cols, 3).into_iter().map(|v| v as f32).collect();
        let view = Sinograms::by_slice(&sino, 1, g.angles_rad.len(), g.cols);
        let mut first: Option<Vec<f32>> = None;
        for simd in Simd::available() {
            let plan = FbpPlan::for_axes(&g, &o, &axes).unwrap().with_simd(simd).unwrap();
            for workers in [1, 3] {
                let mut scratch = plan.axes_scratch(axes.len(), workers).unwrap();
                assert!(scratch.bytes() as u64 <= plan.axes_scratch_bytes(axes.len(), workers));
                let mut slices = vec![f32::NAN; axes.len() * plan.slice_len()];
                plan.execute_axes(view, &axes, &mut slices, &mut scratch).unwrap();
                let apart = |a: &[f32], b: &[f32]| {
                    let norm: f32 = a.iter().map(|v| v * v).sum();
                    let diff: f32 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
                    assert!(norm > 0.0);
                    (diff / norm).sqrt()
                };
                for (a, slice) in axes.iter().zip(slices.chunks(plan.slice_len())).step_by(5) {
                    let alone = Geometry { rotation_axis_px: *a, ..g.clone() };
                    let want = run(&FbpPlan::new(&alone, &o).unwrap(), &sino, 1);
                    // Extended fields: the padding is that of the axis that needs most of it.
                    let limit = if name.starts_with("extended") { 2e-2 } else { 4e-6 };
                    let e = apart(&want, slice);
                    assert!(e < limit, "{name}, {simd:?}, axis {a}: {e:.1e}");
                }
                let first = first.get_or_insert_with(|| slices.clone());
                assert!(apart(first, &slices) < 2e-6, "{name}, {simd:?}, {workers} workers");
            }
        }
    }
    // Refused: what the plan is not made for.
    let o = Options::default();
    let plan = FbpPlan::for_axes(&full, &o, &[28.0, 30.0]).unwrap();
    let (sino, mut out) = (vec![0f32; 47 * 61], vec![0f32; 61 * 61]);
    let view = Sinograms::by_slice(&sino, 1, 47, 61);
    let mut scratch = plan.axes_scratch(1, 1).unwrap();
    plan.execute_axes(view, &[29.2], &mut out, &mut scratch).unwrap();
    assert!(plan.execute_axes(view, &[30.1], &mut out, &mut scratch).is_err());
    assert!(plan.execute_axes(view, &[29.0, 29.5], &mut out, &mut scratch).is_err());
    assert!(plan.execute_axes(view, &[29.0], &mut out, &mut plan.scratch_for(1, 1).unwrap()).is_err());
    let direct = Options { backend: Backend::Direct, ..o };
    assert!(FbpPlan::for_axes(&full, &direct, &[28.0]).is_err());
    let extended = Geometry::new(50, Geometry::uniform_angles(60, TAU), 41.5).extended(9.0);
    assert!(FbpPlan::for_axes(&extended, &o, &[10.0]).is_err());
}

#[test]
fn a_binned_slice_is_the_low_pass_of_the_fine_one() {
    // A smooth object far below the coarse voxels' limit: the values at their centres are the fine slice's, read between
    // its voxels.
    let n = 96;
    let g = Geometry::new(n, Geometry::uniform_angles(150, PI), 47.5);
    let bump = |x: f64, y: f64| (-((x - 7.0).powi(2) + (y + 4.0).powi(2)) / (2.0 * 64.0)).exp();
    let sino: Vec<f32> = (0..150)
        .flat_map(|k| {
            let (sin, cos) = g.angle_of(k).sin_cos();
            let axis = g.rotation_axis_px;
            (0..n).map(move |u| {
                let s = u as f64 - axis - (7.0 * cos - 4.0 * sin);
                (-s * s / 128.0).exp() as f32
            })
        })
        .collect();
    for (bin, backend) in [(1, Backend::Gridding), (2, Backend::Gridding), (4, Backend::Gridding), (2, Backend::Direct)]
    {
        let g = g.clone().binned(bin);
        let plan = FbpPlan::new(&g, &Options { backend, ..Options::default() }).unwrap();
        let slice = run(&plan, &sino, 1);
        assert_eq!(slice.len(), (n / bin) * (n / bin));
        let (cx, cy) = g.axis_voxel();
        let scale = 8.0 * TAU.sqrt();
        for (p, v) in slice.iter().enumerate().filter(|(_, v)| **v != 0.0) {
            let (j, i) = (p % (n / bin), p / (n / bin));
            let (x, y) = ((j as f64 - cx) * bin as f64, (cy - i as f64) * bin as f64);
            let e = f64::from(*v) * scale - bump(x, y);
            // Linear interpolation flattens the top by 1 / (8 * 8²).
            let limit = if backend == Backend::Direct { 5e-3 } else { 1e-3 };
            assert!(e.abs() < limit, "bin {bin}, {backend:?}: {e:.1e} at {x}, {y}");
        }
    }
}

#[test]
fn outside_the_seen_region_is_exactly_zero_and_nan_stays_in_its_slice() {
    let g = Geometry::new(50, Geometry::uniform_angles(40, PI), 20.0);
    let mut sino: Vec<f32> = (0..3).flat_map(|s| rough(40, 50, s)).map(|v| v as f32).collect();
    let plan = FbpPlan::new(&g, &Options::default()).unwrap();
    let clean = run(&plan, &sino, 3);
    let seen = g.seen();
    for (p, v) in clean[..2500].iter().enumerate() {
        let (a, b) = seen[p / 50];
        assert_eq!(*v == 0.0, !(a..b).contains(&(p % 50)), "voxel {p}");
    }
    sino[40 * 50 + 777] = f32::NAN;
    let dirty = run(&plan, &sino, 3);
    assert_eq!(clean[..2500], dirty[..2500]);
    assert_eq!(clean[5000..], dirty[5000..]);
    assert!(dirty[2500..5000].iter().any(|v| v.is_nan()));
}

#[test]
fn wrong_lengths_are_refused_and_memory_is_as_stated() {
    let g = Geometry::new(50, Geometry::uniform_angles(40, PI), 20.0);
    let plan = FbpPlan::new(&g, &Options::default()).unwrap();
    let mut scratch = plan.scratch_for(1, 2).unwrap();
    assert!(scratch.bytes() as u64 <= plan.scratch_bytes(1, 2));
    assert!(plan.scratch_bytes(1, 2) < plan.scratch_bytes(16, 2));
    assert!(plan.memory_bytes(2, 1) > plan.scratch_bytes(2, 1) + 2 * 4 * (2000 + 2500) - 1);
    let sino = vec![0.0; 2000];
    let mut out = vec![0.0; 2500];
    let view = Sinograms::by_slice(&sino, 1, 40, 50);
    plan.execute(view, &mut out, &mut scratch).unwrap();
    assert!(plan.execute(view, &mut out[1..], &mut scratch).is_err());
    assert!(plan.execute(Sinograms::by_slice(&sino[1..], 1, 40, 50), &mut out, &mut scratch).is_err());
    assert!(plan.execute(Sinograms::by_slice(&sino, usize::MAX / 1000, 40, 50), &mut out, &mut scratch).is_err());
    let wide = Geometry::new(500, Geometry::uniform_angles(40, PI), 20.0);
    let other = FbpPlan::new(&wide, &Options { mask: Mask::Off, ..Options::default() }).unwrap();
    let (sino, mut out) = (vec![0.0; 20000], vec![0.0; 250_000]);
    assert!(other.execute(Sinograms::by_slice(&sino, 1, 40, 500), &mut out, &mut scratch).is_err());
    fn shared<T: Send + Sync>() {}
    shared::<FbpPlan>();
}
