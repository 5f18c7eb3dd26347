//! No output replaces what it is made from, whatever `--overwrite` allows.

use std::path::Path;
use tomokit_formats::model::RefSet;
use tomokit_formats::registry::split_dataset;
use tomokit_formats::{Error, FrameSource, Result, Scan};

/// Refuses an output that is the input, a folder around it, or a file its frames lie in.
///
/// # Errors
/// `Caller`, with both.
pub fn refuse_over(output: &Path, input: &Path, source: &dyn FrameSource) -> Result<()> {
    let Ok(out) = output.canonicalize() else { return Ok(()) };
    let is_within = |p: &Path| p.canonicalize().is_ok_and(|p| p.starts_with(&out));
    let (input, _) = split_dataset(input);
    if is_within(&input) {
        return Err(refusal(output, &input));
    }
    let single = out.is_file();
    // Of a series of thousands, only files of its name; of a folder, that of the first frame tells.
    let files = (0..source.shape().frames).map_while(|f| source.place(f)).map(|p| p.file);
    let found = match single {
        true => files.filter(|f| f.file_name() == out.file_name()).find(|f| is_within(f)),
        false => files.take(1).find(|f| is_within(f)),
    };
    found.map_or(Ok(()), |f| Err(refusal(output, &f)))
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
