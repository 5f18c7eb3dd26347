//! Writing through a memory map, where a driver behind FUSE would otherwise be asked once per page: Linux hands what a
//! program writes to ntfs-3g on in pieces of 4 KiB, but what it finds changed in a map in pieces of 128 KiB (measured:
//! six times the speed of large files, one and a half of files of 40 kB). The driver has the bytes once [`Mapped::settle`] says so, no later than with plain writing.
//!
//! A map of a disk that was pulled out is a crash for whoever touches it. Nobody does: the system itself is asked to copy
//! the bytes there (process_vm_writev(2)), and answers with an error. Wherever it refuses, bytes go the usual way.

use super::plan::TargetPlan;
use crate::disk::FileSystem;
use crate::trust::readback::Medium;
use std::fs::File;
use std::io;
use std::ops::Range;

/// Shorter pieces are written as they are.
const LEAST: usize = 32 << 10;
/// Bytes handed to the driver before the first of them are waited for.
const STRETCH: u64 = 8 << 20;

/// What went into the map of a file and was not waited for.
pub(super) struct Mapped {
    begun: Range<u64>,
}

/// Why bytes did not go this way.
pub(super) enum Refused {
    /// They may go another.
    Here(io::Error),
    /// The disk is full or gone.
    Disk(io::Error),
}

impl Mapped {
    /// For files on a target; `None` where plain writing is as good: exfat-fuse takes large pieces either way.
    pub fn new(target: &TargetPlan) -> Option<Mapped> {
        let ntfs = target.volume.as_ref().is_some_and(|v| v.fs == FileSystem::Ntfs);
        (cfg!(target_os = "linux") && ntfs && target.medium == Medium::Fuse).then_some(Mapped { begun: 0..0 })
    }

    /// True for a piece that is worth it.
    pub fn takes(bytes: &[u8]) -> bool {
        bytes.len() >= LEAST
    }

    /// Puts bytes at `offset` and makes the file long enough for them.
    pub fn put(&mut self, file: &File, bytes: &[u8], offset: u64) -> Result<(), Refused> {
        let end = offset + bytes.len() as u64;
        if file.metadata().map_err(Refused::Disk)?.len() < end {
            file.set_len(end).map_err(Refused::Disk)?;
        }
        copy(file, bytes, offset).map_err(Refused::Here)?;
        if self.begun.end != offset || end - self.begun.start > STRETCH {
            self.settle(file).map_err(Refused::Disk)?;
            self.begun.start = offset;
        }
        self.begun.end = end;
        write_back(file, offset..end, false).map_err(Refused::Disk)
    }

    /// Waits until the driver has all of it, and says what it said.
    pub fn settle(&mut self, file: &File) -> io::Result<()> {
        let begun = std::mem::take(&mut self.begun);
        if begun.is_empty() { Ok(()) } else { write_back(file, begun, true) }
    }
}

/// Asks the system to hand changed pages to the driver, and waits for its answer or does not.
#[cfg(target_os = "linux")]
fn write_back(file: &File, range: Range<u64>, wait: bool) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let too_far = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let (at, len) = (range.start.try_into().map_err(too_far)?, (range.end - range.start).try_into().map_err(too_far)?);
    let how = match wait {
        true => libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER,
        false => libc::SYNC_FILE_RANGE_WRITE,
    };
    // SAFETY: the descriptor is open while `file` is borrowed; the call takes no memory of ours.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), at, len, how) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Copies bytes into the pages of a file that is long enough.
#[cfg(target_os = "linux")]
fn copy(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // A multiple of any page size there is.
    const ALIGN: u64 = 64 << 10;
    let before = (offset % ALIGN) as usize;
    let base = libc::off_t::try_from(offset - before as u64).map_err(|_| io::ErrorKind::InvalidInput)?;
    let len = before + bytes.len();
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new map at an address the system chooses; nothing of ours lies there.
    let map = unsafe { libc::mmap(std::ptr::null_mut(), len, rights, libc::MAP_SHARED, file.as_raw_fd(), base) };
    if map == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: of the map just made; a hint.
    unsafe { libc::madvise(map, len, libc::MADV_SEQUENTIAL) };
    let mut done = 0;
    let mut outcome = Ok(());
    while done < bytes.len() && outcome.is_ok() {
        let rest = &bytes[done..];
        let from = libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() };
        let to = libc::iovec { iov_base: map.cast::<u8>().wrapping_add(before + done).cast(), iov_len: rest.len() };
        // SAFETY: the system reads `rest`, which is borrowed, and writes the map, which ends where it does and is nobody
        // else's. It checks both: a page that cannot be had is an error, not a signal.
        let n = unsafe { libc::process_vm_writev(std::process::id().cast_signed(), &from, 1, &to, 1, 0) };
        match n {
            0 => outcome = Err(io::ErrorKind::WriteZero.into()),
            n if n < 0 => outcome = Err(io::Error::last_os_error()),
            n => done += n.unsigned_abs(),
        }
    }
    // SAFETY: the map made above, used by nobody any more.
    unsafe { libc::munmap(map, len) };
    outcome
}

#[cfg(not(target_os = "linux"))]
fn write_back(_: &File, _: Range<u64>, _: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn copy(_: &File, _: &[u8], _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn bytes_arrive_wherever_they_begin() {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
        let mut mapped = Mapped { begun: 0..0 };
        // Odd lengths, then a gap, then back into what is there.
        for (from, to, at) in [(0, 200_001, 0), (200_001, 1_500_000, 200_001), (1_500_000, 3_000_000, 20_000_007)] {
            assert!(mapped.put(&file, &bytes[from..to], at).is_ok());
        }
        assert!(mapped.put(&file, &bytes[..150_000], 100_000).is_ok());
        mapped.settle(&file).unwrap();
        let mut want = vec![0; 21_500_007];
        want[..1_500_000].copy_from_slice(&bytes[..1_500_000]);
        want[20_000_007..].copy_from_slice(&bytes[1_500_000..]);
        want[100_000..250_000].copy_from_slice(&bytes[..150_000]);
        let mut found = Vec::new();
        file.read_to_end(&mut found).unwrap();
        assert!(found == want);
    }

    #[test]
    fn what_cannot_be_mapped_says_so() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), vec![0; 1 << 20]).unwrap();
        let read_only = File::open(dir.path().join("a")).unwrap();
        let put = Mapped { begun: 0..0 }.put(&read_only, &[1; 1 << 18], 0);
        assert!(matches!(put, Err(Refused::Here(_))));
        // A page behind the end of the file is no crash.
        let short = tempfile::tempfile().unwrap();
        assert!(copy(&short, &[1; 1 << 18], 0).is_err());
    }
}
