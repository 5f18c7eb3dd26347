//! Reading what is on the disk, and saying how sure that is.
//!
//! A file that was just written comes back from memory: that proves nothing. What is done about it depends on the driver:
//!
//! - native drivers (ext4, XFS, Btrfs, kernel NTFS and exFAT; Windows): sync, then read past the cache (`O_DIRECT`,
//!   `FILE_FLAG_NO_BUFFERING`). Level [`FileFlushed`](Level::FileFlushed);
//! - drivers outside the kernel (ntfs-3g, exfat-fuse): their data also stay in the cache of the *device*, where no flag on
//!   the file reaches them. The device is flushed and its cache dropped where we may open it:
//!   [`DeviceFlushed`](Level::DeviceFlushed), else [`Cache`](Level::Cache);
//! - after unmounting and mounting again nothing is left in memory: [`Remounted`](Level::Remounted).
//!
//! What a level does not promise: a drive may hold data in its own memory; a flush asks it to write them.

use crate::stream::Cancel;
use crate::trust::blocks::{Known, Meter};
use crate::trust::root::{PART, open_read};
use crate::trust::{Digest, Name, Root, Sha256};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use tomokit_formats::io::{forget_cached, read_at, write_all_at};
use tomokit_formats::{Error, Result};

/// How far a read-back went. Ordered: later is surer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The data may have come from memory.
    Cache,
    /// The file was flushed and read past the system's cache.
    FileFlushed,
    /// The device itself was flushed and its cache dropped before reading.
    DeviceFlushed,
    /// The disk was mounted anew since the file was written.
    Remounted,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Cache => "cache",
            Level::FileFlushed => "file flushed",
            Level::DeviceFlushed => "device flushed",
            Level::Remounted => "remounted",
        })
    }
}

/// What lies between a file and its disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Medium {
    /// A driver in the kernel and a disk.
    Disk,
    /// A driver outside the kernel and a disk.
    Fuse,
    /// A server.
    Network,
    /// Memory (tmpfs).
    Memory,
}

/// Alignment that direct reads ask for, on every disk of today.
const ALIGN: usize = 4096;

/// A buffer that begins where direct reads want it.
pub struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// Of `len` bytes, rounded up to whole pages; zeros.
    pub fn new(len: usize) -> Aligned {
        let len = len.next_multiple_of(ALIGN).max(ALIGN);
        let bytes = vec![0; len + ALIGN];
        let start = bytes.as_ptr().align_offset(ALIGN).min(ALIGN);
        Aligned { bytes, start, len }
    }

    /// All of it.
    pub fn all(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    /// All of it, to write into.
    pub fn all_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

/// How a target is read back; found out by trying, before a long copy starts.
#[derive(Debug)]
pub struct ReadBack {
    /// Level a read-back reaches here.
    pub level: Level,
    /// Level that would be needed to trust it.
    pub wanted: Level,
    /// Why it is not reached.
    pub why_not: Option<String>,
    direct: bool,
    device: Option<File>,
}

impl ReadBack {
    /// Finds out how this folder can be read back. With `write` a small file is written, flushed and read for it.
    pub fn find(root: &Root, medium: Medium, device: Option<&Path>, write: bool) -> Result<ReadBack> {
        let direct = !write || Self::try_direct(root)?;
        let mut r = ReadBack { level: Level::Cache, wanted: Level::FileFlushed, why_not: None, direct, device: None };
        match medium {
            Medium::Memory => {
                r.wanted = Level::Cache;
                r.why_not = Some("the target is kept in memory, not on a disk".into());
            }
            Medium::Disk | Medium::Network => match direct {
                true => r.level = Level::FileFlushed,
                false => r.why_not = Some("the file system does not read past the cache".into()),
            },
            Medium::Fuse => {
                r.wanted = Level::DeviceFlushed;
                let Some(path) = device else {
                    r.why_not = Some("the driver runs outside the kernel and its disk is not known".into());
                    return Ok(r);
                };
                match File::open(path).and_then(|f| flush_device(&f).map(|()| f)) {
                    Ok(f) => (r.device, r.level) = (Some(f), Level::DeviceFlushed),
                    Err(e) => {
                        r.why_not = Some(format!(
                            "the driver runs outside the kernel, and {} may not be flushed: {e}",
                            path.display()
                        ));
                    }
                }
            }
        }
        Ok(r)
    }

    /// A plain read, for disks of which nothing is known.
    pub fn plain() -> ReadBack {
        ReadBack { level: Level::Cache, wanted: Level::FileFlushed, why_not: None, direct: false, device: None }
    }

    /// True where a read-back here says something about the disk.
    pub fn is_sure(&self) -> bool {
        self.level >= self.wanted
    }

    fn try_direct(root: &Root) -> Result<bool> {
        let name = Name::parse(format!(".read-back-test{PART}").as_bytes()).map_err(Error::caller)?;
        let own = std::process::id();
        let data: Vec<u8> = (0..100_000u32).map(|i| (i ^ (i >> 8) ^ own) as u8).collect();
        let file = root.create_part(&name)?;
        let shown = root.shown(&name);
        let failed = |e| Error::io(&shown, "writing a test file", e);
        let tried = write_all_at(&file, &data, 0).and_then(|()| file.sync_all()).map_err(failed);
        drop(file);
        let read = || -> io::Result<bool> {
            let file = open_read(root.dir(), &name.path(), true, false)?;
            let mut buffer = Aligned::new(data.len());
            let mut done = 0;
            while done < data.len() {
                // A short read that is no multiple of the alignment can only be the end.
                match read_at(&file, &mut buffer.all_mut()[done..], done as u64)? {
                    0 => break,
                    n => done += n,
                }
            }
            Ok(buffer.all()[..done] == data[..])
        };
        let result = tried.map(|()| read().unwrap_or(false));
        root.remove(&name)?;
        result
    }

    /// Empties the device's cache, where the driver needs that. Called once before a series of files.
    pub fn flush(&self) -> io::Result<()> {
        self.device.as_ref().map_or(Ok(()), flush_device)
    }

    /// Reads a file back and sums it; `seen` hears of bytes. Answers the sum, the length and the level of this reading.
    ///
    /// # Errors
    /// `System` where it cannot be read, `Interrupted`.
    pub fn sum(
        &self,
        root: &Root,
        name: &Name,
        cancel: &Cancel,
        seen: &(dyn Fn(u64) + Sync),
    ) -> Result<(Digest, u64, Level)> {
        let ((sum, len), level) = self.past_cache(root, name, cancel, &|file, size| {
            let mut sum = Sha256::new();
            let len = each_block(file, size, cancel, &mut |block| {
                sum.update(block);
                seen(block.len() as u64);
            })?;
            Ok((sum.finish(), len))
        })?;
        Ok((sum, len, level))
    }

    /// Which stretches of a file differ from what its record knows of its blocks, neighbours in one. Reads the file once;
    /// nothing where its length is another.
    ///
    /// # Errors
    /// `System` where it cannot be read, `Interrupted`.
    pub fn differing(&self, root: &Root, name: &Name, known: &Known, cancel: &Cancel) -> Result<Vec<Range<u64>>> {
        let read = |file: &File, size: u64| {
            let Some(mut meter) = Meter::new(size, 0) else { return Ok(Vec::new()) };
            let len = each_block(file, size, cancel, &mut |block| meter.update(block))?;
            let found = meter.finish().map(|m| m.crc32).unwrap_or_default();
            Ok(if len == size && found.len() == known.crc32.len() { known.differing(&found, size) } else { Vec::new() })
        };
        self.past_cache(root, name, cancel, &read).map(|(stretches, _)| stretches)
    }

    /// Opens a file the way this target needs it, and reads it; again without the flags of a direct reading where the
    /// file system opens directly and then refuses to read so.
    fn past_cache<T>(
        &self,
        root: &Root,
        name: &Name,
        cancel: &Cancel,
        read: &dyn Fn(&File, u64) -> io::Result<T>,
    ) -> Result<(T, Level)> {
        let mut direct = self.direct && self.level > Level::Cache;
        let file = match root.open_read(name, direct) {
            Err(_) if direct => {
                direct = false;
                root.open_read(name, false)?
            }
            r => r?,
        };
        let fail = |e| cancelled(cancel).unwrap_or_else(|| Error::io(root.shown(name), "reading back", e));
        let meta = file.metadata().map_err(fail)?;
        if !meta.is_file() {
            return Err(Error::file(root.shown(name), "this is no plain file any more"));
        }
        if !direct {
            forget_cached(&file);
        }
        match read(&file, meta.len()) {
            Err(_) if direct && !cancel.is_cancelled() => {
                let file = root.open_read(name, false)?;
                forget_cached(&file);
                let level = if self.device.is_some() { self.level } else { Level::Cache };
                read(&file, meta.len()).map(|t| (t, level)).map_err(fail)
            }
            r => r.map(|t| (t, self.level)).map_err(fail),
        }
    }
}

fn cancelled(cancel: &Cancel) -> Option<Error> {
    cancel.check().err()
}

/// Writes out what the system holds for a device and drops its cache.
fn flush_device(device: &File) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::FileTypeExt;
        device.sync_all()?;
        if device.metadata()?.file_type().is_block_device() {
            const BLKFLSBUF: libc::c_ulong = 0x1261;
            // SAFETY: the descriptor is open while `device` is borrowed; this request takes no argument.
            if unsafe { libc::ioctl(device.as_raw_fd(), BLKFLSBUF as _, 0) } == 0 {
                return Ok(());
            }
        }
    }
    // Without the right to flush, the owner of an open device may still say that its cache is not needed.
    if forget_cached(device) { Ok(()) } else { Err(io::Error::other("its cache cannot be dropped")) }
}

/// Reads a file from front to back in large blocks, the reading on a thread of its own where the file is large. Answers how
/// many bytes there were.
fn each_block(file: &File, size: u64, cancel: &Cancel, take: &mut dyn FnMut(&[u8])) -> io::Result<u64> {
    const BLOCK: usize = 4 << 20;
    let fill = |buffer: &mut Aligned, offset: u64| -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len && !cancel.is_cancelled() {
            match read_at(file, &mut buffer.all_mut()[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // After a short read at the end, the next place is not aligned any more.
                Err(e) if e.raw_os_error() == Some(22) && done > 0 && offset + done as u64 >= size => break,
                Err(e) => return Err(e),
            }
            if done % ALIGN != 0 {
                break;
            }
        }
        if cancel.is_cancelled() { Err(io::Error::other("interrupted")) } else { Ok(done) }
    };
    let mut len = 0;
    if size <= BLOCK as u64 {
        let mut buffer = Aligned::new((size as usize + 1).next_multiple_of(ALIGN));
        loop {
            let n = fill(&mut buffer, len)?;
            take(&buffer.all()[..n]);
            len += n as u64;
            if n < buffer.len {
                return Ok(len);
            }
        }
    }
    let (full_tx, full_rx) = crossbeam_channel::bounded::<(Aligned, usize)>(2);
    let (free_tx, free_rx) = crossbeam_channel::bounded::<Aligned>(4);
    for _ in 0..4 {
        let _ = free_tx.send(Aligned::new(BLOCK));
    }
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || -> io::Result<()> {
            let mut offset = 0;
            for mut buffer in free_rx {
                let n = fill(&mut buffer, offset)?;
                offset += n as u64;
                let last = n < BLOCK;
                if full_tx.send((buffer, n)).is_err() || last {
                    break;
                }
            }
            Ok(())
        });
        for (buffer, n) in full_rx {
            take(&buffer.all()[..n]);
            len += n as u64;
            let _ = free_tx.send(buffer);
        }
        drop(free_tx);
        reader.join().map_err(|_| io::Error::other("a worker thread died"))??;
        Ok(len)
    })
}

/// A mark of this very mount of the folder's volume, never used again: another mark later means that the disk was
/// unmounted and mounted in between, so that nothing of it can still be in memory. `None` where the system tells no such
/// thing.
pub fn mount_mark(root: &Root) -> Option<String> {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        const STATX_MNT_ID_UNIQUE: libc::c_uint = 0x4000; // Linux 6.8
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let dir = root.dir().try_clone().ok()?.into_std_file();
        // SAFETY: a plain C struct for which all zeros is a value.
        let mut s: libc::statx = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is open, the path is an empty C string, `s` is a valid place for the answer.
        let r = unsafe { libc::statx(dir.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, STATX_MNT_ID_UNIQUE, &mut s) };
        (r == 0 && s.stx_mask & STATX_MNT_ID_UNIQUE != 0).then(|| format!("{}/{}", boot.trim(), s.stx_mnt_id))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = root;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_every_length_directly_and_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let back = ReadBack::find(&root, Medium::Disk, None, true).unwrap();
        println!("{back:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the test file is left");
        let name = Name::parse(b"f").unwrap();
        let mb = 1 << 20;
        for len in [0, 1, 511, 512, 4095, 4096, 4097, mb, 4 * mb - 1, 4 * mb, 4 * mb + 1, 9 * mb + 777, 16 * mb] {
            let data: Vec<u8> = (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            std::fs::write(dir.path().join("f"), &data).unwrap();
            for b in [&back, &ReadBack::plain()] {
                let total = std::sync::atomic::AtomicU64::new(0);
                let seen = |n| {
                    total.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
                };
                let (digest, n, level) = b.sum(&root, &name, &Cancel::default(), &seen).unwrap();
                assert_eq!((digest, n, level), (Digest::of(&data), len as u64, b.level), "{len}");
                assert_eq!(total.into_inner(), len as u64);
            }
        }
        let stop = Cancel::default();
        stop.cancel();
        let e = back.sum(&root, &name, &stop, &|_| {}).unwrap_err();
        assert_eq!(e.fault(), tomokit_formats::Fault::Interrupted);
    }

    #[test]
    fn levels_are_ordered_and_said_in_words() {
        assert!(Level::Cache < Level::FileFlushed && Level::FileFlushed < Level::DeviceFlushed);
        assert_eq!(serde_json::to_string(&Level::DeviceFlushed).unwrap(), "\"device_flushed\"");
        assert_eq!(Level::Remounted.to_string(), "remounted");
    }
}
