//! What the tools do, without a terminal: `plan(args) -> Plan`, then `execute(plan, progress, cancel)`.

pub mod bench;
pub mod check;
pub mod compare;
pub mod convert;
pub mod convert_scan;
pub mod copy;
pub mod disks;
pub mod estimate;
pub mod finish;
pub mod html;
pub mod info;
pub mod ledger;
pub mod over;
pub mod picture;
pub mod rates;
pub mod recad;
pub mod recon;
pub mod simulate;
pub mod tables;
pub mod view;
