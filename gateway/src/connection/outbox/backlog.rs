//! What a slow peer has not taken: a list of pooled blocks, first in, first out.

use crate::connection::payload::Payload;
use crate::connection::record::Connection;
use crate::kernel::Span;
use crate::memory::{BlockId, Full, MIN_BLOCK, Pool, Share};

/// The smallest block that a backlog takes while there are larger ones, so that many small messages
/// share one.
pub const BLOCK_MIN: u32 = 4096;
/// The largest, so that what was sent is given back soon.
const BLOCK_MAX: u32 = 64 * 1024;

/// The backlog of one connection, with the pool that it lives in.
pub struct Backlog<'a> {
    /// Whose backlog it is.
    pub connection: &'a mut Connection,
    /// The pool.
    pub pool: Pool<'a>,
}

impl Backlog<'_> {
    /// Queues `parts` one behind the other, all or none, as long as no more than `limit` bytes
    /// are queued then.
    ///
    /// # Errors
    /// [`Full`].
    pub fn push_back(&mut self, parts: &[Payload<'_>], limit: u32) -> Result<(), Full> {
        self.push_back_beyond(parts, limit, 0)
    }

    /// The same, but so many bytes of what is for sending stay free for something else, as with
    /// [`Blocks::take_beyond`](crate::memory::Blocks::take_beyond).
    ///
    /// # Errors
    /// [`Full`].
    pub fn push_back_beyond(
        &mut self,
        parts: &[Payload<'_>],
        limit: u32,
        kept: u64,
    ) -> Result<(), Full> {
        let total: usize = parts.iter().map(Payload::len).sum();
        let total = u32::try_from(total).map_err(|_| Full)?;
        let after = self.connection.backlog_bytes.checked_add(total).ok_or(Full)?;
        if after > limit {
            return Err(Full);
        }
        if total == 0 {
            return Ok(());
        }
        let mut block = self.reserve(total, kept)?;
        for part in parts {
            block = self.fill(block, part);
        }
        self.connection.backlog_bytes = after;
        self.pool.blocks.backlog_grew(total);
        self.connection.check();
        Ok(())
    }

    /// Puts `rest` in front of all else: of a send that fell short. The bound does not apply,
    /// because its bytes were accepted before they were tried.
    ///
    /// # Errors
    /// The pool is empty.
    pub fn push_front(&mut self, rest: Span) -> Result<(), Full> {
        let count = rest.length;
        let Some(first) = self.take_list(count, 0)? else { return Ok(()) };
        self.fill(first, &Payload::Span(rest));
        if let Some(behind) = self.connection.backlog {
            self.pool.blocks.append(first, behind);
        }
        self.connection.backlog = Some(first);
        self.connection.backlog_bytes += count;
        self.pool.blocks.backlog_grew(count);
        self.connection.check();
        Ok(())
    }

    /// The first bytes: as many as lie together.
    #[must_use]
    pub fn front(&self) -> Option<Span> {
        self.connection.backlog.map(|first| self.pool.blocks.content(first))
    }

    /// The first `count` bytes were sent.
    pub fn consume(&mut self, count: u32) {
        let Some(first) = self.connection.backlog else { return };
        self.pool.blocks.consume(first, count);
        self.connection.backlog_bytes -= count;
        self.pool.blocks.backlog_shrank(count);
        if self.pool.blocks.content(first).length == 0 {
            self.connection.backlog = self.pool.blocks.detach_first(first);
            self.pool.blocks.give_back(first);
        }
        self.connection.check();
    }

    /// Gives everything up.
    pub fn clear(&mut self) {
        while let Some(first) = self.connection.backlog {
            self.connection.backlog = self.pool.blocks.detach_first(first);
            self.pool.blocks.give_back(first);
        }
        self.pool.blocks.backlog_shrank(self.connection.backlog_bytes);
        self.connection.backlog_bytes = 0;
    }

    /// Makes sure that `count` bytes fit behind what is queued; returns the block where they begin.
    fn reserve(&mut self, count: u32, kept: u64) -> Result<BlockId, Full> {
        let last = self.connection.backlog.map(|first| self.pool.blocks.last(first));
        let room = last.map_or(0, |last| self.pool.blocks.room(last).length);
        let fresh = self.take_list(count.saturating_sub(room), kept)?;
        match (self.connection.backlog, fresh) {
            (None, fresh) => self.connection.backlog = fresh,
            (Some(first), Some(fresh)) => self.pool.blocks.append(first, fresh),
            (Some(_), None) => {}
        }
        Ok(last.filter(|_| room > 0).or(fresh).expect("count is not zero"))
    }

    /// A list of fresh blocks for `count` bytes, or none if `count` is zero.
    fn take_list(&mut self, count: u32, kept: u64) -> Result<Option<BlockId>, Full> {
        let mut first = None;
        let mut left = count;
        while left > 0 {
            let Some(block) = self.take_some(left, kept) else {
                self.give_back_list(first);
                return Err(Full);
            };
            left = left.saturating_sub(self.pool.blocks.size(block));
            match first {
                None => first = Some(block),
                Some(first) => self.pool.blocks.append(first, block),
            }
        }
        Ok(first)
    }

    /// A block for some of `left` bytes: smaller ones will do where no large one is free.
    fn take_some(&mut self, left: u32, kept: u64) -> Option<BlockId> {
        let mut size = left.clamp(BLOCK_MIN, BLOCK_MAX);
        loop {
            match self.pool.blocks.take_beyond(Share::Sending, size, kept) {
                None if size > MIN_BLOCK => size = (size / 2).max(MIN_BLOCK),
                block => return block,
            }
        }
    }

    fn give_back_list(&mut self, mut first: Option<BlockId>) {
        while let Some(block) = first {
            first = self.pool.blocks.detach_first(block);
            self.pool.blocks.give_back(block);
        }
    }

    /// Writes `part` from `block` on; returns the block where the next part begins.
    fn fill(&mut self, mut block: BlockId, part: &Payload<'_>) -> BlockId {
        let Pool { blocks, memory } = &mut self.pool;
        let mut from = 0;
        while from < part.len() as u32 {
            let room = blocks.room(block);
            if room.length == 0 {
                block = blocks.next(block).expect("room was reserved");
                continue;
            }
            let count = (part.len() as u32 - from).min(room.length);
            part.copy(from, room.part(0, count), memory);
            blocks.extend(block, count);
            from += count;
        }
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory;

    struct World {
        connection: Connection,
        pooled: memory::World,
    }

    impl World {
        fn new(length: u32) -> Self {
            Self { connection: Connection::free(0), pooled: memory::World::new(length) }
        }

        fn backlog(&mut self) -> Backlog<'_> {
            Backlog { connection: &mut self.connection, pool: self.pooled.pool() }
        }

        fn used_bytes(&self) -> u64 {
            self.pooled.blocks.used_bytes()
        }

        /// Takes everything out, at most `step` bytes at a time.
        fn drain(&mut self, step: usize) -> Vec<u8> {
            let mut out = Vec::new();
            while let Some(span) = self.backlog().front() {
                let count = span.range().len().min(step);
                out.extend_from_slice(&self.pooled.memory.bytes(span)[..count]);
                self.backlog().consume(count as u32);
            }
            out
        }
    }

    fn pattern(length: usize, seed: u8) -> Vec<u8> {
        (0..length).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect()
    }

    #[test]
    fn what_goes_in_comes_out_in_order_in_any_steps() {
        for step in [1, 7, 4096, usize::MAX] {
            let mut world = World::new(1 << 20);
            let mut expected = Vec::new();
            for (seed, length) in [3, 5000, 1, 200_000, 0, 4096].into_iter().enumerate() {
                let head = [seed as u8; 4];
                let body = pattern(length, seed as u8);
                let parts = [Payload::Bytes(&head), Payload::Bytes(&body)];
                world.backlog().push_back(&parts, u32::MAX).expect("room");
                expected.extend_from_slice(&head);
                expected.extend(body);
            }
            assert_eq!(world.connection.backlog_bytes as usize, expected.len());
            assert!(world.drain(step) == expected, "in steps of {step}");
            assert_eq!(world.used_bytes(), 0);
        }
    }

    #[test]
    fn the_rest_of_a_short_send_goes_first() {
        let mut world = World::new(1 << 16);
        world.backlog().push_back(&[Payload::Bytes(b"later")], 100).expect("room");
        let rest = world.pooled.received(b"first ");
        world.backlog().push_front(rest).expect("room");
        world.backlog().push_back(&[Payload::Bytes(b" last")], 100).expect("room");
        assert_eq!(world.drain(2), b"first later last");
    }

    #[test]
    fn the_bound_is_kept_to_the_byte() {
        let mut world = World::new(1 << 16);
        world.backlog().push_back(&[Payload::Bytes(&[1; 60])], 100).expect("room");
        assert_eq!(world.backlog().push_back(&[Payload::Bytes(&[2; 41])], 100), Err(Full));
        world.backlog().push_back(&[Payload::Bytes(&[3; 40])], 100).expect("exactly full");
        assert_eq!(world.drain(1000).len(), 100);
    }

    #[test]
    fn an_empty_pool_queues_nothing_of_what_does_not_fit() {
        let mut world = World::new(32 * 1024);
        world.backlog().push_back(&[Payload::Bytes(&[1; 9000])], u32::MAX).expect("room");
        let before = world.connection.backlog_bytes;
        assert_eq!(world.backlog().push_back(&[Payload::Bytes(&[2; 12_000])], u32::MAX), Err(Full));
        assert_eq!(world.connection.backlog_bytes, before);
        assert_eq!(world.drain(1000), vec![1; 9000]);
        assert_eq!(world.used_bytes(), 0);
    }

    #[test]
    fn from_block_to_block() {
        let mut world = World::new(1 << 16);
        let other = world.pooled.blocks.take(Share::Sending, 600).expect("room");
        let part = world.pooled.blocks.room(other).part(0, 5);
        world.pooled.memory.bytes_mut(part).copy_from_slice(b"hello");
        world.backlog().push_back(&[Payload::Span(part)], 100).expect("room");
        assert_eq!(world.drain(3), b"hello");
    }

    #[test]
    fn clearing_gives_everything_back() {
        let mut world = World::new(1 << 20);
        world.backlog().push_back(&[Payload::Bytes(&[1; 300_000])], u32::MAX).expect("room");
        world.backlog().clear();
        assert_eq!((world.used_bytes(), world.connection.backlog), (0, None));
    }
}
