//! Unix sockets, which keep the same rules, and what is their own.

use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicU32, Ordering};

use tidegate::kernel::{Completion, ListeningSocket, Peer, Ring};

use crate::connection::{Connection, staging};
use crate::fixture::{FIRST_GENERATION, Kernel};

/// A kernel that listens on a Unix socket, and where.
fn kernel() -> (Kernel, SocketAddr) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("tidegate-kernel-{}-{number}", std::process::id());
    let address = SocketAddr::from_abstract_name(name).expect("it is short");
    let listener = UnixListener::bind_addr(&address).expect("the name is free");
    (Kernel::on(ListeningSocket::Unix(listener, None)), address)
}

#[test]
fn who_connects_is_known_by_the_kernel() {
    let (mut kernel, address) = kernel();
    assert!(kernel.try_accept(1).is_err(), "nobody has connected");
    let mut peers = Vec::new();
    for slot in 0..3 {
        peers.push(UnixStream::connect_addr(&address).expect("it listens"));
        match kernel.accept(slot) {
            Peer::Unix { pid, .. } => assert_eq!(pid, std::process::id()),
            other => panic!("not {other}"),
        }
    }
    peers.push(UnixStream::connect_addr(&address).expect("it listens"));
    let (_socket, peer) = kernel.ring.accept_aside(0).expect("somebody waits");
    assert!(matches!(peer, Peer::Unix { .. }), "{peer}");
}

#[test]
fn what_a_peer_has_not_read_is_told() {
    let (mut kernel, address) = kernel();
    let peer = UnixStream::connect_addr(&address).expect("it listens");
    kernel.accept(0);
    let connection = Connection { slot: 0, generation: FIRST_GENERATION };
    let told = |kernel: &mut Kernel| {
        kernel.push([connection.ask_unacknowledged()]);
        match kernel.next() {
            Completion::Unacknowledged { slot: 0, generation: FIRST_GENERATION, result } => {
                result.expect("it is known")
            }
            other => panic!("not {other:?}"),
        }
    };
    assert_eq!(told(&mut kernel), 0);
    for _ in 0..2 {
        let span = staging(0, 1000);
        assert_eq!(kernel.submit([connection.send(span)]), []);
    }
    let both = told(&mut kernel);
    assert!(both >= 2000, "{both}");
    read(&peer, 1000);
    let one = told(&mut kernel);
    assert!((1000..both).contains(&one), "{one}, of {both} before");
    read(&peer, 1000);
    assert_eq!(told(&mut kernel), 0);
}

#[test]
fn who_was_accepted_elsewhere_goes_on_in_a_slot() {
    let (mut kernel, _) = kernel();
    let (ours, peer) = UnixStream::pair().expect("descriptors are left");
    kernel.adopt(7, vec![OwnedFd::from(ours)]).expect("the slot is free");
    let connection = Connection { slot: 7, generation: 1 };
    assert_eq!(kernel.submit([connection.poll()]), []);
    std::io::Write::write_all(&mut &peer, b"a").expect("there is room");
    kernel.expect(connection.readable());
    kernel.submit([connection.finish_writes()]);
    kernel.submit([]);
    read(&peer, 0);
}

/// Reads so many bytes, or the end.
fn read(mut peer: &UnixStream, count: usize) {
    let mut bytes = vec![0; count.max(1)];
    match count {
        0 => assert_eq!(std::io::Read::read(&mut peer, &mut bytes).expect("an end"), 0),
        _ => std::io::Read::read_exact(&mut peer, &mut bytes).expect("they are there"),
    }
}
