//! The way into the hub for other threads: the control thread, an embedding program.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use bytes::Bytes;
use siphasher::sip::SipHasher13;
use siphasher::sip128::{self, Hasher128};

use super::mail::{Ask, Mail};
use super::{
    Author, Content, Errand, Finding, Hashed, Identity, Message, MessageMemory, NotDone, Outcome,
    Publication, Repeatable, Settings, Target,
};
use crate::mailbox::{Entrance, Unsent};
use crate::names::{Address, ConnectionId, Name, Node, Ticket};

/// Who is told what came of an errand, once: on a shard's thread, which must not wait for anything.
/// If the errand comes to nothing because its shard has ended, so that is what is told.
pub(crate) struct Reply(Option<Box<dyn FnOnce(Outcome) + Send>>);

impl Reply {
    pub(crate) fn to(whom: impl FnOnce(Outcome) + Send + 'static) -> Self {
        Self(Some(Box::new(whom)))
    }

    /// Nobody wants to know.
    pub(crate) fn unheard() -> Self {
        Self(None)
    }

    /// Whether somebody wants to know.
    pub(crate) fn is_heard(&self) -> bool {
        self.0.is_some()
    }

    /// Tells what came of it.
    pub(crate) fn say(mut self, outcome: Outcome) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: Outcome) {
        if let Some(whom) = self.0.take() {
            whom(outcome);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        // What fails once more while a thread fails would end the process without its message.
        if !std::thread::panicking() {
            self.tell(Outcome::NotDone(NotDone::Ended));
        }
    }
}

/// What names are hashed with, the same in all shards; drawn at the start, so that nobody can
/// choose names that collide.
#[derive(Clone, Copy, Debug)]
pub struct Seed(pub [u64; 2]);

/// What all shards of a gateway, and its door, know of each other.
#[derive(Clone)]
pub struct Common {
    /// Which gateway this is.
    pub node: Node,
    /// What messages may hold.
    pub memory: Arc<MessageMemory>,
    /// Bytes of the largest message that may be published from outside.
    pub max_message: u32,
    /// Places names.
    pub(crate) seed: Seed,
    /// How many shards there are.
    pub(crate) shards: usize,
    /// How many shards have said that publishers should pause.
    pub(crate) pressing: Arc<AtomicU32>,
    /// How many shards have said that very much of their mail waits.
    pub(crate) overfull: Arc<AtomicU32>,
    /// How many connections more each shard could serve.
    pub(crate) room: Arc<[AtomicU32]>,
    /// How many connections are on their way to each shard from others, or wait there for a slot.
    pub(crate) handed: Arc<[AtomicU32]>,
}

impl Common {
    /// For a gateway of `shards` shards.
    #[must_use]
    pub fn new(settings: &Settings, identity: Identity, shards: usize) -> Self {
        let zeros = || (0..shards).map(|_| AtomicU32::new(0)).collect();
        Self {
            node: identity.node,
            memory: Arc::new(MessageMemory::new(settings.messages)),
            max_message: settings.max_message,
            seed: identity.seed,
            shards,
            pressing: Arc::default(),
            overfull: Arc::default(),
            room: zeros(),
            handed: zeros(),
        }
    }

    /// A name with its hash.
    pub(crate) fn hashed<'n>(&self, name: &'n Name) -> Hashed<'n> {
        Hashed { hash: self.hash(name.as_str()), name }
    }

    /// The hash of a name, which is the same in all shards.
    pub(crate) fn hash(&self, name: &str) -> u64 {
        let Seed([one, other]) = self.seed;
        let mut hasher = SipHasher13::new_with_keys(one, other);
        name.hash(&mut hasher);
        hasher.finish()
    }

    /// What an idempotency key goes by, with the topic and whose it is, and whose it is.
    pub(crate) fn repeatable(&self, topic: &Name, from: Option<&Author>, key: &str) -> Repeatable {
        let Seed([one, other]) = self.seed;
        let whose = (from.is_some(), from.and_then(Author::user));
        let mut hasher = sip128::SipHasher13::new_with_keys(one, other);
        (topic.as_str(), whose, key).hash(&mut hasher);
        let mut of_whom = SipHasher13::new_with_keys(one, other);
        whose.hash(&mut of_whom);
        Repeatable { key: hasher.finish128().as_u128(), whose: of_whom.finish() }
    }

    /// The hash of a topic, by its own hash, and a key.
    pub(crate) fn conflation(&self, topic: u64, key: Option<&Name>) -> u64 {
        let Seed([one, other]) = self.seed;
        let mut hasher = SipHasher13::new_with_keys(one, other);
        (topic, key.map(Name::as_str)).hash(&mut hasher);
        hasher.finish()
    }

    /// Where the connection of an id lives; `None` if it is of another gateway or of an earlier
    /// start. Whether it is still there, its shard knows.
    pub(crate) fn locate(&self, id: ConnectionId) -> Option<Address> {
        let ConnectionId { node, shard, slot, generation } = id;
        let is_ours = node == self.node && usize::from(shard) < self.shards;
        is_ours.then_some(Address { shard, slot, generation })
    }

    /// The shard that is the home of a name with this hash.
    pub(crate) fn home(&self, hash: u64) -> usize {
        // The high half: hash tables place by the others.
        (((hash >> 32) * self.shards as u64) >> 32) as usize
    }
}

/// The way into the hub from other threads; cheap to clone, usable from any thread. Nothing here
/// waits.
///
/// ```no_run
/// use tidegate::hub::{Cause, Door, Errand, Outcome, Target};
/// use tidegate::names::{ConnectionId, Name};
///
/// // The door is that of a gateway: `Gateway::door`.
/// fn announce(door: &Door, news: Name) {
///     // What came of it is told on a shard's thread, which must not wait for anything.
///     door.publish(Target::Topic(news), "hello", |outcome| {
///         if let Outcome::Published(published) = outcome {
///             println!("it is for {} connections", published.connections);
///         }
///     });
/// }
///
/// fn send_away(door: &Door, who: ConnectionId) {
///     let why = Cause::Forbidden.saying("not here");
///     door.ask(Errand::Disconnect(Target::Connection(who), why), |_| {});
/// }
/// ```
#[derive(Clone)]
pub struct Door {
    entrance: Entrance<Mail>,
    common: Common,
}

impl Door {
    pub(crate) fn new(entrance: Entrance<Mail>, common: Common) -> Self {
        Self { entrance, common }
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.common.shards
    }

    /// What messages hold and may hold.
    #[must_use]
    pub fn memory(&self) -> &MessageMemory {
        &self.common.memory
    }

    /// Bytes of the largest message that may be published.
    #[must_use]
    pub fn max_message(&self) -> u32 {
        self.common.max_message
    }

    /// A message to publish: a text, bytes, or a [`Content`] of either. See [`Message::new`] for
    /// what is copied.
    ///
    /// # Errors
    /// [`NotDone::TooLarge`] or [`NotDone::Busy`].
    pub fn message(&self, content: impl Into<Content>) -> Result<Arc<Message>, NotDone> {
        let content = content.into();
        if content.as_bytes().len() > self.common.max_message as usize {
            return Err(NotDone::TooLarge);
        }
        Message::new(content, &self.common.memory)
    }

    /// Asks whom it concerns; `reply` is called once, on a shard's thread, or on this one if the
    /// errand is not sent. It must not wait for anything. What concerns all connections is passed
    /// on to all shards, and answered once, with the sum.
    ///
    /// Of a shard that has ended the answer is [`NotDone::Ended`], before this returns: a `reply`
    /// that asks again for that goes round for ever. Only where a shard's thread panics is a
    /// `reply` that waits there dropped without being called.
    ///
    /// [`Errand::Connections`], [`Errand::Ends`], [`Errand::Topics`] and
    /// [`Errand::LargestTopics`] are for
    /// [`Door::ask_shard`], and go to the first shard here.
    pub fn ask(&self, errand: Errand, reply: impl FnOnce(Outcome) + Send + 'static) {
        match self.whom(&errand) {
            Ok(shard) => self.ask_shard(shard, errand, reply),
            Err(not_done) => reply(Outcome::NotDone(not_done)),
        }
    }

    /// Publishes a message, as nobody's, without a key: a text, bytes, or a [`Content`] of either.
    /// `reply` is as for [`Door::ask`]; see [`Door::message`] for how large it may be, and what is
    /// copied. [`Errand::Publish`] may say more.
    pub fn publish(
        &self,
        target: Target,
        content: impl Into<Content>,
        reply: impl FnOnce(Outcome) + Send + 'static,
    ) {
        match self.message(content) {
            Ok(message) => self.ask(Errand::Publish(target, Publication::new(message)), reply),
            Err(not_done) => reply(Outcome::NotDone(not_done)),
        }
    }

    /// Tells the handler of a connection something, which counts as a message on its way until
    /// then: see [`Door::message`] for how large it may be, and what is copied. `reply` is as for
    /// [`Door::ask`]. What is told by one thread to one connection arrives in order.
    /// [`NotDone::Unknown`]: a protocol of the program's own is spoken on it, which has no handler.
    /// [`NotDone::NotOpen`]: it is not open, or the body of a response is sent on it.
    pub fn tell(
        &self,
        id: ConnectionId,
        what: impl Into<Bytes>,
        reply: impl FnOnce(Outcome) + Send + 'static,
    ) {
        match self.message(Content::bytes(what)) {
            Ok(message) => self.ask(Errand::Tell(id, message), reply),
            Err(not_done) => reply(Outcome::NotDone(not_done)),
        }
    }

    /// Tells the handler of a request that is undecided what was found out, so that it decides;
    /// `reply` is as for [`Door::ask`]. [`NotDone::Gone`]: the ticket was used before, or the
    /// request has ended: its peer has left, or its time was over. [`Outcome::Untold`]: the shard
    /// has too much mail; here is what was found out, to be told again in a moment, while the
    /// request has time. What it holds is the program's own, and on no line of the bill: a shard
    /// has as many at a time as a mailbox has places, and as many that it has taken in.
    pub fn found(
        &self,
        ticket: Ticket,
        what: impl Any + Send,
        reply: impl FnOnce(Outcome) + Send + 'static,
    ) {
        self.ask(Errand::Found(ticket, Finding::new(what)), reply);
    }

    /// Asks one shard; `reply` is as for [`Door::ask`].
    ///
    /// # Panics
    /// There is no such shard: `shard` is not below [`Door::shards`].
    pub fn ask_shard(
        &self,
        shard: usize,
        errand: Errand,
        reply: impl FnOnce(Outcome) + Send + 'static,
    ) {
        let ask = Box::new(Ask { errand, reply: Reply::to(reply) });
        // With an end of the shard the reply is told by itself.
        if let Err(Unsent::Full(Mail::Ask(ask))) = self.entrance.send(shard, Mail::Ask(ask)) {
            let Ask { errand, reply } = *ask;
            reply.say(match errand {
                Errand::Found(_, finding) => Outcome::Untold(finding),
                _ => Outcome::NotDone(NotDone::Busy),
            });
        }
    }

    /// The shard that an errand concerns.
    fn whom(&self, errand: &Errand) -> Result<usize, NotDone> {
        match errand {
            Errand::Publish(target, _)
            | Errand::Subscribe(target, _)
            | Errand::Unsubscribe(target, _)
            | Errand::Disconnect(target, ..) => match target {
                Target::Connection(id) => self.shard_of(*id),
                Target::User(name) => Ok(self.home(&name.of_user())),
                Target::Topic(name) => Ok(self.home(name)),
                Target::All => Ok(0),
            },
            Errand::Connection(id)
            | Errand::Tell(id, _)
            | Errand::Trace(id, _)
            | Errand::Renew(id, _) => self.shard_of(*id),
            Errand::Found(ticket, _) => self.shard_of(ticket.connection),
            Errand::DestroyTopic(topic)
            | Errand::PublishOnce(topic, ..)
            | Errand::Topic(topic)
            | Errand::Presence { topic, .. }
            | Errand::History { topic, .. } => Ok(self.home(topic)),
            Errand::Connections { .. }
            | Errand::Ends { .. }
            | Errand::Topics { .. }
            | Errand::LargestTopics { .. } => Ok(0),
        }
    }

    fn home(&self, name: &Name) -> usize {
        self.common.home(self.common.hash(name.as_str()))
    }

    fn shard_of(&self, id: ConnectionId) -> Result<usize, NotDone> {
        let address = self.common.locate(id).ok_or(NotDone::Gone)?;
        Ok(address.shard.into())
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Door").field("shards", &self.shards()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::super::open;
    use super::*;
    use crate::kernel::Waker;

    #[test]
    fn ids_of_another_gateway_or_start_have_no_address() {
        let node = Node { number: 3, start: 1 };
        let common = Common::new(&Settings::small(), Identity { node, seed: Seed([1, 2]) }, 2);
        let id = ConnectionId { node, shard: 1, slot: 7, generation: 9 };
        let address = Address { shard: 1, slot: 7, generation: 9 };
        assert_eq!(common.locate(id), Some(address));
        assert_eq!(common.locate(ConnectionId { node: Node { number: 4, ..node }, ..id }), None);
        assert_eq!(common.locate(ConnectionId { node: Node { start: 2, ..node }, ..id }), None);
        assert_eq!(common.locate(ConnectionId { shard: 2, ..id }), None, "no such shard");
    }

    #[test]
    fn who_asks_is_answered_though_the_mailbox_is_full_or_the_shard_ends() {
        let wakers = [Waker::new().expect("a descriptor")];
        let identity = Identity { node: Node { number: 0, start: 1 }, seed: Seed([1, 2]) };
        let (hubs, door) = open(&Settings::small(), identity, &wakers);
        let connection = ConnectionId { node: identity.node, shard: 0, slot: 0, generation: 0 };
        let ticket = Ticket { connection, round: 1 };
        let (tell, told) = channel();
        let found = |what: u32| {
            let tell = tell.clone();
            door.found(ticket, what, move |outcome| tell.send(outcome).expect("it is heard"));
        };
        let places = (0..).take_while(|what| {
            found(*what);
            match told.try_recv() {
                Ok(Outcome::Untold(finding)) => assert_eq!(finding.take(), Some(*what)),
                Ok(other) => panic!("{other:?}"),
                Err(_) => return true,
            }
            false
        });
        let places = places.count();
        assert_eq!(places, Settings::small().mailbox as usize);
        drop(hubs);
        let ended = |outcome: &Outcome| matches!(outcome, Outcome::NotDone(NotDone::Ended));
        let answers: Vec<Outcome> = told.try_iter().collect();
        assert!(answers.len() == places && answers.iter().all(ended), "{answers:?}");
        found(0);
        assert!(ended(&told.try_recv().expect("an answer")));
    }

    #[test]
    fn what_a_handler_is_told_counts_as_a_message_until_then() {
        let wakers = [Waker::new().expect("a descriptor")];
        let identity = Identity { node: Node { number: 0, start: 1 }, seed: Seed([1, 2]) };
        let settings = Settings { messages: 6000, ..Settings::small() };
        let (hubs, door) = open(&settings, identity, &wakers);
        let id = ConnectionId { node: identity.node, shard: 0, slot: 0, generation: 0 };
        let (tell, told) = channel();
        let of = |length: usize| {
            let tell = tell.clone();
            door.tell(id, vec![0; length], move |outcome| tell.send(outcome).expect("it is heard"));
            told.try_recv().ok()
        };
        assert!(matches!(of(1025), Some(Outcome::NotDone(NotDone::TooLarge))));
        assert_eq!(door.memory().used(), 0);
        assert!((0..3).all(|_| of(1024).is_none()), "each is on its way");
        assert_eq!(door.memory().used(), 3 * (1024 + 768));
        assert!(matches!(of(1024), Some(Outcome::NotDone(NotDone::Busy))));
        drop(hubs);
        assert_eq!((door.memory().used(), told.try_iter().count()), (0, 3));
    }

    #[test]
    fn conflation_goes_by_topic_and_key() {
        let identity = Identity { node: Node { number: 0, start: 1 }, seed: Seed([1, 2]) };
        let common = Common::new(&Settings::small(), identity, 1);
        let [a, b] = ["a", "b"].map(|key| Name::new(key).expect("a name"));
        let (here, there) = (common.hash("here"), common.hash("there"));
        let of = |topic, key| common.conflation(topic, key);
        assert_eq!(of(here, Some(&a)), of(here, Some(&a)));
        assert_ne!(of(here, Some(&a)), of(there, Some(&a)), "topics are told apart");
        assert_ne!(of(here, Some(&a)), of(here, Some(&b)), "and keys");
        assert_ne!(of(here, Some(&a)), of(here, None), "one without a key as well");
        assert_ne!(of(here, None), of(there, None));
    }
}
