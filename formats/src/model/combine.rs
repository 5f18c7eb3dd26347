//! Many frames into one: median or mean per pixel. Works on bands, on all threads of the current pool, and gives the
//! same bytes on any number of them.

use crate::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How a series of flats or darks becomes one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Combine {
    /// Middle value (mean of the two middle ones): a spike or a lost frame does not matter.
    Median,
    /// Arithmetic mean, in float64.
    Mean,
}

/// Pixels per task: its column of values stays in the first cache.
const BLOCK: usize = 256;

/// Combines frames of the same size, or the same band of rows of each, pixel by pixel into `out`. Values that are not
/// finite are left out; a pixel without any finite value becomes NaN.
///
/// Returns the number of values left out.
///
/// # Errors
/// No frames, or frames whose size is not that of `out`.
pub fn combine(frames: &[&[f32]], how: Combine, out: &mut [f32]) -> Result<u64> {
    if frames.is_empty() {
        return Err(Error::caller("there are no frames to combine"));
    }
    if let Some(i) = frames.iter().position(|f| f.len() != out.len()) {
        return Err(Error::caller(format!("frame {i} of a series has another size"))
            .expected(format!("{} values", out.len()))
            .found(frames[i].len()));
    }
    let left_out = out.par_chunks_mut(BLOCK).enumerate().map_init(
        || Vec::with_capacity(frames.len()),
        |values, (block, out)| {
            let mut bad = 0;
            for (i, o) in out.iter_mut().enumerate() {
                let pixel = block * BLOCK + i;
                values.clear();
                values.extend(frames.iter().map(|f| f[pixel]).filter(|v| v.is_finite()));
                bad += (frames.len() - values.len()) as u64;
                *o = match how {
                    Combine::Median => median(values),
                    Combine::Mean => mean(values),
                };
            }
            bad
        },
    );
    Ok(left_out.sum())
}

fn mean(values: &[f32]) -> f32 {
    (values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64) as f32
}

fn median(values: &mut [f32]) -> f32 {
    let n = values.len();
    if n == 0 {
        return f32::NAN;
    }
    let (low, middle, _) = values.select_nth_unstable_by(n / 2, f32::total_cmp);
    let upper = *middle;
    if n % 2 == 1 {
        return upper;
    }
    let lower = low.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    ((f64::from(lower) + f64::from(upper)) / 2.0) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_mean_of_small_series() {
        let frames: [&[f32]; 4] = [
            &[1.0, 5.0, f32::NAN, f32::NAN],
            &[2.0, 60000.0, 3.0, f32::INFINITY],
            &[3.0, 6.0, 4.0, f32::NAN],
            &[10.0, 7.0, 9.0, f32::NEG_INFINITY],
        ];
        let mut out = [0.0; 4];
        assert_eq!(combine(&frames, Combine::Median, &mut out).unwrap(), 5);
        assert_eq!(out[..3], [2.5, 6.5, 4.0]);
        assert!(out[3].is_nan());
        assert_eq!(combine(&frames[..3], Combine::Mean, &mut out).unwrap(), 4);
        assert_eq!(out[..3], [2.0, 20003.666, 3.5]);
        assert!(combine(&[], Combine::Mean, &mut out).is_err());
        assert!(combine(&[&[1.0]], Combine::Mean, &mut out).is_err());
    }

    #[test]
    fn equals_sorting_on_any_number_of_threads_and_cuts() {
        let frames: Vec<Vec<f32>> =
            (0..7u32).map(|f| (0..1000u32).map(|p| ((p * 7919 + f * 104_729) % 997) as f32).collect()).collect();
        let views: Vec<&[f32]> = frames.iter().map(Vec::as_slice).collect();
        let mut want = vec![0.0; 1000];
        for (p, w) in want.iter_mut().enumerate() {
            let mut v: Vec<f32> = frames.iter().map(|f| f[p]).collect();
            v.sort_by(f32::total_cmp);
            *w = v[3];
        }
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut out = vec![0.0; 1000];
            pool.install(|| combine(&views, Combine::Median, &mut out)).unwrap();
            assert_eq!(out, want);
        }
        let mut out = vec![0.0; 300];
        let band: Vec<&[f32]> = frames.iter().map(|f| &f[500..800]).collect();
        combine(&band, Combine::Median, &mut out).unwrap();
        assert_eq!(out, want[500..800]);
    }
}
