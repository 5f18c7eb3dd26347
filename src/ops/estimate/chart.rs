//! Production against copying over the days: one picture in two forms, PNG and SVG. [`Chart`] is what is drawn, both forms
//! only draw it.

use super::Estimate;
use tomokit_formats::png::canvas::{Anchor, Canvas, FAINT, INK, MARKS, Rgb, Type, WHITE};
use tomokit_formats::png::ticks;

/// Colour of what is produced, then of copying.
const COLOURS: [Rgb; 4] = [[150; 3], MARKS[0], MARKS[1], MARKS[2]];

/// A line of the chart: days and terabytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What it is.
    pub name: String,
    /// Production, as against copying.
    pub is_production: bool,
    /// Corners.
    pub points: Vec<(f64, f64)>,
}

/// What is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Heading.
    pub title: String,
    /// Production first, then copying from the slowest rate.
    pub lines: Vec<Line>,
    /// Full disks: terabytes at which one after the other is full, with its number.
    pub full: Vec<f64>,
    /// End of the beamtime, days.
    pub end: Option<f64>,
    /// Ends of both axes.
    pub span: (f64, f64),
}

/// The name of a full disk's line.
fn full_at(index: usize, terabytes: f64) -> String {
    format!("disk {} full: {} TB", index + 1, ticks::short(terabytes))
}

impl Chart {
    /// Draws up the lines.
    pub fn of(e: &Estimate) -> Chart {
        let tb = e.total_bytes as f64 / 1e12;
        let mut lines = Vec::new();
        if let Some(days) = e.days {
            lines.push(Line { name: "produced".into(), is_production: true, points: vec![(0.0, 0.0), (days, tb)] });
        }
        for c in &e.copying {
            let mbs = c.bytes_per_s / 1e6;
            let several = if e.parallel > 1 { format!("{} × ", e.parallel) } else { String::new() };
            let alone = e.total_bytes as f64 / c.per_day;
            let done = e.days.map_or(alone, |d| d.max(alone));
            lines.push(Line {
                name: format!("copied at {several}{} MB/s", ticks::short(mbs)),
                is_production: false,
                points: vec![(0.0, 0.0), (done, tb)],
            });
        }
        let longest = lines.iter().flat_map(|l| &l.points).fold(0.0, |m: f64, p| m.max(p.0));
        for l in lines.iter_mut() {
            // What is done stays done.
            l.points.push((longest * 1.02, tb));
        }
        let full = match e.disks.last() {
            Some(d) if d.count_without_margin <= 12 => {
                (1..=d.count_without_margin).map(|i| i as f64 * d.room as f64 / 1e12).take_while(|v| *v <= tb).collect()
            }
            _ => Vec::new(),
        };
        Chart {
            title: format!("{} TB to take home", ticks::short(tb)),
            lines,
            full,
            end: e.days,
            span: ((longest * 1.02).max(1e-9), (tb * 1.08).max(1e-9)),
        }
    }

    /// As a picture.
    pub fn png(&self, width: usize, height: usize) -> Canvas {
        let (width, height) = (width.max(480), height.max(320));
        let t = Type::of_height((width / 60).clamp(13, 40));
        let th = t.height();
        let thick = (th / 5).max(2);
        let mut c = Canvas::new(width, height, WHITE);
        let left = th / 2 + t.width("10000") + th;
        let (right, top, bottom) = (width - th * 2, th * 5 / 2, height - th * 7 / 2);
        let (w, h) = (right - left, bottom - top);
        let x_of = |d: f64| left as f64 + d / self.span.0 * w as f64;
        let y_of = |v: f64| bottom as f64 - v / self.span.1 * h as f64;
        c.text(left, th, Anchor::Left, t, INK, &t.fit(&self.title, w));
        let marks = ticks::ticks(0.0, self.span.1, (h / (th * 3)).clamp(2, 8));
        for (v, label) in &marks.marks {
            let y = y_of(*v).round() as usize;
            c.fill(left, y, w, 1, [228; 3]);
            c.text(left - th / 2, y, Anchor::Right, t, INK, label);
        }
        c.text(th / 2, bottom + th * 5 / 2, Anchor::Left, t, INK, format!("TB {}", marks.factor).trim());
        let days = ticks::ticks(0.0, self.span.0, (w / (th * 5)).clamp(2, 12));
        for (v, label) in &days.marks {
            let x = x_of(*v).round() as usize;
            c.fill(x, bottom, 1, th / 3, INK);
            c.text(x, bottom + th, Anchor::Middle, t, INK, label);
        }
        let name = format!("days {}", days.factor);
        c.text(left + w / 2, bottom + th * 5 / 2, Anchor::Middle, t, INK, name.trim());
        for (i, v) in self.full.iter().enumerate() {
            let y = y_of(*v).round() as usize;
            for x in (left..right).step_by(th) {
                c.fill(x, y, (th / 2).min(right - x), 1, FAINT);
            }
            if i == 0 || h / self.full.len().max(1) > th * 3 / 2 {
                // At the left, where no line is yet so high.
                c.text(left + th / 4, y.saturating_sub(th / 2), Anchor::Left, t, FAINT, &full_at(i, *v));
            }
        }
        if let Some(d) = self.end {
            let x = x_of(d).round() as usize;
            for y in (top..bottom).step_by(th) {
                c.fill(x, y, 1, (th / 2).min(bottom - y), INK);
            }
            let label = "end of beamtime";
            match x + t.width(label) + th < right {
                true => c.text(x + th / 2, top + th * 3 / 4, Anchor::Left, t, INK, label),
                false => c.text(x - th / 2, top + th * 3 / 4, Anchor::Right, t, INK, label),
            }
        }
        // Production broad and first: copying that keeps up lies on it and both are seen.
        for (i, l) in self.lines.iter().enumerate() {
            let thick = if l.is_production { thick * 3 } else { thick };
            for p in l.points.windows(2) {
                stroke(&mut c, (x_of(p[0].0), y_of(p[0].1)), (x_of(p[1].0), y_of(p[1].1)), thick, colour(i));
            }
        }
        c.frame(left, top, w, h, 1, FAINT);
        // The legend, in the corner no line reaches: all begin at the lower left and rise.
        let wide = self.lines.iter().map(|l| t.width(&l.name)).max().unwrap_or(0) + th * 3;
        let box_h = self.lines.len() * th * 3 / 2;
        let (bx, by) = (right.saturating_sub(wide + th / 2), bottom.saturating_sub(box_h + th / 2));
        c.fill(bx, by, wide, box_h, WHITE);
        c.frame(bx, by, wide, box_h, 1, FAINT);
        for (i, l) in self.lines.iter().enumerate() {
            let y = by + th * 3 / 4 + i * th * 3 / 2;
            c.fill(bx + th / 2, y - thick / 2, th * 3 / 2, thick, colour(i));
            c.text(bx + th * 5 / 2, y, Anchor::Left, t, INK, &l.name);
        }
        c
    }

    /// As SVG, to stand inside a page.
    pub fn svg(&self) -> String {
        use crate::ops::html::escape;
        let (width, height, left, top) = (860.0, 430.0, 70.0, 40.0);
        let (w, h) = (width - left - 30.0, height - top - 60.0);
        let x_of = |d: f64| left + d / self.span.0 * w;
        let y_of = |v: f64| top + h - v / self.span.1 * h;
        let mut s = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"13\">\n<rect x=\"{left}\" y=\"{top}\" width=\"{w}\" height=\"{h}\" \
             fill=\"none\" stroke=\"#aaa\"/>\n"
        );
        let mut text = |x: f64, y: f64, anchor: &str, fill: &str, t: &str| {
            s += &format!(
                "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{fill}\">{}</text>\n",
                escape(t)
            );
        };
        text(left, 24.0, "start", "#191919", &self.title);
        let (marks, days) = (ticks::ticks(0.0, self.span.1, 6), ticks::ticks(0.0, self.span.0, 10));
        text(14.0, height - 14.0, "start", "#191919", format!("TB {}", marks.factor).trim());
        text(left + w / 2.0, height - 14.0, "middle", "#191919", format!("days {}", days.factor).trim());
        for (v, label) in &marks.marks {
            text(left - 8.0, y_of(*v) + 4.0, "end", "#191919", label);
        }
        for (v, label) in &days.marks {
            text(x_of(*v), top + h + 20.0, "middle", "#191919", label);
        }
        for (i, v) in self.full.iter().enumerate() {
            text(left + 4.0, y_of(*v) - 4.0, "start", "#888", &full_at(i, *v));
        }
        for (i, l) in self.lines.iter().enumerate() {
            text(
                left + w - 190.0,
                top + h - 12.0 - 20.0 * (self.lines.len() - 1 - i) as f64,
                "start",
                &hex(i),
                &l.name,
            );
        }
        let mut line = |points: &[(f64, f64)], style: &str| {
            let at: Vec<String> = points.iter().map(|p| format!("{:.1},{:.1}", x_of(p.0), y_of(p.1))).collect();
            s += &format!("<polyline fill=\"none\" points=\"{}\" {style}/>\n", at.join(" "));
        };
        for (v, _) in &marks.marks {
            line(&[(0.0, *v), (self.span.0, *v)], "stroke=\"#e4e4e4\"");
        }
        for v in &self.full {
            line(&[(0.0, *v), (self.span.0, *v)], "stroke=\"#aaa\" stroke-dasharray=\"6 6\"");
        }
        if let Some(d) = self.end {
            line(&[(d, 0.0), (d, self.span.1)], "stroke=\"#191919\" stroke-dasharray=\"4 6\"");
        }
        for (i, l) in self.lines.iter().enumerate() {
            let wide = if l.is_production { 9 } else { 3 };
            line(&l.points, &format!("stroke=\"{}\" stroke-width=\"{wide}\"", hex(i)));
        }
        s + "</svg>\n"
    }
}

fn colour(i: usize) -> Rgb {
    COLOURS[i % COLOURS.len()]
}

fn hex(i: usize) -> String {
    let [r, g, b] = colour(i);
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// A straight line as a row of squares: the canvas knows boxes only.
fn stroke(c: &mut Canvas, from: (f64, f64), to: (f64, f64), thick: usize, colour: Rgb) {
    let steps = (to.0 - from.0).abs().max((to.1 - from.1).abs()).ceil().clamp(1.0, 1e5) as usize;
    for i in 0..=steps {
        let t = i as f64 / steps as f64;
        let at = |a: f64, b: f64| ((a + (b - a) * t).max(0.0) as usize).saturating_sub(thick / 2);
        c.fill(at(from.0, to.0), at(from.1, to.1), thick, thick, colour);
    }
}
