//! The record on the disk: `tomo-copy.jsonl`, one JSON event per line, appended and synced while a copy runs.
//!
//! Guarantees: after a crash at any byte the events before it are there (a torn last line is cut off); a file is recorded
//! after its data are on the disk and before it gets its final name; a file counts as verified only for the very sum it
//! was recorded with. Reading is hostile to what it reads: names that lead elsewhere are refused, lines have a limit,
//! events of later versions are passed over. `SHA256SUMS` beside it says the same to other programs.
mod event;
mod state;
mod write;

pub use event::{Event, FileEvent};
pub use state::{JournalState, PartState, read_events, read_events_only, read_record, refuse_link};
pub use write::{Journal, refuse_foreign};

/// Name of the record at the top of a destination folder.
pub const JOURNAL: &str = "tomo-copy.jsonl";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{Digest, Level, Midstate, Name, Sha256};

    fn name(t: &str) -> Name {
        Name::parse(t.as_bytes()).unwrap()
    }

    fn file(path: &str, content: &[u8]) -> FileEvent {
        FileEvent {
            path: name(path),
            size: content.len() as u64,
            modified_ns: 5,
            sha256: Digest::of(content),
            copied: 7,
            session: 1,
            source: "/data/x".into(),
            original: None,
            holes: 0,
            adopted: false,
            made_by: None,
            blocks: None,
        }
    }

    fn lines(events: &[Event]) -> Vec<u8> {
        events.iter().flat_map(|e| (serde_json::to_string(e).unwrap() + "\n").into_bytes()).collect()
    }

    /// A disk is read on a system that cannot hold the names its files had elsewhere.
    #[test]
    fn a_name_that_was_mapped_is_text() {
        for original in ["a:b?/con", "hex:636166e9", "../x"] {
            let event = Event::File(FileEvent { original: Some(original.into()), ..file("a%3Ab", b"1") });
            let s = read_events(&lines(&[event])[..], |_| {}).unwrap();
            assert_eq!((s.refused, s.files.len()), (0, 1), "{original}");
        }
    }

    #[test]
    fn every_cut_reads_as_the_whole_lines_before_it() {
        let state = |n| Sha256::new().midstate().clone().into_event(n);
        let events = [
            Event::File(file("a", b"1")),
            state(64),
            state(128),
            Event::Verified { t: 1, path: name("a"), sha256: Digest::of(b"1"), level: Level::FileFlushed },
        ];
        let bytes = lines(&events);
        for cut in 0..=bytes.len() {
            let s = read_events(&bytes[..cut], |_| {}).unwrap();
            let whole = bytes[..cut].iter().filter(|b| **b == b'\n').count();
            assert_eq!(s.valid_bytes as usize, bytes[..cut].iter().rposition(|b| *b == b'\n').map_or(0, |p| p + 1));
            assert_eq!(s.files.len(), whole.min(1));
            assert_eq!(s.parts.get(&name("b")).map_or(0, |p| p.states.len()), whole.saturating_sub(1).min(2));
            assert_eq!(s.files.get(&name("a")).is_some_and(|f| f.verified.is_some()), whole == 4);
        }
    }

    impl Midstate {
        fn into_event(self, offset: u64) -> Event {
            Event::Part { path: name("b"), size: 1000, modified_ns: 3, offset, state: self, blocks: None }
        }
    }

    #[test]
    fn verified_holds_for_one_sum_only() {
        let verified = |c: &[u8]| Event::Verified { t: 1, path: name("a"), sha256: Digest::of(c), level: Level::Cache };
        let of = |e: &[Event]| read_events(&lines(e)[..], |_| {}).unwrap().files.get(&name("a")).unwrap();
        let one = Event::File(file("a", b"1"));
        assert!(of(&[one.clone(), verified(b"1")]).verified.is_some());
        assert!(of(&[one.clone(), verified(b"2")]).verified.is_none());
        assert!(of(&[one.clone(), verified(b"1"), Event::File(file("a", b"2"))]).verified.is_none());
        let bad = Event::Mismatch { t: 2, path: name("a"), expected: Digest::of(b"1"), found: Digest::of(b"x") };
        let s = of(&[one, verified(b"1"), bad]);
        assert!(s.verified.is_none() && s.bad);
    }

    #[test]
    fn hostile_records_are_refused_line_by_line() {
        let good = lines(&[Event::File(file("good", b"1"))]);
        let text = String::from_utf8(good.clone()).unwrap();
        let mut all = Vec::new();
        for bad in [
            text.replace("\"good\"", "\"../good\""),
            text.replace("\"good\"", "\"/etc/passwd\""),
            text.replace("\"good\"", "\"hex:2e2e\""),
            text.replace("\"size\":1", "\"size\":-1"),
            "[[[[".repeat(100_000) + "\n",
            "{}\n".into(),
            "\u{0}\n".into(),
            "x".repeat(3 << 20) + "\n",
        ] {
            all.extend(bad.into_bytes());
        }
        all.extend(b"{\"event\":\"of_a_later_version\",\"n\":1}\n\n");
        all.extend(good);
        let s = read_events(&all[..], |_| {}).unwrap();
        assert_eq!((s.refused, s.files.len(), s.valid_bytes), (8, 1, all.len() as u64));
    }
}
