//! The listening sockets: one for each configured address and each shard.
//!
//! All sockets of an IP address share its port (`SO_REUSEPORT`), and the kernel deals the
//! connections out to them. What accepted sockets shall have is set here once: they inherit it from
//! the listener.
//!
//! Sockets that were handed in are served in place of our own (`passed`). None is opened beside
//! them: the kernel refuses that to another user than theirs, and whoever waits in one of our own
//! is lost when the gateway ends, where those are kept. So shards serve the same socket, each by a
//! descriptor of its own, unless there is one for each of them. So they do of a Unix socket
//! (`unix`), of which there is one.

mod passed;
mod unix;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::config::stack::{SocketLayer, UnixLayer};
use crate::config::{ListenAddress, Listener};
use crate::kernel::{ListeningSocket, Sharing};
use unix::Until;

pub use passed::{Dealt, Passed, PassedError};

/// How long an address may be in use before that is an error. The kernel ends a ring in the
/// background: the listeners of a gateway that has just ended are there for some milliseconds
/// more, even when its process is gone, and a restart must not fail on them.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait before looking again.
const PAUSE: Duration = Duration::from_millis(5);

/// The listening sockets of a gateway.
#[derive(Debug)]
pub struct ListeningSockets {
    /// The address of each listener, in the order of the configuration, with the port that the
    /// kernel chose in place of port 0.
    pub addresses: Vec<ListenAddress>,
    /// For each shard its own socket of each listener, in the same order.
    pub by_shard: Vec<Vec<ListeningSocket>>,
    /// Who accepts from the sockets of each listener, in that order.
    pub sharing: Vec<Sharing>,
    /// The control thread's socket, if it was handed in.
    pub admin: Option<ListeningSocket>,
}

/// An address cannot be listened on. Displayed, it says what to do about it.
#[derive(Debug)]
pub struct ListenError {
    /// The address, with the port that the kernel chose in place of port 0 once it has.
    pub address: ListenAddress,
    /// What was refused, such as `binding`.
    pub doing: &'static str,
    /// What the kernel said.
    pub error: io::Error,
}

/// Listens on the address of each of `listeners` with one socket for each of `shards`, by those
/// that were `passed` where there are some.
///
/// # Errors
///
/// The first address that is in use or refused. No socket stays open then.
pub fn open(
    listeners: &[Listener],
    shards: usize,
    passed: Dealt,
) -> Result<ListeningSockets, ListenError> {
    open_by(listeners, shards, passed, Until::Listening)
}

/// As [`open`], but nobody can connect: the sockets have their addresses and do not listen. What
/// was `passed` is left as it is.
///
/// # Errors
///
/// As [`open`].
pub fn bind_only(
    listeners: &[Listener],
    shards: usize,
    passed: Dealt,
) -> Result<ListeningSockets, ListenError> {
    open_by(listeners, shards, passed, Until::Bound)
}

/// As [`bind_only`], of listeners that come beside those of this gateway at `own`. What has the
/// port of one of these is not looked for others first.
///
/// # Errors
/// As [`open`].
pub fn bind_beside(
    listeners: &[Listener],
    shards: usize,
    own: &[ListenAddress],
) -> Result<ListeningSockets, ListenError> {
    let overlaps =
        |one: &SocketAddr, other: &SocketAddr| one.port() == other.port() && one.ip() != other.ip();
    let is_own = |address: &SocketAddr| {
        own.iter().filter_map(ListenAddress::ip).any(|one| overlaps(&one, address))
    };
    open_among(listeners, shards, Dealt::default(), Until::Bound, is_own)
}

/// Has sockets listen that were bound only, of which this has one of each.
///
/// # Errors
/// What the kernel said.
pub fn listen_now(sockets: &[(Listener, ListeningSocket)]) -> Result<(), ListenError> {
    sockets.iter().try_for_each(|(listener, socket)| {
        let terms = listener.stack.socket.terms();
        terms.listen(&SockRef::from(socket)).map_err(fail(&listener.address, "listening on"))
    })
}

/// Gives the file of a Unix socket the mode and owner that its layer says; of others there is
/// nothing to do.
///
/// # Errors
/// The kernel refuses.
pub fn give_file(listener: &Listener) -> Result<(), ListenError> {
    match (&listener.address, &listener.stack.socket) {
        (ListenAddress::Unix(address), SocketLayer::Unix(layer)) => unix::give_file(address, layer),
        _ => Ok(()),
    }
}

/// Listens where the control thread is to.
///
/// # Errors
/// What the kernel said.
pub fn open_admin(address: &ListenAddress) -> io::Result<ListeningSocket> {
    match address {
        ListenAddress::Ip(address) => TcpListener::bind(address).map(ListeningSocket::Ip),
        ListenAddress::Unix(address) => {
            let opened = unix::open(address, &UnixLayer::default(), Until::Listening);
            opened.map_err(|error| error.error)
        }
    }
}

/// Checks that the control thread could listen there, as far as that is known without listening.
///
/// # Errors
/// Somebody does, or the address is refused.
pub fn check_admin(address: &ListenAddress) -> Result<(), ListenError> {
    match address {
        ListenAddress::Ip(address) => check_unused(*address),
        ListenAddress::Unix(address) => {
            unix::open(address, &UnixLayer::default(), Until::Bound).map(drop)
        }
    }
}

fn open_by(
    listeners: &[Listener],
    shards: usize,
    passed: Dealt,
    until: Until,
) -> Result<ListeningSockets, ListenError> {
    open_among(listeners, shards, passed, until, |_| false)
}

fn open_among(
    listeners: &[Listener],
    shards: usize,
    passed: Dealt,
    until: Until,
    is_own: impl Fn(&SocketAddr) -> bool,
) -> Result<ListeningSockets, ListenError> {
    // All of them before any is opened: of two addresses of one configuration that overlap, such as
    // `0.0.0.0:80` and `127.0.0.1:80`, one would seem to be in use once the other listens.
    let addresses = passed.without(listeners).filter_map(|listener| listener.address.ip());
    for address in addresses.filter(|address| !is_own(address)) {
        check_unused(address)?;
    }
    let mut sockets = ListeningSockets {
        addresses: Vec::with_capacity(listeners.len()),
        by_shard: (0..shards).map(|_| Vec::with_capacity(listeners.len())).collect(),
        sharing: (0..listeners.len()).map(|listener| passed.sharing(listener)).collect(),
        admin: passed.admin,
    };
    let mut by_listener = passed.by_listener.into_iter();
    for (number, listener) in listeners.iter().enumerate() {
        let own = by_listener.next().unwrap_or_default();
        if !own.is_empty() {
            if until == Until::Listening {
                own.iter().try_for_each(|socket| prepare(socket, listener))?;
            }
            share(&own, &listener.address, &mut sockets.by_shard)?;
            sockets.addresses.push(listener.address.clone());
            continue;
        }
        let address = match (&listener.address, &listener.stack.socket) {
            (ListenAddress::Ip(address), layer @ SocketLayer::Tcp(_)) => {
                open_for_each(*address, layer, until, &mut sockets.by_shard)?.into()
            }
            (ListenAddress::Unix(address), SocketLayer::Unix(layer)) => {
                let socket = unix::open(address, layer, until)?;
                share(&[socket], &listener.address, &mut sockets.by_shard)?;
                sockets.sharing[number] = Sharing::Shards;
                listener.address.clone()
            }
            // The configuration was checked.
            (address, _) => return Err(fail(address, "choosing a layer for")(no_such_layer())),
        };
        sockets.addresses.push(address);
    }
    Ok(sockets)
}

fn no_such_layer() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "its stack ends in the other of `tcp` and `unix`")
}

/// Opens a socket for each shard. Their address, with its real port.
fn open_for_each(
    mut address: SocketAddr,
    layer: &SocketLayer,
    until: Until,
    by_shard: &mut [Vec<ListeningSocket>],
) -> Result<SocketAddr, ListenError> {
    for shard in by_shard {
        let socket = match until {
            Until::Bound => bind(address, layer)?.into(),
            Until::Listening => listen(address, layer)?,
        };
        let failed = fail(&address.into(), "asking for the address of");
        address = socket.local_addr().map_err(failed)?;
        shard.push(ListeningSocket::Ip(socket));
    }
    Ok(address)
}

/// Gives a socket that was passed what accepted sockets shall have, and listens. It may listen
/// already; then this sets how many may wait.
fn prepare(socket: &ListeningSocket, listener: &Listener) -> Result<(), ListenError> {
    let address = &listener.address;
    let (socket, terms) = (SockRef::from(socket), listener.stack.socket.terms());
    let set = terms.tcp.map_or(Ok(()), |tcp| tcp.set(&socket));
    set.map_err(fail(address, "setting the options of"))?;
    terms.listen(&socket).map_err(fail(address, "listening on"))
}

/// Gives each shard a descriptor of one of the sockets of a listener.
fn share(
    sockets: &[ListeningSocket],
    address: &ListenAddress,
    by_shard: &mut [Vec<ListeningSocket>],
) -> Result<(), ListenError> {
    for (shard, socket) in by_shard.iter_mut().zip(sockets.iter().cycle()) {
        shard.push(socket.try_clone().map_err(fail(address, "sharing the socket of"))?);
    }
    Ok(())
}

/// Checks that nobody listens on `address`. With `SO_REUSEPORT` alone, a second gateway of the
/// same user would silently take a share of the first one's connections. (Two that start within
/// the same moment still can: neither listens when the other looks.)
///
/// # Errors
///
/// Somebody does, or the address is refused.
pub fn check_unused(address: SocketAddr) -> Result<(), ListenError> {
    let begun = Instant::now();
    loop {
        match socket(address)?.bind(&address.into()) {
            Err(error) if is_in_use(&error) && begun.elapsed() < PATIENCE => thread::sleep(PAUSE),
            result => return result.map_err(fail(&address.into(), "binding")),
        }
    }
}

fn is_in_use(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

/// A socket that listens on `address`, beside others of this user.
fn listen(address: SocketAddr, layer: &SocketLayer) -> Result<TcpListener, ListenError> {
    let socket = bind(address, layer)?;
    layer.terms().listen(&SockRef::from(&socket)).map_err(fail(&address.into(), "listening on"))?;
    Ok(socket.into())
}

/// A socket that has `address`, beside others of this user.
fn bind(address: SocketAddr, layer: &SocketLayer) -> Result<Socket, ListenError> {
    let socket = socket(address)?;
    socket.set_reuse_port(true).map_err(fail(&address.into(), "setting SO_REUSEPORT for"))?;
    let set = layer.terms().tcp.map_or(Ok(()), |tcp| tcp.set(&SockRef::from(&socket)));
    set.map_err(fail(&address.into(), "setting the options of"))?;
    socket.bind(&address.into()).map_err(fail(&address.into(), "binding"))?;
    Ok(socket)
}

/// A socket for `address`, closed on exec, that may bind while connections of an earlier listener
/// still fade away.
fn socket(address: SocketAddr) -> Result<Socket, ListenError> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))
        .map_err(fail(&address.into(), "making a socket for"))?;
    socket.set_reuse_address(true).map_err(fail(&address.into(), "setting SO_REUSEADDR for"))?;
    if address.is_ipv6() {
        // So that `[::]` and `0.0.0.0` can stand side by side, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(true).map_err(fail(&address.into(), "setting IPV6_V6ONLY for"))?;
    }
    Ok(socket)
}

fn fail(
    address: &ListenAddress,
    doing: &'static str,
) -> impl FnOnce(io::Error) -> ListenError + use<> {
    let address = address.clone();
    move |error| ListenError { address, doing, error }
}

impl fmt::Display for ListenError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, doing, error } = self;
        let Some(port) = address.port() else {
            return unix::explain(self, out);
        };
        match error.raw_os_error() {
            Some(libc::EADDRINUSE) => write!(
                out,
                "{address} is in use: something listens there already ({error}); find it with \
                 `ss -ltnp 'sport = :{port}'`, or listen on another port"
            ),
            Some(libc::EACCES) => write!(
                out,
                "{address} is refused to this user ({error}): ports below \
                 net.ipv4.ip_unprivileged_port_start, by default 1024, need CAP_NET_BIND_SERVICE; \
                 give it with `setcap cap_net_bind_service=+ep` on the program or with \
                 `AmbientCapabilities=CAP_NET_BIND_SERVICE` in a systemd unit, or take a higher \
                 port"
            ),
            Some(libc::EADDRNOTAVAIL) => write!(
                out,
                "{address} is not an address of this machine ({error}): `ip address` shows which \
                 are, and 0.0.0.0 or [::] stand for all of them"
            ),
            Some(libc::EMFILE | libc::ENFILE) => write!(
                out,
                "{address}: no file descriptor is left ({error}), and each shard needs one for \
                 each listener: raise `ulimit -n`, or set fewer shards or listeners"
            ),
            _ => write!(out, "{doing} {address}: {error}"),
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::process;
    use std::sync::atomic::{AtomicU16, Ordering};

    use super::*;
    use crate::config::{Config, Stack};

    fn open(listeners: &[Listener], shards: usize) -> Result<ListeningSockets, ListenError> {
        super::open(listeners, shards, Dealt::default())
    }

    fn listener(address: &str) -> Listener {
        Listener::new(address.parse::<ListenAddress>().unwrap())
    }

    /// A listener on a free port that no outgoing connection is given: those are 32768 and up.
    fn quiet_listener() -> Listener {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let first = 20_000 + (process::id() % 100) as u16 * 100;
        let port = (0..100)
            .map(|_| first + NEXT.fetch_add(1, Ordering::Relaxed))
            .find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok());
        listener(&format!("127.0.0.1:{}", port.unwrap()))
    }

    #[test]
    fn all_shards_share_the_port_that_the_first_one_gets() {
        let sockets = open(&[listener("127.0.0.1:0"), listener("127.0.0.1:0")], 3).unwrap();
        assert_eq!(sockets.by_shard.len(), 3);
        assert_ne!(sockets.addresses[0], sockets.addresses[1]);
        for shard in &sockets.by_shard {
            let own: Vec<SocketAddr> = shard
                .iter()
                .map(|socket| SockRef::from(socket).local_addr().unwrap().as_socket().unwrap())
                .collect();
            let own: Vec<ListenAddress> = own.into_iter().map(Into::into).collect();
            assert_eq!(own, sockets.addresses);
        }
    }

    #[test]
    fn every_shard_gets_a_share_of_the_connections() {
        let sockets = open(&[listener("127.0.0.1:0")], 3).unwrap();
        let peers: Vec<TcpStream> =
            (0..100).map(|_| TcpStream::connect(&sockets.addresses[0]).unwrap()).collect();
        for shard in &sockets.by_shard {
            shard[0].set_nonblocking(true).unwrap();
            assert!(shard[0].accept().is_ok(), "a shard got none of {}", peers.len());
        }
    }

    #[test]
    fn an_address_that_someone_listens_on_is_refused() {
        let first = open(&[quiet_listener()], 2).unwrap();
        let taken = first.addresses[0].ip().unwrap();
        for address in [taken.to_string(), format!("0.0.0.0:{}", taken.port())] {
            let error = open(&[listener(&address)], 2).unwrap_err();
            assert!(is_in_use(&error.error));
            let message = error.to_string();
            assert!(message.contains(&address) && message.contains("ss -ltnp"), "{message}");
        }
        drop(first);
        assert!(open(&[listener(&taken.to_string())], 2).is_ok(), "closed, so free again");
    }

    #[test]
    fn nobody_can_connect_to_what_is_only_bound() {
        let bound = bind_only(&[quiet_listener()], 2, Dealt::default()).unwrap();
        assert_eq!(bound.by_shard.len(), 2);
        let error = TcpStream::connect(&bound.addresses[0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let taken = open(&[quiet_listener()], 1).unwrap();
        assert!(
            bind_only(&[listener(&taken.addresses[0].to_string())], 1, Dealt::default()).is_err()
        );
    }

    #[test]
    fn an_address_that_is_free_in_a_moment_is_waited_for() {
        let first = open(&[quiet_listener()], 1).unwrap();
        let address = first.addresses[0].to_string();
        let closes = thread::spawn(move || {
            thread::sleep(PAUSE * 4);
            drop(first);
        });
        assert!(open(&[listener(&address)], 1).is_ok());
        closes.join().unwrap();
    }

    #[test]
    fn connections_of_an_earlier_listener_are_not_in_the_way() {
        let first = open(&[quiet_listener()], 1).unwrap();
        let address = first.addresses[0].ip().unwrap();
        let _peer = TcpStream::connect(address).unwrap();
        let (_accepted, _) = first.by_shard[0][0].accept().unwrap();
        drop(first);
        assert!(open(&[listener(&address.to_string())], 1).is_ok());
    }

    #[test]
    fn addresses_of_one_configuration_may_overlap() {
        let port = quiet_listener().address.ip().unwrap().port();
        let all = ["127.0.0.1", "0.0.0.0", "[::]"].map(|ip| listener(&format!("{ip}:{port}")));
        let sockets = open(&all, 2).unwrap();
        assert_eq!(sockets.addresses, all.map(|listener| listener.address));
    }

    /// What is served of these sockets, all of one address, by so many shards.
    fn open_passed(passed: Vec<TcpListener>, stack: &str, shards: usize) -> ListeningSockets {
        let address = passed[0].local_addr().unwrap();
        let mut config = Config::default().with_admin(None).with_listen(&[address.into()]);
        config.listeners[0].stack = Stack::parse(stack).unwrap();
        let passed = passed.into_iter().map(Into::into).collect();
        let dealt = Passed::new(passed).unwrap().deal(&config, shards).unwrap();
        super::open(&config.listeners, shards, dealt).unwrap()
    }

    #[test]
    fn shards_share_a_socket_that_was_passed() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let keeper = socket.try_clone().unwrap();
        let stack = "ws!tcp?nodelay=on&user_timeout=7s&backlog=3";
        let sockets = open_passed(vec![socket], stack, 3);
        assert_eq!((sockets.sharing, sockets.by_shard.len()), (vec![Sharing::Others], 3));
        let peers: Vec<TcpStream> =
            (0..3).map(|_| TcpStream::connect(&sockets.addresses[0]).unwrap()).collect();
        for shard in &sockets.by_shard {
            let accepted = Socket::from(shard[0].accept().unwrap().0);
            assert_eq!(accepted.tcp_user_timeout().unwrap(), Some(Duration::from_secs(7)));
        }
        drop((sockets.by_shard, peers));
        let _waits = TcpStream::connect(&sockets.addresses[0]).unwrap();
        keeper.accept().unwrap();
    }

    #[test]
    fn as_many_sockets_as_shards_are_one_for_each() {
        let first = bind(quiet_listener().address.ip().unwrap(), &SocketLayer::default()).unwrap();
        let address = first.local_addr().unwrap().as_socket().unwrap();
        let second = bind(address, &SocketLayer::default()).unwrap();
        let sockets = open_passed(vec![first.into(), second.into()], "ws!tcp", 2);
        let _peers: Vec<TcpStream> =
            (0..64).map(|_| TcpStream::connect(address).unwrap()).collect();
        for shard in &sockets.by_shard {
            shard[0].set_nonblocking(true).unwrap();
            assert!(shard[0].accept().is_ok(), "a shard got none");
        }
    }

    #[test]
    fn accepted_sockets_inherit_the_options() {
        let stack = "ws!tcp?nodelay=on&rcvbuf=64KiB&sndbuf=32KiB&user_timeout=7s";
        let stack = Stack::parse(stack).unwrap();
        let address: ListenAddress = "127.0.0.1:0".parse().unwrap();
        let sockets = open(&[Listener { stack, ..Listener::new(address) }], 1).unwrap();
        let _peer = TcpStream::connect(&sockets.addresses[0]).unwrap();
        let accepted = Socket::from(sockets.by_shard[0][0].accept().unwrap().0);
        assert!(accepted.tcp_nodelay().unwrap());
        assert_eq!(accepted.recv_buffer_size().unwrap(), 2 * (64 << 10));
        assert_eq!(accepted.send_buffer_size().unwrap(), 2 * (32 << 10));
        assert_eq!(accepted.tcp_user_timeout().unwrap(), Some(Duration::from_secs(7)));
    }

    #[test]
    fn each_refusal_names_the_address_and_the_remedy() {
        let cases = [
            (libc::EACCES, "CAP_NET_BIND_SERVICE"),
            (libc::EADDRNOTAVAIL, "ip address"),
            (libc::EMFILE, "ulimit -n"),
            (libc::EINVAL, "binding 10.1.2.3:80"),
        ];
        let address: ListenAddress = "10.1.2.3:80".parse().unwrap();
        for (errno, remedy) in cases {
            let error = io::Error::from_raw_os_error(errno);
            let address = address.clone();
            let message = ListenError { address, doing: "binding", error }.to_string();
            assert!(message.contains("10.1.2.3:80") && message.contains(remedy), "{message}");
        }
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        let error = open(&[listener("192.0.2.1:0")], 1).unwrap_err();
        assert_eq!(error.error.kind(), io::ErrorKind::AddrNotAvailable);
    }
}
