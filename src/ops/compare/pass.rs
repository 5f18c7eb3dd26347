//! The pass over both: every thread takes blocks of slices of its own, some voxels at a time, so that all there is to do
//! with them finds them in its cache. Sums are taken per task of a fixed size and added in the order of the voxels: the
//! result does not depend on the number of threads.

use super::{Plan, Side};
use crate::quantise::{CoarseCounter, CoarseHistogram, Pairs, Second, follow};
use crate::stream::{Blocks, Cancel, Progress, split, sweep};
use std::ops::Range;
use std::sync::Mutex;
use tomokit_formats::{DType, Result};

/// Values per chunk: both as 64-bit floats stay in the processor's second cache.
const CHUNK: usize = 8192;
/// Values whose sums are added up before they are put to the others.
const TASK: usize = CHUNK * 8;

/// What was found.
pub(super) struct Found {
    /// Sums, extremes, counts.
    pub pairs: Pairs,
    /// Differences other than 0.
    pub histogram: CoarseHistogram,
    /// Voxels beyond an end of a grey scale.
    pub beyond_scale: u64,
}

/// Scratch of one thread.
#[derive(Default)]
struct Scratch {
    a: Vec<f64>,
    b: Vec<f64>,
    differences: Vec<f32>,
    counter: CoarseCounter,
    beyond_scale: u64,
}

impl Side {
    pub(super) fn values(&self, bytes: &[u8], out: &mut Vec<f64>) {
        out.resize(bytes.len() / self.dtype.size(), 0.0);
        self.dtype.to_f64(bytes, out);
        if let Some(s) = &self.scale {
            out.iter_mut().for_each(|v| *v = s.slope * *v + s.offset);
        }
    }

    /// Lowest and highest value of a grey scale.
    pub(super) fn ends(&self) -> Option<(f64, f64)> {
        let s = self.scale.as_ref()?;
        let top = match self.dtype {
            DType::U8 => 255.0,
            DType::U16 => 65535.0,
            _ => return None,
        };
        Some((s.offset, s.slope * top + s.offset))
    }
}

/// Values as vectors take them directly, where they do.
fn narrow<'a>(plan: &Plan, a: &'a [u8], b: &'a [u8]) -> Option<(&'a [f32], Second<'a>)> {
    if plan.a.dtype != DType::F32 {
        return None;
    }
    let first = bytemuck::try_cast_slice(a).ok()?;
    let scale = || {
        let (slope, offset) = plan.b.scale.as_ref().map_or((1.0, 0.0), |s| (s.slope, s.offset));
        // Without a scale no value is at an end of it.
        let (low, high) = plan.b.ends().unwrap_or((f64::NAN, f64::NAN));
        // Only the first and the last grey stand for the ends.
        let told_apart = slope + offset != low && high - slope != high;
        told_apart.then_some([slope, offset, low, high])
    };
    let second = match plan.b.dtype {
        DType::F32 if a == b => Second::Same,
        DType::F32 => Second::F32(bytemuck::try_cast_slice(b).ok()?),
        DType::U8 => Second::U8(b, scale()?),
        DType::U16 => Second::U16(bytemuck::try_cast_slice(b).ok()?, scale()?),
        _ => return None,
    };
    Some((first, second))
}

/// As [`narrow`], by way of 64-bit floats: any type.
fn widened(plan: &Plan, a: &[u8], b: &[u8], index: u64, p: Pairs, s: &mut Scratch) -> Pairs {
    plan.a.values(a, &mut s.a);
    plan.b.values(b, &mut s.b);
    if let Some(ends) = plan.a.ends() {
        s.beyond_scale += follow(&mut s.a, ends, &s.b);
    }
    if let Some(ends) = plan.b.ends() {
        s.beyond_scale += follow(&mut s.b, ends, &s.a);
    }
    let all = p.and(&s.a, &s.b, index, plan.tolerance);
    if all.unequal > p.unequal {
        s.differences.clear();
        s.differences.extend(s.a.iter().zip(&s.b).map(|(a, b)| (b - a) as f32));
        s.counter.add(&s.differences);
    }
    all
}

fn task(plan: &Plan, a: &[u8], b: &[u8], first: u64, s: &mut Scratch) -> Pairs {
    let mut p = Pairs::default();
    let chunks = a.chunks(CHUNK * plan.a.dtype.size()).zip(b.chunks(CHUNK * plan.b.dtype.size()));
    for (i, (a, b)) in chunks.enumerate() {
        let index = first + (i * CHUNK) as u64;
        let quick = narrow(plan, a, b);
        let (d, counter) = (&mut s.differences, &mut s.counter);
        p = match quick.and_then(|(x, y)| p.and_narrow(x, y, index, plan.tolerance, d, counter)) {
            Some((p, beyond_scale)) => {
                s.beyond_scale += beyond_scale;
                p
            }
            None => widened(plan, a, b, index, p, s),
        };
    }
    p
}

/// Looks at every voxel of both.
pub(super) fn look(plan: &Plan, progress: &dyn Progress, cancel: &Cancel) -> Result<Found> {
    let shape = plan.shape_a;
    let sizes = (plan.a.dtype.size(), plan.b.dtype.size());
    progress.begin("comparing", (shape.len()? as usize * (sizes.0 + sizes.1)) as u64);
    let (left, right) = (Blocks::new(&*plan.a.view.source), Blocks::new(&*plan.b.view.source));
    let full = Mutex::new(CoarseHistogram::new(false));
    let mut pairs = Pairs::default();
    let outcome = sweep(
        split(0, shape.frames, plan.block_slices),
        plan.lanes,
        cancel,
        Scratch::default,
        |s: &mut Scratch, frames: Range<usize>| {
            let start = (frames.end + (plan.lanes.threads - 1) * plan.block_slices).min(shape.frames);
            let soon = start..(start + plan.block_slices).min(shape.frames);
            let block_a = left.read_beside(frames.clone(), soon.clone())?;
            let block_b = right.read_beside(frames.clone(), soon)?;
            let (a, b) = (left.bytes(&block_a)?, right.bytes(&block_b)?);
            let first = (frames.start * shape.frame_len()) as u64;
            if s.counter.is_full(a.len()) {
                full.lock().unwrap_or_else(|e| e.into_inner()).absorb(&mut s.counter);
            }
            let tasks = a.chunks(TASK * sizes.0).zip(b.chunks(TASK * sizes.1)).enumerate();
            let parts: Vec<Pairs> = tasks.map(|(i, (a, b))| task(plan, a, b, first + (i * TASK) as u64, s)).collect();
            progress.advance((a.len() + b.len()) as u64);
            left.done(block_a);
            right.done(block_b);
            Ok(parts)
        },
        |parts| {
            pairs = parts.into_iter().fold(pairs, Pairs::then);
            Ok(())
        },
    );
    progress.end();
    let (threads, _) = outcome?;
    let mut histogram = full.into_inner().unwrap_or_else(|e| e.into_inner());
    let mut beyond_scale = 0;
    for mut s in threads {
        histogram.absorb(&mut s.counter);
        beyond_scale += s.beyond_scale;
    }
    Ok(Found { pairs, histogram, beyond_scale })
}
