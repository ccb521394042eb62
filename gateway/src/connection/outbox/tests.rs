//! The outbox against a model of what a peer sees: whole frames and answers, in an order that the
//! rules of the module allow, whatever the peer takes at a time.

use std::collections::VecDeque;

use proptest::prelude::*;
use tidegate_proto::message::Part;
use tidegate_proto::websocket::sender::Sender;

use super::*;
use crate::connection::payload::Payload;
use crate::connection::{Spoken, WebSocket, Writing};
use crate::memory::World;

const SLOT: Slot = 1;

/// A connection with its way out, and the peer that takes what is sent.
struct Line {
    connection: Connection,
    frames: Frames,
    world: World,
    staged: u32,
    sealed: SealedBytes,
    /// What the peer has taken.
    heard: Vec<u8>,
    /// The send of the batch whose outcome is open.
    batch: Option<NextSend>,
    /// The armed send.
    armed: Option<Span>,
}

impl Line {
    fn new(places: u32) -> Self {
        Self {
            connection: Connection {
                spoken: Spoken::WebSocket(WebSocket::default()),
                ..Connection::free(0)
            },
            frames: Frames::new(places, 4),
            world: World::new(1 << 18),
            staged: 0,
            sealed: SealedBytes::new(4),
            heard: Vec::new(),
            batch: None,
            armed: None,
        }
    }

    /// The stream of messages to the peer.
    fn sender(&mut self) -> &mut Sender {
        &mut self.connection.websocket().expect("it is made with one").sender
    }

    fn outbox(&mut self) -> Outbox<'_> {
        Outbox {
            slot: SLOT,
            connection: &mut self.connection,
            frames: &mut self.frames,
            pool: self.world.pool(),
            staged: &mut self.staged,
            sealed: &mut self.sealed,
        }
    }

    /// Publishes `length` bytes of `mark`.
    fn publish(&mut self, mark: u8, length: u32, key: u64, bound: Bound) -> (Offered, LeftOut) {
        let bytes = vec![mark; length as usize];
        let Self { frames, world, .. } = self;
        let frame = frames.add(&[&bytes], 1, &mut world.pool(), 0).expect("room");
        let span = frames.span(frame, &world.blocks);
        let offer = SharedFrame { frame, span, key, messages: 1 };
        let (offered, left_out) = self.outbox().offer(offer, bound);
        if offered == Offered::AtOnce {
            self.frames.refer(frame);
            self.launch(NextSend { span, frame: Some(frame) });
        }
        self.frames.release(frame, &mut self.world.blocks);
        self.check();
        (offered, left_out)
    }

    /// Answers with bytes of `mark`, which go to the backlog.
    fn answer(&mut self, mark: u8, length: usize) {
        let bytes = vec![mark; length];
        self.outbox().backlog().push_back(&[Payload::Bytes(&bytes)], u32::MAX).expect("room");
        self.arm();
        self.check();
    }

    fn launch(&mut self, outgoing: NextSend) {
        assert!(self.batch.is_none() && self.armed.is_none(), "two sends at a time");
        self.connection.states.set_writing(Writing::InBatch);
        self.batch = Some(outgoing);
    }

    fn arm(&mut self) {
        if self.batch.is_some() || self.armed.is_some() {
            return;
        }
        match self.outbox().first() {
            Some(span) => {
                self.connection.states.set_writing(Writing::Armed);
                self.armed = Some(span);
            }
            None => self.connection.states.clear(States::BLOCKED),
        }
    }

    /// The batch is settled: the peer took up to `most` bytes of what was sent in it.
    fn settle(&mut self, most: u32) {
        let Some(NextSend { span, frame }) = self.batch.take() else { return };
        let sent = span.length.min(most);
        self.hear(span.part(0, sent));
        if sent < span.length {
            match frame {
                Some(frame) => self.outbox().frame_fell_short(frame, sent),
                None => self.outbox().fell_short(span.skip(sent)).expect("room"),
            }
        }
        if let Some(frame) = frame {
            self.frames.release(frame, &mut self.world.blocks);
        }
        self.staged = 0;
        self.connection.states.set_writing(Writing::Idle);
        if self.connection.backlog.is_some() || self.connection.states.has(States::BLOCKED) {
            self.arm();
        } else {
            self.go_on();
        }
        self.check();
    }

    /// What waits is sent in the next batch.
    fn go_on(&mut self) {
        if let Some(outgoing) = self.outbox().next(true) {
            self.launch(outgoing);
        }
    }

    /// The armed send sends up to `most` bytes.
    fn take(&mut self, most: u32) {
        let Some(span) = self.armed.take() else { return };
        let sent = span.length.min(most.max(1));
        self.hear(span.part(0, sent));
        self.connection.states.set_writing(Writing::Idle);
        self.outbox().sent(sent);
        if self.outbox().has_more() {
            self.arm();
        } else {
            self.connection.states.clear(States::BLOCKED);
            self.go_on();
        }
        self.check();
    }

    fn hear(&mut self, span: Span) {
        self.heard.extend_from_slice(self.world.memory.bytes(span));
    }

    /// Everything is sent.
    fn drain(&mut self) {
        while self.batch.is_some() || self.armed.is_some() {
            self.settle(u32::MAX);
            self.take(u32::MAX);
        }
        assert_eq!(self.outbox().waiting(), 0, "something waits and nothing sends it");
        assert_eq!(self.world.blocks.used_bytes(), 0, "blocks that nobody gives back");
    }

    fn check(&self) {
        self.frames.check(SLOT, &self.world.blocks);
        let is_queued = self.connection.states.has(States::QUEUED);
        assert_eq!(is_queued, !self.frames.is_empty(SLOT));
    }
}

const WIDE: Bound = Bound { bytes: u32::MAX, overflow: Overflow::Refuse };

#[test]
fn a_frame_that_has_begun_ends_before_an_answer_and_others_come_behind_it() {
    let mut line = Line::new(8);
    assert_eq!(line.publish(b'a', 10, NO_KEY, WIDE).0, Offered::AtOnce);
    assert_eq!(line.publish(b'b', 10, NO_KEY, WIDE).0, Offered::Queued);
    line.settle(4);
    line.answer(b'!', 3);
    line.drain();
    assert_eq!(line.heard, b"aaaaaaaaaa!!!bbbbbbbbbb");
}

#[test]
fn an_answer_goes_before_a_frame_that_was_tried_in_vain() {
    let mut line = Line::new(8);
    line.publish(b'a', 5, NO_KEY, WIDE);
    line.answer(b'!', 3);
    line.settle(0);
    line.drain();
    assert_eq!(line.heard, b"!!!aaaaa");
}

#[test]
fn frames_wait_for_the_end_of_a_message() {
    let mut line = Line::new(8);
    line.sender().send(Part::First, false).expect("nothing is being sent");
    assert_eq!(line.publish(b'a', 5, NO_KEY, WIDE).0, Offered::Queued);
    assert_eq!(line.outbox().next(true), None);
    line.sender().send(Part::Last, false).expect("the first was sent");
    line.go_on();
    line.drain();
    assert_eq!(line.heard, b"aaaaa");
}

#[test]
fn nobody_is_slow_before_it_is_known_what_became_of_the_batch() {
    let mut line = Line::new(8);
    let bound = Bound { bytes: 8, ..WIDE };
    line.publish(b'a', 6, NO_KEY, bound);
    assert_eq!(line.publish(b'b', 9, NO_KEY, bound).0, Offered::Undecided);
    line.settle(5);
    assert_eq!(line.publish(b'b', 8, NO_KEY, bound).0, Offered::Refused);
    assert_eq!(line.publish(b'c', 7, NO_KEY, bound).0, Offered::Queued);
    line.drain();
    assert_eq!(line.heard, b"aaaaaaccccccc");
}

#[test]
fn room_is_made_as_the_bound_says() {
    let mut line = Line::new(8);
    let bound = |overflow| Bound { bytes: 10, overflow };
    line.publish(b'-', 1, NO_KEY, WIDE);
    line.settle(0);
    for (mark, key) in [(b'a', 1), (b'b', 2), (b'c', 1)] {
        assert_eq!(line.publish(mark, 3, key, bound(Overflow::DropOldest)).0, Offered::Queued);
    }
    // The armed send has begun: it stays.
    let dropped = LeftOut { oldest: 1, conflated: 0 };
    let offered = line.publish(b'd', 3, 3, bound(Overflow::DropOldest));
    assert_eq!(offered, (Offered::Queued, dropped));
    let dropped = LeftOut { oldest: 0, conflated: 1 };
    assert_eq!(line.publish(b'e', 3, 2, bound(Overflow::Conflate)), (Offered::Queued, dropped));
    assert_eq!(line.publish(b'f', 11, 9, bound(Overflow::Conflate)).0, Offered::Refused);
    line.drain();
    assert_eq!(line.heard, b"-cccdddeee");
}

#[test]
fn a_full_shard_has_no_place() {
    let mut line = Line::new(1);
    line.publish(b'a', 3, NO_KEY, WIDE);
    assert_eq!(line.publish(b'b', 3, NO_KEY, WIDE).0, Offered::Queued);
    assert_eq!(line.publish(b'c', 3, NO_KEY, WIDE).0, Offered::NoPlace);
    line.drain();
    assert_eq!(line.heard, b"aaabbb");
}

#[test]
fn what_is_left_out_does_not_cut_what_has_begun() {
    let mut line = Line::new(8);
    line.publish(b'a', 4, NO_KEY, WIDE);
    line.publish(b'b', 4, NO_KEY, WIDE);
    line.settle(1);
    assert_eq!(line.outbox().leave_out(), 1);
    line.answer(b'!', 1);
    line.drain();
    assert_eq!(line.heard, b"aaaa!");
}

#[test]
fn an_answer_stays_where_messages_are_left_out_and_goes_where_all_is() {
    for (is_ending, expected) in [(false, &b"-bb"[..]), (true, b"-")] {
        let mut line = Line::new(8);
        line.publish(b'-', 1, NO_KEY, WIDE);
        line.settle(0);
        for (mark, key) in [(b'a', NO_KEY), (b'b', KEPT), (b'c', NO_KEY)] {
            line.publish(mark, 2, key, WIDE);
        }
        let mut outbox = line.outbox();
        let left_out = if is_ending { outbox.leave_out() } else { outbox.leave_out_published() };
        assert_eq!(left_out, if is_ending { 3 } else { 2 });
        line.drain();
        assert_eq!(line.heard, expected);
    }
}

/// What happens to a line.
#[derive(Clone, Debug)]
enum Step {
    Publish(u32),
    Answer(usize),
    Settle(u32),
    Take(u32),
    LeaveOut,
}

fn step() -> impl Strategy<Value = Step> {
    let taken = prop_oneof![Just(0), 1u32..2000, Just(u32::MAX)];
    prop_oneof![
        4 => (1u32..3000).prop_map(Step::Publish),
        2 => (1usize..3000).prop_map(Step::Answer),
        3 => taken.clone().prop_map(Step::Settle),
        3 => taken.prop_map(Step::Take),
        1 => Just(Step::LeaveOut),
    ]
}

/// Splits what was heard into runs of one mark, with their lengths.
fn runs(heard: &[u8]) -> VecDeque<(u8, usize)> {
    heard.chunk_by(|one, other| one == other).map(|run| (run[0], run.len())).collect()
}

proptest! {
    /// Marks count up, so each is one run: nothing is cut, mixed or lost. Answers come in their
    /// order, and so do frames.
    #[test]
    fn a_peer_sees_whole_frames_and_answers_in_order(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut line = Line::new(16);
        let (mut frames, mut answers) = (Vec::new(), Vec::new());
        let mut left_out = 0;
        for (index, step) in steps.into_iter().enumerate() {
            let mark = index as u8;
            match step {
                Step::Publish(length) => {
                    let (offered, _) = line.publish(mark, length, NO_KEY, WIDE);
                    if matches!(offered, Offered::AtOnce | Offered::Queued) {
                        frames.push((mark, length as usize));
                    }
                }
                Step::Answer(length) => {
                    line.answer(mark, length);
                    answers.push((mark, length));
                }
                Step::Settle(most) => line.settle(most),
                Step::Take(most) => line.take(most),
                Step::LeaveOut => left_out += line.outbox().leave_out() as usize,
            }
        }
        line.drain();
        let heard = runs(&line.heard);
        let of = |said: &[(u8, usize)]| -> Vec<_> {
            heard.iter().filter(|run| said.contains(run)).copied().collect()
        };
        prop_assert_eq!(of(&answers), answers.clone());
        let heard_frames = of(&frames);
        prop_assert_eq!(heard_frames.len() + left_out, frames.len());
        prop_assert!(heard_frames.is_sorted_by_key(|(mark, _)| *mark));
        prop_assert_eq!(heard.len(), heard_frames.len() + answers.len(), "nothing else is heard");
    }
}
