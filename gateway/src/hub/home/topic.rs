//! One topic: who is interested in it, and what is kept of it.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::Ordered;
use crate::hub::delivery::{Delivery, What};
use crate::hub::history::History;
use crate::hub::presence::Members;
use crate::hub::{Form, TopicInfo};
use crate::names::{Name, TopicRule};

/// The subscribers that a shard has and that want messages in the same form.
#[derive(Clone, Copy)]
pub(super) struct Interest {
    shard: u16,
    form: Form,
    /// How many they are: one at least.
    count: u32,
}

const _: () = assert!(size_of::<Interest>() == 8);

/// A topic whose home this shard is.
pub(super) struct Topic {
    /// Of its name.
    pub(super) hash: u64,
    pub(super) name: Name,
    /// In the order of shards.
    pub(super) interest: SmallVec<[Interest; 3]>,
    /// Only of topics of which anything is kept.
    pub(super) extra: Option<Box<Extra>>,
}

/// What is kept of it.
pub(super) struct Extra {
    pub(super) rule: TopicRule,
    pub(super) history: Option<History>,
    pub(super) members: Option<Members>,
}

/// Who has subscribed to a topic.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscribers {
    /// The shards that have any.
    pub(crate) shards: SmallVec<[u16; 4]>,
    /// How many there are.
    pub(crate) connections: u64,
}

impl Topic {
    pub(super) fn subscribers(&self) -> Subscribers {
        let mut shards: SmallVec<[u16; 4]> = self.interest.iter().map(|one| one.shard).collect();
        shards.dedup();
        let connections = self.interest.iter().map(|one| u64::from(one.count)).sum();
        Subscribers { shards, connections }
    }

    /// Whether somebody is on it, or something is kept of it.
    pub(super) fn is_in_use(&self) -> bool {
        let is_kept = self.extra.as_ref().is_some_and(|extra| {
            extra.history.as_ref().is_some_and(|history| history.len() > 0)
                || extra.members.as_ref().is_some_and(|members| members.len() > 0)
        });
        is_kept || !self.interest.is_empty()
    }

    /// When something was published last, by the shard's clock, if all that there is of the topic
    /// is its history.
    pub(super) fn unheard_since(&self) -> Option<Duration> {
        let Extra { history, members, .. } = self.extra.as_deref()?;
        let is_alone =
            self.interest.is_empty() && members.as_ref().is_none_or(|members| members.len() == 0);
        if is_alone { history.as_ref()?.last_at() } else { None }
    }

    /// The forms in which some subscriber wants messages, each once.
    pub(super) fn forms(&self) -> SmallVec<[Form; 4]> {
        let mut forms = SmallVec::new();
        for one in &self.interest {
            if !forms.contains(&one.form) {
                forms.push(one.form);
            }
        }
        forms
    }

    /// A shard has one more subscriber.
    pub(super) fn is_of_interest(&mut self, shard: u16, form: Form) {
        match self.find(shard, form) {
            Ok(at) => self.interest[at].count += 1,
            Err(at) => self.interest.insert(at, Interest { shard, form, count: 1 }),
        }
    }

    /// A shard has one subscriber less; `None` if it has none of this form.
    pub(super) fn is_of_less_interest(&mut self, shard: u16, form: Form) -> Option<()> {
        let at = self.find(shard, form).ok()?;
        self.interest[at].count -= 1;
        if self.interest[at].count == 0 {
            self.interest.remove(at);
        }
        Some(())
    }

    /// Where the subscribers of a shard that want a form are, or belong.
    fn find(&self, shard: u16, form: Form) -> Result<usize, usize> {
        self.interest.binary_search_by_key(&(shard, form), |one| (one.shard, one.form))
    }

    /// Something to tell all subscribers.
    pub(super) fn tell(&self, hash: u64, what: What) -> Ordered {
        let Subscribers { shards, connections } = self.subscribers();
        let topic = Some(self.name.clone());
        let delivery = Arc::new(Delivery { topic, hash, position: None, what });
        Ordered { delivery, shards, connections }
    }

    pub(super) fn info(&self) -> TopicInfo {
        let history = self.extra.as_ref().and_then(|extra| extra.history.as_ref());
        let members = self.extra.as_ref().and_then(|extra| extra.members.as_ref());
        TopicInfo {
            name: self.name.clone(),
            subscribers: self.subscribers().connections,
            position: history.map(History::position),
            kept: history.map_or(0, History::len) as u64,
            present: members.map(|members| members.len() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_and_forms_are_each_told_once_and_forgotten_with_their_last_subscriber() {
        let name = Name::new("a").expect("a name");
        let mut topic = Topic { hash: 0, name, interest: SmallVec::new(), extra: None };
        let subscribers =
            |connections| Subscribers { shards: SmallVec::from_slice(&[0, 2]), connections };
        for (shard, form) in [(2, 1), (0, 0), (2, 0), (0, 1), (2, 1)] {
            topic.is_of_interest(shard, Form(form));
        }
        assert_eq!(topic.subscribers(), subscribers(5));
        assert_eq!(topic.forms()[..], [Form(0), Form(1)]);
        assert_eq!(topic.is_of_less_interest(1, Form(0)), None, "it has no subscriber");
        for (shard, form) in [(2, 1), (2, 1), (0, 1)] {
            assert_eq!(topic.is_of_less_interest(shard, Form(form)), Some(()));
        }
        assert_eq!(topic.subscribers(), subscribers(2));
        assert_eq!(topic.forms()[..], [Form(0)], "nobody wants the other any more");
        assert_eq!(topic.is_of_less_interest(2, Form(1)), None);
    }
}
