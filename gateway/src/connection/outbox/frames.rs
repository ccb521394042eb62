//! Frames that go to many connections: encoded once into a pooled block, and queued by reference
//! for those who cannot take them at once.
//!
//! A frame is counted once by whoever is delivering it, once by each batch that it is sent in, and
//! once by each queue that it waits in; nothing is counted for a peer that takes it at once.

use slab::Slab;

use crate::kernel::{Slot, Span};
use crate::memory::{BlockId, Blocks, Pool, Share};

/// A frame, or several that leave together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameId(u32);

struct Frame {
    block: BlockId,
    references: u32,
    /// How many messages are in it.
    messages: u32,
}

/// A frame in a queue.
#[derive(Clone, Copy)]
struct Waiting {
    frame: u32,
    /// The next of the queue, or of those that are free; its number plus one.
    next: u32,
    /// Of messages with the same key the newest may stand for all.
    key: u64,
}

/// What waits for one slow peer.
#[derive(Clone, Copy, Debug, Default)]
struct Queue {
    /// Numbers plus one.
    first: u32,
    last: u32,
    /// Bytes that wait, without those of the first that were sent.
    bytes: u32,
    /// Bytes of the first that were sent; [`BEGUN`] if its sending has begun.
    sent: u32,
}

/// The first of a queue must be sent to its end before anything else.
const BEGUN: u32 = 1 << 31;

/// The key of what is no message, and for which nothing newer stands.
pub const NO_KEY: u64 = u64::MAX;

/// The key of what is an answer, and is not left out for others.
pub const KEPT: u64 = u64::MAX - 1;

/// The frames and queues of a shard.
pub struct Frames {
    frames: Slab<Frame>,
    waiting: Vec<Waiting>,
    /// The first free one's number plus one.
    free: u32,
    live: u32,
    limit: u32,
    /// By slot.
    queues: Vec<Queue>,
    /// Of all queues.
    bytes: u64,
}

impl Frames {
    /// Bytes of a place in a queue.
    pub const WAITING_BYTES: usize = size_of::<Waiting>();
    /// Bytes of a queue.
    pub const QUEUE_BYTES: usize = size_of::<Queue>();
    /// Bytes of a frame's record.
    pub const FRAME_BYTES: usize = size_of::<Frame>() + size_of::<usize>();

    /// None yet; at most `limit` will wait, and one more for each of `connections` that had begun.
    #[must_use]
    pub fn new(limit: u32, connections: u32) -> Self {
        Self {
            frames: Slab::new(),
            waiting: Vec::with_capacity((limit + connections) as usize),
            free: 0,
            live: 0,
            limit,
            queues: Vec::new(),
            bytes: 0,
        }
    }

    /// How many wait in all queues.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.live
    }

    /// How many may wait in all queues.
    #[must_use]
    pub fn places(&self) -> u32 {
        self.limit
    }

    /// Bytes that wait in all queues.
    #[must_use]
    pub fn waiting_bytes(&self) -> u64 {
        self.bytes
    }

    /// Puts `bytes`, which are so many messages, into a block, of which `kept` bytes of what is for
    /// sending stay free; the caller counts as the first who refers to it. `None` if there is no
    /// block.
    pub fn add(
        &mut self,
        bytes: &[&[u8]],
        messages: u32,
        pool: &mut Pool<'_>,
        kept: u64,
    ) -> Option<FrameId> {
        let length: usize = bytes.iter().map(|part| part.len()).sum();
        let block = pool.blocks.take_beyond(Share::Sending, u32::try_from(length).ok()?, kept)?;
        for part in bytes {
            let count = part.len() as u32;
            let room = pool.blocks.room(block).part(0, count);
            pool.memory.bytes_mut(room).copy_from_slice(part);
            pool.blocks.extend(block, count);
        }
        Some(FrameId(self.frames.insert(Frame { block, references: 1, messages }) as u32))
    }

    /// Where a frame is.
    #[must_use]
    pub fn span(&self, frame: FrameId, blocks: &Blocks) -> Span {
        blocks.content(self.frames[frame.0 as usize].block)
    }

    /// How many messages are in a frame.
    #[must_use]
    pub fn messages(&self, frame: FrameId) -> u32 {
        self.frames[frame.0 as usize].messages
    }

    /// One more refers to it.
    pub fn refer(&mut self, frame: FrameId) {
        self.frames[frame.0 as usize].references += 1;
    }

    /// One fewer refers to it; the last one gives the block back.
    pub fn release(&mut self, frame: FrameId, blocks: &mut Blocks) {
        let entry = &mut self.frames[frame.0 as usize];
        entry.references -= 1;
        if entry.references == 0 {
            blocks.give_back(entry.block);
            self.frames.remove(frame.0 as usize);
        }
    }

    /// One fewer refers to each of `done`.
    pub fn release_all(&mut self, done: &mut Vec<FrameId>, blocks: &mut Blocks) {
        for frame in done.drain(..) {
            self.release(frame, blocks);
        }
    }

    /// Bytes that wait for a connection.
    #[must_use]
    pub fn bytes(&self, slot: Slot) -> u32 {
        self.queue(slot).bytes
    }

    /// Whether nothing waits for a connection.
    #[must_use]
    pub fn is_empty(&self, slot: Slot) -> bool {
        self.queue(slot).first == 0
    }

    /// Whether the first that waits must be sent to its end before anything else.
    #[must_use]
    pub fn is_begun(&self, slot: Slot) -> bool {
        self.queue(slot).sent & BEGUN != 0
    }

    /// Whether another may wait.
    #[must_use]
    pub fn has_place(&self) -> bool {
        self.live < self.limit
    }

    /// Lets a frame wait behind all else; `false` if too many wait.
    pub fn push_back(&mut self, slot: Slot, frame: FrameId, key: u64, blocks: &Blocks) -> bool {
        if !self.has_place() {
            return false;
        }
        let length = self.span(frame, blocks).length;
        let number = self.take(Waiting { frame: frame.0, next: 0, key });
        let queue = self.queue_mut(slot);
        let last = std::mem::replace(&mut queue.last, number);
        queue.bytes += length;
        self.bytes += u64::from(length);
        let queue = self.queue_mut(slot);
        if last == 0 {
            queue.first = number;
        } else {
            self.waiting[last as usize - 1].next = number;
        }
        self.refer(frame);
        true
    }

    /// Puts a frame in front of all else: `sent` bytes of it were sent. If that is none, others may
    /// still go before it.
    pub fn push_front(&mut self, slot: Slot, frame: FrameId, sent: u32, blocks: &Blocks) {
        let left = self.span(frame, blocks).length - sent;
        let next = self.queue(slot).first;
        // The key of one that was tried before is not known any more; nothing stands for it.
        let number = self.take(Waiting { frame: frame.0, next, key: NO_KEY });
        let queue = self.queue_mut(slot);
        debug_assert!(queue.sent == 0, "two frames are begun: {queue:?}");
        queue.first = number;
        if queue.last == 0 {
            queue.last = number;
        }
        queue.bytes += left;
        self.bytes += u64::from(left);
        let queue = self.queue_mut(slot);
        queue.sent = if sent > 0 { sent | BEGUN } else { 0 };
        self.refer(frame);
    }

    /// What of the first has yet to be sent.
    #[must_use]
    pub fn front(&self, slot: Slot, blocks: &Blocks) -> Option<Span> {
        let queue = self.queue(slot);
        let waiting = self.waiting.get(queue.first.checked_sub(1)? as usize)?;
        Some(self.span(FrameId(waiting.frame), blocks).skip(queue.sent & !BEGUN))
    }

    /// The first begins to be sent: it can no longer be left out.
    pub fn begin(&mut self, slot: Slot) {
        self.queue_mut(slot).sent |= BEGUN;
    }

    /// The first `count` bytes of what waits were sent.
    pub fn consume(&mut self, slot: Slot, count: u32, blocks: &mut Blocks) {
        let queue = self.queue_mut(slot);
        queue.sent += count;
        queue.bytes -= count;
        self.bytes -= u64::from(count);
        if self.front(slot, blocks).is_some_and(|rest| rest.length == 0) {
            self.queue_mut(slot).sent = 0;
            if let Some(frame) = self.unlink_first(slot) {
                self.release(frame, blocks);
            }
        }
    }

    /// Takes the first off, which has not begun; the caller refers to it now.
    pub fn pop_front(&mut self, slot: Slot, blocks: &Blocks) -> Option<FrameId> {
        debug_assert!(!self.is_begun(slot), "what has begun goes on");
        let length = self.front(slot, blocks)?.length;
        self.queue_mut(slot).bytes -= length;
        self.bytes -= u64::from(length);
        self.unlink_first(slot)
    }

    /// Leaves the oldest out that has not begun; returns how many messages that were, 0 if there is
    /// none.
    pub fn drop_oldest(&mut self, slot: Slot, blocks: &mut Blocks) -> u32 {
        let queue = self.queue(slot);
        let mut before = if self.is_begun(slot) { queue.first } else { 0 };
        loop {
            match self.behind(slot, before) {
                0 => return 0,
                number if self.waiting[number as usize - 1].key == KEPT => before = number,
                _ => return self.drop_behind(slot, before, blocks),
            }
        }
    }

    /// Leaves all with this key out that have not begun: several may wait, if they came before it
    /// was known that the peer is slow. Returns how many messages that were.
    pub fn drop_key(&mut self, slot: Slot, key: u64, blocks: &mut Blocks) -> u32 {
        let queue = self.queue(slot);
        let mut before = if self.is_begun(slot) { queue.first } else { 0 };
        let mut dropped = 0;
        loop {
            match self.behind(slot, before) {
                0 => return dropped,
                number if self.waiting[number as usize - 1].key == key => {
                    dropped += self.drop_behind(slot, before, blocks);
                }
                number => before = number,
            }
        }
    }

    /// Leaves all out that have not begun, but for answers; returns how many messages that were.
    pub fn drop_published(&mut self, slot: Slot, blocks: &mut Blocks) -> u64 {
        let mut count = 0;
        loop {
            match self.drop_oldest(slot, blocks) {
                0 => return count,
                dropped => count += u64::from(dropped),
            }
        }
    }

    /// Leaves all out that have not begun; returns how many messages that were.
    pub fn drop_waiting(&mut self, slot: Slot, blocks: &mut Blocks) -> u64 {
        let before = if self.is_begun(slot) { self.queue(slot).first } else { 0 };
        let mut count = 0;
        while self.behind(slot, before) != 0 {
            count += u64::from(self.drop_behind(slot, before, blocks));
        }
        count
    }

    /// Gives everything up that waits for a connection, which has ended.
    pub fn clear(&mut self, slot: Slot, blocks: &mut Blocks) {
        if self.is_empty(slot) {
            return;
        }
        while let Some(frame) = self.unlink_first(slot) {
            self.release(frame, blocks);
        }
        self.bytes -= u64::from(self.queue(slot).bytes);
        *self.queue_mut(slot) = Queue::default();
    }

    /// Bytes of the blocks of all frames, for checks.
    #[must_use]
    pub fn block_bytes(&self, blocks: &Blocks) -> u64 {
        self.frames.iter().map(|(_, frame)| u64::from(blocks.size(frame.block))).sum()
    }

    /// Checks what must hold of a connection's queue.
    ///
    /// # Panics
    /// It does not.
    pub fn check(&self, slot: Slot, blocks: &Blocks) {
        let queue = self.queue(slot);
        let (mut bytes, mut last, mut next) = (0, 0, queue.first);
        while let Some(number) = next.checked_sub(1) {
            let waiting = self.waiting[number as usize];
            bytes += self.span(FrameId(waiting.frame), blocks).length;
            (last, next) = (next, waiting.next);
        }
        assert_eq!(queue.last, last, "the last of the queue of slot {slot}");
        assert_eq!(queue.bytes, bytes - (queue.sent & !BEGUN), "bytes of the queue of slot {slot}");
        assert!(queue.first != 0 || queue.sent == 0, "slot {slot} has begun nothing");
    }

    fn queue(&self, slot: Slot) -> Queue {
        self.queues.get(slot as usize).copied().unwrap_or_default()
    }

    fn queue_mut(&mut self, slot: Slot) -> &mut Queue {
        if self.queues.len() <= slot as usize {
            self.queues.resize(slot as usize + 1, Queue::default());
        }
        &mut self.queues[slot as usize]
    }

    /// What waits behind `before`; the first for 0.
    fn behind(&self, slot: Slot, before: u32) -> u32 {
        match before.checked_sub(1) {
            Some(before) => self.waiting[before as usize].next,
            None => self.queue(slot).first,
        }
    }

    fn drop_behind(&mut self, slot: Slot, before: u32, blocks: &mut Blocks) -> u32 {
        let number = self.behind(slot, before);
        let Some(at) = number.checked_sub(1) else { return 0 };
        let Waiting { frame, next, .. } = self.waiting[at as usize];
        let frame = FrameId(frame);
        let length = self.span(frame, blocks).length;
        let messages = self.frames[frame.0 as usize].messages;
        match before.checked_sub(1) {
            Some(before) => self.waiting[before as usize].next = next,
            None => self.queue_mut(slot).first = next,
        }
        let queue = self.queue_mut(slot);
        queue.bytes -= length;
        self.bytes -= u64::from(length);
        let queue = self.queue_mut(slot);
        if queue.last == number {
            queue.last = before;
        }
        self.give_back(number);
        self.release(frame, blocks);
        messages
    }

    fn unlink_first(&mut self, slot: Slot) -> Option<FrameId> {
        let number = self.queue(slot).first;
        let Waiting { frame, next, .. } = *self.waiting.get(number.checked_sub(1)? as usize)?;
        let queue = self.queue_mut(slot);
        queue.first = next;
        if next == 0 {
            queue.last = 0;
        }
        self.give_back(number);
        Some(FrameId(frame))
    }

    fn take(&mut self, waiting: Waiting) -> u32 {
        self.live += 1;
        match self.free.checked_sub(1) {
            Some(at) => {
                let place = &mut self.waiting[at as usize];
                let number = std::mem::replace(&mut self.free, place.next);
                *place = waiting;
                number
            }
            None => {
                self.waiting.push(waiting);
                self.waiting.len() as u32
            }
        }
    }

    fn give_back(&mut self, number: u32) {
        self.waiting[number as usize - 1].next = self.free;
        self.free = number;
        self.live -= 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::Memory;
    use crate::memory;

    struct World {
        frames: Frames,
        blocks: Blocks,
        memory: Memory,
    }

    impl World {
        fn new(limit: u32) -> Self {
            let frames = Frames::new(limit, 4);
            let memory::World { blocks, memory, .. } = memory::World::new(1 << 16);
            Self { frames, blocks, memory }
        }

        /// Lets a message of `length` bytes wait.
        fn queue(&mut self, length: usize, key: u64) -> bool {
            let mut pool = Pool { blocks: &mut self.blocks, memory: &mut self.memory };
            let frame =
                self.frames.add(&[&vec![key as u8; length]], 1, &mut pool, 0).expect("room");
            let done = self.frames.push_back(1, frame, key, &self.blocks);
            self.frames.release(frame, &mut self.blocks);
            self.frames.check(1, &self.blocks);
            done
        }

        /// The first bytes of what waits, in order, by sending all of it.
        fn drain(&mut self) -> Vec<u8> {
            let mut keys = Vec::new();
            while let Some(span) = self.frames.front(1, &self.blocks) {
                if !self.frames.is_begun(1) {
                    keys.push(self.memory.bytes(span)[0]);
                    self.frames.begin(1);
                }
                self.frames.consume(1, span.length.div_ceil(2), &mut self.blocks);
                self.frames.check(1, &self.blocks);
            }
            assert_eq!((self.blocks.used_bytes(), self.frames.waiting_bytes()), (0, 0));
            keys
        }
    }

    #[test]
    fn in_order_and_bounded() {
        let mut world = World::new(3);
        assert!(world.queue(5, 1) && world.queue(600, 2) && world.queue(1, 3));
        assert!(!world.queue(1, 4));
        assert_eq!(world.frames.bytes(1), 606);
        assert_eq!(world.drain(), [1, 2, 3]);
        assert!(world.queue(1, 5));
        assert_eq!(world.drain(), [5]);
    }

    #[test]
    fn the_oldest_or_a_key_is_left_out_but_not_what_has_begun() {
        let mut world = World::new(10);
        (1..=4).for_each(|key| assert!(world.queue(10, key)));
        world.frames.begin(1);
        assert_eq!(world.frames.drop_oldest(1, &mut world.blocks), 1);
        assert_eq!(world.frames.drop_key(1, 1, &mut world.blocks), 0, "it has begun");
        assert_eq!(world.frames.drop_key(1, 4, &mut world.blocks), 1);
        world.frames.check(1, &world.blocks);
        assert!(world.queue(10, 5));
        assert_eq!(world.frames.drop_waiting(1, &mut world.blocks), 2);
        assert_eq!(world.frames.bytes(1), 10);
        world.frames.clear(1, &mut world.blocks);
        assert_eq!(world.blocks.used_bytes(), 0);
    }

    #[test]
    fn what_fell_short_goes_first() {
        let mut world = World::new(10);
        assert!(world.queue(10, 7));
        let frame = world.frames.pop_front(1, &world.blocks).expect("one waits");
        assert!(world.queue(10, 8));
        world.frames.push_front(1, frame, 4, &world.blocks);
        world.frames.release(frame, &mut world.blocks);
        world.frames.check(1, &world.blocks);
        assert_eq!(world.frames.front(1, &world.blocks).expect("a rest").length, 6);
        assert!(world.frames.is_begun(1));
        assert_eq!(world.drain(), [8], "the first was begun before");
    }

    proptest! {
        #[test]
        fn as_a_list(steps in prop::collection::vec((0u8..5, 1u64..5, 1usize..2000), 0..80)) {
            let mut world = World::new(8);
            let mut model: Vec<u64> = Vec::new();
            for (what, key, length) in steps {
                match what {
                    0 | 1 => if world.queue(length, key) { model.push(key) },
                    2 => {
                        let dropped = world.frames.drop_oldest(1, &mut world.blocks) > 0;
                        prop_assert_eq!(dropped, !model.is_empty());
                        if dropped { model.remove(0); }
                    }
                    3 => {
                        let dropped = world.frames.drop_key(1, key, &mut world.blocks);
                        let before = model.len();
                        model.retain(|other| *other != key);
                        prop_assert_eq!(dropped as usize, before - model.len());
                    }
                    _ => {
                        let frame = world.frames.pop_front(1, &world.blocks);
                        prop_assert_eq!(frame.is_some(), !model.is_empty());
                        if let Some(frame) = frame {
                            world.frames.release(frame, &mut world.blocks);
                            model.remove(0);
                        }
                    }
                }
                world.frames.check(1, &world.blocks);
            }
            let expected: Vec<u8> = model.iter().map(|key| *key as u8).collect();
            prop_assert_eq!(world.drain(), expected);
        }
    }
}
