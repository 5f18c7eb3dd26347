//! Movement of the sample from projection to projection, as a text file gives it: one column (horizontal) or two
//! (horizontal, vertical), pixels, positive towards higher columns and rows, as PyHST2's `AXIS_CORRECTION_FILE`.
//!
//! The horizontal part is geometry (the axis of projection k lies `horizontal_px[k]` further). The vertical part moves
//! rows: slice z is made of row `z + vertical_px[k]`, interpolated linearly between the −log values of two rows. Beyond
//! the detector its first or last row is repeated; [`Shifts::beyond`] counts how often.

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

    /// Rows of the detector that `rows` are made of, ascending.
    pub fn rows_for(&self, rows: &[usize], all: usize) -> Vec<usize> {
        let Some(v) = &self.vertical_px else { return rows.to_vec() };
        let low = v.iter().fold(f64::INFINITY, |m, x| m.min(*x)).floor() as i64;
        let high = v.iter().fold(f64::NEG_INFINITY, |m, x| m.max(*x)).ceil() as i64;
        let last = all as i64 - 1;
        let mut needed = Vec::new();
        for r in rows {
            // Rows ascend, so what is below the last one taken is there already.
            let from = (*r as i64 + low).clamp(0, last);
            let to = (*r as i64 + high).clamp(0, last);
            let from = needed.last().map_or(from, |n: &usize| from.max(*n as i64 + 1));
            needed.extend((from..=to).map(|n| n as usize));
        }
        needed
    }

    /// What a band of the wanted rows needs: rows beyond its ends, and rows for every one of it (1 without gaps).
    pub fn margin(&self, rows: &[usize]) -> (usize, usize) {
        let Some(v) = &self.vertical_px else { return (0, 1) };
        let spread = |f: fn(f64, f64) -> f64| v.iter().copied().fold(v[0], f);
        let reach = (spread(f64::max).ceil() - spread(f64::min).floor()) as usize;
        if rows.windows(2).any(|w| w[1] > w[0] + 1) { (0, reach + 1) } else { (reach, 1) }
    }

    /// Pairs of row and projection that lie beyond the detector.
    pub fn beyond(&self, rows: &[usize], all: usize) -> u64 {
        let Some(v) = &self.vertical_px else { return 0 };
        let last = all as f64 - 1.0;
        let outside = |v: f64| rows.iter().filter(|r| !(0.0..=last).contains(&(**r as f64 + v))).count() as u64;
        v.iter().map(|v| outside(*v)).sum()
    }

    /// Makes the rows of projection `k` out of the fetched ones: `from` is `[fetched row][column]`, `out` `[row][column]`.
    pub fn rows_of(&self, k: usize, rows: &[usize], all: usize, fetched: &[usize], from: &[f32], out: &mut [f32]) {
        let shift = self.vertical_px.as_ref().map_or(0.0, |v| v[k]);
        let cols = from.len() / fetched.len().max(1);
        let line = |n: f64| {
            let i = fetched.partition_point(|f| (*f as f64) < n).min(fetched.len() - 1);
            &from[i * cols..][..cols]
        };
        for (r, out) in rows.iter().zip(out.chunks_exact_mut(cols.max(1))) {
            let at = (*r as f64 + shift).clamp(0.0, all as f64 - 1.0);
            let w = (at - at.floor()) as f32;
            let (a, b) = (line(at.floor()), line(at.ceil()));
            for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
                *o = if w == 0.0 { *a } else { *a + (*b - *a) * w };
            }
        }
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

    #[test]
    fn rows_are_interpolated_and_repeated_at_the_edges() {
        let s = Shifts { horizontal_px: vec![0.0; 3], vertical_px: Some(vec![0.25, -1.5, 2.0]) };
        assert_eq!(s.rows_for(&[4, 5], 20), [2, 3, 4, 5, 6, 7]);
        assert_eq!(s.rows_for(&[0, 9], 10), [0, 1, 2, 7, 8, 9]);
        assert_eq!(s.beyond(&[0, 9], 10), 3, "0 − 1.5, 9 + 0.25 and 9 + 2");
        let rows = [4, 9];
        let fetched = s.rows_for(&rows, 10);
        // The value of a pixel is its row.
        let from: Vec<f32> = fetched.iter().flat_map(|r| [*r as f32; 2]).collect();
        let mut out = [0f32; 4];
        for (k, want) in [(0, [4.25, 9.0]), (1, [2.5, 7.5]), (2, [6.0, 9.0])] {
            s.rows_of(k, &rows, 10, &fetched, &from, &mut out);
            assert_eq!(out, [want[0], want[0], want[1], want[1]], "projection {k}");
        }
    }
}
