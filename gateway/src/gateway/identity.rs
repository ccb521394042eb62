//! Who a gateway is, from its start to its end.

use std::hash::{BuildHasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::Config;
use crate::hub::{Identity, Seed};
use crate::names::Node;

/// Who this gateway is, from now on.
pub(super) fn identity(config: &Config) -> Identity {
    let node = Node { number: config.hub.node, start: draw() };
    let seed = Seed([u64::from(draw()) << 32 | u64::from(draw()), u64::from(draw())]);
    Identity { node, seed }
}

/// A number that another start is not likely to draw.
fn draw() -> u32 {
    RandomState::new().hash_one(unix_seconds()) as u32
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
