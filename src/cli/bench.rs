//! `tomo bench`: how fast this machine is.

use crate::cli::common::{Context, InputArgs};
use crate::cli::{Exit, Tool, human, output};
use crate::ops::bench::{Bench as Measured, Request, execute};
use crate::stream::parse_bytes;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;
use tomokit_formats::{Result, Shape};

/// Arguments of `tomo bench`.
#[derive(Args, Debug)]
pub struct Bench {
    /// Widths of slices to measure, with as many projections: numbers separated by commas
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "512,1024", value_parser = clap::value_parser!(u32).range(8..=16384))]
    sizes: Vec<u32>,
    /// Measure the disk of this folder by writing and reading back a temporary file
    #[arg(long, value_name = "FOLDER")]
    disk: Option<PathBuf>,
    /// Size of that file
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = |s: &str| parse_bytes(s).map_err(|e| e.to_string()), requires = "disk")]
    disk_size: u64,
    /// Foretell the time of this scan
    #[arg(long, value_name = "SCAN", conflicts_with = "numbers")]
    scan: Option<PathBuf>,
    /// Foretell the time of a 16-bit scan of this size: columns x rows x projections
    #[arg(long, value_name = "XxYxN", value_parser = parse_numbers)]
    numbers: Option<Shape>,
    #[command(flatten)]
    reading: InputArgs,
}

fn parse_numbers(text: &str) -> std::result::Result<Shape, String> {
    let parts: Option<Vec<usize>> = text.split('x').map(|p| p.trim().parse().ok().filter(|n| *n > 0)).collect();
    match parts.as_deref() {
        Some([x, y, n]) => Ok(Shape::new(*n, *y, *x)),
        _ => Err("write columns x rows x projections, for example 2048x2048x2000".into()),
    }
}

impl Tool for Bench {
    const NAME: &'static str = "bench";
    const ABOUT: &'static str = "Measure this machine: milliseconds per slice, disk rates, the time a scan would take";
    const EXAMPLES: &'static str = "  tomo bench                                         slices of 512 and 1024 columns
  tomo bench --sizes 2048 --disk /data --numbers 2048x2048x2000
  tomo bench --disk /data --scan scan1/              what this scan would take, written to /data
";

    fn run(self, context: &Context) -> Result<Exit> {
        let request = Request {
            sizes: self.sizes.iter().map(|n| *n as usize).collect(),
            folder: self.disk,
            folder_bytes: self.disk_size,
            scan: self.scan,
            open: self.reading.options(context.budget),
            shape: self.numbers,
        };
        let measured = execute(&request, context.budget, &context.progress, &context.cancel)?;
        match context.json {
            true => output::json(&measured)?,
            false => output::print(&text(&measured))?,
        }
        Ok(Exit::Done)
    }
}

fn text(b: &Measured) -> String {
    let time = |s: f64| human::duration(Duration::from_secs_f64(s));
    let rate = |per_s: f64| format!("{}/s", human::bytes(per_s as u64));
    let mut t = format!("{}, {} threads\n\n  size  back end  ms per slice  slices/s\n", b.processor, b.threads);
    for s in &b.slices {
        t += &format!("{:>6}  {:<8}  {:>12.2}  {:>8.1}\n", s.size, s.backend, s.ms_per_slice, 1e3 / s.ms_per_slice);
    }
    t += &format!("\ncorrection: {} million values/s\n", human::number((b.corrected_per_s / 1e6).round()));
    if let Some(d) = &b.disk {
        t += &format!("disk: writes {}, reads {}", rate(d.write_per_s), rate(d.read_per_s));
        t += if d.read_from_cache { " (may come from memory)\n" } else { "\n" };
    }
    if let Some(e) = &b.expected {
        let s = e.shape;
        t += &format!(
            "\na scan of {} projections of {} × {} pixels ({}) into its volume ({}):\n",
            s.frames,
            s.cols,
            s.rows,
            human::bytes(e.bytes_read),
            human::bytes(e.bytes_written)
        );
        t += &format!("  correcting and reconstructing {}\n", time(e.compute_seconds));
        match e.read_seconds.zip(e.write_seconds) {
            Some((r, w)) => t += &format!("  reading {}, writing {}\n", time(r), time(w)),
            None => t += "  reading and writing: not measured (--disk FOLDER)\n",
        }
        t += &format!("  together about {}\n", time(e.seconds));
    }
    t
}
