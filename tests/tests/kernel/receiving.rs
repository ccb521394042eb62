//! Receives: into buffers that were lent, and into the caller's memory.

use tidegate::kernel::{AreaName, BufferId, Completion, Errno, HEADROOM};
use tidegate_tests::case;

use crate::connection::{Connection, blocks, staging};
use crate::fixture::{BUFFER_SIZE, Kernel};

const RESET: Errno = Errno(104);

#[test]
fn a_receive_of_what_is_there_completes_within_its_enter() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    kernel.lend(2);
    peer.say(b"hello");
    kernel.wait_until_readable(connection);
    assert_eq!(kernel.submit([connection.receive()]), [connection.received(2, 5)]);
    assert_eq!(kernel.received(2, 5), b"hello");
}

#[test]
fn a_receive_writes_behind_the_headroom_and_nowhere_else() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    kernel.memory.area_mut(AreaName::Receive).fill(b'-');
    let mut expected = kernel.memory.area(AreaName::Receive).to_vec();
    expected[HEADROOM..HEADROOM + BUFFER_SIZE].fill(b'x');
    kernel.lend(0);
    peer.say(&[b'x'; BUFFER_SIZE]);
    kernel.wait_until_readable(connection);
    let completions = kernel.submit([connection.receive()]);
    assert_eq!(completions, [connection.received(0, BUFFER_SIZE as u32)]);
    assert!(kernel.memory.area(AreaName::Receive) == expected);
}

#[test]
fn a_receive_of_nothing_says_again_and_takes_no_buffer() {
    let mut kernel = Kernel::new();
    let (connection, _peer) = kernel.open();
    kernel.lend(0);
    assert_eq!(kernel.submit([connection.receive()]), [connection.not_received(Errno::AGAIN)]);
    kernel.expect_nothing();
}

#[test]
fn a_buffer_that_was_not_taken_serves_the_next_receive() {
    let mut kernel = Kernel::new();
    let ((silent, _quiet), (connection, mut peer)) = (kernel.open(), kernel.open());
    kernel.lend(3);
    peer.say(b"hello");
    kernel.wait_until_readable(connection);
    let completions = kernel.submit([silent.receive(), connection.receive()]);
    assert_eq!(completions, [silent.not_received(Errno::AGAIN), connection.received(3, 5)]);
    assert_eq!(kernel.received(3, 5), b"hello");
}

#[test]
fn a_receive_without_a_buffer_says_so_and_loses_nothing() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    let no_buffers = connection.not_received(Errno::NO_BUFFERS);
    case("nothing is there", || assert_eq!(kernel.submit([connection.receive()]), [no_buffers]));
    peer.say(b"hello");
    kernel.wait_until_readable(connection);
    case("a little is there", || assert_eq!(kernel.submit([connection.receive()]), [no_buffers]));
    kernel.lend(1);
    assert_eq!(kernel.submit([connection.receive()]), [connection.received(1, 5)]);
    assert_eq!(kernel.received(1, 5), b"hello");
}

#[test]
fn receives_take_the_buffers_in_the_order_in_which_they_were_lent() {
    let mut kernel = Kernel::new();
    let mut peers = [(); 3].map(|()| kernel.open());
    for (connection, peer) in &mut peers {
        peer.say(b"hi");
        kernel.wait_until_readable(*connection);
    }
    let [first, second, third] = peers.each_ref().map(|(connection, _)| *connection);
    kernel.lend(2);
    kernel.lend(0);
    let completions = kernel.submit([third.receive(), first.receive(), second.receive()]);
    let no_buffers = second.not_received(Errno::NO_BUFFERS);
    assert_eq!(completions, [third.received(2, 2), first.received(0, 2), no_buffers]);
}

#[test]
fn a_receive_at_the_end_of_the_stream_says_zero() {
    let mut kernel = Kernel::new();
    let (connection, peer) = kernel.open();
    kernel.lend(1);
    peer.finish();
    kernel.wait_until_readable(connection);
    let end = kernel.submit([connection.receive()]);
    assert!(matches!(end[..], [Completion::Received { result: Ok(0), .. }]), "{end:?}");
    let [Completion::Received { buffer, .. }] = end[..] else { unreachable!() };
    // With or without its buffer: what comes back is taken, what does not is there.
    if buffer.is_some() {
        assert_eq!(buffer, Some(BufferId(1)));
        kernel.lend(1);
    }
    let (other, mut peer) = kernel.open();
    peer.say(b"hello");
    kernel.wait_until_readable(other);
    assert_eq!(kernel.submit([other.receive()]), [other.received(1, 5)]);
}

#[test]
fn a_receive_after_a_reset_fails_and_takes_no_buffer() {
    let mut kernel = Kernel::new();
    let (connection, peer) = kernel.open();
    kernel.lend(0);
    peer.reset();
    kernel.wait_until_readable(connection);
    assert_eq!(kernel.submit([connection.receive()]), [connection.not_received(RESET)]);
    let (other, mut peer) = kernel.open();
    peer.say(b"hello");
    kernel.wait_until_readable(other);
    assert_eq!(kernel.submit([other.receive()]), [other.received(0, 5)]);
}

#[test]
fn more_is_said_when_more_is_there_than_fits() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    kernel.lend(0);
    kernel.lend(1);
    peer.say(&[b'x'; BUFFER_SIZE + 7]);
    kernel.wait_until_readable(connection);
    let completions = kernel.submit([connection.receive(), connection.receive()]);
    let Connection { slot, generation } = connection;
    let (buffer, result) = (Some(BufferId(0)), Ok(BUFFER_SIZE as u32));
    let filled = Completion::Received { slot, generation, buffer, result, more: true };
    assert_eq!(completions, [filled, connection.received(1, 7)]);
}

#[test]
fn receive_into_writes_exactly_into_its_span() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    kernel.memory.area_mut(AreaName::Blocks).fill(b'-');
    peer.say(b"0123456789");
    kernel.wait_until_readable(connection);
    let completions = kernel.submit([connection.receive_into(blocks(100, 6))]);
    assert_eq!(completions, [connection.received_into(Ok(6), true)]);
    assert_eq!(kernel.memory.bytes(blocks(98, 10)), b"--012345--");
    let completions = kernel.submit([connection.receive_into(blocks(200, 6))]);
    assert_eq!(completions, [connection.received_into(Ok(4), false)]);
    assert_eq!(kernel.memory.bytes(blocks(198, 10)), b"--6789----");
    let written = kernel.memory.area(AreaName::Blocks).iter().filter(|byte| **byte != b'-').count();
    assert_eq!(written, 10);
}

#[test]
fn receive_into_says_again_end_and_reset_as_receive_does() {
    let mut kernel = Kernel::new();
    let ((connection, peer), (other, other_peer)) = (kernel.open(), kernel.open());
    let completions = kernel.submit([connection.receive_into(blocks(0, 10))]);
    assert_eq!(completions, [connection.received_into(Err(Errno::AGAIN), false)]);
    peer.finish();
    kernel.wait_until_readable(connection);
    let end = kernel.submit([connection.receive_into(blocks(0, 10))]);
    assert!(matches!(end[..], [Completion::ReceivedInto { result: Ok(0), .. }]), "{end:?}");
    other_peer.reset();
    kernel.wait_until_readable(other);
    let completions = kernel.submit([other.receive_into(blocks(0, 10))]);
    assert_eq!(completions, [other.received_into(Err(RESET), false)]);
}

#[test]
fn receives_of_one_batch_take_the_stream_in_order() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    kernel.lend(0);
    peer.say(b"0123456789");
    kernel.wait_until_readable(connection);
    let completions = kernel.submit([
        connection.receive_into(blocks(50, 3)),
        connection.receive_into(blocks(20, 3)),
        connection.receive(),
        connection.receive_into(blocks(0, 1)),
    ]);
    assert_eq!(
        completions,
        [
            connection.received_into(Ok(3), true),
            connection.received_into(Ok(3), true),
            connection.received(0, 4),
            connection.received_into(Err(Errno::AGAIN), false),
        ]
    );
    assert_eq!(kernel.memory.bytes(blocks(50, 3)), b"012");
    assert_eq!(kernel.memory.bytes(blocks(20, 3)), b"345");
    assert_eq!(kernel.received(0, 4), b"6789");
}

#[test]
fn a_batch_may_receive_send_and_poll_again() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    kernel.lend(0);
    peer.say(b"question");
    kernel.wait_until_readable(connection);
    let answer = connection.send(staging(0, 10));
    let completions = kernel.submit([connection.receive(), answer, connection.poll()]);
    assert_eq!(completions, [connection.received(0, 8)]);
    assert_eq!(peer.hear(10), kernel.memory.bytes(staging(0, 10)));
    kernel.expect_nothing();
    peer.say(b"another");
    kernel.expect(connection.readable());
}
