//! Finds the rotation axis of a scan: reads a few opposite projections, corrects them, and asks `recon::axis`.

use super::gather::{Gather, Lines};
use super::shifts::Shifts;
use super::{FieldChoice, Request, feed::corrected_frames};
use crate::recon::axis::{AxisEstimate, AxisOptions, Pair, find, opposite_pairs};
use crate::stream::{Cancel, Progress};
use serde::Serialize;
use tomokit_formats::model::FieldOfView;
use tomokit_formats::{Error, Result, Scan};

/// Pairs of opposite projections looked at.
const PAIRS: usize = 4;
/// Values of one corrected frame kept at most: 64 MiB of float32. Taller detectors are cut to their middle rows.
const FRAME_VALUES: usize = 16 << 20;

/// An axis with how sure it is.
#[derive(Clone, Debug, Serialize)]
pub struct AxisFound {
    /// Column, 0 = centre of the first.
    pub axis_px: f64,
    /// Scatter between bands of rows, columns.
    pub spread_px: f64,
    /// 0…1; above 0.5 good, below 0.2 to be looked at.
    pub confidence: f64,
    /// Tilt of the axis against the columns, degrees.
    pub tilt_deg: Option<f64>,
    /// Pairs used.
    pub pairs: usize,
    /// What a person should look at.
    pub warnings: Vec<String>,
}

impl AxisFound {
    /// `found from 4 opposite pairs, ± 0.05 px, confidence 0.93`.
    pub fn describe(&self) -> String {
        format!(
            "found from {} opposite pairs, ± {:.2} px, confidence {:.2}",
            self.pairs, self.spread_px, self.confidence
        )
    }
}

/// Finds the axis near the rows that are to be reconstructed, in projections that were moved back and turned straight.
///
/// # Errors
/// `Caller` where the scan holds no opposite projections or the search fails: then the axis must be given.
pub fn find_axis(
    scan: &Scan,
    rows: &[usize],
    request: &Request,
    shifts: Option<&Shifts>,
    zero_clip: f64,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<AxisFound> {
    let shape = scan.projections.shape();
    let pairs = opposite_pairs(&scan.angles.rad, PAIRS);
    if pairs.is_empty() {
        return Err(Error::caller("the axis cannot be found: no two projections are half a turn apart")
            .path(&request.scan)
            .found(format!("{:.1}° covered", scan.angles.covered_rad().to_degrees()))
            .hint("give the axis with --axis COLUMN"));
    }
    let band = band_around(rows, shape.rows, (FRAME_VALUES / shape.cols).max(1));
    let height = band.len();
    let wanted: Vec<usize> = pairs.iter().flat_map(|p| [p.first, p.opposite]).collect();
    progress.begin("finding axis", 0);
    cancel.check()?;
    // The camera is turned back around the middle of the detector, as nobody knows the axis yet.
    let middle = (shape.cols as f64 - 1.0) / 2.0;
    let gather = Gather::new(1, request.tilt_deg, middle, shifts, (shape.rows, shape.cols))?;
    let band: Vec<usize> = band.collect();
    let fetched = gather.as_ref().map_or_else(|| band.clone(), |g| g.rows_for(&band));
    let range = fetched[0]..fetched[fetched.len() - 1] + 1;
    let mut frames = corrected_frames(scan, &wanted, range, request.flats, request.darks, zero_clip)?;
    for (frame, k) in frames.iter_mut().zip(&wanted) {
        if let Some(g) = &gather {
            let from = std::mem::replace(frame, vec![0.0; band.len() * shape.cols]);
            g.rows_of(*k, &band, &fetched, &from, frame, &mut Lines::default());
        }
        if let Some(s) = shifts {
            frame.chunks_exact_mut(shape.cols).for_each(|row| move_back(row, s.horizontal_px[*k]));
        }
    }
    let views: Vec<Pair<'_>> = frames
        .chunks_exact(2)
        .zip(&pairs)
        .map(|(f, p)| Pair { first: &f[0], opposite: &f[1], mismatch_rad: p.mismatch_rad })
        .collect();
    let full_turn = scan.angles.covered_rad() > 1.95 * std::f64::consts::PI;
    let anywhere = request.field == FieldChoice::Extended
        || (request.field == FieldChoice::Auto && (full_turn || scan.field_of_view == Some(FieldOfView::Half)));
    let options = if anywhere { AxisOptions::anywhere(shape.cols) } else { AxisOptions::centred(shape.cols) };
    let estimate = find(&views, height, shape.cols, &options);
    progress.end();
    let mut e: AxisEstimate = estimate.map_err(|e| e.or_path(&request.scan))?;
    // Turning around the middle brought the axis nearer to it.
    e.rotation_axis_px = middle + (e.rotation_axis_px - middle) / request.tilt_deg.to_radians().cos();
    let mut warnings = Vec::new();
    if e.confidence < 0.2 {
        warnings.push(format!(
            "the axis {:.2} is uncertain (confidence {:.2}, ± {:.2} px): look at a slice, or give it with --axis",
            e.rotation_axis_px, e.confidence, e.spread_px
        ));
    }
    if let Some(t) = e.tilt_deg.filter(|t| t.to_radians().abs() * shape.rows as f64 > 1.0) {
        let t = request.tilt_deg + t;
        warnings.push(format!(
            "the axis seems to lean by {t:.3}° against the detector's columns: --tilt {t:.3} turns the camera back"
        ));
    }
    Ok(AxisFound {
        axis_px: e.rotation_axis_px,
        spread_px: e.spread_px,
        confidence: e.confidence,
        tilt_deg: e.tilt_deg.map(|t| request.tilt_deg + t),
        pairs: pairs.len(),
        warnings,
    })
}

/// Undoes a movement by `by` columns: linear between two columns, the end values go on beyond the ends.
fn move_back(row: &mut [f32], by: f64) {
    if by == 0.0 {
        return;
    }
    let from = row.to_vec();
    let last = from.len() - 1;
    for (x, v) in row.iter_mut().enumerate() {
        let at = (x as f64 + by).clamp(0.0, last as f64);
        let i = at as usize;
        let w = (at - i as f64) as f32;
        *v = from[i] + (from[(i + 1).min(last)] - from[i]) * w;
    }
}

/// Rows to look at: those asked for, widened to a useful height, at most `most`, as one range.
fn band_around(rows: &[usize], all: usize, most: usize) -> std::ops::Range<usize> {
    const USEFUL: usize = 256;
    let (first, last) = (rows.first().copied().unwrap_or(0), rows.last().copied().unwrap_or(0));
    let height = (last + 1 - first).max(USEFUL).min(most).min(all);
    let middle = (first + last) / 2;
    let start = middle.saturating_sub(height / 2).min(all - height);
    start..start + height
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_moved_back() {
        let mut row = [0.0, 1.0, 2.0, 3.0, 10.0];
        move_back(&mut row, 1.5);
        assert_eq!(row, [1.5, 2.5, 6.5, 10.0, 10.0]);
        move_back(&mut row, -1.0);
        assert_eq!(row, [1.5, 1.5, 2.5, 6.5, 10.0]);
    }

    #[test]
    fn bands_stay_on_the_detector() {
        assert_eq!(band_around(&[5], 10, 100), 0..10);
        assert_eq!(band_around(&[1000], 2048, 9999), 872..1128);
        assert_eq!(band_around(&[2047], 2048, 64), 1984..2048);
        assert_eq!(band_around(&(0..2048).collect::<Vec<_>>(), 2048, 500), 773..1273);
    }
}
