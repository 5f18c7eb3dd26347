//! The pass over both: every thread takes blocks of slices of its own, some voxels at a time, so that all there is to do
//! with them finds them in its cache. Sums are taken per task of a fixed size and added in the order of the voxels: the
//! result does not depend on the number of threads.

use super::{Plan, Side};
use crate::quantise::{CoarseCounter, CoarseHistogram, Greys, Joint, Pairs, Second, follow, to_values};
use crate::stream::{Blocks, Cancel, Progress, split, sweep};
use std::ops::Range;
use std::sync::Mutex;
use tomokit_formats::model::GreyScale;
use tomokit_formats::{DType, Result};

/// Values per chunk: both as 64-bit floats stay in the processor's second cache.
const CHUNK: usize = 8192;
/// Values widened to 64 bits at once: several times over these are gone, in the processor's first cache.
const PIECE: usize = 1024;
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
    /// Values exact in 32 bits, where a file holds others.
    narrow: [Vec<f32>; 2],
    differences: Vec<f32>,
    counter: CoarseCounter,
    /// Where both are greys of 8 bits, instead of all this.
    joint: Option<Joint>,
    /// The first and the worst so far, which in a thread lie before all that follows: only a worse one is looked for.
    so_far: Pairs,
    beyond_scale: u64,
}

impl Side {
    pub(super) fn values(&self, bytes: &[u8], out: &mut Vec<f64>) {
        out.resize(bytes.len() / self.dtype.size(), 0.0);
        self.dtype.to_f64(bytes, out);
        if let Some(s) = &self.scale {
            to_values(out, s.slope, s.offset);
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

    /// True where the same bytes are the same values.
    fn is_like(&self, o: &Side) -> bool {
        let numbers = |s: &Side| s.scale.as_ref().map(|s| (s.slope, s.offset));
        self.dtype == o.dtype && numbers(self) == numbers(o)
    }

    /// False where no value lies beyond the other's ends: on one scale only an exact zero does, where it has a grey.
    fn may_follow(&self, o: &Side) -> bool {
        let zero_is_a_grey = |s: &GreyScale| {
            let grey = (-s.offset / s.slope).round();
            s.slope <= 0.0 || (grey != 0.0 && s.slope * grey + s.offset == 0.0)
        };
        !self.is_like(o) || self.scale.as_ref().is_some_and(zero_is_a_grey)
    }

    /// Greys of 8 bits.
    fn greys(&self) -> Option<Greys> {
        let scale = self.scale.as_ref().map_or((1.0, 0.0), |s| (s.slope, s.offset));
        let finite = |(low, high): (f64, f64)| low.is_finite() && high.is_finite();
        let greys = Greys { scale, ends: self.ends() };
        (self.dtype == DType::U8 && greys.ends.is_none_or(finite)).then_some(greys)
    }
}

/// Values in 32 bits, where these hold them exactly.
fn exact<'a>(side: &Side, bytes: &'a [u8], room: &'a mut Vec<f32>) -> Option<&'a [f32]> {
    if side.scale.is_some() {
        return None;
    }
    if side.dtype == DType::F32 {
        return bytemuck::try_cast_slice(bytes).ok();
    }
    if !side.dtype.is_lossless_into(DType::F32) {
        return None;
    }
    room.resize(bytes.len() / side.dtype.size(), 0.0);
    side.dtype.to_f32(bytes, room);
    Some(room)
}

/// Values as vectors take them directly, where they do.
fn narrow<'a>(
    plan: &Plan,
    a: &'a [u8],
    b: &'a [u8],
    [room_a, room_b]: &'a mut [Vec<f32>; 2],
) -> Option<(&'a [f32], Second<'a>)> {
    let first = exact(&plan.a, a, room_a)?;
    let scale = || {
        let s = plan.b.scale.as_ref()?;
        let ((slope, offset), (low, high)) = ((s.slope, s.offset), plan.b.ends()?);
        // Only the first and the last grey stand for the ends.
        let told_apart = slope + offset != low && high - slope != high;
        told_apart.then_some([slope, offset, low, high])
    };
    let second = match plan.b.dtype {
        same if same == plan.a.dtype && a == b && plan.b.scale.is_none() => Second::Same,
        DType::U8 if plan.b.scale.is_some() => Second::U8(b, scale()?),
        DType::U16 if plan.b.scale.is_some() => Second::U16(bytemuck::try_cast_slice(b).ok()?, scale()?),
        _ => Second::F32(exact(&plan.b, b, room_b)?),
    };
    Some((first, second))
}

/// Equal greys on one scale: their differences are none whatever they stand for, and sums of greys are
/// exact in fewer bits than those of values. `None` where that is not so; go another way.
fn equal_greys(plan: &Plan, a: &[u8], b: &[u8], index: u64, s: &mut Scratch) -> Option<Pairs> {
    let (slope, offset) = plan.a.scale.as_ref().map_or((1.0, 0.0), |s| (s.slope, s.offset));
    let on_one_scale = plan.a.is_like(&plan.b) && !plan.a.may_follow(&plan.b);
    if !on_one_scale || slope <= 0.0 || plan.a.dtype.is_float() || !plan.a.dtype.is_lossless_into(DType::F32) || a != b
    {
        return None;
    }
    let room = &mut s.narrow[0];
    room.resize(a.len() / plan.a.dtype.size(), 0.0);
    plan.a.dtype.to_f32(a, room);
    let (tolerance, d, counter) = (plan.tolerance, &mut s.differences, &mut s.counter);
    let (p, _) = Pairs::default().and_narrow(room, Second::Same, index, tolerance, d, counter)?;
    Some(p.of_equal(slope, offset))
}

/// As [`narrow`], by way of 64-bit floats: any type.
fn widened(plan: &Plan, a: &[u8], b: &[u8], index: u64, p: Pairs, s: &mut Scratch) -> Pairs {
    let pieces = a.chunks(PIECE * plan.a.dtype.size()).zip(b.chunks(PIECE * plan.b.dtype.size())).enumerate();
    pieces.fold(p, |p, (i, (a, b))| piece(plan, a, b, index + (i * PIECE) as u64, p, s))
}

/// Whole numbers of 64 bits that are unequal stay so where 64-bit floats round them to the same: by the next float.
fn keep_apart(plan: &Plan, a: &[u8], b: &[u8], x: &[f64], y: &mut [f64]) {
    const EXACT: f64 = (1u64 << 53) as f64;
    let sides = [&plan.a, &plan.b];
    let wide = |s: &Side| matches!(s.dtype, DType::I64 | DType::U64);
    if !sides.iter().any(|s| wide(s)) || sides.iter().any(|s| s.scale.is_some() || s.dtype.is_float()) {
        return;
    }
    let whole = |s: &Side, bytes: &[u8], i: usize, v: f64| match (s.dtype, bytes.as_chunks::<8>().0.get(i)) {
        (DType::I64, Some(b)) => i128::from(i64::from_ne_bytes(*b)),
        (DType::U64, Some(b)) => i128::from(u64::from_ne_bytes(*b)),
        _ => v as i128,
    };
    for (i, (x, y)) in x.iter().zip(y).enumerate().filter(|(_, (x, y))| **x == **y && x.abs() >= EXACT) {
        match whole(&plan.b, b, i, *y).cmp(&whole(&plan.a, a, i, *x)) {
            std::cmp::Ordering::Less => *y = y.next_down(),
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => *y = y.next_up(),
        }
    }
}

fn piece(plan: &Plan, a: &[u8], b: &[u8], index: u64, p: Pairs, s: &mut Scratch) -> Pairs {
    plan.a.values(a, &mut s.a);
    if plan.a.is_like(&plan.b) && a == b {
        s.b.clone_from(&s.a);
    } else {
        plan.b.values(b, &mut s.b);
    }
    keep_apart(plan, a, b, &s.a, &mut s.b);
    if plan.a.may_follow(&plan.b) {
        s.beyond_scale += plan.a.ends().map_or(0, |ends| follow(&mut s.a, ends, &s.b));
        s.beyond_scale += plan.b.ends().map_or(0, |ends| follow(&mut s.b, ends, &s.a));
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
    let mut p = s.so_far;
    let chunks = a.chunks(CHUNK * plan.a.dtype.size()).zip(b.chunks(CHUNK * plan.b.dtype.size()));
    for (i, (a, b)) in chunks.enumerate() {
        let index = first + (i * CHUNK) as u64;
        if let Some(equal) = equal_greys(plan, a, b, index, s) {
            p = p.then(equal);
            continue;
        }
        if let Some(joint) = &mut s.joint {
            joint.add(a, b, index);
            continue;
        }
        let quick = narrow(plan, a, b, &mut s.narrow);
        let (d, counter) = (&mut s.differences, &mut s.counter);
        p = match quick.and_then(|(x, y)| p.and_narrow(x, y, index, plan.tolerance, d, counter)) {
            Some((p, beyond_scale)) => {
                s.beyond_scale += beyond_scale;
                p
            }
            None => widened(plan, a, b, index, p, s),
        };
    }
    s.so_far = p.places();
    p
}

/// Looks at every voxel of both.
pub(super) fn look(plan: &Plan, progress: &dyn Progress, cancel: &Cancel) -> Result<Found> {
    let shape = plan.shape_a;
    let sizes = (plan.a.dtype.size(), plan.b.dtype.size());
    progress.begin("comparing", (shape.len()? as usize * (sizes.0 + sizes.1)) as u64);
    let (left, right) = (Blocks::new(&*plan.a.view.source), Blocks::new(&*plan.b.view.source));
    let full = Mutex::new(CoarseHistogram::new(false));
    let greys = plan.a.greys().zip(plan.b.greys());
    let mut pairs = Pairs::default();
    let outcome = sweep(
        split(0, shape.frames, plan.block_slices),
        plan.lanes,
        cancel,
        || Scratch { joint: greys.map(|_| Joint::default()), ..Scratch::default() },
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
    if let Some((a, b)) = greys {
        let joint = threads.into_iter().filter_map(|s| s.joint).reduce(Joint::and).unwrap_or_default();
        let (unlike, histogram, beyond_scale) = joint.found(a, b, plan.tolerance);
        return Ok(Found { pairs: pairs.then(unlike), histogram, beyond_scale });
    }
    let mut histogram = full.into_inner().unwrap_or_else(|e| e.into_inner());
    let mut beyond_scale = 0;
    for mut s in threads {
        histogram.absorb(&mut s.counter);
        beyond_scale += s.beyond_scale;
    }
    Ok(Found { pairs, histogram, beyond_scale })
}
