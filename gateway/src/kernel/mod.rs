//! The one door to the kernel, and the only folder with `unsafe` in it.
//!
//! [`Ring`] is what a shard asks of a kernel: operations in, completions out, a clock and memory
//! that both sides see. [`Uring`] is io_uring, [`Epoll`] does the same by a system call for each
//! operation; anything else that keeps the rules below can stand in for them.
//!
//! The rules that a shard builds on (`tests/tests/kernel` shows each, of both):
//!
//! - Operations of one connection that are pushed in order start in order. Start, not more: a send
//!   behind one that fell short may leave a gap in the stream, so there is one at a time.
//! - [`Operation::Receive`], [`Operation::ReceiveInto`], [`Operation::Send`], [`Operation::Accept`]
//!   and [`Operation::Close`] finish within the [`Ring::enter`] that takes them: the kernel does
//!   what it can without waiting, and says so.
//! - [`Operation::Send`] completes only if it did not send everything. Once [`Ring::is_settled`]
//!   and no completion is left, the memory of every such send is free again.
//! - [`Operation::Poll`] completes once and is then disarmed.
//! - [`Operation::PollOn`] completes once or more for what arrives behind its last completion,
//!   perhaps when that is received already, and not again for what was there, unless a send of the
//!   connection is armed meanwhile. A receive that took
//!   less than it had room for, or found nothing, has emptied the socket unless it says that there
//!   is more: whatever arrives behind it is told of, and that completion comes behind the
//!   receive's. Only an end by a reset may be there in silence; the completion before has told of
//!   it.
//! - A slot, or a listener, is not closed while a poll or a send of it is armed: unpoll or cancel
//!   first. With io_uring it would live until that is done.
//! - [`Operation::FinishWrites`] takes effect when completions are taken, before the next enter.
//! - A listener that is opened later is as those that were there from the start, whatever was
//!   closed that was called as it is.
//! - A completion may come late, for a slot that has been given to another connection: it carries
//!   the generation that the operation was pushed with.

mod area;
mod completion;
mod driver;
mod epoll;
mod errno;
mod lines;
mod listening;
mod locked_memory;
mod open_files;
mod operation;
mod passed;
mod peer;
mod ring_error;
mod setup;
mod slot_set;
mod socket_lock;
mod unacknowledged;
mod uring;
mod waker;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

pub use area::{AreaName, AreaSizes, Memory, Span};
pub use completion::Completion;
pub use driver::Driver;
pub use epoll::Epoll;
pub use errno::Errno;
pub(crate) use lines::{RingSizes, lines};
pub use lines::{SOCKET_BYTES, idle_bytes};
pub use listening::{ListeningSocket, Sharing, SocketFile, SocketTerms, TcpTerms};
pub use locked_memory::{LockedMemory, Locking};
pub use open_files::{open_files, raise_open_files};
pub use operation::Operation;
pub use passed::take_passed;
pub use peer::{Peer, PeerFilter};
pub use ring_error::{ALLOWED_BY_SYSCTL, ALLOWED_IN_CONTAINERS, MINIMUM_KERNEL, RingError};
pub use setup::Setup;
pub use slot_set::SlotSet;
pub use socket_lock::SocketLock;
use unacknowledged::unacknowledged;
pub use uring::{Uring, probe as probe_io_uring};
pub use waker::Waker;

/// The bytes in front of each receive buffer that the kernel leaves alone: room for the headers of
/// an answer that is sent from where its payload was received, of a frame and of what may carry it.
pub const HEADROOM: usize = 32;

/// The bytes behind each receive buffer that the kernel leaves alone, for what such an answer ends
/// with.
pub const TAILROOM: usize = 32;

/// The bytes from one receive buffer to the next, for buffers of `size` bytes: with the room around
/// it, and in whole cache lines.
#[must_use]
pub const fn buffer_stride(size: usize) -> usize {
    (HEADROOM + size + TAILROOM).next_multiple_of(64)
}

/// Accepts that may be in flight: pushed, and their completion not yet taken.
pub const ACCEPT_BATCH: usize = 16;

/// A connection's place: index in the slab and, with io_uring, its direct descriptor; 24 bits.
pub type Slot = u32;

/// The mask of a [`Slot`].
pub const SLOT_MASK: u32 = (1 << 24) - 1;

/// Which connection of a slot, counted up whenever the slot is given away; 28 bits.
pub type Generation = u32;

/// The mask of a [`Generation`].
pub const GENERATION_MASK: u32 = (1 << 28) - 1;

/// A connection that something was asked for, or is told of: it may have ended meanwhile, and its
/// slot be another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRef {
    /// Its place.
    pub slot: Slot,
    /// Which of those that had the place.
    pub generation: Generation,
}

/// What a listener is called: its place in [`Setup::listeners`], or what it was given when it was
/// opened later ([`Ring::open_listener`]).
pub type ListenerId = u32;

/// The number of a receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferId(pub u16);

/// What a shard asks of a kernel.
pub trait Ring {
    /// Queues an operation for the next [`Ring::enter`].
    fn push(&mut self, operation: Operation);

    /// How many more operations fit before the queue has to be entered. Pushing more is not lost,
    /// but it is not what a shard does.
    fn room(&self) -> usize;

    /// Lends a receive buffer to the kernel. It comes back with a completion.
    fn provide(&mut self, buffer: BufferId);

    /// Hands all queued operations over, and waits up to `wait` for a completion if there is none.
    ///
    /// `memory` is borrowed whole: the kernel reads and writes it only in here.
    ///
    /// # Errors
    /// The ring is beyond use. A kernel that takes only part of the queue, or none for lack of
    /// memory, is no error: see [`Ring::is_settled`].
    fn enter(&mut self, memory: &mut Memory, wait: Duration) -> io::Result<()>;

    /// The next completion that has arrived.
    fn completion(&mut self) -> Option<Completion>;

    /// Whether the kernel has taken everything that was pushed and holds no completion back.
    fn is_settled(&mut self) -> bool;

    /// Takes a socket to accept from, as the listener that is called so: none has the name, or the
    /// one that had it was closed. It may not listen yet, and is not polled.
    ///
    /// # Errors
    /// The kernel cannot watch it.
    fn open_listener(&mut self, listener: ListenerId, socket: ListeningSocket) -> io::Result<()>;

    /// The socket of a listener, if it is there and not closed.
    fn listener(&self, listener: ListenerId) -> Option<&ListeningSocket>;

    /// Accepts one connection as an ordinary descriptor, to be given away, without waiting.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is none, [`io::ErrorKind::Unsupported`] if the ring
    /// cannot do that; all else as of accept(2).
    fn accept_aside(&mut self, listener: ListenerId) -> io::Result<(OwnedFd, Peer)>;

    /// Puts sockets that were made elsewhere into the slots from `first` on, which are free; with
    /// io_uring they go on as direct descriptors, and cost no ordinary one from here on. What was
    /// pushed before is handed over first: the close of a slot's last connection may be among it.
    ///
    /// # Errors
    /// The kernel refused: a slot is beyond the table, it has no memory, or it did not take what
    /// was pushed before. Some of the sockets may have been taken.
    fn adopt(&mut self, memory: &mut Memory, first: Slot, sockets: Vec<OwnedFd>) -> io::Result<()>;

    /// Time since some fixed moment, the same for all shards of a process, which share numbers that
    /// are made of it; never goes back.
    fn now(&self) -> Duration;

    /// Time since 1970-01-01 by the wall clock. It may be set at any moment, so it is only for what
    /// is told to people, and only asked for then: what is kept is by [`Ring::now`].
    fn calendar(&self) -> Duration;
}

/// What both kinds of rings say by [`Ring::now`].
fn since_begun() -> Duration {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGUN.elapsed()
}
