//! The `.info` text beside `.vol` and `.raw` files: PyHST2's own dialect and every one met in the wild, read into one
//! struct. Guarantees: `s1` and `S1` stay apart (they differ by letter case only), a number that is none is an error
//! with its line. Leaves to others: whether the numbers fit the data file.

use crate::model::{GreyScale, VolumeStats};
use crate::{ByteOrder, DType, Error, Result, Shape};
use std::path::Path;

/// Longest `.info` or `.xml` read, bytes; real ones have some hundred.
pub const MAX_TEXT: u64 = 1 << 20;

/// What an `.info` (or `.vol.xml`) says. Every field may be missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Info {
    /// NUM_X, columns.
    pub x: Option<usize>,
    /// NUM_Y, rows.
    pub y: Option<usize>,
    /// NUM_Z, slices; missing means 1.
    pub z: Option<usize>,
    /// DATA_TYPE.
    pub dtype: Option<DType>,
    /// BYTEORDER; missing means little.
    pub order: Option<ByteOrder>,
    /// voxelSize in µm; missing, zero or negative means unknown.
    pub voxel_um: Option<f64>,
    /// Voxel edge along z, y, x in µm as our own comment tells it: the format itself knows one edge only.
    pub voxel_zyx_um: Option<[f64; 3]>,
    /// First voxel in the reconstructed grid, 1-based x, y, z (XML only).
    pub origin: [Option<usize>; 3],
    /// ValMin, ValMax, s1, s2, S1, S2.
    pub stats: [Option<f64>; 6],
    /// GREY_SLOPE, GREY_OFFSET, GREY_UNIT.
    pub grey: (Option<f64>, Option<f64>, Option<String>),
    /// Keys we do not know, in order.
    pub other: Vec<(String, String)>,
}

/// How the comment begins that tells the voxel's edges where they differ.
const EDGES: &str = "# voxel z y x in um:";

/// The comment that keeps the voxel's edges where they differ; nothing for cubes.
pub fn edges_comment(voxel_um: Option<[f64; 3]>) -> String {
    match voxel_um {
        Some([z, y, x]) if z != x || y != x => format!("{EDGES} {z} {y} {x}\n"),
        _ => String::new(),
    }
}

/// The edges out of that comment; `None` for any other line and for a damaged one.
fn edges(line: &str) -> Option<[f64; 3]> {
    let words = line.trim().strip_prefix(EDGES)?.split_whitespace();
    let numbers: Vec<f64> = words.map(|w| w.parse().ok()).collect::<Option<_>>()?;
    <[f64; 3]>::try_from(numbers).ok().filter(|v| v.iter().all(|e| e.is_finite() && *e > 0.0))
}

/// Names of the six statistics, in the order of [`Info::stats`].
pub const STATS: [&str; 6] = ["ValMin", "ValMax", "s1", "s2", "S1", "S2"];

impl Info {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Info> {
        Self::parse(&crate::io::read_small_text(path, MAX_TEXT)?, path)
    }

    /// Reads the text: `KEY = value` lines, blanks anywhere, `!` and `#` start comments, other lines are skipped.
    ///
    /// # Errors
    /// `File` where a size is no positive whole number, or a known key holds something unreadable.
    pub fn parse(text: &str, path: &Path) -> Result<Info> {
        let mut info = Info::default();
        for (n, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            info.voxel_zyx_um = edges(line).or(info.voxel_zyx_um);
            let line = line.split(['#', '!']).next().unwrap_or_default();
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let (key, value) = (key.trim(), value.trim().trim_matches('"').trim());
            info.set(key, value, path, n + 1)?;
        }
        Ok(info)
    }

    /// Takes one pair, from a line of an `.info` or an element of an `.xml`.
    pub fn set(&mut self, key: &str, value: &str, path: &Path, line: usize) -> Result<()> {
        let bad = |expected: &str| {
            Error::file(path, format!("line {line}: {key} is not readable"))
                .expected(expected)
                .found(format!("'{value}'"))
                .hint("correct the line, or give --dims and --dtype")
        };
        let size = || parse_size(value).ok_or_else(|| bad("a whole number of at least 1"));
        let number = || value.parse::<f64>().map_err(|_| bad("a number"));
        if let Some(i) = STATS.iter().position(|k| *k == key) {
            // A writer without statistics may leave the value out.
            self.stats[i] = if value.is_empty() { None } else { Some(number()?).filter(|v| v.is_finite()) };
            return Ok(());
        }
        match key.to_ascii_uppercase().as_str() {
            "NUM_X" | "SIZEX" => self.x = Some(size()?),
            "NUM_Y" | "SIZEY" => self.y = Some(size()?),
            "NUM_Z" | "SIZEZ" => self.z = Some(size()?),
            "ORIGINX" => self.origin[0] = parse_size(value),
            "ORIGINY" => self.origin[1] = parse_size(value),
            "ORIGINZ" => self.origin[2] = parse_size(value),
            "VOXELSIZE" => {
                self.voxel_um = if value.is_empty() { None } else { Some(number()?) };
                self.voxel_um = self.voxel_um.filter(|v| v.is_finite() && *v > 0.0);
            }
            "BYTEORDER" | "BYTE_ORDER" => {
                let v = value.to_ascii_lowercase();
                self.order = if v.contains("high") || v.contains("big") {
                    Some(ByteOrder::Big)
                } else if v.contains("low") || v.contains("little") {
                    Some(ByteOrder::Little)
                } else {
                    return Err(bad("LOWBYTEFIRST or HIGHBYTEFIRST"));
                };
            }
            "DATA_TYPE" | "DATATYPE" => {
                if value.eq_ignore_ascii_case("PACKED_BINARY") {
                    return Err(Error::unsupported(path, format!("line {line}: one bit per voxel (PACKED_BINARY)"))
                        .hint("convert it to uint8 with the program that wrote it"));
                }
                self.dtype = Some(DType::parse(value).ok_or_else(|| bad("a type such as uint8, uint16 or float32"))?);
            }
            "GREY_SLOPE" => self.grey.0 = Some(number()?),
            "GREY_OFFSET" => self.grey.1 = Some(number()?),
            "GREY_UNIT" => self.grey.2 = Some(value.to_owned()),
            _ => self.other.push((key.to_owned(), value.to_owned())),
        }
        Ok(())
    }

    /// The dimensions, where at least x and y are there.
    pub fn shape(&self) -> Option<Shape> {
        Some(Shape::new(self.z.unwrap_or(1), self.y?, self.x?))
    }

    /// Voxel edges along z, y, x in µm. The comment counts only beside the `voxelSize` it was written with, which is
    /// rounded to seven digits: a value corrected by hand since then is the newer one.
    pub fn voxel(&self) -> Option<[f64; 3]> {
        let edge = self.voxel_um?;
        let agrees = |v: &[f64; 3]| (v[2] - edge).abs() <= edge * 1e-6;
        Some(self.voxel_zyx_um.filter(agrees).unwrap_or([edge; 3]))
    }

    /// The statistics, where all six are there.
    pub fn volume_stats(&self) -> Option<VolumeStats> {
        let s = self.stats;
        Some(VolumeStats { min: s[0]?, max: s[1]?, s1: s[2]?, s2: s[3]?, big_s1: s[4]?, big_s2: s[5]? })
    }

    /// The grey scale, where slope and offset are there.
    pub fn grey_scale(&self) -> Option<GreyScale> {
        let unit = self.grey.2.clone().unwrap_or_default();
        Some(GreyScale { slope: self.grey.0?, offset: self.grey.1?, unit })
    }
}

/// A positive whole number, also when written `2048.0`.
fn parse_size(value: &str) -> Option<usize> {
    let whole = match value.split_once('.') {
        Some((w, zeros)) if zeros.bytes().all(|b| b == b'0') => w,
        Some(_) => return None,
        None => value,
    };
    whole.parse::<usize>().ok().filter(|n| *n > 0)
}

/// The word for a byte order.
pub fn order_name(order: ByteOrder) -> &'static str {
    match order {
        ByteOrder::Little => "LOWBYTEFIRST",
        ByteOrder::Big => "HIGHBYTEFIRST",
    }
}

/// C's `%.<digits>e`: at least two digits of exponent with a sign, as PyHST2 prints numbers.
pub fn c_exponent(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return if value.is_nan() { "nan".into() } else { if value > 0.0 { "inf" } else { "-inf" }.into() };
    }
    let text = format!("{value:.digits$e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let (sign, number) = exponent.strip_prefix('-').map_or(('+', exponent), |n| ('-', n));
            format!("{mantissa}e{sign}{number:0>2}")
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Info> {
        Info::parse(text, Path::new("x.vol.info"))
    }

    #[test]
    fn pyhst_dialect() {
        let text = "! PyHST_SLAVE VOLUME INFO FILE\nNUM_X =  640\nNUM_Y =  641\nNUM_Z =  2\nvoxelSize =  6.500000e-01\n\
                    BYTEORDER = LOWBYTEFIRST\nValMin =  -4.94218407e+01 \nValMax =  1.16725479e+02 \ns1 =  -4.0e+01 \n\
                    s2 =  1.1e+02 \nS1 =  -1.7e+01 \nS2 =  9.1e+01 \n";
        for text in [text.to_owned(), text.replace('\n', "\r\n"), format!("\u{feff}{text}")] {
            let i = parse(&text).unwrap();
            assert_eq!(i.shape(), Some(Shape::new(2, 641, 640)));
            assert_eq!((i.voxel_um, i.order, i.dtype), (Some(0.65), Some(ByteOrder::Little), None));
            let s = i.volume_stats().unwrap();
            assert_eq!((s.s1, s.big_s1, s.s2, s.big_s2), (-40.0, -17.0, 110.0, 91.0));
        }
    }

    #[test]
    fn edges_that_differ_are_in_a_comment() {
        let um = |text: &str| parse(text).unwrap().voxel();
        let ours = "voxelSize = 6.500000e-01\n# voxel z y x in um: 1.3 0.7 0.65\n";
        assert_eq!(um(ours), Some([1.3, 0.7, 0.65]));
        assert_eq!(um(&format!("{ours}NUM_X = 5\r\n")), Some([1.3, 0.7, 0.65]));
        // More digits than voxelSize has.
        assert_eq!(
            um("voxelSize = 6.512346e-01\n# voxel z y x in um: 1.3 1 0.65123456789"),
            Some([1.3, 1.0, 0.65123456789])
        );
        // Corrected by hand, damaged, of no use: the comment does not count.
        for (size, edges) in [
            ("0.66", "1.3 0.65 0.65"),
            ("0.65", "1.3 0.65"),
            ("0.65", "1.3 0.65 0.65 0.65"),
            ("0.65", "1.3 zero 0.65"),
            ("0.65", "-1.3 0.65 0.65"),
            ("0.65", "inf 0.65 0.65"),
            ("0.65", "NaN 0.65 0.65"),
            ("0.65", ""),
        ] {
            let text = format!("voxelSize = {size}\n# voxel z y x in um: {edges}\n");
            assert_eq!(um(&text), Some([size.parse().unwrap(); 3]), "{text}");
        }
        assert_eq!(um("# voxel z y x in um: 1.3 0.65 0.65\n"), None);
        assert_eq!(um(&format!("voxelSize = 0.65\n{}", edges_comment(Some([0.65; 3])))), Some([0.65; 3]));
    }

    #[test]
    fn other_dialects() {
        for (text, shape, dtype, order) in [
            ("! PyHST VOLUME INFO FILE\nNUM_X = 5\nNUM_Y = 4\nNUM_Z = 3\n", (3, 4, 5), None, None),
            ("NUM_X =    5\nNUM_Y =    4\nNUM_Z =    3\nDATA_TYPE = uint16", (3, 4, 5), Some(DType::U16), None),
            ("NUM_X=5\nNUM_Y=4", (1, 4, 5), None, None),
            ("# c\n  NUM_Y =4.0 # rows\n\nnonsense\nNUM_X\t= 5\nNUM_Z = 2", (2, 4, 5), None, None),
            (
                "[info]\nBYTEORDER = HighByteFirst\nNUM_X = 5\nNUM_Z = 1\nNUM_Y = 4",
                (1, 4, 5),
                None,
                Some(ByteOrder::Big),
            ),
            ("NUM_X = 9\nNUM_X = 5\nNUM_Y = 4\nvoxelSize = 0\nUSER = a=b", (1, 4, 5), None, None),
        ] {
            let i = parse(text).unwrap();
            let (f, r, c) = shape;
            assert_eq!(i.shape(), Some(Shape::new(f, r, c)), "{text}");
            assert_eq!((i.dtype, i.order, i.voxel_um), (dtype, order, None), "{text}");
        }
        assert_eq!(parse("").unwrap().shape(), None);
    }

    #[test]
    fn nonsense_is_refused_with_its_line() {
        for (text, word) in [
            ("\nNUM_X = 99999999999999999999\n", "line 2"),
            ("NUM_X = -5", "NUM_X"),
            ("NUM_X = 0", "NUM_X"),
            ("NUM_Z = ", "NUM_Z"),
            ("NUM_X = 1.5", "1.5"),
            ("ValMin = abc", "ValMin"),
            ("BYTEORDER = sideways", "sideways"),
            ("DATA_TYPE = complex", "complex"),
            ("DATA_TYPE = PACKED_BINARY", "one bit"),
        ] {
            let e = parse(text).unwrap_err().to_string();
            assert!(e.contains(word), "{text}: {e}");
        }
    }

    #[test]
    fn exponents_as_c_prints_them() {
        for (v, digits, text) in [
            (-49.42184066772461, 8, "-4.94218407e+01"),
            (0.65, 6, "6.500000e-01"),
            (0.0, 6, "0.000000e+00"),
            (1.0842022e-19, 8, "1.08420220e-19"),
            (1e300, 2, "1.00e+300"),
            (f64::NAN, 8, "nan"),
        ] {
            assert_eq!(c_exponent(v, digits), text);
        }
    }
}
