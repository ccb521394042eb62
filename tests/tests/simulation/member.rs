//! Clients of the hub's routes.

use crate::client::{Action, Client};
use crate::hearing::Heard;
use crate::labels::{Label, Stream, To};
use crate::ledger::Place;
use crate::listener::Listener;
use crate::random::Random;
use crate::rooms::{MayPublish, Plan, ROOMS, Route, USERS};
use crate::script;
use crate::speech::Speech;

/// How a member behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    /// Reads everything and stays to the end.
    Staying,
    /// Reads everything, and leaves when it has said what it had to say.
    Leaving,
    /// The same, but hardly reads.
    Slow,
    /// Never reads.
    Deaf,
    /// Resets, or ends, at some moment.
    Abrupt,
    /// Publishes though it may not.
    Intruder,
}

const TEMPERS: [Temper; 8] = [
    Temper::Staying,
    Temper::Staying,
    Temper::Leaving,
    Temper::Leaving,
    Temper::Slow,
    Temper::Deaf,
    Temper::Abrupt,
    Temper::Intruder,
];

/// One of them.
pub struct Member {
    pub temper: Temper,
    /// It reads all that there is whenever it can, through a buffer that is not tiny.
    pub is_prompt: bool,
    who: (Route, &'static str, Option<&'static str>),
    plan: Plan,
    stream: Stream,
    compression: bool,
    /// What is to be said, frame by frame.
    speech: Speech,
    /// Per mille: how often it reads when it could, and publishes.
    reads: u32,
    publishes: u32,
    /// Messages that it has yet to publish, and those that it has published.
    to_publish: u64,
    published: u64,
    head: Vec<u8>,
    standing: Standing,
    heard: Heard,
    listener: Listener,
    pings_answered: usize,
    is_closing: bool,
    finished_sending: bool,
    saw_end: bool,
    harmed: bool,
    /// A part of a second header is in front of its request.
    is_misread: bool,
}

/// Who a member is.
pub struct Identity {
    temper: Temper,
    route: Route,
    room: &'static str,
    user: Option<&'static str>,
    /// Where it goes on.
    pub since: Option<Place>,
}

/// What it knows of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Coming,
    Opened,
    Refused,
}

impl Member {
    /// A member who is the shard's client of number `index`.
    pub fn new(random: &mut Random, plan: &Plan, index: usize, server_compresses: bool) -> Self {
        let temper = random.pick(&TEMPERS);
        let route: Route = plan.routes[random.below(plan.routes.len())];
        let room = ROOMS[random.below(plan.rooms)];
        let has_user = route.has_users && random.chance(600);
        let user = has_user.then(|| random.pick(&USERS));
        let topic = format!("rooms/{room}");
        let since = Some(()).filter(|()| route.events);
        let since = since.and_then(|()| Listener::left_at(plan, &topic, random));
        let identity = Identity { temper, route, room, user, since };
        Self::with(random, plan, (index, server_compresses), identity)
    }

    /// The same, who is somebody in particular.
    pub fn with(
        random: &mut Random,
        plan: &Plan,
        (index, server_compresses): (usize, bool),
        identity: Identity,
    ) -> Self {
        let Identity { temper, route, room, user, since } = identity;
        let may = match route.may_publish {
            MayPublish::Anyone => true,
            MayPublish::Users => user.is_some(),
            MayPublish::Nobody => false,
        };
        let to_publish = match temper {
            _ if may => random.pick(&[0, 1, 5, 30, 100]),
            Temper::Intruder => 1,
            _ => 0,
        };
        let offers = random.chance(500);
        let compression = offers && server_compresses;
        let publisher = plan.ledger.borrow_mut().publisher();
        let topic = format!("rooms/{room}");
        let listener = Listener::new(plan, (route, &topic, user), (publisher, index), since);
        let since = listener.since.as_ref().map(|place| (&*place.epoch, place.offset));
        let target = route.target(room, user, since);
        let reads = match temper {
            Temper::Slow => random.pick(&[1, 10]),
            Temper::Deaf => 0,
            _ => random.pick(&[200, 800, 1000]),
        };
        Self {
            temper,
            is_prompt: reads == 1000,
            who: (route, room, user),
            plan: plan.clone(),
            stream: Stream { publisher, target: To::Topic(topic) },
            compression,
            speech: Speech::new(
                script::opening(random, &target, offers),
                random.pick(&[7, 100, 5000, 5000]),
            ),
            reads,
            publishes: random.pick(&[5, 50, 300]),
            to_publish,
            published: 0,
            head: Vec::new(),
            standing: Standing::Coming,
            heard: Heard::all_published(compression),
            listener,
            pings_answered: 0,
            is_closing: false,
            finished_sending: false,
            saw_end: false,
            harmed: false,
            is_misread: false,
        }
    }

    /// Adds what it wants to say now.
    fn think(&mut self, random: &mut Random) {
        if self.heard.close.is_some() && !self.is_closing {
            self.speech.break_off();
            return self.close(random);
        }
        if self.standing != Standing::Opened || self.is_closing || !self.speech.is_empty() {
            return;
        }
        let (hushed, over) = {
            let ledger = self.plan.ledger.borrow();
            (ledger.hushed, ledger.over)
        };
        if self.to_publish > 0 && !hushed {
            if random.chance(self.publishes) {
                self.publish(random);
            }
        } else if over || (self.temper != Temper::Staying && random.chance(20)) {
            self.listener.leaves();
            self.close(random);
        }
    }

    fn publish(&mut self, random: &mut Random) {
        self.to_publish -= 1;
        self.published += 1;
        let label = Label { stream: self.stream.clone(), number: self.published };
        self.speech.extend(script::whole(random, &label.message(), self.compression));
    }

    fn close(&mut self, random: &mut Random) {
        self.is_closing = true;
        self.speech.extend([script::frame(0x88, &1000_u16.to_be_bytes(), script::key(random))]);
    }

    fn answer_pings(&mut self) {
        let unanswered = self.heard.pings - self.pings_answered;
        self.pings_answered = self.heard.pings;
        if self.is_closing {
            return;
        }
        for _ in 0..unanswered {
            self.speech.answer_ping();
        }
    }

    /// The head of the response, once it is whole, is judged; returns what is behind it.
    fn open(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.head.extend_from_slice(bytes);
        let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Vec::new();
        };
        let behind = self.head.split_off(end + 4);
        let head = String::from_utf8_lossy(&self.head);
        self.standing = match &head["HTTP/1.1 ".len()..][..3] {
            "101" => Standing::Opened,
            "503" | "408" => Standing::Refused,
            // Its proxy has said a second header, of which a part is taken for the request.
            "400" if self.is_misread => Standing::Refused,
            _ => panic!("a member was refused: {head}"),
        };
        behind
    }
}

impl Client for Member {
    fn drops_out(&mut self) -> Option<Identity> {
        let is_there = self.standing == Standing::Opened && !self.is_closing && !self.saw_end;
        let (route, room, user) = self.who;
        let since = self.listener.stands_at().filter(|_| is_there && route.events)?;
        self.finished_sending = true;
        Some(Identity { temper: Temper::Staying, route, room, user, since: Some(since) })
    }

    fn act(&mut self, random: &mut Random, room: usize) -> Action {
        if self.finished_sending {
            return Action::Nothing;
        }
        if self.saw_end {
            self.finished_sending = true;
            return Action::End;
        }
        if self.temper == Temper::Abrupt && random.chance(10) {
            self.finished_sending = true;
            self.listener.leaves();
            return if random.chance(500) { Action::Reset } else { Action::End };
        }
        self.think(random);
        self.speech.say(random, room)
    }

    fn wants_to_read(&self, random: &mut Random) -> bool {
        random.chance(self.reads)
    }

    fn hear(&mut self, bytes: &[u8], drains: bool) {
        let behind;
        let frames = match self.standing {
            Standing::Opened => bytes,
            Standing::Refused => return,
            Standing::Coming => {
                behind = self.open(bytes);
                &behind
            }
        };
        if self.standing == Standing::Opened {
            self.heard.hear(frames);
            for message in self.heard.take_messages() {
                self.listener.hear(&message);
            }
            self.listener.check_close(self.heard.close, drains);
            // Only those give way who do not read.
            let gave_way = self.heard.reason.ends_with("memory is short");
            assert!(!gave_way || !self.is_prompt, "a member that reads had to give way");
            self.answer_pings();
        }
    }

    fn ended(&mut self, was_disturbed: bool) -> bool {
        self.saw_end = true;
        let is_promised = matches!(self.temper, Temper::Staying | Temper::Leaving);
        if was_disturbed || self.harmed || !is_promised || self.standing == Standing::Refused {
            return false;
        }
        assert!(self.heard.close.is_some(), "a member's connection just ended");
        self.heard.close == Some(Some(1000))
    }

    fn is_misread(&mut self) {
        self.is_misread = true;
    }

    fn harm(&mut self) {
        self.harmed = true;
    }

    fn sees_nothing_more(&mut self) {
        self.saw_end = true;
    }

    fn saw_end(&self) -> bool {
        self.saw_end
    }

    fn is_waiting(&self) -> bool {
        let reads = !matches!(self.temper, Temper::Slow | Temper::Deaf);
        !reads || (self.speech.is_empty() && self.standing != Standing::Coming)
    }

    fn is_slow(&self) -> bool {
        matches!(self.temper, Temper::Slow | Temper::Deaf)
    }

    fn reads_at_once(&self) -> bool {
        self.reads == 1000
    }

    fn check_complete(&mut self) {
        let is_there = self.standing == Standing::Opened && !self.is_closing && !self.saw_end;
        if is_there && !self.is_slow() {
            self.listener.check_complete();
        }
    }
}
