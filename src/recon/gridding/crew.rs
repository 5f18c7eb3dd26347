//! Several threads on one batch, from its first stage to its last: they meet at the end of every stage without going to
//! sleep, because a stage takes about a millisecond and waking a thread costs a good part of that.
//!
//! One thread leads; the others help where they are free. The leader never waits for a helper to come, only for one to
//! finish what it has begun, so a pool that is busy with other work is slower and nothing else. While there is nothing
//! to do a helper lends itself to the other work of its pool. No memory is allocated.

use rayon::prelude::*;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};

/// Work of one stage: `job(worker, 0..jobs)`.
type Job<'a, W> = dyn Fn(&mut W, usize) + Sync + 'a;

/// What leader and helpers share.
struct Board<W> {
    /// The stage's work and how many jobs it has: written by the leader while `open` is 0.
    stage: UnsafeCell<Option<(*const Job<'static, W>, usize)>>,
    /// Jobs that nobody has taken.
    left: AtomicUsize,
    /// Jobs that are not finished.
    open: AtomicUsize,
    over: AtomicBool,
}

// SAFETY: `stage` is read only by who has taken a job, and written only while there is none (see `Lead::each`).
unsafe impl<W> Sync for Board<W> {}

/// Marks a job as finished, also when it panics: the leader must not wait for ever.
struct Finish<'a>(&'a AtomicUsize);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Release);
    }
}

impl<W> Board<W> {
    /// Takes a job and does it; false if there is none.
    fn take(&self, worker: &mut W) -> bool {
        let taken = self.left.fetch_update(Acquire, Relaxed, |n| n.checked_sub(1));
        let Ok(left) = taken else { return false };
        let _finish = Finish(&self.open);
        // SAFETY: a job is taken, so the stage is set, and the leader keeps it until the job is finished.
        if let Some((job, jobs)) = unsafe { *self.stage.get() } {
            // SAFETY: as above.
            unsafe { (*job)(worker, jobs - left) };
        }
        true
    }
}

/// Waits a little longer each time.
fn pause(turns: &mut u32) {
    *turns += 1;
    if *turns < 200 {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

/// The leader's handle.
pub(super) struct Lead<'a, W> {
    board: Option<&'a Board<W>>,
    worker: &'a mut W,
    workers: usize,
}

impl<W> Lead<'_, W> {
    /// How many may work.
    pub(super) fn workers(&self) -> usize {
        self.workers
    }

    /// Does `job(worker, 0..jobs)` and returns when all of it is done.
    pub(super) fn each(&mut self, jobs: usize, job: impl Fn(&mut W, usize) + Sync) {
        let Some(board) = self.board else {
            (0..jobs).for_each(|j| job(self.worker, j));
            return;
        };
        let job: &Job<'_, W> = &job;
        /// Waits until nobody uses the stage any more, also when the leader's own job panics.
        struct Done<'a>(&'a AtomicUsize, &'a AtomicUsize);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                // Jobs that nobody will do: only after a panic of the leader's own.
                let dropped = self.0.swap(0, AcqRel);
                self.1.fetch_sub(dropped, Release);
                let mut turns = 0;
                while self.1.load(Acquire) != 0 {
                    pause(&mut turns);
                }
            }
        }
        // SAFETY: the last stage is over (`open` is 0), so nobody reads it; the reference is used until `Done` is
        // dropped, which is before `job` is.
        unsafe {
            *board.stage.get() = Some((std::mem::transmute::<*const Job<'_, W>, *const Job<'static, W>>(job), jobs))
        };
        board.open.store(jobs, Relaxed);
        board.left.store(jobs, Release);
        let _done = Done(&board.left, &board.open);
        while board.take(self.worker) {}
    }
}

/// Runs `lead` on this thread, or on one of the pool, with the rest of the workers at its side.
pub(super) fn work<W: Send>(workers: &mut [W], lead: impl FnOnce(&mut Lead<'_, W>) + Send) {
    let all = workers.len();
    let Some((worker, helpers)) = workers.split_first_mut() else { return };
    if helpers.is_empty() {
        return lead(&mut Lead { board: None, worker, workers: 1 });
    }
    let board = Board {
        stage: UnsafeCell::new(None),
        left: AtomicUsize::new(0),
        open: AtomicUsize::new(0),
        over: AtomicBool::new(false),
    };
    /// Sends the helpers home, also when the leader panics.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Release);
        }
    }
    let board = &board;
    rayon::join(
        move || {
            let _over = Over(&board.over);
            lead(&mut Lead { board: Some(board), worker, workers: all });
        },
        || helpers.par_iter_mut().with_max_len(1).for_each(|worker| help(board, worker)),
    );
}

fn help<W>(board: &Board<W>, worker: &mut W) {
    let mut turns = 0;
    while !board.over.load(Acquire) {
        let lend = || turns % 64 == 63 && rayon::yield_now() == Some(rayon::Yield::Executed);
        if board.take(worker) || lend() {
            turns = 0;
        } else {
            pause(&mut turns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn every_job_is_done_once_and_stages_do_not_overlap() {
        for (workers, threads) in [(1, 1), (2, 2), (5, 2), (3, 1), (4, 8)] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut own = vec![0u64; workers];
            let place: Vec<AtomicU64> = (0..100).map(|_| AtomicU64::new(0)).collect();
            let lead = |l: &mut Lead<'_, u64>| {
                assert_eq!(l.workers(), workers);
                for stage in 0..2000u64 {
                    let jobs = [0, 1, 3, 100][stage as usize % 4];
                    l.each(jobs, |w, j| {
                        assert_eq!(place[j].fetch_add(1, SeqCst) / (1 << 32), stage);
                        *w += 1;
                    });
                    // All of this stage is done, and nothing of another.
                    for (j, p) in place.iter().enumerate() {
                        let want = u64::from(j < jobs);
                        assert_eq!(p.swap((stage + 1) << 32, SeqCst), (stage << 32) + want, "stage {stage}, job {j}");
                    }
                }
            };
            pool.install(|| work(&mut own, lead));
            assert_eq!(own.iter().sum::<u64>(), 500 * 104);
        }
    }

    #[test]
    fn a_panic_gets_out() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for at in [0, 7, 50] {
            let mut own = vec![(); 3];
            let run = || pool.install(|| work(&mut own, |l| l.each(60, |_, j| assert_ne!(j, at))));
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
        }
    }
}
