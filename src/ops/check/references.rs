//! Flats and darks of a scan: every frame beside the others of its set, and the flats beside the darks.

use super::volume::FRAME;
use super::{Finding, Job, Kind, Weight};
use tomokit_formats::model::RefSet;
use tomokit_formats::{Region, Result, Scan};

/// A flat this far from the middle one of its set, as a share of it, is another picture; beams flicker by a few percent.
const ASTRAY: f64 = 0.1;
/// … where the others agree this well.
const AGREE: f64 = 0.02;
/// A dark this far on the way to the flats saw light.
const LIT: f64 = 0.2;
/// A frame with this share of zeros more than usual in its set has lost some of it.
const LOST: f64 = 0.01;
/// With this share of its pixels at the end of the camera's range, a frame is saturated.
const SATURATED: f64 = 0.01;
/// Largest values of cameras, by their bits.
pub const ENDS: [f32; 5] = [255.0, 1023.0, 4095.0, 16383.0, 65535.0];
/// Values read at once.
const BAND: usize = 4 << 20;

/// One frame.
struct Level {
    number: usize,
    mean: f64,
    /// Share of exact zeros.
    zeros: f64,
    /// Share of pixels at the end of the camera's range, and where that is.
    full: f64,
    high: f32,
    /// The same for frames that are the same, pixel by pixel. Of frames with few pixels nothing is said.
    print: Option<u64>,
    constant: bool,
    finite: bool,
}

/// The middle one, the upper of two; 0 where there is none.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut v: Vec<f64> = values.collect();
    v.sort_by(f64::total_cmp);
    v.get(v.len() / 2).copied().unwrap_or(0.0)
}

/// Looks at all pixels, or, to be quick, at some rows of some frames.
fn look(set: &RefSet, job: &Job<'_>) -> Result<Vec<Level>> {
    let s = set.source.shape();
    let (every_frame, every_row) = if job.plan.quick { ((s.frames / 3).max(1), (s.rows / 16).max(1)) } else { (1, 1) };
    let unit = set.source.access().unit.rows.max(1);
    let band = if every_row > 1 { 1 } else { (BAND / s.cols.max(1)).max(unit).min(s.rows.max(1)) };
    let (mut values, mut scratch) = (vec![0f32; band * s.cols], Vec::new());
    let mut levels = Vec::new();
    for number in (0..s.frames).step_by(every_frame) {
        job.cancel.check()?;
        let (mut n, mut sum, mut finite, mut zeros) = (0usize, 0.0, 0usize, 0usize);
        let (mut low, mut high, mut at_high, mut print) = (f32::INFINITY, f32::NEG_INFINITY, 0usize, 0u64);
        for row in (0..s.rows).step_by(band * every_row) {
            let rows = row..(row + band).min(s.rows);
            let values = &mut values[..rows.len() * s.cols];
            set.source.read_f32(&Region::of_rows(s, number..number + 1, rows), &mut scratch, values)?;
            n += values.len();
            for v in values.iter().filter(|v| v.is_finite()) {
                sum += f64::from(*v);
                finite += 1;
                zeros += usize::from(*v == 0.0);
                low = low.min(*v);
                if *v > high {
                    (high, at_high) = (*v, 0);
                }
                at_high += usize::from(*v == high);
                print = (print.rotate_left(5) ^ u64::from(v.to_bits())).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            }
        }
        levels.push(Level {
            number,
            mean: sum / finite.max(1) as f64,
            zeros: zeros as f64 / n.max(1) as f64,
            full: if ENDS.contains(&high) { at_high as f64 / n.max(1) as f64 } else { 0.0 },
            high,
            print: (s.frame_len() >= FRAME).then_some(print),
            constant: low >= high,
            finite: finite == n,
        });
    }
    Ok(levels)
}

/// What is to be said of single frames: `flats` are bright, darks are not, up to `lit`.
fn frames(levels: &[Level], flats: bool, lit: f64, say: &mut dyn FnMut(usize, Weight, String)) {
    let (mean, zeros) = (median(levels.iter().map(|l| l.mean)), median(levels.iter().map(|l| l.zeros)));
    let usual = median(levels.iter().map(|l| (l.mean - mean).abs()));
    let alike = levels.iter().filter(|l| l.constant).count() * 2 > levels.len();
    let full = median(levels.iter().map(|l| l.full));
    for (i, l) in levels.iter().enumerate().filter(|(_, l)| l.finite && !l.constant) {
        let same = |o: &&Level| o.finite && o.print.is_some() && o.print == l.print;
        // Without noise all of them are the same.
        if let Some(first) = levels[..i].iter().find(same)
            && levels.iter().any(|o| o.print != l.print)
        {
            say(l.number, Weight::Suspicious, format!("is frame {} again, pixel by pixel", first.number));
        }
        if flats && l.full > full + SATURATED {
            let text = format!("is saturated: {:.1} % of its pixels are at {}", 100.0 * l.full, l.high);
            say(l.number, Weight::Suspicious, text);
        }
    }
    let weight = if flats { Weight::Broken } else { Weight::Suspicious };
    // Of two, nobody knows which one is wrong.
    for l in levels.iter().filter(|l| l.finite && (levels.len() > 2 || l.zeros == 1.0)) {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        if l.constant && (!alike || l.zeros == 1.0 && zeros < 1.0) {
            say(
                l.number,
                weight,
                if l.zeros == 1.0 { "is entirely zero".into() } else { "holds one value only".into() },
            );
        } else if flats && l.zeros > zeros + LOST {
            say(
                l.number,
                weight,
                format!("is zero in {} of its pixels, the others in {}", percent(l.zeros), percent(zeros)),
            );
        } else if flats && (l.mean - mean).abs() > ASTRAY * mean && usual < AGREE * mean {
            say(
                l.number,
                Weight::Suspicious,
                format!("has the mean {:.1}, the others {mean:.1}: is it a flat?", l.mean),
            );
        } else if !flats && l.mean > lit {
            say(
                l.number,
                Weight::Suspicious,
                format!("has the mean {:.1}, the others {mean:.1}: is it a dark?", l.mean),
            );
        }
    }
}

/// Flats and darks: each for itself, and against each other.
pub fn findings(s: &Scan, job: &Job<'_>) -> Result<Vec<Finding>> {
    let mut out = Vec::new();
    let mut read = |sets: &[RefSet], kind: Kind, what: &str| -> Result<Vec<(String, Vec<Level>)>> {
        let mut all = Vec::new();
        for set in sets {
            match look(set, job) {
                Ok(levels) => {
                    if levels.iter().any(|l| !l.finite) {
                        let text = format!("the {what} {} hold values that are no finite numbers", set.origin);
                        out.push(Finding::new(kind, Weight::Broken, text));
                    }
                    all.push((set.origin.clone(), levels));
                }
                Err(e) if e.fault() == tomokit_formats::Fault::Interrupted => return Err(e),
                Err(e) => out.push(Finding::new(kind, Weight::Broken, format!("the {what} cannot be read: {e}"))),
            }
        }
        Ok(all)
    };
    let darks = read(&s.darks, Kind::Darks, "darks")?;
    let flats = read(&s.flats, Kind::Flats, "flats")?;
    let level = |levels: &[Level]| median(levels.iter().map(|l| l.mean));
    let dark = darks.iter().map(|d| level(&d.1)).reduce(f64::max).unwrap_or(0.0);
    let flat = flats.iter().map(|f| level(&f.1)).reduce(f64::max).unwrap_or(f64::INFINITY);
    let mut say = |origin: &str, kind: Kind, what: &str, levels: &[Level], flats: bool, lit: f64| {
        frames(levels, flats, lit, &mut |number, weight, text| {
            out.push(Finding::new(kind, weight, format!("frame {number} of the {what} {origin} {text}")));
        });
    };
    for (origin, levels) in &darks {
        let lit = level(levels) + LIT * (flat - level(levels)).max(0.0);
        say(origin, Kind::Darks, "darks", levels, false, lit);
    }
    for (origin, levels) in &flats {
        say(origin, Kind::Flats, "flats", levels, true, 0.0);
    }
    for (origin, levels) in darks.iter().filter(|d| d.1.iter().all(|l| l.zeros == 1.0)) {
        let text = format!("the {} darks {origin} are zero", levels.len());
        out.push(Finding::new(Kind::Darks, Weight::Remark, text));
    }
    for (origin, levels) in &flats {
        let (full, high) = (median(levels.iter().map(|l| l.full)), levels.first().map_or(0.0, |l| l.high));
        if full > SATURATED {
            let text = format!(
                "the flats {origin} are saturated: {:.1} % of the pixels are at {high}, where the camera's range ends",
                100.0 * full
            );
            out.push(Finding::new(Kind::Flats, Weight::Suspicious, text));
        }
        if levels.len() > 2 && levels.iter().all(|l| !l.constant && l.print.is_some() && l.print == levels[0].print) {
            let text = format!("the {} flats {origin} are all the same, pixel by pixel", levels.len());
            out.push(Finding::new(Kind::Flats, Weight::Remark, text));
        }
    }
    for (origin, levels) in flats.iter().filter(|f| f.1.iter().all(|l| l.finite)) {
        let mean = level(levels);
        let text = match (levels.iter().all(|l| l.zeros == 1.0), mean <= dark) {
            (true, _) => format!("the flats {origin} are zero"),
            (_, true) => {
                format!("the flats {origin} (mean {mean:.1}) are not brighter than the darks (mean {dark:.1})")
            }
            _ => continue,
        };
        out.push(Finding::new(Kind::Flats, Weight::Broken, text));
    }
    Ok(out)
}
