//! The bounded pipeline: one thread reads, the calling thread computes, one thread writes, all three overlapping.
//!
//! Blocks are handed over one at a time, so at most two inputs (one being read, one in use) and two outputs live at
//! once, plus `ahead` more of each if asked. The first error of any stage stops the others and is returned; the
//! writer then holds a valid prefix, which is why `SliceSink::finish` is called only after `?`.

use crate::stream::Cancel;
use crossbeam_channel::{bounded, select};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tomokit_formats::{Error, Result};

/// How long each stage was busy; the largest is the one that limits.
#[derive(Clone, Copy, Default, Debug)]
pub struct Timings {
    /// Reading and decoding.
    pub read: Duration,
    /// Computing.
    pub compute: Duration,
    /// Writing.
    pub write: Duration,
    /// From first to last block.
    pub wall: Duration,
}

impl Timings {
    /// Name of the stage that limits.
    pub fn limiting(&self) -> &'static str {
        if self.read >= self.compute && self.read >= self.write {
            "read"
        } else if self.compute >= self.write {
            "compute"
        } else {
            "write"
        }
    }
}

/// Recycles buffers between the stages, so that a run allocates each of them once.
#[derive(Debug, Default)]
pub struct Pool<T>(Mutex<Vec<T>>);

impl<T> Pool<T> {
    /// An empty pool.
    pub fn new() -> Self {
        Pool(Mutex::new(Vec::new()))
    }

    /// A used buffer, or a new one.
    pub fn take(&self, make: impl FnOnce() -> T) -> T {
        let used = self.0.lock().unwrap_or_else(|e| e.into_inner()).pop();
        used.unwrap_or_else(make)
    }

    /// A used buffer, if there is one: for collecting what threads left in them.
    pub fn take_used(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).pop()
    }

    /// Gives a buffer back.
    pub fn give(&self, buffer: T) {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).push(buffer);
    }
}

/// Runs two things at once, the first on a thread of its own: waiting for a disk must not hold up the computing threads.
pub fn both<A: Send, B>(
    first: impl FnOnce() -> Result<A> + Send,
    second: impl FnOnce() -> Result<B>,
) -> Result<(A, B)> {
    std::thread::scope(|scope| {
        let first = scope.spawn(first);
        let b = second();
        let a = first.join();
        let a = a.unwrap_or_else(|_| Err(Error::new(tomokit_formats::Fault::System, "a worker thread died")))?;
        Ok((a, b?))
    })
}

/// Runs every item of `plan` through `read`, `compute` and `write`, in order.
///
/// `ahead` is the number of finished blocks that may wait in front of each stage (0: double buffering).
///
/// # Errors
/// The first error of any stage, or `Interrupted` once `cancel` is set.
pub fn run<P, A, B>(
    plan: impl Iterator<Item = P> + Send,
    ahead: usize,
    cancel: &Cancel,
    mut read: impl FnMut(P) -> Result<A> + Send,
    mut compute: impl FnMut(A) -> Result<B>,
    mut write: impl FnMut(B) -> Result<()> + Send,
) -> Result<Timings>
where
    A: Send,
    B: Send,
{
    let start = Instant::now();
    let (in_tx, in_rx) = bounded::<A>(ahead);
    let (out_tx, out_rx) = bounded::<B>(ahead);
    // Dropped by the compute stage when it leaves early: wakes a reader that waits for room.
    let (stop_tx, stop_rx) = bounded::<()>(0);
    let mut timings = Timings::default();

    let (read_result, compute_result, write_result) = std::thread::scope(|scope| {
        let reader = scope.spawn(move || -> (Duration, Result<()>) {
            let mut busy = Duration::ZERO;
            for item in plan {
                if let Err(e) = cancel.check() {
                    return (busy, Err(e));
                }
                let t = Instant::now();
                let block = read(item);
                busy += t.elapsed();
                let block = match block {
                    Ok(b) => b,
                    Err(e) => return (busy, Err(e)),
                };
                select! {
                    send(in_tx, block) -> sent => if sent.is_err() { break },
                    recv(stop_rx) -> _ => break,
                }
            }
            (busy, Ok(()))
        });
        let writer = scope.spawn(move || -> (Duration, Result<()>) {
            let mut busy = Duration::ZERO;
            for block in out_rx {
                if let Err(e) = cancel.check() {
                    return (busy, Err(e));
                }
                let t = Instant::now();
                let written = write(block);
                busy += t.elapsed();
                if written.is_err() {
                    return (busy, written);
                }
            }
            (busy, Ok(()))
        });

        let mut compute_busy = Duration::ZERO;
        let mut computed = Ok(());
        for block in in_rx.iter() {
            if let Err(e) = cancel.check() {
                computed = Err(e);
                break;
            }
            let t = Instant::now();
            let out = compute(block);
            compute_busy += t.elapsed();
            match out {
                // A writer that is gone has its own error; it is reported below.
                Ok(b) => {
                    if out_tx.send(b).is_err() {
                        break;
                    }
                }
                Err(e) => {
                    computed = Err(e);
                    break;
                }
            }
        }
        drop(in_rx);
        drop(stop_tx);
        drop(out_tx);
        let lost = || (Duration::ZERO, Err(Error::new(tomokit_formats::Fault::System, "a worker thread died")));
        let (rb, r) = reader.join().unwrap_or_else(|_| lost());
        let (wb, w) = writer.join().unwrap_or_else(|_| lost());
        timings = Timings { read: rb, compute: compute_busy, write: wb, wall: Duration::ZERO };
        (r, computed, w)
    });
    timings.wall = start.elapsed();
    // A failed writer is the cause where all stop at once: a full disk, say, must not read as "interrupted".
    write_result.and(compute_result).and(read_result)?;
    cancel.check()?;
    Ok(timings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_and_everything_arrives() {
        let mut seen = Vec::new();
        run(
            0..1000u64,
            2,
            &Cancel::default(),
            Ok,
            |a| Ok(a * 3),
            |b| {
                seen.push(b);
                Ok(())
            },
        )
        .unwrap();
        assert_eq!(seen, (0..1000).map(|a| a * 3).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_error_of_any_stage_stops_all() {
        for stage in 0..3 {
            let fail = |here: usize, i: u64| {
                if here == stage && i == 10 { Err(Error::caller(format!("stage {here}"))) } else { Ok(i) }
            };
            let e = run(0..u64::MAX, 0, &Cancel::default(), |i| fail(0, i), |i| fail(1, i), |i| fail(2, i).map(drop))
                .unwrap_err();
            assert_eq!(e.to_string(), format!("stage {stage}"));
        }
    }

    #[test]
    fn cancelling_ends_with_interrupted() {
        let cancel = Cancel::default();
        let e = run(0..u64::MAX, 1, &cancel, Ok, Ok, |i| {
            if i == 50 {
                cancel.cancel();
            }
            Ok(())
        })
        .unwrap_err();
        assert_eq!(e.fault(), tomokit_formats::Fault::Interrupted);
    }
}
