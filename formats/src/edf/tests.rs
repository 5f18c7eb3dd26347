//! Whole files: every broken case met in the wild, truncation and corruption sweeps.

use super::*;
use crate::io::NOT_READ;
use crate::warning::About;
use crate::{ByteOrder, CreateOptions, DType, FrameSource, Region, Shape};
use std::io::Write as _;
use std::path::PathBuf;

mod folders;
mod written;

/// A header padded to `pad` bytes around `body`, then `data`.
fn block(body: &str, pad: usize, data: &[u8]) -> Vec<u8> {
    let mut b = format!("{{\n{body}").into_bytes();
    b.resize(b.len().max(pad - 2), b' ');
    b.extend_from_slice(b"}\n");
    b.extend_from_slice(data);
    b
}

fn u16s(n: usize, from: u16) -> Vec<u8> {
    (0..n as u16).flat_map(|v| (v * 257 + from).to_le_bytes()).collect()
}

const BASE: &str = "ByteOrder = LowByteFirst ;\nDataType = UnsignedShort ;\nDim_1 = 4 ;\nDim_2 = 3 ;\n";

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Dir {
        Dir(tempfile::tempdir().unwrap())
    }
    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let p = self.0.path().join(name);
        std::fs::write(&p, bytes).unwrap();
        p
    }
    fn open(&self, bytes: &[u8]) -> Result<File> {
        File::open(self.put("x.edf", bytes))
    }
}

fn values(f: &File, i: usize) -> Vec<u8> {
    f.read_frame(i).unwrap().2
}

fn has(f: &File, text: &str) {
    assert!(f.warnings().iter().any(|w| w.contains(text)), "no '{text}' in {:?}", f.warnings());
}

#[test]
fn plain_file_is_quiet() {
    let d = Dir::new();
    let f = d.open(&block(BASE, 512, &u16s(12, 1))).unwrap();
    assert!(f.warnings().is_empty(), "{:?}", f.warnings());
    assert_eq!((f.frames().len(), f.frames()[0].dims.clone()), (1, vec![3, 4]));
    assert_eq!(values(&f, 0), u16s(12, 1));
    assert!(f.read_frame(1).is_err());
}

#[test]
fn header_size_as_literal_text() {
    let d = Dir::new();
    let f = d.open(&block(&format!("EDF_HeaderSize = header_length ;\n{BASE}"), 4096, &u16s(12, 1))).unwrap();
    assert_eq!(values(&f, 0), u16s(12, 1));
    has(&f, "header_length");
}

#[test]
fn header_longer_than_announced() {
    let d = Dir::new();
    let long = "x".repeat(5000);
    let f = d.open(&block(&format!("EDF_HeaderSize = 512 ;\nnote = {long} ;\n{BASE}"), 5632, &u16s(12, 1))).unwrap();
    assert_eq!(values(&f, 0), u16s(12, 1));
    has(&f, "ends after 5632");
    // Far beyond the usual limit, announced.
    let long = "y".repeat(400_000);
    let f =
        d.open(&block(&format!("EDF_HeaderSize = 409600 ;\nnote = {long} ;\n{BASE}"), 409_600, &u16s(12, 1))).unwrap();
    assert_eq!(values(&f, 0), u16s(12, 1));
    // … and not announced: refused, not searched for ever.
    let e = d.open(&block(&format!("note = {long} ;\n{BASE}"), 409_600, &u16s(12, 1))).err().unwrap();
    assert!(e.to_string().contains("no end of the header"), "{e}");
}

#[test]
fn header_of_any_length() {
    let d = Dir::new();
    for pad in [100, 131, 510, 511, 513, 777, 1024, 4095, 4096, 4097, 4098, 8193] {
        let f = d.open(&block(BASE, pad, &u16s(12, 1))).unwrap();
        assert_eq!(values(&f, 0), u16s(12, 1), "{pad}");
    }
}

#[test]
fn ending_across_a_border() {
    // `}` as the last byte of a 512- or 4096-byte block, its line end in the next one; LF and CR LF.
    let d = Dir::new();
    for border in [512, 4096] {
        for end in ["}\n", "}\r\n"] {
            for shift in 0..4 {
                let mut b = format!("{{\n{BASE}").into_bytes();
                b.resize(border - shift, b' ');
                b.extend_from_slice(end.as_bytes());
                b.extend_from_slice(&u16s(12, 1));
                let f = d.open(&b).unwrap();
                assert_eq!(values(&f, 0), u16s(12, 1), "{border} {end:?} {shift}");
            }
        }
    }
}

#[test]
fn crlf_nul_blanks_and_decimals() {
    let d = Dir::new();
    let text = " \r\n\0{\r\nByteOrder = HighByteFirst ;\r\nDataType = UNSIGNEDSHORT ;\r\nDIM_1 = 4.0 ;\r\ndim_2\0= 3\0 ;\r\n\0\0}\r\n";
    let mut b = text.as_bytes().to_vec();
    b.extend((0..12u16).flat_map(|v| (v * 257 + 1).to_be_bytes()));
    let f = d.open(&b).unwrap();
    assert_eq!(values(&f, 0), (0..12u16).flat_map(|v| (v * 257 + 1).to_ne_bytes()).collect::<Vec<_>>());
    assert!(f.warnings().is_empty(), "{:?}", f.warnings());
}

#[test]
fn brace_inside_the_data() {
    let d = Dir::new();
    let mut data = u16s(12, 1);
    data[..4].copy_from_slice(b"}\n{\n");
    data[10..14].copy_from_slice(b"}\r\n}");
    let b = [block(BASE, 512, &data), block(BASE, 512, &data)].concat();
    let f = d.open(&b).unwrap();
    assert_eq!(f.frames().len(), 2);
    assert_eq!((values(&f, 0), values(&f, 1)), (data.clone(), data));
}

#[test]
fn truncated_last_frame_is_an_error_when_read() {
    let d = Dir::new();
    let frames: Vec<u8> = (0..3).flat_map(|i| block(BASE, 512, &u16s(12, i))).collect();
    let p = d.put("t.edf", &frames[..frames.len() - 5]);
    let opened = open(&p, &OpenOptions::default()).unwrap();
    assert!(opened.warnings.iter().any(|w| w.contains("frame 2: truncated: 24 bytes expected, 19 found")));
    let Content::Volume(v) = opened.content else { panic!() };
    assert_eq!(v.source.shape(), Shape::new(3, 3, 4));
    let mut out = vec![0u8; 48];
    v.source.read(&Region::of_frames(v.source.shape(), 0..2), &mut out).unwrap();
    assert_eq!(out, [u16s(12, 0), u16s(12, 1)].concat());
    let mut out = vec![7u8; 8];
    let e = v.source.read(&Region::of_rows(v.source.shape(), 2..3, 0..1), &mut out).unwrap_err();
    assert!(e.to_string().contains("frame 2 is truncated") && out == [7u8; 8], "{e}");
    // Nothing whole at all: refused on opening.
    let p = d.put("u.edf", &frames[..520]);
    assert!(open(&p, &OpenOptions::default()).is_err());
}

#[test]
fn bytes_after_the_last_frame() {
    let d = Dir::new();
    for (tail, word) in [(&b"some notes"[..], "ignored"), (&b"   \0\0\n"[..], "blank")] {
        let f = d.open(&[&block(BASE, 512, &u16s(12, 1))[..], tail].concat()).unwrap();
        assert_eq!((f.frames().len(), values(&f, 0)), (1, u16s(12, 1)));
        has(&f, word);
    }
}

#[test]
fn what_is_left_unread_is_said_as_callers_know_it() {
    let d = Dir::new();
    let image = || block(BASE, 512, &u16s(12, 1));
    let with = |extra: &str| format!("{BASE}{extra}");
    let mut padded = u16s(12, 1);
    padded.resize(48, 7);
    d.put("data.bin", &u16s(12, 3));
    let outside = with("EDF_BinaryFileName = data.bin ;\nEDF_BinarySize = 8 ;\n");
    let general = block("EDF_DataFormatVersion = 2.40 ;\nEDF_BinarySize = 8 ;\n", 512, b"12345678");
    // Twenty other oddities before it do not push it out of sight.
    let mut many: Vec<u8> = (0..30).flat_map(|_| block(&with("Size = 23 ;\n"), 512, &u16s(12, 1))).collect();
    many.extend_from_slice(b"junk");
    for (what, bytes, told) in [
        ("junk", [image(), b"some notes".to_vec()].concat(), true),
        ("many", many, true),
        ("black", [image(), vec![0; 24]].concat(), true),
        ("blanks", [image(), vec![b' '; 23]].concat(), false),
        ("rest", block(&with("Size = 48 ;\n"), 512, &padded), true),
        ("general", [general, image()].concat(), true),
        ("outside", block(&outside, 512, b"12345678"), true),
        ("plain", image(), false),
    ] {
        let o = open(&d.put("u.edf", &bytes), &OpenOptions::default()).unwrap();
        assert_eq!(o.warnings.iter().any(|w| w.ends_with(NOT_READ)), told, "{what}: {:?}", o.warnings);
        assert_eq!(o.warnings.iter().any(|w| w.leaves_out()), told, "{what}: {:?}", o.warnings);
    }
}

#[test]
fn a_file_cut_within_a_later_header_has_one_frame_that_fails() {
    let d = Dir::new();
    let frames: Vec<u8> = (0..3).flat_map(|i| block(BASE, 512, &u16s(12, i))).collect();
    for n in [2 * 536 + 1, 2 * 536 + 300, 2 * 536 + 511] {
        let opened = open(&d.put("t.edf", &frames[..n]), &OpenOptions::default()).unwrap();
        assert!(opened.warnings.iter().any(|w| w.contains("frame 2: cannot be read")), "{:?}", opened.warnings);
        let Content::Volume(v) = opened.content else { panic!() };
        let shape = v.source.shape();
        assert_eq!(shape, Shape::new(3, 3, 4));
        let mut out = vec![0u8; 48];
        v.source.read(&Region::of_frames(shape, 0..2), &mut out).unwrap();
        assert_eq!(out, [u16s(12, 0), u16s(12, 1)].concat());
        let e = v.source.read(&Region::of_frames(shape, 0..3), &mut [0; 72]).unwrap_err();
        assert!(
            e.to_string().contains("frame 2 cannot be read") && e.advice().unwrap().contains("--slices 0:2"),
            "{e}"
        );
    }
}

#[test]
fn announced_size_against_dimensions() {
    let d = Dir::new();
    let with = |size: usize| format!("{BASE}Size = {size} ;\n");
    // Longer than the image, padding after it, then another frame.
    let mut padded = u16s(12, 1);
    padded.resize(100, 0xee);
    let f = d.open(&[block(&with(100), 512, &padded), block(&with(100), 512, &padded)].concat()).unwrap();
    assert_eq!((f.frames().len(), values(&f, 1)), (2, u16s(12, 1)));
    has(&f, "the rest is skipped");
    // Simply wrong, both ways.
    for size in [3, 23, 25, 4000] {
        let f = d.open(&[block(&with(size), 512, &u16s(12, 1)), block(&with(24), 512, &u16s(12, 2))].concat()).unwrap();
        assert_eq!((f.frames().len(), values(&f, 0), values(&f, 1)), (2, u16s(12, 1), u16s(12, 2)), "{size}");
        has(&f, "dimensions are believed");
    }
    // Truly short: the next header follows the short data.
    let f = d.open(&[block(&with(20), 512, &u16s(10, 1)), block(&with(24), 512, &u16s(12, 2))].concat()).unwrap();
    assert!(f.read_frame(0).is_err());
    assert_eq!(values(&f, 1), u16s(12, 2));
}

#[test]
fn blocks_and_slices() {
    let d = Dir::new();
    let body = "ByteOrder = LowByteFirst ;\nDataType = UnsignedShort ;\nDim_1 = 4 ;\nDim_2 = 3 ;\nDim_3 = 5 ;\n";
    let p = d.put("b.edf", &[block(body, 512, &u16s(60, 1)), block(BASE, 512, &u16s(12, 9))].concat());
    let opened = open(&p, &OpenOptions::default()).unwrap();
    let Content::Volume(v) = opened.content else { panic!() };
    assert_eq!(v.source.shape(), Shape::new(6, 3, 4));
    let all = [u16s(60, 1), u16s(12, 9)].concat();
    for region in [
        v.source.shape().full(),
        Region { frames: 2..6, rows: 1..3, cols: 1..2 },
        Region { frames: 4..5, rows: 0..1, cols: 0..4 },
        Region { frames: 0..0, rows: 0..1, cols: 0..4 },
    ] {
        let mut want = vec![0u8; region.values() * 2];
        crate::source::copy_box(&all, &v.source.shape().full(), &region, 2, &mut want);
        let mut out = vec![0u8; want.len()];
        v.source.read(&region, &mut out).unwrap();
        assert_eq!(out, want, "{region}");
    }
    // A block cut short still gives its whole slices.
    let p = d.put("c.edf", &block(body, 512, &u16s(30, 1)));
    let Content::Volume(v) = open(&p, &OpenOptions::default()).unwrap().content else { panic!() };
    let mut out = vec![0u8; 24];
    v.source.read(&Region::of_frames(v.source.shape(), 1..2), &mut out).unwrap();
    assert_eq!(out, u16s(24, 1)[24..]);
    assert!(v.source.read(&Region::of_frames(v.source.shape(), 2..3), &mut out).is_err());
}

#[test]
fn wide_boxes_take_both_ways() {
    let d = Dir::new();
    let (rows, cols) = (40usize, 6000usize);
    let body = format!("ByteOrder=HighByteFirst;DataType=UnsignedShort;Dim_1={cols};Dim_2={rows};");
    let all: Vec<u16> = (0..rows * cols).map(|i| (i * 31 % 65521) as u16).collect();
    let p = d.put("w.edf", &block(&body, 512, &all.iter().flat_map(|v| v.to_be_bytes()).collect::<Vec<_>>()));
    let Content::Volume(v) = open(&p, &OpenOptions::default()).unwrap().content else { panic!() };
    for c in [0..1usize, 10..5990, 5..6000, 100..200] {
        let region = Region { frames: 0..1, rows: 3..39, cols: c };
        let mut out = vec![0u16; region.values()];
        v.source.read(&region, bytemuck::cast_slice_mut(&mut out)).unwrap();
        let want: Vec<u16> = region
            .rows
            .clone()
            .flat_map(|r| region.cols.clone().map(move |c| (r, c)))
            .map(|(r, c)| all[r * cols + c])
            .collect();
        assert!(out == want, "{region}");
    }
}

#[test]
fn general_block_and_its_defaults() {
    let d = Dir::new();
    let general = block(
        "EDF_DataFormatVersion = 2.40 ;\nByteOrder = HighByteFirst ;\nDim_1 = 4 ;\nDim_2 = 3 ;\nTitle = defaults ;\n",
        512,
        b"",
    );
    let image = block("DataType = UnsignedByte ;\nDim_2 = 2 ;\n", 512, b"12345678");
    let f = d.open(&[general, image.clone(), image].concat()).unwrap();
    assert_eq!((f.frames().len(), f.frames()[1].dims.clone()), (2, vec![2, 4]));
    assert_eq!(f.header().get("Title"), Some("defaults"));
    assert_eq!(f.header_of(1).unwrap().get("title"), Some("defaults"));
    assert!(f.general().is_some() && values(&f, 1) == b"12345678");
    // Alone in its file, with dimensions: an image after all.
    let f = d.open(&block(&format!("EDF_DataFormatVersion = 2.40 ;\n{BASE}"), 512, &u16s(12, 1))).unwrap();
    assert_eq!(values(&f, 0), u16s(12, 1));
    assert!(d.open(&block("EDF_DataFormatVersion = 2.40 ;\n", 512, b"")).is_err());
}

#[test]
fn external_data_only_beside_the_file() {
    let d = Dir::new();
    d.put("data.bin", &[&b"skip"[..], &u16s(12, 3)].concat());
    let with = |name: &str| {
        format!("{BASE}EDF_BinaryFileName = {name} ;\nEDF_BinaryFilePosition = 4 ;\nEDF_BinarySize = 0 ;\n")
    };
    let f = d.open(&[block(&with("data.bin"), 512, b""), block(BASE, 512, &u16s(12, 8))].concat()).unwrap();
    assert_eq!((f.frames().len(), values(&f, 0), values(&f, 1)), (2, u16s(12, 3), u16s(12, 8)));
    // Both files are told, so that no output replaces either.
    let o = open(&d.0.path().join("x.edf"), &OpenOptions::default()).unwrap();
    let Content::Volume(v) = o.content else { panic!() };
    assert_eq!(v.source.files(), [d.0.path().join("x.edf"), d.0.path().join("data.bin")]);
    // Missing: an error when read, which names it; too short: truncated.
    let f = d.open(&block(&with("gone.bin"), 512, b"")).unwrap();
    assert!(f.read_frame(0).unwrap_err().to_string().contains("gone.bin"));
    d.put("short.bin", &[0; 20]);
    assert!(d.open(&block(&with("short.bin"), 512, b"")).unwrap().read_frame(0).is_err());
    for bad in ["../data.bin", "/etc/hostname", "x.edf"] {
        let r = d.open(&block(&with(bad), 512, b"")).and_then(|f| f.read_frame(0));
        assert!(r.is_err(), "{bad}");
    }
}

#[test]
fn internal_compression_is_refused_by_name() {
    let d = Dir::new();
    let e = d.open(&block(&format!("{BASE}Compression = GZIP_COMPRESSION ;\n"), 512, &u16s(12, 1))).err().unwrap();
    assert_eq!(e.fault(), crate::Fault::Unsupported);
    assert!(e.to_string().contains("GZIP_COMPRESSION"));
}

#[test]
fn frames_of_another_shape_are_told_and_refused() {
    let d = Dir::new();
    let odd = block("ByteOrder=LowByteFirst;DataType=UnsignedShort;Dim_1=2;Dim_2=6;", 512, &u16s(12, 5));
    let other_type = block("ByteOrder=LowByteFirst;DataType=SignedShort;Dim_1=4;Dim_2=3;", 512, &u16s(12, 5));
    let unknown = block("Dim_1=4;Dim_2=3;DataType=Quaternion;Size=24;", 512, &u16s(12, 5));
    let b = [block(BASE, 512, &u16s(12, 1)), odd, other_type, unknown, block(BASE, 512, &u16s(12, 2))].concat();
    let opened = open(&d.put("o.edf", &b), &OpenOptions::default()).unwrap();
    assert!(opened.warnings.iter().any(|w| w.starts_with("3 of 5 frames differ")), "{:?}", opened.warnings);
    let Content::Volume(v) = opened.content else { panic!() };
    let mut out = vec![0u8; 24];
    for (i, good) in [true, false, false, false, true].into_iter().enumerate() {
        let r = v.source.read(&Region::of_frames(v.source.shape(), i..i + 1), &mut out);
        assert_eq!(r.is_ok(), good, "{i}: {r:?}");
    }
    assert_eq!(out, u16s(12, 2));
}

fn gz(data: &[u8]) -> Vec<u8> {
    let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    e.write_all(data).unwrap();
    e.finish().unwrap()
}

fn bz2(data: &[u8]) -> Vec<u8> {
    let mut e = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
    e.write_all(data).unwrap();
    e.finish().unwrap()
}

#[test]
fn whole_file_compression() {
    let d = Dir::new();
    let plain: Vec<u8> = (0..3).flat_map(|i| block(BASE, 512, &u16s(12, i))).collect();
    for (name, packed) in [("a.edf.gz", gz(&plain)), ("a.edf.bz2", bz2(&plain))] {
        let p = d.put(name, &packed);
        let f = File::open(&p).unwrap();
        assert!(f.warnings().is_empty() && f.is_packed());
        assert_eq!((f.frames().len(), values(&f, 2)), (3, u16s(12, 2)));
        let (spec, hit) = crate::registry::probe(&p).unwrap();
        assert_eq!((spec.name, hit.confidence), ("edf", Confidence::Marker));
        for n in 0..packed.len() {
            let p = d.put("cut", &packed[..n]);
            if let Ok(f) = File::open(&p) {
                assert!(!f.warnings().is_empty(), "{name} cut at {n} is silent");
                for i in 0..f.frames().len() {
                    if let Ok((_, _, v)) = f.read_frame(i) {
                        assert_eq!(v, u16s(12, i as u16));
                    }
                }
            }
        }
    }
}

/// All pixels are there, and the sum that speaks for them is not.
#[test]
fn a_series_does_not_read_a_packed_file_without_its_end() {
    let d = Dir::new();
    for (ext, pack) in [("gz", gz as fn(&[u8]) -> Vec<u8>), ("bz2", bz2)] {
        for lost in [0, 1, 4, 9] {
            let paths: Vec<_> = (0..3u16)
                .map(|i| {
                    let packed = pack(&block(BASE, 512, &u16s(12, i)));
                    let whole = packed.len() - if i == 1 { lost } else { 0 };
                    d.put(&format!("{ext}{lost}_{i}.edf.{ext}"), &packed[..whole])
                })
                .collect();
            let series = super::folder::series(paths.clone()).unwrap();
            let read = |i: usize| {
                let s = series.shape();
                series.read(&Region::of_frames(s, i..i + 1), &mut vec![0; s.frame_len() * 2])
            };
            read(0).unwrap();
            read(2).unwrap();
            let text = read(1).map_err(|e| e.to_string());
            assert_eq!(text.is_err(), lost > 0, "{ext} {lost}: {text:?}");
            assert!(text.err().is_none_or(|e| e.contains("truncated") && e.contains(&format!("_1.edf.{ext}"))));
        }
    }
}

#[test]
fn bombs_do_not_go_off() {
    let d = Dir::new();
    // 64 MiB of zeros behind an image of 24 bytes: decoded only as far as the header calls for.
    let mut b = block(BASE, 512, &u16s(12, 1));
    b.resize(64 << 20, 0);
    let p = d.put("bomb.edf.gz", &gz(&b));
    let mut s = super::store::Store::open(&p).unwrap();
    assert!(s.available(1024).unwrap() < 1 << 20);
    let f = File::open(&p).unwrap();
    assert_eq!((f.frames().len(), values(&f, 0)), (1, u16s(12, 1)));
    // A header that claims terabytes which are not there.
    let huge = block("ByteOrder=Low;DataType=Double;Dim_1=1000000;Dim_2=1000000;", 512, b"little");
    assert!(File::open(d.put("h.edf.gz", &gz(&huge))).unwrap().read_frame(0).is_err());
    assert!(d.open(&huge).unwrap().read_frame(0).is_err());
}

#[test]
fn truncation_at_every_byte() {
    let d = Dir::new();
    let whole: Vec<u8> = (0..2).flat_map(|i| block(&format!("{BASE}Size = 24 ;\n"), 512, &u16s(12, i))).collect();
    for n in 0..whole.len() {
        match d.open(&whole[..n]) {
            Err(_) => assert!(n < 512, "{n}"),
            Ok(f) => {
                let good = f.frames().iter().filter(|f| f.is_whole()).count();
                assert_eq!(good, n / 536, "{n}");
                assert!(n == 536 || !f.warnings().is_empty(), "{n} is silent");
                for i in 0..f.frames().len() {
                    match f.read_frame(i) {
                        Ok((_, _, v)) => assert_eq!(v, u16s(12, i as u16)),
                        Err(_) => assert!(i >= good),
                    }
                }
            }
        }
    }
}

#[test]
fn corruption_never_panics() {
    let d = Dir::new();
    let whole: Vec<u8> = (0..2)
        .flat_map(|i| block(&format!("EDF_DataFormatVersion = 1 ;\n{BASE}Size = 24 ;\n"), 200, &u16s(12, i)))
        .collect();
    let packed = gz(&whole);
    let mut opened = 0;
    for (name, bytes) in [("c.edf", &whole), ("c.edf.gz", &packed)] {
        for at in 0..bytes.len() {
            for flip in [0x01u8, 0x10, 0x80, 0xff] {
                let mut b = bytes.clone();
                b[at] ^= flip;
                let p = d.put(name, &b);
                if let Ok(o) = open(&p, &OpenOptions::default())
                    && let Content::Volume(v) = o.content
                {
                    opened += 1;
                    let s = v.source.shape();
                    let mut out = vec![0u8; s.frame_len() * v.source.dtype().size()];
                    for i in 0..s.frames.min(50) {
                        let _ = v.source.read(&Region::of_frames(s, i..i + 1), &mut out);
                    }
                }
            }
        }
    }
    assert!(opened > 100);
}

/// Every type, both byte orders, whatever the values.
#[test]
fn all_types_and_orders() {
    let d = Dir::new();
    for dtype in DType::ALL {
        let Some(name) = write::type_name(dtype) else {
            assert_eq!(dtype, DType::F16);
            continue;
        };
        for (order, word) in [(ByteOrder::Little, "LowByteFirst"), (ByteOrder::Big, "HighByteFirst")] {
            let native: Vec<u8> = (0..12 * dtype.size()).map(|i| (i * 37 + 11) as u8).collect();
            let mut stored = native.clone();
            order.to_native(&mut stored, dtype.size());
            let f =
                d.open(&block(&format!("ByteOrder={word};DataType={name};Dim_1=4;Dim_2=3;"), 512, &stored)).unwrap();
            let (dims, t, v) = f.read_frame(0).unwrap();
            assert_eq!((dims, t, v), (vec![3, 4], dtype, native), "{name} {word}");
        }
    }
}

fn write_all(path: &Path, o: &CreateOptions, data: &[u8]) -> Vec<PathBuf> {
    let mut sink = write::create(path, o).unwrap();
    let per = o.shape.frame_len() * o.dtype.size();
    let first = sink.stored();
    // In uneven helpings, as a pipeline would.
    for (k, part) in data[first * per..].chunks(2 * per).enumerate() {
        sink.put(first + 2 * k, part).unwrap();
    }
    sink.finish(None).unwrap()
}
