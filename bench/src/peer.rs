//! One client connection.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use tidegate_proto::http::{Status, parse_response};
use tidegate_proto::mask::Mask;
use tidegate_proto::message::{Kind, Part};
use tidegate_proto::websocket::frame::{Header, MAX_HEADER, OpCode, Reserved, Role};
use tidegate_proto::websocket::handshake::client::{Accepted, UpgradeRequest};
use tidegate_proto::websocket::receiver::{Decoded, Receiver, Rules};

use crate::plain;
use crate::random::Random;
use crate::target::Target;
use crate::tls::{self, Dialing, Progress, Session, sealed_length};

const RULES: Rules = Rules { role: Role::Client, reserved: Reserved::Clear, max_message: u32::MAX };

/// The longest response to an opening handshake, in bytes.
const RESPONSE_MAX: usize = 4096;

/// The most that is read at once, in bytes.
const READ_MAX: usize = 64 << 10;

/// How long an opening handshake may take.
const OPEN_MAX: Duration = Duration::from_secs(10);

/// A connection to an echo server. It holds no buffers until it sends.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    /// What seals and opens, over TLS.
    session: Option<Box<Session>>,
    receiver: Receiver,
    random: Random,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
}

impl Peer {
    /// Connects and shakes hands, within ten seconds.
    ///
    /// # Errors
    /// The server is not there, or does not want this connection.
    pub async fn open(target: &Target) -> io::Result<Self> {
        let mut random = Random::new()?;
        let connecting = connect(target, random.nonce());
        let connected = monoio::time::timeout(OPEN_MAX, connecting).await;
        let (stream, session) = connected.map_err(|_| io::ErrorKind::TimedOut)??;
        Ok(Self {
            stream,
            session,
            receiver: Receiver::default(),
            random,
            outgoing: Vec::new(),
            incoming: Vec::new(),
        })
    }

    /// Sends `message` in one frame, with a fresh key, and waits until it has come back as it was.
    /// Nothing is allocated from the second message of a size on.
    ///
    /// # Errors
    /// The connection is broken, or what came back is not what was sent.
    pub async fn echo(&mut self, message: &Rc<[u8]>) -> io::Result<()> {
        self.put_frame(message)?;
        let outgoing = std::mem::take(&mut self.outgoing);
        let (sent, outgoing) = self.stream.write_all(outgoing).await;
        self.outgoing = outgoing;
        sent?;
        let mut back = 0;
        while !self.take_frames(message, &mut back).await? {}
        Ok(())
    }

    /// Gives the buffers back.
    pub fn forget_buffers(&mut self) {
        self.outgoing = Vec::new();
        self.incoming = Vec::new();
    }

    /// Puts a masked frame together, and seals it if that is due.
    fn put_frame(&mut self, message: &[u8]) -> io::Result<()> {
        let key = self.random.key();
        let header = Header::of_message(Kind::Bytes, Part::Whole, false, message.len());
        let header = header.masked(key);
        // A record's header goes in front of what it is made of.
        let room = if self.session.is_some() { tls::HEADER } else { 0 };
        self.outgoing.clear();
        self.outgoing.resize(room + header.encoded_length(), 0);
        let start = room + header.emit(&mut self.outgoing[room..]);
        self.outgoing.extend_from_slice(message);
        Mask::new(key).apply(&mut self.outgoing[start..]);
        if let Some(session) = &mut self.session {
            let plain = room..self.outgoing.len();
            self.outgoing.resize(sealed_length(plain.len()), 0);
            session.sealer.seal(&mut self.outgoing, plain)?;
        }
        Ok(())
    }

    /// Reads once; returns whether all of `message` has come back.
    async fn take_frames(&mut self, message: &[u8], back: &mut usize) -> io::Result<bool> {
        let mut incoming = std::mem::take(&mut self.incoming);
        incoming.clear();
        let length = message.len() + MAX_HEADER;
        let length = if self.session.is_some() { sealed_length(length) } else { length };
        incoming.reserve_exact(length.min(READ_MAX));
        let (count, incoming) = self.stream.read(incoming).await;
        self.incoming = incoming;
        let count = count?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let input = &mut self.incoming[..count];
        match &mut self.session {
            None => check_echo(&mut self.receiver, input, message, back),
            Some(session) => {
                session.take_in(input, |plain| check_echo(&mut self.receiver, plain, message, back))
            }
        }
    }
}

/// Takes in what one read has brought; returns whether all of `message` has come back.
fn check_echo(
    receiver: &mut Receiver,
    input: &mut [u8],
    message: &[u8],
    back: &mut usize,
) -> io::Result<bool> {
    let (mut at, mut is_whole) = (0, false);
    loop {
        let event = receiver.handle_input(input, &mut at, &RULES);
        match event.map_err(|error| io::Error::other(error.to_string()))? {
            Decoded::NeedInput => return Ok(is_whole),
            Decoded::Piece(_) if is_whole => {
                return Err(io::Error::other("the server says more than was sent"));
            }
            Decoded::Piece(piece) => {
                let bytes = &input[piece.start..piece.end];
                if !message[*back..].starts_with(bytes) {
                    return Err(io::Error::other("the echo is not what was sent"));
                }
                *back += bytes.len();
                is_whole = piece.part.is_last();
                if is_whole && *back < message.len() {
                    return Err(io::Error::other("the echo is shorter than what was sent"));
                }
            }
            Decoded::Control(control) if control.opcode == OpCode::Close => {
                return Err(io::Error::other("the server closed the connection"));
            }
            // Keepalive is not measured here; the server's Ping is left unanswered, but the
            // next message shows that this peer lives.
            Decoded::Control(_) => {}
        }
    }
}

/// A message of `size` bytes that no codec makes shorter.
///
/// # Errors
/// The operating system has no randomness to give.
pub fn message(size: usize) -> io::Result<Rc<[u8]>> {
    let mut random = Random::new()?;
    Ok((0..size).map(|_| random.next_u64() as u8).collect())
}

/// A connection, and what seals and opens if it is over TLS.
type Connected = (TcpStream, Option<Box<Session>>);

async fn connect(target: &Target, nonce: [u8; 16]) -> io::Result<Connected> {
    let mut stream = TcpStream::connect_addr(target.address).await?;
    stream.set_nodelay(true)?;
    let request = UpgradeRequest::new(&target.host, &target.path, nonce);
    let head = plain::head(&request)?;
    let mut session = None;
    if let Some(dialer) = &target.tls {
        let mut wire = Vec::new();
        let dialing = Dialing::new(dialer, &target.host, head, &mut wire)?;
        session = Some(shake_hands(&mut stream, dialing, wire).await?);
    } else {
        stream.write_all(head).await.0?;
    }
    receive_response(&mut stream, &mut session, &request).await?;
    Ok((stream, session))
}

/// Shakes hands; the request goes with it.
async fn shake_hands(
    stream: &mut TcpStream,
    mut dialing: Dialing,
    mut wire: Vec<u8>,
) -> io::Result<Box<Session>> {
    loop {
        stream.write_all(std::mem::take(&mut wire)).await.0?;
        let bytes = read_some(stream).await?;
        match dialing.advance(&bytes, &mut wire)? {
            Progress::Dialing(goes_on) => dialing = goes_on,
            Progress::Open(session) => {
                stream.write_all(wire).await.0?;
                return Ok(session);
            }
        }
    }
}

/// Reads once.
async fn read_some(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let (count, bytes) = stream.read(Vec::with_capacity(RESPONSE_MAX)).await;
    if count? == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
}

/// Reads the response. Nothing comes behind it: an echo server has nothing to say yet.
async fn receive_response(
    stream: &mut TcpStream,
    session: &mut Option<Box<Session>>,
    request: &UpgradeRequest<'_>,
) -> io::Result<()> {
    let mut so_far = Vec::new();
    // The handshake may have brought it along.
    let mut bytes = if session.is_some() { Vec::new() } else { read_some(stream).await? };
    loop {
        match session {
            None => so_far.extend_from_slice(&bytes),
            Some(session) => session.take_in(&mut bytes, |plain| {
                so_far.extend_from_slice(plain);
                Ok(())
            })?,
        }
        let status = parse_response(&so_far, RESPONSE_MAX).map_err(io::Error::other)?;
        if let Status::Complete(head) = status {
            return Accepted::check(&head, request).map(|_| ()).map_err(io::Error::other);
        }
        bytes = read_some(stream).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client that has sent `message` says to `input`, which is one read.
    fn check(message: &[u8], input: &[u8]) -> io::Result<bool> {
        let (mut receiver, mut back) = (Receiver::default(), 0);
        check_echo(&mut receiver, &mut input.to_vec(), message, &mut back)
    }

    #[test]
    fn an_echo_is_whole_and_nothing_else() {
        assert!(check(b"abc", b"\x82\x03abc").unwrap());
        assert!(check(b"abc", b"\x02\x01a\x80\x02bc").unwrap());
        assert!(!check(b"abc", b"\x02\x01a\x80\x02b").unwrap());
        for (wrong, why) in [
            (&b"\x82\x03abd"[..], "not what was sent"),
            (b"\x82\x02ab", "shorter"),
            (b"\x82\x00", "shorter"),
            (b"\x82\x04abcd", "not what was sent"),
            (b"\x82\x03abc\x82\x03abc", "more than was sent"),
            (b"\x88\x00", "closed"),
        ] {
            let error = check(b"abc", wrong).unwrap_err().to_string();
            assert!(error.contains(why), "{wrong:?}: {error}");
        }
    }
}
