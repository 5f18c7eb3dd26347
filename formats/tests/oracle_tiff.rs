//! Every TIFF file of the shared data set against what tifffile saw in it: each page equal in shape, type and SHA-256 of
//! the little-endian values, or refused with a reason that names the feature or defect. Skipped where the data set is
//! absent (set TOMOKIT_SHARED).

use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tomokit_formats::tiff::File;

/// Pages that decode to other values than tifffile's, each with its reason.
const DIFFER: &[(&str, &str)] = &[];

/// Words of which a refusal must use one: the scheme, depth or colour not supported, or the defect met.
const REASONS: &[&str] = &[
    "compression",
    "photometric",
    "bit",
    "samples of different",
    "cannot be decoded",
    "beyond the end",
    "shorter than",
    "never written",
    "too few",
    "larger than its stored bytes",
    "loop",
    "impossible number of tags",
];

fn shared() -> Option<PathBuf> {
    let dir = match std::env::var_os("TOMOKIT_SHARED") {
        Some(d) => PathBuf::from(d),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
    };
    dir.join("data/ORACLE.jsonl").is_file().then_some(dir)
}

#[test]
fn every_tiff_row_is_equal_or_refused_by_reason() {
    let Some(dir) = shared() else {
        println!("skipped: no shared data set (set TOMOKIT_SHARED to its folder)");
        return;
    };
    let dir = dir.join("data");
    let text = std::fs::read_to_string(dir.join("ORACLE.jsonl")).unwrap();
    let (mut rows, mut equal, mut both_refuse, mut explained) = (0, 0, 0, 0);
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    let mut different = Vec::new();
    for line in text.lines().filter(|l| l.starts_with("{\"kind\": \"tiff\"")) {
        // Python writes NaN and Infinity, which JSON does not know; they occur in min, max and sum only.
        let line = line.replace(": NaN", ": null").replace(": -Infinity", ": null").replace(": Infinity", ": null");
        let row: Value = serde_json::from_str(&line).unwrap();
        rows += 1;
        let name = row["file"].as_str().unwrap();
        let pages = row["page"].as_array().unwrap();
        let file = match File::open(dir.join(name)) {
            Ok(f) => f,
            Err(e) => {
                *refused.entry(reason(&e.to_string(), name)).or_default() += pages.len();
                continue;
            }
        };
        let count = row["pages"].as_u64().unwrap() as usize;
        if file.pages().len() != count {
            different.push(format!(
                "{name}: {} pages, tifffile sees {count} ({:?})",
                file.pages().len(),
                file.broken()
            ));
        }
        for (i, want) in pages.iter().enumerate() {
            let wanted = want.get("sha256_le");
            match file.read_page(i) {
                Err(e) => {
                    let e = e.to_string();
                    both_refuse += usize::from(wanted.is_none());
                    *refused.entry(reason(&e, name)).or_default() += 1;
                }
                Ok(_) if wanted.is_none() => {
                    different.push(format!("{name} page {i}: decoded, but tifffile refuses it"))
                }
                Ok(page) => {
                    let dtype = if file.pages()[i].bits == 1 { "bool" } else { page.dtype.name() };
                    let mut bytes = page.bytes;
                    tomokit_formats::ByteOrder::Little.to_native(&mut bytes, page.dtype.size());
                    let sha: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
                    let shape: Vec<Value> = page.shape.iter().map(|d| Value::from(*d)).collect();
                    if want["shape"] == Value::Array(shape) && want["dtype"] == dtype && want["sha256_le"] == sha {
                        equal += 1;
                    } else if DIFFER.iter().any(|(n, _)| name.ends_with(n)) {
                        explained += 1;
                    } else {
                        different.push(format!(
                            "{name} page {i}: {:?} {dtype} {}…, tifffile sees {} {} {}",
                            page.shape,
                            &sha[..8],
                            want["shape"],
                            want["dtype"],
                            &want["sha256_le"].as_str().unwrap()[..8]
                        ));
                    }
                }
            }
        }
    }
    println!("{rows} files: {equal} pages equal, {explained} differ as explained, refused:");
    for (why, n) in &refused {
        println!("  {n:4}  {why}");
    }
    println!("  ({both_refuse} of them refused by tifffile, too)");
    assert!(different.is_empty(), "{} silent differences:\n{}", different.len(), different.join("\n"));
    assert_eq!(rows, 356);
    assert!(equal > 300, "only {equal} pages equal");
}

/// The refusal without its path and numbers; fails where it names no reason.
fn reason(e: &str, name: &str) -> String {
    assert!(REASONS.iter().any(|r| e.contains(r)), "{name}: the refusal names no reason: {e}");
    let tail = e.rsplit("/").next().unwrap_or(e);
    let tail = tail.split_once(": ").map_or(tail, |t| t.1);
    let tail = tail.strip_prefix("at byte ").and_then(|t| t.split_once(": ")).map_or(tail, |t| t.1);
    tail.split(" (expected").next().unwrap_or(tail).chars().take(100).collect()
}

/// Boxes read through the stack equal the same boxes of decoded pages: strips, tiles, odd depths, byte orders.
#[test]
fn boxes_equal_pages() {
    use tomokit_formats::source::copy_box;
    use tomokit_formats::{OpenOptions, Region, Shape, registry};
    let Some(dir) = shared() else {
        println!("skipped: no shared data set (set TOMOKIT_SHARED to its folder)");
        return;
    };
    let dir = dir.join("data");
    let text = std::fs::read_to_string(dir.join("ORACLE.jsonl")).unwrap();
    let (mut grey, mut decoded, mut refused) = (0, 0, BTreeMap::<String, usize>::new());
    for line in text.lines().filter(|l| l.starts_with("{\"kind\": \"tiff\"")) {
        let name = line.split("\"file\": \"").nth(1).unwrap().split('"').next().unwrap();
        let path = dir.join(name);
        let volume = match registry::open_volume(&path, &OpenOptions::default()) {
            Ok((v, _)) => v,
            Err(e) => {
                let e = e.to_string();
                let why =
                    ["colour", "compression", "bits", "strip", "never written", "larger than", "loop", "photometric"];
                let why = why.iter().find(|w| e.contains(**w)).unwrap_or_else(|| panic!("{name}: {e}"));
                *refused.entry((*why).into()).or_default() += 1;
                continue;
            }
        };
        let (s, size) = (volume.source.shape(), volume.source.dtype().size());
        let file = File::open(&path).unwrap();
        let pages: Vec<_> = (0..file.pages().len().min(5)).filter_map(|i| file.read_page(i).ok()).collect();
        let pages: Vec<_> = pages.into_iter().filter(|p| p.shape == [s.rows, s.cols]).collect();
        for (f, page) in pages.iter().enumerate().take(s.frames) {
            let one = Shape { frames: 1, ..s }.full();
            for (rows, cols) in [
                (0..s.rows, 0..s.cols),
                (s.rows / 3..s.rows.div_ceil(2), s.cols / 4..s.cols.div_ceil(3)),
                (s.rows - 1..s.rows, s.cols / 2..s.cols),
                (0..s.rows, s.cols - 1..s.cols),
            ] {
                let want = Region { frames: 0..1, rows: rows.clone(), cols: cols.clone() };
                let (mut a, mut b) = (vec![0u8; want.values() * size], vec![1u8; want.values() * size]);
                copy_box(&page.bytes, &one, &want, size, &mut a);
                volume.source.read(&Region { frames: f..f + 1, rows, cols }, &mut b).unwrap();
                assert!(a == b, "{name} frame {f} {want}");
            }
        }
        grey += 1;
        decoded += usize::from(volume.source.access().decoded);
    }
    println!("{grey} grey stacks, {decoded} of them decoded; refused: {refused:?}");
    assert!(grey > 150 && decoded > 20, "{grey} stacks, {decoded} decoded");
}

/// A real neutron scan in folders: `sample` from 0002, `ob` from 0001, `df` from DC0000.
#[test]
fn neutron_folders_are_a_scan() {
    use tomokit_formats::{Content, OpenOptions, Shape, registry};
    let Some(dir) = shared() else {
        println!("skipped: no shared data set (set TOMOKIT_SHARED to its folder)");
        return;
    };
    let dir = dir.join("data/24-neutron-tiff-ob-dc/data");
    let opened = registry::open(&dir, &OpenOptions::default()).unwrap();
    let Content::Scan(scan) = &opened.content else { panic!("not a scan") };
    let tifs = |d: &str| {
        let names = std::fs::read_dir(dir.join(d)).unwrap().map(|e| e.unwrap().file_name());
        names.filter(|n| n.to_string_lossy().ends_with(".tif")).count()
    };
    assert_eq!(scan.projections.shape(), Shape::new(tifs("sample"), 100, 100));
    assert_eq!(scan.flats[0].source.shape().frames, tifs("ob"));
    assert_eq!(scan.darks[0].source.shape().frames, tifs("df"));
    assert!(opened.warnings.iter().any(|w| w.contains("assumed")), "{:?}", opened.warnings);
    assert!(scan.files[0].ends_with("sample/0002.tif"));
}
