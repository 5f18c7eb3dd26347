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

/// Pauses of [`once_free`]: 2.5 s in all.
const PAUSES_MS: [u64; 9] = [5, 10, 20, 40, 80, 160, 320, 640, 1280];

/// Renames or removes a file, and tries again for some seconds where something else still holds it: a virus scanner or an
/// indexer on Windows, a file server or FUSE driver that has not closed it yet (closing is told to those, not waited for).
///
/// # Errors
/// What the last try said; at once whatever is no matter of waiting.
pub fn once_free<T>(mut call: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    for (tries, ms) in PAUSES_MS.into_iter().enumerate() {
        match call() {
            Err(e) if is_held(&e, tries) => std::thread::sleep(std::time::Duration::from_millis(ms)),
            r => return r,
        }
    }
    call()
}

/// True where an error says that something else holds a file, after so many tries.
fn is_held(e: &std::io::Error, tries: usize) -> bool {
    #[cfg(windows)]
    {
        use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_LOCK_VIOLATION, ERROR_SHARING_VIOLATION};
        const ACCESS_DENIED: i32 = ERROR_ACCESS_DENIED as i32;
        const HELD: [i32; 2] = [ERROR_SHARING_VIOLATION as i32, ERROR_LOCK_VIOLATION as i32];
        match e.raw_os_error() {
            // Said of files that are being removed by others, too; mostly it is what it says.
            Some(ACCESS_DENIED) => return tries < 5,
            Some(code) if HELD.contains(&code) => return true,
            _ => {}
        }
    }
    let _ = tries;
    e.kind() == std::io::ErrorKind::ResourceBusy
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

/// Ranges of a file that were never written and read as zeros, in order; `None` where the system does not tell. An
/// empty list is a file without holes. The last hole may end with the file.
pub fn holes(path: &Path) -> Option<Vec<std::ops::Range<u64>>> {
    let file = File::open(path).ok()?;
    let len = file.metadata().ok()?.len();
    let mut out = Vec::new();
    let mut at = 0;
    for data in data_ranges(&file, len)? {
        if data.start > at {
            out.push(at..data.start);
        }
        at = data.end;
    }
    if at < len {
        out.push(at..len);
    }
    Some(out)
}

/// Files in more pieces than this are not listed further.
const PIECES: usize = 1 << 20;

#[cfg(any(target_os = "linux", target_os = "macos"))]
fn data_ranges(file: &File, len: u64) -> Option<Vec<std::ops::Range<u64>>> {
    use std::os::fd::AsRawFd;
    let seek = |from: u64, whence: libc::c_int| -> Result<u64, Option<i32>> {
        let from = libc::off_t::try_from(from).map_err(|_| None)?;
        // SAFETY: the descriptor is open for as long as `file` is borrowed; the call takes no memory of ours, and the
        // cursor it moves is that of a handle nobody else has.
        let at = unsafe { libc::lseek(file.as_raw_fd(), from, whence) };
        u64::try_from(at).map_err(|_| std::io::Error::last_os_error().raw_os_error())
    };
    let mut out = Vec::new();
    let mut at = 0;
    while at < len && out.len() < PIECES {
        let start = match seek(at, libc::SEEK_DATA) {
            Ok(s) => s,
            Err(Some(libc::ENXIO)) => break, // a hole up to the end
            Err(_) => return None,
        };
        let end = seek(start, libc::SEEK_HOLE).ok()?;
        if end <= start {
            return None;
        }
        out.push(start..end.min(len));
        at = end;
    }
    Some(out)
}

#[cfg(windows)]
fn data_ranges(file: &File, len: u64) -> Option<Vec<std::ops::Range<u64>>> {
    use std::os::windows::io::AsRawHandle;
    use windows_sys::Win32::Foundation::ERROR_MORE_DATA;
    use windows_sys::Win32::System::IO::DeviceIoControl;
    use windows_sys::Win32::System::Ioctl::{FILE_ALLOCATED_RANGE_BUFFER, FSCTL_QUERY_ALLOCATED_RANGES};
    const AT_ONCE: usize = 512;
    let mut out: Vec<std::ops::Range<u64>> = Vec::new();
    let mut at = 0u64;
    while at < len && out.len() < PIECES {
        let ask = FILE_ALLOCATED_RANGE_BUFFER { FileOffset: at as i64, Length: (len - at) as i64 };
        let mut answer = [FILE_ALLOCATED_RANGE_BUFFER { FileOffset: 0, Length: 0 }; AT_ONCE];
        let mut bytes = 0u32;
        let size = size_of::<FILE_ALLOCATED_RANGE_BUFFER>();
        // SAFETY: the handle is open for as long as `file` is borrowed; both buffers are passed with their true lengths
        // and outlive the call, which is not overlapped.
        let ok = unsafe {
            DeviceIoControl(
                file.as_raw_handle(),
                FSCTL_QUERY_ALLOCATED_RANGES,
                (&raw const ask).cast(),
                size as u32,
                (&raw mut answer).cast(),
                (size * AT_ONCE) as u32,
                &mut bytes,
                std::ptr::null_mut(),
            )
        };
        let more = ok == 0 && std::io::Error::last_os_error().raw_os_error() == Some(ERROR_MORE_DATA as i32);
        if ok == 0 && !more {
            return None;
        }
        let got = &answer[..(bytes as usize / size).min(AT_ONCE)];
        for r in got {
            let (start, n) = (u64::try_from(r.FileOffset).ok()?, u64::try_from(r.Length).ok()?);
            out.push(start..start.saturating_add(n).min(len));
        }
        match got.last() {
            Some(_) if more => at = out.last().map_or(len, |r| r.end),
            _ => break,
        }
    }
    Some(out)
}

#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
fn data_ranges(_: &File, _: u64) -> Option<Vec<std::ops::Range<u64>>> {
    None
}

/// Opens a plain file for reading; anything else is an error, and a pipe is not waited for.
///
/// # Errors
/// What opening says; `InvalidInput` where it is no plain file.
pub fn open_plain(path: &Path) -> std::io::Result<File> {
    let mut o = std::fs::OpenOptions::new();
    o.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        o.custom_flags(libc::O_NONBLOCK);
    }
    let file = o.open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "this is no plain file")),
    }
}

/// How a warning ends where a file holds more than what is read of it.
pub const NOT_READ: &str = "bytes after the data are not read";

/// `x.vol` and `.info` give `x.vol.info`: appends to the whole name, unlike `Path::with_extension`. A separator at the end,
/// as completion in a terminal leaves it behind a folder, belongs to no name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut s = path.components().as_path().as_os_str().to_owned();
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::io::{Error, ErrorKind};

    #[test]
    fn what_is_held_for_a_moment_is_tried_again_and_the_rest_is_not() {
        let tries = Cell::new(0);
        let after = |fails: u32, kind: ErrorKind| {
            tries.set(0);
            once_free(|| {
                tries.set(tries.get() + 1);
                if tries.get() > fails { Ok(()) } else { Err(Error::from(kind)) }
            })
        };
        after(3, ErrorKind::ResourceBusy).unwrap();
        assert_eq!(tries.get(), 4);
        for lasting in [ErrorKind::NotFound, ErrorKind::StorageFull, ErrorKind::ReadOnlyFilesystem] {
            assert_eq!(after(1, lasting).unwrap_err().kind(), lasting);
            assert_eq!(tries.get(), 1, "{lasting:?}");
        }
        assert_eq!(after(u32::MAX, ErrorKind::ResourceBusy).unwrap_err().kind(), ErrorKind::ResourceBusy);
        assert_eq!(tries.get() as usize, PAUSES_MS.len() + 1);
    }

    /// As a virus scanner does.
    #[cfg(windows)]
    #[test]
    fn a_file_that_another_program_has_open_is_renamed_and_removed_later() {
        use std::os::windows::fs::OpenOptionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("x.part"), dir.path().join("x"));
        std::fs::write(&from, "x").unwrap();
        let hold = |path: &Path| {
            let file = std::fs::OpenOptions::new().read(true).share_mode(0).open(path).unwrap();
            std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(200));
                drop(file);
            })
        };
        let held = hold(&from);
        std::fs::rename(&from, &to).unwrap_err();
        once_free(|| std::fs::rename(&from, &to)).unwrap();
        held.join().unwrap();
        let held = hold(&to);
        std::fs::remove_file(&to).unwrap_err();
        once_free(|| std::fs::remove_file(&to)).unwrap();
        held.join().unwrap();
    }
}
