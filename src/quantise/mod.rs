//! Numbers about grey values: histograms, percentiles, limits, and the conversion itself. No files, no terminal.

#[cfg(target_arch = "x86_64")]
mod cpu;
mod field;
mod fine;
mod grey;
mod histogram;
mod pairs;

pub use field::{Field, Placement, between_zeros};
pub use fine::{CoarseCounter, CoarseHistogram, FineCounter, FineHistogram};
pub use grey::{Depth, GreyMap, NonFinite, Tally};
pub use histogram::{Histogram, Statistics};
pub use pairs::{Greys, Joint, Pair, Pairs, Second, follow, to_values};
