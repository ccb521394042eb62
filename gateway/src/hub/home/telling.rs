//! What a home tells of its topics.

use std::sync::Arc;
use std::time::Duration;

use super::Home;
use super::topic::{Extra, Topic};
use crate::hub::Hashed;
use crate::hub::delivery::Delivery;
use crate::hub::history::{Missed, Stands};
use crate::hub::mail::{Joined, Standing};
use crate::hub::{Excerpt, Issue, Kept, Moment, NotDone, Outcome, Past, Presence, What};

/// How many of the largest topics are told.
const LARGEST: usize = 20;
/// How many topics are looked at for one answer.
const SEARCHED_AT_ONCE: usize = 4096;

impl Home {
    pub(crate) fn describe(&self, named: Hashed<'_>) -> Outcome {
        match self.find(named) {
            Some(index) => Outcome::Topics(vec![self.topics[index as usize].info()], None),
            None => Outcome::NotDone(NotDone::Unknown),
        }
    }

    /// Where one stands who is subscribed already.
    pub(crate) fn stands_now(&mut self, joined: &Joined, now: Duration) -> Standing {
        let index = self.find(Hashed { hash: joined.hash, name: &joined.name });
        let mut standing = self.standing(index, joined, now);
        if let Some(index) = index {
            standing.present = self.roll(index);
            // What was too old just now may have been all that was kept.
            self.settle(index);
        }
        standing
    }

    /// Where a subscriber stands, on the topic of this record.
    pub(super) fn standing(
        &mut self,
        index: Option<u32>,
        joined: &Joined,
        now: Duration,
    ) -> Standing {
        let mut standing = Standing {
            whose: joined.whose(),
            position: None,
            gap: matches!(joined.past, Some(Past::Since(_))),
            behind: None,
            replay: 0,
            present: None,
            tag: joined.tag,
            again: joined.again,
            resume: joined.resume.clone(),
        };
        let extra = index.and_then(|at| self.topics[at as usize].extra.as_deref_mut());
        if let Some(Extra { rule, history: Some(history), .. }) = extra {
            self.held.change(history, |history| history.expire(now, rule));
            standing.position = Some(history.position());
            if let Some(past) = joined.past {
                let Stands { behind, gap, count } = history.stands(past);
                (standing.behind, standing.gap, standing.replay) = (behind, gap, count);
            }
        }
        standing
    }

    /// Topics from the record `from` on whose names begin with `prefix`.
    pub(crate) fn list(&self, from: u32, prefix: &str, limit: usize) -> Outcome {
        let mut infos = Vec::new();
        let end = self.used;
        let until = end.min(from as usize + SEARCHED_AT_ONCE);
        for index in from as usize..until {
            if infos.len() == limit {
                return Outcome::Topics(infos, Some(index as u32));
            }
            let Some(topic) = self.topics.get(index) else { continue };
            if topic.name.user().is_none() && topic.name.as_str().starts_with(prefix) {
                infos.push(topic.info());
            }
        }
        Outcome::Topics(infos, (until < end).then_some(until as u32))
    }

    /// Of the records from `from` on that are looked at for one answer, the topics with the most
    /// subscribers.
    pub(crate) fn largest(&self, from: u32) -> Outcome {
        let mut largest: Vec<(u64, &Topic)> = Vec::with_capacity(LARGEST + 1);
        let end = self.used;
        let until = end.min(from as usize + SEARCHED_AT_ONCE);
        for topic in (from as usize..until).filter_map(|index| self.topics.get(index)) {
            let count = topic.subscribers().connections;
            let is_large = largest.len() < LARGEST || largest.last().is_some_and(|l| l.0 < count);
            if topic.name.user().is_none() && is_large {
                let at = largest.partition_point(|(other, _)| *other >= count);
                largest.insert(at, (count, topic));
                largest.truncate(LARGEST);
            }
        }
        let infos = largest.into_iter().map(|(_, topic)| topic.info()).collect();
        Outcome::Topics(infos, (until < end).then_some(until as u32))
    }

    pub(crate) fn presence(&self, named: Hashed<'_>, limit: usize, moment: Moment) -> Outcome {
        let extra = self.find(named).and_then(|at| self.topics[at as usize].extra.as_ref());
        match extra.and_then(|extra| extra.members.as_ref()) {
            Some(members) => Outcome::Presence(Presence {
                members: members.list(limit, moment),
                total: members.len() as u64,
            }),
            None => Outcome::NotDone(NotDone::Unknown),
        }
    }

    pub(crate) fn history(
        &mut self,
        named: Hashed<'_>,
        past: Option<Past>,
        limit: usize,
        now: Duration,
    ) -> Outcome {
        let Some(index) = self.find(named) else { return Outcome::NotDone(NotDone::Unknown) };
        let extra = self.topics[index as usize].extra.as_deref_mut();
        let Some(Extra { rule, history: Some(history), .. }) = extra else {
            return Outcome::NotDone(NotDone::Unknown);
        };
        self.held.change(history, |history| history.expire(now, rule));
        let Missed { deliveries, gap } = history.missed(past, limit);
        let kept = |delivery: &Arc<Delivery>| {
            let What::Message(Issue { publication, time, .. }) = &delivery.what else {
                return None;
            };
            let publication = Arc::new(publication.clone());
            Some(Kept { offset: delivery.position?.offset, time: *time, publication })
        };
        let messages = deliveries.iter().filter_map(kept).collect();
        let position = history.position();
        // What was too old just now may have been all that was kept.
        self.settle(index);
        Outcome::History(Excerpt { messages, position, gap })
    }
}
