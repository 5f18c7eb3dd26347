//! Pairs of 8-bit greys, counted by both greys: there are only 65 536 of these, and everything else follows from how often
//! and where first each is met. Counts and places are whole numbers, so nothing depends on the order.

use super::{Pair, Pairs, fetch, follow};
use crate::quantise::CoarseHistogram;

/// Pairs of greys.
const CELLS: usize = 1 << 16;
/// Pairs looked at before they are counted.
const GROUP: usize = 64;
/// Bytes ahead that are fetched: the processor's own guess ends with each page of memory.
const AHEAD: usize = 2048;
/// Pairs that are the same pair so often that it is worth asking.
const RUN: usize = 8;

/// Counters of one thread.
pub struct Joint {
    /// One less than met since the last [`Self::settle`], so that the first time wraps around. Neighbours, which often are
    /// the same, go to tables of their own: no count waits for the one before.
    since: [Box<[u32; CELLS]>; 2],
    pending: usize,
    /// Voxel after the last one counted.
    next: u64,
    /// Met before the last [`Self::settle`].
    counts: Box<[u64; CELLS]>,
    /// Voxel of the first of each pair.
    first: Box<[u64; CELLS]>,
}

fn table<T: Copy>(of: T) -> Box<[T; CELLS]> {
    // By way of a vector, so that nothing of this size lies on the stack.
    vec![of; CELLS].into_boxed_slice().try_into().unwrap_or_else(|_| unreachable!("made with this length"))
}

impl Default for Joint {
    fn default() -> Self {
        Joint {
            since: [table(u32::MAX), table(u32::MAX)],
            pending: 0,
            next: 0,
            counts: table(0),
            first: table(u64::MAX),
        }
    }
}

/// How the greys of one side become values: slope, offset, and values at its ends, which follow the other side, see
/// [`follow`].
#[derive(Clone, Copy, Debug)]
pub struct Greys {
    /// Value of a step and of grey 0.
    pub scale: (f64, f64),
    /// Lowest and highest value.
    pub ends: Option<(f64, f64)>,
}

impl Greys {
    pub(super) fn value(self, grey: usize) -> f64 {
        let (slope, offset) = self.scale;
        slope * grey as f64 + offset
    }

    /// True where `own` became `other`.
    fn follows(self, own: &mut f64, other: f64) -> bool {
        self.ends.is_some_and(|ends| follow(std::slice::from_mut(own), ends, &[other]) > 0)
    }
}

impl Joint {
    /// Counts pairs that begin at voxel `index`, behind all that came before.
    ///
    /// # Panics
    /// Where the lengths differ or voxels come in another order: a bug of the caller.
    pub fn add(&mut self, a: &[u8], b: &[u8], index: u64) {
        assert!(a.len() == b.len() && index >= self.next);
        // No counter goes round.
        assert!(a.len() < 1 << 31);
        if self.pending + a.len() > 1 << 31 {
            self.settle();
        }
        self.pending += a.len();
        self.next = index + a.len() as u64;
        let (groups_a, tail_a) = a.as_chunks::<GROUP>();
        let (groups_b, tail_b) = b.as_chunks::<GROUP>();
        let mut at = index;
        for (a, b) in groups_a.iter().zip(groups_b) {
            fetch(a.as_ptr().wrapping_add(AHEAD));
            fetch(b.as_ptr().wrapping_add(AHEAD));
            self.group(a, b, at);
            at += GROUP as u64;
        }
        for (a, b) in tail_a.iter().zip(tail_b) {
            self.count(0, cell(*a, *b), 1, at);
            at += 1;
        }
    }

    fn group(&mut self, a: &[u8; GROUP], b: &[u8; GROUP], index: u64) {
        // All at once: the compiler makes vectors of it.
        let mut cells = [0u16; GROUP];
        cells.iter_mut().zip(a.iter().zip(b)).for_each(|(c, (a, b))| *c = cell(*a, *b));
        let runs = a.as_chunks::<RUN>().0.iter().zip(b.as_chunks::<RUN>().0);
        for (i, (cells, (a, b))) in cells.as_chunks::<RUN>().0.iter().zip(runs).enumerate() {
            let at = index + (i * RUN) as u64;
            if is_flat(a) & is_flat(b) {
                self.count(0, cells[0], RUN as u32, at);
            } else {
                cells.iter().enumerate().for_each(|(k, c)| self.count(k % 2, *c, 1, at + k as u64));
            }
        }
    }

    #[inline(always)]
    fn count(&mut self, table: usize, cell: u16, n: u32, at: u64) {
        let count = &mut self.since[table][usize::from(cell)];
        let before = *count;
        *count = before.wrapping_add(n);
        if before == u32::MAX {
            self.met(cell, at);
        }
    }

    /// Seldom.
    #[cold]
    fn met(&mut self, cell: u16, at: u64) {
        let first = &mut self.first[usize::from(cell)];
        *first = (*first).min(at);
    }

    /// Moves what was counted to where there is room for more.
    pub(super) fn settle(&mut self) {
        for table in &mut self.since {
            for (since, count) in table.iter_mut().zip(&mut *self.counts) {
                *count += u64::from(since.wrapping_add(1));
                *since = u32::MAX;
            }
        }
        self.pending = 0;
    }

    /// These and those of another thread.
    pub fn and(mut self, mut o: Joint) -> Joint {
        self.settle();
        o.settle();
        self.counts.iter_mut().zip(&*o.counts).for_each(|(a, b)| *a += b);
        self.first.iter_mut().zip(&*o.first).for_each(|(a, b)| *a = (*a).min(*b));
        self.next = self.next.max(o.next);
        self
    }

    /// What the pairs have in common, the differences other than 0, and how many values lie beyond an end of a scale.
    pub fn found(mut self, a: Greys, b: Greys, tolerance: f64) -> (Pairs, CoarseHistogram, u64) {
        self.settle();
        let mut histogram = CoarseHistogram::new(false);
        let mut beyond_scale = 0;
        let mut cells = Vec::new();
        for (i, n) in self.counts.iter().enumerate().filter(|(_, n)| **n > 0) {
            let (mut x, mut y) = (a.value(i % 256), b.value(i / 256));
            beyond_scale += n * u64::from(a.follows(&mut x, y));
            beyond_scale += n * u64::from(b.follows(&mut y, x));
            cells.push((*n, Pair { index: self.first[i], a: x, b: y }));
            histogram.add((y - x) as f32, *n);
        }
        let sum = |f: &dyn Fn(&Pair) -> f64| cells.iter().map(|(n, p)| *n as f64 * f(p)).sum::<f64>();
        let count = |f: &dyn Fn(f64) -> bool| cells.iter().filter(|(_, p)| f(p.b - p.a)).map(|(n, _)| n).sum::<u64>();
        let finite = count(&|_| true);
        let mean = |f: &dyn Fn(&Pair) -> f64| sum(f) / finite.max(1) as f64;
        let (mean_a, mean_b) = (mean(&|p| p.a), mean(&|p| p.b));
        let far = |p: &Pair| (p.b - p.a).abs();
        let places = || cells.iter().map(|(_, p)| *p);
        let farther = |w: Pair, p: Pair| if (far(&p), w.index) > (far(&w), p.index) { p } else { w };
        let pairs = Pairs {
            finite,
            unequal: count(&|d| d != 0.0),
            beyond: count(&|d| d.abs() > tolerance),
            first: places().filter(|p| far(p) > tolerance).min_by_key(|p| p.index),
            worst: places().filter(|p| far(p) > 0.0).reduce(farther),
            range_a: places().map(|p| (p.a, p.a)).reduce(|r, p| (r.0.min(p.0), r.1.max(p.1))),
            sum_d: sum(&|p| p.b - p.a),
            sum_abs: sum(&far),
            sum_sq: sum(&|p| (p.b - p.a).powi(2)),
            mean: (mean_a, mean_b),
            m2: (sum(&|p| (p.a - mean_a).powi(2)), sum(&|p| (p.b - mean_b).powi(2))),
            cross: sum(&|p| (p.a - mean_a) * (p.b - mean_b)),
            ..Pairs::default()
        };
        (pairs, histogram, beyond_scale)
    }
}

fn cell(a: u8, b: u8) -> u16 {
    u16::from(b) << 8 | u16::from(a)
}

fn is_flat(run: &[u8; RUN]) -> bool {
    let all = u64::from_ne_bytes(*run);
    all == all.rotate_left(8)
}
