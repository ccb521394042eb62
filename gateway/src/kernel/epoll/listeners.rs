//! The sockets that are listened on.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::source;
use crate::kernel::{Completion, Errno, ListenerId, Peer};

/// All listeners, by number.
pub(super) struct Listeners {
    listeners: Vec<OpenListener>,
}

/// One of them.
struct OpenListener {
    /// `None`: closed.
    socket: Option<TcpListener>,
    /// Its poll is armed.
    armed: bool,
    /// epoll has told that somebody waits to be accepted, and no accept has found nobody since.
    ready: bool,
    /// An accept of this enter has found nobody.
    empty: bool,
}

impl Listeners {
    /// Watches them, and has none of them wait in an accept from here on.
    pub(super) fn new(epoll: impl AsFd, listeners: Vec<TcpListener>) -> io::Result<Self> {
        let edges = EventFlags::IN | EventFlags::ET;
        let watch = |(socket, number): (TcpListener, u64)| {
            socket.set_nonblocking(true)?;
            epoll::add(&epoll, &socket, EventData::new_u64(source::LISTENER | number), edges)?;
            Ok(OpenListener { socket: Some(socket), armed: false, ready: false, empty: false })
        };
        let listeners = listeners.into_iter().zip(0..).map(watch).collect::<io::Result<_>>()?;
        Ok(Self { listeners })
    }

    /// Arms the poll of a listener, which completes once: at once if somebody waits. One that is
    /// closed is answered like that, too: an accept knows better.
    pub(super) fn poll(&mut self, listener: ListenerId) -> Option<Completion> {
        let listening = &mut self.listeners[listener as usize];
        let is_ready = match &listening.socket {
            Some(socket) => listening.ready && somebody_waits(socket),
            None => true,
        };
        (listening.ready, listening.armed) = (is_ready, !is_ready);
        is_ready.then_some(Completion::ListenerReady { listener })
    }

    /// Removes the poll of a listener.
    pub(super) fn unpoll(&mut self, listener: ListenerId) {
        self.listeners[listener as usize].armed = false;
    }

    /// epoll has told that somebody waits to be accepted.
    pub(super) fn is_ready(&mut self, listener: ListenerId) -> Option<Completion> {
        let listening = &mut self.listeners[listener as usize];
        listening.ready = true;
        std::mem::take(&mut listening.armed).then_some(Completion::ListenerReady { listener })
    }

    /// Closes a listener.
    pub(super) fn close(&mut self, listener: ListenerId) {
        let listening = &mut self.listeners[listener as usize];
        (listening.socket, listening.armed) = (None, false);
    }

    /// Accepts one connection. Behind one that has found nobody all others of the same enter do
    /// so: the kernel is not asked again.
    pub(super) fn accept(&mut self, listener: ListenerId) -> Result<(OwnedFd, Peer), Errno> {
        let listening = &mut self.listeners[listener as usize];
        let socket = listening.socket.as_ref().ok_or(Errno::BAD_DESCRIPTOR)?;
        if listening.empty {
            return Err(Errno::AGAIN);
        }
        match socket.accept() {
            Ok((stream, peer)) => Ok((stream.into(), peer.into())),
            Err(error) => {
                let error = Errno::from(error);
                if error == Errno::AGAIN {
                    (listening.ready, listening.empty) = (false, true);
                }
                Err(error)
            }
        }
    }

    /// An enter begins: somebody may have come since the last.
    pub(super) fn begin(&mut self) {
        for listening in &mut self.listeners {
            listening.empty = false;
        }
    }

    /// Accepts one connection that is to be given away.
    pub(super) fn accept_aside(&self, listener: ListenerId) -> io::Result<(OwnedFd, Peer)> {
        let socket = self.listeners[listener as usize].socket.as_ref();
        let closed = || io::Error::from(io::ErrorKind::WouldBlock);
        let (stream, peer) = socket.ok_or_else(closed)?.accept()?;
        Ok((stream.into(), peer.into()))
    }
}

/// Whether an accept would find somebody.
fn somebody_waits(socket: &TcpListener) -> bool {
    let mut polled = [PollFd::new(socket, PollFlags::IN)];
    // What cannot be asked is tried.
    poll(&mut polled, Some(&Timespec::default())) != Ok(0)
}
