//! What shards count, by the names that it is shown with: in `/metrics`, and in the log when
//! SIGUSR1 asks for it.
//!
//! Every counter is there by itself, as `tidegate_NAME_total`; [`shape`] names those that are
//! gauges, or that are better one family with a label.

use super::{Family, Label, MetricKind, Sample, Value, family, of_shard, tls, tokens};
use crate::handler::{EndReason, Ground};
use crate::shard::{Counters, ProxyRefusal, Vitals};
use crate::steering::Handle;
use crate::transport::tls::TlsCounts;

/// How one counter of a shard is shown.
struct Shape {
    family: String,
    kind: MetricKind,
    help: &'static str,
    labels: Vec<Label>,
}

/// Counters that go down as well, and keep their names.
const GAUGES: [&str; 13] = [
    "drain_left",
    "routes_gone",
    "memory_level",
    "mail_waiting",
    "backlog_bytes",
    "connections",
    "connections_open",
    "subscriptions",
    "topics",
    "topics_home",
    "history_bytes",
    "present",
    "undecided",
];

/// What all shards together have counted, by name and labels as in `/metrics`, but for the shard.
#[must_use]
pub fn counts(handle: &Handle) -> Vec<(String, u64)> {
    let mut all = sums(&handle.by_shard());
    for family in tokens::of_revocations(handle.revocation_counts()) {
        for sample in &family.samples {
            if let Value::Number(number) = sample.value {
                all.push((name_in_all(&family, &sample.labels), number));
            }
        }
    }
    all
}

fn sums(by_shard: &[(Counters, Vitals)]) -> Vec<(String, u64)> {
    let mut sums: Vec<(String, u64)> = Vec::new();
    let first = [refusals(by_shard), proxy_refusals(by_shard)];
    let tls = if has_tls(by_shard) { tls::counters(by_shard) } else { Vec::new() };
    for family in first.into_iter().chain(families(by_shard)).chain(tls) {
        for sample in &family.samples {
            let Value::Number(number) = sample.value else { continue };
            let name = name_in_all(&family, &sample.labels);
            match sums.iter_mut().find(|(of, _)| *of == name) {
                Some((_, sum)) => *sum += number,
                None => sums.push((name, number)),
            }
        }
    }
    sums
}

/// Whether anybody has come by TLS.
fn has_tls(by_shard: &[(Counters, Vitals)]) -> bool {
    by_shard.iter().any(|(_, vitals)| vitals.tls != TlsCounts::default())
}

/// The name of a sample of all shards together, such as `tidegate_refusals_total{reason="full"}`.
fn name_in_all(family: &Family, labels: &[Label]) -> String {
    let labels = labels.iter().filter(|label| label.name != "shard");
    let labels: Vec<String> =
        labels.map(|label| format!("{}=\"{}\"", label.name, label.value)).collect();
    let name = family.full_name();
    if labels.is_empty() { name } else { format!("{name}{{{}}}", labels.join(",")) }
}

/// The counters of all shards.
pub(super) fn families(by_shard: &[(Counters, Vitals)]) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    let names = Counters::default().named();
    for (at, ((name, _), doc)) in names.iter().zip(Counters::DOCS).enumerate() {
        let Some(shape) = shape(name, doc) else { continue };
        let samples = by_shard.iter().enumerate().map(|(shard, (counters, _))| {
            let labels = shape.labels.iter().cloned().chain([of_shard(shard)]).collect();
            Sample { labels, value: Value::Number(counters.named()[at].1) }
        });
        match families.iter_mut().find(|family| family.name == shape.family) {
            Some(family) => family.samples.extend(samples),
            None => families.push(Family {
                samples: samples.collect(),
                name: shape.family,
                kind: shape.kind,
                help: shape.help.trim().to_owned(),
            }),
        }
    }
    families
}

/// How a counter is shown; `None` if another metric says the same.
fn shape(name: &str, doc: &'static str) -> Option<Shape> {
    const SLOW: &str = "What was done about slow peers: reading from them was paused, they were \
         ended (over WebSocket with 1013), dropped because they took nothing at all, or a message \
         was left out.";
    let plain = |family: &str, kind, help| {
        Some(Shape { family: format!("tidegate_{family}"), kind, help, labels: Vec::new() })
    };
    let slow = |action, reason| {
        Some(Shape {
            family: "tidegate_slow_peer_actions".into(),
            kind: MetricKind::Counter,
            help: SLOW,
            labels: vec![Label::new("action", action), Label::new("reason", reason)],
        })
    };
    let share = |share| {
        Some(Shape {
            family: "tidegate_blocks_share_bytes".into(),
            kind: MetricKind::Gauge,
            help: "Bytes in pooled blocks now, by what they are for: request heads, what must be \
                   whole, what is to be sent.",
            labels: vec![Label::new("share", share)],
        })
    };
    match name {
        // The refusals by reason say these.
        "refused" | "refused_head_timeout" | "refused_decision_timeout" => None,
        _ if GAUGES.contains(&name) => plain(name, MetricKind::Gauge, doc),
        "queued" => plain("queued_messages", MetricKind::Gauge, doc),
        "blocks_heads" => share("heads"),
        "blocks_gathered" => share("gathered"),
        "blocks_sending" => share("sending"),
        "blocks_used" | "blocks_used_max" => {
            plain(&format!("{name}_bytes"), MetricKind::Gauge, doc)
        }
        "bytes_in" => plain("received_bytes", MetricKind::Counter, doc),
        "bytes_out" => plain("sent_payload_bytes", MetricKind::Counter, doc),
        "messages_in" => plain("received_messages", MetricKind::Counter, doc),
        "messages_out" => plain("sent_messages", MetricKind::Counter, doc),
        "slow_peers_closed" => slow("close", "backlog"),
        "slow_peers_paused" => slow("pause", "backlog"),
        "peers_stalled" => slow("drop_peer", "stalled"),
        "slow_dropped_newest" => slow("drop_newest", "backlog"),
        "slow_dropped_oldest" => slow("drop_oldest", "backlog"),
        "slow_conflated" => slow("conflate", "newer"),
        _ => plain(name, MetricKind::Counter, doc),
    }
}

/// Requests that were refused.
pub(super) fn refusals(by_shard: &[(Counters, Vitals)]) -> Family {
    let mut all = family("refusals", MetricKind::Counter, "Requests refused, by reason.");
    for ground in Ground::ALL {
        all.samples.extend(by_shard.iter().enumerate().map(|(shard, (_, vitals))| Sample {
            labels: vec![Label::new("reason", ground.name()), of_shard(shard)],
            value: Value::Number(vitals.refusals[ground as usize]),
        }));
    }
    all
}

/// Connections that did not come through a proxy as they should.
pub(super) fn proxy_refusals(by_shard: &[(Counters, Vitals)]) -> Family {
    let help = "Connections to listeners behind proxies that were closed without an answer, by \
                reason: their address is not listed, or their header is late, wrong or there \
                twice.";
    let mut all = family("proxy_refused", MetricKind::Counter, help);
    for refusal in ProxyRefusal::all() {
        all.samples.extend(by_shard.iter().enumerate().map(|(shard, (_, vitals))| Sample {
            labels: vec![Label::new("reason", refusal.name()), of_shard(shard)],
            value: Value::Number(vitals.proxy_refusals[refusal.place()]),
        }));
    }
    all
}

/// Connections that have ended.
pub(super) fn ends(by_shard: &[(Counters, Vitals)]) -> Family {
    let help = "Connections that were open and have ended, by reason.";
    let mut all = family("ends", MetricKind::Counter, help);
    for reason in EndReason::ALL {
        all.samples.extend(by_shard.iter().enumerate().map(|(shard, (_, vitals))| Sample {
            labels: vec![Label::new("reason", reason.name()), of_shard(shard)],
            value: Value::Number(vitals.ends[reason as usize]),
        }));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_added_up_and_labels_stay() {
        let of = |slow_conflated| Counters { slow_conflated, loops: 1, ..Counters::default() };
        let sums = sums(&[(of(2), Vitals::default()), (of(3), Vitals::default())]);
        let of = |name: &str| sums.iter().find(|(other, _)| other == name).map(|(_, sum)| *sum);
        let conflated = "tidegate_slow_peer_actions_total{action=\"conflate\",reason=\"newer\"}";
        assert_eq!(of(conflated), Some(5), "{sums:?}");
        assert_eq!(of("tidegate_refusals_total{reason=\"full\"}"), Some(0));
        assert_eq!(of("tidegate_connections"), Some(0));
        assert_eq!(sums.last(), Some(&("tidegate_loops_total".to_owned(), 2)));
    }

    #[test]
    fn what_is_so_now_is_a_gauge() {
        for ((name, _), doc) in Counters::default().named().iter().zip(Counters::DOCS) {
            let Some(shape) = shape(name, doc) else { continue };
            let is_of_now = doc.contains(" now") || doc.contains("at once");
            let is_gauge = shape.kind == MetricKind::Gauge;
            let not_at_once = *name == "sends_short";
            assert!(is_gauge == is_of_now || not_at_once, "{name}: add it to GAUGES? {doc}");
        }
    }
}
