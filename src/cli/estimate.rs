//! `tomo estimate`: how much data, how many disks, how long to copy, and whether copying keeps up.

use crate::cli::common::Context;
use crate::cli::{Exit, Tool, human, output};
use crate::disk;
use crate::ops::estimate::chart::Chart;
use crate::ops::estimate::compute::Machine;
use crate::ops::estimate::inputs::{self, Plan};
use crate::ops::estimate::page::{self, Words};
use crate::ops::estimate::sample::{Spec, parse_copies, parse_size};
use crate::ops::estimate::{Estimate as Answer, RATES, Request, estimate};
use crate::ops::{disks, ledger, rates, tables};
use crate::stream::{Progress, parse_bytes};
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tomokit_formats::{Error, Result, durable, png};

mod now;

/// Arguments of `tomo estimate`.
#[derive(Args, Debug)]
pub struct Estimate {
    /// Scans (folder, HDF5 file, .par) to take as examples, or a plan (.toml, .csv)
    #[arg(value_name = "SCAN|PLAN")]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    scan: ScanArgs,
    #[command(flatten)]
    keep: KeepArgs,
    #[command(flatten)]
    carry: CarryArgs,
    /// Write an example plan (.toml or .csv) and stop
    #[arg(long, value_name = "PLAN", conflicts_with_all = ["inputs", "now"])]
    init: Option<PathBuf>,
    /// During the experiment: what is in this folder, what of it is on no disk yet, when each disk fills
    #[arg(long, value_name = "FOLDER", conflicts_with = "inputs")]
    now: Option<PathBuf>,
    /// The ledger of copies, for --now [default: $TOMOKIT_LEDGER, else one per user]
    #[arg(long, value_name = "FILE", requires = "now")]
    ledger: Option<PathBuf>,
    /// Figures of the machine that reconstructs: what tomo bench --json wrote
    #[arg(long, value_name = "BENCH.json")]
    bench: Option<PathBuf>,
    /// Write the table as CSV
    #[arg(long, value_name = "FILE.csv")]
    csv: Option<PathBuf>,
    /// Write everything as one page, with the chart
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// Draw production against copying
    #[arg(long, value_name = "FILE.png")]
    plot: Option<PathBuf>,
    /// Replace files that exist
    #[arg(long)]
    overwrite: bool,
}

/// A scan in numbers.
#[derive(Args, Debug)]
#[command(next_help_heading = "One scan")]
struct ScanArgs {
    /// orca-flash (2048 x 2048), orca-lightning (4608 x 2592), dhyana (2048 x 2048), dimax (2000 x 2000); 16 bits
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
    /// Part of the sensor that is read, columns x rows, in pixels of the sensor (before binning)
    #[arg(long, value_name = "XxZ", value_parser = |s: &str| parse_size(s).map(|_| s.to_owned()))]
    roi: Option<String>,
    /// Average squares of this many pixels
    #[arg(long, value_name = "N")]
    binning: Option<u64>,
    /// Columns of a projection
    #[arg(long, value_name = "N")]
    nx: Option<u64>,
    /// Rows of a projection
    #[arg(long, value_name = "N")]
    nz: Option<u64>,
    /// Projections [default: as many as columns; extended field: two per column of the volume]
    #[arg(long, value_name = "N")]
    projections: Option<u64>,
    /// Flats and darks of a scan
    #[arg(long, value_name = "N")]
    references: Option<u64>,
    /// Extended field (half acquisition): twice as wide, four times the data unless --projections tells less
    #[arg(long)]
    extended: bool,
    /// Columns an extended field sees twice, as binned: the exact width instead of twice; means --extended
    #[arg(long, value_name = "PX")]
    overlap: Option<u64>,
    /// Width of the volume, where it is known
    #[arg(long, value_name = "PX")]
    diameter: Option<u64>,
    /// How many such scans
    #[arg(long, value_name = "N")]
    scans: Option<u64>,
}

/// What is kept of each.
#[derive(Args, Debug)]
#[command(next_help_heading = "What is kept")]
struct KeepArgs {
    /// Reconstructions per scan: 2 for plain and Paganin [default: 1]
    #[arg(long, value_name = "N")]
    volumes: Option<u64>,
    /// Further copies of each volume: 8, 16, tiff, tiff8, tiff16, separated by commas
    #[arg(long, value_name = "LIST", value_parser = |s: &str| parse_copies(s).map(|_| s.to_owned()))]
    copies: Option<String>,
    /// Keep the projections as EDF too
    #[arg(long)]
    keep_edf: bool,
    /// Keep no 32-bit volume
    #[arg(long)]
    drop_float: bool,
}

/// How it is carried home.
#[derive(Args, Debug)]
#[command(next_help_heading = "Carrying it home")]
struct CarryArgs {
    /// Days of beamtime: says whether copying keeps up
    #[arg(long, value_name = "N")]
    days: Option<f64>,
    /// Room to provide, as a factor [default: 2]
    #[arg(long, value_name = "FACTOR")]
    margin: Option<f64>,
    /// Sizes of disks as sold, for example 4TB,8TB [default: 4TB]
    #[arg(long, value_name = "SIZE,…")]
    disk: Option<String>,
    /// Rate of copying to one disk, MB/s: one, or lowest-highest [default: 40-100]
    #[arg(long, value_name = "MB/s", value_parser = |s: &str| parse_rates(s).map(|_| s.to_owned()))]
    rate: Option<String>,
    /// A folder on the disk that will be used: its room counts; with --now: the disks to look at
    #[arg(long, value_name = "FOLDER")]
    onto: Vec<PathBuf>,
    /// Measure the rate there, by writing and syncing a temporary file
    #[arg(long, requires = "onto", conflicts_with = "rate")]
    probe: bool,
    /// Size of that file, at most half of the free room
    #[arg(long, requires = "probe", value_name = "SIZE", default_value = "256M", value_parser = |s: &str| parse_bytes(s).map_err(|e| e.to_string()))]
    probe_size: u64,
    /// Disks copied to at the same time [default: 1]
    #[arg(long, value_name = "N")]
    parallel: Option<u64>,
}

/// `40-100` or `75`, in MB/s; bytes per second.
fn parse_rates(text: &str) -> std::result::Result<Vec<f64>, String> {
    let text = text.trim().trim_end_matches("MB/s").trim();
    let one = |t: &str| t.trim().parse::<f64>().ok().filter(|v| (RATES.0..=RATES.1).contains(v)).map(|v| v * 1e6);
    let rates: Option<Vec<f64>> = text.split(['-', '–']).map(one).collect();
    match rates.as_deref() {
        Some([a]) => Ok(vec![*a]),
        Some([a, b]) if a <= b => Ok(vec![*a, *b]),
        _ => Err(format!(
            "write MB/s from {} to {}: one number, or lowest-highest, for example 40-100",
            RATES.0, RATES.1
        )),
    }
}

/// `4TB` as sold (powers of 1000), `3.6TiB` as Windows counts.
fn parse_disk(text: &str) -> std::result::Result<u64, String> {
    let t = text.trim().to_ascii_lowercase().replace(' ', "");
    let units = [
        ("tib", 1u64 << 40),
        ("gib", 1 << 30),
        ("tb", 1_000_000_000_000),
        ("gb", 1_000_000_000),
        ("t", 1_000_000_000_000),
        ("g", 1_000_000_000),
    ];
    let found = units.iter().find_map(|(u, by)| Some((t.strip_suffix(u)?.parse::<f64>().ok()?, *by as f64)));
    match found.map(|(n, by)| n * by) {
        Some(bytes) if (1e9..1e18).contains(&bytes) => Ok(bytes as u64),
        _ => Err(format!("'{text}' is no size of a disk: write for example 4TB")),
    }
}

impl Tool for Estimate {
    const NAME: &'static str = "estimate";
    const ABOUT: &'static str = "How much data, how many disks, how long to copy, and whether copying keeps up";
    const EXAMPLES: &'static str = "  tomo estimate --camera orca-flash --projections 2000 --scans 60 --days 3
  tomo estimate --camera orca-lightning --roi 3000x2400 --projections 8000 --extended --overlap 400
  tomo estimate --init plan.toml                   then edit it, and
  tomo estimate plan.toml --html plan.html --plot plan.png
  tomo estimate scan_0001 --scans 40 --days 2 --disk 4TB,8TB --copies 8
  tomo estimate plan.toml --onto /media/me/DISK --probe   with this disk's room and rate
  tomo estimate --now /data/experiment --onto /media/me/DISK
";

    fn run(self, context: &Context) -> Result<Exit> {
        if let Some(path) = &self.init {
            if path.extension().is_none_or(|e| !e.eq_ignore_ascii_case("toml") && !e.eq_ignore_ascii_case("csv")) {
                return Err(Error::caller("a plan is called .toml or .csv").path(path).hint("choose such a name"));
            }
            if let Some(option) = self.told().first() {
                return Err(Error::caller(format!("--init writes an example and does not read {option}"))
                    .hint(format!("leave {option} out, and change the plan")));
            }
            tables::text_file(path, self.overwrite, |out| {
                out.write_all(inputs::example(path).as_bytes()).map_err(|e| Error::io(path, "writing", e))
            })?;
            match context.json {
                true => output::json(&serde_json::json!({ "written": path.to_string_lossy() }))?,
                false if !context.quiet => {
                    output::print(&format!("{0}: change it, then: tomo estimate {0}\n", path.display()))?;
                }
                false => {}
            }
            return Ok(Exit::Done);
        }
        if self.now.is_some() {
            return self.run_now(context);
        }
        let request = self.request(context)?;
        let mut others: Vec<&Path> = self.inputs.iter().chain(&self.bench).map(|p| &**p).collect();
        for (path, names) in [(&self.csv, &["csv"][..]), (&self.html, &["html", "htm"])] {
            let Some(path) = path else { continue };
            if path.extension().is_none_or(|e| names.iter().all(|n| !e.eq_ignore_ascii_case(n))) {
                return Err(Error::caller(format!("this output is called .{}", names[0]))
                    .path(path)
                    .hint("choose such a name"));
            }
            durable::refuse_beside(path, self.overwrite, &others)?;
            others.push(path);
        }
        if let Some(path) = &self.plot {
            png::refuse_output(path, self.overwrite, &others)?;
        }
        let answer = estimate(&request)?;
        let lines = answers(&answer);
        if let Some(path) = &self.csv {
            page::csv(&answer, path, self.overwrite)?;
        }
        if let Some(path) = &self.html {
            let words = Words { both: &human::both, hours: &hours, date: ledger::when(ledger::now()) + " UTC" };
            page::html(&answer, &lines, &words, path, self.overwrite)?;
        }
        if let Some(path) = &self.plot {
            Chart::of(&answer).png(1000, 560).save(path, self.overwrite)?;
        }
        match context.json {
            true => output::json(&answer)?,
            false if !context.quiet => output::print(&text(&answer, &lines))?,
            false => {}
        }
        Ok(Exit::Done)
    }
}

impl Estimate {
    /// What the options say of a scan.
    fn spec(&self) -> Result<Spec> {
        let s = &self.scan;
        let copies = self.keep.copies.as_deref().map(parse_copies).transpose().map_err(Error::caller)?;
        Ok(Spec {
            name: None,
            scans: s.scans,
            camera: s.camera.clone(),
            roi: s.roi.clone(),
            binning: s.binning,
            nx: s.nx,
            nz: s.nz,
            projections: s.projections,
            references: s.references,
            extended: s.extended.then_some(true),
            overlap: s.overlap,
            diameter: s.diameter,
            volumes: self.keep.volumes,
            copies,
            keep_edf: self.keep.keep_edf.then_some(true),
            drop_float: self.keep.drop_float.then_some(true),
            like: None,
        })
    }

    /// Options of the planning part that are given, each as it is written.
    fn told(&self) -> Vec<String> {
        let c = &self.carry;
        let carried = [
            ("--days", c.days.is_some()),
            ("--margin", c.margin.is_some()),
            ("--disk", c.disk.is_some()),
            ("--rate", c.rate.is_some()),
            ("--onto", !c.onto.is_empty()),
            ("--probe", c.probe),
            ("--parallel", c.parallel.is_some()),
            ("--bench", self.bench.is_some()),
            ("--csv", self.csv.is_some()),
            ("--html", self.html.is_some()),
            ("--plot", self.plot.is_some()),
        ];
        let scan = self.spec().map(|s| s.told()).unwrap_or_default();
        let scan = scan.into_iter().map(|k| format!("--{}", k.replace('_', "-")));
        scan.chain(carried.into_iter().filter(|o| o.1).map(|o| o.0.to_owned())).collect()
    }

    /// What a plan says of the beamtime, as far as no option says otherwise.
    fn left_to(&self, p: Plan) -> Plan {
        let c = &self.carry;
        Plan {
            days: p.days.filter(|_| c.days.is_none()),
            margin: p.margin.filter(|_| c.margin.is_none()),
            disk: p.disk.filter(|_| c.disk.is_none()),
            rate: p.rate.filter(|_| c.rate.is_none() && !c.probe),
            parallel: p.parallel.filter(|_| c.parallel.is_none()),
            ..Plan::default()
        }
    }

    fn request(&self, context: &Context) -> Result<Request> {
        let options = self.spec()?;
        let mut plan = Plan::default();
        let mut samples = Vec::new();
        for path in &self.inputs {
            if inputs::is_plan(path) {
                let p = inputs::read_plan(path)?;
                p.leaves_open(&options).map_err(|e| e.or_path(path))?;
                for s in &p.sample {
                    // The sample first, then what the plan says of all, then the options.
                    let spec = s.clone().or(&p.all).or(&options);
                    samples.push(inputs::sample(&spec).map_err(|e| e.or_path(path))?);
                }
                plan = plan.join(self.left_to(p)).map_err(|e| e.or_path(path))?;
            } else {
                let spec = Spec { like: Some(path.clone()), ..options.clone() };
                samples.push(inputs::sample(&spec)?);
            }
        }
        if self.inputs.is_empty() && !options.is_unsized() {
            samples.push(options.resolve()?);
        }
        let c = &self.carry;
        let named = |e: String| Error::caller(e);
        let given = c.disk.clone().or(plan.disk);
        let sizes = given.as_deref().unwrap_or("4TB");
        let mut sold = sizes.split(',').map(parse_disk).collect::<std::result::Result<Vec<_>, _>>().map_err(named)?;
        let mut real_disk = None;
        let mut rates = parse_rates(c.rate.as_deref().or(plan.rate.as_deref()).unwrap_or("40-100")).map_err(named)?;
        if let Some(folder) = c.onto.first() {
            if c.onto.len() > 1 {
                return Err(Error::caller("one folder is enough here; several are for --now"));
            }
            let v = disk::volume_of(folder)?;
            for w in v.warnings() {
                context.warn(&format!("{}: {w}", v.mount_point.display()));
            }
            real_disk = v.room().map(|room| (v.mount_point.display().to_string(), room));
            if given.is_none() && real_disk.is_none() {
                return Err(Error::caller("the system does not tell how much room there is")
                    .path(folder)
                    .hint("give the size of the disk: --disk 4TB"));
            }
            if given.is_none() {
                sold.clear();
            }
            if c.probe {
                disks::room_for_probe(&v, c.probe_size)?;
                context.progress.begin("measuring", 0);
                rates = vec![rates::disk(folder, c.probe_size, &context.cancel)?.write_per_s];
                context.progress.end();
            }
        }
        Ok(Request {
            samples,
            days: c.days.or(plan.days),
            margin: c.margin.or(plan.margin).unwrap_or(2.0),
            disks: sold,
            real_disk,
            rates,
            measured: c.probe,
            parallel: c.parallel.or(plan.parallel).unwrap_or(1),
            machine: self.bench.as_deref().map(Machine::read).transpose()?,
        })
    }
}

/// Hours as people say them.
fn hours(h: f64) -> String {
    match h {
        h if h >= 48.0 => format!("{:.1} days", h / 24.0),
        h => human::duration(Duration::from_secs_f64((h * 3600.0).clamp(0.0, 1e12))),
    }
}

fn days(d: f64) -> String {
    match (d * 100.0).round() / 100.0 {
        // Hundredths of a day say little, and less would read as none.
        n if n < 0.1 => hours(d * 24.0),
        1.0 => "1 day".into(),
        n => format!("{n} days"),
    }
}

/// The answers in words; true for bad news.
fn answers(e: &Answer) -> Vec<(String, bool)> {
    let tb = |b: f64| human::bytes(b.max(0.0) as u64);
    let mut out = Vec::new();
    let mut say = |text: String, bad: bool| out.push((text, bad));
    say(format!("to take home: {}, about {} files", human::both(e.total_bytes), e.total.files), false);
    say(format!("room to provide: {} (margin {})", human::both(e.needed_bytes), human::number(e.margin)), false);
    for d in &e.disks {
        let n = if d.count == 1 { "1 disk".to_owned() } else { format!("{} disks", d.count) };
        let bare = format!("{} without the margin", d.count_without_margin);
        let room = format!("room for {}, {}", human::bytes(d.room), human::bytes_binary(d.room));
        say(format!("{n} of {} (once formatted: {room}); {bare}", d.name), false);
    }
    let over = if e.parallel > 1 { format!(", {} disks at the same time", e.parallel) } else { String::new() };
    let rate = |c: &crate::ops::estimate::copying::AtRate| {
        format!("{} MB/s", human::number((c.bytes_per_s / 1e5).round() / 10.0))
    };
    let measured = if e.measured_rate { " (measured)" } else { "" };
    let times: Vec<String> = e.copying.iter().map(|c| format!("{} at {}", hours(c.hours), rate(c))).collect();
    say(format!("copying takes {}{measured}{over}", times.join(", ")), false);
    match (e.days, e.per_day, e.rule_bytes) {
        (Some(d), Some(per_day), Some(rule)) => {
            let against = per_day / 10e12;
            say(
                format!(
                    "{} of beamtime: {} per day, {:.2} times the rule of thumb of 10 TB per day (which makes {})",
                    days(d),
                    tb(per_day),
                    against,
                    tb(rule)
                ),
                false,
            );
            for c in &e.copying {
                match (c.keeps_up, c.backlog, c.hours_after) {
                    (Some(false), Some(b), Some(h)) => say(
                        format!(
                            "at {} copying FALLS BEHIND from the first hour: {} per day against {} produced; {} wait at the end, {} more to copy",
                            rate(c),
                            tb(c.per_day),
                            tb(per_day),
                            tb(b),
                            hours(h)
                        ),
                        true,
                    ),
                    _ => say(format!("at {} copying keeps up: {} per day", rate(c), tb(c.per_day)), false),
                }
            }
        }
        _ => say(
            format!(
                "by the rule of thumb (10 TB per day) that is {} of beamtime; --days tells whether copying keeps up",
                days(e.rule_days)
            ),
            false,
        ),
    }
    if e.days.is_some()
        && let Some(c) = e.copying.first().filter(|c| !c.full_after_days.is_empty())
    {
        let soon = c.full_after_days.first().is_some_and(|d| *d < 0.1);
        let one = |d: &f64| if soon { days(*d) } else { format!("{d:.1}") };
        let shown: Vec<String> = c.full_after_days.iter().take(6).map(one).collect();
        let more = if c.full_after_days.len() > 6 { ", …" } else { "" };
        let unit = if soon { "" } else { " days" };
        let which = e.filled.as_ref().map_or(String::new(), |d| format!(" of {d}"));
        say(format!("at {} disks{which} are full after {}{more}{unit}", rate(c), shown.join(", ")), false);
    }
    for r in &e.remedies {
        let enough = match (r.at_lowest_rate, r.at_highest_rate) {
            (true, _) => "keeps up",
            (false, true) => "keeps up at the highest rate only",
            (false, false) => "still falls behind",
        };
        say(format!("what helps: {}: {enough}", r.what), false);
    }
    if let (Some(h), Some(m)) = (e.reconstruct_hours, &e.machine) {
        say(format!("reconstructing all of it: about {} ({m})", hours(h)), false);
    }
    out
}

fn text(e: &Answer, lines: &[(String, bool)]) -> String {
    let wide = e.samples.iter().map(|r| r.sample.name.chars().count()).max().unwrap_or(0).clamp(5, 30);
    let mut t = format!(
        "{:wide$}  {:>5}  {:>22}  {:>18}  {:>20}  {:>20}\n",
        "", "scans", "cols × rows × proj.", "volume", "per scan", "all"
    );
    let mut row = |name: &str, scans: u64, size: String, volume: String, one: String, all: u64| {
        let all = human::both(all);
        t += &format!("{name:wide$}  {scans:>5}  {size:>22}  {volume:>18}  {one:>20}  {all:>20}\n");
    };
    for r in &e.samples {
        let s = &r.sample;
        let [x, y, z] = s.volume;
        let size = format!("{} × {} × {}", s.cols, s.rows, s.projections);
        row(
            &human::on_one_line(&s.name),
            s.scans,
            size,
            format!("{x} × {y} × {z}"),
            human::both(r.per_scan_bytes),
            r.total_bytes,
        );
    }
    if e.samples.len() > 1 {
        let scans = e.samples.iter().map(|r| r.sample.scans).sum();
        row("all", scans, String::new(), String::new(), String::new(), e.total_bytes);
    }
    let kinds = [("raw", e.total.raw), ("EDF", e.total.edf), ("volumes", e.total.volumes), ("copies", e.total.copies)];
    let kinds: Vec<String> =
        kinds.iter().filter(|k| k.1 > 0).map(|k| format!("{} {}", k.0, human::bytes(k.1))).collect();
    t += &format!("{}\n\n", kinds.join(", "));
    for (line, _) in lines {
        t += &format!("- {line}\n");
    }
    t += "\nGB and TB are powers of 1000, as disks are sold; GiB and TiB powers of 1024, which Windows shows as GB and TB.\n";
    for n in &e.notes {
        t += &format!("assumed: {n}\n");
    }
    t
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_sizes_are_read_as_printed_on_the_box() {
        assert_eq!(parse_rates("40-100").unwrap(), [40e6, 100e6]);
        assert_eq!(parse_rates("72.5 MB/s").unwrap(), [72.5e6]);
        for bad in ["", "0", "100-40", "a", "1-2-3", "-5", "1e300", "0.01", "100001", "nan", "inf"] {
            assert!(parse_rates(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_disk("4TB").unwrap(), 4_000_000_000_000);
        assert_eq!((parse_disk("500 gb").unwrap(), parse_disk("1TiB").unwrap()), (500_000_000_000, 1 << 40));
        for bad in ["", "4", "TB", "-1TB", "1e9TB", "0TB", "nanTB"] {
            assert!(parse_disk(bad).is_err(), "{bad}");
        }
    }
}
