//! The layouts on real files that nobody here wrote.

use super::open_file;
use super::tests::{has, plain, read};
use crate::Shape;
use crate::nexus::H5;
use crate::scan_out::tests::open;
use std::path::{Path, PathBuf};

/// A real file, if this machine has it.
fn real(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("TOMOKIT_SHARED")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"));
    let path = root.join("data").join(name);
    if !path.exists() {
        eprintln!("skipped: {} is not here", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn dxchange() {
    let Some(path) = real("01-aps-tooth/tooth.h5") else { return };
    let (scan, warnings) = read(&path);
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(scan.projections.shape(), Shape::new(181, 2, 640));
    assert_eq!((scan.flats[0].source.shape().frames, scan.darks[0].source.shape().frames), (10, 10));
    assert!((scan.angles.rad[180].to_degrees() - 179.0055).abs() < 1e-3);
    let Some(path) = real("22-misc-hdf5/dxfile/txm.h5") else { return };
    let (scan, _) = read(&path);
    assert_eq!((scan.projections.shape(), scan.flats.len()), (Shape::new(1, 2, 16), 1));
    let Some(path) = real("22-misc-hdf5/tomopy-cli/meta_mock.h5") else { return };
    let (scan, warnings) = read(&path);
    assert_eq!(scan.projections.shape(), Shape::new(11, 50, 50));
    assert!((scan.angles.rad[10].to_degrees() - 0.5625).abs() < 1e-12);
    assert!(has(&warnings, "num_angles says 6401"), "{warnings:?}");
}

#[test]
fn dangling_master_is_named() {
    let Some(path) = real("05-nexus-dangling-external-links/24888.nxs") else { return };
    let e = open(&path, &plain()).err().unwrap().to_string();
    assert!(e.contains("pco1-24888.hdf"), "{e}");
}

#[test]
fn sinograms_of_cil() {
    let Some(path) = real("08-sinograms-mat-nxs/Sinogram_Rock_sample_3D.nxs") else { return };
    let (scan, warnings) = read(&path);
    assert_eq!(scan.projections.shape(), Shape::new(120, 5, 400));
    assert!(has(&warnings, "cone") && has(&warnings, "sinograms") && has(&warnings, "radians"), "{warnings:?}");
}

#[test]
fn other_files_are_no_scans() {
    let mut seen = 0;
    for name in [
        "04-dls-i12-two-camera/lfov/tomo_data/pc2_projections.hdf",
        "07-dls-i12-separate-flats-darks/flat_field.h5",
        "08-sinograms-mat-nxs/cildemos_FBP_post_scan.nxs",
        "15-esrf-darfix/example_raw_data_1d.h5",
        "15-esrf-darfix/example_raw_data_3d.h5",
        "22-misc-hdf5/dxchange/lena.h5",
        "22-misc-hdf5/savu/fluo.nxs",
        "22-misc-hdf5/nexpy/chopper.nxs",
    ] {
        let Some(path) = real(name) else { return };
        seen += 1;
        assert!(open_file(&H5::open(&path).unwrap(), &plain()).is_none(), "{name}");
    }
    assert_eq!(seen, 8);
}
