//! Bytes that are to be sent.

use crate::kernel::{Memory, Span};

/// Where they are: in the shard's memory, or lent by whoever says them.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'p> {
    /// In the shard's memory.
    Span(Span),
    /// Elsewhere.
    Bytes(&'p [u8]),
}

impl Payload<'_> {
    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Span(span) => span.length as usize,
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes.
    #[must_use]
    pub fn bytes<'s>(&'s self, memory: &'s Memory) -> &'s [u8] {
        match self {
            Self::Span(span) => memory.bytes(*span),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// Copies the bytes from `from` on to `to`, which says how many.
    pub(super) fn copy(&self, from: u32, to: Span, memory: &mut Memory) {
        match self {
            Self::Span(span) => memory.copy(span.part(from, from + to.length), to),
            Self::Bytes(bytes) => {
                let from = from as usize;
                let bytes = &bytes[from..from + to.length as usize];
                memory.bytes_mut(to).copy_from_slice(bytes);
            }
        }
    }
}
