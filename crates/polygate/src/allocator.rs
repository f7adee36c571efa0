//! The program's allocator: mimalloc.
#![allow(unsafe_code, reason = "an allocator is unsafe to implement and to tell to give memory back")]

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::c_void;

use libmimalloc_sys::{
    mi_collect, mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc,
    mi_zalloc_aligned,
};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// What every block of at least that size is aligned to (`MI_MAX_ALIGN_SIZE`).
const NATURAL: usize = 16;

/// Asks mimalloc for an alignment only where it would not be had anyway: its functions for aligned blocks take twice as
/// long, and make larger ones of sizes that are no multiple of the alignment.
struct Allocator;

/// Whether every block of this layout's size has its alignment.
const fn is_natural(layout: Layout) -> bool {
    layout.align() <= NATURAL && layout.align() <= layout.size()
}

// SAFETY: mimalloc's blocks are good for the size that was asked for until they are freed; `is_natural` says when they
// have the alignment without being asked for it. Blocks of both kinds of functions may be freed and resized by either.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = match is_natural(layout) {
            // SAFETY: may be called with any size.
            true => unsafe { mi_malloc(layout.size()) },
            // SAFETY: the alignment of a layout is a power of two.
            false => unsafe { mi_malloc_aligned(layout.size(), layout.align()) },
        };
        block.cast()
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let block = match is_natural(layout) {
            // SAFETY: may be called with any size.
            true => unsafe { mi_zalloc(layout.size()) },
            // SAFETY: the alignment of a layout is a power of two.
            false => unsafe { mi_zalloc_aligned(layout.size(), layout.align()) },
        };
        block.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller gives back what `alloc` gave.
        unsafe { mi_free(block.cast::<c_void>()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let natural = layout.align() <= NATURAL && layout.align() <= size;
        let block = match natural {
            // SAFETY: the caller gives what `alloc` gave.
            true => unsafe { mi_realloc(block.cast(), size) },
            // SAFETY: the same; the alignment of a layout is a power of two.
            false => unsafe { mi_realloc_aligned(block.cast(), size, layout.align()) },
        };
        block.cast()
    }
}

/// Gives memory that was freed back to the system now, and not when there is time. Takes some milliseconds, on the calling
/// thread alone.
pub(crate) fn give_back() {
    // SAFETY: takes no pointer, and may be called on any thread at any time.
    unsafe { mi_collect(true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_and_keep_what_they_hold() {
        for align in [1, 2, 4, 8, 16, 32, 64, 4096] {
            for size in (1..200).chain([1000, 1416, 4072, 5000, 70_000]) {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: the blocks are used within their sizes, and given back once.
                unsafe {
                    let block = ALLOCATOR.alloc(layout);
                    let zeroed = ALLOCATOR.alloc_zeroed(layout);
                    assert!(
                        block.addr().is_multiple_of(align) && zeroed.addr().is_multiple_of(align),
                        "{layout:?}"
                    );
                    assert!((0..size).all(|at| *zeroed.add(at) == 0), "{layout:?}");
                    block.write_bytes(7, size);
                    let block = ALLOCATOR.realloc(block, layout, size * 3);
                    assert!(block.addr().is_multiple_of(align), "{layout:?}");
                    assert!((0..size).all(|at| *block.add(at) == 7), "{layout:?}");
                    ALLOCATOR.dealloc(block, Layout::from_size_align(size * 3, align).unwrap());
                    ALLOCATOR.dealloc(zeroed, layout);
                }
            }
        }
    }
}
