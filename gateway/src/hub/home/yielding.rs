//! Which topic gives way to another, where there are as many as may be.

use std::time::Duration;

use super::Home;
use super::topic::Extra;
use crate::hub::history::History;

/// How many topics are looked at to find one that gives way.
const YIELDING_AT_ONCE: usize = 64;

impl Home {
    /// Makes room for a topic: of some topics that nobody is on, of which there is only history,
    /// the one goes on which nothing was published for longest. So whoever publishes on ever more
    /// topics keeps nobody from subscribing. Returns whether there was one.
    pub(super) fn forget_an_unheard_topic(&mut self) -> bool {
        let mut found: Option<(Duration, u32)> = None;
        for _ in 0..YIELDING_AT_ONCE.min(self.unheard.len()) {
            let Some(index) = self.unheard.next(self.yielding) else { break };
            self.yielding = index + 1;
            let at = self.topics[index as usize].unheard_since().unwrap_or_default();
            if found.is_none_or(|(oldest, _)| at < oldest) {
                found = Some((at, index));
            }
        }
        let Some((_, index)) = found else { return false };
        let extra = self.topics[index as usize].extra.as_deref_mut();
        if let Some(Extra { history: Some(history), .. }) = extra {
            self.held.change(history, History::clear);
        }
        self.settle(index);
        self.counts.topics_forgotten += 1;
        true
    }
}
