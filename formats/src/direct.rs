//! Writing large files past the system's cache: a volume of many gigabytes has no business there, and on a busy machine the
//! copying into it costs more than the disk (measured: 2 GB in 1.4 s and 0.3 s of CPU, against 2.7 s and 2.2 s).
//!
//! Only where it is known to be good: large files on ext and XFS disks under Linux. Everywhere else, and where the system
//! refuses, bytes go the usual way. The bytes of the file are the same.

use crate::Result;
use crate::durable::PartFile;
#[cfg(target_os = "linux")]
use std::fs::File;

/// What the system wants offsets, lengths and addresses to be multiples of.
const ALIGN: usize = 4096;
/// Magic numbers of ext2 to ext4 and of XFS (statfs(2)).
#[cfg(target_os = "linux")]
const FILE_SYSTEMS: [i64; 2] = [0xEF53, 0x5846_5342];
/// Bytes written at once.
pub const BUFFER: usize = 8 << 20;
/// Smaller files stay in the cache, where the next program finds them.
pub const LARGE: u64 = 256 << 20;

/// Handed over in one piece of at least this, bytes that lie well are written from where they are.
#[cfg(target_os = "linux")]
const PIECE: usize = 1 << 20;

/// Bytes that begin where a page does, so that they can be written without being copied first.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    first: usize,
    len: usize,
}

impl Buffer {
    /// Makes room for `len` bytes and returns them; what they hold is left over from before, or zeros.
    pub fn room(&mut self, len: usize) -> &mut [u8] {
        if self.bytes.len() < len + ALIGN {
            self.bytes = vec![0; len + ALIGN];
            // Where this cannot be known bytes are merely copied.
            self.first = Some(self.bytes.as_ptr().align_offset(ALIGN)).filter(|n| *n <= ALIGN).unwrap_or(0);
        }
        self.len = len;
        &mut self.bytes[self.first..self.first + len]
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.first..self.first + self.len]
    }
}

/// Bytes in order on their way to a [`PartFile`].
#[derive(Debug, Default)]
pub struct Direct {
    #[cfg(target_os = "linux")]
    to: Option<Aligned>,
}

/// An unbuffered handle and the bytes that wait for it.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Aligned {
    file: File,
    bytes: Vec<u8>,
    /// Where in `bytes` the aligned buffer begins.
    first: usize,
    /// Offset in the file of the buffer; a multiple of [`ALIGN`].
    at: u64,
    /// Bytes waiting.
    len: usize,
}

impl Direct {
    /// For `part`, which will hold `size` bytes, of which those before `from` are there already.
    pub fn new(part: &PartFile, size: u64, from: u64) -> Direct {
        #[cfg(target_os = "linux")]
        {
            // What follows a resume begins where a block begins, or goes the usual way.
            if size >= LARGE && from.is_multiple_of(ALIGN as u64) {
                return Direct { to: Aligned::open(part, from) };
            }
        }
        let _ = (part, size, from);
        Direct::default()
    }

    /// Takes the next bytes, which belong at `offset`.
    ///
    /// # Errors
    /// As [`PartFile::write_at`]. After an error what was taken may not be in the file.
    pub fn write(&mut self, part: &PartFile, data: &[u8], offset: u64) -> Result<()> {
        #[cfg(target_os = "linux")]
        if let Some(a) = &mut self.to
            && a.at + a.len as u64 == offset
        {
            return match a.take(data) {
                Ok(()) => Ok(()),
                Err(Stop { taken, error }) if error.raw_os_error() == Some(libc::EINVAL) => {
                    // Not here, then: what waits goes the usual way, and the rest.
                    self.flush(part)?;
                    self.to = None;
                    part.write_at(&data[taken..], offset + taken as u64)
                }
                Err(Stop { error, .. }) => Err(crate::Error::io(part.part_path(), "writing", error).at(a.at)),
            };
        }
        self.flush(part)?;
        #[cfg(target_os = "linux")]
        {
            self.to = None;
        }
        part.write_at(data, offset)
    }

    /// Everything before this offset is in the file, whatever becomes of the rest.
    pub fn settled(&self) -> u64 {
        #[cfg(target_os = "linux")]
        if let Some(a) = &self.to {
            return a.at;
        }
        u64::MAX
    }

    /// Brings what waits into the file, the usual way: before it is synced, read or closed.
    pub fn flush(&mut self, part: &PartFile) -> Result<()> {
        #[cfg(target_os = "linux")]
        if let Some(a) = &self.to {
            return part.write_at(&a.bytes[a.first..a.first + a.len], a.at);
        }
        let _ = part;
        Ok(())
    }
}

/// Where taking bytes ended.
#[cfg(target_os = "linux")]
struct Stop {
    taken: usize,
    error: std::io::Error,
}

#[cfg(target_os = "linux")]
impl Aligned {
    fn open(part: &PartFile, at: u64) -> Option<Aligned> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = File::options().write(true).custom_flags(libc::O_DIRECT).open(part.part_path()).ok()?;
        if !is_good(&file) {
            return None;
        }
        let bytes = vec![0u8; BUFFER + ALIGN];
        let first = bytes.as_ptr().align_offset(ALIGN);
        (first <= ALIGN).then_some(Aligned { file, bytes, first, at, len: 0 })
    }

    fn take(&mut self, data: &[u8]) -> Result<(), Stop> {
        let mut taken = 0;
        while taken < data.len() {
            let rest = &data[taken..];
            if self.len == 0 && rest.len() >= PIECE && (rest.as_ptr() as usize).is_multiple_of(ALIGN) {
                let whole = &rest[..rest.len() / ALIGN * ALIGN];
                crate::io::write_all_at(&self.file, whole, self.at).map_err(|error| Stop { taken, error })?;
                self.at += whole.len() as u64;
                taken += whole.len();
                continue;
            }
            let n = (BUFFER - self.len).min(data.len() - taken);
            let to = self.first + self.len;
            self.bytes[to..to + n].copy_from_slice(&data[taken..taken + n]);
            self.len += n;
            taken += n;
            if self.len == BUFFER {
                let whole = &self.bytes[self.first..self.first + BUFFER];
                crate::io::write_all_at(&self.file, whole, self.at).map_err(|error| Stop { taken, error })?;
                self.at += BUFFER as u64;
                self.len = 0;
            }
        }
        Ok(())
    }
}

/// True on file systems that take such writes well.
#[cfg(target_os = "linux")]
fn is_good(file: &File) -> bool {
    use std::os::fd::AsRawFd;
    // SAFETY: a plain C struct for which all zeros is a value.
    let mut facts: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, the struct lives here.
    let asked = unsafe { libc::fstatfs(file.as_raw_fd(), &mut facts) };
    asked == 0 && FILE_SYSTEMS.contains(&(facts.f_type as i64))
}

/// Writes many files of one size past the cache, each in one go, by several threads.
#[derive(Debug)]
pub struct WholeFiles {
    #[cfg(target_os = "linux")]
    buffers: crate::shelf::Shelf<Buffer>,
}

impl WholeFiles {
    /// Threads that may write at once.
    pub const WRITERS: usize = 4;

    /// Most memory that writing slices as files of their own takes.
    pub fn working_bytes(options: &crate::CreateOptions) -> u64 {
        let size = options.shape.len().unwrap_or(u64::MAX).saturating_mul(options.dtype.size() as u64);
        working_bytes(size) * Self::WRITERS as u64
    }

    /// For files of `each` bytes in `folder`; `None` where the usual way is better.
    pub fn new(folder: &std::path::Path, files: usize, each: u64) -> Option<WholeFiles> {
        #[cfg(target_os = "linux")]
        if each >= PIECE as u64 && each.saturating_mul(files as u64) >= LARGE && is_good(&File::open(folder).ok()?) {
            return Some(WholeFiles { buffers: crate::shelf::Shelf::new(Buffer::default) });
        }
        let _ = (folder, files, each);
        None
    }

    /// Writes `parts`, one after the other, as the file `path`. False where the system refuses: what is there then is to
    /// be replaced.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, path: &std::path::Path, parts: [&[u8]; 2]) -> Result<bool> {
        #[cfg(target_os = "linux")]
        {
            use std::os::unix::fs::OpenOptionsExt;
            let how = File::options().write(true).create(true).truncate(true).custom_flags(libc::O_DIRECT).open(path);
            let file = match how {
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => return Ok(false),
                r => r.map_err(|e| crate::Error::io(path, "creating", e))?,
            };
            let total = parts[0].len() + parts[1].len();
            let mut buffer = self.buffers.borrow();
            let (mut at, mut written) = (0, Ok(()));
            while at < total && written.is_ok() {
                let n = BUFFER.min(total - at);
                let room = buffer.room(n.next_multiple_of(ALIGN));
                let from_first = parts[0].len().saturating_sub(at).min(n);
                room[..from_first].copy_from_slice(&parts[0][at.min(parts[0].len())..][..from_first]);
                // Nothing of it yet where the first part alone is larger than the buffer.
                let second = (at + from_first).saturating_sub(parts[0].len());
                room[from_first..n].copy_from_slice(&parts[1][second..][..n - from_first]);
                room[n..].fill(0);
                written = crate::io::write_all_at(&file, room, at as u64);
                at += n;
            }
            match written.and_then(|()| file.set_len(total as u64)) {
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => Ok(false),
                r => r.map(|()| true).map_err(|e| crate::Error::io(path, "writing", e)),
            }
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = (path, parts);
            Ok(false)
        }
    }
}

/// Memory that writing a file of `size` bytes this way takes.
pub fn working_bytes(size: u64) -> u64 {
    if cfg!(target_os = "linux") && size >= LARGE { BUFFER as u64 + 4096 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_files_come_out_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..2 * BUFFER + 999).map(|i| ((i * 2_654_435_761) >> 9) as u8).collect();
        // Few and small ones go the usual way.
        assert!(
            WholeFiles::new(dir.path(), 10, 1 << 20).is_none() && WholeFiles::new(dir.path(), 1 << 20, 5000).is_none()
        );
        let Some(files) = WholeFiles::new(dir.path(), 1 << 10, 1 << 20) else {
            eprintln!("skipped: this disk is written the usual way");
            return;
        };
        let long = 2 * BUFFER + 999;
        for (first, all) in
            [(320, 1 << 20), (0, 4096), (4096, 5000), (77, 78), (100, BUFFER), (320, long), (BUFFER + 5, long)]
        {
            let path = dir.path().join(format!("{first}_{all}"));
            std::fs::write(&path, [9u8; 3]).unwrap();
            if files.write(&path, [&bytes[..first], &bytes[first..all]]).unwrap() {
                assert!(std::fs::read(&path).unwrap() == bytes[..all], "{first} {all}");
            }
        }
    }

    #[test]
    fn pieces_that_lie_well_come_out_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.raw");
        let mut buffer = Buffer::default();
        let mut want = Vec::new();
        let part = PartFile::create(&target, true).unwrap();
        let mut direct = Direct::new(&part, LARGE, 0);
        for (i, len) in [3 << 20, 1 << 20, (2 << 20) + 5, 1 << 20, (1 << 20) - 5, 4 << 20, 77].into_iter().enumerate() {
            buffer.room(len).iter_mut().enumerate().for_each(|(j, b)| *b = (j * 31 + i) as u8);
            assert_eq!((buffer.bytes().len(), buffer.bytes().as_ptr() as usize % ALIGN), (len, 0));
            direct.write(&part, buffer.bytes(), want.len() as u64).unwrap();
            want.extend_from_slice(buffer.bytes());
        }
        direct.flush(&part).unwrap();
        part.commit().unwrap();
        assert!(std::fs::read(&target).unwrap() == want);
    }

    /// Pieces of all sizes come out as they went in, whether or not this disk takes them directly.
    #[test]
    fn pieces_come_out_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.raw");
        let bytes: Vec<u8> = (0..3 * BUFFER + 12_345).map(|i| ((i * 2_654_435_761) >> 7) as u8).collect();
        for (start, piece) in [(0usize, 1 << 20), (4096, 999_999), (100, BUFFER), (0, 2 * BUFFER + 1)] {
            let part = PartFile::create(&target, true).unwrap();
            part.write_at(&bytes[..start], 0).unwrap();
            let mut direct = Direct::new(&part, LARGE, start as u64);
            let mut at = start;
            for (i, piece) in bytes[start..].chunks(piece).enumerate() {
                direct.write(&part, piece, at as u64).unwrap();
                at += piece.len();
                if i % 3 == 1 {
                    direct.flush(&part).unwrap();
                    assert!(std::fs::read(part.part_path()).unwrap() == bytes[..at], "after a flush all is there");
                }
            }
            direct.flush(&part).unwrap();
            part.commit().unwrap();
            assert!(std::fs::read(&target).unwrap() == bytes, "{start} {piece}");
        }
    }
}
