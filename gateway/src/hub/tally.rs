//! The answers of all shards, on their way to becoming one.

use std::sync::{Arc, Mutex, PoisonError};

use super::door::Reply;
use super::{NotDone, Outcome, Published};

/// What was answered so far.
pub(super) struct Tally {
    left: usize,
    sum: u64,
    not_done: Option<NotDone>,
    is_publication: bool,
    reply: Option<Reply>,
}

impl Tally {
    /// For the answers of so many shards.
    pub(super) fn new(shards: usize, reply: Reply) -> Arc<Mutex<Self>> {
        let reply = Some(reply);
        Arc::new(Mutex::new(Self {
            left: shards,
            sum: 0,
            not_done: None,
            is_publication: false,
            reply,
        }))
    }

    /// Adds a shard's answer. The lock is held for a few instructions.
    pub(super) fn add(this: &Mutex<Self>, answer: Outcome) {
        let mut tally = this.lock().unwrap_or_else(PoisonError::into_inner);
        tally.left -= 1;
        match answer {
            Outcome::Published(published) => {
                tally.is_publication = true;
                tally.sum += published.connections;
            }
            Outcome::Done(count) => tally.sum += count,
            Outcome::NotDone(not_done) => tally.not_done = Some(not_done),
            _ => {}
        }
        if tally.left > 0 {
            return;
        }
        let answer = match tally.not_done {
            Some(not_done) => Outcome::NotDone(not_done),
            None if tally.is_publication => {
                Outcome::Published(Published { connections: tally.sum, position: None })
            }
            None => Outcome::Done(tally.sum),
        };
        let reply = tally.reply.take();
        drop(tally);
        if let Some(reply) = reply {
            reply.say(answer);
        }
    }
}
