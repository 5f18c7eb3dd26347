//! What is normal for one volume, from a few slices spread over it: where its field ends, whether exact zeros occur
//! inside it, whether it is noise or drawing. The thresholds of all findings about zeros hang on these.
//!
//! Why samples: the zeros around a reconstructed field are legitimate (27 % of the voxels of a PyHST2 volume), and they
//! are the same in every slice. Fifteen slices tell them from blocks that were lost, which are not.

use super::kernel::{Bits, Frame, Look};

/// Slices looked at for this, at most.
pub const SAMPLES: usize = 15;
/// Of the neighbours along a row, this share is equal in drawings (phantoms, labels). Noise in 32 bits has none, in 8
/// bits with a standard deviation of one grey it has 28 %.
const FLAT: f64 = 0.9;
/// Where so little of the median sample is not zero, there are a few marks on nothing: labels, what a threshold left.
const SPARSE: f64 = 0.02;
/// Where the median sample holds more cells of zeros inside the field than this share, zero is a value like others.
const ZERO_IS_A_VALUE: f64 = 1e-3;
/// A sample with so many cells of zeros where others have none is one of those with zeros inside the field.
const UNUSUAL: usize = 8;

/// What the samples say.
#[derive(Clone, Debug)]
pub struct Normal {
    /// Cells that hold no zero in at least half of the samples (those that are not wholly zero).
    pub solid: Bits,
    /// Exact zeros do not occur inside the field: any cell of zeros there was lost.
    pub strict: bool,
    /// Cells of zeros are not usual inside the field, in few samples only: where they reach the first or the last slice, the
    /// sample ends there, or something was lost.
    pub rare: bool,
    /// Most neighbours are equal: no noise, so that equal slices and flat regions mean nothing.
    pub flat: bool,
    /// Next to nothing is not zero, so that slices without anything mean nothing either, nor in which order they come.
    pub sparse: bool,
    /// What is there is a full rectangle with zeros on all four sides: a box was put into a larger one, and may have been so
    /// at both ends, too.
    pub padded: bool,
    /// Median over the samples of the share of voxels that are not zero.
    pub filled: f64,
}

/// Numbers of the slices to sample: the ends are left out where there are enough, evenly spread.
pub fn sample_numbers(slices: usize) -> Vec<usize> {
    let n = slices.min(SAMPLES.min((slices / 8).max(5)));
    (0..n).map(|i| (2 * i + 1) * slices / (2 * n)).collect()
}

impl Normal {
    /// Learns from samples. `float`: the values are floating-point numbers.
    pub fn of(frame: &Frame, samples: &[Look], float: bool) -> Normal {
        let live: Vec<&Look> = samples.iter().filter(|l| !l.all_zero()).collect();
        let cells = frame.cells();
        let mut solid = Bits::new(cells);
        let mut inside = Bits::new(cells);
        for c in 0..cells {
            let n = live.iter().filter(|l| l.solid_cells.has(c)).count();
            if n > 0 && 2 * n >= live.len() {
                solid.set(c);
            }
            if live.iter().any(|l| !l.zero_cells.has(c)) {
                inside.set(c);
            }
        }
        let lost = |l: &&Look| {
            let n: u32 = l.zero_cells.words().iter().zip(inside.words()).map(|(z, i)| (z & i).count_ones()).sum();
            f64::from(n) / cells.max(1) as f64
        };
        let lower = |mut v: Vec<f64>| {
            v.sort_by(f64::total_cmp);
            // The lower one of two middles: of two samples one may be damaged.
            v.get(v.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
        };
        let median_lost = lower(live.iter().map(lost).collect());
        let equal = lower(live.iter().map(|l| l.equal as f64 / (l.voxels - l.zeros).max(1) as f64).collect());
        let filled = lower(live.iter().map(|l| 1.0 - l.zeros as f64 / l.voxels.max(1) as f64).collect());
        let sparse = filled < SPARSE && !live.is_empty();
        let flat = equal > FLAT || sparse;
        let padded = live.len() > 2 && is_inset(frame, &solid, &inside);
        let zero_in_field = |l: &&&Look| {
            let both = l.zero_cells.words().iter().zip(solid.words()).map(|(z, s)| (z & s).count_ones());
            both.sum::<u32>() as usize >= UNUSUAL
        };
        let rare = live.iter().filter(zero_in_field).count() * 4 <= live.len();
        Normal { solid, strict: float && !flat && median_lost <= ZERO_IS_A_VALUE, rare, flat, sparse, padded, filled }
    }
}

/// True where the solid cells are a full rectangle that reaches no edge of the slice, and nothing is outside it but in the
/// cells that its sides cut.
fn is_inset(frame: &Frame, solid: &Bits, inside: &Bits) -> bool {
    let per_row = frame.cells_per_row();
    let of_row = |bits: &Bits, y: usize| -> Option<(usize, usize, usize)> {
        let mut cells = (0..per_row).filter(|x| bits.has(y * per_row + x));
        let first = cells.next()?;
        let (n, last) = cells.fold((1, first), |(n, _), x| (n + 1, x));
        Some((first, last, n))
    };
    let mut rows = (0..frame.rows).filter_map(|y| of_row(solid, y).map(|r| (y, r)));
    let Some((top, side)) = rows.next() else { return false };
    let (first, last, n) = side;
    let (mut count, mut bottom) = (1, top);
    for (y, r) in rows {
        if r != side {
            return false;
        }
        (count, bottom) = (count + 1, y);
    }
    let is_full = n == last + 1 - first && count == bottom + 1 - top;
    let is_inner = top > 0 && bottom + 1 < frame.rows && first > 0 && last + 1 < per_row;
    let nothing_else = (0..frame.rows).all(|y| match of_row(inside, y) {
        None => true,
        Some((a, b, _)) => (top..=bottom).contains(&y) && a + 1 >= first && b <= last + 1,
    });
    is_full && is_inner && nothing_else
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_spread_and_distinct() {
        for n in [1, 2, 4, 5, 16, 100, 2048] {
            let s = sample_numbers(n);
            assert!(!s.is_empty() && s.len() <= SAMPLES && s.windows(2).all(|w| w[0] < w[1]) && s[s.len() - 1] < n);
        }
        assert_eq!(sample_numbers(2), [0, 1]);
        assert_eq!(sample_numbers(2048).len(), SAMPLES);
    }
}
