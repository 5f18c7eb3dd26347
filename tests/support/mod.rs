//! What the integration tests share: running the tools, small files to run them on, and where the shared data is.
#![allow(dead_code)] // each test binary uses its own part

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A finished run of a tool.
pub struct Run {
    /// Exit code (-1: killed by a signal).
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Fails with everything the tool said unless it exited with `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Run {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// An error is one line, optionally followed by one hint.
    #[track_caller]
    pub fn expect_one_error(self) -> Run {
        let r = self.expect(2);
        let lines: Vec<&str> = r.stderr.lines().filter(|l| !l.starts_with("warning: ")).collect();
        assert!(lines[0].starts_with("error: "), "{}", r.stderr);
        assert!(lines.len() == 1 || (lines.len() == 2 && lines[1].starts_with("  hint: ")), "{}", r.stderr);
        r
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }
}

fn finish(o: Output) -> Run {
    Run {
        code: o.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&o.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&o.stderr).into_owned(),
    }
}

/// A command of the umbrella `tomo` in folder `dir`, not started yet.
pub fn command<I: AsRef<std::ffi::OsStr>>(dir: &Path, args: &[I]) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_tomo"));
    // Tests keep their own ledger, never the user's.
    c.current_dir(dir).args(args).env("TOMOKIT_LEDGER", dir.join("ledger.sqlite"));
    c
}

/// Runs `tomo args…` in `dir`.
pub fn tomo<I: AsRef<std::ffi::OsStr>>(dir: &Path, args: &[I]) -> Run {
    finish(command(dir, args).output().expect("the tool starts"))
}

/// Runs another program of this package by path.
pub fn program(path: &str, dir: &Path, args: &[&str]) -> Run {
    finish(Command::new(path).current_dir(dir).args(args).output().expect("the tool starts"))
}

/// A path inside the shared real data, or `None` (with a printed reason) where it is not on this machine.
pub fn shared(inside: &str) -> Option<PathBuf> {
    let root = std::env::var_os("TOMOKIT_SHARED")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"));
    let path = root.join("data").join(inside);
    if !path.exists() {
        eprintln!("skipped: {inside} of the shared data is not here");
        return None;
    }
    Some(path)
}

/// Deterministic, unremarkable floats.
pub fn floats(n: usize) -> Vec<f32> {
    (0..n as u64).map(|i| ((i * 2_654_435_761 % 10_007) as f32) / 10_007.0 - 0.25).collect()
}

/// The bytes of floats, little-endian.
pub fn le(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Reads a file of little-endian floats.
pub fn read_floats(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
}

/// Every path below `dir`, relative, sorted.
pub fn listing(dir: &Path) -> Vec<String> {
    fn walk(root: &Path, dir: &Path, out: &mut Vec<String>) {
        for e in std::fs::read_dir(dir).unwrap() {
            let p = e.unwrap().path();
            out.push(p.strip_prefix(root).unwrap().to_string_lossy().into_owned());
            if p.is_dir() {
                walk(root, &p, out);
            }
        }
    }
    let mut out = Vec::new();
    walk(dir, dir, &mut out);
    out.sort();
    out
}

/// Reads a little-endian float32 `.npy` (version 1, C order): shape and values.
pub fn read_npy(path: &Path) -> (Vec<usize>, Vec<f32>) {
    let b = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(&b[..7], b"\x93NUMPY\x01");
    let end = 10 + u16::from_le_bytes([b[8], b[9]]) as usize;
    let head = String::from_utf8_lossy(&b[10..end]);
    assert!(head.contains("'<f4'") && head.contains("'fortran_order': False"), "{head}");
    let inside = head.split('(').nth(1).and_then(|s| s.split(')').next()).unwrap();
    let shape = inside.split(',').filter_map(|s| s.trim().parse().ok()).collect();
    (shape, b[end..].chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect())
}

/// Pearson correlation and the slope of the least-squares line `b ≈ slope × a + offset`.
pub fn correlation(pairs: impl Iterator<Item = (f32, f32)> + Clone) -> (f64, f64) {
    let (mut n, mut ma, mut mb) = (0.0, 0.0, 0.0);
    for (a, b) in pairs.clone() {
        n += 1.0;
        ma += f64::from(a);
        mb += f64::from(b);
    }
    assert!(n > 100.0, "nothing to compare");
    (ma, mb) = (ma / n, mb / n);
    let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
    for (a, b) in pairs {
        let (a, b) = (f64::from(a) - ma, f64::from(b) - mb);
        aa += a * a;
        bb += b * b;
        ab += a * b;
    }
    (ab / (aa * bb).sqrt(), ab / aa)
}
