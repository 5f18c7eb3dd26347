//! `tomo estimate --now`: the same questions while the experiment runs.

use super::{Estimate, hours, parse_rates};
use crate::cli::common::Context;
use crate::cli::{Exit, human, output};
use crate::ops::estimate::now::{Now, Request, now};
use crate::ops::ledger;
use tomokit_formats::{Error, Result};

impl Estimate {
    pub(super) fn run_now(&self, context: &Context) -> Result<Exit> {
        let folder = self.now.clone().unwrap_or_default();
        if self.csv.is_some() || self.html.is_some() || self.plot.is_some() {
            return Err(Error::caller("--now prints a table or JSON only").hint("use --json"));
        }
        let read = ["--rate", "--onto"];
        if let Some(option) = self.told().iter().find(|o| !read.contains(&o.as_str())) {
            return Err(Error::caller(format!("--now does not read {option}: it looks at what is there"))
                .hint(format!("leave {option} out, or leave --now out to plan")));
        }
        if self.overwrite {
            return Err(
                Error::caller("--now writes no file: there is nothing to overwrite").hint("leave --overwrite out")
            );
        }
        let request = Request {
            folder,
            disks: self.carry.onto.clone(),
            ledger: self.ledger.clone().or_else(|| ledger::default_path().ok()),
            rates: parse_rates(self.carry.rate.as_deref().unwrap_or("40-100")).map_err(Error::caller)?,
        };
        let n = now(&request, &context.progress, &context.cancel)?;
        n.notes.iter().for_each(|note| context.warn(note));
        match context.json {
            true => output::json(&n)?,
            false => output::print(&text(&n, &request.rates))?,
        }
        Ok(Exit::Done)
    }
}

fn text(n: &Now, rates: &[f64]) -> String {
    let wide = n.scans.iter().map(|s| s.scan.chars().count()).max().unwrap_or(0).clamp(4, 40);
    let mut t = format!("{:wide$}  {:>8}  {:>10}  {:>10}\n", "scan", "files", "data", "waiting");
    for s in &n.scans {
        let waiting = if s.waiting == 0 { "–".into() } else { human::bytes(s.waiting) };
        t += &format!("{:wide$}  {:>8}  {:>10}  {waiting:>10}\n", s.scan, s.files, human::bytes(s.bytes));
    }
    t += &format!("\nproduced  {} in {}\n", human::both(n.bytes), human::count(n.files, "file"));
    let files = human::count(n.waiting_files, "file");
    t += &format!("waiting   {} in {files} on no disk as they are now", human::both(n.waiting_bytes));
    let times = n.copy_hours.iter().zip(rates).map(|(h, r)| format!("{} at {:.0} MB/s", hours(*h), r / 1e6));
    if n.waiting_bytes > 0 {
        t += &format!("; copying takes {}", times.collect::<Vec<_>>().join(", "));
    }
    t += &format!("\ntwice     {} have two verified copies\n", human::both(n.twice_bytes));
    t += &match n.today_bytes {
        0 => "today     nothing was written in the last 24 hours\n".to_owned(),
        b => format!(
            "today     {} in {}: {} per day\n",
            human::bytes(b),
            hours(n.today_hours),
            human::bytes(n.per_day as u64)
        ),
    };
    for d in &n.disks {
        let label = d.label.as_ref().map_or(String::new(), |l| format!(" \"{l}\""));
        let free = d.available.map_or("not told what is free".into(), |n| format!("{} free", human::bytes(n)));
        let full = match d.full_in_hours {
            Some(h) if h <= 0.0 => "full by what waits already".into(),
            Some(h) => format!("full in {}", hours(h)),
            None if d.available.is_none() => "nor when it is full".into(),
            None => "not filling".into(),
        };
        t += &format!("disk      {}{label}: {free}, {full}\n", d.place);
    }
    t
}
