//! `tomo copy` from outside: arguments, exit codes, one line per error. What it does to files is in `tests/interop/test_copy.py`.

use crate::support::{listing, tomo};
use std::fs;
use std::path::Path;

fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("src/a.vol", "one"), ("src/b/c.tif", "two"), ("src/b/d.log", "three")] {
        let p = dir.path().join(name);
        fs::create_dir_all(p.parent().unwrap()).unwrap();
        fs::write(p, text).unwrap();
    }
    fs::create_dir(dir.path().join("disk")).unwrap();
    dir
}

#[test]
fn copies_says_so_and_leaves_nothing_else() {
    let dir = tree();
    let d = dir.path();
    let r = tomo(d, &["copy", "src", "disk", "--exclude", "*.log"]).expect(0);
    assert!(r.stdout.contains("Safe to unplug") && r.stdout.contains("2 files"), "{}", r.stdout);
    assert_eq!(fs::read_to_string(d.join("disk/src/b/c.tif")).unwrap(), "two");
    let names = listing(&d.join("disk"));
    assert_eq!(names, [".tomo-copy.lock", "SHA256SUMS", "src", "src/a.vol", "src/b", "src/b/c.tif", "tomo-copy.jsonl"]);
    // A single file goes to the top; several sources side by side.
    tomo(d, &["copy", "src/a.vol", "src/b", "disk", "--quiet"]).expect(0);
    assert!(d.join("disk/a.vol").is_file() && d.join("disk/b/d.log").is_file());
    let r = tomo(d, &["copy", "--verify", "disk", "--json"]).expect(0);
    assert_eq!((r.json()["good"].as_u64(), r.json()["files"].as_u64()), (Some(5), Some(5)));
}

#[test]
fn a_dry_run_writes_nothing() {
    let dir = tree();
    let r = tomo(dir.path(), &["copy", "src", "disk", "--dry-run", "--json"]).expect(0);
    assert_eq!(r.json()["targets"][0]["copy_files"], 3);
    assert!(listing(&dir.path().join("disk")).is_empty());
    // The folder that a copy would make is not made.
    let r = tomo(dir.path(), &["copy", "src", "disk/beamtime", "--dry-run", "--json"]).expect(0);
    assert_eq!(r.json()["targets"][0]["copy_files"], 3);
    assert!(listing(&dir.path().join("disk")).is_empty());
    tomo(dir.path(), &["copy", "src", "none/beamtime", "--dry-run"]).expect_one_error();
    let r = tomo(dir.path(), &["copy", "src", "disk", "--dry-run", "--probe", "8M", "--json"]).expect(0);
    assert!(r.json()["targets"][0]["probe"]["write_per_s"].as_f64().unwrap() > 0.0);
    assert!(listing(&dir.path().join("disk")).is_empty());
}

#[test]
fn a_slip_in_a_pattern_is_told() {
    let dir = tree();
    let d = dir.path();
    let slips = ["copy", "src", "disk", "--include", "*.vol", "--include", "*.edf", "--exclude", "B", "--dry-run"];
    let r = tomo(d, &slips).expect(0);
    assert!(r.stdout.contains("nothing matches --include *.edf, --exclude B\n"), "{}", r.stdout);
    // Those that are of use, and a file that was named.
    for args in [&["copy", "src", "disk", "--exclude", "b", "--include", "*.vol"][..], &["copy", "src/a.vol", "disk"]] {
        let r = tomo(d, &[args, &["--dry-run"]].concat()).expect(0);
        assert!(!r.stdout.contains("nothing matches"), "{}", r.stdout);
    }
}

#[test]
fn the_last_part_of_a_further_disk_is_made_too() {
    let dir = tree();
    let d = dir.path();
    fs::create_dir(d.join("second")).unwrap();
    let args = ["copy", "src", "--to", "disk/beamtime", "--then", "second/beamtime"];
    tomo(d, &[&args[..], &["--dry-run"]].concat()).expect(0);
    assert!(listing(&d.join("disk")).is_empty() && listing(&d.join("second")).is_empty());
    // Nothing came to it in the end.
    tomo(d, &args).expect(0);
    assert!(d.join("disk/beamtime/src/a.vol").is_file() && listing(&d.join("second")).is_empty());
    tomo(d, &["copy", "src", "--to", "disk/beamtime", "--then", "none/beamtime"]).expect_one_error();
    for there in ["disk/x", "disk/beamtime"] {
        let r = tomo(d, &["copy", "src", "--to", there, "--then", there, "--dry-run"]).expect_one_error();
        assert!(r.stderr.contains("twice"), "{}", r.stderr);
    }
}

#[test]
fn bad_input_is_one_line() {
    let dir = tree();
    let d = dir.path();
    for args in [
        &["copy", "src"][..],
        &["copy", "none", "disk"],
        &["copy", "src", "disk/not/there"],
        &["copy", "src", "src/b"],
        &["copy", "src", "--to", "disk", "--to", "disk/../disk"],
        &["copy", "src", "disk", "--include", "[a"],
        &["copy", "--verify", "src"],
        &["copy", "src", "disk", "--files-from", "none"],
    ] {
        tomo(d, args).expect_one_error();
    }
    assert!(tomo(d, &["copy", "src", "disk", "--retries", "-1"]).expect(2).stderr.contains("-1"));
    assert!(listing(&d.join("disk")).is_empty());
    // Somebody else's list of sums is not touched.
    fs::write(d.join("disk/SHA256SUMS"), "mine").unwrap();
    let r = tomo(d, &["copy", "src", "disk"]).expect(1);
    assert!(r.stdout.contains("REFUSED"), "{}", r.stdout);
    assert_eq!(fs::read_to_string(d.join("disk/SHA256SUMS")).unwrap(), "mine");
    assert!(listing(Path::new(&d.join("disk"))).len() == 1);
}

/// A pipe in place of a record or a list is not waited for; a record that tells nothing is said to.
#[cfg(unix)]
#[test]
fn records_that_are_none() {
    let dir = tree();
    let d = dir.path();
    tomo(d, &["copy", "src", "disk"]).expect(0);
    let pipe = |name: &str| {
        let path = d.join("disk").join(name);
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        (path, bytes)
    };
    let (list, bytes) = pipe("SHA256SUMS");
    let r = tomo(d, &["copy", "--verify", "disk"]).expect(1);
    assert!(r.stdout.contains("no plain file"), "{}", r.stdout);
    fs::remove_file(&list).unwrap();
    fs::write(&list, bytes).unwrap();
    tomo(d, &["copy", "--verify", "disk"]).expect(0);
    fs::write(d.join("disk/tomo-copy.jsonl"), "").unwrap();
    let r = tomo(d, &["copy", "--verify", "disk"]).expect(1);
    assert!(r.stdout.contains("tells of no file"), "{}", r.stdout);
    let r = tomo(d, &["ledger", "rebuild", "disk"]).expect(0);
    assert!(r.stdout.contains("3 files"), "{}", r.stdout);
    pipe("tomo-copy.jsonl");
    for args in [&["copy", "--verify", "disk"][..], &["copy", "src", "disk"]] {
        let r = tomo(d, args).expect(2);
        assert!(r.stderr.contains("no plain file"), "{}", r.stderr);
    }
    // Patterns that nothing answers to.
    let r = tomo(d, &["copy", "src", "other", "--include", "nothing"]).expect(1);
    assert!((r.stdout + &r.stderr).contains("no file is selected"));
}
