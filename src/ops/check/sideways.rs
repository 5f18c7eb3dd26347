//! Volumes cut sideways (`--axis y`): a round field of view seen from the side is as wide as a chord of its circle, and not
//! the same in every slice. What the other looks take for granted does not hold there; what the chord leaves out is no loss.

use super::normal::Normal;
use super::volume::SliceFacts;
use super::zeros::slices_word;
use super::{Finding, Kind, Weight, values};

/// Slices from which on a circle is recognised.
const LEAST: usize = 16;
/// Part of the slices that must lie on the circle.
const MOST: f64 = 0.9;

/// A round field seen from the side.
pub struct Sideways {
    /// What the field is, in words.
    field: &'static str,
    /// Slices with fewer values than their chord has room for.
    short: Vec<usize>,
}

/// Recognises a field that differs in width from slice to slice. In whole numbers and drawings zero is a value like others:
/// none is missed there.
pub fn of(slices: &[SliceFacts], rows: usize, normal: &Normal, float: bool) -> Option<Sideways> {
    // A slice of one value or of none says nothing of how wide the field is.
    let slices: Vec<&SliceFacts> = slices.iter().filter(|s| !s.constant() && s.nan + s.infinite == 0).collect();
    // Where most are of one width that is the field, and the others are something else.
    let mut widths: Vec<f64> = slices.iter().map(|s| (s.voxels - s.zeros) as f64 / rows.max(1) as f64).collect();
    widths.sort_by(f64::total_cmp);
    let usual = widths.get(widths.len() / 2).copied()?;
    let same = widths.iter().filter(|w| (*w - usual).abs() <= (0.02 * usual).max(4.0)).count();
    if same * 2 > widths.len() && usual > 0.0 && usual < 0.9 * widths[widths.len() - 1] {
        return None;
    }
    let found = round(&slices, rows).or_else(|| if normal.strict { cut_round(&slices, rows) } else { None })?;
    Some(Sideways { short: if float && !normal.flat { found.short } else { Vec::new() }, ..found })
}

/// Part of a round field, or one in a frame of its own: wider and wider, then narrower and narrower, in many steps.
fn cut_round(slices: &[&SliceFacts], rows: usize) -> Option<Sideways> {
    let widths: Vec<f64> = slices.iter().map(|s| (s.voxels - s.zeros) as f64 / rows.max(1) as f64).collect();
    let widest = widths.iter().copied().fold(0.0, f64::max);
    let near = (0.02 * widest).max(4.0);
    // The widest so far from either end: what a slice between them has at least.
    let so_far = |widths: &mut dyn Iterator<Item = &f64>| -> Vec<f64> {
        let wider = |most: &mut f64, w: &f64| {
            *most = most.max(*w);
            Some(*most)
        };
        widths.scan(0.0, wider).collect()
    };
    let (from_start, mut from_end) = (so_far(&mut widths.iter()), so_far(&mut widths.iter().rev()));
    from_end.reverse();
    let lost = |i: &usize| from_start[*i].min(from_end[*i]) - widths[*i] > near;
    let short: Vec<usize> = (0..widths.len()).filter(lost).collect();
    let between = widths.iter().filter(|w| **w > 0.05 * widest && **w < 0.95 * widest).count();
    let gradual = between >= 6 && between * 12 >= widths.len();
    let enough = widths.len() >= LEAST && widest >= 8.0 && gradual;
    let most = (widths.len() - short.len()) as f64 >= MOST * widths.len() as f64;
    let short = short.into_iter().map(|i| slices[i].z).collect();
    (enough && most).then_some(Sideways { field: "a field that widens and narrows from slice to slice", short })
}

/// Recognises the circle by the values other than 0 of each slice. For a circle of radius r about slice c, chords w obey
/// w² + 4z² = 4r² − 4c² + 8cz: a line over z.
fn round(slices: &[&SliceFacts], rows: usize) -> Option<Sideways> {
    let chords: Vec<(f64, f64)> =
        slices.iter().map(|s| (s.z as f64, (s.voxels - s.zeros) as f64 / rows.max(1) as f64)).collect();
    let widest = chords.iter().fold(0.0, |m: f64, c| m.max(c.1));
    let narrow = chords.iter().filter(|c| c.1 < 0.9 * widest).count();
    if chords.len() < LEAST || widest < 8.0 || narrow * 8 < chords.len() {
        return None;
    }
    // Both ends of a chord are rounded to whole voxels.
    let near = (8.0 * widest).max(0.01 * widest * widest);
    let mut used: Vec<(f64, f64)> = chords.iter().filter(|c| c.1 > 0.0).copied().collect();
    let mut line = fit(&used)?;
    for _ in 0..3 {
        let kept: Vec<(f64, f64)> =
            used.iter().filter(|c| (c.1 * c.1 - squared(line, c.0)).abs() <= near).copied().collect();
        if kept.len() < LEAST.max(used.len() / 2) {
            return None;
        }
        (line, used) = (fit(&kept)?, kept);
    }
    let on_it = |c: &&(f64, f64)| (c.1 * c.1 - squared(line, c.0).max(0.0)).abs() <= near;
    if (chords.iter().filter(on_it).count() as f64) < MOST * chords.len() as f64 {
        return None;
    }
    let lost = |c: &(f64, f64)| squared(line, c.0).max(0.0).sqrt() - c.1 > (0.02 * widest).max(4.0);
    let field = "a round field cut sideways";
    Some(Sideways { field, short: slices.iter().zip(&chords).filter(|(_, c)| lost(c)).map(|(s, _)| s.z).collect() })
}

/// The square of the chord at z.
fn squared((a, b): (f64, f64), z: f64) -> f64 {
    a + b * z - 4.0 * z * z
}

/// Least squares of w² + 4z² over z.
fn fit(chords: &[(f64, f64)]) -> Option<(f64, f64)> {
    let n = chords.len() as f64;
    let y = |c: &(f64, f64)| c.1 * c.1 + 4.0 * c.0 * c.0;
    let (mz, my) = (chords.iter().map(|c| c.0).sum::<f64>() / n, chords.iter().map(y).sum::<f64>() / n);
    let zz: f64 = chords.iter().map(|c| (c.0 - mz).powi(2)).sum();
    let zy: f64 = chords.iter().map(|c| (c.0 - mz) * (y(c) - my)).sum();
    (chords.len() > 2 && zz > 0.0).then(|| (my - zy / zz * mz, zy / zz))
}

impl Sideways {
    /// What was lost, and what was not looked at.
    pub fn findings(&self) -> Vec<Finding> {
        let text = format!(
            "{}: zeros are counted against its width; repeats, order and levels of slices that differ in width are not compared",
            self.field
        );
        let mut out = vec![Finding::new(Kind::Reader, Weight::Remark, text)];
        out.extend(values::runs(&self.short).into_iter().map(|r| {
            let text = format!("zeros inside the field: {} less than the field is wide there", slices_word(&r));
            Finding::new(Kind::ZeroBlock, Weight::Broken, text).at(r)
        }));
        out
    }
}
