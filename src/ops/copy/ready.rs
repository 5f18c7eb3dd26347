//! Is a file finished, while an experiment is running? Several signs, each of which can only say "not yet".
//!
//! - its size and time stood still for a while;
//! - nobody has it open for writing, as far as the system tells;
//! - an HDF5 file is not marked as open by its writer, and is as long as its own header says;
//! - a volume with a `.info` beside it is as long as that says.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use tomokit_formats::io::with_suffix;

/// Why a file is not finished, or `None` where nothing speaks against it.
pub(super) fn not_yet(path: &Path, size: u64) -> Option<&'static str> {
    let mut file = match File::open(path) {
        Ok(f) => f,
        Err(_) => return Some("it cannot be opened"),
    };
    if open_elsewhere(&file, path) {
        return Some("a program has it open for writing");
    }
    let mut head = [0; 48];
    let n = read_some(&mut file, &mut head);
    if let Some(why) = hdf5(&head[..n], size) {
        return Some(why);
    }
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    if extension == "vol" || extension == "raw" {
        return volume(path, size);
    }
    None
}

fn read_some(file: &mut File, out: &mut [u8]) -> usize {
    let mut n = 0;
    while let Ok(k @ 1..) = file.read(&mut out[n..]) {
        n += k;
    }
    n
}

/// A lease for reading is refused while anybody holds the file open for writing; the system answers only for files of our
/// own on local disks, and "no answer" means nothing.
fn open_elsewhere(file: &File, path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        let _ = path;
        // SAFETY: the descriptor is open while `file` is borrowed; the lease is given back at once.
        unsafe {
            if libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) == 0 {
                libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK);
                return false;
            }
        }
        std::io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)
    }
    #[cfg(windows)]
    {
        use std::os::windows::fs::OpenOptionsExt;
        use windows_sys::Win32::Foundation::ERROR_SHARING_VIOLATION;
        use windows_sys::Win32::Storage::FileSystem::FILE_SHARE_READ;
        let _ = file;
        // Readers are welcome beside us, writers are not: refused while there is one.
        let r = std::fs::OpenOptions::new().read(true).share_mode(FILE_SHARE_READ).open(path);
        r.is_err_and(|e| e.raw_os_error() == Some(ERROR_SHARING_VIOLATION as i32))
    }
    #[cfg(not(any(target_os = "linux", windows)))]
    {
        let _ = (file, path);
        false
    }
}

/// What the header of an HDF5 file says of itself (File Format Specification 3.0, II.A): flags of a writer at work, and
/// where the file ends.
fn hdf5(head: &[u8], size: u64) -> Option<&'static str> {
    let rest = head.strip_prefix(b"\x89HDF\r\n\x1a\n")?;
    let number = |at: usize| Some(u64::from_le_bytes(head.get(at..at + 8)?.try_into().ok()?));
    let (offsets, end) = match rest.first()? {
        0 => (*head.get(13)?, 24 + 16),
        1 => (*head.get(13)?, 28 + 16),
        2 | 3 => {
            // Bit 0: open for writing; bit 2: being written while others read.
            if rest[0] == 3 && head.get(11)? & 0b101 != 0 {
                return Some("its header says that a program is writing it");
            }
            (*head.get(9)?, 12 + 16)
        }
        _ => return None,
    };
    (offsets == 8 && number(end)? > size).then_some("it is shorter than its own header says")
}

/// A volume is as long as its `.info` says (four bytes per voxel, or what its name ends with tells otherwise).
fn volume(path: &Path, size: u64) -> Option<&'static str> {
    let text = tomokit_formats::io::read_small_text(&with_suffix(path, ".info"), 1 << 16).ok()?;
    let number = |key: &str| {
        let line = text.lines().find(|l| l.trim_start().to_ascii_uppercase().starts_with(key))?;
        line.split('=').nth(1)?.trim().parse::<u64>().ok()
    };
    let voxels = number("NUM_X")?.checked_mul(number("NUM_Y")?)?.checked_mul(number("NUM_Z")?)?;
    let bytes = if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("raw")) { 1 } else { 4 };
    (size < voxels.checked_mul(bytes)?).then_some("it is shorter than its .info says")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: u8, flags: u8, end: u64) -> Vec<u8> {
        let mut h = b"\x89HDF\r\n\x1a\n".to_vec();
        h.push(version);
        h.resize(48, 0);
        match version {
            0 | 1 => {
                h[13] = 8;
                let at = if version == 0 { 40 } else { 44 };
                h.resize(56, 0);
                h[at..at + 8].copy_from_slice(&end.to_le_bytes());
                h.truncate(52);
            }
            _ => {
                (h[9], h[11]) = (8, flags);
                h[28..36].copy_from_slice(&end.to_le_bytes());
            }
        }
        h
    }

    #[test]
    fn hdf5_headers_tell_of_writers_and_of_lost_ends() {
        for version in [0, 2, 3] {
            assert_eq!(hdf5(&header(version, 0, 1000), 1000), None, "{version}");
            assert!(hdf5(&header(version, 0, 1000), 999).is_some(), "{version}");
        }
        assert!(hdf5(&header(3, 1, 10), 1000).is_some() && hdf5(&header(3, 4, 10), 1000).is_some());
        assert_eq!(hdf5(&header(3, 0, 10), 1000), None);
        for cut in 0..48 {
            let _ = hdf5(&header(3, 1, 10)[..cut], 5);
            let _ = hdf5(&header(0, 0, 10)[..cut], 5);
        }
        assert_eq!(hdf5(b"no such file", 3), None);
    }

    #[test]
    fn volumes_wait_for_what_their_info_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.vol");
        std::fs::write(&path, [0; 100]).unwrap();
        assert_eq!(not_yet(&path, 100), None);
        std::fs::write(dir.path().join("a.vol.info"), "! PyHST\nNUM_X = 5\nNUM_Y=  5\nNUM_Z = 2\n").unwrap();
        assert!(not_yet(&path, 100).is_some());
        assert_eq!(not_yet(&path, 200), None);
        assert!(not_yet(&dir.path().join("none"), 1).is_some());
    }

    #[cfg(any(target_os = "linux", windows))]
    #[test]
    fn a_file_somebody_writes_is_not_finished() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let writer = File::create(&path).unwrap();
        let seen = not_yet(&path, 0);
        drop(writer);
        assert_eq!(not_yet(&path, 0), None);
        // Leases are for local disks and own files: a refusal of another kind tells nothing.
        if seen.is_none() {
            eprintln!("skipped: this system does not tell who writes a file");
        }
    }
}
