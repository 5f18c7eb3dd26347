//! Memory maps of input files: the only `unsafe` of the readers.
//!
//! A mapped page that can no longer be read (file shortened by another program, network share gone) is not an error
//! but a crash of the process. Therefore: read-only, inputs only, local disks only, and the file's length is checked
//! when mapping. On network and FUSE file systems [`Map::open_local`] returns `None` and the caller streams instead.

use crate::io::ReadAt;
use memmap2::Mmap;

/// A read-only map of a whole file.
#[derive(Debug)]
pub struct Map(Mmap);

impl Map {
    /// Maps the file where it lies on a local disk; `None` where streaming is the safer way or the system refuses.
    pub fn open_local(file: &ReadAt) -> Option<Map> {
        if file.is_empty() || !is_local(file) {
            return None;
        }
        // SAFETY: the map is read-only and private to this process; the contract above covers the one remaining
        // danger, another program shortening the file while we read it.
        let map = unsafe { Mmap::map(file.file()) }.ok()?;
        (map.len() as u64 == file.len()).then_some(Map(map))
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Gives the pages of `range` (bytes) back to the system: they leave this process, not the file cache. Reading them
    /// again is allowed and brings them back.
    pub fn release(&self, range: std::ops::Range<usize>) {
        #[cfg(unix)]
        {
            // The page at the front goes as well, so that a pass leaves nothing behind; whoever still uses it gets it back.
            const PAGE: usize = 1 << 16;
            let (start, end) = (range.start / PAGE * PAGE, range.end.min(self.0.len()) / PAGE * PAGE);
            if start < end {
                // SAFETY: the map is read-only and backed by a file, so dropped pages are read again from it on the
                // next access; no data can be lost.
                let _ =
                    unsafe { self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start) };
            }
        }
        #[cfg(not(unix))]
        let _ = range; // Windows trims a process's pages by itself
    }

    /// Tells the system that the file will be read front to back. A hint: does nothing on Windows, which has none.
    pub fn advise_sequential(&self) {
        #[cfg(unix)]
        let _ = self.0.advise(memmap2::Advice::Sequential);
    }
}

/// Waits until these bytes of a map are in memory: for the stage that reads, while another one computes.
///
/// One byte per stretch that the system brings in at once is looked at. Linux maps the 64 KiB around a page asked for
/// where it has them; its MADV_POPULATE_READ goes page by page and takes half as long again.
pub fn fetch(bytes: &[u8]) {
    const STRETCH: usize = if cfg!(target_os = "linux") { 64 << 10 } else { 4096 };
    let first = bytes.as_ptr().align_offset(STRETCH).min(bytes.len());
    let (head, rest) = bytes.split_at(first);
    std::hint::black_box(head.iter().take(1).chain(rest.iter().step_by(STRETCH)).fold(0u8, |a, b| a ^ b));
}

/// Says that these bytes of a map will be wanted soon: the system begins to read them, nobody waits. A hint.
pub fn announce(bytes: &[u8]) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 4096;
        let start = bytes.as_ptr() as usize / PAGE * PAGE;
        let len = bytes.as_ptr() as usize + bytes.len() - start;
        // SAFETY: the range belongs to a live mapping; the advice changes no byte of it.
        let _ = unsafe { libc::madvise(start as *mut libc::c_void, len, libc::MADV_WILLNEED) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = bytes;
}

#[cfg(target_os = "linux")]
fn is_local(file: &ReadAt) -> bool {
    use std::os::fd::AsRawFd;
    let mut s = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the descriptor is open for as long as `file` lives; the kernel fills `s` when it returns 0.
    let f_type = unsafe {
        if libc::fstatfs(file.file().as_raw_fd(), s.as_mut_ptr()) != 0 {
            return false;
        }
        s.assume_init().f_type as u64 & 0xFFFF_FFFF
    };
    // NFS, SMB, CIFS, SMB2, FUSE, Lustre, BeeGFS, GPFS, Ceph, AFS: pages can vanish under us.
    const REMOTE: [u64; 10] = [
        0x6969,
        0x517B,
        0xFF53_4D42,
        0xFE53_4D42,
        0x6573_5546,
        0x0BD0_0BD0,
        0x1983_0326,
        0x4750_4653,
        0x00C3_6400,
        0x5346_414F,
    ];
    !REMOTE.contains(&f_type)
}

#[cfg(windows)]
fn is_local(file: &ReadAt) -> bool {
    use std::os::windows::ffi::OsStrExt;
    use windows_sys::Win32::Storage::FileSystem::{GetDriveTypeW, GetVolumePathNameW};
    const DRIVE_FIXED: u32 = 3;
    let Ok(full) = std::path::absolute(file.path()) else {
        return false;
    };
    let wide: Vec<u16> = full.as_os_str().encode_wide().chain([0]).collect();
    let mut root = [0u16; 1024];
    // SAFETY: `wide` is NUL-terminated; `root` is passed with its true length and NUL-terminated on success.
    unsafe {
        GetVolumePathNameW(wide.as_ptr(), root.as_mut_ptr(), root.len() as u32) != 0
            && GetDriveTypeW(root.as_ptr()) == DRIVE_FIXED
    }
}

#[cfg(not(any(target_os = "linux", windows)))]
fn is_local(_file: &ReadAt) -> bool {
    false
}
