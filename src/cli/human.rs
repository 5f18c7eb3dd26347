//! Numbers for people: bytes in GB with the exact count near by, times, rates.

use std::time::Duration;

/// Names of files may hold line ends and what moves a terminal's cursor: none of it reaches the terminal.
pub fn on_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The same for a text of several lines, whose line ends are its own.
pub fn on_lines(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

/// `32.0 GB` (powers of 1000, as disks are sold).
pub fn bytes(n: u64) -> String {
    let mut v = n as f64;
    for unit in ["B", "kB", "MB", "GB", "TB", "PB"] {
        if v < 999.5 || unit == "PB" {
            return match unit {
                "B" => format!("{n} B"),
                _ if v < 9.995 => format!("{v:.2} {unit}"),
                _ if v < 99.95 => format!("{v:.1} {unit}"),
                _ => format!("{v:.0} {unit}"),
            };
        }
        v /= 1000.0;
    }
    unreachable!("the last unit returns")
}

/// `29.8 GiB` (powers of 1024, as Windows counts, which calls them GB).
pub fn bytes_binary(n: u64) -> String {
    let mut v = n as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] {
        if v < 1023.5 || unit == "PiB" {
            return match unit {
                "B" => format!("{n} B"),
                _ if v < 9.995 => format!("{v:.2} {unit}"),
                _ if v < 99.95 => format!("{v:.1} {unit}"),
                _ => format!("{v:.0} {unit}"),
            };
        }
        v /= 1024.0;
    }
    unreachable!("the last unit returns")
}

/// `1 file`, `2 files`.
pub fn count(n: u64, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}

/// Both ways of counting: `4.00 TB (3.64 TiB)`.
pub fn both(n: u64) -> String {
    format!("{} ({})", bytes(n), bytes_binary(n))
}

/// `1 h 02 min`, `3 min 20 s`, `12.3 s`.
pub fn duration(d: Duration) -> String {
    let s = d.as_secs();
    if s >= 3600 {
        format!("{} h {:02} min", s / 3600, s % 3600 / 60)
    } else if s >= 60 {
        format!("{} min {:02} s", s / 60, s % 60)
    } else {
        format!("{:.1} s", d.as_secs_f64())
    }
}

/// A float with up to six significant digits and no trailing zeros.
pub fn number(v: f64) -> String {
    if !v.is_finite() {
        return format!("{v}");
    }
    if v == 0.0 {
        return "0".into();
    }
    let digits = v.abs().log10().floor();
    if !(-4.0..15.0).contains(&digits) {
        return format!("{v:.5e}");
    }
    let decimals = (5.0 - digits).clamp(0.0, 12.0) as usize;
    let text = format!("{v:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(34_359_738_368), "34.4 GB");
        assert_eq!(bytes(999_999), "1.00 MB");
        assert_eq!(both(4_000_000_000_000), "4.00 TB (3.64 TiB)");
        assert_eq!((bytes_binary(1023), bytes_binary(1 << 20)), ("1023 B".into(), "1.00 MiB".into()));
        assert_eq!(duration(Duration::from_secs(3725)), "1 h 02 min");
        assert_eq!(number(0.65), "0.65");
        assert_eq!(number(-4.94218407e1), "-49.4218");
        assert_eq!(number(1234567.0), "1234567");
        assert_eq!(number(1.5e-7), "1.50000e-7");
    }
}
