//! The two passes: one for the histogram, one to write. Every thread takes blocks of slices of its own, some rows at a
//! time, so that counting, converting and hashing find them in its cache. Everything counted is a whole number and the
//! hash is a tree: no thread count and no order changes a result.

use super::run::{Counts, Survey};
use super::{Plan, Zeros};
use crate::quantise::{Depth, FineCounter, FineHistogram, GreyMap, Tally, between_zeros};
use crate::stream::{Algorithm, Block, Blocks, Cancel, Hasher, Piece, Pool, Progress, Timings, Tree, split, sweep};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard};
use tomokit_formats::direct::Buffer;
use tomokit_formats::{ByteOrder, DType, Result, with_dtype};

/// Values looked at in one go: a quarter of most processors' second cache as float32.
const TILE: usize = 1 << 16;

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner())
}

/// The hash of the voxels read, little-endian, slice by slice.
pub(super) enum Digest {
    /// Not wanted.
    Off,
    /// Of pieces in any order.
    Tree(Mutex<Tree>, u64),
    /// One block after the other.
    Chain(Mutex<Hasher>),
}

impl Digest {
    /// As the plan wishes.
    pub fn new(plan: &Plan) -> Digest {
        match plan.hash {
            None => Digest::Off,
            Some(Algorithm::Blake3) => {
                let total = (plan.shape.frames * plan.shape.frame_len() * plan.dtype.size()) as u64;
                Digest::Tree(Mutex::new(Tree::new(total)), total)
            }
            Some(a) => Digest::Chain(Mutex::new(Hasher::new(a))),
        }
    }

    /// True where blocks must be kept for their turn.
    pub fn in_order(algorithm: Option<Algorithm>) -> bool {
        algorithm.is_some_and(|a| a != Algorithm::Blake3)
    }

    fn piece(&self, at: usize, len: usize) -> Option<Piece> {
        match self {
            Digest::Tree(_, total) => Some(Piece::new(*total, at as u64, (at + len) as u64)),
            _ => None,
        }
    }

    fn join(&self, piece: Option<Piece>) {
        if let (Digest::Tree(tree, _), Some(piece)) = (self, piece) {
            lock(tree).join(piece);
        }
    }

    fn next(&self, dtype: DType, bytes: &[u8]) {
        if let Digest::Chain(hasher) = self {
            little(dtype, bytes, |b| lock(hasher).update(b));
        }
    }

    /// The hash in hexadecimal digits, and what it is.
    pub fn finish(self) -> Option<(Algorithm, String)> {
        match self {
            Digest::Off => None,
            Digest::Tree(tree, _) => {
                let tree = tree.into_inner().unwrap_or_else(|e| e.into_inner());
                tree.finish().map(|h| (Algorithm::Blake3, h.to_hex().to_string()))
            }
            Digest::Chain(hasher) => Some(hasher.into_inner().unwrap_or_else(|e| e.into_inner()).finish()),
        }
    }
}

/// Hands on values as little-endian bytes.
fn little(dtype: DType, bytes: &[u8], to: impl FnOnce(&[u8])) {
    if ByteOrder::NATIVE == ByteOrder::Little || dtype.size() == 1 {
        return to(bytes);
    }
    let mut turned = bytes.to_vec();
    ByteOrder::Little.to_native(&mut turned, dtype.size());
    to(&turned);
}

/// The blocks of a pass.
pub(super) fn parts(plan: &Plan) -> impl Iterator<Item = Range<usize>> + Send + use<> {
    split(0, plan.shape.frames, plan.block_slices)
}

/// Those that will be wanted once every thread has taken its next one.
fn soon(plan: &Plan, frames: &Range<usize>) -> Range<usize> {
    let start = frames.end + (plan.lanes.threads - 1) * plan.block_slices;
    start.min(plan.shape.frames)..(start + plan.block_slices).min(plan.shape.frames)
}

/// Rows per tile.
fn tile_rows(cols: usize) -> usize {
    (TILE / cols.max(1)).max(1)
}

/// Takes out what threads spent reading.
fn timings(plan: &Plan, blocks: &Blocks<'_>, t: Timings) -> Timings {
    let read = blocks.waited() / plan.lanes.threads as u32;
    Timings { read, compute: t.compute.saturating_sub(read), ..t }
}

pub(super) fn survey(plan: &Plan, digest: &Digest, progress: &dyn Progress, cancel: &Cancel) -> Result<Survey> {
    let (shape, dtype) = (plan.shape, plan.dtype);
    let row_bytes = shape.cols * dtype.size();
    let slice_bytes = shape.rows * row_bytes;
    progress.begin("looking for limits", (shape.frames * slice_bytes) as u64);
    let blocks = Blocks::new(&*plan.source.source);
    let total = Mutex::new(FineHistogram::new(plan.zeros == Zeros::Values));
    let rows = tile_rows(shape.cols);
    let (threads, _) = sweep(
        parts(plan),
        plan.lanes,
        cancel,
        <(FineCounter, Vec<f32>)>::default,
        |(counter, values), frames| {
            let block = blocks.read_beside(frames.clone(), soon(plan, &frames))?;
            let bytes = blocks.bytes(&block)?;
            if counter.is_full(bytes.len()) {
                lock(&total).absorb(counter);
            }
            let mut piece = digest.piece(frames.start * slice_bytes, bytes.len());
            for (i, tile) in bytes.chunks(rows * row_bytes).enumerate() {
                touch(tile);
                for (j, row) in tile.chunks_exact(row_bytes).enumerate() {
                    let inside = plan.field.row((i * rows + j) % shape.rows);
                    count(dtype, &row[inside.start * dtype.size()..inside.end * dtype.size()], counter, values);
                }
                if let Some(p) = &mut piece {
                    little(dtype, tile, |b| p.update(b));
                }
            }
            digest.join(piece);
            progress.advance(bytes.len() as u64);
            Ok(finished(&blocks, block, digest))
        },
        |block| turn(&blocks, block, digest, dtype),
    )?;
    let mut histogram = total.into_inner().unwrap_or_else(|e| e.into_inner());
    threads.into_iter().for_each(|(mut counter, _)| histogram.absorb(&mut counter));
    progress.end();
    let outside_circle = (shape.frame_len() - plan.field.inside(shape)) as u64 * shape.frames as u64;
    Ok(Survey { histogram, outside_circle })
}

fn count(dtype: DType, bytes: &[u8], counter: &mut FineCounter, values: &mut Vec<f32>) {
    match bytemuck::try_cast_slice::<u8, f32>(bytes) {
        Ok(v) if dtype == DType::F32 => counter.add(v),
        _ => {
            values.resize(bytes.len() / dtype.size(), 0.0);
            dtype.to_f32(bytes, values);
            if dtype == DType::F64 {
                stay_finite(bytes, values);
            }
            counter.add(values);
        }
    }
}

/// Values of 64 bits beyond what 32 bits hold: the largest and the smallest there are, instead of no number and no value.
fn stay_finite(bytes: &[u8], values: &mut [f32]) {
    for (v, b) in values.iter_mut().zip(bytes.as_chunks::<8>().0) {
        let whole = f64::from_ne_bytes(*b);
        if v.is_infinite() && whole.is_finite() {
            *v = f32::MAX.copysign(*v);
        } else if *v == 0.0 && whole != 0.0 {
            *v = f32::from_bits(1).copysign(*v);
        }
    }
}

/// A block that is done with, unless it must wait for its turn in the hash.
fn finished(blocks: &Blocks<'_>, block: Block, digest: &Digest) -> Option<Block> {
    if matches!(digest, Digest::Chain(_)) {
        return Some(block);
    }
    blocks.done(block);
    None
}

fn turn(blocks: &Blocks<'_>, block: Option<Block>, digest: &Digest, dtype: DType) -> Result<()> {
    if let Some(block) = block {
        digest.next(dtype, blocks.bytes(&block)?);
        blocks.done(block);
    }
    Ok(())
}

/// Counters of one thread while writing. Greys go to four tables in turn: counting the same grey again and again would
/// wait for its own last increment.
struct Acc {
    tally: Tally,
    outside: u64,
    greys: [Vec<u64>; 4],
}

impl Acc {
    fn new(depth: Depth) -> Acc {
        let table = || vec![0; depth.top() as usize + 1];
        Acc { tally: Tally::default(), outside: 0, greys: [table(), table(), table(), table()] }
    }

    fn count(&mut self, depth: Depth, greys: &[u8]) {
        let [a, b, c, d] = &mut self.greys;
        match depth {
            Depth::Eight => {
                // Lengths known to the compiler: no check per value. Eight greys are fetched at once.
                let tables = (a.as_mut_array(), b.as_mut_array(), c.as_mut_array(), d.as_mut_array());
                let (Some(a), Some(b), Some(c), Some(d)): Tables<'_> = tables else { return };
                let (eight, rest) = greys.as_chunks::<8>();
                for g in eight {
                    let g = u64::from_le_bytes(*g);
                    let at = |i: u32| usize::from((g >> (8 * i)) as u8);
                    a[at(0)] += 1;
                    b[at(1)] += 1;
                    c[at(2)] += 1;
                    d[at(3)] += 1;
                    a[at(4)] += 1;
                    b[at(5)] += 1;
                    c[at(6)] += 1;
                    d[at(7)] += 1;
                }
                rest.iter().for_each(|g| a[usize::from(*g)] += 1);
            }
            // Neighbours seldom share one of 65536 greys: one table, which fits the cache.
            Depth::Sixteen => {
                greys.as_chunks::<2>().0.iter().for_each(|g| a[usize::from(u16::from_ne_bytes(*g))] += 1);
            }
        }
    }
}

type Table<'a> = Option<&'a mut [u64; 256]>;
type Tables<'a> = (Table<'a>, Table<'a>, Table<'a>, Table<'a>);

/// The columns of a row that are converted; the others stay grey 0.
pub(super) fn converted(plan: &Plan, row: usize, bytes: &[u8]) -> Range<usize> {
    let mut keep = match plan.zeros {
        Zeros::Outside => with_dtype!(plan.dtype, T => between_zeros::<T>(bytes)),
        Zeros::Values => 0..plan.shape.cols,
    };
    if plan.crop_circle {
        let inside = plan.circle_field.row(row);
        keep = keep.start.max(inside.start)..keep.end.min(inside.end);
        if keep.is_empty() {
            keep = 0..0;
        }
    }
    keep
}

/// Brings a tile into the cache from front to end, as processors like it best: what follows looks at both ends of rows
/// first, or waits for its own counters between two reads.
fn touch(tile: &[u8]) {
    let (words, _) = tile.as_chunks::<8>();
    std::hint::black_box(words.iter().fold(0, |a, w| a ^ u64::from_ne_bytes(*w)));
}

/// Converts rows from `line` of the whole volume on.
fn convert(plan: &Plan, map: &GreyMap, line: usize, src: &[u8], dst: &mut [u8], acc: &mut Acc) {
    let shape = plan.shape;
    let (in_size, out_size) = (plan.dtype.size(), plan.depth.dtype().size());
    let rows = dst.chunks_exact_mut(shape.cols * out_size).zip(src.chunks_exact(shape.cols * in_size));
    for (line, (dst, src)) in (line..).zip(rows) {
        let keep = converted(plan, line % shape.rows, src);
        acc.outside += (shape.cols - keep.len()) as u64;
        let index = line as u64 * shape.cols as u64 + keep.start as u64;
        dst[..keep.start * out_size].fill(0);
        dst[keep.end * out_size..].fill(0);
        let greys = &mut dst[keep.start * out_size..keep.end * out_size];
        let values = &src[keep.start * in_size..keep.end * in_size];
        acc.tally = acc.tally.merge(map.convert(plan.dtype, values, greys, plan.dither.map(|s| (s, index))));
        acc.count(plan.depth, greys);
    }
}

pub(super) fn write(
    plan: &Plan,
    map: &GreyMap,
    sink: &mut dyn tomokit_formats::SliceSink,
    digest: &Digest,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<(Counts, Timings)> {
    let (shape, dtype) = (plan.shape, plan.dtype);
    let in_row = shape.cols * dtype.size();
    let out_row = shape.cols * plan.depth.dtype().size();
    let slice_in = shape.rows * in_row;
    progress.begin("writing", (shape.frames * slice_in) as u64);
    let blocks = Blocks::new(&*plan.source.source);
    let outputs = Pool::<Buffer>::new();
    let rows = tile_rows(shape.cols);
    let (threads, spent) = sweep(
        parts(plan),
        plan.lanes,
        cancel,
        || Acc::new(plan.depth),
        |acc, frames| {
            let block = blocks.read_beside(frames.clone(), soon(plan, &frames))?;
            let bytes = blocks.bytes(&block)?;
            let mut greys = outputs.take(Buffer::default);
            let room = greys.room(frames.len() * shape.rows * out_row);
            let mut piece = digest.piece(frames.start * slice_in, bytes.len());
            let tiles = room.chunks_mut(rows * out_row).zip(bytes.chunks(rows * in_row));
            for (i, (dst, src)) in tiles.enumerate() {
                touch(src);
                convert(plan, map, frames.start * shape.rows + i * rows, src, dst, acc);
                if let Some(p) = &mut piece {
                    little(dtype, src, |b| p.update(b));
                }
            }
            digest.join(piece);
            progress.advance(bytes.len() as u64);
            Ok((frames.start, greys, finished(&blocks, block, digest)))
        },
        |(first, greys, block)| {
            turn(&blocks, block, digest, dtype)?;
            sink.put(first, greys.bytes())?;
            outputs.give(greys);
            Ok(())
        },
    )?;
    progress.end();
    let mut c = Counts { greys: vec![0; plan.depth.top() as usize + 1], ..Counts::default() };
    for acc in threads {
        c.tally = c.tally.merge(acc.tally);
        c.outside += acc.outside;
        for table in &acc.greys {
            c.greys.iter_mut().zip(table).for_each(|(t, n)| *t += n);
        }
    }
    // Outside the field there is no grey value, only the filling.
    c.voxels = c.tally.values + c.outside;
    c.greys_in_use = c.greys.iter().filter(|n| **n > 0).count();
    Ok((c, timings(plan, &blocks, spent)))
}
