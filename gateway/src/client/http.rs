//! One request to an admin address, and its answer.
//!
//! It speaks to Tidegate's own server alone, on a connection for each request, and believes none of
//! what comes: an answer has a bound, and so has the time for it.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixSocketAddress, UnixStream};
use std::time::{Duration, Instant};

use tidegate::config::{BearerToken, ListenAddress, UnixAddress};

use super::{CommandFailure, NO_GATEWAY};

/// How long a request may take, from the connect to the last byte of its answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Bytes of the longest head of an answer, and of the longest answer.
const HEAD_MAX: usize = 64 << 10;
const ANSWER_MAX: usize = 64 << 20;

/// Header lines of an answer, at most.
const HEADERS_MAX: usize = 64;

/// Who asks, and where.
pub(super) struct AdminCaller {
    address: ListenAddress,
    token: Option<BearerToken>,
}

/// What is asked.
pub(super) struct AdminRequest<'r> {
    pub(super) method: &'static str,
    pub(super) path: &'r str,
    /// JSON, if there is any.
    pub(super) body: Option<&'r str>,
}

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AdminAnswer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Why nothing is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unanswered {
    /// Nobody listens at the address, as after the end of a gateway.
    pub(super) nobody_listens: bool,
    pub(super) failure: CommandFailure,
}

impl From<Unanswered> for CommandFailure {
    fn from(unanswered: Unanswered) -> Self {
        unanswered.failure
    }
}

/// A stream to the gateway.
trait Stream: Read + Write {
    /// From now on nothing is waited for longer than this.
    fn wait(&self, time: Duration) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn wait(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time)).and_then(|()| self.set_write_timeout(Some(time)))
    }
}

impl Stream for UnixStream {
    fn wait(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time)).and_then(|()| self.set_write_timeout(Some(time)))
    }
}

impl AdminCaller {
    pub(super) fn new(address: ListenAddress, token: Option<BearerToken>) -> Self {
        Self { address, token }
    }

    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// Nobody answers there, in HTTP, in time.
    pub(super) fn ask(&self, request: &AdminRequest<'_>) -> Result<AdminAnswer, Unanswered> {
        let deadline = Instant::now() + PATIENCE;
        let failed = |error: io::Error| self.unanswered(&error);
        let mut stream = self.connect().map_err(failed)?;
        stream.wait(left(deadline).map_err(failed)?).map_err(failed)?;
        stream.write_all(self.head(request).as_bytes()).map_err(failed)?;
        stream.write_all(request.body.unwrap_or_default().as_bytes()).map_err(failed)?;
        let bytes = read(&mut *stream, deadline).map_err(failed)?;
        parse(&bytes).map_err(|wrong| {
            let message = format!("{self} answers otherwise than a Tidegate does: {wrong}");
            let failure = CommandFailure(NO_GATEWAY, message);
            Unanswered { nobody_listens: false, failure }
        })
    }

    fn connect(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match &self.address {
            ListenAddress::Ip(address) => Box::new(TcpStream::connect_timeout(address, PATIENCE)?),
            ListenAddress::Unix(UnixAddress::Path(path)) => Box::new(UnixStream::connect(path)?),
            ListenAddress::Unix(UnixAddress::Abstract(name)) => {
                let address = UnixSocketAddress::from_abstract_name(name.as_bytes())?;
                Box::new(UnixStream::connect_addr(&address)?)
            }
        })
    }

    fn head(&self, request: &AdminRequest<'_>) -> String {
        let AdminRequest { method, path, body } = request;
        let host = match &self.address {
            ListenAddress::Ip(address) => address.to_string(),
            ListenAddress::Unix(_) => "localhost".into(),
        };
        let token = self
            .token
            .as_ref()
            .map_or(String::new(), |token| format!("Authorization: Bearer {}\r\n", token.secret()));
        let body = body.map_or(String::new(), |body| {
            format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
        });
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{token}{body}\r\n"
        )
    }

    fn unanswered(&self, error: &io::Error) -> Unanswered {
        let nobody_listens =
            matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound);
        let what = match error.kind() {
            _ if nobody_listens => "nothing listens there: is the \
                 gateway running, and is this its admin address? --admin names another, --config \
                 the file that it is in"
                .to_owned(),
            ErrorKind::PermissionDenied => "this user may not connect: the socket's file, or its \
                 folder, is for another user or group"
                .to_owned(),
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                format!("no answer within {} s", PATIENCE.as_secs())
            }
            _ => error.to_string(),
        };
        let failure = CommandFailure(NO_GATEWAY, format!("{self}: {what}"));
        Unanswered { nobody_listens, failure }
    }
}

impl fmt::Display for AdminCaller {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the gateway at {}", self.address)
    }
}

/// The time that is left.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Reads to the end of the connection.
fn read(stream: &mut dyn Stream, deadline: Instant) -> io::Result<Vec<u8>> {
    let (mut bytes, mut some) = (Vec::new(), [0; 16 << 10]);
    loop {
        stream.wait(left(deadline)?)?;
        match stream.read(&mut some) {
            Ok(0) => return Ok(bytes),
            Ok(count) if bytes.len() + count <= HEAD_MAX + ANSWER_MAX => {
                bytes.extend_from_slice(&some[..count]);
            }
            Ok(_) => return Err(io::Error::other("the answer is too long")),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Takes an answer apart.
fn parse(bytes: &[u8]) -> Result<AdminAnswer, &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head = &bytes[..bytes.len().min(HEAD_MAX)];
    let Ok(httparse::Status::Complete(length)) = response.parse(head) else {
        return Err("no head of HTTP");
    };
    let status = response.code.ok_or("no status")?;
    let header = |name: &str| {
        let found = response.headers.iter().find(|one| one.name.eq_ignore_ascii_case(name));
        found.and_then(|one| str::from_utf8(one.value).ok())
    };
    let rest = &bytes[length..];
    let body = match (header("transfer-encoding"), header("content-length")) {
        (Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => chunks(rest)?,
        (Some(_), _) => return Err("a transfer coding that is not known"),
        (None, Some(length)) => {
            let length: usize = length.parse().map_err(|_| "a length that is no number")?;
            rest.get(..length).ok_or("its end is missing")?.to_vec()
        }
        (None, None) => rest.to_vec(),
    };
    Ok(AdminAnswer { status, body })
}

/// What is in the chunks of a body.
fn chunks(mut rest: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut body = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((begin, length))) = httparse::parse_chunk_size(rest)
        else {
            return Err("a chunk that is none");
        };
        if length == 0 {
            return Ok(body);
        }
        let chunk = usize::try_from(length).ok().and_then(|length| {
            let end = begin.checked_add(length)?;
            Some((rest.get(begin..end)?, rest.get(end..)?.strip_prefix(b"\r\n")?))
        });
        let (chunk, behind) = chunk.ok_or("a chunk whose end is missing")?;
        body.extend_from_slice(chunk);
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> AdminAnswer {
        AdminAnswer { status, body: body.into() }
    }

    #[test]
    fn a_gateway_that_is_late_is_not_one_that_is_gone() {
        let caller = AdminCaller::new("127.0.0.1:1".parse().unwrap(), None);
        let is_gone = |kind: ErrorKind| caller.unanswered(&kind.into()).nobody_listens;
        assert!(is_gone(ErrorKind::ConnectionRefused) && is_gone(ErrorKind::NotFound));
        for kind in [ErrorKind::TimedOut, ErrorKind::WouldBlock, ErrorKind::ConnectionReset] {
            assert!(!is_gone(kind), "{kind}");
        }
    }

    #[test]
    fn an_answer_is_taken_apart() {
        let plain = b"HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\nhihi";
        assert_eq!(parse(plain), Ok(answer(409, "hi")));
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\
                        \r\n0\r\n\r\n";
        assert_eq!(parse(chunked), Ok(answer(200, "abcd")));
        assert_eq!(parse(b"HTTP/1.1 204 None\r\n\r\nrest"), Ok(answer(204, "rest")));
    }

    #[test]
    fn what_is_no_answer_is_refused_wherever_it_is_cut() {
        let whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        for end in 0..whole.len() - 2 {
            assert!(parse(&whole[..end]).is_err(), "{end}");
        }
        for text in [
            "",
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
