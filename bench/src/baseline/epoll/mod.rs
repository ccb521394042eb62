//! A bare WebSocket echo over TLS on edge-triggered epoll: the floor for speed over TLS.
//!
//! What `tools/peers/epoll_echo.c` is for plain connections, over the AEAD that the gateway has:
//! handshakes are rustls', and behind them one read brings records into a buffer that all share,
//! which are opened, unmasked, answered and sealed where they lie, with keys that are kept, and one
//! send answers. A connection owns memory only for what is incomplete or could not be sent.
//!
//! It leaves out the same: every check of frames, all timeouts, and it puts no message together.
//! Connections whose path begins with /rooms/ share one room; who still has something to be sent
//! loses what is said there meanwhile.

mod connection;
mod frames;

use std::io::{self, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rustls::ServerConfig;

use self::connection::{Connection, Found, Heard};
use crate::tls;

/// Events of one wait.
const BATCH: usize = 1024;

/// The most that is read at once, in bytes.
const READ_MAX: usize = 64 << 10;

/// In front of what is read: a record's header is longer than what a frame loses in its answer.
const HEADROOM: usize = 16;

/// Behind it: room for what more records an answer may take than what it answers.
const TAILROOM: usize = 4096;

/// All connections.
struct Loop {
    epoll: Epoll,
    listener: TcpListener,
    config: Arc<ServerConfig>,
    /// By descriptor.
    connections: Vec<Option<Box<Connection>>>,
    /// Descriptors of those in the room.
    room: Vec<usize>,
    /// What is read by whoever reads.
    buffer: Vec<u8>,
    /// What is sealed for one of the room.
    staging: Vec<u8>,
}

/// Serves until killed, with this certificate.
pub(super) fn run(listener: TcpListener, cert: &Path, key: &Path) -> io::Result<()> {
    let config = tls::server_config(cert, key)?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
    epoll.add(&listener, EpollEvent::new(flags, listener.as_raw_fd() as u64))?;
    let (connections, room, buffer, staging) = Default::default();
    Loop { epoll, listener, config, connections, room, buffer, staging }.serve()
}

impl Loop {
    /// What is accepted waits for the end of the batch, so no event of a batch meets a later
    /// connection.
    fn serve(mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); BATCH];
        let listener = self.listener.as_raw_fd() as usize;
        loop {
            let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(errno) => return Err(errno.into()),
            };
            let mut is_accepting = false;
            for event in &events[..count] {
                if event.data() as usize == listener {
                    is_accepting = true;
                } else {
                    self.happened(event.data() as usize, event.events());
                }
            }
            if is_accepting {
                self.accept_all()?;
            }
        }
    }

    fn accept_all(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => continue,
                Err(error) => return Err(error),
            };
            let connection = Connection::new(stream, &self.config)?;
            let descriptor = connection.stream().as_raw_fd() as usize;
            let flags = EpollFlags::EPOLLIN
                | EpollFlags::EPOLLOUT
                | EpollFlags::EPOLLRDHUP
                | EpollFlags::EPOLLET;
            self.epoll.add(connection.stream(), EpollEvent::new(flags, descriptor as u64))?;
            if self.connections.len() <= descriptor {
                self.connections.resize_with(descriptor + 1, || None);
            }
            self.connections[descriptor] = Some(Box::new(connection));
        }
    }

    fn happened(&mut self, descriptor: usize, events: EpollFlags) {
        let Some(mut connection) = self.connections[descriptor].take() else { return };
        let is_lost = events.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        if !is_lost && self.read_all(&mut connection, descriptor, events).unwrap_or(false) {
            self.connections[descriptor] = Some(connection);
        } else if let Some(member) = connection.member {
            self.leave_room(member);
        }
    }

    fn leave_room(&mut self, member: usize) {
        self.room.swap_remove(member);
        if let Some(&moved) = self.room.get(member)
            && let Some(other) = &mut self.connections[moved]
        {
            other.member = Some(member);
        }
    }

    /// Reads until there is nothing more; says whether the connection stays. While an answer waits
    /// nothing is read, so a client that does not read cannot make it grow.
    fn read_all(
        &mut self,
        connection: &mut Connection,
        descriptor: usize,
        mut events: EpollFlags,
    ) -> io::Result<bool> {
        if connection.owes() {
            if !connection.flush() {
                return Ok(true);
            }
            events |= EpollFlags::EPOLLIN;
        }
        // The end of a stream makes no further edge, so where it is known to come it is read up to.
        let is_ending = events.contains(EpollFlags::EPOLLRDHUP);
        let mut is_there = is_ending || events.contains(EpollFlags::EPOLLIN);
        while is_there && !connection.is_closing() && !connection.owes() {
            let Heard { found, for_room } = connection.read(&mut self.buffer)?;
            if connection.has_joined() && connection.member.is_none() {
                connection.member = Some(self.room.len());
                self.room.push(descriptor);
            }
            if !for_room.is_empty() {
                self.tell_all(connection, &for_room)?;
            }
            is_there = match found {
                Found::End => return Ok(false),
                Found::Nothing => false,
                Found::All => is_ending,
                Found::More => true,
            };
        }
        Ok(connection.owes() || !connection.is_closing())
    }

    /// Hands frames to all in the room, `speaker` among them.
    fn tell_all(&mut self, speaker: &mut Connection, frames: &[u8]) -> io::Result<()> {
        for &member in &self.room {
            if let Some(other) = &mut self.connections[member] {
                other.tell(frames, &mut self.staging)?;
            }
        }
        speaker.tell(frames, &mut self.staging)
    }
}

/// What is printed at the start.
pub(super) fn announce(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{} over edge-triggered epoll, batch {BATCH}, keys kept, one shared buffer of 64 KiB",
        super::Runtime::Epoll.version()
    )
}
