//! Where samples come from besides options: scans that exist, parameter files, and plans in TOML or CSV.

use super::sample::{Sample, Spec, parse_copies, some_scans};
use crate::ops::recon::extended_width;
use crate::ops::tables;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use tomokit_formats::par::Par;
use tomokit_formats::{Content, Error, OpenOptions, Result, io, registry};

/// Largest plan read.
const MAX_PLAN: u64 = 4 << 20;

/// A plan: kinds of scans, and how the beamtime goes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    /// Days of beamtime.
    pub days: Option<f64>,
    /// Factor for what nobody thought of.
    pub margin: Option<f64>,
    /// Size of a disk as sold: `4TB`.
    pub disk: Option<String>,
    /// Rate of copying to one disk, MB/s: `40-100` or `75`.
    pub rate: Option<String>,
    /// Disks copied to at the same time.
    pub parallel: Option<u64>,
    /// What all samples share.
    pub all: Spec,
    /// Kinds of scans.
    pub sample: Vec<Spec>,
}

impl Plan {
    /// How the beamtime goes, by both: each setting is told by one of them, or by both alike.
    ///
    /// # Errors
    /// They differ.
    pub fn join(self, other: Plan) -> Result<Plan> {
        fn same<T: PartialEq + std::fmt::Display>(name: &str, a: Option<T>, b: Option<T>) -> Result<Option<T>> {
            match (a, b) {
                (Some(a), Some(b)) if a != b => Err(Error::caller(format!("the plans differ in '{name}'"))
                    .expected(a)
                    .found(b)
                    .hint(format!("say which with --{name}, or estimate them one by one"))),
                (a, b) => Ok(a.or(b)),
            }
        }
        Ok(Plan {
            days: same("days", self.days, other.days)?,
            margin: same("margin", self.margin, other.margin)?,
            disk: same("disk", self.disk, other.disk)?,
            rate: same("rate", self.rate, other.rate)?,
            parallel: same("parallel", self.parallel, other.parallel)?,
            all: Spec::default(),
            sample: Vec::new(),
        })
    }

    /// Refuses options that the plan tells already: they would count for nothing.
    ///
    /// # Errors
    /// Which option, and for which sample.
    pub fn leaves_open(&self, options: &Spec) -> Result<()> {
        for s in &self.sample {
            let s = s.clone().or(&self.all);
            let told = s.told();
            let sized = s.nx.is_some() && s.nz.is_some();
            let ignored = options.told().into_iter().find(|o| told.contains(o) || (*o == "camera" && sized));
            if let Some(o) = ignored {
                let of = s.name.map_or("a sample".into(), |n| format!("'{n}'"));
                return Err(Error::caller(format!(
                    "--{} does not go with a plan that tells it for {of} already",
                    o.replace('_', "-")
                ))
                .hint("change it in the plan, or take it out there"));
            }
        }
        Ok(())
    }
}

/// True for names of plans.
pub fn is_plan(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_ascii_lowercase());
    extension.is_some_and(|e| e == "toml" || e == "csv")
}

/// Reads a plan.
///
/// # Errors
/// With the line where it is wrong.
pub fn read_plan(path: &Path) -> Result<Plan> {
    let text = io::read_small_text(path, MAX_PLAN)?;
    let csv = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
    let mut plan = if csv { plan_of_csv(&text, path)? } else { plan_of_toml(&text, path)? };
    if plan.sample.is_empty() {
        return Err(
            Error::file(path, "a plan without a sample").hint("'tomo estimate --init plan.toml' writes an example")
        );
    }
    let beside = path.parent().unwrap_or(Path::new(""));
    for s in &mut plan.sample {
        s.like = s.like.take().map(|l| beside.join(l));
    }
    Ok(plan)
}

fn plan_of_toml(text: &str, path: &Path) -> Result<Plan> {
    toml::from_str(text).map_err(|e| {
        let line = e.span().map_or(1, |s| text[..s.start.min(text.len())].matches('\n').count() + 1);
        Error::file(path, format!("line {line}: {}", e.message().replace('\n', " ")))
            .hint("'tomo estimate --init plan.toml' writes an example with every key")
    })
}

fn plan_of_csv(text: &str, path: &Path) -> Result<Plan> {
    let (headings, rows) = tables::read_csv(text, path)?;
    let twice = headings.iter().enumerate().find(|(i, h)| !h.is_empty() && headings[..*i].contains(h));
    if let Some((_, heading)) = twice {
        return Err(
            Error::file(path, format!("the heading '{heading}' is there twice")).hint("keep one of the two columns")
        );
    }
    let mut plan = Plan::default();
    for (line, row) in rows {
        let mut s = Spec::default();
        for (key, cell) in headings.iter().zip(&row).filter(|(_, c)| !c.is_empty()) {
            let wrong = |what: String| {
                Error::file(path, format!("line {line}: column '{key}': {what}"))
                    .found(cell)
                    .hint("'tomo estimate --init plan.csv' writes an example")
            };
            let number = || cell.parse::<u64>().map(Some).map_err(|_| wrong("no whole number".into()));
            let yes = || match cell.to_ascii_lowercase().as_str() {
                "yes" | "true" | "1" | "x" => Ok(Some(true)),
                "no" | "false" | "0" => Ok(Some(false)),
                _ => Err(wrong("write yes or no".into())),
            };
            match key.as_str() {
                "name" => s.name = Some(cell.clone()),
                "scans" => s.scans = number()?,
                "camera" => s.camera = Some(cell.clone()),
                "roi" => s.roi = Some(cell.clone()),
                "binning" => s.binning = number()?,
                "nx" => s.nx = number()?,
                "nz" => s.nz = number()?,
                "projections" => s.projections = number()?,
                "references" => s.references = number()?,
                "extended" => s.extended = yes()?,
                "overlap" => s.overlap = number()?,
                "diameter" => s.diameter = number()?,
                "volumes" => s.volumes = number()?,
                "copies" => s.copies = Some(parse_copies(cell).map_err(wrong)?),
                "keep_edf" => s.keep_edf = yes()?,
                "drop_float" => s.drop_float = yes()?,
                "like" => s.like = Some(PathBuf::from(cell)),
                _ => return Err(wrong("no such column".into())),
            }
        }
        plan.sample.push(s);
    }
    Ok(plan)
}

/// A sample from its description, reading the scan it is `like`, where it names one.
pub fn sample(spec: &Spec) -> Result<Sample> {
    let Some(like) = &spec.like else { return spec.resolve() };
    let mut s = scan(like)?;
    let like = like.clone();
    // What the description says besides, counts.
    if let Some(n) = &spec.name {
        s.name.clone_from(n);
    }
    s.scans = some_scans(spec.scans.unwrap_or(s.scans))?;
    s.volumes = spec.volumes.unwrap_or(s.volumes);
    s.copies = spec.copies.clone().unwrap_or(s.copies);
    s.keep_edf = spec.keep_edf.unwrap_or(s.keep_edf);
    s.drop_float = spec.drop_float.unwrap_or(s.drop_float);
    if let Some(d) = spec.diameter {
        (s.volume[0], s.volume[1]) = (d, d);
    }
    let fixed = [
        ("projections", spec.projections.is_some()),
        ("references", spec.references.is_some()),
        ("nx", spec.nx.is_some()),
        ("nz", spec.nz.is_some()),
        ("roi", spec.roi.is_some()),
        ("binning", spec.binning.is_some()),
        ("camera", spec.camera.is_some()),
        ("overlap", spec.overlap.is_some()),
        ("extended", spec.extended.is_some()),
    ];
    if let Some((key, _)) = fixed.iter().find(|f| f.1) {
        return Err(Error::caller(format!("{key} is taken from the scan and cannot be given besides"))
            .path(like)
            .hint("leave it out, or describe the scan in numbers only"));
    }
    if s.drop_float && s.copies.is_empty() && s.volumes > 0 {
        return Err(Error::caller("without 32-bit volumes and without copies nothing is left of the reconstruction")
            .hint("add copies: --copies 8"));
    }
    Ok(s)
}

/// A sample like a scan on disk: its numbers and the bytes it really takes.
///
/// # Errors
/// Not a scan.
pub fn scan(path: &Path) -> Result<Sample> {
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("par")) {
        return par(path);
    }
    let opened = registry::open(path, &OpenOptions::default())?;
    let Content::Scan(scan) = opened.content else {
        return Err(Error::caller("this is no scan")
            .path(path)
            .found(opened.format)
            .hint("'tomo info' tells what it is"));
    };
    let shape = scan.projections.shape();
    let references = scan.flats.iter().chain(&scan.darks).map(|r| r.source.shape().frames as u64).sum();
    let mut notes = vec![format!("{}: {}", path.display(), scan.layout)];
    notes.extend(opened.warnings.texts());
    let diameter = match (extended_width(&scan), scan.rotation_axis_px) {
        (Some(Some(n)), _) => n as u64,
        (Some(None), _) => {
            notes.push("extended field with an axis nobody recorded: twice the width assumed".into());
            2 * shape.cols as u64
        }
        (None, _) => shape.cols as u64,
    };
    let mut bytes = 0;
    for f in &scan.files {
        bytes += std::fs::metadata(f).map_err(|e| Error::io(f, "reading the size", e))?.len();
    }
    Ok(Sample {
        name: scan.name.clone(),
        scans: 1,
        cols: shape.cols as u64,
        rows: shape.rows as u64,
        projections: shape.frames as u64,
        references,
        pixel_bytes: scan.projections.dtype().size() as u64,
        volume: [diameter, diameter, shape.rows as u64],
        volumes: 1,
        copies: Vec::new(),
        keep_edf: false,
        drop_float: false,
        measured_raw: (bytes > 0).then_some((bytes, scan.files.len() as u64)),
        notes,
    })
}

/// A sample from a parameter file of PyHST2; the files it names need not be there.
fn par(path: &Path) -> Result<Sample> {
    let par = Par::read(path)?;
    let number = |key: &str| -> Result<u64> {
        par.i64(key)?
            .and_then(|n| u64::try_from(n).ok())
            .ok_or_else(|| Error::file(path, format!("{key} is missing")).hint("a parameter file of PyHST2 has it"))
    };
    let span = |first: u64, last: u64, what: &str| -> Result<u64> {
        last.checked_sub(first).map(|n| n + 1).ok_or_else(|| Error::file(path, format!("{what} end before they begin")))
    };
    let (cols, rows) = (number("NUM_IMAGE_1")?, number("NUM_IMAGE_2")?);
    let step = par.i64("FILE_INTERVAL")?.and_then(|n| u64::try_from(n).ok()).unwrap_or(1).max(1);
    let (first, last) = (number("NUM_FIRST_IMAGE")?, number("NUM_LAST_IMAGE")?);
    let projections = (span(first, last, "the projections")? - 1) / step + 1;
    // One median flat every FF_NUM_FILE_INTERVAL projections, one dark.
    let flats = match (par.i64("FF_NUM_FIRST_IMAGE")?, par.i64("FF_NUM_LAST_IMAGE")?, par.i64("FF_FILE_INTERVAL")?) {
        (Some(a), Some(b), Some(n)) if b >= a && n > 0 => ((b - a) / n + 1) as u64,
        _ => 0,
    };
    let mut volume = [cols, cols, rows];
    for (i, n) in volume.iter_mut().enumerate() {
        let at = |end: &str| par.i64(&format!("{end}_VOXEL_{}", i + 1));
        if let (Some(a), Some(b)) = (at("START")?, at("END")?)
            && let (Ok(a), Ok(b)) = (u64::try_from(a), u64::try_from(b))
        {
            *n = span(a, b, "the voxels")?;
        }
    }
    Ok(Sample {
        name: path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default(),
        scans: 1,
        cols,
        rows,
        projections,
        references: flats + 1,
        pixel_bytes: 2,
        volume,
        volumes: 1,
        copies: Vec::new(),
        keep_edf: false,
        drop_float: false,
        measured_raw: None,
        notes: vec![format!("{}: numbers of the parameter file", path.display())],
    })
}

/// An example plan in the form the name asks for.
pub fn example(path: &Path) -> &'static str {
    match path.extension() {
        Some(e) if e.eq_ignore_ascii_case("csv") => EXAMPLE_CSV,
        _ => EXAMPLE_TOML,
    }
}

const EXAMPLE_TOML: &str = r#"# A plan for tomo estimate. Change the numbers, then: tomo estimate plan.toml --html plan.html
days = 3            # of beamtime
margin = 2          # for what nobody thought of
disk = "4TB"        # size as sold
rate = "40-100"     # MB/s to one disk; "75" where it was measured (tomo disks FOLDER --probe)
parallel = 1        # disks copied to at the same time

[all]               # what all samples share
references = 120    # flats and darks per scan
volumes = 2         # reconstructions per scan: plain and Paganin
copies = ["8"]      # further copies of each: 8, 16, tiff, tiff8, tiff16
keep_edf = false
drop_float = false  # true: the 32-bit volumes are not taken home

[[sample]]
name = "rocks"
camera = "orca-flash"   # orca-flash, orca-lightning, dhyana, dimax; or nx and nz
scans = 40
projections = 2000

[[sample]]
name = "teeth, extended field"
camera = "orca-lightning"
roi = "3000x2400"
scans = 12
extended = true
overlap = 400           # columns seen twice; leave it out for four times a standard scan
projections = 8000

[[sample]]
name = "foam, fast"
camera = "dimax"
binning = 2
scans = 200
projections = 500
volumes = 1

# [[sample]]
# like = "scan_0001"    # a scan that exists: folder, HDF5 file or .par, relative to this plan
# scans = 10
"#;

const EXAMPLE_CSV: &str =
    "# A plan for tomo estimate. A column that is empty may be an option instead, and so are days, disks and rates:
# tomo estimate plan.csv --days 3 --disk 8TB
name,scans,camera,roi,binning,nx,nz,projections,references,extended,overlap,volumes,copies,keep_edf
rocks,40,orca-flash,,,,,2000,120,no,,2,8,no
\"teeth, extended field\",12,orca-lightning,3000x2400,,,,8000,120,yes,400,2,8+tiff8,no
foam,200,,,2,2000,2000,500,60,no,,1,,no
";
