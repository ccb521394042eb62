//! Error numbers, as completions carry them.

use std::fmt;
use std::io;

/// An error number of the kernel (errno(3)).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// Nothing to receive, or no room to send into.
    pub const AGAIN: Self = Self(libc::EAGAIN);
    /// No receive buffer was left.
    pub const NO_BUFFERS: Self = Self(libc::ENOBUFS);
    /// The operation was removed before it was done.
    pub const CANCELED: Self = Self(libc::ECANCELED);

    /// Not of this socket.
    pub const UNSUPPORTED: Self = Self(libc::EOPNOTSUPP);

    /// No such connection, or listener.
    pub const BAD_DESCRIPTOR: Self = Self(libc::EBADF);

    /// Splits a completion's result: not negative is a count, negative is an error number.
    pub(super) fn check(result: i32) -> Result<u32, Self> {
        u32::try_from(result).map_err(|_| Self(-result))
    }

    /// Whether an accept failed for the connection that was to be accepted, which is no reason to
    /// wait: accept(2) has these be treated like `EAGAIN`. All others are about us, such as a lack
    /// of memory.
    #[must_use]
    pub const fn is_of_accepted(self) -> bool {
        use libc::{
            ECONNABORTED, EHOSTDOWN, EHOSTUNREACH, EINTR, ENETDOWN, ENETUNREACH, ENONET,
            ENOPROTOOPT, EOPNOTSUPP, EPROTO,
        };
        matches!(
            self.0,
            ECONNABORTED
                | EHOSTDOWN
                | EHOSTUNREACH
                | EINTR
                | ENETDOWN
                | ENETUNREACH
                | ENONET
                | ENOPROTOOPT
                | EOPNOTSUPP
                | EPROTO
        )
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(error: rustix::io::Errno) -> Self {
        Self(error.raw_os_error())
    }
}

impl From<io::Error> for Errno {
    /// An error that no system call has made is told as `EIO`.
    fn from(error: io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(out)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Errno({}: {self})", self.0)
    }
}
