//! What a shard keeps of every connection: 64 bytes, half of them the same whatever is spoken on
//! it.

use tidegate_proto::keepalive::Wait;
use tidegate_proto::websocket::close::Closing;
use tidegate_proto::websocket::receiver::Receiver;
use tidegate_proto::websocket::sender::Sender;

use super::states::States;
use crate::kernel::Generation;
use crate::memory::BlockId;

/// One connection. Whatever is bigger, rarer or colder lives elsewhere and is paid for only by
/// connections that have it.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Connection {
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
    /// Bytes in the backlog. Invariant: at most the route's bound, and beyond it what was left of
    /// one turn's output when its send fell short, a Close frame or last words behind all else,
    /// what waits only to be sealed, and a last response.
    pub backlog_bytes: u32,
    /// What it runs under, as its route says.
    pub service: ServiceId,
    /// What its socket is doing.
    pub states: States,
    /// What its listener says.
    pub profile: ProfileId,
    /// Where the connection is in its life.
    pub stage: Stage,
    /// What the deadline is for.
    pub wait: Wait,
    /// Laps that the deadline has yet to go round.
    pub laps: u8,
    /// What is spoken on it.
    pub spoken: Spoken,
}

/// What is spoken on a connection, and where that is: half of the record. [`Stage`] is the life of
/// its socket, whatever is spoken.
#[derive(Clone, Copy, Debug)]
pub enum Spoken {
    /// That is not known yet: the head of a request is read.
    Opening,
    /// Nor is it here: the head is read, and its handler has yet to decide.
    Undecided(Undecided),
    /// WebSocket.
    WebSocket(WebSocket),
    /// A protocol that the program brings along.
    Foreign(Foreign),
    /// HTTP: a response whose body is sent as the peer takes it.
    Response(Streaming),
}

/// The state of a connection whose request is undecided. What it has said is in
/// [`Connection::gathered`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecided {
    /// The bytes of the head.
    pub head: u32,
    /// How much was asked about the request before what it waits for now.
    pub round: u32,
    /// Something has come behind the head: nothing more is read before it is decided.
    pub has_more: bool,
}

/// The state of a connection on which the body of a response is sent.
#[derive(Clone, Copy, Debug)]
pub struct Streaming {
    /// The bytes that have yet to come; `None` where they are sent in chunks.
    pub left: Option<u64>,
    /// Its source is kept, and has to be given up at the end.
    pub is_open: bool,
}

/// The state of a connection on which a protocol is spoken that the program brings along.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Foreign {
    /// The protocol's own; zeros as it begins.
    pub own: [u8; FOREIGN_OWN],
    /// The protocol was told of the beginning and has to be told of the end.
    pub is_open: bool,
    /// The last words are said.
    pub is_ending: bool,
}

/// The bytes that a protocol which the program brings along keeps of each connection.
pub const FOREIGN_OWN: usize = 28;

/// The state of a WebSocket connection.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct WebSocket {
    /// The stream from the peer.
    pub receiver: Receiver,
    /// The stream to the peer.
    pub sender: Sender,
    /// Where the closing handshake is.
    pub closing: Closing,
    /// permessage-deflate: the window of what we send, 8 to 15 bits; 0 without it.
    pub deflate_bits: u8,
    /// What the handler takes: something, once it was told of the opening, and until it is told of
    /// the end.
    pub takes: Takes,
}

/// What the handler of a WebSocket connection takes from the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Takes {
    /// Nothing: it knows nothing of the connection.
    #[default]
    Nothing,
    /// Messages.
    Messages,
    /// Commands, which are answered among events.
    Commands,
}

const _: () = assert!(size_of::<Connection>() == 64 && align_of::<Connection>() == 64);
const _: () = assert!(size_of::<Spoken>() == 32);

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
    /// What is to be spoken is not known yet.
    Head,
    /// It is spoken.
    Open,
    /// What we had to say is said or queued; what comes in is read and thrown away until the peer
    /// closes too, so that no reset destroys our last words.
    Lingering,
    /// Closed, but for an operation in flight that still uses the connection's memory.
    Zombie,
}

impl Connection {
    /// A slot without a connection, of generation `generation`.
    #[must_use]
    pub fn free(generation: Generation) -> Self {
        Self {
            generation,
            state: 0,
            gathered: None,
            control: None,
            backlog: None,
            backlog_bytes: 0,
            service: 0,
            states: States::default(),
            profile: 0,
            stage: Stage::Free,
            wait: Wait::Head,
            laps: 0,
            spoken: Spoken::Opening,
        }
    }

    /// Whether output must queue behind other output.
    #[must_use]
    pub fn must_queue(&self) -> bool {
        self.backlog.is_some() || self.states.is_sending() || self.states.has(States::QUEUED)
    }

    /// Whether nothing waits for it, and a published frame may begin.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        !self.must_queue() && !self.states.has(States::BLOCKED) && self.is_between_messages()
    }

    /// Whether bytes wait for the peer to take some.
    #[must_use]
    pub fn waits_for_peer(&self) -> bool {
        self.backlog.is_some() || self.states.has(States::BLOCKED)
    }

    /// Whether it opens or ends: many may at once.
    #[must_use]
    pub fn opens_or_ends(&self) -> bool {
        self.stage == Stage::Head || self.states.has(States::ENDING)
    }

    /// Whether nothing is left to send.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        !self.must_queue()
    }

    /// Whether somebody was told that it has opened, and has to be told of the end.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        match &self.spoken {
            Spoken::Opening | Spoken::Undecided(_) => false,
            Spoken::WebSocket(websocket) => !matches!(websocket.takes, Takes::Nothing),
            Spoken::Foreign(foreign) => foreign.is_open,
            Spoken::Response(streaming) => streaming.is_open,
        }
    }

    /// Whether either side has begun to end it in the way of its protocol.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        match &self.spoken {
            Spoken::Opening | Spoken::Undecided(_) | Spoken::Response(_) => false,
            Spoken::WebSocket(websocket) => websocket.closing != Closing::Open,
            Spoken::Foreign(foreign) => foreign.is_ending,
        }
    }

    /// Whether its protocol allows that it is told anything more; a body's source says all itself.
    #[must_use]
    pub fn may_send(&self) -> bool {
        match &self.spoken {
            Spoken::Opening | Spoken::Undecided(_) => true,
            Spoken::WebSocket(websocket) => websocket.closing.may_send(),
            Spoken::Foreign(foreign) => !foreign.is_ending,
            Spoken::Response(_) => false,
        }
    }

    /// Whether it can be told anything. One whose peer has ended only gets what it was told before.
    #[must_use]
    pub fn may_be_told(&self) -> bool {
        self.stage == Stage::Open && self.is_open() && self.may_send()
    }

    /// Whether it can be told to end: a body that is being sent is told nothing else.
    #[must_use]
    pub fn may_be_ended(&self) -> bool {
        self.stage == Stage::Open && self.is_open() && !self.is_closing()
    }

    /// Whether somebody wants to know that it has taken all that it was sent.
    #[must_use]
    pub fn may_go_on(&self) -> bool {
        let streams = matches!(&self.spoken, Spoken::Response(streaming) if streaming.is_open);
        self.may_be_told() || streams
    }

    /// Whether nothing that was begun to be said has to be ended before anything else is said.
    #[must_use]
    pub const fn is_between_messages(&self) -> bool {
        match &self.spoken {
            Spoken::WebSocket(websocket) => websocket.sender.is_between(),
            Spoken::Opening | Spoken::Undecided(_) | Spoken::Foreign(_) | Spoken::Response(_) => {
                true
            }
        }
    }

    /// How many bytes have yet to come of what is being gathered, as far as that was announced,
    /// that may be received straight to where it is: what is compressed needs a receive buffer that
    /// can wait for the next turn.
    #[must_use]
    pub fn remaining_in_place(&self) -> u64 {
        match &self.spoken {
            Spoken::WebSocket(websocket) if websocket.receiver.is_compressed() => 0,
            Spoken::WebSocket(websocket) => websocket.receiver.data_remaining(),
            Spoken::Opening | Spoken::Undecided(_) | Spoken::Foreign(_) | Spoken::Response(_) => 0,
        }
    }

    /// The window of compression that what it is sent may have, in bits; 0 if that is not to be
    /// compressed.
    #[must_use]
    pub const fn window(&self) -> u8 {
        match &self.spoken {
            Spoken::WebSocket(websocket) => websocket.deflate_bits,
            Spoken::Opening | Spoken::Undecided(_) | Spoken::Foreign(_) | Spoken::Response(_) => 0,
        }
    }

    /// Whether its protocol has words for its end, so that one without them is abrupt.
    #[must_use]
    pub const fn has_farewell(&self) -> bool {
        matches!(self.spoken, Spoken::WebSocket(_))
    }

    /// Whether it is told each message that is published by itself: its protocol has no form of
    /// them that is the same for many.
    #[must_use]
    pub const fn is_told_alone(&self) -> bool {
        match &self.spoken {
            Spoken::Opening | Spoken::Undecided(_) | Spoken::WebSocket(_) | Spoken::Response(_) => {
                false
            }
            Spoken::Foreign(_) => true,
        }
    }

    /// Whether what its protocol makes of its input may be mail, whatever it is subscribed to: what
    /// a program brings along may publish, and have its peers come and go, as it will, and so may
    /// commands. What else a handler makes of messages is not the protocol's.
    #[must_use]
    pub const fn makes_mail(&self) -> bool {
        match &self.spoken {
            Spoken::Opening | Spoken::Undecided(_) | Spoken::Response(_) => false,
            Spoken::WebSocket(_) => self.has_commands(),
            Spoken::Foreign(_) => true,
        }
    }

    /// Whether what the peer sends are commands, which are answered among events.
    #[must_use]
    pub const fn has_commands(&self) -> bool {
        match &self.spoken {
            Spoken::WebSocket(websocket) => matches!(websocket.takes, Takes::Commands),
            _ => false,
        }
    }

    /// The state of a protocol that the program brings along, if that is spoken.
    #[must_use]
    pub const fn foreign(&mut self) -> Option<&mut Foreign> {
        match &mut self.spoken {
            Spoken::Foreign(foreign) => Some(foreign),
            _ => None,
        }
    }

    /// What its request waits for, if that is undecided.
    #[must_use]
    pub const fn undecided(&self) -> Option<Undecided> {
        match self.spoken {
            Spoken::Undecided(undecided) => Some(undecided),
            _ => None,
        }
    }

    /// Whether its request is undecided, and something has come behind the head.
    #[must_use]
    pub const fn keeps_input(&self) -> bool {
        matches!(self.spoken, Spoken::Undecided(Undecided { has_more: true, .. }))
    }

    /// The state of a response's body, if one is sent.
    #[must_use]
    pub const fn streaming(&mut self) -> Option<&mut Streaming> {
        match &mut self.spoken {
            Spoken::Response(streaming) => Some(streaming),
            _ => None,
        }
    }

    /// The state of WebSocket, if that is spoken.
    #[must_use]
    pub const fn websocket(&mut self) -> Option<&mut WebSocket> {
        match &mut self.spoken {
            Spoken::WebSocket(websocket) => Some(websocket),
            _ => None,
        }
    }

    /// Asserts what must always hold; free in release builds.
    pub fn check(&self) {
        debug_assert_eq!(self.backlog.is_none(), self.backlog_bytes == 0, "{self:?}");
        self.states.check(self.backlog.is_some());
    }
}
