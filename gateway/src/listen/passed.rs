//! Sockets that others have opened and handed in, such as what starts services as their clients
//! come. Whoever has opened them keeps them, so that who connects while no gateway runs waits for
//! the next.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

use socket2::{SockRef, Type};

use super::unix;
use crate::config::{Config, ListenAddress, Listener};
use crate::kernel::{ListeningSocket, Sharing};

/// Sockets that were handed in.
#[derive(Debug, Default)]
pub struct Passed(Vec<(ListenAddress, ListeningSocket)>);

/// Sockets that were handed in, each with what it is for.
#[derive(Debug, Default)]
pub struct Dealt {
    /// Those of each listener, in the order of the configuration; what is missing has none.
    pub(super) by_listener: Vec<Vec<ListeningSocket>>,
    /// That of the control thread.
    pub(super) admin: Option<ListeningSocket>,
}

/// A socket that was handed in is of no use. Displayed, it says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassedError {
    /// It is no stream socket of IP or of this machine that has a name.
    NoStream {
        /// Its descriptor.
        descriptor: i32,
    },
    /// It serves IPv4 as well, which an address of IPv6 in a configuration does not.
    NotIpv6Only {
        /// Its address.
        address: SocketAddr,
    },
    /// It is a connection, and no socket that listens, or may.
    Connected {
        /// Its address.
        address: ListenAddress,
    },
    /// Nothing is configured at its address.
    Unwanted {
        /// Its address.
        address: ListenAddress,
        /// All addresses that are configured.
        configured: Vec<ListenAddress>,
    },
    /// There are more for one address than there is use for.
    TooMany {
        /// The address.
        address: ListenAddress,
        /// How many there are.
        count: usize,
        /// How many there may be: as many as shards, or one for the control thread.
        most: usize,
    },
}

impl Passed {
    /// Takes stream sockets that have an address.
    ///
    /// # Errors
    /// One is something else.
    pub fn new(sockets: Vec<OwnedFd>) -> Result<Self, PassedError> {
        sockets.into_iter().map(known).collect::<Result<_, _>>().map(Self)
    }

    /// Finds out what each is for in a gateway of so many shards.
    ///
    /// # Errors
    /// One is for nothing.
    pub fn deal(mut self, config: &Config, shards: usize) -> Result<Dealt, PassedError> {
        let listeners = config.listeners.iter();
        let by_listener = listeners.map(|listener| self.take(&listener.address, shards));
        let by_listener = by_listener.collect::<Result<_, _>>()?;
        let admin = match &config.admin.address {
            Some(address) => self.take(address, 1)?.pop(),
            None => None,
        };
        match self.0.first() {
            None => Ok(Dealt { by_listener, admin }),
            Some((address, _)) => {
                let configured = config.listeners.iter().map(|listener| &listener.address);
                let configured = configured.chain(&config.admin.address).cloned().collect();
                Err(PassedError::Unwanted { address: address.clone(), configured })
            }
        }
    }

    /// Those of an address, of which there may be so many.
    fn take(
        &mut self,
        address: &ListenAddress,
        most: usize,
    ) -> Result<Vec<ListeningSocket>, PassedError> {
        let of_it = self.0.extract_if(.., |(own, _)| own == address);
        let found: Vec<ListeningSocket> = of_it.map(|(_, socket)| socket).collect();
        let count = found.len();
        if count > most {
            return Err(PassedError::TooMany { address: address.clone(), count, most });
        }
        Ok(found)
    }
}

impl Dealt {
    /// The control thread's socket, which is the caller's from here on.
    pub fn take_admin(&mut self) -> Option<ListeningSocket> {
        self.admin.take()
    }

    /// Whether the listener of this number has sockets.
    fn has(&self, listener: usize) -> bool {
        self.by_listener.get(listener).is_some_and(|sockets| !sockets.is_empty())
    }

    /// Who accepts from the sockets of the listener of this number.
    pub(super) fn sharing(&self, listener: usize) -> Sharing {
        if self.has(listener) { Sharing::Others } else { Sharing::Own }
    }

    /// The listeners that have no socket.
    pub(super) fn without<'l>(
        &self,
        listeners: &'l [Listener],
    ) -> impl Iterator<Item = &'l Listener> {
        let numbered = listeners.iter().enumerate();
        numbered.filter(|(number, _)| !self.has(*number)).map(|(_, listener)| listener)
    }
}

/// The socket with its address.
fn known(socket: OwnedFd) -> Result<(ListenAddress, ListeningSocket), PassedError> {
    let asked = SockRef::from(&socket);
    let is_stream = asked.r#type().is_ok_and(|kind| kind == Type::STREAM);
    let (address, is_connected) = (asked.local_addr().ok(), asked.peer_addr().is_ok());
    let address = address.filter(|_| is_stream).and_then(|address| {
        let ip = address.as_socket().map(ListenAddress::Ip);
        ip.or_else(|| unix::named(&address).map(ListenAddress::Unix))
    });
    match address {
        Some(ListenAddress::Ip(address))
            if address.is_ipv6() && !asked.only_v6().unwrap_or(true) =>
        {
            Err(PassedError::NotIpv6Only { address })
        }
        Some(address) if is_connected => Err(PassedError::Connected { address }),
        Some(address @ ListenAddress::Ip(_)) => {
            Ok((address, ListeningSocket::Ip(TcpListener::from(socket))))
        }
        // Its file is whose the socket is.
        Some(address @ ListenAddress::Unix(_)) => {
            Ok((address, ListeningSocket::Unix(UnixListener::from(socket), None)))
        }
        None => Err(PassedError::NoStream { descriptor: socket.as_raw_fd() }),
    }
}

impl fmt::Display for PassedError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStream { descriptor } => write!(
                out,
                "the descriptor {descriptor} that was passed is no stream socket: a systemd socket \
                 unit names those by `ListenStream=` with an address and a port, or a path"
            ),
            Self::NotIpv6Only { address } => write!(
                out,
                "the socket of {address} that was passed serves IPv4 as well: write \
                 `BindIPv6Only=ipv6-only` in the systemd socket unit, and a line of its own for an \
                 address of IPv4"
            ),
            Self::Connected { address } => write!(
                out,
                "a connection at {address} was passed, in place of a socket that listens: write \
                 `Accept=no` in the systemd socket unit"
            ),
            Self::Unwanted { address, configured } => {
                let configured: Vec<String> = configured.iter().map(ToString::to_string).collect();
                write!(
                    out,
                    "a socket of {address} was passed, and nothing is configured there but at {}: \
                     write the same address for a [[listener]] as in the socket unit's \
                     `ListenStream=`, with the same IP address, not the port alone, and a path \
                     behind `unix:`",
                    configured.join(", ")
                )
            }
            Self::TooMany { address, count, most } => write!(
                out,
                "{count} sockets of {address} were passed, and {most} can be served: each shard \
                 serves one, and the control thread one; pass fewer, or run more shards"
            ),
        }
    }
}

impl std::error::Error for PassedError {}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::UnixDatagram;
    use std::slice::from_ref;

    use super::*;

    fn socket() -> (ListenAddress, OwnedFd) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        (socket.local_addr().unwrap().into(), socket.into())
    }

    fn deal(sockets: Vec<OwnedFd>, listen: &[ListenAddress]) -> Result<Dealt, PassedError> {
        let config = Config::default().with_admin(None).with_listen(listen);
        Passed::new(sockets).and_then(|passed| passed.deal(&config, 2))
    }

    #[test]
    fn each_socket_goes_where_its_address_is() {
        let ((one, first), (other, second), (admin, third)) = (socket(), socket(), socket());
        let config = Config::default()
            .with_admin(Some(admin.clone()))
            .with_listen(&[other.clone(), one.clone()]);
        let dealt = Passed::new(vec![first, second, third]).unwrap().deal(&config, 1).unwrap();
        let address = |socket: &ListeningSocket| {
            let address = SockRef::from(socket).local_addr().unwrap();
            ListenAddress::Ip(address.as_socket().unwrap())
        };
        assert_eq!(
            dealt.by_listener.iter().flatten().map(address).collect::<Vec<_>>(),
            [other, one]
        );
        assert_eq!(dealt.admin.as_ref().map(address), Some(admin));
        assert_eq!(dealt.without(&config.listeners).count(), 0);
    }

    #[test]
    fn what_nothing_is_configured_for_is_refused() {
        let (address, socket) = socket();
        let elsewhere: ListenAddress = "127.0.0.1:0".parse().unwrap();
        let error = deal(vec![socket], from_ref(&elsewhere)).unwrap_err();
        assert_eq!(error, PassedError::Unwanted { address, configured: vec![elsewhere] });
        assert!(error.to_string().contains("ListenStream="), "{error}");
    }

    #[test]
    fn more_than_there_are_shards_are_refused() {
        let (address, socket) = socket();
        let more = [&socket, &socket].map(|socket| socket.try_clone().unwrap());
        let error =
            deal(vec![socket].into_iter().chain(more).collect(), from_ref(&address)).unwrap_err();
        assert_eq!(error, PassedError::TooMany { address, count: 3, most: 2 });
    }

    #[test]
    fn what_serves_ipv4_beside_ipv6_is_refused() {
        let address: SocketAddr = "[::]:0".parse().unwrap();
        for only in [false, true] {
            let socket = socket2::Socket::new(socket2::Domain::IPV6, Type::STREAM, None).unwrap();
            socket.set_only_v6(only).unwrap();
            socket.bind(&address.into()).unwrap();
            let passed = Passed::new(vec![socket.into()]);
            assert_eq!(passed.is_ok(), only, "{passed:?}");
            let said = passed.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(only || said.contains("BindIPv6Only=ipv6-only"), "{said}");
        }
    }

    #[test]
    fn a_connection_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let error = Passed::new(vec![listener.accept().unwrap().0.into()]).unwrap_err();
        assert!(error.to_string().contains("Accept=no"), "{error}");
    }

    #[test]
    fn a_unix_socket_has_its_name() {
        let name = format!("tidegate-passed-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixListener::bind_addr(&address).unwrap();
        let configured: ListenAddress = format!("unix:@{name}").parse().unwrap();
        let dealt = deal(vec![socket.into()], from_ref(&configured)).unwrap();
        assert_eq!(dealt.sharing(0), Sharing::Others);
        assert!(dealt.by_listener[0][0].is_unix());
    }

    #[test]
    fn what_is_no_stream_socket_is_refused() {
        let folder = std::env::temp_dir().join(format!("tidegate-passed-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let local = UnixDatagram::bind(folder.join("socket")).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        for descriptor in [OwnedFd::from(local), file.into(), datagrams.into()] {
            let number = descriptor.as_raw_fd();
            let error = Passed::new(vec![descriptor]).unwrap_err();
            assert_eq!(error, PassedError::NoStream { descriptor: number });
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
