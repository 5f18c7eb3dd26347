//! Transmission and attenuation: `T = (I - D) / (F - D)`, `p = -ln T`, with flats interpolated in time.
//!
//! What has no logarithm follows a named policy and is counted. Leaves reading, spikes and rings to others.

use super::ln;
use multiversion::multiversion;
use tomokit_formats::{Error, Result};

/// A flat (already combined from its series) and when it was taken, in projections: 0 = before the first, N = after
/// the last.
#[derive(Clone, Debug)]
pub struct Flat {
    /// When.
    pub position: f64,
    /// The frame, or its band of rows; counts with the dark still in.
    pub frame: Vec<f32>,
    /// Machine current while it was taken, if known and to be divided out.
    pub current: Option<f32>,
}

/// What becomes of a pixel that has no usable transmission: input not finite, or flat not brighter than dark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bad {
    /// As if nothing was there: T = 1, p = 0. A dead pixel becomes a faint ring.
    Transparent,
    /// As if everything was absorbed: T = `zero_clip`.
    Opaque,
    /// NaN: spreads over its slice, for those who want to see it.
    Nan,
}

/// Policy for −log.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LogOptions {
    /// Smallest transmission: everything at or below becomes this (PyHST2's ZEROCLIPVALUE).
    pub zero_clip: f32,
    /// Largest transmission, if limited (PyHST2's ONECLIPVALUE).
    pub one_clip: Option<f32>,
    /// Pixels without a usable transmission.
    pub bad: Bad,
    /// False: stop at the transmission.
    pub log: bool,
}

impl Default for LogOptions {
    /// Clip at 1e-6, no upper limit, bad pixels transparent, take the logarithm.
    fn default() -> Self {
        LogOptions { zero_clip: 1e-6, one_clip: None, bad: Bad::Transparent, log: true }
    }
}

/// What was clipped or replaced. Adds up over bands and frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Values corrected.
    pub values: u64,
    /// Transmissions at or below `zero_clip`.
    pub low: u64,
    /// Transmissions above `one_clip`.
    pub high: u64,
    /// Values that are not finite, or whose dark is not.
    pub not_finite: u64,
    /// Values under a flat that is not brighter than the dark (or is not finite).
    pub dead_flat: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, o: Self) {
        self.values += o.values;
        self.low += o.low;
        self.high += o.high;
        self.not_finite += o.not_finite;
        self.dead_flat += o.dead_flat;
    }
}

/// Flats and dark of one band of rows, ready to correct that band of any projection.
pub struct Corrector {
    /// Position and F − D (over the current), by position.
    flats: Vec<(f64, Vec<f32>)>,
    dark: Vec<f32>,
    options: LogOptions,
    with_current: bool,
}

impl Corrector {
    /// Prepares a band. Without flats the values are transmissions already (divided by 1); without dark, D = 0.
    ///
    /// Flats at the same position are averaged. If every flat has a current, projections must come with theirs.
    ///
    /// # Errors
    /// Sizes that differ from `len`, positions or clip values that are not numbers, a current on some flats only, a
    /// current that is not positive.
    pub fn new(len: usize, flats: Vec<Flat>, dark: Option<Vec<f32>>, options: LogOptions) -> Result<Self> {
        if !(options.zero_clip >= f32::MIN_POSITIVE && options.zero_clip.is_finite()) {
            return Err(Error::caller("the lower clip of the transmission must be a positive number")
                .found(options.zero_clip)
                .hint("use something like 1e-6"));
        }
        if let Some(one) = options.one_clip
            && !(one > options.zero_clip && one.is_finite())
        {
            return Err(Error::caller("the upper clip of the transmission must lie above the lower one").found(one));
        }
        let dark = dark.unwrap_or_else(|| vec![0.0; len]);
        let size = |what: &str, found: usize| {
            Error::caller(format!("the {what} and the projections have different sizes"))
                .expected(format!("{len} values"))
                .found(found)
        };
        if dark.len() != len {
            return Err(size("dark", dark.len()));
        }
        let with_current = flats.first().is_some_and(|f| f.current.is_some());
        let mut sets: Vec<(f64, Vec<f32>, usize)> = Vec::new();
        for flat in flats {
            if flat.frame.len() != len {
                return Err(size("flat", flat.frame.len()));
            }
            if !flat.position.is_finite() {
                return Err(Error::caller("a flat's position is not a number").found(flat.position));
            }
            let current = match flat.current {
                None if !with_current => 1.0,
                Some(c) if with_current && c.is_finite() && c > 0.0 => c,
                c => {
                    return Err(Error::caller(
                        "the machine current must be known and positive for all flats or for none",
                    )
                    .found(c.map_or("none".into(), |c| c.to_string()))
                    .hint("switch the normalisation by current off"));
                }
            };
            let net: Vec<f32> = flat.frame.iter().zip(&dark).map(|(f, d)| (f - d) / current).collect();
            match sets.iter_mut().find(|s| s.0 == flat.position) {
                Some(s) => {
                    s.1.iter_mut().zip(&net).for_each(|(a, b)| *a += b);
                    s.2 += 1;
                }
                None => sets.push((flat.position, net, 1)),
            }
        }
        for (_, net, n) in &mut sets {
            if *n > 1 {
                let f = 1.0 / *n as f32;
                net.iter_mut().for_each(|v| *v *= f);
            }
        }
        sets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let flats = sets.into_iter().map(|(p, f, _)| (p, f)).collect();
        Ok(Corrector { flats, dark, options, with_current })
    }

    /// The two flats around a position and the weight of the second: F = (1 − b) F_lo + b F_hi. Before the first and
    /// after the last, that flat alone.
    fn around(&self, position: f64) -> Option<(&[f32], &[f32], f32)> {
        let hi = self.flats.iter().position(|f| f.0 > position).unwrap_or(self.flats.len());
        let last = self.flats.last()?;
        if hi == 0 {
            return Some((&self.flats[0].1, &self.flats[0].1, 0.0));
        }
        let lo = &self.flats[hi - 1];
        match self.flats.get(hi) {
            None => Some((&last.1, &last.1, 0.0)),
            Some(h) => Some((&lo.1, &h.1, ((position - lo.0) / (h.0 - lo.0)) as f32)),
        }
    }

    /// Pixels whose flat is not brighter than the dark in at least one position.
    pub fn dead_pixels(&self) -> usize {
        (0..self.dark.len()).filter(|&p| self.flats.iter().any(|f| !usable(f.1[p]))).count()
    }

    /// Corrects the band of one projection in place. `position` counts in projections (fractional allowed), `current`
    /// is the machine current, needed if and only if the flats have one.
    ///
    /// # Errors
    /// A band of another size; a missing or useless current.
    pub fn apply(&self, position: f64, current: Option<f32>, data: &mut [f32]) -> Result<Counts> {
        if data.len() != self.dark.len() {
            return Err(Error::caller("the projection and its dark have different sizes")
                .expected(format!("{} values", self.dark.len()))
                .found(data.len()));
        }
        let gain = match (self.with_current, current) {
            (false, _) => 1.0,
            (true, Some(c)) if c.is_finite() && c > 0.0 => 1.0 / c,
            (true, c) => {
                return Err(Error::caller(format!("the machine current of projection {position} is not usable"))
                    .found(c.map_or("none".into(), |c| c.to_string()))
                    .hint("switch the normalisation by current off"));
            }
        };
        let mut counts = Counts { values: data.len() as u64, ..Counts::default() };
        let o = &self.options;
        let limits = Limits {
            gain,
            zero: o.zero_clip,
            one: o.one_clip.unwrap_or(f32::MAX),
            bad: match o.bad {
                Bad::Transparent => 1.0,
                Bad::Opaque => o.zero_clip,
                Bad::Nan => f32::NAN,
            },
        };
        let around = self.around(position);
        for (b, block) in data.chunks_mut(BLOCK).enumerate() {
            let range = b * BLOCK..b * BLOCK + block.len();
            let dark = &self.dark[range.clone()];
            counts += match around {
                None => transmission::<false>(block, dark, dark, dark, 0.0, &limits),
                Some((lo, hi, w)) => transmission::<true>(block, dark, &lo[range.clone()], &hi[range], w, &limits),
            };
            if o.log {
                minus_ln(block);
            }
        }
        Ok(counts)
    }
}

/// Values that travel together: few enough for the first cache; flags of a block cannot overflow 32 bits, so their sums
/// need no check (which would keep the loop out of vector registers).
const BLOCK: usize = 1024;

/// What a block's values are held against.
struct Limits {
    gain: f32,
    zero: f32,
    one: f32,
    bad: f32,
}

/// Counts to transmissions within the limits. Rounded operation by operation, so every set of instructions gives the same.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn transmission<const FLAT: bool>(
    data: &mut [f32],
    dark: &[f32],
    lo: &[f32],
    hi: &[f32],
    w: f32,
    limits: &Limits,
) -> Counts {
    let Limits { gain, zero, one, bad } = *limits;
    let (mut low, mut high, mut infinite, mut dead) = (0u32, 0u32, 0u32, 0u32);
    for (((v, d), l), h) in data.iter_mut().zip(dark).zip(lo).zip(hi) {
        let flat = if FLAT { *l + (*h - *l) * w } else { 1.0 };
        let t = (*v - *d) * gain / flat;
        let is_dead = FLAT && !usable(flat);
        // The dark may be to blame as well.
        let is_infinite = !(*v - *d).is_finite();
        let is_bad = is_infinite | is_dead;
        let is_low = !is_bad & (t <= zero);
        let is_high = !is_bad & (t > one);
        infinite = infinite.wrapping_add(u32::from(is_infinite));
        dead = dead.wrapping_add(u32::from(is_dead));
        low = low.wrapping_add(u32::from(is_low));
        high = high.wrapping_add(u32::from(is_high));
        let t = if is_low { zero } else { t };
        let t = if is_high { one } else { t };
        *v = if is_bad { bad } else { t };
    }
    Counts { values: 0, low: low.into(), high: high.into(), not_finite: infinite.into(), dead_flat: dead.into() }
}

/// −ln of transmissions in place; a NaN that was asked for stays one (`ln` needs a normal number).
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn minus_ln(data: &mut [f32]) {
    for v in data {
        let p = -ln(*v);
        *v = if v.is_nan() { f32::NAN } else { p };
    }
}

/// A net flat one can divide by: positive, finite, and not so small that the quotient overflows.
#[inline(always)]
fn usable(flat: f32) -> bool {
    (f32::MIN_POSITIVE..=f32::MAX).contains(&flat)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(position: f64, frame: &[f32]) -> Flat {
        Flat { position, frame: frame.to_vec(), current: None }
    }

    #[test]
    fn flats_are_interpolated_between_their_positions() {
        let flats = vec![flat(100.0, &[310.0, 410.0]), flat(0.0, &[110.0, 210.0])];
        let c = Corrector::new(2, flats, Some(vec![10.0, 10.0]), LogOptions::default()).unwrap();
        for (pos, want) in
            [(-5.0, [100.0, 200.0]), (0.0, [100.0, 200.0]), (25.0, [150.0, 250.0]), (200.0, [300.0, 400.0])]
        {
            let mut v = [60.0f32, 60.0];
            let n = c.apply(pos, None, &mut v).unwrap();
            assert_eq!(n, Counts { values: 2, ..Counts::default() });
            for (v, f) in v.iter().zip(want) {
                assert!((f64::from(*v) + (50.0f64 / f).ln()).abs() < 1e-6, "{pos}: {v}");
            }
        }
        // Two sets at one position count as one.
        let c = Corrector::new(1, vec![flat(0.0, &[1.0]), flat(0.0, &[3.0])], None, LogOptions::default()).unwrap();
        let mut v = [2.0];
        c.apply(0.0, None, &mut v).unwrap();
        assert_eq!(v, [0.0]);
    }

    #[test]
    fn every_policy_counts_what_it_does() {
        let data = [50.0, 0.0, -7.0, f32::NAN, f32::INFINITY, 30.0, 30.0, 30.0, 900.0];
        let flats = || vec![flat(0.0, &[100.0, 100.0, 100.0, 100.0, 100.0, 0.0, -4.0, f32::NAN, 100.0])];
        for (bad, value) in [(Bad::Transparent, 0.0), (Bad::Opaque, -(1e-3f64.ln())), (Bad::Nan, f64::NAN)] {
            let o = LogOptions { zero_clip: 1e-3, one_clip: Some(2.0), bad, log: true };
            let c = Corrector::new(9, flats(), None, o).unwrap();
            assert_eq!(c.dead_pixels(), 3);
            let mut v = data;
            let n = c.apply(3.0, None, &mut v).unwrap();
            assert_eq!(n, Counts { values: 9, low: 2, high: 1, not_finite: 2, dead_flat: 3 });
            assert!((v[0] - 0.5f32.ln().abs()).abs() < 1e-6);
            assert!((f64::from(v[1]) + 1e-3f64.ln()).abs() < 1e-5 && v[1] == v[2]);
            assert!((f64::from(v[8]) + 2f64.ln()).abs() < 1e-6);
            for x in &v[3..8] {
                let same = (f64::from(*x) - value).abs() < 1e-5 || (x.is_nan() && value.is_nan());
                assert!(same, "{bad:?}: {x}");
            }
        }
        // Transmission only.
        let o = LogOptions { log: false, ..LogOptions::default() };
        let mut v = [50.0];
        Corrector::new(1, vec![flat(0.0, &[100.0])], None, o).unwrap().apply(0.0, None, &mut v).unwrap();
        assert_eq!(v, [0.5]);
    }

    #[test]
    fn bands_give_the_bytes_of_the_frame() {
        let n = 5000;
        let frame: Vec<f32> = (0..n).map(|i| ((i * 37) % 1009) as f32).collect();
        let f: Vec<f32> = (0..n).map(|i| 900.0 + (i % 13) as f32).collect();
        let g: Vec<f32> = (0..n).map(|i| 950.0 - (i % 7) as f32).collect();
        let correct = |a: usize, b: usize| {
            let flats = vec![flat(0.0, &f[a..b]), flat(9.0, &g[a..b])];
            let c = Corrector::new(b - a, flats, None, LogOptions::default()).unwrap();
            let mut v = frame[a..b].to_vec();
            let n = c.apply(4.0, None, &mut v).unwrap();
            (v, n)
        };
        let (all, n_all) = correct(0, n);
        let (mut parts, mut counts) = (Vec::new(), Counts::default());
        for (a, b) in [(0, 777), (777, 778), (778, 5000)] {
            let (v, c) = correct(a, b);
            parts.extend(v);
            counts += c;
        }
        assert_eq!(all, parts);
        assert_eq!(n_all, counts);
        assert!(counts.low > 0);
    }

    /// Whatever instructions were chosen, the bits are those of the formula taken value by value.
    #[test]
    fn vectors_round_as_single_values_do() {
        let n = 3000;
        let frame: Vec<f32> = (0..n).map(|i| ((i * 7919) % 4099) as f32).collect();
        let (dark, f, g) = ((0..n).map(|i| (i % 5) as f32), 3000.0 + (n % 13) as f32, 3100.5);
        let dark: Vec<f32> = dark.collect();
        let flats = vec![flat(0.0, &vec![f; n]), flat(7.0, &vec![g; n])];
        let c = Corrector::new(n, flats, Some(dark.clone()), LogOptions::default()).unwrap();
        let mut got = frame.clone();
        c.apply(3.0, None, &mut got).unwrap();
        let w = std::hint::black_box((3.0f64 / 7.0) as f32);
        for ((got, v), d) in got.iter().zip(&frame).zip(&dark) {
            let (lo, hi) = (f - d, g - d);
            let flat = lo + (hi - lo) * w;
            let t = std::hint::black_box((v - d) / flat).max(1e-6);
            assert_eq!(got.to_bits(), (-ln(t)).to_bits(), "{v} over {flat}");
        }
    }

    #[test]
    fn the_machine_current_divides_out() {
        let flats = vec![Flat { position: 0.0, frame: vec![400.0], current: Some(200.0) }];
        let c = Corrector::new(1, flats, None, LogOptions::default()).unwrap();
        let mut v = [100.0];
        c.apply(0.0, Some(100.0), &mut v).unwrap();
        assert!((f64::from(v[0]) - 2f64.ln()).abs() < 1e-6);
        assert!(c.apply(0.0, None, &mut v).is_err());
        assert!(c.apply(0.0, Some(0.0), &mut v).is_err());
        let mixed = vec![flat(0.0, &[1.0]), Flat { position: 1.0, frame: vec![1.0], current: Some(1.0) }];
        assert!(Corrector::new(1, mixed, None, LogOptions::default()).is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Corrector::new(2, vec![flat(0.0, &[1.0])], None, LogOptions::default()).is_err());
        assert!(Corrector::new(2, vec![], Some(vec![1.0]), LogOptions::default()).is_err());
        assert!(Corrector::new(1, vec![flat(f64::NAN, &[1.0])], None, LogOptions::default()).is_err());
        for zero_clip in [0.0, -1.0, f32::NAN] {
            let o = LogOptions { zero_clip, ..LogOptions::default() };
            assert!(Corrector::new(1, vec![], None, o).is_err());
        }
        let c = Corrector::new(1, vec![], None, LogOptions::default()).unwrap();
        assert!(c.apply(0.0, None, &mut [1.0, 2.0]).is_err());
    }
}
