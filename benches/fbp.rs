//! Milliseconds per slice of both back ends: `cargo bench --bench fbp -- [--sizes 512,1024] [--threads 1,2] [--batch 16]
//! [--rounds 5] [--more 1.0,1.5] [--tolerance 2e-4] [--direct]`.
//!
//! Every line is the least of several rounds of one batch of slices, plan and scratch made before, sinograms in memory.
//! `--more` are the projections per column.

use std::time::Instant;
use tomokit::recon::{Backend, FbpPlan, Geometry, Options, Sinograms};

/// What to run.
struct Job {
    sizes: Vec<usize>,
    threads: Vec<usize>,
    more: Vec<f64>,
    batch: usize,
    rounds: usize,
    tolerance: f64,
    direct: bool,
}

fn list<T: std::str::FromStr>(text: &str) -> Result<Vec<T>, String> {
    text.split(',').map(|v| v.parse().map_err(|_| format!("not a number: {v}"))).collect()
}

fn job(mut args: impl Iterator<Item = String>) -> Result<Job, String> {
    let mut job = Job {
        sizes: vec![512, 1024],
        threads: vec![1, 2],
        more: vec![1.0],
        batch: 16,
        rounds: 5,
        tolerance: 2e-4,
        direct: false,
    };
    while let Some(name) = args.next() {
        let mut value = || args.next().ok_or(format!("{name} needs a value"));
        match name.as_str() {
            "--sizes" => job.sizes = list(&value()?)?,
            "--threads" => job.threads = list(&value()?)?,
            "--more" => job.more = list(&value()?)?,
            "--batch" => job.batch = list(&value()?)?[0],
            "--rounds" => job.rounds = list(&value()?)?[0],
            "--tolerance" => job.tolerance = list(&value()?)?[0],
            "--direct" => job.direct = true,
            // What cargo passes on its own.
            "--bench" => (),
            _ => return Err(format!("unknown argument {name}")),
        }
    }
    Ok(job)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let job = job(std::env::args().skip(1))?;
    println!("| columns | projections | back end | threads | ms per slice | speed-up | scratch MB | kernel, grid |");
    println!("|---|---|---|---|---|---|---|---|");
    let backends: &[Backend] = if job.direct { &[Backend::Gridding, Backend::Direct] } else { &[Backend::Gridding] };
    for &n in &job.sizes {
        for more in &job.more {
            let angles = (n as f64 * more).round() as usize;
            let sino: Vec<f32> = (0..job.batch * angles * n).map(|i| (i * 7919 % 1009) as f32 * 1e-3).collect();
            let mut out = vec![0f32; job.batch * n * n];
            let uniform = Geometry::uniform_angles(angles, std::f64::consts::PI);
            let geometry = Geometry::new(n, uniform, (n as f64 - 1.0) / 2.0 + 3.3);
            for &backend in backends {
                let options = Options { backend, tolerance: job.tolerance, ..Options::default() };
                let plan = FbpPlan::new(&geometry, &options)?;
                let mut first = None;
                for &threads in &job.threads {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
                    let mut scratch = plan.scratch_for(job.batch, threads)?;
                    let mut best = f64::INFINITY;
                    for _ in 0..job.rounds {
                        let start = Instant::now();
                        let view = Sinograms::by_slice(&sino, job.batch, angles, n);
                        pool.install(|| plan.execute(view, &mut out, &mut scratch))?;
                        best = best.min(start.elapsed().as_secs_f64() * 1e3 / job.batch as f64);
                    }
                    let gain = *first.get_or_insert(best) / best;
                    let mb = scratch.bytes() >> 20;
                    let grid = plan.grid().map_or(String::new(), |(w, (x, y))| format!("{w}, {x} × {y}"));
                    println!("| {n} | {angles} | {backend:?} | {threads} | {best:.2} | {gain:.2} | {mb} | {grid} |");
                }
            }
        }
    }
    Ok(())
}
