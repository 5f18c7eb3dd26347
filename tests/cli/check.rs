//! `tomo check` on corpora made here: damaged volumes and what must be said of each, healthy ones that must pass.

use crate::support::{le, tomo};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Columns and rows, slices.
pub const N: usize = 96;
const Z: usize = 40;

pub fn info(x: usize, y: usize, z: usize) -> String {
    format!("NUM_X = {x}\nNUM_Y = {y}\nNUM_Z = {z}\n")
}

pub fn write(path: &Path, bytes: &[u8], info: &str) {
    fs::write(path, bytes).unwrap();
    fs::write(format!("{}.info", path.display()), info).unwrap();
}

/// A small, even noise: the middle 24 bits of a hash.
pub fn noise(i: u64) -> f32 {
    let mut h = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    h = (h ^ (h >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((h >> 24) & 0xff_ffff) as f32 / 16_777_216.0 - 0.5
}

/// What a reconstruction looks like: exact zeros outside a circle, noise, and structure that changes from slice to slice.
pub fn body(nx: usize, ny: usize, nz: usize, grain: f32) -> Vec<f32> {
    let mut v = Vec::with_capacity(nx * ny * nz);
    for z in 0..nz {
        for y in 0..ny {
            for x in 0..nx {
                let (dx, dy) = (x as f32 - nx as f32 / 2.0 + 0.5, y as f32 - ny as f32 / 2.0 + 0.5);
                if dx.hypot(dy) > nx.min(ny) as f32 / 2.0 {
                    v.push(0.0);
                    continue;
                }
                let (fx, fy, fz) = (x as f32 / nx as f32, y as f32 / ny as f32, z as f32 / 24.0);
                let smooth =
                    (7.0 * fx + 3.0 * fz).sin() + (5.0 * fy - 2.0 * fz).cos() + (9.0 * (fx + fy) + 5.0 * fz).sin();
                v.push(2.0 + 0.4 * smooth + grain * noise(((z * ny + y) * nx + x) as u64));
            }
        }
    }
    v
}

pub fn check(dir: &Path, name: &str) -> Value {
    let r = tomo(dir, &["check", name, "--json"]);
    assert!(r.code == 0 || r.code == 1, "{name}: {}", r.stderr);
    let j = r.json();
    assert_eq!(r.code, i32::from(j["items"].as_array().unwrap().iter().any(|i| i["verdict"] != "good")), "{name}");
    j
}

/// Cut across another axis, a round field is as wide as a chord: no loss, unless more is missing.
#[test]
fn a_round_field_cut_sideways() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for (size, rows) in [(96usize, 24usize), (200, 30)] {
        let args = ["simulate", "s", "--size", &size.to_string(), "--rows", &rows.to_string(), "--photons", "0.2"];
        tomo(d, &[&args[..], &["--projections", "150", "--overwrite"]].concat()).expect(0);
        tomo(d, &["recon", "s", "-o", "v.vol", "--overwrite"]).expect(0);
        for axis in ["x", "y"] {
            tomo(d, &["convert", "v.vol", "side.raw", "--axis", axis, "--overwrite"]).expect(0);
            let item = &check(d, "side.raw")["items"][0];
            assert_eq!(said(item), ("good".into(), vec![]), "{size} {axis}");
            let mut lost = std::fs::read(d.join("side.raw")).unwrap();
            let middle = size / 2;
            lost[middle * rows * size * 4..][..rows * size * 2].fill(0);
            std::fs::write(d.join("side.raw"), &lost).unwrap();
            let item = &check(d, "side.raw")["items"][0];
            let (verdict, why) = said(item);
            assert!(verdict == "broken" && why[0].contains(&format!("slice {middle} ")), "{why:?}");
        }
    }
}

/// The same of parts of a round field, of other frames and of greys.
#[test]
fn parts_of_a_round_field_cut_sideways() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let args = ["simulate", "s", "--size", "96", "--rows", "24", "--photons", "0.2", "--projections", "150"];
    tomo(d, &args).expect(0);
    for (more, axes) in [
        (&["--size", "96x60"][..], &["x", "y"][..]),
        (&["--size", "60x96"], &["x", "y"]),
        (&["--roi", "40:96,0:48"], &["x", "y"]),
        (&["--detector-frame", "--axis", "40"], &["y"]),
    ] {
        tomo(d, &[&["recon", "s", "-o", "v.vol", "--overwrite"], more].concat()).expect(0);
        for axis in axes {
            tomo(d, &["convert", "v.vol", "side.raw", "--axis", axis, "--overwrite"]).expect(0);
            let (verdict, why) = said(&check(d, "side.raw")["items"][0]);
            assert_ne!(verdict, "broken", "{more:?} {axis}: {why:?}");
        }
    }
}

/// A mask of NaN is the same in every slice: what moves, or comes on top of it, is none of it.
#[test]
fn not_a_number_in_and_out_of_a_mask() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let (nx, ny, nz) = (64, 64, 16);
    let masked = |extra: &dyn Fn(usize, usize) -> bool, mask: bool| -> Vec<u8> {
        let mut v = body(nx, ny, nz, 0.1);
        for (i, v) in v.iter_mut().enumerate() {
            let (z, y, x) = (i / (nx * ny), i / nx % ny, i % nx);
            let out = mask && (x as f64 - 31.5).hypot(y as f64 - 31.5) > 31.0;
            *v = if out || extra(z, y * nx + x) { f32::NAN } else { *v };
        }
        crate::support::le(&v)
    };
    let verdict = |bytes: &[u8]| {
        write(&d.join("v.vol"), bytes, &info(nx, ny, nz));
        said(&check(d, "v.vol")["items"][0])
    };
    assert_eq!(verdict(&masked(&|_, _| false, true)), ("good".into(), vec![]));
    let (word, why) = verdict(&masked(&|z, i| z == 5 && (2000..2010).contains(&i), true));
    assert!(word == "broken" && why.len() == 1 && why[0].contains("slice 5"), "{why:?}");
    // Two rows, as many in every slice, but not the same ones.
    let (word, why) = verdict(&masked(&|z, i| (i / nx).wrapping_sub(20 + z) < 2, false));
    assert!(word == "broken" && !why.is_empty(), "{why:?}");
}

/// What cannot be looked at is neither good nor broken; what lost its head is not good.
#[test]
fn what_cannot_be_looked_at_is_not_good() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    std::fs::create_dir(d.join("f")).unwrap();
    let v = body(64, 64, 40, 0.1);
    write(&d.join("v.vol"), &crate::support::le(&v), &info(64, 64, 40));
    for name in ["f/a.npy", "f/b.edf", "f/c.tif"] {
        tomo(d, &["convert", "v.vol", name]).expect(0);
    }
    assert_eq!(check(d, "f")["items"].as_array().unwrap().len(), 3);
    for name in ["f/a.npy", "f/b.edf", "f/c.tif"] {
        let mut bytes = std::fs::read(d.join(name)).unwrap();
        bytes[..4096].fill(0);
        std::fs::write(d.join(name), bytes).unwrap();
    }
    for item in check(d, "f")["items"].as_array().unwrap() {
        assert_ne!(item["verdict"], "good", "{item}");
    }
    // Larger than the memory allowed.
    let big = vec![1u8; 4000 * 4000];
    std::fs::write(d.join("big.raw"), big.iter().enumerate().map(|(i, _)| (i * 31 % 251) as u8).collect::<Vec<_>>())
        .unwrap();
    tomo(
        d,
        &["convert", "big.raw", "big.tif", "--dims", "4000x4000x1", "--dtype", "uint8", "--compression", "deflate"],
    )
    .expect(0);
    let run = tomo(d, &["check", "big.tif", "--json", "--memory", "16M"]).expect(2).json();
    assert_eq!(run["items"][0]["findings"][0]["kind"], "not-looked-at");
    assert_eq!(run["items"][0]["verdict"], "suspicious");
    tomo(d, &["check", "big.tif", "--memory", "1G"]).expect(0);
}

/// What 64 bits hold and 32 do not is neither infinite nor zero.
#[test]
fn large_and_small_numbers_of_64_bits() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let v = body(64, 64, 16, 0.1);
    for scale in [1e300, 1e-300] {
        let bytes: Vec<u8> = v.iter().flat_map(|v| (f64::from(*v) * scale).to_le_bytes()).collect();
        std::fs::write(d.join("v.raw"), &bytes).unwrap();
        tomo(d, &["convert", "v.raw", "v.npy", "--dims", "64x64x16", "--dtype", "float64", "--overwrite"]).expect(0);
        let item = &check(d, "v.npy")["items"][0];
        let kinds = said(item).1;
        assert!(!kinds.iter().any(|k| k.contains("not_finite") || k.contains("zero")), "{kinds:?}");
    }
}

/// Verdict, and every finding that is no remark, as one line each.
pub fn said(item: &Value) -> (String, Vec<String>) {
    let findings = item["findings"].as_array().unwrap().iter().filter(|f| f["weight"] != "remark");
    let line = |f: &Value| format!("{} {} {}", f["kind"].as_str().unwrap(), f["slices"], f["text"].as_str().unwrap());
    (item["verdict"].as_str().unwrap().to_owned(), findings.map(line).collect())
}

/// Damage, the verdict it must get, the kind that must be among the findings, slices it must name.
struct Case {
    name: &'static str,
    harm: fn(&mut Vec<u8>),
    verdict: &'static str,
    kind: &'static str,
    slices: Option<(usize, usize)>,
    /// Must be in the text.
    says: &'static str,
}

const SLICE: usize = N * N * 4;

pub fn slice(v: &mut [u8], z: usize) -> &mut [u8] {
    &mut v[z * SLICE..(z + 1) * SLICE]
}

fn map(v: &mut [u8], f: impl Fn(f32) -> f32) {
    for b in v.chunks_exact_mut(4) {
        let x = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        if x != 0.0 {
            b.copy_from_slice(&f(x).to_le_bytes());
        }
    }
}

fn tile(v: &mut [u8], z: usize, rows: std::ops::Range<usize>, cols: std::ops::Range<usize>) {
    for y in rows {
        slice(v, z)[(y * N + cols.start) * 4..(y * N + cols.end) * 4].fill(0);
    }
}

fn exchange(v: &mut [u8], a: usize, b: usize) {
    let (x, y) = v.split_at_mut(b * SLICE);
    x[a * SLICE..(a + 1) * SLICE].swap_with_slice(&mut y[..SLICE]);
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { name: "one slice is zero", harm: |v| slice(v, 17).fill(0), verdict: "broken", kind: "zero-slices", slices: Some((17, 18)), says: "slice 17 is entirely zero" },
    Case { name: "a slab of zero slices", harm: |v| v[20 * SLICE..29 * SLICE].fill(0), verdict: "broken", kind: "zero-slices", slices: Some((20, 29)), says: "slices 20-28" },
    Case { name: "zero at both ends", harm: |v| { slice(v, 0).fill(0); slice(v, 39).fill(0) }, verdict: "broken", kind: "zero-slices", slices: Some((0, 1)), says: "slice 0" },
    Case { name: "half a run: zero from the middle on", harm: |v| v[18 * SLICE..].fill(0), verdict: "broken", kind: "zero-slices", slices: Some((18, 40)), says: "slices 18-39" },
    Case { name: "blocks of 64 KiB lost in the middle", harm: |v| v[10 * 65536..14 * 65536].fill(0), verdict: "broken", kind: "zero-block", slices: Some((17, 25)), says: "KiB" },
    Case { name: "one block of 4 KiB lost", harm: |v| { let a = (12 * SLICE + SLICE / 2).next_multiple_of(4096); v[a..a + 4096].fill(0) }, verdict: "broken", kind: "zero-block", slices: Some((12, 13)), says: "4 KiB" },
    Case { name: "a tile of zeros", harm: |v| tile(v, 22, 30..62, 20..70), verdict: "broken", kind: "zero-block", slices: Some((22, 23)), says: "rows 30-61, columns 20-69" },
    Case { name: "a tile of zeros through five slices", harm: |v| (8..13).for_each(|z| tile(v, z, 40..56, 32..64)), verdict: "broken", kind: "zero-block", slices: Some((8, 13)), says: "tile" },
    Case { name: "one NaN", harm: |v| slice(v, 5)[4 * (50 * N + 40)..][..4].copy_from_slice(&f32::NAN.to_le_bytes()), verdict: "broken", kind: "not-finite", slices: Some((5, 6)), says: "x 40, y 50, z 5" },
    Case { name: "one infinity", harm: |v| slice(v, 31)[4 * (40 * N + 41)..][..4].copy_from_slice(&f32::INFINITY.to_le_bytes()), verdict: "broken", kind: "not-finite", slices: Some((31, 32)), says: "1 infinite" },
    Case { name: "a slice of NaN", harm: |v| map(slice(v, 9), |_| f32::NAN), verdict: "broken", kind: "not-finite", slices: Some((9, 10)), says: "NaN in slice 9" },
    Case { name: "cut by one byte", harm: |v| { v.pop(); }, verdict: "broken", kind: "size", slices: Some((39, 40)), says: "1 bytes are missing" },
    Case { name: "cut by one slice", harm: |v| v.truncate(39 * SLICE), verdict: "broken", kind: "size", slices: Some((39, 40)), says: "1 of 40 slices are missing" },
    Case { name: "400 bytes too many", harm: |v| v.extend([7; 400]), verdict: "broken", kind: "size", slices: None, says: "400 bytes more" },
    Case { name: "empty", harm: |v| v.clear(), verdict: "broken", kind: "size", slices: Some((0, 40)), says: "40 of 40" },
    Case { name: "the same slice twice", harm: |v| v.copy_within(11 * SLICE..12 * SLICE, 12 * SLICE), verdict: "broken", kind: "duplicate", slices: Some((12, 13)), says: "slice 11 again" },
    Case { name: "the same slice far away", harm: |v| v.copy_within(3 * SLICE..4 * SLICE, 30 * SLICE), verdict: "broken", kind: "duplicate", slices: Some((30, 31)), says: "slice 3 again" },
    Case { name: "neighbours exchanged", harm: |v| exchange(v, 20, 21), verdict: "broken", kind: "swapped", slices: Some((20, 22)), says: "slices 20 and 21" },
    Case { name: "distant slices exchanged", harm: |v| exchange(v, 8, 30), verdict: "broken", kind: "swapped", slices: Some((8, 9)), says: "slices 8 and 30" },
    Case { name: "the first two exchanged", harm: |v| exchange(v, 0, 1), verdict: "broken", kind: "swapped", slices: Some((0, 2)), says: "slices 0 and 1 are" },
    Case { name: "the last with another", harm: |v| exchange(v, 33, 39), verdict: "broken", kind: "swapped", slices: Some((39, 40)), says: "slices 33 and 39 are" },
    Case { name: "three in another order", harm: |v| { exchange(v, 14, 15); exchange(v, 15, 16) }, verdict: "broken", kind: "swapped", slices: Some((14, 15)), says: "slices 14, 15, 16 are exchanged: in the order 16, 14, 15 they fit" },
    Case { name: "all but one value the same", harm: |v| map(slice(v, 4), |_| 1.5), verdict: "suspicious", kind: "constant", slices: Some((4, 5)), says: "one value" },
    Case { name: "a constant slice", harm: |v| slice(v, 4).chunks_exact_mut(4).for_each(|b| b.copy_from_slice(&1.5f32.to_le_bytes())), verdict: "broken", kind: "constant", slices: Some((4, 5)), says: "1.5" },
    Case { name: "the last slice of another volume", harm: |v| map(slice(v, 39), |x| 4.0 - x), verdict: "suspicious", kind: "stranger", slices: Some((39, 40)), says: "slice 39 does not fit its neighbour" },
    Case { name: "the first slice of another volume", harm: |v| map(slice(v, 0), |x| 4.0 - x), verdict: "suspicious", kind: "stranger", slices: Some((0, 1)), says: "slice 0 does not fit its neighbour" },
    Case { name: "two constant slices of other values", harm: |v| (4..6).for_each(|z| slice(v, z).chunks_exact_mut(4).for_each(|b| b.copy_from_slice(&(z as f32 / 4.0).to_le_bytes()))), verdict: "broken", kind: "constant", slices: Some((4, 6)), says: "one value only, the first 1" },
    Case { name: "a grey jump by an offset", harm: |v| map(&mut v[20 * SLICE..], |x| x + 0.4), verdict: "suspicious", kind: "grey-jump", slices: Some((19, 21)), says: "slice 19 to 20 all values change by +0.3" },
    Case { name: "a grey jump by a factor", harm: |v| map(&mut v[26 * SLICE..], |x| x * 1.2), verdict: "suspicious", kind: "grey-jump", slices: Some((25, 27)), says: "slice 25 to 26" },
    Case { name: "a small jump by an offset", harm: |v| map(&mut v[20 * SLICE..], |x| x + 0.12), verdict: "suspicious", kind: "grey-jump", slices: Some((19, 21)), says: "slice 19 to 20 all values change by +0.1" },
    Case { name: "a small jump by a factor", harm: |v| map(&mut v[13 * SLICE..], |x| x * 0.95), verdict: "suspicious", kind: "grey-jump", slices: Some((12, 14)), says: "slice 12 to 13" },
    Case { name: "all zero", harm: |v| v.fill(0), verdict: "broken", kind: "zero-volume", slices: Some((0, 40)), says: "zero" },
];

fn judge(case: &Case, item: &Value, on: &str) -> Option<String> {
    let (verdict, found) = said(item);
    let span = |f: &Value| {
        f["slices"].as_object().map(|s| (s["start"].as_u64().unwrap() as usize, s["end"].as_u64().unwrap() as usize))
    };
    let hit = item["findings"].as_array().unwrap().iter().any(|f| {
        f["kind"] == case.kind
            && (case.slices.is_none() || span(f) == case.slices)
            && f["text"].as_str().unwrap().contains(case.says)
    });
    (verdict != case.verdict || !hit).then(|| format!("{on}, {}: {verdict} {found:#?}", case.name))
}

#[test]
fn every_damage_is_found_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let whole = le(&body(N, N, Z, 0.5));
    let mut wrong = Vec::new();
    for (i, case) in CASES.iter().enumerate() {
        let mut v = whole.clone();
        (case.harm)(&mut v);
        let name = format!("c{i}.vol");
        write(&d.join(&name), &v, &info(N, N, Z));
        wrong.extend(judge(case, &check(d, &name)["items"][0], "float"));
        fs::remove_file(d.join(&name)).unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn exchanged_slices_are_found_at_every_distance() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    // A quarter of the contrast is noise, so that neighbours differ by little more than it.
    let whole = le(&body(N, N, Z, 1.5));
    let mut wrong = Vec::new();
    for (a, b) in (1..13).flat_map(|h| [(12, 12 + h), (21, 21 + h)]) {
        let mut v = whole.clone();
        exchange(&mut v, a, b);
        write(&d.join("e.vol"), &v, &info(N, N, Z));
        let (verdict, found) = said(&check(d, "e.vol")["items"][0]);
        let named = format!("slices {a} and {b} ");
        if verdict == "good" || found.iter().any(|f| !f.starts_with("swapped") || !f.contains(&named)) {
            wrong.push(format!("{a} and {b}: {verdict} {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn layers_and_ends_of_a_sample_are_no_slices_in_the_wrong_place() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let sample = |inside: &dyn Fn(usize) -> bool| -> Vec<f32> {
        let at = |i: usize| (i / (N * N), i / N % N, i % N);
        let far = |y: usize, x: usize| (y as f32 - 48.0).hypot(x as f32 - 48.0);
        (0..Z * N * N)
            .map(|i| {
                let (z, y, x) = at(i);
                noise(i as u64) * 0.2 + if inside(z) && far(y, x) < 36.0 { 1.0 } else { 0.0 }
            })
            .collect()
    };
    // Layers of many thicknesses that begin with a slice of their own, and a piece with a flat end.
    let layers = sample(&|z| [1, 2, 3, 4, 5, 6, 7, 8, 18, 19, 20, 21, 27, 28, 29, 30, 35].contains(&z));
    let piece = sample(&|z| (10..30).contains(&z));
    for (name, v) in [("layers.vol", layers), ("piece.vol", piece)] {
        write(&d.join(name), &le(&v), &info(N, N, Z));
        let (verdict, found) = said(&check(d, name)["items"][0]);
        assert!(!found.iter().any(|f| f.starts_with("swapped")), "{name}: {verdict} {found:?}");
        assert!(name == "layers.vol" || verdict == "good", "{name}: {verdict} {found:?}");
    }
}

/// The neighbours of the middle are as one, and as far from it as slices are anywhere: no slice in the wrong place.
#[test]
fn a_sample_that_is_its_own_mirror_image() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for grain in [0.05, 0.4] {
        let half = body(N, N, Z, 0.0);
        let v: Vec<f32> = (0..half.len())
            .map(|i| half[(i / (N * N)).abs_diff(Z / 2) * N * N + i % (N * N)] + grain * noise(i as u64))
            .collect();
        write(&d.join("m.vol"), &le(&v), &info(N, N, Z));
        assert_eq!(said(&check(d, "m.vol")["items"][0]), ("good".into(), vec![]), "{grain}");
        // One from elsewhere in that place is found as before.
        let mut strange = le(&v);
        map(slice(&mut strange, Z / 2), |x| 4.2 - x);
        write(&d.join("m.vol"), &strange, &info(N, N, Z));
        let (verdict, why) = said(&check(d, "m.vol")["items"][0]);
        assert!(verdict != "good" && why.iter().any(|f| f.contains(&format!("slice {} ", Z / 2))), "{why:?}");
    }
}

#[test]
fn damage_is_found_in_grey_values_too() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for (dtype, scale, grain) in [("uint8", 60.0, 0.2), ("uint16", 9000.0, 0.5)] {
        let grey = |v: &[f32]| -> Vec<u8> {
            let level = v.iter().map(|v| (v * scale).round().max(0.0));
            if dtype == "uint8" {
                level.map(|g| g.min(255.0) as u8).collect()
            } else {
                level.flat_map(|g| (g as u16).to_le_bytes()).collect()
            }
        };
        let v = grey(&body(N, N, Z, grain));
        let size = v.len() / (N * N * Z);
        let s = N * N * size;
        let told = info(N, N, Z) + &format!("DATA_TYPE = {dtype}\nBYTEORDER = LOWBYTEFIRST\n");
        let look = |v: &[u8]| {
            write(&d.join("g.raw"), v, &told);
            said(&check(d, "g.raw")["items"][0])
        };
        assert_eq!(look(&v), ("good".into(), vec![]), "{dtype}");
        let with = |harm: &dyn Fn(&mut Vec<u8>)| {
            let mut w = v.clone();
            harm(&mut w);
            look(&w)
        };
        let expect = |(verdict, found): (String, Vec<String>), kind: &str, at: &str| {
            assert_eq!(verdict, "broken", "{dtype} {kind}: {found:?}");
            assert!(found.iter().any(|f| f.starts_with(kind) && f.contains(at)), "{dtype} {kind}: {found:?}");
        };
        expect(with(&|w| w[17 * s..18 * s].fill(0)), "zero-slices", "slice 17");
        expect(with(&|w| w[20 * s + s / 2..20 * s + s / 2 + 4096.min(s / 4)].fill(0)), "zero-block", "slice 20");
        let tile = |w: &mut Vec<u8>| {
            for z in 10..14 {
                for y in 30..60 {
                    w[z * s + (y * N + 24) * size..][..48 * size].fill(0);
                }
            }
        };
        expect(with(&tile), "zero-block", "slices 10-13");
        // At the ends, where no slice stands before or after it: a copy that was cut and filled up.
        let (first, last) = (N / 2, Z - 1);
        expect(with(&|w| w[last * s + s / 2..].fill(0)), "zero-block", &format!("row {} of slice {last}", N / 2));
        expect(with(&|w| w[last * s - s / 2..].fill(0)), "zero-block", &format!("row {} of slice {}", N / 2, last - 1));
        expect(with(&|w| w[..s / 2].fill(0)), "zero-block", &format!("to row {} of slice 0", first - 1));
        expect(with(&|w| w[..s * 5 / 2].fill(0)), "zero-block", &format!("to row {} of slice 2", first - 1));
        let corner = |w: &mut Vec<u8>| {
            for z in Z - 4..Z {
                (30..60).for_each(|y| w[z * s + (y * N + 24) * size..][..48 * size].fill(0));
            }
        };
        let (verdict, found) = with(&corner);
        assert!(verdict == "suspicious" && found.iter().any(|f| f.contains("zero tile: slices 36-39")), "{found:?}");
        // A sample that ends there, or becomes less and less, lost nothing.
        let tapers = |w: &mut Vec<u8>| {
            for z in Z - 12..Z {
                for (i, v) in w[z * s..(z + 1) * s].chunks_exact_mut(size).enumerate() {
                    let far = (i / N).abs_diff(N / 2).max((i % N).abs_diff(N / 2));
                    (far + (z + 12 - Z) * 3 > 44).then(|| v.fill(0));
                }
            }
        };
        let (_, found) = with(&tapers);
        assert!(!found.iter().any(|f| f.starts_with("zero")), "{dtype}: {found:?}");
        expect(with(&|w| w.copy_within(5 * s..6 * s, 6 * s)), "duplicate", "slice 6");
        expect(with(&|w| w.truncate(w.len() - 1)), "size", "1 bytes");
        let swapped = |w: &mut Vec<u8>| {
            let a = w[20 * s..21 * s].to_vec();
            w.copy_within(21 * s..22 * s, 20 * s);
            w[21 * s..22 * s].copy_from_slice(&a);
        };
        expect(with(&swapped), "swapped", "20 and 21");
    }
}

#[test]
fn files_and_sidecars_that_do_not_agree() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let (x, y) = (N, 72);
    let v = body(x, y, 12, 0.5);
    let found = |name: &str| said(&check(d, name)["items"][0]);
    // Rows and columns exchanged: the length is right.
    write(&d.join("turned.vol"), &le(&v), &info(y, x, 12));
    let (verdict, f) = found("turned.vol");
    assert!(verdict == "suspicious" && f.iter().any(|f| f.starts_with("width")), "{f:?}");
    write(&d.join("right.vol"), &le(&v), &info(x, y, 12));
    assert_eq!(found("right.vol"), ("good".into(), vec![]));
    // Dimensions of another volume.
    write(&d.join("other.vol"), &le(&v), &info(x + 1, y, 12));
    assert_eq!(found("other.vol").0, "broken");
    // Statistics of another volume.
    let stats = "ValMin =  -3.0 \nValMax =  9.0 \ns1 =  -1.0 \ns2 =  2.0 \nS1 =  0.0 \nS2 =  1.0 \n";
    write(&d.join("stats.vol"), &le(&v), &(info(x, y, 12) + stats));
    let (verdict, f) = found("stats.vol");
    assert!(verdict == "suspicious" && f.len() == 1 && f[0].starts_with("statistics"), "{f:?}");
    // No .info: an unfinished run, certain with PyHST2's placeholder at the end of a sparse file.
    fs::write(d.join("alone.vol"), le(&v)).unwrap();
    let (verdict, f) = found("alone.vol");
    assert!(verdict == "suspicious" && f[0].starts_with("unfinished"), "{f:?}");
    let sparse = fs::File::create(d.join("sparse.vol")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    {
        use std::io::{Seek, SeekFrom, Write};
        let mut s = &sparse;
        s.seek(SeekFrom::Start(1 << 20)).unwrap();
        s.write_all(&le(&v)).unwrap();
        s.seek(SeekFrom::End(-1)).unwrap();
        s.write_all(b" ").unwrap();
    }
    let (verdict, f) = found("sparse.vol");
    let text = f.join("\n");
    assert!(verdict == "broken" && text.contains("00 00 00 20"), "{text}");
    assert!(!cfg!(target_os = "linux") || text.contains("never written"), "{text}");
    // The same with the .info written too early: holes and zero slices.
    fs::write(d.join("sparse.vol.info"), info(1024, 1024, 16)).unwrap();
    let (verdict, f) = found("sparse.vol");
    assert!(verdict == "broken" && f.iter().any(|f| f.starts_with("zero-slices")), "{f:?}");
    // A left-over.
    fs::write(d.join("x.vol.part"), b"123").unwrap();
    fs::remove_file(d.join("other.vol")).unwrap();
    let all = check(d, ".");
    let left =
        all["items"].as_array().unwrap().iter().find(|i| i["path"].as_str().unwrap().ends_with("x.vol.part")).unwrap();
    assert_eq!(said(left).0, "suspicious");
}

#[test]
fn series_with_gaps_doubles_and_strangers() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    write(&d.join("v.vol"), &le(&body(64, 64, 16, 0.5)), &info(64, 64, 16));
    for to in ["tiff", "edf"] {
        let make = |name: &str| -> PathBuf {
            tomo(d, &["convert", "v.vol", name, "--to", to]).expect(0);
            d.join(name)
        };
        let files = |p: &Path| {
            let mut f: Vec<PathBuf> = fs::read_dir(p).unwrap().map(|e| e.unwrap().path()).collect();
            f.retain(|f| f.extension().is_some_and(|e| e == "edf" || e == "tif"));
            f.sort();
            f
        };
        let expect = |name: &str, verdict: &str, part: &str| {
            let (got, f) = said(&check(d, name)["items"][0]);
            assert!(
                got == verdict && (part.is_empty() || f.iter().any(|f| f.contains(part))),
                "{to} {name}: {got} {f:#?}"
            );
        };
        make(&format!("good-{to}"));
        expect(&format!("good-{to}"), "good", "");
        let gap = make(&format!("gap-{to}"));
        fs::remove_file(&files(&gap)[7]).unwrap();
        expect(&format!("gap-{to}"), "broken", "missing");
        let cut = make(&format!("cut-{to}"));
        let f = files(&cut)[5].clone();
        let bytes = fs::read(&f).unwrap();
        fs::write(&f, &bytes[..bytes.len() / 2]).unwrap();
        expect(&format!("cut-{to}"), "broken", "");
        let odd = make(&format!("odd-{to}"));
        tomo(d, &["convert", "v.vol", "small", "--to", to, "--roi", "0:32,0:32", "--overwrite"]).expect(0);
        fs::copy(&files(&d.join("small"))[3], &files(&odd)[3]).unwrap();
        expect(&format!("odd-{to}"), "broken", "");
        let twice = make(&format!("twice-{to}"));
        fs::copy(&files(&twice)[3], &files(&twice)[9]).unwrap();
        expect(&format!("twice-{to}"), "broken", "slice 3 again");
        let zero = make(&format!("zero-{to}"));
        let f = files(&zero)[11].clone();
        let mut bytes = fs::read(&f).unwrap();
        let n = bytes.len();
        let data = if to == "edf" { n - 64 * 64 * 4..n } else { data_of_tiff(&bytes) };
        bytes[data].fill(0);
        fs::write(&f, bytes).unwrap();
        expect(&format!("zero-{to}"), "broken", "slice 11");
    }
    // An HDF5 file cut in the middle, and one whose chunks were never written is an error of its own.
    tomo(d, &["convert", "v.vol", "v.h5"]).expect(0);
    assert_eq!(said(&check(d, "v.h5")["items"][0]).0, "good");
    let bytes = fs::read(d.join("v.h5")).unwrap();
    fs::write(d.join("v.h5"), &bytes[..bytes.len() * 2 / 3]).unwrap();
    assert_eq!(said(&check(d, "v.h5")["items"][0]).0, "broken");
}

/// Where the only strip of a small TIFF lies: all but its header and directory.
fn data_of_tiff(bytes: &[u8]) -> std::ops::Range<usize> {
    let n = 64 * 64 * 4;
    // The strip is the longest run of the file; our writer puts the directory first or last.
    let ifd = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
    if ifd > n { 8..8 + n } else { bytes.len() - n..bytes.len() }
}

#[test]
fn what_the_tools_write_passes() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    tomo(d, &["simulate", "scan", "--size", "96", "--rows", "24", "--projections", "144", "--truth", "truth.vol"])
        .expect(0);
    tomo(d, &["simulate", "half", "--extended", "--size", "96", "--rows", "12", "--projections", "144"]).expect(0);
    tomo(d, &["simulate", "nx.nxs", "--layout", "nxtomo", "--size", "64", "--rows", "8", "--projections", "90"])
        .expect(0);
    tomo(
        d,
        &[
            "simulate",
            "dx.h5",
            "--layout",
            "dxchange",
            "--size",
            "64",
            "--rows",
            "8",
            "--projections",
            "90",
            "--rings",
            "0.002",
            "--spikes",
            "1e-4",
            "--drift",
            "2",
        ],
    )
    .expect(0);
    tomo(d, &["recon", "scan", "-o", "scan.vol"]).expect(0);
    tomo(d, &["recon", "half", "-o", "half.vol"]).expect(0);
    tomo(d, &["recon", "nx.nxs", "-o", "nx.h5"]).expect(0);
    tomo(d, &["recon", "scan", "-o", "grey", "--to", "tiff", "--type", "uint8", "--limits", "-20,250"]).expect(0);
    tomo(d, &["recad", "scan.vol", "-o", "eight.raw"]).expect(0);
    tomo(d, &["recad", "scan.vol", "-o", "sixteen.tif", "--bits", "16"]).expect(0);
    tomo(d, &["convert", "scan.vol", "slices", "--to", "edf"]).expect(0);
    tomo(d, &["convert", "scan.vol", "packed.h5", "--compression", "deflate"]).expect(0);
    let all = tomo(d, &["check", ".", "--json"]).expect(0).json();
    let items = all["items"].as_array().unwrap();
    assert!(items.len() >= 12, "{}", items.len());
    for i in items {
        assert_eq!(said(i), ("good".into(), vec![]), "{}", i["path"]);
    }
    // And by samples.
    tomo(d, &["check", ".", "--quick"]).expect(0);
}

/// Words of ours in the names of files that a remark names weigh nothing.
#[test]
fn names_of_files_are_no_findings() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let size = ["--size", "64", "--rows", "8", "--projections", "60"];
    tomo(d, &[&["simulate", "s", "--layout", "edf"][..], &size].concat()).expect(0);
    tomo(d, &[&["simulate", "f"][..], &size].concat()).expect(0);
    fs::copy(d.join("s/dark.edf"), d.join("s/truncated_incomplete_0001.edf")).unwrap();
    fs::copy(d.join("s/dark.edf"), d.join("s/never written, cannot be read.edf")).unwrap();
    fs::copy(d.join("f/post_ref.nxs"), d.join("f/was the scan aborted or cut off.nxs")).unwrap();
    let r = tomo(d, &["check", "s", "f", "--json"]).expect(0).json();
    for (i, word) in r["items"].as_array().unwrap().iter().zip(["truncated_incomplete", "aborted or cut off"]) {
        assert_eq!(said(i), ("good".into(), vec![]), "{i}");
        assert!(i.to_string().contains(word), "it is named all the same: {i}");
    }
}

/// Real files of many origins: what is healthy passes, what dangles is said.
#[test]
fn real_files_pass() {
    let dir = tempfile::tempdir().unwrap();
    let healthy = [
        "01-aps-tooth",
        "02-tomopy-regression",
        "04-dls-i12-two-camera",
        "07-dls-i12-separate-flats-darks",
        "08-sinograms-mat-nxs",
        "10-sarepy-neutron-360",
        "15-esrf-darfix",
        "16-raw-volumes-pymicro",
        "17-tiff-oddities",
        "19-hdf5-filters",
        "23-edf-esrf-silx-training",
        "24-neutron-tiff-ob-dc",
        "25-pyhst2-output",
    ];
    let mut seen = 0;
    for name in healthy {
        let Some(path) = crate::support::shared(name) else { continue };
        let r = tomo(dir.path(), &["check".as_ref(), path.as_os_str(), "--json".as_ref()]);
        let j = r.json();
        for i in j["items"].as_array().unwrap() {
            // Page directories in a circle: rightly named.
            let path = i["path"].as_str().unwrap();
            if path.ends_with("_frame_loop.tiff") {
                assert_eq!(said(i).0, "broken", "{path}");
                continue;
            }
            seen += 1;
            // What cannot be read is good for nothing, but nothing is said against it.
            let texts = i["findings"].as_array().unwrap().iter().filter_map(|f| f["text"].as_str());
            let want = if texts.into_iter().any(|t| t.starts_with("not looked at: ")) { "not_read" } else { "good" };
            assert_eq!(said(i), (want.into(), vec![]), "{}", i["path"]);
        }
        assert!(r.code == 0 || name.starts_with("17"), "{name}");
    }
    if let Some(path) = crate::support::shared("05-nexus-dangling-external-links") {
        let r = tomo(dir.path(), &["check".as_ref(), path.as_os_str(), "--json".as_ref()]).expect(1).json();
        let (verdict, found) = said(&r["items"][0]);
        assert!(
            verdict == "broken" && found.iter().any(|f| f.starts_with("link") && f.contains("pco1-24888.hdf")),
            "{found:?}"
        );
    }
    println!("{seen} healthy items");
    assert!(seen == 0 || seen > 60, "{seen}");
}
