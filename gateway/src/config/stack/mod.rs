//! The layer stack of a listener: one line, inside-out, such as `log!ws?ping=30s!tcp`.
//!
//! Layers are separated by `!` and may carry options: `name?key=value&key=value`. The line is read
//! from the application outwards to the network, so `tcp` or `unix` is always last. `log` may stand
//! above `ws`, where it logs connections that open and close, and below it, where it logs what the
//! transport accepts and closes.
//!
//! Each layer is a file: its options, how they are read, bounded and displayed, and its place among
//! the others, which is a row of the table in `place`.

mod forwarding;
mod log;
pub(super) mod options;
mod parse;
mod place;
mod proxy;
mod tcp;
mod tls;
mod unix;
pub(super) mod values;
mod websocket;
mod writer;

use std::fmt;

pub use forwarding::Forwarding;
pub use parse::StackError;
pub use proxy::ProxyLayer;
pub use tcp::TcpLayer;
pub use tls::{CertificateFiles, CipherSuite, ClientCertificates, Tickets, TlsLayer, TlsVersion};
pub use unix::{OwnerName, SocketOwner, UnixLayer};
pub use websocket::{Deflate, Keepalive, WebSocketLayer};

use super::built::BuiltWrong;
use crate::kernel::{SocketTerms, TcpTerms};
use place::PLACES;

/// A checked layer stack. The default is `ws!tcp`, each layer with its defaults.
///
/// Displayed, it is the shortest stack that parses to the same: options that have their default
/// are left out, the others stand in a fixed order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// A `log` above `ws`: log every connection that opens or closes, over WebSocket, in the
    /// protocol of a program, or to be sent the body of a response. Default `false`.
    pub log_websocket: bool,
    /// A `log` below `ws`: log every socket that is accepted or closed. Default `false`.
    pub log_transport: bool,
    /// The layer `ws`.
    pub websocket: WebSocketLayer,
    /// The layer `tls`. `None`, the default, for a listener that is spoken to in plain.
    pub tls: Option<TlsLayer>,
    /// The layer `proxy`. `None`, the default, where the peer is who it seems to be.
    pub proxy: Option<ProxyLayer>,
    /// The layer `tcp` or `unix`. Default `tcp`.
    pub socket: SocketLayer,
}

/// What is listened on: the outermost layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketLayer {
    /// `tcp`, for an IP address and a port.
    Tcp(TcpLayer),
    /// `unix`, for a socket of this machine.
    Unix(UnixLayer),
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

    /// Whether it has the layer `tls` without a certificate of its own.
    pub(super) fn lacks_certificate(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.certificate.is_none())
    }

    /// Checks what a program has put together, which is `field` of the configuration.
    pub(super) fn check(&self, field: &str) -> Result<(), BuiltWrong> {
        PLACES.iter().try_for_each(|place| (place.check)(self, field))
    }
}

impl SocketLayer {
    /// Connections that may wait to be accepted, whatever they wait in.
    #[must_use]
    pub fn backlog(&self) -> u32 {
        match self {
            Self::Tcp(tcp) => tcp.backlog,
            Self::Unix(unix) => unix.backlog,
        }
    }

    /// What is set of its sockets.
    #[must_use]
    pub(crate) fn terms(&self) -> SocketTerms {
        let of = |tcp: &TcpLayer| TcpTerms {
            nodelay: tcp.nodelay,
            receive_buffer: tcp.rcvbuf,
            send_buffer: tcp.sndbuf,
            user_timeout: tcp.user_timeout,
        };
        SocketTerms { backlog: self.backlog(), tcp: self.tcp().map(of) }
    }

    /// The layer `tcp`, if it is that.
    #[must_use]
    pub fn tcp(&self) -> Option<&TcpLayer> {
        match self {
            Self::Tcp(tcp) => Some(tcp),
            Self::Unix(_) => None,
        }
    }
}

impl Default for SocketLayer {
    fn default() -> Self {
        Self::Tcp(TcpLayer::default())
    }
}

impl fmt::Display for Stack {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers = PLACES.iter().filter_map(|place| (place.shown)(self));
        for (index, layer) in layers.enumerate() {
            write!(out, "{}{layer}", if index == 0 { "" } else { "!" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
