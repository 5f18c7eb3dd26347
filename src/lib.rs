

pub mod cli;
pub mod correct;
pub mod ops;
pub mod phantom;
pub mod quantise;
pub mod recon;
pub mod stream;
