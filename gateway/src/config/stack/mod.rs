//! The layer stack of a listener: one line, inside-out, such as `log!ws?ping=30s!tcp`.
//!
//! Layers are separated by `!` and may carry options: `name?key=value&key=value`. The line is read
//! from the application outwards to the network, so `tcp` is always last. `log` may stand above
//! `ws`, where it logs connections that open and close, and below it, where it logs what the
//! transport accepts and closes.

pub(super) mod options;
mod parse;

use std::fmt;
use std::time::Duration;

pub use parse::StackError;

use super::built::BuiltWrong;
use crate::units::{Size, Time};

/// A checked layer stack. The default is `ws!tcp`, each layer with its defaults.
///
/// Displayed, it is the shortest stack that parses to the same: options that have their default
/// are left out, the others stand in a fixed order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// A `log` above `ws`: log every connection that opens or closes, over WebSocket, in the
    /// protocol of a program, or to be sent the body of a response. Default `false`.
    pub log_websocket: bool,
    /// A `log` below `ws`: log every socket that is accepted or closed. Default `false`.
    pub log_transport: bool,
    /// The layer `ws`.
    pub websocket: WebSocketLayer,
    /// The layer `tcp`.
    pub tcp: TcpLayer,
}

/// The layer `ws`: WebSocket over what is below it. Every duration is 1 s to 4 h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// The layer `tcp`. Everything but `backlog` is set on the listener and inherited by the sockets
/// that it accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpLayer {
    /// Option `backlog`: connections that may wait to be accepted, per shard, 1 to 65535; the
    /// kernel caps it at `net.core.somaxconn`. Default 4096.
    pub backlog: u32,
    /// Option `nodelay`: `TCP_NODELAY`. Default `true`.
    pub nodelay: bool,
    /// Option `rcvbuf`: `SO_RCVBUF` in bytes, 4 KiB to 64 MiB; the kernel doubles it and caps it at
    /// `net.core.rmem_max`. Default 128 KiB.
    pub rcvbuf: u32,
    /// Option `sndbuf`: `SO_SNDBUF` in bytes, 4 KiB to 64 MiB; the kernel doubles it and caps it at
    /// `net.core.wmem_max`. Default 256 KiB.
    pub sndbuf: u32,
    /// Option `user_timeout`: `TCP_USER_TIMEOUT`, how long sent data may stay unacknowledged before
    /// the kernel closes the socket, 1 s to 4 h. Default `None`, written `off`: the kernel's own
    /// retransmission limit.
    pub user_timeout: Option<Duration>,
}

impl Stack {
    /// Reads a stack.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with `text`, in its order, each with the byte it begins at.
    pub fn parse(text: &str) -> Result<Self, Vec<StackError>> {
        parse::stack(text)
    }

    /// Checks what a program has put together, which is `field` of the configuration.
    pub(super) fn check(&self, field: &str) -> Result<(), BuiltWrong> {
        parse::check(self, field)
    }
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

impl Default for TcpLayer {
    fn default() -> Self {
        Self {
            backlog: 4096,
            nodelay: true,
            rcvbuf: 128 << 10,
            sndbuf: 256 << 10,
            user_timeout: None,
        }
    }
}

impl fmt::Display for Stack {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.log_websocket {
            out.write_str("log!")?;
        }
        write!(out, "{}!", self.websocket)?;
        if self.log_transport {
            out.write_str("log!")?;
        }
        write!(out, "{}", self.tcp)
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
            Some(deflate) => deflate.write(&mut written),
            None => written.option("deflate", "off", false),
        }
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

impl fmt::Display for TcpLayer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::default();
        let mut written = LayerWriter::begin("tcp", out)?;
        written.option("backlog", self.backlog, self.backlog == default.backlog)?;
        let nodelay = if self.nodelay { "on" } else { "off" };
        written.option("nodelay", nodelay, self.nodelay == default.nodelay)?;
        written.option("rcvbuf", Size(self.rcvbuf.into()), self.rcvbuf == default.rcvbuf)?;
        written.option("sndbuf", Size(self.sndbuf.into()), self.sndbuf == default.sndbuf)?;
        match self.user_timeout {
            Some(timeout) => written.option("user_timeout", Time(timeout), false),
            None => Ok(()),
        }
    }
}

/// Writes a layer: its name, then `?` before its first option and `&` before each later one.
struct LayerWriter<'o, 'f> {
    out: &'o mut fmt::Formatter<'f>,
    separator: char,
}

impl<'o, 'f> LayerWriter<'o, 'f> {
    fn begin(name: &str, out: &'o mut fmt::Formatter<'f>) -> Result<Self, fmt::Error> {
        out.write_str(name)?;
        Ok(Self { out, separator: '?' })
    }

    fn option(&mut self, key: &str, value: impl fmt::Display, is_default: bool) -> fmt::Result {
        if is_default {
            return Ok(());
        }
        write!(self.out, "{}{key}={value}", self.separator)?;
        self.separator = '&';
        Ok(())
    }
}

#[cfg(test)]
mod tests;
