//! The streaming core under every tool: blocks go read | compute | write over bounded queues, with cancellation, a
//! memory budget and honest progress. Knows nothing of formats or terminals.

mod blocks;
mod budget;
mod cancel;
mod hash;
mod pipeline;
mod progress;
mod sweep;
mod tree;

pub use blocks::{Block, Blocks, split};
pub use budget::{Budget, parse_bytes, unpacking};
pub use cancel::Cancel;
pub use hash::{Algorithm, Hasher};
pub use pipeline::{Pool, Timings, both, run};
pub use progress::{Progress, Silent};
pub use sweep::{Lanes, sweep};
pub use tree::{Piece, Tree};
