//! The files a record tells of, by name, in some ninety bytes each.

use crate::trust::list::NameSet;
use crate::trust::readback::Level;
use crate::trust::{Digest, Name};

/// What the record says of one file, after all its events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FileState {
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub modified_ns: i64,
    /// Sum of what was read from the source.
    pub sha256: Digest,
    /// Last good read-back: when and how far.
    pub verified: Option<(i64, Level)>,
    /// Session that wrote it.
    pub session: u32,
    /// The last read-back failed.
    pub bad: bool,
}

/// Files by name. Each has a number, which it keeps.
#[derive(Clone, Debug, Default)]
pub struct Files {
    names: NameSet,
    /// By number; `None`: no longer of the record.
    states: Vec<Option<FileState>>,
    len: usize,
}

impl Files {
    /// How many.
    pub fn len(&self) -> usize {
        self.len
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of a file that is there.
    pub fn number(&self, name: &Name) -> Option<u32> {
        self.names.number(name).filter(|n| self.states[*n as usize].is_some())
    }

    /// True where it is there.
    pub fn has(&self, name: &Name) -> bool {
        self.number(name).is_some()
    }

    /// What is known of a file.
    pub fn get(&self, name: &Name) -> Option<FileState> {
        self.states[self.names.number(name)? as usize]
    }

    /// To change what is known of a file.
    pub fn get_mut(&mut self, name: &Name) -> Option<&mut FileState> {
        self.states[self.names.number(name)? as usize].as_mut()
    }

    /// Enters a file, in place of one of the same name.
    pub fn put(&mut self, name: &Name, state: FileState) {
        let n = self.names.put(name) as usize;
        if n == self.states.len() {
            self.states.push(None);
        }
        self.len += usize::from(self.states[n].is_none());
        self.states[n] = Some(state);
    }

    /// Takes a file out.
    pub fn remove(&mut self, name: &Name) {
        if let Some(n) = self.names.number(name) {
            self.len -= usize::from(self.states[n as usize].take().is_some());
        }
    }

    /// Name of a number.
    pub fn name(&self, n: u32) -> Name {
        self.names.get(n)
    }

    /// All files, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, FileState)> {
        self.states.iter().enumerate().filter_map(|(n, s)| Some((n as u32, (*s)?)))
    }

    /// All files in the order of their names.
    pub fn sorted(&self) -> Vec<u32> {
        let mut all: Vec<u32> = self.iter().map(|(n, _)| n).collect();
        all.sort_by(|a, b| self.names.order(*a, *b));
        all
    }

    /// What is known of the file with this number.
    pub fn state(&self, n: u32) -> Option<FileState> {
        self.states.get(n as usize).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_go_and_come_again_under_their_number() {
        let name = |t: &str| Name::parse(t.as_bytes()).unwrap();
        let state = |size| FileState {
            size,
            modified_ns: -1,
            sha256: Digest::of(b"x"),
            verified: Some((7, Level::Remounted)),
            session: 3,
            bad: false,
        };
        let mut f = Files::default();
        for (i, n) in ["b/2", "b/1", "a"].iter().enumerate() {
            f.put(&name(n), state(i as u64));
        }
        f.put(&name("b/1"), state(9));
        assert_eq!((f.len(), f.get(&name("b/1")), f.get(&name("b"))), (3, Some(state(9)), None));
        assert_eq!(f.sorted().iter().map(|n| f.name(*n)).collect::<Vec<_>>(), [name("a"), name("b/1"), name("b/2")]);
        let n = f.number(&name("b/2"));
        f.remove(&name("b/2"));
        f.remove(&name("b/2"));
        f.remove(&name("none"));
        assert_eq!((f.len(), f.has(&name("b/2")), f.iter().count(), f.sorted().len()), (2, false, 2, 2));
        f.put(&name("b/2"), state(4));
        assert_eq!((f.len(), f.number(&name("b/2"))), (3, n));
        f.get_mut(&name("a")).unwrap().bad = true;
        assert!(f.get(&name("a")).unwrap().bad);
        // A million of these are held at once.
        assert!(size_of::<Option<FileState>>() <= 72);
    }
}
