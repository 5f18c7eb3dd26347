//! Around the moment in which an output gets its final name: what stands beside it and speaks of an earlier one, and what
//! becomes of an output that reads back wrong.

use crate::ops::recad::RECEIPT;
use crate::ops::recon::RECORD;
use crate::stream::Progress;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tomokit_formats::durable::{PART, refuse_existing};
use tomokit_formats::io::{once_free, with_suffix};
use tomokit_formats::{Error, Result};

/// Records of an earlier output, set aside: they must never stand beside new data, and must not be lost where no new data
/// come. Dropped, they go where the output they speak of is gone, and back to their place where it is untouched.
pub struct OldRecords {
    output: PathBuf,
    before: Option<(u64, SystemTime)>,
    moved: Vec<(PathBuf, PathBuf)>,
}

/// Said where `--resume` finds something of an earlier run that it cannot use.
pub(super) const ANEW: &str = "what the earlier run left cannot be gone on with: all slices are made anew";

/// What may stand beside an output and speak of it: receipt, record, journal of a repair, descriptions for other programs
/// (which a writer makes anew, unless it was told not to).
pub(super) const RECORDS: [&str; 7] = [RECEIPT, RECORD, ".repair.json", ".repair.part", ".mhd", ".nhdr", ".ijm"];

/// Refuses an output beside which there are records already, unless they may be replaced with it.
///
/// # Errors
/// `Caller`: which one.
pub fn refuse_records(output: &Path, overwrite: bool) -> Result<()> {
    RECORDS.iter().try_for_each(|suffix| refuse_existing(&with_suffix(output, suffix), overwrite))
}

fn stamp(output: &Path) -> Option<(u64, SystemTime)> {
    let meta = std::fs::metadata(output).ok()?;
    Some((meta.len(), meta.modified().ok()?))
}

impl OldRecords {
    /// Sets aside what speaks of an output. To be called right before it is finished.
    ///
    /// # Errors
    /// `System` where one cannot be moved.
    pub fn of(output: &Path) -> Result<OldRecords> {
        let mut aside = OldRecords { output: output.to_owned(), before: stamp(output), moved: Vec::new() };
        for suffix in RECORDS {
            let record = with_suffix(output, suffix);
            let away = with_suffix(&record, &format!(".old{PART}"));
            match once_free(|| std::fs::rename(&record, &away)) {
                Ok(()) => aside.moved.push((record, away)),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io(&record, "setting the old record aside", e)),
            }
        }
        Ok(aside)
    }
}

impl Drop for OldRecords {
    fn drop(&mut self) {
        let untouched = stamp(&self.output) == self.before;
        for (record, away) in &self.moved {
            let done = match untouched && !record.exists() {
                true => once_free(|| std::fs::rename(away, record)),
                false => once_free(|| std::fs::remove_file(away)),
            };
            if let Err(e) = done {
                log::warn!("{}: {e}", away.display());
            }
        }
    }
}

/// Takes its final name from an output that reads back wrong.
pub fn withdraw(output: &Path, progress: &dyn Progress) {
    let part = with_suffix(output, PART);
    if std::fs::rename(output, &part).is_ok() {
        progress.note(&format!("what was written is kept as {}", part.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn records_go_with_what_they_speak_of() {
        let dir = tempfile::tempdir().unwrap();
        let (out, record) = (dir.path().join("a.raw"), dir.path().join("a.raw.recad.json"));
        fs::write(&out, "old").unwrap();
        fs::write(&record, "of the old one").unwrap();
        drop(OldRecords::of(&out).unwrap());
        assert_eq!(fs::read_to_string(&record).unwrap(), "of the old one");
        let aside = OldRecords::of(&out).unwrap();
        assert!(!record.exists());
        fs::write(&out, "newer").unwrap();
        drop(aside);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        // one that was made meanwhile stays
        fs::write(&record, "first").unwrap();
        let aside = OldRecords::of(&out).unwrap();
        fs::write(&record, "second").unwrap();
        drop(aside);
        assert_eq!(fs::read_to_string(&record).unwrap(), "second");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
