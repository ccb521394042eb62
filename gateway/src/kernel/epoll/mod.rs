//! epoll as a [`Ring`], for kernels and containers that refuse io_uring.
//!
//! There is no queue in the kernel: [`Epoll::enter`] carries out what was pushed, in that order, by
//! one system call each, and asks epoll (epoll(7)) what has become ready. So each rule of [`Ring`]
//! about order and about memory holds by construction.
//!
//! A connection is registered once, as it is accepted, and told of by edges; whether a poll of
//! either kind is armed is known here ([`Places`]), so that arming and removing one takes no system
//! call.

mod armed;
mod event_source;
mod listeners;
mod operations;
mod places;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventFlags};

use super::{
    BufferId, Completion, ListenerId, ListeningSocket, Memory, Operation, Peer, Ring, RingError,
    Setup, Slot, Waker, open_files,
};
use armed::ArmedSends;
pub(super) use armed::armed_bytes;
use event_source::EventSource;
use listeners::Listeners;
pub(super) use places::PLACE_BYTES;
use places::{FAILED, Places, READABLE};

/// The most that epoll tells of at once.
pub(super) const EVENTS: usize = 1024;

/// Places for completions: at least those of as many operations as may be pushed, and what epoll
/// may tell beside them, which is two things of a connection.
pub(super) fn places(submissions: u32, completions: u32) -> usize {
    (completions as usize).max(submissions as usize + 2 * EVENTS)
}

/// An epoll instance of this thread, and the sockets that it watches.
pub struct Epoll {
    epoll: OwnedFd,
    /// Pushed, and to be carried out by the next enter.
    operations: Vec<Operation>,
    /// How many of them a shard may push.
    submissions: usize,
    completions: VecDeque<Completion>,
    /// The receive buffers that are lent, in the order in which they were.
    buffers: VecDeque<BufferId>,
    buffer_size: usize,
    places: Places,
    armed: ArmedSends,
    listeners: Listeners,
    waker: Waker,
    /// Where epoll writes what it tells; empty between two enters.
    events: Vec<Event>,
    /// Whether the enter before has asked epoll.
    has_asked: bool,
}

impl Epoll {
    /// Sets it up.
    ///
    /// # Errors
    /// What the kernel refused, and what to do about it.
    pub fn new(setup: Setup<'_>) -> Result<Self, RingError> {
        let wanted = setup.connections;
        if u64::from(wanted) > open_files() {
            return Err(RingError::TooManyDescriptors { wanted });
        }
        let other = |doing| move |error: rustix::io::Errno| RingError::Other(doing, error.into());
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(other("setting up an epoll instance"))?;
        let edges = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, setup.waker.descriptor(), EventSource::Waker.data(), edges)
            .map_err(other("watching a shard's waker"))?;
        let listeners = Listeners::new(&epoll, setup.listeners)
            .map_err(|error| RingError::Other("watching a listener", error))?;
        let submissions = setup.submissions as usize;
        Ok(Self {
            epoll,
            operations: Vec::with_capacity(submissions),
            submissions,
            completions: VecDeque::with_capacity(places(setup.submissions, setup.completions)),
            buffers: VecDeque::with_capacity(setup.buffers.into()),
            buffer_size: setup.buffer_size,
            places: Places::new(wanted),
            armed: ArmedSends::default(),
            listeners,
            waker: setup.waker,
            events: Vec::with_capacity(EVENTS),
            has_asked: false,
        })
    }

    /// Asks epoll what is ready, waiting up to `wait` for it.
    fn ask(&mut self, memory: &mut Memory, wait: Duration) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        let told = epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout(wait)));
        for event in events.drain(..) {
            self.told(event, memory);
        }
        self.events = events;
        match told {
            // A signal came instead.
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// One thing has become ready.
    fn told(&mut self, event: Event, memory: &mut Memory) {
        match EventSource::of(event.data) {
            EventSource::Connection { slot, registration } => {
                if self.places.is_current(slot, registration) {
                    self.told_of(slot, event.flags, memory);
                }
            }
            EventSource::Listener(listener) => {
                self.completions.extend(self.listeners.is_ready(listener));
            }
            EventSource::Waker => {
                self.waker.clear();
                self.completions.push_back(Completion::Woken);
            }
        }
    }

    /// A connection has become readable, or has room for a send that is armed.
    fn told_of(&mut self, slot: Slot, flags: EventFlags, memory: &mut Memory) {
        if flags.intersects(READABLE) {
            self.completions.extend(self.places.is_readable(slot, flags));
        }
        if flags.intersects(EventFlags::OUT | FAILED) {
            self.send_armed_again(slot, memory);
        }
    }
}

impl Ring for Epoll {
    fn push(&mut self, operation: Operation) {
        self.operations.push(operation);
    }

    fn room(&self) -> usize {
        self.submissions.saturating_sub(self.operations.len())
    }

    fn provide(&mut self, buffer: BufferId) {
        self.buffers.push_back(buffer);
    }

    /// Epoll is asked unless there is something to take, and the enter before has asked or there is
    /// no place for what it may tell: so a turn of a shard, which enters twice, asks once.
    fn enter(&mut self, memory: &mut Memory, wait: Duration) -> io::Result<()> {
        if self.completions.is_empty() {
            // So that it begins anew: a ring that went round would touch all its places in time.
            self.completions.clear();
        }
        self.carry_out(memory);
        let is_idle = self.completions.is_empty();
        let has_places = self.completions.len() + 2 * EVENTS <= self.completions.capacity();
        let asks = is_idle || (!self.has_asked && has_places);
        self.has_asked = asks;
        if !asks {
            return Ok(());
        }
        self.ask(memory, if is_idle { wait } else { Duration::ZERO })
    }

    fn completion(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    fn is_settled(&mut self) -> bool {
        self.operations.is_empty()
    }

    fn open_listener(&mut self, listener: ListenerId, socket: ListeningSocket) -> io::Result<()> {
        self.listeners.open(&self.epoll, listener, socket)
    }

    fn listener(&self, listener: ListenerId) -> Option<&ListeningSocket> {
        self.listeners.socket(listener)
    }

    fn accept_aside(&mut self, listener: ListenerId) -> io::Result<(OwnedFd, Peer)> {
        self.listeners.accept_aside(listener)
    }

    fn adopt(&mut self, memory: &mut Memory, first: Slot, sockets: Vec<OwnedFd>) -> io::Result<()> {
        self.carry_out(memory);
        for (slot, socket) in (first..).zip(sockets) {
            let put = self.places.put(&self.epoll, slot, socket);
            put.map_err(|error| io::Error::from_raw_os_error(error.0))?;
        }
        Ok(())
    }

    fn now(&self) -> Duration {
        super::since_begun()
    }

    fn calendar(&self) -> Duration {
        // A clock that stands before 1970 is not set at all.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// A wait in whole milliseconds, rounded up: all that epoll_wait(2) knows. What is more exact came
/// with Linux 5.11.
fn timeout(wait: Duration) -> Timespec {
    let millis = wait.as_nanos().div_ceil(1_000_000) as i64;
    Timespec { tv_sec: millis / 1000, tv_nsec: (millis % 1000) * 1_000_000 }
}
