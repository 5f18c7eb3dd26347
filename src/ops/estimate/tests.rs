use super::sample::{CopyKind, Sizes, Spec};
use super::*;

fn spec(nx: u64, nz: u64, projections: Option<u64>) -> Spec {
    Spec { nx: Some(nx), nz: Some(nz), projections, references: Some(0), ..Spec::default() }
}

fn request(samples: Vec<Sample>) -> Request {
    Request {
        samples,
        days: Some(3.0),
        margin: 2.0,
        disks: vec![4_000_000_000_000],
        real_disk: None,
        rates: vec![40e6, 100e6],
        measured: false,
        parallel: 1,
        machine: None,
    }
}

#[test]
fn the_guides_worked_examples() {
    // "48 GB": 2048 x 2048 with 2000 projections.
    let s = Spec { camera: Some("orca-flash".into()), projections: Some(2000), ..Spec::default() }.resolve().unwrap();
    let one = s.per_scan().unwrap();
    assert_eq!((one.raw, one.volumes), (16_777_216_000, 34_359_738_368));
    assert_eq!(one.bytes(), 51_136_954_368);
    assert_eq!(format!("{:.1} {:.1}", one.bytes() as f64 / 1e9, one.bytes() as f64 / f64::from(1 << 30)), "51.1 47.6");
    // "390 GB": 3000 x 2400, 8000 projections, a volume 5600 wide: an extended field with 400 columns seen twice.
    let s = Spec {
        camera: Some("Orca Lightning".into()),
        roi: Some("3000x2400".into()),
        projections: Some(8000),
        overlap: Some(400),
        ..Spec::default()
    };
    let one = s.resolve().unwrap().per_scan().unwrap();
    assert_eq!((one.raw, one.volumes), (115_200_000_000, 301_056_000_000));
    assert_eq!((one.bytes() as f64 / 1e9).round(), 416.0);
    let by_width = Spec { overlap: None, extended: Some(true), diameter: Some(5600), ..s }.resolve().unwrap();
    assert_eq!(by_width.per_scan().unwrap(), one);
}

#[test]
fn equation_4_1() {
    for (nx, nz, ns) in [(2048, 2048, 1), (2048, 1000, 37), (1998, 555, 3)] {
        let total = |s: Spec| Spec { scans: Some(ns), ..s }.resolve().unwrap().total().unwrap().bytes();
        let standard = total(spec(nx, nz, None));
        assert_eq!(standard, 6 * ns * nx * nx * nz);
        assert_eq!(total(Spec { extended: Some(true), ..spec(nx, nz, None) }), 4 * standard);
        // A further reconstruction is a further volume.
        let paganin = total(Spec { volumes: Some(2), ..spec(nx, nz, None) });
        assert_eq!(paganin - standard, 4 * ns * nx * nx * nz);
        if nx % 2 == 0 && nz % 2 == 0 {
            assert_eq!(total(Spec { binning: Some(2), ..spec(nx, nz, None) }) * 8, standard);
        }
        // Exactly as wide as an overlap of everything: a standard field, twice as often seen.
        let nearly = Spec { overlap: Some(nx - 1), projections: Some(nx), ..spec(nx, nz, None) }.resolve().unwrap();
        assert_eq!(nearly.volume[0], nx + 1);
    }
}

#[test]
fn an_extended_field_says_what_it_counts() {
    let standard = spec(2048, 2048, None).resolve().unwrap().per_scan().unwrap();
    let of = |projections| {
        let s = Spec { extended: Some(true), ..spec(2048, 2048, projections) }.resolve().unwrap();
        (s.per_scan().unwrap(), s.notes.iter().any(|n| n.contains("four times a standard scan")))
    };
    let (assumed, said) = of(None);
    assert!(said && assumed.bytes() == 4 * standard.bytes());
    // As many projections as a standard scan: the volume alone is four times as large, and the note says so.
    let (given, said) = of(Some(2048));
    assert_eq!((given.raw, given.volumes, said), (standard.raw, 4 * standard.volumes, false));
    assert_eq!(of(Some(4 * 2048)).0.bytes(), 4 * standard.bytes());
}

#[test]
fn a_region_is_part_of_its_sensor() {
    let camera = |nx, roi: Option<&str>| Spec {
        camera: Some("orca-flash".into()),
        roi: roi.map(str::to_owned),
        nx,
        ..Spec::default()
    };
    let bad = |s: Spec, word: &str| {
        let e = s.resolve().unwrap_err().to_string();
        assert!(e.contains(word), "{e}");
    };
    assert_eq!(camera(Some(1000), None).resolve().unwrap().cols, 1000);
    bad(camera(Some(2049), None), "larger than the sensor");
    bad(camera(Some(1000), Some("100x100")), "twice");
    let part = |roi: &str| Spec { roi: Some(roi.into()), ..spec(500, 400, None) };
    let s = part("300x200").resolve().unwrap();
    assert_eq!((s.cols, s.rows), (300, 200));
    bad(part("300x401"), "larger than the sensor");
    bad(Spec { nz: None, ..part("300x200") }, "twice");
    bad(Spec { overlap: Some(5), diameter: Some(600), ..spec(500, 400, None) }, "twice");
    bad(Spec { scans: Some(0), ..spec(500, 400, None) }, "no scans");
    assert!(super::sample::parse_copies("8,8").is_err() && super::sample::parse_copies("tiff+tiff32").is_err());
    assert_eq!(super::sample::parse_copies("8,tiff8").unwrap().len(), 2);
}

#[test]
fn numbers_beyond_belief_are_refused_in_one_line() {
    let fine = || request(vec![spec(100, 100, None).resolve().unwrap()]);
    for r in [
        Request { days: Some(1e-300), ..fine() },
        Request { days: Some(3661.0), ..fine() },
        Request { margin: 0.5, ..fine() },
        Request { margin: f64::NAN, ..fine() },
        Request { rates: vec![1e306], ..fine() },
        Request { rates: vec![1e4], ..fine() },
        Request { parallel: u64::MAX, ..fine() },
        Request { parallel: 1001, ..fine() },
    ] {
        let e = estimate(&r).unwrap_err().to_string();
        assert!(e.contains("out of range") && e.len() < 120, "{e}");
    }
    for r in [
        Request { days: Some(0.01), margin: 1.0, parallel: 1000, ..fine() },
        // Measured: true, however slow.
        Request { rates: vec![1e4], measured: true, ..fine() },
    ] {
        estimate(&r).unwrap();
    }
    let two = Request { disks: vec![8_000_000_000_000, 4_000_000_000_000], ..fine() };
    assert_eq!(estimate(&two).unwrap().filled.as_deref(), Some("4 TB"));
}

#[test]
fn copies_edf_and_references_are_counted() {
    let s = Spec {
        references: Some(50),
        copies: Some(vec![CopyKind::Eight, CopyKind::Sixteen, CopyKind::Tiff8]),
        keep_edf: Some(true),
        volumes: Some(2),
        ..spec(100, 10, Some(200))
    };
    let one = s.resolve().unwrap().per_scan().unwrap();
    let voxels = 100 * 100 * 10;
    let want = Sizes {
        raw: 2 * 100 * 10 * 250,
        edf: 250 * (2 * 100 * 10 + 1024),
        volumes: 2 * 4 * voxels,
        copies: 2 * (voxels + 2 * voxels + voxels + 10 * 512),
        files: 5 + 250 + 2 * (4 + 6 + 6 + 10),
    };
    assert_eq!(one, want);
    let small = Spec { drop_float: Some(true), ..s.clone() }.resolve().unwrap().per_scan().unwrap();
    assert_eq!(one.bytes() - small.bytes(), want.volumes);
    assert!(Spec { drop_float: Some(true), copies: None, ..s }.resolve().is_err());
}

#[test]
fn nonsense_is_refused_in_words() {
    let bad = |s: Spec, word: &str| {
        let e = s.resolve().unwrap_err().to_string();
        assert!(e.contains(word), "{e}");
    };
    bad(Spec::default(), "size of a projection");
    bad(Spec { camera: Some("kodak".into()), ..Spec::default() }, "kodak");
    bad(
        Spec { camera: Some("dimax".into()), roi: Some("2048x2048".into()), ..Spec::default() },
        "larger than the sensor",
    );
    bad(spec(0, 5, None), "0");
    bad(Spec { binning: Some(0), ..spec(5, 5, None) }, "0");
    bad(Spec { overlap: Some(5), ..spec(5, 5, None) }, "narrower");
    bad(Spec { overlap: Some(2), extended: Some(false), ..spec(5, 5, None) }, "extended");
    let huge = Spec { scans: Some(u64::MAX), ..spec(1 << 40, 1 << 40, None) }.resolve().unwrap();
    assert!(huge.per_scan().is_err() && huge.total().is_err());
    let fine = spec(100, 100, None).resolve().unwrap();
    for r in [
        Request { days: Some(0.0), ..request(vec![fine.clone()]) },
        Request { days: Some(f64::NAN), ..request(vec![fine.clone()]) },
        Request { margin: -1.0, ..request(vec![fine.clone()]) },
        Request { parallel: 0, ..request(vec![fine.clone()]) },
        Request { rates: vec![0.0], ..request(vec![fine]) },
        request(Vec::new()),
    ] {
        assert!(estimate(&r).is_err());
    }
}

#[test]
fn falling_behind_and_what_helps() {
    // 600 scans of 51.1 GB in three days: 10.2 TB per day.
    let s = Spec { scans: Some(600), ..spec(2048, 2048, Some(2000)) }.resolve().unwrap();
    let e = estimate(&request(vec![s])).unwrap();
    assert!((e.per_day.unwrap() / 1e12 - 10.227).abs() < 0.001);
    assert_eq!(e.copying.iter().map(|c| c.keeps_up).collect::<Vec<_>>(), [Some(false), Some(false)]);
    assert_eq!(e.copying.iter().map(|c| c.parallel_needed).collect::<Vec<_>>(), [Some(3), Some(2)]);
    assert_eq!((e.disks[0].count, e.disks[0].count_without_margin), (16, 8));
    assert!(e.remedies[0].what.contains("3 disks") && e.remedies[0].at_lowest_rate);
    // 8 bits: 16.8 + 8.6 GB per scan, 5.1 TB per day: two disks at 40 MB/s, one at 100.
    let bits: Vec<_> =
        e.remedies[1..].iter().map(|r| (r.what.contains("8 bits"), r.at_lowest_rate, r.at_highest_rate)).collect();
    assert_eq!(bits, [(true, false, true), (true, true, true)]);
    // Little data: nothing to mend.
    let e = estimate(&request(vec![spec(2048, 2048, Some(2000)).resolve().unwrap()])).unwrap();
    assert!(e.remedies.is_empty() && e.copying.iter().all(|c| c.keeps_up == Some(true)));
    assert_eq!(e.disks[0].count, 1);
}

#[test]
fn example_plans_are_plans() {
    let dir = tempfile::tempdir().unwrap();
    let mut totals = Vec::new();
    for name in ["plan.toml", "plan.csv"] {
        let path = dir.path().join(name);
        std::fs::write(&path, inputs::example(&path)).unwrap();
        assert!(inputs::is_plan(&path));
        let p = inputs::read_plan(&path).unwrap();
        let samples: Vec<_> = p.sample.iter().map(|s| inputs::sample(&s.clone().or(&p.all)).unwrap()).collect();
        assert_eq!((samples.len(), samples[0].references, samples[1].volume[0]), (3, 120, 5600));
        assert_eq!(samples[0].copies, [CopyKind::Eight]);
        totals.push(samples[1].total().unwrap().raw);
    }
    assert_eq!(totals[0], totals[1]);
}

#[test]
fn mistakes_in_plans_are_named_with_their_line() {
    let dir = tempfile::tempdir().unwrap();
    let read = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        inputs::read_plan(&path).unwrap_err().to_string()
    };
    let e = read("a.toml", "days = 3\n[[sample]]\nname = \"x\"\nscanz = 3\n");
    assert!(e.contains("line 4") && e.contains("scanz") && !e.contains('\n'), "{e}");
    let e = read("a.toml", "days = 3\n[[sample]]\ncopies = [\"9\"]\n");
    assert!(e.contains("line 3") && e.contains("tiff8"), "{e}");
    assert!(read("a.toml", "days = 3\n").contains("without a sample"));
    assert!(read("a.toml", "[[sample\n").contains("line 1"));
    let e = read("a.csv", "name,scans\nx,many\n");
    assert!(e.contains("line 2") && e.contains("scans"), "{e}");
    assert!(read("a.csv", "name,colour\nx,red\n").contains("no such column"));
    assert!(read("a.csv", "name,scans\n").contains("without a sample"));
    let e = read("a.csv", "name,scans,nx,Scans\nx,1,5,2\n");
    assert!(e.contains("'scans' is there twice"), "{e}");
    assert!(read("a.csv", "name,copies\nx,8+8\n").contains("named twice"));
    assert!(read("a.toml", "[[sample]]\ncopies = [\"8\", 8]\n").contains("named twice"));
}

#[test]
fn plans_are_joined_and_options_do_not_vanish() {
    use inputs::Plan;
    let days = |n| Plan { days: Some(n), ..Plan::default() };
    let disk = Plan { disk: Some("8TB".into()), ..Plan::default() };
    let both = days(3.0).join(disk.clone()).unwrap().join(days(3.0)).unwrap();
    assert_eq!((both.days, both.disk.as_deref()), (Some(3.0), Some("8TB")));
    let e = days(3.0).join(days(4.0)).unwrap_err();
    assert!(e.to_string().contains("'days' (expected 3, found 4)") && e.advice().unwrap().contains("--days"), "{e}");
    let plan = Plan {
        all: Spec { volumes: Some(2), ..Spec::default() },
        sample: vec![spec(5, 5, None), Spec { scans: Some(3), nz: Some(7), ..Spec::default() }],
        ..Plan::default()
    };
    for bad in [
        Spec { scans: Some(1), ..Spec::default() },
        Spec { volumes: Some(1), ..Spec::default() },
        Spec { nx: Some(1), ..Spec::default() },
        Spec { camera: Some("dimax".into()), ..Spec::default() },
    ] {
        let e = plan.leaves_open(&bad).unwrap_err().to_string();
        assert!(e.contains("does not go with a plan"), "{e}");
    }
    let open = Spec { copies: Some(vec![CopyKind::Eight]), keep_edf: Some(true), ..Spec::default() };
    plan.leaves_open(&open).unwrap();
}

#[test]
fn parameter_files_tell_the_volume() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s_.par");
    let text = "NUM_FIRST_IMAGE = 0\nNUM_LAST_IMAGE = 1999\nNUM_IMAGE_1 = 2048\nNUM_IMAGE_2 = 1500\nFF_NUM_FIRST_IMAGE = 0\n\
                FF_NUM_LAST_IMAGE = 2000\nFF_FILE_INTERVAL = 2000\nSTART_VOXEL_1 = 1\nSTART_VOXEL_2 = 1\nSTART_VOXEL_3 = 101\n\
                END_VOXEL_1 = 2048\nEND_VOXEL_2 = 2048\nEND_VOXEL_3 = 1100\n";
    std::fs::write(&path, text).unwrap();
    let s = inputs::scan(&path).unwrap();
    assert_eq!((s.cols, s.rows, s.projections, s.references, s.volume), (2048, 1500, 2000, 3, [2048, 2048, 1000]));
    std::fs::write(&path, "NUM_FIRST_IMAGE = 5\nNUM_LAST_IMAGE = 1\nNUM_IMAGE_1 = 2048\nNUM_IMAGE_2 = 1500\n").unwrap();
    assert!(inputs::scan(&path).is_err());
    std::fs::write(&path, "nothing = 1\n").unwrap();
    assert!(inputs::scan(&path).unwrap_err().to_string().contains("NUM_IMAGE_1"));
}

#[test]
fn charts_and_pages_hold_every_line() {
    let s = Spec { name: Some("<rock> & \"co\"".into()), scans: Some(600), ..spec(2048, 2048, Some(2000)) };
    let e = estimate(&request(vec![s.resolve().unwrap()])).unwrap();
    let c = chart::Chart::of(&e);
    assert_eq!(c.lines.len(), 3);
    assert_eq!(c.lines[0].points[1], (3.0, e.total_bytes as f64 / 1e12));
    let slow = e.total_bytes as f64 / (40e6 * 86400.0);
    assert!((c.lines[1].points[1].0 - slow).abs() < 1e-9 && c.full.len() == 7);
    let png = c.png(1000, 560);
    // Every line leaves its colour.
    for rgb in [[150, 150, 150], [200, 30, 40], [20, 110, 190]] {
        assert!(png.pixels.iter().filter(|p| **p == rgb).count() > 300, "{rgb:?}");
    }
    c.png(1, 1);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("e.html");
    let words = page::Words { both: &|n| n.to_string(), hours: &|h| format!("{h:.1}"), date: "today".into() };
    page::html(&e, &[("bad & news".into(), true)], &words, &path, false).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let mut reader = quick_xml::Reader::from_str(text.split_once('\n').unwrap().1);
    let mut names = Vec::new();
    loop {
        match reader.read_event().unwrap() {
            quick_xml::events::Event::Start(s) => names.push(format!("{:?}", s.name().as_ref())),
            quick_xml::events::Event::Eof => break,
            _ => {}
        }
    }
    assert!(names.iter().any(|n| n == "\"svg\"") && text.matches("<polyline").count() > 10);
    assert!(
        !text.contains("<rock>") && !text.contains("http://") || text.matches("http").count() == 1,
        "nothing from the network"
    );
    let path = dir.path().join("e.csv");
    page::csv(&e, &path, false).unwrap();
    let (head, rows) = crate::ops::tables::read_csv(&std::fs::read_to_string(&path).unwrap(), &path).unwrap();
    assert_eq!((head.len(), rows.len(), rows[0].1[0].as_str()), (20, 2, "<rock> & \"co\""));
    assert_eq!(rows[1].1[17], e.total_bytes.to_string());
}
