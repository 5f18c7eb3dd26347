//! EDF header blocks as text: where one ends, its `key = value ;` pairs, and what they say about the pixels.
//!
//! Guarantees: any bytes give pairs or an explained refusal, never a panic; order and unknown keys are kept. Leaves to
//! others: where blocks lie in a file ([`super::read`]) and how to make one ([`super::write`]).

use crate::{ByteOrder, DType, Warnings};

/// Longest header searched for its end unless `EDF_HeaderSize` announces more (fabio's limit: 512 blocks of 512 bytes).
pub const MAX_HEADER: usize = 512 * 512;

/// Longest header accepted whatever it announces.
pub const MAX_ANNOUNCED: usize = 16 << 20;

/// The pairs of one header, in file order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Header {
    /// Keys and values, blanks and NULs trimmed; Latin-1 bytes decoded.
    pub pairs: Vec<(String, String)>,
}

/// Where a header ends: `}` + LF or `}` + CR LF, the first one after `from`. Returns the offset of the brace and of the
/// first data byte. The match is by bytes over the whole buffer, so an ending across a 512-byte border is found too.
pub fn find_end(bytes: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    while let Some(i) = bytes.get(at..)?.iter().position(|&b| b == b'}') {
        let brace = at + i;
        match (bytes.get(brace + 1), bytes.get(brace + 2)) {
            (Some(b'\n'), _) => return Some((brace, brace + 2)),
            (Some(b'\r'), Some(b'\n')) => return Some((brace, brace + 3)),
            _ => at = brace + 1,
        }
    }
    None
}

fn trimmed(bytes: &[u8]) -> String {
    let text = crate::model::units::text_lossy(bytes);
    text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned()
}

/// True where `text` could be a key: used to find pairs whose `;` was forgotten.
fn key_like(text: &[u8]) -> bool {
    let t = text.trim_ascii();
    !t.is_empty() && t.iter().all(|b| b.is_ascii_alphanumeric() || b"_-.~".contains(b))
}

impl Header {
    /// Parses the text between the braces. Pairs end at `;`; where one was forgotten, a line `key = value` starts a new
    /// pair all the same. Text without `=` is dropped.
    pub fn parse(body: &[u8]) -> Header {
        let mut pairs = Vec::new();
        for part in body.split(|&b| b == b';') {
            let mut pending: Option<(String, Vec<u8>)> = None;
            for line in part.split_inclusive(|&b| b == b'\n') {
                let equal = line.iter().position(|&b| b == b'=');
                match (equal, &mut pending) {
                    (Some(e), None) => pending = Some((trimmed(&line[..e]), line[e + 1..].to_vec())),
                    (Some(e), Some(_)) if key_like(&line[..e]) => {
                        if let Some((k, v)) = pending.take() {
                            pairs.push((k, trimmed(&v)));
                        }
                        pending = Some((trimmed(&line[..e]), line[e + 1..].to_vec()));
                    }
                    (_, Some((_, v))) => v.extend_from_slice(line),
                    (None, None) => {}
                }
            }
            if let Some((k, v)) = pending {
                pairs.push((k, trimmed(&v)));
            }
        }
        pairs.retain(|(k, _)| !k.is_empty());
        Header { pairs }
    }

    /// A value by key: `EDF_*` keys match exactly, all others whatever their case; the last duplicate wins.
    pub fn get(&self, key: &str) -> Option<&str> {
        let exact = key.starts_with("EDF_");
        let same = |k: &str| if exact { k == key } else { k.eq_ignore_ascii_case(key) };
        self.pairs.iter().rev().find(|(k, _)| same(k)).map(|(_, v)| v.as_str())
    }

    /// This header with the defaults of a general block under it: all its keys but `EDF_*`, `Size`, `Image`, `HeaderID`.
    pub fn over(&self, general: &Header) -> Header {
        let own = ["size", "image", "headerid"];
        let inherited = |k: &str| !k.starts_with("EDF_") && !own.contains(&k.to_ascii_lowercase().as_str());
        let mut pairs: Vec<_> = general.pairs.iter().filter(|(k, _)| inherited(k)).cloned().collect();
        pairs.extend(self.pairs.iter().cloned());
        Header { pairs }
    }

    /// Parallel lists: `motor` gives `motor_mne` / `motor_pos` as pairs. The second value is false where the two lists
    /// differ in length (the surplus is left out).
    pub fn lists(&self, stem: &str) -> (Vec<(String, String)>, bool) {
        let words = |suffix: &str| -> Vec<String> {
            let value = self.get(&format!("{stem}_{suffix}")).unwrap_or_default();
            value.split_whitespace().map(str::to_owned).collect()
        };
        let (names, values) = (words("mne"), words("pos"));
        let even = names.len() == values.len();
        (names.into_iter().zip(values).collect(), even)
    }

    /// `EDF_HeaderSize` where it is a number. Only advice: the header ends where its brace is.
    pub fn announced_len(&self) -> Option<u64> {
        self.get("EDF_HeaderSize").and_then(integer)
    }
}

/// A whole number as headers spell it: `2048`, ` 2048 `, `2048.0`, `2.048e3`. `None` for anything else.
pub fn integer(text: &str) -> Option<u64> {
    let t = text.trim();
    if let Ok(n) = t.parse::<u64>() {
        return Some(n);
    }
    let v: f64 = t.parse().ok()?;
    ((0.0..=9e15).contains(&v) && v.fract() == 0.0).then_some(v as u64)
}

/// Data outside the file: `EDF_BinaryFileName`, `…Position`, `…Size`.
#[derive(Clone, Debug, PartialEq)]
pub struct External {
    /// A plain file name beside the EDF file; anything with a folder in it is refused.
    pub name: String,
    /// First byte of the data in it.
    pub position: u64,
    /// Bytes that belong to the frame, where stated.
    pub size: Option<u64>,
}

/// What a header says about its pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// Dimensions, slowest first; at least two (`[rows, cols]`).
    pub dims: Vec<usize>,
    /// Type of the values.
    pub dtype: DType,
    /// Byte order of the values.
    pub order: ByteOrder,
    /// Bytes the dimensions and type call for.
    pub bytes: u64,
    /// Data outside the file.
    pub external: Option<External>,
}

/// Why a header cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// It breaks the rules.
    Broken(String),
    /// It uses something not supported.
    Unsupported(String),
}

/// Bytes of data the block announces: `EDF_BinarySize`, else `Size`.
pub fn declared_bytes(h: &Header, notes: &mut Warnings) -> Option<u64> {
    let mut found = None;
    for key in ["Size", "EDF_BinarySize"] {
        if let Some(text) = h.get(key) {
            match integer(text) {
                Some(n) => found = Some(n),
                None => notes.push(format!("{key} = '{text}' is not a number of bytes: ignored")),
            }
        }
    }
    found
}

/// Type by name, whatever its case. `SignedLong` and `UnsignedLong` are 32 bits wide for fabio and 64 for PyMca and
/// PyHST2: the announced size decides.
fn dtype_of(name: &str, values: u64, declared: Option<u64>) -> Result<DType, Refusal> {
    let n: String = name.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
    let long = values > 0 && declared.is_some_and(|d| d / values == 8);
    Ok(match n.as_str() {
        "signedbyte" | "signed8" => DType::I8,
        "unsignedbyte" | "unsigned8" => DType::U8,
        "signedshort" | "signed16" | "signedshortinteger" => DType::I16,
        "unsignedshort" | "unsigned16" | "unsignedshortinteger" => DType::U16,
        "signedlong" if long => DType::I64,
        "unsignedlong" if long => DType::U64,
        "signedinteger" | "signed32" | "signedlong" => DType::I32,
        "unsignedinteger" | "unsigned32" | "unsignedlong" => DType::U32,
        "signed64" => DType::I64,
        "unsigned64" => DType::U64,
        "floatvalue" | "float" | "floatieee32" | "float32" => DType::F32,
        "double" | "doublevalue" | "floatieee64" | "doubleieee64" => DType::F64,
        _ => return Err(Refusal::Unsupported(format!("DataType '{name}' is not supported"))),
    })
}

/// Reads the layout out of a header (already laid over the general block's defaults). Assumptions go to `notes`.
pub fn layout(h: &Header, notes: &mut Warnings) -> Result<Layout, Refusal> {
    if let Some(c) = h.get("Compression") {
        let upper = c.to_ascii_uppercase();
        if !(upper.is_empty() || upper.starts_with("NO")) {
            let what = format!("internal compression 'Compression = {c}' is not supported");
            return Err(Refusal::Unsupported(what));
        }
    }
    let mut dims = Vec::new();
    for i in 1..=16 {
        let key = format!("Dim_{i}");
        let Some(text) = h.get(&key) else {
            break;
        };
        let n = integer(text).filter(|n| *n > 0 && *n <= 1 << 40);
        dims.push(n.ok_or_else(|| Refusal::Broken(format!("{key} = '{text}' is not a size")))?);
    }
    if dims.is_empty() {
        return Err(Refusal::Broken("the header has no Dim_1".into()));
    }
    if dims.len() == 1 {
        notes.push("Dim_2 is missing: one row assumed");
        dims.push(1);
    }
    let too_large = || Refusal::Broken("the dimensions are beyond any real image".into());
    let values = dims.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).ok_or_else(too_large)?;
    let declared = declared_bytes(h, notes);
    let dtype = match h.get("DataType") {
        Some(name) => dtype_of(name, values, declared)?,
        None => {
            notes.push("DataType is missing: UnsignedShort assumed");
            DType::U16
        }
    };
    let order = match h.get("ByteOrder").map(str::to_ascii_lowercase) {
        Some(o) if o.contains("low") => ByteOrder::Little,
        Some(o) if o.contains("high") => ByteOrder::Big,
        other => {
            if dtype.size() > 1 {
                let found = other.map_or("is missing".to_owned(), |o| format!("= '{o}' is unknown"));
                notes.push(format!("ByteOrder {found}: LowByteFirst assumed"));
            }
            ByteOrder::Little
        }
    };
    let bytes = values.checked_mul(dtype.size() as u64).filter(|n| *n <= i64::MAX as u64 / 4).ok_or_else(too_large)?;
    dims.reverse();
    let external = match h.get("EDF_BinaryFileName").filter(|n| !n.is_empty()) {
        None => None,
        Some(name) => {
            // The name comes from the file, so it is not trusted: a plain name beside the EDF file or nothing.
            if name.contains(['/', '\\', ':']) || name == ".." || name == "." {
                return Err(Refusal::Unsupported(format!(
                    "EDF_BinaryFileName = '{name}' leaves the folder of the file: refused"
                )));
            }
            let number = |key: &str| match h.get(key) {
                None => Ok(None),
                Some(t) => integer(t).map(Some).ok_or_else(|| Refusal::Broken(format!("{key} = '{t}' is no number"))),
            };
            let position = number("EDF_BinaryFilePosition")?.unwrap_or(0);
            Some(External { name: name.to_owned(), position, size: number("EDF_BinaryFileSize")? })
        }
    };
    let dims = dims.into_iter().map(|d| d as usize).collect();
    Ok(Layout { dims, dtype, order, bytes, external })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lay(text: &str) -> (Result<Layout, Refusal>, Warnings) {
        let mut notes = Warnings::default();
        (layout(&Header::parse(text.as_bytes()), &mut notes), notes)
    }

    #[test]
    fn endings() {
        assert_eq!(find_end(b"{a=1;}\nX", 0), Some((5, 7)));
        assert_eq!(find_end(b"{a=1;}\r\nX", 0), Some((5, 8)));
        assert_eq!(find_end(b"{a=};}\r}\nX", 0), Some((7, 9)));
        assert_eq!(find_end(b"{a=1;}", 0), None);
        assert_eq!(find_end(b"{a=1;}\r", 0), None);
        assert_eq!(find_end(b"", 7), None);
    }

    #[test]
    fn pairs_liberal() {
        let h = Header::parse(
            b"\r\n Flip Y = take : 0.003s ;a=b=c;\0dim_1\0 = 4\0 ;\n Unit = \xb5m ; noise ; Dim_2 = 3\nByteOrder = Low\n; = x;",
        );
        assert_eq!(h.get("Flip Y"), Some("take : 0.003s"));
        assert_eq!(h.get("a"), Some("b=c"));
        assert_eq!(h.get("DIM_1"), Some("4"));
        assert_eq!(h.get("unit"), Some("µm"));
        assert_eq!(h.get("Dim_2"), Some("3"));
        assert_eq!(h.get("byteorder"), Some("Low"));
        assert_eq!(h.pairs.len(), 6);
        assert_eq!(Header::parse(b"Size=1;size=2;").get("SIZE"), Some("2"));
        assert_eq!(Header::parse(b"edf_headersize=1;").get("EDF_HeaderSize"), None);
    }

    #[test]
    fn lists_pair_up() {
        let h = Header::parse(b"motor_mne = srot sx ; motor_pos = 1.5 -2 ; counter_mne = a b ; counter_pos = 1 ;");
        assert_eq!(h.lists("motor"), (vec![("srot".into(), "1.5".into()), ("sx".into(), "-2".into())], true));
        assert_eq!(h.lists("counter"), (vec![("a".into(), "1".into())], false));
        assert_eq!(h.lists("none"), (vec![], true));
    }

    #[test]
    fn every_type_name() {
        use DType::*;
        let table: &[(DType, &[&str])] = &[
            (I8, &["SignedByte", "Signed8"]),
            (U8, &["UnsignedByte", "Unsigned8"]),
            (I16, &["SignedShort", "Signed16"]),
            (U16, &["UnsignedShort", "Unsigned16", "UnsignedShortInteger"]),
            (I32, &["SignedInteger", "Signed32", "SignedLong"]),
            (U32, &["UnsignedInteger", "Unsigned32", "UnsignedLong"]),
            (I64, &["Signed64"]),
            (U64, &["Unsigned64"]),
            (F32, &["FloatValue", "FLOATVALUE", "Float", "FLOAT", "FloatIEEE32", "Float32"]),
            (F64, &["Double", "DoubleValue", "FloatIEEE64", "DoubleIEEE64"]),
        ];
        for (want, names) in table {
            for name in *names {
                let (l, notes) = lay(&format!("Dim_1=4;Dim_2=3;ByteOrder=LowByteFirst;DataType={name};"));
                assert_eq!(l.unwrap().dtype, *want, "{name}");
                assert!(notes.is_empty());
            }
        }
        for name in ["QuadrupleValue", "FloatIEEE128", "Complex"] {
            let (l, _) = lay(&format!("Dim_1=4;Dim_2=3;DataType={name};"));
            assert!(matches!(l, Err(Refusal::Unsupported(w)) if w.contains(name)));
        }
    }

    #[test]
    fn long_is_decided_by_size() {
        for (size, signed, unsigned) in [(48, DType::I32, DType::U32), (96, DType::I64, DType::U64)] {
            let l = |t: &str| lay(&format!("Dim_1=4;Dim_2=3;ByteOrder=Low;DataType={t};Size={size};")).0.unwrap().dtype;
            assert_eq!((l("SignedLong"), l("UnsignedLong")), (signed, unsigned));
        }
    }

    #[test]
    fn assumptions_are_noted() {
        let (l, notes) = lay("Dim_1 = 2048.0 ; Dim_2 = 7");
        let l = l.unwrap();
        assert_eq!((l.dims, l.dtype, l.order, l.bytes), (vec![7, 2048], DType::U16, ByteOrder::Little, 2048 * 7 * 2));
        assert_eq!(notes.len(), 2, "{notes:?}");
        let (l, notes) = lay("Dim_1 = 5 ; DataType = Float; ByteOrder = highbytefirst; Size = many");
        let l = l.unwrap();
        assert_eq!((l.dims, l.order), (vec![1, 5], ByteOrder::Big));
        assert_eq!(notes.len(), 2, "{notes:?}");
    }

    #[test]
    fn nonsense_is_refused() {
        for (text, word) in [
            ("Dim_2 = 3;", "Dim_1"),
            ("Dim_1 = -3;", "Dim_1"),
            ("Dim_1 = 0;", "Dim_1"),
            ("Dim_1 = 2.5;", "Dim_1"),
            ("Dim_1 = 4; Dim_2 = wide", "Dim_2"),
            ("Dim_1 = 1e12; Dim_2 = 1e12; Dim_3 = 1e12", "dimensions"),
            ("Dim_1 = 1e11; Dim_2 = 1e12; Dim_3 = 8", "dimensions"),
        ] {
            match lay(text).0 {
                Err(Refusal::Broken(w)) => assert!(w.contains(word) || w.contains("Dim_"), "{text}: {w}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        for c in ["GZIP", "BZ2", "Z", "BYTE_OFFSET"] {
            let (l, _) = lay(&format!("Dim_1=1;Dim_2=1;Compression={c};"));
            assert!(matches!(l, Err(Refusal::Unsupported(w)) if w.contains(c)));
        }
        for ok in ["None", "NO_COMPRESSION", ""] {
            assert!(lay(&format!("Dim_1=1;Dim_2=1;Compression={ok};")).0.is_ok());
        }
        for name in ["../x", "/etc/passwd", "C:x", "a\\b", ".."] {
            let (l, _) = lay(&format!("Dim_1=1;Dim_2=1;EDF_BinaryFileName={name};"));
            assert!(matches!(l, Err(Refusal::Unsupported(_))), "{name}");
        }
    }

    #[test]
    fn general_block_gives_defaults() {
        let general = Header::parse(b"EDF_DataFormatVersion=2.40;Dim_1=8;Size=3;Image=9;HeaderID=x;Title=t;");
        let h = Header::parse(b"Dim_1=4;Dim_2=2;").over(&general);
        assert_eq!((h.get("Dim_1"), h.get("Title")), (Some("4"), Some("t")));
        for own in ["Size", "Image", "HeaderID", "EDF_DataFormatVersion"] {
            assert_eq!(h.get(own), None);
        }
    }
}
