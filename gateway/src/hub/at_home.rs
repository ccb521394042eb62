//! What is done on topics whose home this shard is.

use super::arriving::Duty;
use super::home::Ordered;
use super::mail::Inquiry;
use super::{
    Ask, Direct, EncodeOnce, Errand, Hashed, Hub, Mail, Moment, NotDone, Outcome, Publication,
    Published, Reply, Single, Target,
};
use crate::names::Name;

/// A hub at work on a topic whose home it is.
pub(super) struct AtHome<'h> {
    pub(super) hub: &'h mut Hub,
    pub(super) moment: Moment,
    /// Called for each form in which a message is encoded once for all.
    pub(super) encode_once: EncodeOnce<'h>,
}

/// The most messages or members that an answer to a handler has: many may be on their way at once.
const LISTED_MOST: usize = 128;

/// What a handler asks, for no more than is answered at once.
fn in_bounds(errand: Errand) -> Errand {
    match errand {
        Errand::Presence { topic, limit } => {
            Errand::Presence { topic, limit: limit.min(LISTED_MOST) }
        }
        Errand::History { topic, past, limit } => {
            Errand::History { topic, past, limit: limit.min(LISTED_MOST) }
        }
        other => other,
    }
}

impl AtHome<'_> {
    /// Does what a handler asks, and answers.
    pub(super) fn inquired(mut self, inquiry: Inquiry) {
        let Inquiry { errand, asker, tag } = inquiry;
        let Some(topic) = errand.topic().cloned() else { return };
        let outcome = self.answer(in_bounds(errand));
        if tag.is_none() && !matches!(outcome, Outcome::NotDone(_)) {
            return;
        }
        let what = Single::Answered { tag, topic, outcome };
        let direct = Direct { address: asker, what };
        self.hub.post.send(asker.shard.into(), Mail::Direct(Box::new(direct)));
    }

    /// What is asked of one topic.
    pub(super) fn answer(&mut self, errand: Errand) -> Outcome {
        let Moment { now, .. } = self.moment;
        let Hub { common, home, .. } = &mut *self.hub;
        match errand {
            Errand::Publish(Target::Topic(name), publication) => self.published(&name, publication),
            Errand::PublishOnce(name, publication, key) => {
                let one = common.repeatable(&name, publication.from.as_ref(), &key);
                if let Some(before) = home.repeats.find(one.key, now) {
                    home.counts.repeats += 1;
                    return Outcome::Published(before);
                }
                let outcome = self.published(&name, publication);
                if let Outcome::Published(published) = outcome {
                    let home = &mut self.hub.home;
                    let is_early = home.repeats.keep(one, published, now);
                    home.counts.repeats_forgotten += u64::from(is_early);
                }
                outcome
            }
            Errand::Topic(name) => home.describe(common.hashed(&name)),
            Errand::Presence { topic, limit } => {
                home.presence(common.hashed(&topic), limit, self.moment)
            }
            Errand::History { topic, past, limit } => {
                home.history(common.hashed(&topic), past, limit, now)
            }
            _ => Outcome::NotDone(NotDone::Unknown),
        }
    }

    /// Publishes for somebody outside, who is answered.
    pub(super) fn publish_for(
        mut self,
        target: Target,
        publication: Publication,
        reply: Reply,
    ) -> Option<Duty> {
        let hub = &mut *self.hub;
        let name = match target {
            Target::Connection(id) => return hub.single(id, Single::Publish(publication), reply),
            Target::All => None,
            Target::Topic(name) => Some(name),
            Target::User(name) => Some(name.of_user()),
        };
        if hub.post.is_congested() {
            reply.say(Outcome::NotDone(NotDone::Busy));
            return None;
        }
        let Some(name) = name else {
            let errand = Errand::Publish(Target::All, publication);
            hub.spread(Ask { errand, reply });
            return None;
        };
        reply.say(self.published(&name, publication));
        None
    }

    /// Publishes on a topic.
    pub(super) fn publish(
        &mut self,
        named: Hashed<'_>,
        publication: Publication,
    ) -> Result<Published, NotDone> {
        let Self { hub, moment, encode_once } = self;
        let ordered = hub.home.publish(named, publication, *moment, encode_once)?;
        hub.distribute(&ordered);
        let Ordered { delivery, connections, .. } = ordered;
        Ok(Published { connections, position: delivery.position, repeated: false })
    }

    fn published(&mut self, name: &Name, publication: Publication) -> Outcome {
        let hash = self.hub.common.hash(name.as_str());
        match self.publish(Hashed { hash, name }, publication) {
            Ok(published) => Outcome::Published(published),
            Err(not_done) => Outcome::NotDone(not_done),
        }
    }
}
