//! What stands between a socket and hyper: each request head is held to the rules of the listeners
//! before hyper gets to see it, and where each body ends is followed.
//!
//! Hyper repairs what RFC 9112 lets a recipient repair: lines that end in LF alone, lengths that
//! are said twice, codings that it does not know. Behind a proxy that repairs it in another way,
//! that is how a request is smuggled past the proxy's rules. A head that is refused is not passed
//! on: in its place hyper gets one that stands for it, so that its answer comes when its turn has
//! come.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tidegate_proto::http::{BodyLength, Status, parse_request_with_body};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::chunks::{Chunks, Malformed};
use super::pace::{HeadFault, Pace};

/// Bytes of a request head, and of what is read ahead, at most.
pub(super) const HEAD_BYTES: usize = 32 << 10;

/// Bytes that are taken from the socket at once.
const READ_AT_ONCE: usize = 8 << 10;

/// Bytes that are thrown away behind a request that was refused, so that the peer gets to read the
/// answer: what is unread when a socket is closed resets its connection.
const DISCARDED_MAX: usize = 64 << 10;

/// What hyper gets in place of a head that is refused. RFC 9110 section 9.3.2: "the server MUST NOT
/// send content in the response" to HEAD, whatever it is.
const REFUSED: &[u8] = b"GET /refused HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const HEAD_REFUSED: &[u8] =
    b"HEAD /refused HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// A stream whose requests are checked as they are read.
pub(super) struct Gate<S> {
    stream: S,
    pace: Rc<Pace>,
    /// What was read and not passed on.
    bytes: Vec<u8>,
    /// So many of `bytes` may be passed on: `0..=bytes.len()`.
    cleared: usize,
    at: Awaited,
    /// All that is ever sent has left, and the peer was told so.
    is_shut: bool,
    /// Bytes that were thrown away since then.
    discarded: usize,
}

/// What comes next from the peer.
enum Awaited {
    Head,
    /// So many bytes of a body, at least 1.
    Length(u64),
    Chunks(Chunks),
    /// Nothing: a head was refused.
    Shut,
    /// Nothing: a body was malformed, which is an error once all before it is passed on.
    Broken,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Gate<S> {
    /// In front of `stream`.
    pub(super) fn new(stream: S, pace: Rc<Pace>) -> Self {
        let (bytes, at) = (Vec::new(), Awaited::Head);
        Self { stream, pace, bytes, cleared: 0, at, is_shut: false, discarded: 0 }
    }

    /// Clears all that may be passed on.
    fn clear(&mut self) {
        while self.cleared < self.bytes.len() {
            let rest = &self.bytes[self.cleared..];
            match &mut self.at {
                Awaited::Head => match parse_request_with_body(rest, HEAD_BYTES) {
                    Ok(Status::Complete(head)) => {
                        self.cleared += head.head_len();
                        self.at = Awaited::behind(head.body());
                        self.pace.request_begins();
                    }
                    Ok(Status::Partial) => {
                        self.say_head_comes();
                        break;
                    }
                    Err(error) => self.shut(HeadFault::Head(error)),
                },
                Awaited::Length(left) => {
                    let here = (*left).min(rest.len() as u64);
                    self.cleared += here as usize;
                    *left -= here;
                    if *left == 0 {
                        self.at = Awaited::Head;
                    }
                }
                Awaited::Chunks(chunks) => match chunks.pass(rest) {
                    Ok(length) => {
                        self.cleared += length;
                        if chunks.is_done() {
                            self.at = Awaited::Head;
                        }
                    }
                    Err(Malformed) => {
                        self.bytes.truncate(self.cleared);
                        self.at = Awaited::Broken;
                    }
                },
                Awaited::Shut | Awaited::Broken => break,
            }
        }
        self.pace.body_comes(!matches!(self.at, Awaited::Head | Awaited::Shut));
    }

    /// Tells that a head is half here. An empty line before it, which some clients send behind a
    /// body, is none yet.
    fn say_head_comes(&self) {
        if self.has_half_head() {
            self.pace.head_comes();
        }
    }

    fn has_half_head(&self) -> bool {
        let rest = &self.bytes[self.cleared..];
        matches!(self.at, Awaited::Head) && !b"\r\n".starts_with(rest)
    }

    /// Passes on what stands for a head that is refused, and nothing that comes behind it.
    fn shut(&mut self, fault: HeadFault) {
        self.pace.refuse(fault);
        let refused = &self.bytes[self.cleared..];
        // Empty lines in front of a request are passed over (RFC 9112 section 2.2).
        let begins = refused.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(0);
        let is_of_head = refused[begins..].starts_with(b"HEAD ");
        self.bytes.truncate(self.cleared);
        self.bytes.extend_from_slice(if is_of_head { HEAD_REFUSED } else { REFUSED });
        self.cleared = self.bytes.len();
        self.at = Awaited::Shut;
        self.pace.request_begins();
    }

    /// Passes on what is cleared, as far as there is room.
    fn hand_out(&mut self, out: &mut ReadBuf<'_>) {
        let length = self.cleared.min(out.remaining());
        self.pace.moves(length);
        out.put_slice(&self.bytes[..length]);
        self.bytes.drain(..length);
        self.cleared -= length;
        if self.bytes.is_empty() {
            // Most connections are idle most of the time.
            self.bytes = Vec::new();
        }
    }

    /// Reads more from the socket; returns how many bytes, 0 at its end.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let before = self.bytes.len();
        // A head is complete or refused when it has as many bytes as it may.
        self.bytes.resize((before + READ_AT_ONCE).min(HEAD_BYTES), 0);
        let mut room = ReadBuf::new(&mut self.bytes[before..]);
        let outcome = Pin::new(&mut self.stream).poll_read(context, &mut room);
        let length = room.filled().len();
        self.bytes.truncate(before + length);
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
        outcome.map_ok(|()| length)
    }

    /// Reads what is still on its way and throws it away, until the peer ends.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; 1024];
        while self.discarded < DISCARDED_MAX {
            let mut room = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut room)) {
                Ok(()) if !room.filled().is_empty() => self.discarded += room.filled().len(),
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl Awaited {
    /// What comes behind a head that announces `body`.
    fn behind(body: BodyLength) -> Self {
        match body {
            BodyLength::None => Self::Head,
            BodyLength::Length(length) => Self::Length(length),
            BodyLength::Chunked => Self::Chunks(Chunks::new()),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gate<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        loop {
            if gate.cleared > 0 {
                gate.hand_out(out);
                return Poll::Ready(Ok(()));
            }
            match (gate.pace.fault(), &gate.at) {
                // What stood for the head was passed on: hyper answers it, and ends.
                (_, Awaited::Shut) => return Poll::Pending,
                (_, Awaited::Broken) => {
                    let kind = io::ErrorKind::InvalidData;
                    return Poll::Ready(Err(io::Error::new(kind, "a chunk is malformed")));
                }
                (Some(fault), _) => {
                    gate.shut(fault);
                    continue;
                }
                (None, _) => {}
            }
            if ready!(gate.poll_more(context))? == 0 {
                return Poll::Ready(Ok(()));
            }
            gate.clear();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let gate = self.get_mut();
        let length = ready!(Pin::new(&mut gate.stream).poll_write(context, bytes))?;
        gate.pace.moves(length);
        Poll::Ready(Ok(length))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let gate = self.get_mut();
        let length = ready!(Pin::new(&mut gate.stream).poll_write_vectored(context, slices))?;
        gate.pace.moves(length);
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        ready!(Pin::new(&mut gate.stream).poll_flush(context))?;
        gate.pace.flushed(gate.has_half_head());
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        if !gate.is_shut {
            gate.pace.ends();
            ready!(Pin::new(&mut gate.stream).poll_shutdown(context))?;
            gate.is_shut = true;
        }
        // Between two requests, nothing is on its way that was promised an answer.
        if !matches!(gate.at, Awaited::Head) {
            ready!(gate.poll_discard(context));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use tidegate_proto::http::HeadError;

    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

    /// A peer that has sent these pieces, and no more.
    struct Sent(VecDeque<Vec<u8>>);

    impl AsyncRead for Sent {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            out: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if let Some(mut piece) = self.0.pop_front() {
                let rest = piece.split_off(piece.len().min(out.remaining()));
                out.put_slice(&piece);
                if !rest.is_empty() {
                    self.0.push_front(rest);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Sent {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// What comes out of a gate.
    #[derive(Debug, PartialEq, Eq)]
    struct CameOut {
        text: String,
        fault: Option<HeadFault>,
        /// The stream broke.
        is_error: bool,
        /// Nothing more is passed on; else the peer's end is.
        is_shut: bool,
        requests: u64,
    }

    /// Lets `text` through that comes in pieces of so many bytes.
    fn through(text: &str, piece: usize) -> CameOut {
        let pieces = text.as_bytes().chunks(piece).map(<[u8]>::to_vec).collect();
        let pace = Rc::new(Pace::new(false, None));
        let mut gate = Gate::new(Sent(pieces), Rc::clone(&pace));
        let mut passed = Vec::new();
        let (mut is_error, mut is_shut) = (false, false);
        loop {
            let mut bytes = [0; 100];
            let mut room = ReadBuf::new(&mut bytes);
            match Pin::new(&mut gate).poll_read(&mut Context::from_waker(Waker::noop()), &mut room)
            {
                Poll::Ready(Ok(())) if room.filled().is_empty() => break,
                Poll::Ready(Ok(())) => passed.extend_from_slice(room.filled()),
                Poll::Ready(Err(_)) => {
                    is_error = true;
                    break;
                }
                Poll::Pending => {
                    is_shut = true;
                    break;
                }
            }
        }
        let text = String::from_utf8(passed).expect("text");
        CameOut { text, fault: pace.fault(), is_error, is_shut, requests: pace.requests() }
    }

    #[test]
    fn what_is_right_passes_unchanged() {
        let posted = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\nGET / \n";
        let chunked = format!("{CHUNKED}5;x\r\n\n\r\n\r\n\r\n0\r\nA: b\r\n\r\n");
        for (text, requests) in [
            (GET.to_owned(), 1),
            (format!("{GET}\r\n{posted}{chunked}{GET}"), 4),
            (format!("{chunked}{chunked}{posted}"), 3),
        ] {
            for piece in [1, 2, 7, 100_000] {
                let passed = through(&text, piece);
                let expected = CameOut {
                    text: text.clone(),
                    fault: None,
                    is_error: false,
                    is_shut: false,
                    requests,
                };
                assert_eq!(passed, expected, "by {piece}");
            }
        }
    }

    #[test]
    fn a_head_that_is_refused_is_answered_in_its_turn_and_ends_all() {
        let refused = str::from_utf8(REFUSED).expect("ASCII");
        let post = "POST / HTTP/1.1\r\nHost: a\r\n";
        for (bad, error) in [
            ("GET / HTTP/1.1\nHost: a\n\n".to_owned(), HeadError::BareLineFeed),
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), HeadError::MissingHost),
            (
                format!("{post}Content-Length: 1\r\nContent-Length: 1\r\n\r\n"),
                HeadError::DuplicateContentLength,
            ),
            (
                format!("{post}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
                HeadError::ContentLengthAndTransferEncoding,
            ),
            (format!("{post} x\r\n\r\n"), HeadError::FoldedLine),
        ] {
            for piece in [1, 3, 100_000] {
                let passed = through(&format!("{GET}{bad}{GET}"), piece);
                assert_eq!(passed.text, format!("{GET}{refused}"), "{bad:?} by {piece}");
                assert_eq!(passed.fault, Some(HeadFault::Head(error)), "{bad:?}");
                assert!(passed.is_shut && passed.requests == 2, "{passed:?}");
            }
        }
    }

    #[test]
    fn a_request_by_head_that_is_refused_is_answered_as_one() {
        let refused = str::from_utf8(HEAD_REFUSED).expect("ASCII");
        for bad in ["HEAD / HTTP/1.1\r\n\r\n", "\r\nHEAD / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n"]
        {
            for piece in [1, 3, 100_000] {
                assert_eq!(through(bad, piece).text, refused, "{bad:?} by {piece}");
            }
        }
    }

    #[test]
    fn a_head_has_a_bound() {
        let begin = "GET / HTTP/1.1\r\nHost: a\r\nA: ";
        let most = format!("{begin}{}\r\n\r\n", "x".repeat(HEAD_BYTES - begin.len() - 4));
        let passed = through(&most, 100_000);
        assert_eq!((passed.text, passed.fault), (most, None));
        let over = format!("{begin}{}", "x".repeat(HEAD_BYTES));
        assert_eq!(through(&over, 100_000).fault, Some(HeadFault::Head(HeadError::TooLarge)));
    }

    #[test]
    fn a_broken_chunk_breaks_the_stream() {
        for body in ["1\nx", "0\r\nA: b\n", "x\r\n"] {
            let passed = through(&format!("{CHUNKED}{body}{GET}"), 1);
            assert!(passed.is_error && passed.requests == 1, "{body:?}: {passed:?}");
        }
    }
}
