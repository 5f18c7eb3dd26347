//! `tomo info`: what is it, and is it whole?

use crate::cli::common::{Context, InputArgs};
use crate::cli::{Exit, Tool, human, output, report};
use crate::ops::info::{Report, Wanted, gather};
use crate::ops::picture::{self, Window};
use clap::Args;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use tomokit_formats::{Error, Result, VolumeMeta, png};

/// Arguments of `tomo info`.
#[derive(Args, Debug)]
pub struct Info {
    /// Files, scan folders, series folders, or FILE.h5:/dataset
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Say why it was recognised as what it is
    #[arg(long)]
    why: bool,
    /// Read every value: min, max, mean, percentiles, NaN, zeros
    #[arg(long)]
    stats: bool,
    /// Draw the histogram of --stats as this PNG
    #[arg(long, value_name = "FILE", requires = "stats")]
    plot: Option<PathBuf>,
    /// Draw one slice (or projection) as this PNG
    #[arg(long, value_name = "FILE")]
    preview: Option<PathBuf>,
    /// The slice to draw [default: the middle one]
    #[arg(long, value_name = "N", requires = "preview")]
    slice: Option<usize>,
    /// Grey window of the preview: 'auto', or the values that become black and white
    #[arg(long, value_name = "LOW,HIGH", value_parser = Window::parse, default_value = "auto", allow_hyphen_values = true)]
    window: Window,
    /// Replace pictures that exist
    #[arg(long)]
    overwrite: bool,
    /// List the tree of an HDF5 file, with links and their state
    #[arg(long)]
    tree: bool,
    #[command(flatten)]
    reading: InputArgs,
}

impl Tool for Info {
    const NAME: &'static str = "info";
    const ABOUT: &'static str = "Say what a file or scan is: shape, type, angles, flats, filters, links, completeness";
    const EXAMPLES: &'static str =
        "  tomo info scan1/                       a scan folder: projections, flats, darks, angles, axis
  tomo info scan1.vol --stats            min, max, percentiles of every voxel
  tomo info scan1.nxs --tree             the HDF5 tree with links and virtual sources
  tomo info unknown.vol --dims 2048x2048x100 --dtype float32
  tomo info *.h5 --json                  for scripts
";

    fn run(self, context: &Context) -> Result<Exit> {
        let options = self.reading.options(context.budget);
        if self.paths.len() > 1 && (self.plot.is_some() || self.preview.is_some()) {
            return Err(
                Error::caller("pictures are of one path at a time").found(format!("{} paths", self.paths.len()))
            );
        }
        let mut others: Vec<&Path> = self.paths.iter().map(|p| &**p).collect();
        for picture in [&self.plot, &self.preview].into_iter().flatten() {
            png::refuse_output(picture, self.overwrite, &others)?;
            others.push(picture);
        }
        let wanted = Wanted { statistics: self.stats, tree: self.tree };
        let mut exit = Exit::Done;
        let mut reports = Vec::new();
        for path in &self.paths {
            match gather(path, &options, wanted, context.budget, &context.progress, &context.cancel) {
                Ok(r) => {
                    self.pictures(&r, context)?;
                    if !context.json {
                        output::print(&text(&r, self.why, 0))?;
                    }
                    if let Some(e) = &r.failure {
                        exit = exit.merge(report::report(e));
                    }
                    if context.json {
                        let failed = |e| Error::caller("the result cannot be written as JSON").source(e);
                        reports.push(serde_json::to_value(&r).map_err(failed)?);
                    }
                }
                Err(e) if e.fault() == tomokit_formats::Fault::Interrupted => return Err(e),
                Err(e) => {
                    let e = e.or_path(path);
                    exit = exit.merge(report::report(&e));
                    reports.push(report::json(path, &e));
                }
            }
        }
        if context.json {
            output::json(&reports)?;
        }
        Ok(exit)
    }
}

impl Info {
    fn pictures(&self, r: &Report, context: &Context) -> Result<()> {
        let name = r.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let unit = r.meta.as_ref().and_then(|m| m.value_unit.clone()).unwrap_or_default();
        if let (Some(file), Some(s)) = (&self.plot, &r.statistics) {
            picture::histogram(s, &name, &unit, file, self.overwrite)?;
        }
        if let Some(file) = &self.preview {
            let source =
                r.source.as_ref().ok_or_else(|| Error::caller("there is no image in this to draw").path(&r.path))?;
            context.budget.refuse_picture(source.shape()).map_err(|e| e.path(&r.path))?;
            let index = self.slice.unwrap_or(source.shape().frames / 2);
            let pixel = r.scan.as_ref().and_then(|s| s.pixel_um).map(|[v, h]| [v, v, h]);
            let meta = r.meta.clone().unwrap_or(VolumeMeta { voxel_um: pixel, ..Default::default() });
            let title = format!("{name} {index}");
            picture::slice(&**source, &meta, index, &title, self.window)?.canvas.save(file, self.overwrite)?;
        }
        Ok(())
    }
}

/// A report as aligned lines.
fn text(r: &Report, why: bool, indent: usize) -> String {
    let mut out = Lines { text: String::new(), indent };
    out.head(&format!("{}", r.path.display()));
    out.line("is", &kind(r));
    if why {
        for (i, c) in r.why.iter().enumerate() {
            let word = if i == 0 { "because" } else { "or" };
            out.line(word, &format!("{}: {} ({:?})", c.format, c.reason, c.confidence));
        }
    }
    if let (Some(s), Some(d), Some(b)) = (r.shape, r.dtype, r.value_bytes) {
        let what = match (r.scan.is_some(), s.frames) {
            (true, 1) => "projection",
            (true, _) => "projections",
            (false, 1) => "slice",
            (false, _) => "slices",
        };
        out.line("shape", &format!("{} {what} of {} × {} pixels (columns × rows)", s.frames, s.cols, s.rows));
        out.line("type", &format!("{d}, {} of values", human::bytes(b)));
    }
    if let Some(m) = &r.meta {
        if let Some([z, y, x]) = m.voxel_um {
            let text = if z == y && y == x { human::number(x) } else { format!("{x} × {y} × {z} (x × y × z)") };
            out.line("voxel size", &format!("{text} µm"));
        }
        if let Some(g) = &m.grey {
            out.line("grey scale", &format!("value = {} × grey + {} {}", g.slope, g.offset, g.unit));
        }
        if let Some(u) = &m.value_unit {
            out.line("unit", u);
        }
        if let Some(s) = &m.stats {
            let range = |a: f64, b: f64| format!("{} … {}", human::number(a), human::number(b));
            out.line("recorded", &format!("min … max {}", range(s.min, s.max)));
            out.line(
                "",
                &format!("without 0.001 % {}; without 0.2 % {}", range(s.s1, s.s2), range(s.big_s1, s.big_s2)),
            );
        }
    }
    if let Some(s) = &r.scan {
        scan(&mut out, s);
    }
    /// Lines of a long list.
    const LINES: usize = 12;
    // Shown above already, in words.
    const SHOWN: &str = "voxel_size voxel_um stats_recorded bytes bytes_on_disk grey_scale";
    const SHOWN_OF_SCANS: &str = "scan layout projections rows cols type projections_from flats darks angles_from \
                                  angle_first angle_last angle_step pixel_vertical pixel_horizontal rotation_axis_px \
                                  field_of_view";
    let shown = |key: &str| {
        SHOWN.split(' ').any(|s| s == key) || (r.scan.is_some() && SHOWN_OF_SCANS.split_whitespace().any(|s| s == key))
    };
    for f in r.facts.0.iter().filter(|f| !shown(&f.key)) {
        let value = match &f.value {
            serde_json::Value::String(s) => s.clone(),
            serde_json::Value::Number(n) if n.is_f64() => human::number(n.as_f64().unwrap_or(f64::NAN)),
            serde_json::Value::Array(a) if a.len() > 1 && a.iter().all(|v| v.is_string()) => {
                let mut items = a.iter().filter_map(|v| v.as_str());
                out.line(&f.key.replace('_', " "), items.next().unwrap_or_default());
                items.for_each(|i| out.line("", i));
                continue;
            }
            serde_json::Value::Array(a) if a.iter().any(|v| v.is_object()) => {
                let mut key = f.key.replace('_', " ");
                for v in a.iter().take(LINES) {
                    out.line(&std::mem::take(&mut key), &v.to_string());
                }
                if a.len() > LINES {
                    out.line("", &format!("… and {} more (--json shows all)", a.len() - LINES));
                }
                continue;
            }
            serde_json::Value::Object(o) if !o.is_empty() => {
                let plain = |v: &serde_json::Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
                let mut key = f.key.replace('_', " ");
                for (name, v) in o.iter().take(LINES) {
                    out.line(&std::mem::take(&mut key), &format!("{name} = {}", plain(v)));
                }
                if o.len() > LINES {
                    out.line("", &format!("… and {} more (--json shows all)", o.len() - LINES));
                }
                continue;
            }
            v => v.to_string(),
        };
        let unit = f.unit.as_ref().map(|u| format!(" {u}")).unwrap_or_default();
        out.line(&f.key.replace('_', " "), &format!("{value}{unit}"));
    }
    let d = &r.disk;
    if d.files > 0 {
        let mut line = format!("{} in {} file{}", human::bytes(d.bytes), d.files, if d.files == 1 { "" } else { "s" });
        if d.holes() > 0 && d.bytes > 0 {
            let percent = d.holes() as f64 * 100.0 / d.bytes as f64;
            let _ = write!(line, ", {percent:.1} % of it holes (never written, read as zeros)");
        }
        out.line("on disk", &line);
    }
    if let Some(s) = &r.statistics {
        out.line("min … max", &format!("{} … {}", human::number(s.min), human::number(s.max)));
        out.line("mean ± std", &format!("{} ± {}", human::number(s.mean), human::number(s.std)));
        let p: Vec<String> = s.percentiles.iter().map(|(p, v)| format!("{p} %: {}", human::number(*v))).collect();
        out.line("percentiles", &p.join("   "));
        let share = |n: u64| n as f64 * 100.0 / s.count.max(1) as f64;
        out.line("exact zeros", &format!("{} ({:.2} %)", s.zeros, share(s.zeros)));
        if s.nan + s.infinite > 0 {
            out.line("not finite", &format!("{} NaN, {} infinite", s.nan, s.infinite));
        }
    }
    if let Some(tree) = &r.tree {
        out.line("tree", "");
        for t in tree {
            let mark = if t.ok { "" } else { "  [does not resolve]" };
            let pad = "  ".repeat(t.depth + 2);
            let _ = writeln!(out.text, "{pad}{}  {}  {}{mark}", t.name, t.kind, t.detail);
        }
    }
    for t in &r.unresolved {
        out.line("unresolved", &format!("{} {} {}", t.name, t.kind, t.detail));
    }
    for w in &r.warnings {
        out.line("warning", w);
    }

    for item in &r.items {
        out.text.push_str(&text(item, why, indent + 2));
    }
    out.text
}

fn kind(r: &Report) -> String {
    match (r.format, r.kind) {
        (Some(f), "other") if r.error.is_some() => format!("{f}, but it cannot be opened"),
        (Some(f), "other") => f.to_owned(),
        (Some(f), k) => format!("a {k} ({f})"),
        (None, "folder") => format!("a folder of {} items", r.items.len()),
        (None, k) => k.to_owned(),
    }
}

fn scan(out: &mut Lines, s: &crate::ops::info::ScanSummary) {
    let refs = |sets: &[crate::ops::info::RefSummary]| {
        if sets.is_empty() {
            return "none".to_owned();
        }
        let one = |r: &crate::ops::info::RefSummary| {
            let kind = if r.averaged { "average" } else { "frames" };
            format!("{} {kind} at projection {} ({})", r.frames, human::number(r.position), r.origin)
        };
        sets.iter().map(one).collect::<Vec<_>>().join("; ")
    };
    out.line("projections", &s.projections_origin);
    out.line("flats", &refs(&s.flats));
    out.line("darks", &refs(&s.darks));
    if let (Some(a), Some(b)) = (s.first_angle_deg, s.last_angle_deg) {
        let step = s.angle_step_deg.map(|d| format!(", step {}°", human::number(d))).unwrap_or_default();
        out.line(
            "angles",
            &format!(
                "{}° … {}°{step}, {:.2}° covered ({})",
                human::number(a),
                human::number(b),
                s.covered_deg,
                s.angles_origin
            ),
        );
    }
    match s.rotation_axis_px {
        Some(a) => out.line("axis", &format!("column {} (0 = centre of the first column)", human::number(a))),
        None => out.line("axis", "not recorded"),
    }
    if let Some([v, h]) = s.pixel_um {
        let text = if v == h { human::number(h) } else { format!("{h} × {v} (x × y)") };
        out.line("pixel size", &format!("{text} µm"));
    }
    if let Some(f) = s.field_of_view {
        out.line("field of view", &format!("{f:?}"));
    }
    if s.is_attenuation {
        out.line("values", "attenuation (−log taken already)");
    }
    out.line("volume", &format!("{} as float32 at full width", human::bytes(s.volume_bytes)));
}

/// `  key          value` lines.
struct Lines {
    text: String,
    indent: usize,
}

impl Lines {
    fn head(&mut self, text: &str) {
        let _ = writeln!(self.text, "{}{text}", " ".repeat(self.indent));
    }

    fn line(&mut self, key: &str, value: &str) {
        // Untrusted text stays on its line and cannot steer the terminal.
        let value: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let _ = writeln!(self.text, "{}  {key:<14} {value}", " ".repeat(self.indent));
    }
}
