//! What only the driver of epoll does.

use std::thread;
use std::time::Duration;

use tidegate::kernel::{AreaName, Completion, Errno, Ring, Span};

use crate::accepting::{CLOSE, POLL, apart, expect_refused};
use crate::connection::blocks;
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
    assert_eq!(kernel.submit([waiting.poll()]), []);
    peer.say(b"a");
    thread::sleep(MOMENT);
    let nothing = |completion| {
        let Completion::ReceivedInto { result: Err(Errno::AGAIN), .. } = completion else {
            return Some(completion);
        };
        None
    };
    let mut told = None;
    for _ in 0..2 {
        kernel.push([busy.receive_into(blocks(0, 1))]);
        kernel.enter(Duration::ZERO);
        told = told.or(std::iter::from_fn(|| kernel.ring.completion()).find_map(nothing));
    }
    assert_eq!(told, Some(waiting.readable()));
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
