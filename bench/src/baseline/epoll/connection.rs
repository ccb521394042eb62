//! One connection of the bare loop.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection};

use super::frames::{self, Answered};
use super::{HEADROOM, READ_MAX, TAILROOM};
use crate::baseline::echo::accept;
use crate::tls::{self, Direction, sealed_length};

/// What a read found.
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// All that had arrived.
    All,
    /// As much as there was room for, so that there may be more.
    More,
    /// The end of the stream.
    End,
}

/// What a read found, and the frames that are for all in the room.
pub(super) struct Heard {
    pub(super) found: Found,
    pub(super) for_room: Vec<u8>,
}

/// How far a connection is.
enum State {
    /// Its handshake of TLS goes on.
    ShakingHands(Box<ServerConnection>),
    /// It waits for a request, and then for frames.
    Sealed { opener: Direction, sealer: Direction, is_open: bool },
    /// For the moment in which it changes.
    Changing,
}

/// One connection.
pub(super) struct Connection {
    stream: TcpStream,
    state: State,
    /// What has come of an incomplete frame, opened.
    plain: Vec<u8>,
    /// What has come of an incomplete record.
    wire: Vec<u8>,
    /// What could not be sent at once.
    out: Vec<u8>,
    is_closing: bool,
    in_room: bool,
    /// Its place in the room.
    pub(super) member: Option<usize>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, config: &Arc<ServerConfig>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let shaking = ServerConnection::new(Arc::clone(config)).map_err(tls::failed)?;
        Ok(Self {
            stream,
            state: State::ShakingHands(Box::new(shaking)),
            plain: Vec::new(),
            wire: Vec::new(),
            out: Vec::new(),
            is_closing: false,
            in_room: false,
            member: None,
        })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether something waits to be sent.
    pub(super) fn owes(&self) -> bool {
        !self.out.is_empty()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// Whether its path was that of a room.
    pub(super) fn has_joined(&self) -> bool {
        self.in_room
    }

    /// Reads once and answers, by way of `buffer`, in which nothing is left.
    pub(super) fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<Heard> {
        let plain = HEADROOM..HEADROOM + self.plain.len();
        let start = plain.end + self.wire.len();
        if buffer.len() < start + READ_MAX + TAILROOM {
            buffer.resize(start + READ_MAX + TAILROOM, 0);
        }
        let heard = |found| Ok(Heard { found, for_room: Vec::new() });
        let count = match self.stream.read(&mut buffer[start..start + READ_MAX]) {
            Ok(0) => return heard(Found::End),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return heard(Found::Nothing);
            }
            Err(error) => return Err(error),
        };
        buffer[plain.clone()].copy_from_slice(&self.plain);
        buffer[plain.end..start].copy_from_slice(&self.wire);
        self.plain.clear();
        self.wire.clear();
        let for_room = self.take_wire(buffer, plain.clone(), plain.end..start + count)?;
        // An edge comes for what arrives after a read that was not filled.
        let found = if count < READ_MAX { Found::All } else { Found::More };
        Ok(Heard { found, for_room })
    }

    /// Takes records, behind plain bytes of an earlier read; yields what is for the room.
    fn take_wire(
        &mut self,
        buffer: &mut [u8],
        plain: Range<usize>,
        mut wire: Range<usize>,
    ) -> io::Result<Vec<u8>> {
        while let State::ShakingHands(shaking) = &mut self.state {
            let Some(length) = tls::whole(&buffer[wire.clone()])? else {
                self.wire.extend_from_slice(&buffer[wire]);
                return Ok(Vec::new());
            };
            let mut record = &buffer[wire.start..wire.start + length];
            wire.start += length;
            while !record.is_empty() {
                shaking.read_tls(&mut record)?;
            }
            shaking.process_new_packets().map_err(tls::failed)?;
            let mut said = Vec::new();
            while shaking.wants_write() {
                shaking.write_tls(&mut said)?;
            }
            if !shaking.is_handshaking() {
                self.establish()?;
            }
            if !said.is_empty() {
                self.say(&said)?;
            }
        }
        let State::Sealed { opener, is_open, .. } = &mut self.state else {
            return Err(tls::failed("the handshake has failed before"));
        };
        let plain = if plain.is_empty() { wire.start..wire.start } else { plain };
        let stretch = opener.open(buffer, plain, wire)?;
        self.wire.extend_from_slice(&buffer[stretch.rest]);
        self.is_closing |= stretch.is_closed;
        if *is_open {
            self.take_frames(buffer, stretch.plain)
        } else {
            self.take_request(buffer, stretch.plain)
        }
    }

    /// The keys are taken over from rustls, which is of no further use.
    fn establish(&mut self) -> io::Result<()> {
        let state = std::mem::replace(&mut self.state, State::Changing);
        let State::ShakingHands(shaking) = state else { return Ok(()) };
        let secrets = shaking.dangerous_extract_secrets().map_err(tls::failed)?;
        let (opener, sealer) = (Direction::new(secrets.rx)?, Direction::new(secrets.tx)?);
        self.state = State::Sealed { opener, sealer, is_open: false };
        Ok(())
    }

    fn take_request(&mut self, buffer: &mut [u8], plain: Range<usize>) -> io::Result<Vec<u8>> {
        let mut response = vec![0; tls::HEADER];
        let accepted = accept(&buffer[plain.clone()], &mut response).map_err(tls::failed)?;
        let Some(length) = accepted else {
            self.plain.extend_from_slice(&buffer[plain]);
            return Ok(Vec::new());
        };
        self.in_room = buffer[plain.clone()].starts_with(b"GET /rooms/");
        let said = tls::HEADER..response.len();
        response.resize(sealed_length(said.len()), 0);
        let State::Sealed { sealer, is_open, .. } = &mut self.state else { return Ok(Vec::new()) };
        *is_open = true;
        sealer.seal(&mut response, said)?;
        self.say(&response)?;
        self.take_frames(buffer, plain.start + length..plain.end)
    }

    fn take_frames(&mut self, buffer: &mut [u8], plain: Range<usize>) -> io::Result<Vec<u8>> {
        let answered = frames::answer(buffer, plain, self.in_room);
        let answered = answered.ok_or_else(|| tls::failed("a frame is too long"))?;
        let Answered { reply, for_room, rest, is_closing } = answered;
        // Before the answer is sealed, which may take its place.
        self.plain.extend_from_slice(&buffer[rest]);
        self.is_closing |= is_closing;
        if !reply.is_empty() {
            let State::Sealed { sealer, .. } = &mut self.state else { return Ok(Vec::new()) };
            let sealed = sealer.seal(buffer, reply)?;
            self.say(&buffer[sealed])?;
        }
        Ok(for_room)
    }

    /// Sends frames to this member of the room, unless something waits already.
    pub(super) fn tell(&mut self, frames: &[u8], staging: &mut Vec<u8>) -> io::Result<()> {
        let State::Sealed { sealer, .. } = &mut self.state else { return Ok(()) };
        if !self.out.is_empty() {
            return Ok(());
        }
        staging.resize(sealed_length(frames.len()).max(staging.len()), 0);
        let plain = tls::HEADER..tls::HEADER + frames.len();
        staging[plain.clone()].copy_from_slice(frames);
        let sealed = sealer.seal(staging, plain)?;
        self.say(&staging[sealed])
    }

    /// Sends what it can at once, and keeps the rest; an error makes an event, too.
    fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = if self.out.is_empty() { self.stream.write(bytes).unwrap_or(0) } else { 0 };
        self.out.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    /// Sends what waits; says whether nothing does any more.
    pub(super) fn flush(&mut self) -> bool {
        let sent = self.stream.write(&self.out).unwrap_or(0);
        self.out.drain(..sent);
        if self.out.is_empty() {
            self.out = Vec::new();
        }
        self.out.is_empty()
    }
}
