//! Mailboxes between shards, and a way in for other threads.
//!
//! Each ordered pair of shards has a queue with one producer and one consumer, and each shard has
//! one more for all other threads. Queues are bounded: what a shard sends beyond that waits on its
//! own side, in order, and is counted; another thread is told that the mailbox is full. What a
//! shard that ends has not received is dropped there and then, and nothing more is sent to it.
//!
//! A shard is woken once for a batch of mail, and only if it is parked: `bell.rs` says how both
//! sides agree on that.

mod bell;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use rtrb::{Consumer, Producer, RingBuffer};

use self::bell::{Bell, Listening};
use crate::kernel::Waker;

/// What everyone knows of a shard.
struct Letterbox {
    bell: Bell,
    waker: Waker,
}

/// One shard's end of all its mailboxes.
pub struct Post<T> {
    index: usize,
    /// Places in each mailbox.
    capacity: usize,
    letterboxes: Arc<[Letterbox]>,
    queues: Queues<T>,
    /// By receiving shard; its own is never used.
    outgoing: Vec<Outgoing<T>>,
    /// By sending shard; behind them the one for other threads.
    incoming: Vec<Consumer<T>>,
    /// What the shard sends to itself.
    own: VecDeque<T>,
    /// The mailbox to look into next, so that no sender waits for ever.
    next: usize,
    listening: Listening,
    /// The receivers that were sent something since the last flush, or that something waits for.
    unflushed: Vec<usize>,
    counts: Counts,
}

/// What a [`Post`] counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Mail that found its mailbox full and had to wait.
    pub waited: u64,
    /// Times that another shard was woken.
    pub wakes: u64,
    /// Mail taken in.
    pub received: u64,
    /// Mail taken in that came from the shard itself.
    pub own: u64,
}

struct Outgoing<T> {
    queue: Producer<T>,
    /// What found the queue full.
    waiting: VecDeque<T>,
    is_unflushed: bool,
}

/// The way in for other threads; cheap to clone.
pub struct Entrance<T> {
    letterboxes: Arc<[Letterbox]>,
    queues: Queues<T>,
}

/// The queues for other threads, by receiving shard; `None` once that has ended.
type Queues<T> = Arc<[Mutex<Option<Producer<T>>>]>;

/// Why nothing was sent, with what was to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent<T> {
    /// The mailbox is full.
    Full(T),
    /// The shard has ended.
    Ended(T),
}

/// Mailboxes for a shard for each of `wakers`, each of `capacity` places.
///
/// All of them together have `capacity` places for each ordered pair of shards, and for each shard.
#[must_use]
pub fn open<T>(wakers: &[Waker], capacity: usize) -> (Vec<Post<T>>, Entrance<T>) {
    let count = wakers.len();
    let letterbox = |waker: &Waker| Letterbox { bell: Bell::default(), waker: waker.clone() };
    let letterboxes: Arc<[Letterbox]> = wakers.iter().map(letterbox).collect();
    let (producers, consumers): (Vec<_>, Vec<_>) =
        (0..count).map(|_| RingBuffer::new(capacity)).unzip();
    let queues = producers.into_iter().map(|producer| Mutex::new(Some(producer))).collect();
    let entrance = Entrance { letterboxes, queues };
    let mut posts: Vec<Post<T>> =
        (0..count).map(|index| Post::new(index, capacity, entrance.clone())).collect();
    for from in 0..count {
        for to in 0..count {
            // A shard's mailbox to itself is `own`; the queue stands for it in the numbering.
            let (queue, consumer) = RingBuffer::new(if from == to { 0 } else { capacity });
            let outgoing = Outgoing { queue, waiting: VecDeque::new(), is_unflushed: false };
            posts[from].outgoing.push(outgoing);
            posts[to].incoming.push(consumer);
        }
    }
    for (post, consumer) in posts.iter_mut().zip(consumers) {
        post.incoming.push(consumer);
    }
    (posts, entrance)
}

impl<T> Post<T> {
    fn new(index: usize, capacity: usize, entrance: Entrance<T>) -> Self {
        let Entrance { letterboxes, queues } = entrance;
        Self {
            index,
            capacity,
            letterboxes,
            queues,
            outgoing: Vec::new(),
            incoming: Vec::new(),
            own: VecDeque::new(),
            next: 0,
            listening: Listening::default(),
            unflushed: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Which shard this is the end of.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Sends to a shard, which may be this one. It arrives behind what was sent to it before, with
    /// the next [`Post::flush`].
    pub fn send(&mut self, to: usize, mail: T) {
        if to == self.index {
            return self.own.push_back(mail);
        }
        let outgoing = &mut self.outgoing[to];
        if outgoing.queue.is_abandoned() {
            // The shard has ended, and with it all that it was to be told.
            return;
        }
        if !outgoing.is_unflushed {
            outgoing.is_unflushed = true;
            self.unflushed.push(to);
        }
        let rejected = match outgoing.waiting.is_empty() {
            true => outgoing.queue.push(mail).err().map(|rtrb::PushError::Full(mail)| mail),
            false => Some(mail),
        };
        if let Some(mail) = rejected {
            self.counts.waited += 1;
            outgoing.waiting.push_back(mail);
        }
    }

    /// Whether there may be something to receive.
    #[must_use]
    pub fn may_receive(&self) -> bool {
        !self.own.is_empty() || self.listening.may_take(&self.letterboxes[self.index].bell)
    }

    /// Whether something waits because a mailbox is full; the shard's own is full with as much as
    /// any other.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.own.len() >= self.capacity
            || self.unflushed.iter().any(|to| !self.outgoing[*to].waiting.is_empty())
    }

    /// Whether as much waits as two mailboxes hold, beyond what is in them.
    #[must_use]
    pub fn is_overfull(&self) -> bool {
        self.waiting() >= 2 * self.capacity
    }

    /// How much waits because a mailbox is full, or for this shard itself.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let others: usize = self.unflushed.iter().map(|to| self.outgoing[*to].waiting.len()).sum();
        others + self.own.len()
    }

    /// Moves what waits into the mailboxes, as far as there is room, and wakes each parked receiver
    /// once.
    pub fn flush(&mut self) {
        let mut unflushed = std::mem::take(&mut self.unflushed);
        unflushed.retain(|to| {
            let to = *to;
            let outgoing = &mut self.outgoing[to];
            if outgoing.queue.is_abandoned() {
                outgoing.waiting.clear();
            }
            while let Some(mail) = outgoing.waiting.pop_front() {
                if let Err(rtrb::PushError::Full(mail)) = outgoing.queue.push(mail) {
                    outgoing.waiting.push_front(mail);
                    break;
                }
            }
            outgoing.is_unflushed = !outgoing.waiting.is_empty();
            self.counts.wakes += u64::from(self.letterboxes[to].announce());
            outgoing.is_unflushed
        });
        self.unflushed = unflushed;
    }

    /// The next mail: from each sender in turn, the shard itself among them.
    pub fn receive(&mut self) -> Option<T> {
        let Self { listening, incoming, own, next, counts, .. } = self;
        let bell = &self.letterboxes[self.index].bell;
        let senders = incoming.len() + 1;
        listening.take(bell, |may_have_mail| {
            for _ in 0..senders {
                let from = *next;
                *next = (from + 1) % senders;
                let mail = match incoming.get_mut(from) {
                    Some(queue) if may_have_mail => queue.pop().ok(),
                    Some(_) => None,
                    None => own.pop_front(),
                };
                if mail.is_some() {
                    counts.received += 1;
                    counts.own += u64::from(from == incoming.len());
                    return mail;
                }
            }
            None
        })
    }

    /// The shard is about to sleep; returns whether it may. If so, it must [`Post::unpark`] once it
    /// is awake.
    #[must_use]
    pub fn park(&mut self) -> bool {
        self.own.is_empty() && self.listening.park(&self.letterboxes[self.index].bell)
    }

    /// The shard is awake.
    pub fn unpark(&mut self) {
        self.letterboxes[self.index].bell.unpark();
    }

    /// The shard ends: other threads can send it nothing more, and what it has not received is
    /// dropped. Other shards may send until this is dropped as well.
    pub fn close(&mut self) {
        // Under the lock: what other threads have sent is in the queue by now, or never will be. So
        // who hears of the end while mail is dropped, and sends more, keeps nothing going on.
        let queue = self.queues[self.index].lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(queue);
        self.own.clear();
        // What is in a queue would be there until its other end is dropped as well.
        self.incoming.iter_mut().for_each(|queue| while queue.pop().is_ok() {});
    }
}

impl<T> Drop for Post<T> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T> Entrance<T> {
    /// Sends to a shard. Mail of one thread to one shard arrives in order.
    ///
    /// # Errors
    /// The mailbox is full, or the shard has ended: `mail` comes back.
    pub fn send(&self, to: usize, mail: T) -> Result<(), Unsent<T>> {
        let mut queue = self.queues[to].lock().unwrap_or_else(PoisonError::into_inner);
        let Some(producer) = &mut *queue else { return Err(Unsent::Ended(mail)) };
        producer.push(mail).map_err(|rtrb::PushError::Full(mail)| Unsent::Full(mail))?;
        drop(queue);
        self.letterboxes[to].announce();
        Ok(())
    }
}

impl<T> Clone for Entrance<T> {
    fn clone(&self) -> Self {
        Self { letterboxes: Arc::clone(&self.letterboxes), queues: Arc::clone(&self.queues) }
    }
}

impl Letterbox {
    /// Says that there is mail; whether the shard had to be woken for it.
    fn announce(&self) -> bool {
        let was_parked = self.bell.ring();
        if was_parked {
            self.waker.wake();
        }
        was_parked
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn wakers(count: usize) -> Vec<Waker> {
        (0..count).map(|_| Waker::new().expect("a descriptor")).collect()
    }

    fn all<T>(post: &mut Post<T>) -> Vec<T> {
        std::iter::from_fn(|| post.receive()).collect()
    }

    #[test]
    fn mail_arrives_in_order_with_the_flush() {
        let (mut posts, entrance) = open::<u32>(&wakers(3), 4);
        for mail in 0..3 {
            posts[0].send(2, mail);
            posts[1].send(2, 10 + mail);
            posts[2].send(2, 20 + mail);
        }
        entrance.send(2, 30).expect("room");
        posts[0].flush();
        posts[1].flush();
        let mut mail = all(&mut posts[2]);
        for sender in [0, 10, 20] {
            let of = |mail: &&u32| (sender..sender + 3).contains(*mail);
            let order: Vec<u32> = mail.iter().filter(of).copied().collect();
            assert_eq!(order, [sender, sender + 1, sender + 2]);
        }
        assert_eq!(mail[..4].iter().filter(|mail| **mail >= 20).count(), 2, "each in turn");
        mail.sort_unstable();
        assert_eq!(mail, [0, 1, 2, 10, 11, 12, 20, 21, 22, 30]);
        assert!(posts[0].park() && posts[2].park());
    }

    #[test]
    fn what_finds_no_room_waits_in_order_and_is_counted() {
        let (mut posts, entrance) = open::<u32>(&wakers(2), 2);
        (0..5).for_each(|mail| posts[0].send(1, mail));
        assert!(posts[0].is_congested());
        assert_eq!((posts[0].waiting(), posts[0].counts().waited), (3, 3));
        let mut arrived = Vec::new();
        for _ in 0..3 {
            posts[0].flush();
            arrived.extend(all(&mut posts[1]));
        }
        assert_eq!(arrived, [0, 1, 2, 3, 4]);
        assert!(!posts[0].is_congested());
        entrance.send(0, 1).expect("room");
        entrance.send(0, 2).expect("room");
        assert_eq!(entrance.send(0, 3), Err(Unsent::Full(3)));
    }

    #[test]
    fn a_shard_that_has_ended_keeps_nobody_waiting() {
        let (mut posts, entrance) = open::<u32>(&wakers(2), 2);
        drop(posts.pop());
        (0..5).for_each(|mail| posts[0].send(1, mail));
        posts[0].flush();
        assert!(!posts[0].is_congested());
        assert_eq!(entrance.send(1, 7), Err(Unsent::Ended(7)));
    }

    #[test]
    fn a_shard_that_ends_keeps_no_mail() {
        let (mut posts, entrance) = open::<Arc<()>>(&wakers(2), 2);
        let mail = Arc::new(());
        posts[0].send(1, Arc::clone(&mail));
        posts[0].flush();
        entrance.send(1, Arc::clone(&mail)).expect("room");
        posts[1].send(1, Arc::clone(&mail));
        assert_eq!(Arc::strong_count(&mail), 4);
        drop(posts.pop());
        assert_eq!(Arc::strong_count(&mail), 1, "though both senders are there");
    }

    /// Mail that is sent anew when it is dropped, so many times at most.
    struct Insisting {
        entrance: Entrance<Self>,
        left: u32,
        arrived: Arc<AtomicU32>,
    }

    impl Drop for Insisting {
        fn drop(&mut self) {
            let Self { entrance, left, arrived } = self;
            let Some(left) = left.checked_sub(1) else { return };
            let (entrance, arrived) = (entrance.clone(), Arc::clone(arrived));
            let again = Self { entrance: entrance.clone(), left, arrived: Arc::clone(&arrived) };
            match entrance.send(0, again) {
                Ok(()) => _ = arrived.fetch_add(1, Ordering::Relaxed),
                Err(Unsent::Full(mut again) | Unsent::Ended(mut again)) => again.left = 0,
            }
        }
    }

    #[test]
    fn a_shard_that_ends_is_sent_nothing_anew_by_who_hears_of_the_end() {
        let (mut posts, entrance) = open(&wakers(1), 4);
        let arrived = Arc::new(AtomicU32::new(0));
        let mail = || Insisting { entrance: entrance.clone(), left: 99, arrived: arrived.clone() };
        assert!(entrance.send(0, mail()).is_ok());
        posts[0].send(0, mail());
        posts[0].close();
        assert_eq!((arrived.load(Ordering::Relaxed), posts[0].waiting()), (0, 0));
        assert!(posts[0].receive().is_none());
    }

    #[test]
    fn a_shard_that_sends_itself_too_much_is_congested() {
        let (mut posts, _entrance) = open::<u32>(&wakers(1), 2);
        posts[0].send(0, 1);
        assert!(!posts[0].is_congested());
        posts[0].send(0, 2);
        assert!(posts[0].is_congested());
    }

    #[test]
    fn only_a_parked_shard_is_woken_and_once_for_a_batch() {
        let (mut posts, _entrance) = open::<u32>(&wakers(2), 8);
        posts[0].send(1, 1);
        posts[0].flush();
        assert_eq!(posts[0].counts().wakes, 0, "it is awake");
        assert!(!posts[1].park(), "there is mail");
        assert_eq!(all(&mut posts[1]), [1]);
        assert!(posts[1].park());
        (0..5).for_each(|mail| posts[0].send(1, mail));
        posts[0].flush();
        posts[0].send(1, 5);
        posts[0].flush();
        assert_eq!(posts[0].counts().wakes, 1);
        posts[1].unpark();
        assert_eq!(all(&mut posts[1]).len(), 6);
    }

    #[test]
    fn no_mail_is_lost_between_threads_that_park() {
        const COUNT: u32 = 20_000;
        let wakers = wakers(2);
        let (mut posts, _entrance) = open::<u32>(&wakers, 16);
        let mut receiver = posts.pop().expect("two");
        let mut sender = posts.pop().expect("two");
        let thread = std::thread::spawn(move || {
            for mail in 0..COUNT {
                sender.send(1, mail);
                if mail % 7 == 0 || sender.is_congested() {
                    sender.flush();
                }
            }
            while sender.waiting() > 0 {
                sender.flush();
                std::thread::yield_now();
            }
            sender.flush();
        });
        let mut next = 0;
        while next < COUNT {
            while let Some(mail) = receiver.receive() {
                assert_eq!(mail, next);
                next += 1;
            }
            if next < COUNT && receiver.park() {
                // Awake again only if the sender saw that this is parked.
                let since = std::time::Instant::now();
                while receiver.letterboxes[1].bell.is_parked() {
                    assert!(since.elapsed().as_secs() < 60, "{next} arrived, then nobody woke");
                    std::thread::yield_now();
                }
                receiver.unpark();
            }
        }
        thread.join().expect("the sender ends");
    }
}
