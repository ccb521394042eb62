//! From the line to the layers.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::options::{Options, Switch};
use super::{Deflate, Keepalive, Stack, TcpLayer, WebSocketLayer};
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

/// The layers that this version builds, from the inside out.
const BUILT: [&str; 3] = ["log", "ws", "tcp"];
/// The layers that have their name and their place, but are not built yet.
const NOT_BUILT: [&str; 5] = ["tls", "proxy", "mqtt", "http", "h2"];
/// What an error about the order shows.
const EXAMPLE: &str = "layers are written from the inside out, such as `log!ws!log!tcp`";

/// The bounds of every duration in a stack.
const TIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(4 * 3600);
/// The bounds of a socket buffer, in bytes.
const SOCKET_BUFFERS: RangeInclusive<u32> = 4 << 10..=64 << 20;
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
    websocket_seen: bool,
    tcp_seen: bool,
    /// A layer could not be named, so it is not known whether one is missing.
    unknown_seen: bool,
    errors: Vec<StackError>,
}

impl Parser {
    fn layer(&mut self, layer: &WrittenLayer<'_>) {
        match layer.name {
            "log" => self.log(layer),
            "ws" => self.websocket(layer),
            "tcp" => self.tcp(layer),
            name => self.other(name, layer.offset),
        }
    }

    fn log(&mut self, layer: &WrittenLayer<'_>) {
        Options::new("log", layer.options, layer.offset + 4, &mut self.errors).finish();
        if !self.may_stand(layer) {
            return;
        }
        let (seen, place) = match self.websocket_seen {
            false => (&mut self.stack.log_websocket, "above `ws`"),
            true => (&mut self.stack.log_transport, "below `ws`"),
        };
        if std::mem::replace(seen, true) {
            self.error(layer.offset, format!("`log` stands twice {place}: keep one"));
        }
    }

    fn websocket(&mut self, layer: &WrittenLayer<'_>) {
        let options = Options::new("ws", layer.options, layer.offset + 3, &mut self.errors);
        let websocket = websocket_layer(options);
        if std::mem::replace(&mut self.websocket_seen, true) {
            return self.error(layer.offset, "`ws` stands twice: keep one".into());
        }
        if self.may_stand(layer) {
            self.stack.websocket = websocket;
        }
    }

    fn tcp(&mut self, layer: &WrittenLayer<'_>) {
        let options = Options::new("tcp", layer.options, layer.offset + 4, &mut self.errors);
        let tcp = tcp_layer(options);
        if std::mem::replace(&mut self.tcp_seen, true) {
            return self.error(layer.offset, "`tcp` stands twice: keep one".into());
        }
        self.stack.tcp = tcp;
    }

    /// Whether `layer` is not below `tcp`; reports it where it is.
    fn may_stand(&mut self, layer: &WrittenLayer<'_>) -> bool {
        if self.tcp_seen {
            let name = layer.name;
            self.error(layer.offset, format!("`{name}` stands after `tcp`: {EXAMPLE}"));
        }
        !self.tcp_seen
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
        let hint = hint::names("layers", name, &BUILT);
        self.error(offset, format!("{} is not a layer{hint}", quote(name)));
    }

    fn finish(mut self, end: usize) -> Result<Stack, Vec<StackError>> {
        for (seen, name) in [(self.websocket_seen, "ws"), (self.tcp_seen, "tcp")] {
            if !seen && !self.unknown_seen {
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

fn websocket_layer(mut options: Options<'_, '_>) -> WebSocketLayer {
    let default = WebSocketLayer::default();
    let layer = WebSocketLayer {
        keepalive: keepalive(&mut options),
        close: options.read("close", default.close, time),
        head: options.read("head", default.head, time),
        decision: options.read("decision", default.decision, time),
        stall: options.read("stall", default.stall, time),
        message: options.read("message", default.message, time),
        deflate: deflate(&mut options),
    };
    options.finish();
    layer
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
    let level = options
        .read_unless_off("deflate_level", switch, default.level, |text| number_in(text, &(1..=9)));
    let min = options
        .read_unless_off("deflate_min", switch, default.min, |text| size_in(text, &DEFLATE_MINIMA));
    on.then_some(Deflate { level, min })
}

fn tcp_layer(mut options: Options<'_, '_>) -> TcpLayer {
    let default = TcpLayer::default();
    let layer = TcpLayer {
        backlog: options.read("backlog", default.backlog, |text| number_in(text, &(1..=65_535))),
        nodelay: options.read("nodelay", default.nodelay, on_or_off),
        rcvbuf: options.read("rcvbuf", default.rcvbuf, |text| size_in(text, &SOCKET_BUFFERS)),
        sndbuf: options.read("sndbuf", default.sndbuf, |text| size_in(text, &SOCKET_BUFFERS)),
        user_timeout: options.read("user_timeout", default.user_timeout, time_or_off),
    };
    options.finish();
    layer
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

fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("must be `on` or `off`, is {}", quote(text))),
    }
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
