//! A response of a handler's own.

use std::sync::Arc;
use std::{error, fmt};

use tidegate_proto::http::{HeadWriteError, Writer};

use super::refusal::BODY_AT_ONCE_MAX;
use crate::connection::Output;

/// The longest head of a response, without what the gateway adds to it, in bytes.
pub const HEAD_MAX: usize = 4096;

/// The most headers of a response, without those that the gateway adds.
pub const HEADERS_MAX: usize = 64;

/// What says where a response ends, and how its connection goes on: for the gateway to say.
const OWN: [&str; 6] =
    ["Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "Keep-Alive", "Trailer"];

/// A response to a request. Status and headers are checked as they are given, so what is there can
/// be sent. The gateway adds `Connection: close`, and `Content-Length` or `Transfer-Encoding`; to
/// HEAD it sends the same without the body. Beside [`Decision::Respond`] a request may be
/// [refused](super::refusal::Refusal::with) with one.
///
/// [`Decision::Respond`]: super::serve::Decision::Respond
///
/// ```
/// use tidegate::handler::Response;
///
/// # fn main() -> Result<(), tidegate::handler::ResponseError> {
/// let response = Response::new(200, "{}")?.with("Content-Type", "application/json")?;
/// assert!(response.with("X-Name", "two\r\nlines").is_err());
/// # Ok(())
/// # }
/// ```
pub struct Response {
    pub(super) status: u16,
    /// The status line, and all headers but those that the gateway adds.
    pub(super) head: Vec<u8>,
    pub(super) body: Body,
}

/// What comes behind the head of a response.
#[derive(Default)]
#[non_exhaustive]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// These bytes, which many responses may share. Up to 64 KiB are sent at once, and the request
    /// is refused with 503 if there is no room for that; more are sent as the peer takes them.
    Shared(Arc<[u8]>),
    /// What a source says, as the peer takes it.
    Stream {
        /// How many bytes that will be, if it is known: otherwise they are sent in chunks. A source
        /// that ends before ends the connection, so that its peer knows that some are missing.
        length: Option<u64>,
        /// What says them.
        source: Box<dyn Source>,
    },
}

impl From<Arc<[u8]>> for Body {
    fn from(bytes: Arc<[u8]>) -> Self {
        Self::Shared(bytes)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Shared(bytes.into())
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<&str> for Body {
    fn from(text: &str) -> Self {
        Self::Shared(text.as_bytes().into())
    }
}

/// Says the body of a response piece by piece. It is asked whenever the peer has taken what was
/// said before and there is room for more: 64 KiB, or what the backlog of the route allows if that
/// is less. Where blocks run short, it is asked once there are some. It is dropped when all is said
/// or the connection has ended. A peer that takes nothing is dropped as any that stalls.
///
/// A source that says nothing while nothing that it said before waits for the peer is not asked
/// again, and is given up after the listener's `stall`, its connection with it, whatever its peer
/// sends. So it cannot wait for others. One whose peer has finished writing is given up as well.
pub trait Source {
    /// Says what there is now, as far as there is room, and by [`Sink::end`] that it was the last.
    fn pull(&mut self, sink: &mut Sink<'_, '_>);
}

/// Why there is no such response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResponseError {
    /// No status of a final response: 200 to 599.
    Status(u16),
    /// A body behind a status that has none.
    NoContent(u16),
    /// A header's name is no token, or its value has a control character.
    Header,
    /// A header that the gateway writes itself.
    OwnHeader(&'static str),
    /// The head would have more than [`HEAD_MAX`] bytes.
    TooLong,
    /// There would be more than [`HEADERS_MAX`] headers.
    TooManyHeaders,
    /// No status of a refusal: 300 to 599.
    NoRefusal(u16),
    /// The body of a refusal is said by a source, or is longer than what is sent at once.
    RefusalBody,
}

impl fmt::Display for ResponseError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(
                out,
                "{status} is no status of a response: give one from 200 to 599, and admit a \
                 request to open a connection"
            ),
            Self::NoContent(status) => {
                write!(out, "a response of status {status} has no body: give `Body::Empty`")
            }
            Self::Header => out.write_str(
                "a header's name must be a token, and its value without control characters",
            ),
            Self::OwnHeader(name) => write!(
                out,
                "where a response ends, and what becomes of its connection, the gateway says \
                 itself: leave the header `{name}` out"
            ),
            Self::TooLong => write!(out, "a response's head has at most {HEAD_MAX} bytes"),
            Self::TooManyHeaders => write!(out, "a response has at most {HEADERS_MAX} headers"),
            Self::NoRefusal(status) => write!(
                out,
                "{status} does not refuse: give a status from 300 to 599, or respond with it"
            ),
            Self::RefusalBody => write!(
                out,
                "who is refused gets all of the body at once: give at most {BODY_AT_ONCE_MAX} \
                 bytes that are there already"
            ),
        }
    }
}

impl error::Error for ResponseError {}

impl Response {
    /// A response without headers of its own.
    ///
    /// # Errors
    /// The status is none, or may have no body.
    pub fn new(status: u16, body: impl Into<Body>) -> Result<Self, ResponseError> {
        let body = body.into();
        if !(200..=599).contains(&status) {
            return Err(ResponseError::Status(status));
        }
        // RFC 9110 section 6.4.1: "All 1xx (Informational), 204 (No Content), and 304 (Not
        // Modified) responses do not include content". Section 15.3.6: "a server MUST NOT generate
        // content in a 205 response".
        if matches!(status, 204 | 205 | 304) && !matches!(body, Body::Empty) {
            return Err(ResponseError::NoContent(status));
        }
        let mut this = Self { status, head: Vec::new(), body };
        this.append(|writer| writer.status_line(status))?;
        Ok(this)
    }

    /// A response that says something to people: with `Content-Type: text/plain`.
    ///
    /// # Errors
    /// As [`Response::new`].
    pub fn text(status: u16, text: impl Into<String>) -> Result<Self, ResponseError> {
        Self::new(status, text.into())?.with("Content-Type", "text/plain; charset=utf-8")
    }

    /// The same with one more header.
    ///
    /// # Errors
    /// The name is no token, or the value has control characters; there is no room for it, or there
    /// are [`HEADERS_MAX`]; or it is the gateway's to say.
    pub fn with(mut self, name: &str, value: &str) -> Result<Self, ResponseError> {
        if let Some(own) = OWN.into_iter().find(|own| own.eq_ignore_ascii_case(name)) {
            return Err(ResponseError::OwnHeader(own));
        }
        // The status line is one as well.
        if self.head.iter().filter(|byte| **byte == b'\n').count() > HEADERS_MAX {
            return Err(ResponseError::TooManyHeaders);
        }
        self.append(|writer| writer.header(name, value))?;
        Ok(self)
    }

    fn append(
        &mut self,
        write: impl FnOnce(&mut Writer<'_>) -> Result<(), HeadWriteError>,
    ) -> Result<(), ResponseError> {
        let mut line = [0; HEAD_MAX];
        let mut writer = Writer::new(&mut line[self.head.len()..]);
        write(&mut writer).map_err(|error| match error {
            HeadWriteError::NoRoom => ResponseError::TooLong,
            HeadWriteError::InvalidText => ResponseError::Header,
        })?;
        let (start, length) = (self.head.len(), writer.finish());
        self.head.extend_from_slice(&line[start..start + length]);
        Ok(())
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The whole head, and the body.
    pub(super) fn take_apart(self) -> (Vec<u8>, Body) {
        let Self { status, mut head, body } = self;
        // RFC 9110 section 15.5.22: "The server MUST send an Upgrade header field in a 426 response
        // to indicate the required protocol(s)". Section 7.8: "A sender of Upgrade MUST also send
        // an "Upgrade" connection option".
        head.extend_from_slice(match status {
            426 => b"Upgrade: websocket\r\nConnection: Upgrade, close\r\n",
            _ => b"Connection: close\r\n",
        });
        let length = match &body {
            // RFC 9110 section 8.6: "A server MUST NOT send a Content-Length header field in any
            // response with a status code of 1xx (Informational) or 204 (No Content)", and in one
            // of 304 none that differs from that of a 200.
            Body::Empty if matches!(status, 204 | 304) => None,
            Body::Empty => Some(0),
            Body::Shared(bytes) => Some(bytes.len() as u64),
            Body::Stream { length: Some(length), .. } => Some(*length),
            Body::Stream { length: None, .. } => {
                head.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
                None
            }
        };
        if let Some(length) = length {
            head.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        (head, body)
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Response").field("status", &self.status).finish_non_exhaustive()
    }
}

/// What stands around the bytes of a chunk at most, and behind the last one.
const AROUND_CHUNK: usize = "12345678\r\n\r\n".len() + LAST_CHUNK.len();

/// RFC 9112 section 7.1: the chunk of size zero, and no trailers.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Where a source says what there is.
pub struct Sink<'s, 'o> {
    pub(super) output: &'s mut Output<'o>,
    /// The bytes that have yet to come; `None` where they are sent in chunks.
    pub(super) left: Option<u64>,
    pub(super) said: u64,
    pub(super) is_over: bool,
    /// There was no memory in the middle of a piece.
    pub(super) is_broken: bool,
}

impl Sink<'_, '_> {
    /// How many bytes can be said now.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.is_over || self.is_broken {
            return 0;
        }
        let room = self.output.body_room() as usize;
        match self.left {
            Some(left) => room.min(usize::try_from(left).unwrap_or(usize::MAX)),
            None => room.saturating_sub(AROUND_CHUNK),
        }
    }

    /// Says the first of these bytes, as many as there is room for, and yields how many those were.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let bytes = &bytes[..bytes.len().min(self.room())];
        if bytes.is_empty() {
            return 0;
        }
        let said = match &mut self.left {
            Some(left) => {
                *left -= bytes.len() as u64;
                self.is_over = *left == 0;
                self.output.body(bytes)
            }
            None => self.chunk(bytes),
        };
        self.is_broken |= said.is_err();
        self.said += bytes.len() as u64;
        bytes.len()
    }

    /// All is said.
    pub fn end(&mut self) {
        // Where bytes were lost, a last chunk would say that none is missing.
        if self.is_over || self.is_broken {
            return;
        }
        self.is_over = true;
        // Who was promised more is to notice.
        self.is_broken |=
            self.left.is_some_and(|left| left > 0) || self.left.is_none() && self.last_chunk();
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<(), crate::memory::Full> {
        let size = format!("{:x}\r\n", bytes.len());
        self.output.body(size.as_bytes())?;
        self.output.body(bytes)?;
        self.output.body(b"\r\n")
    }

    /// Whether there was no room for it.
    fn last_chunk(&mut self) -> bool {
        self.output.body(LAST_CHUNK).is_err()
    }
}

/// A source of bytes that are there already.
pub(super) struct SharedBytes {
    pub(super) bytes: Arc<[u8]>,
    pub(super) at: usize,
}

impl Source for SharedBytes {
    fn pull(&mut self, sink: &mut Sink<'_, '_>) {
        self.at += sink.write(&self.bytes[self.at..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Connection, Spot};
    use crate::kernel::{AreaSizes, Memory};
    use crate::memory::{BlockId, Blocks, MIN_BLOCK, Pool, Share};

    fn head(response: Response) -> String {
        String::from_utf8(response.take_apart().0).expect("it is text")
    }

    fn plain(status: u16) -> Response {
        Response::new(status, Body::Empty).expect("a status")
    }

    struct Nothing;

    impl Source for Nothing {
        fn pull(&mut self, _: &mut Sink<'_, '_>) {}
    }

    #[test]
    fn heads_say_how_long_the_body_is() {
        let shared = || Body::Shared(b"abc"[..].into());
        let stream = |length| Body::Stream { length, source: Box::new(Nothing) };
        let cases = [
            (200, Body::Empty, "Content-Length: 0\r\n"),
            (404, shared(), "Content-Length: 3\r\n"),
            (200, stream(Some(u64::MAX)), "Content-Length: 18446744073709551615\r\n"),
            (200, stream(None), "Transfer-Encoding: chunked\r\n"),
            (204, Body::Empty, ""),
            (304, Body::Empty, ""),
        ];
        for (status, body, length) in cases {
            let response = Response::new(status, body).expect("a status");
            let text = head(response.with("ETag", "\"1\"").expect("a header"));
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
            let end = format!("\r\nETag: \"1\"\r\nConnection: close\r\n{length}\r\n");
            assert!(text.ends_with(&end), "{text}");
        }
    }

    #[test]
    fn what_could_not_be_sent_is_refused() {
        for status in [0, 100, 101, 199, 600, 1000, u16::MAX] {
            assert_eq!(
                Response::new(status, Body::Empty).err(),
                Some(ResponseError::Status(status))
            );
        }
        for status in [204, 205, 304] {
            let body = Body::Shared(b"x"[..].into());
            assert_eq!(Response::new(status, body).err(), Some(ResponseError::NoContent(status)));
        }
        let refused = |name: &str, value: &str| plain(200).with(name, value).err();
        for (name, value) in
            [("", "x"), ("a b", "x"), ("a:", "x"), ("ä", "x"), ("a", "x\r\ny"), ("a", "\0")]
        {
            assert_eq!(refused(name, value), Some(ResponseError::Header), "{name:?}: {value:?}");
        }
        assert_eq!(refused("content-LENGTH", "1"), Some(ResponseError::OwnHeader(OWN[1])));
        assert_eq!(refused("upgrade", "h2c"), Some(ResponseError::OwnHeader(OWN[3])));
        assert_eq!(refused("a", &"x".repeat(HEAD_MAX)), Some(ResponseError::TooLong));
        let filled = |value: &str| {
            let mut full = plain(200);
            for count in 0..HEAD_MAX {
                full = match full.with("abcd", value) {
                    Ok(more) => more,
                    Err(error) => return (count, error),
                };
            }
            panic!("a head without a bound");
        };
        assert_eq!(filled("ef"), (HEADERS_MAX, ResponseError::TooManyHeaders));
        assert_eq!(filled(&"e".repeat(1000)), (4, ResponseError::TooLong));
    }

    #[test]
    fn who_is_to_upgrade_is_told_to_what() {
        let text = head(plain(426));
        assert!(
            text.contains("\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n"),
            "{text}"
        );
    }

    /// A sink for chunks, over a pool of so few blocks that all of them were taken but for `free`.
    fn with_few_blocks(free: usize, what: impl FnOnce(Sink<'_, '_>, Vec<BlockId>)) {
        let pool = 8 * MIN_BLOCK;
        let sizes = AreaSizes { receive: 1, staging: 8, blocks: pool as usize, scratch: 1 };
        let mut memory = Memory::new(sizes).expect("memory");
        let mut blocks = Blocks::new(pool);
        let mut taken: Vec<_> =
            std::iter::from_fn(|| blocks.take(Share::Sending, MIN_BLOCK)).collect();
        taken.drain(..free).for_each(|block| blocks.give_back(block));
        let mut connection = Connection::free(0);
        let mut output = Output {
            connection: &mut connection,
            pool: Pool { blocks: &mut blocks, memory: &mut memory },
            buffer: None,
            staged: 0,
            backlog_limit: 1 << 16,
            sending_reserve: 0,
            spot: Spot::Nothing,
            seals: false,
            trace: None,
        };
        let (left, said, is_over, is_broken) = (None, 0, false, false);
        what(Sink { output: &mut output, left, said, is_over, is_broken }, taken);
    }

    #[test]
    fn no_more_can_be_said_than_there_are_blocks_for() {
        for free in [0, 1, 3] {
            with_few_blocks(free, |mut sink, taken| {
                let most = (free * MIN_BLOCK as usize).saturating_sub(AROUND_CHUNK);
                assert_eq!(sink.room(), most);
                assert_eq!(sink.write(&[b'x'; 5000]), most);
                assert_eq!((sink.room(), sink.write(b"more")), (0, 0));
                // The last chunk has its room in any case.
                if free == 0 {
                    taken.into_iter().for_each(|block| sink.output.pool.blocks.give_back(block));
                    assert!(sink.room() > 0);
                }
                sink.end();
                assert!(sink.is_over && !sink.is_broken);
                let expected = match free {
                    0 => LAST_CHUNK.len(),
                    _ => format!("{most:x}\r\n\r\n").len() + most + LAST_CHUNK.len(),
                };
                assert_eq!(sink.output.connection.backlog_bytes as usize, expected);
            });
        }
    }

    #[test]
    fn of_the_blocks_that_are_kept_a_body_takes_none() {
        with_few_blocks(2, |mut sink, _| {
            sink.output.sending_reserve = u64::from(MIN_BLOCK);
            assert_eq!(sink.room(), MIN_BLOCK as usize - AROUND_CHUNK);
            sink.write(&[b'x'; 5000]);
            sink.end();
            assert!(!sink.is_broken);
            let left = sink.output.pool.blocks.free_beyond(Share::Sending, 0);
            assert_eq!(left, u64::from(MIN_BLOCK));
        });
    }

    #[test]
    fn a_body_that_lost_bytes_does_not_end_as_if_it_were_whole() {
        with_few_blocks(2, |mut sink, _| {
            sink.is_broken = true;
            assert_eq!(sink.room(), 0, "behind bytes that were lost");
            sink.end();
            assert!(sink.is_broken);
            assert_eq!(sink.output.connection.backlog_bytes, 0);
        });
    }

    #[test]
    fn errors_say_what_to_do() {
        let errors = [
            (ResponseError::Status(101), "admit"),
            (ResponseError::NoContent(204), "Body::Empty"),
            (ResponseError::Header, "token"),
            (ResponseError::OwnHeader("Connection"), "leave the header"),
            (ResponseError::TooLong, "4096"),
            (ResponseError::TooManyHeaders, "64"),
            (ResponseError::NoRefusal(200), "300"),
            (ResponseError::RefusalBody, "65536"),
        ];
        for (error, word) in errors {
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
