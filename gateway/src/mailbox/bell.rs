//! How a shard and those who send to it agree on whether it may sleep: two flags, and the order in
//! which each side touches them.
//!
//! Whoever has put something in rings; whoever is about to sleep says so, and then asks whether
//! somebody has rung. All that is decided by one word, `has_mail`, which both sides only ever swap:
//! of two swaps the later sees the earlier and all that came before it, so either the shard sees
//! that there is mail, or the sender sees that the shard is parked. Swaps of several senders see
//! each other as well, so a shard that sees the last one sees what all of them have put in.
//!
//! Flags are generic, so that the tests can try all orders with up to three preemptions in which
//! they may be touched.

use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that several threads see.
pub trait Flag {
    /// What it says; it may be newer already.
    fn peek(&self) -> bool;

    /// Sets it, without any order.
    fn put(&self, value: bool);

    /// Sets it and returns what it was; sees what those saw and did who swapped before.
    fn swap(&self, value: bool) -> bool;
}

impl Flag for AtomicBool {
    fn peek(&self) -> bool {
        self.load(Ordering::Relaxed)
    }

    fn put(&self, value: bool) {
        self.store(value, Ordering::Relaxed);
    }

    fn swap(&self, value: bool) -> bool {
        self.swap(value, Ordering::AcqRel)
    }
}

/// What everyone sees of a shard that may sleep.
#[derive(Default)]
pub struct Bell<F = AtomicBool> {
    /// Something was put in for it.
    has_mail: F,
    /// It sleeps, or is about to.
    is_parked: F,
}

/// The shard's own side.
#[derive(Default)]
pub struct Listening {
    /// Something may be there that was not looked at.
    may_have_mail: bool,
}

impl<F: Flag> Bell<F> {
    /// Something was put in; whether the shard has to be woken for it. Only one of several who ring
    /// is told so.
    #[must_use]
    pub fn ring(&self) -> bool {
        self.has_mail.swap(true);
        self.is_parked.peek() && self.is_parked.swap(false)
    }

    /// Whether the shard is to be woken by whoever rings next.
    #[cfg(test)]
    pub fn is_parked(&self) -> bool {
        self.is_parked.peek()
    }

    /// The shard is awake.
    pub fn unpark(&self) {
        self.is_parked.put(false);
    }
}

impl Listening {
    /// Whether there may be something to take.
    pub fn may_take<F: Flag>(&self, bell: &Bell<F>) -> bool {
        self.may_have_mail || bell.has_mail.peek()
    }

    /// Takes something with `take`, which is told whether there may be mail at all.
    pub fn take<F: Flag, T>(
        &mut self,
        bell: &Bell<F>,
        take: impl FnOnce(bool) -> Option<T>,
    ) -> Option<T> {
        // The swap comes before the look: what is put in behind the look rings again.
        self.may_have_mail |= bell.has_mail.peek() && bell.has_mail.swap(false);
        let taken = take(self.may_have_mail);
        self.may_have_mail &= taken.is_some();
        taken
    }

    /// The shard is about to sleep; returns whether it may. If so, it must [`Bell::unpark`] once it
    /// is awake.
    pub fn park<F: Flag>(&mut self, bell: &Bell<F>) -> bool {
        if self.may_have_mail {
            return false;
        }
        bell.is_parked.put(true);
        self.may_have_mail = bell.has_mail.swap(false);
        if self.may_have_mail {
            bell.unpark();
        }
        !self.may_have_mail
    }
}

#[cfg(test)]
mod tests {
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use loom::thread;

    use super::{Bell, Flag, Listening};

    impl Flag for AtomicBool {
        fn peek(&self) -> bool {
            self.load(Ordering::Relaxed)
        }

        fn put(&self, value: bool) {
            self.store(value, Ordering::Relaxed);
        }

        fn swap(&self, value: bool) -> bool {
            self.swap(value, Ordering::AcqRel)
        }
    }

    /// A shard, and a queue for each of those who send to it.
    struct Model {
        bell: Bell<AtomicBool>,
        queues: Vec<AtomicUsize>,
        wakes: AtomicUsize,
    }

    /// Each sender puts so many in; tried in all orders with up to three
    /// preemptions, and with everything that memory may show.
    fn nothing_is_slept_over(senders: usize, each: usize) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(move || {
            let model = Arc::new(Model {
                bell: Bell::default(),
                queues: (0..senders).map(|_| AtomicUsize::new(0)).collect(),
                wakes: AtomicUsize::new(0),
            });
            let threads: Vec<_> = (0..senders)
                .map(|index| {
                    let model = Arc::clone(&model);
                    thread::spawn(move || send(&model, index, each))
                })
                .collect();
            let (mut listening, mut taken) = (Listening::default(), vec![0; senders]);
            let sleeps = receive(&model, &mut listening, &mut taken);
            threads.into_iter().for_each(|thread| thread.join().expect("a sender ends"));
            let wakes = model.wakes.load(Ordering::Relaxed);
            assert!(wakes <= 1, "woken {wakes} times out of one sleep");
            if sleeps && wakes == 0 {
                let all = taken.iter().all(|taken| *taken == each);
                assert!(all, "{taken:?} of {each} each were taken, and nobody wakes the shard");
            }
            // Awake, it finds the rest.
            model.bell.unpark();
            while !receive(&model, &mut listening, &mut taken) {}
            assert_eq!(taken, vec![each; senders]);
        });
    }

    fn send(model: &Model, index: usize, count: usize) {
        for number in 1..=count {
            model.queues[index].store(number, Ordering::Release);
            if model.bell.ring() {
                model.wakes.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Takes what is there, and goes to sleep if it may; returns whether it does.
    fn receive(model: &Model, listening: &mut Listening, taken: &mut [usize]) -> bool {
        let look = |may_have_mail: bool, taken: &mut [usize]| {
            let mut queues = model.queues.iter().zip(taken).filter(|_| may_have_mail);
            queues.find_map(|(queue, taken)| {
                (queue.load(Ordering::Acquire) > *taken).then(|| *taken += 1)
            })
        };
        while listening.take(&model.bell, |may_have_mail| look(may_have_mail, taken)).is_some() {}
        listening.park(&model.bell)
    }

    #[test]
    fn mail_of_one_sender_is_not_slept_over() {
        nothing_is_slept_over(1, 2);
    }

    #[test]
    fn mail_of_two_senders_is_not_slept_over() {
        nothing_is_slept_over(2, 1);
    }
}
