//! Size and time of a file as its disk or server has them now. Network drives answer from memory, for seconds and up to a
//! minute: a file that grows seems to stand still for so long.

use crate::trust::root::nanos;
use std::fs::File;
use std::io;
use std::path::Path;

/// Bytes, and nanoseconds since 1970; a link is followed.
pub fn of_path(path: &Path) -> io::Result<(u64, i64)> {
    #[cfg(target_os = "linux")]
    {
        let flags = rustix::fs::AtFlags::empty();
        asked(rustix::fs::CWD, path, flags).or_else(|_| of(std::fs::metadata(path)))
    }
    #[cfg(not(target_os = "linux"))]
    of(std::fs::metadata(path))
}

/// Of an open file.
pub fn of_file(file: &File) -> io::Result<(u64, i64)> {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsFd;
        asked(file.as_fd(), Path::new(""), rustix::fs::AtFlags::EMPTY_PATH).or_else(|_| of(file.metadata()))
    }
    #[cfg(not(target_os = "linux"))]
    of(file.metadata())
}

fn of(meta: io::Result<std::fs::Metadata>) -> io::Result<(u64, i64)> {
    meta.map(|m| (m.len(), nanos(m.modified())))
}

#[cfg(target_os = "linux")]
fn asked(at: impl std::os::fd::AsFd, path: &Path, flags: rustix::fs::AtFlags) -> io::Result<(u64, i64)> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    let found = statx(at, path, flags | AtFlags::STATX_FORCE_SYNC, StatxFlags::SIZE | StatxFlags::MTIME)?;
    let (s, ns) = (found.stx_mtime.tv_sec, i64::from(found.stx_mtime.tv_nsec));
    Ok((found.stx_size, s.saturating_mul(1_000_000_000).saturating_add(ns)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_the_system_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = File::create(&path).unwrap();
        for ns in [1_700_000_000_123_456_700, -1_500_000_000] {
            file.set_len(77).unwrap();
            file.set_modified(crate::trust::root::system_time(ns)).unwrap();
            assert_eq!(of_file(&file).unwrap(), of(file.metadata()).unwrap());
            assert_eq!(of_path(&path).unwrap(), (77, nanos(file.metadata().unwrap().modified())));
        }
        assert!(of_path(&dir.path().join("none")).is_err());
    }
}
