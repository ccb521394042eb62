//! The clients that come back, all at once: one thread that waits on epoll for all of them.
//!
//! They read into the same memory, one after the other, so it stays in the cache, and each is a
//! socket and some dozens of bytes.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tidegate_proto::http::{Status, parse_response};
use tidegate_proto::websocket::frame::OpCode;
use tidegate_proto::websocket::handshake::client::{Accepted, UpgradeRequest};

use super::hearing::Hearing;
use crate::fleet::{Ending, Sources};
use crate::plain::{self, PATIENCE, RESPONSE_MAX};
use crate::random::Random;

/// The most that is read from a client in its turn, in bytes.
const READ_MAX: usize = 128 << 10;

/// Clients whose turn comes with one look at who has something to read.
const EVENTS: usize = 256;

/// Clients that begin to connect between two such looks.
const CONNECTS: usize = 32;

/// How long a look may wait, in milliseconds.
const WAIT_MS: u16 = 100;

/// Who comes back to what.
pub(super) struct Plan {
    pub(super) address: SocketAddr,
    /// The path and the query of each topic, with where a client stood; clients take turns.
    pub(super) paths: Vec<String>,
    pub(super) clients: usize,
    /// Clients that are opening at once.
    pub(super) window: usize,
}

/// What became of all.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Clients that got all that they missed.
    pub(super) whole: usize,
    /// Those that were told of a gap, and got all that is kept.
    pub(super) gaps: usize,
    /// Why the others did not.
    pub(super) lost: BTreeMap<String, usize>,
    /// Bytes that came behind the responses.
    pub(super) bytes: u64,
    /// From the first connect until the last client was open.
    pub(super) opened_in: Duration,
    /// From the first connect until the last client had all, or was lost.
    pub(super) took: Duration,
    /// From each client's connect until it had all, the shortest first.
    pub(super) each: Vec<Duration>,
}

/// How far a client is.
enum Stage {
    /// It is connecting, or sends its request.
    Connecting,
    /// What has come of the response.
    Opening(Vec<u8>),
    /// It hears what it missed, or has heard it.
    Open,
}

struct Client {
    /// `None` when it was lost.
    stream: Option<TcpStream>,
    began: Instant,
    nonce: [u8; 16],
    stage: Stage,
    hearing: Hearing,
    is_whole: bool,
}

/// All of them.
pub(super) struct Crowd<'p> {
    plan: &'p Plan,
    host: String,
    epoll: Epoll,
    sources: Sources,
    random: Random,
    clients: Vec<Client>,
    /// Those that are opening.
    opening: usize,
    /// Those that have all, or were lost.
    done: usize,
    input: Vec<u8>,
    outcome: Outcome,
}

impl<'p> Crowd<'p> {
    /// Nobody has come yet.
    ///
    /// # Errors
    /// The kernel has no memory for it.
    pub(super) fn new(plan: &'p Plan) -> io::Result<Self> {
        Ok(Self {
            plan,
            host: plan.address.to_string(),
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            sources: Sources::new(plan.address, Ending::Fin)?,
            random: Random::new()?,
            clients: Vec::with_capacity(plan.clients),
            opening: 0,
            done: 0,
            input: vec![0; READ_MAX],
            outcome: Outcome {
                whole: 0,
                gaps: 0,
                lost: BTreeMap::new(),
                bytes: 0,
                opened_in: Duration::ZERO,
                took: Duration::ZERO,
                each: Vec::with_capacity(plan.clients),
            },
        })
    }

    /// Lets all come back, and waits until each has what it missed, or is lost. `progress` is
    /// called with how many more bytes have come. They stay connected as long as this value is
    /// there.
    ///
    /// # Errors
    /// A socket could not be made.
    pub(super) fn come_back(&mut self, progress: &mut dyn FnMut(u64)) -> io::Result<()> {
        let began = Instant::now();
        let (mut events, mut moved) = ([EpollEvent::empty(); EVENTS], began);
        while self.done < self.plan.clients {
            self.connect_some()?;
            let before = (self.done, self.outcome.bytes);
            let waits = self.opening >= self.plan.window || self.clients.len() == self.plan.clients;
            let wait = EpollTimeout::from(if waits { WAIT_MS } else { 0 });
            let count = self.epoll.wait(&mut events, wait)?;
            for event in &events[..count] {
                self.turn(event.data() as usize);
            }
            if self.opening == 0 && self.outcome.opened_in.is_zero() && waits {
                self.outcome.opened_in = began.elapsed();
            }
            progress(self.outcome.bytes - before.1);
            if before != (self.done, self.outcome.bytes) || !waits {
                moved = Instant::now();
            } else if moved.elapsed() > PATIENCE {
                self.give_up();
            }
        }
        self.outcome.took = began.elapsed();
        self.outcome.each.sort_unstable();
        Ok(())
    }

    /// What became of all, who end with this.
    pub(super) fn into_outcome(self) -> Outcome {
        self.outcome
    }

    fn connect_some(&mut self) -> io::Result<()> {
        let left = self.plan.clients - self.clients.len();
        let room = self.plan.window.saturating_sub(self.opening);
        for _ in 0..left.min(room).min(CONNECTS) {
            let began = Instant::now();
            let stream = TcpStream::from(self.sources.connect()?);
            stream.set_nonblocking(true)?;
            let index = self.clients.len() as u64;
            self.epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLOUT, index))?;
            self.clients.push(Client {
                stream: Some(stream),
                began,
                nonce: self.random.nonce(),
                stage: Stage::Connecting,
                hearing: Hearing::default(),
                is_whole: false,
            });
            self.opening += 1;
        }
        Ok(())
    }

    /// Something can be done for a client, which is lost if that goes wrong.
    fn turn(&mut self, index: usize) {
        let was_open = matches!(self.clients[index].stage, Stage::Open);
        let turned = match self.clients[index].stage {
            Stage::Connecting => self.request(index),
            Stage::Opening(_) | Stage::Open => self.receive(index),
        };
        let is_open = matches!(self.clients[index].stage, Stage::Open);
        self.opening -= usize::from(!was_open && (is_open || turned.is_err()));
        let client = &mut self.clients[index];
        match turned {
            Err(why) => {
                // One that had all and was closed afterwards is lost as well.
                if client.is_whole {
                    self.outcome.whole -= usize::from(!client.hearing.gap);
                    self.outcome.gaps -= usize::from(client.hearing.gap);
                } else {
                    self.done += 1;
                }
                client.stream = None;
                *self.outcome.lost.entry(why).or_default() += 1;
            }
            Ok(()) if !client.is_whole && client.hearing.is_whole() => {
                client.is_whole = true;
                self.done += 1;
                self.outcome.whole += usize::from(!client.hearing.gap);
                self.outcome.gaps += usize::from(client.hearing.gap);
                self.outcome.each.push(client.began.elapsed());
            }
            Ok(()) => {}
        }
    }

    /// The client is connected, or could not be.
    fn request(&mut self, index: usize) -> Result<(), String> {
        let client = &mut self.clients[index];
        let Some(stream) = &mut client.stream else { return Ok(()) };
        let failed = |error: io::Error| format!("it could not connect: {error}");
        if let Some(error) = stream.take_error().map_err(failed)? {
            return Err(failed(error));
        }
        let path = &self.plan.paths[index % self.plan.paths.len()];
        let request = UpgradeRequest::new(&self.host, path, client.nonce);
        let head = plain::head(&request).map_err(failed)?;
        // A socket that has just connected takes some hundred bytes.
        stream.write_all(&head).map_err(failed)?;
        let mut event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
        self.epoll.modify(stream, &mut event).map_err(|errno| failed(errno.into()))?;
        client.stage = Stage::Opening(Vec::new());
        Ok(())
    }

    /// Something has come for the client, or its end.
    fn receive(&mut self, index: usize) -> Result<(), String> {
        let client = &mut self.clients[index];
        let Some(stream) = &mut client.stream else { return Ok(()) };
        let count = match stream.read(&mut self.input) {
            Ok(0) => return Err("the gateway ended the connection without a word".into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let path = &self.plan.paths[index % self.plan.paths.len()];
        let request = UpgradeRequest::new(&self.host, path, client.nonce);
        let input = client.open(&self.input[..count], &request)?;
        self.outcome.bytes += input.as_ref().map_or(count, Vec::len) as u64;
        let asked =
            client.hearing.handle_input(input.as_deref().unwrap_or(&self.input[..count]))?;
        if let Some(payload) = asked.pong {
            let mut frame = Vec::new();
            plain::put_frame(&mut frame, OpCode::Pong, &payload, &mut self.random);
            let stream = client.stream.as_mut().expect("it was read from");
            stream.write_all(&frame).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Nothing has come to anyone for long: those that wait are lost.
    fn give_up(&mut self) {
        let waiting = self.clients.iter_mut().filter(|it| !it.is_whole && it.stream.is_some());
        let mut count = 0;
        for client in waiting {
            client.stream = None;
            count += 1;
        }
        let why = format!("nothing came to anyone for {PATIENCE:?}");
        *self.outcome.lost.entry(why).or_default() += count;
        self.done += count;
    }
}

impl Client {
    /// Takes in the response, if that is what comes; yields what stands behind it then.
    fn open(
        &mut self,
        input: &[u8],
        request: &UpgradeRequest<'_>,
    ) -> Result<Option<Vec<u8>>, String> {
        let Stage::Opening(so_far) = &mut self.stage else { return Ok(None) };
        so_far.extend_from_slice(input);
        // What stands behind the response is not part of what may be that long.
        let most = so_far.len().min(RESPONSE_MAX);
        let status = parse_response(&so_far[..most], RESPONSE_MAX);
        let Status::Complete(head) = status.map_err(|error| error.to_string())? else {
            return Ok(Some(Vec::new()));
        };
        Accepted::check(&head, request).map_err(|error| format!("it was refused: {error}"))?;
        let behind = so_far[head.head_len()..].to_vec();
        self.stage = Stage::Open;
        Ok(Some(behind))
    }
}
