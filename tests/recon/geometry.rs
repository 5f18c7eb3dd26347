//! Every part of the geometry from outside: tilt, voxels, sizes, axis, offsets, truncation, what a `.par` says.

use crate::support::{correlation, read_floats, shared, tomo};
use std::path::Path;

fn simulate(d: &Path, name: &str, more: &[&str]) {
    let mut args = vec!["simulate", name, "--layout", "nxtomo", "--pixel-size", "10"];
    args.extend(more);
    tomo(d, &args).expect(0);
}

fn recon(d: &Path, scan: &str, out: &str, more: &[&str]) -> Vec<f32> {
    let mut args = vec!["recon", scan, "-o", out];
    args.extend(more);
    tomo(d, &args).expect(0);
    read_floats(&d.join(out))
}

/// rms of the difference over rms of the first, where both are not outside the field.
fn apart(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let pairs = || a.iter().zip(b).filter(|(a, b)| **a != 0.0 && **b != 0.0);
    assert!(pairs().count() * 2 > a.len());
    let power: f64 = pairs().map(|(a, _)| f64::from(*a).powi(2)).sum();
    let diff: f64 = pairs().map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    (diff / power).sqrt()
}

#[test]
fn a_tilted_camera_is_turned_back_in_bands() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let scan = ["--size", "64", "--rows", "24", "--projections", "90", "--axis-offset", "2.5", "--phantom", "grains"];
    simulate(d, "straight.nxs", &scan);
    simulate(d, "tilted.nxs", &[&scan[..], &["--tilt", "5"]].concat());
    let middle = ["--axis", "34", "--slices", "6:18"];
    let straight = recon(d, "straight.nxs", "s.vol", &middle);
    let with = recon(d, "tilted.nxs", "t.vol", &[&middle[..], &["--tilt", "5"]].concat());
    let without = recon(d, "tilted.nxs", "w.vol", &middle);
    let wrong = recon(d, "tilted.nxs", "x.vol", &[&middle[..], &["--tilt", "-5"]].concat());
    let [a, b, c] = [&with, &without, &wrong].map(|v| apart(&straight, v));
    println!("turned back {a:.3}, left {b:.3}, the wrong way {c:.3}");
    // What is left is the interpolation between pixels at the edges of grains of a pixel.
    assert!(a < 0.3 && b > 2.0 * a && c > b, "{a} {b} {c}");
    // Bands and threads change nothing.
    let all = ["--axis", "34", "--tilt", "5", "--threads", "1"];
    let plan = tomo(d, &[&["recon", "tilted.nxs", "-o", "n.vol", "--dry-run", "--json"][..], &all].concat());
    assert!(plan.expect(0).json()["bands"].as_u64().unwrap() > 1);
    let n = 64 * 64;
    assert_eq!(with, recon(d, "tilted.nxs", "b.vol", &all)[6 * n..18 * n]);
    let one = ["--axis", "34", "--slice", "7", "--tilt", "5"];
    assert_eq!(with[n..2 * n], recon(d, "tilted.nxs", "o.vol", &one));
    tomo(d, &["recon", "tilted.nxs", "-o", "y.vol", "--axis", "34", "--tilt", "60"]).expect_one_error();
}

/// The search looks at straightened projections: the axis is where it is said to be, not where drift and lean put it.
#[test]
fn the_axis_is_found_under_tilt_and_shifts() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let scan =
        ["--size", "160", "--rows", "48", "--projections", "121", "--axis-offset", "12.5", "--phantom", "grains"];
    simulate(d, "straight.nxs", &scan);
    simulate(d, "tilted.nxs", &[&scan[..], &["--tilt", "4"]].concat());
    let found = |name: &str, more: &[&str]| -> serde_json::Value {
        let args = [&["recon", name, "-o", "n.vol", "--axis", "find", "--dry-run", "--json"][..], more].concat();
        tomo(d, &args).expect(0).json()
    };
    let axis = |plan: &serde_json::Value| plan["rotation_axis_px"].as_f64().unwrap();
    let plain = axis(&found("straight.nxs", &[]));
    assert!((plain - 92.0).abs() < 0.3, "{plain}");
    let turned = axis(&found("tilted.nxs", &["--tilt", "4"]));
    assert!((turned - 92.0).abs() < 0.5, "{turned}");
    // All projections moved alike: the axis lies as much further left as the shifts say right.
    std::fs::write(d.join("right.txt"), "7.5 0\n".repeat(121)).unwrap();
    let moved = axis(&found("straight.nxs", &["--shifts", "right.txt"]));
    assert!((moved - (plain - 7.5)).abs() < 0.3, "{moved} {plain}");
    // And a drift, which opposite projections see half of.
    let drift: String = (0..121).map(|k| format!("{}\n", 0.1 * f64::from(k))).collect();
    std::fs::write(d.join("drift.txt"), drift).unwrap();
    let drifted = axis(&found("straight.nxs", &["--shifts", "drift.txt"]));
    assert!((drifted - (plain - 6.0)).abs() < 0.5, "{drifted} {plain}");
}

#[test]
fn larger_voxels_hold_the_mean_of_the_small_ones() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    simulate(d, "s.nxs", &["--size", "96", "--rows", "9", "--projections", "120"]);
    let fine = recon(d, "s.nxs", "fine.vol", &["--axis", "47.5", "--filter", "hann"]);
    let coarse = recon(d, "s.nxs", "coarse.vol", &["--axis", "47.5", "--filter", "hann", "--bin", "2"]);
    // Four slices of two rows each, the ninth row makes none.
    assert_eq!(coarse.len(), 4 * 48 * 48);
    let mut mean = vec![0f32; coarse.len()];
    for (i, m) in mean.iter_mut().enumerate() {
        let (z, y, x) = (i / (48 * 48), i / 48 % 48, i % 48);
        let at = |dz: usize, dy: usize, dx: usize| fine[((2 * z + dz) * 96 + 2 * y + dy) * 96 + 2 * x + dx];
        *m = (0..8).map(|p| at(p / 4, p / 2 % 2, p % 2)).sum::<f32>() / 8.0;
    }
    // Averaging damps the highest frequencies that the voxels show, and folds in those that they cannot.
    let (r, slope) = correlation(mean.iter().zip(&coarse).filter(|(_, c)| **c != 0.0).map(|(m, c)| (*m, *c)));
    assert!(r > 0.99 && (slope - 1.0).abs() < 0.03, "{r} {slope}");
    let info = std::fs::read_to_string(d.join("coarse.vol.info")).unwrap();
    assert!(info.contains("NUM_X =  48") && info.contains("2.000000e+01"), "{info}");
    let again = ["--axis", "47.5", "--filter", "hann", "--bin", "2", "--threads", "1"];
    assert_eq!(coarse, recon(d, "s.nxs", "again.vol", &again));
    let some = ["--axis", "47.5", "--filter", "hann", "--bin", "2", "--slices", "2:7", "--roi", "10:40,5:30"];
    let some = recon(d, "s.nxs", "some.vol", &some);
    assert_eq!(some.len(), 2 * 30 * 25);
    for (i, v) in some.iter().enumerate() {
        let (z, y, x) = (i / 750, i / 30 % 25, i % 30);
        assert_eq!(*v, coarse[((z + 1) * 48 + y + 5) * 48 + x + 10]);
    }
    for bad in [&["--bin", "10"][..], &["--bin", "2", "--slices", "3:4"]] {
        tomo(d, &[&["recon", "s.nxs", "-o", "x.vol", "--axis", "47.5"][..], bad].concat()).expect_one_error();
    }
}

#[test]
fn slices_of_any_shape_axis_and_turn() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    simulate(d, "s.nxs", &["--size", "64", "--rows", "2", "--projections", "90", "--range", "360"]);
    let all = recon(d, "s.nxs", "all.vol", &["--axis", "31.5", "--no-mask", "--field", "full"]);
    // Not square: the middle of the square one.
    let wide = recon(d, "s.nxs", "wide.vol", &["--axis", "31.5", "--no-mask", "--size", "64x20", "--field", "full"]);
    assert_eq!(wide.len(), 2 * 64 * 20);
    let worst = wide[..64 * 20].iter().zip(&all[22 * 64..42 * 64]).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(worst < 2e-3 * all.iter().fold(0f32, |m, v| m.max(v.abs())), "{worst}");
    // A quarter turn is a quarter turn of the picture.
    let turned =
        recon(d, "s.nxs", "turned.vol", &["--axis", "31.5", "--angle-offset", "90", "--no-mask", "--field", "full"]);
    let back: Vec<f32> = (0..64 * 64).map(|p| turned[(63 - p % 64) * 64 + p / 64]).collect();
    let other: Vec<f32> = (0..64 * 64).map(|p| turned[(p % 64) * 64 + 63 - p / 64]).collect();
    let e = apart(&all[..64 * 64], &back).min(apart(&all[..64 * 64], &other));
    assert!(e < 1e-3, "{e}");
    // An axis outside the detector: a plan, and a volume without what is not a number.
    for axis in ["-20", "90.5"] {
        let out = format!("axis{axis}.vol");
        let v = recon(d, "s.nxs", &out, &["--axis", axis, "--no-mask", "--field", "full"]);
        assert!(v.iter().all(|v| v.is_finite()) && v.iter().any(|v| *v != 0.0));
    }
}

#[test]
fn a_par_applies_what_it_can_and_names_what_it_cannot() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    tomo(d, &["simulate", "p", "--layout", "edf", "--size", "48", "--rows", "3", "--projections", "40"]).expect(0);
    let par = std::fs::read_dir(d.join("p")).unwrap().map(|e| e.unwrap().path());
    let par = par.into_iter().find(|p| p.extension().is_some_and(|e| e == "par")).unwrap();
    let name = par.strip_prefix(d).unwrap().to_str().unwrap().to_owned();
    let plain = recon(d, &name, "plain.vol", &["--axis", "23.5"]);
    let text = std::fs::read_to_string(&par).unwrap();
    std::fs::write(d.join("p/moves.txt"), "1.5\n".repeat(40)).unwrap();
    let more = "DO_AXIS_CORRECTION = YES\nAXIS_CORRECTION_FILE = moves.txt\nDO_PAGANIN = 1\nBINNING = 1\nONECLIPVALUE = 10\n\
                DO_RING_FILTER = 1\nPENTEZONE = 20\n";
    std::fs::write(&par, format!("{text}\n{more}")).unwrap();
    // The same movement for all is another axis.
    let r = tomo(d, &["recon", &name, "-o", "moved.vol", "--axis", "22"]).expect(0);
    for key in ["DO_PAGANIN = 1 is not applied", "DO_RING_FILTER = 1 is not applied"] {
        assert!(r.stderr.contains(key), "{key}: {}", r.stderr);
    }
    for key in ["BINNING", "ONECLIP", "PENTEZONE", "AXIS_CORRECTION"] {
        assert!(!r.stderr.contains(key), "{key}: {}", r.stderr);
    }
    assert!(apart(&plain, &read_floats(&d.join("moved.vol"))) < 1e-5);
    // Turned by ANGLE_OFFSET as by --angle-offset.
    std::fs::write(&par, format!("{text}\nANGLE_OFFSET = 30\n")).unwrap();
    let by_par = recon(d, &name, "par.vol", &["--axis", "23.5"]);
    std::fs::write(&par, &text).unwrap();
    let by_option = recon(d, &name, "option.vol", &["--axis", "23.5", "--angle-offset", "30"]);
    assert!(apart(&by_option, &by_par) < 1e-5);
}

#[test]
fn a_coarse_sweep_finds_what_the_fine_one_finds() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    // Wide enough for the comparison to be in larger voxels.
    let scan = ["--size", "1024", "--rows", "1", "--projections", "400", "--axis-offset", "4.25"];
    simulate(d, "s.nxs", &[&scan[..], &["--photons", "5", "--rings", "0.01"]].concat());
    let sweep = |more: &[&str], png: &str| {
        let args = ["recon", "s.nxs", "--png", png, "--axis-sweep", "508.25:523.75:0.5", "--json"];
        tomo(d, &[&args[..], more].concat()).expect(0).json()
    };
    let coarse = sweep(&[], "coarse.png");
    let fine = sweep(&["--bin", "1"], "fine.png");
    assert_eq!(coarse["axes"].as_array().unwrap().len(), 32);
    let full = |v: &serde_json::Value| v["axes"].as_array().unwrap().iter().filter(|a| !a["full"].is_null()).count();
    assert_eq!((full(&coarse), full(&fine)), (4, 0));
    assert_eq!(coarse["best_axis_px"], fine["best_axis_px"]);
    assert_eq!(coarse["best_axis_px"].as_f64(), Some(515.75));
}

#[test]
fn the_sweep_finds_the_axis_of_a_tooth() {
    let Some(scan) = shared("01-aps-tooth/tooth.h5") else { return };
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let sweep = |more: &[&str], png: &str| {
        let args = ["recon", scan.to_str().unwrap(), "--slice", "0", "--png", png, "--flats", "mean", "--json"];
        tomo(d, &[&args[..], &["--axis-sweep", "286:306:0.5"], more].concat()).expect(0).json()["best_axis_px"]
            .as_f64()
            .unwrap()
    };
    let (auto, fine) = (sweep(&[], "a.png"), sweep(&["--bin", "1"], "f.png"));
    let coarse = sweep(&["--bin", "2"], "c.png");
    println!("tooth: {auto}, in full {fine}, in voxels of two {coarse}");
    assert_eq!(auto, fine);
    assert!((fine - 296.0).abs() <= 1.0 && (coarse - fine).abs() <= 0.5, "{fine} {coarse}");
}
