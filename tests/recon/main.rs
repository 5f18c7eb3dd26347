//! `tomo recon` from outside: real scans against other programs' reconstructions, simulated scans against the truth.

#[path = "../support/mod.rs"]
mod support;

mod geometry;
mod real;
mod simulated;
mod tools;
