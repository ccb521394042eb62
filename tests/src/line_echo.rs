//! A protocol that a program brings along: lines that end with `\n` and are echoed. `+topic`
//! subscribes, `!topic text` publishes, and what is published comes as `topic: text`; `?` asks how
//! many lines there were, `.` ends. Beside it stands what it has to answer, worked out on whole
//! streams.

use std::sync::{Arc, Mutex, PoisonError};

use tidegate::handler::Publishing;
use tidegate::hub::{Cause, Target};
use tidegate::names::{ConnectionId, Name};
use tidegate::protocol::{Allowance, End, Exchange, Failing, Protocol, Stretch};

/// The longest line, in bytes without its end.
pub const LINE_MAX: usize = 1000;

/// What it says first.
pub const HELLO: &[u8] = b"hello\n";

/// What it says when nothing comes.
pub const NUDGE: &[u8] = b"still there?\n";

/// What it says last, by what ended it.
pub const BYE: &[u8] = b"bye\n";
/// A line had no end within its bound.
pub const TOO_LONG: &[u8] = b"the line is too long\n";
/// A line had no end in time.
pub const TOO_LATE: &[u8] = b"the line came too late\n";
/// A line was none of its own.
pub const WHAT: &[u8] = b"what?\n";
/// The hub has no room.
pub const NO_ROOM: &[u8] = b"no room\n";
/// There was no memory for half a line.
pub const NO_MEMORY: &[u8] = b"no memory\n";
/// The shard drains.
pub const CLOSES: &[u8] = b"the house closes\n";
/// Somebody wished it.
pub const SENT_AWAY: &[u8] = b"away with you\n";

/// The numbers of what a peer did wrong.
const LONG: u16 = 1;
const NO_COMMAND: u16 = 2;
const FULL: u16 = 3;

/// How connections have ended: their lines, and whether the peer has ended them.
pub type Ends = Arc<Mutex<Vec<(u32, bool)>>>;

/// The protocol of a listener. Of what it keeps of each connection the first four bytes count the
/// lines; it leaves the others alone.
#[derive(Default)]
pub struct LineEcho {
    /// Where ends are told.
    pub ends: Ends,
    /// What each connection may have, if not as much as by default.
    pub allowance: Option<Allowance>,
}

impl Protocol for LineEcho {
    fn allowance(&self) -> Allowance {
        self.allowance.unwrap_or_default()
    }

    fn begin(&mut self, exchange: &mut Exchange<'_, '_>) {
        // Where there is no room, the connection ends.
        let _ = exchange.send(HELLO);
    }

    fn input(&mut self, exchange: &mut Exchange<'_, '_>, input: Stretch<'_>) {
        let mut rest = input;
        while let Some(end) = exchange.bytes(&rest).iter().position(|byte| *byte == b'\n') {
            let (line, behind) = rest.split(end + 1);
            if !whole(exchange, line) {
                return;
            }
            rest = behind;
        }
        if exchange.kept().len() + rest.len() > LINE_MAX {
            return exchange.break_off(LONG, "the line is too long");
        }
        // What cannot be kept ends the connection.
        let _ = exchange.keep(rest);
    }

    fn silent(&mut self, exchange: &mut Exchange<'_, '_>) {
        let _ = exchange.send(NUDGE);
    }

    fn told(&mut self, exchange: &mut Exchange<'_, '_>, topic: Option<&Name>, message: &[u8]) {
        let topic = topic.map_or("", Name::as_str).as_bytes();
        let _ = exchange.send(&[topic, b": ", message, b"\n"].concat());
    }

    fn last_words(&mut self, exchange: &mut Exchange<'_, '_>, why: Failing) {
        let _ = exchange.send(match why {
            Failing::Fault(fault) => match fault.number {
                LONG => TOO_LONG,
                FULL => NO_ROOM,
                NO_COMMAND => WHAT,
                _ => NO_MEMORY,
            },
            Failing::GoesAway | Failing::Drains(_) => CLOSES,
            Failing::TooLate => TOO_LATE,
            Failing::NoMemory => NO_MEMORY,
            Failing::Instructed(why) => match why.cause {
                Cause::Done => BYE,
                Cause::NoRoom => NO_ROOM,
                _ => SENT_AWAY,
            },
            // Routes have these, and it is on none.
            Failing::OverRate | Failing::Overstays(_) => unreachable!("it has no such limit"),
            Failing::Slow | Failing::GivesWay => unreachable!("there is no room for words"),
        });
    }

    fn ended(&mut self, _: ConnectionId, own: &[u8; 28], end: End) {
        let count = u32::from_le_bytes(own[..4].try_into().expect("four bytes"));
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).push((count, end.by_peer));
    }
}

/// A line has come to its end; `false` if the connection ends with it.
fn whole(exchange: &mut Exchange<'_, '_>, end: Stretch<'_>) -> bool {
    if exchange.kept().len() + end.len() > LINE_MAX + 1 {
        exchange.break_off(LONG, "the line is too long");
        return false;
    }
    let own = exchange.own();
    let count = u32::from_le_bytes(own[..4].try_into().expect("four bytes")) + 1;
    own[..4].copy_from_slice(&count.to_le_bytes());
    let line = [exchange.kept(), exchange.bytes(&end)].concat();
    let command = Command::of(&line[..line.len() - 1]);
    if !matches!(command, Command::Echo) {
        exchange.forget_kept();
    }
    match command {
        Command::Echo if exchange.kept().is_empty() => return exchange.echo(end).is_ok(),
        Command::Echo => return exchange.keep(end).and_then(|()| exchange.echo_kept()).is_ok(),
        Command::Count => return exchange.send(format!("{count}\n").as_bytes()).is_ok(),
        Command::End => {
            exchange.end();
            return false;
        }
        Command::Subscribe(topic) => {
            if exchange.subscribe(&topic).is_err() {
                exchange.break_off(FULL, "no room");
                return false;
            }
        }
        Command::Publish(topic, text) => {
            if exchange.publish(&Target::Topic(topic), text, Publishing::default()).is_err() {
                exchange.break_off(FULL, "no room");
                return false;
            }
        }
        Command::Wrong => {
            exchange.break_off(NO_COMMAND, "what?");
            return false;
        }
    }
    true
}

/// What a line asks for.
enum Command {
    Echo,
    Count,
    End,
    Subscribe(Name),
    Publish(Name, String),
    Wrong,
}

impl Command {
    fn of(line: &[u8]) -> Self {
        match line {
            b"?" => Self::Count,
            b"." => Self::End,
            [b'+', topic @ ..] => name(topic).map_or(Self::Wrong, Self::Subscribe),
            [b'!', rest @ ..] => {
                let text = String::from_utf8_lossy(rest);
                let parts = text.split_once(' ');
                let named = parts.and_then(|(topic, text)| Some((name(topic.as_bytes())?, text)));
                named.map_or(Self::Wrong, |(topic, text)| Self::Publish(topic, text.to_owned()))
            }
            _ => Self::Echo,
        }
    }
}

fn name(text: &[u8]) -> Option<Name> {
    Name::new(str::from_utf8(text).ok()?).ok()
}

/// What is answered to all that a peer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// From the first word to the last, without what is published.
    pub bytes: Vec<u8>,
    /// How many of these are last words: then the server ends the connection behind them.
    pub last_words: usize,
    /// What is said ends within a line.
    pub is_half: bool,
}

/// What is answered to `said`, however that is cut. Whether a name is one is not looked at.
#[must_use]
pub fn answer(said: &[u8]) -> Answer {
    let mut bytes = HELLO.to_vec();
    let ends = |mut bytes: Vec<u8>, words: &[u8]| {
        bytes.extend_from_slice(words);
        Answer { bytes, last_words: words.len(), is_half: false }
    };
    let mut rest = said;
    for count in 1.. {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { break };
        let (line, behind) = rest.split_at(end + 1);
        if end > LINE_MAX {
            break;
        }
        match line {
            b"?\n" => bytes.extend(format!("{count}\n").bytes()),
            b".\n" => return ends(bytes, BYE),
            [b'+' | b'!', ..] => {}
            _ => bytes.extend_from_slice(line),
        }
        rest = behind;
    }
    let longest = rest.split(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len);
    if longest > LINE_MAX {
        return ends(bytes, TOO_LONG);
    }
    Answer { bytes, last_words: 0, is_half: !rest.is_empty() }
}
