//! Sockets that were made elsewhere.

use std::net::TcpListener;
use std::os::fd::OwnedFd;

use tidegate::kernel::Ring;

use crate::connection::Connection;
use crate::fixture::Kernel;
use crate::peer::Peer;

/// A socket that no ring has made, and its peer.
pub fn socket() -> (OwnedFd, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let peer = Peer::connect(listener.local_addr().expect("it is bound"));
    (listener.accept().expect("the peer is waiting").0.into(), peer)
}

#[test]
fn a_connection_can_be_accepted_beside_the_ring_and_nobody_waits_for_one() {
    let mut kernel = Kernel::new();
    let none = kernel.ring.accept_aside(0).expect_err("nobody has connected");
    assert_eq!(none.kind(), std::io::ErrorKind::WouldBlock);
    let mut peer = Peer::connect(kernel.address);
    let (socket, address) = loop {
        match kernel.ring.accept_aside(0) {
            Ok(accepted) => break accepted,
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    };
    assert_eq!(address, peer.address());
    kernel.adopt(5, vec![socket]).expect("the slot is free");
    let connection = Connection { slot: 5, generation: 1 };
    peer.say(b"hello");
    assert_eq!(kernel.submit([connection.poll()]).len(), 1);
}

#[test]
fn adopted_sockets_are_connections_like_others() {
    let mut kernel = Kernel::new();
    let (sockets, mut peers): (Vec<_>, Vec<_>) = (0..2).map(|_| socket()).unzip();
    kernel.adopt(3, sockets).expect("the slots are free");
    for (slot, peer) in (3..).zip(&mut peers) {
        let connection = Connection { slot, generation: 1 };
        assert_eq!(kernel.submit([connection.poll()]), []);
        kernel.expect_nothing();
        peer.say(b"a");
        kernel.expect(connection.readable());
        kernel.push([connection.close()]);
    }
}

#[test]
fn closing_an_adopted_socket_ends_it() {
    let mut kernel = Kernel::new();
    let (socket, mut peer) = socket();
    kernel.adopt(0, vec![socket]).expect("the slot is free");
    assert_eq!(kernel.submit([Connection { slot: 0, generation: 1 }.close()]), []);
    assert_eq!(peer.hear_all(), b"");
}

#[test]
fn there_is_no_slot_beyond_the_table() {
    let mut kernel = Kernel::new();
    assert!(kernel.adopt(8, vec![socket().0]).is_err());
}

/// The slot's last connection may still have its close in the queue.
#[test]
fn what_was_pushed_before_is_carried_out_before_a_socket_is_adopted() {
    let mut kernel = Kernel::new();
    let ((before, mut gone), (socket, mut peer)) = (socket(), socket());
    kernel.adopt(0, vec![before]).expect("the slot is free");
    let connection = Connection { slot: 0, generation: 1 };
    kernel.push([connection.close()]);
    kernel.adopt(0, vec![socket]).expect("the slot is free");
    assert_eq!(gone.hear_all(), b"");
    peer.say(b"a");
    kernel.lend(0);
    // A poll would complete as well if there were no connection.
    kernel.wait_until_readable(connection);
    assert_eq!(kernel.submit([connection.receive()]), [connection.received(0, 1)]);
}
