//! The program that checks a disk, put on it together with a page that says how to use it at home.
//!
//! Both are files of the copy like any other: recorded, summed, read back, and left alone when they are there already.

use super::made;
use super::target::Target;
use crate::stream::Cancel;
use crate::trust::{Digest, Name, one_line};
use std::io::Read;
use std::path::{Path, PathBuf};
use tomokit_formats::{Error, Result};

/// Folder at the top of a target.
pub const FOLDER: &str = "check-this-disk";

/// Name of the program, without `.exe`.
pub const PROGRAM: &str = "tomo-verify";

/// A program to put on disks.
#[derive(Clone, Debug)]
pub struct Checker {
    path: PathBuf,
    bytes: u64,
    windows: bool,
}

impl Checker {
    /// Looks at a program.
    ///
    /// # Errors
    /// It is not there, or no program of Windows or Linux.
    pub fn of(path: &Path) -> Result<Checker> {
        let mut head = Vec::new();
        let file = std::fs::File::open(path).map_err(|e| Error::io(path, "opening the checker", e))?;
        let bytes = file.metadata().map_err(|e| Error::io(path, "looking at the checker", e))?.len();
        file.take(4).read_to_end(&mut head).map_err(|e| Error::io(path, "reading the checker", e))?;
        let windows = match &head[..] {
            b"\x7fELF" => false,
            [b'M', b'Z', ..] => true,
            _ => {
                return Err(Error::file(path, "this is no program of Windows or Linux")
                    .hint(format!("name {PROGRAM} or {PROGRAM}.exe, as they come with this program")));
            }
        };
        Ok(Checker { path: path.to_owned(), bytes, windows })
    }

    /// The checkers that lie in a folder: this program's own, and those for other systems.
    pub fn beside(folder: &Path) -> Vec<PathBuf> {
        let names = [PROGRAM.to_owned(), format!("{PROGRAM}.exe")];
        names.iter().map(|n| folder.join(n)).filter(|p| p.is_file()).collect()
    }

    fn name(&self) -> String {
        format!("{FOLDER}/{PROGRAM}{}", if self.windows { ".exe" } else { "" })
    }
}

/// Bytes that all of it takes on a target.
pub(super) fn bytes(checkers: &[Checker]) -> u64 {
    if checkers.is_empty() { 0 } else { checkers.iter().map(|c| c.bytes).sum::<u64>() + (64 << 10) }
}

/// Puts programs, page and start file on a target, and records them.
pub(super) fn put(target: &Target, checkers: &[Checker], read_back: bool, cancel: &Cancel) -> Result<()> {
    let mut fresh = Vec::new();
    for c in checkers {
        let program = std::fs::read(&c.path).map_err(|e| Error::io(&c.path, "reading the checker", e))?;
        one(target, &c.name(), &program, true, &mut fresh, cancel)?;
    }
    let windows = checkers.iter().any(|c| c.windows);
    if windows {
        one(target, &format!("{FOLDER}/check.cmd"), START.replace('\n', "\r\n").as_bytes(), false, &mut fresh, cancel)?;
    }
    let page = page(windows, checkers.iter().any(|c| !c.windows)).replace('\n', "\r\n");
    one(target, &format!("{FOLDER}/README.txt"), page.as_bytes(), false, &mut fresh, cancel)?;
    if fresh.is_empty() {
        return Ok(());
    }
    let source = checkers.first().map(|c| c.path.clone()).unwrap_or_default();
    made::record(target, &fresh, &source, "put there by --with-checker", read_back, cancel)
}

fn one(
    target: &Target,
    name: &str,
    content: &[u8],
    executable: bool,
    fresh: &mut Vec<Name>,
    cancel: &Cancel,
) -> Result<()> {
    let name = Name::parse(name.as_bytes()).map_err(Error::caller)?;
    let there = target.root.stat(&name)?;
    let known = target.state.files.get(&name);
    let same = known.is_some_and(|k| k.sha256 == Digest::of(content) && !k.bad);
    if same && there.is_some_and(|s| s.is_file && s.size == content.len() as u64) {
        return Ok(());
    }
    if known.is_none() && there.is_some() {
        return Err(Error::caller("already there, and not put there by this program").path(target.root.shown(&name)));
    }
    made::write(target, &name, &mut &*content, made::Kind { modified_ns: None, executable }, cancel)?;
    fresh.push(name);
    Ok(())
}

/// Puts the checker on every target that takes files; what goes wrong is told and stops nothing else.
pub(super) fn put_on_all(
    targets: &[Target],
    checkers: &[Checker],
    read_back: bool,
    cancel: &Cancel,
) -> Result<Vec<(usize, Error)>> {
    let mut failed = Vec::new();
    for (t, target) in targets.iter().enumerate().filter(|(_, t)| !checkers.is_empty() && t.stopped().is_none()) {
        match put(target, checkers, read_back, cancel) {
            Ok(()) => {}
            Err(e) if e.fault() == tomokit_formats::Fault::Interrupted => return Err(e),
            Err(e) => {
                log::warn!("{}", one_line(&e));
                failed.push((t, e));
            }
        }
    }
    Ok(failed)
}

const START: &str = "@echo off\n\"%~dp0tomo-verify.exe\"\npause\n";

fn page(windows: bool, linux: bool) -> String {
    let mut t = String::from(
        "HOW TO CHECK THIS DISK
======================

Every file that was copied here was summed (SHA-256) while it was read, and the sums are on this disk. The program in this
folder reads every file again and says what is missing, changed or extra. It needs no installation and changes nothing.

",
    );
    if windows {
        t += "Windows
-------
Double-click check.cmd in this folder. Or, in a terminal (the key with the window, then cmd), with the disk as E:

    E:
    cd \\beamtime                            the folder that holds check-this-disk
    check-this-disk\\tomo-verify.exe .

";
    }
    if linux {
        t += "Linux (PC, 64 bits)
-------------------
In a terminal, in the folder that holds check-this-disk:

    check-this-disk/tomo-verify .

If it says 'Permission denied', the system starts no programs from this disk:

    cp check-this-disk/tomo-verify /tmp/
    chmod +x /tmp/tomo-verify
    /tmp/tomo-verify .

";
    }
    t += "What it says
------------
good         every file is there and holds what was copied (exit code 0)
missing      in the list, not on the disk
changed      other contents; for large files it says which bytes
unreadable   the disk does not give the file back
extra        on the disk, not in the list: added later by somebody

Unplug the disk and plug it in again before: what was just written may still come from the computer's memory, and the
program says so ('level').

Without this program
--------------------
SHA256SUMS in the folder above is a plain list:
";
    t += "    Linux     sha256sum -c SHA256SUMS
    macOS     shasum -a 256 -c SHA256SUMS
    Windows   certutil -hashfile FILE SHA256      one file at a time
tomo-copy.jsonl is the whole record: sizes, times, where each file came from, when it was read back.
";
    t
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_are_put_on_disks() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &[u8]| {
            std::fs::write(dir.path().join(name), text).unwrap();
            dir.path().join(name)
        };
        assert_eq!(Checker::of(&file("a", b"\x7fELF...")).unwrap().name(), "check-this-disk/tomo-verify");
        assert_eq!(Checker::of(&file("b", b"MZ")).unwrap().name(), "check-this-disk/tomo-verify.exe");
        for bad in [&b""[..], b"M", b"#!/bin/sh"] {
            assert!(Checker::of(&file("c", bad)).is_err());
        }
        assert!(Checker::of(&dir.path().join("none")).is_err() && Checker::beside(dir.path()).is_empty());
        file("tomo-verify.exe", b"MZ");
        assert_eq!(Checker::beside(dir.path()).len(), 1);
    }

    #[test]
    fn the_page_names_what_is_there() {
        let both = page(true, true);
        assert!(both.contains("check.cmd") && both.contains("chmod +x"));
        assert!(!page(false, true).contains("check.cmd") && !page(true, false).contains("chmod"));
        assert!(both.lines().all(|l| l.len() <= 125 && l.is_ascii()));
    }
}
