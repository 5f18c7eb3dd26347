//! Lists of rotation angles in text, as they lie beside folders of images: degrees, one projection per line.
//!
//! Guarantees: every line is a finite number or the file is refused with the line's number. Leaves to others: where
//! such a file is looked for.

use crate::io::read_small_text;
use crate::model::Angles;
use crate::{Error, Result};
use std::fmt::Write;
use std::path::Path;

/// The name such a file has.
pub(crate) const NAME: &str = "angles.txt";

/// Longest list read, bytes.
const MAX_TEXT: u64 = 64 << 20;

/// One angle in degrees per line; blank lines and `#` comments are skipped, the last column counts.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Vec<f64>> {
    let lines = text.lines().enumerate().map(|(i, l)| (i, l.split('#').next().unwrap_or("").trim()));
    lines
        .filter(|(_, l)| !l.is_empty())
        .map(|(i, l)| {
            let last = l.split([' ', '\t', ',', ';']).rfind(|w| !w.is_empty()).unwrap_or(l);
            last.parse::<f64>().ok().filter(|v| v.is_finite()).ok_or_else(|| {
                Error::file(path, format!("line {} is not an angle in degrees", i + 1)).found(format!("'{l}'"))
            })
        })
        .collect()
}

/// Degrees for `n` projections as angles.
pub(crate) fn of_degrees(path: &Path, degrees: &[f64], n: usize) -> Result<Angles> {
    if degrees.len() != n {
        return Err(Error::file(path, "the number of angles is not that of the projections")
            .expected(n)
            .found(degrees.len())
            .hint("correct the angles file, or move it away"));
    }
    let origin = path.file_name().map(|f| f.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Angles { rad: degrees.iter().map(|d| d.to_radians()).collect(), origin })
}

/// Reads the angles of `n` projections.
pub(crate) fn read_for(path: &Path, n: usize) -> Result<Angles> {
    of_degrees(path, &parse(path, &read_small_text(path, MAX_TEXT)?)?, n)
}

/// The list as text.
pub(crate) fn text(degrees: &[f64]) -> String {
    let mut t = String::from("# degrees\n");
    for d in degrees {
        let _ = writeln!(t, "{d}");
    }
    t
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let p = Path::new("angles.txt");
        assert_eq!(parse(p, "# deg\n0\n 1, 0.5\n\n2\t1.0 # end\n").unwrap(), [0.0, 0.5, 1.0]);
        assert!(parse(p, "0\nabc\n").unwrap_err().to_string().contains("line 2"));
        let d = [0.0, 0.1, -33.3, 179.98765432109876];
        assert_eq!(parse(p, &text(&d)).unwrap(), d);
        assert!(of_degrees(p, &d, 5).unwrap_err().to_string().contains("angles"));
    }
}
