//! `tomo recad` from outside.

use crate::support::{le, listing, read_floats, tomo};
use std::path::Path;

const X: usize = 64;
const Z: usize = 12;

/// A round field of noise about 1 with exact zeros outside, `a.vol` with PyHST2's `.info`.
fn volume(dir: &Path, name: &str, gain: f32) -> Vec<f32> {
    let mut state = 1u64;
    let mut noise = || {
        // Sum of twelve uniform numbers: close to normal.
        (0..12).fold(-6.0f32, |s, _| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            s + (state >> 40) as f32 / (1u64 << 24) as f32
        })
    };
    let inside = |i: usize| {
        let (y, x) = ((i / X % X) as f64 - 31.5, (i % X) as f64 - 31.5);
        y * y + x * x < 30.0 * 30.0
    };
    let v: Vec<f32> = (0..X * X * Z).map(|i| if inside(i) { (1.0 + 0.1 * noise()) * gain } else { 0.0 }).collect();
    write(dir, name, &v);
    v
}

fn write(dir: &Path, name: &str, v: &[f32]) {
    std::fs::write(dir.join(name), le(v)).unwrap();
    let info = format!(
        "! PyHST_SLAVE VOLUME INFO FILE\nNUM_X =  {X}\nNUM_Y =  {X}\nNUM_Z =  {Z}\nvoxelSize =  6.500000e-01\n\
         BYTEORDER = LOWBYTEFIRST\nValMin =  0.0 \nValMax =  2.0 \ns1 =  5.0e-01 \ns2 =  1.5e+00 \nS1 =  7.0e-01 \nS2 =  1.3e+00 \n"
    );
    std::fs::write(dir.join(format!("{name}.info")), info).unwrap();
}

/// `np.rint((v.astype('f8') - low) * (top / (high - low))).clip(0, top)`, NaN and infinities 0.
fn formula(v: f32, low: f64, high: f64, top: f64) -> u32 {
    if !v.is_finite() {
        return 0;
    }
    ((f64::from(v) - low) * (top / (high - low))).round_ties_even().clamp(0.0, top) as u32
}

fn receipt(dir: &Path, name: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(dir.join(format!("{name}.recad.json"))).unwrap()).unwrap()
}

#[test]
fn greys_are_the_formula_and_the_receipt_tells_it() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let mut v = volume(d, "a.vol", 1.0);
    let middle = (5 * X + 32) * X + 30;
    (v[middle], v[middle + 1], v[middle + 2]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
    v[middle + 3] = 0.0; // a zero inside the field is a value
    write(d, "a.vol", &v);
    for (bits, top, size) in [("8", 255.0, 1), ("16", 65535.0, 2)] {
        let out = format!("b{bits}.raw");
        let run = tomo(
            d,
            &["recad", "a.vol", "-o", &out, "--bits", bits, "--plot", &format!("{bits}.png"), "--verify", "--json"],
        );
        let done = run.expect(0).json();
        let r = receipt(d, &out);
        let (low, high) = (r["limits"]["low"].as_f64().unwrap(), r["limits"]["high"].as_f64().unwrap());
        // Percentiles of what lies inside the circle and is not zero, as numpy has them, to one bin.
        let inside = |i: usize| {
            let (y, x) = (2 * (i / X % X) as i64 - 63, 2 * (i % X) as i64 - 63);
            y * y + x * x <= 64 * 64
        };
        let mut sorted: Vec<f64> =
            (0..v.len()).filter(|&i| inside(i) && v[i] != 0.0 && v[i].is_finite()).map(|i| f64::from(v[i])).collect();
        sorted.sort_by(f64::total_cmp);
        for (p, got) in [(0.1, low), (99.9, high)] {
            let rank = p / 100.0 * (sorted.len() - 1) as f64;
            let k = rank as usize;
            let want = sorted[k] + (sorted[k + 1] - sorted[k]) * rank.fract();
            assert!((got - want).abs() <= want.abs() / 8192.0, "p{p}: {got} against {want}");
        }
        let greys = std::fs::read(d.join(&out)).unwrap();
        assert_eq!(greys.len(), v.len() * size);
        let (mut below, mut above, mut outside) = (0, 0, 0);
        for (i, &x) in v.iter().enumerate() {
            let g = if size == 1 {
                u32::from(greys[i])
            } else {
                u32::from(u16::from_le_bytes([greys[2 * i], greys[2 * i + 1]]))
            };
            assert_eq!(g, formula(x, low, high, top), "voxel {i}: {x}");
            outside += u64::from(x == 0.0 && i != middle + 3);
            below += u64::from(x.is_finite() && f64::from(x) < low && (x != 0.0 || i == middle + 3));
            above += u64::from(x.is_finite() && f64::from(x) > high);
        }
        let c = &r["counts"];
        assert_eq!(
            (c["nan"].as_u64(), c["plus_infinity"].as_u64(), c["minus_infinity"].as_u64()),
            (Some(1), Some(1), Some(1))
        );
        assert_eq!(
            (c["below"].as_u64(), c["above"].as_u64(), c["outside"].as_u64()),
            (Some(below), Some(above), Some(outside))
        );
        assert_eq!(r["input"]["bytes"], v.len() * 4);
        assert_eq!(r["input"]["voxels_blake3"].as_str().unwrap().len(), 64);
        assert_eq!(r["histogram"]["before"]["voxels"], sorted.len());
        let after: u64 =
            r["histogram"]["after"]["counts"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum();
        assert_eq!(after + outside, v.len() as u64);
        assert!(done["verified"].as_f64().unwrap() <= 0.5 + 1e-6);
        assert!(d.join(format!("{bits}.png")).is_file());
        assert!(d.join(format!("{out}.info")).is_file());
    }
    assert!(!listing(d).iter().any(|n| n.contains(".part")), "{:?}", listing(d));
}

#[test]
fn one_hot_voxel_costs_no_grey_level() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let mut v = volume(d, "a.vol", 1.0);
    v[(3 * X + 30) * X + 31] = 1e4;
    write(d, "a.vol", &v);
    let done = tomo(d, &["recad", "a.vol", "--json"]).expect(0).json();
    assert!(done["counts"]["greys_in_use"].as_u64().unwrap() >= 250, "{done}");
    assert!(done["limits"]["high"].as_f64().unwrap() < 2.0);
    assert!(d.join("a.raw").is_file());
}

#[test]
fn limits_from_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volume(d, "a.vol", 1.0);
    let limits = |args: &[&str]| {
        let mut all = vec!["recad", "a.vol", "-o", "x.raw", "--overwrite", "--json"];
        all.extend(args);
        let j = tomo(d, &all).expect(0).json();
        (j["limits"]["low"].as_f64().unwrap(), j["limits"]["high"].as_f64().unwrap())
    };
    assert_eq!(limits(&["--low", "-1", "--high", "3", "--one-pass"]), (-1.0, 3.0));
    assert_eq!(limits(&["--limits", "s1,s2", "--one-pass"]), (0.5, 1.5));
    assert_eq!(limits(&["--limits", "S1,S2"]), (0.7, 1.3));
    assert_eq!(limits(&["--limits", "S1,S2", "--high", "1.25"]), (0.7, 1.25));
    let (p, q) = limits(&["--percentile", "10,90"]);
    assert!((0.85..0.9).contains(&p) && (1.1..1.15).contains(&q), "{p} {q}");
    // One side given keeps its value; the other is found.
    let (low, high) = limits(&["--low", "-1"]);
    assert!(low == -1.0 && high > 1.2 && high < 1.6, "{high}");
    tomo(d, &["recad", "a.vol", "-o", "first.raw", "--low", "0.25", "--high", "1.75"]).expect(0);
    assert_eq!(limits(&["--limits-from", "first.raw.recad.json", "--one-pass"]), (0.25, 1.75));

    // PyHST2's own histogram file, as our .vol writer makes it.
    tomo(d, &["convert", "a.vol", "w.vol"]).expect(0);
    let (low, high) = limits(&["--limits-from", "histogram_w.edf"]);
    let (p, q) = limits(&["--percentile", "0.1,99.9", "--within", "all"]);
    assert!((low - p).abs() < 0.01 && (high - q).abs() < 0.01, "{low} {high} against {p} {q}");

    for bad in [
        &["--low", "1", "--high", "1"][..],
        &["--low", "2", "--high", "1"],
        &["--low", "nan"],
        &["--one-pass"],
        &["--limits-from", "a.vol.info"],
        &["--limits-from", "missing.json"],
        &["--low", "9"],
        &["--resume"],
    ] {
        let mut all = vec!["recad", "a.vol", "-o", "bad.raw"];
        all.extend(bad);
        tomo(d, &all).expect_one_error();
        assert!(!listing(d).iter().any(|n| n.starts_with("bad")), "{bad:?}");
    }
    tomo(d, &["recad", "a.vol", "--percentile", "99,1"]).expect(2);
    for more in [["--percentile", "1,99"], ["--limits", "s1,s2"], ["--limits-from", "x.json"]] {
        let both = ["recad", "a.vol", "-o", "bad.raw", "--low", "0", "--high", "1"];
        assert!(tomo(d, &[&both[..], &more].concat()).expect_one_error().stderr.contains("nothing to decide"));
    }
    tomo(d, &["recad", "a.vol", "--limits", "s1,S2"]).expect(2);
}

#[test]
fn constant_and_empty_volumes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for (name, value) in [("flat.vol", 3.5f32), ("zero.vol", 0.0), ("nan.vol", f32::NAN)] {
        write(d, name, &vec![value; X * X * Z]);
        tomo(d, &["recad", name]).expect_one_error();
    }
    tomo(d, &["recad", "flat.vol", "--low", "3", "--high", "4"]).expect(0);
    assert!(std::fs::read(d.join("flat.raw")).unwrap().iter().all(|g| *g == 128)); // 127.5 to even
    let r = tomo(d, &["recad", "nan.vol", "--low", "3", "--high", "4", "--nan", "refuse"]).expect_one_error();
    assert!(r.stderr.contains(&format!("{}", X * X * Z)), "{}", r.stderr);
    assert!(!d.join("nan.raw").exists());
}

#[test]
fn a_lock_gives_all_scans_one_scale() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volume(d, "a.vol", 1.0);
    volume(d, "b.vol", 1.5);
    std::fs::create_dir(d.join("eight")).unwrap();
    tomo(d, &["recad", "a.vol", "b.vol", "--lock", "exp.json", "-o", "eight"]).expect(0);
    let (a, b) = (receipt(d, "eight/a.raw"), receipt(d, "eight/b.raw"));
    assert_eq!(a["scale"], b["scale"]);
    assert!(b["limits"]["found"].as_str().unwrap().contains("exp.json"));
    assert!(b["clipped_high_percent"].as_f64().unwrap() > 10.0);
    tomo(d, &["recad", "b.vol", "--lock", "exp.json", "--low", "0.1"]).expect_one_error();
    // One bad volume of several is reported, the others are done.
    std::fs::remove_file(d.join("eight/b.raw")).unwrap();
    std::fs::remove_file(d.join("eight/b.raw.recad.json")).unwrap();
    let r = tomo(d, &["recad", "missing.vol", "b.vol", "--lock", "exp.json", "-o", "eight", "--overwrite"]).expect(2);
    assert!(r.stderr.contains("missing.vol") && d.join("eight/b.raw").is_file());
}

#[test]
fn every_format_carries_the_scale_back() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let v = volume(d, "a.vol", 1.0);
    for (out, more) in [
        ("r.raw", &[][..]),
        ("t.tif", &[]),
        ("ij.tif", &["--variant", "imagej"]),
        ("series", &["--to", "tiff"]),
        ("h.h5", &[]),
        ("big.tif", &["--variant", "bigtiff", "--bits", "16"]),
    ] {
        let mut args = vec!["recad", "a.vol", "-o", out, "--verify"];
        args.extend(more);
        tomo(d, &args).expect(0);
        let half = receipt(d, out)["scale"]["slope"].as_f64().unwrap() / 2.0;
        // Compared through the scale: with the receipt, then by what the file itself records.
        let r = tomo(d, &["compare", "a.vol", out, "--json"]).expect(0).json();
        assert!(r["max"].as_f64().unwrap() <= half * 1.001, "{out}: {r}");
        let back = format!("{}-back.vol", out.split('.').next().unwrap());
        tomo(d, &["recad", out, "--undo", "-o", &back]).expect(0);
        std::fs::remove_file(d.join(format!("{out}.recad.json"))).unwrap();
        tomo(d, &["compare", "a.vol", out]).expect(0);
        let (limits, floats) = (r["tolerance"].as_f64().unwrap(), read_floats(&d.join(&back)));
        let near = v.iter().zip(&floats).filter(|(a, b)| f64::from((*a - *b).abs()) <= limits).count();
        let field = v.iter().filter(|a| **a != 0.0).count();
        assert!(near as f64 >= 0.997 * field as f64, "{out}: {near} of {field}");
    }
    // A receipt of another file beside it is found out.
    tomo(d, &["recad", "a.vol", "-o", "p.raw", "--low", "0", "--high", "2"]).expect(0);
    tomo(d, &["recad", "a.vol", "-o", "q.raw", "--low", "0", "--high", "3"]).expect(0);
    std::fs::copy(d.join("q.raw.recad.json"), d.join("p.raw.recad.json")).unwrap();
    tomo(d, &["recad", "p.raw", "--undo", "-o", "wrong.vol"]).expect_one_error();
    tomo(d, &["recad", "a.vol.info", "--undo", "-o", "wrong.vol"]).expect_one_error();
    tomo(d, &["recad", "a.vol", "--undo", "-o", "wrong.vol"]).expect_one_error();
    // What the way back does not read is not taken.
    for option in [["--hash", "sha256"], ["--nan", "clip"], ["--zeros", "values"], ["--within", "all"]] {
        tomo(d, &[&["recad", "p.raw", "--undo", "-o", "wrong.vol"][..], &option].concat()).expect(2);
    }
}

#[test]
fn sixteen_to_eight_keeps_physical_limits() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volume(d, "a.vol", 1.0);
    tomo(d, &["recad", "a.vol", "-o", "w.raw", "--bits", "16", "--low", "0", "--high", "2"]).expect(0);
    tomo(d, &["recad", "w.raw", "-o", "n.raw", "--low", "0.5", "--high", "1.5"]).expect(0);
    let s = &receipt(d, "n.raw")["scale"];
    assert!((s["offset"].as_f64().unwrap() - 0.5).abs() < 1e-12);
    assert!((s["slope"].as_f64().unwrap() * 255.0 - 1.0).abs() < 1e-12);
    tomo(d, &["compare", "a.vol", "n.raw", "--tolerance", "0.00198"]).expect(0); // half of 1/255, and of 2/65535
    tomo(d, &["recad", "w.raw", "-o", "again.raw", "--bits", "16"]).expect_one_error();
}

#[test]
fn threads_memory_and_dithering_do_not_change_a_byte() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volume(d, "a.vol", 1.0);
    let mut made = Vec::new();
    for (i, threads) in ["1", "5"].iter().enumerate() {
        for (j, more) in
            [&["--bits", "16"][..], &["--dither", "7"], &["--bin", "2", "--roi", "4:60,8:50,1:11"]].iter().enumerate()
        {
            let out = format!("{i}{j}.raw");
            let mut args =
                vec!["recad", "a.vol", "-o", &out, "--threads", threads, "--memory", if i == 0 { "16M" } else { "1G" }];
            args.extend(*more);
            tomo(d, &args).expect(0);
            let mut r = receipt(d, &out);
            ["finished", "seconds", "output"].iter().for_each(|k| r[k] = serde_json::Value::Null);
            made.push((std::fs::read(d.join(&out)).unwrap(), r));
        }
    }
    let (one, five) = made.split_at(3);
    for (a, b) in one.iter().zip(five) {
        assert!(a.0 == b.0);
        assert_eq!(a.1, b.1);
    }
    assert_eq!(made[2].0.len(), 28 * 21 * 5);
    assert_ne!(made[1].0, {
        tomo(d, &["recad", "a.vol", "-o", "plain.raw"]).expect(0);
        std::fs::read(d.join("plain.raw")).unwrap()
    });
}

#[test]
fn the_circle_can_be_cut_out() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    write(d, "a.vol", &(0..X * X * Z).map(|i| 1.0 + (i % 97) as f32).collect::<Vec<_>>());
    tomo(d, &["recad", "a.vol", "--crop-circle", "--low", "0", "--high", "100"]).expect(0);
    let greys = std::fs::read(d.join("a.raw")).unwrap();
    for (i, g) in greys.iter().enumerate() {
        let (y, x) = (2 * (i / X % X) as i64 - 63, 2 * (i % X) as i64 - 63);
        assert_eq!(*g == 0, y * y + x * x > 64 * 64, "{i}");
    }
}

#[test]
fn the_input_goes_only_after_a_good_comparison() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volume(d, "a.vol", 1.0);
    for bad in [&["--slices", "2:5"][..], &["--roi", "1:5,1:5"], &["--bin", "2"], &["--crop-circle"], &["--low", "9"]] {
        let mut args = vec!["recad", "a.vol", "--remove-input"];
        args.extend(bad);
        tomo(d, &args).expect_one_error();
        assert!(d.join("a.vol").is_file(), "{bad:?}");
    }
    tomo(d, &["recad", "a.vol", "-o", "p", "--to", "png", "--remove-input"]).expect_one_error();
    tomo(d, &["recad", "a.vol", "--remove-input", "--dry-run"]).expect(0);
    assert!(d.join("a.vol").is_file());
    let j = tomo(d, &["recad", "a.vol", "--remove-input", "--json"]).expect(0).json();
    assert_eq!(j["input_removed"], true);
    assert!(!d.join("a.vol").exists() && d.join("a.raw").is_file());
}

/// Nothing that is not kept elsewhere is removed or replaced, whatever is allowed to be.
#[test]
fn inputs_survive_what_would_lose_them() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volume(d, "a.vol", 1.0);
    let float = std::fs::read(d.join("a.vol")).unwrap();
    for name in ["one", "two", "col"] {
        std::fs::create_dir(d.join(name)).unwrap();
    }
    for name in ["one", "two"] {
        write(&d.join(name), "s.vol", &volume(d, "a.vol", 1.0));
    }
    let before = listing(d);
    // Two results of one name.
    let same = ["recad", "one/s.vol", "two/s.vol", "-o", "col", "--overwrite", "--remove-input"];
    assert!(tomo(d, &same).expect_one_error().stderr.contains("same output"));
    // A picture, a lock or a log in place of a volume.
    tomo(d, &["recad", "a.vol", "--plot", "a.vol", "--overwrite"]).expect_one_error();
    tomo(d, &["recad", "a.vol", "--plot", "a.raw", "--overwrite"]).expect_one_error();
    tomo(d, &["recad", "a.vol", "--lock", "a.raw"]).expect_one_error();
    tomo(d, &["recad", "a.vol", "--plot", "nowhere/p.png"]).expect_one_error();
    tomo(d, &["recad", "one/s.vol", "--log", "a.vol"]).expect_one_error();
    // A log that is something else of the same run.
    for twice in [
        &["recad", "a.vol", "-o", "x.raw", "--log", "x.raw", "--overwrite"][..],
        &["recad", "a.vol", "-o", "x.raw", "--log", "./x.png", "--plot=x.png"],
        &["recad", "a.vol", "-o", "x.raw", "--log=x.json", "--lock", "x.json"],
    ] {
        assert!(tomo(d, twice).expect_one_error().stderr.contains("a second time"));
    }
    tomo(d, &["compare", "a.vol", "one/s.vol", "--plot", "one/s.vol", "--overwrite"]).expect_one_error();
    tomo(d, &["check", "a.vol", "--plot", "a.vol", "--overwrite"]).expect_one_error();
    for args in [
        &["check", "a.vol"][..],
        &["recad", "a.vol"],
        &["compare", "a.vol", "one/s.vol"],
        &["info", "a.vol", "--stats"],
        &["estimate", "--camera", "orca-flash"],
    ] {
        let plot = [args, &["--plot", "a.vol.info", "--overwrite"]].concat();
        assert!(tomo(d, &plot).expect_one_error().stderr.contains("is written as PNG"));
    }
    for picture in ["--preview", "--plot"] {
        tomo(d, &["info", "a.vol", "--stats", picture, "a.vol", "--overwrite"]).expect_one_error();
    }
    tomo(d, &["info", "a.vol", "--stats", "--plot", "p.png", "--preview", "p.png"]).expect_one_error();
    // Not all of it is kept, or not as close as promised.
    let part = ["recad", "a.vol", "--dims", "64x64x3", "--dtype", "float32", "--skip", "4", "--remove-input"];
    tomo(d, &part).expect_one_error();
    tomo(d, &["recad", "a.vol", "--dither", "5", "--remove-input"]).expect_one_error();
    let skipped = ["--dims", "64x64x11", "--dtype", "float32", "--skip", "16384"];
    let e = tomo(d, &[&["recad", "a.vol", "--remove-input"][..], &skipped].concat()).expect_one_error();
    assert!(e.stderr.contains("not removed"), "{}", e.stderr);
    assert_eq!(listing(d), before);
    assert!(std::fs::read(d.join("a.vol")).unwrap() == float);
    // A log is added to.
    for bits in ["8", "16"] {
        tomo(d, &["recad", "a.vol", "-o", &format!("b{bits}.raw"), "--bits", bits, "--log", "log.txt"]).expect(0);
    }
    assert_eq!(std::fs::read_to_string(d.join("log.txt")).unwrap().matches("recad: ").count(), 2);
}

/// A name that is no Unicode is no reason to lose a report.
#[cfg(target_os = "linux")]
#[test]
fn names_of_any_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volume(d, "a.vol", 1.0);
    let name = std::ffi::OsStr::from_bytes(b"b\xff.vol");
    std::fs::copy(d.join("a.vol"), d.join(name)).unwrap();
    std::fs::copy(d.join("a.vol.info"), d.join(std::ffi::OsStr::from_bytes(b"b\xff.vol.info"))).unwrap();
    tomo(d, &["recad".as_ref(), name, "--json".as_ref()]).expect(0).json();
    assert!(d.join(std::ffi::OsStr::from_bytes(b"b\xff.raw.recad.json")).exists());
    let r = tomo(d, &["check", ".", "--json"]).expect(1).json();
    assert!(r["items"].as_array().unwrap().iter().any(|i| i["path"].as_str().unwrap().contains("b\u{fffd}.vol")));
    tomo(d, &["info".as_ref(), name, "--json".as_ref()]).expect(0).json();
    tomo(d, &["compare".as_ref(), name, "a.vol".as_ref(), "--json".as_ref()]).expect(0).json();
}

#[test]
fn limits_that_lose_the_data_keep_the_input() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volume(d, "a.vol", 1.0);
    let r = tomo(d, &["recad", "a.vol", "-o", "a.raw", "--low", "50", "--high", "60", "--remove-input", "--json"]);
    assert_eq!(r.code, 1);
    assert!(d.join("a.vol").exists() && d.join("a.raw").exists() && r.stderr.contains("is not removed"));
    let told = r.json();
    assert!(!told["input_removed"].as_bool().unwrap() && told["input_kept"].as_str().unwrap().contains("100.0 %"));
    // Limits that leave out what they were asked to.
    let asked = ["recad", "a.vol", "-o", "b.raw", "--percentile", "20,80", "--remove-input"];
    tomo(d, &asked).expect(0);
    assert!(!d.join("a.vol").exists());
}

#[test]
fn what_is_refused_locks_no_scale() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volume(d, "a.vol", 1.0);
    let mut bytes = std::fs::read(d.join("a.vol")).unwrap();
    let middle = bytes.len() / 2 / 4 * 4 + 32 * 4;
    bytes[middle..middle + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let info = std::fs::read_to_string(d.join("a.vol.info")).unwrap();
    std::fs::write(d.join("n.vol"), &bytes).unwrap();
    std::fs::write(d.join("n.vol.info"), info).unwrap();
    let e = tomo(d, &["recad", "n.vol", "--nan", "refuse", "--lock", "exp.json"]).expect_one_error();
    assert!(e.stderr.contains("no finite number"), "{}", e.stderr);
    // Told before all of it is read.
    let nowhere = ["recad", "a.vol", "-o", "nowhere/a.raw", "--lock", "exp.json", "--log", "said.txt"];
    assert!(tomo(d, &nowhere).expect_one_error().stderr.contains("does not exist"));
    assert!(!std::fs::read_to_string(d.join("said.txt")).unwrap().contains("looking for limits"));
    std::fs::write(d.join("b.raw.info"), "of somebody else").unwrap();
    tomo(d, &["recad", "a.vol", "-o", "b.raw", "--lock", "exp.json"]).expect_one_error();
    assert!(!d.join("exp.json").exists());
}

#[test]
fn a_scale_that_tells_no_greys_apart_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volume(d, "a.vol", 1.0);
    tomo(d, &["recad", "a.vol", "-o", "a.raw"]).expect(0);
    std::fs::remove_file(d.join("a.raw.recad.json")).unwrap();
    tomo(d, &["compare", "a.vol", "a.raw"]).expect(0);
    let info = std::fs::read_to_string(d.join("a.raw.info")).unwrap();
    for slope in ["0", "1e-320", "nan", "inf"] {
        let line = |l: &str| if l.contains("GREY_SLOPE") { format!("GREY_SLOPE = {slope}") } else { l.to_owned() };
        let wrong: Vec<String> = info.lines().map(line).collect();
        std::fs::write(d.join("a.raw.info"), wrong.join("\n") + "\n").unwrap();
        for args in [&["compare", "a.vol", "a.raw"][..], &["recad", "a.raw", "--undo", "-o", "back.vol"]] {
            let r = tomo(d, args);
            assert!(r.code == 2 && !d.join("back.vol").exists(), "{slope}: {} {}", r.code, r.stderr);
        }
    }
}

#[cfg(unix)]
#[test]
fn a_link_is_not_removed_in_place_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volume(d, "a.vol", 1.0);
    std::os::unix::fs::symlink("a.vol", d.join("l.vol")).unwrap();
    std::fs::copy(d.join("a.vol.info"), d.join("l.vol.info")).unwrap();
    let r = tomo(d, &["recad", "l.vol", "--remove-input"]).expect_one_error();
    assert!(r.stderr.contains("a link") && d.join("l.vol").is_symlink());
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volume(d, "a.vol", 1.0);
    std::os::unix::fs::symlink("two", d.join("one")).unwrap();
    std::os::unix::fs::symlink("one", d.join("two")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(d.join("pipe")).status().unwrap().success());
    for output in ["one", "pipe"] {
        for tool in ["recad", "convert"] {
            let args = match tool {
                "recad" => vec![tool, "a.vol", "-o", output],
                _ => vec![tool, "a.vol", output],
            };
            tomo(d, &[&args[..], &["--to", "raw", "--overwrite"]].concat()).expect_one_error();
        }
        assert!(!d.join(output).is_file());
    }
}
