//! What the log says of requests and connections that are refused: a line for each, as long as
//! there are few.

use std::time::Duration;

use crate::kernel::Peer;
use crate::protocol::asked::AskedFor;
use crate::protocol::refusal::Refused;
use crate::transport::proxy::ProxyRefusal;

/// Lines that may be said at once.
const BURST: u32 = 50;

/// As many more each tick, of which a second has four.
const EACH_TICK: u32 = 3;

/// How much may be said.
#[derive(Debug)]
pub(super) struct Refusals {
    /// Lines that may be said now.
    room: u32,
    /// Refusals that nothing was said of since the last line.
    unsaid: u64,
    /// When it was last told that all places are taken.
    pub(super) full_told: Option<Duration>,
}

impl Refusals {
    pub(super) fn new() -> Self {
        Self { room: BURST, unsaid: 0, full_told: None }
    }

    /// Whether there is room for a line.
    pub(super) fn has_room(&self) -> bool {
        self.room > 0
    }

    /// Time has passed.
    pub(super) fn tick(&mut self) {
        self.room = BURST.min(self.room + EACH_TICK);
    }

    /// A request was refused: says so, if there is room.
    pub(super) fn tell(&mut self, refused: Refused, peer: Peer, asked: Option<&AskedFor>) {
        let Some(unsaid) = self.take_line() else { return };
        tracing::info!(
            target: "tidegate::refused",
            %peer,
            path = asked.map(AskedFor::path),
            host = asked.and_then(AskedFor::host),
            origin = asked.and_then(AskedFor::origin),
            status = refused.status,
            reason = refused.ground.name(),
            unsaid = (unsaid > 0).then_some(unsaid),
            "refused: {}",
            refused.reason
        );
    }

    /// A connection does not come through a proxy as it should: likewise. `peer` is that of the
    /// socket, which is the proxy if there is one.
    pub(super) fn tell_of_proxy(&mut self, refusal: ProxyRefusal, peer: Peer) {
        let Some(unsaid) = self.take_line() else { return };
        tracing::info!(
            target: "tidegate::refused",
            %peer,
            reason = refusal.name(),
            unsaid = (unsaid > 0).then_some(unsaid),
            "refused: {refusal}"
        );
    }

    /// Takes the room of a line, if there is one: how many refusals nothing was said of before it.
    fn take_line(&mut self) -> Option<u64> {
        match self.room.checked_sub(1) {
            Some(room) => {
                self.room = room;
                Some(std::mem::take(&mut self.unsaid))
            }
            None => {
                self.unsaid += 1;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::Ground;

    const REFUSED: Refused = Refused { status: 404, ground: Ground::NotFound, reason: "nothing" };

    #[test]
    fn many_at_once_are_counted_and_few_are_said() {
        let mut refusals = Refusals::new();
        for _ in 0..BURST {
            refusals.tell(REFUSED, Peer::Unknown, None);
        }
        for _ in 0..7 {
            refusals.tell_of_proxy(ProxyRefusal::Stranger, Peer::Unknown);
        }
        assert_eq!((refusals.has_room(), refusals.unsaid), (false, 7));
        refusals.tick();
        assert!(refusals.has_room());
        refusals.tell(REFUSED, Peer::Unknown, None);
        assert_eq!((refusals.room, refusals.unsaid), (EACH_TICK - 1, 0));
        (0..100).for_each(|_| refusals.tick());
        assert_eq!(refusals.room, BURST);
    }
}
