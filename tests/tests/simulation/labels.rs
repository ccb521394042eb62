//! Messages that are published: each says who published it, where, and which one it is, and is the
//! same whoever makes it again.

use std::hash::{DefaultHasher, Hash, Hasher};

use tidegate_tests::reference::Message;

use crate::random::Random;

/// What each of them begins with.
pub const MARK: &[u8] = b"@tide|";

/// Which message it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    pub stream: Stream,
    /// Counted from 1 on.
    pub number: u64,
}

/// All messages of one publisher to one target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream {
    pub publisher: u32,
    pub target: To,
}

/// To whom a message is published.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum To {
    Topic(String),
    User(String),
    Connection(String),
    All,
    /// The handler of a connection is told it, and sends it on.
    Handler(String),
}

impl Label {
    /// The message.
    pub fn message(&self) -> Message {
        let mut hasher = DefaultHasher::new();
        (&self.stream, self.number).hash(&mut hasher);
        let mut random = Random::new(hasher.finish());
        let length = random.pick(&[0, 11, 100, 100, 700, 2000]);
        let is_text = random.chance(500);
        let mut bytes = MARK.to_vec();
        let Stream { publisher, target } = &self.stream;
        bytes.extend(format!("{publisher}|{}|{}|", target.text(), self.number).bytes());
        if is_text {
            bytes.extend("añ€😀z".bytes().cycle().take(length - length % 11));
        } else {
            bytes.extend((0..length).map(|_| random.bits() as u8));
        }
        Message { is_text, compressed: false, bytes }
    }

    /// Which message this is.
    ///
    /// # Panics
    /// It is none that was ever published: its bytes have changed.
    pub fn of(message: &Message) -> Self {
        let label = Self::read(&message.bytes).expect("a message without its label");
        assert!(label.message() == *message, "{label:?} was changed on its way");
        label
    }

    /// The label of the message that `bytes` begin with, once all of the label is there.
    ///
    /// # Panics
    /// They begin with something else.
    pub fn first_of(bytes: &[u8]) -> Option<Self> {
        assert!(bytes.starts_with(MARK) || MARK.starts_with(bytes), "no label: {bytes:?}");
        let bars = bytes.iter().filter(|byte| **byte == b'|').count();
        (bars >= 4).then(|| Self::read(bytes).expect("a label"))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut parts = bytes.strip_prefix(MARK)?.splitn(4, |byte| *byte == b'|');
        let mut part = || std::str::from_utf8(parts.next()?).ok();
        let publisher = part()?.parse().ok()?;
        let target = To::read(part()?)?;
        let number = part()?.parse().ok()?;
        Some(Self { stream: Stream { publisher, target }, number })
    }
}

impl To {
    /// The topic, if it is one.
    pub fn topic(&self) -> Option<&str> {
        match self {
            Self::Topic(name) => Some(name),
            _ => None,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Topic(name) => format!("t{name}"),
            Self::User(name) => format!("u{name}"),
            Self::Connection(id) => format!("c{id}"),
            Self::All => "a".to_owned(),
            Self::Handler(id) => format!("h{id}"),
        }
    }

    fn read(text: &str) -> Option<Self> {
        let (kind, name) = text.split_at_checked(1)?;
        let name = name.to_owned();
        match kind {
            "t" => Some(Self::Topic(name)),
            "u" => Some(Self::User(name)),
            "c" => Some(Self::Connection(name)),
            "a" => Some(Self::All),
            "h" => Some(Self::Handler(name)),
            _ => None,
        }
    }
}
