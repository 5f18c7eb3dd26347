//! tomokit carries synchrotron tomography data from the camera's files to the user's own disk.
//!
//! # Data flow
//!
//! ```text
//!  bin/tomo-*.rs ─► cli (arguments, terminal, exit codes) ─► ops (plan, then execute)
//!                                                              │
//!      tokens of work ─► stream:  read │ compute │ write  (bounded queues, memory budget, cancellation)
//!                                  │        │        │
//!            formats::FrameSource ─┘        │        └─► formats::SliceSink (part, sync, rename)
//!                                  correct, recon, quantise
//!                                  (numbers in, numbers out)
//! ```
//!
//! Imports run `bin → cli → ops → {recon, correct, quantise, stream} → tomokit_formats`, never back.

pub mod cli;
pub mod correct;
pub mod disk;
pub mod ops;
pub mod phantom;
pub mod quantise;
pub mod recon;
pub mod stream;
pub mod trust;
