//! The layer `tcp`: sockets that are reached over a network.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::options::{Options, on_or_off};
use super::place::{Place, SOCKET};
use super::values::{LISTEN_BACKLOGS, TIMES, number_in, time_or_off};
use super::writer::LayerWriter;
use super::{SocketLayer, Stack};
use crate::config::built::{self, BuiltWrong};
use crate::units::{Size, Time, size_in};

/// Its place in a stack.
pub(super) const PLACE: Place = Place {
    name: "tcp",
    at: "",
    rank: SOCKET,
    is_needed: true,
    read,
    agrees: |_| Ok(()),
    shown: |stack| match &stack.socket {
        SocketLayer::Tcp(tcp) => Some(tcp),
        SocketLayer::Unix(_) => None,
    },
    check: |stack, field| match &stack.socket {
        SocketLayer::Tcp(tcp) => tcp.check(&format!("{field}.socket")),
        SocketLayer::Unix(_) => Ok(()),
    },
};

/// The bounds of a socket buffer, in bytes.
const SOCKET_BUFFERS: RangeInclusive<u32> = 4 << 10..=64 << 20;

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

fn read(mut options: Options<'_, '_>, stack: &mut Stack) {
    let default = TcpLayer::default();
    stack.socket = SocketLayer::Tcp(TcpLayer {
        backlog: options.read("backlog", default.backlog, |text| number_in(text, &LISTEN_BACKLOGS)),
        nodelay: options.read("nodelay", default.nodelay, on_or_off),
        rcvbuf: options.read("rcvbuf", default.rcvbuf, |text| size_in(text, &SOCKET_BUFFERS)),
        sndbuf: options.read("sndbuf", default.sndbuf, |text| size_in(text, &SOCKET_BUFFERS)),
        user_timeout: options.read("user_timeout", default.user_timeout, time_or_off),
    });
    options.finish();
}

impl TcpLayer {
    /// Checks what a program has put together, which is `field` of the configuration.
    fn check(&self, field: &str) -> Result<(), BuiltWrong> {
        let Self { backlog, nodelay: _, rcvbuf, sndbuf, user_timeout } = *self;
        built::number(format!("{field}.backlog"), backlog, &LISTEN_BACKLOGS)?;
        built::size(format!("{field}.rcvbuf"), rcvbuf, &SOCKET_BUFFERS)?;
        built::size(format!("{field}.sndbuf"), sndbuf, &SOCKET_BUFFERS)?;
        let name = format!("{field}.user_timeout");
        user_timeout.map_or(Ok(()), |time| built::time(name, time, &TIMES))
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
