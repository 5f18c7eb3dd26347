//! What the tools do, without a terminal: `plan(args) -> Plan`, then `execute(plan, progress, cancel)`.

pub mod bench;
pub mod check;
pub mod compare;
pub mod convert;
pub mod convert_scan;
pub mod copy;
pub mod info;
pub mod picture;
pub mod rates;
pub mod recad;
pub mod recon;
pub mod simulate;
pub mod view;
