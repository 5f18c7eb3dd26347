//! A destination folder held by its handle: opened once, everything made relative to it, nothing outside it.
//!
//! Why: after a disk is pulled out (or lazily unmounted), looking up `/media/disk/…` lands on the system disk, silently.
//! Handles do not. [`Root::still_there`] compares the two before each file. Links on the disk that lead out of the folder
//! are not followed, and the last part of a name never is.

use crate::trust::Name;
use cap_fs_ext::{FollowSymlinks, MetadataExt, OpenOptionsFollowExt};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tomokit_formats::io::once_free;
use tomokit_formats::{Error, Fault, Result};

/// Suffix of files that are not whole yet.
pub const PART: &str = ".tomo-part";

/// What is kept locked while a copy into a folder runs.
pub const LOCK: &str = ".tomo-copy.lock";

/// What is known of a file on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub modified_ns: i64,
    /// A regular file (neither folder, link nor device).
    pub is_file: bool,
    /// A folder.
    pub is_dir: bool,
    /// Volume.
    pub dev: u64,
}

/// The held folder.
#[derive(Debug)]
pub struct Root {
    dir: Dir,
    path: PathBuf,
    id: (u64, u64),
    /// Opened before the first write, so that syncs hear of every write error since.
    #[cfg(unix)]
    sync: File,
    /// Folders known to be there.
    made: Mutex<HashSet<Name>>,
}

/// Nanoseconds since 1970 of a system time; times before 1970 are negative.
pub fn nanos(t: io::Result<std::time::SystemTime>) -> i64 {
    let Ok(t) = t else { return 0 };
    match t.duration_since(std::time::UNIX_EPOCH) {
        Ok(d) => i64::try_from(d.as_nanos()).unwrap_or(i64::MAX),
        Err(e) => i64::try_from(e.duration().as_nanos()).map_or(i64::MIN, |n| -n),
    }
}

/// The system time of nanoseconds since 1970.
pub fn system_time(nanos: i64) -> std::time::SystemTime {
    let d = std::time::Duration::from_nanos(nanos.unsigned_abs());
    if nanos < 0 { std::time::UNIX_EPOCH - d } else { std::time::UNIX_EPOCH + d }
}

/// Through the handle: Windows tells a folder's identity only there.
fn id_of(dir: &Dir) -> io::Result<(u64, u64)> {
    let meta = dir.dir_metadata()?;
    Ok((MetadataExt::dev(&meta), MetadataExt::ino(&meta)))
}

impl Root {
    /// Holds an existing folder.
    pub fn open(path: &Path) -> Result<Root> {
        let open = || -> io::Result<(Dir, (u64, u64))> {
            let dir = Dir::open_ambient_dir(path, ambient_authority())?;
            let id = id_of(&dir)?;
            Ok((dir, id))
        };
        let (dir, id) = open().map_err(|e| Error::io(path, "opening the folder", e))?;
        #[cfg(unix)]
        let sync = reopened(&dir).map_err(|e| Error::io(path, "opening the folder", e))?;
        Ok(Root {
            dir,
            path: path.to_owned(),
            id,
            #[cfg(unix)]
            sync,
            made: Mutex::default(),
        })
    }

    /// The folder as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `path/name`, for messages.
    pub fn shown(&self, name: &Name) -> PathBuf {
        self.path.join(name.path())
    }

    /// The held folder.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// What tells this folder from any other: volume and number.
    pub fn identity(&self) -> (u64, u64) {
        self.id
    }

    /// Volume the folder is on.
    pub fn dev(&self) -> u64 {
        self.id.0
    }

    /// Checks that the path still leads to the held folder: not after the disk was pulled out or unmounted.
    pub fn still_there(&self) -> Result<()> {
        let now = Dir::open_ambient_dir(&self.path, ambient_authority()).and_then(|d| id_of(&d));
        match now {
            Ok(id) if id == self.id => Ok(()),
            Ok(_) => Err(self.gone("another folder is in its place")),
            Err(e) => Err(self.gone("it cannot be opened any more").source(e)),
        }
    }

    fn gone(&self, why: &str) -> Error {
        Error::new(Fault::System, format!("the target went away: {why}"))
            .path(&self.path)
            .hint("connect and mount the disk again, then start the same command: it goes on where it stopped")
    }

    fn on<T>(&self, name: &Name, what: &str, r: io::Result<T>) -> Result<T> {
        r.map_err(|e| Error::io(self.shown(name), what, e))
    }

    /// Size, time and kind, of the name itself (a link is not followed); `None` where there is nothing.
    pub fn stat(&self, name: &Name) -> Result<Option<Stat>> {
        match self.dir.symlink_metadata(name.path()) {
            Ok(m) => Ok(Some(Stat {
                size: m.len(),
                modified_ns: nanos(m.modified().map(cap_std::time::SystemTime::into_std)),
                is_file: m.is_file(),
                is_dir: m.is_dir(),
                dev: dev_of(&m, self.id.0),
            })),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => self.on(name, "looking at the target", Err(e)),
        }
    }

    /// Room that a file takes, reserved or written; 0 where there is none.
    pub fn room_taken(&self, name: &Name) -> u64 {
        let Ok(meta) = self.dir.symlink_metadata(name.path()) else { return 0 };
        #[cfg(unix)]
        {
            cap_std::fs::MetadataExt::blocks(&meta).saturating_mul(512)
        }
        #[cfg(not(unix))]
        {
            meta.len()
        }
    }

    /// Makes the folders above a file; remembers which are there.
    pub fn make_parents(&self, name: &Name) -> Result<()> {
        match name.parent() {
            Some(p) => self.make_folder(&p),
            None => Ok(()),
        }
    }

    /// Makes a folder and those above it.
    pub fn make_folder(&self, name: &Name) -> Result<()> {
        let mut made = self.made.lock().unwrap_or_else(|e| e.into_inner());
        if made.contains(name) {
            return Ok(());
        }
        self.on(name, "creating the folder", self.dir.create_dir_all(name.path()))?;
        let meta = self.on(name, "looking at the folder", self.dir.symlink_metadata(name.path()))?;
        if !meta.is_dir() {
            return Err(Error::caller("a link or file is where a folder was to be").path(self.shown(name)));
        }
        if dev_of(&meta, self.id.0) != self.id.0 {
            return Err(Error::caller("another disk is mounted inside the destination folder").path(self.shown(name)));
        }
        let mut above = Some(name.clone());
        while let Some(n) = above {
            above = n.parent();
            made.insert(n);
        }
        Ok(())
    }

    /// Forgets which folders were made (after the disk came back).
    pub fn forget_folders(&self) {
        self.made.lock().unwrap_or_else(|e| e.into_inner()).clear();
    }

    /// A fresh file; one of the same name that is left over is removed first. Never through a link.
    pub fn create_part(&self, name: &Name) -> Result<File> {
        let mut o = OpenOptions::new();
        o.read(true).write(true).create_new(true).follow(FollowSymlinks::No);
        let r = match self.dir.open_with(name.path(), &o) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                self.remove(name)?;
                self.dir.open_with(name.path(), &o)
            }
            r => r,
        };
        self.on(name, "creating", r).map(|f| f.into_std())
    }

    /// An existing unfinished file, for going on with it.
    pub fn reopen_part(&self, name: &Name) -> Result<File> {
        let mut o = OpenOptions::new();
        o.read(true).write(true).follow(FollowSymlinks::No);
        self.on(name, "opening", self.dir.open_with(name.path(), &o)).map(|f| f.into_std())
    }

    /// A second handle on a file that is being written, past the system's cache; `None` where there is no such thing.
    pub fn direct_part(&self, name: &Name) -> Option<File> {
        #[cfg(target_os = "linux")]
        {
            use cap_std::fs::OpenOptionsExt;
            let mut o = OpenOptions::new();
            o.write(true).follow(FollowSymlinks::No).custom_flags(libc::O_DIRECT);
            self.dir.open_with(name.path(), &o).map(|f| f.into_std()).ok()
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = name;
            None
        }
    }

    /// A small file for reading and writing, made if need be: record, lists.
    pub fn open_small(&self, name: &Name) -> Result<File> {
        let mut o = OpenOptions::new();
        o.read(true).write(true).create(true).follow(FollowSymlinks::No);
        let file = self.on(name, "opening", self.dir.open_with(name.path(), &o))?.into_std();
        if !self.on(name, "looking at", file.metadata())?.is_file() {
            return Err(Error::caller("this is no plain file").path(self.shown(name)));
        }
        Ok(file)
    }

    /// A file for reading, past the system's cache with `direct` where that is possible. Never through a link, never
    /// waiting on a pipe.
    pub fn open_read(&self, name: &Name, direct: bool) -> Result<File> {
        self.on(name, "opening", open_read(&self.dir, &name.path(), direct, false))
    }

    /// Gives a file its final name, replacing what is there.
    pub fn rename(&self, from: &Name, to: &Name) -> Result<()> {
        let renamed = once_free(|| self.dir.rename(from.path(), &self.dir, to.path()));
        self.on(to, "renaming to the final name", renamed)
    }

    /// Removes a file; one that is not there is fine.
    pub fn remove(&self, name: &Name) -> Result<()> {
        match once_free(|| self.dir.remove_file(name.path())) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => self.on(name, "removing", Err(e)),
            _ => Ok(()),
        }
    }

    /// Makes renames in a folder durable (`None`: the held folder itself). Windows has no such call: NTFS journals them.
    pub fn sync_folder(&self, name: Option<&Name>) -> Result<()> {
        #[cfg(unix)]
        {
            let shown = name.map_or_else(|| self.path.clone(), |n| self.shown(n));
            let synced = match name {
                Some(n) => self.dir.open(n.path()).and_then(|f| f.into_std().sync_all()),
                None => self.sync.sync_all(),
            };
            match synced {
                Ok(()) => Ok(()),
                // Some network and FUSE file systems cannot sync a folder.
                Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
                Err(e) => Err(Error::io(shown, "syncing the folder", e)),
            }
        }
        #[cfg(not(unix))]
        {
            let _ = name;
            Ok(())
        }
    }

    /// Syncs the whole file system the folder is on. False where the system has no such call; the answer covers write
    /// errors of everything since the last one.
    pub fn sync_volume(&self) -> Result<bool> {
        #[cfg(target_os = "linux")]
        {
            use std::os::fd::AsRawFd;
            // SAFETY: the descriptor is open for as long as `self` lives; the call takes no memory of ours.
            if unsafe { libc::syncfs(self.sync.as_raw_fd()) } != 0 {
                return Err(Error::io(&self.path, "syncing the file system", io::Error::last_os_error()));
            }
            Ok(true)
        }
        #[cfg(not(target_os = "linux"))]
        Ok(false)
    }

    /// Takes the lock of this folder: one copy at a time. The lock ends with the program, however that ends.
    pub fn lock(&self) -> Result<Lock> {
        let name = Name::parse(LOCK.as_bytes()).map_err(Error::caller)?;
        let file = self.open_small(&name)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(Error::caller("another copy into this folder is running")
                    .path(&self.path)
                    .hint("wait for it to end, or copy into another folder"));
            }
            // A file system without locks: two copies at once are then the user's affair.
            Err(std::fs::TryLockError::Error(e)) => log::warn!("{}: no lock: {e}", self.path.display()),
        }
        Ok(Lock { _file: file })
    }
}

/// A source folder held by its handle: files are opened below it, through no link that leads out of it.
#[derive(Debug)]
pub struct SourceDir(Dir);

impl SourceDir {
    /// Holds a folder.
    pub fn open(path: &Path) -> io::Result<SourceDir> {
        Dir::open_ambient_dir(path, ambient_authority()).map(SourceDir)
    }

    /// Opens a file in it for reading; the last part is no link.
    pub fn file(&self, name: &Name) -> io::Result<File> {
        open_read(&self.0, &name.path(), false, false)
    }
}

/// Opens a file below a held folder for reading, never waiting on a pipe. `direct`: past the system's cache.
pub(crate) fn open_read(dir: &Dir, path: &Path, direct: bool, follow: bool) -> io::Result<File> {
    let mut o = OpenOptions::new();
    o.read(true).follow(if follow { FollowSymlinks::Yes } else { FollowSymlinks::No });
    #[cfg(unix)]
    {
        use cap_std::fs::OpenOptionsExt;
        let mut flags = libc::O_NONBLOCK;
        #[cfg(target_os = "linux")]
        if direct {
            flags |= libc::O_DIRECT;
        }
        o.custom_flags(flags);
    }
    #[cfg(windows)]
    {
        use cap_std::fs::OpenOptionsExt;
        use windows_sys::Win32::Storage::FileSystem::{FILE_FLAG_NO_BUFFERING, FILE_FLAG_SEQUENTIAL_SCAN};
        o.custom_flags(if direct { FILE_FLAG_NO_BUFFERING } else { FILE_FLAG_SEQUENTIAL_SCAN });
    }
    let _ = direct;
    dir.open_with(path, &o).map(|f| f.into_std())
}

/// The held lock; let go when dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// A handle that can be synced: on Linux held folders are opened for path look-ups only.
#[cfg(unix)]
fn reopened(dir: &Dir) -> io::Result<File> {
    dir.open(".").map(|f| f.into_std())
}

#[cfg(unix)]
fn dev_of(m: &cap_std::fs::Metadata, _own: u64) -> u64 {
    MetadataExt::dev(m)
}

/// Windows tells the volume only for open files; a mounted folder inside the target is a link there and refused as such.
#[cfg(not(unix))]
fn dev_of(_: &cap_std::fs::Metadata, own: u64) -> u64 {
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(t: &str) -> Name {
        Name::parse(t.as_bytes()).unwrap()
    }

    // Windows lets nobody replace a folder that is held.
    #[cfg(unix)]
    #[test]
    fn a_folder_that_is_replaced_is_noticed() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("disk");
        std::fs::create_dir(&path).unwrap();
        let root = Root::open(&path).unwrap();
        root.still_there().unwrap();
        root.make_parents(&name("a/b/c")).unwrap();
        std::fs::rename(&path, top.path().join("pulled")).unwrap();
        assert!(root.still_there().unwrap_err().to_string().contains("went away"));
        std::fs::create_dir(&path).unwrap();
        assert!(root.still_there().unwrap_err().to_string().contains("another folder"));
        root.create_part(&name("a/b/x")).unwrap();
        assert!(std::fs::read_dir(&path).unwrap().next().is_none(), "the new folder was written to");
    }

    #[cfg(unix)]
    #[test]
    fn links_on_the_disk_lead_nowhere() {
        let (top, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let secret = outside.path().join("secret");
        std::fs::write(&secret, "keep").unwrap();
        std::os::unix::fs::symlink(outside.path(), top.path().join("out")).unwrap();
        std::os::unix::fs::symlink(&secret, top.path().join("x.tomo-part")).unwrap();
        let root = Root::open(top.path()).unwrap();
        assert!(root.create_part(&name("out/new")).is_err());
        assert!(root.make_folder(&name("out/sub")).is_err());
        assert!(root.open_read(&name("out/secret"), false).is_err());
        assert!(root.reopen_part(&name("x.tomo-part")).is_err());
        let f = root.create_part(&name("x.tomo-part")).unwrap();
        f.set_len(9).unwrap();
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "keep");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    }

    #[test]
    fn one_lock_per_folder() {
        let top = tempfile::tempdir().unwrap();
        let (a, b) = (Root::open(top.path()).unwrap(), Root::open(top.path()).unwrap());
        let lock = a.lock().unwrap();
        assert!(b.lock().unwrap_err().to_string().contains("another copy"));
        drop(lock);
        b.lock().unwrap();
    }

    #[test]
    fn times_before_1970() {
        // What Windows counts in.
        let step = if cfg!(windows) { 100 } else { 1 };
        for n in [0, 1, -1, 100, -100, 1_700_000_000_123_456_789, -5_000_000_000] {
            assert_eq!(nanos(Ok(system_time(n))), n / step * step);
        }
    }
}
