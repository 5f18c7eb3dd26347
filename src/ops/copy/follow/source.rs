//! Is a source, is a disk there? A drive that was unmounted leaves an empty folder in its place, which is neither an empty
//! experiment nor a disk to copy to, and another disk under the same name is not the one that was copied to.

use crate::disk::volume_of;
use crate::trust::journal::JOURNAL;
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

/// A destination, and the disk it was when it became one.
pub(super) struct Held {
    place: Place,
    serial: Option<String>,
    /// Something was copied there: its record must be there.
    written: bool,
}

impl Held {
    /// As it is now.
    pub(super) fn new(path: &Path) -> Held {
        Held { place: Place::new(path), serial: serial(path), written: false }
    }

    /// Notes that there are copies of ours.
    pub(super) fn written(&mut self) {
        self.written = true;
    }

    /// True where nothing is there, or it is another disk, or what lies below the one that was there.
    pub(super) fn is_away(&self) -> bool {
        let other = || matches!((&self.serial, serial(&self.place.path)), (Some(then), Some(now)) if *then != now);
        self.place.is_away() || (self.written && !self.place.path.join(JOURNAL).is_file()) || other()
    }
}

fn serial(path: &Path) -> Option<String> {
    volume_of(path).ok()?.serial
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
