//! What time does to topics: who has left stays away, and histories grow old.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use super::topic::Extra;
use super::{Home, Leaving, Ordered};
use crate::hub::Hashed;
use crate::hub::delivery::What;
use crate::hub::history::History;
use crate::hub::rules::TopicRules;
use crate::names::TopicRule;

/// How many topics are looked at for old history at a tick.
const EXPIRED_AT_ONCE: usize = 256;
/// How many messages of one topic go at a tick because a rule says that fewer are kept.
const SHORTENED_AT_ONCE: usize = 1024;
/// How many leaves are looked at in a tick: some milliseconds' work.
const LEAVES_AT_ONCE: usize = 1024;

impl Home {
    /// Whether anything here changes with time.
    pub(crate) fn waits_for_time(&self) -> bool {
        let has_kept = self.held.messages > 0 || self.repeats.len() > 0;
        let has_work = self.regulating.is_some() || !self.crowded.is_empty();
        !self.leaving.is_empty() || has_kept || has_work
    }

    /// Time has passed: leaves count, history grows old, counts are told. Returns what to tell.
    pub(crate) fn tick(&mut self, now: Duration) -> Vec<Ordered> {
        self.regulate();
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

    /// These are the rules from now on. Topics that are there get theirs some at a tick.
    pub(crate) fn replace_rules(&mut self, rules: Arc<TopicRules>) {
        self.rules = rules;
        self.regulating = Some(0);
    }

    /// Has some topics keep what the rules say, after a change of them. Who is present is kept, or
    /// not, as it was when the topic came to be: nobody has told who is on it already.
    fn regulate(&mut self) {
        let Some(from) = self.regulating else { return };
        let end = (from + EXPIRED_AT_ONCE).min(self.used);
        for index in from..end {
            let Some(topic) = self.topics.get(index).filter(|topic| topic.name.user().is_none())
            else {
                continue;
            };
            let rule = self.rules.of(topic.name.as_str());
            let wants_history = rule.history > 0;
            let (keeps, has_history) = match topic.extra.as_deref() {
                Some(extra) => (true, extra.history.is_some()),
                None => (false, false),
            };
            if !keeps && !wants_history {
                continue;
            }
            let begun = (wants_history && !has_history).then(|| History::new(self.draw_epoch()));
            let extra = self.topics[index].extra.get_or_insert_with(|| {
                Box::new(Extra { rule: TopicRule::default(), history: None, members: None })
            });
            extra.rule = following(&extra.rule, rule, extra.members.is_some());
            extra.history = begun.or(extra.history.take());
            let mut is_short = true;
            if let Some(Extra { rule, history: Some(history), .. }) =
                self.topics[index].extra.as_deref_mut()
            {
                self.held
                    .change(history, |history| is_short = history.shorten(rule, SHORTENED_AT_ONCE));
            }
            self.settle(index as u32);
            if !is_short {
                self.regulating = Some(index);
                return;
            }
        }
        self.regulating = (end < self.used).then_some(end);
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

/// The rule of a topic for which another one is configured now. Who is present is kept, or not, as
/// it was; and where nothing is to be kept of messages, those that are there go by their number.
fn following(old: &TopicRule, new: TopicRule, has_members: bool) -> TopicRule {
    let mut rule = TopicRule { presence: has_members, ..new };
    if has_members && !new.presence {
        (rule.linger, rule.presence_events) = (old.linger, old.presence_events);
    }
    if new.history == 0 {
        rule.history_age = old.history_age;
    }
    rule
}
