//! Is a source there? A network drive that was unmounted leaves an empty folder in its place, which is not an empty
//! experiment.

use std::path::{Path, PathBuf};

/// A source, and what it lay on when the follow began.
pub(super) struct Place {
    path: PathBuf,
    mounted_at: Option<PathBuf>,
}

impl Place {
    /// As it is now.
    pub(super) fn new(path: &Path) -> Place {
        Place { path: path.to_owned(), mounted_at: mounted_at(path) }
    }

    /// True where nothing is there, or what is there belongs to the disk below. Mounted again it may be another device.
    pub(super) fn is_away(&self) -> bool {
        std::fs::metadata(&self.path).is_err()
            || self.mounted_at.as_ref().is_some_and(|then| mounted_at(&self.path).as_ref() != Some(then))
    }
}

/// Where the volume that a path is on is mounted: the uppermost folder of the same device.
#[cfg(unix)]
fn mounted_at(path: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let full = path.canonicalize().ok()?;
    let device = |p: &Path| std::fs::metadata(p).ok().map(|m| m.dev());
    let own = device(&full)?;
    full.ancestors().take_while(|p| device(p) == Some(own)).last().map(Path::to_owned)
}

/// Windows' drives take their paths with them.
#[cfg(not(unix))]
fn mounted_at(_: &Path) -> Option<PathBuf> {
    None
}
