//! The byte shuffle (filter 2): all first bytes, then all second bytes, … Bytes beyond whole elements stay at the end.

/// Undoes the shuffle of elements of `size` bytes; both slices have the same length.
pub(super) fn unshuffle(src: &[u8], dst: &mut [u8], size: usize) {
    match size {
        2 => planes::<2>(dst, src),
        4 => planes::<4>(dst, src),
        8 => planes::<8>(dst, src),
        _ => {
            let n = src.len() / size;
            for (i, e) in dst.chunks_exact_mut(size).enumerate() {
                for (j, b) in e.iter_mut().enumerate() {
                    *b = src[j * n + i];
                }
            }
            dst[n * size..].copy_from_slice(&src[n * size..]);
        }
    }
}

fn planes<const S: usize>(elements: &mut [u8], shuffled: &[u8]) {
    let n = shuffled.len() / S;
    let mut rest = shuffled;
    let rows: [&[u8]; S] = std::array::from_fn(|_| {
        let (row, tail) = rest.split_at(n);
        rest = tail;
        row
    });
    let (whole, tail) = elements.as_chunks_mut::<S>();
    let rows = rows.map(|r| &r[..whole.len()]); // so that the loop needs no bounds checks and becomes vector code
    for (i, e) in whole.iter_mut().enumerate() {
        for j in 0..S {
            e[j] = rows[j][i];
        }
    }
    tail.copy_from_slice(rest);
}

/// Shuffles for writing.
pub(crate) fn shuffle(src: &[u8], dst: &mut [u8], size: usize) {
    let n = src.len() / size;
    for j in 0..size {
        for (d, e) in dst[j * n..(j + 1) * n].iter_mut().zip(src.chunks_exact(size)) {
            *d = e[j];
        }
    }
    dst[n * size..].copy_from_slice(&src[n * size..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for size in [2usize, 3, 4, 7, 8, 16] {
            for len in [0usize, 1, 5, 64, 1001] {
                let src: Vec<u8> = (0..len).map(|i| (i * 37 + i / 11) as u8).collect();
                let (mut there, mut back) = (vec![0; len], vec![0; len]);
                shuffle(&src, &mut there, size);
                unshuffle(&there, &mut back, size);
                assert_eq!(src, back, "{size} {len}");
            }
        }
    }
}
