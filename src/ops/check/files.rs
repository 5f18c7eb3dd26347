//! What can be said of a headerless volume without looking at its values: length against sidecars and name, holes in
//! the file, the marks an unfinished PyHST2 run leaves, width against the values of one slice.

use super::{Finding, Item, Kind, Weight};
use crate::ops::check::repair;
use crate::ops::recad::RECEIPT;
use crate::ops::recon::RECORD;
use std::ops::Range;
use std::path::{Path, PathBuf};
use tomokit_formats::io::{ReadAt, holes, with_suffix};
use tomokit_formats::model::VolumeMeta;
use tomokit_formats::raw::info::Info;
use tomokit_formats::raw::layout::Beside;
use tomokit_formats::{Content, DType, FrameSource, OpenOptions, Region, Result, Shape, registry};

/// Bytes PyHST2 leaves at the end of a volume it has not finished: one blank as the last byte.
const PLACEHOLDER: [u8; 4] = [0, 0, 0, 0x20];

/// True for files without a header of their own.
pub fn headerless(item: &Item) -> bool {
    matches!(item.format, Some("vol" | "raw")) && item.path.is_file()
}

/// What a headerless file says that cannot be opened: why, how much of it is missing, what it looks like.
pub fn unopened(path: &Path) -> Vec<Finding> {
    let mut out = Vec::new();
    let Ok(len) = std::fs::metadata(path).map(|m| m.len()) else { return out };
    let beside = Beside::look(path);
    let info = beside.as_ref().ok().and_then(|b| b.info.as_ref().or(b.xml.as_ref()));
    match info {
        Some((told, info)) => out.extend(against(path, len, told, info)),
        None if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("vol")) => out.push(unfinished(path)),
        None => {}
    }
    out.extend(hole_findings(path, None, true));
    out
}

/// Length against dimensions.
fn against(path: &Path, len: u64, told: &Path, info: &Info) -> Option<Finding> {
    let shape = info.shape()?;
    let size = info.dtype.map_or_else(|| likely_size(path, shape, len), |d| d.size() as u64);
    let slice = (shape.rows as u64).checked_mul(shape.cols as u64)?.checked_mul(size)?;
    let need = slice.checked_mul(shape.frames as u64)?;
    let name = told.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if len == need || slice == 0 {
        return None;
    }
    let f = |text: String| Finding::new(Kind::Size, Weight::Broken, text);
    if len < need {
        let (whole, rest) = (len / slice, len % slice);
        let missing = need - len;
        let text = match rest {
            0 => format!(
                "truncated: {} of {} slices are missing at the end ({missing} bytes less than {name} says)",
                shape.frames as u64 - whole,
                shape.frames
            ),
            _ => format!(
                "truncated: {missing} bytes are missing at the end; {whole} of {} slices are whole, slice {whole} is cut ({name} says {need} bytes, there are {len})",
                shape.frames
            ),
        };
        return Some(f(text).at(whole as usize..shape.frames).bytes(Some(len..need)));
    }
    let text = format!(
        "{} bytes more than {name} says ({need}): {}",
        len - need,
        if (len - need).is_multiple_of(slice) {
            format!("{} more slices, or dimensions of another volume", (len - need) / slice)
        } else if len - need <= 1 << 16 {
            format!("a header (try --skip {}), or the dimensions of another volume", len - need)
        } else {
            "the dimensions of another volume".to_owned()
        }
    );
    Some(f(text).bytes(Some(need..len)))
}

/// Size of a value where nothing says it: the one that comes nearest to the length.
fn likely_size(path: &Path, shape: Shape, len: u64) -> u64 {
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("vol")) {
        return 4;
    }
    let n = shape.len().unwrap_or(1).max(1);
    [1u64, 2, 4].into_iter().min_by_key(|s| (s * n).abs_diff(len)).unwrap_or(1)
}

fn unfinished(path: &Path) -> Finding {
    let name = with_suffix(path, ".info");
    let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if ends_with_placeholder(path) {
        let text = format!(
            "{name} is missing and the last value is PyHST2's placeholder (bytes 00 00 00 20): the reconstruction did not finish"
        );
        return Finding::new(Kind::Unfinished, Weight::Broken, text);
    }
    let text = match with_suffix(path, ".info").exists() {
        true => format!("{name} cannot be read: its dimensions make no sense"),
        false => format!("{name} is missing: PyHST2 writes it last, so the run may not have finished"),
    };
    Finding::new(Kind::Unfinished, Weight::Suspicious, text)
}

fn ends_with_placeholder(path: &Path) -> bool {
    let mut last = [0u8; 4];
    ReadAt::open(path).is_ok_and(|f| f.len() >= 4 && f.read_exact_at(&mut last, f.len() - 4).is_ok())
        && last == PLACEHOLDER
}

/// What the files of an opened headerless volume say.
pub fn opened(path: &Path, shape: Shape, dtype: DType) -> Vec<Finding> {
    let mut out = Vec::new();
    let Ok(beside) = Beside::look(path) else { return out };
    let is_vol = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("vol"));
    if is_vol && beside.info.is_none() {
        out.push(unfinished(path));
    } else if is_vol && ends_with_placeholder(path) {
        let text = "the last value is PyHST2's placeholder (bytes 00 00 00 20): its last slice was never written";
        out.push(Finding::new(Kind::Unfinished, Weight::Broken, text).at(shape.frames - 1..shape.frames));
    }
    if let (Some((a, i)), Some((b, x))) = (&beside.info, &beside.xml)
        && let (Some(s), Some(t)) = (i.shape(), x.shape())
        && s != t
    {
        out.push(disagree(a, s, b, t));
    } else if let Some((told, info)) = beside.info.as_ref().or(beside.xml.as_ref())
        && let Some(s) = info.shape()
        && let Some((other, t)) = told_beside(path).into_iter().find(|(_, t)| *t != s)
    {
        out.push(disagree(told, s, &other, t));
    }
    out.extend(hole_findings(path, Some((shape, dtype)), beside.info.is_none()));
    out
}

fn disagree(a: &Path, s: Shape, b: &Path, t: Shape) -> Finding {
    let name = |p: &Path| p.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Finding::new(Kind::Sidecar, Weight::Suspicious, format!("{} says {s}, {} says {t}", name(a), name(b)))
}

/// Dimensions in the other records beside a headerless file: headers for other programs, of how it was made.
fn told_beside(path: &Path) -> Vec<(PathBuf, Shape)> {
    let header = |suffix: &str| {
        let file = with_suffix(path, suffix);
        let opened = file.is_file().then(|| registry::open(&file, &OpenOptions::default()).ok()).flatten()?;
        match opened.content {
            Content::Volume(v) => Some((file, v.source.shape())),
            _ => None,
        }
    };
    let record = |suffix: &str, place: &str| {
        let file = with_suffix(path, suffix);
        let value: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).ok()?).ok()?;
        let shape: Shape = serde_json::from_value(value.pointer(place)?.clone()).ok()?;
        Some((file, shape))
    };
    let all = [header(".mhd"), header(".nhdr"), record(RECEIPT, "/output/shape"), record(RECORD, "/recipe/shape")];
    all.into_iter().flatten().collect()
}

/// A repair that was interrupted: which slices are old, new, or neither.
pub fn repairing(path: &Path) -> Option<Finding> {
    let journal = repair::journal_path(path);
    if !journal.is_file() {
        return None;
    }
    let read = repair::Journal::read(path);
    if let Ok(Some(j)) = &read
        && repair::is_of(path, j).is_ok_and(|ours| !ours)
    {
        let text =
            "the journal of an interrupted repair stands beside it, of another volume: remove it, and the .repair.part";
        return Some(Finding::new(Kind::Repairing, Weight::Remark, text).file(Some(journal)));
    }
    let detail = read.and_then(|j| j.map(|j| repair::states(path, &j)).transpose());
    let detail = match detail {
        Ok(Some(states)) => {
            let of = |s| states.iter().filter(|(_, t)| *t == s).map(|(z, _)| *z).collect::<Vec<usize>>();
            let mut words = Vec::new();
            for (state, word) in [(repair::State::Old, "as before"), (repair::State::New, "mended")] {
                if !of(state).is_empty() {
                    words.push(format!("slices {} are {word}", repair::list(&of(state))));
                }
            }
            words.extend(of(repair::State::Partly).iter().map(|z| format!("slice {z} was being written")));
            words.join(", ")
        }
        Ok(None) => return None,
        Err(e) => e.to_string(),
    };
    let text = format!("a repair of this volume was interrupted: {detail}; run it again to finish it");
    Some(Finding::new(Kind::Repairing, Weight::Broken, text).file(Some(journal)))
}

/// Holes: whole slices that were never written. Smaller ones are made by tools that copy blocks of zeros as holes.
fn hole_findings(path: &Path, volume: Option<(Shape, DType)>, unfinished: bool) -> Vec<Finding> {
    let Some(holes) = holes(path) else { return Vec::new() };
    let slice = volume.map_or(1 << 20, |(s, d)| (s.frame_len() * d.size()) as u64).max(1);
    // Without a hole as long as a slice (or half the file), zeros around the field explain it.
    let large: Vec<&Range<u64>> = holes.iter().filter(|h| h.end - h.start >= slice).collect();
    let total: u64 = large.iter().map(|h| h.end - h.start).sum();
    if total == 0 {
        return Vec::new();
    }
    let list = |f: &dyn Fn(&Range<u64>) -> String| {
        let shown: Vec<String> = large.iter().take(5).map(|h| f(h)).collect();
        shown.join(", ") + if large.len() > 5 { ", …" } else { "" }
    };
    let bytes = list(&|h| format!("{}-{}", h.start, h.end));
    let text = match volume {
        Some(_) => {
            let slices = list(&|h| {
                let (a, b) = (h.start.div_ceil(slice), (h.end / slice).max(h.start.div_ceil(slice) + 1));
                if b - a == 1 { a.to_string() } else { format!("{a}-{}", b - 1) }
            });
            format!(
                "holes in the file: {total} bytes were never written and read as zeros (slices {slices}; bytes {bytes})"
            )
        }
        None => format!("holes in the file: {total} bytes were never written and read as zeros (bytes {bytes})"),
    };
    // With a sidecar in place the zeros themselves decide, when they are read.
    let weight = if unfinished { Weight::Broken } else { Weight::Suspicious };
    let at = large.first().zip(large.last()).map(|(a, b)| (a.start / slice) as usize..(b.end.div_ceil(slice)) as usize);
    let mut f = Finding::new(Kind::Holes, weight, text).bytes(large.first().map(|h| (*h).clone()));
    f.slices = volume.and(at);
    vec![f]
}

/// Values of a slice that tell how long its rows are.
const ENOUGH: usize = 1 << 18;

/// Mean square of how much values change over `lag` values of the file, where not both are zero.
fn change(v: &[f32], lag: usize) -> f64 {
    let pairs = v.iter().zip(v.get(lag..).unwrap_or_default()).step_by((v.len() / 100_000) | 1);
    let (sum, n) = pairs
        .filter(|(a, b)| a.is_finite() && b.is_finite() && (**a != 0.0 || **b != 0.0))
        .fold((0.0, 0u32), |(sum, n), (a, b)| (sum + f64::from(a - b).powi(2), n + 1));
    sum / f64::from(n.max(1))
}

/// The length of rows in the sidecar against the values: those of one row must go on in the next.
pub fn width(source: &dyn FrameSource) -> Result<Option<Finding>> {
    let shape = source.shape();
    if shape.rows < 16 || shape.cols < 16 || shape.frame_len() > 1 << 28 {
        return Ok(None);
    }
    // Rows about the middle, as many as tell.
    let wanted = (ENOUGH / shape.cols).max(8 * shape.rows.max(shape.cols) / shape.cols).clamp(16, shape.rows);
    let first = (shape.rows - wanted) / 2;
    let rows = first..first + wanted;
    let (mut exchanged, mut other) = (0, None);
    let asked = [shape.frames / 2, shape.frames / 4, shape.frames * 3 / 4];
    for (i, z) in asked.into_iter().enumerate() {
        let mut v = vec![0f32; wanted * shape.cols];
        source.read_f32(&Region::of_rows(shape, z..z + 1, rows.clone()), &mut Vec::new(), &mut v)?;
        let (told, turned) = (change(&v, shape.cols), change(&v, shape.rows));
        exchanged += usize::from(shape.rows != shape.cols && told > 2.0 * turned && turned > 0.0);
        let length = if i == 0 || other.is_some() { row_length(&v, shape, told) } else { None };
        other = if i == 0 || length == other { length } else { None };
    }
    let text = match other {
        _ if exchanged == asked.len() => format!(
            "rows and columns look exchanged: rows of {} values go on from one to the next, rows of {} do not; try --dims {}x{}x{}",
            shape.rows, shape.cols, shape.rows, shape.cols, shape.frames
        ),
        Some(length) => format!(
            "rows of {length} values go on from one to the next, rows of {} do not: these are the dimensions of another volume",
            shape.cols
        ),
        None => return Ok(None),
    };
    Ok(Some(Finding::new(Kind::Width, Weight::Suspicious, text)))
}

/// Another length of rows that goes into the volume, after which values change as little as from one to the next: where those
/// of the length told do not, and a little more or less than it is no better.
fn row_length(v: &[f32], shape: Shape, told: f64) -> Option<usize> {
    const ASIDE: usize = 8;
    // Two rows apart instead of one, where a sample is smooth: four times; where it is rough, less.
    const WORSE: f64 = 1.5;
    let beside = change(v, 1);
    if !(beside > 0.0 && told > WORSE * beside) {
        return None;
    }
    let all = shape.len().ok()? as usize;
    let lengths = (16..=v.len() / 4).filter(|l| all.is_multiple_of(*l) && *l != shape.cols);
    let fits = lengths.filter_map(|l| {
        let d = change(v, l);
        let like = 0.25 * beside..4.0 * beside;
        let better = || d < 0.5 * change(v, l - ASIDE).min(change(v, l + ASIDE));
        (like.contains(&d) && WORSE * d < told && better()).then_some((l, d))
    });
    fits.min_by(|a, b| a.1.total_cmp(&b.1)).map(|f| f.0)
}

/// True where a sidecar states statistics that can be compared.
pub fn told_statistics(meta: &VolumeMeta) -> Option<tomokit_formats::model::VolumeStats> {
    meta.stats.filter(|s| s.min.is_finite() && s.max.is_finite())
}
