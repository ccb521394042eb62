//! Which receive buffers are free, with the kernel, or held.
//!
//! Free buffers are a stack: the one that was used last, and is still in the processor's cache, is
//! used next. The kernel is lent exactly as many as it is asked to receive into, so a receive never
//! finds its ring empty, and a buffer that it did not need serves the next receive.

use crate::uring::{AreaName, BufferId, HEADROOM, Ring, Span, buffer_stride};

/// The receive buffers of a shard. Invariant: free + lent + held = all.
pub struct Buffers {
    free: Vec<BufferId>,
    /// With the kernel.
    lent: u32,
    /// Receives in flight that may each take one. Invariant: `receives <= lent`.
    receives: u32,
    count: u32,
    size: u32,
    stride: u32,
}

impl Buffers {
    /// `count` buffers of `size` bytes each.
    #[must_use]
    pub fn new(count: u16, size: u32) -> Self {
        Self {
            free: (0..count).rev().map(BufferId).collect(),
            lent: 0,
            receives: 0,
            count: u32::from(count),
            size,
            stride: buffer_stride(size as usize) as u32,
        }
    }

    /// The bytes of the area that holds `count` buffers of `size` bytes.
    #[must_use]
    pub fn area_length(count: u16, size: u32) -> usize {
        usize::from(count) * buffer_stride(size as usize)
    }

    /// Makes sure that the kernel has a buffer for one more receive; `false` if none is left.
    pub fn lend_one(&mut self, ring: &mut impl Ring) -> bool {
        if self.receives == self.lent {
            let Some(buffer) = self.free.pop() else { return false };
            ring.provide(buffer);
            self.lent += 1;
        }
        self.receives += 1;
        true
    }

    /// A receive is done; it took `buffer`, which is now held.
    pub fn received(&mut self, buffer: Option<BufferId>) {
        self.receives -= 1;
        self.lent -= u32::from(buffer.is_some());
        self.check();
    }

    /// A held buffer is free again.
    pub fn give_back(&mut self, buffer: BufferId) {
        debug_assert!(!self.free.contains(&buffer) || self.count > 64, "{buffer:?} twice");
        self.free.push(buffer);
        self.check();
    }

    /// Whether another receive can be served.
    #[must_use]
    pub fn has_one(&self) -> bool {
        self.lent > self.receives || !self.free.is_empty()
    }

    /// Buffers that are neither lent nor held.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.free.len() as u32
    }

    /// Buffers that the kernel has, as far as its completions were taken.
    #[must_use]
    pub fn lent(&self) -> u32 {
        self.lent
    }

    /// Receives that are in flight.
    #[must_use]
    pub fn receives(&self) -> u32 {
        self.receives
    }

    /// Buffers that are neither free nor lent.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.count - self.free() - self.lent
    }

    /// The whole of a buffer: headroom and as many bytes as can be received.
    #[must_use]
    pub fn span(&self, buffer: BufferId) -> Span {
        let start = u32::from(buffer.0) * self.stride;
        Span { area: AreaName::Receive, start, length: HEADROOM as u32 + self.size }
    }

    fn check(&self) {
        debug_assert!(self.receives <= self.lent);
        debug_assert!(self.free() + self.lent <= self.count, "more buffers than there are");
    }
}
