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
    let e = tomo(d, &["disks", ".", "--probe", "--probe-size", "900T"]).expect_one_error().stderr;
    assert!(e.contains("half of the free room") && e.contains("900.0 TiB"), "{e}");
    tomo(d, &["disks", ".", "--probe-size", "1M"]).expect(2);
    tomo(d, &["estimate", "--camera", "dimax", "--probe-size", "1M"]).expect(2);
    let size = ["estimate", "--camera", "dimax", "--onto", ".", "--probe", "--probe-size", "900T"];
    tomo(d, &size).expect_one_error();
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
    for ignored in [
        &["ledger", "find", "x", "--copies", "1"][..],
        &["ledger", "--copies", "2"],
        &["ledger", "rebuild", ".", "--overwrite"],
        &["ledger", "missing", "--overwrite"],
        &["ledger", "missing", "--copies", "0"],
    ] {
        let e = tomo(d, ignored).expect_one_error().stderr;
        assert!(e.contains("belongs to") || e.contains("fewer than 0"), "{e}");
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
fn estimates_read_every_option_or_say_which_they_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    tomo(d, &["estimate", "--init", "p.toml"]).expect(0);
    tomo(d, &["estimate", "--init", "p.toml"]).expect_one_error();
    std::fs::write(d.join("p.toml"), "changed").unwrap();
    let told = tomo(d, &["estimate", "--init", "j.csv", "--json"]).expect(0).json();
    assert_eq!(told["written"], "j.csv");
    // What moves a terminal's cursor is not handed on to it from a plan; JSON has it as it is.
    std::fs::write(d.join("esc.toml"), "[[sample]]\nname = \"a\\u001b[2Jb\"\nnx = 100\nnz = 100\n").unwrap();
    let shown = tomo(d, &["estimate", "esc.toml"]).expect(0).stdout;
    assert!(shown.contains("a [2Jb") && !shown.contains('\u{1b}'), "{shown:?}");
    let told = tomo(d, &["estimate", "esc.toml", "--json"]).expect(0).json();
    assert_eq!(told["samples"][0]["name"], "a\u{1b}[2Jb");
    tomo(d, &["estimate", "--init", "p.toml", "--overwrite"]).expect(0);
    std::fs::write(d.join("q.toml"), "days = 4\ndisk = \"8TB\"\n[[sample]]\nnx = 100\nnz = 100\n").unwrap();
    std::fs::write(d.join("twice.csv"), "nx,nz,nx\n5,5,6\n").unwrap();
    for (args, word) in [
        (&["p.toml", "--scans", "3"][..], "--scans"),
        (&["p.toml", "--volumes", "1"], "--volumes"),
        (&["p.toml", "--keep-edf"], "--keep-edf"),
        (&["q.toml", "--camera", "dimax"], "--camera"),
        (&["p.toml", "q.toml"], "differ in 'days'"),
        (&["twice.csv"], "twice"),
        (&["--init", "r.toml", "--days", "3"], "--days"),
        (&["--camera", "dimax", "--nx", "2001"], "sensor"),
        (&["--camera", "dimax", "--copies", "8", "--days", "1e-300"], "0.01"),
        (&["--now", ".", "--days", "3"], "--days"),
        (&["--now", ".", "--camera", "dimax"], "--camera"),
        (&["--now", ".", "--parallel", "2"], "--parallel"),
        (&["--now", ".", "--onto", ".", "--probe"], "--probe"),
        (&["--now", ".", "--overwrite"], "overwrite"),
    ] {
        let e = tomo(d, &[&["estimate"][..], args].concat()).expect_one_error().stderr;
        assert!(e.contains(word), "{args:?}: {e}");
    }
    // What one of two plans tells alone holds, and an option decides between them.
    let e = tomo(d, &["estimate", "p.toml", "q.toml", "--days", "2", "--disk", "6TB", "--json"]).expect(0).json();
    assert_eq!((e["days"].as_f64(), e["filled"].as_str()), (Some(2.0), Some("6 TB")));
    let e = tomo(d, &["estimate", "q.toml", "--scans", "7", "--json"]).expect(0).json();
    assert_eq!(e["samples"][0]["scans"].as_u64(), Some(7), "left open by the plan");
    let n = tomo(d, &["estimate", "--now", ".", "--onto", ".", "--onto", ".", "--json"]).expect(0).json();
    assert_eq!(n["disks"].as_array().unwrap().len(), 1);
    let few =
        tomo(d, &["estimate", "--nx", "500", "--nz", "500", "--days", "0.01", "--disk", "8TB,4TB"]).expect(0).stdout;
    assert!(few.contains("14 min 24 s of beamtime"), "{few}");
    let full = ["--camera", "dimax", "--scans", "600", "--days", "3", "--disk", "8TB,4TB"];
    let full = tomo(d, &[&["estimate"][..], &full].concat()).expect(0).stdout;
    assert!(full.contains("disks of 4 TB are full after"), "{full}");
}

/// What a check found damaged waits to be copied, and the ledger that is rebuilt does not call it verified.
#[test]
fn damaged_copies_wait() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for folder in ["src", "disk"] {
        std::fs::create_dir(d.join(folder)).unwrap();
    }
    std::fs::write(d.join("src/a.nxs"), "contents").unwrap();
    tomo(d, &["copy", "src", "disk"]).expect(0);
    let waiting = || {
        let n = tomo(d, &["estimate", "--now", "src", "--onto", "disk", "--json"]).expect(0).json();
        n["waiting_files"].as_u64().unwrap()
    };
    assert_eq!(waiting(), 0);
    let copy = d.join("disk/src/a.nxs");
    let time = copy.metadata().unwrap().modified().unwrap();
    std::fs::write(&copy, "kontents").unwrap();
    std::fs::File::options().write(true).open(&copy).unwrap().set_modified(time).unwrap();
    tomo(d, &["copy", "--verify", "disk"]).expect(1);
    assert_eq!(waiting(), 1);
    let r = tomo(d, &["ledger", "rebuild", "disk"]);
    assert!(r.stdout.contains("0 of them verified"), "{}{}", r.stdout, r.stderr);
    // A typo moves nobody's file away.
    std::fs::write(d.join("thesis.txt"), "my thesis").unwrap();
    let e = tomo(d, &["ledger", "rebuild", "disk", "--ledger", "thesis.txt"]).expect_one_error().stderr;
    assert!(e.contains("this is no ledger"), "{e}");
    assert_eq!(std::fs::read_to_string(d.join("thesis.txt")).unwrap(), "my thesis");
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
