//! Real EDF files against what fabio sees in them: `ORACLE.jsonl` in the folder of shared data has shape, type and
//! SHA-256 of the little-endian values of every frame. Skipped, with a line that says so, where that folder is absent.

use sha2::{Digest, Sha256};
use std::path::PathBuf;
use tomokit_formats::ByteOrder;
use tomokit_formats::edf::File;

fn shared() -> Option<PathBuf> {
    let root = std::env::var_os("TOMOKIT_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let data = root.join("data");
    data.join("ORACLE.jsonl").is_file().then_some(data)
}

#[test]
fn every_edf_row() {
    let Some(data) = shared() else {
        println!("skipped: no shared data (set TOMOKIT_SHARED to the folder that holds data/ORACLE.jsonl)");
        return;
    };
    let text = std::fs::read_to_string(data.join("ORACLE.jsonl")).unwrap();
    let (mut files, mut frames, mut refused, mut wrong) = (0, 0, 0, Vec::new());
    for line in text.lines() {
        // Rows of other kinds may hold NaN, which is no JSON.
        if !line.contains(r#""kind": "edf""#) {
            continue;
        }
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        files += 1;
        let name = row["file"].as_str().unwrap();
        let file = match File::open(data.join(name)) {
            Ok(f) => f,
            Err(e) => {
                println!("refused: {e}");
                refused += 1;
                if row["open"] == "ok" {
                    wrong.push(format!("{name}: {e}"));
                }
                continue;
            }
        };
        let want = row["frames"].as_array().unwrap();
        if file.frames().len() != want.len() {
            wrong.push(format!("{name}: {} frames, fabio sees {}", file.frames().len(), want.len()));
        }
        for (i, w) in want.iter().enumerate() {
            frames += 1;
            let (dims, dtype, mut values) = match file.read_frame(i) {
                Ok(f) => f,
                Err(e) => {
                    wrong.push(format!("{name}: frame {i}: {e}"));
                    continue;
                }
            };
            ByteOrder::Little.to_native(&mut values, dtype.size()); // native to little endian
            let sha: String = Sha256::digest(&values).iter().map(|b| format!("{b:02x}")).collect();
            let shape: Vec<usize> =
                w["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect();
            if dims != shape || w["dtype"] != dtype.name() || w["sha256_le"] != sha.as_str() {
                wrong.push(format!("{name}: frame {i}: {dims:?} {} {sha}, fabio sees {w}", dtype.name()));
            }
        }
    }
    println!("{files} EDF files, {frames} frames compared, {refused} refused, {} differ", wrong.len());
    assert!(files >= 194 && frames >= 199, "the oracle has too few rows: {files} files, {frames} frames");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
