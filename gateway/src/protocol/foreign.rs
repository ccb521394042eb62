//! A protocol that the program brings along, spoken on all connections of a listener.

use std::marker::PhantomData;

use tidegate_proto::keepalive::Wait;

use super::Ended;
use super::context::{Publishing, WriteError};
use super::refusal::Refusal;
use super::serve::End;
use super::services::{FOREIGN, Profiles};
use super::turn::{Failing, Fault, Half, Opened, Turn, Work};
use crate::config::{Listener, Route, RouteHandler};
use crate::connection::{
    AfterFlush, CONTROL_RESERVE, Connection, FOREIGN_OWN, Foreign, Output, Payload, Spoken, Stage,
};
use crate::hub::{Cause, Content, Message, NotDone, Subscribing, Target};
use crate::kernel::Span;
use crate::memory::{Share, gathered};
use crate::names::{ConnectionId, Name};

/// The most bytes that are handed to a protocol at once, and as many as are at any rate, whatever
/// is left of the budget.
const STRETCH: u32 = 2048;
const FREE_STRETCH: u32 = 64;

/// So much of what a protocol does with what is handed to it at once is free, and each that comes
/// behind it counts as so many bytes.
const FREE_ACTS: usize = 64;
const ACT_COST: usize = 128;

/// Makes a shard's own protocol for a listener; `None` leaves it to HTTP, and what that leads to.
pub type ProtocolFactory = dyn Fn(&Listener) -> Option<Box<dyn Protocol>> + Send + Sync;

/// A protocol of the program's own. One belongs to one shard and one listener; nothing of it is
/// shared. It sees each connection through an [`Exchange`]: [`Protocol::begin`] once, then the
/// other calls in any order, and [`Protocol::ended`] exactly once, whatever ended the connection.
///
/// The options of the layer `ws` in the listener's stack say how long its connections are waited
/// for: after `ping` without a byte [`Protocol::silent`] is called, and after `pong` more the
/// connection is dropped; what is kept of its input must be whole after `message`, and who takes
/// nothing of what waits for it is dropped after `stall`. How much of both there may be is its
/// [`Allowance`].
pub trait Protocol {
    /// What each connection may have. Asked once for each shard and listener.
    fn allowance(&self) -> Allowance {
        Allowance::default()
    }

    /// A connection has come; it may be spoken to at once. Not called where all places are taken or
    /// the shard drains: such a connection is dropped.
    fn begin(&mut self, _exchange: &mut Exchange<'_, '_>) {}

    /// Bytes have come in, at most 2 KiB at once, and not always all that are there: what begins in
    /// them may end in later ones.
    ///
    /// Of one call, each [`send`](Exchange::send), [`echo`](Exchange::echo),
    /// [`keep`](Exchange::keep), [`subscribe`](Exchange::subscribe),
    /// [`unsubscribe`](Exchange::unsubscribe) and [`publish`](Exchange::publish) beyond the 64th
    /// takes 128 bytes of `limits.heavy_input`. Once that is used up, further input waits for the
    /// next turn of the loop.
    fn input(&mut self, exchange: &mut Exchange<'_, '_>, input: Stretch<'_>);

    /// The peer has taken all that waited for it. Called only after something had to wait.
    fn writable(&mut self, _exchange: &mut Exchange<'_, '_>) {}

    /// Nothing has come from the peer for a while. What is said here may move it to answer.
    fn silent(&mut self, _exchange: &mut Exchange<'_, '_>) {}

    /// A message was published for the connection; `topic` is where, if it was a topic.
    fn told(&mut self, _exchange: &mut Exchange<'_, '_>, _topic: Option<&Name>, _message: &[u8]) {}

    /// The connection is to end for this, from our side. What is said here are the last words;
    /// they are not asked for if the peer does not take what it was sent before.
    fn last_words(&mut self, _exchange: &mut Exchange<'_, '_>, _why: Failing) {}

    /// The connection has ended; `own` is what was kept for it by [`Exchange::own`].
    fn ended(&mut self, _id: ConnectionId, _own: &[u8; FOREIGN_OWN], _end: End) {}
}

/// What each connection of a protocol may have, in bytes. By default that is what a route gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// The most that is kept of what is half received. More is a fault of the peer, of number 0,
    /// and counted as `protocol_errors`.
    pub kept: u32,
    /// The most that may wait for the peer: at least [`Allowance::LEAST_BACKLOG`], though less is
    /// said here, and 254 more for last words. While anything waits, nothing is read from the peer;
    /// what does not fit ends the connection without further words, counted as `slow_peers_closed`.
    pub backlog: u32,
}

impl Allowance {
    /// What may wait for a peer in any case, in bytes: somebody who reads may have to be said as
    /// much in a moment.
    pub const LEAST_BACKLOG: u32 = 4096;
}

impl Default for Allowance {
    fn default() -> Self {
        let Route { max_buffered_message, backlog, .. } = Route::new("/", RouteHandler::Echo);
        Self { kept: max_buffered_message, backlog }
    }
}

/// Bytes that have come in; they are asked of the [`Exchange`]. They are no copy, and sending them
/// back uses them up. They cannot be kept beyond the call that they came with, when others may lie
/// in their place.
///
/// ```compile_fail,E0308
/// use tidegate::protocol::{Exchange, Protocol, Stretch};
///
/// struct Keeper(Option<Stretch<'static>>);
///
/// impl Protocol for Keeper {
///     fn input(&mut self, _: &mut Exchange<'_, '_>, input: Stretch<'_>) {
///         self.0 = Some(input);
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Stretch<'p> {
    span: Span,
    call: PhantomData<&'p ()>,
}

impl<'p> Stretch<'p> {
    fn new(span: Span) -> Self {
        Self { span, call: PhantomData }
    }

    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.span.length as usize
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.span.length == 0
    }

    /// The first `at` bytes, and what is behind them; all of it and nothing if there are fewer.
    #[must_use]
    pub fn split(self, at: usize) -> (Stretch<'p>, Stretch<'p>) {
        let at = at.min(self.len()) as u32;
        (Self::new(self.span.part(0, at)), Self::new(self.span.skip(at)))
    }
}

/// The connection at hand, for the length of one call.
pub struct Exchange<'c, 'o> {
    work: &'c mut Work<'o>,
    /// What was kept became whole.
    became_whole: &'c mut bool,
    /// The most that is kept of what is half received, in bytes.
    kept_max: u32,
    /// How much of what costs anything it has done.
    acts: usize,
    /// It is asked for its last words.
    is_last: bool,
}

impl Exchange<'_, '_> {
    /// The bytes that have come in.
    #[must_use]
    pub fn bytes(&self, stretch: &Stretch<'_>) -> &[u8] {
        self.work.output.pool.memory.bytes(stretch.span)
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// See [`WriteError`]; what is full ends the connection without further words.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.write(&Payload::Bytes(bytes))
    }

    /// Sends back what has come in, from where it lies if it can be.
    ///
    /// # Errors
    /// As [`Exchange::send`].
    pub fn echo(&mut self, stretch: Stretch<'_>) -> Result<(), WriteError> {
        self.write(&Payload::Span(stretch.span))
    }

    /// Keeps what is half received, behind what is kept already, until its rest comes. If that is
    /// more than [`Allowance::kept`], the connection ends as by fault 0; if there is no memory for
    /// it, by [`Failing::NoMemory`].
    ///
    /// # Errors
    /// [`WriteError::Full`].
    pub fn keep(&mut self, stretch: Stretch<'_>) -> Result<(), WriteError> {
        if stretch.is_empty() {
            return Ok(());
        }
        if self.kept().len() + stretch.len() > self.kept_max as usize {
            self.break_off(0, "what must be whole is too long");
            return Err(WriteError::Full);
        }
        self.acts += 1;
        let Output { connection, pool, .. } = &mut self.work.output;
        let kept = &mut connection.gathered;
        if gathered::append(kept, Share::Gathered, pool, stretch.span).is_err() {
            self.work.failing.get_or_insert(Failing::NoMemory);
            return Err(WriteError::Full);
        }
        Ok(())
    }

    /// What is kept.
    #[must_use]
    pub fn kept(&self) -> &[u8] {
        let Output { connection, pool, .. } = &self.work.output;
        connection.gathered.map_or(&[], |block| pool.memory.bytes(pool.blocks.content(block)))
    }

    /// Sends back what is kept, and keeps nothing.
    ///
    /// # Errors
    /// As [`Exchange::send`].
    pub fn echo_kept(&mut self) -> Result<(), WriteError> {
        let Output { connection, pool, .. } = &self.work.output;
        let span = connection.gathered.map(|block| pool.blocks.content(block));
        let sent = span.map_or(Ok(()), |span| self.write(&Payload::Span(span)));
        self.forget_kept();
        sent
    }

    /// What was kept is whole, or of no use: nothing is kept any more.
    pub fn forget_kept(&mut self) {
        let Output { connection, pool, .. } = &mut self.work.output;
        gathered::release(&mut connection.gathered, pool.blocks);
        *self.became_whole = true;
    }

    /// The [`FOREIGN_OWN`] bytes that the protocol keeps for this connection: zeros as it begins.
    pub fn own(&mut self) -> &mut [u8; FOREIGN_OWN] {
        &mut state(self.work.output.connection).own
    }

    /// The connection's id, which names it to other shards and from outside.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.work.id
    }

    /// Whether the peer has yet to take what was sent before. If so, [`Protocol::writable`] will be
    /// called once it has.
    #[must_use]
    pub fn is_choked(&self) -> bool {
        self.work.output.is_choked()
    }

    /// Ends the connection once all that was said is sent.
    pub fn end(&mut self) {
        self.work.failing.get_or_insert(Failing::Instructed(Cause::Done.into()));
    }

    /// Ends the connection, because the peer broke the protocol. Number and reason are the
    /// protocol's own, and come back to its last words.
    pub fn break_off(&mut self, number: u16, reason: &'static str) {
        self.work.failing.get_or_insert(Failing::Fault(Fault::new(number, reason)));
    }

    /// Subscribes the connection to a topic; nothing changes if it is subscribed.
    ///
    /// # Errors
    /// [`NotDone::TooManySubscriptions`], [`NotDone::Full`]. [`NotDone::Busy`] while very much mail
    /// waits: as much as two mailboxes hold, on any shard. Nothing is read from the connection then
    /// either, but it may have begun just now, or have said more at once.
    pub fn subscribe(&mut self, topic: &Name) -> Result<(), NotDone> {
        self.acts += 1;
        self.work.hub.subscribe(self.work.id, topic, Subscribing::default())
    }

    /// Ends a subscription of the connection; `false` if there was none.
    pub fn unsubscribe(&mut self, topic: &Name) -> bool {
        self.acts += 1;
        self.work.hub.unsubscribe(self.work.id, topic, None)
    }

    /// Publishes a message: a text, bytes, or a [`Content`] of either. It is on its way when this
    /// returns; what becomes of it is not told.
    ///
    /// # Errors
    /// [`NotDone::Busy`]; [`NotDone::NotOpen`] once the connection is ending.
    pub fn publish(
        &mut self,
        target: &Target,
        content: impl Into<Content>,
        how: Publishing,
    ) -> Result<(), NotDone> {
        self.acts += 1;
        self.work.publish(target, how, |work| Message::new(content, work.hub.memory()))
    }

    fn write(&mut self, payload: &Payload<'_>) -> Result<(), WriteError> {
        self.acts += 1;
        if self.work.is_ending() {
            return Err(WriteError::Closing);
        }
        if payload.is_empty() {
            return Ok(());
        }
        let output = &mut self.work.output;
        let said = if self.is_last { output.last_words(payload) } else { output.data(payload) };
        if said.is_err() {
            self.work.failing.get_or_insert(Failing::Slow);
            return Err(WriteError::Full);
        }
        self.work.said.bytes += payload.len() as u64;
        Ok(())
    }
}

const fn state(connection: &mut Connection) -> &mut Foreign {
    connection.foreign().expect("it was looked what is spoken, and that stays as it is")
}

/// A connection has come: tells the protocol, unless all places are taken.
pub(super) fn begin(turn: &mut Turn<'_>) {
    if turn.is_full {
        turn.counters.refused += 1;
        turn.left.refused = Some(Refusal::Full { retry_after_seconds: 0 }.told());
        turn.left.found_full = !turn.drains;
        turn.left.drop = true;
        return;
    }
    turn.change_service(FOREIGN);
    let connection = turn.connection();
    connection.stage = Stage::Open;
    let own = [0; FOREIGN_OWN];
    connection.spoken = Spoken::Foreign(Foreign { own, is_open: true, is_ending: false });
    turn.counters.opened += 1;
    turn.counters.connections_open += 1;
    turn.left.wait = Some(Wait::Activity);
    turn.left.opened = Some(Opened::default());
    call(turn, |protocol, exchange| protocol.begin(exchange));
}

/// Works on what was received, until the budget is used up for what comes in very many parts.
pub(super) fn input(turn: &mut Turn<'_>, received: Span) {
    let mut rest = received;
    while rest.length > 0 && !turn.left.drop && !has_ended(turn) {
        let is_used_up = *turn.input_budget == 0;
        if is_used_up && rest.length < received.length {
            turn.left.unread = Some(rest);
            return;
        }
        let most = if is_used_up { FREE_STRETCH } else { STRETCH };
        let stretch = rest.part(0, most.min(rest.length));
        rest = rest.skip(stretch.length);
        let mut acts = 0;
        call(turn, |protocol, exchange| {
            protocol.input(exchange, Stretch::new(stretch));
            acts = exchange.acts;
        });
        let cost = acts.saturating_sub(FREE_ACTS) * ACT_COST;
        *turn.input_budget = turn.input_budget.saturating_sub(cost);
    }
}

/// Everything queued was sent.
pub(super) fn writable(turn: &mut Turn<'_>) {
    call(turn, |protocol, exchange| protocol.writable(exchange));
}

/// Nothing has come from the peer for as long as it may be silent.
pub(super) fn silent(turn: &mut Turn<'_>) {
    call(turn, |protocol, exchange| protocol.silent(exchange));
}

/// A message was published for the connection.
pub(super) fn told(turn: &mut Turn<'_>, topic: Option<&Name>, message: &[u8]) {
    call(turn, |protocol, exchange| protocol.told(exchange, topic, message));
}

/// Ends the connection, if it is not ending already.
pub(super) fn close(turn: &mut Turn<'_>, why: Failing) {
    turn.fail(why);
    end_if_failing(turn);
}

/// The connection has ended: tells the protocol.
pub(super) fn tell_end(profiles: &mut Profiles, connection: &mut Connection, ended: Ended) {
    let foreign = state(connection);
    foreign.is_open = false;
    let own = foreign.own;
    if let Some(protocol) = profiles.protocol(connection.profile) {
        protocol.ended(ended.id, &own, ended.end);
    }
}

/// Calls the protocol with the connection at hand, unless it is ending, and ends it if the protocol
/// wants that.
fn call(turn: &mut Turn<'_>, what: impl FnOnce(&mut dyn Protocol, &mut Exchange<'_, '_>)) {
    if turn.left.drop || has_ended(turn) {
        return;
    }
    speak(turn, false, what);
    end_if_failing(turn);
}

/// Whether the protocol is asked nothing more: it has said its last words, or was told of the end.
fn has_ended(turn: &mut Turn<'_>) -> bool {
    let state = state(turn.connection());
    state.is_ending || !state.is_open
}

fn speak(
    turn: &mut Turn<'_>,
    is_last: bool,
    what: impl FnOnce(&mut dyn Protocol, &mut Exchange<'_, '_>),
) {
    let Turn { work, profiles, left, limits, .. } = turn;
    let profile = work.output.connection.profile;
    let became_whole = &mut left.became_whole[Half::Message as usize];
    let kept_max = limits.max_buffered_message;
    if let Some(protocol) = profiles.protocol(profile) {
        what(protocol, &mut Exchange { work, became_whole, kept_max, acts: 0, is_last });
    }
}

/// Ends the connection, if there is a reason: the last words, and the state after them.
fn end_if_failing(turn: &mut Turn<'_>) {
    let Some(failing) = turn.work.failing.take() else { return };
    if has_ended(turn) {
        return;
    }
    failing.count(turn.counters);
    turn.left.end.get_or_insert(End::of_ours(failing.cause()));
    if matches!(failing, Failing::Slow | Failing::GivesWay) {
        // Bytes are lost, or there is no room for more.
        turn.left.drop = true;
        return;
    }
    turn.work.output.make_room_at_the_end(CONTROL_RESERVE);
    speak(turn, true, |protocol, exchange| protocol.last_words(exchange, failing));
    // There is no room for all of them.
    turn.left.drop |= turn.work.failing.take() == Some(Failing::Slow);
    let connection = turn.connection();
    state(connection).is_ending = true;
    connection.stage = Stage::Lingering;
    connection.states.do_after_flush(AfterFlush::Finish);
    turn.forget_input();
}
