//! The VM's allocator, and the loading of bytecode that it wrote itself.
#![allow(unsafe_code, reason = "QuickJS can only be given an allocator or bytecode through unsafe calls")]

use std::cell::Cell;
use std::ptr;
use std::rc::Rc;

use libmimalloc_sys::{mi_free, mi_malloc, mi_realloc, mi_zalloc};
use rquickjs::allocator::Allocator;
use rquickjs::module::Declared;
use rquickjs::{Ctx, Module, Result};

/// Memory beyond the limit that the VM may use to unwind once the limit is reached, in bytes.
///
/// QuickJS aborts the process when it cannot reject the promise of an async function that ran out of memory, so the
/// limit is a soft one: reaching it fails one allocation and stops the script, and unwinding has this much to spend.
pub(crate) const RESERVE: usize = 8 * 1024 * 1024;

/// Bytes in use by one VM, its limit, and whether it was reached.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    used: Cell<usize>,
    peak: Cell<usize>,
    limit: Cell<usize>,
    reached: Cell<bool>,
}

impl Memory {
    pub(crate) fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self { limit: Cell::new(limit), ..Self::default() })
    }

    pub(crate) fn used(&self) -> usize {
        self.used.get()
    }

    pub(crate) fn peak(&self) -> usize {
        self.peak.get()
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit.get()
    }

    /// Whether an allocation was refused.
    pub(crate) fn is_reached(&self) -> bool {
        self.reached.get()
    }

    /// Whether `size` more bytes may be used.
    fn admit(&self, size: usize) -> bool {
        let limit = self.limit.get();
        let after = self.used.get().saturating_add(size);
        if after <= limit {
            return true;
        }
        // The first refusal reaches the script as an out-of-memory error; the interrupt handler then stops it.
        if !self.reached.replace(true) {
            return false;
        }
        after <= limit.saturating_add(RESERVE)
    }

    fn add(&self, size: usize) {
        let used = self.used.get() + size;
        self.used.set(used);
        if used > self.peak.get() {
            self.peak.set(used);
        }
    }

    fn sub(&self, size: usize) {
        self.used.set(self.used.get() - size);
    }
}

/// Bytes before each block, holding the block's size.
const HEADER: usize = 16;

/// The allocator of the process with a count and a limit for one VM. It is called by its own name: through the standard
/// library's interface each block costs twice as much, for an alignment that it has anyway.
pub(crate) struct Counting(pub(crate) Rc<Memory>);

impl Counting {
    fn block(&self, size: usize, zeroed: bool) -> *mut u8 {
        let Some(whole) = size.checked_add(HEADER) else { return ptr::null_mut() };
        if size == 0 || !self.0.admit(size) {
            return ptr::null_mut();
        }
        // SAFETY: any size may be asked for.
        let base = unsafe { if zeroed { mi_zalloc(whole) } else { mi_malloc(whole) } }.cast::<u8>();
        if base.is_null() {
            return base;
        }
        self.0.add(size);
        // SAFETY: `base` is valid for HEADER + size bytes and aligned to 16.
        unsafe {
            base.cast::<usize>().write(size);
            base.add(HEADER)
        }
    }
}

// SAFETY: blocks come from mimalloc, which aligns those of 16 bytes and more to 16 bytes, and remember their own size.
unsafe impl Allocator for Counting {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        self.block(size, false)
    }

    fn calloc(&mut self, count: usize, size: usize) -> *mut u8 {
        match count.checked_mul(size) {
            Some(total) => self.block(total, true),
            None => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&mut self, block: *mut u8) {
        if block.is_null() {
            return;
        }
        // SAFETY: the caller gives a block of this allocator, so its size stands HEADER bytes before it.
        unsafe {
            let base = block.sub(HEADER);
            self.0.sub(base.cast::<usize>().read());
            mi_free(base.cast());
        }
    }

    unsafe fn realloc(&mut self, block: *mut u8, new_size: usize) -> *mut u8 {
        if block.is_null() {
            return self.block(new_size, false);
        }
        if new_size == 0 {
            // SAFETY: the caller gives a block of this allocator.
            unsafe { self.dealloc(block) };
            return ptr::null_mut();
        }
        let Some(whole) = new_size.checked_add(HEADER) else { return ptr::null_mut() };
        // SAFETY: as in `dealloc`.
        unsafe {
            let base = block.sub(HEADER);
            let size = base.cast::<usize>().read();
            if new_size > size && !self.0.admit(new_size - size) {
                return ptr::null_mut();
            }
            let moved = mi_realloc(base.cast(), whole).cast::<u8>();
            if moved.is_null() {
                return moved;
            }
            self.0.sub(size);
            self.0.add(new_size);
            moved.cast::<usize>().write(new_size);
            moved.add(HEADER)
        }
    }

    unsafe fn usable_size(block: *mut u8) -> usize {
        if block.is_null() {
            return 0;
        }
        // SAFETY: the caller gives a block of this allocator, so its size stands HEADER bytes before it.
        unsafe { block.sub(HEADER).cast::<usize>().read() }
    }
}

/// Bytecode of a module, as [`bytecode`] wrote it in this process: nothing else can be turned into this type.
#[derive(Debug)]
pub(crate) struct Bytecode(Vec<u8>);

/// The bytecode of `module`.
pub(crate) fn bytecode(module: &Module<'_, Declared>) -> Result<Bytecode> {
    Ok(Bytecode(module.write(rquickjs::module::WriteOptions::default())?))
}

/// Declares a module from bytecode.
pub(crate) fn load_bytecode<'js>(ctx: &Ctx<'js>, bytecode: &Bytecode) -> Result<Module<'js, Declared>> {
    // SAFETY: a `Bytecode` was written by this build of the engine, in this process, and not changed since.
    unsafe { Module::load(ctx.clone(), &bytecode.0) }
}
