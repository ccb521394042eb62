//! Clients that speak commands.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tidegate_tests::reference::Message;

use crate::client::{Action, Client};
use crate::hearing::Heard;
use crate::labels::{Label, Stream, To};
use crate::ledger::{DRAINED, Place, SENT_AWAY};
use crate::listener::Listener;
use crate::member::Temper;
use crate::random::Random;
use crate::rooms::{Plan, ROOMS, USERS};
use crate::script;
use crate::speech::Speech;
use crate::talk::{Talk, Wish};

const TEMPERS: [Temper; 10] = [
    Temper::Staying,
    Temper::Staying,
    Temper::Staying,
    Temper::Staying,
    Temper::Staying,
    Temper::Leaving,
    Temper::Leaving,
    Temper::Slow,
    Temper::Deaf,
    Temper::Abrupt,
];

/// What is wrong, as `{}` has the id, and its code.
const WRONG: [(&str, &str); 8] = [
    (r#"{"type":"dance","id":{}}"#, "unknown_command"),
    (r#"{"type":"subscribe","id":{}}"#, "bad_command"),
    (r#"{"type":"subscribe","id":{},"topic":""}"#, "bad_topic"),
    (r#"{"type":"subscribe","id":{},"topic":"rooms/kept","since":"7"}"#, "bad_position"),
    (r#"{"type":"ping","id":{},"topic":"rooms/kept"}"#, "bad_command"),
    (r#"{"type":"publish","id":{},"topic":"rooms/kept"}"#, "bad_command"),
    (r#"{"type":"publish","id":{},"topic":"rooms/kept","binary":"_"}"#, "bad_command"),
    (r#"{"type":"history","id":{},"topic":"rooms/kept","limit":0}"#, "bad_command"),
];

/// One of them.
pub struct Commander {
    pub temper: Temper,
    plan: Plan,
    compression: bool,
    /// What is to be said, frame by frame.
    speech: Speech,
    /// Per mille: how often it reads when it could, and says something.
    reads: u32,
    says: u32,
    /// Commands that it has yet to say, and the id of the next.
    left: usize,
    next_id: u32,
    /// The last message to each topic.
    numbers: BTreeMap<String, u64>,
    head: Vec<u8>,
    is_refused: bool,
    is_open: bool,
    heard: Heard,
    talk: Talk,
    pings_answered: usize,
    is_closing: bool,
    finished_sending: bool,
    saw_end: bool,
    harmed: bool,
    /// A part of a second header is in front of its request.
    is_misread: bool,
}

impl Commander {
    /// One that is the shard's client of number `index`.
    pub fn new(random: &mut Random, plan: &Plan, index: usize, server_compresses: bool) -> Self {
        let mut temper = random.pick(&TEMPERS);
        if !plan.talks_slowly && matches!(temper, Temper::Slow | Temper::Deaf) {
            temper = Temper::Staying;
        }
        let room = ROOMS[random.below(plan.rooms)];
        let user = random.chance(600).then(|| random.pick(&USERS));
        let topic = format!("rooms/{room}");
        let since = Listener::left_at(plan, &topic, random);
        let query = since.as_ref().map(|place| (&*place.epoch, place.offset));
        let target = plan.talk.target(room, user, query);
        let offers = random.chance(500);
        let opening = script::opening(random, &target, offers);
        let head = opening.strip_suffix(b"\r\n").expect("the end of a head");
        let opening = [head, b"Sec-WebSocket-Protocol: tidegate.v1\r\n\r\n"].concat();
        let compression = offers && server_compresses;
        let reads = match temper {
            Temper::Slow => random.pick(&[1, 10]),
            Temper::Deaf => 0,
            _ => random.pick(&[200, 800, 1000, 1000]),
        };
        Self {
            temper,
            plan: plan.clone(),
            compression,
            speech: Speech::new(opening, random.pick(&[7, 1000, 5000, 5000])),
            reads,
            says: random.pick(&[50, 300, 300]),
            left: random.pick(&[0, 5, 15, 40]),
            next_id: random.pick(&[0, 0, 7, u32::MAX - 400]),
            numbers: BTreeMap::new(),
            head: Vec::new(),
            is_refused: false,
            is_open: false,
            heard: Heard::all_published(compression),
            talk: Talk::new(plan, (topic, user), index, since),
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
        if !self.is_open || self.is_closing || !self.speech.is_empty() {
            return;
        }
        let (hushed, over) = {
            let ledger = self.plan.ledger.borrow();
            (ledger.hushed, ledger.over)
        };
        if self.left > 0 && !hushed {
            if random.chance(self.says) {
                // Now and then more at once than may be unanswered.
                for _ in 0..random.pick(&[1, 1, 1, 3, 12]).min(self.left) {
                    self.left -= 1;
                    self.command(random);
                }
            }
        } else if over || (self.temper != Temper::Staying && random.chance(20)) {
            self.talk.leaves();
            self.close(random);
        }
    }

    fn command(&mut self, random: &mut Random) {
        match random.below(20) {
            0..=3 => self.subscribe(random),
            4 | 5 => {
                let topic = self.topic(random);
                let command = json!({ "type": "unsubscribe", "topic": topic });
                self.ask(random, 50, command, Wish::Unsubscribe { topic });
            }
            6..=12 => self.publish(random),
            13 => {
                let (topic, limit) = (self.topic(random), random.pick(&[1, 1000]));
                let command = json!({ "type": "presence", "topic": topic, "limit": limit });
                self.ask(random, 0, command, Wish::Presence { topic, limit });
            }
            14 | 15 => self.history(random),
            16 | 17 => self.ask(random, 100, json!({ "type": "ping" }), Wish::Ping),
            18 => {
                let (text, code) = random.pick(&WRONG);
                let id = self.next_id();
                self.talk.says(Some(id), Wish::Wrong(code));
                self.say_command(random, text.replace("{}", &id.to_string()));
            }
            _ => {
                self.talk.says(None, Wish::Wrong("bad_command"));
                let text = random.pick(&["", "[]", "nothing", r#"{"type":"ping","id":-1}"#]);
                self.say_command(random, text.to_owned());
            }
        }
    }

    /// A topic; a few of them the route lets nobody have.
    fn topic(&self, random: &mut Random) -> String {
        match random.chance(50) {
            true => "closed/room".to_owned(),
            false => format!("rooms/{}", ROOMS[random.below(self.plan.rooms)]),
        }
    }

    fn subscribe(&mut self, random: &mut Random) {
        let topic = self.topic(random);
        let mut command = json!({ "type": "subscribe", "topic": topic });
        let since = Listener::left_at(&self.plan, &topic, random);
        if let Some(since) = since.filter(|_| random.chance(700)) {
            command["since"] = position(&since).into();
            self.ask(
                random,
                0,
                command,
                Wish::Subscribe { topic, since: Some(since), last: false },
            );
        } else if random.chance(300) {
            command["last"] = random.pick(&[1, 5, 1000]).into();
            self.ask(random, 0, command, Wish::Subscribe { topic, since: None, last: true });
        } else {
            self.ask(random, 50, command, Wish::Subscribe { topic, since: None, last: false });
        }
    }

    fn publish(&mut self, random: &mut Random) {
        let says_topic = random.chance(700);
        let topic = if says_topic { self.topic(random) } else { self.talk.topic.clone() };
        let number = self.numbers.entry(topic.clone()).or_default();
        *number += 1;
        let target = To::Topic(topic.clone());
        let stream = Stream { publisher: self.talk.publisher, target };
        let label = Label { stream, number: *number };
        let message = label.message();
        let mut command = json!({ "type": "publish" });
        if says_topic {
            command["topic"] = topic.clone().into();
        }
        match String::from_utf8(message.bytes.clone()) {
            Ok(text) if message.is_text => command["text"] = text.into(),
            _ => command["binary"] = STANDARD.encode(&message.bytes).into(),
        }
        if random.chance(200) {
            command["key"] = random.pick(&["a", "b"]).into();
        }
        let key = random.chance(500).then(|| {
            // Whatever is published with a key that was used is not published again.
            let key = format!("key {}", random.below(6));
            command["idempotency_key"] = key.clone().into();
            let mut ledger = self.plan.ledger.borrow_mut();
            let of = (topic, self.talk.user.map(str::to_owned), key);
            ledger.is_keyed(&label, &of);
            let is_known = ledger.knows_key(&of);
            (of, is_known)
        });
        self.ask(random, 50, command, Wish::Publish { label, key });
    }

    fn history(&mut self, random: &mut Random) {
        let topic = self.topic(random);
        let limit = random.pick(&[1, 3, 1000]);
        let mut command = json!({ "type": "history", "topic": topic });
        let since = Listener::left_at(&self.plan, &topic, random);
        match &since {
            None if random.chance(500) => command["last"] = limit.into(),
            None => command["limit"] = limit.into(),
            Some(since) => {
                command["limit"] = limit.into();
                command["since"] = position(since).into();
            }
        }
        self.ask(random, 0, command, Wish::History { topic, since, limit });
    }

    fn next_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Says a command, of which so many per mille have no id.
    fn ask(&mut self, random: &mut Random, without: u32, mut command: Value, wish: Wish) {
        let id = (!random.chance(without)).then(|| self.next_id());
        if let Some(id) = id {
            command["id"] = id.into();
        }
        self.talk.says(id, wish);
        self.say_command(random, command.to_string());
    }

    fn say_command(&mut self, random: &mut Random, text: String) {
        let message = Message { is_text: true, compressed: false, bytes: text.into() };
        self.speech.extend(script::whole(random, &message, self.compression));
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
        match &head["HTTP/1.1 ".len()..][..3] {
            "101" => {
                assert!(head.contains("Sec-WebSocket-Protocol: tidegate.v1\r\n"), "{head}");
                self.is_open = true;
            }
            "503" | "408" => self.is_refused = true,
            // Its proxy has said a second header, of which a part is taken for the request.
            "400" if self.is_misread => self.is_refused = true,
            _ => panic!("who speaks commands was refused: {head}"),
        }
        behind
    }

    fn is_there(&self) -> bool {
        self.is_open && !self.is_closing && !self.saw_end
    }
}

impl Client for Commander {
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
            self.talk.leaves();
            return if random.chance(500) { Action::Reset } else { Action::End };
        }
        self.think(random);
        self.speech.say(random, room)
    }

    fn wants_to_read(&self, random: &mut Random) -> bool {
        random.chance(self.reads)
    }

    fn hear(&mut self, bytes: &[u8], drains: bool) {
        if self.is_refused {
            return;
        }
        let frames = if self.is_open { bytes.to_vec() } else { self.open(bytes) };
        if !self.is_open {
            return;
        }
        self.heard.hear(&frames);
        for message in self.heard.take_messages() {
            self.talk.hear(&message);
        }
        if let Some(code) = self.heard.close {
            let may = matches!(code, Some(1000 | 1008 | 1013 | SENT_AWAY));
            assert!(may || (drains && code == Some(DRAINED)), "closed with {code:?}");
        }
        self.answer_pings();
    }

    fn ended(&mut self, was_disturbed: bool) -> bool {
        self.saw_end = true;
        let is_promised = matches!(self.temper, Temper::Staying | Temper::Leaving);
        if was_disturbed || self.harmed || !is_promised || self.is_refused {
            return false;
        }
        assert!(self.heard.close.is_some(), "the connection of one who speaks commands just ended");
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
        self.is_slow() || (self.speech.is_empty() && (self.is_open || self.is_refused))
    }

    fn is_slow(&self) -> bool {
        matches!(self.temper, Temper::Slow | Temper::Deaf)
    }

    fn reads_at_once(&self) -> bool {
        self.reads == 1000
    }

    fn check_complete(&mut self) {
        if self.is_there() && !self.is_slow() {
            self.talk.check_complete();
        }
    }
}

/// A place, as commands say it.
fn position(place: &Place) -> String {
    format!("{}:{}", place.epoch, place.offset)
}
