//! Parallel-beam reconstruction: numbers in, numbers out. No file formats, no terminal.
//!
//! ```text
//!  Geometry ─┐                       ┌─ RowFilter: weight, pad, FFT, filter, inverse FFT ─┐
//!            ├─► FbpPlan::new ─► plan┤                                                    ├─► slices
//!  Options ──┘   (tables, once)      └─ Backend: backproject tiles of pixels ─────────────┘
//!                                          ▲
//!                 Scratch (caller's) ──────┘   Sinograms (borrowed, any stride)
//! ```
//!
//! A [`FbpPlan`] is made once per scan and shared by all threads; a [`Scratch`] belongs to whoever calls
//! [`FbpPlan::execute`]. The bytes of a slice depend on the plan and on that slice's sinogram only: not on the number
//! of threads, not on how many slices travel together.
//!
//! # Conventions
//! - `rotation_axis_px` and detector columns are 0-based, a whole number is the centre of a column.
//! - Voxel (row i, column j) of a slice lies at `x = j - cx`, `y = cy - i` (y upwards), with the axis at voxel
//!   `(cx, cy)`; a ray at angle t meets the detector in column `u = x cos t + y sin t + rotation_axis_px`.
//!   This is the orientation of ASTRA's parallel beam and of PyHST2's `vol[z, i, j]` for angles `+k * step`.
//! - Values are attenuation per pixel, per centimetre or per metre ([`Unit`]).
//!
//! [`mod@reference`] is the slow float64 oracle, [`axis`] finds the rotation axis from opposite projections.

pub mod axis;
mod direct;
mod filter;
mod geometry;
mod gridding;
mod options;
mod plan;
pub mod reference;
mod rowfilter;
mod simd;

pub use filter::Filter;
pub use geometry::{Centre, Field, Geometry, Output, Roi, angle_weights};
pub use options::{Backend, Interpolation, Mask, Options, Padding, Unit, Weights};
pub use plan::{FbpPlan, Scratch, Sinograms};
pub use simd::Simd;

#[cfg(test)]
mod tests;
