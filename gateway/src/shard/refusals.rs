//! What the log says of requests that are refused: a line for each, as long as there are few.

use crate::kernel::Peer;
use crate::protocol::refusal::Refused;

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
}

impl Refusals {
    pub(super) fn new() -> Self {
        Self { room: BURST, unsaid: 0 }
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
    pub(super) fn tell(&mut self, refused: Refused, peer: Peer, path: Option<&str>) {
        let Some(room) = self.room.checked_sub(1) else {
            self.unsaid += 1;
            return;
        };
        self.room = room;
        let unsaid = std::mem::take(&mut self.unsaid);
        tracing::info!(
            target: "tidegate::refused",
            %peer,
            path,
            status = refused.status,
            reason = refused.ground.name(),
            unsaid = (unsaid > 0).then_some(unsaid),
            "refused: {}",
            refused.reason
        );
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
        for _ in 0..BURST + 7 {
            refusals.tell(REFUSED, Peer::Unknown, Some("/"));
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
