//! What the access log of a run says, and whoever reads it, late at times.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tidegate::access_log::{AccessFeed, AccessTap};
use tidegate::config::{AccessLog, AccessTarget, ToldConnections};
use tidegate::shard::Counters;

use crate::random::Random;

/// Reads it.
pub struct LineReader {
    tap: AccessTap,
    random: Random,
    /// Per mille: how often it reads, and how many lines at once then.
    reads: u32,
    at_once: usize,
    tells_openings: bool,
    read: LinesRead,
}

/// What was read.
#[derive(Default)]
struct LinesRead {
    /// Lines of each kind.
    counts: BTreeMap<String, u64>,
    opened: BTreeSet<String>,
    closed: BTreeSet<String>,
    /// Refusals that lines say have none.
    left_out: u64,
}

/// An access log, of some runs: the configuration of it, the way into it, and who reads it.
pub fn draw(random: &Random) -> Option<(AccessLog, AccessFeed, LineReader)> {
    // Drawn apart, so that a run without one is as if there could be none.
    let mut random = Random::new(!random.clone().bits() ^ 0xAC);
    if !random.chance(400) {
        return None;
    }
    let log = AccessLog {
        connections: random.pick(&[ToldConnections::End, ToldConnections::Both]),
        refusals_per_second: random.pick(&[1, 100, 1_000_000]),
        queue: random.pick(&[16, 100, 1 << 20]),
        ..AccessLog::new(AccessTarget::Stdout)
    };
    let (feed, tap) = AccessFeed::tapped(&log);
    let reader = LineReader {
        tap,
        reads: random.pick(&[5, 100, 1000]),
        at_once: random.pick(&[1, 100]),
        random,
        tells_openings: log.connections == ToldConnections::Both,
        read: LinesRead::default(),
    };
    Some((log, feed, reader))
}

impl LineReader {
    /// Reads some, perhaps.
    pub fn act(&mut self) {
        if self.random.chance(self.reads) {
            self.read_some(self.at_once);
        }
    }

    fn read_some(&mut self, most: usize) {
        for _ in 0..most {
            let Some(line) = self.tap.next_line() else { return };
            let is_whole = self.tells_openings && self.tap.dropped() == 0;
            self.read.take(&line, is_whole);
        }
    }

    /// All shards have ended: each connection has its line, and each refusal that there was room
    /// for, unless lines were dropped.
    pub fn check(&mut self, counted: &Counters, refusals: u64) {
        self.read_some(usize::MAX);
        let read = &self.read;
        assert!(read.left_out <= self.tap.left_out(), "more are told as left out than are");
        if self.tap.dropped() > 0 {
            return;
        }
        let count = |kind: &str| read.counts.get(kind).copied().unwrap_or(0);
        if self.tells_openings {
            assert_eq!(read.opened, read.closed, "who has opened has ended");
        }
        assert_eq!(read.closed.len() as u64, count("closed"), "each ends once");
        let ended = count("closed") + count("answered");
        assert!(ended >= counted.opened, "{ended} lines of {} that have opened", counted.opened);
        let refused = count("refused") + self.tap.left_out();
        assert_eq!(refused, refusals, "{read:?}", read = read.counts);
    }
}

impl LinesRead {
    /// Reads a line; `is_whole`: none is missing before it.
    ///
    /// # Panics
    /// It cannot be.
    fn take(&mut self, line: &str, is_whole: bool) {
        let told: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        let text = |key: &str| told[key].as_str().unwrap_or_else(|| panic!("no {key}: {line}"));
        let (event, id) = (text("event"), text("id").to_owned());
        *self.counts.entry(event.to_owned()).or_default() += 1;
        self.left_out += told["left_out"].as_u64().unwrap_or(0);
        match event {
            "opened" => assert!(self.opened.insert(id), "opened twice: {line}"),
            "closed" => {
                assert!(!is_whole || self.opened.contains(&id), "it has not opened: {line}");
                assert!(!text("reason").is_empty() && told["by_peer"].is_boolean(), "{line}");
                assert!(self.closed.insert(id), "closed twice: {line}");
            }
            "answered" => assert!(told["status"].is_u64(), "{line}"),
            "refused" => assert!(!text("reason").is_empty(), "{line}"),
            other => panic!("{other}: {line}"),
        }
    }
}
