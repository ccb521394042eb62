//! Memory that the shard and the kernel share.

use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::rc::Rc;

/// The three areas of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AreaName {
    /// Provided buffers.
    Receive,
    /// Answers of the current batch.
    Staging,
    /// Pooled blocks: backlogs and what must be whole.
    Blocks,
}

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

/// All areas of one shard.
pub struct Memory {
    /// Provided buffers, one behind the other.
    pub receive: Area,
    /// Answers of the current batch.
    pub staging: Area,
    /// Pooled blocks.
    pub blocks: Area,
}

impl Memory {
    /// The area of that name.
    #[must_use]
    pub fn area(&self, name: AreaName) -> &Area {
        match name {
            AreaName::Receive => &self.receive,
            AreaName::Staging => &self.staging,
            AreaName::Blocks => &self.blocks,
        }
    }

    /// The bytes of a span.
    #[must_use]
    pub fn bytes(&self, span: Span) -> &[u8] {
        &self.area(span.area).bytes()[span.range()]
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
    fn a_span_skips() {
        let span = Span { area: AreaName::Staging, start: 10, length: 5 };
        assert_eq!(span.skip(2).range(), 12..15);
    }
}
