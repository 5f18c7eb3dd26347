//! Outputs that are either whole or not there: data to `name.part`, sync, rename, sync the folder.
//!
//! Guarantees: nothing half-written ever carries the final name; an output that exists is refused unless overwriting
//! was asked for, and then the old file stays until the new one is complete. Leaves to others: what the bytes are.

use crate::error::OnPath;
use crate::io::{begin_writeback, once_free, with_suffix, write_all_at};
use crate::{Error, Result};
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

/// Suffix of unfinished outputs.
pub const PART: &str = ".part";

/// Suffix of a folder that gives way to a new one.
const OLD: &str = ".old.part";

/// Refuses an output that exists, with the one hint that helps; and, whatever may be replaced, what is no file: a device, a
/// pipe, a link that leads to itself; and a name that Windows takes for something else.
pub fn refuse_existing(path: &Path, overwrite: bool) -> Result<()> {
    refuse_name(path)?;
    match fs::metadata(path) {
        Ok(m) if !m.is_file() && !m.is_dir() => {
            return Err(Error::caller("this is neither a file nor a folder")
                .path(path)
                .hint("name a file that is to be written"));
        }
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(path, "looking at the output", e)),
        _ => {}
    }
    match fs::symlink_metadata(path) {
        Ok(m) if m.is_dir() && fs::read_dir(path).is_ok_and(|mut d| d.next().is_none()) => Ok(()),
        Ok(_) if !overwrite => Err(Error::caller("the output exists already")
            .path(path)
            .hint("choose another name, or add --overwrite to replace it")),
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io(path, "looking at the output", e)),
    }
}

/// What a system leaves in any folder that somebody looked at.
const LEFT_BY_SYSTEMS: [&str; 3] = ["Thumbs.db", "desktop.ini", ".DS_Store"];

/// True where a name is that of a pattern, in which `#` stands for digits.
fn is_of(pattern: &str, name: &str) -> bool {
    match pattern.split_once('#') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            (1..=digits).any(|n| is_of(after, &rest[n..]))
        }),
    }
}

/// Names of the slices in a folder of any format that is written so, as [`PartDir`] wants them: `NAME_#.tif`.
pub fn series_names(folder: &Path) -> Vec<String> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(PART).unwrap_or(&name);
    ["tif", "tiff", "edf", "png"].map(|e| format!("{name}_#.{e}")).to_vec()
}

/// Refuses to replace a folder that holds anything but what an earlier run of the same kind wrote there: `own` are patterns
/// of names, in which `#` stands for digits; one that ends with `/` is a folder of files `FOLDER_#.EXT`.
///
/// # Errors
/// `Caller` with the first thing that would be lost.
pub fn refuse_foreign(folder: &Path, own: &[String]) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let entry = entry.on(folder, "listing")?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        let kind = entry.file_type().on(entry.path(), "looking at")?;
        let is_own = match kind.is_dir() {
            true => own.iter().filter_map(|p| p.strip_suffix('/')).any(|p| is_of(p, &text)),
            false => {
                kind.is_file() && (own.iter().any(|p| is_of(p, &text)) || LEFT_BY_SYSTEMS.contains(&text.as_ref()))
            }
        };
        if !is_own {
            return Err(Error::caller(
                "this folder holds more than an earlier output: --overwrite would delete that too",
            )
            .path(folder)
            .found(&text)
            .hint("choose another name, or remove the folder yourself if nothing in it is needed"));
        }
        if kind.is_dir() {
            refuse_foreign(&entry.path(), &series_names(&entry.path()))?;
        }
    }
    Ok(())
}

/// As [`refuse_foreign`], of what a run that was killed may have left under an unfinished name.
fn refuse_foreign_part(folder: &Path, own: &[String]) -> Result<()> {
    let unfinished = own.iter().map(|p| match p.strip_suffix('/') {
        Some(folder) => format!("{folder}{PART}/"),
        None => format!("{p}{PART}"),
    });
    let names: Vec<String> = own.iter().cloned().chain(unfinished).collect();
    refuse_foreign(folder, &names).map_err(|e| e.hint("this program uses the name for unfinished data: move it away"))
}

/// Refuses an output beside the main one (a picture, a page) where it cannot be written: as [`refuse_existing`], where there
/// is no folder for it, and, whatever may be replaced, where it is one of the `others`: inputs and outputs of the same run.
///
/// # Errors
/// `Caller`: which, and what to do.
pub fn refuse_beside(path: &Path, overwrite: bool, others: &[&Path]) -> Result<()> {
    if others.iter().any(|o| *o == path || same_file(o, path)) {
        return Err(Error::caller("the same run reads or writes this file already")
            .path(path)
            .hint("choose another name"));
    }
    if path.is_dir() {
        return Err(Error::caller("this is a folder, a file was to be written").path(path));
    }
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|f| !f.is_dir()) {
        return Err(Error::caller("there is no such folder").path(folder).hint("create it first"));
    }
    refuse_existing(path, overwrite)
}

/// True where both exist and are one and the same.
pub fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// True where the record that goes with an output never got its final name and the output is from that moment, not from
/// later: an earlier run was killed at its very end, and the output is its own.
pub fn was_killed(output: &Path, record: &Path) -> bool {
    const FINISHING: std::time::Duration = std::time::Duration::from_secs(60);
    let when = |p: &Path| fs::metadata(p).and_then(|m| m.modified()).ok();
    match (when(&with_suffix(record, PART)), when(output)) {
        (Some(mark), Some(written)) => !record.exists() && written <= mark + FINISHING,
        _ => false,
    }
}

/// Why Windows would not store a file under this name, or silently store it under another one.
///
/// Windows drops dots and blanks at the end (`a.vol.` replaces `a.vol`), writes `a:b` as a hidden stream of `a`, and
/// opens a device for `con`, `nul` and their like, whatever their extension or case.
pub fn windows_refuses(name: &str) -> Option<&'static str> {
    const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];
    if name.ends_with(['.', ' ']) && !matches!(name, "." | "..") {
        return Some("Windows drops a dot or blank at the end of a name");
    }
    if name.contains(|c: char| c < ' ' || "<>:\"/\\|?*".contains(c)) {
        return Some("Windows allows none of < > : \" / \\ | ? * and no control characters in a name");
    }
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_lowercase();
    let port = stem.strip_prefix("com").or(stem.strip_prefix("lpt"));
    let is_port =
        port.is_some_and(|n| matches!(n, "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³"));
    (is_port || DEVICES.contains(&stem.as_str())).then_some("Windows keeps this name for a device")
}

/// Refuses, on Windows, a name that does not mean what it says.
///
/// # Errors
/// `Caller`: why, see [`windows_refuses`].
pub fn refuse_name(path: &Path) -> Result<()> {
    match path.file_name().and_then(|n| windows_refuses(&n.to_string_lossy())).filter(|_| cfg!(windows)) {
        Some(why) => Err(Error::caller(why).path(path).hint("choose another name")),
        None => Ok(()),
    }
}

/// Checks that the folder an output goes to is there.
pub(crate) fn parent_of(path: &Path) -> Result<&Path> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        return Err(Error::caller("the folder for the output does not exist").path(parent).hint("create it first"));
    }
    Ok(parent)
}

/// Makes a rename durable: syncs the folder it happened in. Windows has no such call; NTFS journals renames itself.
pub fn sync_dir(dir: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        match File::open(dir).and_then(|d| d.sync_all()) {
            Ok(()) => {}
            // Some network and FUSE file systems cannot sync a folder: not the user's problem.
            Err(e) if matches!(e.kind(), std::io::ErrorKind::InvalidInput | std::io::ErrorKind::Unsupported) => {}
            Err(e) => return Err(Error::io(dir, "syncing the folder", e)),
        }
    }
    #[cfg(windows)]
    let _ = dir;
    Ok(())
}

/// A file being written as `name.part`. Dropped uncommitted it is removed, unless [`keep`](Self::keep) was called.
#[derive(Debug)]
pub struct PartFile {
    file: Option<File>,
    part: PathBuf,
    target: PathBuf,
    keep: bool,
}

impl PartFile {
    /// Starts a fresh output; a left-over `.part` of an earlier run is replaced.
    pub fn create(target: &Path, overwrite: bool) -> Result<Self> {
        refuse_existing(target, overwrite)?;
        if target.is_dir() {
            return Err(Error::caller("this is a folder, a file was to be written").path(target));
        }
        parent_of(target)?;
        let part = with_suffix(target, PART);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&part).on(&part, "creating")?;
        Ok(PartFile { file: Some(file), part, target: target.to_owned(), keep: false })
    }

    /// Goes on with the `.part` of an interrupted run, or starts a fresh one. The caller checks what it holds.
    pub fn resume(target: &Path, overwrite: bool) -> Result<Self> {
        refuse_existing(target, overwrite)?;
        let part = with_suffix(target, PART);
        if !part.is_file() {
            return Self::create(target, overwrite);
        }
        let file = OpenOptions::new().read(true).write(true).open(&part).on(&part, "opening")?;
        Ok(PartFile { file: Some(file), part, target: target.to_owned(), keep: false })
    }

    fn handle(&self) -> Result<&File> {
        self.file.as_ref().ok_or_else(|| Error::caller("the output is committed already").path(&self.target))
    }

    /// The open file.
    pub fn file(&self) -> Result<&File> {
        self.handle()
    }

    /// Name while unfinished.
    pub fn part_path(&self) -> &Path {
        &self.part
    }

    /// Final name.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Current length, bytes.
    pub fn len(&self) -> Result<u64> {
        Ok(self.handle()?.metadata().on(&self.part, "reading the size")?.len())
    }

    /// True while nothing is written.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Sets the length; growing reserves nothing (sparse), so a full disk is met while writing.
    pub fn set_len(&self, len: u64) -> Result<()> {
        self.handle()?.set_len(len).on(&self.part, "setting the size")
    }

    /// Writes all of `data` at `offset`.
    pub fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        let file = self.handle()?;
        write_all_at(file, data, offset).map_err(|e| Error::io(&self.part, "writing", e).at(offset))?;
        // Headers may still change; blocks of values do not.
        if data.len() >= 1 << 20 {
            begin_writeback(file, offset, data.len() as u64);
        }
        Ok(())
    }

    /// Keeps the `.part` on drop, for a later [`resume`](Self::resume).
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Syncs the data, gives the file its final name and syncs the folder.
    pub fn commit(mut self) -> Result<PathBuf> {
        let file =
            self.file.take().ok_or_else(|| Error::caller("the output is committed already").path(&self.target))?;
        file.sync_all().on(&self.part, "syncing to disk")?;
        drop(file); // Windows renames no open file
        once_free(|| fs::rename(&self.part, &self.target)).on(&self.target, "renaming to the final name")?;
        self.keep = true; // nothing left to remove
        sync_dir(parent_of(&self.target)?)?;
        Ok(self.target.clone())
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        self.file = None;
        if !self.keep {
            let _ = fs::remove_file(&self.part);
        }
    }
}

/// Writes a small file (sidecar, receipt) under its unfinished name, synced: a disk that is too full for it says so
/// here, before the data it describes get their final name.
pub fn stage_small(target: &Path, bytes: &[u8], overwrite: bool) -> Result<PartFile> {
    let part = PartFile::create(target, overwrite)?;
    part.write_at(bytes, 0)?;
    part.file()?.sync_all().on(part.part_path(), "syncing to disk")?;
    Ok(part)
}

/// Writes a small file in one go, with the same guarantees.
pub fn write_small(target: &Path, bytes: &[u8], overwrite: bool) -> Result<PathBuf> {
    stage_small(target, bytes, overwrite)?.commit()
}

/// A folder being filled as `name.part/` (per-slice series, scans). Same life as a [`PartFile`].
#[derive(Debug)]
pub struct PartDir {
    part: PathBuf,
    target: PathBuf,
    overwrite: bool,
    own: Vec<String>,
    keep: bool,
    done: bool,
}

/// Removes a folder and what is in it; on Windows, where that keeps files, what is read-only, too.
fn remove_folder(folder: &Path) -> std::io::Result<()> {
    #[cfg(windows)]
    for entry in fs::read_dir(folder)?.flatten() {
        if let Ok(meta) = entry.metadata()
            && meta.is_file()
            && meta.permissions().readonly()
        {
            let mut may = meta.permissions();
            may.set_readonly(false);
            fs::set_permissions(entry.path(), may)?;
        }
    }
    once_free(|| fs::remove_dir_all(folder))
}

impl PartDir {
    /// Starts a fresh folder, or with `resume` goes on in the one an interrupted run left. An old one is replaced only where
    /// it holds nothing but names of `own`, see [`refuse_foreign`].
    pub fn create(target: &Path, overwrite: bool, resume: bool, own: Vec<String>) -> Result<Self> {
        let target = target.components().as_path();
        refuse_existing(target, overwrite)?;
        if target.is_file() {
            return Err(Error::caller("this is a file, a folder was to be written").path(target));
        }
        refuse_foreign(target, &own)?;
        parent_of(target)?;
        let part = with_suffix(target, PART);
        refuse_foreign_part(&part, &own)?;
        refuse_foreign_part(&with_suffix(target, OLD), &own)?;
        if part.is_dir() && !resume {
            fs::remove_dir_all(&part).on(&part, "removing the left-over of an interrupted run")?;
        }
        match fs::create_dir(&part) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && resume => {}
            r => r.on(&part, "creating the folder")?,
        }
        Ok(PartDir { part, target: target.to_owned(), overwrite, own, keep: false, done: false })
    }

    /// The folder to write into, under its unfinished name.
    pub fn path(&self) -> &Path {
        &self.part
    }

    /// Final name.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Keeps the `.part` folder on drop, for a later resume.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Gives the folder its final name. With `overwrite` an old folder is moved aside first and removed afterwards.
    pub fn commit(mut self) -> Result<PathBuf> {
        sync_dir(&self.part)?;
        let old = with_suffix(&self.target, OLD);
        let mut moved = false;
        if self.target.is_dir() && fs::remove_dir(&self.target).is_err() {
            refuse_existing(&self.target, self.overwrite)?;
            refuse_foreign(&self.target, &self.own)?;
            if old.exists() {
                remove_folder(&old).on(&old, "removing")?;
            }
            once_free(|| fs::rename(&self.target, &old)).on(&self.target, "moving the old folder aside")?;
            moved = true;
        }
        if let Err(e) = once_free(|| fs::rename(&self.part, &self.target)) {
            if moved {
                let _ = fs::rename(&old, &self.target);
            }
            return Err(Error::io(&self.target, "renaming to the final name", e));
        }
        self.done = true;
        sync_dir(parent_of(&self.target)?)?;
        if moved {
            remove_folder(&old).on(&old, "removing the replaced folder")?;
        }
        Ok(self.target.clone())
    }
}

impl Drop for PartDir {
    fn drop(&mut self) {
        if !self.keep && !self.done {
            let _ = fs::remove_dir_all(&self.part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_under_the_final_name_until_commit() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.vol");
        let p = PartFile::create(&target, false).unwrap();
        p.write_at(b"half", 0).unwrap();
        assert!(!target.exists());
        drop(p);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

        write_small(&target, b"whole", false).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"whole");
        assert!(PartFile::create(&target, false).is_err());
        let p = PartFile::create(&target, true).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"whole");
        p.write_at(b"new", 0).unwrap();
        p.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
    }

    #[test]
    fn names_windows_would_change_are_known() {
        for bad in ["a.vol.", "a ", "a:b", "q?", "CON", "nul.vol", "Com1.tif", "LPT¹", "a\tb", "con .txt"] {
            assert!(windows_refuses(bad).is_some(), "{bad}");
        }
        for good in ["a.vol", "größe 漢.tif", ".hidden", "com", "com10.vol", "console.vol", "lpt0", "..", "."] {
            assert!(windows_refuses(good).is_none(), "{good}");
        }
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(PartFile::create(&dir.path().join("a:b.vol"), false).is_ok(), !cfg!(windows));
    }

    #[test]
    fn folders_replace_only_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("slices");
        for (round, text) in ["one", "two"].iter().enumerate() {
            let own = || vec!["s#".to_owned()];
            assert_eq!(PartDir::create(&target, false, false, own()).is_ok(), round == 0);
            let d = PartDir::create(&target, true, false, own()).unwrap();
            fs::write(d.path().join("s0"), text).unwrap();
            d.commit().unwrap();
            assert_eq!(fs::read_to_string(target.join("s0")).unwrap(), *text);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn folders_with_more_in_them_are_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("scan");
        let own = || [series_names(&target), vec!["flats/".into(), "dark.edf".into()]].concat();
        let write = |name: &str| {
            fs::create_dir_all(target.join(name).parent().unwrap()).unwrap();
            fs::write(target.join(name), name).unwrap();
        };
        for name in ["scan_0000.tif", "scan_12.tif", "Thumbs.db", "dark.edf", "flats/flats_0001.tif"] {
            write(name);
        }
        let slashed = PathBuf::from(format!("{}/", target.display()));
        assert!(PartDir::create(&slashed, true, false, own()).is_ok());
        for more in
            ["notes.txt", "scan_.tif", "other_0000.tif", "scan_0000.tif.info", "flats/notes", "darks/darks_0.tif"]
        {
            write(more);
            let e = PartDir::create(&target, true, false, own()).unwrap_err().to_string();
            assert!(e.contains(more.rsplit('/').next().unwrap()) || e.contains("darks"), "{more}: {e}");
            fs::remove_file(target.join(more)).unwrap();
            let _ = fs::remove_dir(target.join("darks"));
        }
        // what comes while the new one is being written
        let d = PartDir::create(&target, true, false, own()).unwrap();
        fs::write(d.path().join("scan_0000.tif"), "new").unwrap();
        write("notes.txt");
        assert!(d.commit().is_err());
        assert_eq!(fs::read_to_string(target.join("notes.txt")).unwrap(), "notes.txt");
        assert_eq!(fs::read_to_string(target.join("scan_0000.tif")).unwrap(), "scan_0000.tif");
    }
}
