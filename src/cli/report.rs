//! Errors for people: the chain in one line, then one hint.

use crate::cli::Exit;
use std::error::Error as _;
use tomokit_formats::Error;

/// `error: path: at byte 4: message: cause` with the hint on a second line.
pub fn text(error: &Error) -> String {
    let mut line = format!("error: {error}");
    let mut hint = error.advice().map(str::to_owned);
    let mut cause = error.source();
    while let Some(c) = cause {
        line.push_str(&format!(": {c}"));
        // The innermost advice is the most specific where the head has none.
        if hint.is_none() {
            hint = c.downcast_ref::<Error>().and_then(|e| e.advice()).map(str::to_owned);
        }
        cause = c.source();
    }
    // File names may hold line ends; an error stays one line.
    let mut line = super::human::on_one_line(&line);
    if let Some(h) = hint {
        line.push_str(&format!("\n  hint: {h}"));
    }
    line
}

/// Prints an error to stderr and gives its exit code.
pub fn report(error: &Error) -> Exit {
    let text = text(error);
    log::error!("{text}");
    eprintln!("{text}");
    Exit::of(error.fault())
}

/// The same for scripts, in place of a result.
pub fn json(input: &std::path::Path, error: &Error) -> serde_json::Value {
    serde_json::json!({ "input": input.to_string_lossy(), "error": text(error).trim_start_matches("error: ") })
}

/// Prints a warning to stderr.
pub fn warn(text: &str) {
    log::warn!("{text}");
    eprintln!("warning: {}", super::human::on_one_line(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_in_one_line_and_one_hint() {
        let inner = Error::file("b.edf", "no header\nend").at(512).hint("copy it again");
        let e = Error::file("scan", "cannot read the flats").source(inner);
        assert_eq!(
            text(&e),
            "error: scan: cannot read the flats: b.edf: at byte 512: no header end\n  hint: copy it again"
        );
    }
}
