//! The sockets that are listened on.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::event_source::EventSource;
use crate::kernel::{Completion, Errno, ListenerId, ListeningSocket, Peer};

/// All listeners, by number.
pub(super) struct Listeners {
    listeners: Vec<OpenListener>,
}

/// One of them.
#[derive(Default)]
struct OpenListener {
    /// `None`: closed.
    socket: Option<ListeningSocket>,
    /// Its poll is armed.
    armed: bool,
    /// epoll has told that somebody waits to be accepted, and no accept has found nobody since.
    ready: bool,
    /// What an accept of this enter has found that all others find as well: nobody, or that nobody
    /// more can be watched.
    refused: Option<Errno>,
}

impl Listeners {
    /// Watches them, and has none of them wait in an accept from here on.
    pub(super) fn new(epoll: impl AsFd, listeners: Vec<ListeningSocket>) -> io::Result<Self> {
        let mut this = Self { listeners: Vec::with_capacity(listeners.len()) };
        for (socket, number) in listeners.into_iter().zip(0..) {
            this.open(&epoll, number, socket)?;
        }
        Ok(this)
    }

    /// Watches one more. What does not listen yet is told of as ready, and found not to be.
    pub(super) fn open(
        &mut self,
        epoll: impl AsFd,
        listener: ListenerId,
        socket: ListeningSocket,
    ) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        let edges = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &socket, EventSource::Listener(listener).data(), edges)?;
        let place = listener as usize;
        self.listeners.resize_with(self.listeners.len().max(place + 1), OpenListener::default);
        self.listeners[place] = OpenListener { socket: Some(socket), ..OpenListener::default() };
        Ok(())
    }

    /// The socket of one that is not closed.
    pub(super) fn socket(&self, listener: ListenerId) -> Option<&ListeningSocket> {
        self.listeners.get(listener as usize)?.socket.as_ref()
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

    /// Closes a listener. It is taken from what is watched first: where others have the same
    /// socket, closing one descriptor of it does not do that (epoll(7)).
    pub(super) fn close(&mut self, epoll: impl AsFd, listener: ListenerId) {
        let listening = &mut self.listeners[listener as usize];
        if let Some(socket) = &listening.socket {
            // It is watched, so the kernel has nothing to refuse.
            let _ = epoll::delete(epoll, socket);
        }
        (listening.socket, listening.armed) = (None, false);
    }

    /// Accepts one connection. Behind one that has found nobody, or could not be watched, all
    /// others of the same enter do so: the kernel is not asked again.
    pub(super) fn accept(&mut self, listener: ListenerId) -> Result<(OwnedFd, Peer), Errno> {
        let listening = &mut self.listeners[listener as usize];
        let socket = listening.socket.as_ref().ok_or(Errno::BAD_DESCRIPTOR)?;
        if let Some(error) = listening.refused {
            return Err(error);
        }
        match socket.accept() {
            Ok(accepted) => Ok(accepted),
            Err(error) => {
                let error = Errno::from(error);
                if error == Errno::AGAIN {
                    (listening.ready, listening.refused) = (false, Some(error));
                }
                Err(error)
            }
        }
    }

    /// Who was accepted cannot be watched: whoever else waits stays in the queue for now.
    pub(super) fn refuse(&mut self, listener: ListenerId, error: Errno) {
        self.listeners[listener as usize].refused = Some(error);
    }

    /// An enter begins: somebody may have come since the last.
    pub(super) fn begin(&mut self) {
        for listening in &mut self.listeners {
            listening.refused = None;
        }
    }

    /// Accepts one connection that is to be given away.
    pub(super) fn accept_aside(&self, listener: ListenerId) -> io::Result<(OwnedFd, Peer)> {
        let closed = || io::Error::from(io::ErrorKind::WouldBlock);
        self.socket(listener).ok_or_else(closed)?.accept()
    }
}

/// Whether an accept would find somebody.
fn somebody_waits(socket: &ListeningSocket) -> bool {
    let mut polled = [PollFd::new(socket, PollFlags::IN)];
    // What cannot be asked is tried.
    poll(&mut polled, Some(&Timespec::default())) != Ok(0)
}
