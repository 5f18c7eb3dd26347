//! What a TIFF file says about itself in words: ImageDescription in the dialects of ImageJ, tifffile and OME, the
//! resolution tags, and the text this project writes.
//!
//! ImageJ's dialect (ij/io/FileSaver, FileOpener): first line `ImageJ=version`, then `key=value` lines; `unit` names
//! the unit of X/YResolution and of `spacing` (the slice distance); `cf=0`, `c0`, `c1`, `vunit` are a straight-line
//! calibration of grey levels, which Fiji applies when it shows values.

use super::file::File;
use super::page::Directory;
use crate::model::units::length_to_um;
use crate::model::{GreyScale, VolumeMeta};
use crate::{Error, Result, Warnings};
use std::fmt::Write;

/// The parsed ImageDescription of a first page.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Description {
    /// The text as it is.
    pub text: String,
    /// `imagej`, `ome`, `tifffile`, `tomokit`, or empty for free text.
    pub dialect: &'static str,
    /// Number of images where the text announces them as one run behind the first directory.
    pub images: Option<u64>,
    /// Channels, slices and time points of an ImageJ hyperstack.
    pub hyper: [Option<u64>; 3],
    unit: String,
    unit_um: Option<f64>,
    spacing: Option<f64>,
    grey: Option<GreyScale>,
    value_unit: Option<String>,
    note: Option<String>,
    ome_um: [Option<f64>; 3],
}

impl Description {
    /// Parses a description; unknown text is kept as it is.
    pub(super) fn parse(text: &str) -> Description {
        let mut d = Description { text: text.trim_end().to_owned(), ..Default::default() };
        let head = text.trim_start();
        if head.starts_with("ImageJ=") || head.starts_with("tomokit=") {
            d.dialect = if head.starts_with("ImageJ=") { "imagej" } else { "tomokit" };
            d.lines(head);
        } else if head.starts_with('{') {
            d.json(head);
        } else if head.starts_with('<') && head.contains("<OME") {
            d.dialect = "ome";
            for (i, axis) in ["Z", "Y", "X"].iter().enumerate() {
                let unit = attribute(head, &format!("PhysicalSize{axis}Unit")).unwrap_or("µm");
                let size = attribute(head, &format!("PhysicalSize{axis}")).and_then(|v| v.parse::<f64>().ok());
                d.ome_um[i] = size.zip(length_to_um(unit)).map(|(s, u)| s * u).filter(|v| *v > 0.0 && v.is_finite());
            }
        }
        d
    }

    fn lines(&mut self, text: &str) {
        let (mut c0, mut c1, mut straight) = (None, None, false);
        for (key, value) in text.lines().filter_map(|l| l.split_once('=')) {
            let value = value.trim();
            let number = || value.parse::<f64>().ok().filter(|v| v.is_finite());
            match key.trim() {
                "images" => self.images = value.parse().ok(),
                "channels" => self.hyper[0] = value.parse().ok(),
                "slices" => self.hyper[1] = value.parse().ok(),
                "frames" => self.hyper[2] = value.parse().ok(),
                "unit" => {
                    self.unit = unescape(value);
                    self.unit_um = length_to_um(&self.unit);
                }
                "spacing" => self.spacing = number().map(f64::abs).filter(|v| *v > 0.0),
                "cf" => straight = value == "0",
                "c0" => c0 = number(),
                "c1" => c1 = number(),
                "vunit" if !value.is_empty() => self.value_unit = Some(unescape(value)),
                "note" => self.note = Some(unescape(value)),
                _ => {}
            }
        }
        if let (true, Some(offset), Some(slope)) = (straight, c0, c1) {
            self.grey = Some(GreyScale { slope, offset, unit: self.value_unit.clone().unwrap_or_default() });
        }
    }

    fn json(&mut self, text: &str) {
        let Ok(v) = serde_json::from_str::<serde_json::Value>(text) else {
            return;
        };
        self.dialect = "tifffile";
        // tifffile writes a run behind one directory where asked to truncate the chain.
        if v.get("truncated").and_then(serde_json::Value::as_bool) == Some(true)
            && let Some(shape) = v.get("shape").and_then(serde_json::Value::as_array)
            && shape.len() > 2
        {
            let dims = shape[..shape.len() - 2].iter().map(serde_json::Value::as_u64);
            self.images = dims.into_iter().try_fold(1u64, |n, d| n.checked_mul(d?));
        }
        self.spacing = v.get("spacing").and_then(serde_json::Value::as_f64).filter(|s| *s > 0.0);
        self.unit_um = v.get("unit").and_then(serde_json::Value::as_str).and_then(length_to_um);
    }
}

/// Value of an XML attribute by plain search: the first `name="value"`.
fn attribute<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let pattern = format!(" {name}=\"");
    let from = text.find(&pattern)? + pattern.len();
    text[from..].split('"').next()
}

/// Reads the description of a file's first page.
pub(super) fn description(file: &File) -> Description {
    // A damaged description is no reason to refuse the image.
    Description::parse(&file.description(0).unwrap_or_default())
}

/// Metadata of the volume: voxel size, grey scale, free text. What had to be assumed goes to `warnings`.
pub(super) fn meta(file: &File, about: &Description, warnings: &mut Warnings) -> VolumeMeta {
    let mut meta = VolumeMeta {
        grey: about.grey.clone(),
        value_unit: about.value_unit.clone(),
        description: about.note.clone().or_else(|| {
            Some(about.text.clone()).filter(|t| !t.is_empty() && matches!(about.dialect, "" | "ome" | "tifffile"))
        }),
        ..Default::default()
    };
    let [z, y, x] = about.ome_um;
    let pixel = match (y, x) {
        (Some(y), Some(x)) => Some([y, x]),
        _ => file.pages().first().and_then(|p| pixel_um(file, p, about)),
    };
    if let Some([y, x]) = pixel {
        let z = z.or_else(|| about.spacing.map(|s| s * about.unit_um.unwrap_or(1.0)));
        if z.is_none() && (about.images.unwrap_or(1) > 1 || file.pages().len() > 1) {
            warnings.push("no slice spacing in the file: taken equal to the pixel height");
        }
        meta.voxel_um = Some([z.unwrap_or(y), y, x]);
    }
    meta
}

/// Pixel size from the resolution tags, vertical then horizontal. Dots per inch are a print density (72, 96, 300 by
/// default in many programs) and are never taken for a voxel size; neither is "1 per cm".
fn pixel_um(file: &File, page: &Directory, about: &Description) -> Option<[f64; 2]> {
    let [y, x] = resolution(file, page)?;
    let unit = match (about.unit_um, page.resolution_unit) {
        // ImageJ lets the text's unit win, but for "um" beside centimetres (FileOpener.decodeDescriptionString).
        (Some(u), r) if about.dialect == "imagej" && !(r == 3 && about.unit == "um") => u,
        (_, 3) if (y, x) != (1.0, 1.0) => 1e4,
        (Some(u), 1) => u,
        _ => return None,
    };
    // Rationals of 32-bit numbers carry nine digits; the rest is noise of the division.
    let clean = |v: f64| format!("{v:.8e}").parse().unwrap_or(v);
    Some([clean(unit / y), clean(unit / x)])
}

/// Pixels per unit, vertical then horizontal.
pub(super) fn resolution(file: &File, page: &Directory) -> Option<[f64; 2]> {
    let [y, x] = page.resolution.map(|e| e?.number(&file.at, file.order()).ok().filter(|v| *v > 0.0 && v.is_finite()));
    Some([y?, x?])
}

/// What a writer records: shape, voxel size, grey scale.
pub(super) struct Record<'a> {
    /// Images announced as one plain run; `None` where pages are compressed or the file is one slice of many.
    pub run: Option<usize>,
    /// Metadata.
    pub meta: &'a VolumeMeta,
    /// Display range.
    pub range: Option<(f64, f64)>,
    /// `ImageJ` or `tomokit` (BigTIFF, which ImageJ cannot read and where its prefix is out of place).
    pub imagej: bool,
}

/// The ImageDescription this project writes. ASCII only, lines end in LF, as ImageJ wants it.
pub(super) fn write(r: &Record<'_>) -> String {
    let mut s =
        String::from(if r.imagej { "ImageJ=1.54f\n" } else { concat!("tomokit=", env!("CARGO_PKG_VERSION"), "\n") });
    // Writing to a string cannot fail.
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(s, "{key}={value}");
    };
    if let Some(n) = r.run {
        line("images", &n);
        if n > 1 {
            line("slices", &n);
        }
    }
    if let Some([z, _, _]) = r.meta.voxel_um {
        line("unit", &"micron");
        line("spacing", &z);
    }
    line("loop", &"false");
    if let Some((min, max)) = r.range {
        line("min", &min);
        line("max", &max);
    }
    if let Some(g) = &r.meta.grey {
        line("cf", &0);
        line("c0", &g.offset);
        line("c1", &g.slope);
    }
    let unit = r.meta.grey.as_ref().map(|g| g.unit.as_str()).filter(|u| !u.is_empty());
    if let Some(unit) = unit.or(r.meta.value_unit.as_deref()) {
        line("vunit", &escape(unit));
    }
    if let Some(note) = &r.meta.description {
        line("note", &escape(note));
    }
    s
}

/// Undoes [`escape`].
fn unescape(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    let mut rest = s.chars();
    while let Some(c) = rest.next() {
        let tail = rest.as_str();
        let code = || u32::from_str_radix(tail.get(1..5)?, 16).ok().and_then(char::from_u32);
        match (c, tail.chars().next()) {
            ('\\', Some('u')) if code().is_some() => {
                out.extend(code());
                rest = tail[5..].chars();
            }
            ('\\', Some('n')) => {
                out.push('\n');
                rest.next();
            }
            ('\\', Some('\\')) => {
                out.push('\\');
                rest.next();
            }
            _ => out.push(c),
        }
    }
    out
}

/// The way of Java's properties, which ImageJ reads: µ as \u00B5, one line.
fn escape(s: &str) -> String {
    s.chars().fold(String::new(), |mut out, c| {
        match c {
            '\n' => out.push_str("\\n"),
            '\\' => out.push_str("\\\\"),
            c if c.is_ascii() && !c.is_control() => out.push(c),
            c if c.is_control() => out.push(' '),
            c => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
        }
        out
    })
}

/// Turns pixels per unit into a TIFF rational: the best fraction of two 32-bit numbers (continued fractions).
pub(super) fn rational(v: f64) -> Result<[u32; 2]> {
    if !(v.is_finite() && v > 1.0 / f64::from(u32::MAX) && v < f64::from(u32::MAX)) {
        return Err(Error::caller("this voxel size cannot be stored in a TIFF file").found(v));
    }
    let (mut a, mut b) = ([0u64, 1u64], [1u64, 0u64]);
    let mut x = v;
    for _ in 0..40 {
        let i = x.floor();
        let next = |p: [u64; 2]| {
            (i as u64).checked_mul(p[1]).and_then(|m| m.checked_add(p[0])).filter(|n| *n <= u64::from(u32::MAX))
        };
        let (Some(n), Some(d)) = (next(a), next(b)) else {
            break;
        };
        (a, b) = ([a[1], n], [b[1], d]);
        if x == i || ((n as f64 / d as f64 - v) / v).abs() < 1e-15 {
            break;
        }
        x = 1.0 / (x - i);
    }
    Ok([a[1] as u32, b[1] as u32])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let meta = VolumeMeta {
            voxel_um: Some([0.65, 0.65, 0.65]),
            grey: Some(GreyScale { slope: 0.0125, offset: -3.5, unit: "1/cm".into() }),
            description: Some("bone µm\nsecond \\line".into()),
            ..Default::default()
        };
        let text = write(&Record { run: Some(7), meta: &meta, range: Some((0.0, 255.0)), imagej: true });
        assert!(text.is_ascii() && text.starts_with("ImageJ=1.54f\nimages=7\nslices=7\nunit=micron\nspacing=0.65\n"));
        let d = Description::parse(&text);
        assert_eq!((d.images, d.spacing, d.unit_um), (Some(7), Some(0.65), Some(1.0)));
        assert_eq!(d.grey, meta.grey);
        assert_eq!(d.note.as_deref(), Some("bone µm\nsecond \\line"));
    }

    #[test]
    fn dialects() {
        let d = Description::parse("{\"shape\": [3, 4, 5, 6], \"truncated\": true}");
        assert_eq!((d.images, d.dialect), (Some(12), "tifffile"));
        assert_eq!(Description::parse("{\"shape\": [3, 4, 5]}").images, None);
        let d = Description::parse(
            "<?xml version=\"1.0\"?><OME><Pixels PhysicalSizeX=\"650\" PhysicalSizeXUnit=\"nm\" PhysicalSizeY=\"0.65\"/></OME>",
        );
        assert_eq!(d.ome_um, [None, Some(0.65), Some(0.65)]);
        assert_eq!(Description::parse("images=9").images, None);
    }

    #[test]
    fn rationals_are_close() {
        for v in [1.0 / 0.65, 1.0 / 3.0517, 1e4 / 0.162, 72.0, 1e-6, 4e9, 1.0 / 0.07] {
            let [n, d] = rational(v).unwrap();
            assert!((f64::from(n) / f64::from(d) / v - 1.0).abs() < 1e-9, "{v} {n}/{d}");
        }
        assert_eq!(rational(1.0 / 0.65).unwrap(), [20, 13]);
        assert!(rational(0.0).is_err() && rational(f64::NAN).is_err());
    }
}
