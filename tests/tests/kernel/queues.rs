//! More than the queues hold, more than the table may hold, and no threads behind our back.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use tidegate::kernel::{
    AreaName, Completion, Errno, Ring, RingError, Slot, Span, raise_open_files,
};
use tidegate_tests::PATIENCE;

use crate::connection::{Connection, blocks, staging};
use crate::fixture::{Kernel, Sizes, accept, flood};
use crate::peer::Peer;

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
fn more_operations_than_the_queue_holds_are_done_in_order() {
    let mut kernel = Kernel::with(Sizes { submissions: 4, ..Sizes::default() });
    let (connection, mut peer) = kernel.open();
    let room = kernel.ring.room();
    assert!(room > 0 && room <= 4, "{room}");
    kernel.push((0..1000).map(|at| connection.send(staging(at, 1))));
    assert_eq!(kernel.ring.room(), 0);
    assert!(!kernel.ring.is_settled());
    kernel.enter(Duration::ZERO);
    assert!(kernel.ring.is_settled() && kernel.ring.completion().is_none());
    assert!(peer.hear(1000) == kernel.memory.bytes(staging(0, 1000)));
    assert!(kernel.ring.room() > 0);
}

#[test]
fn more_receives_than_the_queue_holds_are_answered_in_order() {
    let mut kernel = Kernel::with(Sizes { submissions: 4, ..Sizes::default() });
    let (connection, mut peer) = kernel.open();
    let said: Vec<u8> = (0..100).collect();
    peer.say(&said);
    kernel.wait_until_readable(connection);
    kernel.push((0..100).map(|at| connection.receive_into(blocks(at, 1))));
    for at in 0..100 {
        kernel.expect(connection.received_into(Ok(1), at < 99));
    }
    assert_eq!(kernel.memory.bytes(blocks(0, 100)), said);
}

#[test]
#[should_panic(expected = "outside of an area")]
fn memory_outside_of_an_area_never_reaches_the_kernel() {
    let mut kernel = Kernel::new();
    let (connection, _peer) = kernel.open();
    let span = Span { area: AreaName::Receive, start: 0, length: 1 << 20 };
    kernel.push([connection.receive_into(span)]);
}

#[test]
fn a_table_of_slots_over_the_limit_of_open_files_is_refused() {
    let limit = raise_open_files().expect("a hard limit can be taken up");
    // Whatever the limit, the kernel's own is 2^20 (`IORING_MAX_FIXED_FILES`).
    let slots = u32::try_from(limit.min(1 << 20)).expect("just bounded") + 1;
    match Kernel::try_with(Sizes { slots, ..Sizes::default() }) {
        Err(RingError::TooManyDescriptors { wanted }) => assert_eq!(wanted, slots),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a table of {slots} was made"),
    }
    assert!(Kernel::try_with(Sizes { slots: slots - 1, ..Sizes::default() }).is_ok());
}

/// A worker of the kernel would touch the shared memory whenever it likes.
#[test]
fn no_operation_goes_to_a_worker_thread_of_the_kernel() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    kernel.lend(0);
    peer.say(b"hello");
    kernel.wait_until_readable(connection);
    kernel.fill(connection);
    kernel.submit([
        connection.receive(),
        connection.receive_into(blocks(0, 10)),
        connection.poll(),
        connection.send_armed(blocks(0, 10)),
        connection.ask_unacknowledged(),
        connection.finish_writes(),
        accept(1),
    ]);
    assert_eq!(workers(), 0);
    kernel.submit([connection.cancel_send(), connection.unpoll(), connection.close()]);
    assert_eq!(workers(), 0);
}

/// The workers that the kernel has started for this process.
fn workers() -> usize {
    let threads = fs::read_dir("/proc/self/task").expect("proc(5) is mounted");
    let names = threads.filter_map(|thread| fs::read(thread.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with(b"iou-wrk")).count()
}
