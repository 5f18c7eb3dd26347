//! Physical values to grey values of 8 or 16 bits and back.
//!
//! The rule, in 64-bit floats whatever the input's type: `grey = rint((v − low) · (N / (high − low)))`, rounded half to
//! even, N = 255 or 65535; below `low` it is 0, above `high` it is N, and both are counted. Back:
//! `v = low + grey · (high − low) / N`, at most half a step away inside the limits. With dithering the rounding is
//! `floor(… + u)` with u uniform in [0, 1) from a hash of seed and voxel index: unbiased, less than one step away, and
//! the same on any number of threads.
//!
//! Finding limits is the histogram's job; which voxels lie outside the field is the caller's.

#[cfg(target_arch = "x86_64")]
use super::cpu;
use serde::{Deserialize, Serialize};
#[cfg(target_arch = "x86_64")]
use std::any::TypeId;
use tomokit_formats::model::{GreyScale, Voxel};
use tomokit_formats::{DType, Error, Result, with_dtype};

#[cfg(target_arch = "x86_64")]
mod wide;

/// Values converted at once: odd ones (NaN, infinities) send only their own chunk the slow way.
const CHUNK: usize = 2048;

/// Adding 1.5 · 2^52 to a float below 2^51 leaves its value, rounded half to even, in the low mantissa bits. This rounds
/// exactly with the oldest vector instructions, which have no rounding of their own.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// Bits per grey value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// 0 to 255.
    #[default]
    #[serde(rename = "8")]
    Eight,
    /// 0 to 65535.
    #[serde(rename = "16")]
    Sixteen,
}

impl Depth {
    /// Type of the grey values.
    pub const fn dtype(self) -> DType {
        match self {
            Depth::Eight => DType::U8,
            Depth::Sixteen => DType::U16,
        }
    }

    /// The highest grey value.
    pub const fn top(self) -> u32 {
        match self {
            Depth::Eight => 255,
            Depth::Sixteen => 65535,
        }
    }

    /// The depth of a grey type.
    pub fn of(dtype: DType) -> Option<Depth> {
        [Depth::Eight, Depth::Sixteen].into_iter().find(|d| d.dtype() == dtype)
    }
}

/// What becomes of values that are no finite number. They are counted in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NonFinite {
    /// NaN and both infinities become grey 0.
    #[default]
    Lowest,
    /// +∞ becomes the highest grey, −∞ and NaN grey 0.
    Clip,
    /// They become grey 0 here; the caller stops when it sees the count.
    Refuse,
}

/// What was met while converting. Mergeable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Values converted, of any kind.
    pub values: u64,
    /// Finite values below the lower limit.
    pub below: u64,
    /// Finite values above the upper limit.
    pub above: u64,
    /// NaN.
    pub nan: u64,
    /// +∞.
    pub plus_infinity: u64,
    /// −∞.
    pub minus_infinity: u64,
}

impl Tally {
    /// Both together.
    pub fn merge(self, o: Tally) -> Tally {
        Tally {
            values: self.values + o.values,
            below: self.below + o.below,
            above: self.above + o.above,
            nan: self.nan + o.nan,
            plus_infinity: self.plus_infinity + o.plus_infinity,
            minus_infinity: self.minus_infinity + o.minus_infinity,
        }
    }

    /// Values that are no finite number.
    pub fn not_finite(&self) -> u64 {
        self.nan + self.plus_infinity + self.minus_infinity
    }
}

/// A grey value type.
trait Grey: bytemuck::Pod {
    fn from_low_bits(bits: u64) -> Self;
}

impl Grey for u8 {
    #[inline(always)]
    fn from_low_bits(bits: u64) -> u8 {
        bits as u8
    }
}

impl Grey for u16 {
    #[inline(always)]
    fn from_low_bits(bits: u64) -> u16 {
        bits as u16
    }
}

/// Limits, depth and policy: everything that turns a value into grey.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "GreyFields")]
pub struct GreyMap {
    low: f64,
    high: f64,
    depth: Depth,
    non_finite: NonFinite,
    #[serde(skip)]
    factor: f64,
    /// The same in 32 bits, where these will do.
    #[cfg(target_arch = "x86_64")]
    #[serde(skip)]
    narrow: Option<wide::Narrow>,
}

/// What a map is written as; reading checks it again.
#[derive(Deserialize)]
struct GreyFields {
    low: f64,
    high: f64,
    depth: Depth,
    non_finite: NonFinite,
}

impl TryFrom<GreyFields> for GreyMap {
    type Error = Error;

    fn try_from(f: GreyFields) -> Result<GreyMap> {
        GreyMap::new(f.low, f.high, f.depth, f.non_finite)
    }
}

impl GreyMap {
    /// A map from `low..=high` onto all grey values of `depth`.
    ///
    /// # Errors
    /// `Caller` where the limits are not finite, equal, inverted, or too close or too far apart for 64-bit floats.
    pub fn new(low: f64, high: f64, depth: Depth, non_finite: NonFinite) -> Result<GreyMap> {
        let bad = |message: &str| Error::caller(message).found(format!("{low} to {high}"));
        if !low.is_finite() || !high.is_finite() {
            return Err(bad("the grey limits are no numbers"));
        }
        if low == high {
            return Err(bad("the grey limits are equal: every voxel would become the same grey")
                .hint("a constant volume needs limits of your choice: --low and --high"));
        }
        if low > high {
            return Err(bad("the grey limits are inverted").hint("the lower limit must be below the upper one"));
        }
        let factor = f64::from(depth.top()) / (high - low);
        // Closer than the floats around them: several grey values would stand for the same number.
        let slope = (high - low) / f64::from(depth.top());
        let told_apart = high - slope < high && low + slope > low;
        if !factor.is_normal() || !slope.is_normal() || !told_apart {
            return Err(bad("the grey limits are too close together or too far apart to compute with"));
        }
        Ok(GreyMap {
            low,
            high,
            depth,
            non_finite,
            factor,
            #[cfg(target_arch = "x86_64")]
            narrow: wide::Narrow::of(low, high, factor).filter(|_| depth == Depth::Eight),
        })
    }

    /// Lower and upper limit.
    pub fn limits(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    /// Bits per grey value.
    pub fn depth(&self) -> Depth {
        self.depth
    }

    /// Physical units per grey value.
    pub fn step(&self) -> f64 {
        (self.high - self.low) / f64::from(self.depth.top())
    }

    /// The way back, as files record it.
    pub fn scale(&self, unit: &str) -> GreyScale {
        GreyScale { slope: self.step(), offset: self.low, unit: unit.to_owned() }
    }

    /// The physical value a grey stands for.
    pub fn value(&self, grey: u32) -> f64 {
        self.low + self.step() * f64::from(grey)
    }

    /// The grey of one value, by the rule as it is written: what the fast path is tested against.
    pub fn grey(&self, v: f64) -> u32 {
        if v == f64::INFINITY && self.non_finite != NonFinite::Clip || v.is_nan() {
            return 0;
        }
        ((v - self.low) * self.factor).round_ties_even().clamp(0.0, f64::from(self.depth.top())) as u32
    }

    /// Converts values in native byte order, of any type and alignment, to greys in native byte order.
    ///
    /// `dither` is the seed and the index of the first value in the whole volume.
    ///
    /// # Panics
    /// Where the lengths do not agree: a bug of the caller, never of a file.
    pub fn convert(&self, dtype: DType, bytes: &[u8], out: &mut [u8], dither: Option<(u64, u64)>) -> Tally {
        assert_eq!(bytes.len() / dtype.size(), out.len() / self.depth.dtype().size());
        assert_eq!(bytes.len() % dtype.size(), 0);
        match self.depth {
            Depth::Eight => with_dtype!(dtype, T => self.convert_as::<T, u8>(bytes, out, dither)),
            Depth::Sixteen => with_dtype!(dtype, T => self.convert_as::<T, u16>(bytes, out, dither)),
        }
    }

    fn convert_as<T: Voxel, G: Grey>(&self, bytes: &[u8], out: &mut [u8], dither: Option<(u64, u64)>) -> Tally {
        let mut tally = Tally { values: (bytes.len() / size_of::<T>()) as u64, ..Tally::default() };
        let mut own_values: Vec<T> = Vec::new();
        let mut own_greys: Vec<G> = Vec::new();
        let (in_chunk, out_chunk) = (CHUNK * size_of::<T>(), CHUNK * size_of::<G>());
        for (i, (b, o)) in bytes.chunks(in_chunk).zip(out.chunks_mut(out_chunk)).enumerate() {
            let n = b.len() / size_of::<T>();
            let values = bytemuck::try_cast_slice::<u8, T>(b).unwrap_or_else(|_| {
                own_values.clear();
                own_values.extend(b.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned::<T>));
                &own_values
            });
            let dither = dither.map(|(seed, first)| (seed, first.wrapping_add((i * CHUNK) as u64)));
            match bytemuck::try_cast_slice_mut::<u8, G>(o) {
                Ok(greys) => self.chunk(values, greys, dither, &mut tally),
                Err(_) => {
                    own_greys.resize(n, G::from_low_bits(0));
                    self.chunk(values, &mut own_greys, dither, &mut tally);
                    o.copy_from_slice(bytemuck::cast_slice(&own_greys));
                }
            }
        }
        tally
    }

    fn chunk<T: Voxel, G: Grey>(&self, values: &[T], greys: &mut [G], dither: Option<(u64, u64)>, tally: &mut Tally) {
        let c = match dither {
            None => fast(self, values, greys),
            Some((seed, first)) => dithered(self, values, greys, seed, first),
        };
        tally.below += c.below;
        tally.above += c.above;
        if c.odd > 0 {
            self.odd(values, greys, tally);
        }
    }

    /// Puts NaN and infinities right after the fast path, which counted infinities as clipped.
    fn odd<T: Voxel, G: Grey>(&self, values: &[T], greys: &mut [G], tally: &mut Tally) {
        for (v, g) in values.iter().zip(greys) {
            let v = v.to_f64();
            if v.is_nan() {
                tally.nan += 1;
            } else if v == f64::INFINITY {
                tally.plus_infinity += 1;
                tally.above -= 1;
                *g = G::from_low_bits(u64::from(self.grey(v)));
            } else if v == f64::NEG_INFINITY {
                tally.minus_infinity += 1;
                tally.below -= 1;
            }
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Counts {
    below: u64,
    above: u64,
    odd: u64,
}

/// The rule for a chunk, branch-free, so that the compiler makes vectors of it.
#[inline(always)]
fn rule<T: Voxel, G: Grey>(m: &GreyMap, values: &[T], greys: &mut [G]) -> Counts {
    let (low, high, factor, top) = (m.low, m.high, m.factor, f64::from(m.depth.top()));
    let mut c = Counts::default();
    for (v, g) in values.iter().zip(greys) {
        let v = v.to_f64();
        c.below += u64::from(v < low);
        c.above += u64::from(v > high);
        // False for NaN as well.
        let finite = v.abs() < f64::INFINITY;
        c.odd += u64::from(!finite);
        let x = (v - low) * factor;
        // In this order NaN becomes 0; `max` and `min` would need more instructions for it.
        let x = if x > 0.0 { x } else { 0.0 };
        let x = if x < top { x } else { top };
        *g = G::from_low_bits((x + ROUND).to_bits());
    }
    c
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn rule_avx2<T: Voxel, G: Grey>(m: &GreyMap, values: &[T], greys: &mut [G]) -> Counts {
    rule(m, values, greys)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn rule_avx512<T: Voxel, G: Grey>(m: &GreyMap, values: &[T], greys: &mut [G]) -> Counts {
    rule(m, values, greys)
}

/// The rule with the best instructions of this machine. No multiply-add is fused, so all agree to the last bit.
fn fast<T: Voxel, G: Grey>(m: &GreyMap, values: &[T], greys: &mut [G]) -> Counts {
    #[cfg(target_arch = "x86_64")]
    {
        if cpu::avx512() {
            if let Some(n) = &m.narrow
                && TypeId::of::<T>() == TypeId::of::<f32>()
                && TypeId::of::<G>() == TypeId::of::<u8>()
            {
                let (values, greys) = (bytemuck::cast_slice(values), bytemuck::cast_slice_mut(greys));
                // SAFETY: the instructions were just found on this machine.
                return unsafe { wide::convert(m, n, values, greys) };
            }
            // SAFETY: as above.
            return unsafe { rule_avx512(m, values, greys) };
        }
        if cpu::avx2() {
            // SAFETY: as above.
            return unsafe { rule_avx2(m, values, greys) };
        }
    }
    rule(m, values, greys)
}

fn dithered<T: Voxel, G: Grey>(m: &GreyMap, values: &[T], greys: &mut [G], seed: u64, first: u64) -> Counts {
    let top = f64::from(m.depth.top());
    let mut c = Counts::default();
    for (i, (v, g)) in values.iter().zip(greys).enumerate() {
        let v = v.to_f64();
        c.below += u64::from(v < m.low);
        c.above += u64::from(v > m.high);
        c.odd += u64::from(!v.is_finite());
        let x = (v - m.low) * m.factor;
        let x = if x > 0.0 { x } else { 0.0 };
        let x = if x < top { x } else { top };
        let u = uniform(seed, first.wrapping_add(i as u64));
        *g = G::from_low_bits(((x + u) as u64).min(u64::from(m.depth.top())));
    }
    c
}

/// A number in [0, 1) in steps of 2^-32 from seed and index: SplitMix64 (Steele, Lea, Flood 2014), which is a hash of its
/// counter. 32 bits leave room in the mantissa: a whole x stays whole.
fn uniform(seed: u64, index: u64) -> f64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 32) as f64 * (1.0 / 4_294_967_296.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    fn map(low: f64, high: f64, depth: Depth) -> GreyMap {
        GreyMap::new(low, high, depth, NonFinite::Lowest).unwrap()
    }

    fn run<T: Voxel>(m: &GreyMap, dtype: DType, v: &[T], dither: Option<(u64, u64)>) -> (Vec<u32>, Tally) {
        let size = m.depth.dtype().size();
        let mut out = vec![0u8; v.len() * size];
        let t = m.convert(dtype, bytemuck::cast_slice(v), &mut out, dither);
        let greys = match m.depth {
            Depth::Eight => out.iter().map(|&g| u32::from(g)).collect(),
            Depth::Sixteen => out.chunks_exact(2).map(|c| u32::from(u16::from_ne_bytes([c[0], c[1]]))).collect(),
        };
        (greys, t)
    }

    /// The formula as numpy has it: `np.rint((v.astype('f8') - low) * (N / (high - low))).clip(0, N)`.
    fn oracle(v: f64, low: f64, high: f64, top: f64) -> u32 {
        if !v.is_finite() {
            return 0;
        }
        ((v - low) * (top / (high - low))).round_ties_even().clamp(0.0, top) as u32
    }

    #[test]
    fn every_grey_is_the_formula_on_random_odd_and_tied_values() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(4);
        let mut v: Vec<f32> = (0..300_000).map(|_| f32::from_bits(rng.random::<u32>())).collect();
        v.extend((0..300_000).map(|_| rng.random::<f32>() * 3.0 - 1.0));
        v.extend((0..200_000).map(|i| i as f32 / 2.0 - 1000.0)); // ties
        for (low, high) in
            [(-0.5, 1.25), (0.0, 255.0), (0.0, 510.0), (-1000.0, 99_000.0), (0.1, 0.100001), (-1e30, 1e38)]
        {
            for depth in [Depth::Eight, Depth::Sixteen] {
                let m = map(low, high, depth);
                let (g, t) = run(&m, DType::F32, &v, None);
                let mut want = Tally { values: v.len() as u64, ..Tally::default() };
                for (i, &x) in v.iter().enumerate() {
                    let x = f64::from(x);
                    assert_eq!(g[i], oracle(x, low, high, f64::from(depth.top())), "{x} in {low}..{high}");
                    assert_eq!(g[i], m.grey(x), "{x}");
                    want.nan += u64::from(x.is_nan());
                    want.plus_infinity += u64::from(x == f64::INFINITY);
                    want.minus_infinity += u64::from(x == f64::NEG_INFINITY);
                    want.below += u64::from(x.is_finite() && x < low);
                    want.above += u64::from(x.is_finite() && x > high);
                    if x >= low && x <= high {
                        assert!((m.value(g[i]) - x).abs() <= m.step() * (0.5 + 1e-6), "{x} back to {}", m.value(g[i]));
                    }
                }
                assert_eq!(t, want);
                assert!(t.nan > 1000 && t.below > 0);
            }
        }
    }

    #[test]
    fn portable_and_vector_instructions_agree() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        let v: Vec<f32> = (0..100_003).map(|_| f32::from_bits(rng.random::<u32>())).collect();
        let m = map(-3.0, 1e5, Depth::Sixteen);
        let (mut a, mut b) = (vec![0u16; v.len()], vec![0u16; v.len()]);
        let (ca, cb) = (rule(&m, &v, &mut a), fast(&m, &v, &mut b));
        assert!(a == b);
        assert_eq!((ca.below, ca.above, ca.odd), (cb.below, cb.above, cb.odd));
    }

    /// Values at and next to every tie, and at the limits, where 32 bits alone would round the wrong way.
    #[test]
    fn ties_round_the_same_way_in_all_instructions() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(6);
        for (low, high) in [(-0.0123, 1.5432), (0.0, 255.0), (-1.0, 1.0), (0.1, 0.7), (900.0, 1100.0), (3e4, 3e4 + 1.0)]
        {
            let m = map(low, high, Depth::Eight);
            let mut v: Vec<f32> = vec![low as f32, high as f32];
            for g in 0..255 {
                let tie = (low + m.step() * (f64::from(g) + 0.5)) as f32;
                v.extend([tie, tie.next_up(), tie.next_down(), tie.next_up().next_up(), tie.next_down().next_down()]);
            }
            // Among many plain ones, so that vectors of both kinds come.
            v.extend((0..20_000).map(|_| (low + (high - low) * rng.random::<f64>()) as f32));
            v.extend([f32::NAN, f32::INFINITY, -1e9, 1e9]);
            for i in (1..v.len()).rev() {
                v.swap(i, rng.random_range(0..=i));
            }
            for cut in [0, 3, 16] {
                let v = &v[cut..];
                let (mut a, mut b) = (vec![0u8; v.len()], vec![0u8; v.len()]);
                let (ca, cb) = (rule(&m, v, &mut a), fast(&m, v, &mut b));
                let differs = a.iter().zip(&b).position(|(a, b)| a != b);
                assert_eq!(differs.map(|i| (v[i], a[i], b[i])), None, "{low}..{high}");
                assert_eq!((ca.below, ca.above, ca.odd), (cb.below, cb.above, cb.odd));
            }
        }
    }

    #[test]
    fn all_types_and_any_alignment() {
        let m = map(-7.0, 300.0, Depth::Eight);
        for dtype in DType::ALL {
            let small: Vec<u8> = (0..120u8).collect();
            let bytes =
                DType::U8.convert_lossless(&small, dtype).unwrap_or_else(|| (0..120i8).map(|v| v as u8).collect()); // int8 holds these too
            let want: Vec<u8> = small.iter().map(|&v| m.grey(f64::from(v)) as u8).collect();
            for shift in 0..3 {
                let mut moved = vec![0u8; shift];
                moved.extend(&bytes);
                let mut out = vec![0u8; 120];
                m.convert(dtype, &moved[shift..], &mut out, None);
                assert_eq!(out, want, "{} shifted by {shift}", dtype.name());
            }
        }
        // Greys of two bytes at odd addresses.
        let m = map(0.0, 1.0, Depth::Sixteen);
        let v = [0.25f32, 0.5, 2.0];
        let mut out = [0u8; 7];
        m.convert(DType::F32, bytemuck::cast_slice(&v), &mut out[1..], None);
        let back: Vec<u16> = out[1..].chunks_exact(2).map(|c| u16::from_ne_bytes([c[0], c[1]])).collect();
        assert_eq!(back, [16384, 32768, 65535]);
    }

    #[test]
    fn policies_for_what_is_no_number() {
        let v = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2.0];
        for (policy, want) in [(NonFinite::Lowest, [0, 0, 0, 255]), (NonFinite::Clip, [0, 255, 0, 255])] {
            let m = GreyMap::new(0.0, 1.0, Depth::Eight, policy).unwrap();
            for dither in [None, Some((1, 0))] {
                let (g, t) = run(&m, DType::F32, &v, dither);
                assert_eq!(g, want);
                assert_eq!((t.nan, t.plus_infinity, t.minus_infinity, t.below, t.above), (1, 1, 1, 0, 1));
            }
        }
    }

    #[test]
    fn dithering_is_unbiased_close_and_independent_of_the_pieces() {
        let m = map(0.0, 255.0, Depth::Eight);
        let v = vec![100.3f32; 200_000];
        let (g, _) = run(&m, DType::F32, &v, Some((7, 0)));
        assert!(g.iter().all(|&x| x == 100 || x == 101));
        let mean = g.iter().map(|&x| f64::from(x)).sum::<f64>() / g.len() as f64;
        // Standard error of the mean of a coin with p = 0.3 is 0.001.
        assert!((mean - 100.3).abs() < 0.005, "{mean}");
        let (a, _) = run(&m, DType::F32, &v[..77_777], Some((7, 0)));
        let (b, _) = run(&m, DType::F32, &v[77_777..], Some((7, 77_777)));
        assert_eq!([a, b].concat(), g);
        assert_ne!(run(&m, DType::F32, &v, Some((8, 0))).0, g);
        // Whole greys and both ends stay where they are.
        let whole: Vec<f32> = (0..=255).map(|i| i as f32).collect();
        assert_eq!(run(&m, DType::F32, &whole, Some((9, 3))).0, (0..=255).collect::<Vec<u32>>());
    }

    #[test]
    fn limits_that_make_no_sense_are_refused() {
        let n = NonFinite::Lowest;
        for (low, high) in [
            (1.0, 1.0),
            (2.0, 1.0),
            (f64::NAN, 1.0),
            (0.0, f64::INFINITY),
            (-f64::MAX, f64::MAX),
            (0.0, f64::MIN_POSITIVE),
            (1.0, 1.0 + f64::EPSILON),
        ] {
            assert!(GreyMap::new(low, high, Depth::Eight, n).is_err(), "{low}..{high}");
        }
    }
}
