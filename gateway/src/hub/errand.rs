//! What other threads ask of a shard's hub, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use super::{Cause, Finding, FreshToken, Message, NotDone, NotRenewed, Past, Publication, Why};
use crate::kernel::Slot;
pub use crate::kernel::{Peer, PeerFilter};
use crate::names::{ConnectionId, Name, Position, Ticket};

/// Whom a message, or an order, is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One connection.
    Connection(ConnectionId),
    /// All connections of a user.
    User(Name),
    /// All subscribers of a topic.
    Topic(Name),
    /// All open connections, of every route.
    All,
}

/// Something to do, or to tell. [`super::Door::ask`] takes it to the shard that it concerns.
#[derive(Debug)]
#[non_exhaustive]
pub enum Errand {
    /// Publish. Answered by [`Outcome::Published`].
    Publish(Target, Publication),
    /// Publish on a topic, unless that was done before with the same key, of 1 to 64 bytes: then
    /// the answer is what was answered before, with [`Published::repeated`]. Keys are those of the
    /// user of the connection that publishes; connections without a user share theirs, and so does
    /// whoever is no connection. Answered by [`Outcome::Published`].
    PublishOnce(Name, Publication, Box<str>),
    /// Subscribe a connection, or all connections that a user has now. Answered by
    /// [`Outcome::Done`]. The target is a connection or a user.
    Subscribe(Target, Name),
    /// Unsubscribe, likewise.
    Unsubscribe(Target, Name),
    /// End all subscriptions of a topic, and forget its history. Answered by [`Outcome::Done`].
    DestroyTopic(Name),
    /// Close connections, also such as are sent the body of a response. Answered by
    /// [`Outcome::Done`].
    Disconnect(Target, Why),
    /// Tell the handler of a WebSocket connection something, which comes as an event. Answered by
    /// [`Outcome::Done`].
    Tell(ConnectionId, Arc<Message>),
    /// Tell the handler of a request that is undecided what was found out. Answered by
    /// [`Outcome::Done`] once it has been told, with [`NotDone::Gone`] if nobody waits for it any
    /// more, or by [`Outcome::Untold`] if the mailbox is full.
    Found(Ticket, Finding),
    /// Have this token take the place of the one by which a connection was let in. It is checked as
    /// that was, and has to be of the same issuer and user. Answered by [`Outcome::Renewed`] or
    /// [`Outcome::NotRenewed`], once it is verified.
    Renew(ConnectionId, FreshToken),
    /// Tell about a connection. Answered by [`Outcome::Connection`].
    Connection(ConnectionId),
    /// Tell in the log of each frame of a WebSocket connection, for so long, or of each piece of
    /// one that does not come at once: what kind it is of and how long, nothing of what is in it.
    /// Of each shard eight at once: for one more the one goes that would end first. Answered by
    /// [`Outcome::Done`]; [`NotDone::NotOpen`] if something else is spoken on it.
    Trace(ConnectionId, Duration),
    /// Tell about connections of this shard, from this slot on. Answered by
    /// [`Outcome::Connections`].
    Connections {
        /// Where to begin.
        from: Slot,
        /// Which ones.
        filter: ConnectionFilter,
        /// The most to tell about.
        limit: usize,
    },
    /// Tell about the last connections of this shard that have ended, the latest first. Answered by
    /// [`Outcome::Ends`].
    Ends {
        /// Which ones.
        filter: EndFilter,
        /// The most to tell about.
        limit: usize,
    },
    /// Tell about topics whose home is this shard. Answered by [`Outcome::Topics`].
    Topics {
        /// Where to begin: 0, or what an earlier answer said.
        from: u32,
        /// Only those whose name begins so.
        prefix: String,
        /// The most to tell about.
        limit: usize,
    },
    /// The largest of some topics whose home is this shard, the largest first. Answered by
    /// [`Outcome::Topics`], which says where to go on if there are more to look at.
    LargestTopics {
        /// Where to begin: 0, or what an earlier answer said.
        from: u32,
    },
    /// Tell about a topic. Answered by [`Outcome::Topics`], with one.
    Topic(Name),
    /// Who is on a topic. Answered by [`Outcome::Presence`].
    Presence {
        /// The topic.
        topic: Name,
        /// The most to tell.
        limit: usize,
    },
    /// What was published on a topic, as far as it is kept. Answered by [`Outcome::History`].
    History {
        /// The topic.
        topic: Name,
        /// Which of it; without, all that is kept.
        past: Option<Past>,
        /// The most to tell.
        limit: usize,
    },
}

impl Errand {
    /// The one topic whose home does what is asked; `None` if it is no topic that does.
    pub(crate) fn topic(&self) -> Option<&Name> {
        match self {
            Self::Publish(Target::Topic(topic), _)
            | Self::PublishOnce(topic, ..)
            | Self::Topic(topic)
            | Self::Presence { topic, .. }
            | Self::History { topic, .. } => Some(topic),
            _ => None,
        }
    }
}

/// Which connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionFilter {
    /// Only this user's.
    pub user: Option<Name>,
    /// Only those that are subscribed to this topic.
    pub topic: Option<Name>,
    /// Only those of the route of this index in the configuration.
    pub route: Option<u16>,
    /// Only those from this address, or of this kind.
    pub address: Option<PeerFilter>,
}

/// Which ends of connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndFilter {
    /// Only of this connection.
    pub connection: Option<ConnectionId>,
    /// Only of this user's connections.
    pub user: Option<Name>,
    /// Only of those from this address, or of this kind.
    pub address: Option<PeerFilter>,
    /// Only those for this reason, in the word that the log has for it.
    pub reason: Option<&'static str>,
}

/// What is answered.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// It was not done.
    NotDone(NotDone),
    /// What was found out about a request was not told, because a mailbox is full: it comes back.
    Untold(Finding),
    /// It is published.
    Published(Published),
    /// It is done, for so many connections.
    Done(u64),
    /// The connection has the fresh token: until when that holds, counted from 1970, if it ends.
    Renewed(Option<Duration>),
    /// It has the one that it had: why.
    NotRenewed(NotRenewed),
    /// The connection.
    Connection(Box<ConnectionInfo>),
    /// Connections, and the slot to go on from; `None` if these were the last.
    Connections(Vec<ConnectionInfo>, Option<Slot>),
    /// Connections that have ended, the latest first.
    Ends(Vec<EndInfo>),
    /// Topics, and where to go on from; `None` if these were the last.
    Topics(Vec<TopicInfo>, Option<u32>),
    /// Who is on the topic.
    Presence(Presence),
    /// What was asked for of the topic's history.
    History(Excerpt),
}

/// What became of a message that was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// How many connections it is for. With several shards, as of the moment that it was given its
    /// place in the topic's order.
    pub connections: u64,
    /// Its place in the topic's order, if the target is a topic.
    pub position: Option<Position>,
    /// It was published before, with the same key.
    pub repeated: bool,
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Its id.
    pub id: ConnectionId,
    /// The index of its route in the configuration, if it is there still.
    pub route: Option<u16>,
    /// The peer, where it is kept: on routes of the hub, and where a listener logs.
    pub peer: Peer,
    /// The user.
    pub user: Option<Name>,
    /// Topics that it is subscribed to: all of them from [`Errand::Connection`], and up to 20
    /// from [`Errand::Connections`].
    pub topics: Vec<Name>,
    /// How many topics it is subscribed to.
    pub topics_total: u32,
    /// When its opening handshake was done, in seconds since 1970; where it is kept: on routes of
    /// the hub.
    pub connected_at: Option<u64>,
    /// When something came from the peer last, in seconds since 1970, as far as it is known.
    pub active_at: Option<u64>,
    /// Bytes that wait for the peer to take them.
    pub backlog: u32,
    /// What was heard and said on it, where its listener logs.
    pub account: Option<AccountInfo>,
}

/// A connection that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndInfo {
    /// Its id.
    pub id: ConnectionId,
    /// The index of its route in the configuration.
    pub route: Option<u16>,
    /// The peer, where it is kept: on routes of the hub, and where a listener logs.
    pub peer: Peer,
    /// The user.
    pub user: Option<Name>,
    /// Why, in the word that the log has for it.
    pub reason: &'static str,
    /// The peer began it.
    pub by_peer: bool,
    /// What its last word said, if there was one.
    pub cause: Option<Cause>,
    /// When, counted from 1970.
    pub at: Duration,
    /// How long it was open, where that is kept, likewise.
    pub open_for: Option<Duration>,
}

/// What was heard and said on a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountInfo {
    /// What its request calls the peer's program (`User-Agent`), its first 128 bytes.
    pub agent: Option<Box<str>>,
    /// Messages that were received.
    pub messages_in: u64,
    /// Bytes that were received.
    pub bytes_in: u64,
    /// Messages that were sent, or wait to be.
    pub messages_out: u64,
    /// Payload bytes of these; of what was published with their frames' headers.
    pub bytes_out: u64,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: Name,
    /// How many connections are subscribed, on all shards.
    pub subscribers: u64,
    /// The position of the message that was published last; `None` if no history is kept, and so
    /// no positions are counted.
    pub position: Option<Position>,
    /// How many messages are kept as history.
    pub kept: u64,
    /// How many are present; `None` if presence is not kept for the topic.
    pub present: Option<u64>,
}

/// Who is on a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Those who are told about.
    pub members: Vec<Present>,
    /// How many there are.
    pub total: u64,
}

/// Someone who is on a topic: a user with so many connections, or a connection without a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// The user.
    pub user: Option<Name>,
    /// The connection, if it has no user.
    pub connection: Option<ConnectionId>,
    /// How many connections; 0 for one who has just left and may come back.
    pub connections: u32,
    /// Since when, counted from 1970.
    pub since: Duration,
}

/// What was published on a topic, as far as it was asked for and is kept.
#[derive(Clone, Debug)]
pub struct Excerpt {
    /// The messages, the oldest first.
    pub messages: Vec<Kept>,
    /// The position of the message that was published last.
    pub position: Position,
    /// Messages behind the position that was asked about are no longer kept, or it is of another
    /// epoch.
    pub gap: bool,
}

/// A message that is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its offset.
    pub offset: u64,
    /// When its topic's home took it in, counted from 1970.
    pub time: Duration,
    /// The message.
    pub publication: Arc<Publication>,
}
