//! The arguments as they were meant: Windows hands wildcards on as they were typed, where other systems' shells put the names
//! of files; and it takes the backslash that completion puts behind a folder, before a quote, for part of the name.
//!
//! No file of Windows has `*`, `?` or `"` in its name, so that nothing is taken for what it is not.

use glob::MatchOptions;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use tomokit_formats::{Error, Result};

/// What comes before a pattern that is meant as one: for names in a tree, or (`tomo ledger find`) in the ledger.
const PATTERNS: [&str; 3] = ["--include", "--exclude", "find"];

/// The arguments of this program.
///
/// # Errors
/// `Caller`, on Windows: a wildcard that no file matches, a quote within a path.
pub fn given() -> Result<Vec<OsString>> {
    let given = std::env::args_os().collect();
    if cfg!(windows) { meant(given) } else { Ok(given) }
}

fn meant(given: Vec<OsString>) -> Result<Vec<OsString>> {
    let mut all: Vec<OsString> = Vec::with_capacity(given.len());
    for (i, arg) in given.into_iter().enumerate() {
        let text = arg.to_string_lossy();
        if text.contains('"') {
            return Err(Error::caller("a quote within an argument")
                .found(&text)
                .hint(r#"behind a folder in quotes leave the last backslash out: "E:\my disk", not "E:\my disk\""#));
        }
        let is_pattern = all.last().is_some_and(|l| PATTERNS.iter().any(|p| l == OsStr::new(p)));
        match i > 0 && !is_pattern && !text.starts_with('-') && text.contains(['*', '?']) && !text.starts_with(r"\\?\")
        {
            true => all.extend(matching(&arg)?.into_iter().map(PathBuf::into_os_string)),
            false => all.push(arg),
        }
    }
    Ok(all)
}

/// Files and folders that match, in the order of their names; hidden ones only where that is asked for.
fn matching(path: &OsStr) -> Result<Vec<PathBuf>> {
    let none = |why: &str| Error::caller(why.to_owned()).path(path).hint("check the spelling, or name the files");
    // `[` is no wildcard there, and may be part of a name.
    let pattern = path.to_str().ok_or_else(|| none("cannot read this pattern"))?.replace('[', "[[]");
    let how =
        MatchOptions { case_sensitive: false, require_literal_separator: true, require_literal_leading_dot: true };
    let found = glob::glob_with(&pattern, how).map_err(|e| none("cannot read this pattern").source(e))?;
    let found: Vec<PathBuf> = found.flatten().collect();
    if found.is_empty() { Err(none("no file matches")) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_are_names_of_files() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.vol", "A.VOL", "a.vol.info", ".hidden.vol", "x[1].tif", "größe 1.tif"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let of = |args: &[&str]| -> Result<Vec<String>> {
            let own = |a: &&str| if a.contains(['*', '?']) { dir.path().join(a).into() } else { OsString::from(a) };
            let all = meant(args.iter().map(own).collect())?;
            let short = |a: &OsString| a.to_string_lossy().replace(&*dir.path().join("").to_string_lossy(), "");
            Ok(all.iter().map(short).collect())
        };
        assert_eq!(of(&["tomo", "check", "*.vol", "--quick"]).unwrap(), ["tomo", "check", "A.VOL", "b.vol", "--quick"]);
        assert_eq!(of(&["tomo", "x[1]*"]).unwrap(), ["tomo", "x[1].tif"]);
        assert_eq!(of(&["tomo", "gr??e*"]).unwrap(), ["tomo", "größe 1.tif"]);
        for kept in [
            &["tomo", "copy", "--include", "*.vol"][..],
            &["tomo", "--exclude", "*", "d"],
            &["tomo", "ledger", "find", "scan_012*"],
        ] {
            assert_eq!(of(kept).unwrap(), kept);
        }
        assert!(of(&["tomo", "*.edf"]).unwrap_err().to_string().contains("no file matches"));
        assert!(of(&["tomo", "*/x.vol"]).is_err());
        let quoted = meant(vec!["tomo".into(), "my disk\" --dry-run".into()]).unwrap_err();
        assert!(quoted.advice().unwrap().contains("backslash"));
    }
}
