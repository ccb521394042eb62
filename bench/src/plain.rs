//! A client that waits for what it reads, on an ordinary blocking socket: for what is done once and
//! in order.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tidegate_proto::http::{Status, parse_response};
use tidegate_proto::websocket::frame::{Header, OpCode};
use tidegate_proto::websocket::handshake::client::{Accepted, UpgradeRequest};

use crate::random::Random;
use crate::target::Target;
use crate::tls::{Dialing, Progress, Session};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The longest response to an opening handshake, in bytes.
pub(crate) const RESPONSE_MAX: usize = 4096;

/// Connects and shakes hands. What comes behind the response is left in the socket.
///
/// # Errors
/// The server is not there, or does not want this connection.
pub(crate) fn open(target: &Target, random: &mut Random) -> io::Result<TcpStream> {
    open_offering(target, None, random)
}

/// The same, with these extensions offered, which the server may take up.
///
/// # Errors
/// As for [`open`].
pub(crate) fn open_offering(
    target: &Target,
    extensions: Option<&dyn fmt::Display>,
    random: &mut Random,
) -> io::Result<TcpStream> {
    let request = UpgradeRequest {
        extensions,
        ..UpgradeRequest::new(&target.host, &target.path, random.nonce())
    };
    open_by(target, &request)
}

/// The same, with a token (RFC 6750 section 2.1), unless that is empty.
///
/// # Errors
/// As for [`open`].
pub(crate) fn open_with_token(
    target: &Target,
    token: &str,
    random: &mut Random,
) -> io::Result<TcpStream> {
    let (bearer, request) = (format!("Bearer {token}"), random.nonce());
    let headers = [("Authorization", &*bearer)];
    let request = UpgradeRequest {
        headers: if token.is_empty() { &[] } else { &headers },
        ..UpgradeRequest::new(&target.host, &target.path, request)
    };
    open_by(target, &request)
}

fn open_by(target: &Target, request: &UpgradeRequest<'_>) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(target.address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&head(request)?)?;
    let mut response = Vec::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        response.push(byte[0]);
        let status = parse_response(&response, RESPONSE_MAX).map_err(io::Error::other)?;
        if let Status::Complete(head) = status {
            Accepted::check(&head, request).map_err(io::Error::other)?;
            return Ok(stream);
        }
    }
}

/// Connects and shakes hands, over TLS if the target says so, in which case there is a session.
///
/// # Errors
/// The server is not there, or does not want this connection.
pub(crate) fn open_sealed(
    target: &Target,
    random: &mut Random,
) -> io::Result<(TcpStream, Option<Box<Session>>)> {
    let Some(dialer) = &target.tls else { return Ok((open(target, random)?, None)) };
    let mut stream = TcpStream::connect(target.address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = UpgradeRequest::new(&target.host, &target.path, random.nonce());
    let (mut wire, mut room) = (Vec::new(), [0; RESPONSE_MAX]);
    let mut dialing = Dialing::new(dialer, &target.host, head(&request)?, &mut wire)?;
    let mut session = loop {
        stream.write_all(&std::mem::take(&mut wire))?;
        let count = read_some(&mut stream, &mut room)?;
        match dialing.advance(&room[..count], &mut wire)? {
            Progress::Dialing(goes_on) => dialing = goes_on,
            Progress::Open(session) => break session,
        }
    };
    stream.write_all(&wire)?;
    let (mut response, mut count) = (Vec::new(), 0);
    loop {
        session.take_in(&mut room[..count], |plain| {
            response.extend_from_slice(plain);
            Ok(())
        })?;
        let status = parse_response(&response, RESPONSE_MAX).map_err(io::Error::other)?;
        if let Status::Complete(head) = status {
            Accepted::check(&head, &request).map_err(io::Error::other)?;
            return Ok((stream, Some(session)));
        }
        count = read_some(&mut stream, &mut room)?;
    }
}

fn read_some(stream: &mut TcpStream, room: &mut [u8]) -> io::Result<usize> {
    match stream.read(room)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => Ok(count),
    }
}

/// The bytes of a request.
///
/// # Errors
/// Its host or path cannot stand in one.
pub(crate) fn head(request: &UpgradeRequest<'_>) -> io::Result<Vec<u8>> {
    let more = request.headers.iter().map(|(name, value)| name.len() + value.len() + 4);
    let length = 512 + request.host.len() + request.target.len() + more.sum::<usize>();
    let mut head = vec![0; length];
    let length = request.write(&mut head).map_err(|_| io::Error::other("not a valid URL"))?;
    head.truncate(length);
    Ok(head)
}

/// Puts a masked frame behind what is in `out`.
pub(crate) fn put_frame(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8], random: &mut Random) {
    let key = random.key();
    let length = payload.len() as u64;
    let header = Header { fin: true, compressed: false, opcode, mask: Some(key), length };
    let at = out.len();
    out.resize(at + header.encoded_length() + payload.len(), 0);
    header.emit_frame(payload, &mut out[at..]);
}
