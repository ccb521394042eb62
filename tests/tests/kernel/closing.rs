//! How connections end.

use std::thread;

use tidegate::kernel::{Completion, Errno};
use tidegate_tests::case;

use crate::connection::blocks;
use crate::fixture::{Kernel, MOMENT};

#[test]
fn a_close_ends_the_connection() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    assert_eq!(kernel.submit([connection.close()]), []);
    peer.expect_end();
    kernel.expect_nothing();
}

#[test]
fn unpoll_and_close_in_one_batch_end_the_connection() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    assert_eq!(kernel.submit([connection.poll()]), []);
    assert_eq!(kernel.submit([connection.unpoll(), connection.close()]), []);
    peer.expect_end();
    kernel.expect_nothing();
}

#[test]
fn a_connection_can_be_polled_unpolled_and_closed_in_one_batch() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    let operations = [connection.poll(), connection.unpoll(), connection.close()];
    assert_eq!(kernel.submit(operations), []);
    peer.expect_end();
}

#[test]
fn unpoll_and_close_end_the_connection_though_its_poll_completes_meanwhile() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    assert_eq!(kernel.submit([connection.poll()]), []);
    peer.say(b"too late");
    // The poll fires, and its completion waits for an enter.
    thread::sleep(MOMENT);
    let late = kernel.submit([connection.unpoll(), connection.close()]);
    assert!(late.is_empty() || late == [connection.readable()], "{late:?}");
    peer.expect_gone();
    kernel.expect_nothing();
}

#[test]
fn a_close_with_bytes_unread_resets() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    peer.say(b"unread");
    kernel.wait_until_readable(connection);
    kernel.submit([connection.close()]);
    peer.expect_reset();
}

#[test]
fn a_close_after_everything_was_read_does_not_reset() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    peer.say(b"read");
    kernel.wait_until_readable(connection);
    let operations = [connection.receive_into(blocks(0, 4)), connection.close()];
    assert_eq!(kernel.submit(operations), [connection.received_into(Ok(4), false)]);
    peer.expect_end();
}

#[test]
fn after_the_end_of_writing_the_peer_can_still_send() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    assert_eq!(kernel.submit([connection.finish_writes()]), []);
    peer.expect_end();
    peer.say(b"a word more");
    kernel.lend(0);
    kernel.wait_until_readable(connection);
    assert_eq!(kernel.submit([connection.receive()]), [connection.received(0, 11)]);
    assert_eq!(kernel.received(0, 11), b"a word more");
}

#[test]
fn the_end_of_writing_leaves_an_armed_poll_armed() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    assert_eq!(kernel.submit([connection.poll(), connection.finish_writes()]), []);
    peer.expect_end();
    kernel.expect_nothing();
    peer.say(b"a word more");
    kernel.expect(connection.readable());
}

#[test]
fn the_end_of_writing_and_a_close_in_one_batch_end_the_connection() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    peer.say(b"unread");
    kernel.wait_until_readable(connection);
    assert_eq!(kernel.submit([connection.finish_writes(), connection.close()]), []);
    peer.expect_gone();
}

#[test]
fn the_end_of_writing_to_a_peer_that_has_reset_does_no_harm() {
    let mut kernel = Kernel::new();
    let (connection, peer) = kernel.open();
    peer.reset();
    kernel.wait_until_readable(connection);
    assert_eq!(kernel.submit([connection.finish_writes()]), []);
    assert_eq!(kernel.submit([connection.close()]), []);
}

#[test]
fn a_cancelled_send_and_a_close_in_one_batch_end_the_connection() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    let filled = kernel.fill(connection) as usize;
    assert_eq!(kernel.submit([connection.send_armed(blocks(0, 1000))]), []);
    kernel.push([connection.cancel_send(), connection.close()]);
    kernel.expect(connection.sent(Err(Errno::CANCELED)));
    assert_eq!(peer.hear_all().len(), filled);
}

#[test]
fn operations_on_a_slot_that_is_closed_fail_and_do_no_harm() {
    let mut kernel = Kernel::new();
    let ((closed, _peer), (other, mut other_peer)) = (kernel.open(), kernel.open());
    kernel.submit([closed.close()]);
    kernel.lend(0);
    let completions = kernel.submit([
        closed.receive_into(blocks(0, 10)),
        closed.send(blocks(0, 10)),
        closed.ask_unacknowledged(),
        closed.finish_writes(),
        closed.unpoll(),
        closed.close(),
    ]);
    case(format!("{completions:?}"), || {
        assert_eq!(completions.len(), 3);
        assert!(completions.iter().all(failed));
    });
    other_peer.say(b"hello");
    kernel.wait_until_readable(other);
    assert_eq!(kernel.submit([other.receive()]), [other.received(0, 5)]);
}

fn failed(completion: &Completion) -> bool {
    match completion {
        Completion::ReceivedInto { result, .. }
        | Completion::SendFellShort { result, .. }
        | Completion::Unacknowledged { result, .. } => result.is_err(),
        _ => false,
    }
}
