//! What a client of `tidegate.v1` has said, and what it may be told: `proto/CLIENT.md`.

use std::collections::BTreeMap;

use serde_json::Value;
use tidegate_tests::reference::Message;

use crate::labels::{Label, MARK, To};
use crate::ledger::{KeyOf, Place, Where};
use crate::listener::{millis, place, text, told};
use crate::rooms::{Plan, Route, TALK_COMMANDS};

/// What a command asks for.
#[derive(Debug)]
pub enum Wish {
    /// To be subscribed: with what it missed behind a place, or with the last messages.
    Subscribe {
        topic: String,
        since: Option<Place>,
        last: bool,
    },
    Unsubscribe {
        topic: String,
    },
    /// With a key, of which an answer was known before, or not.
    Publish {
        label: Label,
        key: Option<(KeyOf, bool)>,
    },
    Presence {
        topic: String,
        limit: u64,
    },
    History {
        topic: String,
        since: Option<Place>,
        limit: u64,
    },
    Ping,
    /// Nothing: it is wrong, which has this code.
    Wrong(&'static str),
}

/// A command that was said and is not answered.
#[derive(Debug)]
struct Unanswered {
    wish: Wish,
    /// How many others, said before, may have counted when it was taken in.
    ahead: usize,
    /// How often the end of its topic's subscription had been asked for.
    ends: usize,
}

/// What is known of a topic's subscription.
#[derive(Debug, Default)]
struct Subscription {
    is_on: bool,
    /// How often its end was asked for, and how often there was no room for it.
    ends: usize,
    is_full: bool,
    /// Something was asked for without an id, so that nobody knows when it is done.
    is_loose: bool,
    /// The message that was heard last, or where it stands.
    at: Option<Place>,
    /// What is told was published before: so many messages, of which so many came.
    replay: Option<(u64, u64)>,
}

/// The conversation of one connection.
pub struct Talk {
    plan: Plan,
    pub route: Route,
    pub topic: String,
    pub user: Option<&'static str>,
    pub publisher: u32,
    place: Where,
    /// Where an earlier connection stood, from which this one goes on.
    since: Option<Place>,
    is_greeted: bool,
    topics: BTreeMap<String, Subscription>,
    unanswered: BTreeMap<u32, Unanswered>,
    /// Commands without an id that may be answered with an error.
    without_id: usize,
    last: BTreeMap<(u32, To), u64>,
}

impl Talk {
    pub fn new(
        plan: &Plan,
        (topic, user): (String, Option<&'static str>),
        index: usize,
        since: Option<Place>,
    ) -> Self {
        let mut ledger = plan.ledger.borrow_mut();
        let (publisher, place) = (ledger.publisher(), (plan.shard, index));
        ledger.members.insert(publisher, (place, user));
        drop(ledger);
        Self {
            plan: plan.clone(),
            route: plan.talk,
            topic,
            user,
            publisher,
            place,
            since,
            is_greeted: false,
            topics: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            without_id: 0,
            last: BTreeMap::new(),
        }
    }

    /// A command is said, with an id or without.
    pub fn says(&mut self, id: Option<u32>, wish: Wish) {
        if let Wish::Publish { label, .. } = &wish {
            // Without an id it is never known what became of it.
            self.plan.ledger.borrow_mut().unanswered.insert(label.clone());
        }
        let topic = wish.topic().map(str::to_owned);
        let subscription = topic.map(|topic| self.topics.entry(topic).or_default());
        let mut ends = 0;
        if let Some(subscription) = subscription {
            ends = subscription.ends;
            match &wish {
                Wish::Unsubscribe { .. } => {
                    subscription.ends += 1;
                    subscription.is_loose |= id.is_none();
                }
                Wish::Subscribe { since, last, .. } => {
                    subscription.is_loose |= id.is_none();
                    // What was there before ends for it.
                    subscription.ends += usize::from(since.is_some() || *last);
                    ends = subscription.ends;
                }
                _ => {}
            }
        }
        match id {
            None => self.without_id += 1,
            Some(id) => {
                let counts = |one: &&Unanswered| !matches!(one.wish, Wish::Ping | Wish::Wrong(_));
                let ahead = self.unanswered.values().filter(counts).count();
                let before = self.unanswered.insert(id, Unanswered { wish, ahead, ends });
                assert!(before.is_none(), "{id} is the id of two commands");
            }
        }
    }

    /// A message is heard.
    ///
    /// # Panics
    /// This connection may not be told it, or not now.
    pub fn hear(&mut self, message: &Message) {
        if message.bytes.starts_with(MARK) {
            let label = Label::of(message);
            let To::Handler(_) = &label.stream.target else { panic!("{label:?} is no event") };
            return self.is_for_it(&label);
        }
        assert!(message.is_text, "an event that is no text");
        let event: Value = serde_json::from_slice(&message.bytes).expect("JSON");
        let kind = text(&event, "type").expect("a type");
        let is_first = !std::mem::replace(&mut self.is_greeted, true);
        assert_eq!(is_first, kind == "hello", "{event}");
        match kind {
            "hello" => self.hello(&event),
            "subscribed" => self.subscribed(&event),
            "unsubscribed" => self.unsubscribed(&event),
            "message" => self.message(&event),
            "push" => self.is_for_it(&Label::of(&told(&event))),
            "join" | "leave" | "presence" => _ = self.is_on(&event),
            "gap" => self.gap(&event),
            "replayed" => self.replayed(&event),
            "published" | "members" | "history" | "pong" => self.answered(kind, &event),
            "error" => self.error(&event),
            _ => panic!("an unknown event: {event}"),
        }
    }

    /// The connection is about to be left: someone may go on from where it stands.
    pub fn leaves(&mut self) {
        let places = self.topics.values().filter(|one| one.is_on).filter_map(|one| one.at.clone());
        self.plan.ledger.borrow_mut().left_at.extend(places);
    }

    /// Everything has been answered and delivered: checks that all of it was heard.
    ///
    /// # Panics
    /// Something is missing.
    pub fn check_complete(&self) {
        assert!(self.is_greeted, "{:?} was told nothing", self.place);
        let unanswered = self.unanswered.iter().next();
        assert!(unanswered.is_none(), "{:?}: {unanswered:?} was not answered", self.place);
        let ledger = self.plan.ledger.borrow();
        for (topic, subscription) in &self.topics {
            if !self.is_strict(topic) || !subscription.is_on {
                continue;
            }
            assert!(subscription.replay.is_none(), "{topic}: {subscription:?} is not over");
            let Some(at) = &subscription.at else { continue };
            let is_for_it =
                |label: &&Label| self.route.own || label.stream.publisher != self.publisher;
            let missed = ledger.behind(at).map(|(_, label)| label).find(is_for_it);
            assert!(missed.is_none(), "{missed:?} was not delivered behind {at:?}");
        }
    }

    fn hello(&mut self, event: &Value) {
        let id = text(event, "connection").expect("an id");
        self.plan.ledger.borrow_mut().is_id_of(id, self.place);
        assert_eq!(text(event, "user"), self.user, "{event}");
        assert_eq!(text(event, "protocol"), Some("tidegate.v1"), "{event}");
        assert_eq!(event["own"], self.route.own, "{event}");
        assert_eq!(event["commands"], TALK_COMMANDS, "{event}");
    }

    fn subscribed(&mut self, event: &Value) {
        let topic = text(event, "topic").expect("a topic").to_owned();
        let asked = self.answers(event).map(|asked| asked.wish);
        let (since, last) = match asked {
            Some(Wish::Subscribe { topic: wanted, since, last }) => {
                assert_eq!(wanted, topic, "{event}");
                if topic == self.topic {
                    // The route's own is told before, or never.
                    self.since = None;
                }
                (since, last)
            }
            None if topic == self.topic => (self.since.take(), false),
            None => (None, false),
            Some(other) => panic!("{other:?} was answered by {event}"),
        };
        let (is_strict, at) = (self.is_strict(&topic), place(event));
        let has_gap = event.get("gap").is_some();
        let count = event.get("replay").map(|count| count.as_u64().expect("a number"));
        let subscription = self.topics.entry(topic).or_default();
        let was_on = std::mem::replace(&mut subscription.is_on, true);
        if was_on && is_strict && since.is_none() && !last {
            // Nothing is told again.
            assert!(count.is_none() && !has_gap, "again: {event}");
            let is_unknown = subscription.replay.is_some() || subscription.at.is_none();
            // Its own messages it may not have been told.
            assert!(
                is_unknown || !self.route.own || subscription.at == at,
                "{event} at {:?}",
                subscription.at
            );
            return;
        }
        if is_strict {
            assert!(count != Some(0), "{event}");
            assert!(count.is_none() || since.is_some() || last, "nobody asked for it: {event}");
            assert!(since.is_some() || !has_gap, "a gap behind nothing: {event}");
            if let (Some(since), Some(at), false) = (&since, &at, has_gap) {
                assert!(since.epoch == at.epoch && since.offset <= at.offset, "no gap: {event}");
                assert_eq!(count.unwrap_or(0), at.offset - since.offset, "{event}");
            }
        }
        subscription.replay = count.map(|count| (count, 0));
        subscription.at = match since {
            Some(since) if !has_gap => Some(since),
            _ if count.is_some() => None,
            _ => at,
        };
    }

    fn unsubscribed(&mut self, event: &Value) {
        let topic = text(event, "topic").expect("a topic");
        match self.answers(event).map(|asked| asked.wish) {
            Some(Wish::Unsubscribe { topic: wanted }) => assert_eq!(wanted, topic, "{event}"),
            None => assert!(self.is_upset(topic), "nobody has ended it: {event}"),
            Some(other) => panic!("{other:?} was answered by {event}"),
        }
        let subscription = self.topics.entry(topic.to_owned()).or_default();
        (subscription.is_on, subscription.replay, subscription.at) = (false, None, None);
    }

    fn message(&mut self, event: &Value) {
        let label = Label::of(&told(event));
        let topic = text(event, "topic").expect("a topic");
        assert_eq!(label.stream.target, To::Topic(topic.to_owned()), "{event}");
        let is_strict = self.is_on(event);
        let is_own = label.stream.publisher == self.publisher;
        assert!(!is_own || self.route.own, "its own message came back: {event}");
        let at = place(event);
        let mut ledger = self.plan.ledger.borrow_mut();
        ledger.is_published(&label);
        ledger.has_author(&label, text(event, "connection"), text(event, "user"));
        if let Some(at) = at.clone() {
            ledger.stands_at(at.clone(), &label);
            ledger.was_taken_in(at, millis(text(event, "time").expect("a time")));
        }
        drop(ledger);
        let has_own = self.route.own;
        let subscription = self.topics.entry(topic.to_owned()).or_default();
        if let Some((_, heard)) = &mut subscription.replay {
            *heard += 1;
        }
        let before = std::mem::replace(&mut subscription.at, at);
        let (Some(before), Some(at), true) = (before, &subscription.at, is_strict) else { return };
        let is_later = at.epoch == before.epoch && at.offset > before.offset;
        let is_next = at.offset == before.offset + 1 || !has_own;
        assert!(is_later && is_next, "{event} behind {before:?}");
    }

    fn gap(&mut self, event: &Value) {
        let is_strict = self.is_on(event);
        let topic = text(event, "topic").expect("a topic");
        let subscription = self.topics.entry(topic.to_owned()).or_default();
        assert!(subscription.replay.is_some() || !is_strict, "a gap in no replay: {event}");
        // What is left of the replay may be less.
        subscription.replay = subscription.replay.map(|(_, heard)| (0, heard));
        subscription.at = place(event);
    }

    fn replayed(&mut self, event: &Value) {
        let is_strict = self.is_on(event);
        let topic = text(event, "topic").expect("a topic");
        let subscription = self.topics.entry(topic.to_owned()).or_default();
        let (replay, at) = (subscription.replay.take(), place(event));
        if is_strict {
            let (count, heard) = replay.expect("a replay, told to be over once");
            assert!(heard >= count || !self.route.own, "{heard} of {count}: {event}");
            let is_at_end = subscription.at == at || at.is_none() || !self.route.own;
            assert!(is_at_end, "{event} behind {:?}", subscription.at);
        }
        subscription.at = at;
    }

    /// Something comes of a topic: the connection has to be on it. Whether all of it is known.
    fn is_on(&self, event: &Value) -> bool {
        let topic = text(event, "topic").expect("a topic");
        let subscription = self.topics.get(topic);
        let is_on = subscription.is_some_and(|one| one.is_on || one.is_loose);
        assert!(is_on || self.route.leaves_out, "it is not on that topic: {event}");
        self.is_strict(topic)
    }

    /// What was pushed is for this connection.
    fn is_for_it(&mut self, label: &Label) {
        let may = match &label.stream.target {
            To::Topic(_) => false,
            To::User(name) => self.user == Some(name),
            To::Connection(id) | To::Handler(id) => {
                self.plan.ledger.borrow().ids.get(id) == Some(&self.place)
            }
            To::All => true,
        };
        assert!(may, "{label:?} is not for {:?}", self.place);
        let stream = (label.stream.publisher, label.stream.target.clone());
        let last = self.last.insert(stream, label.number);
        assert!(last < Some(label.number), "{label:?} after {last:?}");
        self.plan.ledger.borrow_mut().is_published(label);
    }

    /// The command that an event answers; `None` if it has no id.
    fn answers(&mut self, event: &Value) -> Option<Unanswered> {
        let id = event.get("id")?.as_u64().expect("a number") as u32;
        Some(self.unanswered.remove(&id).unwrap_or_else(|| panic!("nobody asked: {event}")))
    }

    fn answered(&mut self, kind: &str, event: &Value) {
        let topic = text(event, "topic");
        let asked = self.answers(event);
        if let (Some(topic), Some(id)) = (topic, event["id"].as_u64()) {
            self.passes_nobody_over(topic, id as u32);
        }
        match (kind, asked.map(|asked| asked.wish)) {
            ("pong", None) => self.takes_one_without_id(event),
            ("pong", Some(Wish::Ping)) => {}
            ("published", Some(Wish::Publish { label, key })) => {
                assert_eq!(topic, label.stream.target.topic(), "{event}");
                let repeated = event.get("repeated").is_some();
                self.plan.ledger.borrow_mut().is_answered(&label, place(event), key, repeated);
            }
            ("members", Some(Wish::Presence { topic: wanted, limit })) => {
                assert_eq!(topic, Some(&*wanted), "{event}");
                let count = event["members"].as_array().expect("a list").len() as u64;
                let total = event["total"].as_u64().expect("a number");
                assert!(count <= limit && count <= total, "{event}");
            }
            ("history", Some(Wish::History { topic: wanted, since, limit })) => {
                assert_eq!(topic, Some(&*wanted), "{event}");
                self.history(event, since, limit);
            }
            (_, asked) => panic!("{asked:?} was answered by {event}"),
        }
    }

    /// What is asked of a topic's home is answered in the order in which it was asked, and ids
    /// count up: none of those before this one can still be without an answer.
    fn passes_nobody_over(&self, topic: &str, id: u32) {
        let mut before = self.unanswered.range(..id);
        let is_of_topic = |one: &Unanswered| match &one.wish {
            Wish::Publish { label, .. } => label.stream.target.topic() == Some(topic),
            Wish::Presence { topic: other, .. } | Wish::History { topic: other, .. } => {
                other == topic
            }
            _ => false,
        };
        let passed = before.find(|(_, one)| is_of_topic(one));
        assert!(passed.is_none(), "{passed:?} was not answered, and {id} was");
    }

    /// What is kept was published, stands in order, and nothing is left out.
    fn history(&mut self, event: &Value, since: Option<Place>, limit: u64) {
        let at = place(event).expect("a position");
        let messages = event["messages"].as_array().expect("a list");
        assert!(messages.len() as u64 <= limit, "{event}");
        let mut ledger = self.plan.ledger.borrow_mut();
        let has_gap = event.get("gap").is_some();
        let mut before = since.filter(|_| !has_gap).map(|since| since.offset);
        for message in messages {
            let offset = message["offset"].as_u64().expect("a number");
            let is_next = before.is_none_or(|before| offset == before + 1);
            assert!(is_next, "behind {before:?}: {event}");
            before = Some(offset);
            let label = Label::of(&told(message));
            let place = Place { offset, ..at.clone() };
            ledger.is_published(&label);
            ledger.stands_at(place.clone(), &label);
            ledger.was_taken_in(place, millis(text(message, "time").expect("a time")));
            ledger.has_author(&label, text(message, "connection"), text(message, "user"));
        }
        let has_more = event.get("more").is_some();
        let is_all = messages.is_empty() || before == Some(at.offset);
        assert!(is_all || has_more, "{event}");
    }

    fn takes_one_without_id(&mut self, event: &Value) {
        self.without_id =
            self.without_id.checked_sub(1).unwrap_or_else(|| panic!("nobody asked: {event}"));
    }

    /// Something was wrong, or could not be done: this must have been possible.
    fn error(&mut self, event: &Value) {
        let code = text(event, "code").expect("a code");
        assert!(text(event, "message").is_some_and(|message| !message.is_empty()), "{event}");
        let Some(Unanswered { wish, ahead, ends }) = self.answers(event) else {
            return self.takes_one_without_id(event);
        };
        if let Wish::Publish { label, .. } = &wish {
            let mut ledger = self.plan.ledger.borrow_mut();
            ledger.unanswered.remove(label);
            ledger.refused.insert(label.clone());
        }
        let is_full = ahead >= usize::from(TALK_COMMANDS);
        let may = match (&wish, code) {
            (Wish::Wrong(expected), code) => *expected == code,
            (Wish::Ping, _) => false,
            (_, "too_many_commands") => is_full,
            (_, "busy") => true,
            (wish, "not_allowed") => !self.may(wish),
            (Wish::Subscribe { .. }, "full" | "too_many_subscriptions") => true,
            (Wish::Subscribe { topic, .. }, "not_subscribed") => {
                self.topics[topic].ends > ends || self.is_unsure(topic)
            }
            (Wish::Unsubscribe { topic }, "not_subscribed") => {
                let is_certain = self.topics[topic].is_on && self.topics[topic].ends == ends + 1;
                !is_certain || ends > 0 || self.is_unsure(topic)
            }
            (Wish::Publish { label, .. }, "not_subscribed") => {
                label.stream.target.topic() == Some(&self.topic) && self.has_left_own()
            }
            (Wish::Publish { .. }, "full") => true,
            (Wish::Presence { .. } | Wish::History { .. }, "not_kept") => true,
            _ => false,
        };
        assert!(may, "{wish:?}, behind {ahead} others, was answered by {event}");
        if let (Wish::Subscribe { topic, .. }, "full") = (&wish, code) {
            let subscription = self.topics.entry(topic.clone()).or_default();
            subscription.is_full = true;
        }
    }

    /// Whether the route lets the connection do this.
    fn may(&self, wish: &Wish) -> bool {
        let is_room = |topic: &str| topic.starts_with("rooms/");
        match wish {
            Wish::Publish { label, .. } => {
                let topic = label.stream.target.topic().expect("a topic");
                let is_own = topic == self.topic && !self.has_left_own();
                is_own || (self.plan.publishes_anywhere && is_room(topic))
            }
            wish => wish.topic().is_some_and(is_room),
        }
    }

    /// Whether the subscription to the route's topic may have ended.
    fn has_left_own(&self) -> bool {
        let own = self.topics.get(&self.topic);
        own.is_some_and(|own| own.ends > 0) || self.is_unsure(&self.topic)
    }

    fn is_unsure(&self, topic: &str) -> bool {
        let subscription = self.topics.get(topic);
        self.is_upset(topic) || subscription.is_some_and(|one| one.is_loose || one.is_full)
    }

    fn is_strict(&self, topic: &str) -> bool {
        let is_loose = self.topics.get(topic).is_some_and(|one| one.is_loose);
        !self.route.leaves_out && !is_loose && !self.is_upset(topic)
    }

    fn is_upset(&self, topic: &str) -> bool {
        self.plan.ledger.borrow().upset.contains(topic)
    }
}

impl Wish {
    fn topic(&self) -> Option<&str> {
        match self {
            Self::Subscribe { topic, .. }
            | Self::Unsubscribe { topic }
            | Self::Presence { topic, .. }
            | Self::History { topic, .. } => Some(topic),
            Self::Publish { .. } | Self::Ping | Self::Wrong(_) => None,
        }
    }
}
