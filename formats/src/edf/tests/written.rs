//! What is written reads back, and is resumed.

use super::*;

#[test]
fn round_trips() {
    let d = Dir::new();
    for dtype in DType::ALL.into_iter().filter(|t| *t != DType::F16) {
        for variant in ["series", "multi"] {
            let mut o = CreateOptions::new(Shape::new(5, 3, 4), dtype);
            o.variant = Some(variant.into());
            o.start_number = 9998;
            o.meta.voxel_um = Some([1.3, 0.65, 0.5]);
            o.meta.description = Some("a µ; b {c}\nd".into());
            o.meta.grey = Some(crate::model::GreyScale { slope: 0.1, offset: -3.25, unit: "1/cm".into() });
            let data: Vec<u8> = (0..5 * 12 * dtype.size()).map(|i| (i * 101 + 7) as u8).collect();
            let path = d.0.path().join(format!("{}_{variant}", dtype.name()));
            write_all(&path, &o, &data);
            assert!(write::create(&path, &o).is_err(), "an existing output is refused");
            let (v, opened) = crate::registry::open_volume(&path, &OpenOptions::default()).unwrap();
            assert!(opened.warnings.is_empty(), "{:?}", opened.warnings);
            let mut out = vec![0u8; data.len()];
            v.source.read(&v.source.shape().full(), &mut out).unwrap();
            assert_eq!((v.source.dtype(), v.source.shape(), out), (dtype, o.shape, data));
            assert_eq!((v.meta.voxel_um, v.meta.grey), (o.meta.voxel_um, o.meta.grey));
            assert_eq!(v.meta.description.as_deref(), Some("a u  b  c  d"));
        }
    }
    let names: Vec<_> = crate::registry::Candidate::look(&d.0.path().join("uint8_series")).unwrap().entries;
    assert_eq!(names[0], "uint8_series_09998.edf");
    assert_eq!(names[4], "uint8_series_10002.edf");
}

#[test]
fn headers_are_strict() {
    let bytes = write::header(3, DType::F32, &[540, 640], &[("srcur".into(), "192.5".into())], 0).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let want = "{\nEDF_DataBlockID = 3.Image.Psd ;\nEDF_BinarySize = 1382400 ;\nEDF_HeaderSize =   512 ;\nByteOrder = LowByteFirst ;\n\
                DataType = FloatValue ;\nDim_1 = 640 ;\nDim_2 = 540 ;\nImage = 3 ;\nHeaderID = EH:000003:000000:000000 ;\n\
                Size = 1382400 ;\nsrcur = 192.5 ;\n";
    assert!(text.starts_with(want) && text.len() == 512 && text.ends_with(" }\n"), "{text}");
    for n in 300..700 {
        let h = write::header(0, DType::U8, &[1, 1], &[("k".into(), "v".repeat(n))], 0).unwrap();
        assert!(h.len().is_multiple_of(512) && h.ends_with(b"}\n"));
        let parsed = super::header::Header::parse(&h[1..h.len() - 2]);
        assert_eq!(parsed.announced_len(), Some(h.len() as u64));
    }
    for (k, v) in [("Dim_3", "1"), ("size", "1"), ("a;b", "1"), ("a", "1;2"), ("", "1"), ("µ", "1"), ("a", "}")] {
        assert!(write::header(0, DType::U8, &[1, 1], &[(k.into(), v.into())], 0).is_err(), "{k} = {v}");
    }
    assert!(write::header(0, DType::F16, &[1, 1], &[], 0).is_err());
    assert!(write::header(0, DType::U8, &[1, 0], &[], 0).is_err());
    let mut out = Vec::new();
    assert!(write_frame(&mut out, 0, &[], DType::U8, &[2, 2], &[1, 2, 3]).is_err() && out.is_empty());
    write_frame(&mut out, 0, &[], DType::U8, &[2, 2], &[1, 2, 3, 4]).unwrap();
    assert_eq!(out.len(), 516);
}

#[test]
fn interrupted_writing_is_resumed() {
    let d = Dir::new();
    for variant in ["series", "multi"] {
        let path = d.0.path().join(variant);
        let mut o = CreateOptions::new(Shape::new(6, 3, 4), DType::U16);
        o.variant = Some(variant.into());
        let data = u16s(72, 1);
        let mut sink = write::create(&path, &o).unwrap();
        assert!(sink.put(1, &data[24..48]).is_err(), "out of turn");
        assert!(sink.put(0, &data[..25]).is_err(), "not whole");
        sink.put(0, &data[..72]).unwrap();
        sink.keep_partial();
        drop(sink);
        assert!(!path.exists());
        // The last one was being written when the power went.
        let part = crate::io::with_suffix(&path, ".part");
        let torn = if variant == "series" { part.join("series_0002.edf") } else { part };
        let f = std::fs::OpenOptions::new().write(true).open(&torn).unwrap();
        f.set_len(f.metadata().unwrap().len() - 3).unwrap();
        o.resume = true;
        assert_eq!(
            write::create(&path, &o)
                .map(|mut s| {
                    s.keep_partial();
                    s.stored()
                })
                .unwrap(),
            2
        );
        write_all(&path, &o, &data);
        let (v, _) = crate::registry::open_volume(&path, &OpenOptions::default()).unwrap();
        let mut out = vec![0u8; 144];
        v.source.read(&v.source.shape().full(), &mut out).unwrap();
        assert_eq!(out, data);
        // Incomplete is not finished; dropped is gone.
        o.overwrite = true;
        o.resume = false;
        let sink = write::create(&path, &o).unwrap();
        assert!(sink.finish(None).is_err() && path.exists());
        assert_eq!(
            std::fs::read_dir(d.0.path()).unwrap().filter(|e| e.as_ref().unwrap().path().extension().is_some()).count(),
            0
        );
    }
}
