//! The C library behind safe calls: one lock, handles that close themselves, errors with the library's own words.
//!
//! HDF5 as built here is not thread-safe: every call goes through [`locked`], the process-wide lock that the bindings
//! use too. Nothing outside the `nexus` folder sees a raw handle. Bulk data does not come this way (see `array`).

use crate::{Error, Fault};
use hdf5_metno_sys::h5d::H5Dopen2;
use hdf5_metno_sys::h5e::{H5E_DEFAULT, H5E_direction_t, H5E_error2_t, H5Eclear2, H5Ewalk2};
use hdf5_metno_sys::h5i::{H5Idec_ref, hid_t};
use hdf5_metno_sys::h5o::H5Oopen;
use hdf5_metno_sys::h5p::H5P_DEFAULT;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::path::{Path, PathBuf};

/// Runs `f` with the library initialised (its lzf and blosc filters registered) and locked for this thread.
///
/// Nothing in `f` may wait for rayon's pool: the thread that waits would be given other work, and that may want the lock.
pub(super) fn locked<T>(f: impl FnOnce() -> T) -> T {
    struct Inside;
    impl Drop for Inside {
        fn drop(&mut self) {
            HELD.set(HELD.get() - 1);
        }
    }
    hdf5_metno::sync::sync(|| {
        HELD.set(HELD.get() + 1);
        let _inside = Inside;
        f()
    })
}

thread_local! {
    /// How often this thread has taken the library's lock.
    static HELD: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// True where this thread holds the library's lock and must not wait for others.
pub(super) fn is_locked() -> bool {
    HELD.get() > 0
}

/// An HDF5 handle, closed on drop.
#[derive(Debug)]
pub(super) struct Id(hid_t);

impl Id {
    /// Takes ownership of what a library call returned; negative means it failed.
    pub fn new(raw: hid_t) -> Result<Id, Failure> {
        if raw < 0 { Err(Failure::last()) } else { Ok(Id(raw)) }
    }

    /// The raw handle, for calls inside [`locked`].
    pub fn raw(&self) -> hid_t {
        self.0
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        // SAFETY: the handle is valid and ours since `new`; the call happens under the library's lock.
        locked(|| unsafe { H5Idec_ref(self.0) });
    }
}

/// What the library said when a call failed: the innermost line is the cause.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    /// All lines, outermost first.
    pub lines: Vec<String>,
}

impl Failure {
    /// The error stack of the call that has just failed; call under the lock.
    pub fn last() -> Failure {
        extern "C" fn each(_: c_uint, e: *const H5E_error2_t, out: *mut c_void) -> c_int {
            // SAFETY: the library passes the record it walks over and the pointer given to H5Ewalk2, a live Vec.
            unsafe {
                let out = &mut *out.cast::<Vec<String>>();
                if !e.is_null() && !(*e).desc.is_null() && out.len() < 64 {
                    out.push(CStr::from_ptr((*e).desc).to_string_lossy().trim().to_owned());
                }
            }
            0
        }
        let mut lines: Vec<String> = Vec::new();
        locked(|| {
            // SAFETY: the callback does not unwind and `lines` outlives the walk.
            unsafe {
                H5Ewalk2(
                    H5E_DEFAULT,
                    H5E_direction_t::H5E_WALK_DOWNWARD,
                    Some(each),
                    (&raw mut lines).cast::<c_void>(),
                );
                H5Eclear2(H5E_DEFAULT);
            }
        });
        Failure { lines }
    }

    /// The innermost line, else a stand-in.
    pub fn cause(&self) -> &str {
        self.lines.last().map_or("the HDF5 library gave no reason", String::as_str)
    }

    /// True where any line contains `word`.
    pub fn says(&self, word: &str) -> bool {
        self.lines.iter().any(|l| l.contains(word))
    }

    /// As an error about `path`: the file's fault.
    pub fn on(&self, path: &Path, what: impl std::fmt::Display) -> Error {
        let mut e = Error::new(Fault::File, format!("{what}: {}", self.cause())).path(path);
        if self.lines.len() > 1 {
            e = e.source(self.lines.join(" < "));
        }
        e
    }
}

/// Turns a status (negative = failed) into a result.
pub(super) fn check(status: c_int) -> Result<c_int, Failure> {
    if status < 0 { Err(Failure::last()) } else { Ok(status) }
}

/// Object and attribute names with an inner NUL cannot exist in a file.
pub(super) fn cstr(text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| Failure { lines: vec!["the name contains a NUL byte".into()] })
}

/// A path as the library wants it: raw bytes on Unix, UTF-8 on Windows.
pub(super) fn path_cstr(path: &Path) -> Result<CString, Failure> {
    let nul = |_| Failure { lines: vec!["the path contains a NUL byte".into()] };
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        CString::new(path.as_os_str().as_bytes()).map_err(nul)
    }
    #[cfg(not(unix))]
    {
        let text = path.to_str().ok_or_else(|| Failure { lines: vec!["the path is not valid Unicode".into()] })?;
        CString::new(text).map_err(nul)
    }
}

/// A path from the library's bytes.
pub(super) fn path_from_bytes(bytes: &[u8]) -> PathBuf {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
    }
    #[cfg(not(unix))]
    {
        PathBuf::from(crate::model::units::text_lossy(bytes))
    }
}

/// Names are asked for twice: first their length, then the text. `call(buffer, size)` returns the length or < 0.
pub(super) fn bytes_by_call(mut call: impl FnMut(*mut c_char, usize) -> isize) -> Result<Vec<u8>, Failure> {
    let n = call(std::ptr::null_mut(), 0);
    let n = usize::try_from(n).map_err(|_| Failure::last())?;
    if n > 1 << 20 {
        return Err(Failure { lines: vec![format!("a name of {n} bytes is beyond reason")] });
    }
    let mut buf = vec![0u8; n + 1];
    if call(buf.as_mut_ptr().cast(), buf.len()) < 0 {
        return Err(Failure::last());
    }
    let end = buf.iter().position(|&b| b == 0).unwrap_or(n);
    buf.truncate(end);
    Ok(buf)
}

/// Opens any object by its path; follows soft and external links. Call under the lock.
///
/// Names in old files may be Latin-1: where the UTF-8 spelling does not exist, the Latin-1 one is tried.
pub(super) fn open_object(file: &Id, path: &str) -> Result<Id, Failure> {
    let name = cstr(path)?;
    // SAFETY: `file` is an open handle and `name` NUL-terminated.
    let r = Id::new(unsafe { H5Oopen(file.raw(), name.as_ptr(), H5P_DEFAULT) });
    match (r, latin1(path)) {
        (Err(_), Some(old)) => {
            // SAFETY: as above.
            Id::new(unsafe { H5Oopen(file.raw(), old.as_ptr(), H5P_DEFAULT) })
        }
        (r, _) => r,
    }
}

/// Opens a dataset by its path. Call under the lock.
pub(super) fn open_dataset(file: &Id, path: &str) -> Result<Id, Failure> {
    let name = cstr(path)?;
    // SAFETY: `file` is an open handle and `name` NUL-terminated.
    let r = Id::new(unsafe { H5Dopen2(file.raw(), name.as_ptr(), H5P_DEFAULT) });
    match (r, latin1(path)) {
        (Err(_), Some(old)) => {
            // SAFETY: as above.
            Id::new(unsafe { H5Dopen2(file.raw(), old.as_ptr(), H5P_DEFAULT) })
        }
        (r, _) => r,
    }
}

/// The Latin-1 bytes of a name that is not plain ASCII, if it has any.
pub(super) fn latin1(text: &str) -> Option<CString> {
    if text.is_ascii() {
        return None;
    }
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    CString::new(bytes?).ok()
}

/// Calls that have another name in old libraries: the built-in library leaves the old names out, Debian's 1.10 lacks
/// the new ones.
#[cfg(feature = "static-hdf5")]
pub(super) mod versioned {
    use super::Id;
    pub use hdf5_metno_sys::h5l::{
        H5L_info2_t as LinkInfo, H5Lget_info2 as get_link_info, H5Literate2 as iterate_links,
    };
    use hdf5_metno_sys::h5o::{H5O_INFO_BASIC, H5O_info2_t, H5Oget_info3};
    pub use hdf5_metno_sys::h5t::H5Treclaim as reclaim;

    /// File number and place of an open object. Call under the lock.
    pub fn identity(object: &Id) -> Option<(u64, [u64; 2])> {
        let mut info = std::mem::MaybeUninit::<H5O_info2_t>::zeroed();
        // SAFETY: `object` is open and `info` a valid place that the library fills on success; of its token, 16 plain
        // bytes, two u64 are copied.
        unsafe {
            if H5Oget_info3(object.raw(), info.as_mut_ptr(), H5O_INFO_BASIC) < 0 {
                return None;
            }
            let info = info.as_ptr();
            #[allow(clippy::unnecessary_cast)] // c_ulong has 32 bits on Windows
            Some(((*info).fileno as u64, (&raw const (*info).token).cast::<[u64; 2]>().read_unaligned()))
        }
    }
}

/// See above; for a system library.
#[cfg(not(feature = "static-hdf5"))]
#[allow(deprecated)]
pub(super) mod versioned {
    use super::Id;
    pub use hdf5_metno_sys::h5d::H5Dvlen_reclaim as reclaim;
    pub use hdf5_metno_sys::h5l::{
        H5L_info1_t as LinkInfo, H5Lget_info1 as get_link_info, H5Literate1 as iterate_links,
    };
    use hdf5_metno_sys::h5o::{H5O_info1_t, H5Oget_info1};

    /// File number and place of an open object. Call under the lock.
    pub fn identity(object: &Id) -> Option<(u64, [u64; 2])> {
        let mut info = H5O_info1_t::default();
        // SAFETY: `object` is open and `info` a valid place.
        let ok = unsafe { H5Oget_info1(object.raw(), &mut info) } >= 0;
        #[allow(clippy::unnecessary_cast)] // c_ulong has 32 bits on Windows
        ok.then_some((info.fileno as u64, [info.addr, 0]))
    }
}
