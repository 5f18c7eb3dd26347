//! Numbers about grey values: histograms, percentiles, limits, and the conversion itself. No files, no terminal.

mod grey;
mod histogram;

pub use grey::{Depth, GreyMap, NonFinite, Tally};
pub use histogram::{Histogram, Statistics};
