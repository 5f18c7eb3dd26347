//! An HDF5 file opened for reading: groups, links, attributes, dataset descriptions, short datasets.
//!
//! Guarantees: paths follow soft and external links as the library does; what cannot be resolved is reported by name,
//! never skipped; nothing is allocated beyond a stated limit. Leaves stacks of images to `array` and the meaning of
//! paths to `layout`. A path is absolute inside the file: `/entry/data`.

use super::array::Array;
use super::info::{self, DatasetInfo};
use super::links::{self, Dangling, Probe};
use super::sys::versioned::{self, LinkInfo, get_link_info, iterate_links};
use super::sys::{self, Failure, Id, check, cstr, locked, open_dataset, open_object};
use super::types::describe;
use super::values::{self, Values};
use crate::io::ReadAt;
use crate::model::units::text_lossy;
use crate::source::FrameSource;
use crate::{DType, Error, Fault, Result, Warnings};
use hdf5_metno_sys::h5::{H5_index_t, H5_iter_order_t, herr_t, hsize_t};
use hdf5_metno_sys::h5a::*;
use hdf5_metno_sys::h5d::{H5Dget_space, H5Dget_type, H5Dread};
use hdf5_metno_sys::h5f::*;
use hdf5_metno_sys::h5i::{H5I_type_t, H5Iget_type, hid_t};
use hdf5_metno_sys::h5l::H5Lget_val;
use hdf5_metno_sys::h5o::H5Oopen;
use hdf5_metno_sys::h5p::*;
use hdf5_metno_sys::h5s::H5S_ALL;
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The eight bytes every HDF5 file starts with, at offset 0, 512, 1024, 2048, … (a user block may come first).
pub const SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

/// Largest dataset or attribute read as a list of numbers or texts, bytes.
pub const LIST_LIMIT: u64 = 64 << 20;

/// An HDF5 file opened for reading. Cheap to clone, shared by threads.
#[derive(Clone)]
pub struct H5(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) id: Id,
    path: PathBuf,
    notes: Vec<String>,
    /// Virtual sources looked up so far: a scan may have thousands, and each must be opened to be sure of it.
    probes: Mutex<HashMap<(PathBuf, String), Probe>>,
}

/// What a path leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ObjectKind {
    /// A group.
    Group,
    /// A dataset.
    Dataset,
    /// A named datatype.
    Datatype,
}

/// One entry of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Name within its group.
    pub name: String,
    /// Path from the root.
    pub path: String,
    /// Where it points.
    pub kind: LinkKind,
    /// False where the target is missing.
    pub resolves: bool,
}

/// How an entry of a group points to its object.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkKind {
    /// The object itself.
    Hard {
        /// What it is.
        object: ObjectKind,
    },
    /// A path in the same file.
    Soft {
        /// The path as stored.
        target: String,
    },
    /// An object in another file.
    External {
        /// The file as stored, usually relative to this one.
        file: PathBuf,
        /// Path in that file.
        path: String,
    },
}

/// `group` and `name` as one path.
pub(super) fn join(group: &str, name: &str) -> String {
    format!("{}/{name}", group.trim_end_matches('/'))
}

impl std::fmt::Debug for H5 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("H5").field(&self.0.path).finish()
    }
}

/// How often, and after which pause, a file whose lock is held is tried again: a second and a half in all.
const LOCK_TRIES: usize = 15;
/// See [`LOCK_TRIES`].
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

impl H5 {
    /// Opens a file for reading.
    ///
    /// A file that another program writes right now is opened only where that program allows it (SWMR); a note says so.
    ///
    /// # Errors
    /// Not an HDF5 file, truncated, locked by a writer, of a newer layout than the library knows.
    pub fn open(path: &Path) -> Result<H5> {
        let file = ReadAt::open(path)?;
        find_signature(&file)?;
        let absolute = std::path::absolute(path).map_err(|e| Error::io(path, "opening", e))?;
        let mut notes = Vec::new();
        let is_busy = std::cell::Cell::new(false);
        let mut attempt = || {
            locked(|| -> Result<Id> {
                let fail = |e: Failure| e.on(path, "cannot open as HDF5");
                let name = sys::path_cstr(&absolute).map_err(fail)?;
                // SAFETY: the property-list class is initialised under the lock; `fapl` is ours.
                let fapl = Id::new(unsafe { H5Pcreate(*H5P_CLS_FILE_ACCESS) }).map_err(fail)?;
                let open = |flags| {
                    // SAFETY: `name` is NUL-terminated and `fapl` open.
                    Id::new(unsafe { H5Fopen(name.as_ptr(), flags, fapl.raw()) })
                };
                match open(H5F_ACC_RDONLY) {
                    Ok(id) => Ok(id),
                    // Whoever holds the lock holds it against readers of any kind: nothing to do but wait.
                    Err(first) if first.says("lock file") => {
                        is_busy.set(true);
                        Err(busy(path, &first))
                    }
                    // Marked as being written, and not locked: so does a writer that allows readers (SWMR).
                    Err(first) if first.says("already open for") => match open(H5F_ACC_RDONLY | H5F_ACC_SWMR_READ) {
                        Ok(id) => {
                            notes.push("marked as being written (by a program that runs or was killed): what is read is its present state".into());
                            Ok(id)
                        }
                        Err(_) => Err(busy(path, &first)),
                    },
                    Err(e) => Err(open_error(path, &e, file.len())),
                }
            })
        };
        // A lock may outlive its writer for a moment: the program is just closing the file, or a child process that was
        // being started inherited the handle (HDF5 does not mark its handles as not to be inherited).
        let mut opened = attempt();
        for _ in 0..LOCK_TRIES {
            if opened.is_ok() || !is_busy.take() {
                break;
            }
            std::thread::sleep(LOCK_PAUSE);
            opened = attempt();
        }
        let id = opened?;
        Ok(H5(Arc::new(Inner { id, path: path.to_owned(), notes, probes: Mutex::default() })))
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// What was odd when opening, one line each.
    pub fn notes(&self) -> &[String] {
        &self.0.notes
    }

    /// Looks up a virtual source once per open file.
    pub(super) fn probe_source(&self, file: &Path, dataset: &str, look: fn(&Path, &str) -> Probe) -> Probe {
        let key = (file.to_owned(), dataset.to_owned());
        let known = || self.0.probes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(p) = known().get(&key) {
            return p.clone();
        }
        let p = look(file, dataset);
        known().insert(key, p.clone());
        p
    }

    pub(super) fn id(&self) -> &Id {
        &self.0.id
    }

    pub(super) fn fail(&self, what: impl std::fmt::Display) -> impl FnOnce(Failure) -> Error {
        move |e| e.on(&self.0.path, what)
    }

    /// The entries of a group, by name.
    ///
    /// # Errors
    /// Where `group` is missing or no group.
    pub fn children(&self, group: &str) -> Result<Vec<Link>> {
        locked(|| {
            let g = open_object(self.id(), group).map_err(|e| self.missing(group, &e))?;
            // SAFETY: `g` is open.
            if unsafe { H5Iget_type(g.raw()) } != H5I_type_t::H5I_GROUP {
                return Err(Error::caller(format!("{group} is no group")).path(self.path()));
            }
            let raw = list_links(&g).map_err(self.fail(format!("cannot list {group}")))?;
            Ok(raw.into_iter().map(|(name, class)| self.link(&g, group, &name, class)).collect())
        })
    }

    fn link(&self, g: &Id, group: &str, name: &CStr, class: c_int) -> Link {
        let shown = text_lossy(name.to_bytes());
        let path = join(group, &shown);
        let object = object_kind_by_name(g, name);
        let kind = match class {
            0 => object.map(|object| LinkKind::Hard { object }),
            1 => link_value(g, name).map(|v| LinkKind::Soft { target: text_lossy(until_nul(&v)) }),
            64 => link_value(g, name).and_then(|v| external_value(&v)),
            _ => None,
        };
        // A link of a class we cannot read, or an object the library cannot: shown as dangling, never left out.
        let kind = kind.unwrap_or(LinkKind::Soft { target: format!("(link class {class}, unreadable)") });
        Link { name: shown, path, kind, resolves: object.is_some() }
    }

    /// Where the entry `name` of a group points, if it is a soft or an external link.
    pub(super) fn link_kind(&self, group: &str, name: &str) -> Option<LinkKind> {
        locked(|| {
            let g = open_object(self.id(), group).ok()?;
            let name = cstr(name).ok()?;
            let class = link_class(&g, &name).filter(|c| matches!(c, 1 | 64))?;
            Some(self.link(&g, group, &name, class).kind)
        })
    }

    /// True where the path leads to an object, through links too.
    pub fn exists(&self, path: &str) -> bool {
        self.kind(path).is_some()
    }

    /// What the path leads to, through links too; `None` where it leads nowhere.
    pub fn kind(&self, path: &str) -> Option<ObjectKind> {
        locked(|| object_kind(&open_object(self.id(), path).ok()?))
    }

    /// The `NX_class` attribute of a group.
    pub fn nx_class(&self, group: &str) -> Option<String> {
        self.attr_text(group, "NX_class")
    }

    fn attr(&self, path: &str, name: &str) -> Option<Values> {
        locked(|| {
            let object = open_object(self.id(), path).ok()?;
            read_attr(&object, name).ok()
        })
    }

    /// A text attribute: fixed or variable length, UTF-8 or Latin-1; of an array the first where it is the only one.
    pub fn attr_text(&self, path: &str, name: &str) -> Option<String> {
        match self.attr(path, name)? {
            Values::Texts(mut t) if t.len() == 1 => t.pop(),
            _ => None,
        }
    }

    /// A text attribute that may be a list (`axes`).
    pub fn attr_texts(&self, path: &str, name: &str) -> Option<Vec<String>> {
        match self.attr(path, name)? {
            Values::Texts(t) => Some(t),
            _ => None,
        }
    }

    /// A numeric attribute; an array counts where it holds one value.
    pub fn attr_f64(&self, path: &str, name: &str) -> Option<f64> {
        match self.attr(path, name)?.to_f64()?.as_slice() {
            [v] => Some(*v),
            _ => None,
        }
    }

    /// All attributes, in name order. Types without a JSON form are given as `(type)`.
    pub fn attrs(&self, path: &str) -> Result<Vec<(String, serde_json::Value)>> {
        locked(|| {
            let object = open_object(self.id(), path).map_err(|e| self.missing(path, &e))?;
            let names = list_attrs(&object).map_err(self.fail(format!("cannot list the attributes of {path}")))?;
            let value = |n: &String| match read_attr(&object, n) {
                Ok(v) => v.to_json(),
                Err(e) => serde_json::Value::from(format!("(unreadable: {})", e.cause())),
            };
            Ok(names.iter().map(|n| (n.clone(), value(n))).collect())
        })
    }

    /// Describes a dataset: shape, type, layout, filters, sources.
    pub fn dataset_info(&self, path: &str) -> Result<DatasetInfo> {
        locked(|| {
            let d = open_dataset(self.id(), path).map_err(|e| self.missing(path, &e))?;
            info::describe_dataset(self, &d, path).map_err(self.fail(format!("cannot describe {path}")))
        })
    }

    fn read_values(&self, path: &str, limit: u64) -> Result<Values> {
        let info = self.dataset_info(path)?;
        links::check_sources(self, &info)?;
        if info.dtype.is_some() {
            // Numbers take the way of all bulk data: checked chunks, our own filters.
            let (_, bytes) = Array::open(self, path)?.read_all(limit)?;
            return Ok(Values::Numbers(info.dtype.unwrap_or(DType::U8), bytes));
        }
        info::check_filters(self, &info)?;
        locked(|| {
            let d = open_dataset(self.id(), path).map_err(|e| self.missing(path, &e))?;
            // SAFETY: `d` is an open dataset; the buffer handed to `read_all`'s closure fits the whole extent.
            let (t, s) = unsafe { (Id::new(H5Dget_type(d.raw())), Id::new(H5Dget_space(d.raw()))) };
            let fail = |e: Failure| e.on(self.path(), format!("cannot read {path}"));
            values::read_all(&t.map_err(fail)?, &s.map_err(fail)?, limit, |mem, out| {
                // SAFETY: as above.
                unsafe { H5Dread(d.raw(), mem, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) }
            })
            .map_err(fail)
        })
    }

    fn not_a(&self, path: &str, wanted: &str) -> Error {
        let found = self.dataset_info(path).map_or_else(|_| "something else".into(), |i| i.summary());
        Error::file(self.path(), format!("{path} cannot be read as {wanted}")).expected(wanted).found(found)
    }

    /// All values of a numeric dataset up to [`LIST_LIMIT`], flattened.
    pub fn read_f64(&self, path: &str) -> Result<Vec<f64>> {
        self.read_values(path, LIST_LIMIT)?.to_f64().ok_or_else(|| self.not_a(path, "numbers"))
    }

    /// All values of an integer dataset up to [`LIST_LIMIT`], flattened.
    pub fn read_i64(&self, path: &str) -> Result<Vec<i64>> {
        self.read_values(path, LIST_LIMIT)?.to_i64().ok_or_else(|| self.not_a(path, "integers"))
    }

    /// The text of a scalar or one-element string dataset.
    pub fn read_text(&self, path: &str) -> Result<String> {
        match self.read_values(path, LIST_LIMIT)? {
            Values::Texts(mut t) if t.len() == 1 => Ok(t.pop().unwrap_or_default()),
            _ => Err(self.not_a(path, "one text")),
        }
    }

    /// All strings of a string dataset, flattened.
    pub fn read_texts(&self, path: &str) -> Result<Vec<String>> {
        match self.read_values(path, LIST_LIMIT)? {
            Values::Texts(t) => Ok(t),
            _ => Err(self.not_a(path, "texts")),
        }
    }

    /// A numeric dataset of two or more dimensions as frames × rows × columns: 2-D is one frame, leading dimensions of
    /// 4-D and more are folded into frames.
    pub fn stack(&self, path: &str) -> Result<Arc<dyn FrameSource>> {
        self.stack_and_warnings(path).map(|s| s.0)
    }

    /// As [`H5::stack`], with what was odd about it: chunks never written, sources found by luck.
    pub fn stack_and_warnings(&self, path: &str) -> Result<(Arc<dyn FrameSource>, Warnings)> {
        let array = Array::open(self, path)?;
        if array.rank() < 2 {
            return Err(Error::unsupported(self.path(), format!("{path} is no stack of images"))
                .expected("two or more dimensions")
                .found(format!("{} dimension(s)", array.rank())));
        }
        let warnings = array.warnings().clone();
        Ok((Arc::new(array), warnings))
    }

    /// A numeric dataset of any rank, whole: its shape and its values, little-endian, C order.
    ///
    /// # Errors
    /// `Limit` where it is larger than `limit` bytes; otherwise as [`H5::stack`].
    pub fn read_raw(&self, path: &str, limit: u64) -> Result<(Vec<u64>, Vec<u8>)> {
        let array = Array::open(self, path)?;
        let (shape, mut bytes) = array.read_all(limit)?;
        crate::ByteOrder::Little.to_native(&mut bytes, array.dtype().size());
        Ok((shape, bytes))
    }

    /// Every soft link, external link, virtual source and external raw file that does not resolve, by name.
    pub fn dangling(&self) -> Result<Vec<Dangling>> {
        links::dangling(self)
    }

    /// "No such object" in terms of the link that breaks, where one does.
    pub(super) fn missing(&self, path: &str, e: &Failure) -> Error {
        let mut so_far = String::new();
        for part in path.split('/').filter(|p| !p.is_empty()) {
            let next = join(&so_far, part);
            if self.exists(&next) {
                so_far = next;
                continue;
            }
            let group = if so_far.is_empty() { "/" } else { so_far.as_str() };
            return match self.link_at(group, part) {
                Some(LinkKind::External { file, path: target }) => {
                    let exists = links::resolve_file(self.path(), &file).path.is_some();
                    let what = if exists { "has no such object" } else { "is missing" };
                    Error::file(
                        self.path(),
                        format!("{next} is an external link to {}:{target}, and that file {what}", file.display()),
                    )
                    .hint("the file belongs to a set: copy the linked files too, keeping their relative places")
                }
                Some(LinkKind::Soft { target }) => {
                    Error::file(self.path(), format!("{next} is a link to {target}, which does not exist"))
                }
                Some(LinkKind::Hard { .. }) => e.on(self.path(), format!("cannot open {next}")),
                None => Error::caller(format!("{next} does not exist in this file"))
                    .path(self.path())
                    .hint("list what is there with 'tomo info --tree'"),
            };
        }
        e.on(self.path(), format!("cannot open {path}"))
    }

    fn link_at(&self, group: &str, name: &str) -> Option<LinkKind> {
        locked(|| {
            let g = open_object(self.id(), group).ok()?;
            let (raw, class) = list_links(&g).ok()?.into_iter().find(|(n, _)| text_lossy(n.to_bytes()) == name)?;
            match class {
                0 => Some(LinkKind::Hard { object: ObjectKind::Dataset }),
                _ => Some(self.link(&g, group, &raw, class).kind),
            }
        })
    }

    /// Identity of an object, for walks that must not go in circles.
    pub(super) fn identity(&self, path: &str) -> Option<(u64, [u64; 2])> {
        locked(|| {
            let object = open_object(self.id(), path).ok()?;
            let (file, place) = versioned::identity(&object)?;
            if versioned::identity(self.id()).is_some_and(|(own, _)| own == file) {
                return Some((file, place));
            }
            // Another file gets a new number each time a link leads there: it is known by its path, or circles of files
            // that link to each other would be walked again and again.
            let path = links::file_of(&object).ok()?;
            let mut hasher = std::hash::DefaultHasher::new();
            path.canonicalize().unwrap_or(path).hash(&mut hasher);
            Some((hasher.finish(), place))
        })
    }
}

/// Offset of the signature, or the error that says what this file is instead.
pub(super) fn find_signature(file: &ReadAt) -> Result<u64> {
    let mut at = 0u64;
    let mut head = [0u8; 8];
    while at.checked_add(8).is_some_and(|end| end <= file.len()) {
        file.read_exact_at(&mut head, at)?;
        if head == SIGNATURE {
            return Ok(at);
        }
        at = if at == 0 { 512 } else { at * 2 };
    }
    let start = file.head(8)?;
    let what = match start.as_slice() {
        [] => "an empty file".to_owned(),
        [0x0e, 0x03, 0x13, 0x01, ..] => "HDF4, an older and different format".to_owned(),
        [b'C', b'D', b'F', 1 | 2 | 5, ..] => "netCDF-3, an older and different format".to_owned(),
        b => format!("first bytes {b:02x?}"),
    };
    Err(Error::file(file.path(), "this is not an HDF5 file").at(0).expected("the signature 89 'HDF'").found(what))
}

fn busy(path: &Path, e: &Failure) -> Error {
    Error::new(Fault::System, "another program has this file open for writing")
        .path(path)
        .source(e.lines.join(" < "))
        .hint("wait until the scan or program that writes it is done; on a network disk that cannot lock, set HDF5_USE_FILE_LOCKING=FALSE")
}

fn open_error(path: &Path, e: &Failure, len: u64) -> Error {
    if let Some(line) = e.lines.iter().find(|l| l.starts_with("truncated file")) {
        let number = |key: &str| {
            let (_, rest) = line.split_once(key)?;
            rest.trim_start_matches(|c: char| !c.is_ascii_digit())
                .split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        };
        let want: Option<u64> = number("stored_eof").map(|n: u64| n.saturating_add(number("base_addr").unwrap_or(0)));
        let mut err = Error::file(path, "the file is truncated").found(format!("{len} bytes"));
        if let Some(want) = want {
            err = err.expected(format!("{want} bytes"));
        }
        return err.hint("copy it again; if the original is the same, the program that wrote it was interrupted");
    }
    if e.says("superblock version") || e.says("bad version number") {
        return e.on(path, "this HDF5 file is damaged or of a newer layout than we can read");
    }
    e.on(path, "cannot open as HDF5")
}

fn object_kind(object: &Id) -> Option<ObjectKind> {
    // SAFETY: `object` is open.
    match unsafe { H5Iget_type(object.raw()) } {
        H5I_type_t::H5I_GROUP => Some(ObjectKind::Group),
        H5I_type_t::H5I_DATASET => Some(ObjectKind::Dataset),
        H5I_type_t::H5I_DATATYPE => Some(ObjectKind::Datatype),
        _ => None,
    }
}

fn object_kind_by_name(g: &Id, name: &CStr) -> Option<ObjectKind> {
    // SAFETY: `g` is an open group and `name` NUL-terminated.
    object_kind(&Id::new(unsafe { H5Oopen(g.raw(), name.as_ptr(), H5P_DEFAULT) }).ok()?)
}

fn list_links(g: &Id) -> Result<Vec<(std::ffi::CString, c_int)>, Failure> {
    type Out = Vec<(std::ffi::CString, c_int)>;
    unsafe extern "C" fn each(_: hid_t, name: *const c_char, info: *const LinkInfo, out: *mut c_void) -> herr_t {
        // SAFETY: the library passes a NUL-terminated name, its record, and the live Vec given below. The class is
        // read as the plain integer it is in C: a file may hold user-defined classes outside the enumeration.
        unsafe {
            let class = *info.cast::<c_int>();
            (*out.cast::<Out>()).push((CStr::from_ptr(name).to_owned(), class));
        }
        0
    }
    let mut out: Out = Vec::new();
    let mut at: hsize_t = 0;
    // SAFETY: `g` is an open group; the callback does not unwind; `out` outlives the call.
    check(unsafe {
        iterate_links(
            g.raw(),
            H5_index_t::H5_INDEX_NAME,
            H5_iter_order_t::H5_ITER_INC,
            &mut at,
            Some(each),
            (&raw mut out).cast(),
        )
    })?;
    Ok(out)
}

/// The class of a link, as the plain integer it is in C: a file may hold user-defined classes outside the enumeration.
fn link_class(g: &Id, name: &CStr) -> Option<c_int> {
    let mut info = std::mem::MaybeUninit::<LinkInfo>::zeroed();
    // SAFETY: `g` is an open group, `name` NUL-terminated, the record is filled on success and begins with its class.
    unsafe {
        let ok = get_link_info(g.raw(), name.as_ptr(), info.as_mut_ptr(), H5P_DEFAULT) >= 0;
        ok.then(|| *info.as_ptr().cast::<c_int>())
    }
}

fn link_value(g: &Id, name: &CStr) -> Option<Vec<u8>> {
    let mut info = std::mem::MaybeUninit::<LinkInfo>::zeroed();
    // SAFETY: soft and external links only (their class is in the enumeration); the buffer has the size asked for.
    unsafe {
        if get_link_info(g.raw(), name.as_ptr(), info.as_mut_ptr(), H5P_DEFAULT) < 0 {
            return None;
        }
        let mut info = info.assume_init();
        let size = *info.u.val_size();
        if size > 1 << 20 {
            return None;
        }
        let mut buf = vec![0u8; size];
        (H5Lget_val(g.raw(), name.as_ptr(), buf.as_mut_ptr().cast(), size, H5P_DEFAULT) >= 0).then_some(buf)
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len())]
}

/// An external link's value: one byte of version and flags, file name, NUL, object path, NUL.
fn external_value(value: &[u8]) -> Option<LinkKind> {
    let names = value.get(1..)?;
    let file = until_nul(names);
    let path = until_nul(names.get(file.len() + 1..)?);
    Some(LinkKind::External { file: sys::path_from_bytes(file), path: text_lossy(path) })
}

fn list_attrs(object: &Id) -> Result<Vec<String>, Failure> {
    unsafe extern "C" fn each(_: hid_t, name: *const c_char, _: *const H5A_info_t, out: *mut c_void) -> herr_t {
        // SAFETY: a NUL-terminated name and the live Vec given below.
        unsafe { (*out.cast::<Vec<String>>()).push(text_lossy(CStr::from_ptr(name).to_bytes())) };
        0
    }
    let mut out: Vec<String> = Vec::new();
    let mut at: hsize_t = 0;
    // SAFETY: `object` is open; the callback does not unwind; `out` outlives the call.
    check(unsafe {
        H5Aiterate2(
            object.raw(),
            H5_index_t::H5_INDEX_NAME,
            H5_iter_order_t::H5_ITER_INC,
            &mut at,
            Some(each),
            (&raw mut out).cast(),
        )
    })?;
    Ok(out)
}

fn read_attr(object: &Id, name: &str) -> Result<Values, Failure> {
    let text = cstr(name)?;
    // SAFETY (this function): `object` is open, names are NUL-terminated, handles are ours; the closure's buffer fits.
    // SAFETY: see the top of this function.
    unsafe {
        let mut exists = H5Aexists(object.raw(), text.as_ptr());
        let mut key = text;
        if exists <= 0
            && let Some(old) = sys::latin1(name)
        {
            exists = H5Aexists(object.raw(), old.as_ptr());
            key = old;
        }
        if exists <= 0 {
            return Err(Failure { lines: vec![format!("no attribute {name}")] });
        }
        let a = Id::new(H5Aopen(object.raw(), key.as_ptr(), H5P_DEFAULT))?;
        let t = Id::new(H5Aget_type(a.raw()))?;
        let s = Id::new(H5Aget_space(a.raw()))?;
        describe(&t)?;
        values::read_all(&t, &s, LIST_LIMIT, |mem, out| H5Aread(a.raw(), mem, out))
    }
}
