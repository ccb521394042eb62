//! The work of a turn: one connection, with all that it may use, and what is left to do when the
//! turn is over. What is spoken on the connection is nothing to it.

use std::sync::Arc;
use std::time::Duration;

use tidegate_proto::keepalive::Wait;

use super::asked::AskedFor;
use super::context::Publishing;
use super::desk::Desk;
use super::end_reason::EndReason;
use super::refusal::Refused;
use super::serve::End;
use super::services::{Profile, Profiles, ServiceLimits, Services};
use super::websocket::Inflating;
use crate::census::Turnstile;
use crate::checks::Gatekeeper;
use crate::connection::{Allotments, Connection, Output, Overstay, Reading, ServiceId, Spot};
use crate::counters::Counters;
use crate::hub::{Cause, Hub, Message, NotDone, Publication, Target, Why};
use crate::kernel::{Peer, Span};
use crate::memory::{Compressor, Full, Share, gathered};
use crate::names::ConnectionId;
use crate::transport::Transports;
use crate::transport::proxy::ProxyFacts;
use crate::transport::tls::PeerCertificate;

/// What ends a connection from our side, whatever is spoken on it. Each protocol has words of its
/// own for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failing {
    /// The peer broke the protocol.
    Fault(Fault),
    /// The peer does not take what it is sent, and a bound is met.
    Slow,
    /// The peer does not take what it is sent, and what all connections share runs short.
    GivesWay,
    /// The shard has no memory for what the peer sends.
    NoMemory,
    /// What must be whole does not become so in time.
    TooLate,
    /// The peer sends more than it may.
    OverRate,
    /// The peer has stayed for as long as it may.
    Overstays(Overstay),
    /// There is no place for it any more: the shard is full.
    GoesAway,
    /// The gateway lets it go: a drain closes it. What the peer is told is WebSocket's number;
    /// other protocols hear of an end that goes away.
    Drains(Why),
    /// It is told to: by its handler, by the hub, or through it.
    Instructed(Why),
}

/// What a peer did that the protocol does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The number that it has in the protocol.
    pub number: u16,
    /// What was wrong.
    pub reason: &'static str,
    /// A message was larger than may be.
    pub is_too_big: bool,
}

impl Fault {
    /// Anything but a message that is too large.
    #[must_use]
    pub const fn new(number: u16, reason: &'static str) -> Self {
        Self { number, reason, is_too_big: false }
    }
}

impl Failing {
    /// Whether the peer is asked to end the connection, and has time for it. Otherwise nothing that
    /// it sends is read any more.
    #[must_use]
    pub const fn is_orderly(&self) -> bool {
        match self {
            Self::GoesAway | Self::Drains(_) | Self::Instructed(_) | Self::Overstays(_) => true,
            Self::Fault(_) | Self::Slow | Self::GivesWay | Self::NoMemory => false,
            Self::TooLate | Self::OverRate => false,
        }
    }

    /// The same in the words that each protocol translates.
    #[must_use]
    pub const fn cause(&self) -> Cause {
        match self {
            Self::Fault(fault) => Cause::Fault(fault.number),
            Self::Slow | Self::GivesWay | Self::NoMemory => Cause::NoRoom,
            Self::TooLate | Self::OverRate | Self::Overstays(Overstay::Silent) => Cause::Forbidden,
            Self::GoesAway
            | Self::Drains(_)
            | Self::Overstays(Overstay::Lifetime | Overstay::Idle) => Cause::GoesAway,
            Self::Instructed(why) => why.cause,
        }
    }

    /// Counts a connection that ends for it.
    pub fn count(&self, counters: &mut Counters) {
        match self {
            Self::Fault(_) => counters.protocol_errors += 1,
            Self::Slow | Self::GivesWay => counters.slow_peers_closed += 1,
            Self::NoMemory => counters.out_of_blocks += 1,
            Self::TooLate => counters.messages_too_slow += 1,
            // The ends by reason say these.
            Self::OverRate | Self::Overstays(_) | Self::GoesAway | Self::Drains(_) => {}
            Self::Instructed(_) => {}
        }
    }
}

/// Counts of what a turn said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Messages that were ended.
    pub messages: u64,
    /// Payload bytes of data frames.
    pub bytes: u64,
}

/// Counts of what a turn heard and said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages that were received to their ends.
    pub messages_in: u64,
    /// What was said.
    pub said: Said,
}

/// What can be half received: both at once, because a control frame may stand within a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// What must be whole, and is gathered.
    Message,
    /// What stands within it, and must be whole by itself.
    Control,
}

/// What is left to do for the shard when a turn is over.
#[derive(Debug)]
pub struct Finished {
    /// Where the output is.
    pub spot: Spot,
    /// How much of the staging memory is used now.
    pub staged: u32,
    /// The connection's messages have ended.
    pub end: Option<End>,
    /// Why it is to end, from our side.
    pub reason: Option<EndReason>,
    /// Nothing more can be said to the peer: drop the connection.
    pub drop: bool,
    /// The bytes of the receive buffer that have to wait for the next turn of the loop.
    pub unread: Option<Span>,
    /// Whether a half message, and a half control frame, became whole; by [`Half`].
    pub became_whole: [bool; 2],
    /// What the connection waits for from here on; `None`: for what it waited before.
    pub wait: Option<Wait>,
    /// Who the peer is, if that was told with its request.
    pub learnt: Option<Peer>,
    /// It has opened.
    pub opened: Option<Opened>,
    /// Its request was refused.
    pub refused: Option<Refused>,
    /// It was answered at once.
    pub answered: Option<Answered>,
    /// What was asked for, if something is said of it.
    pub asked: Option<Arc<AskedFor>>,
    /// It found all places taken.
    pub found_full: bool,
    /// What was heard and said.
    pub traffic: Traffic,
}

/// A connection that has opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opened {
    /// The status that it was answered with, where HTTP is spoken.
    pub status: Option<u16>,
}

/// A response that was said at once.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// Its status.
    pub status: u16,
    /// The bytes of its body.
    pub bytes: u64,
}

impl Finished {
    /// Nothing so far.
    #[must_use]
    pub const fn nothing() -> Self {
        Self {
            spot: Spot::Nothing,
            staged: 0,
            end: None,
            reason: None,
            drop: false,
            unread: None,
            became_whole: [false; 2],
            wait: None,
            learnt: None,
            opened: None,
            refused: None,
            answered: None,
            asked: None,
            found_full: false,
            traffic: Traffic { messages_in: 0, said: Said { messages: 0, bytes: 0 } },
        }
    }
}

/// One connection, and what a handler of it may use as well.
pub struct Work<'a> {
    /// The way out, with the connection's record and the shard's blocks and memory.
    pub output: Output<'a>,
    /// What compresses.
    pub compressor: &'a mut Compressor,
    /// The shard's part of the hub.
    pub hub: &'a mut Hub,
    /// Who may enter, and what those may do who have.
    pub gatekeeper: &'a mut Gatekeeper,
    /// The time at which this turn began.
    pub now: Duration,
    /// The same by the calendar: since 1970.
    pub calendar: Duration,
    /// The connection's id.
    pub id: ConnectionId,
    /// Why the connection is to end. The first reason stands.
    pub failing: Option<Failing>,
    /// What was said.
    pub said: Said,
}

impl Work<'_> {
    /// What there is without the connection.
    #[must_use]
    pub fn desk(&mut self) -> Desk<'_> {
        Desk::new(self.hub, self.now)
    }

    /// Whether the connection is to end, or ends: nothing more can be said or published.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.failing.is_some() || !self.output.connection.may_send()
    }

    /// Publishes a message for the connection.
    ///
    /// # Errors
    /// [`NotDone::NotOpen`] once it is ending, so that nothing is published behind a message that
    /// was refused. What `message` says.
    pub fn publish(
        &mut self,
        target: &Target,
        how: Publishing,
        message: impl FnOnce(&Self) -> Result<Arc<Message>, NotDone>,
    ) -> Result<(), NotDone> {
        let publication = self.publication(how, message)?;
        self.hub.publish(target, publication);
        Ok(())
    }

    /// What the connection would publish.
    ///
    /// # Errors
    /// As [`Work::publish`].
    pub fn publication(
        &mut self,
        how: Publishing,
        message: impl FnOnce(&Self) -> Result<Arc<Message>, NotDone>,
    ) -> Result<Publication, NotDone> {
        if self.is_ending() {
            return Err(NotDone::NotOpen);
        }
        let message = message(self)?;
        let except = how.not_to_self.then_some(self.id);
        let from = Some(self.hub.author(self.id));
        Ok(Publication { message, key: how.key, except, from })
    }
}

/// One connection with all that it may use for the length of a turn.
pub struct Turn<'a> {
    /// What a handler may use as well.
    pub work: Work<'a>,
    /// What the connection's service lets it have.
    pub limits: ServiceLimits,
    /// What routes offer.
    pub services: &'a mut Services,
    /// What listeners say.
    pub profiles: &'a mut Profiles,
    /// What is known of clients by what is between: their certificates, and what proxies say.
    pub transports: &'a Transports,
    /// Who the peer is, as long as nothing is spoken and if that is asked for anywhere.
    pub peer: Peer,
    /// What inflates.
    pub inflating: &'a mut Inflating,
    /// What clients have left of what they may send.
    pub allotments: &'a mut Allotments,
    /// What connections are counted by.
    pub turnstile: &'a mut Turnstile,
    /// What the shard counts.
    pub counters: &'a mut Counters,
    /// How many bytes may yet be inflated in this turn of the shard's loop, or be worth what else
    /// is much work for few bytes.
    pub input_budget: &'a mut usize,
    /// Where a request head is put together.
    pub head: &'a mut [u8],
    /// The longest request head, in bytes.
    pub head_max: usize,
    /// Nobody more can open: all places are taken, or the shard drains.
    pub is_full: bool,
    /// The shard drains.
    pub drains: bool,
    /// Something is said of a request that is refused.
    pub tells_refusals: bool,
    /// Something is said of each one that is not.
    pub tells_answers: bool,
    /// What the shard had received before this turn, in messages.
    pub heard_before: u64,
    /// What is left to do.
    pub left: Finished,
}

impl<'a> Turn<'a> {
    /// The certificate that the client has shown, if it has.
    #[must_use]
    pub fn client_certificate(&self) -> Option<&'a PeerCertificate> {
        self.transports.tls.peer(self.work.id.slot)
    }

    /// What a proxy has said of the client, if it has.
    #[must_use]
    pub fn proxy_facts(&self) -> Option<&'a ProxyFacts> {
        self.transports.proxied.facts(self.work.id.slot)
    }

    /// Whose turn it is.
    pub fn connection(&mut self) -> &mut Connection {
        self.work.output.connection
    }

    /// What its listener says.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profiles[self.work.output.connection.profile]
    }

    /// The connection runs under this service from here on.
    pub fn change_service(&mut self, service: ServiceId) {
        let connection = &mut *self.work.output.connection;
        self.services.change(connection.service, service);
        connection.service = service;
        self.limits = self.profile().limits(service, &self.services[service]);
        self.work.output.backlog_limit = self.limits.backlog;
    }

    /// The connection is to end for this, unless it is to end for something else already.
    pub fn fail(&mut self, failing: Failing) {
        self.work.failing.get_or_insert(failing);
    }

    /// Adds to what must be whole, or fails for want of memory.
    ///
    /// # Errors
    /// There is none.
    pub fn gather(&mut self, half: Half, span: Span) -> Result<(), Full> {
        let Output { connection, pool, .. } = &mut self.work.output;
        let kept = match half {
            Half::Message => &mut connection.gathered,
            Half::Control => &mut connection.control,
        };
        let gathered = gathered::append(kept, Share::Gathered, pool, span);
        if gathered.is_err() {
            self.fail(Failing::NoMemory);
        }
        gathered
    }

    /// Gives up what is half received, unless the kernel is still writing to it.
    pub fn forget_input(&mut self) {
        let Output { connection, pool, .. } = &mut self.work.output;
        gathered::release(&mut connection.control, pool.blocks);
        if connection.states.reading() != Reading::ReceivingInto {
            gathered::release(&mut connection.gathered, pool.blocks);
        }
    }

    /// Hands what is left to do back to the shard.
    #[must_use]
    pub fn finish(self) -> Finished {
        let Work { mut output, said, .. } = self.work;
        output.remember_choke();
        self.counters.messages_out += said.messages;
        self.counters.bytes_out += said.bytes;
        let messages_in = self.counters.messages_in - self.heard_before;
        let traffic = Traffic { messages_in, said };
        Finished { spot: output.spot, staged: output.staged, traffic, ..self.left }
    }
}
