//! Rotation angles: units, plausibility, and what is odd about a list of them. Numbers only, no files.

use crate::Warnings;
use crate::model::Angles;
use crate::model::units::angle_to_rad;
use std::f64::consts::{PI, TAU};

/// Values as radians. A `units` attribute decides; without one they are degrees, unless `by_range` and all lie within a
/// turn in radians with steps too small for degrees. What was assumed is said.
pub fn to_rad(values: &[f64], units: Option<&str>, by_range: bool, warnings: &mut Warnings) -> Vec<f64> {
    let known = units.and_then(angle_to_rad);
    if known.is_none()
        && let Some(u) = units.filter(|u| !u.trim().is_empty())
    {
        warnings.push(format!("the angles are in an unknown unit '{u}': taken as degrees"));
    }
    let radians_by_range = known.is_none() && by_range && looks_like_radians(values);
    if radians_by_range {
        warnings.push("the angles have no unit and span half a turn or more in radians: taken as radians");
    }
    let factor = match known {
        Some(f) => f,
        None if radians_by_range => 1.0,
        None => PI / 180.0,
    };
    if known == Some(PI / 180.0) && values.len() > 9 && looks_like_radians(values) {
        warnings.push("the angles are said to be degrees but would be a plain half or full turn in radians");
    }
    values.iter().map(|v| v * factor).collect()
}

/// True where the span is about half or a whole turn in radians: 3.1 or 6.3 degrees would be no tomography.
fn looks_like_radians(values: &[f64]) -> bool {
    let (Some(first), Some(last)) = (values.first(), values.last()) else { return false };
    let n = values.len();
    if n < 3 || values.iter().any(|v| v.abs() > TAU + 0.1) {
        return false;
    }
    let covered = (last - first).abs() * n as f64 / (n - 1) as f64;
    [PI, TAU].iter().any(|turn| (covered - turn).abs() < 0.05 * turn)
}

/// Oddities of a list of angles in radians, one line each.
pub fn oddities(rad: &[f64]) -> Vec<String> {
    let mut out = Vec::new();
    let n = rad.len();
    if n < 2 {
        return out;
    }
    let steps: Vec<f64> = rad.windows(2).map(|w| w[1] - w[0]).collect();
    let mut sorted: Vec<f64> = steps.iter().map(|s| s.abs()).collect();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    if median == 0.0 {
        out.push(
            "most angles are equal to their neighbour: the stage did not move, or its position was not recorded".into(),
        );
        return out;
    }
    if Angles::are_interlaced(rad) {
        return out;
    }
    let up = steps.iter().filter(|s| **s > 0.0).count() * 2 >= steps.len();
    let list = |what: &str, at: Vec<usize>| {
        let shown: Vec<String> = at.iter().take(5).map(|i| i.to_string()).collect();
        let more = if at.len() > 5 { ", …" } else { "" };
        format!("{} {what} (projection {}{more})", at.len(), shown.join(", "))
    };
    // Encoders jitter: a hundredth of a step is still "the same".
    let at = |f: &dyn Fn(f64) -> bool| (0..n - 1).filter(|&i| f(steps[i])).map(|i| i + 1).collect::<Vec<_>>();
    let same = at(&|s| s.abs() <= 0.01 * median);
    if !same.is_empty() {
        out.push(list("angle(s) repeat the one before", same));
    }
    let back = at(&|s| (if up { s } else { -s }) < -0.01 * median);
    if !back.is_empty() {
        out.push(list("angle(s) go back against the rotation", back));
    }
    let jumps = at(&|s| s.abs() > 1.9 * median);
    if !jumps.is_empty() {
        out.push(list("gap(s) between angles of about two steps or more: lost frames?", jumps));
    }
    out
}

/// A name under which files keep the rotation angle: `tomo1Rz1`, `rotation_angle`, `theta`, `gts_theta_value`.
pub fn is_angle_name(name: &str) -> bool {
    let n = name.to_ascii_lowercase();
    ["rz", "rot", "angle", "theta"].iter().any(|w| n.contains(w))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn even(n: usize, turn: f64) -> Vec<f64> {
        (0..n).map(|i| turn * i as f64 / n as f64).collect()
    }

    #[test]
    fn units_first_then_range() {
        let mut w = Warnings::default();
        let deg = even(100, 180.0);
        let rad = even(100, PI);
        assert_eq!(to_rad(&deg, Some("degree"), true, &mut w), to_rad(&deg, None, true, &mut w));
        assert_eq!(to_rad(&rad, Some("rad"), false, &mut w), rad);
        assert!(w.is_empty());
        assert_eq!(to_rad(&rad, None, true, &mut w), rad);
        assert_eq!(w.len(), 1);
        // Without leave to judge by range, degrees it is.
        assert!((to_rad(&rad, None, false, &mut Warnings::default())[99] - rad[99] * PI / 180.0).abs() < 1e-15);
        // A short scan in degrees is not taken for radians.
        let short = even(10, 4.0);
        assert!(to_rad(&short, None, true, &mut Warnings::default())[9] < 0.1);
        let mut w = Warnings::default();
        to_rad(&rad, Some("deg"), false, &mut w);
        to_rad(&deg, Some("gon"), false, &mut w);
        assert_eq!(w.len(), 2, "{w:?}");
    }

    #[test]
    fn oddities_are_named() {
        let passes: Vec<f64> =
            (0..4).flat_map(|k| (0..30).map(move |i| f64::from(6 * i) + 1.5 * f64::from(k))).collect();
        assert!(oddities(&passes).is_empty());
        // Half of a scan behind the other is something else.
        let halves = [&even(50, PI)[25..], &even(50, PI)[..25]].concat();
        assert!(!oddities(&halves).is_empty());
        assert!(oddities(&even(50, PI)).is_empty());
        assert!(oddities(&even(50, -PI)).is_empty());
        let mut a = even(50, PI);
        a[10] = a[9];
        a.remove(30);
        a[40] = a[38];
        let o = oddities(&a);
        assert_eq!(o.len(), 3, "{o:?}");
        assert!(o[0].contains("10"), "{o:?}");
        assert_eq!(oddities(&[1.0; 20]).len(), 1);
        assert!(oddities(&[]).is_empty() && oddities(&[1.0]).is_empty());
    }

    #[test]
    fn names() {
        for n in ["tomo1Rz1", "rotation_angle", "THETA", "ss1_rot", "gts_theta_value"] {
            assert!(is_angle_name(n));
        }
        for n in ["image_key", "current", "actualTime", "orca_image"] {
            assert!(!is_angle_name(n));
        }
    }
}
