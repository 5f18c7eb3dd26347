//! From a parameter file to the scan it describes: projections, flats with their positions, dark, angles, geometry.
//!
//! Guarantees: file numbers are never cut; every file named must exist; what is not applied (spike filters,
//! phase retrieval, normalisation by machine current …) is a warning by name. Leaves to others: reading the images, by whatever format
//! the registry finds; and all of PyHST2's reconstruction options.
//!
//! Conventions of PyHST2: ROTATION_AXIS_POSITION counts pixels from 0 at the centre of the first column; flat numbers
//! are projection numbers; ANGLE_BETWEEN_PROJECTIONS is in degrees per projection used.

use super::text::{Par, numbered};
use crate::model::{Angles, FieldOfView, RefPosition, RefSet, Scan};
use crate::registry::{self, OpenOptions};
use crate::series::Series;
use crate::source::{Access, FrameSource, Frames};
use crate::{About, DType, Error, Fault, Region, Result, Shape, Warnings};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// More files than any scan has.
const MAX_FILES: u64 = 10_000_000;

/// Opens the scan a `.par` describes; warnings come with it.
pub fn open_scan(path: &Path, options: &OpenOptions) -> Result<(Scan, Warnings)> {
    from_par(&Par::read(path)?, options)
}

/// As [`open_scan`] for a file read already (or edited in memory).
pub fn from_par(par: &Par, options: &OpenOptions) -> Result<(Scan, Warnings)> {
    let mut warnings = Warnings::default();
    let prefix = par.text("FILE_PREFIX").ok_or_else(|| absent(par, "FILE_PREFIX"))?;
    let first = whole(par, "NUM_FIRST_IMAGE")?.unwrap_or(0);
    let last = whole(par, "NUM_LAST_IMAGE")?.unwrap_or(0);
    let interval = whole(par, "FILE_INTERVAL")?.unwrap_or(1);
    let numbers = numbers(par, "NUM_LAST_IMAGE", first, last, interval)?;
    let vertical = par.bool("ROTATION_VERTICAL")?.unwrap_or(true);
    let opener = Opener { par, options, vertical };

    // Projections.
    let naming = Naming::read(par, "")?;
    let container = is_hdf5(prefix) || par.i64("MULTIFRAME")?.unwrap_or(0) > 0;
    let (base, projections, origin, mut files) = if container {
        let (base, file) = opener.find(prefix, &mut warnings)?;
        let dataset = is_hdf5(prefix).then(|| par.text("PROJ_DS_NAME").unwrap_or("data"));
        let inner = opener.open(&file, dataset)?;
        let picked = pick(par, inner, &numbers, &file)?;
        let origin = dataset.map_or(file.display().to_string(), |d| format!("{}:{d}", file.display()));
        (base, picked, origin, vec![file])
    } else {
        let name = naming.name(par, prefix, numbers[0])?;
        let (base, found) = opener.find(&name, &mut warnings)?;
        // Where the file lies elsewhere than written, so do its neighbours.
        let dir = found.parent().unwrap_or(Path::new("")).to_owned();
        let files: Vec<PathBuf> =
            numbers.iter().map(|n| Ok(dir.join(last_part(&naming.name(par, prefix, *n)?)))).collect::<Result<_>>()?;
        let series = opener.series(files.clone())?;
        (base, series, format!("{}…", found.display()), files)
    };
    let shape = projections.shape();
    let pick_row_col = [shape.rows, shape.cols];
    for (key, n) in [
        ("NUM_IMAGE_1", if vertical { shape.cols } else { shape.rows }),
        ("NUM_IMAGE_2", if vertical { shape.rows } else { shape.cols }),
    ] {
        if let Some(told) = whole(par, key)?
            && told != n as u64
            && told != 0
        {
            warnings.add(About::Counts, format!("{key} = {told}, but the projections have {n} pixels there"));
        }
    }

    // References.
    let at = References { opener: &opener, base: &base, size: pick_row_col, first, interval };
    let flats = at.flats(par, &mut files, &mut warnings)?;
    let darks = at.darks(par, &mut files, &mut warnings)?;

    // Geometry.
    let angles = angles(par, &base, shape.frames, &mut files)?;
    let pixel = par.f64("IMAGE_PIXEL_SIZE_1")?.filter(|v| *v > 0.0);
    let pixel_vertical = par.f64("IMAGE_PIXEL_SIZE_2")?.filter(|v| *v > 0.0);
    let movement = movement(par, &base, &mut files, &mut warnings)?;
    ignored(par, &mut warnings);
    files.insert(0, par.path().to_owned());
    let name = par.path().file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let scan = Scan {
        name,
        layout: "par",
        projections,
        projections_origin: origin,
        flats,
        darks,
        field_of_view: Some(field_of_view(par, shape.frames)?),
        angles,
        rotation_axis_px: par.f64("ROTATION_AXIS_POSITION")?,
        pixel_um: pixel.map(|h| [pixel_vertical.unwrap_or(h), h]),
        damaged: Vec::new(),
        is_attenuation: !par.bool("TAKE_LOGARITHM")?.unwrap_or(true),
        zero_clip: par.f64("ZEROCLIPVALUE")?,
        movement,
        overlap_px: par.f64("PENTEZONE")?.filter(|v| *v > 0.0),
        current: None,
        files,
    };
    Ok((scan, warnings))
}

/// The movement of the axis, where it is to be applied.
fn movement(par: &Par, base: &Path, files: &mut Vec<PathBuf>, warnings: &mut Warnings) -> Result<Option<PathBuf>> {
    let Some(name) = par.text("AXIS_CORRECTION_FILE").filter(|t| !t.is_empty()) else { return Ok(None) };
    if !par.bool("DO_AXIS_CORRECTION")?.unwrap_or(false) {
        return Ok(None);
    }
    let here = par.path().parent().unwrap_or(Path::new(""));
    let found = [base.join(name), here.join(name), here.join(last_part(name))].into_iter().find(|p| p.is_file());
    match &found {
        Some(path) => files.push(path.clone()),
        None => warnings.push(format!("AXIS_CORRECTION_FILE {name} is not there and not applied")),
    }
    Ok(found)
}

/// Keys that change the data and are not applied, as warnings by name.
fn ignored(par: &Par, warnings: &mut Warnings) {
    let raw = |key: &str| par.value(key).map(|v| v.raw.trim().trim_matches(['"', '\'']).to_owned());
    // Each with the value that means "off".
    let keys = [
        ("IGNORE_FILE", ""),
        ("CURRENT_NAME", ""),
        ("JP2EDF_DIR", ""),
        ("DO_CCD_FILTER", "0"),
        ("REFERENCES_HOTPIXEL_THRESHOLD", "0"),
        ("DOUBLEFFCORRECTION", "0"),
        ("DOUBLEFFCORRECTION_ONTHEFLY", "0"),
        ("ONECLIPVALUE", "10"),
        ("DO_PAGANIN", "0"),
        ("PUS", "0"),
        ("DO_RING_FILTER", "0"),
        ("DO_SINO_FILTER", "0"),
        ("FW_LEVELS", "0"),
        ("STRAIGTHEN_SINOS", "0"),
        ("DXPERPROJ", "0"),
        ("DZPERPROJ", "0"),
        ("CONICITY", "0"),
        ("CONICITY_FAN", "0"),
        ("NO_SINOGRAM_FILTERING", "0"),
        ("ITERATIVE_CORRECTIONS", "0"),
        ("DENOISING_TYPE", "1"),
        ("DETECTOR_DUTY_RATIO", "1"),
        ("BINNING", "1"),
        ("SUMRULE", "0"),
        ("STEAM_INVERTER", "0"),
    ];
    for (key, off) in keys {
        let Some(found) = raw(key) else { continue };
        let same = match (found.parse::<f64>(), off.parse::<f64>()) {
            (Ok(a), Ok(b)) => a == b,
            _ => found == off || matches!(found.as_str(), "" | "NO" | "None" | "N.A."),
        };
        // Iterations are what makes the denoising and its kin matter.
        let idle = key == "DENOISING_TYPE" && raw("ITERATIVE_CORRECTIONS").is_none_or(|v| v == "0");
        if !same && !idle {
            warnings.push(format!("{key} = {found} is not applied"));
        }
    }
}

fn absent(par: &Par, key: &str) -> Error {
    Error::file(par.path(), format!("{key} is missing")).hint("this file does not describe a scan")
}

fn is_hdf5(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    [".h5", ".nxs", ".hdf5", ".hdf", ".nx"].iter().any(|e| lower.ends_with(e))
}

/// A whole number of at least 0.
fn whole(par: &Par, key: &str) -> Result<Option<u64>> {
    par.i64(key)?
        .map(|n| {
            u64::try_from(n)
                .map_err(|_| Error::file(par.path(), format!("{key} is negative")).expected("0 or more").found(n))
        })
        .transpose()
}

/// `first, first + interval, … ≤ last`.
fn numbers(par: &Par, key: &str, first: u64, last: u64, interval: u64) -> Result<Vec<u64>> {
    if last < first || interval == 0 || (last - first) / interval >= MAX_FILES {
        return Err(Error::file(par.path(), "the file numbers make no sense")
            .expected(format!("first ≤ last ({key}), interval ≥ 1, at most {MAX_FILES} files"))
            .found(format!("{first} to {last} in steps of {interval}")));
    }
    Ok((0..=(last - first) / interval).map(|i| first + i * interval).collect())
}

/// The part of a path after the last separator of either system.
fn last_part(name: &str) -> &str {
    name.rsplit(['/', '\\']).next().unwrap_or(name)
}

/// The file name rule of one set of files (`""` or `FF_`).
struct Naming {
    length: usize,
    varies: bool,
    postfix: String,
}

impl Naming {
    fn read(par: &Par, set: &str) -> Result<Naming> {
        let key = |k: &str| format!("{set}{k}");
        let postfix = if set.is_empty() { "FILE_POSTFIX".to_owned() } else { key("POSTFIX") };
        Ok(Naming {
            length: whole(par, &key("LENGTH_OF_NUMERICAL_PART"))?.unwrap_or(4).min(20) as usize,
            varies: par.bool(&key("NUMBER_LENGTH_VARIES"))?.unwrap_or(false),
            postfix: par.text(&postfix).unwrap_or(".edf").to_owned(),
        })
    }

    fn name(&self, par: &Par, prefix: &str, number: u64) -> Result<String> {
        numbered(prefix, number, self.length, self.varies, &self.postfix).map_err(|e| e.or_path(par.path()))
    }
}

/// Opens images the way the parameter file wants them.
struct Opener<'a> {
    par: &'a Par,
    options: &'a OpenOptions,
    vertical: bool,
}

impl Opener<'_> {
    /// Finds a file named in the parameter file: relative to the file's own folder, to the folder above (where
    /// PyHST2 is started at the beamline), to the working directory; and, for scans that were moved, by its last
    /// parts beside the parameter file. Returns the base folder and the path.
    fn find(&self, name: &str, warnings: &mut Warnings) -> Result<(PathBuf, PathBuf)> {
        let here = self.par.path().parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        let above = std::path::absolute(&here).ok().and_then(|p| p.parent().map(Path::to_owned));
        let bases: Vec<PathBuf> =
            [Some(here.clone()), above.clone(), Some(PathBuf::from("."))].into_iter().flatten().collect();
        for base in &bases {
            let path = base.join(name);
            if path.is_file() {
                return Ok((base.clone(), path));
            }
        }
        let parts: Vec<&str> = name.split(['/', '\\']).filter(|p| !p.is_empty() && *p != "." && *p != "..").collect();
        for keep in [3, 2, 1] {
            for base in bases.iter().take(2).filter(|_| keep <= parts.len()) {
                let path = parts[parts.len() - keep..].iter().fold(base.clone(), |p, part| p.join(part));
                if path.is_file() {
                    warnings.push(format!("{name} is not there; {} is taken instead", path.display()));
                    return Ok((base.clone(), path));
                }
            }
        }
        Err(Error::new(Fault::System, "a file named in the parameter file is not there")
            .path(self.par.path())
            .expected(name)
            .found(format!("nothing of this name under {}", here.display()))
            .hint("start in the folder the paths are relative to, or put the images beside the .par"))
    }

    fn image_options(&self, dataset: Option<&str>, map: bool) -> OpenOptions {
        OpenOptions {
            dataset: dataset.map(str::to_owned),
            no_mmap: self.options.no_mmap || !map,
            cache_bytes: self.options.cache_bytes,
            ..Default::default()
        }
    }

    fn turn(&self, source: Arc<dyn FrameSource>) -> Arc<dyn FrameSource> {
        if self.vertical { source } else { Arc::new(Transposed(source)) }
    }

    /// One file with any number of frames.
    fn open(&self, path: &Path, dataset: Option<&str>) -> Result<Arc<dyn FrameSource>> {
        let (volume, _) = registry::open_volume(path, &self.image_options(dataset, true))?;
        Ok(self.turn(volume.source))
    }

    /// One frame per file.
    fn series(&self, files: Vec<PathBuf>) -> Result<Arc<dyn FrameSource>> {
        let options = self.image_options(None, false);
        let series = Series::open(files, Box::new(move |p| registry::open_volume(p, &options).map(|(v, _)| v.source)))?;
        Ok(self.turn(Arc::new(series)))
    }
}

/// Frames by number out of one file.
fn pick(par: &Par, inner: Arc<dyn FrameSource>, numbers: &[u64], file: &Path) -> Result<Arc<dyn FrameSource>> {
    let n = inner.shape().frames;
    if let Some(beyond) = numbers.iter().find(|i| **i >= n as u64) {
        return Err(Error::file(file, format!("there is no frame {beyond}"))
            .expected(format!("{} frames by {}", numbers.len(), par.path().display()))
            .found(format!("{n} frames")));
    }
    if numbers.len() == n {
        return Ok(inner);
    }
    Ok(Arc::new(Frames { inner, pick: numbers.iter().map(|i| *i as usize).collect() }))
}

/// What flats and darks have in common.
struct References<'a> {
    opener: &'a Opener<'a>,
    base: &'a Path,
    /// Rows and columns of the projections.
    size: [usize; 2],
    first: u64,
    interval: u64,
}

impl References<'_> {
    /// A projection number as a position in the scan.
    fn position(&self, number: u64) -> RefPosition {
        RefPosition((number as f64 - self.first as f64) / self.interval as f64)
    }

    fn find(&self, name: &str, warnings: &mut Warnings) -> Result<PathBuf> {
        let near = self.base.join(name);
        if near.is_file() { Ok(near) } else { Ok(self.opener.find(name, warnings)?.1) }
    }

    fn set(&self, path: &Path, dataset: Option<&str>, position: RefPosition) -> Result<RefSet> {
        let source = self.opener.open(path, dataset)?;
        let Shape { frames, rows, cols } = source.shape();
        if [rows, cols] != self.size {
            return Err(Error::file(path, "this reference has another size than the projections")
                .expected(format!("{} × {}", self.size[0], self.size[1]))
                .found(format!("{rows} × {cols}")));
        }
        let origin = dataset.map_or(path.display().to_string(), |d| format!("{}:{d}", path.display()));
        // PyHST2's refHST and dark files are averages; so is a single image in a container.
        Ok(RefSet { source, position, averaged: frames == 1, origin })
    }

    fn flats(&self, par: &Par, files: &mut Vec<PathBuf>, warnings: &mut Warnings) -> Result<Vec<RefSet>> {
        if !par.bool("CORRECT_FLATFIELD")?.unwrap_or(false) {
            return Ok(Vec::new());
        }
        let mut sets = Vec::new();
        if !par.bool("FLATFIELD_CHANGING")?.unwrap_or(false) {
            let name = par.text("FLATFIELD_FILE").ok_or_else(|| absent(par, "FLATFIELD_FILE"))?;
            let dataset = is_hdf5(name).then(|| par.text("FF_DS_NAME").unwrap_or("data"));
            let path = self.find(name, warnings)?;
            sets.push(self.set(&path, dataset, RefPosition(0.0))?);
            files.push(path);
            return Ok(sets);
        }
        let prefixes = par.list("FF_PREFIX")?.unwrap_or_else(|| vec!["refHST".into()]);
        let first = whole(par, "FF_NUM_FIRST_IMAGE")?.unwrap_or(0);
        let last = whole(par, "FF_NUM_LAST_IMAGE")?.unwrap_or(1500);
        let at: Vec<u64> = match par.list("FF_FILE_INTERVAL")? {
            // A list holds the numbers themselves.
            Some(list) if par.value("FF_FILE_INTERVAL").is_some_and(|v| v.raw.starts_with('[')) => list
                .iter()
                .map(|w| {
                    w.parse().map_err(|_| {
                        Error::file(par.path(), "FF_FILE_INTERVAL is not readable").expected("numbers").found(w)
                    })
                })
                .collect::<Result<_>>()?,
            _ => numbers(par, "FF_NUM_LAST_IMAGE", first, last, whole(par, "FF_FILE_INTERVAL")?.unwrap_or(1500))?,
        };
        if prefixes.iter().all(|p| is_hdf5(p)) {
            let dataset = par.text("FF_DS_NAME").unwrap_or("data");
            if prefixes.len() > at.len() {
                return Err(Error::file(par.path(), "there are more flat files than flat numbers")
                    .expected(format!("{} files for the numbers {at:?}", at.len()))
                    .found(format!("{} files in FF_PREFIX", prefixes.len())));
            }
            for (name, number) in prefixes.iter().zip(&at) {
                let path = self.find(name, warnings)?;
                sets.push(self.set(&path, Some(dataset), self.position(*number))?);
                files.push(path);
            }
            return Ok(sets);
        }
        let naming = Naming::read(par, "FF_")?;
        let mut missing = Vec::new();
        for number in &at {
            let name = naming.name(par, &prefixes[0], *number)?;
            match self.find(&name, warnings) {
                Ok(path) => {
                    sets.push(self.set(&path, None, self.position(*number))?);
                    files.push(path);
                }
                Err(e) => missing.push((name, e)),
            }
        }
        if sets.is_empty()
            && let Some((_, e)) = missing.pop()
        {
            return Err(e);
        }
        for (name, _) in &missing {
            warnings.add(About::Counts, format!("the flat {name} is missing"));
        }
        Ok(sets)
    }

    fn darks(&self, par: &Par, files: &mut Vec<PathBuf>, warnings: &mut Warnings) -> Result<Vec<RefSet>> {
        if !par.bool("SUBTRACT_BACKGROUND")?.unwrap_or(false) {
            return Ok(Vec::new());
        }
        let name = par.text("BACKGROUND_FILE").ok_or_else(|| absent(par, "BACKGROUND_FILE"))?;
        let dataset = is_hdf5(name).then(|| par.text("BACKGROUND_DS_NAME").unwrap_or("data"));
        let path = self.find(name, warnings)?;
        let set = self.set(&path, dataset, RefPosition(0.0))?;
        files.push(path);
        Ok(vec![set])
    }
}

fn angles(par: &Par, base: &Path, n: usize, files: &mut Vec<PathBuf>) -> Result<Angles> {
    let offset = par.f64("ANGLE_OFFSET")?.unwrap_or(0.0);
    if let Some(name) = par.text("ANGLES_FILE") {
        let path = base.join(name);
        let text = crate::io::read_small_text(&path, 64 << 20)?;
        let mut rad = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            for word in line.split_whitespace() {
                let deg: f64 = word.parse().ok().filter(|v: &f64| v.is_finite()).ok_or_else(|| {
                    Error::file(&path, format!("line {} is not readable", i + 1)).expected("degrees").found(word)
                })?;
                rad.push((deg + offset).to_radians());
            }
        }
        if rad.len() != n {
            return Err(Error::file(&path, "the number of angles differs from that of the projections")
                .expected(n)
                .found(rad.len()));
        }
        files.push(path);
        return Ok(Angles { rad, origin: "ANGLES_FILE".into() });
    }
    let step = par.f64("ANGLE_BETWEEN_PROJECTIONS")?.ok_or_else(|| absent(par, "ANGLE_BETWEEN_PROJECTIONS"))?;
    let rad = (0..n).map(|i| (offset + step * i as f64).to_radians()).collect();
    Ok(Angles { rad, origin: "ANGLE_BETWEEN_PROJECTIONS".into() })
}

/// PyHST2's own rule: 360° within 0.001 rad means extended field, unless OPTIONS says otherwise.
fn field_of_view(par: &Par, n: usize) -> Result<FieldOfView> {
    let avoid = match par.dict("OPTIONS") {
        Ok(d) => d.unwrap_or_default().into_iter().find(|(k, _)| k == "avoidhalftomo").map(|(_, v)| v),
        // Options built by code are opaque; PyHST2's default then.
        Err(_) => None,
    };
    let turn = par.f64("ANGLE_BETWEEN_PROJECTIONS")?.unwrap_or(0.0).abs() * n as f64;
    Ok(match avoid.as_deref() {
        Some("Y") => FieldOfView::Full,
        Some("F") => FieldOfView::Half,
        _ if (turn - 360.0).to_radians().abs() <= 0.001 => FieldOfView::Half,
        _ => FieldOfView::Full,
    })
}

/// Frames with rows and columns exchanged (ROTATION_VERTICAL = NO).
struct Transposed(Arc<dyn FrameSource>);

impl FrameSource for Transposed {
    fn shape(&self) -> Shape {
        let Shape { frames, rows, cols } = self.0.shape();
        Shape { frames, rows: cols, cols: rows }
    }

    fn dtype(&self) -> DType {
        self.0.dtype()
    }

    fn access(&self) -> Access {
        let a = self.0.access();
        Access { unit: Shape { frames: a.unit.frames, rows: a.unit.cols, cols: a.unit.rows }, ..a }
    }

    fn files(&self) -> Vec<PathBuf> {
        self.0.files()
    }

    fn read(&self, region: &Region, out: &mut [u8]) -> Result<()> {
        let size = self.dtype().size();
        region.check(self.shape(), size, out.len())?;
        let (rows, cols) = (region.rows.len(), region.cols.len());
        let frame = rows * cols * size;
        if frame == 0 {
            return Ok(());
        }
        let mut block = vec![0u8; frame];
        for (f, out) in region.frames.clone().zip(out.chunks_exact_mut(frame)) {
            let inner = Region { frames: f..f + 1, rows: region.cols.clone(), cols: region.rows.clone() };
            self.0.read(&inner, &mut block)?;
            for (i, value) in out.chunks_exact_mut(size).enumerate() {
                let (r, c) = (i / cols, i % cols);
                value.copy_from_slice(&block[(c * rows + r) * size..][..size]);
            }
        }
        Ok(())
    }
}
