//! Who gives way when as many handshakes are in progress as may be, and others wait with theirs.

use std::time::Duration;

use super::connections::Connections;
use crate::kernel::{Ring, Slot};

/// Whoever has had so long for a handshake, and whose next words have not come, gives way.
const GRACE: Duration = Duration::from_secs(1);

/// Drops as many of those that hold a place and do not go on as there are others that wait for one,
/// those that hold it longest first. Each has a deadline of its own, but many of them take all
/// places for that long.
pub(super) fn make_way<R: Ring>(connections: &mut Connections<R>) {
    let waiting = connections.sockets.transports.kept.parked();
    if waiting == 0 {
        return;
    }
    let sockets = &connections.sockets;
    let now = sockets.ring.now();
    let is_idle = |(slot, began): &(Slot, Duration)| {
        now.saturating_sub(*began) >= GRACE && !sockets.is_unread(*slot)
    };
    let mut idle: Vec<_> = sockets.transports.tls.underway().filter(is_idle).collect();
    idle.sort_unstable_by_key(|(slot, began)| (*began, *slot));
    for (slot, _) in idle.into_iter().take(waiting) {
        connections.sockets.counters.handshakes_evicted += 1;
        connections.tell_failed_handshake(slot, "evicted");
        connections.drop_connection(slot);
    }
}
