//! Progress bars: bytes, rate and time left, on a terminal only.

use crate::stream::Progress;
use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::Instant;

/// The listener behind every tool. Silent with `--quiet` or where stderr is no terminal.
pub struct Bars {
    visible: bool,
    quiet: bool,
    bar: Mutex<Option<ProgressBar>>,
    /// Where bars are drawn, and the counters below the main one.
    lanes: Mutex<Option<(MultiProgress, BTreeMap<String, ProgressBar>)>>,
    phase: Mutex<Phase>,
}

/// What is said of the current phase beside its bytes.
#[derive(Default)]
struct Phase {
    name: String,
    since: Option<Instant>,
    counted: u64,
    unit: &'static str,
}

impl Phase {
    /// `reconstructing (12.3 slices/s, compute limits)`.
    fn text(&self, stage: &str) -> String {
        let seconds = self.since.map_or(0.0, |s| s.elapsed().as_secs_f64());
        match self.counted {
            0 => format!("{} ({stage} limits)", self.name),
            n => format!("{} ({:.1} {}/s, {stage} limits)", self.name, n as f64 / seconds.max(1e-3), self.unit),
        }
    }
}

impl Bars {
    /// Bars on stderr unless `quiet` or redirected.
    pub fn new(quiet: bool) -> Self {
        Bars {
            visible: !quiet && std::io::stderr().is_terminal(),
            quiet,
            bar: Mutex::new(None),
            lanes: Mutex::new(None),
            phase: Mutex::default(),
        }
    }

    /// Where all bars of a phase are drawn: one that was drawn by itself first would leave its line behind.
    fn lanes<T>(&self, f: impl FnOnce(&MultiProgress, &mut BTreeMap<String, ProgressBar>) -> T) -> T {
        let mut lanes = self.lanes.lock().unwrap_or_else(|e| e.into_inner());
        let (multi, bars) = lanes.get_or_insert_with(|| {
            (MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(5)), BTreeMap::new())
        });
        f(multi, bars)
    }

    fn with(&self, f: impl FnOnce(&mut Option<ProgressBar>)) {
        f(&mut self.bar.lock().unwrap_or_else(|e| e.into_inner()));
    }
}

/// How long it will take, once anything is known of it.
fn left(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    // A line that cannot be drawn is no reason to stop.
    let _ = match state.pos() {
        0 => Ok(()),
        _ => write!(out, "{:#} left", HumanDuration(state.eta())),
    };
}

fn style(template: &str) -> Option<ProgressStyle> {
    ProgressStyle::with_template(template).ok().map(|s| s.with_key("left", left))
}

impl Progress for Bars {
    fn begin(&self, phase: &str, total_bytes: u64) {
        log::info!("{phase}: {total_bytes} bytes");
        if !self.visible {
            return;
        }
        let (bar, template) = match total_bytes {
            0 => (ProgressBar::no_length(), "{msg:12} {spinner} {decimal_bytes}  {decimal_bytes_per_sec}"),
            n => {
                let template =
                    "{msg:12} {bar:30} {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {left}";
                (ProgressBar::new(n), template)
            }
        };
        let bar = self.lanes(|multi, _| multi.add(bar));
        if let Some(s) = style(template) {
            bar.set_style(s);
        }
        bar.set_message(phase.to_owned());
        *self.phase.lock().unwrap_or_else(|e| e.into_inner()) =
            Phase { name: phase.to_owned(), since: Some(Instant::now()), ..Phase::default() };
        self.with(|b| *b = Some(bar));
    }

    fn advance(&self, bytes: u64) {
        self.with(|b| {
            if let Some(b) = b {
                b.inc(bytes);
            }
        });
    }

    fn lane(&self, name: &str, done: u64, total: u64) {
        if !self.visible {
            return;
        }
        self.lanes(|multi, bars| {
            let bar = bars.entry(name.to_owned()).or_insert_with(|| {
                let bar = multi.add(ProgressBar::new(total));
                let template = "{msg} {bar:20} {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {left}";
                if let Some(s) = style(template) {
                    bar.set_style(s);
                }
                bar.set_message(name.to_owned());
                bar
            });
            if bar.position() == 0 && done > 0 {
                // The rate is that of the work, not of the waiting for it.
                bar.reset_eta();
            }
            bar.set_length(total.max(done));
            bar.set_position(done);
        });
    }

    fn count(&self, n: u64, unit: &'static str) {
        let mut phase = self.phase.lock().unwrap_or_else(|e| e.into_inner());
        phase.counted += n;
        phase.unit = unit;
    }

    fn limited_by(&self, stage: &str) {
        self.with(|b| {
            if let Some(b) = b {
                let phase = self.phase.lock().unwrap_or_else(|e| e.into_inner());
                b.set_message(phase.text(stage));
            }
        });
    }

    fn note(&self, text: &str) {
        log::info!("{text}");
        if self.quiet {
            return;
        }
        let text = super::human::on_one_line(text);
        self.with(|b| match b {
            Some(b) => b.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        });
    }

    fn end(&self) {
        self.with(|b| {
            if let Some(b) = b.take() {
                b.finish_and_clear();
            }
        });
        if let Some((_, bars)) = self.lanes.lock().unwrap_or_else(|e| e.into_inner()).take() {
            bars.values().for_each(ProgressBar::finish_and_clear);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_message_says_rate_and_limit() {
        let since = Instant::now().checked_sub(Duration::from_secs(10));
        let p = Phase { name: "reconstructing".into(), since, counted: 125, unit: "slices" };
        assert_eq!(p.text("write"), "reconstructing (12.5 slices/s, write limits)");
        let p = Phase { name: "reconstructing".into(), ..Phase::default() };
        assert_eq!(p.text("read"), "reconstructing (read limits)");
    }
}
