//! The gateway's counters, as its log shows them.

use std::collections::BTreeMap;

/// The family of what was refused, by reason.
const REFUSALS: &str = "tidegate_refusals_total";

/// All counters at one moment, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// The counter `name`, as shards call it, or with the name that `/metrics` shows it with.
    ///
    /// # Panics
    /// There is none of that name.
    #[must_use]
    #[track_caller]
    pub fn get(&self, name: &str) -> u64 {
        if name == "refused" {
            let refusals = self.0.iter().filter(|(name, _)| name.starts_with(REFUSALS));
            return refusals.map(|(_, count)| count).sum();
        }
        let slow = |action, reason| {
            format!("tidegate_slow_peer_actions_total{{action=\"{action}\",reason=\"{reason}\"}}")
        };
        let shown = match name {
            "refused_head_timeout" => format!("{REFUSALS}{{reason=\"head_timeout\"}}"),
            "refused_decision_timeout" => format!("{REFUSALS}{{reason=\"decision_timeout\"}}"),
            "slow_peers_closed" => slow("close", "backlog"),
            "slow_peers_paused" => slow("pause", "backlog"),
            "peers_stalled" => slow("drop_peer", "stalled"),
            "slow_dropped_newest" => slow("drop_newest", "backlog"),
            "slow_dropped_oldest" => slow("drop_oldest", "backlog"),
            "slow_conflated" => slow("conflate", "newer"),
            "bytes_in" => "tidegate_received_bytes_total".into(),
            "bytes_out" => "tidegate_sent_payload_bytes_total".into(),
            "messages_in" => "tidegate_received_messages_total".into(),
            "messages_out" => "tidegate_sent_messages_total".into(),
            "queued" => "tidegate_queued_messages".into(),
            "blocks_heads" | "blocks_gathered" | "blocks_sending" => {
                format!("tidegate_blocks_share_bytes{{share=\"{}\"}}", &name["blocks_".len()..])
            }
            _ => name.into(),
        };
        let plain = ["", "_total", "_bytes"].map(|end| format!("tidegate_{shown}{end}"));
        let all = [&shown].into_iter().chain(&plain);
        let found = all.filter_map(|name| self.0.get(name)).next();
        *found.unwrap_or_else(|| panic!("no counter {name}: {self:?}"))
    }

    /// Reads every line of a log that ends in `tidegate::counters: name value`; later ones replace
    /// earlier ones.
    pub(crate) fn read(log: &str) -> Self {
        let lines = log.lines().filter_map(|line| line.split_once(" tidegate::counters: "));
        let pairs = lines.filter_map(|(_, counter)| counter.rsplit_once(' '));
        let numbers = pairs.filter_map(|(name, value)| Some((name.into(), value.parse().ok()?)));
        Self(numbers.collect())
    }

    /// Whether all of them are there: the first and the last.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.contains_key("tidegate_connections") && self.0.contains_key("tidegate_loops_total")
    }
}
