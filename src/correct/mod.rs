//! From counts to attenuation: flats, darks, −log. Numbers in, numbers out; works on any band of rows, so that memory
//! never grows with the frame, and gives the same bytes however the frame was cut.
//!
//! ```text
//!  flats ─► combine (median | mean) ─► one Flat per position ─┐
//!  darks ─► combine (mean | median) ──────────────────────────┼─► Corrector::new ─► apply(projection band) ─► Counts
//!  LogOptions (named policy for what has no logarithm) ───────┘
//! ```
//!
//! Nothing is repaired silently: every value that was clipped or replaced is counted in [`Counts`].

mod ln;
mod transmission;

pub use ln::ln;
pub use tomokit_formats::model::{Combine, combine};
pub use transmission::{Bad, Corrector, Counts, Flat, LogOptions};
