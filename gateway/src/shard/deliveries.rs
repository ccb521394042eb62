//! What is being delivered to many: one thing after the other for each topic, and all topics in turn.
//!
//! A large topic takes many turns of the loop. Meanwhile the others go on: each has a portion in its
//! turn, and what comes for a topic waits behind what is on its way there, in order. What concerns
//! all connections has an order of its own, and so has what is for one connection and had to wait.

use std::collections::VecDeque;
use std::sync::Arc;

use super::queue::Parcel;
use crate::hub::{
    Command, ConnectionId, Delivery, Direct, Name, Ongoing, Order, Recovered, Reply, Standing,
};
use crate::uring::Slot;

/// Something that is done with many connections, or has its place among what is.
pub(super) enum Job {
    /// Tell subscribers, or, with a reply, all connections.
    Tell(Arc<Delivery>, Option<Reply>),
    /// Do something with subscribers.
    Order(Arc<Order>),
    /// Do something with all connections.
    All(Command, Option<Reply>),
    /// Tell a new subscriber where it stands.
    Stand(Arc<Standing>),
    /// Tell a subscriber more of what it missed.
    Recover(Arc<Recovered>),
    /// Do something with one connection.
    One(Box<Direct>, Option<Reply>),
}

/// What is done in order, one after the other.
#[derive(PartialEq, Eq)]
pub(super) enum Line<'n> {
    /// What concerns all connections.
    All,
    /// What is for the subscribers of a topic, which has this hash.
    Topic(u64, &'n Name),
    /// What is for one connection.
    One(ConnectionId),
}

/// How a connection wants messages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    /// As JSON, with topic and position.
    pub(super) event: bool,
    /// Compressed, with a window of so many bits; 0 for plain.
    pub(super) window: u8,
}

/// What a delivery has become in one form.
#[derive(Clone, Copy)]
pub(super) enum Framed {
    /// It is in a block.
    Ready(Parcel),
    /// No block is large enough for it.
    TooLarge,
    /// There was no block for so many bytes; 0 if they are not known yet.
    Waits(usize),
}

/// The forms that were asked for so far.
pub(super) type Forms = Vec<(Form, Framed)>;

/// How far a job is.
#[derive(Clone, Copy)]
pub(super) enum At {
    /// It has yet to begin.
    Start,
    /// Among the subscribers of a topic.
    Topic(Ongoing),
    /// Among all connections: the next one.
    Slot(Slot),
}

/// What is on its way to one topic, or to all connections.
pub(super) struct Running {
    pub(super) job: Job,
    pub(super) at: At,
    pub(super) forms: Forms,
    pub(super) reached: u64,
    /// What comes behind it.
    behind: VecDeque<Job>,
    /// The turn of the loop in which it can do nothing more.
    waits_in: u64,
    /// When it had its turn last, it found no block, or no place.
    pub(super) is_short: bool,
}

/// All that is on its way.
#[derive(Default)]
pub(crate) struct Deliveries {
    /// The next one to have its turn is first.
    running: VecDeque<Running>,
    /// Jobs that wait behind those.
    behind: usize,
    /// How many of those that run wait for a block or a place.
    short: usize,
}

impl Job {
    /// What it has its place in.
    pub(super) fn line(&self) -> Line<'_> {
        match self {
            Self::Tell(delivery, _) => match &delivery.topic {
                Some(name) => Line::Topic(delivery.hash, name),
                None => Line::All,
            },
            Self::Order(order) => Line::Topic(order.hash, &order.topic),
            Self::All(..) => Line::All,
            Self::Stand(standing) => Line::Topic(standing.whose.hash, &standing.whose.name),
            Self::Recover(recovered) => Line::Topic(recovered.whose.hash, &recovered.whose.name),
            Self::One(direct, _) => Line::One(direct.id),
        }
    }
}

impl Deliveries {
    /// Bytes of a job and of what it stands behind.
    pub(crate) const JOB_BYTES: usize = size_of::<Running>() + size_of::<Job>();

    /// Nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether anything can go on that could in this turn of the loop.
    pub(super) fn can_go_on(&self, turn: u64) -> bool {
        self.running.iter().any(|running| running.waits_in != turn)
    }

    /// Whether anything waits for a block or a place.
    pub(super) fn are_short(&self) -> bool {
        self.short > 0
    }

    /// How many jobs there are.
    pub(super) fn jobs(&self) -> usize {
        self.running.len() + self.behind
    }

    /// Whether a job would stand behind another one.
    pub(super) fn has_line_of(&self, job: &Job) -> bool {
        self.running.iter().any(|running| running.job.line() == job.line())
    }

    /// Adds a job, behind all others of its line.
    pub(super) fn add(&mut self, job: Job) {
        let mut others = self.running.iter_mut();
        match others.find(|other| other.job.line() == job.line()) {
            Some(running) => {
                running.behind.push_back(job);
                self.behind += 1;
            }
            None => self.running.push_back(Running::new(job)),
        }
    }

    /// Takes out what has its turn; `None` if nothing can do more in this turn of the loop.
    pub(super) fn next(&mut self, turn: u64) -> Option<Running> {
        let at = self.running.iter().position(|running| running.waits_in != turn)?;
        self.running.rotate_left(at);
        let running = self.running.pop_front()?;
        self.short -= usize::from(running.is_short);
        Some(running)
    }

    /// Puts back what was taken out, behind the others; with `waits`, it can do nothing more in this
    /// turn of the loop.
    pub(super) fn put_back(&mut self, mut running: Running, waits: Option<u64>) {
        running.waits_in = waits.unwrap_or_default();
        self.short += usize::from(running.is_short);
        self.running.push_back(running);
    }

    /// The job of what was taken out is done: the next one behind it has its turn later.
    pub(super) fn done(&mut self, mut running: Running) {
        if let Some(job) = running.behind.pop_front() {
            self.behind -= 1;
            let behind = std::mem::take(&mut running.behind);
            self.running.push_back(Running { behind, ..Running::new(job) });
        }
    }
}

impl Running {
    pub(super) fn new(job: Job) -> Self {
        Self {
            job,
            at: At::Start,
            forms: Vec::new(),
            reached: 0,
            behind: VecDeque::new(),
            waits_in: 0,
            is_short: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_proto::receiver::Kind;

    use super::*;
    use crate::hub::{MessageMemory, Payload, Publication, What};

    fn tell(topic: &str, number: u8) -> Job {
        let memory = Arc::new(MessageMemory::new(1 << 20));
        let payload = Payload::new(Kind::Binary, &[number], &memory).expect("room");
        let what = What::Message(Publication { payload, key: None, except: None }, None);
        let topic = Some(Name::new(topic).expect("a name"));
        Job::Tell(Arc::new(Delivery { topic, hash: 0, position: None, what }), None)
    }

    fn told(job: &Job) -> String {
        let Job::Tell(delivery, _) = job else { return String::new() };
        let publication = delivery.publication().expect("a message");
        let topic = delivery.topic.as_ref().expect("a topic").as_str();
        format!("{topic}{}", publication.payload.bytes()[0])
    }

    #[test]
    fn topics_take_turns_and_each_keeps_its_order() {
        let mut deliveries = Deliveries::default();
        for (topic, number) in [("a", 1), ("a", 2), ("b", 1), ("a", 3), ("b", 2)] {
            deliveries.add(tell(topic, number));
        }
        assert_eq!(deliveries.jobs(), 5);
        // Each job takes two turns.
        let mut order = Vec::new();
        let mut seen = std::collections::HashMap::new();
        while let Some(running) = deliveries.next(1) {
            let job = told(&running.job);
            let turns = seen.entry(job.clone()).or_insert(0);
            *turns += 1;
            order.push(job);
            if *turns == 2 { deliveries.done(running) } else { deliveries.put_back(running, None) }
        }
        assert_eq!(order, ["a1", "b1", "a1", "b1", "a2", "b2", "a2", "b2", "a3", "a3"]);
        assert!(deliveries.is_empty());
    }

    #[test]
    fn who_waits_keeps_nobody_from_going_on() {
        let mut deliveries = Deliveries::default();
        deliveries.add(tell("a", 1));
        deliveries.add(tell("b", 1));
        let first = deliveries.next(7).expect("two");
        deliveries.put_back(first, Some(7));
        let second = deliveries.next(7).expect("the other");
        assert_eq!(told(&second.job), "b1");
        deliveries.done(second);
        assert!(deliveries.next(7).is_none() && !deliveries.is_empty());
        assert!(deliveries.next(8).is_some(), "in the next turn it goes on");
    }

    #[test]
    fn who_found_no_room_waits_for_it_though_it_has_no_turn() {
        let mut deliveries = Deliveries::default();
        deliveries.add(tell("a", 1));
        deliveries.add(tell("b", 1));
        let mut first = deliveries.next(7).expect("two");
        first.is_short = true;
        deliveries.put_back(first, Some(7));
        // In turn 8 only the other one has its turn.
        let other = deliveries.next(8).expect("the other");
        assert_eq!(told(&other.job), "b1");
        deliveries.put_back(other, None);
        assert!(deliveries.are_short());
        let mut first = deliveries.next(9).expect("the first");
        first.is_short = false;
        deliveries.put_back(first, None);
        assert!(!deliveries.are_short());
    }
}
