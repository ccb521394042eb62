//! The hub: publish and subscribe among the connections of all shards.
//!
//! A handler reaches it by its [`Context`](crate::handler::Context) or its
//! [`Desk`](crate::handler::Desk), a protocol by its [`Exchange`](crate::protocol::Exchange), and
//! any other thread by a [`Door`].
//!
//! It does nothing with sockets. Every topic has a *home*: the shard that its name hashes to. The
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

mod arriving;
mod at_home;
mod calendar;
mod content;
mod delivery;
mod door;
mod errand;
mod finding;
mod form;
mod history;
mod home;
mod joint_answer;
mod lines;
mod local;
pub(crate) mod mail;
mod message;
mod neighbours;
mod presence;
mod recoveries;
mod renewing;
mod rules;
mod settings;
mod subscriber;
mod subscribing;
mod why;

use std::sync::Arc;
use std::time::Duration;

pub use content::{Content, Text};
pub use door::Door;
pub(crate) use door::Reply;
#[doc(hidden)]
pub use door::{Common, Seed};
pub use errand::{
    AccountInfo, ConnectionFilter, ConnectionInfo, EndFilter, EndInfo, Errand, Excerpt, Kept,
    Outcome, Peer, PeerFilter, Presence, Present, Published, Target, TopicInfo,
};
pub use finding::Finding;
pub use message::{Author, Message, MessageMemory, NotDone, Publication};
pub use renewing::{FreshToken, NotRenewed};
#[doc(hidden)]
pub use rules::TopicRules;
#[doc(hidden)]
pub use settings::{Identity, Settings};
pub use subscribing::{Past, Subscribing};
pub use why::{Cause, Why};

pub(crate) use arriving::Duty;
pub(crate) use calendar::CalendarTime;
pub(crate) use delivery::{Delivery, Issue, What, Who};
pub(crate) use form::{EncodeOnce, Encoded, Form};
pub(crate) use home::repeats::{Repeatable, Repeats};
pub(crate) use home::{Home, HomeBounds};
pub(crate) use lines::lines;
pub(crate) use local::{Local, LocalBounds, Ongoing};
pub(crate) use mail::{
    Ask, Denied, Direct, Fetch, Handed, Instruction, Mail, Order, Recovered, Single, Standing,
    Subscribed, Unsubscribed,
};
pub(crate) use neighbours::Neighbours;
pub(crate) use presence::Roll;
pub(crate) use recoveries::Recoveries;
pub(crate) use subscriber::Subscriber;

use mail::ToPublish;

use crate::kernel::{Generation, Slot, Waker};
use crate::mailbox::{self, Entrance, Post};
use crate::names::{Address, ConnectionId, Name, Resumes};

/// Bytes of what is kept for each connection.
pub(crate) const MEMBER_BYTES: usize = Local::MEMBER_BYTES;
/// Bytes of a connection that was handed over.
pub(crate) const HANDED_BYTES: usize = size_of::<Handed>();

/// One shard's part of the hub.
#[doc(hidden)]
pub struct Hub {
    common: Common,
    pub(crate) post: Post<Mail>,
    pub(crate) local: Local,
    pub(crate) home: Home,
    /// Those of this shard who came back.
    pub(crate) recoveries: Recoveries,
    /// What this shard says to the others, and they to it.
    pub(crate) neighbours: Neighbours,
    /// The tokens by which subscriptions are taken up again.
    pub(crate) resumes: Resumes,
    /// The gateway was told to end: no clients should be sent here any more.
    pub(crate) is_leaving: bool,
    /// Messages that connections published.
    pub(crate) published: u64,
    /// How far the calendar, counted from 1970, was ahead of the shard's clock at the last tick.
    pub(crate) calendar_ahead: Duration,
    /// Counts subscriptions.
    serial: u32,
}

/// A name and its hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hashed<'n> {
    pub(crate) hash: u64,
    pub(crate) name: &'n Name,
}

/// The time, by the shard's clock and by the calendar.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: Duration,
    /// Since 1970, as the wall clock stands now.
    pub(crate) calendar: Duration,
}

impl Moment {
    /// The calendar's time at which the shard's clock showed `at`: it is so long ago, whatever the
    /// wall clock showed then.
    pub(crate) fn at(&self, at: Duration) -> Duration {
        self.calendar.saturating_sub(self.now.saturating_sub(at))
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
            subscriptions: u64::from(settings.subscriptions) * common.shards as u64,
            idempotency_keys: settings.idempotency_keys,
            idempotency_age: settings.idempotency_age,
        };
        let epoch = common.node.start ^ (post.index() as u32).wrapping_mul(0x85eb_ca6b);
        Self {
            local: Local::new(local),
            home: Home::new(Arc::clone(&settings.rules), home, epoch, Arc::clone(&common.memory)),
            recoveries: Recoveries::new(settings.slots),
            neighbours: Neighbours::new(common.clone(), post.index()),
            common,
            post,
            resumes: settings.resumes,
            is_leaving: false,
            published: 0,
            calendar_ahead: Duration::ZERO,
            serial: 0,
        }
    }

    /// What messages hold.
    pub(crate) fn memory(&self) -> &Arc<MessageMemory> {
        &self.common.memory
    }

    /// Where a connection of this shard lives.
    pub(crate) fn address(&self, slot: Slot, generation: Generation) -> Address {
        Address { shard: self.post.index() as u16, slot, generation }
    }

    /// Where the connection of an id lives; `None` if it is none of this gateway's.
    pub(crate) fn locate(&self, id: ConnectionId) -> Option<Address> {
        self.common.locate(id)
    }

    /// The id of a connection of this shard.
    pub(crate) fn id(&self, slot: Slot, generation: Generation) -> ConnectionId {
        self.id_at(self.address(slot, generation))
    }

    /// The id of a connection that lives in this gateway: all of them live where they were born.
    pub(crate) fn id_at(&self, address: Address) -> ConnectionId {
        let Address { shard, slot, generation } = address;
        ConnectionId { node: self.common.node, shard, slot, generation }
    }

    /// Whether another shard does not keep up with what this one sends it.
    pub(crate) fn is_congested(&self) -> bool {
        self.post.is_congested()
    }

    /// Whether so much mail waits here, or on another shard that has said so, that those who open,
    /// which publishers that are held cannot help, have to wait as well, and handlers and protocols
    /// can have nobody come, or go for somebody else. A topic's home takes in what comes to it, so
    /// only it knows that what it sends on is not taken.
    pub(crate) fn is_overfull(&self) -> bool {
        self.post.is_overfull() || self.neighbours.are_overfull()
    }

    /// Whether publishers should be read from no further: messages hold three quarters of what they
    /// may, another shard does not keep up with this one or by far not with some other, or on some
    /// shard so much waits for its connections that it has said so.
    pub(crate) fn is_pressed(&self) -> bool {
        let memory = &self.common.memory;
        memory.used() > memory.limit() / 4 * 3
            || self.post.is_congested()
            || self.neighbours.are_pressing()
            || self.neighbours.are_overfull()
    }

    /// Moves what waits into the mailboxes, as far as there is room.
    pub(crate) fn flush(&mut self) {
        self.post.flush();
        self.neighbours.say_overfull(self.post.is_overfull());
    }

    /// The shard has ended: it has no room, and nobody is to wait for it.
    pub(crate) fn retire(&mut self) {
        self.neighbours.show_room(0);
        self.neighbours.press(false);
        self.neighbours.say_overfull(false);
    }

    /// Gives a connection to another shard, where a place was claimed for it.
    pub(crate) fn hand_over(&mut self, shard: usize, handed: Handed) {
        self.post.send(shard, Mail::Handed(Box::new(handed)));
    }

    /// The hash of what conflation goes by: topic and key. Nobody outside knows its seed, so nobody
    /// can make two keys that stand for each other.
    pub(crate) fn conflation(&self, topic: u64, key: Option<&Name>) -> u64 {
        self.common.conflation(topic, key)
    }

    /// Asks a topic's home for the next portion of what a subscriber missed.
    pub(crate) fn fetch(&mut self, fetch: Fetch) {
        let home = self.common.home(fetch.whose.hash);
        self.post.send(home, Mail::Fetch(Box::new(fetch)));
    }

    /// Publishes for a connection of this shard. What becomes of it is not told.
    pub(crate) fn publish(&mut self, target: &Target, publication: Publication) {
        self.published += 1;
        match target {
            Target::Topic(name) => self.send_home(name.clone(), publication),
            Target::User(name) => self.send_home(name.of_user(), publication),
            Target::Connection(id) => {
                let what = Single::Publish(publication);
                self.send_direct(*id, what);
            }
            Target::All => {
                let errand = Errand::Publish(Target::All, publication);
                self.spread(Ask { errand, reply: Reply::unheard() });
            }
        }
    }

    /// Closes connections for a handler of this shard; `anyway`, however much mail waits, for one
    /// that is told of an end, once.
    ///
    /// # Errors
    /// [`NotDone::Busy`]: very much mail waits, of which this would be more.
    pub(crate) fn disconnect(
        &mut self,
        target: &Target,
        why: Why,
        anyway: bool,
    ) -> Result<(), NotDone> {
        if !anyway && self.is_overfull() {
            return Err(NotDone::Busy);
        }
        let ask = |why| {
            let errand = Errand::Disconnect(target.clone(), why);
            Ask { errand, reply: Reply::unheard() }
        };
        let home = match target {
            Target::Topic(name) => self.home_of(name),
            Target::User(name) => self.home_of(&name.of_user()),
            Target::Connection(id) => {
                self.send_direct(*id, Single::Do(Instruction::Close(why)));
                return Ok(());
            }
            Target::All => {
                self.spread(ask(why));
                return Ok(());
            }
        };
        self.post.send(home, Mail::Ask(Box::new(ask(why))));
        Ok(())
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Duration) {
        for event in self.home.tick(now) {
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
            topic.is_some_and(|topic| self.local.waits(whose.address.slot, topic, whose.serial))
        });
    }

    fn send_home(&mut self, name: Name, publication: Publication) {
        let hash = self.common.hash(name.as_str());
        let publish = ToPublish { name, hash, publication };
        self.post.send(self.common.home(hash), Mail::Publish(Box::new(publish)));
    }

    fn send_direct(&mut self, id: ConnectionId, what: Single) {
        if let Some(address) = self.locate(id) {
            let direct = Direct { address, what };
            self.post.send(address.shard.into(), Mail::Direct(Box::new(direct)));
        }
    }

    fn home_of(&self, name: &Name) -> usize {
        self.common.home(self.common.hash(name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

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
        assert!(hub.next(moment, &budget, &mut |_, _| None).is_none());
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
            publisher.ended(publisher.address(0, 0));
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

    fn comes_and_goes(hub: &mut Hub, name: &Name) -> Result<(), NotDone> {
        let id = hub.id(0, 0);
        hub.subscribe(id, name, Subscribing::default())?;
        assert!(hub.unsubscribe(id, name, None));
        Ok(())
    }

    fn sends_away(hub: &mut Hub, name: &Name) -> Result<(), NotDone> {
        hub.disconnect(&Target::Topic(name.clone()), Cause::Done.into(), false)
    }

    #[test]
    fn who_comes_and_goes_over_and_over_is_to_try_again_while_very_much_mail_waits() {
        for (home, closes) in [(0, false), (0, true), (1, false), (1, true)] {
            let act = if closes { sends_away } else { comes_and_goes };
            let (mut hubs, _) = three();
            let hub = &mut hubs[0];
            let mut names = (0..).map(|number| Name::new(&number.to_string()).expect("a name"));
            let name = names.find(|name| hub.home_of(name) == home).expect("some have it there");
            let refused = (0..10_000).filter(|_| act(hub, &name) == Err(NotDone::Busy)).count();
            // Beyond the mailbox of 16 places two of them wait, and what was begun.
            assert!(hub.post.waiting() <= 2 * 16 + 1, "{} wait", hub.post.waiting());
            assert!((9950..10_000).contains(&refused), "{refused} of 10,000 were refused");
            // Who was let in has what it was let in with, and who is there may leave.
            let (id, how) = (hub.id(0, 0), Subscribing::default());
            assert_eq!(hub.subscribe_admitted(id, &name, how.clone()), Ok(()));
            assert_eq!(hub.subscribe(id, &name, how), Ok(()), "nothing changes");
            assert!(hub.unsubscribe(id, &name, None));
        }
    }

    #[test]
    fn nobody_waits_for_a_shard_that_has_ended() {
        let (mut hubs, name) = three();
        let [publisher, home, _] = &mut hubs[..] else { unreachable!("three") };
        home.neighbours.press(true);
        for _ in 0..64 {
            let message = Message::new("a", &publisher.common.memory).expect("room");
            let publication = Publication::new(message);
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
        hubs[2].neighbours.show_room(2);
        assert_eq!(
            [hubs[0].neighbours.claim_place(), hubs[1].neighbours.claim_place()],
            [Some(2), Some(2)]
        );
        assert_eq!(
            (hubs[0].neighbours.claim_place(), hubs[1].neighbours.claim_place()),
            (None, None)
        );
        // One has come and has its slot: room is shown first, so nobody takes that for a free one.
        hubs[2].neighbours.show_room(1);
        hubs[2].neighbours.has_taken_over();
        assert_eq!(hubs[0].neighbours.claim_place(), None);
        hubs[0].neighbours.give_place_back(2);
        assert_eq!(
            (hubs[2].neighbours.claim_place(), hubs[1].neighbours.claim_place()),
            (None, Some(2))
        );
    }
}
