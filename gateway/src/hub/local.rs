//! The subscriptions of one shard's connections.
//!
//! A topic has a dense array of its subscribers, so that a fan-out reads memory in order; a
//! connection has a list of its subscriptions. A subscription costs 4 bytes in the array and 16 in
//! the list.

use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;

use super::NotDone;
use super::subscriber::{SLOT_BITS, SLOT_MASK, Subscriber};
use crate::kernel::Slot;
use crate::names::Name;

/// The bounds of a shard's subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalBounds {
    /// Topics with a subscriber here.
    pub(crate) topics: u32,
    /// Subscriptions of all connections.
    pub(crate) subscriptions: u32,
    /// Subscriptions of one connection.
    pub(crate) per_connection: u16,
}

/// A topic that connections of this shard are subscribed to.
pub(crate) struct LocalTopic {
    pub(crate) name: Name,
    subscribers: SmallVec<[Subscriber; 4]>,
    /// How many of the subscribers, from the front, the current delivery has yet to reach.
    undelivered: u32,
    /// The number of the current delivery: a record may be another topic's by the time that a
    /// delivery goes on.
    delivery: u32,
}

/// A delivery to a topic's subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ongoing {
    pub(crate) topic: u32,
    number: u32,
}

/// What else there is to a subscription, and deliveries do not ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Tells a subscription from an earlier one of the same connection to the same topic.
    pub(crate) serial: u32,
    /// The connection publishes on the topic by sending.
    pub(crate) publishes: bool,
}

/// Where a connection stands among its topic's subscribers, which are as many as there may be
/// slots, and beside it whether it publishes there.
#[derive(Clone, Copy, Debug, Default)]
struct SubscriberIndex(u32);

/// One of a connection's subscriptions.
#[derive(Clone, Copy, Debug, Default)]
struct Subscription {
    topic: u32,
    place: SubscriberIndex,
    /// As long as the answer to one may be on its way, no other has it.
    serial: u32,
    /// The next of the connection, or of those that are free; its number plus one.
    next: u32,
}

/// What is kept of a connection that has had subscriptions.
#[derive(Clone, Copy, Debug, Default)]
struct Member {
    /// The first subscription's number plus one.
    first: u32,
    count: u16,
}

const _: () = assert!(size_of::<Subscription>() == 16 && size_of::<Subscriber>() == 4);

/// All subscriptions of a shard.
pub(crate) struct Local {
    by_name: HashTable<u32>,
    topics: Slab<LocalTopic>,
    subscriptions: Vec<Subscription>,
    /// The first free subscription's number plus one.
    free: u32,
    live: u32,
    members: Vec<Member>,
    /// The number of the delivery that began last.
    deliveries: u32,
    bounds: LocalBounds,
}

impl SubscriberIndex {
    const PUBLISHES: u32 = 1 << SLOT_BITS;

    fn new(at: u32, publishes: bool) -> Self {
        debug_assert!(at <= SLOT_MASK, "there are fewer subscribers than {at}");
        Self(at | if publishes { Self::PUBLISHES } else { 0 })
    }

    fn at(self) -> u32 {
        self.0 & SLOT_MASK
    }

    fn publishes(self) -> bool {
        self.0 & Self::PUBLISHES != 0
    }
}

impl Local {
    /// Bytes of a topic's record, and of its place in the table of names.
    pub(crate) const TOPIC_BYTES: usize = size_of::<LocalTopic>();
    /// Bytes of a subscription in its connection's list.
    pub(crate) const SUBSCRIPTION_BYTES: usize = size_of::<Subscription>();
    /// Bytes for each connection.
    pub(crate) const MEMBER_BYTES: usize = size_of::<Member>();

    pub(crate) fn new(bounds: LocalBounds) -> Self {
        Self {
            by_name: HashTable::new(),
            // Reserved at once, and touched as topics come: growing would leave holes behind.
            topics: Slab::with_capacity(bounds.topics as usize),
            subscriptions: Vec::with_capacity(bounds.subscriptions as usize),
            free: 0,
            live: 0,
            members: Vec::new(),
            deliveries: 0,
            bounds,
        }
    }

    /// How many topics there are.
    pub(crate) fn topics(&self) -> u32 {
        self.topics.len() as u32
    }

    /// How many subscriptions there are.
    pub(crate) fn subscriptions(&self) -> u32 {
        self.live
    }

    pub(crate) fn topic(&self, topic: u32) -> &LocalTopic {
        &self.topics[topic as usize]
    }

    /// The topic of that name, which has this hash.
    pub(crate) fn find(&self, hash: u64, name: &Name) -> Option<u32> {
        self.by_name.find(hash, |topic| self.topics[*topic as usize].name == *name).copied()
    }

    /// Subscribes a connection; `hash` gives the hash of a name. `false` if it was subscribed
    /// already.
    ///
    /// # Errors
    /// A bound is met; nothing has changed.
    pub(crate) fn subscribe(
        &mut self,
        subscriber: Subscriber,
        terms: Terms,
        name: &Name,
        hash: &dyn Fn(&Name) -> u64,
    ) -> Result<bool, NotDone> {
        let slot = subscriber.slot();
        let found = self.find(hash(name), name);
        if found.is_some_and(|topic| self.subscription(slot, topic).is_some()) {
            return Ok(false);
        }
        let count = self.members.get(slot as usize).map_or(0, |member| member.count);
        if count >= self.bounds.per_connection {
            return Err(NotDone::TooManySubscriptions);
        }
        let is_full = found.is_none() && self.topics() >= self.bounds.topics;
        if is_full || self.live >= self.bounds.subscriptions {
            return Err(NotDone::Full);
        }
        let topic = found.unwrap_or_else(|| self.add_topic(name, hash));
        let subscribers = &mut self.topics[topic as usize].subscribers;
        let at = subscribers.len() as u32;
        if subscribers.len() == subscribers.capacity() {
            // An eighth more: what is left over costs half a byte per subscription at most.
            subscribers.reserve_exact((subscribers.len() / 8).max(4));
        }
        subscribers.push(subscriber);
        let place = SubscriberIndex::new(at, terms.publishes);
        self.link(slot, Subscription { topic, place, serial: terms.serial, next: 0 });
        Ok(true)
    }

    /// Ends a subscription; `false` if there was none.
    pub(crate) fn unsubscribe(
        &mut self,
        slot: Slot,
        topic: u32,
        hash: &dyn Fn(&Name) -> u64,
    ) -> bool {
        let Some(at) = self.unlink(slot, topic) else { return false };
        self.take_subscriber(topic, at, hash);
        true
    }

    /// The topic that a connection subscribed to last.
    pub(crate) fn any_topic_of(&self, slot: Slot) -> Option<u32> {
        self.topics_of(slot).next()
    }

    /// The topics of a connection.
    pub(crate) fn topics_of(&self, slot: Slot) -> impl Iterator<Item = u32> {
        let first = self.members.get(slot as usize).map_or(0, |member| member.first);
        self.list(first).map(|number| self.subscriptions[number as usize].topic)
    }

    /// The subscriber record of a connection on a topic.
    pub(crate) fn subscriber(&self, slot: Slot, topic: u32) -> Option<Subscriber> {
        let number = self.subscription(slot, topic)?;
        let at = self.subscriptions[number as usize].place.at() as usize;
        Some(self.topics[topic as usize].subscribers[at])
    }

    /// The topic that a connection publishes on by sending.
    pub(crate) fn publishing_topic(&self, slot: Slot) -> Option<u32> {
        let first = self.members.get(slot as usize).map_or(0, |member| member.first);
        let mut all = self.list(first).map(|number| self.subscriptions[number as usize]);
        all.find(|one| one.place.publishes()).map(|one| one.topic)
    }

    /// Whether the subscription with this serial number has yet to be told what came before.
    pub(crate) fn waits(&self, slot: Slot, topic: u32, serial: u32) -> bool {
        let is_pending = self.subscriber(slot, topic).is_some_and(Subscriber::is_pending);
        is_pending && self.serial(slot, topic) == Some(serial)
    }

    /// The serial number of a subscription.
    pub(crate) fn serial(&self, slot: Slot, topic: u32) -> Option<u32> {
        let number = self.subscription(slot, topic)?;
        Some(self.subscriptions[number as usize].serial)
    }

    /// The connection has been told where it stands: from here on it gets what is published.
    pub(crate) fn settle(&mut self, slot: Slot, topic: u32) {
        if let Some(number) = self.subscription(slot, topic) {
            let at = self.subscriptions[number as usize].place.at() as usize;
            let subscriber = &mut self.topics[topic as usize].subscribers[at];
            subscriber.settle();
        }
    }

    /// Begins a delivery to all that are subscribed now; a topic has one at a time.
    pub(crate) fn begin_delivery(&mut self, topic: u32) -> Ongoing {
        self.deliveries = self.deliveries.wrapping_add(1);
        let number = self.deliveries;
        let record = &mut self.topics[topic as usize];
        record.undelivered = record.subscribers.len() as u32;
        record.delivery = number;
        Ongoing { topic, number }
    }

    /// The next subscriber of the delivery. Subscriptions may come and go meanwhile: who comes is
    /// left out, and nobody is reached twice.
    pub(crate) fn next_of_delivery(&mut self, ongoing: Ongoing) -> Option<Subscriber> {
        let topic = self.ongoing(ongoing)?;
        topic.undelivered = topic.undelivered.checked_sub(1)?;
        Some(topic.subscribers[topic.undelivered as usize])
    }

    /// The subscriber that came last has its turn again.
    pub(crate) fn step_back(&mut self, ongoing: Ongoing) {
        if let Some(topic) = self.ongoing(ongoing) {
            topic.undelivered += 1;
        }
    }

    /// The topic of a delivery, unless it has lost its last subscriber since.
    fn ongoing(&mut self, ongoing: Ongoing) -> Option<&mut LocalTopic> {
        let topic = self.topics.get_mut(ongoing.topic as usize)?;
        (topic.delivery == ongoing.number).then_some(topic)
    }

    fn add_topic(&mut self, name: &Name, hash: &dyn Fn(&Name) -> u64) -> u32 {
        let subscribers = SmallVec::new();
        let topic = LocalTopic { name: name.clone(), subscribers, undelivered: 0, delivery: 0 };
        let index = self.topics.insert(topic) as u32;
        let topics = &self.topics;
        self.by_name.insert_unique(hash(name), index, |topic| hash(&topics[*topic as usize].name));
        index
    }

    /// Removes the subscriber at `at`, and the topic with the last one.
    fn take_subscriber(&mut self, index: u32, at: u32, hash: &dyn Fn(&Name) -> u64) {
        let topic = &mut self.topics[index as usize];
        let mut gap = at as usize;
        if at < topic.undelivered {
            // The last one of those who are still to be reached takes the place, and leaves its own
            // to one who was reached: so nobody crosses the border.
            topic.undelivered -= 1;
            let border = topic.undelivered as usize;
            topic.subscribers.swap(gap, border);
            let moved = topic.subscribers[gap].slot();
            if gap != border {
                self.moved(moved, index, gap as u32);
            }
            gap = border;
        }
        let topic = &mut self.topics[index as usize];
        topic.subscribers.swap_remove(gap);
        let moved = topic.subscribers.get(gap).map(|subscriber| subscriber.slot());
        if topic.subscribers.is_empty() {
            let name = self.topics.remove(index as usize).name;
            if let Ok(entry) = self.by_name.find_entry(hash(&name), |topic| *topic == index) {
                entry.remove();
            }
        } else if let Some(slot) = moved {
            self.moved(slot, index, gap as u32);
        }
    }

    /// A subscriber has another place in its topic now.
    fn moved(&mut self, slot: Slot, topic: u32, at: u32) {
        let number = self.subscription(slot, topic).expect("every subscriber has a subscription");
        let place = &mut self.subscriptions[number as usize].place;
        *place = SubscriberIndex::new(at, place.publishes());
    }

    fn link(&mut self, slot: Slot, subscription: Subscription) {
        if self.members.len() <= slot as usize {
            self.members.resize(slot as usize + 1, Member::default());
        }
        let member = &mut self.members[slot as usize];
        let subscription = Subscription { next: member.first, ..subscription };
        let number = match self.free.checked_sub(1) {
            Some(number) => {
                let free = &mut self.subscriptions[number as usize];
                self.free = free.next;
                *free = subscription;
                number
            }
            None => {
                self.subscriptions.push(subscription);
                self.subscriptions.len() as u32 - 1
            }
        };
        member.first = number + 1;
        member.count += 1;
        self.live += 1;
    }

    /// Takes a subscription off its connection's list; returns its place in the topic.
    fn unlink(&mut self, slot: Slot, topic: u32) -> Option<u32> {
        let number = self.subscription(slot, topic)?;
        let Subscription { place, next, .. } = self.subscriptions[number as usize];
        let member = &mut self.members[slot as usize];
        member.count -= 1;
        if member.first == number + 1 {
            member.first = next;
        } else {
            let first = member.first;
            let before = self
                .list(first)
                .find(|before| self.subscriptions[*before as usize].next == number + 1)
                .expect("it is in the list and not the first");
            self.subscriptions[before as usize].next = next;
        }
        self.subscriptions[number as usize].next = self.free;
        self.free = number + 1;
        self.live -= 1;
        Some(place.at())
    }

    /// The number of a connection's subscription to a topic.
    fn subscription(&self, slot: Slot, topic: u32) -> Option<u32> {
        let first = self.members.get(slot as usize)?.first;
        self.list(first).find(|number| self.subscriptions[*number as usize].topic == topic)
    }

    fn list(&self, first: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(first.checked_sub(1), |number| {
            self.subscriptions[*number as usize].next.checked_sub(1)
        })
    }

    /// Checks the invariants across all records; for tests and simulations.
    ///
    /// # Panics
    /// One is broken.
    pub(crate) fn check(&self) {
        let mut live = 0;
        for (slot, member) in self.members.iter().enumerate() {
            let numbers: Vec<u32> = self.list(member.first).collect();
            assert_eq!(numbers.len(), usize::from(member.count), "subscriptions of slot {slot}");
            for number in numbers {
                let Subscription { topic, place, .. } = self.subscriptions[number as usize];
                let at = place.at();
                let subscriber = self.topics[topic as usize].subscribers[at as usize];
                assert_eq!(subscriber.slot() as usize, slot, "place {at} of topic {topic}");
                live += 1;
            }
        }
        assert_eq!(live, self.live, "subscriptions");
        let subscribers: usize = self.topics.iter().map(|(_, topic)| topic.subscribers.len()).sum();
        assert_eq!(subscribers, live as usize, "subscribers of all topics");
        assert_eq!(self.by_name.len(), self.topics.len(), "names of topics");
        for (_, topic) in &self.topics {
            assert!(!topic.subscribers.is_empty(), "{} has no subscriber", topic.name);
            assert!(topic.undelivered as usize <= topic.subscribers.len(), "{}", topic.name);
        }
    }
}

#[cfg(test)]
impl LocalTopic {
    /// How many subscribers it has here.
    pub(crate) fn len(&self) -> usize {
        self.subscribers.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::hash::{BuildHasher, RandomState};

    use proptest::prelude::*;

    use super::super::Form;
    use super::*;

    const BOUNDS: LocalBounds = LocalBounds { topics: 4, subscriptions: 20, per_connection: 3 };

    struct World {
        local: Local,
        names: RandomState,
        model: BTreeMap<String, BTreeSet<Slot>>,
    }

    impl World {
        fn new() -> Self {
            let local = Local::new(BOUNDS);
            Self { local, names: RandomState::new(), model: BTreeMap::new() }
        }

        fn hash(&self) -> impl Fn(&Name) -> u64 + use<> {
            let names = self.names.clone();
            move |name: &Name| names.hash_one(name.as_str())
        }

        fn find(&self, name: &str) -> Option<u32> {
            let name = Name::new(name).expect("a name");
            self.local.find(self.hash()(&name), &name)
        }

        fn subscribe(&mut self, slot: Slot, name: &str) -> Result<bool, NotDone> {
            let (hash, text) = (self.hash(), name.to_owned());
            let name = Name::new(name).expect("a name");
            let done = self.local.subscribe(
                Subscriber::new(slot, Form::default(), 0),
                Terms::default(),
                &name,
                &hash,
            );
            if done.is_ok() {
                self.model.entry(text).or_default().insert(slot);
            }
            self.local.check();
            done
        }

        fn unsubscribe(&mut self, slot: Slot, name: &str) -> bool {
            let hash = self.hash();
            let done = self.find(name).is_some_and(|t| self.local.unsubscribe(slot, t, &hash));
            let expected = self.model.get_mut(name).is_some_and(|slots| slots.remove(&slot));
            self.model.retain(|_, slots| !slots.is_empty());
            assert_eq!(done, expected);
            self.local.check();
            done
        }
    }

    #[test]
    fn bounds_are_kept_and_refused_by_name() {
        let mut world = World::new();
        for name in ["a", "b", "c"] {
            assert_eq!(world.subscribe(1, name), Ok(true));
        }
        assert_eq!(world.subscribe(1, "a"), Ok(false));
        assert_eq!(world.subscribe(1, "d"), Err(NotDone::TooManySubscriptions));
        assert_eq!(world.subscribe(2, "d"), Ok(true));
        assert_eq!(world.subscribe(2, "e"), Err(NotDone::Full));
        for slot in 10..26 {
            assert_eq!(world.subscribe(slot, "a"), Ok(true));
        }
        assert_eq!(world.subscribe(30, "a"), Err(NotDone::Full));
        assert!(world.unsubscribe(1, "b"));
        assert!(!world.unsubscribe(1, "b"));
        assert_eq!(world.subscribe(2, "e"), Ok(true));
    }

    #[test]
    fn a_pending_subscriber_is_settled() {
        let mut world = World::new();
        let (hash, name) = (world.hash(), Name::new("a").expect("a name"));
        let flags = Subscriber::EVENTS | Subscriber::PENDING;
        let subscriber = Subscriber::new(7, Form(0xa5), flags);
        let terms = Terms { serial: 0xc300_00c3, publishes: true };
        world.local.subscribe(subscriber, terms, &name, &hash).expect("room");
        let topic = world.find("a").expect("a topic");
        assert_eq!(world.local.subscriber(7, topic), Some(subscriber));
        assert!(world.local.waits(7, topic, 0xc300_00c3) && !world.local.waits(7, topic, 0xc3));
        world.local.settle(7, topic);
        assert!(!world.local.waits(7, topic, 0xc300_00c3));
        assert_eq!((subscriber.slot(), subscriber.form()), (7, Form(0xa5)));
        assert_eq!(world.local.publishing_topic(7), Some(topic));
        let settled = world.local.subscriber(7, topic).expect("still there");
        assert!(settled.wants_events() && !settled.is_pending());
        assert_eq!(world.local.any_topic_of(7), Some(topic));
    }

    #[test]
    fn a_delivery_does_not_go_on_with_another_topic_in_the_same_record() {
        let mut world = World::new();
        world.subscribe(1, "a").expect("room");
        let topic = world.find("a").expect("a topic");
        let ongoing = world.local.begin_delivery(topic);
        world.unsubscribe(1, "a");
        world.subscribe(2, "b").expect("room");
        assert_eq!(world.find("b"), Some(topic), "the record is used again");
        let other = world.local.begin_delivery(topic);
        assert_eq!(world.local.next_of_delivery(ongoing), None);
        world.local.step_back(ongoing);
        assert_eq!(world.local.next_of_delivery(other).map(Subscriber::slot), Some(2));
        assert_eq!(world.local.next_of_delivery(other), None);
    }

    /// What happens while a delivery is on its way.
    #[derive(Clone, Debug)]
    enum Step {
        Subscribe(Slot),
        Unsubscribe(Slot),
        Deliver,
    }

    proptest! {
        #[test]
        fn as_a_set_of_slots_by_name(
            steps in prop::collection::vec((any::<bool>(), 0u32..8, 0usize..5), 0..200)
        ) {
            let mut world = World::new();
            for (subscribes, slot, name) in steps {
                let name = ["a", "b", "c", "d", "e"][name];
                if subscribes {
                    let _ = world.subscribe(slot, name);
                } else {
                    world.unsubscribe(slot, name);
                }
                for (name, slots) in &world.model {
                    let topic = world.find(name).expect("a topic");
                    prop_assert_eq!(world.local.topic(topic).len(), slots.len());
                }
                prop_assert_eq!(world.local.topics() as usize, world.model.len());
            }
        }

        #[test]
        fn a_delivery_reaches_each_who_stays_once_and_nobody_who_left(
            steps in prop::collection::vec(
                prop_oneof![
                    (0u32..16).prop_map(Step::Subscribe),
                    (0u32..16).prop_map(Step::Unsubscribe),
                    Just(Step::Deliver),
                    Just(Step::Deliver),
                ],
                0..80,
            )
        ) {
            let mut world = World::new();
            for slot in 0..10 {
                world.subscribe(slot, "a").expect("room");
            }
            let topic = world.find("a").expect("a topic");
            let ongoing = world.local.begin_delivery(topic);
            let mut due: BTreeSet<Slot> = (0..10).collect();
            for step in steps.into_iter().chain([const { Step::Deliver }; 16]) {
                match step {
                    Step::Subscribe(slot) => { let _ = world.subscribe(slot, "a"); }
                    Step::Unsubscribe(slot) => {
                        world.unsubscribe(slot, "a");
                        due.remove(&slot);
                    }
                    Step::Deliver => {
                        if world.find("a").is_none() { break; }
                        if let Some(reached) = world.local.next_of_delivery(ongoing) {
                            prop_assert!(due.remove(&reached.slot()), "{:?} was not due", reached);
                        }
                    }
                }
            }
            prop_assert!(due.is_empty() || world.find("a").is_none(), "{:?} missed it", due);
        }
    }
}
