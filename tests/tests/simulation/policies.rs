//! Which messages a route's policy leaves out, to the message: a peer that takes what it is given
//! in portions that are drawn, held against a queue that is obvious at sight.

use std::sync::mpsc;

use tidegate::hub::{ConnectionFilter, Errand, Outcome, Publication, Target};
use tidegate::kernel::{Completion, Errno, Operation};
use tidegate::names::{ConnectionId, Name};
use tidegate_tests::Frame;

use crate::play::Play;
use crate::random::Random;
use crate::script;

/// The bound of what waits for the peer: that of its route, without the room for a Close frame.
const LIMIT: usize = 4096 - 127;

/// Names of topics: the route's own, one that the peer is subscribed to, and none.
const TOPICS: [&str; 3] = ["room", "other", ""];

/// How many scenes are played with each policy, and how many moments each has.
const SCENES: u64 = 150;
const MOMENTS: usize = 120;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    DropOldest,
    DropNewest,
    Conflate,
}

/// A message that waits.
struct Item {
    /// What newer messages stand for it.
    key: (&'static str, Option<&'static str>),
    frame: Vec<u8>,
}

/// What waits for the peer, the obvious way.
struct Model {
    policy: Policy,
    /// What is being sent, and cannot be left out.
    committed: Vec<u8>,
    queue: Vec<Item>,
    left_out: u64,
}

impl Model {
    fn room(&self) -> usize {
        let waiting: usize = self.queue.iter().map(|item| item.frame.len()).sum();
        LIMIT.saturating_sub(self.committed.len() + waiting)
    }

    fn publish(&mut self, item: Item) {
        let is_stalled = !self.committed.is_empty();
        if is_stalled && self.policy == Policy::Conflate {
            let before = self.queue.len();
            self.queue.retain(|other| other.key != item.key);
            self.left_out += (before - self.queue.len()) as u64;
        }
        let makes_room = self.policy != Policy::DropNewest && item.frame.len() <= LIMIT;
        while is_stalled && self.room() < item.frame.len() {
            self.left_out += 1;
            if !makes_room || self.queue.is_empty() {
                return;
            }
            self.queue.remove(0);
        }
        self.queue.push(item);
    }

    /// All that waits is sent.
    fn commit(&mut self) {
        let frames = self.queue.drain(..).flat_map(|item| item.frame);
        self.committed.extend(frames);
    }
}

/// A member in slot 0, and what it is held against.
struct Lab {
    play: Play,
    random: Random,
    model: Model,
    /// Bytes that the kernel has to see next, one send behind the other.
    shown: Vec<Vec<u8>>,
    /// Bytes of the send that is armed.
    armed: Option<usize>,
    completions: Vec<Completion>,
    id: ConnectionId,
}

impl Lab {
    fn new(policy: Policy, seed: u64) -> Self {
        let name = match policy {
            Policy::DropOldest => "drop_oldest",
            Policy::DropNewest => "drop_newest",
            Policy::Conflate => "conflate",
        };
        let mut play = Play::with(&format!(
            "[[route]]\npath = '/room'\nhandler = 'hub?topic=room'\nbacklog = '4KiB'\n\
             max_buffered_message = '2KiB'\n\
             slow_peer = '{name}'\n"
        ));
        play.first_says(&script::opening(&mut Random::new(0), "/room", false));
        play.turn([]);
        let filter = ConnectionFilter::default();
        let Outcome::Connections(infos, _) =
            play.asks(Errand::Connections { from: 0, filter, limit: 9 })
        else {
            panic!("no list");
        };
        let id = infos[0].id;
        let subscribe = Errand::Subscribe(Target::Connection(id), topic("other"));
        assert!(matches!(play.asks(subscribe), Outcome::Done(1)));
        play.hand.borrow_mut().seen.clear();
        let model = Model { policy, committed: Vec::new(), queue: Vec::new(), left_out: 0 };
        let (shown, completions) = (Vec::new(), Vec::new());
        Self { play, random: Random::new(seed), model, shown, armed: None, completions, id }
    }

    fn publish(&mut self, number: usize) {
        let name = self.random.pick(&TOPICS);
        let key = self.random.pick(&[None, Some("a"), Some("b")]);
        let length = self.random.pick(&[1, 20, 300, 1500, 5000]);
        let text = format!("{name} {key:?} {number} {}", "x".repeat(self.random.below(length)));
        let message = self.play.door.message(text.as_str()).expect("room");
        let publication = Publication { message, key: key.map(topic), except: None, from: None };
        let target = match name {
            "" => Target::Connection(self.id),
            name => Target::Topic(topic(name)),
        };
        self.model.publish(Item { key: (name, key), frame: Frame::text(text).unmasked() });
        let (answers, answer) = mpsc::channel();
        self.play.door.ask(Errand::Publish(target, publication), move |answer| {
            answers.send(answer).expect("somebody waits");
        });
        self.come_to_rest();
        answer.try_recv().expect("an answer");
    }

    /// The peer takes some of what is armed.
    fn take_some(&mut self) {
        let Some(armed) = self.armed.take() else { return };
        let count = if self.random.chance(500) { armed } else { self.random.between(1, armed) };
        self.model.committed.drain(..count);
        let result = Ok(count as u32);
        self.completions.push(Completion::Sent { slot: 0, generation: 0, result });
        self.come_to_rest();
    }

    /// So many turns that everything has been said that can be.
    fn come_to_rest(&mut self) {
        (0..5).for_each(|_| self.turn());
        assert!(self.shown.is_empty() && self.completions.is_empty());
        let is_idle = self.model.committed.is_empty() && self.model.queue.is_empty();
        assert_eq!(is_idle, self.armed.is_none(), "what waits is on its way");
    }

    fn turn(&mut self) {
        let pushed = self.play.turn(std::mem::take(&mut self.completions));
        let seen = std::mem::take(&mut self.play.hand.borrow_mut().seen);
        let seen: Vec<_> = seen.into_iter().map(|(_, bytes)| bytes).collect();
        assert!(seen == std::mem::take(&mut self.shown), "what is sent is something else");
        for operation in pushed {
            match operation {
                Operation::Send { batch_index, span, .. } => self.sends(batch_index, span.length),
                Operation::SendArmed { span, .. } => {
                    let armed = span.length as usize;
                    assert!(self.armed.replace(armed).is_none(), "two sends are armed");
                    self.shown.push(self.model.committed[..armed].to_vec());
                }
                _ => {}
            }
        }
    }

    /// A send in a batch: of all that waits.
    fn sends(&mut self, batch_index: u32, length: u32) {
        assert!(self.model.committed.is_empty() && self.armed.is_none());
        self.model.commit();
        self.shown.push(self.model.committed.clone());
        let all = self.model.committed.len();
        assert_eq!(length as usize, all, "the bytes of all that waits");
        let some = self.random.below(all);
        let count = self.random.pick(&[0, some, some, all]);
        self.model.committed.drain(..count);
        if count < all {
            let result = if count == 0 { Err(Errno::AGAIN) } else { Ok(count as u32) };
            self.completions.push(Completion::SendFellShort { slot: 0, batch_index, result });
        }
    }
}

fn topic(text: &str) -> Name {
    Name::new(text).expect("a name")
}

#[test]
fn each_policy_leaves_out_what_it_says_and_nothing_else() {
    for policy in [Policy::DropOldest, Policy::DropNewest, Policy::Conflate] {
        let mut left_out = 0;
        for seed in 0..SCENES {
            let mut lab = Lab::new(policy, seed);
            let takes = lab.random.pick(&[50, 200, 500]);
            for number in 0..MOMENTS {
                if lab.random.chance(takes) { lab.take_some() } else { lab.publish(number) }
            }
            while lab.armed.is_some() {
                lab.take_some();
            }
            let counters = lab.play.counters();
            let counted = counters.slow_dropped_newest
                + counters.slow_dropped_oldest
                + counters.slow_conflated;
            assert_eq!(counted, lab.model.left_out, "{policy:?}, scene {seed}");
            left_out += counted;
        }
        assert!(left_out > SCENES, "{policy:?}: {left_out} were left out");
    }
}
