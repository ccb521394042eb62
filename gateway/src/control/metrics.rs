//! What is measured, as Prometheus has it: names, kinds, labels.
//!
//! Every counter of a shard is in here by itself, as `counted` says. METRICS.md lists what comes
//! out, and a test holds it to that.

mod access;
mod counted;
mod process;
mod tls;
mod tokens;

use super::health::Readiness;
use super::tally::{Snapshot, Tally};
use super::{ControlRoom, overview};
use crate::access_log::AccessCounts;
use crate::bill::{Bill, Owner};
use crate::kernel::{Driver, idle_bytes};
use crate::logging::{self, Lost};
use crate::shard::{BUCKETS, Counters, Histogram, Vitals};
use crate::steering::ReloadCounts;

use crate::checks::{HashCounts, IssuerFacts, RevocationCounts};
pub use counted::counts;
use tls::SeenTls;

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
    /// Of one that is no whole number.
    Real(f64),
    /// Of a histogram: the values, and what one of their units is.
    Histogram(Box<Histogram>, f64),
}

const NANOSECOND: f64 = 1e-9;

/// What a scrape sees.
pub(super) struct Seen {
    pub(super) by_shard: Vec<(Counters, Vitals)>,
    pub(super) bill: Bill,
    pub(super) allowed: u64,
    /// The most connections of a shard.
    pub(super) connections: u32,
    /// What messages hold, and the most that they may, in bytes.
    pub(super) messages_used: u64,
    pub(super) messages_allowed: u64,
    pub(super) ready: bool,
    pub(super) driver: Driver,
    pub(super) sockets: Option<u64>,
    pub(super) admin: Snapshot,
    /// Where a listener speaks it.
    pub(super) tls: Option<SeenTls>,
    /// How often another configuration was taken over.
    pub(super) reloads: ReloadCounts,
    /// Where a route asks for tokens.
    pub(super) issuers: Vec<IssuerFacts>,
    /// Where there are passwords.
    pub(super) hashing: Option<HashCounts>,
    pub(super) revocations: RevocationCounts,
    /// Where there is an access log.
    pub(super) access_log: Option<AccessCounts>,
}

impl Seen {
    pub(super) fn of(control: &ControlRoom) -> Self {
        let messages = control.shards.door().memory();
        Self {
            by_shard: control.handle.by_shard(),
            bill: control.reloader.in_force().bill.clone(),
            allowed: control.config().memory.limit().bytes,
            connections: control.config().limits.connections,
            messages_used: messages.used(),
            messages_allowed: messages.limit(),
            ready: Readiness::of(control) == Readiness::Ready,
            driver: control.chosen.driver,
            sockets: socket_memory(),
            admin: control.tally.counted(),
            tls: SeenTls::of(control),
            reloads: control.reloader.counts(),
            issuers: control.reloader.issuers(),
            hashing: control.reloader.hashing(),
            revocations: control.handle.revocation_counts(),
            access_log: control.reloader.access_counts(),
        }
    }
}

/// Everything that is measured.
#[must_use]
pub(super) fn families_of(seen: &Seen) -> Vec<Family> {
    let mut families = counted::families(&seen.by_shard);
    families.extend(vitals(&seen.by_shard));
    families.extend(seen.tls.iter().flat_map(|tls| tls::families(tls, &seen.by_shard)));
    families.extend(tokens::families(&seen.issuers));
    families.extend(tokens::passwords(seen.hashing));
    families.extend(tokens::of_revocations(seen.revocations));
    families.push(reloads(seen.reloads));
    families.extend(access::families(seen.access_log));
    families.extend(budget(seen));
    families.extend(ratios(seen));
    families.extend(of_gateway(seen));
    families.extend(process::families());
    families.extend(admin(&seen.admin));
    families
}

/// The families of a gateway of one shard with this bill, a certificate, an issuer of tokens,
/// passwords and an access log: their names, kinds and labels.
#[must_use]
pub fn families(bill: &Bill) -> Vec<Family> {
    families_of(&Seen {
        by_shard: vec![Default::default()],
        bill: bill.clone(),
        allowed: 0,
        connections: 0,
        messages_used: 0,
        messages_allowed: 0,
        ready: true,
        driver: Driver::IoUring,
        sockets: Some(0),
        admin: Tally::default().counted(),
        tls: Some(SeenTls::example()),
        reloads: ReloadCounts::default(),
        issuers: vec![IssuerFacts::default()],
        hashing: Some(HashCounts::default()),
        revocations: RevocationCounts::default(),
        access_log: Some(AccessCounts::default()),
    })
}

/// How often another configuration was taken over while the gateway ran.
fn reloads(ReloadCounts { done, refused }: ReloadCounts) -> Family {
    let help = "Times that the configuration was read anew: it is in force, or nothing has changed \
                because something was wrong with it.";
    let mut all = family("config_reloads", MetricKind::Counter, help);
    for (result, count) in [("done", done), ("refused", refused)] {
        let labels = vec![Label { name: "result", value: result.into() }];
        all.samples.push(Sample { labels, value: Value::Number(count) });
    }
    all
}

/// What shards show beside their counters.
fn vitals(by_shard: &[(Counters, Vitals)]) -> Vec<Family> {
    let times = |vitals: &Vitals| vitals.loop_nanoseconds;
    let completions = |vitals: &Vitals| vitals.completions;
    vec![
        counted::refusals(by_shard),
        counted::ends(by_shard),
        counted::proxy_refusals(by_shard),
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

/// The bill, and what is used of it.
fn budget(seen: &Seen) -> Vec<Family> {
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

/// How much of each bound is used, from 0 to 1: what to be warned by.
fn ratios(seen: &Seen) -> [Family; 4] {
    let help = "What a shard has of the connections that it may have, from 0 to 1.";
    let connections = family("connections_used_ratio", MetricKind::Gauge, help);
    let most = u64::from(seen.connections);
    let counters = seen.by_shard.iter().map(|(counters, _)| counters.connections).enumerate();
    let samples = counters
        .map(|(shard, count)| Sample { labels: vec![of_shard(shard)], value: ratio(count, most) });
    let connections = Family { samples: samples.collect(), ..connections };
    let help = "What a shard holds of the bytes that it may, by the lines of the bill that grow on \
                the way, from 0 to 1.";
    let mut lines = family("budget_used_ratio", MetricKind::Gauge, help);
    for (shard, (_, vitals)) in seen.by_shard.iter().enumerate() {
        lines.samples.extend(vitals.holdings.iter().map(|(owner, bytes)| {
            let allowed = seen.bill.lines().iter().find(|line| line.owner == owner);
            let labels = vec![Label::new("line", owner.name()), of_shard(shard)];
            Sample { labels, value: ratio(bytes, allowed.map_or(0, |line| line.bytes)) }
        }));
    }
    let help = "What messages on their way hold of the bytes that they may, from 0 to 1.";
    let messages = family("messages_used_ratio", MetricKind::Gauge, help);
    let messages = messages.value(ratio(seen.messages_used, seen.messages_allowed));
    let help = "What the process has resident of the bytes that it may hold, from 0 to 1.";
    let memory = family("memory_used_ratio", MetricKind::Gauge, help);
    let resident = overview::resident().unwrap_or(0);
    [connections, lines, messages, memory.value(ratio(resident, seen.allowed))]
}

/// How much of `most` is used; nothing of nothing.
fn ratio(used: u64, most: u64) -> Value {
    Value::Real(if most == 0 { 0.0 } else { used as f64 / most as f64 })
}

/// Which program it is.
fn build() -> Family {
    let help = "1 for the version of the program.";
    let mut family = family("build_info", MetricKind::Gauge, help);
    let labels = vec![Label::new("version", env!("CARGO_PKG_VERSION"))];
    family.samples.push(Sample { labels, value: Value::Number(1) });
    family
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

/// What is known of the gateway as a whole.
fn of_gateway(seen: &Seen) -> Vec<Family> {
    let connections: u64 = seen.by_shard.iter().map(|(counters, _)| counters.connections).sum();
    let user = overview::user_bytes(&seen.by_shard).checked_div(connections);
    let mut families = vec![
        family(
            "ready",
            MetricKind::Gauge,
            "1 while /readyz answers with 200: no shard drains, and one has a place.",
        )
        .one(seen.ready.into()),
        build(),
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
    fn one(self, value: u64) -> Self {
        self.value(Value::Number(value))
    }

    fn value(mut self, value: Value) -> Self {
        self.samples.push(Sample { labels: Vec::new(), value });
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
