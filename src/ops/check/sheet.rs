//! A contact sheet of a stack: the bad slices, marked, and some good ones between them.

use super::{Finding, Kind, Report, Weight};
use crate::ops::picture::{Window, common_window};
use std::path::{Path, PathBuf};
use tomokit_formats::png::canvas::{Anchor, Canvas, INK, MARKS, NAN, Type, WHITE};
use tomokit_formats::registry::open_volume;
use tomokit_formats::{Error, FrameSource, OpenOptions, Region, Result};

/// Edge of a small picture, pixels.
const EDGE: usize = 176;
/// Room for its two lines of caption.
const CAPTION: usize = 34;
const GAP: usize = 14;
/// Pictures per row and at most in all.
const ACROSS: usize = 6;
const MOST: usize = 36;
/// Of these at most bad ones.
const MOST_BAD: usize = 24;

/// Draws the sheet of a report and says where it is.
///
/// # Errors
/// Where the stack cannot be opened, or the picture exists.
pub fn draw(report: &Report, options: &OpenOptions, to: &Path, overwrite: bool) -> Result<PathBuf> {
    let (volume, _) = open_volume(&report.path, options)?;
    let source = &*volume.source;
    let n = source.shape().frames;
    if n == 0 {
        return Err(Error::caller("there is no slice to draw").path(&report.path));
    }
    let chosen = choose(report, n);
    let window = common_window(source, Window::Auto)?;
    let across = chosen.len().min(ACROSS);
    let down = chosen.len().div_ceil(ACROSS);
    let head = 64;
    let (width, height) = (GAP + across.max(4) * (EDGE + GAP), head + down * (EDGE + CAPTION + GAP) + GAP);
    let mut sheet = Canvas::new(width, height, WHITE);
    let name = report.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (large, small) = (Type::of_height(20), Type::of_height(14));
    sheet.text(
        GAP,
        20,
        Anchor::Left,
        large,
        INK,
        &large.fit(&format!("{name}: {:?}", report.verdict).to_lowercase_last(), width - 2 * GAP),
    );
    let bad = report.bad_slices().len();
    let line = format!("{n} slices, {bad} marked; grey from {:.4} to {:.4}", window.0, window.1);
    sheet.text(GAP, 46, Anchor::Left, small, INK, &small.fit(&line, width - 2 * GAP));
    for (i, z) in chosen.iter().enumerate() {
        let (x, y) = (GAP + i % ACROSS * (EDGE + GAP), head + i / ACROSS * (EDGE + CAPTION + GAP));
        let worst = worst(report, *z);
        let picture = small_picture(source, *z, window);
        let (w, h) = picture.as_ref().map_or((EDGE, EDGE), |p| (p.width, p.height));
        let (px, py) = (x + (EDGE - w) / 2, y + (EDGE - h) / 2);
        match &picture {
            Ok(p) => sheet.paste(p, px, py),
            Err(_) => {
                sheet.fill(px, py, w, h, [230, 230, 230]);
                sheet.text(x + EDGE / 2, y + EDGE / 2, Anchor::Middle, small, NAN, "cannot be read");
            }
        }
        let (colour, word) = match worst {
            Some(f) => (if f.weight == Weight::Broken { MARKS[0] } else { MARKS[3] }, kind_word(f.kind)),
            None => (INK, String::new()),
        };
        sheet.frame(px, py, w, h, if worst.is_some() { 4 } else { 1 }, colour);
        sheet.text(x, y + EDGE + 13, Anchor::Left, small, colour, &format!("slice {z}"));
        sheet.text(x, y + EDGE + 27, Anchor::Left, small, colour, &small.fit(&word, EDGE));
    }
    sheet.save(to, overwrite)
}

/// Lower case after the colon: the verdict reads as a word.
trait LowercaseLast {
    fn to_lowercase_last(&self) -> String;
}

impl LowercaseLast for String {
    fn to_lowercase_last(&self) -> String {
        self.rsplit_once(": ").map_or_else(|| self.clone(), |(a, b)| format!("{a}: {}", b.to_lowercase()))
    }
}

/// The name of a kind, as in `--json`, with blanks.
fn kind_word(kind: Kind) -> String {
    let json = serde_json::to_value(kind).ok().and_then(|v| v.as_str().map(str::to_owned));
    json.unwrap_or_default().replace('-', " ")
}

/// The heaviest finding about a slice.
fn worst(report: &Report, z: usize) -> Option<&Finding> {
    let about = |f: &&Finding| f.weight > Weight::Remark && f.slices.as_ref().is_some_and(|s| s.contains(&z));
    // The first of equals: the findings are sorted.
    report.findings.iter().filter(about).min_by_key(|f| std::cmp::Reverse(f.weight))
}

/// Bad slices, the ends of each run first, then good ones evenly spread; in order.
fn choose(report: &Report, n: usize) -> Vec<usize> {
    let bad = report.bad_slices();
    let mut chosen: Vec<usize> = Vec::new();
    let mut take = |z: usize, most: usize| {
        if z < n && chosen.len() < most && !chosen.contains(&z) {
            chosen.push(z);
        }
    };
    let runs = super::values::runs(&bad);
    for r in &runs {
        take(r.start, MOST_BAD);
        take(r.end - 1, MOST_BAD);
    }
    for z in &bad {
        take(*z, MOST_BAD);
    }
    // The healthy neighbours of each run, to compare with.
    for r in &runs {
        take(r.start.saturating_sub(1), MOST);
        take(r.end, MOST);
    }
    let even = 12.min(n);
    for i in 0..even {
        take((2 * i + 1) * n / (2 * even), MOST);
    }
    chosen.sort_unstable();
    chosen
}

/// A slice averaged down (or repeated up) to the small size.
fn small_picture(source: &dyn FrameSource, z: usize, (low, high): (f64, f64)) -> Result<Canvas> {
    let s = source.shape();
    let mut v = vec![0f32; s.frame_len()];
    source.read_f32(&Region::of_frames(s, z..z + 1), &mut Vec::new(), &mut v)?;
    let scale = EDGE as f64 / s.rows.max(s.cols) as f64;
    let (h, w) = (((s.rows as f64 * scale) as usize).max(1), ((s.cols as f64 * scale) as usize).max(1));
    let mut c = Canvas::new(w, h, WHITE);
    for y in 0..h {
        for x in 0..w {
            let rows = y * s.rows / h..((y + 1) * s.rows / h).max(y * s.rows / h + 1);
            let cols = x * s.cols / w..((x + 1) * s.cols / w).max(x * s.cols / w + 1);
            let (mut sum, mut n) = (0.0, 0u32);
            for r in rows {
                for v in &v[r * s.cols..][cols.clone()] {
                    sum += f64::from(*v);
                    n += 1;
                }
            }
            let mean = sum / f64::from(n.max(1));
            c.pixels[y * w + x] =
                if mean.is_finite() { [((mean - low) / (high - low) * 255.0).clamp(0.0, 255.0) as u8; 3] } else { NAN };
        }
    }
    Ok(c)
}
