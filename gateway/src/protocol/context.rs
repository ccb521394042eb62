//! What a handler can do with the connection at hand.

use std::fmt;

use tidegate_proto::websocket::code::CloseCode;
use tidegate_proto::websocket::error::ProtocolError;
use tidegate_proto::websocket::frame::{Header, MAX_UNMASKED_HEADER};
use tidegate_proto::websocket::message::{Kind, Part};
use tidegate_proto::websocket::sender::{Cut, OutOfOrder, cut};

use super::serve::Piece;
use crate::config::stack::Deflate;
use crate::connection::{Output, Payload};
use crate::hub::{Hub, Payload as MessagePayload, Publication, Refusal, Subscribing, Target};
use crate::memory::{Compressor, Full, PIECE};
use crate::names::{ConnectionId, Name};

/// Why nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// The connection's backlog, or the shard's pool, is full. A message has been lost, or cut
    /// short, so the connection is closed with 1013.
    Full,
    /// The connection is closing: nothing may be sent any more.
    Closing,
    /// A new message inside of one that was not ended, or a continuation of none.
    OutOfOrder,
}

impl fmt::Display for WriteError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Full => "the backlog is full",
            Self::Closing => "the connection is closing",
            Self::OutOfOrder => "messages may not overlap",
        })
    }
}

impl std::error::Error for WriteError {}

/// What ends a connection from our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failing {
    /// The peer broke the protocol.
    Protocol(ProtocolError),
    /// The peer does not take what it is sent, and a bound is met.
    Slow,
    /// The peer does not take what it is sent, and what all connections share runs short.
    GivesWay,
    /// The shard has no memory for what the peer sends.
    NoMemory,
    /// A message that must be whole does not become so in time.
    MessageTooSlow,
    /// The handler's wish.
    Handler(CloseCode),
}

/// The window of what is compressed once for all, in bits: what nearly all clients agree to.
pub(crate) const SHARED_WINDOW: u8 = 15;

/// Counts of what a turn said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// Messages that were ended.
    pub(crate) messages: u64,
    /// Payload bytes of data frames.
    pub(crate) bytes: u64,
}

/// The connection at hand, for the length of one call.
pub struct Context<'c, 'o> {
    pub(crate) output: &'c mut Output<'o>,
    pub(crate) compressor: &'c mut Compressor,
    pub(crate) deflate: Option<Deflate>,
    pub(crate) failing: &'c mut Option<Failing>,
    pub(crate) said: &'c mut Said,
    pub(crate) hub: &'c mut Hub,
    pub(crate) id: ConnectionId,
}

/// What comes with a message that is published.
#[derive(Clone, Debug, Default)]
pub struct Publishing {
    /// Of messages with the same key, a slow peer whose route conflates keeps the newest only.
    pub key: Option<Name>,
    /// It does not go to the connection that publishes it.
    pub not_to_self: bool,
}

impl Context<'_, '_> {
    /// The bytes of the piece at hand.
    #[must_use]
    pub fn bytes(&self, piece: &Piece<'_>) -> &[u8] {
        self.output.pool.memory.bytes(piece.span)
    }

    /// Sends the piece at hand back. One that lies in the receive buffer leaves from there without
    /// being copied.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn echo(&mut self, piece: Piece<'_>) -> Result<(), WriteError> {
        let Piece { kind, part, span, .. } = piece;
        self.write(kind, part, &Payload::Span(span))
    }

    /// Sends a whole message.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn send(&mut self, kind: Kind, message: &[u8]) -> Result<(), WriteError> {
        self.write(kind, Part::Whole, &Payload::Bytes(message))
    }

    /// Sends a piece of a message, as a frame of its own. Between the first piece and the last no
    /// other message can be sent.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn send_piece(&mut self, kind: Kind, part: Part, piece: &[u8]) -> Result<(), WriteError> {
        self.write(kind, part, &Payload::Bytes(piece))
    }

    /// Starts the closing handshake; further output is refused. A code that may not travel (RFC
    /// 6455 section 7.4) is sent as 1011.
    pub fn close(&mut self, code: CloseCode) {
        let code = if code.may_travel() { code } else { CloseCode::INTERNAL_ERROR };
        self.failing.get_or_insert(Failing::Handler(code));
    }

    /// Whether the peer has yet to take what was written before. If so,
    /// [`Handler::writable`](super::serve::Handler::writable) will be called once it has.
    #[must_use]
    pub fn is_choked(&self) -> bool {
        self.output.is_choked()
    }

    /// How many bytes one more message, sent plain, may have before this connection's backlog is
    /// full. The pool that all backlogs of the shard share may be empty before that.
    #[must_use]
    pub fn room(&self) -> u32 {
        self.output.backlog_room().saturating_sub(MAX_UNMASKED_HEADER as u32)
    }

    /// What the handler keeps for this connection.
    #[must_use]
    pub fn state(&self) -> u32 {
        self.output.connection.state
    }

    /// Keeps 32 bits for this connection: usually an index into a table of the handler's.
    pub fn set_state(&mut self, state: u32) {
        self.output.connection.state = state;
    }

    /// The connection's id, which names it to other shards and from outside.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// The user that the connection belongs to.
    #[must_use]
    pub fn user(&self) -> Option<Name> {
        self.hub.user(self.id.slot)
    }

    /// The connection belongs to a user from here on. To be called once, before any subscription.
    ///
    /// # Errors
    /// A bound of the hub is met.
    pub fn set_user(&mut self, user: &Name, events: bool) -> Result<(), Refusal> {
        let how = Subscribing { events, deflates: self.deflates(), ..Subscribing::default() };
        self.hub.subscribe(self.id, &user.of_user(), how)
    }

    /// Subscribes the connection to a topic; nothing changes if it is subscribed.
    ///
    /// # Errors
    /// A bound of the hub is met.
    pub fn subscribe(&mut self, topic: &Name, how: Subscribing) -> Result<(), Refusal> {
        let how = Subscribing { user: self.user(), deflates: self.deflates(), ..how };
        self.hub.subscribe(self.id, topic, how)
    }

    /// The topic that the connection was subscribed to with [`Subscribing::publishes`], unless that
    /// subscription has ended.
    #[must_use]
    pub fn publishing_topic(&self) -> Option<Name> {
        self.hub.publishing_topic(self.id.slot)
    }

    /// Ends a subscription of the connection; `false` if there was none.
    pub fn unsubscribe(&mut self, topic: &Name) -> bool {
        self.hub.unsubscribe(self.id, topic, self.deflates())
    }

    /// Publishes a message. It is on its way when this returns; what becomes of it is not told.
    ///
    /// # Errors
    /// [`Refusal::Busy`] or [`Refusal::NotUtf8`]; [`Refusal::NotOpen`] once the connection is
    /// closing: what was refused must not be followed by what came behind it.
    pub fn publish(
        &mut self,
        target: &Target,
        kind: Kind,
        message: &[u8],
        how: Publishing,
    ) -> Result<(), Refusal> {
        self.may_publish()?;
        let payload = MessagePayload::new(kind, message, self.hub.memory())?;
        let except = how.not_to_self.then_some(self.id);
        self.hub.publish(target, Publication { payload, key: how.key, except });
        Ok(())
    }

    /// Publishes the message at hand, which must be whole.
    ///
    /// # Errors
    /// As [`Context::publish`].
    pub fn publish_piece(
        &mut self,
        target: &Target,
        piece: &Piece<'_>,
        how: Publishing,
    ) -> Result<(), Refusal> {
        debug_assert_eq!(piece.part, Part::Whole, "only whole messages can be published");
        self.may_publish()?;
        let memory = std::sync::Arc::clone(self.hub.memory());
        let payload = MessagePayload::new(piece.kind, self.bytes(piece), &memory)?;
        let except = how.not_to_self.then_some(self.id);
        self.hub.publish(target, Publication { payload, key: how.key, except });
        Ok(())
    }

    /// Closes other connections, or this one, with this code and reason.
    pub fn disconnect(&mut self, target: &Target, code: CloseCode, reason: &str) {
        self.hub.disconnect(target, code, &reason.into());
    }

    fn may_publish(&self) -> Result<(), Refusal> {
        let is_open = self.failing.is_none() && self.output.connection.websocket.closing.may_send();
        if is_open { Ok(()) } else { Err(Refusal::NotOpen) }
    }

    fn deflates(&self) -> bool {
        // A frame that is compressed once for all has the largest window.
        self.output.connection.websocket.deflate_bits == SHARED_WINDOW
    }

    fn write(&mut self, kind: Kind, part: Part, payload: &Payload<'_>) -> Result<(), WriteError> {
        if self.failing.is_some() || !self.output.connection.websocket.closing.may_send() {
            return Err(WriteError::Closing);
        }
        let websocket = &mut self.output.connection.websocket;
        let is_worth_it = websocket.deflate_bits != 0
            && self.deflate.is_some_and(|deflate| payload.len() >= deflate.min as usize);
        let sent = match websocket.sender.send(part, is_worth_it) {
            Err(OutOfOrder) => return Err(WriteError::OutOfOrder),
            Ok(true) => self.write_compressed(kind, part, payload),
            Ok(false) => {
                let header = Header::of_message(kind, part, false, payload.len());
                self.output.frame(&header, payload)
            }
        };
        if sent == Err(Full) {
            // It may be cut short: no published frame may follow, only a Close frame.
            self.output.connection.websocket.sender.cut_short();
            self.failing.get_or_insert(Failing::Slow);
            return Err(WriteError::Full);
        }
        self.said.messages += u64::from(part.is_last());
        self.said.bytes += payload.len() as u64;
        Ok(())
    }

    /// Compresses up to [`PIECE`] bytes at a time, each into a fragment of its own.
    fn write_compressed(
        &mut self,
        kind: Kind,
        part: Part,
        payload: &Payload<'_>,
    ) -> Result<(), Full> {
        let level = self.deflate.map_or(1, |deflate| deflate.level);
        let window_bits = self.output.connection.websocket.deflate_bits;
        for Cut { range, part } in cut(part, payload.len(), PIECE) {
            let piece = &payload.bytes(self.output.pool.memory)[range];
            let compressed = self.compressor.compress(level, window_bits, piece, part.is_last());
            // An empty piece in the middle of a message compresses to nothing.
            if part != Part::Middle || !compressed.is_empty() {
                let header = Header::of_message(kind, part, true, compressed.len());
                self.output.frame(&header, &Payload::Bytes(compressed))?;
            }
        }
        Ok(())
    }
}
