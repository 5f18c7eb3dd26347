//! A scan as PyHST2 and ESRF's tools read it: a folder `<scan>/` of `<scan>_NNNN.edf`, the medians of the flats as
//! `refHSTNNNN.edf` (NNNN = the projection that came next), the mean of the darks as `dark.edf`, `<scan>.info`,
//! `<scan>.par`, and `angles.txt` where the angles are not equal steps from 0.
//!
//! References are float32 averages: that is all PyHST2 reads. The `.par`'s paths start at the folder above.

use super::write::{header, meta_keys, write_file};
use super::{folder, scan};
use crate::angle_list;
use crate::durable::{PartDir, write_small};
use crate::model::{Combine, VolumeMeta};
use crate::par::make;
use crate::scan_out::average::{Kept, average};
use crate::scan_out::{Layout, Part, RefSpec, ScanSpec, ScanWriteOptions, folder_name};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// A scan folder being filled.
pub(crate) struct Folder {
    kept: Vec<Kept>, // before the folder its files lie in
    dir: PartDir,
    spec: ScanSpec,
    stem: String,
    /// Digits of all numbers: those of the flats after the last projection, at least four.
    digits: usize,
    keys: Vec<(String, String)>,
}

impl Folder {
    /// Starts the folder.
    pub fn create(path: &Path, spec: &ScanSpec, options: &ScanWriteOptions) -> Result<Folder> {
        options.storage.refuse("EDF").map_err(|e| e.path(path))?;
        let stem = folder_name(path)?;
        if scan::role(&format!("{stem}_0000")) != scan::Role::Image || folder::edf_stem(&stem).is_some() {
            return Err(Error::caller("files of this name would be taken for flats, darks or slices")
                .path(path)
                .hint("choose a name that does not begin with ref or dark"));
        }
        // A projection has no size along the beam; the key wants a third number.
        let voxel_um = spec.pixel_um.map(|[v, h]| [v, v, h]);
        let keys = meta_keys(&VolumeMeta { voxel_um, ..VolumeMeta::default() });
        header(0, spec.dtype, &[spec.shape.rows, spec.shape.cols], &keys, 0).map_err(|e| e.or_path(path))?;
        let own = ["{}_#.edf", "{}.info", "{}.par", "refHST#.edf", "dark.edf", angle_list::NAME];
        let own = own.map(|n| n.replace("{}", &stem)).to_vec();
        let dir = PartDir::create(path, options.overwrite, false, own)?;
        let keep = |part, r: &RefSpec| Kept::create(dir.path(), part, r, spec.shape);
        let flats = spec.flats.iter().enumerate().map(|(i, r)| keep(Part::Flats(i), r));
        let darks = spec.darks.iter().enumerate().map(|(i, r)| keep(Part::Darks(i), r));
        let kept = flats.chain(darks).collect::<Result<_>>()?;
        let digits = spec.shape.frames.to_string().len().max(4);
        Ok(Folder { kept, dir, spec: spec.clone(), stem, digits, keys })
    }

    fn frame(&self, name: &str, dtype: crate::DType, bytes: &[u8]) -> Result<()> {
        let head = header(0, dtype, &[self.spec.shape.rows, self.spec.shape.cols], &self.keys, 0)?;
        write_file(&self.dir.path().join(name), &head, bytes, dtype.size())
    }

    /// Writes the averages; returns the numbers of the flats.
    fn references(&self) -> Result<Vec<usize>> {
        let mut flats: BTreeMap<usize, Vec<&Kept>> = BTreeMap::new();
        let mut darks = Vec::new();
        for kept in &self.kept {
            match kept.part() {
                Part::Flats(i) => {
                    let at = self.spec.flats[i].position.round().clamp(0.0, self.spec.shape.frames as f64) as usize;
                    flats.entry(at).or_default().push(kept);
                }
                _ => darks.push(kept),
            }
        }
        for (at, sets) in &flats {
            let (dtype, bytes) = average(sets, Combine::Median)?;
            self.frame(&format!("refHST{at:0w$}.edf", w = self.digits), dtype, &bytes)?;
        }
        if !darks.is_empty() {
            let (dtype, bytes) = average(&darks, Combine::Mean)?;
            self.frame("dark.edf", dtype, &bytes)?;
        }
        Ok(flats.into_keys().collect())
    }

    /// `KEY=   value` lines as ESRF's acquisition writes them.
    fn info(&self, flats: &[usize]) -> String {
        let s = &self.spec;
        let mut t = String::new();
        let mut key = |name: &str, value: String| {
            let _ = writeln!(t, "{:<24}{value}", format!("{name}="));
        };
        if let Some(e) = s.energy_kev {
            key("Energy", e.to_string());
        }
        if let Some(d) = s.distance_mm {
            key("Distance", d.to_string());
        }
        key("Prefix", self.stem.clone());
        // One number for both directions: only where they agree; the images' headers hold both.
        if let Some([v, h]) = s.pixel_um
            && v == h
        {
            key("PixelSize", h.to_string());
        }
        key("TOMO_N", s.shape.frames.to_string());
        // Only where it tells of the flats that are there, and of no others.
        if let [0, every, ..] = *flats
            && (0..=s.shape.frames).step_by(every.max(1)).eq(flats.iter().copied())
        {
            key("REF_ON", every.to_string());
        }
        key("REF_N", s.flats.first().map_or(0, |r| r.frames).to_string());
        key("DARK_N", s.darks.iter().map(|r| r.frames).sum::<usize>().to_string());
        key("ScanRange", (s.step_deg() * s.shape.frames as f64).to_string());
        key("Dim_1", s.shape.cols.to_string());
        key("Dim_2", s.shape.rows.to_string());
        t
    }
}

/// True where projection i lies at i steps from 0.
fn even(spec: &ScanSpec) -> bool {
    let step = spec.step_deg();
    spec.angles_deg().iter().enumerate().all(|(i, a)| (a - step * i as f64).abs() < 1e-7)
}

impl Layout for Folder {
    fn put(&mut self, part: Part, first: usize, frames: &[u8]) -> Result<()> {
        if part == Part::Projections {
            let n = self.spec.shape.frame_len() * self.spec.dtype.size();
            return frames.chunks_exact(n).enumerate().try_for_each(|(i, frame)| {
                let name = format!("{}_{:0w$}.edf", self.stem, first + i, w = self.digits);
                self.frame(&name, self.spec.dtype, frame)
            });
        }
        let kept = self.kept.iter().find(|k| k.part() == part);
        kept.ok_or_else(|| Error::caller(format!("{part:?} was not announced")))?.put(first, frames)
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<PathBuf>> {
        let flats = self.references()?;
        self.kept.clear();
        let (dir, stem) = (self.dir.path(), &self.stem);
        let mut names = vec![format!("{stem}.info"), format!("{stem}.par")];
        let even = even(&self.spec);
        if !even {
            let list = angle_list::text(&self.spec.angles_deg());
            write_small(&dir.join(angle_list::NAME), list.as_bytes(), false)?;
            names.push(angle_list::NAME.into());
        }
        write_small(&dir.join(&names[0]), self.info(&flats).as_bytes(), false)?;
        let inside = |file: &str| format!("{stem}/{file}");
        let par = make::scan_text(
            &self.spec,
            &make::Images {
                projections: inside(&format!("{stem}_")),
                projections_dataset: None,
                postfix: ".edf",
                digits: self.digits,
                flats: vec![inside("refHST")],
                flats_dataset: None,
                flat_numbers: flats,
                dark: (!self.spec.darks.is_empty()).then(|| inside("dark.edf")),
                dark_dataset: None,
                angles: (!even).then(|| inside(angle_list::NAME)),
                output: format!("{stem}.vol"),
            },
        );
        write_small(&dir.join(&names[1]), par.as_bytes(), false)?;
        let target = self.dir.commit()?;
        Ok([target.clone()].into_iter().chain(names.iter().map(|n| target.join(n))).collect())
    }
}
