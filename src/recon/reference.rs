//! The slow oracle: filtered backprojection in float64 with plain loops and sums, no FFT, no tiles, no lanes. It shares
//! only geometry and filter windows with the fast plan, and is what the plan is tested against.

use super::{Backend, Field, Geometry, Interpolation, Options, Padding, Weights};
use std::f64::consts::PI;
use tomokit_formats::{Error, Result};

/// Reconstructs one slice from its sinogram `[angle][column]`. Takes about `len * (len + cols * angles)` operations for
/// the filter and `voxels * angles` for the backprojection: for small sizes.
///
/// # Errors
/// As [`super::FbpPlan::new`] and [`super::FbpPlan::execute`].
pub fn fbp(geometry: &Geometry, options: &Options, sinogram: &[f64]) -> Result<Vec<f64>> {
    geometry.check()?;
    options.check()?;
    let (n, cols) = (geometry.angles_rad.len(), geometry.cols);
    if sinogram.len() != n * cols {
        return Err(Error::caller("the sinogram does not fit").expected(n * cols).found(sinogram.len()));
    }
    let exact = options.backend == Backend::Gridding;
    let len = match options.backend {
        Backend::Direct => options.filter.fft_len(geometry.filter_width(), options.pad_factor),
        Backend::Gridding => super::gridding::circle(geometry, options),
    };
    let left = (len - cols) / 2;
    let kernel = kernel(options, len, geometry.output.bin);
    let weights = match options.weights {
        Weights::Gaps => geometry.weights(),
        Weights::Equal => vec![geometry.period() / n as f64; n],
    };
    let scale = options.scale()?;
    let roi = geometry.roi();
    let (nx, ny) = geometry.slice_size();
    let (cx, cy) = geometry.axis_voxel();
    let bin = geometry.output.bin as f64;
    let mut slice = vec![0.0; nx * ny];
    for k in 0..n {
        let row: Vec<f64> = (0..cols).map(|u| sinogram[k * cols + u] * geometry.overlap_weight(k, u as f64)).collect();
        let padded: Vec<f64> = (0..len).map(|p| value(geometry, options, &row, p as i64 - left as i64)).collect();
        let filtered: Vec<f64> =
            (0..len).map(|i| (0..len).map(|j| padded[j] * kernel[(i + len - j) % len]).sum()).collect();
        let waves = if exact { waves(&filtered) } else { Vec::new() };
        let (sin, cos) = geometry.angle_of(k).sin_cos();
        for (i, line) in slice.chunks_exact_mut(nx).enumerate() {
            let y = bin * (cy - (roi.y0 + i) as f64);
            for (j, v) in line.iter_mut().enumerate() {
                let x = bin * ((roi.x0 + j) as f64 - cx);
                let mut u = x * cos + y * sin + geometry.axis_of(k) + left as f64;
                if exact {
                    *v += weights[k] * scale * between(&waves, u / len as f64);
                    continue;
                }
                if options.interpolation == Interpolation::Quarter {
                    u = (u * 4.0 + 0.5).floor() / 4.0;
                }
                let at = |i: f64| if i >= 0.0 && i < len as f64 { filtered[i as usize] } else { 0.0 };
                let f = u - u.floor();
                *v += weights[k] * scale * ((1.0 - f) * at(u.floor()) + f * at(u.floor() + 1.0));
            }
        }
    }
    if let Some(seen) = geometry.masked(options.mask) {
        for (i, line) in slice.chunks_exact_mut(nx).enumerate() {
            let (a, b) = seen[roi.y0 + i];
            line.iter_mut().enumerate().filter(|(j, _)| !(a..b).contains(&(roi.x0 + j))).for_each(|(_, v)| *v = 0.0);
        }
    }
    Ok(slice)
}

/// Amplitudes (cosine, sine) of the frequencies `0..=len/2` of a row on its circle, `len` even.
fn waves(row: &[f64]) -> Vec<(f64, f64)> {
    let len = row.len();
    let turn: Vec<(f64, f64)> = (0..len).map(|i| (2.0 * PI * i as f64 / len as f64).sin_cos()).collect();
    (0..=len / 2)
        .map(|m| {
            let both = if m == 0 || 2 * m == len { 1.0 } else { 2.0 } / len as f64;
            let term = |(i, v): (usize, &f64)| (v * turn[m * i % len].1, v * turn[m * i % len].0);
            let (c, s) = row.iter().enumerate().map(term).fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
            (c * both, s * both)
        })
        .collect()
}

/// Value between the columns, `turn` of the way around the circle: trigonometric interpolation. The highest frequency
/// has no sine part that the columns could show, and gets none.
fn between(waves: &[(f64, f64)], turn: f64) -> f64 {
    let (sin, cos) = (2.0 * PI * turn).sin_cos();
    let (mut s, mut c, mut sum) = (0.0, 1.0, 0.0);
    for (m, (a, b)) in waves.iter().enumerate() {
        sum += a * c + if m + 1 < waves.len() { b * s } else { 0.0 };
        (c, s) = (c * cos - s * sin, c * sin + s * cos);
    }
    sum
}

/// Value of the padded row at detector column `u`.
fn value(g: &Geometry, o: &Options, row: &[f64], u: i64) -> f64 {
    let right = u >= row.len() as i64;
    if u >= 0 && !right {
        return row[u as usize];
    }
    let near = matches!(g.field, Field::Extended { .. }) && right == g.axis_on_right();
    match o.padding {
        Padding::Edge if !near => row[if right { row.len() - 1 } else { 0 }],
        _ => 0.0,
    }
}

/// The filter in space, by a plain cosine sum over its response.
fn kernel(o: &Options, len: usize, bin: usize) -> Vec<f64> {
    let half = len / 2;
    let cos: Vec<f64> = (0..len).map(|m| (2.0 * PI * m as f64 / len as f64).cos()).collect();
    let response: Vec<f64> = match o.filter {
        super::Filter::None => vec![1.0; half + 1],
        super::Filter::RampPyhst => (0..=half).map(|k| k as f64 / len as f64).collect(),
        _ => (0..=half)
            .map(|k| (0..len).map(|n| super::filter::ramp_kernel(n, len) * cos[k * n % len]).sum::<f64>().max(0.0))
            .collect(),
    };
    // What voxels of `bin` pixels cannot show is left out, half of what they show in one phase only.
    let shown = |k: usize| match (2 * bin * k).cmp(&len) {
        _ if bin == 1 => 1.0,
        std::cmp::Ordering::Less => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Greater => 0.0,
    };
    let window = |k: usize| shown(k) * o.filter.window(k as f64 / (half as f64 * o.cutoff));
    (0..len)
        .map(|n| {
            (0..=half)
                .map(|k| {
                    let both = if k == 0 || k == half { 1.0 } else { 2.0 };
                    both * response[k] * window(k) * cos[k * n % len]
                })
                .sum::<f64>()
                / len as f64
        })
        .collect()
}
