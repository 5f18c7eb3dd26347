//! `tomo compare` from outside.

use crate::support::{floats, le, tomo};
use std::path::Path;

const SHAPE: (usize, usize, usize) = (9, 20, 30);

fn write(dir: &Path, name: &str, v: &[f32]) {
    std::fs::write(dir.join(name), le(v)).unwrap();
    let (z, y, x) = SHAPE;
    std::fs::write(dir.join(format!("{name}.info")), format!("NUM_X = {x}\nNUM_Y = {y}\nNUM_Z = {z}\n")).unwrap();
}

#[test]
fn numbers_and_places_are_those_of_a_naive_loop() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let a = floats(SHAPE.0 * SHAPE.1 * SHAPE.2);
    let mut b: Vec<f32> = a.iter().enumerate().map(|(i, v)| v + if i % 3 == 0 { 0.001 } else { 0.0 }).collect();
    b[(4 * SHAPE.1 + 7) * SHAPE.2 + 11] += 0.5;
    b[(2 * SHAPE.1 + 3) * SHAPE.2 + 5] -= 0.25;
    write(d, "a.vol", &a);
    write(d, "b.vol", &b);
    let r =
        tomo(d, &["compare", "a.vol", "b.vol", "--tolerance", "0.01", "--plot", "d.png", "--json"]).expect(1).json();
    let n = a.len() as f64;
    let diffs: Vec<f64> = a.iter().zip(&b).map(|(a, b)| f64::from(*b) - f64::from(*a)).collect();
    let close = |key: &str, want: f64| {
        let got = r[key].as_f64().unwrap();
        assert!((got - want).abs() <= 1e-9 * want.abs().max(1e-3), "{key}: {got} against {want}");
    };
    close("max", diffs.iter().fold(0.0, |m, d| m.max(d.abs())));
    close("mean", diffs.iter().sum::<f64>() / n);
    let rms = (diffs.iter().map(|d| d * d).sum::<f64>() / n).sqrt();
    close("rms", rms);
    let (low, high) = a.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(f64::from(*v)), h.max(f64::from(*v))));
    close("psnr_db", 20.0 * ((high - low) / rms).log10());
    assert!(r["correlation"].as_f64().unwrap() > 0.99);
    assert_eq!((r["voxels"].as_u64(), r["beyond"].as_u64()), (Some(5400), Some(2)));
    assert_eq!(r["differing"].as_u64().unwrap(), diffs.iter().filter(|d| **d != 0.0).count() as u64);
    let place = |k: &str| (r[k]["x"].as_u64().unwrap(), r[k]["y"].as_u64().unwrap(), r[k]["z"].as_u64().unwrap());
    assert_eq!((place("first"), place("worst")), ((5, 3, 2), (11, 7, 4)));
    let counted: u64 = r["histogram"]["counts"].as_array().unwrap().iter().map(|c| c.as_u64().unwrap()).sum();
    assert_eq!(Some(counted), r["differing"].as_u64());
    assert!(std::fs::metadata(d.join("d.png")).unwrap().len() > 1000);
    tomo(d, &["compare", "a.vol", "b.vol", "--tolerance", "0.6"]).expect(0);
    // Only the slices without a large difference.
    tomo(d, &["compare", "a.vol", "b.vol", "--tolerance", "0.01", "--slices", "5:9"]).expect(0);
    // Threads change nothing.
    let strip = |mut j: serde_json::Value| {
        j["seconds"] = serde_json::Value::Null;
        j
    };
    let args = |n: &'static str| ["compare", "a.vol", "b.vol", "--json", "--threads", n];
    assert_eq!(strip(tomo(d, &args("1")).expect(1).json()), strip(tomo(d, &args("7")).expect(1).json()));
}

/// Places are those in the files, whatever part of them is compared.
#[test]
fn places_in_a_part() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let (z, y, x) = SHAPE;
    let mut v = floats(z * y * x);
    write(d, "a.vol", &v);
    v[(6 * y + 12) * x + 20] += 0.5;
    write(d, "b.vol", &v);
    let part = ["compare", "a.vol", "b.vol", "--roi", "15:25,10:20", "--slices", "2:9:2", "--json"];
    let j = tomo(d, &part).expect(1).json();
    for place in ["first", "worst"] {
        assert_eq!((&j[place]["x"], &j[place]["y"], &j[place]["z"]), (&20.into(), &12.into(), &6.into()));
    }
}

#[test]
fn formats_do_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    write(d, "a.vol", &floats(SHAPE.0 * SHAPE.1 * SHAPE.2));
    for (out, more) in
        [("b.tif", &[][..]), ("s", &["--to", "tiff"]), ("b.h5", &["--compression", "deflate"]), ("b.npy", &[])]
    {
        let mut args = vec!["convert", "a.vol", out];
        args.extend(more);
        tomo(d, &args).expect(0);
        let r = tomo(d, &["compare", "a.vol", out, "--json"]).expect(0).json();
        assert_eq!((r["max"].as_f64(), r["differing"].as_u64()), (Some(0.0), Some(0)), "{out}");
        assert_eq!(r["correlation"].as_f64(), Some(1.0));
    }
}

/// Greys of 8 and of 16 bits beside floats, beside each other and as they are stored: whoever holds them against what they
/// were made from finds the same.
#[test]
fn greys_beside_floats_and_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    write(d, "a.vol", &floats(SHAPE.0 * SHAPE.1 * SHAPE.2));
    for (out, bits) in [("g.raw", "8"), ("h.raw", "8"), ("s.raw", "16")] {
        let low = if out == "h.raw" { "0.1" } else { "0.05" };
        tomo(d, &["recad", "a.vol", "-o", out, "--bits", bits, "--low", low, "--high", "0.9"]).expect(0);
    }
    // What compare widens itself, widened beforehand; the number in the file itself.
    for out in ["g.raw", "h.raw", "s.raw"] {
        let name = format!("{out}.vol");
        tomo(d, &["convert", out, &name, "--type", "float32"]).expect(0);
    }
    for (a, b) in [("g.raw", "h.raw"), ("g.raw", "s.raw"), ("s.raw", "h.raw"), ("s.raw", "s.raw")] {
        let stored = tomo(d, &["compare", a, b, "--as-stored", "--tolerance", "1e9", "--json"]).expect(0).json();
        let (a, b) = (format!("{a}.vol"), format!("{b}.vol"));
        let wide = tomo(d, &["compare", &a, &b, "--as-stored", "--tolerance", "1e9", "--json"]).expect(0).json();
        for key in ["max", "mean", "mean_absolute", "rms", "differing", "worst", "first", "correlation", "histogram"] {
            let (s, w) = (&stored[key], &wide[key]);
            match (s.as_f64(), w.as_f64()) {
                (Some(s), Some(w)) => assert!((s - w).abs() <= 1e-6 * w.abs(), "{a} {b} {key}: {s} and {w}"),
                _ => assert_eq!(s, w, "{a} {b} {key}"),
            }
        }
    }
    for (b, levels) in [("g.raw", 255.0), ("s.raw", 65535.0)] {
        let step = 0.85 / levels;
        let r = tomo(d, &["compare", "a.vol", b, "--json"]).expect(0).json();
        let number = |k: &str| r[k].as_f64().unwrap();
        assert!(number("max") <= step / 2.0 * 1.01 && number("max") > step * 0.45, "{b}: {}", number("max"));
        // Errors of rounding are spread evenly, but for three values in ten, which lie below the lowest grey.
        let beyond = number("beyond_scale") / number("voxels");
        assert!((beyond - 0.3).abs() < 0.01, "{b}: {beyond}");
        let even = step * ((1.0 - beyond) / 12.0).sqrt();
        assert!((number("rms") / even - 1.0).abs() < 0.05, "{b}: {} and {even}", number("rms"));
    }
    // One scale in 16 bits: what differs is whole steps, and nothing lies beyond.
    std::fs::copy(d.join("s.raw.info"), d.join("t.raw.info")).unwrap();
    std::fs::copy(d.join("s.raw.recad.json"), d.join("t.raw.recad.json")).unwrap();
    let mut greys = std::fs::read(d.join("s.raw")).unwrap();
    for (i, by) in [(0, 3i32), (2 * 1000, -7), (2 * 5399, 40)] {
        let grey = i32::from(u16::from_le_bytes([greys[i], greys[i + 1]]));
        greys[i..i + 2].copy_from_slice(&((if grey + by < 0 { grey - by } else { grey + by }) as u16).to_le_bytes());
    }
    std::fs::write(d.join("t.raw"), greys).unwrap();
    let r = tomo(d, &["compare", "s.raw", "t.raw", "--json"]).expect(1).json();
    assert_eq!(
        (r["differing"].as_u64(), r["beyond"].as_u64(), r["beyond_scale"].as_u64()),
        (Some(3), Some(3), Some(0))
    );
    assert!((r["max"].as_f64().unwrap() / (0.85 / 65535.0) - 40.0).abs() < 1e-6, "{}", r["max"]);
    assert_eq!(r["worst"]["z"], 8);
    // Two scales: what differs is both their roundings, and no more.
    let r = tomo(d, &["compare", "g.raw", "h.raw", "--json"]).expect(0).json();
    let step = 0.85 / 255.0;
    assert!(r["max"].as_f64().unwrap() <= step, "{}", r["max"]);
    assert!(r["beyond_scale"].as_u64().unwrap() > 100);
}

/// Stretches that are equal go another way than those that are not: together they say what floats say.
#[test]
fn equal_stretches_of_greys() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let n = 64 * 64 * 20;
    std::fs::write(d.join("a.vol"), le(&floats(n))).unwrap();
    std::fs::write(d.join("a.vol.info"), "NUM_X = 64\nNUM_Y = 64\nNUM_Z = 20\n").unwrap();
    for bits in [16, 8] {
        tomo(d, &["recad", "a.vol", "-o", "s.raw", "--bits", &bits.to_string(), "--overwrite"]).expect(0);
        for name in [".info", ".recad.json"] {
            std::fs::copy(d.join(format!("s.raw{name}")), d.join(format!("t.raw{name}"))).unwrap();
        }
        let mut greys = std::fs::read(d.join("s.raw")).unwrap();
        for i in [0, 30_000, 30_001, n - 1] {
            greys[(i + 1) * bits / 8 - 1] ^= 1;
        }
        std::fs::write(d.join("t.raw"), greys).unwrap();
        for name in ["s", "t"] {
            let undo = ["recad", &format!("{name}.raw"), "--undo", "-o", &format!("{name}.vol"), "--overwrite"];
            tomo(d, &undo).expect(0);
        }
        for (one, two) in [("s", "s"), ("s", "t")] {
            let of = |ext: &str| {
                let args = ["compare", &format!("{one}.{ext}"), &format!("{two}.{ext}"), "--tolerance", "9", "--json"];
                tomo(d, &args).expect(0).json()
            };
            let (grey, float) = (of("raw"), of("vol"));
            // What adds up to nothing is as exact as what it adds up.
            let least = float["mean_absolute"].as_f64().unwrap();
            for key in ["voxels", "differing", "max", "mean", "mean_absolute", "rms", "psnr_db", "correlation"] {
                match (grey[key].as_f64(), float[key].as_f64()) {
                    (Some(g), Some(f)) => {
                        assert!((g - f).abs() <= 1e-5 * f.abs().max(least), "{one} {two} {key}: {g} and {f}")
                    }
                    (g, f) => assert_eq!(g, f, "{one} {two} {key}"),
                }
            }
        }
    }
}

#[test]
fn not_a_number_differs_from_a_number() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let mut v = floats(SHAPE.0 * SHAPE.1 * SHAPE.2);
    v[7] = f32::NAN;
    write(d, "a.vol", &v);
    v[9] = f32::NAN;
    write(d, "b.vol", &v);
    tomo(d, &["compare", "a.vol", "a.vol"]).expect(0);
    let r = tomo(d, &["compare", "a.vol", "b.vol", "--tolerance", "1e9", "--json"]).expect(1).json();
    assert_eq!((r["not_finite_same"].as_u64(), r["not_finite_differing"].as_u64()), (Some(1), Some(1)));
    assert_eq!(r["first"]["x"], 9);
}

#[test]
fn sizes_that_differ_are_an_answer_and_nonsense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    write(d, "a.vol", &floats(SHAPE.0 * SHAPE.1 * SHAPE.2));
    tomo(d, &["convert", "a.vol", "part.vol", "--slices", "0:4"]).expect(0);
    let r = tomo(d, &["compare", "a.vol", "part.vol"]).expect(1);
    assert!(r.stdout.contains("size"), "{}", r.stdout);
    tomo(d, &["compare", "a.vol", "part.vol", "--slices", "0:4"]).expect(0);
    tomo(d, &["compare", "a.vol", "missing.vol"]).expect_one_error();
    tomo(d, &["compare", "a.vol", "a.vol", "--slices", "5:99"]).expect_one_error();
    tomo(d, &["compare", "a.vol", "a.vol", "--tolerance", "-1"]).expect(2);
}

/// Counts of 64 bits that differ in their last bits only are never called equal.
#[test]
fn large_whole_numbers_stay_apart() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let big = 1i64 << 60;
    let a: Vec<i64> = (0..6000).map(|i| if i % 2 == 0 { i } else { big + i * 1024 }).collect();
    let mut b = a.clone();
    (b[11], b[12], b[2001], b[5999]) = (b[11] + 1, b[12] - 3, b[2001] - 1, b[5999] + 5);
    for (name, v) in [("a.raw", &a), ("b.raw", &b)] {
        std::fs::write(d.join(name), v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
        let info = "NUM_X = 20\nNUM_Y = 30\nNUM_Z = 10\nDATA_TYPE = int64\nBYTEORDER = LOWBYTEFIRST\n";
        std::fs::write(d.join(format!("{name}.info")), info).unwrap();
    }
    let r = tomo(d, &["compare", "a.raw", "b.raw", "--json"]).expect(1).json();
    assert_eq!((r["differing"].as_u64(), r["beyond"].as_u64()), (Some(4), Some(4)), "{r}");
    assert_eq!((&r["first"]["x"], &r["first"]["y"], &r["first"]["z"]), (&11.into(), &0.into(), &0.into()), "{r}");
    tomo(d, &["compare", "a.raw", "a.raw", "--json"]).expect(0);
}
