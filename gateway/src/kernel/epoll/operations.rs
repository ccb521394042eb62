//! What is pushed, carried out by one system call each.

use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use super::Epoll;
use super::armed::ArmedSend;
use super::places::{PollMode, Receipt};
use crate::kernel::{
    AreaName, BufferId, Completion, Errno, Generation, HEADROOM, ListenerId, Memory, Operation,
    Peer, Slot, Span, buffer_stride, unacknowledged,
};

impl Epoll {
    /// Carries out all that was pushed, in that order.
    pub(super) fn carry_out(&mut self, memory: &mut Memory) {
        self.listeners.begin();
        let mut operations = std::mem::take(&mut self.operations);
        for operation in operations.drain(..) {
            let completion = self.complete(operation, memory);
            self.completions.extend(completion);
        }
        self.operations = operations;
    }

    /// Carries one operation out; what it completes with, if it does now.
    fn complete(&mut self, operation: Operation, memory: &mut Memory) -> Option<Completion> {
        use Operation as O;
        match operation {
            O::Poll { slot, generation } => self.places.poll(slot, generation, PollMode::Once),
            O::PollOn { slot, generation } => self.places.poll(slot, generation, PollMode::Stays),
            O::Unpoll { slot, generation } => {
                self.places.unpoll(slot, generation);
                None
            }
            O::Receive { slot, generation } => Some(self.receive(slot, generation, memory)),
            O::ReceiveInto { slot, generation, span } => {
                let (result, more) = self.receive_into(slot, memory.bytes_mut(span));
                Some(Completion::ReceivedInto { slot, generation, result, more })
            }
            O::Send { slot, batch_index, span } => {
                let result = self.send(slot, memory.bytes(span));
                let whole = result == Ok(span.length);
                (!whole).then_some(Completion::SendFellShort { slot, batch_index, result })
            }
            O::SendArmed { slot, generation, span } => {
                self.send_armed(slot, ArmedSend { generation, span }, memory)
            }
            O::CancelSend { slot, generation } => self.cancel_send(slot, generation),
            O::FinishWrites { slot, .. } => {
                if let Ok(socket) = self.places.socket(slot) {
                    // The only failure is a connection that is gone already.
                    let _ = shutdown(socket, Shutdown::Write);
                }
                None
            }
            O::Close { slot } => {
                drop(self.places.take(slot));
                self.armed.remove(slot);
                None
            }
            O::PollListener { listener } => self.listeners.poll(listener),
            O::UnpollListener { listener } => {
                self.listeners.unpoll(listener);
                None
            }
            O::CloseListener { listener } => {
                self.listeners.close(&self.epoll, listener);
                None
            }
            O::Accept { listener, slot } => {
                let result = self.accept(listener, slot);
                Some(Completion::Accepted { listener, slot, result })
            }
            O::AskUnacknowledged { slot, generation } => {
                let result = self.places.socket(slot).and_then(unacknowledged);
                Some(Completion::Unacknowledged { slot, generation, result })
            }
        }
    }

    /// Accepts into a slot, and has epoll watch it.
    fn accept(&mut self, listener: ListenerId, slot: Slot) -> Result<Peer, Errno> {
        let (socket, peer) = self.listeners.accept(listener)?;
        let put = self.places.put(&self.epoll, slot, socket);
        if let Err(error) = put {
            self.listeners.refuse(listener, error);
        }
        put.map(|()| peer)
    }

    /// Receives into the buffer that was lent first, which stays lent if nothing came.
    fn receive(&mut self, slot: Slot, generation: Generation, memory: &mut Memory) -> Completion {
        let Some(&buffer) = self.buffers.front() else {
            let result = Err(Errno::NO_BUFFERS);
            return Completion::Received { slot, generation, buffer: None, result, more: false };
        };
        let span = self.buffer(buffer);
        let (result, more) = self.receive_into(slot, memory.bytes_mut(span));
        let taken = result.is_ok_and(|count| count > 0);
        let buffer = if taken { self.buffers.pop_front() } else { None };
        Completion::Received { slot, generation, buffer, result, more }
    }

    /// The bytes of a receive buffer behind its headroom.
    fn buffer(&self, buffer: BufferId) -> Span {
        let start = usize::from(buffer.0) * buffer_stride(self.buffer_size) + HEADROOM;
        Span { area: AreaName::Receive, start: start as u32, length: self.buffer_size as u32 }
    }

    /// Receives what is there; and whether there is more.
    fn receive_into(&mut self, slot: Slot, bytes: &mut [u8]) -> (Result<u32, Errno>, bool) {
        let room = bytes.len() as u32;
        let socket = match self.places.socket(slot) {
            Ok(socket) => socket,
            Err(error) => return (Err(error), false),
        };
        let result = recv(socket, bytes, RecvFlags::DONTWAIT);
        let result = result.map(|(count, _)| count as u32).map_err(Errno::from);
        let more = self.places.received(slot, Receipt { result, room });
        (result, more)
    }

    /// Sends what there is room for.
    fn send(&self, slot: Slot, bytes: &[u8]) -> Result<u32, Errno> {
        let socket = self.places.socket(slot)?;
        let sent = send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        sent.map(|count| count as u32).map_err(Errno::from)
    }

    /// Sends what there is room for now, or arms the send.
    fn send_armed(&mut self, slot: Slot, armed: ArmedSend, memory: &Memory) -> Option<Completion> {
        let mut result = self.send(slot, memory.bytes(armed.span));
        if result == Err(Errno::AGAIN) {
            match self.places.watch_room(&self.epoll, slot) {
                Ok(()) => {
                    self.armed.put(slot, armed);
                    return None;
                }
                Err(error) => result = Err(error),
            }
        }
        Some(Completion::Sent { slot, generation: armed.generation, result })
    }

    /// The armed send of a connection that has room now, or has failed.
    pub(super) fn send_armed_again(&mut self, slot: Slot, memory: &Memory) {
        let Some(ArmedSend { generation, span }) = self.armed.get(slot) else { return };
        let result = self.send(slot, memory.bytes(span));
        if result != Err(Errno::AGAIN) {
            self.armed.remove(slot);
            self.completions.push_back(Completion::Sent { slot, generation, result });
        }
    }

    fn cancel_send(&mut self, slot: Slot, generation: Generation) -> Option<Completion> {
        self.armed.get(slot).filter(|armed| armed.generation == generation)?;
        self.armed.remove(slot);
        Some(Completion::Sent { slot, generation, result: Err(Errno::CANCELED) })
    }
}
