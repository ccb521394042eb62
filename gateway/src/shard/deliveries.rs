//! What is being delivered to many: one thing after the other for each topic, and all topics in
//! turn.
//!
//! A large topic takes many turns of the loop. Meanwhile the others go on: each has a portion in
//! its turn, and what comes for a topic waits behind what is on its way there, in order. What
//! concerns all connections has an order of its own, and so has what is for one connection and had
//! to wait.

use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::connection::SharedFrame;
use crate::hub::{
    Delivery, Direct, Form, Instruction, Ongoing, Order, Recovered, Reply, Standing, Subscribed,
    Unsubscribed,
};
use crate::kernel::Slot;
use crate::names::{Address, Name};

/// Something that is done with many connections, or has its place among what is.
pub(super) enum Job {
    /// Tell subscribers, or, with a reply, all connections.
    Tell(Arc<Delivery>, Option<Reply>),
    /// Do something with subscribers.
    Order(Arc<Order>),
    /// Do something with all connections.
    All(Instruction, Option<Reply>),
    /// Tell a new subscriber where it stands.
    Stand(Arc<Standing>),
    /// Tell a subscriber more of what it missed.
    Recover(Arc<Recovered>),
    /// Tell a connection that it is not subscribed any more.
    Ended(Arc<Unsubscribed>),
    /// Do something with one connection.
    One(Box<Direct>, Option<Reply>),
}

/// What is done in order, one after the other.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Lane {
    /// What concerns all connections.
    All,
    /// What is for the subscribers of a topic, which has this hash.
    Topic(u64, Name),
    /// What is for one connection.
    One(Address),
}

impl Hash for Lane {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::All => {}
            // Nobody outside knows its seed, so the name need not be hashed once more.
            Self::Topic(hash, _) => hash.hash(state),
            Self::One(address) => (address.slot, address.generation).hash(state),
        }
    }
}

/// What a delivery has become in one form.
#[derive(Clone, Copy)]
pub(super) enum Framed {
    /// It is in a block.
    Ready(SharedFrame),
    /// No block is large enough for it.
    TooLarge,
    /// There was no block for so many bytes; 0 if they are not known yet.
    Waits(usize),
}

/// A delivery in one form.
#[derive(Clone, Copy)]
pub(super) struct InForm {
    pub(super) form: Form,
    pub(super) framed: Framed,
}

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
    pub(super) lane: Lane,
    pub(super) at: At,
    /// In the forms that were asked for so far.
    pub(super) in_forms: Vec<InForm>,
    pub(super) reached: u64,
    /// When it had its turn last, it found no block, or no place.
    pub(super) is_short: bool,
}

/// All that is on its way.
#[derive(Default)]
pub(crate) struct Deliveries {
    /// Those that can go on in the latest turn of the loop: the next one to have its turn is first.
    running: VecDeque<Running>,
    /// Those that can do nothing more in that turn.
    idle: VecDeque<Running>,
    /// The turn in which they wait.
    turn: u64,
    /// What comes behind each of them, and behind that which has its turn.
    behind: HashMap<Lane, VecDeque<Job>>,
    /// How many jobs that are.
    waiting: usize,
    /// How many of those that run wait for a block or a place.
    short: usize,
}

impl Lane {
    fn of(whose: &Subscribed) -> Self {
        Self::Topic(whose.hash, whose.name.clone())
    }
}

impl Job {
    /// What it has its place in.
    pub(super) fn lane(&self) -> Lane {
        match self {
            Self::Tell(delivery, _) => match &delivery.topic {
                Some(name) => Lane::Topic(delivery.hash, name.clone()),
                None => Lane::All,
            },
            Self::Order(order) => Lane::Topic(order.hash, order.topic.clone()),
            Self::All(..) => Lane::All,
            Self::Stand(standing) => Lane::of(&standing.whose),
            Self::Recover(recovered) => Lane::of(&recovered.whose),
            Self::Ended(ended) => Lane::of(&ended.whose),
            Self::One(direct, _) => Lane::One(direct.address),
        }
    }
}

impl Deliveries {
    /// Bytes of a job, in either queue of those that run, and of what it stands behind or what
    /// stands behind it: a table has twice as many buckets as entries, and a byte more for each.
    pub(crate) const JOB_BYTES: usize =
        2 * size_of::<Running>() + size_of::<Job>() + 2 * (size_of::<(Lane, VecDeque<Job>)>() + 1);

    /// Nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.idle.is_empty()
    }

    /// Whether anything can go on that could in this turn of the loop.
    pub(super) fn can_go_on(&self, turn: u64) -> bool {
        !self.running.is_empty() || (turn != self.turn && !self.idle.is_empty())
    }

    /// Whether anything waits for a block or a place.
    pub(super) fn are_short(&self) -> bool {
        self.short > 0
    }

    /// How many jobs there are.
    pub(super) fn jobs(&self) -> usize {
        self.running.len() + self.idle.len() + self.waiting
    }

    /// Adds a job, behind all others of its lane.
    pub(super) fn add(&mut self, job: Job) {
        if let Some(running) = self.begin(job) {
            self.running.push_back(running);
        }
    }

    /// Adds a job, which has its turn at once; `None` if others of its lane come before it.
    pub(super) fn begin(&mut self, job: Job) -> Option<Running> {
        let lane = job.lane();
        if let Some(behind) = self.behind.get_mut(&lane) {
            behind.push_back(job);
            self.waiting += 1;
            return None;
        }
        self.behind.insert(lane.clone(), VecDeque::new());
        Some(Running::new(job, lane))
    }

    /// Takes out what has its turn; `None` if nothing can do more in this turn of the loop.
    pub(super) fn next(&mut self, turn: u64) -> Option<Running> {
        self.enter(turn);
        let running = self.running.pop_front()?;
        self.short -= usize::from(running.is_short);
        Some(running)
    }

    /// Puts back what was taken out, behind the others; with `waits`, it can do nothing more in
    /// this turn of the loop.
    pub(super) fn put_back(&mut self, running: Running, waits: Option<u64>) {
        self.short += usize::from(running.is_short);
        match waits {
            Some(turn) => {
                self.enter(turn);
                self.idle.push_back(running);
            }
            None => self.running.push_back(running),
        }
    }

    /// In another turn of the loop, those that waited can go on, behind the others. Whichever are
    /// fewer are moved.
    fn enter(&mut self, turn: u64) {
        if turn == self.turn {
            return;
        }
        self.turn = turn;
        if self.running.len() < self.idle.len() {
            while let Some(running) = self.running.pop_back() {
                self.idle.push_front(running);
            }
            std::mem::swap(&mut self.running, &mut self.idle);
        } else {
            self.running.append(&mut self.idle);
        }
    }

    /// The job of what was taken out is done: the next one behind it has its turn later.
    pub(super) fn done(&mut self, running: Running) {
        let lane = running.lane;
        match self.behind.get_mut(&lane).and_then(VecDeque::pop_front) {
            Some(job) => {
                self.waiting -= 1;
                self.running.push_back(Running::new(job, lane));
            }
            None => _ = self.behind.remove(&lane),
        }
    }
}

impl Running {
    fn new(job: Job, lane: Lane) -> Self {
        Self { job, lane, at: At::Start, in_forms: Vec::new(), reached: 0, is_short: false }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::hub::{Message, MessageMemory, Publication, What};

    fn tell(topic: &str, number: u8) -> Job {
        let memory = Arc::new(MessageMemory::new(1 << 20));
        let message = Message::new(vec![number], &memory).expect("room");
        let what = What::said(Publication::new(message), Duration::ZERO);
        let topic = Some(Name::new(topic).expect("a name"));
        Job::Tell(Arc::new(Delivery { topic, hash: 0, position: None, what }), None)
    }

    fn told(job: &Job) -> String {
        let Job::Tell(delivery, _) = job else { return String::new() };
        let publication = delivery.publication().expect("a message");
        let topic = delivery.topic.as_ref().expect("a topic").as_str();
        format!("{topic}{}", publication.message.bytes()[0])
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
        assert!(deliveries.is_empty() && deliveries.behind.is_empty() && deliveries.jobs() == 0);
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
        assert!(deliveries.can_go_on(8) && !deliveries.can_go_on(7));
        assert!(deliveries.next(8).is_some(), "in the next turn it goes on");
    }

    #[test]
    fn those_that_wait_are_not_looked_at_for_each_portion_of_another() {
        const WAITING: usize = 4096;
        let mut deliveries = Deliveries::default();
        (0..WAITING).for_each(|number| deliveries.add(tell(&number.to_string(), 1)));
        for _ in 0..WAITING {
            let running = deliveries.next(1).expect("each has its turn");
            deliveries.put_back(running, Some(1));
        }
        deliveries.add(tell("a", 1));
        let began = std::time::Instant::now();
        for _ in 0..100_000 {
            let running = deliveries.next(1).expect("one goes on");
            assert_eq!(told(&running.job), "a1");
            deliveries.put_back(running, None);
        }
        // To look at all that wait for each portion would be 400 million looks.
        assert!(began.elapsed().as_millis() < 500, "{:?}", began.elapsed());
        let first = deliveries.next(2).expect("all");
        assert_eq!((told(&first.job).as_str(), deliveries.jobs()), ("a1", WAITING));
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
    #[test]
    fn many_topics_are_told_apart_by_a_table() {
        const TOPICS: usize = 65_536;
        let memory = Arc::new(MessageMemory::new(1 << 20));
        let message = Message::new(vec![1], &memory).expect("room");
        let job = |number: usize| {
            let publication = Publication::new(Arc::clone(&message));
            let topic = Some(Name::new(&number.to_string()).expect("a name"));
            let what = What::said(publication, Duration::ZERO);
            let hash = number as u64;
            Job::Tell(Arc::new(Delivery { topic, hash, position: None, what }), None)
        };
        let mut deliveries = Deliveries::default();
        let began = std::time::Instant::now();
        (0..TOPICS).for_each(|number| deliveries.add(job(number)));
        // To look at all of them for each took half a minute.
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
        deliveries.add(job(7));
        assert_eq!((deliveries.jobs(), deliveries.running.len()), (TOPICS + 1, TOPICS));
    }
}
