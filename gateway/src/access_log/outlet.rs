//! Where lines go.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::file::{self, LogFile, Rotated, Rotation};
use super::syslog::{self, Syslog};
use crate::config::{AccessLog, AccessTarget};

/// The most bytes that are written at once: a pipe that may be written to takes so many at once
/// (`PIPE_BUF`, pipe(7)), and nobody else's stand between them.
pub(super) const PIECE_BYTES: usize = 4096;

/// How long it is waited at a time for whoever reads.
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What lines go to.
pub(super) enum Outlet {
    File(LogFile),
    Stdout,
    Syslog(Syslog),
}

impl Outlet {
    /// Opens what is configured.
    ///
    /// # Errors
    /// It cannot be.
    pub(super) fn open(log: &AccessLog) -> io::Result<Self> {
        let keep = log.keep;
        let rotation = log.max_size.map(|max_size| Rotation { max_size, keep });
        match &log.to {
            AccessTarget::File(path) => LogFile::open(path, rotation).map(Self::File),
            AccessTarget::Stdout => Ok(Self::Stdout),
            AccessTarget::Syslog(path) => Syslog::open(path).map(Self::Syslog),
        }
    }

    /// Opens it anew.
    ///
    /// # Errors
    /// It cannot be: then all goes on as it was.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.reopen(),
            Self::Stdout => Ok(()),
            Self::Syslog(socket) => socket.reopen(),
        }
    }

    /// How many bytes may be written at once; each line by itself where that is less.
    pub(super) fn piece_bytes(&self) -> usize {
        match self {
            Self::File(_) | Self::Stdout => PIECE_BYTES,
            Self::Syslog(_) => 0,
        }
    }

    /// Makes room for a piece.
    pub(super) fn make_room(&mut self, bytes: usize) -> Rotated {
        match self {
            Self::File(file) => file.make_room(bytes),
            Self::Stdout | Self::Syslog(_) => Rotated { failed: None },
        }
    }

    /// Waits for a moment until something can be written; whether it can.
    pub(super) fn is_ready(&self) -> bool {
        let mut polled = [PollFd::from_borrowed_fd(self.as_fd(), PollFlags::OUT)];
        // What is broken can be written to: the error says why it is.
        !matches!(poll(&mut polled, Some(&WAIT)), Ok(0) | Err(rustix::io::Errno::INTR))
    }

    /// Writes the beginning of a piece.
    ///
    /// # Errors
    /// Nothing of it was written.
    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(piece),
            Self::Stdout => Ok(rustix::io::write(rustix::stdio::stdout(), piece)?),
            Self::Syslog(socket) => socket.write(piece),
        }
    }
}

impl AsFd for Outlet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::File(file) => file.as_fd(),
            Self::Stdout => rustix::stdio::stdout(),
            Self::Syslog(socket) => socket.as_fd(),
        }
    }
}

/// Whether lines could go there.
///
/// # Errors
/// They could not.
pub(super) fn check(to: &AccessTarget) -> io::Result<()> {
    match to {
        AccessTarget::File(path) => file::check(path),
        AccessTarget::Stdout => Ok(()),
        AccessTarget::Syslog(path) => syslog::check(path),
    }
}

/// Whether there is something already that lines would go to.
pub(super) fn is_there(to: &AccessTarget) -> bool {
    match to {
        AccessTarget::File(path) => path.exists(),
        AccessTarget::Stdout | AccessTarget::Syslog(_) => true,
    }
}

/// Takes away what was made for lines, and has none.
pub(super) fn forget(to: &AccessTarget) {
    if let AccessTarget::File(path) = to {
        let _ = fs::remove_file(path);
    }
}
