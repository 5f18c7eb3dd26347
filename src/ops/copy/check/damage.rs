//! Where a file is damaged, as far as the record knows its blocks.

use crate::stream::Cancel;
use crate::trust::blocks::Known;
use crate::trust::readback::ReadBack;
use crate::trust::{Digest, Name, Root, one_line};
use serde::Serialize;
use std::fmt;
use tomokit_formats::{Fault, Result};

/// Where a file differs from its record.
#[derive(Clone, Debug, Serialize)]
pub struct Damage {
    /// The file.
    pub path: String,
    /// Stretches: first byte, and the one behind the last.
    pub bytes: Vec<(u64, u64)>,
    /// Bytes of one block: stretches are whole blocks.
    pub block_bytes: u64,
    /// Blocks that differ.
    pub blocks: u64,
    /// Blocks of the file.
    pub of: u64,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 6;
        for (i, (from, to)) in self.bytes.iter().take(SHOWN).enumerate() {
            write!(f, "{}{from} to {}", if i == 0 { "bytes " } else { ", " }, to - 1)?;
        }
        if self.bytes.len() > SHOWN {
            write!(f, " and {} more stretches", self.bytes.len() - SHOWN)?;
        }
        write!(f, " differ ({} of {} blocks of {} MiB)", self.blocks, self.of, self.block_bytes >> 20)
    }
}

/// Where a file differs from what the record knows of its blocks; `None` where it knows nothing, or the blocks agree.
pub(in crate::ops::copy) fn locate(
    root: &Root,
    back: &ReadBack,
    name: &Name,
    sha256: &Digest,
    cancel: &Cancel,
) -> Result<Option<Damage>> {
    let Some(known) = Known::of(root.path(), name, sha256)? else { return Ok(None) };
    let stretches = match back.differing(root, name, &known, cancel) {
        Err(e) if e.fault() != Fault::Interrupted => {
            log::warn!("{}", one_line(&e));
            return Ok(None);
        }
        r => r?,
    };
    Ok((!stretches.is_empty()).then(|| Damage {
        path: name.to_string(),
        blocks: stretches.iter().map(|s| (s.end - s.start).div_ceil(known.bytes)).sum(),
        bytes: stretches.iter().map(|s| (s.start, s.end)).collect(),
        block_bytes: known.bytes,
        of: known.crc32.len() as u64,
    }))
}
