//! One function per compressor: `src` → `dst`, at most `most` bytes, errors in words.

/// HDF5's Fletcher-32 over big-endian 16-bit words.
fn fletcher32(data: &[u8]) -> u32 {
    let (mut a, mut b) = (0u32, 0u32);
    let (words, odd) = data.as_chunks::<2>();
    for block in words.chunks(360) {
        for w in block {
            a += u32::from(u16::from_be_bytes(*w));
            b += a;
        }
        a = (a & 0xFFFF) + (a >> 16);
        b = (b & 0xFFFF) + (b >> 16);
    }
    if let [last] = odd {
        a += u32::from(*last) << 8;
        b += a;
        a = (a & 0xFFFF) + (a >> 16);
        b = (b & 0xFFFF) + (b >> 16);
    }
    a = (a & 0xFFFF) + (a >> 16);
    b = (b & 0xFFFF) + (b >> 16);
    b << 16 | a
}

/// Checks and removes the four bytes at the end.
pub(super) fn verify_fletcher32(data: &mut Vec<u8>) -> Result<(), String> {
    let (body, tail) = data.split_last_chunk::<4>().ok_or("the chunk is shorter than its checksum")?;
    let stored = u32::from_le_bytes(*tail);
    let have = fletcher32(body);
    // HDF5 before 1.6.3 wrote the bytes of each half swapped; its readers accept both.
    let swapped = (have & 0xFF00_FF00) >> 8 | (have & 0x00FF_00FF) << 8;
    if stored != have && stored != swapped {
        return Err(format!("the checksum is wrong (stored {stored:08x}, computed {have:08x}): the data are damaged"));
    }
    let n = body.len();
    data.truncate(n);
    Ok(())
}

/// zlib stream.
pub(super) fn inflate(src: &[u8], dst: &mut Vec<u8>, most: usize) -> Result<(), String> {
    thread_local! {
        static DECODER: std::cell::RefCell<libdeflater::Decompressor> = libdeflater::Decompressor::new().into();
    }
    dst.resize(most, 0);
    let n = DECODER.with_borrow_mut(|d| d.zlib_decompress(src, dst)).map_err(|e| e.to_string())?;
    dst.truncate(n);
    Ok(())
}

/// bzip2 stream.
pub(super) fn bunzip2(src: &[u8], dst: &mut Vec<u8>, most: usize) -> Result<(), String> {
    use std::io::Read;
    dst.clear();
    let mut decoder = bzip2::read::BzDecoder::new(src).take(most as u64 + 1);
    decoder.read_to_end(dst).map_err(|e| e.to_string())?;
    if dst.len() > most { Err("more data than the chunk holds".into()) } else { Ok(()) }
}

/// h5py's LZF: a bare stream.
pub(super) fn lzf(src: &[u8], dst: &mut Vec<u8>, most: usize) -> Result<(), String> {
    *dst = lzf::decompress(src, most).map_err(|e| format!("{e:?}"))?;
    Ok(())
}

/// zstd frame.
pub(super) fn zstd(src: &[u8], dst: &mut Vec<u8>, most: usize) -> Result<(), String> {
    dst.resize(most, 0);
    let n = zstd::bulk::decompress_to_buffer(src, dst.as_mut_slice()).map_err(|e| e.to_string())?;
    dst.truncate(n);
    Ok(())
}

/// The HDF Group's LZ4 framing: u64 big-endian size, u32 big-endian block size, then per block a u32 big-endian length
/// and that many bytes; a length equal to the block's size means stored as is.
pub(super) fn lz4(src: &[u8], dst: &mut Vec<u8>, most: usize) -> Result<(), String> {
    let (head, mut rest) = src.split_first_chunk::<12>().ok_or("the chunk is shorter than its header")?;
    let total = u64::from_be_bytes([head[0], head[1], head[2], head[3], head[4], head[5], head[6], head[7]]);
    let block = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
    let total = usize::try_from(total).ok().filter(|t| *t <= most).ok_or("the stored size does not fit the chunk")?;
    if block == 0 && total > 0 {
        return Err("a block size of 0".into());
    }
    dst.resize(total, 0);
    for out in dst.chunks_mut(block.max(1)) {
        let (len, tail) = rest.split_first_chunk::<4>().ok_or("the data end before a block")?;
        let len = u32::from_be_bytes(*len) as usize;
        let body = tail.get(..len).ok_or("the data end inside a block")?;
        if len == out.len() {
            out.copy_from_slice(body);
        } else {
            let n = lz4_flex::block::decompress_into(body, out).map_err(|e| e.to_string())?;
            if n != out.len() {
                return Err(format!("a block decodes to {n} bytes instead of {}", out.len()));
            }
        }
        rest = &tail[len..];
    }
    Ok(())
}

/// Blosc 1 container, by its own C library.
pub(super) fn blosc(src: &[u8], dst: &mut Vec<u8>, most: usize) -> Result<(), String> {
    let mut n = 0usize;
    // SAFETY: the library reads at most `src.len()` bytes to validate the header.
    let valid = unsafe { blosc_src::blosc_cbuffer_validate(src.as_ptr().cast(), src.len(), &mut n) };
    if valid < 0 || n > most {
        return Err("the header does not fit the chunk".into());
    }
    dst.resize(n, 0);
    // SAFETY: `src` was validated to hold the compressed size its header states; `dst` has `n` bytes. The call uses its
    // own context and so may run in many threads.
    let got = unsafe { blosc_src::blosc_decompress_ctx(src.as_ptr().cast(), dst.as_mut_ptr().cast(), n, 1) };
    if usize::try_from(got) == Ok(n) { Ok(()) } else { Err(format!("cannot decompress (status {got})")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fletcher_is_verified_and_removed() {
        let mut d = b"abcde".to_vec();
        let sum = fletcher32(&d);
        d.extend(sum.to_le_bytes());
        let good = d.clone();
        verify_fletcher32(&mut d).unwrap();
        assert_eq!(d, b"abcde");
        for i in 0..good.len() {
            let mut bad = good.clone();
            bad[i] ^= 1;
            assert!(verify_fletcher32(&mut bad).is_err());
        }
    }

    #[test]
    fn garbage_is_an_error_never_a_panic() {
        type Codec = fn(&[u8], &mut Vec<u8>, usize) -> Result<(), String>;
        let codecs: [(&str, Codec); 6] =
            [("inflate", inflate), ("bzip2", bunzip2), ("lzf", lzf), ("zstd", zstd), ("lz4", lz4), ("blosc", blosc)];
        let mut seed = 1u32;
        for (name, codec) in codecs {
            for len in 0..200 {
                let junk: Vec<u8> = (0..len)
                    .map(|_| {
                        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (seed >> 24) as u8
                    })
                    .collect();
                let mut out = Vec::new();
                if codec(&junk, &mut out, 4096).is_ok() {
                    assert!(out.len() <= 4096, "{name}");
                }
            }
        }
    }
}
