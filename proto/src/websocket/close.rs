//! The payload of a Close frame and the closing handshake (RFC 6455 sections 5.5.1 and 7.1).

use crate::websocket::code::CloseCode;
use crate::websocket::error::ProtocolError;

/// The longest reason that fits a Close frame, in bytes: a control frame carries 125, the code
/// takes two.
pub const MAX_REASON: usize = 123;

/// The payload of a Close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseReason<'a> {
    /// `None`: the frame had no payload.
    pub code: Option<CloseCode>,
    /// Text for a human who debugs, at most [`MAX_REASON`] bytes.
    pub reason: &'a str,
}

impl<'a> CloseReason<'a> {
    /// Reads the unmasked payload of a Close frame.
    ///
    /// # Errors
    /// One byte, a code that may not travel, or a reason that is not UTF-8.
    pub fn parse(payload: &'a [u8]) -> Result<Self, ProtocolError> {
        // RFC 6455 section 5.5.1: "If there is a body, the first two bytes of the body MUST be a
        // 2-byte unsigned integer (in network byte order) representing a status code".
        let (code, reason) = match payload {
            [] => return Ok(Self { code: None, reason: "" }),
            [_] => return Err(ProtocolError::CloseBodyOfOneByte),
            [high, low, reason @ ..] => (CloseCode(u16::from_be_bytes([*high, *low])), reason),
        };
        if !code.may_travel() {
            return Err(ProtocolError::InvalidCloseCode(code));
        }
        // Section 5.5.1: "the body MAY contain UTF-8-encoded data with value /reason/".
        let reason =
            core::str::from_utf8(reason).map_err(|_| ProtocolError::InvalidUtf8InCloseReason)?;
        Ok(Self { code: Some(code), reason })
    }

    /// Writes the payload; returns its length. A reason that is too long is cut at a character.
    #[must_use]
    pub fn emit(&self, out: &mut [u8; 125]) -> usize {
        let Some(code) = self.code else { return 0 };
        let reason = cut(self.reason, MAX_REASON);
        out[..2].copy_from_slice(&code.0.to_be_bytes());
        out[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
        2 + reason.len()
    }
}

fn cut(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let end = (0..=limit).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    &text[..end]
}

/// Where the closing handshake of one connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Closing {
    /// Neither end has sent a Close frame.
    #[default]
    Open,
    /// We have sent ours and wait for the peer's.
    LocalClosing,
    /// The peer has sent its Close frame; ours has yet to be sent.
    RemoteClosing,
    /// Both were sent, or the connection was failed: nothing more is sent or listened to.
    Closed,
}

impl Closing {
    /// Whether data frames, pings and pongs may still be sent.
    ///
    /// RFC 6455 section 5.5.1: "The application MUST NOT send any more data frames after sending a
    /// Close frame."
    #[must_use]
    pub fn may_send(self) -> bool {
        matches!(self, Self::Open | Self::RemoteClosing)
    }

    /// Whether what the peer sends still counts.
    #[must_use]
    pub fn may_receive(self) -> bool {
        matches!(self, Self::Open | Self::LocalClosing)
    }

    /// A Close frame came in; `true` asks the caller to send one back.
    ///
    /// Section 5.5.1: "If an endpoint receives a Close frame and did not previously send a Close
    /// frame, the endpoint MUST send a Close frame in response."
    #[must_use]
    pub fn handle_close(&mut self) -> bool {
        let answer = *self == Self::Open;
        *self = if answer { Self::RemoteClosing } else { Self::Closed };
        answer
    }

    /// We send a Close frame; `false` says that one was sent before and none may follow.
    #[must_use]
    pub fn close(&mut self) -> bool {
        let first = self.may_send();
        *self = match *self {
            Self::Open => Self::LocalClosing,
            Self::LocalClosing => Self::LocalClosing,
            Self::RemoteClosing | Self::Closed => Self::Closed,
        };
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deconstruct() {
        assert_eq!(CloseReason::parse(b""), Ok(CloseReason { code: None, reason: "" }));
        let both = CloseReason { code: Some(CloseCode::NORMAL), reason: "bye" };
        assert_eq!(CloseReason::parse(b"\x03\xe8bye"), Ok(both));
    }

    #[test]
    fn construct() {
        let mut out = [0; 125];
        let length = CloseReason { code: Some(CloseCode(4000)), reason: "é" }.emit(&mut out);
        assert_eq!(&out[..length], b"\x0f\xa0\xc3\xa9");
        assert_eq!(CloseReason { code: None, reason: "unsaid" }.emit(&mut out), 0);
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let long = "é".repeat(100);
        let mut out = [0; 125];
        let length = CloseReason { code: Some(CloseCode::NORMAL), reason: &long }.emit(&mut out);
        assert_eq!(length, 2 + 122);
        assert!(CloseReason::parse(&out[..length]).is_ok());
    }

    #[test]
    fn malformed() {
        assert_eq!(CloseReason::parse(b"\x03"), Err(ProtocolError::CloseBodyOfOneByte));
        assert_eq!(
            CloseReason::parse(b"\x03\xed"),
            Err(ProtocolError::InvalidCloseCode(CloseCode(1005)))
        );
        assert_eq!(
            CloseReason::parse(b"\x03\xe8\xff"),
            Err(ProtocolError::InvalidUtf8InCloseReason)
        );
    }

    #[test]
    fn the_closing_handshake_from_both_sides() {
        let mut remote = Closing::Open;
        assert!(remote.handle_close());
        assert!(remote.may_send() && !remote.may_receive());
        assert!(remote.close());
        assert_eq!(remote, Closing::Closed);

        let mut local = Closing::Open;
        assert!(local.close());
        assert!(!local.close(), "a second Close frame is never sent");
        assert!(local.may_receive() && !local.may_send());
        assert!(!local.handle_close());
        assert_eq!(local, Closing::Closed);
    }
}
