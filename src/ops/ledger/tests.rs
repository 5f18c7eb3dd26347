use super::ask::Search;
use super::*;
use crate::disk::{Driver, FileSystem};

pub(super) fn volume(serial: Option<&str>, place: &str) -> Volume {
    Volume {
        mount_point: place.into(),
        device: "/dev/sdx1".into(),
        fs: FileSystem::Ntfs,
        driver: Driver::Fuse,
        total: 4_000_000_000_000,
        free: 10,
        available: 10,
        cluster: 4096,
        serial: serial.map(str::to_owned),
        label: None,
        read_only: false,
        removable: true,
        usb_speed_mbit: None,
        rotational: None,
    }
}

pub(super) fn copy(path: &[u8], content: &str, verified: Option<i64>) -> Copy {
    Copy {
        path: path.to_vec(),
        bytes: content.len() as u64,
        sha256: format!("{content:0>64}"),
        scan: scan_of(Path::new("/data/exp"), path),
        source: Some(Path::new("/data/exp").join(String::from_utf8_lossy(path).as_ref())),
        mtime_ns: Some(1_700_000_000_123_456_789),
        copied: 1_700_000_100,
        verified,
        level: verified.map(|_| "device".into()),
        session: Some(1),
    }
}

fn found(l: &Ledger, search: &Search) -> Vec<(String, String, u64)> {
    let mut v = Vec::new();
    l.files(search, |f| {
        v.push((f.disk, f.path, f.copies));
        Ok(())
    })
    .unwrap();
    v
}

fn pattern(p: &str) -> Search {
    Search { pattern: Some(p.into()), ..Search::default() }
}

#[test]
fn disks_scans_copies_and_searches() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/er/ledger.sqlite");
    assert!(Ledger::open(&path).err().unwrap().advice().unwrap().contains("rebuild"));
    let mut l = Ledger::open_or_create(&path).unwrap();
    let a = l.disk(&volume(Some("01D8BEEF12345678"), "/media/A")).unwrap();
    let b = l.disk(&volume(None, "//server/share")).unwrap();
    assert_eq!(l.disk(&volume(Some("1234-5678"), "E:\\")).unwrap(), a, "the same disk seen from Windows");
    let hostile: &[u8] = b"s2/\xff%_'\";--\n\xc3\xa9.raw";
    l.record(a, &[copy(b"s1/x.nxs", "11", Some(5)), copy(b"s1/y.nxs", "222", None), copy(hostile, "3", Some(9))])
        .unwrap();
    l.record(b, &[copy(b"s1/x.nxs", "11", Some(7)), copy(b"s1/100%_a.vol", "4444", Some(7))]).unwrap();
    drop(l);
    let l = Ledger::open(&path).unwrap();
    l.check().unwrap();
    let disks = l.disks().unwrap();
    assert_eq!((disks.len(), disks[0].files, disks[0].file_bytes, disks[0].scans), (2, 3, 6, 2));
    assert_eq!((disks[0].unverified, disks[0].verified_since, disks[0].place.as_str()), (1, Some(5), "E:\\"));
    assert_eq!(disks[1].name(), "//server/share");
    assert_eq!(l.known(&volume(None, "//server/share")).unwrap().unwrap().files, 2);
    assert!(l.known(&volume(Some("FFFF-0000"), "/media/A")).unwrap().is_none());
    let scans = l.scans().unwrap();
    assert_eq!(
        scans.iter().map(|s| (s.scan.as_str(), s.files, s.bytes, s.copies)).collect::<Vec<_>>(),
        [("s1", 3, 9, 0), ("s2", 1, 1, 1)]
    );
    assert_eq!(scans[0].disks, "//server/share, 1234-5678");
    assert_eq!(found(&l, &pattern("X.NXS")).len(), 2);
    assert_eq!(found(&l, &pattern("x.nxs"))[0].2, 2, "two verified copies");
    assert_eq!(found(&l, &pattern("%_a")), [("//server/share".into(), "s1/100%_a.vol".into(), 1)]);
    assert_eq!(found(&l, &pattern("*.raw")).len(), 1, "names that are no text are found");
    assert_eq!(found(&l, &pattern("y.n?s")).len(), 1, "a pattern may mean the last part");
    assert_eq!(found(&l, &pattern("' OR 1=1 --")).len(), 0);
    let missing = found(&l, &Search { fewer_than: Some(2), ..Search::default() });
    assert_eq!(missing.len(), 3, "{missing:?}");
    assert!(missing.iter().any(|m| m.1 == "s1/y.nxs" && m.2 == 0), "a copy never verified counts for nothing");
    let below = |b: &str| found(&l, &Search { below: Some(b.into()), ..Search::default() }).len();
    assert_eq!((below("/data/exp/s1"), below("/data/exp/s"), below("/data")), (4, 0, 5));
    let source = Path::new("/data/exp/s1/x.nxs");
    assert_eq!(
        l.copies_of_source(source, 2, 1_700_000_000_000_000_000).unwrap(),
        Some(2),
        "times differ by a rounding"
    );
    assert_eq!(l.copies_of_source(source, 3, 1_700_000_000_123_456_789).unwrap(), None, "another size is another file");
    assert_eq!(l.copies_of_source(source, 2, 1_800_000_000_000_000_000).unwrap(), None);
}

#[test]
fn files_of_equal_content_are_files_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut l = Ledger::open_or_create(&dir.path().join("l.sqlite")).unwrap();
    let a = l.disk(&volume(None, "/media/A")).unwrap();
    let b = l.disk(&volume(None, "/media/B")).unwrap();
    let scan = |l: &Ledger| {
        let s = &l.scans().unwrap()[0];
        (s.files, s.bytes, s.copies)
    };
    let four = [
        copy(b"s1/a", "11", Some(5)),
        copy(b"s1/b", "11", Some(5)),
        copy(b"s1/c", "222", Some(5)),
        copy(b"s1/d", "4444", Some(5)),
    ];
    l.record(a, &four).unwrap();
    assert_eq!(scan(&l), (4, 11, 1));
    // Elsewhere on another disk, and twice on the same: no file more.
    l.record(b, &four.clone().map(|c| Copy { path: [b"exp/", c.path.as_slice()].concat(), ..c })).unwrap();
    l.record(a, &[Copy { path: b"again/s1/a".to_vec(), ..four[0].clone() }]).unwrap();
    assert_eq!(scan(&l), (4, 11, 2));
}

#[test]
fn a_known_verification_stays_unless_the_content_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.sqlite");
    let v = volume(Some("AAAA-0001"), "/m");
    let state = || {
        let l = Ledger::open(&path).unwrap();
        let d = l.disks().unwrap();
        (d[0].files, d[0].unverified, d[0].verified_since)
    };
    record(&path, &v, &[copy(b"a", "1", Some(5))]).unwrap();
    record(&path, &v, &[copy(b"a", "1", None)]).unwrap();
    assert_eq!(state(), (1, 0, Some(5)));
    record(&path, &v, &[copy(b"a", "1", Some(8))]).unwrap();
    assert_eq!(state(), (1, 0, Some(8)));
    record(&path, &v, &[copy(b"a", "2", None)]).unwrap();
    assert_eq!(state(), (1, 1, None));
    let mut l = Ledger::open(&path).unwrap();
    let d = l.disk(&v).unwrap();
    let left: Vec<String> = found(&l, &Search::default()).into_iter().map(|f| f.1).collect();
    assert_eq!(left, ["a"]);
    l.forget(d, &[b"a".to_vec()]).unwrap();
    drop(l);
    assert_eq!(state().0, 0);
}

#[test]
fn only_what_changed_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut l = Ledger::open_or_create(&dir.path().join("l.sqlite")).unwrap();
    let d = l.disk(&volume(Some("AAAA-0001"), "/m")).unwrap();
    let mut known = copy(b"s/a", "1", Some(5));
    let mut written = |c: &Copy| {
        let before = l.db.total_changes();
        l.record(d, std::slice::from_ref(c)).unwrap();
        let row = "SELECT bytes || sha256 || scan || source || mtime || copied || verified || level FROM copies";
        (l.db.total_changes() - before, l.db.query_row(row, [], |r| r.get::<_, String>(0)).unwrap())
    };
    let first = written(&known);
    assert_eq!((first.0, written(&known)), (1, (0, first.1.clone())));
    // What is not told is no change.
    let told_less = Copy { source: None, mtime_ns: None, verified: None, level: None, ..known.clone() };
    assert_eq!(written(&told_less), (0, first.1.clone()));
    let changes: [fn(&mut Copy); 8] = [
        |c| c.bytes += 1,
        |c| c.scan.push('x'),
        |c| c.source = Some("/elsewhere/a".into()),
        |c| c.mtime_ns = c.mtime_ns.map(|t| t + 1),
        |c| c.copied += 1,
        |c| c.verified = Some(6),
        |c| c.level = Some("remounted".into()),
        |c| c.sha256 = "ff".repeat(32),
    ];
    let mut last = first.1;
    for (i, change) in changes.iter().enumerate() {
        change(&mut known);
        let (n, row) = written(&known);
        assert!(n == 1 && row != last, "change {i}: {n} written, {row}");
        last = row;
    }
}

#[test]
fn damaged_foreign_and_locked_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.sqlite");
    std::fs::write(&path, vec![b'x'; 5000]).unwrap();
    let e = Ledger::open(&path).err().unwrap();
    assert!(e.to_string().contains("damaged") && e.advice().unwrap().contains("rebuild"), "{e}");
    std::fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    let e = Ledger::open_or_create(&path).err().unwrap();
    assert!(e.to_string().contains("another program"), "{e}");
    std::fs::remove_file(&path).unwrap();
    let v = volume(Some("AAAA-0001"), "/m");
    let many: Vec<Copy> = (0..2000).map(|i| copy(format!("s/{i}").as_bytes(), &i.to_string(), None)).collect();
    record(&path, &v, &many).unwrap();
    // A page in the middle overwritten: found by the check, an error and no panic anywhere.
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xa5);
    let broken = dir.path().join("broken.sqlite");
    std::fs::write(&broken, &bytes).unwrap();
    let l = Ledger::open(&broken).unwrap();
    assert!(l.check().unwrap_err().to_string().contains("damaged"));
    for cut in [0, 1, 50, 100, 4096, bytes.len() / 2] {
        std::fs::write(&broken, &bytes[..cut]).unwrap();
        if let Ok(l) = Ledger::open(&broken) {
            assert!(l.check().is_err() || l.disks().is_ok());
        }
    }
    // Another program holds it.
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let e = Ledger::at(&path, flags, Duration::from_millis(50)).err().unwrap();
    assert!(e.to_string().contains("another program is writing") && e.advice().is_some(), "{e}");
    other.execute_batch("ROLLBACK; BEGIN IMMEDIATE").unwrap();
    // While it writes, it can be read.
    let mut l = Ledger::at(&path, flags, Duration::from_millis(50)).unwrap();
    assert_eq!(l.disks().unwrap()[0].files, 2000);
    assert!(l.disk(&v).unwrap_err().to_string().contains("another program is writing"));
    other.execute_batch("ROLLBACK").unwrap();
    l.disk(&v).unwrap();
}

#[test]
fn two_writers_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.sqlite");
    std::thread::scope(|s| {
        for t in 0..4 {
            let path = &path;
            s.spawn(move || {
                let v = volume(Some(&format!("AAAA-000{t}")), "/m");
                for i in 0..5 {
                    record(path, &v, &[copy(format!("s/{i}").as_bytes(), &format!("{t}{i}"), Some(1))]).unwrap();
                }
            });
        }
    });
    let disks = Ledger::open(&path).unwrap().disks().unwrap();
    assert_eq!((disks.len(), disks.iter().map(|d| d.files).sum::<u64>()), (4, 20));
}

#[test]
fn scans_have_names() {
    assert_eq!(scan_of(Path::new("/d/exp"), b"s1/tiff/0.tif"), "s1");
    assert_eq!(scan_of(Path::new("/d/s1"), b"s1.nxs"), "s1");
    assert_eq!(scan_of(Path::new("/"), b"x"), "");
}

#[test]
fn exports_hold_every_file_and_escape_every_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.sqlite");
    let mut v = volume(Some("AAAA-0001"), "/m");
    v.label = Some("<b>&DISK".into());
    record(&path, &v, &[copy(b"s<1>/a,\"b\"\n.vol", "1", Some(5)), copy(b"s2/\xff", "2", None)]).unwrap();
    let l = Ledger::open(&path).unwrap();
    let out = dir.path().join("l.csv");
    assert_eq!(export::csv(&l, &Search::default(), &out, false).unwrap(), 2);
    assert!(export::csv(&l, &Search::default(), &out, false).is_err());
    let text = std::fs::read_to_string(&out).unwrap();
    let (head, rows) = crate::ops::tables::read_csv(&text, &out).unwrap();
    assert_eq!(head, export::COLUMNS);
    assert_eq!((rows.len(), rows[0].1[2].as_str(), rows[1].1[2].as_str()), (2, "s<1>/a,\"b\"\n.vol", "s2/\u{fffd}"));
    let page = dir.path().join("l.html");
    export::html(&l, &page, false, |n| n.to_string()).unwrap();
    let text = std::fs::read_to_string(&page).unwrap();
    assert!(text.contains("s&lt;1&gt;") && text.contains("&lt;b&gt;&amp;DISK") && !text.contains("<b>"));
}

#[test]
fn what_was_found_damaged_is_not_entered_as_verified_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut l = Ledger::open_or_create(&dir.path().join("l.sqlite")).unwrap();
    let d = l.disk(&volume(None, "/media/A")).unwrap();
    let verified = |l: &Ledger| {
        let mut v = Vec::new();
        l.files(&Search::default(), |f| {
            v.push((f.verified, f.level.is_some()));
            Ok(())
        })
        .unwrap();
        v
    };
    let of = |session, at| Copy { session, ..copy(b"a", "1", at) };
    let not_good = |when| [(b"a".to_vec(), Found::NotGood { session: Some(1), when })];
    l.record(d, &[of(Some(1), Some(100))]).unwrap();
    l.seen(d, &not_good(200)).unwrap();
    assert_eq!(verified(&l), [(None, false)]);
    // The record on the disk says what it said before; of the same copy, and of one of unknown origin.
    l.record(d, &[of(Some(1), Some(100))]).unwrap();
    l.record(d, &[of(None, Some(200))]).unwrap();
    assert_eq!(verified(&l), [(None, false)]);
    // Verified after that, or copied anew.
    l.record(d, &[of(Some(1), Some(201))]).unwrap();
    assert_eq!(verified(&l), [(Some(201), true)]);
    l.seen(d, &not_good(300)).unwrap();
    l.record(d, &[of(Some(2), Some(250))]).unwrap();
    l.record(d, &[of(Some(1), Some(260))]).unwrap();
    assert_eq!(verified(&l), [(Some(260), true)], "nothing is held against it any more");
    // Read again and good; gone.
    l.seen(d, &not_good(400)).unwrap();
    let good = Seen { sha256: of(None, None).sha256, when: 400, level: "device".into() };
    l.seen(d, &[(b"a".to_vec(), Found::Good(good))]).unwrap();
    l.record(d, &[of(Some(1), Some(100))]).unwrap();
    assert_eq!(verified(&l), [(Some(100), true)]);
    l.seen(d, &not_good(500)).unwrap();
    l.forget(d, &[b"a".to_vec()]).unwrap();
    l.record(d, &[of(Some(1), Some(100))]).unwrap();
    assert_eq!(verified(&l), [(Some(100), true)]);
    l.check().unwrap();
}

#[test]
fn names_that_are_not_kept_are_forgotten_however_many() {
    let dir = tempfile::tempdir().unwrap();
    let mut l = Ledger::open_or_create(&dir.path().join("l.sqlite")).unwrap();
    let d = l.disk(&volume(None, "/media/A")).unwrap();
    let other = l.disk(&volume(None, "/media/B")).unwrap();
    let mut all: Vec<Copy> = (0..25_000).map(|i| copy(format!("s/{i:05}").as_bytes(), "1", None)).collect();
    all.push(copy(b"s/\xff", "1", None));
    l.record(d, &all).unwrap();
    l.record(other, &all[..3]).unwrap();
    let mut asked = 0;
    l.keep(d, |n| {
        asked += 1;
        n.ends_with(b"7") || n.ends_with(b"\xff")
    })
    .unwrap();
    assert_eq!(asked, 25_001);
    let left = l.disks().unwrap();
    assert_eq!((left[0].files, left[1].files), (2501, 3));
}

#[test]
fn files_are_found_by_the_name_they_had() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.sqlite");
    let mut l = Ledger::open_or_create(&path).unwrap();
    let disk = l.disk(&volume(Some("1234-5678"), "E:\\")).unwrap();
    let source = Some("/data/exp/s3/we:ird?.txt".into());
    l.record(disk, &[Copy { source, ..copy(b"s3/we_ird_~1f.txt", "5", Some(1)) }, copy(b"s3/other", "6", None)])
        .unwrap();
    let names = |p: &str| found(&l, &pattern(p)).into_iter().map(|f| f.1).collect::<Vec<_>>();
    for p in ["we:ird", "we:ird*", "WE_IRD", "*~1f.txt"] {
        assert_eq!(names(p), ["s3/we_ird_~1f.txt"], "{p}");
    }
    assert!(names("data").is_empty(), "folders of the source say nothing");
}
