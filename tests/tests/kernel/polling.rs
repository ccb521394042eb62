//! Polls of connections.

use tidegate::kernel::{Completion, Errno};
use tidegate_tests::case;

use crate::connection::{Connection, staging};
use crate::fixture::{BUFFER_SIZE, Kernel, MOMENT};
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
    let cases: [(&str, Act, bool); 3] = [
        (
            "bytes",
            |mut peer| {
                peer.say(b"a");
                Some(peer)
            },
            false,
        ),
        (
            "an end",
            |peer| {
                peer.finish();
                Some(peer)
            },
            true,
        ),
        (
            "a reset",
            |peer| {
                peer.reset();
                None
            },
            true,
        ),
    ];
    for (name, act, ends) in cases {
        let mut kernel = Kernel::new();
        let (connection, peer) = kernel.open();
        let readable = if ends { ended(connection.readable()) } else { connection.readable() };
        assert_eq!(kernel.submit([connection.poll()]), []);
        let _peer = act(peer);
        case(name, || kernel.expect(readable));
        // What was not received is still there for the next poll, which does not wait.
        case(name, || assert_eq!(kernel.submit([connection.poll()]), [readable]));
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

/// The same, of a peer that has ended or failed.
fn ended(readable: Completion) -> Completion {
    let Completion::Readable { slot, generation, armed, .. } = readable else { panic!() };
    Completion::Readable { slot, generation, armed, ended: true }
}

/// A connection whose poll stays armed, and its peer.
pub fn polled_on() -> (Kernel, Connection, Peer) {
    let mut kernel = Kernel::new();
    let (connection, peer) = kernel.open();
    assert_eq!(kernel.submit([connection.poll_on()]), []);
    (kernel, connection, peer)
}

/// Receives into buffer 0, which has `count` bytes then; yields whether there is more.
#[track_caller]
fn receive(kernel: &mut Kernel, connection: Connection, count: u32) -> bool {
    kernel.lend(0);
    kernel.push([connection.receive()]);
    let Completion::Received { result, more, .. } = kernel.next() else { panic!("no receive") };
    assert_eq!(result, Ok(count));
    more
}

#[test]
fn a_poll_that_stays_tells_of_what_was_there_before_it() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    peer.say(b"a");
    kernel.wait_until_readable(connection);
    kernel.push([connection.poll_on()]);
    kernel.expect(connection.still_polled());
    kernel.expect_nothing();
}

#[test]
fn a_poll_that_stays_tells_of_each_arrival_whether_or_not_the_last_was_received() {
    let (mut kernel, connection, mut peer) = polled_on();
    for _ in 0..3 {
        peer.say(b"a");
        kernel.expect(connection.still_polled());
        kernel.expect_nothing();
    }
    assert!(!receive(&mut kernel, connection, 3));
    kernel.expect_nothing();
    peer.say(b"a");
    kernel.expect(connection.still_polled());
}

#[test]
fn a_poll_that_stays_says_nothing_of_what_a_receive_has_left() {
    let (mut kernel, connection, mut peer) = polled_on();
    peer.say(&[1; BUFFER_SIZE + 1]);
    kernel.expect(connection.still_polled());
    assert!(receive(&mut kernel, connection, BUFFER_SIZE as u32), "the receive tells");
    kernel.expect_nothing();
    assert!(!receive(&mut kernel, connection, 1));
    kernel.expect_nothing();
}

#[test]
fn a_poll_that_stays_tells_of_what_arrives_behind_a_receive_that_found_nothing() {
    let (mut kernel, connection, mut peer) = polled_on();
    kernel.lend(0);
    assert_eq!(kernel.submit([connection.receive()]), [connection.not_received(Errno::AGAIN)]);
    peer.say(b"a");
    kernel.expect(connection.still_polled());
    assert!(!receive(&mut kernel, connection, 1));
}

#[test]
fn what_arrives_between_a_poll_that_stays_and_the_receive_is_received_by_it() {
    let (mut kernel, connection, mut peer) = polled_on();
    peer.say(b"a");
    kernel.expect(connection.still_polled());
    peer.say(b"b");
    // Long enough for it to arrive: the kernel is not entered meanwhile.
    std::thread::sleep(MOMENT);
    kernel.lend(0);
    kernel.push([connection.receive()]);
    kernel.expect(connection.received(0, 2));
    // What the poll says of the second byte is in vain by now, and stands behind the receive.
    let behind = kernel.next_within(MOMENT);
    assert!(behind.is_none_or(|next| next == connection.still_polled()), "{behind:?}");
    kernel.lend(1);
    assert_eq!(kernel.submit([connection.receive()]), [connection.not_received(Errno::AGAIN)]);
}

#[test]
fn what_arrives_in_silence_before_a_full_receive_is_told_of_behind_it() {
    let (mut kernel, connection, mut peer) = polled_on();
    peer.say(&[1; BUFFER_SIZE + 1]);
    std::thread::sleep(MOMENT);
    assert!(receive(&mut kernel, connection, BUFFER_SIZE as u32));
    kernel.expect(connection.still_polled());
}

/// A receive stops where urgent data stands, as if the socket were empty.
#[test]
fn what_is_behind_urgent_data_is_received_by_who_goes_by_what_is_told() {
    for is_awaited in [true, false] {
        let (mut kernel, connection, mut peer) = polled_on();
        peer.say(b"a");
        if is_awaited {
            kernel.expect(connection.still_polled());
        }
        peer.say_urgently(b'!');
        peer.say(b"b");
        std::thread::sleep(MOMENT);
        let mut heard = Vec::new();
        let is_told = |next| matches!(next, Completion::Readable { .. }).then_some(());
        kernel.enter_until(is_told);
        kernel.lend(0);
        while heard.len() < 2 {
            kernel.push([connection.receive()]);
            let (result, more) = kernel.enter_until(|next| match next {
                Completion::Received { result, more, .. } => Some((result, more)),
                _ => None,
            });
            if let Ok(count) = result {
                heard.extend_from_slice(kernel.received(0, count as usize));
                kernel.lend(0);
            }
            if !more && heard.len() < 2 {
                kernel.enter_until(is_told);
            }
        }
        assert_eq!(heard, b"ab");
    }
}

#[test]
fn a_poll_that_stays_tells_of_an_end_and_the_receive_before_says_there_is_more() {
    let (mut kernel, connection, mut peer) = polled_on();
    peer.say(b"a");
    peer.finish();
    expect_end(&mut kernel, connection);
    assert!(receive(&mut kernel, connection, 1), "the end is yet to be received");
    kernel.lend(0);
    kernel.push([connection.receive()]);
    let Completion::Received { result: Ok(0), .. } = kernel.next() else { panic!("no end") };
}

#[test]
fn only_the_poll_tells_of_a_reset_behind_bytes() {
    let (mut kernel, connection, mut peer) = polled_on();
    peer.say(b"a");
    peer.reset();
    expect_end(&mut kernel, connection);
    // Whether it says that there is more is not to be relied on.
    receive(&mut kernel, connection, 1);
    kernel.lend(0);
    kernel.push([connection.receive()]);
    let Completion::Received { result, .. } = kernel.next() else { panic!("no receive") };
    assert!(result.is_err() || result == Ok(0), "{result:?}");
}

/// Takes what the poll tells until it tells of the end.
#[track_caller]
fn expect_end(kernel: &mut Kernel, connection: Connection) {
    loop {
        let next = kernel.next();
        if next == ended(connection.readable()) || next == ended(connection.still_polled()) {
            return;
        }
        assert_eq!(next, connection.still_polled());
    }
}

#[test]
fn a_poll_that_stays_is_removed_like_any_other() {
    let (mut kernel, connection, mut peer) = polled_on();
    peer.say(b"a");
    kernel.expect(connection.still_polled());
    assert!(!receive(&mut kernel, connection, 1));
    assert_eq!(kernel.submit([connection.unpoll()]), []);
    peer.say(b"b");
    kernel.expect_nothing();
    assert!(!receive(&mut kernel, connection, 1));
    kernel.push([connection.poll_on(), connection.unpoll(), connection.close()]);
    kernel.expect_nothing();
    peer.expect_end();
}
