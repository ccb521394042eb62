//! The sends whose outcome is open.

use crate::connection::{BLOCK_MIN, FrameId};
use crate::kernel::{BufferId, Generation, Slot, Span};
use crate::memory::Blocks;

/// Sends that are queued before the kernel is asked to carry them out, so that the clock tells what
/// they take.
const SENDS_AT_ONCE: usize = 32;

/// Bytes of such sends: two portions of what those who come back have missed.
const BYTES_AT_ONCE: u64 = 64 * 1024;

/// The sends of the current batch.
#[derive(Default)]
pub(crate) struct Batch {
    sends: Vec<BatchSend>,
    /// Frames that nobody refers to once the batch is settled.
    pub(crate) done_frames: Vec<FrameId>,
    /// What the first so many of them may come to need.
    needed: u64,
    counted: usize,
}

/// One of them.
pub(crate) struct BatchSend {
    pub(crate) slot: Slot,
    pub(crate) generation: Generation,
    pub(crate) span: Span,
    pub(crate) from: SentFrom,
}

/// What a send of the batch is sent from, and keeps until the batch is settled.
#[derive(Clone, Copy)]
pub(crate) enum SentFrom {
    /// Staging memory.
    Staging,
    /// A receive buffer.
    Buffer(BufferId),
    /// A published frame.
    Frame(FrameId),
}

impl BatchSend {
    /// The receive buffer that is sent from.
    pub(crate) fn buffer(&self) -> Option<BufferId> {
        match self.from {
            SentFrom::Buffer(buffer) => Some(buffer),
            SentFrom::Staging | SentFrom::Frame(_) => None,
        }
    }

    /// The bytes of the block that it takes if nothing of it is sent, of which a backlog has none
    /// smaller than [`BLOCK_MIN`] while there are such; a published frame has one.
    fn needed(&self) -> u64 {
        match self.from {
            SentFrom::Staging | SentFrom::Buffer(_) => {
                Blocks::size_for(self.span.length.max(BLOCK_MIN))
            }
            SentFrom::Frame(_) => 0,
        }
    }
}

impl Batch {
    /// Another send; returns its place in the batch.
    pub(crate) fn push(&mut self, send: BatchSend) -> u32 {
        self.sends.push(send);
        (self.sends.len() - 1) as u32
    }

    /// The send in this place.
    pub(crate) fn get(&self, index: u32) -> Option<&BatchSend> {
        self.sends.get(index as usize)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.sends.len()
    }

    /// The bytes of what is sent to a connection behind the first so many sends.
    pub(crate) fn bytes_to(&self, slot: Slot, behind: usize) -> u32 {
        let sends = self.sends[behind..].iter().filter(|send| send.slot == slot);
        sends.map(|send| send.span.length).sum()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.sends.is_empty()
    }

    /// The receive buffers that are sent from.
    pub(crate) fn buffers(&self) -> impl Iterator<Item = BufferId> {
        self.sends.iter().filter_map(BatchSend::buffer)
    }

    /// Whether the kernel is to carry out what is queued behind the first so many sends, before
    /// more is.
    pub(crate) fn is_much(&self, carried_out: usize) -> bool {
        let queued = &self.sends[carried_out..];
        let bytes = || queued.iter().map(|send| u64::from(send.span.length)).sum::<u64>();
        queued.len() >= SENDS_AT_ONCE || bytes() >= BYTES_AT_ONCE
    }

    /// The bytes of blocks that all sends together take if nothing of any is sent. Each is looked
    /// at once, however often this is asked.
    pub(crate) fn needed(&mut self) -> u64 {
        self.needed += self.sends[self.counted..].iter().map(BatchSend::needed).sum::<u64>();
        self.counted = self.sends.len();
        self.needed
    }

    /// The batch is settled: takes the sends out. Their memory comes back with [`Batch::reuse`].
    pub(crate) fn take(&mut self) -> Vec<BatchSend> {
        (self.needed, self.counted) = (0, 0);
        std::mem::take(&mut self.sends)
    }

    /// Gives back the memory of a batch in which nothing is any more.
    pub(crate) fn reuse(&mut self, sends: Vec<BatchSend>) {
        debug_assert!(self.is_empty() && sends.is_empty(), "settling sends nothing in batches");
        self.sends = sends;
    }

    /// The bytes that this holds.
    pub(crate) fn held(&self) -> u64 {
        (self.sends.capacity() * size_of::<BatchSend>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Backlog, Connection};
    use crate::kernel::AreaName;
    use crate::memory::World;

    fn send(from: SentFrom, length: u32) -> BatchSend {
        let span = Span { area: AreaName::Staging, start: 0, length };
        BatchSend { slot: 1, generation: 1, span, from }
    }

    #[test]
    fn what_is_needed_is_that_of_all_sends_but_those_of_published_frames() {
        let mut batch = Batch::default();
        assert_eq!(batch.needed(), 0);
        assert_eq!(batch.push(send(SentFrom::Staging, 100)), 0);
        let one = u64::from(BLOCK_MIN);
        assert_eq!((batch.needed(), batch.needed()), (one, one));
        assert_eq!(batch.push(send(SentFrom::Buffer(BufferId(3)), 5000)), 1);
        assert_eq!(batch.needed(), one + Blocks::size_for(5000));
        assert_eq!(batch.buffers().collect::<Vec<_>>(), [BufferId(3)]);
        let sends = batch.take();
        assert_eq!((sends.len(), batch.needed()), (2, 0));
        batch.push(send(SentFrom::Staging, 100));
        assert_eq!(batch.needed(), one, "of this batch alone");
    }

    #[test]
    fn what_is_needed_for_a_send_is_what_a_backlog_takes_of_it_at_most() {
        for length in [1, 100, 512, 4096, 4097, 20_000, 65_536, 200_000] {
            let mut pooled = World::new(1 << 20);
            let mut connection = Connection::free(0);
            let rest = pooled.received(&vec![0; length]);
            let mut backlog = Backlog { connection: &mut connection, pool: pooled.pool() };
            backlog.push_front(rest).expect("room");
            let mut batch = Batch::default();
            batch.push(send(SentFrom::Staging, length as u32));
            let taken = pooled.blocks.used_bytes();
            assert!(taken <= batch.needed(), "{length} bytes take {taken} of blocks");
        }
    }

    #[test]
    fn many_sends_are_much_and_so_are_many_bytes() {
        let mut batch = Batch::default();
        assert!((0..31).all(|at| batch.push(send(SentFrom::Staging, 1)) == at));
        assert!(!batch.is_much(0));
        batch.push(send(SentFrom::Staging, 1));
        assert!(batch.is_much(0) && !batch.is_much(1));
        batch.push(send(SentFrom::Staging, 64 << 10));
        assert!(batch.is_much(32) && !batch.is_much(33));
    }
}
