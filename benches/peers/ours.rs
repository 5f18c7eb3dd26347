//! Our part of `scripts/bench peers`, with the arguments of the others: `ours TOLERANCE|direct SINOGRAM COLUMNS
//! PROJECTIONS AXIS SLICES ROUNDS OUT`; threads by RAYON_NUM_THREADS.
//!
//! The sinogram is raw float32, `[projection][column]`; SLICES copies of it are reconstructed at a time, plan and scratch
//! made before. Writes the first slice as raw float32 and prints the least times per slice as JSON.

use std::time::Instant;
use tomokit::recon::{Backend, FbpPlan, Geometry, Mask, Options, Padding, Sinograms};

/// CPU seconds of this process, all threads.
#[cfg(unix)]
fn cpu() -> f64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills a plain C struct that lives here.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}

/// Not asked for there.
#[cfg(not(unix))]
fn cpu() -> f64 {
    f64::NAN
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let a: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [method, file, columns, projections, axis, slices, rounds, out] = a.as_slice() else {
        println!("for scripts/bench peers: TOLERANCE|direct SINOGRAM COLUMNS PROJECTIONS AXIS SLICES ROUNDS OUT");
        return Ok(());
    };
    let (n, k): (usize, usize) = (columns.parse()?, projections.parse()?);
    let (slices, rounds): (usize, usize) = (slices.parse()?, rounds.parse()?);
    let one: Vec<f32> = std::fs::read(file)?.as_chunks::<4>().0.iter().map(|b| f32::from_ne_bytes(*b)).collect();
    let sinograms: Vec<f32> = one.iter().copied().cycle().take(slices * k * n).collect();
    let geometry = Geometry::new(n, Geometry::uniform_angles(k, std::f64::consts::PI), axis.parse()?);
    let plain = Options { mask: Mask::Off, padding: Padding::Zero, ..Options::default() };
    let options = match method.as_str() {
        "direct" => Options { backend: Backend::Direct, ..plain },
        tolerance => Options { tolerance: tolerance.parse()?, ..plain },
    };
    let plan = FbpPlan::new(&geometry, &options)?;
    let mut scratch = plan.scratch_for(slices, rayon::current_num_threads())?;
    let mut volume = vec![0f32; slices * n * n];
    let (mut wall, mut busy) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..rounds {
        let (w, c) = (Instant::now(), cpu());
        plan.execute(Sinograms::by_slice(&sinograms, slices, k, n), &mut volume, &mut scratch)?;
        busy = busy.min((cpu() - c) * 1e3 / slices as f64);
        wall = wall.min(w.elapsed().as_secs_f64() * 1e3 / slices as f64);
    }
    std::fs::write(out, volume[..n * n].iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<u8>>())?;
    println!("{{\"wall_ms\": {wall}, \"cpu_ms\": {busy}}}");
    Ok(())
}
