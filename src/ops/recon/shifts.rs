//! Movement of the sample from projection to projection, as a text file gives it: one column (horizontal) or two
//! (horizontal, vertical), pixels, positive towards higher columns and rows, as PyHST2's `AXIS_CORRECTION_FILE`.
//!
//! The horizontal part is geometry (the axis of projection k lies `horizontal_px[k]` further). The vertical part moves
//! rows: slice z is made of row `z + vertical_px[k]` ([`super::gather`]).

use serde::{Deserialize, Serialize};
use std::path::Path;
use tomokit_formats::{Error, Result};

/// Largest movement taken seriously, pixels.
const MOST_PX: f64 = 1e5;

/// One entry per projection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shifts {
    /// Along the columns.
    pub horizontal_px: Vec<f64>,
    /// Along the rows, where given.
    pub vertical_px: Option<Vec<f64>>,
}

impl Shifts {
    /// Reads a file: one line per projection, one or two numbers; `#` starts a comment.
    pub fn read(path: &Path) -> Result<Shifts> {
        Shifts::parse(&tomokit_formats::io::read_small_text(path, 64 << 20)?).map_err(|e| e.path(path))
    }

    fn parse(text: &str) -> Result<Shifts> {
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for (i, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split([' ', '\t', ',', ';']).map(str::trim).filter(|w| !w.is_empty()).collect();
            if words.is_empty() {
                continue;
            }
            let bad = |what: &str| Error::caller(format!("line {} holds {what}", i + 1)).found(line.trim());
            let numbers: Option<Vec<f64>> = words.iter().map(|w| w.parse::<f64>().ok()).collect();
            let numbers = numbers
                .filter(|v| v.iter().all(|n| n.abs() <= MOST_PX))
                .ok_or_else(|| bad("no usable shift").expected("one or two numbers, pixels"))?;
            match numbers.as_slice() {
                [h] if y.is_empty() => x.push(*h),
                [h, v] if y.len() == x.len() => {
                    x.push(*h);
                    y.push(*v);
                }
                _ => {
                    return Err(bad("another number of columns than the lines before")
                        .expected("one column (horizontal) or two (horizontal, vertical) throughout"));
                }
            }
        }
        let moved = y.iter().any(|v| *v != 0.0);
        Ok(Shifts { horizontal_px: x, vertical_px: moved.then_some(y) })
    }

    /// One shift per projection.
    ///
    /// # Errors
    /// `Caller` where there are more or fewer.
    pub fn check(&self, projections: usize) -> Result<()> {
        if self.horizontal_px.len() == projections {
            return Ok(());
        }
        Err(Error::caller("there must be one shift per projection")
            .expected(format!("{projections} lines"))
            .found(self.horizontal_px.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_and_refused() {
        let s = Shifts::parse("# x y\n0.5 -1\n\n-2,0.25 # comment\n").unwrap();
        assert_eq!((s.horizontal_px.as_slice(), s.vertical_px.as_deref()), (&[0.5, -2.0][..], Some(&[-1.0, 0.25][..])));
        assert_eq!(Shifts::parse("1\n2\n").unwrap().vertical_px, None);
        assert_eq!(Shifts::parse("1 0\n2 0\n").unwrap().vertical_px, None, "no movement costs nothing");
        for bad in ["1\n1 2\n", "1 2\n1\n", "1 2 3\n", "a\n", "nan\n", "1e9\n"] {
            assert!(Shifts::parse(bad).is_err(), "{bad}");
        }
        assert!(s.check(2).is_ok() && s.check(3).is_err());
    }
}
