//! What an operation tells its caller while it runs. The terminal's bars are one listener; tests and libraries use
//! [`Silent`].

/// Receives progress. Calls come from several threads.
pub trait Progress: Sync {
    /// A phase begins: its name and the bytes it will move (0 = unknown).
    fn begin(&self, phase: &str, total_bytes: u64);

    /// `bytes` more are done in the current phase.
    fn advance(&self, bytes: u64);

    /// `n` more whole things called `unit` are done in the current phase.
    fn count(&self, _n: u64, _unit: &'static str) {}

    /// The stage that has been busiest so far in the current phase.
    fn limited_by(&self, _stage: &str) {}

    /// One of several counters that run side by side within a phase, such as the bytes written to one of several disks:
    /// its name, bytes so far, bytes in all (0 = unknown).
    fn lane(&self, _name: &str, _done: u64, _total: u64) {}

    /// A remark worth a line that does not stop the work.
    fn note(&self, text: &str);

    /// The current phase is over.
    fn end(&self);
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: u64) {}
    fn advance(&self, _: u64) {}
    fn note(&self, _: &str) {}
    fn end(&self) {}
}
