//! The sweep: every thread takes the next block, reads it and works on it while the block is in its own cache; what comes
//! out is handed on in order. Beside [`run`](crate::stream::run) it needs no meeting of threads per block, which is worth
//! a quarter of the time where the disk is not what limits.
//!
//! Guarantees: results arrive in the order of the blocks; no more blocks are under way than allowed,
//! whatever the speeds; the first error stops everything. Which thread took which block is left to chance: state of a thread must be
//! such that merging it in any order gives the same result.

use crate::stream::{Cancel, Timings};
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tomokit_formats::{Error, Fault, Result};

/// How many threads sweep, and how many blocks may be under way: taken, but not yet handed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lanes {
    /// Threads.
    pub threads: usize,
    /// Blocks; no fewer than threads.
    pub under_way: usize,
}

impl Lanes {
    /// As many as rayon has threads and some blocks more, or as many as fit: `need` says the bytes for so many.
    pub fn fitting(bytes: u64, need: impl Fn(Lanes) -> f64) -> Lanes {
        // What takes the results may do so in bursts.
        const AHEAD: [usize; 3] = [4, 2, 0];
        let all = rayon::current_num_threads();
        let choices =
            (1..=all).rev().flat_map(|threads| AHEAD.map(|ahead| Lanes { threads, under_way: threads + ahead }));
        choices.into_iter().find(|l| need(*l) <= bytes as f64).unwrap_or(Lanes { threads: 1, under_way: 1 })
    }
}

struct State<P, B> {
    plan: P,
    /// Number of the next block to take, and of the next to hand on.
    taken: usize,
    handed: usize,
    ready: BTreeMap<usize, B>,
    /// Threads at work.
    working: usize,
    failed: Option<Error>,
    stop: bool,
    busy: Duration,
}

struct Shared<P, B> {
    state: Mutex<State<P, B>>,
    changed: Condvar,
}

impl<P, B> Shared<P, B> {
    fn lock(&self) -> MutexGuard<'_, State<P, B>> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn wait<'a>(&self, guard: MutexGuard<'a, State<P, B>>) -> MutexGuard<'a, State<P, B>> {
        self.changed.wait(guard).unwrap_or_else(|e| e.into_inner())
    }
}

/// Says that a thread is gone, whichever way it went.
struct Alive<'a, P, B>(&'a Shared<P, B>);

impl<P, B> Drop for Alive<'_, P, B> {
    fn drop(&mut self) {
        let mut s = self.0.lock();
        s.working -= 1;
        if std::thread::panicking() {
            s.stop = true;
            s.failed = Some(Error::new(Fault::System, "a worker thread died"));
        }
        drop(s);
        self.0.changed.notify_all();
    }
}

/// Runs every item of `plan` through `work` on several threads and the results through `hand_on`, in order, on this one.
/// Returns the threads' states.
///
/// # Errors
/// The first error of any stage, or `Interrupted` once `cancel` is set.
pub fn sweep<I, S: Send, B: Send>(
    plan: impl Iterator<Item = I> + Send,
    lanes: Lanes,
    cancel: &Cancel,
    begin: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, I) -> Result<B> + Sync,
    mut hand_on: impl FnMut(B) -> Result<()>,
) -> Result<(Vec<S>, Timings)> {
    let start = Instant::now();
    let (lanes, under_way) = (lanes.threads.max(1), lanes.under_way.max(1));
    let shared = Shared {
        state: Mutex::new(State {
            plan,
            taken: 0,
            handed: 0,
            ready: BTreeMap::new(),
            working: lanes,
            failed: None,
            stop: false,
            busy: Duration::ZERO,
        }),
        changed: Condvar::new(),
    };
    let mut handing = Duration::ZERO;
    let (states, handed) = std::thread::scope(|scope| {
        let lane = || {
            let _alive = Alive(&shared);
            let mut own = begin();
            let mut s = shared.lock();
            loop {
                while !s.stop && s.taken >= s.handed + under_way {
                    s = shared.wait(s);
                }
                if s.stop {
                    return own;
                }
                let Some(item) = s.plan.next() else { return own };
                let number = s.taken;
                s.taken += 1;
                drop(s);
                let t = Instant::now();
                let done = cancel.check().and_then(|()| work(&mut own, item));
                let busy = t.elapsed();
                s = shared.lock();
                s.busy += busy;
                match done {
                    Ok(b) => {
                        s.ready.insert(number, b);
                    }
                    Err(e) => {
                        s.stop = true;
                        s.failed.get_or_insert(e);
                    }
                }
                shared.changed.notify_all();
            }
        };
        let threads: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        let mut handed = Ok(());
        let mut s = shared.lock();
        while handed.is_ok() && !s.stop {
            let next = s.handed;
            if let Some(b) = s.ready.remove(&next) {
                drop(s);
                let t = Instant::now();
                handed = cancel.check().and_then(|()| hand_on(b));
                handing += t.elapsed();
                s = shared.lock();
                s.handed += 1;
                shared.changed.notify_all();
            } else if s.working == 0 {
                break;
            } else {
                s = shared.wait(s);
            }
        }
        s.stop = true;
        drop(s);
        shared.changed.notify_all();
        // A thread that died has said so in the state.
        let states: Vec<S> = threads.into_iter().filter_map(|t| t.join().ok()).collect();
        (states, handed)
    });
    let s = shared.state.into_inner().unwrap_or_else(|e| e.into_inner());
    // What takes the results is the cause where all stop at once: a full disk, say, must not read as "interrupted".
    handed?;
    s.failed.map_or(Ok(()), Err)?;
    cancel.check()?;
    let wall = start.elapsed();
    Ok((states, Timings { read: Duration::ZERO, compute: s.busy / lanes as u32, write: handing, wall }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const THREE: Lanes = Lanes { threads: 3, under_way: 5 };

    #[test]
    fn memory_decides_how_many() {
        let all = rayon::current_num_threads();
        let need = |l: Lanes| (10 * l.threads + l.under_way) as f64;
        assert_eq!(Lanes::fitting(1 << 20, need), Lanes { threads: all, under_way: all + 4 });
        assert_eq!(Lanes::fitting(13, need), Lanes { threads: 1, under_way: 3 });
        assert_eq!(Lanes::fitting(0, need), Lanes { threads: 1, under_way: 1 });
    }

    #[test]
    fn everything_arrives_in_order_and_never_too_much_at_once() {
        for (threads, limit) in [(1, 1), (2, 4), (7, 7)] {
            let lanes = Lanes { threads, under_way: limit };
            let (under_way, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let mut seen = Vec::new();
            let (states, _) = sweep(
                0..500u64,
                lanes,
                &Cancel::default(),
                || 0u64,
                |sum, i| {
                    most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    // Some blocks take much longer than others.
                    if i % 50 == 3 {
                        std::thread::sleep(Duration::from_millis(3));
                    }
                    *sum += i;
                    Ok(i * 3)
                },
                |b| {
                    under_way.fetch_sub(1, Ordering::SeqCst);
                    seen.push(b);
                    Ok(())
                },
            )
            .unwrap();
            assert_eq!(seen, (0..500).map(|i| i * 3).collect::<Vec<u64>>());
            assert_eq!(states.iter().sum::<u64>(), 499 * 500 / 2);
            assert!(states.len() == threads && most.into_inner() <= limit);
        }
    }

    #[test]
    fn the_first_error_of_any_stage_stops_all() {
        for stage in 0..2 {
            let fail = |here: usize, i: u64| match here == stage && i == 10 {
                true => Err(Error::caller(format!("stage {here}"))),
                false => Ok(i),
            };
            let e = sweep(0..u64::MAX, THREE, &Cancel::default(), || (), |(), i| fail(0, i), |i| fail(1, i).map(drop));
            assert_eq!(e.unwrap_err().to_string(), format!("stage {stage}"));
        }
        let cancel = Cancel::default();
        let stopped = sweep(
            0..u64::MAX,
            THREE,
            &cancel,
            || (),
            |(), i| {
                if i == 50 {
                    cancel.cancel();
                }
                Ok(i)
            },
            |_| Ok(()),
        );
        assert_eq!(stopped.unwrap_err().fault(), Fault::Interrupted);
    }

    #[test]
    fn a_thread_that_dies_ends_the_sweep() {
        let e = sweep(
            0..u64::MAX,
            THREE,
            &Cancel::default(),
            || (),
            |(), i| {
                assert!(i < 20, "meant to die");
                Ok(())
            },
            |()| Ok(()),
        );
        assert!(e.unwrap_err().to_string().contains("died"));
    }
}
