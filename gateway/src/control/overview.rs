//! One look at everything, for the operator's page.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::answer::respond;
use super::certificates::{CertificateJson, soonest};
use super::clock::since_1970;
use super::drain::DrainJson;
use super::error::{Error, ErrorBody};
use super::health::Readiness;
use super::topics::TopicJson;
use super::{ChosenDriver, ControlRoom, Shared};
use crate::bill::{Line, Owner};
use crate::handler::{EndReason, Ground};
use crate::hub::{Errand, Outcome};
use crate::kernel::{SOCKET_BYTES, idle_bytes};
use crate::shard::{Counters, Vitals};
use crate::transport::tls::{HandshakeFailure, RECORD_ERRORS};

/// The most topics that are shown.
const TOPICS_MAX: usize = 20;

/// The most certificates.
const CERTIFICATES_MAX: usize = 20;

/// How long the shards may take to tell about them: a look is worth more soon than complete.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a look is good for others who ask.
const FRESH: Duration = Duration::from_secs(1);

/// The last look as JSON, and when it was taken.
#[derive(Default)]
pub(super) struct LastLook(Mutex<Option<(Instant, Bytes)>>);

/// Everything at one look. Counters are those of the shards' last tick: up to 250 ms old, and some
/// seconds in a shard without connections.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Overview {
    version: &'static str,
    /// The number of this node.
    node: u16,
    state: GatewayState,
    driver: DriverJson,
    /// Seconds since 1970, by the clock as it stands now.
    started_at: u64,
    /// Milliseconds since 1970.
    now: u64,
    limits: LimitsJson,
    memory_per_connection: PerConnection,
    /// What messages on their way, and those that are kept, hold in all.
    messages_memory: MessagesJson,
    memory: MemoryJson,
    shards: Vec<ShardJson>,
    /// The bill, line by line: what all shards may hold, and what the process has once.
    budget: Vec<LineJson>,
    /// The topics with the most subscribers, the largest first.
    topics: Vec<TopicJson>,
    /// All shards have told about their topics in time.
    topics_complete: bool,
    /// `null` if no listener speaks TLS.
    tls: Option<TlsJson>,
    /// The drain that is in force, if there is one.
    drain: Option<DrainJson>,
}

/// What has become of handshakes since the start, in all shards, and the certificates.
#[derive(Debug, Serialize, ToSchema)]
struct TlsJson {
    /// Those that were done.
    handshakes: u64,
    /// Those of them that a ticket has made short.
    resumed: u64,
    /// Those that are in progress now.
    in_progress: u64,
    /// Those that failed, by reason; those that did.
    failed: BTreeMap<&'static str, u64>,
    /// Connections that ended by a record behind that, likewise.
    broken: BTreeMap<&'static str, u64>,
    /// Up to 20 of the certificates in use, those that expire soonest first; /v1/certificates has
    /// all.
    certificates: Vec<CertificateJson>,
}

/// The largest topics of all shards.
struct LargestTopics {
    topics: Vec<TopicJson>,
    /// All shards have told about theirs in time.
    are_all: bool,
}

/// What the gateway does.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = State)]
pub(super) enum GatewayState {
    /// It serves.
    Ready,
    /// It serves, and all places are taken.
    Full,
    /// It was told to end.
    Draining,
}

/// How shards ask the kernel.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DriverJson {
    /// `io_uring` or `epoll`.
    kind: &'static str,
    /// Why, and what to do about it if that is not the best.
    why: String,
}

/// Bounds of the configuration.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LimitsJson {
    connections_per_shard: u32,
}

/// Bytes of one connection.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PerConnection {
    /// In user space, on average: records that were ever used, and blocks in use; `null` without
    /// connections.
    user: Option<u64>,
    /// In the kernel while it is idle: as measured, without what its socket buffers hold.
    kernel: u64,
    /// Of these, what a socket takes that is only held.
    floor: u64,
}

/// Bytes of messages.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MessagesJson {
    used: u64,
    limit: u64,
}

/// Memory of the process in bytes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MemoryJson {
    /// The most that may be held.
    allowed: u64,
    /// What the bill adds up to.
    bill: u64,
    /// What is resident (proc_pid_statm(5)), if that can be read.
    resident: Option<u64>,
}

/// What one shard has counted.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShardJson {
    shard: usize,
    /// By name, such as `connections_open`.
    counters: BTreeMap<&'static str, u64>,
    /// Requests refused, by reason.
    refusals: BTreeMap<&'static str, u64>,
    /// Connections that were open and have ended since the start, by reason.
    ends: BTreeMap<&'static str, u64>,
    /// Receive buffers that are free.
    buffers_free: u64,
    /// How long all turns of the loop took, in nanoseconds; `counters.loops` says how many.
    loop_nanoseconds: u64,
}

/// A line of the bill.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LineJson {
    owner: &'static str,
    /// Bytes; `null` where it is not known.
    used: Option<u64>,
    /// Bytes.
    allowed: u64,
}

/// Tells everything at one look, which is up to a second old.
#[utoipa::path(
    get, path = "/v1/overview", tag = "watching",
    responses(
        (status = 200, description = "Everything", body = Overview),
        (status = "4XX", description = "Not allowed", body = ErrorBody),
        (status = "5XX", description = "Try again", body = ErrorBody),
    )
)]
pub(super) async fn show(State(control): State<Shared>) -> Result<Response, Error> {
    // Whoever asks meanwhile waits for the same look.
    let mut last = control.last_look.0.lock().await;
    let fresh = last.as_ref().filter(|(at, _)| at.elapsed() < FRESH).map(|(_, json)| json.clone());
    let json = match fresh {
        Some(json) => json,
        None => {
            let place = control.answers.place().await?;
            let json = place.json(&control.look().await)?;
            last.insert((Instant::now(), json)).1.clone()
        }
    };
    Ok(respond(json))
}

impl ControlRoom {
    async fn look(&self) -> Overview {
        let by_shard = self.handle.by_shard();
        let LargestTopics { topics, are_all } = self.largest_topics().await;
        let connections: u64 = by_shard.iter().map(|(counters, _)| counters.connections).sum();
        let messages = self.shards.door().memory();
        let shards = by_shard.iter().enumerate();
        let now = since_1970();
        Overview {
            version: env!("CARGO_PKG_VERSION"),
            node: self.config().hub.node,
            state: match Readiness::of(self) {
                Readiness::Ready => GatewayState::Ready,
                Readiness::Full => GatewayState::Full,
                Readiness::Leaving(_) | Readiness::Draining => GatewayState::Draining,
            },
            driver: DriverJson::of(&self.chosen),
            started_at: now.saturating_sub(self.started.elapsed()).as_secs(),
            now: now.as_millis() as u64,
            limits: LimitsJson { connections_per_shard: self.config().limits.connections },
            memory_per_connection: PerConnection {
                user: user_bytes(&by_shard).checked_div(connections),
                kernel: idle_bytes(self.chosen.driver),
                floor: SOCKET_BYTES,
            },
            messages_memory: MessagesJson { used: messages.used(), limit: messages.limit() },
            memory: MemoryJson {
                allowed: self.config().memory.limit().bytes,
                bill: self.reloader.in_force().bill.total(),
                resident: resident(),
            },
            budget: self.budget(&by_shard),
            shards: shards.map(|(shard, (one, other))| ShardJson::new(shard, one, other)).collect(),
            topics,
            topics_complete: are_all,
            drain: self.drain_in_force(),
            tls: self.certificates.are_shown().then(|| self.tls(&by_shard)),
        }
    }

    fn tls(&self, by_shard: &[(Counters, Vitals)]) -> TlsJson {
        let Vitals { handshakes: in_progress, tls: counted, .. } = sum(by_shard);
        let reasons = HandshakeFailure::ALL.iter().map(|one| one.name());
        TlsJson {
            handshakes: counted.done.iter().sum(),
            resumed: counted.resumed,
            in_progress,
            failed: that_were(reasons.zip(counted.failed)),
            broken: that_were(RECORD_ERRORS.into_iter().zip(counted.broken)),
            certificates: soonest(&self.certificates.facts(), CERTIFICATES_MAX),
        }
    }

    async fn largest_topics(&self) -> LargestTopics {
        let deadline = Instant::now() + PATIENCE;
        let (mut topics, mut are_all) = (Vec::new(), true);
        for shard in 0..self.shards.door().shards() {
            are_all &= self.add_largest_of(shard, &mut topics, deadline).await;
        }
        LargestTopics { topics, are_all }
    }

    /// Adds the largest topics of a shard, which is asked in steps, so that others have their turn
    /// between them; returns whether it has told them all in time.
    async fn add_largest_of(
        &self,
        shard: usize,
        all: &mut Vec<TopicJson>,
        deadline: Instant,
    ) -> bool {
        let mut next = Some(0);
        while let Some(from) = next {
            let errand = Errand::LargestTopics { from };
            let answer = self.shards.ask_shard(shard, errand, deadline).await;
            let Ok(Outcome::Topics(topics, more)) = answer else { return false };
            all.extend(topics.into_iter().map(TopicJson::from));
            all.sort_by_key(|topic| std::cmp::Reverse(topic.subscribers));
            all.truncate(TOPICS_MAX);
            next = more;
        }
        true
    }

    fn budget(&self, by_shard: &[(Counters, Vitals)]) -> Vec<LineJson> {
        let held = sum(by_shard).holdings;
        let shards = by_shard.len() as u64;
        let messages = self.shards.door().memory();
        let line = |line: &Line| LineJson {
            owner: line.owner.name(),
            used: held.of(line.owner),
            allowed: line.bytes * shards,
        };
        let common = |line: &Line| LineJson {
            owner: line.owner.name(),
            used: (line.owner == Owner::Messages).then(|| messages.used()),
            allowed: line.bytes,
        };
        let bill = &self.reloader.in_force().bill;
        let of_shards = bill.lines().iter().map(line);
        of_shards.chain(bill.common().iter().map(common)).collect()
    }
}

impl DriverJson {
    pub(super) fn of(chosen: &ChosenDriver) -> Self {
        Self { kind: chosen.driver.name(), why: chosen.why.to_string() }
    }
}

impl ShardJson {
    fn new(shard: usize, counters: &Counters, vitals: &Vitals) -> Self {
        Self {
            shard,
            counters: counters.named().into_iter().collect(),
            refusals: Ground::ALL.map(Ground::name).into_iter().zip(vitals.refusals).collect(),
            ends: EndReason::ALL.map(EndReason::name).into_iter().zip(vitals.ends).collect(),
            buffers_free: vitals.buffers_free,
            loop_nanoseconds: vitals.loop_nanoseconds.sum,
        }
    }
}

/// Those counts that are more than 0.
fn that_were(counts: impl Iterator<Item = (&'static str, u64)>) -> BTreeMap<&'static str, u64> {
    counts.filter(|(_, count)| *count > 0).collect()
}

/// The vitals of all shards together.
fn sum(by_shard: &[(Counters, Vitals)]) -> Vitals {
    by_shard.iter().fold(Vitals::default(), |sum, (_, one)| sum.plus(one))
}

/// Bytes that connections hold in user space.
pub(super) fn user_bytes(by_shard: &[(Counters, Vitals)]) -> u64 {
    const OWNERS: [Owner; 5] =
        [Owner::Records, Owner::Blocks, Owner::Stalled, Owner::PeerAddresses, Owner::Accounts];
    let of = |vitals: &Vitals| -> u64 {
        OWNERS.into_iter().filter_map(|owner| vitals.holdings.of(owner)).sum()
    };
    by_shard.iter().map(|(_, vitals)| of(vitals)).sum()
}

/// Resident bytes of this process: the second number of its `statm`, in pages.
pub(super) fn resident() -> Option<u64> {
    const PAGE: u64 = 4096;
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    text.split(' ').nth(1)?.parse::<u64>().ok().map(|pages| pages * PAGE)
}
