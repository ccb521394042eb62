//! What a shard keeps of every connection: 64 bytes.

use tidegate_proto::keepalive::Wait;
use tidegate_proto::websocket::close::Closing;
use tidegate_proto::websocket::receiver::Receiver;

use super::blocks::BlockId;
use crate::kernel::Generation;

/// One connection. Whatever is bigger, rarer or colder lives elsewhere and is paid for only by
/// connections that have it.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Connection {
    /// The WebSocket stream from the peer.
    pub receiver: Receiver,
    /// Which connection of this slot.
    pub generation: Generation,
    /// The handler's own word for this connection.
    pub state: u32,
    /// What must be whole before it is looked at: half a request head, a compressed message, a
    /// message for a handler that wants it whole.
    pub gathered: Option<BlockId>,
    /// The payload of a control frame that came in parts.
    pub control: Option<BlockId>,
    /// The first block of what the peer has not taken.
    pub backlog: Option<BlockId>,
    /// Bytes in the backlog. Invariant: at most the route's bound, and what was left of one turn's
    /// output when its send fell short.
    pub backlog_bytes: u32,
    /// What it runs under, as its route says.
    pub service: ServiceId,
    /// What its listener says.
    pub profile: ProfileId,
    /// What the deadline is for.
    pub wait: Wait,
    /// Laps that the deadline has yet to go round.
    pub laps: u8,
    /// Where the connection is in its life.
    pub stage: Stage,
    /// Where the closing handshake is.
    pub closing: Closing,
    /// permessage-deflate: the window of what we send, 8 to 15 bits; 0 without it.
    pub deflate_bits: u8,
    /// See [`Flags`].
    pub flags: Flags,
}

const _: () = assert!(size_of::<Connection>() == 64 && align_of::<Connection>() == 64);

/// The number of a service: what a route offers to its connections.
pub type ServiceId = u16;

/// The number of a profile: what a listener says of its connections.
pub type ProfileId = u8;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// The slot holds no connection.
    Free,
    /// The request head is read.
    Head,
    /// The opening handshake is done.
    Open,
    /// What we had to say is said or queued; what comes in is read and thrown away until the peer
    /// closes too, so that no reset destroys our last words.
    Lingering,
    /// Closed, but for an operation in flight that still uses the connection's memory.
    Zombie,
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Facts about a connection, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flags(u32);

impl Flags {
    /// A poll is armed.
    pub const POLLED: Self = Self(1);
    /// A receive is in flight.
    pub const RECEIVING: Self = Self(1 << 1);
    /// The receive in flight writes into the gathered block.
    pub const RECEIVING_INTO: Self = Self(1 << 2);
    /// Sent from in the current batch, whose outcome is not known yet.
    pub const IN_BATCH: Self = Self(1 << 3);
    /// A send from the backlog is armed.
    pub const SEND_ARMED: Self = Self(1 << 4);
    /// The handler wants nothing more until the backlog is empty.
    pub const PAUSED: Self = Self(1 << 5);
    /// The handler was told of the opening and has to be told of the end.
    pub const OPENED: Self = Self(1 << 6);
    /// Finish writing and linger once everything queued is sent.
    pub const FINISH_AFTER_FLUSH: Self = Self(1 << 7);
    /// Close once everything queued is sent.
    pub const CLOSE_AFTER_FLUSH: Self = Self(1 << 8);
    /// A message to the peer has been begun and not ended.
    pub const SENDING_MESSAGE: Self = Self(1 << 9);
    /// The message that is being sent is compressed.
    pub const SENDING_COMPRESSED: Self = Self(1 << 10);
    /// Part of what was received waits for the next turn of the loop.
    pub const PUT_OFF: Self = Self(1 << 11);
    /// What was received last had to wait.
    pub const HEAVY: Self = Self(1 << 12);
    /// The receive in flight is one of those that may have to wait.
    pub const COUNTED: Self = Self(1 << 13);
    /// Published frames wait in the connection's queue.
    pub const QUEUED: Self = Self(1 << 14);
    /// The peer could not take all that was sent last: what waits is sent when it can.
    pub const BLOCKED: Self = Self(1 << 15);
    /// The poll that is armed stays armed when it completes.
    pub const POLL_STAYS: Self = Self(1 << 16);
    /// Frames have come in once.
    pub const SPOKE: Self = Self(1 << 17);
    /// Frames have come in more than once: polls stay armed from here on.
    pub const TALKS: Self = Self(1 << 18);
    /// A poll has told of the peer's end: it is received from until that shows.
    pub const ENDING: Self = Self(1 << 19);

    /// Whether any of `flags` is set.
    #[must_use]
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// Sets all of `flags`.
    pub const fn set(&mut self, flags: Self) {
        self.0 |= flags.0;
    }

    /// Clears all of `flags`.
    pub const fn clear(&mut self, flags: Self) {
        self.0 &= !flags.0;
    }

    /// Sets or clears `flags`.
    pub const fn put(&mut self, flags: Self, value: bool) {
        if value {
            self.set(flags);
        } else {
            self.clear(flags);
        }
    }
}

impl Connection {
    /// A slot without a connection, of generation `generation`.
    #[must_use]
    pub fn free(generation: Generation) -> Self {
        Self {
            receiver: Receiver::default(),
            generation,
            state: 0,
            gathered: None,
            control: None,
            backlog: None,
            backlog_bytes: 0,
            service: 0,
            profile: 0,
            wait: Wait::Head,
            laps: 0,
            stage: Stage::Free,
            closing: Closing::Open,
            deflate_bits: 0,
            flags: Flags::default(),
        }
    }

    /// Whether output must queue behind other output.
    #[must_use]
    pub fn must_queue(&self) -> bool {
        self.backlog.is_some()
            || self.flags.has(Flags::IN_BATCH | Flags::SEND_ARMED | Flags::QUEUED)
    }

    /// Whether nothing is left to send.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        !self.must_queue()
    }

    /// Asserts what must always hold; free in release builds.
    pub fn check(&self) {
        debug_assert_eq!(self.backlog.is_none(), self.backlog_bytes == 0, "{self:?}");
        debug_assert!(
            !self.flags.has(Flags::SEND_ARMED)
                || self.backlog.is_some()
                || self.flags.has(Flags::QUEUED),
            "a send is armed for nothing that waits: {self:?}"
        );
        debug_assert!(
            !(self.flags.has(Flags::POLLED) && self.flags.has(Flags::RECEIVING))
                || self.flags.has(Flags::POLL_STAYS),
            "polled and receiving at once: {self:?}"
        );
        debug_assert!(
            self.flags.has(Flags::POLLED) || !self.flags.has(Flags::POLL_STAYS),
            "a poll that is not armed stays: {self:?}"
        );
    }
}
