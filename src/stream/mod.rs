//! The streaming core under every tool: blocks go read | compute | write over bounded queues, with cancellation, a
//! memory budget and honest progress. Knows nothing of formats or terminals.

mod budget;
mod cancel;
mod pipeline;
mod progress;

pub use budget::{Budget, parse_bytes};
pub use cancel::Cancel;
pub use pipeline::{Pool, Timings, both, run};
pub use progress::{Progress, Silent};
