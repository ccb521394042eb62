//! What is counted of tokens.

use crate::counters::Counters;

/// What a shard has counted of tokens.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TokenCounts {
    /// Those that were verified, be they good or not.
    pub(super) verified: u64,
    /// Those that had been before.
    pub(super) remembered: u64,
    /// Those that were not, because as many waited as may.
    pub(super) unverified: u64,
    /// Those that were shown though they were taken back.
    pub(super) taken_back: u64,
    /// Connections that have a fresh one, and fresh ones that were not taken.
    pub(super) renewed: u64,
    pub(super) not_renewed: u64,
}

impl TokenCounts {
    /// Shows them.
    pub(super) fn show(&self, counters: &mut Counters) {
        let Self { verified, remembered, unverified, taken_back, renewed, not_renewed } = *self;
        counters.tokens_verified = verified;
        counters.tokens_remembered = remembered;
        counters.tokens_unverified = unverified;
        counters.tokens_revoked_shown = taken_back;
        counters.tokens_renewed = renewed;
        counters.tokens_not_renewed = not_renewed;
    }
}
