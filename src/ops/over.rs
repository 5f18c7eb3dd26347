//! No output replaces what it is made from, whatever `--overwrite` allows.

use crate::ops::finish::RECORDS;
use std::path::{Path, PathBuf};
use tomokit_formats::durable::PART;
use tomokit_formats::io::with_suffix;
use tomokit_formats::model::RefSet;
use tomokit_formats::registry::split_dataset;
use tomokit_formats::{Error, FrameSource, Result, Scan};

/// Files of a source that are all looked for, whatever their names: links and virtual datasets lead anywhere.
const FEW: usize = 200;

/// What is written under an output's name and one of these, beside the records of it: unfinished data, its description.
const BESIDE: [&str; 5] = [PART, ".old.part", ".info", ".info.part", ".xml"];

/// Refuses an output that is the input, a folder around it, or a file its frames lie in; and one beside which something of
/// that kind would be written.
///
/// # Errors
/// `Caller`, with both.
pub fn refuse_over(output: &Path, input: &Path, source: &dyn FrameSource) -> Result<()> {
    refuse_at(output, input, source)?;
    // Few have such a name; only then are all files looked at.
    let beside = BESIDE.iter().chain(&RECORDS).map(|s| with_suffix(output, s));
    beside.filter(|p| p.exists()).try_for_each(|p| refuse_at(&p, input, source))
}

fn refuse_at(output: &Path, input: &Path, source: &dyn FrameSource) -> Result<()> {
    let Ok(out) = output.canonicalize() else { return Ok(()) };
    let is_within = |p: &Path| p.canonicalize().is_ok_and(|p| p.starts_with(&out));
    let (input, _) = split_dataset(input);
    if is_within(&input) {
        return Err(refusal(output, &input));
    }
    // Of a series of thousands, only files of its name, and the first one: they lie in one folder.
    let files = source.files();
    let few = files.len() <= FEW;
    let told = |(i, f): &(usize, &PathBuf)| few || *i == 0 || f.file_name() == out.file_name();
    let found = files.iter().enumerate().filter(told).find(|(_, f)| is_within(f));
    found.map_or(Ok(()), |(_, f)| Err(refusal(output, f)))
}

/// The same of a scan: also its flats and darks, and the files that only their origins name.
///
/// # Errors
/// `Caller`, with both.
pub fn refuse_over_scan(output: &Path, input: &Path, scan: &Scan) -> Result<()> {
    let refs = || scan.flats.iter().chain(&scan.darks);
    refuse_over(output, input, &*scan.projections)?;
    refs().try_for_each(|r: &RefSet| refuse_over(output, input, &*r.source))?;
    let (Ok(out), Ok(within)) = (output.canonicalize(), split_dataset(input).0.canonicalize()) else { return Ok(()) };
    let folder = if within.is_dir() { within.as_path() } else { within.parent().unwrap_or(&within) };
    if !out.is_file() || !out.starts_with(folder) {
        return Ok(());
    }
    let origins = refs().map(|r| &r.origin).chain([&scan.projections_origin]);
    for origin in origins {
        let file = origin.split(":/").next().map(Path::new);
        if file.is_some_and(|f| f.file_name() == out.file_name()) {
            return Err(refusal(output, Path::new(origin)));
        }
    }
    Ok(())
}

fn refusal(output: &Path, input: &Path) -> Error {
    Error::caller("the output would replace what it is made from")
        .path(output)
        .found(input.display())
        .hint("choose another name")
}
