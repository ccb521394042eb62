//! From the line to the layers.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::options::{Options, Switch, on_or_off};
use super::{Deflate, Keepalive, Stack, TcpLayer, WebSocketLayer};
use crate::config::built::{self, BuiltWrong};
use crate::config::hint;
use crate::units::{quote, size_in, time_in};

/// One thing that is wrong with a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackError {
    /// The byte of the stack that it begins at; the stack's length if something is missing.
    pub offset: usize,
    /// What is wrong and what to do.
    pub message: String,
}

/// A place in a stack.
struct Place {
    /// The layer that may stand there.
    name: &'static str,
    /// Where that is, for a layer that has several.
    at: &'static str,
    /// Whether a stack needs it.
    is_needed: bool,
    /// Takes the layer's options over.
    read: fn(Options<'_, '_>, &mut Stack),
}

/// The places of the layers that this version builds, from the inside out. Each is taken once.
const PLACES: [Place; 4] = [
    Place { name: "log", at: " above `ws`", is_needed: false, read: log_above },
    Place { name: "ws", at: "", is_needed: true, read: websocket_layer },
    Place { name: "log", at: " below `ws`", is_needed: false, read: log_below },
    Place { name: "tcp", at: "", is_needed: true, read: tcp_layer },
];

/// The layers that have their name and their place, but are not built yet.
const NOT_BUILT: [&str; 5] = ["tls", "proxy", "mqtt", "http", "h2"];
/// What an error about the order shows.
const EXAMPLE: &str = "layers are written from the inside out, such as `log!ws!log!tcp`";

/// The bounds of every duration in a stack.
const TIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(4 * 3600);
/// The bounds of a socket buffer, in bytes.
const SOCKET_BUFFERS: RangeInclusive<u32> = 4 << 10..=64 << 20;
/// The bounds of what waits to be accepted.
const LISTEN_BACKLOGS: RangeInclusive<u32> = 1..=65_535;
/// The bounds of `deflate_level`.
const DEFLATE_LEVELS: RangeInclusive<u8> = 1..=9;
/// The bounds of `deflate_min`, in bytes.
const DEFLATE_MINIMA: RangeInclusive<u32> = 0..=16 << 20;

/// See [`Stack::parse`].
pub(super) fn stack(text: &str) -> Result<Stack, Vec<StackError>> {
    let mut parser = Parser::default();
    let mut offset = 0;
    for part in text.split('!') {
        parser.layer(&WrittenLayer::new(part, offset));
        offset += part.len() + 1;
    }
    parser.finish(text.len())
}

/// Checks a stack that a program has put together, which is `field` of the configuration.
///
/// # Errors
/// What is out of its bounds.
pub(in crate::config) fn check(stack: &Stack, field: &str) -> Result<(), BuiltWrong> {
    let WebSocketLayer { keepalive, close, head, decision, stall, message, deflate } =
        stack.websocket;
    let times = [
        ("close", Some(close)),
        ("head", Some(head)),
        ("decision", Some(decision)),
        ("stall", Some(stall)),
        ("message", Some(message)),
        ("keepalive.ping", keepalive.map(|keepalive| keepalive.ping)),
        ("keepalive.pong", keepalive.map(|keepalive| keepalive.pong)),
    ];
    for (name, time) in times {
        time.map_or(Ok(()), |time| built::time(format!("{field}.websocket.{name}"), time, &TIMES))?;
    }
    if let Some(Deflate { level, min }) = deflate {
        built::number(format!("{field}.websocket.deflate.level"), level, &DEFLATE_LEVELS)?;
        built::size(format!("{field}.websocket.deflate.min"), min, &DEFLATE_MINIMA)?;
    }
    let TcpLayer { backlog, nodelay: _, rcvbuf, sndbuf, user_timeout } = stack.tcp;
    built::number(format!("{field}.tcp.backlog"), backlog, &LISTEN_BACKLOGS)?;
    built::size(format!("{field}.tcp.rcvbuf"), rcvbuf, &SOCKET_BUFFERS)?;
    built::size(format!("{field}.tcp.sndbuf"), sndbuf, &SOCKET_BUFFERS)?;
    let name = format!("{field}.tcp.user_timeout");
    user_timeout.map_or(Ok(()), |time| built::time(name, time, &TIMES))
}

/// One layer as it is written.
struct WrittenLayer<'s> {
    name: &'s str,
    /// What follows the `?`, where there is one.
    options: Option<&'s str>,
    /// The byte of the stack that the layer begins at.
    offset: usize,
}

impl<'s> WrittenLayer<'s> {
    fn new(part: &'s str, offset: usize) -> Self {
        match part.split_once('?') {
            Some((name, options)) => Self { name, options: Some(options), offset },
            None => Self { name: part, options: None, offset },
        }
    }
}

/// What is known after the layers read so far.
#[derive(Default)]
struct Parser {
    stack: Stack,
    /// Which places are taken.
    taken: [bool; PLACES.len()],
    /// A layer could not be named, so it is not known whether one is missing.
    unknown_seen: bool,
    errors: Vec<StackError>,
}

impl Parser {
    fn layer(&mut self, layer: &WrittenLayer<'_>) {
        let is_its = |place: &usize| PLACES[*place].name == layer.name;
        let Some(first) = (0..PLACES.len()).find(is_its) else {
            return self.other(layer.name, layer.offset);
        };
        let outermost = self.taken.iter().rposition(|taken| *taken).unwrap_or(0);
        let place = (outermost..PLACES.len()).find(is_its);
        let Place { name, at, is_needed, read } = &PLACES[place.unwrap_or(first)];
        let mut stack = self.stack;
        let offset = layer.offset + name.len() + 1;
        read(Options::new(name, layer.options, offset, &mut self.errors), &mut stack);
        let is_there = self.taken[place.unwrap_or(first)];
        if is_there && (place.is_some() || *is_needed) {
            return self.error(layer.offset, format!("`{name}` stands twice{at}: keep one"));
        }
        // One that is misplaced is not missing.
        self.taken[place.unwrap_or(first)] = true;
        match place {
            Some(_) => self.stack = stack,
            None => {
                let inner = PLACES[outermost].name;
                self.error(layer.offset, format!("`{name}` stands after `{inner}`: {EXAMPLE}"));
            }
        }
    }

    fn other(&mut self, name: &str, offset: usize) {
        if NOT_BUILT.contains(&name) {
            let message = format!("layer `{name}` is not built yet in this version");
            return self.error(offset, message);
        }
        self.unknown_seen = true;
        if name.is_empty() {
            let message = format!("a layer has no name: {EXAMPLE}");
            return self.error(offset, message);
        }
        let mut built: Vec<&str> = Vec::new();
        for Place { name, .. } in &PLACES {
            built.extend((!built.contains(name)).then_some(*name));
        }
        let hint = hint::names("layers", name, &built);
        self.error(offset, format!("{} is not a layer{hint}", quote(name)));
    }

    fn finish(mut self, end: usize) -> Result<Stack, Vec<StackError>> {
        for (Place { name, is_needed, .. }, is_taken) in PLACES.iter().zip(self.taken) {
            if *is_needed && !is_taken && !self.unknown_seen {
                self.error(end, format!("layer `{name}` is missing: {EXAMPLE}"));
            }
        }
        if self.errors.is_empty() {
            return Ok(self.stack);
        }
        self.errors.sort_by_key(|error| error.offset);
        Err(self.errors)
    }

    fn error(&mut self, offset: usize, message: String) {
        self.errors.push(StackError { offset, message });
    }
}

fn log_above(options: Options<'_, '_>, stack: &mut Stack) {
    options.finish();
    stack.log_websocket = true;
}

fn log_below(options: Options<'_, '_>, stack: &mut Stack) {
    options.finish();
    stack.log_transport = true;
}

fn websocket_layer(mut options: Options<'_, '_>, stack: &mut Stack) {
    let default = WebSocketLayer::default();
    stack.websocket = WebSocketLayer {
        keepalive: keepalive(&mut options),
        close: options.read("close", default.close, time),
        head: options.read("head", default.head, time),
        decision: options.read("decision", default.decision, time),
        stall: options.read("stall", default.stall, time),
        message: options.read("message", default.message, time),
        deflate: deflate(&mut options),
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

fn tcp_layer(mut options: Options<'_, '_>, stack: &mut Stack) {
    let default = TcpLayer::default();
    stack.tcp = TcpLayer {
        backlog: options.read("backlog", default.backlog, |text| number_in(text, &LISTEN_BACKLOGS)),
        nodelay: options.read("nodelay", default.nodelay, on_or_off),
        rcvbuf: options.read("rcvbuf", default.rcvbuf, |text| size_in(text, &SOCKET_BUFFERS)),
        sndbuf: options.read("sndbuf", default.sndbuf, |text| size_in(text, &SOCKET_BUFFERS)),
        user_timeout: options.read("user_timeout", default.user_timeout, time_or_off),
    };
    options.finish();
}

fn time(text: &str) -> Result<Duration, String> {
    time_in(text, &TIMES)
}

fn time_or_off(text: &str) -> Result<Option<Duration>, String> {
    if text == "off" {
        return Ok(None);
    }
    time(text).map(Some).map_err(|wrong| format!("{wrong} (or write `off`)"))
}

fn number_in<T>(text: &str, range: &RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + fmt::Display,
{
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        let (least, most) = (range.start(), range.end());
        format!("must be a whole number between {least} and {most}, is {}", quote(text))
    })
}
