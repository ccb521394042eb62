//! Sending: one send per connection and batch, the backlog when that falls short.
//!
//! A batch is what is sent between two moments at which everything is *settled*: the kernel has
//! taken every operation, and every completion has been seen. A send that does not wait has
//! completed by then, and only those that fell short say so; so at that moment all staging memory
//! and all buffers that were sent from are free again.

use tidegate_proto::keepalive::Wait;

use crate::connection::{FrameId, NextSend, Outbox, SharedFrame, Spot, Stage, States, Writing};
use crate::kernel::{AreaName, BufferId, Operation, Ring, Slot, Span};
use crate::memory::{Blocks, Full, Pool, Share};
use crate::shard::sockets::Sockets;
use crate::shard::sockets::batch::{BatchSend, SentFrom};

impl<R: Ring> Sockets<R> {
    /// The way out to a connection.
    pub(crate) fn outbox(&mut self, slot: Slot) -> Outbox<'_> {
        Outbox {
            slot,
            connection: &mut self.table[slot],
            frames: &mut self.frames,
            pool: Pool { blocks: &mut self.blocks, memory: &mut self.memory },
            staged: &mut self.staged,
            sealed: &mut self.sealed,
        }
    }

    /// Whether a connection can be told anything. One whose peer has ended only gets what it was
    /// told before.
    pub(crate) fn may_be_told(&self, slot: Slot) -> bool {
        self.table[slot].may_be_told()
    }

    /// Sends what waits of published frames to a connection to which nothing else is being sent.
    pub(crate) fn launch_queued(&mut self, slot: Slot) {
        if self.table[slot].stage == Stage::Zombie {
            return;
        }
        if self.seals(slot) {
            self.launch_sealed(slot);
            return;
        }
        let may_cork = self.may_cork();
        let Some(NextSend { span, frame }) = self.outbox(slot).next(may_cork) else { return };
        self.flush_soon |= self.table[slot].states.has(States::QUEUED);
        self.launch(slot, span, frame.map_or(SentFrom::Staging, SentFrom::Frame));
        // The queue's reference goes over to the batch.
        self.batch.done_frames.extend(frame);
    }

    /// Whether frames may be put together. What falls short of them is a copy for one connection,
    /// where the frames were one for all: not of the blocks that are kept for answers.
    fn may_cork(&self) -> bool {
        self.blocks.own_free_bytes(Share::Sending) >= self.sending_reserve()
    }

    /// Sends bytes in the batch.
    pub(crate) fn launch(&mut self, slot: Slot, span: Span, from: SentFrom) {
        let connection = &mut self.table[slot];
        debug_assert!(!connection.states.is_sending(), "two sends at a time: {connection:?}");
        connection.states.set_writing(Writing::InBatch);
        let generation = connection.generation;
        let batch_index = self.batch.push(BatchSend { slot, generation, span, from });
        self.ring.push(Operation::Send { slot, batch_index, span });
    }

    /// A published frame was sent in part, or not at all: it waits at the front of the queue.
    pub(crate) fn frame_fell_short(&mut self, slot: Slot, frame: FrameId, sent: u32) {
        if sent == 0 && self.table[slot].is_closing() {
            // The Close frame is in the backlog, in front of which only what has begun may go.
            self.counters.dropped_closing += u64::from(self.frames.messages(frame));
            self.table[slot].states.set(States::BLOCKED);
            return;
        }
        self.outbox(slot).frame_fell_short(frame, sent);
    }

    /// Sends a turn's output.
    ///
    /// # Errors
    /// There was no room to seal it, and there is no block for what is left.
    pub(crate) fn launch_output(
        &mut self,
        slot: Slot,
        buffer: Option<BufferId>,
        spot: Spot,
    ) -> Result<(), Full> {
        if self.seals(slot) {
            return self.launch_sealed_output(slot, spot);
        }
        self.launch_plain_output(slot, buffer, spot);
        Ok(())
    }

    fn launch_plain_output(&mut self, slot: Slot, buffer: Option<BufferId>, spot: Spot) {
        let span = match spot {
            Spot::Nothing => {
                // The turn may have ended a message that published frames waited for.
                return self.launch_queued(slot);
            }
            Spot::Backlog => {
                // What is sent before it may succeed without a word: look again when that is
                // settled.
                self.flush_soon |= self.table[slot].states.is_in_batch();
                return self.arm_send(slot);
            }
            Spot::At(span) => span,
        };
        debug_assert!(!self.table[slot].must_queue(), "it does not go before what waits");
        let buffer = buffer.filter(|_| span.area == AreaName::Receive);
        if let Some(buffer) = buffer {
            self.buffers.hold(buffer);
        }
        self.launch(slot, span, buffer.map_or(SentFrom::Staging, SentFrom::Buffer));
    }

    /// Sends what goes first when the peer has room, unless an earlier send has yet to complete.
    /// Where it is sealed, only what is sealed already waits for the peer.
    pub(crate) fn arm_send(&mut self, slot: Slot) {
        let connection = &self.table[slot];
        if connection.states.is_sending() {
            return;
        }
        if self.seals(slot) && self.sealed.ahead(slot) == 0 {
            self.launch_sealed(slot);
            return;
        }
        let connection = &self.table[slot];
        let generation = connection.generation;
        let wait = connection.wait;
        let Some(span) = self.outbox(slot).first() else {
            self.table[slot].states.clear(States::BLOCKED);
            self.watched.lets_go(slot);
            return;
        };
        let connection = &mut self.table[slot];
        connection.states.set_writing(Writing::Armed);
        connection.check();
        self.ring.push(Operation::SendArmed { slot, generation, span });
        if matches!(wait, Wait::Activity | Wait::Pong | Wait::Source) {
            self.stalled.remove(slot);
            self.wait_for(slot, Wait::Progress);
        }
    }

    /// Whether what is to be sent next leaves in a batch in any case: what is to be sealed does.
    pub(crate) fn sends_batches_only(&self, slot: Slot) -> bool {
        self.seals(slot) && self.sealed.ahead(slot) == 0
    }

    /// The most bytes of what leaves together: those of the largest block.
    pub(crate) fn largest_frame(&self) -> usize {
        Blocks::largest(self.limits.blocks, Share::Sending) as usize
    }

    /// There is no block: once the batch is settled there may be one, or someone has to give way.
    pub(crate) fn waits_for_block(&mut self) {
        self.counters.deliveries_without_block += 1;
        self.flush_soon |= !self.batch.is_empty();
        self.shortages += 1;
    }

    /// Whether there is a block for so many published bytes, unless what is left is for the rest of
    /// sends that fall short: those were accepted before.
    pub(crate) fn has_block(&self, length: usize) -> bool {
        let reserve = self.sending_reserve();
        let has_one = |length| self.blocks.has_beyond(Share::Sending, length, reserve);
        u32::try_from(length).is_ok_and(has_one)
    }

    /// Puts what is published into a block.
    pub(crate) fn offer(
        &mut self,
        bytes: &[&[u8]],
        key: u64,
        messages: u32,
    ) -> Option<SharedFrame> {
        if !self.has_block(bytes.iter().map(|part| part.len()).sum()) {
            return None;
        }
        let reserve = self.sending_reserve();
        let mut pool = Pool { blocks: &mut self.blocks, memory: &mut self.memory };
        let frame: FrameId = self.frames.add(bytes, messages, &mut pool, reserve)?;
        Some(SharedFrame { frame, span: self.frames.span(frame, &self.blocks), key, messages })
    }
}
