//! A way out of the access log, in place of the thread that writes: for programs that put lines
//! elsewhere.

use crossbeam_channel::Receiver;

use super::{AccessFeed, AccessMail, UnstartedLog, json};
use crate::config::{AccessField, AccessLog};

/// Where lines of an access log come out.
#[derive(Debug)]
pub struct AccessTap {
    feed: AccessFeed,
    said: Receiver<AccessMail>,
    fields: Vec<AccessField>,
}

impl AccessFeed {
    /// The way into a log whose lines nothing writes, and the way out: `queue` of them wait at
    /// most. Of what else `log` says only the fields count.
    #[must_use]
    pub fn tapped(log: &AccessLog) -> (Self, AccessTap) {
        let UnstartedLog { feed, said, log } = UnstartedLog::new(log, Default::default());
        (feed.clone(), AccessTap { feed, said, fields: log.fields })
    }
}

impl AccessTap {
    /// The next line, as JSON; `None` if none waits.
    #[must_use]
    pub fn next_line(&self) -> Option<String> {
        // Where something else is to be looked at, nothing is said.
        let record = self.said.try_iter().flatten().next()?;
        let mut line = Vec::new();
        json::write(&record, &self.fields, &mut line);
        String::from_utf8(line).ok()
    }

    /// How many were dropped so far, because as many waited as may.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.feed.totals().counts().dropped
    }

    /// How many refusals have no line so far, because there were too many.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.feed.totals().counts().left_out
    }
}
