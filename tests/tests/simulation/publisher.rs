//! The outside: another thread's way into the hub, and what it is answered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::hub::{
    Author, ConnectionFilter, Content, Door, Errand, Excerpt, NotDone, Outcome, Presence, Present,
    Publication, Target, Why,
};
use tidegate::kernel::Peer;
use tidegate::names::{ConnectionId, Name, Node};
use tidegate_proto::message::Kind;
use tidegate_tests::hub::content;

use crate::labels::{Label, Stream, To};
use crate::ledger::{Ledger, OUTSIDE, Place, SENT_AWAY, Where};
use crate::random::Random;
use crate::rooms::{Plan, ROOMS, USERS};
use crate::several::Outside;

/// Whoever asks through the door.
pub struct Publisher {
    pub door: Door,
    plan: Plan,
    random: Random,
    /// Per mille: how often it asks for something.
    asks: u32,
    /// It also ends subscriptions, and connections.
    meddles: bool,
    sends_away: bool,
    numbers: BTreeMap<To, u64>,
    asked: u64,
    answered: u64,
    answers: Arc<Mutex<Vec<(Asked, Outcome)>>>,
    /// How often each wall clock had been set when everything was last answered.
    clocks: Vec<usize>,
}

/// What can be seen of all worlds.
pub struct Sights<'a>(pub &'a [Outside]);

impl Sights<'_> {
    /// Whether the server has given up a connection.
    fn is_gone(&self, (shard, index): Where) -> bool {
        self.0[shard].world.borrow().is_gone(index)
    }

    /// The address that is to be told of a client.
    fn told(&self, (shard, index): Where) -> Option<SocketAddr> {
        self.0[shard].world.borrow().told_address(index)
    }

    /// How often the wall clock of each shard was set.
    fn clocks(&self) -> Vec<usize> {
        self.0.iter().map(|outside| outside.world.borrow().calendars.len()).collect()
    }

    /// Between which times by its shard's clock a connection has opened.
    fn opened(&self, (shard, index): Where) -> (Duration, Duration) {
        let world = self.0[shard].world.borrow();
        let socket = &world.sockets[index];
        (socket.accepted_at.unwrap_or_default(), socket.answered_at.unwrap_or(world.now))
    }

    /// Whether a time that was told is one between these of a shard's clock, by what its wall clock
    /// showed at some time since it was set so often.
    fn is_true(
        &self,
        unix: u64,
        (shard, since): (usize, usize),
        times: (Duration, Duration),
    ) -> bool {
        let world = self.0[shard].world.borrow();
        world.calendars[since - 1..].iter().any(|calendar| {
            let [from, to] = [times.0, times.1].map(|at| (*calendar + at).as_secs());
            (from - 1..=to + 1).contains(&unix)
        })
    }
}

/// What was asked, as far as the answer is checked.
#[derive(Clone, Debug)]
enum Asked {
    /// To publish; the target is certainly gone, or was never there.
    Publish(Label, bool),
    /// To tell the handler of a connection; likewise.
    Tell(Label, bool),
    Connections(usize),
    /// Who is on a topic.
    Presence,
    /// To end a connection's subscription.
    Unsubscribe(Where, String),
    History(String),
    Other,
}

impl Publisher {
    pub fn new(door: Door, plan: &Plan, mut random: Random) -> Self {
        Self {
            door,
            plan: plan.clone(),
            asks: random.pick(&[0, 10, 100, 400]),
            meddles: random.chance(400),
            sends_away: random.chance(150) && !plan.trickles,
            random,
            numbers: BTreeMap::new(),
            asked: 0,
            answered: 0,
            answers: Arc::default(),
            clocks: Vec::new(),
        }
    }

    /// A moment passes.
    pub fn act(&mut self, sights: &Sights<'_>) {
        if self.is_answered(sights) {
            self.clocks = sights.clocks();
        }
        let is_hushed = self.plan.ledger.borrow().hushed;
        if !is_hushed && self.random.chance(self.asks) {
            self.ask_something(&|place| sights.is_gone(place));
        }
    }

    /// Whether everything that it asked was answered.
    pub fn is_answered(&mut self, sights: &Sights<'_>) -> bool {
        self.take_answers(sights);
        self.answered == self.asked
    }

    fn ask_something(&mut self, is_gone: &dyn Fn(Where) -> bool) {
        match self.random.below(18) {
            0..=3 => self.publish_to_room(),
            4 => {
                // One behind the other, and nobody waits for answers.
                for _ in 0..self.random.between(2, 20) {
                    self.publish_to_room();
                }
            }
            5 => {
                let user = self.random.pick(&USERS).to_owned();
                self.publish(To::User(user), false);
            }
            // Nor do those hear anything else who are as late as they may be: it would end them
            // sooner.
            6..=8 if !self.plan.trickles => self.publish_to_connection(is_gone),
            9 => self.publish_to_stranger(),
            10 if !self.plan.trickles => self.publish(To::All, false),
            11 | 12 => {
                let shard = self.random.below(self.door.shards());
                let filter = ConnectionFilter::default();
                let request = Errand::Connections { from: 0, filter, limit: 100 };
                self.ask_shard(shard, Asked::Connections(shard), request);
            }
            13 if !self.plan.trickles => self.subscribe(),
            16 | 17 if !self.plan.trickles => self.tell(is_gone),
            14 if self.meddles => self.meddle(),
            14 if self.sends_away => self.send_away(),
            _ => self.look(),
        }
    }

    fn publish_to_room(&mut self) {
        let room = self.room();
        self.publish(To::Topic(room), false);
    }

    fn room(&mut self) -> String {
        format!("rooms/{}", ROOMS[self.random.below(self.plan.rooms)])
    }

    fn publish_to_connection(&mut self, is_gone: &dyn Fn(Where) -> bool) {
        let Some((id, place)) = self.connection() else { return };
        self.publish(To::Connection(id), is_gone(place));
    }

    /// One that is there, or was.
    fn connection(&mut self) -> Option<(String, Where)> {
        let ledger = self.plan.ledger.borrow();
        let count = ledger.ids.len();
        if count == 0 {
            return None;
        }
        let at = self.random.below(count);
        ledger.ids.iter().nth(at).map(|(id, place)| (id.clone(), *place))
    }

    /// To an id of another node, another start, a shard that is not there, or a later connection.
    fn publish_to_stranger(&mut self) {
        let Some(strange) = self.stranger() else { return };
        self.publish(To::Connection(strange), true);
    }

    /// Tells the handler of one that is there, or was, or never was.
    fn tell(&mut self, is_gone: &dyn Fn(Where) -> bool) {
        let (id, is_gone) = if self.random.chance(150) {
            let Some(strange) = self.stranger() else { return };
            (strange, true)
        } else {
            let Some((id, place)) = self.connection() else { return };
            (id, is_gone(place))
        };
        let label = self.next(To::Handler(id.clone()));
        let message = label.message();
        // What it is comes first, so that the handler can send it as that.
        let what = [&[u8::from(message.is_text)][..], &message.bytes].concat();
        self.asked += 1;
        let answers = Arc::clone(&self.answers);
        let asked = Asked::Tell(label, is_gone);
        let id = id.parse().expect("an id");
        self.door.tell(id, what, move |answer| push(&answers, (asked, answer)));
    }

    /// An id that nobody has.
    fn stranger(&mut self) -> Option<String> {
        let (id, _) = self.connection()?;
        let id: ConnectionId = id.parse().expect("an id");
        let Node { number, start } = id.node;
        let strange = match self.random.below(4) {
            0 => ConnectionId { node: Node { number: number + 1, start }, ..id },
            1 => ConnectionId { node: Node { number, start: start ^ 1 }, ..id },
            2 => ConnectionId { shard: self.door.shards() as u16, ..id },
            _ => ConnectionId { generation: id.generation + 100_000, ..id },
        };
        Some(strange.to_string())
    }

    fn publish(&mut self, to: To, is_gone: bool) {
        let target = target(&to);
        let label = self.next(to);
        let message = label.message();
        let kind = if message.is_text { Kind::Text } else { Kind::Bytes };
        let asked = Asked::Publish(label, is_gone);
        match content(kind, &message.bytes).and_then(|content| self.door.message(content)) {
            Ok(message) => {
                let key = self.random.pick(&[None, Some("a"), Some("b")]).map(name);
                let publication = Publication { message, key, except: None, from: None };
                self.ask(asked, Errand::Publish(target, publication));
            }
            Err(refusal) => {
                // As if it had been asked.
                self.asked += 1;
                push(&self.answers, (asked, Outcome::NotDone(refusal)));
            }
        }
    }

    /// The next message for somebody, of which it is not known yet what becomes.
    fn next(&mut self, to: To) -> Label {
        let number = self.numbers.entry(to.clone()).or_default();
        *number += 1;
        let label = Label { stream: Stream { publisher: OUTSIDE, target: to }, number: *number };
        self.plan.ledger.borrow_mut().unanswered.insert(label.clone());
        label
    }

    fn subscribe(&mut self) {
        let room = self.room();
        if self.random.chance(300) {
            let user = self.random.pick(&USERS);
            self.plan.ledger.borrow_mut().grant_user(user, &room);
            let request = Errand::Subscribe(Target::User(name(user)), name(&room));
            return self.ask(Asked::Other, request);
        }
        let Some((id, place)) = self.connection() else { return };
        self.plan.ledger.borrow_mut().grant(place, &room);
        let target = target(&To::Connection(id));
        self.ask(Asked::Other, Errand::Subscribe(target, name(&room)));
    }

    /// Ends subscriptions of one room; of the others nobody does.
    fn meddle(&mut self) {
        let room = format!("rooms/{}", ROOMS[ROOMS.len() - 1]);
        self.plan.ledger.borrow_mut().upset.insert(room.clone());
        match self.random.below(3) {
            0 => self.ask(Asked::Other, Errand::DestroyTopic(name(&room))),
            1 => {
                let user = Target::User(name(self.random.pick(&USERS)));
                self.ask(Asked::Other, Errand::Unsubscribe(user, name(&room)));
            }
            _ => {
                let Some((id, place)) = self.connection() else { return };
                let asked = Asked::Unsubscribe(place, room.clone());
                let target = target(&To::Connection(id));
                self.ask(asked, Errand::Unsubscribe(target, name(&room)));
            }
        }
    }

    fn send_away(&mut self) {
        let target = match self.random.below(8) {
            0 => Target::All,
            1 => Target::User(name(self.random.pick(&USERS))),
            2 => Target::Topic(name(&self.room())),
            _ => match self.connection() {
                Some((id, _)) => target(&To::Connection(id)),
                None => return,
            },
        };
        let request = Errand::Disconnect(target, Why::wish(SENT_AWAY, "away"));
        self.ask(Asked::Other, request);
    }

    fn look(&mut self) {
        let topic = self.room();
        let request = match self.random.below(5) {
            0 => Errand::Topic(name(&topic)),
            1 => {
                let request = Errand::Presence { topic: name(&topic), limit: 10 };
                return self.ask(Asked::Presence, request);
            }
            2 => Errand::LargestTopics { from: 0 },
            3 => Errand::Topics { from: 0, prefix: "rooms/".into(), limit: 10 },
            _ => {
                let request = Errand::History { topic: name(&topic), past: None, limit: 100 };
                return self.ask(Asked::History(topic), request);
            }
        };
        self.ask(Asked::Other, request);
    }

    fn ask(&mut self, asked: Asked, request: Errand) {
        self.asked += 1;
        let answers = Arc::clone(&self.answers);
        self.door.ask(request, move |answer| push(&answers, (asked, answer)));
    }

    fn ask_shard(&mut self, shard: usize, asked: Asked, request: Errand) {
        self.asked += 1;
        let answers = Arc::clone(&self.answers);
        self.door.ask_shard(shard, request, move |answer| push(&answers, (asked, answer)));
    }

    fn take_answers(&mut self, sights: &Sights<'_>) {
        let answers = std::mem::take(&mut *self.answers.lock().expect("nobody panicked"));
        for (asked, answer) in answers {
            self.answered += 1;
            if let Asked::Publish(label, _) | Asked::Tell(label, _) = &asked {
                self.plan.ledger.borrow_mut().unanswered.remove(label);
            }
            self.judge(asked, answer, sights);
        }
        self.plan.ledger.borrow_mut().close_gaps();
    }

    /// What is answered must be true.
    fn judge(&mut self, asked: Asked, answer: Outcome, sights: &Sights<'_>) {
        let mut ledger = self.plan.ledger.borrow_mut();
        match (asked, answer) {
            (Asked::Publish(label, is_gone), Outcome::Published(published)) => {
                assert!(!is_gone, "{label:?} was published to a connection that was gone");
                ledger.is_published(&label);
                if let (Some(at), To::Topic(topic)) = (published.position, &label.stream.target) {
                    let (topic, epoch) = (topic.clone(), at.epoch_text());
                    ledger.stands_at(Place { topic, epoch, offset: at.offset }, &label);
                }
                let is_single = matches!(label.stream.target, To::Connection(_));
                assert!(!is_single || published.connections == 1, "{label:?}: {published:?}");
            }
            (Asked::Publish(label, is_gone), Outcome::NotDone(refusal)) => {
                let may = matches!(refusal, NotDone::Gone | NotDone::Busy);
                assert!(may || !is_gone, "{label:?} to a connection that is gone: {refusal:?}");
                let is_single = matches!(label.stream.target, To::Connection(_));
                let of_one = matches!(refusal, NotDone::Gone | NotDone::NotOpen | NotDone::Slow);
                assert!(is_single || !of_one, "{label:?}: {refusal:?}");
                // What goes to all may have been refused by one shard and not by another.
                if label.stream.target != To::All {
                    ledger.refused.insert(label);
                }
            }
            (Asked::Tell(label, is_gone), Outcome::Done(1)) => {
                assert!(!is_gone, "{label:?} was told to a connection that was gone");
            }
            (Asked::Tell(label, is_gone), Outcome::NotDone(refusal)) => {
                let may = matches!(refusal, NotDone::Gone | NotDone::Busy);
                // Nobody answers for a line echo, or a body.
                let is_there = matches!(refusal, NotDone::NotOpen | NotDone::Unknown);
                assert!(may || (is_there && !is_gone), "{label:?}: {refusal:?}");
                ledger.refused.insert(label);
            }
            (Asked::Connections(shard), Outcome::Connections(infos, _)) => {
                for info in infos {
                    assert_eq!(usize::from(info.id.shard), shard);
                    // The client's number is its port.
                    let Peer::Ip(address) = info.peer else { continue };
                    let place = (shard, usize::from(address.port()));
                    let told = sights.told(place);
                    assert_eq!(Some(address), told, "whatever its proxy says: {info:?}");
                    ledger.is_id_of(&info.id.to_string(), place);
                    let clock = (shard, self.clocks[shard]);
                    // Not kept on other routes, where the address is logged.
                    let Some(connected) = info.connected_at else { continue };
                    let opened = sights.opened(place);
                    assert!(sights.is_true(connected, clock, opened), "{info:?}: {opened:?}");
                }
            }
            (Asked::Presence, Outcome::Presence(presence)) => self.judge_presence(presence, sights),
            (Asked::Unsubscribe(place, topic), Outcome::Done(_)) => {
                let next = self.numbers.get(&To::Topic(topic.clone())).map_or(1, |last| last + 1);
                ledger.ban(place, &topic, next);
            }
            (Asked::History(topic), Outcome::History(history)) => {
                judge_history(&mut ledger, &topic, &history);
                drop(ledger);
                for kept in history.messages {
                    // The clock may have been set since, which changes nothing.
                    let is_true = was_shown(kept.time, sights, &vec![1; sights.0.len()]);
                    assert!(is_true, "taken in at {:?}", kept.time);
                }
            }
            (Asked::Publish(label, _) | Asked::Tell(label, _), answer) => {
                panic!("{label:?}: {answer:?}")
            }
            _ => {}
        }
    }

    /// Each member is told to be there since a moment that the clock of a shard has had.
    fn judge_presence(&self, presence: Presence, sights: &Sights<'_>) {
        for Present { since, .. } in presence.members {
            assert!(was_shown(since, sights, &self.clocks), "on a topic since {since:?}");
        }
    }
}

/// Whether the clock of a shard, which may be a topic's home, has shown this since it was set so
/// often.
fn was_shown(time: Duration, sights: &Sights<'_>, clocks: &[usize]) -> bool {
    let is_true = |(shard, since): (usize, &usize)| {
        let now = sights.0[shard].world.borrow().now;
        sights.is_true(time.as_secs(), (shard, *since), (Duration::ZERO, now))
    };
    clocks.iter().enumerate().any(is_true)
}

/// What is kept was published, and stands in order.
fn judge_history(ledger: &mut Ledger, topic: &str, history: &Excerpt) {
    let epoch = history.position.epoch_text();
    let mut before = 0;
    for kept in &history.messages {
        assert!(kept.offset > before && kept.offset <= history.position.offset);
        before = kept.offset;
        let message = &kept.publication.message;
        let label = Label::of(&tidegate_tests::reference::Message {
            is_text: !matches!(message.content(), Content::Bytes(_)),
            compressed: false,
            bytes: message.bytes().to_vec(),
        });
        let place = Place { topic: topic.to_owned(), epoch: epoch.clone(), offset: kept.offset };
        ledger.stands_at(place.clone(), &label);
        ledger.was_taken_in(place, kept.time.as_millis());
        ledger.is_published(&label);
        let from = kept.publication.from.as_ref();
        let (id, user) =
            (from.map(|from| from.connection().to_string()), from.and_then(Author::user));
        ledger.has_author(&label, id.as_deref(), user);
    }
}

fn push(answers: &Mutex<Vec<(Asked, Outcome)>>, answer: (Asked, Outcome)) {
    answers.lock().expect("nobody panicked").push(answer);
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn target(to: &To) -> Target {
    match to {
        To::Topic(topic) => Target::Topic(name(topic)),
        To::User(user) => Target::User(name(user)),
        To::Connection(id) | To::Handler(id) => Target::Connection(id.parse().expect("an id")),
        To::All => Target::All,
    }
}
