//! What becomes of those who hold blocks while these are few, and of who is answered meanwhile,
//! played by hand.

use tidegate::hub::{Publication, Request, Target};
use tidegate::kernel::{Completion, Errno, Operation};
use tidegate::names::ConnectionId;
use tidegate_proto::websocket::message::Kind;

use crate::play::Play;
use crate::random::Random;
use crate::script;

/// A pool of 1 MiB: 384 KiB are for sending, of which half is kept for answers, and 256 KiB for
/// all. A client in slot 0 is in a room.
fn with_a_small_pool() -> (Play, ConnectionId) {
    let mut play = Play::with(
        "blocks = '1MiB'\n[[route]]\npath = '/room'\nhandler = 'hub?topic=room'\n\
         backlog = '1MiB'\nmax_buffered_message = '128KiB'\n\
         [[topic]]\nname = 'room'\npresence = true\n",
    );
    play.first_says(&script::opening(&mut Random::new(0), "/room", false));
    let id = play.told().0.id;
    (play, id)
}

/// So many messages are pushed to the client, each of which takes a block of 64 KiB.
fn push(play: &mut Play, id: ConnectionId, count: usize) {
    for _ in 0..count {
        let payload = play.door.payload(Kind::Binary, &[b'x'; 60_000]).expect("room");
        let publication = Publication { payload, key: None, except: None };
        play.door.ask(Request::Publish(Target::Connection(id), publication), |_| {});
        let pushed = play.turn([]);
        fall_short(play, &pushed);
    }
}

/// The kernel takes nothing of what is sent to the client.
fn fall_short(play: &mut Play, pushed: &[Operation]) {
    for operation in pushed {
        if let Operation::Send { batch_index, .. } = *operation {
            let result = Err(Errno::AGAIN);
            play.turn([Completion::SendFellShort { slot: 0, batch_index, result }]);
        }
    }
}

/// The client takes at most so many bytes of what it is being sent.
fn take(play: &mut Play, most: u32) {
    let seen = play.hand.borrow();
    let armed = seen.seen.iter().rev().find_map(|(operation, _)| match operation {
        Operation::SendArmed { span, .. } => Some(span.length),
        _ => None,
    });
    drop(seen);
    let count = armed.expect("a send is armed").min(most);
    let pushed = play.turn([Completion::Sent { slot: 0, generation: 0, result: Ok(count) }]);
    fall_short(play, &pushed);
}

/// How many had to give way.
fn evicted(play: &mut Play) -> u64 {
    play.counters().holders_evicted
}

#[test]
fn who_does_not_read_gives_way_before_answers_have_only_what_is_for_all() {
    let (mut play, id) = with_a_small_pool();
    push(&mut play, id, 3);
    for _ in 0..3 {
        play.tick();
    }
    assert_eq!(evicted(&mut play), 0, "a second has not passed");
    for _ in 0..3 {
        play.tick();
    }
    assert_eq!(evicted(&mut play), 1);
}

#[test]
fn who_reads_slowly_gives_way_when_publishers_have_paused_for_long() {
    let (mut play, id) = with_a_small_pool();
    // Each finds a block: nothing waits for one.
    push(&mut play, id, 5);
    for _ in 0..6 {
        play.tick();
        take(&mut play, 100);
    }
    assert_eq!(evicted(&mut play), 0, "it takes some");
    for _ in 0..4 {
        play.tick();
        take(&mut play, 100);
    }
    assert_eq!(evicted(&mut play), 1);
    assert_eq!(play.counters().deliveries_without_block, 0);
}

#[test]
fn a_block_that_comes_free_now_and_then_is_no_end_of_the_shortage() {
    let (mut play, id) = with_a_small_pool();
    push(&mut play, id, 5);
    for _ in 0..7 {
        play.tick();
        // All of a block, which the next message takes.
        take(&mut play, u32::MAX);
        push(&mut play, id, 1);
    }
    for _ in 0..3 {
        play.tick();
    }
    assert_eq!(evicted(&mut play), 1);
}
