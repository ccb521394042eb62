//! Accepts beside the ring: before Linux 6.10, whose rings cannot be told not to wait for somebody
//! to come, and of Unix sockets, whose peers are asked for by an ordinary descriptor.
//!
//! `IORING_OP_ACCEPT` waits even on a listener with `O_NONBLOCK`. So accept4(2) is called beside
//! the ring, and the sockets of a portion are put into the table by one io_uring_register(2).

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use io_uring::IoUring;

use crate::kernel::{ACCEPT_BATCH, Completion, Errno, ListenerId, ListeningSocket, Peer, Slot};

/// `IORING_REGISTER_FILES_SKIP`: this entry of the table stays as it is.
const SKIP: RawFd = -2;

/// How far apart neighbours in one update may lie.
const SPREAD: Slot = 64;

/// Accepts whose sockets are not in the table yet.
pub(super) struct PlainAccepts {
    accepts: Vec<PlainAccept>,
}

struct PlainAccept {
    listener: ListenerId,
    slot: Slot,
    result: Result<(OwnedFd, Peer), Errno>,
}

impl PlainAccepts {
    pub(super) fn new() -> Self {
        Self { accepts: Vec::with_capacity(ACCEPT_BATCH) }
    }

    /// Whether something is to be told.
    pub(super) fn is_empty(&self) -> bool {
        self.accepts.is_empty()
    }

    /// Accepts one connection, if there is one, that is to have this slot.
    pub(super) fn accept(
        &mut self,
        socket: Option<&ListeningSocket>,
        listener: ListenerId,
        slot: Slot,
    ) {
        let result = socket.ok_or(Errno::BAD_DESCRIPTOR).and_then(|socket| Ok(socket.accept()?));
        self.accepts.push(PlainAccept { listener, slot, result });
    }

    /// Puts what was accepted into the table, once the ring has taken what was pushed before: a
    /// slot's last connection is closed then. Yields what each accept completes with.
    pub(super) fn settle(&mut self, ring: &IoUring) -> impl Iterator<Item = Completion> {
        let mut accepts = std::mem::take(&mut self.accepts);
        let mut by_slot: Vec<&mut PlainAccept> = accepts.iter_mut().collect();
        by_slot.sort_unstable_by_key(|accept| accept.slot);
        for portion in by_slot.chunk_by_mut(|first, next| next.slot - first.slot < SPREAD) {
            install(ring, portion);
        }
        accepts.into_iter().map(|PlainAccept { listener, slot, result }| {
            let result = result.map(|(_, peer)| peer);
            Completion::Accepted { listener, slot, result }
        })
    }
}

/// Puts the sockets of a portion into the table. Those that the kernel does not take are not
/// accepted.
fn install(ring: &IoUring, portion: &mut [&mut PlainAccept]) {
    let first = portion[0].slot;
    let mut descriptors = Vec::new();
    for accept in &*portion {
        if let Ok((socket, _)) = &accept.result {
            descriptors.resize((accept.slot - first) as usize, SKIP);
            descriptors.push(socket.as_raw_fd());
        }
    }
    if descriptors.is_empty() {
        return;
    }
    let updated = ring.submitter().register_files_update(first, &descriptors);
    let (taken, error) = match updated {
        Ok(count) => (count, Errno(libc::ENOMEM)),
        Err(error) => (0, error.into()),
    };
    let left = portion.iter_mut().filter(|accept| (accept.slot - first) as usize >= taken);
    for accept in left.filter(|accept| accept.result.is_ok()) {
        accept.result = Err(error);
    }
}
