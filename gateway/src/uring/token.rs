//! `user_data`: which operation, which connection, which of the slot's generations.

use super::{GENERATION_MASK, Slot};

/// The kinds of operation that a completion can be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Poll,
    Unpoll,
    Receive,
    ReceiveInto,
    Send,
    SendArmed,
    CancelSend,
    FinishWrites,
    Close,
    PollListener,
    UnpollListener,
    Accept,
    Unacknowledged,
    Wake,
    Timer,
}

const KINDS: [Kind; 15] = [
    Kind::Poll,
    Kind::Unpoll,
    Kind::Receive,
    Kind::ReceiveInto,
    Kind::Send,
    Kind::SendArmed,
    Kind::CancelSend,
    Kind::FinishWrites,
    Kind::Close,
    Kind::PollListener,
    Kind::UnpollListener,
    Kind::Accept,
    Kind::Unacknowledged,
    Kind::Wake,
    Kind::Timer,
];

/// Four bits of kind, 28 of generation (or another number), 32 of slot (or listener).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) number: u32,
    pub(super) slot: Slot,
}

impl Token {
    pub(super) fn new(kind: Kind, number: u32, slot: Slot) -> Self {
        debug_assert!(number <= GENERATION_MASK, "{number:#x} does not fit 28 bits");
        Self { kind, number: number & GENERATION_MASK, slot }
    }

    pub(super) fn encode(self) -> u64 {
        (self.kind as u64) << 60 | u64::from(self.number) << 32 | u64::from(self.slot)
    }

    /// `None` for what no `encode` made.
    pub(super) fn decode(user_data: u64) -> Option<Self> {
        let kind = *KINDS.get((user_data >> 60) as usize)?;
        Some(Self {
            kind,
            number: (user_data >> 32) as u32 & GENERATION_MASK,
            slot: user_data as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for (index, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            let token = Token::new(kind, GENERATION_MASK - index as u32, u32::MAX - index as u32);
            assert_eq!(Token::decode(token.encode()), Some(token));
        }
        assert_eq!(Token::decode(u64::MAX), None);
    }
}
