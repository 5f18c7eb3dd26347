//! No memory is allocated inside `FbpPlan::execute`: counted by an allocator that stands before the system's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use tomokit::recon::{Backend, FbpPlan, Geometry, Mask, Options, Sinograms};

/// Counts while it is told to, on all threads.
struct Counting;

static ON: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator as it comes.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(usize::from(ON.load(SeqCst)), SeqCst);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(p, layout) }
    }

    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(usize::from(ON.load(SeqCst)), SeqCst);
        // SAFETY: the caller's.
        unsafe { System.realloc(p, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn counted(work: impl FnOnce()) -> usize {
    COUNT.store(0, SeqCst);
    ON.store(true, SeqCst);
    work();
    ON.store(false, SeqCst);
    COUNT.load(SeqCst)
}

// One test: the counter is the whole program's.
#[test]
fn execute_allocates_nothing() {
    assert!(counted(|| drop(std::hint::black_box(vec![1u8; 100]))) > 0, "the counter counts");
    let (n, cols, slices) = (60, 80, 19);
    let geometry = Geometry::new(cols, Geometry::uniform_angles(n, std::f64::consts::PI), 38.3);
    let sinograms = vec![0.5f32; slices * n * cols];
    for threads in [1, 2, 4] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for backend in [Backend::Gridding, Backend::Direct] {
            for mask in [Mask::Seen, Mask::Off] {
                let plan = FbpPlan::new(&geometry, &Options { backend, mask, ..Options::default() }).unwrap();
                let mut out = vec![0f32; slices * plan.slice_len()];
                pool.install(|| {
                    let mut scratch = plan.scratch_for(slices, threads).unwrap();
                    let view = Sinograms::by_slice(&sinograms, slices, n, cols);
                    // The pool's own queues grow once.
                    plan.execute(view, &mut out, &mut scratch).unwrap();
                    let met = counted(|| {
                        for _ in 0..5 {
                            plan.execute(view, &mut out, &mut scratch).unwrap();
                        }
                    });
                    assert_eq!(met, 0, "{backend:?}, {mask:?}, {threads} threads");
                });
            }
        }
        let axes: Vec<f64> = (0..20).map(|i| 36.0 + f64::from(i) / 5.0).collect();
        let plan = FbpPlan::for_axes(&geometry, &Options::default(), &axes).unwrap();
        let mut out = vec![0f32; axes.len() * plan.slice_len()];
        pool.install(|| {
            let mut scratch = plan.axes_scratch(axes.len(), threads).unwrap();
            let view = Sinograms::by_slice(&sinograms[..n * cols], 1, n, cols);
            plan.execute_axes(view, &axes, &mut out, &mut scratch).unwrap();
            let met = counted(|| plan.execute_axes(view, &axes, &mut out, &mut scratch).unwrap());
            assert_eq!(met, 0, "axes, {threads} threads");
        });
    }
}
