//! One topic: who is interested in it, and what is kept of it.

use std::sync::Arc;

use smallvec::SmallVec;

use super::Ordered;
use crate::hub::TopicInfo;
use crate::hub::delivery::{Delivery, What};
use crate::hub::history::History;
use crate::hub::presence::Members;
use crate::names::{Name, TopicRule};

/// A shard that has subscribers.
#[derive(Clone, Copy)]
pub(super) struct Interest {
    pub(super) shard: u16,
    /// How many subscribers there are, and how many of them want messages compressed.
    pub(super) count: u32,
    pub(super) deflating: u32,
}

/// A topic whose home this shard is.
pub(super) struct Topic {
    pub(super) name: Name,
    pub(super) interest: SmallVec<[Interest; 2]>,
    /// Only of topics of which anything is kept.
    pub(super) extra: Option<Box<Extra>>,
}

/// What is kept of it.
pub(super) struct Extra {
    pub(super) rule: TopicRule,
    pub(super) history: Option<History>,
    pub(super) members: Option<Members>,
}

impl Topic {
    pub(super) fn subscribers(&self) -> (SmallVec<[u16; 4]>, u64) {
        let shards = self.interest.iter().map(|one| one.shard).collect();
        (shards, self.interest.iter().map(|one| u64::from(one.count)).sum())
    }

    /// A shard has one more subscriber.
    pub(super) fn is_of_interest(&mut self, shard: u16, deflates: bool) {
        let found = self.interest.iter().position(|one| one.shard == shard);
        let at = found.unwrap_or_else(|| {
            self.interest.push(Interest { shard, count: 0, deflating: 0 });
            self.interest.len() - 1
        });
        self.interest[at].count += 1;
        self.interest[at].deflating += u32::from(deflates);
    }

    /// A shard has one subscriber less; `None` if it has none.
    pub(super) fn is_of_less_interest(&mut self, shard: u16, deflates: bool) -> Option<()> {
        let at = self.interest.iter().position(|one| one.shard == shard)?;
        let interest = &mut self.interest[at];
        interest.count -= 1;
        interest.deflating -= u32::from(deflates);
        if interest.count == 0 {
            self.interest.swap_remove(at);
        }
        Some(())
    }

    /// Something to tell all subscribers.
    pub(super) fn tell(&self, hash: u64, what: What) -> Ordered {
        let (shards, connections) = self.subscribers();
        let topic = Some(self.name.clone());
        let delivery = Arc::new(Delivery { topic, hash, position: None, what });
        Ordered { delivery, shards, connections }
    }

    pub(super) fn info(&self) -> TopicInfo {
        let history = self.extra.as_ref().and_then(|extra| extra.history.as_ref());
        let members = self.extra.as_ref().and_then(|extra| extra.members.as_ref());
        TopicInfo {
            name: self.name.clone(),
            subscribers: self.subscribers().1,
            position: history.map(History::position),
            kept: history.map_or(0, History::len) as u64,
            present: members.map(|members| members.len() as u64),
        }
    }
}
