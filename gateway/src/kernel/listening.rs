//! The sockets that are listened on: of IP, and of this machine alone (unix(7)).

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;

use super::{Peer, SocketLock};

/// A socket that is listened on, or will be.
#[derive(Debug)]
pub enum ListeningSocket {
    /// Of IP.
    Ip(TcpListener),
    /// Of this machine alone, with its file if that is ours to remove.
    Unix(UnixListener, Option<Arc<SocketFile>>),
}

/// The file of a socket that is listened on. It is removed with the last that has it, if it is
/// there still, and not another one in its place. Until then its path is nobody else's.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// What it is known by: device and inode.
    identity: (u64, u64),
    /// Given up behind the file.
    _lock: SocketLock,
}

/// Who accepts from the socket of a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// One shard alone.
    #[default]
    Own,
    /// All shards: whoever waits there may be with another one a moment later.
    Shards,
    /// Whoever has handed the socket in as well, so that it stays open when all shards have closed
    /// it.
    Others,
}

/// What is set of a socket that is listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketTerms {
    /// How many may wait to be accepted.
    pub backlog: u32,
    /// What accepted sockets inherit, of those of IP.
    pub tcp: Option<TcpTerms>,
}

/// What accepted sockets of IP inherit (tcp(7), socket(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpTerms {
    /// `TCP_NODELAY`.
    pub nodelay: bool,
    /// `SO_RCVBUF`, in bytes.
    pub receive_buffer: u32,
    /// `SO_SNDBUF`, in bytes.
    pub send_buffer: u32,
    /// `TCP_USER_TIMEOUT`; `None` is the kernel's default.
    pub user_timeout: Option<Duration>,
}

impl SocketTerms {
    /// Has the socket listen, or another number wait.
    ///
    /// # Errors
    /// As of listen(2).
    pub fn listen(&self, socket: &SockRef<'_>) -> io::Result<()> {
        socket.listen(i32::try_from(self.backlog).unwrap_or(i32::MAX))
    }
}

impl TcpTerms {
    /// Sets what accepted sockets inherit from then on. Before a socket listens, best of all: the
    /// buffers decide the window scale that the first answer to a peer carries.
    ///
    /// There is no `TCP_NOTSENT_LOWAT`: it would make sends fall short as soon as a congestion
    /// window is full, and each such send costs a completion, a block and a poll, where `SO_SNDBUF`
    /// bounds what the kernel holds just as well.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set(&self, socket: &SockRef<'_>) -> io::Result<()> {
        socket.set_tcp_nodelay(self.nodelay)?;
        socket.set_recv_buffer_size(self.receive_buffer as usize)?;
        socket.set_send_buffer_size(self.send_buffer as usize)?;
        // What was passed may have one; none is the kernel's default.
        socket.set_tcp_user_timeout(self.user_timeout)
    }
}

impl ListeningSocket {
    /// Has these terms from now on, and listens.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn have(&self, terms: &SocketTerms) -> io::Result<()> {
        let socket = SockRef::from(self);
        terms.tcp.map_or(Ok(()), |tcp| tcp.set(&socket))?;
        terms.listen(&socket)
    }

    /// Whether it is of this machine alone.
    #[must_use]
    pub fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(..))
    }

    /// Accepts one connection.
    ///
    /// # Errors
    /// As of accept(2).
    pub fn accept(&self) -> io::Result<(OwnedFd, Peer)> {
        match self {
            Self::Ip(socket) => {
                let (stream, peer) = socket.accept()?;
                Ok((stream.into(), peer.into()))
            }
            Self::Unix(socket, _) => {
                let stream = OwnedFd::from(socket.accept()?.0);
                let peer = Peer::of_unix(&stream);
                Ok((stream, peer))
            }
        }
    }

    /// Whether accepts wait.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_nonblocking(&self, is_nonblocking: bool) -> io::Result<()> {
        match self {
            Self::Ip(socket) => socket.set_nonblocking(is_nonblocking),
            Self::Unix(socket, _) => socket.set_nonblocking(is_nonblocking),
        }
    }

    /// The same socket by another descriptor.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Ip(socket) => Self::Ip(socket.try_clone()?),
            Self::Unix(socket, file) => Self::Unix(socket.try_clone()?, file.clone()),
        })
    }
}

impl From<TcpListener> for ListeningSocket {
    fn from(socket: TcpListener) -> Self {
        Self::Ip(socket)
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Ip(socket) => socket.as_fd(),
            Self::Unix(socket, _) => socket.as_fd(),
        }
    }
}

impl AsRawFd for ListeningSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl SocketFile {
    /// The file that is at `path` now, which the lock is for.
    ///
    /// # Errors
    /// There is none, or it cannot be looked at.
    pub fn at(path: &Path, lock: SocketLock) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)?, _lock: lock })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Who knows no lock may have put its own in its place. What cannot be removed is found to
        // be left over by the next that wants the name.
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_file_goes_with_its_last_socket_unless_another_is_there() {
        let folder = tempfile();
        let (one, other) = (folder.join("one"), folder.join("other"));
        let (socket, file) = bind(&one);
        let socket = ListeningSocket::Unix(socket, Some(Arc::new(file)));
        let again = socket.try_clone().unwrap();
        drop(socket);
        let _peer = UnixStream::connect(&one).unwrap();
        let (_accepted, peer) = again.accept().unwrap();
        assert!(matches!(peer, Peer::Unix { pid, .. } if pid == std::process::id()), "{peer}");
        assert!(SocketLock::take(&one).unwrap().is_none(), "it is still had");
        drop(again);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        let mine = bind(&one);
        let theirs = UnixListener::bind(&other).unwrap();
        fs::rename(&other, &one).unwrap();
        drop(mine);
        assert!(one.exists(), "it is another's");
        drop(theirs);
        fs::remove_dir_all(folder).unwrap();
    }

    fn bind(path: &Path) -> (UnixListener, SocketFile) {
        let lock = SocketLock::take(path).unwrap().unwrap();
        (UnixListener::bind(path).unwrap(), SocketFile::at(path, lock).unwrap())
    }

    /// An empty folder of this test.
    fn tempfile() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("tidegate-file-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        folder
    }
}
