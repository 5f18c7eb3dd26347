//! NeXus and plain HDF5: reading through our own chunk decoder, links and virtual sources checked by name, writing NXdata.

pub mod file;
pub mod info;
pub mod layout;
pub mod links;
pub(crate) mod write_scan;

mod array;
mod choose;
mod chunks;
mod extent;
mod filters;
pub(crate) mod h5out;
#[cfg(test)]
mod hostile;
mod spec;
mod stack_out;
mod sys;
#[cfg(test)]
mod tests;
mod tree;
mod types;
mod values;
mod virtuals;
mod write;

pub use file::{H5, Link, LinkKind, ObjectKind};
pub use info::{DatasetInfo, FilterInfo, Layout};
pub use links::{Dangling, ExternalFile, VirtualSource};

pub use spec::SPEC;
