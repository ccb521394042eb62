//! What a shard can ask for.

use super::{Generation, ListenerId, Slot, Span};

/// One thing for the kernel to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Wait once until the connection is readable, was closed by its peer or failed. Completes
    /// with [`Readable`](super::Completion::Readable).
    Poll {
        /// The connection.
        slot: Slot,
        /// Its generation.
        generation: Generation,
    },
    /// Tell each time that the connection becomes readable, is closed by its peer or fails, from
    /// what is so already on: completes with [`Readable`](super::Completion::Readable) again and
    /// again, until one says that the poll is no longer armed. What was told of once and is still
    /// there is not told of again, unless a send is armed meanwhile.
    PollOn {
        /// The connection.
        slot: Slot,
        /// Its generation.
        generation: Generation,
    },
    /// Remove the poll, of either kind, that was armed with the same slot and generation.
    Unpoll {
        /// The connection.
        slot: Slot,
        /// The generation that the poll was pushed with.
        generation: Generation,
    },
    /// Receive what is there into one provided buffer, without waiting. Completes with
    /// [`Received`](super::Completion::Received).
    Receive {
        /// The connection.
        slot: Slot,
        /// Its generation.
        generation: Generation,
    },
    /// Receive what is there into memory of the caller, without waiting. Completes with
    /// [`ReceivedInto`](super::Completion::ReceivedInto).
    ReceiveInto {
        /// The connection.
        slot: Slot,
        /// Its generation.
        generation: Generation,
        /// Where to; not empty.
        span: Span,
    },
    /// Send without waiting. Completes only on failure, with
    /// [`SendFellShort`](super::Completion::SendFellShort).
    Send {
        /// The connection.
        slot: Slot,
        /// The caller's number for this send within its batch; 28 bits.
        batch_index: u32,
        /// What to send; not empty.
        span: Span,
    },
    /// Send, waiting for room as long as it takes. Completes with
    /// [`Sent`](super::Completion::Sent); until then the memory is the kernel's.
    SendArmed {
        /// The connection.
        slot: Slot,
        /// Its generation.
        generation: Generation,
        /// What to send; not empty.
        span: Span,
    },
    /// Give up an armed send: it completes, with an error if it had sent nothing.
    CancelSend {
        /// The connection.
        slot: Slot,
        /// The generation that the send was pushed with.
        generation: Generation,
    },
    /// Tell the peer that nothing more will be sent (FIN), and go on receiving.
    FinishWrites {
        /// The connection.
        slot: Slot,
        /// Its generation.
        generation: Generation,
    },
    /// Close the connection; its slot may be given to another from here on.
    Close {
        /// The connection.
        slot: Slot,
    },
    /// Wait once until a listener has a connection to accept. Completes with
    /// [`ListenerReady`](super::Completion::ListenerReady).
    PollListener {
        /// The listener.
        listener: ListenerId,
    },
    /// Remove the listener's poll.
    UnpollListener {
        /// The listener.
        listener: ListenerId,
    },
    /// Close a listener whose poll is removed: connections that it has not accepted are refused.
    CloseListener {
        /// The listener.
        listener: ListenerId,
    },
    /// Accept one connection into a slot that is free, without waiting. At most
    /// [`ACCEPT_BATCH`](super::ACCEPT_BATCH) of them may be in flight. Completes with
    /// [`Accepted`](super::Completion::Accepted).
    Accept {
        /// The listener.
        listener: ListenerId,
        /// Where to.
        slot: Slot,
    },
    /// Ask how many bytes the peer has yet to acknowledge. Completes with
    /// [`Unacknowledged`](super::Completion::Unacknowledged).
    AskUnacknowledged {
        /// The connection.
        slot: Slot,
        /// Its generation.
        generation: Generation,
    },
}
