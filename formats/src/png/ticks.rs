//! Round numbers for axes, colour bars and scale bars, and how to print them.

/// The largest of 1, 2, 5 × 10ⁿ that is not above `x` (which must be positive and finite).
pub fn round_down(x: f64) -> f64 {
    let mut power = 10f64.powf(x.log10().floor());
    // Rounding of the logarithm may miss by one.
    if power > x {
        power /= 10.0;
    }
    let lead = x / power;
    // A hair of tolerance: 5.0 computed as 4.999… stays 5.
    let lead = if lead >= 5.0 - 1e-9 {
        5.0
    } else if lead >= 2.0 - 1e-9 {
        2.0
    } else {
        1.0
    };
    lead * power
}

/// Numbers along an axis, with their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Ticks {
    /// Value and label, ascending.
    pub marks: Vec<(f64, String)>,
    /// What labels are to be multiplied with, as `×1e-6`; empty for 1.
    pub factor: String,
}

/// About `want` round numbers between `low` and `high`. Very large or small numbers share a factor, so that labels stay
/// short; the ends of the axis need not carry a number.
pub fn ticks(low: f64, high: f64, want: usize) -> Ticks {
    let span = high - low;
    if !(span.is_finite() && span > 0.0 && low.is_finite()) {
        return Ticks { marks: Vec::new(), factor: String::new() };
    }
    let mut step = round_down(span / want.max(1) as f64);
    // `round_down` may give up to 2.5 times too many: take the next round number then.
    while span / step > 1.5 * want.max(2) as f64 {
        step = round_down(step * 2.5);
    }
    // One number is no scale: take the next finer step.
    while (high / step + 1e-9).floor() - (low / step - 1e-9).ceil() < 1.0 {
        step = round_down(step * 0.5);
    }
    let largest = low.abs().max(high.abs());
    let power = if (1e-2..1e5).contains(&largest) { 0 } else { (largest.log10().floor() / 3.0).floor() as i32 * 3 };
    let unit = 10f64.powi(power);
    let decimals = ((-(step / unit).log10()).ceil().max(0.0) as usize).min(9);
    let first = (low / step - 1e-9).ceil();
    let count = ((high / step + 1e-9).floor() - first).clamp(0.0, 1000.0) as usize;
    let marks = (0..=count)
        .map(|i| (first + i as f64) * step)
        .filter(|v| *v >= low - span * 1e-9 && *v <= high + span * 1e-9)
        .map(|v| {
            let v = if v.abs() < step * 1e-6 { 0.0 } else { v };
            (v, format!("{:.decimals$}", v / unit))
        })
        .collect();
    let factor = if power == 0 { String::new() } else { format!("\u{d7}1e{power}") };
    Ticks { marks, factor }
}

/// A length in µm with a unit that keeps it short: `500 nm`, `20 µm`, `2 mm`.
pub fn length(um: f64) -> String {
    let (v, unit) = if um >= 1000.0 {
        (um / 1000.0, "mm")
    } else if um >= 1.0 {
        (um, "\u{b5}m")
    } else {
        (um * 1000.0, "nm")
    };
    format!("{} {unit}", (v * 1000.0).round() / 1000.0)
}

/// A number for a title or a footer: four significant digits, no exponent where it can be helped.
pub fn short(v: f64) -> String {
    if v == 0.0 || !v.is_finite() {
        return format!("{v}");
    }
    let power = v.abs().log10().floor() as i32;
    if !(-4..7).contains(&power) {
        return format!("{v:.3e}");
    }
    let text = format!("{v:.*}", (3 - power).max(0) as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_numbers() {
        for (x, want) in [(1.0, 1.0), (1.99, 1.0), (2.0, 2.0), (4.9, 2.0), (5.0, 5.0), (0.0999, 0.05), (7e8, 5e8)] {
            assert!((round_down(x) / want - 1.0).abs() < 1e-9, "{x}");
        }
        assert_eq!((length(0.5), length(200.0), length(5000.0)), ("500 nm".into(), "200 µm".into(), "5 mm".into()));
        assert_eq!(
            (short(0.0), short(-12.5), short(123_456.7), short(1e-9)),
            ("0".into(), "-12.5".into(), "123457".into(), "1.000e-9".into())
        );
    }

    #[test]
    fn ticks_are_few_inside_and_distinct() {
        for (low, high) in [
            (0.0, 1.0),
            (-49.4, 116.7),
            (0.0, 65535.0),
            (1e-7, 9e-7),
            (-3e9, 5e9),
            (99.999, 100.001),
            (5.0, 5.1),
            (0.0, 255.0),
            (-999.9, 999.9),
        ] {
            for want in [2, 5, 10] {
                let t = ticks(low, high, want);
                assert!(t.marks.len() >= 2 && t.marks.len() <= 2 * want + 2, "{low} {high} {want}: {t:?}");
                assert!(t.marks.iter().all(|m| m.0 >= low - 1e-6 * (high - low) && m.0 <= high + 1e-6 * (high - low)));
                assert!(t.marks.windows(2).all(|w| w[0].1 != w[1].1 && w[0].0 < w[1].0), "{t:?}");
                assert!(t.marks.iter().all(|m| m.1.len() <= 9), "{t:?}");
            }
        }
        assert!(ticks(1.0, 1.0, 5).marks.is_empty() && ticks(f64::NAN, 1.0, 5).marks.is_empty());
        assert_eq!(ticks(0.0, 4e-6, 4).factor, "×1e-6");
    }
}
