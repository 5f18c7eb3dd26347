//! Frequency responses of the reconstruction filters. Guarantees a real, non-negative response on `len/2 + 1` bins for
//! values per pixel; leaves padding and FFTs to the row filter.

use rustfft::num_complex::Complex;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;
use tomokit_formats::{Error, Result};

/// A reconstruction filter: the ramp times a window over `x = f / (cutoff * Nyquist)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Filter {
    /// Band-limited ramp, discretised in space so that its zero frequency is right (Kak and Slaney, chapter 3;
    /// PyHST2's FBFILTER = 1).
    Ramp,
    /// Ramp times `sinc(x/2)`.
    SheppLogan,
    /// Ramp times `cos(pi x / 2)`.
    Cosine,
    /// Ramp times `(1 + cos(pi x)) / 2`.
    Hann,
    /// Ramp times `0.54 + 0.46 cos(pi x)`.
    Hamming,
    /// Ramp times `(1 - x)^3`.
    Parzen,
    /// Ramp times `1 / (1 + x^(2 order))`: half power at the cut-off.
    Butterworth {
        /// Steepness, at least 1.
        order: u32,
    },
    /// |f| sampled, zero at f = 0, on PyHST2's FFT length (its FBFILTER = 0). Offsets and cupping come with it: use it
    /// to reproduce, not to measure.
    RampPyhst,
    /// No filter: plain backprojection.
    None,
}

impl Filter {
    /// Every filter with its name.
    pub const ALL: [(&'static str, Filter); 9] = [
        ("ramp", Filter::Ramp),
        ("shepp-logan", Filter::SheppLogan),
        ("cosine", Filter::Cosine),
        ("hann", Filter::Hann),
        ("hamming", Filter::Hamming),
        ("parzen", Filter::Parzen),
        ("butterworth", Filter::Butterworth { order: 4 }),
        ("ramp-pyhst", Filter::RampPyhst),
        ("none", Filter::None),
    ];

    /// FFT length for rows `width` wide.
    pub(super) fn fft_len(self, width: usize, pad_factor: f64) -> usize {
        match self {
            Filter::RampPyhst => 2 * (2 * width).next_power_of_two(),
            _ => fast_len((width as f64 * pad_factor).ceil() as usize),
        }
    }

    /// Value of the window at `x`, where 1 is the cut-off.
    pub(super) fn window(self, x: f64) -> f64 {
        if let Filter::Butterworth { order } = self {
            return 1.0 / (1.0 + x.powf(2.0 * f64::from(order.max(1))));
        }
        if x > 1.0 + 1e-12 {
            return 0.0;
        }
        match self {
            Filter::SheppLogan if x > 0.0 => (PI * x / 2.0).sin() / (PI * x / 2.0),
            Filter::Cosine => (PI * x / 2.0).cos().max(0.0),
            Filter::Hann => 0.5 + 0.5 * (PI * x).cos(),
            Filter::Hamming => 0.54 + 0.46 * (PI * x).cos(),
            Filter::Parzen => (1.0 - x).max(0.0).powi(3),
            _ => 1.0,
        }
    }

    /// Response on the bins `0..=len/2` of an FFT of even length `len`, for pixel size 1.
    pub(super) fn response(self, len: usize, cutoff: f64) -> Vec<f64> {
        let half = len / 2;
        let ramp: Vec<f64> = match self {
            Filter::None => vec![1.0; half + 1],
            Filter::RampPyhst => (0..=half).map(|k| k as f64 / len as f64).collect(),
            _ => {
                let mut h: Vec<Complex<f64>> = (0..len).map(|n| Complex::new(ramp_kernel(n, len), 0.0)).collect();
                rustfft::FftPlanner::new().plan_fft_forward(len).process(&mut h);
                h[..=half].iter().map(|v| v.re.max(0.0)).collect()
            }
        };
        let nyquist = half as f64 * cutoff;
        ramp.iter().enumerate().map(|(k, r)| r * self.window(k as f64 / nyquist)).collect()
    }
}

/// Takes out of a response on `0..=len/2` what voxels of `bin` columns cannot show: the frequencies beyond theirs, and
/// half of the highest one, as every discrete transform holds it.
pub(super) fn low_pass(response: &mut [f64], len: usize, bin: usize) {
    if bin > 1 {
        let last = len / (2 * bin);
        response[last + 1..].fill(0.0);
        if last * 2 * bin == len {
            response[last] *= 0.5;
        }
    }
}

/// The ramp in space, for lag `n` on a circle of `len`: 1/4 at 0, −1/(πn)² at odd lags, 0 at even ones.
pub(super) fn ramp_kernel(n: usize, len: usize) -> f64 {
    let d = n.min(len - n);
    match d {
        0 => 0.25,
        d if d % 2 == 1 => -1.0 / (PI * d as f64).powi(2),
        _ => 0.0,
    }
}

/// Smallest even number `>= n` with no prime factor above 5.
pub(super) fn fast_len(n: usize) -> usize {
    let mut m = n.max(2).next_multiple_of(2);
    loop {
        let mut r = m;
        for p in [2, 3, 5] {
            while r.is_multiple_of(p) {
                r /= p;
            }
        }
        if r == 1 {
            return m;
        }
        m += 2;
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let same = |o: &Filter| std::mem::discriminant(o) == std::mem::discriminant(self);
        f.write_str(Filter::ALL.iter().find(|(_, o)| same(o)).map_or("filter", |(n, _)| n))
    }
}

impl FromStr for Filter {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        let s = s.to_ascii_lowercase().replace('_', "-");
        Filter::ALL.iter().find(|(n, _)| *n == s).map(|(_, f)| *f).ok_or_else(|| {
            let names: Vec<_> = Filter::ALL.iter().map(|(n, _)| *n).collect();
            Error::caller("there is no such filter").expected(names.join(", ")).found(s)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_follow_their_formulas() {
        for len in [64, 90, 1000] {
            let r = Filter::Ramp.response(len, 1.0);
            assert_eq!(r.len(), len / 2 + 1);
            // Closed form of the truncated series at f = 0, and |f| elsewhere to the series' tail.
            let dc: f64 = (0..len).map(|n| ramp_kernel(n, len)).sum();
            assert!((r[0] - dc).abs() < 1e-12 && dc > 0.0 && dc < 0.3 / len as f64);
            for (k, v) in r.iter().enumerate() {
                assert!((v - k as f64 / len as f64).abs() < 0.6 / len as f64, "bin {k} of {len}: {v}");
            }
            let h = Filter::Hann.response(len, 0.5);
            assert!(h[len / 4 + 1..].iter().all(|v| *v == 0.0));
            assert!(
                (h[len / 8] / r[len / 8] - Filter::Hann.window(2.0 * (len / 8) as f64 / (len / 4) as f64 / 2.0)).abs()
                    < 0.2
            );
        }
        assert_eq!(Filter::RampPyhst.response(64, 1.0)[0], 0.0);
        assert_eq!(Filter::RampPyhst.fft_len(640, 2.0), 4096);
        assert!(Filter::None.response(64, 1.0).iter().all(|v| *v == 1.0));
        let at_half = [
            (Filter::SheppLogan, 0.900_316_316),
            (Filter::Cosine, 0.5f64.sqrt()),
            (Filter::Hann, 0.5),
            (Filter::Hamming, 0.54),
            (Filter::Parzen, 0.125),
            (Filter::Butterworth { order: 1 }, 0.8),
            (Filter::Ramp, 1.0),
        ];
        for (f, v) in at_half {
            assert!((f.window(0.5) - v).abs() < 1e-8, "{f}");
            assert!((f.window(0.0) - 1.0).abs() < 1e-12, "{f}");
        }
    }

    #[test]
    fn names_round_trip() {
        for (name, f) in Filter::ALL {
            assert_eq!(name.parse::<Filter>().unwrap(), f);
            assert_eq!(f.to_string(), name);
        }
        assert!("rump".parse::<Filter>().unwrap_err().to_string().contains("shepp-logan"));
    }

    #[test]
    fn fast_lengths() {
        for (n, m) in [(0, 2), (1, 2), (7, 8), (11, 12), (1090, 1152), (2042, 2048), (4096, 4096), (14, 16)] {
            assert_eq!(fast_len(n), m, "{n}");
        }
    }
}
