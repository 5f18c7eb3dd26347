//! A histogram as a picture: counts on a logarithmic axis, markers with labels.

use super::canvas::{Anchor, Canvas, FAINT, INK, MARKS, Type, WHITE};
use super::ticks;

/// What to plot.
#[derive(Clone, Debug)]
pub struct Histogram<'a> {
    /// Counts of equal bins.
    pub counts: &'a [u64],
    /// Lower edge of the first bin.
    pub low: f64,
    /// Upper edge of the last bin.
    pub high: f64,
    /// Title: file name.
    pub title: &'a str,
    /// Unit of the values, may be empty.
    pub unit: &'a str,
    /// Values to mark with a line, each with a label (`mean`, `lower limit`).
    pub markers: &'a [(f64, &'a str)],
    /// Width and height of the picture; at least 320 × 240.
    pub size: (usize, usize),
}

const FILL: [u8; 3] = [96, 125, 160];

/// Draws a histogram. Bins are added up per pixel column, or drawn as steps where there are fewer bins than columns.
pub fn histogram(h: &Histogram<'_>) -> Canvas {
    let (width, height) = (h.size.0.max(320), h.size.1.max(240));
    let t = Type::of_height((width / 60).clamp(13, 48));
    let th = t.height();
    let line = (th / 14).max(1);
    let mut c = Canvas::new(width, height, WHITE);

    let title_h = if h.title.is_empty() { th / 2 } else { th * 2 };
    let left = th / 2 + t.width("1e12") + th;
    let right = width - th * 2;
    let plot_w = right - left;
    let span = h.high - h.low;
    let sound = span.is_finite() && span > 0.0 && !h.counts.is_empty();
    let x_of = |v: f64| left as f64 + (v - h.low) / span * plot_w as f64;

    // Labels of markers go to as many lines as it takes for none to overlap.
    let mut ends: Vec<usize> = Vec::new();
    let mut placed = Vec::new();
    let mut markers: Vec<(usize, f64, String)> = h
        .markers
        .iter()
        .enumerate()
        .filter(|(_, m)| sound && m.0 >= h.low && m.0 <= h.high)
        .map(|(i, m)| (i, m.0, t.fit(&format!("{} {}", m.1, ticks::short(m.0)), plot_w)))
        .collect();
    markers.sort_by(|a, b| a.1.total_cmp(&b.1));
    for (i, v, label) in markers {
        let wide = t.width(&label);
        let mid = (x_of(v) as usize).clamp(left + wide / 2, (right - wide / 2).max(left + wide / 2));
        let start = mid - wide / 2;
        let row = ends.iter().position(|e| e + th / 2 <= start).unwrap_or(ends.len());
        if row == ends.len() {
            ends.push(0);
        }
        ends[row] = start + wide;
        placed.push((i, v, label, mid, row));
    }
    let row_h = th * 5 / 4;
    let head = title_h + ends.len() * row_h + th / 2;
    let top = head.min(height / 2);
    let bottom = height - th * 4;
    let plot_h = bottom - top;
    c.text(left, th, Anchor::Left, t, INK, &t.fit(h.title, plot_w));

    // Counts per column of pixels.
    let mut columns = vec![0u64; plot_w];
    let bins = h.counts.len();
    if sound && bins >= plot_w {
        for (i, n) in h.counts.iter().enumerate() {
            let x = (i as u128 * plot_w as u128 / bins as u128) as usize;
            columns[x] = columns[x].saturating_add(*n);
        }
    } else if sound {
        columns.iter_mut().enumerate().for_each(|(x, n)| *n = h.counts[x * bins / plot_w]);
    }
    let largest = columns.iter().copied().max().unwrap_or(0).max(1);
    let decades = ((largest as f64).log10() * 1.04).max(1.0);
    // A count of one still shows: the axis begins a little below it.
    let low_log = -0.15 * (decades / 6.0).clamp(0.5, 2.0);
    let y_of = |n: f64| bottom as f64 - (n.log10() - low_log) / (decades - low_log) * plot_h as f64;

    let every = ((decades * th as f64 * 2.0 / plot_h as f64).ceil() as usize).max(1);
    for d in (0..=decades as usize).step_by(every) {
        let y = y_of(10f64.powi(d as i32)).round() as usize;
        c.fill(left, y, plot_w, line, [228; 3]);
        c.fill(left - th / 3, y, th / 3, line, INK);
        let label = if d < 4 { 10u32.pow(d as u32).to_string() } else { format!("1e{d}") };
        c.text(left - th / 2, y, Anchor::Right, t, INK, &label);
    }
    for (x, n) in columns.iter().enumerate().filter(|(_, n)| **n > 0) {
        let y = y_of(*n as f64).round().clamp(top as f64, bottom as f64 - 1.0) as usize;
        c.fill(left + x, y, 1, bottom - y, FILL);
    }
    c.frame(left, top, plot_w, plot_h, line, FAINT);

    let ticks = ticks::ticks(h.low, h.high, (plot_w / (th * 6)).clamp(2, 12));
    let mut free = 0;
    for (v, label) in &ticks.marks {
        let x = x_of(*v).round() as usize;
        c.fill(x, bottom, line, th / 3, INK);
        let wide = t.width(label);
        if x >= free + wide / 2 {
            c.text(x, bottom + th, Anchor::Middle, t, INK, label);
            free = x + wide / 2 + th / 2;
        }
    }
    let name = [ticks.factor.as_str(), h.unit].join(" ").trim().to_owned();
    let name = if name.is_empty() { "value".to_owned() } else { format!("value ({name})") };
    c.text(left + plot_w / 2, bottom + th * 5 / 2, Anchor::Middle, t, INK, &name);
    c.text(th / 2, bottom + th * 5 / 2, Anchor::Left, t, INK, "voxels (log)");

    for (i, v, label, mid, row) in placed {
        let colour = MARKS[i % MARKS.len()];
        let y = title_h + row * row_h + th / 2;
        let x = x_of(v).round() as usize;
        c.fill(x.min(right - line), y + th / 2, line * 2, bottom.saturating_sub(y + th / 2), colour);
        // Lines of lower rows must not run through the labels above them.
        let wide = t.width(&label);
        c.fill(mid - wide / 2, y.saturating_sub(th / 2), wide, th, WHITE);
        c.text(mid, y, Anchor::Middle, t, colour, &label);
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_histogram_is_drawn() {
        let many = vec![3u64; 1_000_000];
        for counts in [&[][..], &[0], &[u64::MAX, 1], &[5; 10], &many] {
            for (low, high) in [(0.0, 1.0), (-1e-9, 1e-9), (5.0, 5.0), (f64::NAN, 1.0), (0.0, f64::INFINITY)] {
                let markers =
                    [(0.0, "lower limit"), (0.5, "mean"), (0.51, "median"), (7.0, "outside"), (f64::NAN, "x")];
                let h = Histogram { counts, low, high, title: "a", unit: "1/cm", markers: &markers, size: (1, 1) };
                assert_eq!(histogram(&h).pixels.len(), 320 * 240);
            }
        }
    }

    #[test]
    fn columns_add_up() {
        // One full bin among a million: its column is drawn, its neighbours are not.
        let mut counts = vec![0u64; 1_000_000];
        counts[500_000] = 1000;
        let h = Histogram { counts: &counts, low: 0.0, high: 1.0, title: "", unit: "", markers: &[], size: (800, 500) };
        let c = histogram(&h);
        let drawn: std::collections::BTreeSet<usize> =
            c.pixels.iter().enumerate().filter(|(_, p)| **p == FILL).map(|(i, _)| i % c.width).collect();
        assert_eq!(drawn.len(), 1);
    }
}
