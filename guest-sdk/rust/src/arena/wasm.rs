//! The arena as the component's global allocator, over its linear memory.
//!
//! Invariant: the only place with `unsafe` that people wrote. An instance has one thread, and no allocation happens
//! inside an allocation.
#![expect(unsafe_code, reason = "a global allocator is unsafe by its trait")]

use core::arch::wasm32::memory_grow;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ops::Range;
use std::ptr::{self, null_mut};

use super::{Arena, Memory};

/// Reserves room for a call; see [`Arena::reserve`].
pub(crate) fn reserve(room: usize) -> bool {
    GLOBAL.with(|arena| arena.reserve(room))
}

struct Global(UnsafeCell<Arena<Linear>>);

impl Global {
    fn with<T>(&self, work: impl FnOnce(&mut Arena<Linear>) -> T) -> T {
        // SAFETY: wasm32 without the threads feature has one thread, the value is private to this module, and none of the
        // closures given here allocates or calls back, so this is the only reference while it lives.
        work(unsafe { &mut *self.0.get() })
    }
}

// SAFETY: wasm32 without the threads feature has one thread: nothing is shared between threads.
unsafe impl Sync for Global {}

// SAFETY: the arena hands out disjoint, aligned blocks of linear memory that nobody else uses (`Linear` gives it only
// pages that it grew itself), and null when there is none; a block stays valid until it is given back.
unsafe impl GlobalAlloc for Global {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.with(|arena| arena.take(layout.size(), layout.align()))
            .map_or(null_mut(), ptr::with_exposed_provenance_mut)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.with(|arena| arena.give_back(block.expose_provenance(), layout.size()));
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new: usize) -> *mut u8 {
        if self.with(|arena| arena.resize(block.expose_provenance(), layout.size(), new)) {
            return block;
        }
        let Some(address) = self.with(|arena| arena.take(new, layout.align())) else {
            return null_mut();
        };
        let moved = ptr::with_exposed_provenance_mut::<u8>(address);
        // SAFETY: the caller owns `layout.size()` bytes at `block`; the new block has `new` bytes and overlaps no other;
        // no more than the smaller of both is copied. The old block, not the last any more, stays used.
        unsafe { ptr::copy_nonoverlapping(block, moved, layout.size().min(new)) };
        moved
    }
}

/// The instance's own memory.
struct Linear;

impl Memory for Linear {
    fn grow(&mut self, bytes: usize) -> Option<Range<usize>> {
        let pages = bytes.div_ceil(WASM_PAGE);
        let before = memory_grow::<0>(pages);
        if before == usize::MAX {
            return None;
        }
        let start = before.checked_mul(WASM_PAGE)?;
        // The last page of a 4 GiB memory would end beyond the last address; it is not used.
        Some(start..start.checked_add(pages.checked_mul(WASM_PAGE)?)?)
    }
}

const WASM_PAGE: usize = 64 << 10;

#[global_allocator]
static GLOBAL: Global = Global(UnsafeCell::new(Arena::new(Linear)));
