//! What only rings do: what is armed outlives a close, and completions are held back when their
//! queue is full. A shard must get along with both, and builds on neither.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tidegate::kernel::{AreaName, Completion, Errno, Ring, Slot, Span};
use tidegate_tests::PATIENCE;

use crate::accepting::{CLOSE, POLL, READY, apart, expect_refused};
use crate::connection::{Connection, blocks};
use crate::fixture::{Kernel, Sizes, flood};
use crate::peer::Peer;
use crate::polling::polled_on;

/// More connections than completions.
fn crowded() -> (Kernel, Vec<(Connection, Peer)>) {
    let sizes = Sizes { slots: 40, submissions: 8, completions: 8, ..Sizes::default() };
    let mut kernel = Kernel::with(sizes);
    let crowd = (0..40).map(|_| kernel.open()).collect();
    (kernel, crowd)
}

/// Enters without taking a completion until the kernel holds some back.
#[track_caller]
fn enter_until_unsettled(kernel: &mut Kernel) {
    let deadline = Instant::now() + PATIENCE;
    while kernel.ring.is_settled() {
        assert!(Instant::now() < deadline, "the completion queue does not overflow");
        kernel.enter(Duration::ZERO);
    }
}

#[test]
fn a_completion_queue_that_overflows_loses_nothing_and_says_so_in_between() {
    let (mut kernel, mut crowd) = crowded();
    kernel.push(crowd.iter().map(|(connection, _)| connection.poll()));
    kernel.enter(Duration::ZERO);
    assert!(kernel.ring.is_settled());
    for (_, peer) in &mut crowd {
        peer.say(b"a");
    }
    enter_until_unsettled(&mut kernel);
    let mut waiting: BTreeSet<_> =
        crowd.iter().map(|(Connection { slot, generation }, _)| (*slot, *generation)).collect();
    while !waiting.is_empty() {
        let Completion::Readable { slot, generation, .. } = kernel.next() else { panic!() };
        assert!(waiting.remove(&(slot, generation)), "each completes once");
    }
    kernel.expect_nothing();
    assert!(kernel.ring.is_settled());
}

#[test]
fn a_poll_that_stays_says_that_it_is_armed_no_more_when_the_completion_queue_overflows() {
    let (mut kernel, mut crowd) = crowded();
    kernel.push(crowd.iter().map(|(connection, _)| connection.poll_on()));
    kernel.enter(Duration::ZERO);
    for (_, peer) in &mut crowd {
        peer.say(b"a");
    }
    enter_until_unsettled(&mut kernel);
    let (mut told, mut disarmed) = (BTreeSet::new(), Vec::new());
    while told.len() < crowd.len() {
        let Completion::Readable { slot, armed, .. } = kernel.next() else { panic!() };
        assert!(told.insert(slot), "each is told of once");
        if !armed {
            disarmed.push(slot);
        }
    }
    assert!(!disarmed.is_empty(), "nothing was lost, but polls have ended");
    let connection = |slot: &Slot| crowd[*slot as usize].0;
    kernel.push(disarmed.iter().map(|slot| connection(slot).poll_on()));
    // Armed anew, they tell of what is there; the others are silent about it.
    let mut again = BTreeSet::new();
    while again.len() < disarmed.len() {
        let Completion::Readable { slot, .. } = kernel.next() else { panic!() };
        assert!(disarmed.contains(&slot), "slot {slot} had stayed armed");
        again.insert(slot);
    }
}

#[test]
fn sends_that_fall_short_are_reported_though_the_completion_queue_overflows() {
    let (mut kernel, crowd) = crowded();
    kernel.push(
        crowd.iter().map(|(connection, _)| connection.numbered_send(connection.slot, flood())),
    );
    enter_until_unsettled(&mut kernel);
    let mut reported = BTreeSet::new();
    while reported.len() < crowd.len() {
        let Completion::SendFellShort { slot, batch_index, result } = kernel.next() else {
            panic!()
        };
        assert_eq!(batch_index, slot);
        assert!(result.is_ok_and(|sent| sent < flood().length) || result == Err(Errno::AGAIN));
        assert!(reported.insert(slot), "each is reported once");
    }
    kernel.expect_nothing();
    assert!(kernel.ring.is_settled());
}

#[test]
fn closing_does_not_end_a_connection_whose_poll_stays() {
    let (mut kernel, connection, mut peer) = polled_on();
    assert_eq!(kernel.submit([connection.close()]), []);
    peer.expect_silence();
    assert_eq!(kernel.submit([connection.unpoll()]), []);
    peer.expect_end();
}

#[test]
fn a_close_while_the_poll_is_armed_does_not_end_the_connection() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    assert_eq!(kernel.submit([connection.poll()]), []);
    assert_eq!(kernel.submit([connection.close()]), []);
    peer.expect_silence();
    assert_eq!(kernel.submit([connection.unpoll()]), []);
    peer.expect_end();
}

#[test]
fn a_close_while_a_send_is_armed_leaves_the_send_its_connection() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    let filled = kernel.fill(connection) as usize;
    assert_eq!(kernel.submit([connection.send_armed(blocks(0, 1000))]), []);
    assert_eq!(kernel.submit([connection.close()]), []);
    kernel.expect_nothing();
    peer.hear(filled);
    kernel.expect(connection.sent(Ok(1000)));
    assert_eq!(peer.hear_all().len(), 1000);
}

#[test]
fn a_late_completion_carries_the_generation_that_it_was_pushed_with() {
    let mut kernel = Kernel::new();
    let (older, mut older_peer) = kernel.open();
    assert_eq!(kernel.submit([older.poll()]), []);
    assert_eq!(kernel.submit([older.close()]), []);
    let (newer, mut newer_peer) = kernel.open_as(older.successor());
    older_peer.say(b"is anybody there?");
    kernel.expect(older.readable());
    assert_eq!(kernel.submit([newer.poll()]), [], "nothing was said to the newer one");
    newer_peer.say(b"hello");
    kernel.expect(newer.readable());
}

#[test]
fn a_listener_that_is_closed_while_its_poll_is_armed_goes_on_listening() {
    let mut kernel = apart();
    assert_eq!(kernel.submit([POLL]), []);
    assert_eq!(kernel.submit([CLOSE]), []);
    let mut peer = Peer::connect(kernel.address);
    kernel.expect(READY);
    peer.expect_reset();
    expect_refused(kernel.address);
}

#[test]
#[should_panic(expected = "outside of an area")]
fn memory_outside_of_an_area_never_reaches_the_kernel() {
    let mut kernel = Kernel::new();
    let (connection, _peer) = kernel.open();
    let span = Span { area: AreaName::Receive, start: 0, length: 1 << 20 };
    kernel.submit([connection.receive_into(span)]);
}
