//! `tomo convert`: any readable stack or volume to any writable one.

use crate::cli::common::{Context, InputArgs, OutputArgs, at_least_one, dtype_arg};
use crate::cli::{Exit, Tool, human, output, report};
use crate::ops::convert::{Done, Plan, Request, execute, plan};
use crate::ops::convert_scan;
use crate::ops::picture::Window;
use crate::ops::view::{Axis, Roi, SliceRange, ViewSpec};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use tomokit_formats::registry::{self, Candidate};
use tomokit_formats::scan_out::{ScanLayout, ScanWriteOptions, Storage};
use tomokit_formats::{CreateOptions, DType, Error, Result, Shape};

/// Arguments of `tomo convert`.
#[derive(Args, Debug)]
pub struct Convert {
    /// What to read: a volume, a stack, a series folder, a scan, FILE.h5:/dataset, or a folder of these
    #[arg(value_name = "SRC")]
    input: PathBuf,
    /// What to write; the extension names the format
    #[arg(value_name = "DST")]
    output: PathBuf,
    /// Slices to keep: start:end or start:end:step, end exclusive
    #[arg(long, value_name = "A:B:STEP", value_parser = SliceRange::parse)]
    slices: Option<SliceRange>,
    /// Region to keep, in columns, rows and slices of the input: x0:x1,y0:y1[,z0:z1]
    #[arg(long, value_name = "X0:X1,Y0:Y1", value_parser = Roi::parse)]
    roi: Option<Roi>,
    /// Cut slices across this axis
    #[arg(long, value_enum, default_value_t = AxisArg::Z)]
    axis: AxisArg,
    /// Average cubes of this edge
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    bin: usize,
    /// Store as this type, where it holds every value exactly
    #[arg(long = "type", value_name = "TYPE", value_parser = dtype_arg)]
    to_type: Option<DType>,
    /// Draw pictures for .png: 'auto', or the values that become black and white
    #[arg(long, value_name = "LOW,HIGH", value_parser = Window::parse, allow_hyphen_values = true)]
    window: Option<Window>,
    #[command(flatten)]
    writing: OutputArgs,
    #[command(flatten)]
    reading: InputArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AxisArg {
    Z,
    Y,
    X,
}

impl Tool for Convert {
    const NAME: &'static str = "convert";
    const ABOUT: &'static str = "Convert a volume, stack or series to another format, whole or in part";
    const EXAMPLES: &'static str = "  tomo convert scan.vol slices/ --to tiff          one TIFF per slice
  tomo convert scan.vol scan.tif                   one TIFF (BigTIFF where needed) for all slices
  tomo convert scan.vol fiji.tif --variant imagej  one file that Fiji opens at any size
  tomo convert scan.vol part.vol --slices 500:600 --roi 100:1900,100:1900
  tomo convert scan.vol side/ --to tiff --axis y   cut sideways, without loading the volume
  tomo convert rec.h5:/entry/data/data rec.vol --verify
  tomo convert scan.vol pictures/ --to png --window auto
  tomo convert scan1/ scan1.nxs --to nxtomo        a scan with flats, darks and angles
  tomo convert volumes/ tiffs/ --to tiff           every volume of a folder
";

    fn run(self, context: &Context) -> Result<Exit> {
        if let Some(layout) = self.writing.to.as_deref().and_then(convert_scan::layout_of) {
            return self.run_scan(layout, context);
        }
        if is_collection(&self.input)? {
            return self.run_collection(context);
        }
        let request = self.request(self.input.clone(), self.output.clone(), context);
        let result = self.run_one(&request, context)?;
        if context.json {
            output::json(&result)?;
        }
        Ok(Exit::Done)
    }
}

/// True for a folder that is no format by itself: its items are converted one by one.
fn is_collection(input: &Path) -> Result<bool> {
    let (path, _) = registry::split_dataset(input);
    Ok(path.is_dir() && registry::claims(&Candidate::look(&path)?).is_empty())
}

impl Convert {
    fn request(&self, input: PathBuf, output: PathBuf, context: &Context) -> Request {
        let w = &self.writing;
        // Shape and type are set by the plan.
        let create = w.create(CreateOptions::new(Shape::new(0, 0, 0), DType::U8));
        Request {
            input,
            output,
            open: self.reading.options(context.budget),
            view: ViewSpec {
                roi: self.roi.clone(),
                axis: match self.axis {
                    AxisArg::Z => Axis::Z,
                    AxisArg::Y => Axis::Y,
                    AxisArg::X => Axis::X,
                },
                slices: self.slices,
                bin: self.bin,
                fractions: false,
                physical: None,
                dtype: self.to_type,
            },
            to: w.to.clone(),
            create,
            window: self.window,
            verify: w.verify,
        }
    }

    /// Converts one, says so, and answers the same for scripts.
    fn run_one(&self, request: &Request, context: &Context) -> Result<serde_json::Value> {
        let failed = |e| Error::caller("the result cannot be written as JSON").source(e);
        let plan = plan(request, context.budget)?;
        plan.warnings.iter().for_each(|w| context.warn(w));
        if self.writing.dry_run {
            if !context.json {
                output::print(&plan_text(&plan))?;
            }
            return serde_json::to_value(&plan).map_err(failed);
        }
        let done = execute(&plan, &context.progress, &context.cancel)?;
        if !context.json && !context.quiet {
            output::print(&done_text(&plan, &done))?;
        }
        serde_json::to_value(&done).map_err(failed)
    }

    /// A scan into another layout: everything goes along, nothing is cut.
    fn run_scan(&self, layout: ScanLayout, context: &Context) -> Result<Exit> {
        let w = &self.writing;
        let cut = self.slices.is_some() || self.roi.is_some() || self.bin > 1 || self.to_type.is_some();
        if cut || !matches!(self.axis, AxisArg::Z) || w.verify || w.resume {
            return Err(Error::caller(
                "a scan is copied whole: no --slices, --roi, --axis, --bin, --type, --verify, --resume",
            ));
        }
        let deflate = match w.compression.as_deref() {
            None | Some("none") => None,
            Some("deflate") => Some(4),
            Some(other) => {
                return Err(Error::caller(format!("scans are not written with '{other}'")).expected("none or deflate"));
            }
        };
        let storage = Storage { deflate, ..Storage::default() };
        let options = ScanWriteOptions { storage, overwrite: w.overwrite, ..ScanWriteOptions::new(layout) };
        let plan = convert_scan::plan(&self.input, &self.reading.options(context.budget), &self.output, &options)?;
        plan.warnings.iter().for_each(|t| context.warn(t));
        let text = format!(
            "{} ({}): {} projections, {} flats, {} darks, {}\n",
            plan.output.display(),
            plan.output_layout,
            plan.projections,
            plan.flats,
            plan.darks,
            human::bytes(plan.bytes_written)
        );
        if w.dry_run {
            match context.json {
                true => output::json(&plan)?,
                false => output::print(&format!("would write {text}"))?,
            }
            return Ok(Exit::Done);
        }
        let outputs = convert_scan::execute(&plan, &context.progress, &context.cancel)?;
        match context.json {
            true => output::json(&serde_json::json!({ "outputs": outputs, "plan": plan }))?,
            false if !context.quiet => output::print(&text)?,
            false => {}
        }
        Ok(Exit::Done)
    }

    /// Every recognised item of a folder into a folder; one failure does not stop the others.
    fn run_collection(&self, context: &Context) -> Result<Exit> {
        let Some(to) = &self.writing.to else {
            return Err(Error::caller("a folder of volumes needs the output format").hint("add for example --to tiff"));
        };
        let items = self.items(registry::by_name(to)?)?;
        if items.is_empty() {
            return Err(Error::caller("nothing in this folder can be converted").path(&self.input));
        }
        if !self.writing.dry_run {
            std::fs::create_dir_all(&self.output).map_err(|e| Error::io(&self.output, "creating the folder", e))?;
        }
        let (mut exit, mut results) = (Exit::Done, Vec::new());
        for (item, target) in items {
            context.cancel.check()?;
            match self.run_one(&self.request(item.clone(), target, context), context) {
                Ok(mut r) => {
                    if let Some(result) = r.as_object_mut() {
                        result.insert("input".into(), item.to_string_lossy().into());
                    }
                    results.push(r);
                }
                Err(e) if e.fault() == tomokit_formats::Fault::Interrupted => return Err(e),
                Err(e) => {
                    let e = e.or_path(&item);
                    exit = exit.merge(report::report(&e));
                    results.push(report::json(&item, &e));
                }
            }
        }
        if context.json {
            output::json(&results)?;
        }
        Ok(exit)
    }

    /// What there is in the folder, and where it goes.
    ///
    /// # Errors
    /// `Caller` where two would go to the same place.
    fn items(&self, spec: &registry::FormatSpec) -> Result<Vec<(PathBuf, PathBuf)>> {
        let mut items: Vec<(PathBuf, PathBuf)> = Vec::new();
        let folder = Candidate::look(&self.input)?;
        for name in &folder.entries {
            let item = self.input.join(name);
            let Ok(candidate) = Candidate::look(&item) else { continue };
            let claims = registry::claims(&candidate);
            // Sidecars and parameter files are no volumes of their own.
            if claims.is_empty() || claims[0].0.name == "par" || is_sidecar(&item, &folder) {
                continue;
            }
            let stem =
                if candidate.is_dir { Path::new(name) } else { Path::new(Path::new(name).file_stem().unwrap_or(name)) };
            let target = match spec.extensions.first() {
                Some(ext) if spec.variants.first() != Some(&"series") => {
                    tomokit_formats::io::with_suffix(&self.output.join(stem), &format!(".{ext}"))
                }
                _ => self.output.join(stem),
            };
            // No disk of a user's tells them apart by case alone.
            let folded = |p: &Path| p.to_string_lossy().to_lowercase();
            if let Some((other, _)) = items.iter().find(|(_, t)| folded(t) == folded(&target)) {
                return Err(Error::caller("two volumes of this folder would go to the same output")
                    .path(&target)
                    .found(format!("{} and {}", other.display(), item.display()))
                    .hint("convert them one by one, each with an output of its own"));
            }
            items.push((item, target));
        }
        Ok(items)
    }
}

/// `x.mhd`, `x.nhdr`, `x.vol.info` … beside the file they describe.
fn is_sidecar(item: &Path, folder: &Candidate) -> bool {
    let name = item.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let stem = item.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let lower = name.to_lowercase();
    let describes = [".info", ".xml"].iter().any(|s| lower.ends_with(s))
        || ([".mhd", ".nhdr"].iter().any(|s| lower.ends_with(s))
            && folder.entries.iter().any(|e| {
                let e = e.to_string_lossy();
                e == stem || e == format!("{stem}.vol") || e == format!("{stem}.raw")
            }));
    describes || lower.starts_with("histogram_")
}

fn plan_text(p: &Plan) -> String {
    let s = p.shape;
    format!(
        "would write {} ({}): {} of {} × {} pixels, {}, {}\n\
         reads {} ({}; each value is fetched {:.2} times)\n\
         in blocks of {}, {} of memory\n",
        p.output.display(),
        p.output_format,
        human::count(s.frames as u64, "slice"),
        s.cols,
        s.rows,
        p.dtype.name(),
        human::bytes(p.bytes_written),
        human::bytes(p.bytes_read),
        p.input_format,
        p.read_amplification,
        human::count(p.block_slices as u64, "slice"),
        human::bytes(p.memory_bytes),
    )
}

fn done_text(p: &Plan, d: &Done) -> String {
    let main = d.outputs.first().unwrap_or(&p.output);
    let rate = d.bytes_written as f64 / d.seconds.max(1e-3);
    let mut text = format!(
        "{}: {} of {} × {} pixels, {}, {} in {} ({}/s, limited by {})",
        main.display(),
        human::count(p.shape.frames as u64, "slice"),
        p.shape.cols,
        p.shape.rows,
        p.dtype.name(),
        human::bytes(p.bytes_written),
        human::duration(std::time::Duration::from_secs_f64(d.seconds)),
        human::bytes(rate as u64),
        d.limited_by,
    );
    if d.resumed > 0 {
        text.push_str(&format!(", {} kept from before", human::count(d.resumed as u64, "slice")));
    }
    if d.verified {
        text.push_str(", read back and equal");
    }
    text.push('\n');
    text
}
