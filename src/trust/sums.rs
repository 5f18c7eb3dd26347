//! Lists of sums as other programs read them: `SHA256SUMS` of coreutils, and hashdeep's.

use crate::trust::{Digest, Name};
use std::io::{self, BufRead, Write};

/// The list on every disk that was copied to, checked by `sha256sum -c SHA256SUMS`.
pub const SHA256SUMS: &str = "SHA256SUMS";

/// Longest line read: a name of 64 KiB, every byte escaped.
const LONGEST: u64 = 1 << 18;

/// Writes one line the way `sha256sum` does: a name with a backslash or a line end in it is escaped, and a backslash in
/// front of the line says so.
pub fn write_line(out: &mut impl Write, digest: &Digest, name: &[u8]) -> io::Result<()> {
    if name.iter().any(|b| matches!(b, b'\\' | b'\n' | b'\r')) {
        write!(out, "\\{digest}  ")?;
        for b in name {
            match b {
                b'\\' => out.write_all(b"\\\\")?,
                b'\n' => out.write_all(b"\\n")?,
                b'\r' => out.write_all(b"\\r")?,
                b => out.write_all(&[*b])?,
            }
        }
    } else {
        write!(out, "{digest}  ")?;
        out.write_all(name)?;
    }
    out.write_all(b"\n")
}

/// Reads one line: `sum  name`, `sum *name`, either escaped, or `SHA256 (name) = sum`. A carriage return at the end
/// (a list that went through a Windows editor) does not belong to the name.
///
/// # Errors
/// In words, what is wrong with the line.
pub fn parse_line(line: &[u8]) -> Result<(Digest, Name), &'static str> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (escaped, line) = match line.strip_prefix(b"\\") {
        Some(l) => (true, l),
        None => (false, line),
    };
    let (digest, name) = if let Some(rest) = line.strip_prefix(b"SHA256 (") {
        let at = rest.windows(4).rposition(|w| w == b") = ").ok_or("no ') = ' after the name")?;
        (&rest[at + 4..], &rest[..at])
    } else {
        let (digest, rest) = line.split_at_checked(64).ok_or("too short for a SHA-256 sum")?;
        (digest, rest.strip_prefix(b"  ").or(rest.strip_prefix(b" *")).ok_or("no two blanks after the sum")?)
    };
    let digest = Digest::parse(digest).ok_or("no SHA-256 sum")?;
    if !escaped {
        return Ok((digest, Name::parse(name)?));
    }
    let mut plain = Vec::with_capacity(name.len());
    let mut bytes = name.iter();
    while let Some(b) = bytes.next() {
        plain.push(match b {
            b'\\' => match bytes.next() {
                Some(b'\\') => b'\\',
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                _ => return Err("an escape that sha256sum does not know"),
            },
            b => *b,
        });
    }
    Ok((digest, Name::parse(&plain)?))
}

/// Reads a list line by line; memory never depends on its length. Empty lines and those that begin with `#` are skipped.
/// `take` gets the line's number (from 1) and what it says, or why it is refused.
pub fn read(
    mut input: impl BufRead,
    mut take: impl FnMut(u64, Result<(Digest, Name), &'static str>) -> bool,
) -> io::Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let n = io::Read::take(&mut input, LONGEST).read_until(b'\n', &mut line)?;
        if n == 0 {
            break;
        }
        let too_long = n as u64 == LONGEST && !line.ends_with(b"\n");
        let mut more = too_long;
        while more {
            line.clear();
            let n = io::Read::take(&mut input, LONGEST).read_until(b'\n', &mut line)?;
            more = n > 0 && !line.ends_with(b"\n");
        }
        if line.iter().all(u8::is_ascii_whitespace) && !too_long || line.starts_with(b"#") {
            continue;
        }
        let parsed = if too_long { Err("a line longer than any name allows") } else { parse_line(&line) };
        if !take(number, parsed) {
            break;
        }
    }
    Ok(())
}

/// Line in a hashdeep list that says who made it.
pub const HASHDEEP_MARK: &str = "# tomo copy --hashdeep";

/// Heads a list in hashdeep's form.
pub fn write_hashdeep_head(out: &mut impl Write, from: &str) -> io::Result<()> {
    let from = from.replace(['\n', '\r'], " ");
    write!(out, "%%%% HASHDEEP-1.0\n%%%% size,sha256,filename\n## Invoked from: {from}\n## {HASHDEEP_MARK}\n##\n")
}

/// One row of hashdeep's form.
pub fn write_hashdeep(out: &mut impl Write, size: u64, digest: &Digest, name: &[u8]) -> io::Result<()> {
    write!(out, "{size},{digest},")?;
    out.write_all(name)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(name: &[u8]) -> Vec<u8> {
        let mut line = Vec::new();
        write_line(&mut line, &Digest::of(b""), name).unwrap();
        let (d, n) = parse_line(&line).unwrap();
        assert_eq!((d, n.bytes()), (Digest::of(b""), name));
        line
    }

    #[test]
    fn escapes_are_those_of_coreutils() {
        let e = Digest::of(b"");
        assert_eq!(round(b"plain name"), format!("{e}  plain name\n").into_bytes());
        #[cfg(unix)]
        {
            assert_eq!(round(b"a\nb\\c\rd"), format!("\\{e}  a\\nb\\\\c\\rd\n").into_bytes());
            round(b"\xff\xfe");
        }
        for text in
            [format!("{e} *bin"), format!("SHA256 (bin) = {e}"), format!("{}  bin\r\n", e.to_string().to_uppercase())]
        {
            assert_eq!(parse_line(text.as_bytes()).unwrap().1.bytes(), b"bin", "{text}");
        }
    }

    #[test]
    fn hostile_lines_are_refused_one_by_one() {
        let e = Digest::of(b"");
        for bad in [
            format!("{e}  ../x"),
            format!("{e}  /etc/passwd"),
            format!("{e} x"),
            format!("{e}"),
            "x".into(),
            format!("\\{e}  a\\qb"),
            format!("\\{e}  ..\\"),
            format!("\\{e}  ../x\\n"),
            format!("SHA256 (../x) = {e}"),
            format!("SHA256 (x) = {}", &e.to_string()[1..]),
            format!("{e}  a/../../b"),
            format!("{e}  \0"),
        ] {
            assert!(parse_line(bad.as_bytes()).is_err(), "{bad}");
        }
        let mut text = format!("# remark\n\n{e}  good\nrubbish\n").into_bytes();
        text.extend(std::iter::repeat_n(b'x', 1_000_000));
        text.extend(format!("\n{e}  last").into_bytes());
        let mut seen = Vec::new();
        read(&text[..], |n, r| {
            seen.push((n, r.is_ok()));
            true
        })
        .unwrap();
        assert_eq!(seen, [(3, true), (4, false), (5, false), (6, true)]);
    }
}
