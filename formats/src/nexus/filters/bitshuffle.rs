//! Bitshuffle (filter 32008, Eiger and bliss): bits of equal weight side by side, block by block, then none, LZ4 or zstd.
//!
//! Layout, from the filter's own source: compressed chunks start with their size (u64 big-endian) and the block size in
//! bytes (u32 big-endian); each block follows as u32 big-endian length and data. A block has `block` elements (0 = about
//! 8 KiB, a multiple of 8); the last may be shorter, cut to a multiple of 8 elements; elements beyond are stored as is.
//! Within a block the bit planes follow in order: byte 0 bit 0 of all elements, byte 0 bit 1, …

use super::shuffle::unshuffle;

/// Elements per block the filter chooses by itself.
fn default_block(size: usize) -> usize {
    (8192 / size.max(1) / 8 * 8).max(128)
}

/// Decodes a chunk of elements of `size` bytes; `block` in elements (0 = default), `code` 0 none, 2 LZ4, 3 zstd.
pub(super) fn decode(
    src: &[u8],
    dst: &mut Vec<u8>,
    size: usize,
    block: usize,
    code: usize,
    most: usize,
) -> Result<(), String> {
    if size == 0 || size > 1 << 16 {
        return Err(format!("element size {size}"));
    }
    let (total, block, mut at) = match code {
        0 => (src.len(), if block == 0 { default_block(size) } else { block }, 0),
        2 | 3 => {
            let head = src.get(..12).ok_or("the chunk is shorter than its header")?;
            let total = u64::from_be_bytes(head[..8].try_into().map_err(|_| "header")?);
            let bytes = u32::from_be_bytes(head[8..].try_into().map_err(|_| "header")?) as usize;
            let total = usize::try_from(total).ok().filter(|t| *t <= most);
            let block = if bytes == 0 { default_block(size) } else { bytes / size };
            (total.ok_or("the stored size does not fit the chunk")?, block, 12)
        }
        c => return Err(format!("unknown compression {c} inside bitshuffle")),
    };
    if block == 0 || block % 8 != 0 || block > 1 << 28 {
        return Err(format!("block of {block} elements"));
    }
    dst.resize(total, 0);
    let elements = total / size;
    let mut packed: Vec<u8> = Vec::new();
    let mut planes: Vec<u8> = Vec::new();
    let mut done = 0;
    let mut zstd = if code == 3 { Some(zstd::bulk::Decompressor::new().map_err(|e| e.to_string())?) } else { None };
    while elements - done >= 8 {
        let n = block.min((elements - done) / 8 * 8);
        let bytes = n * size;
        let shuffled: &[u8] = if code == 0 {
            let s = src.get(at..at + bytes).ok_or("the data end inside a block")?;
            at += bytes;
            s
        } else {
            let len = src.get(at..at + 4).ok_or("the data end before a block")?;
            let len = u32::from_be_bytes(len.try_into().map_err(|_| "length")?) as usize;
            at += 4;
            let body = src.get(at..at.saturating_add(len)).ok_or("the data end inside a block")?;
            at += len;
            packed.resize(bytes, 0);
            let got = match &mut zstd {
                Some(z) => z.decompress_to_buffer(body, packed.as_mut_slice()).map_err(|e| e.to_string())?,
                None => lz4_flex::block::decompress_into(body, &mut packed).map_err(|e| e.to_string())?,
            };
            if got != bytes {
                return Err(format!("a block decodes to {got} bytes instead of {bytes}"));
            }
            &packed
        };
        let out = &mut dst[done * size..(done + n) * size];
        if size == 1 {
            bits_to_bytes(shuffled, out);
        } else {
            planes.resize(bytes, 0);
            for (bits, plane) in shuffled.chunks_exact(n).zip(planes.chunks_exact_mut(n)) {
                bits_to_bytes(bits, plane);
            }
            unshuffle(&planes, out, size);
        }
        done += n;
    }
    let tail = &mut dst[done * size..];
    let stored = src.get(at..at.saturating_add(tail.len())).ok_or("the data end before the last elements")?;
    tail.copy_from_slice(stored);
    Ok(())
}

/// Eight bit planes of n/8 bytes each become n bytes: bit k of byte 8i+b is bit b of byte i of plane k.
fn bits_to_bytes(bits: &[u8], bytes: &mut [u8]) {
    let n = bytes.len() / 8;
    let mut rest = bits;
    let rows: [&[u8]; 8] = std::array::from_fn(|_| {
        let (row, tail) = rest.split_at(n);
        rest = tail;
        row
    });
    let words: [&[[u8; 8]]; 8] = rows.map(|r| r.as_chunks::<8>().0);
    let (blocks, tail) = bytes.as_chunks_mut::<64>();
    let blocks_len = blocks.len();
    let words = words.map(|w| &w[..blocks_len]);
    for (i, block) in blocks.iter_mut().enumerate() {
        let mut r: [u64; 8] = std::array::from_fn(|k| u64::from_le_bytes(words[k][i]));
        // Bits across words, in all eight byte lanes at once; then bytes across words.
        transpose(&mut r, 1, [0x5555_5555_5555_5555, 0x3333_3333_3333_3333, 0x0F0F_0F0F_0F0F_0F0F]);
        transpose(&mut r, 8, [0x00FF_00FF_00FF_00FF, 0x0000_FFFF_0000_FFFF, 0x0000_0000_FFFF_FFFF]);
        for (out, word) in block.as_chunks_mut::<8>().0.iter_mut().zip(r) {
            *out = word.to_le_bytes();
        }
    }
    for (i, out) in tail.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let mut r: [u64; 8] = std::array::from_fn(|k| u64::from(rows[k][blocks_len * 8 + i]));
        transpose(&mut r, 1, [0x55, 0x33, 0x0F]);
        *out = r.map(|v| v as u8);
    }
}

/// Transposes 8 × 8 fields of `unit` bits over eight words: field b of word k goes to field k of word b (Hacker's
/// Delight, 7-3: swap blocks of 1, 2 and 4 across the diagonal; `masks` pick the lower field of each pair).
#[inline(always)]
fn transpose(r: &mut [u64; 8], unit: u32, masks: [u64; 3]) {
    for (step, mask) in [1usize, 2, 4].into_iter().zip(masks) {
        for k in (0..8).filter(|k| k & step == 0) {
            let shift = unit * step as u32;
            let t = ((r[k] >> shift) ^ r[k + step]) & mask;
            r[k + step] ^= t;
            r[k] ^= t << shift;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, bit by bit.
    fn shuffled(src: &[u8], size: usize, block: usize) -> Vec<u8> {
        let (elements, mut done, mut out) = (src.len() / size, 0, Vec::new());
        while elements - done >= 8 {
            let n = block.min((elements - done) / 8 * 8);
            let part = &src[done * size..(done + n) * size];
            for byte in 0..size {
                for bit in 0..8 {
                    let mut row = vec![0u8; n / 8];
                    for e in 0..n {
                        row[e / 8] |= (part[e * size + byte] >> bit & 1) << (e % 8);
                    }
                    out.extend(row);
                }
            }
            done += n;
        }
        out.extend(&src[done * size..]);
        out
    }

    #[test]
    fn agrees_with_the_definition() {
        for size in [1usize, 2, 4, 8, 3] {
            for (n, block) in [(0usize, 8usize), (5, 8), (8, 8), (100, 16), (1000, 64), (5003, 0)] {
                let src: Vec<u8> = (0..n * size).map(|i| (i * 131 + i / 7) as u8).collect();
                let b = if block == 0 { default_block(size) } else { block };
                let mut out = Vec::new();
                decode(&shuffled(&src, size, b), &mut out, size, block, 0, src.len()).unwrap();
                assert_eq!(src, out, "{size} {n} {block}");
            }
        }
    }
}
