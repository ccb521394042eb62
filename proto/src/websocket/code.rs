//! Close codes (RFC 6455 section 7.4).

use core::fmt;

/// A close code. Any 16-bit number can be held; [`CloseCode::may_travel`] says which ones may stand
/// in a frame.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The endpoint goes away: a server shuts down, a browser leaves the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// A frame broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// A type of data that the endpoint cannot take.
    pub const UNSUPPORTED: Self = Self(1003);
    /// Never sent: a Close frame without a code was received.
    pub const NO_STATUS: Self = Self(1005);
    /// Never sent: the connection ended without a Close frame.
    pub const ABNORMAL: Self = Self(1006);
    /// Data that does not fit its type, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// A policy of the endpoint was violated.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// A message that is too big to process.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// The client wanted an extension that the server did not agree to.
    pub const EXTENSION_REQUIRED: Self = Self(1010);
    /// The server met an unexpected condition.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// The server is overloaded; come back later (IANA registry).
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// Whether the code may stand in a Close frame.
    #[must_use]
    pub const fn may_travel(self) -> bool {
        match self.0 {
            // RFC 6455 section 7.4.1: 1004 is reserved, 1005, 1006 and 1015 "MUST NOT be set as a
            // status code in a Close control frame by an endpoint". 1012 to 1014 came later, by
            // the registry that the RFC set up.
            1000..=1003 | 1007..=1014 => true,
            // Section 7.4.2: "Status codes in the range 3000-3999 are reserved for use by
            // libraries, frameworks, and applications", 4000-4999 "for private use".
            3000..=4999 => true,
            _ => false,
        }
    }
}

impl CloseCode {
    /// Whether a server may send it.
    #[must_use]
    pub const fn may_travel_from_server(self) -> bool {
        // RFC 6455 section 7.4.1: 1010 "is not used by the server, because it can fail the
        // WebSocket handshake instead".
        self.may_travel() && self.0 != Self::EXTENSION_REQUIRED.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0)
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "CloseCode({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_may_travel() {
        for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000] {
            assert!(CloseCode(code).may_travel(), "{code}");
        }
        let from_server = |code| CloseCode(code).may_travel_from_server();
        assert!(from_server(1001) && from_server(1012) && from_server(4999));
        assert!(!from_server(1010) && !from_server(1006));
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert!(!CloseCode(code).may_travel(), "{code}");
        }
    }
}
