//! Messages that inflate to more than one turn of the loop may inflate, played by hand.

use tidegate::kernel::{Completion, Errno, Operation, Slot};
use tidegate_tests::Codec;

use crate::hearing::Heard;
use crate::play::{Play, Unread, accepted, readable_in};
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

/// A compressed message as a client says it.
fn compressed(text: &str) -> Vec<u8> {
    let payload = Codec::new(6).deflate(text.as_bytes());
    let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126);
    let length = length.expect("it repeats itself");
    [&[0xC1, 0x80 | length, 0, 0, 0, 0], &payload[..]].concat()
}

/// What clients say arrives in one turn; returns what is pushed in that, as the first of several.
fn arrive(play: &mut Play, unread: &mut Unread) -> Vec<Operation> {
    let readable: Vec<_> = unread.keys().map(|slot| readable_in(*slot)).collect();
    let pushed = play.turn(readable);
    play.receives(&pushed, unread)
}

/// The messages that the client has heard as a whole.
fn texts(play: &Play, whom: Slot) -> Vec<String> {
    let mut heard = Heard::new(true);
    for (operation, bytes) in &play.hand.borrow().seen {
        if matches!(operation, Operation::Send { slot, .. } if *slot == whom) {
            heard.hear(bytes);
        }
    }
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
