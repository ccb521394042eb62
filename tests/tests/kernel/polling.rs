//! Polls of connections.

use tidegate_tests::case;

use crate::connection::staging;
use crate::fixture::Kernel;
use crate::peer::Peer;

#[test]
fn a_poll_completes_once_and_is_then_disarmed() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    assert_eq!(kernel.submit([connection.poll()]), []);
    kernel.expect_nothing();
    peer.say(b"a");
    kernel.expect(connection.readable());
    peer.say(b"b");
    kernel.expect_nothing();
    peer.finish();
    kernel.expect_nothing();
}

#[test]
fn a_poll_completes_for_bytes_an_end_and_a_reset() {
    type Act = fn(Peer) -> Option<Peer>;
    let cases: [(&str, Act); 3] = [
        ("bytes", |mut peer| {
            peer.say(b"a");
            Some(peer)
        }),
        ("an end", |peer| {
            peer.finish();
            Some(peer)
        }),
        ("a reset", |peer| {
            peer.reset();
            None
        }),
    ];
    for (name, act) in cases {
        let mut kernel = Kernel::new();
        let (connection, peer) = kernel.open();
        assert_eq!(kernel.submit([connection.poll()]), []);
        let _peer = act(peer);
        case(name, || kernel.expect(connection.readable()));
        // What was not received is still there for the next poll, which does not wait.
        case(name, || assert_eq!(kernel.submit([connection.poll()]), [connection.readable()]));
    }
}

#[test]
fn a_poll_does_not_complete_for_room_to_send() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    let sent = kernel.fill(connection);
    assert_eq!(kernel.submit([connection.poll()]), []);
    peer.hear(sent as usize);
    kernel.expect_nothing();
}

#[test]
fn a_poll_that_was_removed_says_nothing() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    assert_eq!(kernel.submit([connection.poll()]), []);
    assert_eq!(kernel.submit([connection.unpoll()]), []);
    peer.say(b"a");
    kernel.expect_nothing();
    kernel.push([connection.poll()]);
    kernel.expect(connection.readable());
}

#[test]
fn a_poll_can_be_armed_and_removed_in_one_batch() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    assert_eq!(kernel.submit([connection.poll(), connection.unpoll()]), []);
    peer.say(b"a");
    kernel.expect_nothing();
}

#[test]
fn removing_a_poll_that_is_not_armed_says_nothing() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    assert_eq!(kernel.submit([connection.unpoll()]), []);
    kernel.expect_nothing();
    peer.say(b"a");
    kernel.wait_until_readable(connection);
    assert_eq!(kernel.submit([connection.unpoll()]), []);
}

#[test]
fn removing_the_poll_of_an_older_generation_leaves_the_newer_one_armed() {
    let mut kernel = Kernel::new();
    let (older, mut peer) = kernel.open();
    let newer = older.successor();
    assert_eq!(kernel.submit([newer.poll(), older.unpoll()]), []);
    peer.say(b"a");
    kernel.expect(newer.readable());
}

#[test]
fn a_poll_waits_beside_sends() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    assert_eq!(kernel.submit([connection.poll()]), []);
    assert_eq!(kernel.submit([connection.send(staging(0, 100))]), []);
    assert_eq!(peer.hear(100), kernel.memory.bytes(staging(0, 100)));
    kernel.expect_nothing();
    peer.say(b"a");
    kernel.expect(connection.readable());
}
