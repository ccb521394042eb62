//! What is measured, as Prometheus has it: names, kinds, labels.
//!
//! Every counter of a shard is in here by itself, as `tidegate_NAME_total`; [`shape`] names those
//! that are gauges, or that are better one family with a label. METRICS.md lists what comes out,
//! and a test holds it to that.

use super::health::Readiness;
use super::tally::{Snapshot, Tally};
use super::{ControlRoom, overview};
use crate::bill::{Bill, Owner};
use crate::handler::Ground;
use crate::kernel::{Driver, idle_bytes};
use crate::logging::{self, Lost};
use crate::shard::{BUCKETS, Counters, Histogram, Vitals};

/// What kind of number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Values by size.
    Histogram,
}

/// A metric: everything of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Its name, without what its kind puts behind it.
    pub name: String,
    /// Its kind.
    pub kind: MetricKind,
    /// What it means.
    pub help: String,
    /// Its values, each with its labels.
    pub samples: Vec<Sample>,
}

/// A value and its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What tells it from the others of its family.
    pub labels: Vec<Label>,
    /// The value.
    pub value: Value,
}

/// A label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: String,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a counter or a gauge.
    Number(u64),
    /// Of a histogram: the values, and what one of their units is.
    Histogram(Box<Histogram>, f64),
}

/// How one counter of a shard is shown.
struct Shape {
    family: String,
    kind: MetricKind,
    help: &'static str,
    labels: Vec<Label>,
}

/// Counters that go down as well, and keep their names.
const GAUGES: [&str; 10] = [
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

const NANOSECOND: f64 = 1e-9;

/// What a scrape sees.
pub(super) struct Seen<'c> {
    pub(super) by_shard: Vec<(Counters, Vitals)>,
    pub(super) bill: &'c Bill,
    pub(super) allowed: u64,
    /// What messages hold, and the most that they may, in bytes.
    pub(super) messages_used: u64,
    pub(super) messages_allowed: u64,
    pub(super) ready: bool,
    pub(super) driver: Driver,
    pub(super) sockets: Option<u64>,
    pub(super) admin: Snapshot,
}

impl<'c> Seen<'c> {
    pub(super) fn of(control: &'c ControlRoom) -> Self {
        let messages = control.shards.door().memory();
        Self {
            by_shard: control.handle.by_shard(),
            bill: &control.bill,
            allowed: control.config.memory.limit().bytes,
            messages_used: messages.used(),
            messages_allowed: messages.limit(),
            ready: Readiness::of(control) == Readiness::Ready,
            driver: control.chosen.driver,
            sockets: socket_memory(),
            admin: control.tally.counted(),
        }
    }
}

/// Everything that is measured.
#[must_use]
pub(super) fn families_of(seen: &Seen<'_>) -> Vec<Family> {
    let mut families = counted(&seen.by_shard);
    families.extend(vitals(&seen.by_shard));
    families.extend(budget(seen));
    families.extend(process(seen));
    families.extend(admin(&seen.admin));
    families
}

/// The families of a gateway of one shard with this bill: their names, kinds and labels.
#[must_use]
pub fn families(bill: &Bill) -> Vec<Family> {
    families_of(&Seen {
        by_shard: vec![Default::default()],
        bill,
        allowed: 0,
        messages_used: 0,
        messages_allowed: 0,
        ready: true,
        driver: Driver::IoUring,
        sockets: Some(0),
        admin: Tally::default().counted(),
    })
}

/// The counters of all shards.
fn counted(by_shard: &[(Counters, Vitals)]) -> Vec<Family> {
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

/// What shards show beside their counters.
fn vitals(by_shard: &[(Counters, Vitals)]) -> Vec<Family> {
    let times = |vitals: &Vitals| vitals.loop_nanoseconds;
    let completions = |vitals: &Vitals| vitals.completions;
    vec![
        refusals(by_shard),
        family("receive_buffers_free", MetricKind::Gauge, "Receive buffers that are free.")
            .by_shard(by_shard, |vitals| Value::Number(vitals.buffers_free)),
        family(
            "loop_seconds",
            MetricKind::Histogram,
            "How long a turn of a shard's loop kept its connections waiting: its own work and the \
             kernel's, without sleep. What fewer than 32 operations take is left out of a turn \
             that sleeps afterwards.",
        )
        .by_shard(by_shard, |vitals| Value::Histogram(Box::new(times(vitals)), NANOSECOND)),
        family(
            "loop_completions",
            MetricKind::Histogram,
            "Completions that a turn of a shard's loop has handled.",
        )
        .by_shard(by_shard, |vitals| Value::Histogram(Box::new(completions(vitals)), 1.0)),
    ]
}

fn refusals(by_shard: &[(Counters, Vitals)]) -> Family {
    let mut all = family("refusals", MetricKind::Counter, "Requests refused, by reason.");
    for ground in Ground::ALL {
        all.samples.extend(by_shard.iter().enumerate().map(|(shard, (_, vitals))| Sample {
            labels: vec![Label::new("reason", ground.name()), of_shard(shard)],
            value: Value::Number(vitals.refusals[ground as usize]),
        }));
    }
    all
}

/// The bill, and what is used of it.
fn budget(seen: &Seen<'_>) -> Vec<Family> {
    let mut allowed = family(
        "budget_allowed_bytes",
        MetricKind::Gauge,
        "Bytes that a shard may hold, by their line on the bill.",
    );
    let mut used = family(
        "budget_used_bytes",
        MetricKind::Gauge,
        "Bytes that a shard holds, of the lines of the bill that grow on the way.",
    );
    for (shard, (_, vitals)) in seen.by_shard.iter().enumerate() {
        let sample = |owner: Owner, bytes| Sample {
            labels: vec![Label::new("line", owner.name()), of_shard(shard)],
            value: Value::Number(bytes),
        };
        let lines = seen.bill.lines().iter();
        allowed.samples.extend(lines.map(|line| sample(line.owner, line.bytes)));
        used.samples.extend(vitals.holdings.iter().map(|(owner, bytes)| sample(owner, bytes)));
    }
    vec![
        allowed,
        used,
        family(
            "messages_allowed_bytes",
            MetricKind::Gauge,
            "Bytes that messages on their way may hold.",
        )
        .one(seen.messages_allowed),
        family("messages_used_bytes", MetricKind::Gauge, "Bytes that messages on their way hold.")
            .one(seen.messages_used),
        family(
            "memory_allowed_bytes",
            MetricKind::Gauge,
            "Bytes that the process may hold: `memory`.",
        )
        .one(seen.allowed),
        family("memory_bill_bytes", MetricKind::Gauge, "Bytes that the bill adds up to.")
            .one(seen.bill.total()),
    ]
}

/// How shards ask the kernel: 1 for the one that they do it by.
fn driver(by: Driver) -> Family {
    let mut family = family("driver", MetricKind::Gauge, "1 for what shards ask the kernel by.");
    family.samples.extend(Driver::ALL.map(|kind| {
        let labels = vec![Label::new("kind", kind.name())];
        Sample { labels, value: Value::Number((kind == by).into()) }
    }));
    family
}

/// What is known of the process as a whole.
fn process(seen: &Seen<'_>) -> Vec<Family> {
    let connections: u64 = seen.by_shard.iter().map(|(counters, _)| counters.connections).sum();
    let user = overview::user_bytes(&seen.by_shard).checked_div(connections);
    let mut families = vec![
        family(
            "ready",
            MetricKind::Gauge,
            "1 while /readyz answers with 200: no shard drains, and one has a place.",
        )
        .one(seen.ready.into()),
        driver(seen.driver),
        family(
            "connection_user_bytes",
            MetricKind::Gauge,
            "Bytes in user space of one connection, on average; 0 without connections.",
        )
        .one(user.unwrap_or(0)),
        family(
            "connection_kernel_bytes",
            MetricKind::Gauge,
            "Bytes of kernel memory of one idle connection, as measured, without socket buffers.",
        )
        .one(idle_bytes(seen.driver)),
    ];
    let Lost { dropped, unwritten } = logging::lost();
    let mut lost = family(
        "log_lines_lost",
        MetricKind::Counter,
        "Lines of the log that were lost: they found its queue full, or could not be written.",
    );
    lost.samples.extend([("queue", dropped), ("write", unwritten)].map(|(reason, count)| Sample {
        labels: vec![Label::new("reason", reason)],
        value: Value::Number(count),
    }));
    families.push(lost);
    if let Some(bytes) = overview::resident() {
        let help = "Bytes that the process has resident.";
        families.push(family("resident_memory_bytes", MetricKind::Gauge, help).one(bytes));
    }
    if let Some(bytes) = seen.sockets {
        let help = "Bytes in socket buffers of all TCP sockets of this network namespace \
             (/proc/net/sockstat).";
        families.push(family("tcp_buffer_bytes", MetricKind::Gauge, help).one(bytes));
    }
    families
}

/// What the control thread has counted.
fn admin(counted: &Snapshot) -> [Family; 4] {
    let sample = |name, value: String, count: u64| Sample {
        labels: vec![Label { name, value }],
        value: Value::Number(count),
    };
    let mut requests = family(
        "admin_requests",
        MetricKind::Counter,
        "Requests to the admin address, by the status of their answer.",
    );
    let by_status = counted.requests.iter();
    requests
        .samples
        .extend(by_status.map(|(status, count)| sample("status", status.to_string(), *count)));
    let mut refusals = family(
        "admin_refusals",
        MetricKind::Counter,
        "What was asked of the admin address and not done, by the code of the error; each result \
         of a batch counts.",
    );
    let by_code = counted.refusals.iter();
    let by_code = by_code.map(|(code, count)| sample("code", (*code).to_owned(), *count));
    refusals.samples.extend(by_code);
    let help = "Connections to the admin address that are there now.";
    let connections = family("admin_connections", MetricKind::Gauge, help).one(counted.connections);
    let help = "Idle connections to the admin address that were ended to make room for others.";
    let gave_way = family("admin_gave_way", MetricKind::Counter, help).one(counted.gave_way);
    [requests, refusals, connections, gave_way]
}

fn family(name: &str, kind: MetricKind, help: &str) -> Family {
    let name = format!("tidegate_{name}");
    Family { name, kind, help: help.to_owned(), samples: Vec::new() }
}

fn of_shard(shard: usize) -> Label {
    Label { name: "shard", value: shard.to_string() }
}

impl Label {
    fn new(name: &'static str, value: &str) -> Self {
        Self { name, value: value.to_owned() }
    }
}

impl Family {
    fn one(mut self, value: u64) -> Self {
        self.samples.push(Sample { labels: Vec::new(), value: Value::Number(value) });
        self
    }

    fn by_shard(
        mut self,
        by_shard: &[(Counters, Vitals)],
        value: impl Fn(&Vitals) -> Value,
    ) -> Self {
        let samples = by_shard.iter().enumerate().map(|(shard, (_, vitals))| Sample {
            labels: vec![of_shard(shard)],
            value: value(vitals),
        });
        self.samples.extend(samples);
        self
    }

    /// The name of its samples: a counter's has `_total` behind it.
    #[must_use]
    pub fn full_name(&self) -> String {
        match self.kind {
            MetricKind::Counter => format!("{}_total", self.name),
            MetricKind::Gauge | MetricKind::Histogram => self.name.clone(),
        }
    }
}

/// The upper bound and the count of each bucket of a histogram; the last one has no bound.
pub(super) fn buckets(histogram: &Histogram, unit: f64) -> Vec<(f64, u64)> {
    let bound = |at: usize| match at {
        _ if at == BUCKETS - 1 => f64::INFINITY,
        _ => (1_u64 << at) as f64 * unit,
    };
    histogram.buckets.iter().enumerate().map(|(at, count)| (bound(at), *count)).collect()
}

/// What TCP sockets hold (`mem` of `TCP:`, in pages).
fn socket_memory() -> Option<u64> {
    const PAGE: u64 = 4096;
    let text = std::fs::read_to_string("/proc/net/sockstat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace().skip_while(|word| *word != "mem");
    words.nth(1)?.parse::<u64>().ok().map(|pages| pages * PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

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
