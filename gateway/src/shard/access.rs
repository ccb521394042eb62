//! What of a shard's connections the access log is told: how many refusals have a line, and whether
//! openings have one.

use std::time::Duration;

use crate::access_log::{AccessFeed, AccessRecord};
use crate::config::{AccessLog, Config, ToldConnections};
use crate::memory::{Bucket, Flow};

/// A shard's end of the access log.
pub(super) struct AccessTeller {
    feed: AccessFeed,
    pub(super) tells_openings: bool,
    /// How many refusals may have lines, and what of it was used.
    flow: Flow,
    used: Bucket,
    /// Those without one since the last line.
    left_out: u64,
}

impl AccessTeller {
    /// That of a log, which is there if the configuration has one.
    pub(super) fn of(feed: Option<AccessFeed>, config: &Config) -> Option<Self> {
        feed.zip(config.access_log.as_ref()).map(|(feed, log)| Self::new(feed, log))
    }

    /// Where lines go.
    pub(super) fn feed(&self) -> &AccessFeed {
        &self.feed
    }

    fn new(feed: AccessFeed, log: &AccessLog) -> Self {
        let per_second = log.refusals_per_second;
        Self {
            feed,
            tells_openings: log.connections == ToldConnections::Both,
            flow: Flow { per_second, burst: per_second },
            used: Bucket::default(),
            left_out: 0,
        }
    }

    /// Whether a refusal would have a line.
    pub(super) fn has_room(&self, now: Duration) -> bool {
        self.used.has_one_at(self.flow) <= now.as_nanos() as u64
    }

    /// Takes the line of a refusal; `false` if there are too many.
    pub(super) fn take_line(&mut self, now: Duration) -> bool {
        let mut used = self.used;
        let is_there = used.take(self.flow, now.as_nanos() as u64, 1);
        if is_there {
            self.used = used;
        } else {
            self.left_out += 1;
            self.feed.leave_out();
        }
        is_there
    }

    /// Hands a line over, with how many refusals have none before it.
    pub(super) fn say(&mut self, record: AccessRecord) {
        let left_out = std::mem::take(&mut self.left_out);
        self.feed.say(AccessRecord { left_out, ..record });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AccessTarget;

    #[test]
    fn so_many_refusals_have_lines_and_the_others_are_counted() {
        let log = AccessLog { refusals_per_second: 10, ..AccessLog::new(AccessTarget::Stdout) };
        let mut access = AccessTeller::new(AccessFeed::unread(), &log);
        let mut taken = |millis| {
            let now = Duration::from_millis(millis);
            let count = (0..25).filter(|_| access.has_room(now) && access.take_line(now)).count();
            assert!(!access.take_line(now));
            count
        };
        assert_eq!([1000, 1000, 1100, 1500, 9000].map(&mut taken), [10, 0, 1, 4, 10]);
        assert_eq!(access.left_out, 5);
    }
}
