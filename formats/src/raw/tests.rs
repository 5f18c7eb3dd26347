//! Tests of reading and writing `.raw` as a whole.

use super::*;
use crate::io::{NOT_READ, with_suffix};
use crate::model::{DType, GreyScale, VolumeStats};
use crate::vol::tests::{shared, values};
use crate::{ByteOrder, Shape, VolumeMeta};
use std::fs;

#[test]
fn every_type_is_written_and_read_back_with_its_grey_scale() {
    let dir = tempfile::tempdir().unwrap();
    let shape = Shape::new(3, 2, 5);
    for d in DType::ALL {
        let path = dir.path().join(format!("a {}.raw", d.name()));
        let data: Vec<u8> = (0..30 * d.size()).map(|i| (i % 60) as u8).collect();
        let mut o = CreateOptions::new(shape, d);
        o.meta.grey = Some(GreyScale { slope: 0.125, offset: -3.5, unit: "1/cm".into() });
        o.meta.voxel_um = Some([0.65; 3]);
        let mut s = create(&path, &o).unwrap();
        s.put(0, &data).unwrap();
        let stats = VolumeStats { min: 0.0, max: 9.0, s1: 1.0, s2: 8.0, big_s1: 2.0, big_s2: 7.0 };
        let files = s.finish(Some(&stats)).unwrap();
        assert_eq!(*files.last().unwrap(), with_suffix(&path, ".info"));
        let opened = crate::registry::open(&path, &OpenOptions::default()).unwrap();
        assert_eq!((opened.format, opened.warnings.len()), ("raw", 0), "{:?}", opened.warnings);
        let Content::Volume(v) = &opened.content else { panic!() };
        assert_eq!((v.source.shape(), v.source.dtype()), (shape, d));
        assert_eq!((&v.meta.grey, v.meta.voxel_um, v.meta.stats), (&o.meta.grey, Some([0.65; 3]), Some(stats)));
        let mut out = vec![0; data.len()];
        v.source.read(&shape.full(), &mut out).unwrap();
        assert_eq!(out, data);
        for header in crate::sidecar::names(&path, d) {
            if header.extension().is_some_and(|e| e == "ijm") {
                continue;
            }
            let o = crate::registry::open(&header, &OpenOptions::default()).unwrap();
            let Content::Volume(v) = &o.content else { panic!() };
            assert_eq!((v.source.shape(), v.source.dtype()), (shape, d), "{}", header.display());
        }
    }
}

#[test]
fn old_sidecars_do_not_outlive_overwritten_data() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.raw");
    let write = |shape: Shape, overwrite: bool| -> Result<()> {
        let o = CreateOptions { overwrite, sidecars: false, ..CreateOptions::new(shape, DType::U8) };
        let mut s = create(&path, &o)?;
        s.put(0, &vec![1u8; shape.len()? as usize])?;
        s.finish(None).map(drop)
    };
    write(Shape::new(1, 2, 3), false).unwrap();
    assert!(write(Shape::new(1, 2, 3), false).is_err());
    // Only a sidecar is left: it is not replaced silently either.
    fs::remove_file(&path).unwrap();
    assert!(write(Shape::new(1, 2, 3), false).is_err());
    write(Shape::new(4, 5, 6), true).unwrap();
    assert_eq!(values(&crate::registry::open(&path, &OpenOptions::default()).unwrap()).len(), 120);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn dimensions_from_the_name_the_info_or_the_user() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let data: Vec<u8> = (0..48).collect();
    let file = |name: &str| {
        let p = d.join(name);
        fs::write(&p, &data).unwrap();
        p
    };
    let open = |p: &Path| crate::registry::open(p, &OpenOptions::default());
    // Name, both orders.
    let p = file("x_4x3x2_uint16_be.raw");
    assert_eq!(probe(&p).unwrap().1.confidence, Confidence::Consistent);
    assert_eq!(values(&open(&p).unwrap())[1], 515.0);
    assert_eq!(values(&open(&file("x_4_3_2_u16le.raw")).unwrap())[1], 770.0);
    // Name without a type: by the length, with a warning.
    let o = open(&file("y_4x3x2.raw")).unwrap();
    assert!(o.warnings.iter().any(|w| w.contains("uint16 assumed")), "{:?}", o.warnings);
    assert!(o.warnings.iter().any(|w| w.contains("little-endian assumed")), "{:?}", o.warnings);
    // A name that does not fit.
    let e = open(&file("z_5x3x2_uint16.raw")).err().unwrap();
    assert!(e.to_string().contains("60 bytes") && e.to_string().contains("48 bytes"), "{e}");
    // Only the user knows.
    let p = file("plain.raw");
    assert!(open(&p).err().unwrap().advice().unwrap().contains("--dims"));
    let o = OpenOptions {
        shape: Some(Shape::new(2, 2, 2)),
        dtype: Some(DType::I16),
        byte_order: Some(ByteOrder::Big),
        skip: Some(8),
        ..Default::default()
    };
    let opened = crate::registry::open(&p, &o).unwrap();
    assert_eq!(values(&opened)[0], f32::from(i16::from_be_bytes([8, 9])));
    assert!(opened.warnings.iter().any(|w| w.contains("24 bytes after")));
    // Also beside an .info that says nothing readable; without the type it is not enough.
    fs::write(with_suffix(&p, ".info"), "NUM_X = many\n").unwrap();
    let opened = crate::registry::open(&p, &o).unwrap();
    assert!(opened.warnings.iter().any(|w| w.contains("not used") && w.contains("NUM_X")), "{:?}", opened.warnings);
    let e = crate::registry::open(&p, &OpenOptions { dtype: None, ..o.clone() }).err().unwrap();
    assert!(e.to_string().contains("NUM_X") && e.advice().unwrap().contains("--dims and --dtype"), "{e}");
    fs::remove_file(with_suffix(&p, ".info")).unwrap();
    // Any name will do then.
    let o = OpenOptions { shape: Some(Shape::new(2, 3, 4)), dtype: Some(DType::U16), ..Default::default() };
    assert_eq!(values(&crate::registry::open(&file("noext"), &o).unwrap()).len(), 24);
    // pymicro's form: type in the name, three lines of info.
    let p = file("s_4x3x4_uint8_bin.raw");
    fs::write(with_suffix(&p, ".info"), "! PyHST_SLAVE VOLUME INFO FILE\nNUM_X = 4\nNUM_Y = 3\nNUM_Z = 4\n").unwrap();
    let opened = open(&p).unwrap();
    assert_eq!(values(&opened).len(), 48);
    assert!(opened.warnings.is_empty());
}

#[test]
fn edges_that_differ_come_back() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.raw", "a.vol"] {
        let path = dir.path().join(name);
        for voxel in [[1.3, 0.65, 0.65], [0.1, 0.2, 1.0 / 3.0], [0.65; 3]] {
            let mut o = CreateOptions::new(Shape::new(2, 2, 3), DType::F32);
            (o.meta.voxel_um, o.overwrite, o.sidecars) = (Some(voxel), true, false);
            let mut s = (crate::registry::writer_for(&path, None).unwrap().create.unwrap())(&path, &o).unwrap();
            s.put(0, &[0; 48]).unwrap();
            s.finish(None).unwrap();
            let (v, _) = crate::registry::open_volume(&path, &OpenOptions::default()).unwrap();
            let back = v.meta.voxel_um.unwrap();
            assert!((0..3).all(|k| (back[k] - voxel[k]).abs() <= 1e-6 * voxel[k]), "{name}: {back:?} for {voxel:?}");
        }
    }
}

#[test]
fn skipped_slices_are_said_to_be_unread() {
    let dir = tempfile::tempdir().unwrap();
    let p = dir.path().join("plain.raw");
    fs::write(&p, (0..48).collect::<Vec<u8>>()).unwrap();
    // Slices of 12 bytes.
    for (skip, frames, told) in
        [(0, 4, None), (11, 3, None), (12, 3, Some("as long as 1 slice:")), (36, 1, Some("3 slices"))]
    {
        fs::write(&p, vec![7; skip + frames * 12]).unwrap();
        let o = OpenOptions {
            shape: Some(Shape::new(frames, 3, 4)),
            dtype: Some(DType::U8),
            skip: Some(skip as u64),
            ..Default::default()
        };
        let opened = crate::registry::open(&p, &o).unwrap();
        let said = opened.warnings.iter().find(|w| w.ends_with(NOT_READ));
        assert_eq!(said.is_some(), told.is_some(), "{skip}: {:?}", opened.warnings);
        assert!(told.is_none_or(|t| said.unwrap().contains(t)), "{skip}: {said:?}");
    }
}

#[test]
fn real_raw_volume() {
    let Some(p) = shared("16-raw-volumes-pymicro/sand_200x200x100_uint8.raw") else { return };
    let o = crate::registry::open(&p, &OpenOptions::default()).unwrap();
    let Content::Volume(v) = &o.content else { panic!() };
    assert_eq!((v.source.shape(), v.source.dtype()), (Shape::new(100, 200, 200), DType::U8));
    let _ = VolumeMeta::default();
}
