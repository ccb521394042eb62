//! Messages on their way, and how much memory they may hold.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::{Content, Encoded, Form};
use crate::names::{ConnectionId, Name};

/// What a message costs beside its bytes: the records of the message and of its publication, its
/// key, the name of the user who has published it, which may be gone, and its places in mailboxes
/// and queues.
const OVERHEAD: u64 = 768;

/// A message, shared by all that it goes to. It holds the buffer of its content alone, and nothing
/// of that buffer but the content: so its length is what is counted.
#[derive(Debug)]
pub struct Message {
    content: Content,
    memory: Arc<MessageMemory>,
}

/// How much all messages that are on their way, or kept as history, may hold together.
#[derive(Debug)]
pub struct MessageMemory {
    limit: u64,
    used: AtomicU64,
}

/// Why something asked of the hub is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotDone {
    /// There is no such connection any more, or never was.
    Gone,
    /// There is no such topic, or user.
    Unknown,
    /// The connection is closing, or has not finished its opening handshake.
    NotOpen,
    /// The messages on their way hold all the memory that they may, a mailbox is full, or very
    /// much mail waits: try again.
    Busy,
    /// The peer is slow and the policy of its route said no: the message was dropped, or the
    /// connection closed.
    Slow,
    /// The message is larger than `hub.max_message`.
    TooLarge,
    /// Text that is not UTF-8.
    NotUtf8,
    /// What should be JSON is none, or nested too deep.
    NotJson,
    /// The connection has as many subscriptions as it may.
    TooManySubscriptions,
    /// The shard has as many subscriptions or topics as it may.
    Full,
    /// The shard has ended, and with it all that it was asked.
    Ended,
}

impl MessageMemory {
    /// Room for `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { limit, used: AtomicU64::new(0) }
    }

    /// Bytes that are held now.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The most that may be held.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Takes so much, if it is left.
    pub(super) fn take(&self, bytes: u64) -> bool {
        let after = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if after > self.limit {
            self.give_back(bytes);
        }
        after <= self.limit
    }

    /// So much is held no longer.
    pub(super) fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Message {
    /// A message of this content, which is counted in `memory` as long as it lives. Bytes of a
    /// buffer that nobody else holds are not copied; those of a shared one are, for there is no
    /// telling how much that one holds, or for how long.
    ///
    /// # Errors
    /// [`NotDone::Busy`]: no memory is left for it.
    pub fn new(
        content: impl Into<Content>,
        memory: &Arc<MessageMemory>,
    ) -> Result<Arc<Self>, NotDone> {
        let content = content.into();
        Self::counted(content.as_bytes().len(), memory, || content.alone())
    }

    /// A message of `length` bytes, which are copied once there is room for them.
    ///
    /// # Errors
    /// [`NotDone::Busy`]: there is none.
    pub(crate) fn counted(
        length: usize,
        memory: &Arc<MessageMemory>,
        content: impl FnOnce() -> Content,
    ) -> Result<Arc<Self>, NotDone> {
        if !memory.take(Self::cost(length)) {
            return Err(NotDone::Busy);
        }
        Ok(Arc::new(Self { content: content(), memory: Arc::clone(memory) }))
    }

    /// What it says.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// What it says, as bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        self.content.as_bytes()
    }

    fn cost(length: usize) -> u64 {
        length as u64 + OVERHEAD
    }

    /// What it takes of the memory for messages.
    pub(crate) fn held(&self) -> u64 {
        Self::cost(self.bytes().len())
    }

    /// The same as it was encoded for all who want it in this form; `None` if no memory is left.
    pub(crate) fn encoded(&self, form: Form, bytes: Vec<u8>) -> Option<Encoded> {
        Encoded::new(form, bytes, &self.memory)
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.memory.give_back(self.held());
    }
}

/// One message to one target.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The message.
    pub message: Arc<Message>,
    /// Of messages with the same key, a slow peer whose route conflates keeps the newest only.
    /// Without one, all messages of a topic count as having the same.
    pub key: Option<Name>,
    /// Goes to everyone but this connection.
    pub except: Option<ConnectionId>,
    /// The connection that has published it; `None` if none has.
    pub from: Option<Author>,
}

impl Publication {
    /// A message for everybody, without a key, that no connection has published.
    #[must_use]
    pub fn new(message: Arc<Message>) -> Self {
        Self { message, key: None, except: None, from: None }
    }

    /// With a key: of messages with the same, a slow peer whose route conflates keeps the newest.
    #[must_use]
    pub fn with_key(self, key: Name) -> Self {
        Self { key: Some(key), ..self }
    }

    /// It goes to everyone but this connection.
    #[must_use]
    pub fn except(self, id: ConnectionId) -> Self {
        Self { except: Some(id), ..self }
    }

    /// It is told as published by this connection.
    #[must_use]
    pub fn by(self, author: Author) -> Self {
        Self { from: Some(author), ..self }
    }
}

/// Who has published a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    connection: ConnectionId,
    /// The name that stands for its user among the topics, which its shard has: another would have
    /// to be made for each message.
    user_topic: Option<Name>,
}

impl Author {
    /// A connection, which belongs to this user.
    #[must_use]
    pub fn new(connection: ConnectionId, user: Option<&Name>) -> Self {
        Self::known(connection, user.map(Name::of_user))
    }

    /// The same, with the name that stands for the user among the topics.
    pub(crate) fn known(connection: ConnectionId, user_topic: Option<Name>) -> Self {
        Self { connection, user_topic }
    }

    /// The connection.
    #[must_use]
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// The user that it belongs to.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user_topic.as_ref()?.user()
    }
}

// What is said of JSON names the numbers.
const _: () = assert!(Content::JSON_DEPTH_MAX == 64 && Content::JSON_NUMBER_MAX == 64);

impl fmt::Display for NotDone {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Gone => "the connection is gone",
            Self::Unknown => "there is no such topic or user",
            Self::NotOpen => "the connection is not open",
            Self::Busy => "too many messages are on their way: try again in a moment",
            Self::Slow => "the peer is slow, and what its route bounds is full",
            Self::TooLarge => "the message is larger than hub.max_message",
            Self::NotUtf8 => "the text is not UTF-8",
            Self::NotJson => {
                "this is not one JSON value, or not every reader could read it: it is nested more \
                 than 64 deep, has half of a surrogate pair, or a number of more than 64 \
                 characters or beyond 1.8e308"
            }
            Self::TooManySubscriptions => "the connection has as many subscriptions as it may",
            Self::Full => "the shard has as many topics or subscriptions as it may",
            Self::Ended => "the gateway is stopping",
        })
    }
}

impl std::error::Error for NotDone {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_taken_and_given_back() {
        let memory = Arc::new(MessageMemory::new(OVERHEAD + 10));
        let first = Message::new(vec![0; 10], &memory).expect("room");
        assert_eq!(memory.used(), OVERHEAD + 10);
        assert_eq!(Message::new(vec![], &memory).err(), Some(NotDone::Busy));
        drop(first);
        assert_eq!(memory.used(), 0);
    }
}
