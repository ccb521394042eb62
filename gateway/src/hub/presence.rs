//! Who is on a topic.

use std::collections::BTreeMap;
use std::time::Duration;

use super::delivery::Who;
use super::{Moment, Present};
use crate::names::ConnectionId;

/// Those who are on one topic.
#[derive(Default)]
pub(crate) struct Members {
    here: BTreeMap<Who, Here>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Name;

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
