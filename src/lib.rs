//! x
pub mod correct;
pub mod phantom;
pub mod recon;
