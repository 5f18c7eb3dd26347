//! Simulated scans: every layout, against the true volume.

use crate::support::{correlation, listing, read_floats, tomo};

const SIZE: usize = 96;

#[test]
fn every_layout_reconstructs_to_the_truth_and_alike() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let mut first: Option<Vec<f32>> = None;
    for layout in ["flyscan", "nxtomo", "dxchange", "edf", "tiff"] {
        let scan = match layout {
            "nxtomo" => "nxtomo.nxs".to_owned(),
            "dxchange" => "dxchange.h5".to_owned(),
            other => other.to_owned(),
        };
        let size = SIZE.to_string();
        tomo(
            d,
            &[
                "simulate",
                &scan,
                "--layout",
                layout,
                "--size",
                &size,
                "--pixel-size",
                "1",
                "--rows",
                "6",
                "--projections",
                "151",
                "--axis-offset",
                "3.25",
                "--truth",
                &format!("{layout}-true.vol"),
            ],
        )
        .expect(0);
        let axis = ((SIZE as f64 - 1.0) / 2.0 + 3.25).to_string();
        let out = format!("{layout}.vol");
        tomo(d, &["recon", &scan, "-o", &out, "--axis", &axis, "--pixel-size", "1", "--range", "180"]).expect(0);
        // Pixel size and angles are stored by every layout.
        let known = format!("{layout}-known.vol");
        tomo(d, &["recon", &scan, "-o", &known, "--axis", &axis]).expect(0);
        assert_alike(&read_floats(&d.join(&known)), &read_floats(&d.join(&out)), &format!("{layout} by its own word"));
        let (ours, truth) = (read_floats(&d.join(&out)), read_floats(&d.join(format!("{layout}-true.vol"))));
        assert_eq!(ours.len(), truth.len());
        let (r, slope) = correlation(truth.iter().zip(&ours).filter(|(_, o)| **o != 0.0).map(|(t, o)| (*t, *o)));
        println!("{layout}: correlation {r:.4}, slope {slope:.4}");
        assert!(r > 0.95 && (slope - 1.0).abs() < 0.05, "{layout}: {r} {slope}");
        match &first {
            None => first = Some(ours),
            Some(f) => assert_alike(&ours, f, layout),
        }
    }
    // The parameter files say the axis as well.
    for par in ["flyscan/flyscan.par", "edf/edf.par"] {
        tomo(d, &["recon", par, "-o", "par.vol", "--overwrite"]).expect(0);
        assert_alike(&read_floats(&d.join("par.vol")), first.as_deref().unwrap(), par);
    }
}

/// Same volume within 1e-4 of its largest value: angles in degrees with nine decimals, averages in float32.
fn assert_alike(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    let scale = b.iter().fold(0f32, |m, v| m.max(v.abs()));
    let worst = a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    println!("{what}: differs by at most {worst} of {scale}");
    assert!(scale > 0.0 && worst <= 1e-4 * scale, "{what} differs by {worst} of {scale}");
}

#[test]
fn bands_and_threads_do_not_change_a_byte() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    tomo(d, &["simulate", "s.nxs", "--layout", "nxtomo", "--size", "64", "--rows", "37", "--projections", "60"])
        .expect(0);
    tomo(d, &["recon", "s.nxs", "-o", "a.vol", "--axis", "31.5", "--threads", "1", "--memory", "16M"]).expect(0);
    tomo(d, &["recon", "s.nxs", "-o", "b.vol", "--axis", "31.5", "--threads", "5", "--verify"]).expect(0);
    tomo(d, &["recon", "s.nxs", "-o", "c.vol", "--axis", "31.5", "--slices", "3:30:4"]).expect(0);
    let (a, b, c) = (read_floats(&d.join("a.vol")), read_floats(&d.join("b.vol")), read_floats(&d.join("c.vol")));
    let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&a), bits(&b));
    let n = 64 * 64;
    let picked: Vec<f32> = (3..30).step_by(4).flat_map(|z| a[z * n..(z + 1) * n].to_vec()).collect();
    assert_eq!(bits(&c), bits(&picked));
}

#[test]
fn the_axis_is_found_and_an_extended_field_recognised() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    tomo(
        d,
        &[
            "simulate",
            "s",
            "--layout",
            "flyscan",
            "--size",
            "128",
            "--rows",
            "16",
            "--projections",
            "200",
            "--axis-offset",
            "-6.4",
        ],
    )
    .expect(0);
    let plan = tomo(d, &["recon", "s", "-o", "x.vol", "--axis", "find", "--dry-run", "--json"]).expect(0).json();
    let axis = plan["rotation_axis_px"].as_f64().unwrap();
    assert!((axis - (63.5 - 6.4)).abs() < 0.2, "{axis}");

    tomo(
        d,
        &[
            "simulate",
            "e",
            "--layout",
            "flyscan",
            "--size",
            "96",
            "--rows",
            "2",
            "--projections",
            "400",
            "--extended",
            "--axis-offset",
            "36",
            "--pixel-size",
            "1",
            "--truth",
            "e-true.vol",
        ],
    )
    .expect(0);
    let plan = tomo(d, &["recon", "e", "-o", "e.vol", "--axis", "83.5", "--dry-run", "--json"]).expect(0).json();
    assert_eq!(plan["extended_field"], true);
    tomo(d, &["recon", "e", "-o", "e.vol", "--axis", "83.5", "--pixel-size", "1"]).expect(0);
    let (ours, truth) = (read_floats(&d.join("e.vol")), read_floats(&d.join("e-true.vol")));
    assert_eq!(ours.len(), truth.len(), "the volume is as wide as the extended field");
    let (r, slope) = correlation(truth.iter().zip(&ours).filter(|(_, o)| **o != 0.0).map(|(t, o)| (*t, *o)));
    assert!(r > 0.95 && (slope - 1.0).abs() < 0.05, "{r} {slope}");
}

#[test]
fn bad_requests_say_what_is_wrong_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    tomo(d, &["simulate", "s.nxs", "--layout", "nxtomo", "--size", "32", "--rows", "4", "--projections", "20"])
        .expect(0);
    let before = listing(d);
    for more in [
        &["--axis", "1e9"][..],
        &["--axis", "31", "--slices", "9:12"],
        &["--axis", "15.5", "--roi", "0:99,0:9"],
        &["--axis", "15.5", "--clip", "2"],
        &["--axis", "15.5", "--range", "0"],
        &["--axis", "15.5", "--cutoff", "0"],
        &["--axis", "15.5", "--size", "0"],
        &["--axis", "15.5", "--angles", "missing.txt"],
    ] {
        let mut args = vec!["recon", "s.nxs", "-o", "x.vol"];
        args.extend(more);
        tomo(d, &args).expect_one_error();
        assert_eq!(listing(d), before, "{more:?}");
    }
}
