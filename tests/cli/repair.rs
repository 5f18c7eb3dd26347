//! `tomo check --repair`: the slices come back byte for byte, whenever the run is killed.

use crate::support::{command, floats, le, shared, tomo};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const N: usize = 96;
const ROWS: usize = 24;
const SLICE: usize = N * N * 4;

/// A scan and its volume.
fn made(d: &Path) -> Vec<u8> {
    let size = N.to_string();
    let args = ["simulate", "scan", "--size", &size, "--rows", "24", "--projections", "120", "--photons", "0.2"];
    tomo(d, &args).expect(0);
    tomo(d, &["recon", "scan", "-o", "v.vol", "--axis", "47.25"]).expect(0);
    fs::read(d.join("v.vol")).unwrap()
}

const REPAIR: [&str; 5] = ["check", "--repair", "scan", "--volume", "v.vol"];

fn damaged(whole: &[u8]) -> Vec<u8> {
    let mut v = whole.to_vec();
    v[4 * SLICE..7 * SLICE].fill(0);
    v[11 * SLICE + 20_000..11 * SLICE + 24_096].fill(0);
    v[15 * SLICE + 4 * (50 * N + 50)..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    v.truncate(23 * SLICE + 100);
    v
}

fn left_overs(d: &Path) -> bool {
    d.join("v.vol.repair.json").exists() || d.join("v.vol.repair.part").exists()
}

#[test]
fn what_was_broken_is_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let whole = made(d);
    let sidecars = ["v.vol.info", "v.vol.xml", "histogram_v.edf"].map(|n| (n, fs::read(d.join(n)).unwrap()));
    tomo(d, &["check", "v.vol"]).expect(0);
    fs::write(d.join("v.vol"), damaged(&whole)).unwrap();
    tomo(d, &["check", "v.vol"]).expect(1);
    let dry = tomo(d, &[&REPAIR[..], &["--dry-run"]].concat()).expect(0);
    assert!(dry.stdout.contains("4-6, 11, 15, 23"), "{}", dry.stdout);
    assert_eq!(fs::read(d.join("v.vol")).unwrap(), damaged(&whole));
    // Statistics that were made from the broken volume are made again.
    fs::write(d.join("v.vol.xml"), "<SIZEX>96</SIZEX>").unwrap();
    let r = tomo(d, &[&REPAIR[..], &["--json"]].concat()).expect(0).json();
    assert!(fs::read(d.join("v.vol")).unwrap() == whole, "not the same bytes");
    assert_eq!(r["after"]["verdict"], "good");
    assert!(r["witness"]["largest"].as_f64().unwrap() == 0.0, "{}", r["witness"]);
    for (name, bytes) in &sidecars {
        assert!(fs::read(d.join(name)).unwrap() == *bytes, "{name}");
    }
    assert!(!left_overs(d));
    let record: serde_json::Value = serde_json::from_slice(&fs::read(d.join("v.vol.recon.json")).unwrap()).unwrap();
    assert_eq!(record["repairs"][0]["slices"].as_array().unwrap().len(), 6);
    // Nothing to do, and slices by name.
    let again = tomo(d, &REPAIR).expect(0);
    assert!(again.stdout.contains("nothing to mend"), "{}", again.stdout);
    tomo(d, &[&REPAIR[..], &["--slices", "3:5"]].concat()).expect(0);
    assert!(fs::read(d.join("v.vol")).unwrap() == whole);
}

/// Of two slices that are the same either may be the wrong one: both are made again, neither is a witness.
#[test]
fn either_of_two_equal_slices_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let whole = made(d);
    for (from, to) in [(13, 12), (12, 13), (3, 20), (20, 3)] {
        let mut v = whole.clone();
        v.copy_within(from * SLICE..(from + 1) * SLICE, to * SLICE);
        v[7 * SLICE..8 * SLICE].fill(0);
        fs::write(d.join("v.vol"), &v).unwrap();
        let r = tomo(d, &[&REPAIR[..], &["--json"]].concat()).expect(0).json();
        assert!(fs::read(d.join("v.vol")).unwrap() == whole, "{from} to {to}: {}", r["slices"]);
        assert!(r["witness"]["largest"].as_f64().unwrap() == 0.0, "{}", r["witness"]);
    }
}

#[test]
fn grey_volumes_and_parts_of_a_scan_are_mended_too() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    made(d);
    let grey = [
        "recon",
        "scan",
        "-o",
        "g.raw",
        "--type",
        "uint8",
        "--limits",
        "-20,250",
        "--slices",
        "3:23:2",
        "--roi",
        "10:90,8:88",
    ];
    tomo(d, &grey).expect(0);
    let whole = fs::read(d.join("g.raw")).unwrap();
    assert_eq!(whole.len(), 10 * 80 * 80);
    let mut v = whole.clone();
    v[4 * 6400..6 * 6400].fill(0);
    fs::write(d.join("g.raw"), &v).unwrap();
    tomo(d, &["check", "--repair", "scan", "--volume", "g.raw", "--slices", "4:6"]).expect(0);
    assert!(fs::read(d.join("g.raw")).unwrap() == whole);
    // Several detector rows per slice.
    tomo(d, &["recon", "scan", "-o", "b.vol", "--bin", "2", "--slices", "2:22"]).expect(0);
    let whole = fs::read(d.join("b.vol")).unwrap();
    let slice = whole.len() / 10;
    let mut v = whole.clone();
    v[3 * slice..5 * slice].fill(0);
    v[9 * slice..].fill(0);
    fs::write(d.join("b.vol"), &v).unwrap();
    tomo(d, &["check", "--repair", "scan", "--volume", "b.vol"]).expect(0);
    assert!(fs::read(d.join("b.vol")).unwrap() == whole);
}

#[test]
fn other_raw_data_are_refused_and_nothing_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let whole = made(d);
    let broken = damaged(&whole);
    fs::write(d.join("v.vol"), &broken).unwrap();
    let other = ["simulate", "other", "--size", "96", "--rows", "24", "--projections", "120", "--axis-offset", "9"];
    tomo(d, &other).expect(0);
    let e = tomo(d, &["check", "--repair", "other", "--volume", "v.vol"]).expect_one_error();
    assert!(e.stderr.contains("comes out differently"), "{}", e.stderr);
    tomo(d, &["simulate", "small", "--size", "64", "--rows", "24", "--projections", "120"]).expect(0);
    tomo(d, &["check", "--repair", "small", "--volume", "v.vol"]).expect_one_error();
    // No record, no repair.
    fs::write(d.join("w.vol"), &broken).unwrap();
    let e = tomo(d, &["check", "--repair", "scan", "--volume", "w.vol"]).expect_one_error();
    assert!(e.stderr.contains("no record"), "{}", e.stderr);
    assert!(fs::read(d.join("v.vol")).unwrap() == broken && fs::read(d.join("w.vol")).unwrap() == broken);
    assert!(!left_overs(d));
    // Nothing of it is left to tell by: its record names other files.
    fs::write(d.join("v.vol"), vec![0u8; whole.len()]).unwrap();
    tomo(d, &["simulate", "else", "--size", "96", "--rows", "24", "--projections", "120", "--seed", "9"]).expect(0);
    let e = tomo(d, &["check", "--repair", "else", "--volume", "v.vol"]).expect_one_error();
    assert!(e.stderr.contains("its record names other raw data"), "{}", e.stderr);
    assert!(fs::read(d.join("v.vol")).unwrap().iter().all(|b| *b == 0));
    tomo(d, &REPAIR).expect(0);
    assert!(fs::read(d.join("v.vol")).unwrap() == whole);
    // Longer than it can be.
    fs::write(d.join("v.vol"), [&whole[..], &[1u8; 400]].concat()).unwrap();
    tomo(d, &REPAIR).expect_one_error();
}

#[test]
fn killed_at_any_moment_a_second_run_completes() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let whole = made(d);
    let broken = damaged(&whole);
    let info = fs::read(d.join("v.vol.info")).unwrap();
    fs::write(d.join("v.vol"), &broken).unwrap();
    let start = Instant::now();
    tomo(d, &REPAIR).expect(0);
    let usual = start.elapsed();
    let mut seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let (mut untouched, mut between, mut done) = (0, 0, 0);
    for round in 0..20 {
        fs::write(d.join("v.vol"), &broken).unwrap();
        fs::write(d.join("v.vol.info"), &info).unwrap();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wait = usual.mul_f64((seed >> 40) as f64 / f64::from(1 << 24));
        let mut run = command(d, &REPAIR)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(wait.max(Duration::from_millis(1)));
        let _ = run.kill();
        run.wait().unwrap();
        let now = fs::read(d.join("v.vol")).unwrap();
        if d.join("v.vol.repair.json").exists() {
            between += 1;
            // Slice by slice: as before, as after, or named as the one being written.
            tomo(d, &["check", "v.vol"]).expect(1);
            for z in 0..ROWS {
                let part = |v: &[u8]| v.get(z * SLICE..((z + 1) * SLICE).min(v.len())).map(<[u8]>::to_vec);
                let (old, new, now) = (part(&broken), part(&whole), part(&now));
                let said = tomo(d, &["check", "v.vol", "--json", "--quick"]).stdout;
                assert!(
                    now == new || now == old || said.contains(&format!("slice {z} was being written")),
                    "round {round}, slice {z}"
                );
            }
        } else if now == broken {
            untouched += 1;
        } else {
            assert!(now == whole, "round {round}: neither the old nor the new volume, and no journal");
            done += 1;
        }
        tomo(d, &REPAIR).expect(0);
        assert!(fs::read(d.join("v.vol")).unwrap() == whole, "round {round}");
        assert!(fs::read(d.join("v.vol.info")).unwrap() == info, "round {round}");
        assert!(!d.join("v.vol.repair.json").exists());
    }
    println!("killed {untouched} times before the journal, {between} while it stood, {done} after");
}

#[test]
fn a_journal_left_at_each_step_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let whole = made(d);
    let broken = damaged(&whole);
    fs::write(d.join("v.vol"), &broken).unwrap();
    // The state right after the journal was written, made by hand from a run on a volume that cannot be written to.
    let slices = [4usize, 5, 6, 11, 15, 23];
    let data: Vec<u8> = slices.iter().flat_map(|z| whole[z * SLICE..(z + 1) * SLICE].to_vec()).collect();
    let sha = |b: &[u8]| {
        use sha2::{Digest, Sha256};
        Sha256::digest(b).iter().map(|b| format!("{b:02x}")).collect::<String>()
    };
    let entries: Vec<serde_json::Value> = slices
        .iter()
        .map(|z| serde_json::json!({ "slice": z, "new": sha(&whole[z * SLICE..(z + 1) * SLICE]), "old": broken.get(z * SLICE..(z + 1) * SLICE).map(sha) }))
        .collect();
    let journal = serde_json::json!({
        "software": "tomokit", "scan": "scan", "shape": { "frames": 24, "rows": 96, "cols": 96 }, "dtype": "float32",
        "meta": { "voxel_um": null, "origin_1based": null, "value_unit": null, "grey": null, "stats": null, "description": null },
        "slices": entries,
    });
    for written in 0..=slices.len() {
        let mut v = broken.clone();
        for z in &slices[..written] {
            v.resize(v.len().max((z + 1) * SLICE), 0);
            v[z * SLICE..(z + 1) * SLICE].copy_from_slice(&whole[z * SLICE..(z + 1) * SLICE]);
        }
        if let Some(z) = slices.get(written).filter(|z| **z < 20) {
            // Half of the next one.
            v[z * SLICE..z * SLICE + SLICE / 2].copy_from_slice(&whole[z * SLICE..z * SLICE + SLICE / 2]);
        }
        fs::write(d.join("v.vol"), &v).unwrap();
        fs::write(d.join("v.vol.repair.part"), &data).unwrap();
        fs::write(d.join("v.vol.repair.json"), journal.to_string()).unwrap();
        let said = tomo(d, &["check", "v.vol"]).expect(1).stdout;
        assert!(said.contains("interrupted"), "{said}");
        tomo(d, &REPAIR).expect(0);
        assert!(fs::read(d.join("v.vol")).unwrap() == whole, "{written}");
        assert!(!left_overs(d));
    }
    // Another volume of that name is not written to.
    let other: Vec<u8> = le(&floats(whole.len() / 4));
    for other in [&other[..], &other[..SLICE * 20], &[&other[..], &other[..SLICE]].concat()] {
        fs::write(d.join("v.vol"), other).unwrap();
        fs::write(d.join("v.vol.repair.part"), &data).unwrap();
        fs::write(d.join("v.vol.repair.json"), journal.to_string()).unwrap();
        let e = tomo(d, &REPAIR).expect_one_error();
        assert!(e.stderr.contains("of another volume"), "{}", e.stderr);
        assert!(fs::read(d.join("v.vol")).unwrap() == other);
    }
    // New slices that are not what the journal says are not written.
    fs::write(d.join("v.vol"), &broken).unwrap();
    fs::write(d.join("v.vol.repair.part"), le(&floats(data.len() / 4))).unwrap();
    fs::write(d.join("v.vol.repair.json"), journal.to_string()).unwrap();
    tomo(d, &REPAIR).expect_one_error();
    assert!(fs::read(d.join("v.vol")).unwrap() == broken);
}

#[test]
fn a_pyhst_volume_is_mended_from_its_par() {
    let (Some(_), Some(folder)) = (shared("25-pyhst2-output/tooth.vol"), shared("25-pyhst2-output")) else { return };
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for name in ["tooth.vol", "tooth.vol.info", "tooth.vol.xml", "tooth.par"] {
        fs::write(d.join(name), fs::read(folder.join(name)).unwrap()).unwrap();
    }
    fs::create_dir(d.join("tooth-input-edf")).unwrap();
    for e in fs::read_dir(folder.join("tooth-input-edf")).unwrap() {
        let e = e.unwrap();
        fs::write(d.join("tooth-input-edf").join(e.file_name()), fs::read(e.path()).unwrap()).unwrap();
    }
    let mut v = fs::read(d.join("tooth.vol")).unwrap();
    let theirs = v.clone();
    let half = v.len() / 2;
    v[half..].fill(0);
    fs::write(d.join("tooth.vol"), &v).unwrap();
    tomo(d, &["check", "tooth.vol"]).expect(1);
    tomo(d, &["check", "--repair", "tooth.par", "--volume", "tooth.vol"]).expect(0);
    let mended = fs::read(d.join("tooth.vol")).unwrap();
    assert!(mended[..half] == theirs[..half], "the healthy slice was touched");
    let f = |b: &[u8]| b.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect::<Vec<_>>();
    let (a, b) = (f(&theirs[half..]), f(&mended[half..]));
    let rms = |v: &mut dyn Iterator<Item = f32>| v.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    let relative = rms(&mut a.iter().zip(&b).map(|(a, b)| a - b)) / rms(&mut a.iter().copied());
    println!("mended against PyHST2's own slice: {relative:.5}");
    // PyHST2 computes in single precision, on a grid of its own.
    assert!(relative < 0.05, "{relative}");
}
