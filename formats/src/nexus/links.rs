//! What a file needs from elsewhere: virtual sources, external raw files, and the links that lead nowhere.
//!
//! The library reads a virtual dataset whose source is missing as fill values, without a word. Here every source is
//! looked up first: relative names beside the file, then (reported) in the working directory.

use super::file::{H5, LinkKind, ObjectKind, join};
use super::info::{DatasetInfo, Layout};
use super::sys::{self, Failure, Id, bytes_by_call, check, open_dataset};
use super::values::extent;
use crate::{Error, Result};
use hdf5_metno_sys::h5::hsize_t;
use hdf5_metno_sys::h5d::H5Dget_space;
use hdf5_metno_sys::h5f::H5Fget_name;
use hdf5_metno_sys::h5p::*;
use hdf5_metno_sys::h5s::*;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Where a file named inside another was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The file, if it exists.
    pub path: Option<PathBuf>,
    /// True where it lies only in the working directory: it will not be found from elsewhere.
    pub only_in_cwd: bool,
}

/// One part of a virtual dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualSource {
    /// File as stored; `.` is the file itself. May hold `%b`, the block number.
    pub file: PathBuf,
    /// Dataset in that file.
    pub dataset: String,
    /// The file where it was found.
    pub resolved: Option<PathBuf>,
    /// True where it was found only in the working directory.
    pub only_in_cwd: bool,
    /// Why it cannot be used, if so.
    pub problem: Option<String>,
    /// Part of the virtual dataset it fills, where that is one box.
    pub target: Option<Hyperbox>,
    /// Part of the source it comes from, where that is one box.
    pub origin: Option<Hyperbox>,
}

impl VirtualSource {
    /// True where file and dataset are there.
    pub fn ok(&self) -> bool {
        self.problem.is_none()
    }

    /// `file:dataset`.
    pub fn label(&self) -> String {
        format!("{}:{}", self.file.display(), self.dataset)
    }
}

/// A box in n dimensions, perhaps with gaps.
#[derive(Clone, Debug, PartialEq)]
pub struct Hyperbox {
    /// First element along each dimension.
    pub start: Vec<u64>,
    /// Number of elements along each dimension.
    pub size: Vec<u64>,
    /// Distance of neighbours along each dimension, 1 = no gaps.
    pub step: Vec<u64>,
}

impl Hyperbox {
    /// All of an extent.
    pub fn whole(dims: &[u64]) -> Hyperbox {
        Hyperbox { start: vec![0; dims.len()], size: dims.to_vec(), step: vec![1; dims.len()] }
    }

    /// One beyond the last element along dimension `k`.
    pub fn end(&self, k: usize) -> u64 {
        match self.size[k] {
            0 => self.start[k],
            n => (n - 1).saturating_mul(self.step[k]).saturating_add(self.start[k]).saturating_add(1),
        }
    }
}

/// What a dataspace selects.
enum Selected {
    Everything,
    Box(Hyperbox),
    Odd,
}

/// A source as found: its dimensions, or why it cannot be used.
pub(super) type Probe = std::result::Result<Vec<u64>, String>;

/// A file of raw values belonging to a dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct ExternalFile {
    /// Name as stored.
    pub file: PathBuf,
    /// Where it was found.
    pub resolved: Option<PathBuf>,
    /// True where it was found only in the working directory.
    pub only_in_cwd: bool,
    /// First byte used.
    pub offset: u64,
    /// Bytes used; `u64::MAX` = to the end.
    pub size: u64,
}

/// Something a file refers to that is not there.
#[derive(Clone, Debug, PartialEq)]
pub struct Dangling {
    /// Path of the link or dataset in the file.
    pub path: String,
    /// `soft link`, `external link`, `virtual source`, `external raw file`.
    pub kind: &'static str,
    /// What it points to.
    pub target: String,
    /// Why it does not resolve.
    pub why: String,
}

impl std::fmt::Display for Dangling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} to {}: {}", self.path, self.kind, self.target, self.why)
    }
}

/// Looks for `name`, written in the file at `holder`: absolute, else beside `holder`, else in the working directory.
pub fn resolve_file(holder: &Path, name: &Path) -> Found {
    let there = |p: PathBuf| p.is_file().then_some(p);
    if name.is_absolute() {
        if let Some(p) = there(name.to_owned()) {
            return Found { path: Some(p), only_in_cwd: false };
        }
        // As the library does: a set that was moved as a whole is found by the bare name beside its master.
        let bare = name.file_name().map(|n| folder_of(holder).join(n));
        return Found { path: bare.and_then(there), only_in_cwd: false };
    }
    if let Some(p) = there(folder_of(holder).join(name)) {
        return Found { path: Some(p), only_in_cwd: false };
    }
    let cwd = std::env::current_dir().ok().and_then(|d| there(d.join(name)));
    Found { only_in_cwd: cwd.is_some(), path: cwd }
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The file an open object lies in: not the one opened, where external links were followed. Call under the lock.
pub(super) fn file_of(object: &Id) -> Result<PathBuf, Failure> {
    // SAFETY: `object` is open; the buffer is passed with its size.
    let name = bytes_by_call(|p, n| unsafe { H5Fget_name(object.raw(), p, n) })?;
    Ok(sys::path_from_bytes(&name))
}

/// The external raw files of a contiguous dataset; none for a normal one. Call under the lock.
pub(super) fn external_files(d: &Id, plist: &Id) -> Result<Vec<ExternalFile>, Failure> {
    // SAFETY (this function): `plist` is an open dataset-creation list; buffers are passed with their sizes.
    // SAFETY: see the top of this function.
    let n = check(unsafe { H5Pget_external_count(plist.raw()) })?;
    let mut out = Vec::new();
    for i in 0..n as u32 {
        let mut name = vec![0u8; 4096];
        let (mut offset, mut size) = (Default::default(), 0 as hsize_t);
        // SAFETY: see above; one byte is kept for the terminator, which the library leaves out of long names.
        check(unsafe {
            H5Pget_external(plist.raw(), i, name.len() - 1, name.as_mut_ptr().cast(), &mut offset, &mut size)
        })?;
        let end = name.iter().position(|&b| b == 0).unwrap_or(0);
        let file = sys::path_from_bytes(&name[..end]);
        let found = resolve_file(&file_of(d)?, &file);
        #[allow(clippy::useless_conversion)] // off_t is 32 bits on Windows
        let offset = u64::try_from(i64::from(offset)).unwrap_or(0);
        out.push(ExternalFile { file, resolved: found.path, only_in_cwd: found.only_in_cwd, offset, size });
    }
    Ok(out)
}

/// The parts of a virtual dataset, each looked up. Call under the lock.
pub(super) fn virtual_sources(h5: &H5, d: &Id, plist: &Id) -> Result<Vec<VirtualSource>, Failure> {
    let holder = file_of(d)?;
    let mut n = 0usize;
    // SAFETY (this function): `plist` is an open dataset-creation list of a virtual dataset, `i` below its count.
    // SAFETY: see the top of this function.
    check(unsafe { H5Pget_virtual_count(plist.raw(), &mut n) })?;
    let mut out = Vec::new();
    for i in 0..n {
        // SAFETY: see the top of this function.
        let file = bytes_by_call(|p, n| unsafe { H5Pget_virtual_filename(plist.raw(), i, p, n) })?;
        // SAFETY: see the top of this function.
        let name = bytes_by_call(|p, n| unsafe { H5Pget_virtual_dsetname(plist.raw(), i, p, n) })?;
        // SAFETY: as above.
        let (vspace, sspace) = unsafe {
            (Id::new(H5Pget_virtual_vspace(plist.raw(), i))?, Id::new(H5Pget_virtual_srcspace(plist.raw(), i))?)
        };
        let stored = sys::path_from_bytes(&file);
        let dataset = crate::model::units::text_lossy(&name);
        let target = match selected(&vspace)? {
            Selected::Everything => extent(&vspace)?.map(|d| Hyperbox::whole(&d)),
            Selected::Box(b) => Some(b),
            Selected::Odd => None,
        };
        // `%b` stands for the block number (`%%` for a percent sign): the first block must be there.
        let pattern = contains_block(&file) || contains_block(&name);
        let (first_file, first_name) = if pattern {
            (sys::path_from_bytes(&block_name(&file, 0)), crate::model::units::text_lossy(&block_name(&name, 0)))
        } else {
            (stored.clone(), dataset.clone())
        };
        let found = if file.as_slice() == b"." {
            Found { path: Some(holder.clone()), only_in_cwd: false }
        } else {
            resolve_file(&holder, &first_file)
        };
        let probe = match &found.path {
            None => Err(format!("the file {} is missing", first_file.display())),
            Some(p) => h5.probe_source(p, &first_name, probe_source),
        };
        let selection = selected(&sspace)?;
        let probe = probe.and_then(|dims| fits(&dims, &selection, target.as_ref(), pattern).map(|()| dims));
        // "All of the source" is stored without its extent: only the source itself knows.
        let origin = match (selection, &probe) {
            _ if pattern => None,
            (Selected::Everything, Ok(dims)) => Some(Hyperbox::whole(dims)),
            (Selected::Box(b), _) => Some(b),
            _ => None,
        };
        out.push(VirtualSource {
            file: stored,
            dataset,
            resolved: found.path,
            only_in_cwd: found.only_in_cwd,
            problem: probe.err(),
            target,
            origin,
        });
    }
    Ok(out)
}

/// A source must hold all that is taken from it: the library would give fill values for the rest, or fail in riddles.
fn fits(dims: &[u64], taken: &Selected, target: Option<&Hyperbox>, pattern: bool) -> std::result::Result<(), String> {
    let product = |d: &[u64]| d.iter().fold(1u64, |n, &d| n.saturating_mul(d));
    let smaller = |what: String| Err(format!("it is smaller than what is taken from it (it has {dims:?}, {what})"));
    match (taken, target) {
        _ if pattern => Ok(()),
        (Selected::Everything, Some(t)) if product(dims) != product(&t.size) => smaller(format!("fills {:?}", t.size)),
        (Selected::Box(b), _) if b.size.len() != dims.len() || (0..dims.len()).any(|k| b.end(k) > dims[k]) => {
            smaller(format!("{:?} from {:?}", b.size, b.start))
        }
        _ => Ok(()),
    }
}

fn contains_block(name: &[u8]) -> bool {
    let mut rest = name;
    while let Some(at) = rest.windows(2).position(|w| w[0] == b'%') {
        if rest[at + 1] == b'b' {
            return true;
        }
        rest = &rest[at + 2..];
    }
    false
}

/// The name of block `n` of a printf-style source.
pub(super) fn block_name(pattern: &[u8], n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = pattern.iter().copied();
    while let Some(b) = bytes.next() {
        match (b, if b == b'%' { bytes.next() } else { None }) {
            (b'%', Some(b'b')) => out.extend(n.to_string().bytes()),
            (b'%', Some(b'%')) => out.push(b'%'),
            (b'%', Some(other)) => out.extend([b'%', other]),
            _ => out.push(b),
        }
    }
    out
}

fn probe_source(file: &Path, dataset: &str) -> Probe {
    let h5 = H5::open(file).map_err(|e| e.to_string())?;
    match h5.kind(dataset) {
        Some(ObjectKind::Dataset) => {}
        Some(_) => return Err(format!("{dataset} is no dataset")),
        None => return Err(format!("no dataset {dataset} in that file")),
    }
    sys::locked(|| {
        let d = open_dataset(h5.id(), dataset)?;
        // SAFETY: `d` is an open dataset; the handle returned is ours.
        let space = Id::new(unsafe { H5Dget_space(d.raw()) })?;
        Ok(extent(&space)?.unwrap_or_default())
    })
    .map_err(|e: Failure| e.cause().to_owned())
}

/// The selection of a dataspace, where it is one regular box. Call under the lock.
fn selected(space: &Id) -> Result<Selected, Failure> {
    let rank = extent(space)?.unwrap_or_default().len();
    // SAFETY: `space` is open; the arrays hold the library's greatest rank.
    unsafe {
        match H5Sget_select_type(space.raw()) {
            H5S_sel_type::H5S_SEL_ALL => return Ok(Selected::Everything),
            H5S_sel_type::H5S_SEL_HYPERSLABS if H5Sis_regular_hyperslab(space.raw()) > 0 => {}
            _ => return Ok(Selected::Odd),
        }
        let (mut start, mut stride, mut count, mut block) =
            ([0 as hsize_t; 32], [0 as hsize_t; 32], [0 as hsize_t; 32], [0 as hsize_t; 32]);
        check(H5Sget_regular_hyperslab(
            space.raw(),
            start.as_mut_ptr(),
            stride.as_mut_ptr(),
            count.as_mut_ptr(),
            block.as_mut_ptr(),
        ))?;
        let (mut size, mut step) = (Vec::with_capacity(rank), Vec::with_capacity(rank));
        for k in 0..rank {
            let (n, distance) = match (count[k], block[k]) {
                (hsize_t::MAX, _) | (_, hsize_t::MAX) => return Ok(Selected::Odd), // unlimited
                (1, b) => (b, 1),
                (n, b) if stride[k] == b => (n.saturating_mul(b), 1),
                (n, 1) if stride[k] > 0 => (n, stride[k]),
                _ => return Ok(Selected::Odd),
            };
            size.push(n);
            step.push(distance);
        }
        Ok(Selected::Box(Hyperbox { start: start[..rank].to_vec(), size, step }))
    }
}

/// Fails by name where a virtual source or an external raw file of the dataset is missing.
pub(super) fn check_sources(h5: &H5, info: &DatasetInfo) -> Result<()> {
    const HINT: &str = "the file belongs to a set: copy its source files too, keeping their relative places";
    match &info.layout {
        Layout::Virtual { sources } => {
            let bad: Vec<_> = sources.iter().filter(|s| !s.ok()).collect();
            let Some(first) = bad.first() else { return Ok(()) };
            let why = first.problem.as_deref().unwrap_or("missing");
            Err(Error::file(
                h5.path(),
                format!("{} of {} virtual sources of {} cannot be read", bad.len(), sources.len(), info.path),
            )
            .found(format!("{}: {why}", first.label()))
            .hint(HINT))
        }
        Layout::External { files } => {
            let Some(bad) = files.iter().find(|f| f.resolved.is_none()) else { return Ok(()) };
            Err(Error::file(h5.path(), format!("the raw values of {} are not in this file", info.path))
                .found(format!("{} is missing", bad.file.display()))
                .hint(HINT))
        }
        _ => Ok(()),
    }
}

/// Walks the whole file (not into other files) and lists what does not resolve.
pub(super) fn dangling(h5: &H5) -> Result<Vec<Dangling>> {
    let mut out = Vec::new();
    let mut seen = HashSet::new();
    let mut todo = vec!["/".to_owned()];
    while let Some(group) = todo.pop() {
        if let Some(id) = h5.identity(&group)
            && !seen.insert(id)
        {
            continue;
        }
        for link in h5.children(&group)? {
            match &link.kind {
                LinkKind::Soft { target } if !link.resolves => out.push(Dangling {
                    path: link.path,
                    kind: "soft link",
                    target: target.clone(),
                    why: "no such object".into(),
                }),
                LinkKind::External { file, path } if !link.resolves => {
                    let missing = resolve_file(h5.path(), file).path.is_none();
                    out.push(Dangling {
                        path: link.path,
                        kind: "external link",
                        target: format!("{}:{path}", file.display()),
                        why: if missing { "the file is missing".into() } else { "no such object in that file".into() },
                    });
                }
                LinkKind::Hard { object: ObjectKind::Group } => todo.push(link.path),
                LinkKind::Hard { object: ObjectKind::Dataset } => {
                    if let Ok(info) = h5.dataset_info(&link.path) {
                        dangling_sources(&info, &mut out);
                    }
                }
                _ => {}
            }
        }
    }
    out.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(out)
}

fn dangling_sources(info: &DatasetInfo, out: &mut Vec<Dangling>) {
    match &info.layout {
        Layout::Virtual { sources } => {
            for s in sources.iter().filter(|s| !s.ok()) {
                out.push(Dangling {
                    path: info.path.clone(),
                    kind: "virtual source",
                    target: s.label(),
                    why: s.problem.clone().unwrap_or_default(),
                });
            }
        }
        Layout::External { files } => {
            for f in files.iter().filter(|f| f.resolved.is_none()) {
                out.push(Dangling {
                    path: info.path.clone(),
                    kind: "external raw file",
                    target: f.file.display().to_string(),
                    why: "the file is missing".into(),
                });
            }
        }
        _ => {}
    }
}

/// Every file the values of a dataset in `holder` come from beside it: sources, all blocks of a `%b` name, raw files, and
/// what the sources are put together from in turn.
pub(super) fn files_behind(holder: &Path, layout: &Layout) -> Vec<PathBuf> {
    let (mut all, mut seen) = (Vec::new(), HashSet::new());
    let mut todo = vec![(holder.to_owned(), layout.clone())];
    while let Some((holder, layout)) = todo.pop() {
        match layout {
            Layout::External { files } => all.extend(files.into_iter().filter_map(|f| f.resolved)),
            Layout::Virtual { sources } => {
                for s in sources {
                    all.extend(further_blocks(&holder, &s.file));
                    let Some(file) = s.resolved.filter(|f| seen.insert((f.clone(), s.dataset.clone()))) else {
                        continue;
                    };
                    // A source that cannot be opened has no files of its own to add.
                    if let Some((way, holder, layout)) = where_and_how(&file, &s.dataset) {
                        all.extend(way);
                        all.push(holder.clone());
                        todo.push((holder, layout));
                    }
                    all.push(file);
                }
            }
            _ => {}
        }
    }
    all
}

/// The files of a `%b` name behind the first, up to the first that is missing.
fn further_blocks(holder: &Path, name: &Path) -> Vec<PathBuf> {
    let name = name.as_os_str().as_encoded_bytes();
    let block = |n| resolve_file(holder, &sys::path_from_bytes(&block_name(name, n))).path;
    if contains_block(name) { (1..).map_while(block).collect() } else { Vec::new() }
}

/// The files that links to a dataset lead through, the one it lies in, and its layout.
fn where_and_how(file: &Path, dataset: &str) -> Option<(Vec<PathBuf>, PathBuf, Layout)> {
    let h5 = H5::open(file).ok()?;
    let layout = h5.dataset_info(dataset).ok()?.layout;
    let holder = sys::locked(|| file_of(&open_dataset(h5.id(), dataset)?)).ok()?;
    Some((files_on_the_way(&h5, dataset), holder, layout))
}

/// Links followed on the way to one object; the library gives up earlier.
const MOST_LINKS: usize = 64;

/// The files that external links lead to on the way to a path.
pub(super) fn files_on_the_way(h5: &H5, path: &str) -> Vec<PathBuf> {
    let names = |path: &str| path.split('/').filter(|n| !matches!(*n, "" | ".")).map(str::to_owned).collect::<Vec<_>>();
    let ahead = |target: &str, rest: &[String]| [names(target), rest.to_vec()].concat();
    let (mut all, mut links) = (Vec::new(), 0);
    let (mut here, mut group, mut rest) = (h5.clone(), "/".to_owned(), names(path));
    while !rest.is_empty() && links < MOST_LINKS {
        let name = rest.remove(0);
        match here.link_kind(&group, &name) {
            Some(LinkKind::Soft { target }) => {
                links += 1;
                rest = ahead(&target, &rest);
                if target.starts_with('/') {
                    group = "/".to_owned();
                }
            }
            Some(LinkKind::External { file, path }) => {
                links += 1;
                let Some(file) = resolve_file(here.path(), &file).path else { break };
                all.push(file.clone());
                let Ok(next) = H5::open(&file) else { break };
                (here, group, rest) = (next, "/".to_owned(), ahead(&path, &rest));
            }
            _ => group = join(&group, &name),
        }
    }
    all
}

/// Opens the dataset of a virtual source for reading by us.
pub(super) fn open_source(s: &VirtualSource) -> Result<H5> {
    let path = s.resolved.as_deref().ok_or_else(|| Error::file(&s.file, "this virtual source is missing"))?;
    let h5 = H5::open(path)?;
    sys::locked(|| open_dataset(h5.id(), &s.dataset)).map_err(|e| h5.missing(&s.dataset, &e))?;
    Ok(h5)
}
