//! How exact the reconstruction core is: against the float64 sum at real sizes (a few rows of the slice, the sum is slow),
//! and against scikit-image. `src/recon/tests.rs` has the same at small sizes for every option and instruction set, and the
//! uniform disc.

use crate::support::read_npy;
use std::f64::consts::{PI, TAU};
use std::path::Path;
use tomokit::recon::{Backend, FbpPlan, Geometry, Mask, Options, Padding, Roi, Sinograms, reference};

/// Numbers in 0..1 from a small generator.
fn random(seed: u64) -> impl FnMut() -> f64 {
    let mut s = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    move || {
        s = s.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (s >> 33) as f64 / (1u64 << 31) as f64
    }
}

/// The hardest of sinograms: noise in every frequency on something smooth.
fn rough(projections: usize, cols: usize) -> Vec<f32> {
    let mut next = random(7);
    (0..projections * cols).map(|i| (next() + 2.0 * (PI * (i % cols) as f64 / cols as f64).sin()) as f32).collect()
}

fn slice(plan: &FbpPlan, sino: &[f32]) -> Vec<f32> {
    let g = plan.geometry();
    let mut out = vec![f32::NAN; plan.slice_len()];
    let view = Sinograms::by_slice(sino, 1, g.angles_rad.len(), g.cols);
    plan.execute(view, &mut out, &mut plan.scratch_for(1, 2).unwrap()).unwrap();
    out
}

/// Relative rms difference to the exact sum in `rows` of the slice.
fn error(g: &Geometry, o: &Options, rows: std::ops::Range<usize>) -> f64 {
    let sino = rough(g.angles_rad.len(), g.cols);
    let whole = slice(&FbpPlan::new(g, o).unwrap(), &sino);
    let mut part = g.clone();
    let nx = g.output.nx;
    part.output.roi = Some(Roi { x0: 0, x1: nx, y0: rows.start, y1: rows.end });
    let wide: Vec<f64> = sino.iter().map(|v| f64::from(*v)).collect();
    let exact = reference::fbp(&part, o, &wide).unwrap();
    let got = &whole[rows.start * nx..rows.end * nx];
    let power: f64 = exact.iter().map(|v| v * v).sum();
    assert!(power > 0.0 && exact.len() == got.len());
    let diff: f64 = exact.iter().zip(got).map(|(a, b)| (a - f64::from(*b)).powi(2)).sum();
    (diff / power).sqrt()
}

#[test]
fn the_default_is_within_its_tolerance_at_real_sizes() {
    let even = |n: usize, range: f64| Geometry::uniform_angles(n, range);
    let jittered = |n: usize, range: f64| -> Vec<f64> {
        let mut next = random(99);
        (0..n).map(|k| range * (k as f64 + 0.8 * (next() - 0.5)) / n as f64).collect()
    };
    let cases = [
        ("545, even", Geometry::new(545, even(41, PI), 272.0)),
        ("545, jittered, off-centre", Geometry::new(545, jittered(43, PI), 251.7)),
        ("1021, off-centre", Geometry::new(1021, even(17, PI), 530.25)),
        ("1021, jittered, 360", Geometry::new(1021, jittered(19, TAU), 510.0)),
        ("545, extended", Geometry::new(545, even(46, TAU), 481.3).extended(80.0)),
        ("1 projection", Geometry::new(64, even(1, PI), 31.5)),
        ("2 projections", Geometry::new(64, even(2, PI), 30.5)),
        ("1001 projections", Geometry::new(64, even(1001, PI), 33.0)),
        ("4000 projections, jittered", Geometry::new(64, jittered(4000, PI), 31.2)),
    ];
    for (name, g) in cases {
        // Rows beside the middle and near the rim.
        let ny = g.output.ny;
        for rows in [ny / 2 + 3..ny / 2 + 5, ny / 9..ny / 9 + 2] {
            let e = error(&g, &Options { mask: Mask::Off, ..Options::default() }, rows.clone());
            println!("{name}, rows {rows:?}: {e:.1e}");
            assert!(e <= 2e-4, "{name}, rows {rows:?}: relative error {e:.2e}");
        }
    }
}

/// Made by scripts/golden/scikit_image.py.
#[test]
fn the_direct_back_end_is_scikit_images() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let (shape, sino) = read_npy(&folder.join("skimage-sinogram.npy"));
    let (size, theirs) = read_npy(&folder.join("skimage-slice.npy"));
    let (k, n) = (shape[0], shape[1]);
    assert_eq!(size, [n, n]);
    let g = Geometry::new(n, Geometry::uniform_angles(k, PI), (n / 2) as f64);
    let plain = Options { padding: Padding::Zero, ..Options::default() };
    let ours = slice(&FbpPlan::new(&g, &Options { backend: Backend::Direct, ..plain }).unwrap(), &sino);
    let (mut diff, mut power, mut worst, mut top) = (0.0, 0.0, 0f32, 0f32);
    let mut compared = 0;
    for (i, (a, b)) in ours.iter().zip(&theirs).enumerate() {
        // Between the last column's centre and its edge scikit-image takes zero, we the filtered row.
        let middle = (n / 2) as f64;
        if (((i % n) as f64 - middle).hypot((i / n) as f64 - middle)) < middle {
            diff += f64::from(a - b).powi(2);
            power += f64::from(*b).powi(2);
            (worst, top) = (worst.max((a - b).abs()), top.max(b.abs()));
            compared += 1;
        }
    }
    println!("{compared} voxels: rms {:.1e}, largest {:.1e}", (diff / power).sqrt(), worst / top);
    assert!(compared > n * n * 3 / 4);
    assert!((diff / power).sqrt() < 1e-5 && worst / top < 1e-5, "{:.2e}, {:.2e}", (diff / power).sqrt(), worst / top);
}
