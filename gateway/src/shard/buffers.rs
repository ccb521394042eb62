//! Which receive buffers are free, with the kernel, or held.
//!
//! Free buffers are a stack: the one that was used last, and is still in the processor's cache, is
//! used next. The kernel is lent exactly as many as it is asked to receive into, so a receive never
//! finds its ring empty, and a buffer that it did not need serves the next receive.

use crate::kernel::{AreaName, BufferId, HEADROOM, Ring, Span, TAILROOM, buffer_stride};

/// The receive buffers of a shard. Invariant: free + lent + held = all, and a buffer is held while
/// something holds it: the input in it that is worked on or waits, a send from it.
pub struct Buffers {
    free: Vec<BufferId>,
    /// With the kernel.
    lent: u32,
    /// Receives in flight that may each take one. Invariant: `receives <= lent`.
    receives: u32,
    /// How much holds each buffer.
    holds: Vec<u8>,
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
            holds: vec![0; usize::from(count)],
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

    /// Takes a free buffer, which is held for what is put into it.
    pub fn take(&mut self) -> Option<BufferId> {
        let buffer = self.free.pop()?;
        self.hold(buffer);
        Some(buffer)
    }

    /// A receive is done; it took `buffer`, which is now held for what came in it.
    pub fn received(&mut self, buffer: Option<BufferId>) {
        self.receives -= 1;
        if let Some(buffer) = buffer {
            debug_assert_eq!(self.holds(buffer), 0, "{buffer:?} was not lent");
            self.lent -= 1;
            self.hold(buffer);
        }
        self.check();
    }

    /// One more holds a buffer.
    pub fn hold(&mut self, buffer: BufferId) {
        self.holds[usize::from(buffer.0)] += 1;
    }

    /// One fewer holds a buffer; with the last it is free again.
    pub fn release(&mut self, buffer: BufferId) {
        let holds = &mut self.holds[usize::from(buffer.0)];
        *holds -= 1;
        if *holds == 0 {
            self.free.push(buffer);
        }
        self.check();
    }

    /// How much holds a buffer.
    #[must_use]
    pub fn holds(&self, buffer: BufferId) -> u8 {
        self.holds[usize::from(buffer.0)]
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

    /// Buffers that something holds.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.count - self.free() - self.lent
    }

    /// The whole of a buffer: as many bytes as can be received, with the room around them.
    #[must_use]
    pub fn span(&self, buffer: BufferId) -> Span {
        let start = u32::from(buffer.0) * self.stride;
        Span { area: AreaName::Receive, start, length: (HEADROOM + TAILROOM) as u32 + self.size }
    }

    /// Where so many bytes are that were received into a buffer.
    #[must_use]
    pub fn received_in(&self, buffer: BufferId, count: u32) -> Span {
        self.span(buffer).part(HEADROOM as u32, HEADROOM as u32 + count)
    }

    fn check(&self) {
        debug_assert!(self.receives <= self.lent);
        debug_assert!(self.free() + self.lent <= self.count, "more buffers than there are");
    }
}
