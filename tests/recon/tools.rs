//! Looking before reconstructing: one slice as a picture, axes compared, movements, checks on the fly.

use crate::support::{listing, read_floats, tomo};
use std::path::Path;

fn simulate(d: &Path, name: &str, more: &[&str]) {
    let mut args = vec!["simulate", name, "--layout", "nxtomo"];
    args.extend(more);
    tomo(d, &args).expect(0);
}

/// Width and height of a PNG file.
fn png_size(path: &Path) -> (u32, u32) {
    let b = std::fs::read(path).unwrap();
    assert_eq!(&b[..8], b"\x89PNG\r\n\x1a\n");
    let n = |i: usize| u32::from_be_bytes(b[i..i + 4].try_into().unwrap());
    (n(16), n(20))
}

#[test]
fn one_slice_is_drawn_and_nothing_else_written() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    simulate(d, "s.nxs", &["--size", "64", "--rows", "9", "--projections", "96", "--pixel-size", "1"]);
    let look = tomo(d, &["recon", "s.nxs", "--slice", "3", "--png", "a.png", "--json"]).expect(0).json();
    assert_eq!((look["row"].as_u64(), look["value_unit"].as_str()), (Some(3), Some("1/cm")));
    assert_eq!(listing(d), ["a.png", "s.nxs"]);
    let (w, h) = png_size(&d.join("a.png"));
    assert!(w >= 480 && h >= 480, "{w} × {h}: small slices are drawn large enough to read");
    // The window is that of the slice that the volume would hold.
    tomo(d, &["recon", "s.nxs", "-o", "v.vol", "--slice", "3"]).expect(0);
    let volume = read_floats(&d.join("v.vol"));
    assert_eq!(volume.len(), 64 * 64);
    let (low, high) = (look["window"][0].as_f64().unwrap(), look["window"][1].as_f64().unwrap());
    let max = volume.iter().fold(0f32, |m, v| m.max(*v));
    assert!(low < high && high <= f64::from(max) && high > 0.3 * f64::from(max), "{low} {high} {max}");
    // The middle row where none is named; the plan reads one row of all projections.
    let plan = tomo(d, &["recon", "s.nxs", "--png", "b.png", "--dry-run", "--json"]).expect(0).json();
    assert_eq!((plan["row"].as_u64(), plan["bytes_read"].as_u64()), (Some(4), Some(96 * 64 * 2)));
    assert!(!d.join("b.png").exists());

    let before = listing(d);
    for more in [
        &["--png", "a.png"][..],
        &["--png", "x.png", "--slice", "9"],
        &["--png", "x.tif"],
        &["--png", "x.png", "--axis-sweep", "-900:-890:1"],
    ] {
        let mut args = vec!["recon", "s.nxs"];
        args.extend(more);
        tomo(d, &args).expect_one_error();
        assert_eq!(listing(d), before, "{more:?}");
    }
}

#[test]
fn the_sweep_finds_the_axis_within_a_step() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let truth = 47.5 + 3.25;
    for (name, more) in [
        ("clean.nxs", &[][..]),
        ("noisy.nxs", &["--photons", "0.05"]),
        ("rings.nxs", &["--rings", "0.02", "--photons", "0.2"]),
    ] {
        let mut args = vec!["--size", "96", "--rows", "4", "--projections", "151", "--axis-offset", "3.25"];
        args.extend(more);
        simulate(d, name, &args);
        let png = format!("{name}.png");
        let sweep =
            tomo(d, &["recon", name, "--slice", "2", "--png", &png, "--axis-sweep", "46.75:54.75:0.5", "--json"])
                .expect(0)
                .json();
        let axes = sweep["axes"].as_array().unwrap();
        assert_eq!(axes.len(), 17);
        for a in axes {
            println!("{name} {} {} {}", a["axis_px"], a["entropy"], a["variation"]);
        }
        let best = sweep["best_axis_px"].as_f64().unwrap();
        assert!((best - truth).abs() <= 0.5, "{name}: {best}, true {truth}");
        png_size(&d.join(&png));
    }
    // The truth outside the range: said, and the nearest end is the best.
    let r = tomo(d, &["recon", "clean.nxs", "--png", "edge.png", "--axis-sweep", "44:48:1"]).expect(0);
    assert!(r.stderr.contains("end of the range"), "{}", r.stderr);
    assert!(r.stdout.contains("best axis 48"), "{}", r.stdout);
}

#[test]
fn the_sweep_works_on_an_extended_field() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    simulate(d, "e.nxs", &["--size", "96", "--rows", "2", "--projections", "400", "--extended", "--axis-offset", "36"]);
    let sweep = tomo(d, &["recon", "e.nxs", "--slice", "1", "--png", "e.png", "--axis-sweep", "80.5:86.5:1", "--json"])
        .expect(0)
        .json();
    for a in sweep["axes"].as_array().unwrap() {
        println!("extended {} {} {}", a["axis_px"], a["entropy"], a["variation"]);
    }
    let best = sweep["best_axis_px"].as_f64().unwrap();
    assert!((best - 83.5).abs() <= 1.0, "{best}");
}

#[test]
fn shifts_move_the_axis_and_the_rows() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    simulate(d, "s.nxs", &["--size", "48", "--rows", "12", "--projections", "60", "--pixel-size", "1"]);
    let write =
        |name: &str, line: &str| std::fs::write(d.join(name), format!("# shifts\n{}", line.repeat(60))).unwrap();
    write("none.txt", "0 0\n");
    write("right.txt", "2.5\n");
    write("down.txt", "0 1\n");
    write("half.txt", "0 -0.5\n");
    let recon = |out: &str, more: &[&str]| -> Vec<f32> {
        let mut args = vec!["recon", "s.nxs", "-o", out];
        args.extend(more);
        tomo(d, &args).expect(0);
        read_floats(&d.join(out))
    };
    let n = 48 * 48;
    let all = recon("all.vol", &["--axis", "23.5"]);
    assert_eq!(recon("none.vol", &["--axis", "23.5", "--shifts", "none.txt"]), all);
    // A movement that is the same for all projections is another axis.
    let moved = recon("right.vol", &["--axis", "21", "--shifts", "right.txt"]);
    let worst = all.iter().zip(&moved).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(worst <= 1e-5 * all.iter().fold(0f32, |m, v| m.max(v.abs())), "{worst}");
    // Slice z is made of row z + 1, whatever the band.
    for (out, more) in [("down.vol", &[][..]), ("low.vol", &["--memory", "16M", "--threads", "1"])] {
        let mut args = vec!["--axis", "23.5", "--slices", "2:9", "--shifts", "down.txt"];
        args.extend(more);
        assert_eq!(recon(out, &args), all[3 * n..10 * n]);
    }
    assert_eq!(
        recon("every.vol", &["--axis", "23.5", "--slices", "0:11:3", "--shifts", "down.txt"])[..n],
        all[n..2 * n]
    );
    // Half a row up: reconstruction is linear in −log values, so the slice is the mean of its neighbours.
    let half = recon("half.vol", &["--axis", "23.5", "--slices", "5:6", "--shifts", "half.txt"]);
    let scale = all.iter().fold(0f32, |m, v| m.max(v.abs()));
    for (h, (a, b)) in half.iter().zip(all[4 * n..5 * n].iter().zip(&all[5 * n..6 * n])) {
        assert!((h - (a + b) / 2.0).abs() <= 2e-5 * scale);
    }
    // Beyond the detector: said.
    let r = tomo(d, &["recon", "s.nxs", "-o", "b.vol", "--axis", "23.5", "--slices", "11:12", "--shifts", "down.txt"])
        .expect(0);
    assert!(r.stderr.contains("60 rows of projections lie beyond the detector"), "{}", r.stderr);
    assert_eq!(read_floats(&d.join("b.vol")), all[11 * n..12 * n]);

    std::fs::write(d.join("short.txt"), "1\n2\n").unwrap();
    std::fs::write(d.join("words.txt"), "1\nx\n").unwrap();
    for bad in ["short.txt", "words.txt", "missing.txt"] {
        tomo(d, &["recon", "s.nxs", "-o", "x.vol", "--shifts", bad]).expect_one_error();
    }
}

#[test]
fn grey_values_are_those_of_the_float_volume() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    simulate(d, "s.nxs", &["--size", "48", "--rows", "7", "--projections", "60", "--pixel-size", "1"]);
    tomo(d, &["recon", "s.nxs", "-o", "f.vol"]).expect(0);
    let floats = read_floats(&d.join("f.vol"));
    let most = floats.iter().fold(0f32, |m, v| m.max(*v));
    let (low, high) = (-0.1 * f64::from(most), 0.5 * f64::from(most));
    let limits = format!("{low},{high}");
    for (name, top) in [("uint8", 255.0), ("uint16", 65535.0)] {
        let out = format!("{name}.raw");
        let done = tomo(d, &["recon", "s.nxs", "-o", &out, "--type", name, "--limits", &limits, "--verify", "--json"])
            .expect(0)
            .json();
        let bytes = std::fs::read(d.join(&out)).unwrap();
        let greys: Vec<f64> = match name {
            "uint8" => bytes.iter().map(|b| f64::from(*b)).collect(),
            _ => bytes.chunks_exact(2).map(|c| f64::from(u16::from_ne_bytes([c[0], c[1]]))).collect(),
        };
        assert_eq!(greys.len(), floats.len());
        let (mut below, mut above) = (0, 0);
        for (g, v) in greys.iter().zip(&floats) {
            let v = f64::from(*v);
            let want = ((v - low) * (top / (high - low))).round_ties_even().clamp(0.0, top);
            assert_eq!(*g, want, "{v}");
            below += i64::from(v < low);
            above += i64::from(v > high);
        }
        assert!(above > 0, "nothing is clipped");
        assert_eq!((done["grey"]["below"].as_i64(), done["grey"]["above"].as_i64()), (Some(below), Some(above)));
        let info = std::fs::read_to_string(d.join(format!("{out}.info"))).unwrap();
        assert!(info.contains("GREY_SLOPE") && info.contains("GREY_UNIT = 1/cm"), "{info}");
    }
    for bad in [
        &["-o", "x.vol", "--type", "uint8", "--limits", "0,1"][..],
        &["-o", "x.raw", "--type", "uint8"],
        &["-o", "x.raw", "--limits", "0,1"],
    ] {
        let mut args = vec!["recon", "s.nxs"];
        args.extend(bad);
        tomo(d, &args).expect_one_error();
    }
}

#[test]
fn the_explanation_adds_up() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    simulate(d, "s.nxs", &["--size", "64", "--rows", "20", "--projections", "90"]);
    let r = tomo(d, &["recon", "s.nxs", "-o", "a.vol", "--explain", "--json"]).expect(0).json();
    let f = &r["floor"];
    let s = |k: &str| f[k].as_f64().unwrap();
    let disk = s("read_seconds") + s("write_seconds");
    assert_eq!(f["one_disk"], true);
    assert!((s("seconds") - disk.max(s("compute_seconds"))).abs() < 1e-9);
    assert_eq!(r["done"]["slices"], 20);
    assert!(r["plan"]["fft_len"].as_u64().unwrap() >= 128);
    let text = tomo(d, &["recon", "s.nxs", "-o", "b.vol", "--explain"]).expect(0).stdout;
    for part in ["FFT of", "floor", "bound by", "× the floor of", "busy: reading"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let dry = tomo(d, &["recon", "s.nxs", "-o", "c.vol", "--explain", "--dry-run"]).expect(0).stdout;
    assert!(dry.contains("floor") && !dry.contains("× the floor of"), "{dry}");
    assert_eq!(listing(d).iter().filter(|n| n.contains("c.vol")).count(), 0);
}

#[test]
fn the_bench_measures_and_foretells() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    simulate(d, "s.nxs", &["--size", "32", "--rows", "4", "--projections", "40"]);
    let before = listing(d);
    let b = tomo(d, &["bench", "--sizes", "32,48", "--disk", ".", "--disk-size", "8M", "--scan", "s.nxs", "--json"])
        .expect(0)
        .json();
    let slices = b["slices"].as_array().unwrap();
    assert_eq!(slices.len(), 4);
    assert!(slices.iter().all(|s| s["ms_per_slice"].as_f64().unwrap() > 0.0));
    assert_eq!(b["expected"]["bytes_read"], 40 * 4 * 32 * 2);
    assert_eq!(b["expected"]["bytes_written"], 4 * 32 * 32 * 4);
    assert!(b["disk"]["write_per_s"].as_f64().unwrap() > 0.0);
    let text = tomo(d, &["bench", "--sizes", "32", "--numbers", "32x4x40"]).expect(0).stdout;
    assert!(text.contains("gridding") && text.contains("direct") && text.contains("not measured"), "{text}");
    assert_eq!(listing(d), before);
    tomo(d, &["bench", "--sizes", "32", "--disk", "nowhere"]).expect_one_error();
    tomo(d, &["bench", "--sizes", "32", "--scan", "nothing.nxs"]).expect_one_error();
}

#[test]
fn empty_slices_are_named_and_fail_the_check() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    simulate(d, "s.nxs", &["--size", "64", "--rows", "5", "--projections", "60"]);
    // A corner that no projection sees whole: exactly zero.
    let corner = ["recon", "s.nxs", "--axis", "31.5", "--roi", "0:5,0:5", "--json", "-o"];
    let run = |out: &str, more: &[&str], code: i32| {
        let mut args = corner.to_vec();
        args.push(out);
        args.extend(more);
        tomo(d, &args).expect(code)
    };
    let r = run("a.vol", &["--check"], 1);
    assert!(r.stderr.contains("slices 0-4 are entirely zero"), "{}", r.stderr);
    assert_eq!(r.json()["bad_slices"]["zero"].as_array().unwrap().len(), 5);
    assert!(d.join("a.vol.info").exists(), "the volume is written all the same");
    run("b.vol", &[], 0);
    let r = tomo(d, &["recon", "s.nxs", "-o", "c.vol", "--axis", "31.5", "--check", "--json"]).expect(0);
    assert_eq!(r.json()["bad_slices"]["checked"], 5);
}
