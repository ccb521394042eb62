//! The key `slow_peer` of a route.

use toml::de::DeValue;

use super::value;

/// What happens to a peer that does not take what is queued for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowPeer {
    /// `pause`: nothing more is read from the peer while anything waits for it. A peer that takes
    /// no byte for the stack's `stall` is closed.
    #[default]
    Pause,
    /// `close`: the connection ends with 1013 as soon as its backlog is full or the shard has no
    /// block left for it.
    Close,
    /// `drop_newest`: as `close` for what the peer asked for; of what is published, what does not
    /// fit is left out.
    DropNewest,
    /// `drop_oldest`: likewise, but the oldest that waits is left out.
    DropOldest,
    /// `conflate`: likewise, and of messages with the same key only the newest waits.
    Conflate,
}

impl SlowPeer {
    /// All of them.
    const ALL: [Self; 5] =
        [Self::Pause, Self::Close, Self::DropNewest, Self::DropOldest, Self::Conflate];

    /// As the file has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Close => "close",
            Self::DropNewest => "drop_newest",
            Self::DropOldest => "drop_oldest",
            Self::Conflate => "conflate",
        }
    }
}

pub(super) fn slow_peer(value: &DeValue<'_>) -> Result<SlowPeer, String> {
    value::one_of(value, &SlowPeer::ALL.map(|policy| (policy.name(), policy)))
}
