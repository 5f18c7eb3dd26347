//! What a camera makes of a beam: counts with photon noise, an uneven and drifting beam, dark level, pixels with a bad
//! response (rings), hot spikes and lost frames. Pure functions of options, seed and frame number.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Poisson};
use std::f64::consts::TAU;
use tomokit_formats::{Error, Result};

/// What is wrong with the beam and the camera. The default is a perfect one: no noise, an even beam.
#[derive(Clone, PartialEq, Debug)]
pub struct CameraOptions {
    /// Seed of everything random.
    pub seed: u64,
    /// Mean counts of a flat above the dark level.
    pub flat_counts: f64,
    /// Photons per count (gain): noise variance = counts / this. `None` = no photon noise.
    pub photons_per_count: Option<f64>,
    /// Mean dark level, counts.
    pub dark_counts: f64,
    /// Standard deviation of the read-out noise, counts.
    pub read_noise: f64,
    /// Relative amplitude of the beam's structure: horizontal stripes as of a multilayer, and a bell across.
    pub structure: f64,
    /// Vertical movement of the structure over the scan, pixels.
    pub drift_px: f64,
    /// Relative loss of intensity over the scan (decaying current).
    pub decay: f64,
    /// Fraction of columns-and-rows sites whose response is not linear: they come out as rings.
    pub ring_fraction: f64,
    /// Strength of the bad response: the site sees `T^(1 + strength * r)`, r in −1…1.
    pub ring_strength: f64,
    /// Probability of a hot spike per pixel and projection.
    pub spike_rate: f64,
    /// Projections that were lost: all zero.
    pub lost: Vec<usize>,
}

impl Default for CameraOptions {
    fn default() -> Self {
        CameraOptions {
            seed: 1,
            flat_counts: 30_000.0,
            photons_per_count: None,
            dark_counts: 100.0,
            read_noise: 0.0,
            structure: 0.0,
            drift_px: 0.0,
            decay: 0.0,
            ring_fraction: 0.0,
            ring_strength: 0.05,
            spike_rate: 0.0,
            lost: Vec::new(),
        }
    }
}

/// A camera with `rows` × `cols` pixels of 16 bit.
pub struct Camera {
    rows: usize,
    cols: usize,
    options: CameraOptions,
    /// Amplitude, frequency (rad per row) and phase of the stripes.
    stripes: Vec<[f64; 3]>,
}

/// Which random stream a frame draws from: frames of different kind never share one.
#[derive(Clone, Copy)]
enum Stream {
    Setup = 0,
    Projection = 1,
    Flat = 2,
    Dark = 3,
}

impl Camera {
    /// Checks the options and draws the beam's structure.
    ///
    /// # Errors
    /// Options that are not numbers, negative, or do not fit 16 bit.
    pub fn new(rows: usize, cols: usize, options: CameraOptions) -> Result<Self> {
        let o = &options;
        let values = [
            ("flat counts", o.flat_counts, 65_535.0),
            ("dark counts", o.dark_counts, 65_535.0),
            ("read noise", o.read_noise, 65_535.0),
            ("beam structure", o.structure, 0.9),
            ("beam drift", o.drift_px.abs(), 1e6),
            ("beam decay", o.decay, 0.99),
            ("ring fraction", o.ring_fraction, 1.0),
            ("ring strength", o.ring_strength, 1.0),
            ("spike rate", o.spike_rate, 1.0),
            ("photons per count", o.photons_per_count.unwrap_or(1.0), 1e9),
        ];
        for (what, v, max) in values {
            if !(0.0..=max).contains(&v) {
                return Err(Error::caller(format!("the {what} of the simulated camera are out of range"))
                    .expected(format!("0 to {max}"))
                    .found(v));
            }
        }
        if o.photons_per_count == Some(0.0) {
            return Err(Error::caller("a count needs a positive number of photons").found(0));
        }
        let mut rng = stream(o.seed, Stream::Setup, 0);
        let stripes = (0..6)
            .map(|_| {
                let period = 8.0 + 120.0 * rng.random::<f64>();
                [0.4 * rng.random::<f64>() + 0.1, TAU / period, TAU * rng.random::<f64>()]
            })
            .collect();
        Ok(Camera { rows, cols, options, stripes })
    }

    /// Counts of projection `frame` of `frames`, taken at time `frame / frames`, from its exact −log image.
    /// Both slices are whole frames, `[row][column]`.
    ///
    /// # Errors
    /// Slices of another size.
    pub fn projection(&self, frame: usize, frames: usize, attenuation: &[f32], out: &mut [u16]) -> Result<()> {
        self.check(attenuation.len())?;
        if self.options.lost.contains(&frame) {
            self.check(out.len())?;
            out.fill(0);
            return Ok(());
        }
        let time = frame as f64 / frames.max(1) as f64;
        let mut rng = stream(self.options.seed, Stream::Projection, frame as u64);
        self.expose(time, Some(attenuation), &mut rng, out)
    }

    /// Counts of flat `frame` (a number of its own over all flats) taken at `time`: 0 = before, 1 = after the scan.
    ///
    /// # Errors
    /// A slice of another size.
    pub fn flat(&self, frame: usize, time: f64, out: &mut [u16]) -> Result<()> {
        self.expose(time, None, &mut stream(self.options.seed, Stream::Flat, frame as u64), out)
    }

    /// Counts of dark `frame`.
    ///
    /// # Errors
    /// A slice of another size.
    pub fn dark(&self, frame: usize, out: &mut [u16]) -> Result<()> {
        self.check(out.len())?;
        let mut rng = stream(self.options.seed, Stream::Dark, frame as u64);
        for o in out.iter_mut() {
            *o = count(self.options.dark_counts + self.options.read_noise * normal(&mut rng));
        }
        Ok(())
    }

    /// Expected counts above dark of the open beam at a pixel.
    pub fn beam(&self, row: usize, col: usize, time: f64) -> f64 {
        self.vertical(row, time) * self.horizontal(col)
    }

    fn vertical(&self, row: usize, time: f64) -> f64 {
        let o = &self.options;
        let y = row as f64 - o.drift_px * time;
        let sum: f64 = self.stripes.iter().map(|[a, f, p]| a * (f * y + p).sin()).sum();
        // The six amplitudes sum to 3 at most.
        o.flat_counts * (1.0 - o.decay * time) * (1.0 + o.structure * sum / 3.0)
    }

    fn horizontal(&self, col: usize) -> f64 {
        let x = (2.0 * col as f64 + 1.0) / self.cols as f64 - 1.0;
        1.0 - self.options.structure * x * x / 2.0
    }

    fn check(&self, len: usize) -> Result<()> {
        if self.rows.checked_mul(self.cols) == Some(len) {
            return Ok(());
        }
        Err(Error::caller("a frame of the simulated camera has another size")
            .expected(format!("{} rows of {} columns", self.rows, self.cols))
            .found(format!("{len} values")))
    }

    fn expose(&self, time: f64, attenuation: Option<&[f32]>, rng: &mut ChaCha8Rng, out: &mut [u16]) -> Result<()> {
        self.check(out.len())?;
        let o = &self.options;
        let across: Vec<f64> = (0..self.cols).map(|c| self.horizontal(c)).collect();
        for (r, line) in out.chunks_exact_mut(self.cols.max(1)).enumerate() {
            let down = self.vertical(r, time);
            for (c, v) in line.iter_mut().enumerate() {
                let mut p = attenuation.map_or(0.0, |a| f64::from(a[r * self.cols + c]));
                if o.ring_fraction > 0.0 {
                    let (chance, strength) = site(o.seed, r, c);
                    if chance < o.ring_fraction {
                        p *= 1.0 + o.ring_strength * strength;
                    }
                }
                let mut counts = down * across[c] * (-p).exp();
                if let Some(photons) = o.photons_per_count {
                    // A mean of zero has no distribution and no photons.
                    counts = Poisson::new(counts * photons).map_or(0.0, |d| d.sample(rng) / photons);
                }
                counts += o.dark_counts;
                if o.read_noise > 0.0 {
                    counts += o.read_noise * normal(rng);
                }
                if attenuation.is_some() && o.spike_rate > 0.0 && rng.random::<f64>() < o.spike_rate {
                    counts += o.flat_counts * (0.5 + rng.random::<f64>());
                }
                *v = count(counts);
            }
        }
        Ok(())
    }
}

fn stream(seed: u64, kind: Stream, frame: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream((kind as u64) << 56 | frame);
    rng
}

fn count(v: f64) -> u16 {
    v.round().clamp(0.0, 65_535.0) as u16
}

/// A standard normal number (Box and Muller): always two draws, so that streams stay in step.
fn normal(rng: &mut impl Rng) -> f64 {
    let (a, b) = (rng.random::<f64>(), rng.random::<f64>());
    (-2.0 * (1.0 - a).ln()).sqrt() * (TAU * b).cos()
}

/// Two numbers that belong to a pixel of this camera for good: 0…1 and −1…1 (SplitMix64 of seed and place).
fn site(seed: u64, row: usize, col: usize) -> (f64, f64) {
    let mut x = seed ^ (row as u64) << 32 ^ col as u64;
    let mut next = || {
        x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = x;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as f64 / 18_446_744_073_709_551_616.0
    };
    next();
    (next(), 2.0 * next() - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noisy() -> CameraOptions {
        CameraOptions {
            photons_per_count: Some(0.1),
            read_noise: 2.0,
            structure: 0.2,
            drift_px: 3.0,
            decay: 0.1,
            ring_fraction: 0.02,
            spike_rate: 1e-3,
            lost: vec![5],
            ..CameraOptions::default()
        }
    }

    fn frame(c: &Camera, k: usize) -> Vec<u16> {
        let mut out = vec![0; 40 * 60];
        c.projection(k, 10, &[0.5; 2400], &mut out).unwrap();
        out
    }

    #[test]
    fn a_perfect_camera_counts_what_arrives() {
        let c = Camera::new(40, 60, CameraOptions::default()).unwrap();
        let want = (30_000.0 * (-0.5f64).exp() + 100.0).round() as u16;
        assert!(frame(&c, 3).iter().all(|v| *v == want));
        let mut out = vec![0; 2400];
        c.flat(0, 0.0, &mut out).unwrap();
        assert!(out.iter().all(|v| *v == 30_100));
        c.dark(0, &mut out).unwrap();
        assert!(out.iter().all(|v| *v == 100));
        assert!(c.dark(0, &mut out[1..]).is_err());
    }

    #[test]
    fn frames_depend_on_seed_and_number_only() {
        let (a, b) = (Camera::new(40, 60, noisy()).unwrap(), Camera::new(40, 60, noisy()).unwrap());
        let first = frame(&a, 7);
        frame(&b, 1);
        assert_eq!(first, frame(&b, 7));
        assert_ne!(first, frame(&a, 8));
        let other = Camera::new(40, 60, CameraOptions { seed: 2, ..noisy() }).unwrap();
        assert_ne!(first, frame(&other, 7));
        assert!(frame(&a, 5).iter().all(|v| *v == 0), "lost");
    }

    #[test]
    fn noise_has_the_variance_of_its_photons() {
        let o = CameraOptions { photons_per_count: Some(0.25), read_noise: 10.0, ..CameraOptions::default() };
        let c = Camera::new(200, 200, o).unwrap();
        let mut out = vec![0; 40_000];
        c.flat(0, 0.0, &mut out).unwrap();
        let mean = out.iter().map(|v| f64::from(*v)).sum::<f64>() / 4e4;
        let var = out.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / 4e4;
        assert!((mean - 30_100.0).abs() < 10.0, "{mean}");
        // 30000 counts of a quarter photon, plus the read-out; standard error of a variance: 0.7 %.
        assert!((var / (120_000.0 + 100.0) - 1.0).abs() < 0.04, "{var}");
    }

    #[test]
    fn flaws_are_where_they_should_be() {
        let rings = Camera::new(40, 60, CameraOptions { ring_fraction: 0.05, ..CameraOptions::default() }).unwrap();
        let (a, b) = (frame(&rings, 0), frame(&rings, 9));
        assert_eq!(a, b, "rings stay in place");
        let usual = a.iter().filter(|v| **v == (30_000.0 * (-0.5f64).exp() + 100.0).round() as u16).count();
        assert!((2200..2350).contains(&usual), "{usual} of 2400 pixels are good");
        let spikes = Camera::new(40, 60, CameraOptions { spike_rate: 0.01, ..CameraOptions::default() }).unwrap();
        let hot = frame(&spikes, 0).iter().filter(|v| **v > 30_000).count();
        assert!((5..60).contains(&hot), "{hot} spikes");
        let uneven = Camera::new(40, 60, CameraOptions { structure: 0.3, drift_px: 5.0, ..noisy() }).unwrap();
        assert!((uneven.beam(10, 30, 0.0) / uneven.beam(20, 30, 0.0) - 1.0).abs() > 1e-3);
        assert!((uneven.vertical(10, 0.0) * 0.9 / uneven.vertical(15, 1.0) - 1.0).abs() < 1e-9, "moved by the drift");
        for bad in [
            CameraOptions { flat_counts: f64::NAN, ..CameraOptions::default() },
            CameraOptions { spike_rate: 2.0, ..CameraOptions::default() },
            CameraOptions { photons_per_count: Some(0.0), ..CameraOptions::default() },
        ] {
            assert!(Camera::new(4, 4, bad).is_err());
        }
    }
}
