//! Pooled blocks: one area cut in halves, and halves of halves, as a buddy allocator does.
//!
//! Everything that a connection may hold beyond its record lives here: what a slow peer has not
//! taken, a message that must be whole, half a request head. The pool never grows. Each purpose
//! has a part of it for itself, and three quarters of the pool are such parts; the last quarter
//! is for whoever comes. So those who hold much for one purpose take nothing from the others but
//! that quarter, and whoever asks for a block where none is left is told so.

use std::num::NonZeroU32;

use crate::kernel::{AreaName, Span};

/// The smallest block, in bytes.
pub const MIN_BLOCK: u32 = 512;

/// What a block is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Share {
    /// Half request heads.
    Heads,
    /// What must be whole before it is looked at: messages, and payloads of control frames.
    Gathered,
    /// What is to be sent: backlogs, and published frames.
    Sending,
}

/// How many shares there are; the region behind theirs is for all of them.
const SHARES: usize = 3;

/// How many eighths of the pool are each share's own.
const EIGHTHS: [u32; SHARES] = [1, 2, 3];

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
    Used(u8, Share),
}

/// A part of the pool in which blocks are cut and joined by themselves.
struct Region {
    /// Its first unit, and how many it has.
    start: u32,
    count: u32,
    free_units: u32,
    /// The first free block of each order; a block of order `n` is `MIN_BLOCK << n` bytes.
    free: Vec<Option<BlockId>>,
}

/// The bookkeeping of one area of blocks.
pub struct Blocks {
    units: Vec<Unit>,
    /// One for each share, in their order, and the one for all.
    regions: [Region; SHARES + 1],
    /// Bytes of the blocks that are taken, by share.
    used: [u64; SHARES],
    most_used_bytes: u64,
    /// Bytes of all backlogs that are in blocks.
    backlog_bytes: u64,
}

/// The pool has no such block, or the bound of what is to be kept in it is met: nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Blocks {
    /// Bookkeeping for an area of `length` bytes, a multiple of [`MIN_BLOCK`].
    #[must_use]
    pub fn new(length: u32) -> Self {
        let count = length / MIN_BLOCK;
        let [heads, gathered, sending] = EIGHTHS.map(|eighths| part(count, eighths));
        let counts = [heads, gathered, sending, common(count)];
        let mut start = 0;
        let regions = counts.map(|count| {
            let region = Region::new(start, count);
            start += count;
            region
        });
        let mut this = Self {
            units: vec![Unit::default(); count as usize],
            regions,
            used: [0; SHARES],
            most_used_bytes: 0,
            backlog_bytes: 0,
        };
        (0..this.regions.len()).for_each(|region| this.cut(region));
        this
    }

    /// The bytes of bookkeeping for an area of `length` bytes.
    #[must_use]
    pub fn overhead(length: u32) -> usize {
        (length / MIN_BLOCK) as usize * size_of::<Unit>()
    }

    /// The largest block that a share can have in an area of `length` bytes, when nobody holds any.
    #[must_use]
    pub fn largest(length: u32, share: Share) -> u32 {
        let count = length / MIN_BLOCK;
        let largest = part(count, EIGHTHS[share as usize]).max(common(count));
        if largest == 0 { 0 } else { MIN_BLOCK << largest.ilog2() }
    }

    /// The size of a block for so many bytes, if there are that large ones.
    #[must_use]
    pub fn size_for(bytes: u32) -> u64 {
        u64::from(MIN_BLOCK) << order_for(bytes)
    }

    /// Takes a block of at least `bytes`: from the share's own part of the pool, or from that which
    /// is for all. `None` if neither has one.
    pub fn take(&mut self, share: Share, bytes: u32) -> Option<BlockId> {
        self.take_beyond(share, bytes, 0)
    }

    /// The same, but of the share's own part so many bytes stay free for something else. A share
    /// that holds nothing keeps none.
    pub fn take_beyond(&mut self, share: Share, bytes: u32, kept: u64) -> Option<BlockId> {
        let order = order_for(bytes);
        let may_take_own = self.leaves(share, order, kept);
        let own = if may_take_own { self.take_from(share as usize, order) } else { None };
        let block = own.or_else(|| self.take_from(SHARES, order))?;
        self.units[block.unit()] =
            Unit { state: UnitState::Used(order as u8, share), ..Unit::default() };
        self.used[share as usize] += u64::from(MIN_BLOCK) << order;
        self.most_used_bytes = self.most_used_bytes.max(self.used_bytes());
        Some(block)
    }

    /// Whether [`Blocks::take_beyond`] would find one.
    #[must_use]
    pub fn has_beyond(&self, share: Share, bytes: u32, kept: u64) -> bool {
        let order = order_for(bytes);
        let has_one =
            |region: usize| self.regions[region].free.iter().skip(order).any(Option::is_some);
        (self.leaves(share, order, kept) && has_one(share as usize)) || has_one(SHARES)
    }

    /// Whether so many bytes stay free of the share's own part when it gives such a block.
    fn leaves(&self, share: Share, order: usize, kept: u64) -> bool {
        let needed = kept + (u64::from(MIN_BLOCK) << order);
        self.own_free_bytes(share) >= needed || self.used[share as usize] == 0
    }

    /// Bytes that are free in the share's own part, which nothing else can take.
    #[must_use]
    pub fn own_free_bytes(&self, share: Share) -> u64 {
        u64::from(self.regions[share as usize].free_units) * u64::from(MIN_BLOCK)
    }

    /// Gives a block back.
    pub fn give_back(&mut self, block: BlockId) {
        let UnitState::Used(order, share) = self.units[block.unit()].state else {
            debug_assert!(false, "{block:?} is given back twice");
            return;
        };
        self.used[share as usize] -= u64::from(MIN_BLOCK) << order;
        let unit = block.unit() as u32;
        let region = self.regions.iter().position(|region| region.has(unit));
        self.release(region.expect("the regions are all of the pool"), block, order);
    }

    /// Bytes that the share could still take, were they cut well: those that are free in its own
    /// part of the pool and in that for all.
    #[must_use]
    pub fn free_bytes(&self, share: Share) -> u64 {
        let units = self.regions[share as usize].free_units + self.regions[SHARES].free_units;
        u64::from(units) * u64::from(MIN_BLOCK)
    }

    /// Bytes that [`Blocks::take_beyond`] would find for a list of blocks, however they are cut.
    #[must_use]
    pub fn free_beyond(&self, share: Share, kept: u64) -> u64 {
        let unit = u64::from(MIN_BLOCK);
        let own = self.own_free_bytes(share).saturating_sub(kept) / unit;
        (own + u64::from(self.regions[SHARES].free_units)) * unit
    }

    /// Bytes of the share's own part of the pool.
    #[must_use]
    pub fn own_bytes(&self, share: Share) -> u64 {
        u64::from(self.regions[share as usize].count) * u64::from(MIN_BLOCK)
    }

    /// Bytes in blocks that are taken for one purpose.
    #[must_use]
    pub fn used_by(&self, share: Share) -> u64 {
        self.used[share as usize]
    }

    /// The block's size, in bytes.
    #[must_use]
    pub fn size(&self, block: BlockId) -> u32 {
        match self.units[block.unit()].state {
            UnitState::Used(order, _) => MIN_BLOCK << order,
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

    /// Appends the list that begins with `behind`, or the single block that it is, to the list that
    /// begins with `first`.
    pub fn append(&mut self, first: BlockId, behind: BlockId) {
        let (end, last) = (self.last(first), self.last(behind));
        self.units[behind.unit()].previous = None;
        self.units[end.unit()].next = Some(behind);
        self.units[first.unit()].previous = Some(last);
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
        self.used.iter().sum()
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
    pub(crate) fn backlog_grew(&mut self, count: u32) {
        self.backlog_bytes += u64::from(count);
    }

    /// A backlog has shrunk by so many bytes.
    pub(crate) fn backlog_shrank(&mut self, count: u32) {
        self.backlog_bytes -= u64::from(count);
    }

    fn span(&self, block: BlockId, start: u32, end: u32) -> Span {
        let base = block.unit() as u32 * MIN_BLOCK;
        Span { area: AreaName::Blocks, start: base + start, length: end - start }
    }

    /// Makes all of a region free: the largest blocks that fit, from the front.
    fn cut(&mut self, region: usize) {
        let Region { start, count, .. } = self.regions[region];
        let mut unit = 0;
        while unit < count {
            let aligned = if unit == 0 { 31 } else { unit.trailing_zeros() };
            let order = (count - unit).ilog2().min(aligned);
            self.release(region, BlockId::new(start + unit), order as u8);
            unit += 1 << order;
        }
    }

    fn take_from(&mut self, region: usize, order: usize) -> Option<BlockId> {
        let free = &self.regions[region].free;
        let found = (order..free.len()).find(|order| free[*order].is_some())?;
        let block = free[found].expect("just found");
        self.unlink(region, block, found as u8);
        for order in (order..found).rev() {
            let upper = BlockId::new(block.unit() as u32 + (1 << order));
            self.link(region, upper, order as u8);
        }
        self.regions[region].free_units -= 1 << order;
        Some(block)
    }

    /// Makes a block free, joined with its buddy as long as that is free too.
    fn release(&mut self, region: usize, block: BlockId, order: u8) {
        let Region { start, count, .. } = self.regions[region];
        let orders = self.regions[region].free.len();
        self.regions[region].free_units += 1 << order;
        let mut unit = block.unit() as u32 - start;
        let mut order = usize::from(order);
        while order + 1 < orders {
            let buddy = unit ^ (1 << order);
            let is_there = buddy + (1 << order) <= count;
            let state = |unit: u32| self.units[(start + unit) as usize].state;
            if !is_there || state(buddy) != UnitState::Free(order as u8) {
                break;
            }
            self.unlink(region, BlockId::new(start + buddy), order as u8);
            unit = unit.min(buddy);
            order += 1;
        }
        self.link(region, BlockId::new(start + unit), order as u8);
    }

    fn link(&mut self, region: usize, block: BlockId, order: u8) {
        let next = self.regions[region].free[usize::from(order)].replace(block);
        self.units[block.unit()] = Unit { next, state: UnitState::Free(order), ..Unit::default() };
        if let Some(next) = next {
            self.units[next.unit()].previous = Some(block);
        }
    }

    fn unlink(&mut self, region: usize, block: BlockId, order: u8) {
        let Unit { next, previous, .. } = self.units[block.unit()];
        match previous {
            Some(previous) => self.units[previous.unit()].next = next,
            None => self.regions[region].free[usize::from(order)] = next,
        }
        if let Some(next) = next {
            self.units[next.unit()].previous = previous;
        }
        self.units[block.unit()] = Unit::default();
    }
}

impl Region {
    /// A region in which nothing is free yet.
    fn new(start: u32, count: u32) -> Self {
        let orders = if count == 0 { 0 } else { count.ilog2() as usize + 1 };
        Self { start, count, free_units: 0, free: vec![None; orders] }
    }

    fn has(&self, unit: u32) -> bool {
        (self.start..self.start + self.count).contains(&unit)
    }
}

/// The units of `count` that are no share's own.
fn common(count: u32) -> u32 {
    count - EIGHTHS.iter().map(|eighths| part(count, *eighths)).sum::<u32>()
}

/// So many eighths of `count` units.
fn part(count: u32, eighths: u32) -> u32 {
    (u64::from(count) * u64::from(eighths) / 8) as u32
}

/// The order of the smallest block that holds `bytes`.
fn order_for(bytes: u32) -> usize {
    bytes.div_ceil(MIN_BLOCK).max(1).next_power_of_two().ilog2() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three eighths of it are a share's own, a quarter is for all.
    const LENGTH: u32 = 256 * MIN_BLOCK;
    const SHARE: Share = Share::Sending;

    #[test]
    fn what_is_kept_free_is_of_the_share_s_own_part() {
        let mut blocks = Blocks::new(LENGTH);
        let kept = blocks.own_bytes(SHARE) / 2;
        let taken = std::iter::from_fn(|| blocks.take_beyond(SHARE, 1, kept)).count();
        assert_eq!(blocks.own_free_bytes(SHARE), kept);
        assert_eq!(blocks.free_bytes(SHARE), kept, "what is for all was taken");
        assert!(taken > 0 && !blocks.has_beyond(SHARE, 1, kept) && blocks.has_beyond(SHARE, 1, 0));
        let rest = std::iter::from_fn(|| blocks.take(SHARE, 1)).count() as u64;
        assert_eq!(rest * u64::from(MIN_BLOCK), kept);
    }

    #[test]
    fn blocks_do_not_overlap_and_come_back_whole() {
        let mut blocks = Blocks::new(LENGTH);
        let sizes = [1, 512, 513, 4096, 2000, 512, 8192, 1];
        let taken: Vec<BlockId> =
            sizes.iter().map(|size| blocks.take(SHARE, *size).expect("room")).collect();
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
        assert!(blocks.take(SHARE, LENGTH / 4).is_some(), "all halves were joined again");
    }

    #[test]
    fn an_empty_pool_says_so() {
        let mut blocks = Blocks::new(8 * MIN_BLOCK);
        assert_eq!(blocks.take(SHARE, 3 * MIN_BLOCK), None, "four in a row there are nowhere");
        let has = |bytes| blocks.has_beyond(SHARE, bytes, 0);
        assert!(!has(3 * MIN_BLOCK) && has(2 * MIN_BLOCK));
        let all: Vec<_> = std::iter::from_fn(|| blocks.take(SHARE, 1)).collect();
        assert_eq!((all.len(), blocks.free_bytes(SHARE)), (5, 0), "its own, and those for all");
        blocks.give_back(all[0]);
        assert!(blocks.take(SHARE, 1).is_some());
        assert_eq!(blocks.most_used_bytes(), u64::from(5 * MIN_BLOCK));
    }

    #[test]
    fn who_takes_all_for_one_purpose_leaves_the_others_their_own() {
        let shares = [Share::Heads, Share::Gathered, Share::Sending];
        for greedy in shares {
            let mut blocks = Blocks::new(LENGTH);
            let taken: Vec<_> = std::iter::from_fn(|| blocks.take(greedy, 1)).collect();
            assert_eq!(blocks.used_by(greedy), taken.len() as u64 * u64::from(MIN_BLOCK));
            for other in shares.into_iter().filter(|other| *other != greedy) {
                assert_eq!(blocks.free_bytes(other), blocks.own_bytes(other), "{greedy:?}");
                let most = u32::try_from(blocks.own_bytes(other)).expect("a small pool");
                let largest = (most / MIN_BLOCK).ilog2();
                assert!(blocks.take(other, MIN_BLOCK << largest).is_some(), "{other:?} has none");
            }
            taken.into_iter().for_each(|block| blocks.give_back(block));
            assert_eq!(blocks.used_by(greedy), 0);
        }
    }

    #[test]
    fn the_largest_block_can_be_had() {
        for length in [7, 8, 32, 100, 2048, 12345] {
            let length = length * MIN_BLOCK;
            for share in [Share::Heads, Share::Gathered, Share::Sending] {
                let largest = Blocks::largest(length, share);
                assert!(Blocks::new(length).take(share, largest).is_some(), "{length} {share:?}");
                assert_eq!(Blocks::new(length).take(share, largest + 1), None, "{length}");
            }
        }
    }

    #[test]
    fn a_length_that_is_no_power_of_two_is_used_whole() {
        let mut blocks = Blocks::new(7 * MIN_BLOCK);
        let mut taken = Vec::new();
        for share in [Share::Heads, Share::Gathered, Share::Sending] {
            taken.extend(std::iter::from_fn(|| blocks.take(share, 1)));
        }
        assert_eq!(taken.len(), 7);
        taken.into_iter().for_each(|block| blocks.give_back(block));
        assert_eq!(blocks.used_bytes(), 0);
    }

    #[test]
    fn lists_keep_their_order() {
        let mut blocks = Blocks::new(LENGTH);
        let [a, b, c, d] = std::array::from_fn(|_| blocks.take(SHARE, 1).expect("room"));
        blocks.append(b, c);
        blocks.append(b, d);
        blocks.append(a, b);
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
        let block = blocks.take(SHARE, 600).expect("room");
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
                let Some(block) = blocks.take(SHARE, (random >> 8) % 5000) else { continue };
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
