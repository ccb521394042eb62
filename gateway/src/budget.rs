//! The bill: everything that the shards may ever hold, line by line, before any of it is reserved.
//!
//! After the start no buffer and no queue of a shard grows past its line. Not on the bill are the
//! program itself, the stacks of its few other threads, and what an embedding program's own
//! handlers hold.

use std::fmt;

use tidegate_proto::websocket::deflate::{Deflater, Inflater};

use crate::config::stack::TcpLayer;
use crate::config::units::Size;
use crate::config::{Config, Handler, Limits, Listener, Memory};
use crate::connection::{Connection, FrameId, Frames};
use crate::control;
use crate::hub;
use crate::kernel::{self, ACCEPT_BATCH, BufferId, Completion, Generation, Peer, Slot, Uring};
use crate::logging;
use crate::machine::{self, MemoryBound, MemorySource};
use crate::memory::{Blocks, Compressor, MIN_BLOCK, PIECE};
use crate::names::Name;
use crate::shard::{self, Deliveries, Details, Shard};

/// The stack of a shard's thread, in bytes. Nothing there recurses, and what is large is pooled.
pub const THREAD_STACK: usize = 512 << 10;

/// Bytes of kernel memory of a socket that is connected and only held, measured on Linux 6.18: what
/// no gateway can do without.
pub const KERNEL_FLOOR: u64 = 3640;

/// Bytes of kernel memory of an idle connection, measured likewise: beside the socket's objects, 40
/// of its direct descriptor and 256 of the poll that is armed on it.
pub const KERNEL_IDLE: u64 = KERNEL_FLOOR + 40 + 256;

/// What the kernel maps memory by.
const PAGE: u64 = 4096;
/// A submission of a ring, `struct io_uring_sqe`.
const SUBMISSION: u64 = 64;
/// A completion of a ring, `struct io_uring_cqe`.
const COMPLETION: u64 = 16;
/// What stands before the completions in their mapping, `struct io_rings`: a page at most.
const RINGS: u64 = PAGE;
/// An entry of the ring of provided buffers, `struct io_uring_buf`.
const PROVIDED: u64 = 16;
/// A listener's socket, timings and state of accepting.
const LISTENER: u64 = 128;
/// Where an accept in flight writes the peer's address, and its place in the list of free ones.
const ACCEPT: u64 = 32 + 4;
/// A handler and its part of the router, besides its path.
const ROUTE: u64 = 1024;
/// A line in the log's queue, besides its text.
const LOG_ENTRY: u64 = 64;

/// A name of a topic, as long as it may be, with its counts of references.
const NAME_BYTES: usize = Name::LENGTH_MAX + 16;

/// What decides how many subscriptions may get what they missed at once.
const RECOVERING: &[&str] =
    &["hub.subscriptions", "limits.connections", "hub.subscriptions_per_connection"];

/// What decides how much mail may wait.
const WAITING: &[&str] = &[
    "hub.subscriptions",
    "limits.connections",
    "hub.present",
    "hub.subscriptions_per_connection",
    "hub.mailbox",
    "shards",
];

/// What `memory = "auto"` allows if nothing says how much there is.
const LIMIT_UNKNOWN: u64 = 4 << 30;

/// Everything that the shards of a configuration may ever hold.
///
/// Displayed, it is a table with a line for each owner.
#[derive(Clone, Debug)]
pub struct Bill {
    lines: Vec<Line>,
    /// What the process has once, however many shards there are.
    common: Vec<Line>,
    shards: u64,
    kernel: Kernel,
}

/// What one owner may hold: in each shard, or in the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The owner.
    pub owner: &'static str,
    /// Bytes in each shard, or in the process.
    pub bytes: u64,
    /// The keys of the configuration that decide how much, the weightiest first.
    pub keys: &'static [&'static str],
}

/// What the kernel may hold for the connections of all shards, in bytes. It is not part of the
/// sum: the kernel bounds it in its own ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kernel {
    connections: u64,
    /// Of one connection: both socket buffers of the listener that has the largest.
    buffers: u64,
}

/// The most that a bill may come to. Displayed, it says why it is so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How much, in bytes.
    pub bytes: u64,
    /// Where it comes from.
    pub origin: LimitOrigin,
}

/// Where a [`Limit`] comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitOrigin {
    /// The configuration says how much.
    Configured,
    /// It is three quarters of this.
    ShareOf(MemoryBound),
    /// What the process may have could not be read, so it is a guess.
    Guessed,
}

/// The bill is over the limit. Displayed, it lists all lines, and the keys to lower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverBudget {
    /// Bytes on the bill.
    pub total: u64,
    /// What is allowed.
    pub limit: Limit,
    /// How many shards share the bill.
    pub shards: u64,
    /// All lines, the largest first, those of shards with what all shards hold together.
    pub lines: Vec<Line>,
}

impl Bill {
    /// The bill of `shards` shards of this configuration.
    #[must_use]
    pub fn new(config: &Config, shards: usize) -> Self {
        let limits = &config.limits;
        let mut lines = Vec::new();
        lines.extend(memory(limits));
        lines.extend(bookkeeping(limits));
        lines.extend(queues(limits));
        lines.extend(fixed(config));
        lines.extend(hub_tables(config, shards));
        lines.retain(|line| line.bytes > 0);
        let shards = shards as u64;
        let kernel = Kernel {
            connections: u64::from(limits.connections) * shards,
            buffers: socket_buffers(config),
        };
        Self { lines, common: common(config), shards, kernel }
    }

    /// The lines of one shard.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Bytes that one shard may hold.
    #[must_use]
    pub fn per_shard(&self) -> u64 {
        self.lines.iter().map(|line| line.bytes).sum()
    }

    /// Bytes that all shards, and what the process has once, may hold.
    #[must_use]
    pub fn total(&self) -> u64 {
        let common: u64 = self.common.iter().map(|line| line.bytes).sum();
        self.per_shard() * self.shards + common
    }

    /// The bill in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let Kernel { connections, .. } = self.kernel;
        format!(
            "{} may hold {} bytes in user space, and {} connections that are idle {} in the kernel",
            plural(self.shards),
            grouped(self.total()),
            grouped(connections),
            grouped(connections * KERNEL_IDLE),
        )
    }

    /// Checks that the total is at most what `memory` allows on this machine.
    ///
    /// # Errors
    ///
    /// It is more.
    pub fn check(&self, memory: Memory) -> Result<(), OverBudget> {
        self.check_against(Limit::of(memory))
    }

    /// Checks that the total is at most `limit`.
    ///
    /// # Errors
    ///
    /// It is more.
    pub fn check_against(&self, limit: Limit) -> Result<(), OverBudget> {
        if self.total() <= limit.bytes {
            return Ok(());
        }
        let of_all = |line: &Line| Line { bytes: line.bytes * self.shards, ..line.clone() };
        let mut lines: Vec<Line> = self.lines.iter().map(of_all).collect();
        lines.extend(self.common.iter().cloned());
        lines.sort_by_key(|line| std::cmp::Reverse(line.bytes));
        Err(OverBudget { total: self.total(), limit, shards: self.shards, lines })
    }
}

impl Limit {
    /// What `memory` allows; for `auto`, on this machine as it is now.
    #[must_use]
    pub fn of(memory: Memory) -> Self {
        match memory {
            Memory::Bytes(bytes) => Self { bytes, origin: LimitOrigin::Configured },
            Memory::Auto => Self::within(machine::memory()),
        }
    }

    /// What `auto` allows of what the process may have.
    fn within(bound: Option<MemoryBound>) -> Self {
        match bound {
            // A quarter is left for the kernel, which holds the sockets, and for everyone else.
            Some(bound) => Self { bytes: bound.bytes / 4 * 3, origin: LimitOrigin::ShareOf(bound) },
            None => Self { bytes: LIMIT_UNKNOWN, origin: LimitOrigin::Guessed },
        }
    }
}

/// The memory that operations name.
fn memory(limits: &Limits) -> [Line; 3] {
    let stride = kernel::buffer_stride(limits.receive_buffer as usize) as u64;
    let receive = pages(u64::from(limits.receive_buffers) * stride);
    [
        line("receive buffers", receive, &["limits.receive_buffer", "limits.receive_buffers"]),
        line("staging", pages(limits.staging.into()), &["limits.staging"]),
        line("blocks", pages(limits.blocks.into()), &["limits.blocks"]),
    ]
}

/// What is kept of each connection, buffer and block.
fn bookkeeping(limits: &Limits) -> [Line; 10] {
    let connections = u64::from(limits.slots());
    let records = connections * size_of::<Connection>() as u64;
    let set = 8 * connections.div_ceil(64);
    let stalled = hash_table(limits.slots(), Shard::<Uring>::STALLED_BYTES);
    let halves = hash_table(limits.slots(), Shard::<Uring>::HALF_BYTES);
    let free = u64::from(limits.receive_buffers) * size_of::<BufferId>() as u64;
    let blocks = Blocks::overhead(limits.blocks) as u64;
    [
        line("connection records", records, &["limits.connections"]),
        line("deadlines", connections, &["limits.connections"]),
        line("set of ready connections", set, &["limits.connections"]),
        line("set of those who come or go", set, &["limits.connections"]),
        line("set of vacant slots", set, &["limits.connections"]),
        line("set of held publishers", set, &["limits.connections"]),
        line("stalled peers", stalled, &["limits.connections"]),
        line("half messages", halves, &["limits.connections"]),
        line("list of free buffers", free, &["limits.receive_buffers"]),
        line("block bookkeeping", blocks, &["limits.blocks"]),
    ]
}

/// The queues between a shard and its kernel.
fn queues(limits: &Limits) -> [Line; 7] {
    let connections = u64::from(limits.slots());
    let submissions = u64::from(shard::SUBMISSIONS) * SUBMISSION;
    let completions = u64::from(shard::completions(limits));
    let completion_queue = completions * COMPLETION + RINGS;
    let provided = pages(u64::from(limits.receive_buffers) * PROVIDED);
    let event = size_of::<Completion>() as u64;
    // Each connection has at most one send in a batch, a frame of it to be released, a place in the
    // list of those that failed and in that of those that go on, and one deadline.
    let lists = size_of::<(Slot, Generation)>() + size_of::<Slot>() + size_of::<FrameId>();
    let send = size_of::<shard::BatchSend>() + lists;
    // Each buffer may hold input that is put off, and has a count of what holds it.
    let put_off = u64::from(limits.receive_buffers) * (Shard::<Uring>::PUT_OFF_BYTES as u64 + 1);
    [
        line("submission queue", submissions, &[]),
        line("completion queue", completion_queue, &["limits.connections"]),
        line("list of events", completions * event, &["limits.connections"]),
        line("list of the batch", grown(connections, send as u64), &["limits.connections"]),
        line("sets of passed deadlines", 2 * 8 * connections.div_ceil(64), &["limits.connections"]),
        line("list of input put off", put_off, &["limits.receive_buffers"]),
        line("provided-buffer ring", provided, &["limits.receive_buffers"]),
    ]
}

/// What a shard has once.
fn fixed(config: &Config) -> [Line; 7] {
    // A whole head may come in one receive behind the better part of it.
    let head = u64::from(config.limits.request_head) + u64::from(config.limits.receive_buffer);
    let listeners = config.listeners.len() as u64 * LISTENER + ACCEPT_BATCH as u64 * ACCEPT;
    let routes = config.routes.iter().map(|route| ROUTE + 4 * route.path.len() as u64).sum();
    [
        line("request head", head, &["limits.receive_buffer", "limits.request_head"]),
        line("peer addresses", peers(config), &["limits.connections", "`log` of the listeners"]),
        line("decompressor", (Inflater::HEAP_BYTES + PIECE) as u64, &[]),
        line("compressors", compressors(config), &["`deflate_level` of the listeners"]),
        line("listeners and accepts", listeners, &["the number of listeners"]),
        line("routes and handlers", routes, &["the number of routes"]),
        line("thread stack", THREAD_STACK as u64, &[]),
    ]
}

/// What the hub keeps.
fn hub_tables(config: &Config, shards: usize) -> [Line; 10] {
    let (hub, limits) = (&config.hub, &config.limits);
    let connections = u64::from(limits.slots());
    let topic = (hub::TOPIC_BYTES + NAME_BYTES) as u64;
    let topics = u64::from(hub.topics) * topic + 2 * hash_table(hub.topics, 4);
    let subscribers = grown(u64::from(hub.subscriptions), size_of::<u32>() as u64);
    let subscriptions = u64::from(hub.subscriptions) * hub::SUBSCRIPTION_BYTES as u64 + subscribers;
    let members = grown(connections, (hub::MEMBER_BYTES + Details::BYTES) as u64);
    let queued = u64::from(hub.queued(limits.connections));
    let waiting = (queued + connections) * Frames::WAITING_BYTES as u64;
    // Each frame that waits has a block of 512 bytes at least.
    let frames = u64::from(limits.blocks / MIN_BLOCK) * Frames::FRAME_BYTES as u64;
    let queues = waiting + grown(connections, Frames::QUEUE_BYTES as u64) + frames;
    let mail = (hub::MAIL_BYTES + hub::LETTER_BYTES) as u64;
    let mailboxes = shards as u64 * u64::from(hub.mailbox) * mail;
    // While a mailbox is full, nobody who publishes is read from, and once as much as two hold waits
    // behind it, nobody who opens; what comes to wait then is that connections have ended, which each
    // shard may have to hear of those who were present, one question for each that recovers, and as
    // many that were accepted as another shard had places.
    let per_connection = u64::from(hub.subscriptions_per_connection);
    let recovering = (connections * per_connection).min(hub.subscriptions.into());
    let ended = u64::from(hub.subscriptions) + u64::from(hub.present);
    let waiting = ended + recovering + 2 * u64::from(hub.mailbox) + u64::from(limits.connections);
    let told = u64::from(hub.present) * (shards as u64 - 1) * hub::MAIL_BYTES as u64;
    let mail_waiting = waiting * mail + told;
    let handed = grown(limits.connections.into(), hub::HANDED_BYTES as u64);
    let cursors = recovering * hub::Recoveries::CURSOR_BYTES as u64;
    let recoveries = cursors + 8 * connections.div_ceil(64);
    // As much as a mailbox holds may be on its way to connections.
    let deliveries = grown(u64::from(hub.mailbox), Deliveries::JOB_BYTES as u64);
    let present = u64::from(hub.present) * hub::PRESENT_BYTES as u64;
    [
        line("topics", topics, &["hub.topics"]),
        line("subscriptions", subscriptions, &["hub.subscriptions"]),
        line("members of the hub", members, &["limits.connections"]),
        line("queues of published messages", queues, &["hub.queued", "limits.connections"]),
        line("mailboxes", mailboxes, &["hub.mailbox", "shards"]),
        line("mail that waits", mail_waiting, WAITING),
        line("connections handed over", handed, &["limits.connections"]),
        line("deliveries on their way", deliveries, &["hub.mailbox"]),
        line("those who come back", recoveries, RECOVERING),
        line("presence", present, &["hub.present"]),
    ]
}

/// The addresses of all peers, if any listener logs.
fn peers(config: &Config) -> u64 {
    let logs = |listener: &Listener| listener.stack.log_websocket || listener.stack.log_transport;
    if config.listeners.iter().any(logs) || has_hub(config) {
        hash_table(config.limits.slots(), size_of::<(Slot, Peer)>())
    } else {
        0
    }
}

/// Whether some route is the hub's: then the address of each peer is kept until its route is known.
fn has_hub(config: &Config) -> bool {
    config.routes.iter().any(|route| matches!(route.handler, Handler::Hub(_)))
}

/// A hash table of up to `count` entries of `bytes` each. Entries also have a byte of control each,
/// and there are as many more as are compared at once. Entries and marks of removed ones fill seven
/// eighths of the table at most; then it is cleaned if half of them are marks, else it doubles, and
/// the old one is there until all entries have moved.
fn hash_table(count: u32, bytes: usize) -> u64 {
    const COMPARED: u64 = 16;
    // The smallest table that never has to double: its seven eighths are twice the entries.
    let largest = (u64::from(count) * 16).div_ceil(7).next_power_of_two();
    (largest + largest / 2) * (bytes as u64 + 1) + 2 * COMPARED
}

/// One set of compressors for each level that a listener asks for, and their output.
fn compressors(config: &Config) -> u64 {
    let mut levels: Vec<u8> = config
        .listeners
        .iter()
        .filter_map(|listener| listener.stack.websocket.deflate)
        .map(|deflate| deflate.level)
        .collect();
    levels.sort_unstable();
    levels.dedup();
    let output = Deflater::bound(PIECE);
    let of_levels = levels.len() * (Compressor::BYTES_MAX - output);
    (output + of_levels) as u64
}

/// Bytes of the socket buffers of one connection, at most: the kernel doubles what it is asked
/// for.
fn socket_buffers(config: &Config) -> u64 {
    let of = |tcp: &TcpLayer| 2 * (u64::from(tcp.rcvbuf) + u64::from(tcp.sndbuf));
    config.listeners.iter().map(|listener| of(&listener.stack.tcp)).max().unwrap_or_default()
}

/// What the process has once.
fn common(config: &Config) -> Vec<Line> {
    // Bytes of the lines that wait to be logged; the process has one queue of them.
    let log = logging::QUEUE_LINES as u64 * (logging::LINE_BYTES_MAX as u64 + LOG_ENTRY);
    let mut lines = vec![line("messages on their way", config.hub.messages, &["hub.messages"])];
    lines.extend(control::bill(config));
    lines.push(line("log lines that wait", log, &[]));
    lines
}

fn line(owner: &'static str, bytes: u64, keys: &'static [&'static str]) -> Line {
    Line { owner, bytes, keys }
}

/// What a list that doubles as it grows takes once it holds `count` entries of `bytes` each.
fn grown(count: u64, bytes: u64) -> u64 {
    count.next_power_of_two() * bytes
}

/// What a mapping of `bytes` takes.
fn pages(bytes: u64) -> u64 {
    bytes.next_multiple_of(PAGE)
}

/// The owners' column, and the one of bytes: room for 9,999,999,999,999,999,999.
const OWNER_WIDTH: usize = 28;
const BYTES_WIDTH: usize = 25;

impl fmt::Display for Bill {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{:OWNER_WIDTH$}{:>BYTES_WIDTH$}  set by", "each shard", "bytes")?;
        for line in &self.lines {
            row(out, line.owner, line.bytes, &line.keys.join(", "))?;
        }
        row(out, "one shard", self.per_shard(), "")?;
        row(out, &plural(self.shards), self.per_shard() * self.shards, "shards")?;
        for line in &self.common {
            row(out, line.owner, line.bytes, &line.keys.join(", "))?;
        }
        row(out, "total in user space", self.total(), "at most `memory`")?;
        self.kernel.fmt(out)
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.connections;
        writeln!(out, "\nkernel memory of {} connections, not in the total", grouped(all))?;
        row(out, "all of them idle", all * KERNEL_IDLE, "limits.connections, shards")?;
        let busy = all * (KERNEL_IDLE + self.buffers);
        row(out, "all socket buffers full", busy, "`rcvbuf` and `sndbuf` of the listeners")
    }
}

fn row(out: &mut fmt::Formatter<'_>, owner: &str, bytes: u64, keys: &str) -> fmt::Result {
    let line = format!("{owner:OWNER_WIDTH$}{:>BYTES_WIDTH$}  {keys}", grouped(bytes));
    writeln!(out, "{}", line.trim_end())
}

/// `1 shard`, `2 shards`.
fn plural(shards: u64) -> String {
    format!("{shards} shard{}", if shards == 1 { "" } else { "s" })
}

/// A number with a comma before each three digits: `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(BYTES_WIDTH);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl fmt::Display for OverBudget {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let needed = Size(self.total.next_multiple_of(1 << 20));
        let all = grouped(self.total);
        let shards = plural(self.shards);
        writeln!(out, "{shards} may come to hold {all} bytes, and {}.", self.limit)?;
        writeln!(out, "{:OWNER_WIDTH$}{:>BYTES_WIDTH$}  set by", "all of it", "bytes")?;
        for line in &self.lines {
            row(out, line.owner, line.bytes, &line.keys.join(", "))?;
        }
        write!(
            out,
            "Lower the first of these keys, or `shards`, or set memory = \"{needed}\". README.md \
             has limits that fit in 64MiB."
        )
    }
}

impl std::error::Error for OverBudget {}

impl fmt::Display for Limit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allowed = grouped(self.bytes);
        let bound = match self.origin {
            LimitOrigin::Configured => {
                let written = Size(self.bytes);
                return write!(out, "memory = \"{written}\" allows {allowed}");
            }
            LimitOrigin::Guessed => {
                return write!(
                    out,
                    "memory = \"auto\" allows {allowed}, because neither /proc/meminfo nor the \
                     control group's memory.max could be read"
                );
            }
            LimitOrigin::ShareOf(bound) => bound,
        };
        let has = match bound.source {
            MemorySource::Machine => "the machine has (MemTotal in /proc/meminfo)",
            MemorySource::ControlGroup => "the control group may have (memory.max)",
        };
        let all = grouped(bound.bytes);
        write!(out, "memory = \"auto\" allows {allowed}, three quarters of the {all} that {has}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::config::Hub;
    use crate::config::Route;
    use crate::config::Stack;

    /// The largest values that the configuration takes.
    fn largest() -> Config {
        let stack = "ws!tcp?rcvbuf=64MiB&sndbuf=64MiB";
        let listeners = (1..=64).map(|index| {
            let stack = stack.replace("ws", &format!("ws?deflate_level={}", index % 9 + 1));
            Listener { stack: Stack::parse(&stack).unwrap(), ..Listener::default() }
        });
        let limits = Limits {
            connections: 4_194_304,
            receive_buffers: 2048,
            receive_buffer: 1 << 20,
            staging: 64 << 20,
            blocks: 4095 << 20,
            request_head: 64 << 10,
        };
        Config { limits, listeners: listeners.collect(), ..Config::default() }
    }

    #[test]
    fn the_total_is_the_sum_of_the_lines() {
        let bill = Bill::new(&Config::default(), 3);
        let sum: u64 = bill.lines().iter().map(|line| line.bytes).sum();
        assert_eq!(bill.per_shard(), sum);
        let common: u64 = bill.common.iter().map(|line| line.bytes).sum();
        assert_eq!(bill.total(), 3 * sum + common);
        assert!(common > Config::default().hub.messages);
    }

    #[test]
    fn the_largest_configuration_can_be_added_up() {
        let bill = Bill::new(&largest(), 1024);
        assert!(bill.total() > 1 << 42);
        assert!(!bill.to_string().is_empty());
    }

    #[test]
    fn the_smallest_memory_carries_the_smallest_limits() {
        let text = "memory = \"16MiB\"\nshards = 1\n[limits]\nconnections = 16\n\
                    receive_buffers = 8\nreceive_buffer = 1024\nrequest_head = 512\n\
                    staging = \"16KiB\"\nblocks = \"2MiB\"\n\
                    [admin]\naddress = \"off\"\n[hub]\nmessages = \"1MiB\"\n\
                    topics = 16\nsubscriptions = 16\nqueued = 16\n\
                    present = 16\nmailbox = 16\n\
                    [[route]]\npath = \"/\"\nhandler = \"echo\"\nbacklog = \"2MiB\"\n\
                    max_buffered_message = \"512KiB\"\n";
        let config = Config::parse(text, "small.toml").unwrap();
        assert_eq!(Bill::new(&config, 1).check(config.memory), Ok(()));
    }

    #[test]
    fn every_limit_changes_the_bill() {
        let total = |limits| Bill::new(&Config { limits, ..Config::default() }, 1).total();
        let before = Limits::default();
        // Each key is named, so that a new one is not forgotten.
        let Limits { connections, receive_buffers, receive_buffer, staging, blocks, request_head } =
            before;
        let cases = [
            ("connections", Limits { connections: connections * 2, ..before }),
            ("receive_buffers", Limits { receive_buffers: receive_buffers * 2, ..before }),
            ("receive_buffer", Limits { receive_buffer: receive_buffer * 2, ..before }),
            ("staging", Limits { staging: staging * 2, ..before }),
            ("blocks", Limits { blocks: blocks * 2, ..before }),
            ("request_head", Limits { request_head: request_head * 2, ..before }),
        ];
        for (key, after) in cases {
            assert!(total(after) > total(before), "{key}");
        }
    }

    #[test]
    fn each_subscription_that_there_may_be_may_recover() {
        let limits = Limits { connections: 1000, ..Limits::default() };
        let paid = |subscriptions, subscriptions_per_connection| {
            let hub = Hub { subscriptions, subscriptions_per_connection, ..Hub::default() };
            let config = Config { limits, hub, ..Config::default() };
            let bill = Bill::new(&config, 1);
            let line = bill.lines().iter().find(|line| line.owner == "those who come back");
            line.expect("a line").bytes
        };
        let slots = u64::from(limits.slots());
        let of = |count: u64| count * hub::Recoveries::CURSOR_BYTES as u64 + slots.div_ceil(64) * 8;
        assert_eq!(paid(1_000_000, 1), of(slots));
        assert_eq!(paid(1_000_000, 128), of(slots * 128));
        assert_eq!(paid(500, 128), of(500));
    }

    #[test]
    fn a_listener_that_logs_pays_for_the_addresses() {
        let with = |stack| {
            let listener = Listener { stack: Stack::parse(stack).unwrap(), ..Listener::default() };
            let routes = vec![Route::new("/", Handler::Echo)];
            let config = Config { listeners: vec![listener], routes, ..Config::default() };
            let bill = Bill::new(&config, 1);
            bill.lines().iter().any(|line| line.owner == "peer addresses")
        };
        assert!(with("log!ws!tcp") && with("ws!log!tcp") && !with("ws!tcp"));
    }

    #[test]
    fn compressors_are_counted_by_level() {
        let of = |stacks: &[&str]| {
            let listeners = stacks
                .iter()
                .map(|text| Listener { stack: Stack::parse(text).unwrap(), ..Listener::default() });
            compressors(&Config { listeners: listeners.collect(), ..Config::default() })
        };
        let none = of(&["ws?deflate=off!tcp"]);
        let one = of(&["ws!tcp", "ws?deflate=off!tcp", "ws!tcp"]);
        let two = of(&["ws!tcp", "ws?deflate_level=9!tcp"]);
        assert_eq!(one, Compressor::BYTES_MAX as u64);
        assert_eq!(two - one, one - none);
    }

    #[test]
    fn a_bill_over_the_limit_is_refused_with_the_keys_to_lower() {
        let bill = Bill::new(&Config::default(), 100);
        assert_eq!(bill.check(Memory::Bytes(bill.total())), Ok(()));
        let error = bill.check(Memory::Bytes(bill.total() - 1)).unwrap_err();
        assert_eq!(error.lines[0].owner, "blocks");
        assert_eq!(error.lines.len(), bill.lines.len() + bill.common.len());
        assert_eq!(error.lines.iter().map(|line| line.bytes).sum::<u64>(), bill.total());
        assert!(error.lines.is_sorted_by_key(|line| std::cmp::Reverse(line.bytes)));
        let message = error.to_string();
        for part in ["100 shards", "6,710,886,400", "limits.blocks", "hub.topics", "log lines"] {
            assert!(message.contains(part), "{part} is missing:\n{message}");
        }
        let raised = message.rsplit_once("memory = \"").unwrap().1.split_once('"').unwrap().0;
        let raised: Size = raised.parse().unwrap();
        assert_eq!(bill.check(Memory::Bytes(raised.0)), Ok(()));
    }

    #[test]
    fn auto_allows_three_quarters_of_what_there_is() {
        let bound = MemoryBound { bytes: 64 << 30, source: MemorySource::Machine };
        let limit = Limit::within(Some(bound));
        assert_eq!(limit, Limit { bytes: 48 << 30, origin: LimitOrigin::ShareOf(bound) });
        assert_eq!(Bill::new(&Config::default(), 128).check_against(limit), Ok(()));
        assert_eq!(Limit::within(None).bytes, 4 << 30);
    }

    #[test]
    fn a_refusal_says_where_the_limit_comes_from() {
        let machine = MemoryBound { bytes: 4 << 20, source: MemorySource::Machine };
        let group = MemoryBound { source: MemorySource::ControlGroup, ..machine };
        for (limit, said) in [
            (Limit::of(Memory::Bytes(16 << 20)), "memory = \"16MiB\" allows 16,777,216."),
            (
                Limit::within(Some(machine)),
                "memory = \"auto\" allows 3,145,728, three quarters of the 4,194,304 that the \
                 machine has (MemTotal in /proc/meminfo).",
            ),
            (
                Limit::within(Some(group)),
                "memory = \"auto\" allows 3,145,728, three quarters of the 4,194,304 that the \
                 control group may have (memory.max).",
            ),
            (
                Limit::within(None),
                "memory = \"auto\" allows 4,294,967,296, because neither /proc/meminfo nor the \
                 control group's memory.max could be read.",
            ),
        ] {
            let error = Bill::new(&Config::default(), 100).check_against(limit).unwrap_err();
            let message = error.to_string();
            assert!(message.contains(said), "{message}");
        }
    }

    #[test]
    fn a_table_of_addresses_that_need_not_double_is_paid_for() {
        for connections in [16, 841, 842, 843, 844, 16_384, 28_608, 28_609] {
            let stack = Stack::parse("log!ws!tcp").unwrap();
            let logs = Listener { stack, ..Listener::default() };
            let limits = Limits { connections, ..Limits::default() };
            let connections = limits.slots();
            let config = Config { limits, listeners: vec![logs], ..Config::default() };
            let table: HashMap<Slot, Peer> = HashMap::with_capacity(2 * connections as usize);
            let places = table.capacity() / 7 * 8;
            let bytes = places * (size_of::<(Slot, Peer)>() + 1);
            assert_eq!(peers(&config), (bytes + bytes / 2 + 32) as u64, "{connections}");
        }
    }

    #[test]
    fn the_table_is_aligned() {
        let text = Bill::new(&Config::default(), 2).to_string();
        let column = OWNER_WIDTH + BYTES_WIDTH;
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("kernel")) {
            assert!(line.len() >= column, "{line}");
            assert!(!line[..column].ends_with(' '), "{line}");
            assert!(line.len() == column || line[column..].starts_with("  "), "{line}");
        }
        assert!(text.contains("limits.connections"), "{text}");
    }

    #[test]
    fn digits_are_grouped() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
    }
}
