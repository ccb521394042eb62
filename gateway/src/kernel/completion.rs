//! What the kernel reports.

use super::{BufferId, Errno, Generation, ListenerId, Peer, Slot};

/// One thing that has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// A connection can be received from: there are bytes, an end or an error.
    Readable {
        /// The connection.
        slot: Slot,
        /// The generation that was polled.
        generation: Generation,
        /// The poll is still armed; never so for one that completes once.
        armed: bool,
        /// The peer has ended or failed: behind the bytes that are there, receives tell how.
        ended: bool,
    },
    /// A receive into a provided buffer is done.
    Received {
        /// The connection.
        slot: Slot,
        /// The generation that received.
        generation: Generation,
        /// The buffer, which is the shard's again. `None`: the kernel took none.
        buffer: Option<BufferId>,
        /// The bytes behind the buffer's headroom; 0 is the end of the stream.
        result: Result<u32, Errno>,
        /// The kernel saw more to receive.
        more: bool,
    },
    /// A receive into the caller's memory is done, likewise.
    ReceivedInto {
        /// The connection.
        slot: Slot,
        /// The generation that received.
        generation: Generation,
        /// The bytes received; 0 is the end of the stream.
        result: Result<u32, Errno>,
        /// The kernel saw more to receive.
        more: bool,
    },
    /// A [`Send`](super::Operation::Send) could not send everything.
    SendFellShort {
        /// The connection.
        slot: Slot,
        /// The number it was pushed with.
        batch_index: u32,
        /// The bytes that were sent, fewer than asked for; `AGAIN` if the peer has no room at all.
        result: Result<u32, Errno>,
    },
    /// A [`SendArmed`](super::Operation::SendArmed) is done and its memory is the shard's again.
    Sent {
        /// The connection.
        slot: Slot,
        /// The generation that sent.
        generation: Generation,
        /// The bytes that were sent, perhaps fewer than asked for.
        result: Result<u32, Errno>,
    },
    /// A listener has a connection to accept. Its poll is disarmed.
    ListenerReady {
        /// The listener.
        listener: ListenerId,
    },
    /// An accept is done.
    Accepted {
        /// The listener.
        listener: ListenerId,
        /// The slot that was asked for.
        slot: Slot,
        /// The peer; `AGAIN` if there was no connection to accept.
        result: Result<Peer, Errno>,
    },
    /// The answer to [`AskUnacknowledged`](super::Operation::AskUnacknowledged).
    Unacknowledged {
        /// The connection.
        slot: Slot,
        /// The generation that was asked about.
        generation: Generation,
        /// Bytes that were sent, or taken to be sent, and not acknowledged (`SIOCOUTQ`, tcp(7)); of
        /// a Unix socket the memory of what the peer has not read.
        result: Result<u32, Errno>,
    },
    /// A [`Waker`](super::Waker) was used.
    Woken,
}
