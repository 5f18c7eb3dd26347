//! `tomo recon` from outside: real scans against other programs' reconstructions, simulated scans against the truth.

#[path = "../support/mod.rs"]
mod support;

mod accuracy;
mod geometry;
mod real;
mod resume;
mod simulated;
mod tools;
