//! Standard output: data only. A reader that goes away (`tomo info … | head`) ends the program quietly.

use std::io::Write;
use tomokit_formats::{Error, Result};

/// Writes all of `text` to stdout. What a terminal would obey (names of files may hold it) becomes blanks.
pub fn print(text: &str) -> Result<()> {
    data(&super::human::on_lines(text))
}

/// Writes text that scripts read, as it is.
pub fn data(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        r => r.map_err(|e| {
            Error::io("standard output", "writing", e).hint("what was to be done is done; what it says is not written")
        }),
    }
}

/// Prints a value as JSON, indented, with a line end.
pub fn json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::caller("the result cannot be written as JSON").source(e))?;
    data(&(text + "\n"))
}
