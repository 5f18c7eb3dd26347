//! Sums of the blocks of large files: which stretch differs, not only that something does.
//!
//! What proves a file is its SHA-256. Beside it the record keeps a CRC-32 of every block, made in the same pass over the
//! data (a thirtieth of the cost of the SHA-256), so that a file that was damaged can be told apart from one that was lost: at most
//! 1024 blocks per file, of 1 MiB and more. Files of one block have none.

use crate::trust::hash::{unhex, zeros};
use crate::trust::{Digest, Name, journal};
use crc32fast::Hasher;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ops::Range;
use std::path::Path;
use tomokit_formats::Result;

/// Smallest block.
const SMALLEST: u64 = 1 << 20;
/// Blocks of one file at most.
const MOST: u64 = 1024;

/// Bytes per block of a file of `size` bytes; `None` where one block is all of it.
pub fn block_of(size: u64) -> Option<u64> {
    let mut block = SMALLEST;
    while size.div_ceil(block) > MOST {
        block *= 2;
    }
    (size > block).then_some(block)
}

/// Sums of successive blocks, as a record holds them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockSums {
    /// Bytes per block; the last one of a file may be shorter.
    pub bytes: u64,
    /// CRC-32 of each, eight hexadecimal digits per block.
    #[serde(serialize_with = "digits", deserialize_with = "from_digits")]
    pub crc32: Vec<u32>,
}

fn digits<S: Serializer>(sums: &[u32], s: S) -> std::result::Result<S::Ok, S::Error> {
    use std::fmt::Write;
    let text = sums.iter().fold(String::with_capacity(sums.len() * 8), |mut t, n| {
        let _ = write!(t, "{n:08x}");
        t
    });
    s.serialize_str(&text)
}

fn from_digits<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Vec<u32>, D::Error> {
    let text = String::deserialize(d)?;
    let bytes = unhex(text.as_bytes()).filter(|b| b.len().is_multiple_of(4));
    let bytes = bytes.ok_or_else(|| serde::de::Error::custom("block sums have eight hexadecimal digits each"))?;
    Ok(bytes.as_chunks::<4>().0.iter().map(|b| u32::from_be_bytes(*b)).collect())
}

/// Sums the blocks of a file whose bytes come by in order.
#[derive(Debug)]
pub struct Meter {
    block: u64,
    /// Bytes in the current block.
    filled: u64,
    crc: Hasher,
    done: Vec<u32>,
}

impl Meter {
    /// Of a file of `size` bytes that is read from `start` on; `None` where there is nothing to tell apart.
    pub fn new(size: u64, start: u64) -> Option<Meter> {
        let block = block_of(size).filter(|b| start.is_multiple_of(*b))?;
        Some(Meter { block, filled: 0, crc: Hasher::new(), done: Vec::new() })
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(self.block - self.filled).unwrap_or(usize::MAX);
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            self.crc.update(now);
            self.filled += now.len() as u64;
            if self.filled == self.block {
                self.close();
            }
            bytes = rest;
        }
    }

    /// Takes in a hole.
    pub fn update_zeros(&mut self, n: u64) {
        zeros(n, |z| self.update(z));
    }

    fn close(&mut self) {
        self.done.push(std::mem::take(&mut self.crc).finalize());
        self.filled = 0;
    }

    /// The whole blocks since this was asked last; `None` without any.
    pub fn take(&mut self) -> Option<BlockSums> {
        let crc32 = std::mem::take(&mut self.done);
        (!crc32.is_empty()).then_some(BlockSums { bytes: self.block, crc32 })
    }

    /// The blocks up to the end of the file.
    pub fn finish(mut self) -> Option<BlockSums> {
        if self.filled > 0 {
            self.close();
        }
        self.take()
    }
}

/// What a record knows of the blocks of one file; some of them may be unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Bytes per block.
    pub bytes: u64,
    /// By block.
    pub crc32: Vec<Option<u32>>,
}

impl Known {
    /// Gathers what the record in `folder` says of the blocks of a file with this sum; `None` where it says nothing.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn of(folder: &Path, name: &Name, sha256: &Digest) -> Result<Option<Known>> {
        use crate::trust::Event;
        let mut found = None;
        let mut begun: Option<(u64, i64, Known)> = None;
        journal::read_record(folder, |event| match event {
            Event::Part { path, size, modified_ns, offset, blocks: Some(sums), .. } if path == name => {
                if begun.as_ref().is_none_or(|b| (b.0, b.1) != (*size, *modified_ns)) {
                    begun = Some((*size, *modified_ns, Known::default()));
                }
                if let Some((_, _, known)) = &mut begun {
                    known.enter(*size, *offset, sums);
                }
            }
            Event::File(f) if f.path == *name => {
                let before = begun.take().filter(|b| (b.0, b.1) == (f.size, f.modified_ns)).map(|b| b.2);
                let mut known = before.unwrap_or_default();
                if let Some(sums) = &f.blocks {
                    known.enter(f.size, f.size, sums);
                }
                found = (f.sha256 == *sha256 && known.crc32.iter().any(Option::is_some)).then_some(known);
            }
            _ => {}
        })?;
        Ok(found)
    }

    /// Enters sums that end at byte `end` of a file of `size` bytes. What does not fit is left out: a record is not trusted.
    fn enter(&mut self, size: u64, end: u64, sums: &BlockSums) {
        let Some(block) = block_of(size).filter(|b| *b == sums.bytes && end <= size) else { return };
        let Some(first) = end.div_ceil(block).checked_sub(sums.crc32.len() as u64) else { return };
        self.bytes = block;
        self.crc32.resize(size.div_ceil(block) as usize, None);
        for (i, crc) in sums.crc32.iter().enumerate() {
            self.crc32[first as usize + i] = Some(*crc);
        }
    }

    /// Stretches of a file of `size` bytes that differ from what is known, neighbours in one; its blocks are `found`.
    pub fn differing(&self, found: &[u32], size: u64) -> Vec<Range<u64>> {
        let mut stretches: Vec<Range<u64>> = Vec::new();
        for (i, (known, crc)) in self.crc32.iter().zip(found).enumerate() {
            if known.is_none_or(|k| k == *crc) {
                continue;
            }
            let (from, to) = (i as u64 * self.bytes, size.min((i as u64 + 1) * self.bytes));
            match stretches.last_mut() {
                Some(last) if last.end == from => last.end = to,
                _ => stretches.push(from..to),
            }
        }
        stretches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn data(n: u64) -> Vec<u8> {
        (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
    }

    #[test]
    fn blocks_are_at_most_a_thousand_and_at_least_a_mebibyte() {
        assert_eq!((block_of(0), block_of(MIB), block_of(MIB + 1)), (None, None, Some(MIB)));
        assert_eq!(
            (block_of(1 << 30), block_of((1 << 30) + 1), block_of(64 << 30)),
            (Some(MIB), Some(2 * MIB), Some(64 * MIB))
        );
        assert!(block_of(u64::MAX).is_some_and(|b| u64::MAX.div_ceil(b) <= MOST));
    }

    #[test]
    fn pieces_of_any_length_give_the_same_sums() {
        let d = data(5 * MIB + 777);
        let size = d.len() as u64;
        let expected: Vec<u32> = d.chunks(MIB as usize).map(crc32fast::hash).collect();
        for step in [1000, 4096, 300_000, 3 << 20] {
            let mut m = Meter::new(size, 0).unwrap();
            d.chunks(step).for_each(|c| m.update(c));
            assert_eq!(m.finish().unwrap().crc32, expected, "{step}");
        }
        let mut m = Meter::new(3 * MIB, 0).unwrap();
        m.update_zeros(3 * MIB);
        assert_eq!(m.finish().unwrap().crc32, vec![crc32fast::hash(&vec![0; MIB as usize]); 3]);
        assert!(Meter::new(MIB, 0).is_none() && Meter::new(size, 5).is_none());
        let sums = BlockSums { bytes: MIB, crc32: vec![0, 0xdead_beef] };
        let text = serde_json::to_string(&sums).unwrap();
        assert_eq!(text, r#"{"bytes":1048576,"crc32":"00000000deadbeef"}"#);
        assert_eq!(serde_json::from_str::<BlockSums>(&text).unwrap(), sums);
        for bad in ["\"123\"", "\"zzzzzzzz\"", "7"] {
            assert!(serde_json::from_str::<BlockSums>(&format!("{{\"bytes\":1,\"crc32\":{bad}}}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn stretches_are_named_and_hostile_sums_are_left_out() {
        let mut d = data(5 * MIB + 777);
        let size = d.len() as u64;
        let of = |d: &[u8]| d.chunks(MIB as usize).map(crc32fast::hash).collect::<Vec<_>>();
        let mut known = Known::default();
        known.enter(size, 2 * MIB, &BlockSums { bytes: MIB, crc32: of(&d)[..2].to_vec() });
        known.enter(size, size, &BlockSums { bytes: MIB, crc32: of(&d)[3..].to_vec() });
        assert_eq!(known.crc32.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, true, true, true]);
        assert!(known.differing(&of(&d), size).is_empty());
        for at in [MIB, 2 * MIB + 5, 4 * MIB, size - 1] {
            d[at as usize] ^= 1;
        }
        assert_eq!(known.differing(&of(&d), size), [MIB..2 * MIB, 4 * MIB..size]);
        for (end, bytes, n) in [(size, 7, 1), (MIB, MIB, 2), (size + 1, MIB, 1), (size, MIB, 9), (u64::MAX, MIB, 1)] {
            let mut k = Known::default();
            k.enter(size, end, &BlockSums { bytes, crc32: vec![1; n] });
            assert!(k.crc32.iter().all(Option::is_none), "{end} {bytes} {n}");
        }
    }
}
