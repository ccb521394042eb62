//! io_uring as a [`Ring`].

mod aside;
mod buffers;
mod building;
mod entries;
mod peer_names;
mod plain_accepts;
mod probe;
mod token;

use std::collections::VecDeque;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use io_uring::types::{Fd, Fixed, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};

use super::area::{Claim, KERNEL_AREAS};
use super::{
    ACCEPT_BATCH, BufferId, Completion, Errno, Generation, ListenerId, ListeningSocket, Memory,
    Operation, Peer, Ring, RingError, Setup, Slot, Waker,
};
use aside::{finish_writes, unacknowledged};
use buffers::ProvidedBuffers;
use building::{build, wait_flags};
use peer_names::PeerNames;
use plain_accepts::PlainAccepts;
use probe::Accepts;
use token::{OperationKind, Token};

/// Waits of about a tick are ended by one timer that stays armed from each to the next. A wait with
/// a time limit of its own starts and cancels a timer of the kernel's each time, which is what a
/// shard under light load would do for each message.
const TIMED_WAITS: RangeInclusive<Duration> =
    Duration::from_millis(20)..=Duration::from_millis(500);

/// How much later than asked the timer may end a wait.
const TIMER_SLACK: Duration = Duration::from_millis(1);

/// What a poll says of a peer that has ended or failed.
const END_EVENTS: u32 = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as u32;

/// A ring of this thread.
///
/// The kernel touches shared memory only while this thread is inside `enter`: with
/// `DEFER_TASKRUN` it does its deferred work there, and no operation here goes to a kernel worker.
pub struct Uring {
    // Dropped first, and with it its descriptor: the kernel then cancels what is armed, in its own
    // time. Armed are only polls, which use no memory of ours, and sends, which read theirs when
    // this thread enters, and so never again: nothing in flight can write to the memory below.
    ring: IoUring,
    provided: ProvidedBuffers,
    claims: [Claim; KERNEL_AREAS],
    peers: PeerNames,
    buffer_size: usize,
    /// `None`: closed.
    listeners: Vec<Option<ListeningSocket>>,
    /// Kept until what was pushed for them before is submitted.
    closed_listeners: Vec<ListeningSocket>,
    accepts: Accepts,
    plain_accepts: PlainAccepts,
    /// Connections whose sockets do not tell by the ring what is unacknowledged: they are asked
    /// beside it, with the next enter.
    asked_aside: Vec<(Slot, Generation)>,
    /// What was not told by the ring and is not taken yet.
    told: VecDeque<Completion>,
    waker: Waker,
    /// The waker was used and has to be armed again, with the next enter: an entry that was queued
    /// while completions are taken would keep what was sent before from being settled.
    rearm_waker: bool,
    /// What was pushed while the submission queue was full; in order, before anything newer.
    waiting: VecDeque<squeue::Entry>,
    /// When the armed timer ends a wait, if there is one.
    timer: Option<Duration>,
    /// Where the kernel reads how long that is, when it takes the operation.
    timer_length: Box<Timespec>,
    wait_flags: EnterFlags,
}

/// `struct io_uring_getevents_arg` (io_uring_enter(2)).
#[repr(C)]
struct WaitArgument {
    signal_mask: u64,
    signal_mask_size: u32,
    min_wait_us: u32,
    timeout: u64,
}

impl Uring {
    /// Sets the ring up; call it on the shard's own thread (`SINGLE_ISSUER`).
    ///
    /// # Errors
    /// What the kernel refused, and what to do about it.
    pub fn new(setup: Setup<'_>) -> Result<Self, RingError> {
        let ring = build(setup.submissions, setup.completions)?;
        let accepts = probe::check(&ring)?;
        Self::of(ring, accepts, setup)
    }

    /// The same as on a kernel before 6.10, to try what is done there.
    ///
    /// # Errors
    /// What the kernel refused, and what to do about it.
    pub fn with_plain_accepts(setup: Setup<'_>) -> Result<Self, RingError> {
        let ring = build(setup.submissions, setup.completions)?;
        probe::check(&ring)?;
        Self::of(ring, Accepts::Plain, setup)
    }

    fn of(ring: IoUring, accepts: Accepts, setup: Setup<'_>) -> Result<Self, RingError> {
        ring.submitter()
            .register_files_sparse(setup.connections)
            .map_err(|error| RingError::of_descriptors(error, setup.connections))?;
        let memory = setup.memory;
        let [receive, ..] = memory.claims();
        let provided = ProvidedBuffers::register(&ring, receive, setup.buffers, setup.buffer_size)
            .map_err(RingError::of_buffers)?;
        let no_iowait = ring.params().is_feature_no_iowait();
        for listener in &setup.listeners {
            // So that an accept beside the ring cannot wait either.
            listener
                .set_nonblocking(true)
                .map_err(|error| RingError::Other("preparing a listener", error))?;
        }
        Ok(Self {
            ring,
            provided,
            claims: memory.claims(),
            peers: PeerNames::new(),
            buffer_size: setup.buffer_size,
            listeners: setup.listeners.into_iter().map(Some).collect(),
            closed_listeners: Vec::new(),
            accepts,
            plain_accepts: PlainAccepts::new(),
            asked_aside: Vec::new(),
            told: VecDeque::with_capacity(ACCEPT_BATCH),
            waker: setup.waker,
            rearm_waker: true,
            waiting: VecDeque::new(),
            timer: None,
            timer_length: Box::default(),
            wait_flags: wait_flags(no_iowait),
        })
    }

    fn arm_waker(&mut self) {
        let poll =
            opcode::PollAdd::new(Fd(self.waker.descriptor().as_raw_fd()), libc::POLLIN as u32);
        self.queue(poll.build(), Token::new(OperationKind::Wake, 0, 0));
    }

    /// The time limit that a wait needs of its own: none if the armed timer ends it in time, which
    /// may well be earlier.
    fn limit(&mut self, wait: Duration) -> Option<Duration> {
        let until = self.now() + wait;
        match self.timer {
            Some(fires) if fires <= until + TIMER_SLACK => None,
            None if TIMED_WAITS.contains(&wait) => {
                self.arm_timer(wait);
                self.timer = Some(until);
                None
            }
            _ => Some(wait),
        }
    }

    fn arm_timer(&mut self, length: Duration) {
        *self.timer_length = Timespec::from(length);
        let timer = opcode::Timeout::new(&raw const *self.timer_length);
        self.queue(timer.build(), Token::new(OperationKind::Timer, 0, 0));
    }

    /// Asks for a descriptor of each connection that is to be asked about beside the ring.
    fn ask_aside(&mut self) {
        for (slot, generation) in std::mem::take(&mut self.asked_aside) {
            let install = opcode::FixedFdInstall::new(Fixed(slot), 0).build();
            self.queue(install, Token::new(OperationKind::AskAside, generation, slot));
        }
    }

    /// Whether the kernel has taken everything that was pushed.
    fn is_taken(&mut self) -> bool {
        self.waiting.is_empty() && self.ring.submission().is_empty()
    }

    fn queue(&mut self, entry: squeue::Entry, token: Token) {
        let entry = entry.user_data(token.encode());
        // SAFETY: the addresses in `entry` were made by `address`, which checks them, from claims
        // that outlive the ring; `provide`d buffers and `peers` likewise. What they point at is
        // touched by the kernel only during an enter, which borrows it.
        let pushed =
            self.waiting.is_empty() && unsafe { self.ring.submission().push(&entry).is_ok() };
        if !pushed {
            self.waiting.push_back(entry);
        }
    }

    /// Moves what waits for room into the queue.
    fn refill(&mut self) {
        let mut queue = self.ring.submission();
        while let Some(entry) = self.waiting.front() {
            // SAFETY: as in `queue`.
            if unsafe { queue.push(entry).is_err() } {
                return;
            }
            self.waiting.pop_front();
        }
    }

    /// Submits once, and waits if `wanted`; `true` if something was left behind that another try
    /// may take.
    fn enter_once(&mut self, wanted: bool, limit: Option<Duration>) -> io::Result<bool> {
        self.refill();
        let queued = self.ring.submission().len();
        let submitter = self.ring.submitter();
        let (count, wanted) = (queued as u32, u32::from(wanted));
        let entered = match limit {
            // SAFETY: without an argument there is nothing to be valid.
            None => unsafe {
                submitter.enter::<WaitArgument>(count, wanted, self.wait_flags.bits(), None)
            },
            Some(limit) => {
                let timespec = Timespec::from(limit);
                let argument = WaitArgument {
                    signal_mask: 0,
                    signal_mask_size: 0,
                    min_wait_us: 0,
                    timeout: &raw const timespec as u64,
                };
                let flags = self.wait_flags | EnterFlags::EXT_ARG;
                // SAFETY: the argument and its timespec live until the call returns, and the flags
                // say that it is an argument of this layout.
                unsafe { submitter.enter(count, wanted, flags.bits(), Some(&argument)) }
            }
        };
        match entered {
            Ok(taken) => Ok(taken > 0 && (taken < queued || !self.waiting.is_empty())),
            Err(error) => match error.raw_os_error() {
                // Nothing came in time, a signal came instead, or the kernel has no memory or no
                // room for completions just now: what is queued stays queued.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// Translates one entry; `None` for what no shard needs to know.
    fn translate(&mut self, entry: &cqueue::Entry) -> Option<Completion> {
        let Token { kind, number, slot } = Token::decode(entry.user_data())?;
        let result = Errno::check(entry.result());
        let more = cqueue::sock_nonempty(entry.flags());
        match kind {
            // A poll that failed for want of memory is answered by a receive, which knows better.
            OperationKind::Poll if result == Err(Errno::CANCELED) => None,
            OperationKind::Poll => Some(Completion::Readable {
                slot,
                generation: number,
                armed: cqueue::more(entry.flags()),
                ended: result.is_ok_and(|events| events & END_EVENTS != 0),
            }),
            OperationKind::Receive => {
                let buffer = cqueue::buffer_select(entry.flags()).map(BufferId);
                Some(Completion::Received { slot, generation: number, buffer, result, more })
            }
            OperationKind::ReceiveInto => {
                Some(Completion::ReceivedInto { slot, generation: number, result, more })
            }
            OperationKind::Send => {
                Some(Completion::SendFellShort { slot, batch_index: number, result })
            }
            OperationKind::SendArmed => Some(Completion::Sent { slot, generation: number, result }),
            OperationKind::PollListener if result == Err(Errno::CANCELED) => None,
            OperationKind::PollListener => Some(Completion::ListenerReady { listener: slot }),
            OperationKind::Accept => {
                let (into, peer) = self.peers.take(number);
                let result = result.map(|_| peer);
                Some(Completion::Accepted { listener: slot, slot: into, result })
            }
            OperationKind::Unacknowledged if result == Err(Errno::UNSUPPORTED) => {
                self.asked_aside.push((slot, number));
                None
            }
            OperationKind::AskAside => {
                let result = result.and_then(unacknowledged);
                Some(Completion::Unacknowledged { slot, generation: number, result })
            }
            OperationKind::Unacknowledged => {
                Some(Completion::Unacknowledged { slot, generation: number, result })
            }
            OperationKind::FinishWrites => {
                finish_writes(result);
                None
            }
            OperationKind::Wake => {
                self.waker.clear();
                self.rearm_waker = true;
                Some(Completion::Woken)
            }
            OperationKind::Timer => {
                self.timer = None;
                None
            }
            // Only failures come here: what was to be removed, cancelled or closed is gone.
            OperationKind::Unpoll
            | OperationKind::UnpollListener
            | OperationKind::CancelSend
            | OperationKind::Close => None,
        }
    }
}

impl Ring for Uring {
    fn push(&mut self, operation: Operation) {
        if let Some((entry, token)) = self.entry(operation) {
            self.queue(entry, token);
        }
    }

    fn room(&self) -> usize {
        if !self.waiting.is_empty() {
            return 0;
        }
        // SAFETY: `Uring` is not `Sync` and no other `SubmissionQueue` is alive: each one
        // lives for a statement.
        let queue = unsafe { self.ring.submission_shared() };
        queue.capacity() - queue.len()
    }

    fn provide(&mut self, buffer: BufferId) {
        self.provided.provide(buffer, self.buffer_size);
    }

    fn enter(&mut self, _memory: &mut Memory, wait: Duration) -> io::Result<()> {
        self.provided.publish();
        self.ask_aside();
        if std::mem::take(&mut self.rearm_waker) {
            self.arm_waker();
        }
        let is_quiet = self.told.is_empty() && self.ring.completion().is_empty();
        let mut waits = !wait.is_zero() && is_quiet && self.plain_accepts.is_empty();
        let mut limit = if waits { self.limit(wait) } else { None };
        // More than one round only after a partial take; each round takes at least one.
        while self.enter_once(std::mem::take(&mut waits), limit.take())? {}
        if self.is_taken() {
            self.closed_listeners.clear();
            self.told.extend(self.plain_accepts.settle(&self.ring));
        }
        Ok(())
    }

    fn completion(&mut self) -> Option<Completion> {
        if let Some(told) = self.told.pop_front() {
            return Some(told);
        }
        loop {
            let entry = self.ring.completion().next()?;
            if let Some(completion) = self.translate(&entry) {
                return Some(completion);
            }
        }
    }

    fn is_settled(&mut self) -> bool {
        self.is_taken() && !self.ring.submission().cq_overflow()
    }

    fn open_listener(&mut self, listener: ListenerId, socket: ListeningSocket) -> io::Result<()> {
        // So that an accept beside the ring cannot wait either.
        socket.set_nonblocking(true)?;
        let place = listener as usize;
        self.listeners.resize_with(self.listeners.len().max(place + 1), || None);
        debug_assert!(self.listeners[place].is_none(), "listener {place} is there");
        self.listeners[place] = Some(socket);
        Ok(())
    }

    fn listener(&self, listener: ListenerId) -> Option<&ListeningSocket> {
        self.listeners.get(listener as usize)?.as_ref()
    }

    fn accept_aside(&mut self, listener: ListenerId) -> io::Result<(OwnedFd, Peer)> {
        let closed = || io::Error::from(io::ErrorKind::WouldBlock);
        self.listener(listener).ok_or_else(closed)?.accept()
    }

    fn adopt(&mut self, memory: &mut Memory, first: Slot, sockets: Vec<OwnedFd>) -> io::Result<()> {
        if !self.is_taken() {
            self.enter(memory, Duration::ZERO)?;
        }
        if !self.is_taken() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let descriptors: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        let taken = self.ring.submitter().register_files_update(first, &descriptors)?;
        if taken == sockets.len() { Ok(()) } else { Err(io::ErrorKind::OutOfMemory.into()) }
    }

    fn now(&self) -> Duration {
        super::since_begun()
    }

    fn calendar(&self) -> Duration {
        // A clock that stands before 1970 is not set at all.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// Whether a ring of this process could carry a shard, but for its size: sets a small one up.
///
/// # Errors
/// Why not, and what to do about it.
pub fn probe() -> Result<(), RingError> {
    const ENTRIES: u32 = 8;
    let ring = build(ENTRIES, 2 * ENTRIES)?;
    probe::check(&ring)?;
    let table = ring.submitter().register_files_sparse(ENTRIES);
    table.map_err(|error| RingError::of_descriptors(error, ENTRIES))
}
