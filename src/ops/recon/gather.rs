//! How the row of a slice is made of detector rows: where a projection was moved up or down, the camera stood askew, or
//! several detector rows make one slice. Streams: a band of slices needs a few detector rows beyond its ends.
//!
//! Everything is done to −log values. Vertical movement alone is interpolated linearly between two rows. A turned camera
//! is turned back by cubic interpolation (Keys, IEEE Trans. ASSP 29, 1981: four points, exact for parabolas), along the
//! columns first, then along the row. Beyond the detector its edge is repeated.

use super::shifts::Shifts;
use tomokit_formats::{Error, Result};

/// Largest tilt taken seriously, degrees.
const MOST_DEG: f64 = 20.0;

/// The rotation axis as the camera sees it.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Tilt {
    sin: f64,
    cos: f64,
    tan: f64,
    /// Where axis and slices meet: column of the axis, middle row.
    axis_px: f64,
    middle: f64,
}

/// What rows are made of.
#[derive(Clone, PartialEq, Debug)]
pub struct Gather {
    bin: usize,
    tilt: Option<Tilt>,
    vertical_px: Option<Vec<f64>>,
    /// Detector rows and columns.
    all: usize,
    cols: usize,
}

/// Working space of [`Gather::rows_of`].
#[derive(Default)]
pub struct Lines {
    line: Vec<f32>,
    row: Vec<f32>,
}

impl Gather {
    /// `None` where a slice is one detector row as it is. `tilt_deg`: how far the axis leans towards higher columns on
    /// its way to higher rows; the axis is at column `axis_px` in the middle row of the detector.
    ///
    /// # Errors
    /// A tilt that is no number or too large; voxels taller than the detector.
    pub fn new(
        bin: usize,
        tilt_deg: f64,
        axis_px: f64,
        shifts: Option<&Shifts>,
        (all, cols): (usize, usize),
    ) -> Result<Option<Gather>> {
        if tilt_deg.is_nan() || tilt_deg.abs() > MOST_DEG {
            return Err(Error::caller("the tilt of the camera is out of range")
                .expected(format!("-{MOST_DEG} to {MOST_DEG} degrees"))
                .found(tilt_deg)
                .hint("turn the images by right angles first if they lie on their side"));
        }
        if bin == 0 || bin > all {
            return Err(Error::caller("the detector has too few rows for voxels of this size")
                .expected(format!("--bin between 1 and {all}"))
                .found(bin));
        }
        let t = tilt_deg.to_radians();
        let tilt = (t != 0.0).then(|| Tilt {
            sin: t.sin(),
            cos: t.cos(),
            tan: t.tan(),
            axis_px,
            middle: (all as f64 - 1.0) / 2.0,
        });
        let vertical_px = shifts.and_then(|s| s.vertical_px.clone());
        if bin == 1 && tilt.is_none() && vertical_px.is_none() {
            return Ok(None);
        }
        Ok(Some(Gather { bin, tilt, vertical_px, all, cols }))
    }

    /// Least and largest vertical movement.
    fn moved(&self) -> (f64, f64) {
        let v = self.vertical_px.iter().flatten();
        v.fold(None, |r: Option<(f64, f64)>, v| Some(r.map_or((*v, *v), |(a, b)| (a.min(*v), b.max(*v)))))
            .unwrap_or((0.0, 0.0))
    }

    /// First and last detector position that the slice whose first row is `row` needs, not cut to the detector.
    fn span(&self, row: usize) -> (f64, f64) {
        let (low, high) = self.moved();
        let (from, to) = (row as f64 + low, (row + self.bin - 1) as f64 + high);
        let Some(t) = &self.tilt else { return (from.floor(), to.ceil()) };
        // Rows along the line at the first and the last column, and one more on each side for the interpolation.
        let at = |r: f64, x: f64| t.middle + (r - t.middle) / t.cos - (x - t.axis_px) * t.tan;
        let ends = [0.0, self.cols as f64 - 1.0];
        let low = ends.iter().map(|x| at(from, *x)).fold(f64::INFINITY, f64::min);
        let high = ends.iter().map(|x| at(to, *x)).fold(f64::NEG_INFINITY, f64::max);
        (low.floor() - 1.0, high.ceil() + 1.0)
    }

    /// Detector rows that slices beginning with these rows are made of, ascending.
    pub fn rows_for(&self, rows: &[usize]) -> Vec<usize> {
        let last = self.all as f64 - 1.0;
        let mut needed: Vec<usize> = Vec::new();
        for r in rows {
            let (a, b) = self.span(*r);
            let (a, b) = (a.clamp(0.0, last) as usize, b.clamp(0.0, last) as usize);
            // Rows ascend, so what is below the last one taken is there already.
            let a = needed.last().map_or(a, |n| a.max(n + 1));
            needed.extend(a..=b);
        }
        needed
    }

    /// What a band of slices needs: rows beyond its ends, and rows for every slice of it.
    pub fn margin(&self, rows: &[usize]) -> (usize, usize) {
        let reach = |r: &usize| {
            let (a, b) = self.span(*r);
            ((b - a) as usize + 1).saturating_sub(self.bin)
        };
        let reach = rows.iter().map(reach).max().unwrap_or(0);
        let gaps = rows.windows(2).any(|w| w[1] > w[0] + self.bin);
        if gaps { (0, reach + self.bin) } else { (reach, self.bin) }
    }

    /// Makes the slices' rows of projection `k`: `from` is `[fetched row][column]`, `out` `[slice][column]`.
    pub fn rows_of(&self, k: usize, rows: &[usize], fetched: &[usize], from: &[f32], out: &mut [f32], l: &mut Lines) {
        let (cols, last) = (self.cols, self.all as f64 - 1.0);
        let shift = self.vertical_px.as_ref().map_or(0.0, |v| v[k]);
        // Fetched rows are few runs of neighbours: the place of the last one asked for is near that of the next.
        let line = |n: f64| {
            let i = fetched.partition_point(|f| (*f as f64) < n).min(fetched.len() - 1);
            &from[i * cols..][..cols]
        };
        for (r, out) in rows.iter().zip(out.chunks_exact_mut(cols.max(1))) {
            for i in 0..self.bin {
                let at = (r + i) as f64 + shift;
                let made: &[f32] = match &self.tilt {
                    Some(t) => {
                        t.row(at, last, &line, l);
                        &l.row
                    }
                    None => {
                        let at = at.clamp(0.0, last);
                        let w = (at - at.floor()) as f32;
                        let (a, b) = (line(at.floor()), line(at.ceil()));
                        if w == 0.0 {
                            a
                        } else {
                            l.row.clear();
                            l.row.extend(a.iter().zip(b).map(|(a, b)| *a + (*b - *a) * w));
                            &l.row
                        }
                    }
                };
                if i == 0 {
                    out.copy_from_slice(made);
                } else {
                    out.iter_mut().zip(made).for_each(|(o, v)| *o += v);
                }
            }
            if self.bin > 1 {
                let f = 1.0 / self.bin as f32;
                out.iter_mut().for_each(|o| *o *= f);
            }
        }
    }

    /// Projections whose rows for these slices lie beyond the detector, counted per detector row and projection.
    pub fn beyond(&self, rows: &[usize]) -> u64 {
        let last = self.all as f64 - 1.0;
        let outside = |v: f64| {
            let lies =
                |r: &usize| (0..self.bin).filter(|i| !(0.0..=last).contains(&((r + i) as f64 + v))).count() as u64;
            rows.iter().map(lies).sum::<u64>()
        };
        self.vertical_px.iter().flatten().map(|v| outside(*v)).sum()
    }
}

/// Weights of four neighbours for a point `f` beyond the second of them.
fn keys(f: f32) -> [f32; 4] {
    let g = 1.0 - f;
    [-0.5 * f * g * g, 1.0 + f * f * (1.5 * f - 2.5), 1.0 + g * g * (1.5 * g - 2.5), -0.5 * g * f * f]
}

impl Tilt {
    /// The row at height `at` (measured along the axis, detector rows) to `l.row`.
    fn row<'a>(&self, at: f64, last: f64, line: &impl Fn(f64) -> &'a [f32], l: &mut Lines) {
        let h = at - self.middle;
        let cols = line(0.0).len();
        l.line.resize(cols, 0.0);
        l.row.resize(cols, 0.0);
        // Along the line, at whole columns: the same four rows for as long as its whole part stays.
        let y = |x: usize| self.middle + h / self.cos - (x as f64 - self.axis_px) * self.tan;
        let mut x = 0;
        while x < cols {
            let base = y(x).floor();
            let mut end = x + 1;
            while end < cols && y(end).floor() == base {
                end += 1;
            }
            let rows = [-1.0, 0.0, 1.0, 2.0].map(|d| line((base + d).clamp(0.0, last)));
            for (c, o) in l.line.iter_mut().enumerate().take(end).skip(x) {
                let w = keys((y(c) - base) as f32);
                *o = w.iter().zip(&rows).map(|(w, row)| w * row[c]).sum();
            }
            x = end;
        }
        // And at the places of the columns of a straight row.
        let start = self.axis_px + h * self.sin - self.axis_px * self.cos;
        let end = cols as i64 - 1;
        for (u, o) in l.row.iter_mut().enumerate() {
            let p = start + u as f64 * self.cos;
            let base = p.floor();
            let (w, i) = (keys((p - base) as f32), base as i64);
            *o = if i >= 1 && i + 2 <= end {
                let v = &l.line[i as usize - 1..i as usize + 3];
                w[0] * v[0] + w[1] * v[1] + w[2] * v[2] + w[3] * v[3]
            } else {
                (0..4).map(|d| w[d as usize] * l.line[(i - 1 + d).clamp(0, end) as usize]).sum()
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shifts(v: &[f64]) -> Shifts {
        Shifts { horizontal_px: vec![0.0; v.len()], vertical_px: Some(v.to_vec()) }
    }

    /// Rows of a projection by value, from the rows that were asked for and no others.
    fn made(g: &Gather, k: usize, rows: &[usize], value: &dyn Fn(f64, f64) -> f64) -> Vec<f32> {
        let fetched = g.rows_for(rows);
        assert!(fetched.windows(2).all(|w| w[0] < w[1]) && *fetched.last().unwrap() < g.all);
        let from: Vec<f32> =
            fetched.iter().flat_map(|r| (0..g.cols).map(|c| value(c as f64, *r as f64) as f32)).collect();
        let mut out = vec![0f32; rows.len() * g.cols];
        g.rows_of(k, rows, &fetched, &from, &mut out, &mut Lines::default());
        out
    }

    #[test]
    fn rows_are_interpolated_and_repeated_at_the_edges() {
        let g = Gather::new(1, 0.0, 0.0, Some(&shifts(&[0.25, -1.5, 2.0])), (20, 2)).unwrap().unwrap();
        assert_eq!(g.rows_for(&[4, 5]), [2, 3, 4, 5, 6, 7]);
        let g = Gather { all: 10, ..g };
        assert_eq!(g.rows_for(&[0, 9]), [0, 1, 2, 7, 8, 9]);
        assert_eq!(g.beyond(&[0, 9]), 3, "0 − 1.5, 9 + 0.25 and 9 + 2");
        assert_eq!((g.margin(&[4, 5]), g.margin(&[4, 9])), ((4, 1), (0, 5)));
        for (k, want) in [(0, [4.25, 9.0]), (1, [2.5, 7.5]), (2, [6.0, 9.0])] {
            let out = made(&g, k, &[4, 9], &|_, r| r);
            assert_eq!(out, [want[0], want[0], want[1], want[1]], "projection {k}");
        }
        assert_eq!(Gather::new(1, 0.0, 3.0, None, (5, 5)).unwrap(), None);
    }

    #[test]
    fn several_rows_make_one() {
        let g = Gather::new(3, 0.0, 0.0, None, (20, 2)).unwrap().unwrap();
        assert_eq!(g.rows_for(&[3, 6]), [3, 4, 5, 6, 7, 8]);
        assert_eq!((g.margin(&[3, 6]), g.margin(&[3, 9])), ((0, 3), (0, 3)));
        assert_eq!(made(&g, 0, &[3, 12], &|c, r| r + 100.0 * c), [4.0, 104.0, 13.0, 113.0]);
        assert!(Gather::new(0, 0.0, 0.0, None, (20, 2)).is_err() && Gather::new(21, 0.0, 0.0, None, (20, 2)).is_err());
    }

    #[test]
    fn a_turned_image_is_turned_back() {
        let (all, cols, axis, middle) = (61, 80, 33.3, 30.0);
        for deg in [1.7, -3.0] {
            let (sin, cos) = f64::to_radians(deg).sin_cos();
            // A paraboloid in the sample's own coordinates: s along the slice, h along the axis.
            let own = |s: f64, h: f64| 3.0 + 0.1 * s - 0.2 * h + 0.004 * s * s - 0.003 * s * h + 0.005 * h * h;
            let camera = |c: f64, r: f64| {
                let (x, y) = (c - axis, r - middle);
                own(x * cos - y * sin, x * sin + y * cos)
            };
            let g = Gather::new(1, deg, axis, None, (all, cols)).unwrap().unwrap();
            let rows = [20, 21, 22, 40];
            let out = made(&g, 0, &rows, &camera);
            let mut seen = 0;
            for (r, line) in rows.iter().zip(out.chunks(cols)) {
                for (u, v) in line.iter().enumerate().take(cols - 5).skip(5) {
                    let want = own(u as f64 - axis, *r as f64 - middle);
                    assert!((f64::from(*v) - want).abs() < 1e-4, "{deg}°, row {r}, column {u}: {v} {want}");
                    seen += 1;
                }
            }
            assert_eq!(seen, 4 * (cols - 10));
            // Bands change nothing.
            assert_eq!(out[cols..2 * cols], made(&g, 0, &[21], &camera));
        }
        assert!(
            Gather::new(1, 45.0, 0.0, None, (9, 9)).is_err() && Gather::new(1, f64::NAN, 0.0, None, (9, 9)).is_err()
        );
    }
}
