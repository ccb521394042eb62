//! More than the queues hold, more than the table may hold, and no threads behind our back.

use std::fs;
use std::time::Duration;

use tidegate::kernel::{Ring, RingError, raise_open_files};

use crate::connection::{blocks, staging};
use crate::driver::SLOTS_MAX;
use crate::fixture::{Kernel, Sizes, accept};

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
fn a_table_of_slots_over_the_limit_of_open_files_is_refused() {
    let limit = raise_open_files().expect("a hard limit can be taken up");
    let slots = u32::try_from(limit.min(SLOTS_MAX)).expect("just bounded") + 1;
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
