//! Pictures of slices: grey window, colour bar, scale bar, title; and grids of them.
//!
//! Guarantees: the window used and the number of pixels that are not numbers are returned, and the latter are drawn in
//! a colour of their own; large slices are averaged down, small ones enlarged, so that the text is legible. Leaves to
//! others: files ([`super::encode`]) and where slices come from.

use super::canvas::{Anchor, Canvas, FAINT, INK, NAN, Type, WHITE};
use super::ticks;

/// The grey window: what becomes black and white.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Window {
    /// These values.
    Fixed {
        /// Becomes black.
        low: f64,
        /// Becomes white.
        high: f64,
    },
    /// Leaves out this share of the values at each end (0.005 = 0.5 %). NaN and infinities never count.
    Tails {
        /// Share at each end, between 0 and 0.5.
        share: f64,
        /// Also leave out exact zeros: what lies outside the reconstructed field.
        skip_zeros: bool,
    },
}

impl Default for Window {
    fn default() -> Self {
        Window::Tails { share: 0.005, skip_zeros: false }
    }
}

impl Window {
    /// The limits for these values, always finite and `low < high`. Looks at no more than about a million of them.
    pub fn limits(&self, values: &[f32]) -> (f64, f64) {
        let (low, high) = match *self {
            Window::Fixed { low, high } => (low, high),
            Window::Tails { share, skip_zeros } => {
                // An odd step, so that no multiple of the width samples one column only.
                let step = (values.len() >> 20) | 1;
                let wanted = |v: &f32| v.is_finite() && !(skip_zeros && *v == 0.0);
                let mut sample: Vec<f32> = values.iter().step_by(step).copied().filter(wanted).collect();
                if sample.is_empty() {
                    (0.0, 1.0)
                } else {
                    let cut = ((sample.len() - 1) as f64 * share.clamp(0.0, 0.5)).round() as usize;
                    let last = sample.len() - 1;
                    let mut at = |i: usize| f64::from(*sample.select_nth_unstable_by(i, f32::total_cmp).1);
                    (at(cut), at(last - cut))
                }
            }
        };
        match (low.is_finite() && high.is_finite(), low < high) {
            (true, true) => (low, high),
            (true, false) => {
                let half = (low.abs() * 1e-3).max(0.5);
                (low - half, low + half)
            }
            _ => (0.0, 1.0),
        }
    }
}

/// How pictures are drawn.
#[derive(Clone, Debug)]
pub struct Style<'a> {
    /// The grey window.
    pub window: Window,
    /// Size of a pixel in µm, vertical then horizontal; without it there is no scale bar.
    pub pixel_um: Option<[f64; 2]>,
    /// Unit of the values (`1/cm`), may be empty.
    pub unit: &'a str,
    /// Draw the colour bar.
    pub colour_bar: bool,
    /// Draw the scale bar.
    pub scale_bar: bool,
    /// Longest side of the image in the picture; longer ones are averaged down by a whole factor.
    pub max_size: usize,
}

impl Default for Style<'_> {
    fn default() -> Self {
        Style { window: Window::default(), pixel_um: None, unit: "", colour_bar: true, scale_bar: true, max_size: 2048 }
    }
}

/// A drawn picture and what was used to draw it.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The picture.
    pub canvas: Canvas,
    /// Value drawn black.
    pub low: f64,
    /// Value drawn white.
    pub high: f64,
    /// Pixels that are not a number.
    pub nan: u64,
}

/// One image to draw: `rows × cols` values and its caption.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a> {
    /// Values, row by row.
    pub values: &'a [f32],
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Title or label: file name and slice number.
    pub title: &'a str,
}

/// How an image is brought to the size it is drawn at.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Fit {
    /// Values averaged per side.
    down: usize,
    /// Repeats of a (possibly averaged) value, vertically and horizontally.
    up: [usize; 2],
}

impl Fit {
    fn of(rows: usize, cols: usize, max_size: usize, least: usize) -> Fit {
        let longest = rows.max(cols).max(1);
        let down = longest.div_ceil(max_size.max(64));
        let (r, c) = (rows.div_ceil(down), cols.div_ceil(down));
        let same = (least / r.max(c).max(1)).max(1);
        // Strips (a sinogram of two rows) are drawn broader, else there is nothing to see.
        let broad = |n: usize, other: usize| (other / 8).div_ceil(n.max(1)).max(1);
        Fit { down, up: [same * broad(r, c), same * broad(c, r)] }
    }

    fn size(&self, rows: usize, cols: usize) -> (usize, usize) {
        (rows.div_ceil(self.down) * self.up[0], cols.div_ceil(self.down) * self.up[1])
    }

    /// A line for the footer where rows and columns are not drawn alike.
    fn note(&self) -> String {
        match self.up {
            [r, c] if r > c => format!("rows drawn {} times taller", r / c),
            [r, c] if c > r => format!("columns drawn {} times wider", c / r),
            _ => String::new(),
        }
    }
}

/// Draws values alone, without any text. Returns the picture and the number of NaN.
fn shade(s: &Slice<'_>, low: f64, high: f64, fit: Fit) -> (Canvas, u64) {
    let (height, width) = fit.size(s.rows, s.cols);
    let mut canvas = Canvas::new(width, height, WHITE);
    let nan = s.values.iter().filter(|v| v.is_nan()).count() as u64;
    let scale = 255.0 / (high - low);
    let small = width / fit.up[1];
    let (mut sums, mut counts, mut cells) = (vec![0f64; small], vec![0u32; small], vec![0u32; small]);
    for (i, band) in s.values.chunks(s.cols * fit.down).take(s.rows.div_ceil(fit.down)).enumerate() {
        sums.fill(0.0);
        counts.fill(0);
        cells.fill(0);
        for row in band.chunks(s.cols) {
            for (j, part) in row.chunks(fit.down).enumerate() {
                for v in part {
                    cells[j] += 1;
                    if !v.is_nan() {
                        // Infinities are drawn as the end of the window, not smeared over their neighbours.
                        sums[j] += f64::from(*v).clamp(f64::from(f32::MIN), f64::from(f32::MAX));
                        counts[j] += 1;
                    }
                }
            }
        }
        let top = i * fit.up[0];
        for j in 0..small {
            // A block is NaN where most of it is.
            let colour = if counts[j] * 2 < cells[j] || counts[j] == 0 {
                NAN
            } else {
                // Rounded by the cast: a call of `round` per pixel is what takes the time.
                let grey = ((sums[j] / f64::from(counts[j]) - low) * scale + 0.5).clamp(0.0, 255.0) as u8;
                [grey; 3]
            };
            canvas.pixels[top * width + j * fit.up[1]..][..fit.up[1]].fill(colour);
        }
        for r in 1..fit.up[0] {
            canvas.pixels.copy_within(top * width..(top + 1) * width, (top + r) * width);
        }
    }
    (canvas, nan)
}

/// The colour bar: black to white with numbers, its unit above.
struct Bar {
    ticks: ticks::Ticks,
    low: f64,
    high: f64,
    head: String,
    size: Type,
}

impl Bar {
    fn new(low: f64, high: f64, unit: &str, height: usize, size: Type) -> Bar {
        let ticks = ticks::ticks(low, high, (height / (size.height() * 3)).clamp(2, 8));
        let head = [ticks.factor.as_str(), unit].join(" ").trim().to_owned();
        Bar { ticks, low, high, head, size }
    }

    fn thick(&self) -> usize {
        self.size.height()
    }

    fn width(&self) -> usize {
        let labels = self.ticks.marks.iter().map(|m| self.size.width(&m.1)).max().unwrap_or(0);
        (self.thick() + self.thick() / 2 + labels + 2).max(self.size.width(&self.head))
    }

    fn draw(&self, to: &mut Canvas, x: usize, y: usize, height: usize) {
        let t = self.size.height();
        let (top, line) = if self.head.is_empty() { (y, line_of(t)) } else { (y + t * 3 / 2, line_of(t)) };
        to.text(x, y + t / 2, Anchor::Left, self.size, INK, &self.head);
        let h = (y + height).saturating_sub(top).max(2);
        for i in 0..h {
            let grey = 255 - (i * 255 / (h - 1)) as u8;
            to.fill(x, top + i, self.thick(), 1, [grey; 3]);
        }
        to.frame(x, top, self.thick(), h, line, FAINT);
        for (v, label) in &self.ticks.marks {
            let at = top as f64 + (h - 1) as f64 * (1.0 - (v - self.low) / (self.high - self.low));
            let at = at.round().max(0.0) as usize;
            to.fill(x + self.thick(), at, t / 4, line, INK);
            // The first and last number stay within the height of the picture.
            let mid = at.clamp(top + t / 2, (top + h).saturating_sub(t / 2).max(top + t / 2));
            to.text(x + self.thick() + t / 2, mid, Anchor::Left, self.size, INK, label);
        }
    }
}

fn line_of(text_height: usize) -> usize {
    (text_height / 16).max(1)
}

/// Draws the footer (scale bar left, notes right) and returns the height it needs; with `to` absent it only measures.
struct Footer {
    bar: Option<(usize, String)>,
    notes: Vec<(String, bool)>,
    size: Type,
}

impl Footer {
    fn new(style: &Style<'_>, image_width: usize, zoom: f64, nan: u64, note: String, size: Type) -> Footer {
        let um_per_px = style.pixel_um.map(|p| p[1] / zoom).filter(|p| p.is_finite() && *p > 0.0);
        let bar = um_per_px.filter(|_| style.scale_bar).map(|um| {
            let long = ticks::round_down(image_width as f64 * um * 0.3);
            ((long / um).round() as usize, ticks::length(long))
        });
        let mut notes = Vec::new();
        if nan > 0 {
            notes.push((format!("NaN: {nan} pixel{}", if nan == 1 { "" } else { "s" }), true));
        }
        if !note.is_empty() {
            notes.push((note, false));
        }
        Footer { bar, notes, size }
    }

    fn bar_width(&self) -> usize {
        self.bar.as_ref().map_or(0, |(w, text)| w + self.size.height() / 2 + self.size.width(text))
    }

    /// True where the first note fits beside the scale bar.
    fn beside(&self, width: usize) -> bool {
        let note = self.notes.first().map_or(0, |n| self.size.width(&n.0) + 2 * self.size.height());
        self.bar.is_none() || self.bar_width() + note + self.size.height() <= width
    }

    fn lines(&self, width: usize) -> usize {
        let bar = usize::from(self.bar.is_some());
        match self.notes.len() {
            0 => bar,
            n if self.beside(width) => n,
            n => n + bar,
        }
    }

    fn height(&self, width: usize) -> usize {
        self.lines(width) * self.size.height() * 3 / 2
    }

    fn draw(&self, to: &mut Canvas, x: usize, y: usize, width: usize) {
        let t = self.size.height();
        let line = |i: usize| y + t * 3 / 4 + i * t * 3 / 2;
        if let Some((long, text)) = &self.bar {
            let thick = (t / 4).max(3);
            to.fill(x, line(0) - thick / 2, *long, thick, INK);
            to.text(x + long + t / 2, line(0), Anchor::Left, self.size, INK, text);
        }
        let first = usize::from(self.bar.is_some() && !self.beside(width));
        for (i, (note, red)) in self.notes.iter().enumerate() {
            let at = line(first + i);
            to.text(x + width, at, Anchor::Right, self.size, INK, note);
            if *red {
                let side = t * 3 / 4;
                let left = (x + width).saturating_sub(self.size.width(note) + t / 2 + side);
                to.fill(left, at - side / 2, side, side, NAN);
            }
        }
    }
}

/// Draws one slice with everything the style asks for.
///
/// # Panics
/// Where `values` does not hold `rows × cols` values or there are none: a bug of the caller.
pub fn slice(s: &Slice<'_>, style: &Style<'_>) -> Picture {
    montage(std::slice::from_ref(s), 1, "", style)
}

/// Draws several slices of one size as a grid of `columns`, each under its title, with one window, one colour bar and
/// one scale bar for all.
///
/// # Panics
/// As [`slice()`], and where the slices differ in size.
pub fn montage(slices: &[Slice<'_>], columns: usize, title: &str, style: &Style<'_>) -> Picture {
    let (rows, cols) = slices.first().map_or((0, 0), |s| (s.rows, s.cols));
    assert!(rows > 0 && cols > 0, "nothing to draw");
    assert!(slices.iter().all(|s| (s.rows, s.cols) == (rows, cols) && s.values.len() == rows * cols));
    let columns = columns.clamp(1, slices.len());
    let lines = slices.len().div_ceil(columns);
    let (low, high) = common_limits(slices, style.window);
    let per_cell = style.max_size / columns.max(lines);
    let fit = Fit::of(rows, cols, per_cell, if slices.len() == 1 { 480 } else { 220 });
    let (ih, iw) = fit.size(rows, cols);
    let (all_w, all_h) = (iw * columns, ih * lines);
    let t = Type::of_height((all_w.max(all_h) / 55).clamp(13, 64));
    let th = t.height();
    let (pad, gap, line) = (th, th, line_of(th));

    let drawn: Vec<(Canvas, u64)> = slices.iter().map(|s| shade(s, low, high, fit)).collect();
    let nan = drawn.iter().map(|d| d.1).sum();
    let label_h = if slices.iter().any(|s| !s.title.is_empty()) { th * 3 / 2 } else { 0 };
    let title_h = if title.is_empty() { 0 } else { th * 2 };
    let grid_w = all_w + gap * (columns - 1);
    let grid_h = lines * (label_h + ih) + gap / 2 * (lines - 1);
    let bar_h = (grid_h - label_h).max(th * 6);
    let bar = style.colour_bar.then(|| Bar::new(low, high, style.unit, bar_h, t));
    let footer = Footer::new(style, iw, fit.up[1] as f64 / fit.down as f64, nan, fit.note(), t);
    let text_w = footer.bar_width().max(grid_w);
    let width = pad + text_w + bar.as_ref().map_or(0, |b| gap + b.width()) + pad;
    let body_h = grid_h.max(label_h + bar_h);
    let height = pad + title_h + body_h + gap / 2 + footer.height(grid_w) + pad / 2;
    let mut canvas = Canvas::new(width, height, WHITE);

    canvas.text(pad, pad + th / 2, Anchor::Left, t, INK, &t.fit(title, width - 2 * pad));
    let top = pad + title_h;
    for (i, (s, (image, _))) in slices.iter().zip(&drawn).enumerate() {
        let x = pad + (i % columns) * (iw + gap);
        let y = top + (i / columns) * (label_h + ih + gap / 2);
        let room = if slices.len() == 1 { width - 2 * pad } else { iw };
        canvas.text(x, y + th / 2, Anchor::Left, t, INK, &t.fit(s.title, room));
        canvas.paste(image, x, y + label_h);
        canvas.frame(x, y + label_h, iw, ih, line, FAINT);
    }
    if let Some(bar) = &bar {
        bar.draw(&mut canvas, pad + text_w + gap, top + label_h, bar_h);
    }
    footer.draw(&mut canvas, pad, top + body_h + gap / 2, grid_w);
    Picture { canvas, low, high, nan }
}

/// One window for several slices: from values drawn evenly from all of them.
fn common_limits(slices: &[Slice<'_>], window: Window) -> (f64, f64) {
    if let [one] = slices {
        return window.limits(one.values);
    }
    let total: usize = slices.iter().map(|s| s.values.len()).sum();
    let step = (total >> 20) | 1;
    let sample: Vec<f32> = slices.iter().flat_map(|s| s.values.iter().step_by(step).copied()).collect();
    window.limits(&sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows() {
        let v: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        assert_eq!(Window::Tails { share: 0.1, skip_zeros: false }.limits(&v), (100.0, 899.0));
        let mut z = vec![0f32; 3000];
        z.extend(&v[1..]);
        z.extend([f32::NAN, f32::INFINITY]);
        assert_eq!(Window::Tails { share: 0.0, skip_zeros: true }.limits(&z), (1.0, 999.0));
        assert_eq!(Window::Tails { share: 0.01, skip_zeros: false }.limits(&z).0, 0.0);
        for odd in [vec![], vec![f32::NAN; 3], vec![5.0; 9], vec![-1e30, -1e30]] {
            let (l, h) = Window::default().limits(&odd);
            assert!(l < h && l.is_finite() && h.is_finite(), "{odd:?}");
        }
        assert_eq!(Window::Fixed { low: f64::NAN, high: 1.0 }.limits(&v), (0.0, 1.0));
    }

    #[test]
    fn shading_averages_areas_and_marks_nan() {
        // 4 × 4 blocks of 2 × 2: means 0, 1; one block mostly NaN, one with a single NaN.
        let n = f32::NAN;
        let values = [0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 1.0, 1.0, n, n, n, 1.0, n, 0.0, 1.0, 1.0];
        let s = Slice { values: &values, rows: 4, cols: 4, title: "" };
        let (c, nan) = shade(&s, 0.0, 1.0, Fit { down: 2, up: [1, 3] });
        assert_eq!((c.width, c.height, nan), (6, 2, 4));
        assert_eq!(c.pixels[..6], [[0; 3], [0; 3], [0; 3], [255; 3], [255; 3], [255; 3]]);
        assert_eq!(c.pixels[6..], [NAN, NAN, NAN, [255; 3], [255; 3], [255; 3]]);
        // Sizes that are no multiple.
        let s = Slice { values: &values[..15], rows: 5, cols: 3, title: "" };
        let (c, _) = shade(&s, 0.0, 1.0, Fit { down: 2, up: [2, 1] });
        assert_eq!((c.width, c.height), (2, 6));
    }

    #[test]
    fn any_size_is_drawn() {
        for (rows, cols) in [(1, 1), (1, 5000), (5000, 1), (2, 640), (64, 64), (300, 7), (2500, 2500)] {
            let values: Vec<f32> = (0..rows * cols).map(|i| (i % 251) as f32).collect();
            let s = Slice { values: &values, rows, cols, title: "some_long_file_name.vol, slice 12 of 2048" };
            let style = Style { pixel_um: Some([0.65; 2]), unit: "1/cm", max_size: 1000, ..Style::default() };
            let p = slice(&s, &style);
            assert!(
                p.canvas.width.max(p.canvas.height) < 1700,
                "{rows} × {cols}: {} × {}",
                p.canvas.width,
                p.canvas.height
            );
            assert!(p.canvas.width.min(p.canvas.height) > 60, "{rows} × {cols}");
            assert_eq!(p.canvas.pixels.len(), p.canvas.width * p.canvas.height);
        }
    }
}
