//! What time does to topics: who has left stays away, and histories grow old.

use std::cmp::Reverse;
use std::time::Duration;

use super::topic::Extra;
use super::{Home, Leaving, Ordered};
use crate::hub::Hashed;
use crate::hub::delivery::What;

/// How many topics are looked at for old history at a tick.
const EXPIRED_AT_ONCE: usize = 256;
/// How many leaves are looked at in a tick: some milliseconds' work.
const LEAVES_AT_ONCE: usize = 1024;

impl Home {
    /// Whether anything here changes with time.
    pub(crate) fn waits_for_time(&self) -> bool {
        let has_kept = self.held.messages > 0 || self.repeats.len() > 0;
        !self.leaving.is_empty() || has_kept || !self.crowded.is_empty()
    }

    /// Time has passed: leaves count, history grows old, counts are told. Returns what to tell.
    pub(crate) fn tick(&mut self, now: Duration) -> Vec<Ordered> {
        self.expire_histories(now);
        self.repeats.expire(now);
        let mut events = Vec::new();
        for _ in 0..LEAVES_AT_ONCE {
            match self.leaving.peek() {
                Some(Reverse(leaving)) if leaving.at <= now => {}
                _ => break,
            }
            let Some(Reverse(leaving)) = self.leaving.pop() else { break };
            events.extend(self.leaves(leaving, now));
        }
        self.tell_counts(now, &mut events);
        events
    }

    /// Looks whether one who has left has come back. Returns what to tell.
    fn leaves(&mut self, leaving: Leaving, now: Duration) -> Option<Ordered> {
        let Leaving { hash, name, who, .. } = leaving;
        let index = self.find(Hashed { hash, name: &name })?;
        let extra = self.topics[index as usize].extra.as_mut()?;
        let members = extra.members.as_mut()?;
        if members.expire(&who, now) {
            self.present -= 1;
            let event = self.tell_presence(index, What::Leave(who));
            self.settle(index);
            return event;
        }
        if let Some(at) = members.next_look(&who) {
            self.leaving.push(Reverse(Leaving { at, hash, name, who }));
        }
        None
    }

    fn expire_histories(&mut self, now: Duration) {
        if self.held.messages == 0 {
            return;
        }
        let end = (self.expiring + EXPIRED_AT_ONCE).min(self.used);
        for index in self.expiring..end {
            let Some(topic) = self.topics.get_mut(index) else { continue };
            let Some(Extra { rule, history: Some(history), .. }) = topic.extra.as_deref_mut()
            else {
                continue;
            };
            self.held.change(history, |history| history.expire(now, rule));
            self.settle(index as u32);
        }
        self.expiring = if end < self.used { end } else { 0 };
    }
}
