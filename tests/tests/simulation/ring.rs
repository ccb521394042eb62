//! A kernel out of thin air: [`Ring`] over sockets that are queues, with every freedom that the
//! real one takes, drawn from one seed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tidegate::uring::{
    AreaName, BufferId, Completion, Errno, Generation, HEADROOM, Memory, Operation, Ring, Slot,
    Span, buffer_stride,
};

use crate::peer::{Action, Peer};
use crate::random::Random;

const RESET: Errno = Errno(104);
const BROKEN_PIPE: Errno = Errno(32);
const ABORTED: Errno = Errno(103);

/// How often, per mille, the kernel takes a freedom; drawn anew for each run, so that runs differ in
/// kind.
#[derive(Debug)]
pub struct Chances {
    take_part: u32,
    take_nothing: u32,
    short_receive: u32,
    short_send: u32,
    spurious_poll: u32,
    no_buffers: u32,
    reorder: u32,
    late: u32,
    accept_error: u32,
    lose_cancel: u32,
    buffer_at_end: u32,
    clock_jump: u32,
    more_is_wrong: u32,
    /// Completions that are visible at once.
    completions: usize,
    /// Operations that the queue holds.
    submissions: usize,
    /// The send buffer of a socket, in bytes.
    send_buffer: usize,
}

impl Chances {
    fn draw(random: &mut Random) -> Self {
        let mut often = || random.pick(&[0, 0, 20, 200, 700]);
        Self {
            take_part: often(),
            take_nothing: often() / 4,
            short_receive: often(),
            short_send: often(),
            spurious_poll: often() / 4,
            no_buffers: often() / 4,
            reorder: often(),
            late: often(),
            accept_error: often(),
            lose_cancel: often(),
            buffer_at_end: often(),
            clock_jump: often() / 10,
            more_is_wrong: often(),
            completions: random.pick(&[8, 64, 4096]),
            submissions: random.pick(&[300, 4096]),
            send_buffer: random.pick(&[1, 100, 3000, 100_000]),
        }
    }
}

/// One connection, both ends.
#[derive(Default)]
struct Socket {
    /// What the peer has said and the server has not received.
    inbound: VecDeque<u8>,
    peer_ended: bool,
    /// The peer has reset.
    broken: bool,
    /// What the server has sent and the peer has not read.
    outbound: VecDeque<u8>,
    /// The server has ended its side, or closed.
    server_ended: bool,
    server_closed: bool,
    poll: Option<Generation>,
    /// The armed send.
    send: Option<(Generation, Span)>,
    /// A cancel of the armed send came too late to take effect at once.
    cancelled: bool,
    slot: Option<Slot>,
}

/// Everything outside of the shard.
pub struct World {
    pub random: Random,
    chances: Chances,
    now: Duration,
    sockets: Vec<Socket>,
    pub peers: Vec<Peer>,
    /// By slot.
    slots: Vec<Option<usize>>,
    to_accept: VecDeque<usize>,
    listener_polled: bool,
    queue: VecDeque<Operation>,
    lent: VecDeque<BufferId>,
    visible: VecDeque<Completion>,
    overflowed: VecDeque<Completion>,
    pub woken: bool,
    /// The faults injected that may cost a correct client its connection.
    pub disturbed: bool,
    buffer_size: usize,
    /// A hash of everything that happened.
    pub trace: u64,
}

/// What is written is hashed (FNV-1a).
struct Trace<'a>(&'a mut u64);

impl std::fmt::Write for Trace<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for byte in text.bytes() {
            *self.0 = (*self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        Ok(())
    }
}

/// The shard's end of a [`World`].
pub struct SimRing(pub Rc<RefCell<World>>);

impl World {
    pub fn new(seed: u64, slots: u32, buffer_size: usize) -> Self {
        let mut random = Random::new(seed);
        let chances = Chances::draw(&mut random);
        Self {
            // Through a tiny buffer nobody reads fast enough for the deadlines.
            disturbed: chances.send_buffer < 3000,
            chances,
            random,
            now: Duration::ZERO,
            sockets: Vec::new(),
            peers: Vec::new(),
            slots: vec![None; slots as usize],
            to_accept: VecDeque::new(),
            listener_polled: false,
            queue: VecDeque::new(),
            lent: VecDeque::new(),
            visible: VecDeque::new(),
            overflowed: VecDeque::new(),
            woken: false,
            buffer_size,
            trace: 0,
        }
    }

    /// Another client connects.
    pub fn connect(&mut self) {
        let peer = Peer::new(&mut self.random);
        self.peers.push(peer);
        self.sockets.push(Socket::default());
        self.to_accept.push_back(self.sockets.len() - 1);
    }

    /// Whether all clients have seen the end of their connections.
    pub fn is_quiet(&self) -> bool {
        let gone = |socket: &Socket| socket.server_closed || socket.broken;
        self.to_accept.is_empty() && self.sockets.iter().all(gone)
    }

    pub fn describe(&self) -> String {
        format!("{:?}, {} clients, at {:?}", self.chances, self.peers.len(), self.now)
    }

    fn note(&mut self, what: impl std::fmt::Debug) {
        // Writing into the hash cannot fail.
        let _ = write!(Trace(&mut self.trace), "{what:?}");
    }

    fn chance(&mut self, pick: impl Fn(&Chances) -> u32) -> bool {
        let per_mille = pick(&self.chances);
        self.random.chance(per_mille)
    }

    fn complete(&mut self, completion: Completion) {
        self.note(completion);
        if self.visible.len() < self.chances.completions && self.overflowed.is_empty() {
            self.visible.push_back(completion);
        } else {
            self.overflowed.push_back(completion);
        }
    }

    /// Takes what is queued, or part of it, or nothing.
    fn submit(&mut self, memory: &mut Memory) {
        if self.chance(|chances| chances.take_nothing) {
            return;
        }
        let mut count = self.queue.len();
        if count > 0 && self.chance(|chances| chances.take_part) {
            count = self.random.between(0, count);
        }
        for _ in 0..count {
            let operation = self.queue.pop_front().expect("counted");
            self.note(operation);
            self.execute(operation, memory);
        }
    }

    fn execute(&mut self, operation: Operation, memory: &mut Memory) {
        match operation {
            Operation::Poll { slot, generation } => {
                let socket = self.socket(slot).expect("polled a slot without a connection");
                assert!(socket.poll.is_none(), "slot {slot} is polled twice");
                socket.poll = Some(generation);
            }
            Operation::Unpoll { slot, generation } => {
                let socket = self.socket(slot).expect("unpolled a slot without a connection");
                if socket.poll == Some(generation) {
                    socket.poll = None;
                }
            }
            Operation::Receive { slot, generation } => self.receive(slot, generation, memory),
            Operation::ReceiveInto { slot, generation, span } => {
                let (result, more) = self.take_inbound(slot, span.range().len(), |bytes| {
                    assert_eq!(span.area, AreaName::Blocks);
                    memory.blocks.bytes_mut()[span.range()][..bytes.len()].copy_from_slice(bytes);
                });
                self.complete(Completion::ReceivedInto { slot, generation, result, more });
            }
            Operation::Send { slot, batch_index, span } => {
                let result = self.send(slot, memory.bytes(span));
                if result != Ok(span.length) {
                    self.complete(Completion::SendFellShort { slot, batch_index, result });
                }
            }
            Operation::SendArmed { slot, generation, span } => {
                let socket = self.socket(slot).expect("sent to a slot without a connection");
                assert!(socket.send.is_none(), "two armed sends in slot {slot}");
                socket.send = Some((generation, span));
                self.try_armed_send(slot, memory);
            }
            Operation::CancelSend { slot, generation } => self.cancel_send(slot, generation),
            Operation::FinishWrites { slot, .. } => {
                if let Some(socket) = self.socket(slot) {
                    socket.server_ended = true;
                }
            }
            Operation::Close { slot } => self.close(slot),
            Operation::PollListener { .. } => {
                assert!(!self.listener_polled, "the listener is polled twice");
                self.listener_polled = true;
            }
            Operation::UnpollListener { .. } => self.listener_polled = false,
            Operation::CloseListener { .. } => {
                for socket in self.to_accept.drain(..) {
                    self.sockets[socket].server_closed = true;
                    self.sockets[socket].server_ended = true;
                }
            }
            Operation::Accept { listener, slot } => self.accept(listener, slot),
            Operation::AskUnacknowledged { slot, generation } => {
                let result = match self.socket(slot) {
                    Some(socket) => Ok(socket.outbound.len() as u32),
                    None => Err(BROKEN_PIPE),
                };
                self.complete(Completion::Unacknowledged { slot, generation, result });
            }
        }
    }

    fn socket(&mut self, slot: Slot) -> Option<&mut Socket> {
        self.slots[slot as usize].map(|socket| &mut self.sockets[socket])
    }

    fn receive(&mut self, slot: Slot, generation: Generation, memory: &mut Memory) {
        let starved = self.lent.is_empty() || self.chance(|chances| chances.no_buffers);
        if starved {
            let result = Err(Errno::NO_BUFFERS);
            self.complete(Completion::Received {
                slot,
                generation,
                buffer: None,
                result,
                more: false,
            });
            return;
        }
        let lent = self.lent[0];
        let start = usize::from(lent.0) * buffer_stride(self.buffer_size) + HEADROOM;
        let size = self.buffer_size;
        let (result, more) = self.take_inbound(slot, size, |bytes| {
            memory.receive.bytes_mut()[start..start + bytes.len()].copy_from_slice(bytes);
        });
        let takes = match result {
            Ok(1..) => true,
            Ok(0) => self.chance(|chances| chances.buffer_at_end),
            Err(_) => false,
        };
        let buffer = if takes { self.lent.pop_front() } else { None };
        self.complete(Completion::Received { slot, generation, buffer, result, more });
    }

    /// Receives up to `size` bytes.
    fn take_inbound(
        &mut self,
        slot: Slot,
        size: usize,
        write: impl FnOnce(&[u8]),
    ) -> (Result<u32, Errno>, bool) {
        let is_short = self.chance(|chances| chances.short_receive);
        let is_wrong = self.chance(|chances| chances.more_is_wrong);
        let draw = self.random.bits() as usize;
        let socket = self.socket(slot).expect("received from a slot without a connection");
        if socket.broken {
            return (Err(RESET), false);
        }
        let mut count = socket.inbound.len().min(size);
        if count == 0 {
            let result = if socket.peer_ended { Ok(0) } else { Err(Errno::AGAIN) };
            return (result, false);
        }
        if is_short {
            count = 1 + draw % count;
        }
        let bytes: Vec<u8> = socket.inbound.drain(..count).collect();
        write(&bytes);
        (Ok(count as u32), socket.inbound.is_empty() == is_wrong)
    }

    /// Sends what fits.
    fn send(&mut self, slot: Slot, bytes: &[u8]) -> Result<u32, Errno> {
        assert!(!bytes.is_empty(), "an empty send");
        let is_short = self.chance(|chances| chances.short_send);
        let draw = self.random.bits() as usize;
        let buffer = self.chances.send_buffer;
        let socket = self.socket(slot).expect("sent to a slot without a connection");
        assert!(!socket.server_ended, "sent after finishing to write");
        if socket.broken {
            return Err(BROKEN_PIPE);
        }
        let mut count = bytes.len().min(buffer.saturating_sub(socket.outbound.len()));
        if is_short && count > 0 {
            count = draw % count;
        }
        if count == 0 {
            return Err(Errno::AGAIN);
        }
        socket.outbound.extend(&bytes[..count]);
        Ok(count as u32)
    }

    fn try_armed_send(&mut self, slot: Slot, memory: &Memory) {
        let Some((generation, span)) = self.socket(slot).and_then(|socket| socket.send) else {
            return;
        };
        let result = self.send(slot, memory.bytes(span));
        if result == Err(Errno::AGAIN) {
            return;
        }
        self.socket(slot).expect("just sent to").send = None;
        self.complete(Completion::Sent { slot, generation, result });
    }

    fn cancel_send(&mut self, slot: Slot, generation: Generation) {
        if self.chance(|chances| chances.lose_cancel) {
            // The send is being worked on; it completes a little later.
            self.socket(slot).expect("cancelled in a slot without a connection").cancelled = true;
        } else {
            self.fail_armed_send(slot, generation, Errno::CANCELED);
        }
    }

    fn fail_armed_send(&mut self, slot: Slot, generation: Generation, error: Errno) {
        let socket = self.socket(slot).expect("cancelled in a slot without a connection");
        if socket.send.take_if(|(armed, _)| *armed == generation).is_some() {
            self.complete(Completion::Sent { slot, generation, result: Err(error) });
        }
    }

    fn close(&mut self, slot: Slot) {
        let socket = self.socket(slot).expect("closed a slot without a connection");
        assert!(socket.poll.is_none(), "slot {slot} is closed while its poll is armed");
        assert!(socket.send.is_none(), "slot {slot} is closed while its send is armed");
        socket.server_closed = true;
        socket.server_ended = true;
        socket.slot = None;
        self.slots[slot as usize] = None;
    }

    fn accept(&mut self, listener: u32, slot: Slot) {
        assert!(self.slots[slot as usize].is_none(), "accepted into a slot that is taken");
        let result = if self.chance(|chances| chances.accept_error) {
            Err(ABORTED)
        } else if let Some(socket) = self.to_accept.pop_front() {
            self.slots[slot as usize] = Some(socket);
            self.sockets[socket].slot = Some(slot);
            Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)))
        } else {
            Err(Errno::AGAIN)
        };
        self.complete(Completion::Accepted { listener, slot, result });
    }

    /// Clients act, polls fire, armed sends go on.
    fn live(&mut self, memory: &Memory) {
        for index in 0..self.sockets.len() {
            self.peer_acts(index);
            self.peer_reads(index);
            self.fire(index, memory);
        }
        if self.listener_polled && !self.to_accept.is_empty() && self.random.chance(500) {
            self.listener_polled = false;
            self.complete(Completion::ListenerReady { listener: 0 });
        }
        if std::mem::take(&mut self.woken) {
            self.complete(Completion::Woken);
        }
    }

    fn peer_acts(&mut self, index: usize) {
        let socket = &mut self.sockets[index];
        if socket.broken || socket.peer_ended {
            return;
        }
        let room = 20_000usize.saturating_sub(socket.inbound.len());
        match self.peers[index].act(&mut self.random, room) {
            Action::Nothing => {}
            Action::Say(bytes) => {
                if !socket.server_closed {
                    socket.inbound.extend(bytes);
                }
            }
            Action::End => socket.peer_ended = true,
            Action::Reset => {
                socket.broken = true;
                socket.inbound.clear();
                socket.outbound.clear();
                self.peers[index].saw_end = true;
            }
        }
    }

    fn peer_reads(&mut self, index: usize) {
        let socket = &mut self.sockets[index];
        let peer = &mut self.peers[index];
        if socket.broken || peer.saw_end || !peer.wants_to_read(&mut self.random) {
            return;
        }
        let count = self.random.below(socket.outbound.len() + 1);
        let bytes: Vec<u8> = socket.outbound.drain(..count).collect();
        peer.hear(&bytes);
        if socket.outbound.is_empty() && socket.server_ended {
            peer.ended(self.disturbed);
        }
    }

    fn fire(&mut self, index: usize, memory: &Memory) {
        let socket = &self.sockets[index];
        let (Some(slot), poll) = (socket.slot, socket.poll) else { return };
        let is_readable = !socket.inbound.is_empty() || socket.peer_ended || socket.broken;
        if let Some(generation) = poll {
            let fires = if is_readable {
                !self.chance(|chances| chances.late)
            } else {
                self.chance(|chances| chances.spurious_poll)
            };
            if fires {
                self.sockets[index].poll = None;
                self.complete(Completion::Readable { slot, generation });
            }
        }
        if self.sockets[index].cancelled && self.random.chance(300) {
            if let Some((generation, _)) = self.sockets[index].send {
                self.fail_armed_send(slot, generation, Errno::CANCELED);
            }
        } else if !self.chance(|chances| chances.late) {
            self.try_armed_send(slot, memory);
        }
    }

    /// Swaps neighbouring completions of different connections.
    fn reorder(&mut self) {
        for at in 1..self.visible.len() {
            let differ = slot_of(&self.visible[at - 1]) != slot_of(&self.visible[at]);
            if differ && self.chance(|chances| chances.reorder) {
                self.visible.swap(at - 1, at);
            }
        }
    }

    fn flush_overflow(&mut self) {
        while self.visible.len() < self.chances.completions {
            let Some(completion) = self.overflowed.pop_front() else { return };
            self.visible.push_back(completion);
        }
    }

    fn enter(&mut self, memory: &mut Memory, wait: Duration) {
        self.flush_overflow();
        self.submit(memory);
        self.live(memory);
        if self.chance(|chances| chances.clock_jump) {
            self.disturbed = true;
            self.now += Duration::from_secs(self.random.below(100) as u64);
        }
        let until = self.now + wait;
        // The longest sleeps of a shard without connections are seconds.
        let step = Duration::from_millis(5).max(wait / 100);
        while self.visible.is_empty() && self.now < until {
            self.now += step;
            self.live(memory);
        }
        self.now += Duration::from_micros(50);
        self.reorder();
    }
}

/// Which connection a completion is about: those of one stay in order.
fn slot_of(completion: &Completion) -> Option<Slot> {
    match *completion {
        Completion::Readable { slot, .. }
        | Completion::Received { slot, .. }
        | Completion::ReceivedInto { slot, .. }
        | Completion::SendFellShort { slot, .. }
        | Completion::Sent { slot, .. }
        | Completion::Unacknowledged { slot, .. }
        | Completion::Accepted { slot, .. } => Some(slot),
        Completion::ListenerReady { .. } | Completion::Woken => None,
    }
}

impl Ring for SimRing {
    fn push(&mut self, operation: Operation) {
        self.0.borrow_mut().queue.push_back(operation);
    }

    fn room(&self) -> usize {
        let world = self.0.borrow();
        world.chances.submissions.saturating_sub(world.queue.len())
    }

    fn provide(&mut self, buffer: BufferId) {
        let mut world = self.0.borrow_mut();
        assert!(!world.lent.contains(&buffer), "{buffer:?} is lent twice");
        world.lent.push_back(buffer);
    }

    fn enter(&mut self, memory: &mut Memory, wait: Duration) -> io::Result<()> {
        self.0.borrow_mut().enter(memory, wait);
        Ok(())
    }

    fn completion(&mut self) -> Option<Completion> {
        self.0.borrow_mut().visible.pop_front()
    }

    fn is_settled(&mut self) -> bool {
        let world = self.0.borrow();
        world.queue.is_empty() && world.overflowed.is_empty()
    }

    fn now(&self) -> Duration {
        self.0.borrow().now
    }
}
