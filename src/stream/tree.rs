//! BLAKE3 of a stream whose pieces are hashed apart, by any thread in any order: the result is that of the whole.
//!
//! BLAKE3 is a binary tree over chunks of 1 KiB (its paper, section 2.1; `blake3::hazmat`). A [`Piece`] hashes the complete
//! subtrees inside a range of the stream while its bytes are at hand; chunks that cross the ends of a range are kept as
//! bytes. A [`Tree`] joins what belongs together.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};
use std::collections::BTreeMap;

const CHUNK: u64 = blake3::CHUNK_LEN as u64;

/// Bytes of a chunk of which only a part lies in a range.
struct Loose {
    at: u64,
    bytes: Vec<u8>,
}

/// A range of the stream being hashed from its front to its end.
pub struct Piece {
    /// Length of the whole stream.
    total: u64,
    at: u64,
    end: u64,
    /// The subtree under way: where it began and ends.
    open: Option<(Box<blake3::Hasher>, u64, u64)>,
    nodes: Vec<(u64, u64, ChainingValue)>,
    loose: Vec<Loose>,
}

impl Piece {
    /// The bytes from `at` to `end` of a stream of `total` bytes.
    pub fn new(total: u64, at: u64, end: u64) -> Piece {
        Piece { total, at, end: end.min(total), open: None, nodes: Vec::new(), loose: Vec::new() }
    }

    /// End of the complete subtree that begins at `self.at`, if one does.
    fn subtree(&self) -> Option<u64> {
        let left = self.end - self.at;
        if !self.at.is_multiple_of(CHUNK) || self.total <= CHUNK {
            return None;
        }
        if left < CHUNK {
            // The last chunk of the stream may be short.
            return (self.end == self.total).then_some(self.end);
        }
        let aligned = if self.at == 0 { u64::MAX } else { 1 << self.at.trailing_zeros() };
        let size = aligned.min(1 << left.ilog2());
        // The whole stream has a root, not a value to be merged: its halves at most.
        let size = if size == self.total { size / 2 } else { size };
        Some(self.at + size)
    }

    /// The next bytes of the range. More than it holds are left out.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.at < self.end {
            if self.open.is_none() {
                self.open = self.subtree().map(|end| {
                    let mut hasher = Box::<blake3::Hasher>::default();
                    hasher.set_input_offset(self.at);
                    (hasher, self.at, end)
                });
            }
            let until = match &self.open {
                Some((_, _, end)) => *end,
                None => ((self.at / CHUNK + 1) * CHUNK).min(self.end),
            };
            let (now, later) = bytes.split_at(bytes.len().min((until - self.at) as usize));
            match &mut self.open {
                Some((hasher, _, _)) => {
                    hasher.update(now);
                }
                None => self.loose.push(Loose { at: self.at, bytes: now.to_vec() }),
            }
            self.at += now.len() as u64;
            bytes = later;
            if let Some((hasher, start, end)) = self.open.take_if(|(_, _, end)| *end == self.at) {
                self.nodes.push((start, end, hasher.finalize_non_root()));
            }
        }
    }
}

/// The tree of a stream of known length.
pub struct Tree {
    total: u64,
    /// Values of subtrees by where they begin: their end, and the value.
    nodes: BTreeMap<u64, (u64, ChainingValue)>,
    /// Chunks of which parts are there, by number: the bytes, and how many.
    loose: BTreeMap<u64, (Vec<u8>, usize)>,
}

impl Tree {
    /// Of `total` bytes, none of which is there yet.
    pub fn new(total: u64) -> Tree {
        Tree { total, nodes: BTreeMap::new(), loose: BTreeMap::new() }
    }

    /// Takes a piece in. Pieces must not overlap.
    pub fn join(&mut self, piece: Piece) {
        for (start, end, value) in piece.nodes {
            self.add(start, end, value);
        }
        for l in piece.loose {
            let number = l.at / CHUNK;
            let len = CHUNK.min(self.total - number * CHUNK) as usize;
            let (chunk, filled) = self.loose.entry(number).or_insert_with(|| (vec![0; len], 0));
            let at = (l.at - number * CHUNK) as usize;
            chunk[at..at + l.bytes.len()].copy_from_slice(&l.bytes);
            *filled += l.bytes.len();
            if *filled == len && self.total > CHUNK {
                let mut hasher = blake3::Hasher::new();
                hasher.set_input_offset(number * CHUNK).update(chunk);
                let value = hasher.finalize_non_root();
                self.loose.remove(&number);
                self.add(number * CHUNK, number * CHUNK + len as u64, value);
            }
        }
    }

    /// Adds a subtree and merges it with its sibling as often as both are there and complete.
    fn add(&mut self, mut start: u64, mut end: u64, mut value: ChainingValue) {
        loop {
            let size = end - start;
            // A short chunk at the very end waits for the end.
            if !size.is_power_of_two() || size < CHUNK || size * 2 >= self.total {
                break;
            }
            if start & size == 0 {
                let Some((e, right)) = self.nodes.get(&end).filter(|(e, _)| e - end == size).copied() else { break };
                self.nodes.remove(&end);
                value = merge_subtrees_non_root(&value, &right, Mode::Hash);
                end = e;
            } else {
                let left = start - size;
                let Some((_, other)) = self.nodes.get(&left).filter(|(e, _)| *e == start).copied() else { break };
                self.nodes.remove(&left);
                value = merge_subtrees_non_root(&other, &value, Mode::Hash);
                start = left;
            }
        }
        self.nodes.insert(start, (end, value));
    }

    fn value(&self, start: u64, end: u64) -> Option<ChainingValue> {
        match self.nodes.get(&start) {
            Some((e, value)) if *e == end => return Some(*value),
            None => return None,
            _ if end - start <= CHUNK => return None,
            _ => {}
        }
        let middle = start + left_subtree_len(end - start);
        Some(merge_subtrees_non_root(&self.value(start, middle)?, &self.value(middle, end)?, Mode::Hash))
    }

    /// The hash; `None` where bytes are missing.
    pub fn finish(self) -> Option<blake3::Hash> {
        if self.total == 0 {
            return Some(blake3::hash(&[]));
        }
        if self.total <= CHUNK {
            let (bytes, filled) = self.loose.get(&0)?;
            return (*filled as u64 == self.total).then(|| blake3::hash(bytes));
        }
        let middle = left_subtree_len(self.total);
        let (left, right) = (self.value(0, middle)?, self.value(middle, self.total)?);
        Some(merge_subtrees_root(&left, &right, Mode::Hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Streams of all kinds of lengths, in ranges and steps of all kinds, joined from both ends.
    #[test]
    fn equals_the_hash_of_the_whole() {
        let bytes: Vec<u8> = (0..300_000u32).map(|i| (i * 7 + i / 251) as u8).collect();
        let k = 1024;
        for len in [0, 1, 1023, k, k + 1, 2 * k, 3 * k, 5 * k + 7, 64 * k, 65 * k, 65 * k - 1, 128 * k, 290_000] {
            for step in [1, 100, 1000, k, 3 * k, 4 * k, 10_000, 16 * k, 64 * k, 300_000] {
                if len / step > 3000 {
                    continue;
                }
                let mut pieces: Vec<Piece> = (0..len)
                    .step_by(step)
                    .map(|a| {
                        let b = (a + step).min(len);
                        let mut p = Piece::new(len as u64, a as u64, b as u64);
                        bytes[a..b].chunks(5000).for_each(|c| p.update(c));
                        p
                    })
                    .collect();
                let mut tree = Tree::new(len as u64);
                while let Some(p) = pieces.pop() {
                    tree.join(p);
                    if !pieces.is_empty() {
                        tree.join(pieces.remove(0));
                    }
                }
                assert_eq!(tree.finish(), Some(blake3::hash(&bytes[..len])), "{len} bytes by {step}");
            }
        }
    }

    #[test]
    fn what_is_joined_in_order_takes_little_memory_and_gaps_are_seen() {
        let total = 1u64 << 22;
        let bytes = vec![3u8; total as usize];
        let mut tree = Tree::new(total);
        for a in (0..total).step_by(4096) {
            let mut p = Piece::new(total, a, a + 4096);
            p.update(&bytes[a as usize..][..4096]);
            tree.join(p);
            assert!(tree.nodes.len() < 24 && tree.loose.is_empty());
        }
        assert_eq!(tree.finish(), Some(blake3::hash(&bytes)));
        let mut half = Tree::new(total);
        let mut p = Piece::new(total, 0, total / 2);
        p.update(&bytes[..total as usize / 2]);
        half.join(p);
        assert_eq!(half.finish(), None);
    }
}
