//! What the ring cannot do: by way of an ordinary descriptor that lives for a moment.

use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};

use crate::kernel::{self, Errno};

/// Asks what is unacknowledged by way of a descriptor that lives for a moment: only TCP's sockets
/// answer the ring (`SOCKET_URING_OP_SIOCOUTQ`).
pub(super) fn unacknowledged(fd: u32) -> Result<u32, Errno> {
    // SAFETY: the kernel has just installed the descriptor for this operation; nothing else knows
    // of it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
    kernel::unacknowledged(socket.as_fd())
}

/// Shuts down the writing side by way of a descriptor that lives for a moment: the ring's own
/// shutdown operation always goes to a kernel worker thread.
pub(super) fn finish_writes(installed: Result<u32, Errno>) {
    // Without a descriptor to spare the peer sees no FIN until its deadline closes the connection.
    let Ok(fd) = installed else { return };
    // SAFETY: the kernel has just installed the descriptor for this operation; nothing else knows
    // of it.
    let stream = TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd as RawFd) });
    // The only failure is a connection that is gone already.
    let _ = stream.shutdown(Shutdown::Write);
}
