//! SOLEIL Flyscan (ANATOMIX, PSICHE): a folder `<scan>/` with `<scan>.nxs`, `pre_ref.nxs`, `post_ref.nxs`,
//! `post_dark.nxs` and `<scan>.par`.
//!
//! Paths in the files are those of ANATOMIX (`/flyscan_0003/scan_data/orca_image`, `tomo1Rz1`, `/ref_0`, `/dark_0`).
//! Beside each stack its mean is written (`ref_2d`, `dark_2d`, float32), which is what PyHST2 reads. The stem of the
//! files is the name of the folder.

use super::place::{Places, Run};
use crate::durable::{PartDir, write_small};
use crate::nexus::h5out::H5Out;
use crate::par::make;
use crate::scan_out::spec::joint_type;
use crate::scan_out::{Layout, Part, RefSpec, ScanSpec, ScanWriteOptions, folder_name};
use crate::{DType, Error, Result, Shape};
use std::path::{Path, PathBuf};

/// Entry and datasets of the projections' file.
const ENTRY: &str = "/flyscan_0003";
const IMAGE: &str = "/flyscan_0003/scan_data/orca_image";
const ANGLE: &str = "/flyscan_0003/scan_data/tomo1Rz1";

/// A scan folder being filled.
pub struct Folder {
    files: Vec<H5Out>, // before their stacks, see there
    places: Places,
    means: Vec<Mean>,
    shape: Shape,
    par: Option<(String, String)>,
    dir: PartDir,
}

/// The running mean of the frames in one reference file.
struct Mean {
    file: usize,
    name: &'static str,
    /// Sets that go in, with their types.
    parts: Vec<(Part, DType)>,
    frames: usize,
    sum: Vec<f64>,
    /// The one frame of a set that is an average already, kept as it is instead of a sum.
    single: bool,
}

impl Folder {
    /// Starts the folder and writes everything but the frames.
    pub fn create(path: &Path, spec: &ScanSpec, options: &ScanWriteOptions) -> Result<Folder> {
        let last = spec.shape.frames as f64;
        if let Some(r) = spec.flats.iter().find(|r| r.position > 0.0 && r.position < last) {
            return Err(Error::caller("a Flyscan folder holds flats from before and after the scan only")
                .path(path)
                .found(format!("flats after projection {}", r.position))
                .hint("write NXtomo instead (--to nxtomo)"));
        }
        let stem = folder_name(path)?;
        let own = ["{}.nxs", "{}.par", "pre_ref.nxs", "post_ref.nxs", "post_dark.nxs"];
        let own = own.map(|n| n.replace("{}", &stem)).to_vec();
        let dir = PartDir::create(path, options.overwrite, false, own)?;
        let main = H5Out::create(&dir.path().join(format!("{stem}.nxs")), false)?;
        main.class(ENTRY, "NXentry")?;
        main.text(&format!("{ENTRY}/title"), &spec.name)?;
        let data = format!("{ENTRY}/scan_data");
        main.class(&data, "NXdata")?;
        main.attr_text(&data, "signal", "orca_image")?;
        main.attr_texts(&data, "axes", &["tomo1Rz1", ".", "."])?;
        main.numbers(ANGLE, &spec.angles_deg(), Some("deg"))?;
        main.attr_text(ANGLE, "long_name", "rotation angle")?;
        let stack = main.stack(IMAGE, spec.shape, spec.dtype, options.storage)?;
        main.attr_text(IMAGE, "interpretation", "image")?;
        main.attr_number(IMAGE, "signal", 1i32)?;
        main.attr_number(IMAGE, "primary", 1i32)?;
        let mut folder = Folder {
            places: Places::default(),
            files: vec![main],
            means: Vec::new(),
            shape: spec.shape,
            par: Some((format!("{stem}.par"), par_text(&stem, spec))),
            dir,
        };
        let stack = folder.places.stack(stack);
        folder.places.part(Part::Projections, spec.dtype, stack, vec![Run { first: 0, at: 0 }]);
        let pick = |sets: &[RefSpec], keep: fn(f64) -> bool| -> Vec<usize> {
            (0..sets.len()).filter(|&i| keep(sets[i].position)).collect()
        };
        let (before, after) = (pick(&spec.flats, |p| p <= 0.0), pick(&spec.flats, |p| p > 0.0));
        let (flats, darks, all) = (("/ref_0", "/ref_2d"), ("/dark_0", "/dark_2d"), pick(&spec.darks, |_| true));
        folder.refs(path, "pre_ref.nxs", flats, &spec.flats, &before, Part::Flats, options)?;
        folder.refs(path, "post_ref.nxs", flats, &spec.flats, &after, Part::Flats, options)?;
        folder.refs(path, "post_dark.nxs", darks, &spec.darks, &all, Part::Darks, options)?;
        Ok(folder)
    }

    #[allow(clippy::too_many_arguments)] // one call per file, every argument differs
    fn refs(
        &mut self,
        path: &Path,
        file: &str,
        (stack, mean): (&str, &'static str),
        sets: &[RefSpec],
        pick: &[usize],
        part: fn(usize) -> Part,
        options: &ScanWriteOptions,
    ) -> Result<()> {
        if pick.is_empty() {
            return Ok(());
        }
        let out = H5Out::create(&self.dir.path().join(file), false)?;
        let single = pick.len() == 1 && sets[pick[0]].averaged && sets[pick[0]].frames == 1;
        if !single {
            let frames = pick.iter().map(|&i| sets[i].frames).sum();
            let dtype = joint_type(path, sets, pick)?;
            let stack = out.stack(stack, Shape { frames, ..self.shape }, dtype, options.storage)?;
            let stack = self.places.stack(stack);
            let mut at = 0;
            for &i in pick {
                self.places.part(part(i), sets[i].dtype, stack, vec![Run { first: 0, at }]);
                at += sets[i].frames;
            }
        }
        self.means.push(Mean {
            file: self.files.len(),
            name: mean,
            parts: pick.iter().map(|&i| (part(i), sets[i].dtype)).collect(),
            frames: 0,
            sum: Vec::new(),
            single,
        });
        self.files.push(out);
        Ok(())
    }
}

impl Layout for Folder {
    fn put(&mut self, part: Part, first: usize, frames: &[u8]) -> Result<()> {
        let n = self.shape.frame_len();
        for m in &mut self.means {
            let Some((_, dtype)) = m.parts.iter().find(|p| p.0 == part) else { continue };
            if m.single {
                self.files[m.file].frame(m.name, self.shape.rows, self.shape.cols, *dtype, frames)?;
                return Ok(());
            }
            m.sum.resize(n, 0.0);
            let mut values = vec![0.0; n];
            for frame in frames.chunks_exact(n * dtype.size()) {
                dtype.to_f64(frame, &mut values);
                m.sum.iter_mut().zip(&values).for_each(|(s, v)| *s += v);
                m.frames += 1;
            }
        }
        self.places.put(self.shape, part, first, frames)
    }

    fn finish(self: Box<Self>) -> Result<Vec<PathBuf>> {
        let Folder { places, files, means, shape, par, dir } = *self;
        if let Err(e) = files.iter().try_for_each(H5Out::flush) {
            drop(files);
            return Err(e);
        }
        drop(places);
        for m in means.iter().filter(|m| !m.single) {
            let mean: Vec<f32> = m.sum.iter().map(|s| (s / m.frames as f64) as f32).collect();
            files[m.file].frame(m.name, shape.rows, shape.cols, DType::F32, bytemuck::cast_slice(&mean))?;
        }
        let mut names = Vec::new();
        for file in files {
            names.extend(file.commit()?.file_name().map(PathBuf::from));
        }
        if let Some((name, text)) = par {
            write_small(&dir.path().join(&name), text.as_bytes(), false)?;
            names.push(name.into());
        }
        let target = dir.commit()?;
        Ok(names.into_iter().map(|n| target.join(n)).collect())
    }
}

/// What the `.par` says of the files: PyHST2 reads the HDF5 directly. Paths start at the folder above, where it is run.
fn par_text(stem: &str, spec: &ScanSpec) -> String {
    let n = spec.shape.frames;
    let inside = |file: &str| format!("{stem}/{file}");
    let pre = spec.flats.iter().any(|r| r.position <= 0.0);
    let post = spec.flats.iter().any(|r| r.position > 0.0);
    let flats = [(pre, 0, "pre_ref.nxs"), (post, n, "post_ref.nxs")].into_iter().filter(|f| f.0);
    make::scan_text(
        spec,
        &make::Images {
            projections: inside(&format!("{stem}.nxs")),
            projections_dataset: Some(IMAGE),
            postfix: ".nxs",
            digits: 4,
            flats: flats.clone().map(|f| inside(f.2)).collect(),
            flats_dataset: Some("/ref_2d"),
            flat_numbers: flats.map(|f| f.1).collect(),
            dark: (!spec.darks.is_empty()).then(|| inside("post_dark.nxs")),
            dark_dataset: Some("/dark_2d"),
            angles: None,
            output: inside(&format!("{stem}.vol")),
        },
    )
}
