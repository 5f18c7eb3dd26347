//! Files made here, read back through every way to the bytes, damaged, and compared with the library's own answer.

use super::file::{H5, LinkKind};
use super::spec::SPEC;
use crate::model::{GreyScale, VolumeStats};
use crate::registry::{Content, OpenOptions};
use crate::sink::CreateOptions;
use crate::source::copy_box;
use crate::{DType, Region, Shape, VolumeMeta};
use hdf5_metno as hdf5;
use std::path::{Path, PathBuf};

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn ramp(n: usize) -> Vec<u16> {
    (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as u16 + (i % 7) as u16).collect()
}

fn bytes<T: bytemuck::Pod>(v: &[T]) -> Vec<u8> {
    bytemuck::cast_slice(v).to_vec()
}

/// Boxes that touch corners, edges and several chunks.
fn boxes(s: Shape) -> Vec<Region> {
    let mut out = vec![s.full()];
    for (f, r, c) in [(0, 0, 0), (s.frames / 2, s.rows / 3, s.cols / 2), (s.frames - 1, s.rows - 1, s.cols - 1)] {
        out.push(Region { frames: f..f + 1, rows: r..r + 1, cols: c..c + 1 });
        out.push(Region { frames: f..s.frames, rows: 0..s.rows, cols: 0..s.cols });
        out.push(Region { frames: 0..s.frames, rows: r..r + 1, cols: 0..s.cols });
        out.push(Region { frames: 0..s.frames, rows: 0..s.rows, cols: c..c + 1 });
        out.push(Region { frames: 0..f + 1, rows: r..s.rows, cols: c..s.cols });
    }
    out
}

/// Every box of the stack equals the box cut out of `all`.
fn check_boxes(path: &Path, dataset: &str, all: &[u8]) {
    let stack = H5::open(path).unwrap().stack(dataset).unwrap();
    let (s, size) = (stack.shape(), stack.dtype().size());
    for b in boxes(s) {
        let (mut want, mut have) = (vec![0; b.values() * size], vec![0; b.values() * size]);
        copy_box(all, &s.full(), &b, size, &mut want);
        stack.read(&b, &mut have).unwrap();
        assert!(want == have, "{dataset} {b}");
    }
}

#[test]
fn every_box_of_every_storage() {
    let d = dir();
    let path = d.path().join("a.h5");
    let (f, r, c) = (5, 13, 17);
    let data = ramp(f * r * c);
    {
        let file = hdf5::File::create(&path).unwrap();
        let make = || file.new_dataset::<u16>().shape((f, r, c));
        let write = |ds: hdf5::Dataset| ds.write_raw(&data).unwrap();
        write(make().create("contiguous").unwrap());
        write(make().chunk((1, r, c)).create("frames").unwrap());
        write(make().chunk((2, 4, 5)).create("bricks").unwrap());
        write(make().chunk((f, 1, c)).deflate(4).create("sinograms").unwrap());
        write(make().chunk((2, 4, 5)).shuffle().deflate(1).fletcher32().create("all").unwrap());
        write(make().chunk((2, 4, 5)).fletcher32().shuffle().deflate(1).create("other_order").unwrap());
        write(make().chunk((1, 4, 17)).lzf().create("lzf").unwrap());
        write(make().chunk((1, 13, 6)).blosc_zstd(5, true).create("blosc").unwrap());
        write(make().chunk((1, 13, 6)).blosc_lz4(5, true).create("blosc_lz4").unwrap());
        write(make().chunk((2, 13, 6)).nbit().create("nbit").unwrap());
        let folded = file.new_dataset::<u16>().shape((1, f, r, c)).chunk((1, 2, 5, 5)).deflate(2);
        folded.create("four").unwrap().write_raw(&data).unwrap();
    }
    for name in [
        "contiguous",
        "frames",
        "bricks",
        "sinograms",
        "all",
        "other_order",
        "lzf",
        "blosc",
        "blosc_lz4",
        "nbit",
        "four",
    ] {
        check_boxes(&path, name, &bytes(&data));
    }
}

#[test]
fn chunks_never_written_are_counted_and_filled() {
    let d = dir();
    let path = d.path().join("a.h5");
    {
        let file = hdf5::File::create(&path).unwrap();
        let ds = file.new_dataset::<u16>().shape((4, 3, 3)).chunk((1, 3, 3)).fill_value(7u16).create("a").unwrap();
        put_chunk(&ds, &[1, 0, 0], &bytes(&[5u16; 9]));
        file.new_dataset::<u16>().shape((4, 3, 3)).fill_value(9u16).create("none").unwrap();
    }
    let h5 = H5::open(&path).unwrap();
    let (s, w) = h5.stack_and_warnings("/a").unwrap();
    assert!(w.len() == 1 && w[0].contains("3 of 4 chunks were never written"), "{w:?}");
    let mut out = vec![0u8; 72];
    s.read(&s.shape().full(), &mut out).unwrap();
    let v: &[u16] = bytemuck::cast_slice(&out);
    assert_eq!((v[0], v[9], v[17], v[18]), (7, 5, 5, 7));
    let (s, w) = h5.stack_and_warnings("/none").unwrap();
    assert!(w[0].contains("never written"));
    s.read(&s.shape().full(), &mut out).unwrap();
    assert!(bytemuck::cast_slice::<u8, u16>(&out).iter().all(|v| *v == 9));
}

/// Stores bytes as a chunk, as they are.
fn put_chunk(ds: &hdf5::Dataset, offset: &[u64], bytes: &[u8]) {
    super::sys::locked(|| {
        // SAFETY: the dataset is open, the offset of its rank, the bytes live for the call.
        let r = unsafe {
            hdf5_metno_sys::h5d::H5Dwrite_chunk(
                ds.id(),
                hdf5_metno_sys::h5p::H5P_DEFAULT,
                0,
                offset.as_ptr(),
                bytes.len(),
                bytes.as_ptr().cast(),
            )
        };
        assert!(r >= 0);
    });
}

#[test]
fn user_blocks_newest_layouts_and_big_endian() {
    let d = dir();
    let data = ramp(6 * 8 * 10);
    for (name, block, latest) in [("a", 0, true), ("b", 512, false), ("c", 2048, true)] {
        let path = d.path().join(name);
        {
            let mut b = hdf5::FileBuilder::new();
            if latest {
                b.with_fapl(|p| p.libver_latest());
            }
            b.with_fcpl(|p| p.userblock(block));
            let file = b.create(&path).unwrap();
            let make = || file.new_dataset::<u16>().shape((6, 8, 10));
            make().create("plain").unwrap().write_raw(&data).unwrap();
            make().chunk((1, 8, 10)).deflate(1).create("fixed").unwrap().write_raw(&data).unwrap();
            let grows = file.new_dataset::<u16>().shape((0.., 8, 10)).chunk((2, 8, 10)).deflate(1);
            let grows = grows.create("grows").unwrap();
            grows.resize((6, 8, 10)).unwrap();
            grows.write_raw(&data).unwrap();
            make().chunk((6, 8, 10)).create("single").unwrap().write_raw(&data).unwrap();
        }
        for dataset in ["plain", "fixed", "grows", "single"] {
            check_boxes(&path, dataset, &bytes(&data));
        }
        let c = crate::registry::Candidate::look(&path).unwrap();
        assert!((SPEC.probe)(&c).unwrap().reason.contains("HDF5 signature"));
    }
}

/// A file with one dataset of 4 × 3 × 5, first value `start`.
fn small(path: &Path, start: u16) -> Vec<u16> {
    let data: Vec<u16> = (start..start + 60).collect();
    let file = hdf5::File::create(path).unwrap();
    file.new_dataset::<u16>()
        .shape((4, 3, 5))
        .chunk((1, 3, 5))
        .deflate(1)
        .create("d")
        .unwrap()
        .write_raw(&data)
        .unwrap();
    data
}

fn master(path: &Path, sources: &[&str]) {
    let file = hdf5::File::create(path).unwrap();
    let n = sources.len() * 4;
    let mut b = file.new_dataset::<u16>();
    for (i, s) in sources.iter().enumerate() {
        b = b.virtual_map(s, "/d", (4, 3, 5), (.., .., ..), (n, 3, 5), (i * 4..i * 4 + 4, .., ..));
    }
    b.shape((n, 3, 5)).create("v").unwrap();
}

#[test]
fn virtual_data_come_from_their_sources_or_fail_by_name() {
    let d = dir();
    let at = |n: &str| d.path().join(n);
    let mut all = small(&at("one.h5"), 100);
    all.extend(small(&at("two.h5"), 500));
    master(&at("m.h5"), &["one.h5", "two.h5"]);
    check_boxes(&at("m.h5"), "v", &bytes(&all));
    assert!(H5::open(&at("m.h5")).unwrap().dangling().unwrap().is_empty());

    std::fs::remove_file(at("two.h5")).unwrap();
    let h5 = H5::open(&at("m.h5")).unwrap();
    let e = h5.stack("/v").err().unwrap().to_string();
    assert!(e.contains("two.h5") && e.contains("missing") && e.contains("1 of 2"), "{e}");
    assert!(h5.read_raw("/v", 1 << 20).is_err() && h5.read_f64("/v").is_err());
    let dangling = h5.dangling().unwrap();
    assert_eq!(dangling.len(), 1);
    assert!(dangling[0].to_string().contains("two.h5"));
    assert!(super::tree::tree(&at("m.h5")).unwrap().iter().any(|l| !l.ok && l.name.contains("two.h5")));

    // A source shorter than what is taken from it.
    {
        let file = hdf5::File::create(at("two.h5")).unwrap();
        file.new_dataset::<u16>().shape((2, 3, 5)).create("d").unwrap().write_raw(&[1u16; 30]).unwrap();
    }
    let e = H5::open(&at("m.h5")).unwrap().stack("/v").err().unwrap().to_string();
    assert!(e.contains("two.h5:/d: it is smaller than what is taken"), "{e}");

    // A dataset made of itself.
    {
        let file = hdf5::File::create(at("loop.h5")).unwrap();
        let b =
            file.new_dataset::<u16>().virtual_map("loop.h5", "/d", (4, 3, 5), (.., .., ..), (4, 3, 5), (.., .., ..));
        b.shape((4, 3, 5)).create("d").unwrap();
    }
    assert!(H5::open(&at("loop.h5")).unwrap().stack("/d").is_err());
}

/// The names of the files a stack says its values come from.
fn files(path: &Path, dataset: &str) -> Vec<String> {
    let all = H5::open(path).unwrap().stack(dataset).unwrap().files();
    let mut names: Vec<String> = all.iter().map(|f| f.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert!(all.iter().all(|f| f.is_file()), "{all:?}");
    names.sort();
    names
}

#[test]
fn every_file_of_a_stack_is_told() {
    let d = dir();
    let at = |n: &str| d.path().join(n);
    for n in ["one.h5", "two.h5", "three.h5", "b0.h5", "b1.h5", "b2.h5"] {
        small(&at(n), 1);
    }
    assert_eq!(files(&at("one.h5"), "/d"), ["one.h5"]);
    // A link, a link to that, a virtual dataset of both and another file, and that in a box of another one.
    let link = |name: &str, to: &str, path: &str| {
        hdf5::File::create(at(name)).unwrap().link_external(to, path, "d").unwrap();
    };
    link("link.h5", "one.h5", "/d");
    assert_eq!(files(&at("link.h5"), "/d"), ["link.h5", "one.h5"]);
    link("again.h5", "link.h5", "/d");
    assert_eq!(files(&at("again.h5"), "/d"), ["again.h5", "link.h5", "one.h5"]);
    master(&at("m.h5"), &["two.h5", "link.h5", "three.h5"]);
    let all = ["link.h5", "m.h5", "one.h5", "three.h5", "two.h5"];
    assert_eq!(files(&at("m.h5"), "/v"), all);
    link("n.h5", "m.h5", "/v");
    assert_eq!(files(&at("n.h5"), "/d"), ["link.h5", "m.h5", "n.h5", "one.h5", "three.h5", "two.h5"]);
    // All blocks of a pattern.
    let blocks = super::VirtualSource {
        file: "b%b.h5".into(),
        dataset: "/d".into(),
        resolved: Some(at("b0.h5")),
        only_in_cwd: false,
        problem: None,
        target: None,
        origin: None,
    };
    let behind = super::links::files_behind(&at("m.h5"), &super::Layout::Virtual { sources: vec![blocks] });
    assert!(["b0.h5", "b1.h5", "b2.h5"].iter().all(|n| behind.contains(&at(n))), "{behind:?}");
    // Sources that lead back to the file: an end is found.
    master(&at("loop.h5"), &["one.h5", "loop2.h5", "loop2.h5"]);
    {
        let file = hdf5::File::create(at("loop2.h5")).unwrap();
        let b = file.new_dataset::<u16>();
        let b = b.virtual_map("loop.h5", "/v", (12, 3, 5), (0..4, .., ..), (4, 3, 5), (.., .., ..));
        b.shape((4, 3, 5)).create("d").unwrap();
    }
    assert_eq!(files(&at("loop.h5"), "/v"), ["loop.h5", "loop2.h5", "one.h5"]);
}

#[test]
fn raw_values_in_other_files() {
    let d = dir();
    let at = |n: &str| d.path().join(n);
    let data = ramp(4 * 8 * 8);
    let raw = bytes(&data);
    std::fs::write(at("whole.bin"), &raw).unwrap();
    std::fs::write(at("first.bin"), [&b"head"[..], &raw[..100]].concat()).unwrap();
    std::fs::write(at("rest.bin"), &raw[100..]).unwrap();
    std::fs::write(at("short.bin"), &raw[..300]).unwrap();
    let absolute = at("whole.bin").to_string_lossy().into_owned();
    {
        let file = hdf5::File::create(at("r.h5")).unwrap();
        let make = || file.new_dataset::<u16>().shape((4, 8, 8));
        make().external("whole.bin", 0, 512).create("relative").unwrap();
        make().external(&absolute, 0, 512).create("absolute").unwrap();
        make().external("first.bin", 4, 100).external("rest.bin", 0, 412).create("two").unwrap();
        make().external("short.bin", 0, 512).create("short").unwrap();
        make().external("gone.bin", 0, 512).create("gone").unwrap();
    }
    for name in ["relative", "absolute", "two"] {
        check_boxes(&at("r.h5"), name, &raw);
    }
    // Two at once, and described while open.
    let h5 = H5::open(&at("r.h5")).unwrap();
    let (one, two) = (h5.stack("/two").unwrap(), h5.stack("/two").unwrap());
    assert_eq!(h5.dataset_info("/two").unwrap().shape, [4, 8, 8]);
    let mut out = vec![0u8; 512];
    for s in [&one, &two] {
        s.read(&s.shape().full(), &mut out).unwrap();
        assert!(out == raw);
    }
    assert_eq!(files(&at("r.h5"), "/two"), ["first.bin", "r.h5", "rest.bin"]);
    // What is not there is an error, never zeros.
    let e = h5.stack("/short").err().unwrap().to_string();
    assert!(e.contains("short.bin") && e.contains("300 bytes") && e.contains("512 bytes"), "{e}");
    assert!(h5.stack("/gone").err().unwrap().to_string().contains("gone.bin is missing"));
    // By a link from another folder they are looked for beside their own file.
    std::fs::create_dir(at("sub")).unwrap();
    hdf5::File::create(at("sub/l.h5")).unwrap().link_external("../r.h5", "/two", "d").unwrap();
    check_boxes(&at("sub/l.h5"), "d", &raw);
}

#[test]
fn several_stacks_are_a_question() {
    let d = dir();
    let path = d.path().join("s.h5");
    {
        let file = hdf5::File::create(&path).unwrap();
        for name in ["b", "a"] {
            file.new_dataset::<u16>().shape((4, 8, 8)).create(name).unwrap().write_raw(&ramp(256)).unwrap();
        }
    }
    let e = crate::registry::open_volume(&path, &OpenOptions::default()).err().unwrap();
    let (text, advice) = (e.to_string(), e.advice().unwrap().to_owned());
    assert!(text.contains("several datasets") && text.contains("/a, /b") && !text.contains('\n'), "{text}");
    assert!(advice.contains("--dataset /a") && advice.contains("s.h5:/a"), "{advice}");
    let o = OpenOptions { dataset: Some("/b".into()), ..Default::default() };
    assert_eq!(crate::registry::open_volume(&path, &o).unwrap().0.source.shape(), Shape::new(4, 8, 8));
}

#[test]
fn links_are_followed_and_dangling_ones_named() {
    let d = dir();
    let at = |n: &str| d.path().join(n);
    let data = small(&at("one.h5"), 0);
    {
        let file = hdf5::File::create(at("m.h5")).unwrap();
        let g = file.create_group("g").unwrap();
        g.link_external("one.h5", "/d", "there").unwrap();
        g.link_external("gone.h5", "/d", "gone").unwrap();
        g.link_external("one.h5", "/nothing", "empty").unwrap();
        g.link_soft("/g/there", "soft").unwrap();
        g.link_soft("/nowhere", "broken").unwrap();
        g.link_hard("/g", "circle").unwrap();
    }
    let h5 = H5::open(&at("m.h5")).unwrap();
    check_boxes(&at("m.h5"), "/g/there", &bytes(&data));
    check_boxes(&at("m.h5"), "/g/soft", &bytes(&data));
    check_boxes(&at("m.h5"), "/g/circle/circle/soft", &bytes(&data));
    let links = h5.children("/g").unwrap();
    let of = |n: &str| links.iter().find(|l| l.name == n).unwrap();
    assert!(of("there").resolves && of("soft").resolves && !of("gone").resolves && !of("broken").resolves);
    assert_eq!(of("gone").kind, LinkKind::External { file: PathBuf::from("gone.h5"), path: "/d".into() });
    for (name, word) in
        [("gone", "gone.h5"), ("empty", "no such object"), ("broken", "/nowhere"), ("never", "does not exist")]
    {
        let e = h5.stack(&format!("/g/{name}")).err().unwrap().to_string();
        assert!(e.contains(word), "{name}: {e}");
    }
    assert_eq!(h5.dangling().unwrap().len(), 3);
    let tree = super::tree::tree(&at("m.h5")).unwrap();
    assert_eq!(tree.iter().filter(|l| !l.ok).count(), 3);
    assert!(tree.iter().any(|l| l.detail == "same as /g"));
}

#[test]
fn files_that_link_to_each_other_in_a_circle_end() {
    let dir = dir();
    let (a, b) = (dir.path().join("a.h5"), dir.path().join("b.h5"));
    for (path, other) in [(&a, "b.h5"), (&b, "a.h5")] {
        let f = hdf5::File::create(path).unwrap();
        // Two links each way: every hop doubles what looks new.
        f.link_external(other, "/", "one").unwrap();
        f.link_external(other, "/", "two").unwrap();
    }
    let start = std::time::Instant::now();
    let opened = crate::registry::open(&a, &Default::default()).unwrap();
    assert!(matches!(opened.content, crate::Content::Other));
    assert!(start.elapsed().as_secs() < 20, "took {:?}", start.elapsed());
}

#[test]
fn attributes_of_every_kind() {
    use hdf5::types::{FixedAscii, VarLenUnicode};
    let d = dir();
    let path = d.path().join("a.h5");
    {
        let file = hdf5::File::create(&path).unwrap();
        let fixed = FixedAscii::<8>::from_ascii(b"NXdata").unwrap();
        file.new_attr::<FixedAscii<8>>().create("NX_class").unwrap().write_scalar(&fixed).unwrap();
        let text: VarLenUnicode = "µm".parse().unwrap();
        file.new_attr::<VarLenUnicode>().create("units").unwrap().write_scalar(&text).unwrap();
        file.new_attr::<f32>().shape(1).create("one").unwrap().write_raw(&[1.1f32]).unwrap();
        file.new_attr::<i64>().shape(3).create("many").unwrap().write_raw(&[1i64, 2, 3]).unwrap();
        file.new_attr::<f64>().create("nan").unwrap().write_scalar(&f64::NAN).unwrap();
    }
    let h5 = H5::open(&path).unwrap();
    assert_eq!(h5.nx_class("/").as_deref(), Some("NXdata"));
    assert_eq!(h5.attr_text("/", "units").as_deref(), Some("µm"));
    assert_eq!(h5.attr_f64("/", "one"), Some(f64::from(1.1f32)));
    assert_eq!(h5.attr_f64("/", "many"), None);
    assert_eq!(h5.attr_text("/", "nothing"), None);
    let all: serde_json::Map<_, _> = h5.attrs("/").unwrap().into_iter().collect();
    assert_eq!(
        serde_json::Value::from(all).to_string(),
        r#"{"NX_class":"NXdata","many":[1,2,3],"nan":"NaN","one":1.1,"units":"µm"}"#
    );
}

fn meta() -> VolumeMeta {
    VolumeMeta {
        voxel_um: Some([2.0, 1.5, 1.25]),
        value_unit: Some("1/cm".into()),
        grey: Some(GreyScale { slope: 0.25, offset: -3.0, unit: "1/cm".into() }),
        description: Some("tooth, 20 keV".into()),
        ..Default::default()
    }
}

#[test]
fn what_is_written_comes_back() {
    let d = dir();
    for dtype in DType::ALL {
        for compression in ["none", "deflate"] {
            let path = d.path().join(format!("{}-{compression}.h5", dtype.name()));
            let shape = Shape::new(5, 7, 9);
            let data: Vec<u8> = (0..315 * dtype.size()).map(|i| (i * 31 % 251) as u8).collect();
            let mut o = CreateOptions::new(shape, dtype);
            (o.meta, o.compression) = (meta(), Some(compression.into()));
            let mut sink = (SPEC.create.unwrap())(&path, &o).unwrap();
            let frame = 63 * dtype.size();
            sink.put(0, &data[..2 * frame]).unwrap();
            assert!(sink.put(0, &data[..frame]).is_err());
            sink.put(2, &data[2 * frame..]).unwrap();
            assert!(!path.exists());
            let stats = VolumeStats { min: 1.0, max: 2.0, s1: 3.0, s2: 4.0, big_s1: 5.0, big_s2: 6.0 };
            assert_eq!(sink.finish(Some(&stats)).unwrap(), std::slice::from_ref(&path));
            check_boxes(&path, "/entry/data/data", &data);
            let opened = (SPEC.open)(&path, &OpenOptions::default()).unwrap();
            let Content::Volume(v) = &opened.content else { panic!() };
            assert_eq!((v.source.shape(), v.source.dtype(), &v.meta), (shape, dtype, &meta()));
            assert!(opened.warnings.is_empty(), "{:?}", opened.warnings);
            assert_eq!(H5::open(&path).unwrap().attr_f64("/entry/data/data", "maximum"), Some(2.0));
            assert!((SPEC.create.unwrap())(&path, &o).is_err());
        }
    }
    assert_eq!(std::fs::read_dir(d.path()).unwrap().count(), 2 * DType::ALL.len());
}

#[test]
fn an_unfinished_volume_leaves_nothing() {
    let d = dir();
    for compression in ["none", "deflate"] {
        let mut o = CreateOptions::new(Shape::new(3, 2, 2), DType::U8);
        o.compression = Some(compression.into());
        let path = d.path().join("a.h5");
        let mut sink = (SPEC.create.unwrap())(&path, &o).unwrap();
        sink.put(0, &[1, 2, 3, 4]).unwrap();
        drop(sink);
        let mut sink = (SPEC.create.unwrap())(&path, &o).unwrap();
        sink.put(0, &[1, 2, 3, 4]).unwrap();
        assert!(sink.finish(None).is_err());
        assert_eq!(std::fs::read_dir(d.path()).unwrap().count(), 0);
    }
}

#[test]
fn chunks_of_tall_slices_are_cut_by_rows() {
    let d = dir();
    let path = d.path().join("a.h5");
    let shape = Shape::new(2, 2500, 1000); // 5 MB a slice as u16: two chunks, the second not full
    let data = ramp(5_000_000);
    let mut o = CreateOptions::new(shape, DType::U16);
    o.compression = Some("deflate".into());
    let mut sink = (SPEC.create.unwrap())(&path, &o).unwrap();
    sink.put(0, bytemuck::cast_slice(&data)).unwrap();
    sink.finish(None).unwrap();
    assert_eq!(H5::open(&path).unwrap().stack("/entry/data/data").unwrap().access().unit, Shape::new(1, 2097, 1000));
    check_boxes(&path, "/entry/data/data", &bytes(&data));
}

#[test]
fn a_file_open_for_writing_is_refused_in_one_line() {
    let d = dir();
    let path = d.path().join("a.h5");
    let text = d.path().join("b.h5");
    std::fs::write(&text, "not at all").unwrap();
    let e = H5::open(&text).unwrap_err().to_string();
    assert!(e.contains("not an HDF5 file"), "{e}");
    small(&path, 0);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&text, &whole[..whole.len() - 100]).unwrap();
    let e = H5::open(&text).unwrap_err().to_string();
    assert!(e.contains("truncated") && e.contains(&format!("expected {} bytes", whole.len())), "{e}");
    // What a writing HDF5 program does, on systems that have it.
    let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    file.lock().unwrap();
    let e = H5::open(&path).unwrap_err().to_string();
    assert!(e.contains("open for writing"), "{e}");
    drop(file);
    H5::open(&path).unwrap();
}

#[test]
fn a_lock_held_for_a_moment_is_waited_for_and_is_no_writer() {
    use std::time::{Duration, Instant};
    let d = dir();
    let path = d.path().join("a.h5");
    // Of the layout that may be written while it is read.
    hdf5::FileBuilder::new().with_fapl(|p| p.libver_latest()).create(&path).unwrap();
    // A child process that inherited the handle of a file just written: the lock goes at any moment of an opening.
    let end = Instant::now() + Duration::from_secs(2);
    std::thread::scope(|s| {
        s.spawn(|| {
            let mut pause = 0;
            while Instant::now() < end {
                let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
                if file.try_lock().is_ok() {
                    std::thread::sleep(Duration::from_micros(50 + pause % 400));
                }
                drop(file);
                pause += 37;
                std::thread::sleep(Duration::from_micros(pause % 300));
            }
        });
        while Instant::now() < end {
            assert_eq!(H5::open(&path).unwrap().notes(), Vec::<String>::new());
        }
    });
}
