//! Everything in tomokit that knows bytes on disk.
//!
//! # Data flow
//!
//! ```text
//!  path ──► registry::probe ──► FormatSpec ──open──► Opened ─┬─ Content::Volume ─► dyn FrameSource ─┐
//!           (name, length,      (one row per                 └─ Content::Scan ───► Scan (projections,│
//!            first 4 KiB,        format)                        flats, darks, angles …)              │
//!            neighbours)                                                                             ▼
//!                                                      tomokit: stream │ compute (blocks of frames or rows)
//!                                                                                                    │
//!  files under their final names ◄── durable::commit ◄── SliceSink::finish ◄── SliceSink::put ◄──────┘
//! ```
//!
//! - [`model`] is the vocabulary: element types, shapes, regions, scans, units.
//! - [`source`] and [`sink`] are the two traits every tool works with.
//! - [`registry`] holds one static row per format; adding a format is one folder here plus one row there.
//! - [`durable`] writes `*.part`, syncs and renames, so that nothing half-done ever carries a final name.
//! - [`scan_out`] writes whole scans, in any of the layouts that the formats' folders hold.
//! - One folder per format ([`vol`], [`raw`], [`edf`], [`tiff`], [`nexus`], [`par`], [`png`], [`npy`], [`sidecar`]),
//!   each with a README of its oddities.
//!
//! Readers are liberal (every spelling met in the wild), writers strict (one canonical form). Files are treated as
//! hostile: offsets are `u64` and checked, headers never cause an allocation by themselves, nothing panics.

#[cfg(not(target_pointer_width = "64"))]
compile_error!("tomokit addresses volumes larger than 4 GB with usize: build it for a 64-bit target");

mod angle_list;
pub mod direct;
pub mod durable;
pub mod error;
pub mod io;
pub mod mmap;
pub mod model;
pub mod registry;
pub mod scan_out;
pub mod series;
mod shelf;
pub mod shown;
pub mod sink;
pub mod source;
pub mod warning;

pub mod edf;
pub mod nexus;
pub mod npy;
pub mod par;
pub mod png;
pub mod raw;
pub mod sidecar;
pub mod tiff;
pub mod vol;

pub use error::{Error, Fault, Result};
pub use model::{ByteOrder, DType, Region, Scan, Shape, Volume, VolumeMeta};
pub use registry::{Content, FormatSpec, OpenOptions, Opened};
pub use sink::{CreateOptions, SliceSink};
pub use source::{Access, FrameSource, Place};
pub use warning::{About, Warning, Warnings};
