//! The keys of a route about what one client may send, and how long it may stay.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use super::built::{self, BuiltWrong};
use super::reader::TableReader;
use super::value;
use crate::memory::Flow;
use crate::units::{Size, Time};

/// How many connections of a route there may be, what each may send, and how long it may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// Connections of the route at once, on all shards together, 1 to 4294967295; `None`, the
    /// default, for any number. One more is answered with 503.
    pub connections: Option<u32>,
    /// Messages that it may send; `None`, the default, for any number. A Ping counts as one.
    pub messages: Option<ClientRate>,
    /// Bytes that it may send, as they travel below TLS and with the headers of frames, each number
    /// at most 1 GiB; `None`, the default, for any number.
    pub bytes: Option<ClientRate>,
    /// What happens to one that sends more. Default [`OverRate::Slow`].
    pub over_rate: OverRate,
    /// Frames of one message, 1 to 16777216. Default 131072. More end the connection with 1009.
    pub max_frames: u32,
    /// How long a connection lasts, 1 s to 720 h, less up to a tenth of that, so that those who
    /// came at once do not go at once. Then it is closed with 1001. `None`, the default: for ever.
    pub lifetime: Option<Duration>,
    /// How long its first message may take to begin, 1 s to 720 h. Then it is closed with 1008.
    /// `None`, the default: for ever.
    pub first_message: Option<Duration>,
    /// How long it may send nothing of a message, 1 s to 720 h: Pings and Pongs are none. Then it
    /// is closed with 1001. `None`, the default: for ever.
    pub idle: Option<Duration>,
}

/// How much may be sent: so much each second in the long run, and so much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRate {
    /// Each second, at least 1.
    pub per_second: u32,
    /// At once by who has sent nothing for a while, at least 1.
    pub burst: u32,
}

impl From<ClientRate> for Flow {
    fn from(ClientRate { per_second, burst }: ClientRate) -> Self {
        Self { per_second, burst }
    }
}

/// What happens to a client that sends more than it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OverRate {
    /// `slow`: it is not read from until it may send again.
    #[default]
    Slow,
    /// `close`: the connection ends with 1008.
    Close,
}

const CONNECTIONS: RangeInclusive<u32> = 1..=u32::MAX;
const MESSAGES: RangeInclusive<u32> = 1..=1_000_000;
const BYTES: RangeInclusive<u32> = 1..=1 << 30;
const FRAMES: RangeInclusive<u32> = 1..=1 << 24;
const TIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(720 * 3600);

impl OverRate {
    const ALL: [Self; 2] = [Self::Slow, Self::Close];

    /// As the file has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Close => "close",
        }
    }
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connections: None,
            messages: None,
            bytes: None,
            over_rate: OverRate::default(),
            max_frames: 131_072,
            lifetime: None,
            first_message: None,
            idle: None,
        }
    }
}

impl ClientLimits {
    /// Checks what a program has put together, of `field` of the configuration.
    pub(super) fn check(&self, field: &str) -> Result<(), BuiltWrong> {
        let rates = [("messages", self.messages, &MESSAGES), ("bytes", self.bytes, &BYTES)];
        for (key, rate, range) in rates {
            let Some(ClientRate { per_second, burst }) = rate else { continue };
            built::number(format!("{field}.{key}.per_second"), per_second, range)?;
            built::number(format!("{field}.{key}.burst"), burst, range)?;
        }
        if let Some(connections) = self.connections {
            built::number(format!("{field}.connections"), connections, &CONNECTIONS)?;
        }
        built::number(format!("{field}.max_frames"), self.max_frames, &FRAMES)?;
        let times = [
            ("lifetime", self.lifetime),
            ("first_message", self.first_message),
            ("idle", self.idle),
        ];
        times.into_iter().try_for_each(|(key, time)| {
            time.map_or(Ok(()), |time| built::time(format!("{field}.{key}"), time, &TIMES))
        })
    }

    /// Whether anything has to be kept of each connection for it.
    #[must_use]
    pub const fn keep_something(&self) -> bool {
        let Self { messages, bytes, lifetime, first_message, idle, .. } = self;
        messages.is_some()
            || bytes.is_some()
            || lifetime.is_some()
            || first_message.is_some()
            || idle.is_some()
    }

    /// Each key as the file has it, with its value, of a text without its quotes.
    #[must_use]
    pub fn written(&self) -> [(&'static str, String); 10] {
        let number = |value: Option<u32>| value.map_or("off".into(), |value| value.to_string());
        let size =
            |value: Option<u32>| value.map_or("off".into(), |value| Size(value.into()).to_string());
        let time =
            |value: Option<Duration>| value.map_or("off".into(), |value| Time(value).to_string());
        let (rate, burst) = (|rate: ClientRate| rate.per_second, |rate: ClientRate| rate.burst);
        [
            ("connections", number(self.connections)),
            ("message_rate", number(self.messages.map(rate))),
            ("message_burst", number(self.messages.map(burst))),
            ("byte_rate", size(self.bytes.map(rate))),
            ("byte_burst", size(self.bytes.map(burst))),
            ("over_rate", self.over_rate.name().into()),
            ("max_frames", self.max_frames.to_string()),
            ("lifetime", time(self.lifetime)),
            ("first_message", time(self.first_message)),
            ("idle", time(self.idle)),
        ]
    }
}

/// Reads the keys of a route.
pub(super) fn read(table: &mut TableReader<'_, '_>) -> ClientLimits {
    let default = ClientLimits::default();
    let number = |value: &DeValue<'_>| value::integer(value, &MESSAGES);
    let messages = rate(table, ["message_rate", "message_burst"], number);
    let bytes = rate(table, ["byte_rate", "byte_burst"], |value| value::size(value, &BYTES));
    let is_free = messages.is_none() && bytes.is_none();
    let idle = is_free.then_some("while `message_rate` and `byte_rate` are off: remove it");
    let over_rate =
        |value: &DeValue<'_>| value::one_of(value, &OverRate::ALL.map(|what| (what.name(), what)));
    let frames = |value: &DeValue<'_>| value::integer(value, &FRAMES);
    ClientLimits {
        connections: connections(table),
        messages,
        bytes,
        over_rate: table.read_unless("over_rate", idle, default.over_rate, over_rate).value,
        max_frames: table.read("max_frames", default.max_frames, frames).value,
        lifetime: time(table, "lifetime"),
        first_message: time(table, "first_message"),
        idle: time(table, "idle"),
    }
}

/// Reads a rate and its burst, which is as much as comes in a second if it is not written.
pub(super) fn rate(
    table: &mut TableReader<'_, '_>,
    [rate, burst]: [&'static str; 2],
    read: impl Fn(&DeValue<'_>) -> Result<u32, String>,
) -> Option<ClientRate> {
    let per_second = table.read(rate, None, |value| or_off(value, &read)).value;
    let why = format!("while `{rate}` is off: remove it");
    let idle = per_second.is_none().then_some(why.as_str());
    let burst = table.read_unless(burst, idle, per_second, |value| read(value).map(Some)).value;
    Some(ClientRate { per_second: per_second?, burst: burst? })
}

/// Reads how many connections there may be at once.
pub(super) fn connections(table: &mut TableReader<'_, '_>) -> Option<u32> {
    let read = |value: &DeValue<'_>| value::integer(value, &CONNECTIONS);
    table.read("connections", None, |value| or_off(value, read)).value
}

fn time(table: &mut TableReader<'_, '_>, key: &'static str) -> Option<Duration> {
    table.read(key, None, |value| or_off(value, |value| value::time(value, &TIMES))).value
}

/// Reads `"off"`, or a value.
pub(super) fn or_off<T>(
    value: &DeValue<'_>,
    read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
) -> Result<Option<T>, String> {
    if value.as_str() == Some("off") {
        return Ok(None);
    }
    read(value).map(Some).map_err(|wrong| format!("{wrong} (or write \"off\")"))
}
