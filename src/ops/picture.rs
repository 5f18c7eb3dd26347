//! Pictures of slices and histograms: what `info --preview`, `info --plot` and `convert --to png --window` draw.

use crate::quantise::Statistics;
use rayon::prelude::*;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tomokit_formats::durable::{PartDir, refuse_existing, series_names};
use tomokit_formats::model::VolumeStats;
use tomokit_formats::png::{self, Histogram, Picture, Slice, Style};
use tomokit_formats::{CreateOptions, Error, FrameSource, Region, Result, SliceSink, VolumeMeta};

/// The grey window of pictures.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub enum Window {
    /// Leave out 0.1 % of the values at each end, exact zeros aside.
    Auto,
    /// These values become black and white.
    Fixed(f64, f64),
}

impl Window {
    /// Reads `auto` or `LOW,HIGH`.
    pub fn parse(text: &str) -> std::result::Result<Window, String> {
        if text == "auto" {
            return Ok(Window::Auto);
        }
        let limits = text.split_once(',').and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
        match limits {
            Some((low, high)) if f64::is_finite(low) && f64::is_finite(high) && low < high => {
                Ok(Window::Fixed(low, high))
            }
            Some(_) => Err("the lower limit must be below the upper one".into()),
            None => Err("write 'auto' or LOW,HIGH".into()),
        }
    }

    /// As the drawing takes it.
    pub(crate) fn style(self) -> png::Window {
        match self {
            Window::Auto => png::Window::Tails { share: 0.001, skip_zeros: true },
            Window::Fixed(low, high) => png::Window::Fixed { low, high },
        }
    }
}

/// Pixel size of slices, vertical then horizontal.
fn pixel(meta: &VolumeMeta) -> Option<[f64; 2]> {
    meta.voxel_um.map(|[_, y, x]| [y, x])
}

/// Draws slice `index` of a stack.
pub fn slice(
    source: &dyn FrameSource,
    meta: &VolumeMeta,
    index: usize,
    title: &str,
    window: Window,
) -> Result<Picture> {
    let shape = source.shape();
    if index >= shape.frames {
        return Err(Error::caller("there is no such slice")
            .expected(format!("0 to {}", shape.frames - 1))
            .found(index));
    }
    let mut values = vec![0f32; shape.frame_len()];
    source.read_f32(&Region::of_frames(shape, index..index + 1), &mut Vec::new(), &mut values)?;
    let style = Style {
        window: window.style(),
        pixel_um: pixel(meta),
        unit: meta.value_unit.as_deref().unwrap_or(""),
        ..Style::default()
    };
    Ok(png::slice(&Slice { values: &values, rows: shape.rows, cols: shape.cols, title }, &style))
}

/// Draws the histogram of a whole stack between its 0.01 % tails, widened a little, with the percentiles marked.
pub fn histogram(s: &Statistics, title: &str, unit: &str, file: &Path, overwrite: bool) -> Result<PathBuf> {
    let (a, b) = (s.histogram.quantile(1e-4).unwrap_or(s.min), s.histogram.quantile(1.0 - 1e-4).unwrap_or(s.max));
    let margin = ((b - a) * 0.05).max(f64::EPSILON * a.abs().max(1.0));
    let (low, high) = ((a - margin).max(s.min), (b + margin).min(s.max));
    let (low, high) = if low < high { (low, high) } else { (s.min - 0.5, s.max + 0.5) };
    let counts = s.histogram.rebin(low, high, 800);
    let markers = [(s.percentiles[0].1, "0.1 %"), (s.percentiles[2].1, "median"), (s.percentiles[4].1, "99.9 %")];
    let plot = Histogram { counts: &counts, low, high, title, unit, markers: &markers, size: (1000, 600) };
    png::histogram(&plot).save(file, overwrite)
}

/// A common window for all slices of a stack, from a few of them.
pub fn common_window(source: &dyn FrameSource, window: Window) -> Result<(f64, f64)> {
    if let Window::Fixed(low, high) = window {
        return Ok((low, high));
    }
    const LOOKED_AT: usize = 9;
    let shape = source.shape();
    let n = shape.frames.min(LOOKED_AT);
    let mut values = Vec::new();
    let mut one = vec![0f32; shape.frame_len()];
    // At most a few million values: every so many of each slice.
    let step = (shape.frame_len() * n / (4 << 20)) | 1;
    for i in 0..n {
        let k = (2 * i + 1) * shape.frames / (2 * n);
        source.read_f32(&Region::of_frames(shape, k..k + 1), &mut Vec::new(), &mut one)?;
        values.extend(one.iter().step_by(step));
    }
    Ok(window.style().limits(&values))
}

/// Writes every slice as a picture with colour bar and scale bar: a folder of `NAME_0000.png`, or one file for one slice.
pub struct Pictures {
    target: PathBuf,
    dir: Option<PartDir>,
    create: CreateOptions,
    window: (f64, f64),
    stem: String,
    width: usize,
    next: usize,
    one: Option<png::canvas::Canvas>,
}

impl Pictures {
    /// Starts the output; `window` is the same for all slices.
    pub fn create(path: &Path, create: &CreateOptions, window: (f64, f64)) -> Result<Pictures> {
        let single = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("png"));
        if single && create.shape.frames != 1 {
            return Err(Error::caller(format!("{} slices do not fit into one PNG file", create.shape.frames))
                .path(path)
                .hint("name a folder and add --to png, or choose one slice with --slices"));
        }
        if create.resume {
            return Err(Error::caller("pictures are not resumed: they are made anew").hint("leave out --resume"));
        }
        refuse_existing(path, create.overwrite)?;
        let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let own = [series_names(path), vec![format!("{stem}_#.png")]].concat();
        let dir = if single { None } else { Some(PartDir::create(path, create.overwrite, false, own)?) };
        Ok(Pictures {
            target: path.to_owned(),
            dir,
            create: create.clone(),
            window,
            stem,
            width: (create.start_number + create.shape.frames).to_string().len().max(4),
            next: 0,
            one: None,
        })
    }

    fn draw(&self, index: usize, bytes: &[u8]) -> png::canvas::Canvas {
        let s = self.create.shape;
        let mut values = vec![0f32; s.frame_len()];
        self.create.dtype.to_f32(bytes, &mut values);
        let title = format!("{} {}", self.stem, index + self.create.start_number);
        let style = Style {
            window: png::Window::Fixed { low: self.window.0, high: self.window.1 },
            pixel_um: pixel(&self.create.meta),
            unit: self.create.meta.value_unit.as_deref().unwrap_or(""),
            ..Style::default()
        };
        png::slice(&Slice { values: &values, rows: s.rows, cols: s.cols, title: &title }, &style).canvas
    }
}

impl SliceSink for Pictures {
    fn put(&mut self, first: usize, slices: &[u8]) -> Result<()> {
        let size = self.create.shape.frame_len() * self.create.dtype.size();
        if first != self.next || size == 0 || !slices.len().is_multiple_of(size) {
            return Err(Error::caller("slices must come whole and in order").expected(self.next).found(first));
        }
        self.next += slices.len() / size;
        let Some(dir) = &self.dir else {
            self.one = Some(self.draw(first, slices));
            return Ok(());
        };
        let failed = Mutex::new(None);
        slices.par_chunks_exact(size).enumerate().for_each(|(i, bytes)| {
            let n = first + i + self.create.start_number;
            let file = dir.path().join(format!("{}_{n:0width$}.png", self.stem, width = self.width));
            if let Err(e) = self.draw(first + i, bytes).save(&file, true) {
                failed.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(e);
            }
        });
        match failed.into_inner().unwrap_or_else(|e| e.into_inner()) {
            Some(e) => Err(e),
            None => Ok(()),
        }
    }

    fn finish(self: Box<Self>, _: Option<&VolumeStats>) -> Result<Vec<PathBuf>> {
        if self.next != self.create.shape.frames {
            return Err(Error::caller("slices are missing").expected(self.create.shape.frames).found(self.next));
        }
        match (self.dir, self.one) {
            (Some(dir), _) => Ok(vec![dir.commit()?]),
            (None, Some(canvas)) => Ok(vec![canvas.save(&self.target, self.create.overwrite)?]),
            (None, None) => Err(Error::caller("there is no slice to draw").path(&self.target)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows() {
        assert_eq!(Window::parse("auto"), Ok(Window::Auto));
        assert_eq!(Window::parse("-1, 2.5"), Ok(Window::Fixed(-1.0, 2.5)));
        for bad in ["", "1", "2,1", "1,1", "nan,1", "a,b"] {
            assert!(Window::parse(bad).is_err(), "{bad}");
        }
    }
}
