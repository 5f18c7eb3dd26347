//! How long each stage has been busy so far, readable while it runs: so that progress can name the stage that limits.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Stages, in the order of their numbers.
const STAGES: [&str; 3] = ["read", "compute", "write"];

/// Busy nanoseconds of the stages.
#[derive(Default)]
pub(super) struct Clock([AtomicU64; 3]);

/// Counts until dropped.
pub(super) struct Busy<'a>(&'a AtomicU64, Instant);

impl Clock {
    /// Stage `i` is busy until the answer is dropped.
    pub fn start(&self, i: usize) -> Busy<'_> {
        Busy(&self.0[i], Instant::now())
    }

    /// The busiest stage so far.
    pub fn limiting(&self) -> &'static str {
        let t = [0, 1, 2].map(|i| self.0[i].load(Relaxed));
        let most = (1..3).fold(0, |m, i| if t[i] > t[m] { i } else { m });
        STAGES[most]
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(self.1.elapsed().as_nanos() as u64, Relaxed);
    }
}
