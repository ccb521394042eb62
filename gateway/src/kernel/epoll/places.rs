//! What the driver knows of each connection: its socket, whether a poll is armed, and whether there
//! is something to receive.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::ioctl_fionread;

use super::source;
use crate::kernel::{Completion, Errno, Generation, Slot};

/// Bytes for each slot that has been in use.
pub(in crate::kernel) const PLACE_BYTES: usize = size_of::<Place>();

/// What a connection is registered with: its end is told of as well.
const INPUT: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);

/// All connections, by slot.
pub(super) struct Places {
    /// Grows to the highest slot that was in use; its memory is reserved and untouched beyond.
    places: Vec<Place>,
    /// How many slots there are.
    slots: usize,
}

/// One slot.
#[derive(Default)]
struct Place {
    socket: Option<OwnedFd>,
    /// Whom the poll is of that was armed last.
    generation: Generation,
    poll: PollMode,
    /// epoll watches the socket, from its first poll on.
    watched: bool,
    /// It was told that there is something to receive, and no receive has emptied the socket since.
    readable: bool,
    /// It was told that the peer has ended or failed.
    ended: bool,
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
pub(super) struct Found {
    pub(super) result: Result<u32, Errno>,
    /// How much it had room for.
    pub(super) room: u32,
}

impl Places {
    /// Room for so many connections.
    pub(super) fn new(slots: u32) -> Self {
        let slots = slots as usize;
        Self { places: Vec::with_capacity(slots), slots }
    }

    /// A connection's socket.
    pub(super) fn socket(&self, slot: Slot) -> Result<BorrowedFd<'_>, Errno> {
        let socket = self.places.get(slot as usize).and_then(|place| place.socket.as_ref());
        socket.map(AsFd::as_fd).ok_or(Errno::BAD_DESCRIPTOR)
    }

    /// Puts a socket into a slot that is free; gives it back if there is no such slot.
    pub(super) fn put(&mut self, slot: Slot, socket: OwnedFd) -> Result<(), OwnedFd> {
        let slot = slot as usize;
        if slot >= self.slots {
            return Err(socket);
        }
        if slot >= self.places.len() {
            self.places.resize_with(slot + 1, Place::default);
        }
        self.places[slot] = Place { socket: Some(socket), ..Place::default() };
        Ok(())
    }

    /// Takes a connection's socket out, to be closed: epoll forgets it with its last descriptor.
    pub(super) fn take(&mut self, slot: Slot) -> Option<OwnedFd> {
        std::mem::take(self.places.get_mut(slot as usize)?).socket
    }

    /// Arms a poll. It completes at once if there is something to receive.
    ///
    /// Who cannot be watched, because the user may have no more of that (`max_user_watches`,
    /// epoll(7)) or the kernel has no memory, is closed and told of: receives say the rest.
    pub(super) fn poll(
        &mut self,
        epoll: impl AsFd,
        slot: Slot,
        generation: Generation,
        poll: PollMode,
    ) -> Option<Completion> {
        let gone = Completion::Readable { slot, generation, armed: false, ended: true };
        let Some(place) = self.places.get_mut(slot as usize) else { return Some(gone) };
        let Some(socket) = &place.socket else { return Some(gone) };
        (place.generation, place.poll) = (generation, poll);
        if !place.watched {
            let data = EventData::new_u64(source::CONNECTION | u64::from(slot));
            if epoll::add(epoll, socket, data, INPUT).is_err() {
                *place = Place::default();
                return Some(gone);
            }
            // What is there already it tells of by itself.
            place.watched = true;
            return None;
        }
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

    /// epoll has told that a connection is readable, or has ended.
    pub(super) fn is_readable(&mut self, slot: Slot, ended: bool) -> Option<Completion> {
        let place = self.places.get_mut(slot as usize)?;
        place.readable = true;
        place.ended |= ended;
        place.tell(slot)
    }

    /// A receive is done; whether there may be more to receive. One that took less than it had room
    /// for has emptied the socket but for an end that was told of; of one that took as much the
    /// kernel is asked.
    pub(super) fn received(&mut self, slot: Slot, found: Found) -> bool {
        let Some(place) = self.places.get_mut(slot as usize) else { return false };
        let more = match found.result {
            Ok(0) => return false,
            Ok(count) => place.ended || (count == found.room && place.has_left()),
            Err(Errno::AGAIN) => place.ended,
            Err(_) => return false,
        };
        // What arrives from here on is told of anew.
        place.readable = more;
        more && found.result.is_ok()
    }

    /// Has epoll tell as well when there is room to send, now or later; whether it will. It does so
    /// for good: only a send that found no room has room told of, so who takes what is sent costs
    /// nothing more.
    pub(super) fn watch_room(&mut self, epoll: impl AsFd, slot: Slot) -> Result<(), Errno> {
        let Some(place) = self.places.get_mut(slot as usize) else {
            return Err(Errno::BAD_DESCRIPTOR);
        };
        let Some(socket) = &place.socket else { return Err(Errno::BAD_DESCRIPTOR) };
        let data = EventData::new_u64(source::CONNECTION | u64::from(slot));
        let events = INPUT | EventFlags::OUT;
        let watching = match place.watched {
            true => epoll::modify(epoll, socket, data, events),
            false => epoll::add(epoll, socket, data, events),
        };
        place.watched |= watching.is_ok();
        watching.map_err(Errno::from)
    }
}

impl Place {
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
