//! Who is on a topic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::delivery::{What, Who};
use super::{MessageMemory, Moment, Present};
use crate::names::ConnectionId;

/// The most members that one who subscribes is told by name.
const ROLL_MOST: usize = 32;

/// How long it is counted who comes and goes before it is told.
const COUNTED_FOR: Duration = Duration::from_secs(1);

/// Those who are on one topic.
#[derive(Default)]
pub(crate) struct Members {
    here: BTreeMap<Who, Here>,
    /// How many came and left of whom that was not told yet.
    joined: u32,
    left: u32,
    /// When that was told last.
    told_at: Option<Duration>,
}

/// How many are on a topic, and who, as long as they are few.
pub(crate) struct Roll {
    pub(crate) total: u64,
    /// `None` if they are too many, or no memory is left for their names.
    pub(crate) members: Option<RollCall>,
}

/// Who they are, counted among what messages hold: they may be gone before this is told.
pub(crate) struct RollCall {
    who: Vec<Who>,
    held: u64,
    memory: Arc<MessageMemory>,
}

/// One of them.
struct Here {
    /// 0 for one who has left and may come back.
    connections: u32,
    /// By the shard's clock.
    since: Duration,
    /// When the leave counts, if none of the connections comes back.
    leaves_at: Duration,
    /// Its leave is looked at again at some time.
    is_awaited: bool,
}

impl Members {
    pub(crate) fn len(&self) -> usize {
        self.here.len()
    }

    pub(crate) fn has(&self, who: &Who) -> bool {
        self.here.contains_key(who)
    }

    /// A connection of `who` is on the topic, as of `since`; whether `who` was not there before.
    pub(crate) fn join(&mut self, who: Who, since: Duration) -> bool {
        let mut is_new = false;
        let here = self.here.entry(who).or_insert_with(|| {
            is_new = true;
            Here { connections: 0, since, leaves_at: Duration::ZERO, is_awaited: false }
        });
        here.connections += 1;
        is_new
    }

    /// A connection of `who` is not on the topic any more; whether it was the last one, so that the
    /// leave counts at `leaves_at` if no other comes.
    pub(crate) fn leave(&mut self, who: &Who, leaves_at: Duration) -> bool {
        let Some(here) = self.here.get_mut(who) else { return false };
        here.connections = here.connections.saturating_sub(1);
        here.leaves_at = leaves_at;
        here.connections == 0
    }

    /// Whether the return of `who`, who has left, has yet to be looked at: it is from here on, once
    /// for however many leaves.
    pub(crate) fn await_return(&mut self, who: &Who) -> bool {
        let here = self.here.get_mut(who);
        here.is_some_and(|here| !std::mem::replace(&mut here.is_awaited, true))
    }

    /// The return of `who` was looked at; when it has to be again, because it left once more.
    pub(crate) fn next_look(&mut self, who: &Who) -> Option<Duration> {
        let here = self.here.get_mut(who)?;
        here.is_awaited = here.connections == 0;
        here.is_awaited.then_some(here.leaves_at)
    }

    /// It is `now`: removes `who` if it left and has not come back; whether it did.
    pub(crate) fn expire(&mut self, who: &Who, now: Duration) -> bool {
        let is_gone = |here: &Here| here.connections == 0 && now >= here.leaves_at;
        let gone = self.here.get(who).is_some_and(is_gone);
        if gone {
            self.here.remove(who);
        }
        gone
    }

    /// Someone comes, or goes, of which is told by number only.
    pub(crate) fn count(&mut self, comes: bool) {
        let count = if comes { &mut self.joined } else { &mut self.left };
        *count = count.saturating_add(1);
    }

    /// Whether anyone was counted of whom was not told yet.
    pub(crate) fn has_counts(&self) -> bool {
        self.joined > 0 || self.left > 0
    }

    /// What was counted, to be told now; `None` if that was told a moment ago.
    pub(crate) fn take_counts(&mut self, now: Duration) -> Option<What> {
        if self.told_at.is_some_and(|told_at| now.saturating_sub(told_at) < COUNTED_FOR) {
            return None;
        }
        self.told_at = Some(now);
        let (joined, left) = (std::mem::take(&mut self.joined), std::mem::take(&mut self.left));
        Some(What::Counts { joined, left, total: self.here.len() as u64 })
    }

    /// How many there are, and who, as long as they are few.
    pub(crate) fn roll(&self, memory: &Arc<MessageMemory>) -> Roll {
        let are_few = self.here.len() <= ROLL_MOST;
        let members = if are_few { RollCall::new(self.here.keys(), memory) } else { None };
        Roll { total: self.here.len() as u64, members }
    }

    /// The first of them, in the order of their names, as told at this `moment`.
    pub(crate) fn list(&self, limit: usize, moment: Moment) -> Vec<Present> {
        let present = |(who, here): (&Who, &Here)| {
            let (user, connection) = match who {
                Who::User(name) => (Some(name.clone()), None),
                Who::Connection(id) => (None, id.parse::<ConnectionId>().ok()),
            };
            let since = moment.at(here.since);
            Present { user, connection, connections: here.connections, since }
        };
        self.here.iter().take(limit).map(present).collect()
    }
}

impl RollCall {
    /// `None` if no memory is left for it.
    fn new<'w>(
        who: impl Iterator<Item = &'w Who> + Clone,
        memory: &Arc<MessageMemory>,
    ) -> Option<Self> {
        let held = who.clone().map(Who::held).sum();
        let memory = memory.take(held).then(|| Arc::clone(memory))?;
        Some(Self { who: who.cloned().collect(), held, memory })
    }

    pub(crate) fn who(&self) -> &[Who] {
        &self.who
    }
}

impl Drop for RollCall {
    fn drop(&mut self) {
        self.memory.give_back(self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Name;

    #[test]
    fn who_comes_and_goes_is_counted_and_told_once_a_second() {
        let second = Duration::from_secs(1);
        let mut members = Members::default();
        for number in 0..3 {
            members.join(Who::Connection(number.to_string().into()), second);
            members.count(true);
        }
        members.count(false);
        let counts = |told: Option<What>| match told {
            Some(What::Counts { joined, left, total }) => Some((joined, left, total)),
            _ => None,
        };
        assert_eq!(counts(members.take_counts(second)), Some((3, 1, 3)));
        assert!(!members.has_counts());
        members.count(false);
        assert_eq!(counts(members.take_counts(second + second / 2)), None, "a moment ago");
        assert!(members.has_counts());
        assert_eq!(counts(members.take_counts(second * 2)), Some((0, 1, 3)));
    }

    #[test]
    fn a_roll_is_called_as_long_as_they_are_few_and_there_is_memory() {
        let memory = Arc::new(MessageMemory::new(20_000));
        let mut members = Members::default();
        for number in 0..ROLL_MOST {
            members.join(Who::Connection(number.to_string().into()), Duration::ZERO);
        }
        let roll = members.roll(&memory);
        let called = roll.members.as_ref().map(|call| call.who().len());
        assert_eq!((roll.total, called), (ROLL_MOST as u64, Some(ROLL_MOST)));
        let held = memory.used();
        let full = Arc::new(MessageMemory::new(held - 1));
        assert!(members.roll(&full).members.is_none() && full.used() == 0);
        drop(roll);
        assert_eq!(memory.used(), 0);
        members.join(Who::Connection("one more".into()), Duration::ZERO);
        let roll = members.roll(&memory);
        assert_eq!((roll.total, roll.members.is_none()), (ROLL_MOST as u64 + 1, true));
    }

    #[test]
    fn a_quick_reconnect_is_no_leave() {
        let who = Who::User(Name::new("me").expect("a name"));
        let second = Duration::from_secs(1);
        let moment = |now, unix| Moment { now, calendar: Duration::from_secs(unix) };
        let mut members = Members::default();
        assert!(members.join(who.clone(), second));
        assert!(!members.join(who.clone(), second * 2));
        assert!(!members.leave(&who, second), "one connection is left");
        assert!(members.leave(&who, second));
        assert_eq!(members.list(9, moment(second, 100))[0].connections, 0);
        assert!(!members.join(who.clone(), second * 2), "it has not left yet");
        assert!(!members.expire(&who, second), "it came back");
        for (unix, since) in [(10_009, 10_000), (2_009, 2_000), (3, 0)] {
            let told = &members.list(9, moment(second * 10, unix))[0];
            assert_eq!(told.since.as_secs(), since, "nine seconds ago, as of {unix}");
        }
        assert!(members.leave(&who, second * 3));
        assert!(!members.expire(&who, second * 2), "of an earlier leave");
        assert!(members.expire(&who, second * 3));
        assert!(!members.expire(&who, second * 3));
        assert_eq!(members.len(), 0);
    }
}
