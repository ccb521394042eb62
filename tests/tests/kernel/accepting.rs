//! Listeners: accepts into chosen slots, polls, and the end of listening.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};

use socket2::{Domain, Socket, Type};
use tidegate::kernel::{self, ACCEPT_BATCH, Completion, Errno, Operation, Ring};
use tidegate_tests::case;

use crate::connection::{blocks, staging};
use crate::fixture::{Kernel, LISTENER, Sizes, accept};
use crate::peer::Peer;

const BAD_DESCRIPTOR: Errno = Errno(9);

pub const POLL: Operation = Operation::PollListener { listener: LISTENER };
const UNPOLL: Operation = Operation::UnpollListener { listener: LISTENER };
pub const CLOSE: Operation = Operation::CloseListener { listener: LISTENER };
pub const READY: Completion = Completion::ListenerReady { listener: LISTENER };

/// An address that no other test listens on: a port that is closed here stays closed.
pub fn apart() -> Kernel {
    Kernel::with(Sizes { listen: "127.13.0.1:0", ..Sizes::default() })
}

pub fn accepted(slot: u32, result: Result<kernel::Peer, Errno>) -> Completion {
    Completion::Accepted { listener: LISTENER, slot, result }
}

/// Somebody connects and waits to be accepted.
pub fn arrive(kernel: &mut Kernel) -> Peer {
    let peer = Peer::connect(kernel.address);
    kernel.push([POLL]);
    kernel.expect(READY);
    peer
}

#[track_caller]
pub fn expect_refused(address: SocketAddr) {
    let error = TcpStream::connect(address).expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn an_accept_takes_the_slot_that_was_asked_for_and_reports_the_peers_address() {
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let mut kernel = Kernel::with(Sizes { listen, ..Sizes::default() });
        let mut peer = Peer::connect(kernel.address);
        case(listen, || assert_eq!(kernel.accept(5), peer.address()));
        let send = Operation::Send { slot: 5, batch_index: 0, span: staging(0, 10) };
        assert_eq!(kernel.submit([send]), []);
        assert_eq!(peer.hear(10), kernel.memory.bytes(staging(0, 10)));
    }
}

#[test]
fn an_accept_with_nobody_there_says_again() {
    let mut kernel = Kernel::new();
    assert_eq!(kernel.submit([accept(0)]), [accepted(0, Err(Errno::AGAIN))]);
    kernel.expect_nothing();
    // The slot is still free.
    kernel.open();
}

#[test]
fn accepts_of_one_batch_take_the_connections_in_the_order_in_which_they_came() {
    let mut kernel = Kernel::new();
    let peers = [arrive(&mut kernel), arrive(&mut kernel)];
    let expected = peers.each_ref().map(Peer::address);
    let completions = kernel.submit([accept(6), accept(1)]);
    assert_eq!(completions[0], accepted(6, Ok(expected[0])));
    // The second one may arrive a moment later than it believes.
    if completions[1] == accepted(1, Err(Errno::AGAIN)) {
        assert_eq!(kernel.accept(1), expected[1]);
    } else {
        assert_eq!(completions[1], accepted(1, Ok(expected[1])));
    }
}

#[test]
fn a_full_batch_of_accepts_is_answered_again_and_again() {
    let mut kernel =
        Kernel::with(Sizes { slots: ACCEPT_BATCH as u32, submissions: 16, ..Sizes::default() });
    for round in 0..3 {
        kernel.push((0..ACCEPT_BATCH as u32).map(accept));
        for slot in 0..ACCEPT_BATCH as u32 {
            case(round, || kernel.expect(accepted(slot, Err(Errno::AGAIN))));
        }
    }
}

#[test]
fn a_slot_that_is_closed_can_be_accepted_into_in_the_same_batch() {
    let mut kernel = Kernel::new();
    let (first, mut first_peer) = kernel.open();
    let mut peer = arrive(&mut kernel);
    let completions = kernel.submit([first.close(), accept(first.slot)]);
    assert_eq!(completions, [accepted(first.slot, Ok(peer.address()))]);
    first_peer.expect_end();
    peer.say(b"hello");
    let second = first.successor();
    kernel.wait_until_readable(second);
    let completions = kernel.submit([second.receive_into(blocks(0, 5))]);
    assert_eq!(completions, [second.received_into(Ok(5), false)]);
}

#[test]
fn a_slot_whose_poll_is_removed_can_be_given_away_in_the_same_batch() {
    let mut kernel = Kernel::new();
    let (first, mut first_peer) = kernel.open();
    assert_eq!(kernel.submit([first.poll()]), []);
    let mut peer = arrive(&mut kernel);
    let second = first.successor();
    let operations = [first.unpoll(), first.close(), accept(first.slot)];
    assert_eq!(kernel.submit(operations), [accepted(first.slot, Ok(peer.address()))]);
    first_peer.expect_end();
    assert_eq!(kernel.submit([second.poll()]), []);
    kernel.expect_nothing();
    peer.say(b"hello");
    kernel.expect(second.readable());
}

#[test]
fn a_poll_of_a_listener_completes_once_and_again_while_somebody_waits() {
    let mut kernel = Kernel::new();
    assert_eq!(kernel.submit([POLL]), []);
    kernel.expect_nothing();
    let _first = Peer::connect(kernel.address);
    kernel.expect(READY);
    let _second = Peer::connect(kernel.address);
    kernel.expect_nothing();
    assert_eq!(kernel.submit([POLL]), [READY], "it is still there");
    kernel.accept(0);
    kernel.push([POLL]);
    kernel.expect(READY);
    kernel.accept(1);
    assert_eq!(kernel.submit([POLL]), []);
    kernel.expect_nothing();
}

#[test]
fn a_poll_of_a_listener_that_was_removed_says_nothing() {
    let mut kernel = Kernel::new();
    assert_eq!(kernel.submit([POLL]), []);
    assert_eq!(kernel.submit([UNPOLL]), []);
    let _peer = Peer::connect(kernel.address);
    kernel.expect_nothing();
}

#[test]
fn a_listener_that_is_unpolled_and_closed_in_one_batch_refuses_whoever_comes() {
    let mut kernel = apart();
    assert_eq!(kernel.submit([POLL]), []);
    assert_eq!(kernel.submit([UNPOLL, CLOSE]), []);
    expect_refused(kernel.address);
    kernel.expect_nothing();
}

#[test]
fn a_listener_that_is_unpolled_and_closed_in_two_batches_refuses_whoever_comes() {
    let mut kernel = apart();
    assert_eq!(kernel.submit([POLL]), []);
    assert_eq!(kernel.submit([UNPOLL]), []);
    assert_eq!(kernel.submit([CLOSE]), []);
    expect_refused(kernel.address);
}

#[test]
fn a_listener_can_be_polled_unpolled_and_closed_in_one_batch() {
    let mut kernel = apart();
    assert_eq!(kernel.submit([POLL, UNPOLL, CLOSE]), []);
    expect_refused(kernel.address);
}

#[test]
fn accepts_in_front_of_the_end_of_listening_are_done_and_the_rest_is_reset() {
    let mut kernel = apart();
    let mut first = arrive(&mut kernel);
    let mut second = Peer::connect(kernel.address);
    let completions = kernel.submit([accept(3), CLOSE]);
    assert_eq!(completions, [accepted(3, Ok(first.address()))]);
    second.expect_reset();
    expect_refused(kernel.address);
    let send = Operation::Send { slot: 3, batch_index: 0, span: staging(0, 10) };
    assert_eq!(kernel.submit([send]), []);
    assert_eq!(first.hear(10), kernel.memory.bytes(staging(0, 10)));
}

#[test]
fn an_accept_behind_the_end_of_listening_fails() {
    let mut kernel = apart();
    let _peer = Peer::connect(kernel.address);
    let completions = kernel.submit([CLOSE, accept(0), POLL]);
    assert_eq!(completions[0], accepted(0, Err(BAD_DESCRIPTOR)));
    // A poll that cannot be is answered like one that completes: an accept knows better.
    assert_eq!(completions[1..], [READY]);
}

#[test]
fn a_listener_that_is_opened_later_is_as_one_from_the_start() {
    let mut kernel = apart();
    assert_eq!(kernel.submit([POLL]), []);
    assert_eq!(kernel.submit([UNPOLL, CLOSE]), []);
    // What is called as the one that was closed, and what is called as none before.
    for listener in [LISTENER, 5] {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any: SocketAddr = "127.13.0.2:0".parse().expect("an address");
        socket.bind(&any.into()).expect("a free port");
        let address = socket.local_addr().expect("it is bound").as_socket().expect("of IP");
        let its = TcpListener::from(socket.try_clone().expect("a descriptor"));
        kernel.ring.open_listener(listener, its.into()).expect("it can be watched");
        expect_refused(address);
        kernel.expect_nothing();
        socket.listen(8).expect("it listens");
        assert_eq!(kernel.submit([Operation::PollListener { listener }]), []);
        kernel.expect_nothing();
        let peer = Peer::connect(address);
        kernel.expect(Completion::ListenerReady { listener });
        let completions = kernel.submit([Operation::Accept { listener, slot: listener }]);
        let result = Ok(peer.address());
        assert_eq!(completions, [Completion::Accepted { listener, slot: listener, result }]);
        assert!(kernel.ring.listener(listener).is_some());
        kernel.submit([Operation::CloseListener { listener }]);
        assert!(kernel.ring.listener(listener).is_none());
        drop(socket);
        expect_refused(address);
    }
}
