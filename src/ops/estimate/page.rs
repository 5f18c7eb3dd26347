//! The estimate as one HTML page with the chart in it, and as CSV.

use super::chart::Chart;
use super::sample::CopyKind;
use super::{Estimate, Row};
use crate::ops::{html, tables};
use std::path::Path;
use tomokit_formats::{Error, Result};

/// Columns of the CSV; the last line is the sum.
const COLUMNS: [&str; 20] = [
    "name",
    "scans",
    "cols",
    "rows",
    "projections",
    "references",
    "volume_x",
    "volume_y",
    "volume_z",
    "volumes",
    "copies",
    "raw_bytes",
    "edf_bytes",
    "volume_bytes",
    "copy_bytes",
    "bytes_per_scan",
    "files_per_scan",
    "total_bytes",
    "total_gb",
    "total_gib",
];

fn kinds(copies: &[CopyKind]) -> String {
    let names: Vec<String> =
        copies.iter().filter_map(|c| serde_json::to_value(c).ok()?.as_str().map(str::to_owned)).collect();
    names.join("+")
}

fn units(bytes: u64) -> [String; 3] {
    [bytes.to_string(), format!("{:.3}", bytes as f64 / 1e9), format!("{:.3}", bytes as f64 / f64::from(1 << 30))]
}

fn cells(r: &Row) -> Vec<String> {
    let s = &r.sample;
    let numbers =
        [s.scans, s.cols, s.rows, s.projections, s.references, s.volume[0], s.volume[1], s.volume[2], s.volumes];
    let sizes =
        [r.per_scan.raw, r.per_scan.edf, r.per_scan.volumes, r.per_scan.copies, r.per_scan_bytes, r.per_scan.files];
    let mut row = vec![s.name.clone()];
    row.extend(numbers.map(|n| n.to_string()));
    row.push(kinds(&s.copies));
    row.extend(sizes.map(|n| n.to_string()));
    row.extend(units(r.total_bytes));
    row
}

/// Writes one line per kind of scan and the sum.
pub fn csv(e: &Estimate, path: &Path, overwrite: bool) -> Result<()> {
    tables::csv_file(path, overwrite, &COLUMNS, |put| {
        for r in &e.samples {
            put(&cells(r))?;
        }
        let mut sum = vec!["total".to_owned()];
        sum.resize(COLUMNS.len() - 3, String::new());
        sum[1] = e.samples.iter().map(|r| r.sample.scans).sum::<u64>().to_string();
        sum.extend(units(e.total_bytes));
        put(&sum)
    })
}

/// How numbers are printed: bytes in both ways of counting, and hours.
pub struct Words<'a> {
    /// `51.1 GB (47.6 GiB)`.
    pub both: &'a dyn Fn(u64) -> String,
    /// `2 h 05 min`, from hours.
    pub hours: &'a dyn Fn(f64) -> String,
    /// `today`.
    pub date: String,
}

/// Writes the page; `lines` are the answers in words, a sentence each, and true where one is bad news.
pub fn html(e: &Estimate, lines: &[(String, bool)], words: &Words<'_>, path: &Path, overwrite: bool) -> Result<()> {
    tables::text_file(path, overwrite, |out| {
        let mut put = |text: String| out.write_all(text.as_bytes()).map_err(|e| Error::io(path, "writing", e));
        put(html::head("How much data, how many disks"))?;
        put("<table>".into())?;
        let right = [1, 2, 3, 4, 5, 6];
        put(html::headings(
            &["kind of scan", "scans", "columns × rows × projections", "volume", "per scan", "files per scan", "total"],
            &right,
        ))?;
        for r in &e.samples {
            let s = &r.sample;
            let [x, y, z] = s.volume;
            let row = [
                s.name.clone(),
                s.scans.to_string(),
                format!("{} × {} × {}", s.cols, s.rows, s.projections),
                format!("{x} × {y} × {z}"),
                (words.both)(r.per_scan_bytes),
                r.per_scan.files.to_string(),
                (words.both)(r.total_bytes),
            ];
            put(html::cells(&row, &right))?;
        }
        let scans: u64 = e.samples.iter().map(|r| r.sample.scans).sum();
        let blank = String::new;
        let sum = [
            "all".to_owned(),
            scans.to_string(),
            blank(),
            blank(),
            blank(),
            e.total.files.to_string() + " in all",
            (words.both)(e.total_bytes),
        ];
        put(html::cells(&sum, &right))?;
        put("</table>\n<table>".into())?;
        let t = &e.total;
        for (name, bytes) in [
            ("raw (projections, flats, darks)", t.raw),
            ("the same as EDF", t.edf),
            ("32-bit volumes", t.volumes),
            ("8 and 16-bit copies, TIFF series", t.copies),
        ] {
            if bytes > 0 {
                put(html::cells(&[name.to_owned(), (words.both)(bytes)], &[1]))?;
            }
        }
        put("</table>\n<ul>\n".into())?;
        for (line, bad) in lines {
            let class = if *bad { " class=\"bad\"" } else { "" };
            put(format!("<li{class}>{}</li>\n", html::escape(line)))?;
        }
        put("</ul>\n".into())?;
        put(Chart::of(e).svg())?;
        put("<table>".into())?;
        put(html::headings(
            &["copying at", "everything in", "waiting at the end", "copied after the end"],
            &[0, 1, 2, 3],
        ))?;
        for c in &e.copying {
            let row = [
                format!("{:.0} MB/s", c.bytes_per_s / 1e6),
                (words.hours)(c.hours),
                c.backlog.map_or("–".into(), |b| (words.both)(b as u64)),
                c.hours_after.map_or("–".into(), |h| (words.hours)(h)),
            ];
            put(html::cells(&row, &[0, 1, 2, 3]))?;
        }
        put("</table>\n".into())?;
        if !e.notes.is_empty() {
            put("<p>Assumed:</p><ul>\n".into())?;
            for n in &e.notes {
                put(format!("<li>{}</li>\n", html::escape(n)))?;
            }
            put("</ul>\n".into())?;
        }
        put(html::foot(&words.date))
    })
}
