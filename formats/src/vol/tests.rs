//! Tests of reading and writing `.vol` as a whole.

use super::*;
use crate::{Content, Region, Shape, VolumeMeta};
use std::fs;
use std::sync::Arc;

/// A file of the shared test data, or `None` with a line that says why the test is skipped.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("TOMOKIT_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let path = root.join("data").join(name);
    if !path.exists() {
        eprintln!("skipped: {} is not there (set TOMOKIT_SHARED)", path.display());
        return None;
    }
    Some(path)
}

/// The values of a volume as f32.
pub(crate) fn values(opened: &Opened) -> Vec<f32> {
    let Content::Volume(v) = &opened.content else { panic!("no volume") };
    let shape = v.source.shape();
    let mut out = vec![0.0; shape.len().unwrap() as usize];
    v.source.read_f32(&shape.full(), &mut Vec::new(), &mut out).unwrap();
    out
}

fn ramp(shape: Shape) -> Vec<f32> {
    (0..shape.len().unwrap()).map(|i| i as f32 * 0.25 - 7.0).collect()
}

fn options(shape: Shape) -> CreateOptions {
    let meta = VolumeMeta { voxel_um: Some([0.65; 3]), origin_1based: Some([3, 4, 5]), ..Default::default() };
    CreateOptions { meta, ..CreateOptions::new(shape, DType::F32) }
}

#[test]
fn writes_and_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.vol");
    let shape = Shape::new(5, 6, 7);
    let data = ramp(shape);
    let bytes: &[u8] = bytemuck::cast_slice(&data);
    let mut sink = create(&path, &options(shape)).unwrap();
    sink.put(0, &bytes[..2 * 168]).unwrap();
    assert!(sink.put(3, &bytes[..168]).is_err());
    assert!(sink.put(2, &bytes[..100]).is_err());
    sink.put(2, &bytes[2 * 168..]).unwrap();
    assert!(sink.put(5, &bytes[..168]).is_err());
    assert!(!path.exists());
    let files = sink.finish(None).unwrap();
    let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    let mut sorted = files.clone();
    sorted.sort();
    assert_eq!(sorted, names);
    assert_eq!(files[0], path);
    assert!(files.last().unwrap().ends_with("a.vol.info"));
    assert_eq!(fs::metadata(dir.path().join("histogram_a.edf")).unwrap().len(), 8_001_024);

    let (spec, hit) = probe(&path).unwrap();
    assert_eq!((spec.name, hit.confidence), ("vol", Confidence::Consistent));
    for no_mmap in [false, true] {
        let o = crate::registry::open(&path, &OpenOptions { no_mmap, ..Default::default() }).unwrap();
        assert_eq!(values(&o), data);
        let Content::Volume(v) = &o.content else { panic!() };
        assert_eq!(v.meta.voxel_um, Some([0.65; 3]));
        assert_eq!(v.meta.origin_1based, Some([3, 4, 5]));
        let s = v.meta.stats.unwrap();
        assert_eq!((s.min, s.max), (-7.0, 45.25));
        assert!(o.warnings.is_empty(), "{:?}", o.warnings);
        assert_eq!(v.source.mapped(1..3).is_some(), !no_mmap);
    }
    // The other headers beside it.
    for ext in ["mhd", "nhdr"] {
        let o = crate::registry::open(&dir.path().join(format!("a.vol.{ext}")), &OpenOptions::default()).unwrap();
        assert_eq!(values(&o), data);
        let Content::Volume(v) = &o.content else { panic!() };
        assert_eq!(v.meta.voxel_um, Some([0.65; 3]), "{ext}");
    }
    assert!(create(&path, &options(shape)).is_err(), "exists");
    assert!(create(&dir.path().join("b.vol"), &CreateOptions::new(shape, DType::U16)).is_err());
}

#[test]
fn pyhst_file_reads_and_rewrites_to_the_same_bytes() {
    let Some(path) = shared("25-pyhst2-output/tooth.vol") else { return };
    let o = crate::registry::open(&path, &OpenOptions::default()).unwrap();
    assert_eq!((o.format, o.warnings.len()), ("vol", 0));
    let Content::Volume(v) = &o.content else { panic!() };
    assert_eq!(v.source.shape(), Shape::new(2, 640, 640));
    assert_eq!(v.meta.voxel_um, Some([1.0; 3]));
    let data = v.source.mapped(0..2).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("tooth.vol");
    let mut opts = CreateOptions::new(v.source.shape(), DType::F32);
    opts.meta = v.meta.clone();
    let mut sink = create(&out, &opts).unwrap();
    sink.put(0, data).unwrap();
    sink.finish(None).unwrap();
    for suffix in ["", ".info", ".xml"] {
        assert_eq!(fs::read(with_suffix(&out, suffix)).unwrap(), fs::read(with_suffix(&path, suffix)).unwrap());
    }
}

#[test]
fn missing_info() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scan.vol");
    fs::write(&path, [0u8; 96]).unwrap();
    let open = |o: &OpenOptions| crate::registry::open(&path, o);
    let e = open(&OpenOptions::default()).err().unwrap();
    assert!(e.to_string().contains("96 bytes") && e.advice().unwrap().contains("--dims"), "{e}");
    // Dims from the user, type by the length.
    let with = |shape| OpenOptions { shape: Some(shape), ..Default::default() };
    for (shape, dtype) in
        [(Shape::new(2, 3, 4), DType::F32), (Shape::new(4, 3, 4), DType::U16), (Shape::new(8, 3, 4), DType::U8)]
    {
        let o = open(&with(shape)).unwrap();
        let Content::Volume(v) = &o.content else { panic!() };
        assert_eq!((v.source.shape(), v.source.dtype()), (shape, dtype));
        assert!(o.warnings.iter().any(|w| w.contains("scan.vol.info is missing")), "{:?}", o.warnings);
        assert_eq!(o.warnings.iter().any(|w| w.contains("assumed")), dtype != DType::F32);
    }
    // PyHST2's placeholder.
    let mut bytes = [0u8; 96];
    bytes[95] = 0x20;
    fs::write(&path, bytes).unwrap();
    let o = open(&with(Shape::new(2, 3, 4))).unwrap();
    assert!(o.warnings.iter().any(|w| w.contains("did not finish")), "{:?}", o.warnings);
    // Dims from the XML, either spelling.
    for tag in ["voxelsize", "voxelSize"] {
        let xml = format!(
            "<?xml version=\"1.0\"?>\n<tomodb2><reconstruction><listSubVolume><subVolume>\n <SIZEX>4</SIZEX><SIZEY> 3 </SIZEY>\
             <SIZEZ>2</SIZEZ><{tag}>0.5</{tag}><s1>1 </s1><S1>2</S1></subVolume></listSubVolume></reconstruction></tomodb2>"
        );
        fs::write(dir.path().join("scan.vol.xml"), xml).unwrap();
        let o = open(&OpenOptions::default()).unwrap();
        let Content::Volume(v) = &o.content else { panic!() };
        assert_eq!((v.source.shape(), v.meta.voxel_um), (Shape::new(2, 3, 4), Some([0.5; 3])));
    }
    fs::write(dir.path().join("scan.vol.xml"), "<tomodb2><SIZEX>4</SIZEY>").unwrap();
    assert!(open(&OpenOptions::default()).is_err());
    // Dims from the name.
    let named = dir.path().join("scan_4x3x2.vol");
    fs::write(&named, [0u8; 96]).unwrap();
    assert_eq!(values(&crate::registry::open(&named, &OpenOptions::default()).unwrap()).len(), 24);
}

#[test]
fn wrong_lengths_state_both_numbers_and_what_fits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.vol");
    let info = "NUM_X = 4\nNUM_Y = 3\nNUM_Z = 2\n";
    fs::write(dir.path().join("x.vol.info"), info).unwrap();
    for len in (0..=200).filter(|l| ![24, 48, 96].contains(l)) {
        fs::write(&path, vec![1u8; len]).unwrap();
        let e = crate::registry::open(&path, &OpenOptions::default()).err().unwrap();
        let text = e.to_string();
        assert!(text.contains("96 bytes") && text.contains(&format!("{len} bytes")), "{text}");
        if len > 0 && len % 48 == 0 {
            assert!(e.advice().unwrap().contains(&format!("{} slices", len / 48)), "{:?}", e.advice());
        }
        let hit = (SPEC.probe)(&Candidate::look(&path).unwrap()).unwrap();
        assert_eq!(hit.confidence, Confidence::Name);
    }
    // 400 bytes too many: a header the user can skip.
    fs::write(&path, vec![1u8; 496]).unwrap();
    let e = crate::registry::open(&path, &OpenOptions::default()).err().unwrap();
    assert!(e.advice().unwrap().contains("--skip 400"));
    assert!(crate::registry::open(&path, &OpenOptions { skip: Some(400), ..Default::default() }).is_ok());
    assert!(crate::registry::open(&path, &OpenOptions { skip: Some(u64::MAX), ..Default::default() }).is_err());
    // Hostile numbers.
    for info in [
        "NUM_X = 99999999999999\nNUM_Y = 99999999999999\nNUM_Z = 99999999999999",
        "NUM_X = 18446744073709551615\nNUM_Y = 1\nNUM_Z = 1",
        "NUM_X = 99999999999999999999999\nNUM_Y = 1",
        "NUM_X = -1\nNUM_Y = 1",
    ] {
        fs::write(dir.path().join("x.vol.info"), info).unwrap();
        assert!(crate::registry::open(&path, &OpenOptions::default()).is_err());
        assert!((SPEC.probe)(&Candidate::look(&path).unwrap()).is_some());
    }
    // Any damaged sidecar: an error or the same data, never a panic.
    fs::write(&path, vec![1u8; 96]).unwrap();
    for cut in 0..info.len() {
        fs::write(dir.path().join("x.vol.info"), &info[..cut]).unwrap();
        if let Ok(o) = crate::registry::open(&path, &OpenOptions::default()) {
            assert_eq!(values(&o).len() * 4, 96, "cut at {cut}");
        }
    }
}

#[test]
fn sparse_volume_of_40_gb_opens_and_warns() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("big.vol");
    let f = fs::File::create(&path).unwrap();
    if f.set_len(40_000_000_000).is_err() {
        eprintln!("skipped: no sparse files here");
        return;
    }
    fs::write(dir.path().join("big.vol.info"), "NUM_X = 2000\nNUM_Y = 2000\nNUM_Z = 2500\n").unwrap();
    let t = std::time::Instant::now();
    let o = crate::registry::open(&path, &OpenOptions::default()).unwrap();
    let Content::Volume(v) = &o.content else { panic!() };
    let mut out = vec![1u8; 4 * 100 * 100];
    v.source.read(&Region { frames: 2499..2500, rows: 1900..2000, cols: 0..100 }, &mut out).unwrap();
    assert!(out.iter().all(|b| *b == 0));
    assert!(t.elapsed().as_millis() < 1000);
    // Windows makes a file sparse only where it is asked to.
    let sparse = crate::io::allocated_bytes(&path).is_some_and(|n| n < 40_000_000_000);
    assert!(sparse || cfg!(windows));
    assert_eq!(o.warnings.iter().any(|w| w.contains("sparse")), sparse, "{:?}", o.warnings);
}

#[test]
fn interrupted_runs_resume_only_over_their_own_synced_slices() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.vol");
    let (part, journal) = (with_suffix(&path, ".part"), with_suffix(&path, ".part.json"));
    let shape = Shape::new(4, 5, 5);
    let data = ramp(shape);
    let bytes: &[u8] = bytemuck::cast_slice(&data);
    let resume = CreateOptions { resume: true, ..options(shape) };

    let mut sink = create(&path, &resume).unwrap();
    sink.put(0, &bytes[..300]).unwrap();
    sink.keep_partial();
    drop(sink);
    assert!(part.is_file() && journal.is_file() && !path.exists());
    // A kill in the middle of a later slice: more bytes than the journal says.
    let mut longer = fs::read(&part).unwrap();
    longer.extend([7u8; 50]);
    fs::write(&part, &longer).unwrap();

    let keep = fs::read(&journal).unwrap();
    let restore = || {
        fs::write(&part, &longer).unwrap();
        fs::write(&journal, &keep).unwrap();
    };
    // Another shape or other metadata, a short part, a broken or missing journal: from the beginning.
    let other = CreateOptions { shape: Shape::new(5, 5, 5), ..resume.clone() };
    let mut meta = resume.clone();
    meta.meta.voxel_um = None;
    for o in [other, meta, CreateOptions { resume: false, ..resume.clone() }] {
        restore();
        assert_eq!(create(&path, &o).unwrap().stored(), 0);
        assert!(!journal.exists());
    }
    for cut in 0..keep.len() {
        restore();
        fs::write(&journal, &keep[..cut]).unwrap();
        assert_eq!(create(&path, &resume).unwrap().stored(), 0);
    }
    restore();
    fs::write(&part, &longer[..299]).unwrap();
    assert_eq!(create(&path, &resume).unwrap().stored(), 0);

    restore();
    let mut sink = create(&path, &resume).unwrap();
    assert_eq!(sink.stored(), 3);
    assert!(sink.put(0, &bytes[..100]).is_err());
    sink.put(3, &bytes[300..]).unwrap();
    let files = sink.finish(None).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert!(!part.exists() && !journal.exists());
    assert!(files.iter().all(|f| f.is_file()));

    // Dropped without keep_partial: nothing stays; an unfinished volume is refused.
    let path = dir.path().join("s.vol");
    let mut sink = create(&path, &options(shape)).unwrap();
    sink.put(0, &bytes[..100]).unwrap();
    assert!(sink.finish(None).is_err());
    assert!(!path.exists() && !with_suffix(&path, ".part").exists());
}

#[test]
fn given_statistics_save_the_second_pass() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("g.vol");
    let shape = Shape::new(1, 2, 2);
    let mut sink = create(&path, &CreateOptions { sidecars: false, ..options(shape) }).unwrap();
    sink.put(0, bytemuck::cast_slice(&[f32::NAN, 1.0, 2.0, f32::INFINITY])).unwrap();
    let s = VolumeStats { min: 1.0, max: 2.0, s1: 1.1, s2: 1.9, big_s1: 1.2, big_s2: 1.8 };
    let files = sink.finish(Some(&s)).unwrap();
    assert_eq!(files.len(), 3);
    let o = crate::registry::open(&path, &OpenOptions::default()).unwrap();
    let Content::Volume(v) = &o.content else { panic!() };
    assert_eq!(v.meta.stats, Some(s));
    let _ = Arc::clone(&v.source);
}
