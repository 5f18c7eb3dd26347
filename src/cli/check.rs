//! `tomo check`: is it whole, and do its values make sense? And `--repair`.

use crate::cli::common::{Context, InputArgs};
use crate::cli::{Exit, Tool, human, output};
use crate::ops::check::repair;
use crate::ops::check::{Kind, Plan, Report, Request, Verdict, Weight, draw, execute, plan};
use crate::ops::view::SliceRange;
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use tomokit_formats::Result;

/// Arguments of `tomo check`.
#[derive(Args, Debug)]
pub struct Check {
    /// Volumes, stacks, series, scans, folders of them, whole disks
    #[arg(value_name = "PATH", required_unless_present = "repair", conflicts_with = "repair")]
    paths: Vec<PathBuf>,
    /// Headers, sizes, links and a few slices of each only
    #[arg(long)]
    quick: bool,
    /// List what would be looked at, and stop
    #[arg(long)]
    dry_run: bool,
    /// Draw a contact sheet with the bad slices marked (of several items: one per stack that is not good, numbered)
    #[arg(long, value_name = "FILE.png")]
    plot: Option<PathBuf>,
    /// Replace a picture that exists
    #[arg(long)]
    overwrite: bool,
    /// Say something of good items too [default: where there are at most 20 items]
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    mend: RepairArgs,
    #[command(flatten)]
    reading: InputArgs,
}

/// Mending.
#[derive(Args, Debug)]
#[command(next_help_heading = "Repair")]
struct RepairArgs {
    /// Reconstruct the broken slices of --volume from this scan, with the parameters recorded beside the volume
    /// (x.vol.recon.json), or from a PyHST2 .par
    #[arg(long, value_name = "SCAN", requires = "volume", conflicts_with_all = ["plot", "quick", "all"])]
    repair: Option<PathBuf>,
    /// The volume to mend
    #[arg(long, value_name = "VOLUME", requires = "repair")]
    volume: Option<PathBuf>,
    /// Mend these slices, whatever the check finds: start:end, end exclusive
    #[arg(long, value_name = "A:B", value_parser = SliceRange::parse, requires = "repair")]
    slices: Option<SliceRange>,
}

impl Tool for Check {
    const NAME: &'static str = "check";
    const ABOUT: &'static str =
        "Find what is broken in volumes, series and scans: size, holes, zero blocks, order, links";
    const EXAMPLES: &'static str = "  tomo check scan1.vol                                 every voxel, once
  tomo check /media/disk --quick                       everything on a disk: headers, sizes and samples
  tomo check scan1.vol --plot sheet.png                a contact sheet with the bad slices marked
  tomo check --repair scan1/ --volume scan1.vol        make the broken slices again from the raw data
";

    fn run(self, context: &Context) -> Result<Exit> {
        if let (Some(scan), Some(volume)) = (&self.mend.repair, &self.mend.volume) {
            return self.repair(scan, volume, context);
        }
        let request =
            Request { paths: self.paths.clone(), open: self.reading.options(context.budget), quick: self.quick };
        if let Some(p) = &self.plot {
            let others: Vec<&Path> = self.paths.iter().map(|p| &**p).collect();
            tomokit_formats::png::refuse_output(p, self.overwrite, &others)?;
        }
        let plan = plan(&request, context.budget, &context.cancel)?;
        if self.dry_run {
            match context.json {
                true => output::json(&plan)?,
                false => output::print(&plan_text(&plan))?,
            }
            return Ok(Exit::Done);
        }
        plan.left_out.iter().for_each(|l| context.warn(&format!("{}: not looked at: {}", l.path.display(), l.why)));
        let reports = execute(&plan, &context.progress, &context.cancel)?;
        let pictures = self.pictures(&reports, &request, context)?;
        if context.json {
            output::json(&json!({ "items": reports, "left_out": plan.left_out, "pictures": pictures }))?;
        } else if !context.quiet {
            output::print(&text(&reports, self.all || reports.len() <= 20, &pictures))?;
        }
        Ok(exit(&reports))
    }
}

/// 0: all good, but for what is of no kind that is read; 1: something is suspicious or broken.
fn exit(reports: &[Report]) -> Exit {
    let not_looked_at = |r: &Report| r.findings.iter().any(|f| f.kind == Kind::NotLookedAt);
    match reports.iter().all(|r| r.verdict <= Verdict::NotRead) {
        true => Exit::Done,
        false if reports.iter().any(not_looked_at) => Exit::CouldNot,
        false => Exit::No,
    }
}

impl Check {
    fn pictures(&self, reports: &[Report], request: &Request, context: &Context) -> Result<Vec<PathBuf>> {
        let Some(to) = &self.plot else { return Ok(Vec::new()) };
        let has_slices = |r: &&Report| r.shape.is_some_and(|s| s.frames > 0 && !s.is_empty());
        let mut stacks: Vec<&Report> = reports.iter().filter(has_slices).collect();
        if reports.len() > 1 {
            stacks.retain(|r| r.verdict > Verdict::NotRead);
        }
        if stacks.is_empty() {
            context.warn("nothing to draw");
        }
        let numbered = |i: usize| {
            let stem = to.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            to.with_file_name(format!("{stem}-{}.png", i + 1))
        };
        let mut drawn = Vec::new();
        for (i, r) in stacks.iter().enumerate() {
            let name = if stacks.len() == 1 { to.clone() } else { numbered(i) };
            match draw(r, &request.open, &name, self.overwrite) {
                Ok(p) => drawn.push(p),
                Err(e) if stacks.len() == 1 => return Err(e),
                Err(e) => context.warn(&e.to_string()),
            }
        }
        Ok(drawn)
    }

    fn repair(&self, scan: &Path, volume: &Path, context: &Context) -> Result<Exit> {
        let request = repair::Request {
            scan: scan.to_owned(),
            volume: volume.to_owned(),
            open: self.reading.options(context.budget),
            slices: self.mend.slices,
        };
        let plan = repair::plan(&request, context.budget, &context.progress, &context.cancel)?;
        plan.warnings.iter().for_each(|w| context.warn(w));
        if self.dry_run || plan.slices.is_empty() {
            match context.json {
                true => output::json(&plan)?,
                false if !context.quiet => output::print(&repair_plan_text(&plan))?,
                false => {}
            }
            return Ok(Exit::Done);
        }
        let done = repair::execute(&plan, &context.progress, &context.cancel)?;
        match context.json {
            true => output::json(&done)?,
            false if !context.quiet => output::print(&repair_text(&done))?,
            false => {}
        }
        Ok(exit(std::slice::from_ref(&done.after)))
    }
}

fn plan_text(plan: &Plan) -> String {
    let mut t = String::new();
    for i in &plan.items {
        t += &format!("{}  {}  {}\n", i.path.display(), i.format.unwrap_or("–"), human::bytes(i.bytes));
    }
    let what = if plan.quick { "headers and samples of " } else { "all of " };
    t + &format!("would look at {} items: {what}{}\n", plan.items.len(), human::bytes(plan.bytes))
}

fn word(v: Verdict) -> &'static str {
    match v {
        Verdict::Good => "good",
        Verdict::NotRead => "not read",
        Verdict::Suspicious => "SUSPICIOUS",
        Verdict::Broken => "BROKEN",
    }
}

fn one(r: &Report, t: &mut String) {
    *t += &format!("{:<10}  {}", word(r.verdict), r.path.display());
    if let (Some(f), Some(s)) = (r.format, r.shape) {
        let size = format!("{} × {} × {}", s.cols, s.rows, s.frames);
        *t += &format!("  ({f}, {size}{})", r.dtype.map_or(String::new(), |d| format!(" {}", d.name())));
    }
    *t += "\n";
    for (i, f) in r.findings.iter().enumerate() {
        // Two slices that are exchanged are one sentence.
        if r.findings[..i].iter().any(|g| g.text == f.text && g.file == f.file) {
            continue;
        }
        let mark = match f.weight {
            Weight::Broken => "!!",
            Weight::Suspicious => " !",
            Weight::Remark => "  ",
        };
        let file = f
            .file
            .as_ref()
            .map_or(String::new(), |p| format!(" [{}]", p.file_name().unwrap_or(p.as_os_str()).to_string_lossy()));
        *t += &format!("        {mark} {}{file}\n", f.text);
    }
}

fn text(reports: &[Report], all: bool, pictures: &[PathBuf]) -> String {
    let mut t = String::new();
    for r in reports.iter().filter(|r| all || r.verdict != Verdict::Good) {
        one(r, &mut t);
    }
    let count = |v| reports.iter().filter(|r| r.verdict == v).count();
    if reports.len() > 1 {
        let (good, suspicious, broken) = (count(Verdict::Good), count(Verdict::Suspicious), count(Verdict::Broken));
        let not_read = match count(Verdict::NotRead) {
            0 => String::new(),
            n => format!(", {n} of kinds that are not read"),
        };
        t += &format!("{} items: {good} good, {suspicious} suspicious, {broken} broken{not_read}\n", reports.len());
    }
    for p in pictures {
        t += &format!("picture     {}\n", p.display());
    }
    t
}

fn repair_plan_text(p: &repair::Plan) -> String {
    if p.slices.is_empty() {
        return format!("{}: nothing to mend\n", p.volume.display());
    }
    let again = if p.resumes { " (going on with an interrupted repair)" } else { "" };
    format!(
        "would make {} of {} again from {}{again}: {}\n",
        human::count(p.slices.len() as u64, "slice"),
        p.volume.display(),
        p.scan.display(),
        repair::list(&p.slices)
    )
}

fn repair_text(d: &repair::Done) -> String {
    let slices = human::count(d.slices.len() as u64, "slice");
    let mut t = format!("mended {slices} of {}: {}\n", d.volume.display(), repair::list(&d.slices));
    if let Some(w) = &d.witness {
        t += &format!(
            "  slice {} was made again to compare: largest difference {}\n",
            w.slice,
            human::number(w.largest)
        );
    }
    for s in &d.renewed {
        t += &format!("  renewed {}\n", s.display());
    }
    for s in &d.stale {
        t += &format!("  stale   {s}\n");
    }
    one(&d.after, &mut t);
    t
}
