//! Pooled blocks: one area cut in halves, and halves of halves, as a buddy allocator does.
//!
//! Everything that a connection may hold beyond its record lives here: what a slow peer has not
//! taken, a message that must be whole, half a request head. The pool never grows; when it is
//! empty, whoever asks for a block is told so.

use std::num::NonZeroU32;

use crate::uring::{AreaName, Span};

/// The smallest block, in bytes.
pub const MIN_BLOCK: u32 = 512;

/// A block: its first unit's number plus one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockId(NonZeroU32);

impl BlockId {
    fn new(unit: u32) -> Self {
        Self(NonZeroU32::new(unit + 1).expect("a unit's number plus one is not zero"))
    }

    fn unit(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// What is known of a unit of [`MIN_BLOCK`] bytes; only a block's first unit counts.
#[derive(Clone, Copy, Default)]
struct Unit {
    /// Of a free block: the next and the previous free one of its order. Of a used one: the next
    /// block of its list, and the list's last block if this is the first.
    next: Option<BlockId>,
    previous: Option<BlockId>,
    /// The used bytes: 0 <= start <= end <= size.
    start: u32,
    end: u32,
    state: UnitState,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum UnitState {
    /// Inside of a block.
    #[default]
    Inner,
    Free(u8),
    Used(u8),
}

/// The bookkeeping of one area of blocks.
pub struct Blocks {
    units: Vec<Unit>,
    /// The first free block of each order; a block of order `n` is `MIN_BLOCK << n` bytes.
    free: Vec<Option<BlockId>>,
    used_bytes: u64,
    most_used_bytes: u64,
    /// Bytes of all backlogs that are in blocks.
    backlog_bytes: u64,
}

impl Blocks {
    /// Bookkeeping for an area of `length` bytes, a multiple of [`MIN_BLOCK`].
    #[must_use]
    pub fn new(length: u32) -> Self {
        let count = length / MIN_BLOCK;
        let mut this = Self {
            units: Vec::with_capacity(count as usize),
            free: vec![None; count.max(1).ilog2() as usize + 1],
            used_bytes: 0,
            most_used_bytes: 0,
            backlog_bytes: 0,
        };
        this.units.resize(count as usize, Unit::default());
        // The largest blocks that fit, from the front.
        let mut unit = 0;
        while unit < count {
            let order =
                (count - unit).ilog2().min(if unit == 0 { 31 } else { unit.trailing_zeros() });
            this.release(BlockId::new(unit), order as u8);
            unit += 1 << order;
        }
        this
    }

    /// The bytes of bookkeeping for an area of `length` bytes.
    #[must_use]
    pub fn overhead(length: u32) -> usize {
        (length / MIN_BLOCK) as usize * size_of::<Unit>()
    }

    /// Takes a block of at least `bytes`; `None` if there is none.
    pub fn take(&mut self, bytes: u32) -> Option<BlockId> {
        let order = order_for(bytes);
        let found = (order..self.free.len()).find(|order| self.free[*order].is_some())?;
        let block = self.free[found].expect("just found");
        self.unlink(block, found as u8);
        for order in (order..found).rev() {
            let upper = BlockId::new(block.unit() as u32 + (1 << order));
            self.link(upper, order as u8);
        }
        self.units[block.unit()] = Unit { state: UnitState::Used(order as u8), ..Unit::default() };
        self.used_bytes += u64::from(MIN_BLOCK) << order;
        self.most_used_bytes = self.most_used_bytes.max(self.used_bytes);
        Some(block)
    }

    /// Gives a block back.
    pub fn give_back(&mut self, block: BlockId) {
        let UnitState::Used(order) = self.units[block.unit()].state else {
            debug_assert!(false, "{block:?} is given back twice");
            return;
        };
        self.used_bytes -= u64::from(MIN_BLOCK) << order;
        self.release(block, order);
    }

    /// The block's size, in bytes.
    #[must_use]
    pub fn size(&self, block: BlockId) -> u32 {
        match self.units[block.unit()].state {
            UnitState::Used(order) => MIN_BLOCK << order,
            _ => 0,
        }
    }

    /// The bytes of the block that are used.
    #[must_use]
    pub fn content(&self, block: BlockId) -> Span {
        let Unit { start, end, .. } = self.units[block.unit()];
        self.span(block, start, end)
    }

    /// The bytes of the block behind those that are used.
    #[must_use]
    pub fn room(&self, block: BlockId) -> Span {
        self.span(block, self.units[block.unit()].end, self.size(block))
    }

    /// `count` bytes behind the used ones are used now.
    pub fn extend(&mut self, block: BlockId, count: u32) {
        let size = self.size(block);
        let unit = &mut self.units[block.unit()];
        unit.end += count;
        debug_assert!(unit.end <= size, "{} bytes in a block of {size}", unit.end);
    }

    /// The first `count` used bytes are used no longer.
    pub fn consume(&mut self, block: BlockId, count: u32) {
        let unit = &mut self.units[block.unit()];
        unit.start += count;
        debug_assert!(unit.start <= unit.end, "consumed more than there was");
    }

    /// The next block of the block's list.
    #[must_use]
    pub fn next(&self, block: BlockId) -> Option<BlockId> {
        self.units[block.unit()].next
    }

    /// The last block of the list that begins with `first`.
    #[must_use]
    pub fn last(&self, first: BlockId) -> BlockId {
        self.units[first.unit()].previous.unwrap_or(first)
    }

    /// Appends `block` to the list that begins with `first`.
    pub fn append(&mut self, first: BlockId, block: BlockId) {
        let last = self.last(first);
        self.units[last.unit()].next = Some(block);
        self.units[first.unit()].previous = Some(block);
    }

    /// Puts `block` in front of the list that begins with `first`.
    pub fn prepend(&mut self, first: BlockId, block: BlockId) {
        let last = self.last(first);
        self.units[first.unit()].previous = None;
        self.units[block.unit()].next = Some(first);
        self.units[block.unit()].previous = Some(last);
    }

    /// Takes the first block off its list; returns the new first one.
    pub fn detach_first(&mut self, first: BlockId) -> Option<BlockId> {
        let last = self.last(first);
        let next = self.units[first.unit()].next.take();
        self.units[first.unit()].previous = None;
        if let Some(next) = next {
            self.units[next.unit()].previous = (next != last).then_some(last);
        }
        next
    }

    /// Bytes in blocks that are taken.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Bytes of the whole pool.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.units.len() as u64 * u64::from(MIN_BLOCK)
    }

    /// The most that [`Blocks::used_bytes`] has been.
    #[must_use]
    pub fn most_used_bytes(&self) -> u64 {
        self.most_used_bytes
    }

    /// Bytes of all backlogs, without frames that wait by reference.
    #[must_use]
    pub fn backlog_bytes(&self) -> u64 {
        self.backlog_bytes
    }

    /// A backlog has grown by so many bytes.
    pub(super) fn backlog_grew(&mut self, count: u32) {
        self.backlog_bytes += u64::from(count);
    }

    /// A backlog has shrunk by so many bytes.
    pub(super) fn backlog_shrank(&mut self, count: u32) {
        self.backlog_bytes -= u64::from(count);
    }

    fn span(&self, block: BlockId, start: u32, end: u32) -> Span {
        let base = block.unit() as u32 * MIN_BLOCK;
        Span { area: AreaName::Blocks, start: base + start, length: end - start }
    }

    /// Makes a block free, joined with its buddy as long as that is free too.
    fn release(&mut self, block: BlockId, order: u8) {
        let mut unit = block.unit();
        let mut order = usize::from(order);
        while order + 1 < self.free.len() {
            let buddy = unit ^ (1 << order);
            let is_free = |unit: &Unit| unit.state == UnitState::Free(order as u8);
            if !self.units.get(buddy).is_some_and(is_free) {
                break;
            }
            self.unlink(BlockId::new(buddy as u32), order as u8);
            unit = unit.min(buddy);
            order += 1;
        }
        self.link(BlockId::new(unit as u32), order as u8);
    }

    fn link(&mut self, block: BlockId, order: u8) {
        let next = self.free[usize::from(order)].replace(block);
        self.units[block.unit()] = Unit { next, state: UnitState::Free(order), ..Unit::default() };
        if let Some(next) = next {
            self.units[next.unit()].previous = Some(block);
        }
    }

    fn unlink(&mut self, block: BlockId, order: u8) {
        let Unit { next, previous, .. } = self.units[block.unit()];
        match previous {
            Some(previous) => self.units[previous.unit()].next = next,
            None => self.free[usize::from(order)] = next,
        }
        if let Some(next) = next {
            self.units[next.unit()].previous = previous;
        }
        self.units[block.unit()] = Unit::default();
    }
}

/// The order of the smallest block that holds `bytes`.
fn order_for(bytes: u32) -> usize {
    bytes.div_ceil(MIN_BLOCK).max(1).next_power_of_two().ilog2() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: u32 = 64 * MIN_BLOCK;

    #[test]
    fn blocks_do_not_overlap_and_come_back_whole() {
        let mut blocks = Blocks::new(LENGTH);
        let sizes = [1, 512, 513, 4096, 2000, 512, 8192, 1];
        let taken: Vec<BlockId> =
            sizes.iter().map(|size| blocks.take(*size).expect("room")).collect();
        let mut ranges: Vec<_> = taken.iter().map(|block| blocks.room(*block).range()).collect();
        for (range, size) in ranges.iter().zip(sizes) {
            assert!(range.len() >= size as usize);
        }
        ranges.sort_by_key(|range| range.start);
        assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
        for block in taken {
            blocks.give_back(block);
        }
        assert_eq!(blocks.used_bytes(), 0);
        assert!(blocks.take(LENGTH).is_some(), "all halves were joined again");
    }

    #[test]
    fn an_empty_pool_says_so() {
        let mut blocks = Blocks::new(4 * MIN_BLOCK);
        assert_eq!(blocks.take(5 * MIN_BLOCK), None);
        let whole = blocks.take(3 * MIN_BLOCK).expect("all of it");
        assert_eq!(blocks.take(1), None);
        blocks.give_back(whole);
        assert!(blocks.take(1).is_some());
        assert_eq!(blocks.most_used_bytes(), u64::from(4 * MIN_BLOCK));
    }

    #[test]
    fn a_length_that_is_no_power_of_two_is_used_whole() {
        let mut blocks = Blocks::new(7 * MIN_BLOCK);
        let taken: Vec<_> = std::iter::from_fn(|| blocks.take(1)).collect();
        assert_eq!(taken.len(), 7);
        for block in taken {
            blocks.give_back(block);
        }
        assert!(blocks.take(4 * MIN_BLOCK).is_some());
    }

    #[test]
    fn lists_keep_their_order() {
        let mut blocks = Blocks::new(LENGTH);
        let [a, b, c, d] = std::array::from_fn(|_| blocks.take(1).expect("room"));
        blocks.append(b, c);
        blocks.append(b, d);
        blocks.prepend(b, a);
        let mut order = vec![a];
        let mut first = a;
        assert_eq!(blocks.last(a), d);
        while let Some(next) = blocks.detach_first(first) {
            assert_eq!(blocks.last(next), d);
            order.push(next);
            first = next;
        }
        assert_eq!(order, [a, b, c, d]);
    }

    #[test]
    fn content_moves_within_its_block() {
        let mut blocks = Blocks::new(LENGTH);
        let block = blocks.take(600).expect("room");
        assert_eq!(blocks.size(block), 1024);
        blocks.extend(block, 100);
        blocks.consume(block, 30);
        assert_eq!(blocks.content(block).length, 70);
        assert_eq!(blocks.room(block).length, 924);
    }

    /// A long random life, with a simple model of which bytes are taken beside it.
    #[test]
    fn random_takes_and_returns_never_overlap() {
        let mut blocks = Blocks::new(37 * MIN_BLOCK);
        let mut owners = [false; 37];
        let mut held: Vec<BlockId> = Vec::new();
        let mut random: u32 = 1;
        for _ in 0..20_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if random >> 31 == 0 {
                let Some(block) = blocks.take((random >> 8) % 5000) else { continue };
                for unit in units(&blocks, block) {
                    assert!(!std::mem::replace(&mut owners[unit], true), "taken twice");
                }
                held.push(block);
            } else if !held.is_empty() {
                let block = held.swap_remove((random >> 8) as usize % held.len());
                units(&blocks, block).for_each(|unit| owners[unit] = false);
                blocks.give_back(block);
            }
            let used = owners.iter().filter(|owned| **owned).count() as u64;
            assert_eq!(blocks.used_bytes(), used * u64::from(MIN_BLOCK));
        }
    }

    fn units(blocks: &Blocks, block: BlockId) -> std::ops::Range<usize> {
        block.unit()..block.unit() + (blocks.size(block) / MIN_BLOCK) as usize
    }
}
