//! What arrives at a shard: done in order, as far as the hub can do it by itself.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use super::at_home::AtHome;
use super::home::{Ordered, Subscribers};
use super::joint_answer::JointAnswer;
use super::mail::{Denied, Joined, Left, ToPublish, Unsubscribed};
use super::{
    Ask, Delivery, Direct, EncodeOnce, Errand, Handed, Hashed, Hub, Instruction, Mail, Moment,
    NotDone, Order, Outcome, Publication, Recovered, Reply, Single, Standing, Subscribed, Target,
    Why,
};
use crate::names::{ConnectionId, Name};

/// Something that is left to do with connections.
pub(crate) enum Duty {
    /// Tell the subscribers that this topic has here.
    Deliver(Arc<Delivery>),
    /// Do something with the subscribers that this topic has here.
    Order(Arc<Order>),
    /// Tell all connections.
    PublishToAll(Publication, Reply),
    /// Close all connections.
    CloseAll(Why, Reply),
    /// Do something with one connection, and answer if someone wants to know.
    Direct(Box<Direct>, Option<Reply>),
    /// Tell a new subscriber where it stands.
    Standing(Box<Standing>),
    /// Tell a subscriber more of what it missed.
    Recovered(Box<Recovered>),
    /// The connection cannot be subscribed: its topic has no room at its home.
    Denied(Box<Denied>),
    /// Tell a connection that it is not subscribed any more.
    Ended(Box<Unsubscribed>),
    /// Answer a question about connections.
    Tell(Box<Ask>),
    /// Take a connection over that another shard has accepted and has no room for.
    TakeOver(Box<Handed>),
}

impl Hub {
    /// The next thing that is left to do with connections. Does what the hub can do by itself, up
    /// to `budget` pieces of mail, which count down; `encode_once` may end it.
    pub(crate) fn next(
        &mut self,
        moment: Moment,
        budget: &Cell<usize>,
        encode_once: EncodeOnce<'_>,
    ) -> Option<Duty> {
        let mut duty = None;
        while duty.is_none() && budget.get() > 0 {
            let Some(mail) = self.post.receive() else { break };
            budget.update(|left| left - 1);
            duty = self.handle(mail, moment, encode_once);
        }
        self.neighbours.say_overfull(self.post.is_overfull());
        duty
    }

    fn handle(&mut self, mail: Mail, moment: Moment, encode_once: EncodeOnce<'_>) -> Option<Duty> {
        match mail {
            Mail::Ask(ask) => return self.asked(*ask, moment, encode_once),
            Mail::Everywhere(ask) => return everywhere(*ask),
            Mail::Publish(publish) => {
                let ToPublish { name, hash, publication } = *publish;
                // A topic that has no room is counted; nobody waits for an answer.
                let mut at_home = AtHome { hub: self, moment, encode_once };
                let _ = at_home.publish(Hashed { hash, name: &name }, publication);
            }
            Mail::Joined(joined) => self.joined(*joined, moment.now),
            Mail::Left(left) => {
                let event = self.home.leave(&left, moment.now);
                event.iter().for_each(|event| self.distribute(event));
                if let Some(tag) = left.tag {
                    let Left { name, hash, address, .. } = *left;
                    let whose = Subscribed { name, hash, address, serial: 0 };
                    let ended = Unsubscribed { whose, tag };
                    self.post.send(address.shard.into(), Mail::Ended(Box::new(ended)));
                }
            }
            Mail::Standing(standing) => return Some(Duty::Standing(standing)),
            Mail::Fetch(fetch) => {
                let shard = usize::from(fetch.whose.address.shard);
                let recovered = self.home.fetch(*fetch, moment.now);
                self.post.send(shard, Mail::Recovered(Box::new(recovered)));
            }
            Mail::Recovered(recovered) => return Some(Duty::Recovered(recovered)),
            Mail::Denied(denied) => return Some(Duty::Denied(denied)),
            Mail::Ended(ended) => return Some(Duty::Ended(ended)),
            Mail::Inquiry(inquiry) => {
                AtHome { hub: self, moment, encode_once }.inquired(*inquiry);
            }
            Mail::Deliver(delivery) => {
                let name = delivery.topic.as_ref()?;
                self.local.find(delivery.hash, name)?;
                return Some(Duty::Deliver(delivery));
            }
            Mail::Order(order) => {
                self.local.find(order.hash, &order.topic)?;
                return Some(Duty::Order(order));
            }
            Mail::Direct(direct) => return Some(Duty::Direct(direct, None)),
            Mail::Handed(handed) => return Some(Duty::TakeOver(handed)),
        }
        None
    }

    fn joined(&mut self, joined: Joined, now: Duration) {
        let shard = usize::from(joined.address.shard);
        if joined.again {
            let standing = self.home.stands_now(&joined, now);
            return self.post.send(shard, Mail::Standing(Box::new(standing)));
        }
        match self.home.join(&joined, now) {
            Ok((standing, event)) => {
                if joined.waits {
                    self.post.send(shard, Mail::Standing(Box::new(standing)));
                }
                event.iter().for_each(|event| self.distribute(event));
            }
            Err(_) => {
                self.home.deny(joined.hash, joined.address);
                let denied = Denied { whose: joined.whose(), tag: joined.tag };
                self.post.send(shard, Mail::Denied(Box::new(denied)));
            }
        }
    }

    /// Does what another thread asks for, or what a handler of another shard does.
    fn asked(&mut self, ask: Ask, moment: Moment, encode_once: EncodeOnce<'_>) -> Option<Duty> {
        let Ask { errand, reply } = ask;
        match errand {
            Errand::Publish(target, publication) => {
                let at_home = AtHome { hub: self, moment, encode_once };
                return at_home.publish_for(target, publication, reply);
            }
            Errand::Subscribe(target, topic) => {
                return self.instruct(target, Instruction::Subscribe(topic), reply);
            }
            Errand::Unsubscribe(target, topic) => {
                return self.instruct(target, Instruction::Unsubscribe(topic), reply);
            }
            errand @ Errand::Disconnect(Target::All, ..) => self.spread(Ask { errand, reply }),
            Errand::Disconnect(target, why) => {
                return self.instruct(target, Instruction::Close(why), reply);
            }
            Errand::Tell(id, what) => return self.single(id, Single::Tell(what), reply),
            Errand::Found(ticket, finding) => {
                let what = Single::Found(ticket.round, Some(finding));
                return self.single(ticket.connection, what, reply);
            }
            Errand::DestroyTopic(name) => reply.say(self.destroy(&name)),
            Errand::Topics { from, prefix, limit } => {
                reply.say(self.home.list(from, &prefix, limit));
            }
            Errand::LargestTopics { from } => reply.say(self.home.largest(from)),
            Errand::PublishOnce(..) if self.post.is_congested() => {
                reply.say(Outcome::NotDone(NotDone::Busy));
            }
            errand @ (Errand::PublishOnce(..)
            | Errand::Topic(_)
            | Errand::Presence { .. }
            | Errand::History { .. }) => {
                reply.say(AtHome { hub: self, moment, encode_once }.answer(errand));
            }
            errand @ (Errand::Connection(_)
            | Errand::Connections { .. }
            | Errand::Ends { .. }
            | Errand::Renew(..)
            | Errand::Trace(..)) => {
                return Some(Duty::Tell(Box::new(Ask { errand, reply })));
            }
        }
        None
    }

    /// Passes what concerns all connections on to all shards; it is answered with the sum.
    pub(super) fn spread(&mut self, ask: Ask) {
        let joint = JointAnswer::new(self.common.shards, ask.reply);
        for shard in 0..self.common.shards {
            let errand = match &ask.errand {
                Errand::Publish(_, publication) => {
                    Errand::Publish(Target::All, publication.clone())
                }
                Errand::Disconnect(_, why) => Errand::Disconnect(Target::All, why.clone()),
                _ => return,
            };
            let joint = Arc::clone(&joint);
            let reply = Reply::to(move |answer| JointAnswer::add(&joint, answer));
            self.post.send(shard, Mail::Everywhere(Box::new(Ask { errand, reply })));
        }
    }

    /// Gives each shard with subscribers a pointer to what they are told.
    pub(super) fn distribute(&mut self, ordered: &Ordered) {
        for shard in &ordered.shards {
            self.post.send(usize::from(*shard), Mail::Deliver(Arc::clone(&ordered.delivery)));
        }
    }

    /// Something for one connection of this shard, as far as its id tells.
    pub(super) fn single(&self, id: ConnectionId, what: Single, reply: Reply) -> Option<Duty> {
        let Some(address) = self.common.locate(id) else {
            reply.say(Outcome::NotDone(NotDone::Gone));
            return None;
        };
        Some(Duty::Direct(Box::new(Direct { address, what }), Some(reply)))
    }

    /// An instruction for one connection, or for all subscribers of a topic whose home this is.
    fn instruct(&mut self, target: Target, instruction: Instruction, reply: Reply) -> Option<Duty> {
        let name = match target {
            Target::Connection(id) => return self.single(id, Single::Do(instruction), reply),
            Target::Topic(name) => name,
            Target::User(name) => name.of_user(),
            Target::All => {
                reply.say(Outcome::NotDone(NotDone::Unknown));
                return None;
            }
        };
        // What a handler wants was taken where it lives; there it is refused while much mail waits.
        if reply.is_heard() && (self.post.is_congested() || self.is_overfull()) {
            reply.say(Outcome::NotDone(NotDone::Busy));
            return None;
        }
        reply.say(Outcome::Done(self.order(&name, &instruction)));
        None
    }

    /// Sends an order to all subscribers; returns how many there are.
    pub(super) fn order(&mut self, name: &Name, instruction: &Instruction) -> u64 {
        let hash = self.common.hash(name.as_str());
        let Subscribers { shards, connections } = self.home.subscribers(Hashed { hash, name });
        let order = Arc::new(Order { topic: name.clone(), hash, what: instruction.clone() });
        for shard in shards {
            self.post.send(usize::from(shard), Mail::Order(Arc::clone(&order)));
        }
        connections
    }

    pub(super) fn destroy(&mut self, name: &Name) -> Outcome {
        let Self { common, home, .. } = self;
        let hash = common.hash(name.as_str());
        let Subscribers { connections, .. } = home.subscribers(Hashed { hash, name });
        if !home.forget(Hashed { hash, name }) {
            return Outcome::NotDone(NotDone::Unknown);
        }
        if connections > 0 {
            self.order(name, &Instruction::End);
        }
        Outcome::Done(connections)
    }
}

/// What concerns all connections of this shard.
fn everywhere(ask: Ask) -> Option<Duty> {
    let Ask { errand, reply } = ask;
    match errand {
        Errand::Publish(_, publication) => Some(Duty::PublishToAll(publication, reply)),
        Errand::Disconnect(_, why) => Some(Duty::CloseAll(why, reply)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Form, Identity, Seed, Settings, Subscribing, open};
    use super::*;
    use crate::kernel::Waker;
    use crate::names::Node;

    #[test]
    fn to_encode_may_end_what_is_done_at_once() {
        let wakers: Vec<Waker> = (0..2).map(|_| Waker::new().expect("a descriptor")).collect();
        let identity = Identity { node: Node { number: 0, start: 1 }, seed: Seed([1, 2]) };
        let (mut hubs, door) = open(&Settings::small(), identity, &wakers);
        let moment = Moment { now: Duration::ZERO, calendar: Duration::ZERO };
        let mut home = hubs.pop().expect("two");
        let mut hub = hubs.pop().expect("two");
        let mut names = (0..).map(|number| Name::new(&number.to_string()).expect("a name"));
        let name = names.find(|name| hub.home_of(name) == 1).expect("some have their home there");
        let how = Subscribing { form: Form(1), ..Subscribing::default() };
        hub.subscribe(hub.id(0, 0), &name, how).expect("room");
        for _ in 0..9 {
            let message = door.message("a").expect("room");
            let publication = Publication::new(message);
            hub.publish(&Target::Topic(name.clone()), publication);
        }
        hub.post.flush();
        let (budget, encoded) = (Cell::new(16), Cell::new(0));
        let mut encode_once = |form: Form, _: &Publication| {
            assert_eq!(form, Form(1));
            encoded.set(encoded.get() + 1);
            if encoded.get() % 2 == 0 {
                budget.set(0);
            }
            None
        };
        assert!(home.next(moment, &budget, &mut encode_once).is_none());
        assert_eq!(encoded.get(), 2, "the rest waits");
        budget.set(16);
        assert!(home.next(moment, &budget, &mut encode_once).is_none());
        assert_eq!(encoded.get(), 4);
    }
}
