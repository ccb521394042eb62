//! What only the driver of epoll does.

use std::thread;

use tidegate::kernel::{AreaName, Completion, Errno, Span};

use crate::accepting::{CLOSE, POLL, apart, expect_refused};
use crate::adopting::socket;
use crate::connection::{Connection, blocks};
use crate::fixture::{Kernel, MOMENT, accept};
use crate::peer::Peer;

#[test]
fn a_close_ends_the_connection_whatever_is_armed() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    kernel.fill(connection);
    assert_eq!(kernel.submit([connection.poll(), connection.send_armed(blocks(0, 1000))]), []);
    assert_eq!(kernel.submit([connection.close()]), []);
    peer.hear_all();
    kernel.expect_nothing();
}

#[test]
fn the_next_of_a_slot_has_nothing_of_the_last() {
    let mut kernel = Kernel::new();
    let (older, mut older_peer) = kernel.open();
    kernel.fill(older);
    older_peer.say(b"a");
    assert_eq!(kernel.submit([older.poll_on(), older.send_armed(blocks(0, 1000))]).len(), 1);
    assert_eq!(kernel.submit([older.close()]), []);
    let (newer, mut peer) = kernel.open_as(older.successor());
    assert_eq!(kernel.submit([newer.poll()]), [], "nothing was said to the newer one");
    assert_eq!(kernel.submit([newer.cancel_send(), older.cancel_send()]), []);
    peer.expect_silence();
    peer.say(b"hello");
    kernel.expect(newer.readable());
}

/// As if the program had forked: another descriptor keeps the socket, and epoll goes on telling of
/// it.
#[test]
fn who_is_closed_here_but_held_elsewhere_is_not_taken_for_the_next_of_the_slot() {
    let mut kernel = Kernel::new();
    let ((older, mut older_peer), (newer, mut peer)) = (socket(), socket());
    let held = older.try_clone().expect("a descriptor");
    kernel.adopt(0, vec![older]).expect("the slot is free");
    kernel.push([Connection { slot: 0, generation: 1 }.close()]);
    kernel.adopt(0, vec![newer]).expect("the slot is free");
    let connection = Connection { slot: 0, generation: 2 };
    assert_eq!(kernel.submit([connection.poll()]), []);
    older_peer.say(b"a");
    older_peer.finish();
    kernel.expect_nothing();
    peer.say(b"a");
    kernel.expect(connection.readable());
    drop(held);
}

#[test]
fn a_listener_that_is_closed_refuses_though_its_poll_is_armed() {
    let mut kernel = apart();
    assert_eq!(kernel.submit([POLL]), []);
    assert_eq!(kernel.submit([CLOSE]), []);
    expect_refused(kernel.address);
    kernel.expect_nothing();
}

/// An enter that brings completions asks epoll no more, but the next one does, so that nobody
/// starves beside those whose operations complete at once.
#[test]
fn of_two_enters_one_asks_what_is_ready() {
    let mut kernel = Kernel::new();
    let ((busy, _silent), (waiting, mut peer)) = (kernel.open(), kernel.open());
    assert_eq!(kernel.submit([waiting.poll_on()]), []);
    let readable = waiting.still_polled();
    let mut has_told = || {
        peer.say(b"a");
        thread::sleep(MOMENT);
        kernel.submit([busy.receive_into(blocks(0, 1))]).contains(&readable)
    };
    let told = [(); 6].map(|()| has_told());
    assert!(told == [true, false].repeat(3)[..] || told == [false, true].repeat(3)[..], "{told:?}");
}

#[test]
fn accepts_behind_one_that_finds_nobody_find_nobody() {
    let mut kernel = Kernel::new();
    for _ in 0..3 {
        let completions = kernel.submit([accept(0), accept(1), accept(2)]);
        let empty = |completion: &Completion| {
            matches!(completion, Completion::Accepted { result: Err(Errno::AGAIN), .. })
        };
        assert!(completions.len() == 3 && completions.iter().all(empty), "{completions:?}");
    }
    // What an enter has found is forgotten with the next.
    let peer = Peer::connect(kernel.address);
    assert_eq!(kernel.accept(0), peer.address());
}

#[test]
#[should_panic(expected = "out of range")]
fn memory_outside_of_an_area_never_reaches_the_kernel() {
    let mut kernel = Kernel::new();
    let (connection, _peer) = kernel.open();
    let span = Span { area: AreaName::Receive, start: 0, length: 1 << 20 };
    kernel.submit([connection.receive_into(span)]);
}
