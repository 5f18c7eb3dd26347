//! One method of tomoxide on one sinogram: `peer-tomoxide METHOD SINOGRAM COLUMNS PROJECTIONS AXIS SLICES ROUNDS OUT`.
//!
//! The sinogram is raw float32, `[projection][column]`; SLICES copies of it are reconstructed at a time. Writes the
//! first slice as raw float32 and prints the least times per slice as JSON.

use ndarray::{Array3, Axis};
use std::time::Instant;
use tomoxide::{
    Algorithm, Angles, Center, CpuBackend, FilterName, Geometry, Layout, ReconParams, Tomo, recon,
};

/// CPU seconds of this process, all threads.
fn cpu() -> f64 {
    // SAFETY: a plain C struct of two numbers, filled by the call.
    let mut t: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let a: Vec<String> = std::env::args().skip(1).collect();
    let [method, file, columns, projections, axis, slices, rounds, out] = a.as_slice() else {
        return Err("METHOD SINOGRAM COLUMNS PROJECTIONS AXIS SLICES ROUNDS OUT".into());
    };
    let (n, k): (usize, usize) = (columns.parse()?, projections.parse()?);
    let (slices, rounds): (usize, usize) = (slices.parse()?, rounds.parse()?);
    let one: Vec<f32> =
        std::fs::read(file)?.chunks_exact(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect();
    let stack: Vec<f32> = one.iter().copied().cycle().take(slices * k * n).collect();
    let sinograms = Tomo::new(Array3::from_shape_vec((slices, k, n), stack)?, Layout::Sinogram);
    let mut geometry = Geometry::parallel(Angles::uniform(k, 0.0, std::f32::consts::PI), n, slices, 1.0);
    geometry.center = Center::Scalar(axis.parse()?);
    let params = ReconParams { num_gridx: Some(n), filter_name: FilterName::Ramp, ..Default::default() };
    let algorithm: Algorithm = method.parse()?;
    let backend = CpuBackend::new();
    let (mut wall, mut busy) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..rounds {
        let (w, c) = (Instant::now(), cpu());
        let volume = recon::recon(&sinograms, &geometry, algorithm, &params, &backend)?;
        busy = busy.min((cpu() - c) * 1e3 / slices as f64);
        wall = wall.min(w.elapsed().as_secs_f64() * 1e3 / slices as f64);
        let first: Vec<u8> = volume.array.index_axis(Axis(0), 0).iter().flat_map(|v| v.to_ne_bytes()).collect();
        std::fs::write(out, first)?;
    }
    println!("{{\"wall_ms\": {wall}, \"cpu_ms\": {busy}}}");
    Ok(())
}
