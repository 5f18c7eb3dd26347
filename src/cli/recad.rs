//! `tomo recad`: 32-bit volumes to 8 or 16 bits with a receipt, and back.

use crate::cli::common::{Context, InputArgs, OutputArgs, at_least_one};
use crate::cli::{Exit, Tool, human, output, report};
use crate::ops::convert;
use crate::ops::recad::{self, Done, LimitsChoice, LimitsFrom, Plan, Request, Tails, Within, Zeros};
use crate::ops::view::{Roi, SliceRange, ViewSpec};
use crate::quantise::{Depth, NonFinite};
use crate::stream::Algorithm;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use tomokit_formats::io::with_suffix;
use tomokit_formats::registry;
use tomokit_formats::{CreateOptions, DType, Error, Fault, Result, Shape, durable};

/// Arguments of `tomo recad`.
#[derive(Args, Debug)]
pub struct Recad {
    /// Volumes to convert
    #[arg(value_name = "VOL", required = true)]
    inputs: Vec<PathBuf>,
    /// What to write, or an existing folder for NAME.raw [default: NAME.raw beside each volume]
    #[arg(long, short, value_name = "DST")]
    output: Option<PathBuf>,
    /// Bits per voxel
    #[arg(long, value_enum, default_value_t = Bits::Eight)]
    bits: Bits,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    rules: RuleArgs,
    /// Region to keep, in columns, rows and slices of the input: x0:x1,y0:y1[,z0:z1]
    #[arg(long, value_name = "X0:X1,Y0:Y1", value_parser = Roi::parse)]
    roi: Option<Roi>,
    /// Slices to keep: start:end or start:end:step, end exclusive
    #[arg(long, value_name = "A:B:STEP", value_parser = SliceRange::parse)]
    slices: Option<SliceRange>,
    /// Average cubes of this edge
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    bin: usize,
    /// Draw the histogram with the limits
    #[arg(long, value_name = "FILE.png")]
    plot: Option<PathBuf>,
    /// Remove the volume after the output was read back and every voxel lies within half a grey step
    #[arg(long)]
    remove_input: bool,
    /// Turn greys back into float values, by the receipt or the scale in the file
    #[arg(long, conflicts_with = "bits")]
    undo: bool,
    #[command(flatten)]
    writing: OutputArgs,
    #[command(flatten)]
    reading: InputArgs,
}

/// Which values become the lowest and highest grey.
#[derive(Args, Debug)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Value that becomes grey 0
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    low: Option<f64>,
    /// Value that becomes the highest grey
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    high: Option<f64>,
    /// Percentiles of the voxels inside the field, for the limits not given [default: 0.1,99.9]
    #[arg(long, value_name = "P,Q", value_parser = percentiles, conflicts_with_all = ["recorded", "limits_from"])]
    percentile: Option<(f64, f64)>,
    /// Limits recorded by PyHST2 in the .info: s1,s2 (0.001 % left out on each side) or S1,S2 (0.2 %)
    #[arg(long = "limits", value_name = "s1,s2|S1,S2", value_parser = tails, conflicts_with = "limits_from")]
    recorded: Option<Tails>,
    /// Limits of a receipt, a lock file, or the 0.1 and 99.9 percentiles of PyHST2's histogram_NAME.edf
    #[arg(long, value_name = "FILE")]
    limits_from: Option<PathBuf>,
    /// One scale for a whole experiment: the first volume decides and writes this file, all others reuse it
    #[arg(long, value_name = "EXPERIMENT.json")]
    lock: Option<PathBuf>,
    /// Where percentiles look: auto (the inscribed circle of square slices), circle, all
    #[arg(long, value_enum, default_value_t = WithinArg::Auto, conflicts_with = "undo")]
    within: WithinArg,
    /// Write without a histogram pass; the limits must be known
    #[arg(long)]
    one_pass: bool,
}

/// What becomes of special voxels.
#[derive(Args, Debug)]
#[command(next_help_heading = "Rules")]
struct RuleArgs {
    /// Exact zeros: outside (no data: not in the percentiles; grey 0 at the ends of rows), values [default: outside;
    /// of signed whole numbers: values]
    #[arg(long, value_enum, conflicts_with = "undo")]
    zeros: Option<ZerosArg>,
    /// NaN and infinities: lowest (grey 0), clip (+inf becomes the highest grey), refuse
    #[arg(long, value_enum, default_value_t = NanArg::Lowest, conflicts_with = "undo")]
    nan: NanArg,
    /// Also set everything outside the inscribed circle to grey 0
    #[arg(long)]
    crop_circle: bool,
    /// Round at random in proportion, with this seed
    #[arg(long, value_name = "SEED")]
    dither: Option<u64>,
    /// Hash of the volume's voxels in the receipt: blake3 (as b3sum has it), sha256 (slower than reading), none
    #[arg(long, value_enum, default_value_t = HashArg::Blake3, conflicts_with = "undo")]
    hash: HashArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Bits {
    #[value(name = "8")]
    Eight,
    #[value(name = "16")]
    Sixteen,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum WithinArg {
    Auto,
    Circle,
    All,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ZerosArg {
    Outside,
    Values,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum NanArg {
    Lowest,
    Clip,
    Refuse,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum HashArg {
    Blake3,
    Sha256,
    None,
}

fn percentiles(text: &str) -> std::result::Result<(f64, f64), String> {
    let pair = text.split_once(',').and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
    match pair {
        Some((p, q)) if 0.0 <= p && p < q && q <= 100.0 => Ok((p, q)),
        Some(_) => Err("percentiles lie between 0 and 100, the lower one first".into()),
        None => Err("write two percentiles, for example 0.1,99.9".into()),
    }
}

fn tails(text: &str) -> std::result::Result<Tails, String> {
    match text {
        "s1,s2" => Ok(Tails::Narrow),
        "S1,S2" => Ok(Tails::Wide),
        _ => Err("write s1,s2 or S1,S2 (they differ)".into()),
    }
}

impl Tool for Recad {
    const NAME: &'static str = "recad";
    const ABOUT: &'static str = "Shrink 32-bit volumes to 8 or 16 bits, with a receipt that leads back";
    const EXAMPLES: &'static str =
        "  tomo recad scan.vol                              8 bits, 0.1 to 99.9 percentiles: scan.raw
  tomo recad scan.vol --low -0.2 --high 1.5 --bits 16 -o scan16.tif
  tomo recad a.vol b.vol c.vol --lock experiment.json -o eight/   one grey scale for all
  tomo recad scan.vol --limits S1,S2 --one-pass    limits PyHST2 recorded
  tomo recad scan.vol -o slices --to tiff --plot histogram.png
  tomo recad scan.vol --remove-input               verified voxel by voxel before the float goes
  tomo recad scan.raw --undo -o back.vol           greys to floats again
";

    fn run(self, context: &Context) -> Result<Exit> {
        let many = self.inputs.len() > 1;
        if many && self.plot.is_some() {
            return Err(Error::caller("--plot draws one volume: name one"));
        }
        if many && let Some(dir) = self.output.as_ref().filter(|d| !d.is_dir()) {
            return Err(Error::caller("several volumes go into a folder").path(dir).hint("create it first"));
        }
        self.refuse_limits_twice()?;
        self.refuse_same_targets()?;
        let mut exit = Exit::Done;
        let mut results = Vec::new();
        for input in &self.inputs {
            context.cancel.check()?;
            match self.run_one(input, context, &mut exit) {
                Ok(r) => results.extend(r.map(|mut r| {
                    if many && let Some(result) = r.as_object_mut() {
                        result.insert("input".into(), input.to_string_lossy().into());
                    }
                    r
                })),
                Err(e) if !many || e.fault() == Fault::Interrupted => return Err(e),
                Err(e) => {
                    let e = e.or_path(input);
                    exit = exit.merge(report::report(&e));
                    results.push(report::json(input, &e));
                }
            }
        }
        if context.json {
            match results.as_slice() {
                [one] if !many => output::json(one)?,
                all => output::json(&all)?,
            }
        }
        Ok(exit)
    }
}

impl Recad {
    fn depth(&self) -> Depth {
        match self.bits {
            Bits::Eight => Depth::Eight,
            Bits::Sixteen => Depth::Sixteen,
        }
    }

    /// The output: as named, or after the input.
    fn target(&self, input: &Path) -> Result<PathBuf> {
        // Without a format a folder that is there is where the output goes, not what it is called.
        let is_name = |o: &&PathBuf| self.inputs.len() == 1 && (self.writing.to.is_some() || !o.is_dir());
        if let Some(o) = self.output.as_ref().filter(is_name) {
            return Ok(o.clone());
        }
        let (path, _) = registry::split_dataset(input);
        let stem = if path.is_dir() { path.file_name() } else { path.file_stem() };
        let stem = stem.ok_or_else(|| Error::caller("name the output with -o").path(input))?;
        let beside = path.parent().unwrap_or(Path::new("")).to_owned();
        let dir = self.output.clone().unwrap_or(beside);
        let natural = if self.undo { "vol" } else { "raw" };
        let spec = registry::by_name(self.writing.to.as_deref().unwrap_or(natural))?;
        let series =
            spec.variants.first() == Some(&"series") && self.writing.variant.as_deref().is_none_or(|v| v == "series");
        let suffix = match spec.extensions.first() {
            Some(ext) if !series => format!(".{ext}"),
            _ => String::new(),
        };
        let plain = with_suffix(&dir.join(stem), &suffix);
        let bits = if self.undo { "float".to_owned() } else { format!("{}bit", self.depth().dtype().size() * 8) };
        let marked = with_suffix(&dir.join(stem), &format!("_{bits}{suffix}"));
        Ok(if plain == path || series { marked } else { plain })
    }

    /// Both limits given as numbers leave nothing to find.
    fn refuse_limits_twice(&self) -> Result<()> {
        let l = &self.limits;
        let found_by = [
            ("--percentile", l.percentile.is_some()),
            ("--limits", l.recorded.is_some()),
            ("--limits-from", l.limits_from.is_some()),
        ];
        match found_by.into_iter().find(|f| f.1) {
            Some((name, _)) if l.low.is_some() && l.high.is_some() => {
                Err(Error::caller(format!("--low and --high are both given: {name} has nothing to decide"))
                    .hint("leave out one of the three"))
            }
            _ => Ok(()),
        }
    }

    /// One result would replace another, or what another one is made from.
    fn refuse_same_targets(&self) -> Result<()> {
        let targets = self.inputs.iter().map(|i| self.target(i)).collect::<Result<Vec<_>>>()?;
        for (i, target) in targets.iter().enumerate() {
            // No disk of a user's tells them apart by case alone.
            let folded = target.to_string_lossy().to_lowercase();
            if let Some(j) = targets[..i].iter().position(|t| t.to_string_lossy().to_lowercase() == folded) {
                let both = format!("{} and {}", self.inputs[j].display(), self.inputs[i].display());
                return Err(Error::caller("two volumes would go to the same output")
                    .path(target)
                    .found(both)
                    .hint("shrink them one by one, each with an output of its own"));
            }
            if let Some(input) = self.inputs.iter().find(|input| durable::same_file(input, target)) {
                return Err(Error::caller("an output would replace an input").path(target).found(input.display()));
            }
        }
        Ok(())
    }

    fn view(&self) -> ViewSpec {
        ViewSpec { roi: self.roi.clone(), slices: self.slices, bin: self.bin, ..ViewSpec::default() }
    }

    fn request(&self, input: &Path, target: PathBuf, context: &Context) -> Request {
        let l = &self.limits;
        let from = match (&l.limits_from, l.recorded) {
            (Some(file), _) => LimitsFrom::File(file.clone()),
            (None, Some(tails)) => LimitsFrom::Info(tails),
            (None, None) => {
                let (p, q) = l.percentile.unwrap_or((0.1, 99.9));
                LimitsFrom::Percentile(p, q)
            }
        };
        Request {
            input: input.to_owned(),
            output: target,
            open: self.reading.options(context.budget),
            view: self.view(),
            to: self.writing.to.clone(),
            // Shape and type are set by the plan.
            create: self.writing.create(CreateOptions::new(Shape::new(0, 0, 0), DType::U8)),
            depth: self.depth(),
            limits: LimitsChoice { low: l.low, high: l.high, from, lock: l.lock.clone() },
            non_finite: match self.rules.nan {
                NanArg::Lowest => NonFinite::Lowest,
                NanArg::Clip => NonFinite::Clip,
                NanArg::Refuse => NonFinite::Refuse,
            },
            zeros: self.rules.zeros.map(|z| match z {
                ZerosArg::Outside => Zeros::Outside,
                ZerosArg::Values => Zeros::Values,
            }),
            within: match l.within {
                WithinArg::Auto => Within::Auto,
                WithinArg::Circle => Within::Circle,
                WithinArg::All => Within::All,
            },
            crop_circle: self.rules.crop_circle,
            dither: self.rules.dither,
            hash: match self.rules.hash {
                HashArg::Blake3 => Some(Algorithm::Blake3),
                HashArg::Sha256 => Some(Algorithm::Sha256),
                HashArg::None => None,
            },
            one_pass: l.one_pass,
            plot: self.plot.clone(),
            verify: self.writing.verify,
            remove_input: self.remove_input,
        }
    }

    fn run_one(&self, input: &Path, context: &Context, exit: &mut Exit) -> Result<Option<serde_json::Value>> {
        let target = self.target(input)?;
        if self.undo {
            return self.run_undo(input, target, context);
        }
        let plan = recad::plan(&self.request(input, target, context), context.budget)?;
        plan.warnings.iter().for_each(|w| context.warn(w));
        if self.writing.dry_run {
            return show(context, &plan, || plan_text(&plan));
        }
        let done = recad::execute(&plan, &context.progress, &context.cancel)?;
        if done.counts.tally.not_finite() > 0 {
            context.warn(&format!(
                "{}: {} voxels are no finite number",
                input.display(),
                done.counts.tally.not_finite()
            ));
        }
        if let Some(why) = &done.input_kept {
            context.warn(&format!("{} is not removed: {why}", input.display()));
            *exit = exit.merge(Exit::No);
        } else if let Some(why) = done.badly_clipped.as_ref().filter(|_| self.limits.lock.is_some()) {
            context.warn(&format!("{}: on the scale of the experiment {why}", input.display()));
        }
        show(context, &done, || done_text(&plan, &done))
    }

    fn run_undo(&self, input: &Path, target: PathBuf, context: &Context) -> Result<Option<serde_json::Value>> {
        let l = &self.limits;
        let limits = l.low.or(l.high).is_some() || l.percentile.is_some() || l.limits_from.is_some();
        for (given, name) in [
            (self.remove_input, "--remove-input"),
            (self.plot.is_some(), "--plot"),
            (limits || l.recorded.is_some() || l.lock.is_some() || l.one_pass, "limits: the receipt has them"),
            (self.rules.crop_circle, "--crop-circle"),
            (self.rules.dither.is_some(), "--dither"),
        ] {
            if given {
                return Err(Error::caller(format!("--undo does not take {name}")));
            }
        }
        let create = self.writing.create(CreateOptions::new(Shape::new(0, 0, 0), DType::F32));
        let open = self.reading.options(context.budget);
        let (to, verify) = (self.writing.to.clone(), self.writing.verify);
        let request = recad::undo(input.to_owned(), target, open, self.view(), to, create, verify)?;
        let plan = convert::plan(&request, context.budget)?;
        plan.warnings.iter().for_each(|w| context.warn(w));
        let text = |p: &convert::Plan| {
            let (s, size) = (p.shape, human::bytes(p.bytes_written));
            let slices = human::count(s.frames as u64, "slice");
            format!("{}: {slices} of {} × {} pixels, float32, {size}\n", p.output.display(), s.cols, s.rows)
        };
        if self.writing.dry_run {
            return show(context, &plan, || format!("would write {}", text(&plan)));
        }
        let done = convert::execute(&plan, &context.progress, &context.cancel)?;
        show(context, &done, || text(&plan))
    }
}

/// The result as JSON for the caller, or printed as text.
fn show(
    context: &Context,
    value: &impl serde::Serialize,
    text: impl FnOnce() -> String,
) -> Result<Option<serde_json::Value>> {
    if context.json {
        let v = serde_json::to_value(value);
        return v.map(Some).map_err(|e| Error::caller("the result cannot be written as JSON").source(e));
    }
    if !context.quiet {
        output::print(&text())?;
    }
    Ok(None)
}

fn plan_text(p: &Plan) -> String {
    let s = p.shape;
    let limits = match &p.limits {
        Some(l) => format!("limits {} to {} ({})", human::number(l.low), human::number(l.high), l.found),
        None => "limits from the histogram of the voxels".into(),
    };
    let gone = if p.remove_input { "\nremoves the input after comparing every voxel" } else { "" };
    format!(
        "would write {} ({}): {} of {} × {} pixels, {}, {}\n\
         {limits}\n\
         reads {} ({}) in {}, blocks of {}, {} of memory{gone}\n",
        p.output.display(),
        p.output_format,
        human::count(s.frames as u64, "slice"),
        s.cols,
        s.rows,
        p.depth.dtype().name(),
        human::bytes(p.bytes_written),
        human::bytes(p.bytes_read),
        p.input_format,
        if p.passes == 1 { "1 pass".to_owned() } else { format!("{} passes", p.passes) },
        human::count(p.block_slices as u64, "slice"),
        human::bytes(p.memory_bytes),
    )
}

fn done_text(p: &Plan, d: &Done) -> String {
    let s = p.shape;
    let main = d.outputs.first().unwrap_or(&p.output);
    let mut t = format!(
        "{}: {} of {} × {} pixels, {}, {} in {} (limited by {})\n",
        main.display(),
        human::count(s.frames as u64, "slice"),
        s.cols,
        s.rows,
        p.depth.dtype().name(),
        human::bytes(p.bytes_written),
        human::duration(std::time::Duration::from_secs_f64(d.seconds)),
        d.limited_by,
    );
    let (low, high) = (human::number(d.limits.low), human::number(d.limits.high));
    let unit = if d.scale.unit.is_empty() { String::new() } else { format!(" {}", d.scale.unit) };
    t += &format!("  limits   {low} to {high}{unit} ({})\n", d.limits.found);
    let c = &d.counts;
    let percent = |n: u64| format!("{} ({:.4} %)", n, n as f64 / c.tally.values.max(1) as f64 * 100.0);
    t += &format!("  clipped  {} below, {} above\n", percent(c.tally.below), percent(c.tally.above));
    t += &format!("  greys    {} of {} in use", c.greys_in_use, p.depth.top() + 1);
    if c.outside > 0 {
        t += &format!("; {} voxels outside the field stay 0", c.outside);
    }
    t.push('\n');
    if let Some(h) = d.survey.as_ref() {
        let (z, o) = (if p.zeros == Zeros::Outside { h.histogram.zeros() } else { 0 }, h.outside_circle);
        t += &format!("  left out of the percentiles: {o} outside the circle, {z} exact zeros inside it\n");
    }
    if let Some(w) = d.verified {
        t += &format!("  read back: every voxel agrees, at most {w:.4} grey steps away inside the limits\n");
    }
    if d.input_removed {
        t += &format!("  removed  {}\n", p.input.display());
    }
    t
}
