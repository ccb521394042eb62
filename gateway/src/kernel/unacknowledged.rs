//! What a peer has yet to take.

use std::os::fd::BorrowedFd;

use rustix::ioctl::{Getter, ioctl};

use super::Errno;

/// Bytes that a peer has yet to acknowledge (tcp(7)). Of a Unix socket it is the memory of what the
/// peer has not read, which is more than its bytes, and becomes less with each send that the peer
/// has read to its end.
pub(super) fn unacknowledged(socket: BorrowedFd<'_>) -> Result<u32, Errno> {
    const SIOCOUTQ: u32 = libc::TIOCOUTQ as u32;
    // SAFETY: this request writes one `int`, and reads nothing.
    let bytes = unsafe { ioctl(socket, Getter::<SIOCOUTQ, libc::c_int>::new()) }?;
    Ok(bytes.try_into().unwrap_or_default())
}
