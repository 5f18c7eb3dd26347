//! Series and scans: folders of EDF files.

use super::*;

#[test]
fn probe_tells_esrf_from_the_others() {
    let d = Dir::new();
    let p = |name: &str, bytes: &[u8]| probe(&Candidate::look(&d.put(name, bytes)).unwrap()).map(|h| h.confidence);
    assert_eq!(p("a.edf", &block(BASE, 512, &u16s(12, 1))), Some(Confidence::Consistent));
    assert_eq!(p("a.dat", &block(BASE, 512, &u16s(13, 1))), Some(Confidence::Marker));
    assert_eq!(p("bio.edf", b"0       X X X X"), Some(Confidence::Name));
    assert_eq!(p("a.json", b"{\n\"Dim_1\": 4}\n"), None);
    assert_eq!(p("a.gz", &gz(b"x")), None);
    assert_eq!(p("empty.edf", b""), None);
    assert!(open(&d.put("bio.edf", b"0       X X X X"), &OpenOptions::default()).is_err());
}

#[test]
fn a_folder_of_one_slice_is_a_series() {
    let d = Dir::new();
    let dir = d.0.path().join("one");
    let mut o = CreateOptions::new(Shape::new(1, 3, 4), DType::U16);
    o.variant = Some("series".into());
    write_all(&dir, &o, &u16s(12, 1));
    let (v, opened) = crate::registry::open_volume(&dir, &OpenOptions::default()).unwrap();
    assert_eq!((v.source.shape(), opened.format), (Shape::new(1, 3, 4), "edf"));
    let mut out = vec![0u8; 24];
    v.source.read(&v.source.shape().full(), &mut out).unwrap();
    assert_eq!(out, u16s(12, 1));
    // With one other file it is still one; among many it is just a file, and so is a reference or an odd name.
    let with = |names: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        names.iter().for_each(|n| std::fs::write(dir.path().join(n), block(BASE, 512, &u16s(12, 1))).unwrap());
        probe(&Candidate::look(dir.path()).unwrap()).map(|h| h.confidence)
    };
    assert_eq!(with(&["a_0000.edf", "notes.txt"]), Some(Confidence::Name));
    assert_eq!(with(&["a_0000.edf", "notes.txt", "more.txt"]), None);
    assert_eq!(with(&["a_0000.edf", "b_0000.edf"]), None);
    assert_eq!(with(&["histogram_a.edf"]), None);
    assert_eq!(with(&["a.edf"]), None);
    assert_eq!(with(&["dark.edf"]), None);
}

#[test]
fn scan_folder() {
    let d = Dir::new();
    let dir = d.0.path().join("tooth");
    std::fs::create_dir(&dir).unwrap();
    let put = |name: &str, v: u16| std::fs::write(dir.join(name), block(BASE, 512, &u16s(12, v))).unwrap();
    for i in 0..7 {
        put(&format!("tooth{i:04}.edf"), 100 + i);
    }
    put("dark.edf", 1);
    put("dark0003.edf", 2);
    put("darkend0004.edf", 3);
    put("refHST0000.edf", 1000);
    put("refHST0004.edf", 1001);
    for i in 0..3 {
        put(&format!("ref{i:04}_0000.edf"), 990);
        put(&format!("ref{i:04}_0002.edf"), 991);
    }
    put("tooth_slice_0001.edf", 7);
    put("histogram_tooth.edf", 7);
    std::fs::write(dir.join("tooth.abo"), b"").unwrap();
    std::fs::write(
        dir.join("tooth.info"),
        "Energy=       19\nPixelSize=    0.65\nTOMO_N=                 4\nScanRange=   360\n",
    )
    .unwrap();
    assert_eq!(crate::registry::probe(&dir).unwrap().0.name, "edf");
    let o = crate::registry::open(&dir, &OpenOptions::default()).unwrap();
    let all = o.warnings.texts().join("\n");
    assert!(all.contains("3 images after the TOMO_N = 4") && all.contains("aborted"), "{all}");
    let Content::Scan(s) = o.content else { panic!() };
    assert_eq!((s.name.as_str(), s.projections.shape(), s.pixel_um), ("tooth", Shape::new(4, 3, 4), Some([0.65; 2])));
    let deg: Vec<f64> = s.angles.rad.iter().map(|r| r.to_degrees().round()).collect();
    assert_eq!(deg, [0.0, 90.0, 180.0, 270.0]);
    let refs = |r: &[crate::model::RefSet]| {
        r.iter().map(|f| (f.position.0, f.averaged, f.source.shape().frames)).collect::<Vec<_>>()
    };
    assert_eq!(refs(&s.flats), [(0.0, true, 1), (2.0, false, 3), (4.0, true, 1)]);
    assert_eq!(refs(&s.darks), [(0.0, true, 1), (4.0, false, 1)]);
    assert_eq!(s.files.len(), 4 + 2 + 3 + 2 + 1);

    // Flats every two projections: all three sets are there, then one is not.
    let info = std::fs::read_to_string(dir.join("tooth.info")).unwrap() + "REF_ON=    2\n";
    std::fs::write(dir.join("tooth.info"), info).unwrap();
    let told = || {
        let o = crate::registry::open(&dir, &OpenOptions::default()).unwrap();
        o.warnings
            .iter()
            .find(|w| w.contains("REF_ON"))
            .map(|w| (w.about, w.text.split("none of ").last().unwrap().into()))
    };
    assert_eq!(told(), None);
    let raw: [&str; 3] = ["ref0000_0002.edf", "ref0001_0002.edf", "ref0002_0002.edf"];
    for (lost, about, number) in [(&["refHST0004.edf"][..], About::Remark, "4"), (&raw, About::Counts, "2")] {
        lost.iter().for_each(|f| std::fs::rename(dir.join(f), dir.join(format!("{f}.lost"))).unwrap());
        assert_eq!(told(), Some((about, String::from(number))));
        lost.iter().for_each(|f| std::fs::rename(dir.join(format!("{f}.lost")), dir.join(f)).unwrap());
    }

    // Without .info the angles are assumed, and a dark that outshines the flat is told.
    std::fs::remove_file(dir.join("tooth.info")).unwrap();
    put("dark.edf", 20_000);
    let o = crate::registry::open(&dir, &OpenOptions::default()).unwrap();
    let all = o.warnings.texts().join("\n");
    assert!(all.contains("assumed 0..180") && all.contains("brighter"), "{all}");
    std::fs::write(dir.join("dark.edf"), block("ByteOrder=Low;Dim_1=2;Dim_2=3;DataType=UnsignedByte;", 512, &[0; 6]))
        .unwrap();
    assert!(crate::registry::open(&dir, &OpenOptions::default()).is_err());
}

#[test]
fn series_of_compressed_files() {
    let d = Dir::new();
    for i in 0..4 {
        d.put(&format!("s_{i}.edf.gz"), &gz(&block(BASE, 512, &u16s(12, i))));
    }
    let (v, o) = crate::registry::open_volume(d.0.path(), &OpenOptions::default()).unwrap();
    assert!(o.warnings.is_empty(), "{:?}", o.warnings);
    d.put("loose.edf", &block(BASE, 512, &u16s(12, 1)));
    let o = crate::registry::open(d.0.path(), &OpenOptions::default()).unwrap();
    assert!(o.warnings.len() == 1 && o.warnings[0].contains("loose.edf"), "{:?}", o.warnings);
    assert!(v.source.access().decoded);
    let mut out = vec![0u8; 2 * 8];
    v.source.read(&Region { frames: 1..3, rows: 2..3, cols: 0..4 }, &mut out).unwrap();
    assert_eq!(out, [&u16s(12, 1)[16..], &u16s(12, 2)[16..]].concat());
}
