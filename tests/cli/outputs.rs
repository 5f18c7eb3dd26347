//! What an output may replace, what stands beside it, and what scripts are told of it.

use crate::support::{floats, le, listing, read_floats, tomo};
use std::fs;
use std::path::Path;

const SHAPE: (usize, usize, usize) = (12, 64, 64);

fn write(dir: &Path, name: &str, v: &[f32]) {
    let (z, y, x) = SHAPE;
    fs::write(dir.join(name), le(v)).unwrap();
    fs::write(dir.join(format!("{name}.info")), format!("NUM_X = {x}\nNUM_Y = {y}\nNUM_Z = {z}\n")).unwrap();
}

/// Float volumes `a.vol` and `b.vol`.
fn volumes(dir: &Path) -> Vec<f32> {
    let v = floats(SHAPE.0 * SHAPE.1 * SHAPE.2);
    write(dir, "a.vol", &v);
    write(dir, "b.vol", &v.iter().map(|v| v + 2.0).collect::<Vec<_>>());
    v
}

/// Every file below a folder with its contents.
fn everything(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let files = walkdir::WalkDir::new(dir).sort_by_file_name().into_iter().map(|e| e.unwrap().into_path());
    files.filter(|p| p.is_file()).map(|p| (p.clone(), fs::read(p).unwrap())).collect()
}

#[test]
fn a_folder_is_replaced_only_where_it_is_an_earlier_output() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volumes(d);
    tomo(d, &["simulate", "s", "--size", "32", "--rows", "8", "--projections", "20"]).expect(0);
    for layout in ["tiff", "edf"] {
        tomo(d, &["simulate", layout, "--size", "32", "--rows", "8", "--projections", "20", "--layout", layout])
            .expect(0);
    }
    fs::create_dir(d.join("mine")).unwrap();
    fs::write(d.join("mine/notes.txt"), "precious").unwrap();
    let before = everything(d);
    for folder in ["s", "tiff", "edf", "mine"] {
        for to in ["tiff", "edf"] {
            for tool in ["convert", "recad"] {
                let out: &[&str] = if tool == "recad" { &["-o", folder] } else { &[folder] };
                let args = [&[tool, "a.vol"], out, &["--to", to, "--overwrite"]].concat();
                let said = tomo(d, &args).expect_one_error().stderr;
                assert!(said.contains("more than an earlier output"), "{args:?}: {said}");
                // and beforehand
                tomo(d, &[&args[..], &["--dry-run"]].concat()).expect_one_error();
            }
        }
        tomo(d, &["convert", "a.vol", folder, "--to", "png", "--window", "auto", "--overwrite"]).expect_one_error();
        tomo(d, &["recon", "s", "-o", folder, "--to", "tiff", "--overwrite"]).expect_one_error();
    }
    assert!(everything(d) == before);
    for (name, to) in [("t", "tiff"), ("e", "edf"), ("p", "png")] {
        for more in [&[][..], &["--overwrite"], &["--overwrite", "--slices", "0:3"]] {
            let window: &[&str] = if to == "png" { &["--window", "auto"] } else { &[] };
            tomo(d, &[&["convert", "a.vol", name, "--to", to], window, more].concat()).expect(0);
        }
        assert_eq!(fs::read_dir(d.join(name)).unwrap().count(), 3, "{to}");
    }
    tomo(d, &["simulate", "s", "--size", "32", "--rows", "8", "--projections", "21", "--overwrite"]).expect(0);
}

/// Unfinished data, descriptions and records have the output's name with a suffix: no input may.
#[test]
fn an_input_survives_an_output_whose_name_it_begins_with() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let v = volumes(d);
    for name in ["x.vol.part", "x.tif.part", "x.npy.part", "x.h5.part"] {
        write(d, name, &v);
    }
    tomo(d, &["convert", "a.vol", "s", "--to", "tiff"]).expect(0);
    fs::rename(d.join("s"), d.join("s.part")).unwrap();
    tomo(d, &["convert", "a.vol", "m.raw"]).expect(0);
    let header = fs::read_to_string(d.join("m.raw.mhd")).unwrap();
    fs::write(d.join("m.raw.mhd"), header.replace("m.raw", "b.vol")).unwrap();
    tomo(d, &["convert", "a.vol", "ts", "--to", "tiff"]).expect(0);
    let before = everything(d);
    for name in ["x.vol", "x.tif", "x.npy", "x.h5"] {
        let part = format!("{name}.part");
        let read = ["--dims", "64x64x12", "--dtype", "float32"];
        tomo(d, &[&["convert", &part, name][..], &read].concat()).expect_one_error();
        tomo(d, &[&["recad", &part, "-o", name, "--low", "0", "--high", "1"][..], &read].concat()).expect_one_error();
    }
    for tool in [&["convert", "s.part", "s", "--to", "tiff"][..], &["recad", "s.part", "-o", "s", "--to", "tiff"]] {
        tomo(d, tool).expect_one_error();
    }
    tomo(d, &["convert", "m.raw.mhd", "m.raw", "--overwrite"]).expect_one_error();
    // The folder that a series of this name goes to.
    tomo(d, &["convert", "ts", "ts.tif", "--variant", "series", "--slices", "0:3", "--overwrite"]).expect_one_error();
    assert!(everything(d) == before);
}

/// A separator at the end, as a terminal's completion leaves it.
#[test]
fn a_folder_may_be_named_with_a_separator() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volumes(d);
    for (name, to) in [("t", "tiff"), ("e", "edf"), ("p", "png")] {
        for more in [&[][..], &["--overwrite"]] {
            let slashed = format!("{name}/");
            let window: &[&str] = if to == "png" { &["--window", "auto"] } else { &["--verify"] };
            tomo(d, &[&["convert", "a.vol", &slashed, "--to", to], window, more].concat()).expect(0);
            if to != "png" {
                tomo(d, &[&["recad", "a.vol", "-o", &format!("r{name}/"), "--to", to], more].concat()).expect(0);
                assert!(d.join(format!("r{name}.recad.json")).is_file());
            }
        }
        assert_eq!(fs::read_dir(d.join(name)).unwrap().count(), 12);
    }
    tomo(d, &["recad", "a.vol", "-o", "q.tif", "--variant", "series"]).expect(0);
    assert!(d.join("q.recad.json").is_file() && d.join("q/q_0000.tif").is_file());
    assert!(!listing(d).iter().any(|n| n.contains("part")), "{:?}", listing(d));
}

/// A receipt speaks of the volume it was made with, and of no other.
#[test]
fn records_go_with_the_volume_they_speak_of() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volumes(d);
    for (name, to) in [("r.npy", "npy"), ("r.raw", "raw"), ("r", "tiff")] {
        tomo(d, &["recad", "a.vol", "-o", name, "--to", to]).expect(0);
        let receipt = d.join(format!("{name}.recad.json"));
        let first = fs::read(&receipt).unwrap();
        // A run that fails leaves both.
        tomo(d, &["convert", "a.vol", name, "--to", to]).expect_one_error();
        tomo(d, &["recad", "a.vol", "-o", name, "--to", to, "--overwrite", "--plot", "nowhere/p.png"])
            .expect_one_error();
        assert!(fs::read(&receipt).unwrap() == first);
        tomo(d, &["convert", "b.vol", name, "--to", to, "--overwrite"]).expect(0);
        assert!(!receipt.exists(), "{name}: {:?}", listing(d));
        tomo(d, &["compare", "b.vol", name]).expect(0);
    }
    tomo(d, &["simulate", "s", "--size", "32", "--rows", "8", "--projections", "20"]).expect(0);
    tomo(d, &["recon", "s", "-o", "v.vol"]).expect(0);
    tomo(d, &["convert", "b.vol", "v.vol", "--overwrite"]).expect(0);
    assert!(!d.join("v.vol.recon.json").exists());
    assert!(!listing(d).iter().any(|n| n.contains("part")), "{:?}", listing(d));
}

/// The scale of greys goes along where it stands in a receipt only.
#[test]
fn a_receipts_scale_goes_into_the_copy() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volumes(d);
    tomo(d, &["recad", "a.vol", "-o", "r.npy"]).expect(0);
    for copy in ["c.tif", "c.h5", "c.raw"] {
        tomo(d, &["convert", "r.npy", copy]).expect(0);
        let said = tomo(d, &["compare", "a.vol", copy, "--json"]).expect(0).json();
        assert!(said["tolerance"].as_f64().unwrap() > 0.0, "{copy}");
    }
    // Widened, it is the same volume.
    tomo(d, &["convert", "c.tif", "wide.tif", "--type", "float32"]).expect(0);
    let said = tomo(d, &["compare", "c.tif", "wide.tif", "--json"]).expect(0).json();
    assert_eq!((said["differing"].as_u64(), said["max"].as_f64()), (Some(0), Some(0.0)));
    // A receipt that was changed by hand.
    let text = fs::read_to_string(d.join("r.npy.recad.json")).unwrap();
    let scale = text.find("\"slope\":").unwrap() + 8;
    let end = scale + text[scale..].find(',').unwrap();
    for bad in ["0", "-0.5", "1e308", "1e-320"] {
        fs::write(d.join("r.npy.recad.json"), format!("{}{bad}{}", &text[..scale], &text[end..])).unwrap();
        for args in [&["compare", "a.vol", "r.npy"][..], &["recad", "r.npy", "--undo", "-o", "u.vol"]] {
            assert!(tomo(d, args).expect_one_error().stderr.contains("slope"), "{bad}");
        }
    }
}

/// What an interrupted run of something else left is not gone on with.
#[test]
fn only_its_own_left_over_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volumes(d);
    let half = ["--slices", "0:5"];
    let left = |name: &str, to: &str| {
        tomo(d, &[&["convert", "b.vol", "left", "--to", to, "--overwrite"][..], &half].concat()).expect(0);
        fs::rename(d.join("left"), d.join(format!("{name}.part"))).unwrap();
    };
    for to in ["tiff", "edf"] {
        left("x", to);
        let before = everything(d);
        let e = tomo(d, &["convert", "a.vol", "x", "--to", to, "--resume"]).expect_one_error();
        assert!(e.stderr.contains("not made of this input"), "{}", e.stderr);
        assert!(everything(d) == before);
        fs::remove_dir_all(d.join("x.part")).unwrap();
    }
}

/// One document, with everything in it.
#[test]
fn scripts_hear_of_every_item() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volumes(d);
    fs::create_dir(d.join("in")).unwrap();
    for name in ["a.vol", "a.vol.info", "b.vol", "b.vol.info"] {
        fs::copy(d.join(name), d.join("in").join(name)).unwrap();
    }
    fs::write(d.join("in/c.npy"), b"\x93NUMPY\x01\0broken").unwrap();
    let items = tomo(d, &["convert", "in", "out", "--to", "npy", "--json"]).expect(2).json();
    let items = items.as_array().unwrap();
    assert_eq!(items.len(), 3);
    assert!(items.iter().all(|i| i["input"].as_str().unwrap().starts_with("in")));
    assert_eq!(items.iter().filter(|i| i["error"].is_string()).count(), 1);
    fs::create_dir(d.join("eight")).unwrap();
    let inputs = ["in/a.vol", "in/c.npy", "in/b.vol"];
    let all = tomo(d, &[&["recad"][..], &inputs, &["-o", "eight", "--json"]].concat()).expect(2).json();
    assert_eq!(all.as_array().unwrap().iter().map(|i| i["input"].as_str().unwrap()).collect::<Vec<_>>(), inputs);
    assert!(all[1]["error"].is_string() && all[2]["outputs"].is_array());
    let told = tomo(d, &["info", "in/c.npy", "in/b.vol", "--json"]).expect(2).json();
    assert_eq!(told.as_array().unwrap().len(), 2);
    // Two of one name go nowhere.
    fs::copy(d.join("in/a.vol"), d.join("in/a.raw")).unwrap();
    fs::copy(d.join("in/a.vol.info"), d.join("in/a.raw.info")).unwrap();
    let e = tomo(d, &["convert", "in", "out2", "--to", "npy"]).expect_one_error();
    assert!(e.stderr.contains("same output") && !d.join("out2").exists(), "{}", e.stderr);
    assert!(read_floats(&d.join("in/a.vol")) == read_floats(&d.join("a.vol")));
}

#[test]
fn options_that_mean_nothing_here_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volumes(d);
    let before = listing(d);
    for args in [
        &["convert", "a.vol", "x.npy", "--variant", "multi"][..],
        &["convert", "a.vol", "x.raw", "--compression", "deflate"],
        &["convert", "a.vol", "x.npy", "--flip-rows"],
        &["convert", "a.vol", "x.npy", "--dataset", "/entry/data"],
        &["recad", "a.vol", "-o", "x.raw", "--variant", "series"],
    ] {
        tomo(d, args).expect_one_error();
    }
    assert_eq!(listing(d), before);
}

/// Folders of unfinished data have the output's name with `.part`: a user's own of that name is no left-over.
#[test]
fn a_users_folder_is_no_left_over() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volumes(d);
    for name in ["ser.part", "ser.old.part"] {
        fs::create_dir(d.join(name)).unwrap();
        fs::write(d.join(name).join("thesis.txt"), "precious").unwrap();
        for args in [&["convert", "a.vol", "ser"][..], &["recad", "a.vol", "-o", "ser"]] {
            let e = tomo(d, &[args, &["--to", "tiff"]].concat()).expect_one_error();
            assert!(e.stderr.contains("thesis.txt"), "{}", e.stderr);
        }
        assert!(d.join(name).join("thesis.txt").is_file());
        fs::remove_dir_all(d.join(name)).unwrap();
    }
    // What a run that was killed left goes.
    fs::create_dir(d.join("ser.part")).unwrap();
    fs::write(d.join("ser.part/ser_0000.tif"), "half").unwrap();
    tomo(d, &["convert", "a.vol", "ser", "--to", "tiff", "--verify"]).expect(0);
}

/// Whatever speaks of a volume goes with it: an interrupted repair of it, headers for other programs, a receipt of another.
#[test]
fn nothing_beside_a_new_volume_speaks_of_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    volumes(d);
    tomo(d, &["recad", "a.vol", "-o", "d.raw"]).expect(0);
    for name in ["d.raw.repair.json", "d.raw.repair.part"] {
        fs::write(d.join(name), "of the old one").unwrap();
    }
    tomo(d, &["recad", "a.vol", "-o", "d.raw", "--bits", "16", "--overwrite", "--no-sidecars"]).expect(0);
    let beside: Vec<String> = listing(d).into_iter().filter(|n| n.starts_with("d.raw")).collect();
    assert_eq!(beside, ["d.raw", "d.raw.info", "d.raw.recad.json"]);
    let small = ["--size", "32", "--rows", "8", "--projections", "20"];
    tomo(d, &[&["simulate", "s", "--truth", "d.raw", "--overwrite"][..], &small].concat()).expect(0);
    assert!(!d.join("d.raw.recad.json").exists());
    // Left alone without its volume, it is nobody's to remove.
    for name in ["o.raw.recad.json", "o.raw.mhd", "o.raw.repair.json"] {
        fs::write(d.join(name), "precious").unwrap();
        for args in
            [&["convert", "a.vol", "o.raw"][..], &["recad", "a.vol", "-o", "o.raw"], &["recon", "s", "-o", "o.raw"]]
        {
            tomo(d, &[args, &["--no-sidecars"]].concat()).expect_one_error();
        }
        assert_eq!(fs::read_to_string(d.join(name)).unwrap(), "precious");
        fs::remove_file(d.join(name)).unwrap();
    }
    // Replaced by another program, which knows nothing of receipts.
    tomo(d, &["recad", "a.vol", "-o", "y.npy", "--bits", "16"]).expect(0);
    tomo(d, &["recad", "a.vol", "-o", "z.npy"]).expect(0);
    fs::copy(d.join("z.npy"), d.join("y.npy")).unwrap();
    for args in [&["recad", "y.npy", "--undo", "-o", "u.vol"][..], &["compare", "a.vol", "y.npy"]] {
        assert!(tomo(d, args).expect_one_error().stderr.contains("of another volume"));
    }
}

/// A name that is no Unicode is no reason to lose a volume's record, or its repair.
#[cfg(unix)]
#[test]
fn paths_of_any_bytes_are_recorded() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let odd = std::ffi::OsStr::from_bytes(b"caf\xe9").to_owned();
    tomo(d, &["simulate", "s", "--size", "64", "--rows", "12", "--projections", "90", "--photons", "0.2"]).expect(0);
    if fs::rename(d.join("s"), d.join(&odd)).is_err() {
        return; // a file system that holds no such names
    }
    let words = |w: &[&str]| -> Vec<std::ffi::OsString> { w.iter().map(Into::into).collect() };
    let [recon, out] = [words(&["recon"]), words(&["-o", "v.vol"])];
    tomo(d, &[recon, vec![odd.clone()], out].concat()).expect(0);
    let whole = fs::read(d.join("v.vol")).unwrap();
    let mut broken = whole.clone();
    broken[3 * 64 * 64 * 4..5 * 64 * 64 * 4].fill(0);
    fs::write(d.join("v.vol"), &broken).unwrap();
    tomo(d, &[words(&["check", "--repair"]), vec![odd], words(&["--volume", "v.vol"])].concat()).expect(0);
    assert!(fs::read(d.join("v.vol")).unwrap() == whole);
}
