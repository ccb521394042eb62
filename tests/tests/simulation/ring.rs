//! The simulated kernel's side of each operation: [`Ring`] over a [`World`].

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use tidegate::kernel::{
    AreaName, BufferId, Completion, Errno, Generation, ListeningSocket, Memory, Operation, Peer,
    Ring, Slot,
};

use crate::several::Meanwhile;
use crate::watch::{self, Queued, buffer_at};
use crate::world::{ArmedPoll, ArmedSend, World};

const OUT_OF_MEMORY: Errno = Errno(12);
const BROKEN_PIPE: Errno = Errno(32);
const RESET: Errno = Errno(104);
const TIMED_OUT: Errno = Errno(110);
/// EINTR, ENOMEM, ENFILE, EMFILE, EPROTO, ECONNABORTED.
const ACCEPT_ERRORS: [Errno; 6] =
    [Errno(4), OUT_OF_MEMORY, Errno(23), Errno(24), Errno(71), Errno(103)];

/// The shard's end of a [`World`].
pub struct SimRing {
    pub world: Rc<RefCell<World>>,
    pub meanwhile: Meanwhile,
}

impl Ring for SimRing {
    fn push(&mut self, operation: Operation) {
        let mut world = self.world.borrow_mut();
        world.watch.pushed(&operation);
        world.queue.push_back(Queued { operation, bytes: None });
    }

    fn room(&self) -> usize {
        let world = self.world.borrow();
        world.chances.submissions.saturating_sub(world.queue.len())
    }

    fn provide(&mut self, buffer: BufferId) {
        let mut world = self.world.borrow_mut();
        assert!(!world.lent.contains(&buffer), "{buffer:?} is lent twice");
        world.lent.push_back(buffer);
        world.watch.lent(buffer);
    }

    fn enter(&mut self, memory: &mut Memory, wait: Duration) -> io::Result<()> {
        self.world.borrow_mut().enter(memory, wait);
        while self.world.borrow().sleeps() {
            self.meanwhile.pass();
            self.world.borrow_mut().doze(memory);
        }
        self.world.borrow_mut().leave();
        Ok(())
    }

    fn completion(&mut self) -> Option<Completion> {
        let mut world = self.world.borrow_mut();
        let completion = world.take_completion()?;
        world.watch.completed(&completion);
        Some(completion)
    }

    fn is_settled(&mut self) -> bool {
        let mut world = self.world.borrow_mut();
        let is_settled = world.queue.is_empty() && world.overflowed.is_empty();
        if is_settled && world.visible.is_empty() {
            world.watch.settled();
        }
        is_settled
    }

    fn open_listener(&mut self, _: u32, _: ListeningSocket) -> io::Result<()> {
        // A socket of a world is there as soon as it is polled.
        Ok(())
    }

    fn listener(&self, _: u32) -> Option<&ListeningSocket> {
        None
    }

    fn accept_aside(&mut self, _listener: u32) -> io::Result<(OwnedFd, Peer)> {
        // A socket of a world stays there.
        Err(io::ErrorKind::Unsupported.into())
    }

    fn adopt(&mut self, _: &mut Memory, _: Slot, _: Vec<OwnedFd>) -> io::Result<()> {
        unreachable!("nothing is given away here")
    }

    fn now(&self) -> Duration {
        self.world.borrow().now
    }

    fn calendar(&self) -> Duration {
        let world = self.world.borrow();
        *world.calendars.last().expect("one at least") + world.now
    }
}

impl World {
    /// Takes what is queued, or part of it, or nothing.
    pub fn submit(&mut self, memory: &mut Memory) {
        if self.chance(|chances| chances.take_nothing) {
            return;
        }
        let mut count = self.queue.len();
        if count > 0 && self.chance(|chances| chances.take_part) {
            count = self.random.between(0, count);
        }
        for _ in 0..count {
            let queued = self.queue.pop_front().expect("counted");
            self.note(queued.operation);
            self.execute(queued, memory);
        }
    }

    fn execute(&mut self, queued: Queued, memory: &mut Memory) {
        match queued.operation {
            Operation::Poll { slot, generation } => self.poll(slot, generation, false),
            Operation::PollOn { slot, generation } => self.poll(slot, generation, true),
            Operation::Unpoll { slot, generation } => {
                let socket = self.socket(slot).expect("unpolled a slot without a connection");
                socket.poll.take_if(|armed| armed.generation == generation);
            }
            Operation::Receive { slot, generation } => self.receive(slot, generation, memory),
            Operation::ReceiveInto { slot, generation, span } => {
                let buffer = buffer_at(span, self.buffer_size);
                let is_lent = buffer.is_some_and(|buffer| self.lent.contains(&buffer));
                assert!(!is_lent, "{span:?} is lent to whoever receives next");
                let (result, more) = self.take_inbound(slot, span.range().len(), |bytes| {
                    memory.bytes_mut(span)[..bytes.len()].copy_from_slice(bytes);
                });
                self.complete(Completion::ReceivedInto { slot, generation, result, more });
            }
            Operation::Send { slot, batch_index, span } => {
                let bytes = memory.bytes(span);
                assert!(queued.bytes.as_deref() == Some(bytes), "a queued send's bytes changed");
                let result = self.send(slot, bytes);
                if result != Ok(span.length) {
                    self.complete(Completion::SendFellShort { slot, batch_index, result });
                }
            }
            Operation::SendArmed { slot, generation, span } => {
                let bytes = queued.bytes.expect("seen when it was queued");
                let socket = self.socket(slot).expect("sent to a slot without a connection");
                assert!(socket.send.is_none(), "two armed sends in slot {slot}");
                socket.send = Some(ArmedSend { generation, span, bytes });
                self.try_armed_send(slot, memory);
            }
            Operation::CancelSend { slot, generation } => self.cancel_send(slot, generation),
            Operation::FinishWrites { slot, .. } => self.finish_writes(slot),
            Operation::Close { slot } => self.close(slot),
            Operation::PollListener { listener } => {
                let waiting = &mut self.waiting[listener as usize];
                assert!(!waiting.is_polled, "the listener is polled twice");
                waiting.is_open |= !waiting.is_polled && !waiting.is_known;
                (waiting.is_polled, waiting.is_known) = (true, true);
            }
            Operation::UnpollListener { listener } => {
                self.waiting[listener as usize].is_polled = false;
            }
            Operation::CloseListener { listener } => self.close_listener(listener),
            Operation::Accept { listener, slot } => self.accept(listener, slot),
            Operation::AskUnacknowledged { slot, generation } => {
                let fails = self.chance(|chances| chances.no_answer);
                let result = match self.socket(slot) {
                    Some(socket) if !fails => Ok(socket.outbound.len() as u32),
                    _ => Err(BROKEN_PIPE),
                };
                self.complete(Completion::Unacknowledged { slot, generation, result });
            }
        }
    }

    fn poll(&mut self, slot: Slot, generation: Generation, stays: bool) {
        let socket = self.socket(slot).expect("polled a slot without a connection");
        assert!(socket.poll.is_none(), "slot {slot} is polled twice");
        // What is there already counts as news.
        socket.poll = Some(ArmedPoll { generation, stays, is_news: true });
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
        let size = self.buffer_size;
        watch::check_untouched(lent, memory, size);
        let start = watch::start_of(lent, size);
        let (result, more) = self.take_inbound(slot, size, |bytes| {
            memory.area_mut(AreaName::Receive)[start..start + bytes.len()].copy_from_slice(bytes);
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
        let breaks = self.chance(|chances| chances.broken_operation);
        let draw = self.random.bits() as usize;
        let socket = self.socket(slot).expect("received from a slot without a connection");
        if socket.broken {
            return (Err(RESET), false);
        }
        if breaks {
            self.harm(slot);
            return (Err(if draw.is_multiple_of(2) { OUT_OF_MEMORY } else { TIMED_OUT }), false);
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
        if is_wrong {
            // Then the rest came behind the receive, and is told of.
            socket.has_news();
        }
        (Ok(count as u32), socket.inbound.is_empty() == is_wrong)
    }

    /// Sends what fits.
    fn send(&mut self, slot: Slot, bytes: &[u8]) -> Result<u32, Errno> {
        assert!(!bytes.is_empty(), "an empty send");
        let is_short = self.chance(|chances| chances.short_send);
        let breaks = self.chance(|chances| chances.broken_operation);
        let draw = self.random.bits() as usize;
        let buffer = self.chances.send_buffer;
        let now = self.now;
        let socket = self.socket(slot).expect("sent to a slot without a connection");
        assert!(!socket.finished_writing, "sent after finishing to write");
        if socket.broken {
            return Err(BROKEN_PIPE);
        }
        if breaks {
            self.harm(slot);
            return Err(OUT_OF_MEMORY);
        }
        let mut count = bytes.len().min(buffer.saturating_sub(socket.outbound.len()));
        if is_short && count > 0 {
            count = draw % count;
        }
        if count == 0 {
            return Err(Errno::AGAIN);
        }
        socket.outbound.extend(&bytes[..count]);
        if !socket.is_over_tls() {
            socket.answered_at.get_or_insert(now);
        }
        socket.sent += count as u64;
        Ok(count as u32)
    }

    /// Goes on with an armed send, if there is one and there is room.
    pub fn try_armed_send(&mut self, slot: Slot, memory: &Memory) {
        let Some(armed) = self.socket(slot).and_then(|socket| socket.send.take()) else { return };
        let bytes = memory.bytes(armed.span);
        assert!(bytes == armed.bytes, "the bytes of an armed send changed in slot {slot}");
        let result = self.send(slot, bytes);
        if result == Err(Errno::AGAIN) {
            self.socket(slot).expect("just sent to").send = Some(armed);
            return;
        }
        self.complete(Completion::Sent { slot, generation: armed.generation, result });
    }

    fn cancel_send(&mut self, slot: Slot, generation: Generation) {
        let loses = self.chance(|chances| chances.lose_cancel);
        let socket = self.socket(slot).expect("cancelled in a slot without a connection");
        if loses {
            // The send is being worked on; it completes a little later.
            socket.cancelled = true;
        } else if socket.send.take_if(|armed| armed.generation == generation).is_some() {
            let result = Err(Errno::CANCELED);
            self.complete(Completion::Sent { slot, generation, result });
        }
    }

    fn accept(&mut self, listener: u32, slot: Slot) {
        assert!(self.slots[slot as usize].is_none(), "accepted into a slot that is taken");
        let result = if self.chance(|chances| chances.accept_error) {
            Err(self.random.pick(&ACCEPT_ERRORS))
        } else if let Some(socket) = self.waiting[listener as usize].to_accept.pop_front() {
            self.slots[slot as usize] = Some(socket);
            self.sockets[socket].slot = Some(slot);
            self.sockets[socket].accepted_at = Some(self.now);
            Ok(self.socket_address(socket).into())
        } else {
            Err(Errno::AGAIN)
        };
        self.complete(Completion::Accepted { listener, slot, result });
    }
}
