//! How much memory a run may take. Plans divide it into buffers; nothing is sized by the volume.

use sysinfo::{MemoryRefreshKind, RefreshKind, System};
use tomokit_formats::{Error, FrameSource, Result, Shape};

/// A memory budget in bytes for everything a run allocates besides the program itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Bytes.
    pub bytes: u64,
}

impl Budget {
    /// Half of the memory that is free now, seen through container limits where there are any; at least 64 MiB.
    pub fn of_this_machine() -> Budget {
        Budget { bytes: (free_memory() / 2).max(64 << 20) }
    }

    /// Reads `1G`, `512M`, `1.5GiB`, `2e9` or `25%` (of free memory).
    pub fn parse(text: &str) -> Result<Budget> {
        let bytes = match text.trim().strip_suffix('%') {
            Some(p) => {
                let p: f64 = p.trim().parse().map_err(|_| bad(text))?;
                if !(p > 0.0 && p <= 100.0) {
                    return Err(bad(text));
                }
                (free_memory() as f64 * p / 100.0) as u64
            }
            None => parse_bytes(text).map_err(|_| bad(text))?,
        };
        if bytes < 16 << 20 {
            return Err(Error::caller("a memory budget below 16M is too small to work in").found(text));
        }
        Ok(Budget { bytes })
    }

    /// Bytes for one of several buffers: `share` of the budget, between 1 and the address space.
    pub fn share(&self, share: f64) -> usize {
        ((self.bytes as f64 * share) as usize).max(1)
    }

    /// Refuses a source of which a piece that can only be unpacked as a whole (a chunk, a compressed strip) does not fit: it
    /// is in memory packed, unpacked, and in order.
    ///
    /// # Errors
    /// `Limit`.
    pub fn refuse_unit(&self, source: &dyn FrameSource) -> Result<()> {
        let need = unpacking(source, 1);
        if need > self.bytes {
            return Err(Error::limit("one chunk of the file does not fit the memory budget")
                .expected(format!("at most {} bytes", self.bytes / COPIES))
                .found(format!("{} bytes", need / COPIES))
                .hint("raise --memory"));
        }
        Ok(())
    }

    /// What is left while so many bytes are taken.
    pub fn less(&self, taken: u64) -> Budget {
        Budget { bytes: self.bytes.saturating_sub(taken) }
    }

    /// Refuses to draw a frame that does not fit: two of them in 64 bits, their difference and the picture.
    ///
    /// # Errors
    /// `Limit`.
    pub fn refuse_picture(&self, frame: Shape) -> Result<()> {
        let need = frame.frame_len() as u64 * 24;
        if need > self.bytes {
            return Err(Error::limit("a picture of one frame does not fit the memory budget")
                .expected(format!("at most {} bytes", self.bytes))
                .found(format!("{need} bytes"))
                .hint("raise --memory"));
        }
        Ok(())
    }

    /// How many units of `unit_bytes` fit into `share` of the budget, at least one, at most `max`.
    pub fn units(&self, share: f64, unit_bytes: usize, max: usize) -> usize {
        (self.share(share) / unit_bytes.max(1)).clamp(1, max.max(1))
    }
}

/// How often a piece is in memory while it is unpacked: packed, unpacked, and in order.
const COPIES: u64 = 3;

/// Most bytes in memory while so many threads unpack pieces of a source; 0 where nothing is packed.
pub fn unpacking(source: &dyn FrameSource, threads: usize) -> u64 {
    let (access, shape) = (source.access(), source.shape());
    if !access.decoded {
        return 0;
    }
    let along = |unit: usize, all: usize| (unit.clamp(1, all.max(1)), all.div_ceil(unit.max(1)));
    let edges = [
        along(access.unit.frames, shape.frames),
        along(access.unit.rows, shape.rows),
        along(access.unit.cols, shape.cols),
    ];
    let values = edges.iter().fold(source.dtype().size() as u64, |n, e| n.saturating_mul(e.0 as u64));
    let pieces = edges.iter().fold(1usize, |n, e| n.saturating_mul(e.1));
    values.saturating_mul(COPIES).saturating_mul(threads.min(pieces).max(1) as u64)
}

fn bad(text: &str) -> Error {
    Error::caller("cannot read this amount of memory").found(text).hint("write for example 4G, 800M or 25%")
}

fn bad_size(text: &str) -> Error {
    Error::caller("no size, such as 4G or 800M").found(text)
}

/// Reads a number of bytes: plain, or with K, M, G, T (powers of 1024; an optional `iB` or `B` may follow).
pub fn parse_bytes(text: &str) -> Result<u64> {
    let t = text.trim().to_ascii_lowercase();
    let t = t.strip_suffix("ib").or_else(|| t.strip_suffix('b')).unwrap_or(&t);
    let (number, shift) = match t.chars().last() {
        Some('k') => (&t[..t.len() - 1], 10),
        Some('m') => (&t[..t.len() - 1], 20),
        Some('g') => (&t[..t.len() - 1], 30),
        Some('t') => (&t[..t.len() - 1], 40),
        _ => (t, 0),
    };
    let n: f64 = number.trim().parse().map_err(|_| bad_size(text))?;
    let bytes = n * (1u64 << shift) as f64;
    if !(0.0..1e18).contains(&bytes) {
        return Err(bad_size(text));
    }
    Ok(bytes as u64)
}

fn free_memory() -> u64 {
    let what = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    // A system that tells nothing gets a figure that any machine of today has free.
    let Ok(s) = System::new_with_specifics(what) else { return 1 << 30 };
    let free = s.available_memory();
    match s.cgroup_limits() {
        Some(c) if c.total_memory > 0 => free.min(c.free_memory),
        _ => free,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        for (t, n) in [("1G", 1 << 30), ("512M", 512 << 20), ("1.5GiB", 3 << 29), ("4096", 4096), ("2kb", 2048)] {
            assert_eq!(parse_bytes(t).unwrap(), n, "{t}");
        }
        for t in ["", "G", "-1G", "1e30", "many"] {
            assert!(parse_bytes(t).is_err(), "{t}");
        }
        assert!(Budget::parse("1M").is_err());
        assert!(Budget::parse("0%").is_err());
        assert!(Budget::of_this_machine().bytes >= 64 << 20);
    }
}
