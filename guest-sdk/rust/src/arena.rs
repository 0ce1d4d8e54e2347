//! The allocator: blocks one behind the other, made for instances that live for one call.
//!
//! Growing a memory costs system calls at every call, because the host takes the pages back afterwards. So the arena
//! grows while the plugin is configured; then [`reserve`] makes room for a call, and the host's snapshot keeps it.
//!
//! Invariants:
//! - Blocks never overlap, lie wholly in memory that the arena was given, and are aligned as asked.
//! - Only the last block can grow, shrink or be given back in place; any other block stays used until the instance ends.
//! - As long as a call allocates no more than was reserved, the memory does not grow.
//!
//! What it does not do: reuse. A plugin that churns through memory in a call is stopped by its memory limit.

use std::ops::Range;

#[cfg(target_arch = "wasm32")]
mod wasm;

#[cfg(target_arch = "wasm32")]
pub(crate) use wasm::reserve;

/// Where an arena gets its memory.
trait Memory {
    /// Gives at least `bytes` more: the addresses of the new piece. `None` when there is no more.
    fn grow(&mut self, bytes: usize) -> Option<Range<usize>>;
}

/// Hands out addresses. It never touches what is there, so it needs no `unsafe` and runs anywhere.
struct Arena<M> {
    memory: M,
    /// The free addresses: the last block ends at their start.
    free: Range<usize>,
}

impl<M: Memory> Arena<M> {
    const fn new(memory: M) -> Self {
        Self { memory, free: 0..0 }
    }

    /// The address of a new block; `align` is a power of two. `None` when there is no more memory.
    fn take(&mut self, size: usize, align: usize) -> Option<usize> {
        if let Some(address) = self.fit(size, align) {
            return Some(address);
        }
        self.extend(size.checked_add(align)?)?;
        self.fit(size, align)
    }

    /// Whether the block now has `new` bytes where it stands.
    fn resize(&mut self, address: usize, old: usize, new: usize) -> bool {
        if self.is_last(address, old) {
            let Some(end) = address.checked_add(new).filter(|end| *end <= self.free.end) else {
                return false;
            };
            self.free.start = end;
            return true;
        }
        new <= old
    }

    /// Takes a block back, if it is the last.
    fn give_back(&mut self, address: usize, size: usize) {
        if self.is_last(address, size) {
            self.free.start = address;
        }
    }

    /// Makes sure that `room` bytes can be taken without growing, and starts them on a page of their own, so that a
    /// call dirties no page that `configure` wrote. Whether it could.
    fn reserve(&mut self, room: usize) -> bool {
        let aligned =
            self.free.start.checked_next_multiple_of(PAGE).filter(|start| *start <= self.free.end);
        self.free.start = aligned.unwrap_or(self.free.end);
        self.free.len() >= room || self.extend(room).is_some()
    }

    fn fit(&mut self, size: usize, align: usize) -> Option<usize> {
        let address = self.free.start.checked_next_multiple_of(align)?;
        let end = address.checked_add(size).filter(|end| *end <= self.free.end)?;
        self.free.start = end;
        Some(address)
    }

    /// Gets memory so that at least `bytes` are free in one piece.
    fn extend(&mut self, bytes: usize) -> Option<()> {
        let more = self.memory.grow(bytes.max(STEP))?;
        if more.start == self.free.end {
            self.free.end = more.end;
        } else {
            // Somebody else grew in between: what is left of the old piece is too small, and forgotten.
            self.free = more;
        }
        Some(())
    }

    /// Blocks are disjoint and none lies behind the last, so only the last ends where the free addresses start.
    fn is_last(&self, address: usize, size: usize) -> bool {
        address.checked_add(size) == Some(self.free.start)
    }
}

/// The least that is grown at once: 256 KiB, so that `configure` grows rarely.
const STEP: usize = 256 << 10;

/// What the host's machine dirties and resets at once.
const PAGE: usize = 4096;

#[cfg(test)]
mod tests;
