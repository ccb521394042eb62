//! How a wait ends: by a completion, by a waker, by its time.

use std::thread;
use std::time::{Duration, Instant};

use tidegate::uring::{Completion, Ring};
use tidegate_tests::PATIENCE;

use crate::fixture::{Kernel, MOMENT};

/// One enter that would wait for [`PATIENCE`]; yields what it came back with.
#[track_caller]
fn wait(kernel: &mut Kernel) -> Option<Completion> {
    let begun = Instant::now();
    kernel.enter(PATIENCE);
    assert!(begun.elapsed() < PATIENCE, "nothing ends the wait");
    kernel.ring.completion()
}

#[test]
fn a_waker_in_another_thread_ends_the_wait() {
    let mut kernel = Kernel::new();
    let waker = kernel.waker.clone();
    let other = thread::spawn(move || {
        thread::sleep(MOMENT);
        waker.wake();
    });
    assert_eq!(wait(&mut kernel), Some(Completion::Woken));
    other.join().unwrap();
}

#[test]
fn a_waker_that_was_used_before_the_wait_ends_it() {
    let mut kernel = Kernel::new();
    for _ in 0..3 {
        kernel.waker.wake();
        assert_eq!(wait(&mut kernel), Some(Completion::Woken));
    }
}

#[test]
fn a_waker_that_is_used_often_wakes_once() {
    let mut kernel = Kernel::new();
    for _ in 0..3 {
        kernel.waker.wake();
    }
    assert_eq!(wait(&mut kernel), Some(Completion::Woken));
    kernel.expect_nothing();
}

#[test]
fn a_waker_that_is_used_while_the_shard_works_is_not_forgotten() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    peer.say(b"a");
    kernel.wait_until_readable(connection);
    kernel.waker.wake();
    assert_eq!(wait(&mut kernel), Some(Completion::Woken));
}

#[test]
fn a_wait_ends_with_the_first_completion() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    kernel.submit([connection.poll()]);
    let other = thread::spawn(move || {
        thread::sleep(MOMENT);
        peer.say(b"a");
        peer
    });
    assert_eq!(wait(&mut kernel), Some(connection.readable()));
    drop(other.join().unwrap());
}

#[test]
fn an_enter_does_not_wait_while_a_completion_is_there() {
    let mut kernel = Kernel::new();
    let (connection, mut peer) = kernel.open();
    peer.say(b"a");
    kernel.push([connection.poll()]);
    kernel.enter(PATIENCE);
    assert_eq!(wait(&mut kernel), Some(connection.readable()));
}

#[test]
fn a_wait_ends_after_its_time_and_the_clock_has_gone_on() {
    let mut kernel = Kernel::new();
    let before = kernel.ring.now();
    kernel.enter(Duration::from_millis(50));
    assert!(kernel.ring.now() - before >= Duration::from_millis(50));
    assert_eq!(kernel.ring.completion(), None);
}
