//! Rules of the layouts, on files made for each rule.

use super::*;
use crate::model::{FieldOfView, RefSet};
use crate::nexus::h5out::H5Out;
use crate::registry::Content;
use crate::scan_out::tests::{all, frames, open, scan_of, spec, write};
use crate::scan_out::{Part, RefSpec, ScanLayout, ScanWriteOptions, Storage};
use crate::{DType, Error, Scan, Shape, Warning, Warnings};
use std::path::PathBuf;

pub fn plain() -> OpenOptions {
    OpenOptions::default()
}

/// A file built by `fill`.
fn file(dir: &Path, name: &str, fill: impl FnOnce(&H5Out) -> Result<()>) -> PathBuf {
    let out = H5Out::create(&dir.join(name), true).unwrap();
    fill(&out).unwrap();
    out.commit().unwrap()
}

/// An empty folder of its own: Windows replaces no file that is open, as those of an earlier scan are.
fn fresh(dir: &Path) -> PathBuf {
    let folder = (0..).map(|i| dir.join(i.to_string())).find(|p| !p.exists()).unwrap();
    std::fs::create_dir(&folder).unwrap();
    folder
}

/// A stack whose value at (frame, pixel) is `100 frame + pixel`.
fn stack(out: &H5Out, path: &str, shape: Shape) -> Result<()> {
    let s = out.stack(path, shape, DType::U16, Storage::default())?;
    let n = shape.frame_len();
    let v: Vec<u8> = (0..shape.frames * n).flat_map(|i| ((i / n * 100 + i % n) as u16).to_ne_bytes()).collect();
    s.put(0, &v)
}

/// The first value of every frame.
fn firsts(source: &dyn crate::FrameSource) -> Vec<u16> {
    let n = source.shape().frame_len() * 2;
    all(source).chunks_exact(n).map(|f| u16::from_ne_bytes([f[0], f[1]])).collect()
}

pub fn read(path: &Path) -> (Scan, Warnings) {
    let o = open(path, &plain()).unwrap();
    let w = o.warnings.clone();
    (scan_of(o), w)
}

pub fn has(warnings: &[Warning], words: &str) -> bool {
    warnings.iter().any(|w| w.contains(words))
}

fn even(n: usize, last: f64) -> Vec<f64> {
    (0..n).map(|i| last * i as f64 / (n - 1) as f64).collect()
}

fn sets(sets: &[RefSet]) -> Vec<(f64, Vec<u16>)> {
    sets.iter().map(|s| (s.position.0, firsts(&*s.source))).collect()
}

fn degrees(scan: &Scan) -> Vec<f64> {
    scan.angles.rad.iter().map(|a| a.to_degrees().round()).collect()
}

/// An NXtomo entry with 10 frames: dark, 2 flats, 2 projections, invalid, flat, 2 projections, alignment.
fn nxtomo_entry(out: &H5Out, e: &str, units: &str) -> Result<()> {
    let at = |p: &str| format!("{e}/{p}");
    out.class(e, "NXentry")?;
    out.text(&at("definition"), "NXtomo")?;
    stack(out, &at("instrument/detector/data"), Shape::new(10, 4, 8))?;
    out.numbers(&at("instrument/detector/image_key"), &[2u8, 1, 1, 0, 0, 3, 1, 0, 0, 0], None)?;
    out.numbers(&at("instrument/detector/image_key_control"), &[2i8, 1, 1, 0, 0, 3, 1, 0, 0, -1], None)?;
    let angles = [0., 0., 0., 0., 45., 90., 90., 90., 135., 0.];
    let angles = angles.map(|a: f64| if units == "rad" { a.to_radians() } else { a });
    out.numbers(&at("sample/rotation_angle"), &angles, (!units.is_empty()).then_some(units))
}

#[test]
fn nxtomo_keys_angles_and_metadata() {
    let dir = tempfile::tempdir().unwrap();
    for units in ["deg", "rad", ""] {
        let path = file(dir.path(), "a.nxs", |out| {
            let e = "/entry1/tomo_entry";
            nxtomo_entry(out, e, units)?;
            let d = |p: &str| format!("{e}/instrument/detector/{p}");
            out.number(&d("x_pixel_size"), 0.65, Some("\u{b5}m"))?;
            out.number(&d("y_pixel_size"), 0.7e-3, Some("mm"))?;
            out.text(&d("field_of_view"), "Half")?;
            out.number(&d("x_rotation_axis_pixel_position"), 2.5, None)?;
            out.number(&d("distance"), 0.05, Some("m"))?;
            out.number(&format!("{e}/instrument/beam/incident_energy"), 27000.0, Some("eV"))?;
            out.numbers(&format!("{e}/control/data"), &even(10, 9.0), None)
        });
        let opened = open(&path, &plain()).unwrap();
        let (facts, warnings) = (opened.facts.clone(), opened.warnings.clone());
        let scan = scan_of(opened);
        assert_eq!(firsts(&*scan.projections), [300, 400, 700, 800]);
        assert_eq!(sets(&scan.flats), [(0.0, vec![100, 200]), (2.0, vec![600])]);
        assert_eq!(sets(&scan.darks), [(0.0, vec![0])]);
        assert_eq!(degrees(&scan), [0., 45., 90., 135.], "{units}");
        assert_eq!(scan.current, Some(vec![3., 4., 7., 8.]));
        assert_eq!(scan.pixel_um, Some([0.7, 0.65]));
        assert_eq!(scan.field_of_view, Some(FieldOfView::Half));
        assert_eq!(scan.rotation_axis_px, Some(2.5));
        assert_eq!(facts.get("energy"), Some(&27.0.into()));
        assert_eq!(facts.get("distance"), Some(&50.0.into()));
        assert!(
            has(&warnings, "1 frame(s) taken again") && has(&warnings, "1 frame(s) marked invalid"),
            "{warnings:?}"
        );
    }
}

#[test]
fn nxtomo_units_that_make_no_sense() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        (0.65e-6, None, Some(0.65), None),
        (0.65, None, None, Some("cannot be in m")),
        (0.65, Some("furlong"), None, Some("unknown unit")),
        (6.5, Some("um"), Some(6.5), None),
    ];
    for (value, unit, want, words) in cases {
        let path = file(dir.path(), "a.nxs", |out| {
            nxtomo_entry(out, "/entry", "deg")?;
            out.number("/entry/instrument/detector/x_pixel_size", value, unit)
        });
        let (scan, warnings) = read(&path);
        assert_eq!(scan.pixel_um, want.map(|w| [w, w]), "{value} {unit:?}");
        assert!(words.is_none_or(|w| has(&warnings, w)), "{warnings:?}");
    }
    // Text where a number belongs, as GDA wrote it.
    let path = file(dir.path(), "a.nxs", |out| {
        nxtomo_entry(out, "/entry", "deg")?;
        out.text("/entry/instrument/detector/x_pixel_size", "b2017b74-c39d-478d-b4fe-ab0c5347227c")
    });
    assert!(has(&read(&path).1, "b2017b74"));
}

#[test]
fn nxtomo_axis_relative_to_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        ("x_rotation_axis_pixel_position", -1.5, "", Some(2.0), true),
        ("x_rotation_axis_pixel_position", 3.25, "", Some(3.25), false),
        ("estimated_cor_from_motor", 1.0, "Full", Some(4.5), true),
        ("estimated_cor_from_motor", 6.0, "Half", Some(6.0), true),
    ];
    for (key, value, field, want, noted) in cases {
        let path = file(dir.path(), "a.nxs", |out| {
            nxtomo_entry(out, "/entry0000", "deg")?;
            if !field.is_empty() {
                out.text("/entry0000/instrument/detector/field_of_view", field)?;
            }
            out.number(&format!("/entry0000/instrument/detector/{key}"), value, None)
        });
        let (scan, warnings) = read(&path);
        assert_eq!(scan.rotation_axis_px, want, "{key} {value}");
        assert_eq!(has(&warnings, key), noted, "{warnings:?}");
    }
}

#[test]
fn nxtomo_several_entries_and_odd_lengths() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "a.nxs", |out| {
        nxtomo_entry(out, "/entry0000", "deg")?;
        nxtomo_entry(out, "/entry0001", "deg")
    });
    let (scan, warnings) = read(&path);
    assert!(scan.projections_origin.contains("/entry0000/"));
    assert!(has(&warnings, "/entry0001"));
    let o = OpenOptions { image_path: Some("/entry0001/instrument/detector/data".into()), ..plain() };
    let scan = scan_of(open(&path, &o).unwrap());
    assert_eq!((scan.name.as_str(), scan.flats.len()), ("a_entry0001", 2));

    // An aborted scan: fewer frames than keys and angles. And no key at all.
    for (key, want) in [(true, vec![300, 400]), (false, vec![0, 100, 200, 300, 400])] {
        let path = file(dir.path(), "b.nxs", |out| {
            out.text("/e/definition", "NXtomo")?;
            stack(out, "/e/instrument/detector/data", Shape::new(5, 4, 8))?;
            if key {
                out.numbers("/e/instrument/detector/image_key", &[2.0f64, 1., 1., 0., 0., 3., 1., 0.], None)?;
            }
            out.numbers("/e/sample/rotation_angle", &even(8, 70.0), Some("deg"))
        });
        let (scan, warnings) = read(&path);
        assert_eq!(firsts(&*scan.projections), want);
        assert_eq!(scan.angles.rad.len(), want.len());
        assert_eq!(degrees(&scan).last(), Some(&40.0));
        assert!(has(&warnings, if key { "aborted" } else { "no image key" }), "{warnings:?}");
    }

    // No projection at all, or no angles: refused with the reason.
    for (keys, angles, words) in [([1u8, 1], true, "no frame as a projection"), ([0, 0], false, "angle")] {
        let path = file(dir.path(), "c.nxs", |out| {
            out.text("/e/definition", "NXtomo")?;
            stack(out, "/e/instrument/detector/data", Shape::new(2, 4, 8))?;
            out.numbers("/e/instrument/detector/image_key", &keys, None)?;
            if angles { out.numbers("/e/sample/rotation_angle", &[0.0, 1.0], None) } else { Ok(()) }
        });
        let e = open(&path, &plain()).err().unwrap();
        assert!(e.to_string().contains(words), "{e}");
    }
    // An angle that is not a number.
    let path = file(dir.path(), "d.nxs", |out| {
        out.text("/e/definition", "NXtomo")?;
        stack(out, "/e/instrument/detector/data", Shape::new(2, 4, 8))?;
        out.numbers("/e/sample/rotation_angle", &[0.0, f64::NAN], Some("deg"))
    });
    assert!(open(&path, &plain()).err().unwrap().to_string().contains("projection 1"));
}

#[test]
fn image_key_outside_nxtomo() {
    let dir = tempfile::tempdir().unwrap();
    // As Diamond's DIAD writes it: the frames are in another file.
    let build = |target: &str| {
        let folder = fresh(dir.path());
        file(&folder, "img.h5", |out| stack(out, "/entry/detector/detector", Shape::new(6, 3, 4)));
        let path = file(&folder, "k11.nxs", |out| {
            out.class("/entry", "NXentry")?;
            out.numbers("/entry/instrument/imaging/image_key", &[2u8, 1, 0, 0, 0, 1], None)?;
            out.numbers("/entry/imaging_sum/gts_theta_value", &[0.0, 0.0, 10.0, 20.0, 30.0, 30.0], None)?;
            out.class("/entry/imaging", "NXdata")
        });
        let f = hdf5_metno::File::open_rw(&path).unwrap();
        f.link_external(target, "/entry/detector/detector", "/entry/imaging/data").unwrap();
        f.close().unwrap();
        path
    };
    let (scan, _) = read(&build("img.h5"));
    assert_eq!(firsts(&*scan.projections), [200, 300, 400]);
    assert_eq!(sets(&scan.flats), [(0.0, vec![100]), (3.0, vec![500])]);
    assert_eq!(degrees(&scan), [10., 20., 30.]);
    // A link that leads nowhere is named.
    let e = open(&build("gone.h5"), &plain()).err().unwrap();
    assert!(e.to_string().contains("gone.h5"), "{e}");
}

#[test]
fn dxchange_flavours() {
    let dir = tempfile::tempdir().unwrap();
    let shape = Shape::new(7, 3, 4);
    let build = |fill: &dyn Fn(&H5Out) -> Result<()>| {
        file(&fresh(dir.path()), "d.h5", |out| {
            stack(out, "/exchange/data", shape)?;
            fill(out)
        })
    };
    // SLS: flats before and after; a 2-D dark; radians by range.
    let path = build(&|out| {
        stack(out, "/exchange/data_white_pre", Shape::new(2, 3, 4))?;
        stack(out, "/exchange/data_white_post", Shape::new(1, 3, 4))?;
        out.frame("/exchange/data_dark", 3, 4, DType::U16, &[7; 24])?;
        out.numbers("/exchange/theta", &even(7, std::f64::consts::PI * 6.0 / 7.0), None)
    });
    let (scan, warnings) = read(&path);
    assert_eq!(scan.flats.iter().map(|s| s.position.0).collect::<Vec<_>>(), [0.0, 7.0]);
    assert!(scan.darks[0].averaged && scan.darks[0].source.shape() == Shape::new(1, 3, 4));
    assert!((scan.angles.rad[6] - std::f64::consts::PI * 6.0 / 7.0).abs() < 1e-12);
    assert!(has(&warnings, "radians"), "{warnings:?}");

    // No angles: start and step of the acquisition, else 0 to 180.
    let white = |out: &H5Out| stack(out, "/exchange/data_white", Shape::new(2, 3, 4));
    let (scan, warnings) = read(&build(&|out| {
        white(out)?;
        out.number("/process/acquisition/rotation/rotation_start", 10.0, None)?;
        out.number("/process/acquisition/rotation/rotation_step", 0.5, None)?;
        out.number("/process/acquisition/rotation/num_angles", 700.0, None)
    }));
    assert!((scan.angles.rad[6].to_degrees() - 13.0).abs() < 1e-12);
    assert!(has(&warnings, "num_angles says 700") && has(&warnings, "no darks"), "{warnings:?}");
    let (scan, warnings) = read(&build(&white));
    assert_eq!(scan.angles.rad[6], std::f64::consts::PI);
    assert!(has(&warnings, "taken as 0 to 180"));

    // References that do not fit are left out and said so; further groups are listed.
    let o = open(
        &build(&|out| {
            stack(out, "/exchange/data_white", Shape::new(2, 3, 5))?;
            stack(out, "/exchange_1/data", shape)?;
            stack(out, "/exchange2/data", shape)?;
            out.numbers("/exchange/theta", &even(8, 180.0), Some("degrees"))
        }),
        &plain(),
    )
    .unwrap();
    assert!(has(&o.warnings, "left out") && has(&o.warnings, "one angle more"), "{:?}", o.warnings);
    assert_eq!(o.facts.get("further_exchange_groups"), Some(&serde_json::json!(["/exchange2", "/exchange_1"])));
    assert!(scan_of(o).flats.is_empty());

    // Data alone is a volume.
    let h5 = H5::open(&build(&|_| Ok(()))).unwrap();
    assert!(open_file(&h5, &plain()).is_none());
}

#[test]
fn flyscan_folder_file_and_missing_parts() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("1_00_");
    let spec = spec(DType::U16);
    write(&folder, &spec, &ScanWriteOptions::new(ScanLayout::Flyscan)).unwrap();
    let look = Candidate::look(&folder).unwrap();
    assert_eq!(probe_dir(&look).unwrap().confidence, Confidence::Marker);
    let (scan, warnings) = read(&folder);
    assert_eq!((scan.name.as_str(), scan.layout, scan.files.len()), ("1_00_", "flyscan", 5));
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(scan.projections_origin, "1_00_.nxs:/flyscan_0003/scan_data/orca_image");
    let (from_file, _) = read(&folder.join("1_00_.nxs"));
    assert_eq!((from_file.flats.len(), from_file.darks.len(), from_file.pixel_um), (2, 1, scan.pixel_um));
    let facts = open(&folder, &plain()).unwrap().facts;
    assert_eq!(facts.get("motors"), Some(&serde_json::json!({"tomo1tx": -1.25, "tomo1tz": 3.0})));
    assert_eq!((facts.get("energy"), facts.get("distance")), (Some(&27.5.into()), Some(&52.0.into())));

    // Rows flipped: projections and references alike.
    let flipped = scan_of(open(&folder, &OpenOptions { flip_rows: true, ..plain() }).unwrap());
    for (a, b) in [(&scan.projections, &flipped.projections), (&scan.flats[1].source, &flipped.flats[1].source)] {
        let (a, b, s) = (all(&**a), all(&**b), a.shape());
        let line = s.cols * 2;
        assert_eq!(a[..line], b[(s.rows - 1) * line..][..line]);
        assert_ne!(a, b);
    }

    // Aborted: no flats afterwards; then a truncated dark; then nothing but projections.
    drop((scan, from_file, flipped));
    std::fs::remove_file(folder.join("post_ref.nxs")).unwrap();
    let dark = std::fs::read(folder.join("post_dark.nxs")).unwrap();
    std::fs::write(folder.join("post_dark.nxs"), &dark[..dark.len() / 2]).unwrap();
    let (scan, warnings) = read(&folder);
    assert_eq!((scan.flats.len(), scan.darks.len()), (1, 0));
    assert!(has(&warnings, "post_ref.nxs is missing") && has(&warnings, "darks not used"), "{warnings:?}");
    let refused = scan.refuse_damaged(&folder).unwrap_err().to_string();
    assert!(refused.contains("post_dark.nxs"), "{refused}");
    drop(scan);
    for f in ["pre_ref.nxs", "post_dark.nxs", "1_00_.par"] {
        std::fs::remove_file(folder.join(f)).unwrap();
    }
    let (scan, warnings) = read(&folder);
    assert!(scan.flats.is_empty() && scan.pixel_um.is_none());
    scan.refuse_damaged(&folder).unwrap();
    assert!(has(&warnings, "no flats") && has(&warnings, "no darks"));
}

#[test]
fn flyscan_par_and_angles() {
    let dir = tempfile::tempdir().unwrap();
    let shape = Shape::new(9, 3, 4);
    let last = std::cell::RefCell::new(PathBuf::new());
    let build = |fill: &dyn Fn(&H5Out) -> Result<()>, par: &str| {
        let folder = fresh(dir.path()).join("p");
        std::fs::create_dir(&folder).unwrap();
        file(&folder, "p.nxs", |out| {
            out.class("/flyscan_00001", "NXentry")?;
            stack(out, "/flyscan_00001/scan_data/orca_image", shape)?;
            stack(out, "/flyscan_00001/scan_data/another_image", Shape::new(30, 3, 4))?;
            fill(out)
        });
        std::fs::write(folder.join("p.par"), par).unwrap();
        last.replace(folder.clone());
        open(&folder, &plain())
    };
    let par = "NUM_FIRST_IMAGE = 0\nNUM_LAST_IMAGE = 19 # last\nNUM_IMAGE_1 = 4\nNUM_IMAGE_2 = 5\n\
               ANGLE_BETWEEN_PROJECTIONS = 0.5\nIMAGE_PIXEL_SIZE_1 = 0.65 # microns\n\
               ROTATION_AXIS_POSITION = 1.75\n#tomo1tx = 12.5 more text\n";
    // No angles in the file: the .par has the step; and it disagrees about sizes.
    let o = build(&|_| Ok(()), par).unwrap();
    for words in ["no angles", "20 projections", "NUM_IMAGE_2 = 5"] {
        assert!(has(&o.warnings, words), "{words}: {:?}", o.warnings);
    }
    assert_eq!(o.facts.get("motors"), Some(&serde_json::json!({"tomo1tx": 12.5})));
    assert!(!has(&o.warnings, "incomplete"), "{:?}", o.warnings);
    let scan = scan_of(o);
    assert_eq!((scan.pixel_um, scan.rotation_axis_px), (Some([0.65, 0.65]), Some(1.75)));
    let angle = |out: &H5Out| out.numbers("/flyscan_00001/scan_data/tomo1Rz1", &even(9, 8.0), None);
    for (cut, words) in [
        ("", "nothing of NUM_IMAGE_1, ANGLE_BETWEEN_PROJECTIONS, ROTATION_AXIS_POSITION:"),
        ("NUM_IMAGE_1 = 4\nANGLE_BETWEEN_PROJECTIONS = 0.5\nROTATION_AX", "nothing of ROTATION_AXIS_POSITION:"),
    ] {
        let o = build(&angle, cut).unwrap();
        assert!(has(&o.warnings, words) && has(&o.warnings, "incomplete"), "{:?}", o.warnings);
    }
    assert!((scan.angles.rad[8].to_degrees() - 4.0).abs() < 1e-12);
    assert_eq!(scan.angles.origin, "ANGLE_BETWEEN_PROJECTIONS");

    // One angle more than frames; a list of another length is not the angle; the .par's step disagrees.
    let o = build(
        &|out| {
            out.numbers("/flyscan_00001/scan_data/other_angle", &even(30, 1.0), None)?;
            out.numbers("/flyscan_00001/scan_data/tomo1Rz1", &even(10, -9.0), None)
        },
        par,
    )
    .unwrap();
    assert!(has(&o.warnings, "one angle more") && has(&o.warnings, "the angles are used"), "{:?}", o.warnings);
    let scan = scan_of(o);
    assert!((scan.angles.rad[8].to_degrees() + 8.0).abs() < 1e-12);

    // Angles that repeat and go back are reported.
    let odd = [0.0, 1.0, 2.0, 2.0, 4.0, 5.0, 4.5, 7.0, 8.0];
    let o = build(&|out| out.numbers("/flyscan_00001/scan_data/tomo1Rz1", &odd, None), "X = 1\n").unwrap();
    assert!(has(&o.warnings, "repeat") && has(&o.warnings, "go back"), "{:?}", o.warnings);

    // No angles anywhere; then named by the user, with the images.
    let e = build(&|out| out.numbers("/elsewhere", &even(9, 8.0), None), "X = 1\n").err().unwrap();
    assert!(e.advice().unwrap().contains("--angle-path"));
    let folder = last.take();
    let o = OpenOptions { angle_path: Some("/elsewhere".into()), ..plain() };
    let scan = scan_of(open(&folder, &o).unwrap());
    assert_eq!(scan.angles.origin, "p.nxs:/elsewhere");
    let o = OpenOptions {
        angle_path: Some("/elsewhere".into()),
        image_path: Some("/flyscan_00001/scan_data/another_image".into()),
        ..plain()
    };
    let opened = open(&folder, &o).unwrap();
    assert!(has(&opened.warnings, "9 angles for 30 projections"));
    assert_eq!(scan_of(opened).projections.shape(), shape);
    let o = OpenOptions { angle_path: Some("/nowhere".into()), ..plain() };
    assert!(open(&folder, &o).err().unwrap().to_string().contains("/nowhere"));
}

#[test]
fn flyscan_references_and_raw_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let raw = |name: &str, n: u64, frames: usize, angle: bool| {
        file(dir.path(), name, |out| {
            let e = format!("/flyscan_{n}");
            out.class(&e, "NXentry")?;
            stack(out, &format!("{e}/scan_data/Image_image"), Shape::new(frames, 3, 4))?;
            if angle { out.numbers(&format!("{e}/scan_data/rz_axis"), &even(frames, 180.0), None) } else { Ok(()) }
        })
    };
    let path = raw("flyscan_17033-0001.nxs", 17033, 12, true);
    raw("flyscan_17034-0001.nxs", 17034, 3, false);
    raw("flyscan_17035-0001.nxs", 17035, 2, false);
    let (scan, _) = read(&path);
    assert_eq!((scan.flats.len(), scan.darks.len()), (1, 1));
    assert_eq!(scan.darks[0].origin, "flyscan_17035-0001.nxs:/flyscan_17035/scan_data/Image_image");
    assert_eq!(scan.darks[0].source.shape().frames, 2);
    drop(scan);
    assert_eq!(read(dir.path()).0.projections.shape().frames, 12);
    // The next number is another scan.
    raw("flyscan_17034-0001.nxs", 17034, 12, true);
    let (scan, warnings) = read(&path);
    assert!(scan.flats.is_empty() && has(&warnings, "another scan"), "{warnings:?}");

    // Averages where there is no stack; an empty reference file.
    let folder = dir.path().join("q");
    let mut spec = spec(DType::U16);
    spec.flats = vec![RefSpec { frames: 1, position: 0.0, dtype: DType::F32, averaged: true }];
    write(&folder, &spec, &ScanWriteOptions::new(ScanLayout::Flyscan)).unwrap();
    file(&folder, "post_ref.nxs", |out| out.number("/nothing", 1.0, None));
    let (scan, warnings) = read(&folder);
    assert_eq!((scan.flats.len(), scan.flats[0].averaged), (1, true));
    assert!(has(&warnings, "no flats in this file"), "{warnings:?}");
}

#[test]
fn stacks_beside_angles() {
    let dir = tempfile::tempdir().unwrap();
    let build = |shape: Shape, axes: &[&str], n: usize| {
        file(&fresh(dir.path()), "g.h5", |out| {
            out.class("/a/b", "NXdata")?;
            stack(out, "/a/b/data", shape)?;
            if !axes.is_empty() {
                out.attr_texts("/a/b", "axes", axes)?;
            }
            out.numbers("/a/b/rotation_angle", &even(n, 170.0), Some("deg"))
        })
    };
    let (scan, _) = read(&build(Shape::new(6, 3, 4), &[], 6));
    assert_eq!((scan.layout, firsts(&*scan.projections)), ("nxdata", vec![0, 100, 200, 300, 400, 500]));
    // Sinograms, and the file says so.
    let path = build(Shape::new(3, 6, 4), &["detector_y", "rotation_angle", "detector_x"], 6);
    let (scan, warnings) = read(&path);
    assert_eq!(scan.projections.shape(), Shape::new(6, 3, 4));
    assert_eq!(firsts(&*scan.projections), [0, 4, 8, 12, 16, 20]);
    assert!(has(&warnings, "stored as sinograms"));
    // Nothing says so: a volume, with a word about it.
    let o = open(&build(Shape::new(3, 6, 4), &[], 6), &plain()).unwrap();
    assert!(matches!(o.content, Content::Volume(_)) && has(&o.warnings, "sinograms, perhaps"));
    // Lengths that match nothing.
    let h5 = H5::open(&build(Shape::new(3, 6, 4), &[], 5)).unwrap();
    assert!(open_file(&h5, &plain()).is_none());
    // The user knows better.
    let o =
        OpenOptions { image_path: Some("/a/b/data".into()), angle_path: Some("/a/b/rotation_angle".into()), ..plain() };
    let scan = scan_of(open(&build(Shape::new(5, 6, 4), &[], 5), &o).unwrap());
    assert_eq!(scan.projections.shape().frames, 5);
}

#[test]
fn maxiv_neighbours_only_where_all_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let camera = |n: u32, frames: usize| {
        let name = format!("scan-{n:04}_orca.h5");
        file(dir.path(), &name, |out| stack(out, "/entry/instrument/orca/data", Shape::new(frames, 3, 4)))
    };
    let (_, before, path) = (camera(10, 2), camera(11, 3), camera(12, 9));
    assert!(open_file(&H5::open(&path).unwrap(), &plain()).is_none());
    let angles = even(9, 160.0);
    file(dir.path(), "scan-0012.h5", |out| out.numbers("/entry/instrument/rot_z/value", &angles, None));
    let (scan, warnings) = read(&path);
    let n = |s: &[RefSet]| s[0].source.shape().frames;
    assert_eq!((scan.layout, n(&scan.flats), n(&scan.darks)), ("maxiv", 3, 2));
    assert!(has(&warnings, "two scans before"));
    assert!(open_file(&H5::open(&before).unwrap(), &plain()).is_none());
}

#[test]
fn missing_virtual_sources_are_named() {
    use hdf5_metno as hdf5;
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "v.nxs", |out| {
        out.text("/e/definition", "NXtomo")?;
        out.numbers("/e/instrument/detector/image_key", &[0u8; 4], None)?;
        out.numbers("/e/sample/rotation_angle", &even(4, 90.0), Some("deg"))
    });
    {
        let f = hdf5::File::open_rw(&path).unwrap();
        let g = f.group("/e/instrument/detector").unwrap();
        g.new_dataset_builder()
            .with_dcpl(|p| p.virtual_map("raw_0001.h5", "/data", (4, 3, 4), .., (4, 3, 4), ..))
            .empty::<u16>()
            .shape((4, 3, 4))
            .create("data")
            .unwrap();
        f.close().unwrap();
    }
    let e = open(&path, &plain()).err().expect("zeros instead of an error").to_string();
    assert!(e.contains("raw_0001.h5"), "{e}");
    file(dir.path(), "raw_0001.h5", |out| stack(out, "/data", Shape::new(4, 3, 4)));
    let (scan, _) = read(&path);
    assert_eq!(firsts(&*scan.projections), [0, 100, 200, 300]);
}

#[test]
fn truncated_and_damaged_scans_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(DType::U16);
    spec.shape.frames = 12;
    spec.angles_rad.truncate(12);
    spec.flats.truncate(1);
    spec.darks[0].position = 12.0;
    let want = frames(Part::Projections, 0, 12, spec.shape, DType::U16);
    for layout in [ScanLayout::NxTomo, ScanLayout::DxChange] {
        let path = dir.path().join("whole.h5");
        let o = ScanWriteOptions { overwrite: true, ..ScanWriteOptions::new(layout) };
        write(&path, &spec, &o).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let damaged = dir.path().join("damaged.h5");
        let (mut refused, mut seen) = (0, 0);
        let mut check = |bytes: &[u8], must_be_equal: bool| {
            std::fs::write(&damaged, bytes).unwrap();
            seen += 1;
            let got = open(&damaged, &plain()).and_then(|o| match o.content {
                Content::Scan(s) => {
                    let shape = s.projections.shape();
                    if shape.len()? > 1 << 20 {
                        return Err(Error::limit("far larger than the file"));
                    }
                    let mut out = vec![0; shape.len()? as usize * s.projections.dtype().size()];
                    s.projections.read(&shape.full(), &mut out)?;
                    Ok(out)
                }
                _ => Err(Error::limit("no scan")),
            });
            match got {
                Ok(data) if must_be_equal => assert_eq!(data, want),
                Ok(_) => {}
                Err(_) => refused += 1,
            }
        };
        for len in (0..bytes.len()).step_by(97) {
            check(&bytes[..len], true);
        }
        // Flip a byte in the structures (pixel values have no check in these files).
        for at in (0..bytes.len()).step_by(61) {
            let mut b = bytes.clone();
            b[at] ^= 0xff;
            check(&b, false);
        }
        assert!(refused > 50 && seen > 200, "{refused} of {seen}");
    }
}
