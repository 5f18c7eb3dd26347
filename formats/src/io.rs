//! Positioned reads and writes on shared file handles, the same on Unix and Windows, and a few facts about files.

use crate::error::OnPath;
use crate::{Error, Result};
use std::fs::File;
use std::path::{Path, PathBuf};

/// A file opened for positioned reading by many threads. Remembers its path and length for error messages.
#[derive(Debug)]
pub struct ReadAt {
    file: File,
    path: PathBuf,
    len: u64,
}

impl ReadAt {
    /// Opens `path` for reading.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let folder = || Error::caller("this is a folder, not a file").path(&path);
        let file = match File::open(&path) {
            Err(_) if path.is_dir() => return Err(folder()), // Windows opens no folder, and says "access denied"
            r => r.on(&path, "opening")?,
        };
        let meta = file.metadata().on(&path, "reading the size")?;
        if meta.is_dir() {
            return Err(folder());
        }
        Ok(ReadAt { file, path, len: meta.len() })
    }

    /// Length when opened, bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True for an empty file.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The handle itself, for maps, and for streams while nobody else reads: on Windows a positioned read moves the
    /// cursor of the handle.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Fills `out` from `offset`, or says how many bytes the file lacks.
    pub fn read_exact_at(&self, out: &mut [u8], offset: u64) -> Result<()> {
        let mut done = 0;
        while done < out.len() {
            match read_at(&self.file, &mut out[done..], offset + done as u64) {
                Ok(0) => {
                    return Err(Error::file(&self.path, "the file ends too early")
                        .at(offset + done as u64)
                        .expected(format!("{} more bytes", out.len() - done))
                        .found("end of file")
                        .hint("the file is truncated: copy it again or ask for the original"));
                }
                Ok(n) => done += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io(&self.path, "reading", e).at(offset + done as u64)),
            }
        }
        Ok(())
    }

    /// Reads at most `max` bytes from the start: what probes look at.
    pub fn head(&self, max: usize) -> Result<Vec<u8>> {
        let mut buf = vec![0u8; (self.len.min(max as u64)) as usize];
        self.read_exact_at(&mut buf, 0)?;
        Ok(buf)
    }
}

/// One positioned read; may be short.
pub fn read_at(file: &File, out: &mut [u8], offset: u64) -> std::io::Result<usize> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_at(file, out, offset);
    #[cfg(windows)]
    return std::os::windows::fs::FileExt::seek_read(file, out, offset);
}

/// Asks the system to forget what it caches of a file (synced before), so that reading it measures the disk. False
/// where it cannot be asked.
pub fn forget_cached(file: &File) -> bool {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        // SAFETY: the descriptor is open for as long as `file` is borrowed; the call takes no memory of ours.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        false
    }
}

/// Asks the system to begin bringing these bytes to the disk, without waiting: the sync at the end then finds little left
/// to do. A hint for what was just written and will not change; does nothing outside Linux.
pub fn begin_writeback(file: &File, offset: u64, len: u64) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        // SAFETY: the descriptor is open for as long as `file` is borrowed; the call takes no memory of ours.
        let _ =
            unsafe { libc::sync_file_range(file.as_raw_fd(), offset as i64, len as i64, libc::SYNC_FILE_RANGE_WRITE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, offset, len);
}

/// Writes all of `data` at `offset`.
pub fn write_all_at(file: &File, mut data: &[u8], mut offset: u64) -> std::io::Result<()> {
    while !data.is_empty() {
        #[cfg(unix)]
        let n = std::os::unix::fs::FileExt::write_at(file, data, offset);
        #[cfg(windows)]
        let n = std::os::windows::fs::FileExt::seek_write(file, data, offset);
        match n {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                data = &data[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Bytes a file really occupies on disk, or `None` where the system does not tell. Less than its length: sparse.
pub fn allocated_bytes(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).ok().map(|m| m.blocks() * 512)
    }
    #[cfg(windows)]
    {
        use std::os::windows::ffi::OsStrExt;
        use windows_sys::Win32::Storage::FileSystem::GetCompressedFileSizeW;
        // The canonical form (`\\?\…`) has no limit of 260 characters.
        let wide: Vec<u16> = std::fs::canonicalize(path).ok()?.as_os_str().encode_wide().chain([0]).collect();
        let mut high = 0u32;
        // SAFETY: `wide` is a NUL-terminated UTF-16 string and `high` a valid place for the upper half.
        let low = unsafe { GetCompressedFileSizeW(wide.as_ptr(), &mut high) };
        (low != u32::MAX || std::io::Error::last_os_error().raw_os_error() == Some(0))
            .then(|| (u64::from(high) << 32) | u64::from(low))
    }
}

/// `x.vol` and `.info` give `x.vol.info`: appends to the whole name, unlike `Path::with_extension`.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut s = path.as_os_str().to_owned();
    s.push(suffix);
    PathBuf::from(s)
}

/// Reads a small text file (sidecar, .par): at most `max` bytes, UTF-8 or Latin-1.
pub fn read_small_text(path: &Path, max: u64) -> Result<String> {
    let f = ReadAt::open(path)?;
    if f.len() > max {
        return Err(Error::limit("too large to be a text sidecar")
            .path(path)
            .expected(format!("at most {max} bytes"))
            .found(format!("{} bytes", f.len())));
    }
    Ok(crate::model::units::text_lossy(&f.head(max as usize)?))
}
