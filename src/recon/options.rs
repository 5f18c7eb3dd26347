//! Numerical choices of a reconstruction. Leaves geometry to [`super::Geometry`].

use super::Filter;
use serde::{Deserialize, Serialize};
use tomokit_formats::{Error, Result};

/// What lies beyond the ends of a truncated projection, as the filter sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Padding {
    /// The end values go on: right for local tomography, harmless when the ends are air.
    Edge,
    /// Zeros.
    Zero,
}

/// Unit of the values.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Unit {
    /// Attenuation per detector pixel.
    PerPixel,
    /// cm⁻¹, as PyHST2 writes; needs the pixel size.
    PerCm,
    /// m⁻¹; needs the pixel size.
    PerM,
}

/// What to do with voxels that some projection did not see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mask {
    /// Exactly zero there (PyHST2's ZEROOFFMASK).
    Seen,
    /// The same, and zero outside the square around the circle of the nearer end of the detector, half a voxel before
    /// the axis, as PyHST2 does.
    SeenInSquare,
    /// Keep what comes out.
    Off,
}

/// How a filtered projection is read between columns (direct back end only).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interpolation {
    /// Linear.
    Linear,
    /// Linear at the nearest quarter of a column: what PyHST2 does on a CPU (OVERSAMPLING_FACTOR = 4).
    Quarter,
}

/// Quadrature over the angles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weights {
    /// Half the gap to the neighbouring angles: right for any list.
    Gaps,
    /// The same for all, period / count: for a missing wedge, whose ends `Gaps` would weigh heavily.
    Equal,
}

/// The engine behind a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    /// Fourier gridding: the sum over the angles with exact (trigonometric) interpolation of the filtered projections,
    /// up to [`Options::tolerance`], at the cost of a few Fourier transforms.
    Gridding,
    /// Pixel-driven backprojection with linear interpolation, several slices side by side in SIMD registers.
    Direct,
}

/// Everything about a reconstruction that is not geometry.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Options {
    /// Frequency filter.
    pub filter: Filter,
    /// Cut-off of the filter's window as a fraction of the Nyquist frequency, in (0, 1].
    pub cutoff: f64,
    /// What lies beyond the ends of the projections.
    pub padding: Padding,
    /// Length of the FFT over the width of a projection, at least 2. [`Filter::RampPyhst`] has its own rule.
    pub pad_factor: f64,
    /// Unit of the values.
    pub unit: Unit,
    /// Detector pixel size, µm; needed for every unit but [`Unit::PerPixel`].
    pub pixel_size_um: Option<f64>,
    /// Voxels outside the seen region.
    pub mask: Mask,
    /// Interpolation of the direct back end.
    pub interpolation: Interpolation,
    /// Quadrature over the angles.
    pub weights: Weights,
    /// The engine.
    pub backend: Backend,
    /// Relative rms error the gridding back end may add to the exact sum, in 1e-6..=1e-2. It holds for any data; for a
    /// scan of an object inside the field of view the error is several times smaller. Float32 arithmetic comes on top with
    /// about 1e-6.
    pub tolerance: f64,
}

impl Default for Options {
    /// Ramp, edge padding, factor 2, per pixel, mask on, gridding to 2e-4.
    fn default() -> Self {
        Options {
            filter: Filter::Ramp,
            cutoff: 1.0,
            padding: Padding::Edge,
            pad_factor: 2.0,
            unit: Unit::PerPixel,
            pixel_size_um: None,
            mask: Mask::Seen,
            interpolation: Interpolation::Linear,
            weights: Weights::Gaps,
            backend: Backend::Gridding,
            tolerance: 2e-4,
        }
    }
}

impl Options {
    /// The choices that reproduce PyHST2 2020c on a CPU with FBFILTER = 0 and padding 'E', in cm⁻¹.
    ///
    /// Measured on PyHST2's own `tooth.vol` (640 × 640 × 2, 181 projections, axis 296): correlation 0.99999, slope
    /// 1.0000, offset below 0.002 cm⁻¹, rms of the difference 0.4 % of the standard deviation, on the region PyHST2
    /// fills. What it takes: |f| sampled on `2 * 2^ceil(log2(2 cols))` points (half that length leaves an offset of
    /// 0.28 cm⁻¹, the discretised ramp one of −0.09), edge padding, and positions rounded to quarter columns (with
    /// plain linear interpolation: correlation 0.9993). Its mask, the region seen by all
    /// projections cut by a square, is reproduced to 99.4 % of the voxels.
    pub fn pyhst(pixel_size_um: f64) -> Self {
        Options {
            filter: Filter::RampPyhst,
            backend: Backend::Direct,
            interpolation: Interpolation::Quarter,
            mask: Mask::SeenInSquare,
            unit: Unit::PerCm,
            pixel_size_um: Some(pixel_size_um),
            ..Options::default()
        }
    }

    /// Checks the numbers; every error is the caller's.
    pub fn check(&self) -> Result<()> {
        if !(self.cutoff > 0.0 && self.cutoff <= 1.0) {
            return Err(Error::caller("the filter cut-off is out of range")
                .expected("a fraction of Nyquist in (0, 1]")
                .found(self.cutoff));
        }
        if !(self.pad_factor >= 2.0 && self.pad_factor <= 64.0) {
            return Err(Error::caller("the pad factor is out of range").expected("2..=64").found(self.pad_factor));
        }
        if !(self.tolerance >= 1e-6 && self.tolerance <= 1e-2) {
            return Err(Error::caller("the tolerance is out of range").expected("1e-6..=1e-2").found(self.tolerance));
        }
        self.scale().map(|_| ())
    }

    /// Factor from attenuation per pixel to [`Options::unit`].
    ///
    /// # Errors
    /// If the unit needs a pixel size and there is none, or it is not a positive number.
    pub fn scale(&self) -> Result<f64> {
        let per_um = match self.unit {
            Unit::PerPixel => return Ok(1.0),
            Unit::PerCm => 1e4,
            Unit::PerM => 1e6,
        };
        match self.pixel_size_um {
            Some(p) if p.is_finite() && p > 0.0 => Ok(per_um / p),
            Some(p) => Err(Error::caller("the pixel size is not a positive number").expected("µm").found(p)),
            None => Err(Error::caller("values per length need the pixel size")
                .hint("give the pixel size, or ask for values per pixel")),
        }
    }
}
