//! A listener that a change takes away, played by hand.

use tidegate::config::Listener;
use tidegate::kernel::{Completion, Errno, Operation};

use crate::play::{Play, accepted_by};

const GONE: u32 = 1;
const CLOSE: Operation = Operation::CloseListener { listener: GONE };

fn two() -> (Play, Listener) {
    let play = Play::with(
        "[[listener]]\naddress = '127.0.0.1:1'\n[[listener]]\naddress = '127.0.0.1:2'\n",
    );
    let stays = play.listening.places()[0].listener.clone();
    (play, stays)
}

fn accepts(pushed: &[Operation]) -> Vec<u32> {
    let slot = |one: &Operation| match *one {
        Operation::Accept { listener: GONE, slot } => Some(slot),
        _ => None,
    };
    pushed.iter().filter_map(slot).collect()
}

#[test]
fn who_waits_at_a_listener_that_goes_is_accepted_before_it_is_closed() {
    let (mut play, stays) = two();
    let pushed = play.listens(&[stays]);
    assert!(pushed.contains(&Operation::UnpollListener { listener: GONE }), "{pushed:?}");
    let first = accepts(&pushed);
    assert_eq!((first.len(), pushed.contains(&CLOSE)), (1, false), "{pushed:?}");
    let pushed = play.turn([accepted_by(GONE, first[0], Ok(()))]);
    let more = accepts(&pushed);
    assert_eq!((more.len(), pushed.contains(&CLOSE)), (2, false), "{pushed:?}");
    let nobody = more.iter().map(|slot| accepted_by(GONE, *slot, Err(Errno::AGAIN)));
    let pushed = play.turn(nobody.collect::<Vec<Completion>>());
    assert!(pushed.contains(&CLOSE) && accepts(&pushed).is_empty(), "{pushed:?}");
    assert_eq!(play.counters().accepted, 1);
}

#[test]
fn a_listener_that_goes_is_closed_in_time_and_who_was_being_accepted_comes_in() {
    let (mut play, stays) = two();
    let first = accepts(&play.listens(&[stays]));
    let closes = (0..5).any(|_| play.tick().contains(&CLOSE));
    assert!(closes, "the accept is not waited for");
    play.turn([accepted_by(GONE, first[0], Ok(()))]);
    assert_eq!(play.counters().accepted, 1);
    assert_eq!(play.shard.live(), 1);
}
