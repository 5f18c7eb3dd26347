//! The vocabulary: element types, shapes, regions, volumes, scans, units. No I/O.

mod combine;
mod dtype;
mod scan;
mod shape;
pub mod units;
mod volume;

pub use combine::{Combine, combine};
pub use dtype::{ByteOrder, DType, Voxel, each};
pub use half::f16 as F16;
pub use scan::{Angles, FieldOfView, RefPosition, RefSet, Scan};
pub use shape::{Region, Shape};
pub use volume::{Fact, Facts, GreyScale, Volume, VolumeMeta, VolumeStats};
