//! Numbers about grey values: histograms, percentiles, limits. No files, no terminal.

mod histogram;

pub use histogram::{Histogram, Statistics};
