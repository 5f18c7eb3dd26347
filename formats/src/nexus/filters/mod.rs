//! HDF5 filters: their names, and our own decoders for those met in this field, so that chunks are decoded by many
//! threads outside the library's lock.
//!
//! Numbers and names: the HDF Group's list of registered filters. A chunk's pipeline is undone from its last filter to
//! its first, leaving out those its mask marks as skipped when writing. Every decoder is given the most bytes it may
//! produce and checks what it was told by the data against it; the checksum of fletcher32 is verified.

mod bitshuffle;
mod codecs;
mod shuffle;

use super::info::FilterInfo;

pub(super) use shuffle::shuffle;

/// Name of a registered filter.
pub(super) fn name(id: u32) -> Option<&'static str> {
    Some(match id {
        1 => "deflate",
        2 => "shuffle",
        3 => "fletcher32",
        4 => "szip",
        5 => "nbit",
        6 => "scaleoffset",
        305 => "LZO",
        307 => "bzip2",
        32000 => "lzf",
        32001 => "blosc",
        32004 => "lz4",
        32008 => "bitshuffle",
        32013 => "zfp",
        32014 => "fpzip",
        32015 => "zstd",
        32017 => "SZ",
        32018 => "FCIDECOMP",
        32019 => "jpeg",
        32022 => "granular BitRound",
        32024 => "SZ3",
        32026 => "blosc2",
        32028 => "SPERR",
        32031 => "jpeg2000",
        32033 => "HTJ2K",
        _ => return None,
    })
}

/// True where our own decoder knows the filter.
pub(super) fn ours(id: u32) -> bool {
    matches!(id, 1 | 2 | 3 | 307 | 32000 | 32001 | 32004 | 32008 | 32015)
}

/// The filters of one dataset, ready to undo.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    steps: Vec<FilterInfo>,
    /// Bytes of a decoded chunk.
    pub chunk_bytes: usize,
    /// Bytes per element.
    element: usize,
}

/// Buffers reused between chunks; the decoded chunk ends up in `data`.
#[derive(Default)]
pub(super) struct Scratch {
    pub data: Vec<u8>,
    spare: Vec<u8>,
}

impl Pipeline {
    /// `None` where a filter is not one of ours.
    pub fn new(steps: &[FilterInfo], chunk_bytes: usize, element: usize) -> Option<Pipeline> {
        steps.iter().all(|f| ours(f.id)).then(|| Pipeline { steps: steps.to_vec(), chunk_bytes, element })
    }

    /// True where at least one filter applies to a chunk with this mask.
    pub fn applies(&self, mask: u32) -> bool {
        self.active(mask).next().is_some()
    }

    fn active(&self, mask: u32) -> impl DoubleEndedIterator<Item = &FilterInfo> {
        let skipped = move |i: usize| i < 32 && mask & (1 << i) != 0;
        self.steps.iter().enumerate().filter(move |(i, _)| !skipped(*i)).map(|(_, f)| f)
    }

    /// Decodes the stored chunk in `s.data` in place. On success `s.data` holds exactly `chunk_bytes` bytes.
    pub fn decode(&self, s: &mut Scratch, mask: u32) -> Result<(), String> {
        let active: Vec<&FilterInfo> = self.active(mask).collect();
        for (k, f) in active.iter().enumerate().rev() {
            // What this step may produce: the chunk, plus checksums of filters applied before it, plus the slack of
            // compressors before it (rare: two compressors in a row).
            let before = &active[..k];
            let slack = |f: &&FilterInfo| match f.id {
                2 => 0,
                3 => 4,
                _ => self.chunk_bytes / 16 + 4096,
            };
            let most = self.chunk_bytes.saturating_add(before.iter().map(slack).sum::<usize>());
            self.undo(f, s, most).map_err(|e| format!("{}: {e}", f.name))?;
        }
        if s.data.len() != self.chunk_bytes {
            return Err(format!("the chunk decodes to {} bytes instead of {}", s.data.len(), self.chunk_bytes));
        }
        Ok(())
    }

    fn undo(&self, f: &FilterInfo, s: &mut Scratch, most: usize) -> Result<(), String> {
        let Scratch { data, spare } = s;
        let param = |i: usize| f.params.get(i).copied().unwrap_or(0) as usize;
        match f.id {
            2 => {
                let size = if param(0) == 0 { self.element } else { param(0) };
                if size < 2 {
                    return Ok(());
                }
                spare.resize(data.len(), 0);
                shuffle::unshuffle(data, spare, size);
            }
            3 => {
                codecs::verify_fletcher32(data)?;
                return Ok(());
            }
            1 => codecs::inflate(data, spare, most)?,
            307 => codecs::bunzip2(data, spare, most)?,
            32000 => codecs::lzf(data, spare, most)?,
            32001 => codecs::blosc(data, spare, most)?,
            32004 => codecs::lz4(data, spare, most)?,
            32015 => codecs::zstd(data, spare, most)?,
            32008 => {
                let size = if param(2) == 0 { self.element } else { param(2) };
                bitshuffle::decode(data, spare, size, param(3), param(4), most)?;
            }
            id => return Err(format!("no decoder for filter {id}")),
        }
        std::mem::swap(data, spare);
        Ok(())
    }
}
