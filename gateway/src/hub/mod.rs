//! The hub: publish and subscribe among the connections of all shards.
//!
//! It knows nothing of sockets. Every topic has a *home*: the shard that its name hashes to. The
//! home gives the topic's messages their order, keeps history and presence, and knows which shards
//! have subscribers; each of those gets one pointer to a message through its mailbox, and finds its
//! own subscribers. So a message takes two hops at most, and messages of one publisher to one topic
//! stay in order.
//!
//! A user is a topic as well, with a name that no topic can have: its subscribers are the user's
//! connections.
//!
//! What arrives at a shard is done in order, one after the other: `Hub::next` does what the hub
//! can do by itself and hands out what concerns sockets.

mod delivery;
mod door;
mod history;
mod home;
mod lines;
mod local;
pub(crate) mod mail;
mod message;
mod presence;
mod recoveries;
mod request;
mod rules;
mod settings;
mod tally;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

#[doc(hidden)]
pub use door::{Common, Seed};
pub use door::{Door, Reply};
pub(crate) use message::Compressed;
pub use message::{MessageMemory, Payload, Publication, Refusal};
pub use request::{
    Answer, ConnectionFilter, ConnectionInfo, History, Kept, Peer, Presence, Present, Published,
    Request, Target, TopicInfo,
};

#[doc(hidden)]
pub use rules::Rules;
#[doc(hidden)]
pub use settings::{Identity, Settings};

pub(crate) use delivery::{Delivery, What, subscribed};
pub(crate) use home::{Bounds as HomeBounds, Compress, Home};
pub(crate) use lines::lines;
pub(crate) use local::{Bounds as LocalBounds, Local, Ongoing, Subscriber};
pub(crate) use mail::{
    Ask, Command, Direct, Fetch, Handed, Mail, Order, Recovered, Single, Standing, Subscribed,
};
pub(crate) use recoveries::Recoveries;

use home::Ordered;
use mail::{Joined, Left, ToPublish};
use tally::Tally;

use crate::kernel::{Generation, Slot, Waker};
use crate::mailbox::{self, Counts, Entrance, Post};
use crate::names::{ConnectionId, Name, Position};

/// Bytes of what is kept for each connection.
pub(crate) const MEMBER_BYTES: usize = Local::MEMBER_BYTES;
/// Bytes of a connection that was handed over.
pub(crate) const HANDED_BYTES: usize = size_of::<Handed>();

/// One shard's part of the hub.
#[doc(hidden)]
pub struct Hub {
    common: Common,
    post: Post<Mail>,
    pub(crate) local: Local,
    pub(crate) home: Home,
    /// Those of this shard who came back.
    pub(crate) recoveries: Recoveries,
    /// Messages that connections published.
    published: u64,
    /// Counts subscriptions.
    serial: u32,
    /// This shard has said that publishers should pause.
    is_pressing: bool,
    /// This shard has said that very much of its mail waits.
    is_overfull: bool,
}

/// What is left to do with connections.
pub(crate) enum Work {
    /// Tell the subscribers that this topic has here.
    Deliver(Arc<Delivery>),
    /// Do something with the subscribers that this topic has here.
    Order(Arc<Order>),
    /// Tell all connections.
    PublishToAll(Publication, Reply),
    /// Close all connections.
    CloseAll(tidegate_proto::websocket::code::CloseCode, Arc<str>, Reply),
    /// Do something with one connection, and answer if someone wants to know.
    Direct(Box<Direct>, Option<Reply>),
    /// Tell a new subscriber where it stands.
    Standing(Box<Standing>),
    /// Tell a subscriber more of what it missed.
    Recovered(Box<Recovered>),
    /// The connection cannot be subscribed: its topic has no room at its home.
    Denied(ConnectionId),
    /// Answer a question about connections.
    Tell(Box<Ask>),
    /// Take a connection over that another shard has accepted and has no room for.
    TakeOver(Box<Handed>),
}

/// How a connection subscribes.
#[derive(Clone, Debug, Default)]
pub struct Subscribing {
    /// It wants events: messages with topic and position, joins and leaves, as JSON text; and first
    /// of all where it stands. Otherwise it gets messages as they were published.
    pub events: bool,
    /// The message that it saw last: it wants what was published since. Only with `events`.
    pub since: Option<Position>,
    /// The connection publishes on the topic by sending.
    pub publishes: bool,
    /// The user that the connection belongs to.
    pub(crate) user: Option<Name>,
    /// It can be sent compressed messages.
    pub(crate) deflates: bool,
}

/// The time, by the shard's clock and by the calendar.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: Duration,
    /// Since 1970, as the wall clock stands now.
    pub(crate) calendar: Duration,
}

impl Moment {
    /// The calendar's time at which the shard's clock showed `at`, in seconds since 1970: it is so
    /// long ago, whatever the wall clock showed then.
    pub(crate) fn unix(&self, at: Duration) -> u64 {
        self.calendar.saturating_sub(self.now.saturating_sub(at)).as_secs()
    }
}

/// The hubs of a gateway's shards, one for each waker, and the door to them.
#[doc(hidden)]
#[must_use]
pub fn open(settings: &Settings, identity: Identity, wakers: &[Waker]) -> (Vec<Hub>, Door) {
    let common = Common::new(settings, identity, wakers.len());
    let (posts, entrance) = mailbox::open(wakers, settings.mailbox as usize);
    let make = |post| Hub::new(settings, common.clone(), post);
    let hubs = posts.into_iter().map(make).collect();
    let entrance: Entrance<Mail> = entrance;
    (hubs, Door::new(entrance, common))
}

impl Hub {
    fn new(settings: &Settings, common: Common, post: Post<Mail>) -> Self {
        let local = LocalBounds {
            topics: settings.topics,
            subscriptions: settings.subscriptions,
            per_connection: settings.subscriptions_per_connection,
        };
        let home = HomeBounds {
            topics: settings.topics,
            present: settings.present,
            // What is on its way keeps half of the memory at least.
            history_bytes: settings.messages / 2 / common.shards as u64,
        };
        let epoch = common.node.start ^ (post.index() as u32).wrapping_mul(0x85eb_ca6b);
        Self {
            local: Local::new(local),
            home: Home::new(Arc::clone(&settings.rules), home, epoch),
            recoveries: Recoveries::new(settings.slots),
            common,
            post,
            published: 0,
            serial: 0,
            is_pressing: false,
            is_overfull: false,
        }
    }

    /// How many messages connections have published.
    pub(crate) fn published(&self) -> u64 {
        self.published
    }

    /// What its mailboxes have counted.
    pub(crate) fn mail(&self) -> Counts {
        self.post.counts()
    }

    /// Its mailboxes.
    pub(crate) fn post(&mut self) -> &mut Post<Mail> {
        &mut self.post
    }

    /// What messages hold.
    pub(crate) fn memory(&self) -> &Arc<MessageMemory> {
        &self.common.memory
    }

    /// The id of a connection of this shard.
    pub(crate) fn id(&self, slot: Slot, generation: Generation) -> ConnectionId {
        let shard = self.post.index() as u16;
        ConnectionId { node: self.common.node, shard, slot, generation }
    }

    /// Whether another shard does not keep up with what this one sends it.
    pub(crate) fn is_congested(&self) -> bool {
        self.post.is_congested()
    }

    /// Whether so much mail waits here, or on another shard that has said so, that those who open,
    /// which publishers that are held cannot help, have to wait as well. A topic's home takes in what
    /// comes to it, so only it knows that what it sends on is not taken.
    pub(crate) fn is_overfull(&self) -> bool {
        self.post.is_overfull() || self.common.overfull.load(Ordering::Relaxed) > 0
    }

    /// Whether publishers should be read from no further: messages hold three quarters of what they
    /// may, another shard does not keep up with this one or by far not with some other, or on some
    /// shard so much waits for its connections that it has said so.
    pub(crate) fn is_pressed(&self) -> bool {
        let memory = &self.common.memory;
        memory.used() > memory.limit() / 4 * 3
            || self.post.is_congested()
            || self.common.pressing.load(Ordering::Relaxed) > 0
            || self.common.overfull.load(Ordering::Relaxed) > 0
    }

    /// Moves what waits into the mailboxes, as far as there is room.
    pub(crate) fn flush(&mut self) {
        self.post.flush();
        self.tell_overfull();
    }

    /// Says to all shards that very much of its mail waits, or that it does no longer.
    fn tell_overfull(&mut self) {
        let is_overfull = self.post.is_overfull();
        say(&self.common.overfull, &mut self.is_overfull, is_overfull);
    }

    /// The shard has ended: it has no room, and nobody is to wait for it.
    pub(crate) fn retire(&mut self) {
        self.show_room(0);
        self.press(false);
        say(&self.common.overfull, &mut self.is_overfull, false);
    }

    /// Says to all shards that so much waits for connections of this one that publishers should
    /// pause, or that it does no longer.
    pub(crate) fn press(&mut self, is_pressing: bool) {
        say(&self.common.pressing, &mut self.is_pressing, is_pressing);
    }

    /// Shows the other shards how many connections more this one could serve.
    pub(crate) fn show_room(&self, room: u32) {
        self.common.room[self.post.index()].store(room, Ordering::Relaxed);
    }

    /// Gives a connection to another shard, where a place was claimed for it.
    pub(crate) fn hand_over(&mut self, shard: usize, handed: Handed) {
        self.post.send(shard, Mail::Handed(Box::new(handed)));
    }

    /// A connection that another shard gave to this one has its slot, and the room that this one
    /// shows is without it.
    pub(crate) fn has_taken_over(&self) {
        self.give_place_back(self.post.index());
    }

    /// Nobody comes for a place that was claimed in a shard, or it is taken.
    pub(crate) fn give_place_back(&self, shard: usize) {
        // Who sees this sees the room that was shown before.
        self.common.handed[shard].fetch_sub(1, Ordering::Release);
    }

    /// Claims a place in the other shard that has most room, if any has some. Never are more claimed
    /// than it showed; connections that it accepted itself meanwhile may have taken them.
    pub(crate) fn claim_place(&self) -> Option<usize> {
        let Common { room, handed, shards, .. } = &self.common;
        let left = |shard: &usize| {
            let handed = handed[*shard].load(Ordering::Acquire);
            room[*shard].load(Ordering::Relaxed).saturating_sub(handed)
        };
        let others = (0..*shards).filter(|shard| *shard != self.post.index());
        let shard = others.filter(|shard| left(shard) > 0).max_by_key(left)?;
        let claim = |count| (count < room[shard].load(Ordering::Relaxed)).then_some(count + 1);
        let claimed = handed[shard].fetch_update(Ordering::AcqRel, Ordering::Acquire, claim);
        claimed.is_ok().then_some(shard)
    }

    /// The hash of what conflation goes by: topic and key. Nobody outside knows its seed, so nobody
    /// can make two keys that stand for each other.
    pub(crate) fn conflation(&self, topic: u64, key: Option<&Name>) -> u64 {
        self.common.conflation(topic, key)
    }

    /// Asks a topic's home for the next portion of what a subscriber missed.
    pub(crate) fn fetch(&mut self, whose: Subscribed, behind: Position) {
        let home = self.common.home(whose.hash);
        self.post.send(home, Mail::Fetch(Box::new(Fetch { whose, behind })));
    }

    /// Subscribes a connection of this shard.
    ///
    /// # Errors
    /// A bound is met.
    pub(crate) fn subscribe(
        &mut self,
        id: ConnectionId,
        name: &Name,
        how: Subscribing,
    ) -> Result<(), Refusal> {
        self.serial = self.serial.wrapping_add(1);
        let Self { common, local, .. } = self;
        // On the topic that stands for a user there is nothing to be told first.
        let waits = how.events && name.user().is_none();
        let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
        let flags = flag(how.events, Subscriber::EVENTS)
            | flag(waits, Subscriber::PENDING)
            | flag(how.publishes, Subscriber::PUBLISHES);
        let subscriber = Subscriber::new(id.slot, flags).with_serial(self.serial);
        if !local.subscribe(subscriber, name, &|name| common.hash(name.as_str()))? {
            return Ok(());
        }
        let hash = common.hash(name.as_str());
        let Subscribing { since, user, deflates, events, .. } = how;
        // Events differ from what is published, and are not compressed at the home.
        let deflates = deflates && !events;
        let (name, serial) = (name.clone(), subscriber.serial());
        let joined = Joined { name, hash, id, serial, user, deflates, waits, since };
        self.post.send(common.home(hash), Mail::Joined(Box::new(joined)));
        Ok(())
    }

    /// Ends a subscription of a connection of this shard, which can be sent compressed messages or
    /// not; `false` if there was none.
    pub(crate) fn unsubscribe(&mut self, id: ConnectionId, name: &Name, deflates: bool) -> bool {
        let hash = self.common.hash(name.as_str());
        match self.local.find(hash, name) {
            Some(topic) => self.unsubscribe_topic(id, topic, self.user(id.slot), deflates),
            None => false,
        }
    }

    /// The connection has ended, and its subscriptions with it.
    pub(crate) fn ended(&mut self, id: ConnectionId, deflates: bool) {
        let Some(mut topic) = self.local.any_topic_of(id.slot) else { return };
        // Who has left is known by the subscription to the user's topic, which ends as well.
        let user = self.user(id.slot);
        while self.unsubscribe_topic(id, topic, user.clone(), deflates) {
            match self.local.any_topic_of(id.slot) {
                Some(next) => topic = next,
                None => return,
            }
        }
    }

    /// Whether a connection wants events on some topic.
    pub(crate) fn wants_events(&self, slot: Slot) -> bool {
        let mut topics = self.local.topics_of(slot);
        topics.any(|topic| self.local.subscriber(slot, topic).is_some_and(Subscriber::wants_events))
    }

    /// The topic of this name, if it has subscribers here.
    pub(crate) fn find(&self, name: &Name) -> Option<u32> {
        self.local.find(self.common.hash(name.as_str()), name)
    }

    /// The user that a connection belongs to.
    pub(crate) fn user(&self, slot: Slot) -> Option<Name> {
        let mut topics = self.local.topics_of(slot);
        let user = topics.find_map(|topic| self.local.topic(topic).name.user())?;
        Name::new(user).ok()
    }

    /// The topics that a connection is subscribed to.
    pub(crate) fn topics(&self, slot: Slot) -> Vec<Name> {
        let names = self.local.topics_of(slot).map(|topic| self.local.topic(topic).name.clone());
        names.filter(|name| name.user().is_none()).collect()
    }

    /// The topic that a connection publishes on by sending.
    pub(crate) fn publishing_topic(&self, slot: Slot) -> Option<Name> {
        let publishes =
            |topic: &u32| self.local.subscriber(slot, *topic).is_some_and(Subscriber::publishes);
        let topic = self.local.topics_of(slot).find(publishes)?;
        Some(self.local.topic(topic).name.clone())
    }

    /// Whether a connection publishes by sending.
    pub(crate) fn publishes(&self, slot: Slot) -> bool {
        let mut topics = self.local.topics_of(slot);
        topics.any(|topic| self.local.subscriber(slot, topic).is_some_and(Subscriber::publishes))
    }

    /// Whether a connection is subscribed to a topic.
    pub(crate) fn is_subscribed(&self, slot: Slot, name: &Name) -> bool {
        let topic = self.local.find(self.common.hash(name.as_str()), name);
        topic.is_some_and(|topic| self.local.subscriber(slot, topic).is_some())
    }

    /// Publishes for a connection of this shard. What becomes of it is not told.
    pub(crate) fn publish(&mut self, target: &Target, publication: Publication) {
        self.published += 1;
        match target {
            Target::Topic(name) => self.send_home(name.clone(), publication),
            Target::User(name) => self.send_home(name.of_user(), publication),
            Target::Connection(id) => {
                let what = Single::Publish(publication);
                self.send_direct(Direct { id: *id, what });
            }
            Target::All => {
                let request = Request::Publish(Target::All, publication);
                self.spread(Ask { request, reply: Box::new(|_| {}) });
            }
        }
    }

    /// Closes connections for a handler of this shard.
    pub(crate) fn disconnect(
        &mut self,
        target: &Target,
        code: tidegate_proto::websocket::code::CloseCode,
        reason: &Arc<str>,
    ) {
        if let Target::Connection(id) = target {
            let what = Single::Do(Command::Close(code, Arc::clone(reason)));
            return self.send_direct(Direct { id: *id, what });
        }
        let request = Request::Disconnect(target.clone(), code, Arc::clone(reason));
        let ask = Ask { request, reply: Box::new(|_| {}) };
        let home = match target {
            Target::Topic(name) => self.home_of(name),
            Target::User(name) => self.home_of(&name.of_user()),
            Target::Connection(_) | Target::All => return self.spread(ask),
        };
        self.post.send(home, Mail::Ask(Box::new(ask)));
    }

    /// The next thing that is left to do with connections. Does what the hub can do by itself, up
    /// to `budget` pieces of mail, which count down; `compress` may end it.
    pub(crate) fn next(
        &mut self,
        moment: Moment,
        budget: &Cell<usize>,
        compress: Compress<'_>,
    ) -> Option<Work> {
        let mut work = None;
        while work.is_none() && budget.get() > 0 {
            let Some(mail) = self.post.receive() else { break };
            budget.update(|left| left - 1);
            work = self.handle(mail, moment, compress);
        }
        self.tell_overfull();
        work
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Duration) {
        let Self { common, home, .. } = self;
        for event in home.tick(now, &|name| common.hash(name.as_str())) {
            self.distribute(&event);
        }
    }

    /// Checks the invariants across all that it holds.
    ///
    /// # Panics
    /// One is broken.
    pub(crate) fn check(&self) {
        self.local.check();
        self.home.check();
        self.recoveries.check(|whose| {
            let topic = self.local.find(whose.hash, &whose.name);
            let subscriber = topic.and_then(|topic| self.local.subscriber(whose.id.slot, topic));
            subscriber.is_some_and(|one| one.is_pending() && one.serial() == whose.serial)
        });
    }

    fn handle(&mut self, mail: Mail, moment: Moment, compress: Compress<'_>) -> Option<Work> {
        match mail {
            Mail::Ask(ask) => return self.asked(*ask, moment, compress),
            Mail::Everywhere(ask) => return everywhere(*ask),
            Mail::Publish(publish) => {
                let ToPublish { name, hash, publication } = *publish;
                // A topic that has no room is counted; nobody waits for an answer.
                let _ = self.publish_here((hash, &name), publication, moment, compress);
            }
            Mail::Joined(joined) => self.joined(*joined, moment.now),
            Mail::Left(left) => {
                let Self { common, home, .. } = self;
                let event = home.leave(&left, moment.now, &|name| common.hash(name.as_str()));
                event.iter().for_each(|event| self.distribute(event));
            }
            Mail::Standing(standing) => return Some(Work::Standing(standing)),
            Mail::Fetch(fetch) => {
                let shard = usize::from(fetch.whose.id.shard);
                let recovered = self.home.fetch(*fetch, moment.now);
                self.post.send(shard, Mail::Recovered(Box::new(recovered)));
            }
            Mail::Recovered(recovered) => return Some(Work::Recovered(recovered)),
            Mail::Denied(left) => return Some(Work::Denied(left.id)),
            Mail::Deliver(delivery) => {
                let name = delivery.topic.as_ref()?;
                self.local.find(delivery.hash, name)?;
                return Some(Work::Deliver(delivery));
            }
            Mail::Order(order) => {
                self.local.find(order.hash, &order.topic)?;
                return Some(Work::Order(order));
            }
            Mail::Direct(direct) => return Some(Work::Direct(direct, None)),
            Mail::Handed(handed) => return Some(Work::TakeOver(handed)),
        }
        None
    }

    fn joined(&mut self, joined: Joined, now: Duration) {
        let Self { common, home, .. } = self;
        let shard = usize::from(joined.id.shard);
        match home.join(&joined, now, &|name| common.hash(name.as_str())) {
            Ok((standing, event)) => {
                if joined.waits {
                    self.post.send(shard, Mail::Standing(Box::new(standing)));
                }
                event.iter().for_each(|event| self.distribute(event));
            }
            Err(_) => {
                let Joined { name, hash, id, user, deflates, .. } = joined;
                home.deny(hash, id);
                let left = Left { name, hash, id, user, deflates };
                self.post.send(shard, Mail::Denied(Box::new(left)));
            }
        }
    }

    /// Does what another thread asks for, or what a handler of another shard does.
    fn asked(&mut self, ask: Ask, moment: Moment, compress: Compress<'_>) -> Option<Work> {
        let Ask { request, reply } = ask;
        match request {
            Request::Publish(target, publication) => {
                return self.asked_to_publish((target, publication), reply, moment, compress);
            }
            Request::Subscribe(target, topic) => {
                return self.command(target, Command::Subscribe(topic), reply);
            }
            Request::Unsubscribe(target, topic) => {
                return self.command(target, Command::Unsubscribe(topic), reply);
            }
            request @ Request::Disconnect(Target::All, ..) => self.spread(Ask { request, reply }),
            Request::Disconnect(target, code, reason) => {
                return self.command(target, Command::Close(code, reason), reply);
            }
            Request::DestroyTopic(name) => reply(self.destroy(&name)),
            Request::Topics { from, prefix, limit } => reply(self.home.list(from, &prefix, limit)),
            Request::LargestTopics { from } => reply(self.home.largest(from)),
            Request::Topic(name) => {
                reply(self.home.describe(self.common.hash(name.as_str()), &name));
            }
            Request::Presence { topic, limit } => {
                let hash = self.common.hash(topic.as_str());
                reply(self.home.presence((hash, &topic), limit, moment));
            }
            Request::History { topic, since, limit } => {
                let hash = self.common.hash(topic.as_str());
                reply(self.home.history((hash, &topic), since, limit, moment.now));
            }
            request @ (Request::Connection(_) | Request::Connections { .. }) => {
                return Some(Work::Tell(Box::new(Ask { request, reply })));
            }
        }
        None
    }

    fn asked_to_publish(
        &mut self,
        (target, publication): (Target, Publication),
        reply: Reply,
        moment: Moment,
        compress: Compress<'_>,
    ) -> Option<Work> {
        let name = match target {
            Target::Connection(id) => {
                let direct = Direct { id, what: Single::Publish(publication) };
                return Some(Work::Direct(Box::new(direct), Some(reply)));
            }
            Target::All => None,
            Target::Topic(name) => Some(name),
            Target::User(name) => Some(name.of_user()),
        };
        if self.post.is_congested() {
            reply(Answer::Refused(Refusal::Busy));
            return None;
        }
        let Some(name) = name else {
            let request = Request::Publish(Target::All, publication);
            self.spread(Ask { request, reply });
            return None;
        };
        let hash = self.common.hash(name.as_str());
        reply(match self.publish_here((hash, &name), publication, moment, compress) {
            Ok(published) => Answer::Published(published),
            Err(refusal) => Answer::Refused(refusal),
        });
        None
    }

    /// Publishes to a topic whose home this is.
    fn publish_here(
        &mut self,
        (hash, name): (u64, &Name),
        publication: Publication,
        moment: Moment,
        compress: Compress<'_>,
    ) -> Result<Published, Refusal> {
        let Self { common, home, .. } = self;
        let hasher = |name: &Name| common.hash(name.as_str());
        let ordered = home.publish((hash, name), publication, moment.now, (&hasher, compress))?;
        self.distribute(&ordered);
        let Ordered { delivery, connections, .. } = ordered;
        Ok(Published { connections, position: delivery.position })
    }

    /// Passes what concerns all connections on to all shards; it is answered with the sum.
    fn spread(&mut self, ask: Ask) {
        let tally = Tally::new(self.common.shards, ask.reply);
        for shard in 0..self.common.shards {
            let request = match &ask.request {
                Request::Publish(_, publication) => {
                    Request::Publish(Target::All, publication.clone())
                }
                Request::Disconnect(_, code, reason) => {
                    Request::Disconnect(Target::All, *code, Arc::clone(reason))
                }
                _ => return,
            };
            let tally = Arc::clone(&tally);
            let reply = Box::new(move |answer| Tally::add(&tally, answer));
            self.post.send(shard, Mail::Everywhere(Box::new(Ask { request, reply })));
        }
    }

    /// Gives each shard with subscribers a pointer to what they are told.
    fn distribute(&mut self, ordered: &Ordered) {
        for shard in &ordered.shards {
            self.post.send(usize::from(*shard), Mail::Deliver(Arc::clone(&ordered.delivery)));
        }
    }

    /// A command for one connection, or for all subscribers of a topic whose home this is.
    fn command(&mut self, target: Target, command: Command, reply: Reply) -> Option<Work> {
        let name = match target {
            Target::Connection(id) => {
                let direct = Direct { id, what: Single::Do(command) };
                return Some(Work::Direct(Box::new(direct), Some(reply)));
            }
            Target::Topic(name) => name,
            Target::User(name) => name.of_user(),
            Target::All => {
                reply(Answer::Refused(Refusal::Unknown));
                return None;
            }
        };
        if self.post.is_congested() {
            reply(Answer::Refused(Refusal::Busy));
            return None;
        }
        reply(Answer::Done(self.order(&name, &command)));
        None
    }

    /// Sends an order to all subscribers; returns how many there are.
    fn order(&mut self, name: &Name, command: &Command) -> u64 {
        let hash = self.common.hash(name.as_str());
        let (shards, connections) = self.home.subscribers(hash, name);
        let order = Arc::new(Order { topic: name.clone(), hash, what: command.clone() });
        for shard in shards {
            self.post.send(usize::from(shard), Mail::Order(Arc::clone(&order)));
        }
        connections
    }

    fn destroy(&mut self, name: &Name) -> Answer {
        let Self { common, home, .. } = self;
        let hash = common.hash(name.as_str());
        let (_, subscribers) = home.subscribers(hash, name);
        if !home.forget(hash, name, &|name| common.hash(name.as_str())) {
            return Answer::Refused(Refusal::Unknown);
        }
        if subscribers > 0 {
            self.order(name, &Command::End);
        }
        Answer::Done(subscribers)
    }

    fn unsubscribe_topic(
        &mut self,
        id: ConnectionId,
        topic: u32,
        user: Option<Name>,
        deflates: bool,
    ) -> bool {
        let name = self.local.topic(topic).name.clone();
        // As in `subscribe`.
        let subscriber = self.local.subscriber(id.slot, topic);
        let deflates = deflates && !subscriber.is_some_and(Subscriber::wants_events);
        let Self { common, local, recoveries, .. } = self;
        if !local.unsubscribe(id.slot, topic, &|name| common.hash(name.as_str())) {
            return false;
        }
        let hash = common.hash(name.as_str());
        // What it missed is nobody's any more; a portion may be on its way.
        recoveries.remove((id.slot, hash));
        let left = Left { name, hash, id, user, deflates };
        self.post.send(common.home(hash), Mail::Left(Box::new(left)));
        true
    }

    fn send_home(&mut self, name: Name, publication: Publication) {
        let hash = self.common.hash(name.as_str());
        let publish = ToPublish { name, hash, publication };
        self.post.send(self.common.home(hash), Mail::Publish(Box::new(publish)));
    }

    fn send_direct(&mut self, direct: Direct) {
        let shard = usize::from(direct.id.shard);
        if direct.id.node == self.common.node && shard < self.common.shards {
            self.post.send(shard, Mail::Direct(Box::new(direct)));
        }
    }

    fn home_of(&self, name: &Name) -> usize {
        self.common.home(self.common.hash(name.as_str()))
    }
}

/// Counts this shard among those that say something, or no longer.
fn say(count: &AtomicU32, has_said: &mut bool, says: bool) {
    match (std::mem::replace(has_said, says), says) {
        (false, true) => _ = count.fetch_add(1, Ordering::Relaxed),
        (true, false) => _ = count.fetch_sub(1, Ordering::Relaxed),
        _ => {}
    }
}

/// What concerns all connections of this shard.
fn everywhere(ask: Ask) -> Option<Work> {
    let Ask { request, reply } = ask;
    match request {
        Request::Publish(_, publication) => Some(Work::PublishToAll(publication, reply)),
        Request::Disconnect(_, code, reason) => Some(Work::CloseAll(code, reason, reply)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::gateway::hub_settings;
    use crate::names::Node;

    /// Three hubs with mailboxes of 16 places, and the name of a topic whose home is the second.
    fn three() -> (Vec<Hub>, Name) {
        let wakers: Vec<Waker> = (0..3).map(|_| Waker::new().expect("a descriptor")).collect();
        let text = "[hub]\nmailbox = 16\n[[route]]\npath = \"/\"\nhandler = \"hub?topic=room\"\n\
                    [[topic]]\nname = \"{name}\"\npresence = true\nlinger = \"0s\"\n";
        let config = Config::parse(text, "three.toml").expect("a configuration");
        let identity = Identity { node: Node { number: 0, start: 1 }, seed: Seed([1, 2]) };
        let (hubs, _) = open(&hub_settings(&config), identity, &wakers);
        let mut names = (0..).map(|number| Name::new(&number.to_string()).expect("a name"));
        let name =
            names.find(|name| hubs[0].home_of(name) == 1).expect("some have their home there");
        (hubs, name)
    }

    /// Has a hub do what has come, all of which it can do by itself.
    fn work(hub: &mut Hub) {
        let moment = Moment { now: Duration::ZERO, calendar: Duration::ZERO };
        let budget = Cell::new(usize::MAX);
        assert!(hub.next(moment, &budget, &mut |_| None).is_none());
        hub.flush();
    }

    #[test]
    fn who_opens_waits_when_the_home_of_its_topic_cannot_pass_on_who_comes_and_goes() {
        let (mut hubs, name) = three();
        let [publisher, home, slow] = &mut hubs[..] else { unreachable!("three") };
        let member = Subscribing { events: true, ..Subscribing::default() };
        slow.subscribe(slow.id(0, 0), &name, member).expect("room");
        slow.flush();
        work(home);
        let mut opened = 0;
        while opened < 10_000 && !publisher.is_overfull() {
            opened += 1;
            let id = publisher.id(0, 0);
            publisher.subscribe(id, &name, Subscribing::default()).expect("room");
            publisher.ended(id, false);
            publisher.flush();
            work(home);
        }
        assert!(!publisher.post.is_overfull(), "the publisher's own mail is taken");
        // Beyond the mailbox of 16 places two of them wait, and each that opened is told of twice.
        assert!((20..=32).contains(&opened), "{opened} have opened");
        assert!(home.is_overfull() && home.post.waiting() <= 2 * 16 + 2);
        assert!(publisher.is_pressed() && slow.is_overfull());
        // Once it goes on receiving, all do.
        while slow.post.receive().is_some() {
            home.flush();
        }
        assert!(!publisher.is_overfull() && !publisher.is_pressed() && !slow.is_overfull());
    }

    #[test]
    fn nobody_waits_for_a_shard_that_has_ended() {
        let (mut hubs, name) = three();
        let [publisher, home, _] = &mut hubs[..] else { unreachable!("three") };
        home.press(true);
        for _ in 0..64 {
            let payload = Payload::new(
                tidegate_proto::websocket::message::Kind::Text,
                b"a",
                &publisher.common.memory,
            );
            let payload = payload.expect("room");
            let publication = Publication { payload, key: None, except: None };
            home.publish(&Target::Topic(name.clone()), publication);
        }
        home.flush();
        assert!(publisher.is_pressed() && publisher.is_overfull());
        home.retire();
        assert!(!publisher.is_pressed() && !publisher.is_overfull());
    }

    #[test]
    fn no_more_places_are_claimed_in_a_shard_than_it_has_shown() {
        let (hubs, _) = three();
        hubs[2].show_room(2);
        assert_eq!([hubs[0].claim_place(), hubs[1].claim_place()], [Some(2), Some(2)]);
        assert_eq!((hubs[0].claim_place(), hubs[1].claim_place()), (None, None));
        // One has come and has its slot: room is shown first, so nobody takes that for a free one.
        hubs[2].show_room(1);
        hubs[2].has_taken_over();
        assert_eq!(hubs[0].claim_place(), None);
        hubs[0].give_place_back(2);
        assert_eq!((hubs[2].claim_place(), hubs[1].claim_place()), (None, Some(2)));
    }

    #[test]
    fn to_compress_may_end_what_is_done_at_once() {
        let wakers: Vec<Waker> = (0..2).map(|_| Waker::new().expect("a descriptor")).collect();
        let identity = Identity { node: Node { number: 0, start: 1 }, seed: Seed([1, 2]) };
        let (mut hubs, door) = open(&Settings::small(), identity, &wakers);
        let moment = Moment { now: Duration::ZERO, calendar: Duration::ZERO };
        let mut home = hubs.pop().expect("two");
        let mut hub = hubs.pop().expect("two");
        let mut names = (0..).map(|number| Name::new(&number.to_string()).expect("a name"));
        let name = names.find(|name| hub.home_of(name) == 1).expect("some have their home there");
        let how = Subscribing { deflates: true, ..Subscribing::default() };
        hub.subscribe(hub.id(0, 0), &name, how).expect("room");
        for _ in 0..9 {
            let payload =
                door.payload(tidegate_proto::websocket::message::Kind::Text, b"a").expect("room");
            let publication = Publication { payload, key: None, except: None };
            hub.publish(&Target::Topic(name.clone()), publication);
        }
        hub.post.flush();
        let (budget, compressed) = (Cell::new(16), Cell::new(0));
        let mut compress = |_: &Publication| {
            compressed.set(compressed.get() + 1);
            if compressed.get() % 2 == 0 {
                budget.set(0);
            }
            None
        };
        assert!(home.next(moment, &budget, &mut compress).is_none());
        assert_eq!(compressed.get(), 2, "the rest waits");
        budget.set(16);
        assert!(home.next(moment, &budget, &mut compress).is_none());
        assert_eq!(compressed.get(), 4);
    }
}
