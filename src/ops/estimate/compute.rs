//! How long reconstruction takes, from what `tomo bench` measured on the machine that will do it.

use super::sample::Sample;
use serde::Deserialize;
use std::path::Path;
use tomokit_formats::{Error, Result, io};

/// What `tomo bench --json` writes, as far as it is needed here.
#[derive(Clone, Debug, Deserialize)]
struct Figures {
    processor: String,
    threads: usize,
    slices: Vec<Slice>,
    corrected_per_s: f64,
}

#[derive(Clone, Debug, Deserialize)]
struct Slice {
    size: u64,
    backend: String,
    ms_per_slice: f64,
}

/// How fast a machine is.
#[derive(Clone, Debug)]
pub struct Machine {
    name: String,
    /// Width (with as many projections) and milliseconds per slice of the default back end.
    slices: Vec<(f64, f64)>,
    corrected_per_s: f64,
}

impl Machine {
    /// Reads the figures.
    pub fn read(path: &Path) -> Result<Machine> {
        let text = io::read_small_text(path, 1 << 20)?;
        let wrong = |what: &str| {
            Error::file(path, what)
                .hint("write it with 'tomo bench --json > bench.json' on the machine that reconstructs")
        };
        let f: Figures = serde_json::from_str(&text).map_err(|e| wrong("no figures of tomo bench").source(e))?;
        let sound = |v: f64| v.is_finite() && v > 0.0;
        let slices: Vec<_> = f
            .slices
            .iter()
            .filter(|s| s.backend == "gridding" && s.size >= 8 && sound(s.ms_per_slice))
            .map(|s| (s.size as f64, s.ms_per_slice))
            .collect();
        if slices.is_empty() || !sound(f.corrected_per_s) {
            return Err(wrong("no size was measured"));
        }
        let name = format!("{}, {} threads", f.processor, f.threads);
        Ok(Machine { name, slices, corrected_per_s: f.corrected_per_s })
    }

    /// Milliseconds for a slice `width` wide from `projections`: the measured size nearest to it, by the number of operations
    /// (`width · projections` for the filter, `width²` for the transform back, both times a logarithm).
    fn slice_ms(&self, width: f64, projections: f64) -> f64 {
        let (size, ms) = self.nearest(width);
        let work = |w: f64, p: f64| (w * p + w * w) * w.max(2.0).log2();
        ms * work(width, projections) / work(size, size)
    }

    fn nearest(&self, width: f64) -> (f64, f64) {
        let far = |s: &(f64, f64)| (s.0 / width).ln().abs();
        self.slices.iter().copied().min_by(|a, b| far(a).total_cmp(&far(b))).unwrap_or((1.0, 0.0))
    }

    /// Seconds to correct and reconstruct one scan once. Reading and writing come on top where the disks are slower.
    pub fn scan_seconds(&self, s: &Sample) -> f64 {
        let pixels = s.cols as f64 * s.rows as f64 * s.projections as f64;
        self.slice_ms(s.volume[0] as f64, s.projections as f64) * s.volume[2] as f64 / 1e3
            + pixels / self.corrected_per_s
    }

    /// Which machine, and how far the figures were stretched.
    pub fn describe(&self, samples: &[Sample]) -> String {
        let stretched = samples.iter().any(|s| {
            let w = s.volume[0] as f64;
            !(0.66..1.5).contains(&(self.nearest(w).0 / w))
        });
        let how = if stretched { "; extrapolated from other sizes by the number of operations" } else { "" };
        format!("{}{how}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::estimate::sample::Spec;

    #[test]
    fn time_follows_the_figures() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.json");
        let text = r#"{"threads": 2, "processor": "P", "corrected_per_s": 1e9, "disk": null, "slices": [
            {"size": 512, "backend": "gridding", "ms_per_slice": 4.0}, {"size": 512, "backend": "direct", "ms_per_slice": 90.0},
            {"size": 2048, "backend": "gridding", "ms_per_slice": 80.0}]}"#;
        std::fs::write(&path, text).unwrap();
        let m = Machine::read(&path).unwrap();
        let s = Spec { nx: Some(2048), nz: Some(100), projections: Some(2048), ..Spec::default() }.resolve().unwrap();
        let want = 100.0 * 0.080 + 2048.0 * 2048.0 * 100.0 / 1e9;
        assert!((m.scan_seconds(&s) / want - 1.0).abs() < 1e-12);
        assert!(!m.describe(std::slice::from_ref(&s)).contains("extrapolated"));
        let wide =
            Spec { nx: Some(4096), nz: Some(100), projections: Some(4096), ..Spec::default() }.resolve().unwrap();
        assert!(m.scan_seconds(&wide) > 4.0 * m.scan_seconds(&s) && m.describe(&[wide]).contains("extrapolated"));
        for bad in ["", "{}", r#"{"threads":1,"processor":"P","corrected_per_s":1e9,"slices":[]}"#] {
            std::fs::write(&path, bad).unwrap();
            assert!(Machine::read(&path).unwrap_err().advice().unwrap().contains("tomo bench --json"));
        }
    }
}
