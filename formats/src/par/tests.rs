//! Tests of parameter files as scans.

use super::*;
use crate::model::FieldOfView;
use crate::vol::tests::shared;
use crate::{Shape, source::FrameSource};
use std::fs;
use std::path::PathBuf;

fn npy(path: &Path, rows: usize, cols: usize, value: u16) {
    let o = crate::CreateOptions::new(Shape::new(1, rows, cols), crate::DType::U16);
    let mut s = crate::npy::SPEC.create.unwrap()(path, &o).unwrap();
    s.put(0, bytemuck::cast_slice(&(0..rows * cols).map(|i| value + i as u16).collect::<Vec<u16>>())).unwrap();
    s.finish(None).unwrap();
}

/// A scan folder `dir/s1` with ten projections of 2 × 3 pixels, flats at 0 and 10, and a dark; paths relative to `dir`.
fn scan_folder(dir: &Path) -> PathBuf {
    let d = dir.join("s1");
    fs::create_dir(&d).unwrap();
    for i in 0..10 {
        npy(&d.join(format!("p{i:04}.npy")), 2, 3, 100 * i);
    }
    npy(&d.join("refHST0000.npy"), 2, 3, 5000);
    npy(&d.join("refHST0010.npy"), 2, 3, 6000);
    npy(&d.join("dark.npy"), 2, 3, 7);
    d.join("s1.par")
}

const PAR: &str = "FILE_PREFIX = s1/p\nNUM_FIRST_IMAGE = 0\nNUM_LAST_IMAGE = 9\nFILE_POSTFIX = .npy\nNUM_IMAGE_1 = 3\n\
    NUM_IMAGE_2 = 2\nSUBTRACT_BACKGROUND = YES\nBACKGROUND_FILE = s1/dark.npy\nCORRECT_FLATFIELD = YES\n\
    FLATFIELD_CHANGING = YES\nFF_PREFIX = s1/refHST\nFF_NUM_FIRST_IMAGE = 0\nFF_NUM_LAST_IMAGE = 10\n\
    FF_FILE_INTERVAL = 10\nFF_POSTFIX = .npy\nANGLE_BETWEEN_PROJECTIONS = 18\nROTATION_AXIS_POSITION = 1.25\n\
    IMAGE_PIXEL_SIZE_1 = 0.65\nZEROCLIPVALUE = 0.001\nTAKE_LOGARITHM = YES\n";

fn scan(par: &Path, text: &str) -> Result<(crate::Scan, Warnings)> {
    fs::write(par, text).unwrap();
    open_scan(par, &OpenOptions::default())
}

fn frame(s: &dyn FrameSource, i: usize) -> Vec<u16> {
    let shape = s.shape();
    let mut out = vec![0u16; shape.frame_len()];
    s.read(&crate::Region::of_frames(shape, i..i + 1), bytemuck::cast_slice_mut(&mut out)).unwrap();
    out
}

#[test]
fn series_with_references() {
    let dir = tempfile::tempdir().unwrap();
    let par = scan_folder(dir.path());
    let (s, w) = scan(&par, PAR).unwrap();
    assert!(w.is_empty(), "{w:?}");
    assert_eq!(s.projections.shape(), Shape::new(10, 2, 3));
    assert_eq!(frame(&*s.projections, 4), [400, 401, 402, 403, 404, 405]);
    assert_eq!(s.flats.iter().map(|f| f.position.0).collect::<Vec<_>>(), [0.0, 10.0]);
    assert_eq!(frame(&*s.flats[1].source, 0)[0], 6000);
    assert_eq!((s.darks.len(), s.darks[0].averaged), (1, true));
    assert_eq!((s.rotation_axis_px, s.pixel_um, s.zero_clip), (Some(1.25), Some([0.65, 0.65]), Some(0.001)));
    assert!((s.angles.rad[9] - 162f64.to_radians()).abs() < 1e-12);
    assert_eq!((s.field_of_view, s.is_attenuation), (Some(FieldOfView::Full), false));
    assert_eq!(s.files.len(), 14);

    // Every other projection; the last flat is then at position 5.
    let (s, _) = scan(&par, &PAR.replace("NUM_LAST_IMAGE = 9\nF", "NUM_LAST_IMAGE = 8\nFILE_INTERVAL = 2\nF")).unwrap();
    assert_eq!((s.projections.shape().frames, frame(&*s.projections, 1)[0], s.flats[1].position.0), (5, 200, 5.0));
    // A list of flat numbers; a missing flat; one flat file for all; none.
    let (s, _) = scan(&par, &PAR.replace("FF_FILE_INTERVAL = 10", "FF_FILE_INTERVAL = [0, 10]")).unwrap();
    assert_eq!(s.flats.len(), 2);
    let (s, w) = scan(&par, &PAR.replace("FF_FILE_INTERVAL = 10", "FF_FILE_INTERVAL = 5")).unwrap();
    assert!(s.flats.len() == 2 && w[0].contains("refHST0005"), "{w:?}");
    let (s, _) = scan(&par, &format!("{PAR}FLATFIELD_CHANGING = NO\nFLATFIELD_FILE = s1/refHST0010.npy\n")).unwrap();
    assert_eq!(frame(&*s.flats[0].source, 0)[0], 6000);
    let (s, _) = scan(&par, &format!("{PAR}CORRECT_FLATFIELD = NO\nSUBTRACT_BACKGROUND = 0\n")).unwrap();
    assert!(s.flats.is_empty() && s.darks.is_empty());
    // Rotation axis along the rows.
    let (s, _) = scan(&par, &format!("{PAR}ROTATION_VERTICAL = NO\n")).unwrap();
    assert_eq!(s.projections.shape(), Shape::new(10, 3, 2));
    assert_eq!(frame(&*s.projections, 1), [100, 103, 101, 104, 102, 105]);
    // 360 degrees.
    let (s, _) = scan(&par, &format!("{PAR}ANGLE_BETWEEN_PROJECTIONS = -36\n")).unwrap();
    assert_eq!(s.field_of_view, Some(FieldOfView::Half));
    assert!(s.angles.rad[1] < 0.0);
    let (s, _) =
        scan(&par, &format!("{PAR}ANGLE_BETWEEN_PROJECTIONS = 36\nOPTIONS = {{'avoidhalftomo':'Y'}}\n")).unwrap();
    assert_eq!(s.field_of_view, Some(FieldOfView::Full));
    // Angles from a file.
    fs::write(dir.path().join("a.txt"), "# deg\n0\n1\n2\n3\n4\n5\n6\n7\n8\n90\n").unwrap();
    let (s, _) = scan(&par, &format!("{PAR}ANGLES_FILE = a.txt\n")).unwrap();
    assert!((s.angles.rad[9] - 90f64.to_radians()).abs() < 1e-12);
    // Moved: absolute paths of another machine.
    let (s, w) = scan(&par, &PAR.replace("s1/", "/nfs/somewhere/else/s1/")).unwrap();
    assert!(s.flats.len() == 2 && w[0].contains("taken instead"), "{w:?}");
}

#[test]
fn what_is_wrong_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let par = scan_folder(dir.path());
    for (from, to, word) in [
        ("FILE_PREFIX = s1/p", "X = 1", "FILE_PREFIX is missing"),
        ("FILE_PREFIX = s1/p", "FILE_PREFIX = s1/q", "q0000.npy"),
        ("NUM_LAST_IMAGE = 9\n", "NUM_LAST_IMAGE = 11\n", "p0010.npy"),
        ("NUM_LAST_IMAGE = 9\n", "NUM_LAST_IMAGE = 99999999999999\n", "make no sense"),
        ("NUM_FIRST_IMAGE = 0\nNUM", "NUM_FIRST_IMAGE = -1\nNUM", "negative"),
        ("NUM_FIRST_IMAGE = 0\nNUM", "NUM_FIRST_IMAGE = 10\nNUM", "make no sense"),
        ("NUM_IMAGE_1 = 3", "LENGTH_OF_NUMERICAL_PART = 0", "digits"),
        ("ANGLE_BETWEEN", "XANGLE_BETWEEN", "ANGLE_BETWEEN_PROJECTIONS is missing"),
        ("ANGLE_BETWEEN_PROJECTIONS = 18", "ANGLE_BETWEEN_PROJECTIONS = 180/10", "line 16"),
        ("s1/dark.npy", "s1/nodark.npy", "nodark.npy"),
        ("FF_PREFIX = s1/refHST", "FF_PREFIX = s1/ref", "ref0010.npy"),
        ("FF_FILE_INTERVAL = 10", "FF_FILE_INTERVAL = 0", "make no sense"),
    ] {
        assert!(PAR.contains(from), "{from}");
        let e = scan(&par, &PAR.replace(from, to)).err().unwrap().to_string();
        assert!(e.contains(word), "{to}: {e}");
        // The file itself still opens, and says why there is no scan.
        let o = crate::registry::open(&par, &OpenOptions::default()).unwrap();
        assert!(matches!(o.content, Content::Other));
        assert!(o.warnings.last().unwrap().contains(word), "{:?}", o.warnings);
        assert!(o.facts.get("parameters").is_some() && o.facts.get("rotation_axis_px").is_some());
    }
    npy(&dir.path().join("s1/small.npy"), 1, 3, 0);
    let e = scan(&par, &PAR.replace("s1/dark.npy", "s1/small.npy")).err().unwrap().to_string();
    assert!(e.contains("another size") && e.contains("small.npy"), "{e}");
    fs::write(dir.path().join("a.txt"), "0\n1\n").unwrap();
    assert!(scan(&par, &format!("{PAR}ANGLES_FILE = a.txt\n")).is_err());
}

#[test]
fn containers_by_frame_number() {
    let dir = tempfile::tempdir().unwrap();
    let par = dir.path().join("x.par");
    let o = crate::CreateOptions::new(Shape::new(4, 1, 2), crate::DType::U16);
    let mut s = crate::npy::SPEC.create.unwrap()(&dir.path().join("all.npy"), &o).unwrap();
    s.put(0, bytemuck::cast_slice(&[0u16, 1, 2, 3, 4, 5, 6, 7])).unwrap();
    s.finish(None).unwrap();
    let text = "MULTIFRAME = 1\nFILE_PREFIX = all.npy\nNUM_FIRST_IMAGE = 1\nNUM_LAST_IMAGE = 3\nANGLE_BETWEEN_PROJECTIONS = 1\n";
    let (s, _) = scan(&par, text).unwrap();
    assert_eq!((s.projections.shape().frames, frame(&*s.projections, 0)), (3, vec![2, 3]));
    assert!(scan(&par, &text.replace("= 3", "= 4")).is_err());
}

#[test]
fn pyhst_tooth() {
    let Some(path) = shared("25-pyhst2-output/tooth.par") else { return };
    let o = crate::registry::open(&path, &OpenOptions::default()).unwrap();
    assert_eq!(o.facts.get("parameters").unwrap()["ROTATION_AXIS_POSITION"], "296.0");
    let (s, w) = open_scan(&path, &OpenOptions::default()).unwrap();
    assert!(w.is_empty(), "{w:?}");
    assert_eq!(s.projections.shape(), Shape::new(181, 2, 640));
    assert_eq!(s.flats.iter().map(|f| f.position.0).collect::<Vec<_>>(), [0.0, 181.0]);
    assert_eq!((s.darks.len(), s.rotation_axis_px, s.pixel_um), (1, Some(296.0), Some([1.0, 1.0])));
    assert!((s.angles.covered_rad().to_degrees() - 180.0).abs() < 1e-5);
    assert_eq!(s.zero_clip, Some(1e-3));
    assert!(frame(&*s.projections, 180).iter().any(|v| *v > 0));
}

#[test]
fn hdf5_input_as_at_soleil() {
    use hdf5_metno::File;
    if crate::nexus::SPEC.reads.is_empty() {
        eprintln!("skipped: this build does not open HDF5 files");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let shape = [4usize, 2, 3];
    let f = File::create(d.join("scan.nxs")).unwrap();
    let g = f.create_group("flyscan_0003").unwrap().create_group("scan_data").unwrap();
    let stack: Vec<u16> = (0..24).collect();
    let image = g.new_dataset::<u16>().shape(shape).create("orca_image").unwrap();
    image.write_raw(&stack).unwrap();
    drop((image, g, f));
    for (file, name, value) in
        [("pre_ref.nxs", "ref_2d", 50f32), ("post_ref.nxs", "ref_2d", 60.0), ("post_dark.nxs", "dark_2d", 5.0)]
    {
        let f = File::create(d.join(file)).unwrap();
        f.new_dataset::<f32>().shape([2usize, 3]).create(name).unwrap().write_raw(&[value; 6]).unwrap();
    }
    let text = "FILE_PREFIX = scan.nxs\nPROJ_DS_NAME = \"/flyscan_0003/scan_data/orca_image\"\nNUM_FIRST_IMAGE = 0\n\
        NUM_LAST_IMAGE = 3\nCORRECT_FLATFIELD = YES\nFLATFIELD_CHANGING = YES\nFF_PREFIX = [\"pre_ref.nxs\", 'post_ref.nxs']\n\
        FF_DS_NAME = ref_2d\nFF_NUM_FIRST_IMAGE = 0\nFF_NUM_LAST_IMAGE = 4\nFF_FILE_INTERVAL = 4\nSUBTRACT_BACKGROUND = YES\n\
        BACKGROUND_FILE = post_dark.nxs\nBACKGROUND_DS_NAME = dark_2d\nANGLE_BETWEEN_PROJECTIONS = 45\n";
    let (s, w) = scan(&d.join("x.par"), text).unwrap();
    assert!(w.is_empty(), "{w:?}");
    assert_eq!(frame(&*s.projections, 3), [18, 19, 20, 21, 22, 23]);
    assert_eq!(s.flats.iter().map(|f| f.position.0).collect::<Vec<_>>(), [0.0, 4.0]);
    let mut out = [0f32; 6];
    s.flats[1].source.read_f32(&s.flats[1].source.shape().full(), &mut Vec::new(), &mut out).unwrap();
    assert_eq!(out, [60.0; 6]);
    assert!(s.darks[0].origin.ends_with("post_dark.nxs:dark_2d"));
    for (from, to, word) in
        [("orca_image", "orca", "orca"), ("= 3\n", "= 4\n", "no frame 4"), ("post_ref.nxs", "lost.nxs", "lost.nxs")]
    {
        let e = scan(&d.join("x.par"), &text.replacen(from, to, 1)).err().unwrap();
        assert!(e.to_string().contains(word) || e.advice().is_some_and(|a| a.contains(word)), "{e}");
    }
}
