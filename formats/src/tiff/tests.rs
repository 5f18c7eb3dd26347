//! Round trips of every type, variant and compression; hostile files; resuming; stacks beyond 4 GB; scans.

use super::*;
use crate::io::NOT_READ;
use crate::model::{GreyScale, VolumeMeta, VolumeStats};
use crate::source::copy_box;
use crate::{CreateOptions, DType, Error, FrameSource, Region, Shape};
use std::path::PathBuf;

/// Smooth values with some noise: every byte of every type is exercised, and no value repeats too often.
fn values(shape: Shape, dtype: DType) -> Vec<u8> {
    let n = shape.len().unwrap() as usize;
    let mut seed = 0x2545_F491_4F6C_DD1Du64;
    let mut out = Vec::with_capacity(n * dtype.size());
    for i in 0..n {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let v = (i as f64 * 0.37).sin() * 50.0 + (seed % 17) as f64;
        crate::with_dtype!(dtype, T => out.extend(bytemuck::bytes_of(&from::<T>(v, seed))));
    }
    out
}

fn from<T: bytemuck::Pod>(v: f64, seed: u64) -> T {
    let bytes = match size_of::<T>() {
        4 if std::any::type_name::<T>() == "f32" => (v as f32).to_ne_bytes().to_vec(),
        8 if std::any::type_name::<T>() == "f64" => v.to_ne_bytes().to_vec(),
        2 if std::any::type_name::<T>().contains("f16") => crate::model::F16::from_f64(v).to_ne_bytes().to_vec(),
        n => (v as i64 ^ ((seed & 1) << 62) as i64).to_ne_bytes()[..n].to_vec(),
    };
    bytemuck::pod_read_unaligned(&bytes)
}

fn write_all(path: &Path, o: &CreateOptions, data: &[u8]) -> Result<Vec<PathBuf>> {
    let mut sink = (SPEC.create.unwrap())(path, o)?;
    let frame = o.shape.frame_len() * o.dtype.size();
    // Two slices at a time, the last alone.
    for (i, part) in data.chunks(2 * frame).enumerate() {
        sink.put(i * 2, part)?;
    }
    let stats = VolumeStats { min: -1.0, max: 2.5, s1: 0.0, s2: 0.0, big_s1: 0.0, big_s2: 0.0 };
    sink.finish(Some(&stats))
}

fn open_volume(path: &Path) -> Result<(Volume, Opened)> {
    let opened = open(path, &OpenOptions::default())?;
    match &opened.content {
        Content::Volume(v) => Ok((v.clone(), opened)),
        _ => Err(Error::caller("not a volume")),
    }
}

fn read_all(s: &dyn FrameSource) -> Result<Vec<u8>> {
    let mut out = vec![0u8; s.shape().len()? as usize * s.dtype().size()];
    s.read(&s.shape().full(), &mut out)?;
    Ok(out)
}

#[test]
fn round_trip_of_every_type_variant_and_compression() {
    let dir = tempfile::tempdir().unwrap();
    let shape = Shape::new(5, 37, 29);
    let mut seen = 0;
    for dtype in DType::ALL {
        let data = values(shape, dtype);
        for variant in write::VARIANTS {
            for compression in ["none", "deflate:4", "zstd"] {
                let mut o = CreateOptions::new(shape, dtype);
                o.variant = Some((*variant).into());
                o.compression = Some(compression.into());
                o.start_number = 7;
                o.meta = VolumeMeta {
                    voxel_um: Some([1.3, 0.65, 0.65]),
                    grey: Some(GreyScale { slope: 0.5, offset: -2.0, unit: "1/cm".into() }),
                    description: Some("a µCT \\ of\ntwo lines".into()),
                    ..Default::default()
                };
                let path = dir.path().join(format!("{}_{variant}_{}", dtype.name(), compression.replace(':', "_")));
                let files = match write_all(&path, &o, &data) {
                    Ok(f) => f,
                    Err(e) => {
                        assert_eq!(*variant, "imagej", "{e}");
                        continue;
                    }
                };
                let (volume, opened) = open_volume(&files[0]).unwrap();
                let what = format!("{} {variant} {compression}", dtype.name());
                assert_eq!(volume.source.shape(), shape, "{what}");
                assert_eq!(volume.source.dtype(), dtype, "{what}");
                assert!(read_all(&*volume.source).unwrap() == data, "{what}");
                let region = Region { frames: 1..4, rows: 5..31, cols: 3..17 };
                let (mut got, mut want) = (vec![0u8; region.values() * dtype.size()], Vec::new());
                want.resize(got.len(), 0);
                volume.source.read(&region, &mut got).unwrap();
                copy_box(&data, &shape.full(), &region, dtype.size(), &mut want);
                assert!(got == want, "{what}");
                if compression == "none" && *variant != "series" {
                    assert!(volume.source.mapped(0..5).is_none_or(|m| m == data), "{what}");
                    assert_eq!(volume.source.access(), crate::Access::PLAIN);
                }
                let [z, y, x] = volume.meta.voxel_um.unwrap();
                assert!((z - 1.3).abs() + (y - 0.65).abs() + (x - 0.65).abs() < 1e-9, "{what}");
                assert_eq!(volume.meta.grey, o.meta.grey, "{what}");
                assert_eq!(volume.meta.description, o.meta.description, "{what}");
                assert!(opened.warnings.is_empty(), "{what}: {:?}", opened.warnings);
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 11 * 3 * 3 + 4);
}

#[test]
fn names_decide_the_variant() {
    let dir = tempfile::tempdir().unwrap();
    let o = CreateOptions::new(Shape::new(2, 3, 4), DType::U8);
    let data = values(o.shape, o.dtype);
    let make = |name: &str, variant: Option<&str>| {
        let o = CreateOptions { variant: variant.map(Into::into), ..o.clone() };
        write_all(&dir.path().join(name), &o, &data).unwrap().swap_remove(0)
    };
    let at = |name: &str| dir.path().join(name);
    assert_eq!(make("a.tif", None), at("a.tif"));
    assert!(!File::open(at("a.tif")).unwrap().is_big());
    assert_eq!(make("b.TIFF", Some("bigtiff")), at("b.TIFF"));
    assert!(File::open(at("b.TIFF")).unwrap().is_big());
    assert_eq!(make("c", None), at("c"));
    assert!(at("c/c_0000.tif").is_file() && at("c/c_0001.tif").is_file());
    assert_eq!(make("d/", None), at("d"));
    assert_eq!(make("e.tif", Some("series")), at("e"));
    assert!(at("e/e_0001.tif").is_file());
    assert_eq!(make("f", Some("imagej")), at("f.tif"));
    let bad = CreateOptions { compression: Some("lzw".into()), ..o.clone() };
    let e = (SPEC.create.unwrap())(&at("g.tif"), &bad).err().unwrap();
    assert!(e.to_string().contains("lzw") && e.advice().is_some(), "{e}");
}

/// The `tiff` crate reads our files, too: a second opinion on directories, strips and predictors.
#[test]
fn another_reader_agrees() {
    use tiff::decoder::{Decoder, DecodingResult as R};
    let dir = tempfile::tempdir().unwrap();
    let shape = Shape::new(3, 300, 700);
    for dtype in [DType::U8, DType::I16, DType::U16, DType::U32, DType::U64, DType::F32, DType::F64] {
        let data = values(shape, dtype);
        for (variant, compression) in
            [("multipage", "none"), ("bigtiff", "zstd"), ("multipage", "deflate"), ("bigtiff", "none")]
        {
            let mut o = CreateOptions::new(shape, dtype);
            (o.variant, o.compression) = (Some(variant.into()), Some(compression.into()));
            let path = dir.path().join(format!("{}{variant}{compression}.tif", dtype.name()));
            write_all(&path, &o, &data).unwrap();
            let mut d = Decoder::new(std::io::BufReader::new(std::fs::File::open(&path).unwrap())).unwrap();
            for frame in data.chunks(shape.frame_len() * dtype.size()) {
                let got = match d.read_image().unwrap() {
                    R::U8(v) => v,
                    R::I16(v) => bytemuck::cast_slice(&v).to_vec(),
                    R::U16(v) => bytemuck::cast_slice(&v).to_vec(),
                    R::U32(v) => bytemuck::cast_slice(&v).to_vec(),
                    R::U64(v) => bytemuck::cast_slice(&v).to_vec(),
                    R::F32(v) => bytemuck::cast_slice(&v).to_vec(),
                    R::F64(v) => bytemuck::cast_slice(&v).to_vec(),
                    _ => panic!("another type"),
                };
                assert!(got == frame, "{} {variant} {compression}", dtype.name());
                if d.more_images() {
                    d.next_image().unwrap();
                }
            }
            assert!(!d.more_images());
        }
    }
}

/// Reads what can be read; returns the values or the error. Must not panic.
fn survive(path: &Path) -> Result<Vec<u8>> {
    let all = open_volume(path).and_then(|(v, _)| {
        // A hostile size must fail by itself, not by our allocating for it.
        let bytes = v.source.shape().len()?.saturating_mul(v.source.dtype().size() as u64);
        if bytes > 1 << 20 {
            let mut row = vec![0u8; v.source.shape().cols.min(1 << 20) * v.source.dtype().size()];
            let cols = 0..v.source.shape().cols.min(1 << 20);
            v.source.read(&Region { frames: 0..1, rows: 0..1, cols }, &mut row)?;
            return Ok(row);
        }
        read_all(&*v.source)
    });
    if let Ok(f) = File::open(path) {
        for i in 0..f.pages().len().min(8) {
            let _ = f.read_page(i);
        }
    }
    all
}

/// Small files of every kind we write, plus a tiled one made by hand.
fn specimens(dir: &Path) -> Vec<PathBuf> {
    let shape = Shape::new(3, 9, 11);
    let mut out = Vec::new();
    for (variant, compression) in
        [("multipage", "none"), ("bigtiff", "deflate"), ("multipage", "zstd"), ("imagej", "none"), ("bigtiff", "none")]
    {
        let mut o = CreateOptions::new(shape, DType::U16);
        (o.variant, o.compression) = (Some(variant.into()), Some(compression.into()));
        o.meta.voxel_um = Some([1.0; 3]);
        let path = dir.join(format!("{variant}_{compression}.tif"));
        write_all(&path, &o, &values(shape, DType::U16)).unwrap();
        out.push(path);
    }
    let tiled = dir.join("tiled.tif");
    std::fs::write(&tiled, tiled_file().0).unwrap();
    out.push(tiled);
    out
}

/// A classic big-endian file of one page, 20 × 18 uint16, four 16 × 16 PackBits tiles. Returns bytes and values.
fn tiled_file() -> (Vec<u8>, Vec<u16>) {
    let (rows, cols) = (20usize, 18usize);
    let value = |r: usize, c: usize| (r * 1000 + c) as u16;
    let mut data = Vec::new();
    let (mut offsets, mut counts) = (Vec::new(), Vec::new());
    for t in 0..4 {
        let (r0, c0) = (t / 2 * 16, t % 2 * 16);
        offsets.push(200 + data.len() as u32);
        let before = data.len();
        for r in r0..r0 + 16 {
            data.push(31u8); // 32 literal bytes
            (c0..c0 + 16).for_each(|c| data.extend(value(r, c).to_be_bytes()));
        }
        counts.push((data.len() - before) as u32);
    }
    let mut f = b"MM\0\x2a\0\0\0\x08".to_vec();
    let tags: [(u16, u16, u32, u32); 10] = [
        (256, 4, 1, cols as u32),
        (257, 4, 1, rows as u32),
        (258, 3, 1, 16 << 16),
        (259, 3, 1, 32773 << 16),
        (262, 3, 1, 1 << 16),
        (277, 3, 1, 1 << 16),
        (322, 3, 1, 16 << 16),
        (323, 3, 1, 16 << 16),
        (324, 4, 4, 168),
        (325, 4, 4, 184),
    ];
    f.extend((tags.len() as u16).to_be_bytes());
    for (tag, kind, n, v) in tags {
        f.extend(tag.to_be_bytes());
        f.extend(kind.to_be_bytes());
        f.extend(n.to_be_bytes());
        f.extend(v.to_be_bytes());
    }
    f.extend([0; 4]);
    f.resize(168, 0);
    offsets.iter().chain(&counts).for_each(|v| f.extend(v.to_be_bytes()));
    f.extend(data);
    (f, (0..rows).flat_map(|r| (0..cols).map(move |c| value(r, c))).collect())
}

/// A classic little-endian file of uint8 pages, 2 rows each, as (columns, further tags); values 0, 1, 2 ….
fn pages_file(pages: &[(u32, &[[u32; 4]])]) -> Vec<u8> {
    let mut f = b"II\x2a\0\0\0\0\0".to_vec();
    let mut link = 4;
    for (cols, more) in pages {
        let data = f.len() as u32;
        f.extend((0..cols * 2).map(|v| v as u8));
        f.resize(f.len().next_multiple_of(2), 0);
        let at = f.len() as u32;
        f[link..link + 4].copy_from_slice(&at.to_le_bytes());
        let basic = [
            [256, 4, 1, *cols],
            [257, 4, 1, 2],
            [258, 3, 1, 8],
            [262, 3, 1, 1],
            [273, 4, 1, data],
            [279, 4, 1, cols * 2],
        ];
        f.extend(((basic.len() + more.len()) as u16).to_le_bytes());
        for [tag, kind, n, v] in basic.iter().chain(*more) {
            f.extend((*tag as u16).to_le_bytes());
            f.extend((*kind as u16).to_le_bytes());
            f.extend(n.to_le_bytes());
            f.extend(v.to_le_bytes());
        }
        link = f.len();
        f.extend([0; 4]);
    }
    f
}

#[test]
fn images_left_out_are_said_as_callers_know_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.tif");
    let (sub, stk) = ([330u32, 4, 2, 8], [33629u32, 4, 5, 8]);
    for (what, pages, frames, told) in [
        ("alike", vec![(3, &[][..]), (3, &[])], 2, None),
        ("another size", vec![(3, &[][..]), (4, &[]), (3, &[])], 2, Some("1 of 3 pages differ")),
        ("SubIFDs", vec![(3, &[sub][..]), (3, &[])], 2, Some("2 further images (SubIFDs) hang on 1 of 2 pages")),
        ("STK", vec![(3, &[stk][..])], 1, Some("a MetaMorph stack of 5 planes")),
    ] {
        std::fs::write(&path, pages_file(&pages)).unwrap();
        let (volume, opened) = open_volume(&path).unwrap();
        assert_eq!(volume.source.shape(), Shape::new(frames, 2, 3), "{what}");
        assert_eq!(read_all(&*volume.source).unwrap()[..6], [0, 1, 2, 3, 4, 5], "{what}");
        let said = opened.warnings.iter().find(|w| w.ends_with(NOT_READ));
        assert_eq!(said.is_some(), told.is_some(), "{what}: {:?}", opened.warnings);
        assert!(told.is_none_or(|t| said.unwrap().contains(t)), "{what}: {said:?}");
    }
    // In a folder of slices, of its first file.
    std::fs::write(&path, pages_file(&[(3, &[sub])])).unwrap();
    std::fs::create_dir(dir.path().join("s")).unwrap();
    for i in 0..2 {
        std::fs::copy(&path, dir.path().join(format!("s/{i}.tif"))).unwrap();
    }
    let (_, opened) = open_volume(&dir.path().join("s")).unwrap();
    assert!(opened.warnings.iter().any(|w| w.starts_with("0.tif: ") && w.ends_with(NOT_READ)), "{:?}", opened.warnings);
}

#[test]
fn pages_that_their_bytes_cannot_hold_are_refused_at_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.tif");
    // The width's top bit flipped, of a plain file and of packed ones.
    for compression in ["none", "deflate:4", "zstd"] {
        let shape = Shape::new(1, 16, 16);
        let mut o = CreateOptions::new(shape, DType::F32);
        (o.compression, o.variant, o.overwrite) = (Some(compression.into()), Some("multipage".into()), true);
        let files = write_all(&path, &o, &values(shape, DType::F32)).unwrap();
        let mut bytes = std::fs::read(&files[0]).unwrap();
        let width = [0, 1, 4, 0, 1, 0, 0, 0, 16, 0, 0, 0];
        let at = bytes.windows(12).position(|w| w == width).unwrap();
        bytes[at + 11] |= 0x80;
        std::fs::write(&path, &bytes).unwrap();
        let e = open_volume(&path).err().unwrap().to_string();
        assert!(e.contains("a page larger than its stored bytes can be"), "{compression}: {e}");
    }
    // Zeros pack well: none of these is refused.
    for (compression, side) in [("deflate:9", 4000), ("zstd", 4000), ("deflate:1", 64)] {
        let shape = Shape::new(2, side, side);
        let mut o = CreateOptions::new(shape, DType::F32);
        (o.compression, o.variant, o.overwrite) = (Some(compression.into()), Some("multipage".into()), true);
        let files = write_all(&path, &o, &vec![0; side * side * 8]).unwrap();
        let (volume, _) = open_volume(&files[0]).unwrap();
        assert!(read_all(&*volume.source).unwrap().iter().all(|b| *b == 0), "{compression}");
    }
    // Nor is a file whose tiles are nearly all missing: the one that is there can be read.
    let (mut bytes, _) = tiled_file();
    for t in 1..4 {
        bytes[168 + t * 4..172 + t * 4].fill(0);
        bytes[184 + t * 4..188 + t * 4].fill(0);
    }
    bytes.truncate(200 + 33 * 16);
    std::fs::write(&path, &bytes).unwrap();
    let (volume, _) = open_volume(&path).unwrap();
    let mut out = [0u8; 2];
    volume.source.read(&Region { frames: 0..1, rows: 1..2, cols: 2..3 }, &mut out).unwrap();
    assert_eq!(u16::from_ne_bytes(out), 1002);
}

#[test]
fn tiles_are_cut_at_the_edges() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.tif");
    let (bytes, want) = tiled_file();
    std::fs::write(&path, bytes).unwrap();
    let (v, _) = open_volume(&path).unwrap();
    assert_eq!(v.source.access().unit, Shape::new(1, 16, 16));
    assert_eq!(read_all(&*v.source).unwrap(), bytemuck::cast_slice::<u16, u8>(&want));
    let region = Region { frames: 0..1, rows: 14..19, cols: 15..18 };
    let (mut got, mut cut) = (vec![0u8; 30], vec![0u8; 30]);
    v.source.read(&region, &mut got).unwrap();
    copy_box(bytemuck::cast_slice(&want), &v.source.shape().full(), &region, 2, &mut cut);
    assert_eq!(got, cut);
}

#[test]
fn truncated_files_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    for path in specimens(dir.path()) {
        let whole = std::fs::read(&path).unwrap();
        let values = survive(&path).unwrap();
        // What lies behind the last byte in use is padding: cutting it changes nothing.
        let (mut errors, cut) = (0, dir.path().join("cut.tif"));
        for len in (0..whole.len()).step_by(7).chain(whole.len().saturating_sub(200)..whole.len()) {
            std::fs::write(&cut, &whole[..len]).unwrap();
            match survive(&cut) {
                // An ImageJ stack cut right behind its first frame looks like a slice with its stack's description.
                Ok(v) if v.len() < values.len() => {
                    let told = open_volume(&cut).unwrap().1.warnings;
                    assert!(path.ends_with("imagej_none.tif") && told[0].contains("speaks of 3 images"), "{told:?}");
                    assert!(values.starts_with(&v) && (4294..4294 + 16).contains(&len), "cut at {len}");
                }
                Ok(v) => assert!(v == values, "{} cut at {len} gives other values", path.display()),
                Err(_) => errors += 1,
            }
        }
        assert!(errors > 100, "{}: only {errors} errors", path.display());
    }
}

#[test]
fn corrupted_files_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let (mut errors, mut fine) = (0, 0);
    for path in specimens(dir.path()) {
        let whole = std::fs::read(&path).unwrap();
        let bad = dir.path().join("bad.tif");
        for at in (0..whole.len()).filter(|i| whole[*i] != 0 || i % 5 == 0 && !(600..4096).contains(i)) {
            let mut b = whole.clone();
            b[at] ^= [0xFF, 0x01, 0x80][at % 3];
            std::fs::write(&bad, &b).unwrap();
            match survive(&bad) {
                Ok(_) => fine += 1,
                Err(_) => errors += 1,
            }
        }
    }
    assert!(errors > 200 && fine > 500, "{errors} errors, {fine} read");
}

#[test]
fn loops_and_empty_chains_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tif");
    let (mut bytes, _) = tiled_file();
    bytes[130..134].copy_from_slice(&8u32.to_be_bytes()); // the next directory is this one
    std::fs::write(&path, &bytes).unwrap();
    let e = open_volume(&path).err().unwrap();
    assert!(e.to_string().contains("loop"), "{e}");
    std::fs::write(&path, b"II*\0\0\0\0\0").unwrap();
    assert!(open_volume(&path).err().unwrap().to_string().contains("without pages"));
}

#[test]
fn colour_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rgb.tif");
    let mut e = tiff::encoder::TiffEncoder::new(std::fs::File::create(&path).unwrap()).unwrap();
    e.write_image::<tiff::encoder::colortype::RGB8>(2, 2, &[7; 12]).unwrap();
    drop(e);
    let err = open_volume(&path).err().unwrap().to_string();
    assert!(err.contains("RGB") && err.contains("3 samples"), "{err}");
    let page = File::open(&path).unwrap().read_page(0).unwrap();
    assert_eq!((page.shape, page.bytes), (vec![2, 2, 3], vec![7; 12]));
}

/// 1300 frames of 2000 × 1000 uint16 behind one classic directory: 5.2 GB, sparse.
#[test]
fn imagej_stack_beyond_4_gb() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("big.tif");
    let shape = Shape::new(1, 2000, 1000);
    let mut o = CreateOptions::new(shape, DType::U16);
    o.variant = Some("imagej".into());
    let one = values(shape, DType::U16);
    write_all(&path, &o, &one).unwrap();
    // Stretch it: what ImageJ's own writer would produce for 1300 frames of which only two are not empty.
    let mut head = std::fs::read(&path).unwrap();
    let at = head.windows(19).position(|w| w == b"images=1\nloop=false").unwrap();
    head[at..at + 19].copy_from_slice(b"images=1300\nloop=f\n");
    std::fs::write(&path, &head).unwrap();
    let f = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    f.set_len(4096 + 1300 * one.len() as u64).unwrap();
    crate::io::write_all_at(&f, &one, 4096 + 1299 * one.len() as u64).unwrap();
    let (v, opened) = open_volume(&path).unwrap();
    assert_eq!(v.source.shape(), Shape { frames: 1300, ..shape });
    assert_eq!(opened.facts.get("pages"), Some(&1.into()));
    let mut out = vec![1u8; one.len()];
    v.source.read(&Region::of_frames(v.source.shape(), 1299..1300), &mut out).unwrap();
    assert!(out == one);
    v.source.read(&Region::of_frames(v.source.shape(), 1298..1299), &mut out).unwrap();
    assert!(out.iter().all(|b| *b == 0));
    // One byte less: the last frame is not whole, and that is said.
    drop((v, opened)); // Windows cuts no file that is mapped
    f.set_len(4095 + 1300 * one.len() as u64).unwrap();
    let e = open_volume(&path).err().unwrap().to_string();
    assert!(e.contains("1300 images") && e.contains("1299 whole"), "{e}");
    // A slice saved alone with the text of its stack is one slice.
    f.set_len(4096 + one.len() as u64).unwrap();
    let (v, opened) = open_volume(&path).unwrap();
    assert_eq!(v.source.shape(), shape);
    assert!(opened.warnings[0].contains("1300 images"), "{:?}", opened.warnings);
}

#[test]
fn interrupted_runs_are_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let shape = Shape::new(6, 20, 10);
    let data = values(shape, DType::F32);
    let frame = 20 * 10 * 4;
    for (variant, compression, resumed) in [
        ("series", "none", 3),
        ("series", "zstd", 3),
        ("multipage", "none", 3),
        ("imagej", "none", 3),
        ("bigtiff", "zstd", 0),
    ] {
        let path = dir.path().join(format!("{variant}_{compression}"));
        let mut o = CreateOptions::new(shape, DType::F32);
        (o.variant, o.compression) = (Some(variant.into()), Some(compression.into()));
        let mut sink = (SPEC.create.unwrap())(&path, &o).unwrap();
        sink.put(0, &data[..4 * frame]).unwrap();
        sink.keep_partial();
        drop(sink);
        assert!(!path.exists());
        o.resume = true;
        let mut sink = (SPEC.create.unwrap())(&path, &o).unwrap();
        assert_eq!(sink.stored(), resumed, "{variant} {compression}");
        assert!(sink.put(5, &data[5 * frame..]).is_err(), "out of order");
        sink.put(resumed, &data[resumed * frame..]).unwrap();
        let files = sink.finish(None).unwrap();
        assert!(read_all(&*open_volume(&files[0]).unwrap().0.source).unwrap() == data);
        assert!((SPEC.create.unwrap())(&files[0], &o).is_err(), "an existing output is refused");
    }
    // Another type does not continue an old part, and an unfinished output leaves nothing.
    let path = dir.path().join("other.tif");
    let mut o = CreateOptions::new(shape, DType::F32);
    let mut sink = (SPEC.create.unwrap())(&path, &o).unwrap();
    sink.put(0, &data[..4 * frame]).unwrap();
    sink.keep_partial();
    drop(sink);
    (o.dtype, o.resume) = (DType::U32, true);
    let sink = (SPEC.create.unwrap())(&path, &o).unwrap();
    assert_eq!(sink.stored(), 0);
    assert!(sink.finish(None).unwrap_err().to_string().contains("not all slices"));
    assert!(!path.exists() && !dir.path().join("other.tif.part").exists());
}

#[test]
fn a_series_names_its_odd_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let o = CreateOptions::new(Shape::new(4, 8, 8), DType::U8);
    write_all(&path, &o, &values(o.shape, o.dtype)).unwrap();
    assert!(path.join("s_0003.tif").is_file());
    std::fs::remove_file(path.join("s_0001.tif")).unwrap();
    let (v, opened) = open_volume(&path).unwrap();
    assert_eq!(v.source.shape().frames, 3);
    assert!(opened.warnings[0].contains("1 number(s) missing"), "{:?}", opened.warnings);
    let odd = CreateOptions::new(Shape::new(1, 9, 8), DType::U8);
    write_all(&dir.path().join("odd.tif"), &odd, &values(odd.shape, odd.dtype)).unwrap();
    std::fs::rename(dir.path().join("odd.tif"), path.join("s_0002.tif")).unwrap();
    let e = open_volume(&path).err().unwrap().to_string();
    assert!(e.contains("s_0002.tif") && e.contains("1 × 9 × 8"), "{e}");
}

#[test]
fn scans_in_folders_and_tomcat_order() {
    let dir = tempfile::tempdir().unwrap();
    let shape = Shape::new(8, 4, 5);
    let data = values(shape, DType::U16);
    let root = dir.path().join("scan");
    std::fs::create_dir(&root).unwrap();
    for (name, frames) in [("tomo", 0..5), ("Flats", 5..7), ("dc", 7..8)] {
        let o = CreateOptions::new(Shape { frames: frames.len(), ..shape }, DType::U16);
        write_all(&root.join(name), &o, &data[frames.start * 40..frames.end * 40]).unwrap();
    }
    let scan = |p: &Path| match open(p, &OpenOptions::default()) {
        Ok(Opened { content: Content::Scan(s), warnings, .. }) => Ok((s, warnings)),
        Ok(_) => Err(Error::caller("not a scan")),
        Err(e) => Err(e),
    };
    assert!(probe(&Candidate::look(&root).unwrap()).unwrap().reason.contains("tomo"));
    let (s, warnings) = scan(&root).unwrap();
    assert!(warnings.iter().any(|w| w.contains("assumed")), "{warnings:?}");
    assert_eq!(read_all(&*s.projections).unwrap(), data[..200]);
    assert_eq!((s.flats[0].source.shape().frames, s.darks[0].source.shape().frames), (2, 1));
    assert!((s.angles.rad[4] - 144f64.to_radians()).abs() < 1e-12);
    std::fs::write(root.join("angles.txt"), "0\n10\n20\n30\n").unwrap();
    assert!(scan(&root).err().unwrap().to_string().contains("angles"));
    std::fs::write(root.join("angles.txt"), "0\n10\n20\n30\n40\n").unwrap();
    let (s, warnings) = scan(&root).unwrap();
    assert!(warnings.is_empty() && s.angles.origin == "angles.txt", "{warnings:?}");

    // TOMCAT: 1 dark, 2 flats, 5 projections under one name, numbered from 1.
    let root = dir.path().join("tc");
    let mut o = CreateOptions::new(shape, DType::U16);
    o.start_number = 1;
    write_all(&root, &o, &data).unwrap();
    let log = "Number of projections : 5\nNumber of darks : 1\nNumber of flats : 2\nNumber of inter-flats : 0\n\
        Rot Y min position  [deg] : 0.0\nRot Y max position  [deg] : 180.0\n";
    std::fs::write(root.join("tc.log"), log).unwrap();
    let (s, _) = scan(&root).unwrap();
    assert_eq!(s.layout, "tomcat");
    assert_eq!(read_all(&*s.projections).unwrap(), data[120..]);
    assert_eq!(read_all(&*s.darks[0].source).unwrap(), data[..40]);
    assert!((s.angles.rad[4] - std::f64::consts::PI).abs() < 1e-12);
    drop(s); // Windows removes no file that is mapped
    std::fs::remove_file(root.join("tc_0008.tif")).unwrap();
    assert!(scan(&root).err().unwrap().to_string().contains("counts"));
}
