//! Length and angle units as they are spelled in `units` attributes and headers.

/// Factor from the named length unit to micrometres; `None` for a word we do not know.
///
/// Accepts what the wild holds: `m`, `mm`, `um`, `µm` (micro sign, Greek mu, or Latin-1 bytes read as U+FFFD), `micron`,
/// `nm`, `cm`, `Å`.
pub fn length_to_um(unit: &str) -> Option<f64> {
    let u = unit.trim().trim_end_matches('\0').trim();
    Some(match u {
        "m" | "meter" | "metre" | "meters" | "metres" => 1e6,
        "cm" | "centimeter" | "centimetre" => 1e4,
        "mm" | "millimeter" | "millimetre" | "millimeters" => 1e3,
        "um" | "µm" | "μm" | "\u{FFFD}m" | "\\u00B5m" | "micron" | "microns" | "micrometer" | "micrometers"
        | "micrometre" | "micro" | "micrometres" | "µ" | "μ" => 1.0,
        "nm" | "nanometer" | "nanometre" | "nanometers" => 1e-3,
        "A" | "Å" | "angstrom" | "Angstrom" => 1e-4,
        "inch" | "in" => 25_400.0,
        _ => return None,
    })
}

/// Factor from the named angle unit to radians; `None` for a word we do not know.
pub fn angle_to_rad(unit: &str) -> Option<f64> {
    let u = unit.trim().trim_end_matches('\0').trim().to_ascii_lowercase();
    Some(match u.as_str() {
        "deg" | "degree" | "degrees" | "°" => std::f64::consts::PI / 180.0,
        "rad" | "radian" | "radians" => 1.0,
        "mrad" => 1e-3,
        _ => return None,
    })
}

/// Text of HDF5 attributes and old headers: UTF-8 if valid, else Latin-1 (so that byte 0xB5 becomes µ).
pub fn text_lossy(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(s) => s.to_owned(),
        Err(_) => bytes.iter().map(|&b| b as char).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for (s, f) in [("mm", 1e3), ("µm", 1.0), ("μm", 1.0), ("um", 1.0), (" m ", 1e6), ("micron\0", 1.0)] {
            assert_eq!(length_to_um(s), Some(f), "{s:?}");
        }
        assert_eq!(length_to_um(&text_lossy(b"\xb5m")), Some(1.0));
        assert_eq!(length_to_um("furlong"), None);
        assert_eq!(angle_to_rad("Degrees"), Some(std::f64::consts::PI / 180.0));
        assert_eq!(angle_to_rad("rad"), Some(1.0));
    }
}
