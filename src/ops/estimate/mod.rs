//! How much data a beamtime makes, what it takes to carry it home, and whether copying keeps up.
//!
//! | part | what |
//! |---|---|
//! | [`sample`] | a kind of scan in numbers, and what it weighs |
//! | [`inputs`] | scans that exist, parameter files, plans |
//! | [`copying`] | rates, disks, backlog |
//! | [`compute`] | the time reconstruction takes, from what `tomo bench` measured |
//! | [`chart`], [`page`] | production against copying as PNG, SVG and a page |
//! | [`now`] | the same during the experiment, from what is there |
//!
//! Estimates sum what is stored; nothing is read but the headers of scans, and nothing written but what is asked for.

pub mod chart;
pub mod compute;
pub mod copying;
pub mod inputs;
pub mod now;
pub mod page;
pub mod sample;

use crate::ops::estimate::copying::{AtRate, Flow, RULE_PER_DAY, at_rate, formatted_ntfs};
use crate::ops::estimate::sample::{Sample, Sizes};
use serde::Serialize;
use tomokit_formats::{Error, Result};

/// Everything that is to be known beforehand.
#[derive(Clone, Debug)]
pub struct Request {
    /// Kinds of scans.
    pub samples: Vec<Sample>,
    /// Days of beamtime.
    pub days: Option<f64>,
    /// Factor on the room needed.
    pub margin: f64,
    /// Sizes of disks to count, as sold.
    pub disks: Vec<u64>,
    /// A disk that is there: its name and the room on it.
    pub real_disk: Option<(String, u64)>,
    /// Rates of copying to one disk, bytes per second: the lowest and the highest, or one that was measured.
    pub rates: Vec<f64>,
    /// True where the rate was measured.
    pub measured: bool,
    /// Disks copied to at the same time.
    pub parallel: u64,
    /// How fast a machine reconstructs.
    pub machine: Option<compute::Machine>,
}

/// One kind of scan, weighed.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The numbers.
    #[serde(flatten)]
    pub sample: Sample,
    /// One scan.
    pub per_scan: Sizes,
    /// One scan, all bytes.
    pub per_scan_bytes: u64,
    /// All scans.
    pub total: Sizes,
    /// All scans, all bytes.
    pub total_bytes: u64,
    /// Reconstructing one scan, seconds, where a machine was measured.
    pub reconstruct_seconds: Option<f64>,
}

/// Disks of one size.
#[derive(Clone, Debug, Serialize)]
pub struct Disks {
    /// Size as sold, or name.
    pub name: String,
    /// Bytes for files once formatted.
    pub room: u64,
    /// How many hold everything with the margin.
    pub count: u64,
    /// How many hold everything without it.
    pub count_without_margin: u64,
}

/// A way out when copying falls behind.
#[derive(Clone, Debug, Serialize)]
pub struct Remedy {
    /// What to do.
    pub what: String,
    /// True where it suffices at the lowest rate.
    pub at_lowest_rate: bool,
    /// True where it suffices at the highest rate.
    pub at_highest_rate: bool,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct Estimate {
    /// Kinds of scans.
    pub samples: Vec<Row>,
    /// Sum by kind of file.
    pub total: Sizes,
    /// Sum.
    pub total_bytes: u64,
    /// Factor on the room needed.
    pub margin: f64,
    /// Room to provide: the sum with the margin.
    pub needed_bytes: u64,
    /// Days of beamtime.
    pub days: Option<f64>,
    /// Production per day of beamtime.
    pub per_day: Option<f64>,
    /// The rule of thumb (10 TB per day): for these days, or how many days of it the sum is.
    pub rule_bytes: Option<f64>,
    /// The sum in days by the rule of thumb.
    pub rule_days: f64,
    /// Disks.
    pub disks: Vec<Disks>,
    /// Disks copied to at the same time.
    pub parallel: u64,
    /// The disks that `copying` fills one after the other: the last of those above.
    pub filled: Option<String>,
    /// Copying at each rate.
    pub copying: Vec<AtRate>,
    /// True where the rate was measured.
    pub measured_rate: bool,
    /// What would help where copying falls behind at the lowest rate.
    pub remedies: Vec<Remedy>,
    /// Reconstructing everything, hours.
    pub reconstruct_hours: Option<f64>,
    /// How that is known.
    pub machine: Option<String>,
    /// What was assumed, and what to mind.
    pub notes: Vec<String>,
}

/// Slowest and fastest copying that is believed, MB/s.
pub const RATES: (f64, f64) = (0.1, 100_000.0);

fn within(what: &str, v: f64, least: f64, most: f64) -> Result<f64> {
    match (least..=most).contains(&v) {
        true => Ok(v),
        false => Err(Error::caller(format!("{what} is out of range"))
            .expected(format!("{least} to {most}"))
            .found(format!("{v:?}"))),
    }
}

/// Sums up.
///
/// # Errors
/// No samples; numbers beyond any disk; a margin, rate or number of days that makes no sense.
pub fn estimate(r: &Request) -> Result<Estimate> {
    if r.samples.is_empty() {
        return Err(Error::caller("nothing to estimate")
            .hint("give --camera or --nx and --nz, a scan, or a plan ('tomo estimate --init plan.toml' writes one)"));
    }
    let margin = within("the margin, a factor,", r.margin, 1.0, 100.0)?;
    let days = r.days.map(|d| within("the number of days", d, 0.01, 3660.0)).transpose()?;
    within("the number of disks copied to at the same time", r.parallel as f64, 1.0, 1000.0)?;
    if r.rates.is_empty() {
        return Err(Error::caller("at least one rate is needed"));
    }
    for rate in &r.rates {
        // What was measured is true, however slow.
        let lowest = if r.measured { 1e-6 } else { RATES.0 };
        within("a rate of copying in MB/s", *rate / 1e6, lowest, RATES.1)?;
    }
    let mut total = Sizes::default();
    let mut notes = Vec::new();
    let mut samples = Vec::new();
    let mut largest = 0;
    for s in &r.samples {
        let (per_scan, all) = (s.per_scan()?, s.total()?);
        total = total
            .plus(&all)
            .ok_or_else(|| Error::limit("an amount of data beyond any disk").hint("check the numbers"))?;
        largest = largest.max(s.largest_file()?);
        notes.extend(s.notes.iter().map(|n| format!("{}: {n}", s.name)));
        samples.push(Row {
            per_scan,
            per_scan_bytes: per_scan.bytes(),
            total: all,
            total_bytes: all.bytes(),
            reconstruct_seconds: r.machine.as_ref().map(|m| m.scan_seconds(s)),
            sample: s.clone(),
        });
    }
    notes.sort();
    notes.dedup();
    let bytes = total.bytes();
    let needed = (bytes as f64 * margin).ceil();
    let mut disks = Vec::new();
    for d in &r.disks {
        let room =
            formatted_ntfs(*d, (total.files as f64 * *d as f64 / needed.max(1.0)).min(total.files as f64) as u64);
        disks.push(count(as_sold(*d), room, bytes, needed)?);
    }
    if let Some((name, room)) = &r.real_disk {
        disks.push(count(name.clone(), *room, bytes, needed)?);
    }
    if let Some(d) = disks.iter().find(|d| d.room < largest) {
        notes.push(format!("the largest file, {largest} bytes, does not fit on a disk of {}", d.name));
    }
    let room = disks.last().map_or(f64::INFINITY, |d| d.room as f64);
    let flow = |bytes: u64, parallel: u64| Flow {
        bytes: bytes as f64,
        days: days.unwrap_or(f64::INFINITY),
        parallel,
        disk_bytes: room,
    };
    let copying: Vec<AtRate> = r.rates.iter().map(|rate| at_rate(&flow(bytes, r.parallel), *rate)).collect();
    let remedies = match days {
        Some(days) if copying.iter().any(|c| c.keeps_up == Some(false)) => remedies(r, days, bytes)?,
        _ => Vec::new(),
    };
    let reconstruct: Option<f64> = samples
        .iter()
        .map(|s| s.reconstruct_seconds.map(|t| t * s.sample.scans as f64 * s.sample.volumes as f64 / 3600.0))
        .sum();
    Ok(Estimate {
        total_bytes: bytes,
        margin,
        needed_bytes: needed as u64,
        days,
        per_day: days.map(|d| bytes as f64 / d),
        rule_bytes: days.map(|d| d * RULE_PER_DAY),
        rule_days: bytes as f64 / RULE_PER_DAY,
        filled: disks.last().map(|d| d.name.clone()),
        disks,
        parallel: r.parallel,
        copying,
        measured_rate: r.measured,
        remedies,
        reconstruct_hours: reconstruct,
        machine: r.machine.as_ref().map(|m| m.describe(&r.samples)),
        notes,
        samples,
        total,
    })
}

fn count(name: String, room: u64, bytes: u64, needed: f64) -> Result<Disks> {
    if room == 0 {
        return Err(Error::caller("a disk of this size holds nothing").found(name));
    }
    Ok(Disks {
        name,
        room,
        count: (needed / room as f64).ceil() as u64,
        count_without_margin: (bytes as f64 / room as f64).ceil() as u64,
    })
}

/// More disks at the same time, 8 bits instead of 32 on the way, or both.
fn remedies(r: &Request, days: f64, bytes: u64) -> Result<Vec<Remedy>> {
    let low = r.rates.iter().copied().fold(f64::INFINITY, f64::min);
    let high = r.rates.iter().copied().fold(0.0, f64::max);
    let day = |rate: f64, disks: u64| rate * copying::DAY * disks as f64;
    let remedy = |what: String, bytes: u64, disks: u64| {
        let produced = bytes as f64 / days;
        Remedy { what, at_lowest_rate: day(low, disks) >= produced, at_highest_rate: day(high, disks) >= produced }
    };
    let needed = |bytes: u64, rate: f64| ((bytes as f64 / days / day(rate, 1)) - 1e-9).ceil().max(1.0) as u64;
    let mut out = Vec::new();
    let all = needed(bytes, low);
    if all > r.parallel {
        out.push(remedy(
            format!("copy to {all} disks at the same time, each on a socket or PC of its own"),
            bytes,
            all,
        ));
    }
    let mut small = 0u64;
    for s in &r.samples {
        small = small.saturating_add(s.with_eight_bits().total()?.bytes());
    }
    if small < bytes {
        let what = "leave the 32-bit volumes and take 8 bits home (tomo recad at the copy step)";
        out.push(remedy(format!("{what}, with {}", disks(r.parallel)), small, r.parallel));
        let fewer = needed(small, low);
        if fewer > r.parallel && fewer < all {
            out.push(remedy(format!("{what}, with {}", disks(fewer)), small, fewer));
        }
    }
    Ok(out)
}

/// `4 TB`, as printed on the box.
fn as_sold(bytes: u64) -> String {
    let (mut v, mut unit) = (bytes as f64 / 1e12, "TB");
    if v < 1.0 {
        (v, unit) = (v * 1e3, "GB");
    }
    format!("{} {unit}", (v * 1000.0).round() / 1000.0)
}

fn disks(n: u64) -> String {
    if n == 1 { "one disk".into() } else { format!("{n} disks at the same time") }
}

#[cfg(test)]
mod tests;
