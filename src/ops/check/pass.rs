//! One streamed pass over a stack: every slice is read once, looked at by any thread, and handed on in order.
//!
//! Threads take slices in turn and read them in pieces that stay in the processor's cache; the caller sees them one
//! after the other. Memory: some looks and one piece (for compressed formats: one unit) per thread, nothing that grows
//! with the volume.

use super::kernel::{Frame, Look, look};
use crate::stream::{Budget, Cancel, Pool, Progress};
use crossbeam_channel::bounded;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tomokit_formats::{Error, Fault, FrameSource, Region, Result};

/// Bytes read at once from plain files: fits the second level cache of any processor of the last ten years.
const PIECE: usize = 256 << 10;

/// Hands the look at every slice of `wanted` (ascending) to `each`, in order, or the error met when reading it. Slices in
/// `known` are not read again.
///
/// # Errors
/// What `each` says; `Interrupted`; `Limit` where one unit does not fit the budget.
#[allow(clippy::too_many_arguments)] // one pass, named once
pub fn pass(
    source: &dyn FrameSource,
    frame: &Frame,
    wanted: &[usize],
    known: &BTreeMap<usize, Look>,
    threads: usize,
    budget: Budget,
    progress: &dyn Progress,
    cancel: &Cancel,
    mut each: impl FnMut(usize, Result<&Look>) -> Result<()>,
) -> Result<()> {
    let unit = if source.access().decoded { source.access().unit.frames.max(1) } else { 1 };
    let runs = runs(wanted, unit);
    // Slices before each run.
    let before: Vec<usize> = runs.iter().scan(0, |n, r| Some(std::mem::replace(n, *n + r.len()))).collect();
    let per_thread = unit_bytes(source, frame, unit) + 5 * unit * (frame.cells() / 4 + frame.thumb_len() * 4 + 512);
    let most = (budget.share(0.8) / per_thread.max(1)).min(threads);
    if most == 0 {
        return Err(Error::limit("one unit of the file does not fit the memory budget")
            .expected(format!("at most {} bytes", budget.share(0.8)))
            .found(format!("{per_thread} bytes"))
            .hint("raise --memory"));
    }
    let threads = most.min(runs.len()).max(1);
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let pool = Pool::<Look>::new();
    // How far ahead of the slice handed on others may be: bounds what waits for its turn.
    let (tx, rx) = bounded::<(usize, Result<Option<Look>>)>(2 * threads);
    let handed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let tx = tx.clone();
            let (next, stop, pool, runs, before, handed) = (&next, &stop, &pool, &runs, &before, &handed);
            scope.spawn(move || {
                let mut buffer = Vec::new();
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(run) = runs.get(i) else { return };
                    while before[i] > handed.load(Ordering::Acquire) + 3 * threads * unit
                        && !stop.load(Ordering::Relaxed)
                    {
                        std::thread::yield_now();
                    }
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let mut looks = Vec::with_capacity(run.len());
                    for z in run {
                        let fresh = (!known.contains_key(z)).then(|| {
                            let mut l = pool.take(|| Look::new(frame));
                            l.reset();
                            l
                        });
                        looks.push((*z, fresh));
                    }
                    let done =
                        cancel.check().and_then(|()| read(source, frame, &mut looks, unit, &mut buffer, progress));
                    let Err(first) = done else {
                        for (z, l) in looks {
                            if tx.send((z, Ok(l))).is_err() {
                                return;
                            }
                        }
                        continue;
                    };
                    // One by one, so that a bad file or chunk is told from its neighbours.
                    let mut first = Some(first);
                    for (z, l) in looks {
                        let known = l.is_none();
                        let mut one = [(z, l)];
                        let again = match first.take() {
                            Some(e) if run.len() == 1 => Err(e),
                            _ if known => Ok(()),
                            _ => {
                                one[0].1.iter_mut().for_each(Look::reset);
                                cancel.check().and_then(|()| read(source, frame, &mut one, unit, &mut buffer, progress))
                            }
                        };
                        let [(z, l)] = one;
                        if tx.send((z, again.map(|()| l))).is_err() {
                            return;
                        }
                    }
                }
            });
        }
        drop(tx);
        let mut waiting: BTreeMap<usize, Result<Option<Look>>> = BTreeMap::new();
        let mut turn = 0;
        let outcome = (|| {
            for (z, l) in rx.iter() {
                waiting.insert(z, l);
                while let Some(l) = wanted.get(turn).and_then(|z| waiting.remove(z)) {
                    let z = wanted[turn];
                    match (l, known.get(&z)) {
                        (Ok(Some(l)), _) => {
                            each(z, Ok(&l))?;
                            pool.give(l);
                        }
                        (Ok(None), Some(l)) => each(z, Ok(l))?,
                        (Ok(None), None) => {}
                        (Err(e), _) if e.fault() == Fault::Interrupted => return Err(e),
                        (Err(e), _) => each(z, Err(e))?,
                    }
                    turn += 1;
                    handed.store(turn, Ordering::Release);
                }
            }
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        drop(rx);
        outcome
    })
}

/// Bytes one thread reads into.
fn unit_bytes(source: &dyn FrameSource, frame: &Frame, unit: usize) -> usize {
    let slice = frame.rows * frame.row_bytes();
    if source.access().decoded { unit * slice } else { piece_rows(frame) * frame.row_bytes() }
}

fn piece_rows(frame: &Frame) -> usize {
    (PIECE / frame.row_bytes().max(1)).clamp(1, frame.rows.max(1))
}

/// Ascending numbers in groups that share a unit of the file.
fn runs(wanted: &[usize], unit: usize) -> Vec<Vec<usize>> {
    wanted.chunk_by(|a, b| a / unit == b / unit).map(<[usize]>::to_vec).collect()
}

/// Reads slices of one unit and looks at them.
fn read(
    source: &dyn FrameSource,
    frame: &Frame,
    looks: &mut [(usize, Option<Look>)],
    unit: usize,
    buffer: &mut Vec<u8>,
    progress: &dyn Progress,
) -> Result<()> {
    let shape = source.shape();
    let slice = frame.rows * frame.row_bytes();
    if source.access().decoded && unit > 1 && looks.len() > 1 {
        let (first, last) = (looks[0].0, looks[looks.len() - 1].0);
        buffer.resize((last - first + 1) * slice, 0);
        source.read(&Region::of_frames(shape, first..last + 1), buffer)?;
        for (z, l) in looks.iter_mut() {
            if let Some(l) = l {
                look(frame, 0, &buffer[(*z - first) * slice..][..slice], l);
                l.close();
                progress.advance(slice as u64);
            }
        }
        return Ok(());
    }
    let step = if source.access().decoded { frame.rows } else { piece_rows(frame) };
    for (z, l) in looks.iter_mut() {
        let Some(l) = l else { continue };
        for first in (0..frame.rows).step_by(step.max(1)) {
            let rows = first..(first + step).min(frame.rows);
            buffer.resize(rows.len() * frame.row_bytes(), 0);
            source.read_rows(*z..*z + 1, rows, buffer)?;
            look(frame, first, buffer, l);
        }
        l.close();
        progress.advance(slice as u64);
    }
    Ok(())
}
