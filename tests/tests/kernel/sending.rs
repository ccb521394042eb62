//! Sends, armed sends, and what the peer has yet to acknowledge.

use std::thread;
use std::time::{Duration, Instant};

use tidegate::kernel::{AreaName, Completion, Errno, Ring};
use tidegate_tests::{PATIENCE, case};

use crate::connection::{Connection, blocks, staging};
use crate::fixture::{Kernel, flood};
use crate::peer::Peer;

/// What a send to a peer that has reset fails with: `ECONNRESET` once, `EPIPE` from then on.
const GONE: [Errno; 2] = [Errno(104), Errno(32)];

/// More than the peer's buffer and ours hold, in memory that only an armed send uses.
const LARGE: u32 = 1 << 20;

#[test]
fn a_send_that_succeeds_posts_no_completion() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    let sent = kernel.memory.bytes(staging(0, 1000)).to_vec();
    assert_eq!(kernel.submit([connection.send(staging(0, 1000))]), []);
    kernel.expect_nothing();
    assert_eq!(peer.hear(1000), sent);
}

#[test]
fn the_memory_of_a_send_is_free_after_its_enter() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    kernel.memory.area_mut(AreaName::Staging)[..9].copy_from_slice(b"the first");
    kernel.push([connection.send(staging(0, 9))]);
    kernel.enter(Duration::ZERO);
    assert!(kernel.ring.is_settled() && kernel.ring.completion().is_none());
    kernel.memory.area_mut(AreaName::Staging)[..9].fill(b'x');
    assert_eq!(peer.hear(9), b"the first");
}

#[test]
fn the_memory_of_a_send_is_free_though_the_peer_has_no_room_for_it_yet() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    let expected = kernel.memory.bytes(flood()).to_vec();
    let sent = kernel.fill(connection) as usize;
    kernel.memory.area_mut(AreaName::Staging).fill(b'x');
    kernel.push([connection.close()]);
    kernel.enter(Duration::ZERO);
    assert!(peer.hear_all() == expected[..sent]);
}

#[test]
fn a_send_to_a_peer_that_does_not_read_falls_short_and_then_finds_no_room() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    let completions = kernel.submit([connection.numbered_send(5, flood())]);
    let [Completion::SendFellShort { slot, batch_index, result: Ok(first) }] = completions[..]
    else {
        panic!("{completions:?}");
    };
    assert_eq!((slot, batch_index), (connection.slot, 5));
    assert!(first > 0 && first < flood().length, "{first}");
    let expected = kernel.memory.bytes(flood())[..first as usize].to_vec();
    kernel.fill(connection);
    assert!(peer.hear(first as usize) == expected, "exactly what was said to be sent");
}

#[test]
fn what_arrives_is_exactly_what_was_sent() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    let sent = kernel.fill(connection) as usize;
    kernel.submit([connection.close()]);
    assert!(peer.hear_all() == kernel.memory.bytes(flood())[..sent]);
}

#[test]
fn each_send_of_a_batch_that_falls_short_reports_its_own_part() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    let sends = [connection.numbered_send(0, flood()), connection.numbered_send(1, blocks(0, 10))];
    let completions = kernel.submit(sends);
    let shorts: Vec<_> = completions.iter().map(sent_of_a_short_send).collect();
    kernel.submit([connection.close()]);
    let heard = peer.hear_all();
    let (first, rest) = heard.split_at(shorts[0].1 as usize);
    assert!(first == &kernel.memory.bytes(flood())[..first.len()]);
    match shorts[..] {
        // Room came up in between: the second one went out whole, behind a gap.
        [(0, _)] => assert_eq!(rest, kernel.memory.bytes(blocks(0, 10))),
        [(0, _), (1, second)] => assert_eq!(rest, kernel.memory.bytes(blocks(0, second))),
        _ => panic!("{shorts:?}"),
    }
}

/// The number of a send that fell short, and what it sent.
fn sent_of_a_short_send(completion: &Completion) -> (u32, u32) {
    match *completion {
        Completion::SendFellShort { batch_index, result: Ok(sent), .. } => (batch_index, sent),
        Completion::SendFellShort { batch_index, result: Err(Errno::AGAIN), .. } => {
            (batch_index, 0)
        }
        _ => panic!("{completion:?}"),
    }
}

#[test]
fn a_send_to_a_peer_that_has_reset_fails() {
    let mut kernel = Kernel::new();
    let (connection, peer) = kernel.open();
    peer.reset();
    kernel.wait_until_readable(connection);
    let sends = [connection.numbered_send(3, flood()), connection.numbered_send(4, flood())];
    let completions = kernel.submit(sends);
    let [
        Completion::SendFellShort { batch_index: 3, result: Err(first), .. },
        Completion::SendFellShort { batch_index: 4, result: Err(second), .. },
    ] = completions[..]
    else {
        panic!("{completions:?}");
    };
    assert!(GONE.contains(&first) && GONE.contains(&second), "{completions:?}");
}

#[test]
fn sends_of_one_batch_arrive_in_order() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    let bytes = kernel.memory.bytes(staging(0, 30_000)).to_vec();
    let [first, second, third] = [0, 10_000, 20_000].map(|start| staging(start, 10_000));
    assert_eq!(kernel.submit([first, second, third].map(|span| connection.send(span))), []);
    assert!(peer.hear(30_000) == bytes);
}

#[test]
fn sends_of_one_batch_go_out_before_its_end_of_writing_and_its_close() {
    let cases = [
        ("FinishWrites", Connection::finish_writes as fn(Connection) -> _),
        ("Close", Connection::close),
    ];
    for (name, ending) in cases {
        let mut kernel = Kernel::new();
        let (connection, mut peer) = kernel.open();
        let operations = [connection.send(staging(0, 1000)), ending(connection)];
        assert_eq!(kernel.submit(operations), []);
        case(name, || assert!(peer.hear_all() == kernel.memory.bytes(staging(0, 1000))));
    }
}

#[test]
fn an_armed_send_with_room_completes_at_once() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    let completions = kernel.submit([connection.send_armed(staging(0, 1000))]);
    assert_eq!(completions, [connection.sent(Ok(1000))]);
    assert!(peer.hear(1000) == kernel.memory.bytes(staging(0, 1000)));
}

#[test]
fn an_armed_send_to_a_full_peer_completes_when_it_reads_with_a_part() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    let filled = kernel.fill(connection) as usize;
    assert_eq!(kernel.submit([connection.send_armed(blocks(0, LARGE))]), []);
    kernel.expect_nothing();
    let mut heard = Vec::new();
    let sent = read_until_sent(&mut kernel, connection, &mut peer, &mut heard);
    let part = sent.expect("room comes as the peer reads");
    assert!(part > 0 && part < LARGE, "{part}");
    kernel.submit([connection.close()]);
    heard.extend(peer.hear_all());
    let expected =
        [&kernel.memory.bytes(flood())[..filled], kernel.memory.bytes(blocks(0, part))].concat();
    assert!(heard == expected, "what filled the peer, and exactly the part");
}

#[test]
fn the_memory_of_an_armed_send_is_the_kernels_until_it_completes() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    let filled = kernel.fill(connection) as usize;
    assert_eq!(kernel.submit([connection.send_armed(blocks(0, LARGE))]), []);
    kernel.memory.area_mut(AreaName::Blocks).fill(b'1');
    let mut heard = Vec::new();
    let sent = read_until_sent(&mut kernel, connection, &mut peer, &mut heard);
    kernel.memory.area_mut(AreaName::Blocks).fill(b'2');
    kernel.submit([connection.close()]);
    heard.extend(peer.hear_all());
    // What was written while the send was armed is what arrives; what was written after is not.
    assert!(heard[filled..] == vec![b'1'; sent.expect("room comes as the peer reads") as usize]);
}

/// The peer reads bit by bit until the armed send is done; yields its result.
#[track_caller]
fn read_until_sent(
    kernel: &mut Kernel,
    connection: Connection,
    peer: &mut Peer,
    heard: &mut Vec<u8>,
) -> Result<u32, Errno> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        heard.extend(peer.hear_some(10_000));
        if let [completion] = kernel.submit([])[..] {
            let Completion::Sent { slot, generation, result } = completion else {
                panic!("{completion:?}");
            };
            assert_eq!((slot, generation), (connection.slot, connection.generation));
            return result;
        }
        assert!(Instant::now() < deadline, "the armed send does not complete");
    }
}

#[test]
fn an_armed_send_completes_when_its_peer_resets() {
    let mut kernel = Kernel::new();
    let (connection, peer) = kernel.open();
    kernel.fill(connection);
    assert_eq!(kernel.submit([connection.send_armed(blocks(0, LARGE))]), []);
    peer.reset();
    let Completion::Sent { result: Err(error), .. } = kernel.next() else { panic!() };
    assert!(GONE.contains(&error), "{error:?}");
}

#[test]
fn a_cancelled_send_completes_with_an_error_and_nothing_of_it_arrives() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    let filled = kernel.fill(connection) as usize;
    assert_eq!(kernel.submit([connection.send_armed(blocks(0, LARGE))]), []);
    kernel.push([connection.cancel_send()]);
    kernel.expect(connection.sent(Err(Errno::CANCELED)));
    kernel.expect_nothing();
    kernel.submit([connection.close()]);
    assert_eq!(peer.hear_all().len(), filled);
}

#[test]
fn a_cancelled_send_completes_within_the_enter_of_the_cancel() {
    let mut kernel = Kernel::new();
    let (connection, _peer) = kernel.open();
    kernel.fill(connection);
    assert_eq!(kernel.submit([connection.send_armed(blocks(0, LARGE))]), []);
    let completions = kernel.submit([connection.cancel_send()]);
    assert_eq!(completions, [connection.sent(Err(Errno::CANCELED))]);
}

#[test]
fn cancelling_a_send_that_is_done_says_nothing_and_does_nothing() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    let operations = [connection.send_armed(staging(0, 5)), connection.cancel_send()];
    assert_eq!(kernel.submit(operations), [connection.sent(Ok(5))]);
    kernel.expect_nothing();
    assert_eq!(peer.hear(5), kernel.memory.bytes(staging(0, 5)));
}

#[test]
fn cancelling_an_older_generation_leaves_the_armed_send_alone() {
    let mut kernel = Kernel::new();
    let (older, _peer) = kernel.open();
    let connection = older.successor();
    kernel.fill(connection);
    assert_eq!(kernel.submit([connection.send_armed(blocks(0, LARGE))]), []);
    assert_eq!(kernel.submit([older.cancel_send()]), []);
    kernel.expect_nothing();
    kernel.push([connection.cancel_send()]);
    kernel.expect(connection.sent(Err(Errno::CANCELED)));
}

#[test]
fn what_is_unacknowledged_falls_as_the_peer_reads() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    assert_eq!(unacknowledged(&mut kernel, connection), 0, "nothing was sent");
    let filled = kernel.fill(connection) as usize;
    let full = unacknowledged(&mut kernel, connection);
    assert!(full > 0 && full as usize <= filled, "{full} of {filled}");
    peer.hear(filled - full as usize / 2);
    wait_for_acknowledgement(&mut kernel, connection, |left| left < full);
    peer.hear(full as usize / 2);
    wait_for_acknowledgement(&mut kernel, connection, |left| left == 0);
}

#[track_caller]
fn wait_for_acknowledgement(
    kernel: &mut Kernel,
    connection: Connection,
    enough: impl Fn(u32) -> bool,
) {
    let deadline = Instant::now() + PATIENCE;
    while !enough(unacknowledged(kernel, connection)) {
        assert!(Instant::now() < deadline, "the peer does not acknowledge");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Asks; the answer comes within the enter that takes the question.
#[track_caller]
fn unacknowledged(kernel: &mut Kernel, connection: Connection) -> u32 {
    match kernel.submit([connection.ask_unacknowledged()])[..] {
        [Completion::Unacknowledged { slot, generation, result }] => {
            assert_eq!((slot, generation), (connection.slot, connection.generation));
            result.expect("it is connected")
        }
        ref other => panic!("{other:?}"),
    }
}
