//! The volume doctor's first question, asked while slices are still in memory: is a slice all zero, is a voxel not a
//! number?

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Slices that cannot be right.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BadSlices {
    /// Slices looked at.
    pub checked: usize,
    /// Slices in which every voxel is exactly zero, numbers in the volume, 0-based.
    pub zero: Vec<usize>,
    /// Slices with voxels that are not finite, and how many.
    pub not_finite: Vec<(usize, u64)>,
}

impl BadSlices {
    /// Looks at whole slices, the first of which has number `first`.
    pub fn look(&mut self, first: usize, slices: &[f32], slice_len: usize) {
        let seen: Vec<(bool, u64)> = slices
            .par_chunks_exact(slice_len.max(1))
            .map(|s| (s.iter().all(|v| *v == 0.0), s.iter().filter(|v| !v.is_finite()).count() as u64))
            .collect();
        self.checked += seen.len();
        for (i, (zero, bad)) in seen.into_iter().enumerate() {
            if zero {
                self.zero.push(first + i);
            }
            if bad > 0 {
                self.not_finite.push((first + i, bad));
            }
        }
    }

    /// What is known of the slices below `end`, `checked` of them.
    pub fn below(mut self, end: usize, checked: usize) -> BadSlices {
        self.zero.retain(|z| *z < end);
        self.not_finite.retain(|s| s.0 < end);
        BadSlices { checked, ..self }
    }

    /// Takes in what is known of other slices.
    pub fn add(&mut self, other: BadSlices) {
        self.checked += other.checked;
        self.zero.extend(other.zero);
        self.not_finite.extend(other.not_finite);
        self.zero.sort_unstable();
        self.not_finite.sort_unstable();
    }

    /// No slice is bad.
    pub fn good(&self) -> bool {
        self.zero.is_empty() && self.not_finite.is_empty()
    }

    /// Voxels that are not finite.
    pub fn bad_voxels(&self) -> u64 {
        self.not_finite.iter().map(|s| s.1).sum()
    }

    /// One sentence per kind.
    pub fn describe(&self) -> Vec<String> {
        let mut out = Vec::new();
        if !self.zero.is_empty() {
            out.push(format!("{} are entirely zero", slices(&self.zero)));
        }
        if !self.not_finite.is_empty() {
            let numbers: Vec<usize> = self.not_finite.iter().map(|s| s.0).collect();
            out.push(format!("{} voxels are not finite: {}", self.bad_voxels(), slices(&numbers)));
        }
        out
    }
}

/// `slices 3-7, 12` out of ascending numbers; long lists are cut.
pub(super) fn slices(numbers: &[usize]) -> String {
    let runs: Vec<String> = super::bands::runs(numbers)
        .map(|r| if r.len() == 1 { r.start.to_string() } else { format!("{}-{}", r.start, r.end - 1) })
        .collect();
    let shown = runs.len().min(10);
    let more = if shown < runs.len() { format!(" and more ({} slices)", numbers.len()) } else { String::new() };
    format!("slices {}{more}", runs[..shown].join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_slices_are_named() {
        let mut b = BadSlices::default();
        b.look(0, &[0.0, 1.0, 0.0, 0.0, -0.0, 0.0], 2);
        assert!(!b.good());
        b.look(3, &[f32::NAN, f32::INFINITY, 1.0, 2.0], 2);
        assert_eq!((b.checked, b.zero.as_slice(), b.not_finite.as_slice()), (5, &[1, 2][..], &[(3, 2)][..]));
        assert_eq!(b.describe(), ["slices 1-2 are entirely zero", "2 voxels are not finite: slices 3"]);
        let mut good = BadSlices::default();
        good.look(0, &[0.0, 1.0], 2);
        assert!(good.good() && good.describe().is_empty());
    }
}
