//! What shards send each other.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::delivery::{Delivery, Who};
use super::door::Reply;
use super::history::Portion;
use super::presence::Roll;
use super::recoveries::Key;
use super::{Errand, Finding, Form, Message, Outcome, Past, Publication, Why};
use crate::kernel::Peer;
use crate::names::{Address, ConnectionId, Name, Position};

/// One piece of mail. Two words, so that a mailbox is small.
pub(crate) enum Mail {
    /// Another thread asks for something, or a handler does of what others have.
    Ask(Box<Ask>),
    /// From a shard to all shards: what concerns all connections.
    Everywhere(Box<Ask>),
    /// To a topic's home: publish.
    Publish(Box<ToPublish>),
    /// To a topic's home: a connection has subscribed.
    Joined(Box<Joined>),
    /// To a topic's home: a subscription has ended.
    Left(Box<Left>),
    /// From a topic's home: where a new subscriber stands.
    Standing(Box<Standing>),
    /// To a topic's home: a subscriber wants the next portion of what it missed.
    Fetch(Box<Fetch>),
    /// From a topic's home: that portion.
    Recovered(Box<Recovered>),
    /// From a topic's home: the topic has no room for this subscriber.
    Denied(Box<Denied>),
    /// From a topic's home: a subscription has ended, and everything of it was sent before this.
    Ended(Box<Unsubscribed>),
    /// To a topic's home: a handler asks for something, and wants to know what comes of it.
    Inquiry(Box<Inquiry>),
    /// From a topic's home: for its subscribers.
    Deliver(Arc<Delivery>),
    /// From a topic's home: for its subscribers, but not to be told to their peers.
    Order(Arc<Order>),
    /// For a connection.
    Direct(Box<Direct>),
    /// To a shard that has room: a connection that was accepted by one that has none.
    Handed(Box<Handed>),
}

const _: () = assert!(size_of::<Mail>() <= 16);

/// An errand, and what to call with the answer.
pub(crate) struct Ask {
    pub(crate) errand: Errand,
    pub(crate) reply: Reply,
}

pub(crate) struct ToPublish {
    pub(crate) name: Name,
    pub(crate) hash: u64,
    pub(crate) publication: Publication,
}

pub(crate) struct Joined {
    pub(crate) name: Name,
    pub(crate) hash: u64,
    pub(crate) address: Address,
    /// Of the subscription.
    pub(crate) serial: u32,
    pub(crate) participant: Participant,
    /// How it wants messages.
    pub(crate) form: Form,
    /// It waits to be told where it stands.
    pub(crate) waits: bool,
    /// What it wants to be told first of what was published before.
    pub(crate) past: Option<Past>,
    /// The number of the command that asked for it, which is answered by where it stands.
    pub(crate) tag: Option<u32>,
    /// It is subscribed already, and wants to know once more where it stands: nothing else changes.
    pub(crate) again: bool,
    /// It takes the place of a subscription of the same connection that wanted messages so.
    pub(crate) replaces: Option<Form>,
    /// What it is told that it can be asked for with again.
    pub(crate) resume: Option<Box<str>>,
}

pub(crate) struct Left {
    pub(crate) name: Name,
    pub(crate) hash: u64,
    pub(crate) address: Address,
    pub(crate) participant: Participant,
    /// As it was when it joined.
    pub(crate) form: Form,
    /// The number of the command that asked for it, which is answered once all is sent that was on
    /// its way.
    pub(crate) tag: Option<u32>,
}

/// A subscription that could not be.
pub(crate) struct Denied {
    pub(crate) whose: Subscribed,
    /// The number of the command that asked for it.
    pub(crate) tag: Option<u32>,
}

/// A subscription that has ended.
pub(crate) struct Unsubscribed {
    pub(crate) whose: Subscribed,
    /// The number of the command that asked for that.
    pub(crate) tag: u32,
}

/// What a handler asks for a connection, of the home of the topic that it concerns.
pub(crate) struct Inquiry {
    pub(crate) errand: Errand,
    pub(crate) asker: Address,
    /// Comes back with the answer; without one, it is answered only if nothing was done.
    pub(crate) tag: Option<u32>,
}

/// Who is present by a subscription: by name, for others are told it.
pub(crate) enum Participant {
    User(Name),
    /// Of no user.
    Connection(ConnectionId),
}

/// One subscription that is told of its topic's past.
#[derive(Clone)]
pub(crate) struct Subscribed {
    pub(crate) name: Name,
    pub(crate) hash: u64,
    pub(crate) address: Address,
    /// Of the subscription, which may have ended, and another begun.
    pub(crate) serial: u32,
}

/// Where a new subscriber stands.
pub(crate) struct Standing {
    pub(crate) whose: Subscribed,
    /// `None` if the topic counts none.
    pub(crate) position: Option<Position>,
    /// What it missed is no longer kept, or not all of it.
    pub(crate) gap: bool,
    /// It missed something that is kept: what is behind this.
    pub(crate) behind: Option<Position>,
    /// How many messages that is, as things stand.
    pub(crate) replay: u64,
    /// Who is present, if that is kept.
    pub(crate) present: Option<Roll>,
    /// The number of the command that asked for the subscription.
    pub(crate) tag: Option<u32>,
    /// It was subscribed before.
    pub(crate) again: bool,
    /// What it may be asked for with again, if somebody outside has asked for it.
    pub(crate) resume: Option<Box<str>>,
}

/// A subscriber wants the next portion of what is kept behind a message.
pub(crate) struct Fetch {
    pub(crate) whose: Subscribed,
    pub(crate) behind: Position,
}

/// A portion of what a subscriber missed.
pub(crate) struct Recovered {
    pub(crate) whose: Subscribed,
    /// Where the topic stood when it was put together; `None` if it counts none.
    pub(crate) position: Option<Position>,
    pub(crate) portion: Portion,
}

/// Something to do with all subscribers of a topic.
pub(crate) struct Order {
    pub(crate) topic: Name,
    pub(crate) hash: u64,
    pub(crate) what: Instruction,
}

/// What an order says.
#[derive(Clone)]
pub(crate) enum Instruction {
    /// Close the connections.
    Close(Why),
    /// End the subscription that the order is for.
    End,
    /// Subscribe to another topic.
    Subscribe(Name),
    /// Unsubscribe from another topic.
    Unsubscribe(Name),
}

/// A connection that was accepted, and of which nothing was read.
pub(crate) struct Handed {
    pub(crate) socket: OwnedFd,
    pub(crate) peer: Peer,
    /// By which listener, by its number among all that there ever were.
    pub(crate) listener: u16,
}

/// What is for one connection.
pub(crate) struct Direct {
    pub(crate) address: Address,
    pub(crate) what: Single,
}

/// What it is.
pub(crate) enum Single {
    Publish(Publication),
    Do(Instruction),
    /// For its handler.
    Tell(Arc<Message>),
    /// For its handler: what has come of what it asked about a topic.
    Answered {
        tag: Option<u32>,
        topic: Name,
        outcome: Outcome,
    },
    /// For the handler of its request, which is undecided: what was found out in this round; `None`
    /// once that is told.
    Found(u32, Option<Finding>),
}

impl Joined {
    /// The subscription.
    pub(crate) fn whose(&self) -> Subscribed {
        let Self { name, hash, address, serial, .. } = self;
        Subscribed { name: name.clone(), hash: *hash, address: *address, serial: *serial }
    }
}

impl Subscribed {
    /// Its cursor's.
    pub(crate) fn key(&self) -> Key {
        (self.address.slot, self.hash)
    }
}

impl Participant {
    /// Of this user, or else this connection.
    pub(crate) fn new(user: Option<Name>, id: ConnectionId) -> Self {
        user.map_or(Self::Connection(id), Self::User)
    }

    /// As it is told.
    pub(crate) fn who(&self) -> Who {
        match self {
            Self::User(name) => Who::User(name.clone()),
            Self::Connection(id) => Who::Connection(id.to_string().into()),
        }
    }
}
