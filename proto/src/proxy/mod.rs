//! The PROXY protocol, versions 1 and 2: what a proxy says in front of a connection that it passes
//! on, namely between whom the connection really is.
//!
//! Sections are those of its specification, HAProxy's `doc/proxy-protocol.txt`. [`parse`] takes
//! what has arrived so far, and is called again from the start when more has come: a header is
//! short, and nearly always comes in one read.
//!
//! Whoever may send a header may say that it is anybody. So it is read from those alone who are
//! known to be proxies; section 2 has it that a receiver "MUST not try to guess whether the
//! protocol header is present or not". And what only nearly is a header is refused: if the proxy
//! has no fault, something else speaks there.

mod checksum;
mod mistake;
mod tls;
mod tlv;
mod version_1;
mod version_2;
mod write;

#[cfg(test)]
mod tests;

use core::net::SocketAddr;

pub use mistake::ProxyMistake;
pub use tls::ProxiedTls;
pub use tlv::{
    ALPN, AUTHORITY, CHECKSUM, MAX_UNIQUE_ID, NAMESPACE, NOTHING, TLS, Tlv, Tlvs, UNIQUE_ID,
};
pub use write::{ProxyWriteError, write_v1, write_v2};

/// The longest header that [`parse`] takes, in bytes.
///
/// That is the 16 bytes which every header of version 2 begins with, and 520 for addresses and
/// what else a proxy says: of IPv6, with a unique id, a server's name of 100 bytes and all that is
/// told of TLS, some 450 are needed.
pub const MOST: usize = 16 + 520;

/// The longest line of version 1, in bytes, with its CR LF (section 2.1). A lower limit than that
/// holds for version 2 alone.
pub const MAX_LINE: usize = 107;

/// What the bytes that have come so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyParsed<'a> {
    /// The beginning of a header, without fault. Call again when more has come: there will be no
    /// more than the limit.
    Incomplete,
    /// A header.
    Whole {
        /// Its length in bytes; what comes behind it is the connection's own.
        length: usize,
        /// What it says.
        header: ProxyHeader<'a>,
    },
}

/// Between whom a connection is, as its proxy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoints<'a> {
    /// The proxy itself speaks, to see whether somebody answers: it is between those that the
    /// socket names.
    Local,
    /// A TCP connection. Both addresses are of one family, and are as they were sent: of version 6
    /// there are some that stand for one of version 4 ([`SocketAddr::ip`],
    /// [`to_canonical`](core::net::IpAddr::to_canonical)).
    Tcp {
        /// Who has connected.
        source: SocketAddr,
        /// To which address.
        destination: SocketAddr,
    },
    /// A connection by a Unix socket. Addresses are without the zeros that they were filled up
    /// with; one without a name is empty, and an abstract one begins with a zero.
    Unix {
        /// Who has connected: up to 108 bytes.
        source: &'a [u8],
        /// To which address: up to 108 bytes.
        destination: &'a [u8],
    },
    /// The proxy has no words for it. Section 2.1: a receiver "SHOULD accept the connection and use
    /// the real connection's parameters".
    Unknown,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader<'a> {
    /// Between whom the connection is.
    pub endpoints: Endpoints<'a>,
    /// What else there is; nothing in version 1.
    tlvs: Tlvs<'a>,
}

impl<'a> ProxyHeader<'a> {
    /// Everything behind the addresses, in the order in which it was sent: also what has no method
    /// here. Of the types that have one, each is there once at most.
    #[must_use]
    pub fn tlvs(&self) -> Tlvs<'a> {
        self.tlvs
    }

    /// The protocol that was agreed on within TLS (section 2.2.1), as in RFC 7301.
    #[must_use]
    pub fn alpn(&self) -> Option<&'a [u8]> {
        self.tlvs.value(ALPN)
    }

    /// The name of the host that the client asked for (section 2.2.2), which in TLS is called SNI.
    /// The client chose it: it need not be a name, and may have control characters.
    #[must_use]
    pub fn authority(&self) -> Option<&'a str> {
        self.tlvs.text(AUTHORITY)
    }

    /// What the proxy knows the connection by (section 2.2.5): at most [`MAX_UNIQUE_ID`] bytes.
    #[must_use]
    pub fn unique_id(&self) -> Option<&'a [u8]> {
        self.tlvs.value(UNIQUE_ID)
    }

    /// What TLS was between the client and the proxy (section 2.2.6).
    #[must_use]
    pub fn tls(&self) -> Option<ProxiedTls<'a>> {
        self.tlvs.value(TLS).and_then(ProxiedTls::new)
    }

    /// The network namespace that the proxy took the connection in (section 2.2.7), in ASCII.
    #[must_use]
    pub fn namespace(&self) -> Option<&'a str> {
        self.tlvs.text(NAMESPACE)
    }
}

/// Reads a header of at most [`MOST`] bytes.
///
/// # Errors
/// What has come is not the beginning of a header. Nothing is to be answered: "the connection must
/// be dropped" (section 2.2).
pub fn parse(bytes: &[u8]) -> Result<ProxyParsed<'_>, ProxyMistake> {
    parse_within(bytes, MOST)
}

/// Reads a header of at most `most` bytes, where it is of version 2; those of version 1 have at
/// most [`MAX_LINE`] anyhow.
///
/// # Errors
/// As [`parse`], as soon as it is sure: at the first byte that no header has, and at the length if
/// it is not to be waited for. What addresses of version 2 and the bytes behind them are is looked
/// at once all are there, as section 2.2 has it.
pub fn parse_within(bytes: &[u8], most: usize) -> Result<ProxyParsed<'_>, ProxyMistake> {
    if begin_alike(bytes, version_2::SIGNATURE) {
        version_2::parse(bytes, most)
    } else if begin_alike(bytes, version_1::SIGNATURE) {
        version_1::parse(bytes)
    } else {
        Err(ProxyMistake::of_other_protocol(bytes))
    }
}

/// Whether `bytes` begin as a header of either version does. Right behind a header they should not:
/// then two proxies in a row send one, and only the last of them is to be believed.
#[must_use]
pub fn looks_like_header(bytes: &[u8]) -> bool {
    bytes.starts_with(version_1::SIGNATURE) || bytes.starts_with(version_2::SIGNATURE)
}

/// Whether two beginnings are the same as far as both go.
fn begin_alike(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).all(|(one, other)| one == other)
}
