//! One look at everything, for the operator's page.

use std::collections::BTreeMap;
use std::fs;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::topics::TopicJson;
use super::{Control, Shared, ask};
use crate::budget::{KERNEL_IDLE, Limit};
use crate::hub::{Answer, Request};
use crate::shard::{Counters, HOLDINGS, REFUSALS, Vitals};

/// The most topics that are shown.
const TOPICS_MAX: usize = 20;

/// Everything at one look. Counters are those of the shards' last tick: up to 250 ms old, and some
/// seconds in a shard without connections.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Overview {
    version: &'static str,
    /// Whether the gateway serves, and does not drain.
    ready: bool,
    totals: ShardJson,
    shards: Vec<ShardJson>,
    memory: MemoryJson,
    per_connection: PerConnection,
    /// The topics with the most subscribers, the largest first.
    largest_topics: Vec<TopicJson>,
    /// All shards have told about their topics in time.
    topics_complete: bool,
}

/// What one shard, or all together, have counted.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShardJson {
    /// By the names of METRICS.md's sources, such as `connections_open`.
    counters: BTreeMap<&'static str, u64>,
    /// Requests refused, by reason.
    refusals: BTreeMap<&'static str, u64>,
    /// Receive buffers that are free.
    buffers_free: u64,
    /// How many turns the loop has made, and how long all of them took, in nanoseconds.
    loops: u64,
    loop_nanoseconds: u64,
}

/// Memory in bytes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MemoryJson {
    /// The most that may be held.
    allowed: u64,
    /// What the bill adds up to.
    bill: u64,
    /// What the process has resident (proc_pid_statm(5)), if that can be read.
    resident: Option<u64>,
    /// What messages on their way, and those that are kept, hold.
    messages: UsedJson,
    /// The bill of one shard, line by line, with what all shards use of it, where that is known.
    lines: Vec<LineJson>,
}

/// Bytes used and allowed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsedJson {
    used: u64,
    allowed: u64,
}

/// A line of the bill.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LineJson {
    owner: &'static str,
    /// Of all shards; `null` where it is not known.
    used: Option<u64>,
    /// Of all shards.
    allowed: u64,
}

/// Bytes of one connection, as an average; `null` without connections.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PerConnection {
    /// In user space: records that were ever used, and blocks in use.
    user: Option<u64>,
    /// In the kernel while it is idle: measured, without what its socket buffers hold.
    kernel_idle: u64,
}

/// Tells everything at one look.
#[utoipa::path(
    get, path = "/v1/overview", tag = "watching",
    responses((status = 200, description = "Everything", body = Overview))
)]
pub(super) async fn show(State(control): State<Shared>) -> Json<Overview> {
    let by_shard = control.handle.by_shard();
    let (largest_topics, topics_complete) = control.largest_topics().await;
    let counters: Counters = by_shard.iter().map(|(counters, _)| *counters).sum();
    Json(Overview {
        version: env!("CARGO_PKG_VERSION"),
        ready: control.handle.is_serving(),
        totals: ShardJson::new(&counters, &sum(&by_shard)),
        shards: by_shard
            .iter()
            .map(|(counters, vitals)| ShardJson::new(counters, vitals))
            .collect(),
        memory: control.memory(&by_shard),
        per_connection: PerConnection {
            user: user_bytes(&by_shard).checked_div(counters.connections),
            kernel_idle: KERNEL_IDLE,
        },
        largest_topics,
        topics_complete,
    })
}

impl Control {
    /// The largest topics of all shards, and whether all have told theirs.
    async fn largest_topics(&self) -> (Vec<TopicJson>, bool) {
        let deadline = Instant::now() + ask::PATIENCE;
        let (mut all, mut complete) = (Vec::new(), true);
        for shard in 0..self.shards.door().shards() {
            match self.shards.ask_shard(shard, Request::LargestTopics, deadline).await {
                Ok(Answer::Topics(topics, _)) => {
                    all.extend(topics.into_iter().map(TopicJson::from))
                }
                _ => complete = false,
            }
        }
        all.sort_by_key(|topic: &TopicJson| std::cmp::Reverse(topic.subscribers));
        all.truncate(TOPICS_MAX);
        (all, complete)
    }

    fn memory(&self, by_shard: &[(Counters, Vitals)]) -> MemoryJson {
        let held = sum(by_shard).holdings;
        let used = |owner| HOLDINGS.iter().position(|held| *held == owner).map(|at| held[at]);
        let shards = by_shard.len() as u64;
        let lines = self.bill.lines().iter().map(|line| LineJson {
            owner: line.owner,
            used: used(line.owner),
            allowed: line.bytes * shards,
        });
        let messages = self.shards.door().memory();
        MemoryJson {
            allowed: Limit::of(self.config.memory).bytes,
            bill: self.bill.total(),
            resident: resident(),
            messages: UsedJson { used: messages.used(), allowed: messages.limit() },
            lines: lines.collect(),
        }
    }
}

impl ShardJson {
    fn new(counters: &Counters, vitals: &Vitals) -> Self {
        Self {
            counters: counters.named().into_iter().collect(),
            refusals: REFUSALS.into_iter().zip(vitals.refusals).collect(),
            buffers_free: vitals.buffers_free,
            loops: vitals.loop_nanoseconds.count(),
            loop_nanoseconds: vitals.loop_nanoseconds.sum,
        }
    }
}

/// The vitals of all shards together.
fn sum(by_shard: &[(Counters, Vitals)]) -> Vitals {
    by_shard.iter().fold(Vitals::default(), |sum, (_, one)| sum.plus(one))
}

/// Bytes that connections hold in user space.
pub(super) fn user_bytes(by_shard: &[(Counters, Vitals)]) -> u64 {
    let of = |vitals: &Vitals| {
        let lines = HOLDINGS.iter().zip(vitals.holdings);
        let of_connections = lines.filter(|(owner, _)| {
            matches!(**owner, "connection records" | "blocks" | "stalled peers" | "peer addresses")
        });
        of_connections.map(|(_, bytes)| bytes).sum::<u64>()
    };
    by_shard.iter().map(|(_, vitals)| of(vitals)).sum()
}

/// Resident bytes of this process: the second number of its `statm`, in pages.
pub(super) fn resident() -> Option<u64> {
    const PAGE: u64 = 4096;
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    text.split(' ').nth(1)?.parse::<u64>().ok().map(|pages| pages * PAGE)
}
