//! Memory: aligned buffers, and a pointer that several threads write through, each in its own place.

use bytemuck::{Pod, Zeroable};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Floats that begin on a cache line.
pub(super) struct Buffer(Box<[Line]>);

impl Buffer {
    /// `len` zeros; `None` if there is not that much memory.
    pub(super) fn new(len: u64) -> Option<Buffer> {
        let lines = usize::try_from(len.div_ceil(16)).ok()?;
        // The system's own zeros: who touches a page first gets it, on its own processor.
        let v = bytemuck::allocation::try_zeroed_slice_box::<Line>(lines).ok()?;
        huge_pages(v.as_ptr() as usize, lines * 64);
        Some(Buffer(v))
    }

    pub(super) fn as_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len() * 16
    }
}

/// Asks for large pages: neighbouring rows of a big grid lie on different small ones, and looking those up costs as much
/// as the arithmetic. Only a request; nothing depends on its being granted.
#[cfg(target_os = "linux")]
fn huge_pages(start: usize, bytes: usize) {
    const PAGE: usize = 1 << 21;
    let first = start.next_multiple_of(PAGE);
    let end = (start + bytes) / PAGE * PAGE;
    if first < end {
        // SAFETY: whole pages inside an allocation of ours; the advice does not change their content.
        unsafe { libc::madvise(first as *mut libc::c_void, end - first, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn huge_pages(_start: usize, _bytes: usize) {}

/// A mutable slice handed to several threads. Every use of [`Shared::at`] says why no two threads touch the same place.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a> {
    start: *mut f32,
    len: usize,
    life: std::marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: only a pointer; the duty of disjoint use lies with the callers of `at`.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(super) fn new(data: &'a mut [f32]) -> Self {
        Shared { start: data.as_mut_ptr(), len: data.len(), life: std::marker::PhantomData }
    }

    /// Pointer to `count` floats from `index` on. Panics if they are not all inside.
    ///
    /// # Safety
    /// While one thread uses the floats it was given, no other may read or write the same ones.
    #[inline(always)]
    pub(super) unsafe fn at(&self, index: usize, count: usize) -> *mut f32 {
        assert!(index <= self.len && count <= self.len - index, "a piece of {count} at {index} of {}", self.len);
        // SAFETY: inside the slice, just checked.
        unsafe { self.start.add(index) }
    }
}
