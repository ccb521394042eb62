//! The answers of all shards, on their way to becoming one.

use std::sync::{Arc, Mutex, PoisonError};

use super::door::Reply;
use super::{NotDone, Outcome, Published};

/// What was answered so far.
pub(super) struct JointAnswer {
    left: usize,
    sum: u64,
    not_done: Option<NotDone>,
    is_publication: bool,
    reply: Option<Reply>,
}

impl JointAnswer {
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
        let mut joint = this.lock().unwrap_or_else(PoisonError::into_inner);
        joint.left -= 1;
        match answer {
            Outcome::Published(published) => {
                joint.is_publication = true;
                joint.sum += published.connections;
            }
            Outcome::Done(count) => joint.sum += count,
            Outcome::NotDone(not_done) => joint.not_done = Some(not_done),
            _ => {}
        }
        if joint.left > 0 {
            return;
        }
        let answer = match joint.not_done {
            Some(not_done) => Outcome::NotDone(not_done),
            None if joint.is_publication => Outcome::Published(Published {
                connections: joint.sum,
                position: None,
                repeated: false,
            }),
            None => Outcome::Done(joint.sum),
        };
        let reply = joint.reply.take();
        drop(joint);
        if let Some(reply) = reply {
            reply.say(answer);
        }
    }
}
