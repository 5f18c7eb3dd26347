//! Tests of reading MetaImage and NRRD headers.

use super::*;
use crate::vol::tests::values;
use std::fs;

fn open(path: &Path) -> Result<Opened> {
    crate::registry::open(path, &OpenOptions::default())
}

fn shape(o: &Opened) -> (Shape, DType) {
    let Content::Volume(v) = &o.content else { panic!() };
    (v.source.shape(), v.source.dtype())
}

#[test]
fn mhd_forms() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let data: Vec<u8> = (0..48).collect();
    fs::write(d.join("x.raw"), &data).unwrap();
    let h = |text: &str| {
        fs::write(d.join("x.mhd"), text).unwrap();
        open(&d.join("x.mhd"))
    };
    let base = "ObjectType = Image\nNDims = 3\nDimSize = 4 3 2\nElementType = MET_USHORT\n";
    let o = h(&format!(
        "{base}ElementSpacing = 0.00065 0.00065 0.001\nBinaryDataByteOrderMSB = True\nElementDataFile = x.raw\n"
    ))
    .unwrap();
    assert_eq!(shape(&o), (Shape::new(2, 3, 4), DType::U16));
    assert_eq!(values(&o)[1], 515.0);
    let Content::Volume(v) = &o.content else { panic!() };
    assert_eq!(v.meta.voxel_um, Some([1.0, 0.65, 0.65]));
    // Alias of the order, µm, 2-D, header bytes, data at the end.
    let o = h("NDims = 2\r\nDimSize = 4 3\r\nElementType = MET_UCHAR\r\nElementSpacing = 2 3\r\nDistanceUnits = um\r\nHeaderSize = 5\r\nElementDataFile = x.raw\r\n").unwrap();
    assert_eq!(values(&o)[0], 5.0);
    assert!(o.warnings.iter().any(|w| w.contains("31 bytes")), "{:?}", o.warnings);
    let o = h("NDims = 2\nDimSize = 4 3\nElementType = MET_UCHAR\nHeaderSize = -1\nElementDataFile = x.raw\n").unwrap();
    assert_eq!(values(&o)[0], 36.0);
    // Attached.
    let mut local = b"NDims = 3\nDimSize = 4 3 4\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n".to_vec();
    local.extend(&data);
    fs::write(d.join("l.mha"), &local).unwrap();
    assert_eq!(values(&open(&d.join("l.mha")).unwrap())[47], 47.0);
    for cut in 0..local.len() {
        fs::write(d.join("l.mha"), &local[..cut]).unwrap();
        assert!(open(&d.join("l.mha")).is_err(), "cut at {cut}");
    }
    for (line, word) in [
        ("CompressedData = True\nElementDataFile = x.raw", "compressed"),
        ("BinaryData = False\nElementDataFile = x.raw", "text"),
        ("ElementNumberOfChannels = 3\nElementDataFile = x.raw", "channels"),
        ("ElementDataFile = LIST\nx.raw", "several files"),
        ("ElementDataFile = x%03d.raw 1 2 1", "several files"),
        ("ElementDataFile = ../x.raw", "outside"),
        ("ElementDataFile = /etc/passwd", "outside"),
        ("ElementDataFile = C:\\x.raw", "outside"),
        ("ElementDataFile = y.raw", "y.raw"),
        ("HeaderSize = -7\nElementDataFile = x.raw", "HeaderSize"),
        ("DimSize = 4 99999999999999 99999999999999\nElementDataFile = x.raw", "×"),
        ("DimSize = 4 3 3\nElementDataFile = x.raw", "72 bytes"),
        ("DimSize = 2 2 2 3\nElementDataFile = x.raw", "DimSize"),
        ("", "ElementDataFile"),
    ] {
        let e = h(&format!("{base}{line}\n")).err().unwrap().to_string();
        assert!(e.contains(word), "{line}: {e}");
    }
    // Absolute, but plainly beside the header.
    let absolute = d.canonicalize().unwrap().join("x.raw");
    assert!(h(&format!("{base}ElementByteOrderMSB = False\nElementDataFile = {}\n", absolute.display())).is_ok());
}

#[test]
fn nrrd_forms() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let mut data: Vec<u8> = b"ab\ncd\n".to_vec();
    data.extend(0..24u8);
    fs::write(d.join("x.raw"), &data).unwrap();
    let h = |text: &str| {
        fs::write(d.join("x.nhdr"), text).unwrap();
        open(&d.join("x.nhdr"))
    };
    let base = "NRRD0004\n# c\ntype: unsigned char\ndimension: 3\nsizes: 4 3 2\nencoding: raw\n";
    let o = h(&format!(
        "{base}key:=value\nbyte skip: 6\nspacings: 1.5 1.5 2\nunits: \"um\" \"um\" \"um\"\ndata file: x.raw\n\n"
    ))
    .unwrap();
    assert_eq!((shape(&o), values(&o)[5]), ((Shape::new(2, 3, 4), DType::U8), 5.0));
    let Content::Volume(v) = &o.content else { panic!() };
    assert_eq!(v.meta.voxel_um, Some([2.0, 1.5, 1.5]));
    assert_eq!(o.facts.get("key").unwrap(), "value");
    assert_eq!(values(&h(&format!("{base}line skip: 2\ndata file: x.raw\n")).unwrap())[5], 5.0);
    let o =
        h(&format!("{base}byte skip: -1\nspace directions: (0,0.001,0) (0.001,0,0) (0,0,0.002)\ndatafile: x.raw\n"));
    let o = o.unwrap();
    assert_eq!(values(&o)[5], 5.0);
    let Content::Volume(v) = &o.content else { panic!() };
    assert_eq!(v.meta.voxel_um, Some([2.0, 1.0, 1.0]));
    // Attached, big-endian.
    let mut attached = b"NRRD0001\ntype: short\ndimension: 2\nsizes: 2 2\nendian: big\nencoding: raw\n\n".to_vec();
    attached.extend([0, 1, 0, 2, 0, 3, 255, 255]);
    fs::write(d.join("a.nrrd"), &attached).unwrap();
    assert_eq!(values(&open(&d.join("a.nrrd")).unwrap()), [1.0, 2.0, 3.0, -1.0]);
    for cut in 0..attached.len() {
        fs::write(d.join("a.nrrd"), &attached[..cut]).unwrap();
        assert!(open(&d.join("a.nrrd")).is_err(), "cut at {cut}");
    }
    for (text, word) in [
        ("NRRD0004\ntype: float\ndimension: 3\nsizes: 4 3 2\nencoding: gzip\ndata file: x.raw\n".to_owned(), "gzip"),
        (format!("{base}data file: LIST\nx.raw\n"), "several files"),
        (format!("{base}data file: %d.raw 1 2 1\n"), "several files"),
        (format!("{base}data file: ../x.raw\n"), "outside"),
        (format!("{base}line skip: 99\ndata file: x.raw\n"), "99 lines"),
        (format!("{base}dimension: 2\ndata file: x.raw\n"), "disagree"),
        ("NRRD0004\ntype: float\ndimension: 3\nsizes: 4 3 2\nencoding: raw\ndata file: x.raw\n".to_owned(), "endian"),
        (base.to_owned(), "data file"),
    ] {
        let e = h(&text).err().unwrap().to_string();
        assert!(e.contains(word), "{text}: {e}");
    }
}

#[test]
fn macros_name_the_file_and_types_without_a_word_are_left_out() {
    let meta = VolumeMeta { voxel_um: Some([2.0, 1.0, 0.5]), ..Default::default() };
    let m = imagej_macro("a b.vol", Shape::new(4, 3, 2), DType::F32, &meta).unwrap();
    assert!(m.contains("+ \"a b.vol] image=[32-bit Real] width=2 height=3 offset=0 number=4 gap=0"), "{m}");
    assert!(m.contains("setVoxelSize(0.5, 1, 2, \"micron\");"), "{m}");
    assert!(imagej_macro("a].vol", Shape::new(1, 1, 1), DType::F32, &meta).is_none());
    assert_eq!(names(Path::new("x.raw"), DType::F16), Vec::<PathBuf>::new());
    assert_eq!(names(Path::new("x.raw"), DType::I64).len(), 2);
    assert_eq!(names(Path::new("x.raw"), DType::U8).len(), 3);
}
