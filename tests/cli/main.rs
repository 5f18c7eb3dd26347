//! The tools from outside: wiring, exit codes, one-line errors, nothing half-done under a final name.

#[path = "../support/mod.rs"]
mod support;

mod check;
mod check_disks;
mod compare;
mod convert;
mod copy;
mod disks;
mod frame;
#[cfg(target_os = "linux")]
mod memory;
mod outputs;
mod readme;
mod recad;
mod repair;
