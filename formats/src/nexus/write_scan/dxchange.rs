//! DXchange as APS and TomoBank write it: `/exchange/{data, data_white, data_dark, theta}`.
//!
//! All flats go into one `data_white`, all darks into one `data_dark`, in order of position, which is what every reader
//! of the format expects. When they were taken is said by `theta_white` and `theta_dark`: the angle of the projection
//! that came next, and for those after the last projection the angle of one more step.

use super::place::{Places, Run};
use crate::nexus::h5out::H5Out;
use crate::scan_out::spec::joint_type;
use crate::scan_out::{Layout, Part, RefSpec, ScanSpec, ScanWriteOptions};
use crate::{Result, Shape};
use std::path::{Path, PathBuf};

/// A DXchange file being filled.
pub struct File {
    out: H5Out, // before its stacks, see there
    places: Places,
    shape: Shape,
}

impl File {
    /// Starts the file and writes everything but the frames.
    pub fn create(path: &Path, spec: &ScanSpec, options: &ScanWriteOptions) -> Result<File> {
        let out = H5Out::create(path, options.overwrite)?;
        let mut file = File { places: Places::default(), out, shape: spec.shape };
        file.out.text("/implements", "exchange:measurement:process")?;
        file.out.group("/exchange")?;
        file.out.text("/exchange/title", &spec.name)?;
        let data = "/exchange/data";
        let stack = file.out.stack(data, spec.shape, spec.dtype, options.storage)?;
        file.out.attr_text(data, "axes", "theta:y:x")?;
        file.out.attr_text(data, "units", if spec.is_attenuation { "1" } else { "counts" })?;
        let stack = file.places.stack(stack);
        file.places.part(Part::Projections, spec.dtype, stack, vec![Run { first: 0, at: 0 }]);
        file.out.numbers("/exchange/theta", &spec.angles_deg(), Some("deg"))?;
        file.refs(path, "white", spec, &spec.flats, Part::Flats, options)?;
        file.refs(path, "dark", spec, &spec.darks, Part::Darks, options)?;
        file.measurement(spec)?;
        Ok(file)
    }

    /// One dataset for all flats or all darks.
    fn refs(
        &mut self,
        path: &Path,
        kind: &str,
        spec: &ScanSpec,
        sets: &[RefSpec],
        part: fn(usize) -> Part,
        options: &ScanWriteOptions,
    ) -> Result<()> {
        let mut pick: Vec<usize> = (0..sets.len()).collect();
        pick.sort_by(|&a, &b| sets[a].position.total_cmp(&sets[b].position));
        if pick.is_empty() {
            return Ok(());
        }
        let name = format!("/exchange/data_{kind}");
        let dtype = joint_type(path, sets, &pick)?;
        let frames = pick.iter().map(|&i| sets[i].frames).sum();
        let stack = self.out.stack(&name, Shape { frames, ..spec.shape }, dtype, options.storage)?;
        self.out.attr_text(&name, "axes", &format!("theta_{kind}:y:x"))?;
        self.out.attr_text(&name, "units", "counts")?;
        let stack = self.places.stack(stack);
        let degrees = spec.angles_deg();
        let beyond = degrees.last().copied().unwrap_or(0.0) + spec.step_deg();
        let mut theta = Vec::new();
        for &i in &pick {
            self.places.part(part(i), sets[i].dtype, stack, vec![Run { first: 0, at: theta.len() }]);
            let angle = degrees.get(sets[i].position.max(0.0) as usize).copied().unwrap_or(beyond);
            theta.resize(theta.len() + sets[i].frames, angle);
        }
        self.out.numbers(&format!("/exchange/theta_{kind}"), &theta, Some("deg"))
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

impl Layout for File {
    fn put(&mut self, part: Part, first: usize, frames: &[u8]) -> Result<()> {
        self.places.put(self.shape, part, first, frames)
    }

    fn finish(self: Box<Self>) -> Result<Vec<PathBuf>> {
        let File { out, places, .. } = *self;
        Ok(vec![out.commit_with(places)?])
    }
}
