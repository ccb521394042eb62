//! What a shard knows of the topics whose home it is: which shards have subscribers, the order of
//! messages, history and presence.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;

use super::delivery::{Delivery, What, Who};
use super::history::{History, Missed};
use super::mail::{Joined, Left, Recovered};
use super::presence::Members;
use super::rules::Rules;
use super::{
    Answer, Compressed, ConnectionId, Kept, Name, Position, Presence, Publication, Refusal,
    TopicInfo, TopicRule,
};

/// How many topics are looked at for old history at a tick.
const EXPIRED_AT_ONCE: usize = 256;
/// The most messages that one who comes back is told; the newest, if it missed more.
const RECOVERED_MOST: usize = 16_384;
/// How many of the largest topics are told.
const LARGEST: usize = 20;
/// How many topics are looked at for one answer.
const SEARCHED_AT_ONCE: usize = 4096;

/// The shards that have subscribers: their number in the high 16 bits, whether a subscriber wants
/// messages compressed in the next one, and how many subscribers there are in the low 32.
#[derive(Clone, Copy)]
struct Interest(u64);

struct Topic {
    name: Name,
    interest: SmallVec<[Interest; 2]>,
    /// Only of topics of which anything is kept.
    extra: Option<Box<Extra>>,
}

struct Extra {
    rule: TopicRule,
    history: Option<History>,
    members: Option<Members>,
}

/// The bounds of what a home keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Topics.
    pub(crate) topics: u32,
    /// Members of all topics whose presence is kept.
    pub(crate) present: u32,
    /// Bytes of all histories.
    pub(crate) history_bytes: u64,
}

/// What all histories of a home hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    messages: u64,
    bytes: u64,
}

/// What a home counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Joins that were not kept because of the bound.
    pub(crate) presence_full: u64,
    /// Topics that could not come to be.
    pub(crate) topics_full: u64,
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
    rules: Rules,
    bounds: Bounds,
    held: Held,
    present: u32,
    /// Those whose leave may count, by the time at which it does.
    leaving: VecDeque<(Duration, Name, Who)>,
    /// Subscriptions that were denied, until their end is told: they count for nothing.
    denied: HashSet<(u64, ConnectionId)>,
    /// Subscriptions of those who are not listed as present because of the bound, likewise.
    unlisted: HashSet<(u64, ConnectionId)>,
    /// Where to look for old history next.
    expiring: usize,
    /// Drawn for the shard; each topic gets another.
    next_epoch: u32,
    pub(crate) counts: Counts,
}

impl Interest {
    const DEFLATES: u64 = 1 << 32;

    fn shard(self) -> u16 {
        (self.0 >> 48) as u16
    }

    fn count(self) -> u64 {
        self.0 & 0xffff_ffff
    }
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
    /// Bytes of one who is present, in the list and in that of those who leave.
    pub(crate) const PRESENT_BYTES: usize = 256;

    pub(crate) fn new(rules: Rules, bounds: Bounds, epoch: u32) -> Self {
        Self {
            by_name: HashTable::new(),
            topics: Slab::with_capacity(bounds.topics as usize),
            used: 0,
            rules,
            bounds,
            held: Held::default(),
            present: 0,
            leaving: VecDeque::new(),
            denied: HashSet::new(),
            unlisted: HashSet::new(),
            expiring: 0,
            next_epoch: epoch,
            counts: Counts::default(),
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

    /// A connection has subscribed. Returns what to tell it, if it waits for that, and what to tell
    /// all.
    ///
    /// # Errors
    /// There is no room for the topic.
    pub(crate) fn join(
        &mut self,
        joined: &Joined,
        (now, unix): (Duration, u64),
        hash: &dyn Fn(&Name) -> u64,
    ) -> Result<(Recovered, Option<Ordered>), Refusal> {
        let index = self.find_or_add(joined.hash, &joined.name, true, hash)?;
        let topic = &mut self.topics[index as usize];
        let entry = topic.interest.iter_mut().find(|one| one.shard() == joined.id.shard);
        let flag = if joined.deflates { Interest::DEFLATES } else { 0 };
        match entry {
            Some(interest) => interest.0 = (interest.0 + 1) | flag,
            None => {
                let shard = u64::from(joined.id.shard) << 48;
                topic.interest.push(Interest(shard | flag | 1));
            }
        }
        let mut recovered = Recovered::nothing(joined);
        let mut event = None;
        if let Some(extra) = &mut topic.extra {
            if let Some(history) = &mut extra.history {
                self.held.change(history, |history| history.expire(now, &extra.rule));
                recovered.position = Some(history.position());
                if joined.since.is_some() {
                    let Missed { deliveries, gap } = history.missed(joined.since, RECOVERED_MOST);
                    (recovered.missed, recovered.gap) = (deliveries, gap);
                }
            } else {
                recovered.gap = joined.since.is_some();
            }
            if let Some(members) = &mut extra.members {
                let who = joined.who();
                if self.present >= self.bounds.present && !members.has(&who) {
                    self.counts.presence_full += 1;
                    self.unlisted.insert((joined.hash, joined.id));
                } else if members.join(who.clone(), unix) {
                    self.present += 1;
                    event = Some(topic.tell(joined.hash, What::Join(who)));
                }
            }
        } else {
            recovered.gap = joined.since.is_some();
        }
        Ok((recovered, event))
    }

    /// A subscription was denied: its end, which will be told, is not one that counts.
    pub(crate) fn deny(&mut self, key: u64, id: ConnectionId) {
        self.denied.insert((key, id));
    }

    /// A subscription has ended. Returns what to tell those who are left.
    pub(crate) fn leave(
        &mut self,
        left: &Left,
        now: Duration,
        hash: &dyn Fn(&Name) -> u64,
    ) -> Option<Ordered> {
        let key = (left.hash, left.id);
        if self.denied.remove(&key) {
            return None;
        }
        let is_listed = !self.unlisted.remove(&key);
        let index = self.find(left.hash, &left.name)?;
        let topic = &mut self.topics[index as usize];
        let at = topic.interest.iter().position(|one| one.shard() == left.id.shard)?;
        topic.interest[at].0 -= 1;
        if topic.interest[at].count() == 0 {
            topic.interest.swap_remove(at);
        }
        let mut event = None;
        if let Some(Extra { rule, members: Some(members), .. }) = topic.extra.as_deref_mut()
            && is_listed
        {
            let (who, leaves_at) = (left.who(), now + rule.linger);
            if members.leave(&who, leaves_at) {
                if members.expire(&who, now) {
                    self.present -= 1;
                    event = Some(topic.tell(left.hash, What::Leave(who)));
                } else if members.await_return(&who) {
                    self.leaving.push_back((leaves_at, left.name.clone(), who));
                }
            }
        }
        self.drop_if_idle(index, hash);
        event
    }

    /// Gives a message its place, and keeps it if the topic has a history. `compress` is called
    /// once, if some subscriber wants it compressed.
    ///
    /// # Errors
    /// There is no room for the topic's history.
    pub(crate) fn publish(
        &mut self,
        (key, name): (u64, &Name),
        publication: Publication,
        now: Duration,
        (hash, compress): (&dyn Fn(&Name) -> u64, Compress<'_>),
    ) -> Result<Ordered, Refusal> {
        let index = self.find_or_add(key, name, false, hash)?;
        let Some(topic) = self.topics.get_mut(index as usize) else {
            let what = What::Message(publication, None);
            let topic = Some(name.clone());
            let delivery = Arc::new(Delivery { topic, hash: key, position: None, what });
            return Ok(Ordered { delivery, shards: SmallVec::new(), connections: 0 });
        };
        let deflates = topic.interest.iter().any(|one| one.0 & Interest::DEFLATES != 0);
        let deflated = if deflates { compress(&publication) } else { None };
        let mut ordered = topic.tell(key, What::Message(publication, deflated));
        if let Some(Extra { rule, history: Some(history), .. }) = topic.extra.as_deref_mut() {
            let delivery =
                Arc::get_mut(&mut ordered.delivery).expect("nobody else has a new delivery yet");
            delivery.position = Some(history.advance());
            let room = self.bounds.history_bytes - (self.held.bytes - history.held());
            let kept = plainly(&ordered.delivery);
            self.held.change(history, |history| history.keep(now, kept, rule, room));
            // A message too large to be kept leaves none.
            self.drop_if_idle(index, hash);
        }
        Ok(ordered)
    }

    /// The shards with subscribers, and how many there are.
    pub(crate) fn subscribers(&self, key: u64, name: &Name) -> (SmallVec<[u16; 4]>, u64) {
        match self.find(key, name) {
            Some(index) => self.topics[index as usize].subscribers(),
            None => (SmallVec::new(), 0),
        }
    }

    /// Forgets a topic's history.
    pub(crate) fn forget(&mut self, key: u64, name: &Name, hash: &dyn Fn(&Name) -> u64) -> bool {
        let Some(index) = self.find(key, name) else { return false };
        let epoch = self.draw_epoch();
        if let Some(extra) = &mut self.topics[index as usize].extra
            && let Some(history) = &mut extra.history
        {
            self.held.change(history, |history| *history = History::new(epoch));
        }
        self.drop_if_idle(index, hash);
        true
    }

    /// Time has passed: leaves count, history grows old. Returns what to tell.
    pub(crate) fn tick(&mut self, now: Duration, hash: &dyn Fn(&Name) -> u64) -> Vec<Ordered> {
        self.expire_histories(now, hash);
        let mut events = Vec::new();
        // Rules may linger differently, so one may wait behind another that lingers longer.
        let (mut due, mut later) = (Vec::new(), VecDeque::new());
        for leaving in self.leaving.drain(..) {
            if leaving.0 <= now { due.push(leaving) } else { later.push_back(leaving) }
        }
        self.leaving = later;
        for (_, name, who) in due {
            let key = hash(&name);
            let Some(index) = self.find(key, &name) else { continue };
            let topic = &mut self.topics[index as usize];
            let members = topic.extra.as_mut().and_then(|extra| extra.members.as_mut());
            let Some(members) = members else { continue };
            if members.expire(&who, now) {
                self.present -= 1;
                events.push(topic.tell(key, What::Leave(who)));
                self.drop_if_idle(index, hash);
            } else if let Some(leaves_at) = members.next_look(&who) {
                self.leaving.push_back((leaves_at, name, who));
            }
        }
        events
    }

    /// Whether anything here changes with time.
    pub(crate) fn waits_for_time(&self) -> bool {
        !self.leaving.is_empty() || self.held.messages > 0
    }

    pub(crate) fn describe(&self, key: u64, name: &Name) -> Answer {
        match self.find(key, name) {
            Some(index) => Answer::Topics(vec![self.topics[index as usize].info()], None),
            None => Answer::Refused(Refusal::Unknown),
        }
    }

    /// Topics from the record `from` on whose names begin with `prefix`.
    pub(crate) fn list(&self, from: u32, prefix: &str, limit: usize) -> Answer {
        let mut infos = Vec::new();
        let end = self.used;
        let until = end.min(from as usize + SEARCHED_AT_ONCE);
        for index in from as usize..until {
            if infos.len() == limit {
                return Answer::Topics(infos, Some(index as u32));
            }
            let Some(topic) = self.topics.get(index) else { continue };
            if topic.name.user().is_none() && topic.name.as_str().starts_with(prefix) {
                infos.push(topic.info());
            }
        }
        Answer::Topics(infos, (until < end).then_some(until as u32))
    }

    /// Of the records from `from` on that are looked at for one answer, the topics with the most
    /// subscribers.
    pub(crate) fn largest(&self, from: u32) -> Answer {
        let mut largest: Vec<(u64, &Topic)> = Vec::with_capacity(LARGEST + 1);
        let end = self.used;
        let until = end.min(from as usize + SEARCHED_AT_ONCE);
        for topic in (from as usize..until).filter_map(|index| self.topics.get(index)) {
            let count = topic.subscribers().1;
            let is_large = largest.len() < LARGEST || largest.last().is_some_and(|l| l.0 < count);
            if topic.name.user().is_none() && is_large {
                let at = largest.partition_point(|(other, _)| *other >= count);
                largest.insert(at, (count, topic));
                largest.truncate(LARGEST);
            }
        }
        let infos = largest.into_iter().map(|(_, topic)| topic.info()).collect();
        Answer::Topics(infos, (until < end).then_some(until as u32))
    }

    pub(crate) fn presence(&self, key: u64, name: &Name, limit: usize) -> Answer {
        let extra = self.find(key, name).and_then(|at| self.topics[at as usize].extra.as_ref());
        match extra.and_then(|extra| extra.members.as_ref()) {
            Some(members) => Answer::Presence(Presence {
                members: members.list(limit),
                total: members.len() as u64,
            }),
            None => Answer::Refused(Refusal::Unknown),
        }
    }

    pub(crate) fn history(
        &mut self,
        (key, name): (u64, &Name),
        since: Option<Position>,
        limit: usize,
        now: Duration,
    ) -> Answer {
        let Some(index) = self.find(key, name) else { return Answer::Refused(Refusal::Unknown) };
        let extra = self.topics[index as usize].extra.as_deref_mut();
        let Some(Extra { rule, history: Some(history), .. }) = extra else {
            return Answer::Refused(Refusal::Unknown);
        };
        self.held.change(history, |history| history.expire(now, rule));
        let Missed { deliveries, gap } = history.since(since, limit);
        let kept = |delivery: &Arc<Delivery>| {
            let publication = delivery.publication()?.clone();
            Some(Kept { offset: delivery.position?.offset, publication: Arc::new(publication) })
        };
        let messages = deliveries.iter().filter_map(kept).collect();
        Answer::History(super::History { messages, position: history.position(), gap })
    }

    fn find(&self, key: u64, name: &Name) -> Option<u32> {
        self.by_name.find(key, |index| self.topics[*index as usize].name == *name).copied()
    }

    /// The topic's record, made if it is not there and has to be: because someone subscribes, or
    /// because something is kept of it. `u32::MAX` if it has not.
    fn find_or_add(
        &mut self,
        key: u64,
        name: &Name,
        subscribes: bool,
        hash: &dyn Fn(&Name) -> u64,
    ) -> Result<u32, Refusal> {
        if let Some(index) = self.find(key, name) {
            return Ok(index);
        }
        let rule = match name.user() {
            Some(_) => TopicRule::default(),
            None => self.rules.of(name.as_str()),
        };
        if !subscribes && rule.history == 0 {
            return Ok(u32::MAX);
        }
        if self.topics() >= self.bounds.topics {
            self.counts.topics_full += 1;
            return Err(Refusal::Full);
        }
        let epoch = self.draw_epoch();
        let extra = rule.keeps().then(|| {
            let history = (rule.history > 0).then(|| History::new(epoch));
            let members = rule.presence.then(Members::default);
            Box::new(Extra { rule, history, members })
        });
        let topic = Topic { name: name.clone(), interest: SmallVec::new(), extra };
        let index = self.topics.insert(topic) as u32;
        self.used = self.used.max(index as usize + 1);
        let topics = &self.topics;
        self.by_name.insert_unique(key, index, |index| hash(&topics[*index as usize].name));
        Ok(index)
    }

    /// Epochs of one start differ; those of two starts differ but for chance.
    fn draw_epoch(&mut self) -> u32 {
        // An odd step visits every number once.
        self.next_epoch = self.next_epoch.wrapping_add(0x9e37_79b1);
        self.next_epoch
    }

    fn drop_if_idle(&mut self, index: u32, hash: &dyn Fn(&Name) -> u64) {
        let topic = &self.topics[index as usize];
        let is_kept = topic.extra.as_ref().is_some_and(|extra| {
            extra.history.as_ref().is_some_and(|history| history.len() > 0)
                || extra.members.as_ref().is_some_and(|members| members.len() > 0)
        });
        if is_kept || !topic.interest.is_empty() {
            return;
        }
        let name = self.topics.remove(index as usize).name;
        if let Ok(entry) = self.by_name.find_entry(hash(&name), |other| *other == index) {
            entry.remove();
        }
    }

    fn expire_histories(&mut self, now: Duration, hash: &dyn Fn(&Name) -> u64) {
        if self.held.messages == 0 {
            return;
        }
        let end = (self.expiring + EXPIRED_AT_ONCE).min(self.used);
        for index in self.expiring..end {
            let Some(topic) = self.topics.get_mut(index) else { continue };
            let Some(Extra { rule, history: Some(history), .. }) = topic.extra.as_deref_mut()
            else {
                continue;
            };
            self.held.change(history, |history| history.expire(now, rule));
            self.drop_if_idle(index as u32, hash);
        }
        self.expiring = if end < self.used { end } else { 0 };
    }
}

/// Compresses a message, if it is worth it.
pub(crate) type Compress<'c> = &'c mut dyn FnMut(&Publication) -> Option<Compressed>;

/// A delivery to be kept: without what only those who get it now have use for.
fn plainly(delivery: &Arc<Delivery>) -> Arc<Delivery> {
    match &delivery.what {
        What::Message(publication, Some(_)) => Arc::new(Delivery {
            topic: delivery.topic.clone(),
            what: What::Message(publication.clone(), None),
            ..**delivery
        }),
        _ => Arc::clone(delivery),
    }
}

impl Topic {
    fn subscribers(&self) -> (SmallVec<[u16; 4]>, u64) {
        let shards = self.interest.iter().map(|one| one.shard()).collect();
        (shards, self.interest.iter().map(|one| one.count()).sum())
    }

    /// Something to tell all subscribers.
    fn tell(&self, hash: u64, what: What) -> Ordered {
        let (shards, connections) = self.subscribers();
        let topic = Some(self.name.clone());
        let delivery = Arc::new(Delivery { topic, hash, position: None, what });
        Ordered { delivery, shards, connections }
    }

    fn info(&self) -> TopicInfo {
        let history = self.extra.as_ref().and_then(|extra| extra.history.as_ref());
        let members = self.extra.as_ref().and_then(|extra| extra.members.as_ref());
        TopicInfo {
            name: self.name.clone(),
            subscribers: self.subscribers().1,
            position: history.map(History::position),
            kept: history.map_or(0, History::len) as u64,
            present: members.map(|members| members.len() as u64),
        }
    }
}
