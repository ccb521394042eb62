//! Who comes to a topic and who goes, and what is told of it.

use std::cmp::Reverse;
use std::time::Duration;

use super::topic::Extra;
use super::{Home, Leaving, Ordered};
use crate::hub::delivery::{What, Who};
use crate::hub::mail::{Joined, Left};
use crate::hub::presence::Roll;

/// Of how many crowded topics is told in a tick how many came and went.
const COUNTS_AT_ONCE: usize = 1024;

impl Home {
    /// Who has subscribed is present, if that is kept and there is room. Returns what to tell.
    pub(super) fn comes(&mut self, index: u32, joined: &Joined, now: Duration) -> Option<Ordered> {
        let topic = &mut self.topics[index as usize];
        let members = topic.extra.as_mut().and_then(|extra| extra.members.as_mut())?;
        let who = joined.participant.who();
        if self.present >= self.bounds.present && !members.has(&who) {
            self.counts.presence_full += 1;
            let is_user = matches!(who, Who::User(_));
            if is_user && self.unlisted.len() < self.bounds.present as usize {
                self.unlisted.insert((joined.hash, joined.address));
            }
            return None;
        }
        if !members.join(who.clone(), now) {
            return None;
        }
        self.present += 1;
        self.tell_presence(index, What::Join(who))
    }

    /// Who has left is not present any more, or will not be after a while. Returns what to tell.
    pub(super) fn goes(&mut self, index: u32, left: &Left, now: Duration) -> Option<Ordered> {
        let extra = self.topics[index as usize].extra.as_deref_mut();
        let Some(Extra { rule, members: Some(members), .. }) = extra else { return None };
        let who = left.participant.who();
        // A connection without a user never comes back as itself.
        let at = if matches!(who, Who::User(_)) { now + rule.linger } else { now };
        if !members.leave(&who, at) {
            return None;
        }
        if members.expire(&who, now) {
            self.present -= 1;
            return self.tell_presence(index, What::Leave(who));
        }
        if members.await_return(&who) {
            self.leaving.push(Reverse(Leaving {
                at,
                hash: left.hash,
                name: left.name.clone(),
                who,
            }));
        }
        None
    }

    /// Tells who comes or goes; while so many are present that it would be told very often to very
    /// many, it is counted, and the counts are told once a second at most.
    pub(super) fn tell_presence(&mut self, index: u32, what: What) -> Option<Ordered> {
        let topic = &mut self.topics[index as usize];
        let Extra { rule, members: Some(members), .. } = topic.extra.as_deref_mut()? else {
            return None;
        };
        if members.len() > rule.presence_events as usize {
            self.counts.presence_counted += 1;
            members.count(matches!(what, What::Join(_)));
            self.crowded.insert(index);
            return None;
        }
        Some(topic.tell(topic.hash, what))
    }

    /// How many are on a topic, and who, if presence is kept of it.
    pub(super) fn roll(&self, index: u32) -> Option<Roll> {
        let members = self.topics[index as usize].extra.as_ref()?.members.as_ref()?;
        Some(members.roll(&self.memory))
    }

    /// Tells of crowded topics how many came and went.
    pub(super) fn tell_counts(&mut self, now: Duration, events: &mut Vec<Ordered>) {
        for _ in 0..self.crowded.len().min(COUNTS_AT_ONCE) {
            let Some(index) = self.crowded.pop() else { return };
            let topic = &mut self.topics[index as usize];
            let members = topic.extra.as_deref_mut().and_then(|extra| extra.members.as_mut());
            let Some(members) = members else { continue };
            match members.take_counts(now) {
                Some(what) => events.push(topic.tell(topic.hash, what)),
                // It was told less than a second ago.
                None => self.crowded.insert(index),
            }
        }
    }
}
