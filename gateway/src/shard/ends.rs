//! The last connections that have ended, and why: what who looks for one that is gone finds.

use std::collections::VecDeque;

use crate::hub::{EndFilter, EndInfo};
use crate::names::Name;

/// How many are kept.
const KEPT: usize = 512;

/// The most bytes of the user of one, with the counts of whoever shares it.
const USER_BYTES: usize = Name::LENGTH_MAX + 32;

/// The last ends of a shard.
#[derive(Default)]
pub(super) struct LastEnds {
    /// The oldest first.
    kept: VecDeque<EndInfo>,
}

impl LastEnds {
    /// What they hold at most.
    pub(super) const BYTES: usize = KEPT * (size_of::<EndInfo>() + USER_BYTES);

    /// Keeps one more; the oldest goes for it.
    pub(super) fn keep(&mut self, end: EndInfo) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        } else if self.kept.capacity() == 0 {
            // What doubles would come to hold more than is used.
            self.kept.reserve_exact(KEPT);
        }
        self.kept.push_back(end);
    }

    /// The last of those that are asked for, the latest first.
    pub(super) fn last(&self, filter: &EndFilter, limit: usize) -> Vec<EndInfo> {
        let EndFilter { connection, user, address, reason } = filter;
        let fits = |end: &&EndInfo| {
            connection.is_none_or(|id| end.id == id)
                && user.as_ref().is_none_or(|user| end.user.as_ref() == Some(user))
                && address.is_none_or(|address| address.fits(end.peer))
                && reason.is_none_or(|reason| end.reason == reason)
        };
        self.kept.iter().rev().filter(fits).take(limit).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use super::*;
    use crate::kernel::{Peer, PeerFilter};
    use crate::names::{ConnectionId, Node};

    fn end(at: u64, user: &str, reason: &'static str) -> EndInfo {
        EndInfo {
            id: ConnectionId {
                node: Node { number: 0, start: 1 },
                shard: 0,
                slot: at as u32,
                generation: 0,
            },
            route: None,
            peer: Peer::Unknown,
            user: Some(Name::new(user).expect("a name")),
            reason,
            by_peer: true,
            cause: None,
            at: Duration::from_secs(at),
            open_for: None,
        }
    }

    #[test]
    fn the_latest_are_told_first_and_the_oldest_go() {
        let mut ends = LastEnds::default();
        for at in 0..KEPT as u64 + 10 {
            ends.keep(end(at, if at % 2 == 0 { "ann" } else { "bob" }, "lost"));
        }
        ends.keep(end(1000, "ann", "too_big"));
        let seconds = |filter: &EndFilter, limit| -> Vec<u64> {
            ends.last(filter, limit).iter().map(|end| end.at.as_secs()).collect()
        };
        let all = EndFilter::default();
        assert_eq!(seconds(&all, 3), [1000, 521, 520]);
        assert_eq!(seconds(&all, usize::MAX).len(), KEPT);
        assert_eq!(seconds(&all, usize::MAX).last(), Some(&11));
        let bob = EndFilter { user: Some(Name::new("bob").expect("a name")), ..all.clone() };
        assert_eq!(seconds(&bob, 2), [521, 519]);
        assert_eq!(seconds(&EndFilter { reason: Some("too_big"), ..all.clone() }, 9), [1000]);
        let last = EndFilter { connection: Some(end(1000, "ann", "").id), ..all.clone() };
        assert_eq!(seconds(&last, 9), [1000]);
        let elsewhere =
            EndFilter { address: Some(PeerFilter::Ip(IpAddr::from([127, 0, 0, 1]).into())), ..all };
        assert!(seconds(&elsewhere, 9).is_empty(), "nobody's address is known");
    }
}
