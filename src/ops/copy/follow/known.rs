//! What a follow knows of each file of its sources, in a hundred bytes.

use crate::ops::copy::gather::{Gathered, Item};
use crate::trust::NameSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Size and time.
pub(super) type Version = (u64, i64);

/// Which file: source and number of its name there.
#[derive(Clone, Copy)]
pub(super) struct Key(u32, u32);

struct File {
    seen: Version,
    since: Instant,
    /// On the disks.
    done: Option<Version>,
    /// Cannot be copied until it changes.
    given_up: Option<Version>,
}

/// All files, by source.
#[derive(Default)]
pub(super) struct Known(Vec<(NameSet, Vec<File>)>);

pub(super) fn version(item: &Item) -> Version {
    (item.size, item.modified_ns)
}

impl Known {
    fn file(&mut self, key: Key) -> &mut File {
        &mut self.0[key.0 as usize].1[key.1 as usize]
    }

    /// Takes note of a file's size and time; true where they are new.
    pub(super) fn notice(&mut self, g: &Gathered, item: &Item, settle: Duration) -> (Key, bool) {
        let source = item.source as usize;
        if self.0.len() <= source {
            self.0.resize_with(source + 1, Default::default);
        }
        let (names, files) = &mut self.0[source];
        let key = Key(item.source, names.put(&g.below(item)));
        let seen = version(item);
        let Some(file) = files.get_mut(key.1 as usize) else {
            // What was last changed long ago need not be watched first.
            let age = crate::trust::now().saturating_sub(item.modified_ns / 1_000_000_000);
            let old = age > 10 * settle.as_secs() as i64 + 60;
            let since = if old { Instant::now().checked_sub(settle) } else { None };
            files.push(File { seen, since: since.unwrap_or_else(Instant::now), done: None, given_up: None });
            return (key, true);
        };
        let new = file.seen != seen;
        if new {
            (file.seen, file.since) = (seen, Instant::now());
        }
        (key, new)
    }

    /// Notes that a file is another one than it seemed.
    pub(super) fn changed(&mut self, key: Key, seen: Version) {
        let file = self.file(key);
        (file.seen, file.since) = (seen, Instant::now());
    }

    /// True where a file stood still for long enough, and neither lies on the disks nor was given up as it is now.
    pub(super) fn is_wanted(&mut self, key: Key, settle: Duration) -> bool {
        let f = self.file(key);
        f.done != Some(f.seen) && f.given_up != Some(f.seen) && f.since.elapsed() >= settle
    }

    /// True where this version lies on the disks.
    pub(super) fn is_done(&self, g: &Gathered, item: &Item) -> bool {
        let Some((names, files)) = self.0.get(item.source as usize) else { return false };
        let file = names.number(&g.below(item)).and_then(|n| files.get(n as usize));
        file.is_some_and(|f| f.done == Some(version(item)))
    }

    /// A file's path, for messages; by source, the folder its files are below.
    pub(super) fn shown(&self, key: Key, folders: &[PathBuf]) -> String {
        self.path(key, folders).display().to_string()
    }

    /// Files that are there and neither lie on the disks nor were given up, as they are now: how many, and the first ones.
    pub(super) fn pending(&self, folders: &[PathBuf], most: usize) -> (u64, Vec<String>) {
        let (mut n, mut first) = (0, Vec::new());
        for (source, (_, files)) in self.0.iter().enumerate() {
            for (number, f) in files.iter().enumerate() {
                let key = Key(source as u32, number as u32);
                let waits = f.done != Some(f.seen) && f.given_up != Some(f.seen);
                if waits && self.path(key, folders).exists() {
                    n += 1;
                    if first.len() < most {
                        first.push(self.shown(key, folders));
                    }
                }
            }
        }
        first.sort();
        (n, first)
    }

    fn path(&self, key: Key, folders: &[PathBuf]) -> PathBuf {
        folders[key.0 as usize].join(self.0[key.0 as usize].0.get(key.1).path())
    }

    /// Notes that a version lies on the disks; true where an earlier one did.
    pub(super) fn done(&mut self, key: Key, version: Version) -> bool {
        self.file(key).done.replace(version).is_some()
    }

    /// Notes that a version cannot be copied.
    pub(super) fn give_up(&mut self, key: Key, version: Version) {
        self.file(key).given_up = Some(version);
    }
}
