//! Buffers and counters that threads share out among themselves.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

/// Things that are costly to make, lent to whoever works and taken back: as many as ever worked at once.
#[derive(Debug)]
pub(crate) struct Shelf<T, F = fn() -> T> {
    make: F,
    free: Mutex<Vec<T>>,
}

impl<T, F: Fn() -> T> Shelf<T, F> {
    pub fn new(make: F) -> Shelf<T, F> {
        Shelf { make, free: Mutex::default() }
    }

    /// One that nobody else has.
    pub fn borrow(&self) -> Lent<'_, T> {
        // A poisoned lock means another thread panicked; its panic is what surfaces.
        let used = self.free.lock().unwrap_or_else(|e| e.into_inner()).pop();
        Lent(Some(used.unwrap_or_else(&self.make)), &self.free)
    }

    /// All of them.
    pub fn into_inner(self) -> Vec<T> {
        self.free.into_inner().unwrap_or_else(|e| e.into_inner())
    }
}

/// On loan; goes back when dropped.
pub(crate) struct Lent<'a, T>(Option<T>, &'a Mutex<Vec<T>>);

impl<T> Deref for Lent<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.as_ref().expect("there until dropped")
    }
}

impl<T> DerefMut for Lent<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("there until dropped")
    }
}

impl<T> Drop for Lent<'_, T> {
    fn drop(&mut self) {
        if let Some(thing) = self.0.take() {
            self.1.lock().unwrap_or_else(|e| e.into_inner()).push(thing);
        }
    }
}
