//! Clients that speak the line echo, on a listener of its own.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tidegate_tests::line_echo::{
    Answer, CLOSES, HELLO, LINE_MAX, NO_MEMORY, NO_ROOM, NUDGE, SENT_AWAY, TOO_LATE, answer,
};
use tidegate_tests::reference::Message;

use crate::client::{Action, Client, Facts};
use crate::labels::{Label, Stream, To};
use crate::ledger::{Gap, Where};
use crate::random::Random;
use crate::rooms::{Plan, ROOMS};
use crate::trickler::{EXCUSE, LATE, MESSAGE, TICK};

/// How such a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    /// Says everything, reads everything, and ends with a word.
    Correct,
    /// The same, but hardly reads.
    Slow,
    /// Says everything and never reads.
    Deaf,
    /// Says a line that is too long, and goes on.
    Long,
    /// Says half a line at the end, then nothing.
    Half,
    /// Resets at some moment.
    Resetting,
    /// Ends its side at some moment, perhaps within a line.
    Abrupt,
    /// Ends its side when it has said everything, and reads on.
    HalfClosing,
    /// Is on a topic, publishes there, and stays to the end.
    Staying,
}

const TEMPERS: [Temper; 10] = [
    Temper::Correct,
    Temper::Correct,
    Temper::Slow,
    Temper::Deaf,
    Temper::Long,
    Temper::Half,
    Temper::Resetting,
    Temper::Abrupt,
    Temper::HalfClosing,
    Temper::Staying,
];

/// One of them.
pub struct LinePeer {
    pub temper: Temper,
    plan: Plan,
    place: Where,
    /// Through a tiny buffer nobody is heard or reads fast enough for the deadlines.
    is_narrow: bool,
    /// What is left to say, line by line, and how much of the first was said.
    units: VecDeque<Vec<u8>>,
    said_of_first: usize,
    /// All that it says, from first to last, and what that is answered.
    whole: Vec<u8>,
    expected: Answer,
    /// How much of the answer was heard.
    heard: usize,
    /// What was heard and is not understood yet.
    rest: Vec<u8>,
    /// Lines after which it resets or ends.
    gives_up_after: usize,
    /// The most bytes said at once.
    step: usize,
    /// Per mille: how often it reads when it could.
    reads: u32,
    /// The topic that it is on.
    topic: Option<String>,
    /// What it publishes there itself. Once it is told that, it is known where topics are ordered,
    /// and misses nothing.
    own: Option<Label>,
    /// The last message of each stream that it was told, and that it was since it misses nothing.
    last: BTreeMap<Stream, u64>,
    last_sure: BTreeMap<Stream, u64>,
    is_sure: bool,
    facts: Facts,
    /// When the half line at its end was said, and when the server had all of it.
    half_said: Option<Duration>,
    half_received: Option<Facts>,
    nudges: usize,
    /// The last words that it was told and had not asked for.
    words: Option<Vec<u8>>,
    finished_sending: bool,
    saw_end: bool,
    harmed: bool,
}

/// The first message of a publisher that fits a line. There are none before it.
fn own(plan: &Plan, topic: &str, place: Where) -> Label {
    let mut ledger = plan.ledger.borrow_mut();
    let publisher = ledger.publisher();
    ledger.members.insert(publisher, (place, None));
    let stream = Stream { publisher, target: To::Topic(topic.to_owned()) };
    let labels = (1..).map(|number| Label { stream: stream.clone(), number });
    let fits = |label: &Label| {
        let Message { is_text, bytes, .. } = label.message();
        is_text && topic.len() + bytes.len() + 2 <= LINE_MAX
    };
    let mut labels = labels.skip_while(|label| !fits(label));
    labels.next().expect("half of them are texts, most of these short")
}

impl LinePeer {
    /// The shard's client of number `index`.
    pub fn new(random: &mut Random, plan: &Plan, index: usize, is_narrow: bool) -> Self {
        let temper = random.pick(&TEMPERS);
        let topic = (temper == Temper::Staying)
            .then(|| format!("rooms/{}", ROOMS[random.below(plan.rooms)]));
        let own = topic.as_deref().map(|topic| own(plan, topic, (plan.shard, index)));
        let mut units: Vec<Vec<u8>> = Vec::new();
        if let (Some(topic), Some(own)) = (&topic, &own) {
            units.push(format!("+{topic}\n").into());
            units.push([format!("!{topic} ").as_bytes(), &own.message().bytes, b"\n"].concat());
        }
        for _ in 0..random.pick(&[1, 5, 40, 150]) {
            units.push(line(random));
        }
        match temper {
            Temper::Long => {
                let at = random.below(units.len() + 1);
                let more = random.between(1, 500);
                units.insert(at, [vec![b'L'; LINE_MAX + more], vec![b'\n']].concat());
            }
            Temper::Half => units.push(vec![b'H'; random.between(1, LINE_MAX)]),
            Temper::HalfClosing | Temper::Staying => {}
            _ => units.push(b".\n".to_vec()),
        }
        let gives_up_after = match temper {
            Temper::Resetting | Temper::Abrupt => random.below(units.len() + 1),
            _ => usize::MAX,
        };
        let reads = match temper {
            Temper::Slow => random.pick(&[1, 10, 50]),
            Temper::Deaf => 0,
            Temper::Half => 1000,
            _ => random.pick(&[200, 1000, 1000]),
        };
        let whole = units.concat();
        Self {
            temper,
            plan: plan.clone(),
            place: (plan.shard, index),
            is_narrow,
            units: units.into(),
            said_of_first: 0,
            expected: answer(&whole),
            whole,
            heard: 0,
            rest: Vec::new(),
            gives_up_after,
            step: random.pick(&[1, 7, 100, 5000, 100_000]),
            reads,
            topic,
            own,
            last: BTreeMap::new(),
            last_sure: BTreeMap::new(),
            is_sure: false,
            facts: Facts::default(),
            half_said: None,
            half_received: None,
            nudges: 0,
            words: None,
            finished_sending: false,
            saw_end: false,
            harmed: false,
        }
    }

    /// It reads all that there is whenever it can, through a buffer that is not tiny.
    fn is_prompt(&self) -> bool {
        self.reads == 1000 && !self.is_narrow
    }

    fn adds(&mut self, line: &[u8]) {
        self.units.push_back(line.to_vec());
        self.whole.extend_from_slice(line);
        self.expected = answer(&self.whole);
    }

    /// One who stays says something when it is asked for that, and leaves with all others.
    fn think(&mut self) {
        if self.temper != Temper::Staying || !self.units.is_empty() {
            return;
        }
        if self.plan.ledger.borrow().over && self.expected.last_words == 0 {
            self.adds(b".\n");
        } else if std::mem::take(&mut self.nudges) > 0 && self.expected.last_words == 0 {
            self.adds(b"Yes\n");
        }
    }

    fn say(&mut self, random: &mut Random, room: usize) -> Action {
        let mut bytes = Vec::new();
        let most = random.between(1, self.step).min(room);
        while let Some(first) = self.units.front() {
            let count = (first.len() - self.said_of_first).min(most - bytes.len());
            bytes.extend_from_slice(&first[self.said_of_first..][..count]);
            self.said_of_first += count;
            if self.temper == Temper::Half && self.units.len() == 1 && count > 0 {
                self.half_said.get_or_insert(self.facts.now);
            }
            if self.said_of_first < first.len() {
                break;
            }
            self.units.pop_front();
            self.said_of_first = 0;
            self.gives_up_after = self.gives_up_after.saturating_sub(1);
            if self.gives_up_after == 0 {
                break;
            }
        }
        if !bytes.is_empty() {
            return Action::Say(bytes);
        }
        if self.units.is_empty() && self.temper == Temper::HalfClosing {
            self.finished_sending = true;
            return Action::End;
        }
        Action::Nothing
    }

    /// How many bytes of what was heard are understood; `None`: more has to come.
    fn understand(&mut self, drains: bool) -> Option<usize> {
        let first = *self.rest.first()?;
        assert!(self.words.is_none(), "a word behind the last: {:?}", self.rest);
        let expected = &self.expected.bytes[self.heard..];
        let is_within = self.heard > 0 && self.expected.bytes[self.heard - 1] != b'\n';
        match first {
            _ if is_within => {}
            b's' => return self.nudge(),
            b':' | b'r' => return self.publication(),
            // All last words.
            b'a' | b'b' | b'n' | b't' | b'w' => return self.last_words(drains),
            _ => {}
        }
        let line = expected.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let count = line.min(self.rest.len());
        let (what, at) = (&self.rest[..count], self.heard);
        assert!(count > 0 && what == &expected[..count], "another line at {at}: {:?}", self.rest);
        self.heard += count;
        Some(count)
    }

    fn nudge(&mut self) -> Option<usize> {
        let count = self.rest.len().min(NUDGE.len());
        assert_eq!(self.rest[..count], NUDGE[..count], "what is asked in silence");
        (count == NUDGE.len()).then(|| {
            self.nudges += 1;
            count
        })
    }

    fn last_words(&mut self, drains: bool) -> Option<usize> {
        let count = self.rest.iter().position(|byte| *byte == b'\n')? + 1;
        let words = self.rest[..count].to_vec();
        let left = &self.expected.bytes[self.heard..];
        if left == words && left.len() == self.expected.last_words {
            self.heard += count;
            return Some(count);
        }
        let has_half = self.step < 100_000 || self.half_said.is_some();
        match &words[..] {
            CLOSES => assert!(drains, "it closes, and was not told to"),
            // Its lines may come in parts, and wait for what it does not read.
            TOO_LATE => {
                let waited = self.half_said.map(|since| self.facts.now - since);
                let is_early = waited.is_some_and(|waited| waited < MESSAGE - TICK * 2);
                assert!(!is_early || !self.is_prompt(), "too late after {waited:?}");
                assert!(!self.is_prompt() || has_half, "late with whole lines");
            }
            NO_ROOM => {
                let is_granted = self.plan.ledger.borrow().is_granted_any(self.place);
                assert!(self.topic.is_some() || is_granted, "no room for nothing");
            }
            NO_MEMORY | SENT_AWAY => {}
            other => panic!("{:?}", String::from_utf8_lossy(other)),
        }
        self.words = Some(words);
        Some(count)
    }

    fn publication(&mut self) -> Option<usize> {
        let at = self.rest.windows(2).position(|two| two == b": ")?;
        let topic = String::from_utf8(self.rest[..at].to_vec()).expect("a topic");
        let told = &self.rest[at + 2..];
        let label = Label::first_of(told)?;
        let message = label.message().bytes;
        let count = message.len().min(told.len());
        assert!(told[..count] == message[..count], "{label:?} was changed on its way");
        if told.len() == count {
            return None;
        }
        assert_eq!(told[count], b'\n', "what is behind {label:?}");
        self.told(&topic, &label);
        Some(at + 2 + count + 1)
    }

    fn told(&mut self, topic: &str, label: &Label) {
        let Label { stream, number } = label;
        let mut ledger = self.plan.ledger.borrow_mut();
        let is_own = self.topic.as_deref() == Some(topic);
        let may = match &stream.target {
            To::Topic(name) => {
                name == topic && (is_own || ledger.is_granted((self.place, None), topic))
            }
            To::Connection(id) => topic.is_empty() && ledger.ids.get(id) == Some(&self.place),
            To::All => topic.is_empty(),
            To::User(_) | To::Handler(_) => false,
        };
        assert!(may, "{label:?} is not for {:?}", self.place);
        assert!(!ledger.is_banned(self.place, label), "{label:?} behind its subscription");
        ledger.is_published(label);
        let last = self.last.insert(stream.clone(), *number);
        assert!(last < Some(*number), "{label:?} after {last:?}");
        self.is_sure |= self.own.as_ref() == Some(label);
        if !self.is_sure || !is_own || ledger.upset.contains(topic) {
            return;
        }
        if let Some(last) = self.last_sure.insert(stream.clone(), *number) {
            let shard = self.plan.shard;
            let stream = stream.clone();
            ledger.has_gap(Gap { stream, last, next: *number, shard, leaves_out: false });
        }
    }

    /// One whose last line has no end is told so in time.
    fn check_overdue(&self) {
        let Some(since) = self.half_received else { return };
        let waited = self.facts.at_work - since.at_work;
        // While it is held, the end of its line may be there and is not read.
        let held = TICK * (self.facts.held - since.held);
        let most = MESSAGE + LATE + held + EXCUSE * (self.facts.pauses - since.pauses);
        let is_told = self.words.is_some() || self.facts.is_given_up || self.saw_end;
        let may_wait = is_told || self.harmed || self.facts.drains || !self.is_prompt();
        assert!(may_wait || waited <= most, "half a line is there after {waited:?}");
    }
}

impl Client for LinePeer {
    fn sees(&mut self, facts: &Facts) {
        self.facts = *facts;
        let is_half_said = self.half_said.is_some() && self.units.is_empty();
        if is_half_said && facts.unread == 0 && facts.is_accepted {
            self.half_received.get_or_insert(*facts);
        }
        self.check_overdue();
    }

    fn act(&mut self, random: &mut Random, room: usize) -> Action {
        if self.finished_sending {
            return Action::Nothing;
        }
        if self.saw_end {
            self.finished_sending = true;
            return Action::End;
        }
        if self.gives_up_after == 0 && random.chance(300) {
            self.finished_sending = true;
            return if self.temper == Temper::Abrupt { Action::End } else { Action::Reset };
        }
        self.think();
        if self.gives_up_after == 0 || room == 0 || self.words.is_some() {
            return Action::Nothing;
        }
        self.say(random, room)
    }

    fn wants_to_read(&self, random: &mut Random) -> bool {
        random.chance(self.reads)
    }

    fn hear(&mut self, bytes: &[u8], drains: bool) {
        self.rest.extend_from_slice(bytes);
        while let Some(count) = self.understand(drains) {
            self.rest.drain(..count);
        }
    }

    fn ended(&mut self, was_disturbed: bool) -> bool {
        self.saw_end = true;
        // All places may have been taken: it is not spoken to then.
        let is_refused = self.heard < HELLO.len();
        let is_promised = matches!(
            self.temper,
            Temper::Correct | Temper::Long | Temper::HalfClosing | Temper::Staying
        );
        let is_told_why = self.words.is_some();
        if was_disturbed || self.harmed || is_refused || is_told_why || !is_promised {
            return false;
        }
        let (heard, all) = (self.heard, self.expected.bytes.len());
        let is_whole = heard == all && self.rest.is_empty();
        // Who reads slowly may have to give way without a word, and so may one for whom much is
        // published where little may wait.
        let may_be_dropped = !self.is_prompt() || self.plan.allowance.is_some();
        assert!(is_whole || may_be_dropped, "{:?}: heard {heard} of {all}", self.temper);
        is_whole
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
        self.temper == Temper::Staying && self.units.is_empty()
    }

    fn reads_at_once(&self) -> bool {
        self.reads == 1000
    }
}

/// A line to be echoed, or a question; it begins with no letter that anything else begins with.
fn line(random: &mut Random) -> Vec<u8> {
    if random.chance(100) {
        return b"?\n".to_vec();
    }
    let length = random.pick(&[0, 1, 10, 100, LINE_MAX]);
    let length = random.between(length / 2, length);
    let mut line: Vec<u8> = (0..length).map(|_| random.bits() as u8).collect();
    line.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
    if let Some(first) = line.first_mut() {
        *first = b'A' + *first % 26;
    }
    line.push(b'\n');
    line
}
