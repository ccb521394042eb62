//! What the control thread listens on, and who comes there.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::config::{Config, ListenAddress};
use crate::kernel::{ListeningSocket, Peer, SocketFile};

/// How long a peer may leave what is sent to it unacknowledged (TCP_USER_TIMEOUT, tcp(7)).
const STALL: Duration = Duration::from_secs(30);

/// A socket that is listened on.
pub(super) enum AdminSocket {
    Ip(TcpListener),
    Unix {
        socket: UnixListener,
        /// Gone with it, if it is ours.
        _file: Option<Arc<SocketFile>>,
    },
}

/// A connection to the admin address.
pub(super) enum AdminStream {
    Ip(TcpStream),
    Unix(UnixStream),
}

/// The address of a socket for the control thread of this configuration, with its real port.
///
/// # Errors
/// It has none.
pub(super) fn address(socket: &ListeningSocket, config: &Config) -> io::Result<ListenAddress> {
    match (socket, &config.admin.address) {
        (ListeningSocket::Unix(..), Some(address @ ListenAddress::Unix(_))) => Ok(address.clone()),
        _ => {
            let address = SockRef::from(socket).local_addr()?.as_socket();
            address.map(ListenAddress::Ip).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
        }
    }
}

impl AdminSocket {
    /// Listens within the runtime of this thread.
    ///
    /// # Errors
    /// It cannot be watched.
    pub(super) fn new(socket: ListeningSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(match socket {
            ListeningSocket::Ip(socket) => Self::Ip(TcpListener::from_std(socket)?),
            ListeningSocket::Unix(socket, file) => {
                Self::Unix { socket: UnixListener::from_std(socket)?, _file: file }
            }
        })
    }

    /// Who comes next.
    ///
    /// # Errors
    /// As of accept(2).
    pub(super) async fn accept(&self) -> io::Result<(AdminStream, Peer)> {
        match self {
            Self::Ip(socket) => {
                let (stream, peer) = socket.accept().await?;
                // Both only make it better; a socket that refuses them is as good as gone.
                let _ = stream.set_nodelay(true);
                let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(STALL));
                Ok((AdminStream::Ip(stream), peer.into()))
            }
            Self::Unix { socket, .. } => {
                let (stream, _) = socket.accept().await?;
                let peer = Peer::of_unix(&stream);
                Ok((AdminStream::Unix(stream), peer))
            }
        }
    }
}

impl AsyncRead for AdminStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Ip(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for AdminStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Ip(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Ip(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Ip(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Ip(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
