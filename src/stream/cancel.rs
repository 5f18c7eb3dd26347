//! A flag that asks every stage to stop at the next block.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tomokit_formats::{Error, Result};

/// Shared by the Ctrl-C handler and all stages; cloning shares the flag.
#[derive(Clone, Default, Debug)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// True once asked.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// `Err(interrupted)` once asked: call it between blocks.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::interrupted()) } else { Ok(()) }
    }
}
