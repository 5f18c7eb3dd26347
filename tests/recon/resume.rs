//! Interrupted reconstructions: what is left, what goes on from it, and what refuses to.

use crate::support::{Run, command, listing, tomo};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tomokit::correct::Combine;
use tomokit::ops::recon::{AxisChoice, Done, FieldChoice, Request, execute, plan};
use tomokit::ops::view::{Roi, SliceRange};
use tomokit::recon::{Filter, Padding};
use tomokit::stream::{Budget, Cancel, Progress, Silent};
use tomokit_formats::{CreateOptions, DType, Fault, OpenOptions, Result, Shape};

/// Sets `cancel` once `after` bytes of the volume are written.
struct StopAfter<'a> {
    after: u64,
    seen: AtomicU64,
    cancel: &'a Cancel,
}

impl Progress for StopAfter<'_> {
    fn begin(&self, _: &str, _: u64) {}
    fn advance(&self, bytes: u64) {
        if self.seen.fetch_add(bytes, SeqCst) + bytes >= self.after {
            self.cancel.cancel();
        }
    }
    fn note(&self, _: &str) {}
    fn end(&self) {}
}

fn request(scan: &Path, output: &Path, to: Option<(&str, Option<&str>)>) -> Request {
    let mut create = CreateOptions::new(Shape::new(0, 0, 0), DType::F32);
    create.variant = to.and_then(|t| t.1).map(str::to_owned);
    Request {
        scan: scan.to_owned(),
        output: output.to_owned(),
        open: OpenOptions::default(),
        to: to.map(|t| t.0.to_owned()),
        create,
        axis: AxisChoice::At(23.5),
        slices: None,
        roi: None,
        shifts: None,
        range_deg: None,
        angles_deg: None,
        angle_offset_deg: 0.0,
        pixel_um: None,
        size: None,
        bin: None,
        tilt_deg: 0.0,
        detector_frame: false,
        field: FieldChoice::Auto,
        overlap_px: None,
        filter: Filter::Ramp,
        cutoff: 1.0,
        padding: Padding::Edge,
        unit: None,
        no_mask: false,
        pyhst: false,
        flats: Combine::Median,
        darks: Combine::Mean,
        zero_clip: Some(0.8),
        grey: None,
        verify: false,
    }
}

/// 48 columns, 64 rows: bands of 16 slices.
fn scan(d: &Path) -> PathBuf {
    tomo(d, &["simulate", "s.nxs", "--layout", "nxtomo", "--size", "48", "--rows", "64", "--projections", "40"])
        .expect(0);
    d.join("s.nxs")
}

fn run(request: &Request, progress: &dyn Progress, cancel: &Cancel) -> Result<Done> {
    let plan = plan(request, Budget { bytes: 1 << 30 }, &Silent, &Cancel::default())?;
    assert_eq!((plan.bands, plan.band_rows), (4, 16), "the test counts on bands of 16 slices");
    execute(&plan, progress, cancel)
}

/// Makes the first two bands and is interrupted.
fn interrupted(request: &Request) {
    let cancel = Cancel::default();
    let stop = StopAfter { after: 2 * 16 * 48 * 48 * 4, seen: AtomicU64::new(0), cancel: &cancel };
    assert_eq!(run(request, &stop, &cancel).unwrap_err().fault(), Fault::Interrupted);
    assert!(!request.output.exists());
}

fn resumed(request: &Request) -> Result<Done> {
    let mut again = request.clone();
    again.create.resume = true;
    run(&again, &Silent, &Cancel::default())
}

/// Every file of an output with its bytes; records differ in their times.
fn contents(d: &Path, main: &Path) -> Vec<(String, Vec<u8>)> {
    let name = main.file_name().unwrap().to_str().unwrap();
    let stem = main.file_stem().unwrap().to_str().unwrap();
    let mut all = Vec::new();
    for file in listing(d).into_iter().filter(|f| f.contains(stem) && d.join(f).is_file()) {
        assert!(!file.contains(".part"), "{file} is left");
        if !file.ends_with(".recon.json") {
            all.push((file.replace(name, "NAME").replace(stem, "STEM"), std::fs::read(d.join(&file)).unwrap()));
        }
    }
    assert!(!all.is_empty());
    all
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_bytes_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let scan = scan(d);
    for (name, to) in [
        ("a.vol", None),
        ("b.raw", None),
        ("c.tif", Some(("tiff", Some("multipage")))),
        ("d", Some(("tiff", None))),
        ("e", Some(("edf", None))),
    ] {
        let whole = request(&scan, &d.join(format!("whole-{name}")), to);
        let expected = run(&whole, &Silent, &Cancel::default()).unwrap();
        assert!(expected.counts.clipped > 0, "something is counted");
        let part = request(&scan, &d.join(format!("part-{name}")), to);
        interrupted(&part);
        assert!(d.join(format!("part-{name}.recon.part.json")).exists(), "{name}");
        let done = resumed(&part).unwrap();
        assert!(done.resumed > 0 && done.resumed + done.slices == 64, "{name}: {} {}", done.resumed, done.slices);
        assert_eq!(done.bad_slices, expected.bad_slices, "{name}");
        assert_eq!(done.bad_slices.checked, 64);
        if done.uncounted == 0 {
            assert_eq!(format!("{:?}", done.counts), format!("{:?}", expected.counts), "{name}");
        } else {
            // A slice that is written again for safety parts a slab.
            assert!(to.is_some() && done.uncounted < 16, "{name}: {}", done.uncounted);
        }
        let names = |v: &[(String, Vec<u8>)]| v.iter().map(|f| f.0.clone()).collect::<Vec<_>>();
        let (a, b) = (contents(d, &whole.output), contents(d, &part.output));
        assert_eq!(names(&a), names(&b), "{name}");
        for (a, b) in a.iter().zip(&b).filter(|(a, _)| !a.0.ends_with(".xml") && !a.0.ends_with("hdr")) {
            let text = |v: &[u8]| String::from_utf8_lossy(v).replace("whole-", "").replace("part-", "");
            assert!(a.1 == b.1 || text(&a.1) == text(&b.1), "{name}: {} differs", a.0);
        }
    }
}

#[test]
fn only_the_same_scan_and_choices_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let scan = scan(d);
    let first = request(&scan, &d.join("a.vol"), None);
    interrupted(&first);
    let before = std::fs::read(d.join("a.vol.part")).unwrap();
    type Change = fn(&mut Request);
    let others: [(&str, Change); 8] = [
        ("axis", |r| r.axis = AxisChoice::At(23.25)),
        ("numerical choices", |r| r.filter = Filter::Hann),
        ("geometry", |r| r.angle_offset_deg = 5.0),
        ("flats and darks", |r| r.flats = Combine::Mean),
        ("clip", |r| r.zero_clip = None),
        ("geometry", |r| r.range_deg = Some(179.0)),
        ("volume", |r| r.slices = Some(range("0:60"))),
        ("rows", |r| r.slices = Some(range("0:64"))),
    ];
    for (what, change) in others {
        let mut other = first.clone();
        change(&mut other);
        match (resumed(&other), what) {
            // The same rows in other words.
            (Ok(_), "rows") => return check_changed_input(d, &scan),
            (r, _) => {
                let e = r.unwrap_err();
                assert!(e.to_string().contains(what), "{what}: {e}");
                assert!(e.advice().is_some());
            }
        }
        assert_eq!(std::fs::read(d.join("a.vol.part")).unwrap(), before, "{what}: the slices are left alone");
    }
}

fn range(text: &str) -> SliceRange {
    SliceRange::parse(text).unwrap()
}

/// The scan was written again since; the journal was lost; --verify cannot go on.
fn check_changed_input(d: &Path, scan: &Path) {
    let first = request(scan, &d.join("b.vol"), None);
    interrupted(&first);
    let verify = Request { verify: true, ..first.clone() };
    assert!(resumed(&verify).unwrap_err().to_string().contains("--verify"));
    let file = std::fs::File::options().append(true).open(scan).unwrap();
    let time = file.metadata().unwrap().modified().unwrap();
    file.set_modified(time + Duration::from_secs(5)).unwrap();
    assert!(resumed(&first).unwrap_err().to_string().contains("another scan"));
    file.set_modified(time).unwrap();
    let journal = d.join("b.vol.recon.part.json");
    let text = std::fs::read_to_string(&journal).unwrap();
    std::fs::remove_file(&journal).unwrap();
    assert!(resumed(&first).unwrap_err().to_string().contains("nothing says how"));
    // Only the head: nothing is known of the slices, so they are looked at in the volume.
    std::fs::write(&journal, text.lines().next().unwrap().to_owned() + "\n{\"first\":0,\"sli").unwrap();
    let done = resumed(&first).unwrap();
    assert_eq!((done.bad_slices.checked, done.uncounted, done.unchecked.len()), (64, done.resumed, 0));
    assert!(done.warnings.iter().any(|w| w.contains("not in the counts")), "{:?}", done.warnings);
}

#[test]
fn the_check_sees_slices_of_the_earlier_run() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let scan = scan(d);
    // A corner that no projection sees whole: exactly zero.
    let mut corner = request(&scan, &d.join("a.vol"), None);
    corner.roi = Some(Roi::parse("0:5,0:5").unwrap());
    let cancel = Cancel::default();
    let stop = StopAfter { after: 2 * 16 * 25 * 4, seen: AtomicU64::new(0), cancel: &cancel };
    run(&corner, &stop, &cancel).unwrap_err();
    let args = ["recon", "s.nxs", "-o", "a.vol", "--axis", "23.5", "--clip", "0.8", "--roi", "0:5,0:5", "--check"];
    let whole: Run = tomo(d, &[&args[..], &["--resume", "--json"]].concat()).expect(1);
    let json = whole.json();
    assert!(json["resumed"].as_u64().unwrap() >= 16);
    assert_eq!(json["bad_slices"]["zero"].as_array().unwrap().len(), 64);
}

/// Killed when the volume had its final name and the record had not: the same command again does it all.
#[test]
fn a_run_killed_before_its_record_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let size = ["--size", "64", "--rows", "8", "--projections", "60"];
    tomo(d, &[&["simulate", "s.nxs", "--layout", "nxtomo"], &size[..]].concat()).expect(0);
    let args = ["recon", "s.nxs", "-o", "v.vol", "--axis", "31.5", "--quiet"];
    tomo(d, &args).expect(0);
    let whole = std::fs::read(d.join("v.vol")).unwrap();
    tomo(d, &args).expect(2);
    for more in [&[][..], &["--resume"]] {
        std::fs::rename(d.join("v.vol.recon.json"), d.join("v.vol.recon.json.part")).unwrap();
        tomo(d, &[&args[..], more].concat()).expect(0);
        assert!(std::fs::read(d.join("v.vol")).unwrap() == whole && d.join("v.vol.recon.json").exists());
        assert!(!listing(d).iter().any(|f| f.contains(".part")));
    }
    // A mark of long ago says nothing of a volume that was written since.
    std::fs::rename(d.join("v.vol.recon.json"), d.join("v.vol.recon.json.part")).unwrap();
    let mark = std::fs::File::options().write(true).open(d.join("v.vol.recon.json.part")).unwrap();
    mark.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(3600)).unwrap();
    tomo(d, &args).expect(2);
}

/// Killed without a word at several moments of its life; the second run completes with the bytes of one that was left alone.
#[test]
fn killed_runs_complete() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let size = ["--size", "128", "--rows", "160", "--projections", "120"];
    tomo(d, &[&["simulate", "s.nxs", "--layout", "nxtomo"], &size[..]].concat()).expect(0);
    let args = |out: &str, to: &str| {
        ["recon", "s.nxs", "-o", out, "--to", to, "--axis", "63.5", "--quiet"].map(str::to_owned).to_vec()
    };
    let mut met = 0;
    for to in ["tiff", "vol"] {
        let start = Instant::now();
        tomo(d, &args("whole", to)).expect(0);
        let took = start.elapsed();
        for share in [0.3, 0.6, 0.85] {
            let mut child = command(d, &args("cut", to)).spawn().unwrap();
            std::thread::sleep(took.mul_f64(share));
            child.kill().unwrap();
            let ended = child.wait().unwrap();
            if d.join("cut.part").exists() {
                met += 1;
                assert!(!d.join("cut").exists(), "half a volume under its final name");
            }
            // Killed at its very end a run has a volume, which is whole, and no record: the next one knows it as its own.
            if !d.join("cut.recon.json").exists() {
                assert!(!ended.success());
                let mut again = args("cut", to);
                again.push("--resume".into());
                tomo(d, &again).expect(0);
            }
            if to == "tiff" {
                let whole = listing(&d.join("whole"));
                assert_eq!(whole.len(), 160);
                for f in whole {
                    let other = d.join("cut").join(f.replace("whole", "cut"));
                    assert!(std::fs::read(d.join("whole").join(&f)).unwrap() == std::fs::read(other).unwrap(), "{f}");
                }
                std::fs::remove_dir_all(d.join("cut")).unwrap();
            } else {
                for more in ["", ".info", ".recon.json"] {
                    let read = |n: &str| std::fs::read(d.join(format!("{n}{more}"))).unwrap();
                    assert!(more == ".recon.json" || read("whole") == read("cut"), "{more}");
                    std::fs::remove_file(d.join(format!("cut{more}"))).unwrap();
                }
                std::fs::remove_file(d.join("cut.xml")).unwrap();
                std::fs::remove_file(d.join("histogram_cut.edf")).unwrap();
            }
            for left in listing(d) {
                assert!(!left.contains(".part"), "{left} is left");
                if left.starts_with("cut") {
                    std::fs::remove_file(d.join(left)).unwrap();
                }
            }
        }
        let _ = std::fs::remove_dir_all(d.join("whole"));
        for left in listing(d).iter().filter(|f| f.contains("whole")) {
            std::fs::remove_file(d.join(left)).unwrap();
        }
    }
    assert!(met >= 2, "only {met} of 6 runs were killed at work: make the scan larger");
}
