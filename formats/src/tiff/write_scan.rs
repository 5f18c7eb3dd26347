//! A scan as folders of TIFF files: `projections/`, `flats/` and `darks/` from before the scan, `flats_after/` and
//! `darks_after/` from after it, `angles.txt` in degrees. [`super::layout`] reads it, as do MuhRec, tomopy scripts and
//! people with ImageJ. Pixel sizes stand in the files; the rotation axis has no place.

use crate::angle_list;
use crate::durable::{PartDir, write_small};
use crate::scan_out::{Layout, Part, RefSpec, ScanSpec, ScanWriteOptions};
use crate::{CreateOptions, DType, Error, Result, Shape, SliceSink};
use std::path::{Path, PathBuf};

/// A scan folder being filled.
pub(crate) struct Folder {
    sinks: Vec<(Part, Box<dyn SliceSink>)>, // before the folder they lie in
    angles: String,
    dir: PartDir,
}

impl Folder {
    /// Starts the folder and its sub-folders.
    pub fn create(path: &Path, spec: &ScanSpec, options: &ScanWriteOptions) -> Result<Folder> {
        options.storage.refuse("TIFF").map_err(|e| e.path(path))?;
        if spec.is_attenuation {
            return Err(Error::caller("folders of TIFF files cannot say that the values are −log already")
                .path(path)
                .hint("write Flyscan or EDF instead"));
        }
        let mut parts = vec![("projections", Part::Projections, spec.shape, spec.dtype)];
        let last = spec.shape.frames as f64;
        let mut refs = |sets: &[RefSpec], names: [&'static str; 2], part: fn(usize) -> Part| -> Result<()> {
            for (i, set) in sets.iter().enumerate() {
                let name = match set.position {
                    p if p <= 0.0 => names[0],
                    p if p >= last => names[1],
                    p => return Err(refused(path, format!("{} after projection {p}", names[0]))),
                };
                if parts.iter().any(|p| p.0 == name) {
                    return Err(refused(path, format!("two sets of {name}")));
                }
                parts.push((name, part(i), Shape { frames: set.frames, ..spec.shape }, set.dtype));
            }
            Ok(())
        };
        refs(&spec.flats, ["flats", "flats_after"], Part::Flats)?;
        refs(&spec.darks, ["darks", "darks_after"], Part::Darks)?;
        if parts.len() == 1 {
            return Err(Error::caller("a folder of TIFF projections without flats or darks is not known as a scan")
                .path(path)
                .hint("write NXtomo instead (--to nxtomo)"));
        }
        let own = ["flats", "flats_after", "darks", "darks_after", parts[0].0].map(|n| format!("{n}/"));
        let own = own.into_iter().chain([angle_list::NAME.to_owned()]).collect();
        let dir = PartDir::create(path, options.overwrite, false, own)?;
        let sink = |(name, part, shape, dtype): (&str, Part, Shape, DType)| {
            let mut o = CreateOptions::new(shape, dtype);
            o.variant = Some("series".into());
            o.meta.voxel_um = spec.pixel_um.map(|[v, h]| [v, v, h]);
            Ok((part, super::write::create(&dir.path().join(name), &o)?))
        };
        let sinks = parts.into_iter().map(sink).collect::<Result<_>>()?;
        Ok(Folder { sinks, angles: angle_list::text(&spec.angles_deg()), dir })
    }
}

fn refused(path: &Path, found: String) -> Error {
    Error::caller("folders of TIFF files hold one set of flats and of darks from before the scan and one from after it")
        .path(path)
        .found(found)
        .hint("write NXtomo instead (--to nxtomo)")
}

impl Layout for Folder {
    fn put(&mut self, part: Part, first: usize, frames: &[u8]) -> Result<()> {
        let sink = self.sinks.iter_mut().find(|s| s.0 == part);
        sink.ok_or_else(|| Error::caller(format!("{part:?} was not announced")))?.1.put(first, frames)
    }

    fn finish(self: Box<Self>) -> Result<Vec<PathBuf>> {
        let Folder { sinks, angles, dir } = *self;
        let mut names = Vec::new();
        for (_, sink) in sinks {
            names.extend(sink.finish(None)?.iter().filter_map(|p| p.file_name().map(PathBuf::from)));
        }
        write_small(&dir.path().join(angle_list::NAME), angles.as_bytes(), false)?;
        names.push(angle_list::NAME.into());
        let target = dir.commit()?;
        Ok([target.clone()].into_iter().chain(names.iter().map(|n| target.join(n))).collect())
    }
}
