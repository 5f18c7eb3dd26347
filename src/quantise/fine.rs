//! A histogram fine enough for grey limits, made in one pass with no range known in advance, mergeable.
//!
//! Values are counted by the upper 22 bits of their float pattern: 8192 bins per power of two, so that a bin is at most
//! 1/8192 of the value wide (1.2·10⁻⁴, a sixtieth of a grey level of 8 bits where the limits are ±|value|), and whole
//! numbers up to 16 383 have bins of their own. More bins would not fit the processor's first cache, which doubles the
//! time. One hot voxel costs nothing. A power of two takes memory (32 KiB) only where values fall into it. Counts are integers: merging in any order gives the same result.
//!
//! Exact zeros and values that are no finite number are counted apart. 64-bit values are rounded to 32 bits first.

#[cfg(target_arch = "x86_64")]
use super::cpu;
use std::collections::BTreeMap;

#[cfg(target_arch = "x86_64")]
mod wide;
#[cfg(target_arch = "x86_64")]
pub(super) use wide::increment;

/// Bits of the float pattern that are dropped, as a rule.
const FINE: u32 = 10;
/// … where a thousandth of a value is fine enough: an eighth of the memory, which more often is in the processor's first
/// cache.
const COARSE: u32 = 13;
/// Bins of a page: one power of two of one sign, or eight.
const PAGE: usize = 1 << (23 - FINE);
/// Signs times exponents.
const PAGES: usize = 512;

/// A counter with bins of a thousandth of a value.
pub type CoarseCounter = FineCounter<COARSE>;
/// A histogram with bins of a thousandth of a value.
pub type CoarseHistogram = FineHistogram<COARSE>;

/// Maps f32 to u32 so that the order of values is the order of integers.
#[inline(always)]
fn ordered(bits: u32) -> u32 {
    bits ^ (((bits as i32 >> 31) as u32) | 0x8000_0000)
}

fn unordered(u: u32) -> f32 {
    f32::from_bits(if u >> 31 == 1 { u & 0x7FFF_FFFF } else { !u })
}

/// Values looked at before their bins are counted.
const CHUNK: usize = 64;
/// Bins of all pages.
pub(super) const BINS: usize = PAGE * PAGES;

/// Counters of one thread. Not more than `u32::MAX` values may go in between two [`FineHistogram::absorb`].
pub struct FineCounter<const DROP: u32 = FINE> {
    /// One counter per bin, 16 MiB of addresses: the system gives memory only for what is touched.
    counts: Box<[u32]>,
    pending: u64,
    zeros: u64,
    nan: u64,
    infinite: u64,
    /// Smallest and largest pattern seen, ordered.
    extent: (u32, u32),
}

impl<const DROP: u32> Default for FineCounter<DROP> {
    fn default() -> Self {
        let counts = vec![0; BINS].into_boxed_slice();
        FineCounter { counts, pending: 0, zeros: 0, nan: 0, infinite: 0, extent: (u32::MAX, 0) }
    }
}

impl<const DROP: u32> FineCounter<DROP> {
    /// Bits of the ordered pattern below a bin.
    #[cfg(target_arch = "x86_64")]
    pub(super) const DROPPED: u32 = DROP;

    /// True where the next `n` values might overflow a counter.
    pub fn is_full(&self, n: usize) -> bool {
        self.pending + n as u64 > u64::from(u32::MAX)
    }

    /// Counts values.
    pub fn add(&mut self, values: &[f32]) {
        self.pending += values.len() as u64;
        #[cfg(target_arch = "x86_64")]
        if cpu::avx512() {
            // SAFETY: the instructions were just found on this machine.
            return unsafe { wide::count(self, values) };
        }
        self.add_by_chunks(values);
    }

    /// The counters by bin, see [`bin`](Self::bin), for a kernel that counts what it computes: all but zeros, which may
    /// go to any of the first 64. It says so with [`counted`](Self::counted).
    #[cfg(target_arch = "x86_64")]
    pub(super) fn bins_mut(&mut self) -> &mut [u32; BINS] {
        // A length known to the compiler.
        <&mut [u32; BINS]>::try_from(&mut self.counts[..]).unwrap_or_else(|_| unreachable!("made with this length"))
    }

    /// The bin of a value other than 0.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn bin(value: f32) -> usize {
        (ordered(value.to_bits()) >> DROP) as usize
    }

    /// `n` values were counted elsewhere, those other than 0 between `smallest` and `largest`.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn counted(&mut self, n: usize, smallest: f32, largest: f32) {
        self.pending += n as u64;
        if smallest <= largest {
            let (a, b) = (ordered(smallest.to_bits()), ordered(largest.to_bits()));
            self.extent = (self.extent.0.min(a), self.extent.1.max(b));
        }
    }

    fn add_by_chunks(&mut self, values: &[f32]) {
        let (chunks, tail) = values.as_chunks::<CHUNK>();
        chunks.iter().for_each(|c| self.chunk(c));
        if !tail.is_empty() {
            let mut last = [f32::NAN; CHUNK];
            last[..tail.len()].copy_from_slice(tail);
            self.chunk(&last);
            self.nan -= (CHUNK - tail.len()) as u64;
        }
    }

    fn chunk(&mut self, values: &[f32; CHUNK]) {
        let mut bins = [0u32; CHUNK];
        let f = sort_out::<DROP>(values, &mut bins);
        self.zeros += u64::from(f.zeros);
        self.nan += u64::from(f.nan);
        self.infinite += u64::from(f.infinite);
        self.extent = (self.extent.0.min(f.extent.0), self.extent.1.max(f.extent.1));
        if let Ok(counts) = <&mut [u32; BINS]>::try_from(&mut self.counts[..]) {
            bins.iter().for_each(|b| {
                let n = &mut counts[*b as usize % BINS];
                // What is special is counted in bins that nobody empties.
                *n = n.wrapping_add(1);
            });
        }
    }
}

/// What a chunk holds besides its bins.
struct Found {
    zeros: u32,
    nan: u32,
    infinite: u32,
    extent: (u32, u32),
}

/// The bin of each value, branch-free. Zeros, NaN and infinities go to the lowest bins, which belong to the NaN of
/// negative sign and are never looked at: each to one of its own, so that no count waits for the one before.
#[inline(always)]
fn sort_out_any<const DROP: u32>(values: &[f32; CHUNK], bins: &mut [u32; CHUNK]) -> Found {
    let mut f = Found { zeros: 0, nan: 0, infinite: 0, extent: (u32::MAX, 0) };
    for (i, (v, bin)) in values.iter().zip(bins).enumerate() {
        let bits = v.to_bits();
        let size = bits & 0x7FFF_FFFF;
        // One test for all that is special: 0 wraps around, infinities and NaN are at or above 0x7F800000 - 1.
        let special = size.wrapping_sub(1) >= 0x7F7F_FFFF;
        f.zeros += u32::from(size == 0);
        f.nan += u32::from(size > 0x7F80_0000);
        f.infinite += u32::from(size == 0x7F80_0000);
        let o = ordered(bits);
        f.extent.0 = f.extent.0.min(if special { u32::MAX } else { o });
        f.extent.1 = f.extent.1.max(if special { 0 } else { o });
        *bin = if special { i as u32 } else { o >> DROP };
    }
    f
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sort_out_avx2<const DROP: u32>(values: &[f32; CHUNK], bins: &mut [u32; CHUNK]) -> Found {
    sort_out_any::<DROP>(values, bins)
}

fn sort_out<const DROP: u32>(values: &[f32; CHUNK], bins: &mut [u32; CHUNK]) -> Found {
    #[cfg(target_arch = "x86_64")]
    if cpu::avx2() {
        // SAFETY: the instructions were just found on this machine.
        return unsafe { sort_out_avx2::<DROP>(values, bins) };
    }
    sort_out_any::<DROP>(values, bins)
}

/// Counts by value of everything absorbed.
#[derive(Clone, Default)]
pub struct FineHistogram<const DROP: u32 = FINE> {
    /// Pages in use by number.
    pages: BTreeMap<usize, Vec<u64>>,
    extent: Option<(u32, u32)>,
    /// Finite values that are not zero.
    counted: u64,
    zeros: u64,
    nan: u64,
    infinite: u64,
    /// Zeros belong to the values.
    with_zeros: bool,
}

impl<const DROP: u32> FineHistogram<DROP> {
    /// Whole numbers below have bins of their own.
    const WHOLE: f64 = (1u32 << (24 - DROP)) as f64;
    /// The lowest bins: of NaN of negative sign.
    const NAN_BINS: usize = if 0x0080_0000 >> DROP < PAGE { 0x0080_0000 >> DROP } else { PAGE };
    /// The page of zero.
    const ZERO_PAGE: usize = (1 << (31 - DROP)) / PAGE;

    /// An empty histogram. `with_zeros`: exact zeros are values like any other, else they are left out (and counted).
    pub fn new(with_zeros: bool) -> Self {
        FineHistogram { with_zeros, ..Self::default() }
    }

    /// Moves the counts of a thread in and leaves it empty.
    pub fn absorb(&mut self, c: &mut FineCounter<DROP>) {
        if c.extent.0 <= c.extent.1 {
            let first = (c.extent.0 >> DROP) as usize / PAGE;
            let last = (c.extent.1 >> DROP) as usize / PAGE;
            for i in first..=last {
                let page = &mut c.counts[i * PAGE..][..PAGE];
                if i == 0 {
                    // What went to the bins of the NaN.
                    page[..Self::NAN_BINS].fill(0);
                }
                if page.iter().all(|n| *n == 0) {
                    continue; // looked at only: such memory still costs nothing
                }
                let to = self.pages.entry(i).or_insert_with(|| vec![0; PAGE]);
                for (t, n) in to.iter_mut().zip(page.iter_mut()) {
                    *t += u64::from(*n);
                    self.counted += u64::from(*n);
                    *n = 0;
                }
            }
            let (a, b) = self.extent.unwrap_or((u32::MAX, 0));
            self.extent = Some((a.min(c.extent.0), b.max(c.extent.1)));
        }
        self.zeros += c.zeros;
        self.nan += c.nan;
        self.infinite += c.infinite;
        (c.zeros, c.nan, c.infinite, c.pending, c.extent) = (0, 0, 0, 0, (u32::MAX, 0));
    }

    /// Adds a finite value that was met `n` times.
    pub fn add(&mut self, value: f32, n: u64) {
        if value == 0.0 {
            self.zeros += n;
            return;
        }
        let o = ordered(value.to_bits());
        let bin = (o >> DROP) as usize;
        self.pages.entry(bin / PAGE).or_insert_with(|| vec![0; PAGE])[bin % PAGE] += n;
        let (a, b) = self.extent.unwrap_or((u32::MAX, 0));
        self.extent = Some((a.min(o), b.max(o)));
        self.counted += n;
    }

    /// Adds the counts of another one, of the same kind.
    pub fn merge(&mut self, o: FineHistogram<DROP>) {
        for (i, page) in o.pages {
            let to = self.pages.entry(i).or_insert_with(|| vec![0; PAGE]);
            to.iter_mut().zip(page).for_each(|(t, n)| *t += n);
        }
        self.extent = match (self.extent, o.extent) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (a, b) => a.or(b),
        };
        self.counted += o.counted;
        self.zeros += o.zeros;
        self.nan += o.nan;
        self.infinite += o.infinite;
    }

    /// Exact zeros met, whether they belong to the values or not.
    pub fn zeros(&self) -> u64 {
        self.zeros
    }

    /// NaN met.
    pub fn nan(&self) -> u64 {
        self.nan
    }

    /// Infinities met.
    pub fn infinite(&self) -> u64 {
        self.infinite
    }

    /// Values the percentiles speak of.
    pub fn values(&self) -> u64 {
        self.counted + if self.with_zeros { self.zeros } else { 0 }
    }

    /// Smallest and largest of the values, exact (to 32 bits).
    pub fn extent(&self) -> Option<(f64, f64)> {
        let seen = self.extent.map(|(a, b)| (f64::from(unordered(a)), f64::from(unordered(b))));
        match (seen, self.with_zeros && self.zeros > 0) {
            (Some((a, b)), true) => Some((a.min(0.0), b.max(0.0))),
            (None, true) => Some((0.0, 0.0)),
            (s, false) => s,
        }
    }

    /// Bins in use in ascending order: smallest value, largest value, count. Zero is a bin of its own.
    pub fn bins(&self) -> impl Iterator<Item = (f64, f64, u64)> + '_ {
        let of = |range: std::ops::Range<usize>| {
            self.pages.range(range).flat_map(|(i, page)| {
                page.iter().enumerate().filter(|(_, n)| **n > 0).map(move |(j, n)| {
                    let first = ((i * PAGE + j) as u32) << DROP;
                    let last = first | ((1 << DROP) - 1);
                    (f64::from(unordered(first)), f64::from(unordered(last)), *n)
                })
            })
        };
        let zero = (self.with_zeros && self.zeros > 0).then_some((0.0, 0.0, self.zeros));
        of(0..Self::ZERO_PAGE).chain(zero).chain(of(Self::ZERO_PAGE..PAGES))
    }

    /// The percentile `p` (0 to 100) in numpy's default sense: linear between the two nearest values, each known to one
    /// bin. `None` without values.
    pub fn percentile(&self, p: f64) -> Option<f64> {
        let n = self.values();
        let (min, max) = self.extent()?;
        let rank = (p / 100.0).clamp(0.0, 1.0) * (n.checked_sub(1)?) as f64;
        let (k, share) = (rank.floor(), rank.fract());
        // The first and the last value are known exactly.
        let at = |k: u64| match k {
            0 => Some(min),
            k if k + 1 == n => Some(max),
            k => self.ranked(k),
        };
        let a = at(k as u64)?;
        let b = if share > 0.0 { at(k as u64 + 1)? } else { a };
        Some((a + (b - a) * share).clamp(min, max))
    }

    /// The value of rank `k`, to one bin.
    fn ranked(&self, k: u64) -> Option<f64> {
        let mut below = 0;
        for (a, b, n) in self.bins() {
            if below + n > k {
                // A whole number in the bin is the value meant: bins of data that were counted are at most that wide.
                let whole = if a < 0.0 { b } else { a };
                if whole.fract() == 0.0 && whole.abs() < Self::WHOLE && (b - a).abs() < 2.0 && self.looks_whole() {
                    return Some(whole);
                }
                // Spread evenly within the bin.
                return Some(a + (b - a) * ((k - below) as f64 + 0.5) / n as f64);
            }
            below += n;
        }
        None
    }

    /// True where only whole numbers below `WHOLE` can have been counted: every bin in use holds one.
    fn looks_whole(&self) -> bool {
        self.extent().is_some_and(|(a, b)| a.fract() == 0.0 && b.fract() == 0.0 && a.abs().max(b.abs()) < Self::WHOLE)
            && self.bins().all(|(a, b, _)| (if a < 0.0 { b } else { a }).fract() == 0.0)
    }

    /// Where a bin stands, a number in it: the outermost bins reach beyond the values in them.
    fn middle(&self, a: f64, b: f64) -> f64 {
        let (min, max) = self.extent().unwrap_or((a, b));
        ((a + b) / 2.0).clamp(min, max)
    }

    /// Values that [`Self::rebin`] leaves out below `low`.
    pub fn below(&self, low: f64) -> u64 {
        self.bins().filter(|(a, b, _)| self.middle(*a, *b) < low).map(|b| b.2).sum()
    }

    /// `n` equal bins over `low..high` for a record or a plot; values outside are left out.
    pub fn rebin(&self, low: f64, high: f64, n: usize) -> Vec<u64> {
        let mut out = vec![0u64; n];
        if n == 0 || high.partial_cmp(&low) != Some(std::cmp::Ordering::Greater) {
            return out;
        }
        let scale = n as f64 / (high - low);
        for (a, b, c) in self.bins() {
            let middle = self.middle(a, b);
            if middle >= low && middle <= high {
                out[(((middle - low) * scale) as usize).min(n - 1)] += c;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    fn of(values: &[f32], with_zeros: bool) -> FineHistogram {
        let mut h = FineHistogram::new(with_zeros);
        // Two counters in turn, as two threads would.
        let mut c = [FineCounter::default(), FineCounter::default()];
        values.chunks(997).enumerate().for_each(|(i, v)| c[i % 2].add(v));
        c.iter_mut().for_each(|c| h.absorb(c));
        h
    }

    /// Every length of tail, special values in every lane: the vectors count what the plain loop counts.
    #[test]
    fn all_instructions_count_the_same() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(12);
        let odd = [0.0, -0.0, f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 1e-45];
        let mut v: Vec<f32> = (0..70_000).map(|_| rng.random::<f32>() - 0.3).collect();
        for _ in 0..500 {
            let at = rng.random_range(0..v.len());
            v[at] = odd[rng.random_range(0..odd.len())];
        }
        v[1000..1300].fill(0.0);
        let pieces = || (0..200).map(|n| &v[n * 317..n * 317 + n]).chain([&v[..], &v[990..1290]]);
        let (mut a, mut b) = <(FineCounter, FineCounter)>::default();
        pieces().for_each(|p| a.add(p));
        pieces().for_each(|p| {
            b.pending += p.len() as u64;
            b.add_by_chunks(p);
        });
        assert!(a.zeros > 300 && a.nan > 10);
        assert_eq!(
            (a.zeros, a.nan, a.infinite, a.extent, a.pending),
            (b.zeros, b.nan, b.infinite, b.extent, b.pending)
        );
        // The first bins take what is special.
        assert!(a.counts[CHUNK..] == b.counts[CHUNK..]);
        let (mut one, mut two): (FineHistogram, FineHistogram) = (FineHistogram::new(false), FineHistogram::new(false));
        one.absorb(&mut a);
        two.absorb(&mut b);
        let values = one.values();
        one.merge(two);
        assert_eq!((one.values(), one.bins().map(|b| b.2).sum::<u64>()), (values * 2, values * 2));
    }

    /// numpy.percentile(values, p), method "linear".
    fn numpy(sorted: &[f64], p: f64) -> f64 {
        let rank = p / 100.0 * (sorted.len() - 1) as f64;
        let (k, f) = (rank as usize, rank.fract());
        sorted[k] + (sorted[(k + 1).min(sorted.len() - 1)] - sorted[k]) * f
    }

    #[test]
    fn any_bits_are_counted_as_one_by_one() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(11);
        let mut v: Vec<f32> = (0..20_011).map(|_| f32::from_bits(rng.random::<u32>())).collect();
        v.extend([0.0, -0.0, f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 1e-45, -1e-45]);
        let h = of(&v, false);
        let count = |f: fn(&f32) -> bool| v.iter().filter(|v| f(v)).count() as u64;
        assert_eq!((h.zeros(), h.nan()), (count(|v| *v == 0.0), count(|v| v.is_nan())));
        assert_eq!(h.infinite(), count(|v| v.is_infinite()));
        let mut naive = BTreeMap::<u32, u64>::new();
        v.iter()
            .filter(|v| v.is_finite() && **v != 0.0)
            .for_each(|v| *naive.entry(ordered(v.to_bits()) >> FINE).or_default() += 1);
        assert_eq!(h.values(), naive.values().sum::<u64>());
        let found: Vec<(f64, u64)> = h.bins().map(|(a, _, n)| (a, n)).collect();
        let want: Vec<(f64, u64)> = naive.iter().map(|(b, n)| (f64::from(unordered(b << FINE)), *n)).collect();
        assert_eq!(found, want);
        assert_eq!(h.extent(), Some((f64::from(f32::MIN), f64::from(f32::MAX))));
    }

    #[test]
    fn percentiles_equal_numpys_to_one_bin() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        let noise: Vec<f32> = (0..200_000).map(|_| (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0).collect();
        let mut hot = noise.clone();
        hot[17] = 1e4;
        let offset: Vec<f32> = noise.iter().map(|v| 3e4 + v).collect();
        for values in [noise, hot, offset] {
            let h = of(&values, false);
            let mut sorted: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
            sorted.sort_by(f64::total_cmp);
            assert_eq!(h.extent(), Some((sorted[0], sorted[sorted.len() - 1])));
            for p in [0.0, 0.1, 1.0, 33.3, 50.0, 99.9, 99.999, 100.0] {
                let (got, want) = (h.percentile(p).unwrap(), numpy(&sorted, p));
                assert!((got - want).abs() <= want.abs() / 8192.0 * 1.001 + 1e-12, "p{p}: {got} against {want}");
            }
        }
    }

    #[test]
    fn whole_numbers_are_exact() {
        let values: Vec<f32> = (0..100_000i64).map(|i| ((i * 48_271) % 30_000 - 15_000) as f32).collect();
        let h = of(&values, true);
        let mut sorted: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
        sorted.sort_by(f64::total_cmp);
        for p in [0.0, 0.1, 20.0, 50.0, 99.9, 100.0] {
            assert!((h.percentile(p).unwrap() - numpy(&sorted, p)).abs() < 1e-9, "p{p}");
        }
    }

    #[test]
    fn special_values_are_counted_apart() {
        let v = [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.5, -2.5, f32::MIN_POSITIVE / 4.0];
        let h = of(&v, false);
        assert_eq!((h.zeros(), h.nan(), h.infinite(), h.values()), (2, 1, 2, 3));
        assert_eq!(h.extent(), Some((-2.5, 1.5)));
        assert_eq!(of(&v, true).values(), 5);
        assert_eq!(of(&[0.0; 3], false).percentile(50.0), None);
        assert_eq!(of(&[0.0; 3], true).percentile(50.0), Some(0.0));
        assert_eq!(of(&[f32::NAN], true).extent(), None);
    }

    #[test]
    fn rebinning_keeps_what_lies_inside() {
        let values: Vec<f32> = (1..=10_000).map(|i| i as f32 / 1000.0).collect();
        let h = of(&values, false);
        assert_eq!(h.rebin(0.0, 10.1, 50).iter().sum::<u64>(), 10_000);
        let inside = h.rebin(2.0, 4.0, 10).iter().sum::<u64>();
        assert!((1998..=2002).contains(&inside), "{inside}");
    }
}
