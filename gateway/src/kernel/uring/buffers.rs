//! The provided-buffer ring (io_uring_register_buf_ring(3), Linux 5.19).

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use crate::kernel::area::{Area, Claim};
use crate::kernel::{BufferId, HEADROOM, buffer_stride};

/// The one buffer group of a ring.
pub(super) const GROUP: u16 = 0;

/// The ring of entries through which buffers are lent to the kernel.
pub(super) struct ProvidedBuffers {
    /// `entries` times 16 bytes, page-aligned, shared with the kernel.
    entries: Area,
    buffers: Claim,
    /// Bytes from one buffer's headroom to the next one's.
    stride: usize,
    mask: u16,
    /// Entries written so far, modulo 2^16; the kernel sees them after `publish`.
    tail: u16,
}

impl ProvidedBuffers {
    /// Registers an empty ring for `count` buffers, a power of two up to 32,768, that lie in
    /// the area that `buffers` claims.
    pub(super) fn register(
        ring: &IoUring,
        buffers: Claim,
        count: u16,
        size: usize,
    ) -> io::Result<Self> {
        let entries = Area::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let address = entries.claim().address(0..0) as u64;
        // SAFETY: the entries are page-aligned, long enough for `count` of them and owned by the
        // value returned, which the ring's owner drops after the ring.
        unsafe { ring.submitter().register_buf_ring_with_flags(address, count, GROUP, 0)? };
        Ok(Self { entries, buffers, stride: buffer_stride(size), mask: count - 1, tail: 0 })
    }

    /// Writes the entry of one buffer of `size` bytes.
    pub(super) fn provide(&mut self, buffer: BufferId, size: usize) {
        let start = usize::from(buffer.0) * self.stride + HEADROOM;
        let address = self.buffers.address(start..start + size);
        let index = usize::from(self.tail & self.mask);
        let first = self.entries.bytes_mut().as_mut_ptr().cast::<BufRingEntry>();
        // SAFETY: `index` is below the number of entries; the kernel does not read an entry
        // before the tail passes it. The tail field lies in the first entry's reserved bytes,
        // which the setters leave alone.
        let entry = unsafe { &mut *first.add(index) };
        entry.set_addr(address as u64);
        entry.set_len(size as u32);
        entry.set_bid(buffer.0);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel what was provided.
    pub(super) fn publish(&self) {
        let first = self.entries.bytes().as_ptr().cast::<BufRingEntry>();
        // SAFETY: `first` is the start of the registered, page-aligned ring.
        let tail = unsafe { BufRingEntry::tail(first) };
        // SAFETY: the tail is an aligned u16 inside the ring that both sides access atomically.
        let tail = unsafe { &*tail.cast::<AtomicU16>() };
        // The entries are written before the tail that covers them.
        tail.store(self.tail, Ordering::Release);
    }
}
