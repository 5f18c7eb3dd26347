//! `tomo check` of raw scans, of folders and disks with many things on them, and of single lost sectors.

use crate::check::{N, body, check, info, noise, said, slice, write};
use crate::support::{le, tomo};
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn raw_scans_and_what_can_be_wrong_with_them() {
    raw_scan(64, 64);
}

#[test]
fn raw_scans_of_few_rows_too() {
    raw_scan(96, 24);
    // Too few pixels to tell: it is said.
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    tomo(d, &["simulate", "scan", "--layout", "edf", "--size", "64", "--rows", "8", "--projections", "60"]).expect(0);
    let r = tomo(d, &["check", "scan"]).expect(0);
    assert!(r.stdout.contains("512 pixels are looked at for zeros"), "{}", r.stdout);
}

fn raw_scan(cols: usize, rows: usize) {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let (c, r) = (cols.to_string(), rows.to_string());
    tomo(d, &["simulate", "scan", "--layout", "edf", "--size", &c, "--rows", &r, "--projections", "60"]).expect(0);
    assert_eq!(said(&check(d, "scan")["items"][0]), ("good".into(), vec![]));
    let folder = d.join("scan");
    let mut projections: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    projections.retain(|p| {
        let n = p.file_name().unwrap().to_string_lossy().into_owned();
        n.ends_with(".edf") && !n.starts_with("ref") && !n.starts_with("dark")
    });
    projections.sort();
    assert!(projections.len() >= 60, "{projections:?}");
    let n = cols * rows * 2;
    let expect = |kind: &str, at: &str| {
        let (verdict, f) = said(&check(d, "scan")["items"][0]);
        assert!(
            verdict != "good" && f.iter().any(|f| f.starts_with(kind) && f.contains(at)),
            "{kind}: {verdict} {f:#?}"
        );
    };
    let spoil = |path: &Path, f: &dyn Fn(&mut [u8])| {
        let before = fs::read(path).unwrap();
        let mut bytes = before.clone();
        let at = bytes.len() - n;
        f(&mut bytes[at..]);
        fs::write(path, &bytes).unwrap();
        before
    };
    let p = &projections[20];
    let before = spoil(p, &|b| b.fill(0));
    expect("dead-frames", "frame 20");
    fs::write(p, &before).unwrap();
    spoil(p, &|b| b.fill(0xff));
    expect("constant", "frame 20");
    fs::write(p, &before).unwrap();
    spoil(p, &|b| b[..n / 2].fill(0xff));
    expect("saturated", "frame 20");
    fs::write(p, &before).unwrap();
    spoil(p, &|b| {
        b.chunks_exact_mut(2).for_each(|c| {
            let v = u16::from_le_bytes([c[0], c[1]]) / 10;
            c.copy_from_slice(&v.to_le_bytes());
        })
    });
    expect("dim", "frame 20");
    fs::copy(&projections[19], p).unwrap();
    expect("duplicate", "frame 19 again");
    fs::write(p, &before[..before.len() - 10]).unwrap();
    let (verdict, _) = said(&check(d, "scan")["items"][0]);
    assert_eq!(verdict, "broken");
    fs::remove_file(p).unwrap();
    let (verdict, f) = said(&check(d, "scan")["items"][0]);
    assert!(verdict == "broken" && f.iter().any(|f| f.starts_with("numbering")), "{f:?}");
    fs::write(p, &before).unwrap();
    assert_eq!(said(&check(d, "scan")["items"][0]), ("good".into(), vec![]));
    // Flats below darks.
    let dark = folder.join("dark.edf");
    let bytes = fs::read(&dark).unwrap();
    let flats: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.file_name().unwrap().to_string_lossy().starts_with("ref"))
        .collect();
    assert!(!flats.is_empty());
    for f in &flats {
        fs::write(f, &bytes).unwrap();
    }
    expect("flats", "not brighter");
}

/// The smallest sector of a disk, wherever it lies in the rows.
#[test]
fn a_sector_of_zeros_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for (cols, dtype, size) in
        [(128, "float32", 4), (125, "float32", 4), (150, "float32", 4), (128, "float64", 8), (141, "float64", 8)]
    {
        let v: Vec<u8> = (0..12 * cols * cols)
            .flat_map(|i| {
                let value = 2.0 + noise(i as u64);
                if size == 4 { value.to_le_bytes().to_vec() } else { f64::from(value).to_le_bytes().to_vec() }
            })
            .collect();
        let told = info(cols, cols, 12) + &format!("DATA_TYPE = {dtype}\nBYTEORDER = LOWBYTEFIRST\n");
        write(&d.join("s.raw"), &v, &told);
        assert_eq!(said(&check(d, "s.raw")["items"][0]), ("good".into(), vec![]), "{cols} {dtype}");
        for sector in 1..9 {
            let at = v.len() / 9 / 512 * 512 * sector + 512 * sector;
            let mut lost = v.clone();
            lost[at..at + 512].fill(0);
            write(&d.join("s.raw"), &lost, &told);
            let (verdict, why) = said(&check(d, "s.raw")["items"][0]);
            let z = at / (cols * cols * size);
            let named = why.iter().any(|w| w.starts_with("zero-block") && w.contains(&format!("slice {z}")));
            assert!(verdict == "broken" && named, "{cols} {dtype} at {at}: {why:?}");
        }
    }
}

/// Everything under a folder is looked at once, or it is said that it is not.
#[cfg(unix)]
#[test]
fn a_walk_leaves_nothing_out_in_silence() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for folder in ["disk/scan", "disk/shut", "elsewhere"] {
        fs::create_dir_all(d.join(folder)).unwrap();
    }
    let mut v = le(&body(N, N, 12, 0.4));
    write(&d.join("disk/good.vol"), &v, &info(N, N, 12));
    slice(&mut v, 5).fill(0);
    write(&d.join("disk/histogram_of_it.vol"), &v, &info(N, N, 12));
    write(&d.join("elsewhere/bad.vol"), &v, &info(N, N, 12));
    symlink("../elsewhere", d.join("disk/link")).unwrap();
    let j = check(d, "disk");
    let verdicts: Vec<_> = j["items"].as_array().unwrap().iter().map(|i| (i["path"].as_str(), said(i).0)).collect();
    let want = [("disk/good.vol", "good"), ("disk/histogram_of_it.vol", "broken")];
    assert_eq!(verdicts, want.map(|(p, v)| (Some(p), v.to_owned())));
    assert!(j["left_out"][0]["path"] == "disk/link", "{}", j["left_out"]);
    let r = tomo(d, &["check", "disk"]).expect(1);
    assert!(r.stderr.contains("disk/link: not looked at"), "{}", r.stderr);
    // Who may look everywhere cannot try this.
    let shut = d.join("disk/shut");
    fs::set_permissions(&shut, PermissionsExt::from_mode(0o000)).unwrap();
    if fs::read_dir(&shut).is_err() {
        let r = tomo(d, &["check", "disk"]).expect(2);
        assert!(r.stdout.contains("disk/shut") && r.stdout.contains("not looked at"), "{}", r.stdout);
    }
    fs::set_permissions(&shut, PermissionsExt::from_mode(0o755)).unwrap();

    // The folders of a scan are looked at with it; a stack beside the pages of a series for itself.
    let args = ["simulate", "s", "--layout", "tiff", "--size", "96", "--rows", "48", "--projections", "120"];
    tomo(d, &args).expect(0);
    let j = check(d, "s");
    assert!(j["items"].as_array().unwrap().len() == 1 && said(&j["items"][0]).0 == "good", "{j}");
    tomo(d, &["convert", "disk/good.vol", "pages", "--to", "tiff"]).expect(0);
    tomo(d, &["convert", "disk/good.vol", "pages/stack.tif", "--to", "tiff", "--variant", "multipage"]).expect(0);
    let stack = fs::read(d.join("pages/stack.tif")).unwrap();
    fs::write(d.join("pages/stack.tif"), &stack[..stack.len() - 5000]).unwrap();
    let j = check(d, "pages");
    let verdicts: Vec<_> = j["items"].as_array().unwrap().iter().map(|i| said(i).0).collect();
    assert_eq!(verdicts, ["good", "broken"], "{j}");
}
