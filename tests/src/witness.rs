//! A connection beside the one at hand.

use crate::gateway::Gateway;
use crate::peer::Peer;

/// A connection that stays open while others are mistreated: it shows that they were mistreated
/// alone, and that the gateway has come past what was sent to it before.
///
/// The latter holds because a shard works on its input in the order in which it arrived; the
/// gateway must have one shard only.
#[derive(Debug)]
pub struct Witness {
    peer: Peer,
    count: u64,
}

impl Witness {
    /// Opens a connection to `/echo`.
    #[must_use]
    #[track_caller]
    pub fn new(gateway: &Gateway) -> Self {
        let mut witness = Self { peer: Peer::open(gateway, "/echo"), count: 0 };
        witness.check();
        witness
    }

    /// The connection still echoes; whatever was sent to the gateway before has been read by it.
    #[track_caller]
    pub fn check(&mut self) {
        self.count += 1;
        let text = format!("still here, {}", self.count);
        self.peer.echo(&text);
    }

    /// Has `peer` send the parts so that the gateway reads each of them alone.
    #[track_caller]
    pub fn send_apart<B: AsRef<[u8]>>(
        &mut self,
        peer: &mut Peer,
        parts: impl IntoIterator<Item = B>,
    ) {
        for part in parts {
            peer.send(part);
            self.check();
        }
    }
}
