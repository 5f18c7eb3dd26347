//! x
pub mod recon;
