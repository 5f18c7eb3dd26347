//! NXtomo: one stack of all frames in the order they were taken, with an image key.
//!
//! The file follows the application definition (entry, instrument/detector, sample, control, data with links) and adds
//! what ESRF's tools write on top: `image_key_control`, `field_of_view`, the beam's energy, lengths in metres. Group and
//! class names are those its public readers look for (nxtomo, httomo, h5py scripts with `/entry/data`).

use super::place::{Places, Run};
use crate::model::FieldOfView;
use crate::nexus::h5out::H5Out;
use crate::scan_out::spec::common;
use crate::scan_out::{Layout, Part, ScanSpec, ScanWriteOptions};
use crate::{DType, Error, Result, Shape};
use std::path::{Path, PathBuf};

/// Name of the entry; ESRF's tools number theirs from here.
const ENTRY: &str = "/entry0000";

/// An NXtomo file being filled.
pub struct File {
    out: H5Out, // before its stacks, see there
    places: Places,
    shape: Shape,
}

/// A run of frames of one kind in the common stack.
struct Taken {
    part: Part,
    /// First frame and number of frames within the part.
    first: usize,
    frames: usize,
}

/// The order of all frames: darks before flats before projections where they share a position.
fn order(spec: &ScanSpec) -> Vec<Taken> {
    let n = spec.shape.frames;
    let mut refs: Vec<(usize, u8, Part, usize)> = Vec::new();
    let at = |p: f64| (p.max(0.0) as usize).min(n);
    refs.extend(spec.darks.iter().enumerate().map(|(i, r)| (at(r.position), 0, Part::Darks(i), r.frames)));
    refs.extend(spec.flats.iter().enumerate().map(|(i, r)| (at(r.position), 1, Part::Flats(i), r.frames)));
    refs.sort_by_key(|r| (r.0, r.1));
    let (mut taken, mut done) = (Vec::new(), 0);
    for (at, _, part, frames) in refs {
        if at > done {
            taken.push(Taken { part: Part::Projections, first: done, frames: at - done });
            done = at;
        }
        taken.push(Taken { part, first: 0, frames });
    }
    if done < n {
        taken.push(Taken { part: Part::Projections, first: done, frames: n - done });
    }
    taken
}

impl File {
    /// Starts the file and writes everything but the frames.
    pub fn create(path: &Path, spec: &ScanSpec, options: &ScanWriteOptions) -> Result<File> {
        let types = spec.flats.iter().chain(&spec.darks).map(|r| r.dtype).chain([spec.dtype]);
        let dtype = common(types).ok_or_else(|| {
            Error::caller("NXtomo keeps all frames in one stack, and no type holds these values exactly").path(path)
        })?;
        let out = H5Out::create(path, options.overwrite)?;
        let file = File { places: Places::default(), out, shape: spec.shape };
        file.fill(spec, dtype, options)
    }

    fn fill(mut self, spec: &ScanSpec, dtype: DType, options: &ScanWriteOptions) -> Result<File> {
        let taken = order(spec);
        let frames = taken.iter().map(|t| t.frames).sum();
        let (mut keys, mut angles, mut current): (Vec<u8>, Vec<f64>, Vec<f64>) = Default::default();
        let degrees = spec.angles_deg();
        let last = degrees.last().copied().unwrap_or(0.0);
        let mut next = 0;
        for t in &taken {
            for _ in 0..t.frames {
                // The stage rests where the next projection will be taken; after the last, where that was.
                let at = next;
                let key = match t.part {
                    Part::Projections => {
                        next += 1;
                        0
                    }
                    Part::Flats(_) => 1,
                    Part::Darks(_) => 2,
                };
                keys.push(key);
                angles.push(degrees.get(at).copied().unwrap_or(last));
                if let Some(c) = &spec.current {
                    current.push(c.get(at).or(c.last()).copied().unwrap_or(0.0));
                }
            }
        }
        let at = |p: &str| format!("{ENTRY}/{p}");
        let out = &self.out;
        out.attr_text("/", "NX_class", "NXroot")?;
        out.attr_text("/", "default", ENTRY.trim_start_matches('/'))?;
        out.class(ENTRY, "NXentry")?;
        out.attr_text(ENTRY, "default", "data")?;
        // The version of ESRF's paths these are; a number, or nxtomo refuses the file.
        out.attr_number(ENTRY, "version", 1.5f64)?;
        out.text(&at("definition"), "NXtomo")?;
        out.text(&at("title"), &spec.name)?;
        out.class(&at("instrument"), "NXinstrument")?;
        out.class(&at("instrument/detector"), "NXdetector")?;
        out.class(&at("sample"), "NXsample")?;
        out.text(&at("sample/name"), &spec.name)?;
        out.numbers(&at("sample/rotation_angle"), &angles, Some("degree"))?;
        out.numbers(&at("instrument/detector/image_key"), &keys, None)?;
        let control: Vec<i8> = keys.iter().map(|k| *k as i8).collect();
        out.numbers(&at("instrument/detector/image_key_control"), &control, None)?;
        if let Some([v, h]) = spec.pixel_um {
            out.number(&at("instrument/detector/x_pixel_size"), h / 1e6, Some("m"))?;
            out.number(&at("instrument/detector/y_pixel_size"), v / 1e6, Some("m"))?;
        }
        if let Some(d) = spec.distance_mm {
            out.number(&at("instrument/detector/distance"), d / 1e3, Some("m"))?;
        }
        if let Some(x) = spec.rotation_axis_px {
            out.number(&at("instrument/detector/x_rotation_axis_pixel_position"), x, Some("pixel"))?;
        }
        let field = match spec.field_of_view {
            Some(FieldOfView::Half) => "Half",
            _ => "Full",
        };
        out.text(&at("instrument/detector/field_of_view"), field)?;
        if let Some(e) = spec.energy_kev {
            out.class(&at("instrument/beam"), "NXbeam")?;
            out.number(&at("instrument/beam/incident_energy"), e, Some("keV"))?;
            out.class(&at("beam"), "NXbeam")?;
            out.number(&at("beam/incident_energy"), e, Some("keV"))?;
        }
        if !current.is_empty() {
            out.class(&at("control"), "NXmonitor")?;
            out.numbers(&at("control/data"), &current, Some("mA"))?;
        }
        let data = at("instrument/detector/data");
        let stack = out.stack(&data, Shape { frames, ..spec.shape }, dtype, options.storage)?;
        out.attr_text(&data, "interpretation", "image")?;
        out.class(&at("data"), "NXdata")?;
        out.attr_text(&at("data"), "signal", "data")?;
        out.attr_texts(&at("data"), "axes", &["rotation_angle", ".", "."])?;
        out.hard_link(&data, &at("data/data"))?;
        out.hard_link(&at("sample/rotation_angle"), &at("data/rotation_angle"))?;
        out.hard_link(&at("instrument/detector/image_key"), &at("data/image_key"))?;

        let stack = self.places.stack(stack);
        let mut places: Vec<(Part, Vec<Run>)> = Vec::new();
        let mut next = 0;
        for t in &taken {
            let run = Run { first: t.first, at: next };
            next += t.frames;
            match places.iter_mut().find(|p| p.0 == t.part) {
                Some(p) => p.1.push(run),
                None => places.push((t.part, vec![run])),
            }
        }
        for (part, runs) in places {
            let own = match part {
                Part::Projections => spec.dtype,
                Part::Flats(i) => spec.flats[i].dtype,
                Part::Darks(i) => spec.darks[i].dtype,
            };
            self.places.part(part, own, stack, runs);
        }
        Ok(self)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan_out::RefSpec;

    #[test]
    fn references_interrupt_the_projections() {
        let mut s = ScanSpec::new("s", Shape::new(10, 2, 2), DType::U16, vec![0.0; 10]);
        let r = |frames, position| RefSpec { frames, position, dtype: DType::U16, averaged: false };
        s.flats = vec![r(2, 0.0), r(3, 4.0), r(1, 10.0)];
        s.darks = vec![r(5, 99.0), r(1, 0.0)];
        let runs: Vec<_> = order(&s).iter().map(|t| (t.part, t.first, t.frames)).collect();
        use Part::*;
        assert_eq!(
            runs,
            [
                (Darks(1), 0, 1),
                (Flats(0), 0, 2),
                (Projections, 0, 4),
                (Flats(1), 0, 3),
                (Projections, 4, 6),
                (Darks(0), 0, 5),
                (Flats(2), 0, 1),
            ]
        );
    }
}
