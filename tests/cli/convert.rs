//! `tomo convert` from outside.

use crate::support::{floats, le, listing, read_floats, tomo};
use std::path::Path;

/// A small .vol with its .info in a fresh folder: 9 slices of 7 × 5 (x × y).
fn volume(dir: &Path) -> Vec<f32> {
    let v = floats(7 * 5 * 9);
    std::fs::write(dir.join("a.vol"), le(&v)).unwrap();
    std::fs::write(dir.join("a.vol.info"), "! PyHST_SLAVE VOLUME INFO FILE\nNUM_X =  7\nNUM_Y =  5\nNUM_Z =  9\n")
        .unwrap();
    v
}

#[test]
fn every_writable_format_reads_back_equal() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let v = volume(d);
    let targets = [
        ("vol", "out.vol", vec![]),
        ("raw", "out.raw", vec![]),
        ("npy", "out.npy", vec![]),
        ("hdf5", "out.h5", vec![]),
        ("hdf5 deflate", "deflate.h5", vec!["--compression", "deflate"]),
        ("tiff", "out.tif", vec![]),
        ("imagej", "ij.tif", vec!["--variant", "imagej"]),
        ("tiff series", "series", vec!["--to", "tiff"]),
        ("tiff zstd", "zstd.tif", vec!["--compression", "zstd"]),
        ("edf series", "edfs", vec!["--to", "edf"]),
        ("edf", "multi.edf", vec!["--variant", "multi"]),
    ];
    for (name, out, more) in &targets {
        let mut args = vec!["convert", "a.vol", out, "--verify"];
        args.extend(more);
        tomo(d, &args).expect(0);
        // Back to plain floats through a second conversion: the readers see what the writers wrote.
        let back = format!("back-{}.vol", name.replace(' ', "-"));
        tomo(d, &["convert", out, &back, "--no-sidecars"]).expect(0);
        assert_eq!(read_floats(&d.join(&back)), v, "{name}");
    }
    assert!(!listing(d).iter().any(|n| n.contains(".part")), "{:?}", listing(d));
}

#[test]
fn parts_of_a_volume() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let v = volume(d);
    tomo(d, &["convert", "a.vol", "b.vol", "--slices", "2:8:3", "--roi", "1:6,2:5", "--axis", "z"]).expect(0);
    let want: Vec<f32> = [2, 5]
        .iter()
        .flat_map(|z| (2..5).flat_map(move |y| (1..6).map(move |x| (z * 5 + y) * 7 + x)))
        .map(|i| v[i])
        .collect();
    assert_eq!(read_floats(&d.join("b.vol")), want);
    tomo(d, &["convert", "a.vol", "c.vol", "--axis", "x"]).expect(0);
    let want: Vec<f32> =
        (0..7).flat_map(|x| (0..9).flat_map(move |z| (0..5).map(move |y| (z * 5 + y) * 7 + x))).map(|i| v[i]).collect();
    assert_eq!(read_floats(&d.join("c.vol")), want);
}

#[test]
fn refusals_leave_everything_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volume(d);
    std::fs::write(d.join("there.raw"), "precious").unwrap();
    let before = listing(d);
    for args in [
        &["convert", "a.vol", "there.raw"][..],
        &["convert", "a.vol", "a.vol", "--overwrite"],
        &["convert", "a.vol", "x.vol", "--slices", "5:99"],
        &["convert", "a.vol", "x.vol", "--roi", "0:99,0:1"],
        &["convert", "a.vol", "x.raw", "--type", "uint8"],
        &["convert", "a.vol", "x.unknown"],
        &["convert", "a.vol", "no/such/folder/x.vol"],
        &["convert", "missing.vol", "x.vol"],
        &["convert", "a.vol", "x.vol", "--bin", "6"],
        // Numbers that no file would carry.
        &["convert", "a.vol", "x.vol", "--start-number", "1"],
        &["convert", "a.vol", "x.tif", "--start-number", "1"],
        &["convert", "a.vol", "x.edf", "--start-number", "1"],
    ] {
        tomo(d, args).expect_one_error();
        assert_eq!(listing(d), before, "{args:?}");
    }
    assert_eq!(std::fs::read(d.join("there.raw")).unwrap(), b"precious");
}

#[test]
fn files_of_a_series_are_numbered_from_where_they_are_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volume(d);
    for (to, extension) in [("tiff", "tif"), ("edf", "edf")] {
        tomo(d, &["convert", "a.vol", to, "--to", to, "--start-number", "41"]).expect(0);
        let names = listing(&d.join(to));
        assert_eq!(names[0], format!("{to}_0041.{extension}"));
        assert_eq!(names[8], format!("{to}_0049.{extension}"));
    }
    tomo(d, &["convert", "a.vol", "s.tif", "--variant", "series", "--start-number", "7"]).expect(0);
    assert_eq!(listing(&d.join("s"))[0], "s_0007.tif");
    tomo(d, &["convert", "a.vol", "x", "--to", "edf", "--start-number", "18446744073709551615"]).expect(2);
}

#[test]
fn a_dry_run_writes_nothing_and_tells_the_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volume(d);
    let before = listing(d);
    let plan = tomo(d, &["convert", "a.vol", "x.raw", "--dry-run", "--json"]).expect(0).json();
    assert_eq!(plan["bytes_written"], 7 * 5 * 9 * 4);
    assert_eq!(plan["shape"]["frames"], 9);
    assert_eq!(listing(d), before);
}

#[test]
fn threads_and_memory_do_not_change_a_byte() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volume(d);
    tomo(d, &["convert", "a.vol", "one.raw", "--axis", "y", "--bin", "2", "--threads", "1", "--memory", "16M"])
        .expect(0);
    tomo(d, &["convert", "a.vol", "five.raw", "--axis", "y", "--bin", "2", "--threads", "5"]).expect(0);
    assert_eq!(std::fs::read(d.join("one.raw")).unwrap(), std::fs::read(d.join("five.raw")).unwrap());
}

#[test]
fn a_folder_of_volumes_becomes_a_folder_of_volumes() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    std::fs::create_dir(d.join("in")).unwrap();
    let v = volume(&d.join("in"));
    for s in ["", ".info"] {
        std::fs::copy(d.join(format!("in/a.vol{s}")), d.join(format!("in/b.vol{s}"))).unwrap();
    }
    tomo(d, &["convert", "in", "out", "--to", "raw"]).expect(0);
    for n in ["a", "b"] {
        assert_eq!(read_floats(&d.join(format!("out/{n}.raw"))), v);
    }
}

/// What a program reads is never what it replaces, whatever it may overwrite.
#[test]
fn nothing_is_written_over_what_it_is_made_from() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let scan = |name: &str, layout: &str| {
        let small = ["--size", "32", "--rows", "8", "--projections", "20", "--layout", layout];
        tomo(d, &[&["simulate", name][..], &small].concat()).expect(0);
    };
    scan("s.nxs", "nxtomo");
    scan("fly", "flyscan");
    scan("edf", "edf");
    scan("tif", "tiff");
    volume(d);
    let all = || {
        let files = walkdir::WalkDir::new(d).sort_by_file_name().into_iter().map(|e| e.unwrap());
        let files = files.filter(|e| e.file_type().is_file());
        files.map(|e| (e.path().to_owned(), std::fs::read(e.path()).unwrap())).collect::<Vec<_>>()
    };
    let before = all();
    let first = |folder: &str, ext: &str| {
        let found = before
            .iter()
            .map(|(p, _)| p)
            .find(|p| p.starts_with(d.join(folder)) && p.extension().is_some_and(|e| e == ext));
        found.unwrap().to_str().unwrap().to_owned()
    };
    let (nxs, edf, tif) = (first("fly", "nxs"), first("edf", "edf"), first("tif", "tif"));
    let cases: &[&[&str]] = &[
        &["recon", "s.nxs", "-o", "s.nxs", "--to", "nexus"],
        &["recon", "s.nxs", "-o", "s.nxs"],
        &["recon", "s.nxs", "-o", ".", "--to", "tiff"],
        &["recon", "fly", "-o", &nxs],
        &["recon", "edf", "-o", &edf],
        &["recon", "tif", "-o", &tif],
        &["recon", "tif", "-o", "tif", "--to", "tiff"],
        &["convert", "fly", &nxs, "--to", "nxtomo"],
        &["convert", "edf", "edf", "--to", "tiff-scan"],
        &["convert", "s.nxs", "s.nxs", "--to", "dxchange"],
        &["convert", "tif", &tif],
        &["convert", "a.vol", "a.vol", "--to", "raw"],
        &["recad", "a.vol", "-o", "a.vol", "--to", "raw"],
    ];
    for case in cases {
        let r = tomo(d, &[case, &["--overwrite"][..]].concat());
        assert!(r.code == 2 && r.stderr.contains("would replace"), "{case:?}: {}", r.stderr);
        assert!(all() == before, "{case:?}");
    }
}
