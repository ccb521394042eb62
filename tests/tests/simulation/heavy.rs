//! Input that is more work than one turn of the loop may do, played by hand: messages that inflate
//! to very much, and lines that are very many.

use tidegate::gateway::Program;
use tidegate::handler::{Context, Handler, Kind, Piece};
use tidegate::kernel::{Completion, Errno, Operation, Slot};
use tidegate_tests::line_echo::{LineEcho, answer};
use tidegate_tests::xor::{Stream, Xor};
use tidegate_tests::{Codec, noise};

use crate::hearing::Heard;
use crate::play::{Play, Unread, accepted, readable_in, still_polled_in};
use crate::random::Random;
use crate::script;

const BROKEN_PIPE: Errno = Errno(32);

/// What a turn may inflate, in bytes.
const HEAVY_INPUT: usize = 16 << 10;

/// So many clients that compress have opened.
fn with_clients(count: Slot) -> Play {
    let mut play = Play::with(&format!(
        "heavy_input = {HEAVY_INPUT}\n[[route]]\npath = '/echo'\nhandler = 'echo'\n\
         max_buffered_message = '256KiB'\n"
    ));
    play.turn([Completion::ListenerReady { listener: 0 }]);
    (0..count).for_each(|slot| _ = play.turn([accepted(slot, Ok(()))]));
    for slot in 0..count {
        play.hears(slot, &script::opening(&mut Random::new(0), "/echo", true));
    }
    // The responses leave with the next turn.
    play.turn([]);
    play.hand.borrow_mut().seen.clear();
    play
}

/// A text for a little more than three turns; at the end of none of them ends a character.
fn long() -> String {
    "€".repeat(HEAVY_INPUT + 5)
}

/// A compressed text as a client says it.
fn compressed(text: &str) -> Vec<u8> {
    script::frame(0xC1, &Codec::new(6).deflate(text.as_bytes()), [0; 4])
}

/// Compressed bytes.
fn compressed_bytes(bytes: &[u8]) -> Vec<u8> {
    script::frame(0xC2, &Codec::new(6).deflate(bytes), [0; 4])
}

/// What clients say arrives in one turn; returns what is pushed in that, as the first of several.
fn arrive(play: &mut Play, unread: &mut Unread) -> Vec<Operation> {
    let readable: Vec<_> = unread.keys().map(|slot| readable_in(*slot)).collect();
    let pushed = play.turn(readable);
    play.receives(&pushed, unread)
}

/// The messages that the client has heard as a whole.
fn texts(play: &Play, whom: Slot) -> Vec<String> {
    texts_in(&play.heard(whom))
}

/// Those in what it has heard.
fn texts_in(bytes: &[u8]) -> Vec<String> {
    let mut heard = Heard::new(true);
    heard.hear(bytes);
    let messages = heard.take_messages().into_iter();
    messages.map(|message| String::from_utf8(message.bytes).expect("text")).collect()
}

/// To whom something was sent, in order.
fn sends(play: &Play) -> Vec<Slot> {
    let whom = |(operation, _): &(Operation, Vec<u8>)| match *operation {
        Operation::Send { slot, .. } => Some(slot),
        _ => None,
    };
    play.hand.borrow().seen.iter().filter_map(whom).collect()
}

#[test]
fn a_message_goes_on_in_the_next_turn_and_others_behind_it() {
    let mut play = with_clients(2);
    let both = compressed(&long()).into_iter().chain(compressed("behind")).collect();
    arrive(&mut play, &mut Unread::from([(0, both), (1, compressed("other"))]));
    (0..9).for_each(|_| _ = play.turn([]));
    assert_eq!(sends(&play), [0, 0, 0, 0, 1], "a turn has its share, and who is behind waits");
    assert!(texts(&play, 0) == [long(), "behind".to_owned()], "another message, or none");
    assert_eq!(texts(&play, 1), ["other"]);
}

#[test]
fn who_goes_in_the_middle_of_a_message_keeps_nobody_waiting() {
    let mut play = with_clients(2);
    let unread = [(0, compressed(&long())), (1, compressed("other"))];
    let pushed = arrive(&mut play, &mut Unread::from(unread));
    let send = pushed.iter().rev().find_map(|operation| match *operation {
        Operation::Send { slot: 0, batch_index, .. } => Some(batch_index),
        _ => None,
    });
    let batch_index = send.expect("so much of the message is echoed");
    let result = Err(BROKEN_PIPE);
    play.turn([Completion::SendFellShort { slot: 0, batch_index, result }]);
    (0..9).for_each(|_| _ = play.turn([]));
    assert_eq!(sends(&play), [0, 0, 1]);
    assert_eq!(texts(&play, 1), ["other"]);
}

#[test]
fn what_is_left_of_a_message_stays_where_it_was_gathered() {
    let mut play = with_clients(2);
    let payload = Codec::new(6).deflate(long().as_bytes());
    let (first, last) = payload.split_at(payload.len() / 2);
    let parts = [script::frame(0x41, first, [0; 4]), script::frame(0x80, last, [0; 4])];
    // While its rest waits, another's Ping is gathered, which is as long.
    let ping = noise(125, 1);
    let mut half = script::frame(0x89, &ping, [0; 4]);
    let rest = half.split_off(6 + payload.len());
    arrive(&mut play, &mut Unread::from([(0, parts.concat()), (1, half)]));
    (0..9).for_each(|_| _ = play.turn([]));
    assert!(texts(&play, 0) == [long()], "another message, or none");
    play.hears(1, &rest);
    play.turn([]);
    assert!(play.heard(1) == [&[0x8A, 125], &ping[..]].concat(), "another Pong");
}

/// The first send to a client in a batch that is among `pushed`.
fn index_of_send(pushed: &[Operation], whom: Slot) -> Option<u32> {
    pushed.iter().find_map(|operation| match *operation {
        Operation::Send { slot, batch_index, .. } if slot == whom => Some(batch_index),
        _ => None,
    })
}

/// What a peer had no room for it takes now, in portions; returns the bytes.
fn take_in_portions(play: &mut Play, pushed: &[Operation]) -> Vec<u8> {
    let armed = |pushed: &[Operation]| {
        pushed.iter().copied().find(|one| matches!(one, Operation::SendArmed { .. }))
    };
    let (mut next, mut taken) = (armed(pushed), Vec::new());
    while let Some(operation @ Operation::SendArmed { slot, generation, span }) = next {
        // From here on the kernel has seen it.
        play.turn([]);
        let count = span.length.min(3000);
        let hand = play.hand.borrow();
        let (_, bytes) = hand.seen.iter().rev().find(|(one, _)| *one == operation).expect("seen");
        taken.extend_from_slice(&bytes[..count as usize]);
        drop(hand);
        next = armed(&play.turn([Completion::Sent { slot, generation, result: Ok(count) }]));
    }
    taken
}

#[test]
fn who_takes_nothing_of_a_long_message_is_paused_behind_it_and_hears_all_of_it() {
    let mut play = with_clients(1);
    let letter = |byte: &u8| if *byte < 32 { '€' } else { char::from(b'a' + byte % 26) };
    let text: String = noise(3 * HEAVY_INPUT, 1).iter().map(letter).collect();
    let both = [compressed(&text), compressed("behind")].concat();
    // It comes in many parts, and what is not inflated yet stays where these are gathered.
    let pushed = both.chunks(1000).map(|part| play.hears(0, part)).last().expect("some parts");
    let batch_index = index_of_send(&pushed, 0).expect("so much of it is echoed");
    let result = Ok(100);
    let mut pushed = play.turn([Completion::SendFellShort { slot: 0, batch_index, result }]);
    let mut heard = play.heard(0)[..100].to_vec();
    (0..9).for_each(|_| pushed.extend(play.turn([])));
    let is_read = |one: &Operation| matches!(one, Operation::Receive { .. });
    assert!(!pushed.iter().any(is_read), "it is read from");
    assert_eq!(play.counters().slow_peers_paused, 1);
    heard.extend(take_in_portions(&mut play, &pushed));
    assert!(texts_in(&heard) == [text, "behind".to_owned()], "it heard something else");
    // It is read from again.
    play.hand.borrow_mut().seen.clear();
    play.hears(0, &compressed("more"));
    play.turn([]);
    assert_eq!(texts(&play, 0), ["more"]);
    assert_eq!(play.counters().slow_peers_closed, 0);
}

/// Answers a text with as much as there are blocks for in a pool of 1 MiB. Of bytes it takes piece
/// after piece, and says nothing.
struct Pours;

impl Handler for Pours {
    fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
        if piece.kind == Kind::Text {
            // With its header each has a block of 64 KiB.
            (0..10).for_each(|_| context.send_bytes(&[0; 65_532]).expect("room"));
        }
    }
}

#[test]
fn who_is_dropped_at_a_send_in_the_middle_of_a_message_keeps_nobody_waiting() {
    let program = Program::default()
        .handlers(|_| Some(Box::new(Pours)))
        .layers(|_| Some(Box::new(Xor::default())));
    let limits = format!("heavy_input = {HEAVY_INPUT}\nblocks = '1MiB'\nstaging = '16KiB'\n");
    let route = "[[route]]\npath = '/'\nhandler = 'echo'\nbacklog = '1MiB'\n\
                 max_buffered_message = '128KiB'\n";
    let mut play = Play::of(&(limits + route), program);
    let mut said = [Stream::default(); 3];
    let mut wire = |slot: Slot, mut bytes: Vec<u8>| {
        said[slot as usize].change(&mut bytes);
        bytes
    };
    for slot in play.come(0, 3) {
        let request = script::opening(&mut Random::new(0), "/", slot != 1);
        play.hears(slot, &wire(slot, request));
    }
    play.turn([]);
    // One goes on in the next turn, and answers a Ping in it. There another has all blocks, and all
    // staging memory for what leaves first.
    let (ping, zeros) = (script::frame(0x89, b"ping", [0; 4]), [0; 4 * HEAVY_INPUT]);
    let two = [&zeros[..HEAVY_INPUT / 2 * 3], &zeros].map(compressed_bytes);
    let mut unread = Unread::from([
        (0, wire(0, [&two[0][..], &ping, &two[1]].concat())),
        (1, wire(1, script::frame(0x81, b"pour", [0; 4]))),
        (2, wire(2, compressed_bytes(b"other"))),
    ]);
    let pushed = arrive(&mut play, &mut unread);
    assert!(pushed.contains(&Operation::Close { slot: 0 }), "{pushed:?}");
    // What the other has leaves.
    (0..60).for_each(|_| _ = play.turn([]));
    let counters = play.counters();
    assert_eq!((counters.messages_in, counters.connections), (3, 2));
}

/// Clients of the line echo, whose polls stay armed, and what each has said.
fn with_lines(count: usize) -> (Play, Vec<Vec<u8>>) {
    let program = Program::default().protocols(|_| Some(Box::new(LineEcho::default())));
    let route = "[[route]]\npath = '/'\nhandler = 'echo'\n";
    let mut play = Play::of(&format!("heavy_input = {HEAVY_INPUT}\n{route}"), program);
    for slot in play.come(0, count) {
        (0..2).for_each(|_| _ = play.hears(slot, b"?\n"));
    }
    play.turn([]);
    (play, vec![b"?\n?\n".to_vec(); count])
}

/// Lines as many as a receive buffer holds, each second of which asks how many there were: what is
/// lost, or not in its place, shows.
fn very_many_lines() -> Vec<u8> {
    b"?\nab\n".repeat(204)
}

/// What each client says next arrives in one turn; returns what is pushed in that.
fn say_at_once(play: &mut Play, said: &mut [Vec<u8>], next: &[Vec<u8>]) -> Vec<Operation> {
    let unread: Unread = (0..).zip(next.iter().cloned()).collect();
    said.iter_mut().zip(next).for_each(|(said, next)| said.extend(next));
    let pushed = play.turn(unread.keys().map(|slot| still_polled_in(*slot)));
    play.receives_at_once(&pushed, &unread)
}

#[test]
fn a_line_is_echoed_while_the_rest_of_very_many_of_others_waits() {
    let (mut play, mut said) = with_lines(4);
    let many = very_many_lines();
    let next = [many.clone(), many.clone(), many, b"a line\n".to_vec()];
    let pushed = say_at_once(&mut play, &mut said, &next);
    let is_answered = |slot| index_of_send(&pushed, slot).is_some();
    assert!((0..4).all(is_answered), "some of each is answered at once: {pushed:?}");
    // One of those who wait says more, which has its place behind the rest.
    let mut unread = Unread::from([(2, b"?\n".to_vec())]);
    said[2].extend(&unread[&2]);
    let mut pushed = play.turn([still_polled_in(2)]);
    for _ in 0..9 {
        let mut then = play.receives(&pushed, &mut unread);
        then.extend(play.turn([]));
        pushed = then;
    }
    for (slot, said) in (0..).zip(said) {
        let expected = answer(&said).bytes;
        assert!(play.heard(slot) == expected, "what the client in slot {slot} heard");
    }
    assert_eq!(play.counters().inputs_put_off, 2);
}

#[test]
fn what_waited_is_answered_behind_what_its_peer_does_not_take() {
    let (mut play, mut said) = with_lines(2);
    let pushed = say_at_once(&mut play, &mut said, &[very_many_lines(), very_many_lines()]);
    let mut heard = play.heard(1);
    let batch_index = index_of_send(&pushed, 1).expect("some of it is answered at once");
    let result = Err(Errno::AGAIN);
    let mut pushed = play.turn([Completion::SendFellShort { slot: 1, batch_index, result }]);
    (0..3).for_each(|_| pushed.extend(play.turn([])));
    heard.extend(take_in_portions(&mut play, &pushed));
    assert!(heard == answer(&said[1]).bytes, "it heard something else");
    assert!(play.heard(0) == answer(&said[0]).bytes, "the other heard something else");
    let counters = play.counters();
    assert_eq!((counters.inputs_put_off, counters.slow_peers_paused), (1, 1));
}
