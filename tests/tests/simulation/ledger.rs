//! What was published in a run, and what came of it: what clients and the outside know together.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::labels::{Label, Stream, To};

/// The publisher that is no connection.
pub const OUTSIDE: u32 = 0;

/// The close code with which the outside closes connections.
pub const SENT_AWAY: u16 = 4100;

/// The code of a drain.
pub const DRAINED: u16 = 1012;

/// A connection: its shard, and which of the shard's clients it is.
pub type Where = (usize, usize);

/// An idempotency key, with its topic and whose key it is.
pub type KeyOf = (String, Option<String>, String);

/// Where a message stands, as events say it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub topic: String,
    pub epoch: String,
    pub offset: u64,
}

/// Messages of a stream that a client heard nothing of, between two that it heard.
pub struct Gap {
    pub stream: Stream,
    pub last: u64,
    pub next: u64,
    pub shard: usize,
    /// Its route's policy may leave messages out.
    pub leaves_out: bool,
}

#[derive(Default)]
pub struct Ledger {
    publishers: u32,
    /// The last message of each stream that somebody is known to have published.
    pub published: BTreeMap<Stream, u64>,
    /// What the outside was told is not published.
    pub refused: BTreeSet<Label>,
    places: BTreeMap<Place, Label>,
    /// When what has a place was taken in, in milliseconds since 1970.
    times: BTreeMap<Place, u128>,
    /// Which publisher is which connection, and of which user.
    pub members: BTreeMap<u32, (Where, Option<&'static str>)>,
    /// Where those stood who have left.
    pub left_at: Vec<Place>,
    /// Connections by their ids.
    pub ids: BTreeMap<String, Where>,
    /// Who has been subscribed to what by the outside, at some time.
    granted: BTreeSet<(Where, String)>,
    granted_to_users: BTreeSet<(String, String)>,
    /// Who was unsubscribed, and from which message of the outside's on it hears no more.
    banned: BTreeMap<(Where, String), u64>,
    /// Topics whose subscriptions the outside has ended, or may have.
    pub upset: BTreeSet<String>,
    /// Topics to which users have been subscribed from outside.
    unsure: BTreeSet<String>,
    /// Messages of the outside's that were asked for, and of which it has not been told what
    /// became.
    pub unanswered: BTreeSet<Label>,
    /// What clients seem to have missed, of which some is not known yet to have been published.
    gaps: Vec<Gap>,
    /// Messages that clients of a shard missed, where a policy allows that.
    pub missed: BTreeMap<usize, u64>,
    /// What was sent with idempotency keys, and where messages of each are known to stand; of a
    /// topic that keeps nothing, nowhere.
    keyed: BTreeMap<Label, KeyOf>,
    key_places: BTreeMap<KeyOf, BTreeSet<Option<Place>>>,
    /// What was sent with a key that had been used, and is not published; where that stands which
    /// was.
    repeated: BTreeSet<Label>,
    repeats_of: Vec<(Place, KeyOf)>,
    /// What was sent with keys and is known to be published.
    published_once: BTreeSet<Label>,
    /// Keys are kept for as long as the run lasts.
    pub keeps_keys: bool,
    /// Nobody publishes any more.
    pub hushed: bool,
    /// Everybody leaves.
    pub over: bool,
    /// Members whose hearing was checked to the last message.
    pub complete: u64,
}

impl Ledger {
    /// A number for another publisher.
    pub fn publisher(&mut self) -> u32 {
        self.publishers += 1;
        self.publishers
    }

    /// A message is known to be published.
    ///
    /// # Panics
    /// It was said that another was published in its place.
    pub fn is_published(&mut self, label: &Label) {
        assert!(!self.repeated.contains(label), "{label:?} repeats another, and was published");
        if self.keyed.contains_key(label) {
            self.published_once.insert(label.clone());
        }
        let last = self.published.entry(label.stream.clone()).or_default();
        *last = label.number.max(*last);
    }

    /// A message is sent with an idempotency key.
    pub fn is_keyed(&mut self, label: &Label, of: &KeyOf) {
        self.keyed.insert(label.clone(), of.clone());
    }

    /// Whether a message of this key is known to have been published.
    pub fn knows_key(&self, of: &KeyOf) -> bool {
        self.key_places.contains_key(of)
    }

    /// Who has published a message is told so: with a key, of which it knew that it had been used,
    /// or not.
    ///
    /// # Panics
    /// It cannot be.
    pub fn is_answered(
        &mut self,
        label: &Label,
        place: Option<Place>,
        key: Option<(KeyOf, bool)>,
        repeated: bool,
    ) {
        self.unanswered.remove(label);
        if repeated {
            let (of, _) = key.unwrap_or_else(|| panic!("{label:?} has no key, and is repeated"));
            let is_single = !self.published_once.contains(label);
            assert!(is_single, "{label:?} repeats another, and was published");
            self.repeated.insert(label.clone());
            self.refused.insert(label.clone());
            self.repeats_of.extend(place.map(|place| (place, of)));
            return;
        }
        if let Some(place) = place.clone() {
            self.stands_at(place, label);
        }
        self.is_published(label);
        if let Some((of, was_known)) = key {
            let is_lost = was_known && self.keeps_keys;
            assert!(!is_lost, "{label:?} was published though its key had been used");
            self.key_places.entry(of).or_default().insert(place);
        }
    }

    /// At the end: each answer that repeats another has the place of a message with the same key.
    ///
    /// # Panics
    /// It has not.
    pub fn check_repeats(&self) {
        for (place, of) in &self.repeats_of {
            let Some(label) = self.places.get(place) else { continue };
            assert_eq!(self.keyed.get(label), Some(of), "{label:?} at {place:?} has another key");
        }
        let single = |places: &BTreeSet<Option<Place>>| places.len() <= 1 || !self.keeps_keys;
        let several = self.key_places.iter().find(|(_, places)| !single(places));
        assert!(several.is_none(), "published more than once with one key: {several:?}");
    }

    /// A message has a place.
    ///
    /// # Panics
    /// Another has it.
    pub fn stands_at(&mut self, place: Place, label: &Label) {
        let other = self.places.entry(place).or_insert_with(|| label.clone());
        assert_eq!(other, label, "two messages in one place");
    }

    /// A message was taken in at a time.
    ///
    /// # Panics
    /// Another was told before.
    pub fn was_taken_in(&mut self, place: Place, millis: u128) {
        let other = *self.times.entry(place).or_insert(millis);
        assert_eq!(other, millis, "one message was taken in at two times");
    }

    /// A message is told to be by this connection of this user.
    ///
    /// # Panics
    /// It is by another.
    pub fn has_author(&mut self, label: &Label, id: Option<&str>, user: Option<&str>) {
        match self.members.get(&label.stream.publisher).copied() {
            Some((place, name)) => {
                self.is_id_of(id.expect("who has published it"), place);
                assert_eq!(user, name, "{label:?}");
            }
            None => assert_eq!((id, user), (None, None), "{label:?}"),
        }
    }

    /// The messages that stand behind a place in its topic.
    pub fn behind(&self, at: &Place) -> impl Iterator<Item = (&Place, &Label)> {
        let is_same = |place: &Place| place.topic == at.topic && place.epoch == at.epoch;
        let behind = self.places.range((Bound::Excluded(at), Bound::Unbounded));
        behind.take_while(move |(place, _)| is_same(place))
    }

    /// The connection of an id.
    ///
    /// # Panics
    /// Another has it.
    pub fn is_id_of(&mut self, id: &str, place: Where) {
        let other = *self.ids.entry(id.to_owned()).or_insert(place);
        assert_eq!(other, place, "{id} is the id of two connections");
    }

    /// A client heard nothing of what stands between two messages. What is refused may be known
    /// only later than what is published behind it.
    pub fn has_gap(&mut self, gap: Gap) {
        if gap.last + 1 < gap.next {
            self.gaps.push(gap);
            self.close_gaps();
        }
    }

    /// Counts what was missed, as far as it is known what was published.
    ///
    /// # Panics
    /// Something was missed that no policy leaves out.
    pub fn close_gaps(&mut self) {
        for gap in std::mem::take(&mut self.gaps) {
            let Gap { stream, last, next, shard, leaves_out } = &gap;
            let label = |number| Label { stream: stream.clone(), number };
            if (last + 1..*next).any(|number| self.unanswered.contains(&label(number))) {
                self.gaps.push(gap);
                continue;
            }
            let missed = self.missing(stream, *last, *next);
            assert!(missed == 0 || *leaves_out, "{missed} of {stream:?} are missing before {next}");
            *self.missed.entry(*shard).or_default() += missed;
        }
    }

    /// How many messages of a stream are missing between two of them.
    pub fn missing(&self, stream: &Stream, last: u64, next: u64) -> u64 {
        let is_missing = |number: &u64| {
            let label = Label { stream: stream.clone(), number: *number };
            !self.refused.contains(&label) && !self.unanswered.contains(&label)
        };
        (last + 1..next).filter(is_missing).count() as u64
    }

    /// The outside subscribes a connection.
    pub fn grant(&mut self, place: Where, topic: &str) {
        self.granted.insert((place, topic.to_owned()));
        self.banned.remove(&(place, topic.to_owned()));
    }

    /// The outside subscribes a user's connections.
    pub fn grant_user(&mut self, user: &str, topic: &str) {
        self.granted_to_users.insert((user.to_owned(), topic.to_owned()));
        // Any of them may be meant.
        self.banned.retain(|(_, banned), _| banned != topic);
        self.unsure.insert(topic.to_owned());
    }

    /// A connection is not subscribed, as far as messages of the outside from `number` on are
    /// concerned.
    pub fn ban(&mut self, place: Where, topic: &str, number: u64) {
        self.banned.insert((place, topic.to_owned()), number);
    }

    /// Whether the outside has ever subscribed a connection to a topic, or its user.
    pub fn is_granted(&self, (place, user): (Where, Option<&str>), topic: &str) -> bool {
        let by_user =
            |user: &str| self.granted_to_users.contains(&(user.to_owned(), topic.to_owned()));
        self.granted.contains(&(place, topic.to_owned())) || user.is_some_and(by_user)
    }

    /// Whether the outside has ever subscribed a connection to anything.
    pub fn is_granted_any(&self, place: Where) -> bool {
        self.granted.iter().any(|(granted, _)| *granted == place)
    }

    /// Whether a connection was unsubscribed before this was published.
    pub fn is_banned(&self, place: Where, label: &Label) -> bool {
        let To::Topic(topic) = &label.stream.target else { return false };
        if self.unsure.contains(topic) {
            return false;
        }
        let from = self.banned.get(&(place, topic.clone()));
        label.stream.publisher == OUTSIDE && from.is_some_and(|from| label.number >= *from)
    }
}
