//! Damaged files: cut short and with bytes changed, read in every way; what comes back is an error or data, never a
//! panic. The C library runs in this process too: a crash in it fails this test as well.

use super::file::{H5, ObjectKind};
use super::spec::SPEC;
use crate::registry::OpenOptions;
use hdf5_metno as hdf5;
use std::path::Path;

/// A small file with every storage we read.
fn make(path: &Path, latest: bool) {
    let mut b = hdf5::FileBuilder::new();
    if latest {
        b.with_fapl(|p| p.libver_latest());
    }
    let file = b.create(path).unwrap();
    let data: Vec<u16> = (0..480).collect();
    let g = file.create_group("entry").unwrap();
    let make = || g.new_dataset::<u16>().shape((4, 10, 12));
    make().create("plain").unwrap().write_raw(&data).unwrap();
    make().chunk((1, 10, 12)).shuffle().deflate(1).fletcher32().create("packed").unwrap().write_raw(&data).unwrap();
    make().chunk((2, 5, 5)).lzf().create("lzf").unwrap().write_raw(&data).unwrap();
    make().chunk((1, 10, 12)).blosc_lz4(5, true).create("blosc").unwrap().write_raw(&data).unwrap();
    make()
        .virtual_map(".", "/entry/plain", (4, 10, 12), (.., .., ..), (4, 10, 12), (.., .., ..))
        .create("virtual")
        .unwrap();
    g.link_external("gone.h5", "/x", "external").unwrap();
    g.link_soft("/entry/plain", "soft").unwrap();
    let text: hdf5::types::VarLenUnicode = "a text of variable length".parse().unwrap();
    g.new_attr::<hdf5::types::VarLenUnicode>().create("title").unwrap().write_scalar(&text).unwrap();
    g.new_dataset::<hdf5::types::VarLenUnicode>().create("name").unwrap().write_scalar(&text).unwrap();
}

/// Reads everything there is, and says how many datasets gave values.
fn read_all(path: &Path) -> usize {
    let Ok(h5) = H5::open(path) else { return 0 };
    let _ = (h5.dangling(), super::tree::tree(path), (SPEC.open)(path, &OpenOptions::default()));
    let mut good = 0;
    for link in h5.children("/entry").unwrap_or_default() {
        let _ = (h5.attrs(&link.path), h5.read_text(&link.path), h5.read_f64(&link.path));
        if h5.kind(&link.path) == Some(ObjectKind::Dataset) {
            good += usize::from(h5.read_raw(&link.path, 1 << 20).is_ok());
        }
    }
    good
}

#[test]
fn damaged_files_give_errors_never_panics() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, path) = (dir.path().join("whole.h5"), dir.path().join("a.h5"));
    for latest in [false, true] {
        make(&whole, latest);
        let bytes = std::fs::read(&whole).unwrap();
        assert_eq!(read_all(&whole), 6); // five datasets and the soft link
        let n = bytes.len();
        for cut in (0..n).step_by(n / 40 + 1) {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            assert_eq!(read_all(&path), 0, "cut at {cut} of {n}");
        }
        let mut seed = 7u64;
        let rounds = std::env::var("TOMOKIT_FUZZ_ROUNDS").ok().and_then(|v| v.parse().ok()).unwrap_or(150);
        for round in 0..rounds {
            let mut bad = bytes.clone();
            for _ in 0..1 + round % 3 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (seed >> 33) as usize % n;
                bad[at] = match round % 4 {
                    0 => 0xFF,
                    1 => 0,
                    2 => bad[at] ^ (1 << (seed >> 60 & 7)),
                    _ => (seed >> 20) as u8,
                };
            }
            std::fs::write(&path, &bad).unwrap();
            if std::env::var_os("TOMOKIT_FUZZ_KEEP").is_some() {
                std::fs::copy(&path, std::env::temp_dir().join("tomokit-last-h5")).unwrap();
            }
            read_all(&path);
        }
    }
}
