//! Slices that would fit better elsewhere: two or more that are exchanged, and strangers.
//!
//! Distances are mean squared differences of reduced pictures, in which noise is averaged out. An exchange of two slices
//! is weighed by the distances between neighbours before and after it. In a volume in order that ratio lies near 1/4 for
//! neighbours and far below for others where the sample is smooth along z, near 1 where it is not; and it is the same all
//! along the volume. So an exchange that is wanted stands out from what is usual in this volume, even where noise or a
//! rough sample leave little of the difference.

use super::volume::SliceFacts;
use super::{Finding, Kind, Weight};

/// Slices this far apart are tried against each other, all of them; farther ones where both are strangers.
const REACH: usize = 8;
/// … or at least this far apart.
const APART: usize = 4;
/// An exchange that makes the distances this many times less is sure.
const SURE: f64 = 2.0;
/// Less than this is never a reason …
const LEAST: f64 = 1.15;
/// … nor is this at the ends of the volume or between strangers far apart, where less is known of what is usual.
const LEAST_FAR: f64 = 1.5;
/// How far beyond the usual, in standard deviations.
const BEYOND: f64 = 8.0;
/// Both neighbours are this many times farther than they are from each other: a stranger between them.
const STRANGER: f64 = 4.0;
/// … and than slices around them are from each other: where a sample is its own mirror image, the neighbours of the middle
/// are equal, and each is as far from it as slices are anywhere.
const STEPS: f64 = 2.0;
/// Places that tell what is usual around one: more than twice of what one exchange reaches …
const AROUND: usize = 24;
/// … and how much more than in the volume it must be to count.
const OTHER: f64 = 1.5;
/// … or so many times fewer points must make up the distances there.
const FEW: f64 = 4.0;
/// Reduced pictures with fewer points scatter too much.
const POINTS: usize = 64;
/// Steps between neighbours, of this share of what an exchange would mend …
const ALIKE: f64 = 0.5;
/// … that a volume has where its sample begins and ends.
const ENDS: usize = 2;
/// Strangers that are tried against each other.
const MANY: usize = 64;

/// Mean squared difference of the reduced pictures.
pub(super) fn distance(a: &SliceFacts, b: &SliceFacts) -> f64 {
    let sum: f64 = a.thumb.iter().zip(&b.thumb).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    sum / a.thumb.len().max(1) as f64
}

/// The slices and the order they are read in.
struct Row<'a> {
    slices: Vec<&'a SliceFacts>,
    /// Which slice stands at a place.
    order: Vec<usize>,
    /// Distances of slice `i` to `i`, `i + 1` … `i + REACH + 1`.
    near: Vec<[f64; REACH + 2]>,
    /// Points that make up the distance of slice `i` to the next.
    weighing: Vec<f64>,
    /// Of a slice with two neighbours, what [`apart`](Self::apart) reaches by chance.
    by_chance: Vec<f64>,
    /// Distances below the rounding of sums in single precision are none.
    floor: f64,
}

impl<'a> Row<'a> {
    fn new(slices: Vec<&'a SliceFacts>) -> Row<'a> {
        let n = slices.len();
        let near = (0..n)
            .map(|i| std::array::from_fn(|h| slices.get(i + h).map_or(0.0, |s| distance(slices[i], s))))
            .collect();
        let power = |s: &&SliceFacts| s.thumb.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        let floor = slices.iter().map(power).fold(0.0, f64::max) / slices[0].thumb.len() as f64 * 1e-10;
        let weighing = slices.windows(2).map(|w| weighing(w[0], w[1])).collect();
        let floor = floor.max(f64::MIN_POSITIVE);
        let mut row = Row { order: (0..n).collect(), slices, near, weighing, by_chance: Vec::new(), floor };
        // Fewer points scatter more, about what is usual around.
        let apart: Vec<f64> = (1..n - 1).map(|k| row.apart(k).0).collect();
        let chance = |k: usize| {
            let start = (k - 1).saturating_sub(AROUND / 2).min(apart.len().saturating_sub(AROUND));
            let mut here = apart[start..apart.len().min(start + AROUND)].to_vec();
            here.sort_by(f64::total_cmp);
            here[here.len() / 2] * (BEYOND * scatter(row.weighing[k - 1].min(row.weighing[k]))).exp()
        };
        row.by_chance = (1..n - 1).map(chance).collect();
        row
    }

    fn len(&self) -> usize {
        self.order.len()
    }

    /// Between the slices that stand at two places.
    fn between(&self, a: usize, b: usize) -> f64 {
        let (a, b) = (self.order[a].min(self.order[b]), self.order[a].max(self.order[b]));
        if b - a < REACH + 2 { self.near[a][b - a] } else { distance(self.slices[a], self.slices[b]) }
    }

    /// How many times less the distances between neighbours would be with places `i < j` exchanged, and by how much. None
    /// where slices are equal: there is no order among them.
    fn gain(&self, i: usize, j: usize) -> Option<(f64, f64)> {
        let (mut now, mut then) = (0.0, 0.0);
        let swapped = |k: usize| match k {
            k if k == i => j,
            k if k == j => i,
            k => k,
        };
        let mut edges = [i.wrapping_sub(1), i, j - 1, j];
        if j == i + 1 {
            // What lies between the two stays.
            (edges[1], edges[2]) = (usize::MAX, usize::MAX);
        }
        for k in edges.into_iter().filter(|k| *k < self.len() - 1) {
            let d = self.between(k, k + 1);
            if d <= self.floor {
                return None;
            }
            now += d;
            then += self.between(swapped(k), swapped(k + 1));
        }
        (self.between(i, j) > self.floor).then(|| (now / then.max(self.floor), now - then))
    }

    /// How much farther the slice at place `k` is from both neighbours than they are from each other, in the mean and at
    /// least.
    fn apart(&self, k: usize) -> (f64, f64) {
        let (a, b) = (self.between(k - 1, k), self.between(k, k + 1));
        let c = self.between(k - 1, k + 1).max(self.floor);
        (((a + b) / 2.0).max(self.floor) / c, a.min(b) / c)
    }
}

/// Slices that are much farther from both neighbours than these are from each other, and than is usual there.
fn strangers(row: &Row<'_>) -> Vec<usize> {
    let n = row.len();
    let is_one = |k: &usize| {
        let k = *k;
        let beside = [k.wrapping_sub(2), k + 1].into_iter().filter(|a| *a < n - 1);
        let step = beside.map(|a| row.between(a, a + 1)).fold(f64::INFINITY, f64::min);
        let nearer = row.between(k - 1, k).min(row.between(k, k + 1));
        row.apart(k).1 > STRANGER.max(row.by_chance[k - 1]) && nearer > STEPS * step
    };
    (1..n - 1).filter(is_one).collect()
}

/// The first or the last slice, where its step to the only neighbour is by far the largest of all: how many times the middle
/// one.
fn strange_ends(row: &Row<'_>) -> Vec<(usize, f64)> {
    let n = row.len();
    let steps: Vec<f64> = (0..n - 1).map(|k| row.between(k, k + 1)).collect();
    let mut inner = steps[1..n - 2].to_vec();
    inner.sort_by(f64::total_cmp);
    let (usual, largest) = (inner[inner.len() / 2].max(row.floor), inner[inner.len() - 1]);
    let is_strange = |step: f64| step > STRANGER * STRANGER * usual && step > STRANGER * largest;
    let ends = [(0, steps[0]), (n - 1, steps[n - 2])].into_iter();
    ends.filter(|(_, step)| is_strange(*step)).map(|(k, step)| (k, step / usual)).collect()
}

/// What is usual: the ratio above which one stands out. From the middle and the lower flank, which what is exchanged does
/// not reach.
fn usual(mut ratios: Vec<f64>, points: usize) -> f64 {
    ratios.sort_by(f64::total_cmp);
    let least = scatter(points as f64);
    let (middle, spread) = match ratios.len() {
        0..4 => (0.0, least),
        n => {
            let (low, middle) = (ratios[n * 16 / 100].ln(), ratios[n / 2].ln());
            (middle, (middle - low).max(least))
        }
    };
    (middle + BEYOND * spread).exp()
}

/// Means over so many points scatter by this much, at least, relative to themselves.
fn scatter(points: f64) -> f64 {
    1.6 / points.sqrt()
}

/// Points that make up a distance, as many of equal weight: where a pin stands in air that is exactly zero, a few of all.
pub(super) fn weighing(a: &SliceFacts, b: &SliceFacts) -> f64 {
    let squares = a.thumb.iter().zip(&b.thumb).map(|(a, b)| f64::from(a - b).powi(2));
    let (sum, of_squares) = squares.fold((0.0, 0.0), |(s, q), d| (s + d, q + d * d));
    // Of noise the fourth power is three times the square of the second.
    if of_squares > 0.0 {
        (3.0 * sum * sum / of_squares).clamp(1.0, a.thumb.len() as f64)
    } else {
        a.thumb.len() as f64
    }
}

/// What is usual around each place, where it is something else than in most of the volume: above and below a sample there is
/// nothing but noise, any two slices of which are exchanged without being missed. 0 elsewhere.
fn usual_around(ratios: &[f64], points: &[f64]) -> Vec<f64> {
    let middle = |of: &[f64]| {
        let mut of = of.to_vec();
        of.sort_by(f64::total_cmp);
        of[of.len() / 2]
    };
    if ratios.len() <= 2 * AROUND {
        return vec![0.0; ratios.len()];
    }
    let (whole, weighing) = (middle(ratios), middle(points));
    let bound = |k: usize| {
        let start = k.saturating_sub(AROUND / 2).min(ratios.len() - AROUND);
        let here = start..start + AROUND;
        let (m, few) = (middle(&ratios[here.clone()]), middle(&points[here]));
        if m > OTHER * whole || few * FEW < weighing { m * (BEYOND * scatter(few)).exp() } else { 0.0 }
    };
    (0..ratios.len()).map(bound).collect()
}

/// Two places whose exchange is wanted: the ratio, the gain and the largest distance that goes.
#[derive(Clone, Copy)]
struct Wanted {
    i: usize,
    j: usize,
    ratio: f64,
    gain: f64,
    jump: f64,
    /// Found as two strangers.
    strangers: bool,
}

/// Bounds for the ratios: for every distance of places, and for strangers.
struct Bounds {
    near: Vec<f64>,
    /// … and by the place of the first, 0 where that is the same.
    around: Vec<Vec<f64>>,
    stranger: f64,
}

impl Bounds {
    fn of(row: &Row<'_>) -> Bounds {
        let (n, points) = (row.len(), row.slices[0].thumb.len());
        // In short stacks a pair that is exchanged is in most of the ratios of places far apart.
        let bounds = (1..=REACH.min(n / 4)).map(|h| {
            let ratio = |i: usize| row.gain(i, i + h).map(|(r, _)| r.max(f64::MIN_POSITIVE));
            let ratios: Vec<Option<f64>> = (0..n - h).map(ratio).collect();
            // At the ends there are fewer distances to compare.
            let inner = ratios[1..n - 1 - h].iter().flatten().copied().collect();
            let all: Vec<f64> = ratios.iter().map(|r| r.unwrap_or(1.0)).collect();
            (usual(inner, points).max(LEAST), usual_around(&all, &row.weighing))
        });
        let (near, around) = bounds.unzip();
        let apart = (1..n - 1).map(|k| row.apart(k).0).filter(|r| r.is_finite());
        Bounds { near, around, stranger: usual(apart.collect(), points).max(LEAST) }
    }

    /// The exchange that gains most, of those that stand out.
    fn best(&self, row: &Row<'_>) -> Option<Wanted> {
        let n = row.len();
        let mut best: Option<Wanted> = None;
        let mut look = |i: usize, j: usize, bound: f64, strangers: bool| {
            if let Some((ratio, gain)) = row.gain(i, j)
                && ratio > bound
                && best.is_none_or(|b| gain > b.gain)
            {
                best = Some(Wanted { i, j, ratio, gain, jump: 0.0, strangers });
            }
        };
        for (h, bound) in self.near.iter().enumerate().map(|(h, b)| (h + 1, *b)) {
            for i in 0..n - h {
                let end = i == 0 || i + h + 1 == n;
                let bound = bound.max(self.around[h - 1][i]);
                look(i, i + h, if end { bound.max(LEAST_FAR) } else { bound }, false);
            }
        }
        let mut strangers: Vec<(f64, usize)> = (1..n - 1)
            .map(|k| (row.apart(k).0, k))
            .filter(|(r, k)| *r > self.stranger.max(row.by_chance[*k - 1]))
            .collect();
        strangers.sort_by(|a, b| b.0.total_cmp(&a.0));
        strangers.truncate(MANY);
        for (k, &(_, a)) in strangers.iter().enumerate() {
            for &(_, b) in &strangers[k + 1..] {
                // Near ones too: the more slices lie between the two, the more of the ratios they were compared with are theirs.
                if a.abs_diff(b) >= APART.min(self.near.len() + 1) {
                    look(a.min(b), a.max(b), LEAST_FAR, true);
                }
            }
        }
        best.map(|w| {
            let beside = [w.i.wrapping_sub(1), w.i, w.j - 1, w.j].into_iter().filter(|k| *k < n - 1);
            Wanted { jump: beside.map(|k| row.between(k, k + 1)).fold(0.0, f64::max), ..w }
        })
    }
}

/// The findings; `twins` are repetitions of others.
pub fn findings(slices: &[SliceFacts], twins: &[usize]) -> Vec<Finding> {
    // What is wrong for another reason says nothing about the order.
    let good: Vec<&SliceFacts> = slices.iter().filter(|s| !s.bad && !twins.contains(&s.z)).collect();
    let n = good.len();
    if n < 6 || good[0].thumb.len() < POINTS {
        return Vec::new();
    }
    let mut row = Row::new(good);
    let bounds = Bounds::of(&row);
    let mut wanted: Vec<Wanted> = Vec::new();
    while let Some(w) = bounds.best(&row) {
        row.order.swap(w.i, w.j);
        wanted.push(w);
        // Where this is common it is how the slices of this stack follow each other.
        if wanted.len() * 20 > n.max(40) {
            return Vec::new();
        }
    }
    // A sample of sharp layers has such steps everywhere: two layers of one slice are no slices in the wrong place.
    let steps: Vec<f64> = (0..n - 1).map(|k| row.between(k, k + 1)).collect();
    let mut sorted = steps.clone();
    sorted.sort_by(f64::total_cmp);
    let step = STRANGER * sorted[sorted.len() / 2];
    let layered = |w: &Wanted| steps.iter().filter(|d| **d > step.max(w.jump * ALIKE)).count() > ENDS;
    // Strangers whose exchange is not believed are strangers still.
    for w in wanted.iter().rev().filter(|w| w.strangers && layered(w)) {
        row.order.swap(w.i, w.j);
    }
    wanted.retain(|w| !layered(w));
    let strangers = strangers(&row);
    let mut out = moved(&row, &wanted);
    if strangers.len() * 20 > n.max(40) {
        return out;
    }
    for k in strangers.into_iter().filter(|k| row.order[k - 1..k + 2] == [k - 1, *k, k + 1]) {
        let z = row.slices[k].z;
        let text = format!(
            "slice {z} does not fit between its neighbours: it differs from both {:.0} times more than they from each other",
            row.apart(k).1.sqrt()
        );
        out.push(Finding::new(Kind::Stranger, Weight::Suspicious, text).at(z..z + 1));
    }
    if out.is_empty() {
        out.extend(strange_ends(&row).into_iter().map(|(k, times)| {
            let z = row.slices[k].z;
            let text = format!(
                "slice {z} does not fit its neighbour: it differs from it {:.0} times more than is usual",
                times.sqrt()
            );
            Finding::new(Kind::Stranger, Weight::Suspicious, text).at(z..z + 1)
        }));
    }
    out
}

/// One sentence for each group of slices that change places among themselves.
fn moved(row: &Row<'_>, wanted: &[Wanted]) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut told = vec![false; row.len()];
    for start in wanted.iter().flat_map(|w| [w.i, w.j]) {
        let mut group = Vec::new();
        let mut k = start;
        while !told[k] && row.order[k] != k {
            told[k] = true;
            group.push(k);
            k = row.order[k];
        }
        if group.len() < 2 {
            continue;
        }
        group.sort_unstable();
        let z: Vec<usize> = group.iter().map(|k| row.slices[*k].z).collect();
        let list = |z: Vec<usize>| z.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        let ratio = wanted.iter().filter(|w| group.contains(&w.i)).map(|w| w.ratio).fold(0.0, f64::max);
        let (weight, how) = match ratio > SURE {
            true => (Weight::Broken, "are exchanged"),
            false => (Weight::Suspicious, "look exchanged"),
        };
        let text = match z.as_slice() {
            [a, b] => format!("slices {a} and {b} {how}: each fits where the other is"),
            _ => {
                let fits = list(group.iter().map(|k| row.slices[row.order[*k]].z).collect());
                format!("slices {} {how}: in the order {fits} they fit", list(z.clone()))
            }
        };
        let places: Vec<std::ops::Range<usize>> = match z.as_slice() {
            [a, b] if a + 1 == *b => std::iter::once(*a..b + 1).collect(),
            _ => z.iter().map(|z| *z..z + 1).collect(),
        };
        out.extend(places.into_iter().map(|r| Finding::new(Kind::Swapped, weight, text.clone()).at(r)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_above_a_sample_is_compared_with_itself() {
        let smooth = |n: usize| std::iter::repeat_n(0.05, n);
        let ratios: Vec<f64> = smooth(90).chain((0..40).map(|i| 1.0 + 0.1 * f64::from(i % 5 - 2))).collect();
        let points = vec![256.0; 130];
        let around = usual_around(&ratios, &points);
        assert!(around[..78].iter().all(|b| *b == 0.0), "{around:?}");
        // More than any of them by chance, less than what is sure.
        assert!(around[102..].iter().all(|b| *b > 1.5 && *b < 3.0), "{around:?}");
        // An exchange in the sample raises ratios beside it, and does not hide itself.
        let mut one = vec![0.05; 130];
        [40, 41, 42, 47, 48, 49].iter().for_each(|i| one[*i] = 3.0);
        assert!(usual_around(&one, &points).iter().all(|b| *b == 0.0));
        // Short stacks have no surroundings.
        assert_eq!(usual_around(&ratios[80..120], &points[80..120]), vec![0.0; 40]);
    }
}
