//! Those who do their worst: one thread that waits on epoll for all of them.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serde::Serialize;
use tidegate_proto::websocket::frame::OpCode;

use super::{Flood, words};
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

/// Clients that join and do not read.
const JOINING: usize = 9500;

/// Clients whose requests come slowly.
const SLOW: usize = 5000;

/// A byte of each of their requests comes in this time, spread over it.
const BYTE_EVERY: Duration = Duration::from_secs(1);

/// Clients that send much, and do not read.
const UNREADING: usize = 2000;

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
    /// Those of them that are there no longer: the server has ended them, or, if they are of those
    /// who come again, they have heard what they came for.
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
    /// `None` when it has ended.
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
    /// Of those whose requests come slowly: whose byte is next, and when.
    slow: (usize, Instant),
    input: Vec<u8>,
    tally: Tally,
}

impl Mob {
    /// Those are there who are there before the flood begins.
    ///
    /// # Errors
    /// The gateway does not let them in.
    pub(super) fn gather(flood: Flood, server: &Target) -> io::Result<Self> {
        let (path, there) = match flood {
            Flood::Topic => ("/topic", SUBSCRIBERS),
            Flood::Bombs | Flood::Fragments | Flood::Frames | Flood::Pings => ("/echo", SENDERS),
            Flood::Squeeze => ("/echo", UNREADING),
            Flood::Heads | Flood::Slow | Flood::Openings | Flood::Handshakes | Flood::Tokens => {
                ("/echo", 0)
            }
            Flood::Joins => ("/room", 0),
        };
        let address = server.address;
        let (mut random, target) = (Random::new()?, Target::new(address, path));
        // Those who open and end have nothing to say to each other; nor do ports wait for them.
        let ending = if flood.comes_again() { Ending::Reset } else { Ending::Fin };
        let mut this = Self {
            flood,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            sources: Sources::new(address, ending)?,
            words: words::of(flood, &target, &mut random)?,
            target,
            random,
            clients: Vec::new(),
            publisher: None,
            slow: (0, Instant::now()),
            input: vec![0; READ_MAX],
            tally: Tally::default(),
        };
        for _ in 0..there {
            let stream = this.open()?;
            this.add(stream)?;
        }
        if flood == Flood::Topic {
            this.publisher = Some((this.open()?, Instant::now()));
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
            Flood::Topic | Flood::Slow => EpollFlags::EPOLLIN,
            // Who has asked to be let in only looks whether it is ended.
            flood if !flood.reads() => EpollFlags::EPOLLOUT,
            _ => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
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
        self.slow.1 = Instant::now();
        while Instant::now() < until {
            self.join_some()?;
            self.publish()?;
            self.trickle();
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
            // Those who are gone come again as others.
            Flood::Slow => SLOW - (self.clients.len() - self.tally.ended),
            flood if flood.comes_again() => SENDERS - (self.clients.len() - self.tally.ended),
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

    /// The next byte of each request that comes slowly and is due.
    fn trickle(&mut self) {
        if self.flood != Flood::Slow || self.clients.is_empty() {
            return;
        }
        let (next, due) = &mut self.slow;
        let mut turns = Vec::new();
        while *due <= Instant::now() {
            *due += BYTE_EVERY / SLOW as u32;
            *next = (*next + 1) % self.clients.len();
            turns.push(*next);
        }
        for index in turns {
            self.turn(index, EpollFlags::EPOLLOUT);
        }
    }

    /// Something can be done for a client.
    fn turn(&mut self, index: usize, flags: EpollFlags) {
        let read = if flags.contains(EpollFlags::EPOLLIN) { self.read(index) } else { Ok(()) };
        let said = if flags.contains(EpollFlags::EPOLLOUT) { self.say(index) } else { Ok(()) };
        let is_over = flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
        let has_heard = self.flood.comes_again() && flags.contains(EpollFlags::EPOLLIN);
        if is_over || has_heard || ends(&read) || ends(&said) {
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
        if self.flood.comes_again() || self.flood == Flood::Joins {
            return self.say_once(index);
        }
        let Client { stream: Some(stream), said } = &mut self.clients[index] else { return Ok(()) };
        let until = if self.flood == Flood::Slow { *said + 1 } else { self.words.len() };
        let count = (&*stream).write(&self.words[*said..until])?;
        *said = (*said + count) % self.words.len();
        self.tally.sent += count as u64;
        Ok(())
    }

    /// Says all there is to say. Then the client only waits for its answer, or for its end.
    fn say_once(&mut self, index: usize) -> io::Result<()> {
        if self.flood == Flood::Tokens {
            self.words = words::with_wrong_token(&mut self.random);
        }
        let Client { stream: Some(stream), .. } = &self.clients[index] else { return Ok(()) };
        let ears = if self.flood.reads() { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
        self.epoll.modify(stream, &mut EpollEvent::new(ears, index as u64))?;
        self.tally.sent += self.words.len() as u64;
        // It has sent nothing yet, so its socket takes it.
        (&*stream).write_all(&self.words)
    }
}

/// Whether the server has ended the connection: what could just not be done did not.
fn ends(done: &io::Result<()>) -> bool {
    done.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
}
