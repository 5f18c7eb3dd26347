//! What a file name says about a headerless volume: `sand_200x200x100_uint8.raw`, `rat_256_256_80_u16be.raw`,
//! ImageJ's `_WxHxN` and `le.raw` / `be.raw`. Only a hint: the caller checks it against the length of the file.

use crate::{ByteOrder, DType, Shape};
use std::path::Path;

/// Hints found in a name.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NameHints {
    /// Columns × rows × slices; slices 1 where the name has two numbers.
    pub shape: Option<Shape>,
    /// Type.
    pub dtype: Option<DType>,
    /// Byte order.
    pub order: Option<ByteOrder>,
}

/// Reads the hints of a path's file name.
pub fn hints(path: &Path) -> NameHints {
    let name = path.file_name().map(|n| n.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let stem = name.rsplit_once('.').map_or(name.as_str(), |(s, _)| s);
    let words: Vec<&str> = stem.split(['_', '-', '.', ' ', '(', ')', ',']).filter(|w| !w.is_empty()).collect();
    let mut found = NameHints::default();
    for w in &words {
        let (word, order) = split_order(w);
        found.order = order.or(found.order);
        // Only names with a digit: "short" and "half" are ordinary words in file names.
        if word.bytes().any(|b| b.is_ascii_digit()) && !word.bytes().all(|b| b.is_ascii_digit()) {
            found.dtype = DType::parse(word).or(found.dtype);
        }
        found.shape = by_x(word).or(found.shape);
    }
    if found.shape.is_none() {
        // W_H_N: the last three whole numbers that follow each other.
        let numbers: Vec<Option<usize>> = words.iter().map(|w| number(w)).collect();
        found.shape = numbers.windows(3).rev().find_map(|w| Some(Shape::new(w[2]?, w[1]?, w[0]?)));
    }
    found
}

/// `u16be` → `u16`, big; `le` → ``, little; `marble` stays a word.
fn split_order(word: &str) -> (&str, Option<ByteOrder>) {
    for (ending, order) in [("le", ByteOrder::Little), ("be", ByteOrder::Big)] {
        if let Some(rest) = word.strip_suffix(ending)
            && !rest.ends_with(|c: char| c.is_alphabetic())
        {
            return (rest, Some(order));
        }
    }
    (word, None)
}

/// `200x200x100` or `200x100`.
fn by_x(word: &str) -> Option<Shape> {
    let parts: Vec<Option<usize>> = word.split('x').map(number).collect();
    match parts.as_slice() {
        [Some(w), Some(h)] => Some(Shape::new(1, *h, *w)),
        [Some(w), Some(h), Some(n)] => Some(Shape::new(*n, *h, *w)),
        _ => None,
    }
}

fn number(word: &str) -> Option<usize> {
    word.bytes().all(|b| b.is_ascii_digit()).then(|| word.parse().ok()).flatten().filter(|n| *n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_wild() {
        use ByteOrder::*;
        let s = |x, y, z| Some(Shape::new(z, y, x));
        for (name, shape, dtype, order) in [
            ("sand_200x210x100_uint8.raw", s(200, 210, 100), Some(DType::U8), None),
            ("steel_431x431x246_uint8_bin.raw", s(431, 431, 246), Some(DType::U8), None),
            ("a/b/rat_256_257_80_u16be.raw", s(256, 257, 80), Some(DType::U16), Some(Big)),
            ("x_640x480.raw", s(640, 480, 1), None, None),
            ("bone-512x512x10-float32-le.raw", s(512, 512, 10), Some(DType::F32), Some(Little)),
            ("marble.raw", None, None, None),
            ("x_16le.raw", None, None, Some(Little)),
            ("scan_0003.vol", None, None, None),
            ("x_99999999999999999999x2x2.raw", None, None, None),
            ("x_0x2x2.raw", None, None, None),
            ("x_16bit_10x11x12.raw", s(10, 11, 12), Some(DType::U16), None),
        ] {
            let h = hints(Path::new(name));
            assert_eq!((h.shape, h.dtype, h.order), (shape, dtype, order), "{name}");
        }
    }
}
