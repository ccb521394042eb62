//! What a member hears, held against what was published.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tidegate_tests::reference::Message;

use crate::labels::{Label, MARK, Stream, To};
use crate::ledger::{DRAINED, Gap, Place, SENT_AWAY, Where};
use crate::random::Random;
use crate::rooms::{Plan, Route};

/// What is heard on one connection.
pub struct Listener {
    plan: Plan,
    route: Route,
    topic: String,
    user: Option<&'static str>,
    publisher: u32,
    place: Where,
    /// Where an earlier connection stood, of which this one goes on.
    pub since: Option<Place>,
    /// It was told where it stands on its topic.
    is_told: bool,
    /// The message that it heard last, or stands at.
    at: Option<Place>,
    /// The next message must be the one behind that.
    is_exact: bool,
    /// What lies between these must be its own messages, if those do not come back.
    skipped: Vec<(Place, Place)>,
    /// From this offset on it is told of messages as they are published.
    live_from: u64,
    /// Everything that is published on its topic from here on must come.
    is_sure: bool,
    /// The last message of each stream, and of each since it is sure.
    last: BTreeMap<Stream, u64>,
    last_sure: BTreeMap<Stream, u64>,
    /// Who it was told came, or left, on its topic.
    present: BTreeMap<String, bool>,
    /// How many it was told are on its topic.
    crowd: Option<Crowd>,
    /// It is told what was published before.
    replay: Option<Replay>,
    /// Topics of which its subscription has ended.
    ended: BTreeSet<String>,
}

/// What was published before, as one is told it who comes back.
struct Replay {
    /// How many messages it is at least, and how many were heard.
    count: u64,
    heard: u64,
    /// It was told that some of it is no longer kept.
    has_gap: bool,
}

/// How many are on a topic.
struct Crowd {
    /// As far as it was told: who comes while many are there is told later than who goes once few
    /// are, so it may be less than none.
    total: i64,
    /// It was told of all that was counted before: what is told next was counted since.
    is_exact: bool,
}

impl Listener {
    pub fn new(
        plan: &Plan,
        (route, topic, user): (Route, &str, Option<&'static str>),
        (publisher, index): (u32, usize),
        since: Option<Place>,
    ) -> Self {
        let place = (plan.shard, index);
        plan.ledger.borrow_mut().members.insert(publisher, (place, user));
        Self {
            plan: plan.clone(),
            route,
            topic: topic.to_owned(),
            user,
            publisher,
            place,
            since,
            is_told: false,
            at: None,
            is_exact: false,
            skipped: Vec::new(),
            live_from: 0,
            is_sure: false,
            last: BTreeMap::new(),
            last_sure: BTreeMap::new(),
            present: BTreeMap::new(),
            crowd: None,
            replay: None,
            ended: BTreeSet::new(),
        }
    }

    /// Where somebody stood who has left, for one who goes on from there.
    pub fn left_at(plan: &Plan, topic: &str, random: &mut Random) -> Option<Place> {
        let ledger = plan.ledger.borrow();
        let left: Vec<&Place> = ledger.left_at.iter().filter(|one| one.topic == topic).collect();
        let comes_back = !left.is_empty() && random.chance(700);
        comes_back.then(|| left[random.below(left.len())].clone())
    }

    /// Where it stands, if it was told.
    pub fn stands_at(&self) -> Option<Place> {
        self.at.clone().filter(|_| self.is_told)
    }

    /// A message is heard.
    ///
    /// # Panics
    /// This connection may not hear it, or not now.
    pub fn hear(&mut self, message: &Message) {
        if !self.route.events {
            return self.published(&Label::of(message), None);
        }
        if message.bytes.starts_with(MARK) {
            // Who has lost all subscriptions is told as those are who want no events.
            let label = Label::of(message);
            let is_of_handler = matches!(label.stream.target, To::Handler(_));
            assert!(is_of_handler || self.is_upset(&self.topic), "{label:?} is no event");
            return self.published(&label, None);
        }
        assert!(message.is_text, "an event that is no text");
        let event: Value = serde_json::from_slice(&message.bytes).expect("JSON");
        match text(&event, "type").unwrap_or_default() {
            "subscribed" => self.subscribed(&event),
            kind @ ("message" | "push") => {
                let label = Label::of(&told(&event));
                let (topic, to) = (text(&event, "topic"), text(&event, "to"));
                let expected = match &label.stream.target {
                    To::Topic(name) => ("message", Some(&**name), None),
                    To::User(_) => ("push", None, Some("user")),
                    To::Connection(_) | To::Handler(_) => ("push", None, Some("connection")),
                    To::All => ("push", None, Some("all")),
                };
                assert_eq!((kind, topic, to), expected, "{event}");
                self.has_origin(&label, &event);
                self.published(&label, place(&event));
            }
            kind @ ("join" | "leave") => self.presence(&event, kind == "join"),
            "presence" => self.counts_of_presence(&event),
            "gap" => self.gap(&event),
            "replayed" => self.replayed(&event),
            "unsubscribed" => self.unsubscribed(&event),
            _ => panic!("an unknown event: {event}"),
        }
    }

    /// The connection is about to be left: someone may go on from where it stands.
    pub fn leaves(&mut self) {
        if let Some(at) = self.stands_at() {
            self.plan.ledger.borrow_mut().left_at.push(at);
        }
    }

    /// Whether the server may close the connection so.
    ///
    /// # Panics
    /// It may not.
    pub fn check_close(&self, close: Option<Option<u16>>, drains: bool) {
        let Some(code) = close else { return };
        let may = matches!(code, Some(1000 | 1008 | 1013 | SENT_AWAY));
        assert!(may || (drains && code == Some(DRAINED)), "a member was closed with {code:?}");
    }

    /// Everything that was published has been delivered: checks that all of it was heard.
    ///
    /// # Panics
    /// Something is missing.
    pub fn check_complete(&mut self) {
        self.check_newest();
        if !self.is_still_sure() {
            return;
        }
        let mut ledger = self.plan.ledger.borrow_mut();
        ledger.complete += 1;
        let mut missed = 0;
        for (stream, last) in &self.last_sure {
            let newest = ledger.published.get(stream).copied().unwrap_or_default();
            missed += ledger.missing(stream, *last, newest + 1);
        }
        assert!(missed == 0 || self.route.leaves_out, "{missed} messages were not delivered");
        *ledger.missed.entry(self.plan.shard).or_default() += missed;
    }

    /// Whether nothing stands behind the message that it heard last.
    fn check_newest(&self) {
        if !self.route.events || self.route.leaves_out || self.is_upset(&self.topic) {
            return;
        }
        assert!(self.is_told, "{:?} was never told where it stands", self.place);
        assert!(self.replay.is_none(), "{:?} was never told that all is replayed", self.place);
        let Some(at) = &self.at else { return };
        let ledger = self.plan.ledger.borrow();
        let mut behind = ledger.behind(at).map(|(_, label)| label);
        let is_for_it = |label: &&Label| self.route.own || label.stream.publisher != self.publisher;
        let missed = behind.find(is_for_it);
        assert!(missed.is_none(), "{missed:?} was not delivered behind {at:?}");
        for (from, to) in &self.skipped {
            let mut between = ledger.behind(from).take_while(|(place, _)| *place < to);
            let missed = between.find(|(_, label)| label.stream.publisher != self.publisher);
            assert!(missed.is_none(), "{missed:?} was not delivered between {from:?} and {to:?}");
        }
    }

    fn subscribed(&mut self, event: &Value) {
        let id = text(event, "connection").expect("an id");
        self.plan.ledger.borrow_mut().is_id_of(id, self.place);
        let topic = text(event, "topic").expect("a topic");
        self.ended.remove(topic);
        if topic != self.topic {
            assert!(event.get("replay").is_none(), "nobody asked for this: {event}");
            return;
        }
        let has_gap = event.get("gap").is_some();
        let at = place(event);
        self.begins(event);
        let since = self.since.take();
        if let (Some(since), Some(at), false) = (&since, &at, has_gap) {
            // On a topic that is upset this may be another subscription than the one that asked.
            let follows = since.epoch == at.epoch && since.offset <= at.offset;
            assert!(follows || self.is_upset(&self.topic), "no gap: {event}");
        }
        assert!(since.is_some() || !has_gap, "a gap behind nothing: {event}");
        self.is_exact = at.is_some() && !has_gap && !self.route.leaves_out;
        self.live_from = at.as_ref().map_or(0, |at| at.offset + 1);
        self.at = if has_gap { None } else { since.or(at) };
        self.is_told = true;
        self.becomes_sure();
    }

    /// A subscription to its topic begins: with so many messages from before, and so many present.
    fn begins(&mut self, event: &Value) {
        let count = event.get("replay").map(|count| count.as_u64().expect("a number"));
        assert!(count != Some(0), "{event}");
        assert!(count.is_none() || self.since.is_some() || self.is_lenient(), "{event}");
        self.replay = count.map(|count| Replay { count, heard: 0, has_gap: false });
        let Some(present) = event.get("present") else { return };
        let total = present["total"].as_u64().expect("a number");
        // They are left out if memory is short as well, which is seen by nobody here.
        if let Some(members) = present.get("members") {
            assert!(total <= 32, "{event}");
            assert_eq!(members.as_array().map(Vec::len), Some(total as usize), "{event}");
        }
        self.crowd = Some(Crowd { total: total as i64, is_exact: false });
    }

    /// In the middle of what was published before, something is no longer kept.
    fn gap(&mut self, event: &Value) {
        assert_eq!(text(event, "topic"), Some(&*self.topic), "{event}");
        match &mut self.replay {
            Some(replay) => replay.has_gap = true,
            None => assert!(self.is_lenient(), "a gap in no replay: {event}"),
        }
        self.is_sure = false;
        let to = place(event);
        if let (Some(at), Some(to)) = (&self.at, &to) {
            let is_later = to.epoch != at.epoch || to.offset > at.offset;
            assert!(is_later || self.is_lenient(), "a gap of nothing behind {at:?}: {event}");
        }
        // What comes next stands behind it.
        self.is_exact = to.is_some() && !self.route.leaves_out;
        self.at = to;
    }

    /// All that was published before was told.
    fn replayed(&mut self, event: &Value) {
        assert_eq!(text(event, "topic"), Some(&*self.topic), "{event}");
        let to = place(event);
        if self.is_lenient() {
            self.replay = None;
            self.at = to;
            return;
        }
        let Replay { count, heard, has_gap } = self.replay.take().expect("a replay");
        let are_all = heard >= count || has_gap || !self.route.own;
        assert!(are_all, "{heard} of {count} were replayed: {event}");
        let is_at_end = to == self.at || to.is_none() || !self.route.own;
        assert!(is_at_end, "{event} behind {:?}", self.at);
        if let (Some(at), Some(to)) = (self.at.take(), &to)
            && at != *to
        {
            self.skipped.push((at, Place { offset: to.offset + 1, ..to.clone() }));
        }
        self.at = to;
    }

    /// Somebody outside has ended a subscription.
    fn unsubscribed(&mut self, event: &Value) {
        let topic = text(event, "topic").expect("a topic");
        assert!(event.get("id").is_none() && self.is_upset(topic), "nobody ended it: {event}");
        if topic == self.topic {
            (self.replay, self.crowd) = (None, None);
        }
        let is_new = self.ended.insert(topic.to_owned());
        // What the outside subscribed it to in between may have had no room, and begun for nobody.
        let ledger = self.plan.ledger.borrow();
        let may_be_again = ledger.is_granted((self.place, self.user), topic);
        assert!(is_new || may_be_again || self.route.leaves_out, "twice: {event}");
    }

    /// Its policy may leave events out, or its subscription ends and begins.
    fn is_lenient(&self) -> bool {
        self.route.leaves_out || self.is_upset(&self.topic)
    }

    /// A topic whose subscription has ended is not heard of.
    fn has_not_ended(&self, topic: &str, event: &dyn std::fmt::Debug) {
        let has_ended = self.ended.contains(topic) && !self.route.leaves_out;
        assert!(!has_ended, "behind the end of its subscription: {event:?}");
    }

    /// So many came and went of its topic, and so many are there.
    fn counts_of_presence(&mut self, event: &Value) {
        let topic = text(event, "topic").expect("a topic");
        self.has_not_ended(topic, event);
        let count = |key: &str| event[key].as_i64().expect("a number");
        let (joined, left, total) = (count("joined"), count("left"), count("total"));
        assert!(joined + left > 0, "nothing to tell: {event}");
        let is_lenient = self.is_lenient();
        if let Some(crowd) = self.crowd.as_mut().filter(|_| topic == self.topic) {
            let is_right = crowd.total + joined - left == total && total >= 0;
            let is_checked = crowd.is_exact && !is_lenient;
            assert!(is_right || !is_checked, "there were {}: {event}", crowd.total);
            *crowd = Crowd { total, is_exact: true };
        }
    }

    fn presence(&mut self, event: &Value, comes: bool) {
        let topic = text(event, "topic").expect("a topic");
        let who = text(event, "user").or(text(event, "connection")).expect("someone");
        self.has_not_ended(topic, event);
        if let Some(crowd) = self.crowd.as_mut().filter(|_| topic == self.topic) {
            crowd.total += if comes { 1 } else { -1 };
        }
        let before = self.present.insert(format!("{topic} {who}"), comes);
        let alternates = before != Some(comes);
        let is_all_told = self.plan.presence_events > 100;
        assert!(
            alternates || !is_all_told || self.route.leaves_out || self.is_upset(topic),
            "twice: {event}"
        );
    }

    fn published(&mut self, label: &Label, place: Option<Place>) {
        self.may_hear(label);
        let Label { stream, number } = label;
        let last = self.last.insert(stream.clone(), *number);
        assert!(last < Some(*number), "{label:?} after {last:?}");
        let mut ledger = self.plan.ledger.borrow_mut();
        ledger.is_published(label);
        if let Some(place) = place.clone() {
            ledger.stands_at(place, label);
        }
        if matches!(stream.target, To::Handler(_)) {
            // Nothing that it was told is left out.
            ledger.has_gap(Gap {
                stream: stream.clone(),
                last: last.unwrap_or(0),
                next: *number,
                shard: self.plan.shard,
                leaves_out: false,
            });
        }
        drop(ledger);
        if let (To::Topic(topic), true) = (&stream.target, self.route.events) {
            self.has_not_ended(topic, label);
        }
        if stream.target != To::Topic(self.topic.clone()) {
            return;
        }
        if let Some(replay) = &mut self.replay {
            replay.heard += 1;
        }
        self.follows(label, place);
        self.counts(label);
    }

    /// Who has published it is told, and all are told the same time.
    fn has_origin(&self, label: &Label, event: &Value) {
        let mut ledger = self.plan.ledger.borrow_mut();
        ledger.has_author(label, text(event, "connection"), text(event, "user"));
        let millis = millis(text(event, "time").expect("a time"));
        if let Some(place) = place(event) {
            ledger.was_taken_in(place, millis);
        }
    }

    /// Whether it may hear this at all.
    fn may_hear(&self, label: &Label) {
        let ledger = self.plan.ledger.borrow();
        let may = match &label.stream.target {
            To::Topic(name) => {
                *name == self.topic || ledger.is_granted((self.place, self.user), name)
            }
            To::User(name) => self.user == Some(name),
            To::Connection(id) | To::Handler(id) => ledger.ids.get(id) == Some(&self.place),
            To::All => true,
        };
        assert!(may, "{label:?} is not for {:?}", self.place);
        let is_own = label.stream.publisher == self.publisher;
        assert!(!is_own || self.route.own, "its own message came back");
        assert!(
            !ledger.is_banned(self.place, label),
            "{label:?} came after the subscription ended"
        );
    }

    /// Offsets count up, and none is left out.
    fn follows(&mut self, label: &Label, place: Option<Place>) {
        let Some(place) = place else { return };
        let may_be_left_out = self.route.leaves_out;
        assert!(self.is_told || may_be_left_out, "a message before it was told where it stands");
        if let Some(at) = &self.at {
            let is_next = place.offset == at.offset + 1 && place.epoch == at.epoch;
            let is_later = place.offset > at.offset && place.epoch == at.epoch;
            let is_exact = self.is_exact && !self.is_upset(&self.topic);
            assert!(
                is_next || !is_exact || !self.route.own,
                "{label:?} at {place:?}, behind {at:?}"
            );
            if is_exact && !is_next {
                self.skipped.push((at.clone(), place.clone()));
            }
            assert!(is_later || self.is_upset(&self.topic), "{place:?} behind {at:?}");
        }
        // What comes behind a gap has none itself.
        self.is_exact = !self.route.leaves_out;
        self.at = Some(place);
    }

    /// Counts what was missed, once everything must come.
    fn counts(&mut self, label: &Label) {
        let is_own = label.stream.publisher == self.publisher;
        if is_own && !self.route.events {
            self.becomes_sure();
        }
        let is_live = self.at.as_ref().is_none_or(|at| at.offset >= self.live_from);
        if !self.is_still_sure() || !is_live {
            return;
        }
        let last = self.last_sure.insert(label.stream.clone(), label.number);
        let Some(last) = last else { return };
        let mut ledger = self.plan.ledger.borrow_mut();
        ledger.has_gap(Gap {
            stream: label.stream.clone(),
            last,
            next: label.number,
            shard: self.plan.shard,
            leaves_out: self.route.leaves_out,
        });
    }

    fn becomes_sure(&mut self) {
        if !self.is_sure {
            self.is_sure = true;
            self.last_sure.clear();
        }
    }

    fn is_still_sure(&self) -> bool {
        self.is_sure && !self.is_upset(&self.topic)
    }

    fn is_upset(&self, topic: &str) -> bool {
        self.plan.ledger.borrow().upset.contains(topic)
    }
}

pub fn text<'e>(event: &'e Value, key: &str) -> Option<&'e str> {
    event.get(key)?.as_str()
}

pub fn place(event: &Value) -> Option<Place> {
    let topic = text(event, "topic")?.to_owned();
    let epoch = text(event, "epoch")?.to_owned();
    Some(Place { topic, epoch, offset: event.get("offset")?.as_u64()? })
}

/// A time as it is told, in milliseconds since 1970.
pub fn millis(time: &str) -> u128 {
    let number = |from: usize, to: usize| time[from..to].parse::<u128>().expect("digits");
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{time}");
    let is_leap = |year: u128| {
        let every = |years| year.is_multiple_of(years);
        every(4) && (!every(100) || every(400))
    };
    let (year, month) = (number(0, 4), number(5, 7) as usize);
    let years: u128 = (1970..year).map(|year| 365 + u128::from(is_leap(year))).sum();
    let february = 28 + u128::from(is_leap(year));
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days = years + months[..month - 1].iter().sum::<u128>() + number(8, 10) - 1;
    let seconds = ((days * 24 + number(11, 13)) * 60 + number(14, 16)) * 60 + number(17, 19);
    seconds * 1000 + number(20, 23)
}

/// The message that an event tells.
pub fn told(event: &Value) -> Message {
    match (text(event, "text"), text(event, "binary")) {
        (Some(text), None) => Message { is_text: true, compressed: false, bytes: text.into() },
        (None, Some(binary)) if event.get("json").is_none() => {
            let bytes = STANDARD.decode(binary).expect("base64");
            Message { is_text: false, compressed: false, bytes }
        }
        _ => panic!("an event that is text or binary: {event}"),
    }
}
