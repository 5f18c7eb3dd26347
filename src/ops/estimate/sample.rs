//! What a kind of scan is, in numbers: from cameras and options, from a plan, from a scan that exists. And what it weighs.
//!
//! The arithmetic is that of the beamline's user guide (its equation 4.1): raw = 2 bytes × columns × rows × (projections +
//! references); a volume = 4 bytes × diameter² × rows. With as many projections as columns and no references a standard scan is
//! 6 · columns² · rows bytes; an extended field without overlap is four times that, binning by 2 an eighth.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tomokit_formats::{Error, Result};

/// Cameras by name: columns and rows of the whole sensor. All of them store 16 bits per pixel.
pub const CAMERAS: [(&str, u64, u64); 4] =
    [("orca-flash", 2048, 2048), ("orca-lightning", 4608, 2592), ("dhyana", 2048, 2048), ("dimax", 2000, 2000)];

/// Bytes of an EDF header, per frame.
const EDF_HEADER: u64 = 1024;
/// Bytes around the pixels of a TIFF slice, about.
const TIFF_HEADER: u64 = 512;
/// Files of a Flyscan folder: projections, references before and after, darks, parameters.
const RAW_FILES: u64 = 5;
/// A volume with `.info`, `.xml` and histogram.
const VOLUME_FILES: u64 = 4;
/// A headerless 8 or 16-bit volume with `.info`, receipt, `.mhd`, `.nhdr` and macro.
const COPY_FILES: u64 = 6;

/// A further copy of every volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyKind {
    /// 8-bit volume.
    #[serde(rename = "8")]
    Eight,
    /// 16-bit volume.
    #[serde(rename = "16")]
    Sixteen,
    /// TIFF series, 32-bit.
    #[serde(rename = "tiff")]
    Tiff,
    /// TIFF series, 8-bit.
    #[serde(rename = "tiff8")]
    Tiff8,
    /// TIFF series, 16-bit.
    #[serde(rename = "tiff16")]
    Tiff16,
}

impl CopyKind {
    /// By name.
    pub fn parse(text: &str) -> std::result::Result<CopyKind, String> {
        match text.trim() {
            "8" => Ok(CopyKind::Eight),
            "16" => Ok(CopyKind::Sixteen),
            "tiff" | "tiff32" => Ok(CopyKind::Tiff),
            "tiff8" => Ok(CopyKind::Tiff8),
            "tiff16" => Ok(CopyKind::Tiff16),
            _ => Err("copies are 8, 16, tiff, tiff8, tiff16".into()),
        }
    }

    fn value_bytes(self) -> u64 {
        match self {
            CopyKind::Eight | CopyKind::Tiff8 => 1,
            CopyKind::Sixteen | CopyKind::Tiff16 => 2,
            CopyKind::Tiff => 4,
        }
    }

    fn is_series(self) -> bool {
        matches!(self, CopyKind::Tiff | CopyKind::Tiff8 | CopyKind::Tiff16)
    }
}

/// A kind of scan as somebody describes it; what is left out is filled in by [`Spec::resolve`].
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// Name for the table.
    pub name: Option<String>,
    /// How many such scans.
    pub scans: Option<u64>,
    /// One of [`CAMERAS`].
    pub camera: Option<String>,
    /// Part of the sensor that is read, columns × rows: `3000x2400`.
    pub roi: Option<String>,
    /// Pixels averaged in either direction.
    pub binning: Option<u64>,
    /// Columns of a projection, before binning.
    pub nx: Option<u64>,
    /// Rows of a projection, before binning.
    pub nz: Option<u64>,
    /// Projections as taken [default: as many as columns; extended: two per column of the volume].
    pub projections: Option<u64>,
    /// Flats and darks.
    pub references: Option<u64>,
    /// Extended field (half acquisition).
    pub extended: Option<bool>,
    /// Columns seen twice in an extended field, after binning; or
    pub overlap: Option<u64>,
    /// the width of the volume itself.
    pub diameter: Option<u64>,
    /// Reconstructions per scan: 2 for plain and Paganin.
    pub volumes: Option<u64>,
    /// Further copies of every volume.
    #[serde(deserialize_with = "copies")]
    pub copies: Option<Vec<CopyKind>>,
    /// Keep the projections as EDF too.
    pub keep_edf: Option<bool>,
    /// Keep no 32-bit volume.
    pub drop_float: Option<bool>,
    /// A scan (folder, HDF5 file, .par) to take the numbers from, relative to the plan.
    pub like: Option<PathBuf>,
}

/// `copies = ["8", "tiff"]`, `copies = [8]` or `copies = "8,tiff"`.
fn copies<'de, D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Option<Vec<CopyKind>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum One {
        Text(String),
        Number(u64),
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Any {
        Many(Vec<One>),
        One(One),
    }
    let texts = match Any::deserialize(d)? {
        Any::Many(v) => v,
        Any::One(o) => vec![o],
    };
    let texts = texts.into_iter().map(|o| match o {
        One::Text(t) => t,
        One::Number(n) => n.to_string(),
    });
    parse_copies(&texts.collect::<Vec<_>>().join(",")).map(Some).map_err(serde::de::Error::custom)
}

/// `8,tiff`; an empty text is none.
pub fn parse_copies(text: &str) -> std::result::Result<Vec<CopyKind>, String> {
    let mut kinds = Vec::new();
    for name in text.split([',', ' ', '+']).filter(|t| !t.is_empty()) {
        let kind = CopyKind::parse(name)?;
        if kinds.contains(&kind) {
            return Err(format!("the copy '{name}' is named twice"));
        }
        kinds.push(kind);
    }
    Ok(kinds)
}

/// `3000x2400`.
pub fn parse_size(text: &str) -> std::result::Result<(u64, u64), String> {
    let n: Option<Vec<u64>> = text.split(['x', 'X', '×']).map(|p| p.trim().parse().ok().filter(|n| *n > 0)).collect();
    match n.as_deref() {
        Some([x, y]) => Ok((*x, *y)),
        _ => Err(format!("'{text}' is no size: write columns x rows, for example 3000x2400")),
    }
}

/// A kind of scan in numbers.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Sample {
    /// Name for the table.
    pub name: String,
    /// How many scans.
    pub scans: u64,
    /// Columns of a projection as stored.
    pub cols: u64,
    /// Rows of a projection as stored.
    pub rows: u64,
    /// Projections.
    pub projections: u64,
    /// Flats and darks.
    pub references: u64,
    /// Bytes per pixel.
    pub pixel_bytes: u64,
    /// Size of the volume: x, y, z.
    pub volume: [u64; 3],
    /// Reconstructions per scan.
    pub volumes: u64,
    /// Further copies of each.
    pub copies: Vec<CopyKind>,
    /// Projections kept as EDF too.
    pub keep_edf: bool,
    /// No 32-bit volume is kept.
    pub drop_float: bool,
    /// Bytes and files of the raw scan where it exists and was measured.
    pub measured_raw: Option<(u64, u64)>,
    /// Where the numbers come from, and what was assumed.
    pub notes: Vec<String>,
}

impl Spec {
    /// Takes what is missing from `defaults`.
    pub fn or(self, d: &Spec) -> Spec {
        let d = d.clone();
        Spec {
            name: self.name.or(d.name),
            scans: self.scans.or(d.scans),
            camera: self.camera.or(d.camera),
            roi: self.roi.or(d.roi),
            binning: self.binning.or(d.binning),
            nx: self.nx.or(d.nx),
            nz: self.nz.or(d.nz),
            projections: self.projections.or(d.projections),
            references: self.references.or(d.references),
            extended: self.extended.or(d.extended),
            overlap: self.overlap.or(d.overlap),
            diameter: self.diameter.or(d.diameter),
            volumes: self.volumes.or(d.volumes),
            copies: self.copies.or(d.copies),
            keep_edf: self.keep_edf.or(d.keep_edf),
            drop_float: self.drop_float.or(d.drop_float),
            like: self.like.or(d.like),
        }
    }

    /// Names of what is told.
    pub fn told(&self) -> Vec<&'static str> {
        let keys = [
            ("scans", self.scans.is_some()),
            ("camera", self.camera.is_some()),
            ("roi", self.roi.is_some()),
            ("binning", self.binning.is_some()),
            ("nx", self.nx.is_some()),
            ("nz", self.nz.is_some()),
            ("projections", self.projections.is_some()),
            ("references", self.references.is_some()),
            ("extended", self.extended.is_some()),
            ("overlap", self.overlap.is_some()),
            ("diameter", self.diameter.is_some()),
            ("volumes", self.volumes.is_some()),
            ("copies", self.copies.is_some()),
            ("keep_edf", self.keep_edf.is_some()),
            ("drop_float", self.drop_float.is_some()),
        ];
        keys.into_iter().filter(|k| k.1).map(|k| k.0).collect()
    }

    /// True where nothing says how large a scan is.
    pub fn is_unsized(&self) -> bool {
        self.camera.is_none() && self.nx.is_none() && self.nz.is_none() && self.roi.is_none() && self.like.is_none()
    }

    /// Columns and rows that are read, before binning.
    fn size(&self, wrong: impl Fn(String) -> Error) -> Result<(u64, u64)> {
        let sensor = match &self.camera {
            None => None,
            Some(c) => {
                let plain: String = c.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
                let known = CAMERAS.iter().find(|k| {
                    let k = k.0.replace('-', "");
                    plain.starts_with(&k) || k.strip_prefix("orca").is_some_and(|short| plain.starts_with(short))
                });
                let Some(k) = known else {
                    let names: Vec<_> = CAMERAS.iter().map(|k| k.0).collect();
                    return Err(wrong(format!("unknown camera '{c}'"))
                        .hint(format!("known: {}; or give --nx and --nz", names.join(", "))));
                };
                Some((k.1, k.2))
            }
        };
        let roi = self.roi.as_deref().map(parse_size).transpose().map_err(&wrong)?;
        let numbers = (self.nx.is_some(), self.nz.is_some());
        let sensor = match (sensor, roi, numbers) {
            (_, None, _) | (_, Some(_), (false, false)) => sensor,
            // The sensor in numbers, and the part of it that is read.
            (None, Some(_), (true, true)) => self.nx.zip(self.nz),
            _ => {
                return Err(wrong("the size of a projection is given twice: as a region, and as nx or nz".into())
                    .hint("leave one of them out"));
            }
        };
        let full_cols = roi.map(|r| r.0).or(self.nx).or(sensor.map(|s| s.0));
        let full_rows = roi.map(|r| r.1).or(self.nz).or(sensor.map(|s| s.1));
        let (Some(full_cols), Some(full_rows)) = (full_cols, full_rows) else {
            return Err(wrong("the size of a projection is not known".into()).hint("give --camera, or --nx and --nz"));
        };
        if let Some((x, z)) = sensor.filter(|s| full_cols > s.0 || full_rows > s.1) {
            return Err(wrong("the region is larger than the sensor".into())
                .expected(format!("at most {x} x {z}"))
                .found(format!("{full_cols} x {full_rows}")));
        }
        Ok((full_cols, full_rows))
    }

    /// The numbers.
    ///
    /// # Errors
    /// Unknown camera, a region larger than its sensor, numbers missing, zero, or contradicting one another.
    pub fn resolve(&self) -> Result<Sample> {
        let name = self.name.clone().or(self.camera.clone()).unwrap_or("scan".into());
        let wrong = |what: String| Error::caller(format!("{name}: {what}"));
        let mut notes = Vec::new();
        let (full_cols, full_rows) = self.size(wrong)?;
        let binning = self.binning.unwrap_or(1);
        let (cols, rows) = (full_cols / binning.max(1), full_rows / binning.max(1));
        let scans = self.scans.unwrap_or(1);
        let volumes = self.volumes.unwrap_or(1);
        if binning == 0 || cols == 0 || rows == 0 || self.projections == Some(0) || self.diameter == Some(0) {
            return Err(wrong("a size or number of 0 makes no scan".into()));
        }
        some_scans(scans)?;
        let extended = self.extended.unwrap_or(self.overlap.is_some());
        if !extended && self.overlap.is_some() {
            return Err(wrong("an overlap belongs to an extended field".into()).hint("add --extended"));
        }
        if self.overlap.is_some() && self.diameter.is_some() {
            return Err(wrong("the width of the volume is given twice: as an overlap and as a diameter".into())
                .hint("leave one of them out"));
        }
        let diameter = match (self.diameter, extended, self.overlap) {
            (Some(d), ..) => d,
            (None, false, _) => cols,
            (None, true, Some(o)) if o < cols => 2 * cols - o,
            (None, true, Some(o)) => {
                return Err(wrong("the overlap must be narrower than a projection".into())
                    .expected(format!("less than {cols}"))
                    .found(o));
            }
            (None, true, None) => {
                // Four times in all is right only where the projections are four times as many too.
                let amount = match self.projections {
                    None => "four times a standard scan",
                    Some(_) => "a volume four times as large, raw data by the projections given",
                };
                notes.push(format!("extended field without overlap: {amount}; give the overlap for less"));
                2 * cols
            }
        };
        let projections = match self.projections {
            Some(n) => n,
            None => {
                let n = if extended { 2 * diameter } else { cols };
                notes.push(format!("{n} projections assumed"));
                n
            }
        };
        if self.references.is_none() {
            notes.push("flats and darks not counted: give their number with --references".into());
        }
        let drop_float = self.drop_float.unwrap_or(false);
        let copies = self.copies.clone().unwrap_or_default();
        if drop_float && copies.is_empty() && volumes > 0 {
            return Err(wrong(
                "without 32-bit volumes and without copies nothing is left of the reconstruction".into(),
            )
            .hint("add --copies 8"));
        }
        Ok(Sample {
            scans,
            cols,
            rows,
            projections,
            references: self.references.unwrap_or(0),
            pixel_bytes: 2,
            volume: [diameter, diameter, rows],
            volumes,
            copies,
            keep_edf: self.keep_edf.unwrap_or(false),
            drop_float,
            measured_raw: None,
            notes,
            name,
        })
    }
}

/// A kind of scan that is never taken makes no plan.
pub(super) fn some_scans(n: u64) -> Result<u64> {
    if n > 0 { Ok(n) } else { Err(Error::caller("no scans").expected("at least 1").found(n)) }
}

/// Bytes by kind, and files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// Projections, flats, darks as the beamline writes them.
    pub raw: u64,
    /// The same as EDF.
    pub edf: u64,
    /// 32-bit volumes.
    pub volumes: u64,
    /// 8 and 16-bit copies, TIFF series.
    pub copies: u64,
    /// Files, about.
    pub files: u64,
}

impl Sizes {
    /// All bytes.
    pub fn bytes(&self) -> u64 {
        self.raw + self.edf + self.volumes + self.copies
    }

    /// Sum; `None` beyond 64 bits, with room to spare for margins.
    pub fn plus(&self, o: &Sizes) -> Option<Sizes> {
        let s = Sizes {
            raw: self.raw.checked_add(o.raw)?,
            edf: self.edf.checked_add(o.edf)?,
            volumes: self.volumes.checked_add(o.volumes)?,
            copies: self.copies.checked_add(o.copies)?,
            files: self.files.checked_add(o.files)?,
        };
        s.fits()
    }

    fn times(&self, n: u64) -> Option<Sizes> {
        let s = Sizes {
            raw: self.raw.checked_mul(n)?,
            edf: self.edf.checked_mul(n)?,
            volumes: self.volumes.checked_mul(n)?,
            copies: self.copies.checked_mul(n)?,
            files: self.files.checked_mul(n)?,
        };
        s.fits()
    }

    fn fits(self) -> Option<Sizes> {
        let all = self.raw.checked_add(self.edf)?.checked_add(self.volumes)?.checked_add(self.copies)?;
        (all < 1 << 60).then_some(self)
    }
}

fn product(numbers: &[u64]) -> Option<u64> {
    numbers.iter().try_fold(1u64, |a, b| a.checked_mul(*b))
}

impl Sample {
    /// Frames of a scan.
    pub fn frames(&self) -> Option<u64> {
        self.projections.checked_add(self.references)
    }

    fn weigh(&self) -> Option<Sizes> {
        let frame = product(&[self.pixel_bytes, self.cols, self.rows])?;
        let frames = self.frames()?;
        let (raw, raw_files) = match self.measured_raw {
            Some(m) => m,
            None => (frame.checked_mul(frames)?, RAW_FILES),
        };
        let edf = if self.keep_edf { frame.checked_add(EDF_HEADER)?.checked_mul(frames)? } else { 0 };
        let voxels = product(&self.volume)?;
        let float = if self.drop_float { 0 } else { voxels.checked_mul(4)? };
        let mut files = raw_files + if self.keep_edf { frames } else { 0 };
        let mut copies = 0u64;
        let mut per_volume = if self.drop_float { 0 } else { VOLUME_FILES };
        for c in &self.copies {
            let slices = self.volume[2];
            let around = if c.is_series() { TIFF_HEADER.checked_mul(slices)? } else { 0 };
            copies = copies.checked_add(voxels.checked_mul(c.value_bytes())?.checked_add(around)?)?;
            per_volume += if c.is_series() { slices } else { COPY_FILES };
        }
        files = files.checked_add(per_volume.checked_mul(self.volumes)?)?;
        Sizes { raw, edf, volumes: float.checked_mul(self.volumes)?, copies: copies.checked_mul(self.volumes)?, files }
            .fits()
    }

    fn too_large(&self) -> Error {
        Error::limit(format!("{}: an amount of data beyond any disk", self.name)).hint("check the numbers")
    }

    /// What one scan weighs.
    pub fn per_scan(&self) -> Result<Sizes> {
        self.weigh().ok_or_else(|| self.too_large())
    }

    /// What all scans weigh.
    pub fn total(&self) -> Result<Sizes> {
        self.per_scan()?.times(self.scans).ok_or_else(|| self.too_large())
    }

    /// The largest single file, bytes.
    pub fn largest_file(&self) -> Result<u64> {
        let s = self.per_scan()?;
        Ok(s.raw.max(s.volumes / self.volumes.max(1)))
    }

    /// As if the 32-bit volumes were left behind and 8-bit ones copied in their place.
    pub fn with_eight_bits(&self) -> Sample {
        let mut s = self.clone();
        if !s.drop_float && !s.copies.contains(&CopyKind::Eight) {
            s.copies.push(CopyKind::Eight);
        }
        s.drop_float = true;
        s
    }
}
