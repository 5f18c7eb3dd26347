//! Analytic phantoms: sums of ellipsoids whose parallel-beam projections are known exactly, for tests of everything
//! downstream and for users to try the tools on.
//!
//! ```text
//!  Kind + size + seed ─► Phantom ─┬─► project(angle) ─► exact −log projection ─► Camera::projection ─► counts (u16)
//!                                 └─► rasterise(slice) ─► the truth                Camera::flat, ::dark ─► counts
//! ```
//!
//! Every frame depends on the description and its own number only, never on what was made before: frames can be made in
//! any order on any number of threads. Units: lengths in detector pixels, attenuation in cm⁻¹, the pixel size makes the
//! link. Conventions as in [`crate::recon`].

mod camera;
mod shapes;

pub use camera::{Camera, CameraOptions};
pub use shapes::{Ellipsoid, Kind, Phantom, View};
