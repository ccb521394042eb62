//! What may be wrong with a header.

use core::{error, fmt};

use super::{MAX_LINE, begin_alike};

/// Why what came is no PROXY header. It is the fault of the proxy, of what it was told, or of
/// somebody who speaks past it; nothing goes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyMistake {
    /// It is a request of HTTP.
    Http,
    /// It is TLS.
    Tls,
    /// It is something else.
    NoHeader,
    /// A line of version 1 does not end within [`MAX_LINE`] bytes.
    LineTooLong,
    /// A line of version 1 has a CR or a LF alone.
    LineEnd,
    /// A line of version 1 is not of `TCP4`, `TCP6` or `UNKNOWN`.
    LineProtocol,
    /// A line of version 1 has too few fields, or too many.
    LineFields,
    /// A line of version 1 has something else where an address of its family belongs.
    LineAddress,
    /// A line of version 1 has something else where a port belongs.
    LinePort,
    /// It has the signature of version 2 and another version.
    Version,
    /// It is neither of the commands LOCAL and PROXY.
    Command,
    /// It passes on datagrams, as UDP does.
    Datagram,
    /// It is of another family of addresses or of another transport than there are.
    Family,
    /// It is longer than the caller's limit.
    TooLong,
    /// It is too short for the addresses of its family.
    TooShort,
    /// A TLV goes on behind the end of what it is in.
    TlvLength,
    /// There are two TLVs of a type of which there may be one.
    TlvTwice(u8),
    /// The value of a TLV of this type is not what the specification has for it.
    TlvValue(u8),
    /// The checksum is another than that of what came.
    Checksum,
}

/// How a request of HTTP/1 begins, and a connection of HTTP/2.
const METHODS: [&[u8]; 10] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"CONNECT ",
    b"TRACE ",
    b"PRI ",
];

/// How a record of TLS begins that is part of a handshake (RFC 8446 section 5.1).
const HANDSHAKE_RECORD: &[u8] = b"\x16\x03";

impl ProxyMistake {
    /// What `bytes` are the beginning of, if not of a header; told from as many as there are.
    pub(super) fn of_other_protocol(bytes: &[u8]) -> ProxyMistake {
        if begin_alike(bytes, HANDSHAKE_RECORD) {
            ProxyMistake::Tls
        } else if METHODS.iter().any(|method| begin_alike(bytes, method)) {
            ProxyMistake::Http
        } else {
            ProxyMistake::NoHeader
        }
    }

    /// All of them, in their order; of which type a TLV is makes no other of them.
    pub const ALL: [Self; 19] = [
        Self::Http,
        Self::Tls,
        Self::NoHeader,
        Self::LineTooLong,
        Self::LineEnd,
        Self::LineProtocol,
        Self::LineFields,
        Self::LineAddress,
        Self::LinePort,
        Self::Version,
        Self::Command,
        Self::Datagram,
        Self::Family,
        Self::TooLong,
        Self::TooShort,
        Self::TlvLength,
        Self::TlvTwice(0),
        Self::TlvValue(0),
        Self::Checksum,
    ];

    /// Its place among [all](Self::ALL).
    #[must_use]
    pub const fn place(self) -> usize {
        match self {
            Self::Http => 0,
            Self::Tls => 1,
            Self::NoHeader => 2,
            Self::LineTooLong => 3,
            Self::LineEnd => 4,
            Self::LineProtocol => 5,
            Self::LineFields => 6,
            Self::LineAddress => 7,
            Self::LinePort => 8,
            Self::Version => 9,
            Self::Command => 10,
            Self::Datagram => 11,
            Self::Family => 12,
            Self::TooLong => 13,
            Self::TooShort => 14,
            Self::TlvLength => 15,
            Self::TlvTwice(_) => 16,
            Self::TlvValue(_) => 17,
            Self::Checksum => 18,
        }
    }

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tls => "tls",
            Self::NoHeader => "no_header",
            Self::LineTooLong => "line_too_long",
            Self::LineEnd => "line_end",
            Self::LineProtocol => "line_protocol",
            Self::LineFields => "line_fields",
            Self::LineAddress => "line_address",
            Self::LinePort => "line_port",
            Self::Version => "version",
            Self::Command => "command",
            Self::Datagram => "datagram",
            Self::Family => "family",
            Self::TooLong => "too_long",
            Self::TooShort => "too_short",
            Self::TlvLength => "tlv_length",
            Self::TlvTwice(_) => "tlv_twice",
            Self::TlvValue(_) => "tlv_value",
            Self::Checksum => "checksum",
        }
    }

    /// What was wrong, where that says all, and what to look at, as a sentence without its full
    /// stop.
    const fn reason(self) -> &'static str {
        match self {
            Self::Http => {
                "HTTP where a PROXY header is expected; does the proxy send one, and did this come \
                 through it?"
            }
            Self::Tls => {
                "TLS where a PROXY header is expected; the header goes first, outside of TLS: does \
                 the proxy send one?"
            }
            Self::NoHeader => "no PROXY header where one is expected; does the proxy send one?",
            Self::LineTooLong => "the line of version 1 does not end within 107 bytes",
            Self::LineEnd => "the line of version 1 has a CR or a LF alone; it ends in CR LF",
            Self::LineProtocol => "the line of version 1 is not of TCP4, TCP6 or UNKNOWN",
            Self::LineFields => {
                "the line of version 1 has not two addresses and two ports, each behind one space"
            }
            Self::LineAddress => {
                "the line of version 1 has something else where an address of its family belongs"
            }
            Self::LinePort => {
                "the line of version 1 has something else where a port belongs, which is 0 to \
                 65535 without zeros in front"
            }
            Self::Version => "the version is not 2, though the signature is that of version 2",
            Self::Command => "the command is neither LOCAL nor PROXY",
            Self::Datagram => "it passes on datagrams; let the proxy send TCP here, not UDP",
            Self::Family => "the family of its addresses, or its transport, is not known",
            Self::TooLong => "it is longer than is allowed here; let the proxy send less with it",
            Self::TooShort => "it is too short for the addresses of its family",
            Self::TlvLength => "a TLV goes on behind the end of what it is in",
            Self::TlvTwice(_) => "two TLVs are of a type of which there may be one",
            Self::TlvValue(_) => "the value of a TLV is not what its type has",
            Self::Checksum => "the checksum is wrong; it was changed on its way",
        }
    }
}

// The reason names the number.
const _: () = assert!(MAX_LINE == 107);

impl fmt::Display for ProxyMistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.reason())?;
        match self {
            Self::TlvTwice(number) | Self::TlvValue(number) => write!(out, " (0x{number:02x})"),
            _ => Ok(()),
        }
    }
}

impl error::Error for ProxyMistake {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_speaks_instead_is_told_from_its_first_bytes() {
        let hello = b"\x16\x03\x01\x02\x00\x01";
        for end in 1..=hello.len() {
            assert_eq!(ProxyMistake::of_other_protocol(&hello[..end]), ProxyMistake::Tls, "{end}");
        }
        for request in ["GET / HTTP/1.1\r\n", "POST /a HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n"] {
            for end in 2..=request.len() {
                let bytes = &request.as_bytes()[..end];
                assert_eq!(ProxyMistake::of_other_protocol(bytes), ProxyMistake::Http, "{bytes:?}");
            }
        }
        for other in [&b"SSH-2.0"[..], b"\x00", b"\x16\x04", b"GETS ", b"proxy TCP4", b"\x80\x2e"] {
            let mistake = ProxyMistake::of_other_protocol(other);
            assert_eq!(mistake, ProxyMistake::NoHeader, "{other:?}");
        }
    }

    #[test]
    fn each_has_its_place_among_all_and_a_name_of_its_own() {
        let all = ProxyMistake::ALL;
        assert!(all.iter().enumerate().all(|(place, mistake)| mistake.place() == place));
        let mut names = all.map(ProxyMistake::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn the_type_of_a_tlv_is_told() {
        let told = format!("{}", ProxyMistake::TlvTwice(0x02));
        assert_eq!(told, "two TLVs are of a type of which there may be one (0x02)");
    }
}
