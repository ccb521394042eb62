//! What a handler can do with the connection at hand.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use tidegate_proto::message::{Kind, Part};

use super::admission::{Admission, Joining};
use super::desk::Desk;
use super::forms;
use super::serve::Piece;
use super::turn::{Failing, Work};
use super::websocket;
use crate::checks::{Bringer, Permissions, RenewalBegun};
use crate::config::stack::Deflate;
use crate::connection::Payload;
use crate::hub::{
    Cause, Content, Errand, Form, Message, NotDone, NotRenewed, Publication, Subscribing, Target,
    Text, Why,
};
use crate::names::{ConnectionId, Name};

/// Why nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteError {
    /// The connection's backlog, or the shard's pool, is full. A message has been lost, or cut
    /// short, so the connection is closed, as for [`Cause::NoRoom`]; one on which a protocol of the
    /// program's own is spoken is dropped.
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

/// The connection at hand, for the length of one call.
pub struct Context<'c, 'o> {
    pub(super) work: &'c mut Work<'o>,
    /// Whether and how messages are compressed.
    pub(super) deflate: Option<Deflate>,
}

/// What comes with a message that is published.
#[derive(Clone, Debug, Default)]
pub struct Publishing {
    /// Of messages with the same key, a slow peer whose route conflates keeps the newest only.
    pub key: Option<Name>,
    /// It does not go to the connection that publishes it.
    pub not_to_self: bool,
}

impl Publishing {
    /// With a key: of messages with the same, a slow peer whose route conflates keeps the newest.
    #[must_use]
    pub fn with_key(self, key: Name) -> Self {
        Self { key: Some(key), ..self }
    }

    /// It does not go to the connection that publishes it.
    #[must_use]
    pub fn to_others(self) -> Self {
        Self { not_to_self: true, ..self }
    }
}

impl Context<'_, '_> {
    /// The bytes of the piece at hand.
    #[must_use]
    pub fn bytes(&self, piece: &Piece<'_>) -> &[u8] {
        self.work.output.pool.memory.bytes(piece.span)
    }

    /// Sends the piece at hand back. One that lies in the receive buffer leaves from there without
    /// being copied, if nothing else is in its way.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn echo(&mut self, piece: Piece<'_>) -> Result<(), WriteError> {
        let Piece { kind, part, span, .. } = piece;
        self.write(kind, part, &Payload::Span(span))
    }

    /// Sends a whole message of text.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn send_text(&mut self, text: &str) -> Result<(), WriteError> {
        self.write(Kind::Text, Part::Whole, &Payload::Bytes(text.as_bytes()))
    }

    /// Sends a whole message of bytes.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.write(Kind::Bytes, Part::Whole, &Payload::Bytes(bytes))
    }

    /// Sends a piece of a message, at once. Between the first piece and the last no other message
    /// can be sent. Of text, the pieces together must be UTF-8, which is not checked.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn send_piece(&mut self, kind: Kind, part: Part, piece: &[u8]) -> Result<(), WriteError> {
        self.write(kind, part, &Payload::Bytes(piece))
    }

    /// Closes the connection: its peer is told why, and further output is refused. A [`Cause`] is
    /// enough; [`Why::wish`] has an application's own number, and words for people.
    pub fn close(&mut self, why: impl Into<Why>) {
        self.work.failing.get_or_insert_with(|| Failing::Instructed(why.into()));
    }

    /// Whether the peer has yet to take what was written before. If so,
    /// [`Handler::writable`](super::serve::Handler::writable) will be called once it has.
    #[must_use]
    pub fn is_choked(&self) -> bool {
        self.work.output.is_choked()
    }

    /// How many bytes one more message, sent plain, may have before this connection's backlog is
    /// full. The pool that all backlogs of the shard share may be empty before that.
    #[must_use]
    pub fn room(&self) -> u32 {
        websocket::room(self.work)
    }

    /// What the handler keeps for this connection.
    #[must_use]
    pub fn state(&self) -> u32 {
        self.work.output.connection.state
    }

    /// Keeps 32 bits for this connection: usually an index into a table of the handler's.
    pub fn set_state(&mut self, state: u32) {
        self.work.output.connection.state = state;
    }

    /// The connection's id, which names it to other shards and from outside.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.work.id
    }

    /// The user that the connection belongs to.
    #[must_use]
    pub fn user(&self) -> Option<Name> {
        self.work.hub.user(self.work.id.slot)
    }

    /// What the connection's token says of topics; `None` if it has none, or that says nothing.
    #[must_use]
    pub fn permissions(&self) -> Option<&Permissions> {
        self.work.gatekeeper.permissions(self.work.id.slot)
    }

    /// How long the connection's token holds from now on; `None` if that does not end, or there is
    /// none.
    #[must_use]
    pub fn token_left(&self) -> Option<Duration> {
        let until = self.work.gatekeeper.until(self.work.id.slot)?;
        Some(until.saturating_sub(self.work.calendar))
    }

    /// Has a fresh token take the place of the one that the connection was let in by: from then on
    /// what it says of topics holds, and when it expires. It is checked as that one was, and has to
    /// be of the same issuer and user. What the connection is subscribed to stays.
    ///
    /// `None` if it is verified elsewhere: then what has come of it is told by
    /// [`Event::Renewed`](super::serve::Event::Renewed) with this `tag`, once.
    ///
    /// # Errors
    /// In what is returned: why the connection has the token that it had.
    pub fn renew_token(
        &mut self,
        token: &str,
        tag: Option<u32>,
    ) -> Option<Result<Option<Duration>, NotRenewed>> {
        let Work { gatekeeper, now, calendar, id, .. } = &mut *self.work;
        match gatekeeper.renew(id.slot, token.as_bytes(), *calendar) {
            RenewalBegun::Done(renewed) => Some(renewed),
            RenewalBegun::Later(question) => {
                gatekeeper.wait_for_renewal(*id, question, Bringer::Handler(tag), *now);
                None
            }
        }
    }

    /// Gives the connection what it was admitted with, or closes it: the one place that does.
    pub(super) fn admit(&mut self, admission: &Admission) {
        self.set_state(admission.state);
        if self.join(admission).is_err() {
            self.close(Cause::NoRoom);
        }
    }

    fn join(&mut self, admission: &Admission) -> Result<(), NotDone> {
        let Admission { user, events, topics, .. } = admission;
        if let Some(user) = user {
            let form = self.form(*events);
            let how = Subscribing { events: *events, form, ..Subscribing::default() };
            self.work.hub.subscribe_admitted(self.work.id, &user.of_user(), how)?;
        }
        topics.iter().try_for_each(|Joining { topic, how }| {
            let how = self.filled_in(how.clone());
            self.work.hub.subscribe_admitted(self.work.id, topic, how)
        })
    }

    /// Subscribes the connection to a topic. If it is subscribed nothing changes, unless it asks
    /// for something of the past: then it begins anew, and an earlier one that was not answered yet
    /// has ended before it began.
    ///
    /// # Errors
    /// [`NotDone::TooManySubscriptions`], [`NotDone::Full`]. [`NotDone::Busy`] while very much mail
    /// waits: as much as two mailboxes hold, on any shard. What an [`Admission`] says is done then
    /// as well.
    pub fn subscribe(&mut self, topic: &Name, how: Subscribing) -> Result<(), NotDone> {
        let how = self.filled_in(how);
        self.work.hub.subscribe(self.work.id, topic, how)
    }

    /// Subscribes the connection to a topic by a token that it was told with a subscription from
    /// outside. It is told another one.
    ///
    /// # Errors
    /// [`NotDone::Unknown`]: the token is none, is for another topic or another user, or has
    /// expired. As [`Context::subscribe`].
    pub fn resume(&mut self, topic: &Name, token: &str, how: Subscribing) -> Result<(), NotDone> {
        let (user, now) = (self.user(), self.work.calendar);
        if !self.work.hub.resumes.key.admits(token, topic, user.as_ref(), now) {
            return Err(NotDone::Unknown);
        }
        let resume = Some(self.work.hub.resumes.token(topic, user.as_ref(), now));
        self.subscribe(topic, Subscribing { resume, ..how })
    }

    /// How long a resume token is good.
    pub(crate) fn resume_age(&self) -> Duration {
        self.work.hub.resumes.age
    }

    /// How long the key of what was published with one is kept; zero if none is.
    pub(crate) fn idempotency_age(&self) -> Duration {
        self.work.hub.home.repeats.age()
    }

    /// With what the connection adds to it.
    fn filled_in(&self, how: Subscribing) -> Subscribing {
        Subscribing { user: self.user(), form: self.form(how.events), ..how }
    }

    /// The topic that the connection was subscribed to with [`Subscribing::publishes`], unless that
    /// subscription has ended.
    #[must_use]
    pub fn publishing_topic(&self) -> Option<Name> {
        self.work.hub.publishing_topic(self.work.id.slot)
    }

    /// Ends a subscription of the connection; `false` if there was none.
    pub fn unsubscribe(&mut self, topic: &Name) -> bool {
        self.work.hub.unsubscribe(self.work.id, topic, None)
    }

    /// The same. Behind everything of the topic that was on its way the connection is told so, as
    /// an event that has `tag` as its `id`, and the handler by
    /// [`Event::Answered`](super::serve::Event::Answered).
    ///
    /// # Errors
    /// [`NotDone::Unknown`]: it is not subscribed. [`NotDone::Busy`] while very much mail waits.
    pub fn unsubscribe_with(&mut self, topic: &Name, tag: u32) -> Result<(), NotDone> {
        if self.work.hub.is_overfull() {
            return Err(NotDone::Busy);
        }
        let was = self.work.hub.unsubscribe(self.work.id, topic, Some(tag));
        if was { Ok(()) } else { Err(NotDone::Unknown) }
    }

    /// Whether the connection is subscribed to a topic.
    #[must_use]
    pub fn is_subscribed(&self, topic: &Name) -> bool {
        self.work.hub.is_subscribed(self.work.id.slot, topic)
    }

    /// Asks something of one topic: to publish on it, who is there, what was said, how it stands.
    /// What comes of it is told by [`Event::Answered`](super::serve::Event::Answered), with the
    /// same `tag`; without one, only that nothing was done is told.
    ///
    /// # Errors
    /// [`NotDone::Unknown`]: it is not one topic that this is asked of. [`NotDone::Busy`] while
    /// very much mail waits. [`NotDone::NotOpen`] once the connection is closing.
    pub fn ask(&mut self, errand: Errand, tag: Option<u32>) -> Result<(), NotDone> {
        if self.work.is_ending() {
            return Err(NotDone::NotOpen);
        }
        self.work.hub.ask(self.work.id, errand, tag)
    }

    /// What [`Context::publish`] would publish, for [`Context::ask`].
    ///
    /// # Errors
    /// As [`Context::publish`].
    pub fn publication(
        &mut self,
        content: impl Into<Content>,
        how: Publishing,
    ) -> Result<Publication, NotDone> {
        self.work.publication(how, |work| Message::new(content, work.hub.memory()))
    }

    /// The time of this call by the calendar, since 1970.
    #[must_use]
    pub fn calendar(&self) -> Duration {
        self.work.calendar
    }

    /// Publishes a message: a text, bytes, or a [`Content`] of either. It is on its way when this
    /// returns; what becomes of it is not told. See [`Message::new`] for what is copied.
    ///
    /// # Errors
    /// [`NotDone::Busy`]; [`NotDone::NotOpen`] once the connection is closing, so that nothing is
    /// published behind a message that was refused.
    pub fn publish(
        &mut self,
        target: &Target,
        content: impl Into<Content>,
        how: Publishing,
    ) -> Result<(), NotDone> {
        self.work.publish(target, how, |work| Message::new(content, work.hub.memory()))
    }

    /// Publishes the message at hand; of one that comes in pieces, the piece as a message.
    ///
    /// # Errors
    /// As [`Context::publish`]; [`NotDone::NotUtf8`] for part of a text that ends within a letter.
    pub fn publish_piece(
        &mut self,
        target: &Target,
        piece: &Piece<'_>,
        how: Publishing,
    ) -> Result<(), NotDone> {
        self.work.publish(target, how, |work| {
            let bytes = work.output.pool.memory.bytes(piece.span);
            let is_text = piece.kind == Kind::Text;
            // A whole text was checked when it came in; a part may end within a letter.
            if is_text && piece.part != Part::Whole && std::str::from_utf8(bytes).is_err() {
                return Err(NotDone::NotUtf8);
            }
            Message::counted(bytes.len(), work.hub.memory(), || match piece.kind {
                Kind::Text => Text::received(bytes).into(),
                Kind::Bytes => Content::bytes(Bytes::copy_from_slice(bytes)),
            })
        })
    }

    /// What there is without this connection.
    #[must_use]
    pub fn desk(&mut self) -> Desk<'_> {
        self.work.desk()
    }

    /// Closes other connections, or this one, as [`Desk::disconnect`] does.
    ///
    /// # Errors
    /// As [`Desk::disconnect`].
    pub fn disconnect(&mut self, target: &Target, why: impl Into<Why>) -> Result<(), NotDone> {
        self.desk().disconnect(target, why)
    }

    /// The form in which it is sent what is published.
    fn form(&self, events: bool) -> Form {
        forms::of(self.work.output.connection, events)
    }

    fn write(&mut self, kind: Kind, part: Part, payload: &Payload<'_>) -> Result<(), WriteError> {
        websocket::say(self.work, self.deflate, kind, part, payload)
    }
}
