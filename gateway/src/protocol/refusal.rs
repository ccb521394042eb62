//! Every answer to a request that does not give it what it asks for.

use std::sync::Arc;
use std::{error, fmt};

use tidegate_proto::http::{HeadError, HeadWriteError, Writer};
use tidegate_proto::websocket::handshake::server::Rejection;

use super::ground::Ground;
use super::response::{Body, Response, ResponseError};
use crate::census::{Crowd, TurnedAway};
use crate::checks::{NotAdmitted, PasswordRefused};
use crate::names::Name;

/// Why a request is refused, and the response that says so. Where none of these says it, a handler
/// refuses [with a response](Refusal::with) of its own.
///
/// ```
/// use tidegate::handler::{Refusal, Response, ResponseError};
///
/// fn who_are_you() -> Result<Refusal, ResponseError> {
///     let response = Response::text(401, "send a token")?.with("WWW-Authenticate", "Bearer")?;
///     Refusal::with(response)
/// }
///
/// assert_eq!(who_are_you().map(|refusal| refusal.status()), Ok(401));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It is wrong by RFC 9112 or RFC 6455.
    Malformed(Rejection),
    /// A part of the path that has a name in the route's cannot be decoded: an escape is none, or
    /// what the escapes stand for is not UTF-8.
    InvalidPath,
    /// Likewise a value in the query.
    InvalidQuery,
    /// The query has a value more than once that it may have once.
    DuplicateQuery,
    /// The path stands for a topic, and what it names is none.
    InvalidTopic,
    /// The request names a user, and that is no name of one.
    InvalidUser,
    /// The request names more than one user: which one is meant is not for the gateway to guess.
    DuplicateUser,
    /// The request names more than one position from which it wants what it missed.
    DuplicatePosition,
    /// What should be such a position is none.
    InvalidPosition,
    /// The request says more than once how many of the last messages it wants.
    DuplicateCount,
    /// How many of the last messages it wants is no such number.
    InvalidCount,
    /// The request wants both what is behind a position, and the last messages.
    TwoPasts,
    /// Who asks may not enter here.
    Forbidden,
    /// Clients of this network may not connect here.
    Network,
    /// Likewise, whatever they ask for.
    ListenerNetwork,
    /// Pages of this origin may not connect here.
    Origin,
    /// What its route checks refuses it.
    NotAdmitted(NotAdmitted),
    /// Likewise, and who is asked for a password is told what for.
    Unauthorized {
        /// Why.
        denied: NotAdmitted,
        /// What for.
        realm: Arc<str>,
    },
    /// Nothing is served at this host and path.
    NotFound,
    /// It is no request, but the beginning of TLS, and this listener is plain.
    TlsToPlain,
    /// It is a header of the PROXY protocol, where none is expected.
    ProxyToPlain,
    /// The head was not complete at its deadline.
    Timeout,
    /// It was not decided in time.
    DecisionTimeout,
    /// A limit of connections is reached.
    Full {
        /// When to try again. Spread it, or all come back at once.
        retry_after_seconds: u32,
    },
    /// There are too many like it: of its address, its user, its route, or its listener.
    Crowded(TurnedAway),
    /// Its handler refuses it, with a response of its own: see [`Refusal::with`].
    Own(OwnRefusal),
}

/// A response that refuses: its status is one from 300 to 599, and its body is short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnRefusal {
    status: u16,
    /// As [`Response`] has it.
    head: Vec<u8>,
    body: Arc<[u8]>,
}

impl OwnRefusal {
    /// What is sent.
    pub(super) fn into_response(self) -> Response {
        let Self { status, head, body } = self;
        let body = if body.is_empty() { Body::Empty } else { Body::Shared(body) };
        Response { status, head, body }
    }
}

/// What is counted and logged of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// What it is counted by.
    pub ground: Ground,
    /// What is wrong.
    pub reason: &'static str,
}

/// When to come back with a token that there was no time to verify, in seconds.
const BUSY_SECONDS: u32 = 2;

/// The longest body that is sent at once, in bytes; a longer one is sent as the peer takes it.
pub const BODY_AT_ONCE_MAX: usize = 64 << 10;

// The reasons name the number.
const _: () = assert!(Name::LENGTH_MAX == 200);

impl Refusal {
    /// Refuses with a response of the handler's own, such as one that asks for a password or sends
    /// elsewhere. It is counted as [`Ground::Handler`], and the log says its status.
    ///
    /// # Errors
    /// Its status is not one from 300 to 599; or its body is said by a source, or has more than
    /// [`BODY_AT_ONCE_MAX`] bytes: who is refused gets all of it at once.
    pub fn with(response: Response) -> Result<Self, ResponseError> {
        let Response { status, head, body } = response;
        if !(300..=599).contains(&status) {
            return Err(ResponseError::NoRefusal(status));
        }
        let body = match body {
            Body::Empty => Arc::default(),
            Body::Shared(bytes) if bytes.len() <= BODY_AT_ONCE_MAX => bytes,
            Body::Shared(_) | Body::Stream { .. } => return Err(ResponseError::RefusalBody),
        };
        Ok(Self::Own(OwnRefusal { status, head, body }))
    }

    /// What is served does not know the request's method, but those of `allow`: `GET, HEAD`, say.
    #[must_use]
    pub fn method_not_allowed(allow: &'static str) -> Self {
        Self::Malformed(Rejection::MethodNotAllowed { allow })
    }

    /// What is counted and logged of it.
    pub(crate) fn told(&self) -> Refused {
        Refused { status: self.status(), ground: self.ground(), reason: self.reason() }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Own(own) => own.status,
            Self::Malformed(rejection) => rejection.status(),
            Self::NotAdmitted(denied) | Self::Unauthorized { denied, .. } => denied.status(),
            Self::InvalidPath
            | Self::InvalidQuery
            | Self::DuplicateQuery
            | Self::InvalidTopic
            | Self::InvalidUser
            | Self::DuplicateUser
            | Self::DuplicatePosition
            | Self::InvalidPosition
            | Self::DuplicateCount
            | Self::InvalidCount
            | Self::TwoPasts
            | Self::TlsToPlain
            | Self::ProxyToPlain => 400,
            Self::Forbidden | Self::Network | Self::ListenerNetwork | Self::Origin => 403,
            Self::NotFound => 404,
            Self::Timeout => 408,
            Self::Full { .. } => 503,
            Self::Crowded(turned_away) => turned_away.by.status(),
            // RFC 9110 section 15.6.5: "did not receive a timely response from an upstream server
            // it needed to access in order to complete the request".
            Self::DecisionTimeout => 504,
        }
    }

    /// What is wrong and what to do, as a sentence without its full stop: the body of the response,
    /// unless that is the handler's own.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Own(_) => "its handler has refused it",
            Self::Malformed(rejection) => rejection.reason(),
            Self::NotAdmitted(denied) | Self::Unauthorized { denied, .. } => denied.reason(),
            Self::InvalidPath => {
                "the path cannot be decoded: two hexadecimal digits stand behind each `%`, and \
                 what the escapes stand for is UTF-8"
            }
            Self::InvalidQuery => {
                "a value in the query cannot be decoded: two hexadecimal digits stand behind each \
                 `%`, and what the escapes stand for is UTF-8"
            }
            Self::DuplicateQuery => {
                "the query has more than one value of a name that may be there once: send one"
            }
            Self::InvalidTopic => {
                "the path does not name a topic: with its escapes resolved, a topic's name is 1 to \
                 200 bytes of UTF-8 without control characters, and one segment brings no slash \
                 into it"
            }
            Self::InvalidUser => {
                "the request does not name a user: a user's name is 1 to 200 bytes of UTF-8 \
                 without control characters"
            }
            Self::DuplicateUser => "the request names more than one user",
            Self::DuplicatePosition => "the query has more than one `since`: send one",
            Self::InvalidPosition => {
                "`since` in the query is no position: write EPOCH:OFFSET, such as 00c0ffee:17, as \
                 events tell them"
            }
            Self::DuplicateCount => "the query has more than one `last`: send one",
            Self::InvalidCount => "`last` in the query must be a whole number from 1 to 1000",
            Self::TwoPasts => "the query has both `since` and `last`: send one of them",
            Self::Forbidden => "you may not connect here",
            Self::Network => {
                "clients of your address may not connect here: `allow` and `deny` of the route say \
                 which may"
            }
            Self::ListenerNetwork => {
                "clients of your address may not connect here: `allow` and `deny` of the listener \
                 say which may"
            }
            Self::Origin => {
                "pages of this origin may not connect here: `origins` of the route says which may"
            }
            Self::NotFound => "nothing is served at this path",
            Self::TlsToPlain => {
                "this port speaks no TLS: use http:// or ws:// to reach it, or give its listener \
                 the layer `tls`"
            }
            Self::ProxyToPlain => {
                "a PROXY header where none is expected: have the proxy send none, or give the \
                 listener the layer `proxy`"
            }
            Self::Timeout => "the request head did not arrive in time",
            Self::DecisionTimeout => {
                "it was not decided in time whether you may connect; try again later"
            }
            Self::Full { .. } => "there is no room for another connection; try again later",
            Self::Crowded(turned_away) => turned_away.by.reason(),
        }
    }

    /// How many bytes the body has that [`write`](Self::write) writes.
    pub(super) fn body_length(&self) -> usize {
        // The sentence, and the line feed behind it.
        self.reason().len() + 1
    }

    /// What it is counted by.
    #[must_use]
    pub fn ground(&self) -> Ground {
        match self {
            Self::Own(_) => Ground::Handler,
            Self::Malformed(rejection) => ground(*rejection),
            Self::NotAdmitted(NotAdmitted::NoCertificate) => Ground::Certificate,
            Self::NotAdmitted(NotAdmitted::PasswordsOfAddress) => Ground::AddressRate,
            Self::NotAdmitted(denied) if denied.is_for_now() => Ground::Full,
            Self::Unauthorized { .. } | Self::NotAdmitted(NotAdmitted::TwoPasswords) => {
                Ground::Password
            }
            Self::NotAdmitted(_) => Ground::Token,
            Self::InvalidPath
            | Self::InvalidQuery
            | Self::DuplicateQuery
            | Self::InvalidTopic
            | Self::InvalidUser
            | Self::DuplicateUser
            | Self::DuplicatePosition
            | Self::InvalidPosition
            | Self::DuplicateCount
            | Self::InvalidCount
            | Self::TwoPasts
            | Self::ProxyToPlain => Ground::BadRequest,
            Self::Forbidden => Ground::Forbidden,
            Self::Network => Ground::Network,
            Self::ListenerNetwork => Ground::ListenerNetwork,
            Self::Origin => Ground::Origin,
            Self::NotFound => Ground::NotFound,
            Self::TlsToPlain => Ground::Tls,
            Self::Timeout => Ground::HeadTimeout,
            Self::DecisionTimeout => Ground::DecisionTimeout,
            Self::Full { .. } => Ground::Full,
            Self::Crowded(turned_away) => match turned_away.by {
                Crowd::Gateway => Ground::GatewayFull,
                Crowd::Listener => Ground::ListenerFull,
                Crowd::Route => Ground::RouteFull,
                Crowd::Address => Ground::AddressFull,
                Crowd::User => Ground::UserFull,
                Crowd::ListenerRate => Ground::ListenerRate,
                Crowd::AddressRate => Ground::AddressRate,
                Crowd::Memory => Ground::Memory,
            },
        }
    }

    /// The most bytes that [`write`](Self::write) writes.
    pub(super) const RESPONSE_LEN_MAX: usize = Rejection::RESPONSE_LEN_MAX;

    /// Writes the whole response, of one that is not the handler's own, to the start of `out`, and
    /// yields its length in bytes. Close the connection behind it.
    ///
    /// # Errors
    /// [`HeadWriteError::NoRoom`], which can not be if `out` has [`Refusal::RESPONSE_LEN_MAX`]
    /// bytes.
    pub(super) fn write(&self, out: &mut [u8]) -> Result<usize, HeadWriteError> {
        if let Self::Malformed(rejection) = self {
            return rejection.write(out);
        }
        let mut writer = Writer::new(out);
        writer.status_line(self.status())?;
        match self {
            // RFC 9110 section 10.2.3: `delay-seconds`.
            Self::Full { retry_after_seconds }
            | Self::Crowded(TurnedAway { retry_after_seconds, .. }) => {
                writer.header("Retry-After", retry_after_seconds)?;
            }
            Self::NotAdmitted(denied) if denied.is_for_now() => {
                writer.header("Retry-After", BUSY_SECONDS)?;
            }
            // RFC 7617 section 2: "the authentication parameter 'realm' is REQUIRED"; section 2.1:
            // `charset` asks for UTF-8.
            Self::Unauthorized { realm, .. } => {
                let challenge = format_args!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
                writer.header("WWW-Authenticate", challenge)?;
            }
            // Section 11.6.1: "A server generating a 401 response MUST send a WWW-Authenticate
            // header field".
            Self::NotAdmitted(denied) => {
                if let Some(challenge) = denied.challenge() {
                    writer.header("WWW-Authenticate", challenge)?;
                }
            }
            _ => {}
        }
        writer.header("Connection", "close")?;
        writer.sentence(self.reason())?;
        Ok(writer.finish())
    }
}

fn ground(rejection: Rejection) -> Ground {
    match rejection {
        Rejection::Head(error) => match error.status() {
            431 | 414 | 413 => Ground::HeadTooLarge,
            _ => Ground::BadRequest,
        },
        Rejection::NotUpgrade => Ground::NotUpgrade,
        Rejection::MethodNotAllowed { .. } => Ground::MethodNotAllowed,
        _ => Ground::BadHandshake,
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.reason())
    }
}

impl error::Error for Refusal {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Malformed(rejection) => Some(rejection),
            _ => None,
        }
    }
}

impl From<NotAdmitted> for Refusal {
    fn from(denied: NotAdmitted) -> Self {
        Self::NotAdmitted(denied)
    }
}

impl From<PasswordRefused> for Refusal {
    fn from(PasswordRefused { denied, realm }: PasswordRefused) -> Self {
        match denied.status() {
            401 => Self::Unauthorized { denied, realm },
            _ => Self::NotAdmitted(denied),
        }
    }
}

impl From<TurnedAway> for Refusal {
    fn from(turned_away: TurnedAway) -> Self {
        Self::Crowded(turned_away)
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::Malformed(rejection)
    }
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Self {
        Self::Malformed(Rejection::Head(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Refusal; 24] = [
        Refusal::InvalidPath,
        Refusal::InvalidQuery,
        Refusal::DuplicateQuery,
        Refusal::Malformed(Rejection::InvalidKey),
        Refusal::Malformed(Rejection::MethodNotAllowed { allow: "GET, HEAD" }),
        Refusal::InvalidTopic,
        Refusal::InvalidUser,
        Refusal::DuplicateUser,
        Refusal::DuplicatePosition,
        Refusal::InvalidPosition,
        Refusal::DuplicateCount,
        Refusal::InvalidCount,
        Refusal::TwoPasts,
        Refusal::Forbidden,
        Refusal::Network,
        Refusal::ListenerNetwork,
        Refusal::Origin,
        Refusal::NotFound,
        Refusal::TlsToPlain,
        Refusal::ProxyToPlain,
        Refusal::Timeout,
        Refusal::DecisionTimeout,
        Refusal::Full { retry_after_seconds: u32::MAX },
        Refusal::Crowded(TurnedAway { by: Crowd::AddressRate, retry_after_seconds: u32::MAX }),
    ];

    fn written(refusal: &Refusal) -> String {
        let mut out = [0; Refusal::RESPONSE_LEN_MAX];
        let length = refusal.write(&mut out).expect("a refusal fits");
        String::from_utf8(out[..length].to_vec()).expect("it is text")
    }

    #[test]
    fn whole_response() {
        assert_eq!(
            written(&Refusal::NotFound),
            "HTTP/1.1 404 Not Found\r\n\
             Connection: close\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             Content-Length: 31\r\n\r\n\
             nothing is served at this path\n"
        );
        assert_eq!(
            written(&Refusal::Full { retry_after_seconds: 5 }),
            "HTTP/1.1 503 Service Unavailable\r\n\
             Retry-After: 5\r\n\
             Connection: close\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             Content-Length: 57\r\n\r\n\
             there is no room for another connection; try again later\n"
        );
    }

    #[test]
    fn every_response_is_whole_and_closes() {
        for refusal in ALL {
            let text = written(&refusal);
            let (head, body) = text.split_once("\r\n\r\n").expect("a head has an end");
            assert_eq!(body, format!("{refusal}\n"));
            assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())), "{text}");
            assert!(head.starts_with(&format!("HTTP/1.1 {} ", refusal.status())), "{text}");
            let line = head.lines().next().expect("a head has a first line");
            assert!(!line.ends_with(' '), "it has a reason phrase: {text}");
            assert!(head.contains("close"), "{text}");
        }
    }

    #[test]
    fn too_small_a_buffer() {
        for refusal in ALL {
            let length = written(&refusal).len();
            for room in 0..length {
                assert_eq!(refusal.write(&mut vec![0; room]), Err(HeadWriteError::NoRoom));
            }
            assert_eq!(refusal.write(&mut vec![0; length]), Ok(length));
        }
    }

    #[test]
    fn statuses_and_their_headers() {
        let full = Refusal::Full { retry_after_seconds: 7 };
        assert_eq!(full.status(), 503);
        assert!(written(&full).contains("\r\nRetry-After: 7\r\n"));
        assert_eq!(Refusal::Timeout.status(), 408);
        assert_eq!(Refusal::DecisionTimeout.status(), 504);
        assert_eq!(Refusal::Forbidden.status(), 403);
        assert_eq!(Refusal::InvalidTopic.status(), 400);
        assert_eq!(Refusal::InvalidUser.status(), 400);
        assert_eq!(Refusal::DuplicateUser.status(), 400);
        assert_eq!(Refusal::DuplicatePosition.status(), 400);
        assert_eq!(Refusal::from(HeadError::TooLarge).status(), 431);
    }

    #[test]
    fn with_a_response_of_the_handlers_own() {
        let of = |status, body: Body| Refusal::with(Response::new(status, body).expect("one"));
        for status in [300, 302, 401, 418, 451, 500, 599] {
            let refusal = of(status, Body::Empty).expect("a status that refuses");
            assert_eq!((refusal.status(), refusal.ground()), (status, Ground::Handler));
            assert_eq!(refusal.told().reason, refusal.to_string());
        }
        for status in [200, 204, 299] {
            assert_eq!(of(status, Body::Empty), Err(ResponseError::NoRefusal(status)));
        }
        assert!(of(403, vec![b'a'; BODY_AT_ONCE_MAX].into()).is_ok());
        let long = vec![b'a'; BODY_AT_ONCE_MAX + 1];
        assert_eq!(of(403, long.into()), Err(ResponseError::RefusalBody));
        let response = Response::text(401, "who?").and_then(|it| it.with("X-Why", "token"));
        let Ok(Refusal::Own(own)) = Refusal::with(response.expect("a response")) else {
            panic!("it is the handler's own")
        };
        let (head, body) = own.into_response().take_apart();
        let head = String::from_utf8(head).expect("it is text");
        assert!(head.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{head}");
        assert!(head.contains("\r\nX-Why: token\r\n"), "{head}");
        assert!(matches!(body, Body::Shared(bytes) if *bytes == *b"who?"));
    }

    #[test]
    fn grounds() {
        for (number, ground) in Ground::ALL.into_iter().enumerate() {
            assert_eq!(ground as usize, number, "{}", ground.name());
        }
        assert_eq!(Refusal::from(HeadError::TooLarge).ground(), Ground::HeadTooLarge);
        assert_eq!(Refusal::from(HeadError::Body).ground(), Ground::HeadTooLarge);
        assert_eq!(Refusal::from(HeadError::InvalidHost).ground(), Ground::BadRequest);
        assert_eq!(Refusal::from(Rejection::InvalidKey).ground(), Ground::BadHandshake);
        assert_eq!(Refusal::from(Rejection::NotUpgrade).ground(), Ground::NotUpgrade);
        assert_eq!(Refusal::DuplicatePosition.ground(), Ground::BadRequest);
        assert_eq!(Refusal::Timeout.ground(), Ground::HeadTimeout);
        assert_eq!(Refusal::DecisionTimeout.ground(), Ground::DecisionTimeout);
    }
}
