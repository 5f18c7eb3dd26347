//! Tables in files: CSV (RFC 4180, with a line of headings) and whole text files, written under their final names only when
//! complete. The only home of the `csv` crate.

use std::io::{BufWriter, Write};
use std::path::Path;
use tomokit_formats::durable::PartFile;
use tomokit_formats::{Error, Result};

/// Writes a text file: `fill` hands over the text, and the file appears when it is done.
pub fn text_file(path: &Path, overwrite: bool, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let part = PartFile::create(path, overwrite)?;
    let mut out = BufWriter::with_capacity(1 << 20, part.file()?);
    fill(&mut out)?;
    out.flush().map_err(|e| Error::io(path, "writing", e))?;
    drop(out);
    part.commit().map(|_| ())
}

/// Writes a CSV file: `fill` calls its argument once per row.
pub fn csv_file(
    path: &Path,
    overwrite: bool,
    headings: &[&str],
    fill: impl FnOnce(&mut dyn FnMut(&[String]) -> Result<()>) -> Result<()>,
) -> Result<()> {
    text_file(path, overwrite, |out| {
        let failed = |e: csv::Error| Error::io(path, "writing", std::io::Error::other(e));
        let mut table = csv::WriterBuilder::new().from_writer(out);
        table.write_record(headings).map_err(failed)?;
        fill(&mut |row| table.write_record(row).map_err(failed))?;
        table.flush().map_err(|e| Error::io(path, "writing", e))
    })
}

/// A CSV table: headings in lower case, then rows, each with its line number.
pub type Rows = (Vec<String>, Vec<(u64, Vec<String>)>);

/// Reads a CSV table with a line of headings; `,` or `;` between the cells, lines beginning with `#` are left out. Every row must
/// have as many cells as there are headings.
pub fn read_csv(text: &str, path: &Path) -> Result<Rows> {
    let text = text.trim_start_matches('\u{feff}');
    let first = text.lines().find(|l| !l.trim().is_empty() && !l.starts_with('#')).unwrap_or_default();
    // Spreadsheets in countries with a decimal comma write semicolons.
    let delimiter = if first.contains(';') && !first.contains(',') { b';' } else { b',' };
    let mut table = csv::ReaderBuilder::new()
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .delimiter(delimiter)
        .from_reader(text.as_bytes());
    let failed = |e: csv::Error| {
        let line = e.position().map_or(String::new(), |p| format!("line {}: ", p.line()));
        Error::file(path, format!("{line}not a table")).source(e).hint("each line needs a cell for every heading")
    };
    let headings = table.headers().map_err(failed)?.iter().map(str::to_ascii_lowercase).collect();
    let mut rows = Vec::new();
    for row in table.records() {
        let row = row.map_err(failed)?;
        // The reader's place is where it went on from: blank lines and comments come before the row.
        let line = row.position().map_or(0, |p| {
            let rest = text.get(p.byte() as usize..).unwrap_or_default();
            let skipped = rest.lines().take_while(|l| l.trim().is_empty() || l.starts_with('#')).count();
            p.line() + skipped as u64
        });
        rows.push((line, row.iter().map(str::to_owned).collect()));
    }
    Ok((headings, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_go_out_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv");
        let rows = [["a,b".to_owned(), "say \"x\"\nthere".into()], ["é".into(), String::new()]];
        csv_file(&path, false, &["Name", "text"], |put| rows.iter().try_for_each(|r| put(r))).unwrap();
        assert!(csv_file(&path, false, &["x"], |_| Ok(())).is_err(), "an existing file is refused");
        let text = std::fs::read_to_string(&path).unwrap();
        let (headings, got) = read_csv(&text, &path).unwrap();
        assert_eq!(headings, ["name", "text"]);
        assert_eq!(got.iter().map(|r| r.1.clone()).collect::<Vec<_>>(), rows);
        let (_, rows) = read_csv("# one\n\na,b\n1,2\n# five\n\n\n3,4\n", &path).unwrap();
        assert_eq!(rows.iter().map(|r| r.0).collect::<Vec<_>>(), [4, 8]);
        let failed = csv_file(&dir.path().join("u.csv"), false, &["x"], |_| Err(Error::caller("no")));
        assert!(failed.is_err() && std::fs::read_dir(dir.path()).unwrap().count() == 1, "nothing half-written");
    }

    #[test]
    fn what_spreadsheets_write() {
        let (h, r) = read_csv("\u{feff}# plan\nName ; NX\n a ; 3\n\n b;4\n", Path::new("p.csv")).unwrap();
        assert_eq!(
            (h, r.len(), r[1].1.clone()),
            (vec!["name".to_owned(), "nx".into()], 2, vec!["b".to_owned(), "4".into()])
        );
        let e = read_csv("a,b\n1,2\n3\n", Path::new("p.csv")).unwrap_err();
        assert!(e.to_string().contains("p.csv") && e.to_string().contains("line 3"), "{e}");
        assert!(read_csv("", Path::new("p.csv")).unwrap().1.is_empty());
    }
}
