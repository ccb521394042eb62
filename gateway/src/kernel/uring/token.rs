//! `user_data`: which operation, which connection, which of the slot's generations.

use crate::kernel::{SLOT_MASK, Slot};

/// The kinds of operation that a completion can be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum OperationKind {
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
    AskAside,
    Wake,
    Timer,
}

const KINDS: [OperationKind; 16] = [
    OperationKind::Poll,
    OperationKind::Unpoll,
    OperationKind::Receive,
    OperationKind::ReceiveInto,
    OperationKind::Send,
    OperationKind::SendArmed,
    OperationKind::CancelSend,
    OperationKind::FinishWrites,
    OperationKind::Close,
    OperationKind::PollListener,
    OperationKind::UnpollListener,
    OperationKind::Accept,
    OperationKind::Unacknowledged,
    OperationKind::AskAside,
    OperationKind::Wake,
    OperationKind::Timer,
];

/// Eight bits of kind, 32 of generation (or another number), 24 of slot (or listener).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: OperationKind,
    pub(super) number: u32,
    pub(super) slot: Slot,
}

const KIND_SHIFT: u32 = 56;
const NUMBER_SHIFT: u32 = 24;

impl Token {
    pub(super) fn new(kind: OperationKind, number: u32, slot: Slot) -> Self {
        debug_assert!(slot <= SLOT_MASK, "{slot:#x} does not fit 24 bits");
        Self { kind, number, slot: slot & SLOT_MASK }
    }

    pub(super) fn encode(self) -> u64 {
        (self.kind as u64) << KIND_SHIFT
            | u64::from(self.number) << NUMBER_SHIFT
            | u64::from(self.slot)
    }

    /// `None` for what no `encode` made.
    pub(super) fn decode(user_data: u64) -> Option<Self> {
        let kind = *KINDS.get((user_data >> KIND_SHIFT) as usize)?;
        let number = (user_data >> NUMBER_SHIFT) as u32;
        Some(Self { kind, number, slot: user_data as u32 & SLOT_MASK })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for (index, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            let token = Token::new(kind, u32::MAX - index as u32, SLOT_MASK - index as u32);
            assert_eq!(Token::decode(token.encode()), Some(token));
        }
        assert_eq!(Token::decode(u64::MAX), None);
    }
}
