//! Every layout written and read back: each pixel of each part, angles, metadata; refusals; nothing left half done.

use super::*;
use crate::model::Scan;
use crate::nexus::H5;
pub(crate) use crate::registry::open;
use crate::registry::{Content, OpenOptions, Opened};
use crate::{FrameSource, Shape};

/// The pixel values of a part: every frame different, every pixel different.
pub(crate) fn frames(part: Part, first: usize, n: usize, shape: Shape, dtype: DType) -> Vec<u8> {
    let kind = match part {
        Part::Projections => 0,
        Part::Flats(i) => 7000 + 500 * i,
        Part::Darks(i) => 13 + 100 * i,
    };
    let mut out = Vec::new();
    for f in first..first + n {
        for p in 0..shape.frame_len() {
            let v = (kind + 31 * f + 3 * p) % 60000;
            match dtype {
                DType::U16 => out.extend((v as u16).to_ne_bytes()),
                DType::F32 => out.extend((v as f32 / 8.0).to_ne_bytes()),
                d => panic!("no test values of type {}", d.name()),
            }
        }
    }
    out
}

/// A scan of 181 small projections with flats on both sides.
pub(crate) fn spec(dtype: DType) -> ScanSpec {
    let n = 181;
    let angles = (0..n).map(|i| (-30.0 + i as f64).to_radians()).collect();
    let r = |frames, position| RefSpec { frames, position, dtype, averaged: false };
    ScanSpec {
        flats: vec![r(5, 0.0), r(3, n as f64)],
        darks: vec![r(4, n as f64)],
        rotation_axis_px: Some(9.25),
        pixel_um: Some([0.65, 0.7]),
        distance_mm: Some(52.0),
        energy_kev: Some(27.5),
        motors: vec![("tomo1tx".into(), -1.25), ("tomo1tz".into(), 3.0)],
        ..ScanSpec::new("s1", Shape::new(n, 6, 20), dtype, angles)
    }
}

/// Writes a scan in blocks of odd sizes.
pub(crate) fn write(path: &Path, spec: &ScanSpec, options: &ScanWriteOptions) -> Result<Vec<PathBuf>> {
    let mut w = ScanWriter::create(path, spec, options)?;
    for part in parts(spec) {
        let (total, dtype) = w.part(part).unwrap();
        let mut first = 0;
        while first < total {
            let n = 7.min(total - first);
            w.put(part, first, &frames(part, first, n, spec.shape, dtype))?;
            first += n;
        }
    }
    w.finish()
}

pub(crate) fn scan_of(opened: Opened) -> Scan {
    match opened.content {
        Content::Scan(s) => *s,
        _ => panic!("no scan: {:?}", opened.warnings),
    }
}

pub(crate) fn all(source: &dyn FrameSource) -> Vec<u8> {
    let shape = source.shape();
    let mut out = vec![0; shape.len().unwrap() as usize * source.dtype().size()];
    source.read(&shape.full(), &mut out).unwrap();
    out
}

fn options(layout: ScanLayout, storage: Storage) -> ScanWriteOptions {
    ScanWriteOptions { layout, storage, overwrite: false }
}

/// A path of the kind the layout wants.
fn path_for(dir: &Path, name: &str, layout: ScanLayout) -> PathBuf {
    if layout.is_folder() { dir.join(name) } else { dir.join(name).with_extension("h5") }
}

/// The frames of a set combined by the rule of its layout, the slow way.
fn combined(part: Part, n: usize, shape: Shape, dtype: DType, median: bool) -> Vec<u8> {
    let bytes = frames(part, 0, n, shape, dtype);
    let mut values = vec![0.0; n * shape.frame_len()];
    dtype.to_f64(&bytes, &mut values);
    let pixel = |p: usize| {
        let mut v: Vec<f64> = (0..n).map(|f| values[f * shape.frame_len() + p]).collect();
        v.sort_by(f64::total_cmp);
        let middle = (v[n / 2] + v[(n - 1) / 2]) / 2.0;
        (if median { middle } else { v.iter().sum::<f64>() / n as f64 }) as f32
    };
    (0..shape.frame_len()).flat_map(|p| pixel(p).to_ne_bytes()).collect()
}

#[test]
fn round_trip_of_every_layout_type_and_storage() {
    let dir = tempfile::tempdir().unwrap();
    let plain = Storage::default();
    let packed = Storage { chunk: None, deflate: Some(4) };
    let slabs = Storage { chunk: Some([500, 2, 20]), deflate: Some(1) };
    let bricks = Storage { chunk: Some([3, 4, 7]), deflate: Some(9) };
    let open_chunks = Storage { chunk: Some([2, 6, 20]), deflate: None };
    let (mut seen, mut refused) = (0, 0);
    for layout in ScanLayout::ALL {
        let is_hdf5 = !matches!(layout, ScanLayout::Edf | ScanLayout::Tiff);
        for dtype in [DType::U16, DType::F32] {
            for storage in [plain, packed, slabs, bricks, open_chunks] {
                let path = path_for(dir.path(), &format!("s{seen}"), layout);
                let spec = spec(dtype);
                if !is_hdf5 && storage != plain {
                    let e = write(&path, &spec, &options(layout, storage)).unwrap_err();
                    assert!(e.to_string().contains("without chunks or compression"), "{e}");
                    refused += 1;
                    continue;
                }
                seen += 1;
                let files = write(&path, &spec, &options(layout, storage)).unwrap();
                assert!(files.iter().all(|f| f.exists()), "{files:?}");
                let opened = open(&path, &OpenOptions::default()).unwrap();
                assert_eq!(opened.format, layout.name());
                assert!(opened.warnings.is_empty(), "{layout:?}: {:?}", opened.warnings);
                let scan = scan_of(opened);
                assert_eq!(scan.projections.dtype(), dtype);
                assert!(
                    all(&*scan.projections) == frames(Part::Projections, 0, 181, spec.shape, dtype),
                    "{layout:?} {storage:?}"
                );
                let averaged = layout == ScanLayout::Edf;
                assert_eq!((scan.flats.len(), scan.darks.len()), (2, 1));
                for (i, n) in [(0, 5), (1, 3)] {
                    let want = match averaged {
                        true => combined(Part::Flats(i), n, spec.shape, dtype, true),
                        false => frames(Part::Flats(i), 0, n, spec.shape, dtype),
                    };
                    assert!(all(&*scan.flats[i].source) == want, "{layout:?} {storage:?}");
                    assert_eq!(scan.flats[i].position.0, spec.flats[i].position);
                    assert_eq!(scan.flats[i].averaged, averaged);
                }
                let want = match averaged {
                    true => combined(Part::Darks(0), 4, spec.shape, dtype, false),
                    false => frames(Part::Darks(0), 0, 4, spec.shape, dtype),
                };
                assert!(all(&*scan.darks[0].source) == want, "{layout:?} {storage:?}");
                for (a, b) in scan.angles.rad.iter().zip(&spec.angles_rad) {
                    assert!((a - b).abs() < 1e-14, "{a} {b}");
                }
                let near = |p: [f64; 2]| (p[0] - 0.65).abs() < 1e-9 && (p[1] - 0.7).abs() < 1e-9;
                assert!(scan.pixel_um.is_some_and(near), "{layout:?}: {:?}", scan.pixel_um);
                assert_eq!(scan.rotation_axis_px, is_hdf5.then_some(9.25));
            }
        }
    }
    assert_eq!((seen, refused), (34, 16));
}

#[test]
fn an_edf_folder_is_a_scan_by_its_names_and_by_its_par() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(DType::U16);
    spec.pixel_um = Some([0.65; 2]);
    let n = spec.shape.frames;
    let step = 360.0 / n as f64;
    for (name, even, positions) in [
        ("both", true, vec![0.0, 181.0]),
        ("uneven", false, vec![0.0, 181.0]),
        ("middle", true, vec![0.0, 45.0, 181.0]),
        ("post", true, vec![181.0]),
        ("none", true, vec![]),
    ] {
        let r = |position: &f64| RefSpec { frames: 4, position: *position, dtype: DType::U16, averaged: false };
        spec.flats = positions.iter().map(r).collect();
        spec.angles_rad = (0..n).map(|i| (step * i as f64).to_radians()).collect();
        if !even {
            spec.angles_rad[7] += 0.01;
        }
        let folder = dir.path().join(name);
        write(&folder, &spec, &ScanWriteOptions::new(ScanLayout::Edf)).unwrap();
        assert_eq!(folder.join("angles.txt").exists(), !even);
        let opened = open(&folder, &OpenOptions::default()).unwrap();
        let no_flats = positions.is_empty();
        assert_eq!(opened.warnings.len(), usize::from(no_flats), "{:?}", opened.warnings);
        let by_name = scan_of(opened);
        let opened = open(&folder.join(format!("{name}.par")), &OpenOptions::default()).unwrap();
        assert!(opened.warnings.is_empty(), "{:?}", opened.warnings);
        let by_par = scan_of(opened);
        for scan in [&by_name, &by_par] {
            assert_eq!(all(&*scan.projections), frames(Part::Projections, 0, n, spec.shape, DType::U16));
            assert_eq!(scan.flats.iter().map(|f| f.position.0).collect::<Vec<_>>(), positions);
            for (i, f) in scan.flats.iter().enumerate() {
                assert!(f.averaged && f.source.dtype() == DType::F32);
                assert_eq!(all(&*f.source), combined(Part::Flats(i), 4, spec.shape, DType::U16, true));
            }
            assert_eq!((scan.darks.len(), scan.pixel_um), (1, Some([0.65; 2])));
            for (a, b) in scan.angles.rad.iter().zip(&spec.angles_rad) {
                assert!((a - b).abs() < 1e-8, "{a} {b}");
            }
        }
        assert_eq!(by_par.rotation_axis_px, Some(9.25));
    }
    // Names the readers would take for something else.
    for name in ["ref_1", "dark", "darkend", "x.edf", "a_slice_1"] {
        let e = write(&dir.path().join(name), &spec, &ScanWriteOptions::new(ScanLayout::Edf)).unwrap_err();
        assert!(e.to_string().contains("would be taken for"), "{name}: {e}");
    }
}

#[test]
fn a_scan_copies_between_layouts() {
    let dir = tempfile::tempdir().unwrap();
    let first = dir.path().join("one.h5");
    let mut spec = spec(DType::U16);
    // Flats in the middle: only NXtomo can say so.
    spec.flats[1].position = 90.0;
    write(&first, &spec, &ScanWriteOptions::new(ScanLayout::NxTomo)).unwrap();
    let scan = scan_of(open(&first, &OpenOptions::default()).unwrap());
    assert_eq!(scan.flats[1].position.0, 90.0);
    assert_eq!(all(&*scan.projections), frames(Part::Projections, 0, 181, spec.shape, DType::U16));

    let second = dir.path().join("two.h5");
    let again = ScanSpec::of(&scan);
    let mut told = 0;
    let mut progress = |bytes| {
        told = bytes;
        Ok(())
    };
    write_scan(&second, &scan, &again, &ScanWriteOptions::new(ScanLayout::NxTomo), &mut progress).unwrap();
    assert_eq!(told, again.bytes().unwrap());
    let copy = scan_of(open(&second, &OpenOptions::default()).unwrap());
    assert_eq!(all(&*copy.projections), all(&*scan.projections));
    assert_eq!(all(&*copy.flats[1].source), all(&*scan.flats[1].source));
    // DXchange says it by the angle of the flats; Flyscan cannot.
    let third = dir.path().join("three.h5");
    write_scan(&third, &scan, &again, &ScanWriteOptions::new(ScanLayout::DxChange), &mut |_| Ok(())).unwrap();
    let copy = scan_of(open(&third, &OpenOptions::default()).unwrap());
    assert_eq!(copy.flats.iter().map(|f| f.position.0).collect::<Vec<_>>(), [0.0, 90.0]);
    assert_eq!(all(&*copy.flats[1].source), all(&*scan.flats[1].source));
    assert_eq!(copy.darks[0].position.0, 181.0);
    let folder = dir.path().join("five");
    let e = write_scan(&folder, &scan, &again, &ScanWriteOptions::new(ScanLayout::Flyscan), &mut |_| Ok(()));
    assert!(e.unwrap_err().to_string().contains("90"));
    // Stopped half way: nothing is left.
    let mut stop = |_| Err(Error::interrupted());
    let e =
        write_scan(&dir.path().join("four.h5"), &scan, &again, &ScanWriteOptions::new(ScanLayout::NxTomo), &mut stop);
    assert_eq!(e.unwrap_err().fault(), crate::Fault::Interrupted);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn types_are_widened_without_loss() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mixed.h5");
    let mut spec = spec(DType::U16);
    spec.flats = vec![RefSpec { frames: 1, position: 0.0, dtype: DType::F32, averaged: true }];
    write(&path, &spec, &ScanWriteOptions::new(ScanLayout::NxTomo)).unwrap();
    let scan = scan_of(open(&path, &OpenOptions::default()).unwrap());
    assert_eq!(scan.projections.dtype(), DType::F32);
    let want = DType::U16.convert_lossless(&frames(Part::Projections, 0, 181, spec.shape, DType::U16), DType::F32);
    assert_eq!(Some(all(&*scan.projections)), want);
    assert_eq!(all(&*scan.flats[0].source), frames(Part::Flats(0), 0, 1, spec.shape, DType::F32));

    // A Flyscan folder keeps an average as it is.
    let folder = dir.path().join("mixed");
    write(&folder, &spec, &ScanWriteOptions::new(ScanLayout::Flyscan)).unwrap();
    let scan = scan_of(open(&folder, &OpenOptions::default()).unwrap());
    assert!(scan.flats[0].averaged && scan.flats[0].origin.ends_with("/ref_2d"));
    assert_eq!(all(&*scan.flats[0].source), frames(Part::Flats(0), 0, 1, spec.shape, DType::F32));
    assert_eq!(scan.projections.dtype(), DType::U16);
}

#[test]
fn flyscan_means_are_means() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("m");
    let spec = spec(DType::U16);
    let files = write(&folder, &spec, &ScanWriteOptions::new(ScanLayout::Flyscan)).unwrap();
    let names: Vec<_> = files.iter().map(|f| f.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["m.nxs", "pre_ref.nxs", "post_ref.nxs", "post_dark.nxs", "m.par"]);
    let h5 = H5::open(&folder.join("pre_ref.nxs")).unwrap();
    let mean = h5.read_f64("/ref_2d").unwrap();
    let stack = h5.read_f64("/ref_0").unwrap();
    let n = spec.shape.frame_len();
    for p in 0..n {
        let want = (0..5).map(|f| stack[f * n + p]).sum::<f64>() / 5.0;
        assert!((mean[p] - want).abs() < 1e-3);
    }
}

#[test]
fn the_par_of_a_flyscan_folder_is_a_scan_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(DType::U16);
    for (name, positions) in [("both", vec![0.0, 181.0]), ("pre", vec![0.0]), ("post", vec![181.0]), ("none", vec![])] {
        let r = |position: &f64| RefSpec { frames: 2, position: *position, dtype: DType::U16, averaged: false };
        spec.flats = positions.iter().map(r).collect();
        let folder = dir.path().join(name);
        write(&folder, &spec, &ScanWriteOptions::new(ScanLayout::Flyscan)).unwrap();
        let opened = open(&folder.join(format!("{name}.par")), &OpenOptions::default()).unwrap();
        assert_eq!(opened.format, "par");
        assert!(opened.warnings.is_empty(), "{:?}", opened.warnings);
        let scan = scan_of(opened);
        assert_eq!(all(&*scan.projections), frames(Part::Projections, 0, 181, spec.shape, DType::U16));
        assert_eq!(scan.flats.iter().map(|f| f.position.0).collect::<Vec<_>>(), positions);
        assert!(scan.flats.iter().chain(&scan.darks).all(|f| f.averaged));
        assert_eq!((scan.darks.len(), scan.pixel_um, scan.rotation_axis_px), (1, spec.pixel_um, Some(9.25)));
        assert!((scan.angles.rad[180].to_degrees() - 180.0).abs() < 1e-6);
        // The folder itself, by the probe.
        let folder = open(&folder, &OpenOptions::default()).unwrap();
        assert_eq!(folder.format, "flyscan");
        assert_eq!(scan_of(folder).flats.len(), positions.len());
    }
}

#[test]
fn refusals() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(DType::U16);
    for layout in ScanLayout::ALL {
        let path = path_for(dir.path(), &format!("{}_r", layout.name()), layout);
        let o = ScanWriteOptions::new(layout);
        // Incomplete: refused at the end, nothing left.
        let mut w = ScanWriter::create(&path, &spec, &o).unwrap();
        w.put(Part::Projections, 0, &frames(Part::Projections, 0, 2, spec.shape, DType::U16)).unwrap();
        // Out of order, too short, not announced.
        let two = frames(Part::Projections, 0, 2, spec.shape, DType::U16);
        assert!(w.put(Part::Projections, 0, &two).is_err());
        assert!(w.put(Part::Projections, 2, &two[1..]).is_err());
        assert!(w.put(Part::Flats(9), 0, &two).is_err());
        assert!(w.finish().unwrap_err().to_string().contains("incomplete"));
        assert!(!path.exists());
        write(&path, &spec, &o).unwrap();
        assert!(ScanWriter::create(&path, &spec, &o).is_err());
        let again = ScanWriteOptions { overwrite: true, ..o };
        write(&path, &spec, &again).unwrap();
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), ScanLayout::ALL.len());
    // What folders of TIFF files cannot say.
    let tiff = |s: &ScanSpec| {
        ScanWriter::create(&dir.path().join("t"), s, &ScanWriteOptions::new(ScanLayout::Tiff)).err().unwrap()
    };
    let mut odd = spec.clone();
    odd.flats[1].position = 90.0;
    assert!(tiff(&odd).to_string().contains("after projection 90"));
    odd.flats[1].position = 0.0;
    assert!(tiff(&odd).to_string().contains("two sets of flats"));
    odd.is_attenuation = true;
    assert!(tiff(&odd).to_string().contains("−log"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), ScanLayout::ALL.len());
    let mut bad = spec.clone();
    bad.angles_rad.pop();
    let mut none = spec.clone();
    none.shape.frames = 0;
    let mut huge = spec;
    huge.shape.rows = usize::MAX / 4;
    for s in [bad, none, huge] {
        assert!(ScanWriter::create(&dir.path().join("x.h5"), &s, &ScanWriteOptions::new(ScanLayout::NxTomo)).is_err());
    }
}
