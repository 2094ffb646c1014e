//! The allocator of the process: mimalloc, with a shelf for the buffers of device writes.
//!
//! A shard writes from a buffer of some 100 KiB every few hundred microseconds and frees it at once. Left to the general
//! heap, such a block goes to whatever asks next, and the next write touches fresh memory all at once: clearing the
//! pages of 1 MiB took 2.5 ms on a virtual machine, and everything on the shard waited. So each thread keeps the last few
//! blocks of this kind for the next write. They are told by their alignment, which only buffers of direct IO ask for.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ptr::null_mut;

use mimalloc::MiMalloc;

/// Alignment of buffers for direct IO, bytes.
const ALIGN: usize = 4096;
/// Smallest and largest block that is kept, bytes: powers of two.
const SMALLEST: usize = 64 << 10;
const LARGEST: usize = 2 << 20;
const CLASSES: usize = (LARGEST / SMALLEST).ilog2() as usize + 1;
/// Blocks of each class that a thread keeps: a journal has up to four groups on their way, a drain one chunk.
const KEPT: u8 = 4;

/// Free blocks of one thread, by class: each holds the address of the next in its first bytes.
struct Shelf {
    first: Cell<[*mut u8; CLASSES]>,
    count: Cell<[u8; CLASSES]>,
}

thread_local! {
    // Without a destructor: it may be used until the thread is gone, and what it holds then is lost. Threads that write
    // to devices live as long as the process.
    static SHELF: Shelf = const {
        Shelf { first: Cell::new([null_mut(); CLASSES]), count: Cell::new([0; CLASSES]) }
    };
}

/// Class of a block that is kept.
fn class(layout: &Layout) -> Option<usize> {
    let kept = layout.align() == ALIGN && (SMALLEST..=LARGEST).contains(&layout.size());
    kept.then(|| (layout.size().next_power_of_two() / SMALLEST).ilog2() as usize)
}

/// What all blocks of a class are made of.
fn block(class: usize) -> Layout {
    Layout::from_size_align(SMALLEST << class, ALIGN).expect("powers of two")
}

/// mimalloc, but for blocks of device writes.
pub struct Allocator;

// SAFETY: every block comes from mimalloc with the layout of its class, or with the very layout asked for if it has no
// class; the class depends on the layout alone, so a block goes back with the layout it came with. A block on the shelf
// is free: nobody else holds its address.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class(&layout) else {
            // SAFETY: the caller's promise about `layout`.
            return unsafe { MiMalloc.alloc(layout) };
        };
        let taken = SHELF.with(|shelf| {
            let mut first = shelf.first.get();
            let taken = first[class];
            if !taken.is_null() {
                // SAFETY: a block on the shelf is ours, aligned to 4 KiB, and begins with the address of the next.
                first[class] = unsafe { taken.cast::<*mut u8>().read() };
                shelf.first.set(first);
                let mut count = shelf.count.get();
                count[class] -= 1;
                shelf.count.set(count);
            }
            taken
        });
        if taken.is_null() {
            // SAFETY: the layout of a class is not of size zero.
            unsafe { MiMalloc.alloc(block(class)) }
        } else {
            taken
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let Some(class) = class(&layout) else {
            // SAFETY: without a class it came from mimalloc with this layout.
            return unsafe { MiMalloc.dealloc(pointer, layout) };
        };
        let kept = SHELF.with(|shelf| {
            let mut count = shelf.count.get();
            if count[class] == KEPT {
                return false;
            }
            let mut first = shelf.first.get();
            // SAFETY: the caller gives the block up; it is aligned to 4 KiB and larger than a pointer.
            unsafe { pointer.cast::<*mut u8>().write(first[class]) };
            first[class] = pointer;
            count[class] += 1;
            shelf.first.set(first);
            shelf.count.set(count);
            true
        });
        if !kept {
            // SAFETY: a block of a class came from mimalloc with the layout of the class.
            unsafe { MiMalloc.dealloc(pointer, block(class)) };
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if class(&layout).is_none() {
            // SAFETY: the caller's promise about `layout`.
            return unsafe { MiMalloc.alloc_zeroed(layout) };
        }
        // SAFETY: as in `alloc`; the block is at least `layout.size()` long.
        unsafe {
            let pointer = self.alloc(layout);
            if !pointer.is_null() {
                pointer.write_bytes(0, layout.size());
            }
            pointer
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises a valid size for the same alignment.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        if class(&layout).is_none() && class(&new).is_none() {
            // SAFETY: the block came from mimalloc with this layout.
            return unsafe { MiMalloc.realloc(pointer, layout, new_size) };
        }
        // SAFETY: both blocks hold the bytes that are copied, and are not the same.
        unsafe {
            let moved = self.alloc(new);
            if !moved.is_null() {
                std::ptr::copy_nonoverlapping(pointer, moved, layout.size().min(new_size));
                self.dealloc(pointer, layout);
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, ALIGN).expect("a layout")
    }

    #[test]
    fn classes_go_by_alignment_and_size() {
        assert_eq!(class(&layout(SMALLEST - ALIGN)), None);
        assert_eq!(class(&layout(SMALLEST)), Some(0));
        assert_eq!(class(&layout(SMALLEST + ALIGN)), Some(1));
        assert_eq!(class(&layout(LARGEST)), Some(CLASSES - 1));
        assert_eq!(class(&layout(LARGEST + ALIGN)), None);
        assert_eq!(
            class(&Layout::from_size_align(SMALLEST, 64).expect("a layout")),
            None
        );
    }

    #[test]
    fn a_freed_block_is_the_next_one_and_only_a_few_are_kept() {
        // SAFETY: each block is freed once, with the layout it was asked for with.
        unsafe {
            let first = Allocator.alloc(layout(100 << 10));
            first.write_bytes(7, 100 << 10);
            Allocator.dealloc(first, layout(100 << 10));
            assert_eq!(
                Allocator.alloc(layout(70 << 10)),
                first,
                "another size of the class"
            );
            let zeroed = Allocator.alloc_zeroed(layout(96 << 10));
            Allocator.dealloc(first, layout(70 << 10));
            let again = Allocator.alloc_zeroed(layout(100 << 10));
            assert_eq!(again, first);
            assert!((0..100 << 10).all(|at| again.add(at).read() == 0));
            Allocator.dealloc(again, layout(100 << 10));
            Allocator.dealloc(zeroed, layout(96 << 10));

            let many: Vec<*mut u8> = (0..10).map(|_| Allocator.alloc(layout(SMALLEST))).collect();
            let distinct: std::collections::BTreeSet<_> = many.iter().collect();
            assert_eq!(distinct.len(), many.len());
            many.iter()
                .for_each(|block| Allocator.dealloc(*block, layout(SMALLEST)));
            assert_eq!(SHELF.with(|s| s.count.get()[0]), KEPT);
        }
    }

    #[test]
    fn a_block_that_grows_or_shrinks_keeps_its_bytes() {
        // SAFETY: each block is grown from its layout, freed with its last.
        unsafe {
            let mut block = Allocator.alloc(layout(8 << 10));
            block.write_bytes(3, 8 << 10);
            let mut size = 8 << 10;
            for new in [64 << 10, 300 << 10, 4 << 20, 128 << 10, 8 << 10] {
                block = Allocator.realloc(block, layout(size), new);
                assert!(
                    (0..8 << 10).all(|at| block.add(at).read() == 3),
                    "{size} to {new}"
                );
                size = new;
            }
            Allocator.dealloc(block, layout(size));
        }
    }
}
