//! What the driver knows of each connection: its socket, whether a poll is armed, and whether there
//! is something to receive.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::ioctl_fionread;

use super::event_source::{self, EventSource};
use crate::kernel::{Completion, Errno, Generation, Slot};

/// Bytes for each slot that has been in use.
pub(in crate::kernel) const PLACE_BYTES: usize = size_of::<WatchedSocket>();

/// What a connection is registered with: its end is told of as well, and urgent data.
const INPUT: EventFlags =
    EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::PRI).union(EventFlags::ET);

/// The peer has failed: a reset, most often.
pub(super) const FAILED: EventFlags = EventFlags::HUP.union(EventFlags::ERR);

/// The peer has ended or failed.
const ENDED: EventFlags = FAILED.union(EventFlags::RDHUP);

/// What is to be received, an end or an error.
pub(super) const READABLE: EventFlags = EventFlags::IN.union(EventFlags::PRI).union(ENDED);

/// All connections, by slot.
pub(super) struct Places {
    /// Grows to the highest slot that was in use; its memory is reserved and untouched beyond.
    places: Vec<WatchedSocket>,
    /// How many slots there are.
    slots: usize,
    /// How many sockets were put into one, in [`event_source::REGISTRATIONS`].
    registrations: u32,
}

/// One slot.
#[derive(Default)]
struct WatchedSocket {
    socket: Option<OwnedFd>,
    /// What epoll's events of the socket carry. A descriptor that a fork has copied keeps epoll
    /// telling of a socket that was closed here, when its slot is another's.
    registration: u32,
    /// Whom the poll is of that was armed last.
    generation: Generation,
    poll: PollMode,
    /// It was told that there is something to receive, and no receive has emptied the socket since.
    readable: bool,
    /// It was told that the peer has ended or failed.
    ended: bool,
    /// It was told of urgent data (tcp(7)), and no receive has found nothing since. Receives stop
    /// at the mark of such data though there is more behind it.
    urgent: bool,
}

/// The poll of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum PollMode {
    /// None is armed.
    #[default]
    None,
    /// One that completes once.
    Once,
    /// One that stays armed.
    Stays,
}

/// What a receive has found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receipt {
    pub(super) result: Result<u32, Errno>,
    /// How much it had room for.
    pub(super) room: u32,
}

impl Places {
    /// Room for so many connections.
    pub(super) fn new(slots: u32) -> Self {
        let slots = slots as usize;
        Self { places: Vec::with_capacity(slots), slots, registrations: 0 }
    }

    /// A connection's socket.
    pub(super) fn socket(&self, slot: Slot) -> Result<BorrowedFd<'_>, Errno> {
        let socket = self.places.get(slot as usize).and_then(|place| place.socket.as_ref());
        socket.map(AsFd::as_fd).ok_or(Errno::BAD_DESCRIPTOR)
    }

    /// Puts a socket into a slot that is free, and has epoll watch it from here on.
    ///
    /// # Errors
    /// `EBADF`: there is no such slot. `ENOSPC`: the user may have no more watched
    /// (`fs.epoll.max_user_watches`, epoll(7)). `ENOMEM`. The socket is closed.
    pub(super) fn put(
        &mut self,
        epoll: impl AsFd,
        slot: Slot,
        socket: OwnedFd,
    ) -> Result<(), Errno> {
        let index = slot as usize;
        if index >= self.slots {
            return Err(Errno::BAD_DESCRIPTOR);
        }
        let registration = self.registrations.wrapping_add(1) & event_source::REGISTRATIONS;
        epoll::add(epoll, &socket, data_of(slot, registration), INPUT)?;
        self.registrations = registration;
        if index >= self.places.len() {
            self.places.resize_with(index + 1, WatchedSocket::default);
        }
        let socket = Some(socket);
        self.places[index] = WatchedSocket { socket, registration, ..WatchedSocket::default() };
        Ok(())
    }

    /// Takes a connection's socket out, to be closed: epoll forgets it with its last descriptor,
    /// which is this one unless the program has forked.
    pub(super) fn take(&mut self, slot: Slot) -> Option<OwnedFd> {
        std::mem::take(self.places.get_mut(slot as usize)?).socket
    }

    /// Arms a poll. It completes at once if there is something to receive, or no connection:
    /// receives say the rest.
    pub(super) fn poll(
        &mut self,
        slot: Slot,
        generation: Generation,
        poll: PollMode,
    ) -> Option<Completion> {
        let gone = Completion::Readable { slot, generation, armed: false, ended: true };
        let Some(place) = self.places.get_mut(slot as usize) else { return Some(gone) };
        if place.socket.is_none() {
            return Some(gone);
        }
        (place.generation, place.poll) = (generation, poll);
        if place.readable { place.tell(slot) } else { None }
    }

    /// Removes the poll of that generation.
    pub(super) fn unpoll(&mut self, slot: Slot, generation: Generation) {
        if let Some(place) = self.places.get_mut(slot as usize)
            && place.generation == generation
        {
            place.poll = PollMode::None;
        }
    }

    /// Whether what epoll tells of is the connection that has the slot now.
    pub(super) fn is_current(&self, slot: Slot, registration: u32) -> bool {
        let place = self.places.get(slot as usize);
        place.is_some_and(|place| place.socket.is_some() && place.registration == registration)
    }

    /// epoll has told of a connection: that it is readable, has ended, or has urgent data.
    pub(super) fn is_readable(&mut self, slot: Slot, flags: EventFlags) -> Option<Completion> {
        let place = self.places.get_mut(slot as usize)?;
        place.readable = true;
        place.ended |= flags.intersects(ENDED);
        place.urgent |= flags.contains(EventFlags::PRI);
        place.tell(slot)
    }

    /// A receive is done; whether there may be more to receive. One that took less than it had room
    /// for has emptied the socket but for an end that was told of, or what is behind urgent data;
    /// of one that took as much the kernel is asked.
    pub(super) fn received(&mut self, slot: Slot, found: Receipt) -> bool {
        let Some(place) = self.places.get_mut(slot as usize) else { return false };
        let more = match found.result {
            Ok(0) => return false,
            Ok(count) => place.ended || place.urgent || (count == found.room && place.has_left()),
            // A socket that has ended does not say this, but for a signal that comes at the mark.
            Err(Errno::AGAIN) => std::mem::take(&mut place.urgent) && place.ended,
            Err(_) => return false,
        };
        // What arrives from here on is told of anew.
        place.readable = more;
        more && found.result.is_ok()
    }

    /// Has epoll tell as well when there is room to send, now or later. It does so for good: only a
    /// send that found no room has room told of, so who takes what is sent costs nothing more.
    pub(super) fn watch_room(&mut self, epoll: impl AsFd, slot: Slot) -> Result<(), Errno> {
        let Some(place) = self.places.get_mut(slot as usize) else {
            return Err(Errno::BAD_DESCRIPTOR);
        };
        let Some(socket) = &place.socket else { return Err(Errno::BAD_DESCRIPTOR) };
        let data = data_of(slot, place.registration);
        epoll::modify(epoll, socket, data, INPUT | EventFlags::OUT)?;
        Ok(())
    }
}

/// What an event of a connection carries.
fn data_of(slot: Slot, registration: u32) -> EventData {
    EventSource::Connection { slot, registration }.data()
}

impl WatchedSocket {
    /// Whether bytes are there to be received.
    fn has_left(&self) -> bool {
        let left = self.socket.as_ref().map(ioctl_fionread);
        left.is_some_and(|left| left.is_ok_and(|bytes| bytes > 0))
    }

    /// What an armed poll tells.
    fn tell(&mut self, slot: Slot) -> Option<Completion> {
        let armed = match self.poll {
            PollMode::None => return None,
            PollMode::Once => false,
            PollMode::Stays => true,
        };
        if !armed {
            self.poll = PollMode::None;
        }
        let Self { generation, ended, .. } = *self;
        Some(Completion::Readable { slot, generation, armed, ended })
    }
}
