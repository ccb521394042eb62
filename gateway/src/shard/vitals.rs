//! What a shard shows of itself beside its counters: refusals and ends by reason, the times of its
//! loop, what it holds, and what has become of handshakes.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::bill::{GROWING_COUNT, Holdings};
use crate::handler::Ground;
use crate::histogram::{BUCKETS, Histogram};
use crate::protocol::end_reason::EndReason;
use crate::transport::proxy::ProxyRefusal;
use crate::transport::tls::{self, TlsCounts};

/// What a shard shows beside its counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Requests refused since the start, in the order of [`Ground::ALL`].
    pub refusals: [u64; Ground::ALL.len()],
    /// Connections whose messages have ended since the start, in the order of [`EndReason::ALL`].
    pub ends: [u64; EndReason::ALL.len()],
    /// Connections that did not come through a proxy as they should, by [`ProxyRefusal::place`].
    pub proxy_refusals: [u64; ProxyRefusal::COUNT],
    /// Nanoseconds of a turn of the loop, from when it has completions to handle to when the next
    /// turn may have: with what the kernel takes to carry the turn's operations out, without sleep.
    /// What fewer than 32 operations take is left out of a turn that sleeps
    /// afterwards.
    pub loop_nanoseconds: Histogram,
    /// Completions that one turn of the loop has handled.
    pub completions: Histogram,
    /// Bytes that are held now.
    pub holdings: Holdings,
    /// Receive buffers that are free now.
    pub buffers_free: u64,
    /// Handshakes of TLS that are in progress now.
    pub handshakes: u64,
    /// What has become of handshakes and records of TLS.
    pub tls: TlsCounts,
}

/// How many numbers there are.
const WORDS: usize = Ground::ALL.len()
    + EndReason::ALL.len()
    + ProxyRefusal::COUNT
    + 2 * (BUCKETS + 1)
    + GROWING_COUNT
    + 2
    + tls::WORDS;

/// Vitals that other threads can read.
#[derive(Debug)]
pub struct PublishedVitals([AtomicU64; WORDS]);

impl Vitals {
    /// Counts a request that was refused.
    pub fn refused(&mut self, ground: Ground) {
        self.refusals[ground as usize] += 1;
    }

    /// Counts a connection whose messages have ended.
    pub fn ended(&mut self, reason: EndReason) {
        self.ends[reason as usize] += 1;
    }

    /// Counts a connection that did not come through a proxy as it should.
    pub fn refused_proxied(&mut self, refusal: ProxyRefusal) {
        self.proxy_refusals[refusal.place()] += 1;
    }

    /// The sum of both.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let pairs = self.words().zip(other.words());
        Self::from_words(pairs.map(|(one, other)| one.wrapping_add(other)))
    }

    fn from_words(words: impl IntoIterator<Item = u64>) -> Self {
        let mut words = words.into_iter();
        let mut next = || words.next().unwrap_or_default();
        let mut vitals = Self::default();
        vitals.refusals.fill_with(&mut next);
        vitals.ends.fill_with(&mut next);
        vitals.proxy_refusals.fill_with(&mut next);
        for histogram in [&mut vitals.loop_nanoseconds, &mut vitals.completions] {
            histogram.buckets.fill_with(&mut next);
            histogram.sum = next();
        }
        vitals.holdings.bytes.fill_with(&mut next);
        vitals.buffers_free = next();
        vitals.handshakes = next();
        vitals.tls = TlsCounts::from_words(next);
        vitals
    }

    fn words(&self) -> impl Iterator<Item = u64> {
        let histograms = [self.loop_nanoseconds, self.completions];
        let histograms =
            histograms.into_iter().flat_map(|one| one.buckets.into_iter().chain([one.sum]));
        let reasons = self.refusals.into_iter().chain(self.ends).chain(self.proxy_refusals);
        let now = [self.buffers_free, self.handshakes];
        let first = reasons.chain(histograms).chain(self.holdings.bytes);
        first.chain(now).chain(self.tls.words())
    }
}

impl PublishedVitals {
    /// Shows other threads how the shard is.
    pub fn store(&self, vitals: &Vitals) {
        for (cell, word) in self.0.iter().zip(vitals.words()) {
            cell.store(word, Ordering::Relaxed);
        }
    }

    /// How the shard was when it showed it last. What one number says may be newer than what
    /// another does.
    #[must_use]
    pub fn load(&self) -> Vitals {
        Vitals::from_words(self.0.iter().map(|cell| cell.load(Ordering::Relaxed)))
    }
}

impl Default for PublishedVitals {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; WORDS])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_read() {
        let mut vitals = Vitals { buffers_free: 7, handshakes: 8, ..Vitals::default() };
        vitals.refused(Ground::NotFound);
        vitals.refused(Ground::Handler);
        vitals.ended(EndReason::Drain);
        vitals.refused_proxied(ProxyRefusal::Twice);
        vitals.loop_nanoseconds.record(1000);
        vitals.completions.record(3);
        vitals.tls.resumed = 9;
        vitals.tls.nanoseconds.record(5);
        vitals.holdings = Holdings { bytes: std::array::from_fn(|at| at as u64 + 1) };
        let published = PublishedVitals::default();
        published.store(&vitals);
        assert_eq!(published.load(), vitals);
        assert_eq!(vitals.words().count(), WORDS);
    }
}
