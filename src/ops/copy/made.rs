//! Files that this program puts on a target without a source of the same name: results of a conversion, the checker.

use super::target::Target;
use crate::stream::Cancel;
use crate::trust::name::path_text;
use crate::trust::root::{PART, system_time};
use crate::trust::{FileEvent, Name, now};
use std::io::Read;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use tomokit_formats::io::write_all_at;
use tomokit_formats::{Error, Result};

/// What a file gets besides its contents.
#[derive(Clone, Copy, Default)]
pub(super) struct Kind {
    pub(super) modified_ns: Option<i64>,
    /// A program.
    pub(super) executable: bool,
}

/// Writes a file under its final name, synced, its folders made.
pub(super) fn write(target: &Target, name: &Name, from: &mut dyn Read, kind: Kind, cancel: &Cancel) -> Result<()> {
    let root = &target.root;
    root.make_parents(name)?;
    let part = name.suffixed(PART);
    let file = root.create_part(&part)?;
    let shown = root.shown(name);
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    let written = loop {
        if let Err(e) = cancel.check() {
            break Err(e);
        }
        match from.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(n) => {
                if let Err(e) = write_all_at(&file, &buffer[..n], offset) {
                    break Err(Error::io(&shown, "writing", e).at(offset));
                }
                offset += n as u64;
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => break Err(Error::io(&shown, "reading what is to be written", e)),
        }
    };
    let finished = written.and_then(|()| {
        if kind.executable {
            allow_start(&file);
        }
        let time = |t| file.set_times(std::fs::FileTimes::new().set_modified(system_time(t)));
        kind.modified_ns
            .map_or(Ok(()), time)
            .and_then(|()| file.sync_all())
            .map_err(|e| Error::io(&shown, "syncing to disk", e))
    });
    drop(file);
    match finished {
        Ok(()) => root.rename(&part, name),
        Err(e) => {
            let _ = root.remove(&part);
            Err(e)
        }
    }
}

/// Makes a file a program, where the file system knows of such a thing.
fn allow_start(file: &std::fs::File) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if let Err(e) = file.set_permissions(std::fs::Permissions::from_mode(0o755)) {
            log::info!("the checker cannot be made executable here: {e}");
        }
    }
    #[cfg(not(unix))]
    let _ = file;
}

/// Reads files back, and enters them into the record and the list of sums.
pub(super) fn record(
    target: &Target,
    names: &[Name],
    source: &Path,
    made_by: &str,
    verify: bool,
    cancel: &Cancel,
) -> Result<()> {
    let root = &target.root;
    target.sync_all()?;
    if let Err(e) = target.back.flush() {
        log::warn!("{}: flushing the device failed: {e}", root.path().display());
    }
    let mut listed = Vec::new();
    for name in names {
        let (sha256, size, level) = target.back.sum(root, name, cancel, &|_| {})?;
        let modified_ns = root.stat(name)?.map_or(0, |s| s.modified_ns);
        target.record(FileEvent {
            path: name.clone(),
            size,
            modified_ns,
            sha256,
            copied: now(),
            session: target.session,
            source: path_text(source),
            original: None,
            holes: 0,
            adopted: false,
            made_by: Some(made_by.to_owned()),
            blocks: None,
        })?;
        if verify {
            target.verified(name, sha256, level, size)?;
        }
        target.counters.copied_files.fetch_add(1, Relaxed);
        target.counters.copied_bytes.fetch_add(size, Relaxed);
        listed.push((sha256, name));
    }
    let mut journal = target.journal();
    journal.sync()?;
    journal.add_sums(listed.iter().map(|(d, n)| (d, *n)))
}
