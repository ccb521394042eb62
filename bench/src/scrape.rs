//! What the gateway says of itself at its admin address.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::plain::PATIENCE;

/// Samples of Prometheus's text format: name and labels as they stand there, and the value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scrape(BTreeMap<String, f64>);

/// Turns of the loops of all shards that were made between two looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turns {
    /// By the upper bound of how long they took, in nanoseconds.
    pub(crate) by_bound_ns: BTreeMap<u64, u64>,
}

impl Scrape {
    /// What the gateway with this admin address says now.
    ///
    /// # Errors
    /// It does not answer, or answers with something else than 200.
    pub(crate) fn of(admin: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect(admin)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding");
        if !head.starts_with("HTTP/1.1 200 ") || is_chunked {
            let status = head.lines().next().unwrap_or_default();
            return Err(io::Error::other(format!("/metrics was answered with: {status}")));
        }
        Ok(Self::parse(body))
    }

    fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(samples.collect())
    }

    /// The sum over all labels of a metric, such as `tidegate_recovered_total`.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let labelled = format!("{name}{{");
        let own = |it: &str| it == name || it.starts_with(&labelled);
        self.0.iter().filter(|(it, _)| own(it)).map(|(_, value)| value).sum()
    }

    /// The turns that were made since an `earlier` look.
    pub(crate) fn turns_since(&self, earlier: &Self) -> Turns {
        let (now, before) = (self.up_to_bounds(), earlier.up_to_bounds());
        let mut turns = Turns::default();
        let mut shorter = 0;
        for (bound_ns, count) in now {
            let so_many = count.saturating_sub(before.get(&bound_ns).copied().unwrap_or(0));
            turns.by_bound_ns.insert(bound_ns, so_many.saturating_sub(shorter));
            shorter = so_many;
        }
        turns
    }

    /// How many turns took no longer than each bound.
    fn up_to_bounds(&self) -> BTreeMap<u64, u64> {
        let mut counts = BTreeMap::new();
        for (name, count) in &self.0 {
            if let Some(bound_ns) = bound_ns(name) {
                *counts.entry(bound_ns).or_default() += *count as u64;
            }
        }
        counts
    }
}

impl Turns {
    /// Those that were made meanwhile count as well.
    pub(crate) fn add(&mut self, more: &Self) {
        for (bound_ns, count) in &more.by_bound_ns {
            *self.by_bound_ns.entry(*bound_ns).or_default() += count;
        }
    }

    /// A bound that the longest of them kept, in nanoseconds; 0 if there were none.
    pub(crate) fn longest_ns(&self) -> u64 {
        self.by_bound_ns.iter().filter(|it| *it.1 > 0).map(|it| *it.0).max().unwrap_or(0)
    }

    /// How many may have taken longer than this: all in buckets that reach beyond it.
    pub(crate) fn beyond(&self, limit_ns: u64) -> u64 {
        self.by_bound_ns.range(limit_ns + 1..).map(|(_, count)| count).sum()
    }

    /// How many took longer than this for certain: all in buckets that begin there or beyond.
    pub(crate) fn surely_beyond(&self, limit_ns: u64) -> u64 {
        self.by_bound_ns.range(limit_ns..).skip(1).map(|(_, count)| count).sum()
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.by_bound_ns.values().sum()
    }
}

/// The bound of a bucket of the loop's histogram, in nanoseconds; [`u64::MAX`] for `+Inf`.
fn bound_ns(name: &str) -> Option<u64> {
    let labels = name.strip_prefix("tidegate_loop_seconds_bucket{")?;
    let (_, bound) = labels.split_once("le=\"")?;
    let (bound, _) = bound.split_once('"')?;
    let seconds: f64 = bound.parse().ok()?;
    Some(if seconds.is_finite() { (seconds * 1e9).round() as u64 } else { u64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(counts: [u32; 3]) -> Scrape {
        let [first, second, all] = counts;
        Scrape::parse(&format!(
            "# TYPE tidegate_loop_seconds histogram\n\
             tidegate_loop_seconds_bucket{{le=\"0.004194304\",shard=\"0\"}} {first}\n\
             tidegate_loop_seconds_bucket{{le=\"0.008388608\",shard=\"0\"}} {second}\n\
             tidegate_loop_seconds_bucket{{le=\"+Inf\",shard=\"0\"}} {all}\n\
             tidegate_loop_seconds_bucket{{shard=\"1\",le=\"0.004194304\"}} 5\n\
             tidegate_recovered_total{{shard=\"0\"}} 3\ntidegate_recovered_total{{shard=\"1\"}} 4\n"
        ))
    }

    #[test]
    fn turns_are_those_between_two_looks() {
        let turns = scrape([17, 20, 20]).turns_since(&scrape([10, 12, 12]));
        assert_eq!(turns.by_bound_ns, [(4_194_304, 7), (8_388_608, 1), (u64::MAX, 0)].into());
        assert_eq!((turns.longest_ns(), turns.count()), (8_388_608, 8));
        assert_eq!((turns.beyond(5_000_000), turns.beyond(8_388_608)), (1, 0));
        assert_eq!(turns.beyond(1_000_000), 8);
        assert_eq!((turns.surely_beyond(5_000_000), turns.surely_beyond(4_194_304)), (0, 1));
        assert_eq!(Turns::default().longest_ns(), 0);
    }

    #[test]
    fn a_sum_is_over_all_shards() {
        assert_eq!(scrape([0; 3]).sum("tidegate_recovered_total"), 7.0);
        assert_eq!(scrape([0; 3]).sum("tidegate_recovered"), 0.0);
    }
}
