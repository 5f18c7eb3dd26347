//! Decompression of one strip or tile, predictors, and unpacking of odd bit depths. Bytes in, bytes out; no files.
//!
//! Guarantees: never allocates more than the compressed bytes can possibly stand for, never pads what is missing.

use crate::ByteOrder;
use std::io::Read;

/// Compression schemes by number (TIFF 6.0, libtiff's list).
#[allow(missing_docs)]
pub mod scheme {
    pub const NONE: u16 = 1;
    pub const LZW: u16 = 5;
    pub const ADOBE_DEFLATE: u16 = 8;
    pub const PACKBITS: u16 = 32773;
    pub const DEFLATE: u16 = 32946;
    pub const ZSTD: u16 = 50000;
}

/// Name of a compression scheme.
pub fn scheme_name(scheme: u16) -> String {
    match scheme {
        scheme::NONE => "none",
        2 => "CCITT modified Huffman",
        3 => "CCITT fax group 3",
        4 => "CCITT fax group 4",
        scheme::LZW => "LZW",
        6 => "old-style JPEG",
        7 => "JPEG",
        scheme::ADOBE_DEFLATE => "deflate",
        32766 => "NeXT RLE",
        32771 => "CCITT RLE-W",
        scheme::PACKBITS => "PackBits",
        32809 => "ThunderScan",
        scheme::DEFLATE => "deflate (old number)",
        33003 | 33005 | 34712 => "JPEG 2000",
        34661 => "JBIG",
        34676 => "SGI log",
        34677 => "SGI log 24",
        34887 => "LERC",
        34925 => "LZMA",
        scheme::ZSTD => "zstd",
        50001 => "WebP",
        50002 | 52546 => "JPEG XL",
        n => return format!("unknown scheme {n}"),
    }
    .to_owned()
}

/// True where [`decompress`] knows the scheme.
pub fn is_supported(scheme: u16) -> bool {
    use scheme::*;
    matches!(scheme, NONE | LZW | ADOBE_DEFLATE | PACKBITS | DEFLATE | ZSTD)
}

/// Upper bound of what `src_len` compressed bytes can decode to, so that a header alone never causes an allocation.
pub fn most_bytes(scheme: u16, src_len: u64) -> u64 {
    let ratio = match scheme {
        scheme::NONE => return src_len,
        scheme::PACKBITS => 64,
        scheme::LZW => 3640,    // 4096-byte strings from 9-bit codes
        scheme::ZSTD => 43_700, // 128 KiB from a 3-byte RLE block
        _ => 1032,              // deflate: 258 bytes from 2 bits
    };
    src_len.saturating_mul(ratio).saturating_add(1024)
}

/// Decodes `src` to exactly `expect` bytes; more are ignored (padded last strips), fewer are an error.
pub fn decompress(scheme: u16, src: &[u8], expect: usize) -> Result<Vec<u8>, String> {
    if expect as u64 > most_bytes(scheme, src.len() as u64) {
        return Err(format!("{} compressed bytes cannot hold {expect}", src.len()));
    }
    let out = match scheme {
        scheme::NONE => src.get(..expect).unwrap_or(src).to_vec(),
        scheme::PACKBITS => packbits(src, expect),
        scheme::LZW => lzw(src, expect)?,
        scheme::ADOBE_DEFLATE | scheme::DEFLATE => deflate(src, expect)?,
        scheme::ZSTD => {
            let mut out = Vec::with_capacity(expect);
            let mut d = zstd::stream::read::Decoder::new(src).map_err(|e| e.to_string())?;
            d.by_ref().take(expect as u64).read_to_end(&mut out).map_err(|e| e.to_string())?;
            out
        }
        n => return Err(format!("compression {} is not supported", scheme_name(n))),
    };
    if out.len() < expect {
        return Err(format!("decoded {} bytes, {expect} expected", out.len()));
    }
    Ok(out)
}

fn packbits(src: &[u8], expect: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(expect);
    let mut rest = src;
    while let [head, tail @ ..] = rest {
        if out.len() >= expect {
            break;
        }
        match *head as i8 {
            -128 => rest = tail,
            n if n >= 0 => {
                let n = (n as usize + 1).min(tail.len());
                out.extend_from_slice(&tail[..n]);
                rest = &tail[n..];
            }
            n => {
                let [value, after @ ..] = tail else {
                    break;
                };
                out.resize(out.len() + (1 - isize::from(n)) as usize, *value);
                rest = after;
            }
        }
    }
    out.truncate(expect);
    out
}

fn lzw(src: &[u8], expect: usize) -> Result<Vec<u8>, String> {
    use weezl::{BitOrder, LzwStatus, decode::Decoder};
    // Writers before 1992 packed codes from the low bit (libtiff's "compat" LZW): a clear code then starts 00 x1.
    let old = matches!(src, [0, b, ..] if b & 1 == 1);
    let mut d = if old { Decoder::new(BitOrder::Lsb, 8) } else { Decoder::with_tiff_size_switch(BitOrder::Msb, 8) };
    let mut out = vec![0u8; expect];
    let (mut from, mut to) = (0, 0);
    while to < expect {
        let r = d.decode_bytes(&src[from..], &mut out[to..]);
        from += r.consumed_in;
        to += r.consumed_out;
        match r.status {
            Ok(LzwStatus::Ok) if r.consumed_in + r.consumed_out > 0 => {}
            Ok(_) => break,
            Err(e) => return Err(format!("{e} after {to} bytes")),
        }
    }
    out.truncate(to);
    Ok(out)
}

fn deflate(src: &[u8], expect: usize) -> Result<Vec<u8>, String> {
    let mut out = vec![0u8; expect];
    match libdeflater::Decompressor::new().zlib_decompress(src, &mut out) {
        Ok(n) => out.truncate(n),
        // More than expected (a padded last strip): the streaming decoder stops where we have enough.
        Err(libdeflater::DecompressionError::InsufficientSpace) => {
            flate2::read::ZlibDecoder::new(src).read_exact(&mut out).map_err(|e| e.to_string())?;
        }
        Err(e) => return Err(e.to_string()),
    }
    Ok(out)
}

/// Reverses the bits of every byte (FillOrder 2).
pub fn reverse_bits(bytes: &mut [u8]) {
    bytes.iter_mut().for_each(|b| *b = b.reverse_bits());
}

/// Unpacks `rows` rows of `n` values of `bits` (1 to 31) bits each, rows starting at whole bytes, most significant bit
/// first, into unsigned values of `size` bytes, native order.
pub fn unpack_bits(src: &[u8], rows: usize, n: usize, bits: u32, size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows * n * size);
    let row_bytes = (n * bits as usize).div_ceil(8);
    let mask = (1u64 << bits) - 1;
    for row in src.chunks_exact(row_bytes.max(1)).take(rows) {
        let (mut acc, mut have, mut bytes) = (0u64, 0u32, row.iter());
        for _ in 0..n {
            while have < bits {
                acc = (acc << 8) | u64::from(*bytes.next().unwrap_or(&0));
                have += 8;
            }
            have -= bits;
            let v = (acc >> have) & mask;
            match size {
                1 => out.push(v as u8),
                2 => out.extend_from_slice(&(v as u16).to_ne_bytes()),
                _ => out.extend_from_slice(&(v as u32).to_ne_bytes()),
            }
        }
    }
    out
}

/// Undoes the horizontal predictor in native-order rows of `n` pixels of `samples` values of `size` bytes; `bits` cuts
/// the sums of odd depths.
pub fn undo_horizontal(bytes: &mut [u8], n: usize, samples: usize, size: usize, bits: u32) {
    macro_rules! sum {
        ($t:ty) => {{
            let mask = if bits as usize == size * 8 { <$t>::MAX } else { ((1u64 << bits) - 1) as $t };
            let mut last = vec![0 as $t; samples];
            for row in bytes.chunks_exact_mut(n * samples * size) {
                last.fill(0);
                let values = row.as_chunks_mut::<{ size_of::<$t>() }>().0;
                if let [only] = &mut last[..] {
                    let mut sum = *only;
                    for v in values {
                        sum = sum.wrapping_add(<$t>::from_ne_bytes(*v)) & mask;
                        *v = sum.to_ne_bytes();
                    }
                    continue;
                }
                for pixel in values.chunks_exact_mut(samples) {
                    for (v, sum) in pixel.iter_mut().zip(&mut last) {
                        *sum = sum.wrapping_add(<$t>::from_ne_bytes(*v)) & mask;
                        *v = sum.to_ne_bytes();
                    }
                }
            }
        }};
    }
    if n == 0 || samples == 0 {
        return;
    }
    match size {
        1 => sum!(u8),
        2 => sum!(u16),
        4 => sum!(u32),
        _ => sum!(u64),
    }
}

/// Applies the horizontal predictor: the inverse of [`undo_horizontal`] for one sample per pixel and whole bytes.
pub fn apply_horizontal(bytes: &mut [u8], n: usize, size: usize) {
    macro_rules! diff {
        ($t:ty) => {
            for row in bytes.chunks_exact_mut((n * size).max(1)) {
                let mut last: $t = 0;
                for c in row.as_chunks_mut::<{ size_of::<$t>() }>().0 {
                    let v = <$t>::from_ne_bytes(*c);
                    *c = v.wrapping_sub(last).to_ne_bytes();
                    last = v;
                }
            }
        };
    }
    match size {
        1 => diff!(u8),
        2 => diff!(u16),
        4 => diff!(u32),
        _ => diff!(u64),
    }
}

/// Undoes the floating-point predictor (Adobe TIFF note 3): per row the bytes are stored by significance, most
/// significant first, and differenced. The result is in native order.
pub fn undo_float(bytes: &mut [u8], n: usize, samples: usize, size: usize) {
    match size {
        2 => undo_float_of::<2>(bytes, n * samples, samples),
        4 => undo_float_of::<4>(bytes, n * samples, samples),
        _ => undo_float_of::<8>(bytes, n * samples, samples),
    }
}

fn undo_float_of<const S: usize>(bytes: &mut [u8], values: usize, samples: usize) {
    if values == 0 {
        return;
    }
    let mut plain = vec![[0u8; S]; values];
    for row in bytes.chunks_exact_mut(values * S) {
        if samples == 1 {
            let mut sum = 0u8;
            for b in row.iter_mut() {
                sum = sum.wrapping_add(*b);
                *b = sum;
            }
        } else {
            for i in samples..row.len() {
                row[i] = row[i].wrapping_add(row[i - samples]);
            }
        }
        for (k, plane) in row.chunks_exact(values).enumerate() {
            let at = if ByteOrder::NATIVE == ByteOrder::Little { S - 1 - k } else { k };
            plain.iter_mut().zip(plane).for_each(|(v, b)| v[at] = *b);
        }
        row.copy_from_slice(plain.as_flattened());
    }
}

/// Applies the floating-point predictor to native-order rows: the inverse of [`undo_float`] for one sample.
pub fn apply_float(bytes: &mut [u8], n: usize, size: usize) {
    match size {
        2 => apply_float_of::<2>(bytes, n),
        4 => apply_float_of::<4>(bytes, n),
        _ => apply_float_of::<8>(bytes, n),
    }
}

fn apply_float_of<const S: usize>(bytes: &mut [u8], n: usize) {
    if n == 0 {
        return;
    }
    let mut sorted = vec![0u8; n * S];
    for row in bytes.chunks_exact_mut(n * S) {
        for (k, plane) in sorted.chunks_exact_mut(n).enumerate() {
            let at = if ByteOrder::NATIVE == ByteOrder::Little { S - 1 - k } else { k };
            plane.iter_mut().zip(row.as_chunks::<S>().0).for_each(|(b, v)| *b = v[at]);
        }
        let mut last = 0u8;
        for (out, b) in row.iter_mut().zip(&sorted) {
            *out = b.wrapping_sub(last);
            last = *b;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predictors_are_inverse() {
        let data: Vec<u8> = (0..3 * 8 * 8u32).map(|i| (i * i * 37 + i / 5) as u8).collect();
        for size in [1, 2, 4, 8] {
            let n = 8 * 8 / size;
            let mut b = data.clone();
            apply_horizontal(&mut b, n, size);
            assert_ne!(b, data);
            undo_horizontal(&mut b, n, 1, size, size as u32 * 8);
            assert_eq!(b, data);
            if size > 1 {
                apply_float(&mut b, n, size);
                assert_ne!(b, data);
                undo_float(&mut b, n, 1, size);
                assert_eq!(b, data);
            }
        }
    }

    #[test]
    fn packbits_follows_the_specification() {
        // The example of TIFF 6.0 section 9.
        let packed = [0xFE, 0xAA, 0x02, 0x80, 0x00, 0x2A, 0xFD, 0xAA, 0x03, 0x80, 0x00, 0x2A, 0x22, 0xF7, 0xAA];
        let plain = [
            0xAA, 0xAA, 0xAA, 0x80, 0x00, 0x2A, 0xAA, 0xAA, 0xAA, 0xAA, 0x80, 0x00, 0x2A, 0x22, 0xAA, 0xAA, 0xAA, 0xAA,
            0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA,
        ];
        assert_eq!(decompress(scheme::PACKBITS, &packed, 24).unwrap(), plain);
        assert!(decompress(scheme::PACKBITS, &packed, 25).is_err());
    }

    #[test]
    fn hostile_sizes_allocate_nothing() {
        for s in [scheme::NONE, scheme::LZW, scheme::DEFLATE, scheme::PACKBITS, scheme::ZSTD] {
            assert!(decompress(s, &[0x80, 1, 2], 1 << 40).is_err());
        }
    }

    #[test]
    fn twelve_bits_unpack() {
        assert_eq!(unpack_bits(&[0xAB, 0xCD, 0xEF], 1, 2, 12, 2), [0xABCu16, 0xDEF].map(u16::to_ne_bytes).concat());
        assert_eq!(unpack_bits(&[0b1010_0000, 0b0100_0000], 2, 3, 1, 1), [1, 0, 1, 0, 1, 0]);
    }
}
