//! `tomo disks`, `tomo ledger` and `tomo estimate` from outside.

use crate::support::tomo;

#[test]
fn disks_speak_json_and_words() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let all = tomo(d, &["disks", "--json"]).expect(0).json();
    assert!(!all["disks"].as_array().unwrap().is_empty());
    let one = tomo(d, &["disks", ".", "--json"]).expect(0).json();
    assert!(one["disks"][0]["total"].as_u64().unwrap() > 0);
    let text = tomo(d, &["disks", "."]).expect(0).stdout;
    assert!(text.contains("size") && text.contains("iB)"), "{text}");
    tomo(d, &["disks", "none"]).expect_one_error();
    tomo(d, &["disks", "--probe"]).expect(2);
    let r =
        tomo(d, &["disks", ".", "--probe", "--probe-size", "1M", "--ledger", "l.sqlite", "--json"]).expect(0).json();
    assert!(r["disks"][0]["speed"]["write_per_s"].as_f64().unwrap() > 0.0);
    assert!(crate::support::listing(d).is_empty(), "nothing is left");
}

#[test]
fn a_ledger_that_is_not_there_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for action in ["disks", "scans", "missing", "find", "export"] {
        let r = tomo(d, &["ledger", action, "--ledger", "none.sqlite"]).expect_one_error();
        assert!(r.stderr.contains("none.sqlite"), "{}", r.stderr);
    }
    let r = tomo(d, &["ledger", "rebuild", ".", "--ledger", "l.sqlite"]).expect_one_error();
    assert!(r.stderr.contains("no record"), "{}", r.stderr);
    assert!(crate::support::listing(d).is_empty());
}

#[test]
fn estimates_answer_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let camera = ["estimate", "--camera", "orca-flash", "--projections", "2000"];
    let one = tomo(d, &camera).expect(0).stdout;
    assert!(one.contains("51.1 GB (47.6 GiB)"), "{one}");
    assert!(one.contains("1 disk of 4 TB"), "{one}");
    let many = tomo(d, &[&camera[..], &["--scans", "600", "--days", "3"]].concat()).expect(0).stdout;
    assert!(
        many.contains("FALLS BEHIND") && many.contains("3 disks at the same time") && many.contains("8 bits"),
        "{many}"
    );
    let three =
        tomo(d, &[&camera[..], &["--scans", "600", "--days", "3", "--parallel", "3"]].concat()).expect(0).stdout;
    assert!(three.contains("keeps up") && !three.contains("FALLS BEHIND"), "{three}");
    for bad in [
        &["estimate"][..],
        &["estimate", "--camera", "kodak"],
        &["estimate", "--camera", "dimax", "--days", "0"],
        &["estimate", "none.toml"],
        &["estimate", "--now", "none"],
        &["estimate", "--camera", "dimax", "--disk", "4"],
    ] {
        tomo(d, bad).expect_one_error();
    }
}

#[test]
fn the_machine_that_reconstructs_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let bench = tomo(d, &["bench", "--sizes", "32", "--json"]).expect(0).stdout;
    std::fs::write(d.join("bench.json"), bench).unwrap();
    let e = tomo(d, &["estimate", "--nx", "64", "--nz", "10", "--bench", "bench.json", "--json"]).expect(0).json();
    assert!(e["reconstruct_hours"].as_f64().unwrap() > 0.0 && e["machine"].as_str().unwrap().contains("extrapolated"));
    std::fs::write(d.join("bench.json"), "{}").unwrap();
    tomo(d, &["estimate", "--nx", "64", "--nz", "10", "--bench", "bench.json"]).expect_one_error();
}
