//! Memory that the shard and the kernel share.

use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::rc::Rc;

/// The areas of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AreaName {
    /// Provided buffers.
    Receive,
    /// Answers of the current batch.
    Staging,
    /// Pooled blocks: backlogs and what must be whole.
    Blocks,
    /// Where the shard puts together what no kernel sees: the decompressor's output.
    Scratch,
}

/// How many areas there are; the first of them are those that a kernel is given.
const AREAS: usize = 4;
pub(super) const KERNEL_AREAS: usize = AREAS - 1;

/// Bytes of an area. An operation names memory by a span, never by an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Which area.
    pub area: AreaName,
    /// The first byte's place in it.
    pub start: u32,
    /// How many bytes.
    pub length: u32,
}

impl Span {
    /// The place of the span in its area.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.start as usize..self.start as usize + self.length as usize
    }

    /// The part of the span from `from` to `until`, which lies within it.
    #[must_use]
    pub fn part(self, from: u32, until: u32) -> Self {
        debug_assert!(from <= until && until <= self.length, "{from}..{until} of {}", self.length);
        Self { start: self.start + from, length: until - from, ..self }
    }

    /// Whether `other` lies within it.
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.area == other.area && self.start <= other.start && other.end() <= self.end()
    }

    /// Where the span ends in its area.
    #[must_use]
    pub fn end(self) -> u32 {
        self.start + self.length
    }

    /// The span without its first `count` bytes, of which there are at least so many.
    #[must_use]
    pub fn skip(self, count: u32) -> Self {
        debug_assert!(count <= self.length, "cannot skip {count} of {}", self.length);
        Self { start: self.start + count, length: self.length - count, ..self }
    }
}

/// One stretch of zeroed memory whose pages cost nothing until they are written.
pub struct Area {
    mapping: Rc<Mapping>,
}

/// All areas of one shard, by [`AreaName`].
pub struct Memory {
    areas: [Area; AREAS],
}

/// The bytes of each area, 1 to 2^32 - 1.
#[derive(Clone, Copy, Debug)]
pub struct AreaSizes {
    /// Of [`AreaName::Receive`].
    pub receive: usize,
    /// Of [`AreaName::Staging`].
    pub staging: usize,
    /// Of [`AreaName::Blocks`].
    pub blocks: usize,
    /// Of [`AreaName::Scratch`].
    pub scratch: usize,
}

impl Memory {
    /// Maps all areas.
    ///
    /// # Errors
    /// The kernel has no room for the mappings.
    pub fn new(sizes: AreaSizes) -> io::Result<Self> {
        let AreaSizes { receive, staging, blocks, scratch } = sizes;
        let areas =
            [Area::new(receive)?, Area::new(staging)?, Area::new(blocks)?, Area::new(scratch)?];
        Ok(Self { areas })
    }

    /// All bytes of an area.
    #[must_use]
    pub fn area(&self, name: AreaName) -> &[u8] {
        self.areas[name as usize].bytes()
    }

    /// All bytes of an area.
    pub fn area_mut(&mut self, name: AreaName) -> &mut [u8] {
        self.areas[name as usize].bytes_mut()
    }

    /// The bytes of a span.
    #[must_use]
    pub fn bytes(&self, span: Span) -> &[u8] {
        &self.area(span.area)[span.range()]
    }

    /// The bytes of a span.
    pub fn bytes_mut(&mut self, span: Span) -> &mut [u8] {
        &mut self.area_mut(span.area)[span.range()]
    }

    /// The bytes of two spans of different areas.
    ///
    /// # Panics
    /// They are of the same area.
    pub fn pair(&mut self, from: Span, to: Span) -> (&[u8], &mut [u8]) {
        let places = [from.area as usize, to.area as usize];
        let [source, target] =
            self.areas.get_disjoint_mut(places).expect("spans of different areas");
        (&source.bytes()[from.range()], &mut target.bytes_mut()[to.range()])
    }

    /// Copies the bytes of a span to another of the same length, which may overlap.
    pub fn copy(&mut self, from: Span, to: Span) {
        debug_assert_eq!(from.length, to.length, "as many bytes as there is room for");
        if from.area == to.area {
            self.area_mut(to.area).copy_within(from.range(), to.start as usize);
        } else {
            let (source, target) = self.pair(from, to);
            target.copy_from_slice(source);
        }
    }

    /// Claims on what a kernel is given, in the order of their names.
    pub(super) fn claims(&self) -> [Claim; KERNEL_AREAS] {
        std::array::from_fn(|area| self.areas[area].claim())
    }
}

impl Area {
    /// Maps `length` bytes, 1 to 2^32 - 1.
    ///
    /// # Errors
    /// The kernel has no room for the mapping.
    pub fn new(length: usize) -> io::Result<Self> {
        Ok(Self { mapping: Rc::new(Mapping::new(length)?) })
    }

    /// All bytes of the area.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let Mapping { start, length } = *self.mapping;
        // SAFETY: the mapping is `length` bytes long, was zeroed by the kernel and lives as long
        // as `self`. Only one `Area` is ever made of a mapping and its bytes are lent by the rules
        // of `self`'s borrow; the kernel writes them only during an enter, which borrows the
        // whole `Memory` mutably.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), length) }
    }

    /// All bytes of the area.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let Mapping { start, length } = *self.mapping;
        // SAFETY: as in `bytes`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), length) }
    }

    /// A claim on the memory for a ring: keeps it mapped, and gives the addresses that operations
    /// need.
    pub(super) fn claim(&self) -> Claim {
        Claim { mapping: Rc::clone(&self.mapping) }
    }
}

/// Keeps an area mapped while a kernel may have its addresses.
pub(super) struct Claim {
    mapping: Rc<Mapping>,
}

impl Claim {
    /// The address of `range`.
    ///
    /// # Panics
    /// The range is not inside the area: a defect of the caller, caught before the kernel sees it.
    pub(super) fn address(&self, range: Range<usize>) -> *mut u8 {
        assert!(
            range.start <= range.end && range.end <= self.mapping.length,
            "{range:?} is outside of an area of {} bytes",
            self.mapping.length
        );
        // SAFETY: the offset was just checked to be inside the mapping.
        unsafe { self.mapping.start.as_ptr().add(range.start) }
    }
}

/// An anonymous mapping; unmapped when dropped.
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Mapping {
    fn new(length: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping touches no memory that exists.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // Huge pages would make a mapping of which a few pages are used wholly resident; a kernel
        // without them refuses the advice, which is as good.
        // SAFETY: the range is the mapping that was just made.
        unsafe { libc::madvise(start, length, libc::MADV_NOHUGEPAGE) };
        let start = NonNull::new(start.cast()).expect("a mapping is never at address 0");
        Ok(Self { start, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `new` made; the last owner is gone, so no slice and no
        // ring refers to it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_is_zeroed_and_keeps_what_is_written() {
        let mut area = Area::new(8192).expect("two pages");
        assert!(area.bytes().iter().all(|byte| *byte == 0));
        area.bytes_mut()[8191] = 7;
        assert_eq!(area.bytes()[8191], 7);
    }

    #[test]
    fn a_claim_outlives_its_area() {
        let area = Area::new(4096).expect("a page");
        let claim = area.claim();
        let address = claim.address(4096..4096);
        drop(area);
        assert_eq!(address, claim.address(0..0).wrapping_add(4096));
    }

    #[test]
    #[should_panic(expected = "outside of an area")]
    fn an_address_outside_is_never_made() {
        let _ = Area::new(4096).expect("a page").claim().address(4000..4097);
    }

    #[test]
    fn a_span_skips_and_has_parts() {
        let span = Span { area: AreaName::Staging, start: 10, length: 5 };
        assert_eq!(span.skip(2).range(), 12..15);
        assert_eq!((span.part(1, 3).range(), span.end()), (11..13, 15));
    }

    #[test]
    fn what_is_copied_may_overlap_and_may_go_elsewhere() {
        let sizes = AreaSizes { receive: 8, staging: 8, blocks: 8, scratch: 8 };
        let mut memory = Memory::new(sizes).expect("four pages");
        let span = |area, start| Span { area, start, length: 4 };
        memory.bytes_mut(span(AreaName::Receive, 0)).copy_from_slice(b"abcd");
        memory.copy(span(AreaName::Receive, 0), span(AreaName::Receive, 2));
        memory.copy(span(AreaName::Receive, 1), span(AreaName::Blocks, 3));
        assert_eq!(memory.area(AreaName::Receive), b"ababcd\0\0");
        assert_eq!(memory.area(AreaName::Blocks), b"\0\0\0babc\0");
    }
}
