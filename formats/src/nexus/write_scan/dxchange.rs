//! DXchange as APS and TomoBank write it: `/exchange/{data, data_white, data_dark, theta}`.
//!
//! All darks go into one `data_dark`, in order of position. Flats go into one `data_white`, or, where they were taken
//! both before and after, into `data_white_pre` and `data_white_post` (the SLS names), since the format has no other
//! word for when a flat was taken. Flats taken in between are refused.

use super::h5out::H5Out;
use super::place::{Places, Run, common};
use super::{Layout, Part, RefSpec, ScanSpec, ScanWriteOptions};
use crate::{DType, Error, Result, Shape};
use std::path::{Path, PathBuf};

/// A DXchange file being filled.
pub struct File {
    places: Places, // closes its datasets before the file
    out: H5Out,
    shape: Shape,
}

/// Sets that share a dataset: their numbers among the flats (or darks), in order of position.
fn by_position(sets: &[RefSpec], keep: impl Fn(f64) -> bool) -> Vec<usize> {
    let mut pick: Vec<usize> = (0..sets.len()).filter(|&i| keep(sets[i].position)).collect();
    pick.sort_by(|&a, &b| sets[a].position.total_cmp(&sets[b].position));
    pick
}

impl File {
    /// Starts the file and writes everything but the frames.
    pub fn create(path: &Path, spec: &ScanSpec, options: &ScanWriteOptions) -> Result<File> {
        let last = spec.shape.frames as f64;
        if let Some(r) = spec.flats.iter().find(|r| r.position > 0.0 && r.position < last) {
            return Err(Error::caller("DXchange cannot say that flats were taken during the scan")
                .path(path)
                .found(format!("flats after projection {}", r.position))
                .hint("write NXtomo instead (--to nxtomo)"));
        }
        let out = H5Out::create(path, options.overwrite)?;
        let mut file = File { places: Places::default(), out, shape: spec.shape };
        file.out.text("/implements", "exchange:measurement:process")?;
        file.out.group("/exchange")?;
        file.out.text("/exchange/title", &spec.name)?;
        let (path, e) = (path.to_owned(), "/exchange/data");
        let stack = file.out.stack(e, spec.shape, spec.dtype, options.storage)?;
        file.out.attr_text(e, "axes", "theta:y:x")?;
        file.out.attr_text(e, "units", if spec.is_attenuation { "1" } else { "counts" })?;
        let stack = file.places.stack(stack);
        file.places.part(Part::Projections, spec.dtype, stack, vec![Run { first: 0, at: 0 }]);
        file.out.numbers("/exchange/theta", &spec.angles_deg(), Some("deg"))?;

        let (before, after) = (by_position(&spec.flats, |p| p <= 0.0), by_position(&spec.flats, |p| p > 0.0));
        if before.is_empty() || after.is_empty() {
            let all = by_position(&spec.flats, |_| true);
            file.refs(&path, "/exchange/data_white", "theta_white:y:x", spec, &spec.flats, &all, Part::Flats, options)?;
        } else {
            for (name, pick) in [("/exchange/data_white_pre", before), ("/exchange/data_white_post", after)] {
                file.refs(&path, name, "theta_white:y:x", spec, &spec.flats, &pick, Part::Flats, options)?;
            }
        }
        let all = by_position(&spec.darks, |_| true);
        file.refs(&path, "/exchange/data_dark", "theta_dark:y:x", spec, &spec.darks, &all, Part::Darks, options)?;
        file.measurement(spec)?;
        Ok(file)
    }

    #[allow(clippy::too_many_arguments)] // one call per dataset, every argument differs
    fn refs(
        &mut self,
        path: &Path,
        name: &str,
        axes: &str,
        spec: &ScanSpec,
        sets: &[RefSpec],
        pick: &[usize],
        part: fn(usize) -> Part,
        options: &ScanWriteOptions,
    ) -> Result<()> {
        if pick.is_empty() {
            return Ok(());
        }
        let dtype = joint_type(path, sets, pick)?;
        let frames = pick.iter().map(|&i| sets[i].frames).sum();
        let stack = self.out.stack(name, Shape { frames, ..spec.shape }, dtype, options.storage)?;
        self.out.attr_text(name, "axes", axes)?;
        self.out.attr_text(name, "units", "counts")?;
        let stack = self.places.stack(stack);
        let mut at = 0;
        for &i in pick {
            self.places.part(part(i), sets[i].dtype, stack, vec![Run { first: 0, at }]);
            at += sets[i].frames;
        }
        Ok(())
    }

    /// What the specification has a place for: sample name, pixel size, distance, energy, current.
    fn measurement(&self, spec: &ScanSpec) -> Result<()> {
        let out = &self.out;
        out.text("/measurement/sample/name", &spec.name)?;
        if let Some([v, h]) = spec.pixel_um {
            out.number("/measurement/instrument/detector/pixel_size_x", h, Some("um"))?;
            out.number("/measurement/instrument/detector/pixel_size_y", v, Some("um"))?;
        }
        if let Some(d) = spec.distance_mm {
            out.number("/measurement/instrument/detector/distance", d, Some("mm"))?;
        }
        if let Some(e) = spec.energy_kev {
            out.number("/measurement/instrument/monochromator/energy", e, Some("keV"))?;
        }
        if let Some(c) = &spec.current {
            out.numbers("/measurement/instrument/source/current", c, Some("mA"))?;
        }
        if let Some(x) = spec.rotation_axis_px {
            // The specification has no place for it; the name says whose convention it is.
            out.number("/process/tomokit/rotation_axis_px", x, Some("pixel"))?;
        }
        Ok(())
    }
}

/// One type for sets that share a dataset.
pub fn joint_type(path: &Path, sets: &[RefSpec], pick: &[usize]) -> Result<DType> {
    common(pick.iter().map(|&i| sets[i].dtype)).ok_or_else(|| {
        Error::caller("no type holds the values of all these flats or darks exactly")
            .path(path)
            .found(pick.iter().map(|&i| sets[i].dtype.name()).collect::<Vec<_>>().join(", "))
    })
}

impl Layout for File {
    fn put(&mut self, part: Part, first: usize, frames: &[u8]) -> Result<()> {
        self.places.put(self.shape, part, first, frames)
    }

    fn finish(self: Box<Self>) -> Result<Vec<PathBuf>> {
        let File { places, out, .. } = *self;
        drop(places);
        Ok(vec![out.commit()?])
    }
}
