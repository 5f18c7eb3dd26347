//! `tomo compare`: how far two volumes are apart, and where.

use crate::cli::common::{Context, InputArgs};
use crate::cli::{Exit, Tool, human, output};
use crate::ops::compare::{Place, Plan, Report, Request, execute, plan};
use crate::ops::view::{Roi, SliceRange, ViewSpec};
use clap::Args;
use std::path::PathBuf;
use tomokit_formats::{Error, Result};

/// Arguments of `tomo compare`.
#[derive(Args, Debug)]
pub struct Compare {
    /// The reference: any readable volume or stack
    #[arg(value_name = "A")]
    a: PathBuf,
    /// What is held against it, in any format
    #[arg(value_name = "B")]
    b: PathBuf,
    /// Largest difference that is still good [default: half a grey step where a grey scale is in play, a
    /// whole one where it was dithered, else 0]
    #[arg(long, value_name = "VALUE", value_parser = tolerance)]
    tolerance: Option<f64>,
    /// Compare the numbers in the files, without turning grey values into physical ones
    #[arg(long)]
    as_stored: bool,
    /// Region of both, in columns, rows and slices: x0:x1,y0:y1[,z0:z1]
    #[arg(long, value_name = "X0:X1,Y0:Y1", value_parser = Roi::parse)]
    roi: Option<Roi>,
    /// Slices of both: start:end or start:end:step, end exclusive
    #[arg(long, value_name = "A:B:STEP", value_parser = SliceRange::parse)]
    slices: Option<SliceRange>,
    /// Draw the differences of the slice with the largest one
    #[arg(long, value_name = "FILE.png")]
    plot: Option<PathBuf>,
    /// Replace a picture that exists
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    reading: InputArgs,
}

fn tolerance(text: &str) -> std::result::Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(v) if v.is_finite() && v >= 0.0 => Ok(v),
        _ => Err("a tolerance is a number, 0 or above".into()),
    }
}

impl Tool for Compare {
    const NAME: &'static str = "compare";
    const ABOUT: &'static str = "Compare two volumes of any formats, voxel by voxel, through their grey scales";
    const EXAMPLES: &'static str =
        "  tomo compare scan.vol scan.raw                   a volume and what recad made of it
  tomo compare old.vol new.h5 --tolerance 1e-4     exit code 0: within, 1: not
  tomo compare a.vol b.vol --plot difference.png
";

    fn run(self, context: &Context) -> Result<Exit> {
        let request = Request {
            a: self.a.clone(),
            b: self.b.clone(),
            open: self.reading.options(context.budget),
            view: ViewSpec { roi: self.roi.clone(), slices: self.slices, ..ViewSpec::default() },
            as_stored: self.as_stored,
            tolerance: self.tolerance,
            plot: self.plot.clone(),
            overwrite: self.overwrite,
        };
        let plan = plan(&request, context.budget)?;
        plan.warnings.iter().for_each(|w| context.warn(w));
        if plan.shape_a != plan.shape_b {
            return self.sizes_differ(&plan, context);
        }
        let report = execute(&plan, &context.progress, &context.cancel)?;
        match context.json {
            true => output::json(&report)?,
            false if !context.quiet => output::print(&text(&report))?,
            false => {}
        }
        Ok(if report.within_tolerance { Exit::Done } else { Exit::No })
    }
}

impl Compare {
    /// An answer, not a failure: they are not the same.
    fn sizes_differ(&self, plan: &Plan, context: &Context) -> Result<Exit> {
        if context.json {
            let json = |s| serde_json::to_value(s).map_err(|e| Error::caller("no JSON of a shape").source(e));
            let (a, b) = (json(plan.shape_a)?, json(plan.shape_b)?);
            output::json(&serde_json::json!({ "within_tolerance": false, "shape_a": a, "shape_b": b }))?;
        } else if !context.quiet {
            output::print(&format!("differ in size: {} and {}\n", plan.shape_a, plan.shape_b))?;
        }
        Ok(Exit::No)
    }
}

fn text(r: &Report) -> String {
    let unit = if r.unit.is_empty() { String::new() } else { format!(" {}", r.unit) };
    let number = |v: Option<f64>| v.map_or("–".to_owned(), |v| format!("{}{unit}", human::number(v)));
    let place = |p: &Place| {
        let value = |v: Option<f64>| v.map_or("not finite".to_owned(), human::number);
        format!("x {}, y {}, z {}: {} and {}", p.x, p.y, p.z, value(p.a), value(p.b))
    };
    let verdict = if r.within_tolerance { "within" } else { "NOT within" };
    let mut t = format!("{verdict} the tolerance of {}{unit}\n", human::number(r.tolerance));
    t += &format!("  voxels   {}, {} differ, {} beyond the tolerance\n", r.voxels, r.differing, r.beyond);
    if r.beyond_scale > 0 {
        t += &format!(
            "           {} beyond the ends of a grey scale agree as far as it can tell, and count as equal below\n",
            r.beyond_scale
        );
    }
    if r.not_finite_same + r.not_finite_differing > 0 {
        let (same, differ) = (r.not_finite_same, r.not_finite_differing);
        t += &format!("           not finite: {same} the same, {differ} differ\n");
    }
    t += &format!("  largest  {}, mean {} (second less first), RMS {}\n", number(r.max), number(r.mean), number(r.rms));
    if let Some(h) = &r.histogram {
        let [low, median, high] = [h.p01, h.median, h.p99].map(human::number);
        t +=
            &format!("  spread   where they differ, 98 % lie between {low} and {high}{unit}, the median is {median}\n");
    }
    let psnr = r.psnr_db.map_or("–".to_owned(), |v| format!("{v:.2} dB"));
    let correlation = r.correlation.map_or("–".to_owned(), |v| format!("{v:.6}"));
    t += &format!("  PSNR     {psnr}, correlation {correlation}\n");
    if let Some(p) = &r.first {
        t += &format!("  first    {}\n", place(p));
    }
    if let Some(p) = &r.worst {
        t += &format!("  worst    {}\n", place(p));
    }
    if let Some(p) = &r.picture {
        t += &format!("  picture  {}\n", p.display());
    }
    t
}
