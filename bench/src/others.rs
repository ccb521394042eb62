//! Clients of the same gateway that have nothing to do with what else goes on there: echoes at a
//! low rate, on a thread of its own.
//!
//! That thread has to share a core with whoever makes that. So an echo is over when its packet
//! reaches the client's socket, which the kernel notes (socket(7), `SO_TIMESTAMPNS`), and not when
//! this thread gets to read it: what is measured is the gateway and the kernel, whatever the load
//! generator is busy with.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSliceMut, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use serde::Serialize;
use tidegate_proto::websocket::frame::{MAX_HEADER, OpCode};

use crate::latency::{Histogram, Latency, histogram};
use crate::plain::{self, PATIENCE};
use crate::random::Random;
use crate::runtime;
use crate::target::Target;
use crate::tls::{self, Session};

/// The message of an echo, in bytes.
const MESSAGE: usize = 64;

/// The frame in which it comes back: a server's header is of two bytes.
const ECHO: usize = 2 + MESSAGE;

/// Clients whose turn comes with one look at who has something to read.
const EVENTS: usize = 64;

/// What is going on while the others echo, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Nothing is measured yet.
    WarmUp,
    /// Nobody else is there.
    Quiet,
    /// What is to be watched goes on.
    Busy,
    /// It is over.
    Over,
    /// The thread is to end.
    End,
}

impl Phase {
    fn now(phase: &AtomicU8) -> Self {
        match phase.load(Ordering::Relaxed) {
            0 => Self::WarmUp,
            1 => Self::Quiet,
            2 => Self::Busy,
            3 => Self::Over,
            _ => Self::End,
        }
    }
}

/// How many there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) connections: usize,
    /// Echoes per second of all together.
    pub(crate) rate: f64,
}

/// What the others saw of one phase.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Seen {
    /// Echoes.
    pub echoes: u64,
    /// From before a message was sent until the kernel had its echo at the client's socket.
    pub echo: Latency,
    /// How long after its time a message was sent: the load generator's own delay, and that of
    /// messages for which no connection was free.
    pub lateness: Latency,
}

impl Seen {
    /// Its p99 to that of `quiet`; nothing if one of both has no echo.
    pub(crate) fn p99_to(&self, quiet: &Self) -> Option<f64> {
        let both = self.echoes.min(quiet.echoes);
        (both > 0).then(|| self.echo.p99_us / quiet.echo.p99_us)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { echoes, echo, lateness } = self;
        let Latency { p50_us, p90_us, p99_us, max_us, .. } = echo;
        write!(out, "{echoes:>12}: {p50_us:.0} us p50, {p90_us:.0} p90, {p99_us:.0} p99, ")?;
        write!(out, "{max_us:.0} max; ")?;
        write!(out, "sent late by {:.0} us p99, {:.0} max", lateness.p99_us, lateness.max_us)
    }
}

/// The thread, and the way to it. It ends with this value.
pub(crate) struct Others {
    phase: Arc<AtomicU8>,
    thread: Option<JoinHandle<io::Result<[Tally; 2]>>>,
}

impl Others {
    /// Yields when all are connected, or have failed.
    pub(crate) fn start(target: &Target, shape: Shape) -> Self {
        let phase = Arc::new(AtomicU8::new(Phase::WarmUp as u8));
        let (connected, are_connected) = channel();
        let thread = {
            let (target, phase) = (target.clone(), Arc::clone(&phase));
            thread::spawn(move || {
                runtime::pin(runtime::second());
                Clients::open(&target, shape)?.run(&phase, &connected)
            })
        };
        // The sender goes away with a thread that has failed.
        let _ = are_connected.recv();
        Self { phase, thread: Some(thread) }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// What was seen in the quiet, and behind it.
    ///
    /// # Errors
    /// One of them failed.
    pub(crate) fn finish(mut self) -> io::Result<[Seen; 2]> {
        self.enter(Phase::End);
        let thread = self.thread.take().expect("only this takes it");
        let seen = thread.join().map_err(|_| io::Error::other("the other clients panicked"))?;
        let seen = seen.map_err(|error| {
            io::Error::new(error.kind(), format!("one of the other clients: {error}"))
        })?;
        Ok(seen.map(|tally| tally.seen()))
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        self.enter(Phase::End);
    }
}

/// What was seen in one phase.
struct Tally {
    echo_ns: Histogram,
    lateness_ns: Histogram,
}

impl Tally {
    fn new() -> Self {
        Self { echo_ns: histogram(), lateness_ns: histogram() }
    }

    fn seen(&self) -> Seen {
        let (echo, lateness) = (Latency::new(&self.echo_ns), Latency::new(&self.lateness_ns));
        Seen { echoes: self.echo_ns.len(), echo, lateness }
    }
}

struct Client {
    stream: TcpStream,
    /// What seals and opens, over TLS.
    session: Option<Box<Session>>,
    /// When its message was sent, since 1970, and in which phase.
    sent: (Duration, Phase),
    /// Bytes of the echo that have come, opened.
    came: usize,
}

struct Clients {
    epoll: Epoll,
    all: Vec<Client>,
    /// Those that wait for no echo; the one that has been longest so is in front.
    idle: VecDeque<usize>,
    /// The frame that they all send.
    frame: Vec<u8>,
    every: Duration,
    /// Of the quiet and of what is behind it.
    tallies: [Tally; 2],
}

impl Clients {
    fn open(target: &Target, shape: Shape) -> io::Result<Self> {
        let (mut random, mut frame, mut all) = (Random::new()?, Vec::new(), Vec::new());
        plain::put_frame(&mut frame, OpCode::Binary, &[b'.'; MESSAGE], &mut random);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for index in 0..shape.connections {
            let (stream, session) = plain::open_sealed(target, &mut random)?;
            setsockopt(&stream, sockopt::ReceiveTimestampns, &true)?;
            stream.set_nonblocking(true)?;
            epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
            let sent = (Duration::ZERO, Phase::WarmUp);
            all.push(Client { stream, session, sent, came: 0 });
        }
        Ok(Self {
            epoll,
            idle: (0..all.len()).collect(),
            all,
            frame,
            every: Duration::from_secs_f64(1.0 / shape.rate),
            tallies: [Tally::new(), Tally::new()],
        })
    }

    fn run(mut self, phase: &AtomicU8, connected: &Sender<()>) -> io::Result<[Tally; 2]> {
        // The receiver waits for it.
        let _ = connected.send(());
        let (mut due, mut heard) = (Instant::now(), Instant::now());
        loop {
            let now = Phase::now(phase);
            let is_at_rest = self.idle.len() == self.all.len();
            if now == Phase::End && is_at_rest {
                return Ok(self.tallies);
            }
            while now != Phase::End && due <= Instant::now() && self.send(due, now)? {
                due += self.every;
            }
            if self.receive(due)? || is_at_rest {
                heard = Instant::now();
            } else if heard.elapsed() > PATIENCE {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no echo comes any more"));
            }
        }
    }

    /// Lets the next client send, if there is one that waits for nothing.
    fn send(&mut self, due: Instant, phase: Phase) -> io::Result<bool> {
        let Some(index) = self.idle.pop_front() else { return Ok(false) };
        if let Some(tally) = self.tally(phase) {
            tally.lateness_ns.saturating_record(due.elapsed().as_nanos() as u64);
        }
        let client = &mut self.all[index];
        client.sent = (since_1970(), phase);
        // It has nothing under way, so its socket takes it.
        match &mut client.session {
            None => client.stream.write_all(&self.frame)?,
            Some(session) => {
                let plain = tls::HEADER..tls::HEADER + self.frame.len();
                let mut record = [0; tls::OVERHEAD + MAX_HEADER + MESSAGE];
                record[plain.clone()].copy_from_slice(&self.frame);
                let sealed = session.sealer.seal(&mut record, plain)?;
                client.stream.write_all(&record[sealed])?;
            }
        }
        Ok(true)
    }

    /// Receives until `due`, or until something has come; says whether it has.
    fn receive(&mut self, due: Instant) -> io::Result<bool> {
        let rest = due.saturating_duration_since(Instant::now()).as_millis();
        let wait = EpollTimeout::from(rest.clamp(1, 100) as u16);
        let mut events = [EpollEvent::empty(); EVENTS];
        let count = match self.epoll.wait(&mut events, wait) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno.into()),
        };
        for event in &events[..count] {
            self.take_in(event.data() as usize)?;
        }
        Ok(count > 0)
    }

    fn take_in(&mut self, index: usize) -> io::Result<()> {
        let client = &mut self.all[index];
        let mut room = [0; ECHO + tls::OVERHEAD];
        let length = if client.session.is_some() { room.len() } else { ECHO };
        let (count, stamp) = receive(&client.stream, &mut room[..length])?;
        let expected = [&[0x82, MESSAGE as u8][..], &[b'.'; MESSAGE]].concat();
        let came = &mut client.came;
        let mut check = |plain: &mut [u8]| {
            if !expected[*came..].starts_with(plain) {
                return Err(io::Error::other("the echo is not what was sent"));
            }
            *came += plain.len();
            Ok(())
        };
        match &mut client.session {
            None => check(&mut room[..count])?,
            Some(session) => session.take_in(&mut room[..count], check)?,
        }
        if client.came < ECHO {
            return Ok(());
        }
        client.came = 0;
        let (sent, phase) = client.sent;
        self.idle.push_back(index);
        if let Some(tally) = self.tally(phase) {
            let took = stamp.unwrap_or_else(since_1970).saturating_sub(sent);
            tally.echo_ns.saturating_record(took.as_nanos() as u64);
        }
        Ok(())
    }

    /// Where an echo that began in this phase is counted.
    fn tally(&mut self, phase: Phase) -> Option<&mut Tally> {
        match phase {
            Phase::Quiet => Some(&mut self.tallies[0]),
            Phase::Busy => Some(&mut self.tallies[1]),
            _ => None,
        }
    }
}

/// Receives once; yields how many bytes have come, and when, since 1970, the kernel had the last of
/// them.
fn receive(stream: &TcpStream, room: &mut [u8]) -> io::Result<(usize, Option<Duration>)> {
    let mut control = nix::cmsg_space!(TimeSpec);
    let mut parts = [IoSliceMut::new(room)];
    let descriptor = stream.as_raw_fd();
    let received = recvmsg::<()>(descriptor, &mut parts, Some(&mut control), MsgFlags::empty())?;
    if received.bytes == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the gateway ended it"));
    }
    let stamp = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp.into()),
        _ => None,
    });
    Ok((received.bytes, stamp))
}

/// The clock of the kernel's stamps.
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
