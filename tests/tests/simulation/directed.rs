//! Interleavings that a seed once found, each played by hand.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use tidegate::config::Config;
use tidegate::gateway::Program;
use tidegate::hub::{
    ConnectionFilter, Errand, NotDone, Outcome, Publication, Published, Target, Why,
};
use tidegate::kernel::{Completion, Errno, Operation, Slot};
use tidegate::names::{Name, Position};
use tidegate::protocol::{Exchange, Protocol, Stretch};
use tidegate::shard::{AfterDrain, DrainOrder, DrainPlan, DrainRate};
use tidegate_tests::Frame;
use tidegate_tests::line_echo::{LineEcho, NUDGE};
use tidegate_tests::xor::{Stream, Xor};

use crate::handlers::{self, Asked, Books, Told, Verdict};
use crate::play::{
    A_WHILE, PONG, Play, Shaking, accepted, poll_on, readable, receive, received, still_polled,
};
use crate::random::Random;
use crate::script;

const TOO_MANY_FILES: Errno = Errno(23);
const RESET: Errno = Errno(104);

fn accepts(pushed: &[Operation]) -> usize {
    pushed.iter().filter(|operation| matches!(operation, Operation::Accept { .. })).count()
}

#[test]
fn accepting_goes_on_once_all_of_a_portion_that_failed_is_done() {
    let mut play = Play::new();
    let pushed = play.turn([Completion::ListenerReady { listener: 0 }]);
    assert_eq!(accepts(&pushed), 1);
    let pushed = play.turn([accepted(0, Ok(()))]);
    assert_eq!(accepts(&pushed), 2, "the next portion is twice as large");
    // One of two fails; the completion of the other is late, by more than a tick.
    play.turn([accepted(1, Err(TOO_MANY_FILES))]);
    play.hand.borrow_mut().now += A_WHILE;
    assert_eq!(accepts(&play.turn([])), 0);
    play.turn([accepted(2, Err(TOO_MANY_FILES))]);
    play.hand.borrow_mut().now += A_WHILE;
    assert_eq!(accepts(&play.turn([])), 1, "one is tried first");
    assert_eq!(accepts(&play.turn([accepted(1, Ok(()))])), 2);
    play.turn([accepted(2, Err(Errno::AGAIN)), accepted(3, Err(Errno::AGAIN))]);
}

#[test]
fn a_slot_is_given_up_only_when_the_batch_that_it_sends_in_is_settled() {
    let mut play = Play::new();
    let pushed = play.first_says(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(matches!(pushed[..], [Operation::Send { slot: 0, .. }, Operation::Poll { .. }]));
    // The connection fails before it is known what became of the send.
    play.hand.borrow_mut().unsettled = true;
    play.turn([readable()]);
    let pushed = play.turn([received(None, Err(RESET))]);
    assert!(!pushed.contains(&Operation::Close { slot: 0 }), "{pushed:?}");
    play.hand.borrow_mut().unsettled = false;
    let pushed = play.turn([]);
    assert!(pushed.contains(&Operation::Close { slot: 0 }), "{pushed:?}");
    assert!(play.shard.is_empty());
}

#[test]
fn who_has_ended_is_told_no_more_though_the_rest_is_still_being_sent() {
    let mut play = Play::new();
    let request = script::opening(&mut Random::new(0), "/room", false);
    let pushed = play.first_says(&request);
    assert!(matches!(pushed[..], [Operation::Send { slot: 0, .. }, Operation::Poll { .. }]));
    // The peer ends before it is known what became of the response.
    play.hand.borrow_mut().unsettled = true;
    play.turn([readable()]);
    play.turn([received(None, Ok(0))]);
    let message = play.door.message("to all").expect("room");
    let publication = Publication::new(message);
    let (answers, answer) = mpsc::channel();
    play.door.ask(Errand::Publish(Target::All, publication), move |answer| {
        answers.send(answer).expect("somebody waits");
    });
    play.turn([]);
    let answer = answer.recv().expect("an answer");
    assert!(matches!(answer, Outcome::Published(Published { connections: 0, .. })), "{answer:?}");
    play.hand.borrow_mut().unsettled = false;
    let pushed = play.turn([]);
    assert!(pushed.contains(&Operation::Close { slot: 0 }), "{pushed:?}");
    assert!(play.shard.is_empty());
}

#[test]
fn who_talks_stays_polled_and_is_received_from_once_for_all_that_is_told_meanwhile() {
    let mut play = Play::with_one_that_talks();
    assert_eq!(play.says(still_polled(), PONG), []);
    assert_eq!(play.turn([still_polled(), still_polled()]), [receive()]);
    assert_eq!(play.turn([still_polled()]), []);
    play.hand.borrow_mut().input = PONG.to_vec();
    let buffer = play.hand.borrow().lent.last().copied();
    assert_eq!(play.turn([received(buffer, Ok(PONG.len() as u32))]), []);
}

#[test]
fn a_poll_that_ends_while_a_receive_is_in_flight_is_armed_again() {
    let mut play = Play::with_one_that_talks();
    assert_eq!(play.turn([still_polled()]), [receive()]);
    assert_eq!(play.turn([readable()]), []);
    assert_eq!(play.turn([received(None, Err(Errno::AGAIN))]), [poll_on()]);
}

#[test]
fn who_was_told_to_have_ended_is_received_from_until_that_shows() {
    let mut play = Play::with_one_that_talks();
    let ended = Completion::Readable { slot: 0, generation: 0, armed: true, ended: true };
    // What stands before a reset is received as if nothing came behind it.
    assert_eq!(play.says(ended, PONG), [receive()]);
    let pushed = play.turn([received(None, Err(RESET))]);
    let unpoll = Operation::Unpoll { slot: 0, generation: 0 };
    assert_eq!(pushed, [unpoll, Operation::Close { slot: 0 }]);
    assert!(play.shard.is_empty());
}

#[test]
fn when_something_was_is_told_by_the_calendar_of_now() {
    let mut play = Play::new();
    play.calendar_shows(1_700_000_000, Duration::from_secs(50));
    let request = script::opening(&mut Random::new(0), "/room", false);
    play.first_says(&request);
    play.turn([]);
    // The clock was wrong by an hour, either way, or by years; ten seconds go by in each case.
    for (at, unix) in [(10, 1_700_003_600), (20, 1_699_996_400), (30, 1_900_000_000), (40, 5)] {
        play.calendar_shows(unix, Duration::from_secs(10));
        let (info, presence) = play.told();
        let expected = unix.saturating_sub(at);
        assert_eq!(info.connected_at, Some(expected), "{at} s ago, as of {unix}");
        assert_eq!(presence.members[0].since.as_secs(), expected, "{at} s ago, as of {unix}");
        // Ticks that were missed do not count as silence.
        assert!(info.active_at.is_some_and(|active| active <= unix && active >= expected));
    }
}

const LISTENER: &str = "[[listener]]\naddress = '127.0.0.1:1'\n";
const ASK: Operation = Operation::AskUnacknowledged { slot: 0, generation: 0 };

/// The answer to that.
fn unacknowledged(count: u32) -> Completion {
    Completion::Unacknowledged { slot: 0, generation: 0, result: Ok(count) }
}

fn is_armed(operation: &Operation) -> bool {
    matches!(operation, Operation::SendArmed { slot: 0, .. })
}

fn is_sent(operation: &Operation) -> bool {
    matches!(operation, Operation::Send { slot: 0, .. })
}

/// Whether the connection in slot 0 is given up.
fn is_given_up(pushed: &[Operation]) -> bool {
    let is_end = |operation: &Operation| {
        matches!(operation, Operation::Close { slot: 0 } | Operation::CancelSend { slot: 0, .. })
    };
    pushed.iter().any(is_end)
}

/// Ticks on which the shard asks what the peer in slot 0 has acknowledged, which is nothing, until
/// the connection is given up: how often it asks.
fn asks_until_given_up(play: &mut Play, most: usize) -> usize {
    let mut asked = 0;
    while asked < most {
        if play.tick().contains(&ASK) {
            asked += 1;
            if is_given_up(&play.turn([unacknowledged(1000)])) {
                return asked;
            }
        }
    }
    asked
}

/// A connection for which a message waits that its peer has no room for.
fn with_one_that_is_stalled() -> Play {
    let stack = "stack = 'ws?stall=1s!tcp'\n";
    let route = "[[route]]\npath = '/room'\nhandler = 'hub?topic=room'\n";
    let mut play = Play::with(&format!("{LISTENER}{stack}{route}"));
    play.first_says(&script::opening(&mut Random::new(0), "/room", false));
    let message = play.door.message("x".repeat(2000)).expect("room");
    let publication = Publication::new(message);
    play.door.ask(Errand::Publish(Target::All, publication), |_| {});
    let sent = (0..3).find_map(|_| play.turn([]).into_iter().find(is_sent));
    let Some(Operation::Send { batch_index, .. }) = sent else { panic!("{sent:?}") };
    let result = Err(Errno::AGAIN);
    let pushed = play.turn([Completion::SendFellShort { slot: 0, batch_index, result }]);
    assert!(pushed.iter().any(is_armed), "{pushed:?}");
    play
}

#[test]
fn how_often_a_peer_took_nothing_is_forgotten_once_it_takes_something() {
    let mut play = with_one_that_is_stalled();
    for _ in 0..5 {
        assert_eq!(asks_until_given_up(&mut play, 4), 4, "it takes nothing, and then something");
        let pushed = play.turn([Completion::Sent { slot: 0, generation: 0, result: Ok(10) }]);
        assert!(pushed.iter().any(is_armed), "{pushed:?}");
    }
    assert_eq!(asks_until_given_up(&mut play, 9), 5, "it takes nothing more");
}

#[test]
fn a_kernel_that_says_now_and_then_what_was_acknowledged_gives_no_more_time() {
    for is_silent_first in [true, false] {
        let mut play = with_one_that_is_stalled();
        let mut asked = 0;
        let given_up = (0..20).any(|_| {
            if !play.tick().contains(&ASK) {
                return false;
            }
            asked += 1;
            let result = match (asked % 2 == 1) == is_silent_first {
                true => Err(Errno::AGAIN),
                false => Ok(1000),
            };
            let answer = Completion::Unacknowledged { slot: 0, generation: 0, result };
            is_given_up(&play.turn([answer]))
        });
        assert!(given_up && asked == 5, "it was asked {asked} times");
    }
}

#[test]
fn a_publisher_that_was_pinged_and_is_held_is_not_gone() {
    let more = "stack = 'ws?ping=1s&pong=1s!tcp'\n[hub]\nmessages = '1MiB'\n\
                [[route]]\npath = '/room'\nhandler = 'hub?topic=room&publish=anyone'\n";
    let mut play = Play::with(&format!("{LISTENER}{more}"));
    play.first_says(&script::opening(&mut Random::new(0), "/room", false));
    play.turn([]);
    let pinged = (0..8).any(|_| play.tick().iter().any(is_sent));
    assert!(pinged, "it was silent for longer than it may be");
    // It answers, and is not read from: messages hold too much memory.
    let much = play.door.message(vec![0; 900_000]).expect("room");
    assert_eq!(play.turn([readable()]), []);
    for _ in 0..20 {
        let pushed = play.tick();
        let answer = pushed.contains(&ASK).then(|| unacknowledged(0));
        assert!(!is_given_up(&pushed) && !is_given_up(&play.turn(answer)));
    }
    drop(much);
    let pushed: Vec<_> = (0..2).flat_map(|_| play.turn([])).collect();
    assert!(pushed.contains(&receive()), "{pushed:?}");
}

/// A peer is silent, and acknowledges all but so many bytes: the ticks until it is given up, from
/// when it is nudged on.
fn ticks_until_given_up(unacknowledged_bytes: usize) -> usize {
    let stack = "stack = 'ws?ping=1s&pong=1s&stall=20s!tcp'\n";
    let route = "[[route]]\npath = '/'\nhandler = 'echo'\n";
    let program = Program::default().protocols(|_| Some(Box::new(LineEcho::default())));
    let mut play = Play::of(&format!("{LISTENER}{stack}{route}"), program);
    play.first_says(b"a line\n");
    play.turn([]);
    let nudged = (0..9).any(|_| play.tick().iter().any(is_sent));
    assert!(nudged, "it was silent for longer than it may be");
    let is_over = |_: &usize| {
        let answer =
            play.tick().contains(&ASK).then(|| unacknowledged(unacknowledged_bytes as u32));
        is_given_up(&play.turn(answer))
    };
    (1..200).find(is_over).expect("it is given up")
}

#[test]
fn who_has_only_what_is_to_be_answered_to_acknowledge_is_gone_soon_whatever_is_spoken() {
    let soon = 8;
    assert!(ticks_until_given_up(NUDGE.len()) <= soon);
    // It may be reading what was sent before, and has as long as any peer that stalls.
    assert!(ticks_until_given_up(NUDGE.len() + 1) > 4 * 20);
}

/// Says as many bytes to a silent peer as that has said.
struct Mirrors;

impl Protocol for Mirrors {
    fn input(&mut self, exchange: &mut Exchange<'_, '_>, input: Stretch<'_>) {
        exchange.own()[0] = input.len() as u8;
    }

    fn silent(&mut self, exchange: &mut Exchange<'_, '_>) {
        let bytes = vec![b'?'; exchange.own()[0].into()];
        exchange.send(&bytes).expect("room");
    }
}

#[test]
fn who_is_slow_is_not_gone_because_another_was_sent_more_to_answer() {
    let stack = "stack = 'ws?ping=1s&pong=1s&stall=20s!tcp'\n";
    let route = "[[route]]\npath = '/'\nhandler = 'echo'\n";
    let program = Program::default().protocols(|_| Some(Box::new(Mirrors)));
    let mut play = Play::of(&format!("{LISTENER}{stack}{route}"), program);
    assert_eq!(play.come(0, 2), [0, 1]);
    for (slot, says) in [(0, &[1; 10][..]), (1, &[1; 100])] {
        play.hears(slot, says);
    }
    (0..9).for_each(|_| _ = play.tick());
    let nudges = [0, 1].map(|slot| play.heard(slot).len());
    assert_eq!(nudges, [10, 100], "both were silent for longer than they may be");
    // Slot 0 may be reading what it was sent before.
    for _ in 0..4 * 20 {
        let answer = play.tick().contains(&ASK).then(|| unacknowledged(50));
        assert!(!is_given_up(&play.turn(answer)));
    }
}

/// The client in slot 0 resets, and another takes its slot and asks for `target`.
fn another_takes_its_slot(play: &mut Play, target: &str) {
    play.turn([readable()]);
    let pushed = play.turn([received(None, Err(RESET))]);
    assert!(pushed.contains(&Operation::Close { slot: 0 }), "{pushed:?}");
    play.turn([Completion::ListenerReady { listener: 0 }]);
    play.turn([accepted(0, Ok(()))]);
    play.turn([Completion::Readable { slot: 0, generation: 1, armed: false, ended: false }]);
    let request = script::opening(&mut Random::new(0), target, false);
    play.hand.borrow_mut().input = request.clone();
    let buffer = play.hand.borrow().lent.last().copied();
    let result = Ok(request.len() as u32);
    play.turn([Completion::Received { slot: 0, generation: 1, buffer, result, more: false }]);
    play.turn([]);
}

#[test]
fn who_comes_into_a_slot_hears_what_the_one_before_is_not_to_hear() {
    let mut play = Play::new();
    play.first_says(&script::opening(&mut Random::new(0), "/room", false));
    play.turn([]);
    let (gone, _) = play.told();
    another_takes_its_slot(&mut play, "/room");
    let message = play.door.message("news").expect("room");
    let publication = Publication { message, key: None, except: Some(gone.id), from: None };
    let topic = Target::Topic(Name::new("room").expect("a name"));
    let answer = play.asks(Errand::Publish(topic, publication));
    assert!(matches!(answer, Outcome::Published(Published { connections: 1, .. })), "{answer:?}");
    play.turn([]);
    let is_told = |(_, bytes): &(Operation, Vec<u8>)| bytes.ends_with(b"news");
    assert!(play.hand.borrow().seen.iter().any(is_told), "it heard nothing");
}

#[test]
fn what_is_found_out_about_a_request_is_nothing_to_the_next_in_its_slot() {
    let books = Arc::<Mutex<Books>>::default();
    let kept = Arc::clone(&books);
    let program = Program::default().handlers(move |route| handlers::recorded(route, &kept));
    let mut play = Play::of("[[route]]\npath = '/late'\nhandler = 'echo'\n", program);
    play.first_says(&script::opening(&mut Random::new(0), "/late?one", false));
    another_takes_its_slot(&mut play, "/late?two");
    let asked = std::mem::take(&mut books.lock().expect("nobody panicked").asked);
    let [one, two] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(one.ticket.connection.slot, two.ticket.connection.slot);
    let outcome = finds_out(&mut play, one, 1);
    assert!(matches!(outcome, Outcome::NotDone(NotDone::Gone)), "{outcome:?}");
    let outcome = finds_out(&mut play, two, 2);
    assert!(matches!(outcome, Outcome::Done(1)), "{outcome:?}");
    let told: Vec<_> = books.lock().expect("nobody panicked").told.iter().copied().collect();
    assert_eq!(told, [2]);
    assert_eq!(play.counters().found_in_vain, 1);
}

/// It is found out, by this number, that a request is to be admitted; what comes of that.
fn finds_out(play: &mut Play, asked: &Asked, number: u64) -> Outcome {
    let told = Told { number, query: asked.query.clone(), what: Verdict::Admit };
    let (answers, answer) = mpsc::channel();
    play.door.found(asked.ticket, told, move |answer| {
        answers.send(answer).expect("somebody waits");
    });
    play.turn([]);
    play.turn([]);
    answer.try_recv().expect("an answer")
}

/// Publishes a message on the room; returns where it stands.
fn publish(play: &mut Play) -> Position {
    let message = play.door.message("x".repeat(1000)).expect("room");
    let publication = Publication::new(message);
    let topic = Target::Topic(Name::new("room").expect("a name"));
    let answer = play.asks(Errand::Publish(topic, publication));
    let Outcome::Published(Published { position: Some(at), .. }) = answer else {
        panic!("{answer:?}");
    };
    at
}

/// Somebody has come back, and the first portion of what it missed is in the batch of this index.
fn with_a_portion(slow_peer: &str) -> (Play, u32) {
    let mut play = Play::with(&format!(
        "[[route]]\npath = '/room'\nhandler = 'hub?topic=room&events=on'\nbacklog = '16KiB'\n\
         max_buffered_message = '8KiB'\nslow_peer = '{slow_peer}'\n\
         [[topic]]\nname = 'room'\nhistory = 40\nhistory_bytes = '1MiB'\n"
    ));
    let at = publish(&mut play);
    (0..30).for_each(|_| _ = publish(&mut play));
    let target = format!("/room?since={}:{}", at.epoch_text(), at.offset);
    let mut pushed = play.first_says(&script::opening(&mut Random::new(0), &target, false));
    for _ in 0..9 {
        let mut sends = pushed.iter().filter_map(|one| match one {
            Operation::Send { span, batch_index, .. } => Some((span.length, *batch_index)),
            _ => None,
        });
        // It takes what comes first.
        if let Some((_, batch_index)) = sends.find(|(length, _)| *length > 9000) {
            return (play, batch_index);
        }
        pushed = play.turn([]);
    }
    panic!("no portion: {pushed:?}");
}

#[test]
fn who_comes_back_is_told_of_what_is_forgotten_meanwhile() {
    let (mut play, batch_index) = with_a_portion("pause");
    let result = Err(Errno::AGAIN);
    let pushed = play.turn([Completion::SendFellShort { slot: 0, batch_index, result }]);
    let Some(Operation::SendArmed { span, .. }) = pushed.into_iter().find(is_armed) else {
        panic!("no send is armed");
    };
    (0..40).for_each(|_| _ = publish(&mut play));
    assert!(!has_gap(&play), "nothing is forgotten that it was not sent");
    let before = play.counters().recovered;
    play.hand.borrow_mut().seen.clear();
    play.turn([Completion::Sent { slot: 0, generation: 0, result: Ok(span.length) }]);
    (0..4).for_each(|_| drop(play.turn([])));
    assert!(has_gap(&play), "it is not told that some is forgotten");
    assert_eq!(play.counters().recovered - before, messages_seen(&play), "all but the gap");
}

#[test]
fn a_portion_that_is_left_out_counts_as_the_messages_that_it_is() {
    for slow_peer in ["drop_oldest", "pause"] {
        let (mut play, batch_index) = with_a_portion(slow_peer);
        // Nothing of it was sent, and something else comes before it is tried again.
        play.hand.borrow_mut().unsettled = true;
        let result = Err(Errno::AGAIN);
        let short = Completion::SendFellShort { slot: 0, batch_index, result };
        let request = if slow_peer == "pause" {
            // A Close frame, in front of which only what has begun may go.
            Errand::Disconnect(Target::All, Why::wish(4000, "away"))
        } else {
            let message = play.door.message("news").expect("room");
            Errand::Publish(Target::All, Publication::new(message))
        };
        let mut short = Some(short);
        if slow_peer == "drop_oldest" {
            play.turn(short.take());
        }
        play.door.ask(request, |_| {});
        play.turn([]);
        play.turn([]);
        play.turn(short);
        play.hand.borrow_mut().unsettled = false;
        let counters = play.counters();
        let left_out = counters.slow_dropped_oldest + counters.dropped_closing;
        assert!(
            counters.recovered > 9 && left_out == counters.recovered,
            "{slow_peer}: {left_out}"
        );
    }
}

/// The shard is checked after each turn: nothing recovers without a subscription.
#[test]
fn a_recovery_ends_with_its_subscription_wherever_it_stands() {
    let room = || Name::new("room").expect("a name");
    for (turns, destroys) in (0..4).flat_map(|turns| [(turns, false), (turns, true)]) {
        let (mut play, _) = with_a_portion("pause");
        // There is more to come, and it is not known what became of the first portion.
        play.hand.borrow_mut().unsettled = true;
        (0..35).for_each(|_| _ = publish(&mut play));
        let filter = ConnectionFilter::default();
        let Outcome::Connections(infos, None) =
            play.asks(Errand::Connections { from: 0, filter, limit: 9 })
        else {
            panic!("no list");
        };
        play.hand.borrow_mut().unsettled = turns == 0;
        (0..turns).for_each(|_| drop(play.turn([])));
        let answer = play.asks(match destroys {
            true => Errand::DestroyTopic(room()),
            false => Errand::Unsubscribe(Target::Connection(infos[0].id), room()),
        });
        assert!(matches!(answer, Outcome::Done(1)), "{answer:?}");
        play.hand.borrow_mut().unsettled = false;
        (0..4).for_each(|_| drop(play.turn([])));
        assert_eq!(play.counters().subscriptions, 0, "{turns} turns on, {destroys}");
    }
}

/// How many messages were sent.
fn messages_seen(play: &Play) -> u64 {
    let message = b"\"type\":\"message\"";
    let is_message = |part: &&[u8]| part == message;
    let count = |bytes: &[u8]| bytes.windows(message.len()).filter(is_message).count();
    play.hand.borrow().seen.iter().map(|(_, bytes)| count(bytes) as u64).sum()
}

/// Whether what was sent tells of a gap.
fn has_gap(play: &Play) -> bool {
    let gap = b"\"type\":\"gap\"";
    let tells = |(_, bytes): &(Operation, Vec<u8>)| bytes.windows(gap.len()).any(|w| w == gap);
    play.hand.borrow().seen.iter().any(tells)
}

#[test]
fn who_has_yet_to_show_what_it_took_is_not_slow() {
    let mut play = Play::with(
        "[[route]]\npath = '/room'\nhandler = 'hub?topic=room'\nbacklog = '4KiB'\n\
         max_buffered_message = '2KiB'\nslow_peer = 'close'\n",
    );
    play.first_says(&script::opening(&mut Random::new(0), "/room", false));
    play.turn([]);
    // More than may wait is published while it is not known what became of the first send.
    for _ in 0..9 {
        let message = play.door.message("x".repeat(1000)).expect("room");
        let publication = Publication::new(message);
        play.door.ask(Errand::Publish(Target::All, publication), |_| {});
        play.turn([]);
        play.hand.borrow_mut().unsettled = true;
    }
    play.hand.borrow_mut().unsettled = false;
    (0..20).for_each(|_| drop(play.turn([])));
    let counters = play.counters();
    assert_eq!((counters.slow_peers_closed, counters.deliveries), (0, 9));
}

/// A client takes nothing, and so many messages are pushed to it, most of which find no block;
/// what comes of them.
fn with_pushes_that_wait(count: usize) -> (Play, mpsc::Receiver<Outcome>) {
    let mut play = Play::with(
        "blocks = '1MiB'\n[[route]]\npath = '/room'\nhandler = 'hub?topic=room'\n\
         backlog = '1MiB'\nmax_buffered_message = '128KiB'\n\
         [[topic]]\nname = 'room'\npresence = true\n[hub]\nmailbox = 16\n",
    );
    play.first_says(&script::opening(&mut Random::new(0), "/room", false));
    let id = play.told().0.id;
    let (answers, answer) = mpsc::channel();
    for _ in 0..count {
        let message = play.door.message(vec![b'x'; 60_000]).expect("room");
        let publication = Publication::new(message);
        let answers = answers.clone();
        let request = Errand::Publish(Target::Connection(id), publication);
        // With the shard's end the test has, too: then nobody waits any more.
        play.door.ask(request, move |answer| drop(answers.send(answer)));
        for pushed in play.turn([]) {
            if let Operation::Send { batch_index, .. } = pushed {
                let result = Err(Errno::AGAIN);
                play.turn([Completion::SendFellShort { slot: 0, batch_index, result }]);
            }
        }
    }
    assert!(play.counters().deliveries_without_block > 0);
    (play, answer)
}

#[test]
fn a_push_that_waits_for_a_block_keeps_no_other_mail_waiting() {
    let (mut play, answer) = with_pushes_that_wait(12);
    let taken = answer.try_iter().count();
    assert!((1..12).contains(&taken), "{taken} of 12 found a block");
    play.told();
    // What comes for the same connection has its place behind.
    let id = play.told().0.id;
    let close = Errand::Disconnect(Target::Connection(id), Why::wish(4000, "away"));
    let (answers, closed) = mpsc::channel();
    play.door.ask(close, move |answer| answers.send(answer).expect("somebody waits"));
    (0..3).for_each(|_| drop(play.turn([])));
    assert!(closed.try_recv().is_err(), "what was pushed before waits yet");
    // The client takes something at last.
    let sent =
        play.hand.borrow().seen.iter().rev().find(|(one, _)| is_armed(one)).map(|(one, _)| *one);
    let Some(Operation::SendArmed { span, .. }) = sent else { panic!("no send is armed") };
    play.turn([Completion::Sent { slot: 0, generation: 0, result: Ok(span.length) }]);
    (0..20).for_each(|_| drop(play.turn([])));
    assert!(matches!(closed.try_recv(), Ok(Outcome::Done(1))));
    let published = |answer: &Outcome| matches!(answer, Outcome::Published(_));
    assert_eq!(answer.try_iter().filter(published).count(), 12 - taken);
}

#[test]
fn a_shard_that_may_take_no_mail_in_sleeps_for_a_moment() {
    // As many wait as a mailbox has places, and more mail is there.
    let (mut play, answer) = with_pushes_that_wait(40);
    for _ in 0..9 {
        play.turn([]);
        assert_eq!(play.hand.borrow().wait, Duration::from_millis(1));
    }
    assert!(answer.try_iter().count() + 16 < 40, "all mail was taken in");
}

/// Nine say something at once; how many of them are received from in that turn, and the next.
fn read_of_nine(play: &mut Play) -> [usize; 2] {
    play.turn([Completion::ListenerReady { listener: 0 }]);
    (0..9).for_each(|slot| drop(play.turn([accepted(slot, Ok(()))])));
    let told = |slot| Completion::Readable { slot, generation: 0, armed: false, ended: false };
    let is_receive = |one: &&Operation| matches!(one, Operation::Receive { .. });
    let pushed = play.turn((0..9).map(told));
    let first = pushed.iter().filter(is_receive).count();
    let second = play.turn([]).iter().filter(is_receive).count();
    [first, second]
}

#[test]
fn who_opens_behind_as_many_as_have_a_turn_waits_for_no_tick() {
    let mut play = Play::new();
    // All buffers are in use then.
    assert_eq!(read_of_nine(&mut play), [8, 0]);
    assert_eq!(play.hand.borrow().wait, Duration::ZERO);
}

#[test]
fn behind_a_proxy_as_many_have_a_turn_as_without_one() {
    let more = "[[listener]]\naddress = '127.0.0.1:8080'\n\
                stack = 'ws!proxy?from=127.0.0.0/8&max=536!tcp'\n";
    let mut play = Play::with(more);
    assert_eq!(read_of_nine(&mut play), [8, 0]);
}

#[test]
fn who_shakes_hands_has_a_turn_with_one_other_and_the_rest_wait_for_no_tick() {
    let program = Program::default().layers(|_| Some(Box::new(Shaking { words: 0 })));
    let mut play = Play::of("", program);
    assert_eq!(read_of_nine(&mut play), [2, 2]);
    assert_eq!(play.hand.borrow().wait, Duration::ZERO);
}

#[test]
fn a_drain_does_not_wait_for_newcomers_that_shake_no_hands() {
    let program = Program::default().layers(|_| Some(Box::new(Shaking { words: 0 })));
    let mut play = Play::of("", program);
    play.turn([Completion::ListenerReady { listener: 0 }]);
    play.turn([accepted(0, Ok(()))]);
    play.drains();
    play.tick();
    // What waited to be accepted comes in behind those who were told.
    play.turn([accepted(1, Ok(()))]);
    let pushed: Vec<_> = (0..3).flat_map(|_| play.tick()).collect();
    assert!(pushed.contains(&Operation::Close { slot: 1 }), "{pushed:?}");
}

/// A drain of all, two in a second.
fn slow_drain(after: AfterDrain) -> DrainPlan {
    let plan = DrainPlan::configured(&Config::default(), after);
    DrainPlan { rate: DrainRate::OfEach(2), ..plan }
}

/// How many of these were told something.
fn told(play: &Play, slots: &[Slot]) -> usize {
    slots.iter().filter(|slot| !play.heard(**slot).is_empty()).count()
}

#[test]
fn who_was_not_told_when_a_drain_is_taken_back_is_told_nothing() {
    let mut play = Play::new();
    let slots = play.come(0, 12);
    let order = play.is_ordered(slow_drain(AfterDrain::End));
    (0..6).for_each(|_| drop(play.tick()));
    play.takes_back(&order);
    let before = told(&play, &slots);
    assert!((2..=6).contains(&before), "{before} in a second and a half, two a second");
    (0..8).for_each(|_| drop(play.tick()));
    assert_eq!(told(&play, &slots), before);
    let counters = play.counters();
    assert_eq!((counters.drained as usize, counters.drain_left), (before, 0));
}

#[test]
fn an_order_that_was_taken_back_before_it_was_seen_is_none() {
    let mut play = Play::new();
    let slots = play.come(0, 3);
    let order = Arc::new(DrainOrder::new(slow_drain(AfterDrain::Leave), 1, 1));
    assert!(order.take_back());
    play.sees(Some(&order));
    (0..4).for_each(|_| drop(play.tick()));
    assert_eq!(told(&play, &slots), 0);
}

#[test]
fn a_topic_of_which_nothing_is_left_is_forgotten_though_its_history_is_asked_for() {
    let mut play = Play::with(
        "[[route]]\npath = '/room'\nhandler = 'hub?topic=room'\n\
         [[topic]]\nname = 'room'\nhistory = 9\nhistory_age = '1s'\n",
    );
    publish(&mut play);
    assert_eq!(play.counters().topics_home, 1);
    // The message is too old when it is asked for, and no tick has come that would look.
    play.hand.borrow_mut().now += Duration::from_millis(1100);
    let topic = Name::new("room").expect("a name");
    play.asks(Errand::History { topic, past: None, limit: 9 });
    for _ in 0..9 {
        play.tick();
    }
    assert_eq!(play.counters().topics_home, 0);
}

#[test]
fn what_waits_to_be_sealed_keeps_nobody_unread_that_turns_out_to_be_slow() {
    let more = "[[route]]\npath = '/'\nhandler = 'echo'\nslow_peer = 'close'\n";
    let mut play = Play::of(more, Program::default().layers(|_| Some(Box::new(Xor::default()))));
    let mut said = Stream::default();
    let mut wire = |mut bytes: Vec<u8>| {
        said.change(&mut bytes);
        bytes
    };
    let message = || Frame::binary(vec![1; 500]).masked();
    play.first_says(&wire(script::opening(&mut Random::new(0), "/", false)));
    // While one answer is on its way, the next waits to be sealed.
    play.says(readable(), &wire(message()));
    play.hand.borrow_mut().unsettled = true;
    play.says(readable(), &wire(message()));
    assert_eq!(play.turn([still_polled()]), [], "nothing is read meanwhile");
    // The peer does not take the first.
    let short = Completion::SendFellShort { slot: 0, batch_index: 0, result: Ok(10) };
    play.hand.borrow_mut().unsettled = false;
    let pushed = play.turn([short]);
    assert!(pushed.iter().any(is_armed), "{pushed:?}");
    let is_read = pushed.contains(&receive()) || play.turn([]).contains(&receive());
    assert!(is_read, "its route is not to pause it");
    assert_eq!(play.counters().slow_peers_paused, 0);
}
