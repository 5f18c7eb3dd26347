//! The spreading kernel: Kaiser–Bessel, its transform, and how wide it must be for a wanted accuracy.
//!
//! A sample at `u` is spread over the `width` nearest grid points with weights `phi(n - u)`. By Poisson's sum the image
//! that comes out is the true one plus `sum_l phi^(x + l G) / phi^(x) f(x + l G)`: what lies one grid period `G` away,
//! damped by the kernel's transform. The estimate below takes the image out there to be as strong as inside, which white
//! noise and a scan of very few angles come near; scans of an object that fits the detector are ten times better.
//!
//! Source: J. F. Kaiser's window; J. I. Jackson et al., IEEE Trans. Med. Imaging 10 (1991) 473 for its use in gridding.

/// Largest width the spreading code is made for.
pub(super) const MAX_WIDTH: usize = 8;
/// Smallest.
pub(super) const MIN_WIDTH: usize = 4;

/// A Kaiser–Bessel kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Kernel {
    pub(super) width: usize,
    pub(super) beta: f64,
}

/// Modified Bessel function of the first kind, order 0, by its power series (all terms positive: no cancellation).
fn bessel_i0(x: f64) -> f64 {
    let q = x * x / 4.0;
    let (mut term, mut sum, mut k) = (1.0, 1.0, 1.0);
    while term > 1e-17 * sum {
        term *= q / (k * k);
        sum += term;
        k += 1.0;
    }
    sum
}

impl Kernel {
    /// The kernel of this width for a grid `oversampling` times finer than the image, its shape by the rule of Beatty et
    /// al., IEEE Trans. Med. Imaging 24 (2005) 799, eq. 5: within a few per cent of the least error.
    pub(super) fn new(width: usize, oversampling: f64) -> Kernel {
        let w = width as f64 * (1.0 - 0.5 / oversampling);
        Kernel { width, beta: std::f64::consts::PI * (w * w - 0.8).sqrt() }
    }

    /// Value at distance `t` in grid cells, 1 in the middle.
    pub(super) fn value(&self, t: f64) -> f64 {
        let x = 2.0 * t / self.width as f64;
        if x.abs() > 1.0 { 0.0 } else { bessel_i0(self.beta * (1.0 - x * x).sqrt()) / bessel_i0(self.beta) }
    }

    /// Fourier transform at image position `x` in units of the grid's period.
    pub(super) fn transform(&self, x: f64) -> f64 {
        let w = self.width as f64;
        let a = self.beta * self.beta - (std::f64::consts::PI * w * x).powi(2);
        let r = a.abs().sqrt();
        let s = if r < 1e-6 {
            1.0
        } else if a > 0.0 {
            r.sinh() / r
        } else {
            r.sin() / r
        };
        w * s / bessel_i0(self.beta)
    }

    /// Relative rms error of a two-dimensional image that fills `1 / oversampling` of the period, if what lies around it
    /// is as strong as the image.
    pub(super) fn error(&self, oversampling: f64) -> f64 {
        let n = 64;
        let sum: f64 = (0..n)
            .map(|i| {
                let x = (i as f64 + 0.5) / n as f64 / 2.0 / oversampling;
                let inner = self.transform(x);
                let alias = |l: i32| (self.transform(x + f64::from(l)) / inner).powi(2);
                (1..=6).map(|l| alias(l) + alias(-l)).sum::<f64>()
            })
            .sum();
        (2.0 * sum / n as f64).sqrt()
    }

    /// Degree of [`Kernel::taps`]; two more per unit of width keep the fit below the kernel's own error.
    pub(super) const fn degree(width: usize) -> usize {
        width + 3
    }

    /// Coefficients, highest power first, of the weights of all taps as polynomials in `f - 1/2`, where tap `j` lies
    /// `j + f - width / 2` from the sample, `0 < f <= 1`. Taps beyond the width are zero.
    pub(super) fn taps(&self) -> Vec<[f32; MAX_WIDTH]> {
        let n = Self::degree(self.width) + 1;
        // Interpolation in Chebyshev points, by Newton's divided differences, then expanded.
        let node = |i: usize| 0.5 * (std::f64::consts::PI * (i as f64 + 0.5) / n as f64).cos();
        let mut out = vec![[0f32; MAX_WIDTH]; n];
        for j in 0..self.width {
            let x: Vec<f64> = (0..n).map(node).collect();
            let mut c: Vec<f64> = x.iter().map(|x| self.value(j as f64 + 0.5 + x - self.width as f64 / 2.0)).collect();
            for level in 1..n {
                for i in (level..n).rev() {
                    c[i] = (c[i] - c[i - 1]) / (x[i] - x[i - level]);
                }
            }
            let mut poly = vec![0.0; n];
            for i in (0..n).rev() {
                for d in (1..n).rev() {
                    poly[d] = poly[d - 1] - x[i] * poly[d];
                }
                poly[0] = c[i] - x[i] * poly[0];
            }
            for (d, row) in out.iter_mut().rev().enumerate() {
                row[j] = poly[d] as f32;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transform_and_polynomials_equal_the_kernel() {
        for width in MIN_WIDTH..=MAX_WIDTH {
            let k = Kernel::new(width, 1.4);
            let half = width as f64 / 2.0;
            for x in [0.0, 0.2, 0.5, 0.9, 1.7] {
                // Midpoint rule; the kernel's jump at its ends is 1 / I0(beta).
                let n = 20_000;
                let at = |i: usize| (i as f64 + 0.5) / n as f64 * width as f64 - half;
                let sum: f64 = (0..n).map(|i| k.value(at(i)) * (std::f64::consts::TAU * x * at(i)).cos()).sum();
                let sum = sum * width as f64 / n as f64;
                assert!((sum - k.transform(x)).abs() < 1e-6, "width {width} at {x}: {sum} {}", k.transform(x));
            }
            let taps = k.taps();
            assert_eq!(taps.len(), Kernel::degree(width) + 1);
            for i in 1..=50 {
                let f = i as f64 / 50.0;
                for j in 0..MAX_WIDTH {
                    let p = taps.iter().fold(0.0, |p, c| p * (f - 0.5) + f64::from(c[j]));
                    let want = if j < width { k.value(j as f64 + f - half) } else { 0.0 };
                    // At f = 1 the last tap sits on the kernel's end.
                    assert!((p - want).abs() < 2e-6 || i == 50, "width {width}, tap {j}, {f}: {p} {want}");
                }
            }
        }
    }

    #[test]
    fn wider_and_finer_is_better() {
        for width in MIN_WIDTH..=MAX_WIDTH {
            for s in [1.2, 1.5, 2.0] {
                let e = Kernel::new(width, s).error(s);
                assert!(e > Kernel::new(width, s + 0.2).error(s + 0.2));
                assert!(width == MAX_WIDTH || e > Kernel::new(width + 1, s).error(s));
            }
        }
        assert!(Kernel::new(MAX_WIDTH, 2.0).error(2.0) < 2e-7);
    }
}
