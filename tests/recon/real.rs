//! Real scans of the shared data.

use crate::support::{correlation, read_floats, read_npy, shared, tomo};
use std::ffi::OsStr;
use std::path::Path;

/// Runs recon on `scan` into `dir/out.vol` and returns its voxels.
fn recon(dir: &Path, scan: &Path, more: &[&str]) -> Vec<f32> {
    let mut args: Vec<&OsStr> = vec!["recon".as_ref(), scan.as_os_str(), "-o".as_ref(), "out.vol".as_ref()];
    args.extend(more.iter().map(OsStr::new));
    tomo(dir, &args).expect(0);
    read_floats(&dir.join("out.vol"))
}

/// Pairs inside 0.9 of the inscribed circle.
fn inside<'a>(a: &'a [f32], b: &'a [f32], n: usize) -> impl Iterator<Item = (f32, f32)> + Clone + 'a {
    let c = (n as f64 - 1.0) / 2.0;
    a.iter().zip(b).enumerate().filter_map(move |(i, (&a, &b))| {
        let (y, x) = ((i / n) as f64 - c, (i % n) as f64 - c);
        (x.hypot(y) < 0.9 * n as f64 / 2.0).then_some((a, b))
    })
}

#[test]
fn the_tooth_agrees_with_astra_and_pyhst() {
    let (Some(scan), Some(astra), Some(pyhst)) = (
        shared("01-aps-tooth/tooth.h5"),
        shared("01-aps-tooth/tooth_row0.fbp_astra.npy"),
        shared("25-pyhst2-output/tooth.vol"),
    ) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let ours = recon(dir.path(), &scan, &["--axis", "296", "--flats", "mean", "--unit", "pixel", "--no-mask"]);
    let n = 640;
    assert_eq!(ours.len(), 2 * n * n);
    let (shape, reference) = read_npy(&astra);
    assert_eq!(shape, [n, n]);
    let (r, slope) = correlation(inside(&reference, &ours[..n * n], n));
    println!("row 0 against ASTRA: correlation {r:.5}, slope {slope:.4}");
    assert!(r >= 0.985 && (0.9..1.1).contains(&slope), "row 0: {r} {slope}");
    // The second row has no ASTRA reference; PyHST2's own slice is one (per centimetre at 1 µm: a factor of 10⁴).
    let other = read_floats(&pyhst);
    for row in 0..2 {
        let (r, slope) = correlation(inside(&other[row * n * n..][..n * n], &ours[row * n * n..][..n * n], n));
        println!("row {row} against PyHST2: correlation {r:.5}, slope {:.4}", slope * 1e4);
        assert!(r >= 0.985 && (0.9..1.1).contains(&(slope * 1e4)), "row {row}: {r} {slope}");
    }
}

#[test]
fn pyhst_is_reproduced_from_its_own_par_and_edf() {
    let (Some(par), Some(volume)) = (shared("25-pyhst2-output/tooth.par"), shared("25-pyhst2-output/tooth.vol")) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let ours = recon(dir.path(), &par, &["--pyhst"]);
    let theirs = read_floats(&volume);
    assert_eq!(ours.len(), theirs.len());
    let filled = theirs.iter().zip(&ours).filter(|(t, _)| **t != 0.0).map(|(t, o)| (*t, *o));
    let (r, slope) = correlation(filled);
    println!("PyHST2's tooth.vol: correlation {r:.6}, slope {slope:.5}");
    assert!(r >= 0.995 && (slope - 1.0).abs() <= 0.01, "{r} {slope}");
    // Our .info names the same size, and its statistics describe our own voxels.
    let info = std::fs::read_to_string(dir.path().join("out.vol.info")).unwrap();
    assert!(info.contains("NUM_X =  640\nNUM_Y =  640\nNUM_Z =  2\nvoxelSize =  1.000000e+00\n"), "{info}");
}

#[test]
fn the_axis_of_the_tooth_is_found() {
    let Some(scan) = shared("01-aps-tooth/tooth.h5") else { return };
    let dir = tempfile::tempdir().unwrap();
    let plan = tomo(
        dir.path(),
        &[
            OsStr::new("recon"),
            scan.as_os_str(),
            "-o".as_ref(),
            "x.vol".as_ref(),
            "--axis".as_ref(),
            "find".as_ref(),
            "--dry-run".as_ref(),
            "--json".as_ref(),
        ],
    )
    .expect(0)
    .json();
    let axis = plan["rotation_axis_px"].as_f64().unwrap();
    println!("axis of the tooth: {axis}");
    assert!((axis - 296.0).abs() < 0.1, "{axis}");
}
