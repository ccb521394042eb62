//! What a shard knows of the topics whose home it is: which shards have subscribers, the order of
//! messages, history and presence.

mod presence;
pub(crate) mod repeats;
mod telling;
mod time;
mod topic;
mod yielding;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;

use repeats::Repeats;
use topic::{Extra, Topic};

pub(crate) use topic::Subscribers;

use super::delivery::{Delivery, Issue, What, Who};
use super::history::{History, Portion};
use super::mail::{Fetch, Joined, Left, Recovered, Standing};
use super::presence::Members;
use super::rules::TopicRules;
use super::{EncodeOnce, MessageMemory, Moment, NotDone, Publication};
use crate::hub::Hashed;
use crate::kernel::SlotSet;
use crate::names::{Address, Name, TopicRule};

/// Bytes of messages that one who comes back is told at once, and one message more.
const RECOVERED_AT_ONCE: u64 = 24 << 10;

/// The bounds of what a home keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HomeBounds {
    /// Topics.
    pub(crate) topics: u32,
    /// Members of all topics whose presence is kept.
    pub(crate) present: u32,
    /// Bytes of all histories.
    pub(crate) history_bytes: u64,
    /// Subscriptions of all shards.
    pub(crate) subscriptions: u64,
    /// Idempotency keys.
    pub(crate) idempotency_keys: u32,
    /// How long they are kept.
    pub(crate) idempotency_age: Duration,
}

/// A subscription, by its topic's hash and whose it is.
type KnownAs = (u64, Address);

/// What all histories of a home hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    messages: u64,
    bytes: u64,
}

/// What a home counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HomeCounts {
    /// Joins that were not kept because of the bound.
    pub(crate) presence_full: u64,
    /// Topics that could not come to be.
    pub(crate) topics_full: u64,
    /// Topics that nobody was on, and whose history went before its time for another topic.
    pub(crate) topics_forgotten: u64,
    /// Joins and leaves that were told as counts, because many are present.
    pub(crate) presence_counted: u64,
    /// Messages that were not published once more.
    pub(crate) repeats: u64,
    /// Idempotency keys that went before their time.
    pub(crate) repeats_forgotten: u64,
}

/// One whose leave may count.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Leaving {
    at: Duration,
    hash: u64,
    name: Name,
    who: Who,
}

/// A message with its place in the topic's order, and the shards to tell.
pub(crate) struct Ordered {
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) shards: SmallVec<[u16; 4]>,
    pub(crate) connections: u64,
}

/// All topics whose home a shard is.
pub(crate) struct Home {
    by_name: HashTable<u32>,
    topics: Slab<Topic>,
    /// All topics have had indexes below this one.
    used: usize,
    rules: Arc<TopicRules>,
    /// The first topic that has yet to get what these say, after a change of them.
    regulating: Option<usize>,
    bounds: HomeBounds,
    held: Held,
    present: u32,
    /// Those whose leave may count, the first of them on top: at most one for each who is present.
    leaving: BinaryHeap<Reverse<Leaving>>,
    /// Subscriptions that were denied, until their end is told: they count for nothing. At most as
    /// many as all shards may have. A tree, because mostly there are none, and it holds nothing
    /// then.
    denied: BTreeSet<KnownAs>,
    /// Subscriptions of users who are not listed as present because of the bound, likewise. At most
    /// as many as may be present: beyond that, a user may be told as gone while it has a connection
    /// that came when there was no room.
    unlisted: BTreeSet<KnownAs>,
    /// Topics with so many members that it is counted who comes and goes, and has yet to be told.
    crowded: SlotSet,
    /// Where those are counted whom one who subscribes is told.
    memory: Arc<MessageMemory>,
    /// Topics that nobody is on, of which there is only history.
    unheard: SlotSet,
    /// Where to look for old history next.
    expiring: usize,
    /// Where to look next for one of those that are unheard.
    yielding: u32,
    /// Drawn for the shard; each topic gets another.
    next_epoch: u32,
    /// What was published with a key.
    pub(crate) repeats: Repeats,
    pub(crate) counts: HomeCounts,
}

impl Held {
    /// Changes one of the histories.
    fn change(&mut self, history: &mut History, change: impl FnOnce(&mut History)) {
        self.messages -= history.len() as u64;
        self.bytes -= history.held();
        change(history);
        self.messages += history.len() as u64;
        self.bytes += history.held();
    }
}

impl Home {
    /// Bytes of a topic's record.
    pub(crate) const TOPIC_BYTES: usize = size_of::<Topic>();
    /// Bytes of a subscription that was denied, or whose user is not listed.
    pub(crate) const SUBSCRIPTION_BYTES: usize = size_of::<KnownAs>();
    /// Bytes of one who is present, in the list and in that of those who leave.
    pub(crate) const PRESENT_BYTES: usize = 256;

    pub(crate) fn new(
        rules: Arc<TopicRules>,
        bounds: HomeBounds,
        epoch: u32,
        memory: Arc<MessageMemory>,
    ) -> Self {
        Self {
            by_name: HashTable::new(),
            topics: Slab::with_capacity(bounds.topics as usize),
            used: 0,
            rules,
            regulating: None,
            bounds,
            held: Held::default(),
            present: 0,
            leaving: BinaryHeap::new(),
            denied: BTreeSet::new(),
            unlisted: BTreeSet::new(),
            crowded: SlotSet::new(bounds.topics),
            unheard: SlotSet::new(bounds.topics),
            memory,
            expiring: 0,
            yielding: 0,
            next_epoch: epoch,
            repeats: Repeats::new(bounds.idempotency_keys, bounds.idempotency_age),
            counts: HomeCounts::default(),
        }
    }

    pub(crate) fn topics(&self) -> u32 {
        self.topics.len() as u32
    }

    /// Bytes of all messages that are kept.
    pub(crate) fn history_bytes(&self) -> u64 {
        self.held.bytes
    }

    pub(crate) fn present(&self) -> u32 {
        self.present
    }

    /// A connection has subscribed. Returns where it stands, and what to tell all.
    ///
    /// # Errors
    /// There is no room for the topic.
    pub(crate) fn join(
        &mut self,
        joined: &Joined,
        now: Duration,
    ) -> Result<(Standing, Option<Ordered>), NotDone> {
        let key = (joined.hash, joined.address);
        // Whose place it takes may have been denied, and counts for nothing then.
        let replaces = joined.replaces.filter(|_| !self.denied.remove(&key));
        let index = self.find_or_add(Hashed { hash: joined.hash, name: &joined.name }, true)?;
        let topic = &mut self.topics[index as usize];
        topic.is_of_interest(joined.address.shard, joined.form);
        if let Some(form) = replaces {
            topic.is_of_less_interest(joined.address.shard, form);
        }
        self.unheard.remove(index);
        let mut standing = self.standing(Some(index), joined, now);
        let is_here = replaces.is_some() && !self.unlisted.remove(&key);
        let event = if is_here { None } else { self.comes(index, joined, now) };
        standing.present = if joined.waits { self.roll(index) } else { None };
        Ok((standing, event))
    }

    /// The next portion of what a subscriber missed. There is always an answer, for who has asked
    /// counts until it has one: of a topic of which nothing is kept any more, that this is so.
    pub(crate) fn fetch(&mut self, fetch: Fetch, now: Duration) -> Recovered {
        let Fetch { whose, behind } = fetch;
        let index = self.find(Hashed { hash: whose.hash, name: &whose.name });
        let extra = index.and_then(|at| self.topics[at as usize].extra.as_deref_mut());
        let Some(Extra { rule, history: Some(history), .. }) = extra else {
            return Recovered { whose, position: None, portion: Portion::nothing_kept() };
        };
        self.held.change(history, |history| history.expire(now, rule));
        let portion = history.portion(behind, RECOVERED_AT_ONCE);
        let position = Some(history.position());
        if let Some(index) = index {
            // What was too old just now may have been all that was kept.
            self.settle(index);
        }
        Recovered { whose, position, portion }
    }

    /// A subscription was denied: its end, which will be told, is not one that counts.
    pub(crate) fn deny(&mut self, key: u64, address: Address) {
        self.denied.insert((key, address));
    }

    /// A subscription has ended. Returns what to tell those who are left.
    pub(crate) fn leave(&mut self, left: &Left, now: Duration) -> Option<Ordered> {
        let key = (left.hash, left.address);
        if self.denied.remove(&key) {
            return None;
        }
        let is_listed = !self.unlisted.remove(&key);
        let index = self.find(Hashed { hash: left.hash, name: &left.name })?;
        self.topics[index as usize].is_of_less_interest(left.address.shard, left.form)?;
        let event = if is_listed { self.goes(index, left, now) } else { None };
        self.settle(index);
        event
    }

    /// Gives a message its place, and keeps it if the topic has a history. `encode_once` is called
    /// for each form in which some subscriber wants it.
    ///
    /// # Errors
    /// There is no room for the topic's history.
    pub(crate) fn publish(
        &mut self,
        named: Hashed<'_>,
        publication: Publication,
        moment: Moment,
        encode_once: EncodeOnce<'_>,
    ) -> Result<Ordered, NotDone> {
        let index = self.find_or_add(named, false)?;
        let Some(topic) = self.topics.get_mut(index as usize) else {
            let what = What::said(publication, moment.calendar);
            let Hashed { hash, name } = named;
            let topic = Some(name.clone());
            let delivery = Arc::new(Delivery { topic, hash, position: None, what });
            return Ok(Ordered { delivery, shards: SmallVec::new(), connections: 0 });
        };
        let forms = topic.forms().into_iter();
        let encoded = forms.filter_map(|form| encode_once(form, &publication)).collect();
        let issue = Issue { publication, time: moment.calendar, to_all: false, encoded };
        let mut ordered = topic.tell(named.hash, What::Message(issue));
        if let Some(Extra { rule, history: Some(history), .. }) = topic.extra.as_deref_mut() {
            let delivery =
                Arc::get_mut(&mut ordered.delivery).expect("nobody else has a new delivery yet");
            delivery.position = Some(history.advance());
            let room = self.bounds.history_bytes - (self.held.bytes - history.held());
            let kept = plainly(&ordered.delivery);
            self.held.change(history, |history| history.keep(moment.now, kept, rule, room));
            // A message too large to be kept leaves none.
            self.settle(index);
        }
        Ok(ordered)
    }

    /// The shards with subscribers, and how many there are.
    pub(crate) fn subscribers(&self, named: Hashed<'_>) -> Subscribers {
        let index = self.find(named);
        index.map_or_else(Subscribers::default, |index| self.topics[index as usize].subscribers())
    }

    /// Forgets a topic's history.
    pub(crate) fn forget(&mut self, named: Hashed<'_>) -> bool {
        let Some(index) = self.find(named) else { return false };
        let epoch = self.draw_epoch();
        if let Some(extra) = &mut self.topics[index as usize].extra
            && let Some(history) = &mut extra.history
        {
            self.held.change(history, |history| *history = History::new(epoch));
        }
        self.settle(index);
        true
    }

    /// Whether nobody is known here who is, was or could not be on a topic.
    pub(crate) fn knows_nobody(&self) -> bool {
        let lists = [self.leaving.len(), self.denied.len(), self.unlisted.len()];
        self.present == 0 && self.crowded.is_empty() && lists == [0; 3]
    }

    /// Checks that all of it is counted, and within its bounds.
    ///
    /// # Panics
    /// It is not.
    pub(crate) fn check(&self) {
        let (mut present, mut held, mut crowded) = (0, Held::default(), 0);
        for (index, topic) in &self.topics {
            let is_unheard = topic.unheard_since().is_some();
            assert_eq!(is_unheard, self.unheard.contains(index as u32), "whether one is unheard");
            let Some(extra) = topic.extra.as_deref() else { continue };
            present += extra.members.as_ref().map_or(0, Members::len);
            if extra.members.as_ref().is_some_and(Members::has_counts) {
                crowded += 1;
                assert!(self.crowded.contains(index as u32), "counts that are never told");
            }
            if let Some(history) = &extra.history {
                history.check(&extra.rule);
                held.messages += history.len() as u64;
                held.bytes += history.held();
            }
        }
        let HomeBounds { topics, present: most, history_bytes, subscriptions, .. } = self.bounds;
        assert_eq!((present, held), (self.present as usize, self.held), "counted");
        assert_eq!(crowded, self.crowded.len(), "crowded topics");
        assert!(self.topics.len() <= topics as usize, "{} topics", self.topics.len());
        assert!(present <= most as usize, "{present} are present");
        assert!(self.leaving.len() <= present, "{} are leaving of {present}", self.leaving.len());
        assert!(self.unlisted.len() <= most as usize, "{} are unlisted", self.unlisted.len());
        assert!(self.denied.len() as u64 <= subscriptions, "{} are denied", self.denied.len());
        assert!(held.bytes <= history_bytes, "{} bytes of histories", held.bytes);
        assert_eq!(self.by_name.len(), self.topics.len(), "names of topics");
        self.repeats.check();
    }

    fn find(&self, Hashed { hash, name }: Hashed<'_>) -> Option<u32> {
        self.by_name.find(hash, |index| self.topics[*index as usize].name == *name).copied()
    }

    /// The topic's record, made if it is not there and has to be: because someone subscribes, or
    /// because something is kept of it. `u32::MAX` if it has not.
    fn find_or_add(&mut self, named: Hashed<'_>, subscribes: bool) -> Result<u32, NotDone> {
        if let Some(index) = self.find(named) {
            return Ok(index);
        }
        let Hashed { hash, name } = named;
        let rule = match name.user() {
            Some(_) => TopicRule::default(),
            None => self.rules.of(name.as_str()),
        };
        if !subscribes && rule.history == 0 {
            return Ok(u32::MAX);
        }
        if self.topics() >= self.bounds.topics && !self.forget_an_unheard_topic() {
            self.counts.topics_full += 1;
            return Err(NotDone::Full);
        }
        let epoch = self.draw_epoch();
        let extra = rule.keeps().then(|| {
            let history = (rule.history > 0).then(|| History::new(epoch));
            let members = rule.presence.then(Members::default);
            Box::new(Extra { rule, history, members })
        });
        let topic = Topic { hash, name: name.clone(), interest: SmallVec::new(), extra };
        let index = self.topics.insert(topic) as u32;
        self.used = self.used.max(index as usize + 1);
        let topics = &self.topics;
        self.by_name.insert_unique(hash, index, |index| topics[*index as usize].hash);
        Ok(index)
    }

    /// Epochs of one start differ; those of two starts differ but for chance.
    fn draw_epoch(&mut self) -> u32 {
        // An odd step visits every number once.
        self.next_epoch = self.next_epoch.wrapping_add(0x9e37_79b1);
        self.next_epoch
    }

    /// Somebody or something of a topic may have gone: forgets it if nothing of it is left, and
    /// notes whether it may give way.
    fn settle(&mut self, index: u32) {
        let topic = &self.topics[index as usize];
        if topic.is_in_use() {
            return match topic.unheard_since() {
                Some(_) => self.unheard.insert(index),
                None => self.unheard.remove(index),
            };
        }
        self.crowded.remove(index);
        self.unheard.remove(index);
        let hash = self.topics.remove(index as usize).hash;
        if let Ok(entry) = self.by_name.find_entry(hash, |other| *other == index) {
            entry.remove();
        }
    }
}

/// A delivery to be kept: without what only those who get it now have use for.
fn plainly(delivery: &Arc<Delivery>) -> Arc<Delivery> {
    match &delivery.what {
        What::Message(issue) if !issue.encoded.is_empty() => Arc::new(Delivery {
            topic: delivery.topic.clone(),
            what: What::said(issue.publication.clone(), issue.time),
            ..**delivery
        }),
        _ => Arc::clone(delivery),
    }
}
