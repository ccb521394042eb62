//! Every answer to a request but the one that opens a connection.

use core::{error, fmt};

use super::{MAX_SUBPROTOCOLS, VERSION};
use crate::http::{HeadError, HeadWriteError, Writer};

/// What is wrong with a request by RFC 9112 or RFC 6455, and the response that says so. What a
/// server refuses for reasons of its own is its own to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The head is malformed or too large, or has a body.
    Head(HeadError),
    /// A plain HTTP request for what is only spoken over WebSocket.
    NotUpgrade,
    /// A handshake by HTTP/1.0.
    HttpVersion,
    /// Upgrade without its Connection option.
    MissingConnection,
    /// No Sec-WebSocket-Key.
    MissingKey,
    /// More than one Sec-WebSocket-Key.
    DuplicateKey,
    /// Sec-WebSocket-Key is not base64 of 16 bytes.
    InvalidKey,
    /// Sec-WebSocket-Version is missing, or is not 13.
    UnsupportedVersion,
    /// More than one Sec-WebSocket-Version.
    DuplicateVersion,
    /// An element of Sec-WebSocket-Protocol is no token.
    InvalidSubprotocol,
    /// A subprotocol is offered twice.
    DuplicateSubprotocol,
    /// More than [`MAX_SUBPROTOCOLS`] subprotocols are offered.
    TooManySubprotocols,
    /// Sec-WebSocket-Extensions does not follow its grammar. The handshake itself only checks that
    /// it is ASCII; negotiation finds the rest.
    InvalidExtensions,
    /// More than one Origin.
    DuplicateOrigin,
    /// Origin holds a character outside of visible ASCII.
    InvalidOrigin,
    /// What is served here does not know the method.
    MethodNotAllowed {
        /// The methods that it knows, as the Allow header lists them.
        allow: &'static str,
    },
}

impl Rejection {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Rejection::Head(error) => error.status(),
            Rejection::MethodNotAllowed { .. } => 405,
            // RFC 6455 section 4.2.2, 4: "an appropriate HTTP error code (such as 426 Upgrade
            // Required)".
            Rejection::NotUpgrade | Rejection::HttpVersion | Rejection::UnsupportedVersion => 426,
            // RFC 6455 section 4.2.1: "the server MUST stop processing the client's handshake and
            // return an HTTP response with an appropriate error code (such as 400 Bad Request)".
            _ => 400,
        }
    }

    /// What is wrong and what to do, as a sentence without its full stop: the body of the response.
    pub fn reason(self) -> &'static str {
        match self {
            Rejection::Head(error) => error.reason(),
            Rejection::NotUpgrade => {
                "this path speaks WebSocket; if you do too, a proxy on the way has removed the \
                 Upgrade header"
            }
            Rejection::HttpVersion => "a WebSocket handshake needs HTTP/1.1",
            Rejection::MissingConnection => {
                "the Connection header lacks the option Upgrade; a proxy on the way may have \
                 removed it"
            }
            Rejection::MissingKey => "the Sec-WebSocket-Key header is missing",
            Rejection::DuplicateKey => "there is more than one Sec-WebSocket-Key header",
            Rejection::InvalidKey => "Sec-WebSocket-Key is not the base64 encoding of 16 bytes",
            Rejection::UnsupportedVersion => "Sec-WebSocket-Version must be 13",
            Rejection::DuplicateVersion => "there is more than one Sec-WebSocket-Version header",
            Rejection::InvalidSubprotocol => "Sec-WebSocket-Protocol is not a list of tokens",
            Rejection::DuplicateSubprotocol => "Sec-WebSocket-Protocol names a subprotocol twice",
            Rejection::TooManySubprotocols => {
                "Sec-WebSocket-Protocol names more than 32 subprotocols"
            }
            Rejection::InvalidExtensions => "Sec-WebSocket-Extensions does not follow its grammar",
            Rejection::DuplicateOrigin => "there is more than one Origin header",
            Rejection::InvalidOrigin => "Origin holds a character outside of visible ASCII",
            Rejection::MethodNotAllowed { .. } => "the method is not allowed here",
        }
    }

    /// The most bytes that [`write`](Rejection::write) writes.
    pub const RESPONSE_LEN_MAX: usize = 512;

    /// Writes the whole response to the start of `out`, and yields its length in bytes. Close the
    /// connection behind it.
    ///
    /// # Errors
    ///
    /// [`HeadWriteError::NoRoom`], which can not be if `out` has [`Rejection::RESPONSE_LEN_MAX`]
    /// bytes.
    pub fn write(self, out: &mut [u8]) -> Result<usize, HeadWriteError> {
        let mut writer = Writer::new(out);
        writer.status_line(self.status())?;
        self.write_headers(&mut writer)?;
        writer.sentence(self.reason())?;
        Ok(writer.finish())
    }

    /// The headers that only some responses have.
    fn write_headers(self, writer: &mut Writer<'_>) -> Result<(), HeadWriteError> {
        match self {
            // RFC 9110 section 15.5.22: "The server MUST send an Upgrade header field in a 426
            // response". Section 7.8: "A sender of Upgrade MUST also send an "Upgrade" connection
            // option".
            Rejection::NotUpgrade | Rejection::HttpVersion | Rejection::UnsupportedVersion => {
                writer.header("Upgrade", "websocket")?;
                // RFC 6455 section 4.4: "containing all versions it is willing to use".
                writer.header("Sec-WebSocket-Version", VERSION)?;
                return writer.header("Connection", "Upgrade, close");
            }
            // RFC 9110 section 15.5.6: "The origin server MUST generate an Allow header field in a
            // 405 response".
            Rejection::MethodNotAllowed { allow } => writer.header("Allow", allow)?,
            _ => {}
        }
        writer.header("Connection", "close")
    }
}

// The reason names the number.
const _: () = assert!(MAX_SUBPROTOCOLS == 32);

impl fmt::Display for Rejection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.reason())
    }
}

impl error::Error for Rejection {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Rejection::Head(error) => Some(error),
            _ => None,
        }
    }
}

impl From<HeadError> for Rejection {
    fn from(error: HeadError) -> Rejection {
        Rejection::Head(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Rejection; 16] = [
        Rejection::Head(HeadError::TooLarge),
        Rejection::NotUpgrade,
        Rejection::HttpVersion,
        Rejection::MissingConnection,
        Rejection::MissingKey,
        Rejection::DuplicateKey,
        Rejection::InvalidKey,
        Rejection::UnsupportedVersion,
        Rejection::DuplicateVersion,
        Rejection::InvalidSubprotocol,
        Rejection::DuplicateSubprotocol,
        Rejection::TooManySubprotocols,
        Rejection::InvalidExtensions,
        Rejection::DuplicateOrigin,
        Rejection::InvalidOrigin,
        Rejection::MethodNotAllowed { allow: "GET, HEAD" },
    ];

    fn written(rejection: Rejection) -> String {
        let mut out = [0; Rejection::RESPONSE_LEN_MAX];
        let length = rejection.write(&mut out).unwrap();
        String::from_utf8(out[..length].to_vec()).unwrap()
    }

    #[test]
    fn whole_response() {
        assert_eq!(
            written(Rejection::HttpVersion),
            "HTTP/1.1 426 Upgrade Required\r\n\
             Upgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\n\
             Connection: Upgrade, close\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             Content-Length: 37\r\n\r\n\
             a WebSocket handshake needs HTTP/1.1\n"
        );
    }

    #[test]
    fn every_response_is_whole_and_closes() {
        for rejection in ALL {
            let text = written(rejection);
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert_eq!(body, format!("{rejection}\n"));
            assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())), "{text}");
            assert!(head.starts_with(&format!("HTTP/1.1 {} ", rejection.status())), "{text}");
            assert!(!head.lines().next().unwrap().ends_with(' '), "it has a reason phrase: {text}");
            assert!(head.contains("close"), "{text}");
        }
    }

    #[test]
    fn too_small_a_buffer() {
        for rejection in ALL {
            let length = written(rejection).len();
            for room in 0..length {
                assert_eq!(rejection.write(&mut vec![0; room]), Err(HeadWriteError::NoRoom));
            }
            assert_eq!(rejection.write(&mut vec![0; length]), Ok(length));
        }
    }

    #[test]
    fn rfc_9110_section_15_5_22_names_the_protocol() {
        for rejection in
            [Rejection::NotUpgrade, Rejection::HttpVersion, Rejection::UnsupportedVersion]
        {
            let text = written(rejection);
            assert!(text.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{text}");
            assert!(text.contains("\r\nUpgrade: websocket\r\n"), "{text}");
            assert!(text.contains("\r\nConnection: Upgrade, close\r\n"), "{text}");
            assert!(text.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{text}");
        }
    }

    #[test]
    fn statuses_and_their_headers() {
        let allow = Rejection::MethodNotAllowed { allow: "GET, HEAD" };
        assert_eq!(allow.status(), 405);
        assert!(written(allow).contains("\r\nAllow: GET, HEAD\r\n"));
        assert_eq!(Rejection::InvalidKey.status(), 400);
        assert_eq!(Rejection::from(HeadError::TooLarge).status(), 431);
        assert_eq!(Rejection::from(HeadError::Body).to_string(), HeadError::Body.to_string());
    }
}
