//! How a wait ends: by a completion, by a waker, by its time.

use std::thread;
use std::time::{Duration, Instant};

use tidegate::kernel::{Completion, Ring};
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

/// Waits until `due`, as a shard does: an enter may end early.
fn wait_until(kernel: &mut Kernel, due: Duration) -> u32 {
    let mut enters = 0;
    while let left @ 1.. = due.saturating_sub(kernel.ring.now()).as_nanos() {
        kernel.enter(Duration::from_nanos(left as u64));
        assert_eq!(kernel.ring.completion(), None);
        enters += 1;
    }
    enters
}

#[test]
fn waits_of_a_tick_end_in_time_one_after_the_other() {
    const TICK: Duration = Duration::from_millis(40);
    let mut kernel = Kernel::new();
    let mut due = kernel.ring.now();
    for _ in 0..5 {
        due += TICK;
        let enters = wait_until(&mut kernel, due);
        assert!(enters <= 3, "{enters} enters for one wait");
        let late = kernel.ring.now() - due;
        assert!(late < PATIENCE / 4, "{late:?} late");
    }
}

#[test]
fn a_wait_that_is_shorter_than_the_one_before_ends_in_its_own_time() {
    const LONG: Duration = Duration::from_millis(400);
    let mut kernel = Kernel::new();
    kernel.waker.wake();
    let begun = kernel.ring.now();
    kernel.enter(LONG);
    assert_eq!(kernel.ring.completion(), Some(Completion::Woken));
    for wait in [1, 25] {
        let before = kernel.ring.now();
        kernel.enter(Duration::from_millis(wait));
        assert!(kernel.ring.now() - before >= Duration::from_millis(wait));
    }
    assert!(kernel.ring.now() - begun < LONG, "the long wait ended the short ones");
    assert!(wait_until(&mut kernel, begun + LONG) <= 2);
}

#[test]
fn rings_of_one_process_tell_the_same_time() {
    let one = Kernel::new();
    thread::sleep(MOMENT);
    let other = Kernel::new();
    let (before, between, after) = (one.ring.now(), other.ring.now(), one.ring.now());
    assert!((before..=after).contains(&between), "{before:?}, {between:?}, {after:?}");
}
