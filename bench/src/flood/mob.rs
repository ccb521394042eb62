//! Those who do their worst: one thread that waits on epoll for all of them.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use miniz_oxide::deflate::core::{CompressorOxide, create_comp_flags_from_zip_params};
use miniz_oxide::deflate::stream::deflate;
use miniz_oxide::{MZFlush, MZStatus};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serde::Serialize;
use tidegate_proto::websocket::frame::{Header, OpCode};
use tidegate_proto::websocket::handshake::client::UpgradeRequest;

use super::Flood;
use crate::fleet::{Ending, Sources};
use crate::plain;
use crate::random::Random;
use crate::target::Target;

/// Subscribers of the topic.
const SUBSCRIBERS: usize = 2000;

/// How often something is published to it.
const PUBLISHED_EVERY: Duration = Duration::from_millis(10);

/// What is published, in bytes.
const PUBLISHED: usize = 64;

/// Clients that send more than they should.
const SENDERS: usize = 50;

/// What a compressed message inflates to, in bytes.
const BOMB: usize = 1 << 20;

/// Fragments of a message.
const FRAGMENTS: usize = 65_536;

/// Messages of a byte, or Pings, that are said over and over.
const SMALL: usize = 4096;

/// What is no request.
const NO_REQUEST: &[u8] = b"GET /echo HTTP/1.1\r\nHost localhost\r\n\r\n";

/// Clients that join and do not read.
const JOINING: usize = 9500;

/// Clients that begin to connect between two looks at who has something to do.
const CONNECTS: usize = 32;

/// The most that is read from a client in its turn, in bytes.
const READ_MAX: usize = 256 << 10;

/// Clients whose turn comes with one look.
const EVENTS: usize = 256;

/// How long a look may wait, in milliseconds.
const WAIT_MS: u16 = 1;

/// What a flood did.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Tally {
    /// Bytes that its clients sent.
    pub sent: u64,
    /// Bytes that they read.
    pub read: u64,
    /// Clients that were there.
    pub clients: usize,
    /// Those of them that the gateway ended.
    pub ended: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let Self { sent, read, clients, ended } = self;
        let (sent, read) = (mib(*sent), mib(*read));
        write!(out, "{sent:.1} MiB sent, {read:.1} MiB read, {ended} of {clients} ended")
    }
}

/// One who takes part.
struct Client {
    /// `None` when the gateway has ended it.
    stream: Option<TcpStream>,
    /// How much of what it says over and over has been said this time.
    said: usize,
}

/// All of them.
pub(super) struct Mob {
    flood: Flood,
    target: Target,
    epoll: Epoll,
    sources: Sources,
    random: Random,
    clients: Vec<Client>,
    /// What each client says over and over, or once where it only joins.
    words: Vec<u8>,
    /// Who publishes to the topic, and when next.
    publisher: Option<(TcpStream, Instant)>,
    input: Vec<u8>,
    tally: Tally,
}

impl Mob {
    /// Those are there who are there before the flood begins.
    ///
    /// # Errors
    /// The gateway does not let them in.
    pub(super) fn gather(flood: Flood, address: SocketAddr) -> io::Result<Self> {
        let (path, there) = match flood {
            Flood::Topic => ("/topic", SUBSCRIBERS),
            Flood::Bombs | Flood::Fragments | Flood::Frames | Flood::Pings => ("/echo", SENDERS),
            Flood::Heads => ("/echo", 0),
            Flood::Joins => ("/room", 0),
        };
        let mut this = Self {
            flood,
            target: Target::new(address, path),
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            sources: Sources::new(address, Ending::Fin)?,
            random: Random::new()?,
            clients: Vec::new(),
            words: Vec::new(),
            publisher: None,
            input: vec![0; READ_MAX],
            tally: Tally::default(),
        };
        for _ in 0..there {
            let stream = this.open()?;
            this.add(stream)?;
        }
        match flood {
            Flood::Topic => this.publisher = Some((this.open()?, Instant::now())),
            Flood::Bombs => this.words = bomb(&mut this.random),
            Flood::Fragments => this.words = fragments(&mut this.random),
            Flood::Frames => this.words = small(OpCode::Binary, b".", &mut this.random),
            Flood::Pings => this.words = small(OpCode::Ping, b"?", &mut this.random),
            Flood::Heads | Flood::Joins => {}
        }
        Ok(this)
    }

    fn open(&mut self) -> io::Result<TcpStream> {
        let offer: Option<&dyn fmt::Display> =
            if self.flood == Flood::Bombs { Some(&"permessage-deflate") } else { None };
        plain::open_offering(&self.target, offer, &mut self.random)
    }

    fn add(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let flags = match self.flood {
            Flood::Topic => EpollFlags::EPOLLIN,
            Flood::Bombs | Flood::Fragments | Flood::Frames | Flood::Pings | Flood::Heads => {
                EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT
            }
            // Once it has asked to be let in, it only looks whether it is ended.
            Flood::Joins => EpollFlags::EPOLLOUT,
        };
        self.epoll.add(&stream, EpollEvent::new(flags, self.clients.len() as u64))?;
        self.clients.push(Client { stream: Some(stream), said: 0 });
        self.tally.clients += 1;
        Ok(())
    }

    /// The flood, until then.
    ///
    /// # Errors
    /// A socket could not be made, or the publisher was ended.
    pub(super) fn rage(&mut self, until: Instant) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); EVENTS];
        while Instant::now() < until {
            self.join_some()?;
            self.publish()?;
            let count = self.epoll.wait(&mut events, EpollTimeout::from(WAIT_MS))?;
            for event in &events[..count] {
                self.turn(event.data() as usize, event.events());
            }
        }
        Ok(())
    }

    /// What it did. Its clients end with this.
    pub(super) fn into_tally(self) -> Tally {
        self.tally
    }

    fn join_some(&mut self) -> io::Result<()> {
        let left = match self.flood {
            Flood::Joins => JOINING - self.clients.len(),
            // Those who were answered come again as others.
            Flood::Heads => SENDERS - (self.clients.len() - self.tally.ended),
            _ => return Ok(()),
        };
        for _ in 0..left.min(CONNECTS) {
            let stream = TcpStream::from(self.sources.connect()?);
            self.add(stream)?;
        }
        Ok(())
    }

    fn publish(&mut self) -> io::Result<()> {
        let Some((publisher, due)) = &mut self.publisher else { return Ok(()) };
        let mut frames = Vec::new();
        while *due <= Instant::now() {
            *due += PUBLISHED_EVERY;
            plain::put_frame(&mut frames, OpCode::Text, &[b'.'; PUBLISHED], &mut self.random);
        }
        self.tally.sent += frames.len() as u64;
        publisher.write_all(&frames)
    }

    /// Something can be done for a client.
    fn turn(&mut self, index: usize, flags: EpollFlags) {
        let read = if flags.contains(EpollFlags::EPOLLIN) { self.read(index) } else { Ok(()) };
        let said = if flags.contains(EpollFlags::EPOLLOUT) { self.say(index) } else { Ok(()) };
        let is_over = flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
        if is_over || ends(&read) || ends(&said) {
            self.tally.ended += usize::from(self.clients[index].stream.take().is_some());
        }
    }

    fn read(&mut self, index: usize) -> io::Result<()> {
        let Some(mut stream) = self.clients[index].stream.as_ref() else { return Ok(()) };
        let count = stream.read(&mut self.input)?;
        self.tally.read += count as u64;
        if count == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn say(&mut self, index: usize) -> io::Result<()> {
        let Client { stream: Some(stream), said } = &mut self.clients[index] else { return Ok(()) };
        if self.flood == Flood::Heads {
            // Then it only waits for its answer, and for the end.
            let mut ears = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
            self.epoll.modify(&*stream, &mut ears)?;
            self.tally.sent += NO_REQUEST.len() as u64;
            return (&*stream).write_all(NO_REQUEST);
        }
        if self.flood == Flood::Joins {
            let Target { host, path, .. } = &self.target;
            let head = plain::head(&UpgradeRequest::new(host, path, self.random.nonce()))?;
            // It has sent nothing yet, so its socket takes it.
            let mut ears = EpollEvent::new(EpollFlags::empty(), index as u64);
            self.epoll.modify(&*stream, &mut ears)?;
            return (&*stream).write_all(&head);
        }
        let count = (&*stream).write(&self.words[*said..])?;
        *said = (*said + count) % self.words.len();
        self.tally.sent += count as u64;
        Ok(())
    }
}

/// Whether the gateway has ended the connection: what could just not be done did not.
fn ends(done: &io::Result<()>) -> bool {
    done.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
}

/// A frame with a whole message that inflates to [`BOMB`] zeros.
fn bomb(random: &mut Random) -> Vec<u8> {
    // RFC 7692 section 7.2.1: raw DEFLATE, flushed, without the four bytes at its end.
    let mut compressor = CompressorOxide::new(create_comp_flags_from_zip_params(6, -15, 0));
    let mut payload = vec![0; BOMB / 64];
    let done = deflate(&mut compressor, &vec![0; BOMB], &mut payload, MZFlush::Sync);
    assert_eq!((done.status, done.bytes_consumed), (Ok(MZStatus::Ok), BOMB), "zeros are small");
    payload.truncate(done.bytes_written - 4);
    let header = Header {
        fin: true,
        compressed: true,
        opcode: OpCode::Binary,
        mask: Some(random.key()),
        length: payload.len() as u64,
    };
    let mut frame = vec![0; header.encoded_length() + payload.len()];
    header.emit_frame(&payload, &mut frame);
    frame
}

/// [`SMALL`] frames with this payload.
fn small(opcode: OpCode, payload: &[u8], random: &mut Random) -> Vec<u8> {
    let mut frames = Vec::new();
    for _ in 0..SMALL {
        plain::put_frame(&mut frames, opcode, payload, random);
    }
    frames
}

/// A message of [`FRAGMENTS`] fragments of a byte.
fn fragments(random: &mut Random) -> Vec<u8> {
    let mut frames = Vec::new();
    for index in 0..FRAGMENTS {
        let opcode = if index == 0 { OpCode::Binary } else { OpCode::Continuation };
        let fin = index == FRAGMENTS - 1;
        let header = Header { fin, compressed: false, opcode, mask: Some(random.key()), length: 1 };
        let at = frames.len();
        frames.resize(at + header.encoded_length() + 1, 0);
        header.emit_frame(b".", &mut frames[at..]);
    }
    frames
}
