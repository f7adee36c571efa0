//! The program's allocator.
#![allow(unsafe_code, reason = "the allocator can only be told to give memory back through an unsafe call")]

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives memory that was freed back to the system now, and not when there is time. Takes some milliseconds, on the calling
/// thread alone.
pub(crate) fn give_back() {
    // SAFETY: takes no pointer, and may be called on any thread at any time.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
