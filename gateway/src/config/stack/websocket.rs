//! The layer `ws`: WebSocket over what is below it.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Stack;
use super::forwarding::{self, Forwarding};
use super::options::{Options, Switch, on_or_off};
use super::place::Place;
use super::values::{TIMES, number_in, time, time_or_off};
use super::writer::LayerWriter;
use crate::config::built::{self, BuiltWrong};
use crate::units::{Size, Time, size_in};

/// Its place in a stack.
pub(super) const PLACE: Place = Place {
    name: "ws",
    at: "",
    rank: 1,
    is_needed: true,
    read,
    agrees: forwarding::agrees,
    shown: |stack| Some(&stack.websocket),
    check: |stack, field| {
        let field = format!("{field}.websocket");
        stack.websocket.check(&field)?;
        let agrees = forwarding::agrees(stack);
        agrees.map_err(|wrong| BuiltWrong(format!("{field}.forwarding.from: {wrong}")))
    },
};

/// The bounds of `deflate_level`.
const DEFLATE_LEVELS: RangeInclusive<u8> = 1..=9;
/// The bounds of `deflate_min`, in bytes.
const DEFLATE_MINIMA: RangeInclusive<u32> = 0..=16 << 20;

/// The layer `ws`: WebSocket over what is below it. Every duration is 1 s to 4 h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocketLayer {
    /// Options `ping` and `pong`: how a silent peer is found out. `None` for `ping=off`: then only
    /// the transport tells that a peer is gone.
    pub keepalive: Option<Keepalive>,
    /// Option `close`: how long the closing handshake may take. Default 5 s.
    pub close: Duration,
    /// Option `head`: how long the whole request head may take, from the accept. Default 10 s.
    pub head: Duration,
    /// Option `decision`: how long a request may be undecided that its handler does not decide at
    /// once, from the end of its head; it is answered with 504 then. Default 10 s.
    pub decision: Duration,
    /// Option `stall`: how long a peer may take no byte of what is queued for it before it is
    /// closed, and how long the source of a response's body may say nothing. Default 30 s.
    pub stall: Duration,
    /// Option `message`: how long a message that must be held whole (compressed, or for a handler
    /// that wants it whole) may take to arrive, from its first byte. Default 60 s.
    pub message: Duration,
    /// Options `deflate`, `deflate_level` and `deflate_min`: what permessage-deflate (RFC 7692)
    /// does when a peer offers it. `None` for `deflate=off`: the offer is declined.
    pub deflate: Option<Deflate>,
    /// Options `forwarded` and `from`: who the client is, by a header of its request. `None`, the
    /// default, where the peer is who it seems to be.
    pub forwarding: Option<Forwarding>,
}

/// When the server pings a silent peer, and how long it waits. Both are 1 s to 4 h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Option `ping`: the silence after which the server pings. Default 30 s.
    pub ping: Duration,
    /// Option `pong`: how long the answer may take before the connection is closed. Default 10 s.
    pub pong: Duration,
}

/// What the server compresses, once permessage-deflate is agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deflate {
    /// Option `deflate_level`: 1 (fastest) to 9 (smallest). Default 1.
    pub level: u8,
    /// Option `deflate_min`: bytes below which a message is sent plain, at most 16 MiB. Default
    /// 256.
    pub min: u32,
}

impl Default for WebSocketLayer {
    fn default() -> Self {
        Self {
            keepalive: Some(Keepalive::default()),
            close: Duration::from_secs(5),
            head: Duration::from_secs(10),
            decision: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            message: Duration::from_secs(60),
            deflate: Some(Deflate::default()),
            forwarding: None,
        }
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { ping: Duration::from_secs(30), pong: Duration::from_secs(10) }
    }
}

impl Default for Deflate {
    fn default() -> Self {
        Self { level: 1, min: 256 }
    }
}

fn read(mut options: Options<'_, '_>, stack: &mut Stack) {
    let default = WebSocketLayer::default();
    stack.websocket = WebSocketLayer {
        keepalive: keepalive(&mut options),
        close: options.read("close", default.close, time),
        head: options.read("head", default.head, time),
        decision: options.read("decision", default.decision, time),
        stall: options.read("stall", default.stall, time),
        message: options.read("message", default.message, time),
        deflate: deflate(&mut options),
        forwarding: forwarding::read(&mut options),
    };
    options.finish();
}

fn keepalive(options: &mut Options<'_, '_>) -> Option<Keepalive> {
    let default = Keepalive::default();
    let ping = options.read("ping", Some(default.ping), time_or_off);
    let switch = Switch { key: "ping", is_on: ping.is_some() };
    let pong = options.read_unless_off("pong", switch, default.pong, time);
    ping.map(|ping| Keepalive { ping, pong })
}

fn deflate(options: &mut Options<'_, '_>) -> Option<Deflate> {
    let default = Deflate::default();
    let on = options.read("deflate", true, on_or_off);
    let switch = Switch { key: "deflate", is_on: on };
    let level = options.read_unless_off("deflate_level", switch, default.level, |text| {
        number_in(text, &DEFLATE_LEVELS)
    });
    let min = options
        .read_unless_off("deflate_min", switch, default.min, |text| size_in(text, &DEFLATE_MINIMA));
    on.then_some(Deflate { level, min })
}

impl WebSocketLayer {
    /// Checks what a program has put together, which is `field` of the configuration.
    fn check(&self, field: &str) -> Result<(), BuiltWrong> {
        let Self { keepalive, close, head, decision, stall, message, deflate, forwarding } = self;
        let (keepalive, deflate) = (*keepalive, *deflate);
        let times = [
            ("close", Some(*close)),
            ("head", Some(*head)),
            ("decision", Some(*decision)),
            ("stall", Some(*stall)),
            ("message", Some(*message)),
            ("keepalive.ping", keepalive.map(|keepalive| keepalive.ping)),
            ("keepalive.pong", keepalive.map(|keepalive| keepalive.pong)),
        ];
        for (name, time) in times {
            time.map_or(Ok(()), |time| built::time(format!("{field}.{name}"), time, &TIMES))?;
        }
        if let Some(forwarding) = forwarding {
            forwarding.check(&format!("{field}.forwarding"))?;
        }
        let Some(Deflate { level, min }) = deflate else { return Ok(()) };
        built::number(format!("{field}.deflate.level"), level, &DEFLATE_LEVELS)?;
        built::size(format!("{field}.deflate.min"), min, &DEFLATE_MINIMA)
    }
}

impl fmt::Display for WebSocketLayer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::default();
        let mut written = LayerWriter::begin("ws", out)?;
        match self.keepalive {
            Some(keepalive) => keepalive.write(&mut written)?,
            None => written.option("ping", "off", false)?,
        }
        written.option("close", Time(self.close), self.close == default.close)?;
        written.option("head", Time(self.head), self.head == default.head)?;
        written.option("decision", Time(self.decision), self.decision == default.decision)?;
        written.option("stall", Time(self.stall), self.stall == default.stall)?;
        written.option("message", Time(self.message), self.message == default.message)?;
        match self.deflate {
            Some(deflate) => deflate.write(&mut written)?,
            None => written.option("deflate", "off", false)?,
        }
        self.forwarding.as_ref().map_or(Ok(()), |forwarding| forwarding.write(&mut written))
    }
}

impl Keepalive {
    fn write(self, written: &mut LayerWriter<'_, '_>) -> fmt::Result {
        let default = Self::default();
        written.option("ping", Time(self.ping), self.ping == default.ping)?;
        written.option("pong", Time(self.pong), self.pong == default.pong)
    }
}

impl Deflate {
    fn write(self, written: &mut LayerWriter<'_, '_>) -> fmt::Result {
        let default = Self::default();
        written.option("deflate_level", self.level, self.level == default.level)?;
        written.option("deflate_min", Size(self.min.into()), self.min == default.min)
    }
}
