//! Paths in reports: as text, whatever bytes they are made of. A name that is no Unicode gets replacement characters, as it
//! does on a terminal; a report is not lost over it.

use serde::Serializer;
use std::path::{Path, PathBuf};

/// What [`lossy`] takes.
pub trait Shown {
    /// Writes it as text.
    ///
    /// # Errors
    /// What the serializer says.
    fn shown<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error>;
}

impl Shown for Path {
    fn shown<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.to_string_lossy())
    }
}

impl Shown for PathBuf {
    fn shown<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.as_path().shown(s)
    }
}

impl Shown for Option<PathBuf> {
    fn shown<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(path) => path.shown(s),
            None => s.serialize_none(),
        }
    }
}

impl Shown for Vec<PathBuf> {
    fn shown<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.iter().map(|p| p.to_string_lossy()))
    }
}

/// For `#[serde(serialize_with = …)]`.
///
/// # Errors
/// What the serializer says.
pub fn lossy<P: Shown + ?Sized, S: Serializer>(path: &P, s: S) -> Result<S::Ok, S::Error> {
    path.shown(s)
}
