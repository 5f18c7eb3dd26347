//! The text of a PyHST2 parameter file: read without ever executing it, changed without touching any other byte.
//!
//! PyHST2 runs the file as Python. Here only plain assignments count: `KEY = value`, with numbers, YES/NO, quoted or
//! bare text, flat lists and dictionaries. Every other line (array code, subscripts, comments) is kept as it is and
//! never interpreted. The last assignment of a key wins, as in Python.

use crate::{Error, Result};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Longest parameter file read, bytes.
pub const MAX_PAR: u64 = 4 << 20;
/// Lines a bracketed value may span.
const MAX_SPAN: usize = 200;

/// A parameter file in memory.
#[derive(Clone, Debug)]
pub struct Par {
    path: PathBuf,
    bytes: Vec<u8>,
    assignments: Vec<Assignment>,
    motors: Vec<Motor>,
    opaque: Vec<usize>,
}

/// One plain assignment.
#[derive(Clone, Debug, PartialEq)]
struct Assignment {
    key: String,
    /// Bytes of the value, without blanks and comment around it.
    value: Range<usize>,
    line: usize,
}

/// A value kept in a comment line: `#tomo1tx = 12.5 mm`.
#[derive(Clone, Debug, PartialEq)]
pub struct Motor {
    /// Name as written.
    pub name: String,
    /// Number.
    pub value: f64,
    /// What follows the number, usually a unit.
    pub rest: String,
    /// Line, 1-based.
    pub line: usize,
}

/// A value as text with its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value<'a> {
    /// As written, quotes included.
    pub raw: &'a str,
    /// Line, 1-based.
    pub line: usize,
}

fn is_key(text: &[u8]) -> bool {
    text.first().is_some_and(|c| c.is_ascii_alphabetic() || *c == b'_')
        && text.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'_')
}

/// Keys whose bare values PyHST2 quotes up to the first blank.
fn is_text_key(key: &str) -> bool {
    ["FILE", "PREFIX", "POSTFIX", "DS_NAME", "CURRENT_NAME"].iter().any(|w| key.contains(w)) || key.starts_with("IF_")
}

/// State of brackets and quotes while walking through a value.
#[derive(Default)]
struct Walk {
    depth: usize,
    quote: Option<u8>,
}

impl Walk {
    /// Where the value of this line ends: at a comment outside quotes, or at the end of the line.
    fn line(&mut self, text: &[u8]) -> usize {
        for (i, &c) in text.iter().enumerate() {
            match (self.quote, c) {
                (Some(q), c) if c == q => self.quote = None,
                (Some(_), _) => {}
                (None, b'\'' | b'"') => self.quote = Some(c),
                (None, b'[' | b'{' | b'(') => self.depth += 1,
                (None, b']' | b'}' | b')') => self.depth = self.depth.saturating_sub(1),
                (None, b'#' | b'!') => return i,
                _ => {}
            }
        }
        self.quote = None; // a quote does not cross the end of a line
        text.len()
    }
}

impl Par {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Par> {
        let file = crate::io::ReadAt::open(path)?;
        if file.len() > MAX_PAR {
            return Err(Error::limit("too large to be a parameter file")
                .path(path)
                .expected(format!("at most {MAX_PAR} bytes"))
                .found(format!("{} bytes", file.len())));
        }
        Ok(Self::parse(file.head(MAX_PAR as usize)?, path))
    }

    /// Takes bytes apart. Never fails: what is no assignment stays opaque.
    pub fn parse(bytes: Vec<u8>, path: &Path) -> Par {
        let mut par = Par { path: path.into(), bytes, assignments: Vec::new(), motors: Vec::new(), opaque: Vec::new() };
        let lines: Vec<Range<usize>> = line_ranges(&par.bytes);
        let mut n = 0;
        while n < lines.len() {
            let range = lines[n].clone();
            let text = &par.bytes[range.clone()];
            let indent = text.iter().take_while(|c| c.is_ascii_whitespace()).count();
            let body = &text[indent..];
            let mut used = 1;
            if body.is_empty() {
            } else if body[0] == b'#' || body[0] == b'!' {
                par.motors.extend(motor(body, n + 1));
            } else if let Some(eq) = body.iter().position(|c| *c == b'=')
                && is_key(body[..eq].trim_ascii())
                && body.get(eq + 1) != Some(&b'=')
            {
                let key = String::from_utf8_lossy(body[..eq].trim_ascii()).into_owned();
                let start = range.start + indent + eq + 1;
                let mut walk = Walk::default();
                let mut end = start + walk.line(&par.bytes[start..range.end]);
                while walk.depth > 0 && used < MAX_SPAN && n + used < lines.len() {
                    let next = lines[n + used].clone();
                    end = next.start + walk.line(&par.bytes[next]);
                    used += 1;
                }
                if walk.depth > 0 {
                    // Never closed: then it was one line after all.
                    used = 1;
                    end = start + Walk::default().line(&par.bytes[start..range.end]);
                }
                par.assignments.push(Assignment { key, value: trim(&par.bytes, start..end), line: n + 1 });
            } else {
                par.opaque.push(n + 1);
            }
            n += used;
        }
        par
    }

    /// Where it was read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole file, byte for byte.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Lines that are neither assignment nor comment, 1-based: kept, not interpreted.
    pub fn opaque_lines(&self) -> &[usize] {
        &self.opaque
    }

    /// Values kept in comments, in order.
    pub fn motors(&self) -> &[Motor] {
        &self.motors
    }

    /// The last value of a motor.
    pub fn motor(&self, name: &str) -> Option<&Motor> {
        self.motors.iter().rev().find(|m| m.name == name)
    }

    /// Every key once, in order of its first appearance, with the value that holds.
    pub fn keys(&self) -> Vec<(&str, Value<'_>)> {
        let mut out: Vec<(&str, Value<'_>)> = Vec::new();
        for a in &self.assignments {
            let value = self.value_of(a);
            match out.iter_mut().find(|(k, _)| *k == a.key) {
                Some(entry) => entry.1 = value,
                None => out.push((&a.key, value)),
            }
        }
        out
    }

    fn value_of(&self, a: &Assignment) -> Value<'_> {
        // Bytes that are no UTF-8 end the text there; the file itself keeps them.
        let bytes = &self.bytes[a.value.clone()];
        let raw = std::str::from_utf8(bytes)
            .unwrap_or_else(|e| std::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or_default());
        Value { raw, line: a.line }
    }

    /// The value that holds, as written; `None` where the key is absent, empty, `None`, or `N.A.` (not available).
    pub fn value(&self, key: &str) -> Option<Value<'_>> {
        let a = self.assignments.iter().rev().find(|a| a.key == key)?;
        let v = self.value_of(a);
        (!matches!(unquote(v.raw), "" | "N.A." | "N_A_" | "None")).then_some(v)
    }

    fn unreadable(&self, key: &str, v: Value<'_>, expected: &str) -> Error {
        Error::file(&self.path, format!("line {}: {key} is not readable", v.line))
            .expected(expected)
            .found(format!("'{}'", v.raw))
            .hint("parameter files are read, not executed: write the value itself")
    }

    /// A number. YES and NO are 1 and 0, as in PyHST2.
    pub fn f64(&self, key: &str) -> Result<Option<f64>> {
        let Some(v) = self.value(key) else {
            return Ok(None);
        };
        match unquote(v.raw) {
            "YES" | "True" => Ok(Some(1.0)),
            "NO" | "False" => Ok(Some(0.0)),
            t => match t.parse::<f64>() {
                Ok(n) if n.is_finite() => Ok(Some(n)),
                _ => Err(self.unreadable(key, v, "a number")),
            },
        }
    }

    /// A whole number; `2048.0` is one.
    pub fn i64(&self, key: &str) -> Result<Option<i64>> {
        let Some(v) = self.value(key) else {
            return Ok(None);
        };
        if let Ok(n) = unquote(v.raw).parse::<i64>() {
            return Ok(Some(n));
        }
        match self.f64(key)? {
            Some(n) if n.fract() == 0.0 && n.abs() < 9e15 => Ok(Some(n as i64)),
            _ => Err(self.unreadable(key, v, "a whole number")),
        }
    }

    /// YES or NO; any number other than 0 is YES.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        let Some(v) = self.value(key) else {
            return Ok(None);
        };
        match unquote(v.raw).to_ascii_uppercase().as_str() {
            "YES" | "TRUE" | "Y" => Ok(Some(true)),
            "NO" | "FALSE" | "N" => Ok(Some(false)),
            _ => match self.f64(key) {
                Ok(n) => Ok(n.map(|n| n != 0.0)),
                Err(_) => Err(self.unreadable(key, v, "YES or NO")),
            },
        }
    }

    /// Text without its quotes. Bare values of path keys end at the first blank, as in PyHST2.
    pub fn text(&self, key: &str) -> Option<&str> {
        let v = self.value(key)?;
        let text = unquote(v.raw);
        if text.len() == v.raw.len() && is_text_key(key) && !v.raw.starts_with(['[', '{']) {
            return text.split_whitespace().next();
        }
        Some(text)
    }

    /// A list `["a", "b"]` or a single value as its texts.
    pub fn list(&self, key: &str) -> Result<Option<Vec<String>>> {
        let Some(v) = self.value(key) else {
            return Ok(None);
        };
        let Some(inner) = v.raw.strip_prefix('[') else {
            return Ok(self.text(key).map(|t| vec![t.to_owned()]));
        };
        let inner = inner.strip_suffix(']').ok_or_else(|| self.unreadable(key, v, "a list in [ ]"))?;
        Ok(Some(
            split_outside_quotes(inner, ',').map(|w| unquote(w.trim()).to_owned()).filter(|w| !w.is_empty()).collect(),
        ))
    }

    /// A flat dictionary `{'a':'b', "c":0.04}` as pairs of texts, in order.
    pub fn dict(&self, key: &str) -> Result<Option<Vec<(String, String)>>> {
        let Some(v) = self.value(key) else {
            return Ok(None);
        };
        let bad = || self.unreadable(key, v, "a flat dictionary such as {'padding':'E'}");
        let inner = v.raw.strip_prefix('{').and_then(|t| t.strip_suffix('}')).ok_or_else(bad)?;
        split_outside_quotes(inner, ',')
            .filter(|pair| !pair.trim().is_empty())
            .map(|pair| {
                let mut parts = split_outside_quotes(pair, ':');
                match (parts.next(), parts.next(), parts.next()) {
                    (Some(k), Some(v), None) => Ok((unquote(k.trim()).to_owned(), unquote(v.trim()).to_owned())),
                    _ => Err(bad()),
                }
            })
            .collect::<Result<Vec<_>>>()
            .map(Some)
    }

    /// Replaces the value of a key (its last assignment) and nothing else; an absent key is appended as a new line.
    /// `value` is written as given: quote text with blanks, see [`quote`].
    ///
    /// # Errors
    /// `Caller` where the key is no key, or the value holds a line end or would start a comment.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let value = value.trim();
        if !is_key(key.as_bytes()) {
            return Err(Error::caller(format!("'{key}' is no parameter name")).path(&self.path));
        }
        let mut walk = Walk::default();
        if value.is_empty()
            || value.contains(['\n', '\r'])
            || walk.line(value.as_bytes()) < value.len()
            || walk.depth > 0
        {
            return Err(Error::caller(format!("'{value}' cannot be the value of {key}"))
                .path(&self.path)
                .hint("one line, closed brackets and quotes, no # or ! outside quotes"));
        }
        let mut bytes = self.bytes.clone();
        match self.assignments.iter().rev().find(|a| a.key == key) {
            Some(a) => {
                let before = a.value.start.checked_sub(1).and_then(|i| bytes.get(i));
                let pad = if a.value.is_empty() && before == Some(&b'=') { " " } else { "" };
                bytes.splice(a.value.clone(), format!("{pad}{value}").into_bytes());
            }
            None => {
                let end = if bytes.windows(2).any(|w| w == b"\r\n") { "\r\n" } else { "\n" };
                if bytes.last().is_some_and(|b| *b != b'\n') {
                    bytes.extend(end.as_bytes());
                }
                bytes.extend(format!("{key} = {value}{end}").as_bytes());
            }
        }
        *self = Par::parse(bytes, &self.path.clone());
        Ok(())
    }
}

/// Text in quotes, for values with blanks.
pub fn quote(text: &str) -> String {
    if text.contains('\'') { format!("\"{text}\"") } else { format!("'{text}'") }
}

/// Lines without their ends (`\n`, `\r\n`).
fn line_ranges(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut start = 0;
    for (i, _) in bytes.iter().enumerate().filter(|(_, b)| **b == b'\n') {
        let end = if i > start && bytes[i - 1] == b'\r' { i - 1 } else { i };
        out.push(start..end);
        start = i + 1;
    }
    if start < bytes.len() {
        out.push(start..bytes.len());
    }
    out
}

fn trim(bytes: &[u8], range: Range<usize>) -> Range<usize> {
    let text = &bytes[range.clone()];
    let left = text.iter().take_while(|c| c.is_ascii_whitespace()).count();
    if left == text.len() {
        // An empty value sits right after the '=' and its blanks.
        return range.end..range.end;
    }
    let right = text.iter().rev().take_while(|c| c.is_ascii_whitespace()).count();
    range.start + left..range.end - right
}

fn unquote(text: &str) -> &str {
    for q in ['\'', '"'] {
        if let Some(inner) = text.strip_prefix(q).and_then(|t| t.strip_suffix(q)) {
            return inner;
        }
    }
    text
}

fn split_outside_quotes(text: &str, at: char) -> impl Iterator<Item = &str> {
    let mut quote = None;
    text.split(move |c: char| {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            _ => {}
        }
        quote.is_none() && c == at
    })
}

/// A motor comment; commented-out parameters (all upper case) are none.
fn motor(comment: &[u8], line: usize) -> Option<Motor> {
    let text = String::from_utf8_lossy(comment);
    let (name, value) = text.trim_start_matches(['#', '!', ' ', '\t']).split_once('=')?;
    let name = name.trim();
    if !is_key(name.as_bytes()) || !name.chars().any(|c| c.is_ascii_lowercase()) {
        return None;
    }
    let value = value.trim();
    let (number, rest) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
    let number: f64 = number.parse().ok()?;
    number.is_finite().then(|| Motor { name: name.into(), value: number, rest: rest.trim().into(), line })
}

/// The file name rule: prefix + number padded with zeros + postfix.
///
/// # Errors
/// `File` where the number has more digits than `length`: PyHST2 would cut it to its leading digits and read the
/// wrong file.
pub fn numbered(prefix: &str, number: u64, length: usize, varies: bool, postfix: &str) -> Result<String> {
    if varies {
        return Ok(format!("{prefix}{number}{postfix}"));
    }
    let digits = format!("{number:0length$}", length = length.min(20));
    if digits.len() > length {
        return Err(Error::new(crate::Fault::File, "a file number has more digits than LENGTH_OF_NUMERICAL_PART")
            .expected(format!("at most {length} digits"))
            .found(number)
            .hint("raise the length: PyHST2 would cut the number and read a wrong file"));
    }
    Ok(format!("{prefix}{digits}{postfix}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn par(text: &str) -> Par {
        Par::parse(text.as_bytes().to_vec(), Path::new("x.par"))
    }

    const SAMPLE: &str = "! HST_SLAVE PARAMETER FILE\r\n\
        FILE_PREFIX = scan1/scan1_ rest is cut   # stem\r\n\
        NUM_FIRST_IMAGE=0 ! first\r\n\
        NUM_IMAGE_1 = 2048.0\r\n\
        FILE_POSTFIX = '.edf' # \"quoted\"\r\n\
        TAKE_LOGARITHM = YES\r\n\
        CORRECT_FLATFIELD = 0\r\n\
        ZEROCLIPVALUE = 1.0e-3\r\n\
        OPTIONS = { 'padding':'E' , \"axis_to_the_center\":'Y',\r\n  'avoidhalftomo':'N' } # c\r\n\
        FF_PREFIX = [\"pre ref.nxs\", 'post#ref.nxs']\r\n\
        ar = numpy.ones(2048,'f')\r\n\
        ar[0:18]=0.0\r\n\
        import os\r\n\
        ANGLES_FILE = N.A.\r\n\
        #tomo1tx = -12.5 mm from log\r\n\
        #ROTATION_AXIS_POSITION = 3\r\n\
        ROTATION_AXIS_POSITION = 1\r\n\
        EMPTY =\r\n\
        ROTATION_AXIS_POSITION = 1023.500000";

    #[test]
    fn values_of_every_kind() {
        let p = par(SAMPLE);
        assert_eq!(p.text("FILE_PREFIX"), Some("scan1/scan1_"));
        assert_eq!(p.text("FILE_POSTFIX"), Some(".edf"));
        assert_eq!(p.i64("NUM_FIRST_IMAGE").unwrap(), Some(0));
        assert_eq!(p.i64("NUM_IMAGE_1").unwrap(), Some(2048));
        assert_eq!(p.bool("TAKE_LOGARITHM").unwrap(), Some(true));
        assert_eq!(p.bool("CORRECT_FLATFIELD").unwrap(), Some(false));
        assert_eq!(p.f64("ZEROCLIPVALUE").unwrap(), Some(1e-3));
        assert_eq!(p.f64("ROTATION_AXIS_POSITION").unwrap(), Some(1023.5));
        assert_eq!(p.text("ANGLES_FILE"), None);
        assert_eq!(p.value("EMPTY"), None);
        let d = p.dict("OPTIONS").unwrap().unwrap();
        assert_eq!(d[2], ("avoidhalftomo".into(), "N".into()));
        assert_eq!(p.list("FF_PREFIX").unwrap().unwrap(), ["pre ref.nxs", "post#ref.nxs"]);
        assert_eq!(p.list("FILE_POSTFIX").unwrap().unwrap(), [".edf"]);
        assert_eq!(p.motors().len(), 1);
        let m = p.motor("tomo1tx").unwrap();
        assert_eq!((m.value, m.rest.as_str(), m.line), (-12.5, "mm from log", 16));
        assert_eq!(p.opaque_lines(), [13, 14]);
        assert_eq!(p.bytes(), SAMPLE.as_bytes());
        assert_eq!(p.keys().iter().filter(|(k, _)| *k == "ROTATION_AXIS_POSITION").count(), 1);
        // `ar = numpy…` is an assignment by form, yet nothing evaluates it.
        let e = p.f64("ar").unwrap_err().to_string();
        assert!(e.contains("line 12") && e.contains("numpy"), "{e}");
        assert!(p.i64("ZEROCLIPVALUE").is_err() && p.dict("FF_PREFIX").is_err());
        assert!(par("A = 1e999").f64("A").is_err());
    }

    #[test]
    fn set_changes_only_the_value() {
        let mut p = par(SAMPLE);
        p.set("ROTATION_AXIS_POSITION", "1000.25").unwrap();
        assert_eq!(p.bytes(), SAMPLE.replace("1023.500000", "1000.25").as_bytes());
        p.set("NUM_FIRST_IMAGE", "17").unwrap();
        p.set("OPTIONS", "{'padding':'0'}").unwrap();
        p.set("EMPTY", "5").unwrap();
        p.set("NEW_KEY", &quote("a b")).unwrap();
        let text = String::from_utf8(p.bytes().to_vec()).unwrap();
        assert!(text.contains("NUM_FIRST_IMAGE=17 ! first\r\n"), "{text}");
        assert!(text.contains("OPTIONS = {'padding':'0'} # c\r\n"), "{text}");
        assert!(text.contains("EMPTY = 5\r\n"), "{text}");
        assert!(text.ends_with("= 1000.25\r\nNEW_KEY = 'a b'\r\n"), "{text}");
        for (k, v) in [("a b", "1"), ("", "1"), ("A", "1\n2"), ("A", "1 # c"), ("A", "[1"), ("A", "")] {
            assert!(p.set(k, v).is_err(), "{k}={v}");
        }
        // Latin-1 bytes elsewhere survive.
        let mut p = Par::parse(b"# \xb5m\nA = 1\nB = \xe9\n".to_vec(), Path::new("x.par"));
        p.set("A", "2").unwrap();
        assert_eq!(p.bytes(), b"# \xb5m\nA = 2\nB = \xe9\n");
    }

    #[test]
    fn file_names() {
        assert_eq!(numbered("a/s", 7, 4, false, ".edf").unwrap(), "a/s0007.edf");
        assert_eq!(numbered("s", 7, 4, true, ".edf").unwrap(), "s7.edf");
        assert_eq!(numbered("s", 9999, 4, false, "").unwrap(), "s9999");
        let e = numbered("s", 10000, 4, false, ".edf").unwrap_err().to_string();
        assert!(e.contains("10000") && e.contains("4 digits"), "{e}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        /// Whatever the bytes: no panic, all bytes kept, and a set value is read back while all other keys stay.
        #[test]
        fn any_bytes(text in "([A-Z_a-z0-9=#! '\"\\[\\]{}:,.\r\n\t-]|é){0,200}", number in -1e6f64..1e6) {
            let p = par(&text);
            prop_assert_eq!(p.bytes(), text.as_bytes());
            let before: Vec<(String, String)> =
                p.keys().iter().map(|(k, v)| (k.to_string(), v.raw.to_string())).collect();
            for (k, _) in &before {
                let _ = (p.f64(k), p.i64(k), p.bool(k), p.text(k), p.list(k), p.dict(k));
            }
            for key in before.iter().map(|(k, _)| k.as_str()).chain(["QQ_NEW"]) {
                let mut q = p.clone();
                q.set(key, &number.to_string()).unwrap();
                prop_assert_eq!(q.f64(key).unwrap(), Some(number));
                for (k, v) in &before {
                    if k != key {
                        let now = q.keys().iter().find(|(n, _)| n == k).map(|(_, v)| v.raw.to_string());
                        prop_assert_eq!(now.as_deref(), Some(v.as_str()), "{}", k);
                    }
                }
            }
        }
    }
}
