//! What is compared.

use serde::Serialize;

/// A figure of one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// CPU of the server per echoed message, in microseconds.
    CpuPerMessage,
    /// 99th percentile of the latency of an echo, in microseconds.
    P99,
    /// User space of the server per silent connection, in bytes.
    UserBytes,
    /// The same when each connection has had a message echoed.
    UserBytesEchoed,
    /// What the kernel holds per connection beyond a socket that is only held, in bytes.
    KernelBytes,
    /// All that a connection takes, to one that is only held.
    Whole,
    /// Opening handshakes per second of the server's CPU, while clients connect all at once.
    BurstHandshakes,
    /// The same while all clients end and come back; the ends are part of it.
    Handshakes,
    /// Full handshakes of TLS, and WebSocket's within, per second of the server's CPU.
    FullHandshakes,
    /// The same, to what rustls alone is through with as a server, in a loop without sockets.
    FullToRustls,
    /// As the former, handshakes that resume.
    ResumedHandshakes,
    /// As the latter, of these.
    ResumedToRustls,
    /// The longest that a connected client waited for an echo meanwhile, in milliseconds.
    Stall,
    /// The longest that this client slept too long: the load generator's own stall.
    GeneratorStall,
    /// How long the server was ready to run in the storm, and had no core, in milliseconds.
    Waited,
    /// 99th percentile of the echo of those who are connected over TLS while others shake hands, to
    /// that in the quiet before.
    OthersOverTls,
    /// The same of those who are connected without TLS, if the server has that as well.
    OthersPlain,
    /// How long the server was ready to run meanwhile, and had no core, in milliseconds.
    RushWaited,
    /// The most memory that the server has had resident, in MiB.
    Peak,
    /// Private memory of the server after that, at rest, in MiB.
    Rest,
    /// 99th percentile of the time from before a message is sent until a connection of another
    /// shard has it, in microseconds.
    PushP99,
    /// The median of the same.
    PushP50,
    /// CPU of the server per delivery, in microseconds.
    CpuPerDelivery,
    /// 99th percentile of the time until the last subscriber has a message, in microseconds.
    LastSubscriber,
    /// Echoed messages per second.
    MessagesPerSecond,
    /// Deliveries per second.
    DeliveriesPerSecond,
    /// CPU that the server used, in cores.
    ServerCores,
    /// CPU that the load generator used, in cores.
    GeneratorCores,
    /// 99th percentile of how late the load generator sent, in microseconds.
    Lateness,
    /// Messages that were due and never sent.
    Unsent,
}

impl Metric {
    /// Its name and unit, for the head of a column.
    #[must_use]
    pub fn head(self) -> &'static str {
        match self {
            Self::CpuPerMessage => "CPU us/message",
            Self::P99 => "p99 us",
            Self::MessagesPerSecond => "messages/s",
            Self::ServerCores => "server cores",
            Self::GeneratorCores => "generator cores",
            Self::UserBytes => "user B",
            Self::UserBytesEchoed => "user B, echoed",
            Self::KernelBytes => "kernel B beyond",
            Self::Whole => "all, to held",
            Self::BurstHandshakes => "handshakes/CPU s, bursts",
            Self::Handshakes => "handshakes/CPU s, reconnect",
            Self::FullHandshakes => "full/CPU s",
            Self::FullToRustls => "full/CPU s, to rustls alone",
            Self::ResumedHandshakes => "resumed/CPU s",
            Self::ResumedToRustls => "resumed/CPU s, to rustls alone",
            Self::Stall => "longest stall ms",
            Self::GeneratorStall => "of the generator ms",
            Self::Waited => "without a core ms",
            Self::OthersOverTls => "p99 in the rush to quiet, TLS",
            Self::OthersPlain => "p99 in the rush to quiet, plain",
            Self::RushWaited => "without a core ms, rush",
            Self::Lateness => "generator late, p99 us",
            Self::Unsent => "never sent",
            Self::Peak => "peak MiB",
            Self::Rest => "at rest MiB",
            Self::PushP99 => "push p99 us",
            Self::PushP50 => "push p50 us",
            Self::CpuPerDelivery => "CPU us/delivery",
            Self::LastSubscriber => "last subscriber p99 us",
            Self::DeliveriesPerSecond => "deliveries/s",
        }
    }

    /// Whether its ratio to the same figure of another server means something. What it does not is
    /// shown for the context.
    #[must_use]
    pub fn has_ratio(self) -> bool {
        matches!(
            self,
            Self::CpuPerMessage
                | Self::P99
                | Self::BurstHandshakes
                | Self::Handshakes
                | Self::FullHandshakes
                | Self::ResumedHandshakes
                | Self::CpuPerDelivery
                | Self::LastSubscriber
        )
    }
}
