//! Memory of a slab: written once by its home core, read by any core.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A fixed block of memory whose first `len` bytes are published and never change again.
struct Memory {
    start: NonNull<u8>,
    capacity: usize,
    len: AtomicUsize,
}

// SAFETY: bytes below `len` are never written again; `len` is released after they were written and acquired before
// they are read. Bytes above are touched by the one `SlabWriter` alone.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

fn layout(capacity: usize) -> Layout {
    Layout::from_size_align(capacity.max(1), 64).expect("slab size")
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `start` came from `alloc` with this very layout, and nobody else holds the memory.
        unsafe { dealloc(self.start.as_ptr(), layout(self.capacity)) };
    }
}

impl Memory {
    fn published(&self) -> &[u8] {
        let len = self.len.load(Ordering::Acquire);
        // SAFETY: bytes below the published length are initialised and immutable; the borrow keeps the memory.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), len) }
    }
}

/// The one writer of a slab.
pub struct SlabWriter(Arc<Memory>);

impl SlabWriter {
    /// A slab of `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        let layout = layout(capacity);
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start) else {
            handle_alloc_error(layout)
        };
        Self(Arc::new(Memory {
            start,
            capacity,
            len: AtomicUsize::new(0),
        }))
    }

    /// Bytes it can hold.
    pub fn capacity(&self) -> usize {
        self.0.capacity
    }

    /// Bytes published.
    pub fn len(&self) -> usize {
        self.0.len.load(Ordering::Relaxed)
    }

    /// Appends `head` and `rest` as one and publishes them. Panics if they do not fit.
    pub fn push(&mut self, head: &[u8], rest: &[u8]) {
        let at = self.len();
        let end = at + head.len() + rest.len();
        assert!(end <= self.0.capacity, "slab overrun");
        // SAFETY: `at..end` lies inside the allocation and above the published length, so nobody reads it, and
        // `&mut self` is the only writer; sources are other memory.
        unsafe {
            let to = self.0.start.as_ptr().add(at);
            std::ptr::copy_nonoverlapping(head.as_ptr(), to, head.len());
            std::ptr::copy_nonoverlapping(rest.as_ptr(), to.add(head.len()), rest.len());
        }
        self.0.len.store(end, Ordering::Release);
    }

    /// The published bytes.
    pub fn bytes(&self) -> &[u8] {
        self.0.published()
    }

    /// A lease of published bytes. Panics if the range is not published.
    pub fn lease(&self, start: usize, end: usize) -> Lease {
        assert!(start <= end && end <= self.len(), "lease of unpublished bytes");
        Lease {
            memory: self.0.clone(),
            start,
            end,
        }
    }
}

/// A range of published bytes; keeps the slab's memory alive, on any core.
#[derive(Clone)]
pub struct Lease {
    memory: Arc<Memory>,
    start: usize,
    end: usize,
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        &self.memory.published()[self.start..self.end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_outlives_writer_and_crosses_threads() {
        let mut slab = SlabWriter::new(4096);
        slab.push(b"head", b"rest");
        let lease = slab.lease(2, 6);
        slab.push(b"", b"more");
        drop(slab);
        let seen = std::thread::spawn(move || lease.as_ref().to_vec())
            .join()
            .expect("reader");
        assert_eq!(seen, b"adre");
    }

    #[test]
    #[should_panic(expected = "slab overrun")]
    fn push_beyond_capacity_panics() {
        SlabWriter::new(8).push(b"12345", b"6789");
    }

    #[test]
    #[should_panic(expected = "unpublished")]
    fn lease_beyond_published_panics() {
        let mut slab = SlabWriter::new(8);
        slab.push(b"1234", b"");
        let _ = slab.lease(0, 5);
    }
}
