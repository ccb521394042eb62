//! Operations as submission entries.

use std::os::fd::AsRawFd;

use io_uring::types::{DestinationSlot, Fd, Fixed};
use io_uring::{opcode, squeue};

use super::probe::Accepts;
use super::token::{OperationKind, Token};
use super::{Uring, buffers};
use crate::kernel::area::KERNEL_AREAS;
use crate::kernel::{AreaName, ListenerId, ListeningSocket, Operation, Slot, Span};

/// `IORING_ACCEPT_DONTWAIT` (Linux 6.10), which the `io-uring` crate does not name.
const ACCEPT_DONTWAIT: u16 = 1 << 1;

/// `SOCKET_URING_OP_SIOCOUTQ` (Linux 6.7), which the crate does not name either.
const SOCKET_SIOCOUTQ: u32 = 1;

impl Uring {
    /// The entry of an operation, and what its completion will carry; `None` for one that the
    /// kernel has nothing to do for yet.
    pub(super) fn entry(&mut self, operation: Operation) -> Option<(squeue::Entry, Token)> {
        use Operation as O;
        let poll_events = (libc::POLLIN | libc::POLLRDHUP) as u32;
        let skip = squeue::Flags::SKIP_SUCCESS;
        Some(match operation {
            O::Poll { slot, generation } => (
                opcode::PollAdd::new(Fixed(slot), poll_events).build(),
                Token::new(OperationKind::Poll, generation, slot),
            ),
            O::PollOn { slot, generation } => (
                opcode::PollAdd::new(Fixed(slot), poll_events).multi(true).build(),
                Token::new(OperationKind::Poll, generation, slot),
            ),
            O::Unpoll { slot, generation } => {
                let armed = Token::new(OperationKind::Poll, generation, slot);
                unpoll(armed, Token::new(OperationKind::Unpoll, generation, slot))
            }
            O::Receive { slot, generation } => (
                Self::receive_entry(slot, std::ptr::null_mut(), self.buffer_size as u32)
                    .buf_group(buffers::GROUP)
                    .build()
                    .flags(squeue::Flags::BUFFER_SELECT),
                Token::new(OperationKind::Receive, generation, slot),
            ),
            O::ReceiveInto { slot, generation, span } => (
                Self::receive_entry(slot, self.address(span), span.length).build(),
                Token::new(OperationKind::ReceiveInto, generation, slot),
            ),
            O::Send { slot, batch_index, span } => (
                // Without WAITALL a short send would count as a success and say nothing.
                self.send(slot, span, libc::MSG_DONTWAIT | libc::MSG_WAITALL).flags(skip),
                Token::new(OperationKind::Send, batch_index, slot),
            ),
            O::SendArmed { slot, generation, span } => {
                (self.send(slot, span, 0), Token::new(OperationKind::SendArmed, generation, slot))
            }
            O::CancelSend { slot, generation } => {
                let armed = Token::new(OperationKind::SendArmed, generation, slot);
                let cancel = opcode::AsyncCancel::new(armed.encode()).build().flags(skip);
                (cancel, Token::new(OperationKind::CancelSend, generation, slot))
            }
            O::FinishWrites { slot, generation } => (
                opcode::FixedFdInstall::new(Fixed(slot), 0).build(),
                Token::new(OperationKind::FinishWrites, generation, slot),
            ),
            O::Close { slot } => (
                opcode::Close::new(Fixed(slot)).build().flags(skip),
                Token::new(OperationKind::Close, 0, slot),
            ),
            O::PollListener { listener } => (
                opcode::PollAdd::new(self.listener(listener), libc::POLLIN as u32).build(),
                Token::new(OperationKind::PollListener, 0, listener),
            ),
            O::UnpollListener { listener } => {
                let armed = Token::new(OperationKind::PollListener, 0, listener);
                unpoll(armed, Token::new(OperationKind::UnpollListener, 0, listener))
            }
            O::CloseListener { listener } => {
                self.closed_listeners.extend(self.listeners[listener as usize].take());
                return None;
            }
            O::Accept { listener, slot } => return self.accept(listener, slot),
            O::AskUnacknowledged { slot, generation } => (
                opcode::UringCmd16::new(Fixed(slot), SOCKET_SIOCOUTQ).build(),
                Token::new(OperationKind::Unacknowledged, generation, slot),
            ),
        })
    }

    fn address(&self, span: Span) -> *mut u8 {
        self.claims[span.area as usize].address(span.range())
    }

    /// The listener's descriptor; one that the kernel refuses if it is closed.
    fn listener(&self, listener: ListenerId) -> Fd {
        Fd(self.listeners[listener as usize].as_ref().map_or(-1, AsRawFd::as_raw_fd))
    }

    fn send(&mut self, slot: Slot, span: Span, flags: i32) -> squeue::Entry {
        opcode::Send::new(Fixed(slot), self.address(span), span.length)
            .flags(libc::MSG_NOSIGNAL | flags)
            .build()
    }

    fn receive_entry(slot: Slot, address: *mut u8, length: u32) -> opcode::Recv {
        opcode::Recv::new(Fixed(slot), address, length).flags(libc::MSG_DONTWAIT)
    }

    fn accept(&mut self, listener: ListenerId, slot: Slot) -> Option<(squeue::Entry, Token)> {
        let socket = self.listeners[listener as usize].as_ref();
        let is_plain =
            self.accepts == Accepts::Plain || socket.is_some_and(ListeningSocket::is_unix);
        if is_plain {
            self.plain_accepts.accept(socket, listener, slot);
            return None;
        }
        let fd = self.listener(listener);
        let target = DestinationSlot::try_from_slot_target(slot);
        let (index, (address, length)) = self.peers.prepare(slot);
        let entry = opcode::Accept::new(fd, address, length)
            .file_index(Some(target.expect("slots are far fewer than 2^32")))
            .build();
        let token = Token::new(OperationKind::Accept, index, listener);
        Some((with_ioprio(entry, ACCEPT_DONTWAIT), token))
    }
}

fn unpoll(armed: Token, token: Token) -> (squeue::Entry, Token) {
    let remove = opcode::PollRemove::new(armed.encode()).build();
    (remove.flags(squeue::Flags::SKIP_SUCCESS), token)
}

/// Sets the `ioprio` field, which carries the flags of accept and has no setter for them.
fn with_ioprio(mut entry: squeue::Entry, value: u16) -> squeue::Entry {
    const IOPRIO_OFFSET: usize = 2;
    // SAFETY: an entry is `struct io_uring_sqe`, 64 bytes, with the 16-bit `ioprio` at offset 2
    // (linux/io_uring.h); any value of that field is valid memory.
    unsafe {
        (&raw mut entry).cast::<u8>().add(IOPRIO_OFFSET).cast::<u16>().write_unaligned(value);
    }
    entry
}

/// What `with_ioprio` and `address` build on.
const _: () =
    assert!(size_of::<squeue::Entry>() == 64 && (AreaName::Scratch as usize) == KERNEL_AREAS);
