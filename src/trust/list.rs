//! Many names in little memory: a disk can hold millions of files, and a name of its own costs some fifty bytes besides its
//! text. Here folders are kept once and last parts one behind the other: twelve bytes per name, and its last part.

use crate::trust::Name;
use std::cmp::Ordering;
use std::hash::{BuildHasher, RandomState};

/// Texts one behind the other.
#[derive(Clone, Debug, Default)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<u64>,
}

impl Texts {
    fn push(&mut self, text: &[u8]) -> u32 {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as u64);
        // So many names are more than any memory holds.
        (self.ends.len() - 1) as u32
    }

    fn get(&self, n: u32) -> &[u8] {
        let n = n as usize;
        let start = n.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start as usize..self.ends[n] as usize]
    }
}

/// Finds numbers by what they stand for; four bytes per slot, a quarter of them free at least.
#[derive(Clone, Debug, Default)]
struct Index {
    /// Number plus one; 0: free.
    slots: Vec<u32>,
    used: usize,
}

impl Index {
    fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        loop {
            match self.slots[at].checked_sub(1) {
                None => return None,
                Some(n) if is(n) => return Some(n),
                Some(_) => at = (at + 1) & mask,
            }
        }
    }

    /// Puts in a number that is not there.
    fn put(&mut self, hash: u64, n: u32, hash_of: impl Fn(u32) -> u64) {
        if self.used * 4 >= self.slots.len() * 3 {
            let more = (self.slots.len() * 2).max(16);
            let old = std::mem::replace(&mut self.slots, vec![0; more]);
            for slot in old.into_iter().filter(|s| *s > 0) {
                self.place(hash_of(slot - 1), slot);
            }
        }
        self.place(hash, n + 1);
        self.used += 1;
    }

    fn place(&mut self, hash: u64, slot: u32) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at] > 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }
}

/// Names by number, in the order in which they were put in.
#[derive(Clone, Debug, Default)]
pub struct NameList {
    folders: Texts,
    by_folder: Index,
    /// By name: its folder's number.
    folder: Vec<u32>,
    last: Texts,
    hasher: RandomState,
}

/// Folder (empty at the top) and last part.
fn split(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|b| *b == b'/') {
        Some(cut) => (&name[..cut], &name[cut + 1..]),
        None => (&[], name),
    }
}

impl NameList {
    /// How many.
    pub fn len(&self) -> usize {
        self.folder.len()
    }

    /// None yet.
    pub fn is_empty(&self) -> bool {
        self.folder.is_empty()
    }

    fn folder_number(&self, folder: &[u8]) -> Option<u32> {
        // Neighbours are mostly in one folder.
        if let Some(last) = self.folder.last().filter(|f| self.folders.get(**f) == folder) {
            return Some(*last);
        }
        self.by_folder.find(self.hasher.hash_one(folder), |n| self.folders.get(n) == folder)
    }

    /// Puts a name behind the others; its number.
    pub fn push(&mut self, name: &Name) -> u32 {
        let (folder, last) = split(name.bytes());
        let number = self.folder_number(folder).unwrap_or_else(|| {
            let n = self.folders.push(folder);
            let (folders, hasher) = (&self.folders, &self.hasher);
            self.by_folder.put(hasher.hash_one(folder), n, |n| hasher.hash_one(folders.get(n)));
            n
        });
        self.folder.push(number);
        self.last.push(last)
    }

    /// Folder and last part of a name.
    fn parts(&self, n: u32) -> (&[u8], &[u8]) {
        (self.folders.get(self.folder[n as usize]), self.last.get(n))
    }

    /// A name.
    pub fn get(&self, n: u32) -> Name {
        Name::below(self.parts(n))
    }

    /// The order of two names, as that of [`Name`].
    pub fn order(&self, a: u32, b: u32) -> Ordering {
        if self.folder[a as usize] == self.folder[b as usize] {
            return self.last.get(a).cmp(self.last.get(b));
        }
        let signs = |n| {
            let (folder, last) = self.parts(n);
            let between: &[u8] = if folder.is_empty() { b"" } else { b"/" };
            folder.iter().chain(between).chain(last)
        };
        signs(a).cmp(signs(b))
    }
}

/// Names by number, each once.
#[derive(Clone, Debug, Default)]
pub struct NameSet {
    names: NameList,
    index: Index,
}

impl NameSet {
    /// How many.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// None yet.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn hash(list: &NameList, folder: u32, last: &[u8]) -> u64 {
        list.hasher.hash_one((folder, last))
    }

    /// Number of a name that is there.
    pub fn number(&self, name: &Name) -> Option<u32> {
        let (folder, last) = split(name.bytes());
        let folder = self.names.folder_number(folder)?;
        let is = |n: u32| self.names.folder[n as usize] == folder && self.names.last.get(n) == last;
        self.index.find(Self::hash(&self.names, folder, last), is)
    }

    /// Number of a name, which is put in if it is new.
    pub fn put(&mut self, name: &Name) -> u32 {
        if let Some(n) = self.number(name) {
            return n;
        }
        let n = self.names.push(name);
        let names = &self.names;
        let hash_of = |n: u32| Self::hash(names, names.folder[n as usize], names.last.get(n));
        self.index.put(hash_of(n), n, hash_of);
        n
    }

    /// A name.
    pub fn get(&self, n: u32) -> Name {
        self.names.get(n)
    }

    /// The order of two names.
    pub fn order(&self, a: u32, b: u32) -> Ordering {
        self.names.order(a, b)
    }
}

/// A yes or no for each of many numbers.
#[derive(Clone, Debug, Default)]
pub struct Marks(Vec<u64>);

impl Marks {
    /// Says yes; true where it was no.
    pub fn set(&mut self, n: u32) -> bool {
        let (word, bit) = (n as usize / 64, 1 << (n % 64));
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    /// What was said.
    pub fn has(&self, n: u32) -> bool {
        self.0.get(n as usize / 64).is_some_and(|w| w & (1 << (n % 64)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(t: &str) -> Name {
        Name::parse(t.as_bytes()).unwrap()
    }

    #[test]
    fn names_come_back_are_found_and_are_ordered_as_names() {
        let mut all = vec![name("a"), name("a.b"), name("a/b"), name("a/b.c"), name("a/b/c"), name("z"), name("a-b/c")];
        all.extend((0..3000).map(|i| name(&format!("scan{}/{:03}.tif", i % 7, i))));
        let mut set = NameSet::default();
        for (i, n) in all.iter().enumerate() {
            assert_eq!(set.number(n), None);
            assert_eq!(set.put(n) as usize, i);
            assert_eq!(set.put(n) as usize, i);
        }
        assert_eq!(set.len(), all.len());
        for (i, n) in all.iter().enumerate() {
            assert_eq!((set.number(n), set.get(i as u32)), (Some(i as u32), n.clone()));
        }
        for none in
            ["b", "a/", "scan0", "scan9/000.tif", "scan0/001.tif"].iter().filter_map(|t| Name::parse(t.as_bytes()).ok())
        {
            assert_eq!(set.number(&none), None, "{none}");
        }
        let mut order: Vec<u32> = (0..all.len() as u32).collect();
        order.sort_by(|a, b| set.order(*a, *b));
        let sorted: Vec<Name> = order.into_iter().map(|n| set.get(n)).collect();
        all.sort();
        assert_eq!(sorted, all);
    }

    #[test]
    fn marks_are_no_until_they_are_set() {
        let mut m = Marks::default();
        assert!(!m.has(700) && m.set(700) && !m.set(700));
        assert!(m.has(700) && !m.has(701) && !m.has(0) && !m.has(100_000));
    }
}
