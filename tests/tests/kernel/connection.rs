//! One connection: what can be asked of it, and what can be said of it.

use tidegate::kernel::{AreaName, BufferId, Completion, Errno, Generation, Operation, Slot, Span};

/// A connection of the kernel. What can be asked of it is an [`Operation`], what can be said of it
/// a [`Completion`].
#[derive(Clone, Copy)]
pub struct Connection {
    pub slot: Slot,
    pub generation: Generation,
}

impl Connection {
    /// Whoever has the slot next.
    pub fn successor(self) -> Self {
        Self { generation: self.generation + 1, ..self }
    }

    pub fn poll(self) -> Operation {
        let Self { slot, generation } = self;
        Operation::Poll { slot, generation }
    }

    pub fn poll_on(self) -> Operation {
        let Self { slot, generation } = self;
        Operation::PollOn { slot, generation }
    }

    pub fn unpoll(self) -> Operation {
        let Self { slot, generation } = self;
        Operation::Unpoll { slot, generation }
    }

    pub fn receive(self) -> Operation {
        let Self { slot, generation } = self;
        Operation::Receive { slot, generation }
    }

    pub fn receive_into(self, span: Span) -> Operation {
        let Self { slot, generation } = self;
        Operation::ReceiveInto { slot, generation, span }
    }

    pub fn send(self, span: Span) -> Operation {
        self.numbered_send(0, span)
    }

    pub fn numbered_send(self, batch_index: u32, span: Span) -> Operation {
        Operation::Send { slot: self.slot, batch_index, span }
    }

    pub fn send_armed(self, span: Span) -> Operation {
        let Self { slot, generation } = self;
        Operation::SendArmed { slot, generation, span }
    }

    pub fn cancel_send(self) -> Operation {
        let Self { slot, generation } = self;
        Operation::CancelSend { slot, generation }
    }

    pub fn finish_writes(self) -> Operation {
        let Self { slot, generation } = self;
        Operation::FinishWrites { slot, generation }
    }

    pub fn close(self) -> Operation {
        Operation::Close { slot: self.slot }
    }

    pub fn ask_unacknowledged(self) -> Operation {
        let Self { slot, generation } = self;
        Operation::AskUnacknowledged { slot, generation }
    }

    pub fn readable(self) -> Completion {
        let Self { slot, generation } = self;
        Completion::Readable { slot, generation, armed: false, ended: false }
    }

    /// Readable, and the poll stays armed.
    pub fn still_polled(self) -> Completion {
        let Self { slot, generation } = self;
        Completion::Readable { slot, generation, armed: true, ended: false }
    }

    /// `count` bytes were received into a buffer, and the kernel saw no more.
    pub fn received(self, buffer: u16, count: u32) -> Completion {
        let Self { slot, generation } = self;
        let (buffer, result) = (Some(BufferId(buffer)), Ok(count));
        Completion::Received { slot, generation, buffer, result, more: false }
    }

    /// Nothing was received, and no buffer taken.
    pub fn not_received(self, error: Errno) -> Completion {
        let Self { slot, generation } = self;
        let result = Err(error);
        Completion::Received { slot, generation, buffer: None, result, more: false }
    }

    pub fn received_into(self, result: Result<u32, Errno>, more: bool) -> Completion {
        let Self { slot, generation } = self;
        Completion::ReceivedInto { slot, generation, result, more }
    }

    pub fn sent(self, result: Result<u32, Errno>) -> Completion {
        let Self { slot, generation } = self;
        Completion::Sent { slot, generation, result }
    }
}

/// Bytes of the staging memory.
pub fn staging(start: u32, length: u32) -> Span {
    Span { area: AreaName::Staging, start, length }
}

/// Bytes of the blocks.
pub fn blocks(start: u32, length: u32) -> Span {
    Span { area: AreaName::Blocks, start, length }
}
