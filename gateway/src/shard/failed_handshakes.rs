//! What the log says of handshakes that fail: a line in a second at the most, because scanners and
//! clients that come back at once fail by the thousand.

use std::time::Duration;

use crate::kernel::Peer;

/// From one line to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// How much was said.
#[derive(Debug, Default)]
pub(super) struct FailedHandshakes {
    /// When the last line was said, by the shard's clock.
    told_at: Option<Duration>,
    /// Those that nothing was said of since.
    unsaid: u64,
}

impl FailedHandshakes {
    /// A handshake has failed for this reason: says so, unless a line was said just now.
    pub(super) fn tell(&mut self, now: Duration, peer: Peer, reason: &'static str) {
        if self.told_at.is_some_and(|told_at| now.saturating_sub(told_at) < PAUSE) {
            self.unsaid += 1;
            return;
        }
        self.told_at = Some(now);
        let unsaid = std::mem::take(&mut self.unsaid);
        tracing::info!(
            target: "tidegate::tls",
            %peer,
            reason,
            unsaid = (unsaid > 0).then_some(unsaid),
            "a handshake has failed"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_second_is_said_and_the_others_are_counted() {
        let mut failed = FailedHandshakes::default();
        let mut tell = |millis| {
            failed.tell(Duration::from_millis(millis), Peer::Unknown, "not_tls");
            (failed.told_at, failed.unsaid)
        };
        let at = |millis| Some(Duration::from_millis(millis));
        assert_eq!(tell(5), (at(5), 0));
        assert_eq!(tell(6), (at(5), 1));
        assert_eq!(tell(1004), (at(5), 2));
        assert_eq!(tell(1005), (at(1005), 0));
    }
}
